# SPDX-License-Identifier: Apache-2.0
"""Every key of the outputs that notify changes what is sent, or how; and hostile alerts and templates break none."""

import re
import ssl
import subprocess

import pytest
from hypothesis import given
from hypothesis import settings as limits
from hypothesis import strategies as st

from falcolib import Priority
from falcolib.config.keys import fields
from falcolib.config.notifications import HttpNotifier, Notifier
from falcolib.outputs import Undelivered, notify
from falcolib.outputs.notify.notification import Notification
from falcolib.outputs.notify.templates import Template, TemplateError
from messages import Kept, message
from notifying import ALERT, LEAST, Told, least
from receivers import HttpReceiver

pytestmark = pytest.mark.daemon

HTTP = set(fields(HttpNotifier))
S = 10**9

#: Another value of each key than that of test_notify_payloads' least settings; what others are needed for it is in a tuple with it.
CHAT = {"webhook_url": "http://127.0.0.1:2/", "output_format": "text", "message_format": "{{ rule }}"}
SLACK = {**CHAT, "channel": "#x", "username": "x", "icon": "https://example.org/x", "footer": "x"}
OTHER = {
    "slack_output": SLACK,
    "mattermost_output": SLACK,
    "rocketchat_output": SLACK,
    "teams_output": {**CHAT, "card": "message", "message_format": "{{ priority }}"},
    "discord_output": {**CHAT, "username": "x", "icon": "https://example.org/x", "footer": "x"},
    "webhook_output": {"url": "http://127.0.0.1:2/", "method": "PUT", "headers": {"A": "b"}, "content_type": "application/x+json",
                       "batch": 2, "template": '{"a": "{{ rule }}"}'},
    "alertmanager_output": {"url": "http://127.0.0.1:2/", "username": "x", "password": ("x", {"username": "y"}), "expires_after": S,
                            "labels": {"a": "b"}, "annotations": {"a": "b"}, "label_fields": ("proc.pid",), "batch": 2},
    "loki_output": {"url": "http://127.0.0.1:2/", "tenant": "x", "username": "x", "api_key": "x", "format": "json", "labels": {"a": "b"},
                    "label_fields": ("proc.pid",), "batch": 2},
    "elasticsearch_output": {"url": "http://127.0.0.1:2/", "index": "x", "suffix": "monthly", "pipeline": "x", "username": "x",
                             "data_stream": None, "password": ("x", {"username": "y"}), "api_key": "x", "flatten_fields": True, "batch": 2},
    "otlp_output": {"endpoint": "http://127.0.0.1:2/", "protocol": "http/protobuf", "headers": {"A": "b"}, "service_name": "x",
                    "resource_attributes": {"a": "b"}, "batch": 2},
    "pagerduty_output": {"url": "http://127.0.0.1:2/", "routing_key": "x", "region": ("eu", {"url": ""}), "dedup_key": "", "component": "x",
                         "group": "x"},
    "kafka_output": {"brokers": ("127.0.0.1:2",), "topic": "x", "key": "{{ rule }}", "partition": 3, "client_id": "x", "acks": "1",
                     "compression": "gzip", "tls": True, "insecure": (True, {"tls": True}), "ca_cert": (__file__, {"tls": True}),
                     "client_cert": (__file__, {"tls": True}), "client_key": (__file__, {"tls": True}), "timeout": 7 * S, "batch": 2,
                     "sasl_mechanism": ("PLAIN", {"username": "y", "password": "z"}),
                     "username": ("x", {"sasl_mechanism": "PLAIN", "username": "y", "password": "z"}),
                     "password": ("x", {"sasl_mechanism": "PLAIN", "username": "y", "password": "z"})},
    "smtp_output": {"host": "127.0.0.2", "port": 3, "security": "tls", "username": "x", "sender": "x@example.org",
                    "recipients": ("x@example.org",), "subject": "x", "output_format": "text", "batch": 2,
                    # seen by real servers, in test_notify_services.py
                    "insecure": None, "ca_cert": None, "password": None, "timeout": None},
}
BASE = {**LEAST, "kafka_output": {"brokers": ("127.0.0.1:1",), "topic": "t"},
        "smtp_output": {"host": "127.0.0.1", "sender": "a@example.org", "recipients": ("b@example.org",), "security": "none"}}
CASES = [(key, name) for key, others in OTHER.items() for name, other in others.items() if other is not None]


class Fake(Kept):
    """A producer that keeps what it is given."""

    def produce(self, *given, **more):
        given[4](None, None)
        self.produced = (*given[:4], more)


def seen(key, monkeypatch, /, **settings):
    """All that a receiver, or what connects to it, can tell of the settings."""
    group, _, _ = notify.OUTPUTS[key]
    base = {name: value.format(url="http://127.0.0.1:1") if isinstance(value, str) else value for name, value in BASE[key].items()}
    if key == "kafka_output":
        producers = []
        monkeypatch.setattr("confluent_kafka.Producer", lambda given, logger: producers.append(Fake(str(given))) or producers[-1])
        output = notify.output(key, group(**{**base, **settings}))
        output.send([Told(ALERT)])
        return repr((producers[0].name, producers[0].produced, output.batch))
    output = notify.output(key, group(**{**base, **settings}))
    note = output.notification(Told(ALERT))
    if key == "smtp_output":
        mail = output.mail([note])
        for header in ("Date", "Message-ID"):
            del mail[header]
        parts = [(part.get_content_type(), part.get_content()) for part in mail.walk() if not part.is_multipart()]
        return repr((output._host, output._port, output._tls is None, output._settings.username, mail.items(), parts, output.batch))
    client = output._client
    body = re.sub(rb'"observedTimeUnixNano":"\d+"|"endsAt":"([^"]+)"', lambda m: b"ends" if m[1] else b"", output.body([note]))
    binary = "x-protobuf" in client._headers["Content-Type"]
    return repr((client.url, client._headers, output._method, "binary" if binary else body.decode(), output.batch))


@pytest.mark.parametrize(("key", "name"), CASES)
def test_a_key_changes_what_is_sent(monkeypatch, key, name):
    other = OTHER[key][name]
    value, more = other if isinstance(other, tuple) and len(other) == 2 and isinstance(other[1], dict) else (other, {})
    without = {k: v for k, v in more.items() if k != name or name in ("username", "password")}
    assert seen(key, monkeypatch, **{**without, name: value}) != seen(key, monkeypatch, **without)


def test_every_key_is_tried():
    """data_stream is a check of suffix (test_notify_payloads.py); what all have is tried below and in test_notify_grouping.py."""
    for key, (group, _, _) in notify.OUTPUTS.items():
        common = HTTP if key in LEAST else set(fields(Notifier))
        assert set(OTHER[key]) - common == set(fields(group)) - common, key


@pytest.mark.parametrize("key", LEAST)
def test_what_is_added_to_each_alert(monkeypatch, key):
    """custom_fields, templated_fields and custom_tags."""
    more = {"label_fields": ("*", "a.field", "a.template")} if key == "loki_output" else {}
    plain = seen(key, monkeypatch, **more)
    assert "added" in seen(key, monkeypatch, custom_fields={"a.field": "added"}, **more).replace(plain, "")
    assert "syscall!" in seen(key, monkeypatch, templated_fields={"a.template": "{{ .Source }}!"}, **more)
    if key != "loki_output":        # lines of text have no tags
        assert "sometag" in seen(key, monkeypatch, custom_tags=("sometag",))


@pytest.mark.parametrize(("by", "alike"), [(("rule",), True), (("n",), False)])
def test_group_by(by, alike):
    group, _, _ = notify.OUTPUTS["slack_output"]
    kept = Kept()
    channel = notify.channel(kept, group(group_window=3600 * S, group_by=by, minimum_priority=Priority.WARNING))
    for n in range(5):
        channel.emit(message(n))
    counts = channel.counts()
    assert counts.queued + counts.delivered == 5
    channel.begin_drain(0)
    assert channel.counts().grouped == (3 if alike else 0)
    channel.end_drain()


@pytest.fixture(scope="module")
def certificates(tmp_path_factory):
    folder = tmp_path_factory.mktemp("certificates")
    for name in ("server", "client"):
        subprocess.run(["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-days", "2", "-subj",
                        f"/CN={name}", "-addext", "subjectAltName=IP:127.0.0.1", "-keyout", f"{name}.key", "-out", f"{name}.crt"],
                       cwd=folder, check=True, capture_output=True)
    return folder


@pytest.mark.parametrize("key", LEAST)
def test_certificates_and_timeout(certificates, key):
    """insecure, ca_cert, client_cert, client_key, timeout."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificates / "server.crt", certificates / "server.key")
    context.load_verify_locations(certificates / "client.crt")
    context.verify_mode = ssl.CERT_REQUIRED
    client = {"client_cert": str(certificates / "client.crt"), "client_key": str(certificates / "client.key")}
    server = {"ca_cert": str(certificates / "server.crt")}
    with HttpReceiver(context) as receiver:
        receiver.answer = lambda _: (200, {}, b'{"errors": false}')
        least(key, receiver.url, **client, **server).send([message()])
        least(key, receiver.url, **client, insecure=True).send([message()])
        with pytest.raises(Undelivered, match="certificate isn't trusted"):
            least(key, receiver.url, **client).send([message()])
        with pytest.raises(Undelivered):
            least(key, receiver.url, **server).send([message()])
        assert len(receiver.requests) == 2
        receiver.mode = "hang"
        with pytest.raises(Undelivered, match=r"no answer in time|connecting takes too long"):
            least(key, receiver.url, **client, **server, timeout=200 * 10**6).send([message()])


# ---- anything ----

TEXTS = st.text(max_size=60)
SIMPLE = st.none() | st.booleans() | st.integers() | st.floats() | TEXTS
VALUES = st.recursive(SIMPLE, lambda inner: st.lists(inner, max_size=3), max_leaves=5)
SOUP = st.lists(st.sampled_from([
    "{{", "}}", "{%", "%}", "{{-", "-}}", "{#", "#}", " ", ".", ".Rule", ".OutputFields", "$", "$x", ":=", "=", "|", "(", ")", '"', "`",
    "if", "else", "end", "range", "with", "index", "printf", "upper", "eq", "rule", "fields", "[", "]", "'", "1", "-", ",", "/*", "*/",
    "\n", "\\", "for x in tags", "endfor", "raw", "endraw", "set x", "__class__", "nil", "true"]) | TEXTS, max_size=14).map(" ".join)


@limits(max_examples=150, deadline=None)
@given(SOUP | SOUP.map(lambda text: "{{ " + text + " }}"))
def test_any_template_is_read_or_refused(source):
    try:
        template = Template(source)
    except TemplateError:
        return
    template.render(NOTE)
    template.value(NOTE)


NOTE = Notification.of(Told(ALERT))


@limits(max_examples=40, deadline=None)
@given(TEXTS, TEXTS, st.dictionaries(TEXTS, VALUES, max_size=5), st.lists(TEXTS, max_size=3))
def test_any_alert_can_be_sent(rule, text, values, tags):
    alert = Told({**ALERT, "rule": rule, "hostname": text, "output": text, "output_fields": values, "tags": tags})
    for output in OUTPUTS:
        note = output.notification(alert)
        if hasattr(output, "mail"):
            output.mail([note, note]).as_bytes()
        else:
            assert output.body([note])


OUTPUTS = [least(key) for key in LEAST] + [least("otlp_output", protocol="http/protobuf"), least("teams_output", card="message"),
           notify.output("smtp_output", notify.OUTPUTS["smtp_output"][0](**BASE["smtp_output"]))]
