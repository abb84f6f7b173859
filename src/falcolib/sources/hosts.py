# SPDX-License-Identifier: Apache-2.0
"""Addresses of the hosts that rules name: asked for in the background, and again as long as they are wanted."""

from __future__ import annotations

import heapq
import ipaddress
import socket
import threading
import time
from collections.abc import Iterable

#: Seconds until a name is asked for again; doubled while its addresses stay the same (source: spec, engine.md E4).
FIRST, LAST = 10.0, 320.0
#: Threads: a name that nobody answers for may take one for half a minute.
ASKERS = 4


def addresses_of(name: str) -> frozenset[bytes] | None:
    """The addresses of a host, of 16 bytes (IPv4 behind ::ffff:); None: it couldn't be found out for now."""
    try:
        found = socket.getaddrinfo(name, None, type=socket.SOCK_STREAM)
    except socket.gaierror as e:
        return None if e.errno == socket.EAI_AGAIN else frozenset()
    except (OSError, UnicodeError):         # UnicodeError: a text that can be no name
        return frozenset()
    packed = (ipaddress.ip_address(str(where[0]).partition("%")[0]).packed for *_, where in found)
    return frozenset(address if len(address) == 16 else b"\0" * 10 + b"\xff\xff" + address for address in packed)


class Hosts:
    """The addresses of names, from want() until close(). All methods may be called from any thread, and none waits for an answer."""

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self._wanted: tuple[str, ...] = ()
        self._due: list[tuple[float, str]] = []             # a heap: when, s of the monotonic clock
        self._known: dict[str, tuple[frozenset[bytes], float]] = {}     # with the seconds until they are asked for again
        self._threads: list[threading.Thread] = []
        self._fresh = self._closed = False

    def want(self, names: Iterable[str]) -> None:
        """These names from now on, and no others."""
        with self._changed:
            before, self._wanted = self._wanted, tuple(dict.fromkeys(names))
            for name in set(self._wanted) - set(before):
                heapq.heappush(self._due, (0, name))
            for name in set(self._known) - set(self._wanted):
                del self._known[name]
                self._fresh = True
            while len(self._threads) < min(ASKERS, len(self._wanted)):
                self._threads.append(threading.Thread(target=self._ask, name="falcolib-hosts", daemon=True))
                self._threads[-1].start()
            self._changed.notify_all()

    def rows(self) -> bytes | None:
        """What the core wants to be told (fl_engine_hosts), if it is different from last time."""
        if not self._fresh:
            return None
        with self._changed:
            self._fresh = False
            return b"".join(address + name.encode("utf-8", "surrogateescape") + b"\0"
                            for name in self._wanted if name in self._known for address in sorted(self._known[name][0]))

    def close(self) -> None:
        """Ends the threads; one that waits for an answer when that has come."""
        with self._changed:
            self._closed = True
            self._changed.notify_all()

    def _next(self) -> str | None:
        """The next name to ask for, waited for; None: no more."""
        with self._changed:
            while not self._closed:
                wait = self._due[0][0] - time.monotonic() if self._due else None
                if wait is not None and wait <= 0:
                    name = heapq.heappop(self._due)[1]
                    if name in self._wanted:
                        return name
                else:
                    self._changed.wait(wait)
            return None

    def _ask(self) -> None:
        while (name := self._next()) is not None:
            found = addresses_of(name)
            with self._changed:
                if name not in self._wanted:
                    continue
                known, seconds = self._known.get(name, (frozenset[bytes](), 0.0))
                if found is None or found == known:
                    seconds = min(max(seconds * 2, FIRST), LAST)
                    self._known[name] = known, seconds
                else:
                    seconds = FIRST
                    self._known[name] = found, seconds
                    self._fresh = True
                heapq.heappush(self._due, (time.monotonic() + seconds, name))
                self._changed.notify()
