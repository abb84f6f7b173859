# SPDX-License-Identifier: Apache-2.0
"""Runs cases, and tells why one failed: the test of the rule's condition that decided it, with the value that it found."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

from ..compiler import Program, compile_rules
from ..engine import Engine
from ..explain.tree import Node, build, deciding_tests
from ..explain.values import getter
from ..render import NA
from ..rules import RuleSet
from ..rules.ast import CheckedRule
from ..rules.text import check_text, value_text
from ..schema import nearest
from ..sources import CaptureReader, Source
from ..sources.audit import AuditFile
from .format import Case, Fields, RuleTestFile

#: Decisive tests of a condition that a failure shows at most.
_SHOWN = 6


@dataclass(frozen=True, slots=True)
class Outcome:
    """What came of a case. ``why``: lines that tell how it failed; empty if it passed. ``tree``: how the rule's condition went, where the
    event's fields are known."""

    case: Case
    passed: bool
    why: tuple[str, ...] = ()
    tree: Node | None = field(default=None, repr=False)

    def __str__(self) -> str:
        lines = [f"{self.case.at}: {'passed' if self.passed else 'FAILED'}: {self.case.id}", *("    " + line for line in self.why)]
        return "\n".join(lines)


@dataclass(slots=True)
class _Replay:
    """What rules did on a capture: the numbers of the events that each matched; and how conditions went on the events asked for."""

    matched: dict[str, list[int]]
    last: int
    trees: dict[tuple[str, int], Node]


class Runner:
    """Runs the cases of a file of tests. rules: the rules that they are about; also those that aren't enabled are tested.

    traced: keep for each case how the rule's condition went (coverage needs it).
    """

    def __init__(self, file: RuleTestFile, rules: RuleSet, *, traced: bool = False) -> None:
        self.file = file
        self.rules = {rule.name: rule for rule in rules.rules}
        self._traced = traced
        self._program: Program = compile_rules(rules.select([{"enable": {"rule": "*"}}]).rules)
        self._engine = Engine(self._program, matching="all")
        self._replays: dict[Path, _Replay] = {}
        for name, at in file.names.items():
            if name not in self.rules:
                shown = ", ".join(map(str, file.rules)) or "nowhere: name their files with 'rules'"
                raise file.error(f"there is no rule '{name}'; the rules are from {shown}", at, nearest(name, self.rules))
        for case in file.cases:
            if case.event is not None and "evt.type" not in case.event and self.rules[case.rule].source == "syscall":
                raise file.error("the event has no evt.type", case.at)

    def outcomes(self) -> Iterator[Outcome]:
        """What comes of the cases, in order. Raises CaptureError, OSError for a capture that can't be read."""
        return map(self.run, self.file.cases)

    def run(self, case: Case) -> Outcome:
        """What comes of one case."""
        return self._on_fields(case, case.event) if case.event is not None else self._on_capture(case)

    # ---- on fields ----

    def _on_fields(self, case: Case, event: Fields) -> Outcome:
        rule = self.rules[case.rule]
        if rule.source != "syscall":
            event = {"evt.source": rule.source, "evt.type": "pluginevent", **event}
        matched = any(alert.rule == rule.name for alert in self._engine.run([event]))
        passed = matched == case.expected
        tree = build(rule.condition, getter(event)) if self._traced or not passed else None
        return Outcome(case, passed, () if passed else tuple(_why(rule, matched, tree, event)), tree)

    # ---- on captures ----

    def _on_capture(self, case: Case) -> Outcome:
        replay = self._replayed(case)
        matched = replay.matched.get(case.rule, [])
        if case.number is None:
            count = len(matched)
            passed = count == case.expected if not isinstance(case.expected, bool) else (count > 0) == case.expected
            if passed:
                return Outcome(case, True)
            where = f" (events {', '.join(map(str, matched[:10]))}{', …' if count > 10 else ''})" if matched else ""
            wanted = f"{case.expected} times" if not isinstance(case.expected, bool) else "it must" if case.expected else "it must not"
            return Outcome(case, False, (f"the rule matches {count} times in {case.capture}{where}; wanted: {wanted}",))
        tree = replay.trees.get((case.rule, case.number))
        if tree is None:
            return Outcome(case, False, (f"{case.capture} has no event {case.number}: its last is {replay.last}",))
        did = case.number in matched
        if did == case.expected:
            return Outcome(case, True, (), tree)
        return Outcome(case, False, tuple(_why(self.rules[case.rule], did, tree, None)), tree)

    def _replayed(self, case: Case) -> _Replay:
        """A capture is run once, for all cases that are about it."""
        path = case.capture
        assert path is not None
        if path not in self._replays:
            matched: dict[str, list[int]] = {}
            for alert in Engine(self._program, matching="all").run(_open(path)):
                matched.setdefault(alert.rule, []).append(alert.event.num)
            wanted: dict[int, list[str]] = {}
            for other in self.file.cases:
                if other.capture == path and other.number is not None:
                    wanted.setdefault(other.number, []).append(other.rule)
            trees: dict[tuple[str, int], Node] = {}
            last = 0
            for event in Engine().events(_open(path)) if wanted else ():
                last = event.num
                for name in wanted.get(event.num, ()):
                    trees[name, event.num] = build(self.rules[name].condition, getter(event))
            self._replays[path] = _Replay(matched, last, trees)
        return self._replays[path]


def _open(path: Path) -> Source:
    """A file of events: a capture, or audit events as JSON."""
    names = {suffix.lower() for suffix in path.suffixes}
    return AuditFile(path) if names & {".json", ".jsonl", ".ndjson"} else CaptureReader(str(path))


def run_tests(
    files: Iterable[RuleTestFile],
    rules: Iterable[str | os.PathLike[str]] = (),
    *,
    wanted: Callable[[Case], bool] = lambda case: True,
) -> Iterator[Outcome]:
    """Runs the cases of files of tests, those that are ``wanted``, on the rules that the files name, or on these.

    Raises RuleError, RuleTestError, CaptureError, OSError for what can't be read.
    """
    rules = tuple(rules)
    for file in files:
        runner = Runner(file, RuleSet.load(*(rules or file.rules)))
        yield from (runner.run(case) for case in file.cases if wanted(case))


# ---- why ---------------------------------------------------------------------------------------------------------------------------------


def _why(rule: CheckedRule, matched: bool, tree: Node | None, event: Fields | None) -> Iterator[str]:
    yield f"the rule {'matches' if matched else 'does not match'}, and {'must not' if matched else 'must'}"
    if event is not None:
        yield "event: {" + ", ".join(f"{name}: {_shown(value)}" for name, value in event.items()) + "}"
    if tree is not None and tree.outcome.holds == matched:
        deciding = list(deciding_tests(tree))
        yield from (_told(test) for test in deciding[:_SHOWN])
        if len(deciding) > _SHOWN:
            yield f"… and {len(deciding) - _SHOWN} more tests"


def _told(test: Node) -> str:
    check = test.check
    assert check is not None
    via = "".join(f", in macro '{name}'" for name in check.via)
    return f"{check.at}: {'true' if test.outcome.holds else 'false'}: {check_text(check)}   [{check.slot}: {_shown(test.value)}]{via}"


def _shown(value: object) -> str:
    if value is None:
        return NA
    if isinstance(value, list):
        return "(" + ", ".join(map(_shown, value)) + ")"
    return value_text(value) if isinstance(value, bool | int | float | str | bytes) else str(value)
