# SPDX-License-Identifier: Apache-2.0
"""Lints: what is allowed in rules and probably wrong, beyond what Falco warns of. docs/lints/ has a page for each."""

from __future__ import annotations

import re
from collections.abc import Collection

from ..rules import RuleSet
from .constant import NeverFalse, NeverTrue
from .fields import FieldWithoutEvent
from .finding import Finding, Lint
from .names import AttackerChosenException
from .patterns import RegexAsGlob
from .shadowed import ShadowedRule

#: All lints, in the order in which they are listed.
LINTS: tuple[Lint, ...] = (ShadowedRule(), NeverTrue(), NeverFalse(), FieldWithoutEvent(), AttackerChosenException(), RegexAsGlob())

_ignored = re.compile(r"#.*\bfalcolib:\s*ignore\[([\w, -]*)\]")


def lint(rules: RuleSet, *, disable: Collection[str] = ()) -> list[Finding]:
    """What the lints find in rules, by place; without those whose id is in ``disable``, and what a comment of the rule file takes out:
    ``# falcolib: ignore[never-true]`` on the line of the finding, the line above, or of the ``- rule:``.

    Raises ValueError for an id that no lint has.
    """
    unknown = set(disable) - {one.id for one in LINTS}
    if unknown:
        raise ValueError(f"no such lint: {', '.join(sorted(unknown))}; there are {', '.join(one.id for one in LINTS)}")
    ignored = _comments(rules)
    starts = {rule.name: rule.at for rule in rules.rules}
    found: list[Finding] = []
    for one in LINTS:
        if one.id in disable:
            continue
        for finding in one.find(rules.rules):
            start = starts[finding.rule]
            lines = {(at.name, at.line - up) for at in (finding.at, start) for up in (0, 1)}
            if not any(finding.id in ignored.get(line, ()) for line in lines):
                found.append(finding)
    return sorted(found, key=lambda f: (f.at.name, f.at.line, f.at.column, f.id))


def _comments(rules: RuleSet) -> dict[tuple[str, int], set[str]]:
    """The ids that comments ignore, by file and line."""
    found: dict[tuple[str, int], set[str]] = {}
    for source in rules.sources:
        if "falcolib:" in source.text:
            for number, line in enumerate(source.text.split("\n")):
                m = _ignored.search(line)
                if m:
                    found[source.name, number] = {word.strip() for word in m[1].split(",")}
    return found


__all__ = ["LINTS", "Finding", "Lint", "lint"]
