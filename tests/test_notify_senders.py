# SPDX-License-Identifier: Apache-2.0
"""Notifications are sent: requests as servers see them, what is done about their answers."""

import json
import os
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from falcolib.outputs import Retry, Undelivered, notify
from falcolib.outputs.notify.slack import escape
from messages import Kept, message, patient, until
from notifying import LEAST, least, settings
from receivers import HttpReceiver

pytestmark = pytest.mark.daemon

ATTACK = Path(__file__).parent / "data" / "attack1.scap"


@pytest.fixture
def receiver():
    with HttpReceiver() as receiver:
        yield receiver


#: Where each is sent to, and with which headers; what is told of the settings.
PLACES = {
    "slack_output": ("/hook", {}, {}),
    "mattermost_output": ("/hook", {}, {}),
    "rocketchat_output": ("/hook", {}, {}),
    "teams_output": ("/hook", {}, {}),
    "discord_output": ("/hook", {}, {}),
    "webhook_output": ("/hook", {"x-a": "b", "content-type": "application/json"}, {"headers": {"X-A": "b"}}),
    "alertmanager_output": ("/api/v2/alerts", {"authorization": "Basic dTpw"}, {"username": "u", "password": "p"}),
    "loki_output": ("/loki/api/v1/push", {"x-scope-orgid": "t", "authorization": "Bearer k"}, {"tenant": "t", "api_key": "k"}),
    "elasticsearch_output": ("/_bulk", {"authorization": "ApiKey k", "content-type": "application/x-ndjson"}, {"api_key": "k"}),
    "otlp_output": ("/v1/logs", {"x-a": "b"}, {"headers": {"X-A": "b"}}),
    "pagerduty_output": ("/v2/enqueue", {}, {}),
}


def took_all(request):
    """The answer of a bulk API to documents that it took; others don't look at it."""
    items = [{"create": {"status": 201}} for line in request.body.splitlines() if line.startswith(b'{"create"')]
    return 200, {}, json.dumps({"errors": False, "items": items}).encode()


@pytest.mark.parametrize("key", LEAST)
def test_requests(receiver, key):
    receiver.answer = took_all
    path, headers, more = PLACES[key]
    with patient([least(key, receiver.url, **more)]) as outputs:
        for n in range(3):
            outputs.emit(message(n))
    assert outputs.counts()[key.removesuffix("_output")].delivered == 3
    for request in receiver.requests:
        assert (request.method, request.path.partition("?")[0]) == ("POST", path)
        assert headers.items() <= request.headers.items()
        assert all(json.loads(line) for line in (request.body.splitlines() if key == "elasticsearch_output" else [request.body]))
    told = b"\n".join(request.body for request in receiver.requests)
    assert all(b"A thing was done %d" % n in told for n in range(3))
    assert len({request.connection for request in receiver.requests}) == 1


def test_a_webhook_has_another_method(receiver):
    least("webhook_output", receiver.url, method="PUT", batch=10).send([message(1), message(2)])
    (request,) = receiver.requests
    assert request.method == "PUT"
    assert [alert["rule"] for alert in request.json()] == ["A rule", "A rule"]


def test_slack_is_asked_again_when_it_says_so(receiver):
    """429 with Retry-After, as Slack limits webhooks to a message a second."""
    receiver.mode, receiver.status, receiver.retry_after = "status", 429, "1"
    outputs = patient([notify.channel(least("slack_output", receiver.url), settings("slack_output"), retry=Retry(first=1000, most=1000))])
    begun = time.monotonic()
    outputs.emit(message())
    until(lambda: receiver.seen == 1)
    receiver.mode = "ok"
    until(lambda: len(receiver.requests) == 1)
    assert time.monotonic() - begun >= 0.9
    outputs.drain()
    counts = outputs.counts()["slack"]
    assert (counts.delivered, counts.failed, counts.retried) == (1, 1, 1)


@pytest.mark.parametrize("key", LEAST)
@pytest.mark.parametrize(("status", "retry"), [(400, False), (404, False), (429, True), (500, True), (503, True)])
def test_statuses(receiver, key, status, retry):
    receiver.mode, receiver.status = "status", status
    with pytest.raises(Undelivered, match=f"status {status}") as error:
        least(key, receiver.url).send([message()])
    assert error.value.retry is retry
    assert "hook" not in str(error.value)


def test_a_connector_of_teams_says_in_its_text_that_it_refused(receiver):
    receiver.answer = lambda _: (200, {}, b"Webhook message delivery failed with error: Microsoft endpoint returned HTTP error 429 with x")
    output = least("teams_output", receiver.url, card="message")
    with pytest.raises(Undelivered, match="Teams answered 429") as error:
        output.send([message()])
    assert error.value.retry
    receiver.answer = lambda _: (200, {}, b"... returned HTTP error 413 with ContextId x")
    with pytest.raises(Undelivered) as error:
        output.send([message()])
    assert not error.value.retry
    receiver.answer = lambda _: (200, {}, b"1")
    output.send([message()])


def test_elasticsearch_takes_some_documents_and_refuses_others(receiver):
    """One is there already, one is asked to be sent again, one is refused for good."""
    seen = {}

    def answer(request):
        items = []
        for line in request.body.splitlines()[::2]:
            name = json.loads(line)["create"]["_id"]
            seen[name] = seen.get(name, 0) + 1
            at = list(seen).index(name)
            status = {0: 201, 1: 409, 2: 429 if seen[name] == 1 else 201, 3: 400}.get(at, 201)
            error = {"error": {"type": "mapper_parsing_exception", "reason": "no"}} if status >= 400 else {}
            items.append({"create": {"status": status, **error}})
        return 200, {}, json.dumps({"errors": True, "items": items}).encode()

    receiver.answer = answer
    output = least("elasticsearch_output", receiver.url)
    channel = notify.channel(output, settings("elasticsearch_output"), retry=Retry(first=0.01, most=0.01))
    first = Kept()
    outputs = patient([first, channel])
    output.send = _held(output.send, gate := threading.Event())
    for n in range(6):
        outputs.emit(message(n))
    gate.set()
    outputs.drain()
    counts = channel.counts()
    assert (counts.emitted, counts.delivered, counts.dropped, counts.queued) == (6, 5, 1, 0)
    assert max(seen.values()) <= 3


def _held(send, gate):
    def held(messages):
        gate.wait()
        send(messages)
    return held


@pytest.mark.parametrize("body", [
    b"", b"{}", b"[1]", b"ok", b'{"errors": true}', b'{"errors": true, "items": []}', b'{"errors": true, "items": [3]}'])
def test_what_is_no_bulk_api_is_told(receiver, body):
    receiver.answer = lambda _: (200, {}, body)
    with pytest.raises(Undelivered, match="the answer is") as error:
        least("elasticsearch_output", receiver.url).send([message()])
    assert not error.value.retry


def test_answers_to_many_documents_are_read_whole(receiver):
    """500 refusals with long reasons."""
    def answer(request):
        error = {"type": "mapper_parsing_exception", "reason": "x" * 2000}
        return 200, {}, json.dumps({"errors": True, "items": [{"create": {"status": 400, "error": error}}
                                                              for _ in request.body.splitlines()[::2]]}).encode()

    receiver.answer = answer
    with pytest.raises(Undelivered, match="500 of 500 documents refused: 400 mapper_parsing_exception: xxx") as error:
        least("elasticsearch_output", receiver.url).send([message(n) for n in range(500)])
    assert len(error.value.left) == 500


@pytest.mark.parametrize("protocol", ["http/json", "http/protobuf"])
def test_opentelemetry_as_json_and_protobuf(receiver, protocol):
    from google.protobuf.json_format import Parse
    from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import ExportLogsServiceRequest, ExportLogsServiceResponse

    output = least("otlp_output", receiver.url, protocol=protocol)
    output.send([message(1), message(2)])
    (request,) = receiver.requests
    if protocol == "http/json":     # what the official classes read is what was meant
        told = Parse(request.body, ExportLogsServiceRequest())
        assert request.headers["content-type"] == "application/json"
    else:
        told = ExportLogsServiceRequest.FromString(request.body)
        assert request.headers["content-type"] == "application/x-protobuf"
    (resource,) = told.resource_logs
    assert {a.key: a.value.string_value for a in resource.resource.attributes} == {"service.name": "falcolib", "host.name": "host"}
    records = resource.scope_logs[0].log_records
    assert [r.time_unix_nano for r in records] == [message(1).time, message(2).time]
    assert [r.severity_text for r in records] == ["Warning", "Warning"]
    assert {a.key: a.value.int_value for a in records[0].attributes if a.value.HasField("int_value")} == {"n": 1}
    refused = ExportLogsServiceResponse()
    refused.partial_success.rejected_log_records, refused.partial_success.error_message = 1, "too old"
    from google.protobuf.json_format import MessageToJson

    receiver.answer = lambda _: (200, {}, MessageToJson(refused).encode() if protocol == "http/json" else refused.SerializeToString())
    with pytest.raises(Undelivered, match="1 of 2 records refused: too old") as error:
        output.send([message(1), message(2)])
    assert len(error.value.left) == 1
    receiver.answer = lambda _: (200, {}, b"\xff\xff")
    output.send([message()])


def test_secrets_are_not_in_errors(receiver):
    receiver.mode = "refuse"
    for key in LEAST:
        with pytest.raises(Undelivered) as error:
            least(key, receiver.url).send([message()])
        assert "hook" not in str(error.value)
        assert "R0" not in str(error.value)


def test_a_run_sends_its_alerts(receiver, tmp_path):
    """falcolib run -c falco.yaml: Slack, a webhook and Loki beside standard output."""
    (tmp_path / "rules.yaml").write_text("""
- rule: Program started
  desc: For tests
  condition: evt.type = execve
  output: started %proc.cmdline
  priority: WARNING
  tags: [mine]
""")
    (tmp_path / "falco.yaml").write_text(f"""
rules_files: [{tmp_path}/rules.yaml]
json_output: true
stdout_output: {{enabled: true}}
outputs_queue: {{drain_timeout: 2m}}
slack_output:
  enabled: true
  webhook_url: {receiver.url}/slack/${{TOKEN}}
  tags: [mine]
  message_format: "{{{{ .Rule }}}}"
webhook_output: {{enabled: true, url: {receiver.url}/hook, minimum_priority: error}}
loki_output: {{enabled: true, url: {receiver.url}, batch: 50, group_window: 1h, group_by: [rule]}}
""")
    run = subprocess.run([sys.executable, "-m", "falcolib", "run", "-c", tmp_path / "falco.yaml", "--capture", ATTACK],
                         env={**os.environ, "TOKEN": "t0ken"}, capture_output=True, text=True, timeout=120)
    assert run.returncode == 0, run.stderr
    alerts = [escape(json.loads(line)["output"]) for line in run.stdout.splitlines()]
    slack = [request.json() for request in receiver.requests if request.path == "/slack/t0ken"]
    assert [told["attachments"][0]["fallback"] for told in slack] == alerts
    assert {told["text"] for told in slack} == {"Program started"}
    assert not [request for request in receiver.requests if request.path == "/hook"]
    lines = [line for request in receiver.requests if request.path == "/loki/api/v1/push"
             for stream in request.json()["streams"] for _, line in stream["values"]]
    assert len(lines) == 2
    assert lines[1].endswith(f"(and {len(alerts) - 2} more like it in 1 h)")
    assert "t0ken" not in run.stderr


@pytest.mark.parametrize(("settings", "error", "dry"), [
    ("slack_output:\n  enabled: true", "falco.yaml:3:1: slack_output.webhook_url: expected a value", False),
    ("slack_output:\n  enabled: true\n  webhook_url: 'http://127.0.0.1:1/'\n  message_format: '{{ .Nope }}'",
     "falco.yaml:6:3: slack_output.message_format: line 1: .Nope", False),
    ("webhook_output: {enabled: true, url: 'http://127.0.0.1:1/', templated_fields: {a: '{{ if }}'}}",
     "falco.yaml:3:80: webhook_output.templated_fields.a: line 1: expected a value", True),
])
def test_a_run_does_not_begin_with_settings_that_can_not_be_used(tmp_path, settings, error, dry):
    (tmp_path / "rules.yaml").write_text("- rule: x\n  desc: y\n  condition: evt.type = execve\n  output: z\n  priority: WARNING\n")
    (tmp_path / "falco.yaml").write_text(f"rules_files: [{tmp_path}/rules.yaml]\nstdout_output: {{enabled: true}}\n{settings}\n")
    run = subprocess.run([sys.executable, "-m", "falcolib", "run", "-c", tmp_path / "falco.yaml",
                          *(["--dry-run"] if dry else ["--capture", ATTACK])], capture_output=True, text=True, timeout=120)
    assert run.returncode == 1
    assert f"Error: {tmp_path}/{error}" in run.stderr
    assert not run.stdout


def test_a_setting_that_is_not_known_is_told_with_the_nearest(tmp_path):
    (tmp_path / "falco.yaml").write_text("log_stderr: true\nlog_syslog: false\nslack_output: {enabled: false, webhookurl: x}\n")
    run = subprocess.run([sys.executable, "-m", "falcolib", "run", "-c", tmp_path / "falco.yaml", "--capture", ATTACK, "-r", ATTACK.parent /
                          "explain/rules.yaml"], capture_output=True, text=True, timeout=120)
    assert "slack_output.webhookurl" in run.stderr
    assert "webhook_url" in run.stderr
