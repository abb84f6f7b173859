# SPDX-License-Identifier: Apache-2.0
"""Captures around alerts (spec: engine.md D8): what is in them, how long they are, and that they alert again when they are replayed."""

from __future__ import annotations

import pathlib
import re
import subprocess
import sys
import time
from typing import Any

import msgspec
import pytest

import falcolib
from falcolib.config.services import CaptureGroup
from falcolib.daemon import recording
from falcolib.daemon.recording import Captures
from live import WHY_NOT, Watch

#: Whatever the state knows that an alert can print.
OUTPUT = ("%evt.type %evt.time %evt.args %proc.name %proc.cmdline %proc.exepath %proc.cwd %proc.pname %proc.aname[2] %proc.aname[3] "
          "%proc.sid %proc.vpid %proc.tty %user.name %user.loginuid %fd.num %fd.name %fd.type %thread.tid %group.name %container.id")
SHADOW = (f"- {{rule: Shadow, desc: d, condition: 'evt.type in (open, openat) and fd.name = /etc/shadow', output: '{OUTPUT}', "
          "priority: INFO, capture: true}\n")
EXECS = f"- {{rule: Exec, desc: d, condition: evt.type = execve, output: '{OUTPUT}', priority: INFO}}\n"
MS = 10**6


def rules(text: str = SHADOW + EXECS) -> falcolib.RuleSet:
    return falcolib.RuleSet.parse(text, name="rules.yaml")


class Replayed:
    """A replay with captures around its alerts."""

    def __init__(self, capture: object, folder: pathlib.Path, text: str = SHADOW + EXECS, **settings: Any) -> None:
        self.told: list[tuple[str, dict[str, Any]]] = []
        self.rules = rules(text)
        self.engine = falcolib.Engine(self.rules, matching="all")
        self.captures = Captures(CaptureGroup(enabled=True, path_prefix=str(folder / "cap"), **settings), self._emit)
        self.engine.captures = self.captures
        self.alerts = list(self.engine.run(capture))        # type: ignore[arg-type]
        self.files = self.captures.written

    def _emit(self, rule: str, priority: falcolib.Priority, message: str, fields: dict[str, Any], when: int) -> None:
        self.told.append((rule, fields))

    def again(self, file: str) -> list[falcolib.Alert]:
        return list(falcolib.Engine(self.rules, matching="all").run(falcolib.Capture(file)))


def seen(alert: falcolib.Alert) -> tuple[str, int, dict[str, Any]]:
    return alert.rule, alert.time, dict(alert.fields)


def times(file: str) -> list[int]:
    return [event.time for event in falcolib.Engine().events(falcolib.Capture(file))]


@pytest.fixture(scope="module")
def shadows(tmp_path_factory: pytest.TempPathFactory) -> list[int]:
    """When the alerts that begin captures come in attack1."""
    attack1 = pathlib.Path(__file__).parent / "data" / "attack1.scap"
    return [alert.time for alert in falcolib.Engine(rules(SHADOW)).run(falcolib.Capture(attack1))]


class TestReplays:
    def test_a_capture_alerts_again_with_the_same_fields(self, attack1: pathlib.Path, tmp_path: pathlib.Path, shadows: list[int]) -> None:
        done = Replayed(attack1 and falcolib.Capture(attack1), tmp_path, default_duration=500 * MS, before=1000 * MS)
        assert len(done.files) >= 1
        again = [alert for file in done.files for alert in done.again(file)]
        was = {alert.time: seen(alert) for alert in done.alerts if alert.rule == "Shadow"}
        assert shadows
        assert [seen(alert) for alert in again if alert.rule == "Shadow"] == [was[time] for time in shadows]
        others = {(a.rule, a.time): seen(a) for a in done.alerts}
        assert all(seen(alert) == others[alert.rule, alert.time] for alert in again)

    def test_they_are_named_after_the_event_that_began_them(self, attack1: pathlib.Path, tmp_path: pathlib.Path) -> None:
        done = Replayed(falcolib.Capture(attack1), tmp_path)
        first = next(alert for alert in done.alerts if alert.rule == "Shadow")
        name = pathlib.Path(done.files[0]).name
        assert re.fullmatch(r"cap_\d{20}_\d{20}\.scap", name)
        assert name == f"cap_{first.time:020}_{first.event.num:020}.scap"
        assert pathlib.Path(done.files[0]).read_bytes()[:2] == b"\x1f\x8b"

    def test_another_replay_replaces_them_and_follows_no_link(self, attack1: pathlib.Path, tmp_path: pathlib.Path) -> None:
        (first, *_) = Replayed(falcolib.Capture(attack1), tmp_path).files
        whole = pathlib.Path(first).read_bytes()
        for laid in (lambda: pathlib.Path(first).write_text("cut off"), lambda: pathlib.Path(first).symlink_to(tmp_path / "other")):
            pathlib.Path(first).unlink()
            (tmp_path / "other").write_text("of somebody else")
            laid()
            done = Replayed(falcolib.Capture(attack1), tmp_path)
            assert done.files[0] == first
            assert pathlib.Path(first).read_bytes() == whole
            assert not pathlib.Path(first).is_symlink()
            assert (tmp_path / "other").read_text() == "of somebody else"

    def test_they_reach_back_and_end_after_the_last_alert(self, attack1: pathlib.Path, tmp_path: pathlib.Path, shadows: list[int]) -> None:
        whole = [event.time for event in falcolib.Engine().events(falcolib.Capture(attack1))]
        for before, duration in ((0, 300 * MS), (2000 * MS, 2000 * MS)):
            folder = tmp_path / str(before)
            folder.mkdir()
            done = Replayed(falcolib.Capture(attack1), folder, before=before, default_duration=duration)
            for file in done.files:
                inside = times(file)
                mine = [time for time in shadows if inside[0] <= time <= inside[-1]]
                began, last = mine[0], mine[-1]
                # whole from its first event to its last one
                assert [t for t in inside if t >= began] == [t for t in whole if began <= t <= inside[-1]]
                assert inside[0] <= max(began - before, whole[0])
                assert inside[-1] >= min(last + duration, whole[-1]) - 10 * MS
                assert inside[-1] <= last + duration + 2000 * MS

    def test_a_rules_own_duration(self, attack1: pathlib.Path, tmp_path: pathlib.Path, shadows: list[int]) -> None:
        text = SHADOW.replace("capture: true", "capture: true, capture_duration: 60000")
        done = Replayed(falcolib.Capture(attack1), tmp_path, text, default_duration=1 * MS)
        (file,) = done.files
        assert times(file)[-1] == times(str(attack1))[-1]

    def test_modes(self, attack1: pathlib.Path, tmp_path: pathlib.Path) -> None:
        assert Replayed(falcolib.Capture(attack1), tmp_path, EXECS).files == []
        done = Replayed(falcolib.Capture(attack1), tmp_path, EXECS, mode="all_rules")
        assert f"{done.alerts[0].time:020}" in done.files[0]

    def test_the_limit_of_a_file_is_told(self, attack1: pathlib.Path, tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(recording, "MEBIBYTE", 1 << 10)         # attack1 has 1.3 MB
        monkeypatch.setattr("falcolib.recording._MEMBER", 1 << 10)
        done = Replayed(falcolib.Capture(attack1), tmp_path, EXECS, mode="all_rules", default_duration=3600 * 1000 * MS,
                        max_file_size_mb=20)
        assert done.told
        rule, fields = done.told[0]
        assert (rule, fields["max_file_size_mb"]) == ("Falco internal: capture size limit reached", 20)
        assert fields["written_bytes"] >= 20 << 10
        assert all(done.again(file) for file in done.files)

    def test_what_cant_be_written_is_told_and_costs_nothing_else(self, attack1: pathlib.Path, tmp_path: pathlib.Path,
                                                                   caplog: pytest.LogCaptureFixture) -> None:
        done = Replayed(falcolib.Capture(attack1), tmp_path / "missing")
        assert "the capture can't be written" in caplog.text
        assert len(done.alerts) == len(list(falcolib.Engine(done.rules, matching="all").run(falcolib.Capture(attack1))))

    def test_alerts_are_the_same_with_and_without(self, attack1: pathlib.Path, tmp_path: pathlib.Path) -> None:
        for matching in ("first", "all"):
            engine = falcolib.Engine(rules(), matching=matching)    # type: ignore[arg-type]
            plain = [alert.json() for alert in engine.run(falcolib.Capture(attack1))]
            engine.captures = Captures(CaptureGroup(path_prefix=str(tmp_path / matching)), lambda *_: None)
            assert [alert.json() for alert in engine.run(falcolib.Capture(attack1))] == plain

    def test_memory_is_bounded(self, attack1: pathlib.Path, tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch) -> None:
        """Segments end by their size, too; a capture then reaches back less far, and is whole all the same."""
        monkeypatch.setattr(recording, "MEBIBYTE", 1 << 17)
        done = Replayed(falcolib.Capture(attack1), tmp_path, before=3600 * 1000 * MS, before_max_mb=1, default_duration=1 * MS)
        was = {(a.rule, a.time): seen(a) for a in done.alerts}
        for file in done.files:
            assert any(alert.rule == "Shadow" for alert in done.again(file))
            assert all(seen(alert) == was[alert.rule, alert.time] for alert in done.again(file))


def test_tables_are_left_out_of_what_goes_on() -> None:
    def block(code: int, size: int) -> bytes:
        return code.to_bytes(4, "little") + size.to_bytes(4, "little") + bytes(size - 12) + size.to_bytes(4, "little")

    tables, events = block(0x0A0D0D0A, 28) + block(0x201, 240) + block(0x218, 20), block(0x217, 40) + block(0x216, 60) + block(0x218, 20)
    assert recording.without_tables(tables + events) == events
    assert recording.without_tables(events) == events
    assert recording.without_tables(tables) == b""
    assert recording.without_tables(b"") == b""


def test_rules_keep_their_capture_in_the_cache(tmp_path: pathlib.Path) -> None:
    from falcolib.cache import load_program

    file = tmp_path / "rules.yaml"
    file.write_text(SHADOW.replace("capture: true", "capture: true, capture_duration: 17"))
    for from_cache in (False, True):
        loaded = load_program(file, cache=tmp_path / "cache")
        assert loaded.from_cache == from_cache
        assert [(rule.capture, rule.capture_duration) for rule in loaded.program.rules] == [(True, 17)]


@pytest.mark.live
@pytest.mark.skipif(WHY_NOT is not None, reason=f"no live capture here: {WHY_NOT}")
def test_live(tmp_path: pathlib.Path) -> None:
    """What a process did before its alert is in the capture, and its descriptor, opened long before, has its name there. What must be in
    it goes by when things happened: a slow machine may take longer than the capture does."""
    program = ("import os, sys, time\nheld = os.open(sys.argv[1] + '/held', os.O_RDONLY | os.O_CREAT)\nprint(flush=True)\n"
               "sys.stdin.readline()\nos.mkdir(sys.argv[1] + '/earlier')\nprint(flush=True)\nsys.stdin.readline()\nos.pread(held, 1, 0)\n"
               "os.rmdir(sys.argv[1] + '/earlier')\nprint(flush=True)\nsys.stdin.readline()\n")
    text = (f"- {{rule: Read, desc: d, condition: 'evt.type = pread and fd.name = {tmp_path}/held', output: '{OUTPUT}', priority: INFO, "
            "capture: true, capture_duration: 1500}\n")
    earlier = "".join(f"- {{rule: {name}, desc: d, condition: 'evt.type in ({types}) and fs.path.name = {tmp_path}/earlier', output: x, "
                      "priority: INFO}\n" for name, types in (("Made", "mkdir, mkdirat"), ("Gone", "rmdir, unlinkat")))
    watch = Watch(falcolib.RuleSet.parse(text + earlier, name="rules.yaml"))
    captures = Captures(CaptureGroup(path_prefix=str(tmp_path / "cap"), before=60_000 * MS), lambda *_: None)
    watch.engine.captures = captures
    with watch, subprocess.Popen([sys.executable, "-c", program, str(tmp_path)], stdin=subprocess.PIPE, stdout=subprocess.PIPE,
                                 text=True) as child:
        assert child.stdout is not None
        assert child.stdin is not None

        def step() -> None:
            child.stdout.readline()         # type: ignore[union-attr]
            child.stdin.write("\n")         # type: ignore[union-attr]
            child.stdin.flush()             # type: ignore[union-attr]

        step()
        watch.first("Made")
        time.sleep(1)                       # the time between is what is tested
        step()
        alert = watch.first("Read")
        watch.first("Gone")
        watch.until(lambda: time.time_ns() > alert.time + 3000 * MS)
        step()
    (file,) = captures.written
    engine = falcolib.Engine(falcolib.RuleSet.parse(text + earlier, name="rules.yaml"), matching="all")
    again = list(engine.run(falcolib.Capture(file)))
    within = [a.rule for a in watch.alerts if alert.time - 2000 * MS <= a.time <= alert.time + 1500 * MS]
    assert "Read" in within
    assert [a.rule for a in again if a.rule in within] == within
    assert [seen(a) for a in again if a.rule == "Read"] == [seen(alert)]
    assert times(file)[-1] < alert.time + 15000 * MS


def test_settings_are_those_of_falco_and_two_of_ours() -> None:
    assert msgspec.structs.asdict(CaptureGroup()) == {
        "enabled": False, "path_prefix": "/tmp/falco", "mode": "rules", "default_duration": 5000 * MS, "max_file_size_mb": 0,
        "before": 5000 * MS, "before_max_mb": 64}
