# SPDX-License-Identifier: Apache-2.0
"""The form in which values cross between Python and the core (csrc/falcolib.h, fl_engine_batch): matches read, given events written."""

from __future__ import annotations

import struct
from collections.abc import Iterator
from ipaddress import IPv4Address, IPv6Address, ip_address
from typing import NamedTuple, TypeAlias

from . import schema
from .rules.ast import Slot, TransformSlot

ABSENT, BOOL, I64, U64, F64, STR, BYTES, IP, NET, LIST = (
    schema.KINDS[name] for name in ("absent", "bool", "i64", "u64", "f64", "str", "bytes", "ip", "net", "list"))

#: A value as the core gives it: texts, bytes and addresses as bytes.
Raw: TypeAlias = bool | int | float | bytes | list["Raw"] | None

_HEAD = struct.Struct("<IIQQqHHII")
_I64, _U64, _F64, _U32 = (struct.Struct("<" + c) for c in "qQdI")
_NUMBERS = {I64: _I64, U64: _U64, F64: _F64}


class Match(NamedTuple):
    """A match, as it comes from the core. ``time``: ns since the epoch; ``record``: the event's record (spec: engine.md F1)."""

    rule: int
    num: int
    time: int
    tid: int
    type: int
    cpu: int
    values: tuple[Raw, ...]
    record: bytes


def read_value(data: bytes, at: int) -> tuple[Raw, int]:
    """The value at an offset, and the offset after it."""
    kind = data[at]
    at += 1
    if kind == ABSENT:
        return None, at
    if kind == BOOL:
        return data[at] != 0, at + 1
    if number := _NUMBERS.get(kind):
        return number.unpack_from(data, at)[0], at + 8
    (size,) = _U32.unpack_from(data, at)
    at += 4
    if kind != LIST:
        return data[at : at + size], at + size
    items: list[Raw] = []
    for _ in range(size):
        item, at = read_value(data, at)
        items.append(item)
    return items, at


def read_matches(data: bytes) -> Iterator[Match]:
    """The matches of a batch."""
    start = 0
    while start < len(data):
        size, rule, num, time, tid, type_, cpu, record_size, count = _HEAD.unpack_from(data, start)
        at = start + _HEAD.size
        values = []
        for _ in range(count):
            value, at = read_value(data, at)
            values.append(value)
        yield Match(rule, num, time, tid, type_, cpu, tuple(values), data[at : at + record_size])
        start += size


_NAMES = {"bool": "a bool", "i64": "an int", "u64": "an int", "f64": "a number", "str": "a str", "bytes": "bytes", "ip": "an IP address",
          "net": "an IP address"}  # fmt: skip
_NOTHING = bytes((ABSENT,))


def _address(value: object) -> bytes:
    if isinstance(value, bytes) and len(value) in (4, 16):
        return value
    if isinstance(value, IPv4Address | IPv6Address | str):
        return ip_address(value).packed
    raise TypeError


def _scalar(kind: str, value: object) -> bytes:
    code = schema.KINDS[kind]
    if code == BOOL and isinstance(value, bool):
        return bytes((BOOL, value))
    if code in (I64, U64) and isinstance(value, int) and not isinstance(value, bool):
        return bytes((code,)) + _NUMBERS[code].pack(value)
    if code == F64 and isinstance(value, int | float):
        return bytes((code,)) + _F64.pack(value)
    if code in (STR, BYTES) and isinstance(value, str | bytes):
        text = value if isinstance(value, bytes) else value.encode("utf-8", "surrogateescape")
    elif code in (IP, NET):
        text = _address(value)
    else:
        raise TypeError
    return bytes((code,)) + _U32.pack(len(text)) + text


def write_value(slot: Slot, value: object) -> bytes:
    """A given value for a slot; None is absent.

    Raises TypeError or ValueError if the value isn't of the slot's kind.
    """
    if value is None or isinstance(slot, TransformSlot):
        return _NOTHING
    try:
        if slot.is_list or slot.is_any or slot.is_either:
            items = value if isinstance(value, list | tuple | set | frozenset) else [value]
            return bytes((LIST,)) + _U32.pack(len(items)) + b"".join(_scalar(slot.kind, item) for item in items)
        return _scalar(slot.kind, value)
    except TypeError:
        raise TypeError(f"field {slot}: expected {_wanted(slot)}, got {value!r}") from None
    except (ValueError, struct.error) as e:
        raise ValueError(f"field {slot}: {value!r}: {e}") from None


def _wanted(slot: Slot) -> str:
    what = _NAMES[slot.kind]
    return f"{what} or a list of them" if slot.is_list or slot.is_any or slot.is_either else what
