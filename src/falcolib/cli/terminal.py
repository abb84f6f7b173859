# SPDX-License-Identifier: Apache-2.0
"""What ``falcolib run`` writes: alerts on stdout; logs and progress on stderr."""

from __future__ import annotations

import contextlib
import sys
import threading
from collections.abc import Iterator

from ..beside import beside
from ..sources import Source

#: Seconds after which a replay counts as long, and between two states of its progress bar.
LONG, PERIOD = 0.5, 0.2
_CLEAR = "\r\x1b[K"


def log(text: str) -> None:
    """A line on stderr. That nobody can read it is no reason to stop looking for alerts."""
    with contextlib.suppress(OSError):
        print(text, file=sys.stderr, flush=True)


class AlertWriter:
    """Writes alerts to stdout: a line at a time, so that a signal can't tear it, and in UTF-8 whatever the locale, as Falco does.

    Raises OSError, with "standard output" as its file, where that can't be written; BrokenPipeError if its reader has gone.
    """

    def __init__(self) -> None:
        if sys.stdout is None:
            raise OSError(None, "closed", "standard output")
        self._out = sys.stdout.buffer
        self._shares_terminal = sys.stdout.isatty() and sys.stderr.isatty()
        self._lock = threading.Lock()
        self._shown = False             # the progress bar is on the terminal

    def write(self, line: str) -> None:
        data = line.encode("utf-8", "replace") + b"\n"
        if self._shares_terminal:
            with self._lock:
                self._erase()
                self._write(data)
        else:
            self._write(data)

    def __enter__(self) -> None:
        """Is held by whoever else writes to stdout: no progress bar is on the line meanwhile."""
        if self._shares_terminal:
            self._lock.acquire()
            self._erase()

    def __exit__(self, *error: object) -> None:
        if self._shares_terminal:
            self._lock.release()

    def _write(self, data: bytes) -> None:
        try:
            self._out.write(data)
            self._out.flush()
        except BrokenPipeError:
            raise
        except OSError as e:
            raise OSError(e.errno, e.strerror, "standard output") from None

    def _erase(self) -> None:
        if self._shown:
            sys.stderr.write(_CLEAR)
            sys.stderr.flush()
            self._shown = False

    @contextlib.contextmanager
    def progress(self, source: Source, doing: str = "replaying") -> Iterator[None]:
        """A progress bar for a long replay, if stderr is a terminal. Where that is stdout's too, it stands below the last alert."""
        if not sys.stderr.isatty():
            yield
            return
        with beside("progress", lambda done: self._show(source, done, doing)):
            yield

    def _show(self, source: Source, done: threading.Event, doing: str) -> None:
        if done.wait(LONG):
            return
        from rich.console import Console
        from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TimeRemainingColumn

        console = Console(stderr=True)
        if console.is_dumb_terminal:
            return
        # drawn here, and not by its start(), which would take hold of sys.stdout
        bar = Progress(TextColumn(doing), BarColumn(), DownloadColumn(), TimeRemainingColumn(), console=console)
        task = bar.add_task(doing, total=None)
        with contextlib.suppress(OSError):
            while not done.wait(PERIOD):
                position, total = source.position()
                if not position and total is None:      # a live source has no end to get near to
                    continue
                bar.update(task, completed=position, total=total)
                with console.capture() as drawn:
                    console.print(bar.get_renderable(), end="")
                with self._lock:
                    sys.stderr.write(_CLEAR + drawn.get().strip("\n"))
                    sys.stderr.flush()
                    self._shown = True
            with self._lock:
                self._erase()
