# SPDX-License-Identifier: Apache-2.0
"""What happens when the kernel side loses events, or tells nothing for long."""

from __future__ import annotations

import json
import logging
import pathlib
import subprocess
import sys
from collections.abc import Mapping
from typing import Any

import pytest

import falcolib
from falcolib.alert import Priority
from falcolib.config.engine import SyscallEventDrops, SyscallEventTimeouts
from falcolib.daemon.drops import Losses, Silence, watching
from live import FLOOD, WHY_NOT, Watch, in_child
from messages import PATIENCE, until

S = 10**9


class Heard:
    """What a run would do."""

    def __init__(self) -> None:
        self.alerts: list[tuple[str, Priority, str, dict[str, Any], int]] = []
        self.stopped = 0

    def emit(self, rule: str, priority: Priority, message: str, fields: Mapping[str, Any], when: int) -> None:
        self.alerts.append((rule, priority, message, dict(fields), when))

    def stop(self) -> None:
        self.stopped += 1


def losses(heard: Heard, **settings: Any) -> Losses:
    defaults: dict[str, Any] = {"threshold": 0.1, "rate": 1000.0, "max_burst": 1000.0}
    return Losses(SyscallEventDrops(**{**defaults, **settings}), heard.emit, heard.stop)


def counters(seen: int, lost: int, **more: int) -> dict[str, int]:
    return {"n_evts": seen, "n_drops": lost, "n_drops_buffer_total": lost, "n_drops_buffer_open_exit": lost, "n_drops_buffer_close_exit": 0,
            "n_drops_page_faults": 0, "n_drops_bug": 0, **more}


def test_the_alert_has_falco_s_text_and_fields() -> None:
    heard = Heard()
    watch = losses(heard, actions=("alert",))
    watch.look(counters(1000, 0), 1 * S)
    watch.look(counters(3000, 500), 2 * S)
    assert heard.alerts == [(
        "Falco internal: syscall event drop", Priority.DEBUG,
        "Falco internal: syscall event drop. 500 system calls dropped in last second.",
        {"n_evts": "2000", "n_drops": "500", "n_drops_buffer_total": "500", "n_drops_buffer_open_exit": "500",
         "n_drops_buffer_close_exit": "0", "n_drops_page_faults": "0", "n_drops_bug": "0", "ebpf_enabled": "1"}, 2 * S)]  # fmt: skip


def test_what_was_lost_counts_from_the_second_before() -> None:
    heard = Heard()
    watch = losses(heard, actions=("alert",))
    for second, lost in ((1, 500), (2, 500), (3, 900)):
        watch.look(counters(1000 * second, lost), second * S)
    assert [fields["n_drops"] for *_, fields, _ in heard.alerts] == ["500", "400"]


@pytest.mark.parametrize(("threshold", "lost", "acted"), [(0.1, 100, 0), (0.1, 101, 1), (0.0, 1, 1), (1.0, 1000, 0), (0.5, 0, 0)])
def test_more_than_the_threshold(threshold: float, lost: int, acted: int) -> None:
    heard = Heard()
    losses(heard, actions=("alert",), threshold=threshold).look(counters(1000, lost), S)
    assert len(heard.alerts) == acted


def test_the_rate_is_limited_by_a_token_bucket() -> None:
    heard = Heard()
    watch = losses(heard, actions=("alert",), rate=0.125, max_burst=2.0)
    for second in range(1, 26):
        watch.look(counters(1000 * second, 500 * second), second * S)
    assert [when // S for *_, when in heard.alerts] == [1, 2, 9, 17, 25]
    assert (watch.found, watch.acted) == (25, 5)


def test_log(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG, "falcolib.daemon")
    heard = Heard()
    losses(heard, actions=("log",)).look(counters(1000, 500), S)
    assert [(r.levelname, r.getMessage()) for r in caplog.records] == [
        ("DEBUG", "Falco internal: syscall event drop. 500 system calls dropped in last second.")]  # fmt: skip
    assert not heard.alerts


def test_exit_stops_the_run_with_an_error() -> None:
    heard = Heard()
    watch = losses(heard, actions=("exit",))
    watch.look(counters(1000, 500), S)
    watch.look(counters(2000, 1000), 2 * S)
    assert heard.stopped == 1
    assert "500 system calls dropped" in str(watch.failure)


@pytest.mark.parametrize("actions", [("ignore",), ()])
def test_ignore(actions: tuple[str, ...]) -> None:
    heard = Heard()
    watch = losses(heard, actions=actions)
    assert not watch.wanted
    looks: list[int] = []

    def counted() -> dict[str, int]:
        looks.append(1)
        return counters(1000, 500)

    with watching(watch, Silence(SyscallEventTimeouts(), heard.emit), counted, lambda: 0, period=0.01):
        until(lambda: len(looks) >= 3)
    assert not heard.alerts
    assert not heard.stopped


def test_simulated_losses_act_each_second() -> None:
    heard = Heard()
    watch = losses(heard, actions=("alert",), simulate_drops=True)
    for second in (1, 2):
        watch.look(counters(1000 * second, 0), second * S)
    watch.look(counters(3000, 0), 3 * S, last=True)
    message = "Falco internal: syscall event drop. 1 system calls dropped in last second."
    assert [alert[2] for alert in heard.alerts] == [message] * 2


def test_an_output_that_fails_does_not_end_the_looking() -> None:
    calls: list[int] = []

    def emit(*args: object) -> None:
        calls.append(1)
        raise OSError("full")

    watch = Losses(SyscallEventDrops(actions=("alert",), simulate_drops=True, rate=1000.0, max_burst=1000.0), emit, lambda: None)
    with watching(watch, Silence(SyscallEventTimeouts(), emit), lambda: counters(1, 0), lambda: 0, period=0.01):
        until(lambda: len(calls) >= 3)


class TestSilence:
    def test_it_is_told_after_so_many_timeouts(self) -> None:
        heard = Heard()
        watch = Silence(SyscallEventTimeouts(max_consecutives=100), heard.emit)          # 3 s
        for second in range(1, 9):
            watch.look({"n_evts": 7}, 1_600_000_000 * S, second * S)
        assert [when // S for *_, when in heard.alerts] == [4, 7]
        rule, priority, message, fields, _ = heard.alerts[0]
        assert (rule, priority) == ("Falco internal: timeouts notification", Priority.DEBUG)
        assert message == "Falco internal: timeouts notification. 100 consecutive timeouts without event."
        assert fields["last_event_time"].endswith(":40.000000000")

    def test_not_while_events_come(self) -> None:
        heard = Heard()
        watch = Silence(SyscallEventTimeouts(max_consecutives=100), heard.emit)
        for second in range(1, 9):
            watch.look({"n_evts": second}, 0, second * S)
        assert not heard.alerts

    def test_there_was_no_event_yet(self) -> None:
        heard = Heard()
        watch = Silence(SyscallEventTimeouts(max_consecutives=1), heard.emit)
        watch.look({}, 0, S)
        watch.look({}, 0, 2 * S)
        assert heard.alerts[0][3] == {"last_event_time": "none"}


RULES = "- rule: none\n  desc: d\n  condition: evt.type in (openat, close) and proc.name = nobody\n  output: x\n  priority: INFO\n"


@pytest.mark.live
@pytest.mark.skipif(WHY_NOT is not None, reason=f"no live capture here: {WHY_NOT}")
class TestLive:
    @staticmethod
    def adds_up(now: Mapping[str, int]) -> bool:
        """Whether numbers are of one moment: they are read one after the other, while the machine goes on."""
        def of_cpus(kind: str) -> int:
            return sum(value for name, value in now.items() if name.startswith(f"{kind}_cpu_"))

        return of_cpus("n_evts") == now["n_evts"] and of_cpus("n_drops") == now["n_drops"] == now["n_drops_buffer_total"]

    def test_the_counters_of_the_kernel_side(self) -> None:
        """Of programs, too, while the kernel counts how long they run."""
        switch = pathlib.Path("/proc/sys/kernel/bpf_stats_enabled")
        counts = switch.read_text()
        with Watch(RULES) as watch:
            before = watch.live.counters()
            in_child(FLOOD, 500)
            watch.until(lambda: watch.live.counters()["n_evts"] >= before["n_evts"] + 1000)
            watch.until(lambda: self.adds_up(watch.live.counters()))
            now = watch.live.counters()
            try:
                switch.write_text("1")
                times: dict[str, int] = {}
                watch.until(lambda: times.update(watch.live.counters()) or times.get("fl_sys_exit.run_cnt"))
            finally:
                switch.write_text(counts)
        assert 0 < times["fl_sys_exit.avg_time_ns"] <= times["fl_sys_exit.run_time_ns"]
        assert "fl_x_CLOSE_X.run_cnt" in times
        assert now["n_drops"] == now["n_drops_buffer_total"] < now["n_evts"]         # others may flood the rings just then
        cpus = [name for name in now if name.startswith("n_evts_cpu_")]
        assert sum(now[name] for name in cpus) == now["n_evts"]
        assert watch.live.counters()["n_evts"] >= now["n_evts"]            # those of the end, when it is over

    def test_losses_are_counted_by_kind_and_processor(self) -> None:
        """Nobody takes what the rings hold while a child floods one of 1 MiB."""
        engine, live = falcolib.Engine(falcolib.RuleSet.parse(RULES, name="test")), falcolib.Live(buf_size_preset=1)
        seen: list[dict[str, int]] = []

        def ready() -> None:            # in the thread of the run, which reads nothing meanwhile
            in_child(FLOOD, 20_000)
            until(lambda: seen.append(live.counters()) or self.adds_up(seen[-1]))
            engine.stop()

        live._on_ready = ready
        list(engine.run(live))
        now = seen[-1]
        assert now["n_drops"] > 0
        assert now["n_drops_buffer_open_exit"] > 0
        assert now["n_drops_buffer_close_exit"] > 0

    def test_metrics_and_actions_of_a_run(self, tmp_path: pathlib.Path) -> None:
        """The command: each second counts as one with losses, and ends the run with an error; metrics have the kernel side's numbers."""
        (tmp_path / "rules.yaml").write_text(RULES)
        options = ("syscall_event_drops.simulate_drops=true", "syscall_event_drops.actions[0]=alert", "syscall_event_drops.actions[1]=exit",
                   "json_output=true", "metrics.enabled=true", "metrics.interval=1s", f"metrics.output_file={tmp_path}/metrics.jsonl",
                   "metrics.kernel_event_counters_per_cpu_enabled=true", "metrics.include_empty_values=true")
        command = [sys.executable, "-m", "falcolib", "run", "-r", tmp_path / "rules.yaml", *(part for o in options for part in ("-o", o))]
        done = subprocess.run(command, capture_output=True, text=True, timeout=PATIENCE, check=False)
        assert done.returncode == 1, done.stderr
        assert "system calls dropped in last second" in done.stderr
        alert = next(json.loads(line) for line in done.stdout.splitlines() if "syscall event drop" in line)
        assert alert["priority"] == "Debug"
        assert int(alert["output_fields"]["n_drops"]) >= 1
        last = json.loads((tmp_path / "metrics.jsonl").read_text().splitlines()[-1])["output_fields"]
        assert last["scap.n_evts"] > 0
        assert last["scap.n_drops"] == last["scap.n_drops_buffer_total"] < last["scap.n_evts"]
        assert sum(told for name, told in last.items() if name.startswith("scap.n_evts_cpu_")) > 0         # whichever had work just then
