# SPDX-License-Identifier: Apache-2.0
"""A thousand alerts a second through all outputs at once, while the receivers of some are slow, refuse, reset, hang, say no, are killed.

Beside each faulty output stands a healthy one of its kind: that gets every alert, in order. The counts of all add up at any time. When the
faults are over, what waited is delivered.
"""

import contextlib
import json
import os
import pathlib
import signal
import socket
import threading
import time
from collections.abc import Callable

import pytest

from falcolib.outputs import Channel, Counts, FileOutput, HttpOutput, MemoryQueue, Output, Outputs, ProgramOutput, Retry, SyslogOutput
from messages import PATIENCE, message, until
from receivers import HttpReceiver, TcpReceiver

pytestmark = pytest.mark.daemon

COUNT, PER_SECOND = 1000, 1000
#: Until it works: what is given up has tests of its own. Short pauses, so that the tests are short.
PATIENT = Retry(attempts=0, first=0.01, most=0.2)


class Log:
    """A syslog daemon on a local socket: ``ok``, ``slow``, ``hang`` (doesn't read), ``refuse`` (isn't there)."""

    def __init__(self, path: pathlib.Path) -> None:
        self.path, self.lines, self.mode = path, [], "refuse"
        self._socket: socket.socket | None = None

    def set(self, mode: str) -> None:
        self.mode = mode
        if mode == "refuse":
            if self._socket:
                self._socket.close()
                self._socket = None
                self.path.unlink()
        elif self._socket is None:
            self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
            self._socket.bind(str(self.path))
            self._socket.settimeout(0.02)
            threading.Thread(target=self._read, args=(self._socket,), daemon=True).start()

    def _read(self, s: socket.socket) -> None:
        while self._socket is s:
            if self.mode == "hang":
                time.sleep(0.01)
                continue
            with contextlib.suppress(TimeoutError):
                try:
                    self.lines.append(s.recv(1 << 17).decode())
                except OSError as e:
                    if isinstance(e, TimeoutError):
                        raise
                    return
            if self.mode == "slow":
                time.sleep(0.002)


class Case:
    """Outputs of each kind, a healthy and a faulty one, with their receivers."""

    def __init__(self, folder: pathlib.Path, stack: contextlib.ExitStack) -> None:
        self.folder = folder
        self.http, self.bad_http = (stack.enter_context(HttpReceiver()) for _ in range(2))
        self.tcp, self.bad_tcp = (stack.enter_context(TcpReceiver()) for _ in range(2))
        self.log, self.bad_log = Log(folder / "log"), Log(folder / "bad_log")
        self.log.set("ok")
        for log in (self.log, self.bad_log):
            stack.callback(log.set, "refuse")
        self.bad_http.delay = self.bad_tcp.delay = 0.002
        self.channels: list[Channel] = []
        self.add("file", FileOutput(f"{folder}/file", json=True, keep_alive=True))
        self.add("http", HttpOutput(self.http.url, json=True))
        self.add("syslog", SyslogOutput(str(self.log.path), json=True))
        self.add("tcp", SyslogOutput(f"tcp://127.0.0.1:{self.tcp.port}", json=True))
        self.add("program", ProgramOutput(f"cat >> {folder}/program", json=True, keep_alive=True))
        self.bad: list[str] = []
        #: What may wait for the faulty ones: less than what comes, so that some is dropped where nothing goes out.
        self.room = 700

    def add(self, name: str, output: Output, capacity: int = 0) -> None:
        output.name = name
        self.channels.append(Channel(output, retry=PATIENT, queue=MemoryQueue(capacity)))

    def add_bad(self, name: str, output: Output, room: int = 0) -> None:
        self.bad.append(name)
        self.add(name, output, room or self.room)

    def add_bad_http(self, mode: str, status: int = 500) -> None:
        self.bad_http.status = status
        self.bad_http.mode = mode
        self.add_bad("bad_http", HttpOutput(self.bad_http.url, json=True, timeout=0.2))

    def add_bad_tcp(self, mode: str) -> None:
        self.bad_tcp.mode = mode
        self.add_bad("bad_tcp", SyslogOutput(f"tcp://127.0.0.1:{self.bad_tcp.port}", json=True, timeout=0.2))

    def add_bad_log(self, mode: str) -> None:
        self.bad_log.set(mode)
        self.add_bad("bad_log", SyslogOutput(str(self.bad_log.path), json=True, timeout=0.2))

    def add_bad_program(self, command: str, *, keep_alive: bool = True, timeout: float = 0.3) -> None:
        self.add_bad("bad_program", ProgramOutput(command, json=True, keep_alive=keep_alive, timeout=timeout))

    def run(self, *, halfway=lambda: None, recover=lambda: None, seconds: float = PATIENCE) -> Outputs:
        """Emits; at the middle, and at the end while the outputs still have work, something may be done to the receivers."""
        outputs = Outputs(self.channels, timeout=0.5)
        began = time.monotonic()
        for n in range(COUNT):
            outputs.emit(message(n))
            if n % 100 == 0:
                self.check(outputs)
            if n == COUNT // 2:
                halfway()
            if (early := began + n / PER_SECOND - time.monotonic()) > 0:
                time.sleep(early)
        until(lambda: all(outputs.counts()[name].delivered == COUNT for name in ("file", "http", "syslog", "tcp", "program")))
        recover()
        outputs.drain(seconds)
        self.check(outputs)
        print(*outputs.counts().items(), sep="\n")
        return outputs

    def counts(self, name: str) -> Counts:
        return next(channel for channel in self.channels if channel.output.name == name).counts()

    def check(self, outputs: Outputs) -> None:
        for name, c in outputs.counts().items():
            assert c.emitted == c.delivered + c.dropped + c.queued, name

    def check_healthy(self, outputs: Outputs) -> None:
        """No healthy output has lost, doubled or moved an alert."""
        every = list(range(COUNT))
        for name in ("file", "http", "syslog", "tcp", "program"):
            c = outputs.counts()[name]
            assert (c.emitted, c.delivered, c.dropped, c.failed) == (COUNT, COUNT, 0, 0), name
        assert [number(r.text) for r in self.http.requests] == every
        assert list(map(number, (self.folder / "file").read_text().splitlines())) == every
        assert list(map(number, (self.folder / "program").read_text().splitlines())) == every
        until(lambda: len(self.log.lines) == COUNT)
        assert list(map(number, self.log.lines)) == every
        until(lambda: self.tcp.all().count(b'"n":') == COUNT)

    def check_recovered(self, outputs: Outputs, name: str, got: Callable[[], list[int]]) -> None:
        """What was delivered is there, or soon is; nothing else is."""
        c = outputs.counts()[name]
        assert c.queued == 0, name
        until(lambda: len(set(got())) >= c.delivered)
        assert len(set(got())) == c.delivered, name
        assert c.delivered + c.dropped == COUNT, name


def number(line: str) -> int:
    n: int = json.loads(line[line.index("{") :])["output_fields"]["n"]
    return n


@pytest.fixture
def case(tmp_path):
    with contextlib.ExitStack() as stack:
        yield Case(tmp_path, stack)


def numbers(receiver: HttpReceiver) -> list[int]:
    return [number(r.text) for r in receiver.requests]


def test_slow(case):
    case.add_bad_http("slow")
    case.add_bad_tcp("slow")
    case.add_bad_log("slow")
    case.add_bad_program(f"while read -r line; do echo \"$line\" >> {case.folder}/bad_program; done", timeout=PATIENCE)
    case.add_bad("bad_each", ProgramOutput(f"cat >> {case.folder}/bad_each", json=True), room=100)
    outputs = case.run()
    case.check_healthy(outputs)
    case.check_recovered(outputs, "bad_http", lambda: numbers(case.bad_http))
    case.check_recovered(outputs, "bad_log", lambda: list(map(number, case.bad_log.lines)))
    case.check_recovered(outputs, "bad_program", lambda: list(map(number, (case.folder / "bad_program").read_text().splitlines())))
    case.check_recovered(outputs, "bad_each", lambda: list(map(number, (case.folder / "bad_each").read_text().splitlines())))
    until(lambda: case.bad_tcp.all().count(b'"n":') == outputs.counts()["bad_tcp"].delivered)


def test_refuse(case):
    case.add_bad_http("refuse")
    case.add_bad_tcp("refuse")
    case.add_bad_log("refuse")
    case.add_bad("bad_file", FileOutput("/dev/full", keep_alive=True))
    case.add_bad_program("exit 1")

    def recover() -> None:
        for name in case.bad[:3]:
            assert case.counts(name).delivered == 0
        case.bad_http.mode = case.bad_tcp.mode = "ok"
        case.bad_log.set("ok")
        until(lambda: all(case.counts(name).queued == 0 for name in case.bad[:3]))

    outputs = case.run(recover=recover, seconds=0.2)
    case.check_healthy(outputs)
    for name in ("bad_http", "bad_tcp", "bad_log", "bad_file"):
        assert outputs.counts()[name].dropped >= 300, "the queue holds 700"
    assert outputs.counts()["bad_file"].delivered == 0
    case.check_recovered(outputs, "bad_http", lambda: numbers(case.bad_http))
    case.check_recovered(outputs, "bad_log", lambda: list(map(number, case.bad_log.lines)))
    until(lambda: case.bad_tcp.all().count(b'"n":') == 700)


def test_reset(case):
    case.add_bad_http("reset")
    case.add_bad_tcp("reset")
    case.add_bad_program(f"head -c 20000 >> {case.folder}/bad_program")

    def halfway() -> None:
        until(lambda: case.bad_tcp.connections and not case.bad_tcp.open)

    def recover() -> None:
        case.bad_http.mode = case.bad_tcp.mode = "ok"

    outputs = case.run(halfway=halfway, recover=recover)
    case.check_healthy(outputs)
    case.check_recovered(outputs, "bad_http", lambda: numbers(case.bad_http))
    for name in ("bad_http", "bad_program"):
        assert outputs.counts()[name].failed > 0, name
    assert case.bad_tcp.connections > 1, "one that was reset is made anew; that is no failure, unless it comes amid a line"


def test_hang(case):
    case.add_bad_http("hang")
    case.add_bad_tcp("hang")
    case.add_bad_log("hang")
    case.add_bad_program("exec sleep 1000")
    os.mkfifo(case.folder / "pipe")
    case.add_bad("bad_file", FileOutput(f"{case.folder}/pipe", keep_alive=True))

    def recover() -> None:
        case.bad_http.mode = case.bad_tcp.mode = "ok"
        case.bad_log.set("ok")
        threading.Thread(target=(case.folder / "pipe").read_bytes, daemon=True).start()
        until(lambda: all(case.counts(name).queued == 0 for name in ("bad_http", "bad_tcp", "bad_log", "bad_file")))

    outputs = case.run(recover=recover, seconds=0.2)
    case.check_healthy(outputs)
    case.check_recovered(outputs, "bad_http", lambda: numbers(case.bad_http))
    case.check_recovered(outputs, "bad_log", lambda: list(map(number, case.bad_log.lines)))
    case.check_recovered(outputs, "bad_file", lambda: list(range(outputs.counts()["bad_file"].delivered)))
    assert outputs.counts()["bad_http"].dropped >= 290


@pytest.mark.parametrize("status", [429, 500])
def test_status(case, status):
    case.bad_http.retry_after = "0"
    case.add_bad_http("status", status)

    def recover() -> None:
        case.bad_http.mode = "ok"

    outputs = case.run(recover=recover)
    case.check_healthy(outputs)
    case.check_recovered(outputs, "bad_http", lambda: numbers(case.bad_http))
    assert outputs.counts()["bad_http"].failed > 2


def test_killed(case):
    """All work, are killed amid it, and are there again at the end."""
    case.room = 0
    case.add_bad_http("ok")
    case.add_bad_tcp("ok")
    case.add_bad_log("ok")
    case.add_bad_program(f"echo $$ >> {case.folder}/pids; cat >> {case.folder}/bad_program", timeout=30)     # killed by the test alone
    case.add_bad("bad_file", FileOutput(f"{case.folder}/bad_file", json=True, keep_alive=True))

    def halfway() -> None:
        pids = case.folder / "pids"
        until(lambda: pids.exists() and pids.read_text().endswith("\n"))
        case.bad_http.kill()
        case.bad_tcp.kill()
        case.bad_log.set("refuse")
        os.rename(case.folder / "bad_file", case.folder / "bad_file.1")
        os.killpg(int(pids.read_text().split()[0]), signal.SIGKILL)

    def recover() -> None:
        case.bad_http.mode = case.bad_tcp.mode = "ok"
        case.bad_log.set("ok")

    outputs = case.run(halfway=halfway, recover=recover)
    case.check_healthy(outputs)
    c = outputs.counts()
    assert c["bad_http"].delivered == c["bad_log"].delivered == c["bad_file"].delivered == COUNT
    case.check_recovered(outputs, "bad_http", lambda: numbers(case.bad_http))
    both = [line for name in ("bad_file.1", "bad_file") for line in (case.folder / name).read_text().splitlines()]
    assert list(map(number, both)) == list(range(COUNT))
    got = set(map(number, (case.folder / "bad_program").read_text().splitlines()))
    assert len(got) > COUNT - 700, "what was in the pipe of the one that was killed is lost with it"
    assert len((case.folder / "pids").read_text().split()) == 2
