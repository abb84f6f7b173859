# SPDX-License-Identifier: Apache-2.0
"""What tests mean, operator by operator and kind by kind: the machine with and without optimisation, and the evaluator."""

from ipaddress import ip_address, ip_network

import pytest

from falcolib.evaluate import evaluate
from falcolib.rules.ast import Checked
from machine import all_of, any_of, call, cond, field, matches, no, rule
from machine import holds as machine_holds


def holds(condition: Checked, **values: object) -> bool:
    """Whether a condition holds of an openat with these values; dots are written as two underscores."""
    given = {name.replace("__", "."): value for name, value in values.items()}
    found = machine_holds(condition, given)
    assert evaluate(condition, lambda slot: given.get(str(slot))) is found
    return found


def name_is(value: object, op: str, *constants: object, modifier: str | None = None) -> bool:
    return holds(cond("proc.name", op, *constants, modifier=modifier), proc__name=value)


class TestAbsentValues:
    @pytest.mark.parametrize(
        "op", ["=", "!=", "<", "<=", ">", ">=", "in", "pmatch", "contains", "icontains", "startswith", "endswith", "glob", "iglob", "regex"]
    )
    def test_every_test_of_an_absent_value_is_false_and_its_negation_true(self, op: str) -> None:
        assert not name_is(None, op, "a")
        assert holds(no(cond("proc.name", op, "a")))

    def test_exists(self) -> None:
        assert name_is("", "exists")
        assert not name_is(None, "exists")

    def test_a_test_against_an_absent_field_is_false(self) -> None:
        condition = cond("proc.name", "!=", other=field("proc.pname"))
        assert holds(condition, proc__name="a", proc__pname="b")
        assert not holds(condition, proc__name="a")


class TestTexts:
    def test_equality_is_of_bytes(self) -> None:
        assert name_is("nginx", "=", "nginx")
        assert not name_is("nginx", "=", "Nginx")
        assert not name_is("nginx", "=", "nginx2")
        assert name_is(b"\xff", "=", "\udcff")
        assert name_is("b", "!=", "a")

    def test_order_is_that_of_bytes(self) -> None:
        assert name_is("a", "<", "b")
        assert name_is("a", "<", "aa")
        assert name_is("a", ">", "B")
        assert name_is("é", ">", "z")
        assert name_is("a", "<=", "a")
        assert name_is("a", ">=", "a")

    def test_in(self) -> None:
        assert name_is("b", "in", "a", "b")
        assert not name_is("c", "in", "a", "b")
        assert not name_is("a", "in")
        assert name_is("b", "intersects", "a", "b")

    def test_parts(self) -> None:
        assert name_is("/etc/passwd", "contains", "c/p")
        assert name_is("/etc/passwd", "contains", "")
        assert not name_is("/etc", "contains", "/etc/")
        assert name_is("ETC", "icontains", "tc")
        assert not name_is("É", "icontains", "é")
        assert name_is("/etc/passwd", "startswith", "/etc")
        assert name_is("/etc/passwd", "endswith", "wd")
        assert not name_is("a", "startswith", "ab")
        assert not name_is("b", "endswith", "ab")

    def test_a_part_is_found_behind_a_false_start(self) -> None:
        assert name_is("aab", "contains", "ab")
        assert name_is(".././../x", "contains", "../x")
        assert name_is("x" * 100 + "y" * 70, "contains", "x" + "y" * 70)

    def test_globs_are_those_of_fnmatch(self) -> None:
        assert name_is("/a/.b", "glob", "/*b")
        assert name_is("ab", "glob", "?[a-c]")
        assert name_is("ad", "glob", "?[!a-c]")
        assert name_is("a*", "glob", r"a\*")
        assert not name_is("ab", "glob", r"a\*")
        assert name_is("7", "glob", "[[:digit:]]")
        assert not name_is("A", "glob", "a")
        assert name_is("A", "iglob", "a")

    def test_bytes_are_the_characters_of_globs_whatever_the_locale(self) -> None:
        assert name_is("é", "glob", "??")
        assert not name_is("é", "glob", "?")

    def test_regular_expressions_match_the_whole_text(self) -> None:
        assert name_is("aab", "regex", "a+b")
        assert not name_is("aabc", "regex", "a+b")
        assert name_is("x7", "regex", "x[[:digit:]]")
        assert name_is(b"a\xff", "regex", "a.")


class TestPathPrefixes:
    @pytest.mark.parametrize(
        ("path", "prefix"),
        [
            ("/etc/passwd", "/etc"),
            ("/etc", "/etc/"),
            ("//etc//passwd", "/etc/passwd"),
            ("etc/x", "/etc"),
            ("/x", "/"),
            ("/x", ""),
            ("", "/"),
            ("/home/bob/.ssh/id", "/home/*/.ssh"),
            ("/dev/sda1", "/dev/sd?1"),
            ("/a/b", "/[a-c]"),
        ],
    )
    def test_components_of_the_prefix_begin_the_path(self, path: str, prefix: str) -> None:
        assert name_is(path, "pmatch", prefix)

    @pytest.mark.parametrize(
        ("path", "prefix"),
        [
            ("/etcetera", "/etc"),
            ("/etc", "/etc/passwd"),
            ("/x/etc", "/etc"),
            ("/home/bob", "/home/*/.ssh"),
            ("/a/b/c", "/*/c"),
            ("", "/a"),
        ],
    )
    def test_other_paths_do_not_match(self, path: str, prefix: str) -> None:
        assert not name_is(path, "pmatch", prefix)

    def test_several_globs_side_by_side(self) -> None:
        assert name_is("/a1/x", "pmatch", "/a?/y", "/a*/x", "/*/z")
        assert name_is("/b/z", "pmatch", "/a?/y", "/a*/x", "/*/z")

    def test_an_exact_component_that_leads_nowhere_hides_no_glob(self) -> None:
        assert name_is("/a/c", "pmatch", "/a/b", "/*/c")


class TestNumbers:
    def test_signed(self) -> None:
        assert holds(cond("proc.pid", "<", 0), proc__pid=-1)
        assert holds(cond("proc.pid", ">", -(1 << 63)), proc__pid=(1 << 63) - 1)
        assert holds(cond("proc.pid", "in", -1, 7), proc__pid=-1)

    def test_unsigned(self) -> None:
        assert holds(cond("thread.pfmajor", ">", 1), thread__pfmajor=1 << 63)
        assert holds(cond("thread.pfmajor", "in", (1 << 64) - 1), thread__pfmajor=(1 << 64) - 1)

    def test_floating_point(self) -> None:
        condition = cond("proc.fdusage", ">=", 50.0)
        assert holds(condition, proc__fdusage=50.0)
        assert not holds(condition, proc__fdusage=49.5)
        assert holds(cond("proc.fdusage", "in", 0.0, 1.0), proc__fdusage=-0.0)

    def test_truth_values(self) -> None:
        condition = cond("proc.is_exe_writable", "=", True)
        assert holds(condition, proc__is_exe_writable=True)
        assert not holds(condition, proc__is_exe_writable=False)
        assert holds(cond("proc.is_exe_writable", "!=", True), proc__is_exe_writable=False)


class TestBytes:
    def test_parts(self) -> None:
        data = b"\x7fELF\0\xca\xfe"
        assert holds(cond("evt.buffer", "bcontains", b"\xca\xfe"), evt__buffer=data)
        assert holds(cond("evt.buffer", "bstartswith", b"\x7fE"), evt__buffer=data)
        assert holds(cond("evt.buffer", "contains", b"F\0"), evt__buffer=data)
        assert holds(cond("evt.buffer", "endswith", b"\xfe"), evt__buffer=data)
        assert not holds(cond("evt.buffer", "=", b"\x7fELF"), evt__buffer=data)


class TestAddresses:
    def test_addresses_of_another_family_differ(self) -> None:
        v4, v6 = ip_address("127.0.0.1"), ip_address("::ffff:127.0.0.1")
        assert holds(cond("fd.cip", "=", v4), fd__cip=v4)
        assert not holds(cond("fd.cip", "=", v4), fd__cip=v6)
        assert holds(cond("fd.cip", "!=", v4), fd__cip=v6)
        assert holds(cond("fd.cip", "in", v4, v6), fd__cip=v6)

    def test_networks(self) -> None:
        condition = cond("fd.cnet", "=", ip_network("10.0.0.0/9"))
        assert holds(condition, fd__cnet=ip_address("10.127.255.255"))
        assert not holds(condition, fd__cnet=ip_address("10.128.0.0"))
        assert not holds(condition, fd__cnet=ip_address("::1"))
        assert holds(cond("fd.cnet", "!=", ip_network("10.0.0.0/8")), fd__cnet=ip_address("::1"))
        assert holds(cond("fd.cnet", "in", ip_network("fe80::/10"), ip_network("10.0.0.0/8")), fd__cnet=ip_address("fe80::1"))


class TestSeveralValues:
    def test_of_a_list_all_must_be_in_and_one_must_intersect(self) -> None:
        kinds, none = cond("fd.types", "in", "file", "pipe"), cond("fd.types", "exists")
        assert holds(kinds, fd__types=["file", "file"])
        assert not holds(kinds, fd__types=["file", "unix"])
        assert holds(cond("fd.types", "intersects", "file", "pipe"), fd__types=["unix", "pipe"])
        assert not holds(kinds, fd__types=[])
        assert not holds(none, fd__types=[])

    def test_any_ancestor_will_do_also_for_not_equal(self) -> None:
        ancestors = ["bash", "sshd"]
        assert holds(cond("proc.aname", "=", "sshd"), proc__aname=ancestors)
        assert holds(cond("proc.aname", "!=", "sshd"), proc__aname=ancestors)
        assert not holds(no(cond("proc.aname", "=", "sshd")), proc__aname=ancestors)
        assert holds(cond("proc.apid", "<", 2), proc__apid=[300, 1])

    def test_either_end_of_a_connection_but_both_must_differ(self) -> None:
        assert holds(cond("fd.port", "=", 22), fd__port=[51000, 22])
        assert holds(cond("fd.port", "in", 22, 23), fd__port=[51000, 22])
        assert holds(cond("fd.port", "!=", 80), fd__port=[51000, 22])
        assert not holds(cond("fd.port", "!=", 22), fd__port=[51000, 22])
        assert not holds(cond("fd.net", "!=", ip_network("10.0.0.0/8")), fd__net=[ip_address("10.0.0.1"), ip_address("8.8.8.8")])


class TestModifiers:
    def test_how_many_values_must_hold(self) -> None:
        values = ("/etc", "/etc/ssh", "/usr")
        assert name_is("/etc/x", "startswith", *values, modifier="oneof")
        assert not name_is("/etc/ssh/x", "startswith", *values, modifier="oneof")
        assert name_is("/etc/ssh/x", "startswith", *values, modifier="anyof")
        assert not name_is("/etc/ssh/x", "startswith", *values, modifier="allof")
        assert name_is("abc", "contains", "a", "c", modifier="allof")
        assert name_is("abc", "regex", "a.*", ".*c", modifier="allof")
        assert name_is("x", "!=", "a", "b", modifier="allof")

    def test_equal_values_count_each(self) -> None:
        assert not name_is("a", "=", "a", "a", modifier="oneof")

    @pytest.mark.parametrize("modifier", ["oneof", "anyof", "allof"])
    def test_none_of_no_values_holds(self, modifier: str) -> None:
        assert not name_is("a", "=", modifier=modifier)
        assert not name_is("a", "contains", modifier=modifier)


class TestTransformers:
    NAME, ARGS = field("proc.name"), field("fd.types")

    def value_is(self, slot: object, expected: object, **values: object) -> bool:
        return holds(cond(slot, "=", expected), **values)  # type: ignore[arg-type]

    def test_of_one_text(self) -> None:
        assert self.value_is(call("toupper", self.NAME), "NGINX-1é", proc__name="nginx-1é")
        assert self.value_is(call("tolower", self.NAME), "nginx", proc__name="NGINX")
        assert self.value_is(call("basename", self.NAME), "passwd", proc__name="/etc/passwd")
        assert self.value_is(call("basename", self.NAME), "", proc__name="/etc/")
        assert self.value_is(call("len", self.NAME, kind="u64"), 3, proc__name="é1")

    def test_base_64(self) -> None:
        decoded = call("b64", self.NAME)
        assert self.value_is(decoded, "ab", proc__name="YWI=")
        assert self.value_is(decoded, "ab", proc__name="YWI")
        assert self.value_is(decoded, "", proc__name="")
        for wrong in ("YWJ", "Y", "Y-Y=", "YWI==="):
            assert not holds(cond(decoded, "exists"), proc__name=wrong)
        assert self.value_is(decoded, "a", proc__name="YQBi")

    def test_of_a_list_each_element_or_none(self) -> None:
        decoded = call("b64", self.ARGS, is_list=True)
        assert holds(cond(decoded, "in", "ab", "c"), fd__types=["YWI=", "Yw=="])
        assert not holds(cond(decoded, "exists"), fd__types=["YWI=", "Y-Y="])
        assert holds(cond(call("toupper", self.ARGS, is_list=True), "in", "A", "B"), fd__types=["a", "B"])

    def test_of_several(self) -> None:
        both = call("concat", self.NAME, ":", field("proc.pname"))
        assert self.value_is(both, "a:b", proc__name="a", proc__pname="b")
        assert not holds(cond(both, "exists"), proc__name="a")
        assert self.value_is(call("join", ",", self.ARGS), "a,b", fd__types=["a", "b"])
        assert self.value_is(call("join", "/", ("x", self.NAME)), "x/a", proc__name="a")
        assert self.value_is(call("len", self.ARGS, kind="u64"), 2, fd__types=["a", "b"])
        assert self.value_is(call("len", ("x", self.NAME), kind="u64"), 2, proc__name="a")
        assert self.value_is(call("len", (), kind="u64"), 0)
        assert not holds(cond(call("len", ("x", self.NAME), kind="u64"), "exists"))

    def test_getopt(self) -> None:
        def found(*args: str) -> object:
            options = call("getopt", self.ARGS, "ab:c", is_list=True)
            return evaluate(cond(options, "exists"), lambda _: list(args)), holds(
                cond(options, "in", "a", "b", "c", "?", "v", ""), fd__types=list(args)
            )

        assert found("-a", "-bv", "-c") == (True, True)
        assert found("-x") == (True, True)
        assert found("file", "-a") == (False, False)
        assert found("--", "-a") == (False, False)
        value = call("getopt", self.ARGS, "ab:", argument="b")
        assert self.value_is(value, "2", fd__types=["-b", "1", "--long", "-ab2"])
        assert self.value_is(value, "", fd__types=["-b"])
        assert self.value_is(call("getopt", self.ARGS, "ab:", argument="a"), "a", fd__types=["-ab1"])
        assert not holds(cond(value, "exists"), fd__types=["-a"])

    def test_in_each_other_and_on_the_right_hand_side(self) -> None:
        assert self.value_is(call("toupper", call("basename", self.NAME)), "C", proc__name="/b/c")
        condition = cond("proc.pname", "=", other=call("basename", self.NAME))
        assert holds(condition, proc__name="/bin/sh", proc__pname="sh")


class TestRules:
    def test_true_rules_come_in_the_order_of_definition(self) -> None:
        rules = [rule(str(i), cond("proc.pid", ">=", 150 - i)) for i in range(150)]
        assert matches(rules, {"proc.pid": 80}) == [str(i) for i in range(70, 150)]

    def test_disabled_rules_never_are_true(self) -> None:
        rules = [rule("off", all_of(), enabled=False), rule("on", all_of())]
        assert matches(rules, {}) == ["on"]

    def test_rules_are_tested_on_their_events_only(self) -> None:
        rules = [
            rule("open", all_of(), "OPENAT_2_X"),
            rule("exec", all_of(), "EXECVE_19_X"),
            rule("both", all_of(), "OPENAT_2_X", "EXECVE_19_X"),
        ]
        assert matches(rules, {}) == ["open", "both"]
        assert matches(rules, {}, "EXECVE_19_X") == ["exec", "both"]
        assert matches(rules, {}, "CLOSE_X") == []

    def test_a_condition_as_deep_as_the_language_allows(self) -> None:
        condition: Checked = cond("proc.name", "=", "a")
        for i in range(2000):
            condition = no(all_of(condition, cond("proc.pid", ">", i))) if i % 2 else any_of(condition, cond("proc.pid", "<", -i))
        values = {"proc.name": "a", "proc.pid": 5000}
        assert machine_holds(condition, values) is evaluate(condition, lambda slot: values[str(slot)])
