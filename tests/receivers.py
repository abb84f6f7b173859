# SPDX-License-Identifier: Apache-2.0
"""Receivers for tests of outputs: real servers on loopback, which can be slow, refuse, reset, hang, answer 429 or 500, and be killed.

``mode`` may be changed at any time; what is open then is treated so from its next request on:

* ``ok``: takes what comes
* ``slow``: takes each after ``delay`` seconds
* ``refuse``: nobody listens
* ``reset``: a connection is accepted, and reset when it has asked for something
* ``hang``: a request is read, and never answered (until the mode changes)
* ``status``: answers ``status``, with ``retry_after`` if that is set (HTTP)
* ``half``: the answer ends in the middle of its first line (HTTP)
* ``trickle``: the answer comes a byte a time, without end (HTTP)
"""

from __future__ import annotations

import contextlib
import gzip
import json
import os
import socket
import ssl
import struct
import threading
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, NamedTuple

MODES = ("ok", "slow", "refuse", "reset", "hang", "status", "half", "trickle")
_reserved: list[socket.socket] = []


def reserved_port() -> int:
    """A port of 127.0.0.1 for a server that must be told its number. Nobody else is given it, to the end of the tests: it stays bound. It
    isn't listened on, so that a server may have it; it must set SO_REUSEADDR, as servers do.
    """
    holder = socket.socket()
    holder.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    holder.bind(("127.0.0.1", 0))
    _reserved.append(holder)
    port: int = holder.getsockname()[1]
    return port


class Request(NamedTuple):
    """A request that was taken."""

    method: str
    path: str
    headers: dict[str, str]         # lower-case names
    body: bytes                     # as it was sent
    connection: int                 # the number of its connection

    @property
    def text(self) -> str:
        """The body, unpacked."""
        return (gzip.decompress(self.body) if self.headers.get("content-encoding") == "gzip" else self.body).decode()

    def json(self) -> Any:
        return json.loads(self.text)


class Receiver:
    """What receivers have in common: a port of their own that stays theirs, a mode, connections that can be cut."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._changed = threading.Condition(self._lock)
        self._mode = "ok"
        self._open: set[socket.socket] = set()
        self.connections = 0
        self.delay = 0.05
        # holds the port while nobody listens on it; connections to it are refused
        self._holder = socket.socket()
        self._holder.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        self._holder.bind(("127.0.0.1", 0))
        self.host, self.port = self._holder.getsockname()

    @property
    def open(self) -> int:
        """How many connections are."""
        return len(self._open)

    @property
    def mode(self) -> str:
        return self._mode

    @mode.setter
    def mode(self, mode: str) -> None:
        assert mode in MODES, mode
        with self._lock:
            before, self._mode = self._mode, mode
            self._changed.notify_all()
        if mode == "refuse":
            self.stop_listening()
            self.cut()
        elif before == "refuse":
            self.listen()

    def kill(self) -> None:
        """As if the process of the receiver were killed: nobody listens, connections are reset."""
        self.mode = "refuse"

    def hold(self, mode: str) -> None:
        """Waits while a mode lasts."""
        with self._lock:
            self._changed.wait_for(lambda: self._mode != mode)

    def cut(self) -> None:
        """Resets all connections."""
        with self._lock:
            opened, self._open = self._open, set()
        for s in opened:
            _cut(s)

    def note(self, connection: socket.socket) -> int:
        """Counts a connection, that cut() is to reset: at once, if it came just before nobody listened any more."""
        with self._lock:
            self._open.add(connection)
            self.connections += 1
            number, late = self.connections, self._mode == "refuse"
        if late:
            _cut(connection)
        return number

    def forget(self, connection: socket.socket) -> None:
        with self._lock:
            self._open.discard(connection)

    def listen(self) -> None:
        raise NotImplementedError

    def stop_listening(self) -> None:
        raise NotImplementedError

    def __enter__(self) -> Any:
        self.listen()
        return self

    def __exit__(self, *_: object) -> None:
        if self._mode != "refuse":
            self.mode = "refuse"
        self._holder.close()


def reset(connection: socket.socket) -> None:
    """Ends a connection of this thread by RST."""
    with contextlib.suppress(OSError):
        _by_reset(connection)
        os.close(connection.detach())


def _cut(connection: socket.socket) -> None:
    """Ends a connection that another thread reads: that one closes it."""
    with contextlib.suppress(OSError):
        _by_reset(connection)
        socket.socket.shutdown(connection, socket.SHUT_RDWR)


def _by_reset(connection: socket.socket) -> None:
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 128
    allow_reuse_port = True

    def handle_error(self, request: object, client_address: object) -> None:
        """Connections that are cut are what this is for."""


class HttpReceiver(Receiver):
    """An HTTP server. context: for HTTPS. ``requests``: what was taken (answered with 2xx); ``seen``: how many came. ``answer``, if it is
    set, is called with each request and gives status, headers and body of the answer in the modes ``ok`` and ``slow``.
    """

    def __init__(self, context: ssl.SSLContext | None = None) -> None:
        super().__init__()
        self.requests: list[Request] = []
        self.seen = 0
        self.status, self.retry_after = 500, ""
        self.answer: Any = None
        self._context = context
        self._server: _Server | None = None

    @property
    def url(self) -> str:
        return f"{'https' if self._context else 'http'}://{self.host}:{self.port}"

    def listen(self) -> None:
        receiver = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"
            wbufsize = -1
            disable_nagle_algorithm = True

            def setup(self) -> None:
                if receiver._context:
                    self.request = receiver._context.wrap_socket(self.request, server_side=True)
                self.number = receiver.note(self.request)
                super().setup()

            def finish(self) -> None:
                with contextlib.suppress(OSError):
                    super().finish()
                receiver.forget(self.request)

            def log_message(self, format: str, *args: object) -> None:
                pass

            def do_POST(self) -> None:
                headers = {name.lower(): value for name, value in self.headers.items()}
                if headers.get("transfer-encoding") == "chunked":
                    body = b"".join(self._chunks())
                else:
                    body = self.rfile.read(int(headers.get("content-length", "0")))
                receiver.take(self, Request(self.command, self.path, headers, body, self.number))

            do_GET = do_PUT = do_DELETE = do_HEAD = do_POST

            def _chunks(self) -> Iterator[bytes]:
                while size := int(self.rfile.readline().split(b";")[0], 16):
                    yield self.rfile.read(size)
                    self.rfile.readline()
                self.rfile.readline()

        self._server = _Server((self.host, self.port), Handler, bind_and_activate=False)
        self._server.socket.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        self._server.server_bind()
        self._server.server_activate()
        threading.Thread(target=self._server.serve_forever, args=(0.01,), daemon=True).start()

    def stop_listening(self) -> None:
        if self._server:
            self._server.shutdown()
            self._server.server_close()
            self._server = None

    def take(self, handler: BaseHTTPRequestHandler, request: Request) -> None:
        """Treats a request as the mode tells."""
        with self._lock:
            self.seen += 1
            mode = self._mode
        status, headers, body = 200, {}, b"ok"
        if mode == "slow":
            time.sleep(self.delay)
        if mode == "hang":
            self.hold("hang")
            handler.close_connection = True
            return
        if mode in ("reset", "refuse"):
            reset(handler.request)
            handler.close_connection = True
            return
        if mode == "half":
            handler.wfile.write(b"HTTP/1.")
            handler.close_connection = True
            return
        if mode == "trickle":
            with contextlib.suppress(OSError):
                handler.wfile.write(b"HTTP/1.")
                while self._mode == "trickle":
                    handler.wfile.write(b"1")
                    handler.wfile.flush()
                    time.sleep(0.02)
            handler.close_connection = True
            return
        if mode == "status":
            status, body = self.status, b"not now"
            headers = {"Retry-After": self.retry_after} if self.retry_after else {}
        elif self.answer:
            status, headers, body = self.answer(request)
        if 200 <= status < 300:
            with self._lock:
                self.requests.append(request)
        with contextlib.suppress(OSError):
            handler.send_response(status)
            for name, value in headers.items():
                handler.send_header(name, value)
            handler.send_header("Content-Length", str(len(body)))
            handler.end_headers()
            handler.wfile.write(body)
            handler.wfile.flush()


class TcpReceiver(Receiver):
    """A server of streams. ``data``: by connection, the bytes that were taken. With ``talk`` set, that is called with each new connection
    instead, in a thread of its own, and speaks a protocol (SMTP).
    """

    def __init__(self, context: ssl.SSLContext | None = None) -> None:
        super().__init__()
        self.data: dict[int, bytearray] = {}
        self.talk: Any = None
        self._context = context
        self._listener: socket.socket | None = None

    def listen(self) -> None:
        listener = socket.socket()
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind((self.host, self.port))
        listener.listen(64)
        self._listener = listener
        threading.Thread(target=self._accept, args=(listener,), daemon=True).start()

    def stop_listening(self) -> None:
        if self._listener:
            with contextlib.suppress(OSError):
                self._listener.shutdown(socket.SHUT_RDWR)
            self._listener.close()
            self._listener = None

    def _accept(self, listener: socket.socket) -> None:
        with contextlib.suppress(OSError):
            while True:
                connection, _ = listener.accept()
                threading.Thread(target=self._serve, args=(connection,), daemon=True).start()

    def _serve(self, connection: socket.socket) -> None:
        with contextlib.suppress(OSError):
            if self._context:
                connection = self._context.wrap_socket(connection, server_side=True)
            number = self.note(connection)
            if self.talk:
                self.talk(connection)
            else:
                self._read(number, connection)
        self.forget(connection)
        with contextlib.suppress(OSError):
            connection.close()

    def _read(self, number: int, connection: socket.socket) -> None:
        kept = self.data.setdefault(number, bytearray())
        while True:
            if self._mode == "hang":
                self.hold("hang")
            data = connection.recv(4096 if self._mode == "slow" else 1 << 16)
            if not data:
                return
            if self._mode == "reset":
                reset(connection)
                return
            if self._mode == "slow":
                time.sleep(self.delay)
            with self._lock:
                kept += data

    def all(self) -> bytes:
        """What was taken, of all connections."""
        with self._lock:
            return b"".join(bytes(data) for data in self.data.values())
