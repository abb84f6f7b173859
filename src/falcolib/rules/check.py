# SPDX-License-Identifier: Apache-2.0
"""What a condition means: fields looked up, literals read as their field's type, mistakes found, event types told (B2, B4-B7).

One table holds which operators a type knows, one which inputs a transformer takes.
"""

from __future__ import annotations

import re
import socket
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import cache
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network
from typing import TypeAlias, TypeVar

from .. import schema
from .._remember import remembering
from ..errors import Location, RuleError
from ..schema import FieldError, nearest_event, nearest_field, require_field
from .ast import (
    And,
    Check,
    Checked,
    CheckedAnd,
    CheckedNot,
    CheckedOr,
    Condition,
    FieldName,
    FieldSlot,
    ListLiteral,
    Literal,
    MacroName,
    Not,
    Operand,
    Or,
    Slot,
    Test,
    TransformCall,
    TransformSlot,
    Value,
)
from .grammar import TRANSFORMERS, GrammarError, parse

T = TypeVar("T")

#: Bytes that Falco keeps for a literal.
LITERAL_LIMIT = 256

_STRINGS = frozenset({"CHARBUF", "FSPATH", "FSRELPATH"})
_BYTES = frozenset({"BYTEBUF"})
_ADDRESSES = frozenset({"IPADDR", "IPV4ADDR", "IPV6ADDR"})
_NETS = frozenset({"IPNET", "IPV4NET", "IPV6NET"})
#: Integers that tests don't know (B2).
_NOT_COMPARED = frozenset({"UID", "GID", "SIGSET"})
_LIST_ELEMENTS = _STRINGS | _ADDRESSES | _NETS | {"UINT64", "RELTIME", "ABSTIME", "BOOL"}

_hex = re.compile(r"[0-9a-fA-F]*")

_EQUAL = frozenset({"exists", "=", "!="})
_ORDER = frozenset({"<", "<=", ">", ">="})
_SETS = frozenset({"in", "intersects"})
_TEXT = frozenset({"contains", "startswith", "endswith"})
_PATTERN = frozenset({"icontains", "glob", "iglob", "regex", "pmatch"})
#: Family of types → the operators it knows (B2).
OPERATORS = {
    "numeric": _EQUAL | _ORDER | _SETS,
    "bool": _EQUAL | _SETS,
    "string": _EQUAL | _ORDER | _SETS | _TEXT | _PATTERN,
    "buffer": _EQUAL | _SETS | _TEXT | {"bcontains", "bstartswith"},
    "ip address and network": _EQUAL | _SETS,
}
#: … and those of the lists of them, with and without a modifier.
_LIST_OPERATORS = frozenset({"exists"}) | _SETS
_LIST_MODIFIED = frozenset({"=", "!="}) | _SETS

class CheckError(Exception):
    """What makes no sense, the nearest valid name, and why a field that there is can't be used. ``operand`` and ``literal``: which one of
    a test."""

    def __init__(self, message: str, hint: str | None = None, reason: str | None = None) -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint
        self.reason = reason
        self.operand: FieldName | TransformCall | None = None
        self.literal: str | None = None


class ConditionError(CheckError):
    """A CheckError, and the test that it is about."""

    def __init__(self, error: CheckError, test: Test) -> None:
        super().__init__(error.message, error.hint)
        self.operand = error.operand
        self.literal = error.literal
        self.test = test


def _is_integer(type_: str) -> bool:
    return type_ not in _NOT_COMPARED and type_ != "PORT" and schema.TYPES[type_].kind in ("i64", "u64")


@cache
def _family(type_: str) -> str | None:
    if type_ in _STRINGS:
        return "string"
    if _is_integer(type_) or type_ in ("PORT", "DOUBLE"):
        return "numeric"
    if type_ == "BOOL":
        return "bool"
    if type_ in _BYTES:
        return "buffer"
    return "ip address and network" if type_ in _ADDRESSES | _NETS else None


# ---- fields --------------------------------------------------------------------------------------------------------


def field_text(name: str, argument: str | None) -> str:
    """A field as the schema finds it; an empty argument is none, but of a field that has it for one."""
    return f"{name}[{argument}]" if argument or (argument is not None and schema.takes_empty(name)) else name


@remembering(1 << 20)
def field_slot(text: str, source: str = "syscall") -> FieldSlot:
    """The slot of a field of a source's events. Raises CheckError for an unknown field or a wrong argument."""
    try:
        info, argument = require_field(text)
    except FieldError as e:
        if e.unknown:
            raise CheckError(f"filter_check called with nonexistent field {text}", nearest_field(text)) from None
        raise CheckError(str(e), reason=str(e)) from None
    if info.field_class not in schema.classes_of(source):
        reason = f"events of the source {source} don't have it, those of {schema.source_with(info)} do"
        raise CheckError(f"filter_check called with nonexistent field {text}: {reason}", reason=reason)
    return FieldSlot(info, argument)


@cache
def _first_words() -> frozenset[str]:
    return frozenset(info.name.partition(".")[0] for info in schema.FIELDS)


def field_exists(text: str, source: str | None = None) -> bool:
    """Whether a text names a field, of a source's events if one is given. Most that don't aren't even like one, and are told apart without
    looking for the nearest name."""
    found = schema.find_field(text) if text.partition(".")[0] in _first_words() else None
    return found is not None and (source is None or found[0].field_class in schema.classes_of(source))


@dataclass(frozen=True, slots=True)
class _Typed:
    """A slot, and the schema type of its values."""

    slot: Slot
    type: str
    is_list: bool
    name: str


def _field(operand: FieldName, source: str) -> _Typed:
    slot = field_slot(field_text(operand.name, operand.argument), source)
    if "PRINT_ONLY" in slot.info.flags:
        raise CheckError(f"field '{slot.info.name}' can only be used in outputs")
    return _Typed(slot, slot.info.type, slot.is_list, slot.info.name)


def _operand(operand: Operand, source: str) -> _Typed:
    """The slot of a field or a transformer on either side of a test."""
    while isinstance(operand, TransformCall) and operand.name == "val":
        operand = operand.inputs[0]
    if isinstance(operand, FieldName):
        return _located(operand, lambda: _field(operand, source))
    assert isinstance(operand, TransformCall)
    inputs = [_input(x, source) for x in operand.inputs]
    return _located(operand, lambda: _TRANSFORMERS[operand.name](operand, inputs))


def operand_slot(operand: FieldName | TransformCall, source: str = "syscall") -> Slot:
    """The slot of a field or a transformer outside a condition. Raises CheckError."""
    return _operand(operand, source).slot


def _located(operand: FieldName | TransformCall, make: Callable[[], _Typed]) -> _Typed:
    try:
        return make()
    except CheckError as e:
        e.operand = e.operand or operand
        raise


_Input = _Typed | str | tuple["_Typed | str", ...]


def _input(operand: Operand, source: str) -> _Input:
    if isinstance(operand, Literal):
        return operand.text
    if isinstance(operand, ListLiteral):
        return tuple(x.text if isinstance(x, Literal) else _transformable(_operand(x, source)) for x in operand.items)
    return _transformable(_operand(operand, source))


def _transformable(typed: _Typed) -> _Typed:
    if isinstance(typed.slot, FieldSlot) and "NO_TRANSFORMER" in typed.slot.info.flags:
        raise CheckError(f"field '{typed.slot.info.name}' does not support transformers")
    return typed


# ---- transformers --------------------------------------------------------------------------------------------------


def _plain(x: _Input) -> Slot | Value | tuple[Slot | Value, ...]:
    return x if isinstance(x, str) else tuple(y if isinstance(y, str) else y.slot for y in x) if isinstance(x, tuple) else x.slot


def _refuse(call: TransformCall, x: _Input) -> CheckError:
    if isinstance(x, _Typed):
        kind = f"list of '{x.type}'" if x.is_list else f"type '{x.type}'"
        return CheckError(f"can't add field transformer: {kind} is not supported by '{call.name}' transformer applied on field '{x.name}'")
    return CheckError(f"transformer '{call.name}' can't be applied to a {'list' if isinstance(x, tuple) else 'text'} here")


def _arity(call: TransformCall, inputs: list[_Input], least: int, most: int | None) -> None:
    if len(inputs) < least or (most is not None and len(inputs) > most):
        wanted = f"{least}" if least == most else f"at least {least}"
        raise CheckError(f"transformer '{call.name}' takes {wanted} argument{'s' if least > 1 else ''}, not {len(inputs)}")
    if call.argument is not None and call.name != "getopt":
        raise CheckError(f"transformer '{call.name}' takes no argument in brackets")


def _result(call: TransformCall, inputs: list[_Input], type_: str, kind: str, is_list: bool) -> _Typed:
    first = next((x.slot for x in inputs if isinstance(x, _Typed)), None)
    slot = TransformSlot(
        call.name, tuple(_plain(x) for x in inputs), call.argument, kind, is_list,
        is_any=first is not None and first.is_any and not is_list, is_either=False)
    return _Typed(slot, type_, is_list, next((x.name for x in inputs if isinstance(x, _Typed)), call.name))


def _same(types: frozenset[str]) -> Callable[[TransformCall, list[_Input]], _Typed]:
    """A transformer of one value into one of the same type."""

    def make(call: TransformCall, inputs: list[_Input]) -> _Typed:
        _arity(call, inputs, 1, 1)
        x = inputs[0]
        if isinstance(x, str) and "CHARBUF" in types:
            return _result(call, inputs, "CHARBUF", "str", False)
        if not isinstance(x, _Typed) or x.type not in types:
            raise _refuse(call, x)
        return _result(call, inputs, x.type, x.slot.kind, x.is_list)

    return make


def _len(call: TransformCall, inputs: list[_Input]) -> _Typed:
    _arity(call, inputs, 1, 1)
    x = inputs[0]
    if isinstance(x, _Typed) and not x.is_list and x.type not in _STRINGS | _BYTES:
        raise _refuse(call, x)
    return _result(call, inputs, "UINT64", "u64", False)


def _is_text(x: _Input) -> bool:
    return isinstance(x, str) or (isinstance(x, _Typed) and x.type in _STRINGS and not x.is_list)


def _is_texts(x: _Input) -> bool:
    return all(_is_text(y) for y in x) if isinstance(x, tuple) else isinstance(x, _Typed) and x.type in _STRINGS and x.is_list


def _join(call: TransformCall, inputs: list[_Input]) -> _Typed:
    _arity(call, inputs, 2, 2)
    for x, fits in zip(inputs, (_is_text, _is_texts), strict=True):
        if not fits(x):
            raise _refuse(call, x)
    return _result(call, inputs, "CHARBUF", "str", False)


def _concat(call: TransformCall, inputs: list[_Input]) -> _Typed:
    _arity(call, inputs, 2, None)
    for x in inputs:
        if not _is_text(x):
            raise _refuse(call, x)
    return _result(call, inputs, "CHARBUF", "str", False)


def _getopt(call: TransformCall, inputs: list[_Input]) -> _Typed:
    _arity(call, inputs, 2, 2)
    for x, fits in zip(inputs, (_is_texts, _is_text), strict=True):
        if not fits(x):
            raise _refuse(call, x)
    return _result(call, inputs, "CHARBUF", "str", call.argument is None)


_TRANSFORMERS: dict[str, Callable[[TransformCall, list[_Input]], _Typed]] = {
    "tolower": _same(_STRINGS), "toupper": _same(_STRINGS), "basename": _same(_STRINGS), "b64": _same(_STRINGS | _BYTES),
    "len": _len, "join": _join, "concat": _concat, "getopt": _getopt,
}


# ---- literals ------------------------------------------------------------------------------------------------------


def _bounded(text: str, used: int) -> None:
    if used > LITERAL_LIMIT:
        raise CheckError(f"filter parameter too long (used={used}, available={LITERAL_LIMIT}):{text[:LITERAL_LIMIT]}")


def _integer(text: str, type_: str) -> int:
    """As C reads it: decimal, cut to the width of the type."""
    body = text.lstrip(" \t\n\v\f\r")
    digits = body[1:] if body[:1] in ("+", "-") else body
    if not digits.isascii() or not digits.isdigit() or len(digits) > 4300:
        raise CheckError(f"error parsing number '{text}'")
    bits, signed = 8 * schema.TYPES[type_].bytes, schema.TYPES[type_].kind == "i64"
    value = int(body)
    value = max(min(value, (1 << 63) - 1), -(1 << 63)) if signed else value if abs(value) < 1 << 64 else (1 << 64) - 1
    value &= (1 << bits) - 1
    return value - (1 << bits) if signed and value >> (bits - 1) else value


def _port(text: str) -> int:
    if not text:
        return 0
    if text.isascii() and text.isdigit():
        if len(text) < 20 and int(text) < 1 << 31:
            return int(text) & 0xFFFF
    else:
        try:
            return socket.getservbyname(text)
        except (OSError, UnicodeError, ValueError):
            pass
    raise CheckError(f"'{text}' is neither a port nor the name of a service")


def _packed(family: int, text: str) -> bytes | None:
    try:
        return socket.inet_pton(family, text)
    except (OSError, UnicodeError, ValueError):
        return None


def _address(text: str) -> IPv4Address | IPv6Address:
    if "." in text:
        packed = _packed(socket.AF_INET, text)
        if packed is None:
            raise CheckError(f"unrecognized IPv4 address {text}")
        return IPv4Address(packed)
    packed = _packed(socket.AF_INET6, text)
    if packed is None:
        raise CheckError(f"unrecognized IPv6 address {text}")
    return IPv6Address(packed)


def _net(text: str) -> IPv4Network | IPv6Network:
    address, slash, length = text.partition("/")
    version = 4 if "." in address else 6
    least, most = (0, 32) if version == 4 else (1, 128)
    if not slash or not length.isascii() or not length.isdigit() or len(length) > 3 or not least <= int(length) <= most:
        raise CheckError(f"invalid v{version} netmask: {text}")
    return (IPv4Network if version == 4 else IPv6Network)((_address(address).packed, int(length)), strict=False)


def _literal(text: str, type_: str, op: str) -> Value:
    """A literal as a value of its field's type."""
    if type_ in _STRINGS:
        _bounded(text, len(text.encode("utf-8", "surrogateescape")) + 1)
        return text
    if type_ in _BYTES:
        data = text.encode("utf-8", "surrogateescape")
        if op in ("bcontains", "bstartswith"):
            if len(text) % 2 or not _hex.fullmatch(text):
                raise CheckError("filter error: bcontains and bstartswith operator support hex strings only")
            data = bytes.fromhex(text)
        _bounded(text, len(data) + 1)
        return data
    if _is_integer(type_):
        return _integer(text, type_)
    if type_ == "PORT":
        return _port(text)
    if type_ == "DOUBLE":
        return float(_integer(text, "INT64"))
    if type_ == "BOOL":
        if text not in ("true", "false"):
            raise CheckError(f"filter error: unrecognized boolean value {text}")
        return text == "true"
    return _net(text) if type_ in _NETS else _address(text)


# ---- tests ---------------------------------------------------------------------------------------------------------


def _check_operator(left: _Typed, op: str, modifier: str | None, right: object) -> None:
    if left.is_list:
        known = _LIST_MODIFIED if modifier else _LIST_OPERATORS
        what = "list"
        known_here = left.type in _LIST_ELEMENTS and op in known
    else:
        family = _family(left.type)
        what = family or f"'{left.type}'"
        known_here = op == "exists" if family is None else op in OPERATORS[family]
    if not known_here:
        cure = ""
        if left.is_list:
            text = right.text.strip('"') if isinstance(right, Literal) else "..."
            cure = f"; write '{left.slot} intersects (\"{text}\")' for any of its values, or 'in' for all of them"
        raise CheckError(f"filter error: '{op}'{' with modifier' if modifier else ' operator'} not supported for {what} filters{cure}")


def _check_other(left: _Typed, right: _Typed, op: str) -> None:
    """Whether two fields can be compared."""
    if op in ("pmatch", "regex"):
        raise CheckError(f"operator '{op}' doesn't support right-hand side fields")
    if left.type in _NETS:
        raise CheckError(f"field type '{left.type}' doesn't support right-hand side fields")
    if isinstance(left.slot, FieldSlot) and "NO_RHS" in left.slot.info.flags:
        raise CheckError(f"field '{left.name}' doesn't support right-hand side fields")
    if isinstance(right.slot, FieldSlot) and "NO_RHS" in right.slot.info.flags:
        raise CheckError(f"field '{right.name}' can't be used as a right-hand side field")
    if left.type != right.type:
        raise CheckError(f"field '{left.name}' has type '{left.type}' while the right-hand side field '{right.name}' has incompatible type "
                         f"'{right.type}'")
    if left.is_list != right.is_list:
        raise CheckError(f"field '{left.name}' and the right-hand side field '{right.name}' can't be compared: only one of them is a list")


@dataclass(frozen=True, slots=True)
class Meaning:
    """What a test tests, and against what."""

    slot: Slot
    values: tuple[Value, ...]
    other: Slot | None


def _meaning(test: Test, source: str) -> Meaning:
    left = _operand(test.left, source)
    op, right = test.op, test.right
    slot = left.slot
    is_type = _mentions_type(slot)
    if is_type and isinstance(slot, TransformSlot):
        raise CheckError("evt.type can't be transformed in a condition")
    _check_operator(left, op, test.modifier, test.right)
    if right is None:
        return Meaning(slot, (), None)
    if isinstance(right, FieldName | TransformCall):
        other = _operand(right, source)
        if is_type:
            raise CheckError("evt.type can't be compared with a field")
        _check_other(left, other, op)
        return Meaning(slot, (), other.slot)
    literals = right if isinstance(right, tuple) else (right,)
    values: list[Value] = []
    for literal in literals:
        assert isinstance(literal, Literal)
        try:
            if is_type and literal.text not in schema.EVENT_IDS:
                raise CheckError(f"unknown event type {literal.text}", nearest_event(literal.text))
            values.append(_literal(literal.text, left.type, op))
            if op == "regex":
                _check_pattern(literal.text)
        except CheckError as e:
            e.literal = literal.text
            raise
    return Meaning(slot, tuple(values), None)


def _mentions_type(slot: Slot) -> bool:
    if isinstance(slot, FieldSlot):
        return slot.info.name == "evt.type"
    return any(isinstance(x, FieldSlot) and x.info.name == "evt.type" for x in slot.inputs)


def _check_pattern(text: str) -> None:
    from ..regex import compile_pattern  # RE2 is loaded by those who use regular expressions

    try:
        compile_pattern(text)
    except RuleError as e:
        raise CheckError(f"filter error: {e}") from None


_NONE: Mapping[str, str] = {}
#: What is known of tests: the operands (kept alive, since the keys are their ids), and what they mean.
Memo = dict[tuple[int, int, str, "str | None", str], tuple[Test, Meaning]]


def check_condition(tree: Condition, memo: Memo | None = None, source: str = "syscall", static: Mapping[str, str] = _NONE) -> Checked:
    """The meaning of a condition without macros, on events of a source. Raises ConditionError. ``memo``: what is known of the same tests in
    other conditions. ``static``: fields that have one value, by full name."""
    known: Memo = {} if memo is None else memo

    def decided(test: Test) -> Check:
        from .static import as_text, decided

        try:
            return decided(test, _meaning(as_text(test), source), static)
        except CheckError as e:
            raise ConditionError(e, test) from None

    def leaf(test: Test | MacroName) -> Check:
        assert isinstance(test, Test)
        if static and isinstance(test.left, FieldName) and test.left.name in static:
            return decided(test)
        key = (id(test.left), id(test.right), test.op, test.modifier, source)
        if key not in known:
            try:
                known[key] = test, _meaning(test, source)
            except CheckError as e:
                raise ConditionError(e, test) from None
        meaning = known[key][1]
        if isinstance(meaning.slot, FieldSlot) and meaning.slot.info.name == "evt.around":
            # The field is the distance to the time in its argument, in ms: "= D" is within D.
            if test.op not in ("=", "=="):
                raise ConditionError(CheckError("evt.around can only be compared with '='"), test)
            return Check(meaning.slot, "<=", test.modifier, meaning.values, meaning.other, test.at, test.via)
        if meaning.slot.is_any and meaning.slot.kind == "i64" and test.op in ("in", "intersects"):
            # Falco looks ancestors' pids up in the set as texts of no length: they are never in it.
            return Check(meaning.slot, test.op, test.modifier, (), None, test.at, test.via)
        if meaning.slot.is_any and test.modifier and meaning.values:
            # Falco compares ancestors with the first value only, whatever the modifier.
            return Check(meaning.slot, test.op, None, meaning.values[:1], None, test.at, test.via)
        return Check(meaning.slot, test.op, test.modifier, meaning.values, meaning.other, test.at, test.via)

    if isinstance(tree, Test | MacroName):
        return leaf(tree)
    stack: list[tuple[Condition, list[Checked]]] = [(tree, [])]
    while True:
        node, done = stack[-1]
        children: tuple[Condition, ...] = (node.child,) if isinstance(node, Not) else node.children if isinstance(node, And | Or) else ()
        if len(done) < len(children):
            child = children[len(done)]
            if isinstance(child, Test):
                done.append(leaf(child))
            else:
                stack.append((child, []))
            continue
        stack.pop()
        built: Checked = CheckedNot(done[0]) if isinstance(node, Not) else (CheckedAnd if isinstance(node, And) else CheckedOr)(tuple(done))
        if not stack:
            return built
        stack[-1][1].append(built)


def can_be_tested(text: str, source: str) -> bool:
    """Whether a text can stand on the left-hand side of a test: a field of a source's events, or a transformer of such fields."""
    if "(" not in text:
        return field_exists(text, source)
    try:
        test = parse(f"{text} exists")
        return isinstance(test, Test) and bool(check_condition(test, source=source))
    except (GrammarError, CheckError):
        return False


def checks_of(tree: Checked) -> Iterator[Check]:
    """The checks of a condition, from left to right."""
    stack = [tree]
    while stack:
        node = stack.pop()
        if isinstance(node, Check):
            yield node
        elif isinstance(node, CheckedNot):
            stack.append(node.child)
        else:
            stack.extend(reversed(node.children))


# ---- event types (B7) ----------------------------------------------------------------------------------------------


@cache
def _all_events() -> frozenset[int]:
    return frozenset(range(len(schema.EVENTS)))


#: Tests of evt.num, which counts from 1, that never and that always hold.
_NEVER = frozenset({("=", 0), ("in", 0), ("<", 0), ("<", 1), ("<=", 0)})
_ALWAYS = frozenset({("!=", 0), (">", 0), (">=", 0), (">=", 1)})


#: The event types of a name.
_Named: TypeAlias = Callable[[str], frozenset[T]]


def _events_of(check: Check, everything: frozenset[T], named: _Named[T], unsure: frozenset[T]) -> tuple[frozenset[T], frozenset[T]]:
    """The event types on which a test, and its negation, can be true. unsure: those whose events may have a name or not."""
    slot = check.slot
    if isinstance(slot, FieldSlot) and check.other is None and check.modifier is None and (check.values or check.op == "in"):
        if slot.info.name in ("evt.type", "syscall.type") and check.op in ("=", "!=", "in"):
            those: frozenset[T] = frozenset().union(*(named(str(v)) for v in check.values))
            others = everything - (those - unsure)
            return (others, those) if check.op == "!=" else (those, others)
        if slot.info.name == "evt.num":
            if all((check.op, v) in _NEVER for v in check.values):
                return frozenset(), everything
            if all((check.op, v) in _ALWAYS for v in check.values):
                return everything, frozenset()
    return everything, everything


def event_types(tree: Checked, source: str = "syscall") -> frozenset[int]:
    """The ids of the event types that a condition can match: ``and`` cuts, ``or`` unites, ``not`` goes down to the tests. Documents have
    one type a source."""
    found = _matching(tree, _all_events(), lambda name: schema.EVENT_IDS.get(name, frozenset()), schema.EVENT_IDS["asyncevent"])
    return found if source == "syscall" else frozenset({schema.DOCUMENTS[source].type} if found else ())


def events_of_parts(tree: Checked) -> dict[int, tuple[frozenset[int], frozenset[int]]]:
    """The event types that a condition and each of its parts, by its id(), can match, and those that its negation can."""
    found: dict[int, tuple[frozenset[int], frozenset[int]]] = {}
    stack: list[tuple[Checked, bool]] = [(tree, False)]
    while stack:
        node, ready = stack.pop()
        if isinstance(node, Check):
            found[id(node)] = _events_of(node, _all_events(), lambda name: schema.EVENT_IDS.get(name, frozenset()),
                                         schema.EVENT_IDS["asyncevent"])
        elif not ready:
            stack.append((node, True))
            stack += [(child, False) for child in ((node.child,) if isinstance(node, CheckedNot) else node.children)]
        elif isinstance(node, CheckedNot):
            found[id(node)] = found[id(node.child)][::-1]
        else:
            those, others = zip(*(found[id(child)] for child in node.children), strict=True)
            cut, united = frozenset.intersection, frozenset().union
            is_and = isinstance(node, CheckedAnd)
            found[id(node)] = (cut(*those), united(*others)) if is_and else (united(*those), cut(*others))
    return found


def event_names(tree: Checked) -> frozenset[str]:
    """The names of the events that a condition can match; of system calls without an event of their own, too."""
    return _matching(tree, frozenset(schema.EVENT_IDS), lambda name: frozenset({name}))


def _matching(tree: Checked, everything: frozenset[T], named: _Named[T], unsure: frozenset[T] = frozenset()) -> frozenset[T]:
    stack: list[tuple[Checked, bool, list[frozenset[T]]]] = [(tree, False, [])]
    while True:
        node, negated, done = stack[-1]
        if isinstance(node, CheckedNot):
            stack[-1] = (node.child, not negated, [])
            continue
        if isinstance(node, Check):
            result = _events_of(node, everything, named, unsure)[negated]
        elif len(done) < len(node.children):
            stack.append((node.children[len(done)], negated, []))
            continue
        elif isinstance(node, CheckedAnd) != negated:
            result = frozenset.intersection(*done)
        else:
            result = frozenset().union(*done)
        stack.pop()
        if not stack:
            return result
        stack[-1][2].append(result)


# ---- advice --------------------------------------------------------------------------------------------------------

_SPECIAL = frozenset(".+*?^$()[]{}|\\")


def _is_simple_pattern(text: str) -> bool:
    """Whether an expression says no more than contains, startswith, endswith or = could: its only special characters are anchors and
    ``.*``, ``.+`` or ``.?`` at the ends."""
    size, i = len(text), 0
    while i < size:
        c = text[i]
        if (i == 0 and c == "^") or (i == size - 1 and c == "$"):
            i += 1
        elif ((i == 0 and size > 1) or i == size - 2) and c == "." and text[i + 1] in "+*?":
            i += 2
        elif c in _SPECIAL:
            return False
        else:
            i += 1
    return True


@remembering(1 << 20)
def _is_misused(text: str, source: str) -> str | None:
    """What a literal without its blanks looks like, to a rule on a source's events."""
    bare = "".join(text.split())
    if "." in bare and field_exists(bare, source):
        return "field"
    name, paren, _ = bare.partition("(")
    return "field transformer" if paren and bare.endswith(")") and name in ("val", *TRANSFORMERS) else None


def advice(test: Test, source: str) -> Iterator[tuple[str, Location]]:
    """What is probably not meant by the literals of a test of a source's events, and where in the condition they stand."""
    literals = test.right if isinstance(test.right, tuple) else (test.right,)
    for literal in literals:
        if not isinstance(literal, Literal):
            continue
        text = literal.text
        if test.op == "regex" and _is_simple_pattern(text):
            simpler = "'=', 'contains', 'startswith', 'endswith'"
            yield f"regex check with '{text}' may be optimized with simpler operators such as {simpler}", literal.at
        looks = _is_misused(text, source) if "." in text or "(" in text else None
        if looks:
            yield f"'{text}' may be a valid {looks} misused as a const string value", literal.at


@cache
def deprecated() -> tuple[str, ...]:
    """The fields whose use in a condition or an output is warned of, in the order of Falco's warnings: by their second word, then as in the
    table."""
    names = (info.name for info in schema.FIELDS if "DEPRECATED" in info.flags and "HIDDEN" not in info.flags)
    return tuple(sorted(names, key=lambda name: name.split(".")[1]))


def deprecated_fields(tests: Iterable[Test]) -> list[str]:
    """The deprecated fields that tests name, in the order of the warnings."""
    used: set[str] = set()
    stack: list[object] = [operand for test in tests for operand in (test.left, test.right)]
    while stack:
        operand = stack.pop()
        if isinstance(operand, FieldName):
            used.add(operand.name)
        elif isinstance(operand, TransformCall):
            stack.extend(operand.inputs)
        elif isinstance(operand, ListLiteral):
            stack.extend(operand.items)
    return [name for name in deprecated() if name in used]


def compares_with_na(test: Test) -> bool:
    """A comparison with ``<NA>`` of a field of which absence is not that text."""
    if not isinstance(test.left, FieldName) or not test.left.name.startswith(("ka.", "jevt.")):
        return False
    if test.modifier or test.op not in ("=", "!=", "in", "intersects", "pmatch"):        # to Falco "= anyof" is another operator
        return False
    literals = test.right if isinstance(test.right, tuple) else (test.right,)
    return any(isinstance(x, Literal) and x.text == "<NA>" for x in literals)
