# SPDX-License-Identifier: Apache-2.0
"""A collection of definitions, compiled: exceptions, lists and macros put in, conditions and outputs checked (A4).

Falco does this after each file, with all the files before it. So do we: a file is checked again, not parsed again.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

from ..errors import Location
from .ast import CheckedRule, ExtraField, Test
from .check import ConditionError, Memo, advice, check_condition, compares_with_na, deprecated, deprecated_fields, event_types
from .expand import Clause, Lists, Macros, leaves, with_exceptions
from .grammar import label
from .merge import Collection, RuleInfo, Text
from .output import CONTAINER_INFO, Output, OutputError
from .report import Context, Mistake, Result
from .static import Static, output_of

#: A rule with more event types than this is warned of.
MANY_EVENTS = 100

_OLD_DIRECTION = (
    "due to the drop of enter events, 'evt.dir = <' always evaluates to true, and 'evt.dir = >' always evaluates to false. "
    "The rule expression can be simplified by removing the condition on 'evt.dir'")
_OLD_CONTAINER = (
    "%container.info is deprecated and no more useful, and will be dropped by Falco 1.0.0. "
    "The container plugin will automatically add required fields to the output message.")
_NA = ("an absent field isn't equal to <NA>: every test of it is false. The operator 'exists' tells whether a field has a value.")
_MANY = "Rule matches too many evt.type values. This has a significant performance penalty."


@dataclass(frozen=True, slots=True)
class Compiled:
    """Rules in the order of definition, the conditions of macros as written, and lists with the lists in them put in."""

    rules: tuple[CheckedRule, ...]
    macros: Mapping[str, str]
    lists: Mapping[str, tuple[str, ...]]


class Compiler:
    """Compiles a collection as it grows. What was found out after one file is used after the next."""

    def __init__(self, static: Static | None = None) -> None:
        self.memo: Memo = {}
        self.static: Static = static or {}

    def run(self, collection: Collection, result: Result) -> Compiled:
        """Warnings go to the result. Raises Mistake at the first definition that can't be used."""
        conditions = sum(len(info.condition.text) for infos in (collection.rules, collection.macros) for info in infos.values())
        lists = Lists(collection.lists, conditions + sum(len(item) for info in collection.lists.values() for item in info.items))
        macros = Macros(collection.macros, lists, conditions)
        rules = [
            rule for info in collection.rules.values() if not info.unknown_source
            if (rule := self._rule(info, lists, macros, result)) is not None
        ]
        for name, macro in collection.macros.items():
            if name not in macros.used:
                result.warn("LOAD_UNUSED_MACRO", "Macro not referred to by any other rule/macro", macro.context)
        for name, list_ in collection.lists.items():
            if name not in lists.used:
                result.warn("LOAD_UNUSED_LIST", "List not referred to by any other rule/macro", list_.context)
        return Compiled(tuple(rules), {name: m.condition.text for name, m in collection.macros.items()}, dict(lists.items))

    def _rule(self, info: RuleInfo, lists: Lists, macros: Macros, result: Result) -> CheckedRule | None:
        """The rule; None if it is skipped for the unknown fields it was allowed to have."""
        written = with_exceptions(info)
        found = self._output(info, result)
        if found is None:
            return None
        output, extra = found
        clause = Clause(written, lists, info.condition_context)
        tree = macros.resolve(clause, info.context)
        tests = [leaf for leaf in leaves(tree) if isinstance(leaf, Test)]
        self._warn_of_tests(tests, info.condition_context.whole_expression(written.text, label(written.text)), result)
        try:
            checked = check_condition(tree, self.memo, info.source, self.static)
        except ConditionError as e:
            context = self._expression(info, written, (e.operand or e.test.left).at)
            if info.skip_unknown and ("nonexistent field" in e.message or "unknown event type" in e.message):
                result.warn("LOAD_UNKNOWN_FILTER", e.message, context, at=e.test.at)
                return None
            way = self._way(e, clause, lists, macros)
            raise Mistake("LOAD_ERR_COMPILE_CONDITION", e.message, context, e.test.at, e.hint, way) from None
        for test in tests:
            for message, at in advice(test, info.source):
                result.warn("LOAD_COMPILE_CONDITION", message, self._expression(info, written, at), at=test.at,
                            via=tuple(f"macro '{name}'" for name in test.via))
        events = event_types(checked, info.source)
        if info.warn_evttypes and len(events) > MANY_EVENTS:
            result.warn("LOAD_NO_EVTTYPE", _MANY, info.context)
        return CheckedRule(info.name, info.description, output, extra, info.priority, info.source, info.tags, info.enabled,
                           info.capture, info.capture_duration, info.context.place, checked, events)

    @staticmethod
    def _expression(info: RuleInfo, written: Text, at: Location) -> Context:
        """A place in the condition of a rule, or in that of a macro that it names."""
        return info.condition_context.expression(written.text, replace(at, name=label(written.text)))

    @staticmethod
    def _way(error: ConditionError, clause: Clause, lists: Lists, macros: Macros) -> tuple[str, ...]:
        """The macros through which a test came into a rule, and the list through which its literal came into the test."""
        via = error.test.via
        inner = macros.clause(via[-1]) if via else clause
        names = [name for name in sorted(inner.lists) if error.literal in lists.items[name]]
        return (*(f"macro '{name}'" for name in via), *(f"list '{name}'" for name in names))

    def _output(self, info: RuleInfo, result: Result) -> tuple[Output, tuple[ExtraField, ...]] | None:
        text, context = info.output.text, info.output_context
        if CONTAINER_INFO in text:
            result.warn("LOAD_DEPRECATED_ITEM", _OLD_CONTAINER, info.context)
            text = text.replace(CONTAINER_INFO, "")
        try:
            output = output_of(text, info.source, self.static)
        except OutputError as e:
            if info.skip_unknown and e.unknown:
                result.warn("LOAD_UNKNOWN_FILTER", e.message, context)
                return None
            at = info.output.place(e.index) if text == info.output.text else None
            raise Mistake("LOAD_ERR_COMPILE_OUTPUT", e.message, context, at, e.hint) from None
        for name in deprecated():
            if name in text:
                message = f"usage of deprecated field '{name}' has been detected in the rule output"
                result.warn("LOAD_DEPRECATED_ITEM", message, context, deprecated_field=name)
        return output

    @staticmethod
    def _warn_of_tests(tests: list[Test], whole: Context, result: Result) -> None:
        if any(map(compares_with_na, tests)):
            result.warn("LOAD_UNSAFE_NA_CHECK", _NA, whole)
        for name in deprecated_fields(tests):
            message = f"usage of deprecated field '{name}' has been detected in the rule condition"
            if name == "evt.dir":
                message = _OLD_DIRECTION
            result.warn("LOAD_DEPRECATED_ITEM", message, whole, deprecated_field=name)
