# SPDX-License-Identifier: Apache-2.0
"""Alerts in the system's log, or a log server's: ``syslog_output``."""

from __future__ import annotations

import contextlib
import os
import select
import socket
import time
from collections.abc import Sequence
from urllib.parse import urlsplit

from .message import Message
from .output import Output, OutputError, Undelivered

#: LOG_USER, and the ports of syslog over UDP and TCP, and over TLS.
_USER, _PORT, _TLS_PORT = 1, 514, 6514
#: Most bytes of a line: what daemons take over local sockets and streams, and what one datagram over a network can hold whole.
_LOCAL_MOST, _DATAGRAM_MOST = 64 << 10, 8 << 10
_CUT = b"..."
#: In no locale.
_MONTHS = ("Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec")


class SyslogOutput(Output):
    """Sends lines to a syslog daemon, facility LOG_USER, severity as the rule's priority.

    address: the daemon's local socket, or ``udp://HOST[:514]``, ``tcp://HOST[:514]``, ``tls://HOST[:6514]``. Over a local socket, messages
    have the form of syslog(3), which is what daemons expect there; over a network that of RFC 5424, on streams with lengths in front (RFC
    6587, 5425). Longer lines than 64 KiB, over UDP 8 KiB, are cut at a character, and end with "...". json: JSON lines. ident: the
    program's name in the log. timeout: seconds. ca_cert: for tls, who signed the server's certificate, PEM; default the system's.

    A daemon that restarts is found again. Over UDP, lines can be lost without notice; over TCP, those under way when a connection ends.

    Raises OutputError for an address of no known form.
    """

    name = "syslog"

    def __init__(self, address: str = "/dev/log", *, json: bool = False, ident: str = "falco", timeout: float = 5.0,
                 ca_cert: str = "") -> None:
        self._address = address
        self._json = json
        self._ident = ident
        self._timeout = timeout
        self._socket: socket.socket | None = None
        self._kind = "local" if address.startswith("/") else address.partition("://")[0]
        if self._kind not in ("local", "udp", "tcp", "tls"):
            raise OutputError(f"{address!r} is neither the path of a socket nor udp://HOST:PORT, tcp://HOST:PORT or tls://HOST:PORT",
                              key="address")
        self._host, self._port = "", 0
        if self._kind != "local":
            try:
                parts = urlsplit(address)
                self._host, self._port = parts.hostname or "", parts.port or (_TLS_PORT if self._kind == "tls" else _PORT)
            except ValueError as e:
                raise OutputError(f"{address!r}: {e}", key="address") from None
            if not self._host:
                raise OutputError(f"{address!r} names no host", key="address")
        self._context = None
        if self._kind == "tls":
            from .client import Tls

            self._context = Tls(ca_cert=ca_cert).context()

    def send(self, messages: Sequence[Message]) -> None:
        for at, message in enumerate(messages):
            try:
                self._send(self._line(message))
            except OSError as e:
                self.close()
                raise Undelivered(f"{self._address}: {e.strerror or e}", left=messages[at:]) from None

    def _line(self, message: Message) -> bytes:
        text = (message.json() if self._json else str(message)).encode("utf-8", "replace").replace(b"\0", b"")
        most = _DATAGRAM_MOST if self._kind == "udp" else _LOCAL_MOST
        if len(text) > most:
            text = text[: most - len(_CUT)].decode("utf-8", "ignore").encode() + _CUT
        priority = _USER << 3 | message.priority
        if self._kind == "local":
            stamp = time.localtime(message.time // 10**9)
            clock = time.strftime("%H:%M:%S", stamp)
            head = f"<{priority}>{_MONTHS[stamp.tm_mon - 1]} {stamp.tm_mday:2} {clock} {self._ident}[{os.getpid()}]: "
            return head.encode() + text
        seconds, ns = divmod(message.time, 10**9)
        when = time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(seconds)) + f".{ns // 1000:06d}Z"
        host = "".join(c for c in message.hostname if "!" <= c <= "~")[:255] or "-"
        head = f"<{priority}>1 {when} {host} {self._ident} {os.getpid()} - - "
        return head.encode() + text

    def _send(self, line: bytes) -> None:
        fresh = self._socket is None
        s = self._socket or self._connect()
        if self._kind in ("tcp", "tls"):
            if not fresh and _ended(s):
                self.close()
                s = self._connect()
            s.sendall(b"%d %s" % (len(line), line))
            return
        try:
            s.send(line)
        except (ConnectionError, FileNotFoundError):
            if fresh or self._kind == "udp":
                raise
            self.close()                # the daemon has been restarted since
            self._connect().send(line)

    def _connect(self) -> socket.socket:
        if self._kind == "local":
            s = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC)
            try:
                s.settimeout(self._timeout)
                with contextlib.suppress(OSError):
                    s.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 4 * _LOCAL_MOST)
                s.connect(self._address)
            except BaseException:
                s.close()
                raise
        elif self._kind == "udp":
            family, kind, protocol, _, where = socket.getaddrinfo(self._host, self._port, type=socket.SOCK_DGRAM)[0]
            s = socket.socket(family, kind, protocol)
            s.connect(where)
        else:
            s = socket.create_connection((self._host, self._port), self._timeout)
            if self._context is not None:
                s = self._context.wrap_socket(s, server_hostname=self._host)
        self._socket = s
        return s

    def reopen(self) -> None:
        self.close()

    def close(self) -> None:
        if self._socket is not None:
            with contextlib.suppress(OSError):
                self._socket.close()
            self._socket = None

    def abort(self) -> None:
        if (s := self._socket) is not None:
            with contextlib.suppress(OSError):
                socket.socket.shutdown(s, socket.SHUT_RDWR)


def _ended(s: socket.socket) -> bool:
    """Whether the other side has closed a connection: what is written now would be lost, without an error."""
    poll = select.poll()
    poll.register(s, select.POLLRDHUP)
    return bool(poll.poll(0))
