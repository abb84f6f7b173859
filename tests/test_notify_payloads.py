# SPDX-License-Identifier: Apache-2.0
"""What is sent to each service: payloads as they must be, limits that are kept, values that stay text."""

import json
import os
import time
from pathlib import Path

import msgspec
import pytest

from conftest import CONFORMANCE
from falcolib import Priority
from falcolib.outputs import notify
from falcolib.outputs.notify.base import SettingError
from falcolib.outputs.notify.notification import cut
from notifying import ALERT, LEAST, Told, least, made, payload

pytestmark = pytest.mark.daemon

GOLDEN = Path(__file__).parent / "golden" / "notify"
HOOK = "https://hooks.example/T0/B0/secret"

#: Settings whose payload for ALERT is kept in golden/notify.
CASES = {
    "slack": ("slack_output", {"message_format": "<!here> {{ .Rule }} {{ index .OutputFields \"proc.cmdline\" }}", "channel": "#security",
                               "icon": "https://example.org/i.png"}),
    "slack_text": ("slack_output", {"output_format": "text"}),
    "slack_fields": ("slack_output", {"output_format": "fields", "footer": "", "custom_fields": {"cluster": "a"}, "custom_tags": ("mine",),
                                      "templated_fields": {"who": "{{ index .OutputFields \"proc.pid\" }}@{{ .Hostname }}"}}),
    "mattermost": ("mattermost_output", {}),
    "rocketchat": ("rocketchat_output", {}),
    "teams": ("teams_output", {}),
    "teams_message_card": ("teams_output", {"card": "message", "message_format": "{{ priority }}: {{ rule }}"}),
    "discord": ("discord_output", {"message_format": "**{{ rule }}** {{ fields['proc.cmdline'] }}"}),
    "webhook": ("webhook_output", {}),
    "webhook_template": ("webhook_output", {"template": json.dumps({
        "text": "{{ .Priority }}: {{ .Output }}", "pid": "{{ fields['proc.pid'] }}", "all": "{{ .OutputFields }}", "none": None, "n": 1,
        "list": ["{{ .Rule }}", True]})}),
    "alertmanager": ("alertmanager_output", {"labels": {"cluster": "a"},
                                             "annotations": {"runbook": "https://runbooks.example/{{ rule | urlquery }}"}}),
    "loki": ("loki_output", {"labels": {"cluster": "a"}, "label_fields": ("proc.aname[2]",)}),
    "loki_json": ("loki_output", {"format": "json"}),
    "elasticsearch": ("elasticsearch_output", {"pipeline": "p"}),
    "elasticsearch_flat": ("elasticsearch_output", {"flatten_fields": True, "suffix": "none", "index": "logs-falco", "data_stream": True}),
    "otlp": ("otlp_output", {"resource_attributes": {"k8s.cluster.name": "a"}}),
    "pagerduty": ("pagerduty_output", {"component": "{{ fields['proc.aname[2]'] }}", "group": "web"}),
}


@pytest.mark.parametrize("name", CASES)
def test_payloads(name):
    key, more = CASES[name]
    told = json.loads(json.dumps(payload(least(key, **more))))
    if key == "otlp_output":        # the time that it was observed
        for record in told["resourceLogs"][0]["scopeLogs"][0]["logRecords"]:
            assert abs(int(record.pop("observedTimeUnixNano")) - time.time_ns()) < 3600 * 10**9
    file = GOLDEN / f"{name}.json"
    if os.environ.get("WRITE_GOLDEN"):
        file.parent.mkdir(exist_ok=True)
        file.write_text(json.dumps(told, indent=1, ensure_ascii=False) + "\n", "utf-8")
    assert told == json.loads(file.read_text("utf-8"))


@pytest.mark.conformance
def test_falcosidekicks_own_example_of_slack():
    """Exactly; but numbers are shown, too: proc.tty."""
    case = json.loads((CONFORMANCE / "kubernetes/falcosidekick/slack_case.json").read_text())
    expected, config = case["expected"], case["config"]
    assert config["outputformat"] == ""
    told = payload(made("slack_output", webhook_url=HOOK, username=config["username"], message_format=config["messageformat"],
                        icon=expected["icon_url"], footer=expected["attachments"][0]["footer"]), case["input"])
    fields = expected["attachments"][0]["fields"]
    fields.insert([field["title"] for field in fields].index("proc.name") + 1, {"title": "proc.tty", "value": "1234", "short": True})
    assert told == expected
    assert list(told) == ["text", "username", "icon_url", "attachments"]


@pytest.mark.parametrize("priority", list(Priority))
def test_every_priority_has_its_colour_and_severity(priority):
    alert = {**ALERT, "priority": str(priority), "output": f"x: {priority} y"}
    (attachment,) = payload(least("slack_output"), alert)["attachments"]
    assert attachment["color"] == {
        "Emergency": "#e20b0b", "Alert": "#ff5400", "Critical": "#ff5400", "Error": "#e20b0b", "Warning": "#ffc700", "Notice": "#5bffb5",
        "Informational": "#68c2ff", "Debug": "#ccfff2"}[str(priority)]
    record = payload(least("otlp_output"), alert)["resourceLogs"][0]["scopeLogs"][0]["logRecords"][0]
    assert record["severityText"] == str(priority)
    assert record["severityNumber"] == [21, 19, 18, 17, 13, 10, 9, 5][priority]
    event = payload(least("pagerduty_output"), alert)["payload"]
    assert event["severity"] == ["critical", "critical", "critical", "error", "warning", "info", "info", "info"][priority]
    head = payload(least("teams_output"), alert)["attachments"][0]["content"]["body"][0]
    assert head["style"] == ["attention", "attention", "attention", "attention", "warning", "accent", "accent", "default"][priority]


# ---- limits ----

HUGE = {**ALERT, "hostname": "h" * 300, "rule": "R" * 500, "output": "12:00:00.123456789: Critical " + "<é😀>" * 20000,
        "output_fields": {f"a.field{n:03}": "<&*😀" * 5000 for n in range(300)}}


def units(text):
    return len(text.encode("utf-16-le")) // 2


def test_slack_takes_3000_characters():
    (attachment,) = payload(least("slack_output"), {**HUGE, "output": "x" * 9999})["attachments"]
    assert len(attachment["text"]) == 3000
    assert attachment["text"].endswith("x…")
    assert max(len(field["value"]) for field in payload(least("slack_output"), HUGE)["attachments"][0]["fields"]) < 2000 * 5 + 10


@pytest.mark.parametrize("alert", [HUGE, {**HUGE, "output_fields": {f"f.{n}": "short" for n in range(30)}}, ALERT])
def test_discord_takes_6000_characters_and_25_fields(alert):
    told = payload(least("discord_output", message_format="{{ output }}"), alert)
    (embed,) = told["embeds"]
    assert units(told["content"]) <= 2000
    assert units(embed["description"]) <= 4096
    assert len(embed["fields"]) <= 25
    assert all(0 < units(field["name"]) <= 256 and 0 < units(field["value"]) <= 1024 for field in embed["fields"])
    texts = [embed["description"], embed["footer"]["text"], *(field[part] for field in embed["fields"] for part in ("name", "value"))]
    assert sum(map(units, texts)) <= 6000
    if alert is not ALERT:
        shown = len(embed["fields"]) - 1
        assert embed["fields"][-1] == {"name": "…", "value": f"and {len(alert['output_fields']) + 6 - shown} more", "inline": False}


@pytest.mark.parametrize("card", ["adaptive", "message"])
@pytest.mark.parametrize("fields", [0, 1, 30, 300, 5000])
def test_teams_takes_28_kb(card, fields):
    alert = {**HUGE, "output_fields": {f"a.field{n:03}": "<&*😀" * 5000 for n in range(fields)}}
    told = payload(least("teams_output", card=card), alert)
    size = len(msgspec.json.encode(told))
    assert size <= 28 * 1024
    if 0 < fields < 300:
        assert b"a.field000" in msgspec.json.encode(told)       # shortened, not left out


def test_pagerduty_takes_1024_characters_and_512_kb():
    told = payload(least("pagerduty_output", dedup_key="{{ output }}"), HUGE)
    assert len(told["payload"]["summary"]) <= 1024
    assert len(told["dedup_key"]) <= 255
    assert len(told["payload"]["source"]) == 255
    other = payload(least("pagerduty_output", dedup_key="{{ output }}"), {**HUGE, "output": HUGE["output"] + "!"})
    assert other["dedup_key"] != told["dedup_key"]
    many = {**HUGE, "output_fields": {f"f.{n}": "x" * 9999 for n in range(1000)}}
    assert len(msgspec.json.encode(payload(least("pagerduty_output"), many))) < 512 * 1024


@pytest.mark.parametrize(("text", "limit", "kept"), [
    ("abc", 3, "abc"), ("abcd", 3, "ab…"), ("😀😀", 4, "😀😀"), ("😀😀x", 4, "😀…"), ("ab", 0, ""), ("", 0, "")])
def test_cut(text, limit, kept):
    assert cut(text, limit) == kept
    assert units(cut(text, limit)) <= limit


# ---- values stay text ----


def test_nobody_is_mentioned_by_an_alert():
    slack = json.dumps(payload(least("slack_output")))
    assert "<!" not in slack
    mattermost = json.dumps(payload(least("mattermost_output")), ensure_ascii=False)
    assert "@everyone" not in mattermost
    assert "[x](" not in mattermost
    discord = payload(least("discord_output"))
    assert discord["allowed_mentions"] == {"parse": []}
    assert "[x](" not in json.dumps(discord)
    assert all("[x](" not in fact["value"] for fact in payload(least("teams_output"))["attachments"][0]["content"]["body"][2]["facts"])


@pytest.mark.parametrize(("kind", "template", "body"), [
    ("text/plain", "{{ .Rule }}: {{ fields['proc.cmdline'] }}", 'Shell of a server: sh -c <!channel> & [x](http://evil) @everyone "'),
    ("text/html", "<b>{{ fields['proc.cmdline'] }}</b>", "<b>sh -c &lt;!channel&gt; &amp; [x](http://evil) @everyone &quot;</b>"),
    ("application/x-www-form-urlencoded", "a={{ rule }}&b={{ fields['proc.cmdline'] }}",
     "a=Shell+of+a+server&b=sh+-c+%3C%21channel%3E+%26+%5Bx%5D%28http%3A%2F%2Fevil%29+%40everyone+%22"),
    ("application/json", '{"a": "{{ fields[\'proc.cmdline\'] }} x"}', '{"a":"sh -c <!channel> & [x](http://evil) @everyone \\" x"}'),
])
def test_bodies_of_webhooks(kind, template, body):
    output = least("webhook_output", content_type=kind, template=template)
    assert output.body([output.notification(Told(ALERT))]).decode() == body


def test_half_a_surrogate_pair_is_sent_as_json_can_tell_it():
    alert = {**ALERT, "output_fields": {"proc.name": "\ud800", "big": 1 << 80}}
    for key in LEAST:
        output = least(key)
        output.body([output.notification(Told(alert))]).decode("utf-8")


# ---- settings ----


@pytest.mark.parametrize(("key", "settings", "error"), [
    ("slack_output", {}, "slack_output.webhook_url: expected a value"),
    ("slack_output", {"webhook_url": "hooks.slack.com/x"}, "slack_output.webhook_url: expected http:// or https://"),
    ("slack_output", {"webhook_url": HOOK, "message_format": "{{ .Roole }}"}, r"slack_output.message_format: line 1: \.Roole"),
    ("slack_output", {"webhook_url": HOOK, "ca_cert": "/no/such.pem"}, "slack_output.ca_cert: /no/such.pem: No such file"),
    ("webhook_output", {"url": HOOK, "template": "{{ .Output }}"}, "webhook_output.template: expected JSON with templates in its texts"),
    ("webhook_output", {"url": HOOK, "content_type": "text/plain", "batch": 2}, "webhook_output.batch: only JSON"),
    ("alertmanager_output", {"url": HOOK, "labels": {"a-b": "c"}}, "'a-b' can't be the name of a label; 'a_b' can"),
    ("elasticsearch_output", {"url": HOOK, "index": "Falco"}, "elasticsearch_output.index: 'Falco' can't be"),
    ("elasticsearch_output", {"url": HOOK, "data_stream": True}, "elasticsearch_output.suffix: a data stream has none"),
    ("kafka_output", {"topic": "t"}, "kafka_output.brokers: expected a value"),
    ("kafka_output", {"brokers": ("a:1",)}, "kafka_output.topic: expected a value"),
    ("smtp_output", {"host": "h", "sender": "a@b.c", "recipients": ("a@b.c\nBcc: x@y.z",)}, "is no mail address"),
    ("smtp_output", {"host": "h", "sender": "nobody", "recipients": ("a@b.c",)}, "smtp_output.sender: 'nobody' is no mail address"),
    ("smtp_output", {"host": "h", "sender": "a@b.c", "recipients": ("a@b.c",), "security": "none", "username": "u", "password": "p"},
     "smtp_output.security: a password isn't sent"),
    ("pagerduty_output", {}, "pagerduty_output.routing_key: expected a value"),
])
def test_settings_that_can_not_be_used(key, settings, error):
    with pytest.raises(SettingError, match=error) as raised:
        made(key, **settings)
    assert "secret" not in str(raised.value)


def test_a_library_that_is_missing_is_told_with_what_to_install(monkeypatch):
    import sys

    monkeypatch.setitem(sys.modules, "confluent_kafka", None)
    with pytest.raises(SettingError, match=r"kafka_output.enabled: needs confluent_kafka, .*; pip install 'falcolib\[kafka\]'"):
        made("kafka_output", brokers=("127.0.0.1:1",), topic="t")
    monkeypatch.setitem(sys.modules, "opentelemetry.proto.collector.logs.v1.logs_service_pb2", None)
    with pytest.raises(SettingError, match=r"otlp_output.protocol: needs .*; pip install 'falcolib\[otlp\]'"):
        made("otlp_output", endpoint="http://127.0.0.1:1", protocol="http/protobuf")


@pytest.mark.parametrize("key", notify.OUTPUTS)
def test_secrets_are_not_shown(key):
    from falcolib.config.keys import fields

    group, _, _ = notify.OUTPUTS[key]
    secrets = [name for name, row in fields(group).items() if row.key.secret]
    settings = group(**{name: {"x": "S3CRET"} if name == "headers" else "S3CRET" for name in secrets})
    assert "S3CRET" not in repr(settings)
    assert secrets
