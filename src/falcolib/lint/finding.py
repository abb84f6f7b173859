# SPDX-License-Identifier: Apache-2.0
"""What a lint is, and what it finds."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Protocol

from ..errors import Location
from ..rules.ast import Check, CheckedRule


@dataclass(frozen=True, slots=True)
class Finding:
    """Something that is allowed and probably wrong. id: the lint's; severity: "warning", or "note" for what is a matter of risk or taste;
    cure: what to do about it; at: its place; via: the macros it came through.
    """

    id: str
    severity: str
    message: str
    cure: str
    rule: str
    at: Location
    via: tuple[str, ...] = ()

    def as_dict(self) -> dict[str, object]:
        """The same as JSON can hold it; the position is counted from 0."""
        return {"id": self.id, "severity": self.severity, "message": self.message, "cure": self.cure, "rule": self.rule,
                "position": {"name": self.at.name, "line": self.at.line, "column": self.at.column, "offset": self.at.offset},
                "macros": list(self.via)}


class Lint(Protocol):
    """A lint: docs/lints/ID.md tells what it looks for, and why."""

    id: str
    severity: str

    def find(self, rules: Sequence[CheckedRule]) -> Iterator[Finding]:
        """What is found in these rules, which are in the order of evaluation."""
        ...


def at_check(lint: Lint, rule: CheckedRule, check: Check, message: str, cure: str) -> Finding:
    """A finding at a test of a rule's condition."""
    return Finding(lint.id, lint.severity, message, cure, rule.name, check.at, check.via)
