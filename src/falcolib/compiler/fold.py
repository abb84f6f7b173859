# SPDX-License-Identifier: Apache-2.0
"""What the type of an event decides before it happens: tests of evt.type and its like, and placeholders that never hold."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

from ..evaluate import holds
from ..rules.ast import Check, FieldSlot
from ..schema import EventInfo, opens_with
from .share import FALSE, TRUE, Both, Graph, Leaf, NodeId

#: Types whose events carry their name: it is a run-time test.
_NAMED_BY_EVENT = ("GENERIC_E", "GENERIC_X", "ASYNCEVENT_E", "ASYNCEVENT_X")

#: The parameter of open(2) without which evt.is_open_* are false, never absent (spec: engine.md E4).
_IS_OPEN = {"evt.is_open_read": "flags", "evt.is_open_write": "flags", "evt.is_open_create": "flags", "evt.is_open_exec": "mode"}


@dataclass(frozen=True)
class Known:
    """What is known of an event: all that folding reads of its type. Types that are equal in this share their code."""

    name: str | None            # None: the event carries it
    is_syscall: bool
    direction: str
    open_fields: frozenset[str]

    @classmethod
    def of(cls, event: EventInfo | None) -> Known:
        """What the type of an event tells; None is a document, which has none."""
        if event is None:
            return cls(None, False, "", frozenset())
        return cls(None if event.code in _NAMED_BY_EVENT else event.name, "SYSCALL" in event.classes, "<" if event.is_exit else ">",
                   frozenset(field for field, param in _IS_OPEN.items() if event.id in opens_with(param)))

    @cached_property
    def values(self) -> dict[str, object]:
        """The fields whose value is known; None: absent."""
        values: dict[str, object] = {"evt.dir": self.direction}
        values.update((field, False) for field in _IS_OPEN if field not in self.open_fields)
        if self.name is not None:
            values["evt.type"] = self.name
            values["syscall.type"] = self.name if self.is_syscall else None
        return values

    def decide(self, check: Check) -> bool | None:
        """The outcome of a test; None if it takes an event to know."""
        slot = check.slot
        if check.other is not None or not isinstance(slot, FieldSlot):
            return None
        name = slot.info.name
        if name == "evt.num":
            return _of_counter(check)
        if name == "evt.type.is":
            return None if self.name is None or slot.argument is None else holds(check, int(slot.argument.text == self.name), check.values)
        return holds(check, self.values[name], check.values) if name in self.values else None


def _of_counter(check: Check) -> bool | None:
    """A test of evt.num, which counts from 1: its outcome, if that is the same for all events."""
    samples = {1, 1 << 63}
    for value in check.values:
        if not isinstance(value, int):
            return None
        samples.update(n for n in (value - 1, value, value + 1) if n >= 1)
    outcomes = {holds(check, n, check.values) for n in samples}
    return outcomes.pop() if len(outcomes) == 1 else None


class Folder:
    """Folds conditions of one graph for events of which something is known."""

    def __init__(self, graph: Graph, known: Known) -> None:
        self._graph = graph
        self._known = known
        self._folded: dict[NodeId, NodeId] = {}

    def fold(self, node: NodeId) -> NodeId:
        """The node of a condition for such events. A shared condition is folded once; nesting is no recursion."""
        nodes, folded = self._graph.nodes, self._folded
        todo = [node]
        while todo:
            at = todo[-1]
            if at in folded:
                todo.pop()
                continue
            shape = nodes[at]
            if isinstance(shape, Leaf):
                outcome = self._known.decide(shape.check)
                folded[at] = at if outcome is None else TRUE if outcome is not shape.negated else FALSE
                continue
            missing = [part for part in shape.parts if part not in folded]
            if missing:
                todo.extend(missing)
                continue
            parts = tuple(folded[part] for part in shape.parts)
            join = self._graph.both if isinstance(shape, Both) else self._graph.either
            folded[at] = at if parts == shape.parts else join(parts)
        return folded[node]
