# SPDX-License-Identifier: Apache-2.0
"""Which tests of the rules' conditions the cases have seen true, and which false."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import TypeAlias

from ..errors import Location
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
        """Where the test is written."""
        return self.check.at

    def __str__(self) -> str:
        via = "".join(f", in macro '{name}'" for name in self.check.via)
        return f"{self.check.at}: never {'true' if self.missing else 'false'}: {check_text(self.check)}   (rule '{self.rule}'{via})"


#: A test by where it is written: one in a macro is the same in all rules that use the macro.
_Written: TypeAlias = tuple[Location, Check]


@dataclass(slots=True)
class Coverage:
    """Collects outcomes of traced runs. A test counts as seen where it was looked at: what stands after it in an ``and`` that is false
    isn't. A test in a macro is seen if one of the rules has seen it.
    """

    _seen: set[tuple[Location, Check, bool]] = field(default_factory=set)
    _rules: dict[str, CheckedRule] = field(default_factory=dict)
    _cases: dict[str, set[bool]] = field(default_factory=dict)

    def add_rules(self, rules: Iterable[CheckedRule]) -> None:
        """The rules that there are."""
        self._rules.update((rule.name, rule) for rule in rules)

    def add(self, outcome: Outcome) -> None:
        """A case that was run."""
        case = outcome.case
        self._cases.setdefault(case.rule, set()).add(bool(case.expected))
        for node in outcome.tree.walk() if outcome.tree is not None else ():
            if node.check is not None and node.outcome.holds is not None:
                self._seen.add((node.check.at, node.check, node.outcome.holds))

    @property
    def untested(self) -> list[CheckedRule]:
        """The rules without a case."""
        return [rule for name, rule in self._rules.items() if name not in self._cases]

    @property
    def one_sided(self) -> list[tuple[CheckedRule, bool]]:
        """The rules that must match in no case (False), or in all (True)."""
        return [(rule, True in cases) for name, rule in self._rules.items() if len(cases := self._cases.get(name, set())) == 1]

    def gaps(self) -> list[Gap]:
        """The tests of tested rules that were never true, or never false, by place; each with the first rule that has it."""
        found = [
            Gap(rule, check, holds) for (at, check), rule in self._written().items() if rule in self._cases
            for holds in (True, False) if (at, check, holds) not in self._seen]
        return sorted(found, key=lambda gap: (gap.at.name, gap.at.line, gap.at.column, gap.missing))

    def counts(self) -> tuple[int, int]:
        """How many outcomes of tests were seen, and how many there are: two a test."""
        written = self._written()
        return sum((at, check, holds) in self._seen for at, check in written for holds in (True, False)), 2 * len(written)

    def _written(self) -> dict[_Written, str]:
        """The tests, each with the first rule that has it; not those of placeholders, such as an empty list, which no event decides."""
        found: dict[_Written, str] = {}
        for tested in (True, False):                # of a rule that has cases, if there is one
            for name, rule in self._rules.items():
                if (name in self._cases) == tested:
                    for check in checks_of(rule.condition):
                        if not is_placeholder(check):
                            found.setdefault((check.at, check), name)
        return found
