# SPDX-License-Identifier: Apache-2.0
"""The contents of a cached program's file: MessagePack of a fixed shape, in which registers are named as in rules.

What could disagree with the code isn't stored (captured registers) or is compared with it (registers).
"""

from __future__ import annotations

import struct
from collections.abc import Iterable, Sequence
from typing import Any, TypeAlias

import msgspec

from . import schema
from .compiler.program import Program
from .compiler.tables import captured, counts, describes, found_by
from .errors import Location
from .rules.ast import ExtraField, FieldSlot, OutputToken, RuleHead, Slot, TransformSlot, Value

#: The part of an output: text, or number of the slot, text and width of a token.
_Part: TypeAlias = str | tuple[int, str, int | None]


class DecodeError(ValueError):
    """Bytes that are no cached program."""


class _Rule(msgspec.Struct, array_like=True, forbid_unknown_fields=True):
    name: str
    description: str
    output: list[_Part]
    extra: list[tuple[str, list[_Part], bool]]
    priority: int
    source: str
    tags: list[str]
    enabled: bool
    capture: bool
    capture_duration: int
    at: tuple[str, int, int, int]


class _Call(msgspec.Struct, array_like=True, forbid_unknown_fields=True):
    """A transformer. An input is ["slot", number], ["value", constant] or ["list", inputs]."""

    name: str
    inputs: list[tuple[str, Any]]
    argument: str | None
    kind: str
    is_list: bool
    is_any: bool
    is_either: bool


class _File(msgspec.Struct, array_like=True, forbid_unknown_fields=True):
    code: bytes
    rules: list[_Rule]
    slots: list[str | _Call]            # first those of the code, then others that rules which aren't enabled would print
    patterns: list[str]
    outcomes: bytes
    hosts: list[str]
    warnings: list[str]


def encode(program: Program, warnings: Iterable[str]) -> bytes:
    """The contents of a file.

    Raises ValueError for texts that aren't Unicode, which MessagePack can't hold.
    """
    numbers = {slot: i for i, slot in enumerate(program.slots)}

    def number(slot: Slot) -> int:
        if slot not in numbers:             # of a rule that isn't enabled
            if isinstance(slot, TransformSlot):
                _ = [given(x) for x in slot.inputs]         # theirs come first
            numbers[slot] = len(numbers)
        return numbers[slot]

    def parts(output: Iterable[str | OutputToken]) -> list[_Part]:
        return [part if isinstance(part, str) else (number(part.slot), part.text, part.width) for part in output]

    def given(x: Slot | Value | tuple[Slot | Value, ...]) -> tuple[str, Any]:
        if isinstance(x, tuple):
            return "list", [given(item) for item in x]
        return ("slot", number(x)) if isinstance(x, FieldSlot | TransformSlot) else ("value", x)

    rules = [_Rule(r.name, r.description, parts(r.output), [(e.name, parts(e.output), e.raw) for e in r.extra_fields], r.priority, r.source,
                   sorted(r.tags), r.enabled, r.capture, r.capture_duration,
                   (r.at.name, r.at.line, r.at.column, r.at.offset)) for r in program.rules]
    slots = [str(s) if isinstance(s, FieldSlot) else _Call(s.name, [given(x) for x in s.inputs], s.argument, s.kind, s.is_list, s.is_any,
                                                           s.is_either) for s in list(numbers)]
    return msgspec.msgpack.encode(_File(program.code, rules, slots, list(program.patterns), program.outcomes, list(program.hosts),
                                        list(warnings)))


def decode(data: bytes | memoryview) -> tuple[Program, tuple[str, ...]]:
    """The program, whose code is still to be verified (Program.check), and the warnings.

    Raises DecodeError.
    """
    try:
        file = msgspec.msgpack.decode(data, type=_File)
        slots = _slots(file.slots)
        rules = tuple(_rule(rule, slots) for rule in file.rules)
        slots = slots[: counts(file.code)[0]]
        if not describes(file.code, slots):
            raise DecodeError("the registers are not those of the code")
        outputs = captured(file.code, len(slots))
        for number in found_by(file.code):
            if not {slots[slot] for slot in outputs[number]}.issuperset(rules[number].printed()):
                raise DecodeError("a rule prints what the code doesn't capture")
        if file.outcomes and len(file.outcomes) != len(schema.EVENTS):
            raise DecodeError("the outcomes are not of these events")
        return Program(file.code, rules, slots, outputs, tuple(file.patterns), file.outcomes, tuple(file.hosts)), tuple(file.warnings)
    except (msgspec.DecodeError, msgspec.ValidationError, KeyError, IndexError, TypeError, ValueError, struct.error) as e:
        raise DecodeError(str(e)) from None


def _slots(given: Sequence[str | _Call]) -> tuple[Slot, ...]:
    slots: list[Slot] = []

    def read(x: tuple[str, Any], nested: bool = False) -> Any:
        what, value = x
        if what == "slot" and type(value) is int and 0 <= value < len(slots):
            return slots[value]
        if what == "value" and isinstance(value, int | float | str | bytes):
            return value
        if what == "list" and isinstance(value, list) and not nested:
            return tuple(read(item, nested=True) for item in value)
        raise DecodeError("a transformer reads nothing that there is")

    for slot in given:
        if isinstance(slot, str):
            slots.append(FieldSlot(*schema.require_field(slot)))
        else:
            slots.append(TransformSlot(slot.name, tuple(map(read, slot.inputs)), slot.argument, slot.kind, slot.is_list, slot.is_any,
                                       slot.is_either))
    return tuple(slots)


def _rule(rule: _Rule, slots: Sequence[Slot]) -> RuleHead:
    def part(x: _Part) -> str | OutputToken:
        if isinstance(x, str):
            return x
        number, text, width = x
        if number < 0 or (width is not None and not 0 <= width < 10**9):
            raise DecodeError("an output prints nothing that there is")
        return OutputToken(slots[number], text, width)

    if not 0 <= rule.priority <= 7:
        raise DecodeError(f"{rule.priority} is no priority")
    extra = tuple(ExtraField(name, tuple(map(part, output)), raw) for name, output, raw in rule.extra)
    return RuleHead(rule.name, rule.description, tuple(map(part, rule.output)), extra, rule.priority, rule.source, frozenset(rule.tags),
                    rule.enabled, rule.capture, rule.capture_duration, Location(*rule.at))
