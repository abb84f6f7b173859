# SPDX-License-Identifier: Apache-2.0
"""The only importer of the compiled module. Turns the core's error codes into exceptions."""

from __future__ import annotations

import weakref
from collections.abc import Callable
from typing import Any, NoReturn

from ._falcolib import ffi, lib
from .errors import CaptureError, FalcolibError, ProbeError, ProgramError

__all__ = ["check", "error_text", "ffi", "lib", "owned", "raise_error"]

_MEMORY, _CAPTURE, _PROGRAM, _ARGUMENT, _EXTENSION, _SYSTEM, _PROBE = -1, -2, -3, -4, -5, -6, -7
_EXCEPTIONS: dict[int, type[Exception]] = {
    _CAPTURE: CaptureError,
    _PROGRAM: ProgramError,
    _ARGUMENT: ValueError,
    _EXTENSION: FalcolibError,
    _SYSTEM: OSError,
    _PROBE: ProbeError,
}


def error_text() -> Any:
    """A fresh fl_error_text for a call."""
    return ffi.new("fl_error_text *")


def owned(handle: Any, free: Callable[[Any], None]) -> weakref.finalize[..., Any]:
    """Frees what a handle stands for when nobody refers to the handle any more, or when the result is called.

    ffi.gc() would free it as soon as the handle is found in a circle of garbage, also where a run that was left amid in the same circle
    is still to be ended, and uses it. When the interpreter ends, nothing is freed any more.
    """
    freed = weakref.finalize(handle, free, ffi.cast(ffi.typeof(handle), handle))
    freed.atexit = False
    return freed


def raise_error(code: int, error: Any) -> NoReturn:
    """Raises what a negative code means, with the text that the core gave."""
    text = ffi.string(error.text).decode("utf-8", "replace") if error is not None else ""
    if code == _MEMORY:
        raise MemoryError(text or "out of memory")
    raise _EXCEPTIONS.get(code, FalcolibError)(text or f"error {code} in the core")


def check(code: int, error: Any = None) -> int:
    """The code, if it isn't negative."""
    if code < 0:
        raise_error(code, error)
    return code
