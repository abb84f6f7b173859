# SPDX-License-Identifier: Apache-2.0
"""Threads that end with the block that they are for."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Callable, Iterator


@contextlib.contextmanager
def beside(name: str, work: Callable[[threading.Event], None]) -> Iterator[None]:
    """Does work in a thread while the block goes on, and waits for it at the block's end.

    work: is given the event that is set at the end. ``while not done.wait(period):`` does something each period (seconds).
    """
    done = threading.Event()
    thread = threading.Thread(target=work, args=(done,), name=f"falcolib-{name}", daemon=True)
    thread.start()
    try:
        yield
    finally:
        done.set()
        thread.join()
