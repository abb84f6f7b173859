# SPDX-License-Identifier: Apache-2.0
"""The form in which values cross between Python and the core (csrc/falcolib.h, fl_engine_batch): matches read, given events written."""

from __future__ import annotations

import struct
from ipaddress import IPv4Address, IPv6Address, ip_address
from typing import NamedTuple, TypeAlias

from . import schema
from .rules.ast import Slot, TransformSlot

ABSENT, BOOL, I64, U64, F64, STR, BYTES, IP, NET, LIST = (
    schema.KINDS[name] for name in ("absent", "bool", "i64", "u64", "f64", "str", "bytes", "ip", "net", "list"))

#: A value as the core gives it: texts, bytes and addresses as bytes.
Raw: TypeAlias = bool | int | float | bytes | list["Raw"] | None

#: A match begins with its size in bytes and its rule; then come num, time, tid, type, cpu, the record's size, how many values there are.
_START, _HEAD = struct.Struct("<II"), struct.Struct("<QQqHHII")
_I64, _U64, _F64, _U32 = (struct.Struct("<" + c) for c in "qQdI")
#: Of the processor's number: FL_MATCH_INCOMPLETE (csrc/engine/batch.h).
_INCOMPLETE = 0x8000
_NUMBERS = {I64: _I64, U64: _U64, F64: _F64}


class Match(NamedTuple):
    """A match, as it comes from the core: the number of the rule, and the bytes behind it, of which a part is read when it is asked for.

    Most alerts are asked for their rule alone, and reading a value costs as much as making the alert.
    """

    rule: int
    data: bytes

    @property
    def num(self) -> int:
        """The event's number in its source."""
        return int.from_bytes(self.data[:8], "little")

    @property
    def time(self) -> int:
        """ns since the epoch."""
        return int.from_bytes(self.data[8:16], "little")

    def head(self) -> tuple[int, int, int, int, int]:
        """The event's number, time, thread, type and processor."""
        num, time, tid, type_, cpu, _, _ = _HEAD.unpack_from(self.data)
        return num, time, tid, type_, cpu & ~_INCOMPLETE

    @property
    def complete(self) -> bool:
        """False: records were lost that may have changed what is known of the event's thread."""
        return not _HEAD.unpack_from(self.data)[4] & _INCOMPLETE

    def values(self) -> tuple[Raw, ...]:
        """What the rule prints."""
        at = _HEAD.size
        values = []
        for _ in range(_HEAD.unpack_from(self.data)[6]):
            value, at = read_value(self.data, at)
            values.append(value)
        return tuple(values)

    def record(self) -> bytes:
        """The event's record (spec: engine.md F1)."""
        return self.data[len(self.data) - _HEAD.unpack_from(self.data)[5] :]


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


def read_matches(data: bytes) -> list[Match]:
    """The matches of a batch. Each has bytes of its own: one that is kept does not keep the batch."""
    matches = []
    start, length, starts_with = 0, len(data), _START.unpack_from
    while start < length:
        size, rule = starts_with(data, start)
        matches.append(Match(rule, data[start + _START.size : start + size]))
        start += size
    return matches


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
