# SPDX-License-Identifier: Apache-2.0
"""An engine's numbers under Falco's names (spec: engine.md D6), as JSON lines in a file or as internal alerts, by the clock."""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import os
import platform
import re
import socket
import struct
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec

from . import jemalloc
from .beside import beside
from .config.services import MetricsSettings
from .engine import Engine
from .sources import Source
from .stats import Stats

if TYPE_CHECKING:
    from .outputs import Counts

Value = int | float | str
#: Of a source's counters, those that have switches of their own: by processor, of iterators, of the kernel side's programs.
_APART = re.compile(r"_cpu_\d+$|^n_evts_task|\.")

#: What is told of each output (outputs.Counts): ours, as Falco has one queue for all.
OUTPUT_COUNTS = ("queued", "delivered", "dropped", "failed", "retried", "grouped")


class Metrics:
    """Takes samples of an engine's numbers. files, config_files: of rules and of settings, or folders of them, whose hashes are told.
    sources: what it runs: their name, ``engine_name`` as Falco has it, and ``counters()``, numbers of their own by Falco's names without
    ``scap.`` (n_evts, n_drops, n_drops_buffer_total, …). outputs: what became of the alerts, by output (Outputs.counts).
    hostinfo: whether the machine's addresses are told also where its system calls aren't watched (plugins_hostinfo).

    settings may be replaced at any time. It may be asked from any thread.
    """

    def __init__(self, engine: Engine, settings: MetricsSettings, sources: Iterable[Source] = (), files: Iterable[str] = (),
                 config_files: Iterable[str] = (), outputs: Callable[[], Mapping[str, Counts]] = dict, *, hostinfo: bool = True) -> None:
        from . import __version__

        self.engine = engine
        self.settings = settings
        self.sources = tuple(sources)
        self._outputs = outputs
        self._sampling = threading.Lock()
        self._started, self._before = time.time_ns(), time.time_ns()
        self._previous = self._previous_seen = self._previous_drops = 0
        self._busy, self._own_cpu = _host_cpu(), time.process_time()
        self._fixed: dict[str, Value] = {
            "evt.hostname": engine.format.hostname,
            "evt.source": self.sources[0].name if self.sources else "syscall",
            "falco.version": __version__,
            "falco.start_ts": self._started,
            "falco.reload_ts": self._started,
            "falco.kernel_release": platform.release(),
            "falco.host_boot_ts": self._started - time.clock_gettime_ns(time.CLOCK_BOOTTIME),
            "falco.host_num_cpus": os.cpu_count() or 1,
            "falco.outputs_queue_num_drops": 0,
            **(_addresses() if hostinfo or "syscall" in {source.name for source in self.sources} else {}),
            "scap.engine_name": next(map(engine_name, self.sources), "replay"),
        }
        self.reloaded(files, config_files, self._started)

    def reloaded(self, files: Iterable[str], config_files: Iterable[str] = (), when: int = 0) -> None:
        """Other rules and settings are in force, from these files, since a time (ns since the epoch; default now)."""
        #: The SHA-256 of each file, by its path.
        self.rule_hashes, self.config_hashes = _hashes(files), _hashes(config_files)
        self._hashes: dict[str, Value] = {
            f"falco.sha256_{kind}_file.{re.sub(r'[^A-Za-z0-9]+', '_', Path(path).stem)}": digest
            for kind, hashes in (("rules", self.rule_hashes), ("config", self.config_hashes)) for path, digest in hashes.items()}
        self._fixed["falco.reload_ts"] = when or time.time_ns()

    def sample(self) -> dict[str, Value]:
        """The numbers of now, by Falco's names. Numbers that are 0 are left out, unless include_empty_values says otherwise."""
        with self._sampling:
            return self._sample()

    def _sample(self) -> dict[str, Value]:
        on, now, stats = self.settings, time.time_ns(), self.engine.stats()
        seconds, since = (now - self._started) / 1e9, max((now - self._before) / 1e9, 1e-9)
        own = [counters() for source in self.sources if (counters := getattr(source, "counters", None))]
        kernel = {name: sum(told.get(name, 0) for told in own) for name in dict.fromkeys(name for told in own for name in told)}
        drops = kernel.pop("n_drops", 0)
        seen = kernel.pop("n_evts", stats.events + drops)
        counts: dict[str, Value] = {
            "falco.num_evts": stats.events,
            "falco.num_evts_prev": self._previous,
            "falco.evts_rate_sec": round((stats.events - self._previous) / since, 1),
            "scap.n_evts": seen,
            "scap.n_evts_prev": self._previous_seen,
            "scap.evts_rate_sec": round((seen - self._previous_seen) / since, 1),
            "scap.n_drops": drops,
            "scap.n_drops_prev": self._previous_drops,
            "scap.evts_drop_rate_sec": round((drops - self._previous_drops) / since, 1),
            "scap.n_drops_perc": round(100 * drops / seen, 2) if seen else 0,
        }
        self._previous, self._previous_seen, self._previous_drops, self._before = stats.events, seen, drops, now
        if on.rules_counters_enabled:
            counts["falco.rules.matches_total"] = sum(stats.alerts.values())
            counts |= {f"falco.rules.{re.sub(r'[^A-Za-z0-9]+', '_', name)}": count for name, count in stats.alerts.items()}
        if on.resource_utilization_enabled:
            counts |= self._resources(seconds)
        if on.state_counters_enabled:
            counts |= _state(stats)
        if on.kernel_event_counters_enabled:
            counts |= {f"scap.{name}": value for name, value in kernel.items() if not _APART.search(name)}
            if on.kernel_event_counters_per_cpu_enabled:
                counts |= {f"scap.{name}": value for name, value in kernel.items() if "_cpu_" in name}
        if on.kernel_iter_event_counters_enabled:
            counts |= {f"scap.{name}": value for name, value in kernel.items() if name.startswith("n_evts_task")}
        if on.libbpf_stats_enabled:
            counts |= {f"scap.{name}": value for name, value in kernel.items() if "." in name}
        if on.plugins_metrics_enabled:
            counts |= self._plugins(stats)
        if on.jemalloc_stats_enabled:
            counts |= {f"falco.jemalloc.{name}_bytes": value for name, value in jemalloc.stats().items()}
        if on.costs_enabled and self.engine.costs is not None:
            counts |= {f"falco.rules_cost.{name}.ns": ns for name, ns in self.engine.costs.by_rule().items()}
            counts |= {f"falco.stage_cost.{name}.ns": ns for name, ns in self.engine.costs.by_stage().items()}
        outputs = self._outputs()
        counts |= {f"falco.outputs.{name}.{what}": getattr(told, what) for name, told in outputs.items() for what in OUTPUT_COUNTS}
        if not on.include_empty_values:
            counts = {name: value for name, value in counts.items() if value}
        drops = sum(told.dropped for told in outputs.values())
        return {"evt.time": now, **self._fixed, **self._hashes, "falco.outputs_queue_num_drops": drops,
                "falco.duration_sec": int(seconds), **counts}

    def _plugins(self, stats: Stats) -> dict[str, Value]:
        """Of what Falco has plugins for: containers, as there; audit events, of which it counts nothing."""
        found: dict[str, Value] = {"container.n_containers": stats.containers,
                                   "container.n_missing_container_images": stats.containers_imageless}
        audits = [source for source in self.sources if source.name == "k8s_audit"]
        if audits:
            found |= {f"k8saudit.n_{name}": getattr(stats, name) for name in ("malformed", "unrecognised", "too_large", "undated")}
        requests: Counter[str] = Counter()
        for source in audits:
            requests.update(dict(getattr(source, "counts", {})))
        found |= {f"k8saudit.n_requests_{name}": count for name, count in requests.items()}
        return {f"plugins.{name}": value for name, value in found.items()}

    def _resources(self, seconds: float) -> dict[str, Value]:
        status = _numbers(_read("/proc/self/status"))
        memory = _numbers(_read("/proc/meminfo"))
        (total_before, busy_before), (total, busy) = self._busy, _host_cpu()
        self._busy = (total, busy)
        used = memory["MemTotal"] - sum(memory[name] for name in ("MemFree", "Buffers", "Cached")) if "MemTotal" in memory else 0
        sizes = {
            "memory_rss": status.get("VmRSS", 0),
            "memory_vsz": status.get("VmSize", 0),
            "memory_pss": _numbers(_read("/proc/self/smaps_rollup")).get("Pss", 0),
            "container_memory_used": _container_memory() // 1024,
            "host_memory_used": used,
        }
        mb = self.settings.convert_memory_to_mb
        span = total - total_before                     # below 0 when a processor was switched off: its ticks aren't told any more
        return {
            "falco.cpu_usage_perc": round(100 * (time.process_time() - self._own_cpu) / seconds, 1) if seconds else 0,
            **{f"falco.{name}{'_mb' if mb else '_kb'}": round(kib / 1024, 1) if mb else kib for name, kib in sizes.items()},
            "falco.host_cpu_usage_perc": round(100 * min(max(busy - busy_before, 0), span) / span, 1) if span > 0 else 0,
            "falco.host_procs_running": int(_read("/proc/stat").partition("procs_running ")[2].partition("\n")[0] or 0),
            "falco.host_open_fds": int(_read("/proc/sys/fs/file-nr").partition("\t")[0] or 0),
        }


def engine_name(source: Source) -> str:
    """Falco's name of how its events come."""
    told = getattr(source, "engine_name", None)
    return str(told) if told else "nodriver" if source.name != "syscall" else "modern_ebpf" if getattr(source, "live", False) else "replay"


def _state(stats: Stats) -> dict[str, Value]:
    return {
        "falco.n_threads": stats.threads,
        "falco.n_fds": stats.fds_added - stats.fds_removed,
        "falco.n_failed_fd_lookups": stats.fd_lookups_failed,
        "falco.n_added_fds": stats.fds_added,
        "falco.n_removed_fds": stats.fds_removed,
        "falco.n_stored_evts": stats.stored,
        "falco.n_store_evts_drops": stats.evicted,
        "falco.n_noncached_thread_lookups": stats.lookups,
        "falco.n_failed_thread_lookups": stats.lookups_failed + stats.lookups_refused,
        "falco.n_added_threads": stats.threads_added,
        "falco.n_removed_threads": stats.threads_removed,
        "falco.n_drops_full_threadtable": stats.threads_refused,
    }


# ---- what the system tells ----


def _read(path: str) -> str:
    try:
        return Path(path).read_text(errors="replace")
    except OSError:
        return ""


def _numbers(text: str) -> dict[str, int]:
    """``Name:  123 kB`` by name."""
    return {name: int(value) for name, value in re.findall(r"^(\w+):\s+(\d+)", text, re.M)}


def _host_cpu() -> tuple[int, int]:
    """Ticks of all processors since the boot, and how many of them were not idle."""
    first = _read("/proc/stat").partition("\n")[0].split()[1:9]
    ticks = [int(tick) for tick in first] or [0] * 8
    return sum(ticks), sum(ticks) - ticks[3] - ticks[4]


def _container_memory() -> int:
    told = os.environ.get("FALCO_CGROUP_MEM_PATH", "")
    for path in (told, "/sys/fs/cgroup/memory/memory.usage_in_bytes", "/sys/fs/cgroup/memory.current"):
        text = _read(path).strip() if path else ""
        if text.isdigit():
            return int(text)
    return 0


def _hashes(files: Iterable[str]) -> dict[str, str]:
    found: dict[str, str] = {}
    for name in files:
        path = Path(name)
        for file in sorted(path.iterdir()) if path.is_dir() else [path]:
            if not path.is_dir() or file.suffix in (".yaml", ".yml"):
                with contextlib.suppress(OSError):
                    found[str(file)] = hashlib.sha256(file.read_bytes()).hexdigest()
    return found


def _addresses() -> dict[str, Value]:
    """Of this machine's interfaces: IPv4 from the kernel's answer to SIOCGIFADDR, IPv6 from /proc."""
    found: dict[str, list[str]] = {}
    with contextlib.suppress(OSError), socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as s:
        for _, name in socket.if_nameindex():
            with contextlib.suppress(OSError):
                answer = fcntl.ioctl(s.fileno(), 0x8915, struct.pack("256s", name.encode()[:15]))
                found.setdefault(f"{name}.protocols.ipv4", []).append(socket.inet_ntoa(answer[20:24]))
    for line in _read("/proc/net/if_inet6").splitlines():
        address, *_, name = line.split()
        found.setdefault(f"{name}.protocols.ipv6", []).append(socket.inet_ntop(socket.AF_INET6, bytes.fromhex(address)))
    return {f"falco.host_netinfo.interfaces.{name}.addresses": ",".join(addresses) for name, addresses in found.items()}


# ---- when they are written ----


@contextlib.contextmanager
def writing(metrics: Metrics, settings: MetricsSettings, emit: Callable[[dict[str, Value]], None]) -> Iterator[None]:
    """Writes samples while a run goes on, one an interval, and a last one at its end: to the file as JSON lines, and to `emit` for the form
    of an alert, as the settings say; interval and output_rule as ``metrics.settings`` say at the time. Nothing if metrics aren't enabled.

    Raises OSError if the file can't be opened. That it can't be written later, as the disk is full, doesn't end the run.
    """
    if not settings.enabled:
        yield
        return
    file = open(settings.output_file, "a", encoding="utf-8") if settings.output_file else None  # noqa: SIM115
    samples = 0

    def write() -> None:
        nonlocal samples
        samples += 1
        fields = metrics.sample()
        if file is not None:
            with contextlib.suppress(OSError):
                file.write(msgspec.json.encode({"sample": samples, "output_fields": fields}).decode() + "\n")
                file.flush()
        if metrics.settings.output_rule:
            with contextlib.suppress(OSError):
                emit(fields)

    def work(done: threading.Event) -> None:
        due = time.monotonic()
        while True:
            due = max(due + metrics.settings.interval / 1e9, time.monotonic())
            if done.wait(due - time.monotonic()):
                return
            write()

    try:
        with beside("metrics", work):
            yield
    finally:
        write()
        if file is not None:
            with contextlib.suppress(OSError):
                file.close()
