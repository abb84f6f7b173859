# SPDX-License-Identifier: Apache-2.0
"""The outputs of a run, which a reload may replace while alerts come."""

from __future__ import annotations

import threading
from collections.abc import Callable

import msgspec

from ..outputs import Counts, Message, Outputs

#: Alerts that are held while the outputs are replaced; then who finds alerts waits.
HELD = 65536


class Delivery:
    """Gives alerts to outputs. replace() drains the old ones first, so that no two write to one file or spool: what comes meanwhile is held
    for the new ones, so nothing is lost, and the order stays.

    make: makes the outputs. taps: who else is given each message, at once; they must not wait.
    """

    def __init__(self, make: Callable[[], Outputs], taps: list[Callable[[Message], None]] | None = None) -> None:
        self._outputs = make()
        self._make = make
        self.taps = taps if taps is not None else []
        self._turn = threading.Condition()
        self._held: list[Message] | None = None
        self._waits = True
        self._before: dict[str, Counts] = {}        # of outputs that were replaced

    def emit(self, message: Message) -> None:
        """Gives a message to all outputs. Raises what Outputs.emit() raises."""
        for tap in self.taps:
            tap(message)
        with self._turn:
            while self._held is not None and len(self._held) >= HELD and self._waits:
                self._turn.wait(0.5)
            if self._held is not None:
                self._held.append(message)
            else:
                self._outputs.emit(message)     # within: it mustn't be closed now

    def replace(self, make: Callable[[], Outputs]) -> None:
        """Others from now on. If they can't be made, the old ones are made again, and what went wrong is raised."""
        with self._turn:
            self._held = []
        self._outputs.drain()
        self._before = _sums(self._before, self._outputs.counts())
        failure: Exception | None = None
        try:
            self._outputs = make()
            self._make = make
        except Exception as e:
            failure = e
            self._outputs = self._make()
        if not self._waits:
            self._outputs.stop_waiting()
        with self._turn:
            held, self._held = self._held, None
            for message in held:
                self._outputs.emit(message)
            self._turn.notify_all()
        if failure is not None:
            raise failure

    def counts(self) -> dict[str, Counts]:
        """What became of the messages, by output, since the start."""
        return _sums(self._before, self._outputs.counts())

    def reopen(self) -> None:
        """As Outputs.reopen()."""
        self._outputs.reopen()

    def stop_waiting(self) -> None:
        """As Outputs.stop_waiting(): nobody waits for room from now on. May be called from a signal handler."""
        self._waits = False
        self._outputs.stop_waiting()

    def check(self) -> None:
        """As Outputs.check()."""
        self._outputs.check()

    def drain(self) -> int:
        """As Outputs.drain()."""
        return self._outputs.drain()


def _sums(a: dict[str, Counts], b: dict[str, Counts]) -> dict[str, Counts]:
    """Both together; what is queued is that of the second, which has also been given what the first one's spool kept."""
    sums = {**a, **b}
    for name in a.keys() & b.keys():
        both = Counts(*(getattr(a[name], field) + getattr(b[name], field) for field in Counts.__struct_fields__))
        sums[name] = msgspec.structs.replace(both, emitted=both.emitted - a[name].queued, queued=b[name].queued)
    return sums
