# SPDX-License-Identifier: Apache-2.0
"""A processor that goes while its ring holds records, and one that comes. Everybody on the machine feels it for a second;
FALCOLIB_HOTPLUG=0 leaves it out.

Another process holds a pipe of ours, and puts the processor back when the pipe is closed: also when this one is killed.
"""

from __future__ import annotations

import contextlib
import os
import pathlib
import subprocess
import sys
import threading
from collections.abc import Iterator

import pytest

import falcolib
from live import PATIENCE, in_child, needs_live

CPU = int(os.environ.get("FALCOLIB_HOTPLUG_CPU", "1"))
SWITCH = pathlib.Path(os.environ.get("FALCOLIB_HOTPLUG_SWITCH", f"/sys/devices/system/cpu/cpu{CPU}/online"))
OPENS = 200                             # of 100 bytes each
PRESET = 6 if (os.cpu_count() or 1) <= 16 else 4        # rings of 32 MiB have room for what others do meanwhile; each processor has one
OPENS_EACH = """
import os, sys
path, count, *cpu = sys.argv[1:]
if cpu:
    os.sched_setaffinity(0, map(int, cpu))
for i in range(int(count)):
    os.close(os.open(f"{path}-{i}", os.O_CREAT))
"""
WATCHDOG = "import pathlib, sys; sys.stdin.read(); pathlib.Path(sys.argv[1]).write_text('1')"

pytestmark = [*needs_live, pytest.mark.skipif(os.geteuid() != 0, reason="not root: a processor is root's to take away"),
              pytest.mark.skipif(os.environ.get("FALCOLIB_HOTPLUG") == "0", reason="not wanted: FALCOLIB_HOTPLUG=0"),
              pytest.mark.skipif(not SWITCH.exists(), reason=f"this machine's processors stay: there is no {SWITCH}")]


@contextlib.contextmanager
def without_processor() -> Iterator[None]:
    """Until the end of the block, whatever ends it."""
    with subprocess.Popen([sys.executable, "-c", WATCHDOG, SWITCH], stdin=subprocess.PIPE, start_new_session=True) as watchdog:
        try:
            SWITCH.write_text("0")
            yield
        finally:
            watchdog.communicate(timeout=PATIENCE)          # closes the pipe
    assert SWITCH.read_text().strip() == "1", f"the processor did not come back: echo 1 > {SWITCH}"


class Run:
    """A run of which this thread asks for one alert at a time: nobody reads the rings meanwhile."""

    def __init__(self, folder: pathlib.Path) -> None:
        self.folder, self.live = folder, falcolib.Live(buf_size_preset=PRESET, cpus_for_each_buffer=1, on_ready=lambda: self.open("begin"))
        rule = (f"- rule: r\n  desc: d\n  condition: evt.type in (open, openat) and fd.num >= 0 and fd.name startswith {folder}/\n"
                '  output: "%fd.filename %evt.cpu"\n  priority: INFO\n')
        self.engine = falcolib.Engine(falcolib.RuleSet.parse(rule, name="test"))
        self.alerts = self.engine.run(self.live)
        assert self.until("begin") == []

    def open(self, name: str, count: int = 1, cpu: int | None = None) -> None:
        """Opens name-0, name-1, …, each once, by a process that runs on one processor."""
        in_child(OPENS_EACH, self.folder / name, count, *([] if cpu is None else [cpu]))

    def until(self, last: str) -> list[falcolib.Alert]:
        """The alerts up to that of an open that has been made: events come in order of their time. One that never comes ends the run."""
        giving_up = threading.Timer(PATIENCE, self.engine.stop)
        giving_up.start()
        found: list[falcolib.Alert] = []
        try:
            for alert in self.alerts:
                if alert.fields["fd.filename"] == f"{last}-0":
                    return found
                found.append(alert)
        finally:
            giving_up.cancel()
        raise AssertionError(f"{last} was not seen; {len(found)} alerts before it; the probe's counters: {self.live.counters()}")

    def all_of(self, name: str, cpu: int | None = None) -> None:
        """Opens many, then one elsewhere, and finds all of them, in order, with nothing lost."""
        self.open(name, OPENS, cpu)
        self.open(f"{name}-end")
        self.expect(name, cpu)

    def expect(self, name: str, cpu: int | None) -> None:
        found = self.until(f"{name}-end")
        counters = self.live.counters()
        lost = {key: value for key, value in counters.items() if value and key.startswith("n_drops")}
        assert [alert.fields["fd.filename"] for alert in found] == [f"{name}-{i}" for i in range(OPENS)], f"lost: {lost or 'nothing'}"
        if cpu is not None:
            assert {alert.fields["evt.cpu"] for alert in found} == {cpu}

    def close(self) -> None:
        self.engine.stop()
        assert list(self.alerts) == []


@pytest.fixture
def run(tmp_path: pathlib.Path) -> Iterator[Run]:
    with contextlib.closing(Run(tmp_path)) as run:
        yield run


def test_a_processor_goes_and_its_records_are_read(run: Run) -> None:
    run.open("before", OPENS, CPU)
    with without_processor():
        run.open("before-end")
        run.expect("before", CPU)
        run.all_of("without")
        assert run.live.counters()[f"n_evts_cpu_{CPU}"] >= OPENS
    run.all_of("again", CPU)


def test_a_processor_comes(tmp_path: pathlib.Path) -> None:
    """What begins to watch while it is away sees it when it is there; so does falcolib doctor."""
    with contextlib.ExitStack() as stack:
        with without_processor():
            run = stack.enter_context(contextlib.closing(Run(tmp_path)))
            run.all_of("without")
            done = subprocess.run([sys.executable, "-m", "falcolib", "doctor"], capture_output=True, text=True, timeout=PATIENCE)
            assert done.returncode == 0, done.stdout + done.stderr
            assert run.live.counters()[f"n_evts_cpu_{CPU}"] == 0
        run.all_of("with", CPU)
        assert run.live.counters()[f"n_evts_cpu_{CPU}"] >= OPENS
