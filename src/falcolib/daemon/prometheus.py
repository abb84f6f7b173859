# SPDX-License-Identifier: Apache-2.0
"""Metrics as Prometheus asks for them, under Falco's names (spec: engine.md D6): ``falcosecurity_SUBSYSTEM_NAME_UNIT``.

The numbers are those of falcolib.metrics; here they get their unit, their type and, where several are kinds of one, labels. Falco puts what
it knows of threads and descriptors under scap here, and under falco in its snapshots.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec

from .. import jemalloc
from ..metrics import OUTPUT_COUNTS, Metrics, engine_name

if TYPE_CHECKING:
    from prometheus_client.core import Metric

HELP = "https://falco.org/docs/metrics/"
CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"

#: Of the snapshot's keys those that say how much there is now; the others only grow.
GAUGES = frozenset({
    "falco.host_num_cpus", "falco.host_procs_running", "falco.host_open_fds", "falco.n_threads", "falco.n_fds",
    "plugins.container.n_containers", "plugins.container.n_missing_container_images",
})
#: Keys with a unit of their own: the name, what a unit is of it, the type.
_UNITS = {
    "falco.start_ts": ("falco_start_timestamp_nanoseconds", 1.0, "gauge"),
    "falco.reload_ts": ("falco_reload_timestamp_nanoseconds", 1.0, "gauge"),
    "falco.host_boot_ts": ("falco_host_boot_timestamp_nanoseconds", 1.0, "gauge"),
    "falco.duration_sec": ("falco_duration_seconds_total", 1.0, "counter"),
    "falco.cpu_usage_perc": ("falco_cpu_usage_ratio", 0.01, "gauge"),
    "falco.host_cpu_usage_perc": ("falco_host_cpu_usage_ratio", 0.01, "gauge"),
    **{f"falco.{name}_kb": (f"falco_{name}_bytes", 1024.0, "gauge")
       for name in ("memory_rss", "memory_vsz", "memory_pss", "container_memory_used", "host_memory_used")},
    **{f"falco.jemalloc.{name}_bytes": (f"falco_jemalloc_{name}_bytes", 1.0, "gauge") for name in jemalloc.STATS},
}
#: Rates and the like, which Prometheus makes itself; and what is told with labels.
_LEFT_OUT = re.compile(r"_prev$|_rate_sec$|_perc$|^falco\.rules\.|^falco\.outputs\.|_cost\.|^falco\.sha256_|^falco\.host_netinfo|"
                       "n_drops_buffer")
_DROPS = re.compile(r"scap\.n_drops_buffer_(\w+)_exit")
_PER_CPU = re.compile(r"scap\.(n_evts|n_drops)_cpu_(\d+)")
#: Falco had enter events, and tells of them still: none is lost.
_ENTER = ("clone_fork", "execve", "connect", "open", "dir_file", "other_interest")


class Collector:
    """What prometheus_client asks for metrics; each time they are taken anew."""

    def __init__(self, metrics: Metrics) -> None:
        self._metrics = metrics

    def collect(self) -> Iterator[Metric]:
        """All metrics of now."""
        families: dict[str, Metric] = {}
        for name, type_, labels, value in self._samples():
            family = name.removesuffix("_total") if type_ == "counter" else name
            if family not in families:
                from prometheus_client.core import Metric

                families[family] = Metric(family, HELP, type_)
            families[family].add_sample(name, labels, value)
        yield from families.values()

    def _samples(self) -> Iterator[tuple[str, str, dict[str, str], float]]:
        """The full name, type, labels and value of each."""
        metrics = self._metrics
        sample = metrics.sample()
        yield from self._infos(sample)
        if metrics.settings.rules_counters_enabled:
            yield from self._rules()
        for key, value in sample.items():
            if isinstance(value, str) or key == "evt.time":
                continue
            if key in _UNITS:
                name, unit, type_ = _UNITS[key]
                yield f"falcosecurity_{name}", type_, {}, value * unit
            elif found := _DROPS.fullmatch(key):
                yield "falcosecurity_scap_n_drops_buffer_total", "counter", {"drop": found[1], "dir": "exit"}, value
            elif found := _PER_CPU.fullmatch(key):
                yield f"falcosecurity_scap_{found[1]}_cpu_total", "counter", {"cpu": found[2]}, value
            elif not _LEFT_OUT.search(key):
                subsystem, _, name = key.partition(".")
                if name.startswith("n_"):
                    subsystem = "scap"
                type_ = "gauge" if key in GAUGES else "counter"
                yield f"falcosecurity_{subsystem}_{re.sub(r'[^A-Za-z0-9]+', '_', name)}_total", type_, {}, value
        if metrics.settings.kernel_event_counters_enabled:
            for drop in _ENTER:
                yield "falcosecurity_scap_n_drops_buffer_total", "counter", {"drop": drop, "dir": "enter"}, 0
        for key, value in sample.items():
            if found := re.fullmatch(r"falco\.(rules|stage)_cost\.(.+)\.ns", key):
                label = "rule_name" if found[1] == "rules" else "stage"
                yield f"falcosecurity_falco_{found[1]}_cost_seconds_total", "counter", {label: found[2]}, float(value) / 1e9
        for key, value in sample.items():
            if key.startswith("falco.outputs.") and not isinstance(value, str):
                output, _, what = key.removeprefix("falco.outputs.").rpartition(".")
                name, type_ = ("queued", "gauge") if what == OUTPUT_COUNTS[0] else (f"{what}_total", "counter")
                yield f"falcosecurity_falco_outputs_{name}", type_, {"output": output}, value

    def _infos(self, sample: dict[str, int | float | str]) -> Iterator[tuple[str, str, dict[str, str], float]]:
        def info(name: str, **labels: object) -> tuple[str, str, dict[str, str], float]:
            return f"falcosecurity_{name}_info", "gauge", {label: str(value) for label, value in labels.items()}, 1

        yield info("falco_version", version=sample["falco.version"])
        for kind, hashes in (("rules", self._metrics.rule_hashes), ("config", self._metrics.config_hashes)):
            for path, digest in hashes.items():
                yield info(f"falco_sha256_{kind}_files", file_name=Path(path).name, sha256=digest)
        for source in self._metrics.sources:
            yield info("scap_engine_name", engine_name=engine_name(source), evt_source=source.name)
        yield info("falco_kernel_release", kernel_release=sample["falco.kernel_release"])
        yield info("evt_hostname", hostname=sample["evt.hostname"])
        for key, value in sample.items():
            if found := re.fullmatch(r"falco\.host_netinfo\.interfaces\.(.+)\.protocols\.(\w+)\.addresses", key):
                yield info("falco_host_netinfo", interface=found[1], protocol=found[2], addresses=value)

    def _rules(self) -> Iterator[tuple[str, str, dict[str, str], float]]:
        engine = self._metrics.engine
        rules = {rule.name: rule for rule in engine.program.rules}
        for name, count in engine.stats().alerts.items():
            labels = {"rule_name": name}
            if name in rules:               # else a reload has taken it away
                rule = rules[name]
                labels |= {"priority": str(int(rule.priority)), "source": rule.source}
                labels |= {f"tag_{re.sub(r'[^A-Za-z0-9_]', '_', tag)}": "true" for tag in sorted(rule.tags)}
            yield "falcosecurity_falco_rules_matches_total", "counter", labels, count


def for_prometheus(metrics: Metrics) -> Collector:
    """The collector of metrics: zeros are told, and memory in the smallest unit that is known."""
    metrics.settings = msgspec.structs.replace(metrics.settings, include_empty_values=True, convert_memory_to_mb=False)
    return Collector(metrics)


def exposition(collector: Collector) -> bytes:
    """The metrics of now as text, version 0.0.4."""
    from prometheus_client import generate_latest  # 30 ms, of a daemon whose metrics are asked for

    return generate_latest(collector)
