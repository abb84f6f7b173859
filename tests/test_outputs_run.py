# SPDX-License-Identifier: Apache-2.0
"""``falcolib run -c falco.yaml`` with several outputs: each gets every alert; signals; a kill -9."""

import json
import os
import signal
import socket
import subprocess
import sys
import threading
import urllib.error
import urllib.request

import pytest

from audit_events import event, text
from messages import PATIENCE, until
from receivers import HttpReceiver, reserved_port

pytestmark = pytest.mark.daemon

RULE = "- {rule: Seen, desc: d, condition: 'ka.auditid exists', output: 'seen %ka.auditid', priority: NOTICE, source: k8s_audit}\n"


class Running:
    """``falcolib run`` with a webhook for events, each of which is an alert, and outputs as given."""

    def __init__(self, folder, config: dict) -> None:
        self.port = reserved_port()
        (folder / "rules.yaml").write_text(RULE)
        (folder / "falco.yaml").write_text(json.dumps({
            "rules_files": [str(folder / "rules.yaml")], "json_output": True, "log_syslog": False, "log_stderr": True,
            "watch_config_files": False, "stdout_output": {"enabled": True}, "outputs_queue": {"drain_timeout": "1m"}, **config}))
        self.out, self.log = folder / "out", folder / "log"
        with open(self.out, "w") as out, open(self.log, "a") as log:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "falcolib", "run", "-c", str(folder / "falco.yaml"), "--disable-source", "syscall",
                 "--audit", f"http://127.0.0.1:{self.port}/k8s-audit"],
                stdout=out, stderr=log, env={**os.environ, "FALCO_HOSTNAME": "h"})

    def post(self, first: int, last: int) -> None:
        """Events of these numbers, and waits for their alerts on stdout."""
        for n in range(first, last):
            until(lambda n=n: self._posted(n))
        until(lambda: self.seen() >= last - 1)

    def _posted(self, n: int) -> bool:
        assert self.process.poll() is None, self.log.read_text()
        request = urllib.request.Request(f"http://127.0.0.1:{self.port}/k8s-audit", text(event(auditID=str(n))),
                                         {"Content-Type": "application/json"})
        try:
            with urllib.request.build_opener(urllib.request.ProxyHandler({})).open(request, timeout=PATIENCE) as answer:
                return answer.status == 200
        except (urllib.error.URLError, ConnectionError):
            return False

    def seen(self) -> int:
        return max([-1, *numbers(self.out.read_text())])

    def stop(self, number: int = signal.SIGTERM) -> int:
        self.process.send_signal(number)
        return self.process.wait(60)


def numbers(lines: str) -> list[int]:
    return [int(json.loads(line)["output_fields"]["ka.auditid"]) for line in lines.splitlines(keepends=True) if line.endswith("\n")]


def test_each_output_of_falco_yaml_gets_every_alert(tmp_path):
    log = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
    log.bind(str(tmp_path / "dev_log"))
    logged: list[str] = []
    threading.Thread(target=lambda: [logged.append(log.recv(1 << 16).decode()) for _ in range(20)], daemon=True).start()
    with HttpReceiver() as receiver:
        run = Running(tmp_path, {
            "file_output": {"enabled": True, "filename": str(tmp_path / "file"), "keep_alive": True},
            "program_output": {"enabled": True, "program": f"cat >> {tmp_path}/program", "keep_alive": True},
            "syslog_output": {"enabled": True, "address": str(tmp_path / "dev_log")},
            "http_output": {"enabled": True, "url": receiver.url}})
        run.post(0, 10)
        (tmp_path / "file").rename(tmp_path / "file.1")
        run.process.send_signal(signal.SIGUSR1)
        until((tmp_path / "file").exists)
        run.post(10, 20)
        assert run.stop() == 0
        assert [r.json()["output_fields"]["ka.auditid"] for r in receiver.requests] == [str(n) for n in range(20)]
    every = list(range(20))
    assert numbers(run.out.read_text()) == every
    assert numbers((tmp_path / "file.1").read_text()) + numbers((tmp_path / "file").read_text()) == every
    assert numbers((tmp_path / "program").read_text()) == every
    until(lambda: len(logged) == 20)
    assert [int(json.loads(line.partition("]: ")[2])["output_fields"]["ka.auditid"]) for line in logged] == every
    log.close()


def test_with_a_spool_alerts_survive_a_kill_9_and_a_stop_of_the_run(tmp_path):
    with HttpReceiver() as receiver:
        receiver.mode = "refuse"
        config = {"http_output": {"enabled": True, "url": receiver.url}, "spool": {"enabled": True, "path": str(tmp_path / "spool")},
                  "outputs_queue": {"drain_timeout": "100ms"}}
        run = Running(tmp_path, config)
        run.post(0, 20)
        run.process.kill()
        run.process.wait()
        run = Running(tmp_path, config)
        run.post(20, 40)
        assert run.stop() == 0
        assert "are kept, and delivered by the next run" in run.log.read_text()
        receiver.mode = "ok"
        run = Running(tmp_path, config)
        until(lambda: len(receiver.requests) >= 39)
        run.post(40, 41)
        until(lambda: receiver.requests[-1].json()["output_fields"]["ka.auditid"] == "40")
        assert run.stop() == 0
        got = [int(r.json()["output_fields"]["ka.auditid"]) for r in receiver.requests]
    # of the last before the kill, stdout may have had the line before the spool had the alert
    assert [n for n in got if n != 19] == [n for n in range(41) if n != 19]


@pytest.mark.parametrize(("config", "text"), [
    ({"file_output": {"enabled": True, "filename": "/nonexistent/x"}}, "file_output.filename: /nonexistent/x: No such file or directory"),
    ({"http_output": {"enabled": True, "url": "nowhere"}}, "http_output.url: 'nowhere' is no http:// or https:// URL"),
])
def test_outputs_that_cannot_be_used_end_the_start(tmp_path, config, text):
    run = Running(tmp_path, config)
    assert run.process.wait(60) == 1
    assert text in run.log.read_text()


def test_a_pager_gets_every_alert_of_a_replay_however_long_it_is_at_one_page(tmp_path, attack1):
    rule = "- {rule: Open, desc: d, condition: evt.type = openat, output: '%evt.num %fd.name', priority: INFO}\n"
    (tmp_path / "rules.yaml").write_text(rule)
    command = [sys.executable, "-m", "falcolib", "run", "-r", str(tmp_path / "rules.yaml"), "--capture", str(attack1),
               "-o", "outputs_queue.drain_timeout=1ms"]
    whole = subprocess.run(command, capture_output=True, check=True, timeout=PATIENCE).stdout
    assert len(whole) > 3 * 4096
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, pipesize=4096) as process:
        assert process.stdout is not None
        first = process.stdout.read(1)
        with pytest.raises(subprocess.TimeoutExpired):
            process.wait(2)             # it is done with the capture long since
        assert first + process.stdout.read() == whole
        process.communicate(timeout=PATIENCE)
    assert process.returncode == 0
