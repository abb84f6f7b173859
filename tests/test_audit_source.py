# SPDX-License-Identifier: Apache-2.0
"""AuditFile: folders, gzip, standard input, files that are followed; falcolib run on audit events."""

from __future__ import annotations

import contextlib
import fcntl
import gzip
import http.client
import json
import os
import pathlib
import re
import signal
import subprocess
import sys
import threading
import urllib.request
from collections.abc import Iterator

import pytest

import falcolib
from audit_events import event, pod, rules, text
from conftest import ROOT
from falcolib.daemon.choices import Choices
from falcolib.daemon.sources import FAULTS, asked_for, audit_source
from live import WHY_NOT
from messages import PATIENCE, until

#: A run whose end waits long for its reader, as the machine may be loaded.
RUN = (sys.executable, "-m", "falcolib", "run", "-o", "outputs_queue.drain_timeout=2m")
RULES = """
- rule: Created
  desc: d
  condition: ka.verb=create
  output: created %ka.auditid by %ka.user.name
  priority: NOTICE
  source: k8s_audit
"""


def named(name: str) -> bytes:
    return text(event(auditID=name))


def ids(source: falcolib.AuditFile) -> list[str]:
    return [alert.message for alert in falcolib.Engine(rules(["ka.auditid exists"], "%ka.auditid")).run(source)]


class TestFiles:
    def test_a_folder_is_read_from_the_oldest_file_on(self, tmp_path: pathlib.Path) -> None:
        for age, name in enumerate(("c", "a", "b")):
            (tmp_path / name).write_bytes(named(name).rstrip())         # the last line without an end
            os.utime(tmp_path / name, (1000 - age, 1000 - age))
        (tmp_path / "folder").mkdir()
        assert ids(falcolib.AuditFile(tmp_path)) == ["b", "a", "c"]

    def test_gzip(self, tmp_path: pathlib.Path) -> None:
        (tmp_path / "log").write_bytes(gzip.compress(named("1")) + gzip.compress(named("2")))
        assert ids(falcolib.AuditFile(tmp_path / "log")) == ["1", "2"]

    def test_a_damaged_file_is_told_by_name_and_costs_no_other(self, tmp_path: pathlib.Path) -> None:
        for n, name in enumerate(("1", "2.gz", "3", "4.gz", "5")):
            data = text(event(auditID=name))
            (tmp_path / name).write_bytes({"2.gz": gzip.compress(data)[:20], "4.gz": b"\x1f\x8bno"}.get(name, data))
            os.utime(tmp_path / name, (n, n))
        found: list[str] = []
        run = falcolib.Engine(rules(["ka.auditid exists"], "%ka.auditid")).run(falcolib.AuditFile(tmp_path))
        with pytest.raises(falcolib.CaptureError, match=r"/2\.gz: compressed offset \d+: .* truncated; .*/4\.gz: compressed offset "):
            found.extend(alert.message for alert in run)
        assert found == ["1", "3", "5"]

    def test_a_file_of_a_folder_that_cannot_be_read_costs_no_other(self, tmp_path: pathlib.Path) -> None:
        """One that is gone by then, as logs are rotated."""
        for n, name in enumerate("123"):
            (tmp_path / name).write_bytes(named(name))
            os.utime(tmp_path / name, (n, n))
        source = falcolib.AuditFile(tmp_path)
        (tmp_path / "1").unlink()
        found: list[str] = []
        with pytest.raises(falcolib.CaptureError, match=r"/1: No such file or directory"):
            found.extend(alert.message for alert in falcolib.Engine(rules(["ka.auditid exists"], "%ka.auditid")).run(source))
        assert found == ["2", "3"]
        alone = falcolib.AuditFile(tmp_path / "2")
        (tmp_path / "2").unlink()
        with pytest.raises(FileNotFoundError):
            ids(alone)

    def test_a_file_can_be_read_again_and_its_position_is_told(self, tmp_path: pathlib.Path) -> None:
        (tmp_path / "log").write_bytes(named("1") * 3)
        source = falcolib.AuditFile(tmp_path / "log")
        assert (ids(source), ids(source)) == (["1"] * 3, ["1"] * 3)
        assert source.position() == (len(named("1")) * 3,) * 2

    def test_what_isnt_there_is_told_at_once(self, tmp_path: pathlib.Path) -> None:
        with pytest.raises(FileNotFoundError):
            falcolib.AuditFile(tmp_path / "log")
        with pytest.raises(ValueError, match="only a file can be followed"):
            falcolib.AuditFile(tmp_path, follow=True)
        os.mkfifo(tmp_path / "pipe")
        with pytest.raises(ValueError, match="only a file can be followed"):
            falcolib.AuditFile(tmp_path / "pipe", follow=True)

    def test_faults_name_file_and_line(self, tmp_path: pathlib.Path) -> None:
        for name in ("a", "b"):
            (tmp_path / name).write_bytes(named("1") + b"{\n" + named("2"))
        told: list[str] = []
        ids(falcolib.AuditFile(tmp_path, on_fault=told.append))
        assert told == [f"{tmp_path / name}:2: no valid JSON, or not all there; left out" for name in ("a", "b")]


class Following:
    def __init__(self, path: pathlib.Path) -> None:
        self.source = falcolib.AuditFile(path, follow=True)
        self.found: list[str] = []
        self.engine = falcolib.Engine(rules(["ka.auditid exists"], "%ka.auditid"))
        self.alerts = self.engine.run(self.source)      # here: a stop() from now on ends it
        self.thread = threading.Thread(target=self._run)
        self.thread.start()

    def _run(self) -> None:
        for alert in self.alerts:
            self.found.append(alert.message)

    def stop(self) -> None:
        self.engine.stop()
        self.thread.join(PATIENCE)
        assert not self.thread.is_alive()

    def until(self, *expected: str) -> None:
        until(lambda: self.found == list(expected), lambda: f"{self.found} instead of {list(expected)}")


@pytest.fixture
def following(tmp_path: pathlib.Path) -> Iterator[tuple[Following, pathlib.Path]]:
    path = tmp_path / "audit.log"
    path.write_bytes(named("before"))
    run = Following(path)
    yield run, path
    run.stop()


def append(path: pathlib.Path, data: bytes) -> None:
    with path.open("ab") as file:
        file.write(data)


class TestFollowing:
    def test_it_begins_at_the_end_and_waits_for_whole_lines(self, following: tuple[Following, pathlib.Path]) -> None:
        run, path = following
        append(path, named("1"))
        run.until("1")
        append(path, named("2")[:40])
        append(path, named("2")[40:] + named("3"))
        run.until("1", "2", "3")

    def test_rotation(self, following: tuple[Following, pathlib.Path]) -> None:
        run, path = following
        append(path, named("1"))
        path.rename(path.with_suffix(".1"))
        append(path.with_suffix(".1"), named("2"))
        path.write_bytes(named("3"))
        run.until("1", "2", "3")

    def test_truncation(self, following: tuple[Following, pathlib.Path]) -> None:
        run, path = following
        append(path, named("1") + b'{"auditID":')
        run.until("1")
        os.truncate(path, 0)
        until(lambda: run.source.position()[1] is None and run.engine.stats().malformed == 1)
        append(path, named("2"))
        run.until("1", "2")

    def test_a_file_that_comes_later(self, tmp_path: pathlib.Path) -> None:
        run = Following(tmp_path / "later.log")
        (tmp_path / "later.tmp").write_bytes(named("1"))
        (tmp_path / "later.tmp").rename(tmp_path / "later.log")
        run.until("1")
        run.stop()


@pytest.fixture
def rule_file(tmp_path: pathlib.Path) -> pathlib.Path:
    (tmp_path / "k8s.yaml").write_text(RULES)
    return tmp_path / "k8s.yaml"


def command(*arguments: object, stdin: bytes = b"") -> subprocess.CompletedProcess[bytes]:
    return subprocess.run([*RUN, "--no-cache", *map(str, arguments)], input=stdin, capture_output=True, timeout=PATIENCE, check=False)


class TestCommand:
    def test_replays_a_log(self, rule_file: pathlib.Path, tmp_path: pathlib.Path) -> None:
        (tmp_path / "log").write_bytes(named("1") + b"{\n" + named("2"))
        done = command("-r", rule_file, "--audit", tmp_path / "log", "-o", "time_format_iso_8601=true")
        assert done.returncode == 0
        assert done.stdout.decode().splitlines() == [
            f"2026-11-23T03:38:13.580968000+0000: Notice created {n} by demo" for n in (1, 2)]
        assert b"log:2: no valid JSON" in done.stderr
        assert b"Left out: 1 malformed audit events" in done.stderr
        assert b"Events read: 2 " in done.stderr

    def test_replays_standard_input(self, rule_file: pathlib.Path) -> None:
        done = command("-r", rule_file, "--audit", "-", "-o", "json_output=true", stdin=gzip.compress(named("1")))
        (line,) = map(json.loads, done.stdout.splitlines())
        assert (line["source"], line["output_fields"]["ka.auditid"]) == ("k8s_audit", "1")

    def test_without_rules_audit_events_have_our_own(self, tmp_path: pathlib.Path, attack1: pathlib.Path) -> None:
        (tmp_path / "log").write_bytes(text(pod({"name": "a", "image": "x", "securityContext": {"privileged": True}})))
        done = command("--audit", tmp_path / "log")
        assert b"A privileged pod was created" in done.stdout
        assert b"rules from falcolib" in done.stderr
        both = command("--audit", tmp_path / "log", "--capture", attack1, "-o", "rule_matching=all").stdout
        assert b"A privileged pod was created" in both
        assert len(both.splitlines()) > len(done.stdout.splitlines())
        explained = subprocess.run([sys.executable, "-m", "falcolib", "explain", "--audit", str(tmp_path / "log"), "--event", "1"],
                                   capture_output=True, check=True, timeout=120)
        assert b"MATCHES  Privileged pod created" in explained.stdout

    @pytest.mark.parametrize(("choices", "kind", "expected"), [
        (Choices(), "modern_ebpf", ["syscall"]), (Choices(disabled=("syscall",)), "modern_ebpf", ["k8s_audit"]),
        (Choices(), "nodriver", ["k8s_audit"]), (Choices(), "replay", ["syscall"]), (Choices(captures=("a",)), "modern_ebpf", ["syscall"]),
        (Choices(audits=("a",)), "modern_ebpf", ["k8s_audit"]), (Choices(audits=("a",)), "replay", ["syscall", "k8s_audit"]),
        (Choices(audits=("http://",)), "modern_ebpf", ["syscall", "k8s_audit"]),
        (Choices(audits=("http://",), disabled=("syscall",)), "modern_ebpf", ["k8s_audit"]),
        (Choices(audits=("http://",), enabled=("syscall",)), "modern_ebpf", ["syscall", "k8s_audit"]),
        (Choices(enabled=("k8s_audit",)), "modern_ebpf", ["k8s_audit"]), (Choices(disabled=("k8s_audit",)), "modern_ebpf", ["syscall"]),
    ])
    def test_whose_rules_are_ours_where_none_are_named(self, choices: Choices, kind: str, expected: list[str]) -> None:
        assert asked_for(choices, kind) == expected

    def test_a_source_that_no_rule_is_for_is_told(self, tmp_path: pathlib.Path, rule_file: pathlib.Path) -> None:
        (tmp_path / "log").write_bytes(named("1"))
        (tmp_path / "calls.yaml").write_text("- {rule: r, desc: d, condition: evt.type=open, output: x, priority: INFO}")
        told = b"no enabled rule is for events of the source k8s_audit"
        assert told in command("-r", tmp_path / "calls.yaml", "--audit", tmp_path / "log").stderr
        assert told not in command("-r", rule_file, "--audit", tmp_path / "log").stderr

    def test_rules_whose_source_is_off_are_told_with_falco_yaml_as_well(self, tmp_path: pathlib.Path, rule_file: pathlib.Path) -> None:
        """There, a source is on if it is configured."""
        (tmp_path / "calls.yaml").write_text("- {rule: r, desc: d, condition: evt.type=open, output: x, priority: INFO}")
        (tmp_path / "falco.yaml").write_text(f"rules_files: [{rule_file}, {tmp_path}/calls.yaml]\nengine: {{kind: nodriver}}\n"
                                             "log_stderr: true\nlog_syslog: false\n")
        audit = b"rules for k8s_audit find nothing, as its events are not taken: the plugin k8saudit isn't loaded, and --audit isn't given"
        calls = b"rules for syscall find nothing, as its events are not taken: engine.kind is nodriver"
        told = command("-c", tmp_path / "falco.yaml").stderr
        assert b"no source of events is on" in told
        assert audit in told
        assert calls in told
        told = command("-c", tmp_path / "falco.yaml", "--audit", f"file://{tmp_path}/log", "-M", "0.1").stderr
        assert f"Audit events are taken from {tmp_path}/log, which isn't there yet".encode() in told
        assert audit not in told
        assert calls in told
        assert calls not in command("-c", tmp_path / "falco.yaml", "--audit", f"file://{tmp_path}/log", "-M", "0.1", "--disable-source",
                                    "syscall").stderr

    def test_a_live_source_that_fails_ends_the_run(self, tmp_path: pathlib.Path, rule_file: pathlib.Path) -> None:
        """As Falco: who keeps it running starts it anew."""
        log = tmp_path / "log"
        log.touch()
        serving = subprocess.Popen([sys.executable, "-m", "falcolib", "run", "-r", str(rule_file), "--disable-source", "syscall",
                                    "--audit", "http://127.0.0.1:0", "--audit", f"file://{log}"], stderr=subprocess.PIPE, text=True)
        assert serving.stderr is not None
        try:
            assert any("Ctrl-C ends it" in line for line in serving.stderr)
            log.rename(tmp_path / "log.1")
            log.mkdir()
            _, told = serving.communicate(timeout=60)
        finally:
            serving.kill()
        assert "only a file can be followed" in told
        assert "the run ends" in told
        assert serving.returncode == 1

    def test_mistakes_are_told(self, rule_file: pathlib.Path) -> None:
        for arguments, told in (
            (["--audit", "ftp://x"], "scheme 'ftp' is not supported"), (["--disable-source", "k8s"], "there is no source 'k8s'"),
            (["--disable-source", "k8s_audit"], "no source of events is on: the enabled rules are for k8s_audit"),
            (["--audit", "https://"], "https needs --tls-cert"), (["--audit", "http://:x"], "--audit http://:x:"),
            (["--enable-source", "k8s_audit", "--disable-source", "syscall"], "can't be given together"),
        ):
            done = command("-r", rule_file, *arguments)
            assert (done.returncode, told in " ".join(done.stderr.decode().split())) == (2, True), done.stderr

    def test_serves_the_webhook(self, rule_file: pathlib.Path) -> None:
        serving = subprocess.Popen([*RUN, "-r", str(rule_file), "--disable-source", "syscall", "--audit", "http://127.0.0.1:0"],
                                   stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        assert serving.stdout is not None
        assert serving.stderr is not None
        try:
            url = ""
            for line in serving.stderr:
                if found := re.search(r"Audit events are taken at (\S+)", line):
                    url = found[1]
                if "Ctrl-C" in line:
                    break
            request = urllib.request.Request(url, named("1"), {"Content-Type": "application/json"})
            assert urllib.request.urlopen(request, timeout=PATIENCE).status == 200
            assert serving.stdout.readline().endswith("Notice created 1 by demo\n")
            serving.send_signal(signal.SIGTERM)
            assert serving.wait(PATIENCE) == 0  # before its output is read: what doesn't end fails, and doesn't hang
            rest = serving.stderr.read()
            assert "Requests: 1 accepted" in rest
        finally:
            serving.kill()
            serving.communicate()


    def test_strangers_cannot_fill_the_log(self, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr("falcolib.rare.PERIOD", 3600.0)     # a minute, on a machine that takes none for so many requests
        source = audit_source("http://127.0.0.1:0")
        assert isinstance(source, falcolib.AuditWebhook)
        engine = falcolib.Engine(rules(["ka.auditid exists"]))
        alerts = engine.run(source)
        run = threading.Thread(target=list, args=(alerts,))
        run.start()
        try:
            for _ in range(20):
                url = f"http://127.0.0.1:{source.port}/k8s_audit"
                request = urllib.request.Request(url, b"{\n" * 10, {"Content-Type": "application/json"})
                assert urllib.request.urlopen(request, timeout=PATIENCE).status == 200
            until(lambda: engine.stats().malformed == 200)
        finally:
            engine.stop()
            run.join()
        told = [record.message for record in caplog.records if record.name == "falcolib.sources"]
        assert len(told) == FAULTS
        assert all(re.match(r"127\.0\.0\.1:\d+:\d+: no valid JSON", line) for line in told)

    def test_what_was_answered_before_sigterm_is_alerted_on(self, rule_file: pathlib.Path, tmp_path: pathlib.Path) -> None:
        """Clients post all the time, and the alerts are read slowly, so that bodies wait in the queue when the signal comes."""
        with open(tmp_path / "log", "w") as log:
            serving = subprocess.Popen([*RUN, "-r", str(rule_file), "--disable-source", "syscall", "--audit", "http://127.0.0.1:0"],
                                       stdout=subprocess.PIPE, stderr=log, text=True)
        assert serving.stdout is not None
        fcntl.fcntl(serving.stdout, fcntl.F_SETPIPE_SZ, 4096)
        try:
            until(lambda: "Ctrl-C" in (tmp_path / "log").read_text())
            port = int(re.search(r"at http://127.0.0.1:(\d+)", (tmp_path / "log").read_text())[1])     # type: ignore[index]
            accepted: list[str] = []
            threads = [threading.Thread(target=post_until_refused, args=(port, f"{n}", accepted)) for n in range(4)]
            for thread in threads:
                thread.start()
            until(lambda: len(accepted) > 600)      # more than the pipe holds, and what is written to it at once: others wait
            serving.send_signal(signal.SIGTERM)
            found = serving.stdout.read()           # to its end: it has ended
            assert serving.wait(PATIENCE) == 0
            for thread in threads:
                thread.join(PATIENCE)
            alerted = re.findall(r"Notice created (\S+) by demo", found)
            assert set(accepted) <= set(alerted)
            # an answer may not have come through: such a client posts again
            assert len(alerted) == len(set(alerted)) <= len(accepted) + len(threads)
        finally:
            serving.kill()
            serving.communicate()


def post_until_refused(port: int, name: str, accepted: list[str]) -> None:
    """Posts one event after the other; notes those that were answered with 200."""
    with contextlib.closing(http.client.HTTPConnection("127.0.0.1", port, timeout=PATIENCE)) as client:
        for n in range(1 << 20):
            try:
                client.request("POST", "/k8s_audit", named(f"{name}.{n}"), {"Content-Type": "application/json"})
                answer = client.getresponse()
                answer.read()
            except (OSError, http.client.HTTPException):
                return
            if answer.status == 200:
                accepted.append(f"{name}.{n}")
            elif answer.status == 503:
                return


def test_system_calls_and_audit_events_in_one_engine(tmp_path: pathlib.Path, attack1: pathlib.Path) -> None:
    (tmp_path / "log").write_bytes(named("1") + named("2"))
    both = falcolib.RuleSet.load(ROOT / "rules/falcolib_rules.yaml").merge(falcolib.RuleSet.parse(RULES))
    engine = falcolib.Engine(both, matching="all")
    alerts = list(engine.run([falcolib.Capture(attack1), falcolib.AuditFile(tmp_path / "log")]))
    assert {(a.source, a.rule) for a in alerts if a.rule == "Created"} == {("k8s_audit", "Created")}
    assert [a.message for a in alerts if a.source == "k8s_audit"] == ["created 1 by demo", "created 2 by demo"]
    assert [a.time for a in alerts] == sorted(a.time for a in alerts)
    alone = list(falcolib.Engine(both, matching="all").run(falcolib.Capture(attack1)))
    assert [a.rule for a in alerts if a.source == "syscall"] == [a.rule for a in alone]


@pytest.mark.live
@pytest.mark.skipif(WHY_NOT is not None, reason=f"no live capture here: {WHY_NOT}")
def test_this_machine_and_the_webhook_in_one_engine(tmp_path: pathlib.Path) -> None:
    seen = tmp_path / "seen"
    both = falcolib.RuleSet.parse(f"- {{rule: Opened, desc: d, condition: 'evt.type in (open, openat) and fd.name = {seen}', "
                                  "output: opened %fd.name, priority: INFO}\n").merge(falcolib.RuleSet.parse(RULES))
    engine = falcolib.Engine(both, matching="all")
    live, webhook = falcolib.Live(), falcolib.AuditWebhook("127.0.0.1", 0)
    alerts: list[falcolib.Alert] = []
    found = engine.run([live, webhook])
    thread = threading.Thread(target=lambda: alerts.extend(found))
    thread.start()
    try:
        assert live.ready.wait(PATIENCE)
        for n in range(20):
            seen.write_text("")
            request = urllib.request.Request(f"http://127.0.0.1:{webhook.port}/k8s_audit", named(f"{n}"),
                                             {"Content-Type": "application/json"})
            assert urllib.request.urlopen(request, timeout=PATIENCE).status == 200
        until(lambda: len(alerts) >= 40)
    finally:
        engine.stop()
        thread.join(PATIENCE)
    assert not thread.is_alive()
    assert [a.message for a in alerts if a.source == "k8s_audit"] == [f"created {n} by demo" for n in range(20)]
    assert [a.message for a in alerts if a.source == "syscall"] == [f"opened {seen}"] * 20
    assert {(a.source, a.rule) for a in alerts} == {("k8s_audit", "Created"), ("syscall", "Opened")}


@pytest.mark.conformance
class TestRecorded:
    @pytest.mark.parametrize("version", ["v1", "v1beta1", "v1alpha1"])
    def test_a_real_api_servers_log(self, version: str, conformance: pathlib.Path) -> None:
        folder = conformance / "kubernetes/k8s_audit"
        (capture,) = (c for c in json.loads((folder / "real_apiserver/index.json").read_text())["captures"] if c["version"] == version)
        for file, predicted in capture["predicted"].items():
            for matching, expected in predicted.items():
                engine = falcolib.Engine(falcolib.RuleSet.load(folder / file), matching=matching)
                alerts = list(engine.run(falcolib.AuditFile(folder / "real_apiserver" / capture["audit_log"])))
                assert engine.stats().alerts == expected
                if version == "v1" and matching == "first":
                    demo = next(a for a in alerts if a.fields.get("ka.user.name") == "demo")
                    assert re.fullmatch(
                        r"\d\d:\d\d:\d\d\.\d{9}: Warning K8s Operation performed by user not in allowed list of users \(user=demo "
                        r"target=<NA>/deployments verb=list uri=/apis/apps/v1/namespaces/default/deployments\?limit=500 "
                        r"resp=403\)", str(demo))

    def test_rule_files_of_2019_load_or_tell_what_to_write_instead(self, conformance: pathlib.Path) -> None:
        folder = conformance / "kubernetes/k8s_audit"
        told = {}
        for path in sorted((folder / "rules/default").glob("*.yaml")):
            try:
                falcolib.RuleSet.load(path)
            except falcolib.RuleError as e:
                told[path.name] = str(e)
        assert [name.removeprefix("k8s_audit_rules_") for name in told] == ["falco-0.13.0.yaml", "falco-0.15.0.yaml"]
        for text_ in told.values():
            assert "write 'ka.req.role.rules.resources intersects (\"*\")' for any of its values" in text_
