# SPDX-License-Identifier: Apache-2.0
"""Events given as dicts, and programs, that are not what they should be: an error tells what is wrong, or nothing is."""

import dataclasses
import math
import pickle
import random

import pytest

from falcolib import Engine, FalcolibError, ProgramError, RuleSet
from falcolib.compiler import Program, compile_rules

RULES = """
- rule: r
  desc: d
  condition: >
    evt.type in (open, openat) and (proc.name = a or proc.aname in (b) or fd.sport = 1 or fd.sip = 1.2.3.4 or evt.is_open_write = true
    or thread.cpu > 1 or fd.name glob 'a*a*a*a*a*a*b' or proc.pid = 3 or fd.snet = 10.0.0.0/8 or proc.cmdline icontains xx
    or proc.args regex '(a|aa)+b' or toupper(proc.exe) = X)
  output: "%proc.name %proc.aname %evt.arg.name"
  priority: INFO
"""


@pytest.fixture(scope="module")
def engine() -> Engine:
    return Engine(RuleSet.parse(RULES))


def alerts(engine: Engine, **fields: object) -> int:
    return len(list(engine.run([{"evt.type": "openat", **fields}])))


@pytest.mark.parametrize(("event", "error"), [
    ({}, ValueError), (5, TypeError), (None, TypeError), ("x", TypeError), ([], TypeError), ({"evt.type": 5}, ValueError),
    ({"evt.type": "no"}, ValueError), ({"evt.type": "openat", 5: 5}, TypeError), ({"evt.type": "openat", "proc.nmae": "x"}, KeyError),
    ({"evt.type": "openat", "": "x"}, KeyError), ({"evt.type": "openat", "proc.name[": "x"}, KeyError),
    ({"evt.type": "openat", "proc.aname[99999999999999999999]": "x"}, KeyError),
], ids=repr)  # fmt: skip
def test_what_is_no_event(engine: Engine, event: object, error: type[Exception]) -> None:
    with pytest.raises(error, match="event 1"):
        list(engine.run([event]))       # type: ignore[list-item]


@pytest.mark.parametrize(("field", "value", "error"), [
    ("proc.name", 5, TypeError), ("proc.name", ["a"], TypeError), ("proc.name", "\ud800", ValueError), ("proc.aname", [5], TypeError),
    ("proc.aname", [["a"]], TypeError), ("proc.aname", [None], TypeError), ("proc.aname", ["a"] * 1_000_000, ValueError),
    ("fd.sport", -1, ValueError), ("fd.sport", 1 << 64, ValueError), ("fd.sport", 1.5, TypeError), ("fd.sport", math.nan, TypeError),
    ("fd.sport", True, TypeError), ("thread.cpu", 10**400, ValueError), ("thread.cpu", "1", TypeError), ("fd.sip", "nowhere", ValueError),
    ("fd.sip", b"\1\2", TypeError), ("fd.sip", 5, TypeError), ("fd.snet", "10.0.0.0/8", ValueError), ("evt.is_open_write", 1, TypeError),
    ("proc.pid", 1 << 63, ValueError), ("proc.pid", math.nan, TypeError), ("evt.num", -1, ValueError), ("evt.num", 1 << 64, ValueError),
    ("evt.num", "1", TypeError), ("evt.rawtime", -1, ValueError), ("evt.rawtime", 1 << 70, ValueError), ("evt.rawtime", 1.5, TypeError),
], ids=lambda value: repr(value)[:20])  # fmt: skip
def test_values_that_a_field_can_not_have(engine: Engine, field: str, value: object, error: type[Exception]) -> None:
    with pytest.raises(error, match="event 1"):
        alerts(engine, **{field: value})


@pytest.mark.parametrize(("field", "value", "matches"), [
    ("proc.name", "a" * 10_000_000, 0), ("proc.name", b"\xff\0", 0), ("proc.name", "\udcff", 0), ("proc.name", None, 0),
    ("proc.aname", [], 0),
    ("proc.aname", ["a"] * 30_000, 0), ("proc.aname", ["a"] * 30_000 + ["b"], 1), ("thread.cpu", math.nan, 0), ("thread.cpu", math.inf, 1),
    ("thread.cpu", -math.inf, 0), ("fd.name", "a" * 100_000, 0), ("fd.name", "a" * 100_000 + "b", 1), ("fd.name", "ab\0c", 0),
    ("proc.args", "a" * 100_000 + "c", 0), ("proc.args", "a" * 100_000 + "b", 1), ("proc.exe", "x" * 2_000_000, 0), ("proc.exe", "x", 1),
    ("proc.cmdline", "x" * 100_000, 1), ("evt.rawtime", (1 << 64) - 1, 0), ("evt.num", 0, 0),
], ids=lambda value: repr(value)[:20])  # fmt: skip
def test_values_of_every_size(engine: Engine, field: str, value: object, matches: int) -> None:
    assert alerts(engine, **{field: value}) == matches


# ---- programs ----


@pytest.fixture(scope="module")
def program() -> Program:
    return compile_rules(RuleSet.parse(RULES).rules)


def used(program: Program) -> None:
    """Puts a program to work."""
    list(Engine(program).run([{"evt.type": "openat", "proc.name": "a", "fd.name": "aab"}]))


def test_damaged_programs_are_refused_or_run_to_an_end(program: Program) -> None:
    chance = random.Random(4)
    for _ in range(2000):
        code = bytearray(program.code)
        for _ in range(chance.choice((1, 1, 2, 8))):
            code[chance.randrange(32, len(code))] = chance.choice((0, 1, 2, 0x7F, 0x80, 0xFF, chance.randrange(256)))
        try:
            used(dataclasses.replace(program, code=bytes(code)))
        except (FalcolibError, ValueError, TypeError):
            continue


@pytest.mark.parametrize("length", [0, 1, 8, 31, 32, 100, -8, -1])
def test_truncated_programs_are_refused(program: Program, length: int) -> None:
    with pytest.raises(ProgramError):
        used(dataclasses.replace(program, code=program.code[:length]))


@pytest.mark.parametrize("name", ["slots", "patterns", "rules", "outputs"])
def test_a_description_that_is_not_the_codes_is_refused(program: Program, name: str) -> None:
    with pytest.raises(ProgramError, match="its description"):
        used(dataclasses.replace(program, **{name: getattr(program, name)[:-1]}))


def test_damaged_pickles_that_can_be_read_are_refused_or_work(program: Program) -> None:
    """Pickles are read by pickle, which runs what they say: only their code is anyone's. Here no more than numbers in it is changed."""
    data = pickle.dumps(program)
    start = data.index(program.code)
    chance = random.Random(5)
    for _ in range(200):
        damaged = bytearray(data)
        damaged[start + chance.randrange(len(program.code))] = chance.randrange(256)
        try:
            used(pickle.loads(damaged))
        except (FalcolibError, ValueError, TypeError):
            continue
