# SPDX-License-Identifier: Apache-2.0
"""Output formats: which text is a field, and what append_output adds."""

import pytest

from falcolib import Engine, RuleError, RuleSet
from falcolib.rules import AppendOutput, read_append_output
from falcolib.rules.ast import OutputToken
from falcolib.rules.output import OutputError, parse_output, suggested_output

RULE = "- {rule: R, desc: d, condition: evt.type=open, output: %s, priority: INFO, tags: [a, b]}\n"


def tokens(text: str) -> list[str | tuple[str, str, int | None]]:
    """Texts, and of fields the slot, the text and the width."""
    return [(str(t.slot), t.text, t.width) if isinstance(t, OutputToken) else t for t in parse_output(text)]


class TestFormats:
    @pytest.mark.parametrize(("text", "found"), [
        ("no field", ["no field"]),
        ("", []),
        ("a %proc.name b", ["a ", ("proc.name", "proc.name", None), " b"]),
        ("%proc.name%fd.num", [("proc.name", "proc.name", None), ("fd.num", "fd.num", None)]),
        ("(%proc.name)", ["(", ("proc.name", "proc.name", None), ")"]),
        ("%proc.name.", [("proc.name", "proc.name", None), "."]),
        ("%proc.names", [("proc.name", "proc.name", None), "s"]),
        ("%fd.name.x", [("fd.name", "fd.name", None), ".x"]),
        ("%evt.time.iso8601", [("evt.time.iso8601", "evt.time.iso8601", None)]),
        ("%20proc.name", [("proc.name", "proc.name", 20)]),
        ("%proc.aname[2]x", [("proc.aname[2]", "proc.aname[2]", None), "x"]),
        ("%proc.aname[2", [("proc.aname", "proc.aname", None), "[2"]),
        ('%proc.env["a b"]', [("proc.env[a b]", 'proc.env["a b"]', None)]),
        ("%proc.env['a b']", [("proc.env[a b]", 'proc.env["a b"]', None)]),
        ('%proc.aname["2"]', [("proc.aname[2]", "proc.aname[2]", None)]),
        ("%evt.arg.flags", [("evt.arg.flags", "evt.arg.flags", None)]),
        ("%toupper(proc.name)!", [("toupper(proc.name)", "toupper(proc.name)", None), "!"]),
        ("%toupper(proc.name)[%fd.num]", [("toupper(proc.name)", "toupper(proc.name)", None), "[", ("fd.num", "fd.num", None), "]"]),
        ("%toupper(proc.name)[ x", [("toupper(proc.name)", "toupper(proc.name)", None), "[ x"]),
        ("%fd.types", [("fd.types", "fd.types", None)]),
        ("%evt.outputtime", [("evt.outputtime", "evt.outputtime", None)]),
    ])
    def test_a_field_is_the_longest_text_that_names_one(self, text: str, found: list[object]) -> None:
        assert tokens(text) == found

    @pytest.mark.parametrize("text", ["%", "100%", "%%", "% x", "%nosuch", "%no.such", "%toupper(no.such)", "%toupper(proc.name",
        "%evt.arg"])
    def test_what_is_no_field_is_refused(self, text: str) -> None:
        with pytest.raises(OutputError):
            parse_output(text)

    def test_the_rule_is_then_refused_at_the_place_of_the_field(self) -> None:
        with pytest.raises(RuleError, match=r"^f:1:61: unknown filter: proc\.nam\n") as e:
            RuleSet.parse(RULE % "'by %proc.nam'", name="f")
        assert e.value.code == "LOAD_ERR_COMPILE_OUTPUT"
        assert "did you mean proc.name?" in str(e.value)

    @pytest.mark.parametrize(("output", "source", "says"), [
        ("%evt.type", "k8s_audit", "evt.type: events of the source k8s_audit don't have it, those of syscall do"),
        ("%json.value", "k8s_audit", "json.value: field 'json.value' needs an argument: json.value[NAME]"),
        ("%proc.name[2]", "k8s_audit", "proc.name[2]: field 'proc.name' takes no argument in brackets"),
        ("%json.value[]", "syscall", "json.value: events of the source syscall don't have it, those of k8s_audit do"),
    ])
    def test_why_a_field_that_there_is_cant_be_used_is_told(self, output: str, source: str, says: str) -> None:
        with pytest.raises(OutputError) as e:
            parse_output(output, source)
        assert (e.value.message, e.value.hint) == (f"unknown filter: {says}", None)

    def test_or_skipped_if_it_says_so(self) -> None:
        rules = RuleSet.parse(RULE.replace("tags:", "skip-if-unknown-filter: true, tags:") % "'%no.such'")
        assert [w.code for w in rules.warnings] == ["LOAD_UNKNOWN_FILTER"]

    def test_container_info_is_left_out(self) -> None:
        rules = RuleSet.parse(RULE % "'x %container.info y'")
        assert rules.rules[0].output == ("x  y",)
        assert [w.code for w in rules.warnings] == ["LOAD_DEPRECATED_ITEM"]


class TestAppendOutput:
    RULES = RuleSet.parse(RULE % "o")

    def appended(self, entry: dict[str, object]) -> RuleSet:
        return self.RULES.append_output(read_append_output([entry]))

    def text(self, entry: dict[str, object]) -> str:
        return "".join(t if isinstance(t, str) else f"%{t.text}" for t in self.appended(entry).rules[0].output)

    def test_nothing_is_appended_unless_asked(self) -> None:
        assert self.RULES.rules[0].output == ("o",)

    def test_extra_output_goes_to_the_end(self) -> None:
        assert self.text({"extra_output": "by %proc.name"}) == "o by %proc.name"

    @pytest.mark.parametrize(("match", "fits"), [
        ({}, True), ({"rule": "R"}, True), ({"rule": "r"}, False), ({"source": "syscall"}, True), ({"source": "k8s_audit"}, False),
        ({"tags": ["a"]}, True), ({"tags": ["a", "b"]}, True), ({"tags": ["a", "c"]}, False), ({"rule": "R", "tags": ["c"]}, False),
    ])
    def test_where_all_of_match_fits(self, match: dict[str, object], fits: bool) -> None:
        assert self.text({"match": match, "extra_output": "x"}) == ("o x" if fits else "o")

    def test_suggested_output_names_the_fields_made_for_it(self) -> None:
        assert self.text({"suggested_output": True}) == f"o {suggested_output('syscall')}"
        assert suggested_output("syscall").startswith("container_id=%container.id container_name=%container.name ")

    def test_extra_fields_are_raw_or_formatted(self) -> None:
        (entry,) = read_append_output([{"extra_fields": ["fd.num", {"who": "%user.name!"}]}])
        assert entry == AppendOutput(extra_fields=(("fd.num", "%fd.num", True), ("who", "%user.name!", False)))
        assert [(e.name, e.raw) for e in self.RULES.append_output([entry]).rules[0].extra_fields] == [("fd.num", True), ("who", False)]

    def test_raw_ones_are_native_and_formats_are_text_of_which_nothing_else_is_told(self) -> None:
        added = ["proc.pid", "user.name", {"pid": "%proc.pid"}, {"user": "%user.name"}, {"up": "<%toupper(proc.name)>"},
                 {"fd.num": "%fd.num"}]
        event = {"evt.type": "open", "proc.name": "cat", "proc.pid": 7, "fd.num": 3}
        rules = RuleSet.parse(RULE % "'%toupper(proc.exepath)'").append_output(read_append_output([{"extra_fields": added}]))
        alert, = Engine(rules).run([event])
        assert {name: value for name, value in alert.as_dict()["output_fields"].items() if name != "evt.time"} == {
            "proc.exepath": None, "proc.pid": 7, "user.name": None, "pid": "7", "user": "<NA>", "up": "<CAT>", "fd.num": "3"}

    def test_a_wrong_field_is_refused(self) -> None:
        with pytest.raises(RuleError, match=r"did you mean proc\.name"):
            self.appended({"extra_output": "%proc.nam"})

    @pytest.mark.parametrize("entry", [{"match": "x"}, {"match": {"tags": "x"}}, {"extra_fields": "x"}])
    def test_an_entry_that_makes_no_sense(self, entry: dict[str, object]) -> None:
        with pytest.raises(ValueError, match="append_output"):
            read_append_output([entry])
