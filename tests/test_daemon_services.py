# SPDX-License-Identifier: Apache-2.0
"""What runs beside a run: reloads on SIGHUP and when files change, health, metrics and the audit webhook on one port."""

from __future__ import annotations

import http.client
import json
import os
import pathlib
import re
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator

import pytest

from audit_events import event, text
from falcolib.config import Configuration, load
from falcolib.config.outputs import StdoutOutput
from falcolib.config.services import Webserver
from falcolib.daemon.delivery import Delivery
from falcolib.daemon.reload import changed_keys, changes_outputs, needs_restart
from falcolib.outputs import Counts, Message, Outputs
from messages import PATIENCE, until
from receivers import reserved_port

pytestmark = pytest.mark.daemon

RULE = "- {rule: Seen, desc: d, condition: 'ka.auditid exists', output: 'WORD %ka.auditid', priority: NOTICE, source: k8s_audit}\n"
MAIN = """
import sys
from falcolib.config import load
from falcolib.daemon.choices import Choices
from falcolib.daemon.daemon import Daemon
path, audit = sys.argv[1:]
Daemon(load(path), Choices(audits=(audit,), disabled=("syscall",), cache=False), reread=lambda: load(path)).run()
"""


def replace(path: pathlib.Path, text: str) -> None:
    """Writes a file, which nobody can see half written."""
    new = path.with_suffix(".new")
    new.write_text(text)
    new.rename(path)


class Running:
    """The daemon in a process of its own, with a webhook on the port of its web server."""

    def __init__(self, folder: pathlib.Path, **settings: object) -> None:
        self.port = reserved_port()
        self.token = ""
        self.rules, self.config, self.log, self.out = (folder / name for name in ("rules.yaml", "falco.yaml", "log", "out"))
        replace(self.rules, RULE.replace("WORD", "one"))
        self.settings = {
            "rules_files": [str(self.rules)], "stdout_output": {"enabled": True}, "log_stderr": True, "log_syslog": False,
            "metrics": {"enabled": True, "interval": "1h", "output_rule": False}, "json_output": False,
            "outputs_queue": {"drain_timeout": "2m"},
            "webserver": {"enabled": True, "listen_address": "127.0.0.1", "listen_port": self.port, "prometheus_metrics_enabled": True},
            **settings}
        self.port = self.settings["webserver"]["listen_port"]           # type: ignore[index]
        self.write()
        with open(self.log, "w") as log, open(self.out, "w") as out:
            self.process = subprocess.Popen([sys.executable, "-c", MAIN, str(self.config), f"http://127.0.0.1:{self.port}"],
                                            stdout=out, stderr=log, env={**os.environ, "TZ": "UTC"})
        self.says("Ctrl-C ends it", "Health is told")

    def write(self, **settings: object) -> None:
        """Changes falco.yaml (JSON is YAML)."""
        self.settings |= settings
        replace(self.config, json.dumps(self.settings))

    def says(self, *texts: str) -> None:
        until(lambda: all(text in self.log.read_text() for text in texts) or self.process.poll() is not None, self.log.read_text)
        assert all(text in self.log.read_text() for text in texts), self.log.read_text()

    def reloads(self) -> int:
        return self.log.read_text().count("Reloaded")

    def ask(self, path: str, body: bytes | None = None) -> tuple[int, bytes]:
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=PATIENCE)
        try:
            connection.request("GET" if body is None else "POST", path, body,
                               {"Content-Type": "application/json", **({"Authorization": f"Bearer {self.token}"} if self.token else {})})
            answer = connection.getresponse()
            return answer.status, answer.read()
        finally:
            connection.close()

    def post(self, name: str) -> None:
        assert self.ask("/k8s_audit", text(event(auditID=name)))[0] == 200

    def stop(self) -> list[str]:
        """Its alerts."""
        self.process.terminate()
        assert self.process.wait(PATIENCE) == 0, self.log.read_text()
        return self.out.read_text().splitlines()


@pytest.fixture
def daemon(tmp_path: pathlib.Path) -> Iterator[Running]:
    running = Running(tmp_path)
    try:
        yield running
    finally:
        running.process.kill()
        running.process.wait()


def test_one_port_for_health_metrics_and_audit_events(daemon: Running) -> None:
    assert daemon.ask("/healthz") == (200, b'{"status": "ok"}')
    daemon.post("a")
    counted = b'falcosecurity_falco_rules_matches_total{priority="5",rule_name="Seen",source="k8s_audit"} 1.0'
    until(lambda: counted in daemon.ask("/metrics")[1], lambda: daemon.ask("/metrics")[1].decode())
    metrics = daemon.ask("/metrics")[1].decode()
    assert 'falcosecurity_falco_sha256_config_files_info{file_name="falco.yaml"' in metrics
    assert 'falcosecurity_falco_outputs_delivered_total{output="stdout"}' in metrics
    assert [line.partition(": ")[2] for line in daemon.stop()] == ["Notice one a"]


def test_the_page_and_its_explanations(tmp_path: pathlib.Path) -> None:
    """Through the daemon: alerts of the run, and the text of its rules."""
    daemon = Running(tmp_path)
    try:
        assert daemon.ask("/page/explain?alert=1")[0] == 404        # there is no page by default
        daemon.stop()
        web = {**daemon.settings["webserver"], "page_enabled": True, "page_token": "s3cret"}    # type: ignore[dict-item]
        daemon = Running(tmp_path, webserver={**web, "listen_port": daemon.port})
        daemon.says("The page with the alerts is at")
        assert "s3cret" not in daemon.log.read_text()
        assert daemon.ask("/")[0] == 200
        assert daemon.ask("/page/explain?alert=1")[0] == 401
        daemon.post("a")
        daemon.token = "s3cret"
        until(lambda: daemon.ask("/page/explain?alert=1")[0] == 200)
        assert b"ka.auditid exists" in daemon.ask("/page/explain?alert=1")[1]
        assert f"{daemon.rules}:1:".encode() in daemon.ask("/page/explain?alert=1")[1]
        daemon.stop()
    finally:
        daemon.process.kill()
        daemon.process.wait()


def test_captures_around_alerts_of_the_daemon(tmp_path: pathlib.Path, attack1: pathlib.Path) -> None:
    (tmp_path / "rules.yaml").write_text(
        "- {rule: Exec, desc: d, condition: evt.type = execve, output: x %proc.cmdline, priority: INFO, capture: true}\n")
    (tmp_path / "falco.yaml").write_text(json.dumps({
        "rules_files": [str(tmp_path / "rules.yaml")], "stdout_output": {"enabled": True},
        "outputs_queue": {"drain_timeout": "2m"}, "engine": {
            "kind": "replay", "replay": {"capture_file": str(attack1)}},
        "capture": {"enabled": True, "path_prefix": str(tmp_path / "around"), "default_duration": 1}}))
    done = subprocess.run([sys.executable, "-m", "falcolib", "run", "-c", str(tmp_path / "falco.yaml")], capture_output=True, text=True,
                          timeout=120)
    assert done.returncode == 0, done.stderr
    (first, *_) = sorted(tmp_path.glob("around_*.scap"))
    again = subprocess.run([sys.executable, "-m", "falcolib", "run", "-r", str(tmp_path / "rules.yaml"), "--capture", str(first)],
                           capture_output=True, text=True, timeout=120)
    assert again.stdout.splitlines()[0] == done.stdout.splitlines()[0]


def test_rules_that_change_and_signals(daemon: Running) -> None:
    daemon.post("a")
    until(lambda: "one a" in daemon.out.read_text())
    replace(daemon.rules, RULE.replace("WORD", "second"))
    until(daemon.reloads)
    daemon.post("b")
    until(lambda: "second b" in daemon.out.read_text())
    before = daemon.reloads()
    daemon.process.send_signal(signal.SIGHUP)       # with nothing changed
    until(lambda: daemon.reloads() > before)
    reloaded = re.findall(r"falcosecurity_falco_(start|reload)_timestamp_nanoseconds (\S+)\n", daemon.ask("/metrics")[1].decode())
    assert float(dict(reloaded)["reload"]) > float(dict(reloaded)["start"])
    assert [line.partition(": ")[2] for line in daemon.stop()] == ["Notice one a", "Notice second b"]


def test_a_file_that_is_named_and_comes_later(daemon: Running, tmp_path: pathlib.Path) -> None:
    local = tmp_path / "local.yaml"
    daemon.write(rules_files=[str(daemon.rules), str(local)])
    until(daemon.reloads)
    replace(local, RULE.replace("Seen", "Local").replace("exists", "= b").replace("WORD", "local") + "- {rule: Seen, enabled: false}\n")

    def found() -> bool:
        daemon.post("b")
        return "local b" in daemon.out.read_text()

    until(found)


def test_a_mistake_keeps_what_is_in_force_and_is_an_alert(daemon: Running) -> None:
    replace(daemon.rules, RULE.replace("exists", "exists and"))
    daemon.says("the old ones stay in force", f"{daemon.rules}:1:")
    daemon.post("a")
    until(lambda: "one a" in daemon.out.read_text())
    replace(daemon.rules, RULE.replace("WORD", "second"))
    until(daemon.reloads)
    daemon.write(json_output="perhaps")
    daemon.says(f"{daemon.config}:")
    daemon.post("b")
    until(lambda: "second b" in daemon.out.read_text())
    lines = [line.partition(": ")[2] for line in daemon.stop()]
    assert [line for line in lines if not line.startswith("Critical")] == ["Notice one a", "Notice second b"]
    told = [line for line in lines if line.startswith("Critical Falco internal: hot restart failure: ")]
    assert any(str(daemon.rules) in line for line in told)
    assert any("json_output" in line for line in told)


def test_what_needs_a_start_is_told_by_name(daemon: Running) -> None:
    daemon.write(webserver={**daemon.settings["webserver"], "listen_port": 1}, falco_libs={"snaplen": 100})     # type: ignore[dict-item]
    daemon.says("webserver.listen_port has changed: that is in force from the next start on", "falco_libs.snaplen has changed")
    assert daemon.ask("/healthz")[0] == 200


def test_outputs_are_replaced_under_load_and_lose_nothing(daemon: Running) -> None:
    """The form of alerts changes again and again while they come; each is there once, in order."""
    posted, done = 0, threading.Event()

    def post() -> None:
        nonlocal posted
        while not done.is_set() or posted < 500:
            daemon.post(f"n{posted}")
            posted += 1

    thread = threading.Thread(target=post)
    thread.start()
    for n in range(1, 7):
        daemon.write(json_output=n % 2 == 1)
        until(lambda n=n: daemon.reloads() >= n, daemon.log.read_text)       # type: ignore[misc]
        until(lambda n=n: daemon.out.read_text().rpartition("\n")[0].rpartition("\n")[2].startswith("{") == (n % 2 == 1))  # type: ignore[misc]
    done.set()
    thread.join(PATIENCE)
    assert not thread.is_alive()
    lines = daemon.stop()
    assert [re.search(r"one (n\d+)", line)[1] for line in lines] == [f"n{n}" for n in range(posted)]     # type: ignore[index]
    assert any(line.startswith("{") for line in lines)


def test_reloads_and_requests_leave_no_threads_and_descriptors(daemon: Running) -> None:
    def held() -> dict[str, int]:
        return {what: len(os.listdir(f"/proc/{daemon.process.pid}/{what}")) for what in ("task", "fd")}

    def alerts(n: int) -> str:
        daemon.post(f"n{n}")
        return daemon.out.read_text()

    def change(n: int) -> None:
        """Other rules, outputs and files to watch; requests that are answered in a thread, and without."""
        replace(daemon.rules, RULE.replace("WORD", f"round{n}"))
        daemon.write(json_output=n % 2 == 1, rules_files=[str(daemon.rules), *([f"{daemon.rules}.none"] if n % 2 else [])])
        until(lambda: f"round{n}" in alerts(n), daemon.log.read_text)
        for path in ("/metrics", "/healthz", "/nothing"):
            daemon.ask(path)

    for n in range(2):
        change(n)
    before = held()
    for n in range(2, 22):
        change(n)
    # before, something may just have been on its way; 20 changes that leave one each, or every second, are more than that
    until(lambda: all(count < before[what] + 8 for what, count in held().items()), lambda: f"{before} {held()}")


class TestKeys:
    def test_what_has_changed(self) -> None:
        old = Configuration()
        new = load(None, ["json_output=true", "webserver.listen_port=1", "http_output.url=http://x"])
        assert {"json_output", "webserver.listen_port", "http_output.url"} <= set(changed_keys(old, new))
        assert needs_restart(Configuration(webserver=Webserver(threadiness=2)), Configuration()) == ["webserver.threadiness"]
        assert changes_outputs(Configuration(stdout_output=StdoutOutput(enabled=True)), Configuration())
        assert not changes_outputs(Configuration(rules_files=("a",)), Configuration())


class TestDelivery:
    def test_outputs_that_cant_be_made_leave_the_old_ones(self) -> None:
        class Told(Outputs):
            def __init__(self) -> None:
                super().__init__([])
                self.told: list[Message] = []

            def emit(self, message: Message) -> None:
                self.told.append(message)

            def counts(self) -> dict[str, Counts]:
                return {"x": Counts(emitted=len(self.told), delivered=len(self.told))}

        made: list[Told] = []

        def make() -> Outputs:
            made.append(Told())
            return made[-1]

        def fail() -> Outputs:
            raise OSError("no such folder")

        delivery = Delivery(make)
        delivery.emit("a")              # type: ignore[arg-type]
        with pytest.raises(OSError, match="no such folder"):
            delivery.replace(fail)
        delivery.emit("b")              # type: ignore[arg-type]
        delivery.replace(make)
        delivery.emit("c")              # type: ignore[arg-type]
        assert [output.told for output in made] == [["a"], ["b"], ["c"]]
        assert delivery.counts()["x"].delivered == 3
