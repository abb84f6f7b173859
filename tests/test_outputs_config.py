# SPDX-License-Identifier: Apache-2.0
"""The outputs' keys of falco.yaml do what they say. (Of notifications: test_notify_*.py.)"""

import json
import os
import socket
import ssl
import subprocess
import sys

import pytest

import falcolib.config
from falcolib import Priority
from falcolib.outputs import OutputError, from_config
from messages import message, needs, until
from receivers import HttpReceiver

pytestmark = pytest.mark.daemon

OFF = ("stdout_output.enabled=false",)


@pytest.fixture
def receiver():
    with HttpReceiver() as receiver:
        yield receiver


def outputs_of(*options, **how):
    return from_config(falcolib.config.load(None, [*OFF, *options]), **how)


def deliver(*options, count=1, **how):
    """What becomes of messages."""
    outputs = outputs_of(*options, **how)
    for n in range(count):
        outputs.emit(message(n))
    outputs.drain(120)
    return outputs.counts()


def test_without_falco_yaml_alerts_go_to_stdout_alone():
    assert [channel.name for channel in from_config(falcolib.config.load(None))] == ["stdout"]
    assert len(outputs_of()) == 0


def test_stdout_output(capfdbinary):
    deliver("stdout_output.enabled=true", "json_output=true")
    assert json.loads(capfdbinary.readouterr().out)["rule"] == "A rule"
    deliver("stdout_output.enabled=true")
    assert b": Warning A thing" in capfdbinary.readouterr().out


def test_syslog_output(tmp_path):
    log = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
    log.bind(str(tmp_path / "log"))
    deliver("syslog_output.enabled=true", f"syslog_output.address={tmp_path}/log", "syslog_output.ident=me", "json_output=true")
    line = log.recv(1 << 20).decode()
    assert f" me[{os.getpid()}]: {{" in line
    log.close()
    with pytest.raises(OutputError, match=r"syslog_output.ca_cert: /none.pem: No such file"):
        outputs_of("syslog_output.enabled=true", "syslog_output.address=tls://localhost", "syslog_output.ca_cert=/none.pem")


def test_file_output(tmp_path):
    options = ("file_output.enabled=true", f"file_output.filename={tmp_path}/out")
    deliver(*options, count=3)
    assert len((tmp_path / "out").read_text().splitlines()) == 3
    for keep_alive, buffered, lines in (("false", "false", 1), ("true", "false", 1), ("true", "true", 0), ("false", "true", 1)):
        (tmp_path / "out").write_text("")
        outputs = outputs_of(*options, f"file_output.keep_alive={keep_alive}", f"buffered_outputs={buffered}")
        outputs.emit(message())
        until(lambda outputs=outputs: outputs.counts()["file"].delivered)
        assert len((tmp_path / "out").read_text().splitlines()) == lines, (keep_alive, buffered)
        kept = [os.path.realpath(f"/proc/self/fd/{fd}") for fd in os.listdir("/proc/self/fd")].count(str(tmp_path / "out"))
        assert kept == (keep_alive == "true")
        outputs.drain(120)


def test_program_output(tmp_path):
    options = ("program_output.enabled=true", f"program_output.program=cat >> {tmp_path}/$$")
    deliver(*options, count=3)
    assert len(list(tmp_path.iterdir())) == 3
    deliver(*options, "program_output.keep_alive=true", count=3)
    assert len(list(tmp_path.iterdir())) == 4
    counts = deliver("program_output.enabled=true", "program_output.program=exec sleep 1000", "program_output.timeout=100ms")
    assert counts["program"].dropped == 1
    assert next(iter(outputs_of(*options, "program_output.processes=7"))).output.batch == 7


def test_http_output(receiver):
    options = ("http_output.enabled=true", f"http_output.url={receiver.url}/x")
    deliver(*options)
    deliver(*options, "json_output=true", "http_output.user_agent=me", "http_output.compress_uploads=true")
    plain, other = receiver.requests
    names = ("content-type", "user-agent", "content-encoding")
    assert [plain.headers.get(name) for name in names] == ["text/plain", "falcosecurity/falco", None]
    assert [other.headers.get(name) for name in names] == ["application/json", "me", "gzip"]


def test_http_output_echo(receiver, capfd):
    options = ("http_output.enabled=true", f"http_output.url={receiver.url}")
    deliver(*options)
    assert capfd.readouterr().out == ""
    deliver(*options, "http_output.echo=true")
    assert capfd.readouterr().out == "ok\n"


def test_http_output_keep_alive(receiver):
    timers = []
    for keep_alive in ("false", "true"):
        outputs = outputs_of("http_output.enabled=true", f"http_output.url={receiver.url}", f"http_output.keep_alive={keep_alive}")
        outputs.emit(message())
        until(lambda outputs=outputs: outputs.counts()["http"].delivered)
        connection = next(s for s in next(iter(outputs)).output._client._opened)
        timers.append(connection.getsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE))
        outputs.drain(120)
    assert timers == [0, 1]


@pytest.mark.parametrize("times", [0, 2])
def test_http_output_max_consecutive_timeouts(receiver, times, monkeypatch):
    monkeypatch.setattr("falcolib.outputs.channel.Retry.delay", lambda self, failures: 0.001)
    receiver.mode = "hang"
    outputs = outputs_of("http_output.enabled=true", f"http_output.url={receiver.url}", "http_output.timeout=50ms",
                         f"http_output.max_consecutive_timeouts={times}")
    outputs.emit(message())
    until(lambda: outputs.counts()["http"].dropped)
    assert outputs.counts()["http"].failed == times + 1
    receiver.mode = "ok"
    outputs.drain(120)


@needs("openssl")
def test_http_output_tls(tmp_path):
    def openssl(*args):
        return subprocess.run(["openssl", *args], cwd=tmp_path, check=True, capture_output=True, text=True).stdout.strip()

    openssl("req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-keyout", "key.pem", "-out", "crt.pem",
            "-days", "2", "-subj", "/CN=x", "-addext", "subjectAltName=IP:127.0.0.1", "-addext",
            "keyUsage=critical,digitalSignature,keyCertSign")
    (tmp_path / "none").mkdir()
    (tmp_path / "path").mkdir()
    (tmp_path / "path" / f"{openssl('x509', '-hash', '-noout', '-in', 'crt.pem')}.0").write_bytes((tmp_path / "crt.pem").read_bytes())
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(tmp_path / "crt.pem", tmp_path / "key.pem")
    context.load_verify_locations(tmp_path / "crt.pem")
    with HttpReceiver(context) as receiver:
        options = ("http_output.enabled=true", f"http_output.url={receiver.url}", "outputs_queue.attempts=1",
                   f"http_output.ca_path={tmp_path}/none")

        def works(*more):
            return deliver(*options, *more)["http"].delivered == 1

        crt, key = f"{tmp_path}/crt.pem", f"{tmp_path}/key.pem"
        assert not works()
        assert works("http_output.insecure=true")
        assert works(f"http_output.ca_cert={crt}")
        assert works(f"http_output.ca_bundle={crt}")
        assert works(f"http_output.ca_path={tmp_path}/path")
        context.verify_mode = ssl.CERT_REQUIRED
        mutual = (f"http_output.ca_cert={crt}", f"http_output.client_cert={crt}", f"http_output.client_key={key}")
        assert not works(*mutual), "without mtls"
        assert works(*mutual, "http_output.mtls=true")
        with pytest.raises(OutputError, match=r"http_output.client_cert: .*key.pem and .*key.pem: no usable PEM"):
            outputs_of(*options, "http_output.mtls=true", f"http_output.client_cert={key}", f"http_output.client_key={key}")
    with pytest.raises(OutputError,
                       match=r"http_output.client_cert: /etc/ssl/certs/client.crt and /etc/ssl/certs/client.key: No such file"):
        outputs_of("http_output.enabled=true", "http_output.url=https://localhost", "http_output.mtls=true")


@pytest.mark.parametrize("name", ["stdout", "file", "program", "http", "syslog"])
def test_each_output_has_a_least_priority_and_tags(name, tmp_path, receiver, capfd):
    options = [f"{name}_output.enabled=true", f"file_output.filename={tmp_path}/out", "program_output.program=cat > /dev/null",
               f"http_output.url={receiver.url}", "outputs_queue.attempts=1"]
    for more, wanted in (((), [True, True, True]), ((f"{name}_output.minimum_priority=error",), [True, False, False]),
                         ((f"{name}_output.tags[]=b",), [False, True, False])):
        channel = next(iter(outputs_of(*options, *more)))
        given = [message(priority=priority, tags=tags) for priority, tags in (
            (Priority.ERROR, ["a"]), (Priority.WARNING, ["b"]), (Priority.DEBUG, []))]
        assert [channel.wants(m) for m in given] == wanted
        channel.begin_drain(0.0)


def test_outputs_queue(receiver, monkeypatch):
    monkeypatch.setattr("falcolib.outputs.channel.Retry.delay", lambda self, failures: 0.001)
    receiver.mode = "status"
    options = ("http_output.enabled=true", f"http_output.url={receiver.url}")
    outputs = outputs_of(*options, "outputs_queue.attempts=3", "outputs_queue.drain_timeout=20s")
    outputs.emit(message())
    until(lambda: outputs.counts()["http"].dropped)
    assert outputs.counts()["http"].failed == 3
    assert outputs._drain == 20
    outputs.drain()
    receiver.mode = "hang"
    outputs = outputs_of(*options, "outputs_queue.capacity=5")
    for n in range(20):
        outputs.emit(message(n))
    assert outputs.counts()["http"].dropped == 15
    receiver.mode = "ok"
    outputs.drain(120)


def test_output_timeout(receiver, caplog):
    receiver.mode = "hang"
    outputs = outputs_of("http_output.enabled=true", f"http_output.url={receiver.url}", "output_timeout=20")
    outputs.emit(message())
    until(lambda: '"http" output timeout: it has been at one delivery for more than 0.02 s' in caplog.text)
    receiver.mode = "ok"
    outputs.drain(120)


def test_spool(tmp_path, receiver):
    receiver.mode = "refuse"
    options = ("http_output.enabled=true", f"http_output.url={receiver.url}", "spool.enabled=true", f"spool.path={tmp_path}/spool",
               "spool.max_size_mb=1", "webhook_output.enabled=true", f"webhook_output.url={receiver.url}/webhook",
               "stdout_output.enabled=true")
    outputs = outputs_of(*options, "spool.fsync=true")
    outputs.emit(message())
    outputs.drain(0.1)
    assert sorted(p.name for p in (tmp_path / "spool").iterdir() if p.suffix == ".spool") == ["http.spool", "webhook.spool"]
    assert [outputs.counts()[name].queued for name in ("stdout", "http", "webhook")] == [0, 1, 1]
    receiver.mode = "ok"
    again = outputs_of(*options)
    again.drain(120)
    assert sorted(r.path for r in receiver.requests) == ["/", "/webhook"]
    replay = outputs_of(*options, replay=True)
    replay.emit(message())
    replay.drain(120)
    assert len(receiver.requests) == 4
    (tmp_path / "file").write_text("")
    with pytest.raises(OutputError, match=r"^spool.path: .*(Not a directory|File exists)"):
        outputs_of(*options, f"spool.path={tmp_path}/file")


def test_in_a_replay_nothing_is_dropped_for_want_of_room(tmp_path):
    counts = deliver("file_output.enabled=true", f"file_output.filename={tmp_path}/out", "outputs_queue.capacity=2", count=500, replay=True)
    assert counts["file"].delivered == 500


@pytest.mark.parametrize(("options", "text"), [
    (("file_output.enabled=true",), "file_output.filename: no file is named"),
    (("file_output.enabled=true", "file_output.filename=/none/x"), "file_output.filename: /none/x: No such file or directory"),
    (("program_output.enabled=true",), "program_output.program: no program is named"),
    (("http_output.enabled=true",), "http_output.url: '' is no http:// or https:// URL"),
    (("http_output.enabled=true", "http_output.url=https://x", "http_output.ca_cert=/none"), "http_output.ca_cert: /none: No such file"),
    (("syslog_output.enabled=true", "syslog_output.address=x"), "syslog_output.address: 'x' is neither"),
    (("slack_output.enabled=true", "slack_output.webhook_url=https://x", "slack_output.ca_cert=/none"), "slack_output.ca_cert: /none: No"),
])
def test_what_cannot_be_used_is_an_error_with_its_key(options, text):
    with pytest.raises(OutputError) as error:
        outputs_of(*options)
    assert str(error.value).startswith(text)
    assert error.value.key == text.split(":")[0]


def test_starting_with_stdout_alone_imports_no_library_of_the_others():
    code = """
import sys, falcolib.config
from falcolib.outputs.configured import from_config
from_config(falcolib.config.load(None))
print(sorted({"urllib3", "sqlite3", "yaml", "ssl", "subprocess"} & set(sys.modules)))
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "[]\n"
