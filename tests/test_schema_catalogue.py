# SPDX-License-Identifier: Apache-2.0
"""``falcolib fields`` and ``falcolib events``."""

from __future__ import annotations

import json
import pathlib
import re
from typing import Any

import pytest
from click.testing import CliRunner

from falcolib import schema
from falcolib.cli.catalogue import events_command, fields_command, list_events, list_fields
from test_schema_spec import OUR_FIELDS


def rows_of(text: str, name: str) -> list[str]:
    return [line for line in text.splitlines() if re.search(rf"(^|\W){re.escape(name)}(\W|$)", line)]


class TestFields:
    def test_text_has_a_heading_for_each_class_and_a_row_for_each_field(self) -> None:
        text = list_fields(width=120)
        assert "\nprocess: The process and thread that made the event.\n" in text
        assert re.search(r"^  proc\.name +CHARBUF +\w", text, re.M)
        assert re.search(r"^  fd\.types +CHARBUF list ", text, re.M)

    def test_text_tells_the_argument(self) -> None:
        assert "(argument, required: .NAME or [N])" in re.sub(r"\s+", " ", list_fields(width=300))
        (row,) = [line for line in list_fields(width=300).splitlines() if line.startswith("  proc.aname ")]
        assert row.endswith("(argument, optional: [N])")

    @pytest.mark.parametrize("width", [1, 80, 200])
    def test_text_fits_the_terminal(self, width: int) -> None:
        columns = max(len(f.name) + len(f.type) + len(" list") for f in schema.FIELDS) + 6
        word = max(len(word) for f in schema.FIELDS for word in f.description.split())
        assert max(map(len, list_fields(width=width).splitlines())) <= max(width, columns + max(word, 30))

    @pytest.mark.parametrize("hidden", ["evt.latency", "evt.dir", "evt.buflen.in", "util.cnt", "evt.outputtime"])
    def test_hidden_and_deprecated_fields_are_left_out(self, hidden: str) -> None:
        assert hidden not in list_fields(names_only=True).splitlines()

    def test_markdown_has_a_table_for_each_class(self) -> None:
        text = list_fields("markdown")
        assert text.startswith("## evt\n\n")
        assert re.search(r"^\| `proc\.name` \| CHARBUF \| .+ \|$", text, re.M)
        assert all(len(re.findall(r"(?<!\\)\|", line)) == 4 for line in text.splitlines() if line.startswith("|"))

    def test_names_only(self) -> None:
        names = list_fields(names_only=True).splitlines()
        assert names[:2] == ["evt.num", "evt.time"]
        assert json.loads(list_fields("json", names_only=True)) == {"fieldnames": names}
        assert list_fields("markdown", names_only=True).splitlines()[0] == "- `evt.num`"

    def test_a_source_is_kept_or_refused(self) -> None:
        assert "  ka.verb " in list_fields(source="k8s_audit")
        assert "  proc.name " not in list_fields(source="k8s_audit")
        assert "  ka.verb " not in list_fields(source="syscall")
        with pytest.raises(ValueError, match="unknown event source 'nginx': there is syscall, k8s_audit"):
            list_fields(source="nginx")

    def test_the_command(self) -> None:
        result = CliRunner().invoke(fields_command, ["-N"])
        assert result.output.splitlines()[0] == "evt.num"
        assert CliRunner().invoke(fields_command, ["--source", "nginx"]).exit_code == 2


@pytest.mark.conformance
class TestAgainstFalcosOwnList:
    @pytest.fixture
    def falcos(self, conformance: pathlib.Path) -> list[Any]:
        return json.loads((conformance / "syscall/falco-0.44.1-fieldlist.json").read_text())["fieldclasses"]

    def test_fields_types_and_arguments_agree(self, falcos: list[Any]) -> None:
        def told(classes: list[Any]) -> list[tuple[object, ...]]:
            return [(f["name"], f["type"], f["is_list"], f["argument"]) for c in classes for f in c["fields"]
                    if f["name"] not in OUR_FIELDS]

        assert told(json.loads(list_fields("json", source="syscall"))["fieldclasses"]) == told(falcos)

    def test_classes_and_sources_agree(self, falcos: list[Any]) -> None:
        ours = json.loads(list_fields("json", source="syscall"))["fieldclasses"]
        expected = [(c["name"].removesuffix(" (plugin)"), c["event_sources"]) for c in falcos]
        assert [(c["name"], c["event_sources"][:1]) for c in ours] == expected

    def test_nothing_else_is_told(self, falcos: list[Any]) -> None:
        ours = json.loads(list_fields("json", source="syscall"))["fieldclasses"]
        assert {key for c in ours for f in c["fields"] for key in f} == {key for c in falcos for f in c["fields"] for key in f}


class TestEvents:
    def test_text_is_grouped(self) -> None:
        text = list_events(width=100)
        titles = re.findall(r"^(\w[\w ]*)$", text, re.M)
        assert titles == ["System calls", "System calls without parameters of their own", "Tracepoints", "Meta events"]

    def test_an_event_shows_types_and_names_of_its_parameters(self) -> None:
        assert "  openat(FD fd, FD dirfd, FSRELPATH name, FLAGS32 flags, UINT32 mode, UINT32 dev, UINT64 ino)\n" in list_events(width=100)

    def test_only_what_rules_see_is_listed(self) -> None:
        names = [e["name"] for e in json.loads(list_events("json"))["events"]]
        assert names.count("openat") == 1
        assert not {"task", "NA"} & set(names)

    def test_all_versions_have_their_direction(self) -> None:
        text = list_events(all_versions=True, width=300)
        assert len(rows_of(text, "openat")) == 4
        assert "\n  > openat(FD dirfd, FSRELPATH name, FLAGS32 flags, UINT32 mode)\n" in text
        assert "\nIterators\n" in text
        assert "| exit | `openat` |" in list_events("markdown", all_versions=True)

    def test_json_tells_what_names_a_value_can_have(self) -> None:
        (openat,) = [e for e in json.loads(list_events("json"))["events"] if e["name"] == "openat"]
        assert openat["params"][3] == {"name": "flags", "type": "FLAGS32", "values": "file_flags"}
        assert (openat["id"], openat["direction"], openat["category"], openat["old"]) == (307, "exit", "FILE", False)

    def test_every_name_that_evt_type_shows_is_listed_once(self) -> None:
        told = json.loads(list_events("json"))
        names = [e["name"] for e in told["events"]] + told["generic"]
        assert len(names) == len(set(names))
        assert "futimesat" in told["generic"]

    def test_the_command(self) -> None:
        assert CliRunner().invoke(events_command, ["--format", "markdown"]).output.startswith("## System calls\n")


def test_the_calls_that_the_state_needs_are_known_by_their_ids() -> None:
    names = {schema.SYSCALLS[number].name for number in schema.state_calls()}
    assert names >= {"execve", "clone", "openat", "close", "socket", "connect", "setuid", "prctl", "sched_process_exit"}
    assert not names & {"read", "write", "futex", "getpid"}


def test_the_least_that_the_state_needs_makes_processes_known() -> None:
    names = {schema.SYSCALLS[number].name for number in schema.least_calls()}
    assert names >= {"execve", "clone", "setuid", "chdir"}
    assert not names & {"open", "openat", "connect", "read"}


def test_losses_are_counted_in_groups_of_events() -> None:
    groups = {group: {schema.EVENTS[event].name for event in events} for group, events in schema.loss_groups().items()}
    assert list(groups) == ["clone_fork", "execve", "connect", "open", "dir_file", "other_interest", "close", "proc"]
    assert groups["open"] == {"open", "openat", "openat2", "creat", "open_by_handle_at"}
    assert groups["proc"] == {"procexit"}
    assert "prlimit" in groups["other_interest"]
    events = [event for group in schema.loss_groups().values() for event in group]
    assert len(events) == len(set(events))
    names = {name for group in groups.values() for name in group}
    assert not names & {"syscall", "NA"}          # calls without an event of their own cannot be told apart


def test_events_that_open_a_file_say_with_what() -> None:
    for param in ("flags", "mode"):
        assert all(param in (p.name for p in schema.EVENTS[event].params) for event in schema.opens_with(param))
    assert {schema.EVENTS[event].name for event in schema.opens_with("flags")} == {"open", "openat", "openat2", "open_by_handle_at"}
    assert {schema.EVENTS[event].name for event in schema.opens_with("mode")} == {"open", "openat", "openat2", "creat"}
