# SPDX-License-Identifier: Apache-2.0
"""The audit webhook: what it takes and answers, and what untrusted clients can't do (spec: kubernetes.md 1.2)."""

from __future__ import annotations

import contextlib
import http.client
import json
import pathlib
import re
import socket
import ssl
import subprocess
import threading
from collections.abc import Iterator
from typing import Any

import pytest

import falcolib
from audit_events import event, rules, text
from falcolib.web import Limits, Security
from messages import PATIENCE, until

JSON = {"Content-Type": "application/json"}


class Running:
    """An engine that reads a webhook in a thread, from start() on."""

    def __init__(self, **options: Any) -> None:
        self.source = falcolib.AuditWebhook("127.0.0.1", 0, **options)
        self.engine = falcolib.Engine(rules(["ka.auditid exists"], "%ka.auditid"), matching="all")
        self.found: list[str] = []
        self.alerts = self.engine.run(self.source)      # here: a stop() from now on ends it
        self.thread = threading.Thread(target=self._run)

    def start(self) -> None:
        self.thread.start()

    def _run(self) -> None:
        for alert in self.alerts:
            self.found.append(alert.message)

    def post(self, body: bytes, path: str = "/k8s_audit", method: str = "POST", headers: dict[str, str] | None = None,
             context: ssl.SSLContext | None = None) -> tuple[int, str]:
        where = "127.0.0.1", self.source.port
        connection = (http.client.HTTPSConnection(*where, context=context, timeout=PATIENCE) if context
                      else http.client.HTTPConnection(*where, timeout=PATIENCE))
        with contextlib.closing(connection):
            connection.request(method, path, body, JSON if headers is None else headers)
            answer = connection.getresponse()
            return answer.status, answer.read().decode()

    def until(self, *expected: str) -> None:
        """Waits until events of these ids, in any order, were reported."""
        until(lambda: sorted(self.found) == sorted(expected), lambda: f"{self.found} instead of {expected}")

    def stop(self) -> None:
        self.source.close()
        ended(self.thread)


def ended(thread: threading.Thread) -> None:
    """Waits for the end of a thread."""
    thread.join(PATIENCE)
    assert not thread.is_alive()


@contextlib.contextmanager
def running(**options: Any) -> Iterator[Running]:
    webhook = Running(**options)
    webhook.start()
    try:
        yield webhook
    finally:
        webhook.stop()


def listed(*names: str) -> bytes:
    return text({"kind": "EventList", "apiVersion": "audit.k8s.io/v1", "items": [event(auditID=n, kind=None) for n in names]})


class TestAnswers:
    def test_the_table(self) -> None:
        with running() as webhook:
            assert webhook.post(listed("1", "2")) == (200, "")
            assert webhook.post(text(event(auditID="3")), "/k8s-audit") == (200, "")
            assert webhook.post(listed("4"), headers={"Content-Type": "application/json; charset=utf-8"}) == (200, "")
            assert webhook.post(b"{", headers=JSON) == (200, "")
            assert webhook.post(b'{"kind": 0}') == (200, "")
            assert webhook.post(b"", method="GET") == (405, "GET method not allowed")
            assert webhook.post(b"", method="PUT") == (405, "PUT method not allowed")
            assert webhook.post(listed("5"), headers={"Content-Type": "text/plain"}) == (400, "wrong Content Type")
            assert webhook.post(listed("5"), "/other")[0] == 404
            assert webhook.post(listed("5"), "/k8s_audit/")[0] == 404
            webhook.until("1", "2", "3", "4")
            until(lambda: webhook.engine.stats().malformed == webhook.engine.stats().unrecognised == 1, webhook.engine.stats)
            assert dict(webhook.source.counts) == {"accepted": 5, "method": 2, "content_type": 1, "not_found": 2}

    def test_strict_answers_are_those_of_2019(self) -> None:
        with running(strict=True) as webhook:
            assert webhook.post(listed("1")) == (200, "<html><body>Ok</body></html>")
            status, told = webhook.post(b"{")
            assert (status, told[:35]) == (400, "Bad Request: Could not parse data: ")
            for body in (b'{"kind": 0}', b"[1]", b"{}"):
                assert webhook.post(body) == (400, "Bad Request: Data not recognized as a k8s audit event")
            assert webhook.post(listed("2"), headers={})[1] == "Wrong Content Type"
            webhook.until("1")

    def test_a_bad_item_costs_no_other(self) -> None:
        with running() as webhook:
            webhook.post(b'{"kind":"EventList","items":[{"auditID":"1"},7,{"auditID":}, {"auditID":"2"}]}')
            webhook.post(b'{"kind":"EventList","items":[')
            webhook.post(listed("3"))
            webhook.until("1", "2", "3")

    def test_faults_name_the_client(self) -> None:
        told: list[str] = []
        with running(on_fault=told.append) as webhook:
            webhook.post(b"\n{", headers=JSON | {"X-Forwarded-For": "somebody else"})
            webhook.post(listed("1"))
            webhook.until("1")
        assert len(told) == 1
        assert told[0].startswith("127.0.0.1:")
        assert told[0].endswith(":2: no valid JSON, or not all there; left out")


class TestClients:
    def test_bodies_have_a_limit(self) -> None:
        with running(limits=Limits(body=5000)) as webhook:
            assert webhook.post(b" " * 5001) == (400, "bad request: the body is larger than 5000 bytes")
            with socket.create_connection(("127.0.0.1", webhook.source.port)) as client:       # in pieces, of no told length
                client.sendall(b"POST /k8s_audit HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n"
                               b"Transfer-Encoding: chunked\r\n\r\n")
                for _ in range(5):
                    client.sendall(b"400\r\n" + b" " * 1024 + b"\r\n")
                assert client.recv(100).startswith(b"HTTP/1.1 400 ")
            assert webhook.post(listed("1")) == (200, "")
            webhook.until("1")
            assert webhook.source.counts["too_large"] == 2

    def test_the_limit_of_an_event_is_not_that_of_a_body(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr("falcolib.core.TEXT_LIMIT", 1000)
        with running(limit=900) as webhook:
            names = [str(number) for number in range(100)]
            assert webhook.post(listed(*names)) == (200, "")
            webhook.until(*names)

    def test_slow_clients_are_given_up(self) -> None:
        head = b"POST /k8s_audit HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n"
        body = listed("1")
        webhook = Running(limits=Limits(seconds=0.3))
        with contextlib.ExitStack() as stack:
            clients = []        # what they send is there when the server begins: its own slowness is none of theirs
            for sent in (b"", head, head + b"Content-Length: 9\r\n\r\n{", head + b"Content-Length: %d\r\n\r\n" % len(body) + body):
                client = stack.enter_context(socket.create_connection(("127.0.0.1", webhook.source.port), PATIENCE))
                client.sendall(sent)
                clients.append(client)
            webhook.start()
            stack.callback(webhook.stop)
            assert clients[0].recv(10) == b""
            assert clients[1].recv(10) == b""
            assert clients[2].recv(12) == b"HTTP/1.1 400"
            assert clients[3].recv(12) == b"HTTP/1.1 200"
            assert webhook.source.counts["slow"] == 3
            webhook.until("1")

    def test_thousands_of_connections_dont_keep_others_out(self) -> None:
        with running(limits=Limits(connections=50)) as webhook, contextlib.ExitStack() as stack:
            for _ in range(300):
                stack.enter_context(socket.create_connection(("127.0.0.1", webhook.source.port)))
            for n in range(5):
                assert webhook.post(listed(str(n))) == (200, "")
            webhook.until(*map(str, range(5)))
            assert webhook.source.counts["too_many_connections"] >= 200

    def test_what_is_no_http_is_refused(self) -> None:
        with running() as webhook:
            for sent in (b"\x16\x03\x01 hello\r\n\r\n", b"GET /" + b"x" * 200_000, b"POST / HTTP/1.1\r\n" + b"a: b\r\n" * 40_000):
                with socket.create_connection(("127.0.0.1", webhook.source.port)) as client, contextlib.suppress(ConnectionError):
                    client.settimeout(PATIENCE)
                    client.sendall(sent)
                    assert client.recv(12) in (b"HTTP/1.1 400", b"HTTP/1.1 431")
            until(lambda: webhook.source.counts["bad_http"] == 3)
            assert webhook.post(listed("1")) == (200, "")

    def test_deep_nesting_duplicates_and_broken_texts(self) -> None:
        deep = b'{"auditID":"deep","requestObject":' + b"[" * 100_000 + b"]" * 100_000 + b"}"
        bodies = [deep, b'{"auditID":"x","auditID":"twice"}', b'{"auditID":"\xff\xfe"}', b'{"auditID":"1e999","n":1e999}', b"[" * 1_000_000]
        with running() as webhook:
            for body in bodies:
                assert webhook.post(body)[0] == 200
            webhook.until("twice", "\ufffd\ufffd", "1e999")

    def test_more_than_can_be_looked_at_is_told(self, monkeypatch: pytest.MonkeyPatch) -> None:
        from falcolib.sources import webhook as module

        monkeypatch.setattr(module, "WAITING", 1000)
        monkeypatch.setattr(module, "PATIENCE", 0.1)
        source = falcolib.AuditWebhook("127.0.0.1", 0)
        chunks = source.chunks()
        reading = threading.Thread(target=next, args=(chunks,))
        reading.start()                 # takes one, and never says that it is done with it
        try:
            post = Running.post
            answers = [post(_With(source), listed(str(n)))[0] for n in range(5)]        # type: ignore[arg-type]
        finally:
            ended(reading)
            source.close()
            for _ in chunks:
                pass
        assert answers[0] == 200
        assert answers[-1] == 429


class _With:
    def __init__(self, source: falcolib.AuditWebhook) -> None:
        self.source = source


@pytest.fixture(scope="module")
def keys(tmp_path_factory: pytest.TempPathFactory) -> pathlib.Path:
    """server.pem (certificate and key), and client.pem, each signed by itself."""
    folder = tmp_path_factory.mktemp("keys")
    for name in ("server", "client"):
        subprocess.run(["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", "-subj", "/CN=localhost",
                        "-addext", "subjectAltName=IP:127.0.0.1", "-keyout", f"{name}.key", "-out", f"{name}.crt"],
                       cwd=folder, check=True, capture_output=True)
        (folder / f"{name}.pem").write_bytes((folder / f"{name}.crt").read_bytes() + (folder / f"{name}.key").read_bytes())
    return folder


class TestSecurity:
    def test_https_from_one_file_as_falco_has_it(self, keys: pathlib.Path) -> None:
        with running(security=Security(certificate=str(keys / "server.pem"))) as webhook:
            context = ssl.create_default_context(cafile=keys / "server.crt")
            assert webhook.post(listed("1"), context=context) == (200, "")
            webhook.until("1")

    def test_clients_certificates(self, keys: pathlib.Path) -> None:
        security = Security(str(keys / "server.crt"), str(keys / "server.key"), client_ca=str(keys / "client.crt"))
        with running(security=security) as webhook:
            context = ssl.create_default_context(cafile=keys / "server.crt")
            with pytest.raises((ssl.SSLError, ConnectionError)):
                webhook.post(listed("1"), context=context)
            context.load_cert_chain(keys / "client.pem")
            assert webhook.post(listed("2"), context=context) == (200, "")
            webhook.until("2")

    def test_files_that_cannot_be_used_are_told_with_the_reason(self, keys: pathlib.Path) -> None:
        subprocess.run(["openssl", "pkey", "-in", "server.key", "-aes128", "-passout", "pass:x", "-out", "locked.key"], cwd=keys,
                       check=True)
        server = str(keys / "server.crt")
        for security, file, why in (
            (Security(server), "server.crt", "there is no private key in it, as PEM"),
            (Security(str(keys / "server.key")), "server.key", "there is no certificate in it, as PEM"),
            (Security(server, str(keys / "client.key")), "client.key", "the key isn't that of the certificate"),
            (Security(server, str(keys / "locked.key")), "locked.key", "its private key is encrypted"),
            (Security(server, str(keys / "none.key")), "none.key", "No such file"),
            (Security(str(keys / "server.pem"), client_ca=str(keys / "none.crt")), "none.crt", "No such file"),
            (Security(str(keys / "server.pem"), client_ca=str(keys / "client.key")), "client.key", "there is no certificate in it"),
        ):
            with pytest.raises(OSError, match=re.escape(why)) as told:
                security.context()
            assert told.value.filename == str(keys / file)

    def test_a_bearer_token(self) -> None:
        with running(security=Security(token="s3cret")) as webhook:
            assert webhook.post(listed("1"))[0] == 401
            assert webhook.post(listed("1"), headers={**JSON, "Authorization": "Bearer s3cre"})[0] == 401
            assert webhook.post(listed("2"), headers={**JSON, "Authorization": "Bearer s3cret"}) == (200, "")
            webhook.until("2")
            assert webhook.source.counts["unauthorized"] == 2

    def test_files_that_cant_be_used(self, tmp_path: pathlib.Path) -> None:
        with pytest.raises(FileNotFoundError, match=r"no\.pem"):
            falcolib.AuditWebhook("127.0.0.1", 0, security=Security(str(tmp_path / "no.pem")))
        with pytest.raises(ValueError, match="need a certificate"):
            falcolib.AuditWebhook("127.0.0.1", 0, security=Security(client_ca="x"))


class TestLife:
    def test_a_port_in_use_is_told(self) -> None:
        with socket.create_server(("127.0.0.1", 0)) as taken, pytest.raises(OSError, match=f"127.0.0.1:{taken.getsockname()[1]}"):
            falcolib.AuditWebhook("127.0.0.1", taken.getsockname()[1])

    def test_what_was_answered_is_delivered_after_close(self) -> None:
        with running() as webhook:
            for n in range(20):
                assert webhook.post(listed(str(n)))[0] == 200
        assert sorted(webhook.found) == sorted(map(str, range(20)))

    def test_what_was_answered_is_looked_at_when_the_run_is_stopped(self) -> None:
        """The bodies wait in the queue when stop() comes: the first alert isn't taken before."""
        source = falcolib.AuditWebhook("127.0.0.1", 0)
        engine = falcolib.Engine(rules(["ka.auditid exists"], "%ka.auditid"), matching="all")
        webhook, found = Running.__new__(Running), []
        webhook.source = source
        alerts = engine.run(source)
        go = threading.Event()

        def read() -> None:
            for alert in alerts:
                found.append(alert.message)
                go.wait()

        thread = threading.Thread(target=read)
        thread.start()
        accepted = []
        for n in range(200):
            assert webhook.post(listed(f"{n}a", f"{n}b"))[0] == 200
            accepted += [f"{n}a", f"{n}b"]
        engine.stop()
        go.set()
        ended(thread)
        assert found == accepted

    def test_what_there_is_no_time_for_is_told(self, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture) -> None:
        monkeypatch.setattr("falcolib.sources.webhook.DRAIN", -1.0)
        source = falcolib.AuditWebhook("127.0.0.1", 0)
        chunks = source.chunks()
        webhook = Running.__new__(Running)
        webhook.source = source
        first: list[bytes] = []
        thread = threading.Thread(target=lambda: first.append(next(chunks)))
        thread.start()
        for n in range(3):
            assert webhook.post(listed(str(n)))[0] == 200
        ended(thread)
        source.close()
        assert list(chunks) == [b"\x1e"]
        assert source.counts["given_up"] == 2
        assert "gives up 2 bodies" in caplog.text

    def test_after_the_run_requests_are_refused(self) -> None:
        from falcolib.web import WebServer

        server = WebServer("127.0.0.1", 0)
        with running_on(server) as webhook:
            assert webhook.post(listed("1"))[0] == 200
            webhook.until("1")
            webhook.stop()
            assert webhook.post(listed("2"))[0] == 503
            assert webhook.source.counts["refused"] == 1

    def test_requests_that_come_before_the_first_run_wait_for_it(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """As on a daemon's server, which is there before the engine reads."""
        from falcolib.sources import webhook as module
        from falcolib.web import WebServer

        server = WebServer("127.0.0.1", 0)
        monkeypatch.setattr(module, "PATIENCE", PATIENCE)
        begin = threading.Event()
        run = Running._run
        monkeypatch.setattr(Running, "_run", lambda self: (begin.wait(), run(self)))
        with contextlib.ExitStack() as stack:
            webhook = stack.enter_context(running_on(server))
            stack.callback(begin.set)
            early = threading.Thread(target=lambda: answers.append(webhook.post(listed("1"))[0]))
            answers: list[int] = []
            early.start()
            early.join(0.2)
            assert answers == []
            begin.set()
            ended(early)
            assert answers == [200]
            webhook.until("1")
        monkeypatch.setattr(module, "PATIENCE", 0.05)
        server = WebServer("127.0.0.1", 0)
        falcolib.AuditWebhook(server=server)
        with contextlib.closing(server):
            server.start()
            assert Running.post(_With(server), listed("1"))[0] == 503       # type: ignore[arg-type]

    def test_a_stop_while_the_server_starts_ends_the_run(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """As a signal may come while what serves is imported: the run waited for a server that nobody had told to end."""
        webhook = falcolib.AuditWebhook("127.0.0.1", 0)
        engine = falcolib.Engine(rules(["ka.auditid exists"]))
        start = webhook.server.start

        def interrupted() -> None:
            engine.stop()
            start()

        monkeypatch.setattr(webhook.server, "start", interrupted)
        thread = threading.Thread(target=lambda: list(engine.run(webhook)))
        thread.start()
        ended(thread)

    def test_a_stop_before_the_first_chunk_ends_the_run(self, monkeypatch: pytest.MonkeyPatch) -> None:
        webhook = falcolib.AuditWebhook("127.0.0.1", 0)
        engine = falcolib.Engine(rules(["ka.auditid exists"]))
        chunks = webhook.chunks

        def interrupted() -> Iterator[bytes]:
            engine.stop()
            return chunks()

        monkeypatch.setattr(webhook, "chunks", interrupted)
        thread = threading.Thread(target=lambda: list(engine.run(webhook)))
        thread.start()
        ended(thread)

    def test_stop_ends_the_run(self) -> None:
        with running() as webhook:
            webhook.engine.stop()
            ended(webhook.thread)

    def test_other_routes_share_the_server(self) -> None:
        from starlette.responses import JSONResponse
        from starlette.routing import Route

        from falcolib.web import WebServer

        server = WebServer("127.0.0.1", 0)
        server.add([Route("/healthz", lambda request: JSONResponse({"status": "ok"}))])
        with running_on(server) as webhook:
            assert webhook.post(b"", "/healthz", "GET") == (200, '{"status":"ok"}')
            assert webhook.post(listed("1")) == (200, "")
            webhook.until("1")


@contextlib.contextmanager
def running_on(server: Any) -> Iterator[Running]:
    try:
        with running(server=server) as webhook:
            server.start()
            yield webhook
    finally:
        server.close()


@pytest.mark.conformance
@pytest.mark.parametrize("version", ["v1", "v1beta1", "v1alpha1"])
def test_a_real_api_servers_requests(version: str, conformance: pathlib.Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("falcolib.sources.webhook.DRAIN", PATIENCE)
    folder = conformance / "kubernetes/k8s_audit"
    (capture,) = (c for c in json.loads((folder / "real_apiserver/index.json").read_text())["captures"] if c["version"] == version)
    for file, predicted in capture["predicted"].items():
        for matching, expected in predicted.items():
            source = falcolib.AuditWebhook("127.0.0.1", 0)
            engine = falcolib.Engine(falcolib.RuleSet.load(folder / file), matching=matching)
            found: dict[str, int] = {}
            thread = threading.Thread(target=lambda s=source, e=engine, f=found: [  # type: ignore[misc]
                f.__setitem__(a.rule, f.get(a.rule, 0) + 1) for a in e.run(s)])
            thread.start()
            for body in (folder / "real_apiserver" / capture["webhook_bodies"]).read_bytes().splitlines():
                assert Running.post(_With(source), body)[0] == 200        # type: ignore[arg-type]
            source.close()
            ended(thread)
            assert found == expected
