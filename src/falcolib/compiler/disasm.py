# SPDX-License-Identifier: Apache-2.0
"""Programs as text, stable enough for golden tests. docs/vm.md explains the notation."""

from __future__ import annotations

import re
import struct
from collections.abc import Iterator
from ipaddress import ip_address
from typing import TYPE_CHECKING

from .. import schema
from .emit import ALL, ANY, IF, MODIFIERS, OTHER
from .tables import FORMS, HEADER, INSTR, LIST_ROW, RANGE, ROW_SIZES, VALUE, opcodes

if TYPE_CHECKING:
    from .program import Program

_VALUES, _LISTS, _INPUTS, _SLOTS, _PATTERNS, _MEMOS, _CODE, _GATES, _SECTIONS, _TYPES, _RULES, _OUTPUTS, _TEXT = range(13)
_FORM_NAMES = {number: name.lower() for name, number in FORMS.items()}


def disassemble(program: Program) -> str:
    """All of a program: registers, gates, and the sections with the event types that have them."""
    return "\n".join(Listing(program).lines()) + "\n"


class Listing:
    """The parts of a program, as text."""

    def __init__(self, program: Program) -> None:
        self._program = program
        self._ops = {number: (name, operand) for name, (number, operand) in opcodes().items()}
        self._rows = HEADER.unpack_from(program.code)[5:18]
        self._tables: list[bytes] = []
        at = HEADER.size
        for rows, size in zip(self._rows, ROW_SIZES, strict=True):
            self._tables.append(program.code[at : at + rows * size])
            at += rows * size + -(rows * size) % 8

    def lines(self) -> Iterator[str]:
        for number, slot in enumerate(self._program.slots):
            yield f"slot {number}: {slot} {slot.kind}{' list' * slot.is_list}{' any' * slot.is_any}{' either' * slot.is_either}"
        for number, pattern in enumerate(self._program.patterns):
            yield f"pattern {number}: {_quoted(pattern.encode('utf-8', 'surrogateescape'))}"
        for number, rule in enumerate(self._program.rules):
            captured = " ".join(map(str, self._program.outputs[number]))
            yield f"rule {number}: {rule.name!r}" + (f" captures {captured}" if captured else "")
        for number, (first, count) in enumerate(RANGE.iter_unpack(self._tables[_GATES])):
            yield from ("", f"gate {number}:", *self._range(first, count))
        names = [event.code for event in schema.EVENTS] + list(schema.DOCUMENTS)
        sections = struct.unpack(f"<{self._rows[_TYPES]}H", self._tables[_TYPES])
        for number, (first, count) in enumerate(RANGE.iter_unpack(self._tables[_SECTIONS])):
            types = " ".join(names[i] for i, section in enumerate(sections) if section == number + 1)
            yield from ("", f"section {number}: {types}", *self._range(first, count))

    def _range(self, first: int, count: int) -> Iterator[str]:
        for at in range(first, first + count):
            yield f"{at:6}  {self._instruction(at)}".rstrip()

    def ranges(self) -> Iterator[tuple[str, int | None, int, int]]:
        """The sections, titled with the names of their event types, then the gates: title, number of the gate, first
        instruction, how many."""
        sections = struct.unpack(f"<{self._rows[_TYPES]}H", self._tables[_TYPES])
        for number, (first, count) in enumerate(RANGE.iter_unpack(self._tables[_SECTIONS])):
            names = dict.fromkeys(event.name for event, section in zip(schema.EVENTS, sections, strict=False) if section == number + 1)
            yield " ".join(names), None, first, count
        for number, (first, count) in enumerate(RANGE.iter_unpack(self._tables[_GATES])):
            yield f"gate {number}", number, first, count

    def flow(self, at: int) -> tuple[str, int, int]:
        """Of an instruction: its mnemonic, its operand, and where it may jump to (0: nowhere)."""
        op, _, _, operand, target, _ = INSTR.unpack_from(self._tables[_CODE], at * INSTR.size)
        return self._ops[op][0], operand, target

    def test(self, at: int) -> str:
        """An instruction as text, with the name of its field in place of the register's number."""
        words, _, _ = self._instruction(at).partition(" → ")
        words = words.rsplit(None, 1)[0]
        return re.sub(r"\bs(\d+)\b(?=[^\"]*(?:\"[^\"]*\"[^\"]*)*$)", lambda m: str(self._program.slots[int(m[1])]), words)

    def _instruction(self, at: int) -> str:
        op, flags, slot, operand, target, memo = INSTR.unpack_from(self._tables[_CODE], at * INSTR.size)
        name, wants = self._ops[op]
        if wants == "RULE":
            return f"rule {operand}"
        if name in ("stop", "false", "true"):
            return name
        jump = f"{'if' if flags & IF else 'unless'} → {target}"
        if wants == "GATE":
            return f"gate {operand:<49} {jump}"
        modifier = next((" " + word for word, flag in MODIFIERS.items() if flags & flag), "")
        which = "any " * bool(flags & ANY) + "all " * bool(flags & ALL)
        words = f"{which}s{slot} {name}{modifier} {self._operand(wants, flags, operand)}".rstrip()
        return f"{words:<54} {jump}" + (f"  memo {memo}" if memo else "")

    def _operand(self, wants: str, flags: int, operand: int) -> str:
        if flags & OTHER:
            return f"s{operand}"
        if any(flags & flag for flag in MODIFIERS.values()):
            return self._list(operand, "pattern " * (wants == "PATTERN"))
        if wants == "NONE":
            return ""
        if wants == "VALUE":
            return self._value(operand)
        return f"pattern {operand}" if wants == "PATTERN" else self._list(operand)

    def _list(self, number: int, prefix: str = "") -> str:
        first, count, form = LIST_ROW.unpack_from(self._tables[_LISTS], number * LIST_ROW.size)
        items = ", ".join(prefix + self._value(first + i) for i in range(count))
        return f"({items})" if _FORM_NAMES[form] in ("plain", "set") else f"{_FORM_NAMES[form]} ({items})"

    def _value(self, number: int) -> str:
        kind, size, bits = VALUE.unpack_from(self._tables[_VALUES], number * VALUE.size)
        text = self._tables[_TEXT][bits : bits + size] if kind >= schema.KINDS["str"] else b""
        if kind == schema.KINDS["bool"]:
            return "true" if bits else "false"
        if kind == schema.KINDS["i64"]:
            return str(bits - (bits >> 63 << 64))
        if kind == schema.KINDS["f64"]:
            return repr(struct.unpack("<d", struct.pack("<Q", bits))[0])
        if kind == schema.KINDS["ip"]:
            return str(ip_address(text))
        if kind == schema.KINDS["net"]:
            return f"{ip_address(text[: size // 2])}/{ip_address(text[size // 2 :])}"
        return str(bits) if kind == schema.KINDS["u64"] else _quoted(text)


def _quoted(text: bytes) -> str:
    """Text in double quotes, on one line; what isn't UTF-8 or can't be printed as \\xHH."""
    return '"' + "".join(c if c.isprintable() and c not in '"\\' else "".join(f"\\x{b:02x}" for b in c.encode("utf-8", "surrogateescape"))
                         for c in text.decode("utf-8", "surrogateescape")) + '"'
