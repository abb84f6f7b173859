# SPDX-License-Identifier: Apache-2.0
"""static_fields: fields that have one value in all events."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from falcolib import Alert, Engine, RuleError, RuleSet, load_program
from falcolib.rules.output import read_append_output
from falcolib.rules.ruleset import given_text
from falcolib.rules.static import static_fields

STATIC = static_fields({"place": "cellar", "a.b": "50 %", "empty": ""})
RULE = "- rule: r\n  desc: d\n  priority: INFO\n  condition: evt.type = open and ({condition})\n  output: \"{output}\"\n"
EVENT = {"evt.type": "open", "proc.name": "cat"}


def rules(condition: str = "evt.num > 0", output: str = "o") -> RuleSet:
    return RuleSet.build([given_text(RULE.format(condition=condition, output=output), "r.yaml")], static=STATIC)


def matches(rules: RuleSet) -> list[Alert]:
    return list(Engine(rules).run([EVENT]))


@pytest.mark.parametrize(("condition", "holds"), [
    ("static.place = cellar", True), ("static.place = attic", False), ("static.place != attic", True), ("not static.place = cellar", False),
    ("static.place in (attic, cellar)", True), ("static.place startswith cel and proc.name = cat", True),
    ("static.place exists", True), ("static.place contains x or proc.name = cat", True), ("static.place contains x", False),
    ("static.place regex c.*r", True), ("static.place icontains CELL", True), ("static.a.b = '50 %'", True),
])  # fmt: skip
def test_conditions(condition: str, holds: bool) -> None:
    assert bool(matches(rules(condition))) is holds


@pytest.mark.parametrize("source", ["syscall", "k8s_audit"])
def test_decided_tests_cost_no_test(source: str) -> None:
    program = Engine(RuleSet.build([given_text(RULE.format(condition="static.place = attic", output="o").replace(
        "evt.type = open and", "").replace("  desc", f"  source: {source}\n  desc"), "r.yaml")], static=STATIC)).program
    assert "evt.num" not in program.disassemble()


def test_outputs() -> None:
    alert, = matches(rules(output="in %static.place, %10static.place|%3static.place %static.a.b %static.place.x %proc.name %static.empty."))
    assert alert.message == "in cellar, cellar    |cel 50 % cellar.x cat ."
    fields = json.loads(alert.json())["output_fields"]
    assert {name: value for name, value in fields.items() if name != "evt.time"} == {
        "static.place": "cellar", "static.a.b": "50 %", "static.empty": "", "proc.name": "cat"}


def test_unknown_ones_are_told() -> None:
    with pytest.raises(RuleError, match=r"static\.plce"):
        rules("static.plce = x")
    with pytest.raises(RuleError, match=r"static\.plce"):
        rules(output="%static.plce")
    with pytest.raises(RuleError, match="can be compared with values only"):
        rules("static.place = val(proc.name)")


def test_they_are_appended_where_suggested_output_is() -> None:
    found = rules().append_output(read_append_output([
        {"suggested_output": True}, {"extra_fields": [{"where": "<%static.place>"}, "proc.name"]}]), STATIC)
    alert, = matches(found)
    assert alert.message.endswith(" static_place=cellar static_a.b=50 % static_empty=".replace("a.b", "a_b"))
    fields = json.loads(alert.json())["output_fields"]
    assert (fields["where"], fields["static.place"], fields["proc.name"]) == ("<cellar>", "cellar", "cat")


def test_cached_programs_depend_on_them(tmp_path: Path) -> None:
    path = tmp_path / "r.yaml"
    path.write_text(RULE.format(condition="static.place = cellar", output="%static.place"))
    for place, count in (("cellar", 1), ("attic", 0), ("cellar", 1)):
        loaded = load_program(path, static={"place": place}, cache=tmp_path / "cache")
        assert len(list(Engine(loaded.program).run([EVENT]))) == count
