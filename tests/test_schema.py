# SPDX-License-Identifier: Apache-2.0
"""The schema: what it tells of events, and how fields are found by name."""

from __future__ import annotations

import pytest

import falcolib
from falcolib import schema
from falcolib.schema import Argument, FieldError


def event(code: str) -> schema.EventInfo:
    return next(e for e in schema.EVENTS if e.code == code)


class TestEvents:
    def test_events_stand_at_their_ids(self) -> None:
        assert [e.id for e in schema.EVENTS] == list(range(len(schema.EVENTS)))

    def test_odd_ids_are_exits(self) -> None:
        assert event("OPENAT_2_X").is_exit
        assert not event("OPENAT_2_E").is_exit

    def test_an_event_tells_name_category_and_flags(self) -> None:
        openat = event("OPENAT_2_X")
        assert (openat.id, openat.name, openat.category_name, openat.classes) == (307, "openat", "FILE", {"SYSCALL"})
        assert openat.flags == {"CREATES_FD", "MODIFIES_STATE", "CONVERTER_MANAGED"}

    def test_a_parameter_tells_its_type_and_what_the_type_needs(self) -> None:
        fd, dirfd, name, flags, *_ = event("OPENAT_2_X").params
        assert (fd.name, fd.type, fd.format, fd.table, fd.at) == ("fd", "FD", "DEC", None, None)
        assert (dirfd.name, name.type, name.at) == ("dirfd", "FSRELPATH", 1)
        assert (flags.type, flags.format, flags.table) == ("FLAGS32", "HEX", "file_flags")

    def test_a_name_stands_for_enter_and_exit_old_and_new(self) -> None:
        assert {schema.EVENTS[i].code for i in schema.EVENT_IDS["openat"]} == {"OPENAT_E", "OPENAT_X", "OPENAT_2_E", "OPENAT_2_X"}

    def test_a_system_call_without_an_event_is_generic(self) -> None:
        assert {schema.EVENTS[i].code for i in schema.EVENT_IDS["futimesat"]} == {"GENERIC_E", "GENERIC_X"}

    @pytest.mark.parametrize(("name", "codes"), [
        ("openat", ["OPENAT_2_X"]),
        ("clone", ["CLONE_20_X"]),
        ("futimesat", ["GENERIC_X"]),
        ("procexit", ["PROCEXIT_1_E"]),
        ("task", []),                   # iterators fill the tables
        ("useradded", ["USER_ADDED_E"]),
        ("NA", []),
    ])
    def test_rules_see_the_newest_exits_and_tracepoints(self, name: str, codes: list[str]) -> None:
        assert [schema.EVENTS[i].code for i in schema.current_event_ids(name)] == codes

    def test_a_mistyped_event_brings_the_nearest_name(self) -> None:
        with pytest.raises(ValueError, match=r"there is no event 'opnat'; did you mean 'openat'\?"):
            schema.current_event_ids("opnat")

    def test_system_calls_have_the_numbers_of_both_architectures(self) -> None:
        calls = {s.name: s for s in schema.SYSCALLS.values()}
        assert (calls["openat"].x86_64, calls["openat"].aarch64) == (257, 56)
        assert (calls["open"].x86_64, calls["open"].aarch64) == (2, None)
        assert schema.EVENTS[calls["pread64"].event].code == "PREAD_X"
        assert {i: s.id for i, s in schema.SYSCALLS.items()} == {i: i for i in schema.SYSCALLS}

    def test_hashes_are_stable_and_differ(self) -> None:
        assert schema.hashes() == schema.hashes()
        assert len({*schema.hashes(), 0}) == 3


class TestFields:
    @pytest.mark.parametrize(("text", "name", "argument"), [
        ("proc.name", "proc.name", None),
        ("proc.aname", "proc.aname", None),
        ("proc.aname[2]", "proc.aname", Argument("2")),
        ("proc.env[LD_PRELOAD]", "proc.env", Argument("LD_PRELOAD")),
        ("evt.arg[1]", "evt.arg", Argument("1")),
        ("evt.arg.flags", "evt.arg", Argument("flags", dotted=True)),
        ("evt.args", "evt.args", None),
        ("evt.type.is.openat", "evt.type.is", Argument("openat", dotted=True)),
        ("evt.abspath", "evt.abspath", None),
        ("evt.abspath.dst", "evt.abspath", Argument("dst", dotted=True)),
        ("thread.cgroup.cpu", "thread.cgroup", Argument("cpu", dotted=True)),
        ("thread.cgroups", "thread.cgroups", None),
        ("container.label[io.kubernetes.pod/name]", "container.label", Argument("io.kubernetes.pod/name")),
    ])
    def test_the_longest_name_wins_and_the_rest_is_the_argument(self, text: str, name: str, argument: Argument | None) -> None:
        found = schema.find_field(text)
        assert found is not None
        assert (found[0].name, found[1]) == (name, argument)

    @pytest.mark.parametrize(("text", "near"), [
        ("proc.nmae", "proc.name"),
        ("proc.cmdlines", "proc.cmdline"),
        ("proc.anam[2]", "proc.aname[2]"),
        ("evt.arg.flag", "evt.arg.flags"),
        ("evt.type.is.opnat", "evt.type.is.openat"),
    ])
    def test_an_unknown_field_brings_the_nearest_name(self, text: str, near: str) -> None:
        assert schema.find_field(text) is None
        with pytest.raises(FieldError) as error:
            schema.require_field(text)
        assert error.value.unknown
        assert str(error.value) == f"there is no field {text!r}; did you mean {near!r}?"

    def test_no_name_is_proposed_where_none_is_near(self) -> None:
        with pytest.raises(FieldError) as error:
            schema.require_field("quux.frobnicate")
        assert str(error.value) == "there is no field 'quux.frobnicate'"

    @pytest.mark.parametrize(("text", "why"), [
        ("proc.name[1]", "field 'proc.name' takes no argument in brackets"),
        ("proc.aname[x]", "the argument of field 'proc.aname[x]' must be a number"),
        ("proc.aname[-1]", "the argument of field 'proc.aname[-1]' must be a number"),
        ("proc.aname[]", "the argument of field 'proc.aname[]' is empty or not closed"),
        ("proc.aname[1", "the argument of field 'proc.aname[1' is empty or not closed"),
        ("evt.arg", "field 'evt.arg' needs an argument: evt.arg.NAME"),
        ("evt.rawarg[1]", "field 'evt.rawarg' takes no argument in brackets"),
        ("container.label", "field 'container.label' needs an argument: container.label[NAME]"),
        ("evt.around", "field 'evt.around' needs an argument: evt.around[N]"),
        (f"proc.aname[{2**63}]", f"the argument of field 'proc.aname[{2**63}]' must be a number"),
        (f"proc.aname[{'9' * 5000}]", f"the argument of field 'proc.aname[{'9' * 5000}]' must be a number"),
    ])
    def test_a_wrong_argument_is_told(self, text: str, why: str) -> None:
        assert schema.find_field(text) is None
        with pytest.raises(FieldError) as error:
            schema.require_field(text)
        assert not error.value.unknown
        assert str(error.value) == why

    @pytest.mark.parametrize(("digits", "index"), [
        ("7", 7), ("0" * 5000 + "7", 7), (str(2**63 - 1), 2**63 - 1), (str(2**63), None), ("9" * 5000, None), ("", None), ("\u0661", None),
    ])
    def test_an_argument_is_a_number_if_the_core_can_hold_it(self, digits: str, index: int | None) -> None:
        assert Argument(digits).index == index
        if digits:                              # what is no number is a key, where a field takes one
            falcolib.Engine(falcolib.RuleSet.parse(
                f"- {{rule: r, desc: d, condition: 'evt.type = open and container.mount[{digits}] = a', output: x, priority: INFO}}"))

    @pytest.mark.parametrize("text", ["", "proc", "proc.", "proc.name.", "proc.namex", ".name", "evt.arg.", "thread.cgroup.", "[1]",
                                      "thread.cgroup.a b", "evt.arg.name.x"])
    def test_the_whole_text_must_be_consumed(self, text: str) -> None:
        assert schema.find_field(text) is None

    @pytest.mark.parametrize(("text", "kind"), [
        ("proc.name", "str"), ("proc.pid", "i64"), ("evt.num", "u64"), ("evt.rawtime", "u64"), ("evt.deltatime", "u64"),
        ("evt.buffer", "bytes"), ("evt.failed", "bool"), ("thread.cpu", "f64"), ("fd.sip", "ip"), ("fd.snet", "net"),
        ("fd.sport", "u64"),
    ])
    def test_the_type_decides_the_kind_of_value(self, text: str, kind: str) -> None:
        assert schema.require_field(text)[0].kind == kind

    @pytest.mark.parametrize(("text", "type_", "kind"), [
        ("evt.rawarg.fd", "FD", "i64"), ("evt.rawarg.flags", "FLAGS32", "u64"), ("evt.rawarg.name", "FSPATH", "str"),
        ("evt.rawarg.data", "BYTEBUF", "bytes"), ("evt.rawarg.uid", "UINT32", "u64"),
    ])
    def test_a_raw_parameter_is_of_the_type_of_the_first_of_its_name(self, text: str, type_: str, kind: str) -> None:
        info, _ = schema.require_field(text)
        assert (info.type, info.kind) == (type_, kind)

    def test_fields_that_output_suggests(self) -> None:
        suggested = [f.name for f in schema.FIELDS if "SUGGESTED" in f.flags]
        assert suggested == ["container.id", "container.name", "container.image.repository", "container.image.tag", "k8s.pod.name",
                             "k8s.ns.name"]

    def test_every_field_has_a_class_and_a_description(self) -> None:
        for field in schema.FIELDS:
            assert field.field_class in schema.CLASSES
            assert field.description


def test_flag_values_are_the_portable_ones() -> None:
    flags = dict(schema.FLAGS["file_flags"])
    assert (flags["O_RDONLY"], flags["O_WRONLY"], flags["O_RDWR"]) == (1, 2, 3)


def test_an_attribute_that_is_no_table_is_missing() -> None:
    with pytest.raises(AttributeError, match="RULES"):
        _ = schema.RULES
