# SPDX-License-Identifier: Apache-2.0
"""The options of the falco command, with which ``falcolib run`` can stand in its place."""

from __future__ import annotations

import json
import os
import platform
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import jsonschema
import pytest
from click.testing import CliRunner, Result

from falcolib.cli.run import run_command
from messages import PATIENCE, until

pytestmark = pytest.mark.daemon

RULES = """\
- rule: Program started
  desc: A program was started.
  condition: evt.type = execve and evt.res = SUCCESS
  output: program %proc.name
  priority: NOTICE
- rule: Shell
  desc: A shell was started.
  condition: evt.type = execve and proc.name in (sh, bash)
  output: shell %proc.name
  priority: DEBUG
- rule: Audit
  desc: Something was made.
  source: k8s_audit
  condition: ka.verb = create
  output: made by %ka.user.name
  priority: INFO
"""


@pytest.fixture
def config(tmp_path: Path) -> Path:
    (tmp_path / "rules.yaml").write_text(RULES)
    path = tmp_path / "falco.yaml"
    path.write_text(f"rules_files: [{tmp_path}/rules.yaml]\nstdout_output: {{enabled: true}}\nlog_stderr: true\nlog_syslog: false\n"
                    "webserver: {enabled: false}\noutputs_queue: {drain_timeout: 2m}\n")
    return path


def told(*arguments: object, status: int = 0) -> Result:
    done = CliRunner().invoke(run_command, [str(a) for a in arguments])
    assert done.exit_code == status, (done.output, done.exception)
    return done


def command(*arguments: object, status: int = 0, environ: dict[str, str] | None = None) -> subprocess.CompletedProcess[str]:
    done = subprocess.run([sys.executable, "-m", "falcolib", "run", *map(str, arguments)], capture_output=True, text=True, timeout=300,
                          env={**os.environ, **(environ or {})})
    assert done.returncode == status, done.stderr
    return done


# ---- what is told without a configuration ----


def test_page_size() -> None:
    assert told("--page-size").stdout == f"Your system page size is: {os.sysconf('SC_PAGE_SIZE')}\n"


@pytest.mark.parametrize(("option", "valid"), [
    ("--config-schema", {"json_output": True}), ("--rule-schema", [{"list": "a", "items": ["b"]}])])
def test_schemas(option: str, valid: Any) -> None:
    schema = json.loads(told(option).stdout)
    jsonschema.validate(valid, schema)
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate("no", schema)


def test_ignored_system_calls_are_the_12_of_falco() -> None:
    names = told("-i").stdout.split("- ")[1:]
    assert [name.strip() for name in names] == [
        "pread", "preadv", "pwrite", "pwritev", "read", "readv", "recv", "send", "sendfile", "write", "writev"]     # two are sendfile


def test_lists_of_events_and_fields() -> None:
    assert "openat(" in told("--list-events").stdout
    assert "| `openat` |" in told("--list-events", "--format", "markdown").stdout
    assert "| `openat` |" in told("--list-events", "--markdown").stdout
    assert "proc.name" in told("--list").stdout
    assert "proc.name" not in told("--list=k8s_audit").stdout
    assert "ka.verb" in told("--list", "k8s_audit", "-N").stdout.splitlines()
    assert "proc.name" in json.loads(told("--list", "-N", "--format", "json").stdout)["fieldnames"]
    assert json.loads(told("--list", "--format=json").stdout)["fieldclasses"][0]["fields"]
    assert "there is syscall" in told("--list=nothing", status=2).output


# ---- what is told of a configuration ----


def test_versions(config: Path) -> None:
    text = told("--version").stdout
    assert [line.split(":")[0].strip() for line in text.splitlines()] == [
        "Falco version", "Libs version", "Plugin API", "Engine", "Driver", "API version", "Schema version", "Default driver"]
    row = json.loads(told("-c", config, "-o", "json_output=true", "--version").stdout)
    assert row["engine_version_semver"] == "0.63.0"


def test_rule_files_are_validated(tmp_path: Path, config: Path) -> None:
    bad = tmp_path / "bad.yaml"
    bad.write_text("- rule: x\n  desc: d\n  condition: no.field = 1\n  output: o\n  priority: INFO\n")
    assert f"{tmp_path}/rules.yaml: Ok" in told("-V", tmp_path / "rules.yaml").stdout
    done = told("-V", tmp_path / "rules.yaml", "--validate", bad, status=1)
    assert f"{bad}: Invalid" in done.stdout
    row = json.loads(told("-c", config, "-o", "json_output=true", "-V", bad, status=1).stdout)
    assert row["falco_load_results"][0]["successful"] is False


def test_rules_are_described(config: Path) -> None:
    assert "Program started  [Notice]" in told("-c", config, "-L").stdout
    assert "A shell was started." in told("-c", config, "-l", "Shell").stdout
    row = json.loads(told("-c", config, "-o", "json_output=true", "-L").stdout)
    assert [rule["info"]["name"] for rule in row["rules"]] == ["Program started", "Shell", "Audit"]
    assert "did you mean 'Shell'" in told("-c", config, "-l", "Shel", status=1).output


def test_plugins(config: Path) -> None:
    assert "Name: k8saudit" in told("-c", config, "--list-plugins").stdout
    assert "http://:9765/k8s-audit" in told("--plugin-info", "k8saudit").stdout
    assert "did you mean 'container'" in told("--plugin-info", "containr", status=1).output


def test_support(config: Path) -> None:
    row = json.loads(told("-c", config, "-o", "http_output.url=http://me:secret@host/", "--support").stdout)
    assert row["system_info"]["release"] == platform.release()
    assert row["config"]["stdout_output"] == {"enabled": True}
    assert "secret" not in json.dumps(row["config"])
    assert row["rules_files"][0]["variants"][0]["content"] == RULES
    secrets = ("-o", "http_output.url=http://me:secret@host/", "-opriority=info", "--option=slack_output={webhook_url: https://x/secret}")
    row = json.loads(command("-c", config, *secrets, "--support").stdout)
    assert "secret" not in json.dumps(row)
    assert "-o http_output.url=*** -opriority=*** --option=slack_output=*** --support" in row["cmdline"]


def test_dry_run(config: Path, tmp_path: Path) -> None:
    command("-c", config, "--dry-run")
    (tmp_path / "rules.yaml").write_text("- rule: x\n")
    assert "rules.yaml:1:" in command("-c", config, "--dry-run", status=1).stderr


# ---- a run ----


def test_a_run_with_falco_yaml(config: Path, attack1: Path) -> None:
    done = command("-c", config, "-o", "engine.kind=replay", "-o", f"engine.replay.capture_file={attack1}")
    assert ": Notice program " in done.stdout
    assert f"Configuration: {config} | schema validation: ok" in done.stderr
    assert all(line[3:4] == " " and line[24:26] == ": " for line in done.stderr.splitlines() if "schema validation" in line)
    assert "Events detected: " in done.stderr


def test_formats_that_are_appended(config: Path, attack1: Path) -> None:
    for option in ("-p", "--print"):
        assert " pid=" in command("-c", config, "--capture", attack1, option, "pid=%proc.pid").stdout.splitlines()[0]
    for old in ("-pc", "-pk"):
        assert command("-c", config, "--capture", attack1, old).stdout.splitlines()[0].split("program ")[1].count(" ") == 0
    told = command("-c", config, "--capture", attack1, "-p", "%proc.nme", status=1).stderr
    assert "Error: -p: for rule " in told
    assert "did you mean" in told


def test_a_run_ends_after_some_seconds_and_has_a_pid_file(config: Path, tmp_path: Path) -> None:
    log = tmp_path / "audit.log"
    log.touch()
    pid_file = tmp_path / "pid"
    arguments = [sys.executable, "-m", "falcolib", "run", "-c", config, "--audit", f"file://{log}", "--disable-source", "syscall"]
    begun = time.monotonic()
    subprocess.run([*map(str, arguments), "-M", "1"], check=True, capture_output=True, timeout=PATIENCE)
    assert time.monotonic() - begun >= 1
    with subprocess.Popen([*map(str, arguments), "-P", str(pid_file)], stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        try:
            until(lambda: pid_file.exists() and pid_file.read_text())
            assert int(pid_file.read_text()) == process.pid
        finally:
            process.send_signal(signal.SIGTERM)
            process.communicate(timeout=PATIENCE)
        assert process.returncode == 0
    assert not pid_file.exists()


def test_sources_are_chosen(config: Path) -> None:
    both = ("--enable-source", "syscall", "--disable-source", "syscall")
    assert "can't be given together" in command("-c", config, *both, status=1).stderr
    assert "there is no source 'nothing'" in command("-c", config, "--enable-source", "nothing", status=1).stderr
    assert "no source of events is on" in command("-c", config, "--disable-source", "syscall", status=1).stderr


@pytest.mark.parametrize(("text", "says"), [
    ("json_output: maybe\n", "falco.yaml:1:14: json_output: expected true or false"),
    ("rules_files: [/none.yaml]\n", "falco.yaml:1:1: rules_files: there are no rules"),
    ("engine: {kind: replay}\nrules_files: [RULES]\n",
     "falco.yaml:1:1: engine.replay.capture_file: engine.kind is replay: name the capture"),
    ("load_plugins: [jsn]\nrules_files: [RULES]\nplugins: [{name: json, library_path: x}]\n",
     "falco.yaml:1:16: load_plugins[0]: jsn is not in plugins, which has json"),
    ("plugins:\n- {name: cloudtrail, library_path: x}\nrules_files: [RULES]\n",
     "falco.yaml:2:3: plugins[0]: cloudtrail: falcolib loads no libraries of plugins"),
    ("plugins: [{name: container, library_path: x, init_config: {labl: 1}}]\nrules_files: [RULES]\n",
     "falco.yaml:1:11: plugins[0]: container: labl is"),
    ("plugins: [{name: k8saudit, library_path: x, init_config: {maxEventSize: big}}]\nrules_files: [RULES]\n",
     "falco.yaml:1:11: plugins[0]: k8saudit: init_config.maxEventSize: expected a number of bytes"),
    ("capture: {enabled: true, path_prefix: /none/x}\nrules_files: [RULES]\n",
     "falco.yaml:1:26: capture.path_prefix: there is no folder /none"),
    (f"plugins: [{{name: k8saudit, library_path: x, init_config: {{maxEventSize: {10**20}}}}}]\nrules_files: [RULES]\n",
     "falco.yaml:1:11: plugins[0]: k8saudit: init_config.maxEventSize: expected a number of bytes"),
    ("plugins: [{name: k8saudit, library_path: x, open_params: /none}]\nrules_files: [RULES]\nengine: {kind: nodriver}\n",
     "falco.yaml:1:11: plugins[0]: k8saudit: open_params: /none: No such file or directory"),
    ("plugins: [{name: k8saudit, library_path: x, open_params: 'https://:0/', init_config: {sslCertificate: /none}}]\n"
     "rules_files: [RULES]\nengine: {kind: nodriver}\n",
     "falco.yaml:1:11: plugins[0]: k8saudit: init_config.sslCertificate: /none: No such file or directory"),
    ("rules_files: [RULES]\nwebserver: {enabled: true, listen_port: 0, ssl_enabled: true, ssl_certificate: /none}\n",
     "falco.yaml:2:63: webserver.ssl_certificate: /none: No such file or directory"),
    ("rules_files: [RULES]\nwebserver: {enabled: true, listen_port: 0, listen_address: 192.0.2.77}\n",
     "falco.yaml:2:44: webserver.listen_address: 192.0.2.77:0: "),
    ("rules_files: [RULES]\nengine: {kind: nodriver}\nhttp_output: {enabled: true}\n"
     "plugins: [{name: k8saudit, library_path: x, open_params: 'file:///none'}]\n",
     "falco.yaml:3:1: http_output.url: '' is no http:// or https:// URL"),
    ("rules_files: [RULES]\nengine: {kind: nodriver}\nmetrics: {enabled: true, output_file: /none/x}\n"
     "plugins: [{name: k8saudit, library_path: x, open_params: 'file:///none'}]\n",
     "falco.yaml:3:26: metrics.output_file: /none/x: No such file or directory"),
    ("append_output: [{extra_output: '%no.field'}]\nrules_files: [RULES]\nengine: {kind: nodriver}\n",
     "falco.yaml:1:1: append_output: for rule 'Program started': unknown filter: no.field"),
])  # fmt: skip
def test_a_bad_configuration_ends_the_command_with_status_1(tmp_path: Path, config: Path, text: str, says: str) -> None:
    config.write_text(text.replace("RULES", f"{tmp_path}/rules.yaml"))
    assert says in command("-c", config, "-o", "log_stderr=true", "-o", "log_syslog=false", status=1).stderr


def test_a_missing_file_ends_the_command_with_status_1(tmp_path: Path) -> None:
    assert "none.yaml: No such file" in command("-c", tmp_path / "none.yaml", status=1).stderr
