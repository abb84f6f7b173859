# SPDX-License-Identifier: Apache-2.0
"""regex-as-glob: a regular expression that says no more than a glob."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence

from ..errors import Location
from ..rules.ast import CheckedRule
from ..rules.check import checks_of
from ..rules.text import literal
from .finding import Finding, at_check

_piece = re.compile(r"\.\*|\.\+|\.(?![?{*+])|\\([.*+?^$()\[\]{}|\\/-])(?![*+?{])|(\[\^?[\w./ -]+\])(?![*+?{])"
                    r"|([^.*+?^$()\[\]{}|\\])(?![*+?{])", re.DOTALL)


def as_glob(pattern: str) -> str | None:
    """The glob that matches the same texts as a regular expression (which must match the whole text); None if there is none.

    A ``.`` doesn't match a newline, ``?`` and ``*`` do: that difference is none for names and paths.
    """
    body = pattern.removeprefix("^")
    body = body[:-1] if body.endswith("$") and not body.endswith(r"\$") else body
    out, at = "", 0
    while at < len(body):
        m = _piece.match(body, at)
        if m is None:
            return None
        at = m.end()
        if m[1] is not None or m[3] is not None:
            text = m[1] or m[3]
            out += f"\\{text}" if text in "*?[\\" else text
        elif m[2] is not None:
            out += m[2].replace("[^", "[!")
        else:
            out += {".*": "*", ".+": "?*"}.get(m[0], "?")
    return out


class RegexAsGlob:
    """A regular expression that a glob, which is cheaper and easier to read, could replace."""

    id = "regex-as-glob"
    severity = "note"

    def find(self, rules: Sequence[CheckedRule]) -> Iterator[Finding]:
        """Regular expressions that have a glob."""
        told: set[Location] = set()
        for rule in rules:
            for check in checks_of(rule.condition):
                if check.op != "regex" or check.at in told or check.modifier:
                    continue
                glob = as_glob(str(check.values[0])) if len(check.values) == 1 else None
                if glob is not None:
                    told.add(check.at)
                    yield at_check(self, rule, check, f"the regular expression {literal(str(check.values[0]))} says what a glob could",
                                   f"write {check.slot} glob {literal(glob)}: it is tested in the core, without RE2")
