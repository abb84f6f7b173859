# SPDX-License-Identifier: Apache-2.0
"""``falcolib doctor``: what this machine allows, and what it says where something is taken away."""

from __future__ import annotations

import json
import os
import pathlib
import shutil
import socket
import subprocess
import sys
from typing import Any

import pytest

from falcolib.doctor import PORT, Check, Report, examine
from live import PATIENCE

NAMES = ["kernel", "BTF", "capabilities", "seccomp", "lockdown", "tracefs", "unprivileged BPF", "loader", "locked memory", "ring buffers",
         "PID namespace", "host mounts", "/proc", "container runtimes", "port"]  # fmt: skip
DOCTOR = [sys.executable, "-m", "falcolib", "doctor"]


def doctor(*before: str, env: dict[str, str] | None = None, script: str | None = None) -> tuple[int, dict[str, Any]]:
    """Exit status and checks by name of ``falcolib doctor --json``, run by a command, or by a shell script after what it does first."""
    command = [*before, *(["sh", "-ec", f'{script}\nexec "$@"', "sh"] if script else []), *DOCTOR, "--json"]
    done = subprocess.run(command, capture_output=True, text=True, env={**os.environ, **(env or {})}, timeout=PATIENCE)
    assert done.returncode in (0, 1), done.stderr
    told = json.loads(done.stdout)
    assert told["live"] == (done.returncode == 0)
    assert all(c["why"] and c["found"] and (c["status"] == "ok" or c["fix"]) for c in told["checks"]), told
    return done.returncode, {c["name"]: c for c in told["checks"]}


def need(*tools: str) -> None:
    for tool in tools:
        if shutil.which(tool) is None:
            pytest.skip(f"{tool} isn't installed")
    if os.geteuid() != 0:
        pytest.skip("needs root")


def test_every_check_is_made_and_the_status_says_whether_live_capture_works() -> None:
    status, checks = doctor()
    assert list(checks) == NAMES
    assert (status == 1) == any(c["status"] == "missing" for c in checks.values())
    assert os.uname().release in checks["kernel"]["found"]


def test_the_text_tells_why_and_how_below_what_is_missing() -> None:
    done = subprocess.run(DOCTOR, capture_output=True, text=True, timeout=PATIENCE)
    _, checks = doctor()
    lines = done.stdout.splitlines()
    assert [line.split()[0] for line in lines if line[0] != " "][:-1] == [c["status"] for c in checks.values()]
    for check in checks.values():
        assert (f"why: {check['why']}" in done.stdout) == (check["status"] != "ok")
    assert lines[-1].startswith("Live capture works" if done.returncode == 0 else "Live capture doesn't")


def test_nothing_is_loaded() -> None:
    need("strace")
    done = subprocess.run(["strace", "-f", "-e", "trace=bpf,perf_event_open", *DOCTOR], capture_output=True, text=True, timeout=PATIENCE)
    assert "bpf(" not in done.stderr
    assert "perf_event_open(" not in done.stderr


@pytest.mark.parametrize(
    ("drop", "status"),
    [
        ("-all", "missing"),
        ("-sys_admin,-bpf", "missing"),
        ("-sys_admin,-perfmon", "missing"),
        ("-sys_admin", "ok"),
        ("-sys_ptrace", "warning"),
    ],
)
def test_capabilities_that_are_dropped(drop: str, status: str) -> None:
    need("setpriv")
    exit_status, checks = doctor("setpriv", f"--bounding-set={drop}", f"--inh-caps={drop}")
    assert checks["capabilities"]["status"] == status
    assert exit_status == 1 or status != "missing"
    if status == "missing":
        assert "CAP_BPF" in checks["capabilities"]["why"]


def test_another_user() -> None:
    need("setpriv")
    status, checks = doctor("setpriv", "--reuid=65534", "--clear-groups")
    assert status == 1
    assert checks["capabilities"]["found"].startswith("user 65534 with none")


def test_a_user_namespace() -> None:
    """All capabilities, and none of them good for anything."""
    need("unshare")
    status, checks = doctor("unshare", "--user", "--map-root-user")
    assert status == 1
    assert "in a user namespace" in checks["capabilities"]["found"]


def test_no_btf() -> None:
    need("unshare")
    status, checks = doctor("unshare", "--mount", script="mount -t tmpfs none /sys/kernel")
    assert status == 1
    assert checks["BTF"]["status"] == "missing"
    status, checks = doctor("unshare", "--mount", script="mount -t tmpfs none /sys")
    assert checks["BTF"]["fix"] == "mount -t sysfs sysfs /sys"


def test_a_pid_namespace_and_the_host_s_proc_in_it(tmp_path: pathlib.Path) -> None:
    need("unshare")
    _, checks = doctor("unshare", "--pid", "--fork", "--mount-proc")
    assert checks["PID namespace"]["status"] == "warning"
    assert "--pid=host" in checks["PID namespace"]["fix"]
    host = tmp_path / "host"
    (host / "proc").mkdir(parents=True)
    (host / "etc").mkdir()
    (host / "etc" / "passwd").write_text("root:x:0:0::/:/\n")
    script = f"mount --bind /proc {host}/proc; exec unshare --pid --fork --mount-proc"
    _, checks = doctor("unshare", "--mount", "sh", "-ec", f'{script} "$@"', "sh", env={"HOST_ROOT": str(host)})
    assert checks["PID namespace"]["status"] == "ok"
    assert checks["host mounts"]["status"] == "ok"


def test_a_host_root_without_anything(tmp_path: pathlib.Path) -> None:
    status, checks = doctor(env={"HOST_ROOT": str(tmp_path)})
    assert status == 1
    assert checks["host mounts"]["status"] == checks["/proc"]["status"] == "missing"
    assert str(tmp_path) in checks["host mounts"]["found"]


def test_a_container_without_host_mounts() -> None:
    _, checks = doctor(env={"KUBERNETES_SERVICE_HOST": "10.0.0.1"})
    assert checks["host mounts"]["status"] == "warning"
    assert "HOST_ROOT" in checks["host mounts"]["fix"]


def test_no_proc() -> None:
    need("unshare")
    _, checks = doctor("unshare", "--mount", script="mount -t tmpfs none /proc")
    assert checks["/proc"]["status"] == "missing"
    assert checks["/proc"]["fix"] == "mount -t proc proc /proc"


def test_rings_are_measured_against_memory() -> None:
    def rings(report: Report) -> Check:
        return next(check for check in report.checks if check.name == "ring buffers")

    assert rings(examine(preset=1, cpus_for_each_buffer=0)).found.startswith("1 ring buffer of 1 MiB")
    huge = rings(examine(preset=10, cpus_for_each_buffer=1))
    assert "512 MiB" in huge.found
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    if (os.cpu_count() or 1) * (512 << 20) > memory:
        assert huge.status == "missing"
        assert "buf_size_preset=8" in huge.fix


def test_a_port_that_is_taken() -> None:
    with socket.socket() as s:
        s.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            s.bind(("0.0.0.0", PORT))
            s.listen()
        except OSError:
            pass                            # by another process: as well
        _, checks = doctor()
    assert checks["port"]["status"] == "warning"
    assert checks["port"]["fix"].startswith("ss -ltnp")


def test_sockets_of_runtimes(tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run = tmp_path / "run" / "crio"
    run.mkdir(parents=True)
    with socket.socket(socket.AF_UNIX) as alive:
        monkeypatch.chdir(run)              # a socket's path has 108 bytes at most
        alive.bind("crio.sock")
        alive.listen()
        _, checks = doctor(env={"HOST_ROOT": str(tmp_path)})
        assert checks["container runtimes"]["found"].endswith("/run/crio/crio.sock")
        assert checks["container runtimes"]["status"] == "ok"
    _, checks = doctor(env={"HOST_ROOT": str(tmp_path)})
    assert checks["container runtimes"]["status"] == "warning"
    assert "refused" in checks["container runtimes"]["found"]


def test_locked_memory_is_told() -> None:
    need("prlimit")
    _, checks = doctor("prlimit", "--memlock=65536:65536")
    assert checks["locked memory"]["found"].startswith("64 KiB")
