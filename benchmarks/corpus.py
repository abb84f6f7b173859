# SPDX-License-Identifier: Apache-2.0
"""What is measured: captures, and sets of rules of several sizes.

Two constructions make ten times the rules. ``appended``: nine copies of each rule, renamed, with ``and proc.name != variantN`` behind
the condition, as Falco was measured. ``inside``: nine copies, in each of which one literal somewhere in the condition, macros put in, is
another.
"""

from __future__ import annotations

import gzip
import json
import os
import pathlib
import random
import re
from collections.abc import Iterator
from dataclasses import replace

from falcolib import RuleSet
from falcolib.rules.ast import Check, Checked, CheckedAnd, CheckedNot, CheckedRule, Value

ROOT = pathlib.Path(__file__).resolve().parent.parent
CONFORMANCE = ROOT / os.environ.get("CONFORMANCE", "../shared/conformance")
MIX1 = CONFORMANCE / "captures" / "mix1.scap"
ATTACKS = ROOT / "tests" / "data" / "attack1.scap"
OURS = [ROOT / "rules" / "falcolib_rules.yaml"]
AUDIT = ROOT / "rules" / "k8s_audit_rules.yaml"
PUBLIC = [CONFORMANCE / "rules" / name for name in ("falco_rules.yaml", "falco-incubating_rules.yaml", "falco-sandbox_rules.yaml")]
COPIES = 9

_HEAD = "  desc: d\n  output: o %evt.num\n  priority: DEBUG\n  warn_evttypes: false\n"
NEVER = f"- rule: never\n  condition: evt.num < 0\n{_HEAD}"
#: Rules that cost much more than reading and state do: a hundred searches through a command line, for each event.
HEAVY = "".join(f"- rule: heavy {i}\n  condition: proc.cmdline icontains needle{i}z and proc.name != x{i}\n{_HEAD}" for i in range(100))
#: Tests of these decide which event types a rule is for: a copy with another would be dead.
_DECIDING = ("evt.type", "evt.dir", "syscall.type", "evt.category")


def public_rules() -> list[pathlib.Path]:
    """Falco's public rule files, or our own where they are missing."""
    return PUBLIC if PUBLIC[0].exists() else OURS


def plain(capture: pathlib.Path, folder: pathlib.Path) -> tuple[pathlib.Path, pathlib.Path]:
    """The capture without gzip, and an empty one: its section header alone."""
    data = capture.read_bytes()
    if data[:2] == b"\x1f\x8b":
        data = gzip.decompress(data)
    whole, empty = folder / "plain.scap", folder / "empty.scap"
    whole.write_bytes(data)
    empty.write_bytes(data[: int.from_bytes(data[4:8], "little")])
    return whole, empty


def appended(files: list[pathlib.Path]) -> str:
    """Rules to be loaded after the files: the first construction."""
    return "".join(_rule(rule, copy, f"({condition_text(rule.condition)}) and proc.name != variant{copy}")
                   for rule in RuleSet.load(*files).rules for copy in range(1, COPIES + 1))


def inside(files: list[pathlib.Path]) -> str:
    """Rules to be loaded after the files: the second construction. Which literal is another is drawn at random, the same in each run."""
    chance = random.Random(93)
    return "".join(_rule(rule, copy, condition_text(_changed(rule.condition, copy, chance)))
                   for rule in RuleSet.load(*files).rules for copy in range(1, COPIES + 1))


def _rule(rule: CheckedRule, copy: int, condition: str) -> str:
    enabled = "" if rule.enabled else "  enabled: false\n"
    return f"- rule: {json.dumps(f'{rule.name} {copy}')}\n  condition: {json.dumps(condition)}\n{_HEAD}{enabled}"


def condition_text(tree: Checked) -> str:
    """A condition as the text of a rule file."""
    if isinstance(tree, Check):
        words = [str(tree.slot), tree.op, *([tree.modifier] if tree.modifier else [])]
        if tree.other is not None:
            words.append(f"val({tree.other})")
        elif tree.op in ("in", "intersects", "pmatch") or tree.modifier:
            words.append("(" + ", ".join(map(_value_text, tree.values)) + ")")
        else:
            words += map(_value_text, tree.values)
        return " ".join(words)
    if isinstance(tree, CheckedNot):
        return f"not ({condition_text(tree.child)})"
    word = " and " if isinstance(tree, CheckedAnd) else " or "
    return "(" + word.join(map(condition_text, tree.children)) + ")"


def _value_text(value: Value) -> str:
    if isinstance(value, bytes):
        return f'"{value.hex()}"'
    text = json.dumps(value) if isinstance(value, bool) else str(value)
    return text if re.fullmatch(r"-?\d+", text) else '"' + text.replace("\\", "\\x5c").replace('"', '\\"') + '"'


def _literals(tree: Checked) -> Iterator[tuple[Check, int]]:
    """The literals that a copy may change: the test, and which of its values."""
    if isinstance(tree, Check):
        if str(tree.slot).partition("[")[0] not in _DECIDING:
            yield from ((tree, i) for i, value in enumerate(tree.values) if isinstance(value, str))
    else:
        for child in (tree.child,) if isinstance(tree, CheckedNot) else tree.children:
            yield from _literals(child)


def _changed(tree: Checked, copy: int, chance: random.Random) -> Checked:
    test, which = chance.choice([*_literals(tree)])
    values = tuple(f"{value}{copy}" if i == which else value for i, value in enumerate(test.values))         # type: ignore[str-bytes-safe]    # no bytes are left
    return _with(tree, test, replace(test, values=values))


def _with(tree: Checked, old: Check, new: Check) -> Checked:
    if isinstance(tree, Check):
        return new if tree is old else tree
    if isinstance(tree, CheckedNot):
        return CheckedNot(_with(tree.child, old, new))
    return type(tree)(tuple(_with(child, old, new) for child in tree.children))
