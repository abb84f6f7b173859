# SPDX-License-Identifier: Apache-2.0
"""Alerts on standard output: ``stdout_output``."""

from __future__ import annotations

import contextlib
import select
import sys
from collections.abc import Sequence
from contextlib import AbstractContextManager

from .message import Message
from .output import Gone, Output


class StdoutOutput(Output):
    """Writes lines to standard output, in UTF-8 whatever the locale, as Falco does: whole lines, so that a signal can't tear one.

    json: JSON lines. buffered: lines are held back until there are some kilobytes of them, or the end. guard: what is held while lines
    are written: the progress bar's, where it shares the terminal.

    It is gone, and the others go on, when it can't be written: OSError, with "standard output" as its file; BrokenPipeError if its reader
    has gone.
    """

    name = "stdout"
    batch = 256

    def __init__(self, *, json: bool = False, buffered: bool = False, guard: AbstractContextManager[object] | None = None) -> None:
        if sys.stdout is None:
            raise OSError(None, "closed", "standard output")
        self._out = sys.stdout.buffer
        self._json = json
        self._buffered = buffered
        self._guard = guard or contextlib.nullcontext()

    def send(self, messages: Sequence[Message]) -> None:
        self.write([m.json() if self._json else str(m) for m in messages])

    def write(self, lines: Sequence[str]) -> None:
        """Writes lines.

        Raises Gone if that isn't possible.
        """
        data = ("\n".join(lines) + "\n").encode("utf-8", "replace")
        try:
            with self._guard:
                self._write(data)
        except BrokenPipeError as e:
            raise Gone(str(e)) from e
        except OSError as e:
            raise Gone(str(e)) from OSError(e.errno, e.strerror, "standard output")

    def _write(self, data: bytes) -> None:
        if self._buffered:
            self._out.write(data)
            return
        self._out.flush()                       # what others have printed
        rest = memoryview(data)
        raw = getattr(self._out, "raw", None)
        while rest and raw is not None:         # what another has made non-blocking is waited for
            written = raw.write(rest)
            if written is None:
                select.select([], [raw], [])
            else:
                rest = rest[written:]
        if raw is None:                         # replaced by a program that embeds this
            self._out.write(data)
            self._out.flush()

    def close(self) -> None:
        with contextlib.suppress(OSError, ValueError):
            self._out.flush()
