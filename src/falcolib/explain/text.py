# SPDX-License-Identifier: Apache-2.0
"""Explanations for people: a tree with an outcome, a value and a place on each line."""

from __future__ import annotations

import json
import os
import textwrap
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import replace
from ipaddress import ip_address
from typing import TYPE_CHECKING

from .. import render
from ..alert import Priority
from ..rules.ast import Slot
from ..rules.text import value_text
from .tree import Node, Outcome
from .written import lists_of, written

if TYPE_CHECKING:
    from ..rules.ruleset import RuleSet
    from . import Explanation, RuleExplanation

MARKS = {Outcome.TRUE: "✓", Outcome.FALSE: "✗", Outcome.ABSENT: "∅", Outcome.UNKNOWN: "?", Outcome.SKIPPED: "·"}
#: The same for terminals that can't show these.
PLAIN = str.maketrans({"✓": "+", "✗": "-", "∅": "o", "·": ".", "…": "~", "→": ">", "←": "<"})
_GROUPS = {"and": "all of", "or": "any of"}
#: Columns of a test, and of a value, at most.
_TEST, _VALUE = 80, 44
#: Lists that are named on a line.
_LISTS = 2
_DECIDED = "  ← decided"
_LEGEND = "✓ true   ✗ false   ∅ absent: the field has no value, so every test of it is false   · not looked at: the outcome was settled"


def rule_text(found: RuleExplanation) -> str:
    """One rule in full."""
    rule = found.rule
    lines = [f"{_verdict(found)}  {rule.name}  [{Priority(rule.priority)}]  {rule.at}"]
    if found.reason:
        lines += textwrap.wrap(found.reason + ".", 130, initial_indent="  not asked: ", subsequent_indent="    ", break_on_hyphens=False)
    lines.append(f"  {_decision(found)}")
    lines.append("")
    lines += _columns(list(_rows(found)))
    return "\n".join(line.rstrip() for line in lines)


def explanation_text(found: Explanation) -> str:
    """The event, the rules that matched in full, and a line for each that didn't."""
    head = [f"event {found.num}" if found.num is not None else "event", found.type]
    if found.time is not None:
        head.append(render.clock("evt.time.iso8601", found.time))
    if found.process:
        head.append(found.process)
    parts = ["  ".join(head)]
    if len(found.rules) == 1:
        return "\n\n".join([*parts, rule_text(found.rules[0]), _LEGEND])
    full = [r for r in found.rules if r.alerts]
    parts += [rule_text(r) for r in full]
    if full:
        parts.append(_LEGEND)
    else:
        parts.append("No rule matches.")
    taken = [r for r in found.rules if r.reason and r.matches and r.rule.enabled and r.decided.outcome is not Outcome.SKIPPED]
    if taken:
        parts.append("\n".join(["Their conditions hold, too, but no alert comes of them:", *(f"  {r.name}: {r.reason}" for r in taken)]))
    others = [r for r in found.rules if not r.reason and not r.matches]
    if others:
        rows = [("  " + _short(r.name, 60), *_short_decision(r)) for r in others]
        parts.append("\n".join(["Asked, and not true:", *_columns(rows)]))
    rest = [r for r in found.rules if r.reason and r not in taken]
    if rest:
        parts.append("\n".join(["Not asked:", *_counted(rest)]))
    return "\n\n".join(parts)


def _verdict(found: RuleExplanation) -> str:
    if found.alerts:
        return "MATCHES"
    if found.matches and found.reason:
        return "NO ALERT"
    return "UNKNOWN" if found.matches is None else "NO MATCH"


def _decision(found: RuleExplanation) -> str:
    """One line: what settled it."""
    node, holds = found.decided, found.matches
    if found.tree.outcome is Outcome.UNKNOWN:
        unknown = sum(n.outcome is Outcome.UNKNOWN and n.check is not None for n in found.tree.walk())
        told = "it held, as its alert tells" if holds else "can't be told"
        values = "one value isn't" if unknown == 1 else f"{unknown} values aren't"
        return f"{told}: {values} known any more, as the source has moved on; explain the event of a capture to have all"
    if node.check is not None:
        return f"{'it holds' if holds else 'stopped'} by  {written(node.check, found.rules)}  {_saw(node)}  {_where(node, found.rules)}"
    all_ = "all" if node.kind == "and" else "none"
    what = f"{all_} of {len(node.children)} {'parts holds' if all_ == 'none' else 'parts hold'}"
    return f"{'it holds' if holds else 'stopped'}: {what}  {_where(node, found.rules)}"


def _short_decision(found: RuleExplanation) -> tuple[str, str, str]:
    node = found.decided
    if found.matches is None:
        return "can't be told", "", ""
    if node.check is None:
        names = [c.macro[len(node.macro)] for c in node.children if len(c.macro) > len(node.macro)]
        told = f" ({', '.join(dict.fromkeys(names))})" if names else ""
        return _short(f"none of {len(node.children)} alternatives{told}", 60), "", _where(node, found.rules)
    return _short(written(node.check, found.rules), 60), _saw(node), _where(node, found.rules)


def _saw(node: Node) -> str:
    if node.check is None or node.outcome in (Outcome.SKIPPED, Outcome.UNKNOWN):
        return ""
    if node.value is None:
        return "∅ absent"
    text = _value(node.check.slot, node.value)
    if node.check.other is not None:
        text += f" against {_value(node.check.other, node.other)}"
    return text


def _place(node: Node, rules: RuleSet) -> str:
    """The place of a part: without the folder, where the name of the file is enough. (The rule's own place has it.)"""
    if node.at is None:
        return ""
    base = os.path.basename(node.at.name)
    alone = sum(os.path.basename(name) == base for name in rules.files) == 1
    return str(replace(node.at, name=base)) if alone else str(node.at)


def _where(node: Node, rules: RuleSet) -> str:
    way = "".join(f", macro {name}" for name in node.macro)
    return _place(node, rules) + way


# ---- values ------------------------------------------------------------------------------------------------------------------------------


def plain_value(slot: object, value: object) -> object:
    """A value as JSON holds it: texts for bytes and addresses."""
    if isinstance(value, list):
        return [plain_value(slot, v) for v in value]
    if isinstance(value, bytes):
        if getattr(slot, "kind", "") in ("ip", "net") and len(value) in (4, 16):
            return str(ip_address(value))
        return value.hex() if getattr(slot, "kind", "") == "bytes" else value.decode("utf-8", "replace")
    return value if value is None or isinstance(value, bool | int | float | str) else str(value)


def _value(slot: Slot, value: object) -> str:
    plain = plain_value(slot, value)
    if isinstance(plain, list):
        return _short(f"({', '.join(_one(v) for v in plain)})", _VALUE)
    return _short(_one(plain), _VALUE)


def _one(value: object) -> str:
    return "∅ absent" if value is None else json.dumps(value, ensure_ascii=False)


def _short(text: str, width: int) -> str:
    return text if len(text) <= width else text[: width - 1] + "…"


# ---- the tree ----------------------------------------------------------------------------------------------------------------------------


def _rows(found: RuleExplanation) -> Iterator[tuple[str, str, str, str]]:
    """Lines of the tree: the part, the value, the place, the macros and lists."""
    todo: list[tuple[Node, int, tuple[str, ...]]] = [(found.tree, 1, ())]
    while todo:
        node, depth, outer = todo.pop()
        indent = "  " * min(depth, 20)
        if node.kind == "not" and node.outcome is not Outcome.SKIPPED:
            child = node.children[0]
            if child.kind != "not":
                yield from _line(found, child, indent, outer, node)
                todo += _below(child, depth, outer)
                continue
            yield f"{indent}{MARKS[node.outcome]} not", "", "", ""
            todo.append((child, depth + 1, outer))
            continue
        if node.outcome is Outcome.SKIPPED:
            count = node.tests
            yield f"{indent}· {count} test{'s' * (count > 1)} not looked at", "", _place(node, found.rules), ""
            continue
        yield from _line(found, node, indent, outer, None)
        todo += _below(node, depth, outer)


def _below(node: Node, depth: int, outer: tuple[str, ...]) -> list[tuple[Node, int, tuple[str, ...]]]:
    """The parts of a group, last first; those that weren't looked at are one."""
    seen = [c for c in node.children if c.outcome is not Outcome.SKIPPED]
    rest = [c for c in node.children if c.outcome is Outcome.SKIPPED]
    inner = node.macro if len(node.macro) > len(outer) else outer
    below = [(c, depth + 1, inner) for c in seen]
    if rest:
        below.append((Node("and", at=rest[0].at, children=rest), depth + 1, inner))
    return below[::-1]


def _line(
    found: RuleExplanation, node: Node, indent: str, outer: tuple[str, ...], negation: Node | None,
) -> Iterator[tuple[str, str, str, str]]:
    shown = negation or node
    # "not" of an absent value is true; the sign tells both
    mark = MARKS[node.outcome if node.outcome is Outcome.ABSENT and negation is None else shown.outcome]
    notes = [f"macro {name}" for name in node.macro[len(outer):]]
    no = "not " if negation else ""
    if node.check is None:
        told = f"   {', '.join(notes)}" if notes else ""
        yield f"{indent}{mark} {no}{_GROUPS[node.kind]}{told}", "", "", ""
        return
    text = f"{indent}{mark} {no}{written(node.check, found.rules)}"
    value = "?" if node.outcome is Outcome.UNKNOWN else _saw(node)
    if node.hits:
        value += f" → {', '.join(value_text(v) for v in node.hits)}" if _tells(node) else ""
    lists = lists_of(node.check, found.rules)
    notes += [f"list {name}" for name in lists[:_LISTS]] + [f"{len(lists) - _LISTS} more lists"] * (len(lists) > _LISTS)
    yield _short(text, _TEST), value, _place(node, found.rules), ", ".join(notes) + _DECIDED * (node is found.decided)


def _tells(node: Node) -> bool:
    """Whether the constant that met tells more than the value does."""
    assert node.check is not None
    return node.check.op not in ("=", "in", "!=") or isinstance(node.value, list)


def _columns(rows: Sequence[tuple[str, ...]]) -> list[str]:
    """Rows in columns, each as wide as its longest cell that another one follows."""
    count = max((len(r) for r in rows), default=0)
    widths = [max((len(r[i]) for r in rows if any(r[i + 1:])), default=0) for i in range(count)]
    return ["  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=False)).rstrip() for row in rows]


def _counted(rest: list[RuleExplanation]) -> Iterator[str]:
    """Rules that weren't asked, by reason."""
    kinds: Counter[str] = Counter()
    for found in rest:
        reason = found.reason or ""
        kinds["are disabled" if reason.startswith("it is disabled") else
              f"are for the source {found.rule.source}" if "source" in reason else
              "come after the rule that had the event" if "taken by" in reason else
              "are about other types of events"] += 1
    for kind, count in kinds.most_common():
        yield f"  {count} rule{'s' * (count > 1)} {kind}" if count > 1 else f"  1 rule {_singular(kind)}"


def _singular(kind: str) -> str:
    return kind.replace("are ", "is ", 1) if kind.startswith("are ") else kind.replace("come ", "comes ", 1)
