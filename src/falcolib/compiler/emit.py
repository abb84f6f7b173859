# SPDX-License-Identifier: Apache-2.0
"""Nodes to instructions."""

from __future__ import annotations

from collections.abc import Sequence
from heapq import heapify, heappop, heappush
from typing import TypeAlias

from ..rules.ast import Check
from .plan import GATE, LABEL, Estimates, Step, is_costly
from .share import Both, Graph, Leaf, NodeId
from .tables import GATE_DEPTH, Instruction, Tables, opcodes

# enum fl_instr_flag
IF, ANY, ALL, ONEOF, ANYOF, ALLOF, OTHER = (1 << i for i in range(7))
MODIFIERS = {"oneof": ONEOF, "anyof": ANYOF, "allof": ALLOF}

_EQUAL = {"=": "eq", "!=": "ne", "in": "in", "intersects": "in"}
_EQUAL_SUFFIX = {"bool": "n", "i64": "n", "u64": "n", "f64": "f", "str": "s", "bytes": "s", "ip": "s", "net": "net"}
_ORDERED = {"<": "lt", "<=": "le", ">": "gt", ">=": "ge"}
_ORDERED_SUFFIX = {"i64": "i", "u64": "u", "f64": "f", "str": "s"}
_OF_BYTES = {"bcontains": "contains", "bstartswith": "startswith"}

#: A test as an instruction has it: op, flags, slot, operand.
_Test: TypeAlias = tuple[int, int, int, int]


class Emitter:
    """Writes the code of a program, section by section.

    Without estimates, everything is tested as it is written, and nothing is remembered.
    """

    def __init__(self, graph: Graph, tables: Tables, estimates: Estimates | None) -> None:
        self.graph = graph
        self.code: list[Instruction] = []
        self.gates: list[tuple[int, int]] = []
        self.memos = 0
        self._tables = tables
        self._estimates = estimates
        self._tests: dict[Check, _Test] = {}

    def section(self, steps: Sequence[Step]) -> tuple[int, int]:
        """Writes the steps of an event type and the gates that they use; first instruction and number."""
        return _Section(self, steps).write()

    def parts(self, node: NodeId) -> Sequence[NodeId]:
        """The parts of a conjunction or disjunction in the order in which they are tested."""
        shape = self.graph.nodes[node]
        if isinstance(shape, Leaf):
            return ()
        if self._estimates is None:
            return shape.parts
        self._estimates.of(node)
        return self._estimates.ordered(node)

    def is_worth_remembering(self, node: NodeId) -> bool:
        """Whether a condition that is tested several times is better decided once."""
        shape = self.graph.nodes[node]
        return self._estimates is not None and (not isinstance(shape, Leaf) or is_costly(shape))

    def test(self, check: Check) -> _Test:
        """A test as an instruction has it."""
        found = self._tests.get(check)
        if found is None:
            found = self._tests[check] = self._test(check)
        return found

    def _test(self, check: Check) -> _Test:
        tables, kind = self._tables, check.slot.kind
        slot, flags = tables.slot(check.slot), _quantifier(check)
        if check.other is not None:
            return opcodes()[_mnemonic(check)][0], flags | OTHER, slot, tables.slot(check.other)
        op, wants = opcodes()[_mnemonic(check)]
        if wants == "NONE":
            return op, flags, slot, 0
        if wants == "PATTERN":
            patterns = tuple(tables.pattern(str(value)) for value in check.values)
            if check.modifier is None:
                return op, flags, slot, patterns[0]
            return op, flags | MODIFIERS[check.modifier], slot, tables.listing("PLAIN", "u64", patterns)
        if wants != "VALUE":
            return op, flags, slot, tables.listing(wants, kind, check.values)
        if check.modifier is None:
            return op, flags, slot, tables.constant(kind, check.values[0])
        return op, flags | MODIFIERS[check.modifier], slot, tables.listing("PLAIN", kind, check.values)


def _mnemonic(check: Check) -> str:
    op, kind = check.op, check.slot.kind
    if op in _EQUAL:
        return f"{'eq' if check.other is not None and op != '!=' else _EQUAL[op]}.{_EQUAL_SUFFIX[kind]}"
    if op in _ORDERED:
        return f"{_ORDERED[op]}.{_ORDERED_SUFFIX[kind]}"
    op = _OF_BYTES.get(op, op)
    return f"{op}.any" if check.modifier == "anyof" and f"{op}.any" in opcodes() else op


def _quantifier(check: Check) -> int:
    slot = check.slot
    if (slot.is_list and check.op == "in") or (slot.is_either and check.op == "!="):
        return ALL
    return ANY if slot.is_list or slot.is_any or slot.is_either else 0


class _Section:
    """The code of one event type, and of the gates that it uses."""

    def __init__(self, emitter: Emitter, steps: Sequence[Step]) -> None:
        self._emitter = emitter
        self._steps = steps
        self._nodes = emitter.graph.nodes
        self._gates: dict[NodeId, int] = {}
        self._memos: dict[_Test, int] = {}
        self._code: list[tuple[_Test, int | None, int]] = []        # a test, its label, its memo
        self._places: dict[int, int] = {}                   # labels: the number of the instruction behind them
        self._labels = sum(step[0] == LABEL for step in steps)

    def write(self) -> tuple[int, int]:
        """Writes the gates, then the section itself; the latter's range."""
        for node in self._find_shared():
            self._write_gate(node)
        self._begin()
        for what, number, label in self._steps:
            if what == LABEL:
                self._places[number] = len(self._code)
            elif what == GATE:
                self._branch(number, label, False, whole=False)
            else:
                self._add((opcodes()["rule"][0], 0, 0, number))
        self._add((opcodes()["stop"][0], 0, 0, 0))
        return self._end()

    def _find_shared(self) -> list[NodeId]:
        """The nodes that become gates: those first that others use, which is the order of their numbers. Tests that are used several times
        get places for their outcomes."""
        uses: dict[NodeId, int] = {}
        for what, node, _ in self._steps:
            if what == GATE:
                uses[node] = uses.get(node, 0) + 1
        waiting, seen = [-node for node in uses], []        # a heap: the highest number first, those after it use it no more
        heapify(waiting)
        while waiting:
            node = -heappop(waiting)
            seen.append(node)
            once = 1 if self._is_shared(node, uses) else uses[node]
            for part in self._emitter.parts(node):
                if part not in uses:
                    heappush(waiting, -part)
                uses[part] = uses.get(part, 0) + once
        self._remember([node for node in seen if isinstance(self._nodes[node], Leaf)], uses)
        gates, depths = [], dict.fromkeys(seen, 0)          # depths: of the gates in a node
        for node in reversed(seen):
            if isinstance(self._nodes[node], Leaf):
                continue
            depths[node] = max(depths[part] for part in self._emitter.parts(node))
            if self._is_shared(node, uses) and depths[node] < GATE_DEPTH:
                depths[node] += 1
                gates.append(node)
        return gates

    def _remember(self, leaves: Sequence[NodeId], uses: dict[NodeId, int]) -> None:
        """Gives places for their outcomes to the tests that are used several times; a test and its negation have one outcome."""
        times: dict[_Test, int] = {}
        for node in leaves:
            if self._emitter.is_worth_remembering(node):
                test = self._test_of(node)
                times[test] = times.get(test, 0) + uses[node]
        for test in reversed([test for test, count in times.items() if count > 1]):
            self._emitter.memos += 1
            self._memos[test] = self._emitter.memos

    def _test_of(self, node: NodeId) -> _Test:
        shape = self._nodes[node]
        assert isinstance(shape, Leaf)
        return self._emitter.test(shape.check)

    def _is_shared(self, node: NodeId, uses: dict[NodeId, int]) -> bool:
        return uses[node] > 1 and self._emitter.is_worth_remembering(node)

    def _write_gate(self, node: NodeId) -> None:
        self._begin()
        self._branch(node, 0, True, whole=True)
        self._add((opcodes()["false"][0], 0, 0, 0))
        self._places[0] = len(self._code)
        self._add((opcodes()["true"][0], 0, 0, 0))
        self._gates[node] = len(self._emitter.gates)
        self._emitter.gates.append(self._end())

    def _branch(self, node: NodeId, label: int, sense: bool, whole: bool) -> None:
        """Goes to the label if the outcome of a node is that of sense; else on. whole: not through the node's own gate."""
        todo: list[tuple[NodeId, int, bool] | int] = [(node, label, sense)]
        while todo:
            item = todo.pop()
            if isinstance(item, int):
                self._places[item] = len(self._code)
                continue
            node, label, sense = item
            shape = self._nodes[node]
            if isinstance(shape, Leaf):
                test = op, flags, slot, operand = self._emitter.test(shape.check)
                self._add((op, flags | (IF if sense is not shape.negated else 0), slot, operand), label, self._memos.get(test, 0))
            elif node in self._gates and not whole:
                self._add((opcodes()["gate"][0], IF if sense else 0, 0, self._gates[node]), label)
            else:
                whole = False
                parts = self._emitter.parts(node)
                deciding = not isinstance(shape, Both)      # the outcome of a part that decides the whole
                if sense is deciding:
                    todo += [(part, label, sense) for part in reversed(parts)]
                else:
                    behind = self._new_label()
                    todo += [behind, (parts[-1], label, sense), *((part, behind, deciding) for part in reversed(parts[:-1]))]

    def _new_label(self) -> int:
        self._labels += 1
        return self._labels

    def _begin(self) -> None:
        self._code = []
        self._places = {}

    def _add(self, test: _Test, label: int | None = None, memo: int = 0) -> None:
        self._code.append((test, label, memo))

    def _end(self) -> tuple[int, int]:
        """Puts what was written behind the code, with numbers of instructions in place of labels."""
        code, start = self._emitter.code, len(self._emitter.code)
        for (op, flags, slot, operand), label, memo in self._code:
            code.append((op, flags, slot, operand, 0 if label is None else start + self._places[label], memo))
        return start, len(self._code)
