# SPDX-License-Identifier: Apache-2.0
"""deploy/falcolib.service under a real systemd, watching this machine: `make test-systemd`."""

from __future__ import annotations

import json
import os
import pathlib
import re
from collections.abc import Iterator
from typing import Any

import pytest

from apiserver import wait_for
from systemd_machine import ROOT, Machine, booted

UNIT = (ROOT / "deploy" / "falcolib.service").read_text()
RULES = """\
- rule: Program
  desc: A program was started.
  condition: evt.type = execve and proc.name = true and proc.args contains {mark}
  output: started %proc.args
  priority: NOTICE
"""
#: As Falco ships it: alerts go to stdout and to syslog.
CONFIG = """\
rules_files: [/etc/falco/rules.yaml]
watch_config_files: false
json_output: true
stdout_output: {enabled: true}
syslog_output: {enabled: true}
"""


@pytest.fixture(scope="module")
def machine(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Machine]:
    tree = pathlib.Path(os.environ["SYSTEMD_TREE"]).resolve()
    with booted(tree, tmp_path_factory.mktemp("systemd")) as machine:
        wait_for("the boot", lambda: machine.run("sh", "-c", "systemctl is-system-running --wait || :").strip() in ("running", "degraded"))
        machine.write("/etc/systemd/system/falcolib.service", UNIT)
        machine.write("/etc/falco/falco.yaml", CONFIG)
        machine.systemctl("enable", "falcolib")         # so that systemd remembers what came of it
        yield machine


@pytest.fixture
def service(machine: Machine) -> Iterator[Machine]:
    """The unit, which has just started."""
    machine.write("/etc/falco/rules.yaml", RULES.format(mark="first"))
    machine.systemctl("daemon-reload")
    machine.systemctl("start", "falcolib")
    yield machine
    machine.systemctl("stop", "falcolib")


def alerts(machine: Machine, mark: str) -> list[dict[str, Any]]:
    """Of programs that were started with this argument."""
    found = [json.loads(line) for line in machine.journal("falcolib") if line.startswith("{")]
    return [alert for alert in found if mark in alert["output"].split()]


def status(machine: Machine) -> dict[str, str]:
    """What the kernel tells of the service's process."""
    pid = machine.shows("falcolib", "MainPID")
    return dict(re.findall(r"^(\w+):\s+(.*)$", machine.run("cat", f"/proc/{pid}/status"), re.MULTILINE))


def test_it_has_started_when_it_watches(service: Machine) -> None:
    assert service.shows("falcolib", "StatusText") == "Watching"
    assert any(line.startswith("Watching this machine") for line in service.journal("falcolib"))
    assert service.shows("falcolib", "ActiveState") == "active"


def test_an_alert_is_in_the_journal_once(service: Machine) -> None:
    service.run("/bin/true", "first", "one")
    service.run("/bin/true", "first", "two")
    wait_for("the second alert", lambda: alerts(service, "two"))
    assert len(alerts(service, "one")) == 1


def test_reload(service: Machine) -> None:
    pid = service.shows("falcolib", "MainPID")
    service.write("/etc/falco/rules.yaml", RULES.format(mark="second"))
    service.systemctl("reload", "falcolib")
    wait_for("the new rules", lambda: any(line.startswith("Reloaded: ") for line in service.journal("falcolib")))
    wait_for("the end of the reload", lambda: service.shows("falcolib", "ActiveState") == "active")
    service.run("/bin/true", "first", "three")
    service.run("/bin/true", "second", "four")
    wait_for("an alert by the new rules", lambda: alerts(service, "four"))
    assert not alerts(service, "three")
    assert (service.shows("falcolib", "MainPID"), service.shows("falcolib", "StatusText")) == (pid, "Watching")


def test_what_it_may_do(service: Machine) -> None:
    told = status(service)
    wanted = {"CAP_BPF": 39, "CAP_PERFMON": 38, "CAP_SYS_PTRACE": 19, "CAP_DAC_READ_SEARCH": 2}
    found = re.search(r"^CapabilityBoundingSet=(.*)$", UNIT, re.MULTILINE)
    assert found
    assert set(found[1].split()) == wanted.keys()
    assert {int(told[name], 16) for name in ("CapPrm", "CapEff", "CapBnd")} == {sum(1 << bit for bit in wanted.values())}
    assert (told["NoNewPrivs"], told["Seccomp"]) == ("1", "2")
    pid = service.shows("falcolib", "MainPID")
    mounts = {line.split()[4]: line.split()[5].split(",") for line in service.run("cat", f"/proc/{pid}/mountinfo").splitlines()}
    assert [where for where in ("/", "/etc", "/home", "/sys/fs/cgroup") if "ro" not in mounts.get(where, mounts["/"])] == []
    assert "rw" in mounts["/var/lib/falcolib"]
    assert "/tmp" in mounts


def test_the_watchdog_restarts_it_when_it_hangs(machine: Machine, service: Machine) -> None:
    machine.write("/run/systemd/system/falcolib.service.d/soon.conf", "[Service]\nWatchdogSec=3\nRestartSec=100ms\n")
    machine.systemctl("daemon-reload")
    machine.systemctl("restart", "falcolib")
    pid, first = machine.shows("falcolib", "MainPID"), machine.shows("falcolib", "WatchdogTimestampMonotonic")
    wait_for("signs of life", lambda: int(machine.shows("falcolib", "WatchdogTimestampMonotonic")) > int(first) + 4 * 10**6)
    assert (machine.shows("falcolib", "MainPID"), machine.shows("falcolib", "NRestarts")) == (pid, "0")
    machine.run("/bin/sh", "-c", f"kill -STOP {pid}")
    wait_for("a new process", lambda: machine.shows("falcolib", "MainPID") not in (pid, "0"))
    wait_for("its start", lambda: machine.shows("falcolib", "ActiveState") == "active")
    assert machine.shows("falcolib", "NRestarts") == "1"
    machine.run("rm", "-r", "/run/systemd/system/falcolib.service.d")


def test_it_stops_in_order(service: Machine) -> None:
    service.run("/bin/true", "first", "five")
    wait_for("its alert", lambda: alerts(service, "five"))
    service.systemctl("stop", "falcolib")
    assert [service.shows("falcolib", name) for name in ("ActiveState", "Result", "ExecMainCode", "ExecMainStatus")] == [
        "inactive", "success", "1", "0"]
    assert any(line.startswith("Events detected: ") for line in service.journal("falcolib"))


def test_a_start_that_cannot_succeed_fails(machine: Machine) -> None:
    machine.write("/etc/falco/rules.yaml", "- rule: broken\n")
    machine.systemctl("daemon-reload")
    machine.run("sh", "-c", "! systemctl start falcolib")
    assert machine.shows("falcolib", "ExecMainStatus") == "1"
    wait_for("the reason", lambda: any("/etc/falco/rules.yaml:1:" in line for line in machine.journal("falcolib")))
    machine.systemctl("stop", "falcolib")
    machine.systemctl("reset-failed", "falcolib")
