# SPDX-License-Identifier: Apache-2.0
"""Conditions back to text, so that reading the text gives the same tree again (A9).

``and`` and ``or`` stand in parentheses, literals in quotes where they need them. Nesting is no recursion: it is the author's.
"""

from __future__ import annotations

import re
from ipaddress import IPv4Network, IPv6Network

from . import grammar
from .ast import And, Check, Condition, FieldName, ListLiteral, Literal, MacroName, Not, Operand, Or, Test, TransformCall, Value

_bare = re.compile(grammar.BARE)
_number = re.compile(grammar.NUMBER)
_argument = re.compile(grammar.ARGUMENT)
_special = re.compile(r"[\x01-\x1f\x7f\"\\\udc80-\udcff]")
#: Operators whose literals are hexadecimal.
_HEX = frozenset({"bcontains", "bstartswith"})
_ESCAPES = {"\b": r"\b", "\f": r"\f", "\n": r"\n", "\r": r"\r", "\t": r"\t", '"': r"\"", "\\": r"\\"}


def quoted(text: str) -> str:
    """A literal in double quotes. A backslash at the end is written as a number: one before a quote would keep the text open."""
    def escape(m: re.Match[str]) -> str:
        if m[0] == "\\" and m.end() == len(text):
            return r"\x5c"
        return _ESCAPES.get(m[0]) or f"\\x{ord(m[0]) & 0xFF:02x}"

    return f'"{_special.sub(escape, text)}"'


def literal(text: str) -> str:
    """A literal as a condition can hold it: in quotes if it needs them."""
    plain = _bare.fullmatch(text) and not _special.search(text) and text not in grammar.MODIFIER_WORDS
    return text if plain else quoted(text)


def operand_text(operand: Operand) -> str:
    """A field, a transformer, or what stands in one."""
    match operand:
        case FieldName():
            return operand.name + _in_brackets(operand.argument)
        case TransformCall():
            return f"{operand.name}({', '.join(map(_input, operand.inputs))}){_in_brackets(operand.argument)}"
        case _:
            return _input(operand)


def _in_brackets(argument: str | None) -> str:
    return "" if argument is None else f"[{argument if _argument.fullmatch(argument) else quoted(argument)}]"


def _input(operand: Operand) -> str:
    match operand:
        case Literal():
            return quoted(operand.text) if operand.quoted or not _number.fullmatch(operand.text) else operand.text
        case ListLiteral():
            return f"({', '.join(map(_input, operand.items))})"
        case _:
            return operand_text(operand)


def test_text(test: Test) -> str:
    """A test as it could have been written."""
    words = [operand_text(test.left), test.op]
    if test.modifier:
        words.append(test.modifier)
    if isinstance(test.right, tuple):
        words.append(f"({', '.join(literal(x.text) for x in test.right)})")
    elif isinstance(test.right, Literal):
        words.append(test.right.text if test.op in grammar.NUMBER_OPS else literal(test.right.text))
    elif test.right is not None:
        words.append(operand_text(test.right))
    return " ".join(words)


def condition_text(tree: Condition) -> str:
    """A condition, in which names of macros may stand."""
    pieces: list[str] = []
    todo: list[Condition | str] = [tree]
    while todo:
        node = todo.pop()
        match node:
            case str():
                pieces.append(node)
            case Test():
                pieces.append(test_text(node))
            case MacroName():
                pieces.append(node.name)
            case Not():
                twice = isinstance(node.child, Not)         # "not not" would cancel out
                todo += [")", node.child, "not ("] if twice else [node.child, "not "]
            case And() | Or():
                todo += _joined(node.children, " and " if isinstance(node, And) else " or ")
    return "".join(pieces)


def _joined(children: tuple[Condition, ...], word: str) -> list[Condition | str]:
    """A group in parentheses, last piece first."""
    pieces: list[Condition | str] = ["("]
    for i, child in enumerate(children):
        pieces += [word, child] if i else [child]
    return [*pieces, ")"][::-1]


# ---- what was understood ---------------------------------------------------------------------------------------------------------------


def value_text(value: Value) -> str:
    """A constant of a check as a literal."""
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, bytes):
        value = value.decode("utf-8", "surrogateescape")
    if isinstance(value, IPv4Network | IPv6Network):
        return str(value)
    return literal(value) if isinstance(value, str) else f"{value:g}" if isinstance(value, float) else str(value)


def check_text(check: Check, values: int = 8) -> str:
    """A check in one line, for people: of a long list the first so many values."""
    words = [str(check.slot), check.op]
    if check.modifier:
        words.append(check.modifier)
    if check.other is not None:
        words.append(f"val({check.other})")
    elif check.op != "exists":
        shown = [v.hex() if isinstance(v, bytes) and check.op in _HEX else value_text(v) for v in check.values[:values]]
        shown += ["…"] * (len(check.values) > values)
        alone = check.modifier is None and check.op not in grammar.LIST_OPS and len(shown) == 1
        words.append(shown[0] if alone else f"({', '.join(shown)})")
    return " ".join(words)

