# SPDX-License-Identifier: Apache-2.0
"""The order in which the rules of an event type are tested: a tree of gates.

A conjunct that several rules have in common is tested once, in front of all of them; if it fails, none of them is looked at. Which
conjunct comes first is a matter of what it saves: how many rules wait behind it, how likely it is to fail, and what it costs.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from heapq import heapify, heappop, heappush
from typing import TypeAlias

from ..rules.ast import FieldSlot, Slot
from .share import TRUE, Both, Graph, Leaf, NodeId

#: Leave for the label unless the condition holds | here is the label | the rule is true.
Step: TypeAlias = tuple[str, int, int]
GATE, LABEL, RULE = "gate", "label", "rule"

# Estimates, of instructions of the processor and of probabilities. They order tests; they decide nothing.
_FAILS = {"exists": 0.1, "!=": 0.2, "<": 0.4, "<=": 0.4, ">": 0.4, ">=": 0.4}
_FAILS_DEFAULT, _FAILS_NUMBER = 0.9, 0.5
_COST = {"in": 25, "startswith": 20, "endswith": 20, "pmatch": 40, "contains": 60, "icontains": 150, "glob": 250, "iglob": 300,
         "regex": 2000}
_AT_ONCE = frozenset(("in", "startswith", "endswith", "pmatch"))        # a number of values costs as much as one
_COST_DEFAULT, _COST_ANY = 15, 150
_COST_BODY = 3000           # the first field of a document's body costs a pass over it
_REMEMBERED = frozenset(("contains", "icontains", "glob", "iglob", "regex", "pmatch"))


class Estimates:
    """What conditions cost, and how likely they fail."""

    def __init__(self, graph: Graph) -> None:
        self._graph = graph
        self._known: dict[NodeId, tuple[float, float]] = {}

    def of(self, node: NodeId) -> tuple[float, float]:
        """Cost and probability of failing of a node, its parts in the order of ``ordered``."""
        todo = [node]
        while todo:
            at = todo[-1]
            shape = self._graph.nodes[at]
            missing = [] if isinstance(shape, Leaf) or at in self._known else [part for part in shape.parts if part not in self._known]
            if missing:
                todo.extend(missing)
                continue
            todo.pop()
            if at not in self._known:
                self._known[at] = self._leaf(shape) if isinstance(shape, Leaf) else self._joined(at)
        return self._known[node]

    def _leaf(self, leaf: Leaf) -> tuple[float, float]:
        check = leaf.check
        several = check.slot.is_any or check.slot.is_list
        cost = _COST.get(check.op, _COST_DEFAULT) * (1 if check.op in _AT_ONCE else max(1, len(check.values)))
        fails = _FAILS.get(check.op, _FAILS_DEFAULT if check.slot.kind in ("str", "bytes", "ip", "net") else _FAILS_NUMBER)
        return cost + _COST_ANY * several + _COST_BODY * _is_in_body(check.slot), 1 - fails if leaf.negated else fails

    def _joined(self, node: NodeId) -> tuple[float, float]:
        shape = self._graph.nodes[node]
        conjunction = isinstance(shape, Both)
        cost, reached = 0.0, 1.0
        for part in self.ordered(node):
            part_cost, fails = self._known[part]
            cost += reached * part_cost
            reached *= 1 - fails if conjunction else fails
        return cost, 1 - reached if conjunction else reached

    def ordered(self, node: NodeId) -> list[NodeId]:
        """The parts of a conjunction or disjunction, those first that decide most for their cost. Their estimates must be known."""
        shape = self._graph.nodes[node]
        assert not isinstance(shape, Leaf)
        conjunction = isinstance(shape, Both)

        def value(part: NodeId) -> float:
            cost, fails = self._known[part]
            return -(fails if conjunction else 1 - fails) / cost

        return sorted(shape.parts, key=value)


def _is_in_body(slot: Slot) -> bool:
    """Whether a slot's field is looked for in the body of a document; of a JSON pointer, whether it leads into a part of the document."""
    if not isinstance(slot, FieldSlot):
        return False
    return slot.info.in_body or (slot.info.field_class == "JSON" and slot.argument is not None and "/" in slot.argument.text[1:])


def conjuncts(graph: Graph, node: NodeId) -> tuple[NodeId, ...]:
    """The conditions that all must hold for a node."""
    shape = graph.nodes[node]
    return shape.parts if isinstance(shape, Both) else (node,)


def gate_tree(graph: Graph, estimates: Estimates, rules: Sequence[tuple[int, NodeId]]) -> list[Step]:
    """The steps that find the true ones of these rules (numbers, conditions)."""
    return _Planner(estimates).plan((rule, conjuncts(graph, node)) for rule, node in rules)


class _Group:
    """Rules that wait behind the same gates, by number: the conjuncts that are left of each.

    Splitting a group moves the smaller part out of it, and the order of its conjuncts is kept up to date by what moves. So a plan takes
    N log² N steps for N conjuncts, however many rules have them.
    """

    def __init__(self, worth: Callable[[NodeId], float]) -> None:
        self.rests: dict[int, set[NodeId]] = {}
        self.size = 0                                       # conjuncts of all rules
        self._empty: list[int] = []                         # rules of which nothing is left
        self._worth = worth
        self._holders: dict[NodeId, set[int]] = {}          # the rules that a conjunct is left of
        self._order: list[tuple[float, NodeId]] = []        # a heap, the best first; what has changed since is in it again

    def add(self, rule: int, rest: set[NodeId]) -> None:
        self.rests[rule] = rest
        self.size += len(rest)
        if not rest:
            self._empty.append(rule)
        for node in rest:
            self._holders.setdefault(node, set()).add(rule)

    def _remove(self, rule: int) -> set[NodeId]:
        rest = self.rests.pop(rule)
        self.size -= len(rest)
        for node in rest:
            holders = self._holders[node]
            holders.discard(rule)
            if holders:
                heappush(self._order, self._entry(node))
            else:
                del self._holders[node]
        return rest

    def _entry(self, node: NodeId) -> tuple[float, NodeId]:
        return -len(self._holders[node]) * self._worth(node), node

    def best(self) -> NodeId:
        """The conjunct that saves most if it is tested first."""
        if not self._order:
            self._order = [self._entry(node) for node in self._holders]
            heapify(self._order)
        while True:
            entry = self._order[0]
            if entry[1] in self._holders and entry == self._entry(entry[1]):
                return entry[1]
            heappop(self._order)

    def split(self, gate: NodeId) -> tuple[_Group, _Group]:
        """The rules behind the gate, without it, and the others."""
        behind = self._holders.pop(gate)
        count = 0
        for rule in behind:
            self.rests[rule].discard(gate)
            count += len(self.rests[rule])
        self.size -= len(behind)
        moved = _Group(self._worth)
        if 2 * count > self.size:
            self._empty += [rule for rule in behind if not self.rests[rule]]
            for rule in [rule for rule in self.rests if rule not in behind]:
                moved.add(rule, self._remove(rule))
            return self, moved
        for rule in behind:
            moved.add(rule, self._remove(rule))
        return moved, self

    def done(self) -> list[int]:
        """Takes out the rules of which nothing is left."""
        done, self._empty = sorted(self._empty), []
        for rule in done:
            del self.rests[rule]
        return done


class _Planner:
    def __init__(self, estimates: Estimates) -> None:
        self._estimates = estimates
        self._worth: dict[NodeId, float] = {}
        self._labels = 0

    def plan(self, rules: Iterable[tuple[int, Iterable[NodeId]]]) -> list[Step]:
        whole = _Group(self._worth_of)
        for rule, nodes in rules:
            whole.add(rule, set(nodes))
        steps: list[Step] = []
        todo: list[_Group | int] = [whole]
        while todo:
            group = todo.pop()
            if isinstance(group, int):
                steps.append((LABEL, group, 0))
                continue
            steps.extend((RULE, rule, 0) for rule in group.done())
            if not group.rests:
                continue
            gate = group.best()
            self._labels += 1
            steps.append((GATE, gate, self._labels))
            behind, others = group.split(gate)
            todo += [others, self._labels, behind]
        return steps

    def _worth_of(self, node: NodeId) -> float:
        found = self._worth.get(node)
        if found is None:
            cost, fails = self._estimates.of(node)
            found = self._worth[node] = fails / cost
        return found


def in_order(graph: Graph, rules: Sequence[tuple[int, NodeId]]) -> list[Step]:
    """The steps that test each rule by itself, as it is written."""
    steps: list[Step] = []
    for label, (rule, node) in enumerate(rules):
        if node != TRUE:
            steps.append((GATE, node, label))
        steps += [(RULE, rule, 0), (LABEL, label, 0)]
    return steps


def is_costly(leaf: Leaf) -> bool:
    """Whether remembering a test's outcome is cheaper than testing again. The machine makes the other tests without looking at what it
    remembers."""
    check = leaf.check
    return check.op in _REMEMBERED or check.modifier is not None or check.slot.is_any or check.slot.is_list
