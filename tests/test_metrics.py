# SPDX-License-Identifier: Apache-2.0
"""Metrics: an engine's numbers under Falco's names, in a file and as alerts."""

from __future__ import annotations

import hashlib
import json
import os
import pathlib
import subprocess
import sys
import threading
from typing import Any

import pytest

from falcolib import Capture, Engine, RuleSet
from falcolib.metrics import Metrics, writing
from falcolib.settings import MetricsSettings, read_settings
from test_together import RULES, Pushed, program, wait_until

#: Names that Falco writes with every sample (spec: engine.md D6).
WRAPPER = {"evt.time", "evt.hostname", "evt.source", "falco.version", "falco.start_ts", "falco.reload_ts", "falco.duration_sec",
           "falco.kernel_release", "falco.host_boot_ts", "falco.host_num_cpus", "falco.outputs_queue_num_drops"}  # fmt: skip


@pytest.fixture(scope="module")
def rules() -> RuleSet:
    return RuleSet.parse(RULES, name="rules.yaml")


def run(*options: str, capture: pathlib.Path, rule_file: pathlib.Path) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "falcolib", "run", "-r", str(rule_file), "--capture", str(capture)]
    return subprocess.run([*command, *(part for option in options for part in ("-o", option))], capture_output=True, text=True, timeout=120)


@pytest.fixture
def rule_file(tmp_path: pathlib.Path) -> pathlib.Path:
    path = tmp_path / "my rules.yaml"
    path.write_text(RULES)
    return path


def lines(path: pathlib.Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text().splitlines()]


def test_a_run_ends_with_a_sample_in_the_file(tmp_path: pathlib.Path, rule_file: pathlib.Path, attack1: pathlib.Path) -> None:
    file = tmp_path / "metrics.jsonl"
    done = run("metrics.enabled=true", "metrics.interval=1h", f"metrics.output_file={file}", capture=attack1, rule_file=rule_file)
    assert done.returncode == 0, done.stderr
    (line,) = lines(file)
    assert line["sample"] == 1
    fields = line["output_fields"]
    assert fields.keys() >= WRAPPER
    alerts = len(done.stdout.splitlines())
    assert fields["falco.rules.matches_total"] == fields["falco.rules.Exec"] == alerts > 50
    assert fields["scap.engine_name"] == "replay"
    assert fields["scap.n_evts"] == fields["falco.num_evts"] == int(done.stderr.partition("Events read: ")[2].split()[0])
    assert fields["falco.sha256_rules_file.my_rules"] == hashlib.sha256(rule_file.read_bytes()).hexdigest()
    assert fields["falco.kernel_release"] == os.uname().release
    assert fields["falco.memory_rss_mb"] > 1
    assert fields["falco.n_added_threads"] >= fields["falco.n_threads"] > 0


def test_samples_are_appended_to_what_is_there(tmp_path: pathlib.Path, rule_file: pathlib.Path, attack1: pathlib.Path) -> None:
    file = tmp_path / "metrics.jsonl"
    for _ in range(2):
        run("metrics.enabled=true", f"metrics.output_file={file}", capture=attack1, rule_file=rule_file)
    assert [line["sample"] for line in lines(file)] == [1, 1]


def test_without_enabled_nothing_is_written(tmp_path: pathlib.Path, rule_file: pathlib.Path, attack1: pathlib.Path) -> None:
    file = tmp_path / "metrics.jsonl"
    run(f"metrics.output_file={file}", "metrics.output_rule=true", capture=attack1, rule_file=rule_file)
    assert not file.exists()


def test_a_file_that_cant_be_written_is_an_error(tmp_path: pathlib.Path, rule_file: pathlib.Path, attack1: pathlib.Path) -> None:
    done = run("metrics.enabled=true", f"metrics.output_file={tmp_path}/no/such", capture=attack1, rule_file=rule_file)
    assert done.returncode == 1
    assert f"{tmp_path}/no/such: No such file" in done.stderr


def test_among_the_alerts(rule_file: pathlib.Path, attack1: pathlib.Path) -> None:
    text = run("metrics.enabled=true", "metrics.output_rule=true", capture=attack1, rule_file=rule_file).stdout.splitlines()[-1]
    assert ": Informational Falco metrics snapshot (evt.time=" in text
    options = ("metrics.enabled=true", "metrics.output_rule=true", "json_output=true")
    alert = json.loads(run(*options, capture=attack1, rule_file=rule_file).stdout.splitlines()[-1])
    assert alert["rule"] == "Falco internal: metrics snapshot"
    assert (alert["priority"], alert["source"]) == ("Informational", "internal")
    assert alert["output_fields"].keys() >= WRAPPER


def test_groups_are_switched_off_by_name(rules: RuleSet, attack1: pathlib.Path) -> None:
    engine = Engine(rules)
    alerts = len(list(engine.run(Capture(attack1))))
    groups = {"rules_counters_enabled": "falco.rules.", "resource_utilization_enabled": "falco.memory_",
              "state_counters_enabled": "falco.n_"}  # fmt: skip
    for switch, names in groups.items():
        settings = read_settings([f"metrics.{switch}=false"]).metrics
        with_, without = Metrics(engine, MetricsSettings()).sample(), Metrics(engine, settings).sample()
        assert any(name.startswith(names) for name in with_), names
        assert not any(name.startswith(names) for name in without), names
    assert Metrics(engine, MetricsSettings()).sample()["falco.rules.matches_total"] == alerts


def test_empty_values_are_left_out_unless_they_are_wanted(rules: RuleSet) -> None:
    engine = Engine(rules)
    assert "scap.n_drops" not in Metrics(engine, MetricsSettings()).sample()
    assert Metrics(engine, MetricsSettings(include_empty_values=True)).sample()["scap.n_drops"] == 0


def test_memory_in_kib(rules: RuleSet) -> None:
    sample = Metrics(Engine(rules), MetricsSettings(convert_memory_to_mb=False)).sample()
    assert sample["falco.memory_rss_kb"] > 1024                 # type: ignore[operator]
    assert "falco.memory_rss_mb" not in sample


def test_rates_are_since_the_sample_before(rules: RuleSet, attack1: pathlib.Path) -> None:
    engine = Engine(rules)
    metrics = Metrics(engine, MetricsSettings(include_empty_values=True))
    list(engine.run(Capture(attack1)))
    first, second = metrics.sample(), metrics.sample()
    assert first["falco.evts_rate_sec"] > 0                     # type: ignore[operator]
    assert second["falco.num_evts_prev"] == first["falco.num_evts"]
    assert second["falco.evts_rate_sec"] == 0


def test_a_source_s_own_counters_are_told(rules: RuleSet) -> None:
    class Counting(Pushed):
        engine_name = "modern_ebpf"

        def counters(self) -> dict[str, int]:
            return {"n_evts": 200, "n_drops": 50, "n_drops_buffer_total": 50, "n_drops_cpu_3": 50}

    sample = Metrics(Engine(rules), MetricsSettings(), [Counting()]).sample()
    assert (sample["scap.n_evts"], sample["scap.n_drops"], sample["scap.n_drops_perc"]) == (200, 50, 25)
    assert sample["scap.n_drops_buffer_total"] == 50
    assert sample["scap.engine_name"] == "modern_ebpf"
    assert "scap.n_drops_cpu_3" not in sample
    every = MetricsSettings(kernel_event_counters_per_cpu_enabled=True)
    assert Metrics(Engine(rules), every, [Counting()]).sample()["scap.n_drops_cpu_3"] == 50


def test_samples_come_by_the_clock_while_a_source_is_silent(rules: RuleSet, tmp_path: pathlib.Path) -> None:
    file, engine, source = tmp_path / "metrics.jsonl", Engine(rules), Pushed()
    settings = MetricsSettings(enabled=True, interval=100 * 10**6, output_file=str(file))
    source.push(program("p", 1))
    with writing(Metrics(engine, settings, [source]), settings, lambda fields: None):
        run = threading.Thread(target=lambda: list(engine.run(source)))
        run.start()
        wait_until(lambda: file.exists() and len(file.read_text().splitlines()) >= 3)
        engine.stop()
        run.join(30)
    found = lines(file)
    assert [line["sample"] for line in found] == list(range(1, len(found) + 1))
    assert found[-1]["output_fields"]["falco.rules.Exec"] == 1
