# SPDX-License-Identifier: Apache-2.0
"""Messages and outputs for tests of what delivers alerts."""

import shutil
import threading
import time
from collections.abc import Callable, Iterable, Sequence

import pytest

from falcolib import AlertFormat, Priority
from falcolib.internal import InternalAlert
from falcolib.outputs import Channel, Message, Output, Outputs

FORMAT = AlertFormat(hostname="host")
#: 2026-11-24 12:00:00 UTC, ns.
NOON = 1_795_521_600 * 10**9
#: Seconds that a test waits for what must come: the machine may be slow, and busy with other work.
PATIENCE = 120.0


def patient(channels: Iterable[Channel | Output], *, drain: float = 2 * PATIENCE, **options: float) -> Outputs:
    """Outputs whose end waits long, as the machine may be loaded."""
    return Outputs(channels, drain=drain, **options)


def message(number: int = 0, *, priority: Priority = Priority.WARNING, tags: Sequence[str] = (), text: str = "A thing was done",
            rule: str = "A rule") -> InternalAlert:
    """A message that its number tells from others: of source syscall, with a field ``n``."""
    made = InternalAlert(rule, priority, f"{text} {number}", {"evt.time": NOON + number, "n": number}, NOON + number, format=FORMAT,
                         source="syscall")
    made.tags = frozenset(tags)
    return made


def until(condition: Callable[[], object], told: Callable[[], object] = lambda: "it didn't come true") -> None:
    """Waits for a condition. told: what is said if it doesn't come true."""
    end = time.monotonic() + PATIENCE
    while not condition():
        assert time.monotonic() < end, told()
        time.sleep(0.005)


def needs(*programs: str) -> pytest.MarkDecorator:
    """For tests that run programs: skipped, by name, where one is missing. `.ci/packages test` installs them."""
    missing = [program for program in programs if not shutil.which(program)]
    return pytest.mark.skipif(bool(missing), reason=f"not installed: {', '.join(missing)}")


class Kept(Output):
    """An output that keeps what it is sent. before: called with the messages first; may raise. Blocks while `gate` is not set; `sends` is
    how many send() have begun."""

    def __init__(self, name: str = "kept", batch: int = 1, before: Callable[[Sequence[Message]], None] | None = None) -> None:
        self.name, self.batch = name, batch
        self.messages: list[Message] = []
        self.sizes: list[int] = []
        self.gate = threading.Event()
        self.gate.set()
        self.sends = self.reopened = self.closed = 0
        self.aborted = False
        self._before = before

    def send(self, messages: Sequence[Message]) -> None:
        self.sends += 1
        self.gate.wait()
        if self._before:
            self._before(messages)
        self.sizes.append(len(messages))
        self.messages.extend(messages)

    def reopen(self) -> None:
        self.reopened += 1

    def close(self) -> None:
        self.closed += 1

    def abort(self) -> None:
        self.aborted = True
        self.gate.set()
