# SPDX-License-Identifier: Apache-2.0
"""The thread that asks runtimes, and how its answers reach the core."""

from __future__ import annotations

import collections
import contextlib
import heapq
import importlib.util
import itertools
import json
import threading
import time
from collections.abc import Iterator
from typing import Any, Protocol, TypeVar

from .options import Containers

_Chunk = TypeVar("_Chunk")
_QUIET = 10.0                           # seconds in which a socket that didn't answer isn't asked
_FIRST_RETRY = 0.1                      # seconds
_WAITING_SHARE = 0.2                    # of the time may be spent waiting …
_WAITING_FREE = 1.0                     # … after so many seconds of it
_TOLD_MAX = 32000                       # bytes of environment and labels: what container events of a recorder have room for


class Asks(Protocol):
    """What the core offers: see core.Core."""

    def ask_containers(self) -> None: ...
    def wanted_containers(self) -> list[str]: ...
    def tell_container(self, json: bytes) -> None: ...


class Runtime(Protocol):
    """A socket of a runtime."""

    def find(self, id_: str) -> dict[str, Any] | None: ...
    def close(self) -> None: ...


class Lookup:
    """Asks runtimes about containers, in a thread of its own: what they answer is told to the core between two pieces of the source.

    problems: what went wrong last, by socket, for people.
    """

    def __init__(self, options: Containers) -> None:
        self._options = options
        self._changed = threading.Condition()
        self._due: list[tuple[float, int, int, str]] = []       # when, a number that makes it unique, attempt, id
        self._number = itertools.count()
        self._asked: dict[str, float] = {}                      # ids without an answer, and when they were asked
        self._answers: collections.deque[bytes] = collections.deque()
        self._ending = False
        self._thread: threading.Thread | None = None
        self._runtimes: dict[tuple[str, str], Runtime] = {}
        self._quiet: dict[tuple[str, str], float] = {}
        self._began = self._waited = 0.0
        self.problems: dict[str, str] = {}

    # ---- in the loop's thread ----

    def attend(self, core: Asks, chunks: Iterator[_Chunk]) -> Iterator[_Chunk]:
        """The chunks of a source, unchanged; between them, the core's questions are taken and answers told."""
        core.ask_containers()
        self._start()
        self.ask(core.wanted_containers())      # those that run already
        try:
            for chunk in chunks:
                self._tell(core)
                yield chunk
                self.ask(core.wanted_containers())
        finally:
            self._stop()

    def ask(self, ids: list[str]) -> None:
        if not ids:
            return
        now = time.monotonic()
        with self._changed:
            for id_ in ids:
                if id_ not in self._asked:
                    self._asked[id_] = now
                    heapq.heappush(self._due, (now, next(self._number), 0, id_))
            self._changed.notify_all()

    def answers(self) -> Iterator[bytes]:
        """What was found out since: JSON of container events."""
        while self._answers:
            yield self._answers.popleft()

    def _tell(self, core: Asks) -> None:
        if self._asked:
            self._wait()
        for answer in self.answers():
            core.tell_container(answer)

    def _wait(self) -> None:
        """Until all that was asked lately is answered; not longer than the options allow."""
        began = time.monotonic()
        allowed = max(_WAITING_FREE, self._options.wait) + _WAITING_SHARE * (began - self._began) - self._waited
        with self._changed:
            end = min(began + allowed, max(self._asked.values(), default=0) + self._options.wait)
            while self._asked and not self._ending and (left := end - time.monotonic()) > 0:
                before = len(self._asked)
                self._changed.wait(left)
                if len(self._asked) != before:
                    end = min(began + allowed, max(self._asked.values(), default=0) + self._options.wait)
        self._waited += time.monotonic() - began

    def _start(self) -> None:
        self._ending = False
        self._began, self._waited = time.monotonic(), 0.0
        self._thread = threading.Thread(target=self._work, name="falcolib-containers", daemon=True)
        self._thread.start()

    def _stop(self) -> None:
        with self._changed:
            self._ending = True
            self._due.clear()
            self._asked.clear()
            self._changed.notify_all()
        self._answers.clear()

    # ---- in the thread ----

    def _work(self) -> None:
        while (next_ := self._next()) is not None:
            attempt, id_ = next_
            found = self._find(id_)
            if found is None and attempt + 1 < self._options.attempts:
                with self._changed:
                    if not self._ending:
                        due = time.monotonic() + _FIRST_RETRY * 2**attempt
                        heapq.heappush(self._due, (due, next(self._number), attempt + 1, id_))
                continue
            answer = told(found, self._options.label_max_len) if found else {"id": id_[:12], "lookup": "unknown"}
            with self._changed:
                if self._ending:
                    break
                self._answers.append(json.dumps({"container": answer}, separators=(",", ":")).encode())
                self._asked.pop(id_, None)
                self._changed.notify_all()
        for runtime in self._runtimes.values():
            with contextlib.suppress(Exception):
                runtime.close()
        self._runtimes.clear()

    def _next(self) -> tuple[int, str] | None:
        """The next id that is to be asked for; None at the end."""
        with self._changed:
            while not self._ending:
                left = self._due[0][0] - time.monotonic() if self._due else None
                if left is not None and left <= 0:
                    _, _, attempt, id_ = heapq.heappop(self._due)
                    return attempt, id_
                self._changed.wait(left)
        return None

    def _find(self, id_: str) -> dict[str, Any] | None:
        for key in self._options.sockets():
            if self._quiet.get(key, 0) > time.monotonic():
                continue
            try:
                runtime = self._runtimes.get(key)
                if runtime is None:
                    runtime = self._runtimes[key] = connect(*key, self._options)
                found = runtime.find(id_)
            except NotImplementedError as e:
                self._silence(key, e, float("inf"))
            except Exception as e:      # whatever a runtime answers, the others are asked
                self._silence(key, e, _QUIET)
            else:
                if found is not None:
                    return found
        return None

    def _silence(self, key: tuple[str, str], why: Exception, seconds: float) -> None:
        self.problems[key[1]] = f"{key[0]}: {why}"
        self._quiet[key] = time.monotonic() + seconds


def connect(name: str, path: str, options: Containers) -> Runtime:
    """A runtime at a socket. Raises NotImplementedError if it takes libraries that aren't installed."""
    from .docker import DOCKER, PODMAN, DockerApi

    if name in ("docker", "podman"):
        return DockerApi(path, DOCKER if name == "docker" else PODMAN, timeout=options.timeout, with_size=options.with_size)
    if importlib.util.find_spec("grpc") is None or importlib.util.find_spec("google.protobuf") is None:
        raise NotImplementedError("gRPC is needed: pip install falcolib[containers]")
    from .containerd import ContainerdApi
    from .cri import CriApi

    return CriApi(path, timeout=options.timeout) if name == "cri" else ContainerdApi(path, timeout=options.timeout)


def told(found: dict[str, Any], label_max_len: int) -> dict[str, Any]:
    """A container as it is told to the core: without labels that are too long, and with no more of them than have room."""
    room = _TOLD_MAX
    for name in ("labels", "pod_sandbox_labels"):
        kept = {}
        for key, value in found.get(name, {}).items():
            size = len(key) + len(value)
            if len(value) <= label_max_len and size <= room:
                kept[key] = value
                room -= size
        found = found | {name: kept}
    return found
