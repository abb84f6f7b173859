# SPDX-License-Identifier: Apache-2.0
"""What the compiler makes of rules: what it folds, shares, orders and captures. Programs are compared as text (docs/vm.md).

After a change of the notation: UPDATE_GOLDEN=1 pytest tests/test_compiler.py, and read the difference.
"""

import os
import pathlib
import pickle
import re

import pytest

from falcolib import RuleSet, schema
from falcolib.compiler import compile_rules
from falcolib.rules.ast import Checked
from machine import all_of, any_of, call, cond, field, no, rule

GOLDEN = pathlib.Path(__file__).parent / "golden"

MACROS = """
- macro: open_write
  condition: evt.type in (open, openat, openat2) and evt.is_open_write=true and fd.typechar='f' and fd.num>=0
- macro: package_manager
  condition: proc.name in (apt, dpkg) or proc.aname in (apt, dpkg)
- macro: never_true
  condition: evt.num=0
- list: shells
  items: [bash, sh]
- rule: Write below etc
  desc: d
  condition: open_write and fd.name startswith /etc/ and not package_manager and not never_true
  output: "%proc.name wrote %fd.name"
  priority: WARNING
- rule: Write below bin
  desc: d
  condition: open_write and (fd.name startswith /bin or fd.name startswith /sbin or fd.name = /init) and not package_manager
  output: "%fd.name %user.name"
  priority: WARNING
- rule: Shell
  desc: d
  condition: evt.type in (execve, execveat) and evt.dir=< and proc.name in (shells) and proc.pname regex "a+b"
  output: "%proc.cmdline"
  priority: NOTICE
"""


def code(condition: Checked, event: str = "OPENAT_2_X", *, optimise: bool = True) -> str:
    """The instructions of a condition on an event type, without numbers; targets are counted from the first. Empty: no section."""
    text = compile_rules([rule("r", condition, event)], optimise=optimise).disassemble()
    found = re.findall(r"^ +\d+  (.*)$", text, re.MULTILINE)
    return "\n".join(" ".join(line.split()) for line in found)


def registers(condition: Checked) -> list[str]:
    return [str(slot) for slot in compile_rules([rule("r", condition)]).slots]


@pytest.mark.parametrize("optimise", [True, False])
def test_the_program_of_some_rules(optimise: bool) -> None:
    program = compile_rules(RuleSet.parse(MACROS).rules, optimise=optimise)
    golden = GOLDEN / ("rules.optimised.txt" if optimise else "rules.plain.txt")
    if os.environ.get("UPDATE_GOLDEN"):
        golden.write_text(program.disassemble())
    assert program.disassemble() == golden.read_text()


class TestPrograms:
    def test_equal_rules_make_equal_programs(self) -> None:
        first, second = (compile_rules(RuleSet.parse(MACROS).rules) for _ in range(2))
        assert first == second
        assert first.hash == second.hash
        assert first.hash != compile_rules(RuleSet.parse(MACROS).rules[:1]).hash

    def test_pickled(self) -> None:
        program = compile_rules(RuleSet.parse(MACROS).rules)
        _ = program.handle, program.hash
        copy = pickle.loads(pickle.dumps(program))
        assert copy == program
        assert copy.disassemble() == program.disassemble()

    def test_outputs_are_captured_once(self) -> None:
        program = compile_rules(
            [rule("r", all_of(), output=("fd.name", "proc.name", "fd.name")), rule("s", all_of(), output=("proc.name",))]
        )
        assert program.outputs == ((0, 1), (1,))
        assert [str(slot) for slot in program.slots] == ["fd.name", "proc.name"]

    def test_disabled_rules_keep_their_number_and_cost_nothing(self) -> None:
        program = compile_rules([rule("off", cond("proc.name", "=", "a"), output=("fd.name",), enabled=False), rule("on", all_of())])
        assert program.slots == ()
        assert "rule 1\n" in program.disassemble()

    def test_no_rules(self) -> None:
        assert "section" not in compile_rules([]).disassemble()

    def test_enter_events_have_no_section(self) -> None:
        types = [event.code for event in schema.EVENTS]
        line = next(x for x in compile_rules([rule("r", all_of(), *types)]).disassemble().splitlines() if x.startswith("section"))
        assert {"OPENAT_2_X", "PROCEXIT_1_E", "GENERIC_X"} <= set(line.split())
        assert not {"OPENAT_2_E", "CONNECT_E", "GENERIC_E"} & set(line.split())


class TestFolding:
    def test_the_type_decides_tests_of_its_name(self) -> None:
        for test in (cond("evt.type", "=", "openat"), cond("evt.type", "in", "open", "openat"), cond("evt.type", "!=", "close")):
            assert code(test) == "rule 0\nstop"
            assert code(no(test)) == ""
        assert code(cond("evt.type", "startswith", "open")) == "rule 0\nstop"

    def test_syscall_type_is_absent_for_other_events(self) -> None:
        assert code(cond("syscall.type", "=", "openat")) == "rule 0\nstop"
        assert code(cond("syscall.type", "!=", "openat"), "PROCEXIT_1_E") == ""

    def test_generic_events_carry_their_name(self) -> None:
        assert "eq.s" in code(cond("evt.type", "=", "uname"), "GENERIC_X")

    def test_other_fields_that_the_type_decides(self) -> None:
        assert code(cond("evt.dir", "=", "<")) == "rule 0\nstop"
        assert code(cond("evt.type.is.openat", "=", 1)) == "rule 0\nstop"
        assert code(cond("evt.is_open_write", "=", True), "CLOSE_X") == ""
        assert code(cond("evt.is_open_write", "=", False), "CLOSE_X") == "rule 0\nstop"
        assert "eq.n" in code(cond("evt.is_open_write", "=", True))
        assert "eq.n" in code(cond("evt.is_open_exec", "=", True), "CREAT_X")

    def test_placeholders_on_the_number_of_the_event_which_counts_from_1(self) -> None:
        for never in (cond("evt.num", "=", 0), cond("evt.num", "<", 1), cond("evt.num", "in", 0), cond("evt.num", "<=", 0)):
            assert code(never) == ""
            assert code(no(never)) == "rule 0\nstop"
        assert code(cond("evt.num", ">", 0)) == "rule 0\nstop"
        assert "eq.n" in code(cond("evt.num", "=", 1))

    def test_what_is_known_simplifies_what_is_around(self) -> None:
        name = cond("proc.name", "=", "a")
        alone = code(name)
        assert code(all_of(name, cond("evt.type", "=", "openat"))) == alone
        assert code(any_of(name, cond("evt.num", "=", 0))) == alone
        assert code(any_of(name, cond("evt.type", "=", "openat"))) == "rule 0\nstop"
        assert code(no(no(name))) == alone
        assert code(all_of(name, no(name))) == ""

    def test_types_that_differ_in_nothing_share_a_section(self) -> None:
        text = compile_rules([rule("r", cond("evt.type", "in", "open", "openat"), "OPEN_X", "OPENAT_2_X")]).disassemble()
        assert "section 0: OPEN_X OPENAT_2_X" in text
        assert "section 1" not in text

    def test_without_optimisation_nothing_folds(self) -> None:
        assert "eq.s" in code(cond("evt.type", "=", "openat"), optimise=False)


class TestSharing:
    def test_alternatives_of_one_field_become_one_test(self) -> None:
        names = [cond("proc.name", "=", "a"), cond("proc.name", "in", "c", "b"), cond("proc.name", "=", "a")]
        assert 'in.s ("a", "b", "c")' in code(any_of(*names))
        prefixes = [cond("fd.name", "startswith", "/b"), cond("fd.name", "startswith", "/a")]
        assert 'startswith.any prefixes ("/a", "/b")' in code(any_of(*prefixes))
        suffixes = [cond("fd.name", "endswith", "b"), cond("fd.name", "endswith", "a", "c", modifier="anyof")]
        assert 'endswith.any suffixes ("a", "b", "c")' in code(any_of(*suffixes))
        paths = [cond("fd.name", "pmatch", "/b"), cond("fd.name", "pmatch", "/a", "/c")]
        assert 'pmatch paths ("/a", "/b", "/c")' in code(any_of(*paths))

    def test_but_not_where_all_elements_must_be_in_one_list(self) -> None:
        assert code(any_of(cond("fd.types", "in", "a"), cond("fd.types", "in", "b"))).count("in.s") == 2

    def test_tests_that_mean_the_same_are_one(self) -> None:
        once = code(cond("proc.name", "in", "a", "b"))
        for same in (
            cond("proc.name", "in", "b", "a", "b"),
            cond("proc.name", "=", "a", "b", modifier="anyof"),
            cond("proc.name", "intersects", "a", "b"),
        ):
            assert code(same) == once
        assert code(cond("proc.name", "in", "a")) == code(cond("proc.name", "=", "a"))

    def test_a_conjunct_of_several_rules_stands_in_front_of_them_once(self) -> None:
        common = cond("fd.name", "startswith", "/etc")
        text = compile_rules([rule(str(i), all_of(cond("proc.pid", "=", i), common)) for i in range(5)]).disassemble()
        assert text.count("/etc") == 1
        assert text.index("/etc") < text.index("eq.n")

    def test_a_condition_used_in_several_places_is_a_gate(self) -> None:
        common = all_of(cond("proc.name", "=", "a"), cond("fd.name", "startswith", "/etc"))
        rules = [rule(str(i), any_of(cond("proc.pid", "=", i), common)) for i in range(3)]
        text = compile_rules(rules).disassemble()
        assert text.count("/etc") == 1
        assert text.count("  gate 0 ") == 3

    def test_a_costly_test_used_in_several_places_is_remembered_also_negated(self) -> None:
        word = cond("proc.cmdline", "contains", "x")
        rules = [rule("0", any_of(word, cond("proc.pid", "=", 1))), rule("1", any_of(no(word), cond("proc.pid", "=", 2)))]
        assert compile_rules(rules).disassemble().count("memo 1") == 2

    def test_cheap_tests_come_first_and_negations_last(self) -> None:
        parts = [no(cond("proc.name", "=", "a")), cond("proc.cmdline", "regex", ".*x"), cond("fd.name", "startswith", "/etc")]
        lines = code(all_of(*parts)).splitlines()
        assert ["startswith" in lines[0], "eq.s" in lines[1], "regex" in lines[2]] == [True, True, True]

    def test_without_optimisation_each_rule_is_tested_as_it_is_written(self) -> None:
        parts = [no(cond("proc.name", "=", "a")), cond("proc.cmdline", "regex", ".*x"), cond("fd.name", "startswith", "/etc")]
        lines = code(all_of(*parts), optimise=False).splitlines()
        assert ["eq.s" in lines[0], "regex" in lines[1], "startswith" in lines[2]] == [True, True, True]


class TestRegisters:
    def test_a_field_is_one_register_however_often_it_is_tested(self) -> None:
        assert registers(all_of(cond("proc.name", "=", "a"), cond("proc.name", "!=", "b"))) == ["proc.name"]
        assert len(registers(all_of(cond("proc.aname[1]", "=", "a"), cond("proc.aname[2]", "=", "a")))) == 2

    def test_a_transformer_comes_after_what_it_reads(self) -> None:
        slot = call("concat", call("tolower", field("proc.name")), "x", field("fd.name"))
        assert registers(cond(slot, "=", "a")) == ["proc.name", "tolower(proc.name)", "fd.name", str(slot)]
