# SPDX-License-Identifier: Apache-2.0
"""AuditFile: folders, gzip, standard input, files that are followed; falcolib run on audit events."""

from __future__ import annotations

import gzip
import json
import os
import pathlib
import re
import signal
import subprocess
import sys
import threading
import time
import urllib.request
from collections.abc import Callable, Iterator

import pytest

import falcolib
from audit_events import event, rules, text
from conftest import ROOT

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
        self.thread = threading.Thread(target=self._run)
        self.thread.start()

    def _run(self) -> None:
        for alert in self.engine.run(self.source):
            self.found.append(alert.message)

    def until(self, *expected: str) -> None:
        until(lambda: self.found == list(expected), lambda: f"{self.found} instead of {list(expected)}")


def until(holds: Callable[[], bool], told: Callable[[], str] = lambda: "") -> None:
    end = time.monotonic() + 30
    while not holds():
        assert time.monotonic() < end, told()
        time.sleep(0.01)


@pytest.fixture
def following(tmp_path: pathlib.Path) -> Iterator[tuple[Following, pathlib.Path]]:
    path = tmp_path / "audit.log"
    path.write_bytes(named("before"))
    run = Following(path)
    yield run, path
    run.engine.stop()
    run.thread.join(30)
    assert not run.thread.is_alive()


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
        run.engine.stop()
        run.thread.join(30)


@pytest.fixture
def rule_file(tmp_path: pathlib.Path) -> pathlib.Path:
    (tmp_path / "k8s.yaml").write_text(RULES)
    return tmp_path / "k8s.yaml"


def command(*arguments: object, stdin: bytes = b"") -> subprocess.CompletedProcess[bytes]:
    return subprocess.run([sys.executable, "-m", "falcolib", "run", "--no-cache", *map(str, arguments)], input=stdin, capture_output=True,
                          timeout=120, check=False)


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
        serving = subprocess.Popen([sys.executable, "-m", "falcolib", "run", "-r", str(rule_file), "--disable-source", "syscall", "--audit",
                                    "http://127.0.0.1:0"], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
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
            assert urllib.request.urlopen(request, timeout=30).status == 200
            assert serving.stdout.readline().endswith("Notice created 1 by demo\n")
            serving.send_signal(signal.SIGTERM)
            assert serving.wait(60) == 0        # before its output is read: what doesn't end fails, and doesn't hang
            rest = serving.stderr.read()
            assert "Requests: 1 accepted" in rest
        finally:
            serving.kill()
            serving.communicate()


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
