# SPDX-License-Identifier: Apache-2.0
"""Fuzzing the fields (csrc/fields/fuzz/fuzz_fields.c): for 15 s here, for FUZZ_SECONDS with `make fuzz`.

What a run learns is kept in build/fuzz/fields, so that the next one goes on from there; so is an input that broke a field.
"""

import os
import pathlib
import shutil
import subprocess

import pytest

from conftest import DATA
from falcolib import schema
from test_scap_fuzz import BUILD, CSRC, FLAGS, cut

#: The first byte of an input: a capture, events, events that find the scratch memory nearly used up.
CAPTURE, EVENTS, SHORT_OF_MEMORY = b"\0", b"\1", b"\3"
_TEXTS = ("BYTEBUF", "CHARBUF", "FSPATH", "FSRELPATH")


def target() -> pathlib.Path:
    if not shutil.which("clang"):
        pytest.skip("clang is not installed: apt-get install clang libclang-rt-dev")
    BUILD.mkdir(parents=True, exist_ok=True)
    program = BUILD / "fuzz_fields"
    sources = [CSRC / "fields/fuzz/fuzz_fields.c",
               *sorted(p for part in ("base", "schema", "source", "state", "fields", "json") for p in CSRC.glob(f"{part}/*.c"))]
    built = subprocess.run(["clang", *FLAGS, *map(str, sources), "-o", str(program)], capture_output=True, text=True, check=False)
    if built.returncode and "libclang_rt.fuzzer" in built.stderr:
        pytest.skip("clang's fuzzer library is not installed: apt-get install libclang-rt-dev")
    assert built.returncode == 0, built.stderr
    return program


def parameter(kind: str, value: int) -> bytes:
    if kind in _TEXTS:
        return (b"/a/b", b"x", b"\xff\n", b'{"container":{"id":"a","Mounts":[{"Source":"/s"}],"labels":{"k":"v"}}}')[value % 4] + b"\0"
    if kind == "SOCKADDR":
        return (b"\1/s\0", b"\2" + bytes(6), b"\x0a" + bytes(18), b"\2")[value % 4]
    if kind == "SOCKTUPLE":
        return (b"\1" + bytes(16) + b"/s\0", b"\2" + bytes(range(12)), b"\x0a" + bytes(36), b"\1")[value % 4]
    if kind == "FDLIST":
        return (b"\2\0" + bytes(20), b"\xff\xff" + bytes(10), b"\1")[value % 3]
    if kind == "DYN":
        return (b"\0\1", b"\4" + bytes(8), b"\xff\1", b"\1")[value % 4]
    return value.to_bytes(8, "little", signed=True)[: value % 9 or 8]


def seeds() -> dict[str, bytes]:
    """Each event with several sets of values, and a capture."""
    made = {"attack1": CAPTURE + cut(DATA / "attack1.scap")}
    for info in schema.EVENTS:
        out = b""
        for value in (3, 0, 1, -2, 10):
            out += info.id.to_bytes(2, "little") + b"\1"
            for n, param in enumerate(info.params):
                data = parameter(param.type, value + n)
                out += bytes((len(data),)) + data
        made[info.code] = EVENTS + out
        made[f"{info.code}-short"] = SHORT_OF_MEMORY + out
    return made


@pytest.mark.fuzz
def test_no_event_breaks_a_field(tmp_path: pathlib.Path) -> None:
    program = target()
    corpus, found = BUILD / "fields", tmp_path
    corpus.mkdir(exist_ok=True)
    for name, data in seeds().items():
        (found / name).write_bytes(data)
    seconds = os.environ.get("FUZZ_SECONDS", "15")
    run = subprocess.run(
        [str(program), "-max_len=16000", f"-max_total_time={seconds}", "-timeout=10", "-rss_limit_mb=2048", "-print_final_stats=1",
         f"-artifact_prefix={BUILD}/fields-", str(corpus), str(found)], capture_output=True, text=True,
        errors="replace", check=False, env={k: v for k, v in os.environ.items() if k != "LD_PRELOAD"})
    assert run.returncode == 0, run.stderr[-4000:]
