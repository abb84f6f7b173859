# SPDX-License-Identifier: Apache-2.0
"""Users and groups of containers: their own files are read, whatever these are, and what they tell is what fields and recordings have."""

from __future__ import annotations

import contextlib
import json
import os
import pathlib
import shutil
import subprocess
import tempfile
import threading
import time
import uuid
from collections.abc import Callable, Iterator

import pytest

import falcolib
from container_runtimes import missing
from falcolib.core import Core
from falcolib.sources import accounts
from falcolib.sources.accounts import FILE_BYTES, Accounts, read_accounts
from live import PATIENCE, Recording, in_child, needs_live
from scapwriter import Chunked, capture, probe
from state_events import CHILD_IN_PIDNS, TIME, S, bash, clone, execve, exit_, named

ID = "3ad7b26ded6d8e7b23da7d48fe88943ab0cafe0123456789abcdef0123456789"
SHORT = ID[:12].encode()
CGROUPS = f"cpu=/docker/{ID}"
SAME = "         0          0 4294967295\n"
FIELDS = ("user.uid", "user.name", "user.homedir", "user.shell", "group.gid", "group.name")


# ---- files ----


class Machine:
    """A folder with a /proc, whose process 7 has a root of its own."""

    def __init__(self, folder: pathlib.Path) -> None:
        self.folder, self.process = folder, folder / "proc" / "7"
        self.root, self.etc = self.process / "root", self.process / "root" / "etc"
        self.etc.mkdir(parents=True)
        (self.process / "cgroup").write_text(f"0::/docker/{ID}\n")
        for name in ("uid_map", "gid_map"):
            (self.process / name).write_text(SAME)

    def read(self, pid: int = 7, container: bytes = SHORT) -> tuple[bytes, bytes] | None:
        return read_accounts(str(self.folder), pid, container)


@pytest.fixture
def machine(tmp_path: pathlib.Path) -> Machine:
    return Machine(tmp_path)


def test_both_files_are_read(machine: Machine) -> None:
    (machine.etc / "passwd").write_bytes(b"ada:x:7:8::/:/bin/sh\n")
    (machine.etc / "group").write_bytes(b"crew:x:8:\n")
    assert machine.read() == (b"ada:x:7:8::/:/bin/sh\n", b"crew:x:8:\n")


def test_a_file_that_is_not_there_is_empty(machine: Machine) -> None:
    assert machine.read() == (b"", b"")
    machine.etc.rmdir()
    assert machine.read() == (b"", b"")


def test_a_link_leads_nowhere_but_into_the_root(machine: Machine) -> None:
    (machine.folder / "outside").write_text("out:x:1:1::/:\n")
    for target in (machine.folder / "outside", "../../../../outside"):
        (machine.etc / "passwd").symlink_to(target)
        assert machine.read() == (b"", b"")
        (machine.etc / "passwd").unlink()
    (machine.root / "lower").write_text("in:x:1:1::/:\n")
    (machine.etc / "passwd").symlink_to("/lower")
    (machine.etc / "group").symlink_to("../../../../../lower")
    assert machine.read() == (b"in:x:1:1::/:\n",) * 2


def test_links_in_a_ring_end(machine: Machine) -> None:
    (machine.etc / "passwd").symlink_to("group")
    (machine.etc / "group").symlink_to("passwd")
    assert machine.read() == (b"", b"")


def test_what_is_no_file_is_not_opened(machine: Machine) -> None:
    os.mkfifo(machine.etc / "passwd")           # to open it would wait for a writer
    (machine.etc / "group").mkdir()
    assert machine.read() == (b"", b"")


@pytest.mark.skipif(os.geteuid() != 0, reason="not root: devices are root's")
def test_a_device_is_not_opened(machine: Machine) -> None:
    try:
        os.mknod(machine.etc / "passwd", 0o20666, os.makedev(1, 5))         # zero: it has no end
    except PermissionError:
        pytest.skip("no devices can be made here")
    assert machine.read() == (b"", b"")


def test_a_file_without_an_end_is_cut_after_a_whole_line(machine: Machine) -> None:
    line = b"x" * 999 + b"\n"
    (machine.etc / "passwd").write_bytes(line * 2000)
    with (machine.etc / "group").open("wb") as file:
        file.truncate(1 << 40)                  # one line of zeros
    read = machine.read()
    assert read is not None
    assert read[0] == line * (FILE_BYTES // len(line))
    assert read[1] == b""


@pytest.mark.parametrize(("name", "text"), [
    ("cgroup", "0::/docker/" + "f" * 64), ("uid_map", "0 100000 65536\n"), ("gid_map", "0 100000 65536\n"), ("uid_map", ""),
])  # fmt: skip
def test_a_process_of_others_is_not_asked(machine: Machine, name: str, text: str) -> None:
    """Its number may be another's by now; in a user namespace the file's numbers are other users."""
    (machine.etc / "passwd").write_text("ada:x:7:8::/:/bin/sh\n")
    (machine.process / name).write_text(text)
    assert machine.read() is None


def test_a_process_that_is_gone_is_not_asked(machine: Machine) -> None:
    assert machine.read(pid=8) is None


def test_a_container_that_is_not_made_yet_still_has_the_machines_root(machine: Machine) -> None:
    shutil.rmtree(machine.root)
    machine.root.symlink_to(machine.folder)
    assert machine.read() is None


# ---- beside the loop ----


class Asking:
    """A core's part: what it wants, and what it was told."""

    def __init__(self) -> None:
        self.wants: list[tuple[bytes, int]] = []
        self.told: list[tuple[bytes, bytes, bytes]] = []

    def wanted_accounts(self) -> list[tuple[bytes, int]]:
        wants, self.wants = self.wants, []
        return wants

    def tell_accounts(self, container: bytes, passwd: bytes, group: bytes) -> None:
        self.told.append((container, passwd, group))

    def hear(self, reader: Accounts, condition: Callable[[], object]) -> None:
        end = time.monotonic() + PATIENCE
        while not condition():
            assert time.monotonic() < end, self.told
            reader.attend(self)
            time.sleep(0.005)


class Files:
    """Stands in the place of the files: what they hold, by container; what holds none waits until the end."""

    def __init__(self) -> None:
        self.by_id: dict[bytes, bytes | None] = {}
        self.asked: list[tuple[bytes, int]] = []
        self.end = threading.Event()

    def __call__(self, root: str, pid: int, container: bytes) -> tuple[bytes, bytes] | None:
        self.asked.append((container, pid))
        if container not in self.by_id:
            self.end.wait(PATIENCE)
        passwd = self.by_id.get(container)
        return None if passwd is None else (passwd, b"")


@pytest.fixture
def patient(monkeypatch: pytest.MonkeyPatch) -> None:
    """What answers at all is waited for, however slow the machine is."""
    monkeypatch.setattr(accounts, "WAIT", PATIENCE)
    monkeypatch.setattr(accounts, "WAITING_FREE", PATIENCE)


@pytest.fixture
def files(patient: None, monkeypatch: pytest.MonkeyPatch) -> Iterator[Files]:
    files = Files()
    monkeypatch.setattr(accounts, "read_accounts", files)
    yield files
    files.end.set()


@pytest.fixture
def reader() -> Iterator[Accounts]:
    reader = Accounts()
    yield reader
    reader.close()


def test_what_is_wanted_is_waited_for(files: Files, reader: Accounts) -> None:
    core = Asking()
    files.by_id = {b"a": b"1", b"b": b"2"}
    core.wants = [(b"a", 7), (b"b", 8)]
    reader.attend(core)
    assert sorted(core.told) == [(b"a", b"1", b""), (b"b", b"2", b"")]


def test_a_file_that_never_answers_holds_nobody_up(files: Files, reader: Accounts, monkeypatch: pytest.MonkeyPatch) -> None:
    core = Asking()
    files.by_id = {b"a": b"1"}
    monkeypatch.setattr(accounts, "WAIT", 0)
    core.wants = [(b"hangs", 1), (b"a", 7)]
    core.hear(reader, lambda: core.told and len(files.asked) == 2)
    core.wants = [(b"hangs", 2)]
    reader.attend(core)
    assert core.told == [(b"a", b"1", b"")]
    assert [pid for id_, pid in files.asked if id_ == b"hangs"] == [1]        # one thread is enough
    reader.close()


def test_many_files_that_never_answer_take_a_bounded_number_of_threads(files: Files, reader: Accounts,
                                                                       monkeypatch: pytest.MonkeyPatch) -> None:
    core, before = Asking(), threading.enumerate()
    monkeypatch.setattr(accounts, "WAIT", 0)
    for number in range(3 * accounts.READERS):
        core.wants = [(b"%d" % number, 1)]
        reader.attend(core)
    assert 0 < sum(thread.name == "falcolib-accounts" for thread in threading.enumerate() if thread not in before) <= accounts.READERS


def test_files_are_read_again_after_a_while(files: Files, reader: Accounts, monkeypatch: pytest.MonkeyPatch) -> None:
    core = Asking()
    monkeypatch.setattr(accounts, "AGAIN", 0.05)
    files.by_id = {b"a": b"1"}
    core.wants = [(b"a", 7)]
    reader.attend(core)
    files.by_id[b"a"] = b"2"
    core.wants = [(b"a", 8)]
    core.hear(reader, lambda: core.told[1:])
    assert core.told == [(b"a", b"1", b""), (b"a", b"2", b"")]


def test_files_are_not_read_each_time_that_they_are_wanted(files: Files, reader: Accounts, monkeypatch: pytest.MonkeyPatch) -> None:
    core = Asking()
    monkeypatch.setattr(accounts, "AGAIN", 2 * PATIENCE)
    files.by_id = {b"a": b"1", b"b": b"1"}
    core.wants = [(b"a", 7)]
    core.hear(reader, lambda: core.told)
    core.wants = [(b"a", 8), (b"b", 8)]
    core.hear(reader, lambda: core.told[1:])
    assert files.asked == [(b"a", 7), (b"b", 8)]


def test_a_process_that_is_gone_is_no_answer(files: Files, reader: Accounts) -> None:
    core = Asking()
    files.by_id = {b"a": None}
    core.wants = [(b"a", 7)]
    core.hear(reader, lambda: files.asked)
    files.by_id[b"a"] = b"1"
    core.wants = [(b"a", 8)]
    core.hear(reader, lambda: core.told)                # soon
    assert files.asked == [(b"a", 7), (b"a", 8)]


@contextlib.contextmanager
def mute_server(folder: pathlib.Path) -> Iterator[None]:
    """Mounts a FUSE file system there whose server never answers."""
    server = os.open("/dev/fuse", os.O_RDWR)
    options = f"fd={server},rootmode=40000,user_id=0,group_id=0"
    try:
        done = subprocess.run(["mount", "-i", "-n", "-t", "fuse", "-o", options, "mute", folder], pass_fds=[server], capture_output=True,
                              check=False)
        if done.returncode:
            pytest.skip(f"FUSE can't be mounted here: {done.stderr!r}")
        try:
            yield
        finally:
            subprocess.run(["umount", "-l", folder], check=True)
    finally:
        os.close(server)                # who waits gets an error


@pytest.mark.skipif(os.geteuid() != 0 or not os.path.exists("/dev/fuse"), reason="not root, or no FUSE")
def test_a_fuse_server_that_never_answers(machine: Machine) -> None:
    other = machine.folder / "proc" / "8"
    shutil.copytree(machine.process, other)
    (other / "root" / "etc" / "passwd").write_text("ada:x:7:8::/:/bin/sh\n")
    core, reader = Asking(), Accounts(f"{machine.folder}/")
    with mute_server(machine.etc):
        (other / "cgroup").write_text("0::/docker/" + "b" * 64)
        core.wants = [(SHORT, 7), (b"b" * 12, 8)]
        core.hear(reader, lambda: core.told)
        assert core.told == [(b"b" * 12, b"ada:x:7:8::/:/bin/sh\n", b"")]
        assert SHORT in reader._reading
        reader.close()
    until = time.monotonic() + PATIENCE
    while reader._threads:
        assert time.monotonic() < until
        time.sleep(0.01)


@pytest.mark.skipif(os.geteuid() != 0 or not os.path.exists("/dev/fuse"), reason="not root, or no FUSE")
def test_a_process_ends_while_a_file_does_not_answer(machine: Machine) -> None:
    with mute_server(machine.etc):
        in_child("""
import sys, time
from falcolib.sources.accounts import Accounts

class Core:
    def wanted_accounts(self):
        return [(sys.argv[2].encode(), 7)]

reader = Accounts(sys.argv[1])
reader.attend(Core())
while not reader._reading:
    time.sleep(0.01)
reader.close()
""", machine.folder, SHORT.decode())


# ---- in the state ----


class Running(Chunked):
    """A capture's bytes as what happens now: from the second piece on, users of containers are told."""

    live = True

    def __init__(self, passwd: bytes | list[bytes], group: bytes, *pieces: bytes) -> None:
        super().__init__(b"", 1)
        self.passwd, self.group, self.pieces = [passwd] if isinstance(passwd, bytes) else passwd, group, pieces
        self.wanted: list[tuple[bytes, int]] = []

    def open_on(self, core: Core) -> None:
        core.rewind()
        self.core = core

    def attend(self, core: Core) -> None:
        for container, pid in core.wanted_accounts():
            self.wanted.append((container, pid))
            core.tell_accounts(container, self.passwd[0], self.group)
            if self.passwd[1:]:
                del self.passwd[0]

    def chunks(self) -> Iterator[bytes]:
        for number, piece in enumerate(self.pieces):
            if number == 1:
                self.core.ask_accounts(self.attend)
            yield piece


def rules(*fields: str, condition: str = "evt.type in (getuid, execve, setuid)") -> falcolib.RuleSet:
    output = " ".join(f"%{name}" for name in fields)
    return falcolib.RuleSet.parse(json.dumps([{"rule": "r", "desc": "d", "condition": condition, "output": output, "priority": "INFO"}]))


def values(alerts: list[falcolib.Alert], *fields: str) -> list[tuple[object, ...]]:
    return [tuple(alert.fields[name] for name in fields) for alert in alerts]


def seen(source: Running, *fields: str) -> list[tuple[object, ...]]:
    engine = falcolib.Engine(rules(*fields), containers=falcolib.Containers.none())
    return values(list(engine.run(source)), *fields)


def begin(*more: bytes) -> bytes:
    """A container with a process, 7, of the user and group 1000."""
    return capture(bash(tid=7, cgroups=CGROUPS, uid=1000, gid=1000), *more)


def run(exe: str = "app", *, uid: int = 1000, gid: int = 1000, **more: object) -> bytes:
    return execve(exe, tid=7, uid=uid, gid=gid, cgroups=CGROUPS.encode() + b"\0", **more)       # type: ignore[arg-type]


PASSWD, GROUP = b"root:x:0:0::/root:/bin/sh\nada:x:1000:1000:Ada:/home/ada:/bin/zsh\n", b"root:x:0:\ncrew:x:1000:ada\n"


def test_the_first_event_of_a_container_has_its_names() -> None:
    source = Running(PASSWD, GROUP, begin(), run() + probe(7))
    assert seen(source, *FIELDS) == [(1000, "ada", "/home/ada", "/bin/zsh", 1000, "crew")] * 2
    assert source.wanted == [(SHORT, 7)]


@pytest.mark.parametrize(("length", "asked"), [(20, True), (255, True), (256, False)])
def test_a_container_has_its_whole_name(length: int, asked: bool) -> None:
    """As long as a folder's may be: longer ones are no containers."""
    cgroups = "cpu=/lxc.payload." + "b" * length
    inside = execve("app", tid=7, uid=1000, gid=1000, cgroups=cgroups.encode() + b"\0")
    source = Running(PASSWD, GROUP, capture(bash(tid=7, cgroups=cgroups, uid=1000, gid=1000)), inside)
    assert seen(source, "container.id", "user.name") == [("b" * length if asked else "host", "ada" if asked else "<NA>")]
    assert source.wanted == ([(b"b" * length, 7)] if asked else [])


def test_who_has_names_is_not_asked_for() -> None:
    source = Running(PASSWD, GROUP, begin(), run() + run(), run())
    seen(source, "user.name")
    assert len(source.wanted) == 1


def test_who_becomes_another_user_is_asked_for() -> None:
    source = Running([PASSWD, PASSWD + b"eve:x:33:33::/:\n"], GROUP, begin(), run() + named("SETUID_X", tid=7, res=0, uid=33))
    assert seen(source, "user.name") == [("ada",), ("eve",)]
    assert len(source.wanted) == 2


def test_a_container_that_begins_again_is_asked_for_again() -> None:
    first = {"vtid": 1, "vpid": 1}
    source = Running([PASSWD, PASSWD.replace(b"ada", b"eve")], GROUP,
                     capture(bash(tid=7, cgroups=CGROUPS, uid=1000, gid=1000, **first)), run(), exit_(tid=7),
                     clone(0, tid=7, pid=7, ptid=1, flags=CHILD_IN_PIDNS, cgroups=CGROUPS.encode() + b"\0", **first) + run())
    assert seen(source, "user.name") == [("ada",), ("eve",)]


def test_who_is_gone_from_the_file_has_no_name() -> None:
    source = Running([PASSWD, b"eve:x:33:33::/:\n"], GROUP, begin(), run() + named("SETUID_X", tid=7, res=0, uid=33), run())
    assert seen(source, "user.name") == [("ada",), ("eve",), ("<NA>",)]


def test_the_machine_has_other_users() -> None:
    source = Running(PASSWD, GROUP, capture(bash(tid=7, uid=1000, gid=1000)), execve("app", tid=7) + probe(7))
    assert seen(source, "user.name") == [("<NA>",)] * 2
    assert source.wanted == []


def test_nobody_is_asked_of_a_capture() -> None:
    source = Running(PASSWD, GROUP, begin(), begin(), run())        # the second begins a section
    assert seen(source, "user.name") == [("<NA>",)]
    assert source.wanted == []


@pytest.mark.parametrize(("passwd", "expected"), [
    (b"ada:x:1000:1000", "ada"),                                    # no line's end, nor all fields
    (b"ada:x:1000:", "<NA>"),
    (b"ada:x:1000:1000:::\nbob:x:1000:1::/:\n", "ada"),             # the first counts
    (b"\n\n:::::\n::1000:1000:::\nada:x:1000:1000:::\n", "ada"),
    (b"x" * 100_000 + b"\nada:x:1000:1000:::\n", "ada"),
    (b"a" * 5000 + b":x:1000:1000:::\n", "a" * 1024),
    (b"ada\0:x:1000:1000:::\nbob:x:1000:1000:::\0\n", "bob"),
    (b"\0" * 5000, "<NA>"),
    (b"ada:x:-1000:1000:::\nbob:x:4294968296:1:::\neve:x:99999999999999999999999:1:::\nmal:x:1000x:1:::\nian:x: 1000:1:::\n", "<NA>"),
    (b"ada:x:1000:-1:::\n", "<NA>"),
    (b"#ada:x:1000:1000:::\n+ada:x:1000:1000:::\n-ada:x:1000:1000:::\n", "<NA>"),
    (b"\xff\xfe:x:1000:1000:::\n", "��"),
    (b"".join(b"u%d:x:%d:0:::\n" % (i, i) for i in range(10**5)), "u1000"),
    (b"ada:x:1000:1000:::\n" * 50_000, "ada"),
])  # fmt: skip
def test_a_hostile_file(passwd: bytes, expected: str) -> None:
    source = Running(passwd, passwd, begin(), run())
    assert seen(source, "user.name") == [(expected,)]


def test_a_container_has_4096_users() -> None:
    many = b"".join(b"u%d:x:%d:0:::\n" % (i, i) for i in range(10**4))
    source = Running(many, many, begin(), run(uid=4095, gid=4095), run(uid=4096, gid=4096))
    assert seen(source, "user.name", "group.name") == [("u4095", "u4095"), ("<NA>", "<NA>")]


def test_a_recording_holds_what_was_told(tmp_path: pathlib.Path) -> None:
    """Users that come, change and go, as events that no rule sees."""
    path = tmp_path / "users.scap"
    changed = PASSWD.replace(b"ada", b"eve")
    source = Running([PASSWD, changed + b"bob:x:33:33:::\n", b""], GROUP,
                     begin(), run(), probe(7) + named("SETUID_X", tid=7, res=0, uid=33), run(), run(uid=5), run(), probe(7))
    engine = falcolib.Engine(rules(*FIELDS), containers=falcolib.Containers.none())
    lived = list(engine.record(source, falcolib.CaptureWriter(path)))
    assert [alert.fields["user.name"] for alert in lived] == ["ada", "ada", "bob", "eve", "<NA>", "<NA>", "<NA>"]
    replayed = list(falcolib.Engine(rules(*FIELDS)).run(falcolib.Capture(path)))
    assert [alert.json() for alert in replayed] == [alert.json() for alert in lived]


def test_files_of_a_recording_each_hold_the_users(tmp_path: pathlib.Path) -> None:
    path = tmp_path / "users.scap"
    writer = falcolib.CaptureWriter(path, max_events=2, files=9)
    source = Running(PASSWD, GROUP, begin(), run() + probe(7), probe(7) + probe(7), probe(7))
    list(falcolib.Engine(rules("user.name"), containers=falcolib.Containers.none()).record(source, writer))
    names = [values(list(falcolib.Engine(rules(*FIELDS[:2])).run(falcolib.Capture(file))), "user.name")
             for file in sorted(tmp_path.iterdir())]
    assert len(names) > 1
    assert {name for part in names for (name,) in part} == {"ada"}


def test_users_of_a_container_that_is_gone_are_forgotten(tmp_path: pathlib.Path) -> None:
    """Some time after its last process: its files may be others' when it is back, and these are asked for."""
    minute = 60 * S
    (tmp_path / "proc" / "1").mkdir(parents=True)
    (tmp_path / "proc" / "1" / "stat").write_text("")
    core, told = Core("first", 0, 0), list[bytes]()

    def see(block: bytes) -> list[str]:
        core.push(block)
        names = list[str]()
        while core.step():
            names.append(str(core.current()["user.name"]))
            for container, _ in core.wanted_accounts():
                told.append(container)
                core.tell_accounts(container, PASSWD, GROUP)
        return names

    see(capture())
    core.snapshot(str(tmp_path))
    core.ask_accounts(lambda core: None)
    inside = {"cgroups": CGROUPS.encode() + b"\0", "uid": 1000, "gid": 1000}
    assert see(execve("app", tid=8, pid=8, **inside) + execve("app", tid=9, pid=9, **inside)) == ["<NA>", "ada"]      # type: ignore[arg-type]
    see(exit_(tid=9) + probe(8))
    see(named("GETUID_X", tid=8, ts=TIME + minute, uid=0))
    assert see(probe(8)) == ["ada"]
    see(exit_(tid=8) + probe(1))
    see(named("GETUID_X", tid=1, ts=TIME + 10 * minute, uid=0))
    see(probe(1))
    assert told == [SHORT]
    assert see(execve("app", tid=8, pid=8, **inside)) == ["<NA>"]           # type: ignore[arg-type]
    assert told == [SHORT, SHORT]


# ---- for real ----


@pytest.mark.live
@pytest.mark.containers
@pytest.mark.skipif(bool(missing()), reason=missing())
class TestLive:
    """Containers of runc: busybox, as a user of their own /etc/passwd."""

    pytestmark = needs_live

    @pytest.fixture
    def bundle(self) -> Iterator[pathlib.Path]:
        with tempfile.TemporaryDirectory(prefix="falcolib-") as name:
            bundle = pathlib.Path(name)
            bundle.chmod(0o755)
            root = bundle / "rootfs"
            for folder in ("bin", "proc", "etc", "dev"):
                (root / folder).mkdir(parents=True)
            shutil.copy(str(shutil.which("busybox")), root / "bin" / "busybox")
            for program in ("sh", "cat"):
                (root / "bin" / program).symlink_to("busybox")
            (root / "mark").write_text("")
            (root / "etc" / "passwd").write_text("root:x:0:0::/root:/bin/sh\nfl-ada:x:61000:62000::/home/ada:/bin/zsh\n")
            (root / "etc" / "group").write_text("root:x:0:\nfl-crew:x:62000:fl-ada\n")
            yield bundle

    def container(self, bundle: pathlib.Path, id_: str, script: str) -> subprocess.Popen[bytes]:
        (bundle / "config.json").write_text(json.dumps({
            "ociVersion": "1.0.2", "root": {"path": "rootfs"}, "mounts": [{"destination": "/proc", "type": "proc", "source": "proc"}],
            "process": {"user": {"uid": 61000, "gid": 62000}, "args": ["/bin/sh", "-c", script], "cwd": "/", "env": ["PATH=/bin"]},
            "linux": {"cgroupsPath": f"/docker/{id_}", "namespaces": [{"type": kind} for kind in ("pid", "mount", "ipc", "uts")]},
        }))
        return subprocess.Popen(["runc", "--root", bundle / "runc", "run", "--bundle", bundle, f"fl-{os.getpid()}-{id_[:12]}"],
                                stdin=subprocess.PIPE, stdout=subprocess.PIPE)

    def test_users_of_a_container(self, bundle: pathlib.Path, tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch) -> None:
        """One that runs already, and one whose first event is its user's; the recording tells the same."""
        monkeypatch.setattr(accounts, "WAIT", 2.0)              # on a slow machine, too; it isn't for ever, as some can't be read at all
        monkeypatch.setattr(accounts, "WAITING_FREE", PATIENCE)
        fields, path, (first, second) = ("container.id", "proc.args", *FIELDS), tmp_path / "live.scap", (uuid.uuid4().hex * 2 for _ in "12")
        seen = rules(*fields, condition=f"evt.type = execve and user.uid = 61000 and container.id in ({first[:12]}, {second[:12]})")
        names = (61000, "fl-ada", "/home/ada", "/bin/zsh", 62000, "fl-crew")
        with self.container(bundle, first, "echo; read line; cat /mark; exit 0") as before:
            assert before.stdout
            before.stdout.readline()
            with Recording(seen, path) as watch:
                before.communicate(b"go\n", timeout=PATIENCE)
                with self.container(bundle, second, "cat /mark; read line") as container:
                    watch.until(lambda: len(watch.alerts) == 3)         # who is gone before we have heard of it can't be asked
                    container.communicate(b"go\n", timeout=PATIENCE)
        lived = watch.alerts
        assert values(lived, *fields) == [
            (first[:12], "/mark", *names), (second[:12], "-c cat /mark; read line", *names), (second[:12], "/mark", *names)]  # fmt: skip
        replayed = list(falcolib.Engine(seen, matching="all").run(falcolib.Capture(path)))
        assert [alert.json() for alert in replayed] == [alert.json() for alert in lived]
