# SPDX-License-Identifier: Apache-2.0
"""Audit events that are given as dicts, as the JSON text that the core reads."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import msgspec


def encode(event: dict[str, Any]) -> bytes:
    """The JSON text of an event, or of a list of them, however deep it is nested: what is too deep is for the core to tell, as in a text.
    What is within itself breaks off there, and so is no JSON either.

    Raises TypeError for what JSON has no form for.
    """
    try:
        return msgspec.json.encode(event)
    except (RecursionError, UnicodeEncodeError):        # some hundred levels; half of a pair of surrogates, which JSON's escapes can tell
        return b"".join(_pieces(event))


def _pieces(value: object) -> Iterator[bytes]:
    """The text, without recursion."""
    opened: dict[int, tuple[bytes, Iterator[tuple[bytes, object]]]] = {}        # by what is open: its end, and its members that are left
    while True:
        if id(value) in opened:
            return
        if isinstance(value, dict):
            yield b"{"
            opened[id(value)] = b"}", _members(value)
        elif isinstance(value, list | tuple):
            yield b"["
            opened[id(value)] = b"]", ((b"," if n else b"", item) for n, item in enumerate(value))
        else:
            yield _scalar(value)
        while opened:
            inner = next(reversed(opened))
            end, members = opened[inner]
            member = next(members, None)
            if member is not None:
                break
            yield end
            del opened[inner]
        else:
            return
        before, value = member
        yield before


def _members(value: dict[object, object]) -> Iterator[tuple[bytes, object]]:
    """Those of an object: what is in front of each value."""
    for n, (key, item) in enumerate(value.items()):
        name = _scalar(key) + b":" if isinstance(key, str) else msgspec.json.encode({key: None})[1:-len(b"null}")]
        yield (b"," if n else b"") + name, item


def _scalar(value: object) -> bytes:
    return json.dumps(value).encode() if isinstance(value, str) else msgspec.json.encode(value)
