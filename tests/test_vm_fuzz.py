# SPDX-License-Identifier: Apache-2.0
"""Fuzzing the verifier and the machine (csrc/vm/fuzz/fuzz_program.c); fuzzing.py tells how."""

import pytest
from hypothesis import HealthCheck, given, settings

from falcolib.compiler import compile_rules
from fuzzing import build, fuzz
from machine import rule
from test_differential import EVENTS, groups


def seeds() -> dict[str, bytes]:
    """Programs of random rules, which use every opcode."""
    made: dict[str, bytes] = {}

    @settings(max_examples=100, suppress_health_check=list(HealthCheck), database=None)
    @given(groups())
    def make(conditions: list[object]) -> None:
        rules = [rule(str(i), condition, *EVENTS) for i, condition in enumerate(conditions)]
        made[str(len(made))] = compile_rules(rules, optimise=len(made) % 2 == 0).code

    make()
    return made


@pytest.mark.fuzz
def test_no_program_breaks_the_machine() -> None:
    fuzz(build("vm/fuzz/fuzz_program.c", ["vm", "schema", "base"]), seeds(), longest=12_000)
