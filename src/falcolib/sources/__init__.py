# SPDX-License-Identifier: Apache-2.0
"""Where events come from. A source delivers bytes; the C core makes events of them."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Protocol, runtime_checkable

from .capture import CaptureReader

__all__ = ["CaptureReader", "Source"]


@runtime_checkable
class Source(Protocol):
    """What Engine.run() and Engine.events() read: any object with these four; a class that derives from Source needs only chunks().

    A source that doesn't deliver the bytes of a capture has a fifth, ``open_on(core)``: called at the beginning of a run, it opens what
    it reads on the core, and each of its chunks, which may be empty, lets the core read from there. Without it, a capture begins.

    A source of what happens now has ``live = True``: runtimes are asked for what its events don't tell of containers.
    One that has promised to deliver what it took has ``drains = True``: it ends by itself soon after close(), and what it delivers until
    then is looked at.
    One that is never silent for long, such as a file, may tell so by ``waits = False``: then alerts of several are exactly in order.
    """

    @property
    def name(self) -> str:
        """The source of events as rules name it: ``syscall``."""
        return "syscall"

    def chunks(self) -> Iterator[bytes | memoryview]:
        """The bytes of a .scap capture, uncompressed, in pieces of any size, until the source ends or is closed.

        Raises CaptureError where it is damaged, OSError where it can't be read, in both cases after all that could be read.
        """
        ...

    def close(self) -> None:
        """Ends chunks() soon. May be called at any time, more than once, from any thread and from a signal handler."""
        return

    def position(self) -> tuple[int, int | None]:
        """Bytes of the file that have been delivered, and bytes of the whole file (None if unknown): for showing progress."""
        return 0, None
