# SPDX-License-Identifier: Apache-2.0
"""What conditions mean: exceptions, lists and macros put in; fields, operators and literals checked; event types told."""

import ipaddress
import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from falcolib import RuleError, RuleSet, schema, validate_text
from falcolib.rules import expand
from falcolib.rules.ast import Check, FieldSlot, TransformSlot
from falcolib.rules.check import checks_of


def text_of(condition: str, before: str = "", **keys: object) -> str:
    item = {"rule": "R", "desc": "d", "condition": condition, "output": "o", "priority": "INFO", **keys}
    return before + f"- {json.dumps(item)}\n"


def checks(condition: str, before: str = "", **keys: object) -> list[Check]:
    return list(checks_of(RuleSet.parse(text_of(condition, before, **keys)).rules[0].condition))


def shown(condition: str, before: str = "", **keys: object) -> list[str]:
    return [" ".join(filter(None, [str(c.slot), c.op, c.modifier, ",".join(map(str, c.values)), str(c.other or "")]))
            for c in checks(condition, before, **keys)]


def one(condition: str) -> Check:
    (check,) = checks(condition)
    return check


def refused(condition: str, before: str = "", **keys: object) -> str:
    with pytest.raises(RuleError) as e:
        RuleSet.parse(text_of(condition, before, **keys))
    return str(e.value).splitlines()[0].split(": ", 1)[1]


def warned(condition: str, before: str = "", **keys: object) -> list[str]:
    return [w.code for w in RuleSet.parse(text_of(condition, before, **keys)).warnings]


def events(condition: str) -> frozenset[int]:
    return RuleSet.parse(text_of(condition)).rules[0].events


class TestLists:
    def test_items_are_put_in_as_text(self) -> None:
        assert shown("proc.name in (a, l, b)", "- {list: l, items: [x, y z]}\n") == ["proc.name in a,x,y z,b"]

    @pytest.mark.parametrize("condition", ["proc.name in (l)", "proc.name in ( l )", "proc.name in (l,c)", "proc.name in (a,l)",
        "proc.name in l"])
    def test_a_name_stands_between_blanks_parentheses_commas_and_equals_signs(self, condition: str) -> None:
        if condition.endswith(" l"):
            assert refused(condition, "- {list: l, items: [x, y]}\n")       # becomes "in x, y"
        else:
            assert "x,y" in shown(condition, "- {list: l, items: [x, y]}\n")[0]

    def test_a_part_of_a_word_is_no_name(self) -> None:
        assert shown("proc.name in (l2, my_l)", "- {list: l, items: [x]}\n") == ["proc.name in l2,my_l"]

    def test_quotes_do_not_protect_a_name(self) -> None:
        """An oddity of Falco's."""
        assert shown('proc.name = "a l b"', "- {list: l, items: [x]}\n") == ["proc.name = a x b"]

    @pytest.mark.parametrize(("condition", "items"), [("proc.name in (a, l)", "a"), ("proc.name in (l, a)", "a"),
        ("proc.name in (l)", "")])
    def test_an_empty_list_takes_a_comma_with_it(self, condition: str, items: str) -> None:
        assert shown(condition, "- {list: l, items: []}\n") == [f"proc.name in {items}".strip()]

    def test_lists_of_lists_defined_before(self) -> None:
        before = "- {list: a, items: [x]}\n- {list: b, items: [a, y]}\n"
        assert shown("proc.name in (b)", before) == ["proc.name in x,y"]

    def test_a_list_defined_after_is_only_a_word_inside_a_list(self) -> None:
        before = "- {list: b, items: [c]}\n- {list: a, items: [b]}\n- {list: b, items: [x]}\n"
        assert shown("proc.name in (a)", before) == ["proc.name in x"]

    def test_doubling_lists_are_refused(self) -> None:
        before = "".join(f"- {{list: l{i}, items: [l{i + 1}, l{i + 1}]}}\n" for i in range(40))
        assert "longer than" in refused("proc.name in (l0)", before)

    def test_every_list_nobody_refers_to_is_warned_of(self) -> None:
        assert warned("proc.name in (a) and evt.type=open", "- {list: a, items: [x]}\n- {list: b, items: [x]}\n") == ["LOAD_UNUSED_LIST"]

    @given(st.text("al ,()=\n\"", max_size=14), st.lists(st.sampled_from(["", "x", "y z", '"q w"', "l", "a,b"]), max_size=3))
    def test_substitution_is_falcos_to_the_last_blank(self, text: str, items: list[str]) -> None:
        expansion = expand.Expansion(text)
        first = next((i for i, item in enumerate(items) if item), len(items) - 1)
        joined = ", ".join(expand._quoted(i) for i in items[first:]) if items else ""
        assert (expand._substitute(expansion, "l", joined, expand.MAX_TEXT), expansion.text) == substituted(text, "l", items)
        assert all(0 <= expansion.origin(i) <= len(text) for i in range(len(expansion.text)))


def substituted(text: str, name: str, items: list[str]) -> tuple[bool, str]:
    """A4 of the specification, step by step."""
    blanks, delimiters = " \t\n\r", " \t\n\r(),="
    used, start = False, text.find(name)
    while start >= 0:
        end = start + len(name)
        if (start == 0 or text[start - 1] in delimiters) and (end >= len(text) or text[end] in delimiters):
            while start > 0 and text[start - 1] in blanks:
                start -= 1
            while end < len(text) and text[end] in blanks:
                end += 1
            new = ""
            for item in items:
                new += (", " if new else "") + (f'"{item}"' if " " in item and item[0] not in "\"'" else item)
            if not new and start > 0 and text[start - 1] == ",":
                start -= 1
            elif not new and end < len(text) and text[end] == ",":
                end += 1
            text = (text[:start] + " " if start > 0 else "") + new + " " + text[end:]
            start += len(new) + 1
            used = True
        start = text.find(name, start + 1)
    return used, text


class TestMacros:
    def test_are_put_in_as_trees(self) -> None:
        rule = RuleSet.parse(text_of("m and proc.name=c", "- {macro: m, condition: evt.type=open or evt.type=close}\n")).rules[0]
        assert [c.op for c in checks_of(rule.condition)] == ["=", "=", "="]
        assert events("proc.name=c and evt.type=open") < rule.events

    def test_tests_tell_the_macros_they_came_through_and_their_place(self) -> None:
        before = "- macro: inner\n  condition: evt.type=open\n- macro: outer\n  condition: inner and proc.name=a\n"
        found = checks("outer and fd.num=1", before)
        assert [(c.via, c.at.line, c.at.column) for c in found] == [(("outer", "inner"), 1, 13), (("outer",), 3, 23), ((), 4, 53)]

    def test_a_macro_sees_those_defined_before_it_was_last_changed(self) -> None:
        assert "Undefined macro 'b'" in refused("a", "- {macro: a, condition: b}\n- {macro: b, condition: evt.type=open}\n")
        redefined = "- {macro: a, condition: evt.type=open}\n- {macro: b, condition: evt.type=close}\n- {macro: a, condition: b}\n"
        assert shown("a", redefined) == ["evt.type = close"]

    def test_a_rule_sees_all(self) -> None:
        assert RuleSet.parse(text_of("m") + "- {macro: m, condition: evt.type=open}\n").rules[0].events == events("evt.type=open")

    def test_loops_are_refused(self) -> None:
        loop = "- {macro: a, condition: evt.type=open}\n- {macro: b, condition: a}\n- {macro: a, condition: b}\n"
        assert refused("a", loop) == "reference loop in macro 'b'"
        itself = "- {macro: a, condition: evt.type=open}\n- {macro: a, condition: or a, override: {condition: append}}\n"
        assert "loop" in refused("a", itself)

    def test_doubling_macros_are_refused(self) -> None:
        doubling = "- {macro: m0, condition: fd.num=1}\n"
        doubling += "".join(f"- {{macro: m{i}, condition: m{i - 1} and m{i - 1}}}\n" for i in range(1, 50))
        assert "too large" in refused("m49", doubling)

    def test_a_long_chain_needs_no_recursion(self) -> None:
        chain = "- {macro: m0, condition: fd.num=1}\n" + "".join(f"- {{macro: m{i}, condition: not m{i - 1}}}\n" for i in range(1, 3000))
        assert len(checks("m2999", chain)) == 1

    def test_every_macro_nobody_refers_to_is_warned_of(self) -> None:
        assert warned("evt.type=open", "- {macro: m, condition: evt.type=open}\n") == ["LOAD_UNUSED_MACRO"]


class TestExceptions:
    def of(self, *exceptions: object) -> list[str]:
        return shown("evt.type=open", exceptions=list(exceptions))[1:]

    def test_one_field_is_compared_with_all_values(self) -> None:
        assert self.of({"name": "e", "fields": "proc.name", "values": ["a", "b c"]}) == ["proc.name in a,b c"]
        assert self.of({"name": "e", "fields": "fd.name", "comps": "pmatch", "values": ["/etc"]}) == ["fd.name pmatch /etc"]
        assert self.of({"name": "e", "fields": "fd.name", "comps": " startswith oneof ", "values": ["/a", "/b"]}) \
            == ["fd.name startswith oneof /a,/b"]

    def test_several_fields_are_compared_value_by_value(self) -> None:
        assert self.of({"name": "e", "fields": ["proc.name", "fd.name"], "comps": ["=", "in"], "values": [["a", ["x", "y"]], ["b",
            "z"]]}) == [
            "proc.name = a", "fd.name in x,y", "proc.name = b", "fd.name in z"]

    def test_a_field_can_be_in_transformers(self) -> None:
        assert self.of({"name": "e", "fields": ["tolower( proc.name)", "len(fd.name)"], "values": [["a", "3"]]}) \
            == ["tolower(proc.name) = a", "len(fd.name) = 3"]
        assert self.of({"name": "e", "fields": "basename(proc.exepath)", "values": ["a"]}) == ["basename(proc.exepath) in a"]

    def test_equality_is_what_several_fields_are_compared_by(self) -> None:
        assert self.of({"name": "e", "fields": ["proc.name"], "values": [["a"]]}) == ["proc.name = a"]

    def test_without_values_there_is_nothing_to_except(self) -> None:
        assert self.of({"name": "e", "fields": ["proc.name"]}) == []

    def test_nulls_are_as_if_they_were_not_given(self) -> None:
        assert self.of({"name": "e", "fields": ["proc.name"], "comps": None, "values": [["a"]]}) == ["proc.name = a"]

    def test_the_rule_matches_what_is_not_excepted(self) -> None:
        exception = {"name": "e", "fields": "proc.name", "values": ["a"]}
        rule = RuleSet.parse(text_of("evt.type=open or evt.type=close", exceptions=[exception])).rules[0]
        assert type(rule.condition).__name__ == "CheckedAnd"

    def test_values_can_name_lists(self) -> None:
        before = "- {list: l, items: [x, y]}\n"
        assert shown("evt.type=open", before, exceptions=[{"name": "e", "fields": "proc.name", "values": ["l"]}])[1] == "proc.name in x,y"

    def test_values_are_appended_to_an_exception_and_new_ones_are_complete(self) -> None:
        first = text_of("evt.type=open", exceptions=[{"name": "e", "fields": ["proc.name"], "values": [["a"]]}])
        more = ("- {rule: R, exceptions: [{name: e, values: [[b]]}, {name: f, fields: fd.name, values: [c]}], "
                "override: {exceptions: append}}")
        rule = RuleSet.parse(first + more).rules[0]
        assert [str(c.values[0]) for c in checks_of(rule.condition)] == ["open", "a", "b", "c"]

    @pytest.mark.parametrize(("exception", "code"), [
        ({"name": "e", "values": [["b"]]}, "LOAD_ERR_YAML_VALIDATE"),                                   # fields aren't optional
        ({"name": "e", "fields": ["proc.name", "fd.name"], "values": [["b", "c"]]}, "LOAD_ERR_VALIDATE"),       # no operators are put in
        ({"name": "e", "fields": ["proc.name"], "comps": "=", "values": [["b"]]}, "LOAD_ERR_VALIDATE"),
        ({"name": "e", "fields": "proc.name", "values": ["b"]}, "LOAD_ERR_COMPILE_CONDITION"),
        ({"name": "e", "fields": ["proc.nam"], "comps": ["="], "values": [["b"]]}, "LOAD_ERR_COMPILE_CONDITION"),
    ])
    def test_exceptions_that_replace_others_are_taken_as_they_are(self, exception: object, code: str) -> None:
        first = text_of("evt.type=open", exceptions=[{"name": "e", "fields": ["proc.name"], "values": [["a"]]}])
        more = json.dumps([{"rule": "R", "exceptions": [exception], "override": {"exceptions": "replace"}}])
        with pytest.raises(RuleError) as e:
            RuleSet.parse(f"{first}\n---\n{more}")
        assert e.value.code == code

    def test_exceptions_that_replace_others_may_have_no_values(self) -> None:
        first = text_of("evt.type=open", exceptions=[{"name": "e", "fields": ["proc.name"], "values": [["a"]]}])
        more = json.dumps([{"rule": "R", "exceptions": [{"name": "e", "fields": ["proc.name"]}], "override": {"exceptions": "replace"}}])
        rules = RuleSet.parse(f"{first}\n---\n{more}")
        assert isinstance(rules.rules[0].condition, Check)
        assert rules.warnings == ()

    @pytest.mark.parametrize("exception", [
        {"fields": ["proc.name"]}, {"name": "e"}, {"name": "e", "fields": ["no.such"]}, {"name": "e", "fields": ["proc.name"],
        "comps": ["like"]},
        {"name": "e", "fields": ["proc.name"], "comps": ["=", "="]}, {"name": "e", "fields": ["proc.name"], "values": [["a", "b"]]},
        {"name": "e", "fields": "proc.name", "comps": "="}, {"name": "e", "fields": "proc.name", "values": [["a"]]},
        {"name": "e", "fields": "proc.name", "comps": ["in"]}, {"name": "e", "fields": ["proc.name"], "values": "a"}, "e",
        {"name": "e", "fields": ["tolower(no.such)"]}, {"name": "e", "fields": ["tolower(proc.pid)"]},
        {"name": "e", "fields": None}, {"name": "e", "fields": ["proc.name", None]},
        {"name": "e", "fields": ["tolower("]}, {"name": "e", "fields": ["tolower(ka.verb)"]}, {"name": "e", "fields": ["(a_macro)"]},
    ])
    def test_mistakes(self, exception: object) -> None:
        assert refused("evt.type=open", exceptions=[exception])


class TestFields:
    def test_arguments(self) -> None:
        slot = one("proc.aname[2]=sh").slot
        assert isinstance(slot, FieldSlot)
        assert (slot.info.name, slot.argument and slot.argument.index, slot.is_any) == ("proc.aname", 2, False)
        assert one("proc.aname=sh").slot.is_any
        assert str(one("evt.arg.flags contains O_").slot) == "evt.arg.flags"

    @pytest.mark.parametrize("condition", [
        "proc.nobody=a", "evt.arg.nosucharg=a", "proc.name[1]=a", "proc.aname[x]=a", "evt.arg = a", "evt.type.is.nosuchcall=1",
        "evt.outputtime exists", "thread.cgroup exists", "no.such exists",
    ])
    def test_unknown_fields_and_wrong_arguments_are_refused(self, condition: str) -> None:
        assert refused(condition)

    def test_an_unknown_field_can_be_forgiven(self) -> None:
        text = text_of("proc.nobody=a", **{"skip-if-unknown-filter": True})
        rules = RuleSet.parse(text)
        assert (rules.rules, [w.code for w in rules.warnings]) == ((), ["LOAD_UNKNOWN_FILTER"])

    def test_deprecated_fields_are_warned_of(self) -> None:
        assert warned("evt.type=open and evt.dir=<") == ["LOAD_DEPRECATED_ITEM"]
        assert warned("evt.type=open and evt.latency > 1", output="%evt.dir") == ["LOAD_DEPRECATED_ITEM"] * 2
        assert warned('evt.type=open and join(",", (evt.dir, "a")) = x') == ["LOAD_DEPRECATED_ITEM"]

    def test_the_warnings_come_in_an_order_of_their_own(self) -> None:
        """Not that of the rule, nor of the table of fields."""
        text = text_of("evt.type=open", output="%evt.wait_latency %evt.latency.ns %evt.latency.s %evt.dir")
        (result,) = validate_text(text)["falco_load_results"]
        assert [w["deprecated_field"] for w in result["warnings"]] == [
            "evt.dir", "evt.latency", "evt.latency.s", "evt.latency.ns", "evt.wait_latency"]


class TestOperators:
    GOOD = (("fd.num", ["=", "!=", "<", "<=", ">", ">="], "1"), ("proc.name", ["=", "!=", "contains", "icontains", "startswith",
        "endswith", "glob",
            "iglob", "regex"], "a"), ("fd.sip", ["=", "!="], "1.2.3.4"), ("fd.snet", ["=", "!="], '"10.0.0.0/8"'), ("evt.failed",
            ["=", "!="], "true"),
        ("evt.buffer", ["=", "!=", "contains", "startswith", "endswith", "bcontains", "bstartswith"], "cafe"))
    BAD = (("fd.num", ["contains", "startswith", "glob", "regex", "bcontains"], "1"), ("proc.name", ["bcontains", "bstartswith"], "ca"),
        ("fd.sip", ["contains", "startswith", "endswith", "glob", "regex"], "::1"), ("fd.snet", ["<", ">"], "1"), ("evt.failed",
        ["<", ">"], "1"),
        ("evt.buffer", ["icontains", "glob", "iglob", "regex"], "a"), ("fd.types", ["=", "contains", "startswith"], "file"))

    @pytest.mark.parametrize(("field", "op", "value"), [(f, op, v) for f, ops, v in GOOD for op in ops])
    def test_a_type_knows_its_operators(self, field: str, op: str, value: str) -> None:
        assert one(f"{field} {op} {value}").op == op
        assert one(f"{field} exists").op == "exists"
        assert one(f"{field} in ({value})").op == "in"

    @pytest.mark.parametrize(("field", "op", "value"), [(f, op, v) for f, ops, v in BAD for op in ops])
    def test_and_no_others(self, field: str, op: str, value: str) -> None:
        assert "not supported for" in refused(f"{field} {op} {value}")

    def test_lists_of_values(self) -> None:
        assert one("fd.types in (file, ipv4)").values == ("file", "ipv4")
        assert one("fd.types = oneof (file)").modifier == "oneof"
        assert refused("fd.types contains oneof (file)")

    def test_a_bad_regular_expression_is_refused(self) -> None:
        assert "regular expression" in refused('proc.name regex "a("')


class TestLiterals:
    @pytest.mark.parametrize(("condition", "value"), [
        ("fd.num = -1", -1), ("user.uid = 4294967295", 0xFFFFFFFF), ("user.uid = -1", 0xFFFFFFFF),
        ("evt.num = 18446744073709551615", 2**64 - 1),
        ("evt.cpu = 65535", -1), ("fd.sport = 443", 443), ('fd.sport = ""', 0), ("evt.failed = true", True), ("thread.cpu > 5", 5.0),
        ("fd.sip = 10.0.0.1", ipaddress.ip_address("10.0.0.1")), ('fd.sip = "::1"', ipaddress.ip_address("::1")),
        ('fd.snet = "10.1.2.3/8"', ipaddress.ip_network("10.0.0.0/8")), ('fd.snet = "fe80::/10"', ipaddress.ip_network("fe80::/10")),
        ("evt.buffer contains é", "é".encode()), ("evt.buffer bcontains CAfe", b"\xca\xfe"), ("proc.name = 12", "12"),
    ])
    def test_are_read_as_their_fields_type(self, condition: str, value: object) -> None:
        found = one(condition).values[0]
        assert found == value
        assert type(found) is type(value)

    @pytest.mark.parametrize("condition", [
        "fd.num = x", "fd.num = 1.5", "fd.num > 0x10", "evt.failed = yes", "evt.failed = 1", "fd.sip = 1.2.3", "fd.sip = x",
        "fd.snet = 10.0.0.0",
        'fd.snet = "10.0.0.0/33"', 'fd.snet = "::/0"', 'fd.snet = "::1"', "fd.sport = no-such-service", "evt.buffer bcontains xy",
        "evt.buffer bcontains abc", "evt.type = nosuchcall", "evt.type in (open, nosuchcall)", "evt.type startswith op",
    ])
    def test_or_refused(self, condition: str) -> None:
        assert refused(condition)

    def test_texts_of_more_than_255_bytes_are_refused(self) -> None:
        assert one(f"proc.name = {'x' * 255}").values == ("x" * 255,)
        assert refused(f"proc.name = {'x' * 256}").startswith("filter parameter too long (used=257, available=256)")
        assert refused(f"proc.name = {'é' * 128}")


class TestOtherFields:
    def test_a_field_on_the_right(self) -> None:
        check = one("proc.name = val(proc.pname)")
        assert (check.values, str(check.other)) == ((), "proc.pname")
        assert isinstance(one("proc.name = tolower(proc.pname)").other, TransformSlot)

    @pytest.mark.parametrize("condition", [
        "proc.name = val(fd.num)", "fd.sip = val(proc.name)", "fd.snet = val(fd.snet)", "proc.aname = val(proc.name)",
        "proc.name = val(proc.aname)",
        "proc.name regex val(proc.pname)", "proc.name pmatch val(proc.pname)", "evt.type = val(proc.name)", "proc.name = val(no.such)",
        "fd.types in val(proc.name)",
    ])
    def test_must_be_of_the_same_type_and_comparable(self, condition: str) -> None:
        assert refused(condition)


class TestTransformers:
    @pytest.mark.parametrize(("condition", "kind", "is_list"), [
        ("tolower(proc.name) = a", "str", False), ("toupper(fd.types) in (FILE)", "str", True), ("basename(proc.exepath) = a",
        "str", False),
        ("b64(evt.buffer) contains a", "bytes", False), ("len(proc.name) > 3", "u64", False), ("len(fd.types) > 3", "u64", False),
        ("len(evt.buffer) = 0", "u64", False), ('join(",", fd.types) = a', "str", False),
        ('concat(proc.name, "-", proc.pname) = a', "str", False),
        ('getopt((proc.name, "x"), "ab:") in (a)', "str", True), ('getopt(fd.types, "a:")[a] = x', "str", False),
    ])
    def test_give_values_of_a_type(self, condition: str, kind: str, is_list: bool) -> None:
        slot = one(condition).slot
        assert isinstance(slot, TransformSlot)
        assert (slot.kind, slot.is_list) == (kind, is_list)

    @pytest.mark.parametrize("condition", [
        "tolower(fd.num) = a", "tolower(evt.buffer) = a", "toupper(fd.sip) = a", "len(fd.num) = 1", "concat(proc.name) = a",
        "tolower(proc.aname) = a",
        "concat(proc.name, fd.num) = a", 'join(",", proc.name) = a', 'getopt(proc.args, "a") = x', "tolower(proc.name, proc.pname) = a",
        "tolower(proc.name)[1] = a", "tolower(evt.type) = open", "len(proc.name) startswith 1", "tolower(no.such) = a",
    ])
    def test_take_only_what_they_can(self, condition: str) -> None:
        assert refused(condition)


class TestEventTypes:
    ALL = frozenset(range(len(schema.EVENTS)))

    @staticmethod
    def named(*names: str) -> frozenset[int]:
        return frozenset().union(*(schema.EVENT_IDS[n] for n in names))

    def test_leaves(self) -> None:
        assert events("evt.type = open") == self.named("open")
        assert events("evt.type in (open, close)") == self.named("open", "close")
        assert events("evt.type != open") == self.ALL - self.named("open")
        assert events("not evt.type = open") == self.ALL - self.named("open")
        assert events("proc.name = open") == self.ALL
        assert events("evt.type contains open") == self.ALL

    def test_what_is_in_no_list_is_of_no_event(self) -> None:
        assert events("evt.type in ()") == events("evt.num in ()") == frozenset()
        assert events("not evt.type in ()") == events("not evt.num in ()") == self.ALL
        assert warned("evt.type in (l)", "- {list: l, items: []}\n") == []

    def test_a_call_without_an_event_of_its_own_is_a_generic_event(self) -> None:
        assert events("evt.type = madvise") == {0, 1}

    def test_and_cuts_or_unites_and_negation_goes_to_the_leaves(self) -> None:
        assert events("evt.type = open and proc.name = a") == self.named("open")
        assert events("evt.type = open or evt.type = close") == self.named("open", "close")
        assert events("evt.type = open or proc.name = a") == self.ALL
        assert events("evt.type in (open, close) and evt.type != close") == self.named("open")
        assert events("not (evt.type != open or evt.type = close)") == self.named("open") - self.named("close")
        assert events("not (evt.type = open and proc.name = a)") == self.ALL

    @pytest.mark.parametrize("condition", ["evt.num = 0", "evt.num < 1", "evt.num in (0)", "not evt.num > 0", "not evt.num >= 1",
        "not evt.num != 0"])
    def test_events_count_from_1(self, condition: str) -> None:
        assert events(condition) == frozenset()
        assert events(f"evt.type = open and not ({condition})") == self.named("open")

    def test_a_rule_for_nearly_all_events_is_warned_of_if_it_wants(self) -> None:
        assert warned("proc.name = a") == ["LOAD_NO_EVTTYPE"]
        assert warned("evt.type != open") == ["LOAD_NO_EVTTYPE"]
        assert warned("proc.name = a", warn_evttypes=False) == []
        assert warned("evt.num = 0") == []


class TestAdvice:
    @pytest.mark.parametrize("pattern", ["abc", "^abc$", ".*abc", "abc.+"])
    def test_regular_expressions_that_need_not_be(self, pattern: str) -> None:
        assert warned(f'evt.type=open and proc.name regex "{pattern}"') == ["LOAD_COMPILE_CONDITION"]
        assert warned('evt.type=open and proc.name regex "a.*b|[cd]"') == []

    @pytest.mark.parametrize("value", ["proc.pname", '"proc . pname"', '"tolower(proc.pname)"', '"val(proc.pname)"'])
    def test_texts_that_look_like_fields(self, value: str) -> None:
        assert warned(f"evt.type=open and proc.name = {value}") == ["LOAD_COMPILE_CONDITION"]

    @pytest.mark.parametrize(("condition", "unsafe"), [
        ('ka.verb = "<NA>"', True), ('ka.verb != "<NA>"', True), ('ka.verb in (get, "<NA>")', True),
        ('jevt.value[/a] pmatch ("<NA>")', True),
        ('ka.verb contains "<NA>"', False), ('ka.verb = anyof ("<NA>")', False), ('ka.verb = "<na>"', False),
    ])
    def test_absence_is_no_text_of_an_audit_event(self, condition: str, unsafe: bool) -> None:
        assert warned(condition, source="k8s_audit") == ["LOAD_UNSAFE_NA_CHECK"] * unsafe

    def test_it_may_be_one_of_a_system_call(self) -> None:
        assert warned('evt.type=open and user.name = "<NA>"') == []

    def test_texts_that_look_like_fields_of_another_source_are_texts(self) -> None:
        assert warned("evt.type=open and proc.name = ka.verb") == []

    @pytest.mark.parametrize(("test", "column"), [
        ("proc.name = proc.pname", 12), ("proc.name in (a, proc.pname)", 13), ("proc.name startswith oneof ('a', proc.pname)", 27),
        ("proc.name regex 'abc'", 16),
    ])
    def test_falcos_place_is_that_of_the_literal_or_of_the_list_it_is_in(self, test: str, column: int) -> None:
        found = validate_text(text_of(f"evt.type=open and\n{test}"))["falco_load_results"][0]["warnings"]
        assert [w["code"] for w in found] == ["LOAD_COMPILE_CONDITION"]
        rule, place = (location["position"] for location in found[0]["context"]["locations"][-2:])
        assert (place["line"] - rule["line"], place["column"] - rule["column"]) == (2, column + 1)
        assert place["name"] == '"evt.type=open and..."'


class TestAnyRules:
    @given(st.text(max_size=60))
    def test_any_condition_gives_rules_or_a_rule_error(self, condition: str) -> None:
        try:
            RuleSet.parse(text_of(condition))
        except RuleError as e:
            where = e.location
            assert where is not None
            assert where.name == "<string>"

    @given(st.text(st.characters(max_codepoint=0x2FF), max_size=80), st.sampled_from(["", "- rule: R\n  ",
        "- {macro: m, condition: ", "- list: "]))
    def test_any_text_gives_rules_or_a_rule_error(self, text: str, before: str) -> None:
        error = None
        try:
            RuleSet.parse(before + text)
        except RuleError as e:
            error = e
        assert error is None or (error.code.startswith("LOAD_ERR_") and error.result)
