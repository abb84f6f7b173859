# SPDX-License-Identifier: Apache-2.0
"""The tables of a program and its bytes (csrc/vm/format.h)."""

from __future__ import annotations

import struct
from collections.abc import Sequence
from functools import cache
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network
from typing import Any

from .. import schema
from .._native import ffi, lib
from ..rules.ast import FieldSlot, Slot, TransformSlot, Value

#: ORDER LISTS: enum fl_list_form.
FORMS = {"PLAIN": 0, "SET": 1, "PREFIXES": 2, "SUFFIXES": 3, "PATHS": 4}
#: ORDER INPUTS: enum fl_input_what.
INPUT_SLOT, INPUT_VALUE, INPUT_LIST = range(3)
#: ORDER LIMITS.
GATE_DEPTH = 64

_MAGIC, _VERSION = b"FALCOPRG", 1
HEADER = struct.Struct("<8sIIQQ13II")
VALUE, LIST_ROW, INPUT = struct.Struct("<B3xIQ"), struct.Struct("<IIB7x"), struct.Struct("<B3xI")
SLOT, RANGE = struct.Struct("<BBHHBBqIIII"), struct.Struct("<II")
INSTR = struct.Struct("<BBHIII")

#: Bytes of a row, by table.
ROW_SIZES = (VALUE.size, LIST_ROW.size, INPUT.size, SLOT.size, 0, 0, INSTR.size, RANGE.size, RANGE.size, 2, RANGE.size, 2, 1)

#: op, flags, slot, operand, target, memo (csrc/vm/format.h)
Instruction = tuple[int, int, int, int, int, int]


@cache
def opcodes() -> dict[str, tuple[int, str]]:
    """Number, and kind of operand, of each mnemonic and transformer of ops.def."""
    operands = ffi.new("char **")
    found = {}
    for op in range(lib.fl_schema_ops()):
        name = ffi.string(lib.fl_schema_op(op, operands)).decode()
        found[name] = op, ffi.string(operands[0]).decode().partition(",")[0]
    return found


class Tables:
    """Constants, lists, registers, expressions and text of a program in the making. Equal ones are made once."""

    def __init__(self) -> None:
        self.slots: dict[Slot, int] = {}
        self.patterns: dict[str, int] = {}
        self._text = bytearray(b"\0")
        self._texts: dict[bytes, int] = {b"": 0}
        self._values: list[tuple[int, int, int]] = []
        self._constants: dict[tuple[str, Value], int] = {}
        self._lists: list[tuple[int, int, int]] = []
        self._list_numbers: dict[tuple[int, str, tuple[Value, ...]], int] = {}
        self._inputs: list[tuple[int, int]] = []
        self._slot_rows: list[tuple[int, ...]] = []

    def text(self, text: bytes) -> int:
        """Where a text is; a NUL stands behind it."""
        at = self._texts.get(text)
        if at is None:
            at = self._texts[text] = len(self._text)
            self._text += text + b"\0"
        return at

    def constant(self, kind: str, value: Value) -> int:
        """The number of a constant."""
        number = self._constants.get((kind, value))
        if number is None:
            number = self._constants[kind, value] = len(self._values)
            self._values.append(self._value(kind, value))
        return number

    def listing(self, form: str, kind: str, values: tuple[Value, ...]) -> int:
        """The number of a list of constants, prepared in a form of FORMS."""
        key = FORMS[form], kind, values
        number = self._list_numbers.get(key)
        if number is None:
            number = self._list_numbers[key] = len(self._lists)
            self._lists.append((len(self._values), len(values), FORMS[form]))
            self._values += [self._value(kind, value) for value in values]
        return number

    def pattern(self, text: str) -> int:
        """The number of a regular expression."""
        return self.patterns.setdefault(text, len(self.patterns))

    def slot(self, slot: Slot) -> int:
        """The number of a register. Those that a transformer reads come before its own."""
        number = self.slots.get(slot)
        if number is None:
            row = self._field(slot) if isinstance(slot, FieldSlot) else self._transformer(slot)
            number = self.slots[slot] = len(self._slot_rows)
            self._slot_rows.append(row)
            if number > 0xFFFF:
                raise ValueError("the rules use more than 65,536 different fields")
        return number

    def _field(self, slot: FieldSlot) -> tuple[int, ...]:
        argument = slot.argument
        index = argument.index if argument else None
        key = argument.text.encode("utf-8", "surrogateescape") if argument else b""
        has_index, has_key = index is not None, argument is not None
        return (schema.KINDS[slot.kind], 0, slot.info.id, _flags(slot), has_index, has_key, index or 0, self.text(key), len(key), 0, 0)

    def _transformer(self, slot: TransformSlot) -> tuple[int, ...]:
        inputs = [row for x in slot.inputs for row in self._input(x)]
        first = len(self._inputs)
        self._inputs += inputs
        key = slot.argument.encode("utf-8", "surrogateescape") if slot.argument is not None else b""
        op, _ = opcodes()[slot.name]
        return (schema.KINDS[slot.kind], op, 0, _flags(slot), 0, slot.argument is not None, 0, self.text(key), len(key), first, len(inputs))

    def _input(self, x: Slot | Value | tuple[Slot | Value, ...]) -> list[tuple[int, int]]:
        if isinstance(x, tuple):
            return [(INPUT_LIST, len(x)), *(row for item in x for row in self._input(item))]
        if isinstance(x, FieldSlot | TransformSlot):
            return [(INPUT_SLOT, self.slot(x))]
        return [(INPUT_VALUE, self.constant(_kind_of(x), x))]

    def _value(self, kind: str, value: Value) -> tuple[int, int, int]:
        bits = _bits(kind, value)
        return (schema.KINDS[kind], 0, bits) if isinstance(bits, int) else (schema.KINDS[kind], len(bits), self.text(bits))

    def program(self, code: Sequence[Instruction], gates: Sequence[tuple[int, int]], memos: int, sections: Sequence[tuple[int, int]],
                types: Sequence[int], outputs: Sequence[tuple[int, ...]]) -> bytes:
        """The bytes of the program. gates, sections: first instruction and number; types: number of the section + 1, or 0, by event type;
        memos: how many outcomes of tests are remembered besides those of the gates."""
        rules, at = [], 0
        for captured in outputs:
            rules.append((at, len(captured)))
            at += len(captured)
        flat = [slot for captured in outputs for slot in captured]
        tables: list[tuple[int, bytes]] = [
            _rows(VALUE, self._values), _rows(LIST_ROW, self._lists), _rows(INPUT, self._inputs), _rows(SLOT, self._slot_rows),
            (len(self.patterns), b""), (len(gates) + memos, b""), _rows(INSTR, code), _rows(RANGE, gates), _rows(RANGE, sections),
            (len(types), struct.pack(f"<{len(types)}H", *types)), _rows(RANGE, rules), (len(flat), struct.pack(f"<{len(flat)}H", *flat)),
            (len(self._text), bytes(self._text)),
        ]
        body = b"".join(data + bytes(-len(data) % 8) for _, data in tables)
        return HEADER.pack(_MAGIC, _VERSION, HEADER.size + len(body), *schema.hashes(), *(count for count, _ in tables), 0) + body


def counts(code: bytes) -> tuple[int, int, int]:
    """How many slots, patterns and rules a program has."""
    rows = HEADER.unpack_from(code)[5:]
    return rows[3], rows[4], rows[10]


def captured(code: bytes, slots: int) -> tuple[tuple[int, ...], ...]:
    """By rule, the slots that an alert captures.

    Raises struct.error or IndexError for what is no program.
    """
    at, rows = _places(code)
    flat = struct.unpack_from(f"<{rows[11]}H", code, at[11])
    if any(slot >= slots for slot in flat):
        raise IndexError("a slot is captured that there isn't")
    ranges = list(RANGE.iter_unpack(code[at[10] : at[10] + rows[10] * RANGE.size]))
    if any(first + count > len(flat) for first, count in ranges):
        raise IndexError("outputs end behind their table")
    return tuple(flat[first : first + count] for first, count in ranges)


def found_by(code: bytes) -> set[int]:
    """The rules that a program can find. Raises struct.error."""
    at, rows = _places(code)
    rule, _ = opcodes()["rule"]
    return {operand for op, _, _, operand, _, _ in INSTR.iter_unpack(code[at[6] : at[6] + rows[6] * INSTR.size]) if op == rule}


def describes(code: bytes, slots: Sequence[Slot]) -> bool:
    """Whether these are the registers of a program: in their kinds, fields, arguments and transformers. Raises struct.error."""
    at, rows = _places(code)
    if rows[3] != len(slots):
        return False
    tables = Tables()
    for number, slot in enumerate(slots):
        if tables.slot(slot) != number:
            return False
        *head, key, size = SLOT.unpack_from(code, at[3] + number * SLOT.size)[:9]
        *own, own_key, own_size = tables._slot_rows[number][:9]
        text = bytes(code[at[12] + key : at[12] + key + size])
        if head != own or text != bytes(tables._text[own_key : own_key + own_size]):
            return False
    return True


def _places(code: bytes) -> tuple[list[int], tuple[int, ...]]:
    """Where the tables of a program are, and how many rows they have, in the order of enum fl_table."""
    rows = HEADER.unpack_from(code)[5:18]
    places, at = [], HEADER.size
    for count, size in zip(rows, ROW_SIZES, strict=True):
        places.append(at)
        at += count * size + -(count * size) % 8
    return places, rows


def _rows(row: struct.Struct, rows: Sequence[tuple[int, ...]]) -> tuple[int, bytes]:
    return len(rows), b"".join([row.pack(*values) for values in rows])


def _flags(slot: Slot) -> int:
    """The field flags that the machine looks at."""
    bits = schema.FIELD_FLAGS
    return bits["LIST"] * slot.is_list | bits["ANY"] * slot.is_any | bits["EITHER"] * slot.is_either


def _kind_of(value: Value) -> str:
    """The kind of a constant that a transformer reads."""
    return "str" if isinstance(value, str) else "bytes" if isinstance(value, bytes) else "f64" if isinstance(value, float) else "i64"


def _bits(kind: str, value: Any) -> int | bytes:
    """A number as 64 bits, anything else as bytes."""
    match kind:
        case "bool" | "i64" | "u64":
            return int(value) & 0xFFFF_FFFF_FFFF_FFFF
        case "f64":
            return int.from_bytes(struct.pack("<d", value), "little")
    match value:
        case str():
            return value.encode("utf-8", "surrogateescape")
        case bytes():
            return value
        case IPv4Address() | IPv6Address():
            return value.packed
        case IPv4Network() | IPv6Network():
            return value.network_address.packed + value.netmask.packed
    raise TypeError(f"{value!r} is no constant of kind {kind}")
