# SPDX-License-Identifier: Apache-2.0
"""Fuzzing the whole way of a capture (csrc/engine/fuzz/fuzz_engine.c): for 20 s here, for FUZZ_SECONDS with `make fuzz`.

What a run learns is kept in build/fuzz/engine, so that the next one goes on from there; so is an input that broke something.
"""

import os
import pathlib
import shutil
import subprocess

import pytest

from conftest import CONFORMANCE, DATA, ROOT
from falcolib import RuleSet
from falcolib.compiler import compile_rules
from scapwriter import capture
from state_events import bash, clone, execve, exit_, openat
from test_scap_fuzz import cut, synthetic

CSRC = ROOT / "csrc"
BUILD = ROOT / "build" / "fuzz"
FLAGS = ["-std=gnu11", "-O1", "-g", "-fsanitize=fuzzer,address,undefined", "-fno-sanitize-recover=undefined", f"-I{CSRC}"]
#: The first byte of an input: rules or fields, the first match or all, default limits or tiny ones, one piece or several.
WAYS = range(16)


def target() -> pathlib.Path:
    if not shutil.which("clang"):
        pytest.skip("clang is not installed: apt-get install clang libclang-rt-dev")
    BUILD.mkdir(parents=True, exist_ok=True)
    program = BUILD / "fuzz_engine"
    sources = [CSRC / "engine/fuzz/fuzz_engine.c", *sorted(CSRC.glob("*/*.c"))]
    built = subprocess.run(["clang", *FLAGS, *map(str, sources), "-o", str(program)], capture_output=True, text=True, check=False)
    if built.returncode and "libclang_rt.fuzzer" in built.stderr:
        pytest.skip("clang's fuzzer library is not installed: apt-get install libclang-rt-dev")
    assert built.returncode == 0, built.stderr
    return program


def rules() -> RuleSet:
    """The public rules, where they are there; else the default ones."""
    public = [CONFORMANCE / "rules" / f"{name}_rules.yaml" for name in ("falco", "falco-incubating", "falco-sandbox")]
    return RuleSet.load(*public) if all(p.is_file() for p in public) else RuleSet.load(ROOT / "rules")


def write_seeds(folder: pathlib.Path) -> None:
    life = capture(bash() + clone(200) + openat(3, "x") + execve("/bin/id") + exit_())
    captures = sorted([*DATA.glob("*.scap"), *CONFORMANCE.glob("captures/*.scap")])
    seeds = {"life": life, **synthetic(), **{path.name: cut(path) for path in captures}}
    for number, (name, data) in enumerate(seeds.items()):
        for way in {WAYS[number % len(WAYS)], WAYS[(number * 7 + 1) % len(WAYS)]}:
            (folder / f"{name}-{way}").write_bytes(bytes([way]) + data)


@pytest.mark.fuzz
def test_no_capture_breaks_the_engine() -> None:
    program = target()
    corpus, seeds, compiled = BUILD / "engine", BUILD / "engine-seeds", BUILD / "engine.program"
    for folder in (corpus, seeds):
        folder.mkdir(exist_ok=True)
    write_seeds(seeds)
    compiled.write_bytes(compile_rules(rules().rules).code)
    seconds = os.environ.get("FUZZ_SECONDS", "20")
    run = subprocess.run(
        [
            program,
            corpus,
            seeds,
            f"-max_total_time={seconds}",
            "-max_len=64000",
            f"-dict={CSRC / 'source/fuzz/scap.dict'}",
            "-timeout=20",
            "-rss_limit_mb=1024",
            f"-artifact_prefix={corpus}/",
        ],
        capture_output=True,
        text=True,
        errors="replace",
        check=False,
        env={**{k: v for k, v in os.environ.items() if k != "LD_PRELOAD"}, "FUZZ_PROGRAM": str(compiled)},
    )
    assert run.returncode == 0, run.stderr[-6000:]
