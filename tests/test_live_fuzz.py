# SPDX-License-Identifier: Apache-2.0
"""Fuzzing the ring reader and the probe's loader (csrc/source/fuzz/fuzz_ring.c, fuzz_load.c); fuzzing.py tells how."""

from __future__ import annotations

import pathlib
import shutil
import struct
import subprocess
import textwrap

import pytest

from fuzzing import CSRC, build, fuzz
from scapwriter import record

BUSY, DISCARDED = 1 << 31, 1 << 30


def sample(body: bytes, *, realpath: bytes = b"", header: int | None = None, claimed: int | None = None) -> bytes:
    """A record as the probe puts it into a ring, behind the ring's own header."""
    inner = struct.pack("<IHHII", 0, 1, 0, len(body) if claimed is None else claimed, len(realpath)) + body + realpath
    whole = struct.pack("<II", len(inner) if header is None else header, 0) + inner
    return whole + bytes(-len(whole) % 8)


def rings(how: int, lost: int, *parts: bytes) -> bytes:
    return bytes([how, lost]) + b"".join(parts)


@pytest.mark.fuzz
def test_no_ring_breaks_its_reader() -> None:
    close, openat = record("CLOSE_X", 0, 3), record("OPENAT_2_X", 3, -100, "/etc/passwd", 1, 0, 0, 0)
    good = [sample(close), sample(openat, realpath=b"/usr/etc/passwd"), sample(record("PROCEXIT_1_E", 0, 0, 0, 0, 0))]
    seeds = {
        "good": rings(0, 0, *good * 4), "two": rings(1, 3, *good * 4), "over the end": rings(4, 0, *good * 8),
        "large": rings(7, 255, *good * 20), "empty": rings(0, 9, sample(b""), bytes(64)),
        "busy": rings(0, 0, good[0], sample(close, header=BUSY | 60), good[1]),
        "discarded": rings(0, 0, sample(close, header=DISCARDED | 60), *good),
        "too long": rings(0, 0, good[0], sample(close, header=1 << 20)),
        "lies": rings(0, 0, sample(close, claimed=4000), sample(close, claimed=0)),
    }  # fmt: skip
    program = build("source/fuzz/fuzz_ring.c", ["schema", "base"])
    fuzz(program, seeds, longest=2 + 2 * 8192, seconds=6)


#: A small object with one of everything that the loader looks for.
OBJECT = r"""
typedef unsigned int u32;
#define SEC(name) __attribute__((section(name), used))
struct entry { int event; char data[8]; };
char fl_probe[SHARED];
struct { int (*type)[2]; int *key; struct entry *value; } fl_rings SEC(".maps");
struct task { int pid; } __attribute__((preserve_access_index));
static void *(*const lookup)(void *map, const void *key) = (void *)1;
SEC("tp_btf/sys_exit") int fl_sys_exit(unsigned long *ctx) { int key = 0; return lookup(&fl_rings, &key) != 0 && fl_probe[3] == 7; }
SEC("tp_btf/sys_exit") int fl_x_CLOSE_X(unsigned long *ctx) { return ((struct task *)ctx[0])->pid; }
SEC("tracepoint/syscalls/sys_enter_open") int fl_enter_open(unsigned long *ctx) { return fl_probe[9]; }
SEC("?iter.s/task") int fl_iter_task(unsigned long *ctx) { return 0; }
"""


@pytest.mark.fuzz
def test_no_object_breaks_its_loader(tmp_path: pathlib.Path) -> None:
    if not shutil.which("llvm-objcopy"):
        pytest.skip("llvm isn't installed")
    program = build("source/fuzz/fuzz_load.c", ["schema", "base"])
    source, made = tmp_path / "o.c", tmp_path / "o.o"
    size = subprocess.run(["gcc", "-x", "c", f"-I{CSRC}", "-o", tmp_path / "size", "-"], check=True, text=True, input=textwrap.dedent("""
        #include <stdio.h>
        #include "bpf/probe.h"
        int main(void) { printf("%zu", sizeof(struct fl_probe_shared)); }"""))
    assert size.returncode == 0
    shared = subprocess.check_output([tmp_path / "size"], text=True)
    source.write_text(OBJECT)
    subprocess.run(["clang", "-target", "bpfel", "-mcpu=v3", "-g", "-O2", f"-DSHARED={shared}", "-w", "-c", source, "-o", made], check=True)
    kernel = tmp_path / "kernel.c"
    kernel.write_text("typedef int btf_trace_sys_exit; int bpf_iter_task(btf_trace_sys_exit *t) { return *t; }\n")
    subprocess.run(["clang", "-target", "bpfel", "-g", "-O2", "-c", kernel, "-o", tmp_path / "kernel.o"], check=True)
    subprocess.run(["llvm-objcopy", "--dump-section", f".BTF={tmp_path}/btf", tmp_path / "kernel.o"], check=True)
    types, elf = (tmp_path / "btf").read_bytes(), made.read_bytes()
    assert len(elf) < 20_000
    seeds = {f"object{refuse}": struct.pack("<I", len(elf) | refuse << 29) + elf + types for refuse in (0, 1, 2)}
    (tmp_path / "sound").write_bytes(seeds["object0"])
    subprocess.run([program, tmp_path / "sound"], check=True, capture_output=True, env={"FUZZ_SOUND": "1"})     # the seed gets through
    fuzz(program, seeds, longest=32_000, seconds=6)
