# SPDX-License-Identifier: Apache-2.0
"""The HTTP client of outputs: urllib3, with the limits and the errors that a channel needs."""

from __future__ import annotations

import contextlib
import email.utils
import re
import socket
import ssl
import time
import urllib.request
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import unquote

import urllib3
from urllib3.connection import HTTPConnection, HTTPSConnection
from urllib3.connectionpool import HTTPConnectionPool, HTTPSConnectionPool
from urllib3.exceptions import HTTPError, LocationParseError
from urllib3.util import Timeout, make_headers, parse_url

from .output import OutputError, Undelivered

#: What is read of an answer, bytes; of that, what an error shows, characters.
_MOST, _SHOWN = 1 << 16, 200
#: What is said of what took too long: to connect, to answer.
_SLOW = ("connecting takes too long", "no answer in time")
#: Statuses by which a receiver says: later.
_LATER = frozenset({408, 425, 429})


@dataclass(frozen=True)
class Tls:
    """How servers are known, and how this client shows itself, by files in PEM form. ca_cert goes before ca_bundle, that before ca_path, a
    folder; without any, the system's. insecure: the server's certificate isn't looked at. client_cert and client_key: mutual TLS; the
    key may be in the same file.
    """

    insecure: bool = False
    ca_cert: str = ""
    ca_bundle: str = ""
    ca_path: str = ""
    client_cert: str = ""
    client_key: str = ""

    def context(self) -> ssl.SSLContext:
        """What a connection is made with.

        Raises OutputError, with the file's name, if one can't be used.
        """
        context = ssl.create_default_context() if not (self.ca_cert or self.ca_bundle or self.ca_path) else ssl.SSLContext(
            ssl.PROTOCOL_TLS_CLIENT)
        if self.insecure:
            context.check_hostname = False
            context.verify_mode = ssl.CERT_NONE
        elif file := self.ca_cert or self.ca_bundle:
            self._load("ca_cert" if self.ca_cert else "ca_bundle", file, lambda: context.load_verify_locations(cafile=file))
        elif self.ca_path:
            self._load("ca_path", self.ca_path, lambda: context.load_verify_locations(capath=self.ca_path))
        if self.client_cert:
            files = " and ".join(filter(None, (self.client_cert, self.client_key)))
            self._load("client_cert", files, lambda: context.load_cert_chain(self.client_cert, self.client_key or None, lambda: ""))
        return context

    @staticmethod
    def _load(key: str, file: str, load: Any) -> None:
        try:
            load()
        except (OSError, ssl.SSLError, ValueError) as e:
            why = e.strerror if isinstance(e, FileNotFoundError | PermissionError) else f"no usable PEM file ({getattr(e, 'reason', e)})"
            raise OutputError(f"{file}: {why}", key=key) from None


class TimedOut(Undelivered):
    """There was no answer in time."""


@dataclass(frozen=True)
class Answer:
    """What a server answered. headers: lower-case names. body: as much as the client reads."""

    status: int
    headers: Mapping[str, str]
    body: bytes


class HttpClient:
    """Sends requests to one server, over connections that are kept for the next.

    url: http:// or https://; a user and password in it are sent as basic authentication. headers: of every request. timeout: seconds to
    connect, and between two pieces of an answer. probes: TCP keeps idle connections alive. most: bytes that are read of an answer.
    A proxy is taken from the environment (http_proxy, https_proxy, all_proxy, no_proxy), read when the client is made. Redirections are not
    followed.

    Raises OutputError if the URL or a file of tls can't be used.
    """

    def __init__(self, url: str, *, headers: Mapping[str, str] | None = None, timeout: float = 10.0, tls: Tls | None = None,
                 probes: bool = False, most: int = _MOST) -> None:
        try:
            parts = parse_url(url)
        except LocationParseError:
            raise OutputError(f"{_without_secrets(url)!r} is no URL", key="url") from None
        if parts.scheme not in ("http", "https") or not parts.host:
            raise OutputError(f"{_without_secrets(url)!r} is no http:// or https:// URL", key="url")
        self.url = parts._replace(auth=None).url
        #: The server, for errors and logs: what follows in a URL may be secret.
        self.server = parts.netloc or ""
        self._scheme = parts.scheme
        self._headers = {**(make_headers(basic_auth=unquote(parts.auth)) if parts.auth else {}), **(headers or {})}
        self._most = most
        self._timeout = Timeout(connect=timeout, read=timeout)
        self._opened: set[socket.socket] = set()
        options: dict[str, Any] = {"retries": False, "maxsize": 1, "timeout": self._timeout}
        if probes:
            options["socket_options"] = [*HTTPConnection.default_socket_options, (socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)]
        if parts.scheme == "https":
            options["ssl_context"] = (tls or Tls()).context()
            if tls and tls.insecure:
                options |= {"cert_reqs": "CERT_NONE", "assert_hostname": False}
        proxy = _proxy(parts.scheme, parts.host, parts.port)
        self._pool: urllib3.PoolManager = urllib3.ProxyManager(
            proxy, proxy_headers=_proxy_headers(proxy), **options) if proxy else urllib3.PoolManager(**options)
        self._pool.pool_classes_by_scheme = _pools(self._opened, bool(tls and tls.insecure))

    def post(self, body: bytes, headers: Mapping[str, str] | None = None, url: str | None = None) -> Answer:
        """Sends a POST request; to the client's URL, or another of the same server.

        Raises Undelivered if there is no answer, or one whose status isn't 2xx: to be tried again unless it is 4xx (but for 408, 425, 429).
        """
        answer = self.request("POST", url or self.url, body, headers)
        if not 200 <= answer.status < 300:
            raise self.refused(answer)
        return answer

    def request(self, method: str, url: str, body: bytes | None = None, headers: Mapping[str, str] | None = None) -> Answer:
        """Sends a request, and reads its answer, whatever its status.

        Raises Undelivered if there is none.
        """
        try:
            response = self._pool.request(method, url, body=body, headers={**self._headers, **(headers or {})}, preload_content=False,
                                          redirect=False, retries=False, decode_content=False)
            try:
                text = response.read(self._most)
                if response.read(1):        # more: not worth reading to keep the connection
                    response.close()
            except BaseException:
                response.close()
                raise
            response.release_conn()
        except (HTTPError, OSError, ValueError) as e:
            reason = _reason(e)
            raise (TimedOut if reason in _SLOW else Undelivered)(f"{self.server}: {reason}") from None
        return Answer(response.status, {k.lower(): v for k, v in response.headers.items()}, text)

    def refused(self, answer: Answer) -> Undelivered:
        """The error of an answer whose status isn't 2xx."""
        said = answer.body[: 4 * _SHOWN].decode("utf-8", "replace")
        said = "".join(c if c.isprintable() else " " for c in said)[:_SHOWN].strip()
        where = f" to {answer.headers['location']!r:.200}" if 300 <= answer.status < 400 and "location" in answer.headers else ""
        retry = answer.status >= 500 or answer.status in _LATER
        text = f"{self.server}: status {answer.status}{where}" + (f": {said}" if said else "")
        return Undelivered(text, retry, _after(answer.headers.get("retry-after")) if retry else None)

    def close(self) -> None:
        """Closes its connections."""
        self._pool.clear()

    def abort(self) -> None:
        """Ends what is under way. Called by another thread."""
        for opened in tuple(self._opened):
            with contextlib.suppress(OSError):
                socket.socket.shutdown(opened, socket.SHUT_RDWR)    # and not that of TLS, which would wait for the other side


def _pools(opened: set[socket.socket], insecure: bool) -> dict[str, Any]:
    """Pools of connections that tell which sockets are open."""

    def note(connection: HTTPConnection) -> None:
        opened.clear()                      # a client does one request at a time
        if isinstance(connection.sock, socket.socket):
            opened.add(connection.sock)

    class Plain(HTTPConnection):
        def connect(self) -> None:
            super().connect()
            note(self)

    class Secure(HTTPSConnection):
        def connect(self) -> None:
            super().connect()
            self.is_verified |= insecure    # as it was asked for: no warning at each connection
            note(self)

    class PlainPool(HTTPConnectionPool):
        ConnectionCls = Plain

    class SecurePool(HTTPSConnectionPool):
        ConnectionCls = Secure

    return {"http": PlainPool, "https": SecurePool}


def _proxy(scheme: str, host: str, port: int | None) -> str | None:
    proxies = urllib.request.getproxies_environment()
    proxy = proxies.get(scheme) or proxies.get("all")
    if not proxy or urllib.request.proxy_bypass(f"{host}:{port}" if port else host, proxies):
        return None
    if "://" not in proxy:
        proxy = f"http://{proxy}"
    if not proxy.startswith(("http://", "https://")):
        raise OutputError(f"the environment's proxy {_without_secrets(proxy)!r} is of no kind that is known: http:// or https://")
    return proxy


def _proxy_headers(proxy: str) -> dict[str, str]:
    auth = parse_url(proxy).auth
    return make_headers(proxy_basic_auth=unquote(auth)) if auth else {}


def _without_secrets(url: str) -> str:
    scheme, mark, rest = url.partition("://") if "://" in url else ("", "", url)
    return scheme + mark + rest.rpartition("@")[2]


def _after(text: str | None) -> float | None:
    """Retry-After: seconds (Discord's have a fraction), or a date."""
    if not text:
        return None
    if re.fullmatch(r"\d{1,9}(\.\d{1,9})?", text.strip(), re.ASCII):
        return float(text)
    with contextlib.suppress(ValueError, TypeError, OverflowError):
        return max(0.0, email.utils.parsedate_to_datetime(text).timestamp() - time.time())
    return None


def _reason(error: BaseException) -> str:
    """What went wrong, in words, without the library's frame."""
    seen: BaseException | None = error
    while seen is not None:
        if isinstance(seen, urllib3.exceptions.ConnectTimeoutError) and not isinstance(seen, urllib3.exceptions.NewConnectionError):
            return _SLOW[0]
        if isinstance(seen, urllib3.exceptions.ReadTimeoutError | TimeoutError):
            return _SLOW[1]
        if isinstance(seen, ssl.SSLCertVerificationError):
            return f"its certificate isn't trusted: {seen.verify_message}"
        if isinstance(seen, socket.gaierror):
            return f"no address: {seen.strerror}"
        if isinstance(seen, OSError) and seen.strerror:
            return seen.strerror
        nested = next((a for a in seen.args if isinstance(a, BaseException)), None)
        seen = nested or seen.__cause__ or seen.__context__
    return str(error)
