# SPDX-License-Identifier: Apache-2.0
"""The default rules: each has tests (rules/tests, which pytest runs too); the bundled attacks are seen, ordinary work isn't."""

import pathlib
from collections import Counter
from typing import Any

import pytest

import falcolib
from conftest import ROOT
from falcolib.testing import find_tests

RULES = ROOT / "rules" / "falcolib_rules.yaml"

#: Of the 40 actions of the capture; the others are harmless, such as ssh -V, or listing the scheduled jobs.
EXPECTED_ON_ATTACK1 = {
    "Program directory changed": 4,
    "Credentials searched for": 3,
    "Secret file read": 2,
    "Link to a secret file made": 2,
    "Shell history tampered with": 2,
    "Configuration below /etc written": 1,
    "Set-user-ID bit set": 1,
    "Program run from shared memory": 1,
    "Program run from memory": 1,
    "Secret file read through a detour": 1,
    "Standard input connected to the network": 1,
    "Shell fed by a network connection": 1,
    "Debugger kept away": 1,
    "Packet socket opened": 1,
    "New namespace made": 1,
    "Data destroyed in bulk": 1,
    "Decoded or downloaded script piped into a shell": 1,
    "Network tool launched": 1,
    "Shell spawned by a server": 1,
}

Event = dict[str, Any]


def test_they_are_found_by_the_source_of_their_events() -> None:
    for source, name in (("syscall", "falcolib_rules.yaml"), ("k8s_audit", "k8s_audit_rules.yaml")):
        path = falcolib.bundled_rules(source)
        assert path.read_text() == (ROOT / "rules" / name).read_text()
        assert {rule.source for rule in falcolib.RuleSet.load(path).rules} == {source}
    assert falcolib.bundled_rules() == falcolib.bundled_rules("syscall")
    with pytest.raises(ValueError, match="syscall, k8s_audit"):
        falcolib.bundled_rules("cloudtrail")


@pytest.fixture(scope="module")
def rules() -> falcolib.RuleSet:
    return falcolib.RuleSet.load(str(RULES))


@pytest.fixture(scope="module")
def engine(rules: falcolib.RuleSet) -> falcolib.Engine:
    return falcolib.Engine(rules, matching="all")


def alerts_on(engine: falcolib.Engine, events: list[Event]) -> list[str]:
    return [alert.rule for alert in engine.run(events)]


def test_they_load_without_warnings(rules: falcolib.RuleSet) -> None:
    assert [str(w) for w in rules.warnings] == []


def test_each_rule_has_tests_and_near_misses(rules: falcolib.RuleSet) -> None:
    (tests,) = find_tests([RULES])
    assert list(tests.names) == [r.name for r in rules.rules]
    near = {case.rule for case in tests.cases if "near miss" in case.label and "every" not in case.label}
    assert near == set(tests.names)


def test_each_rule_is_documented_and_tagged(rules: falcolib.RuleSet) -> None:
    for rule in rules.rules:
        assert rule.description.strip().endswith("."), rule.name
        assert {"host", "container"} & rule.tags, rule.name
        assert any(tag.startswith("mitre_") for tag in rule.tags), rule.name
        assert any(tag.startswith("T1") for tag in rule.tags), rule.name
        printed = " ".join(str(part) for part in rule.output)
        assert all(f in printed for f in ("proc.cmdline", "proc.exepath", "proc.pname", "user.name", "container.id")), rule.name


def test_each_rule_names_its_event_types(rules: falcolib.RuleSet) -> None:
    assert all(0 < len(rule.events) < 50 for rule in rules.rules)


def test_an_exception_that_is_appended_silences_a_rule(rules: falcolib.RuleSet) -> None:
    mine = falcolib.RuleSet.parse(
        "- rule: Configuration below /etc written\n"
        "  exceptions:\n"
        "    - {name: programs, values: [certbot]}\n"
        "  override: {exceptions: append}\n",
        name="mine.yaml",
        after=rules,
    )
    engine = falcolib.Engine(mine)
    event = {"evt.type": "openat", "evt.is_open_write": True, "fd.name": "/etc/letsencrypt/x", "proc.name": "certbot", "evt.failed": False}
    assert alerts_on(engine, [event]) == []
    assert alerts_on(engine, [event | {"proc.name": "tee"}]) == ["Configuration below /etc written"]


def test_the_bundled_attacks_are_reported(engine: falcolib.Engine, attack1: pathlib.Path) -> None:
    found = Counter(alert.rule for alert in engine.run(falcolib.Capture(str(attack1))))
    assert found == EXPECTED_ON_ATTACK1


@pytest.mark.conformance
@pytest.mark.parametrize("name", ["dev", "web"])
def test_ordinary_work_is_left_alone(engine: falcolib.Engine, conformance: pathlib.Path, name: str) -> None:
    """dev: gcc, git, python, tar; web: nginx under load."""
    found = Counter(alert.rule for alert in engine.run(falcolib.Capture(str(conformance / "captures" / f"{name}.scap"))))
    assert found == Counter()
