# SPDX-License-Identifier: Apache-2.0
"""Recordings: .scap files, written from any source of system calls."""

from __future__ import annotations

import contextlib
import errno
import os
import stat
import sys
import time
from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Protocol, TypedDict

if TYPE_CHECKING:
    from .compiler import Program
    from .rules import RuleSet
    from .sources import Source

#: Bytes of a member of a gzip file, uncompressed, and seconds after which one ends, however short. Each member is whole for itself: so a
#: file that was cut off is good up to there.
_MEMBER, _MEMBER_SECONDS = 256 * 1024, 1.0


class Writable(Protocol):
    """A binary file object: what CaptureWriter needs of one."""

    def write(self, data: bytes, /) -> object: ...


class Limits(TypedDict):
    """When a file is full; 0 = never."""

    events: int
    size: int
    time: int


@dataclass(frozen=True, slots=True)
class Recorded:
    """What was written. events: that rules see when the files are read; state: that are there for the state alone; left_out: that are
    not there; bytes: before compression; files: that are there, the oldest first.
    """

    events: int = 0
    state: int = 0
    left_out: int = 0
    bytes: int = 0
    files: tuple[str, ...] = field(default=())


class CaptureWriter:
    """Writes .scap files: ``engine.record(source, writer)``, or ``falcolib.record(source, path)`` at once.

    target: a path, ``-`` for standard output, or a binary file object, which stays the caller's to close. compress: gzip; None: if the
    path ends in ``.gz``. overwrite: a file that exists is replaced; else it is a FileExistsError.

    max_events, max_bytes (before compression), max_time (ns, by the time of the events): when one is reached, the recording ends; or
    with ``files``, goes on in another file: ``out.scap`` becomes ``out.0001.scap``, ``out.0002.scap``, …, each readable alone, of which
    the newest ``files`` stay.

    What is written is whole at all times: blocks go out together, and where one can't be written (a full disk), OSError tells, and the
    file ends before it. Where the source fails before its first event, no file is left, and one that was there stays as it was. recorded
    tells what was written.
    """

    def __init__(
        self,
        target: str | os.PathLike[str] | Writable,
        *,
        overwrite: bool = False,
        compress: bool | None = None,
        max_events: int = 0,
        max_bytes: int = 0,
        max_time: int = 0,
        files: int = 0,
    ) -> None:
        self._limits: Limits = {"events": max_events, "size": max_bytes, "time": max_time}
        for name, limit in (("max_events", max_events), ("max_bytes", max_bytes), ("max_time", max_time), ("files", files)):
            if not 0 <= limit < 1 << 63:
                raise ValueError(f"{name}: a limit is not negative, and below 2**63; 0 is none")
        if files and not any(self._limits.values()):
            raise ValueError("files: a limit (max_events, max_bytes, max_time) tells when the next file begins")
        self._path: str | None = None
        self._object: Writable | None = None
        if isinstance(target, (str, os.PathLike)):
            self._path = os.fspath(target)
        elif callable(getattr(target, "write", None)):
            self._object = target
        else:
            raise TypeError(f"a capture is written to a path, - or a binary file object, not {type(target).__name__}")
        if files and (self._path is None or self._path == "-"):
            raise ValueError("files: only a path can be several files")
        self._overwrite = overwrite
        self._keep = files
        self._compress = compress if compress is not None else (self._path or "").endswith(".gz")
        self._number = 0
        self._files: deque[str] = deque()
        self._fd: int | None = None
        self._good = 0                  # bytes of the file that are whole
        self._made = False              # the file is new, and not one that was there
        self._pending = bytearray()     # of a gzip member
        self._since = 0.0               # when its first byte came
        self._closed = False
        self._bytes = 0
        self._stop: Callable[[], None] = lambda: None
        self.recorded = Recorded()
        if self._path not in (None, "-") and not overwrite:
            self._check_free(self._next_path())

    def __repr__(self) -> str:
        return f"CaptureWriter({self._path if self._object is None else self._object!r})"

    # ---- the engine's side ----

    def check(self, source: Source) -> None:
        """Raises ValueError if a source is read from the file that is to be written."""
        read = getattr(source, "path", None)
        if self._path in (None, "-") or read in (None, "-"):
            return
        with contextlib.suppress(OSError):
            if os.path.samefile(str(read), str(self._path)):
                raise ValueError(f"{self._path}: the capture that is read can't be overwritten with itself")

    @contextlib.contextmanager
    def recording(self, stop: Callable[[], None]) -> Iterator[Limits]:
        """Opens the file, and closes it; gives the limits. ``stop`` ends the run when they are reached.

        Raises OSError, and ValueError if the writer was used before.
        """
        if self._closed:
            raise ValueError("this writer has been closed: a recording takes a new one")
        self._stop = stop
        self._begin()
        try:
            yield self._limits
        except BaseException:
            with contextlib.suppress(OSError):          # the first mistake is the one to tell
                self.close()
            raise
        self.close()

    def write(self, data: bytes) -> None:
        """Takes whole blocks. Raises OSError, with the path, if they can't be written: the file then ends before them."""
        if self._fd is None and self._object is None:
            self._begin()
        self._bytes += len(data)
        if not self._compress:
            self._put(data)
            return
        if not self._pending:
            self._since = time.monotonic()
        self._pending += data
        if len(self._pending) >= _MEMBER or time.monotonic() - self._since >= _MEMBER_SECONDS:
            self._end_member()

    def full(self) -> bool:
        """A limit is reached. True: another file begins with what comes next; False: the recording ends."""
        if self._keep:
            self._end_file()
            return True
        self._stop()
        return False

    def tell(self, events: int, state: int, left_out: int) -> None:
        """What the core counted."""
        self.recorded = Recorded(events, state, left_out, self._bytes, tuple(self._files))

    def discard(self) -> None:
        """Nothing came that is worth a file: the one that was begun goes."""
        self._pending.clear()
        if self._made and self._fd is not None:
            path = self._files.pop()
            with contextlib.suppress(OSError):
                if os.path.samestat(os.fstat(self._fd), os.lstat(path)):
                    os.unlink(path)
        self._bytes = 0
        self._files.clear()
        self.close()

    def close(self) -> None:
        """Writes the rest and closes the file. May be called more than once."""
        self._closed = True
        self._end_file()

    # ---- files ----

    def _next_path(self) -> str:
        assert self._path is not None
        if not self._keep:
            return self._path
        folder, name = os.path.split(self._path)
        stem, dot, suffix = name.partition(".scap")
        if not dot:
            stem, suffix = os.path.splitext(name)
        return os.path.join(folder, f"{stem}.{self._number + 1:04}{dot}{suffix}")

    def _check_free(self, path: str) -> bool:
        """Whether a file is to be made; False: there is a pipe or a device to write to."""
        try:
            status = os.stat(path)
        except FileNotFoundError:
            return True
        if stat.S_ISREG(status.st_mode):
            raise FileExistsError(errno.EEXIST, "the file exists; overwrite=True (--overwrite) replaces it", path)
        return False

    def _begin(self) -> None:
        if self._path is None:
            return
        if self._path == "-":
            if sys.__stdout__ is None:
                raise OSError(errno.EBADF, "closed", "standard output")
            self._fd, self._good = os.dup(1), 0
            return
        path = self._next_path()
        how = os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC
        try:
            # A link that somebody has laid isn't followed: captures around alerts are written by root, to /tmp where nothing else is said.
            self._fd = os.open(path, how | os.O_EXCL, 0o640)        # the owner's: it holds what was written
            self._made = True
        except FileExistsError:
            if not self._overwrite and self._check_free(path):
                raise
            self._fd = os.open(path, how, 0o640)        # it stays what it was until there is something to write
            self._made = False
        self._good = 0
        self._number += 1
        self._files.append(path)
        while self._keep and len(self._files) > self._keep:
            with contextlib.suppress(FileNotFoundError):
                os.unlink(self._files.popleft())

    def _end_member(self) -> None:
        from zlib_ng import zlib_ng

        if self._pending:
            data = bytes(self._pending)
            self._pending.clear()
            squeeze: Any = zlib_ng.compressobj(level=6, wbits=31)
            self._put(squeeze.compress(data) + squeeze.flush())

    def _end_file(self) -> None:
        try:
            self._end_member()
        finally:
            if self._fd is not None:
                fd, self._fd = self._fd, None
                os.close(fd)

    def _put(self, data: bytes) -> None:
        if self._fd is None:
            assert self._object is not None
            self._object.write(data)
            return
        view = memoryview(data)
        try:
            if self._good == 0 and not self._made and self._path != "-" and stat.S_ISREG(os.fstat(self._fd).st_mode):
                os.ftruncate(self._fd, 0)
            while view:
                view = view[os.write(self._fd, view):]
        except OSError as e:
            name = "standard output" if self._path == "-" else self._files[-1]
            with contextlib.suppress(OSError):
                os.ftruncate(self._fd, self._good)
            if isinstance(e, BrokenPipeError):
                raise
            raise OSError(e.errno, f"{e.strerror}; the recording ends after {self._good} bytes, and is good so far", name) from None
        self._good += len(data)


def compile_filter(condition: str, macros: RuleSet | None = None) -> Program:
    """A condition as a program of one rule. ``macros``: rules whose macros and lists it may use.

    Raises RuleError if it can't be used.
    """
    import json

    from .compiler import compile_rules
    from .rules.ruleset import RuleSet

    text = ("- rule: filter of a recording\n  desc: its events\n  output: filter\n  priority: DEBUG\n  warn_evttypes: false\n"
            f"  condition: {json.dumps(condition)}\n")
    return compile_rules(RuleSet.parse(text, name="filter", after=macros).rules[-1:])


def record(
    source: Source,
    target: str | os.PathLike[str] | Writable | CaptureWriter,
    *,
    filter: str | None = None,
    macros: RuleSet | None = None,
    **options: Any,
) -> Recorded:
    """Writes the events of a source to a .scap file, and tells what was written.

    filter: a condition, as in rules; events that don't meet it are left out, but for those that change the state, which are
    hidden from rules: so the fields of the others are the same when they are read back. evt.num and evt.deltatime count what is there.
    macros: rules whose macros and lists the filter may use. options: those of CaptureWriter.

    Raises RuleError for a wrong filter, CaptureError, after what could be read was written, if a capture is damaged, OSError if it can't be
    read or written, FileExistsError if the file is there. Of a source that fails before its first event no file is left.
    """
    from .engine import Engine

    program = compile_filter(filter, macros) if filter is not None else None
    writer = target if isinstance(target, CaptureWriter) else CaptureWriter(target, **options)
    for _ in Engine(program).record(source, writer, selected=program is not None):
        pass
    return writer.recorded

