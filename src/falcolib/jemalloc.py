# SPDX-License-Identifier: Apache-2.0
"""What jemalloc tells of itself, in a process that it was loaded into (``LD_PRELOAD=libjemalloc.so.2``)."""

from __future__ import annotations

from pathlib import Path

#: Its numbers named stats.NAME (bytes, but for zero_reallocs), of all versions from 4 to 5.3.
STATS = ("active", "allocated", "mapped", "metadata", "metadata_thp", "resident", "retained", "zero_reallocs")


def stats() -> dict[str, int]:
    """Its numbers of now, by name: those of STATS that this version has; none where memory comes from another allocator."""
    if "jemalloc" not in Path("/proc/self/maps").read_text(errors="replace"):      # ctypes takes its time to import
        return {}
    import ctypes

    mallctl = getattr(ctypes.CDLL(None), "mallctl", None)       # absent: a library that uses it for itself alone
    if mallctl is None:
        return {}
    size = ctypes.sizeof(ctypes.c_size_t)
    epoch = ctypes.c_uint64(1)
    mallctl(b"epoch", None, None, ctypes.byref(epoch), ctypes.c_size_t(ctypes.sizeof(epoch)))       # the numbers are of the last one
    found = {}
    for name in STATS:
        value, length = ctypes.c_size_t(), ctypes.c_size_t(size)
        if mallctl(f"stats.{name}".encode(), ctypes.byref(value), ctypes.byref(length), None, ctypes.c_size_t(0)) == 0:
            found[name] = value.value
    return found
