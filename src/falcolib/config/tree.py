# SPDX-License-Identifier: Apache-2.0
"""Configuration before it is read: YAML's values with their places, and the paths by which -o names them."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import Any, TypeAlias

import msgspec

from ..errors import Location

#: What -o may add to a list with [N]: as many entries as nobody writes by hand.
MAX_INDEX = 1000
_NULLS = frozenset(("", "~", "null", "Null", "NULL"))
_NUMBER = re.compile(r"[-+]?[0-9]{1,30}")
_DECIMAL = re.compile(r"[-+]?(?:[0-9]{1,300}\.[0-9]{0,300}|\.[0-9]{1,300}|[0-9]{1,300})(?:[eE][-+]?[0-9]{1,4})?")
_BOOLEANS = {"true": True, "false": False}

Step: TypeAlias = str | int | None      # a key, an index, or [] for the end


class Node(msgspec.Struct, frozen=True, eq=False):
    """A scalar's text, the nodes of a list, or those of a mapping by key; and where it was given: a place in a file, or ``-o …``.

    plain: a scalar without quotes, which YAML may take for a number, a truth value or nothing.
    """

    value: str | list[Node] | dict[str, Node]
    at: Location | str
    plain: bool = False
    names: Mapping[str, Location] = {}          # of a mapping: where the keys themselves stand

    @property
    def is_null(self) -> bool:
        return self.plain and self.value in _NULLS

    def place_of(self, name: str) -> Location | str:
        """Where a key of a mapping stands."""
        return self.names.get(name) or (self.value[name].at if isinstance(self.value, dict) and name in self.value else self.at)


def plain_value(node: Node, text: Callable[[str], str] = str) -> Any:
    """What YAML's core schema makes of a node: dict, list, str, int, float, bool, None. text: is applied to scalars."""
    if isinstance(node.value, dict):
        return {text(name): plain_value(child, text) for name, child in node.value.items()}
    if isinstance(node.value, list):
        return [plain_value(child, text) for child in node.value]
    given = text(node.value)
    if not node.plain:
        return given
    if given in _NULLS:
        return None
    if given.lower() in _BOOLEANS:
        return _BOOLEANS[given.lower()]
    if _NUMBER.fullmatch(given):
        return int(given)
    return float(given) if _DECIMAL.fullmatch(given) else given


def split_path(text: str) -> list[Step]:
    r"""The steps of ``metrics.interval``, ``rules[0].enable.tag``, ``append_output[].match``; ``\`` before . [ ] \ makes them letters.

    Raises ValueError.
    """
    steps: list[Step] = []
    name, index, written = "", 0, False
    while index < len(text):
        c = text[index]
        if c == "\\" and text[index + 1 : index + 2] in tuple(".[]\\"):
            name, index, written = name + text[index + 1], index + 2, True
        elif c == ".":
            if not written and not (steps and text[index - 1] == "]"):
                raise ValueError("a name is missing before '.'")
            if written:
                steps.append(name)
            name, index, written = "", index + 1, False
            if index == len(text):
                raise ValueError("a name is missing after '.'")
        elif c == "[":
            if written:
                steps.append(name)
            name, written = "", False
            end = text.find("]", index)
            inside = text[index + 1 : end]
            if end < 0 or not steps:
                raise ValueError("']' is missing" if end < 0 else "a name is missing before '['")
            if inside and not (inside.isascii() and inside.isdigit() and len(inside) < 10):
                raise ValueError(f"[{inside}]: expected a number, or nothing for a new entry")
            steps.append(int(inside) if inside else None)
            index = end + 1
            if text[index : index + 1] not in ("", ".", "["):
                raise ValueError("expected '.' or '[' after ']'")
        else:
            name, index, written = name + c, index + 1, True
    if written:
        steps.append(name)
    if not steps:
        raise ValueError("a key is missing before '='")
    return steps


def put(node: Node | None, steps: list[Step], value: Node) -> Node:
    """A tree with another value at a place; what lies on the way is made. Trees are shared, so the given one stays as it is.

    Raises ValueError for an entry that a list can't have.
    """
    if not steps:
        return value
    step, rest = steps[0], steps[1:]
    if isinstance(step, str):
        pairs = dict(node.value) if node is not None and isinstance(node.value, dict) else {}
        pairs[step] = put(pairs.get(step), rest, value)
        names = {name: at for name, at in node.names.items() if rest or name != step} if node is not None else {}
        return Node(pairs, node.at if node is not None else value.at, names=names)
    entries = list(node.value) if node is not None and isinstance(node.value, list) else []
    step = len(entries) if step is None else step
    if step > min(len(entries), MAX_INDEX):
        raise ValueError(f"[{step}]: the list has {len(entries)} entries; [] adds one")
    entries[step:step + 1] = [put(entries[step] if step < len(entries) else None, rest, value)]
    return Node(entries, node.at if node is not None else value.at)
