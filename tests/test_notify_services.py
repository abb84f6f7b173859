# SPDX-License-Identifier: Apache-2.0
"""Notifications with real servers: Alertmanager, mail servers, and librdkafka's cluster for tests."""

import json
import shutil
import signal
import ssl
import subprocess
import sys
import urllib.request
from email import message_from_bytes
from email.policy import default
from pathlib import Path

import pytest
from aiosmtpd.controller import Controller
from aiosmtpd.smtp import SMTP, AuthResult

from falcolib.outputs import Retry, Undelivered, notify
from falcolib.outputs.notify.base import SettingError
from messages import PATIENCE, Kept, message, patient, until
from notifying import ALERT, Told, least, made
from receivers import HttpReceiver, TcpReceiver, reserved_port

pytestmark = [pytest.mark.daemon, pytest.mark.filterwarnings("ignore:Requiring AUTH:UserWarning")]

#: What an answer may take, ns.
LONG = int(PATIENCE) * 10**9


# ---- Alertmanager ----


@pytest.fixture
def pages():
    """What Alertmanager tells of alerts."""
    with HttpReceiver() as receiver:
        yield receiver


@pytest.fixture
def alertmanager(tmp_path, pages):
    program = shutil.which("prometheus-alertmanager") or shutil.which("alertmanager")
    if not program:
        pytest.skip("prometheus-alertmanager is not installed")
    (tmp_path / "config.yml").write_text(f"""
route: {{receiver: pages, group_by: [rule], group_wait: 100ms, group_interval: 1s}}
receivers: [{{name: pages, webhook_configs: [{{url: "{pages.url}/pages"}}]}}]
""")
    port = reserved_port()
    with (tmp_path / "log").open("wb") as log:
        process = subprocess.Popen([program, f"--config.file={tmp_path}/config.yml", f"--storage.path={tmp_path}/data",
                                    f"--web.listen-address=127.0.0.1:{port}", "--cluster.listen-address="], stdout=log, stderr=log)
    url = f"http://127.0.0.1:{port}"
    try:
        def ready():
            assert process.poll() is None, (tmp_path / "log").read_text()
            try:
                return urllib.request.urlopen(f"{url}/-/ready", timeout=PATIENCE).status == 200
            except OSError:
                return False

        until(ready)
        yield url
    finally:
        process.kill()
        process.wait()


def test_alertmanager_takes_alerts_and_tells_of_them(alertmanager, pages):
    with patient([least("alertmanager_output", alertmanager, expires_after=3600 * 10**9, labels={"cluster": "a"}, batch=100)]) as outputs:
        for n in range(20):
            outputs.emit(message(n, rule=f"rule {n % 2} \u2028 é\n"))
        outputs.emit(Told(ALERT))
    assert outputs.counts()["alertmanager"].delivered == 21
    alerts = json.load(urllib.request.urlopen(f"{alertmanager}/api/v2/alerts", timeout=PATIENCE))
    assert len(alerts) == 3        # labels make an alert what it is: n is an annotation
    told = {alert["labels"]["rule"]: alert for alert in alerts}
    shell = told["Shell of a server"]
    assert shell["labels"] == {
        "alertname": "Shell of a server", "source": "falco", "rule": "Shell of a server", "eventsource": "syscall", "priority": "Critical",
        "hostname": "node-1", "tags": "container,mitre_execution", "fd_sip_name": "a.example", "proc_aname_2": "nginx", "cluster": "a",
        "proc_cmdline": ALERT["output_fields"]["proc.cmdline"]}
    assert shell["annotations"]["info"] == ALERT["output"]
    assert shell["annotations"]["proc_pid"] == "4711"
    assert shell["status"]["state"] == "active"
    assert shell["startsAt"].startswith("2026-11-24T12:00:00.123")
    until(lambda: "Shell of a server" in " ".join(request.text for request in pages.requests))


def test_alertmanager_refuses_what_it_can_not_use(alertmanager):
    output = least("alertmanager_output", alertmanager)
    output.payload = lambda _: [{"labels": {}}]
    with pytest.raises(Undelivered, match="status 4") as error:
        output.send([message()])
    assert not error.value.retry


# ---- mails ----


@pytest.fixture(scope="module")
def certificate(tmp_path_factory):
    folder = tmp_path_factory.mktemp("certificate")
    subprocess.run(["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-days", "2", "-subj",
                    "/CN=127.0.0.1", "-addext", "subjectAltName=IP:127.0.0.1", "-keyout", "key.pem", "-out", "cert.pem"],
                   cwd=folder, check=True, capture_output=True)
    return folder


class Mailbox:
    """What a mail server took."""

    def __init__(self):
        self.mails = []
        self.answer = "250 OK"
        self.refused = ()
        self.logins = []

    async def handle_RCPT(self, server, session, envelope, address, options):
        if address in self.refused:
            return "550 no such user"
        envelope.rcpt_tos.append(address)
        return "250 OK"

    async def handle_DATA(self, server, session, envelope):
        if self.answer.startswith("250"):
            self.mails.append((envelope, session.ssl is not None))
        return self.answer

    def read(self):
        return [message_from_bytes(envelope.content, policy=default) for envelope, _ in self.mails]


class Server(Controller):
    def __init__(self, mailbox, **options):
        self._options = options
        super().__init__(mailbox, hostname="127.0.0.1", port=reserved_port(), ready_timeout=PATIENCE,
                         ssl_context=options.pop("smtps", None))

    def factory(self):
        return SMTP(self.handler, **self._options)

    def __enter__(self):
        self.start()
        return self

    def __exit__(self, *_):
        self.stop()


def mails(port, **more):
    return made("smtp_output", **{"host": "127.0.0.1", "port": port, "security": "none", "sender": "Falco <falco@example.org>",
                                  "recipients": ("ops@example.org", "Sécurité <sec@example.org>"), "timeout": LONG, **more})


def test_a_mail():
    mailbox = Mailbox()
    with Server(mailbox) as server:
        mails(server.port).send([Told(ALERT)])
    ((envelope, _),) = mailbox.mails
    assert (envelope.mail_from, envelope.rcpt_tos) == ("falco@example.org", ["ops@example.org", "sec@example.org"])
    (mail,) = mailbox.read()
    assert mail["From"] == "Falco <falco@example.org>"
    assert mail["To"] == "ops@example.org, Sécurité <sec@example.org>"
    assert mail["Subject"] == "[Critical] Shell of a server"
    assert mail["Auto-Submitted"] == "auto-generated"
    text, html = mail.iter_parts()
    lines = text.get_content().splitlines()
    assert lines[0] == ALERT["output"]
    assert "proc.pid       4711" in lines
    assert "&lt;!channel&gt; &amp; [x](http://evil)" in html.get_content()


def test_alerts_that_wait_go_in_one_mail():
    mailbox = Mailbox()
    with Server(mailbox) as server:
        output = mails(server.port, output_format="text", subject="{{ .Priority }} on {{ .Hostname }}")
        output.send([message(n) for n in range(40)])
    (mail,) = mailbox.read()
    assert mail["Subject"] == "Warning on host (and 39 more)"
    assert mail.get_content_type() == "text/plain"
    lines = mail.get_content().splitlines()
    assert [line for line in lines if " Warning A thing was done " in line] == [message(n).as_dict()["output"] for n in range(40)]


@pytest.mark.parametrize("evil", [
    "a\r\nBcc: x@evil.example\r\n\r\nbody", "a\nX: y", "a\u2028Bcc: x", "a\x00b", "=?utf-8?q?a=0ABcc:_x?=", "==??utf-8?q?a=0ABcc:_x?=",
    "=?utf-8?b?YQpCY2M6IHg=?=", "\r\n.\r\nMAIL FROM:<x>", "x" * 5000, "\ud800", "a\x0bBcc: x", "a\x85Bcc: x"])
def test_headers_can_not_be_made_by_an_alert(evil):
    mailbox = Mailbox()
    with Server(mailbox) as server:
        mails(server.port, subject="{{ rule }} {{ fields['x'] }}").send(
            [Told({**ALERT, "rule": evil, "hostname": evil, "output": evil, "output_fields": {"x": evil, evil: "y"}})])
    ((envelope, _),) = mailbox.mails
    (mail,) = mailbox.read()
    assert envelope.rcpt_tos == ["ops@example.org", "sec@example.org"]
    assert set(mail.keys()) == {"From", "To", "Subject", "Date", "Message-ID", "Auto-Submitted", "MIME-Version", "Content-Type"}
    assert "\n" not in mail["Subject"]
    assert len(mail["Subject"]) <= 200


@pytest.mark.parametrize("security", ["starttls", "tls"])
def test_mails_are_encrypted_and_logged_in_for(certificate, security):
    mailbox = Mailbox()
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate / "cert.pem", certificate / "key.pem")

    def log_in(server, session, envelope, mechanism, data):
        mailbox.logins.append((data.login, data.password))
        return AuthResult(success=data.password == b"right", handled=False)

    options = {"authenticator": log_in, "auth_required": True}
    encrypted = {"starttls": {"tls_context": context, "require_starttls": True}, "tls": {"smtps": context, "auth_require_tls": False}}
    options |= encrypted[security]
    settings = {"security": security, "ca_cert": str(certificate / "cert.pem"), "username": "falco"}
    with Server(mailbox, **options) as server:
        mails(server.port, **settings, password="right").send([message()])
        assert len(mailbox.mails) == 1
        assert mailbox.logins == [(b"falco", b"right")]
        with pytest.raises(Undelivered, match="535") as error:
            mails(server.port, **settings, password="wr0ng").send([message()])
        assert not error.value.retry
        assert "wr0ng" not in str(error.value)
        with pytest.raises(Undelivered, match="certificate verify failed"):
            mails(server.port, **{**settings, "ca_cert": ""}, password="right").send([message()])
        mails(server.port, **{**settings, "ca_cert": ""}, insecure=True, password="right").send([message()])
    assert len(mailbox.mails) == 2


def test_without_starttls_nothing_is_told():
    mailbox = Mailbox()
    with Server(mailbox) as server, pytest.raises(Undelivered, match="STARTTLS") as error:
        mails(server.port, security="starttls").send([message()])
    assert not error.value.retry
    assert not mailbox.mails


def test_what_mail_servers_say():
    mailbox = Mailbox()
    with Server(mailbox) as server:
        output = mails(server.port)
        mailbox.answer = "451 later"
        with pytest.raises(Undelivered, match="451 later") as error:
            output.send([message()])
        assert error.value.retry
        mailbox.answer = "554 spam"
        with pytest.raises(Undelivered, match="554 spam") as error:
            output.send([message()])
        assert not error.value.retry
        mailbox.answer, mailbox.refused = "250 OK", {"ops@example.org", "sec@example.org"}
        with pytest.raises(Undelivered, match=r"no recipient was taken: .*550 no such user") as error:
            output.send([message()])
        assert not error.value.retry
        mailbox.refused = {"ops@example.org"}       # some get it: it is delivered
        output.send([message()])
        assert mailbox.mails[-1][0].rcpt_tos == ["sec@example.org"]
    with pytest.raises(Undelivered, match="refused") as error:
        output.send([message()])
    assert error.value.retry


def test_a_mail_server_that_hangs_is_left_when_the_time_is_over():
    with TcpReceiver() as receiver:
        receiver.mode = "hang"
        outputs = patient([mails(receiver.port)])
        outputs.emit(message())
        until(lambda: receiver.connections == 1)
        assert outputs.drain(0.2) == 1
        assert outputs.counts()["smtp"].dropped == 1


def test_a_certificate_that_is_missing_is_told():
    with pytest.raises(SettingError, match=r"smtp_output.ca_cert: /no/such.pem: No such file"):
        mails(25, security="tls", ca_cert="/no/such.pem")


# ---- Kafka ----


class Brokers:
    """A cluster in a process of its own."""

    def __init__(self, brokers=1, delay=0):
        self.process = subprocess.Popen([sys.executable, Path(__file__).parent / "kafka_broker.py", str(brokers), "1", str(delay)],
                                        stdout=subprocess.PIPE, text=True)
        self.addresses = tuple(self.process.stdout.readline().strip().split(","))
        assert self.addresses != ("",)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.process.send_signal(signal.SIGCONT)
        self.process.kill()
        self.process.wait()
        self.process.stdout.close()

    def read(self, topic, count):
        from confluent_kafka import OFFSET_BEGINNING, Consumer, TopicPartition

        consumer = Consumer({"bootstrap.servers": ",".join(self.addresses), "group.id": "test", "enable.auto.commit": False,
                             "fetch.wait.max.ms": 50})
        partitions = consumer.list_topics(topic, timeout=PATIENCE).topics[topic].partitions
        consumer.assign([TopicPartition(topic, number, OFFSET_BEGINNING) for number in partitions])
        found = []
        try:
            until(lambda: found.extend(m for m in consumer.consume(1000, 0.2) if m.error() is None) or
                  len({m.value() for m in found}) >= count)
            found += [m for m in consumer.consume(10, 0.3) if m.error() is None]
        finally:
            consumer.close()
        return found


def kafka(brokers, **more):
    return made("kafka_output", **{"brokers": brokers, "topic": "falco", "timeout": 10**9, **more})


def test_kafka_takes_messages():
    with Brokers(brokers=3) as brokers:
        output = kafka(brokers.addresses, key="{{ rule }}", timeout=LONG, compression="gzip", batch=100)
        with patient([output]) as outputs:
            for n in range(1000):
                outputs.emit(message(n, rule=f"rule {n % 7}"))
        assert outputs.counts()["kafka"].delivered == 1000
        found = brokers.read("falco", 1000)
    assert len(found) == 1000
    assert sorted(json.loads(m.value())["output_fields"]["n"] for m in found) == list(range(1000))
    assert all(json.loads(m.value())["rule"].encode() == m.key() for m in found)
    assert len({(m.key(), m.partition()) for m in found}) == 7                  # a key, a partition
    assert found[0].timestamp()[1] == message(0).time // 10**6


def test_kafka_takes_a_partition():
    with Brokers() as brokers:
        kafka(brokers.addresses, partition=2, timeout=LONG).send([message(1), message(2)])
        assert [m.partition() for m in brokers.read("falco", 2)] == [2, 2]


def test_a_message_that_kafka_can_not_take_is_given_up_and_the_others_are_delivered():
    with Brokers() as brokers:
        output = kafka(brokers.addresses, timeout=LONG, custom_fields={})
        output._properties["message.max.bytes"] = 5000
        output._producer = None
        messages = [message(1), message(2, text="x" * 9000), message(3)]
        with pytest.raises(Undelivered, match="too large") as error:
            output.send(messages)
        assert not error.value.retry
        assert error.value.left == [messages[1]]


@pytest.mark.parametrize("fault", ["refuse", "reset", "hang"])
def test_kafka_is_asked_again_when_nobody_answers(fault):
    with TcpReceiver() as receiver:
        receiver.mode = fault
        output = kafka((f"127.0.0.1:{receiver.port}",), timeout=300 * 10**6)
        messages = [message(1), message(2)]
        with pytest.raises(Undelivered, match=r"timed out|in time") as error:
            output.send(messages)
        assert error.value.retry
        assert error.value.left == messages
        output.close()


def test_a_broker_that_stops_goes_on_and_is_killed():
    """Counters add up, nothing is lost while it goes on at last, and another output has all at once."""
    with Brokers() as brokers:
        output = kafka(brokers.addresses, timeout=2 * 10**9, batch=100)
        kept = Kept(batch=100)
        slow = notify.channel(output, notify.OUTPUTS["kafka_output"][0](), retry=Retry(attempts=0, first=0.05, most=0.1))
        outputs = patient([slow, kept])
        brokers.process.send_signal(signal.SIGSTOP)
        for n in range(1000):
            outputs.emit(message(n))
        until(lambda: slow.counts().failed >= 2)
        until(lambda: len(kept.messages) == 1000)
        brokers.process.send_signal(signal.SIGCONT)
        until(lambda: slow.counts().delivered == 1000)
        numbers = {json.loads(m.value())["output_fields"]["n"] for m in brokers.read("falco", 1000)}
        assert numbers == set(range(1000))
        brokers.process.kill()
        brokers.process.wait()
        for n in range(100):
            outputs.emit(message(n))
        assert outputs.drain(1) == 100
        counts = slow.counts()
        assert (counts.emitted, counts.delivered, counts.dropped, counts.queued) == (1100, 1000, 100, 0)


@pytest.mark.parametrize(("settings", "properties"), [
    ({}, {"security.protocol": "PLAINTEXT", "acks": "all", "enable.idempotence": True}),
    ({"acks": "1", "tls": True, "ca_cert": "ca.pem", "client_cert": "c.pem", "client_key": "k.pem", "insecure": True},
     {"security.protocol": "SSL", "acks": "1", "enable.idempotence": False, "ssl.ca.location": "ca.pem",
      "ssl.certificate.location": "c.pem", "ssl.key.location": "k.pem", "enable.ssl.certificate.verification": False}),
    ({"sasl_mechanism": "SCRAM-SHA-512", "username": "u", "password": "p", "tls": True},
     {"security.protocol": "SASL_SSL", "sasl.mechanism": "SCRAM-SHA-512", "sasl.username": "u", "sasl.password": "p"}),
    ({"sasl_mechanism": "PLAIN", "username": "u", "password": "p"}, {"security.protocol": "SASL_PLAINTEXT", "sasl.mechanism": "PLAIN"}),
])
def test_properties_of_the_client(monkeypatch, tmp_path, settings, properties):
    monkeypatch.setattr("confluent_kafka.Producer", lambda given, logger: Kept(name=str(given)))
    for name in ("ca.pem", "c.pem", "k.pem"):
        (tmp_path / name).touch()
    monkeypatch.chdir(tmp_path)
    output = kafka(("127.0.0.1:1", "127.0.0.1:2"), **settings)
    assert properties.items() <= output._properties.items()
    assert output._properties["bootstrap.servers"] == "127.0.0.1:1,127.0.0.1:2"


def test_files_of_the_client_that_are_missing_are_told():
    with pytest.raises(SettingError, match=r"kafka_output.ca_cert: /no/such.pem: can't be read"):
        kafka(("127.0.0.1:1",), tls=True, ca_cert="/no/such.pem")


