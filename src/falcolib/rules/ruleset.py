# SPDX-License-Identifier: Apache-2.0
"""Rule sets: rule files loaded in order, merged, checked. Immutable: what changes one returns another."""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from types import MappingProxyType
from typing import Any

from ..errors import RuleError
from .ast import CheckedRule, ExtraField
from .compile import Compiled, Compiler
from .files import Given, given_files
from .load import Source, read
from .merge import PLUGIN_VERSIONS, PRIORITIES, Collection, parse_version, priority_number, version_text
from .output import AppendOutput, OutputError
from .report import Mistake, Problem, Result, load_results, rule_error
from .static import Static, output_of


@dataclass(frozen=True, slots=True)
class _Selection:
    """Something done to the rules after loading: an entry of falco.yaml's ``rules:``, a threshold, or outputs appended."""

    enable: bool | None = None
    rule: str = ""
    tag: str = ""
    priority: int | None = None
    append: tuple[AppendOutput, ...] = ()
    static: Static = field(default_factory=dict)

    @property
    def words(self) -> str:
        """For people: what a rule is disabled by."""
        if self.priority is not None:
            return f"its priority is below {PRIORITIES[self.priority]}"
        return f"rules with the tag {self.tag!r} are deselected" if self.tag else f"the rules {self.rule!r} are deselected"


@dataclass(frozen=True, slots=True, init=False, repr=False, eq=False)
class RuleSet:
    """Rules, ready for an Engine.

    ``RuleSet.load(*paths)`` reads files, ``RuleSet.parse(text)`` a text; ``a.merge(b)`` is as if b's files had been loaded after a's; what
    can't stand alone, such as an override, is parsed ``after`` what it changes. A mistake raises RuleError, which names file, line and
    column, shows the place, and proposes the nearest valid name; the set is then not made.
    """

    rules: tuple[CheckedRule, ...]
    """The rules in the order of evaluation, also those that aren't enabled."""

    _sources: tuple[Source, ...]
    _results: tuple[Result, ...]
    _compiled: Compiled
    _selections: tuple[_Selection, ...]

    def __init__(self) -> None:
        """An empty rule set."""
        self._fill((), (), _EMPTY, ())

    def _fill(
        self, sources: tuple[Source, ...], results: tuple[Result, ...], compiled: Compiled, selections: tuple[_Selection, ...],
    ) -> RuleSet:
        rules = compiled.rules
        for selection in selections:
            rules = _apply(rules, selection)
        values = {"rules": rules, "_sources": sources, "_results": results, "_compiled": compiled, "_selections": selections}
        for name, value in values.items():
            object.__setattr__(self, name, value)
        return self

    @classmethod
    def load(cls, *paths: str | os.PathLike[str]) -> RuleSet:
        """Loads rule files in order; of a folder its .yaml and .yml files by name, not those of folders in it.

        Raises RuleError for a mistake in a file, OSError for one that can't be read.
        """
        return cls.build(given_files(paths))

    @classmethod
    def parse(cls, text: str, name: str = "<string>", *, after: RuleSet | None = None) -> RuleSet:
        """Loads rules from a text: alone, or as if it were a file loaded after those of another set, so that it can use, append to and
        override what is there. Raises RuleError.
        """
        if not isinstance(text, str):
            raise TypeError(f"parse() takes a text, not {type(text).__name__}; load() reads files")
        before = cls() if after is None else after      # a set of macros alone has a length of 0
        return cls.build([*before._sources, given_text(text, name)], before._selections)

    def merge(self, other: RuleSet) -> RuleSet:
        """These rules and then the other's, as if its files had been loaded after: it can append to, override and disable what is here.
        What was selected in either is selected again, in that order. Raises RuleError.
        """
        return self.build([*self._sources, *other._sources], self._selections + other._selections)

    @classmethod
    def build(cls, given: Iterable[Given | Source], selections: tuple[_Selection, ...] = (), static: Static | None = None) -> RuleSet:
        """The rules of texts, read or not; load() and parse() are the ways to it. static: static_fields. Raises RuleError."""
        sources, results, compiled, problem = load_all(given, stop=True, static=static)
        if problem is not None:
            raise rule_error(problem, results)
        return cls()._fill(tuple(sources), tuple(results), compiled, selections)

    # ---- what is in it ----

    @property
    def warnings(self) -> tuple[Problem, ...]:
        """What Falco warns of, each once: ``code``, ``message``, ``location``; as text it shows the place."""
        found: dict[tuple[str, str, str], Problem] = {}
        for result in self._results:
            for warning in result.warnings:
                found.setdefault((warning.code, warning.message, str(warning.context.way())), warning)
        return tuple(found.values())

    @property
    def report(self) -> dict[str, object]:
        """Falco's falco_load_results."""
        return load_results(self._results)

    @property
    def sources(self) -> tuple[Source, ...]:
        """The rule files and texts that it was read from, in order: ``name``, ``text``."""
        return self._sources

    @property
    def macros(self) -> Mapping[str, str]:
        """The conditions of the macros, as written, by name."""
        return MappingProxyType(dict(self._compiled.macros))

    @property
    def lists(self) -> Mapping[str, tuple[str, ...]]:
        """The items of the lists, by name; lists in lists are put in."""
        return MappingProxyType(dict(self._compiled.lists))

    @property
    def files(self) -> tuple[str, ...]:
        """The names of the files, in order."""
        return tuple(source.name for source in self._sources)

    def text_of(self, name: str) -> str | None:
        """The text of one of the files; None if there is none of that name."""
        return next((source.text for source in self._sources if source.name == name), None)

    def disabled_by(self, name: str) -> str:
        """What disabled a rule, in words; empty if it is enabled."""
        by, rules = "", self._compiled.rules
        for selection in (None, *self._selections):
            rules = rules if selection is None else _apply(rules, selection)
            enabled = next(r.enabled for r in rules if r.name == name)
            by = "" if enabled else by or ("its file says enabled: false" if selection is None else selection.words)
        return by

    def __iter__(self) -> Iterator[CheckedRule]:
        return iter(self.rules)

    def __len__(self) -> int:
        return len(self.rules)

    def __repr__(self) -> str:
        return f"<RuleSet of {len(self.rules)} rules from {', '.join(s.name for s in self._sources) or 'nowhere'}>"

    # ---- what changes it ----

    def select(self, entries: Iterable[Mapping[str, Any]] = (), *, priority: str | int | None = None) -> RuleSet:
        """Enables and disables rules.

        entries: those of falco.yaml's ``rules:``, in order: ``{"disable": {"rule": "Write*"}}``, ``{"enable": {"tag": "network"}}``; ``*``
        in a rule's name stands for any text. priority: rules less urgent than this (a name, or 0 Emergency … 7 Debug) are disabled.
        Raises ValueError.
        """
        selections = [selection for entry in entries for selection in _read_selection(entry)]
        if priority is not None:
            selections.append(_Selection(priority=priority_number(priority)))
        return self._with(selections)

    def append_output(self, entries: Iterable[AppendOutput], static: Static | None = None) -> RuleSet:
        """Adds to the outputs of the rules that the entries match (read_append_output makes them of falco.yaml's). static: static_fields.

        Raises RuleError for a format that can't be used.
        """
        return self._with([_Selection(append=tuple(entries), static=static or {})])

    def _with(self, selections: Iterable[_Selection]) -> RuleSet:
        return RuleSet()._fill(self._sources, self._results, self._compiled, (*self._selections, *selections))


_EMPTY = Compiled((), {}, {})


# ---- loading -------------------------------------------------------------------------------------------------------


def given_text(text: str, name: str) -> Given:
    """A text under a name of its own."""
    return Given(name, text)


def load_all(
    given: Iterable[Given | Source], stop: bool, static: Static | None = None,
) -> tuple[list[Source], list[Result], Compiled, Problem | None]:
    """Reads files in order into one collection and compiles it after each.

    The first mistake ends the file, and with ``stop`` everything. Returns what was read, what came of it, and the first mistake.
    """
    collection, compiler = Collection(), Compiler(static)
    sources: list[Source] = []
    results: list[Result] = []
    compiled, problem = _EMPTY, None
    for entry in given:
        result = Result(entry.name)
        results.append(result)
        try:
            source = entry if isinstance(entry, Source) else read(entry.text, entry.name)
            sources.append(source)
            result.documents = source.documents
            collection.read(source, result)
            compiled = compiler.run(collection, result)
        except Mistake as e:
            result.errors.append(e.problem)
            problem = problem or e.problem
            if stop:
                break
    unmet = _unmet_requirement(collection) if results else None
    if unmet is not None:                           # it comes first: fields that aren't known are what follows from a missing plugin
        results[-1].errors.insert(0, unmet)
    return sources, results, compiled, unmet or problem


def check_files(paths: Iterable[str | os.PathLike[str]], static: Static | None = None) -> tuple[list[Result], RuleSet | None]:
    """What came of each rule file, all of which are read, and the rules; None if there is a mistake. Raises OSError."""
    sources, results, compiled, problem = load_all(given_files(paths), stop=False, static=static)
    return results, RuleSet()._fill(tuple(sources), tuple(results), compiled, ()) if problem is None else None


def _unmet_requirement(collection: Collection) -> Problem | None:
    """The first plugin that is required in a version that we can't stand in for. Of alternatives the first that is there decides."""
    for requirement in collection.plugins:
        there = next(((name, version) for name, version in requirement.alternatives if name in PLUGIN_VERSIONS), None)
        if there is None:
            wanted_text = " or ".join(f"{name} {version}" for name, version in requirement.alternatives)
            return Problem("LOAD_ERR_VALIDATE", f"Plugin requirement not satisfied, must load one of: {wanted_text}", requirement.context)
        ours, wanted = PLUGIN_VERSIONS[there[0]], parse_version(there[1])
        if wanted is None or ours[0] != wanted[0] or ours < wanted:
            message = f"Plugin '{there[0]}' version '{version_text(ours)}' is not compatible with required plugin version '{there[1]}'"
            return Problem("LOAD_ERR_VALIDATE", message, requirement.context)
    return None


# ---- selection -----------------------------------------------------------------------------------------------------


def _read_selection(entry: Mapping[str, Any]) -> list[_Selection]:
    found: list[_Selection] = []
    for action, what in entry.items():
        if action not in ("enable", "disable") or not isinstance(what, Mapping):
            raise ValueError(f"rules: an entry must be 'enable' or 'disable' with a rule or a tag, not {action!r}")
        rule, tag = what.get("rule"), what.get("tag")
        if not rule and not tag:
            raise ValueError("rules: an entry needs a rule, a tag, or both")
        if rule:
            found.append(_Selection(action == "enable", rule=str(rule)))
        if tag:
            found.append(_Selection(action == "enable", tag=str(tag)))
    return found


def _apply(rules: tuple[CheckedRule, ...], selection: _Selection) -> tuple[CheckedRule, ...]:
    if selection.append:
        return tuple(_appended(rule, selection.append, selection.static) for rule in rules)
    if selection.priority is not None:
        return tuple(replace(r, enabled=False) if r.priority > selection.priority else r for r in rules)
    pattern = re.compile(".*".join(map(re.escape, selection.rule.split("*"))), re.DOTALL) if selection.rule else None
    stay: list[CheckedRule] = []
    enabled: list[CheckedRule] = []                 # rules that are enabled again are evaluated last
    for rule in rules:
        if not (pattern.fullmatch(rule.name) if pattern else selection.tag in rule.tags) or rule.enabled == selection.enable:
            stay.append(rule)
        elif selection.enable:
            enabled.append(replace(rule, enabled=True))
        else:
            stay.append(replace(rule, enabled=False))
    return (*stay, *enabled)


def _appended(rule: CheckedRule, entries: Iterable[AppendOutput], static: Static) -> CheckedRule:
    output, extra = rule.output, {e.name: e for e in rule.extra_fields}
    for entry in entries:
        if entry.fits(rule.name, rule.source, rule.tags):
            try:
                for format_ in entry.formats(rule.source, static):
                    parts, found = output_of(format_, rule.source, static)
                    output = (*output, " ", *parts)
                    extra.update((e.name, e) for e in found)
                for name, format_, raw in entry.extra_fields:
                    extra[name] = ExtraField(name, output_of(format_, rule.source, static)[0], raw)
            except OutputError as e:
                raise RuleError(f"append_output for rule '{rule.name}': {e.message}" + (f"; did you mean {e.hint}?" if e.hint else ""),
                                code="LOAD_ERR_COMPILE_OUTPUT", location=rule.at) from None
    return replace(rule, output=output, extra_fields=tuple(extra[name] for name in sorted(extra)))
