# SPDX-License-Identifier: Apache-2.0
"""Alerts about the program itself: metrics, losses, a reload that failed."""

from __future__ import annotations

import functools
from collections.abc import Mapping

import msgspec

from .alert import AlertFormat, Priority, json_line, text_line
from .event import FieldValue


class InternalAlert:
    """A line about the program itself, in the form of an alert, as Falco's internal alerts have it (spec: engine.md C3, D6, D7).

    rule: ``Falco internal: …``. when: ns since the epoch. format: its hostname and switches; an engine's ``format`` has them.
    """

    tags: frozenset[str] = frozenset()

    def __init__(self, rule: str, priority: Priority, message: str, fields: Mapping[str, FieldValue], when: int, *, format: AlertFormat,
                 source: str = "internal") -> None:
        self.rule, self.priority, self.message, self.source = rule, priority, message, source
        self.fields = dict(fields)
        self.time = when
        self.hostname = format.hostname
        self.size = 512 + 128 * len(self.fields)
        self._format = format

    @property
    def id(self) -> str:
        """Source, time and rule."""
        return f"{self.source}:{self.time}:{self.rule}"

    @functools.cached_property
    def _text(self) -> str:
        line = msgspec.json.encode(text_line(self, self._format)).decode()[1:-1]
        values = " ".join(f"{name}={msgspec.json.encode(value).decode()}" for name, value in self.fields.items())
        return f"{line} ({values})" if values else line

    def __str__(self) -> str:
        """Falco's text line: behind the message its fields, with values as JSON has them."""
        return self._text

    @functools.cached_property
    def _json(self) -> str:
        return msgspec.json.encode(self.as_dict(), order="sorted").decode()

    def json(self) -> str:
        """Falco's JSON line, without a newline at the end."""
        return self._json

    def as_dict(self) -> dict[str, object]:
        """What json() encodes. Internal alerts have no tags."""
        return json_line(self, self._format, lambda: self.fields)

    def __repr__(self) -> str:
        return f"<InternalAlert {self.rule!r} {self.priority}>"
