# SPDX-License-Identifier: Apache-2.0
"""Kubernetes' audit events from files: logs of the API server, or bodies of its webhook that were kept."""

from __future__ import annotations

import errno
import os
import select
import stat
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, TypeAlias

from ..errors import CaptureError
from .capture import CHUNK, CaptureReader, Readable

if TYPE_CHECKING:
    from ..core import Core

#: Is told of what could not be used: a line for people.
OnFault: TypeAlias = Callable[[str], None]

#: Ends what was pushed before: a text that isn't complete by then is malformed (csrc/source/documents.h).
END = b"\x1e"
#: Seconds between two looks at a file that is followed.
PERIOD = 0.2


class Documents:
    """What the sources of documents have in common: they open their reader on the core, and tell of what it could not use.

    limit: bytes of an event, at most; on_fault: is called with a line for each text that could not be used, up to 32 a chunk.
    """

    def __init__(self, name: str, limit: int | None, on_fault: OnFault | None) -> None:
        self.name = name
        self._limit = limit
        self._on_fault = on_fault
        self._core: Core | None = None

    def open_on(self, core: Core) -> None:
        """Opens the reader of this source's documents on a core."""
        from ..core import EVENT_LIMIT, TEXT_LIMIT

        core.open_documents(self.name, self._limit or EVENT_LIMIT, max(self._largest(), TEXT_LIMIT))
        self._core = core

    def _largest(self) -> int:
        """Bytes of the largest text that this source is known to let through."""
        return 0

    def _watched(self, chunks: Iterable[tuple[str, bytes]]) -> Iterator[bytes]:
        """The chunks, each with the name of the place that it is from. Tells of faults behind each."""
        for place, chunk in chunks:
            yield chunk
            if self._core is not None:
                for line, what in self._core.faults():
                    if self._on_fault:
                        self._on_fault(f"{place}:{line}: {what}; left out")


class AuditFile(Documents):
    """Audit events of Kubernetes in files (source ``k8s_audit``).

    source: a path, ``-`` for standard input, or a binary file object. A folder is read file by file, the oldest first (by time of change).
    Files hold an event or a list of events a line, as the API server's log and its webhook have them, or JSON over several lines, arrays
    too; plain or gzip. What can't be used is left out and counted (Stats.malformed, unrecognised, too_large), and told to ``on_fault``.

    follow: reads on as the file grows, until close(). It begins at the end that the file has now, and goes on where the file is replaced
    by another, as logs are rotated, or cut short. The file needn't exist yet.

    Raises FileNotFoundError at once, and ValueError for what can't be followed; other OSErrors come from chunks(), CaptureError from a
    corrupt gzip file.
    """

    def __init__(self, source: str | os.PathLike[str] | Readable, *, follow: bool = False, limit: int | None = None,
                 on_fault: OnFault | None = None) -> None:
        super().__init__("k8s_audit", limit, on_fault)
        self._follow = follow
        self._files: list[CaptureReader] = []
        self._path: str | None = None
        self._done, self._total = 0, None if follow else 0
        self._closed = False
        self._at_end = -1           # a descriptor of a file that is followed, at the end that it had when this was made
        self._wake = os.eventfd(0, os.EFD_CLOEXEC | os.EFD_NONBLOCK) if follow else -1
        if isinstance(source, str | os.PathLike):
            self._path = os.fspath(source)
        if follow:
            if self._path in (None, "-") or (os.path.exists(self._path) and not os.path.isfile(self._path)):
                raise ValueError("only a file can be followed")
            self._at_end = _opened(self._path)
            if self._at_end >= 0:
                os.lseek(self._at_end, 0, os.SEEK_END)
        elif self._path is not None and os.path.isdir(self._path):
            entries = [(path.stat(), path) for path in Path(self._path).iterdir()]
            ordered = sorted((status.st_mtime_ns, str(path)) for status, path in entries if stat.S_ISREG(status.st_mode))
            self._files = [CaptureReader(path) for _, path in ordered]
        else:
            self._files = [CaptureReader(source)]
        if not follow:
            sizes = [file.position()[1] for file in self._files]
            self._total = None if None in sizes else sum(filter(None, sizes))

    def __del__(self) -> None:
        for descriptor in (getattr(self, "_wake", -1), getattr(self, "_at_end", -1)):
            if descriptor >= 0:
                os.close(descriptor)

    def __repr__(self) -> str:
        return f"AuditFile({self._path!r})"

    @property
    def waits(self) -> bool:
        """Whether it may have to wait for its next bytes: one that is followed, a pipe."""
        return self._follow or any(file.waits for file in self._files)

    def chunks(self) -> Iterator[bytes]:
        """The bytes of the files, uncompressed; 0x1e behind each. One of a folder that can't be read, or whose compressed data is damaged,
        costs no other.

        Raises CaptureError when all were read, for those that could not be, OSError for a file alone that can't be read.
        """
        self._closed = False
        return self._watched(self._followed() if self._follow else self._whole())

    def close(self) -> None:
        """Ends chunks() soon. May be called at any time, more than once, from any thread and from a signal handler."""
        self._closed = True
        for file in self._files:
            file.close()
        if self._wake >= 0:
            os.eventfd_write(self._wake, 1)

    def position(self) -> tuple[int, int | None]:
        """Bytes of the files that have been delivered, and that there are in all; None if that isn't known."""
        return self._done, self._total

    def _whole(self) -> Iterator[tuple[str, bytes]]:
        before, damaged = 0, []
        for file in self._files:
            if self._closed:
                return
            place = str(file._path or "input") if file._path != "-" else "standard input"
            try:
                chunks = file.chunks()
                if self._closed:        # meanwhile
                    file.close()
                for chunk in chunks:
                    self._done = before + file.position()[0]
                    yield place, chunk
            except CaptureError as e:
                damaged.append(f"{place}: {e}")
            except OSError as e:
                if len(self._files) == 1:
                    raise
                damaged.append(f"{place}: {e.strerror}")
            before += file.position()[0]
            yield place, END
        if damaged:
            raise CaptureError("; ".join(damaged))

    def _followed(self) -> Iterator[tuple[str, bytes]]:
        assert self._path is not None
        place, descriptor = self._path, self._at_end
        self._at_end = -1
        try:
            while not self._closed:
                if descriptor < 0:
                    descriptor = _opened(place)
                if descriptor >= 0:
                    while not self._closed and (chunk := os.read(descriptor, CHUNK)):
                        self._done += len(chunk)
                        yield place, chunk
                    now = os.fstat(descriptor)
                    if now.st_size < os.lseek(descriptor, 0, os.SEEK_CUR):
                        os.lseek(descriptor, 0, os.SEEK_SET)
                        yield place, END
                        continue
                    if _is_another(place, now):
                        while chunk := os.read(descriptor, CHUNK):      # what was written before it was replaced
                            yield place, chunk
                        os.close(descriptor)
                        descriptor = -1
                        yield place, END
                        continue
                self._wait()
        finally:
            if descriptor >= 0:
                os.close(descriptor)

    def _wait(self) -> None:
        poll = select.poll()
        poll.register(self._wake, select.POLLIN)
        poll.poll(PERIOD * 1000)


def _opened(path: str) -> int:
    """A descriptor of a file; -1 if there is none yet. Raises OSError for what is none."""
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)      # a pipe would be waited for
    except FileNotFoundError:
        return -1
    if not stat.S_ISREG(os.fstat(descriptor).st_mode):
        os.close(descriptor)
        raise OSError(errno.EINVAL, "only a file can be followed", path)
    return descriptor


def _is_another(path: str, before: os.stat_result) -> bool:
    """Whether a path now leads to another file; not if it leads nowhere, as in the middle of a rotation."""
    try:
        now = os.stat(path)
    except FileNotFoundError:
        return False
    return (now.st_dev, now.st_ino) != (before.st_dev, before.st_ino)
