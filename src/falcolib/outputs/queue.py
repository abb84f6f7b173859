# SPDX-License-Identifier: Apache-2.0
"""Where messages wait for their output: in memory, bounded. (spool.py: on disk.)"""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from itertools import islice
from typing import Protocol

from .message import Message

#: What a queue without a capacity holds, and what any holds at most, in bytes of messages. Falco's is without bounds.
CAPACITY, MAX_BYTES = 65536, 64 << 20


class Queue(Protocol):
    """Messages in order, oldest first. Not for several threads: its channel has a lock."""

    #: How to make it hold more, for the log.
    advice: str
    #: How many messages it turned out to have lost; its channel counts them as dropped, and sets this to 0.
    lost: int

    def put(self, message: Message) -> bool:
        """Adds a message; False if it is full."""

    def peek(self, most: int) -> Sequence[Message]:
        """The oldest. They stay until done()."""

    def done(self, count: int) -> None:
        """Takes the oldest out: they are delivered, or given up."""

    def __len__(self) -> int:
        """How many wait."""

    def close(self) -> int:
        """The end: how many messages are lost by it."""


class MemoryQueue:
    """A queue in memory. capacity: messages; 0 for the default, 65,536. 64 MiB at most."""

    def __init__(self, capacity: int = 0) -> None:
        self._capacity = capacity or CAPACITY
        self.lost = 0
        self._waiting: deque[Message] = deque()
        self._bytes = 0
        self.advice = f"outputs_queue.capacity (now {self._capacity}) is how many alerts may wait"

    def put(self, message: Message) -> bool:
        if len(self._waiting) >= self._capacity or self._bytes >= MAX_BYTES:
            return False
        self._waiting.append(message)
        self._bytes += message.size
        return True

    def peek(self, most: int) -> Sequence[Message]:
        return list(islice(self._waiting, most))

    def done(self, count: int) -> None:
        for _ in range(count):
            self._bytes -= self._waiting.popleft().size

    def __len__(self) -> int:
        return len(self._waiting)

    def close(self) -> int:
        left = len(self._waiting)
        self._waiting.clear()
        self._bytes = 0
        return left
