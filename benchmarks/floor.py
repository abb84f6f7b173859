# SPDX-License-Identifier: Apache-2.0
"""What a system call that nobody needs costs at the least: ``python -m benchmarks.floor``. Needs root, gcc, and $CONFORMANCE for the rules.

Programs are let run in short turns, one after the other, many rounds: what else the machine does hits all of them alike. Each turn times
getppid; what it costs more than in its round's turn without a program is told, as the median of all rounds. Rounds in which somebody else's
programs are in the kernel don't count.

Taking a program away makes the kernel free it by a grace period of the RCU for sleepable programs, and the process that calls getppid runs
meanwhile: it pays 10 ns more at each tracepoint from then on, in all turns. A process that began after the last such period doesn't:
`benchmarks/live.py` times those.
"""

from __future__ import annotations

import contextlib
import ctypes
import errno
import os
import statistics
import struct
import subprocess
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import falcolib
from falcolib._native import error_text, ffi, lib
from falcolib.sources.probe import CoreLoader, object_path
from falcolib.sources.wanted import BaseSyscalls, Wanted

from .live import PUBLIC, RULES, build

ROUNDS, WINDOWS = 60, 100
TRACING, TRACEPOINT, RAW_TRACEPOINT = 26, 5, 17         # BPF_PROG_TYPE_…
RAW_TP, FENTRY, FEXIT = 23, 24, 25                      # BPF_TRACE_…
PROG_LOAD, PROG_GET_NEXT_ID, RAW_TRACEPOINT_OPEN = 5, 11, 17
FUNC, TYPEDEF = 12, 8                                   # BTF_KIND_…
SET_BPF, ENABLE = 0x40042408, 0x2400                    # PERF_EVENT_IOC_…
EMPTY = struct.pack("=BBhi", 0xB7, 0, 0, 0) + struct.pack("=BBhi", 0x95, 0, 0, 0)       # r0 = 0; exit
GUARDS = ("openat", "open", "creat", "openat2", "connect")
libc = ctypes.CDLL(None, use_errno=True)


def call(number: int, *arguments: object) -> int:
    """A system call of x86_64. Raises OSError."""
    result: int = libc.syscall(ctypes.c_long(number), *arguments)
    if result < 0:
        raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))
    return result


def bpf(command: int, attributes: bytes) -> int:
    return call(321, ctypes.c_long(command), ctypes.create_string_buffer(attributes, len(attributes)), ctypes.c_long(len(attributes)))


def kernel_types() -> dict[tuple[int, str], int]:
    """The numbers of the kernel's functions and typedefs, by kind and name."""
    data = Path("/sys/kernel/btf/vmlinux").read_bytes()
    head, types, length, names = struct.unpack_from("<4I", data, 4)
    more = {1: 4, 3: 12, 14: 4, 17: 4}                  # bytes behind a type: INT, ARRAY, VAR, DECL_TAG
    each = {4: 12, 5: 12, 6: 8, 13: 8, 15: 12, 19: 12}  # … and for each member: STRUCT, UNION, ENUM, FUNC_PROTO, DATASEC, ENUM64
    found, at, number = {}, head + types, 1
    while at < head + types + length:
        name, info = struct.unpack_from("<2I", data, at)
        kind = info >> 24 & 31
        if kind in (FUNC, TYPEDEF):
            start = head + names + name
            found[kind, data[start:data.index(0, start)].decode()] = number
        at += 12 + more.get(kind, 0) + each.get(kind, 0) * (info & 0xFFFF)
        number += 1
    return found


def load(kind: int, attach: int = 0, target: int = 0) -> int:
    """Loads the empty program, as one of a kind, for a type of the kernel."""
    code, license_ = ctypes.create_string_buffer(EMPTY), ctypes.create_string_buffer(b"GPL")
    attributes = struct.pack("=IIQQ", kind, len(EMPTY) // 8, ctypes.addressof(code), ctypes.addressof(license_)).ljust(68, b"\0")
    return bpf(PROG_LOAD, (attributes + struct.pack("=I", attach)).ljust(108, b"\0") + struct.pack("=I", target))


def foreign() -> bool:
    """Whether there are programs in the kernel while none of ours are."""
    try:
        bpf(PROG_GET_NEXT_ID, struct.pack("=III", 0, 0, 0))
    except OSError as e:
        if e.errno == errno.ENOENT:
            return False
        raise
    return True


@contextlib.contextmanager
def held(*descriptors: int) -> Iterator[None]:
    try:
        yield
    finally:
        for descriptor in reversed(descriptors):
            os.close(descriptor)


@contextlib.contextmanager
def at_raw(name: str, program: int) -> Iterator[None]:
    """An empty program, loaded already, at a raw tracepoint: by its type's name (tp_btf), or by its own (raw_tp)."""
    text = ctypes.create_string_buffer(name.encode())
    with held(program, bpf(RAW_TRACEPOINT_OPEN, struct.pack("=QIIQ", ctypes.addressof(text) if name else 0, program, 0, 0))):
        yield


def perf_number(tracepoint: str) -> int:
    """perf's number of a tracepoint, from a tracefs that is mounted nowhere."""
    context = call(430, ctypes.c_char_p(b"tracefs"), ctypes.c_long(1))                                  # fsopen
    with held(context):
        call(431, ctypes.c_long(context), ctypes.c_long(6), None, None, ctypes.c_long(0))               # fsconfig: create
        mount = call(432, ctypes.c_long(context), ctypes.c_long(1), ctypes.c_long(0))                   # fsmount
    with held(mount), open(os.open(f"events/{tracepoint}/id", os.O_RDONLY, dir_fd=mount)) as file:
        return int(file.read())


@contextlib.contextmanager
def at_perf(*calls: str) -> Iterator[None]:
    """An empty program at perf's tracepoint of the beginning of each of these calls."""
    program = load(TRACEPOINT)
    events = []
    with contextlib.ExitStack() as stack:
        stack.enter_context(held(program))
        for name in calls:
            number = perf_number(f"syscalls/sys_enter_{name}")
            attributes = ctypes.create_string_buffer(struct.pack("=IIQ", 2, 112, number).ljust(112, b"\0"))
            events.append(call(298, attributes, ctypes.c_long(-1), ctypes.c_long(0), ctypes.c_long(-1), ctypes.c_long(8)))
            stack.enter_context(held(events[-1]))
            call(16, ctypes.c_long(events[-1]), ctypes.c_long(SET_BPF), ctypes.c_long(program))
            call(16, ctypes.c_long(events[-1]), ctypes.c_long(ENABLE), ctypes.c_long(0))
        yield


@contextlib.contextmanager
def probe(wanted: Wanted, *, guards: bool) -> Iterator[None]:
    """What the probe does of a call that nobody wants. The programs for those that are wanted aren't loaded, which takes a second: the
    kernel looks for them in vain."""
    loader, error = CoreLoader(object_path()), error_text()
    options = {"buffer_bytes": 1 << 20, "cpus_for_each_buffer": 2, "snaplen": 80, "rings_map": loader.map("fl_rings"),
               "scratches_map": loader.map("fl_scratches"), "shared_map": loader.map(".bss")}
    rings = ffi.gc(lib.fl_live_open(ffi.new("fl_live_options *", options), error), lib.fl_live_free)
    try:
        needs = ffi.new("fl_live_needs *", {"guarded": guards})
        ffi.memmove(needs.calls, wanted.calls, len(wanted.calls))
        lib.fl_live_choose(rings, needs)
        for program in [f"fl_enter_{name}" for name in wanted.guarded if guards] + ["fl_sys_exit"]:
            loader.attach(program)
        yield
    finally:
        loader.close()
        ffi.release(rings)


def compare(worker: list[str], rules: falcolib.RuleSet) -> None:
    """Prints the table. worker: a command that times getppid for as many windows as each line it is given says."""
    types, wanted = kernel_types(), Wanted.by(falcolib.Engine(rules).program, BaseSyscalls())
    exit_type, enter_type = types[TYPEDEF, "btf_trace_sys_exit"], types[TYPEDEF, "btf_trace_sys_enter"]

    def tp_btf(target: int) -> contextlib.AbstractContextManager[None]:
        return at_raw("", load(TRACING, RAW_TP, target))

    def both(*more: Callable[[], contextlib.AbstractContextManager[None]]) -> Callable[[], contextlib.ExitStack]:
        def enter() -> contextlib.ExitStack:
            stack = contextlib.ExitStack()
            for one in (lambda: tp_btf(exit_type), *more):
                stack.enter_context(one())
            return stack
        return enter

    variants: dict[str, Callable[[], contextlib.AbstractContextManager[object]]] = {
        "no program": contextlib.nullcontext,
        "empty tp_btf/sys_exit": both(),
        "empty raw_tp/sys_exit": lambda: at_raw("sys_exit", load(RAW_TRACEPOINT)),
        "empty tp_btf/sys_exit, empty syscalls/sys_enter_openat": both(lambda: at_perf("openat")),
        "empty tp_btf/sys_exit, empty syscalls/sys_enter_… of five calls": both(lambda: at_perf(*GUARDS)),
        "empty tp_btf/sys_exit, empty tp_btf/sys_enter": both(lambda: tp_btf(enter_type)),
        "empty syscalls/sys_enter_openat alone": lambda: at_perf("openat"),
        "the probe, public rules, without guards": lambda: probe(wanted, guards=False),
        "the probe, public rules": lambda: probe(wanted, guards=True),
    }
    for attach, name in ((FENTRY, "fentry"), (FEXIT, "fexit")):
        try:
            os.close(load(TRACING, attach, types[FUNC, "__x64_sys_openat"]))
            print(f"{name}/__x64_sys_openat: the kernel takes it")
        except OSError as e:
            print(f"{name}/__x64_sys_openat: {errno.errorcode.get(e.errno or 0)}")
    print(f"kernel.bpf_stats_enabled = {Path('/proc/sys/kernel/bpf_stats_enabled').read_text().strip()}")
    turns: dict[str, list[tuple[float, float]]] = {name: [] for name in variants}
    disturbed = 0
    with subprocess.Popen(worker, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, bufsize=1) as load_:
        assert load_.stdin
        assert load_.stdout
        for _ in range(ROUNDS):
            if foreign():
                disturbed += 1
            measured = {}
            for name, enter in variants.items():
                with enter():
                    load_.stdin.write(f"{WINDOWS}\n")
                    least, mean = load_.stdout.readline().split()
                measured[name] = float(least), float(mean)
            if foreign():
                disturbed += 1
                continue
            for name, one in measured.items():
                turns[name].append(one)
        load_.stdin.close()
    print(f"{len(turns['no program'])} rounds, {disturbed} left out; ns of getppid, and what it costs more than without a program:")
    print("10th percentile  mean")
    for name, own in turns.items():
        pairs = list(zip(own, turns["no program"], strict=True))
        added = [statistics.median(mine[i] - base[i] for mine, base in pairs) for i in (0, 1)]
        plain = [statistics.median(mine[i] for mine in own) for i in (0, 1)]
        print(f"{plain[0]:7.1f} {added[0]:+7.1f} {plain[1]:7.1f} {added[1]:+7.1f}  {name}")


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as folder:
        compare([str(build(Path(folder))), "getppid", "0"], falcolib.RuleSet.load(*(RULES / name for name in PUBLIC)))
