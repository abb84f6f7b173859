# SPDX-License-Identifier: Apache-2.0
"""A condition and an event as a tree of outcomes."""

from __future__ import annotations

import enum
from collections.abc import Iterator
from dataclasses import dataclass, field

from .. import evaluate
from ..errors import Location
from ..evaluate import Get
from ..rules.ast import Check, Checked, CheckedAnd, CheckedNot, Value
from .values import Unknown

#: Constants of a test that are told as the ones that met.
_HITS = 3


class Outcome(enum.Enum):
    """What became of a part of a condition."""

    TRUE = "true"
    FALSE = "false"
    ABSENT = "absent"               # of a test: its field has no value, so it is false, whatever the operator
    UNKNOWN = "unknown"             # the value can't be had any more
    SKIPPED = "skipped"             # not looked at: a part before it decided

    @property
    def holds(self) -> bool | None:
        """True, False, or None where it isn't known."""
        return {"true": True, "false": False, "absent": False}.get(self.value)


@dataclass(slots=True)
class Node:
    """A part of a condition. kind: test, and, or, not. Of a test: what it compares, the value it saw, and which of its constants met it."""

    kind: str
    outcome: Outcome = Outcome.SKIPPED
    check: Check | None = None
    value: object = None
    other: object = None            # the value of the field on the right-hand side
    hits: tuple[Value, ...] = ()
    macro: tuple[str, ...] = ()     # the macros that all of it comes through, outermost first
    at: Location | None = None      # where its first test stands
    children: list[Node] = field(default_factory=list)

    def walk(self) -> Iterator[Node]:
        """This part and all below it, in the order written."""
        todo = [self]
        while todo:
            node = todo.pop()
            yield node
            todo += reversed(node.children)

    @property
    def tests(self) -> int:
        """How many tests it has."""
        return sum(node.kind == "test" for node in self.walk())


def build(condition: Checked, get: Get) -> Node:
    """The tree of a condition, evaluated as the language says: parts in the order written, until one decides. (The machine may choose
    another order; the outcome is the same.) Nesting is no recursion: it may be as deep as the language allows.
    """
    root = _shape(condition)
    todo: list[tuple[Node, int]] = [(root, 0)]
    while todo:
        node, begun = todo.pop()
        if node.check is not None:
            _test(node, node.check, get)
            continue
        if begun and _decides(node, node.children[begun - 1]):
            begun = len(node.children)
        if begun < len(node.children):
            todo += [(node, begun + 1), (node.children[begun], 0)]
            continue
        node.outcome = _joined(node)
    return root


def _shape(condition: Checked) -> Node:
    """The tree, not evaluated yet."""
    made: list[Node] = []
    todo: list[tuple[Checked, bool]] = [(condition, False)]
    while todo:
        tree, ready = todo.pop()
        if isinstance(tree, Check):
            made.append(Node("test", check=tree, macro=tree.via, at=tree.at))
            continue
        parts = (tree.child,) if isinstance(tree, CheckedNot) else tree.children
        if not ready:
            todo.append((tree, True))
            todo += [(part, False) for part in reversed(parts)]
            continue
        children = made[len(made) - len(parts):]
        del made[len(made) - len(parts):]
        kind = "not" if isinstance(tree, CheckedNot) else "and" if isinstance(tree, CheckedAnd) else "or"
        made.append(Node(kind, macro=_common([c.macro for c in children]), at=children[0].at if children else None, children=children))
    return made[0]


def _common(ways: list[tuple[str, ...]]) -> tuple[str, ...]:
    common = ways[0] if ways else ()
    for way in ways[1:]:
        n = 0
        while n < min(len(common), len(way)) and common[n] == way[n]:
            n += 1
        common = common[:n]
    return common


def _test(node: Node, check: Check, get: Get) -> None:
    try:
        step = evaluate.trace(check, get)
        node.value = step.value
        node.other = None if check.other is None else evaluate.value_of(check.other, get)
    except Unknown:
        node.outcome = Outcome.UNKNOWN
        return
    node.outcome = Outcome.TRUE if step.holds else Outcome.ABSENT if step.value is None else Outcome.FALSE
    if step.holds and len(check.values) > 1 and check.modifier is None:
        node.hits = tuple(v for v in check.values if evaluate.holds(check, step.value, (v,)))[:_HITS]


def _decides(node: Node, child: Node) -> bool:
    return child.outcome.holds is {"and": False, "or": True}.get(node.kind, ...)


def _joined(node: Node) -> Outcome:
    outcomes = [child.outcome.holds for child in node.children if child.outcome is not Outcome.SKIPPED]
    if node.kind == "not":
        return Outcome.UNKNOWN if outcomes[0] is None else Outcome.FALSE if outcomes[0] else Outcome.TRUE
    stops = node.kind == "or"
    if stops in outcomes:
        return Outcome.TRUE if stops else Outcome.FALSE
    if None in outcomes:
        return Outcome.UNKNOWN
    return Outcome.FALSE if stops else Outcome.TRUE


def deciding(root: Node) -> Node:
    """The part that settled the outcome: a test, or the group of which no part alone did, because all had to agree."""
    node = root
    while node.children:
        parts = _settling(node)
        if len(parts) > 1:
            return node
        node = parts[0]
    return node


def deciding_tests(root: Node) -> Iterator[Node]:
    """The tests that settled the outcome, in the order written: of a group of which no part alone did those of all parts."""
    todo = [root]
    while todo:
        node = todo.pop()
        if node.kind == "test":
            yield node
        todo += reversed(_settling(node))


def _settling(group: Node) -> list[Node]:
    """The part of a group that settled its outcome; all parts, where they had to agree."""
    return next(([child] for child in group.children if _decides(group, child)), group.children)
