# SPDX-License-Identifier: Apache-2.0
"""Why a rule isn't asked about an event at all."""

from __future__ import annotations

from collections.abc import Iterable

from .. import schema
from ..rules.ast import CheckedRule
from ..rules.ruleset import RuleSet

#: Types of events that are named one by one.
_NAMED = 6


def not_asked(rule: CheckedRule, rules: RuleSet, source: str, type_ids: tuple[int, ...]) -> str:
    """The first reason that there is."""
    if not rule.enabled:
        return _disabled(rule, rules)
    if rule.source != source:
        return f"it is for events of the source {rule.source}, and this one is of {source}"
    names, this = _names(rule.events), " or ".join(_names(type_ids))
    if not names:
        return f"its condition can't be true of any type of event, and so not of {this}"
    told = ", ".join(names[:_NAMED]) + (f" and {len(names) - _NAMED} more types" if len(names) > _NAMED else "")
    return f"it is about {told}, and this is {this}"


def _names(type_ids: Iterable[int]) -> list[str]:
    """The names of event types; documents have one type a source."""
    documents = {info.type: "pluginevent" for info in schema.DOCUMENTS.values()}
    return sorted({documents.get(i) or schema.EVENTS[i].name for i in type_ids})


def _disabled(rule: CheckedRule, rules: RuleSet) -> str:
    by = rules.disabled_by(rule.name)
    return f"it is disabled: {by}"
