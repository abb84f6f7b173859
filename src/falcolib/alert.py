# SPDX-License-Identifier: Apache-2.0
"""Alerts: a rule matched an event. Texts are made only when they are asked for."""

from __future__ import annotations

import enum
import functools
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass

import msgspec

from . import render
from .batch import Match
from .compiler import Program
from .event import Event, FieldValue
from .rules.ast import FieldSlot, OutputToken, RuleHead, nested_fields
from .schema import FieldInfo


class Priority(enum.IntEnum):
    """A rule's priority: 0 is the gravest."""

    EMERGENCY = 0
    ALERT = 1
    CRITICAL = 2
    ERROR = 3
    WARNING = 4
    NOTICE = 5
    INFORMATIONAL = 6
    DEBUG = 7

    def __str__(self) -> str:
        return self.name.capitalize()


@dataclass(frozen=True, slots=True)
class AlertFormat:
    """How alerts are printed; the defaults are Falco's. Names: falco.yaml (spec: engine.md C3, D1)."""

    hostname: str = ""
    time_format_iso_8601: bool = False
    json_include_output_property: bool = True
    json_include_message_property: bool = False
    json_include_output_fields_property: bool = True
    json_include_tags_property: bool = True


class Fields(Mapping[str, "FieldValue"]):
    """What a rule prints, by token: native values, made when they are asked for; None where absent."""

    __slots__ = ("_layout", "_time", "_values")

    def __init__(self, layout: dict[str, tuple[int, FieldInfo]], match: Match) -> None:
        self._layout = layout
        self._time = match.time
        self._values = match.values()

    def __getitem__(self, token: str) -> FieldValue:
        at, info = self._layout[token]
        return render.native(info, self._values[at], self._time)

    def __iter__(self) -> Iterator[str]:
        return iter(self._layout)

    def __len__(self) -> int:
        return len(self._layout)

    def __repr__(self) -> str:
        return repr(dict(self))


class Alert:
    """A rule that matched an event. ``str(alert)`` and ``alert.json()`` are the lines that Falco prints.

    Alerts compare by what they hold, and can be pickled and sent to other processes.
    """

    __slots__ = ("__dict__", "_format", "_match", "_program", "_rule")      # a dict for what is made when it is asked for

    def __init__(self, program: Program, match: Match, format_: AlertFormat) -> None:
        self._program = program
        self._match = match
        self._format = format_
        self._rule: RuleHead = program.rules[match.rule]

    @property
    def rule(self) -> str:
        """The rule's name."""
        return self._rule.name

    @property
    def priority(self) -> Priority:
        """The rule's priority."""
        return Priority(self._rule.priority)

    @property
    def source(self) -> str:
        """The source of events that the rule is for: ``syscall``."""
        return self._rule.source

    @property
    def tags(self) -> frozenset[str]:
        """The rule's tags."""
        return self._rule.tags

    @property
    def time(self) -> int:
        """When the event happened: ns since the epoch."""
        return self._match.time

    @property
    def complete(self) -> bool:
        """False if events were lost before, in the life of this thread: what is told of its process and descriptors may be out of date."""
        return self._match.complete

    @property
    def id(self) -> str:
        """The source, the number of the event and the rule: the same whenever the same capture is replayed."""
        return f"{self.source}:{self._match.num}:{self.rule}"

    @functools.cached_property
    def fields(self) -> Mapping[str, FieldValue]:
        """What the rule prints, by token (``proc.aname[2]``), as native values; None where absent. KeyError for other tokens."""
        return Fields(_layout(self._program, self._match.rule), self._match)

    def _native(self, token: OutputToken) -> FieldValue:
        return self.fields[token.text]

    def _tokens(self) -> list[OutputToken]:
        return [part for part in self._rule.output if isinstance(part, OutputToken)]

    def _extra(self, parts: tuple[str | OutputToken, ...]) -> FieldValue:
        """An extra field: the native value where it is one token alone, else text."""
        return self._native(parts[0]) if len(parts) == 1 and isinstance(parts[0], OutputToken) else self._text(parts)

    def _text(self, parts: tuple[str | OutputToken, ...]) -> str:
        out = []
        for part in parts:
            if isinstance(part, str):
                out.append(part)
                continue
            text = render.text(slot_info(part.slot), self._native(part))
            out.append(text if part.width is None else text[: part.width].ljust(part.width))
        return "".join(out)

    @functools.cached_property
    def message(self) -> str:
        """The rule's output with its fields filled in, without time and priority."""
        return self._text(self._rule.output)

    @functools.cached_property
    def event(self) -> Event:
        """The event, with the fields that the rule prints, and all parameters of the system call."""
        num, time, tid, type_id, cpu = self._match.head()
        return Event(num=num, time=time, tid=tid, type_id=type_id, cpu=cpu, record=self._match.record(), fields=self.fields)

    def _line(self) -> str:
        """Falco's text line, not escaped."""
        stamp = render.clock("evt.time.iso8601" if self._format.time_format_iso_8601 else "evt.time", self.time)
        return f"{stamp}: {self.priority} {self.message}"

    def __str__(self) -> str:
        """Falco's text line (spec: engine.md C2): control characters, quotes and backslashes escaped as in JSON."""
        return msgspec.json.encode(self._line()).decode()[1:-1]

    def json(self) -> str:
        """Falco's JSON line (spec: engine.md C3), without a newline at the end."""
        f = self._format
        line: dict[str, object] = {"hostname": f.hostname}
        if f.json_include_message_property:
            line["message"] = self.message
        if f.json_include_output_property:
            line["output"] = self._line()
        if f.json_include_output_fields_property:
            transformed = {t.text for t in self._tokens() if not isinstance(t.slot, FieldSlot)}
            stamp = "evt.time.iso8601" if f.time_format_iso_8601 else "evt.time"
            extra = {name: self._extra(parts) for name, parts in self._rule.extra_fields}
            line["output_fields"] = {stamp: self.time, **{k: v for k, v in self.fields.items() if k not in transformed}, **extra}
        line |= {"priority": str(self.priority), "rule": self.rule, "source": self.source}
        if f.json_include_tags_property:
            line["tags"] = sorted(self.tags)
        line["time"] = render.clock("evt.time.iso8601", self.time).replace("+0000", "Z")
        return msgspec.json.encode(line, order="sorted").decode()

    def __eq__(self, other: object) -> bool:
        """The same rule on the same event, with the same values and form."""
        if not isinstance(other, Alert):
            return NotImplemented
        return (self._match.data, self._format, self._rule) == (other._match.data, other._format, other._rule)

    def __hash__(self) -> int:
        return hash((self._match.num, self._match.time, self.rule))

    def __reduce__(self) -> tuple[Callable[..., Alert], tuple[object, ...]]:
        """Of the program an alert keeps, in a copy, its own rule: it may go to other processes by the thousand."""
        program, number = self._program, self._match.rule
        slots = tuple(program.slots[slot] for slot in program.outputs[number])
        own = Program(b"", (self._rule,), slots, (tuple(range(len(slots))),), ())
        return Alert, (own, self._match._replace(rule=0), self._format)

    def __repr__(self) -> str:
        return f"<Alert {self.rule!r} {self.priority} event {self._match.num}>"


@functools.lru_cache(maxsize=1024)
def _layout(program: Program, rule: int) -> dict[str, tuple[int, FieldInfo]]:
    """Where a rule's tokens, and the fields inside their transformers, are among the values of its matches."""
    at = {program.slots[slot]: n for n, slot in enumerate(program.outputs[rule])}
    layout: dict[str, tuple[int, FieldInfo]] = {}
    tokens = list(program.rules[rule].tokens())
    for token in tokens:
        layout[token.text] = (at[token.slot], slot_info(token.slot))
    for token in tokens:
        for slot in nested_fields(token):
            layout.setdefault(str(slot), (at[slot], slot.info))
    return layout


def slot_info(slot: object) -> FieldInfo:
    """What render needs to know of a slot: a field's row, or one made for a transformer."""
    if isinstance(slot, FieldSlot):
        return slot.info
    return _transform_info(slot)


@functools.lru_cache(maxsize=256)
def _transform_info(slot: object) -> FieldInfo:
    kind = getattr(slot, "kind", "str")
    flags = frozenset({"LIST"}) if getattr(slot, "is_list", False) else frozenset()
    type_ = {"u64": "UINT64", "i64": "INT64", "bytes": "BYTEBUF", "bool": "BOOL", "f64": "DOUBLE"}.get(kind, "CHARBUF")
    format_ = "DEC" if kind in ("u64", "i64") else "NA"
    return FieldInfo(id=-1, name=str(slot), type=type_, kind=kind, format=format_, argument=frozenset(), flags=flags, field_class="",
                     description="")
