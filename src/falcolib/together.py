# SPDX-License-Identifier: Apache-2.0
"""Several sources at once, each in a thread of its own; their alerts merged in order of event time."""

from __future__ import annotations

import logging
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from typing import Any, TypeAlias

from .alert import Alert
from .core import Core
from .sources import Source

#: Seconds that an alert is held back for a source that waits for its next event. It is late by that at most, or by as long as another
#: source is at work on what it has: how busy the machine is doesn't change the order.
WINDOW = 0.05
#: Alerts of one source that are held, at most; then it waits. Of a live one many, as it loses events while it waits; of a file few, so that
#: other rules are in force soon.
AHEAD, AHEAD_OF_FILE = 1024, 16
#: Seconds after which the consumer looks whether its run goes on, also if nothing happens.
_LOOK = 1.0

#: What is called when a source fails while others go on: the source, and why.
OnError: TypeAlias = Callable[[Source, Exception], None]
#: Runs one source on a core.
RunOne: TypeAlias = Callable[[Core, Source], Iterator[Alert]]


def log_error(source: Source, error: Exception) -> None:
    """Tells of a source that failed in the log ``falcolib``; where logging isn't set up, that is a line on stderr."""
    logging.getLogger("falcolib").error("%r ended: %s; the other sources go on", source, error)


class _Ticking:
    """A source whose pace is watched: whenever its next chunk is asked for, all alerts of those before have been delivered. tick: is told
    when it is asked for (True), and when it has come."""

    def __init__(self, source: Source, tick: Callable[[bool], None]) -> None:
        self._source = source
        self._tick = tick

    def __getattr__(self, name: str) -> Any:        # name, close, open_on and whatever else it has
        return getattr(self._source, name)

    def __repr__(self) -> str:
        return repr(self._source)

    def chunks(self) -> Iterator[bytes | memoryview]:
        chunks = self._source.chunks()
        try:
            self._tick(True)
            for chunk in chunks:
                self._tick(False)
                yield chunk
                self._tick(True)
        finally:
            close = getattr(chunks, "close", self._source.close)
            close()


class _Lane:
    """One source: its thread, and the alerts that wait to be merged.

    `clock` is the event time (ns) up to which its alerts are known. A source that `waits` may be silent for long, as live ones are; one
    that doesn't, a file, is always waited for, so that the order is exact.
    """

    def __init__(self, number: int, core: Core, source: Source) -> None:
        self.number = number
        self.name = f"falcolib-{source.name}"
        self.core = core
        self.source = source
        self.waits: bool = getattr(source, "waits", True)
        self.ahead = AHEAD if self.waits else AHEAD_OF_FILE
        self.alerts: deque[tuple[Alert, float]] = deque()      # with the time at which each was found
        self.clock = 0
        self.idle = False           # it waits for its next event
        self.done = False

    def key(self) -> tuple[int, int]:
        return self.alerts[0][0].time, self.number


class Together:
    """The run of several sources. `go_on` says whether the run may, and raises if it has been replaced by another."""

    def __init__(self, sources: Sequence[tuple[Core, Source]], run_one: RunOne, go_on: Callable[[], bool], on_error: OnError) -> None:
        self._lanes = [_Lane(number, core, source) for number, (core, source) in enumerate(sources)]
        self._run_one = run_one
        self._go_on = go_on
        self._on_error = on_error
        self._changed = threading.Condition()
        self._given_up = False
        self._untold: list[tuple[Source, Exception]] = []
        self._errors: list[Exception] = []

    def run(self) -> Iterator[Alert]:
        """The alerts. A source that fails ends, and the others go on; when all have ended, its error is raised (of several, the first)."""
        threads = [threading.Thread(target=self._work, args=(lane,), name=lane.name, daemon=True) for lane in self._lanes]
        for thread in threads:
            thread.start()
        try:
            while True:
                with self._changed:
                    alert, all_done = self._next()
                    told, self._untold = self._untold, []
                if not all_done:
                    for source, error in told:
                        self._on_error(source, error)
                self._errors += [error for _, error in told]
                if alert is not None:
                    yield alert
                elif all_done:
                    break
                else:
                    self._go_on()
        finally:
            with self._changed:
                self._given_up = True
                self._changed.notify_all()
            for lane in self._lanes:
                if not lane.done:
                    lane.source.close()
            for thread in threads:
                thread.join()
        if self._errors:
            raise self._errors[0]

    def _next(self) -> tuple[Alert | None, bool]:
        """The next alert, or None after a while, and whether all sources have ended and nothing is left."""
        lane, seconds = self._choose()
        if lane is None and not all(lane.done for lane in self._lanes):
            self._changed.wait(_LOOK if seconds is None else seconds)
            lane, _ = self._choose()
        if lane is None:
            return None, all(lane.done and not lane.alerts for lane in self._lanes)
        alert, _ = lane.alerts.popleft()
        if len(lane.alerts) == lane.ahead - 1:
            self._changed.notify_all()
        return alert, False

    def _choose(self) -> tuple[_Lane | None, float | None]:
        """Whose first alert is the next; None if there is none yet, and the seconds after which there is (None: that depends on others)."""
        first = min((lane for lane in self._lanes if lane.alerts), key=_Lane.key, default=None)
        if first is None:
            return None, None
        alert, found = first.alerts[0]
        left = found + WINDOW - time.monotonic()
        for other in self._lanes:
            if other.alerts or other.done or (other.waits and other.clock >= alert.time):
                continue
            if not other.waits or not other.idle:           # a file, or one that is at work on what it has
                if not (first.waits and len(first.alerts) >= first.ahead):    # what is live is not held up until it loses events
                    return None, None
            elif left > 0:
                return None, left
        return first, None

    # ---- in the threads of the sources ----

    def _work(self, lane: _Lane) -> None:
        try:
            for alert in self._run_one(lane.core, _Ticking(lane.source, lambda idle: self._tick(lane, idle))):
                if not self._put(lane, alert):
                    break
        except Exception as e:
            with self._changed:
                self._untold.append((lane.source, e))
        finally:
            with self._changed:
                lane.done = True
                self._changed.notify_all()

    def _put(self, lane: _Lane, alert: Alert) -> bool:
        """False: nobody wants alerts any more."""
        with self._changed:
            while len(lane.alerts) >= lane.ahead and not self._given_up:
                self._changed.wait()
            lane.alerts.append((alert, time.monotonic()))
            self._changed.notify_all()
            return not self._given_up

    def _tick(self, lane: _Lane, idle: bool) -> None:
        """The lane has been given a chunk; or, idle, its alerts up to its last event have been delivered, and who holds an alert back for
        it may go on."""
        lane.idle = idle
        if idle:
            lane.clock = max(lane.clock, lane.core.last_time())
            if any(other.alerts for other in self._lanes):
                with self._changed:
                    self._changed.notify_all()
