# SPDX-License-Identifier: Apache-2.0
"""Holds the core to the instructions an event that were recorded: for CI, never on time.

    python -m benchmarks.guard            measures, and fails if a figure is more than 5% above the recorded one
    python -m benchmarks.guard --record   writes the figures (make instructions)

Counted is what fl_engine_run and fl_engine_push do, without Python, on the bundled capture of attacks and on generated logs of audit
events. Compilers differ by more than the tolerance, so the figures hold for one; with another the check is skipped, and says so.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

from . import audit_log, corpus
from .bench import Bench
from .measure import can_count, falcolib, instructions, once, run_on

RECORDED = Path(__file__).with_name("instructions.json")
TOLERANCE = 0.05
AUDIT_EVENTS = 2000


def compiler() -> str:
    """The C compiler, by name and version."""
    return subprocess.run(["gcc", "-dumpfullversion", "-dumpmachine"], capture_output=True, text=True, check=True).stdout.split()[0]


def workloads(folder: Path) -> Iterator[tuple[str, list[str], int]]:
    """The names, commands and numbers of events."""
    bench = Bench(corpus.ATTACKS, folder, counting=True)
    sets = {"no rule": [bench.never], "default rules": corpus.OURS,
            "default rules ten times": [*corpus.OURS, bench.rules("inside", corpus.inside(corpus.OURS))]}
    for name, rules in sets.items():
        yield name, run_on(bench.plain, rules, "-o", "rule_matching=all"), bench.events
    for level in ("Metadata", "RequestResponse"):
        log = folder / f"{level}.log"
        audit_log.write(log, level, AUDIT_EVENTS)
        yield f"audit events, {level}", falcolib("run", "-r", corpus.AUDIT, "--audit", log, "-o", "rule_matching=all"), AUDIT_EVENTS


def measure() -> dict[str, float]:
    """Instructions an event, by workload."""
    with tempfile.TemporaryDirectory() as folder:
        env = {"FALCOLIB_CACHE": f"{folder}/cache"}
        os.environ.update(env)
        found = {}
        for name, command, events in workloads(Path(folder)):
            once(command, env)                      # compiles into the cache
            count = instructions(command, "--toggle-collect=fl_engine_run", "--toggle-collect=fl_engine_push")
            found[name] = round(count / events, 1)
        return found


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.guard", description=__doc__,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--record", action="store_true")
    options = parser.parse_args()
    if not can_count():
        sys.exit("Error: valgrind is missing: install it (.ci/packages bench)")
    recorded = json.loads(RECORDED.read_text()) if RECORDED.exists() else {}
    if options.record:
        figures = measure()
        RECORDED.write_text(json.dumps({"gcc": compiler(), "instructions_per_event": figures}, indent=4) + "\n")
        print(f"{RECORDED.name}: {figures}")
        return
    if recorded.get("gcc") != compiler():
        print(f"skipped: the figures were recorded with gcc {recorded.get('gcc')}, and this is {compiler()}")
        return
    worse = False
    for name, found in measure().items():
        before = recorded["instructions_per_event"].get(name)
        change = found / before - 1 if before else 0.0
        verdict = "more than 5% worse" if change > TOLERANCE else "better: make instructions" if change < -TOLERANCE else "ok"
        print(f"{name:29} {found:8.1f} instructions an event, recorded {before}: {change:+.1%} {verdict}")
        worse |= change > TOLERANCE
    if worse:
        sys.exit("Error: the core does more for an event than it did; if that is meant, make instructions records it")


if __name__ == "__main__":
    main()
