# SPDX-License-Identifier: Apache-2.0
"""What the evaluator tells besides the outcome; its tests of values stand in test_vm.py, next to the machine's."""

import pytest

from falcolib.evaluate import evaluate, trace
from machine import all_of, any_of, cond, field, no

NAME, PID = cond("proc.name", "=", "sshd"), cond("proc.pid", ">", 10)
SSHD = {"proc.name": "sshd", "proc.pid": 5}.get


def get(slot: object) -> object:
    return SSHD(str(slot))


def test_a_step_tells_outcome_and_value_of_each_test() -> None:
    step = trace(all_of(NAME, PID), get)
    assert not step.holds
    assert [(part.condition, part.holds, part.value) for part in step.steps] == [(NAME, True, "sshd"), (PID, False, 5)]


def test_parts_behind_the_one_that_decides_are_not_looked_at() -> None:
    assert [part.condition for part in trace(all_of(PID, NAME), get).steps] == [PID]
    assert [part.condition for part in trace(any_of(NAME, PID), get).steps] == [NAME]


def test_steps_nest_as_conditions_do() -> None:
    step = trace(no(any_of(PID, all_of(NAME, no(PID)))), get)
    assert not step.holds
    ((first, second),) = (part.steps for part in step.steps)
    assert (first.holds, second.holds, second.steps[1].steps[0].value) == (False, True, 5)


def test_no_parts_are_true_together_and_false_in_the_alternative() -> None:
    assert evaluate(all_of(), get)
    assert not evaluate(any_of(), get)


def test_an_absent_value_is_told() -> None:
    step = trace(cond("proc.pname", "!=", "x"), get)
    assert (step.holds, step.value) == (False, None)


@pytest.mark.parametrize("as_written", ["é", "é".encode(), b"\xff", "\udcff"])
def test_texts_may_be_str_or_bytes(as_written: str | bytes) -> None:
    constant = as_written if isinstance(as_written, str) else as_written.decode("utf-8", "surrogateescape")
    assert evaluate(cond("proc.name", "=", constant), lambda slot: as_written)
    assert evaluate(cond("proc.name", "=", other=field("proc.pname")), lambda slot: as_written)


def test_nesting_is_no_recursion() -> None:
    condition = NAME
    for _ in range(5001):
        condition = no(condition)
    assert not evaluate(condition, get)
