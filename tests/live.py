# SPDX-License-Identifier: Apache-2.0
"""Help for tests that watch this machine: a run in a thread, and waiting for what it finds."""

import pathlib
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from types import TracebackType

import pytest

import falcolib

#: Seconds that a test waits for what must come: the machine may be slow, and busy with other work. What hangs ends the suite after 600.
PATIENCE = 240

#: For `in_child`: opens and closes a file that often, in pairs of calls.
FLOOD = "import os, sys; [os.close(os.open('/dev/null', os.O_RDONLY)) for _ in range(int(sys.argv[1]))]"


def reason_to_skip() -> str | None:
    """Why the probe can't be loaded here; None if it can."""
    from falcolib.sources.probe import check_kernel, object_path

    try:
        check_kernel()
        object_path()
    except falcolib.ProbeError as e:
        return str(e)
    return None


WHY_NOT = reason_to_skip()
needs_live = [pytest.mark.live, pytest.mark.skipif(WHY_NOT is not None, reason=f"no live capture here: {WHY_NOT}")]


def until_watching(run: "subprocess.Popen[str]") -> None:
    """Waits until `falcolib run` says on its standard error, a pipe, that it watches this machine; fails if it ends before."""
    assert run.stderr
    said = ""
    while "Watching this machine" not in said:
        line = run.stderr.readline()
        assert line, said
        said += line


class Watch:
    """A live run of rules, in a thread of its own, from `with` on until its end; alerts are in `alerts`."""

    def __init__(self, rules: str | falcolib.RuleSet, matching: str = "all",
                 engine: falcolib.Engine | None = None, **options: object) -> None:
        text = rules if isinstance(rules, falcolib.RuleSet) else falcolib.RuleSet.parse(rules, name="test")
        self.engine = engine or falcolib.Engine(text, matching=matching)            # type: ignore[arg-type]
        self.live = falcolib.Live(**options)                                        # type: ignore[arg-type]
        self.alerts: list[falcolib.Alert] = []
        self.arrived: list[float] = []
        self.failure: BaseException | None = None
        self._thread = threading.Thread(target=self._run, daemon=True)

    def _run(self) -> None:
        try:
            for alert in self.engine.run(self.live):
                self.arrived.append(time.time())
                self.alerts.append(alert)
        except BaseException as e:
            self.failure = e

    def __enter__(self) -> "Watch":
        self._thread.start()
        try:
            self.until(self.live.ready.is_set)
        except BaseException:
            self.engine.stop()
            raise
        return self

    def __exit__(self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None) -> None:
        self.engine.stop()
        self._thread.join(PATIENCE)
        assert not self._thread.is_alive()
        if self.failure and value is None:
            raise self.failure

    def until(self, condition: Callable[[], object], seconds: float = PATIENCE) -> None:
        """Waits for a condition."""
        end = time.monotonic() + seconds
        while not condition():
            assert self._thread.is_alive() or not self.failure, self.failure
            assert time.monotonic() < end, f"it didn't come about within {seconds} s; alerts: {[str(a) for a in self.alerts[-20:]]}"
            time.sleep(0.005)

    def of(self, rule: str) -> list[falcolib.Alert]:
        return [alert for alert in list(self.alerts) if alert.rule == rule]

    def first(self, rule: str) -> falcolib.Alert:
        """The first alert of a rule, waited for."""
        self.until(lambda: self.of(rule))
        return self.of(rule)[0]

    def lost(self) -> int:
        """How many events the rings had no room for."""
        return self.live.counters()["n_drops"]


class Recording(Watch):
    """A live run that is recorded."""

    def __init__(self, rules: str | falcolib.RuleSet, path: pathlib.Path) -> None:
        super().__init__(rules)
        self.writer = falcolib.CaptureWriter(path)

    def _run(self) -> None:
        try:
            for alert in self.engine.record(self.live, self.writer):
                self.alerts.append(alert)
        except BaseException as e:
            self.failure = e


def in_child(code: str, *arguments: object) -> int:
    """Runs Python code in a process of its own, with its arguments in `sys.argv[1:]`, and returns its number when it has ended well.

    Not a fork of this process: where a thread of it ends just then, the child may find AddressSanitizer's locks held, and never returns.
    """
    child = subprocess.Popen([sys.executable, "-c", code, *map(str, arguments)])
    try:
        assert child.wait(PATIENCE) == 0
    finally:
        child.kill()
        child.wait()
    return child.pid
