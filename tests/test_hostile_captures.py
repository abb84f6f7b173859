# SPDX-License-Identifier: Apache-2.0
"""Captures that are cut off, damaged, or made to use up memory and time: each ends, with the alerts that it has, or with a CaptureError."""

import gzip
import os
import pathlib
import random
import resource
import struct
import threading
import zlib

import pytest

from falcolib import Capture, CaptureError, Engine, RuleSet
from scapwriter import EV_LARGE, Chunked, block, capture, event, fd, fds, machine, process, processes, record, section, text
from state_events import CLONE_THREAD, O_CLOEXEC, bash, clone, close, execve, exit_, named, openat, read

RULES = """
- rule: shadow
  desc: d
  condition: evt.type in (open, openat) and fd.name startswith /etc/shadow
  output: "%evt.num %proc.name %proc.aname[1] %fd.name %evt.args"
  priority: ERROR
- rule: program
  desc: d
  condition: evt.type = execve and proc.name glob "i*"
  output: "%evt.num %proc.cmdline %proc.pcmdline %proc.env"
  priority: NOTICE
"""
MIB = 1 << 20


@pytest.fixture(scope="module")
def engine() -> Engine:
    return Engine(RuleSet.parse(RULES), matching="all")


def life(rounds: int = 3) -> bytes:
    """A capture with a table of each kind, events of many types, and an alert now and then."""
    events = b""
    for n in range(rounds):
        child = 200 + n
        events += clone(child) + clone(0, tid=child) + execve("/bin/id", tid=child, args=b"-u\0root\0")
        events += openat(3, "/etc/shadow", tid=child) + read(3, tid=child)
        events += named("SOCKET_X", tid=child, fd=4, domain=2, type=1, proto=0) + named("DUP_1_X", tid=child, res=5, oldfd=3)
        events += close(3, tid=child) + event("OPEN_E", "x", 1, 0, tid=child, version=1) + exit_(tid=child)
    return capture(machine(), bash(), fds(2, 100, fd(2, 0, 1, text("/dev/null"))), events)


def outcome(engine: Engine, data: bytes | pathlib.Path, size: int = 1 << 20) -> tuple[list[str], CaptureError | None]:
    """The messages of a capture or of a file, and how it ended."""
    found: list[str] = []
    try:
        found.extend(alert.message for alert in engine.run(Chunked(data, size) if isinstance(data, bytes) else Capture(data)))
    except CaptureError as e:
        return found, e
    return found, None


def told(blocks: bytes, *fields: str) -> list[object]:
    """Fields of the one read in a capture, as a rule captures them."""
    output = " ".join(f"%{name}" for name in fields)
    rules = RuleSet.parse(f'- rule: r\n  desc: d\n  condition: evt.type = read\n  output: "{output}"\n  priority: ERROR\n')
    (alert,) = Engine(rules).run(Chunked(capture(blocks), 1 << 20))
    return [alert.fields[name] for name in fields]


def borders(data: bytes) -> set[int]:
    """Where the blocks end."""
    at, found = 0, set()
    while at < len(data):
        at += struct.unpack_from("<I", data, at + 4)[0]
        found.add(at)
    return found


def test_each_beginning_of_a_capture_has_the_alerts_of_its_blocks(engine: Engine) -> None:
    data = life()
    whole, error = outcome(engine, data)
    assert error is None
    assert len(whole) == 6
    ends, had = borders(data), 0
    for n in range(1, len(data)):
        messages, error = outcome(engine, data[:n])
        assert messages == whole[: len(messages)]
        assert len(messages) >= had
        had = len(messages)
        assert (error is None) == (n in ends)
        assert error is None or "offset" in str(error)
    assert had == 6


def test_each_beginning_of_a_gzip_file_ends_with_the_place_of_the_end(engine: Engine, tmp_path: pathlib.Path) -> None:
    data = gzip.compress(life(), 1)
    whole = outcome(engine, life())[0]
    for n in range(2, len(data), 7):
        path = tmp_path / "cut.scap"
        path.write_bytes(data[:n])
        messages, error = outcome(engine, path)
        assert "offset" in str(error)
        assert messages == whole[: len(messages)]


def test_damaged_captures_end_with_an_error_or_not_at_all(engine: Engine, attack1: pathlib.Path) -> None:
    raw = attack1.read_bytes()
    for data, variants in ((life(20), 1000), (gzip.decompress(raw) if raw[:2] == b"\x1f\x8b" else raw, 60)):
        chance = random.Random(1)
        for _ in range(variants):
            damaged = bytearray(data)
            for _ in range(chance.choice((1, 1, 2, 10, 200))):
                damaged[chance.randrange(len(data))] = chance.choice((0, 1, 0x7F, 0x80, 0xFF, chance.randrange(256)))
            messages, error = outcome(engine, bytes(damaged), chance.choice((1 << 20, 4096, 777)))
            assert error is None or "offset" in str(error)
            assert all(isinstance(message, str) for message in messages)


def test_damaged_gzip_files_end_with_an_error_or_not_at_all(engine: Engine, tmp_path: pathlib.Path) -> None:
    data, chance = gzip.compress(life(20), 1), random.Random(2)
    for _ in range(200):
        damaged = bytearray(data)
        damaged[chance.randrange(2, len(data))] ^= 1 << chance.randrange(8)
        path = tmp_path / "damaged.scap"
        path.write_bytes(damaged)
        error = outcome(engine, path)[1]
        assert error is None or "offset" in str(error)


# ---- what is large ----


def growth(before: int) -> int:
    """Bytes by which the most memory that this process ever had has grown."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 - before


@pytest.mark.parametrize("code", [0x9999, 0x202, 0x203, 0x206], ids=["unknown", "processes", "descriptors", "users"])
def test_a_gzip_bomb_is_read_in_pieces(engine: Engine, tmp_path: pathlib.Path, code: int) -> None:
    squeeze, zeros, path = zlib.compressobj(9, zlib.DEFLATED, 31), bytes(MIB), tmp_path / "bomb.scap"
    with path.open("wb") as file:
        file.write(squeeze.compress(section() + struct.pack("<II", code, 0xFFFFFFF0)))
        for _ in range(300):
            file.write(squeeze.compress(zeros))
        file.write(squeeze.flush())
    assert path.stat().st_size < MIB
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    with pytest.raises(CaptureError, match="truncated: the capture ends after 3145728"):
        list(engine.run(Capture(path)))
    if not os.environ.get("FALCOLIB_SANITIZED"):
        assert growth(before) < 100 * MIB


@pytest.mark.parametrize("code", [0x204, 0x208, 0x216, 0x217, 0x221, 0x222])
def test_an_event_block_claims_no_more_than_its_limit(engine: Engine, code: int) -> None:
    error = outcome(engine, section() + struct.pack("<II", code, 0xFFFFFFF0) + bytes(MIB))[1]
    assert error is not None
    assert "exceeds" in str(error)


def test_all_rules_on_a_large_event_are_brought_piece_by_piece() -> None:
    rule = "- rule: r{}\n  desc: d\n  condition: evt.type = openat or evt.is_async = true\n  output: \"%evt.num\"\n  priority: ERROR\n"
    engine = Engine(RuleSet.parse("".join(map(rule.format, range(600)))), matching="all")
    large = block(EV_LARGE, bytes(2) + record("ASYNCEVENT_E", 1, "name", bytes(MIB)))
    events = Chunked(capture(bash(), openat(3, "/x"), large, openat(3, "/y")), 1 << 20)
    seen = [(alert.event.num, alert.rule) for alert in engine.run(events)]
    assert seen == [(num, f"r{i}") for num in (1, 2, 3) for i in range(600)]


def test_rules_that_are_replaced_amid_an_events_matches_come_after_them() -> None:
    rule = "- rule: {}{}\n  desc: d\n  condition: evt.type = openat\n  output: o\n  priority: ERROR\n"
    old, new = (RuleSet.parse("".join(rule.format(name, i) for i in range(600))) for name in ("old", "new"))
    engine, seen = Engine(old, matching="all"), []
    for alert in engine.run(Chunked(capture(bash(), openat(3, "/x"), openat(3, "/y")), 50)):    # an event a piece
        seen.append(alert.rule)
        if len(seen) == 1:
            engine.replace(new)
    assert seen == [f"{name}{i}" for name in ("old", "new") for i in range(600)]


def test_a_field_of_an_event_that_more_bytes_have_ended_is_refused() -> None:
    engine = Engine()
    first = None
    for now in engine.events(Chunked(capture(bash(), openat(3, "/x"), openat(4, "/y")), 40)):
        if first is not None:
            with pytest.raises(Exception, match="the source has moved on"):
                first["fd.name"]
        first = now


# ---- what takes long, if it takes the square of its size ----


@pytest.mark.parametrize("numbers", [range(3000), range(0, 3000 << 13, 1 << 13)], ids=["consecutive", "that would share a place"])
def test_forks_and_execs_with_many_descriptors(numbers: range) -> None:
    opened = bash() + b"".join(openat(n, f"/{n}", flags=O_CLOEXEC) for n in numbers)
    storm = b"".join(clone(1000 + n) + execve("/bin/id", tid=1000 + n) + exit_(tid=1000 + n) for n in range(300))
    child, probe = opened + storm + clone(900), read(numbers[7], tid=900)
    assert told(child + probe, "fd.name", "proc.fdopencount") == [f"/{numbers[7]}", 3000]
    assert told(child + execve("/bin/id", tid=900) + probe, "fd.name", "proc.fdopencount") == ["", 0]


def test_descriptors_that_survive_an_exec_are_still_found() -> None:
    kept, gone = range(0, 900, 3), [n * 7919 for n in range(1, 600)]
    opened = b"".join(openat(n, f"/{n}") for n in kept) + b"".join(openat(n, "/gone", flags=O_CLOEXEC) for n in gone)
    after = bash() + opened + execve("/bin/id")
    assert [told(after + read(n), "fd.name", "proc.fdopencount") for n in (0, 3, 897)] == [[f"/{n}", 300] for n in (0, 3, 897)]


def test_a_child_of_a_process_that_had_many_descriptors_has_a_small_table() -> None:
    opened = bash() + b"".join(openat(n, f"/{n}") for n in range(3000)) + named("CLOSE_RANGE_X", res=0, first=5, last=5000, flags=0)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    forks = b"".join(clone(1000 + n) for n in range(5000))
    assert told(opened + forks + read(4, tid=2000), "fd.name", "proc.fdopencount") == ["/4", 5]
    if not os.environ.get("FALCOLIB_SANITIZED"):
        assert growth(before) < 150 * MIB       # 5000 tables of 64 KiB would be 312 MiB


def test_an_exec_in_a_process_of_many_threads_takes_their_children_over() -> None:
    threads = b"".join(clone(1000 + n, flags=CLONE_THREAD) for n in range(5000))
    children = b"".join(clone(10_000 + n, tid=5999) for n in range(5000))
    blocks = bash() + threads + children + execve("/bin/id")
    assert told(blocks + read(3, tid=10_000), "proc.ppid", "proc.pname") == [100, "id"]
    assert told(blocks + read(3, tid=14_999), "proc.ppid", "proc.pname") == [100, "id"]


def test_parents_never_form_a_ring() -> None:
    ring = processes(9, *(process(9, tid=n, pid=n, ptid=(n + 1) % 3 + 10, comm=f"p{n}", vtid=n, vpid=n) for n in (10, 11, 12)))
    tail = processes(9, process(9, tid=20, pid=20, ptid=10, comm="tail", vtid=20, vpid=20))
    (names,) = told(ring + tail + read(3, tid=20), "proc.aname")
    assert names in ("p10", "p10 p12", "p10 p12 p11")           # it is open somewhere
    for n in (10, 11, 12):
        (names,) = told(ring + read(3, tid=n), "proc.aname")
        assert f"p{n}" not in str(names)


def test_a_deep_chain_of_ancestors() -> None:
    depth = 3000
    blocks = bash() + b"".join(clone(101 + n, tid=100 + n) for n in range(depth))
    names, first, beyond = told(blocks + read(3, tid=100 + depth), "proc.aname", f"proc.aname[{depth}]", f"proc.aname[{depth + 1}]")
    assert (str(names).count("bash"), first, beyond) == (depth, "bash", None)


# ---- what isn't a file ----


def test_an_endless_file_of_zeros_ends_with_an_error(engine: Engine) -> None:
    with pytest.raises(CaptureError, match=r"not a \.scap capture"):
        list(engine.run(Capture("/dev/zero")))


def test_a_folder_is_an_os_error(engine: Engine, tmp_path: pathlib.Path) -> None:
    with pytest.raises(IsADirectoryError):
        list(engine.run(Capture(tmp_path)))


def test_a_fifo_is_read_to_its_end(engine: Engine, tmp_path: pathlib.Path) -> None:
    fifo = tmp_path / "fifo"
    os.mkfifo(fifo)
    writer = threading.Thread(target=fifo.write_bytes, args=(life(),))
    writer.start()
    assert len(list(engine.run(Capture(fifo)))) == 6
    writer.join()


# ---- what stays ----


def test_replaying_leaves_nothing_behind(attack1: pathlib.Path) -> None:
    rules = RuleSet.parse(RULES)
    for _ in range(5):
        list(Engine(rules).run(Capture(attack1)))
    threads, before = threading.active_count(), resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    for _ in range(60):
        list(Engine(rules).run(Capture(attack1)))
    assert threading.active_count() <= threads + 1
    if not os.environ.get("FALCOLIB_SANITIZED"):
        assert growth(before) < 8 * MIB
