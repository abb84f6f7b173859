# SPDX-License-Identifier: Apache-2.0
"""The sections of the page."""

from __future__ import annotations

import os
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path

from . import audit as audit_log
from . import corpus
from . import live as machine
from .bench import Bench, table
from .measure import instructions, least, once, peak, run_on

#: Falco 0.44.1 on mix1.scap, plain, one thread, beyond start-up (spec: performance.md 1): gzip units, instructions an event.
FALCO = {"one rule that never matches": (0.54, 2235), "25 rules: falco_rules.yaml": (0.89, None),
         "93 rules: the three public files": (1.84, 6860), "930: copies, != variantN appended": (25.6, None)}
ALL = ("-o", "rule_matching=all")
#: Events whose alerts are enough to count instructions: callgrind runs fifty times slower.
SOME = 50_000


def replay(bench: Bench) -> None:
    """Capture, state and rules, by number of rules."""
    print("## Replay: a plain capture, beyond start-up\n")
    rows = []
    for name, rules in bench.sets.items():
        options = ALL if "930" in name else ()
        full, start = least(run_on(bench.plain, rules, *options), run_on(bench.empty, rules, *options))
        seconds = max(full.cpu - start.cpu, 1e-9)
        count = bench.instructions(rules, *options) if bench.counting else None
        units, falco = FALCO.get(name, (None, None)) if bench.is_mix1 else (None, None)
        rows.append([name, _number(count, 0), _number(falco, 0), _number(seconds / bench.unit, 2), _number(units, 2),
                     _number(seconds / bench.events * 1e9, 0), _number(bench.events / seconds / 1e6, 1)])
    table(["rules", "instructions/event", "Falco", "gzip units", "Falco", "ns/event", "million events/s"], rows)


def stages(bench: Bench) -> None:
    """Where the instructions go: each stage with what it calls."""
    print("## Stages: instructions an event, 93 rules\n")
    if not bench.counting:
        print("needs valgrind")
        return
    rules = [*bench.sets.values()][-3]
    with tempfile.TemporaryDirectory() as folder:
        inclusive = {}
        once(run_on(bench.empty, rules), {})
        for capture in (bench.plain, bench.empty):
            instructions(run_on(capture, rules), f"--callgrind-out-file={folder}/{capture.name}")
            told = subprocess.run(["callgrind_annotate", "--inclusive=yes", "--threshold=100", f"{folder}/{capture.name}"],
                                  capture_output=True, text=True, check=True).stdout
            inclusive[capture] = _inclusive(told)
    full, empty = inclusive[bench.plain], inclusive[bench.empty]

    def of(*names: str) -> float:
        return sum(full.get(name, 0) - empty.get(name, 0) for name in names) / bench.events

    run, push, read, state = of("fl_engine_run"), of("fl_engine_push"), of("fl_scap_next"), of("fl_state_apply")
    rules_, python = of("fl_vm_run"), of("PROGRAM TOTALS") - of("fl_engine_run", "fl_engine_push")
    rows = {"bytes into the reader's buffer": push, "records taken apart": read, "state": state,
            "rules, with the fields that they read": rules_, "the loop, matches": run - read - state - rules_,
            "Python: reading the file, printing alerts": python, "all": of("PROGRAM TOTALS")}
    table(["stage", "instructions/event"], [[name, _number(value, 0)] for name, value in rows.items()])
    _registers_given(bench)


def _registers_given(bench: Bench) -> None:
    """Rules only: the machine on registers that are given, so that no field is extracted."""
    print("\nRules only, the registers of the capture's events given: ", end="", flush=True)
    script = """
import sys, falcolib
program = falcolib.load_program(*sys.argv[3:]).program
names = [name for name, slot in program.named_slots if hasattr(slot, "info")]
core = falcolib.Engine(program)
seen = falcolib.Engine(program)
count = 0
for event in seen.events(falcolib.Capture(sys.argv[1])):
    if count >= int(sys.argv[2]):
        break
    given = {name: value for name in names if (value := event[name]) is not None}
    try:
        for alert in core.run([{**given, "evt.type": event.type, "evt.num": event.num}]):
            pass
    except (TypeError, ValueError):
        continue
    count += 1
print(core.stats().evaluated)
"""
    wanted = 1500
    command = [sys.executable, "-c", script, str(bench.plain), str(wanted), *map(str, corpus.public_rules())]
    evaluated = int(subprocess.run(command, capture_output=True, text=True, check=True).stdout)
    count = instructions(command, "--toggle-collect=fl_vm_run")
    print(f"{count / evaluated:.0f} instructions for each of {evaluated} events that rules are run on ({wanted} events)")


def _inclusive(told: str) -> dict[str, int]:
    found: dict[str, int] = {}
    for line in told.splitlines():
        words = line.split("(", 1)[0].replace(",", "").strip()
        if words.isdigit():
            name = "PROGRAM TOTALS" if "PROGRAM TOTALS" in line else line.split(" [")[0].rsplit(":", 1)[-1].strip()
            found[name] = max(found.get(name, 0), int(words))
    return found


def startup(bench: Bench) -> None:
    """A process on an empty capture."""
    print("## Start-up: a whole process on an empty capture\n")
    rows = []
    idle = peak([sys.executable, "-c", "pass"])
    for name, rules in bench.sets.items():
        compiled, cached = least(run_on(bench.empty, rules, "--no-cache"), run_on(bench.empty, rules), runs=5 if "930" in name else 11)
        peaks = peak(run_on(bench.empty, rules, "--no-cache")), peak(run_on(bench.empty, rules)), peak(run_on(bench.plain, rules))
        rows.append([name, *(_number(cost, 3) for cost in (compiled.cpu, cached.cpu)), *(_number(most - idle, 1) for most in peaks)])
    table(["rules", "CPU s, compiled", "from the cache", "peak MiB above idle Python, compiled", "from the cache", "with the capture"],
          rows)
    print(f"\nAn idle Python takes {idle:.1f} MiB. Falco with 93 rules: 0.121 s, 32 MiB in all.")


def gzip(bench: Bench) -> None:
    """The compressed capture beside the plain one."""
    print("## gzip: wall time of whole processes, in turns\n")
    rules = [*bench.sets.values()][-3]
    pairs = _pairs(run_on(bench.capture, rules), run_on(bench.plain, rules), 15)
    print(f"gzip / plain: {_spread(pairs)}")


def workers(bench: Bench) -> None:
    """One worker beside two, on rules that cost much more than reading does: by the clock, and by the processor's time on the longest way
    (the busier worker of each chunk, and what isn't shared), which is what the clock would show if both processors were free."""
    print("## Workers: wall time of whole processes, in turns\n")
    sets = {"100 costly rules for every event": [bench.rules("heavy", corpus.HEAVY)], "93 rules": [*bench.sets.values()][-3]}
    for name, rules in sets.items():
        pairs = _pairs(run_on(bench.plain, rules), run_on(bench.plain, rules, "--workers", "2"), 9)
        one, two = (min(_longest_way(bench, rules, count) for _ in range(3)) for count in (1, 2))
        print(f"{name}: one / two: {_spread(pairs)}; load {os.getloadavg()[0]:.1f}; "
              f"longest way {one:.3f} s / {two:.3f} s = {one / two:.2f}")


def _longest_way(bench: Bench, rules: list[Path], count: int) -> float:
    script = """
import sys, time, falcolib
from falcolib.workers import Workers
steps, ways = [], []
step, run = Workers._step, Workers.run
def timed(self, core):
    began = time.thread_time()
    step(self, core)
    steps.append(time.thread_time() - began)
def rounds(self):
    steps.clear()
    began = time.thread_time()
    try:
        return run(self)
    finally:
        ways.append((time.thread_time() - began, max(steps)))
Workers._step, Workers.run = timed, rounds
program = falcolib.load_program(*sys.argv[3:]).program
engine = falcolib.Engine(program, matching="all", workers=int(sys.argv[2]))
began = time.thread_time()
for alert in engine.run(falcolib.Capture(sys.argv[1])):
    pass
print(time.thread_time() - began + sum(max(longest - own, 0) for own, longest in ways))
"""
    command = [sys.executable, "-c", script, str(bench.plain), str(count), *map(str, rules)]
    return float(subprocess.run(command, capture_output=True, text=True, check=True).stdout)


def alerts(bench: Bench) -> None:
    """What Python makes of matches."""
    print("## Alerts: what one costs in Python, beyond finding it\n")
    script = """
import sys, time, falcolib
rules = falcolib.RuleSet.parse(f'''
- rule: opened
  desc: d
  condition: evt.type in (open, openat) and evt.num < {int(sys.argv[3])}
  output: file opened | file=%fd.name process=%proc.name parent=%proc.pname command=%proc.cmdline user=%user.name
  priority: NOTICE
  tags: [a, b]''')
take = {"nothing": lambda a: None, "object": lambda a: a.rule, "message": lambda a: a.message, "fields": lambda a: dict(a.fields),
        "text": str, "json": lambda a: a.json()}[sys.argv[2]]
if sys.argv[2] == "nothing":
    rules = rules.select([{"disable": {"rule": "*"}}])
engine, count = falcolib.Engine(rules), 0
began = time.process_time()
for alert in engine.run(falcolib.Capture(sys.argv[1])):
    take(alert)
    count += 1
print(count, time.process_time() - began)
"""
    rows = []
    base_time = base_count = 0.0
    for what in ("nothing", "object", "message", "fields", "text", "json"):
        told = [_alerts(script, bench, what, bench.events) for _ in range(5)]
        number, seconds = int(told[0][0]), min(float(row[1]) for row in told)
        some = int(_alerts(script, bench, what, SOME)[0])
        count = float(instructions(_alerts_command(script, bench, what, SOME))) if bench.counting else 0.0
        if what == "nothing":
            base_time, base_count = seconds, count
            continue
        rows.append([what, str(number), _number((seconds - base_time) / number * 1e6, 2),
                     _number((count - base_count) / some or None, 0)])
    table(["asked for", "alerts", "µs an alert", "instructions"], rows)


def audit(bench: Bench) -> None:
    """Kubernetes' audit events: benchmarks/audit.py."""
    print("## Audit events: CPU of whole processes\n")
    if not audit_log.DATA.exists():
        print("needs the conformance data")
        return
    audit_log.replay(400_000, bench.folder)
    audit_log.webhook(5)


def live(bench: Bench) -> None:
    """What watching adds to system calls: benchmarks/live.py."""
    print("## Live: what system calls take, with and without\n")
    if os.geteuid() or not machine.RULES.exists() or not os.path.exists("/sys/kernel/btf/vmlinux"):
        print("needs root, a kernel with BTF, and the conformance data")
        return
    machine.main()


def _alerts_command(script: str, bench: Bench, what: str, events: int) -> list[str]:
    return [sys.executable, "-c", script, str(bench.plain), what, str(events)]


def _alerts(script: str, bench: Bench, what: str, events: int) -> list[str]:
    command = _alerts_command(script, bench, what, events)
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout.split()


def _pairs(a: list[str], b: list[str], runs: int) -> list[float]:
    once(a, {}), once(b, {})
    return [once(a, {}).wall / once(b, {}).wall for _ in range(runs)]


def _spread(ratios: list[float]) -> str:
    return f"{statistics.median(ratios):.2f} (least {min(ratios):.2f}, most {max(ratios):.2f} of {len(ratios)} pairs)"


def _number(value: float | None, digits: int) -> str:
    return "" if value is None else f"{value:,.{digits}f}"

