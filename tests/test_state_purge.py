# SPDX-License-Identifier: Apache-2.0
"""Threads whose exits were not seen: on a running machine they are looked for, and let go (engine.md H6)."""

import contextlib
import os
import subprocess
from collections.abc import Iterator

from falcolib.core import Core
from scapwriter import TIME, capture, probe
from state_events import named
from test_snapshot import Looked, until_asleep

MINUTE = 60 * 10**9
GONE = 2**22 + 7                        # no thread has such a number
OWN = os.getpid()


@contextlib.contextmanager
def sleeping() -> Iterator[int]:
    """A process that is there until the end of the block."""
    with subprocess.Popen(["sleep", "600"]) as child:
        try:
            until_asleep(child)
            yield child.pid
        finally:
            child.kill()


def later(minutes: int) -> bytes:
    return named("GETUID_X", tid=OWN, ts=TIME + minutes * MINUTE, uid=0)


def see(core: Core, *blocks: bytes) -> None:
    for block in blocks:
        core.push(block)
        while core.step():
            pass


def begun(interval: int = 0, timeout: int = 0) -> Core:
    """The machine's state, taken behind a section header, which would empty it: the events to come are a capture's."""
    core = Core("first", 0, 0, purge=(interval, timeout))
    see(core, capture())
    core.snapshot("")
    see(core, probe(OWN))
    return core


def test_threads_that_ended_unseen_go_after_a_while() -> None:
    with sleeping() as pid:
        core = begun()
        assert Looked(core, pid)["proc.name"] == "sleep"
    see(core, *[later(minutes) for minutes in (1, 2, 3)])
    assert core.stats().threads_purged > 0
    assert core.look(pid) is None


def test_nobody_is_looked_for_at_the_start() -> None:
    """Who has ended since: the events that tell it may still be to come."""
    with sleeping() as pid:
        core = begun()
    see(core, probe(OWN), probe(OWN))
    assert core.look(pid) is not None
    see(core, later(1), later(2))
    assert core.look(pid) is None


def test_threads_that_are_there_stay() -> None:
    with sleeping() as pid:
        core = begun()
        see(core, *[later(minutes) for minutes in (1, 7, 13)])
        assert Looked(core, pid)["proc.name"] == "sleep"


def test_what_is_only_a_number_goes() -> None:
    core = begun()
    see(core, probe(GONE))
    assert core.stats().fake_threads == 1
    before = core.stats().threads
    see(core, later(1), later(2))
    assert core.stats().threads < before + 1


def test_a_captures_threads_stay() -> None:
    core = Core("first", 0, 0)
    see(core, capture(probe(GONE)), later(1), later(20), later(40))
    assert core.stats().threads == 2
    assert core.stats().threads_purged == 0



def died_after_an_event(core: Core, minute: int) -> int:
    with sleeping() as pid:
        core.snapshot("")
        see(core, named("GETUID_X", tid=pid, ts=TIME + minute * MINUTE, uid=0))
    return pid


def test_how_long_a_thread_must_be_silent_can_be_set() -> None:
    for timeout, stays in ((0, True), (60, False)):
        core = begun(timeout=timeout)
        pid = died_after_an_event(core, 0)
        see(core, later(1), later(2))
        assert (core.look(pid) is not None) is stays


def test_how_often_threads_are_looked_for_can_be_set() -> None:
    for interval, stays in ((3600, True), (60, False)):
        core = begun(interval=interval, timeout=60)
        see(core, later(1), later(2))
        with sleeping() as pid:
            see(core, named("GETUID_X", tid=pid, ts=TIME + 2 * MINUTE, uid=0))
        see(core, later(4), later(20))
        assert (core.look(pid) is not None) is stays
