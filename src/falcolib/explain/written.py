# SPDX-License-Identifier: Apache-2.0
"""Tests as their author wrote them, with the names of lists."""

from __future__ import annotations

import re

from ..rules.ast import Check
from ..rules.ruleset import RuleSet
from ..rules.text import check_text

#: A test longer than this is told with its first constants only.
_LONG = 100
_VALUES = 4
_BLANKS = re.compile(r"\s+")
_WORD = re.compile(r"[^ \t\r\n(),=\"']+")
#: The left-hand side and the operator.
_HEAD = re.compile(r"""
    \s*[\w.]+ (?: \[[^\]]*\] | \([^()]*\) )* \s*
    (?: exists\b | (?: ==? | != | <=? | >=? | in\b | intersects\b | pmatch\b | i?contains\b | bcontains\b | b?startswith\b | endswith\b
        | i?glob\b | regex\b ) \s* (?: (?: oneof | anyof | allof )\b \s* )? )""", re.VERBOSE)


def written(check: Check, rules: RuleSet) -> str:
    """A test in one line."""
    source = _source(check, rules)
    if source is not None and len(source) <= _LONG:
        return source
    names = lists_of(check, rules)
    return check_text(check, _VALUES) + (f" of {', '.join(names)}" if names else "")


def lists_of(check: Check, rules: RuleSet) -> tuple[str, ...]:
    """The lists that a test names on its right-hand side."""
    source = _source(check, rules)
    if source is None:
        return ()
    head = _HEAD.match(source)
    words = _WORD.findall(source[head.end():] if head else "")
    return tuple(dict.fromkeys(word for word in words if word in rules.lists))


def _source(check: Check, rules: RuleSet) -> str | None:
    """The text of a test in its rule file; None where it doesn't stand there as a whole (an exception's)."""
    text = rules.text_of(check.at.name)
    if text is None or not text.startswith(str(check.slot).split("(")[0].split("[")[0], check.at.offset):
        return None
    head = _HEAD.match(text, check.at.offset)
    if head is None:
        return None
    end = head.end()
    if check.op != "exists":
        right = _right(text, end)
        if right is None:
            return None
        end = right
    return _BLANKS.sub(" ", text[check.at.offset:end]).strip()


def _right(text: str, at: int) -> int | None:
    """Where the right-hand side that begins at an offset ends."""
    depth = 0
    quote = ""
    for i in range(at, len(text)):
        c = text[i]
        if quote:
            if c == quote:
                quote = ""
                if not depth:
                    return i + 1
        elif c in "\"'":
            quote = c
        elif c == "(":
            depth += 1
        elif c == ")":
            depth -= 1
            if depth <= 0:
                return i + (depth == 0)
        elif not depth and c in " \t\r\n":
            return i
    return len(text) if not quote and not depth else None
