# SPDX-License-Identifier: Apache-2.0
"""The verifier: what isn't a program, or could leave its tables or run for ever, is refused, and the text tells why."""

import dataclasses
import random
import struct
from ipaddress import ip_network

import pytest

from falcolib import ProgramError
from falcolib.compiler import Program, compile_rules
from falcolib.compiler.tables import HEADER, INPUT, INSTR, LIST_ROW, RANGE, SLOT, VALUE, opcodes
from machine import Machine, all_of, any_of, call, cond, field, no, rule

U16 = struct.Struct("<H")
ROWS = {
    "values": VALUE,
    "lists": LIST_ROW,
    "inputs": INPUT,
    "slots": SLOT,
    "patterns": None,
    "memos": None,
    "code": INSTR,
    "gates": RANGE,
    "sections": RANGE,
    "types": U16,
    "rules": RANGE,
    "outputs": U16,
    "text": struct.Struct("<B"),
}
OPENED = any_of(cond("fd.name", "pmatch", "/etc", "/usr/*/x"), cond("fd.name", "contains", "secret"), cond("proc.name", "regex", "a+"))


@pytest.fixture(scope="module")
def program() -> Program:
    """A program with something in each table; gate 0 and a remembered test among it."""
    shared, name = any_of(OPENED, all_of(cond("proc.pid", ">", 1), cond("proc.aname", "in", "a", "b"))), call("tolower", field("proc.name"))
    rules = []
    for i in range(3):
        both = all_of(any_of(no(shared), cond("proc.pid", "=", i)), any_of(shared, cond("proc.ppid", "=", i)))
        rules.append(rule(f"r{i}", both, output=("proc.name",)))
    word = cond("evt.args", "contains", "x")
    rules.append(rule("remembers", all_of(any_of(word, cond("proc.pid", "=", 1)), any_of(no(word), cond("proc.pid", "=", 2)))))
    rules.append(rule("s", all_of(cond(name, "startswith", "a", "b", modifier="anyof"), cond("fd.cnet", "=", ip_network("10.0.0.0/8")))))
    return compile_rules(rules)


def places(code: bytes) -> dict[str, tuple[int, int]]:
    """Where each table begins, and how many rows it has."""
    counts, at, found = HEADER.unpack_from(code)[5:18], HEADER.size, {}
    for (name, row), count in zip(ROWS.items(), counts, strict=True):
        found[name] = at, count
        size = count * row.size if row else 0
        at += size + -size % 8
    return found


def changed(program: Program, table: str, number: int, column: int, value: int) -> Program:
    """The program with one value of one row of a table changed."""
    row, code = ROWS[table], bytearray(program.code)
    assert row is not None
    at = places(program.code)[table][0] + number * row.size
    values = list(row.unpack_from(code, at))
    values[column] = value
    row.pack_into(code, at, *values)
    return dataclasses.replace(program, code=bytes(code))


def instructions(program: Program) -> list[tuple[int, ...]]:
    at, count = places(program.code)["code"]
    return [INSTR.unpack_from(program.code, at + i * INSTR.size) for i in range(count)]


def first(program: Program, mnemonic: str) -> int:
    """The number of the first instruction of a kind."""
    return next(i for i, instruction in enumerate(instructions(program)) if instruction[0] == opcodes()[mnemonic][0])


def refusal(program: Program) -> str:
    with pytest.raises(ProgramError) as raised:
        _ = program.handle
    return str(raised.value)


def test_what_the_compiler_makes_is_accepted(program: Program) -> None:
    assert Machine(program).run({"proc.pid": 7, "fd.name": "/etc/x"}) == []
    assert "gate 0:" in program.disassemble()
    assert " memo " in program.disassemble()


class TestHeaders:
    def test_no_program_at_all(self, program: Program) -> None:
        for code in (b"", b"FALCOPRG", bytes(1000), program.code[:-8], program.code + bytes(8)):
            refusal(dataclasses.replace(program, code=code))

    def test_another_schema(self, program: Program) -> None:
        assert "compile it again" in refusal(dataclasses.replace(program, code=program.code[:16] + bytes(8) + program.code[24:]))

    def test_another_version(self, program: Program) -> None:
        assert "version" in refusal(dataclasses.replace(program, code=program.code[:8] + b"\xff" + program.code[9:]))

    @pytest.mark.parametrize("table", [table for table in ROWS if table != "patterns"])
    def test_tables_of_absurd_sizes(self, program: Program, table: str) -> None:
        at = 32 + 4 * list(ROWS).index(table)
        refusal(dataclasses.replace(program, code=program.code[:at] + b"\xff\xff\xff\xff" + program.code[at + 4 :]))


class TestTables:
    def test_constants(self, program: Program) -> None:
        count = places(program.code)["values"][1]
        texts = [i for i in range(count) if VALUE.unpack_from(program.code, places(program.code)["values"][0] + i * VALUE.size)[0] == 5]
        assert "kind" in refusal(changed(program, "values", 0, 0, 0))
        assert "outside the text" in refusal(changed(program, "values", texts[0], 2, 1 << 40))
        assert "outside the text" in refusal(changed(program, "values", texts[0], 1, 0xFFFFFFFF))

    def test_lists(self, program: Program) -> None:
        assert "outside the constants" in refusal(changed(program, "lists", 0, 1, 10_000))
        assert "outside the constants" in refusal(changed(program, "lists", 1, 0, 0))
        assert "outside the constants" in refusal(changed(program, "lists", 0, 2, 99))

    def test_slots(self, program: Program) -> None:
        transformer = next(i for i, slot in enumerate(program.slots) if str(slot).startswith("tolower"))
        for column, value in ((0, 0), (0, 9), (2, 0xFFFF), (7, 1 << 30), (8, 1 << 30)):
            assert "slot 0" in refusal(changed(program, "slots", 0, column, value))
        for column, value in ((1, opcodes()["stop"][0] + 1), (1, 255), (9, 99), (10, 99)):
            assert f"slot {transformer}" in refusal(changed(program, "slots", transformer, column, value))

    def test_a_transformer_of_itself(self, program: Program) -> None:
        transformer = next(i for i, slot in enumerate(program.slots) if str(slot).startswith("tolower"))
        assert f"slot {transformer}" in refusal(changed(program, "inputs", 0, 1, transformer))

    def test_sections_types_rules_and_outputs(self, program: Program) -> None:
        assert "outside the code" in refusal(changed(program, "sections", 0, 1, 1 << 31))
        assert "outside the code" in refusal(changed(program, "sections", 0, 1, 0))
        refusal(changed(program, "sections", 0, 1, 1))
        assert "event type 3" in refusal(changed(program, "types", 3, 0, 9))
        assert "rule 0" in refusal(changed(program, "rules", 0, 1, 99))
        assert "output 0" in refusal(changed(program, "outputs", 0, 0, 999))


class TestCode:
    def test_jumps_go_forward_and_stay_inside(self, program: Program) -> None:
        at = first(program, "regex")
        for target in (0, at, 1 << 31):
            assert f"instruction {at}" in refusal(changed(program, "code", at, 4, target))

    def test_operands_are_there_and_of_the_kind_that_the_opcode_tests(self, program: Program) -> None:
        for mnemonic in ("regex", "contains", "pmatch", "gt.i", "eq.n", "eq.net", "startswith.any", "rule", "gate"):
            at = first(program, mnemonic)
            assert f"instruction {at}" in refusal(changed(program, "code", at, 3, 1 << 20)), mnemonic
        at = first(program, "gt.i")
        assert f"instruction {at}" in refusal(changed(program, "code", at, 2, instructions(program)[first(program, "contains")][2]))
        assert f"instruction {at}" in refusal(changed(program, "code", at, 2, 0xFFFF))
        for op in (255, opcodes()["len"][0], opcodes()["gt.f"][0], opcodes()["in.n"][0]):
            assert f"instruction {at}" in refusal(changed(program, "code", at, 0, op))

    def test_slots_of_several_values_are_tested_element_by_element(self, program: Program) -> None:
        at = first(program, "in.s")
        assert f"instruction {at}" in refusal(changed(program, "code", at, 1, 0))

    def test_one_kind_of_operand_and_of_quantifier(self, program: Program) -> None:
        at = first(program, "contains")
        for flags in (0b110, 0b11000, 0b1001000):
            assert f"instruction {at}" in refusal(changed(program, "code", at, 1, flags))

    def test_outcomes_are_remembered_behind_those_of_gates(self, program: Program) -> None:
        at = first(program, "contains")
        for memo in (1, 1 << 30):
            assert f"instruction {at}" in refusal(changed(program, "code", at, 5, memo))

    def test_gates_end_as_gates_and_sections_as_sections(self, program: Program) -> None:
        for mnemonic, other in (("true", "stop"), ("stop", "true")):
            at = first(program, mnemonic)
            refusal(changed(program, "code", at, 0, opcodes()[other][0]))

    def test_a_gate_that_uses_itself(self, program: Program) -> None:
        gate = first(program, "regex")
        code = changed(program, "code", gate, 0, opcodes()["gate"][0])
        assert f"instruction {gate}" in refusal(changed(code, "code", gate, 3, 0))


def test_no_damage_crashes_the_machine(program: Program) -> None:
    """Programs with some bytes changed are refused, or run to an end."""
    chance = random.Random(1)
    values = {"proc.name": "aa", "fd.name": "/etc/x", "proc.pid": 3, "proc.aname": ["a", "c"]}
    accepted = 0
    for _ in range(1500):
        code = bytearray(program.code)
        for _ in range(chance.randint(1, 3)):
            code[chance.randrange(HEADER.size, len(code))] = chance.choice((0, 1, 2, 0xFF, chance.randrange(256)))
        damaged = dataclasses.replace(program, code=bytes(code))
        try:
            machine = Machine(damaged)
        except ProgramError:
            continue
        accepted += 1
        machine.run(values)
    assert 0 < accepted < 1500
