# SPDX-License-Identifier: Apache-2.0
"""What texts of rules were found to be, for the next time: files are compiled again and again as others are added to them.

functools.lru_cache counts entries, and one may be a condition of a megabyte; here characters count, so that a program that reads rules or
events all its life, a daemon that reloads, keeps no more than a few megabytes of what it has read.
"""

from __future__ import annotations

import functools
import threading
from collections.abc import Callable
from typing import Any, Concatenate, ParamSpec, TypeVar

P = ParamSpec("P")
T = TypeVar("T")
_UNKNOWN: Any = object()


def remembering(characters: int) -> Callable[[Callable[Concatenate[str, P], T]], Callable[Concatenate[str, P], T]]:
    """Lets a function of a text, and of other arguments that can be hashed, keep what it returns, until the texts have so many characters
    together; then it begins anew. A text that alone has more than a quarter of that isn't kept, and an exception neither.
    """

    def decorate(function: Callable[Concatenate[str, P], T]) -> Callable[Concatenate[str, P], T]:
        known: dict[object, T] = {}
        lock, size = threading.Lock(), 0

        @functools.wraps(function)
        def remembered(text: str, /, *args: P.args, **kwargs: P.kwargs) -> T:
            nonlocal size
            key = (text, args, *kwargs.items()) if args or kwargs else text
            found: T = known.get(key, _UNKNOWN)
            if found is not _UNKNOWN:
                return found
            found = function(text, *args, **kwargs)
            if len(text) <= characters // 4:
                with lock:
                    if size + len(text) > characters:
                        known.clear()
                        size = 0
                    known[key] = found
                    size += len(text)
            return found

        return remembered

    return decorate
