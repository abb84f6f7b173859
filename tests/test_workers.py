# SPDX-License-Identifier: Apache-2.0
"""Several workers give the alerts of one, in the same order, whatever happens."""

import io
import itertools
import subprocess
import sys
import threading

import pytest

from conftest import CONFORMANCE, DATA
from falcolib import Capture, CaptureError, Engine, FalcolibError, Program, RuleSet, compile_rules
from falcolib import workers as workers_module

HEAD = "  desc: d\n  output: '%evt.num %proc.name %fd.name'\n  priority: DEBUG\n  warn_evttypes: false\n"
EVERY = "".join(f"- rule: every {i}\n  condition: evt.num > {i} and evt.type in (openat, execve)\n{HEAD}" for i in range(3)) + (
    f"- rule: shells\n  condition: proc.name in (sh, bash) and proc.aname exists\n{HEAD}"
    f"- rule: regex\n  condition: proc.cmdline regex '.*(etc|tmp).*' and evt.num > 2000 and evt.type = close\n{HEAD}")
PUBLIC = [CONFORMANCE / "rules" / f"{name}_rules.yaml" for name in ("falco", "falco-incubating", "falco-sandbox")]


@pytest.fixture(scope="module")
def every() -> Program:
    return compile_rules(RuleSet.parse(EVERY).rules)


def lines(engine: Engine, source) -> list[tuple[str, str]]:
    """What a run gives, up to its end or its error."""
    out = []
    try:
        for alert in engine.run(source):
            out.append((alert.id, alert.message))
    except FalcolibError as e:
        out.append((type(e).__name__, str(e)))
    return out


@pytest.mark.parametrize("matching", ["first", "all"])
def test_alerts_and_their_order_are_those_of_one(every, attack1, matching):
    one = lines(Engine(every, matching=matching), Capture(attack1))
    assert len(one) > 300
    for count in (2, 3):
        assert lines(Engine(every, matching=matching, workers=count), Capture(attack1)) == one


@pytest.mark.conformance
@pytest.mark.parametrize("matching", ["first", "all"])
def test_public_rules_find_the_same_in_all_captures(matching):
    program = compile_rules(RuleSet.load(*PUBLIC).rules)
    found = 0
    for path in sorted((CONFORMANCE / "captures").glob("*.scap")):
        one, two, three = (lines(Engine(program, matching=matching, workers=count), Capture(path)) for count in (1, 2, 3))
        assert two == one == three, path.name
        found += len(one)
    assert found > 50


def test_statistics_are_those_of_one(every, attack1):
    one, three = Engine(every, matching="all"), Engine(every, matching="all", workers=3)
    for engine in (one, three):
        lines(engine, Capture(attack1))
        lines(engine, Capture(attack1))
    assert three.stats() == one.stats()


def test_alerts_up_to_the_damage_come_first(every, attack1):
    whole = b"".join(Capture(attack1).chunks())
    at = len(whole) * 4 // 5
    for cut in (whole[:at], whole[:at] + b"\xff" * 64 + whole[at + 64 :]):
        one = lines(Engine(every, matching="all"), Capture(io.BytesIO(cut)))
        assert one[-1][0] == CaptureError.__name__
        assert len(one) > 100
        assert lines(Engine(every, matching="all", workers=2), Capture(io.BytesIO(cut))) == one


def test_a_failing_worker_ends_the_run_at_its_event(every, attack1, monkeypatch):
    """The alerts before the event are given, those after it aren't, also where another worker has found them already."""

    def full_match(compiled, subject):
        raise FalcolibError("no more")

    monkeypatch.setattr("falcolib.regex.full_match", full_match)
    one = lines(Engine(every, matching="all"), Capture(attack1))
    assert one[-1] == ("FalcolibError", "no more")
    assert len(one) > 100
    for count in (2, 3):
        assert lines(Engine(every, matching="all", workers=count), Capture(attack1)) == one


def test_rules_that_are_replaced_come_into_force_for_all_at_one_event(every, attack1):
    other = compile_rules(RuleSet.parse(f"- rule: other\n  condition: evt.num > 0\n{HEAD}").rules)
    engine = Engine(every, workers=3)
    rules = []
    for alert in engine.run(Capture(attack1)):
        rules.append(alert.rule)
        if len(rules) == 10:
            engine.replace(other)
    assert [rule for rule, _ in itertools.groupby(rules)][-1] == "other"
    assert "every 0" not in rules[rules.index("other") :]


def test_the_engine_does_other_things_as_with_one(every, attack1):
    one, two = Engine(every, matching="all"), Engine(every, matching="all", workers=2)
    lines(two, Capture(attack1))
    given = [{"evt.type": "open", "evt.num": n, "proc.name": "sh"} for n in range(200)]
    assert [a.rule for a in two.run(given)] == [a.rule for a in one.run(given)]
    assert [e.num for e in two.events(Capture(attack1))] == [e.num for e in one.events(Capture(attack1))]
    several = [[a.message for a in engine.run([Capture(attack1), Capture(DATA / "attack1.scap")])] for engine in (one, two)]
    assert several[0] == several[1]


def test_a_run_that_is_given_up_leaves_no_thread(every, attack1):
    engine = Engine(every, workers=3)
    next(iter(engine.run(Capture(attack1))))
    run = engine.run(Capture(attack1))
    next(run)
    run.close()
    for thread in [t for t in threading.enumerate() if t.name == "falcolib-worker"]:
        thread.join(60)
        assert not thread.is_alive()
    assert lines(engine, Capture(attack1)) == lines(Engine(every), Capture(attack1))


@pytest.mark.parametrize("count", [0, -1, 1000])
def test_a_number_of_workers_that_cant_be_is_refused(count):
    with pytest.raises(ValueError, match="workers: from 1 to 64"):
        Engine(workers=count)


def test_on_the_command_line(attack1, tmp_path):
    rules = tmp_path / "rules.yaml"
    rules.write_text(EVERY)
    base = [sys.executable, "-m", "falcolib", "run", "-r", str(rules), "--capture", str(attack1), "-o", "rule_matching=all"]
    one, two = (subprocess.run([*base, *more], capture_output=True, text=True, check=True).stdout for more in ([], ["--workers", "2"]))
    assert two == one != ""


def test_batches_that_fill_at_different_events(every, attack1, monkeypatch):
    """A worker that is ahead waits with what it has found."""
    held = []
    take = workers_module.Workers.take

    def watched(self):
        out = take(self)
        held.append(len(self._held))
        return out

    monkeypatch.setattr(workers_module.Workers, "take", watched)
    many = "".join(f"- rule: r{i}\n  condition: evt.num > {i}\n{HEAD}" for i in range(200))
    program = compile_rules(RuleSet.parse(many).rules)
    one, two = Engine(program, matching="all"), Engine(program, matching="all", workers=2)
    same = zip(one.run(Capture(attack1)), two.run(Capture(attack1)), strict=True)
    for a, b in itertools.islice(same, 20_000):
        assert (a.id, a.rule) == (b.id, b.rule)
    assert max(held) > 0
