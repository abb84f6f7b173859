# SPDX-License-Identifier: Apache-2.0
"""Captures: .scap files, plain or gzip, from a path, a file object or standard input."""

from __future__ import annotations

import errno
import io
import os
import select
import stat
import sys
import threading
from collections.abc import Callable, Iterator
from queue import Empty, SimpleQueue
from typing import Protocol, cast

from zlib_ng import zlib_ng

from ..errors import CaptureError

#: Bytes of a chunk, at most. The core crosses into Python once a chunk.
CHUNK = 256 * 1024
#: Chunks that are read ahead, at most.
AHEAD = 8
#: Seconds that a wait for the next chunk lasts at most.
LOOK = 0.5
#: Bytes read from a gzip file at a time.
_PIECE = 64 * 1024
_GZIP_MAGIC = b"\x1f\x8b"


class Readable(Protocol):
    """A binary file object: what Capture needs of one."""

    def read(self, size: int, /) -> bytes: ...


class _Inflate(Protocol):
    """zlib's decompressing object; the annotations of zlib-ng lack copy()."""

    @property
    def eof(self) -> bool: ...
    @property
    def unused_data(self) -> bytes: ...
    @property
    def unconsumed_tail(self) -> bytes: ...
    def decompress(self, data: bytes, max_length: int = 0, /) -> bytes: ...
    def flush(self) -> bytes: ...
    def copy(self) -> _Inflate: ...


def _inflate() -> _Inflate:
    return cast(_Inflate, zlib_ng.decompressobj(wbits=31))


_INFLATE_ERROR = cast("type[Exception]", zlib_ng.error)

#: A chunk, and how many bytes of the file it and those before it took.
_Item = tuple[bytes, int]


class CaptureReader:
    """Reads a .scap capture, or another file of bytes; falcolib.Capture can be written, too.

    source: a path, ``-`` for standard input, or a binary file object, which stays the caller's to close. Gzip, of one or several
    members, is recognised by its first bytes. Reading and decompressing go on in a thread of their own, a few chunks ahead.

    A path can be read again and again; standard input and file objects are read from where they stand. Raises FileNotFoundError
    at once, and TypeError for what is none of these; other OSErrors come from chunks().
    """

    name = "syscall"

    def __init__(self, source: str | os.PathLike[str] | Readable) -> None:
        self._path: str | None = None
        self._file: Readable | None = None
        self._total: int | None = None
        self._done = 0
        self._pass: _Pass | None = None
        if isinstance(source, (str, os.PathLike)):
            self._path = os.fspath(source)
            if self._path != "-":
                status = os.stat(self._path)
                self._total = status.st_size if stat.S_ISREG(status.st_mode) else None
        elif callable(getattr(source, "read", None)):
            self._file = source
        else:
            hint = "; io.BytesIO makes a file object of bytes" if isinstance(source, bytes | bytearray | memoryview) else ""
            raise TypeError(f"a capture is a path, - or a binary file object, not {type(source).__name__}{hint}")

    def __repr__(self) -> str:
        return f"Capture({self._path if self._file is None else self._file!r})"

    @property
    def path(self) -> str | None:
        """The path that is read, ``-`` for standard input; None for a file object."""
        return self._path

    @property
    def waits(self) -> bool:
        """Whether it may have to wait for its next bytes, as at a pipe; a regular file, or one in memory, doesn't."""
        if self._path not in (None, "-"):
            return self._total is None
        if isinstance(self._file, io.BytesIO):
            return False
        try:
            fd = 0 if self._file is None else self._file.fileno()       # type: ignore[attr-defined]
            return not stat.S_ISREG(os.fstat(fd).st_mode)
        except (AttributeError, OSError, ValueError):
            return True

    def chunks(self) -> Iterator[bytes]:
        """The uncompressed bytes, in pieces of up to 256 KiB.

        Raises CaptureError where gzip data is corrupt or ends early (the text names the offset in the compressed file), OSError
        where the file can't be read; in both cases after everything before that place has been delivered.
        """
        self._done = 0
        self._pass = _Pass(self._path, self._file)      # now and not when the first chunk is asked for: a close() in between counts
        return self._chunks(self._pass)

    def _chunks(self, current: _Pass) -> Iterator[bytes]:
        try:
            current.start()
            for chunk, self._done in current:
                yield chunk
        finally:
            current.close()

    def close(self) -> None:
        """Ends chunks() and the thread. May be called at any time, more than once, from any thread and from a signal handler."""
        if self._pass is not None:
            self._pass.close()

    def position(self) -> tuple[int, int | None]:
        """Bytes of the file (compressed, if it is) that have been delivered, and the size of the file; None if that isn't known."""
        return self._done, self._total


class _Pass:
    """One reading of a capture, with its thread.

    The two meet in queues whose put() never blocks and may interrupt itself, so that close() is safe in a signal handler: `free`
    holds a token for each chunk that may still be read ahead, `filled` the chunks, and None or an exception at the end.
    """

    def __init__(self, path: str | None, file: Readable | None) -> None:
        self._closed = False
        self._wake = os.eventfd(0, os.EFD_CLOEXEC | os.EFD_NONBLOCK)
        self._filled: SimpleQueue[_Item | BaseException | None] = SimpleQueue()
        self._free: SimpleQueue[None] = SimpleQueue()
        for _ in range(AHEAD):
            self._free.put(None)
        self._from = path, file

    def start(self) -> None:
        """Begins to read."""
        threading.Thread(target=self._work, args=self._from, name="falcolib-capture", daemon=True).start()

    def __del__(self) -> None:
        os.close(self._wake)        # here and not in close(): the thread has ended, nobody else can mean this number

    def __iter__(self) -> Iterator[_Item]:
        while True:
            try:
                item = self._filled.get(timeout=LOOK)
            except Empty:
                continue            # a signal that comes just before the wait doesn't end it: its handler runs here
            if self._closed or item is None:
                return
            if isinstance(item, BaseException):
                raise item
            self._free.put(None)
            yield item

    def close(self) -> None:
        self._closed = True
        os.eventfd_write(self._wake, 1)
        self._free.put(None)
        self._filled.put(None)

    def _work(self, path: str | None, file: Readable | None) -> None:
        end: BaseException | None = None
        try:
            if file is not None:
                self._deliver(_object_reader(file))
            elif path == "-":
                if sys.__stdin__ is None:       # 0 is by now the number of another file
                    raise OSError(errno.EBADF, "closed", "standard input")
                self._deliver(self._descriptor_reader(0))
            else:
                assert path is not None
                with io.FileIO(path) as opened:
                    self._deliver(self._descriptor_reader(opened.fileno()))
        except BaseException as e:      # raised again in chunks()
            end = e
        self._filled.put(end)

    def _deliver(self, read: Callable[[int], bytes]) -> None:
        for item in _uncompressed(read):
            self._free.get()
            if self._closed:
                return
            self._filled.put(item)

    def _descriptor_reader(self, fd: int) -> Callable[[int], bytes]:
        """Reads a descriptor; one that can wait (a pipe, a socket) no longer than until close()."""
        if stat.S_ISREG(os.fstat(fd).st_mode):
            return lambda size: os.read(fd, size)
        poll = select.poll()
        poll.register(fd, select.POLLIN)
        poll.register(self._wake, select.POLLIN)

        def read(size: int) -> bytes:
            while not self._closed:
                if any(ready == fd for ready, _ in poll.poll()):
                    return os.read(fd, size)
            return b""

        return read


def _object_reader(file: Readable) -> Callable[[int], bytes]:
    # of buffered files: what is there, instead of waiting for the full size
    read: Callable[[int], object] = getattr(file, "read1", None) or file.read

    def checked(size: int) -> bytes:
        data = read(size)
        if not isinstance(data, (bytes, bytearray, memoryview)):
            raise TypeError(f"{file!r} gives {type(data).__name__}; a capture is read from a file object that is binary and blocks")
        return bytes(data)

    return checked


def _uncompressed(read: Callable[[int], bytes]) -> Iterator[_Item]:
    first = b""
    while len(first) < len(_GZIP_MAGIC):
        more = read(_PIECE)
        if not more:
            break
        first += more
    if first.startswith(_GZIP_MAGIC):
        yield from _gunzip(first, read)
        return
    done = len(first)
    if first:
        yield first, done
    while chunk := read(CHUNK):
        done += len(chunk)
        yield chunk, done


def _gunzip(piece: bytes, read: Callable[[int], bytes]) -> Iterator[_Item]:
    """The members of a gzip file, one after the other; zeros between and after them are padding, as for gzip itself."""
    offset = 0                          # of `piece` in the compressed file
    member = _inflate()
    inside = True                       # a member has begun
    while True:
        if not piece:
            piece = read(_PIECE)
            if not piece:
                break
        if not inside:
            padding = len(piece) - len(piece.lstrip(b"\0"))
            offset += padding
            piece = piece[padding:]
            if not piece:
                continue
            member = _inflate()
            inside = True
        before = member.copy()
        try:
            data = member.decompress(piece, CHUNK)
        except _INFLATE_ERROR as e:
            good, at = _good_part(before, piece)
            if good:
                yield good, offset + at
            raise CaptureError(f"compressed offset {offset + at}: the gzip data is corrupt: {str(e).rpartition(': ')[2]}") from None
        rest = member.unused_data if member.eof else member.unconsumed_tail
        offset += len(piece) - len(rest)
        piece = rest
        inside = not member.eof
        if data:
            yield data, offset
    if inside and (data := member.flush()):
        yield data, offset
    if inside and not member.eof:
        raise CaptureError(f"compressed offset {offset}: the gzip data is truncated")


def _good_part(member: _Inflate, piece: bytes) -> tuple[bytes, int]:
    """What a corrupt piece gives up to the mistake, and the place of the mistake in it."""
    good = bytearray()
    for at in range(len(piece)):
        try:
            good += member.decompress(piece[at : at + 1])
        except _INFLATE_ERROR:
            return bytes(good), at
    return bytes(good), len(piece)
