# SPDX-License-Identifier: Apache-2.0
"""The state at start: what this machine's processes have is known before their first event, as a capture's process list would tell it."""

from __future__ import annotations

import contextlib
import grp
import json
import os
import pathlib
import pwd
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest

import falcolib
from falcolib._native import error_text, ffi, lib
from falcolib.core import Core
from falcolib.sources.probe import CoreLoader, object_path
from live import PATIENCE, WHY_NOT, Watch, needs_live

HERE = pathlib.Path(__file__).parent


def new_core(**limits: int) -> Core:
    return Core("first", limits.get("threads", 0), limits.get("fds", 0))


def snapshot(loader: CoreLoader | None = None, **limits: int) -> Core:
    core = new_core(**limits)
    core.snapshot("", loader.handle if loader else None)
    return core


class Looked:
    """Fields of a thread and of one of its descriptors, as rules would see them."""

    def __init__(self, core: Core, tid: int, fd: int = -1) -> None:
        event = core.look(tid, fd)
        assert event is not None, f"thread {tid} isn't known"
        self._event = event

    def __getitem__(self, name: str) -> Any:
        return self._event[name]


@pytest.fixture(scope="module")
def child(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[subprocess.Popen[str], dict[str, Any], pathlib.Path]]:
    """A process with one of everything: itself, what it told, and its working directory."""
    home = tmp_path_factory.mktemp("home")
    environ = {"PATH": os.environ["PATH"], "COLOUR": "blue = green", "EMPTY": ""}
    with subprocess.Popen([sys.executable, "-S", HERE / "snapshot_child.py", str(home), "an argument", ""], cwd=home, env=environ,
                          stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, start_new_session=True) as process:
        assert process.stdout
        told = json.loads(process.stdout.readline())
        yield process, told, home
        process.kill()


@pytest.fixture(scope="module")
def probe() -> Iterator[CoreLoader]:
    """A probe whose iterators can be used; its clock is that of a live run."""
    loader = CoreLoader(object_path())
    maps = {key: loader.map(name) for key, name in (("rings_map", "fl_rings"), ("scratches_map", "fl_scratches"), ("shared_map", ".bss"))}
    rings = lib.fl_live_open(ffi.new("fl_live_options *", {"buffer_bytes": 1 << 20, **maps}), error_text())
    lib.fl_live_free(rings)
    yield loader
    loader.close()


@pytest.fixture(scope="module", params=["proc", pytest.param("iterators", marks=needs_live)])
def core(child: tuple[subprocess.Popen[str], dict[str, Any], pathlib.Path], request: pytest.FixtureRequest) -> Core:
    """What the child has, as /proc tells it, and as the kernel's iterators do."""
    if request.param == "proc":
        return snapshot()
    core = snapshot(request.getfixturevalue("probe"))
    assert core.stats().iterated_threads > 0
    return core


needs_root = pytest.mark.skipif(os.geteuid() != 0, reason="only root may do this")


def children(pid: int) -> list[int]:
    return [int(child) for child in pathlib.Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


def start_ns(pid: int) -> int:
    """When a process started, as ps counts."""
    ticks = int(pathlib.Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[19])
    boot = time.clock_gettime_ns(time.CLOCK_REALTIME) - time.clock_gettime_ns(time.CLOCK_BOOTTIME)
    return boot + ticks * 10**9 // os.sysconf("SC_CLK_TCK")


class TestProcess:
    def test_who_it_is(self, core: Core, child: Any) -> None:
        pid, told, home = child[0].pid, child[1], child[2]
        now = Looked(core, pid)
        assert now["proc.exe"] == sys.executable
        assert now["proc.exepath"] == os.path.realpath(f"/proc/{pid}/exe")
        assert now["proc.name"] == pathlib.Path(f"/proc/{pid}/comm").read_text().rstrip("\n")
        assert now["proc.args"] == f"-S {HERE / 'snapshot_child.py'} {home} an argument "
        assert now["proc.cmdnargs"] == 5
        assert now["proc.env"].split(" ", 1)[0] == f"PATH={os.environ['PATH']}"
        assert now["proc.env[COLOUR]"] == "blue = green"
        assert now["proc.cwd"] == f"{home}/"
        assert now["proc.nthreads"] == len(told["tids"]) == 4

    def test_where_it_comes_from(self, core: Core, child: Any) -> None:
        pid = child[0].pid
        now = Looked(core, pid)
        assert (now["proc.pid"], now["proc.ppid"], now["proc.vpid"]) == (pid, os.getpid(), pid)
        assert now["proc.pname"] == pathlib.Path("/proc/self/comm").read_text().rstrip("\n")
        assert (now["proc.sid"], now["proc.pgid"], now["proc.vpgid"]) == (pid, pid, pid)
        assert now["proc.is_sid_leader"] is True
        assert Looked(core, os.getpid())["proc.sid"] == os.getsid(0)

    def test_whose_it_is(self, core: Core, child: Any) -> None:
        now = Looked(core, child[0].pid)
        assert (now["user.uid"], now["user.name"]) == (os.getuid(), pwd.getpwuid(os.getuid()).pw_name)
        assert (now["group.gid"], now["group.name"]) == (os.getgid(), grp.getgrgid(os.getgid()).gr_name)
        assert now["user.homedir"] == pwd.getpwuid(os.getuid()).pw_dir
        with contextlib.suppress(FileNotFoundError):        # a kernel without audit
            assert now["user.loginuid"] == int(pathlib.Path("/proc/self/loginuid").read_text()) - (1 << 32) * (now["user.loginuid"] < 0)

    def test_what_it_may(self, core: Core, child: Any) -> None:
        pid = child[0].pid
        now = Looked(core, pid)
        effective = int(pathlib.Path(f"/proc/{pid}/status").read_text().partition("CapEff:")[2].split()[0], 16)
        assert ("CAP_SYS_ADMIN" in now["thread.cap_effective"]) == bool(effective >> 21 & 1)
        assert len(now["thread.cap_effective"].split()) == effective.bit_count()
        limit = pathlib.Path(f"/proc/{pid}/limits").read_text().partition("Max open files")[2].split()[0]
        assert now["proc.fdlimit"] == int(limit)
        assert now["proc.is_exe_writable"] == os.access(f"/proc/{pid}/exe", os.W_OK)

    def test_its_program(self, core: Core, child: Any) -> None:
        pid = child[0].pid
        now, status = Looked(core, pid), os.stat(f"/proc/{pid}/exe")
        assert now["proc.exe_ino"] == status.st_ino
        assert (now["proc.exe_ino.ctime"], now["proc.exe_ino.mtime"]) == (status.st_ctime_ns, status.st_mtime_ns)
        assert now["proc.is_exe_from_memfd"] is False

    def test_its_times(self, core: Core, child: Any) -> None:
        started, before = start_ns(child[0].pid), time.time_ns()
        now = Looked(core, child[0].pid)
        assert abs(now["proc.pid.ts"] - started) < 10**9
        assert before - started - 10**9 < now["proc.duration"] < time.time_ns() - started + 10**9

    def test_its_control_groups(self, core: Core, child: Any) -> None:
        text = pathlib.Path(f"/proc/{child[0].pid}/cgroup").read_text()
        paths = {name: line.split(":", 2)[2] for line in text.splitlines() for name in line.split(":", 2)[1].split(",")}
        now = Looked(core, child[0].pid)
        for name in ("cpuset", "cpu", "cpuacct", "blkio", "memory"):
            assert now[f"thread.cgroup.{name}"] == paths.get(name, paths.get(""))

    def test_its_memory(self, core: Core, child: Any) -> None:
        now = Looked(core, child[0].pid)
        assert 0 < now["proc.vmrss"] < now["proc.vmsize"]
        assert now["thread.pfminor"] > 0

    def test_its_threads(self, core: Core, child: Any) -> None:
        pid, told, home = child[0].pid, child[1], child[2]
        for tid in told["tids"]:
            now = Looked(core, tid, told["fds"]["file"])
            assert (now["thread.tid"], now["proc.pid"], now["proc.vpid"], now["proc.ppid"]) == (tid, pid, pid, os.getpid())
            assert now["thread.ismain"] == (tid == pid)
            assert now["fd.name"] == f"{home}/read write"
            assert now["proc.cwd"] == f"{home}/"


class TestDescriptors:
    @pytest.mark.parametrize(
        ("which", "type_", "name"),
        [
            ("file", "file", "{home}/read write"),
            ("deleted", "file", "{home}/gone"),
            ("folder", "directory", "{home}"),
            ("fifo", "pipe", "{home}/fifo"),
            ("pipe", "pipe", "pipe:[{ino}]"),
            ("pipe2", "pipe", "pipe:[{ino}]"),
            ("memfd", "memfd", "my memory"),
            ("eventfd", "event", None),
            ("timerfd", "timerfd", None),
            ("signalfd", "signalfd", None),
            ("epoll", "eventpoll", None),
            ("inotify", "inotify", None),
            ("pidfd", "pidfd", None),
            ("netlink", "netlink", None),
            ("abstract", "unix", "@falcolib-{pid}"),
            ("pair", "unix", None),
            ("pair2", "unix", None),
            ("new4", "ipv4", None),
            ("new6", "ipv6", None),
        ],
    )
    def test_each_kind(self, core: Core, child: Any, which: str, type_: str, name: str | None) -> None:
        process, told, home = child
        if which not in told["fds"]:
            pytest.skip(f"this system has no {which}")
        now = Looked(core, process.pid, told["fds"][which])
        ino = os.stat(f"/proc/{process.pid}/fd/{told['fds'][which]}").st_ino
        assert now["fd.type"] == type_
        assert (now["fd.name"] or None) == (name.format(home=home, ino=ino, pid=process.pid) if name else None)

    def test_all_of_them(self, core: Core, child: Any) -> None:
        pid = child[0].pid
        assert Looked(core, pid)["proc.fdopencount"] == len(os.listdir(f"/proc/{pid}/fd"))

    def test_device_and_inode(self, core: Core, child: Any) -> None:
        process, told, _ = child
        status = os.stat(f"/proc/{process.pid}/fd/{told['fds']['file']}")
        now = Looked(core, process.pid, told["fds"]["file"])
        assert now["fd.ino"] == status.st_ino
        if pathlib.Path("/proc/self/mountinfo").read_text().count(f" {os.major(status.st_dev)}:{os.minor(status.st_dev)} "):
            assert now["fd.dev.major"] == os.major(status.st_dev)
            assert now["fd.dev.minor"] == os.minor(status.st_dev)

    @pytest.mark.parametrize("which", ["client4", "client6", "mapped", "udpclient4"])
    def test_connected_sockets(self, core: Core, child: Any, which: str) -> None:
        process, told, _ = child
        (sip, sport, *_), (dip, dport, *_) = told["addresses"][which]
        now = Looked(core, process.pid, told["fds"][which])
        assert now["fd.type"] == ("ipv6" if which == "client6" else "ipv4")
        if which != "client6":                  # as Falco, which gives IPv6 sockets of a list no role
            assert now["fd.l4proto"] == ("udp" if which.startswith("udp") else "tcp")
            assert (str(now["fd.cip"]), now["fd.cport"], str(now["fd.sip"]), now["fd.sport"]) == (sip, sport, dip, dport)
        assert now["fd.name"] == f"{sip}:{sport}->{dip}:{dport}"

    def test_the_server_s_end_has_the_client_first(self, core: Core, child: Any) -> None:
        process, told, _ = child
        (client, _), fds = told["addresses"]["client4"], told["fds"]
        now = Looked(core, process.pid, fds["server4"])
        assert (now["fd.cport"], now["fd.sport"]) == (client[1], told["bound"]["listen4"][1])
        assert now["fd.is_server"] is True

    @pytest.mark.parametrize(("which", "type_"), [("listen4", "ipv4"), ("listen6", "ipv6"), ("udp4", "ipv4"), ("udp6", "ipv6")])
    def test_servers(self, core: Core, child: Any, which: str, type_: str) -> None:
        process, told, _ = child
        address, port = told["bound"][which]
        now = Looked(core, process.pid, told["fds"][which])
        assert now["fd.name"] == f"{address}:{port}"
        assert now["fd.type"] == type_
        assert now["fd.typechar"] in "46"

    def test_raw_sockets(self, core: Core, child: Any) -> None:
        process, told, _ = child
        if "raw" not in told["fds"]:
            pytest.skip("not root: no raw sockets")
        assert Looked(core, process.pid, told["fds"]["raw"])["fd.l4proto"] in ("raw", "icmp")
        assert Looked(core, process.pid, told["fds"]["packet"])["fd.type"] in (None, "<NA>")

    def test_the_name_of_a_unix_socket_forges_no_other(self, core: Core, child: Any) -> None:
        process, told, _ = child
        now = Looked(core, process.pid, told["fds"]["unix"])
        assert now["fd.type"] == "unix"
        assert now["fd.name"] == "socket"


def wait_until(holds: Any, seconds: float = PATIENCE) -> None:
    end = time.monotonic() + seconds
    while not holds():
        assert time.monotonic() < end
        time.sleep(0.01)


def until_asleep(process: subprocess.Popen[Any]) -> None:
    """Waits until a program sleeps: Popen comes back amid its execve, before it has its name and its arguments."""
    wait_until(lambda: pathlib.Path(f"/proc/{process.pid}/syscall").read_text().startswith(("230 ", "35 ")))


class TestPrograms:
    def test_one_that_is_deleted(self, tmp_path: pathlib.Path) -> None:
        program = tmp_path / "gone (deleted)"
        shutil.copy(shutil.which("sleep") or "", program)
        with subprocess.Popen([program, "60"]) as process:
            try:
                until_asleep(process)
                assert Looked(snapshot(), process.pid)["proc.exepath"] == str(program)
                program.unlink()
                now = Looked(snapshot(), process.pid)
                assert now["proc.exepath"] == str(program)
                assert now["proc.is_exe_from_memfd"] is False
            finally:
                process.kill()

    def test_one_in_memory(self) -> None:
        source = pathlib.Path(shutil.which("sleep") or "").read_bytes()
        fd = os.memfd_create("payload")
        os.write(fd, source)
        with subprocess.Popen(["innocent", "60"], executable=f"/proc/self/fd/{fd}", pass_fds=[fd]) as process:
            try:
                until_asleep(process)
                now = Looked(snapshot(), process.pid)
                assert now["proc.is_exe_from_memfd"] is True
                assert now["proc.exepath"] == "/memfd:payload"
                assert now["proc.exe"] == "innocent"
            finally:
                process.kill()

    def test_hostile_names(self, tmp_path: pathlib.Path) -> None:
        name = "a) R 1\n\\ 9"
        program, home = tmp_path / name, tmp_path / "new\nline"
        home.mkdir()
        shutil.copy(shutil.which("sleep") or "", program)
        with subprocess.Popen(["\xff", "60"], executable=program, cwd=home, env={"A": "x" * 10_000}) as process:
            try:
                until_asleep(process)
                now = Looked(snapshot(), process.pid)
                assert now["proc.name"] == name.replace("\n", "\ufffd")       # as control characters are printed
                assert now["proc.ppid"] == os.getpid()
                assert now["proc.cwd"] == f"{home}/".replace("\n", "\ufffd")
                assert len(now["proc.env"]) <= 4096
            finally:
                process.kill()

    @needs_root
    def test_a_process_in_very_many_groups_is_told_whole(self) -> None:
        code = ("import os, threading, time; os.setgroups(range(10**9, 10**9 + 65536));"
                "threading.Thread(target=time.sleep, args=(60,)).start(); print('there', flush=True); time.sleep(60)")
        with subprocess.Popen([sys.executable, "-c", code], text=True, stdout=subprocess.PIPE) as process:
            try:
                assert process.stdout
                assert process.stdout.readline() == "there\n"
                now = Looked(snapshot(), process.pid)
                assert now["proc.nthreads"] == 2
                effective = int(pathlib.Path(f"/proc/{process.pid}/status").read_text().partition("CapEff:")[2].split()[0], 16)
                assert len(now["thread.cap_effective"].split()) == effective.bit_count() > 0
            finally:
                process.kill()

    def test_a_zombie_has_its_name_still(self) -> None:
        with subprocess.Popen(["true"]) as process:
            wait_until(lambda: pathlib.Path(f"/proc/{process.pid}/stat").read_text().rpartition(")")[2].split()[0] == "Z")
            assert Looked(snapshot(), process.pid)["proc.name"] == "true"


#: What rules can ask of a process that was there before the first event.
OF_PROCESSES = (
    "proc.name", "proc.exe", "proc.exepath", "proc.args", "proc.cmdline", "proc.cwd", "proc.env", "proc.ppid", "proc.pgid", "proc.vpgid",
    "proc.sid",
    "proc.vpid", "thread.vtid", "proc.tty", "user.loginuid", "proc.is_exe_writable", "proc.is_exe_upper_layer", "proc.is_exe_lower_layer",
    "proc.is_exe_from_memfd", "proc.exe_ino", "proc.exe_ino.ctime", "proc.exe_ino.mtime", "thread.cap_effective", "thread.cap_permitted",
    "thread.cap_inheritable", "thread.cgroups", "user.uid", "group.gid", "container.id", "proc.nthreads",
    "proc.fdopencount",
)  # fmt: skip
OF_DESCRIPTORS = ("fd.name", "fd.type", "fd.ino", "fd.dev", "fd.l4proto", "fd.sip", "fd.cip", "fd.sport", "fd.cport", "fd.is_server")


def of_process(core: Core, pid: int) -> dict[str, Any]:
    """What a core knows of a process and its descriptors."""
    now = Looked(core, pid)
    found = {name: now[name] for name in OF_PROCESSES}
    if not pathlib.Path(f"/proc/{pid}/ns/mnt").samefile("/proc/self/ns/mnt"):
        del found["proc.is_exe_lower_layer"]        # /proc tells it only where the layers can be seen from here
    if not found["proc.exe_ino"]:       # of the kernel: what it is doing stands in the name that /proc tells
        found["proc.name"] = found["proc.exe"] = found["proc.cmdline"] = None
    for fd in os.listdir(f"/proc/{pid}/fd"):
        about = Looked(core, pid, int(fd))
        found |= {f"{fd} {name}": about[name] for name in OF_DESCRIPTORS}
    return found


@pytest.mark.live
@pytest.mark.skipif(WHY_NOT is not None, reason=f"no live capture here: {WHY_NOT}")
class TestIterators:
    def test_they_tell_what_proc_tells(self, child: Any, probe: CoreLoader) -> None:
        """Of every process: what /proc tells the same before and after. It may have changed twice meanwhile; not each time."""
        suspects: dict[tuple[int, str], tuple[Any, Any]] | None = None
        for _ in range(20):
            before, core, after = snapshot(), snapshot(probe), snapshot()
            different = {}
            for pid in (int(name) for name in os.listdir("/proc") if name.isdigit() and int(name) != os.getpid()):
                with contextlib.suppress(OSError, AssertionError):      # it has ended, or begun meanwhile
                    one, told, other = (of_process(core, pid) for core in (before, core, after))
                    names = one.keys() & told.keys() & other.keys()        # it may open and close descriptors meanwhile
                    different |= {(pid, name): (one[name], told[name]) for name in names if one[name] == other[name] != told[name]}
            suspects = {at: told for at, told in different.items() if suspects is None or at in suspects}
            if not suspects:
                break
        assert not suspects
        assert before.stats().iterated_threads == 0
        assert core.stats().iterated_threads > len(os.listdir("/proc")) / 4

    def test_when_a_process_started(self, child: Any, probe: CoreLoader) -> None:
        pid = child[0].pid
        one, other = (Looked(core, pid)["proc.pid.ts"] for core in (snapshot(), snapshot(probe)))
        assert abs(int(one) - int(other)) < 2 * 10**7         # /proc counts hundredths of a second

    def test_memory(self, child: Any, probe: CoreLoader) -> None:
        pid = child[0].pid
        for name in ("thread.vmsize", "thread.vmrss"):
            one, other = (Looked(core, pid)[name] for core in (snapshot(), snapshot(probe)))
            assert abs(one - other) <= 1024, name           # kB: the kernel counts in batches

    def test_a_command_line_that_its_process_has_rewritten(self, probe: CoreLoader) -> None:
        code = r"""
#include <stdio.h>
#include <string.h>
#include <unistd.h>
int main(int argc, char **argv)
{
    size_t len = strlen(argv[0]) + 1 + strlen(argv[1]) + 1;
    memset(argv[0], 'x', len);              /* no NUL where the arguments end: the title goes on into the environment */
    strcpy(argv[0] + len, "y");
    puts("done");
    fflush(stdout);
    pause();
}
"""
        with tempfile.TemporaryDirectory() as folder:
            program = pathlib.Path(folder) / "titled"
            subprocess.run(["gcc", "-x", "c", "-w", "-o", program, "-"], input=code, text=True, check=True)
            with subprocess.Popen([program, "an argument"], env={"A": "bcdefghi"}, stdout=subprocess.PIPE, text=True) as process:
                try:
                    assert process.stdout
                    process.stdout.readline()
                    one, other = (Looked(core, process.pid)["proc.exe"] for core in (snapshot(), snapshot(probe)))
                    assert one == other
                    assert other.startswith("xxxx")
                    assert other.endswith("xy")
                finally:
                    process.kill()

    def test_long_texts_are_cut_alike(self, tmp_path: pathlib.Path, probe: CoreLoader) -> None:
        deep = tmp_path
        for _ in range(8):
            deep = deep / ("d" * 200)
            deep.mkdir()
        with subprocess.Popen(["sleep", *("x" * 100_000, "60")[1:], "0" * 9000], cwd=deep, env={"A": "y" * 50_000}) as process:
            try:
                until_asleep(process)
                one, other = (Looked(core, process.pid) for core in (snapshot(), snapshot(probe)))
                for name in ("proc.cwd", "proc.args", "proc.env", "proc.cmdline"):
                    assert one[name] == other[name], name
                assert len(other["proc.args"]) > 4000
            finally:
                process.kill()

    def test_every_thread(self, child: Any, probe: CoreLoader) -> None:
        core = snapshot(probe)
        for tid in child[1]["tids"]:
            assert Looked(core, tid)["proc.pid"] == child[0].pid

    def test_what_they_told_is_counted_by_kind(self, probe: CoreLoader) -> None:
        kinds: dict[str, Callable[[], int]] = {
            "memfd": lambda: os.memfd_create("x"), "regular": lambda: os.open(__file__, os.O_RDONLY),
            "directory": lambda: os.open("/", os.O_RDONLY), "anon_inode": lambda: os.eventfd(0),
            **{f"socket_{name}": lambda family=family: socket.socket(family, socket.SOCK_DGRAM).detach()
               for name, family in (("inet", socket.AF_INET), ("inet6", socket.AF_INET6), ("unix", socket.AF_UNIX),
                                    ("netlink", socket.AF_NETLINK))},
        }
        opened = [make() for make in kinds.values() for _ in range(20)] + [fd for _ in range(10) for fd in os.pipe()]
        try:
            core = snapshot(probe)
        finally:
            for fd in opened:
                os.close(fd)
        told = core.iterated()
        files = {name.removeprefix("task_file_"): count for name, count in told.items() if name != "task"}
        assert told["task"] == core.stats().iterated_threads
        assert files.keys() == kinds.keys() | {"pipe"}
        assert {name for name, count in files.items() if count < 20} == set()
        assert sum(files.values()) <= core.stats().scanned_fds
        assert set(snapshot().iterated().values()) == {0}

    def test_live_runs_use_them_unless_told_not_to(self) -> None:
        rules = "- rule: none\n  desc: d\n  condition: evt.type = close and proc.name = nobody\n  output: x\n  priority: INFO\n"
        for wanted in (True, False):
            with Watch(rules, iterators=wanted) as watch:
                assert bool(watch.engine.stats().iterated_threads) is wanted
                assert bool(watch.live.counters()["n_evts_task"]) is wanted
                assert watch.engine.stats().scanned_threads > 1


class TestMachine:
    def test_every_process_is_there(self) -> None:
        before = {int(p) for p in os.listdir("/proc") if p.isdigit()}
        core = snapshot()
        after = {int(p) for p in os.listdir("/proc") if p.isdigit()}
        missing = [pid for pid in before & after if core.look(pid) is None]
        assert not missing
        stats = core.stats()
        assert stats.scanned_threads >= len(before & after)
        assert stats.threads <= stats.scanned_threads
        assert stats.scan_ns > 0

    def test_the_host_s_name(self) -> None:
        assert Looked(snapshot(), os.getpid())["evt.hostname"] == os.environ.get("FALCO_HOSTNAME", socket.gethostname())

    def test_processes_that_come_and_go_do_no_harm(self) -> None:
        script = "while :; do (/bin/true) & /bin/true; done"
        with subprocess.Popen(["sh", "-c", script], start_new_session=True) as storm:
            try:
                wait_until(lambda: children(storm.pid))
                core = new_core()
                for _ in range(10):
                    core.snapshot("")
                    assert Looked(core, os.getpid())["proc.pid"] == os.getpid()
                    assert Looked(core, storm.pid)["proc.name"] == "sh"
            finally:
                os.killpg(storm.pid, signal.SIGKILL)

    def test_limits_of_the_state_hold(self) -> None:
        core = snapshot(threads=5)
        assert core.stats().threads == 5
        assert core.stats().threads_refused > 0

    def test_of_very_many_descriptors_no_more_are_read_than_the_state_takes(self) -> None:
        """A look-up, which events wait for, would take a minute for a process that has a million of them."""
        core = snapshot(fds=10)
        code = "import os; held = [os.dup(0) for _ in range(200)]; print('there', flush=True); input()"
        with subprocess.Popen([sys.executable, "-S", "-c", code], text=True, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
            assert process.stdout
            assert process.stdout.readline() == "there\n"
            before = core.stats()
            assert Looked(core, process.pid)["proc.fdopencount"] == 10
            assert core.stats().fds_refused - before.fds_refused == 1
            process.communicate("\n")

    def test_another_root(self, tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch) -> None:
        (tmp_path / "proc").symlink_to("/proc")
        (tmp_path / "etc").mkdir()
        (tmp_path / "etc" / "passwd").write_text("# people\n+nis::::::\nboss:x:0:0:Me:/home/me:/bin/me\nsecond:x:0:0::/:/\n"
                                                 f"{'long' * 1000}:x:0:0::/:/\nbad:x:minus:7::/:/\n")
        (tmp_path / "etc" / "group").write_text("bosses:x:0:a,b\n")
        monkeypatch.setenv("HOST_ROOT", f"{tmp_path}/")
        core = new_core()
        core.snapshot()
        now = Looked(core, 1)
        assert now["user.uid"] == now["group.gid"] == 0
        if now["container.id"] != "host":
            pytest.skip("process 1 is in a container here, whose users aren't the host's")
        assert (now["user.name"], now["user.homedir"], now["user.shell"], now["group.name"]) == ("boss", "/home/me", "/bin/me", "bosses")

    def test_no_proc_is_an_error_that_names_it(self, tmp_path: pathlib.Path) -> None:
        with pytest.raises(OSError, match=f"{tmp_path}/proc"):
            new_core().snapshot(str(tmp_path))
        (tmp_path / "proc").mkdir()
        with pytest.raises(OSError, match="no proc file system"):
            new_core().snapshot(str(tmp_path))

    def test_a_capture_afterwards_knows_nothing_of_it(self, attack1: pathlib.Path) -> None:
        engine = falcolib.Engine()
        engine._cores[0].snapshot("")
        events = engine.events(falcolib.Capture(attack1))
        assert next(events)["evt.hostname"] == os.environ.get("FALCO_HOSTNAME", "")
        assert engine._cores[0].look(os.getpid()) is None


class TestLookUp:
    """A thread that is unknown at its first event, as its clone was lost."""

    def test_a_process_is_read_with_its_descriptors(self, tmp_path: pathlib.Path) -> None:
        core = snapshot()
        with open(tmp_path / "file", "wb") as file, subprocess.Popen(["sleep", "60"], stdout=file) as process:
            try:
                until_asleep(process)
                now = Looked(core, process.pid, 1)
                assert now["proc.name"] == "sleep"
                assert now["proc.pname"] == Looked(core, os.getpid())["proc.name"]
                now = Looked(core, process.pid, 1)
                assert now["fd.name"] == f"{tmp_path}/file"
            finally:
                process.kill()
        assert core.stats().lookups == 1

    def test_a_thread_brings_its_process(self) -> None:
        core = snapshot()
        code = "import threading, time; threading.Thread(target=time.sleep, args=(60,)).start(); time.sleep(60)"
        with subprocess.Popen([sys.executable, "-c", code]) as process:
            try:
                task = pathlib.Path(f"/proc/{process.pid}/task")
                wait_until(lambda: len(list(task.iterdir())) == 2)
                tid = next(int(t.name) for t in task.iterdir() if int(t.name) != process.pid)
                now = Looked(core, tid)
                assert (now["thread.tid"], now["proc.pid"]) == (tid, process.pid)
                assert now["proc.exe"] == sys.executable
                assert Looked(core, process.pid)["proc.nthreads"] == 2
            finally:
                process.kill()
        assert core.stats().lookups == 1

    @needs_root
    @pytest.mark.parametrize("made", ["mkfifo /proc/1/stat", 'echo "$stat" >/proc/1/stat',
                                      'echo "$stat" >/proc/file; ln -s ../file /proc/1/stat'])
    def test_what_a_process_has_in_the_place_of_proc_is_not_opened(self, made: str) -> None:
        """Opening a FIFO would wait for a writer, for as long as the process likes, and a file says what it likes."""
        core = snapshot()
        script = f"read -r stat </proc/self/stat; mount -t tmpfs none /proc; mkdir /proc/1; {made}; sleep 60 & echo $!; wait"
        with subprocess.Popen(["unshare", "--pid", "--mount", "--fork", "--kill-child", "sh", "-c", script], text=True,
                              stdout=subprocess.PIPE) as process:
            try:
                assert process.stdout
                vpid = int(process.stdout.readline())
                (init,) = children(process.pid)
                (asleep,) = children(init)
                now = Looked(core, asleep)
                assert (now["proc.vpid"], now["container.start_ts"]) == (vpid, None)
            finally:
                process.kill()

    def test_one_that_is_gone_stays_unknown(self) -> None:
        core = snapshot()
        with subprocess.Popen(["true"]) as process:
            pass
        assert core.look(process.pid) is None
        assert core.stats().lookups_failed == 1

    def test_they_take_a_tenth_of_the_time_at_most(self) -> None:
        core = snapshot()
        begin = time.monotonic()
        for _ in range(200_000):
            core.look(1 << 22)
            if core.stats().lookups_refused:
                break
        else:
            assert time.monotonic() - begin < 3600      # a machine on which 200,000 take less than 0.1 s in all
