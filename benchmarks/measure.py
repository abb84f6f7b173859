# SPDX-License-Identifier: Apache-2.0
"""Instructions, CPU seconds and memory of whole processes.

Instructions are callgrind's: they are the same in each run and on each machine with the same libraries, whatever else runs. Seconds are
not: they are the least of several runs, and compared only with others of the same minutes.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import NamedTuple

#: Processes must not depend on the order of Python's sets.
FIXED = {"PYTHONHASHSEED": "0"}


class Cost(NamedTuple):
    """Of a process: seconds."""

    cpu: float
    wall: float


def falcolib(*arguments: str | Path) -> list[str]:
    """A command line."""
    return [sys.executable, "-m", "falcolib", *map(str, arguments)]


def run_on(capture: Path, rules: Iterable[Path], *options: str) -> list[str]:
    """The command that replays a capture."""
    return falcolib("run", *(word for path in rules for word in ("-r", path)), "--capture", capture, *options)


def once(command: list[str], env: Mapping[str, str]) -> Cost:
    """One run; what it prints is thrown away."""
    began = time.perf_counter()
    child = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, env={**os.environ, **env})
    _, status, used = os.wait4(child.pid, 0)
    child.returncode = os.waitstatus_to_exitcode(status)
    if child.returncode:
        raise subprocess.CalledProcessError(child.returncode, command)
    return Cost(used.ru_utime + used.ru_stime, time.perf_counter() - began)


def least(*commands: list[str], runs: int = 7, env: Mapping[str, str] = {}) -> list[Cost]:
    """The least of several runs of each command. They take turns, so that what disturbs one disturbs the others."""
    for command in commands:
        once(command, env)              # fills caches
    costs = [[once(command, env) for command in commands] for _ in range(runs)]
    return [Cost(*map(min, zip(*column, strict=True))) for column in zip(*costs, strict=True)]


def can_count() -> bool:
    """Whether valgrind is there."""
    return shutil.which("valgrind") is not None


def instructions(command: list[str], *options: str, env: Mapping[str, str] = {}) -> int:
    """Instructions of a process; options are callgrind's."""
    with tempfile.TemporaryDirectory() as folder:
        run = subprocess.run(["valgrind", "--tool=callgrind", f"--callgrind-out-file={folder}/out", *options, *command],
                             stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True, env={**os.environ, **FIXED, **env})
    found = re.search(r"Collected : (\d+)", run.stderr)
    if run.returncode or not found:
        raise RuntimeError(f"{' '.join(command)}: {run.stderr}")
    return int(found[1])


#: Linux counts the pages of who starts a process, until exec, as the process's own: an idle Python does it, not this one.
_STARTER = """
import os, sys
sink = os.open(os.devnull, os.O_WRONLY)
child = os.posix_spawn(sys.argv[1], sys.argv[1:], os.environ, file_actions=[(os.POSIX_SPAWN_DUP2, sink, 1), (os.POSIX_SPAWN_DUP2, sink, 2)])
print(os.wait4(child, 0)[2].ru_maxrss)
"""


def peak(command: list[str]) -> float:
    """MiB of a process at its peak: the least of three runs. It can't be less than an idle Python's, which starts it."""
    def run() -> int:
        return int(subprocess.run([sys.executable, "-S", "-c", _STARTER, *command], capture_output=True, text=True, check=True).stdout)

    return min(run() for _ in range(3)) / 1024
