# SPDX-License-Identifier: Apache-2.0
"""What a run's stages and rules cost, while it goes on: ``engine.costs = Costs()``.

The machine then runs the copy of its loop that counts (falcolib.profiling), which costs about as much again as the rules do. Numbers are
taken over once a second, in the thread of the run; whoever asks has those of the last second.
"""

from __future__ import annotations

import threading
import time
from collections import Counter

from ._native import lib
from .compiler import Program
from .core import Core
from .profiling import rule_shares

#: Seconds between two looks at the core's counters.
LOOK = 1.0


class Costs:
    """The costs of an engine's runs so far: by_rule(), by_stage(). May be asked from any thread."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._overhead = int(lib.fl_ticks_overhead())
        self._counted: dict[Core, tuple[Program, list[tuple[int, int, int]]]] = {}
        self._past: Counter[str] = Counter()        # ns, of rules that were replaced
        self._past_rules = 0.0
        self._core: Counter[Core] = Counter()       # ns of the run's thread in the core
        self._ticks: Counter[Core] = Counter()      # … and the ticks of the clock meanwhile
        self._thread: dict[Core, int] = {}          # … and in all, since it began
        self._start: dict[Core, int] = {}
        self._next = 0.0

    def run(self, core: Core) -> bool:
        """As core.run()."""
        began, ticks = time.thread_time_ns(), int(lib.fl_ticks_now())
        program = core.program
        counted = self._counted.get(core)
        if counted is None or counted[0] is not program:
            with self._lock:
                if counted is not None:
                    for name, ns in self._shares(*counted).items():
                        self._past[name] += int(ns)
                    self._past_rules += self._evaluated(counted[1])
                core.profile(True)
                self._counted[core] = program, core.profiled()
                self._start.setdefault(core, began)
        try:
            return core.run()
        finally:
            now = time.thread_time_ns()
            self._core[core] += now - began
            self._ticks[core] += int(lib.fl_ticks_now()) - ticks
            self._thread[core] = now - self._start[core]
            if time.monotonic() >= self._next:
                self._next = time.monotonic() + LOOK
                with self._lock:
                    self._counted[core] = program, core.profiled()

    def by_rule(self) -> dict[str, int]:
        """ns by rule: each test's time is divided among the rules that it decides."""
        with self._lock:
            total = Counter(self._past)
            for program, numbers in self._counted.values():
                for name, ns in self._shares(program, numbers).items():
                    total[name] += int(ns)
            return dict(total)

    def by_stage(self) -> dict[str, int]:
        """ns of processor time. rules: evaluating them; state: reading events and applying them to the state; alerts: making alerts of
        matches and giving them out, and waiting's own cost."""
        with self._lock:
            rules = int(self._past_rules + sum(self._evaluated(numbers) for _, numbers in self._counted.values()))
            core, thread = sum(self._core.values()), sum(self._thread.values())
        return {"rules": rules, "state": max(core - rules, 0), "alerts": max(thread - core, 0)}

    def _rate(self) -> float:
        """ns of processor time for a tick of the core's: those that pass while other threads have the processor are nobody's cost."""
        return sum(self._core.values()) / max(sum(self._ticks.values()), 1)

    def _evaluated(self, numbers: list[tuple[int, int, int]]) -> float:
        return numbers[0][2] * self._rate() if numbers else 0.0

    def _shares(self, program: Program, numbers: list[tuple[int, int, int]]) -> dict[str, float]:
        if not numbers:
            return {}
        shares = rule_shares(program, numbers, self._rate(), self._overhead)
        return {program.rules[number].name: ns for number, ns in shares.items()}
