# SPDX-License-Identifier: Apache-2.0
"""Tests of rules as data: what files of them can say, what comes of them, and how mistakes in them are told."""

import json
import os
import pathlib
import subprocess
import sys

import pytest

from audit_events import event as audit_event
from audit_events import text as audit_text
from conftest import DATA
from falcolib.testing import RuleTestError, find_tests, is_test_file, read_tests, run_tests

RULES = """
- list: secrets
  items: [/etc/shadow, /etc/gshadow]
- macro: secret
  condition: (fd.name in (secrets) or fd.name startswith /root/.ssh/)
- rule: Secret read
  desc: A secret is read.
  condition: evt.type = openat and secret and not proc.name in (sshd, login)
  output: read %fd.name
  priority: WARNING
- rule: Off
  desc: Disabled.
  condition: evt.type = close and fd.num > 2 and proc.aname = sshd
  output: closed
  priority: INFO
  enabled: false
"""
TESTS = """
every_event: {evt.type: openat}
tests:
  - rule: Secret read
    event: {fd.name: /etc/shadow, proc.name: cat}
    also:
      - {fd.name: /root/.ssh/id}
    near_misses:
      - {proc.name: sshd}
      - {fd.name: null}
  - rule: "Off"
    event: {evt.type: close, fd.num: 3, proc.aname: [bash, sshd]}
    near_misses: [{proc.aname: bash}]
"""


@pytest.fixture
def folder(tmp_path: pathlib.Path) -> pathlib.Path:
    (tmp_path / "tests").mkdir()
    (tmp_path / "mine.yaml").write_text(RULES)
    (tmp_path / "tests" / "mine.yaml").write_text(TESTS)
    return tmp_path


def outcomes(folder: pathlib.Path, tests: str) -> list[str]:
    """What comes of tests: the label of each case, with a minus if it failed."""
    (folder / "tests" / "mine.yaml").write_text(tests)
    return [("" if o.passed else "-") + o.case.label for o in run_tests(find_tests([folder]))]


def falcolib(*args: str, cwd: pathlib.Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, "-m", "falcolib", *args], cwd=cwd, capture_output=True, text=True, timeout=300)


# ---- what is tested ----------------------------------------------------------------------------------------------------------------------


def test_events_and_changes_to_them(folder: pathlib.Path) -> None:
    assert outcomes(folder, TESTS) == ["event", "also 1", "near miss 1", "near miss 2", "event", "near miss 1"]


def test_an_event_that_should_match_and_does_not(folder: pathlib.Path) -> None:
    assert outcomes(folder, "tests:\n- {rule: Secret read, event: {evt.type: openat, fd.name: /etc/hosts}}") == ["-event"]


def test_an_event_that_should_not_match_and_does(folder: pathlib.Path) -> None:
    test = "tests:\n- {rule: Secret read, name: n, matches: false, event: {evt.type: openat, fd.name: /etc/shadow, proc.name: a}}"
    assert outcomes(folder, test) == ["-n, event"]


def test_every_near_miss_changes_every_event_that_must_match(folder: pathlib.Path) -> None:
    found = outcomes(folder, TESTS + "every_near_miss: [{evt.type: dup}, {evt.num: 0x10}]\n")
    assert found[:3] == ["event", "event, every near miss 1", "-event, every near miss 2"]
    assert "also 1, every near miss 1" in found


def test_a_failure_tells_which_tests_of_the_condition_decided(folder: pathlib.Path) -> None:
    (folder / "tests" / "mine.yaml").write_text("tests:\n- {rule: Secret read, event: {evt.type: openat, fd.name: /etc/hosts}}")
    (outcome,) = run_tests(find_tests([folder]))
    assert outcome.why[0] == "the rule does not match, and must"
    assert outcome.why[1] == "event: {evt.type: openat, fd.name: /etc/hosts}"
    place = f"{folder}/mine.yaml"
    assert outcome.why[2:] == (
        f"{place}:5:15: false: fd.name in (/etc/shadow, /etc/gshadow)   [fd.name: /etc/hosts], in macro 'secret'",
        f"{place}:5:39: false: fd.name startswith /root/.ssh/   [fd.name: /etc/hosts], in macro 'secret'",
    )
    assert str(outcome).startswith(f"{folder}/tests/mine.yaml:2:30: FAILED: Secret read[event]")


def test_values_are_read_as_their_fields_types_say(folder: pathlib.Path) -> None:
    event = read(folder, "{evt.type: open, proc.name: 5, fd.num: 0x10, evt.rawres: -2, evt.failed: yes, fd.sip: '::1', evt.buffer: é}")
    assert event == {"evt.type": "open", "proc.name": "5", "fd.num": 16, "evt.rawres": -2, "evt.failed": True, "fd.sip": "::1",
                     "evt.buffer": "é".encode()}  # fmt: skip


def read(folder: pathlib.Path, event: str) -> dict[str, object]:
    path = folder / "tests" / "mine.yaml"
    path.write_text(f"tests:\n- {{rule: Secret read, event: {event}}}\n")
    (case,) = read_tests(path).cases
    assert case.event is not None
    return case.event


def test_captures(folder: pathlib.Path) -> None:
    capture = DATA / "attack1.scap"
    (folder / "mine.yaml").write_text(RULES.replace("evt.type = close and fd.num > 2 and proc.aname = sshd", "evt.type = execve"))
    everything = outcomes(folder, f"tests:\n- {{rule: Off, capture: {capture}, alerts: 1}}\n- {{rule: Off, capture: {capture}}}\n"
                                  f"- {{rule: Off, capture: {capture}, matches: false}}")
    assert everything == ["-1 alerts", "capture", "-capture"]
    (outcome, *_) = run_tests(find_tests([folder]))
    numbers = outcome.why[0].partition("(events ")[2].split(",")[:2]
    before = int(numbers[0]) - 1
    count = int(outcome.why[0].split()[3])
    named = ", ".join(numbers)
    test = f"tests:\n- {{rule: Off, capture: {capture}, events: [{named}], near_misses: [{numbers[0]}, {before}], alerts: {count}}}"
    labels = [f"event {int(n)}" for n in numbers]
    assert outcomes(folder, test) == [*labels, f"-near miss {numbers[0]}", f"near miss {before}", f"{count} alerts"]
    assert outcomes(folder, f"tests:\n- {{rule: Off, capture: {capture}, event: 99999999}}") == ["-event 99999999"]


def test_audit_events(folder: pathlib.Path) -> None:
    (folder / "mine.yaml").write_text("- {rule: A, desc: d, condition: ka.verb = create, output: o, priority: INFO, source: k8s_audit}")
    (folder / "tests" / "a.json").write_bytes(audit_text(audit_event(), audit_event(verb="get"), audit_event()))
    tests = ("tests:\n- {rule: A, event: {ka.verb: create}, near_misses: [{ka.verb: get}, {evt.source: syscall, evt.type: open}]}\n"
             "- {rule: A, capture: a.json, events: [1, 3], near_misses: [2], alerts: 2}\n")  # fmt: skip
    assert outcomes(folder, tests) == ["event", "near miss 1", "near miss 2", "event 1", "event 3", "near miss 2", "2 alerts"]


# ---- which files -------------------------------------------------------------------------------------------------------------------------


def test_rule_files_lead_to_their_tests(folder: pathlib.Path) -> None:
    assert [f.path for f in find_tests([folder / "mine.yaml"])] == [folder / "tests" / "mine.yaml"]
    assert [f.path for f in find_tests([folder])] == [folder / "tests" / "mine.yaml"]
    assert not is_test_file(folder / "mine.yaml")


def test_a_file_names_its_rules(folder: pathlib.Path) -> None:
    (folder / "elsewhere.yaml").write_text("rules: [mine.yaml]\n" + TESTS)
    assert all(o.passed for o in run_tests([read_tests(folder / "elsewhere.yaml")]))
    assert all(o.passed for o in run_tests([read_tests(folder / "tests" / "mine.yaml")], [folder / "mine.yaml"]))


@pytest.mark.parametrize(("text", "message"), [
    ("tests: 1", "mine.yaml:1:8: 'tests' must be a sequence of tests"),
    ("- a", "a file of tests is one mapping"),
    ("tests:\n- a", "mine.yaml:2:3: a test is a mapping with 'rule'"),
    ("tests:\n- {rule: Of, event: {evt.type: open}}", "mine.yaml:2:10: there is no rule 'Of'; the rules are from"),
    ("tests:\n- {rule: Of, event: {evt.type: open}}", "did you mean Off?"),
    ("tests:\n- {rule: a, evnt: {}}", "unknown key 'evnt' in a test"),
    ("tests:\n- {rule: a, evnt: {}}", "did you mean event?"),
    ("tests:\n- {rule: a}", "needs an 'event', or a 'capture'"),
    ("tests:\n- {rule: a, event: 12}", "needs the 'capture'"),
    ("tests:\n- {rule: 'Off', event: {}}", "mine.yaml:2:24: the event has no evt.type"),
    ("tests:\n- {rule: a, event: {evt.type: opne}}", "there is no event type 'opne'"),
    ("tests:\n- {rule: a, event: {evt.type: open, proc.nam: a}}", "did you mean 'proc.name'?"),
    ("tests:\n- {rule: a, event: {evt.type: open, evt.type: close}}", "evt.type is given twice"),
    ("tests:\n- {rule: a, event: {evt.type: open, fd.num: x}}", "mine.yaml:2:45: fd.num: 'x' isn't a number"),
    ("tests:\n- {rule: a, event: {evt.type: open, fd.num: 9999999999999999999999}}", "out of range"),
    ("tests:\n- {rule: a, event: {evt.type: open, fd.sip: x}}", "fd.sip: 'x' isn't an IP address"),
    ("tests:\n- {rule: a, event: {evt.type: open, evt.failed: x}}", "'evt.failed' must be true or false"),
    ("tests:\n- {rule: a, event: {evt.type: open, proc.name: [a]}}", "proc.name has one value"),
    ("tests:\n- {rule: a, capture: nowhere.scap}", "there is no capture"),
    ("rules: nowhere.yaml\ntests: []", "there is no rule file"),
    ("tests:\n- {rule: a, matches: false, event: {evt.type: open}, near_misses: []}", "'near_misses' are for"),
    ("tests:\n- {rule: a, event: {evt.type: open}, alerts: 1}", "'alerts' is for tests with a 'capture'"),
    ("tests: [", "mine.yaml:2:1: "),
    ("tests:\n- {rule: \xff", "mine.yaml:"),
], ids=lambda value: value.replace("\n", " ")[:50])  # fmt: skip
def test_mistakes_have_a_place(folder: pathlib.Path, text: str, message: str) -> None:
    path = folder / "tests" / "mine.yaml"
    path.write_text(text, encoding="latin-1")
    with pytest.raises(RuleTestError) as caught:
        list(run_tests([read_tests(path)]))
    assert message in str(caught.value)
    assert caught.value.location is not None


# ---- the command -------------------------------------------------------------------------------------------------------------------------


def test_the_command(folder: pathlib.Path) -> None:
    done = falcolib("test", ".", cwd=folder)
    assert (done.returncode, done.stdout) == (0, "6 tests of 2 rules in 1 files: all passed\n")
    done = falcolib("test", "mine.yaml", "--coverage", "--fail-under", "101", cwd=folder)
    assert done.returncode == 2
    done = falcolib("test", "mine.yaml", "--coverage", "--fail-under", "90", cwd=folder)
    assert done.returncode == 1
    assert "mine.yaml:8:14: never false: evt.type = openat   (rule 'Secret read')" in done.stdout
    assert "the coverage, 78.6%, is less than 90%" in done.stderr


def test_the_command_fails_if_a_test_fails(folder: pathlib.Path) -> None:
    (folder / "tests" / "mine.yaml").write_text(TESTS + "  - {rule: Secret read, event: {fd.name: x}}\n")
    done = falcolib("test", ".", "-k", "Secret*", "--json", cwd=folder)
    found = json.loads(done.stdout)
    assert done.returncode == 1
    assert (found["passed"], found["failed"]) == (4, 1)
    assert found["tests"][-1]["why"][0] == "the rule does not match, and must"


def test_no_tests_are_no_success(folder: pathlib.Path) -> None:
    (folder / "tests" / "mine.yaml").unlink()
    assert "no tests in ." in falcolib("test", ".", cwd=folder).stderr
    (folder / "tests" / "mine.yaml").write_text(TESTS)
    assert "no rule matches 'X*'" in falcolib("test", ".", "-k", "X*", cwd=folder).stderr


def test_coverage_names_rules_without_tests(folder: pathlib.Path) -> None:
    (folder / "tests" / "mine.yaml").write_text("tests:\n- {rule: 'Off', event: {evt.type: close, fd.num: 3, proc.aname: sshd}}")
    shown = falcolib("test", ".", "--coverage", cwd=folder).stdout
    assert "mine.yaml:6:3: no tests: rule 'Secret read'" in shown
    assert "no event that it must not match: rule 'Off'" in shown


# ---- pytest ------------------------------------------------------------------------------------------------------------------------------


def run_pytest(folder: pathlib.Path, *args: str) -> str:
    done = subprocess.run([sys.executable, "-m", "pytest", "-p", "no:cacheprovider", "-c", os.devnull, "--rootdir", ".", *args], cwd=folder,
                          capture_output=True, text=True, timeout=300, env=os.environ | {"PYTEST_ADDOPTS": ""})  # fmt: skip
    return done.stdout + done.stderr


def test_pytest_collects_cases(folder: pathlib.Path) -> None:
    (folder / "tests" / "mine.yaml").write_text(TESTS + "  - {rule: Secret read, name: odd, event: {fd.name: x}}\n")
    (folder / "tests" / "bad.yaml").write_text("tests:\n- {rule: a, event: {evt.type: opne}}\n")
    (folder / "tests" / "foreign.yaml").write_text("tests:\n- {name: a, request: {url: x}}\n")
    (folder / "test_other.py").write_text("def test_it(): pass\n")
    shown = run_pytest(folder, "-v", "--continue-on-collection-errors")
    assert "tests/mine.yaml::Secret read[near miss 2] PASSED" in shown
    assert "FAILED: Secret read[odd, event]" in shown
    assert "there is no event type 'opne'" in shown
    assert "1 failed, 7 passed, 1 error" in shown


def test_pytest_needs_no_falcolib_for_other_tests(folder: pathlib.Path) -> None:
    (folder / "tests" / "mine.yaml").write_text("tests_of_others: 1\n")
    (folder / "test_other.py").write_text("import sys\ndef test_it():\n    assert 'falcolib' not in sys.modules\n")
    assert "1 passed" in run_pytest(folder)
