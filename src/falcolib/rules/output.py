# SPDX-License-Identifier: Apache-2.0
"""Output formats: text and ``%field`` (C1), and what append_output adds to them (C4)."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import TypeAlias

from .. import schema
from .._remember import remembering
from ..errors import Location
from . import grammar
from .ast import FieldName, FieldSlot, OutputToken, Slot
from .check import CheckError, field_slot, field_text, operand_slot
from .text import operand_text

#: An output, taken apart.
Output: TypeAlias = tuple[str | OutputToken, ...]

#: What older rules write where Falco once put the fields of the container.
CONTAINER_INFO = "%container.info"

_field = re.compile(rf"({grammar.FIELD})(?:\[(?:({grammar.QUOTED})|({grammar.ARGUMENT}))\])?")
_call = re.compile(rf"(?:{'|'.join(grammar.TRANSFORMERS)})\(")
#: Characters of a field's name with its dotted argument, at most.
_LONGEST_NAME = 160
_NOWHERE = Location("", 0, 0, 0)
_width = re.compile(r"[0-9]{1,9}")


class OutputError(Exception):
    """An output format that can't be used: what is wrong, the index in the text, and the nearest valid name."""

    def __init__(self, message: str, index: int, hint: str | None = None) -> None:
        super().__init__(message)
        self.message = message
        self.index = index
        self.hint = hint

    @property
    def unknown(self) -> bool:
        """Whether it is about an unknown field: skip-if-unknown-filter forgives these."""
        return self.message.startswith(("unknown filter:", "invalid formatting token"))


@remembering(2 << 20)
def parse_output(text: str, source: str = "syscall") -> Output:
    """Takes a format apart, whose fields are those of a source's events. Raises OutputError."""
    found: list[str | OutputToken] = []
    index = 0
    while True:
        percent = text.find("%", index)
        if percent < 0:
            break
        if percent > index:
            found.append(text[index:percent])
        start = percent + 1
        if start == len(text):
            raise OutputError("invalid formatting syntax: formatting cannot end with a %", percent)
        m = _width.match(text, start)
        slot, shown, end = _token(text, m.end() if m else start, source)
        if isinstance(slot, FieldSlot):
            slot = FieldSlot(slot.info, slot.info.printed(slot.argument))
        found.append(OutputToken(slot, shown, int(m[0]) or None if m else None))
        index = end
    if index < len(text):
        found.append(text[index:])
    return tuple(found)


def _token(text: str, start: int, source: str) -> tuple[Slot, str, int]:
    """The slot of the longest prefix that is a field or a transformer, its text and where it ends."""
    if _call.match(text, start):
        try:
            slot, end = _called(text, start, source)
        except OutputError:
            close = grammar.call_end(text, start)           # a bracket behind a transformer may be no argument of it
            if close is None or not text.startswith("[", close):
                raise
            slot, end = _called(text[:close], start, source)
        return slot, text[start:end], end
    m = _field.match(text, start)
    if m is None:
        raise OutputError(f"unknown filter: expected a field or a transformer after '%', found '{text[start:start + 20]}'", start)
    hint, reason, end = None, None, m.end()
    if empty := text.startswith("[]", end) and schema.takes_empty(m[1]):
        end += 2
    if empty or end > m.end(1):                     # with an argument
        try:
            argument = "" if empty else grammar.unquote(m[2], m.end(2)) if m[2] else m[3]
            return field_slot(field_text(m[1], argument), source), operand_text(FieldName(m[1], argument, _NOWHERE)), end
        except CheckError as e:
            hint, reason = e.hint, e.reason
        except grammar.GrammarError:
            pass                                    # a quoted text with a wrong escape is no argument
    for end in range(min(m.end(1), start + _LONGEST_NAME), start, -1):
        name = text[start:end]
        if not re.fullmatch(grammar.FIELD, name):
            continue
        try:
            return field_slot(name, source), name, end
        except CheckError as e:
            hint, reason = hint or e.hint, reason or e.reason if end == m.end(1) else reason
    named = m[0] if len(m[0]) <= _LONGEST_NAME else m[0][:_LONGEST_NAME] + "…"
    if reason:                                      # there is such a field: it is its own nearest name
        raise OutputError(f"unknown filter: {named}: {reason}", start)
    raise OutputError(f"unknown filter: {named}", start, hint)


def _called(text: str, start: int, source: str) -> tuple[Slot, int]:
    """The slot of the transformer that begins at start, and where it ends."""
    try:
        operand, end = grammar.parse_operand(text, start)
        return operand_slot(operand, source), end
    except grammar.GrammarError as e:
        raise OutputError(f"invalid formatting token {text[start:start + 40]}: {e.message}", start) from None
    except CheckError as e:
        raise OutputError(f"unknown filter: {e.message}", start, e.hint) from None


# ---- append_output -------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class AppendOutput:
    """An entry of falco.yaml's append_output: what is added to the outputs of the rules that match all of ``rule``, ``source``, ``tags``.

    extra_fields: name and format; a raw one's format is the field itself, and its value stays native.
    """

    rule: str = ""
    source: str = ""
    tags: frozenset[str] = frozenset()
    extra_output: str = ""
    extra_fields: tuple[tuple[str, str, bool], ...] = ()
    suggested: bool = False

    def formats(self, source: str, static: Iterable[str] = ()) -> tuple[str, ...]:
        """What is appended to the outputs of a source's rules; suggested_output appends fields that the source has, and static ones."""
        suggested = suggested_output(source, static) if self.suggested else ""
        return tuple(text for text in (self.extra_output, suggested) if text)

    def fits(self, rule: str, source: str, tags: Iterable[str]) -> bool:
        return (not self.rule or self.rule == rule) and (not self.source or self.source == source) and self.tags <= set(tags)


def suggested_output(source: str, static: Iterable[str] = ()) -> str:
    """``container_id=%container.id …``: what suggested_output appends, a term for each field of a source that is made for it, and for each
    static field."""
    classes = schema.classes_of(source)
    names = [f.name for f in schema.FIELDS if "SUGGESTED" in f.flags and f.field_class in classes]
    return " ".join(f"{name.replace('.', '_')}=%{name}" for name in (*names, *static))


def read_append_output(entries: Iterable[Mapping[str, object]]) -> tuple[AppendOutput, ...]:
    """The entries of falco.yaml's append_output, as YAML reads them. Raises ValueError for an entry that makes no sense."""
    return tuple(_read_entry(entry) for entry in entries)


def _read_entry(entry: Mapping[str, object]) -> AppendOutput:
    match = entry.get("match") or {}
    if not isinstance(match, Mapping):
        raise ValueError("append_output: match must be a mapping")
    tags = match.get("tags") or ()
    if not isinstance(tags, list | tuple):
        raise ValueError("append_output: match.tags must be a list")
    extra: list[tuple[str, str, bool]] = []
    fields = entry.get("extra_fields") or ()
    if not isinstance(fields, list | tuple):
        raise ValueError("append_output: extra_fields must be a list")
    for field in fields:
        if isinstance(field, Mapping):
            extra += [(str(name), str(format_), False) for name, format_ in field.items()]
        else:
            extra.append((str(field), f"%{field}", True))
    rule, source = str(match.get("rule") or ""), str(match.get("source") or "")
    return AppendOutput(rule, source, frozenset(map(str, tags)), str(entry.get("extra_output") or ""), tuple(extra),
                        bool(entry.get("suggested_output")))
