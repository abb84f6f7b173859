# SPDX-License-Identifier: Apache-2.0
"""Every public name of falcolib says what it is, and what it takes and gives."""

import inspect
from collections.abc import Callable, Iterator

import pytest

import falcolib


def members() -> Iterator[tuple[str, Callable[..., object]]]:
    """The public functions and classes, and of the classes what isn't inherited from Python's."""
    for name in falcolib.__all__:
        value = getattr(falcolib, name)
        if not callable(value):
            continue
        yield name, value
        for each, member in inspect.getmembers(value) if inspect.isclass(value) else ():
            member = getattr(member, "fget", getattr(member, "func", member))           # of properties
            if not each.startswith("_") and inspect.isroutine(member) and str(getattr(member, "__module__", "")).startswith("falcolib"):
                yield f"{name}.{each}", member


MEMBERS = dict(members())


def test_the_members_are_found() -> None:
    assert {"Engine.run", "Engine.stats", "Alert.message", "Alert.rule", "RuleSet.load", "Capture.write", "record"} <= MEMBERS.keys()


@pytest.mark.parametrize("name", MEMBERS)
def test_a_public_name_has_a_text_and_types(name: str) -> None:
    member = MEMBERS[name]
    assert inspect.getdoc(member), "no docstring"
    if not inspect.isclass(member):
        signature = inspect.signature(member)
        untyped = [p.name for p in signature.parameters.values() if p.annotation is p.empty and p.name not in ("self", "cls")]
        assert not untyped
        assert signature.return_annotation is not signature.empty
