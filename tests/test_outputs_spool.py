# SPDX-License-Identifier: Apache-2.0
"""The spool: alerts that survive their process."""

import collections
import logging
import os
import pathlib
import signal
import sqlite3
import subprocess
import sys

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from falcolib import Capture, Engine, Priority, RuleSet
from falcolib.outputs import Channel, Counts, OutputError, Retry, Spool, Undelivered
from messages import Kept, message, patient, until
from receivers import HttpReceiver

pytestmark = pytest.mark.daemon

HERE = pathlib.Path(__file__).parent
QUICK = Retry(attempts=0, first=0.01, most=0.05)


def spool_of(tmp_path, count=0, **options):
    """A spool with so many messages, closed."""
    spool = Spool(str(tmp_path / "spool"), "kept", **options)
    for n in range(count):
        assert spool.put(message(n))
    spool.close()
    return tmp_path / "spool" / "kept.spool"


def numbers(messages):
    return [m.fields["n"] for m in messages]


def test_what_was_not_delivered_is_delivered_by_the_next_run(tmp_path, caplog):
    def never(messages):
        raise Undelivered("refused")

    def start(output):
        return patient([Channel(output, queue=Spool(str(tmp_path), "kept"), retry=QUICK)])

    outputs = start(Kept(before=never))
    for n in range(100):
        outputs.emit(message(n))
    assert outputs.drain(0.05) == 100
    assert outputs.counts()["kept"].queued == 100
    assert outputs.counts()["kept"].dropped == 0
    assert "they are kept, and delivered by the next run" in caplog.text
    output = Kept()
    outputs = start(output)
    outputs.emit(message(100))
    assert outputs.drain(120) == 0
    assert numbers(output.messages) == list(range(101))
    assert outputs.counts()["kept"] == Counts(emitted=101, delivered=101)
    assert start(Kept()).counts()["kept"] == Counts()


def test_a_kept_message_is_the_message(tmp_path, attack1):
    rules = RuleSet.load(HERE.parent / "rules" / "falcolib_rules.yaml")
    alerts = [*Engine(rules, hostname="h").run(Capture(attack1)), message(1, tags=["b", "a"], text='ü"\n')]
    spool = Spool(str(tmp_path), "kept")
    assert all(map(spool.put, alerts))
    for alert, kept in zip(alerts, spool.peek(1000), strict=True):
        for name in ("rule", "priority", "time", "source", "tags", "hostname", "message", "id"):
            assert getattr(kept, name) == getattr(alert, name), name
        assert (str(kept), kept.json(), kept.as_dict(), kept.fields) == (str(alert), alert.json(), alert.as_dict(), dict(alert.fields))
        assert isinstance(kept.priority, Priority)
        assert kept.size > 500
    spool.close()


def test_kill_9_amid_a_thousand_alerts_loses_none_and_doubles_only_what_was_under_way(tmp_path):
    """The receiver takes some, then hangs while the rest is emitted; the process dies, and a second one goes on."""

    def child(first, last):
        return subprocess.Popen([sys.executable, str(HERE / "spool_child.py"), str(tmp_path), receiver.url, str(first), str(last)],
                                stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)

    def answer(request):
        if len(receiver.requests) == 99:
            receiver.mode = "hang"          # from the next one on
        return 200, {}, b""

    with HttpReceiver() as receiver:
        receiver.answer = answer
        one = child(0, 1000)
        emitted = -1
        for line in one.stdout:
            emitted = int(line)
            if emitted >= 600:
                break
        until(lambda: receiver.seen > len(receiver.requests))
        os.kill(one.pid, signal.SIGKILL)
        emitted = max([emitted, *(int(line) for line in one.stdout if line.endswith("\n"))])
        assert one.wait() == -signal.SIGKILL
        for stream in (one.stdin, one.stdout):
            stream.close()
        taken = len(receiver.requests)
        assert taken == 100, "it died amid them"
        receiver.answer, receiver.mode = None, "ok"
        two = child(emitted + 1, 1000)
        two.communicate(timeout=300)
        assert two.returncode == 0
        got = collections.Counter(r.json()["output_fields"]["n"] for r in receiver.requests)
    assert set(got) == set(range(1000)), "none is lost"
    doubled = {n for n, times in got.items() if times > 1}
    assert doubled <= {taken, emitted + 1}, "that under way; and that whose emit() hadn't returned, which was then emitted again"
    assert max(got.values()) <= 2


def test_a_spool_is_bounded_and_what_finds_no_room_is_counted(tmp_path, caplog):
    output = Kept("kept")
    output.gate.clear()
    outputs = patient([Channel(output, queue=Spool(str(tmp_path), "kept", max_bytes=1 << 20))])
    for n in range(3000):
        outputs.emit(message(n, text="x" * 300))
    counts = outputs.counts()["kept"]
    assert counts.dropped > 500
    assert counts.emitted == counts.dropped + counts.queued
    assert (tmp_path / "kept.spool").stat().st_size <= 1 << 20
    assert sum(f.stat().st_size for f in tmp_path.iterdir()) < 10 << 20
    assert "spool.max_size_mb (now 1)" in caplog.text
    output.gate.set()
    until(lambda: outputs.counts()["kept"].queued == 0)
    outputs.emit(message(3000))
    assert outputs.drain(120) == 0
    assert numbers(output.messages)[-1] == 3000, "there is room again"


def test_only_its_owner_may_read_it(tmp_path):
    path = spool_of(tmp_path, 1)
    assert path.stat().st_mode & 0o777 == 0o600
    assert path.parent.stat().st_mode & 0o777 == 0o700


def test_one_process_uses_it(tmp_path):
    spool = Spool(str(tmp_path), "http")
    with pytest.raises(OutputError, match=r"http\.spool: database is locked: another process uses it"):
        Spool(str(tmp_path), "http")
    spool.close()
    Spool(str(tmp_path), "http").close()


def test_a_folder_that_cannot_be_made_is_an_error_at_the_start(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(OutputError, match="Not a directory"):
        Spool(str(tmp_path / "file" / "x"), "http")


# ---- files that are damaged, or not ours ----


def foreign(tmp_path, write):
    path = spool_of(tmp_path, 50)
    write(path)
    return path


def sql(*statements):
    def write(path):
        db = sqlite3.connect(path, isolation_level=None)
        for statement in statements:
            db.execute(statement)
        db.close()

    return write


def fifo(path):
    path.unlink()
    os.mkfifo(path)


def link(path):
    path.rename(path.parent / "elsewhere")
    path.symlink_to(path.parent / "elsewhere")


@pytest.mark.parametrize("write", [
    lambda path: path.write_text("no database at all\n" * 1000),
    lambda path: path.write_bytes(path.read_bytes()[:5000]),
    lambda path: path.write_bytes(path.read_bytes()[:100] + os.urandom(9000)),
    lambda path: path.write_bytes(b"\0" * 8192),
    sql("CREATE TABLE other (x)"),
    sql("CREATE TRIGGER t AFTER INSERT ON message BEGIN DELETE FROM message; END"),
    sql("ALTER TABLE message ADD COLUMN more"),
    sql("PRAGMA application_id = 7"),
    sql("DROP TABLE message"),
    fifo, link, lambda path: (path.unlink(), path.mkdir()),
], ids=["text", "cut", "noise", "zeros", "table", "trigger", "column", "mark", "dropped", "fifo", "link", "folder"])
def test_a_file_that_is_no_spool_is_set_aside_and_told(tmp_path, write, caplog):
    path = foreign(tmp_path, write)
    spool = Spool(str(path.parent), "kept")
    assert len(spool) == 0
    assert spool.put(message(1))
    assert numbers(spool.peek(10)) == [1]
    spool.close()
    assert [f for f in path.parent.iterdir() if f.name.startswith("kept.spool.bad-")]
    (record,) = caplog.records
    assert record.levelno == logging.ERROR
    assert "it is set aside as" in record.getMessage()


@pytest.mark.parametrize("body", [
    "''", "'x'", "x'ff00'", "17", "'[]'", "'{\"rule\": 1}'", "zeroblob(20000000)", "'" + "[" * 5000 + "'",
    "replace(CAST(body AS TEXT), '\"priority\":4', '\"priority\":99')", "replace(CAST(body AS TEXT), '\"time\":', '\"time\":-')",
])
def test_a_message_that_cannot_be_read_is_left_out_and_counted(tmp_path, body, caplog):
    path = spool_of(tmp_path, 5)
    sql(f"UPDATE message SET body = {body} WHERE id IN (1, 3)")(path)
    output = Kept()
    with patient([Channel(output, queue=Spool(str(path.parent), "kept"))]) as outputs:
        pass
    assert numbers(output.messages) == [1, 3, 4]
    assert outputs.counts()["kept"] == Counts(emitted=5, delivered=3, dropped=2)
    assert "message 3 can't be read, and is left out" in caplog.text


def test_a_spool_that_is_damaged_while_it_is_used_costs_what_is_in_it(tmp_path):
    output = Kept()
    output.gate.clear()
    outputs = patient([Channel(output, queue=Spool(str(tmp_path), "kept"))])
    for n in range(2000):
        outputs.emit(message(n))
    for file in tmp_path.iterdir():
        with open(file, "r+b") as f:
            f.write(os.urandom(file.stat().st_size))
    output.gate.set()
    for n in range(2000, 2100):
        outputs.emit(message(n))
    outputs.drain(120)
    counts = outputs.counts()["kept"]
    assert counts.emitted == 2100
    assert counts.emitted <= counts.delivered + counts.dropped + counts.queued <= counts.emitted + 1


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=40)
@given(st.integers(0, 1 << 30), st.binary(min_size=1, max_size=600))
def test_no_damage_stops_the_start(tmp_path, at, noise):
    base = tmp_path / "base"
    if not base.exists():
        spool_of(base, 50)
    data = bytearray((base / "spool" / "kept.spool").read_bytes())
    at %= len(data)
    data[at : at + len(noise)] = noise
    folder = tmp_path / "s"
    folder.mkdir(exist_ok=True)
    for file in folder.iterdir():
        file.unlink()
    (folder / "kept.spool").write_bytes(data)
    spool = Spool(str(folder), "kept")
    while found := spool.peek(7):
        spool.done(len(found))
    assert spool.put(message(1))
    spool.close()
