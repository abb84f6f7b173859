# SPDX-License-Identifier: Apache-2.0
"""What is in a rule set, with what each thing uses and compiles to: the shape of Falco's ``-L`` with json_output (A9), and the places."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from .. import schema
from ..errors import Location
from .ast import Checked, CheckedRule, Condition, FieldName, ListLiteral, Literal, OutputToken, Slot, Test, TransformCall, TransformSlot
from .check import ConditionError, check_condition, event_names, field_text
from .expand import Clause, Lists, Macros, leaves, with_exceptions
from .merge import PRIORITIES, Collection, Entry, ListInfo, MacroInfo, RuleInfo, version_text
from .report import Result
from .ruleset import RuleSet
from .text import condition_text

#: The plugin whose work a field is, by the beginning of its name.
_PLUGINS = {"container.": "container", "k8s.": "container", "ka.": "k8saudit", "jevt.": "json", "json.": "json"}
#: The events of all sources but system calls.
_OTHER_SOURCES = ("asyncevent", "pluginevent")
_SOURCES = {"k8s_audit": "k8saudit"}


def describe(rules: RuleSet, name: str | None = None) -> dict[str, Any]:
    """Rules, macros and lists with their details; of one rule, if it is named, that alone.

    Raises KeyError if there is no rule of that name.
    """
    described = _Describer(rules)
    if name is not None:
        if name not in described.rules:
            raise KeyError(name)
        return {"rules": [described.rule(described.all.rules[name])]}
    infos = described.all
    return {
        "required_engine_version": version_text(infos.engine_version),
        "required_plugin_versions": [
            {"name": p.alternatives[0][0], "version": p.alternatives[0][1],
             "alternatives": [{"name": n, "version": v} for n, v in p.alternatives[1:]]} for p in infos.plugins],
        "rules": [described.rule(infos.rules[rule.name]) for rule in rules.rules],
        "macros": [described.macro(info) for info in infos.macros.values()],
        "lists": [described.list_(info) for info in infos.lists.values()],
    }


class _Describer:
    def __init__(self, rules: RuleSet) -> None:
        self.rules = {rule.name: rule for rule in rules.rules}
        self.all = Collection()
        for source in rules.sources:
            self.all.read(source, Result(source.name))
        written = sum(len(info.condition.text) for infos in (self.all.rules, self.all.macros) for info in infos.values())
        self.lists = Lists(self.all.lists, written + sum(len(item) for info in self.all.lists.values() for item in info.items))
        self.macros = Macros(self.all.macros, self.lists, written)
        self.trees = {name: self.macros.resolve(Clause(with_exceptions(self.all.rules[name]), self.lists, self.all.rules[name].context),
                                                self.all.rules[name].context) for name in self.rules}

    def rule(self, info: RuleInfo) -> dict[str, Any]:
        rule, tree = self.rules[info.name], self.trees[info.name]
        raw = Clause(info.condition, self.lists, info.condition_context)
        fields = _condition_fields(tree)
        printed = sorted({str(f) for part in rule.output if isinstance(part, OutputToken) for f in _slot_fields(part.slot)})
        extra = {added.name: _output_text(added.output) for added in rule.extra_fields if not added.raw}
        return {
            "info": {
                "name": info.name, "condition": info.condition.text, "output": info.output.text, "description": info.description,
                "priority": PRIORITIES[info.priority], "source": info.source, "enabled": rule.enabled, "tags": sorted(info.tags),
                "capture": info.capture, "capture_duration": info.capture_duration, "position": _position(rule.at)},
            "details": {
                "macros": sorted({leaf.name for leaf in raw.names()}), "lists": sorted(raw.lists), **self._details(tree),
                "output_fields": printed, "output_compiled": _output_text(rule.output), "events": self._events(rule),
                "exception_names": [e.name for e in info.exceptions],
                "exception_fields": sorted({f for e in info.exceptions for f in _texts(e.fields)}),
                "exception_operators": sorted({c for e in info.exceptions for c in _texts(e.comps)}),
                "plugins": _plugins([*fields, *printed], _event_literals(tree), info.source),
                **({"extra_output_formatted_fields": extra} if extra else {})},
        }

    def macro(self, info: MacroInfo) -> dict[str, Any]:
        clause = self.macros.clause(info.name)
        tree = self.macros.resolve(clause, info.context)
        return {
            "info": {"name": info.name, "condition": info.condition.text, "position": _position(info.context.place)},
            "details": {
                "used": info.name in self.macros.used, "macros": sorted({leaf.name for leaf in clause.names()}),
                "lists": sorted(clause.lists), **self._details(tree), "events": _macro_events(tree),
                "plugins": []},
        }

    def list_(self, info: ListInfo) -> dict[str, Any]:
        inner = [item for item in info.items if item in self.all.lists]
        return {
            "info": {"name": info.name, "items": [item for item in info.items if item not in self.all.lists],
                     "position": _position(info.context.place)},
            "details": {"used": info.name in self.lists.used, "lists": inner, "items_compiled": list(self.lists.items[info.name]),
                        "plugins": []},
        }

    @staticmethod
    def _details(tree: Condition) -> dict[str, Any]:
        tests = [leaf for leaf in leaves(tree) if isinstance(leaf, Test)]
        return {
            "condition_compiled": condition_text(tree), "condition_fields": _condition_fields(tree),
            "condition_operators": sorted({f"{t.op} {t.modifier}" if t.modifier else t.op for t in tests})}

    @staticmethod
    def _events(rule: CheckedRule) -> list[str]:
        return _seen(rule.condition, rule.source)


def _seen(condition: Checked, source: str) -> list[str]:
    """The events that a condition is asked of: asynchronous ones always are among them, as they carry their own names."""
    return sorted((event_names(condition) | {"asyncevent"}) - {"NA"}) if source == "syscall" else list(_OTHER_SOURCES)


def _macro_events(tree: Condition) -> list[str]:
    """The events that a macro can match; none, if it names fields that there aren't: only rules are checked."""
    for source in schema.sources():
        try:
            checked = check_condition(tree, source=source)
        except ConditionError:
            continue
        return _seen(checked, source)
    return []


def _position(at: Location) -> dict[str, Any]:
    return {"name": at.name, "line": at.line, "column": at.column, "offset": at.offset}


def _condition_fields(tree: Condition) -> list[str]:
    found: set[str] = set()
    todo: list[object] = [x for leaf in leaves(tree) if isinstance(leaf, Test) for x in (leaf.left, leaf.right)]
    while todo:
        operand = todo.pop()
        if isinstance(operand, FieldName):
            found.add(field_text(operand.name, operand.argument))
        elif isinstance(operand, TransformCall):
            todo += operand.inputs
        elif isinstance(operand, ListLiteral):
            todo += operand.items
    return sorted(found)


def _slot_fields(slot: Slot) -> Iterable[Slot]:
    todo: list[object] = [slot]
    while todo:
        at = todo.pop()
        if isinstance(at, TransformSlot):
            todo += at.inputs
        elif isinstance(at, tuple):
            todo += at
        elif not isinstance(at, str | bytes | int | float):
            yield at  # type: ignore[misc]


def _output_text(parts: Iterable[str | OutputToken]) -> str:
    return "".join(p if isinstance(p, str) else f"%{p.width or ''}{p.text}" for p in parts)


def _texts(entry: Entry) -> tuple[str, ...]:
    return (entry.text,) if entry.items is None else tuple(e.text for e in entry.items)


def _event_literals(tree: Condition) -> Iterable[str]:
    """What the types of events are compared with."""
    for leaf in leaves(tree):
        if isinstance(leaf, Test) and isinstance(leaf.left, FieldName) and leaf.left.name in ("evt.type", "evt.asynctype"):
            literals = leaf.right if isinstance(leaf.right, tuple) else (leaf.right,)
            yield from (literal.text for literal in literals if isinstance(literal, Literal))


def _plugins(fields: Iterable[str], events: Iterable[str], source: str, table: Mapping[str, str] = _PLUGINS) -> list[str]:
    found = {plugin for field in fields for start, plugin in table.items() if field.startswith(start)}
    if not schema.ASYNC_NAMES.isdisjoint(events):
        found.add("container")
    return sorted(found | {_SOURCES[source]} if source in _SOURCES else found)
