# SPDX-License-Identifier: Apache-2.0
"""Captures of all ages, recorded again: each field of each event is the same, and so are the alerts of Falco's rules."""

import functools
import json
import lzma
import pathlib

import pytest

from conftest import CONFORMANCE
from falcolib import Capture, Engine, Program, RuleSet, compile_rules

MISSING = [pathlib.Path("missing")]
#: The largest are covered in part: their events are of the same kinds.
CAPTURES = [p for p in sorted(CONFORMANCE.glob("captures/*.scap")) if p.stem not in ("mix1", "web", "ctr", "dev", "attack1")] or MISSING
LARGE = [CONFORMANCE / "captures" / f"{name}.scap" for name in ("mix1", "web", "ctr", "dev", "attack1")]
PART = 1200


@functools.cache
def rules(conformance: pathlib.Path, condition: str) -> RuleSet:
    with lzma.open(conformance / "syscall" / "attack1.fields.jsonl.xz", "rt") as lines:
        tokens = json.loads(next(lines))["tokens"]
    assert len(tokens) > 200
    output = " ".join(f"%{t}" for t in tokens)
    return RuleSet.parse(f"- rule: r\n  desc: d\n  condition: {json.dumps(condition)}\n  output: {json.dumps(output)}\n"
                         "  priority: INFO\n  warn_evttypes: false\n")


def rows(path: pathlib.Path, rules: RuleSet, without: frozenset[str] = frozenset()) -> list[dict[str, object]]:
    return [{k: v for k, v in alert.fields.items() if k not in without} for alert in Engine(rules).run(Capture(path))]


@functools.cache
def falcos_rules(conformance: pathlib.Path) -> Program:
    names = ("falco_rules.yaml", "falco-incubating_rules.yaml", "falco-sandbox_rules.yaml")
    return compile_rules(RuleSet.load(*(conformance / "rules" / name for name in names)).rules)


def alerts(path: pathlib.Path, conformance: pathlib.Path) -> list[str]:
    return [alert.json() for alert in Engine(falcos_rules(conformance), matching="all").run(Capture(path))]


@pytest.mark.conformance
@pytest.mark.parametrize("capture", CAPTURES, ids=lambda p: p.stem)
def test_all_fields_are_the_same(capture: pathlib.Path, conformance: pathlib.Path, tmp_path: pathlib.Path) -> None:
    Capture(capture).write(tmp_path / "copy.scap")
    every = rules(conformance, "evt.num > 0")
    assert rows(tmp_path / "copy.scap", every) == rows(capture, every)


@pytest.mark.conformance
@pytest.mark.parametrize("capture", LARGE, ids=lambda p: p.stem)
def test_all_fields_are_the_same_in_large_captures(capture: pathlib.Path, conformance: pathlib.Path, tmp_path: pathlib.Path) -> None:
    """Fields of some thousand events, spread; the state behind them is that of all."""
    total = Capture(capture).write(tmp_path / "copy.scap").events
    last = rules(conformance, f"evt.num > {total - PART // 2} or evt.num < {PART // 2}")
    assert rows(tmp_path / "copy.scap", last) == rows(capture, last)


@pytest.mark.conformance
@pytest.mark.parametrize("capture", [*CAPTURES, *LARGE], ids=lambda p: p.stem)
def test_falcos_rules_give_the_same_alerts(capture: pathlib.Path, conformance: pathlib.Path, tmp_path: pathlib.Path) -> None:
    Capture(capture).write(tmp_path / "copy.scap")
    assert alerts(tmp_path / "copy.scap", conformance) == alerts(capture, conformance)


@pytest.mark.conformance
@pytest.mark.parametrize("capture", CAPTURES, ids=lambda p: p.stem)
def test_all_fields_of_filtered_events_are_the_same(capture: pathlib.Path, conformance: pathlib.Path, tmp_path: pathlib.Path) -> None:
    condition = "fd.num >= 5 and evt.failed = false or evt.type in (execve, connect, procexit)"
    Capture(capture).write(tmp_path / "some.scap", filter=condition)
    some, number = rules(conformance, condition), frozenset({"evt.num"})
    assert rows(tmp_path / "some.scap", rules(conformance, "evt.num > 0"), number) == rows(capture, some, number)
