# SPDX-License-Identifier: Apache-2.0
"""The meaning of conditions, slow and obvious: what explain() walks, and what tests hold the machine against.

Values are Python's: bool, int, float, str or bytes (texts are compared as bytes; a str with lone surrogates stands for bytes that
aren't UTF-8), IP addresses or their packed bytes, and lists of them. None is an absent value.

A test of an absent value is false, whatever the operator; so ``not a = b`` differs from ``a != b``.
"""

from __future__ import annotations

import binascii
import functools
import ipaddress
import re
import string
from base64 import b64decode
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

from . import regex
from .rules.ast import Check, Checked, CheckedAnd, CheckedNot, FieldSlot, Slot, TransformSlot

#: Gives the value of a field; None if it is absent.
Get: TypeAlias = Callable[[FieldSlot], object]


def evaluate(condition: Checked, get: Get) -> bool:
    """Whether a condition holds."""
    return trace(condition, get).holds


@dataclass(frozen=True, slots=True)
class Step:
    """What became of a condition: ``value`` is that of a test's field (None: absent). ``steps``: of its parts, in the order written; parts
    that need not be looked at, because those before them decided, are missing."""

    condition: Checked
    holds: bool
    value: object = None
    steps: tuple[Step, ...] = ()


def trace(condition: Checked, get: Get) -> Step:
    """Evaluates a condition and tells how. Nesting is no recursion, so that it may be as deep as the language allows."""
    done: list[Step] = []
    todo: list[tuple[Checked, int | None]] = [(condition, None)]        # with how many parts have been begun; None = it hasn't
    while todo:
        tree, begun = todo.pop()
        if isinstance(tree, Check):
            left = value_of(tree.slot, get)
            done.append(Step(tree, _holds(tree, left, get), left))
            continue
        parts = (tree.child,) if isinstance(tree, CheckedNot) else tree.children
        stops_at = None if isinstance(tree, CheckedNot) else not isinstance(tree, CheckedAnd)
        if begun is None or (begun < len(parts) and not (begun and done[-1].holds is stops_at)):
            todo.append((tree, (begun or 0) + 1 if parts else 0))
            if parts:
                todo.append((parts[begun or 0], None))
            continue
        steps = tuple(done[len(done) - begun:])
        del done[len(done) - begun:]
        holds = not steps[0].holds if isinstance(tree, CheckedNot) else steps[-1].holds if steps else not stops_at
        done.append(Step(tree, holds, None, steps))
    return done[0]


def _holds(check: Check, left: object, get: Get) -> bool:
    rights: tuple[object, ...] | None = check.values
    if check.other is not None:
        right = value_of(check.other, get)
        rights = None if right is None else tuple(right) if isinstance(right, list) else (right,)
    return rights is not None and holds(check, left, rights)


# ---- tests -------------------------------------------------------------------------------------------------------------------------------


def holds(check: Check, left: object, rights: Sequence[object]) -> bool:
    """Whether a test holds for a value, against these values on its right-hand side."""
    if left is None:
        return False
    slot, op = check.slot, check.op
    if not isinstance(left, list):
        return _one(check, left, rights)
    if (slot.is_list and op == "in") or (slot.is_either and op == "!="):
        return bool(left) and all(_one(check, element, rights) for element in left)
    return any(_one(check, element, rights) for element in left)


def _one(check: Check, left: object, rights: Sequence[object]) -> bool:
    op = check.op
    if op == "exists":
        return True
    compare = _COMPARE.get(op) or functools.partial(_ordered, op)
    if op in ("in", "intersects"):
        return any(_equal(check.slot.kind, left, right) for right in rights)
    if op in ("=", "!="):
        compare = functools.partial(_equal if op == "=" else _different, check.slot.kind)
    results = [compare(left, right) for right in rights]
    match check.modifier:
        case "oneof":
            return sum(results) == 1
        case "allof":
            return bool(results) and all(results)
        case _:
            return any(results)         # one value, unless the modifier is anyof, the operator pmatch, or the right-hand side a list


def _equal(kind: str, left: Any, right: Any) -> bool:
    if kind == "net":
        address, mask = _address(left), _bits(right.netmask)
        return bool(address.version == right.version and _bits(address) & mask == _bits(right.network_address) & mask)
    if kind == "ip":
        return bool(_address(left) == _address(right))
    return bool(_raw(left) == _raw(right))


def _different(kind: str, left: Any, right: Any) -> bool:
    return not _equal(kind, left, right)


def _ordered(op: str, left: Any, right: Any) -> bool:
    a, b = _raw(left), _raw(right)
    return bool(a < b if op == "<" else a <= b if op == "<=" else a > b if op == ">" else a >= b)


def _bits(address: Any) -> int:
    return int.from_bytes(address.packed, "big")


def _address(value: Any) -> Any:
    return ipaddress.ip_address(value)


def _raw(value: Any) -> Any:
    return value.encode("utf-8", "surrogateescape") if isinstance(value, str) else value


def _text_test(test: Callable[[bytes, bytes], bool]) -> Callable[[Any, Any], bool]:
    return lambda left, right: test(_raw(left), _raw(right))


def _lower(text: bytes) -> bytes:
    return text.lower()                 # of bytes: ASCII letters only


def _components(path: bytes) -> list[bytes]:
    return [c for c in path.split(b"/") if c]


def _is_prefix(path: bytes, prefix: bytes) -> bool:
    """pmatch: the prefix's components are the path's first; those with one of ?*[ are globs."""
    have, want = _components(path), _components(prefix)
    return len(have) >= len(want) and all(
        _glob(h, w) if re.search(rb"[?*[]", w) else h == w for h, w in zip(have, want, strict=False))


#: A bracket that is closed; a "]" that comes first is one of its members.
_BRACKET = re.compile(rb"\[([!^]?)(?=(\]?))(\2(?:\[:[a-z]+:\]|\\.|(?!\[:[a-z]+:\])[^\]\\])*)\]", re.DOTALL)


@functools.lru_cache(maxsize=1024)
def _glob_pattern(pattern: bytes, fold: bool) -> re.Pattern[bytes]:
    r"""fnmatch(3) without flags, of bytes: ``*`` and ``?`` match any, ``[a-z]``, ``[!a-z]``, ``[[:alpha:]]``; ``\`` quotes."""
    out, i = b"", 0
    while i < len(pattern):
        c = pattern[i:i + 1]
        bracket = _BRACKET.match(pattern, i) if c == b"[" else None
        if bracket:
            out += _bracket(bool(bracket[1]), bracket[3])
            i = bracket.end()
            continue
        if c == b"\\":
            i += 1
            c = pattern[i:i + 1]
            out += re.escape(c) if c else rb"(?!)"
        else:
            out += b".*" if c == b"*" else b"." if c == b"?" else re.escape(c)
        i += 1
    return re.compile(out, re.DOTALL | (re.IGNORECASE if fold else 0))


_CLASSES = {
    b"alpha": string.ascii_letters, b"digit": string.digits, b"alnum": string.ascii_letters + string.digits,
    b"upper": string.ascii_uppercase, b"lower": string.ascii_lowercase, b"space": string.whitespace, b"blank": " \t",
    b"punct": string.punctuation, b"xdigit": string.hexdigits, b"cntrl": "".join(map(chr, (*range(32), 127))),
    b"print": "".join(map(chr, range(32, 127))), b"graph": "".join(map(chr, range(33, 127))),
}


def _bracket(negated: bool, inside: bytes) -> bytes:
    """What stands between [ and ] as a regular expression of the bytes that it means."""
    members: set[int] = set()
    for m in re.finditer(rb"\[:([a-z]+):\]|\\?(.)(?:-\\?(.))?", inside, re.DOTALL):
        members.update(_CLASSES.get(m[1], "").encode() if m[1] else range(m[2][0], (m[3] or m[2])[0] + 1))
    if not members:
        return b"." if negated else b"(?!)"
    return b"[" + b"^" * negated + b"".join(b"\\x%02x" % byte for byte in sorted(members)) + b"]"


def _glob(text: bytes, pattern: bytes, fold: bool = False) -> bool:
    return _glob_pattern(pattern, fold).fullmatch(text) is not None


_COMPARE: dict[str, Callable[[Any, Any], bool]] = {
    "contains": _text_test(lambda text, part: part in text),
    "bcontains": _text_test(lambda text, part: part in text),
    "icontains": _text_test(lambda text, part: _lower(part) in _lower(text)),
    "startswith": _text_test(bytes.startswith),
    "bstartswith": _text_test(bytes.startswith),
    "endswith": _text_test(bytes.endswith),
    "pmatch": _text_test(_is_prefix),
    "glob": _text_test(_glob),
    "iglob": _text_test(lambda text, pattern: _glob(text, pattern, fold=True)),
    "regex": lambda text, pattern: regex.full_match(regex.compile_pattern(pattern), _raw(text)),
}


# ---- transformers ------------------------------------------------------------------------------------------------------------------------


def value_of(slot: Slot, get: Get) -> object:
    """The value of a slot: of a field, what ``get`` gives (a list, where the slot has several values); of a transformer, computed."""
    if isinstance(slot, FieldSlot):
        value = get(slot)
        return list(value) if isinstance(value, tuple | set | frozenset) else value
    inputs = [_input(x, get) for x in slot.inputs]
    return None if None in inputs else _TRANSFORM[slot.name](slot, *inputs)


def _input(x: object, get: Get) -> object:
    if isinstance(x, tuple):
        items = [_input(item, get) for item in x]
        return None if None in items else items
    return value_of(x, get) if isinstance(x, FieldSlot | TransformSlot) else x


def _each(change: Callable[[bytes], bytes | None]) -> Callable[..., object]:
    """A transformer of one text; of a list, of each element. Absent if one can't be transformed."""

    def apply(slot: TransformSlot, value: Any) -> object:
        if isinstance(value, list):
            changed = [change(_raw(x)) for x in value]
            return None if None in changed else changed or None
        return change(_raw(value))

    return apply


def _decode(text: bytes) -> bytes | None:
    """Base 64 with or without padding. Strict: no other characters, and the bits left over are 0."""
    text = re.sub(rb"={1,2}\Z", b"", text)
    if b"=" in text:
        return None
    padded = text + b"=" * (-len(text) % 4)
    try:
        decoded = b64decode(padded, validate=True)
    except binascii.Error:
        return None
    return decoded if binascii.b2a_base64(decoded, newline=False) == padded else None


def _b64(slot: TransformSlot, value: Any) -> object:
    """A text ends at its first NUL, bytes don't."""

    def decode(text: bytes) -> bytes | None:
        decoded = _decode(text)
        return decoded if decoded is None or slot.kind == "bytes" else decoded.split(b"\0")[0]

    return _each(decode)(slot, value)


def _listed(value: Any) -> list[bytes]:
    return [_raw(x) for x in (value if isinstance(value, list) else [value])]


def _getopt(slot: TransformSlot, args: Any, options: Any) -> object:
    """What getopt(3) would find in a list of arguments: the options' characters, each followed by its value if it takes one; "?" for an
    option that isn't in ``options``; an empty value if it is missing. Ends at "--" and at the first argument that is no option; "--long"
    is skipped. ``getopt(…)[c]``: the last value of option c, or "c" if it takes none; absent without it."""
    found: list[tuple[bytes, bytes | None]] = []
    rest, known = iter(_listed(args)), _raw(options)
    for arg in rest:
        if len(arg) < 2 or not arg.startswith(b"-") or arg == b"--":
            break
        if arg.startswith(b"--"):
            continue
        for k in range(1, len(arg)):
            option = arg[k:k + 1]
            at = -1 if option == b":" else known.find(option)
            if at >= 0 and known[at + 1:at + 2] == b":":
                found.append((option, arg[k + 1:] or next(rest, b"")))
                break
            found.append((option if at >= 0 else b"?", None))
    if slot.argument is not None:
        values = [option if value is None else value for option, value in found if option == _raw(slot.argument)]
        return values[-1] if values else None
    return [text for pair in found for text in pair if text is not None] or None


_TRANSFORM: dict[str, Callable[..., object]] = {
    "tolower": _each(bytes.lower),
    "toupper": _each(bytes.upper),
    "basename": _each(lambda path: path.rpartition(b"/")[2]),
    "b64": _b64,
    "len": lambda slot, value: len(_raw(value)),
    "join": lambda slot, separator, items: _raw(separator).join(_listed(items)),
    "concat": lambda slot, *texts: b"".join(map(_raw, texts)),
    "getopt": _getopt,
}
