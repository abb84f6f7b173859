# SPDX-License-Identifier: Apache-2.0
"""Users and groups of containers: their own /etc/passwd and /etc/group, read beside the loop."""

from __future__ import annotations

import heapq
import os
import threading
import time
from collections.abc import Iterable
from typing import Protocol

from .._native import ffi, lib

#: Seconds until a container's files are read again, if they are wanted: users come and go, and who has none is wanted at each exec.
AGAIN = 5.0
#: The same after a reading in vain, doubled with each: the process is gone, or the container isn't made yet, for some 30 ms, or has the
#: machine's root for ever.
FAILED = 0.01
#: Seconds that events wait for files that are being read: it takes 0.1 ms, unless somebody delays it.
WAIT = 0.05
#: All waiting together: seconds that are free, and the part of the time that it may take then.
WAITING_FREE, WAITING_SHARE = 1.0, 0.02
#: Threads: a file that never answers takes one for ever.
READERS = 16
#: Containers whose last reading is remembered.
REMEMBERED = 4096
#: Bytes that are read of a file.
FILE_BYTES = 1 << 20

_buffer = ffi.new_allocator(should_clear_after_alloc=False)


class Told(Protocol):
    """What the core offers: see core.Core."""

    def wanted_accounts(self) -> list[tuple[bytes, int]]: ...
    def tell_accounts(self, container: bytes, passwd: bytes, group: bytes) -> None: ...


def read_accounts(root: str, pid: int, container: bytes) -> tuple[bytes, bytes] | None:
    """The text of etc/passwd and of etc/group below the root of a process; empty where there is no such file. None if it isn't a process of
    the container (its short id) with a root of its own, now. root: where the machine's / is, without a slash at its end."""
    text, lengths = _buffer("char[]", 2 * FILE_BYTES), ffi.new("size_t[2]")
    if not lib.fl_read_accounts(os.fsencode(root), pid, container, text, FILE_BYTES, lengths):
        return None
    both = ffi.buffer(text)
    return both[: lengths[0]], both[lengths[0] : lengths[0] + lengths[1]]


class Accounts:
    """Reads the files of containers that the core wants to know of, until close(). attend() is called in the loop's thread.

    root: where the machine's / is.
    """

    def __init__(self, root: str = "") -> None:
        self._root = root.rstrip("/")
        self._changed = threading.Condition()
        self._due: list[tuple[float, bytes]] = []           # a heap: when, s of the monotonic clock; the container
        self._wanted: dict[bytes, tuple[float, int]] = {}   # containers that are still to be read: when, and a process of each
        self._reading: dict[bytes, float] = {}              # since when
        self._again: dict[bytes, tuple[float, float]] = {}      # when it may be read again, and how long that was; the oldest first
        self._answers: list[tuple[bytes, bytes, bytes]] = []
        self._threads = self._idle = 0
        self._began, self._waited = time.monotonic(), 0.0
        self._closed = False

    def attend(self, core: Told) -> None:
        """Takes the core's wishes, and tells it what is known by now: of a container that is new to us mostly what it wants, since it is
        waited for a little."""
        with self._changed:
            new = [container for container, pid in core.wanted_accounts() if self._want(container, pid)]
            if new:
                self._wait(new)
            answers, self._answers = self._answers, []
        for answer in answers:
            core.tell_accounts(*answer)

    def close(self) -> None:
        """Ends the threads; one that waits for a file when that has answered."""
        with self._changed:
            self._closed = True
            self._changed.notify_all()

    def _want(self, container: bytes, pid: int) -> bool:
        """Whether it is being read, and worth waiting for."""
        now = time.monotonic()
        if container in self._reading:      # for ever, perhaps; else it is wanted again
            return now - self._reading[container] < WAIT
        waits = container in self._wanted
        due = self._wanted[container][0] if waits else max(now, self._again.get(container, (now, 0))[0])
        self._wanted[container] = due, pid  # the youngest process: it may be there when an older one has gone
        if waits:
            return due - WAIT < now < due + WAIT
        heapq.heappush(self._due, (due, container))
        if self._idle < max(1, sum(when <= now for when, _ in self._due)) and self._threads < READERS:
            self._threads += 1
            self._idle += 1
            threading.Thread(target=self._work, name="falcolib-accounts", daemon=True).start()
        self._changed.notify_all()
        return due - WAIT < now

    def _wait(self, containers: Iterable[bytes]) -> None:
        """Until these are read; not longer than they are worth."""
        began = now = time.monotonic()
        end = began + min(WAIT, WAITING_FREE + WAITING_SHARE * (began - self._began) - self._waited)
        while now < end and any(container in self._wanted or container in self._reading for container in containers):
            self._changed.wait(end - now)
            now = time.monotonic()
        self._waited += now - began

    def _remember(self, container: bytes, found: bool) -> None:
        _, before = self._again.pop(container, (0, FAILED / 2))
        pause = AGAIN if found else min(2 * before, AGAIN)
        self._again[container] = time.monotonic() + pause, pause
        while len(self._again) > REMEMBERED:
            del self._again[next(iter(self._again))]

    def _next(self) -> tuple[bytes, int] | None:
        """The next container to read, waited for; None: no more."""
        while not self._closed:
            left = self._due[0][0] - time.monotonic() if self._due else None
            if left is None or left > 0:
                self._changed.wait(left)
                continue
            container = heapq.heappop(self._due)[1]
            return container, self._wanted.pop(container)[1]
        return None

    def _work(self) -> None:
        with self._changed:
            while (wish := self._next()) is not None:
                self._idle -= 1
                self._reading[wish[0]] = time.monotonic()
                self._changed.release()
                try:
                    found = read_accounts(self._root, wish[1], wish[0])
                finally:
                    self._changed.acquire()
                    del self._reading[wish[0]]
                    self._idle += 1
                self._remember(wish[0], found is not None)
                if found is not None:
                    self._answers.append((wish[0], *found))
                self._changed.notify_all()
            self._threads -= 1
            self._idle -= 1
