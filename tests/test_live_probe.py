# SPDX-License-Identifier: Apache-2.0
"""What the probe tells of a call is true: also where another thread rewrites its arguments, where memory isn't there, and after losses."""

import contextlib
import ctypes
import json
import os
import re
import shutil
import socket
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

import falcolib
from live import FLOOD, PATIENCE, Watch, in_child, needs_live
from test_live import SHOCK, rule

pytestmark = needs_live

libc = ctypes.CDLL(None, use_errno=True)
OPENS = "evt.type in (open, openat, openat2, creat)"
SLOTS = 1024                                    # FL_PROBE_SLOTS


@pytest.mark.parametrize("loader", ["core", "pylibbpf"])
def test_both_loaders_load_the_probe(loader: str, tmp_path: Path) -> None:
    if loader == "pylibbpf":
        pytest.importorskip("pylibbpf", reason="pylibbpf has no wheel for this Python")
    path = tmp_path / "file"
    with Watch(rule("seen", f"{OPENS} and fd.name = '{path}'", "%fd.name"), loader=loader) as watch:
        path.write_text("x")
        watch.first("seen")


# Begins calls that don't end, in threads of consecutive numbers, until its input does.
CROWD = """
import os, sys, threading
threading.stack_size(64 << 10)
for _ in range(int(sys.argv[2])):
    threading.Thread(target=os.open, args=(sys.argv[1], os.O_RDONLY), daemon=True).start()
print("there", flush=True)
sys.stdin.read()
os._exit(0)
"""


@pytest.mark.parametrize("others", [0, 2 * SLOTS])
def test_a_path_that_another_thread_rewrites_is_told_as_it_was_when_the_call_began(others: int, tmp_path: Path) -> None:
    """Also where other calls under way have all the slots."""
    secret, harmless, fifo = tmp_path / "secret", tmp_path / "harmls", tmp_path / "fifo"
    os.mkfifo(secret)                           # its opening waits until there is a writer: time enough
    os.mkfifo(fifo)
    buffer = ctypes.create_string_buffer(bytes(secret))
    output = "%fd.name %fd.realpath"
    with (Watch(rule("secret", f"{OPENS} and fd.name = '{secret}' and evt.is_open_read = true", output)
                + rule("harmless", f"{OPENS} and fd.name = '{harmless}'", output)) as watch,
          subprocess.Popen([sys.executable, "-c", CROWD, fifo, str(others)], stdin=subprocess.PIPE, stdout=subprocess.PIPE) as crowd):
        assert crowd.stdout
        assert crowd.stdout.readline() == b"there\n"
        opener = threading.Thread(target=lambda: os.close(libc.open(buffer, os.O_RDONLY)))
        opener.start()
        waits = Path(f"/proc/self/task/{opener.native_id}/syscall")
        watch.until(lambda: waits.read_text().startswith(("257 ", "2 ")))
        buffer.value = bytes(harmless)
        os.close(os.open(secret, os.O_WRONLY))
        opener.join()
        fields = watch.first("secret").fields
        crowd.communicate(timeout=PATIENCE)
    assert fields["fd.name"] == fields["fd.realpath"] == str(secret)
    assert not watch.of("harmless")


def test_an_address_that_another_thread_rewrites_is_told_as_it_was_when_the_call_began(tmp_path: Path) -> None:
    true, false = tmp_path / "true", tmp_path / "none"
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(str(true))
        server.listen(0)
        filling = socket.socket(socket.AF_UNIX)
        filling.connect(str(true))              # the queue is full: the next one waits
        connecting = socket.socket(socket.AF_UNIX)
        address = ctypes.create_string_buffer((socket.AF_UNIX).to_bytes(2, "little") + bytes(true) + b"\0", 110)
        with Watch(rule("true", f"evt.type = connect and evt.arg.addr endswith '{true}'", "%evt.arg.addr")
                   + rule("false", f"evt.type = connect and evt.arg.addr endswith '{false}'", "%evt.arg.addr")) as watch:
            thread = threading.Thread(target=lambda: libc.connect(connecting.fileno(), address, 110))
            thread.start()
            waits = Path(f"/proc/self/task/{thread.native_id}/syscall")
            watch.until(lambda: waits.read_text().startswith("42 "))
            address.raw = address.raw.replace(bytes(true), bytes(false))
            for _ in range(2):
                server.accept()[0].close()
            thread.join()
            watch.first("true")
        assert not watch.of("false")
        filling.close()
        connecting.close()


def test_the_kernels_own_path_is_told_whatever_was_passed(tmp_path: Path) -> None:
    (tmp_path / "a" / "b").mkdir(parents=True)
    (tmp_path / "link").symlink_to("a/b")
    asked = f"{tmp_path}/link/../b/./file"
    with Watch(rule("real", f"{OPENS} and fd.realpath = '{tmp_path}/a/b/file'", "%fd.realpath %evt.arg.name")) as watch:
        os.close(os.open(asked, os.O_CREAT | os.O_WRONLY))
        assert watch.first("real").fields["evt.arg.name"] == asked


def test_a_parameter_that_cannot_be_read_is_marked() -> None:
    with Watch(rule("unread", f"{OPENS} and evt.res = EFAULT and proc.pid = {os.getpid()}", "%evt.unread")) as watch:
        libc.open(ctypes.c_void_p(16), os.O_RDONLY)
        assert watch.first("unread").fields["evt.unread"] == ["name"]
        assert watch.engine.stats().unread > 0


IA32 = r"""
static long call(long number, long a, long b, long c) {
    long result;
    __asm__ volatile("int $0x80" : "=a"(result) : "a"(number), "b"(a), "c"(b), "d"(c) : "memory");
    return result;
}
void _start(void)
{
    call(22, (long)"/falcolib-ia32", 0, 0);     /* umount */
    call(140, 99, 1, 2);                        /* _llseek */
    call(5, (long)"/tmp/falcolib-ia32", 0, 0);
    static unsigned short address[8] = {2, 0x0900, 0x007f, 0x0100};            /* 127.0.0.1:9 */
    static unsigned made[3] = {2, 1, 0}, connected[3] = {0, 0, sizeof address}, mapped[6] = {0, 8192, 1, 0x22, ~0u, 0};
    connected[0] = call(102, 1, (long)made, 0); /* socketcall: socket, connect */
    connected[1] = (unsigned)(long)address;
    call(102, 3, (long)connected, 0);
    call(90, (long)mapped, 0, 0);               /* the old mmap */
    call(1, 0, 0, 0);
}
"""


def test_32_bit_system_calls_are_recognised(tmp_path: Path) -> None:
    """Also those that 64-bit processes don't have."""
    if not shutil.which("gcc"):
        pytest.skip("no gcc")
    (tmp_path / "old.c").write_text(IA32)
    subprocess.run(["gcc", "-static", "-nostdlib", "-no-pie", "-fno-pie", "-o", tmp_path / "old", tmp_path / "old.c"], check=True)
    with Watch(rule("old", "evt.type = open and fd.name = /tmp/falcolib-ia32 and evt.res = ENOENT", "%proc.name")
               + rule("umount", "evt.type = umount and proc.name = old", "%evt.arg.name")
               + rule("socket", "evt.type = socket and proc.name = old", "%evt.arg.domain")
               + rule("connect", "evt.type = connect and proc.name = old", "%evt.arg.addr %evt.res")
               + rule("mmap", "evt.type = mmap and proc.name = old and evt.arg.length = 8192", "%evt.arg.length %evt.arg.flags")
               + rule("seek", "evt.type = llseek and proc.name = old", "%evt.arg.offset %evt.res")) as watch:
        if subprocess.run([tmp_path / "old"]).returncode:
            pytest.skip("this kernel takes no 32-bit system calls")
        assert watch.first("old").fields["proc.name"] == "old"
        assert watch.first("umount").fields["evt.arg.name"] == "/falcolib-ia32"
        assert watch.first("socket").fields["evt.arg.domain"] == "AF_INET"
        assert watch.first("connect").fields == {"evt.arg.addr": "127.0.0.1:9", "evt.res": "ECONNREFUSED"}
        assert "MAP_ANONYMOUS" in watch.first("mmap").fields["evt.arg.flags"]
        assert watch.first("seek").fields == {"evt.arg.offset": str((1 << 32) + 2), "evt.res": "EBADF"}
        watch.until(lambda: "fl_sys_enter" in watch.live._attached)         # from now on theirs are guarded, too


def test_programs_that_nobody_needs_do_not_run() -> None:
    with Watch(SHOCK) as watch:
        ran = set(watch.live._attached)
    guards = {f"fl_enter_{call}" for call in ("open", "creat", "openat", "openat2", "connect")}
    # fl_sys_enter: if somebody makes 32-bit calls just now
    assert ran - {"fl_sys_enter"} == guards | {"fl_sys_exit", "fl_exec", "fl_exit"}
    with Watch(rule("signal", "evt.type = signaldeliver and evt.arg.sig = SIGUSR1", "%evt.arg.sig")) as watch:
        in_child("import os, signal; signal.signal(signal.SIGUSR1, lambda *_: None); os.kill(os.getpid(), signal.SIGUSR1)")
        watch.first("signal")


@pytest.mark.parametrize("length", [100, 40_000])
def test_long_arguments_and_paths(tmp_path: Path, length: int) -> None:
    text = "x" * length
    ours = f"evt.type = execve and evt.res = SUCCESS and proc.exepath endswith /true and proc.ppid = {os.getpid()}"
    with Watch(rule("long", ours, "%proc.args %evt.unread")
               + rule("path", f"{OPENS} and evt.res = ENAMETOOLONG and proc.pid = {os.getpid()}", "%evt.arg.name")) as watch:
        subprocess.run(["true", text], check=True)
        fields = watch.first("long").fields
        args = fields["proc.args"]
        assert ("args" in (fields["evt.unread"] or [])) == (length > 32_767)        # what is cut off is told of
        assert set(args) == {"x"}
        assert len(args) == length if length < 30_000 else len(args) > 30_000
        with pytest.raises(OSError, match="too long"):
            os.open("/" + text[:300] + "/" + "y" * 4000, os.O_RDONLY)
        watch.first("path")


def test_what_is_lost_is_told(tmp_path: Path) -> None:
    """The engine isn't asked for alerts while a child floods a ring of 1 MiB."""
    rules = falcolib.RuleSet.parse(rule("mark", f"{OPENS} and fd.name startswith '{tmp_path}/mark'", "%fd.name")
                                   + rule("lost", "evt.type = lost", "%evt.arg.count %evt.arg.events"), name="test")
    engine, live = falcolib.Engine(rules, matching="all"), falcolib.Live(buf_size_preset=1)
    guard = threading.Timer(PATIENCE, engine.stop)
    guard.start()
    alerts = engine.run(live)
    threading.Thread(target=lambda: (live.ready.wait(), (tmp_path / "mark1").write_text(""))).start()
    first = next(alert for alert in alerts if alert.rule == "mark")
    assert first.complete

    in_child(FLOOD, 60_000)
    lost = marked = None
    threading.Thread(target=lambda: (tmp_path / "mark2").write_text("")).start()
    for alert in alerts:
        if alert.rule == "lost" and "close=" in alert.fields["evt.arg.events"]:     # on a loaded machine others lose some, too
            lost = alert
            (tmp_path / "mark3").write_text("")
        elif lost and alert.rule == "mark":
            marked = alert
        if lost and marked:
            break
    engine.stop()
    list(alerts)
    guard.cancel()
    assert lost
    assert int(lost.fields["evt.arg.count"]) > 0
    assert marked
    assert not marked.complete
    assert engine.stats().lost >= int(lost.fields["evt.arg.count"])


def loaded() -> dict[int, str]:
    """The names of the kernel's programs, by number."""
    bpftool = shutil.which("bpftool", path="/usr/sbin:/usr/bin:/sbin:/bin")
    if not bpftool:
        pytest.skip("no bpftool to look with")
    return {program["id"]: program.get("name", "") for program in json.loads(subprocess.check_output([bpftool, "--json", "prog", "list"]))}


def held_by(pid: int) -> set[int]:
    """The numbers of the programs that a process holds."""
    own = set()
    for info in Path(f"/proc/{pid}/fdinfo").iterdir():
        with contextlib.suppress(FileNotFoundError):        # it has been closed since
            own |= set(map(int, re.findall(r"^prog_id:\s+(\d+)$", info.read_text(), re.M)))
    return own


def test_nothing_stays_loaded_when_the_monitor_is_killed() -> None:
    rules = rule("none", "evt.type = close and proc.name = nobody", "x")
    code = f"""
import falcolib
live = falcolib.Live(on_ready=lambda: print("ready", flush=True))
list(falcolib.Engine(falcolib.RuleSet.parse({rules!r})).run(live))
"""
    with subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True) as child:
        try:
            assert child.stdout
            assert child.stdout.readline() == "ready\n"
            own = held_by(child.pid)
            assert own
            assert own <= loaded().keys()
        finally:
            child.kill()
    end = time.monotonic() + PATIENCE           # the kernel frees them after a while
    while own & loaded().keys():
        assert time.monotonic() < end, own
        time.sleep(0.02)


def test_the_iterator_that_may_sleep_stays_until_the_run_ends() -> None:
    """To free it, the kernel would begin a grace period while our tracepoints are there, and others would pay for it at each."""
    with Watch(SHOCK) as watch:
        if not watch.engine.stats().iterated_threads:
            pytest.skip("iterators aren't used in this namespace of process numbers")
        names = loaded()
        held = {number for number in held_by(os.getpid()) if names.get(number, "").startswith("fl_iter")}
    assert [names[number] for number in held] == ["fl_iter_task"]
    assert not held & held_by(os.getpid())


RECEIVER = """
import os, socket, sys
theirs = socket.socket(fileno=int(sys.argv[1]))
_, fds, *_ = socket.recv_fds(theirs, 1, 2)
os.fchmod(fds[1], 0o600)
theirs.recv(1)                      # lives on until it is looked at
"""


def test_a_descriptor_that_another_process_sent_is_known(tmp_path: Path) -> None:
    """By SCM_RIGHTS: its file is looked up when it arrives."""
    path = tmp_path / "sent"
    path.write_text("")
    ours, theirs = socket.socketpair()
    with (Watch(rule("changed", f"evt.type = fchmod and fd.name = '{path}'", "%fd.name %fd.type")
                + rule("received", "evt.type = recvmsg and proc.name = nobody", "x")) as watch,
          subprocess.Popen([sys.executable, "-c", RECEIVER, str(theirs.fileno())], pass_fds=[theirs.fileno()]),
          open("/dev/null") as one, path.open("r+") as other):
        socket.send_fds(ours, [b"x"], [one.fileno(), other.fileno()])
        try:
            assert watch.first("changed").fields == {"fd.name": str(path), "fd.type": "file"}
        finally:
            ours.send(b"y")
