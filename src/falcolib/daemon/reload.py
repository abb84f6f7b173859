# SPDX-License-Identifier: Apache-2.0
"""Hot reload: changed rules and settings are put into force while the run goes on.

What is new is read, checked and compiled in a thread beside the run; the run sees it when it is whole. So a mistake changes nothing, the
processes and descriptors stay known, and the engine's pause is that of the change of its program.
"""

from __future__ import annotations

import contextlib
import logging
import re
import sys
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from queue import Empty, SimpleQueue
from typing import Any, Generic, TypeVar

from ..config.files import now
from .watch import FileWatch

T = TypeVar("T")
_log = logging.getLogger("falcolib.reload")

#: Seconds without another change, after which what has changed is read: files are often written one by one.
QUIET = 0.1
#: Seconds that a reload under way is given at the end of the run. One may wait for a file for ever, as for a pipe.
PATIENCE = 5.0
#: Seconds for which a thread of Python keeps its lock while new rules are compiled: the run gets it ten times sooner than usual.
SHARE = 0.0005

#: What only a start takes into account, by what the key begins with.
AT_START = (
    "engine.", "falco_libs.", "base_syscalls.", "webserver.", "load_plugins", "plugins", "rule_matching", "watch_config_files", "log_",
    "libs_logger.", "metrics.enabled", "metrics.costs_enabled", "metrics.output_file", "capture.", "syscall_event_", "output_timeout",
)
#: What outputs are made of.
OUTPUTS = re.compile(r"\w+_output\.|outputs_queue\.|json_|buffered_outputs|time_format_iso_8601|static_fields")


class Reloader(Generic[T]):
    """Replaces what is in force by what the files say now, whenever it is asked to, or they change.

    current: what is in force. load: reads and checks all of it anew; what it raises is told to ``failed``, and nothing changes. apply(new,
    old) puts it into force, in this thread; if it raises, that is told, too. files: of what is in force, the files and folders that are
    watched; None: nothing is. since: when it was begun to be read, by config.files.now().
    """

    def __init__(
        self, current: T, load: Callable[[], T], apply: Callable[[T, T], None], failed: Callable[[Exception], None],
        files: Callable[[T], Iterable[str]] | None = None, since: int | None = None,
    ) -> None:
        self.current = current
        #: When it was put into force: ns since the epoch.
        self.time = time.time_ns()
        self._load = load
        self._apply = apply
        self._failed = failed
        self._files = files
        self._since = since
        self._asked: SimpleQueue[bool] = SimpleQueue()
        self._watch: FileWatch | None = None
        self._thread = threading.Thread(target=self._work, name="falcolib-reload", daemon=True)

    def start(self) -> None:
        """Begins to watch, and to do what it is asked for."""
        self._look()
        self._thread.start()

    def request(self, *_: object) -> None:
        """Asks for a reload. May be called from any thread, and is a signal handler."""
        self._asked.put(True)

    def stop(self) -> None:
        """Ends it, after a reload that is under way; one that takes longer than PATIENCE ends with the process."""
        if self._watch is not None:
            self._watch.stop()
        self._asked.put(False)
        if self._thread.is_alive():
            self._thread.join(PATIENCE)

    def _look(self) -> None:
        if self._files is None:
            return
        paths = tuple(self._files(self.current))
        if self._watch is None or self._watch.paths != paths:
            if self._watch is not None:
                self._watch.stop()
            self._watch = FileWatch(paths, self.request, self._since)

    def _work(self) -> None:
        while self._asked.get():
            while True:
                try:
                    if not self._asked.get(timeout=QUIET):
                        return
                except Empty:
                    break
            try:
                self.reload()
            except Exception:           # of telling that it failed: the next reload may do
                _log.exception("a reload failed")

    def reload(self) -> bool:
        """Does it now, in this thread. False: it failed, and nothing has changed."""
        self._since = now()
        try:
            with _sharing():
                new = self._load()
            self._apply(new, self.current)
        except Exception as e:
            self._failed(e)
            return False
        self.current, self.time = new, time.time_ns()
        self._look()
        return True


@contextlib.contextmanager
def _sharing() -> Iterator[None]:
    before = sys.getswitchinterval()
    sys.setswitchinterval(min(before, SHARE))
    try:
        yield
    finally:
        sys.setswitchinterval(before)


def changed_keys(old: Any, new: Any, prefix: str = "") -> list[str]:
    """The keys of two configurations (Groups of falcolib.config) whose values differ, by name: ``http_output.url``."""
    found: list[str] = []
    for name in type(new).__struct_fields__:
        before, now = getattr(old, name), getattr(new, name)
        if before == now or name == "origin":
            continue
        if hasattr(now, "__struct_fields__") and type(before) is type(now):
            found += changed_keys(before, now, f"{prefix}{name}.")
        else:
            found.append(prefix + name)
    return found


def changes_outputs(old: Any, new: Any) -> bool:
    """Whether the outputs are other ones."""
    return any(OUTPUTS.match(key) for key in changed_keys(old, new))


def needs_restart(old: Any, new: Any) -> list[str]:
    """Of the keys that have changed, those that come into force at the next start."""
    return [key for key in changed_keys(old, new) if key.startswith(AT_START)]
