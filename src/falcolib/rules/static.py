# SPDX-License-Identifier: Apache-2.0
"""static_fields of falco.yaml: fields ``static.NAME`` that have one value in all events (spec: engine.md C4).

As nothing about them depends on an event, tests of them are decided when rules are checked, and outputs hold their text.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import replace
from typing import TypeAlias

from ..evaluate import holds
from .ast import Check, ExtraField, FieldName, FieldSlot, Test, Value
from .check import CheckError, Meaning, field_slot
from .output import Output, OutputError, parse_output

#: Fields' full names, and their values.
Static: TypeAlias = Mapping[str, str]
#: A text that every event has: tests of static fields are checked as if they were of it.
_TEXT = "evt.hostname"
_name = re.compile(r"static(?:\.[A-Za-z0-9_-]+)+")
_token = re.compile(rf"%([0-9]{{0,9}})({_name.pattern})")


def static_fields(values: Mapping[str, str]) -> Static:
    """Fields of the values by NAME, as falco.yaml has them."""
    return {f"static.{name}": value for name, value in values.items()}


def as_text(test: Test) -> Test:
    """The same test of a field that is a text."""
    assert isinstance(test.left, FieldName)
    return replace(test, left=FieldName(_TEXT, test.left.argument, test.left.at))


def decided(test: Test, meaning: Meaning, static: Static) -> Check:
    """A check with the outcome of a test of a static field: evt.num is 1 or more, or 0. Raises CheckError."""
    assert isinstance(test.left, FieldName)
    if meaning.other is not None:
        raise CheckError(f"{test.left.name} can be compared with values only")
    value: Value = static[test.left.name]
    slot = field_slot(_TEXT)
    outcome = holds(Check(slot, test.op if test.op != "==" else "=", test.modifier, meaning.values, None, test.at), value, meaning.values)
    counter: FieldSlot = field_slot("evt.num")
    return Check(counter, ">=" if outcome else "=", None, (1 if outcome else 0,), None, test.at, test.via)


def output_of(text: str, source: str, static: Static) -> tuple[Output, tuple[ExtraField, ...]]:
    """A format taken apart, with static fields as text; and these, for output_fields. Raises OutputError."""
    if "%" not in text or "static." not in text or not static:
        return parse_output(text, source), ()
    parts: list[object] = []
    found: dict[str, str] = {}
    at = 0
    for m in _token.finditer(text):
        name = m[2]
        while name not in static and "." in name:       # the longest that is one
            name = name[:-1]
        if name not in static:
            continue
        parts += _parsed(text, at, m.start(), source)
        width = int(m[1] or 0)
        parts.append(static[name][:width].ljust(width) if width else static[name])
        found[name] = static[name]
        at = m.start(2) + len(name)
    parts += _parsed(text, at, len(text), source)
    extra = tuple(ExtraField(name, (found[name],), raw=True) for name in sorted(found))
    return tuple(part for part in parts if part != ""), extra      # type: ignore[misc]


def _parsed(text: str, start: int, end: int, source: str) -> Output:
    try:
        return parse_output(text[start:end], source)
    except OutputError as e:
        raise OutputError(e.message, e.index + start, e.hint) from None
