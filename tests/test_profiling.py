# SPDX-License-Identifier: Apache-2.0
"""A profile counts what the machine does, and changes nothing."""

import json
import subprocess
import sys

import pytest

import falcolib
from audit_events import event, rules, text
from conftest import ROOT
from falcolib.compiler.control import decided_by
from falcolib.compiler.disasm import Listing

OURS = ROOT / "rules" / "falcolib_rules.yaml"
HEAD = "  desc: d\n  output: x\n  priority: DEBUG\n"
RULES = f"""
- macro: opened
  condition: evt.type in (open, openat) and fd.num >= 0
- rule: etc
  condition: opened and fd.name startswith /etc/ and not proc.name in (a, b)
{HEAD}
- rule: bin
  condition: opened and (fd.name startswith /bin or fd.name contains lib or fd.name glob "/*x*y*z")
{HEAD}
- rule: none
  condition: evt.type = openat and fd.name = "/nowhere/at all s1"
{HEAD}
- rule: started
  condition: evt.type = execve and proc.name exists
{HEAD}"""


@pytest.fixture(scope="module")
def program():
    return falcolib.compile_rules(falcolib.RuleSet.parse(RULES).rules)


def test_hits_and_runs_are_those_of_a_run(program, attack1):
    engine = falcolib.Engine(program, matching="all")
    list(engine.run(falcolib.Capture(attack1)))
    stats = engine.stats()
    found = falcolib.profile(program, falcolib.Capture(attack1))
    assert (found.events, found.evaluated) == (stats.events, stats.evaluated)
    assert {row.rule: row.hits for row in found.rules if row.hits} == stats.alerts
    assert {row.rule for row in found.rules} == {"etc", "bin", "none", "started"}
    [reads] = [row.runs for row in found.fields if row.field == "fd.name"]
    assert 0 < reads <= stats.evaluated                 # at most once an event
    [gate] = [row for row in found.gates if row.test.startswith("fd.num ge.i 0")]
    assert gate.rules == 2
    assert gate.runs >= gate.hits > 0
    assert all(row.ns >= 0 for rows in (found.rules, found.gates, found.fields) for row in rows)


def test_times_add_up(attack1):
    """Each test's time is the rules' that it decides, so that nothing is lost or counted twice; gates stand where they are entered."""
    found = falcolib.profile(falcolib.RuleSet.load(OURS), falcolib.Capture(attack1))
    sections = sum(row.ns for row in found.gates if not row.where.startswith("gate "))
    assert sum(row.ns for row in found.rules) >= sections * 0.999
    assert sum(row.ns for row in found.rules) <= sum(row.ns for row in found.gates) * 1.001
    assert 0 < found.ns <= found.seconds * 1e9 * 1.01


def test_which_rules_a_test_decides(program):
    listing = Listing(program)
    for _, gate, first, count in listing.ranges():
        decided = decided_by(listing, first, count)
        for place in range(first, first + count):
            name, _, _ = listing.flow(place)
            names = {program.rules[n].name for n in range(len(program.rules)) if decided[place - first] >> n & 1}
            test = listing.test(place)
            if gate is not None:
                continue
            if "/etc/" in test:
                assert names == {"etc"}
            elif "nowhere" in test:
                assert names == {"none"}
                assert "s1" in test                     # in the constant: no register
            elif "/bin" in test or "lib" in test or "glob" in test:
                assert names == {"bin"}, test
            elif "fd.num" in test:
                assert names == {"etc", "bin"}
            elif name not in ("rule", "stop"):
                assert names, test


def test_a_damaged_capture_is_an_error(program, tmp_path, attack1):
    cut = tmp_path / "cut.scap"
    cut.write_bytes(b"".join(falcolib.Capture(attack1).chunks())[:-5])
    with pytest.raises(falcolib.CaptureError):
        falcolib.profile(program, falcolib.Capture(cut))


@pytest.fixture
def audit_log(tmp_path):
    log = tmp_path / "audit.log"
    log.write_bytes(text(event(), event(verb="get"), event(verb="delete")) + b"{\n")
    return log


def test_audit_events_are_profiled_too(audit_log):
    found = falcolib.profile(rules(["ka.verb in (create, delete)", "ka.verb = list"]), falcolib.AuditFile(audit_log))
    assert (found.events, found.evaluated) == (3, 3)
    assert {row.rule: row.hits for row in found.rules} == {"r0": 2, "r1": 0}
    assert {row.field: row.runs for row in found.fields} == {"ka.verb": 3}


def test_audit_events_on_the_command_line(audit_log):
    command = [sys.executable, "-m", "falcolib", "profile", "--audit", str(audit_log)]
    done = subprocess.run([*command, "--json"], capture_output=True, text=True, check=True)
    told = json.loads(done.stdout)
    assert told["events"] == 3
    ours = falcolib.RuleSet.load(ROOT / "rules" / "k8s_audit_rules.yaml").rules
    assert {row["rule"] for row in told["rules"]} == {rule.name for rule in ours if rule.enabled}
    assert f"{audit_log}:4: no valid JSON" in done.stderr
    assert subprocess.run([*command, "--capture", "x.scap"], capture_output=True).returncode == 2
    assert subprocess.run(command[:-2], capture_output=True).returncode == 2


def test_on_the_command_line(tmp_path, attack1):
    file = tmp_path / "rules.yaml"
    file.write_text(RULES)
    command = [sys.executable, "-m", "falcolib", "profile", str(file), "--capture", str(attack1)]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert "rules were run on" in done.stderr
    assert all(word in done.stdout for word in ("fd.name", "bin", "share", "hits"))
    told = json.loads(subprocess.run([*command, "--json"], capture_output=True, text=True, check=True).stdout)
    assert {row["rule"] for row in told["rules"]} == {"etc", "bin", "none", "started"}
    assert subprocess.run([*command, "--top", "0"], capture_output=True, text=True).returncode == 2
