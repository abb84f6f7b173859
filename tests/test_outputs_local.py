# SPDX-License-Identifier: Apache-2.0
"""Outputs on this machine: files, syslog, programs."""

import contextlib
import itertools
import json
import os
import pathlib
import signal
import socket
import ssl
import subprocess
import sys
import threading
import time

import pytest

from falcolib import Priority
from falcolib.outputs import Channel, FileOutput, OutputError, ProgramOutput, Retry, SyslogOutput, Undelivered
from falcolib.outputs.syslog import _ended
from messages import PATIENCE, message, needs, patient, until
from receivers import HttpReceiver, TcpReceiver

pytestmark = pytest.mark.daemon

QUICK = Retry(attempts=0, first=0.01, most=0.05)


@pytest.fixture(autouse=True)
def _utc(monkeypatch):
    monkeypatch.setenv("TZ", "UTC")
    time.tzset()
    yield
    monkeypatch.undo()
    time.tzset()


def lines(path):
    return path.read_text().splitlines()


# ---- file ----


@pytest.mark.parametrize("keep_alive", [False, True])
def test_a_file_is_appended_to(tmp_path, keep_alive):
    file = tmp_path / "events.txt"
    file.write_text("earlier\n")
    with patient([FileOutput(str(file), json=True, keep_alive=keep_alive)]) as outputs:
        for n in range(500):
            outputs.emit(message(n))
    assert lines(file)[0] == "earlier"
    assert [json.loads(line)["output_fields"]["n"] for line in lines(file)[1:]] == list(range(500))


def test_keep_alive_keeps_the_file_open(tmp_path):
    file = tmp_path / "events.txt"

    def is_open() -> bool:
        return str(file) in [os.path.realpath(f"/proc/self/fd/{fd}") for fd in os.listdir("/proc/self/fd")]

    for keep_alive in (False, True):
        with patient([FileOutput(str(file), keep_alive=keep_alive)]) as outputs:
            outputs.emit(message())
            until(lambda: outputs.counts()["file"].delivered)
            assert is_open() is keep_alive
    assert not is_open()


@pytest.mark.parametrize("keep_alive", [False, True])
def test_a_file_that_was_rotated_is_made_anew(tmp_path, keep_alive):
    file = tmp_path / "events.txt"
    with patient([FileOutput(str(file), keep_alive=keep_alive)]) as outputs:
        outputs.emit(message(1))
        until(lambda: outputs.counts()["file"].delivered == 1)
        file.rename(tmp_path / "old")
        outputs.emit(message(2))
        until(lambda: outputs.counts()["file"].delivered == 2)
        file.unlink()
        outputs.emit(message(3))
    assert "done 1" in (tmp_path / "old").read_text()
    assert "done 3" in file.read_text()


def test_reopening_makes_the_file_anew(tmp_path):
    file = tmp_path / "events.txt"
    with patient([FileOutput(str(file), keep_alive=True)]) as outputs:
        file.rename(tmp_path / "old")
        outputs.reopen()
        until(file.exists)


def test_a_file_that_cannot_be_opened_is_an_error_at_the_start(tmp_path):
    for path, text in [(tmp_path / "none" / "x", "x: No such file or directory"), (tmp_path / "dir", "Is a directory")]:
        (tmp_path / "dir").mkdir(exist_ok=True)
        with pytest.raises(OutputError, match=text):
            FileOutput(str(path) + ("/" if path.name == "dir" else ""))
    with pytest.raises(OutputError, match="no file is named"):
        FileOutput("")


def test_a_full_disk_tears_no_line_and_what_failed_is_tried_again(tmp_path):
    """The limit of a file's size stands for the disk's."""
    file = tmp_path / "events.txt"
    code = f"""
import resource, signal, sys, time
from falcolib.outputs import *
sys.path.insert(0, {os.path.dirname(__file__)!r})
from messages import message, until
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
resource.setrlimit(resource.RLIMIT_FSIZE, (1000, resource.RLIM_INFINITY))
outputs = Outputs([Channel(FileOutput({str(file)!r}, json=True, keep_alive=True), retry=Retry(attempts=0, first=.01, most=.05))])
for n in range(20):
    outputs.emit(message(n))
until(lambda: outputs.counts()["file"].failed > 3)
until(lambda: open({str(file)!r}).read()[-1:] in ("", "\\n"))        # for an instant there is what is taken back then
resource.setrlimit(resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
assert outputs.drain(120) == 0
assert outputs.counts()["file"].delivered == 20
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    assert "File too large" in done.stderr
    assert [json.loads(line)["output_fields"]["n"] for line in lines(file)] == list(range(20))


def test_buffered_files_are_written_at_the_end(tmp_path):
    file = tmp_path / "events.txt"
    outputs = patient([FileOutput(str(file), keep_alive=True, buffered=True)])
    outputs.emit(message())
    until(lambda: outputs.counts()["file"].delivered)
    assert file.read_text() == ""
    outputs.drain(120)
    assert len(lines(file)) == 1


def test_a_pipe_in_place_of_a_file_waits_for_its_reader(tmp_path):
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    outputs = patient([FileOutput(str(pipe), keep_alive=True)])
    outputs.emit(message())
    with open(pipe) as reader:
        assert "done 0" in reader.readline()
        outputs.drain(120)


# ---- syslog ----


class Log:
    """The local socket of a syslog daemon."""

    def __init__(self, path) -> None:
        self.path = str(path)
        self.start()

    def start(self) -> None:
        with contextlib.suppress(FileNotFoundError):
            os.unlink(self.path)
        self.socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self.socket.bind(self.path)
        self.socket.settimeout(PATIENCE)

    def stop(self) -> None:
        self.socket.close()

    def read(self) -> str:
        return self.socket.recv(1 << 20).decode()


def test_syslog_has_the_form_of_the_system(tmp_path):
    log = Log(tmp_path / "log")
    with patient([SyslogOutput(log.path)]) as outputs:
        for priority in Priority:
            outputs.emit(message(priority=priority))
        for priority in Priority:
            head = f"<{8 + priority}>Nov 24 12:00:00 falco[{os.getpid()}]: "
            assert log.read().startswith(head + f"12:00:00.000000000: {priority} A thing was done 0 (")
    with patient([SyslogOutput(log.path, json=True, ident="me")]) as outputs:
        outputs.emit(message())
        assert json.loads(log.read().split(f" me[{os.getpid()}]: ")[1])["rule"] == "A rule"


def test_a_syslog_daemon_may_restart_and_nothing_is_lost(tmp_path):
    log = Log(tmp_path / "log")
    with patient([Channel(SyslogOutput(log.path), retry=QUICK)]) as outputs:
        outputs.emit(message(1))
        assert "done 1 " in log.read()
        log.stop()
        outputs.emit(message(2))
        until(lambda: outputs.counts()["syslog"].failed)
        log.start()
        assert "done 2 " in log.read()
        log.stop()
        log.start()
        outputs.emit(message(3))
        assert "done 3 " in log.read()
        assert outputs.counts()["syslog"].failed >= 1


def test_long_lines_are_cut_at_a_character(tmp_path):
    log = Log(tmp_path / "log")
    with patient([SyslogOutput(log.path)]) as outputs:
        outputs.emit(message(text="ü" * 100_000))
        line = log.read()
    assert line.endswith("ü...")
    assert 65_000 < len(line.encode()) < 66_000
    server = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    server.bind(("127.0.0.1", 0))
    server.settimeout(PATIENCE)
    with patient([SyslogOutput(f"udp://127.0.0.1:{server.getsockname()[1]}")]) as outputs:
        outputs.emit(message(text="ü" * 100_000))
        assert server.recv(1 << 20).decode().endswith("ü...")
    server.close()


def test_over_a_network_syslog_is_that_of_rfc_5424():
    with TcpReceiver() as receiver:
        output = SyslogOutput(f"tcp://127.0.0.1:{receiver.port}")
        with patient([Channel(output, retry=QUICK)]) as outputs:
            for n in range(100):
                outputs.emit(message(n))
            until(lambda: receiver.all().count(b"(evt.time=") == 100)
            until(lambda: outputs.counts()["syslog"].delivered == 100)
            receiver.cut()
            until(lambda: _ended(output._socket))
            for n in range(100, 200):
                outputs.emit(message(n))
        until(lambda: receiver.all().count(b"(evt.time=") == 200)
        data, got = receiver.all(), []
        while data:
            size, _, rest = data.partition(b" ")
            got.append(rest[: int(size)].decode())
            data = rest[int(size) :]
    assert len(got) == 200
    head = f"<12>1 2026-11-24T12:00:00.000000Z host falco {os.getpid()} - - 12:00:00.000000007: Warning A thing was done 7 ("
    assert got[7].startswith(head)


@needs("openssl")
def test_over_tls_the_server_must_be_known(tmp_path):
    subprocess.run(["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-keyout", "key.pem",
                    "-out", "crt.pem", "-days", "2", "-subj", "/CN=x", "-addext", "subjectAltName=IP:127.0.0.1"], cwd=tmp_path, check=True,
                   capture_output=True)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(tmp_path / "crt.pem", tmp_path / "key.pem")
    with TcpReceiver(context) as receiver:
        address = f"tls://127.0.0.1:{receiver.port}"
        with patient([Channel(SyslogOutput(address), retry=Retry(attempts=1))]) as outputs:
            outputs.emit(message())
        assert outputs.counts()["syslog"].dropped == 1
        with patient([Channel(SyslogOutput(address, ca_cert=str(tmp_path / "crt.pem")), retry=QUICK)]) as outputs:
            outputs.emit(message(1))
            outputs.emit(message(2))
        until(lambda: b"done 2 " in receiver.all())


@pytest.mark.parametrize("address", ["", "log", "http://x", "udp://", "tcp://h:99999", "udp://h:x"])
def test_addresses_of_syslog_that_mean_nothing_are_refused(address):
    with pytest.raises(OutputError):
        SyslogOutput(address)


# ---- program ----


def test_a_program_is_started_for_each_alert(tmp_path):
    with patient([ProgramOutput(f"cat >> {tmp_path}/out; echo end >> {tmp_path}/out")]) as outputs:
        for n in range(5):
            outputs.emit(message(n))
    got = lines(tmp_path / "out")
    assert [("done" in line, line == "end") for line in got] == [(True, False), (False, True)] * 5
    assert outputs.counts()["program"].delivered == 5


def test_with_keep_alive_one_program_takes_all(tmp_path):
    with patient([ProgramOutput(f"cat >> {tmp_path}/out; echo end >> {tmp_path}/out", keep_alive=True, json=True)]) as outputs:
        for n in range(1000):
            outputs.emit(message(n))
    got = lines(tmp_path / "out")
    assert [json.loads(line)["output_fields"]["n"] for line in got[:-1]] == list(range(1000))
    assert got[-1] == "end"


def test_several_programs_may_run_at_once(tmp_path):
    """Each waits until three are there."""
    command = f"cat > /dev/null; touch {tmp_path}/$$; while [ $(ls {tmp_path} | wc -l) -lt 3 ]; do sleep 0.01; done"
    output = ProgramOutput(command, processes=3)
    assert output.batch == 3
    output.send([message(n) for n in range(3)])
    output.close()


@needs("jq", "curl")
def test_the_pipeline_of_a_well_known_talk_works_as_written():
    """program_output as it was shown for Slack: real jq, real curl, JSON lines."""
    with HttpReceiver() as receiver:
        command = f"jq '{{text: .output}}' | curl -s -d @- -X POST {receiver.url}/services/XXX"
        with patient([ProgramOutput(command, json=True)]) as outputs:
            for n in range(3):
                outputs.emit(message(n, text="said 'it' & \"that\" $HOME `id`"))
        got = [(r.method, r.path, json.loads(r.body)["text"]) for r in receiver.requests]
    assert got == [("POST", "/services/XXX", f"12:00:00.00000000{n}: Warning said 'it' & \"that\" $HOME `id` {n}") for n in range(3)]


def test_a_program_that_hangs_is_killed_with_what_it_started(tmp_path):
    pid = tmp_path / "pid"
    command = f"sleep 1000 & echo $! > {pid}; exec sleep 1000"
    with patient([ProgramOutput(command, timeout=0.5)]) as outputs:
        times = 0
        while not (pid.exists() and pid.read_text()):       # a machine may be too slow for it to get as far as that
            times += 1
            outputs.emit(message())
            until(lambda times=times: outputs.counts()["program"].failed == times)
    assert outputs.counts()["program"].dropped == times
    status = pathlib.Path("/proc", pid.read_text().strip(), "status")
    until(lambda: not status.exists() or "State:\tZ" in status.read_text())


def test_a_kept_program_that_takes_nothing_is_killed_and_started_again(tmp_path):
    """The first doesn't read, so that its pipe fills; the second does."""
    command = f"if mkdir {tmp_path}/first; then exec sleep 1000; else exec cat >> {tmp_path}/out; fi"
    with patient([Channel(ProgramOutput(command, keep_alive=True, timeout=3), retry=QUICK)]) as outputs:
        for n in range(2000):
            outputs.emit(message(n))
        until(lambda: outputs.counts()["program"].delivered == 2000)
    counts = outputs.counts()["program"]
    assert counts.failed >= 1
    got = [int(line.split("n=")[1][:-1]) for line in lines(tmp_path / "out")]
    assert got == list(range(2000)), "what the first had in its pipe was given to the second"


def test_what_a_kept_program_has_not_read_goes_to_the_next(tmp_path):
    """Each reads one line alone, byte by byte as the shell's read does, and a part of the next."""
    command = f'read -r line; echo "$line" >> {tmp_path}/out; head -c 10 > /dev/null'
    with patient([Channel(ProgramOutput(command, keep_alive=True), retry=Retry(attempts=0, first=0.001, most=0.002))]) as outputs:
        number = itertools.count()

        def read() -> int:
            outputs.emit(message(next(number)))
            return len(lines(tmp_path / "out")) if (tmp_path / "out").exists() else 0

        until(lambda: read() >= 20)
    got = [int(line.split("n=")[1][:-1]) for line in lines(tmp_path / "out")]
    assert got == list(range(len(got)))
    assert len(got) >= 20


def has_ended(outputs):
    """Whether the program that takes all alerts has, of which nobody has asked yet."""
    (process,) = next(iter(outputs)).output._running
    return pathlib.Path(f"/proc/{process.pid}/stat").read_text().rpartition(")")[2].split()[0] == "Z"


def test_what_no_program_has_read_is_told(tmp_path, caplog):
    outputs = patient([Channel(ProgramOutput("exit 1", keep_alive=True), retry=Retry(attempts=0, first=0.001, most=0.002))])
    outputs.emit(message(1))
    until(lambda: outputs.counts()["program"].delivered)
    until(lambda: has_ended(outputs))
    outputs.drain(120)
    assert "the program has not read the last 1 alerts" in caplog.text


@pytest.mark.parametrize("program", ["sleep 0.2; exit 1", "read -r line; sleep 0.2; exit 0", "sleep 1000"])
def test_what_a_program_has_not_read_when_all_ends_is_told(program):
    output = ProgramOutput(program, keep_alive=True, timeout=0.5)
    output.send([message(n) for n in range(3)])
    with pytest.raises(Undelivered, match=r"the program has not read the last [23] alerts"):
        output.close()


def test_a_kept_program_that_ends_is_started_again(tmp_path):
    with patient([Channel(ProgramOutput(f"head -n 1 >> {tmp_path}/out", keep_alive=True), retry=QUICK)]) as outputs:
        for n in range(3):
            outputs.emit(message(n))
            until(lambda n=n: (tmp_path / "out").exists() and len(lines(tmp_path / "out")) == n + 1)
            until(lambda: has_ended(outputs))       # some time after it has written; what it is given until then waits for more
    assert len(lines(tmp_path / "out")) == 3


def test_how_programs_end_is_told(caplog):
    with patient([Channel(ProgramOutput("exit 3"), retry=QUICK)]) as outputs:
        outputs.emit(message())
    assert "exit status 3" in caplog.text
    with patient([Channel(ProgramOutput("kill -9 $$"), retry=QUICK)]) as outputs:
        outputs.emit(message())
    assert "killed by SIGKILL" in caplog.text
    assert outputs.counts()["program"].dropped == 1
    with pytest.raises(OutputError, match="no program"):
        ProgramOutput(" ")


def test_programs_get_no_descriptors_of_ours_and_no_interrupts(tmp_path):
    with open(tmp_path / "secret", "w"), patient([ProgramOutput(f"ls /proc/self/fd > {tmp_path}/fds; exec sleep 1000", timeout=1000)],
                                                 drain=0.2) as outputs:
        outputs.emit(message())
        until(lambda: (tmp_path / "fds").exists() and (tmp_path / "fds").read_text())
        output = next(iter(outputs)).output
        until(lambda: output._running)
        (process,) = output._running
        assert os.getpgid(process.pid) == process.pid
    assert {int(fd) for fd in (tmp_path / "fds").read_text().split()} == {0, 1, 2, 3}


def test_reopening_ends_a_kept_program_and_starts_another(tmp_path):
    with patient([Channel(ProgramOutput(f"cat > {tmp_path}/$$", keep_alive=True), retry=QUICK)]) as outputs:
        outputs.emit(message(1))
        until(lambda: outputs.counts()["program"].delivered == 1)
        outputs.reopen()
        outputs.emit(message(2))
        until(lambda: outputs.counts()["program"].delivered == 2)
    assert sorted("done 2" in f.read_text() for f in tmp_path.iterdir()) == [False, True]


def test_draining_ends_a_program_that_does_not_end(tmp_path):
    outputs = patient([ProgramOutput("cat > /dev/null; sleep 1000", keep_alive=True, timeout=1000)])
    outputs.emit(message())
    until(lambda: outputs.counts()["program"].delivered)
    (process,) = next(iter(outputs)).output._running
    outputs.drain(0.3)
    until(lambda: process.returncode == -signal.SIGKILL)


def test_nothing_is_left_of_a_thread():
    output = ProgramOutput("cat > /dev/null", keep_alive=True)
    output.name = "named"
    with patient([output]) as outputs:
        outputs.emit(message())
        assert [t for t in threading.enumerate() if t.name == "falcolib-named"]
    until(lambda: not [t for t in threading.enumerate() if t.name == "falcolib-named"])
