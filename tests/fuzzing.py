# SPDX-License-Identifier: Apache-2.0
"""Fuzz targets: built with clang's libFuzzer under AddressSanitizer and UndefinedBehaviorSanitizer, and run for some seconds.

A target runs for 20 s in the test suite, for FUZZ_SECONDS with `make fuzz`. What a run learns is kept in build/fuzz/NAME, so that the next
one goes on from there; so is an input that broke something.
"""

import os
import pathlib
import shutil
import subprocess
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor

import pytest

from conftest import ROOT

CSRC = ROOT / "csrc"
BUILD = ROOT / "build" / "fuzz"
FLAGS = ["-std=gnu11", "-O1", "-g", "-fno-sanitize-recover=undefined", f"-I{CSRC}"]
CHECKS = "address,undefined"


def compiled(sources: Sequence[pathlib.Path]) -> list[str]:
    """Objects of parts of the core, made once for all targets of a session: they are most of what building one takes."""
    objects = [BUILD / "objects" / source.relative_to(CSRC).with_suffix(".o") for source in sources]
    todo = [(source, object_) for source, object_ in zip(sources, objects, strict=True) if object_ not in _compiled]

    def compile_(what: tuple[pathlib.Path, pathlib.Path]) -> None:
        source, object_ = what
        object_.parent.mkdir(parents=True, exist_ok=True)
        done = subprocess.run(["clang", *FLAGS, f"-fsanitize=fuzzer-no-link,{CHECKS}", "-c", source, "-o", object_],
                              capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr

    with ThreadPoolExecutor(os.cpu_count()) as pool:
        list(pool.map(compile_, todo))
    _compiled.update(objects)
    return [str(object_) for object_ in objects]


_compiled: set[pathlib.Path] = set()


def build(target: str, parts: Sequence[str]) -> pathlib.Path:
    """A target, such as "state/fuzz/fuzz_state.c", linked with the parts of the core that it tests."""
    if not shutil.which("clang"):
        pytest.skip("clang is not installed: apt-get install clang libclang-rt-dev")
    BUILD.mkdir(parents=True, exist_ok=True)
    program = BUILD / pathlib.Path(target).stem
    # the probe is for the kernel alone
    sources = sorted(path for part in parts for path in CSRC.glob(f"{part}/*.c") if path.parent.name != "bpf")
    built = subprocess.run(["clang", *FLAGS, f"-fsanitize=fuzzer,{CHECKS}", CSRC / target, *compiled(sources), "-o", program],
                           capture_output=True, text=True, check=False)
    if built.returncode and "libclang_rt.fuzzer" in built.stderr:
        pytest.skip("clang's fuzzer library is not installed: apt-get install libclang-rt-dev")
    assert built.returncode == 0, built.stderr
    return program


def fuzz(program: pathlib.Path, seeds: Mapping[str, bytes], *, longest: int, seconds: int = 20, dictionary: str | None = None,
         environment: Mapping[str, str] | None = None) -> None:
    """Runs a target from seeds; fails with its report if an input breaks something. longest: bytes of an input; seconds: unless
    FUZZ_SECONDS says otherwise."""
    corpus, folder = BUILD / program.name.removeprefix("fuzz_"), BUILD / f"{program.name}-seeds"
    for where in (corpus, folder):
        where.mkdir(exist_ok=True)
    for name, data in seeds.items():
        (folder / name).write_bytes(data)
    options = [f"-max_total_time={os.environ.get('FUZZ_SECONDS', seconds)}", f"-max_len={longest}", "-timeout=100", "-rss_limit_mb=1024",
               f"-artifact_prefix={corpus}/"]
    if dictionary:
        options.append(f"-dict={CSRC / dictionary}")
    clean = {k: v for k, v in os.environ.items() if k != "LD_PRELOAD"}
    # by a shell: libFuzzer's limit of memory would count what Python has used, up to the exec
    run = subprocess.run(["sh", "-c", '"$@"; exit $?', "sh", program, corpus, folder, *options], capture_output=True, text=True,
                         errors="replace", check=False, env={**clean, **(environment or {})})
    assert run.returncode == 0, run.stderr[-6000:]
