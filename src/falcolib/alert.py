# SPDX-License-Identifier: Apache-2.0
"""Alerts: a rule matched an event. Texts are made only when they are asked for."""

from __future__ import annotations

import enum
import functools
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Protocol, TypeAlias

import msgspec

from . import render
from .batch import Match, Raw
from .compiler import Program
from .event import Event, FieldValue
from .rules.ast import ExtraField, FieldSlot, OutputToken, RuleHead, nested_fields
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
    buffer_format_base64: bool = False
    json_include_output_property: bool = True
    json_include_message_property: bool = False
    json_include_output_fields_property: bool = True
    json_include_tags_property: bool = True


class Told(Protocol):
    """What alerts of rules and alerts about the program itself have in common."""

    @property
    def rule(self) -> str:
        """The rule's name."""

    @property
    def priority(self) -> Priority:
        """The rule's priority."""

    @property
    def time(self) -> int:
        """When it happened: ns since the epoch."""

    @property
    def source(self) -> str:
        """The source of events: ``syscall``, ``k8s_audit``, ``internal``."""

    @property
    def hostname(self) -> str:
        """The host that it is of."""

    @property
    def message(self) -> str:
        """The output of the rule, without time and priority."""


def text_line(told: Told, form: AlertFormat) -> str:
    """Falco's text line (spec: engine.md C2), not escaped."""
    stamp = render.clock("evt.time.iso8601" if form.time_format_iso_8601 else "evt.time", told.time)
    return f"{stamp}: {told.priority} {told.message}"


def json_line(told: Told, form: AlertFormat, fields: Callable[[], Mapping[str, FieldValue]]) -> dict[str, object]:
    """What Falco's JSON line holds (spec: engine.md C3), but tags. fields: makes what is printed as output_fields."""
    line: dict[str, object] = {"hostname": told.hostname, "priority": str(told.priority), "rule": told.rule, "source": told.source,
                               "time": render.clock("evt.time.iso8601", told.time).replace("+0000", "Z")}
    if form.json_include_message_property:
        line["message"] = told.message
    if form.json_include_output_property:
        line["output"] = text_line(told, form)
    if form.json_include_output_fields_property:
        line["output_fields"] = fields()
    return line


#: What reads a field's value from what the core gave, and the event's time.
Reader: TypeAlias = Callable[[Raw, int], FieldValue]


class Fields(Mapping[str, "FieldValue"]):
    """What a rule prints, by token: native values, made when they are asked for; None where absent."""

    __slots__ = ("_layout", "_made", "_time", "_values")

    def __init__(self, layout: dict[str, tuple[int, Reader]], match: Match) -> None:
        self._layout = layout
        self._time = match.time
        self._values = match.values()
        self._made: dict[str, FieldValue] = {}

    def __getitem__(self, token: str) -> FieldValue:
        if token in self._made:
            return self._made[token]
        at, read = self._layout[token]
        value = self._made[token] = read(self._values[at], self._time)
        return value

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
    def hostname(self) -> str:
        """The host that it is of, as its engine was told."""
        return self._format.hostname

    @property
    def size(self) -> int:
        """Bytes that it takes in memory, about, with the lines that are made of it."""
        return 512 + 4 * len(self._match.data)

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
        return Fields(_layout(self._program, self._match.rule, self._format.buffer_format_base64), self._match)

    def _native(self, token: OutputToken) -> FieldValue:
        return self.fields[token.text]

    def _extra(self, extra: ExtraField) -> FieldValue:
        part = extra.output[0] if extra.raw else None
        return self._native(part) if isinstance(part, OutputToken) else self._text(extra.output)

    def _text(self, parts: tuple[str | OutputToken, ...]) -> str:
        out = []
        for part in parts:
            if isinstance(part, str):
                out.append(part)
                continue
            value = self._native(part)
            text = value if isinstance(value, str) else render.text(slot_info(part.slot), value)
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

    @functools.cached_property
    def _escaped(self) -> str:
        return msgspec.json.encode(text_line(self, self._format)).decode()[1:-1]

    def __str__(self) -> str:
        """Falco's text line (spec: engine.md C2): control characters, quotes and backslashes escaped as in JSON."""
        return self._escaped

    @functools.cached_property
    def _json(self) -> str:
        return msgspec.json.encode(self.as_dict(), order="sorted").decode()

    def json(self) -> str:
        """Falco's JSON line (spec: engine.md C3), without a newline at the end."""
        return self._json

    def as_dict(self) -> dict[str, object]:
        """What json() encodes: hostname, output, output_fields, priority, rule, source, tags, time, as far as the format has them."""
        names, tags = _listed(self._program, self._match.rule)

        def fields() -> dict[str, FieldValue]:
            stamp = "evt.time.iso8601" if self._format.time_format_iso_8601 else "evt.time"
            extra = {added.name: self._extra(added) for added in self._rule.extra_fields}
            return {stamp: self.time, **{name: self.fields[name] for name in names}, **extra}

        line = json_line(self, self._format, fields)
        return line | {"tags": list(tags)} if self._format.json_include_tags_property else line

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
def _layout(program: Program, rule: int, base64: bool) -> dict[str, tuple[int, Reader]]:
    """Where a rule's tokens, and the fields inside their transformers, are among the values of its matches."""
    at = {program.slots[slot]: n for n, slot in enumerate(program.outputs[rule])}
    layout: dict[str, tuple[int, Reader]] = {}
    tokens = list(program.rules[rule].tokens())
    for token in tokens:
        layout[token.text] = (at[token.slot], render.reader(slot_info(token.slot), base64))
    for token in tokens:
        for slot in nested_fields(token):
            layout.setdefault(str(slot), (at[slot], render.reader(slot.info, base64)))
    return layout


@functools.lru_cache(maxsize=1024)
def _listed(program: Program, rule: int) -> tuple[tuple[str, ...], list[str]]:
    """Of a rule: the names in output_fields, which are the fields of its output, also those inside transformers; and its tags."""
    head = program.rules[rule]
    tokens = [part for part in head.output if isinstance(part, OutputToken)]
    names = [token.text for token in tokens if isinstance(token.slot, FieldSlot)]
    return tuple(dict.fromkeys([*names, *(str(slot) for token in tokens for slot in nested_fields(token))])), sorted(head.tags)


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
