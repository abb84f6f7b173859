# SPDX-License-Identifier: Apache-2.0
"""What rules cost on a source of events, by rule, test and field: counted by a second copy of the machine's loop, which only a profile
runs."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, TypeAlias

from ._native import lib
from .compiler import Program, compile_rules
from .compiler.control import decided_by
from .compiler.disasm import Listing
from .core import Core
from .sources import Source

if TYPE_CHECKING:
    from .rules import RuleSet

#: Runs, true outcomes, ticks.
_Cost: TypeAlias = tuple[int, int, int]


@dataclass(frozen=True, slots=True)
class RuleCost:
    """A rule: the events of which it was true, and its share of the tests' time (ns): a test's is divided among the rules that it
    decides."""

    rule: str
    hits: int
    ns: float


@dataclass(frozen=True, slots=True)
class GateCost:
    """A test or gate of the program: its text, the event types or the gate in which it stands, how often it was made and was true, its time
    (ns; of a gate with the tests in it), and how many rules wait behind it."""

    test: str
    where: str
    runs: int
    hits: int
    ns: float
    rules: int


@dataclass(frozen=True, slots=True)
class FieldCost:
    """A field or transformer: how often it was asked for, how often there was a value, and its time (ns)."""

    field: str
    runs: int
    present: int
    ns: float


@dataclass(frozen=True, slots=True)
class Profile:
    """What a run has cost. events: of the source; evaluated: those that rules were run on; seconds: of the whole run; ns: of the rules,
    with what measuring itself costs. The rows are in order of cost."""

    events: int
    evaluated: int
    seconds: float
    ns: float
    rules: tuple[RuleCost, ...]
    gates: tuple[GateCost, ...]
    fields: tuple[FieldCost, ...]

    def as_dict(self) -> dict[str, object]:
        """For JSON."""
        return asdict(self)


def profile(rules: RuleSet | Program, source: Source) -> Profile:
    """Runs rules over a source, all that match (matching="all"), and tells what they cost.

    Times are of the processor's clock, less what reading it takes; they are good for comparing, and more than the same work takes
    unobserved. Raises what Engine.run() raises.
    """
    program = rules if isinstance(rules, Program) else compile_rules(rules.rules)
    program.check()
    core = Core("all", 0, 0)
    core.use(program)
    core.profile(True)
    hits: Counter[int] = Counter()
    began, ticks = time.perf_counter_ns(), lib.fl_ticks_now()
    _run(core, source, hits)
    took = time.perf_counter_ns() - began
    ns: float = took / max(lib.fl_ticks_now() - ticks, 1)
    overhead = int(lib.fl_ticks_overhead())
    numbers = core.profiled()
    size = len(numbers) - 1 - len(program.slots)

    def net(row: _Cost) -> float:
        return max(row[2] - row[0] * overhead, 0) * ns

    tests, shares = _tests(program, numbers[1 : 1 + size], net)
    slots = zip(program.slots, numbers[1 + size :], strict=True)
    fields = (FieldCost(str(slot), row[0], row[1], net(row)) for slot, row in slots if row[0])
    costs = (RuleCost(rule.name, hits[number], shares.get(number, 0.0)) for number, rule in enumerate(program.rules) if rule.enabled)
    return Profile(core.stats().events, numbers[0][0], took / 1e9, numbers[0][2] * ns, *(
        tuple(sorted(rows, key=lambda row: -row.ns)) for rows in (costs, tests, fields)))       # type: ignore[arg-type]


def rule_shares(program: Program, numbers: Sequence[_Cost], ns: float, overhead: int) -> dict[int, float]:
    """Each rule's share of the time (ns) of the tests, by its number, of what Core.profiled() tells. ns: of a tick; overhead: ticks that
    counting takes."""
    return _tests(program, numbers[1 : len(numbers) - len(program.slots)], lambda row: max(row[2] - row[0] * overhead, 0) * ns)[1]


def _run(core: Core, source: Source, hits: Counter[int]) -> None:
    open_on = getattr(source, "open_on", None)
    if open_on is None:
        core.rewind()
    else:
        open_on(core)
    try:
        for chunk in source.chunks():
            core.push(chunk)
            more = True
            while more:
                more = core.run()
                hits.update(match.rule for match in core.take())
        core.finish()
    finally:
        source.close()


def _tests(program: Program, numbers: Sequence[_Cost], net: Callable[[_Cost], float]) -> tuple[list[GateCost], dict[int, float]]:
    """The tests that were made, and each rule's share of their time."""
    listing = Listing(program)
    rows: list[GateCost] = []
    shares: dict[int, float] = {}
    behind: dict[int, int] = {}                         # the rules behind a gate: those behind the tests that enter it
    ranges = [*listing.ranges()]
    sections = [row for row in ranges if row[1] is None]
    gates = [row for row in ranges if row[1] is not None]
    starts = [row[2] for row in gates]
    for where, gate, first, count in (*sections, *reversed(gates)):        # a gate is entered by those of higher numbers
        decided = decided_by(listing, first, count) if gate is None else [behind.get(gate, 0)] * count
        for place, bits in enumerate(decided, first):
            runs, trues, _ = cost = numbers[place]
            name, operand, _ = listing.flow(place)
            if not runs or name == "rule":
                continue
            if name == "gate":
                behind[operand] = behind.get(operand, 0) | bits
            spent, waiting = net(cost), [number for number in range(len(program.rules)) if bits >> number & 1]
            text = f"{listing.test(place)}: {listing.test(starts[operand])} …" if name == "gate" else listing.test(place)
            rows.append(GateCost(text, where, runs, trues, spent, len(waiting)))
            if gate is None:
                for number in waiting:
                    shares[number] = shares.get(number, 0.0) + spent / len(waiting)
    return rows, shares
