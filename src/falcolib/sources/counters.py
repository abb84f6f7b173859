# SPDX-License-Identifier: Apache-2.0
"""The kernel side's numbers, by the names that Falco's metrics have for them (spec: engine.md D6), without ``scap.``."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from .. import schema
from .._native import ffi, lib

_STATS_ENABLED = Path("/proc/sys/kernel/bpf_stats_enabled")


def of_rings(rings: Any) -> dict[str, int]:
    """Of the probe's rings: what came, and what was lost, why, of which calls and on which processor."""
    now = ffi.new("fl_live_counts *")
    lib.fl_live_count(rings, now)
    found = {
        "n_evts": now.records + now.lost, "n_drops": now.lost, "n_drops_buffer_total": now.ring_full,
        **{f"n_drops_buffer_{group}_exit": sum(now.events[event] for event in events) for group, events in schema.loss_groups().items()},
        "n_drops_scratch_map": now.no_scratch, "n_drops_page_faults": 0, "n_drops_bug": now.not_called + now.malformed, "n_preemptions": 0,
    }  # fmt: skip
    for cpu in range(now.cpus):
        found |= {f"n_evts_cpu_{cpu}": now.cpu_records[cpu] + now.cpu_lost[cpu], f"n_drops_cpu_{cpu}": now.cpu_lost[cpu]}
    return found


def of_programs(loader: Any) -> dict[str, int]:
    """Of the probe's programs: how often they ran and how long (ns), while the kernel counts it (``sysctl kernel.bpf_stats_enabled=1``)."""
    try:
        if _STATS_ENABLED.read_text().strip() != "1":
            return {}
    except OSError:
        return {}
    found: dict[str, int] = {}
    now, number = ffi.new("fl_program_runs *"), 0
    while lib.fl_loader_runs(loader, number, now):
        name = ffi.string(now.name).decode()
        found |= {f"{name}.run_cnt": now.runs, f"{name}.run_time_ns": now.ns, f"{name}.avg_time_ns": now.ns // now.runs if now.runs else 0}
        number += 1
    return found
