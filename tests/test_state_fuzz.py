# SPDX-License-Identifier: Apache-2.0
"""Fuzzing the state engine (csrc/state/fuzz/fuzz_state.c); fuzzing.py tells how."""

import random

import pytest

from conftest import CONFORMANCE, DATA
from falcolib import schema
from fuzzing import build, fuzz
from scapwriter import capture
from state_events import bash, clone, execve, exit_, openat
from test_scap_fuzz import cut

#: The first byte of an input: a capture or events, with the default limits or with tiny ones, with containers asked for.
CAPTURE, EVENTS, SMALL, ASKS = 0, 1, 2, 4


def random_events(seed: int) -> bytes:
    """Some events that change the state, by threads of low numbers: type, thread, then a byte a parameter."""
    chance = random.Random(seed)
    kinds = [e for e in schema.EVENTS if "MODIFIES_STATE" in e.flags and "OLD_VERSION" not in e.flags]
    chosen = (chance.choice(kinds) for _ in range(60))
    return b"".join(e.id.to_bytes(2, "little") + chance.randbytes(1 + len(e.params)) for e in chosen)


@pytest.mark.fuzz
def test_no_input_breaks_the_state() -> None:
    seeds = {"capture": bytes([CAPTURE]) + capture(bash() + clone(200) + openat(3, "x") + execve("/bin/id") + exit_())}
    for number, path in enumerate(sorted([*DATA.glob("*.scap"), *CONFORMANCE.glob("captures/*.scap")])):
        for part in range(4):
            seeds[f"{path.name}-{part}"] = bytes([CAPTURE | SMALL * (number % 2)]) + cut(path, part / 4)
    for seed in range(32):
        seeds[f"events{seed}"] = bytes([EVENTS | SMALL * (seed % 2) | ASKS * (seed // 2 % 2)]) + random_events(seed)
    fuzz(build("state/fuzz/fuzz_state.c", ["base", "json", "schema", "source", "state"]), seeds, longest=16_000)
