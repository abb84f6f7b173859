# SPDX-License-Identifier: Apache-2.0
"""Which files of configuration and rules have changed, as the kernel tells it (inotify, by watchfiles)."""

from __future__ import annotations

import contextlib
import logging
import os
import threading
from collections.abc import Callable, Iterable
from typing import TypeAlias

#: Milliseconds in which changes are collected; and between two looks whether the watch is to end.
COLLECT, LOOK = 100, 100
_log = logging.getLogger("falcolib.reload")

#: What a path looked like: of each file where it leads, its inode, size and time of change.
Looks: TypeAlias = tuple[tuple[str, int, int, int], ...]


class FileWatch:
    """Calls ``changed`` when one of some files or folders may have changed, in a thread of its own, until stop().

    A path may lead through symbolic links, as those of a ConfigMap do (``falco.yaml -> ..data/falco.yaml``, ``..data -> ..2026_11_24_…``),
    which is changed by replacing ``..data``: every folder on the way is watched. What isn't there yet is watched from the nearest folder
    that is. What happens in these folders to other files is no change. A folder stands for its files, not for those below its folders.

    since: config.files.now() before the files were read: those that are newer may have been read before they changed.
    """

    def __init__(self, paths: Iterable[str], changed: Callable[[], None], since: int | None = None) -> None:
        self.paths = tuple(os.path.abspath(path) for path in paths)
        self._changed = changed
        self._stop = threading.Event()
        self._looks = look_at(self.paths)
        if since is not None and _newest(self.paths) >= since:
            changed()
        self._thread = threading.Thread(target=self._work, name="falcolib-watch", daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """Ends the watch; its thread ends soon after."""
        self._stop.set()

    def _work(self) -> None:
        failed = False
        while not self._stop.is_set():
            try:
                self._watch()
                failed = False
            except Exception as e:      # a folder went while it was looked at; the kernel has no more room for watches
                if not failed:
                    _log.warning("changes of %s can't be watched now, and are looked for each second: %s", ", ".join(self.paths), e)
                failed = True
                self._stop.wait(1)

    def _watch(self) -> None:
        """Watches until a link leads elsewhere, or a folder is another one."""
        from watchfiles import watch  # costs what a run without it needn't pay

        folders = watched_folders(self.paths)
        self._compare()                 # what changed before the kernel was asked to tell
        # each 5 seconds also without news: not every file system gives them
        for _ in watch(*(path for path, _ in folders), watch_filter=None, debounce=COLLECT, step=LOOK, stop_event=self._stop,
                       raise_interrupt=False, recursive=False, ignore_permission_denied=True, rust_timeout=5000, yield_on_timeout=True):
            self._compare()
            if watched_folders(self.paths) != folders:
                return

    def _compare(self) -> None:
        looks = look_at(self.paths)
        if looks != self._looks:
            self._looks = looks
            self._changed()


def watched_folders(paths: Iterable[str]) -> list[tuple[str, int]]:
    """The folders whose entries decide what some paths lead to, and their inodes."""
    found: dict[str, None] = {}
    for path in paths:
        for step in _steps(path):
            folder = step if os.path.isdir(step) else os.path.dirname(step)
            while not os.path.isdir(folder):
                folder = os.path.dirname(folder)
            found[os.path.realpath(folder)] = None
            if os.path.islink(step):
                found[os.path.realpath(os.path.dirname(step))] = None
    return sorted((folder, os.stat(folder).st_ino) for folder in found)


def _steps(path: str) -> list[str]:
    """A path, and what it is called behind each symbolic link on its way."""
    steps, seen = [path], 0
    while seen < len(steps) < 64:
        at = steps[seen]
        seen += 1
        parts = at.split("/")
        for n in range(2, len(parts) + 1):
            part = "/".join(parts[:n])
            if os.path.islink(part):
                target = os.path.normpath(os.path.join(os.path.dirname(part), os.readlink(part)))
                steps += [part, os.path.join(target, *parts[n:])]
                break
    return steps


def _newest(paths: Iterable[str]) -> int:
    """When the last of some paths was written, renamed, or led elsewhere."""
    newest = 0
    for path in paths:
        with contextlib.suppress(OSError):
            inside = [os.path.join(path, name) for name in os.listdir(path)] if os.path.isdir(path) else []
            newest = max(newest, *(os.stat(step, follow_symlinks=False).st_ctime_ns for step in (*_steps(path), *inside)))
    return newest


def look_at(paths: Iterable[str]) -> tuple[Looks, ...]:
    """What paths look like; equal as long as nothing has changed."""
    return tuple(_look(path) for path in paths)


def _look(path: str) -> Looks:
    if not os.path.isdir(path):
        return _stat(path)
    try:
        names = sorted(os.listdir(path))
    except OSError:
        return ()
    return tuple(look for name in names if name.endswith((".yaml", ".yml")) for look in _stat(os.path.join(path, name)))


def _stat(path: str) -> Looks:
    try:
        status = os.stat(path)
    except OSError:
        return ()
    return ((os.path.realpath(path), status.st_ino, status.st_size, status.st_mtime_ns),)
