# SPDX-License-Identifier: Apache-2.0
"""field-without-event: a test of a field that no event it is asked of ever has."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import cache

from .. import schema
from ..errors import Location
from ..rules.ast import Check, Checked, CheckedAnd, CheckedNot, CheckedRule, FieldSlot, Slot
from ..rules.check import events_of_parts
from ..rules.text import check_text
from ..schema import EventInfo
from .finding import Finding, at_check

_DESCRIPTOR = frozenset({"CREATES_FD", "USES_FD", "DESTROYS_FD"})


def may_have(slot: FieldSlot, event: EventInfo) -> bool:
    """Whether a field can have a value on an event of a type, as far as the tables tell: parameters, and descriptors."""
    info = slot.info
    if info.name in ("evt.arg", "evt.rawarg") and slot.argument is not None and slot.argument.dotted:
        return any(p.name == slot.argument.text for p in event.params)
    if info.field_class == "FD":
        return bool(event.flags & _DESCRIPTOR)
    if info.field_class == "FDLIST":
        return any(p.type == "FDLIST" for p in event.params)
    if info.name == "evt.buffer":
        return any(p.name == "data" for p in event.params)
    return True


@cache
def _seen() -> frozenset[int]:
    return frozenset(e.id for e in schema.EVENTS if schema.seen_by_rules(e))


def _fields(slot: Slot) -> Iterator[FieldSlot]:
    """The fields that a slot reads."""
    todo: list[object] = [slot]
    while todo:
        at = todo.pop()
        if isinstance(at, FieldSlot):
            yield at
        elif isinstance(at, tuple):
            todo += at
        elif not isinstance(at, str | bytes | int | float):
            todo += getattr(at, "inputs", ())


class FieldWithoutEvent:
    """A test whose field is always absent where it stands."""

    id = "field-without-event"
    severity = "warning"

    def find(self, rules: Sequence[CheckedRule]) -> Iterator[Finding]:
        """Tests of which no event that reaches them has the field. One in a macro is told if that is so wherever it is used."""
        found: dict[Location, Finding] = {}
        sound: set[Location] = set()
        for rule in rules:
            if rule.source != "syscall":
                continue
            for check, events in _reached(rule.condition, rule.events & _seen()):
                lacking = self._lacking(check, events)
                if lacking is None:
                    sound.add(check.at)
                    continue
                names = sorted({schema.EVENTS[i].name for i in events})
                shown = ", ".join(names[:4]) + (", …" if len(names) > 4 else "")
                found.setdefault(check.at, at_check(
                    self, rule, check, f"{lacking} never has a value here: {check_text(check, 4)} is only asked of {shown}",
                    f"test it on events that have it (falcolib events), or test what {shown} has"))
        return (finding for at, finding in found.items() if at not in sound)

    @staticmethod
    def _lacking(check: Check, events: frozenset[int]) -> str | None:
        """The field of a test that none of the events has; None if one may have it, or if there is none of them."""
        for slot in (check.slot, check.other):
            for name in _fields(slot) if slot is not None else ():
                if events and not any(may_have(name, schema.EVENTS[i]) for i in events):
                    return str(name)
        return None


def _reached(condition: Checked, events: frozenset[int]) -> Iterator[tuple[Check, frozenset[int]]]:
    """The tests of a condition, with the event types that the tests joined to them by ``and`` leave."""
    types = events_of_parts(condition)
    todo: list[tuple[Checked, bool, frozenset[int]]] = [(condition, False, events)]
    while todo:
        node, negated, left = todo.pop()
        if isinstance(node, Check):
            yield node, left
        elif isinstance(node, CheckedNot):
            todo.append((node.child, not negated, left))
        elif isinstance(node, CheckedAnd) != negated:
            all_ = frozenset.intersection(left, *(types[id(child)][negated] for child in node.children))
            todo += [(child, negated, all_) for child in node.children]
        else:
            todo += [(child, negated, left) for child in node.children]

