# SPDX-License-Identifier: Apache-2.0
"""Regular expressions of conditions: RE2 in POSIX syntax, as Falco has them, so that matching takes linear time whatever the subject."""

from __future__ import annotations

import functools
from typing import Any

from .errors import RuleError


@functools.cache
def _options() -> Any:
    import re2  # a millisecond of start-up that most rules have no use for

    options = re2.Options()
    options.posix_syntax = True
    options.longest_match = True
    options.never_capture = True
    options.log_errors = False
    return options


@functools.lru_cache(maxsize=4096)
def compile_pattern(pattern: str) -> Any:
    """The compiled pattern.

    Raises RuleError, with RE2's reason, if the pattern is wrong.
    """
    import re2

    try:
        return re2.compile(pattern, _options())
    except re2.error as e:
        reason = e.args[0] if e.args else ""
        raise RuleError(f"invalid regular expression {pattern!r}: {reason.decode() if isinstance(reason, bytes) else reason}") from None


def full_match(compiled: Any, subject: bytes) -> bool:
    """Whether the whole subject matches. Bytes that aren't UTF-8 count as U+FFFD, one for each maximal subpart."""
    try:
        text = subject.decode()
    except UnicodeDecodeError:
        text = subject.decode("utf-8", "replace")
    return compiled.fullmatch(text) is not None
