# SPDX-License-Identifier: Apache-2.0
"""Explanations: golden files of what people read (GOLDEN=1 writes them anew), and that they say what the machine does."""

import contextlib
import json
import os
import pathlib
import subprocess
import sys
from collections.abc import Iterator

import pytest
from click.testing import CliRunner, Result

from conftest import ROOT
from falcolib import Capture, Engine, Event, RuleSet
from falcolib.cli import cli
from falcolib.explain import Explanation, Outcome

GOLDEN = ROOT / "tests" / "golden" / "explain"
RULES = "tests/data/explain/rules.yaml"
READ = {"evt.type": "openat", "evt.is_open_read": True, "fd.typechar": "f", "fd.name": "/etc/shadow", "proc.name": "cat"}


@pytest.fixture(autouse=True)
def _at_the_top(monkeypatch: pytest.MonkeyPatch) -> None:
    """Explanations name files as they were given."""
    monkeypatch.chdir(ROOT)


@pytest.fixture
def engine() -> Engine:
    return Engine(RuleSet.load(RULES))


@contextlib.contextmanager
def event(capture: pathlib.Path, number: int) -> Iterator[Event]:
    """An event of a capture, while it is current."""
    events = Engine().events(Capture(capture), start=number)
    yield next(events)
    events.close()      # type: ignore[attr-defined]


def check_golden(name: str, text: str) -> None:
    path = GOLDEN / f"{name}.txt"
    if os.environ.get("GOLDEN"):
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text + "\n")
    assert text + "\n" == path.read_text(), f"{path.relative_to(ROOT)} differs; GOLDEN=1 writes it anew"


# ---- what people read --------------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("name", "number", "rule"), [
    ("all_rules_one_matches", 513, None),
    ("all_rules_none_matches", 300, None),
    ("a_rule_that_matches", 513, "Secret read"),
    ("stopped_by_a_test_in_a_macro", 300, "Secret read"),
    ("no_alternative_holds", 300, "Directory is read"),
    ("an_earlier_rule_took_the_event", 513, "Any secret"),
    ("another_type_of_event", 300, "Write to a terminal"),
    ("a_disabled_rule", 300, "Switched off"),
])
def test_events_of_captures(name: str, number: int, rule: str | None, engine: Engine, attack1: pathlib.Path) -> None:
    with event(attack1, number) as now:
        check_golden(name, str(engine.explain(now, rule)))


@pytest.mark.parametrize(("name", "given", "rule"), [
    ("fields_all_given", {**READ, "proc.aname": ["bash"], "evt.num": 7}, "Secret read"),
    ("fields_absent", {"evt.type": "openat", "proc.name": "cat", "fd.directory": "/var/log/x"}, "Directory is read"),
    ("fields_all_rules", READ, None),
])
def test_events_as_dicts(name: str, given: dict[str, object], rule: str | None, engine: Engine) -> None:
    check_golden(name, str(engine.explain(given, rule)))


def test_an_alert_is_explained_by_what_it_still_knows(engine: Engine, attack1: pathlib.Path) -> None:
    alert = next(iter(engine.run(Capture(attack1))))
    list(engine.run(Capture(attack1)))
    check_golden("an_alert", str(engine.explain(alert)))
    assert engine.explain(alert)[alert.rule].matches
    assert engine.explain(alert.event, alert.rule)[alert.rule].matches is None      # an event alone doesn't tell of its alert


# ---- what it says ------------------------------------------------------------------------------------------------------------------------


def test_outcomes_tell_absent_from_false(engine: Engine) -> None:
    found = engine.explain({"evt.type": "openat", "evt.is_open_read": False}, "Secret read")["Secret read"]
    assert (found.matches, found.alerts, found.reason) == (False, False, None)
    assert found.decided.outcome is Outcome.FALSE
    assert found.decided.value is False
    absent = engine.explain({"evt.type": "openat"}, "Secret read")["Secret read"]
    assert absent.decided.outcome is Outcome.ABSENT
    assert absent.decided.value is None
    assert str(absent.decided.at) == f"{RULES}:7:54"
    assert absent.decided.macro == ("open_read",)


def test_a_rule_under_first_takes_the_event_and_under_all_it_does_not(engine: Engine) -> None:
    assert engine.explain(READ).matched == ["Secret read"]
    every = Engine(RuleSet.load(RULES), matching="all")
    assert every.explain(READ).matched == ["Secret read", "Any secret"]
    assert every.explain(READ)["Any secret"].reason is None


def test_what_disables_a_rule_is_told() -> None:
    rules = RuleSet.load(RULES)
    chosen = rules.select([{"disable": {"tag": "files"}}], priority="warning")
    reasons = {r.name: r.reason or "" for r in Engine(chosen).explain(READ).rules}
    assert "tag 'files'" in reasons["Secret read"]
    assert "below Warning" in reasons["Any secret"]
    assert "enabled: false" in reasons["Switched off"]
    again = chosen.select([{"enable": {"rule": "Secret*"}}])
    assert Engine(again).explain(READ).matched == ["Secret read"]


def test_rules_of_another_source_are_not_asked(engine: Engine) -> None:
    reason = engine.explain({"evt.source": "k8s_audit"})["Secret read"].reason
    assert reason == "it is for events of the source syscall, and this one is of k8s_audit"


def test_documents_are_explained_as_other_events_are() -> None:
    """An audit event: given as it is, as a dict of fields, or its alert."""
    rules = [{"rule": "Secret", "condition": "ka.verb in (get, list) and ka.target.resource = secrets", "source": "k8s_audit"},
             {"rule": "Call", "condition": "evt.type = open"}]
    engine = Engine(RuleSet.parse(json.dumps([{**rule, "desc": "d", "output": "%evt.num", "priority": "INFO"} for rule in rules])))
    audit = {"kind": "Event", "apiVersion": "audit.k8s.io/v1", "auditID": "a", "stage": "ResponseComplete", "verb": "get",
             "requestReceivedTimestamp": "2026-01-02T03:04:05.000006Z", "objectRef": {"resource": "secrets", "name": "x"}}
    (alert,) = engine.run([audit])
    for event in (audit, json.dumps(audit).encode(), {"ka.verb": "get", "ka.target.resource": "secrets"}):
        found = engine.explain(event)
        assert found.matched == ["Secret"]
        assert "source syscall" in (found["Call"].reason or "")
    assert engine.explain(alert)["Secret"].matches
    other = engine.explain({**audit, "verb": "create"})["Secret"]
    assert (other.matches, other.decided.value) == (False, b"create")


def test_which_constant_met_is_told(engine: Engine) -> None:
    given = {"evt.type": "open", "proc.name": "cat", "proc.pname": "sh", "fd.directory": "/var/log/a"}
    nodes = [n for n in engine.explain(given, "Directory is read")["Directory is read"].tree.walk() if n.check]
    assert [n.hits for n in nodes if n.check and n.check.op == "pmatch"] == [("/var/log",)]


def test_json_holds_the_same(engine: Engine, attack1: pathlib.Path) -> None:
    with event(attack1, 513) as now:
        found = engine.explain(now, "Secret read")
    row = json.loads(json.dumps(found.as_dict()))
    assert row["event"]["num"] == 513
    (rule,) = row["rules"]
    assert (rule["rule"], rule["matches"], rule["alerts"]) == ("Secret read", True, True)
    tests, todo = [], [rule["condition"]]
    while todo:
        node = todo.pop()
        todo += node.get("children", [])
        if node["kind"] == "test":
            tests.append(node)
    names = {t["test"]: (t["value"], t["outcome"], t["lists"], t["location"]["line"]) for t in tests}
    assert names["fd.name in (secrets)"] == ("/etc/shadow", "true", ["secrets"], 10)
    assert names["fd.name startswith /etc/ssh/"][1] == "skipped"


def test_mistakes_are_told(engine: Engine) -> None:
    with pytest.raises(KeyError, match="did you mean 'Secret read'"):
        engine.explain(READ, "secret")
    with pytest.raises(KeyError, match=r"did you mean 'proc\.name'"):
        engine.explain({**READ, "proc.nam": 1})
    with pytest.raises(ValueError, match=r"evt\.type"):
        engine.explain({"proc.name": "x"})
    program = Engine(RuleSet.load(RULES)).program
    with pytest.raises(ValueError, match="rules="):
        Engine(program).explain(READ)
    assert Engine(program).explain(READ, rules=RuleSet.load(RULES)).matched == ["Secret read"]


def test_deep_conditions_are_no_recursion() -> None:
    deep = "(" * 400 + "proc.name = x" + " and evt.type = openat)" * 400
    rules = RuleSet.parse(f"- {{rule: r, desc: d, condition: '{deep}', output: o, priority: INFO}}")
    assert "proc.name = x" in str(Engine(rules).explain({"evt.type": "openat", "proc.name": "x"}))


@pytest.mark.conformance
def test_explanations_say_what_the_machine_does(attack1: pathlib.Path, conformance: pathlib.Path) -> None:
    """Each rule of Falco's on events of a capture: a condition holds where the machine says so."""
    names = ("falco_rules.yaml", "falco-incubating_rules.yaml", "falco-sandbox_rules.yaml")
    rules = RuleSet.load(*(conformance / "rules" / name for name in names))
    matched: dict[int, set[str]] = {}
    for alert in Engine(rules, matching="all").run(Capture(attack1)):
        matched.setdefault(alert.event.num, set()).add(alert.rule)
    explainer, seen = Engine(rules, matching="all"), set()  # type: ignore[var-annotated]
    for now in Engine().events(Capture(attack1)):
        if (now.num in matched and not matched[now.num] <= seen) or now.num % 400 == 0:
            found: Explanation = explainer.explain(now)
            assert set(found.matched) == matched.get(now.num, set()), now
            seen |= set(found.matched)
    assert len(seen) > 5


# ---- the command -------------------------------------------------------------------------------------------------------------------------


def command(*args: object, input: str | None = None) -> Result:
    return CliRunner().invoke(cli, ["explain", "-r", RULES, *map(str, args)], input=input)


def test_the_command_prints_the_same(engine: Engine, attack1: pathlib.Path) -> None:
    run = command("--capture", attack1, "--event", 513)
    assert run.exit_code == 0, run.output
    assert run.stdout == (GOLDEN / "all_rules_one_matches.txt").read_text()
    as_json = command("--capture", attack1, "--event", 513, "--rule", "Secret read", "--json")
    assert json.loads(as_json.stdout)["rules"][0]["alerts"] is True


def test_the_event_of_an_alert(engine: Engine, attack1: pathlib.Path) -> None:
    alert = next(a for a in engine.run(Capture(attack1)) if a.rule == "Secret read")
    wanted = (GOLDEN / "a_rule_that_matches.txt").read_text()
    line = alert.json()
    without = json.loads(line)
    del without["output_fields"]["evt.num"]
    for given in (alert.id, line, json.dumps(without)):
        assert command("--capture", attack1, "--alert", given).stdout == wanted
    assert command("--capture", attack1, "--alert", "-", input=line + "\n").stdout == wanted


def test_fields_on_the_command_line() -> None:
    run = command("--fields", json.dumps(READ))
    assert "MATCHES  Secret read" in run.stdout


def test_terminals_without_the_signs_get_others(attack1: pathlib.Path) -> None:
    env = {**os.environ, "PYTHONIOENCODING": "ascii"}
    run = subprocess.run([sys.executable, "-m", "falcolib", "explain", "-r", RULES, "--capture", attack1, "--event", "513"],
                         capture_output=True, env=env)
    assert run.stdout.isascii()
    assert b"+ evt.is_open_read" in run.stdout


@pytest.mark.parametrize(("args", "status", "text"), [
    ([], 2, "--capture"), (["--fields", "{}", "--event", "3"], 2, "--fields"), (["--fields", "x"], 2, "JSON"),
    (["--fields", "3"], 2, "object"), (["--fields", "{}"], 1, "evt.type"), (["--capture", "CAPTURE"], 2, "--event"),
    (["--capture", "CAPTURE", "--alert", "x"], 2, "syscall:85"), (["--capture", "CAPTURE", "--alert", "{}"], 2, "evt.num"),
    (["--capture", "CAPTURE", "--event", "99999"], 1, "9299"),
    (["--capture", "CAPTURE", "--event", "3"], 1, "the next is"), (["--capture", "CAPTURE", "--event", "99", "--rule", "x"], 1, "no rule"),
    (["--fields", "{}", "--priority", "x"], 2, "warning"),
])
def test_wrong_use(args: list[str], status: int, text: str, attack1: pathlib.Path) -> None:
    run = command(*(attack1 if a == "CAPTURE" else a for a in args))
    assert run.exit_code == status, run.output
    assert text in run.stderr
