# SPDX-License-Identifier: Apache-2.0
"""The receivers that other tests trust do what their modes say; and the HTTP client of outputs tells what happened."""

import socket
import ssl
import subprocess
import threading
import time

import pytest

from falcolib.outputs import OutputError, Undelivered
from falcolib.outputs.client import HttpClient, Tls
from messages import PATIENCE, needs, until
from receivers import HttpReceiver, TcpReceiver

pytestmark = pytest.mark.daemon


@pytest.fixture
def receiver():
    with HttpReceiver() as receiver:
        yield receiver


def test_requests_are_taken_over_one_connection(receiver):
    client = HttpClient(receiver.url + "/a?b=c", headers={"User-Agent": "x"})
    for n in range(20):
        assert client.post(b"body %d" % n, {"Content-Type": "text/plain"}).body == b"ok"
    assert [(r.path, r.body, r.connection) for r in receiver.requests] == [("/a?b=c", b"body %d" % n, 1) for n in range(20)]
    assert receiver.requests[0].headers["user-agent"] == "x"


@pytest.mark.parametrize(("mode", "text"), [
    ("refuse", "Connection refused"), ("reset", "reset by peer"), ("hang", "no answer in time"), ("half", "aborted|BadStatusLine"),
    ("trickle", "aborted|BadStatusLine|reset by peer"),
])
def test_what_went_wrong_is_told(receiver, mode, text):
    receiver.mode = mode
    client = HttpClient(receiver.url, timeout=0.3 if mode == "hang" else PATIENCE)

    def abort() -> None:
        until(lambda: receiver.seen)
        client.abort()

    if mode == "trickle":
        threading.Thread(target=abort).start()
    with pytest.raises(Undelivered, match=text) as error:
        client.post(b"x")
    assert error.value.retry
    assert str(error.value).startswith(f"127.0.0.1:{receiver.port}: ")
    receiver.mode = "ok"

    def works() -> bool:
        try:
            return client.post(b"x").status == 200
        except Undelivered:
            return False

    assert works() or mode == "hang"            # whose time may be too short on a slow machine
    until(works)


@pytest.mark.parametrize(("status", "retry"), [(500, True), (503, True), (429, True), (408, True), (400, False), (401, False),
                                               (301, False)])
def test_statuses(receiver, status, retry):
    receiver.mode, receiver.status = "status", status
    with pytest.raises(Undelivered, match=f": status {status}: not now") as error:
        HttpClient(receiver.url).post(b"x")
    assert error.value.retry is retry
    assert error.value.after is None


def test_retry_after_is_seconds_or_a_date(receiver):
    receiver.mode, receiver.status, receiver.retry_after = "status", 429, "7"
    with pytest.raises(Undelivered) as error:
        HttpClient(receiver.url).post(b"x")
    assert error.value.after == 7
    receiver.retry_after = " 0.65"
    with pytest.raises(Undelivered) as error:
        HttpClient(receiver.url).post(b"x")
    assert error.value.after == 0.65
    receiver.retry_after = time.strftime("%a, %d %b %Y %H:%M:%S GMT", time.gmtime(time.time() + 10_000))
    with pytest.raises(Undelivered) as error:
        HttpClient(receiver.url).post(b"x")
    assert 9_000 < error.value.after <= 10_000
    receiver.retry_after = "soon"
    with pytest.raises(Undelivered) as error:
        HttpClient(receiver.url).post(b"x")
    assert error.value.after is None


def test_answers_without_end_are_not_read_to_it(receiver):
    receiver.answer = lambda request: (200, {}, b"x" * 10_000_000)
    client = HttpClient(receiver.url)
    assert len(client.post(b"x").body) == 1 << 16
    receiver.answer = None
    assert client.post(b"x").body == b"ok"


def test_a_redirection_is_no_delivery(receiver):
    receiver.answer = lambda request: (302, {"Location": "http://elsewhere/"}, b"")
    with pytest.raises(Undelivered, match="status 302 to 'http://elsewhere/'"):
        HttpClient(receiver.url).post(b"x")


def test_a_user_in_the_url_is_basic_authentication(receiver):
    client = HttpClient(receiver.url.replace("://", "://me:p%40ss@"))
    client.post(b"x")
    assert receiver.requests[0].headers["authorization"] == "Basic bWU6cEBzcw=="
    assert "p" not in client.server


@pytest.mark.parametrize("url", ["", "localhost", "ftp://x/", "http://", "http://[", "file:///etc/passwd"])
def test_what_is_no_url_is_refused(url):
    with pytest.raises(OutputError, match="URL"):
        HttpClient(url)


def test_a_proxy_is_taken_from_the_environment(receiver, monkeypatch):
    monkeypatch.setenv("http_proxy", receiver.url.replace("://", "://me:secret@"))
    HttpClient("http://alerts.example/path").post(b"x")
    assert receiver.requests[0].path == "http://alerts.example/path"
    assert receiver.requests[0].headers["proxy-authorization"] == "Basic bWU6c2VjcmV0"
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    HttpClient(receiver.url + "/direct").post(b"x")
    assert receiver.requests[1].path == "/direct"


# ---- TLS ----


@pytest.fixture(scope="module")
def certificates(tmp_path_factory):
    """A CA, certificates that it signed for 127.0.0.1 and a client, and one that nobody signed."""
    folder = tmp_path_factory.mktemp("tls")

    def openssl(*args):
        subprocess.run(["openssl", *args], cwd=folder, check=True, capture_output=True)

    new = ("-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes")
    openssl("req", "-x509", *new, "-keyout", "ca.key", "-out", "ca.crt", "-subj", "/CN=ca", "-addext", "keyUsage=critical,keyCertSign")
    for name in ("server", "client"):
        (folder / "ext").write_text("subjectAltName=IP:127.0.0.1\nkeyUsage=digitalSignature\nauthorityKeyIdentifier=keyid\n")
        openssl("req", *new, "-keyout", f"{name}.key", "-out", f"{name}.csr", "-subj", f"/CN={name}")
        openssl("x509", "-req", "-in", f"{name}.csr", "-CA", "ca.crt", "-CAkey", "ca.key", "-CAcreateserial", "-out", f"{name}.crt",
                "-extfile", "ext", "-days", "2")
    (folder / "path").mkdir()
    hashed = subprocess.run(["openssl", "x509", "-hash", "-noout", "-in", "ca.crt"], cwd=folder, check=True, capture_output=True, text=True)
    (folder / "path" / f"{hashed.stdout.strip()}.0").write_bytes((folder / "ca.crt").read_bytes())
    return folder


@pytest.fixture
def secure(certificates):
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificates / "server.crt", certificates / "server.key")
    with HttpReceiver(context) as receiver:
        yield receiver


@needs("openssl")
def test_tls_needs_a_certificate_that_is_trusted(secure, certificates):
    with pytest.raises(Undelivered, match="certificate isn't trusted"):
        HttpClient(secure.url).post(b"x")
    ca = str(certificates / "ca.crt")
    for tls in (Tls(ca_cert=ca), Tls(ca_bundle=ca), Tls(ca_path=str(certificates / "path")), Tls(insecure=True),
                Tls(insecure=True, ca_path="/nonexistent")):
        assert HttpClient(secure.url, tls=tls).post(b"x").status == 200


@needs("openssl")
def test_ca_cert_goes_before_ca_bundle_and_that_before_ca_path(secure, certificates, tmp_path):
    good, empty = str(certificates / "ca.crt"), str(tmp_path)
    assert HttpClient(secure.url, tls=Tls(ca_cert=good, ca_bundle="/nonexistent", ca_path=empty)).post(b"x")
    assert HttpClient(secure.url, tls=Tls(ca_bundle=good, ca_path=empty)).post(b"x")
    with pytest.raises(Undelivered, match="isn't trusted"):
        HttpClient(secure.url, tls=Tls(ca_bundle=str(certificates / "client.crt"), ca_path=str(certificates / "path"))).post(b"x")


@needs("openssl")
def test_mutual_tls(certificates):
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificates / "server.crt", certificates / "server.key")
    context.load_verify_locations(certificates / "ca.crt")
    context.verify_mode = ssl.CERT_REQUIRED
    with HttpReceiver(context) as receiver:
        known = {"ca_cert": str(certificates / "ca.crt")}
        with pytest.raises(Undelivered):
            HttpClient(receiver.url, tls=Tls(**known)).post(b"x")
        client = Tls(**known, client_cert=str(certificates / "client.crt"), client_key=str(certificates / "client.key"))
        assert HttpClient(receiver.url, tls=client).post(b"x").status == 200


@needs("openssl")
def test_files_of_tls_that_cannot_be_used_are_named(certificates, tmp_path):
    (tmp_path / "bad.pem").write_text("no certificate")
    for tls, text in [
        (Tls(ca_cert="/nonexistent.pem"), "/nonexistent.pem: No such file"),
        (Tls(ca_bundle=str(tmp_path / "bad.pem")), "bad.pem: no usable PEM file"),
        (Tls(client_cert=str(certificates / "client.crt"), client_key=str(certificates / "server.key")), "server.key: no usable PEM file"),
    ]:
        with pytest.raises(OutputError, match=text):
            HttpClient("https://localhost", tls=tls)


def test_a_server_of_streams():
    with TcpReceiver() as receiver, socket.create_connection((receiver.host, receiver.port)) as s:
        s.sendall(b"one\n")
        until(lambda: receiver.all() == b"one\n")
        receiver.kill()
        with pytest.raises((ConnectionResetError, BrokenPipeError)):
            until(lambda: s.sendall(b"x" * 1000))
        with pytest.raises(ConnectionRefusedError):
            socket.create_connection((receiver.host, receiver.port))
