# SPDX-License-Identifier: Apache-2.0
"""Lines of the log that may have to be said often: who causes them, be it a stranger, must not fill the log."""

from __future__ import annotations

import time
from collections.abc import Callable

#: Seconds.
PERIOD = 60.0


class Rare:
    """Says how often such a line is said: ``lines`` times in a minute, and the next then tells how many there were since."""

    def __init__(self, lines: int = 1, clock: Callable[[], float] = time.monotonic) -> None:
        self._lines = lines
        self._clock = clock
        self._begin = float("-inf")
        self._said = self._since = 0

    def __call__(self, count: int = 1) -> int:
        """Counts what happened; how many the line tells of that is to be said now, or 0."""
        self._since += count
        now = self._clock()
        if now - self._begin >= PERIOD:
            self._begin, self._said = now, 0
        if self._said == self._lines:
            return 0
        self._said += 1
        count, self._since = self._since, 0
        return count


def rarely(log: Callable[[str], object], rare: Rare) -> Callable[[str], None]:
    """A log for such lines. Not for several threads at once."""

    def tell(line: str) -> None:
        if count := rare():
            log(f"{line} (and {count - 1} more since the line before)" if count > 1 else line)

    return tell
