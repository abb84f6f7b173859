# SPDX-License-Identifier: Apache-2.0
"""A real kube-apiserver on loopback, with etcd, and a receiver of its audit events."""

from __future__ import annotations

import contextlib
import json
import os
import pathlib
import shutil
import socket
import ssl
import subprocess
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from typing import Any

import falcolib
from falcolib.sources.audit import END
from falcolib.web import Security

#: Seconds for what takes two on an idle machine.
PATIENCE = 180
RULES = pathlib.Path(__file__).resolve().parent.parent / "rules" / "k8s_audit_rules.yaml"
TOKENS = {"admin": "admin-token", "demo": "demo-token"}


def program(name: str) -> str:
    """The path of a program: of $KUBE_APISERVER_BIN, or of the PATH."""
    found = shutil.which(name, path=os.environ.get("KUBE_APISERVER_BIN", "") + os.pathsep + os.environ["PATH"])
    if found is None:
        raise FileNotFoundError(f"{name}: set KUBE_APISERVER_BIN to the folder that holds it; `make test-apiserver` builds it")
    return found


def wait_for(what: str, condition: Callable[[], Any], processes: tuple[subprocess.Popen[bytes], ...] = ()) -> Any:
    """The first true value of the condition. Fails when it takes too long, or a process ends before."""
    end = time.monotonic() + PATIENCE
    while time.monotonic() < end:
        value = condition()
        if value:
            return value
        for process in processes:
            if process.poll() is not None:
                raise AssertionError(f"{process.args} ended with {process.returncode} before: {what}")      # type: ignore[str-bytes-safe]
        time.sleep(0.1)
    raise AssertionError(f"waited {PATIENCE} s in vain: {what}")


def free_port() -> int:
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return int(s.getsockname()[1])


def openssl(*args: str) -> None:
    subprocess.run(["openssl", *args], check=True, capture_output=True)


def certificates(folder: pathlib.Path) -> None:
    """ca.pem, and server.pem with its key, for 127.0.0.1."""
    openssl("req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-days", "2", "-subj", "/CN=test CA",
            "-keyout", f"{folder}/ca.key", "-out", f"{folder}/ca.pem")
    openssl("req", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-subj", "/CN=falcolib",
            "-keyout", f"{folder}/server.key", "-out", f"{folder}/server.csr")
    (folder / "names").write_text("subjectAltName=IP:127.0.0.1\n")
    openssl("x509", "-req", "-in", f"{folder}/server.csr", "-CA", f"{folder}/ca.pem", "-CAkey", f"{folder}/ca.key", "-CAcreateserial",
            "-days", "2", "-extfile", f"{folder}/names", "-out", f"{folder}/server.crt")
    (folder / "server.pem").write_text((folder / "server.crt").read_text() + (folder / "server.key").read_text())


class Receiver:
    """AuditWebhook with https and a token. Keeps the bodies that come; ``find`` also gives them to an engine with rules."""

    def __init__(self, folder: pathlib.Path, token: str) -> None:
        self.source = falcolib.AuditWebhook("127.0.0.1", 0, security=Security(certificate=str(folder / "server.pem"), token=token))
        self.url = f"https://127.0.0.1:{self.source.port}"
        self.bodies: list[bytes] = []
        self.alerts: list[falcolib.Alert] = []
        self.engine = falcolib.Engine(falcolib.RuleSet.load(str(RULES)), matching="all")
        self._inner, self.source.chunks = self.source.chunks, self._kept       # type: ignore[method-assign]
        self.thread = threading.Thread(target=self._run, daemon=True)
        self.thread.start()

    def _kept(self) -> Iterator[bytes]:
        for chunk in self._inner():
            if chunk != END:
                self.bodies.append(chunk)
            yield chunk

    def _run(self) -> None:
        self.alerts += self.engine.run(self.source)

    def events(self) -> list[dict[str, Any]]:
        return [event for body in list(self.bodies) for event in json.loads(body)["items"]]

    def close(self) -> None:
        """Ends it; then ``alerts`` are all there."""
        self.source.close()
        self.thread.join(PATIENCE)
        assert not self.thread.is_alive()


class ApiServer:
    """A running API server."""

    def __init__(self, port: int) -> None:
        self.url = f"https://127.0.0.1:{port}"
        self._context = ssl.create_default_context()
        self._context.check_hostname, self._context.verify_mode = False, ssl.CERT_NONE      # its certificate is made at its start

    def call(self, user: str, method: str, path: str, body: object = None) -> tuple[int, Any]:
        """Status and answer."""
        request = urllib.request.Request(self.url + path, method=method, data=None if body is None else json.dumps(body).encode(), headers={
            "Authorization": f"Bearer {TOKENS[user]}", "Content-Type": "application/json", "Accept": "application/json"})
        try:
            with urllib.request.urlopen(request, context=self._context, timeout=PATIENCE) as answer:
                data = answer.read()
                return answer.status, json.loads(data) if data[:1] == b"{" else data.decode()
        except urllib.error.HTTPError as e:
            return e.code, e.read().decode()

    def ready(self) -> bool:
        try:
            return self.call("admin", "GET", "/readyz")[0] == 200
        except OSError:
            return False


@contextlib.contextmanager
def running(folder: pathlib.Path, flags: tuple[str, ...]) -> Iterator[ApiServer]:
    """etcd and an API server with these flags; both are ended."""
    folder.mkdir()
    openssl("genrsa", "-out", f"{folder}/sa.key", "2048")
    (folder / "tokens.csv").write_text("".join(f'{token},{user},{user},"{"system:masters" if user == "admin" else "people"}"\n'
                                               for user, token in TOKENS.items()))
    client, peer, port = free_port(), free_port(), free_port()
    etcd_url = f"http://127.0.0.1:{client}"
    with contextlib.ExitStack() as stack:
        def start(name: str, *args: str) -> subprocess.Popen[bytes]:
            log = stack.enter_context(open(folder / f"{name}.log", "wb"))
            process = subprocess.Popen([program(name), *args], stdout=log, stderr=log)
            stack.callback(end, process)
            return process

        etcd = start("etcd", f"--data-dir={folder}/etcd", f"--listen-client-urls={etcd_url}", f"--advertise-client-urls={etcd_url}",
                     f"--listen-peer-urls=http://127.0.0.1:{peer}", "--unsafe-no-fsync")
        server = start(
            "kube-apiserver", f"--etcd-servers={etcd_url}", "--bind-address=127.0.0.1", f"--secure-port={port}", "--insecure-port=0",
            f"--cert-dir={folder}/certs", "--service-cluster-ip-range=10.96.0.0/16", "--authorization-mode=RBAC",
            f"--token-auth-file={folder}/tokens.csv", "--service-account-issuer=https://kubernetes.default.svc",
            f"--service-account-key-file={folder}/sa.key", f"--service-account-signing-key-file={folder}/sa.key", *flags)
        api = ApiServer(port)
        wait_for("the API server is ready", api.ready, (etcd, server))
        wait_for("the namespace default", lambda: api.call("admin", "GET", "/api/v1/namespaces/default")[0] == 200, (etcd, server))
        yield api


def end(process: subprocess.Popen[bytes]) -> None:
    process.terminate()
    try:
        process.wait(20)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
