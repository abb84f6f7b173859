# SPDX-License-Identifier: Apache-2.0
"""YAML as Go's sigs.k8s.io/yaml prints it, byte for byte: mappings, lists and strings, which is all that RBAC manifests are made of.

No Python library prints these bytes: the emitter is an old libyaml's, which of the four styles a string takes is decided by Go's own table
of what YAML 1.1 would read as something else, and keys are in Go's natural order. The reference is yaml.v2 2.2.8 (Kubernetes 1.20).
"""

from __future__ import annotations

import functools
import re
from collections.abc import Mapping, Sequence
from typing import TypeAlias

Value: TypeAlias = "str | Mapping[str, Value] | Sequence[Value]"

#: Columns after which a line is folded at its next space, and those that a level is indented by.
WIDTH, INDENT = 80, 2
#: Bytes of the longest key that is written in front of its colon; a longer one gets a question mark.
SIMPLE_KEY = 128


def dump(value: Mapping[str, Value]) -> str:
    """A document, with the newline at its end."""
    out: list[str] = []
    _mapping(out, value, 0)
    return "".join(out)


def _mapping(out: list[str], mapping: Mapping[str, Value], indent: int) -> None:
    for key in sorted(mapping, key=functools.cmp_to_key(natural_order)):
        value = mapping[key]
        if len(key.encode()) <= SIMPLE_KEY and not _BREAK.search(key):
            head = " " * indent + scalar(key, indent, None) + ":"
        else:
            out.append(_line(" " * indent + "? ", scalar(key, indent + INDENT, indent + 2)))
            head = " " * indent + ":"
        if isinstance(value, str):
            out.append(_line(head + " ", scalar(value, indent + INDENT, len(head) + 1)))
        elif not value:
            out.append(f"{head} {'{}' if isinstance(value, Mapping) else '[]'}\n")
        elif isinstance(value, Mapping):
            out.append(head + "\n")
            _mapping(out, value, indent + INDENT)
        else:
            out.append(head + "\n")
            _list(out, value, indent)


def _list(out: list[str], items: Sequence[Value], indent: int) -> None:
    """A list in a mapping: its dashes stand below the key."""
    dash = " " * indent + "- "
    for item in items:
        if isinstance(item, str):
            out.append(_line(dash, scalar(item, indent + INDENT, len(dash))))
        elif isinstance(item, Mapping) and item:
            inner: list[str] = []
            _mapping(inner, item, indent + INDENT)
            out += [dash + inner[0][indent + INDENT:], *inner[1:]]
        else:
            raise TypeError("items of lists are strings and mappings that hold something")


def _line(head: str, text: str) -> str:
    return head + text if text.endswith(("\n", "\u2028", "\u2029")) else head + text + "\n"


# ---- strings -----------------------------------------------------------------------------------------------------------------------

_BREAK = re.compile("[\r\n\x85\u2028\u2029]")
#: What YAML 1.1 allows in a stream, as this emitter knows it: nothing above the basic plane, and no tab.
_PRINTABLE = re.compile("[\n -~\xa0-\ud7ff\ue000-\ufefe\uff00-\ufffd]*")
#: Where a plain string can't start, or what it can't hold: indicators of YAML.
_INDICATOR = re.compile(r"""---|\.\.\.|[\#,\[\]{}&*!|>'"%@`]|[?:-](?:[ \t]|\Z)|.*?(?:.:(?:[ \t]|\Z)|[ \t\r\n\x85\u2028\u2029]\#)""", re.S)


def scalar(text: str, indent: int, column: int | None) -> str:
    """A string in the style that it needs. ``column`` is where it starts; None for a key, which is never folded.

    Ends in a line break if the style is the literal one and the string does.
    """
    breaks = bool(_BREAK.search(text))
    special = not _PRINTABLE.fullmatch(text) or bool(re.search(" [\r\n\x85\u2028\u2029]", text))
    if "\n" in text:
        if column is None or special or text.endswith(" "):
            return _double(text, indent, column)
        return _literal(text, indent)
    if needs_quotes(text) or special:
        return _double(text, indent, column)
    if not (breaks or text[0] == " " or text[-1] == " " or _INDICATOR.match(text)):
        return _fold(text, indent, column)
    if re.search("[\u2028\u2029] ", text):
        return _double(text, indent, column)
    return "'" + _fold(text.replace("'", "''"), indent, column, quoted=True) + "'"


def _fold(text: str, indent: int, column: int | None, quoted: bool = False) -> str:
    """Plain and single-quoted: long lines are cut at single spaces."""
    if column is None or (column + len(text) <= WIDTH and not _BREAK.search(text)):
        return text
    out = []
    column += quoted
    last = len(text) - 1
    spaces = broken = False
    for i, c in enumerate(text):
        if c == " ":
            if not spaces and column > WIDTH and text[i + 1:i + 2] != " " and not (quoted and i in (0, last)):
                out.append("\n" + " " * indent)
                column = indent
            else:
                out.append(c)
                column += 1
            spaces = True
        elif c in "\u2028\u2029":
            out.append(c)
            column, broken = 0, True
        else:
            if broken:
                out.append(" " * indent)
                column = indent
            out.append(c)
            column += 1
            spaces = broken = False
    return "".join(out)


_ESCAPES = {"\0": "0", "\a": "a", "\b": "b", "\t": "t", "\n": "n", "\v": "v", "\f": "f", "\r": "r", "\x1b": "e", '"': '"', "\\": "\\",
            "\x85": "N", "\xa0": "_", "\u2028": "L", "\u2029": "P"}


def _escape(c: str) -> str:
    if c in _ESCAPES:
        return "\\" + _ESCAPES[c]
    code = ord(c)
    return f"\\x{code:02X}" if code <= 0xFF else f"\\u{code:04X}" if code <= 0xFFFF else f"\\U{code:08X}"


def _double(text: str, indent: int, column: int | None) -> str:
    out = ['"']
    at = 0 if column is None else column + 1
    last = len(text) - 1
    spaces = False
    marked = text[:1] == "\ufeff"        # of the reference: after a byte order mark, all is escaped
    for i, c in enumerate(text):
        if c == " " and not marked:
            if column is not None and not spaces and at > WIDTH and 0 < i < last:
                out.append("\n" + " " * indent)
                at = indent
                if text[i + 1] == " ":
                    out.append("\\")
                    at += 1
            else:
                out.append(c)
                at += 1
            spaces = True
            continue
        piece = c if not marked and c not in '"\\' and not _BREAK.match(c) and _PRINTABLE.fullmatch(c) else _escape(c)
        out.append(piece)
        at += len(piece)
        spaces = False
    return "".join([*out, '"'])


def _literal(text: str, indent: int) -> str:
    hints = str(INDENT) if text[0] == " " or _BREAK.match(text[0]) else ""
    if not _BREAK.match(text[-1]):
        hints += "-"
    elif len(text) == 1 or _BREAK.match(text[-2]):
        hints += "+"
    lines = re.findall("[^\n\u2028\u2029]*[\n\u2028\u2029]|[^\n\u2028\u2029]+$", text)
    return f"|{hints}\n" + "".join(" " * indent + line if line[0] not in "\n\u2028\u2029" else line for line in lines)


# ---- what YAML would read as something else ------------------------------------------------------------------------------------------

_WORDS = {"", "~", ".nan", ".NaN", ".NAN"}
_WORDS |= {case(word) for word in ("y", "yes", "true", "on", "n", "no", "false", "off", "null")
           for case in (str, str.capitalize, str.upper)}
_WORDS |= {sign + word for sign in ("", "+", "-") for word in (".inf", ".Inf", ".INF")}
_FLOAT = re.compile(r"[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]+)?")
_FRACTION = re.compile(r"\.[0-9]+(?:_[0-9]+)*(?:[eE][-+]?[0-9]+(?:_[0-9]+)*)?")
_INTEGER = re.compile(r"([-+]?)(?:0[xX]([0-9a-fA-F]+)|0[bB]([01]+)|0[oO]?([0-7]+)|(0|[1-9][0-9]*))|0b([-+][01]+)")
_SEXAGESIMAL = re.compile(r"[-+]?[0-9][0-9_]*(?::[0-5]?[0-9])+(?:\.[0-9_]*)?")
_DATE = re.compile(r"([0-9]{4})-([0-9]{1,2})-([0-9]{1,2})(?:(?:[Tt]| +)([0-9]{1,2}):([0-9]{1,2}):([0-9]{1,2})(?:\.[0-9]{1,9})?"
                   r"(Z|[-+][-+0-9][0-9]:[-+0-9][0-9])?)?")
_DAYS = (31, 28, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31)


def needs_quotes(text: str) -> bool:
    """Whether the plain string would be read as a boolean, a null, a number or a time."""
    if text in _WORDS:
        return True
    if text[0] == ".":
        return bool(_FRACTION.fullmatch(text)) and float(text) != float("inf")
    if text[0] not in "+-0123456789":
        return False
    digits = text.replace("_", "")
    if _SEXAGESIMAL.fullmatch(text) or _is_integer(digits) or _is_date(text):
        return True
    return bool(_FLOAT.fullmatch(digits)) and abs(float(digits)) != float("inf")


def _is_integer(text: str) -> bool:
    match = _INTEGER.fullmatch(text)
    if not match:
        return False
    sign, *bases, signed = match.groups()
    if signed:
        value, unsigned = int(signed, 2), False
    else:
        value, unsigned = next(int(d, b) for d, b in zip(bases, (16, 2, 8, 10), strict=True) if d) * (-1 if sign == "-" else 1), not sign
    return -2**63 <= value < (2**64 if unsigned else 2**63)


def _is_date(text: str) -> bool:
    match = _DATE.fullmatch(text)
    if not match:
        return False
    year, month, day, hour, minute, second = (int(part or 0) for part in match.groups()[:6])
    if match.group(4) and (" " in text) == bool(match.group(7)):      # with a T there is a zone, with a space there is none
        return False
    if not 1 <= month <= 12:
        return False
    leap = month == 2 and year % 4 == 0 and (year % 100 != 0 or year % 400 == 0)
    return 1 <= day <= _DAYS[month - 1] + leap and hour < 24 and minute < 60 and second < 60


def natural_order(a: str, b: str) -> int:
    """How keys are ordered: letters after all else, runs of digits by their value. Negative if a comes first, positive if b, else 0."""
    for i, (x, y) in enumerate(zip(a, b, strict=False)):
        if x == y:
            continue
        if x.isalpha() and y.isalpha():
            return -1 if x < y else 1
        if x.isalpha() or y.isalpha():
            return -1 if y.isalpha() else 1
        carry = 0
        if "0" in (x, y):
            j = i - 1
            while j >= 0 and a[j].isdecimal() and not carry:
                carry = int(a[j] != "0")
                j -= 1
        (m, end_a), (n, end_b) = _number(a, i, carry), _number(b, i, carry)
        if m != n:
            return -1 if m < n else 1
        if end_a != end_b:
            return -1 if end_a < end_b else 1
        return -1 if x < y else 1
    return len(a) - len(b)


def _number(text: str, i: int, carry: int) -> tuple[int, int]:
    """The digits from a place on as a number that wraps at 64 bits, as Go's, and where they end."""
    value = carry
    while i < len(text) and text[i].isdecimal():
        value = (value * 10 + ord(text[i]) - ord("0") + 2**63) % 2**64 - 2**63
        i += 1
    return value, i
