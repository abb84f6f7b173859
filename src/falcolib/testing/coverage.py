# SPDX-License-Identifier: Apache-2.0
"""Which tests of the rules' conditions the cases have seen true, and which false."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field

from ..errors import Location
from ..evaluate import Step
from ..lint.logic import is_placeholder
from ..rules.ast import Check, CheckedRule
from ..rules.check import checks_of
from ..rules.text import check_text
from .runner import Outcome


@dataclass(frozen=True, slots=True)
class Gap:
    """A test of a rule's condition that no case made ``missing`` (true or false)."""

    rule: str
    check: Check
    missing: bool

    @property
    def at(self) -> Location:
        return self.check.at

    def __str__(self) -> str:
        via = "".join(f", in macro '{name}'" for name in self.check.via)
        return f"{self.check.at}: never {'true' if self.missing else 'false'}: {check_text(self.check)}   (rule '{self.rule}'{via})"


@dataclass(slots=True)
class Coverage:
    """Collects outcomes of traced runs. A test counts as seen where it was looked at: what stands after it in an ``and`` that is false
    isn't. A test that stands in several rules, in a macro, counts in each.
    """

    _seen: dict[str, set[tuple[int, bool]]] = field(default_factory=dict)
    _rules: dict[str, CheckedRule] = field(default_factory=dict)
    _cases: dict[str, set[bool]] = field(default_factory=dict)

    def add_rules(self, rules: Iterable[CheckedRule]) -> None:
        """The rules that there are."""
        self._rules.update((rule.name, rule) for rule in rules)

    def add(self, outcome: Outcome) -> None:
        """A case that was run."""
        case = outcome.case
        expected = bool(case.expected)
        self._cases.setdefault(case.rule, set()).add(expected)
        seen = self._seen.setdefault(case.rule, set())
        todo = [outcome.step] if outcome.step is not None else []
        while todo:
            step: Step = todo.pop()
            if isinstance(step.condition, Check):
                seen.add((id(step.condition), step.holds))
            todo += step.steps

    @property
    def untested(self) -> list[CheckedRule]:
        """The rules without a case."""
        return [rule for name, rule in self._rules.items() if name not in self._cases]

    @property
    def one_sided(self) -> list[tuple[CheckedRule, bool]]:
        """The rules that must match in no case (False), or in all (True)."""
        return [(rule, True in cases) for name, rule in self._rules.items() if len(cases := self._cases.get(name, set())) == 1]

    def gaps(self) -> Iterator[Gap]:
        """The tests of tested rules that were never true, or never false, by place."""
        found: list[Gap] = []
        for name, seen in self._seen.items():
            for check in self._checks(self._rules[name]):
                found += (Gap(name, check, holds) for holds in (True, False) if (id(check), holds) not in seen)
        return iter(sorted(found, key=lambda gap: (gap.at.name, gap.at.line, gap.at.column, gap.rule, gap.missing)))

    def counts(self) -> tuple[int, int]:
        """How many outcomes of tests were seen, and how many there are: two a test."""
        all_, untested = (2 * sum(len(self._checks(rule)) for rule in rules) for rules in (self._rules.values(), self.untested))
        return all_ - sum(1 for _ in self.gaps()) - untested, all_

    @staticmethod
    def _checks(rule: CheckedRule) -> list[Check]:
        """The tests of a rule that an event can decide: not of placeholders, such as an empty list."""
        return [check for check in checks_of(rule.condition) if not is_placeholder(check)]
