# SPDX-License-Identifier: Apache-2.0
"""load(): falco.yaml and -o to a Configuration (spec: engine.md D2)."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING

import msgspec

from ..errors import FalcolibError
from .configuration import Configuration, Origin, ReadFile, bare

if TYPE_CHECKING:
    from .tree import Node, Step

class ConfigError(FalcolibError, ValueError):
    """A configuration that can't be used: a line for each mistake, with file, line, column and key, or with the option."""


def load(path: str | None, options: Sequence[str] = (), environ: Mapping[str, str] = os.environ) -> Configuration:
    """The configuration of a file and of ``key=value`` texts, which come after it.

    path: falco.yaml; None: without a file, alerts go to stdout and nowhere else. options: as -o takes them, ``metrics.interval=1m``,
    ``rules[].disable.tag=network``, ``engine.replay={capture_file: a.scap}``. environ: the variables that ``${NAME}`` stands for.

    Raises ConfigError, with all mistakes, OSError for a file that can't be read.
    """
    if path is None and not options:
        return bare()
    from .reading import Problem, Reader, without_secrets  # not for a run without settings: start-up counts
    from .tree import Node, plain_value, put

    read = [_read_option(option) for option in options]
    problems = [text for text in read if isinstance(text, str)]
    given = [option for option in read if not isinstance(option, str)]
    _tell(problems)
    warnings: list[str] = []
    reader = Reader(environ, Configuration)
    tree = Node({}, "")
    files: list[tuple[str, Node]] = []
    named: Sequence[str] = ()
    since: int | None = None
    chosen: Node | None = None                                       # config_files chooses the files, so it comes before them
    later = []
    for steps, node in given:
        if steps[0] == "config_files":
            chosen = _put(chosen, steps[1:], node, problems)
        else:
            later.append((steps, node))
    if path is not None or chosen is not None:
        from .files import FileMistake, now, read_all

        since = now()
        try:
            tree, files, named = read_all(path, chosen, reader.expand, warnings.append)
        except FileMistake as e:
            raise ConfigError(str(e)) from None
    for steps, node in later:
        tree = _put(tree, steps, node, problems)
    if chosen is not None:
        tree = put(tree, ["config_files"], chosen)
    tree = _old_names(tree, warnings, problems)
    found: Configuration = reader.read(tree, bare() if path is None else Configuration())
    _tell([*problems, *map(str, reader.errors)])
    status = []
    for name, part in files:
        alone = Reader(environ, Configuration)
        alone.read(part, Configuration())
        doubts: list[Problem] = [problem for problem in (*alone.errors, *alone.warnings) if problem.key != "rules_file"]
        status.append(ReadFile(name, f"failed: {'; '.join(map(str, doubts))}" if doubts else "ok"))
        warnings += map(str, doubts)
    resolved = without_secrets(plain_value(tree, reader.expand), Configuration)
    origin = Origin(tuple(status), tuple(named), tuple(dict.fromkeys(warnings)), resolved, dict(_places(tree)), since)
    return msgspec.structs.replace(found, origin=origin)


def _places(node: Node, key: str = "") -> Iterator[tuple[str, str]]:
    """The places of all keys below a node."""
    if isinstance(node.value, dict):
        for name, child in node.value.items():
            yield f"{key}.{name}".lstrip("."), str(node.place_of(name))
            yield from _places(child, f"{key}.{name}".lstrip("."))
    elif isinstance(node.value, list):
        for number, child in enumerate(node.value):
            yield f"{key}[{number}]", str(child.at)
            yield from _places(child, f"{key}[{number}]")


def _tell(problems: Sequence[str]) -> None:
    if problems:
        raise ConfigError("\n".join(dict.fromkeys(problems)))


def _read_option(option: str) -> tuple[list[Step], Node] | str:
    """Path and value of a ``key=value`` text; or what is wrong with it."""
    from .tree import Node, split_path

    key, equals, value = option.partition("=")
    try:
        if not equals:
            raise ValueError("expected key=value")
        steps = split_path(key.strip())
    except ValueError as e:
        return f"-o {option}: {e}"
    at = f"-o {option}"
    if not (value.startswith("{") and value.endswith("}")):
        return steps, Node(value, at, plain=value != "")
    from .files import FileMistake, read_tree

    try:
        return steps, _placed(read_tree(value, at), at)
    except FileMistake as e:
        return str(e)


def _placed(node: Node, at: str) -> Node:
    """A tree whose every node was given by an option."""
    from .tree import Node

    if isinstance(node.value, dict):
        return Node({name: _placed(child, at) for name, child in node.value.items()}, at)
    if isinstance(node.value, list):
        return Node([_placed(child, at) for child in node.value], at)
    return Node(node.value, at, node.plain)


def _put(tree: Node | None, steps: list[Step], node: Node, problems: list[str]) -> Node:
    from .tree import put

    try:
        return put(tree, steps, node)
    except ValueError as e:
        problems.append(f"{node.at}: {e}")
        return tree or node


def _old_names(tree: Node, warnings: list[str], problems: list[str]) -> Node:
    """rules_file was the name of rules_files."""
    from .tree import Node

    assert isinstance(tree.value, dict)
    old = tree.value.get("rules_file")
    if old is None:
        return tree
    at = tree.place_of("rules_file")
    if "rules_files" in tree.value:
        problems.append(f"{at}: rules_file: given together with rules_files, at {tree.place_of('rules_files')}: keep rules_files alone")
    else:
        warnings.append(f"{at}: rules_file: the name of this key is rules_files")
    pairs = {"rules_files" if name == "rules_file" else name: value for name, value in tree.value.items()}
    return Node(pairs, tree.at, names=tree.names)
