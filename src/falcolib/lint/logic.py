# SPDX-License-Identifier: Apache-2.0
"""What follows from conditions: which can't hold together, and which holds whenever another does.

Conditions are put into one form: tests and their negations, joined by ``all`` and ``any``; equal parts are one node. A proof is then a
search with a budget: what isn't proved within it counts as not proved. So what is proved is true, and what isn't may be.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace

from ..evaluate import holds
from ..rules.ast import Check, Checked, CheckedAnd, CheckedNot, FieldSlot, Slot, Value

#: Steps of one proof, and how many choices it follows inside each other.
BUDGET, DEPTH = 4_000, 12
#: Values of a list that are tried one by one, and those that a proof follows one by one.
_TRIED, _SPLIT = 256, 8
_LOWEST, _HIGHEST = -(1 << 64), 1 << 64


@dataclass(frozen=True, slots=True)
class Literal:
    """A test, or its negation."""

    check: Check
    holds: bool


@dataclass(frozen=True, slots=True)
class Group:
    """``all`` or ``any`` of some nodes, by number."""

    all: bool
    parts: frozenset[int]


# ---- tests -------------------------------------------------------------------------------------------------------------------------------


def is_placeholder(check: Check) -> bool:
    """A test that is meant to never or always hold, to be overridden: of an empty list, or ``evt.num`` against its least value."""
    if not check.values and check.op != "exists" and check.other is None:
        return True
    return (isinstance(check.slot, FieldSlot) and check.slot.info.name == "evt.num" and len(check.values) == 1
            and (check.op, check.values[0]) in _ALWAYS | _NEVER)


_NEVER = frozenset({("=", 0), ("in", 0), ("<", 0), ("<", 1), ("<=", 0)})
_ALWAYS = frozenset({("!=", 0), (">", 0), (">=", 0), (">=", 1)})


def _is_single(check: Check) -> bool:
    slot = check.slot
    return not (slot.is_list or slot.is_any or slot.is_either) and slot.kind != "net"


def finite(check: Check) -> tuple[Value, ...] | None:
    """The values that a test allows, if it names them."""
    if check.other is not None or not check.values or (check.modifier and (check.op, check.modifier) != ("=", "anyof")):
        return None
    return check.values if check.op in ("=", "in", "intersects") else None


def _interval(check: Check) -> tuple[float, float] | None:
    """The numbers from and to that a comparison of integers allows, both included."""
    if check.slot.kind not in ("i64", "u64") or check.modifier or len(check.values) != 1 or not isinstance(check.values[0], int):
        return None
    n = check.values[0]
    return {"=": (n, n), "<": (_LOWEST, n - 1), "<=": (_LOWEST, n), ">": (n + 1, _HIGHEST), ">=": (n, _HIGHEST)}.get(check.op)


def _text(check: Check, op: str) -> str | None:
    """The one text of a test with this operator."""
    one = check.op == op and check.modifier is None and len(check.values) == 1
    return check.values[0] if one and isinstance(check.values[0], str) else None


def _all(check: Check, values: Sequence[Value], expected: bool) -> bool:
    """Whether a test has the same answer for all these values."""
    return len(values) * max(len(check.values), 1) <= _TRIED * _TRIED and all(holds(check, v, check.values) is expected for v in values)


def implies(a: Check, b: Check) -> bool:
    """Whether b holds whenever a does, for all that is known here."""
    if a == b:
        return True
    if a.slot != b.slot:
        return False
    if b.op == "exists":
        return True
    if a.other is not None or b.other is not None:
        return False
    mine, yours = finite(a), finite(b)
    if mine is not None and yours is not None and (a.op == b.op or _is_single(a) or not a.slot.is_list) and a.slot.kind != "net":
        return set(mine) <= set(yours)
    if not _is_single(a):
        return False
    if mine is not None:
        return _all(b, mine, True)
    return _text_implies(a, b) or _number_implies(a, b)


def _text_implies(a: Check, b: Check) -> bool:
    part = _text(b, "contains")
    for op in ("startswith", "endswith", "contains"):
        text, other = _text(a, op), _text(b, op)
        if text is None:
            continue
        if part is not None and part in text:
            return True
        if other is not None and (text.startswith(other) if op == "startswith" else op == "endswith" and text.endswith(other)):
            return True
    if a.op == b.op == "pmatch" and not a.modifier and not any(set("?*[") & set(str(v)) for v in a.values):
        return _all(b, a.values, True)
    return False


def _number_implies(a: Check, b: Check) -> bool:
    mine, yours = _interval(a), _interval(b)
    if mine is None:
        return False
    if b.op == "!=" and not b.modifier and len(b.values) == 1 and isinstance(b.values[0], int):
        return not mine[0] <= b.values[0] <= mine[1]
    return yours is not None and yours[0] <= mine[0] and mine[1] <= yours[1]


def excludes(a: Check, b: Check) -> bool:
    """Whether a and b can't both hold, for all that is known here."""
    if a.slot != b.slot or not _is_single(a) or a.other is not None or b.other is not None or is_placeholder(a) or is_placeholder(b):
        return False
    for one, other in ((a, b), (b, a)):
        values = finite(one)
        if values is not None:
            theirs = finite(other)
            return set(values).isdisjoint(theirs) if theirs is not None else _all(other, values, False)
    mine, yours = _interval(a), _interval(b)
    if mine is not None and yours is not None:
        return mine[1] < yours[0] or yours[1] < mine[0]
    for op, begins in (("startswith", str.startswith), ("endswith", str.endswith)):
        text, other_text = _text(a, op), _text(b, op)
        if text is not None and other_text is not None:
            return not (begins(text, other_text) or begins(other_text, text))
    return False


def entails(a: Literal, b: Literal) -> bool:
    """Whether b holds whenever a does. From a test that is false follows only that stricter ones are, too: the field may be absent."""
    if a.holds:
        return implies(a.check, b.check) if b.holds else excludes(a.check, b.check)
    return not b.holds and implies(b.check, a.check)


# ---- conditions --------------------------------------------------------------------------------------------------------------------------


@dataclass(slots=True)
class Forms:
    """Conditions in one form, as numbers: equal ones have the same."""

    nodes: list[Literal | Group] = field(default_factory=list)
    slots: list[frozenset[Slot]] = field(default_factory=list)      # what each node tests
    _numbers: dict[Literal | Group, int] = field(default_factory=dict)
    _made: dict[tuple[int, bool], tuple[Checked, int]] = field(default_factory=dict)       # by id of a tree, which is kept alive

    def number(self, node: Literal | Group) -> int:
        found = self._numbers.get(node)
        if found is None:
            found = self._numbers[node] = len(self.nodes)
            self.nodes.append(node)
            self.slots.append(frozenset({node.check.slot}) if isinstance(node, Literal) else
                              frozenset().union(*(self.slots[part] for part in node.parts)))
        return found

    def of(self, tree: Checked, negated: bool = False) -> int:
        """The number of a condition, or of its negation. What was found for its parts is kept."""
        stack: list[tuple[Checked, bool, list[int]]] = [(tree, negated, [])]
        while True:
            node, turned, done = stack[-1]
            if isinstance(node, CheckedNot):
                stack[-1] = (node.child, not turned, [])
                continue
            known = self._made.get((id(node), turned))
            if known is not None:
                made = known[1]
            elif isinstance(node, Check):
                made = self.number(Literal(node, not turned))
            elif len(done) < len(node.children):
                stack.append((node.children[len(done)], turned, []))
                continue
            else:
                made = self.group(isinstance(node, CheckedAnd) != turned, done)
            self._made[id(node), turned] = node, made
            stack.pop()
            if not stack:
                return made
            stack[-1][2].append(made)

    def group(self, all_: bool, parts: Sequence[int]) -> int:
        """``all`` or ``any`` of nodes; those of the same sort in it are put in."""
        flat: set[int] = set()
        for part in parts:
            node = self.nodes[part]
            if isinstance(node, Group) and node.all == all_:
                flat |= node.parts
            else:
                flat.add(part)
        return next(iter(flat)) if len(flat) == 1 else self.number(Group(all_, frozenset(flat)))

    def parts(self, number: int) -> frozenset[int]:
        """The conditions that must all hold for this one to."""
        node = self.nodes[number]
        return node.parts if isinstance(node, Group) and node.all else frozenset({number})


class Proof:
    """One search, with its budget."""

    def __init__(self, forms: Forms, budget: int = BUDGET) -> None:
        self.forms = forms
        self.left = budget

    def _spend(self) -> bool:
        self.left -= 1
        return self.left >= 0

    def _constant(self, literal: Literal) -> bool | None:
        """What a placeholder is."""
        check = literal.check
        if not is_placeholder(check):
            return None
        return (bool(check.values) and (check.op, check.values[0]) in _ALWAYS) == literal.holds

    def proves(self, facts: frozenset[int], goal: int, depth: int = DEPTH) -> bool:
        """Whether the goal holds where all the facts do."""
        if not self._spend() or depth <= 0:
            return False
        if goal in facts:
            return True
        node = self.forms.nodes[goal]
        if isinstance(node, Literal):
            if self._constant(node) is True:
                return True
            for fact in facts:
                known = self.forms.nodes[fact]
                if isinstance(known, Literal) and self._spend() and entails(known, node):
                    return True
        elif node.all:
            return all(self.proves(facts, part, depth - 1) for part in node.parts)
        elif any(self.proves(facts, part, depth - 1) for part in node.parts):
            return True
        return self._by_cases(facts, goal, depth)

    def _by_cases(self, facts: frozenset[int], goal: int, depth: int) -> bool:
        """One of the facts is an ``any``, or names a few values: whether the goal follows from each of them."""
        several = isinstance(self.forms.nodes[goal], Group)         # one test is proved from another at once, or not at all
        for fact in facts:
            known = self.forms.nodes[fact]
            if isinstance(known, Group):
                parts: Sequence[int] = () if known.all or self.forms.slots[fact].isdisjoint(self.forms.slots[goal]) else tuple(known.parts)
            else:
                parts = self._values(known) if several and known.check.slot in self.forms.slots[goal] else ()
            rest = facts - {fact}
            if parts and all(self.proves(rest | self.forms.parts(part), goal, depth - 1) for part in parts):
                return True
        return False

    def _values(self, literal: Literal) -> list[int]:
        """``a in (x, y)`` as ``a = x``, ``a = y``."""
        check = literal.check
        values = finite(check) if literal.holds and _is_single(check) else None
        if values is None or not 1 < len(values) <= _SPLIT:
            return []
        return [self.forms.number(Literal(replace(check, op="=", modifier=None, values=(value,)), True)) for value in values]

    def contradicts(self, facts: frozenset[int], depth: int = DEPTH) -> bool:
        """Whether the facts can't all hold."""
        if not self._spend() or depth <= 0:
            return False
        if self.conflict(facts) is not None:
            return True
        for fact in facts:
            known = self.forms.nodes[fact]
            if isinstance(known, Group) and not known.all:
                rest = facts - {fact}
                return all(self.contradicts(rest | self.forms.parts(part), depth - 1) for part in known.parts)
        return False

    def conflict(self, facts: frozenset[int]) -> tuple[Literal, Literal] | None:
        """Two of the facts that can't both hold."""
        literals = [node for fact in facts if isinstance(node := self.forms.nodes[fact], Literal) and not is_placeholder(node.check)]
        by_slot: dict[object, list[Literal]] = {}
        for literal in literals:
            by_slot.setdefault(literal.check.slot, []).append(literal)
        for same in by_slot.values():
            for i, a in enumerate(same):
                for b in same[i + 1:]:
                    if not self._spend():
                        return None
                    if entails(a, Literal(b.check, not b.holds)) or entails(b, Literal(a.check, not a.holds)):
                        return a, b
        return None
