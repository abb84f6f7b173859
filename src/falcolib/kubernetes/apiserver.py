# SPDX-License-Identifier: Apache-2.0
"""What a kube-apiserver needs to send its audit events here: an audit policy, a kubeconfig for the webhook, and its flags."""

from __future__ import annotations

import base64
import ipaddress
import re
from dataclasses import dataclass
from importlib import resources
from typing import Any
from urllib.parse import urlsplit

from .auditlog import VERSIONS

#: Where falcolib listens if the address doesn't say.
PORT, PATH = 8765, "/k8s_audit"
#: Where the API server finds the files.
FOLDER = "/etc/kubernetes/falcolib"
POLICY_FILE, WEBHOOK_FILE = "audit-policy.yaml", "audit-webhook.yaml"
#: Bytes of an event and of a batch of them, so that a request stays below the webhook's 12 MiB: the API server divides larger batches, and
#: leaves the bodies out of larger events. What it accepts itself is smaller, so that nobody can hide a body by padding it.
MAX_EVENT, MAX_BATCH = 8 << 20, 10 << 20

_DURATION = re.compile(r"(?:[0-9]+(?:\.[0-9]+)?(?:ns|us|ms|s|m|h))+")
_HOST = re.compile(r"[A-Za-z0-9](?:[-A-Za-z0-9.]*[A-Za-z0-9])?")


@dataclass(frozen=True, slots=True)
class ApiServerConfig:
    """Files and flags for a kube-apiserver."""

    #: The audit policy (YAML).
    policy: str
    #: The kubeconfig of the webhook (YAML). It may hold a token or a key.
    webhook: str
    #: Flags, one an item.
    flags: tuple[str, ...]
    #: What the user should know.
    notes: tuple[str, ...]


def api_server_config(address: str, *, ca: str | None = None, token: str | None = None, certificate: str | None = None,
                      key: str | None = None, folder: str = FOLDER, version: str = "v1", batch_max_wait: str = "1s",
                      batch_max_size: int = 400, throttle_qps: float | None = None, log_path: str | None = None) -> ApiServerConfig:
    """Policy, kubeconfig and flags with which a kube-apiserver sends its audit events to ``address``.

    address: ``http://…`` or ``https://…``, with 8765 and /k8s_audit as port and path if it has none; or a host alone, which is http.
    ca: the PEM text of the certificates that https is verified with, else the API server's own roots. token: a bearer token. certificate
    and key: PEM texts of the API server's client certificate.

    folder: where the API server finds the two files. version: of audit.k8s.io; v1 (from Kubernetes 1.12 on), v1beta1 (1.8 to 1.23) or
    v1alpha1 (1.7 to 1.23). batch_max_wait (a duration of Go) and batch_max_size (events) bound how long events wait; throttle_qps: batches
    a second, where the API server's own 10 are too few. log_path: also write a log file there, ``-`` for standard output.

    Raises ValueError for what doesn't fit.
    """
    if version not in VERSIONS:
        raise ValueError(f"version {version!r}: there are {', '.join(VERSIONS)}")
    if not _DURATION.fullmatch(batch_max_wait):
        raise ValueError(f"batch_max_wait {batch_max_wait!r} is not a duration such as 500ms or 5s")
    if not 1 <= batch_max_size <= 10_000:
        raise ValueError("batch_max_size is not between 1 and 10000")
    if throttle_qps is not None and not 0 < throttle_qps <= 100_000:
        raise ValueError("throttle_qps is not between 0 and 100000")
    if not re.fullmatch(r"/\S*", folder) or not re.fullmatch(r"\S*", log_path or ""):
        raise ValueError(f"{folder!r}, {log_path!r}: the folder is an absolute path, and paths have no blanks")
    server = _server(address)
    https = server.startswith("https://")
    if not https and (ca or certificate or key):
        raise ValueError("certificates need an https address")
    group_version = f"audit.k8s.io/{version}"
    flags = [f"--audit-policy-file={folder}/{POLICY_FILE}",
             f"--audit-webhook-config-file={folder}/{WEBHOOK_FILE}",
             f"--audit-webhook-version={group_version}",
             "--audit-webhook-mode=batch",
             f"--audit-webhook-batch-max-size={batch_max_size}",
             f"--audit-webhook-batch-max-wait={batch_max_wait}",
             "--audit-webhook-truncate-enabled=true",
             f"--audit-webhook-truncate-max-event-size={MAX_EVENT}",
             f"--audit-webhook-truncate-max-batch-size={MAX_BATCH}"]
    if throttle_qps is not None:
        flags += [f"--audit-webhook-batch-throttle-qps={throttle_qps:g}",
                  f"--audit-webhook-batch-throttle-burst={max(1, round(1.5 * throttle_qps))}"]
    if log_path:
        flags += [f"--audit-log-path={log_path}", f"--audit-log-version={group_version}"]
        if log_path != "-":
            flags += ["--audit-log-maxage=7", "--audit-log-maxbackup=10", "--audit-log-maxsize=100"]
    return ApiServerConfig(audit_policy(version), _kubeconfig(server, ca, token, certificate, key), tuple(flags),
                           tuple(_notes(server, https, token, version)))


def audit_policy(version: str = "v1") -> str:
    """The audit policy, as YAML with comments: what falcolib's rules for Kubernetes need, and what they don't."""
    text = (resources.files(__package__) / POLICY_FILE).read_text()
    return text if version == "v1" else text.replace("apiVersion: audit.k8s.io/v1\n", f"apiVersion: audit.k8s.io/{version}\n")


def _server(address: str) -> str:
    """The URL of the webhook."""
    if re.search(r"\s", address):
        raise ValueError(f"{address!r}: an address has no blanks")
    parts = urlsplit(address if "://" in address else f"http://{address}")
    if parts.scheme not in ("http", "https"):
        raise ValueError(f"{address!r}: the address is http or https")
    if parts.username is not None or parts.query or parts.fragment:
        raise ValueError(f"{address!r}: an address has a host, a port and a path, no more")
    if parts.netloc.count(":") > 1 and not parts.netloc.startswith("["):
        raise ValueError(f"{address!r}: an address of IPv6 is in brackets, [fd00::1] or [fd00::1]:8765")
    try:
        host, port = parts.hostname or "", parts.port or PORT
    except ValueError:
        raise ValueError(f"{address!r}: the port is not between 1 and 65535") from None
    if ":" in host:
        host = f"[{ipaddress.IPv6Address(host)}]"
    elif not _HOST.fullmatch(host):
        raise ValueError(f"{address!r} has no host name or address")
    path = parts.path.rstrip("/") or PATH
    if not re.fullmatch(r"(/[-._~A-Za-z0-9]+)+", path):
        raise ValueError(f"{address!r}: the path has other characters than letters, digits and -._~")
    return f"{parts.scheme}://{host}:{port}{path}"


def _kubeconfig(server: str, ca: str | None, token: str | None, certificate: str | None, key: str | None) -> str:
    import yaml

    cluster: dict[str, str] = {"server": server}
    user: dict[str, str] = {}
    if ca is not None:
        cluster["certificate-authority-data"] = _pem(ca, "CERTIFICATE", "ca")
    if token is not None:
        if not re.fullmatch(r"[!-~]+", token):
            raise ValueError("the token is empty, or has blanks or characters outside ASCII")
        user["token"] = token
    if (certificate is None) != (key is None):
        raise ValueError("a client certificate and its key belong together")
    if certificate is not None and key is not None:
        user["client-certificate-data"] = _pem(certificate, "CERTIFICATE", "certificate")
        user["client-key-data"] = _pem(key, "PRIVATE KEY", "key")
    config: dict[str, Any] = {
        "apiVersion": "v1", "kind": "Config",
        "clusters": [{"name": "falcolib", "cluster": cluster}],
        "users": [{"name": "kube-apiserver", "user": user}],
        "contexts": [{"name": "audit", "context": {"cluster": "falcolib", "user": "kube-apiserver"}}],
        "current-context": "audit",
    }
    heading = "# Where the API server sends its audit events. Made by `falcolib k8s-config`.\n"
    return heading + yaml.safe_dump(config, sort_keys=False, width=1000)


def _pem(text: str, kind: str, what: str) -> str:
    """The text for a kubeconfig. Raises ValueError if it isn't PEM of that kind."""
    if not re.search(rf"-----BEGIN [A-Z ]*{kind}-----\s[A-Za-z0-9+/=\s]+-----END [A-Z ]*{kind}-----", text):
        raise ValueError(f"{what}: no {kind} in PEM format")
    return base64.b64encode(text.encode()).decode()


def _notes(server: str, https: bool, token: str | None, version: str) -> list[str]:
    host = urlsplit(server).hostname or ""
    notes = []
    if host.endswith((".svc", ".cluster.local")):
        notes.append(f"an API server on the host's network can't resolve {host}: give the Service's ClusterIP, or a NodePort's address")
    if token is not None and not https:
        notes.append("the token is sent unencrypted: http protects neither it nor the events")
    if version != "v1":
        notes.append(f"audit.k8s.io/{version} is gone from Kubernetes 1.24 on; v1 is there since 1.12")
    return notes
