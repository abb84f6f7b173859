# SPDX-License-Identifier: Apache-2.0
"""What is said about rule files: where a thing stands, what is wrong with it, and the same as Falco's falco_load_results (A6, A7)."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from ..errors import Location, RuleError

if TYPE_CHECKING:
    from .load import Node

ERRORS = {
    "LOAD_ERR_FILE_READ": "File read error",
    "LOAD_ERR_YAML_PARSE": "YAML parse error",
    "LOAD_ERR_YAML_VALIDATE": "Error validating internal structure of YAML file",
    "LOAD_ERR_COMPILE_CONDITION": "Error compiling condition",
    "LOAD_ERR_COMPILE_OUTPUT": "Error compiling output",
    "LOAD_ERR_VALIDATE": "Error validating rule/macro/list/exception objects",
    "LOAD_ERR_EXTENSION": "Error in extension item",
}
#: Code → what Falco's text form says, and the sentence of its JSON form.
WARNINGS = {
    "LOAD_UNKNOWN_SOURCE": (
        "Unknown event source",
        "A rule has a unknown event source. This can occur when reading rules content without having a corresponding plugin loaded, etc. "
        "The rule will be silently ignored."),
    "LOAD_UNSAFE_NA_CHECK": (
        "Unsafe <NA> comparison in condition",
        "A condition compares a field with <NA>, which is not what an absent field is equal to: exists tells whether a field has a value."),
    "LOAD_NO_EVTTYPE": (
        "Condition has no event-type restriction",
        "A rule condition matches too many evt.type values. This has a significant performance penalty. Make the condition more specific "
        "by adding an evt.type field or further restricting the number of evt.type values in the condition."),
    "LOAD_UNKNOWN_FILTER": (
        "Unknown field or event-type in condition or output",
        "A rule condition or output refers to a field or evt.type that does not exist. This is normally an error, but if a rule has a "
        "skip-if-unknown-filter property, the error is downgraded to a warning."),
    "LOAD_UNUSED_MACRO": ("Unused macro", "A macro is defined in the rules content but is not used by any other macro or rule."),
    "LOAD_UNUSED_LIST": ("Unused list", "A list is defined in the rules content but is not used by any other list, macro, or rule."),
    "LOAD_UNKNOWN_ITEM": ("Unknown rules file item", "An item of the rules content is none of the known kinds; it is ignored."),
    "LOAD_DEPRECATED_ITEM": ("Used deprecated item", "A deprecated item is employed by lists, macros, or rules."),
    "LOAD_WARNING_EXTENSION": ("Warning in extension item", "An extension item has a warning."),
    "LOAD_APPEND_NO_VALUES": ("Overriding/appending with no values", "An exception is appended to or replaced without any values."),
    "LOAD_EXCEPTION_NAME_NOT_UNIQUE": ("Multiple exceptions defined with the same name", "A rule defines several exceptions of one name."),
    "LOAD_INVALID_MACRO_NAME": ("Invalid macro name", "A macro is defined with an invalid name"),
    "LOAD_INVALID_LIST_NAME": ("Invalid list name", "A list is defined with an invalid name"),
    "LOAD_COMPILE_CONDITION": ("Warning in rule condition", "A rule condition can be compiled, but is probably not what was meant."),
    "LOAD_UNKNOWN_KEY": ("Unknown key in item definition", "An item has a key that its kind doesn't know; the key is ignored."),
}

#: Characters of a message.
_LONGEST = 1_000
#: Characters shown before and after the place of a mistake in a long line.
_WIDTH = 80


@dataclass(frozen=True, slots=True)
class Context:
    """Where a thing stands: a step of the way from the file down to it. ``text``: the file's, or for a condition the expanded one."""

    item_type: str
    item_name: str
    place: Location
    text: str
    parent: Context | None = None

    def child(self, item_type: str, item_name: str, place: Location) -> Context:
        return Context(item_type, item_name, place, self.text, self)

    def expression(self, text: str, place: Location) -> Context:
        """A place in a condition, line and column from 0. Falco adds them, counted from 1, to those of the condition in the file."""
        at = self.place
        shown = Location(place.name, at.line + place.line + 1, at.column + place.column + 1, at.offset + place.offset)
        return Context("condition expression", "", shown, text, self)

    def whole_expression(self, text: str, name: str) -> Context:
        """A condition as a whole: Falco gives some warnings without a place in it."""
        return Context("condition expression", "", Location(name, self.place.line, self.place.column, self.place.offset), text, self)

    def way(self) -> list[Context]:
        """From the file down to this."""
        steps: list[Context] = []
        step: Context | None = self
        while step is not None:
            steps.append(step)
            step = step.parent
        return steps[::-1]

    @property
    def file(self) -> str:
        return self.way()[0].place.name

    def snippet(self) -> str:
        """The line of the place, and a caret under it."""
        if self.item_type == "condition expression":
            assert self.parent is not None
            return excerpt(self.text, max(self.place.offset - self.parent.place.offset, 0))
        return excerpt(self.text, self.place.offset)

    def as_dict(self) -> dict[str, object]:
        return {
            "locations": [
                {"item_name": c.item_name, "item_type": c.item_type,
                 "position": {"column": c.place.column, "line": c.place.line, "name": c.place.name, "offset": c.place.offset}}
                for c in self.way()
            ],
            "snippet": self.snippet(),
        }


def excerpt(text: str, offset: int) -> str:
    """The line of ``text`` in which offset is, cut to a readable width, and a caret under it."""
    offset = min(max(offset, 0), len(text))
    start = max(text.rfind("\n", 0, offset), text.rfind("\r", 0, offset)) + 1
    end = min(i if i >= 0 else len(text) for i in (text.find("\n", offset), text.find("\r", offset)))
    line, column = text[start:end], offset - start
    if len(line) > 2 * _WIDTH:
        first, last = max(column - _WIDTH, 0), min(column + _WIDTH, len(line))
        cut = line[first:last]
        column -= first
        if first > 0:
            cut, column = "..." + cut[3:], max(column, 3)
        if last < len(line):
            cut = cut[:-3] + "..."
        line = cut
    return f"{line}\n{' ' * column}^\n"


@dataclass(frozen=True, slots=True)
class Problem:
    """An error or a warning. ``at``: the place in the file, where it is known better than from ``context``; ``hint``: the nearest valid
    name; ``via``: the macros and lists it came through."""

    code: str
    message: str
    context: Context
    deprecated_field: str | None = None
    at: Location | None = None
    hint: str | None = None
    via: tuple[str, ...] = ()

    def as_dict(self) -> dict[str, object]:
        known = ERRORS.get(self.code) or WARNINGS[self.code][1]
        row: dict[str, object] = {"code": self.code, "codedesc": known, "context": self.context.as_dict(), "message": self.message}
        if self.deprecated_field is not None:
            row["deprecated_field"] = self.deprecated_field
        return row

    @property
    def location(self) -> Location:
        """The place in the file."""
        if self.at is not None:
            return self.at
        return next(c.place for c in reversed(self.context.way()) if c.item_type != "condition expression")

    def __str__(self) -> str:
        """file:line:col: message, the line with a caret, the way to it, and the nearest valid name."""
        lines = [f"{self.location}: {self.message}"]
        lines += ["    " + _readable(line) for line in self._excerpt().split("\n")[:-1]]
        names = [f"{c.item_type} '{c.item_name}'" for c in self.context.way() if c.item_name]
        names += self.via
        if names:
            lines.append("in " + ", ".join(names))
        if self.hint:
            lines.append(f"did you mean {self.hint}?")
        return "\n".join(lines)

    def _excerpt(self) -> str:
        if self.at is not None:
            return excerpt(self.context.way()[0].text, self.at.offset) if self.at.name == self.context.file else ""
        return self.context.snippet()


def _readable(line: str) -> str:
    """A line as a terminal may show it: a file may hold anything. Each character stays one, so that the caret is under its place."""
    return "".join(c if c.isprintable() else " " if c == "\t" else "\N{REPLACEMENT CHARACTER}" for c in line)


def _cut(message: str) -> str:
    """A message without most of what a hostile file put into it."""
    return message if len(message) <= _LONGEST else message[:_LONGEST] + "…"


class Mistake(Exception):
    """What stops the loading of a file. It stays inside this package: users see RuleError."""

    def __init__(self, code: str, message: str, context: Context, at: Location | None = None, hint: str | None = None,
                 via: tuple[str, ...] = ()) -> None:
        super().__init__(message)
        self.problem = Problem(code, _cut(message), context, None, at, hint, via)


@dataclass(slots=True)
class Result:
    """What came of one file. documents: what is in it, if it could be read at all."""

    name: str
    errors: list[Problem] = field(default_factory=list)
    warnings: list[Problem] = field(default_factory=list)
    documents: list[Node] = field(default_factory=list)

    def warn(self, code: str, message: str, context: Context, *, deprecated_field: str | None = None, at: Location | None = None,
             hint: str | None = None, via: tuple[str, ...] = ()) -> None:
        self.warnings.append(Problem(code, _cut(message), context, deprecated_field, at, hint, via))

    def as_dict(self) -> dict[str, object]:
        from .falco_schema import violations  # only for those who ask

        against = violations(self.documents)
        schema: dict[str, object] = {"schema_valid": not against, "schema_warnings": against} if self.documents else {}
        return {
            "errors": [e.as_dict() for e in self.errors], "name": self.name, **schema, "successful": not self.errors,
            "warnings": [w.as_dict() for w in self.warnings],
        }


def load_results(results: Iterable[Result]) -> dict[str, object]:
    """Falco's falco_load_results."""
    return {"falco_load_results": [r.as_dict() for r in results]}


def rule_error(problem: Problem, results: Iterable[Result]) -> RuleError:
    """The exception for a mistake."""
    return RuleError(str(problem), code=problem.code, location=problem.location, result=load_results(results))
