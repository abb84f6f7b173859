# SPDX-License-Identifier: Apache-2.0
"""never-true and never-false: conditions, and groups in them, that are decided before there is an event."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from ..errors import Location
from ..rules.ast import Check, Checked, CheckedAnd, CheckedNot, CheckedOr, CheckedRule
from ..rules.check import checks_of
from ..rules.text import check_text
from .finding import Finding
from .logic import Forms, Literal, Proof

#: Groups of a condition that are looked at, and steps for all of them; more are left.
_GROUPS, _STEPS = 2_000, 20_000


def _groups(tree: Checked) -> Iterator[CheckedAnd | CheckedOr]:
    """The groups of a condition, outermost first."""
    todo = [tree]
    while todo:
        node = todo.pop()
        if isinstance(node, CheckedNot):
            todo.append(node.child)
        elif not isinstance(node, Check):
            yield node
            todo += reversed(node.children)


class NeverTrue:
    """A condition, or an ``and`` in it, that no event fulfils."""

    id = "never-true"
    severity = "warning"

    def find(self, rules: Sequence[CheckedRule]) -> Iterator[Finding]:
        """Conditions, and groups joined by ``and``, whose tests exclude each other."""
        told: set[Location] = set()
        for rule in rules:
            forms = Forms()
            conflicts, proof = Proof(forms, _STEPS), Proof(forms, _STEPS)
            inside: set[int] = set()
            for i, group in enumerate(_groups(rule.condition)):
                if i >= _GROUPS or id(group) in inside or not isinstance(group, CheckedAnd):
                    continue
                facts = forms.parts(forms.of(group))
                pair = conflicts.conflict(facts)
                if pair is None and not proof.contradicts(facts):
                    continue
                inside.update(id(g) for g in _groups(group))
                first = next(checks_of(group))
                at = pair[1].check if pair else first
                if at.at in told:
                    continue
                told.add(at.at)
                what = "the condition" if group is rule.condition else "this part of the condition"
                why = "whichever of its alternatives hold"
                if pair:
                    a, b = sorted(pair, key=lambda x: (x.check.at.name, x.check.at.offset))
                    why, at = f"{_said(a)} ({a.check.at}) and {_said(b)} can't both hold", b.check
                yield Finding(self.id, self.severity, f"{what} is never true: {why}", "correct or remove one of the tests", rule.name,
                              at.at, at.via)


class NeverFalse:
    """A condition, or an ``or`` in it, that every event fulfils."""

    id = "never-false"
    severity = "warning"

    def find(self, rules: Sequence[CheckedRule]) -> Iterator[Finding]:
        """Conditions, and groups joined by ``or``, one of which always holds."""
        told: set[Location] = set()
        for rule in rules:
            forms = Forms()
            proof = Proof(forms, _STEPS)
            for i, group in enumerate(_groups(rule.condition)):
                if i >= _GROUPS or not isinstance(group, CheckedOr):
                    continue
                pair = proof.conflict(forms.parts(forms.of(group, negated=True)))
                if pair is None or pair[1].check.at in told:
                    continue
                a, b = sorted(pair, key=lambda x: (x.check.at.name, x.check.at.offset))
                told.add(pair[1].check.at)
                shown = [_said(Literal(x.check, not x.holds)) for x in (a, b)]
                what = "the condition" if group is rule.condition else "this part of the condition"
                yield Finding(self.id, self.severity, f"{what} is never false: {shown[0]} ({a.check.at}) or {shown[1]} always holds",
                              "correct one of the tests, or remove the group", rule.name, b.check.at, b.check.via)


def _said(literal: Literal) -> str:
    return f"{'' if literal.holds else 'not '}{check_text(literal.check, 4)}"
