# SPDX-License-Identifier: Apache-2.0
"""Alerts as bodies of requests: ``http_output``. The receiver may be falcosidekick (spec: kubernetes.md 6)."""

from __future__ import annotations

import sys
from collections.abc import Sequence

from .client import HttpClient, TimedOut, Tls
from .message import Message
from .output import Output, Undelivered


class HttpOutput(Output):
    """Sends each alert in a POST request: a text line as text/plain, or with `json` a JSON line as application/json. Connections are kept.

    compress: bodies are gzip. echo: answers are printed to standard output. keep_alive: TCP keeps idle connections alive. user_agent: how
    requests call their sender. timeout: seconds to connect, and for an answer; an alert that times out more
    often than `most_timeouts` in a row is given up. tls: for https. Also as HttpClient has them: user and
    password in the URL, proxies from the environment.

    Raises OutputError if the URL or a file of tls can't be used.
    """

    name = "http"

    def __init__(
        self, url: str, *, json: bool = False, user_agent: str = "falcosecurity/falco", compress: bool = False, echo: bool = False,
        keep_alive: bool = False, timeout: float = 10.0, most_timeouts: int | None = None, tls: Tls | None = None,
    ) -> None:
        self._json = json
        self._echo = echo
        self._compress = compress
        self._most_timeouts = most_timeouts
        self._timeouts = 0
        headers = {"Content-Type": "application/json" if json else "text/plain", "User-Agent": user_agent}
        if compress:
            headers["Content-Encoding"] = "gzip"

        def make() -> HttpClient:
            return HttpClient(url.strip("\"'"), headers=headers, timeout=timeout, tls=tls, probes=keep_alive)     # quotes: as Falco

        self._make = make
        self._client = make()

    def send(self, messages: Sequence[Message]) -> None:
        for message in messages:
            body = (message.json() if self._json else str(message)).encode("utf-8", "replace")
            if self._compress:
                import gzip

                body = gzip.compress(body, 6, mtime=0)
            try:
                answer = self._client.post(body)
            except TimedOut as e:
                self._timeouts += 1
                if self._most_timeouts is None or self._timeouts <= self._most_timeouts:
                    raise
                self._timeouts = 0
                raise Undelivered(f"{e}, {self._most_timeouts + 1} times", retry=False) from None
            self._timeouts = 0
            if self._echo and answer.body:
                said = answer.body.decode("utf-8", "replace")
                said = "".join(c if c.isprintable() or c in "\n\t" else "\N{REPLACEMENT CHARACTER}" for c in said)
                print(said, flush=True, file=sys.stdout)

    def reopen(self) -> None:
        """Reads certificates anew."""
        fresh = self._make()
        self._client.close()
        self._client = fresh

    def close(self) -> None:
        self._client.close()

    def abort(self) -> None:
        self._client.abort()
