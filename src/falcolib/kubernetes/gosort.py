# SPDX-License-Identifier: Apache-2.0
"""Go's stable sort (sort.SliceStable), for comparisons that are no order: where a is before b, b before c and c before a, the result is the
algorithm's, and only the same algorithm gives the same."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

T = TypeVar("T")
#: Items of the blocks that are sorted by insertion, before they are merged.
BLOCK = 20


def stable(items: list[T], less: Callable[[T, T], bool]) -> None:
    """Sorts in place: insertion in blocks, merged in place by symmetric comparisons (Kim and Kutzner's SymMerge)."""
    n, size = len(items), BLOCK
    for low in range(0, n, size):
        for i in range(low + 1, min(low + size, n)):
            j = i
            while j > low and less(items[j], items[j - 1]):
                items[j], items[j - 1] = items[j - 1], items[j]
                j -= 1
    while size < n:
        for low in range(0, n - size, 2 * size):
            _merge(items, less, low, low + size, min(low + 2 * size, n))
        size *= 2


def _merge(items: list[T], less: Callable[[T, T], bool], a: int, m: int, b: int) -> None:
    """Merges items[a:m] and items[m:b], both sorted."""
    if m - a == 1:
        i, j = m, b
        while i < j:
            h = (i + j) // 2
            i, j = (h + 1, j) if less(items[h], items[a]) else (i, h)
        items[a:i] = [*items[a + 1:i], items[a]]
        return
    if b - m == 1:
        i, j = a, m
        while i < j:
            h = (i + j) // 2
            i, j = (h + 1, j) if not less(items[m], items[h]) else (i, h)
        items[i:m + 1] = [items[m], *items[i:m]]
        return
    mid = (a + b) // 2
    n = mid + m
    start, r = (n - b, mid) if m > mid else (a, m)
    p = n - 1
    while start < r:
        c = (start + r) // 2
        start, r = (c + 1, r) if not less(items[p - c], items[c]) else (start, c)
    end = n - start
    if start < m < end:
        items[start:end] = items[m:end] + items[start:m]
    if a < start < mid:
        _merge(items, less, a, start, mid)
    if mid < end < b:
        _merge(items, less, mid, end, b)
