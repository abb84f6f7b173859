# SPDX-License-Identifier: Apache-2.0
"""The daemon: what the keys of falco.yaml do, on a capture that is replayed."""

from __future__ import annotations

import base64
import contextlib
import functools
import http.client
import json
import logging
import os
import re
import signal
import socket
import ssl
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from falcolib import AuditWebhook
from falcolib.config import ConfigError, load
from falcolib.daemon import ChoiceError, Choices, Daemon, Report
from falcolib.daemon import daemon as wiring
from falcolib.daemon.endpoints import web_server
from falcolib.daemon.logs import log, logging_to
from falcolib.daemon.plugins import read_plugins
from falcolib.daemon.sources import audit_source
from messages import PATIENCE, until
from receivers import reserved_port

pytestmark = pytest.mark.daemon

RULES = """\
- rule: Program
  desc: A program was started.
  condition: evt.type = execve and evt.res = SUCCESS
  output: "program %proc.name"
  priority: NOTICE
  tags: [process]
- rule: Shell
  desc: A shell was started.
  condition: evt.type = execve and evt.res = SUCCESS and proc.name in (sh, bash)
  output: "shell %proc.name"
  priority: DEBUG
  tags: [shell]
- rule: Write
  desc: Something was written.
  condition: evt.type = write and evt.rawres > 8
  output: "wrote %evt.buffer %evt.arg.data"
  priority: INFO
  enabled: false
"""


class Ran(NamedTuple):
    lines: list[str]
    log: str
    report: Report

    @property
    def rows(self) -> list[dict[str, Any]]:
        return [json.loads(line) for line in self.lines]

    def count(self, rule: str) -> int:
        return self.report.stats.alerts.get(rule, 0)


@pytest.fixture
def run(tmp_path: Path, attack1: Path, capfd: pytest.CaptureFixture[str]) -> Callable[..., Ran]:
    """Runs the daemon on a capture, with falco.yaml and options: the lines of stdout and stderr, and the report."""
    (tmp_path / "rules.yaml").write_text(RULES)

    def run(*options: str, text: str = "", capture: bool = True, bare: bool = False) -> Ran:
        path = tmp_path / "falco.yaml"
        path.write_text(text or f"rules_files: [{tmp_path}/rules.yaml]\nstdout_output: {{enabled: true}}\nlog_stderr: true\n"
                        "log_syslog: false\n")
        config = load(None if bare else str(path), ("outputs_queue.drain_timeout=2m", *options))
        choices = Choices(rules=(str(tmp_path / "rules.yaml"),) if bare else (), captures=(str(attack1),) if capture else (), cache=False)
        report = Daemon(config, choices).run()
        told = capfd.readouterr()
        assert report.failure is None
        return Ran(told.out.splitlines(), told.err, report)

    return run


Run = Callable[..., Ran]
JSON = "json_output=true"


# ---- rules ----


def test_rules_files(run: Run, tmp_path: Path) -> None:
    other = tmp_path / "other.yaml"
    other.write_text(RULES.replace("rule: Program", "rule: Renamed"))
    assert run().count("Program")
    assert run(f"rules_files[0]={other}").count("Renamed")
    assert run(f"rules_files[]={tmp_path}/none.yaml").count("Program")
    with pytest.raises(ConfigError, match=r"rules_files: there are no rules"):
        run("rules_files[0]=/none.yaml")


def test_rules_of_a_pipe_are_read_once(tmp_path: Path) -> None:
    """A reload has nothing to read there, and must not wait for it."""
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    text = "- {rule: r, desc: d, condition: evt.type = open, output: o, priority: INFO}\n"
    writer = threading.Thread(target=pipe.write_text, args=(text,))
    writer.start()
    daemon = Daemon(load(None, ()), Choices(rules=(str(pipe),), cache=False))
    assert [rule.name for rule in daemon.prepare().program.rules] == ["r"]
    writer.join()
    assert [rule.name for rule in daemon.prepare().program.rules] == ["r"]
    assert [rule.name for rule in daemon.rules_text().rules] == ["r"]


def test_config_files(run: Run, tmp_path: Path) -> None:
    (tmp_path / "more.yaml").write_text("json_output: true\n")
    assert run(f"config_files[]={tmp_path}/more.yaml").rows


def test_rules(run: Run) -> None:
    assert run("rules[].disable.rule=Prog*").count("Program") == 0
    assert run("rules[].disable.rule=*", "rules[].enable.tag=shell", "priority=debug").report.stats.alerts.keys() == {"Shell"}


def test_priority(run: Run) -> None:
    assert run("rule_matching=all", "priority=debug").count("Shell")
    assert not run("rule_matching=all", "priority=info").count("Shell")
    assert not run("priority=warning").lines


def test_rule_matching(run: Run) -> None:
    assert not run().count("Shell")
    assert run("rule_matching=all").count("Shell")


# ---- how alerts look ----


def test_json_output(run: Run) -> None:
    assert all(row["rule"] for row in run(JSON).rows)
    assert not run().lines[0].startswith("{")


@pytest.mark.parametrize(("option", "name", "default"), [
    ("output", "output", True), ("message", "message", False), ("output_fields", "output_fields", True), ("tags", "tags", True)])
def test_what_json_has(run: Run, option: str, name: str, default: bool) -> None:
    assert (name in run(JSON).rows[0]) is default
    assert (name in run(JSON, f"json_include_{option}_property={not default}").rows[0]) is not default


def test_time_format_iso_8601(run: Run) -> None:
    iso = r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d"
    ran = run("time_format_iso_8601=true")
    assert re.match(iso + r"\.\d{9}\+0000: Notice program ", ran.lines[0])
    assert re.match(iso + r"[+-]\d{4}: ", ran.log)
    assert not re.match(iso, run().lines[0])


def test_buffer_format_base64(run: Run) -> None:
    options = ("rules[].enable.rule=Write", "priority=info", JSON)
    plain = {row["time"]: row["output_fields"] for row in run(*options).rows if row["rule"] == "Write"}
    encoded = {row["time"]: row["output_fields"] for row in run(*options, "buffer_format_base64=true").rows if row["rule"] == "Write"}
    assert plain
    assert plain.keys() == encoded.keys()
    for at, fields in encoded.items():
        for name in ("evt.buffer", "evt.arg.data"):
            data = base64.b64decode(fields[name], validate=True)
            assert "".join(chr(c) if 32 <= c < 127 else "." for c in data) == plain[at][name]


def test_append_output(run: Run) -> None:
    assert run("append_output[]={match: {rule: Program}, extra_output: 'pid=%proc.pid'}").lines[0].split()[-1].startswith("pid=")
    assert " pid=" not in run("append_output[]={match: {rule: Shell}, extra_output: 'pid=%proc.pid'}").lines[0]
    assert " pid=" not in run("append_output[]={match: {tags: [shell, process]}, extra_output: 'pid=%proc.pid'}").lines[0]
    assert " container_id=host container_name=host " in run("append_output[]={suggested_output: true}").lines[0]
    fields = run(JSON, "append_output[]={match: {source: syscall}, extra_fields: [proc.pid, {who: 'u%user.uid'}]}").rows[0]["output_fields"]
    assert isinstance(fields["proc.pid"], int)
    assert fields["who"].startswith("u")


def test_static_fields(run: Run) -> None:
    ran = run("static_fields.place=cellar", "append_output[]={suggested_output: true}", JSON)
    assert ran.rows[0]["output"].endswith(" static_place=cellar")
    assert ran.rows[0]["output_fields"]["static.place"] == "cellar"


def test_stdout_output(run: Run, tmp_path: Path) -> None:
    text = f"rules_files: [{tmp_path}/rules.yaml]\nlog_syslog: false\n"
    assert run(text=text).lines == []
    assert run("stdout_output.enabled=true", text=text).lines


# ---- logs ----


def logged(*options: str) -> None:
    with logging_to(load(None, ["log_stderr=true", *options])):
        for name in ("falcolib", "falcolib.sources", "falcolib.containers.x", "falcolib.outputs"):
            for level, word in ((10, "debug"), (20, "info"), (25, "notice"), (30, "warning"), (40, "error"), (50, "critical")):
                logging.getLogger(name).log(level, "%s of %s;", word, name)


def test_log_stderr(run: Run) -> None:
    assert "schema validation: ok" in run().log
    assert run("log_stderr=false").log == ""


def test_log_level(capfd: pytest.CaptureFixture[str]) -> None:
    for level, seen in (("debug", "debug"), ("info", "info"), ("notice", "notice"), ("warning", "warning"), ("error", "error"),
                        ("critical", "critical")):
        logged(f"log_level={level}")
        assert capfd.readouterr().err.split()[0 if level in ("debug", "info", "notice") else 1] == seen
    for level in ("alert", "emergency"):
        logged(f"log_level={level}")
        assert capfd.readouterr().err == ""


def test_libs_logger(capfd: pytest.CaptureFixture[str]) -> None:
    logged()
    assert "info of falcolib.sources;" in capfd.readouterr().err
    logged("libs_logger.severity=error")
    told = capfd.readouterr().err
    assert "warning of falcolib.sources;" not in told
    assert "warning of falcolib.containers.x;" not in told
    assert "error of falcolib.containers.x;" in told
    assert "warning of falcolib.outputs;" in told
    logged("libs_logger.enabled=false")
    told = capfd.readouterr().err
    assert "falcolib.sources" not in told
    assert "info of falcolib;" in told


def test_logs_are_as_they_were_before(capfd: pytest.CaptureFixture[str]) -> None:
    before = (log.level, log.propagate, list(log.handlers))
    logged()
    assert (log.level, log.propagate, log.handlers) == before


@pytest.mark.skipif(os.geteuid() != 0 and not os.path.exists("/dev/log"), reason="no /dev/log here, and none can be made without root")
def test_log_syslog() -> None:
    """In a mount namespace of its own, where /dev/log is a socket of the test."""
    program = (
        "import ctypes, os, socket, sys\n"
        "libc = ctypes.CDLL(None, use_errno=True)\n"
        "assert libc.unshare(0x20000) == 0, 'unshare'\n"
        "assert libc.mount(b'none', b'/', None, 0x44000, None) == 0\n"
        "assert libc.mount(b'none', b'/dev', b'tmpfs', 0, None) == 0\n"
        "s = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM); s.bind('/dev/log'); s.settimeout(60)\n"
        "from falcolib.config import load\n"
        "from falcolib.daemon.logs import log, logging_to\n"
        "with logging_to(load(None, ['log_stderr=false', 'log_syslog=' + sys.argv[1]])): log.warning('rain')\n"
        "if sys.argv[1] == 'true': print(s.recv(999).decode())\n")
    told = subprocess.run([sys.executable, "-c", program, "true"], capture_output=True, text=True, timeout=PATIENCE)
    if "unshare" in told.stderr:
        pytest.skip("no mount namespace can be made here: " + told.stderr.splitlines()[-1])
    assert re.fullmatch(r"<12>.* falcolib\[\d+\]: Warning: rain\s*", told.stdout), told
    assert subprocess.run([sys.executable, "-c", program, "false"], capture_output=True, text=True, timeout=PATIENCE).stdout == ""


# ---- sources ----


def test_engine_kind_and_replay(run: Run, attack1: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(wiring, "live_source", lambda *given: pytest.fail("this machine is not to be watched"))
    ran = run("engine.kind=replay", f"engine.replay.capture_file={attack1}", capture=False)
    assert ran.count("Program")
    with pytest.raises(ChoiceError, match="no source of events is on"):
        run("engine.kind=nodriver", capture=False)


@pytest.mark.parametrize(("options", "expected"), [
    ([], {"buf_size_preset": 4, "cpus_for_each_buffer": 2, "drop_failed_exit": False, "snaplen": 80, "iterators": True}),
    (["engine.modern_ebpf.buf_size_preset=5"], {"buf_size_preset": 5}),
    (["engine.modern_ebpf.cpus_for_each_buffer=0"], {"cpus_for_each_buffer": 0}),
    (["engine.modern_ebpf.drop_failed_exit=true"], {"drop_failed_exit": True}),
    (["engine.modern_ebpf.disable_iterators=true"], {"iterators": False}),
    (["engine.kind=kmod", "engine.kmod.buf_size_preset=6"], {"buf_size_preset": 6}),
    (["engine.kind=kmod", "engine.kmod.drop_failed_exit=true"], {"drop_failed_exit": True}),
    (["engine.kmod.buf_size_preset=6"], {"buf_size_preset": 4}),
    (["engine.modern_ebpf.prefilter=false"], {"prefilter": False}),
    (["falco_libs.snaplen=200"], {"snaplen": 200}),
    (["falco_libs.snaplen=0"], {"snaplen": 80}),
])  # fmt: skip
def test_what_live_is_given(options: list[str], expected: dict[str, object], monkeypatch: pytest.MonkeyPatch) -> None:
    given: dict[str, object] = {}
    monkeypatch.setattr("falcolib.sources.live.Live", lambda **settings: given.update(settings))
    wiring.live_source(load(None, options), lambda: None)
    assert {name: given[name] for name in expected} == expected


@pytest.mark.parametrize(("option", "name", "value"), [
    ("base_syscalls.custom_set[]=!mount", "custom_set", ("!mount",)), ("base_syscalls.repair=true", "repair", True),
    ("base_syscalls.all=false", "all", False)])
def test_base_syscalls(option: str, name: str, value: object, monkeypatch: pytest.MonkeyPatch) -> None:
    given: dict[str, Any] = {}
    monkeypatch.setattr("falcolib.sources.live.Live", lambda **settings: given.update(settings))
    wiring.live_source(load(None), lambda: None)
    assert getattr(given["base_syscalls"], name) != value
    wiring.live_source(load(None, [option]), lambda: None)
    assert getattr(given["base_syscalls"], name) == value


def test_thread_table_size(run: Run) -> None:
    assert run().report.stats.threads_refused == 0
    assert run("falco_libs.thread_table_size=3").report.stats.threads_refused


def test_thread_table_purging(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    given: list[Any] = []
    engine = wiring.Engine
    monkeypatch.setattr(wiring, "Engine", lambda *a, **settings: [given.append(settings["purge"]), engine(*a, **settings)][1])
    run()
    run("falco_libs.thread_table_auto_purging_interval_s=7")
    run("falco_libs.thread_table_auto_purging_thread_timeout_s=8")
    assert given == [(300, 300), (7, 300), (300, 8)]


PLUGINS = """
plugins:
  - {name: container, library_path: libcontainer.so, init_config: {label_max_len: 7, engines: {docker: {enabled: false}}}}
  - {name: k8saudit, library_path: libk8saudit.so, open_params: WHERE, init_config: '{"maxEventSize": 100, "webhookMaxBatchSize": 200}'}
  - {name: json, library_path: libjson.so, init_config: ''}
"""


def test_plugins(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "falco.yaml"
    path.write_text(PLUGINS.replace("WHERE", "http://127.0.0.1:0/k8s_audit"))
    found = read_plugins(load(str(path)))
    assert found.names == ("container", "k8saudit", "json")
    assert found.audit is not None
    assert (found.audit.where, found.audit.limit, found.audit.body) == ("http://127.0.0.1:0/k8s_audit", 100, 200)
    containers: list[Any] = []
    engine = wiring.Engine
    monkeypatch.setattr(wiring, "Engine", lambda *a, **settings: [containers.append(settings["containers"]), engine(*a, **settings)][1])
    (tmp_path / "rules.yaml").write_text(RULES)
    daemon = Daemon(load(str(path), [f"rules_files[]={tmp_path}/rules.yaml"]))
    daemon._engine(daemon.prepare().program)
    assert (containers[0].label_max_len, containers[0].docker) == (7, ())


def test_load_plugins(tmp_path: Path) -> None:
    path = tmp_path / "falco.yaml"
    path.write_text(PLUGINS)
    assert read_plugins(load(str(path), ["load_plugins[]=json"])).audit is None
    with pytest.raises(ConfigError, match=r"-o load_plugins\[\]=jsn: load_plugins\[0\]: jsn is not in plugins"):
        read_plugins(load(str(path), ["load_plugins[]=jsn"]))
    path.write_text(PLUGINS + "  - {name: cloudtrail, library_path: x}\n")
    assert read_plugins(load(str(path), ["load_plugins[]=json"])).names == ("json",)
    with pytest.raises(ConfigError, match=r"falco.yaml:6:5: plugins\[3\]: cloudtrail: falcolib loads no libraries of plugins"):
        read_plugins(load(str(path)))


AUDIT_RULE = "- {rule: Seen, desc: d, condition: ka.verb exists, output: '%ka.verb', priority: INFO, source: k8s_audit}\n"


def test_audit_events_by_the_plugin(run: Run, tmp_path: Path) -> None:
    events = tmp_path / "audit.jsonl"
    stamp = '"stageTimestamp": "2026-11-24T10:00:00Z"'
    events.write_text(f'{{"kind": "Event", "auditID": "1", "stage": "ResponseComplete", "verb": "get", {stamp}}}\n'
                      f'{{"kind": "Event", "auditID": "2", "stage": "ResponseComplete", "verb": "{"x" * 300}", {stamp}}}\n')
    (tmp_path / "audit.yaml").write_text(AUDIT_RULE)
    text = f"rules_files: [{tmp_path}/audit.yaml]\nstdout_output: {{enabled: true}}\nlog_syslog: false\nengine: {{kind: nodriver}}\n"
    ran = run(text=text + PLUGINS.replace("WHERE", str(events)).replace('"maxEventSize": 100', '"maxEventSize": 300'), capture=False)
    assert [line.split()[-1] for line in ran.lines] == ["get"]
    assert ran.report.stats.too_large == 1
    events.write_text(json.dumps({"items": [json.loads(line) for line in events.read_text().splitlines()] * 2000}))
    ran = run(text=text + PLUGINS.replace("WHERE", str(events)).replace('"maxEventSize": 100', '"maxEventSize": 300'), capture=False)
    assert (len(ran.lines), ran.report.stats.too_large) == (2000, 2000)        # the limit is that of an event, not of a list
    events.write_text(events.read_text().replace("x" * 300, "x" * 300_000, 1))
    ran = run(text=text + PLUGINS.replace("WHERE", str(events)).replace('"maxEventSize": 100, ', ""), capture=False)
    assert (len(ran.lines), ran.report.stats.too_large) == (4000, 0)           # who pads a request doesn't hide it
    with pytest.raises(ChoiceError, match=r"falco.yaml:\d+:5: plugins\[1\]: k8saudit: open_params ftp://x: scheme 'ftp' is not supported"):
        run(text=text + PLUGINS.replace("WHERE", "ftp://x"), capture=False)


def test_plugins_hostinfo(run: Run, tmp_path: Path) -> None:
    for hostinfo, told in (("true", True), ("false", False)):
        file = tmp_path / f"metrics.{hostinfo}"
        events = tmp_path / "audit.jsonl"
        events.write_text("")
        (tmp_path / "audit.yaml").write_text(AUDIT_RULE)
        run(text=f"rules_files: [{tmp_path}/audit.yaml]\nengine: {{kind: nodriver}}\nplugins_hostinfo: {hostinfo}\nlog_syslog: false\n"
                 f"metrics: {{enabled: true, output_file: {file}}}\n" + PLUGINS.replace("WHERE", str(events)), capture=False)
        fields = json.loads(file.read_text().splitlines()[-1])["output_fields"]
        assert any(name.startswith("falco.host_netinfo.") for name in fields) is told


# ---- the service ----


class Service:
    """systemd's side of a socket."""

    def __init__(self, path: Path) -> None:
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self._socket.bind(str(path))
        self.told: list[dict[str, str]] = []
        self._thread = threading.Thread(target=self._work, daemon=True)
        self._thread.start()

    def _work(self) -> None:
        while data := self._socket.recv(4096):
            self.told.append(dict(line.split("=", 1) for line in data.decode().splitlines()))

    def wait(self, name: str, times: int = 1) -> None:
        until(lambda: sum(name in lines for lines in self.told) >= times, lambda: (name, self.told))


@pytest.fixture
def service(tmp_path: Path) -> Service:
    return Service(tmp_path / "notify")


@pytest.fixture
def started(tmp_path: Path, service: Service) -> Iterator[subprocess.Popen[bytes]]:
    (tmp_path / "rules.yaml").write_text(AUDIT_RULE)
    (tmp_path / "audit.log").touch()
    (tmp_path / "falco.yaml").write_text(
        f"rules_files: [{tmp_path}/rules.yaml]\nstdout_output: {{enabled: true}}\nlog_syslog: false\nlog_stderr: true\n"
        f"engine: {{kind: nodriver}}\nplugins: [{{name: k8saudit, library_path: x, open_params: 'file://{tmp_path}/audit.log'}}]\n")
    with subprocess.Popen([sys.executable, "-m", "falcolib", "run", "-c", str(tmp_path / "falco.yaml")], stdout=subprocess.PIPE,
                          stderr=subprocess.PIPE, env={**os.environ, "NOTIFY_SOCKET": str(tmp_path / "notify"), "WATCHDOG_USEC": "200000"},
                          ) as process:
        try:
            yield process
        finally:
            process.kill()


def test_systemd_is_told(started: subprocess.Popen[bytes], service: Service) -> None:
    service.wait("READY")
    service.wait("WATCHDOG", 3)
    started.send_signal(signal.SIGHUP)
    service.wait("RELOADING")
    service.wait("READY", 2)
    started.send_signal(signal.SIGTERM)
    service.wait("STOPPING")
    _, told = started.communicate(timeout=PATIENCE)
    assert started.returncode == 0, told
    reloading = next(lines for lines in service.told if "RELOADING" in lines)
    assert int(reloading["MONOTONIC_USEC"]) <= time.monotonic_ns() // 1000


def test_without_systemd_nobody_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    from falcolib.daemon import systemd

    monkeypatch.delenv("NOTIFY_SOCKET", raising=False)
    assert not systemd.notify("READY=1")
    monkeypatch.setenv("NOTIFY_SOCKET", "/nowhere")
    assert not systemd.notify("READY=1")
    monkeypatch.setenv("WATCHDOG_USEC", "2000000")
    monkeypatch.setenv("WATCHDOG_PID", str(os.getpid()))
    assert systemd.watchdog_seconds() == 2
    monkeypatch.setenv("WATCHDOG_PID", "1")
    assert systemd.watchdog_seconds() == 0


def test_a_dry_run_changes_nothing(run: Run, tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    run()
    Daemon(load(str(tmp_path / "falco.yaml"), [f"file_output={{enabled: true, filename: {tmp_path}/x}}"]), Choices(cache=False)).check()
    assert capfd.readouterr().out == ""
    assert not (tmp_path / "x").exists()


def test_a_dry_run_finds_what_a_run_would_refuse(run: Run, tmp_path: Path) -> None:
    run()
    for option, says in (
            ("engine.kind=replay", "name the capture"), ("load_plugins=none", "none is not in plugins"),
            ("file_output.enabled=true", r"-o file_output.enabled=true: file_output.filename: no file is named"),
            (f"file_output={{enabled: true, filename: {tmp_path}/no/x}}", "file_output.filename: .*/no/x: No such file or directory"),
            ("program_output.enabled=true", "program_output.program: no program is named"),
            ("http_output.enabled=true", "http_output.url: '' is no http:// or https:// URL"),
            ("capture={enabled: true, path_prefix: /none/x}", "capture.path_prefix: there is no folder /none"),
            ("syslog_output={enabled: true, address: x}", "syslog_output.address: 'x' is neither"),
            ("slack_output.enabled=true", "slack_output.webhook_url: expected a value")):
        with pytest.raises(ConfigError, match=says):
            Daemon(load(str(tmp_path / "falco.yaml"), ["engine.replay.capture_file=", option]), Choices(cache=False)).check()


# ---- what runs beside it ----


@contextlib.contextmanager
def running(folder: Path, *options: str) -> Iterator[Daemon]:
    """A daemon in a thread, which waits for audit events from a file, with a web server on a port of 127.0.0.1."""
    (folder / "rules.yaml").write_text(AUDIT_RULE)
    (folder / "audit.log").touch()
    port = reserved_port()
    (folder / "falco.yaml").write_text(
        f"rules_files: [{folder}/rules.yaml]\nlog_syslog: false\nengine: {{kind: nodriver}}\nwatch_config_files: false\n"
        f"plugins: [{{name: k8saudit, library_path: x, open_params: 'file://{folder}/audit.log'}}]\n"
        f"webserver: {{enabled: true, listen_address: 127.0.0.1, listen_port: {port}}}\n")
    options = tuple(option.replace("PORT", str(port)) for option in options)
    daemon = Daemon(load(str(folder / "falco.yaml"), options), Choices(cache=False))
    ready = threading.Event()
    failures: list[BaseException] = []

    @contextlib.contextmanager
    def progress(source: object) -> Iterator[None]:
        ready.set()
        yield

    def work() -> None:
        try:
            daemon.run(progress)
        except BaseException as e:
            failures.append(e)
            ready.set()

    thread = threading.Thread(target=work, daemon=True)
    thread.start()
    assert ready.wait(PATIENCE)
    assert not failures, failures
    assert daemon.web is None or daemon.web.port == port
    try:
        yield daemon
    finally:
        daemon.engine.stop()
        thread.join(PATIENCE)
        assert not thread.is_alive()


def answer(daemon: Daemon, path: str, host: str = "127.0.0.1", certificate: Path | None = None) -> int:
    """The status of an answer, once the server answers; 0 if it can't be reached."""
    assert daemon.web is not None
    context = None if certificate is None else ssl.create_default_context(cafile=str(certificate))
    kind = functools.partial(http.client.HTTPSConnection, context=context) if context else http.client.HTTPConnection
    with contextlib.closing(kind(host, daemon.web.port, timeout=PATIENCE)) as connection:
        try:
            connection.request("GET", path)
            return connection.getresponse().status
        except ConnectionRefusedError:
            return 0


def test_webserver(tmp_path: Path) -> None:
    with running(tmp_path) as daemon:
        assert daemon.web is not None
        assert [answer(daemon, path) for path in ("/healthz", "/versions", "/metrics")] == [200, 200, 404]
        assert answer(daemon, "/healthz", "127.0.0.2") == 0
    with running(tmp_path, "webserver.enabled=false") as daemon:
        assert daemon.web is None


def test_the_plugin_s_limit_of_requests_is_that_of_its_port_also_where_it_is_the_web_server_s(tmp_path: Path) -> None:
    options = "plugins[0].open_params=http://127.0.0.1:PORT/k8s_audit", "plugins[0].init_config.webhookMaxBatchSize=10"
    with running(tmp_path, *options) as daemon:
        assert daemon.web is not None
        found = []
        for body in (b"{}", b" " * 11):
            connection = http.client.HTTPConnection("127.0.0.1", daemon.web.port, timeout=PATIENCE)
            connection.request("POST", "/k8s_audit", body, {"Content-Type": "application/json"})
            found.append(connection.getresponse().status)
            connection.close()
        assert found == [200, 400]
        assert answer(daemon, "/healthz") == 200


@pytest.mark.parametrize(("listens", "wanted", "shared"), [
    ("127.0.0.1", "127.0.0.1", True), ("127.0.0.1", "localhost", True), ("localhost", "127.0.0.1", True),
    ("0.0.0.0", "", True), ("0.0.0.0", "127.0.0.2", True),
    ("::", "", True), ("::", "[::1]", True), ("127.0.0.1", "127.0.0.2", False), ("0.0.0.0", "[::1]", False), ("127.0.0.1", "", None),
    ("127.0.0.1", "0.0.0.0", None), ("127.0.0.1", "[::]", None),
])
def test_audit_events_come_on_the_web_server_s_port_if_it_listens_on_their_address(
        listens: str, wanted: str, shared: bool | None, caplog: pytest.LogCaptureFixture) -> None:
    settings = load(None, [f"webserver={{enabled: true, listen_address: '{listens}', listen_port: 0}}"]).webserver
    with contextlib.ExitStack() as stack, caplog.at_level(logging.INFO, "falcolib"):
        server = web_server(settings)
        stack.callback(server.close)
        where = f"http://{wanted}:{server.port}/k8s_audit"
        if shared is None:
            with pytest.raises(ChoiceError, match=rf"port {server.port} is the web server's, which listens on 127.0.0.1 alone"):
                audit_source(where, server=server)
            return
        source = audit_source(where, server=server)
        assert isinstance(source, AuditWebhook)
        stack.callback(source.close)
        assert (source.server is server) == shared
        assert f"taken at http://{wanted or '*'}:{server.port}/k8s_audit" in caplog.text


def test_webserver_listen_address(tmp_path: Path) -> None:
    with running(tmp_path, "webserver.listen_address=127.0.0.2") as daemon:
        assert [answer(daemon, "/healthz", host) for host in ("127.0.0.1", "127.0.0.2")] == [0, 200]


def test_webserver_threadiness(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """So many requests at once are worked on, and others wait."""
    threads, changed, inside, most = (os.cpu_count() or 1) + 1, threading.Condition(), 0, 0

    def exposition(collector: object) -> bytes:
        nonlocal inside, most
        with changed:
            inside += 1
            most = max(most, inside)
            changed.notify_all()
            assert changed.wait_for(lambda: most >= threads, PATIENCE)
            changed.wait_for(lambda: most > threads, 0.2)
            inside -= 1
        return b""

    monkeypatch.setattr("falcolib.daemon.prometheus.exposition", exposition)
    options = "metrics.enabled=true", "webserver.prometheus_metrics_enabled=true", f"webserver.threadiness={threads}"
    with running(tmp_path, *options) as daemon, ThreadPoolExecutor(2 * threads) as clients:
        assert set(clients.map(lambda _: answer(daemon, "/metrics"), range(2 * threads))) == {200}
    assert most == threads


def test_webserver_paths(tmp_path: Path) -> None:
    with running(tmp_path, "webserver.k8s_healthz_endpoint=/alive", "webserver.prometheus_metrics_enabled=true") as daemon:
        assert [answer(daemon, path) for path in ("/alive", "/healthz", "/metrics")] == [200, 404, 404]
    with running(tmp_path, "metrics.enabled=true", "webserver.prometheus_metrics_enabled=true") as daemon:
        assert answer(daemon, "/metrics") == 200


def test_webserver_ssl(tmp_path: Path) -> None:
    crt, key = tmp_path / "crt", tmp_path / "key"
    subprocess.run(["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", "-subj", "/CN=x", "-keyout", key, "-out", crt,
                    "-addext", "subjectAltName=IP:127.0.0.1"], check=True, capture_output=True)
    (tmp_path / "pem").write_bytes(key.read_bytes() + crt.read_bytes())
    with running(tmp_path, "webserver.ssl_enabled=true", f"webserver.ssl_certificate={tmp_path}/pem") as daemon:
        assert answer(daemon, "/healthz", certificate=crt) == 200
    settings = load(None, [f"webserver={{ssl_enabled: true, ssl_certificate: {tmp_path}/pem, listen_port: 0}}"]).webserver
    with contextlib.closing(web_server(settings)) as server:            # which lets anybody in: clients' certificates can't be wanted there
        where = f"https://:{server.port}"
        assert audit_source(where, str(tmp_path / "pem"), server=server)
        with pytest.raises(ChoiceError, match=r"asks nobody for a certificate: take another port with --tls-client-ca"):
            audit_source(where, str(tmp_path / "pem"), client_ca=str(crt), server=server)


def test_watch_config_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    watched: list[tuple[str, ...]] = []

    class Watch:
        def __init__(self, paths: Iterable[str], changed: object, since: object = None) -> None:
            self.paths = tuple(paths)
            watched.append(self.paths)

        def stop(self) -> None:
            pass

    monkeypatch.setattr("falcolib.daemon.reload.FileWatch", Watch)
    with running(tmp_path):
        assert watched == []
    with running(tmp_path, "watch_config_files=true"):
        assert watched == [(f"{tmp_path}/falco.yaml", f"{tmp_path}/rules.yaml")]


def test_metrics_interval(tmp_path: Path) -> None:
    options = ("metrics.enabled=true", f"metrics.output_file={tmp_path}/metrics", "metrics.interval=100ms")
    with running(tmp_path, *options):
        until(lambda: (tmp_path / "metrics").exists() and len((tmp_path / "metrics").read_text().splitlines()) >= 3)


def test_capture(run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def captured(*options: str) -> Ran:
        for old in tmp_path.glob("cap_*"):
            old.unlink()
        return run("capture.enabled=true", f"capture.path_prefix={tmp_path}/cap", *options)

    def sizes(*options: str) -> list[int]:
        captured(*options)
        return [path.stat().st_size for path in sorted(tmp_path.glob("cap_*.scap"))]

    assert sizes() == []                # no rule has capture: true
    assert sizes("capture.mode=all_rules", "capture.enabled=false") == []
    short, long = (sizes("capture.mode=all_rules", f"capture.default_duration={ms}") for ms in (1, 10_000))
    assert len(short) > len(long) >= 1
    monkeypatch.setattr("falcolib.daemon.recording.MEBIBYTE", 1 << 10)          # attack1 has 1.3 MB
    monkeypatch.setattr("falcolib.recording._MEMBER", 1 << 10)
    for limit, told in ((0, False), (20, True)):
        ran = captured("capture.mode=all_rules", "capture.default_duration=3600000", f"capture.max_file_size_mb={limit}", JSON)
        assert "can't be written" not in ran.log
        assert any(row["rule"] == "Falco internal: capture size limit reached" for row in ran.rows) is told


def test_an_engine_that_hangs_is_told_of(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """By no more signs of life to systemd, and by /healthz."""
    with running(tmp_path) as daemon:
        assert daemon.alive()
        monkeypatch.setattr(daemon.engine, "busy", lambda: 20.0)
        assert not daemon.alive()
        assert answer(daemon, "/healthz") == 503
