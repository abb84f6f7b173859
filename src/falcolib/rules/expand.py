# SPDX-License-Identifier: Apache-2.0
"""From a condition as written to one without exceptions, lists and macros (A4, A5).

Falco puts lists into conditions as text, before it parses them, and macros as trees, after. So do we, and keep of every test the place in
the rule file that it comes from.
"""

from __future__ import annotations

import re
from bisect import bisect_right
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import TypeAlias

from ..errors import Location
from ..schema import nearest
from .ast import Condition, MacroName, Not, Test
from .grammar import GrammarError, locate, nearest_word, parse
from .merge import Entry, ExceptionInfo, ListInfo, MacroInfo, RuleInfo, Text, is_list_operator
from .report import Context, Mistake

#: How large a condition may become, in steps of putting its macros in: macros of macros can double at each.
MAX_NODES = 300_000
#: … and its text, when lists are put in: so many characters, and more for each that the rule files have; and all lists, when lists are put
#: into them.
MAX_TEXT, MAX_TEXT_A_CHARACTER = 1 << 20, 4
MAX_ITEMS = 1_000_000
#: The same of all conditions together: so many besides those that their length, as written, allows for. (Public rules have one node for 25
#: characters of their conditions, and two characters for one.)
ALL_NODES, NODES_A_CHARACTER = 500_000, 1
ALL_TEXT, TEXT_A_CHARACTER = 32 << 20, 64

_BLANKS = " \t\n\r"
_DELIMITERS = _BLANKS + "(),="
_words = re.compile(r"[^ \t\n\r(),=]+")


# ---- exceptions ----------------------------------------------------------------------------------------------------


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
    operators = comps.items or ()
    alternatives = []
    for value in exception.values:
        items = value.items or ()
        if len(items) != len(fields.items):
            raise Mistake("LOAD_ERR_VALIDATE", "Fields and values lists must have equal length", exception.context)
        if len(operators) != len(fields.items):     # exceptions that replace others aren't completed: Falco takes them as they are
            raise Mistake("LOAD_ERR_VALIDATE", "Fields and comps lists must have equal length", exception.context)
        tests = [f" {f.text} {c.text} {_value(v, c.text)}" for f, c, v in zip(fields.items, operators, items, strict=True)]
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


# ---- lists ---------------------------------------------------------------------------------------------------------


#: Where a stretch of a text begins, where it began in the text as written, and the list that it comes from; "" if it is as written.
_Stretch: TypeAlias = tuple[int, int, str]


@dataclass(slots=True)
class Expansion:
    """A text in which lists are put, and where its stretches come from."""

    text: str
    stretches: list[_Stretch] = field(default_factory=lambda: [(0, 0, "")])

    def _stretch(self, index: int) -> int:
        return bisect_right(self.stretches, index, key=lambda s: s[0]) - 1

    def origin(self, index: int) -> int:
        """The index in the text as written."""
        start, before, name = self.stretches[self._stretch(index)]
        return before if name else before + index - start

    def list_at(self, index: int) -> tuple[str, ...]:
        """The list that an index is in, for messages."""
        name = self.stretches[self._stretch(index)][2]
        return (f"list '{name}'",) if name else ()

    def between(self, start: int, end: int, to: int) -> list[_Stretch]:
        """The stretches from start to end, moved so that they begin at ``to``."""
        if start >= end:
            return []
        i, last = self._stretch(start), self._stretch(end - 1)
        name = self.stretches[i][2]
        return [(to, self.origin(start), name), *((s + to - start, before, n) for s, before, n in self.stretches[i + 1:last + 1])]


@dataclass(slots=True)
class _List:
    order: int
    joined: str
    words: frozenset[str]


class Lists:
    """The lists of a collection, ready to be put into conditions. ``used``: names of those that are referred to. written: characters of all
    conditions and lists.
    """

    def __init__(self, infos: Mapping[str, ListInfo], written: int) -> None:
        self.used: set[str] = set()
        self._room = ALL_TEXT + TEXT_A_CHARACTER * written
        self._longest = MAX_TEXT + MAX_TEXT_A_CHARACTER * written
        self.items: dict[str, tuple[str, ...]] = {}
        self._lists: dict[str, _List] = {}
        total = 0
        for order, info in enumerate(infos.values()):
            items: list[str] = []
            for item in info.items:
                other = infos.get(item)
                if other is not None and other.index < info.visibility:
                    self.used.add(item)
                    items += other.items            # as they are written: one level only
                else:
                    items.append(item)
                if total + len(items) > MAX_ITEMS:
                    message = f"the lists have more than {MAX_ITEMS} items once their lists are put in"
                    raise Mistake("LOAD_ERR_VALIDATE", message, info.context)
            total += len(items)
            self.items[info.name] = tuple(items)
            joined = ""
            if items:                               # empty items at the front leave no comma
                first = next((i for i, item in enumerate(items) if item), len(items) - 1)
                joined = ", ".join(map(_quoted, items[first:]))
            self._lists[info.name] = _List(order, joined, frozenset(_words.findall(joined)))
        self._names = tuple(self._lists)
        self._odd = [name for name in self._names if not _words.fullmatch(name)]

    def expand(self, text: str) -> tuple[Expansion, frozenset[str]]:
        """The text with lists put in, in the order of their definition, and the names of those that it has used.

        Raises OverflowError if that makes it, or all texts together, too long.
        """
        expansion = Expansion(text)
        used: set[str] = set()
        waiting = self._found(_words.findall(text), text)
        done = -1
        while waiting:
            order = min(waiting)
            waiting.discard(order)
            if order <= done:
                continue
            done = order
            name = self._names[order]
            if _substitute(expansion, name, self._lists[name].joined, self._longest):
                used.add(name)
                waiting |= self._found(self._lists[name].words, expansion.text)
        self.used |= used
        self._room -= len(expansion.text) if used else 0
        if self._room < 0:
            raise OverflowError("all conditions together are too long once lists are put in")
        return expansion, frozenset(used)

    def _found(self, words: Iterable[str], text: str) -> set[int]:
        """The lists whose names are among the words of a text; names that aren't one word are looked for in it."""
        found = {self._lists[word].order for word in words if word in self._lists}
        return found.union(self._lists[name].order for name in self._odd if name in text)


def _substitute(expansion: Expansion, name: str, joined: str, longest: int) -> bool:
    """Puts a list in wherever its name stands between delimiters, also inside quotes: Falco does. Blanks around the name are eaten, and
    one is put on either side. True if it stood anywhere. Raises OverflowError if the text becomes longer than so many characters.
    """
    text = expansion.text
    pieces: list[str] = []                          # what is done; the last may still lose blanks at its end, or a comma
    stretches: list[_Stretch] = []
    size = last = 0
    start = text.find(name)
    used = False
    while start >= 0:
        end = start + len(name)
        if (start and text[start - 1] not in _DELIMITERS) or (end < len(text) and text[end] not in _DELIMITERS):
            start = text.find(name, start + 1)
            continue
        used = True
        size = _append(pieces, text[last:start], expansion.between(last, start, size), stretches, size)
        size -= _eat(pieces, _BLANKS, len(text))
        while end < len(text) and text[end] in _BLANKS:
            end += 1
        if not joined:                              # an empty list takes a comma with it
            eaten = _eat(pieces, ",", 1)
            size -= eaten
            if not eaten and end < len(text) and text[end] == ",":
                end += 1
        first = size == 0
        size = _append(pieces, joined + " " if first else f" {joined} ", [(size, expansion.origin(start), name)], stretches, size)
        if size > longest:
            raise OverflowError(f"the condition is longer than {longest} characters once its lists are put in")
        last = end
        start = text.find(name, end + 1 if first else end)
    if used:
        _append(pieces, text[last:], expansion.between(last, len(text), size), stretches, size)
        expansion.text = "".join(pieces)
        expansion.stretches = _monotone(stretches) or [(0, 0, "")]
    return used


def _append(pieces: list[str], piece: str, origins: list[_Stretch], stretches: list[_Stretch], size: int) -> int:
    pieces.append(piece)
    stretches += origins
    return size + len(piece)


def _eat(pieces: list[str], characters: str, most: int) -> int:
    """Takes characters from the end of what is done; how many it was."""
    eaten = 0
    while pieces and eaten < most:
        piece = pieces[-1]
        kept = piece.rstrip(characters) if most > 1 else piece.removesuffix(characters)
        eaten += len(piece) - len(kept)
        if kept:
            pieces[-1] = kept
            break
        pieces.pop()
    return eaten


def _monotone(stretches: list[_Stretch]) -> list[_Stretch]:
    """Without the stretches that were eaten: each begins after the one before."""
    kept: list[_Stretch] = []
    for stretch in stretches:
        while kept and kept[-1][0] >= stretch[0]:
            kept.pop()
        kept.append(stretch)
    return kept


# ---- trees ---------------------------------------------------------------------------------------------------------


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


# ---- conditions ----------------------------------------------------------------------------------------------------


class Clause:
    """The condition of a rule or a macro, its lists put in, parsed; and where in the files its text stands."""

    __slots__ = ("_places", "expansion", "lists", "text", "tree")

    def __init__(self, text: Text, lists: Lists, context: Context) -> None:
        self.text = text
        self._places: dict[int, Location] = {}
        try:
            self.expansion, self.lists = lists.expand(text.text)
        except OverflowError as e:
            raise Mistake("LOAD_ERR_COMPILE_CONDITION", str(e), context) from None
        try:
            self.tree = parse(self.expansion.text)
        except GrammarError as e:
            there = context.expression(self.expansion.text, locate(self.expansion.text, e.index))
            via = self.expansion.list_at(e.index)
            hint = nearest_word(self.expansion.text, e)
            raise Mistake("LOAD_ERR_COMPILE_CONDITION", e.message, there, self.place(e.index), hint, via) from None

    def place(self, index: int) -> Location:
        """The place in a rule file of an index into the expanded text."""
        place = self._places.get(index)
        if place is None:
            place = self._places[index] = self.text.place(self.expansion.origin(index))
        return place

    def names(self) -> Iterator[MacroName]:
        """The macros that it names, from left to right."""
        return (leaf for leaf in leaves(self.tree) if isinstance(leaf, MacroName))


class Macros:
    """The macros of a collection. ``used``: names of those that rules or other macros refer to. written: characters of all conditions."""

    def __init__(self, infos: Mapping[str, MacroInfo], lists: Lists, written: int) -> None:
        self.used: set[str] = set()
        self._room = ALL_NODES + NODES_A_CHARACTER * written
        self._infos = infos
        self._clauses = {info.name: Clause(info.condition, lists, info.condition_context) for info in infos.values()}
        self._sound: dict[str, int] = {}            # the least visibility with which a macro was found to be usable
        for info in infos.values():
            self._check(self._clauses[info.name], info.context, info.visibility)
            self._sound[info.name] = 0

    def clause(self, name: str) -> Clause:
        return self._clauses[name]

    def _check(self, root: Clause, context: Context, visibility: int | None) -> None:
        """Whether the macros that a condition names are there and don't lead back to themselves. A macro sees those that were first defined
        before it was last changed; a rule sees all. Those before it are sound already, and see what they see. Those after it (it was
        redefined) are followed with what this one sees: Falco does it so.
        """
        open_ = [("", root, root.names())]
        while open_:
            name, clause, names = open_[-1]
            leaf = next(names, None)
            if leaf is None:
                open_.pop()
                if visibility is not None and name:
                    self._sound[name] = min(visibility, self._sound.get(name, visibility))
                continue
            info = self._infos.get(leaf.name)
            via = tuple(f"macro '{n}'" for n, _, _ in open_[1:])
            if info is None or (visibility is not None and info.index >= visibility):
                known = [m.name for m in self._infos.values() if visibility is None or m.index < visibility]
                message, hint = f"Undefined macro '{leaf.name}' used in filter.", nearest(leaf.name, known)
            elif any(leaf.name == n for n, _, _ in open_):
                message, hint = f"reference loop in macro '{leaf.name}'", None
            else:
                self.used.add(leaf.name)
                if visibility is not None and self._sound.get(leaf.name, visibility + 1) > visibility:
                    open_.append((leaf.name, self._clauses[leaf.name], self._clauses[leaf.name].names()))
                continue
            there = context.expression(root.text.text, leaf.at)
            raise Mistake("LOAD_ERR_VALIDATE", message, there, clause.place(leaf.at.offset), hint, via)

    def resolve(self, clause: Clause, context: Context) -> Condition:
        """The tree of a rule's condition with its macros put in. Tests get their places in the files, and the names of their macros."""
        self._check(clause, context, None)
        count = 0
        stack: list[tuple[Condition, list[Condition], Clause, tuple[str, ...]]] = [(clause.tree, [], clause, ())]
        while True:
            node, done, where, via = stack[-1]
            count += 1
            if count > MAX_NODES:
                raise Mistake("LOAD_ERR_VALIDATE", "the condition is too large once its macros are put in", context)
            if count > self._room:
                raise Mistake("LOAD_ERR_VALIDATE", "all conditions together are too large once macros are put in", context)
            if isinstance(node, MacroName):
                inner = self._clauses[node.name]
                stack[-1] = inner.tree, [], inner, (*via, node.name)
                continue
            if isinstance(node, Test):
                built: Condition = Test(node.left, node.op, node.modifier, node.right, where.place(node.at.offset), via)
            else:
                children = (node.child,) if isinstance(node, Not) else node.children
                if len(done) < len(children):
                    stack.append((children[len(done)], [], where, via))
                    continue
                built = Not(done[0], node.at) if isinstance(node, Not) else type(node)(tuple(done), node.at)
            stack.pop()
            if not stack:
                self._room -= count
                return built
            stack[-1][1].append(built)
