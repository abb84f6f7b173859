# SPDX-License-Identifier: Apache-2.0
"""Lines of the log that may have to be said often."""

from falcolib.rare import PERIOD, Rare, rarely


class Clock:
    now = 0.0

    def __call__(self) -> float:
        return self.now


def test_the_first_is_told_at_once_and_then_once_a_minute_how_many_there_were() -> None:
    clock = Clock()
    rare = Rare(clock=clock)
    assert [rare(3), rare(), rare(2)] == [3, 0, 0]
    clock.now = PERIOD - 1
    assert rare() == 0
    clock.now = PERIOD
    assert [rare(), rare()] == [5, 0]
    clock.now = 10 * PERIOD
    assert rare() == 2


def test_of_a_log_so_many_lines_are_written_and_the_next_tells_of_those_that_were_not() -> None:
    clock = Clock()
    lines: list[str] = []
    log = rarely(lines.append, Rare(2, clock))
    for word in ("a", "b", "c", "d"):
        log(word)
    assert lines == ["a", "b"]
    clock.now = PERIOD
    for word in ("e", "f", "g"):
        log(word)
    assert lines[2:] == ["e (and 2 more since the line before)", "f"]
