# SPDX-License-Identifier: Apache-2.0
"""An alert as the formatters of notifications see it: plain values, absent fields left out, a receiver's own fields and tags added."""

from __future__ import annotations

import json
import time
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from ...alert import Priority

if TYPE_CHECKING:
    from ..message import Message

#: The event's time among the fields; it is told once, as the alert's.
_TIMES = frozenset({"evt.time", "evt.time.iso8601"})

_NS = 10**9


@dataclass(frozen=True, slots=True)
class Notification:
    """What a message (an alert, or one of the program's own) says.

    output: Falco's text line, not escaped; message: without time and priority; time: ns since the epoch; tags: sorted; fields: native
    values by name, those that are absent and the event's time left out; count: how many alike it stands for, itself included.
    """

    rule: str
    priority: Priority
    output: str
    message: str
    time: int
    source: str
    tags: tuple[str, ...]
    hostname: str
    fields: Mapping[str, Any]
    id: str
    count: int
    falco: Mapping[str, Any]        # Falco's JSON, as a dict

    @classmethod
    def of(cls, message: Message) -> Notification:
        """From a message."""
        falco: Mapping[str, Any] = message.as_dict()
        fields: Mapping[str, Any] = falco.get("output_fields", message.fields)
        return cls(
            rule=message.rule,
            priority=message.priority,
            output=falco.get("output") or f"{message.priority} {message.message}",
            message=message.message,
            time=message.time,
            source=message.source,
            tags=tuple(sorted(message.tags)),
            hostname=message.hostname,
            fields={k: v for k, v in fields.items() if k not in _TIMES and v is not None and v != "<NA>"},
            id=message.id,
            count=getattr(message, "count", 1),
            falco=falco,
        )

    def enriched(self, fields: Mapping[str, Any], tags: tuple[str, ...]) -> Notification:
        """With more fields and tags."""
        if not fields and not tags:
            return self
        every = tuple(sorted({*self.tags, *tags}))
        falco = {**self.falco, "output_fields": {**self.falco.get("output_fields", {}), **fields}, "tags": list(every)}
        return replace(self, fields={**self.fields, **fields}, tags=every, falco=falco)

    @property
    def time_text(self) -> str:
        """``2001-01-01 01:10:00 +0000 UTC``, with as much of a fraction as there is: how Go prints times, and falcosidekick with it."""
        fraction = f".{self.time % _NS:09d}".rstrip("0").rstrip(".")
        return time.strftime("%Y-%m-%d %H:%M:%S", time.gmtime(self.time // _NS)) + fraction + " +0000 UTC"

    @property
    def time_iso(self) -> str:
        """RFC 3339, UTC, with nanoseconds."""
        return time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(self.time // _NS)) + f".{self.time % _NS:09d}Z"

    def as_dict(self) -> dict[str, Any]:
        """Falco's JSON as a dict, with the fields and tags that were added."""
        return dict(self.falco)


def value_text(value: object) -> str:
    """A native value as people read it: lists with commas, true and false in small letters."""
    if isinstance(value, str):
        return value
    if value is None:
        return "<NA>"
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, list | tuple):
        return ", ".join(map(value_text, value))
    return json.dumps(value, ensure_ascii=False, default=str) if isinstance(value, Mapping) else str(value)


def cut(text: str, limit: int) -> str:
    """The text, or its beginning and an ellipsis: at most limit characters, in units of UTF-16, as services count them."""
    if len(text) <= limit and (text.isascii() or units(text) <= limit):
        return text
    if limit <= 0:
        return ""
    kept = text[: limit - 1]
    if not kept.isascii():
        kept = kept.encode("utf-16-le", "surrogatepass")[: 2 * (limit - 1)].decode("utf-16-le", "ignore")
    return kept + "…"


def units(text: str) -> int:
    """The length in units of UTF-16."""
    return len(text) if text.isascii() else len(text.encode("utf-16-le", "surrogatepass")) // 2


def rows(n: Notification) -> list[tuple[str, str]]:
    """What is told of an alert beside its text, in falcosidekick's order: rule, priority, source, host name, tags, fields by name, time."""
    told = [("rule", n.rule), ("priority", str(n.priority)), ("source", n.source)]
    if n.hostname:
        told.append(("hostname", n.hostname))
    if n.tags:
        told.append(("tags", ", ".join(n.tags)))
    told += [(name, value_text(n.fields[name])) for name in sorted(n.fields)]
    return [*told, ("time", n.time_text)]
