# SPDX-License-Identifier: Apache-2.0
"""The web page: live alerts with filters, counts, losses, and why an alert came about (``webserver.page_enabled``).

What it shows is the attacker's text. The page has no other source of script or style than its own two files (the policy of its answers
says so to the browser), and never makes HTML of text. Its data is told to who has the token, if there is one; without one, only to who asks
for this machine by an address or its own name, so that a stranger's site that resolves to this machine gets nothing (DNS rebinding).
"""

from __future__ import annotations

import asyncio
import hmac
import ipaddress
import socket
import threading
import time
from collections import Counter, deque
from collections.abc import AsyncIterator, Callable, Mapping
from importlib import resources
from typing import TYPE_CHECKING

import msgspec

from ... import render
from ...alert import Alert
from ...engine import Engine
from ...errors import FalcolibError
from ...outputs import Counts, Message

if TYPE_CHECKING:
    from starlette.requests import Request
    from starlette.responses import Response
    from starlette.routing import BaseRoute

    from ...rules import RuleSet
    from ...web import WebServer

#: Alerts that are kept for the page, and their bytes in memory.
KEPT, MEMORY = 1000, 16 << 20
#: Pages that may be open at once; seconds between two looks for new alerts, and between two states; alerts of one look, at most.
PAGES, LOOK, STATE, BATCH = 16, 0.2, 1.0, 500
#: Of every answer. Nothing but the page's own files; no text is taken for script, by any browser that knows trusted types.
HEADERS = {
    "content-security-policy": "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; "
                               "base-uri 'none'; form-action 'none'; frame-ancestors 'none'; require-trusted-types-for 'script'",
    "x-content-type-options": "nosniff", "x-frame-options": "DENY", "referrer-policy": "no-referrer", "cache-control": "no-store",
    "cross-origin-resource-policy": "same-origin", "cross-origin-opener-policy": "same-origin",
}
FILES = {"index.html": "text/html", "page.js": "text/javascript", "page.css": "text/css", "icon.svg": "image/svg+xml"}


class Feed:
    """The newest alerts, and counts of all."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._kept: deque[tuple[int, Message]] = deque(maxlen=KEPT)
        self._size = 0
        self.last = 0                           # number of the newest
        self.by_source: Counter[str] = Counter()
        self.by_rule: Counter[str] = Counter()
        self.by_priority: Counter[str] = Counter()

    def __call__(self, message: Message) -> None:
        """Takes a message."""
        with self._lock:
            self.last += 1
            if len(self._kept) == KEPT:
                self._size -= self._kept[0][1].size
            self._kept.append((self.last, message))
            self._size += message.size
            while self._size > MEMORY and len(self._kept) > 1:
                self._size -= self._kept.popleft()[1].size
            self.by_source[message.source] += 1
            self.by_rule[message.rule] += 1
            self.by_priority[str(message.priority)] += 1

    def since(self, seq: int, most: int = KEPT) -> tuple[list[tuple[int, Message]], int]:
        """The messages after a number, the newest `most` of them, and how many are left out."""
        with self._lock:
            new = min(self.last - seq, len(self._kept), most)
            found = [self._kept[n] for n in range(len(self._kept) - new, len(self._kept))]
            return found, self.last - seq - new

    def find(self, seq: int) -> Message | None:
        """A message that is still kept."""
        with self._lock:
            return next((message for number, message in self._kept if number == seq), None)


class Page:
    """The page of an engine's alerts: ``server.add(page.routes())``, and page.feed is given each alert.

    outputs: what became of the alerts. rules: the text of the rules in force, for explanations. token: who asks must have it; None: see
    the top.
    """

    def __init__(
        self, server: WebServer, engine: Engine, *, outputs: Callable[[], Mapping[str, Counts]] = dict,
        rules: Callable[[], RuleSet] | None = None, token: str | None = None,
    ) -> None:
        self.feed = Feed()
        self._server = server
        self._engine = engine
        self._outputs = outputs
        self._rules = rules
        self._text: tuple[object, RuleSet] | None = None        # the rules' text, and the program that it is of
        self._explaining = threading.Lock()
        self._token = token or server.security.token
        self._open = 0
        self._started = time.time()
        self._names = {"localhost", socket.gethostname().lower()}

    def routes(self) -> list[BaseRoute]:
        """Its paths: / and what is below /page/."""
        from starlette.routing import Route

        folder = resources.files(__package__)
        found: list[BaseRoute] = [
            Route("/page/alerts", self._guarded(self._alerts), methods=["GET"]),
            Route("/page/explain", self._guarded(self._explain), methods=["GET"])]
        for name, type_ in FILES.items():
            path = "/" if name == "index.html" else f"/page/{name}"
            found.append(Route(path, _static(folder.joinpath(name).read_bytes(), type_), methods=["GET"]))
        return found

    # ---- who may ask ----

    def _guarded(self, endpoint: Callable[[Request], Response]) -> Callable[[Request], Response]:
        from starlette.responses import PlainTextResponse

        def check(request: Request) -> Response:
            if self._token is not None:
                given = request.headers.get("authorization", "")
                if not hmac.compare_digest(given.encode("latin-1"), f"Bearer {self._token}".encode()):
                    self._server.counts["unauthorized"] += 1
                    return PlainTextResponse("a bearer token is needed", 401, {**HEADERS, "www-authenticate": "Bearer"})
            elif not self._is_own(request.headers.get("host", "")):
                self._server.counts["foreign_host"] += 1
                return PlainTextResponse("ask for this machine by its address or its own name, or set webserver.page_token", 403, HEADERS)
            return endpoint(request)

        return check

    def _is_own(self, host: str) -> bool:
        name = host.rpartition(":")[0] if not host.endswith("]") and ":" in host else host
        try:
            ipaddress.ip_address(name.strip("[]"))
        except ValueError:
            return name.lower().rstrip(".") in self._names
        return True

    # ---- what is told ----

    def _alerts(self, request: Request) -> Response:
        from starlette.responses import PlainTextResponse, StreamingResponse

        if self._open >= PAGES:
            return PlainTextResponse("too many pages are open", 503, HEADERS)
        return StreamingResponse(self._stream(), headers={**HEADERS, "x-accel-buffering": "no"}, media_type="text/event-stream")

    async def _stream(self) -> AsyncIterator[bytes]:
        self._open += 1
        try:
            seq, due = max(self.feed.last - KEPT, 0), 0.0
            most = KEPT                         # of the first look
            while not self._server.stopping:
                new, left_out = self.feed.since(seq, most)
                if left_out and most == BATCH:
                    yield _event("skipped", {"count": left_out})
                if new:
                    seq, most = new[-1][0], BATCH
                    yield _event("alerts", [_told(number, message) for number, message in new])
                if time.monotonic() >= due:
                    due = time.monotonic() + STATE
                    yield _event("state", self._state())
                await asyncio.sleep(LOOK)
        finally:
            self._open -= 1

    def _state(self) -> dict[str, object]:
        stats, feed = self._engine.stats(), self.feed
        return {
            "hostname": self._engine.format.hostname, "time": time.time(), "started": self._started, "events": stats.events,
            "lost": stats.lost, "alerts": feed.last, "rules": sum(rule.enabled for rule in self._engine.program.rules),
            "by_rule": dict(feed.by_rule.most_common(100)), "by_source": dict(feed.by_source), "by_priority": dict(feed.by_priority),
            "outputs": {name: {"queued": told.queued, "dropped": told.dropped} for name, told in self._outputs().items()},
        }

    def _explain(self, request: Request) -> Response:
        from starlette.responses import PlainTextResponse

        asked = request.query_params.get("alert", "")
        message = self.feed.find(int(asked)) if asked.isascii() and asked.isdigit() and len(asked) < 19 else None
        if message is None:
            return PlainTextResponse("This alert is not kept any more.", 404, HEADERS)
        return PlainTextResponse(self._why(message), headers=HEADERS)

    def _why(self, message: Message) -> str:
        if not isinstance(message, Alert):
            return "It is about falcolib itself: no rule was asked."
        try:
            with self._explaining:
                program = self._engine.program
                if self._rules is not None and (self._text is None or self._text[0] is not program):
                    self._text = program, self._rules()
                return str(self._engine.explain(message, rules=self._text[1] if self._text else None))
        except (FalcolibError, KeyError, ValueError, OSError) as e:
            return f"It can't be explained: {e}"


def _static(body: bytes, type_: str) -> Callable[[Request], Response]:
    from starlette.responses import Response as Plain

    return lambda request: Plain(body, headers=HEADERS, media_type=type_)


def _event(name: str, data: object) -> bytes:
    """A server-sent event; JSON has no line feeds."""
    return b"event: " + name.encode() + b"\ndata: " + msgspec.json.encode(data, enc_hook=str) + b"\n\n"


def _told(number: int, message: Message) -> dict[str, object]:
    return {
        "seq": number, "rule": message.rule, "priority": str(message.priority), "text": message.message, "source": message.source,
        "time": render.clock("evt.time.iso8601", message.time).replace("+0000", "Z"), "clock": render.clock("evt.time", message.time)[:12],
        "tags": sorted(message.tags), "fields": {name: _plain(value) for name, value in message.fields.items()},
    }


def _plain(value: object) -> object:
    """A value as a browser can hold it: its whole numbers end at 2**53."""
    if isinstance(value, bool) or not isinstance(value, int):
        return value.decode("utf-8", "replace") if isinstance(value, bytes) else value
    return value if abs(value) <= 1 << 53 else str(value)
