# SPDX-License-Identifier: Apache-2.0
"""falco.yaml as a file, and the files that its config_files names, merged (spec: engine.md D2)."""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Sequence
from pathlib import Path

from ..errors import Location
from ..rules import load as yaml
from ..rules.report import Mistake
from .engine import ConfigFile, config_file_entries
from .tree import Node, plain_value

#: Bytes of a file. (Falco's own is 60 KiB, nearly all comments.)
LARGEST = 4 << 20
#: Nodes of a file, counted through its aliases.
MOST_NODES = 100_000
_other_kind = re.compile(rb"[\x00-\x08\x0e-\x1a\x1c-\x1f]")


#: CLOCK_REALTIME_COARSE, which Python has no name for.
_COARSE = 5


def now() -> int:
    """The time by the clock that files are stamped with, which stands still for some ms: ns since the epoch."""
    return time.clock_gettime_ns(_COARSE)


class FileMistake(Exception):
    """A file that can't be used: place, and what is wrong."""


def read_text(path: str) -> str:
    """Raises FileMistake for what is no text, OSError."""
    with open(path, "rb") as file:
        data = file.read(LARGEST + 1)
    if len(data) > LARGEST:
        raise FileMistake(f"{path}: larger than {LARGEST >> 20} MiB: this is no configuration")
    if data.startswith((b"\xff\xfe", b"\xfe\xff")):
        return data.decode("utf-16", "replace")
    found = _other_kind.search(data)
    if found:
        raise FileMistake(f"{_place(path, data, found.start())}: byte {data[found.start()]:#04x}: this is no text")
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError as e:
        raise FileMistake(f"{_place(path, data, e.start)}: the text isn't valid UTF-8") from None


def _place(path: str, data: bytes, offset: int) -> Location:
    line = data.count(b"\n", 0, offset)
    return Location(path, line, offset - data.rfind(b"\n", 0, offset) - 1, offset)


def read_tree(text: str, name: str, warn: Callable[[str], None] = lambda text: None) -> Node:
    """The tree of the first document of a text; an empty mapping where there is none.

    Raises FileMistake for what isn't YAML, and for hostile YAML.
    """
    try:
        source = yaml.read(text, name, most_nodes=MOST_NODES)
    except Mistake as e:
        raise FileMistake(f"{e.problem.context.place}: {e.problem.message}") from None
    if not source.documents:
        return Node({}, Location(name, 0, 0))
    if len(source.documents) > 1:
        warn(f"{source.place(source.documents[1])}: only the first document of a file is read")
    tree = _Trees(source, warn).of(source.documents[0])
    return Node({}, tree.at) if tree.is_null else tree


class _Trees:
    """Makes trees of a file's nodes, each once, also where it is reached by several aliases."""

    def __init__(self, source: yaml.Source, warn: Callable[[str], None]) -> None:
        self._source = source
        self._warn = warn
        self._made: dict[int, Node] = {}

    def of(self, node: yaml.Node) -> Node:
        made = self._made.get(id(node))
        if made is None:
            made = self._made[id(node)] = self._make(node)
        return made

    def _make(self, node: yaml.Node) -> Node:
        at = self._source.place(node)
        if node.kind == "scalar":
            if "\0" in node.text:
                raise FileMistake(f"{at}: a text with \\0 in it: no key takes that")
            return Node(node.text, at, node.plain)
        if node.kind == "sequence":
            return Node([self.of(item) for item in node.items], at)
        pairs: dict[str, Node] = {}
        names: dict[str, Location] = {}
        for name, value in node.pairs:
            if name.kind != "scalar":
                raise FileMistake(f"{self._source.place(name)}: a key must be a text")
            if name.text in pairs:
                self._warn(f"{self._source.place(name)}: {name.text}: this key is given twice: the first counts, of {names[name.text]}")
                continue
            pairs[name.text] = self.of(value)
            names[name.text] = self._source.place(name)
        return Node(pairs, at, names=names)


def merged(base: Node, other: Node, strategy: str) -> Node:
    """Two files as one. Keys at the top are merged, not those below: append joins lists and replaces the rest, override replaces all,
    add-only adds what isn't there."""
    assert isinstance(base.value, dict)
    assert isinstance(other.value, dict)
    pairs, names = dict(base.value), dict(base.names)
    for name, node in other.value.items():
        before = pairs.get(name)
        if before is not None and strategy == "add-only":
            continue
        if before is not None and strategy == "append" and isinstance(before.value, list) and isinstance(node.value, list):
            node = Node([*before.value, *node.value], before.at)
        else:
            names[name] = other.names.get(name, names.get(name, node.at))       # type: ignore[arg-type]
        pairs[name] = node
    return Node(pairs, base.at, names=names)


def named_files(entry: ConfigFile) -> list[str]:
    """The files that an entry of config_files stands for: those of a folder by path; what isn't there is passed over. Raises OSError."""
    path = Path(entry.path)
    if path.is_dir():
        return [str(file) for file in sorted(path.iterdir()) if file.is_file()]
    return [entry.path] if path.is_file() else []


def read_all(path: str | None, chosen: Node | None, expand: Callable[[str], str], warn: Callable[[str], None],
             ) -> tuple[Node, list[tuple[str, Node]], Sequence[str]]:
    """A file merged with those that its config_files names, or `chosen` in their place; each of them; and what config_files named.

    Raises FileMistake, OSError.
    """
    tree = Node({}, "") if path is None else _read(path, warn)
    files = [] if path is None else [(path, tree)]
    assert isinstance(tree.value, dict)
    listed = chosen or tree.value.get("config_files")
    if listed is None or listed.is_null:
        return tree, files, ()
    try:
        entries = config_file_entries(plain_value(listed, expand))
    except ValueError as e:
        raise FileMistake(f"{listed.at}: config_files: {e}") from None
    for entry in entries:
        for name in named_files(entry):
            if path is not None and Path(name).resolve() == Path(path).resolve():
                raise FileMistake(f"{listed.at}: config_files: {name} is this file itself")
            other = _read(name, warn)
            if isinstance(other.value, dict) and "config_files" in other.value:
                raise FileMistake(f"{other.place_of('config_files')}: config_files: a file that config_files names can't have its own; "
                                  f"name its files in {path or '-o config_files'}")
            files.append((name, other))
            tree = merged(tree, other, entry.strategy)
    return tree, files, [entry.path for entry in entries]


def _read(path: str, warn: Callable[[str], None]) -> Node:
    tree = read_tree(read_text(path), path, warn)
    if not isinstance(tree.value, dict):
        raise FileMistake(f"{tree.at}: expected keys and values, as json_output: true")
    return tree
