# SPDX-License-Identifier: Apache-2.0
"""The extraction in C gives what msgspec decodes, on arbitrary JSON."""

from __future__ import annotations

import io
import json
import random
import re
from collections.abc import Iterator
from typing import Any

import msgspec
from hypothesis import given
from hypothesis import strategies as st

import falcolib
from falcolib.render import _CONTROL

KEYS = st.one_of(st.sampled_from(["a", "b", "verb", "0", "1", "00", "a/b", "m~n", "", "é", 'q"\\']),
                 st.text(max_size=6).filter(lambda s: "\0" not in s))
VALUES = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**63), 2**63 - 1) | st.floats(allow_nan=False, allow_infinity=False) | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(KEYS, inner, max_size=4), max_leaves=20)


def step(key: str) -> str:
    return key.replace("~", "~0").replace("/", "~1")


def places(value: Any, pointer: str = "") -> Iterator[tuple[str, Any]]:
    """The pointers into a value, with what is there."""
    if pointer:
        yield pointer, value
    children = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, child in children:
        yield from places(child, f"{pointer}/{step(str(key))}")


def holds(found: Any, value: Any) -> None:
    """A field's value is that of the place."""
    if isinstance(value, str):
        assert found == value.translate(_CONTROL)
    elif isinstance(value, dict | list):
        assert isinstance(found, str)
    else:
        assert msgspec.json.decode(found) == value


def read(data: bytes) -> int:
    """Compares every place of the events in a text that is one JSON value; how many there are."""
    decoded, count = msgspec.json.decode(data), 0
    for event in falcolib.Engine().events(falcolib.AuditFile(io.BytesIO(data))):
        count += 1
        for pointer, value in places(decoded):
            holds(event[f"json.value[{pointer}]"], value)
        assert event["json.value[/nowhere/0]"] is None
    return count


@given(value=VALUES, indent=st.sampled_from([None, 1]), ascii=st.booleans(), body=st.booleans())
def test_every_place_of_a_document(value: Any, indent: int | None, ascii: bool, body: bool) -> None:
    document = {"kind": "Event", "auditID": "x", "requestObject" if body else "other": value}
    data = json.dumps(document, indent=indent, ensure_ascii=ascii).encode()
    assert read(data) == 1


def escaped(text: str, chance: random.Random) -> str:
    """A JSON text, with some characters of its strings as escapes that it could do without."""
    def escape(m: re.Match[str]) -> str:
        c = m[0]
        if c in '"\\' or len(c) > 1 or chance.random() < 0.5:
            return c
        if c == "/":
            return "\\/"
        units = c.encode("utf-16-be")
        return "".join(f"\\u{units[n]:02x}{units[n + 1]:02X}" for n in range(0, len(units), 2))

    return re.sub(r'"(?:[^"\\]|\\.)*"', lambda m: '"' + re.sub(r"\\u....|\\.|[\s\S]", escape, m[0][1:-1]) + '"', text)


@given(value=VALUES, chance=st.randoms(use_true_random=False))
def test_json_text_has_those_escapes_alone_that_it_needs(value: Any, chance: random.Random) -> None:
    plain = json.dumps({"a": value}, separators=(",", ":"), ensure_ascii=False)
    data = f'{{"kind": "Event", "auditID": "x", "other": {escaped(plain, chance)}}}'.encode()
    found = [event["json.value[/other]"] for event in falcolib.Engine().events(falcolib.AuditFile(io.BytesIO(data)))]
    assert found == [plain.translate(_CONTROL)]


@given(value=VALUES, keys=st.lists(KEYS, min_size=1, max_size=3))
def test_of_what_stands_twice_the_last_counts(value: Any, keys: list[str]) -> None:
    pairs = ",".join(f"{json.dumps(key)}:{json.dumps(one)}" for one in ([1, {"a": 2}], {"0": "x"}, value) for key in keys)
    data = f'{{"kind":"Event","auditID":"x","other":{{{pairs}}}}}'.encode()
    assert read(data) == 1


@given(value=VALUES, cut=st.integers(0, 400), junk=st.binary(max_size=3), how=st.sampled_from(["cut", "insert", "replace"]))
def test_damaged_texts(value: Any, cut: int, junk: bytes, how: str) -> None:
    """What msgspec takes, we read alike; what it refuses costs no other event."""
    whole = json.dumps({"kind": "Event", "auditID": "x", "other": value, "user": {"username": "u"}}).encode()
    cut %= len(whole)
    data = whole[:cut] + junk + {"cut": b"", "insert": whole[cut:], "replace": whole[cut + len(junk):]}[how]
    data = data.replace(b"\n", b" ").replace(b"\x1e", b" ")
    last = b'\n{"kind":"Event","auditID":"last"}\n'
    found = list(falcolib.Engine(falcolib.RuleSet.parse(
        "- {rule: r, desc: d, condition: ka.auditid exists, output: '%ka.auditid', priority: INFO, source: k8s_audit}")).run(
            falcolib.AuditFile(io.BytesIO(data + last))))
    assert found
    assert found[-1].message == "last"
    try:
        decoded = msgspec.json.decode(data)
    except (msgspec.DecodeError, UnicodeDecodeError):
        return
    if isinstance(decoded, dict) and decoded.get("kind") == "Event":
        assert read(data) == 1
