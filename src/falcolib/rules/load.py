# SPDX-License-Identifier: Apache-2.0
"""Rule files as YAML trees in which every node knows its place.

The tree is built from the events of PyYAML's C parser with a stack of our own, so that hostile nesting can't exhaust the C stack; aliases
are shared, not copied. Scalars stay text: Falco reads texts where it wants texts, and decides itself what a number or a truth value is.
"""

from __future__ import annotations

import re
from bisect import bisect_right
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any, Literal

import yaml

from ..errors import Location
from .report import Context, Mistake

#: Limits of a file: nested nodes, and nodes counted through their aliases.
MAX_NESTING = 100
MAX_NODES = 2_000_000

_line_end = re.compile(r"\n")
_written_line = re.compile(r"[^ \t\r\n](?:[^\r\n]*[^ \t\r\n])?")
_word = re.compile(r"[^ ]+")

_Loader: type = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
_NULLS = frozenset({"", "~", "null", "Null", "NULL"})
_TRUE = frozenset(form for word in ("y", "yes", "true", "on") for form in (word, word.capitalize(), word.upper()))
_FALSE = frozenset(form for word in ("n", "no", "false", "off") for form in (word, word.capitalize(), word.upper()))


@dataclass(slots=True, eq=False)
class Node:
    """A node of a YAML document: a scalar's text, the nodes of a sequence, or the pairs of a mapping. Line, column and offset from 0."""

    kind: Literal["scalar", "sequence", "mapping"]
    line: int
    column: int
    offset: int
    text: str = ""
    plain: bool = False
    items: list[Node] = field(default_factory=list)
    pairs: list[tuple[Node, Node]] = field(default_factory=list)
    end: int = 0
    lines: list[tuple[int, int]] | None = None      # where they begin: in the text, in the file

    @property
    def is_null(self) -> bool:
        return self.plain and self.text in _NULLS

    def get(self, key: str) -> Node | None:
        """The value of a key; of the first, where it is repeated."""
        for name, value in self.pairs:
            if name.kind == "scalar" and name.text == key:
                return value
        return None

    def as_bool(self) -> bool | None:
        """YAML 1.1's truth values; None for other texts."""
        return True if self.text in _TRUE else False if self.text in _FALSE else None

    def as_uint32(self) -> int | None:
        """A number as C reads it (0x1f, 017, 15); None for other texts."""
        text = self.text.strip()
        if not text.isascii() or not text[:1].isdigit():
            return None
        try:
            value = int(text, 16 if text[:2] in ("0x", "0X") else 8 if text[0] == "0" and len(text) > 1 else 10)
        except ValueError:
            return None
        return value if value < 1 << 32 else None


@dataclass(slots=True, eq=False)
class Source:
    """A rule file, or a text: its name, its text, and its documents."""

    name: str
    text: str
    documents: list[Node]
    starts: list[int] | None = None

    def place(self, node: Node) -> Location:
        return Location(self.name, node.line, node.column, node.offset)

    def place_at(self, offset: int) -> Location:
        if self.starts is None:
            self.starts = [0, *(m.end() for m in _line_end.finditer(self.text))]
        line = bisect_right(self.starts, offset) - 1
        return Location(self.name, line, offset - self.starts[line], offset)

    def context(self) -> Context:
        return Context("rules content", "", Location(self.name, 0, 0, 0), self.text)

    def inside(self, node: Node, index: int) -> Location:
        """The place in the file of an index into a scalar's text: YAML may have folded its lines and resolved its escapes."""
        if node.lines is None:
            node.lines = self._lines(node)
        line = bisect_right(node.lines, (index, len(self.text))) - 1
        start, offset = node.lines[max(line, 0)]
        return self.place_at(min(offset + max(index - start, 0), node.end))

    def _lines(self, node: Node) -> list[tuple[int, int]]:
        """Where the lines of a scalar begin: in its text, and in the file."""
        start, end = node.offset, node.end
        if self.text[start:start + 1] in (">", "|") and not node.plain:
            start = self.text.find("\n", start) + 1 or node.end
        elif not node.plain:
            start, end = start + 1, end - 1         # the quotes
        found: list[tuple[int, int]] = []
        index = 0
        for m in _written_line.finditer(self.text, start, end):
            at = node.text.find(m[0], index)
            if at >= 0:
                found.append((at, m.start()))
                index = at + len(m[0])
            elif words := list(_word.finditer(m[0])):           # a line with escapes or a closing quote: word by word
                for word in words:
                    at = node.text.find(word[0], index)
                    if at >= 0:
                        found.append((at, m.start() + word.start()))
                        index = at + len(word[0])
        return found or [(0, start)]


def read(text: str, name: str, *, most_nodes: int = MAX_NODES) -> Source:
    """The documents of a file. Raises Mistake (LOAD_ERR_YAML_PARSE) for what isn't YAML, and for hostile YAML."""
    source = Source(name, text, [])
    try:
        source.documents.extend(_documents(text, source, most_nodes))
    except yaml.MarkedYAMLError as e:
        mark = e.problem_mark or e.context_mark
        context = source.context()
        if mark is not None:
            context = context.child("value for", "", Location(name, mark.line, mark.column, min(mark.index, len(text))))
        raise Mistake("LOAD_ERR_YAML_PARSE", str(e.problem or e.context or "invalid YAML"), context) from None
    except yaml.reader.ReaderError as e:
        place = source.place_at(min(e.position, len(text)))
        raise Mistake("LOAD_ERR_YAML_PARSE", str(e.reason), source.context().child("value for", "", place)) from None
    except UnicodeEncodeError as e:
        place = source.place_at(e.start)
        raise Mistake("LOAD_ERR_YAML_PARSE", "the text isn't valid UTF-8", source.context().child("value for", "", place)) from None
    return source


def _documents(text: str, source: Source, most_nodes: int) -> Iterator[Node]:
    anchors: dict[str, Node] = {}
    sizes: dict[int, int] = {}                      # nodes below an anchored node, itself included, aliases counted
    open_: list[tuple[Node, list[Node], int, str | None]] = []
    root: Node | None = None
    count = 0
    events: Iterator[Any] = yaml.parse(text, Loader=_Loader)
    for event in events:
        kind = type(event)
        if kind is yaml.ScalarEvent:
            start = event.start_mark
            node = Node("scalar", start.line, start.column, start.index, event.value, event.implicit[0] and not event.style,
                        end=event.end_mark.index)
            count += 1
            if event.anchor is not None:
                anchors[event.anchor] = node
        elif kind is yaml.SequenceStartEvent or kind is yaml.MappingStartEvent:
            start = event.start_mark
            node = Node("sequence" if kind is yaml.SequenceStartEvent else "mapping", start.line, start.column, start.index)
            if len(open_) >= MAX_NESTING:
                raise Mistake("LOAD_ERR_YAML_PARSE", f"more than {MAX_NESTING} nested nodes",
                              source.context().child("value for", "", source.place(node)))
            count += 1
            open_.append((node, [], count, event.anchor))
            continue
        elif kind is yaml.SequenceEndEvent or kind is yaml.MappingEndEvent:
            node, children, before, anchor = open_.pop()
            node.end = event.end_mark.index
            if node.kind == "sequence":
                node.items = children
            else:
                node.pairs = list(zip(children[::2], children[1::2], strict=True))
            if anchor is not None:
                anchors[anchor] = node
                sizes[id(node)] = count - before + 1
        elif kind is yaml.AliasEvent:
            found = anchors.get(event.anchor)
            here = event.start_mark
            place = Location(source.name, here.line, here.column, here.index)
            if found is None:
                raise Mistake("LOAD_ERR_YAML_PARSE", f"unknown anchor '{event.anchor}'",
                              source.context().child("value for", "", place))
            node = found
            count += sizes.get(id(node), 1)
            if count > most_nodes:
                raise Mistake("LOAD_ERR_YAML_PARSE", f"aliases stand for more than {most_nodes} nodes",
                              source.context().child("value for", "", place))
        elif kind is yaml.DocumentStartEvent:
            root = None
            anchors.clear()
            continue
        elif kind is yaml.DocumentEndEvent:
            if root is not None:
                yield root
            continue
        else:
            continue
        if open_:
            open_[-1][1].append(node)
        else:
            root = node
