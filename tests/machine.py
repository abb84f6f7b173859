# SPDX-License-Identifier: Apache-2.0
"""Rules and events for tests of the compiler and the machine: made without rule files or captures."""

from collections.abc import Mapping

from falcolib import schema
from falcolib._native import check, lib
from falcolib.batch import read_matches, write_value
from falcolib.compiler import Program, compile_rules
from falcolib.core import Core
from falcolib.errors import Location
from falcolib.rules.ast import (
    Check,
    Checked,
    CheckedAnd,
    CheckedNot,
    CheckedOr,
    CheckedRule,
    FieldSlot,
    OutputToken,
    Slot,
    TransformSlot,
    Value,
)

HERE = Location("tests", 0, 0)


def event_id(code: str) -> int:
    """The id of an event type: ``OPENAT_2_X``."""
    return next(event.id for event in schema.EVENTS if event.code == code)


def field(text: str) -> FieldSlot:
    """The slot of a field as conditions write it."""
    return FieldSlot(*schema.require_field(text))


def cond(slot: str | Slot, op: str, *values: Value, modifier: str | None = None, other: Slot | None = None) -> Check:
    """A test of a field or transformer."""
    return Check(field(slot) if isinstance(slot, str) else slot, op, modifier, values, other, HERE)


def all_of(*children: Checked) -> CheckedAnd:
    return CheckedAnd(children)


def any_of(*children: Checked) -> CheckedOr:
    return CheckedOr(children)


def no(child: Checked) -> CheckedNot:
    return CheckedNot(child)


def call(name: str, *inputs: object, argument: str | None = None, kind: str = "str", is_list: bool = False) -> TransformSlot:
    """A transformer."""
    return TransformSlot(name, inputs, argument, kind, is_list)  # type: ignore[arg-type]


def rule(name: str, condition: Checked, *events: str, output: tuple[str, ...] = (), enabled: bool = True) -> CheckedRule:
    """A rule for events of these types; openat, if none are named. output: fields that it captures."""
    return CheckedRule(
        name,
        "",
        tuple(OutputToken(field(text), text) for text in output),
        (),
        4,
        "syscall",
        frozenset(),
        enabled,
        False,
        0,
        HERE,
        condition,
        frozenset(map(event_id, events or ("OPENAT_2_X",))),
    )


class Machine:
    """A program, loaded; events are given as values of slots."""

    def __init__(self, program: Program) -> None:
        self.program = program
        self.core = Core("all", 0, 0)
        self.core.set_program(program)

    def run(self, values: Mapping[str, object], event: str = "OPENAT_2_X") -> list[str]:
        """The names of the rules that are true, in order. Fields that aren't given are absent."""
        given = b"".join(write_value(slot, values.get(str(slot))) for slot in self.program.slots)
        check(lib.fl_engine_match_values(self.core.handle, event_id(event), 1, 0, given, len(given), self.core.error), self.core.error)
        return [self.program.rules[match.rule].name for match in read_matches(self.core.take_batch())]


def matches(rules: list[CheckedRule], values: Mapping[str, object], event: str = "OPENAT_2_X") -> list[str]:
    """The names of the rules that are true of an event; the same with and without optimisation."""
    found = Machine(compile_rules(rules)).run(values, event)
    assert Machine(compile_rules(rules, optimise=False)).run(values, event) == found
    return found


def holds(condition: Checked, values: Mapping[str, object], event: str = "OPENAT_2_X") -> bool:
    """Whether the machine finds a condition true of an event."""
    return matches([rule("r", condition, event)], values, event) == ["r"]
