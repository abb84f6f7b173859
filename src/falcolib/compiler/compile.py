# SPDX-License-Identifier: Apache-2.0
"""The passes, one after the other."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from .. import schema
from ..rules.ast import CheckedRule, FieldSlot
from ..schema import EventInfo
from .emit import Emitter
from .fold import Folder, Known
from .outcomes import Outcomes
from .plan import Estimates, Step, gate_tree, in_order
from .program import Program
from .share import FALSE, Graph, Leaf, NodeId
from .tables import Instruction, Tables

_HOST_NAMES = frozenset(("fd.cip.name", "fd.sip.name", "fd.lip.name", "fd.rip.name"))


def compile_rules(rules: Iterable[CheckedRule], *, optimise: bool = True) -> Program:
    """falcolib.compile_rules."""
    rules = tuple(rules)
    graph = Graph(merge=optimise)
    tables = Tables()
    estimates = Estimates(graph) if optimise else None
    emitter = Emitter(graph, tables, estimates)
    conditions = [graph.add(rule.condition) if rule.enabled else FALSE for rule in rules]
    sections: dict[tuple[tuple[int, NodeId], ...], int] = {}
    ranges: list[tuple[int, int]] = []
    folders: dict[Known, Folder] = {}
    kinds: list[tuple[int, EventInfo | None]] = [(event.id, event) for event in schema.EVENTS if schema.seen_by_rules(event)]
    kinds += [(document.type, None) for document in schema.DOCUMENTS.values()]
    types = [0] * (len(schema.EVENTS) + len(schema.DOCUMENTS))
    outcomes, possible = Outcomes(graph), bytearray(len(schema.EVENTS))
    for type_, event in kinds:
        waiting = [(number, conditions[number]) for number, rule in enumerate(rules) if rule.enabled and type_ in rule.events]
        if not waiting:
            continue
        if optimise:
            known = Known.of(event)
            folder = folders.setdefault(known, Folder(graph, known))
            waiting = [(number, folder.fold(node)) for number, node in waiting]
        waiting = [(number, node) for number, node in waiting if node != FALSE]
        if not waiting:
            continue
        if event is not None:
            possible[type_] = outcomes.of(event, (node for _, node in waiting))
        key = tuple(waiting)
        if key not in sections:
            steps: list[Step] = gate_tree(graph, estimates, waiting) if estimates else in_order(graph, waiting)
            ranges.append(emitter.section(steps))
            sections[key] = len(ranges)
        types[type_] = sections[key]
    outputs = tuple(_captured(rule, tables) if rule.enabled else () for rule in rules)
    code = [_remembering_behind(len(emitter.gates), instruction) for instruction in emitter.code]
    program = tables.program(code, emitter.gates, emitter.memos, ranges, types, outputs)
    return Program(program, tuple(rule.head for rule in rules), tuple(tables.slots), outputs, tuple(tables.patterns), bytes(possible),
                   tuple(dict.fromkeys(_hosts(graph))))


def _hosts(graph: Graph) -> Iterator[str]:
    """The names that tests compare with names of addresses: their addresses must be found out."""
    for node in graph.nodes:
        if isinstance(node, Leaf) and isinstance(node.check.slot, FieldSlot) and node.check.slot.info.name in _HOST_NAMES:
            yield from map(str, node.check.values)


def _captured(rule: CheckedRule, tables: Tables) -> tuple[int, ...]:
    return tuple(dict.fromkeys(tables.slot(slot) for slot in rule.printed()))


def _remembering_behind(gates: int, instruction: Instruction) -> Instruction:
    """The outcomes of gates come first among those that are remembered."""
    *rest, memo = instruction
    return (*rest, memo + gates if memo else 0)  # type: ignore[return-value]
