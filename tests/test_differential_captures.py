# SPDX-License-Identifier: Apache-2.0
"""The machine and the evaluator agree on the events of captures, of conditions made from the values that their fields have there."""

import pathlib
import random

import pytest

import conditions
from conftest import DATA
from falcolib import Capture, Engine
from falcolib.compiler import compile_rules
from falcolib.evaluate import evaluate
from falcolib.rules.ast import CheckedRule


def matches(rules: list[CheckedRule], path: str, optimise: bool) -> dict[str, set[int]]:
    """The numbers of the events that each rule matches."""
    found: dict[str, set[int]] = {rule.name: set() for rule in rules}
    for alert in Engine(compile_rules(rules, optimise=optimise), matching="all").run(Capture(path)):
        found[alert.rule].add(alert.event.num)
    return found


def disagreements(path: str, seed: int, count: int, every: int) -> list[tuple[str, int]]:
    """Conditions, and events on which the machine says other than the evaluator."""
    chance = random.Random(seed)
    rules = conditions.accepted(conditions.Maker(conditions.observe(path, chance, every * 7), chance), count)
    found = matches(rules, path, True)
    assert matches(rules, path, False) == found
    wrong = []
    for core, number in conditions.events(path, every):
        get = conditions.getter(core)
        wrong += [(rule.description, number) for rule in rules if evaluate(rule.condition, get) != (number in found[rule.name])]
    return wrong


@pytest.mark.parametrize("seed", range(2))
def test_on_the_bundled_capture(seed: int) -> None:
    assert disagreements(str(DATA / "attack1.scap"), seed, 40, 37) == []


@pytest.mark.conformance
@pytest.mark.parametrize("name", ["sample", "curl_google", "single_ipv6_conn"])
def test_on_other_captures(conformance: pathlib.Path, name: str) -> None:
    assert disagreements(str(conformance / "captures" / f"{name}.scap"), 7, 60, 53 if name == "sample" else 5) == []
