# SPDX-License-Identifier: Apache-2.0
"""What rules and stages cost, counted while a run goes on."""

from __future__ import annotations

import pathlib
import re
import time

import pytest
from prometheus_client.parser import text_string_to_metric_families

import falcolib
from falcolib.config.services import MetricsSettings
from falcolib.costs import Costs
from falcolib.daemon.prometheus import exposition, for_prometheus
from falcolib.metrics import Metrics

RULES = """
- {rule: Cheap, desc: d, condition: evt.type = execve and proc.name = nothing, output: x, priority: INFO}
- rule: Dear and common
  desc: d
  condition: evt.type in (open, openat, read, close) and fd.name regex ".*(a|b)*c.*d" or evt.type in (read, write) and fd.name glob "*x*y*z"
  output: x
  priority: INFO
"""


@pytest.fixture
def counted(attack1: pathlib.Path, monkeypatch: pytest.MonkeyPatch) -> falcolib.Engine:
    monkeypatch.setattr("falcolib.costs.LOOK", 0.0)
    return run(attack1)


def run(capture: pathlib.Path) -> falcolib.Engine:
    engine = falcolib.Engine(falcolib.RuleSet.parse(RULES, name="r"), matching="all")
    engine.costs = Costs()
    for _ in engine.run(falcolib.Capture(capture)):
        pass
    return engine


def test_rules(counted: falcolib.Engine, attack1: pathlib.Path) -> None:
    assert counted.costs is not None
    rules, stages = counted.costs.by_rule(), counted.costs.by_stage()
    assert stages.keys() == {"rules", "state", "alerts"}
    assert 0 < rules["Dear and common"] <= stages["rules"] * 1.5
    assert stages["state"] > 0
    # the processor may be taken away just in the cheap one, but not always
    several = (engine.costs.by_rule() for engine in (counted, *(run(attack1) for _ in range(5))) if engine.costs)
    assert any(costs["Dear and common"] > costs.get("Cheap", 0) for costs in several)


def test_what_others_had_of_the_processor_is_no_cost(attack1: pathlib.Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As on a busy machine: the run has a fortieth of the time."""
    monkeypatch.setattr("falcolib.costs.LOOK", 0.0)
    monkeypatch.setattr(time, "thread_time_ns", lambda: time.perf_counter_ns() // 40)
    began = time.perf_counter_ns()
    costs = run(attack1).costs
    assert costs is not None
    stages = costs.by_stage()
    assert stages["rules"] > 0
    assert stages["state"] > 0
    assert sum(stages.values()) <= (time.perf_counter_ns() - began) // 40


def test_they_grow_and_survive_a_reload(counted: falcolib.Engine, attack1: pathlib.Path) -> None:
    assert counted.costs is not None
    before = counted.costs.by_rule()["Dear and common"], counted.costs.by_stage()["rules"]
    counted.replace(falcolib.RuleSet.parse(RULES.replace("Dear and common", "Another"), name="r"))
    for _ in counted.run(falcolib.Capture(attack1)):
        pass
    assert counted.costs.by_rule()["Dear and common"] >= before[0] * 0.5       # the length of a tick is measured anew
    assert counted.costs.by_rule()["Another"] > 0
    assert counted.costs.by_stage()["rules"] > before[1] * 0.5


def test_alerts_are_the_same(attack1: pathlib.Path) -> None:
    engine = falcolib.Engine(falcolib.RuleSet.parse(RULES.replace("proc.name = nothing", "proc.name exists"), name="r"), matching="all")
    plain = [alert.json() for alert in engine.run(falcolib.Capture(attack1))]
    engine.costs = Costs()
    assert [alert.json() for alert in engine.run(falcolib.Capture(attack1))] == plain


def test_metrics_tell_them_if_they_are_to(counted: falcolib.Engine) -> None:
    assert not any("_cost." in name for name in Metrics(counted, MetricsSettings(enabled=True)).sample())
    metrics = Metrics(counted, MetricsSettings(enabled=True, costs_enabled=True))
    names = {name for name in metrics.sample() if "_cost." in name}
    assert {"falco.rules_cost.Dear and common.ns", "falco.stage_cost.rules.ns", "falco.stage_cost.state.ns"} <= names
    families = {family.name: family for family in text_string_to_metric_families(exposition(for_prometheus(metrics)).decode())}
    stages = {sample.labels["stage"]: sample.value for sample in families["falcosecurity_falco_stage_cost_seconds"].samples}
    assert stages.keys() == {"rules", "state", "alerts"}
    rules = families["falcosecurity_falco_rules_cost_seconds"].samples
    assert "Dear and common" in {sample.labels["rule_name"] for sample in rules}
    assert not any(re.search(r"_cost_.*_ns", name) for name in families)
