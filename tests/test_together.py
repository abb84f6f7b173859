# SPDX-License-Identifier: Apache-2.0
"""Several sources at once: threads, order, errors, the end."""

from __future__ import annotations

import heapq
import itertools
import os
import pathlib
import threading
import time
from collections.abc import Callable, Iterator
from types import SimpleNamespace
from typing import Any

import pytest

import falcolib
from falcolib import Alert, Capture, CaptureError, Engine, RuleSet, Source
from falcolib.together import Together
from live import PATIENCE
from scapwriter import TIME, capture
from state_events import bash, execve

RULES = """
- rule: Exec
  desc: a program starts
  condition: evt.type in (execve, execveat) and evt.rawres = 0
  output: exec %proc.name
  priority: NOTICE
"""
MS = 10**6


@pytest.fixture(scope="module")
def rules() -> RuleSet:
    return RuleSet.parse(RULES, name="rules.yaml")


def head() -> bytes:
    return capture(bash())


def program(name: str, ms: int) -> bytes:
    return execve(f"/bin/{name}", ts=TIME + ms * MS)


class Pushed(Source):
    """A live source: what the test pushes, when it pushes it."""

    def __init__(self, name: str = "pushed") -> None:
        self._label = name
        self._items: list[bytes | Exception | None] = [head()]
        self._there = threading.Condition()
        self.taken = 0
        self.closed = False

    def __repr__(self) -> str:
        return f"Pushed({self._label})"

    def push(self, *items: bytes | Exception | None) -> None:
        with self._there:
            self._items += items
            self._there.notify()

    def chunks(self) -> Iterator[bytes]:
        while True:
            with self._there:
                while not self._items:
                    self._there.wait()
                item = self._items.pop(0)
            if item is None:
                return
            if isinstance(item, Exception):
                raise item
            self.taken += 1
            yield item

    def close(self) -> None:
        self.closed = True
        self.push(None)


def names(alerts: list[Alert]) -> list[object]:
    return [alert.fields["proc.name"] for alert in alerts]


def wait_until(holds: Callable[[], bool], seconds: float = PATIENCE) -> None:
    end = time.monotonic() + seconds
    while not holds():
        assert time.monotonic() < end
        time.sleep(0.005)


def threads() -> list[str]:
    return [t.name for t in threading.enumerate() if t.name.startswith(("falcolib-pushed", "falcolib-syscall", "falcolib-stream"))]


class TestOrder:
    def test_captures_are_merged_exactly_by_time(self, attack1: pathlib.Path, tmp_path: pathlib.Path) -> None:
        rules = RuleSet.load(pathlib.Path(__file__).parent.parent / "rules" / "falcolib_rules.yaml")
        other = tmp_path / "other.scap"
        other.write_bytes(head() + b"".join(program(f"p{n}", n) for n in range(2000)))
        execs = rules.merge(RuleSet.parse(RULES, name="more"))
        paths = [attack1, other, attack1]
        alone = [[(a.time, a.rule) for a in Engine(execs).run(Capture(path))] for path in paths]
        together = [(a.time, a.rule) for a in Engine(execs).run([Capture(path) for path in paths])]
        assert together == list(heapq.merge(*alone, key=lambda alert: alert[0]))
        assert len(together) > 2000

    def test_a_quiet_source_holds_nobody_back(self, rules: RuleSet) -> None:
        busy, quiet = Pushed(), Pushed()
        alerts = Engine(rules).run([quiet, busy])
        for n in range(5):
            busy.push(program(f"p{n}", n))
            assert next(alerts).fields["proc.name"] == f"p{n}"
        busy.push(None)
        quiet.push(program("last", 99), None)
        assert names(list(alerts)) == ["last"]

    def test_the_time_of_events_without_alerts_lets_others_go_on(self, rules: RuleSet, monkeypatch: pytest.MonkeyPatch) -> None:
        """Both are at the same time: without ticks each alert would wait for the window, an hour here."""
        monkeypatch.setattr("falcolib.together.WINDOW", 3600.0)
        one, other = Pushed(), Pushed()
        rounds = 40
        for n in range(rounds):
            one.push(program(f"p{n}", 10 * n))
            other.push(execve("/bin/failed", ts=TIME + (10 * n + 5) * MS, res=-2))
        engine = Engine(rules)
        giving_up = threading.Timer(PATIENCE, engine.stop)
        giving_up.start()
        alerts = engine.run([one, other])
        assert names(list(itertools.islice(alerts, rounds - 1))) == [f"p{n}" for n in range(rounds - 1)]
        giving_up.cancel()
        one.push(None)
        other.push(None)
        assert len(list(alerts)) == 1

    def test_sources_that_are_both_busy_are_in_order(self, rules: RuleSet, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr("falcolib.together.WINDOW", PATIENCE)       # a thread may wait for a processor just when it looks idle
        sources = [Pushed(), Pushed(), Pushed()]
        for number, source in enumerate(sources):
            source.push(b"".join(program(f"{number}", 3 * n + number) for n in range(500)), None)
        found = [alert.time for alert in Engine(rules).run(sources)]
        assert len(found) == 1500
        assert found == sorted(found)

    def test_a_source_that_is_at_work_is_waited_for(self) -> None:
        """Longer than for one that waits for its next event: what it has may be earlier."""
        class Core:
            def last_time(self) -> int:
                return 0

        def run_one(core: object, source: Source) -> Iterator[Any]:
            for chunk in source.chunks():
                if chunk == b"slow":
                    quick.push(b"quick")
                    time.sleep(0.3)
                yield SimpleNamespace(time=1 if chunk == b"slow" else 2)

        slow, quick = Pushed(), Pushed()
        slow._items, quick._items = [b"slow"], []
        run = Together([(Core(), slow), (Core(), quick)], run_one, lambda: True, lambda source, error: None)    # type: ignore[list-item]
        alerts = run.run()
        assert [next(alerts).time, next(alerts).time] == [1, 2]
        slow.push(None)
        quick.push(None)
        assert list(alerts) == []

    def test_an_alert_waits_for_a_file_that_is_being_read(self, rules: RuleSet) -> None:
        class Slow(Pushed):
            waits = False

        slow, live = Slow(), Pushed()
        live.push(program("later", 50), None)
        got: list[object] = []
        run = threading.Thread(target=lambda: got.extend(names(list(Engine(rules).run([slow, live])))))
        run.start()
        wait_until(lambda: live.taken == 2)
        time.sleep(0.2)                     # longer than the window: nothing may have come
        assert not got
        slow.push(program("earlier", 10), None)
        run.join(PATIENCE)
        assert got == ["earlier", "later"]


class TestErrors:
    def test_one_that_fails_is_told_and_the_others_go_on(self, rules: RuleSet) -> None:
        bad, good = Pushed("bad"), Pushed("good")
        told: list[tuple[Source, Exception]] = []
        bad.push(program("first", 1), OSError("gone"))
        alerts = Engine(rules).run([bad, good], on_error=lambda source, error: told.append((source, error)))
        assert next(alerts).fields["proc.name"] == "first"
        good.push(program("second", 2))
        assert next(alerts).fields["proc.name"] == "second"
        wait_until(lambda: not bad._items)
        good.push(program("third", 3))
        assert next(alerts).fields["proc.name"] == "third"
        good.push(None)
        with pytest.raises(OSError, match="gone"):
            next(alerts)
        assert [(repr(source), str(error)) for source, error in told] == [("Pushed(bad)", "gone")]

    def test_by_default_the_log_tells(self, rules: RuleSet, caplog: pytest.LogCaptureFixture) -> None:
        bad, good = Pushed("bad"), Pushed("good")
        bad.push(OSError("gone"))
        alerts = Engine(rules).run([bad, good])
        for n in range(1000):
            good.push(program("on", n))
            assert next(alerts).fields["proc.name"] == "on"
            if caplog.records:
                break
        good.push(None)
        with pytest.raises(OSError, match="gone"):
            list(alerts)
        assert [record.getMessage() for record in caplog.records] == ["Pushed(bad) ended: gone; the other sources go on"]

    def test_alerts_up_to_a_capture_s_damage_and_all_of_the_other(self, rules: RuleSet, tmp_path: pathlib.Path) -> None:
        good, bad = tmp_path / "good", tmp_path / "bad"
        good.write_bytes(head() + b"".join(program("good", n) for n in range(100)))
        bad.write_bytes(head() + program("bad", 5) + b"\1" * 40)
        found: list[Alert] = []
        with pytest.raises(CaptureError):
            found += Engine(rules).run([Capture(bad), Capture(good)], on_error=lambda *_: None)
        assert sorted(set(names(found))) == ["bad", "good"]
        assert len(found) == 101


class TestEnd:
    def test_stop_ends_all_that_wait(self, rules: RuleSet) -> None:
        sources = [Pushed(), Pushed(), Pushed()]
        sources[1].push(program("found", 1))
        engine = Engine(rules)
        alerts = engine.run(sources)
        assert next(alerts).fields["proc.name"] == "found"
        threading.Timer(0.05, engine.stop).start()
        assert list(alerts) == []
        assert all(source.closed for source in sources)
        assert not threads()

    def test_who_wants_no_more_ends_it(self, rules: RuleSet) -> None:
        sources = [Pushed(), Pushed()]
        sources[0].push(program("found", 1))
        alerts = Engine(rules).run(sources)
        next(alerts)
        alerts.close()                      # type: ignore[attr-defined]
        assert all(source.closed for source in sources)
        assert not threads()

    def test_a_slow_consumer_slows_the_sources(self, rules: RuleSet) -> None:
        busy, quiet = Pushed(), Pushed()
        busy.push(*(program("p", n) for n in range(5000)), None)
        alerts = Engine(rules).run([busy, quiet])
        next(alerts)
        wait_until(lambda: busy.taken > 1000)
        time.sleep(0.1)
        assert busy.taken < 2000            # 1,024 alerts are held at most
        quiet.push(None)
        assert len(list(alerts)) == 4999

    def test_statistics_add_up(self, rules: RuleSet) -> None:
        engine = Engine(rules)
        sources = [Pushed(), Pushed()]
        for source in sources:
            source.push(*(program("p", n) for n in range(100)), None)
        assert len(list(engine.run(sources))) == 200
        stats = engine.stats()
        assert stats.alerts == {"Exec": 200}
        assert stats.events == stats.matches == 200

    def test_a_later_run_ends_it(self, rules: RuleSet) -> None:
        engine = Engine(rules)
        sources = [Pushed(), Pushed()]
        sources[0].push(program("p", 1), program("p", 2))
        alerts = engine.run(sources)
        next(alerts)
        assert list(engine.run([])) == []
        sources[0].push(program("p", 3))
        sources[1].push(program("p", 3))
        with pytest.raises(RuntimeError, match="another run"):
            list(alerts)
        assert not threads()

    def test_rules_can_be_replaced(self, rules: RuleSet) -> None:
        engine = Engine(rules)
        sources = [Pushed(), Pushed()]
        alerts = engine.run(sources)
        sources[0].push(program("p", 1))
        assert next(alerts).rule == "Exec"
        engine.replace(RuleSet.parse(RULES.replace("Exec", "Other"), name="other"))
        sources[1].push(program("p", 2))
        assert next(alerts).rule == "Other"
        engine.stop()
        assert list(alerts) == []

    def test_pipes_fed_by_threads(self, rules: RuleSet) -> None:
        ends = [os.pipe() for _ in range(3)]

        def feed(fd: int, number: int) -> None:
            with os.fdopen(fd, "wb", buffering=0) as pipe:
                pipe.write(head())
                for n in range(300):
                    pipe.write(program(f"{number}", n))

        writers = [threading.Thread(target=feed, args=(write, number)) for number, (_, write) in enumerate(ends)]
        for writer in writers:
            writer.start()
        captures = [Capture(os.fdopen(read, "rb")) for read, _ in ends]
        assert all(source.waits for source in captures)
        found = names(list(Engine(rules).run(captures)))
        assert {name: found.count(name) for name in found} == {"0": 300, "1": 300, "2": 300}
        assert falcolib.Capture(__file__).waits is False
