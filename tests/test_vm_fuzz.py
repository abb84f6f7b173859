# SPDX-License-Identifier: Apache-2.0
"""Fuzzing the verifier and the machine (csrc/vm/fuzz/fuzz_program.c): for 20 s here, for FUZZ_SECONDS with `make fuzz`.

What a run learns is kept in build/fuzz/program, so that the next one goes on from there; so is a program that broke the machine.
"""

import os
import pathlib
import random
import shutil
import subprocess

import pytest
from hypothesis import HealthCheck, given, settings

from conftest import ROOT
from falcolib.compiler import compile_rules
from machine import rule
from test_differential import EVENTS, groups

CSRC = ROOT / "csrc"
BUILD = ROOT / "build" / "fuzz"
FLAGS = ["-std=gnu11", "-O1", "-g", "-fsanitize=fuzzer,address,undefined", "-fno-sanitize-recover=undefined", f"-I{CSRC}"]


def target() -> pathlib.Path:
    if not shutil.which("clang"):
        pytest.skip("clang is not installed: apt-get install clang libclang-rt-dev")
    BUILD.mkdir(parents=True, exist_ok=True)
    program = BUILD / "fuzz_program"
    sources = [CSRC / "vm/fuzz/fuzz_program.c", *(path for part in ("vm", "schema", "base") for path in sorted(CSRC.glob(f"{part}/*.c")))]
    built = subprocess.run(["clang", *FLAGS, *map(str, sources), "-o", str(program)], capture_output=True, text=True, check=False)
    if built.returncode and "libclang_rt.fuzzer" in built.stderr:
        pytest.skip("clang's fuzzer library is not installed: apt-get install libclang-rt-dev")
    assert built.returncode == 0, built.stderr
    return program


def write_seeds(folder: pathlib.Path) -> None:
    """Programs of random rules, which use every opcode."""
    number = iter(range(1000))

    @settings(max_examples=100, suppress_health_check=list(HealthCheck), database=None)
    @given(groups())
    def write(conditions: list[object]) -> None:
        rules = [rule(str(i), condition, *EVENTS) for i, condition in enumerate(conditions)]
        (folder / str(next(number))).write_bytes(compile_rules(rules, optimise=random.random() < 0.5).code)

    write()


@pytest.mark.fuzz
def test_no_program_breaks_the_machine() -> None:
    program = target()
    corpus, seeds = BUILD / "program", BUILD / "program-seeds"
    for folder in (corpus, seeds):
        folder.mkdir(exist_ok=True)
    write_seeds(seeds)
    seconds = os.environ.get("FUZZ_SECONDS", "20")
    run = subprocess.run(
        [
            program,
            corpus,
            seeds,
            f"-max_total_time={seconds}",
            "-max_len=12000",
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
