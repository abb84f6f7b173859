# SPDX-License-Identifier: Apache-2.0
"""Files of tests: what they hold, and where in them everything stands. docs/rule-tests.md is their reference."""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from ipaddress import ip_address
from pathlib import Path
from typing import NoReturn

from .. import schema
from ..errors import FalcolibError, Location
from ..rules.load import Node, Source, read
from ..rules.report import Mistake, excerpt

_FILE_KEYS = ("rules", "every_event", "every_near_miss", "tests")
_TEST_KEYS = ("rule", "name", "event", "events", "capture", "alerts", "matches", "also", "near_misses")
_SUFFIXES = (".yaml", ".yml")
#: What a file of tests has and others hardly: looked for before a file is read as YAML.
_tests_key = re.compile(rb"^tests[ \t]*:", re.MULTILINE)
_rule_key = re.compile(rb"^[ \t]*(?:-[ \t]+)?\{?[ \t]*rule[ \t]*:", re.MULTILINE)
_given_key = re.compile(rb"(?:^|[{,])[ \t]*(?:-[ \t]+)?(?:event|events|capture)[ \t]*:", re.MULTILINE)

#: Fields of an event, in Python's types.
Fields = dict[str, object]


class RuleTestError(FalcolibError):
    """A file of tests that can't be used. The text tells file, line and column, shows the place, and the nearest valid name.

    ``location``: the place of the mistake; None where it is about a file as a whole.
    """

    def __init__(self, text: str, location: Location | None = None) -> None:
        super().__init__(text)
        self.location = location


@dataclass(frozen=True, slots=True)
class Case:
    """One thing that is tested: a rule on an event, or on a capture.

    label: which of the test's events it is; at: its place in the file. expected: whether the rule must match; a number: how many alerts it
    must give on the capture. event: fields; None if it comes from the capture, where number is its evt.num, and None stands for all.
    """

    rule: str
    label: str
    at: Location
    expected: bool | int
    event: Fields | None = None
    capture: Path | None = None
    number: int | None = None

    @property
    def id(self) -> str:
        """``Secret file read[near miss 2]``: unique in a file where its tests have names, or one test a rule."""
        return f"{self.rule}[{self.label}]"


@dataclass(frozen=True, slots=True)
class RuleTestFile:
    """A file of tests: the rule files it is about, and its cases in order. names: the rules it tests, and where first."""

    path: Path
    rules: tuple[Path, ...]
    cases: tuple[Case, ...]
    names: dict[str, Location]
    source: Source = field(repr=False)

    def error(self, message: str, at: Location, hint: str | None = None) -> RuleTestError:
        """What is wrong at a place of the file."""
        return _error(self.source, message, at, hint)


def _error(source: Source, message: str, at: Location, hint: str | None = None) -> RuleTestError:
    lines = [f"{at}: {message}", *("    " + line for line in excerpt(source.text, at.offset).splitlines())]
    return RuleTestError("\n".join([*lines, *([f"did you mean {hint}?"] if hint else [])]), at)


# ---- finding -----------------------------------------------------------------------------------------------------------------------------


def is_test_file(path: Path) -> bool:
    """Whether a YAML file is one of tests: a mapping with ``tests``, which name a ``rule`` and an ``event`` or a ``capture``."""
    if path.suffix not in _SUFFIXES:
        return False
    data = path.read_bytes()
    return all(key.search(data) for key in (_tests_key, _rule_key, _given_key))


def find_tests(paths: Iterable[str | os.PathLike[str]]) -> list[RuleTestFile]:
    """The files of tests that paths stand for: a file is one of tests, or a rule file, whose tests are the file of its name in ``tests/``
    beside it; a folder is all of tests in it and in the folders below.

    Raises RuleTestError for a file that can't be used, OSError for one that can't be read.
    """
    found: dict[Path, None] = {}
    for path in map(Path, paths):
        if path.is_dir():
            for folder, folders, names in os.walk(path):
                folders[:] = sorted(name for name in folders if not name.startswith("."))
                found.update((Path(folder, name), None) for name in sorted(names)
                             if (p := Path(folder, name)).suffix in _SUFFIXES and p.is_file() and is_test_file(p))
        elif path.suffix in _SUFFIXES and not is_test_file(path) and (beside := path.parent / "tests" / path.name).is_file():
            found[beside] = None
        else:
            found[path] = None
    return [read_tests(path) for path in found]


def read_tests(path: str | os.PathLike[str]) -> RuleTestFile:
    """The tests of a file. Raises RuleTestError, OSError."""
    path = Path(path)
    try:
        source = read(path.read_bytes().decode("utf-8", "surrogateescape").removeprefix("\ufeff"), str(path))
    except Mistake as e:
        raise RuleTestError(str(e.problem), e.problem.location) from None
    return _Reader(path, source).file()


# ---- reading -----------------------------------------------------------------------------------------------------------------------------


class _Reader:
    def __init__(self, path: Path, source: Source) -> None:
        self.path = path
        self.source = source
        self.folder = path.parent

    def fail(self, message: str, node: Node, hint: str | None = None) -> NoReturn:
        raise _error(self.source, message, self.source.place(node), hint)

    def file(self) -> RuleTestFile:
        documents = [d for d in self.source.documents if not d.is_null]
        if len(documents) != 1 or documents[0].kind != "mapping":
            raise _error(self.source, "a file of tests is one mapping with 'tests', and 'rules' and 'every_event' where wanted",
                         Location(self.source.name, 0, 0))
        root = documents[0]
        self.keys(root, _FILE_KEYS, "a file of tests")
        every = root.get("every_event")
        self.every_event = self.fields(every) if every is not None and not every.is_null else {}
        self.every_near_miss = [(n, self.fields(n)) for n in self.items(root.get("every_near_miss"), "every_near_miss")]
        tests = root.get("tests")
        if tests is None or tests.kind != "sequence":
            self.fail("'tests' must be a sequence of tests", tests or root)
        names: dict[str, Location] = {}
        cases: list[Case] = []
        for test in tests.items:
            cases += self.test(test, names)
        return RuleTestFile(self.path, self.rules(root), tuple(cases), names, self.source)

    def keys(self, node: Node, known: Iterable[str], what: str) -> None:
        seen: set[str] = set()
        for key, _ in node.pairs:
            if key.kind != "scalar" or key.text not in known:
                self.fail(f"unknown key '{key.text}' in {what}", key, schema.nearest(key.text, known))
            if key.text in seen:
                self.fail(f"'{key.text}' is given twice", key)
            seen.add(key.text)

    def rules(self, root: Node) -> tuple[Path, ...]:
        """The rule files that are named; else the one of the same name in the folder above or, without such, none."""
        node = root.get("rules")
        if node is None:
            beside = self.folder.parent / self.path.name
            return (beside,) if self.folder.name == "tests" and beside.is_file() else ()
        paths: list[Path] = []
        for item in node.items if node.kind == "sequence" else [node]:
            path = self.folder / self.text(item, "rules")
            if not path.exists():
                self.fail(f"there is no rule file {path}", item)
            paths.append(path)
        return tuple(paths)

    def text(self, node: Node, key: str) -> str:
        if node.kind != "scalar" or not node.text:
            self.fail(f"'{key}' must be a text", node)
        return node.text

    def number(self, node: Node, key: str) -> int:
        if node.kind != "scalar" or not re.fullmatch("[0-9]{1,18}", node.text):
            self.fail(f"'{key}' must be a number", node)
        return int(node.text)

    def truth(self, node: Node, key: str) -> bool:
        value = node.as_bool() if node.kind == "scalar" else None
        if value is None:
            self.fail(f"'{key}' must be true or false", node)
        return value

    # ---- one test ----

    def test(self, node: Node, names: dict[str, Location]) -> Iterator[Case]:
        if node.kind != "mapping":
            self.fail("a test is a mapping with 'rule', and 'event' or 'capture'", node)
        self.keys(node, _TEST_KEYS, "a test")
        rule_node = node.get("rule")
        if rule_node is None:
            self.fail("a test needs the name of a 'rule'", node)
        rule = self.text(rule_node, "rule")
        names.setdefault(rule, self.source.place(rule_node))
        name_node, matches_node = node.get("name"), node.get("matches")
        name = self.text(name_node, "name") + ", " if name_node is not None else ""
        matches = self.truth(matches_node, "matches") if matches_node is not None else True
        near = node.get("near_misses")
        if not matches and near is not None:
            self.fail("'near_misses' are for a rule that matches the event; with 'matches: false' write more tests", near)
        if node.get("capture") is not None:
            return self.on_capture(node, rule, name, matches)
        return self.on_fields(node, rule, name, matches)

    def items(self, node: Node | None, key: str) -> list[Node]:
        if node is None or node.is_null:
            return []
        if node.kind != "sequence":
            self.fail(f"'{key}' must be a sequence", node)
        return node.items

    def on_fields(self, node: Node, rule: str, name: str, matches: bool) -> Iterator[Case]:
        event = node.get("event")
        for key in ("events", "alerts"):
            if (wrong := node.get(key)) is not None:
                self.fail(f"'{key}' is for tests with a 'capture'", wrong)
        if event is None:
            self.fail("a test needs an 'event', or a 'capture'", node)
        if event.kind == "scalar" and event.text.isdigit():
            self.fail("the number of an event needs the 'capture' that it is in", event)
        base = self.every_event | self.fields(event)
        events = [(f"{name}event", event, base)]
        events += [(f"{name}also {i}", n, base | self.fields(n)) for i, n in enumerate(self.items(node.get("also"), "also"), 1)]
        for label, at, fields in events:
            yield self.case(rule, label, at, matches, fields)
            for i, (_, changes) in enumerate(self.every_near_miss if matches else (), 1):
                yield self.case(rule, f"{label}, every near miss {i}", at, False, fields | changes)
        for i, change in enumerate(self.items(node.get("near_misses"), "near_misses"), 1):
            yield self.case(rule, f"{name}near miss {i}", change, False, base | self.fields(change))

    def case(self, rule: str, label: str, node: Node, expected: bool, event: Fields) -> Case:
        event = {name: value for name, value in event.items() if value is not None}
        return Case(rule, label, self.source.place(node), expected, event)

    def on_capture(self, node: Node, rule: str, name: str, matches: bool) -> Iterator[Case]:
        capture_node, alerts, event = node.get("capture"), node.get("alerts"), node.get("event")
        assert capture_node is not None
        capture = self.folder / self.text(capture_node, "capture")
        if not capture.is_file():
            self.fail(f"there is no capture {capture}", capture_node)
        if (also := node.get("also")) is not None:
            self.fail("'also' changes fields of an event; of a capture, name several 'events'", also)
        numbers = self.items(node.get("events"), "events") + ([event] if event is not None else [])
        for n in numbers:
            yield self.numbered(rule, f"{name}event {self.number(n, 'event')}", n, matches, capture)
        for n in self.items(node.get("near_misses"), "near_misses"):
            yield self.numbered(rule, f"{name}near miss {self.number(n, 'near_misses')}", n, False, capture)
        if alerts is not None:
            if not matches:
                self.fail("'alerts: 0' says what 'matches: false' would", alerts)
            count = self.number(alerts, "alerts")
            yield Case(rule, f"{name}{count} alerts", self.source.place(alerts), count, capture=capture)
        elif not numbers:
            yield Case(rule, f"{name}capture", self.source.place(capture_node), matches, capture=capture)

    def numbered(self, rule: str, label: str, node: Node, expected: bool, capture: Path) -> Case:
        return Case(rule, label, self.source.place(node), expected, capture=capture, number=int(node.text))

    # ---- events ----

    def fields(self, node: Node) -> Fields:
        """Fields with their values, each read as its field's type; null is None."""
        if node.kind != "mapping":
            self.fail("an event is a mapping of fields", node)
        found: Fields = {}
        for key, value in node.pairs:
            try:
                info, argument = schema.require_field(key.text if key.kind == "scalar" else "")
            except schema.FieldError as e:
                self.fail(str(e), key)
            if key.text in found:
                self.fail(f"{key.text} is given twice", key)
            if value.is_null:
                found[key.text] = None
            elif value.kind == "sequence":
                if not info.flags & {"LIST", "EITHER"} and not ("ANY" in info.flags and argument is None):
                    self.fail(f"{key.text} has one value, not a list", value)
                found[key.text] = [self.value(item, info.kind, key.text) for item in value.items]
            else:
                found[key.text] = self.value(value, info.kind, key.text)
            if info.name == "evt.type" and found[key.text] is not None and found[key.text] not in schema.EVENT_IDS:
                self.fail(f"there is no event type '{value.text}'", value, schema.nearest_event(value.text))
        return found

    def value(self, node: Node, kind: str, name: str) -> object:
        if node.kind != "scalar":
            self.fail(f"{name}: a value is a text, a number or a truth value", node)
        text = node.text
        if kind == "bool":
            return self.truth(node, name)
        try:
            if kind in ("i64", "u64"):
                value = int(text, 0) if text.lstrip("+-")[:2].lower() == "0x" else int(text)
                if not (0 if kind == "u64" else -(1 << 63)) <= value < 1 << (64 if kind == "u64" else 63):
                    self.fail(f"{name}: {text} is out of range", node)
                return value
            if kind == "f64":
                return float(text)
            if kind in ("ip", "net"):
                return str(ip_address(text))
        except ValueError:
            self.fail(f"{name}: '{text}' isn't {'an IP address' if kind in ('ip', 'net') else 'a number'}", node)
        return text.encode("utf-8", "surrogateescape") if kind == "bytes" else text
