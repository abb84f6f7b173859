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
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path

import msgspec

from . import render
from .alert import AlertFormat, Priority
from .engine import Engine
from .settings import MetricsSettings
from .sources import Source
from .stats import Stats

Value = int | float | str


def internal_alert(rule: str, priority: Priority, message: str, fields: Mapping[str, Value], when: int, *, format: AlertFormat,
                   json: bool, source: str = "internal") -> str:
    """A line about the program itself, in the form of an alert, as Falco's internal alerts have it (D6, D7). when: ns since the epoch."""
    stamp = render.clock("evt.time.iso8601" if format.time_format_iso_8601 else "evt.time", when)
    text = f"{stamp}: {priority} {message}"
    if not json:
        values = ", ".join(f"{name}={value}" for name, value in fields.items())
        return msgspec.json.encode(f"{text} ({values})" if values else text).decode()[1:-1]
    line: dict[str, object] = {"hostname": format.hostname, "priority": str(priority), "rule": rule, "source": source,
                               "time": render.clock("evt.time.iso8601", when).replace("+0000", "Z")}
    if format.json_include_message_property:
        line["message"] = message
    if format.json_include_output_property:
        line["output"] = text
    if format.json_include_output_fields_property:
        line["output_fields"] = fields
    return msgspec.json.encode(line, order="sorted").decode()


class Metrics:
    """Takes samples of an engine's numbers. files: rule files, whose hashes are told. sources: what it runs: their name, ``engine_name`` as
    Falco has it, and ``counters()``, numbers of their own by Falco's names without ``scap.`` (n_evts, n_drops, n_drops_buffer_total, …)."""

    def __init__(self, engine: Engine, settings: MetricsSettings, sources: Iterable[Source] = (), files: Iterable[str] = ()) -> None:
        from . import __version__

        self._engine = engine
        self._settings = settings
        self._sources = tuple(sources)
        self._started, self._before = time.time_ns(), time.time_ns()
        self._previous = self._previous_seen = self._previous_drops = 0
        self._busy, self._own_cpu = _host_cpu(), time.process_time()
        self._fixed: dict[str, Value] = {
            "evt.hostname": engine.format.hostname,
            "evt.source": self._sources[0].name if self._sources else "syscall",
            "falco.version": __version__,
            "falco.start_ts": self._started,
            "falco.reload_ts": self._started,
            "falco.kernel_release": platform.release(),
            "falco.host_boot_ts": self._started - time.clock_gettime_ns(time.CLOCK_BOOTTIME),
            "falco.host_num_cpus": os.cpu_count() or 1,
            "falco.outputs_queue_num_drops": 0,
            **_hashes(files),
            **_addresses(),
            "scap.engine_name": next(map(_engine_name, self._sources), "replay"),
        }

    def sample(self) -> dict[str, Value]:
        """The numbers of now, by Falco's names. Numbers that are 0 are left out, unless include_empty_values says otherwise."""
        on, now, stats = self._settings, time.time_ns(), self._engine.stats()
        seconds, since = (now - self._started) / 1e9, max((now - self._before) / 1e9, 1e-9)
        own = [counters() for source in self._sources if (counters := getattr(source, "counters", None))]
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
            per_cpu = re.compile(r"_cpu_\d+$")
            counts |= {f"scap.{name}": value for name, value in kernel.items()
                       if on.kernel_event_counters_per_cpu_enabled or not per_cpu.search(name)}
        if not on.include_empty_values:
            counts = {name: value for name, value in counts.items() if value}
        return {"evt.time": now, **self._fixed, "falco.duration_sec": int(seconds), **counts}

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
        mb = self._settings.convert_memory_to_mb
        span = total - total_before
        return {
            "falco.cpu_usage_perc": round(100 * (time.process_time() - self._own_cpu) / seconds, 1) if seconds else 0,
            **{f"falco.{name}{'_mb' if mb else '_kb'}": round(kib / 1024, 1) if mb else kib for name, kib in sizes.items()},
            "falco.host_cpu_usage_perc": round(100 * (busy - busy_before) / span, 1) if span else 0,
            "falco.host_procs_running": int(_read("/proc/stat").partition("procs_running ")[2].partition("\n")[0] or 0),
            "falco.host_open_fds": int(_read("/proc/sys/fs/file-nr").partition("\t")[0] or 0),
        }


def _engine_name(source: Source) -> str:
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


def _hashes(files: Iterable[str]) -> dict[str, Value]:
    found: dict[str, Value] = {}
    for name in files:
        path = Path(name)
        for file in sorted(path.iterdir()) if path.is_dir() else [path]:
            if not path.is_dir() or file.suffix in (".yaml", ".yml"):
                with contextlib.suppress(OSError):
                    stem = re.sub(r"[^A-Za-z0-9]+", "_", file.stem)
                    found[f"falco.sha256_rules_file.{stem}"] = hashlib.sha256(file.read_bytes()).hexdigest()
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
    of an alert, as the settings say. Nothing if metrics aren't enabled.

    Raises OSError if the file can't be opened. That it can't be written later, as the disk is full, doesn't end the run.
    """
    if not settings.enabled:
        yield
        return
    file = open(settings.output_file, "a", encoding="utf-8") if settings.output_file else None  # noqa: SIM115
    done, samples = threading.Event(), 0

    def write() -> None:
        nonlocal samples
        samples += 1
        fields = metrics.sample()
        if file is not None:
            with contextlib.suppress(OSError):
                file.write(msgspec.json.encode({"sample": samples, "output_fields": fields}).decode() + "\n")
                file.flush()
        if settings.output_rule:
            with contextlib.suppress(OSError):
                emit(fields)

    def work() -> None:
        due = time.monotonic()
        while True:
            due = max(due + settings.interval / 1e9, time.monotonic())
            if done.wait(due - time.monotonic()):
                return
            write()

    thread = threading.Thread(target=work, name="falcolib-metrics", daemon=True)
    thread.start()
    try:
        yield
    finally:
        done.set()
        thread.join()
        write()
        if file is not None:
            with contextlib.suppress(OSError):
                file.close()
