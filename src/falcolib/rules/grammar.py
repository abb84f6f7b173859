# SPDX-License-Identifier: Apache-2.0
"""The condition language: text to the tree of what was written (B1 of the engine's specification).

``and``, ``or``, ``not`` and parentheses are walked with a stack of our own, so that the nesting that Falco allows needs no recursion. A
single test is read by one regular expression where it has the common form (a field, an operator, plain values), which is nearly always.
The others (transformers, fields on the right-hand side, modifiers, quoted arguments, and whatever is wrong) are read by pyparsing, whose
messages and positions are what a mistake is reported with.
"""

from __future__ import annotations

import functools
import re
import threading
from bisect import bisect_right
from dataclasses import dataclass, field
from typing import Any

from .._remember import remembering
from ..errors import Location
from ..schema import nearest
from .ast import And, Condition, FieldName, ListLiteral, Literal, MacroName, Not, Operand, Or, Test, TransformCall

#: Falco's limits: nested parentheses of a condition; calls of transformers inside each other.
MAX_DEPTH = 1000
MAX_CALLS = 24

TRANSFORMERS = ("tolower", "toupper", "b64", "basename", "len", "join", "concat", "getopt")
NUMBER_OPS = ("<=", "<", ">=", ">")
STRING_OPS = ("==", "=", "!=", "glob", "iglob", "contains", "icontains", "bcontains", "startswith", "bstartswith", "endswith", "regex")
LIST_OPS = ("intersects", "in", "pmatch")
OPERATORS = ("exists", *NUMBER_OPS, *STRING_OPS, *LIST_OPS)
MODIFIER_WORDS = ("oneof", "anyof", "allof")

BLANK = r"[ \t\b\r\n]*"
SPACE = r" \t\n\v\f\r"
IDENTIFIER = r"[a-zA-Z][a-zA-Z0-9_]*"
FIELD = rf"{IDENTIFIER}(?:\.{IDENTIFIER})+"
ARGUMENT = rf"[^\]\[\"'{SPACE}]+"
NUMBER = r"0[xX][0-9a-fA-F]+|[+-]?[0-9]+\.?[0-9]*(?:[eE][+-][0-9]+)?"
BARE = rf"[^()\"'{SPACE}=,]+"
# A quote ends a text unless a backslash stands before it; `"a\\"` therefore goes on, as in Falco.
QUOTED = r'"[^"]*(?:(?<=\\)"[^"]*)*(?<!\\)"' + "|" + r"'[^']*(?:(?<=\\)'[^']*)*(?<!\\)'"
_ITEM = rf"(?:{QUOTED}|{BARE})"
_WORD_OPS = "|".join(op for op in STRING_OPS if op.isalpha())

_blank = re.compile(BLANK)
_not = re.compile(rf"not[{SPACE}]+")
_identifier = re.compile(IDENTIFIER)
_item = re.compile(_ITEM)
_word = re.compile(r"[a-zA-Z]{1,32}")
_word_before = re.compile(r"([a-zA-Z0-9]{1,32})\Z")
_common = re.compile(
    rf"({FIELD})(?![a-zA-Z0-9_]|\.[a-zA-Z])(?:\[({ARGUMENT})\])?{BLANK}"         # the whole name: "evt.typein (…)" is no test
    rf"(?:(exists)|(<=|<|>=|>){BLANK}({NUMBER})"
    rf"|(==|=|!=|(?:{_WORD_OPS})(?=[ \t\b\r\n])){BLANK}({QUOTED}|{BARE}(?=[\"'{SPACE}=,)]|\Z))"
    rf"|({'|'.join(LIST_OPS)}){BLANK}(\({BLANK}(?:{_ITEM}(?:{BLANK},{BLANK}{_ITEM})*)?{BLANK}\)))"
)
_test_start = re.compile(rf"{FIELD}|(?:{'|'.join(TRANSFORMERS)})\(")
_nesting = re.compile(rf"{QUOTED}|[\"'][\s\S]*|[()]")              # a quote that isn't closed takes the rest

_ESCAPES = {"b": "\b", "f": "\f", "n": "\n", "r": "\r", "t": "\t", "\\": "\\", "/": "/", " ": "\\"}
_escape = re.compile(r"\\(?:x([0-9a-fA-F]{2})|(.?))", re.DOTALL)


class GrammarError(Exception):
    """A condition that can't be read: what is wrong, and where (an index into the text)."""

    def __init__(self, message: str, index: int) -> None:
        super().__init__(message)
        self.message = message
        self.index = index


def unquote(text: str, index: int = 0) -> str:
    """The text of a quoted literal, escapes resolved; bytes from ``\\xHH`` that aren't UTF-8 are kept as surrogate escapes (PEP 383).

    Raises GrammarError for an unknown escape and for NUL.
    """
    quote, body = text[0], text[1:-1]
    if "\\" in body:
        def escape(m: re.Match[str]) -> str:
            if m[1]:
                value = int(m[1], 16)
                return chr(value) if value < 0x80 else chr(0xDC00 + value)
            if m[2] == quote:
                return quote
            if m[2] not in _ESCAPES:
                raise GrammarError(f"invalid escape sequence '\\{m[2]}' in a quoted text", index)
            return _ESCAPES[m[2]]

        body = _escape.sub(escape, body)
        if not body.isascii():
            body = body.encode("utf-8", "surrogateescape").decode("utf-8", "surrogateescape")
    if "\0" in body:
        raise GrammarError("a literal can't hold a NUL byte", index)
    return body


def label(text: str) -> str:
    """How Falco names the text of a condition in positions: its beginning, in one line."""
    short = f'"{text}"' if len(text) <= 20 else f'"{text[:17]}..."'
    return short.replace("\n", " ").replace("\r", " ")


def nearest_word(text: str, error: GrammarError) -> str | None:
    """The operator, transformer or connective that was meant where a text can't be read; None if nothing is like it."""
    m = _word.match(text, error.index)
    word = m[0] if m else ""
    if "a valid check operator" in error.message:
        return nearest(word.lower(), (*(op for op in OPERATORS if op.isalpha()), *MODIFIER_WORDS)) if word else None
    if error.message.startswith("unexpected token after"):
        if word.lower() in ("and", "or"):
            return word.lower()
        before = _word_before.search(text, 0, error.index)
        if text.startswith("(", error.index) and before:
            return nearest(before[1].lower(), (*TRANSFORMERS, "val"))
    return None


class _Places:
    """Index → Location of one text."""

    def __init__(self, text: str) -> None:
        self.name = label(text)
        self.starts = [0, *(m.end() for m in re.finditer(r"[\r\n]", text))]

    def __call__(self, index: int) -> Location:
        line = bisect_right(self.starts, index) - 1
        return Location(self.name, line, index - self.starts[line], index)


def locate(text: str, index: int) -> Location:
    """The place of an index of a condition's text; lines and columns count from 0."""
    return _Places(text)(index)


@dataclass(slots=True)
class _Frame:
    """An open parenthesis: the operands of the ``and`` and ``or`` read so far inside it."""

    start: int
    negated: bool = False
    not_at: int = 0
    joined: str = ""                                # "or" when it was written "or(": what follows can't be joined by "and"
    ands: list[Condition] = field(default_factory=list)
    and_at: int = 0
    ors: list[Condition] = field(default_factory=list)


@remembering(2 << 20)           # trees take some thirty times as much: 60 MiB
def parse(text: str) -> Condition:
    """The tree of a condition in which lists have been substituted.

    Locations are places in ``text``. Raises GrammarError.
    """
    return _Parser(text).run()


class _Parser:
    def __init__(self, text: str) -> None:
        self.text = text
        self.at = _Places(text)
        self.last = ""                              # the last token read, for messages

    def run(self) -> Condition:
        text, size = self.text, len(self.text)
        if not text:
            raise GrammarError("filter input string is empty", 0)
        skip = _blank.match
        frames = [_Frame(0)]
        index = _end(skip(text, 0))
        frames[0].and_at = frames[0].start = index
        node: Condition | None = None
        while True:
            frame = frames[-1]
            if node is None:                        # an operand is expected
                not_at, negated = index, False
                while m := _not.match(text, index):
                    negated = not negated
                    index = m.end()
                if text.startswith("not(", index):
                    negated = not negated
                    index += 3
                if text.startswith("(", index):
                    index = self.open(frames, _Frame(index, negated, not_at), index)
                    continue
                node, index = self.test(index)
                if negated:
                    node = Not(node, self.at(not_at))
            index = _end(skip(text, index))
            if frame.joined:
                frame.ors.append(node)
                frame.joined = ""
            else:
                frame.ands.append(node)
                node = None
                if text.startswith("and", index):
                    self.last = "and"
                    index, embedded = self.after(index + 3, "and")
                    if embedded:
                        index = self.open(frames, _Frame(index), index)
                    continue
                frame.ors.append(frame.ands[0] if len(frame.ands) == 1 else And(tuple(frame.ands), self.at(frame.and_at)))
                frame.ands.clear()
            node = None
            if text.startswith("or", index):
                self.last = "or"
                index, embedded = self.after(index + 2, "or")
                frame.and_at = index
                if embedded:
                    frame.joined = "or"
                    index = self.open(frames, _Frame(index), index)
                continue
            done = frame.ors[0] if len(frame.ors) == 1 else Or(tuple(frame.ors), self.at(frame.start))
            if len(frames) == 1:
                if index != size:
                    raise GrammarError(f"unexpected token after '{self.last}', expecting 'or', 'and'", index)
                return done
            if not text.startswith(")", index):
                raise GrammarError("expected a ')' token", index)
            self.last = ")"
            index += 1
            frames.pop()
            node = Not(done, self.at(frame.not_at)) if frame.negated else done

    def open(self, frames: list[_Frame], frame: _Frame, index: int) -> int:
        """Enters the parenthesis at index."""
        if len(frames) > MAX_DEPTH:
            raise GrammarError(f"exceeded max depth limit of {MAX_DEPTH}", index)
        self.last = "("
        frame.start = frame.and_at = index = _end(_blank.match(self.text, index + 1))
        frames.append(frame)
        return index

    def after(self, index: int, word: str) -> tuple[int, bool]:
        """What may follow ``and`` and ``or``: a blank and an operand, or "(" at once."""
        end = _end(_blank.match(self.text, index))
        if end > index:
            return end, False
        if self.text.startswith("(", index):
            return index, True
        raise GrammarError(f"expected blank or '(' after '{word}'", index)

    def test(self, index: int) -> tuple[Test | MacroName, int]:
        """A test or the name of a macro."""
        text = self.text
        m = _common.match(text, index)
        if m is None or m[7] in MODIFIER_WORDS:
            return self.uncommon(index)
        name, argument, exists, number_op, number, string_op, value, list_op, items = m.groups()
        at = self.at(index)
        left = FieldName(name, argument, at)
        right: Operand | tuple[Literal, ...] | None
        if string_op:
            op = "=" if string_op == "==" else string_op
            here = self.at(m.start(7))
            right = Literal(unquote(value, m.end(7)), True, here) if value[0] in "\"'" else Literal(_plain(value, m.end(7)), False, here)
            self.last = right.text
        elif list_op:
            op, here = list_op, self.at(m.start(9))
            right = tuple(
                Literal(unquote(x, m.end(9)), True, here) if x[0] in "\"'" else Literal(_plain(x, m.end(9)), False, here)
                for x in _item.findall(items, 1, len(items) - 1)
            )
            self.last = ")"
        elif number_op:
            op = number_op
            right = Literal(number, False, self.at(m.start(5)))
            self.last = number
        else:
            op, right = exists, None
            self.last = op
        return Test(left, op, None, right, at), m.end()

    def uncommon(self, index: int) -> tuple[Test | MacroName, int]:
        """The other forms of a test, by pyparsing; and names of macros."""
        text = self.text
        m = _identifier.match(text, index)
        if m and not _test_start.match(text, index):
            self.last = m[0]
            return MacroName(m[0], self.at(index)), m.end()
        _bound_calls(text, index)
        test, end = _grammar().test(text, index, self.at)
        self.last = text[end - 1:end] if text[end - 1:end] == ")" else (_identifier.findall(text[index:end]) or [""])[-1]
        return test, end


def parse_operand(text: str, index: int) -> tuple[FieldName | TransformCall, int]:
    """The field or transformer at index of a text, and where it ends. Raises GrammarError."""
    _bound_calls(text, index)
    return _grammar().operand(text, index, _Places(text))


def _bound_calls(text: str, index: int) -> None:
    """Refuses transformers nested deeper than pyparsing's recursion should go."""
    depth = groups = 0
    for m in _nesting.finditer(text, index):
        if m[0] == "(":
            depth += 1
            if depth > MAX_CALLS:
                raise GrammarError(f"exceeded max depth limit of {MAX_CALLS} transformers", m.start())
        elif m[0] == ")":
            depth -= 1
            groups += depth == 0
            if depth < 0 or groups == 2:            # the end of what the test is in, or of its other side
                break


def call_end(text: str, index: int) -> int | None:
    """Where the call of a transformer that begins at index ends, what stands in brackets behind it left out; None if it isn't closed."""
    depth = 0
    for m in _nesting.finditer(text, index):
        depth += (m[0] == "(") - (m[0] == ")")
        if depth == 0 and m[0] == ")":
            return m.end()
    return None


def _end(m: re.Match[str] | None) -> int:
    assert m is not None                            # the pattern matches the empty text
    return m.end()


def _plain(text: str, index: int) -> str:
    if "\0" in text:
        raise GrammarError("a literal can't hold a NUL byte", index)
    return text


class _Grammar:
    """The whole of a test in pyparsing. Made when first needed: importing pyparsing takes longer than loading Falco's rules."""

    def __init__(self) -> None:
        import pyparsing as pp

        self.error = pp.ParseBaseException
        self.lock = threading.Lock()                # parse actions write to what follows
        self.places: _Places | None = None
        self.result: list[Any] = []
        blank = pp.Regex(BLANK).suppress()
        quoted = pp.Regex(QUOTED).set_parse_action(lambda s, i, t: Literal(unquote(t[0], i + len(t[0])), True, self.at(i)))
        bare = pp.Regex(BARE).set_parse_action(lambda s, i, t: Literal(_plain(t[0], i + len(t[0])), False, self.at(i)))
        number = pp.Regex(NUMBER).set_parse_action(lambda s, i, t: Literal(t[0], False, self.at(i)))
        close = pp.Literal(")").suppress().set_name("a ')' token")
        comma = pp.Literal(",").suppress()
        open_ = pp.Literal("(").suppress()
        identifier = pp.Regex(IDENTIFIER).set_parse_action(lambda s, i, t: Literal(t[0], False, self.at(i)))

        argument_text = (quoted.copy() | pp.Regex(ARGUMENT)).set_name("a valid field argument: a quoted string or a bare string")
        argument = pp.Literal("[").suppress() - argument_text - pp.Literal("]").suppress().set_name("a ']' token")
        argument.set_parse_action(lambda t: t[0].text if isinstance(t[0], Literal) else t[0])

        def field_named(name: str) -> Any:
            made = pp.Regex(FIELD).set_name(name) + pp.Opt(argument)
            return made.set_parse_action(lambda s, i, t: FieldName(t[0], t[1] if len(t) > 1 else None, self.at(i)))

        field_ = field_named("a field")

        call = pp.Forward()
        list_item = (quoted | call | field_ | number).set_name("a field, a transformer, a quoted string or a number")
        list_ = (open_ + blank + pp.Opt(list_item + (blank + comma - blank - list_item)[...]) + blank - close)
        list_.set_parse_action(lambda s, i, t: ListLiteral(tuple(t), self.at(i)))
        names = ", ".join(f"'{x}'" for x in ("val", *TRANSFORMERS))
        call_item = (quoted | list_ | call | field_ | number).set_name(f"a field or a nested valid transformer: {names}")
        whole_call = (pp.Regex(rf"(?:{'|'.join(TRANSFORMERS)})\(") - blank - call_item + (blank + comma - blank - call_item)[...] - blank
                      - pp.Literal(")").set_name("a ')' token closing the transformer") + pp.Opt(argument))
        call <<= whole_call.leave_whitespace()      # a Forward doesn't pass that on
        call.set_parse_action(self.call)
        value_of = (pp.Regex(r"val\(") - blank - field_named("a field within 'val' transformer") - blank
                    - pp.Literal(")").set_name("a ')' token closing the transformer"))
        value_of.set_parse_action(self.call)
        other = value_of | call

        text_ = (quoted | bare).set_name("a string value")
        texts = open_ + blank + pp.Opt(text_ + (blank + comma - blank - text_)[...]) + blank - close
        texts.set_parse_action(lambda s, i, t: [tuple(Literal(x.text, x.quoted, self.at(i)) for x in t)])
        word = pp.Regex(rf"(?:{_WORD_OPS})(?=[ \t\b\r\n])")
        modifier = pp.Regex(rf"(?:{'|'.join(MODIFIER_WORDS)})(?=[ \t\b\r\n])(?={BLANK}(?:\(|(?!(?:and|or|not)\b){IDENTIFIER}))")
        exists = pp.Literal("exists")
        compare = pp.one_of(NUMBER_OPS) - blank - (other | number).set_name(f"a number value or a field with a valid transformer: {names}")
        expected = f"a string value or a field with a valid transformer: {names}"
        match = (pp.Regex("==|=|!=") | word) - blank - (
            modifier + blank - (texts | identifier).set_name("a list or an identifier") | other | quoted | bare).set_name(expected)
        listed = pp.one_of(LIST_OPS) - blank - (texts | other | identifier).set_name(
            f"a list, an identifier, or a field with a valid transformer: {names}")
        operators = ", ".join(f"'{x}'" for x in OPERATORS)
        left = (field_ | call).set_name("a '(' token, a field check, or an identifier")
        test = left - blank - (exists | compare | match | listed).set_name(f"a valid check operator: one of {operators}")
        test.set_parse_action(self.make)
        self.grammar = test.leave_whitespace().streamline()
        self.left = left.copy().leave_whitespace().streamline().set_parse_action(lambda t: self.result.append(t[0]))

    def at(self, index: int) -> Location:
        assert self.places is not None
        return self.places(index)

    def call(self, text: str, index: int, tokens: Any) -> TransformCall:
        """``name(inputs)`` and ``name(inputs)[argument]``."""
        words = list(tokens)
        close = max(i for i, x in enumerate(words) if x == ")")
        return TransformCall(words[0][:-1], tuple(words[1:close]), words[close + 1] if len(words) > close + 1 else None, self.at(index))

    def make(self, text: str, index: int, tokens: Any) -> Test:
        left, op, *rest = tokens
        modifier = rest.pop(0) if len(rest) == 2 else None
        right = rest[0] if rest else None
        if (modifier or op in LIST_OPS) and isinstance(right, Literal):
            right = (right,)
        test = Test(left, "=" if op == "==" else op, modifier, right, self.at(index))
        self.result.append(test)
        return test

    def operand(self, text: str, index: int, places: _Places) -> tuple[FieldName | TransformCall, int]:
        """The field or transformer at index, and where it ends."""
        with self.lock:
            self.places, self.result = places, []
            try:
                end = self.left.try_parse(text, index, raise_fatal=True, do_actions=True)
            except self.error as e:
                raise GrammarError(e.msg[:1].lower() + e.msg[1:], e.loc) from None
            return self.result[-1], end

    def test(self, text: str, index: int, places: _Places) -> tuple[Test, int]:
        """The test at index, and where it ends."""
        with self.lock:
            self.places, self.result = places, []
            try:
                end = self.grammar.try_parse(text, index, raise_fatal=True, do_actions=True)
            except self.error as e:
                raise GrammarError(e.msg[:1].lower() + e.msg[1:], e.loc) from None
            return self.result[-1], end


@functools.cache
def _grammar() -> _Grammar:
    return _Grammar()
