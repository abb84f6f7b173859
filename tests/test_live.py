# SPDX-License-Identifier: Apache-2.0
"""The running machine is watched: the probe is loaded into this kernel, and what processes do comes back as alerts."""

import os
import signal
import socket
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

import audit_events
import falcolib
from live import PATIENCE, Watch, in_child, needs_live, until_watching

pytestmark = needs_live

SHOCK = """
- rule: Write below binary dir
  desc: d
  condition: evt.type in (open, openat, openat2, creat) and evt.is_open_write=true and fd.name startswith /usr/bin/you_are_shock
  output: "%evt.type file=%fd.name user=%user.name command=%proc.cmdline parent=%proc.pname grandparent=%proc.aname[2] exe=%proc.exepath"
  priority: ERROR
"""


def test_touch_below_usr_bin_is_alerted_with_user_command_parent_and_grandparent():
    path = Path("/usr/bin/you_are_shock")
    with Watch(SHOCK) as watch:
        try:
            subprocess.run(["sh", "-c", f"touch {path}; true"], check=True)
            alert = watch.first("Write below binary dir")
        finally:
            path.unlink(missing_ok=True)
    fields = alert.fields
    assert fields["proc.cmdline"] == f"touch {path}"
    assert fields["user.name"] == "root"
    assert fields["proc.pname"] == "sh"
    assert fields["proc.aname[2]"] == Path(f"/proc/{os.getpid()}/comm").read_text().strip()
    assert fields["proc.exepath"] == "/usr/bin/touch"
    assert alert.time > 0


def test_what_happened_before_a_stop_is_looked_at(tmp_path: Path) -> None:
    with Watch(rule("opened", f"evt.type in (open, openat) and fd.name startswith {tmp_path}/n", "%fd.name")) as watch:
        for n in range(500):
            (tmp_path / f"n{n}").touch()
    assert [alert.message for alert in watch.of("opened")] == [f"{tmp_path}/n{n}" for n in range(500)]


RULE = """
- rule: {name}
  desc: d
  condition: {condition}
  output: "{output}"
  priority: INFO
"""


def rule(name: str, condition: str, output: str) -> str:
    return RULE.format(name=name, condition=condition, output=output)


def test_parameters_of_an_execve(tmp_path):
    script = tmp_path / "program"
    script.write_text("#!/bin/sh\nexit 0\n")
    script.chmod(0o700)
    asked = ("proc.args", "proc.env[FL_TEST]", "proc.exepath", "proc.pid", "proc.ppid", "evt.arg.filename", "proc.is_exe_writable",
             "proc.exe_ino", "thread.cap_effective", "proc.pgid", "proc.sid", "proc.vpid")
    output = " ".join("%" + field for field in asked)
    with Watch(rule("exec", f"evt.type = execve and evt.res = SUCCESS and evt.arg.filename = {script}", output)) as watch:
        child = subprocess.Popen([script, "one", "two three"], env={"FL_TEST": "a value"})
        child.wait()
        fields = watch.first("exec").fields
    assert fields["proc.args"].endswith("program one two three")            # of sh, which runs it
    assert fields["proc.env[FL_TEST]"] == "a value"
    assert (fields["proc.pid"], fields["proc.ppid"], fields["proc.vpid"]) == (child.pid, os.getpid(), child.pid)
    assert fields["evt.arg.filename"] == str(script)
    assert os.path.realpath("/bin/sh") == fields["proc.exepath"]
    assert fields["proc.exe_ino"] == os.stat("/bin/sh").st_ino
    assert fields["proc.is_exe_writable"] is True                           # root may
    assert "CAP_SYS_ADMIN" in fields["thread.cap_effective"]
    assert (fields["proc.pgid"], fields["proc.sid"]) == (os.getpgrp(), os.getsid(0))


def test_a_failed_execve_tells_what_was_asked_for():
    attempt = """
import contextlib, os
with contextlib.suppress(FileNotFoundError):
    os.execve("/nowhere/to-be-found", ["zero", "one", "two"], {})
"""
    failed = rule("failed", "evt.type = execve and evt.res = ENOENT and evt.arg.filename = /nowhere/to-be-found", "%evt.arg.args")
    with Watch(failed) as watch:
        in_child(attempt)
        assert watch.first("failed").fields["evt.arg.args"] == "one.two."


def test_both_ends_of_a_tcp_connection():
    with socket.create_server(("127.0.0.1", 0)) as server, Watch(
        rule("out", f"evt.type = connect and evt.rawres >= 0 and fd.sport = {server.getsockname()[1]}", "%fd.name %fd.l4proto")
        + rule("in", f"evt.type in (accept, accept4) and evt.rawres >= 0 and fd.sport = {server.getsockname()[1]}", "%fd.name")
    ) as watch:
        with socket.create_connection(server.getsockname()) as client:
            peer, _ = server.accept()
            mine = "{}:{}".format(*client.getsockname())
            peer.close()
        theirs = f"127.0.0.1:{server.getsockname()[1]}"
        assert watch.first("out").fields["fd.name"] == f"{mine}->{theirs}"
        assert watch.first("in").fields["fd.name"] == f"{mine}->{theirs}"
        assert watch.first("out").fields["fd.l4proto"] == "tcp"


def test_threads_and_their_end():
    with Watch(rule("gone", f"evt.type = procexit and proc.pid = {os.getpid()}", "%thread.tid")) as watch:
        tids = []
        thread = threading.Thread(target=lambda: tids.append(threading.get_native_id()))
        thread.start()
        thread.join()
        watch.until(lambda: tids[0] in [a.fields["thread.tid"] for a in watch.of("gone")])


def test_the_probe_leaves_the_kernel_with_the_run():
    with Watch(SHOCK) as watch:
        assert watch.live.ready.is_set()
    assert not watch.live.ready.is_set()
    # and the source can be read again
    watch = Watch(SHOCK, engine=watch.engine)
    with watch:
        pass


def test_what_was_seen_stays_counted_when_audit_events_follow() -> None:
    rules = ("- {rule: r, desc: d, condition: evt.type = openat, output: x, priority: INFO}\n"
             "- {rule: k, desc: d, condition: ka.verb exists, output: x, priority: INFO, source: k8s_audit}\n")
    engine = falcolib.Engine(falcolib.RuleSet.parse(rules, name="test"))
    run = engine.run(falcolib.Live(on_ready=lambda: os.close(os.open("/dev/null", os.O_RDONLY))))
    next(run)
    run.close()
    seen = engine.stats()
    assert seen.events > 0
    assert [alert.rule for alert in engine.run([audit_events.event()])] == ["k"]
    now = engine.stats()
    assert now.events >= seen.events + 1
    assert now.lost >= seen.lost


def test_two_monitors_at_once(tmp_path):
    path = tmp_path / "seen by both"
    seen = rule("seen", f"evt.type in (open, openat, creat) and fd.name = '{path}'", "%fd.name")
    with Watch(seen) as one, Watch(seen) as other:
        path.write_text("x")
        assert one.first("seen").fields["fd.name"] == other.first("seen").fields["fd.name"] == str(path)


def test_the_command_watches_and_ends_cleanly(tmp_path):
    rules = tmp_path / "rules.yaml"
    rules.write_text(rule("seen", f"evt.type in (open, openat, creat) and fd.name = '{tmp_path}/here'", "found %fd.name"))
    command = [sys.executable, "-m", "falcolib", "run", "-r", rules]
    run = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    assert run.stderr
    assert run.stdout
    try:
        until_watching(run)
        (tmp_path / "here").write_text("x")
        assert f"found {tmp_path}/here" in run.stdout.readline()
    finally:
        run.terminate()
    _, rest = run.communicate(timeout=PATIENCE)
    assert run.returncode == 0
    assert "Events detected: " in rest


def test_a_run_of_some_seconds_watches_for_so_many():
    """What loading the probe takes doesn't count: on a busy machine it may be more."""
    with subprocess.Popen([sys.executable, "-m", "falcolib", "run", "-M", "0.5"], stdout=subprocess.PIPE, stderr=subprocess.PIPE,
                          text=True) as run:
        until_watching(run)
        begun = time.monotonic()
        run.communicate(timeout=60)
        assert time.monotonic() - begun >= 0.45
        assert run.returncode == 0


def test_signals_while_the_probe_is_loaded_end_the_command_cleanly():
    """The kernel's verifier gives up when one comes. Those that end the run come while it is stopped: one that is sent when it is over
    would find Python's handlers gone."""
    for _ in range(4):
        command = [sys.executable, "-m", "falcolib", "run"]
        with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as run:
            assert run.stderr is not None
            assert any("Ctrl-C ends it" in line for line in run.stderr)
            for number in (signal.SIGSTOP, signal.SIGTERM, signal.SIGINT, signal.SIGCONT, signal.SIGSTOP, signal.SIGCONT):
                run.send_signal(number)
            told = run.stderr.read()
            assert run.wait() == 0, told
        assert "Error" not in told


def test_values_out_of_range_are_refused():
    for wrong in ({"buf_size_preset": 0}, {"buf_size_preset": 11}, {"cpus_for_each_buffer": -1}, {"snaplen": 1 << 20}):
        with pytest.raises(ValueError, match=next(iter(wrong))):
            falcolib.Live(**wrong)


def test_a_run_that_is_left_amid_ends_with_its_process() -> None:
    """The interpreter, which is ending, ends the run: without a word."""
    code = ("import falcolib, os\n"
            "rule = '- {rule: r, desc: d, condition: evt.type = openat and proc.pid = %d, output: x, priority: INFO}' % os.getpid()\n"
            "engine = falcolib.Engine(falcolib.RuleSet.parse(rule, name='test'))\n"
            "run = engine.run(falcolib.Live(on_ready=lambda: os.close(os.open('/dev/null', os.O_RDONLY))))\n"
            "print(next(run).rule)")
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=PATIENCE, check=True)
    assert (done.stdout, done.stderr) == ("r\n", "")
