# SPDX-License-Identifier: Apache-2.0
"""Why a rule matches an event, or what stops it: ``engine.explain(event)`` and ``falcolib explain``."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from ..alert import Alert
from ..errors import Location
from ..event import Event
from ..rules.ast import CheckedRule
from ..rules.ruleset import RuleSet
from ..schema import nearest
from .reasons import not_asked
from .text import explanation_text, plain_value, rule_text
from .tree import Node, Outcome, build, deciding
from .values import getter, source_of, type_ids
from .written import lists_of, written

__all__ = ["Explanation", "Node", "Outcome", "RuleExplanation", "explain"]


@dataclass(frozen=True, slots=True)
class RuleExplanation:
    """What became of one rule.

    matches: whether its condition holds; None where that isn't known, for an event that was left behind. alerts: whether an alert
    comes of it. reason: why the rule isn't asked, whatever its condition: it is disabled, for another source, for events of other types, or
    an earlier rule had the event; None if it is. tree: the condition with its outcomes; decided: the part of it that settled it.
    """

    rule: CheckedRule
    matches: bool | None
    reason: str | None
    tree: Node
    decided: Node
    rules: RuleSet

    @property
    def name(self) -> str:
        """The rule's name."""
        return self.rule.name

    @property
    def alerts(self) -> bool | None:
        """Whether an alert comes of it; None where that isn't known."""
        return False if self.reason else self.matches

    def __str__(self) -> str:
        return rule_text(self)

    def as_dict(self) -> dict[str, object]:
        """The same as JSON can hold it."""
        return {"rule": self.name, "priority": self.rule.priority, "location": _place(self.rule.at), "matches": self.matches,
                "alerts": self.alerts, "reason": self.reason, "decided": _node_as_dict(self.decided, self.rules),
                "condition": _tree_as_dict(self.tree, self.rules)}


@dataclass(frozen=True, slots=True)
class Explanation:
    """What became of an event: ``str()`` for people, ``as_dict()`` for programs. rules: what was asked for, in order of evaluation."""

    num: int | None
    type: str
    time: int | None
    process: str | None
    rules: tuple[RuleExplanation, ...]

    @property
    def matched(self) -> list[str]:
        """The names of the rules of which alerts come."""
        return [r.name for r in self.rules if r.alerts]

    def __getitem__(self, rule: str) -> RuleExplanation:
        return next(r for r in self.rules if r.name == rule)

    def __str__(self) -> str:
        return explanation_text(self)

    def as_dict(self) -> dict[str, object]:
        """The same as JSON can hold it."""
        return {"event": {"num": self.num, "type": self.type, "time": self.time, "process": self.process},
                "rules": [r.as_dict() for r in self.rules]}


def explain(
    event: Event | Mapping[str, object], rules: RuleSet, rule: str | None = None, *, matching: str = "first", alert: Alert | None = None,
) -> Explanation:
    """What a rule, or each rule, makes of an event. alert: what came of the event, if it is known.

    Raises KeyError if there is no such rule, or no such field in an event given as a dict, ValueError for a dict without a valid evt.type.
    """
    source = alert.source if alert is not None else source_of(event)
    ids, get = type_ids(event, source), getter(event)
    if rule is not None and all(r.name != rule for r in rules):
        names = [r.name for r in rules]
        near = next((name for name in names if rule.lower() in name.lower()), None) or nearest(rule, names)
        raise KeyError(f"there is no rule {rule!r}" + (f"; did you mean {near!r}?" if near else ""))
    found: list[RuleExplanation] = []
    first: CheckedRule | None = None
    for each in rules:
        asked = each.enabled and each.source == source and any(i in each.events for i in ids)
        if rule is not None and each.name != rule and (not asked or matching == "all" or first):
            continue
        tree = build(each.condition, get)
        reason = None if asked else not_asked(each, rules, source, ids)
        if asked and matching == "first" and first is not None:
            reason = f"the event was taken by the rule '{first.name}', which stands before ({first.at}); rule_matching=all asks all"
        holds = True if alert is not None and each.name == alert.rule and tree.outcome is Outcome.UNKNOWN else tree.outcome.holds
        found.append(RuleExplanation(each, holds, reason, tree, deciding(tree), rules))
        if asked and first is None and tree.outcome.holds:
            first = each
    if rule is not None:
        found = [r for r in found if r.name == rule]
    return Explanation(*_head(event), tuple(found))


def _head(event: Event | Mapping[str, object]) -> tuple[int | None, str, int | None, str | None]:
    if isinstance(event, Event):
        return event.num, event.type, event.time, _who(event)
    num, when, process = event.get("evt.num"), event.get("evt.rawtime"), event.get("proc.name")
    return (num if isinstance(num, int) else None, str(event.get("evt.type", "pluginevent")), when if isinstance(when, int) else None,
            process if isinstance(process, str) else None)


def _who(event: Event) -> str | None:
    name = event.known("proc.name")
    if event.tid < 0:
        return None
    return f"{name} (thread {event.tid})" if name else f"thread {event.tid}"


# ---- as JSON -----------------------------------------------------------------------------------------------------------------------------


def _place(at: Location | None) -> dict[str, object] | None:
    """As in the text: counted from 1."""
    return None if at is None else {"file": at.name, "line": at.line + 1, "column": at.column + 1}


def _plain(value: object) -> object:
    if isinstance(value, bytes):
        return value.decode("utf-8", "replace")
    if isinstance(value, list | tuple):
        return [_plain(v) for v in value]
    return value if value is None or isinstance(value, bool | int | float | str) else str(value)


def _node_as_dict(node: Node, rules: RuleSet) -> dict[str, object]:
    row: dict[str, object] = {"kind": node.kind, "outcome": node.outcome.value, "location": _place(node.at), "macros": list(node.macro)}
    if node.check is not None:
        row |= {"test": written(node.check, rules), "field": str(node.check.slot), "value": plain_value(node.check.slot, node.value),
                "lists": list(lists_of(node.check, rules)), "met": [_plain(v) for v in node.hits]}
    return row


def _tree_as_dict(root: Node, rules: RuleSet) -> dict[str, object]:
    top = _node_as_dict(root, rules)
    todo = [(root, top)]
    while todo:
        node, row = todo.pop()
        if node.children:
            rows = [_node_as_dict(child, rules) for child in node.children]
            row["children"] = rows
            todo += zip(node.children, rows, strict=True)
    return top
