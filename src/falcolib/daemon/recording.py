# SPDX-License-Identifier: Apache-2.0
"""Captures around alerts (``capture.*``, spec: engine.md D8): what happened some seconds before, at, and after an alert, as .scap files.

Everything that happens is recorded all the time, into memory, in segments: each begins with the state of its first event, and the newest
two are kept. An alert writes them to a file, which grows until its deadline; so it can be replayed, and gives the same alert with the same
fields. The files are written and compressed in a thread of their own.
"""

from __future__ import annotations

import contextlib
import logging
import os
import struct
import threading
import time
from queue import SimpleQueue
from typing import Protocol

from ..alert import Alert, Priority
from ..config.services import CaptureGroup
from ..core import Core
from ..recording import CaptureWriter

_log = logging.getLogger("falcolib.capture")

#: ns of events after which it is asked whether a segment or a file is long enough.
STEP = 10**9
#: ns of a segment at least: each begins with the state, whose tables are some megabytes on a large machine.
SEGMENT = 5 * 10**9
#: Bytes that wait to be written to a file, at most: a disk that is slower ends it.
WAITING = 256 << 20
#: ns by which a live run's clock may be ahead of its last event, until a deadline counts as passed.
SILENCE = 10**9
#: Bytes of what settings count in MiB.
MEBIBYTE = 1 << 20
#: Of the alert about a file that is full.
FULL = "Falco internal: capture size limit reached"
#: Blocks of events (csrc/source/scap_blocks.h); those before are tables.
_EVENTS = frozenset((0x204, 0x216, 0x221, 0x208, 0x217, 0x222))


class Emit(Protocol):
    """Where alerts about the program itself go (Daemon.emit)."""

    def __call__(self, rule: str, priority: Priority, message: str, fields: dict[str, int | float | str], when: int) -> None: ...


class Captures:
    """Makes captures around alerts: ``engine.captures = Captures(config.capture, daemon.emit)``.

    A capture is begun by the first alert whose rule has ``capture: true`` (mode ``rules``), or by any (``all_rules``), and goes on until
    the last such alert is ``capture_duration`` ago (else default_duration), or the file has max_file_size_mb, which is told as an alert.
    A source of system calls has one at a time. They are named PREFIX_TIME_NUMBER.scap, after the alert's event (ns, and its number, 20
    digits each), and are gzip files. One of that name, as a capture that is replayed twice makes it, is replaced.
    """

    def __init__(self, settings: CaptureGroup, emit: Emit) -> None:
        self.settings = settings
        self.emit = emit
        #: Paths of the captures that were begun, the newest last.
        self.written: list[str] = []

    def __call__(self, core: Core) -> Recent:
        return Recent(core, self)


class Recent:
    """The last seconds of a source, and the capture that is under way."""

    def __init__(self, core: Core, owner: Captures) -> None:
        self._core = core
        self._owner = owner
        self._settings = owner.settings
        self._segment = max(SEGMENT, self._settings.before)
        self._before: list[bytes] = []          # the segment before
        self._now: list[bytes] = []             # the current one
        self._size = 0
        self._begun = 0                         # ns, the time of its first events
        self._file: _File | None = None
        self._deadline = 0
        self._closing: list[_File] = []         # that are still being written
        self._record()

    def _record(self) -> None:
        self._before, self._now, self._size, self._begun = [], [], 0, 0
        self._core.record(self, selected=False, time=STEP, size=self._settings.before_max_mb * MEBIBYTE // 2, pause=True)

    # ---- what the core tells ----

    def write(self, data: bytes) -> None:
        """Blocks of events."""
        if self._file is not None:
            self._file.put(data)
        else:
            self._now.append(data)
            self._size += len(data)

    def full(self) -> bool | None:
        """Whether another segment begins."""
        now = self._core.last_time()
        if self._file is not None:
            if not self._over(now):
                return None
            self._close()
            self._before, self._now, self._size, self._begun = [], [], 0, now
            return True
        if now - self._begun < self._segment and self._size < self._settings.before_max_mb * MEBIBYTE // 2:
            return None
        self._before, self._now, self._size, self._begun = self._now, [], 0, now
        return True

    def _over(self, now: int) -> bool:
        assert self._file is not None
        limit = self._settings.max_file_size_mb * MEBIBYTE
        return now >= self._deadline or self._file.failed or bool(limit and self._file.written >= limit)

    # ---- what the engine tells ----

    def found(self, alert: Alert) -> None:
        """An alert, whose event hasn't been written yet."""
        rule = alert._rule
        if self._settings.mode == "rules" and not rule.capture:
            return
        duration = rule.capture_duration * 10**6 or self._settings.default_duration
        if self._file is not None:
            self._deadline = max(self._deadline, alert.time + duration)
            return
        self._core.flush_record()
        self._deadline = alert.time + duration
        path = f"{self._settings.path_prefix}_{alert.time:020}_{alert._match.num:020}.scap"
        self._owner.written.append(path)
        self._file = _File(path, self._settings.max_file_size_mb, self._owner.emit)
        self._file.put(*self._before)
        self._file.put(*self._now, tables=not self._before)
        self._before, self._now, self._size = [], [], 0
        _log.info("%s: captures what happens around %r", path, alert.rule)

    def passed(self) -> None:
        """The run has gone on."""
        if self._file is None or self._core.amid:
            return
        now = self._core.last_time()
        if self._over(now) or time.time_ns() - SILENCE >= self._deadline >= now > time.time_ns() - 3600 * 10**9:    # live, and silent
            self._core.flush_record()
            self._close()
            self._record()

    def end(self) -> None:
        """The run has ended."""
        try:
            self._core.flush_record(finish=True)
            self._core.end_record()
        finally:
            if self._file is not None:
                self._close()
            for file in self._closing:
                file.join()

    def _close(self) -> None:
        assert self._file is not None
        file, self._file = self._file, None
        file.close()
        self._closing = [one for one in self._closing if one.writing()] + [file]


class _File:
    """A capture that is written in a thread of its own. What can't be written is told in the log, and ends it; that it has reached its
    limit (MiB) is an alert.
    """

    def __init__(self, path: str, limit: int, emit: Emit) -> None:
        self.path = path
        self.written = 0                        # bytes of the file
        self.failed = False
        self._limit = limit
        self._emit = emit
        self._waiting = 0                       # bytes; changed by put (+) and the thread (-)
        self._taken = 0
        self._pieces: SimpleQueue[bytes | None] = SimpleQueue()
        self._thread = threading.Thread(target=self._work, name="falcolib-capture", daemon=True)
        self._thread.start()

    def put(self, *pieces: bytes, tables: bool = True) -> None:
        """Adds pieces of a recording, of a segment whose tables are left out if there are some already."""
        if self.failed:
            return
        self._waiting += sum(map(len, pieces))
        if self._waiting - self._taken > WAITING:
            _log.error("%s: the disk is slower than events come: the capture ends", self.path)
            self.failed = True
            return
        if not tables:
            pieces = (without_tables(b"".join(pieces)),)
        for piece in pieces:
            self._pieces.put(piece)

    def close(self) -> None:
        """No more comes; what is left is written in the thread."""
        self._pieces.put(None)

    def writing(self) -> bool:
        """Whether it isn't on disk yet."""
        return self._thread.is_alive()

    def join(self) -> None:
        """Waits until it is."""
        self._thread.join()

    def _work(self) -> None:
        try:
            with contextlib.suppress(FileNotFoundError):
                os.unlink(self.path)            # of the same event, replayed before; a link that somebody has laid isn't followed
            writer = CaptureWriter(self.path, compress=True)
            writer.write(b"")
            while (piece := self._pieces.get()) is not None:
                if self.failed:
                    continue
                writer.write(piece)
                self._taken += len(piece)
                self.written = os.stat(self.path).st_size
            writer.close()
            self.written = os.stat(self.path).st_size
            if self._limit and self.written >= self._limit * MEBIBYTE:
                self._emit(FULL, Priority.INFORMATIONAL, f"{FULL}: {self.path} has ended", {
                    "max_file_size_mb": self._limit, "written_bytes": self.written}, time.time_ns())
        except (OSError, ValueError) as e:
            self.failed = True
            _log.error("%s: the capture can't be written: %s", self.path, getattr(e, "strerror", None) or e)
            while self._pieces.get() is not None:
                pass


def without_tables(data: bytes) -> bytes:
    """A recording from its first event on: a file that goes on needs no second state."""
    at = 0
    while at + 8 <= len(data):
        code, length = struct.unpack_from("<II", data, at)
        if code in _EVENTS:
            break
        at += max(length, 12)
    return data[at:]
