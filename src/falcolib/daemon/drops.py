# SPDX-License-Identifier: Apache-2.0
"""What happens when the kernel side loses events, or tells nothing for long: ``syscall_event_drops`` and ``syscall_event_timeouts`` of
falco.yaml (spec: engine.md D7)."""

from __future__ import annotations

import contextlib
import logging
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING

from .. import render
from ..alert import Priority
from ..beside import beside
from ..errors import FalcolibError

if TYPE_CHECKING:
    from ..config import Configuration
    from ..config.engine import SyscallEventDrops, SyscallEventTimeouts
    from ..engine import Engine
    from ..sources import Source

#: rule, priority, message, fields, ns since the epoch: Daemon.emit.
Emit = Callable[[str, Priority, str, dict[str, int | float | str], int], None]

DROPS, TIMEOUTS = "Falco internal: syscall event drop", "Falco internal: timeouts notification"
#: Seconds of silence that Falco calls a timeout: as long as it waits between two looks at empty buffers.
TIMEOUT = 0.030
log = logging.getLogger("falcolib.daemon")


class TooManyLost(FalcolibError):
    """Events were lost, and the configuration says to end then."""


class Losses:
    """Looks each second at how many events were lost, and does what the settings say: log, alert, exit.

    emit: makes an internal alert. stop: ends the run; `failure` says why then. found: seconds with too many losses; acted: those on which
    the token bucket let something be done.
    """

    def __init__(self, settings: SyscallEventDrops, emit: Emit, stop: Callable[[], None]) -> None:
        self._settings = settings
        self._emit = emit
        self._stop = stop
        self._before: Mapping[str, int] = {}
        self._tokens, self._filled = settings.max_burst, None  # type: float, int | None
        self.found = self.acted = 0
        self.failure: TooManyLost | None = None

    @property
    def wanted(self) -> bool:
        """Whether there is anything to do."""
        return set(self._settings.actions) not in (set(), {"ignore"})

    def look(self, counters: Mapping[str, int], when: int, *, last: bool = False) -> None:
        """A second has passed, or with `last` the run is over. counters: as Live.counters() gives them; when: ns since the epoch."""
        delta = {name: value - self._before.get(name, 0) for name, value in counters.items() if isinstance(value, int)}
        self._before = dict(counters)
        lost, seen = delta.get("n_drops", 0), delta.get("n_evts", 0)
        if self._settings.simulate_drops and not last:
            log.info("Simulating syscall event drop")
            lost = delta["n_drops"] = lost + 1
        elif lost <= 0 or lost / max(seen, 1) <= self._settings.threshold:
            return
        self.found += 1
        if not self._claim(when):
            log.debug("Syscall event drop but token bucket depleted, skipping actions")
            return
        self.acted += 1
        message = f"{DROPS}. {lost} system calls dropped in last second."
        if "log" in self._settings.actions:
            log.debug("%s", message)
        if "alert" in self._settings.actions:
            groups = (name for name in delta if name.startswith("n_drops_buffer_") and name.endswith("_exit"))
            names = ("n_evts", "n_drops", "n_drops_buffer_total", *groups, "n_drops_page_faults", "n_drops_bug")
            fields: dict[str, int | float | str] = {name: str(delta.get(name, 0)) for name in names}
            self._emit(DROPS, Priority.DEBUG, message, {**fields, "ebpf_enabled": "1"}, when)
        if "exit" in self._settings.actions and self.failure is None:
            log.critical("%s", message)
            self.failure = TooManyLost(f"{message} syscall_event_drops.actions has exit")
            self._stop()

    def _claim(self, when: int) -> bool:
        """A token of the bucket, which fills by `rate` a second up to `max_burst`."""
        if self._filled is not None:
            self._tokens = min(self._settings.max_burst, self._tokens + self._settings.rate * max(when - self._filled, 0) / 1e9)
        self._filled = when
        if self._tokens < 1:
            return False
        self._tokens -= 1
        return True


class Silence:
    """Tells when nothing has come for as long as `max_consecutives` of Falco's looks at empty buffers take, 30 ms each."""

    def __init__(self, settings: SyscallEventTimeouts, emit: Emit) -> None:
        self._settings = settings
        self._emit = emit
        self._seen = -1
        self._since = 0

    def look(self, counters: Mapping[str, int], last_event: int, when: int) -> None:
        """counters: as for Losses; last_event: its time, ns since the epoch, 0: there was none; when: ns since the epoch."""
        if counters.get("n_evts", 0) != self._seen:
            self._seen, self._since = counters.get("n_evts", 0), when
        elif when - self._since >= self._settings.max_consecutives * TIMEOUT * 1e9:
            self._since = when
            message = f"{TIMEOUTS}. {self._settings.max_consecutives} consecutive timeouts without event."
            told = render.clock("evt.time", last_event) if last_event else "none"
            self._emit(TIMEOUTS, Priority.DEBUG, message, {"last_event_time": told}, when)


@contextlib.contextmanager
def guarding(config: Configuration, engine: Engine, sources: Sequence[Source], emit: Emit) -> Iterator[Losses]:
    """Does for a run, while it goes on, what its configuration says; nothing where no source is this machine."""
    losses, silence = Losses(config.syscall_event_drops, emit, engine.stop), Silence(config.syscall_event_timeouts, emit)
    live = next((source for source in sources if getattr(source, "counters", None) and getattr(source, "live", False)), None)
    if live is None:
        yield losses
        return
    counters: Callable[[], Mapping[str, int]] = live.counters           # type: ignore[attr-defined]
    ready: Callable[[], bool] = live.ready.is_set                       # type: ignore[attr-defined]
    with watching(losses, silence, counters, lambda: engine.stats().last_time, ready=ready):
        yield losses


@contextlib.contextmanager
def watching(losses: Losses, silence: Silence, counters: Callable[[], Mapping[str, int]], last_event: Callable[[], int], *,
             ready: Callable[[], bool] = lambda: True, period: float = 1.0) -> Iterator[None]:
    """Looks at the counters each second (period: seconds) once `ready` says so, in a thread, and once more at the end."""
    def look() -> None:
        now, counted = time.time_ns(), counters()
        if losses.wanted:
            losses.look(counted, now)
        silence.look(counted, last_event(), now)

    def work(done: threading.Event) -> None:
        while not done.wait(period):
            try:
                if ready():
                    look()
            except Exception:       # an output that failed to take an alert must not end the looking
                log.exception("Looking for lost events failed")

    try:
        with beside("drops", work):
            yield
    finally:
        if losses.wanted and losses.failure is None:
            losses.look(counters(), time.time_ns(), last=True)
