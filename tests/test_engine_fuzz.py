# SPDX-License-Identifier: Apache-2.0
"""Fuzzing the whole way of a capture (csrc/engine/fuzz/fuzz_engine.c); fuzzing.py tells how."""

import pathlib

import pytest

from conftest import CONFORMANCE, DATA, ROOT
from falcolib import RuleSet
from falcolib.compiler import compile_rules
from fuzzing import build, fuzz
from scapwriter import capture
from state_events import bash, clone, execve, exit_, openat
from test_scap_fuzz import cut, synthetic

#: The first byte of an input: rules or fields, the first match or all, default limits or tiny ones, one piece or several.
WAYS = range(16)


def rules() -> RuleSet:
    """The public rules, where they are there; else the default ones."""
    public = [CONFORMANCE / "rules" / f"{name}_rules.yaml" for name in ("falco", "falco-incubating", "falco-sandbox")]
    return RuleSet.load(*public) if all(p.is_file() for p in public) else RuleSet.load(ROOT / "rules")


def seeds() -> dict[str, bytes]:
    """Captures, each in two of the ways."""
    life = capture(bash() + clone(200) + openat(3, "x") + execve("/bin/id") + exit_())
    captures = sorted([*DATA.glob("*.scap"), *CONFORMANCE.glob("captures/*.scap")])
    made = {}
    for number, (name, data) in enumerate({"life": life, **synthetic(), **{path.name: cut(path) for path in captures}}.items()):
        for way in {WAYS[number % len(WAYS)], WAYS[(number * 7 + 1) % len(WAYS)]}:
            made[f"{name}-{way}"] = bytes([way]) + data
    return made


@pytest.mark.fuzz
def test_no_capture_breaks_the_engine(tmp_path: pathlib.Path) -> None:
    compiled = tmp_path / "program"
    compiled.write_bytes(compile_rules(rules().rules).code)
    program = build("engine/fuzz/fuzz_engine.c", ["*"])
    fuzz(program, seeds(), longest=64_000, dictionary="source/fuzz/scap.dict", environment={"FUZZ_PROGRAM": str(compiled)})
