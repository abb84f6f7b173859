# SPDX-License-Identifier: Apache-2.0
"""Engine.stop(): from a signal handler or another thread, at any time."""

import gzip
import os
import pathlib
import threading
import time
from collections.abc import Iterator

import pytest

import falcolib
from falcolib import regex

RULES = "- {rule: r, desc: d, condition: evt.type = execve, output: o, priority: INFO}"
WRITTEN = 400_001


@pytest.fixture
def engine() -> falcolib.Engine:
    return falcolib.Engine(falcolib.RuleSet.parse(RULES))


@pytest.fixture
def stalled(attack1: pathlib.Path) -> Iterator[falcolib.Capture]:
    """Half a capture, from a pipe that stays open."""
    read, write = os.pipe()
    half = gzip.decompress(attack1.read_bytes())[:WRITTEN]
    writer = threading.Thread(target=os.write, args=(write, half))
    writer.start()
    with open(read, "rb", buffering=0) as file:
        yield falcolib.Capture(f"/dev/fd/{file.fileno()}")
        writer.join()
        os.close(write)


def test_a_run_that_waits_for_its_source_ends(engine: falcolib.Engine, stalled: falcolib.Capture) -> None:
    def stop_when_it_waits() -> None:
        while stalled.position()[0] < WRITTEN:
            time.sleep(0.01)
        time.sleep(0.1)
        engine.stop()

    stopper = threading.Thread(target=stop_when_it_waits)
    stopper.start()
    assert list(engine.run(stalled))
    stopper.join()


def test_a_stop_before_the_first_alert_is_asked_for_counts(engine: falcolib.Engine, attack1: pathlib.Path) -> None:
    alerts = engine.run(falcolib.Capture(attack1))
    engine.stop()
    assert list(alerts) == []


def test_a_stopped_engine_runs_again(engine: falcolib.Engine, attack1: pathlib.Path) -> None:
    alerts = engine.run(falcolib.Capture(attack1))
    next(alerts)
    engine.stop()
    list(alerts)
    assert len(list(engine.run(falcolib.Capture(attack1)))) > 50


def test_events_without_rules_can_be_stopped(engine: falcolib.Engine, attack1: pathlib.Path) -> None:
    events = engine.events(falcolib.Capture(attack1))
    next(events)
    engine.stop()
    assert list(events) == []


def test_it_is_told_how_long_the_core_has_been_at_work(attack1: pathlib.Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As a regular expression sees it, which is matched in the midst of a piece of events."""
    seen: list[float] = []
    rules = falcolib.RuleSet.parse("- {rule: r, desc: d, condition: proc.name regex '.*sh', output: o, priority: INFO}")
    engine = falcolib.Engine(rules)
    full_match = regex.full_match

    def watching(compiled: object, subject: bytes) -> bool:
        seen.append(engine.busy())
        return full_match(compiled, subject)

    monkeypatch.setattr(regex, "full_match", watching)
    for _ in engine.run(falcolib.Capture(attack1)):
        seen.append(-engine.busy())
    assert max(seen) > 0
    assert engine.busy() == 0
