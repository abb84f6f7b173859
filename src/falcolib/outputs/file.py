# SPDX-License-Identifier: Apache-2.0
"""Alerts at the end of a file: ``file_output``."""

from __future__ import annotations

import contextlib
import os
import stat
from collections.abc import Sequence

from .message import Message
from .output import Output, OutputError, Undelivered


class FileOutput(Output):
    """Appends lines to a file, which is made if it isn't there.

    json: JSON lines. keep_alive: the file stays open. A file that was renamed or removed by whoever rotates it is left, and made anew, also
    without a signal. buffered (with keep_alive): lines are held back until there are some kilobytes of them, or the end.

    When a line can't be written whole, as the disk is full, what was written of it is taken back, and it is tried again.

    Raises OutputError if it can't be opened.
    """

    name = "file"
    batch = 256

    def __init__(self, filename: str, *, json: bool = False, keep_alive: bool = False, buffered: bool = False) -> None:
        if not filename:
            raise OutputError("no file is named", key="filename")
        self._path = os.path.expanduser(filename)
        self._json = json
        self._keep = keep_alive
        self._hold = 8192 if buffered and keep_alive else 0
        self._held = b""
        self._fd = -1
        self._torn = False
        if not os.path.exists(self._path) or not stat.S_ISFIFO(os.stat(self._path).st_mode):    # a pipe would wait for its reader
            try:
                self._open()
            except OSError as e:
                raise OutputError(f"{self._path}: {e.strerror}", key="filename") from None
            if not keep_alive:
                self._shut()

    def send(self, messages: Sequence[Message]) -> None:
        data = "".join([(m.json() if self._json else str(m)) + "\n" for m in messages]).encode("utf-8", "replace")
        if len(self._held) + len(data) < self._hold:
            self._held += data
            return
        try:
            self._write(self._held + data)
        except OSError as e:
            self._shut()
            raise Undelivered(f"{self._path}: {e.strerror}") from None
        self._held = b""
        if not self._keep:
            self._shut()

    def _open(self) -> None:
        if self._fd >= 0 and not self._moved():
            return
        self._shut()
        self._fd = os.open(self._path, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC | os.O_NOCTTY, 0o644)

    def _moved(self) -> bool:
        """Whether the path is another file now, or none."""
        ours = os.fstat(self._fd)
        try:
            now = os.stat(self._path)
        except FileNotFoundError:
            return True
        return (ours.st_dev, ours.st_ino) != (now.st_dev, now.st_ino)

    def _write(self, data: bytes) -> None:
        self._open()
        if self._torn:
            data = b"\n" + data
        written = 0
        try:
            while written < len(data):
                written += os.write(self._fd, data[written:])
        except OSError:
            if written:
                self._take_back(written)
            raise
        self._torn = False

    def _take_back(self, written: int) -> None:
        """Cuts off what was written of lines that aren't whole. Where others have written behind them, or in a pipe, a line ends."""
        with contextlib.suppress(OSError):
            end = os.fstat(self._fd).st_size
            if os.lseek(self._fd, 0, os.SEEK_CUR) == end and end >= written:        # appending sets the position
                os.ftruncate(self._fd, end - written)
                return
        self._torn = True

    def _shut(self) -> None:
        if self._fd >= 0:
            with contextlib.suppress(OSError):
                os.close(self._fd)
            self._fd = -1

    def reopen(self) -> None:
        self._flush()
        self._shut()
        if self._keep:
            self._open()

    def close(self) -> None:
        try:
            self._flush()
        except OSError as e:
            raise Undelivered(f"{self._path}: {e.strerror}: {self._held.count(10)} lines that were held back are lost") from None
        finally:
            self._shut()

    def _flush(self) -> None:
        if self._held:
            self._write(self._held)
            self._held = b""
