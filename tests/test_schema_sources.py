# SPDX-License-Identifier: Apache-2.0
"""Where the kernel side takes the parameters of events from."""

from __future__ import annotations

import pathlib
import re
import shutil
import subprocess

import pytest

from conftest import ROOT
from falcolib import schema

SOURCE = re.compile(r"(AT_ENTRY\()?(NONE|ZERO|EMPTY|RET|(?:ARG|STR)\((\d)\)|(CONV|FILLER)\((\w+)(?:, (\d))?\))\)?")
FUNCTIONS = set(re.findall(r"^(CONV|FILLER)\((\w+), ", (ROOT / "csrc/schema/sources.def").read_text(), re.M))

#: System calls that 32-bit processes have.
IA32 = set(re.findall(r"^IA32\(\d+, (\w+)\)", (ROOT / "csrc/schema/ia32.def").read_text(), re.M))

#: Events that the kernel side makes of itself: how sampling goes, and processors that come and go.
OWN = {"DROP_E", "DROP_X", "CPU_HOTPLUG_E"}


def is_delivered(event: schema.EventInfo) -> bool:
    """Whether the kernel side delivers an event: exits of calls that x86_64 (of 64 or 32 bits) or aarch64 has, tracepoints, iterators."""
    if not event.is_current:
        return False
    if event.code in OWN or event.classes & {"TRACEPOINT", "ITER"}:
        return True
    return event.is_exit and any(s.event == event.id and ((s.x86_64, s.aarch64) != (None, None) or s.name in IA32)
                                  for s in schema.SYSCALLS.values())


DELIVERED = [e for e in schema.EVENTS if is_delivered(e)]


def parameters(events: list[schema.EventInfo]) -> list[tuple[schema.EventInfo, schema.ParamInfo]]:
    return [(event, param) for event in events for param in event.params]


def test_every_parameter_that_the_kernel_delivers_has_a_source() -> None:
    assert not [(e.code, p.name) for e, p in parameters(DELIVERED) if p.source == "NONE"]
    assert len(DELIVERED) >= 155 + 3 + 4 + 10       # system calls, own, tracepoints, iterators


def test_no_other_event_has_one() -> None:
    others = [e for e in schema.EVENTS if not is_delivered(e)]
    assert not [(e.code, p.name) for e, p in parameters(others) if p.source != "NONE"]


def test_sources_are_in_the_notation() -> None:
    for event, param in parameters(DELIVERED):
        match = SOURCE.fullmatch(param.source)
        assert match, (event.code, param)
        _, _, argument, kind, name, input_ = match.groups()
        assert int(argument or input_ or 0) < 6, (event.code, param)        # a system call has six arguments
        assert kind is None or (kind, name) in FUNCTIONS, (event.code, param)
        assert kind != "CONV" or input_ is not None, (event.code, param)


def test_every_function_is_used() -> None:
    used = {(m[4], m[5]) for _, p in parameters(DELIVERED) if (m := SOURCE.fullmatch(p.source)) and m[4]}
    assert used == FUNCTIONS


def test_texts_come_from_texts_and_numbers_from_registers() -> None:
    texts = {"CHARBUF", "FSPATH", "FSRELPATH"}
    for event, param in parameters(DELIVERED):
        if "STR(" in param.source:
            assert param.type in texts, (event.code, param)
        if param.source == "RET" or "ARG(" in param.source or "CONV(" in param.source or param.source == "ZERO":
            assert schema.TYPES[param.type].kind in ("i64", "u64"), (event.code, param)


def test_the_result_is_the_first_parameter() -> None:
    """Of system calls with parameters, but for those that are delivered once for each message."""
    for event in DELIVERED:
        if event.is_exit and event.params and event.code not in ("GENERIC_X", "SENDMMSG_X", "RECVMMSG_X", *OWN):
            assert event.params[0].source == "RET", event.code


def test_no_argument_is_delivered_twice() -> None:
    for event in DELIVERED:
        plain = [p.source for p in event.params if p.source.startswith(("ARG(", "STR("))]
        assert len(plain) == len(set(plain)), event.code


def test_what_rules_guard_is_taken_when_the_call_begins() -> None:
    """Another thread may change a path or an address before the call ends."""
    assert {(e.name, p.name) for e, p in parameters(DELIVERED) if p.source.startswith("AT_ENTRY(")} == {
        ("open", "name"), ("creat", "name"), ("openat", "name"), ("openat2", "name"), ("openat2", "flags"), ("openat2", "mode"),
        ("openat2", "resolve"), ("connect", "addr")}


def test_relative_paths_start_from_a_descriptor_of_the_same_call() -> None:
    for event, param in parameters(DELIVERED):
        if param.type == "FSRELPATH":
            assert param.at is not None
            assert event.params[param.at].type == "FD", event.code


def test_the_probe_has_a_program_for_every_system_call() -> None:
    handlers = re.findall(r"^HANDLER(_\w+)?\((\w+)\)$", (ROOT / "csrc/bpf/handlers.def").read_text(), re.M)
    codes = [code for _, code in handlers]
    assert len(codes) == len(set(codes))
    numbered = [s for s in schema.SYSCALLS.values() if s.x86_64 is not None or s.name in IA32]
    assert set(codes) == {schema.EVENTS[s.event].code for s in numbered}
    # those that know what was taken when the call began
    at_entry = {e.code for e, p in parameters(DELIVERED) if p.source.startswith("AT_ENTRY(")}
    assert {code for kind, code in handlers if kind in ("_OPEN", "_ENTRY")} == at_entry
    guards = re.findall(r"^GUARD\((\w+), ", (ROOT / "csrc/bpf/probe.bpf.c").read_text(), re.M)
    assert sorted(guards) == sorted(schema.SYSCALLS[number].name for number in schema.guarded_calls())


HEADERS = ("sys/socket.h", "fcntl.h", "sched.h", "linux/futex.h", "unistd.h", "sys/mman.h", "sys/mount.h", "linux/openat2.h",
           "linux/io_uring.h", "linux/bpf.h", "linux/keyctl.h", "linux/prctl.h", "linux/module.h", "linux/close_range.h",
           "sys/file.h", "sys/resource.h", "sys/stat.h", "stdio.h")
PREFIXES = {"umount_flags": ("MNT_", "UMOUNT_")}
ENUMS = ("bpf_commands", "fsconfig_cmds", "io_uring_register_opcodes")


@pytest.mark.skipif(shutil.which("cc") is None, reason="no C compiler")
def test_flags_that_are_passed_on_as_they_are_have_the_kernels_numbers(tmp_path: pathlib.Path) -> None:
    """Those of other tables go through a CONV or FILLER."""
    tables = {p.table for _, p in parameters(DELIVERED) if p.table and p.source.startswith("ARG(")}
    assert len(tables) > 20
    lines = []
    for table in sorted(tables):
        for name, value in schema.FLAGS[table]:
            for known in [name, *(prefix + name for prefix in PREFIXES.get(table, ()))]:
                check = f'if ((unsigned){known} != {value}u) puts("{table} {known}");'
                lines.append(check if table in ENUMS else f"#ifdef {known}\n{check}\n#endif")
    includes = "".join(f"#if __has_include(<{h}>)\n#include <{h}>\n#endif\n" for h in HEADERS)
    program = tmp_path / "flags.c"
    program.write_text("#define _GNU_SOURCE\n" + includes + "int main(void)\n{\n" + "\n".join(lines) + "\n}\n")
    built = subprocess.run(["cc", "-w", "-o", tmp_path / "flags", program], capture_output=True, text=True, check=False)
    if built.returncode:
        pytest.skip(f"the kernel's headers here are too old: {built.stderr.splitlines()[0]}")
    assert subprocess.run([tmp_path / "flags"], capture_output=True, text=True, check=True).stdout == ""
