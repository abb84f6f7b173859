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

from falcolib import AuditFile, Capture, Engine, RuleSet
from falcolib.config import load
from falcolib.config.services import MetricsSettings
from falcolib.metrics import Metrics, writing
from scapwriter import capture, event
from test_together import RULES, Pushed, program, wait_until

JEMALLOC = next(map(str, sorted(pathlib.Path("/usr/lib").glob("*/libjemalloc.so.2"))), None)
#: Names that Falco writes with every sample (spec: engine.md D6).
WRAPPER = {"evt.time", "evt.hostname", "evt.source", "falco.version", "falco.start_ts", "falco.reload_ts", "falco.duration_sec",
           "falco.kernel_release", "falco.host_boot_ts", "falco.host_num_cpus", "falco.outputs_queue_num_drops"}  # fmt: skip


@pytest.fixture(scope="module")
def rules() -> RuleSet:
    return RuleSet.parse(RULES, name="rules.yaml")


def run(*options: str, capture: pathlib.Path, rule_file: pathlib.Path,
        env: dict[str, str] | None = None) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "falcolib", "run", "-r", str(rule_file), "--capture", str(capture)]
    return subprocess.run([*command, *(part for option in options for part in ("-o", option))], capture_output=True, text=True, timeout=300,
                          env=os.environ | (env or {}))


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
        settings = load(None, [f"metrics.{switch}=false"]).metrics
        with_, without = Metrics(engine, MetricsSettings()).sample(), Metrics(engine, settings).sample()
        assert any(name.startswith(names) for name in with_), names
        assert not any(name.startswith(names) for name in without), names
    assert Metrics(engine, MetricsSettings()).sample()["falco.rules.matches_total"] == alerts


def test_empty_values_are_left_out_unless_they_are_wanted(rules: RuleSet) -> None:
    engine = Engine(rules)
    assert "scap.n_drops" not in Metrics(engine, MetricsSettings()).sample()
    assert Metrics(engine, load(None, ["metrics.include_empty_values=true"]).metrics).sample()["scap.n_drops"] == 0


def test_memory_in_kib(rules: RuleSet) -> None:
    sample = Metrics(Engine(rules), load(None, ["metrics.convert_memory_to_mb=false"]).metrics).sample()
    assert sample["falco.memory_rss_kb"] > 1024                 # type: ignore[operator]
    assert "falco.memory_rss_mb" not in sample


@pytest.mark.daemon             # which isn't run under the sanitizers: they are an allocator, too
@pytest.mark.skipif(JEMALLOC is None, reason="needs jemalloc (Debian: libjemalloc2)")
def test_jemalloc(rule_file: pathlib.Path, attack1: pathlib.Path, tmp_path: pathlib.Path) -> None:
    def told(*options: str, preload: str | None = JEMALLOC) -> dict[str, Any]:
        file = tmp_path / "metrics.jsonl"
        file.unlink(missing_ok=True)
        options = ("metrics.enabled=true", f"metrics.output_file={file}", *options)
        done = run(*options, capture=attack1, rule_file=rule_file, env={"LD_PRELOAD": preload or ""})
        assert done.returncode == 0, done.stderr
        return {name: value for name, value in lines(file)[-1]["output_fields"].items() if "jemalloc" in name}

    found = told("metrics.jemalloc_stats_enabled=true")
    assert 1 << 20 < found["falco.jemalloc.allocated_bytes"] <= found["falco.jemalloc.active_bytes"] <= found["falco.jemalloc.mapped_bytes"]
    assert told("metrics.jemalloc_stats_enabled=false") == {}
    assert told("metrics.jemalloc_stats_enabled=true", preload=None) == {}


def test_rates_are_since_the_sample_before(rules: RuleSet, attack1: pathlib.Path) -> None:
    engine = Engine(rules)
    metrics = Metrics(engine, load(None, ["metrics.include_empty_values=true"]).metrics)
    list(engine.run(Capture(attack1)))
    first, second = metrics.sample(), metrics.sample()
    assert first["falco.evts_rate_sec"] > 0                     # type: ignore[operator]
    assert second["falco.num_evts_prev"] == first["falco.num_evts"]
    assert second["falco.evts_rate_sec"] == 0


@pytest.mark.parametrize(("ticks", "says"), [
    ((300, 150), 25.0),
    ((50, 40), 0),              # fewer ticks than before: those of a processor that was switched off aren't told
    ((200, 90), 0),             # one with many busy ticks was switched off, and the other went on
    ((100, 100), 0),
])
def test_the_host_s_load_stays_a_percentage_when_processors_are_switched_off(
        ticks: tuple[int, int], says: float, rules: RuleSet, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("falcolib.metrics._host_cpu", lambda: (100, 100))
    metrics = Metrics(Engine(rules), load(None, ["metrics.include_empty_values=true"]).metrics)
    monkeypatch.setattr("falcolib.metrics._host_cpu", lambda: ticks)
    assert metrics.sample()["falco.host_cpu_usage_perc"] == says


def test_a_source_s_own_counters_are_told(rules: RuleSet) -> None:
    class Counting(Pushed):
        engine_name = "modern_ebpf"

        def counters(self) -> dict[str, int]:
            return {"n_evts": 200, "n_drops": 50, "n_drops_buffer_total": 50, "n_drops_cpu_3": 50, "fl_sys_exit.run_cnt": 7,
                    "n_evts_task_file_pipe": 4}

    sample = Metrics(Engine(rules), MetricsSettings(), [Counting()]).sample()
    assert (sample["scap.n_evts"], sample["scap.n_drops"], sample["scap.n_drops_perc"]) == (200, 50, 25)
    assert sample["scap.n_drops_buffer_total"] == 50
    assert sample["scap.engine_name"] == "modern_ebpf"
    assert "scap.n_drops_cpu_3" not in sample
    assert sample["scap.fl_sys_exit.run_cnt"] == 7
    without = load(None, ["metrics.libbpf_stats_enabled=false"]).metrics
    assert "scap.fl_sys_exit.run_cnt" not in Metrics(Engine(rules), without, [Counting()]).sample()
    none = Metrics(Engine(rules), load(None, ["metrics.kernel_event_counters_enabled=false"]).metrics, [Counting()]).sample()
    assert "scap.n_drops_buffer_total" not in none
    every = load(None, ["metrics.kernel_event_counters_per_cpu_enabled=true"]).metrics
    assert Metrics(Engine(rules), every, [Counting()]).sample()["scap.n_drops_cpu_3"] == 50
    assert sample["scap.n_evts_task_file_pipe"] == none["scap.n_evts_task_file_pipe"] == 4
    neither = load(None, ["metrics.kernel_iter_event_counters_enabled=false"]).metrics
    assert "scap.n_evts_task_file_pipe" not in Metrics(Engine(rules), neither, [Counting()]).sample()


def test_plugins(rules: RuleSet, tmp_path: pathlib.Path) -> None:
    def container(**known: str) -> bytes:
        return event("CONTAINER_JSON_2_E", json.dumps({"container": {"type": 0} | known}))

    def told(settings: MetricsSettings) -> dict[str, Any]:
        return {name: value for name, value in Metrics(engine, settings, [audit]).sample().items() if name.startswith("plugins.")}

    (tmp_path / "log").write_text('{"kind": "Event"}\n{"no": "event"}\n{broken\n')
    audit, engine = AuditFile(tmp_path / "log"), Engine(rules)
    list(engine.run(audit))
    audit.counts = {"accepted": 3}                              # type: ignore[attr-defined]
    (tmp_path / "scap").write_bytes(capture(container(id="1" * 12, image="busybox"), container(id="2" * 12), container(id="3" * 12)))
    list(engine.run(Capture(tmp_path / "scap")))
    stats = engine.stats()
    assert told(load(None, ["metrics.plugins_metrics_enabled=true"]).metrics) == {
        "plugins.container.n_containers": 3, "plugins.container.n_missing_container_images": 2,
        "plugins.k8saudit.n_malformed": stats.malformed, "plugins.k8saudit.n_unrecognised": stats.unrecognised,
        "plugins.k8saudit.n_undated": stats.undated, "plugins.k8saudit.n_requests_accepted": 3,
    }
    assert told(load(None, ["metrics.plugins_metrics_enabled=false"]).metrics) == {}


def test_samples_come_by_the_clock_while_a_source_is_silent(rules: RuleSet, tmp_path: pathlib.Path) -> None:
    file, engine, source = tmp_path / "metrics.jsonl", Engine(rules), Pushed()
    settings = MetricsSettings(enabled=True, interval=100 * 10**6, output_file=str(file))
    source.push(program("p", 1))
    with writing(Metrics(engine, settings, [source]), settings, lambda fields: None):
        run = threading.Thread(target=lambda: list(engine.run(source)))
        run.start()
        wait_until(lambda: file.exists() and len(file.read_text().splitlines()) >= 3)
        engine.stop()
        run.join()
    found = lines(file)
    assert [line["sample"] for line in found] == list(range(1, len(found) + 1))
    assert found[-1]["output_fields"]["falco.rules.Exec"] == 1
