# SPDX-License-Identifier: Apache-2.0
"""Conditions printed: reading what is printed gives the same tree."""

import dataclasses
import json
import lzma
import pathlib
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from conftest import CONFORMANCE
from falcolib.errors import Location
from falcolib.rules.ast import Condition
from falcolib.rules.grammar import GrammarError, parse
from falcolib.rules.text import condition_text

HERE = Location("", 0, 0)


def placeless(tree: Any) -> Any:
    """A tree without its places."""
    if isinstance(tree, tuple):
        return tuple(map(placeless, tree))
    if not dataclasses.is_dataclass(tree):
        return tree
    # whether a text was quoted isn't part of its meaning
    values = {f.name: placeless(getattr(tree, f.name)) for f in dataclasses.fields(tree) if f.name not in ("at", "quoted")}
    return type(tree).__name__, tuple(values.items())


def stable(text: str) -> None:
    tree: Condition = parse(text)
    printed = condition_text(tree)
    again = parse(printed)
    assert placeless(again) == placeless(tree), printed
    assert condition_text(again) == printed


@pytest.mark.parametrize("text", [
    "a", "not a", "not not a", "not (not a)", "not (not (not b))", "a and b or c",
    "(a or b) and not (c or d)", "a and (b and c)",
    'proc.name = "a b"', r'proc.name = "a\"b"', r"proc.name = 'it\'s'", r'proc.name = "a \x5c"',
    r'proc.name = a\b', r'proc.name = "\x80\n"',
    'proc.name = ""', "proc.name in ()", 'proc.name in (a, "b,c", "(")', "proc.name = oneof and a", "proc.name = 'oneof'",
    "proc.name contains anyof (a, b)", "proc.name startswith oneof x", "fd.num >= 3", "fd.num < -1", "proc.name exists",
    "proc.aname[2] = a",
    'proc.env[A] = a', "proc.env['a b'] = a", "tolower(proc.name) = a", "proc.name = val(proc.pname)", "proc.name = tolower(proc.pname)",
    'join(",", ("a", proc.name, 1)) = x', 'concat(proc.name, "-", "x") = "a-b"', "getopt(proc.args, 'ab:')[b] = x", "len(proc.args) > 1",
    "proc.name in (val)", "proc.name in tolower(proc.args)", "proc.name in (é)", "proc.name pmatch (/a, /b)", "a or(b)",
    'proc.name = "\\t\\"\\\\\\""',
])  # fmt: skip
def test_printing_and_reading_again(text: str) -> None:
    stable(text)


def test_deep_conditions() -> None:
    text = "(" * 900 + "a.b = c" + ") and d" * 900
    assert condition_text(parse(condition_text(parse(text)))) == condition_text(parse(text))


WORD = st.text(st.characters(blacklist_characters="\0", blacklist_categories=("Cs",)), max_size=8)
QUOTED = WORD.map(lambda t: json.dumps(t, ensure_ascii=False))
LITERAL = QUOTED | st.sampled_from(["a", "/etc", "10.0.0.0/8", "x-y", r"a\b", "'q q'", "oneof"])
FIELD = st.sampled_from(["proc.name", "fd.num", "proc.aname[1]", "proc.env[X]", "tolower(fd.name)", "concat(proc.name, 'x', fd.name)"])
TEST = st.one_of(
    st.builds("{} {} {}".format, FIELD, st.sampled_from(["=", "!=", "contains", "startswith", "glob", "regex"]), LITERAL),
    st.builds(lambda f, o, v: f"{f} {o} ({', '.join(v)})", FIELD, st.sampled_from(["in", "pmatch", "= anyof", "endswith allof"]),
              st.lists(LITERAL, max_size=3)),
    st.builds("{} {} {}".format, FIELD, st.sampled_from(["<", ">="]), st.integers(-9, 99)),
    st.builds("{} exists".format, FIELD), st.sampled_from(["m", "m_1", "proc.name = val(proc.pname)"]),
)  # fmt: skip
CONDITION = st.recursive(TEST, lambda inner: st.one_of(
    st.lists(inner, min_size=1, max_size=3).map(lambda parts: "(" + " and ".join(parts) + ")"),
    st.lists(inner, min_size=1, max_size=3).map(lambda parts: " or ".join(f"({p})" for p in parts)),
    inner.map(lambda p: f"not ({p})"), inner.map(lambda p: f"not {p}"),
), max_leaves=12)  # fmt: skip


@given(CONDITION)
def test_any_condition_that_can_be_read_is_printed_and_read_again(text: str) -> None:
    try:
        parse(text)
    except GrammarError:
        return
    stable(text)


@given(st.lists(st.sampled_from(["a", "proc.name", "=", "in", "(", ")", ",", "'", '"', "\\", " and ", " or ", "not ",
                                 "val(", "tolower(", "[", "]",
                                 "oneof ", "5", "exists", "\t", "é", "\x01", "< "]), max_size=14).map("".join))  # fmt: skip
def test_any_text_is_read_or_refused_with_a_place(text: str) -> None:
    refused: GrammarError | None = None
    try:
        parse(text)
    except GrammarError as e:
        refused = e
    if refused is None:
        stable(text)
    else:
        assert 0 <= refused.index <= len(text)
        assert refused.message


@pytest.mark.conformance
@pytest.mark.parametrize("path", sorted(CONFORMANCE.glob("syscall/*.filters.json.xz")), ids=lambda p: p.name.split(".")[0])
def test_recorded_conditions(path: pathlib.Path) -> None:
    with lzma.open(path, "rt") as f:
        for row in json.load(f)["accept"]:
            stable(row["condition"])
