# SPDX-License-Identifier: Apache-2.0
"""One capture on several processors, with the alerts of one.

Every worker is a core of its own, with the whole state: each applies all events, and evaluates the rules on its share of them, runs of 64
one after the other. So no worker waits for another's state, fields have the values that they have with one worker, and an event's matches
come from one worker; sorted by event they are those of one. What is shared is the cost of rules, not that of reading and of the state.
"""

from __future__ import annotations

import queue
import threading
from collections.abc import Sequence
from typing import NamedTuple

from .batch import Match
from .compiler import Program
from .core import Core
from .errors import CaptureError


class _Done(NamedTuple):
    """A worker has used up its bytes, or filled its batch (more), or failed."""

    core: Core
    more: bool
    failure: BaseException | None


class Workers:
    """Cores that share the events of a capture. To the engine's loop it is a core; close() gives the first its independence back."""

    def __init__(self, cores: Sequence[Core]) -> None:
        self._cores = tuple(cores)
        self._held: list[Match] = []                        # found by one while another has still to come to that event
        self._last: dict[Core, int] = {}                    # the events up to which the cores came whose batch was full
        self._failures: list[tuple[int | None, BaseException]] = []
        self._done: queue.SimpleQueue[_Done] = queue.SimpleQueue()
        self._todo: queue.SimpleQueue[Core | None] = queue.SimpleQueue()
        for number, core in enumerate(self._cores):
            core.share(number, len(self._cores))
        for _ in self._cores[1:]:
            threading.Thread(target=self._work, name="falcolib-worker", daemon=True).start()

    def close(self) -> None:
        """Ends the threads."""
        for _ in self._cores[1:]:
            self._todo.put(None)
        self._cores[0].share(0, 1)

    # ---- what a core does ----

    @property
    def program(self) -> Program:
        """The program in use."""
        return self._cores[0].program

    def rewind(self) -> None:
        """A capture begins."""
        for core in self._cores:
            core.rewind()

    def use(self, program: Program) -> None:
        """Runs this program from the next chunk on: for all at the same event."""
        if not self._last:
            for core in self._cores:
                core.use(program)

    def push(self, chunk: bytes | memoryview) -> None:
        """Bytes of the capture."""
        for core in self._cores:
            core.push(chunk)

    def run(self) -> bool:
        """Runs those that have bytes left. True: there may be more."""
        waiting = [*self._last] or [*self._cores]
        for core in waiting[1:]:
            self._todo.put(core)
        self._step(waiting[0])
        self._last.clear()
        for core, more, failure in [self._done.get() for _ in waiting]:
            found = core.take()
            self._held += found
            if more:
                self._last[core] = found[-1].num
            elif failure is not None:
                # bytes that are damaged are so for all, after the same events; anything else ends the run at its event
                self._failures.append((None if isinstance(failure, CaptureError) else _current(core), failure))
        if self._last or not self._failures:
            return bool(self._last)
        event, failure = min(self._failures, key=lambda pair: (pair[0] is None, pair[0]))
        self._failures.clear()
        if event is not None:
            self._held = [match for match in self._held if match.num <= event]
        raise failure

    def take(self) -> list[Match]:
        """The matches up to where all have come, in order."""
        until = min(self._last.values(), default=None)
        self._held.sort(key=lambda match: match.num)        # stable: one event's are one worker's
        if until is None:
            out, self._held = self._held, []
        else:
            out = [match for match in self._held if match.num <= until]
            self._held = self._held[len(out) :]
        return out

    def finish(self) -> None:
        """The capture ends."""
        self._cores[0].finish()

    # ---- threads ----

    def _work(self) -> None:
        while (core := self._todo.get()) is not None:
            self._step(core)

    def _step(self, core: Core) -> None:
        try:
            self._done.put(_Done(core, core.run(), None))
        except BaseException as e:          # raised again by run()
            self._done.put(_Done(core, False, e))


def _current(core: Core) -> int | None:
    try:
        return core.current().num
    except ValueError:                      # none is
        return None
