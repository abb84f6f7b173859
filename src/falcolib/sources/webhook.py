# SPDX-License-Identifier: Apache-2.0
"""Kubernetes' audit events from the API server's webhook."""

from __future__ import annotations

import asyncio
import logging
import threading
import time
from collections.abc import Iterator, Sequence
from queue import Empty, SimpleQueue
from typing import TYPE_CHECKING

from .audit import END, Documents, OnFault

if TYPE_CHECKING:
    from starlette.requests import Request
    from starlette.responses import Response

    from ..web import Limits, Security, WebServer

#: Where the API server is told to post to, and as it was spelt before.
PATHS = ("/k8s_audit", "/k8s-audit")
#: Bytes of bodies that wait to be looked at; above, clients wait, …
WAITING = 64 << 20
#: … for so many seconds, and are then told to come again in RETRY seconds: the API server does.
PATIENCE, RETRY = 5.0, 1
#: Seconds between looks whether there is room, or somebody who reads.
LOOK_FOR = 0.02
#: Seconds that a wait for the next body lasts at most.
LOOK = 0.5
#: Seconds after close() in which what was accepted is looked at, at most: as many as Kubernetes gives a pod that is to end.
DRAIN = 30.0


class AuditWebhook(Documents):
    """Audit events of Kubernetes as its API server posts them (source ``k8s_audit``).

    host, port: where it listens, default all addresses; port 0 is any that is free. paths: where it takes events. security: TLS, clients'
    certificates, a bearer token; limits: of bodies, times and connections (falcolib.web). server: one that has other routes, too, instead
    of one of its own; host, port, security and limits are then that one's. limit, on_fault: as AuditFile has them.

    A request is answered with 200 once its body is there, before it is looked at: what can't be used is counted in Engine.stats(). What was
    answered so is looked at, also when the run is told to stop: it refuses new requests with 503, and ends when the queue is empty, or
    after 30 seconds; what is left then is told in the log ``falcolib`` and counted.
    ``strict`` looks first, and answers as Falco did before 2022: 400 for a body that is no list of events. Other answers: 405 for what is
    no POST, 400 for another content type than application/json and for a body that is too large or too slow, 401 without the token, 429
    when more comes than is looked at, 503 while nobody reads; on a server that was started before the first run, requests wait for that
    run, 5 seconds at most.

    ``counts`` tells how many requests came to what end. Raises OSError if the port can't be had.
    """

    drains = True

    def __init__(
        self,
        host: str = "",
        port: int = 8765,
        *,
        paths: Sequence[str] = PATHS,
        security: Security | None = None,
        limits: Limits | None = None,
        strict: bool = False,
        server: WebServer | None = None,
        limit: int | None = None,
        on_fault: OnFault | None = None,
    ) -> None:
        from starlette.routing import Route

        from ..web import WebServer

        super().__init__("k8s_audit", limit, on_fault)
        self._strict = strict
        self._own = server is None
        self.server = WebServer(host, port, security=security, limits=limits) if server is None else server
        self.counts = self.server.counts
        self._bodies: SimpleQueue[tuple[str, bytes] | None] = SimpleQueue()
        self._size = 0              # of what is in the queue; changed by the server's thread (+) and the reader's (-)
        self._taken = 0
        self._done = 0
        self._closed = False
        # None before the first run. Changed, and believed, under the lock: so no body comes when the reader has seen the last.
        self._accepting: bool | None = None
        self._lock = threading.Lock()
        methods = ["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "TRACE", "CONNECT"]
        self.server.add([Route(path, self.server.guarded(self._answer), methods=methods) for path in paths])

    def __repr__(self) -> str:
        return f"AuditWebhook(port={self.port})"

    @property
    def port(self) -> int:
        """The port that it listens on."""
        return self.server.port

    def chunks(self) -> Iterator[bytes]:
        """The bodies, 0x1e behind each, until close()."""
        self._closed = False
        return self._watched(self._received())

    def _largest(self) -> int:
        return self.server.limits.body

    def close(self) -> None:
        """Ends chunks() soon: requests under way are answered, and what was answered is delivered. May be called at any time, more than
        once, from any thread and from a signal handler."""
        self._closed = True
        if self._own:
            self.server.stop()
        self._bodies.put(None)

    def position(self) -> tuple[int, int | None]:
        """Bytes of bodies that have been delivered; there is no end."""
        return self._done, None

    def _received(self) -> Iterator[tuple[str, bytes]]:
        self._accepting = True
        try:
            if self._own:
                self.server.start()
            while not self._closed:
                try:
                    item = self._bodies.get(timeout=LOOK)
                except Empty:
                    continue        # a signal that comes just before the wait doesn't end it: its handler runs here
                if item is not None:
                    yield from self._delivered(item)
            self._refuse()
            until = time.monotonic() + DRAIN
            while (item := self._next()) is not None:
                if time.monotonic() > until:
                    self._tell_left(item)
                    return
                yield from self._delivered(item)
        finally:
            self._refuse()
            if self._own:
                self.server.close()

    def _refuse(self) -> None:
        """From now on no body is accepted."""
        with self._lock:
            self._accepting = False

    def _next(self) -> tuple[str, bytes] | None:
        """A body that waits; None if there is none."""
        try:
            while (item := self._bodies.get_nowait()) is None:
                pass                # close() has been called more than once
        except Empty:
            return None
        return item

    def _tell_left(self, item: tuple[str, bytes] | None) -> None:
        """What was accepted, and there was no time for."""
        bodies = size = 0
        while item is not None:
            bodies, size, item = bodies + 1, size + len(item[1]), self._next()
        self._taken += size
        self.counts["given_up"] += bodies
        logging.getLogger("falcolib").error(
            "%r was told to end %g s ago, and gives up %d bodies of audit events (%d bytes) that it accepted", self, DRAIN, bodies, size)

    def _delivered(self, item: tuple[str, bytes]) -> Iterator[tuple[str, bytes]]:
        client, body = item
        yield client, body
        yield client, END
        self._done += len(body)
        self._taken += len(body)

    # ---- in the server's thread ----

    async def _answer(self, request: Request) -> Response:
        from starlette.responses import HTMLResponse, PlainTextResponse
        from starlette.responses import Response as Empty_

        from ..web import BodyError

        if request.method != "POST":
            self.counts["method"] += 1
            return PlainTextResponse(f"{request.method} method not allowed", 405, {"allow": "POST"})
        if "application/json" not in request.headers.get("content-type", ""):
            self.counts["content_type"] += 1
            return PlainTextResponse("Wrong Content Type" if self._strict else "wrong Content Type", 400)
        try:
            body = await self.server.body(request)
        except BodyError as e:
            self.counts[e.reason] += 1
            return PlainTextResponse(f"bad request: {e}", 400, {"connection": "close"})
        if self._strict and (wrong := what_is_wrong(body)):
            self.counts["malformed"] += 1
            return PlainTextResponse(f"Bad Request: {wrong}", 400)
        if not await self._room(len(body)):
            self.counts["busy"] += 1
            return PlainTextResponse("more comes than can be looked at", 429, {"retry-after": str(RETRY)})
        await self._reader()
        with self._lock:
            if self._closed or not self._accepting:
                self.counts["refused"] += 1
                return PlainTextResponse("nobody looks at audit events now", 503, {"retry-after": str(RETRY), "connection": "close"})
            self._size += len(body)
            self.counts["accepted"] += 1
            self._bodies.put((f"{request.client.host}:{request.client.port}" if request.client else "webhook", body))
        return HTMLResponse("<html><body>Ok</body></html>") if self._strict else Empty_()

    async def _reader(self) -> None:
        """Waits for the first run to begin, as long as for room."""
        loop = asyncio.get_running_loop()
        until = loop.time() + PATIENCE
        while self._accepting is None and not self._closed and loop.time() < until:
            await asyncio.sleep(LOOK_FOR)

    async def _room(self, size: int) -> bool:
        """Waits for room in the queue. A body always finds some in an empty one."""
        loop = asyncio.get_running_loop()
        until = loop.time() + PATIENCE
        while self._size - self._taken > max(WAITING - size, 0):
            if loop.time() >= until:
                return False
            if self._closed:        # refused below
                return True
            await asyncio.sleep(LOOK_FOR)
        return True


def what_is_wrong(body: bytes) -> str | None:
    """Why a body isn't an audit event, a list of them, or an array of either; None if it is."""
    import msgspec

    try:
        data = msgspec.json.decode(body)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as e:
        return f"Could not parse data: {e}"
    for item in data if isinstance(data, list) else [data]:
        listed = isinstance(item, dict) and item.get("kind") == "EventList" and isinstance(item.get("items"), list)
        if not listed and not (isinstance(item, dict) and item.get("kind") == "Event"):
            return "Data not recognized as a k8s audit event"
    return None
