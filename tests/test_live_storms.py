# SPDX-License-Identifier: Apache-2.0
"""Load that is meant to break a monitor: it goes on, sees what comes next, and each event was seen or is counted as lost."""

from __future__ import annotations

import json
import os
import pathlib
import shutil
import subprocess
import sys
import tempfile
import time
import uuid
from collections.abc import Callable, Iterator

import pytest

import falcolib
from container_runtimes import missing
from live import PATIENCE, WHY_NOT, Watch, in_child, needs_live, until_watching

HERE = pathlib.Path(__file__).parent
NOBODY = 61234                          # a user that has no other processes

pytestmark = [*needs_live, pytest.mark.skipif(os.geteuid() != 0, reason="not root: the bomb is another user's")]


@pytest.fixture(scope="module")
def folder() -> Iterator[pathlib.Path]:
    with tempfile.TemporaryDirectory(prefix="fl-") as name:
        folder = pathlib.Path(name)
        folder.chmod(0o755)
        subprocess.run(["gcc", "-O1", "-pthread", "-o", folder / "fl-storm", HERE / "live_storm.c"], check=True)
        shutil.copy("/bin/true", folder / "fl-brief")
        yield folder


def rule(name: str, condition: str, output: str = "x") -> str:
    return f'- rule: {name}\n  desc: d\n  condition: {condition}\n  output: "{output}"\n  priority: INFO\n'


@pytest.fixture(scope="module")
def watch(folder: pathlib.Path) -> Iterator[Watch]:
    """One monitor, which outlives all storms."""
    opens = f"evt.type in (open, openat) and proc.name startswith fl- and fd.name startswith {folder}"
    rules = (
        rule("mark", f"evt.type in (open, openat, creat) and proc.pid = {os.getpid()} and fd.name startswith {folder}/mark", "%fd.name")
        + rule("exec", f"evt.type = execve and proc.exepath = {folder}/fl-brief", "%proc.args %proc.pname")
        + rule("opened", opens, "%proc.nthreads")
        + rule("ended", "evt.type = procexit and proc.name = fl-storm", "%thread.tid")
        + rule("far", f"evt.type in (open, openat) and proc.pid != {os.getpid()} and fd.realpath endswith -far",
               "%fd.nameraw %fd.realpath")
        + rule("deep", "evt.type in (open, openat, creat) and fd.nameraw = fl-deep", "%fd.name %fd.realpath")
    )
    with Watch(rules) as watch:
        yield watch


def mark(watch: Watch, folder: pathlib.Path) -> None:
    """What happens now is seen, and so all that was before. Right after a storm a ring may still be full: then again."""
    def marked() -> bool:
        path, before = folder / f"mark{time.monotonic_ns()}", watch.lost()
        path.write_text("")
        watch.until(lambda: watch.lost() > before or str(path) in [alert.fields["fd.name"] for alert in watch.of("mark")])
        return str(path) in [alert.fields["fd.name"] for alert in watch.of("mark")]

    watch.until(marked)


def done_until_seen(watch: Watch, do: Callable[[], object], seen: Callable[[], list[falcolib.Alert]]) -> falcolib.Alert:
    """An alert of what is done; should others' storms cost us events just then, it is done again."""
    def found() -> bool:
        before = watch.lost()
        do()
        watch.until(lambda: seen() or watch.lost() > before)
        return bool(seen())

    watch.until(found)
    return seen()[0]


def test_a_fork_bomb(watch: Watch, folder: pathlib.Path) -> None:
    """150 processes that all fork as fast as they can, for a second; when they are dead, none is left in the state."""
    before = watch.engine.stats().threads
    subprocess.run([folder / "fl-storm", "bomb", str(NOBODY), "150", "1"], check=True)
    mark(watch, folder)
    watch.until(lambda: watch.lost() or watch.engine.stats().threads <= before + 60)        # others' processes come and go, too


def test_ten_thousand_threads(watch: Watch, folder: pathlib.Path) -> None:
    target, before = folder / "target", watch.lost()
    target.write_text("")
    done = subprocess.run([folder / "fl-storm", "threads", "10000", target], check=True, capture_output=True, text=True)
    assert done.stdout == "10000\n"
    mark(watch, folder)
    lost, opened = watch.lost() - before, [alert for alert in watch.of("opened") if alert.fields["proc.nthreads"]]
    if not lost:
        assert opened[-1].fields["proc.nthreads"] == 10_001
        assert len({alert.fields["thread.tid"] for alert in watch.of("ended")}) >= 10_001
    else:
        assert len({alert.fields["thread.tid"] for alert in watch.of("ended")}) + lost >= 10_001


def test_a_storm_of_execs_is_seen_or_counted(watch: Watch, folder: pathlib.Path) -> None:
    before, sent = watch.lost(), 1000
    subprocess.run([folder / "fl-storm", "execs", str(sent), folder / "fl-brief"], check=True)
    mark(watch, folder)
    seen = [int(alert.fields["proc.args"]) for alert in watch.of("exec") if alert.fields["proc.pname"] == "fl-storm"]
    assert len(seen) == len(set(seen))
    assert seen == sorted(seen)
    assert sent - (watch.lost() - before) <= len(seen) <= sent


def test_arguments_of_64_kib_and_more(watch: Watch, folder: pathlib.Path) -> None:
    arguments = [f"{i:04}" + "y" * 2044 for i in range(40)]
    alert = done_until_seen(
        watch, lambda: subprocess.run([folder / "fl-brief", *arguments], check=True, env={"BIG": "z" * 100_000}),
        lambda: [a for a in watch.of("exec") if a.fields["proc.args"].startswith("0000y")])
    assert len(alert.fields["proc.args"]) > 30_000
    assert alert.fields["proc.args"].startswith(" ".join(arguments[:10]))


def test_a_path_of_4095_bytes(watch: Watch, folder: pathlib.Path) -> None:
    name = next(name for name in ("fl-far", "fl--far") if len(f"{folder}/{name}") % 2)
    (folder / name).write_text("")
    end = f"{folder}/{name}"
    path = "/" + "./" * ((4095 - len(end)) // 2) + end[1:]
    assert len(path) == 4095
    opening = "import os, sys; os.close(os.open(sys.argv[1], os.O_RDONLY))"
    fields = done_until_seen(watch, lambda: in_child(opening, path), lambda: watch.of("far")).fields
    assert fields["fd.nameraw"] == path
    assert fields["fd.realpath"] == os.path.realpath(end)


def test_folders_of_300_levels(watch: Watch, folder: pathlib.Path) -> None:
    diving = """
import os, sys
os.chdir(sys.argv[1])
for _ in range(300):
    os.makedirs("deep", exist_ok=True)
    os.chdir("deep")
os.close(os.open("fl-deep", os.O_CREAT | os.O_WRONLY))
"""
    fields = done_until_seen(watch, lambda: in_child(diving, folder), lambda: watch.of("deep")).fields
    assert fields["fd.name"].startswith("/DIR_TOO_LONG/FILENAME_TOO_LONG/deep/")         # as Falco: above 1,024 bytes
    assert fields["fd.realpath"] is None                # above 96 names
    subprocess.run(["rm", "-r", folder / "deep"], check=True)
    mark(watch, folder)


# ---- in a container ----

RULES = """
- rule: seen
  desc: d
  condition: evt.type in (open, openat) and fd.name = TARGET and proc.name startswith fl-
  output: "%fd.name user=%user.name name=%proc.name parent=%proc.pname args=%proc.cmdline"
  priority: INFO
"""


@pytest.mark.containers
@pytest.mark.skipif(bool(missing()), reason=missing())
@pytest.mark.skipif(WHY_NOT is not None, reason=f"no live capture here: {WHY_NOT}")
class TestInAContainer:
    """A monitor in a container of its own (runc; its own process numbers, network and mounts), with the machine's / at /host."""

    @pytest.fixture
    def bundle(self) -> Iterator[pathlib.Path]:
        with tempfile.TemporaryDirectory(prefix="fl-", ignore_cleanup_errors=True) as name:
            bundle = pathlib.Path(name)
            root, mounts = bundle / "rootfs", list[dict[str, object]]()
            root.mkdir()
            for entry in sorted(os.scandir("/"), key=lambda entry: entry.name):
                if entry.is_symlink():
                    (root / entry.name).symlink_to(os.readlink(entry.path))
                elif entry.is_dir() and entry.name not in ("proc", "dev", "sys", "host", "tmp", "run"):
                    mounts.append({"destination": entry.path, "type": "bind", "source": entry.path, "options": ["bind", "ro"]})
            mounts = [
                {"destination": "/proc", "type": "proc", "source": "proc"}, {"destination": "/dev", "type": "tmpfs", "source": "dev"},
                {"destination": "/tmp", "type": "tmpfs", "source": "tmp"},
                {"destination": "/sys", "type": "bind", "source": "/sys", "options": ["rbind", "ro"]}, *mounts,
                {"destination": "/host", "type": "bind", "source": "/", "options": ["rbind", "ro"]},
            ]  # fmt: skip
            self.mounts = mounts
            yield bundle

    def run(self, bundle: pathlib.Path, *arguments: str) -> subprocess.Popen[str]:
        rights = [f"CAP_{name}" for name in ("SYS_ADMIN", "BPF", "PERFMON", "SYS_PTRACE", "DAC_READ_SEARCH", "DAC_OVERRIDE")]
        site = str(pathlib.Path(falcolib.__file__).parent.parent)
        environment = [f"PYTHONPATH={site}:{':'.join(filter(None, sys.path))}", "HOST_ROOT=/host", "PATH=/usr/bin:/bin", "HOME=/tmp",
                       *(f"{name}={os.environ[name]}" for name in ("LD_PRELOAD", "ASAN_OPTIONS", "PYTHONMALLOC") if name in os.environ)]
        (bundle / "config.json").write_text(json.dumps({
            "ociVersion": "1.0.2", "root": {"path": "rootfs"}, "mounts": self.mounts,
            "process": {"user": {"uid": 0, "gid": 0}, "args": [sys.executable, "-m", "falcolib", *arguments], "cwd": "/",
                        "env": environment, "capabilities": dict.fromkeys(("bounding", "effective", "permitted", "inheritable"), rights)},
            "linux": {"cgroupsPath": "/docker/" + uuid.uuid4().hex * 2,
                      "namespaces": [{"type": kind} for kind in ("pid", "mount", "ipc", "uts", "network")]},
        }))
        name = f"fl-{os.getpid()}-{time.monotonic_ns()}"
        return subprocess.Popen(["runc", "--root", bundle / "runc", "run", "--bundle", bundle, name],
                                stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)

    def test_it_sees_the_machine(self, bundle: pathlib.Path) -> None:
        """Also a process that was there before it: who that is stands in the machine's /proc, its user in the machine's /etc/passwd."""
        shell = bundle / "fl-before"
        shell.symlink_to(os.path.realpath("/bin/sh"))
        target = pathlib.Path(f"/tmp/fl-host-{os.getpid()}")
        target.write_text("")
        rules = bundle / "rules.yaml"
        rules.write_text(RULES.replace("TARGET", str(target)))
        with subprocess.Popen([shell, "-c", f"read line; read line < {target}; true", "argument"], stdin=subprocess.PIPE) as before:
            monitor = self.run(bundle, "run", "-r", f"/host{rules}")
            assert monitor.stdout
            assert monitor.stderr
            try:
                until_watching(monitor)
                before.communicate(b"go\n")
                alert = monitor.stdout.readline()
            finally:
                monitor.terminate()
                target.unlink()
            _, rest = monitor.communicate(timeout=PATIENCE)
        parent = pathlib.Path("/proc/self/comm").read_text().strip()
        command = f"fl-before -c read line; read line < {target}; true argument"
        assert f"{target} user=root name=fl-before parent={parent} args={command}" in alert, alert
        assert monitor.returncode == 0, rest

    def test_doctor_looks_at_the_container(self, bundle: pathlib.Path) -> None:
        done = self.run(bundle, "doctor")
        out, err = done.communicate(timeout=PATIENCE)
        assert done.returncode == 0, out + err
        assert "/host" in out
