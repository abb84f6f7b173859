# SPDX-License-Identifier: Apache-2.0
"""The running machine, recorded: replayed, the file gives the alerts and the fields that were seen live."""

import contextlib
import json
import os
import pathlib
import signal
import subprocess
import sys
import time

import falcolib
from falcolib import Capture, Engine, RuleSet
from live import FLOOD, PATIENCE, Recording, in_child, needs_live

pytestmark = needs_live

#: What the state knows of processes, descriptors and users. (evt.hostname is the host's that prints it: a replay has none.)
FIELDS = [
    "evt.num", "evt.type", "evt.time", "evt.args", "evt.cpu", "proc.name", "proc.pid", "proc.cmdline", "proc.exepath", "proc.cwd",
    "proc.pname", "proc.aname[2]", "proc.sid", "proc.vpid", "proc.tty", "proc.env[FL_MARK]", "proc.is_exe_writable", "proc.exe_ino",
    "thread.tid", "thread.cap_effective", "thread.cgroups", "user.name", "user.loginuid", "group.name", "fd.num", "fd.name", "fd.type",
    "fd.ino", "fd.cip", "fd.sip", "fd.cport", "fd.sport", "fd.l4proto", "container.id", "evt.is_open_write", "evt.failed",
]

#: What `some_activity` does. Of all calls of a busy machine there may be more than one processor can look at, and a process that looks at
#: its own makes more of them.
TYPES = ("accept4", "bind", "chdir", "clone", "clone3", "close", "connect", "dup2", "dup3", "execve", "fcntl", "fstat", "getsockname",
         "listen", "open", "openat", "pipe", "pipe2", "procexit", "read", "recvfrom", "rename", "renameat2", "sendto", "shutdown", "socket",
         "unlink", "unlinkat", "vfork", "write")


def rules(condition: str) -> RuleSet:
    row = {"rule": "seen", "desc": "d", "condition": condition, "output": " ".join(f"%{f}" for f in FIELDS), "priority": "INFO"}
    return RuleSet.parse(json.dumps([{**row, "warn_evttypes": False}]))


SOCKETS = """
import socket
with socket.create_server(("127.0.0.1", 0)) as server, socket.create_connection(server.getsockname()) as client:
    other, _ = server.accept()
    client.sendall(b"ping")
    other.recv(4)
    other.close()
"""


def some_activity(folder: pathlib.Path, mark: str) -> None:
    """Files, pipes, sockets, children, all with the mark in their environment; the last of it touches a file that is named after it."""
    script = (f"cd {folder}; echo x > a; cat a | tr x y > b; mv b c; (exec 5< c; read line <&5); rm -f c; "
              f"{sys.executable} -S -c '{SOCKETS}'; touch {mark}")
    subprocess.run(["sh", "-c", script], check=True, env={**os.environ, "FL_MARK": mark})


def test_alerts_and_fields_are_those_that_were_seen_live(tmp_path: pathlib.Path) -> None:
    mark = f"mark-of-{os.getpid()}"
    seen = rules(f"evt.type in ({', '.join(TYPES)}) and proc.env[FL_MARK] = {mark}")
    path = tmp_path / "live.scap"
    with Recording(seen, path) as watch:
        some_activity(tmp_path, mark)
        watch.until(lambda: any(mark in str(a.fields["fd.name"]) for a in list(watch.alerts)))
    lived = watch.alerts
    replayed = list(Engine(seen, matching="all").run(Capture(path)))
    assert len(lived) > 50
    assert watch.writer.recorded.events >= len(lived)
    assert [a.id for a in replayed] == [a.id for a in lived]
    different = [(w.event.type, k, w.fields[k], g.fields[k]) for w, g in zip(lived, replayed, strict=True) for k in FIELDS
                 if w.fields[k] != g.fields[k]]
    assert not different, different[:20]
    assert [a.json() for a in replayed] == [a.json() for a in lived]


def commands(path: pathlib.Path) -> list[tuple[str, object]]:
    """Types and arguments of a recording's events, also of one that is being written."""
    found: list[tuple[str, object]] = []
    with contextlib.suppress(falcolib.CaptureError, OSError):
        for event in Engine().events(Capture(path)):
            found.append((event.type, event["proc.args"]))
    return found


def test_the_command_records_this_machine_until_it_is_interrupted(tmp_path: pathlib.Path) -> None:
    out = tmp_path / "now.scap.gz"
    argv = [sys.executable, "-m", "falcolib", "record", str(out), "--filter", "evt.type in (execve, execveat)"]
    with subprocess.Popen(argv, stderr=subprocess.PIPE, text=True) as run:
        assert run.stderr is not None
        assert "Watching" in run.stderr.readline()
        end = time.monotonic() + PATIENCE
        while ("execve", "of-this-test") not in commands(out):
            assert time.monotonic() < end
            subprocess.run(["true", "of-this-test"], check=True)
        os.kill(run.pid, signal.SIGINT)
        assert run.wait(PATIENCE) == 0
        assert "Events written" in run.stderr.read()
    assert {kind for kind, _ in commands(out)} <= {"execve", "execveat"}
    list(Engine().events(Capture(out)))         # it has an end


def test_a_limit_ends_a_live_recording(tmp_path: pathlib.Path) -> None:
    writer = falcolib.CaptureWriter(tmp_path / "n.scap", max_events=200)
    for _ in Engine().record(falcolib.Live(on_ready=lambda: in_child(FLOOD, 200)), writer):         # the machine may be idle
        pass
    assert writer.recorded.events == 200
    assert len(list(Engine().events(Capture(tmp_path / "n.scap")))) <= 200
