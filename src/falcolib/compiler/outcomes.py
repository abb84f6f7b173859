# SPDX-License-Identifier: Apache-2.0
"""Which outcomes of a call rules can match at all: what the probe may leave out.

Nothing is taken for impossible that could happen: a test of which nothing is known may hold and may not.
"""

from __future__ import annotations

import re
from collections.abc import Iterable

from ..evaluate import holds
from ..rules.ast import Check, FieldSlot
from ..schema import EventInfo, opens_with
from .program import ANY, FAILED, FAILED_LOOK, SUCCEEDED
from .share import Both, Graph, Leaf, NodeId

#: What these texts don't contain where a plain path is opened for reading.
_NOT_PLAIN, _NOT_READING = ("//", "/.", ".."), ("O_WRONLY", "O_RDWR", "O_CREAT", "O_TRUNC", "O_TMPFILE")
_WITHOUT = {"fd.name": _NOT_PLAIN, "fd.nameraw": _NOT_PLAIN, "evt.arg.flags": _NOT_READING}
_FALSE = frozenset(("evt.is_open_write", "evt.is_open_create", "evt.is_open_exec"))
_CONTAINED = frozenset(("=", "in", "contains", "icontains", "startswith", "endswith", "glob"))
_WILDCARDS = re.compile(r"[*?\[\]\\]")


def can_tell(event: EventInfo) -> bool:
    """Whether an event's outcome is what its call returned, which is its first parameter."""
    return bool(event.params) and event.params[0].source == "RET" and event.params[0].type in ("ERRNO", "FD", "PID") and event.is_exit \
        and not event.code.startswith("GENERIC")


class Outcomes:
    """Finds out for the conditions of one graph. What is found is kept: events share conditions."""

    def __init__(self, graph: Graph) -> None:
        self._graph = graph
        self._possible: dict[tuple[int, bool], dict[NodeId, bool]] = {}

    def of(self, event: EventInfo, conditions: Iterable[NodeId]) -> int:
        """The outcomes with which one of these conditions can hold for such an event."""
        if not can_tell(event):
            return ANY
        # calls that may make a file: their path is known before they end, and where they fail there is no descriptor
        opens, conditions = event.id in opens_with("mode"), tuple(conditions)
        return sum(outcome for outcome in (FAILED, FAILED_LOOK, SUCCEEDED)
                   if any(self._can_hold(node, outcome, opens) for node in conditions))

    def _can_hold(self, node: NodeId, outcome: int, opens: bool) -> bool:
        nodes, known = self._graph.nodes, self._possible.setdefault((outcome, opens), {})
        todo = [node]
        while todo:                         # nesting is no recursion
            at = todo[-1]
            shape = nodes[at]
            if at in known:
                todo.pop()
            elif isinstance(shape, Leaf):
                known[at] = _decide(shape.check, outcome, opens) is not shape.negated
            elif missing := [part for part in shape.parts if part not in known]:
                todo.extend(missing)
            else:
                known[at] = (all if isinstance(shape, Both) else any)(known[part] for part in shape.parts)
        return known[node]


def _decide(check: Check, outcome: int, opens: bool) -> bool | None:
    """The outcome of a test; None if it isn't known."""
    slot = check.slot
    if check.other is not None or not isinstance(slot, FieldSlot) or check.modifier == "allof":
        return None
    name, failed = slot.info.name, outcome != SUCCEEDED
    if name == "evt.failed":
        return holds(check, failed, check.values)
    if name == "evt.rawres":
        return _of_sign(check, failed)
    if name == "fd.num" and opens:          # absent where the thread isn't known
        return False if _of_sign(check, failed) is False else None
    if name == "evt.res" and failed:
        return False if check.op in ("=", "in") and set(check.values) == {"SUCCESS"} else None
    if name == "evt.res":
        return holds(check, "SUCCESS", check.values)
    if opens and outcome == FAILED_LOOK:
        if name in _FALSE:
            return holds(check, False, check.values)
        if str(slot) in _WITHOUT and check.op in _CONTAINED and check.values:
            return False if all(_contains(value, check.op, _WITHOUT[str(slot)]) for value in check.values) else None
    return None


def _of_sign(check: Check, negative: bool) -> bool | None:
    """A test of a number of which the sign is known: its outcome, if that is the same for all such numbers."""
    lowest, highest = (-(1 << 63), -1) if negative else (0, (1 << 63) - 1)
    samples = {lowest, highest}
    for value in check.values:
        if not isinstance(value, int):
            return None
        samples.update(n for n in (value - 1, value, value + 1) if lowest <= n <= highest)
    outcomes = {holds(check, n, check.values) for n in samples}
    return outcomes.pop() if len(outcomes) == 1 else None


def _contains(value: object, op: str, texts: Iterable[str]) -> bool:
    """Whether whatever the test holds for contains one of these texts."""
    parts = [] if not isinstance(value, str) else _WILDCARDS.split(value) if op == "glob" else [value]
    return any(text in part for part in parts for text in texts)
