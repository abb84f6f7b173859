# SPDX-License-Identifier: Apache-2.0
"""Alerts that are alike, told as one with their number: "and 41 more like it".

The first of a kind is sent at once. Those like it that come within the window are held back; at its end the last of them is sent, with how
many there were, and a new window begins. So a flood of one kind is a message a window, and none of it goes unmentioned.
"""

from __future__ import annotations

import functools
import threading
import time
from collections import OrderedDict
from collections.abc import Collection, Mapping, Sequence

import msgspec

from ...alert import Priority
from ...event import FieldValue
from ..channel import Channel, Counts, Retry
from ..message import Message
from ..output import Output
from ..queue import Queue
from .notification import value_text

#: Kinds that are remembered at once; with more, the oldest window ends early.
KINDS = 4096
_ATTRIBUTES = frozenset({"rule", "priority", "source", "hostname", "tags"})
_NS = 10**9


class Grouped:
    """The last of several messages that are alike. count: how many they are; window: of how many ns."""

    def __init__(self, last: Message, count: int, window: int) -> None:
        self._last = last
        self.count = count
        self._more = f" (and {count - 1} more like it in {_duration(window)})"

    @property
    def rule(self) -> str:
        """The rule's name."""
        return self._last.rule

    @property
    def priority(self) -> Priority:
        """The rule's priority."""
        return self._last.priority

    @property
    def time(self) -> int:
        """When the last of them happened: ns since the epoch."""
        return self._last.time

    @property
    def source(self) -> str:
        """The source of events."""
        return self._last.source

    @property
    def tags(self) -> frozenset[str]:
        """The rule's tags."""
        return self._last.tags

    @property
    def hostname(self) -> str:
        """The host that they are of."""
        return self._last.hostname

    @property
    def message(self) -> str:
        """The output of the rule for the last of them, and how many there were more."""
        return self._last.message + self._more

    @property
    def fields(self) -> Mapping[str, FieldValue]:
        """What the rule prints for the last of them."""
        return self._last.fields

    @property
    def id(self) -> str:
        """That of the last of them."""
        return self._last.id

    @property
    def size(self) -> int:
        """Bytes that it takes in memory, about."""
        return self._last.size + 256

    def __str__(self) -> str:
        return str(self._last) + self._more

    def as_dict(self) -> dict[str, object]:
        """As of the last of them, with the ``count``."""
        told = dict(self._last.as_dict())
        for name in ("output", "message"):
            if name in told:
                told[name] = f"{told[name]}{self._more}"
        return {**told, "count": self.count}

    @functools.cached_property
    def _json(self) -> str:
        return msgspec.json.encode(self.as_dict(), order="sorted").decode()

    def json(self) -> str:
        """Falco's JSON line, with the ``count``."""
        return self._json


class Grouping:
    """Which messages are held back, and what is told of them. Not for several threads. by: what makes them alike; window: ns, more than 0.

    Times are those of a clock that only goes forward, in ns.
    """

    def __init__(self, by: Sequence[str], window: int, kinds: int = KINDS) -> None:
        self._by = tuple(by)
        self._window = window
        self._kinds = kinds
        self._open: OrderedDict[tuple[str, ...], _Window] = OrderedDict()      # by when they end
        #: How many are held back now.
        self.held = 0

    def offer(self, message: Message, now: int) -> list[Message]:
        """Takes a message: what is to be sent at once, itself or, where it begins one window too many, also what another held."""
        kind = tuple(self._part(message, name) for name in self._by)
        window = self._open.get(kind)
        if window is not None:
            window.count += 1
            window.last = message
            self.held += 1
            return []
        self._open[kind] = _Window(now + self._window)
        if len(self._open) <= self._kinds:
            return [message]
        _, oldest = self._open.popitem(last=False)
        return [message, *self._told(oldest)]

    def due(self, now: int) -> list[Message]:
        """What is to be sent of windows that are over. One in which something was held back goes on; so a flood stays one of its kind."""
        out: list[Message] = []
        while self._open:
            kind, window = next(iter(self._open.items()))
            if window.ends > now:
                break
            del self._open[kind]
            if window.count:
                out += self._told(window)
                self._open[kind] = _Window(now + self._window)
        return out

    def all(self) -> list[Message]:
        """What is held back, as the end has come."""
        out = [message for window in self._open.values() for message in self._told(window)]
        self._open.clear()
        return out

    def next(self) -> int | None:
        """When the next window ends; None without one."""
        return next((window.ends for window in self._open.values()), None)

    def _told(self, window: _Window) -> list[Message]:
        if window.last is None:
            return []
        self.held -= window.count
        return [window.last if window.count == 1 else Grouped(window.last, window.count, self._window)]

    def _part(self, message: Message, name: str) -> str:
        if name in _ATTRIBUTES:
            value = getattr(message, name)
            return ",".join(sorted(value)) if name == "tags" else str(value)
        if name == "output":
            return message.message
        return value_text(message.fields.get(name))


class _Window:
    __slots__ = ("count", "ends", "last")

    def __init__(self, ends: int) -> None:
        self.ends = ends
        self.count = 0
        self.last: Message | None = None


class GroupingChannel(Channel):
    """A channel whose messages are grouped before they are queued. Its counts hold: emitted = delivered + dropped + queued + grouped, where
    queued are also those that are held back, and grouped those that another's count tells of.
    """

    def __init__(
        self, output: Output, *, by: Sequence[str], window: int, queue: Queue | None = None, minimum_priority: Priority = Priority.DEBUG,
        tags: Collection[str] = (), retry: Retry | None = None, wait: bool = False,
    ) -> None:
        super().__init__(output, queue=queue, minimum_priority=minimum_priority, tags=tags, retry=retry, wait=wait)
        self._grouping = Grouping(by, window)
        self._grouped = 0
        self._changed = threading.Condition()
        self._over = False
        self._clock = threading.Thread(target=self._tick, name=f"falcolib-{self.name}-groups", daemon=True)
        self._clock.start()

    def emit(self, message: Message) -> bool:
        if not self.wants(message):
            return self.error is None
        with self._changed:
            idle = self._grouping.next() is None
            for told in [message] if self._over else self._grouping.offer(message, time.monotonic_ns()):
                self._queue_told(told)
            if idle:
                self._changed.notify()
        return self.error is None

    def counts(self) -> Counts:
        with self._changed:
            c = super().counts()
            held = self._grouping.held
            return msgspec.structs.replace(c, emitted=c.emitted + held + self._grouped, queued=c.queued + held, grouped=self._grouped)

    def _queue_told(self, told: Message) -> None:
        """Queues a message; those that it stands for count as grouped. With the lock held."""
        self._grouped += getattr(told, "count", 1) - 1
        super().emit(told)

    def _tick(self) -> None:
        with self._changed:
            while not self._over:
                ends = self._grouping.next()
                if ends is None:
                    self._changed.wait()
                elif (rest := ends - time.monotonic_ns()) > 0:
                    self._changed.wait(rest / _NS)
                else:
                    for told in self._grouping.due(time.monotonic_ns()):
                        self._queue_told(told)

    def begin_drain(self, deadline: float) -> None:
        with self._changed:
            self._over = True
            for told in self._grouping.all():
                self._queue_told(told)
            self._changed.notify()
        super().begin_drain(deadline)


def _duration(ns: int) -> str:
    seconds = ns / _NS
    for unit, name in ((3600, "h"), (60, "min")):
        if seconds >= unit and seconds % unit == 0:
            return f"{seconds // unit:g} {name}"
    return f"{seconds:g} s"
