# SPDX-License-Identifier: Apache-2.0
"""Conditions as nodes of one graph: equal conditions, wherever they stand, are one node.

Negation is pushed down to the tests. That is right although a test of an absent value is false: a test has two outcomes, and ``not``
only swaps them.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import TypeAlias

from ..rules.ast import Check, Checked, CheckedAnd, CheckedNot

#: The number of a node in its graph.
NodeId: TypeAlias = int


@dataclass(frozen=True, slots=True)
class Leaf:
    """A test, or its negation."""

    check: Check
    negated: bool


@dataclass(frozen=True, slots=True)
class Both:
    """A conjunction. Without parts: true."""

    parts: tuple[NodeId, ...]


@dataclass(frozen=True, slots=True)
class Either:
    """A disjunction. Without parts: false."""

    parts: tuple[NodeId, ...]


Node: TypeAlias = Leaf | Both | Either

TRUE: NodeId = 0
FALSE: NodeId = 1

#: Operators on several values that hold if they hold for one: ``f contains a or f contains b`` is ``f contains anyof (a, b)``.
_MERGED = {"=": ("in", None), "in": ("in", None), "intersects": ("intersects", None), "pmatch": ("pmatch", None),
           "contains": ("contains", "anyof"), "startswith": ("startswith", "anyof"), "endswith": ("endswith", "anyof")}


class Graph:
    """The nodes, by number. With ``merge``, disjunctions of tests that differ in the constant only become one test."""

    def __init__(self, *, merge: bool = True) -> None:
        self.nodes: list[Node] = [Both(()), Either(())]
        self._merge = merge
        self._ids: dict[Node, NodeId] = {node: i for i, node in enumerate(self.nodes)}

    def add(self, condition: Checked) -> NodeId:
        """The node of a condition. Nesting is no recursion, so that it may be as deep as the language allows."""
        done: list[NodeId] = []
        todo: list[tuple[Checked, bool, bool]] = [(condition, False, False)]
        while todo:
            tree, negated, parts_done = todo.pop()
            if isinstance(tree, Check):
                done.append(self._intern(Leaf(normal(tree) if self._merge else tree, negated)))
            elif isinstance(tree, CheckedNot):
                todo.append((tree.child, not negated, False))
            elif parts_done:
                start = len(done) - len(tree.children)
                parts = done[start:]
                del done[start:]
                done.append(self.both(parts) if isinstance(tree, CheckedAnd) is not negated else self.either(parts))
            else:
                todo.append((tree, negated, True))
                todo.extend((child, negated, False) for child in reversed(tree.children))
        return done[0]

    def both(self, parts: Iterable[NodeId]) -> NodeId:
        """The conjunction of nodes, simplified."""
        return self._join(Both, parts, neutral=TRUE, deciding=FALSE)

    def either(self, parts: Iterable[NodeId]) -> NodeId:
        """The disjunction of nodes, simplified."""
        return self._join(Either, parts, neutral=FALSE, deciding=TRUE)

    def _join(self, kind: type[Both] | type[Either], parts: Iterable[NodeId], neutral: NodeId, deciding: NodeId) -> NodeId:
        flat: dict[NodeId, None] = {}
        for part in parts:
            node = self.nodes[part]
            flat.update(dict.fromkeys(node.parts if isinstance(node, kind) else (part,)))
        if deciding in flat:
            return deciding
        flat.pop(neutral, None)
        if kind is Either and self._merge and len(flat) > 1:
            flat = self._merged(flat)
        for part in flat:
            node = self.nodes[part]
            if isinstance(node, Leaf) and self._ids.get(Leaf(node.check, not node.negated)) in flat:
                return deciding
        return next(iter(flat)) if len(flat) == 1 else self._intern(kind(tuple(flat))) if flat else neutral

    def _merged(self, parts: dict[NodeId, None]) -> dict[NodeId, None]:
        """Tests of one slot with one of the operators above become one test, where the first of them stood."""
        groups: dict[object, list[Check]] = {}
        keys: dict[NodeId, object] = {}
        for part in parts:
            node = self.nodes[part]
            if isinstance(node, Leaf) and not node.negated and (merged := _merged_operator(node.check)):
                keys[part] = (node.check.slot, merged)
                groups.setdefault(keys[part], []).append(node.check)
        out: dict[NodeId, None] = {}
        for part in parts:
            group = groups.get(keys.get(part), [])
            node = self.nodes[part]
            if len(group) < 2:
                out[part] = None
            elif isinstance(node, Leaf) and node.check is group[0]:
                op, modifier = _MERGED[group[0].op]
                values = tuple(value for check in group for value in check.values)
                out[self._intern(Leaf(normal(replace(group[0], op=op, modifier=modifier, values=values)), False))] = None
        return out

    def _intern(self, node: Node) -> NodeId:
        found = self._ids.get(node)
        if found is None:
            found = self._ids[node] = len(self.nodes)
            self.nodes.append(node)
        return found


def _merged_operator(check: Check) -> tuple[str, str | None] | None:
    merged = _MERGED.get(check.op)
    if merged is None or check.other is not None or check.modifier not in (None, merged[1]):
        return None
    if check.slot.is_list and check.op == "in":         # all elements of one list, or all of the other
        return None
    return merged


def normal(check: Check) -> Check:
    """One form for tests that mean the same: values sorted where their order doesn't count, ``in (a)`` as ``= a``."""
    if check.other is not None or not check.values:
        return check
    op, modifier, values = check.op, check.modifier, check.values
    if not check.slot.is_list:
        if op == "intersects" or (op == "=" and modifier == "anyof"):
            op, modifier = "in", None
        if op == "in" and len(set(values)) == 1 and check.slot.kind != "f64":
            op, values = "=", values[:1]
    if modifier in ("anyof", "allof") and len(values) == 1:
        modifier = None
    if modifier in ("anyof", "allof") or op in ("in", "intersects", "pmatch"):
        values = tuple(sorted(set(values), key=_order))
    if (op, modifier, values) == (check.op, check.modifier, check.values):
        return check
    return replace(check, op=op, modifier=modifier, values=values)


def _order(value: object) -> tuple[str, object]:
    return type(value).__name__, value

