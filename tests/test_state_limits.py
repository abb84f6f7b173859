# SPDX-License-Identifier: Apache-2.0
"""What a hostile capture can't do: fill the memory, or lead the state astray."""

import os
import pathlib

import pytest

from falcolib import Engine, RuleSet
from scapwriter import Chunked, capture, probe
from state_events import bash, clone, exit_, last, named, openat, read


def small(**limits: int) -> Engine:
    return Engine(RuleSet.parse("[]", name="no rules"), **limits)


def test_a_full_thread_table_takes_no_more() -> None:
    engine = small(threads=3)
    blocks = b"".join(probe(tid) for tid in range(1, 11))
    names = [now["proc.name"] for now in engine.events(Chunked(capture(blocks), 1 << 20))]
    assert names == ["<NA>"] * 3 + [None] * 7
    assert engine.stats().threads == 3
    assert engine.stats().threads_refused == 7


def test_events_of_threads_without_an_entry_change_nothing() -> None:
    engine = small(threads=1)
    blocks = bash() + openat(3, "/x", tid=7) + clone(200, tid=7) + clone(0, tid=8) + named("CHDIR_X", tid=7, res=0, path="/") + exit_(tid=7)
    blocks += clone(300) + probe(100)
    assert [now["proc.name"] for now in engine.events(Chunked(capture(blocks), 1 << 20))][-1] == "bash"


def test_an_exit_makes_room() -> None:
    engine = small(threads=1)
    assert [now["proc.name"] for now in engine.events(Chunked(capture(bash() + exit_() + probe(7)), 1 << 20))] == ["bash", "<NA>"]


def test_a_full_descriptor_table_takes_no_more() -> None:
    engine = small(fds=4)
    blocks = bash() + b"".join(openat(n, f"/{n}") for n in range(10)) + read(3) + read(9)
    events = engine.events(Chunked(capture(blocks), 1 << 20))
    *_, known, unknown = [(now["fd.name"], now["fd.type"], now["proc.fdopencount"]) for now in events]
    assert known == ("/3", "file", 4)
    assert unknown == ("", None, 4)
    assert engine.stats().fds_refused == 6


@pytest.mark.parametrize("num", [-(2**63), -1000, 2**31, 2**32, 2**63 - 1])
def test_any_number_may_be_a_descriptor(num: int) -> None:
    pair = named("SOCKETPAIR_X", res=0, fd1=num, fd2=4, source=0, peer=0, domain=1, type=1, proto=0)
    events = bash() + named("DUP_1_X", res=5, oldfd=num) + pair
    assert last(events + read(num), "fd.type", "fd.num") == ("unix", num)


@pytest.mark.parametrize("order", [1, -1])
def test_numbers_that_share_a_place_are_told_apart(order: int) -> None:
    numbers = [3 + 16 * i for i in range(40)]
    opened = bash() + b"".join(openat(n, f"/{n}") for n in numbers[::order])
    closed = b"".join(named("CLOSE_X", res=0, fd=n) for n in numbers[::2])
    assert [last(opened + closed + read(n), "fd.name")[0] for n in numbers[:6]] == ["", "/19", "", "/51", "", "/83"]


def test_a_thread_may_name_itself_as_its_parent() -> None:
    assert last(bash(ptid=100) + probe(), "proc.ppid", "proc.aname[3]") == (None, None)


def test_parents_never_form_a_ring() -> None:
    events = bash() + clone(200) + clone(300, tid=200) + exit_(tid=200, reaper=300) + exit_(tid=100, reaper=300) + probe(300)
    assert last(events, "proc.name", "proc.aname[10]") == ("bash", None)


def test_a_child_with_its_parents_number_is_not_made() -> None:
    assert last(bash() + clone(100) + probe(100), "proc.name", "proc.ppid") == ("bash", None)


def peak_kb() -> int:
    return int(next(line.split()[1] for line in pathlib.Path("/proc/self/status").read_text().splitlines() if line.startswith("VmHWM")))


def test_a_fork_bomb_ends_in_counted_refusals() -> None:
    """Each process makes two, without an end: at most so many are kept, whatever the capture's length, and later exits make room again."""
    engine = small(threads=1000)
    bomb = [capture(bash())] + [clone(2 * n, tid=n) + clone(2 * n + 1, tid=n) for n in range(100, 30_000)]
    over = b"".join(exit_(tid=n) for n in range(200, 1000)) + clone(70_000) + probe(70_000)
    events = engine.events(Chunked(b"".join([*bomb, over]), 1 << 16))
    names = [now["proc.name"] for now in events]
    stats = engine.stats()
    assert names[-1] == "bash"
    assert stats.threads <= 1000
    assert stats.threads_refused > 50_000
    assert stats.threads_added - stats.threads_removed == stats.threads


def test_a_storm_of_descriptors_ends_in_counted_refusals() -> None:
    """Also where each of many processes gets a copy of a full table."""
    engine = Engine(RuleSet.parse("[]", name="no rules"))
    storm = capture(bash()) + b"".join(openat(n, "/x") for n in range(5000)) + b"".join(clone(200 + n) for n in range(600)) + read(3)
    before = peak_kb()
    for _ in engine.events(Chunked(storm, 1 << 16)):
        pass
    stats = engine.stats()
    assert stats.fds_refused == 904 + 4096 * 89
    assert stats.fds_added - stats.fds_removed == 2 * 1024 * 1024
    if not os.environ.get("FALCOLIB_SANITIZED"):         # whose memory is several times as much
        assert peak_kb() - before < 600_000
