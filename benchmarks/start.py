# SPDX-License-Identifier: Apache-2.0
"""What the state at start costs, next to the same read by Python.

Idle processes are started, each with ten descriptors; then Core.snapshot() reads all processes of the machine, and a plain scan by Python
reads the same files. Both in one run: what holds on any machine is the ratio. CPU seconds and seconds by the clock, the least of the runs.

    python benchmarks/start.py [--processes 5000] [--runs 3]
"""

import argparse
import contextlib
import os
import pathlib
import signal
import subprocess
import time
from collections.abc import Callable

from falcolib.core import Core
from falcolib.sources.probe import CoreLoader, object_path


def scan() -> int:
    """The files that the core reads, read by Python."""
    found = 0
    for pid in filter(str.isdigit, os.listdir("/proc")):
        folder = pathlib.Path("/proc", pid)
        with contextlib.suppress(OSError):
            for name in ("status", "stat", "cmdline", "environ", "loginuid", "limits", "cgroup"):
                with contextlib.suppress(FileNotFoundError):
                    (folder / name).read_bytes()
            for name in ("cwd", "root", "exe"):
                with contextlib.suppress(OSError):
                    os.readlink(folder / name)
            for fd in os.listdir(folder / "fd"):
                link = os.readlink(folder / "fd" / fd)
                (folder / "fdinfo" / fd).read_bytes()
                if link.startswith("/"):
                    os.stat(folder / "fd" / fd)
                found += 1
    return found


def measure(runs: int, work: Callable[[], object]) -> tuple[float, float]:
    """CPU seconds and seconds by the clock: the least of the runs."""
    figures = [(0.0, 0.0)] if not runs else []
    for _ in range(runs):
        wall, cpu = time.perf_counter(), time.process_time()
        work()
        figures.append((time.process_time() - cpu, time.perf_counter() - wall))
    return min(cpu for cpu, _ in figures), min(wall for _, wall in figures)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--processes", type=int, default=5000)
    parser.add_argument("--runs", type=int, default=3)
    options = parser.parse_args()
    opened = " ".join(f"{fd}</dev/null" for fd in (3, 4, 5, 6, 7, 8, 9))
    script = f"exec {opened}; i=0; while [ $i -lt {options.processes} ]; do sleep 3600 & i=$((i+1)); done; echo; wait"
    with subprocess.Popen(["sh", "-c", script], stdout=subprocess.PIPE, start_new_session=True) as processes:
        try:
            assert processes.stdout
            processes.stdout.readline()
            core = Core("first", 0, 0)
            cpu, wall = measure(options.runs, lambda: core.snapshot(""))
            stats = core.stats()
            loader = CoreLoader(object_path()) if os.geteuid() == 0 else None
            iter_cpu, iter_wall = measure(options.runs if loader else 0, lambda: core.snapshot("", loader.handle if loader else None))
            iterated = core.stats()
            python_cpu, python_wall = measure(1, scan)
        finally:
            os.killpg(processes.pid, signal.SIGKILL)
    print(f"{stats.scanned_threads} threads, {stats.scanned_fds} descriptors")
    print(f"{'':22} {'CPU s':>8} {'clock s':>8}")
    if loader:
        print(f"{'iterators':22} {iter_cpu:8.3f} {iter_wall:8.3f}   {iterated.iterated_threads} threads")
    print(f"{'/proc, by the core':22} {cpu:8.3f} {wall:8.3f}")
    print(f"{'/proc, by Python':22} {python_cpu:8.3f} {python_wall:8.3f}")
    print(f"{'ratio of these two':22} {python_cpu / cpu:8.1f} {python_wall / wall:8.1f}")


if __name__ == "__main__":
    main()
