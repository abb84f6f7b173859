# SPDX-License-Identifier: Apache-2.0
"""From a condition as written to one without exceptions, lists and macros (A4, A5).

Falco puts lists into conditions as text, before it parses them, and macros as trees, after. So do we, and keep of every test the place in the
rule file that it comes from.
"""

from __future__ import annotations

import re
from bisect import bisect_right
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field

from ..errors import Location
from ..schema import nearest
from .ast import And, Condition, MacroName, Not, Or, Test
from .grammar import GrammarError, locate, parse
from .merge import Entry, ExceptionInfo, ListInfo, MacroInfo, RuleInfo, Text, is_list_operator
from .report import Context, Mistake

#: How many tests a condition may have once its macros are put in: macros of macros can double at each step.
MAX_TESTS = 100_000

_BLANKS = " \t\n\r"
_DELIMITERS = _BLANKS + "(),="
_words = re.compile(r"[^ \t\n\r(),=]+")


# ---- exceptions ---------------------------------------------------------------------------------------------------------------------------


def _quoted(text: str) -> str:
    return f'"{text}"' if " " in text and text[:1] not in ("\"", "'") else text


def _value(entry: Entry, comp: str) -> str:
    if entry.items is not None:
        return f"({', '.join(_quoted(v.text) for v in entry.items)})"
    if is_list_operator(comp):
        return entry.text if entry.text.startswith("(") else f"({entry.text})"
    return _quoted(entry.text)


def _exception(exception: ExceptionInfo) -> str:
    """The text that must not hold; empty without values."""
    fields, comps = exception.fields, exception.comps
    if fields.items is None:
        if any(v.items is not None for v in exception.values):
            raise Mistake("LOAD_ERR_VALIDATE", "Expected values array to contain a list of strings", exception.context)
        values = ", ".join(_quoted(v.text) for v in exception.values)
        return f"({fields.text} {comps.text} ({values}))" if exception.values else ""
    alternatives = []
    for value in exception.values:
        items = value.items or ()
        if len(items) != len(fields.items):
            raise Mistake("LOAD_ERR_VALIDATE", "Fields and values lists must have equal length", exception.context)
        tests = [f" {f.text} {c.text} {_value(v, c.text)}" for f, c, v in zip(fields.items, comps.items or (), items, strict=True)]
        alternatives.append(f"({' and '.join(tests)})")
    return f"({' or '.join(alternatives)})" if alternatives else ""


def with_exceptions(rule: RuleInfo) -> Text:
    """The condition of a rule and not its exceptions."""
    if not rule.exceptions:
        return rule.condition
    text = f"({rule.condition.text})"
    for exception in rule.exceptions:
        added = _exception(exception)
        text += f" and not {added}" if added else ""
    return Text(text, tuple(type(p)(p.start + 1, p.node, p.source) for p in rule.condition.parts))


# ---- lists --------------------------------------------------------------------------------------------------------------------------------


@dataclass(slots=True)
class Expansion:
    """A text in which lists are substituted, and where each stretch of it comes from: (start, start before, and whether they run in step)."""

    text: str
    stretches: list[tuple[int, int, bool]] = field(default_factory=lambda: [(0, 0, True)])

    def origin(self, index: int) -> int:
        """The index in the text as written."""
        start, before, in_step = self.stretches[bisect_right(self.stretches, (index, 1 << 62, True)) - 1]
        return before + (index - start if in_step else 0)

    def replace(self, start: int, end: int, new: str) -> None:
        before, after = self.origin(start), self.origin(end)
        grown = len(new) - (end - start)
        self.stretches = [
            *(s for s in self.stretches if s[0] < start), (start, before, False), (start + len(new), after, True),
            *((s[0] + grown, s[1], s[2]) for s in self.stretches if s[0] > end),
        ]
        self.text = self.text[:start] + new + self.text[end:]


@dataclass(slots=True)
class _List:
    order: int
    joined: str
    words: tuple[str, ...]


class Lists:
    """The lists of a collection, ready to be put into conditions. ``used``: names of those that are referred to."""

    def __init__(self, infos: Mapping[str, ListInfo]) -> None:
        self.used: set[str] = set()
        self.items: dict[str, tuple[str, ...]] = {}
        self._lists: dict[str, _List] = {}
        self._odd: list[str] = []                   # names that aren't one word
        for order, info in enumerate(infos.values()):
            items: list[str] = []
            for item in info.items:
                other = infos.get(item)
                if other is not None and other.index < info.visibility:
                    self.used.add(item)
                    items += other.items            # as they are written: one level only
                else:
                    items.append(item)
            self.items[info.name] = tuple(items)
            joined = ""
            for item in items:
                joined += (", " if joined else "") + _quoted(item)
            self._lists[info.name] = _List(order, joined, tuple(_words.findall(joined)))
            if not _words.fullmatch(info.name):
                self._odd.append(info.name)
        self._names = tuple(self._lists)

    def expand(self, text: str) -> tuple[Expansion, frozenset[str]]:
        """The text with lists put in, in the order of their definition, and the names of those that it has used."""
        expansion = Expansion(text)
        used: set[str] = set()
        waiting = {self._lists[w].order for w in _words.findall(text) if w in self._lists} | {self._lists[n].order for n in self._odd if n in text}
        done = -1
        while waiting:
            order = min(waiting)
            waiting.discard(order)
            if order <= done:
                continue
            done = order
            name = self._names[order]
            if _substitute(expansion, name, self._lists[name].joined):
                used.add(name)
                waiting |= {self._lists[w].order for w in self._lists[name].words if w in self._lists}
                waiting |= {self._lists[n].order for n in self._odd if n in expansion.text}
        self.used |= used
        return expansion, frozenset(used)


def _substitute(expansion: Expansion, name: str, joined: str) -> bool:
    """Puts a list in wherever its name stands between delimiters, also inside quotes: Falco does. True if it stood anywhere."""
    used = False
    start = expansion.text.find(name)
    while start >= 0:
        text = expansion.text
        end = start + len(name)
        if (start == 0 or text[start - 1] in _DELIMITERS) and (end >= len(text) or text[end] in _DELIMITERS):
            while start > 0 and text[start - 1] in _BLANKS:
                start -= 1
            while end < len(text) and text[end] in _BLANKS:
                end += 1
            if not joined:                          # an empty list takes a comma with it
                if start > 0 and text[start - 1] == ",":
                    start -= 1
                elif end < len(text) and text[end] == ",":
                    end += 1
            expansion.replace(start, end, (" " if start > 0 else "") + joined + " ")
            start += len(joined) + 1
            used = True
        start = expansion.text.find(name, start + 1)
    return used


# ---- trees --------------------------------------------------------------------------------------------------------------------------------


def leaves(tree: Condition) -> Iterator[Test | MacroName]:
    """The tests and names of macros, from left to right."""
    stack = [tree]
    while stack:
        node = stack.pop()
        if isinstance(node, Test | MacroName):
            yield node
        elif isinstance(node, Not):
            stack.append(node.child)
        else:
            stack.extend(reversed(node.children))


def replace_leaves(tree: Condition, leaf: Callable[[Test | MacroName], Condition]) -> Condition:
    """The tree with every leaf replaced, without recursion."""
    if isinstance(tree, Test | MacroName):
        return leaf(tree)
    stack: list[tuple[Condition, list[Condition]]] = [(tree, [])]
    while True:
        node, done = stack[-1]
        if isinstance(node, Not):
            children: tuple[Condition, ...] = (node.child,)
        else:
            assert isinstance(node, And | Or)
            children = node.children
        if len(done) < len(children):
            child = children[len(done)]
            if isinstance(child, Test | MacroName):
                done.append(leaf(child))
            else:
                stack.append((child, []))
            continue
        stack.pop()
        built: Condition = Not(done[0], node.at) if isinstance(node, Not) else type(node)(tuple(done), node.at)
        if not stack:
            return built
        stack[-1][1].append(built)


# ---- conditions ---------------------------------------------------------------------------------------------------------------------------


class Clause:
    """The condition of a rule or a macro, its lists put in, parsed; and where in the files its text stands."""

    __slots__ = ("expansion", "lists", "text", "tree")

    def __init__(self, text: Text, lists: Lists, context: Context) -> None:
        self.text = text
        self.expansion, self.lists = lists.expand(text.text)
        try:
            self.tree = parse(self.expansion.text)
        except GrammarError as e:
            raise Mistake("LOAD_ERR_COMPILE_CONDITION", e.message, context.expression(self.expansion.text, locate(self.expansion.text, e.index)),
                          self.place(e.index)) from None

    def place(self, index: int) -> Location:
        """The place in a rule file of an index into the expanded text."""
        origin = self.expansion.origin(index)
        part = next((p for p in reversed(self.text.parts) if p.start <= origin), self.text.parts[0])
        return part.source.inside(part.node, origin - part.start)


@dataclass(slots=True)
class Macro:
    """A macro. ``tree``: its condition, other macros put in; None until that is done. ``tests``: how many tests that has."""

    info: MacroInfo
    clause: Clause
    tree: Condition | None = None
    tests: int = 0


class Macros:
    """The macros of a collection. ``used``: names of those that rules or other macros refer to."""

    def __init__(self, infos: Mapping[str, MacroInfo], lists: Lists) -> None:
        self.used: set[str] = set()
        self.all = {info.name: Macro(info, Clause(info.condition, lists, info.condition_context)) for info in infos.values()}
        for macro in self.all.values():
            macro.tree, macro.tests = self._resolve(macro.clause, macro.info.context, macro.info.visibility)

    def resolve(self, clause: Clause, context: Context) -> Condition:
        """The tree of a rule's condition with its macros put in; a rule sees all macros."""
        return self._resolve(clause, context, None)[0]

    def _resolve(self, root: Clause, context: Context, visibility: int | None) -> tuple[Condition, int]:
        """Puts macros in. A macro sees those first defined before it was last changed; they are resolved already, unless they stand after it
        because it was redefined: these are resolved on the way, with what the macro sees, as Falco does.
        """
        on_the_way: dict[str, tuple[Condition, int]] = {}
        open_ = [("", root, self._names(root))]
        while True:
            name, clause, names = open_[-1]
            leaf = next(names, None)
            if leaf is None:
                built = self._put_in(clause, on_the_way, context)
                open_.pop()
                if not open_:
                    return built
                on_the_way[name] = built
                continue
            macro = self.all.get(leaf.name)
            if macro is None or visibility is not None and macro.info.index >= visibility:
                known = [m.info.name for m in self.all.values() if visibility is None or m.info.index < visibility]
                raise Mistake("LOAD_ERR_VALIDATE", f"Undefined macro '{leaf.name}' used in filter.", context.expression(root.text.text, leaf.at),
                              clause.place(leaf.at.offset), nearest(leaf.name, known), tuple(n for n, _, _ in open_[1:]))
            self.used.add(leaf.name)
            if any(leaf.name == n for n, _, _ in open_):
                raise Mistake("LOAD_ERR_VALIDATE", f"reference loop in macro '{leaf.name}'", context.expression(root.text.text, leaf.at),
                              clause.place(leaf.at.offset), None, tuple(n for n, _, _ in open_[1:]))
            if macro.tree is None and leaf.name not in on_the_way:
                open_.append((leaf.name, macro.clause, self._names(macro.clause)))

    @staticmethod
    def _names(clause: Clause) -> Iterator[MacroName]:
        return (leaf for leaf in leaves(clause.tree) if isinstance(leaf, MacroName))

    def _put_in(self, clause: Clause, on_the_way: dict[str, tuple[Condition, int]], context: Context) -> tuple[Condition, int]:
        """The tree of a condition with resolved macros put in, and how many tests it has. Tests get their places in the files."""
        count = 0

        def leaf(node: Test | MacroName) -> Condition:
            nonlocal count
            if isinstance(node, Test):
                count += 1
                return Test(node.left, node.op, node.modifier, node.right, clause.place(node.at.offset), node.via)
            macro = self.all[node.name]
            tree, tests = (macro.tree, macro.tests) if macro.tree is not None else on_the_way[node.name]
            count += tests
            if count > MAX_TESTS:
                raise Mistake("LOAD_ERR_VALIDATE", f"the condition has more than {MAX_TESTS} tests once its macros are put in",
                              context.expression(clause.text.text, node.at), clause.place(node.at.offset))
            name = (node.name,)
            return replace_leaves(tree, lambda test: _through(test, name))

        return replace_leaves(clause.tree, leaf), count


def _through(test: Test | MacroName, via: tuple[str, ...]) -> Test:
    assert isinstance(test, Test)
    return Test(test.left, test.op, test.modifier, test.right, test.at, via + test.via)
