# SPDX-License-Identifier: Apache-2.0
"""What systemd is told of the run: ready, reloading, stopping, alive (sd_notify(3), its protocol by the socket NOTIFY_SOCKET)."""

from __future__ import annotations

import contextlib
import os
import socket
import threading
import time
from collections.abc import Callable, Iterator

from ..beside import beside


def notify(*lines: str) -> bool:
    """Sends ``READY=1``, ``STATUS=…`` and the like; False if nobody wants to know."""
    path = os.environ.get("NOTIFY_SOCKET", "")
    if path[:1] not in ("/", "@"):
        return False
    with contextlib.suppress(OSError), socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC) as s:
        s.sendto("\n".join(lines).encode(), "\0" + path[1:] if path[0] == "@" else path)
        return True
    return False


def ready() -> None:
    """Everything from now on is seen; also the end of a reload."""
    notify("READY=1", "STATUS=Watching")


def reloading() -> None:
    """Until ready() is called."""
    notify("RELOADING=1", f"MONOTONIC_USEC={time.monotonic_ns() // 1000}", "STATUS=Reloading")


def stopping() -> None:
    """The end has begun."""
    notify("STOPPING=1", "STATUS=Delivering what is left")


def watchdog_seconds() -> float:
    """Between two signs of life that systemd waits for (WatchdogSec=); 0: it doesn't."""
    pid = os.environ.get("WATCHDOG_PID", "")
    usec = os.environ.get("WATCHDOG_USEC", "")
    return int(usec) / 1e6 if usec.isascii() and usec.isdigit() and pid in ("", str(os.getpid())) else 0.0


@contextlib.contextmanager
def watchdog(alive: Callable[[], bool]) -> Iterator[None]:
    """Gives the signs of life that systemd waits for, twice as often, while `alive` says so."""
    seconds = watchdog_seconds()
    if not seconds or not os.environ.get("NOTIFY_SOCKET"):
        yield
        return

    def work(done: threading.Event) -> None:
        while not done.wait(seconds / 2):
            if alive():
                notify("WATCHDOG=1")

    with beside("watchdog", work):
        yield
