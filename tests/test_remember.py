# SPDX-License-Identifier: Apache-2.0
"""What is kept of texts that were read: no more than so many characters of them."""

from __future__ import annotations

import gc
import weakref
from collections.abc import Callable

import pytest

from falcolib import schema
from falcolib._remember import remembering
from falcolib.rules import grammar
from falcolib.rules.check import field_slot

pytestmark = pytest.mark.daemon


def test_a_result_is_kept_by_text_and_arguments() -> None:
    calls: list[tuple[str, str]] = []

    @remembering(1000)
    def function(text: str, source: str = "a") -> str:
        calls.append((text, source))
        return text + source

    for _ in range(2):
        assert [function("x"), function("x", "b"), function("x", source="b")] == ["xa", "xb", "xb"]
    assert calls == [("x", "a"), ("x", "b"), ("x", "b")]        # by place and by name are two


def test_nothing_is_a_result_too() -> None:
    calls = []

    @remembering(1000)
    def function(text: str) -> None:
        calls.append(text)

    for _ in range(2):
        function("x")
    assert calls == ["x"]


def test_it_keeps_so_many_characters_and_no_text_of_a_quarter() -> None:
    class Found:
        pass

    @remembering(100)
    def function(text: str) -> Found:
        return Found()

    def kept(texts: list[str]) -> list[bool]:
        known = [weakref.ref(function(text)) for text in texts]
        gc.collect()
        return [found() is not None for found in known]

    assert kept(["a" * 25, "b" * 25, "c" * 25, "d" * 25]) == [True] * 4
    assert kept(["e"]) == [True]
    assert kept(["a" * 25]) == [True]          # anew: it was let go with the others
    assert kept(["f" * 26]) == [False]


def test_an_exception_is_not_kept() -> None:
    calls = []

    @remembering(100)
    def function(text: str) -> str:
        calls.append(text)
        raise ValueError

    for _ in range(2):
        with pytest.raises(ValueError):  # noqa: PT011
            function("x")
    assert calls == ["x", "x"]


def test_large_conditions_are_let_go() -> None:
    """A program that reads rule after rule keeps no more than some of their trees."""
    def trees() -> int:
        gc.collect()
        return sum(type(found) is grammar.Test for found in gc.get_objects())

    def condition(number: int) -> str:
        return " or ".join(f"proc.name = a{number:02}x{n:04}" for n in range(3000))

    kept = (2 << 20) // len(condition(0))
    before = trees()
    for number in range(2 * kept):
        grammar.parse(condition(number))
    assert trees() <= before + kept * 3000


@pytest.mark.parametrize("function", [schema.require_field, field_slot])
def test_arguments_of_fields_are_let_go(function: Callable[[str], object]) -> None:
    """Fields are named by rules and by the keys of events: ever new arguments don't fill the memory."""
    def kept() -> int:
        gc.collect()
        return sum(type(found) is schema.Argument for found in gc.get_objects())

    before = kept()
    for number in range(100):
        function(f"proc.env[{number:0100000}]")
    assert kept() - before <= 2 * 11            # of 1 MiB each: a field's slot keeps what its field was found to be
