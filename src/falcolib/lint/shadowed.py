# SPDX-License-Identifier: Apache-2.0
"""shadowed-rule: a rule that can't report, because one before it matches whatever it matches."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from ..rules.ast import Check, CheckedRule, Slot
from ..rules.check import checks_of
from .finding import Finding
from .logic import Forms, Literal, Proof, finite, is_placeholder

#: Pairs of rules that are looked at; of more rules than make so many, the last are left.
_PROOFS = 1_000_000


class ShadowedRule:
    """A rule that another, tried before it, leaves nothing."""

    id = "shadowed-rule"
    severity = "warning"

    def find(self, rules: Sequence[CheckedRule]) -> Iterator[Finding]:
        """Rules whose condition implies that of an enabled rule of the same source before them."""
        forms = Forms()
        slots: dict[Slot, int] = {}

        def mask(found: set[Slot]) -> int:
            return sum(1 << slots.setdefault(slot, len(slots)) for slot in found)

        # Rules that are tried before, each with its condition and the slots that a rule it shadows must test: under the values one of which
        # such a rule must name, or under None.
        before: dict[object, list[tuple[CheckedRule, int, int]]] = {}
        left = _PROOFS
        for rule in rules:
            if not rule.enabled or not rule.events:
                continue
            condition = forms.of(rule.condition)
            facts = forms.parts(condition)
            tested = mask({check.slot for check in checks_of(rule.condition)})
            named = {(c.slot, v) for c in checks_of(rule.condition) for v in finite(c) or ()}
            candidates = [entry for key in (None, *named) for entry in before.get(key, ())]
            for other, goal, needed in candidates:
                if needed & ~tested or other.source != rule.source or not rule.events <= other.events:
                    continue
                left -= 1
                if left < 0:
                    return
                if Proof(forms).proves(facts, goal) and not Proof(forms).contradicts(facts):
                    same = " the same" if goal == condition else ""
                    yield Finding(
                        self.id, self.severity, f"rule '{rule.name}' can't report under rule_matching: first: rule '{other.name}', "
                        f"{other.at}, is tried before it and matches{same or ' all'} that it matches",
                        f"put it before '{other.name}', take what it matches out of the condition there, or run with rule_matching: all",
                        rule.name, rule.at)
                    break
            must = [node.check for part in facts if isinstance(node := forms.nodes[part], Literal) and node.holds
                    and not is_placeholder(node.check)]
            entry = rule, condition, mask({check.slot for check in must})
            for key in _keys(must):
                before.setdefault(key, []).append(entry)


def _keys(must: list[Check]) -> list[object]:
    """Of the tests that must hold the one with the fewest values: each value, with its slot; else None. That of evt.type tells least."""
    named = [check for check in must if finite(check)]
    best = min(named, key=lambda check: (str(check.slot) == "evt.type", len(check.values)), default=None)
    return [None] if best is None or len(best.values) > 64 else [(best.slot, value) for value in set(best.values)]
