# SPDX-License-Identifier: Apache-2.0
"""The web server: one a process, for all that is asked for over HTTP (the audit webhook; health and metrics, where they are wanted).

Its clients are untrusted. Each connection has a time in which its request must be there, connections and headers have limits, and what is
refused is counted by its reason.
"""

from __future__ import annotations

import asyncio
import hmac
import logging
import os
import socket
import ssl
import threading
from collections import Counter
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import anyio.to_thread
import h11
import uvicorn
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response
from starlette.routing import BaseRoute
from uvicorn.protocols.http.h11_impl import H11Protocol

from .rare import Rare

#: Bytes of a request's head.
HEAD = 64 * 1024
#: Seconds for what is under way when the server stops.
GRACE = 5
_log = logging.getLogger("falcolib")
#: Clients' mistakes are counted, not told one by one.
_silent = logging.Logger("falcolib.web", logging.CRITICAL)


@dataclass(frozen=True)
class Security:
    """How clients are told apart from others.

    certificate: PEM file of the server's certificate, which makes it HTTPS; key: of its key, default in the same file. client_ca: PEM file
    of those that sign clients' certificates: a client without one is refused. token: a bearer token that requests must carry.
    """

    certificate: str | None = None
    key: str | None = None
    client_ca: str | None = None
    token: str | None = None

    def context(self) -> ssl.SSLContext | None:
        """What TLS needs; None without a certificate. Raises OSError (ssl.SSLError, too) with the file that can't be used."""
        if self.certificate is None:
            if self.key or self.client_ca:
                raise ValueError("clients' certificates and a key need a certificate of the server's own")
            return None
        context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
        _see_that_it_holds(self.certificate, "certificate", b"CERTIFICATE-----")
        key = self.key or self.certificate
        _see_that_it_holds(key, "private key", b"PRIVATE KEY-----", b"BEGIN ENCRYPTED", b"Proc-Type: 4,ENCRYPTED")
        try:
            context.load_cert_chain(self.certificate, self.key)
        except ssl.SSLError as e:
            mismatch = e.reason == "KEY_VALUES_MISMATCH"
            raise ssl.SSLError(e.errno, "the key isn't that of the certificate" if mismatch else e.strerror, key) from None
        if self.client_ca is not None:
            _see_that_it_holds(self.client_ca, "certificate", b"CERTIFICATE-----")
            try:
                context.load_verify_locations(self.client_ca)
            except ssl.SSLError as e:
                raise ssl.SSLError(e.errno, e.strerror, self.client_ca) from None
            context.verify_mode = ssl.CERT_REQUIRED
        return context


def _see_that_it_holds(path: str, what: str, mark: bytes, *refused: bytes) -> None:
    """Raises OSError if a PEM file isn't there or lacks something: OpenSSL tells of neither the file nor what it lacks, and asks the
    terminal for the password of an encrypted key."""
    with open(path, "rb") as file:
        text = file.read()
    if mark not in text:
        raise ssl.SSLError(ssl.SSLErrorNumber.SSL_ERROR_SSL, f"there is no {what} in it, as PEM", path)
    if any(other in text for other in refused):
        raise ssl.SSLError(ssl.SSLErrorNumber.SSL_ERROR_SSL, f"its {what} is encrypted: store it without a password", path)


@dataclass(frozen=True)
class Limits:
    """What a client may take. body: bytes; seconds: for a request's head from when the connection is there, and as many for its body; idle:
    seconds between two requests of a connection; connections: at once: above, the one that has waited longest for a request goes."""

    body: int = 12 << 20
    seconds: float = 30.0
    idle: float = 120.0
    connections: int = 1000


class BodyError(Exception):
    """A body that is refused: the counter's name, and why."""

    def __init__(self, reason: str, text: str) -> None:
        super().__init__(text)
        self.reason = reason


def url_host(host: str) -> str:
    """An address as URLs have it."""
    return f"[{host}]" if ":" in host else host


class WebServer:
    """Serves routes on a port, in a thread of its own.

    host: an address, default all; port: 0 for any that is free. threads: how many requests at once are worked on by endpoints that are
    plain functions, and may wait for a disk or compute; 0: as many as there are processors. Others wait for their turn meanwhile; those of
    coroutines don't. Raises OSError if the port can't be had, or a file of ``security`` not be read. The socket is open at once, and
    served from start() on.
    """

    def __init__(self, host: str = "", port: int = 8765, *, security: Security | None = None, limits: Limits | None = None,
                 threads: int = 0) -> None:
        self.security = security or Security()
        self.limits = limits or Limits()
        self._threads = threads or os.cpu_count() or 1
        self.counts: Counter[str] = Counter()
        self._routes: list[BaseRoute] = []
        self._address = (host, port)
        self._context = self.security.context()
        self._socket: socket.socket | None = self._listen()
        self._failures = Rare()
        self._server: uvicorn.Server | None = None
        self._thread: threading.Thread | None = None
        self._waiting: dict[_Connection, None] = {}

    def _listen(self) -> socket.socket:
        host, port = self._address
        try:
            listening = socket.create_server(
                (host, port), family=socket.AF_INET6 if ":" in host or (not host and socket.has_dualstack_ipv6()) else socket.AF_INET,
                backlog=1024, dualstack_ipv6=not host and socket.has_dualstack_ipv6())
        except OSError as e:
            raise OSError(e.errno, e.strerror, f"{host or '*'}:{port}") from None
        self._address = (host, listening.getsockname()[1])
        return listening

    @property
    def host(self) -> str:
        """The address that is listened on; empty: all."""
        return self._address[0]

    @property
    def port(self) -> int:
        """The port that is listened on."""
        return self._address[1]

    @property
    def stopping(self) -> bool:
        """Whether it was told to stop: answers that go on and on end then."""
        return self._server is not None and self._server.should_exit

    def add(self, routes: Sequence[BaseRoute]) -> None:
        """Adds routes. Before start()."""
        self._routes += routes

    def start(self) -> None:
        """Begins to serve, if it doesn't yet."""
        if self._thread is not None:
            return
        listening = self._socket or self._listen()
        self._socket = None
        app = Starlette(routes=self._routes, exception_handlers={404: self._not_found})
        app.router.redirect_slashes = False     # a path is one that was added, or isn't there
        config = uvicorn.Config(
            app, http=self._connection, ws="none", lifespan="off", log_config=None, access_log=False, server_header=False,      # type: ignore[arg-type]
            proxy_headers=False,            # who a client is, is not for it to say
            h11_max_incomplete_event_size=HEAD, timeout_keep_alive=int(self.limits.idle) + 1, timeout_graceful_shutdown=GRACE,
            backlog=1024)
        config.load()
        config.ssl = self._context
        self._server = uvicorn.Server(config)
        self._thread = threading.Thread(target=asyncio.run, args=(self._serve(self._server, listening),), name="falcolib-web", daemon=True)
        self._thread.start()

    async def _serve(self, server: uvicorn.Server, listening: socket.socket) -> None:
        asyncio.get_running_loop().set_exception_handler(self._failed)
        anyio.to_thread.current_default_thread_limiter().total_tokens = self._threads       # where starlette runs plain functions
        await server.serve([listening])

    def _failed(self, loop: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
        """What asyncio would log each time: there are no descriptors left for connections, for one."""
        if count := self._failures():
            _log.error("web server: %s: %s%s", context.get("message"), context.get("exception"), f" ({count} times)" if count > 1 else "")

    def stop(self) -> None:
        """Ends serving soon: what is under way has 5 seconds. May be called from any thread and from a signal handler."""
        if self._server is not None:
            self._server.should_exit = True

    def join(self) -> None:
        """Waits until it has stopped; it may be started again."""
        if self._thread is not None:
            self._thread.join()
        self._thread = self._server = None

    def close(self) -> None:
        """stop() and join(); gives the port back also where it was never started."""
        self.stop()
        self.join()
        if self._socket is not None:
            self._socket.close()
            self._socket = None

    def guarded(self, endpoint: Callable[[Request], Awaitable[Response]]) -> Callable[[Request], Awaitable[Response]]:
        """An endpoint that answers only who has the token, if one is wanted."""
        token = self.security.token

        async def check(request: Request) -> Response:
            given = request.headers.get("authorization", "")
            if token is not None and not hmac.compare_digest(given.encode("latin-1"), f"Bearer {token}".encode()):
                self.counts["unauthorized"] += 1
                return PlainTextResponse("a bearer token is needed", 401, {"www-authenticate": "Bearer", "connection": "close"})
            return await endpoint(request)

        return check

    async def body(self, request: Request) -> bytes:
        """The body of a request, within the limits. Raises BodyError."""
        length = request.headers.get("content-length", "")
        if length.isascii() and length.isdigit() and int(length[:20]) > self.limits.body:
            raise BodyError("too_large", f"the body is larger than {self.limits.body} bytes")
        try:
            return await asyncio.wait_for(self._read(request), self.limits.seconds)
        except asyncio.TimeoutError:
            raise BodyError("slow", f"the body took longer than {self.limits.seconds:g} s") from None

    async def _read(self, request: Request) -> bytes:
        pieces, size = [], 0
        async for piece in request.stream():
            pieces.append(piece)
            size += len(piece)
            if size > self.limits.body:
                raise BodyError("too_large", f"the body is larger than {self.limits.body} bytes")
        return b"".join(pieces)

    async def _not_found(self, request: Request, error: Exception) -> Response:
        self.counts["not_found"] += 1
        return PlainTextResponse("not found", 404)

    # ---- connections ----

    def _connection(self, **settings: Any) -> _Connection:
        return _Connection(self, **settings)

    def made(self, connection: _Connection) -> None:
        """A connection begins to wait for a request."""
        self._waiting[connection] = None
        if len(connection.connections) > self.limits.connections:
            self.counts["too_many_connections"] += 1
            next(iter(self._waiting)).drop()

    def done(self, connection: _Connection) -> None:
        """A connection has ceased to wait."""
        self._waiting.pop(connection, None)


class _Connection(H11Protocol):
    """A connection that is closed when its request isn't there in time."""

    def __init__(self, web: WebServer, **settings: Any) -> None:
        super().__init__(**settings)
        self.logger = _silent
        self._web = web
        self._deadline: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:        # type: ignore[override]
        super().connection_made(transport)
        self._wait()

    def connection_lost(self, exc: Exception | None) -> None:
        self._ready()
        super().connection_lost(exc)

    def handle_events(self) -> None:
        super().handle_events()
        if self.conn.their_state is h11.IDLE:
            self._wait()
        else:
            self._ready()

    def send_400_response(self, msg: str) -> None:
        self._web.counts["bad_http"] += 1
        super().send_400_response(msg)

    def on_response_complete(self) -> None:
        super().on_response_complete()
        if not self.transport.is_closing() and self.conn.their_state is h11.IDLE:
            self._wait()

    def drop(self) -> None:
        """Closes it without an answer."""
        self._ready()
        self.transport.abort()

    def _wait(self) -> None:
        if self._deadline is None and not self.transport.is_closing():
            first = self.cycle is None or self.conn.trailing_data[0]
            self._deadline = self.loop.call_later(self._web.limits.seconds if first else self._web.limits.idle, self._late, first)
            self._web.made(self)

    def _ready(self) -> None:
        if self._deadline is not None:
            self._deadline.cancel()
            self._deadline = None
            self._web.done(self)

    def _late(self, told: object) -> None:
        if told or self.conn.trailing_data[0]:
            self._web.counts["slow"] += 1
        self.drop()


def counted(counts: Mapping[str, int]) -> str:
    """Counters as text: ``3 too_large, 1 slow``."""
    return ", ".join(f"{count} {name.replace('_', ' ')}" for name, count in sorted(counts.items()) if count)
