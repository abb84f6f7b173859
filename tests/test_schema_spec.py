# SPDX-License-Identifier: Apache-2.0
"""Every fact of the specification's tables is in the schema. What we have beyond it is named here."""

from __future__ import annotations

import json
import re
from typing import Any

import pytest

from conftest import ROOT, SPEC
from falcolib import schema

pytestmark = pytest.mark.spec

PREFIXES = re.compile(r"^(PPME_|PT_|PF_|EF_|EC_|PPM_SC_)")
CODE_PREFIXES = re.compile(r"^PPME_(SYSCALL_|SOCKET_)?")
FIELD_FLAGS = {"TABLE_ONLY": "HIDDEN", "FORMAT_SUGGESTED": "SUGGESTED", "NO_PTR_STABILITY": None, "DEPRECATED(doc only)": None}

#: Fields, system calls with an event of their own, and flag tables that only we have. Events of ours follow the specification's.
OUR_FIELDS: set[str] = {"container.lookup", "evt.unread", "fd.realpath"}
OUR_EVENTS: set[str] = {"lost"}
OUR_FLAGS: set[str] = set()

#: Where the recorded answers of Falco win over the specification: the class of util.cnt is hidden.
HIDDEN_BY_CLASS = {"util.cnt"}
#: What the specification tells in words (B1, B5): who is compared with any of several values, or with either end of a connection.
OWN = {"proc.apid", "proc.aenv"}
ANY = {f"proc.{name}" for name in ("apid", "aname", "aexe", "aexepath", "acmdline", "aenv")} | {f"fd.{end}ip.name" for end in "cslr"}
EITHER = {"fd.ip", "fd.port", "fd.proto", "fd.net"}


def load(name: str) -> Any:
    return json.loads((SPEC / name).read_text())


def plain(name: str) -> str:
    """Without the prefix that our tables leave out; 10_PADDED_DEC is PADDED."""
    name = PREFIXES.sub("", name)
    return "PADDED" if name == "10_PADDED_DEC" else name


def code(name: str) -> str:
    return CODE_PREFIXES.sub("", name)


def events() -> list[Any]:
    return load("events.json")["events"]


def fields() -> list[schema.FieldInfo]:
    return [f for f in schema.FIELDS if f.name not in OUR_FIELDS]


def test_events() -> None:
    expected = [(e["id"], code(e["code"]), e["name"], e["category_raw"], frozenset(map(plain, e["flags"]))) for e in events()]
    assert [(e.id, e.code, e.name, e.category, e.flags) for e in schema.EVENTS[:len(expected)]] == expected
    assert {e.name for e in schema.EVENTS[len(expected):]} - {"NA"} == OUR_EVENTS


def test_events_are_in_the_categories_that_the_specification_names() -> None:
    for event, spec in zip(schema.EVENTS, events(), strict=False):
        assert {event.category_name} | event.classes == set(map(plain, spec["category"])), event.code


def test_flags_of_events_have_the_numbers_of_the_field() -> None:
    numbers = dict(schema._words("EVENT_FLAG"))
    assert numbers == {plain(k): v for k, v in load("events.json")["flags"].items() if v}


def test_categories() -> None:
    spec = {plain(k): v for k, v in load("events.json")["categories"].items() if k != "EC_IO_BASE"}
    assert spec == schema.CATEGORIES


def test_parameters() -> None:
    for event, spec in zip(schema.EVENTS, events(), strict=False):
        expected = [(p["name"], plain(p["type"]), plain(p["fmt"]), p.get("table"), p.get("dirfd_param")) for p in spec["params"]]
        assert [(p.name, p.type, p.format, p.table, p.at) for p in event.params] == expected, event.code


def test_flag_tables() -> None:
    tables = load("flags.json")["tables"]
    ours = {name: rows for name, rows in schema.FLAGS.items() if name not in OUR_FLAGS}
    assert {name: tuple((f["name"], f["value"]) for f in rows) for name, rows in tables.items()} == ours


def test_dynamic_tables() -> None:
    text = (ROOT / "csrc/schema/flags.def").read_text()
    ours = {name: re.findall(r"D\((\w+), (\w+)\)", rows) for name, rows in re.findall(r"^DYN_TABLE\((\w+), (.*)\)$", text, re.M)}
    tables = load("flags.json")["dynamic"]
    assert ours == {name: [(plain(d["type"]), plain(d["fmt"])) for d in rows] for name, rows in tables.items()}


def test_portable_ids_of_system_calls() -> None:
    ids = {row["name"].lower(): row["id"] for row in load("flags.json")["ppm_sc"]}
    assert {s.name: s.id for s in schema.SYSCALLS.values()} == ids


def test_system_calls() -> None:
    codes = {e.code: e.id for e in schema.EVENTS}
    by_name = {s.name: s for s in schema.SYSCALLS.values()}
    for spec in load("syscalls.json"):
        ours = by_name[spec.get("ppm_sc", spec["syscall"]).removeprefix("PPM_SC_").lower()]
        keep = next((f.removeprefix("UF_") for f in spec["flags"] if f != "UF_USED"), "MAY_DROP")
        assert (ours.x86_64, ours.aarch64, ours.keep) == (spec["x86_64"], spec["aarch64"], keep), spec["syscall"]
        if ours.name not in OUR_EVENTS:
            assert ours.event == codes[code(spec.get("exit", "PPME_GENERIC_X"))], spec["syscall"]


def test_tracepoints_are_delivered_as_their_events() -> None:
    delivered = {s.name: schema.EVENTS[s.event].code for s in schema.SYSCALLS.values()}
    for spec in events():
        if "EC_TRACEPOINT" in spec["category"] and "EF_OLD_VERSION" not in spec["flags"]:
            assert {delivered[name] for name in spec["ppm_sc"]} == {code(spec["code"])}


def test_conversions() -> None:
    text = (ROOT / "csrc/schema/conversions.def").read_text()
    ours = [(e, int(n), action, to, words.split()) for e, n, action, to, words
            in re.findall(r"^CONVERT\((\w+), (\d+), (\w+), (\w+),([\w()\s]*)\)$", text, re.M)]
    expected = [(code(c["event"]), c["nparams"], c["action"], code(c["to"] or c["event"]), [source(p) for p in c["params"]])
                for c in load("conversions.json")]
    assert ours == expected


def source(param: Any) -> str:
    """A parameter of a conversion as conversions.def writes it."""
    kind, index = param["source"].removeprefix("FROM_"), param["index"]
    if kind == "ENTER":
        return f"ENTER({index})" if param["fallback"] == "default" else f"ENTER_OR_EMPTY({index})"
    return {"OLD": f"OLD({index})", "EMPTY": "EMPTY", "DEFAULT": "ZERO", "CALLBACK": "CONTAINER"}[kind]


def core_fields() -> list[Any]:
    def ours(name: str) -> bool:
        return "(plugin)" not in name or name in ("container(plugin)", "k8saudit(plugin)", "json(plugin)")

    return [f for f in load("fields.json")["fields"] if ours(f["field_class"])]


def test_there_are_233_fields_of_the_core_and_61_of_the_container_plugin() -> None:
    assert sum(f.field_class not in ("CONTAINER", "KA", "JSON") for f in fields()) == 233
    assert sum(f.field_class == "KA" for f in fields()) == 100
    assert sum(f.field_class == "CONTAINER" for f in fields()) == 61


def test_fields() -> None:
    expected = [(f["name"], plain(f["type"]), plain(f["print_format"] or "NA")) for f in core_fields()]
    assert [(f.name, f.type, f.format) for f in fields()] == expected


def test_classes_of_fields() -> None:
    names = {"evt(generic)": "EVT_GENERIC", "evt(syscall)": "EVT_SYSCALL", "fs.path": "FS_PATH", "container(plugin)": "CONTAINER",
             "k8saudit(plugin)": "KA", "json(plugin)": "JSON"}
    for field, spec in zip(fields(), core_fields(), strict=True):
        assert field.field_class == names.get(spec["field_class"], spec["field_class"].upper()), field.name


def test_flags_of_fields() -> None:
    for field, spec in zip(fields(), core_fields(), strict=True):
        flags = {FIELD_FLAGS.get(f, f) for f in spec["flags"]} - {None}
        flags |= {name for name, wanted in (("LIST", spec["is_list"]), ("ANY", field.name in ANY), ("OWN", field.name in OWN),
                                            ("EITHER", field.name in EITHER),
                                            ("HIDDEN", field.name in HIDDEN_BY_CLASS)) if wanted}
        assert field.flags == flags, field.name


def test_arguments_of_fields() -> None:
    for field, spec in zip(fields(), core_fields(), strict=True):
        assert bool(field.argument) == bool(spec["arg"]), field.name
        assert ("EMPTY" in field.argument) == (field.name in ("json.value", "jevt.value")), field.name
        if spec["arg_kind"]:
            required = {"REQUIRED"} if spec["arg"] == "required" else set()
            assert field.argument - {"EMPTY"} == {*required, *(kind.upper() for kind in spec["arg_kind"])}, field.name
        elif spec["arg"] == "required" and field.name != "evt.abspath":        # which also stands alone (B5)
            assert "REQUIRED" in field.argument, field.name
        else:
            assert "REQUIRED" not in field.argument, field.name
