# SPDX-License-Identifier: Apache-2.0
"""Go's text/template, the part that people use with falcosidekick, translated to Jinja's language.

``{{ .Rule }}`` becomes ``{{ rule }}``, ``{{ index .OutputFields "proc.name" | upper }}`` becomes ``{{ go_upper(go_index(fields,
"proc.name")) }}``, ``{{ range $k, $v := .OutputFields }}`` a ``for``, ``{{ with … }}`` and ``{{ if … }}`` likewise. Actions of Jinja stay
as they are, so both can be used. Only names, literals and calls of functions in templates.py are ever written out: what a template says
can't leave the sandbox.
Facts: https://pkg.go.dev/text/template.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from dataclasses import dataclass

#: What falcosidekick's templates see, and our names of it.
PAYLOAD = {"Rule": "rule", "Priority": "priority", "Output": "output", "Time": "time", "Source": "source", "Tags": "tags",
           "Hostname": "hostname", "OutputFields": "fields", "UUID": "id", "Message": "message", "Count": "count"}

_ACTION = re.compile(r"\{\{(-(?=\s))?(.*?)((?<=\s)-)?\}\}", re.DOTALL)
_TOKEN = re.compile(
    r"""\s*(?:(?P<string>"(?:[^"\\\n]|\\.)*"|`[^`]*`) | (?P<number>-?\d+(?:\.\d+)?) | (?P<assign>:?=) | (?P<mark>[|(),])
        | (?P<variable>\$[A-Za-z_0-9]*(?:\.[A-Za-z_][A-Za-z_0-9]*)*) | (?P<field>(?:\.[A-Za-z_][A-Za-z_0-9]*)+|\.)
        | (?P<name>[A-Za-z_][A-Za-z_0-9]*))""",
    re.VERBOSE,
)
_STRINGS = re.compile(r'"(?:[^"\\\n]|\\.)*"|\'(?:[^\'\\\n]|\\.)*\'')
_GO_WORD = re.compile(r"\s*(?:(?:if|else|end|range|with|define|template|block|break|continue)\b|/\*)")
_GO_OPERAND = re.compile(r"`|(?:^|[\s(|,=])(?:\.[A-Za-z_]|\.(?=[\s)|]|$)|\$)")


class TemplateError(ValueError):
    """A template that can't be used; the text says where and why."""


@dataclass
class _Block:
    kind: str           # if, with, range
    ends: str           # what closes it, in Jinja
    dot: str | None     # what a dot means inside; None: as outside
    otherwise: bool = False


def translate(source: str, functions: frozenset[str]) -> str:
    """The template with Go's actions as Jinja's.

    functions: the names that may be called, without their prefix ``go_``. Raises TemplateError for what is not in the subset.
    """
    return _Translator(source, functions).run()


class _Translator:
    def __init__(self, source: str, functions: frozenset[str]) -> None:
        self._source = source
        self._functions = functions
        self._blocks: list[_Block] = []
        self._count = 0
        self._line = 1

    def run(self) -> str:
        out, at = [], 0
        for found in _ACTION.finditer(self._source):
            inner = found[2]
            self._line = self._source.count("\n", 0, found.start()) + 1
            out.append(self._source[at:found.start()])
            out.append(self._action(inner, found[1] or "", found[3] or "") if _is_go(inner) else found[0])
            at = found.end()
        out.append(self._source[at:])
        if self._blocks:
            raise self._error(f"{{{{ {self._blocks[-1].kind} }}}} without its {{{{ end }}}}")
        return "".join(out)

    def _error(self, what: str) -> TemplateError:
        return TemplateError(f"line {self._line}: {what}")

    def _action(self, inner: str, left: str, right: str) -> str:
        text = inner.strip()
        if text.startswith("/*"):
            return f"{{#{left} {right}#}}"
        word, _, rest = text.partition(" ")
        if text == "end":
            if not self._blocks:
                raise self._error("{{ end }} without a beginning")
            return _statements(self._blocks.pop().ends, left, right)
        if word == "else":
            return self._otherwise(rest.strip(), left, right)
        if word in ("if", "with", "range"):
            return self._begin(word, rest, left, right)
        if word in ("define", "template", "block", "break", "continue"):
            raise self._error(f"{{{{ {word} }}}} is not supported")
        pipeline = _Pipeline(text, self)
        names, value = pipeline.declared()
        if names:
            if len(names) > 1:
                raise self._error("two variables are set by range alone")
            return f"{{%{left} set {names[0]} = {value} {right}%}}"
        return f"{{{{{left} {value} {right}}}}}"

    def _otherwise(self, rest: str, left: str, right: str) -> str:
        if not self._blocks or self._blocks[-1].otherwise:
            raise self._error("{{ else }} without an {{ if }}")
        block = self._blocks[-1]
        if rest:
            word, _, condition = rest.partition(" ")
            if word != "if" or block.kind != "if":
                raise self._error(f"{{{{ else {rest} }}}} is not supported")
            return f"{{%{left} elif {_Pipeline(condition, self).value()} {right}%}}"
        block.otherwise, block.dot = True, None
        return f"{{%{left} else {right}%}}"

    def _begin(self, word: str, rest: str, left: str, right: str) -> str:
        names, value = _Pipeline(rest, self).declared()
        self._count += 1
        dot = f"dot_{self._count}"
        if word == "if":
            self._blocks.append(_Block("if", "{% endif %}", None))
            opened = f"{{% set {names[0]} = {value} %}}{{% if {names[0]} %}}" if names else f"{{% if {value} %}}"
        elif word == "with":
            self._blocks.append(_Block("with", "{% endif %}{% endwith %}", dot))
            also = f"{{% set {names[0]} = {dot} %}}" if names else ""
            opened = f"{{% with {dot} = {value} %}}{also}{{% if {dot} %}}"
        else:
            self._blocks.append(_Block("range", "{% endfor %}", dot))
            key, item = ([f"key_{self._count}", *names])[-2:] if names else (f"key_{self._count}", dot)
            also = f"{{% set {dot} = {item} %}}" if names else ""
            opened = f"{{% for {key}, {item} in go_pairs({value}) %}}{also}"
        return _statements(opened, left, right)

    def field(self, text: str) -> str:
        """``.``, ``.Rule`` or ``.a.b`` as an expression."""
        dot = next((block.dot for block in reversed(self._blocks) if block.dot), None)
        first, *more = text[1:].split(".") if text != "." else [""]
        if dot is None:
            if not first:
                return "event"
            if first not in PAYLOAD:
                raise self._error(f".{first}: there are .{', .'.join(PAYLOAD)}")
            return self._chain(PAYLOAD[first], more)
        return self._chain(dot, [first, *more] if first else [])

    def variable(self, text: str) -> str:
        """``$``, ``$.Rule`` or ``$x`` as an expression."""
        name, *more = text[1:].split(".")
        if name:
            return self._chain(f"var_{name}", more)
        if not more:
            return "event"
        if more[0] not in PAYLOAD:
            raise self._error(f"$.{more[0]}: there are .{', .'.join(PAYLOAD)}")
        return self._chain(PAYLOAD[more[0]], more[1:])

    def _chain(self, first: str, more: list[str]) -> str:
        if more and first == "time":
            raise self._error(f".Time.{more[0]} is not supported; {{{{ time }}}} is its text, {{{{ event.time }}}} as in Falco's JSON")
        return first + "".join(f"[{json.dumps(name)}]" for name in more)

    def function(self, name: str) -> str:
        """The name under which the environment knows a function."""
        if name not in self._functions:
            raise self._error(f"no function {name!r}; there are {', '.join(sorted(self._functions))}")
        return f"go_{name}"

    error = _error


class _Pipeline:
    """Recursive descent over ``command | command``; the nesting of parentheses is bounded by the depth allowed."""

    _DEPTH = 50

    def __init__(self, text: str, context: _Translator) -> None:
        self._context = context
        self._tokens: list[tuple[str, str]] = []
        self._at = 0
        at, end = 0, len(text.rstrip())
        while at < end:
            found = _TOKEN.match(text, at)
            if not found or not found.lastgroup:
                raise context.error(f"can't read {text[at:].strip()!r}")
            self._tokens.append((found.lastgroup, found[found.lastgroup]))
            at = found.end()

    def _peek(self) -> tuple[str, str]:
        return self._tokens[self._at] if self._at < len(self._tokens) else ("end", "")

    def declared(self) -> tuple[list[str], str]:
        """Names of variables that are set, and the value."""
        names: list[str] = []
        signs = [text for kind, text in self._tokens if kind == "assign"]
        if signs:
            if signs != [":="]:
                raise self._context.error("variables are set once, with :=")
            while True:
                kind, text = self._peek()
                self._at += 1
                if kind == "variable" and text[1:].isidentifier():
                    names.append(f"var_{text[1:]}")
                elif kind == "assign":
                    break
                elif (kind, text) != ("mark", ","):
                    raise self._context.error("expected $name := value")
        if not 0 <= len(names) <= 2 or (signs and not names):
            raise self._context.error("expected $name := value")
        return names, self.value()

    def value(self) -> str:
        """The whole pipeline as an expression."""
        value = self._piped(0)
        if self._peek()[0] != "end":
            raise self._context.error(f"unexpected {self._peek()[1]!r}")
        return value

    def _piped(self, depth: int) -> str:
        if depth > self._DEPTH:
            raise self._context.error("too many parentheses")
        value = self._command(depth, None)
        while self._peek() == ("mark", "|"):
            self._at += 1
            value = self._command(depth, value)
        return value

    def _command(self, depth: int, piped: str | None) -> str:
        kind, text = self._peek()
        operands: list[str] = []
        call: Callable[[list[str]], str] | None = None
        if kind == "name" and text not in ("true", "false", "nil"):
            self._at += 1
            function = self._context.function(text)
            call = lambda given: f"{function}({', '.join(given)})"      # noqa: E731
        while (operand := self._operand(depth)) is not None:
            operands.append(operand)
        if call:
            return call(operands if piped is None else [*operands, piped])
        if piped is not None:
            raise self._context.error("expected a function behind |")
        if len(operands) != 1:
            raise self._context.error("expected a value" if not operands else "a value can't be called; functions come first")
        return operands[0]

    def _operand(self, depth: int) -> str | None:
        kind, text = self._peek()
        if kind in ("end", "assign") or (kind == "mark" and text != "("):
            return None
        self._at += 1
        if kind == "string":
            return json.dumps(text[1:-1] if text[0] == "`" else self._unquoted(text))
        if kind == "number":
            return text
        if kind == "field":
            return self._context.field(text)
        if kind == "variable":
            return self._context.variable(text)
        if kind == "mark":
            value = self._piped(depth + 1)
            if self._peek() != ("mark", ")"):
                raise self._context.error("expected )")
            self._at += 1
            return f"({value})"
        if text in ("true", "false"):
            return text
        if text == "nil":
            return "none"
        return self._context.function(text) + "()"

    def _unquoted(self, text: str) -> str:
        try:
            return str(json.loads(text))
        except ValueError:
            raise self._context.error(f"can't read the string {text}") from None


def _statements(text: str, left: str, right: str) -> str:
    """Jinja statements with Go's marks, which trim white space, at both ends."""
    if left:
        text = "{%-" + text[2:]
    return text[:-2] + "-%}" if right else text


def _is_go(inner: str) -> bool:
    """Whether an action is Go's: it begins with one of its words, or has an operand that begins with a dot, a dollar or a backquote."""
    return bool(_GO_WORD.match(inner) or _GO_OPERAND.search(_STRINGS.sub('""', inner).strip()))
