# SPDX-License-Identifier: Apache-2.0
"""Fuzzing the state engine (csrc/state/fuzz/fuzz_state.c): for 20 s here, for FUZZ_SECONDS with `make fuzz`.

What a run learns is kept in build/fuzz/state, so that the next one goes on from there; so is an input that broke the state.
"""

import os
import pathlib
import random
import shutil
import subprocess

import pytest

from conftest import ROOT
from falcolib import schema
from scapwriter import capture
from state_events import bash, clone, execve, exit_, openat

CSRC = ROOT / "csrc"
BUILD = ROOT / "build" / "fuzz"
FLAGS = ["-std=gnu11", "-O1", "-g", "-fsanitize=fuzzer,address,undefined", "-fno-sanitize-recover=undefined", f"-I{CSRC}"]
#: The first byte of an input: a capture or events, with the default limits or with tiny ones.
CAPTURE, EVENTS, SMALL = 0, 1, 2


def target() -> pathlib.Path:
    if not shutil.which("clang"):
        pytest.skip("clang is not installed: apt-get install clang libclang-rt-dev")
    BUILD.mkdir(parents=True, exist_ok=True)
    program = BUILD / "fuzz_state"
    parts = ("base", "json", "schema", "source", "state")
    sources = [CSRC / "state/fuzz/fuzz_state.c", *sorted(p for part in parts for p in CSRC.glob(f"{part}/*.c"))]
    built = subprocess.run(["clang", *FLAGS, *map(str, sources), "-o", str(program)], capture_output=True, text=True, check=False)
    if built.returncode and "libclang_rt.fuzzer" in built.stderr:
        pytest.skip("clang's fuzzer library is not installed: apt-get install libclang-rt-dev")
    assert built.returncode == 0, built.stderr
    return program


def random_events(seed: int) -> bytes:
    """Some events that change the state, by threads of low numbers: type, thread, then a byte a parameter."""
    chance = random.Random(seed)
    kinds = [e for e in schema.EVENTS if "MODIFIES_STATE" in e.flags and "OLD_VERSION" not in e.flags]
    chosen = (chance.choice(kinds) for _ in range(60))
    return b"".join(e.id.to_bytes(2, "little") + chance.randbytes(1 + len(e.params)) for e in chosen)


@pytest.mark.fuzz
def test_no_input_breaks_the_state() -> None:
    program = target()
    corpus, seeds = BUILD / "state", BUILD / "state-seeds"
    for folder in (corpus, seeds):
        folder.mkdir(exist_ok=True)
    (seeds / "capture").write_bytes(bytes([CAPTURE]) + capture(bash() + clone(200) + openat(3, "x") + execve("/bin/id") + exit_()))
    for seed in range(32):
        (seeds / f"events{seed}").write_bytes(bytes([EVENTS | SMALL * (seed % 2)]) + random_events(seed))
    seconds = os.environ.get("FUZZ_SECONDS", "20")
    run = subprocess.run(
        [
            program,
            corpus,
            seeds,
            f"-max_total_time={seconds}",
            "-max_len=4000",
            "-timeout=10",
            "-rss_limit_mb=1024",
            f"-artifact_prefix={corpus}/",
        ],
        capture_output=True,
        text=True,
        errors="replace",
        check=False,
        env={k: v for k, v in os.environ.items() if k != "LD_PRELOAD"},
    )
    assert run.returncode == 0, run.stderr[-6000:]
