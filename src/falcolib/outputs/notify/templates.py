# SPDX-License-Identifier: Apache-2.0
"""Templates of messages: Jinja's language in its sandbox, with the part of Go's that falcosidekick's users have.

A template sees ``rule``, ``priority``, ``output``, ``message``, ``time``, ``source``, ``tags``, ``hostname``, ``fields``, ``id``, ``count``
and ``event`` (all of it, as in Falco's JSON). What an alert holds is put in as text, never read as a template, and passes through the
escape of the service that the text is for: the name of a process can neither mention a channel nor end a string.
"""

from __future__ import annotations

import difflib
import functools
import json
import re
import urllib.parse
from collections.abc import Callable, Iterable, Mapping
from html import escape as html_escape
from typing import Any

import jinja2
from jinja2 import meta
from jinja2.sandbox import ImmutableSandboxedEnvironment

from .gotemplate import PAYLOAD, TemplateError, translate
from .notification import Notification, value_text

__all__ = ["Template", "TemplateError"]

Escape = Callable[[str], str]

#: The names that templates see.
NAMES = frozenset(PAYLOAD.values()) | {"event"}


class Template:
    """A template, read once. escape: what values pass through that are put into its text.

    Raises TemplateError if it can't be read or asks for a name that isn't there.
    """

    def __init__(self, source: str, escape: Escape | None = None) -> None:
        env = _environment(escape)
        try:
            translated = translate(source, FUNCTIONS_NAMES)
            tree = env.parse(translated)
            for name in sorted(meta.find_undeclared_variables(tree) - set(env.globals)):
                if name not in NAMES:
                    near = difflib.get_close_matches(name, NAMES, 1)
                    known = f"did you mean {near[0]!r}?" if near else f"there are {', '.join(sorted(NAMES))}"
                    raise TemplateError(f"no name {name.removeprefix('var_')!r}; {known}")
            self._template = env.from_string(translated)
            self._value = _sole_expression(env, translated)
        except jinja2.TemplateSyntaxError as e:
            raise TemplateError(f"line {e.lineno}: {e.message}") from None
        self.source = source

    def render(self, notification: Notification) -> str:
        """Its text for an alert. What fails only with an alert's values (a comparison of a number with a text) says so in the text."""
        try:
            return self._template.render(_context(notification))
        except Exception as e:      # Values are anyone's: an alert is told nevertheless.
            return f"<template failed: {e}>"

    def value(self, notification: Notification) -> Any:
        """As render, but a template that is one expression alone keeps its type: a number, a list, a map, None."""
        if self._value is None:
            return self.render(notification)
        try:
            return _plain(self._value(_context(notification)))
        except Exception as e:
            return f"<template failed: {e}>"


def _context(notification: Notification) -> dict[str, object]:
    n = notification
    return {"rule": n.rule, "priority": str(n.priority), "output": n.output, "message": n.message, "time": n.time_text, "source": n.source,
            "tags": list(n.tags), "hostname": n.hostname, "fields": _Fields(n.fields), "id": n.id, "count": n.count, "event": n.as_dict()}


class _Fields(dict[str, object]):
    """Fields by name; one that is absent is None, which is false and prints as <NA>."""

    def __missing__(self, name: str) -> None:
        return None


def _sole_expression(env: ImmutableSandboxedEnvironment, source: str) -> Callable[..., Any] | None:
    body = source.strip()
    if not (body.startswith("{{") and body.endswith("}}")) or "{{" in body[2:] or "{%" in body:
        return None
    return env.compile_expression(body[2:-2].strip("-"))


def _plain(value: object) -> object:
    """A value that JSON can hold."""
    if value is None or isinstance(value, bool | int | float | str):
        return value
    if isinstance(value, Mapping):
        return {str(k): _plain(v) for k, v in value.items()}
    if isinstance(value, Iterable):
        return [_plain(v) for v in value]
    return str(value)


@functools.cache
def _environment(escape: Escape | None) -> ImmutableSandboxedEnvironment:
    def shown(value: object) -> str:
        text = "<NA>" if value is None or isinstance(value, jinja2.Undefined) else value_text(value)
        return escape(text) if escape else text

    env = ImmutableSandboxedEnvironment(finalize=shown, keep_trailing_newline=True, autoescape=False)
    for name, function in FUNCTIONS.items():
        env.globals[f"go_{name}"] = function
        if name not in env.filters:
            env.filters[name] = function
    env.globals["go_pairs"] = _pairs
    env.filters["tojson"] = env.filters["json"] = _to_json
    return env


# ---- functions: Go's own, and those of sprig that are useful with alerts; a piped value is the last argument ----


def _pairs(value: object) -> list[tuple[object, object]]:
    if isinstance(value, Mapping):
        return sorted(value.items())
    return list(enumerate(value)) if isinstance(value, list | tuple) else []


def _index(value: Any, *keys: object) -> object:
    for key in keys:
        try:
            value = value[key]
        except (LookupError, TypeError):
            return None
    return value


def _to_json(value: object, *_: object) -> str:
    return json.dumps(_plain(value), ensure_ascii=False)


def _printf(layout: str, *values: object) -> str:
    left = list(values)
    out, at = [], 0
    for piece in _VERB.finditer(layout):
        out.append(layout[at:piece.start()])
        at = piece.end()
        if piece[2] == "%":
            out.append("%")
        elif not left:
            out.append(f"%!{piece[2]}(MISSING)")
        else:
            out.append(_verb(piece[1], piece[2], left.pop(0)))
    return "".join(out) + layout[at:]


def _verb(flags: str, verb: str, value: object) -> str:
    if verb in "svt":
        return f"%{flags}s" % value_text(value)
    if verb == "q":
        return json.dumps(value_text(value), ensure_ascii=False)
    number = isinstance(value, int | float)
    return f"%{flags}{verb}" % value if number else f"%!{verb}({value_text(value)})"


def _cut(length: int, value: object) -> str:
    text = value_text(value)
    return text[:length] if length >= 0 else text[length:]


def _compare(test: Callable[[Any, Any], bool]) -> Callable[[object, object], bool]:
    return lambda a, b: bool(test(a, b))


def _text(change: Callable[[str], str]) -> Callable[[object], str]:
    return lambda value: change(value_text(value))


_VERB = re.compile(r"%([-+# 0]*\d{0,3}(?:\.\d{1,3})?)([svdtqxXfge%])")

FUNCTIONS: dict[str, Callable[..., Any]] = {
    "index": _index,
    "len": len,
    "print": lambda *v: "".join(map(value_text, v)),
    "println": lambda *v: " ".join(map(value_text, v)) + "\n",
    "printf": _printf,
    "html": _text(html_escape),
    "js": lambda v: json.dumps(value_text(v))[1:-1],
    "urlquery": _text(urllib.parse.quote_plus),
    "and": lambda *v: next((x for x in v if not x), v[-1]),
    "or": lambda *v: next((x for x in v if x), v[-1]),
    "not": lambda v: not v,
    "eq": lambda a, *b: any(a == x for x in b),
    "ne": _compare(lambda a, b: a != b),
    "lt": _compare(lambda a, b: a < b),
    "le": _compare(lambda a, b: a <= b),
    "gt": _compare(lambda a, b: a > b),
    "ge": _compare(lambda a, b: a >= b),
    "upper": _text(str.upper),
    "toUpper": _text(str.upper),
    "lower": _text(str.lower),
    "toLower": _text(str.lower),
    "title": _text(str.title),
    "trim": _text(str.strip),
    "trunc": _cut,
    "default": lambda other, value=None: value if value else other,
    "replace": lambda old, new, value: value_text(value).replace(old, new),
    "contains": lambda part, value: part in value_text(value),
    "hasPrefix": lambda part, value: value_text(value).startswith(part),
    "hasSuffix": lambda part, value: value_text(value).endswith(part),
    "join": lambda sep, value: sep.join(map(value_text, value)),
    "split": lambda sep, value: value_text(value).split(sep),
    "quote": lambda v: json.dumps(value_text(v), ensure_ascii=False),
    "toJson": _to_json,
    "json": _to_json,
}
FUNCTIONS_NAMES = frozenset(FUNCTIONS)
