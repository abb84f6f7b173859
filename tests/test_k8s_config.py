# SPDX-License-Identifier: Apache-2.0
"""k8s-config: the policy logs what rules need and nothing that it shouldn't; kubeconfig and flags say where events go."""

import base64
import fnmatch
import pathlib
import stat
import subprocess
import sys
from typing import Any, Literal

import msgspec
import pytest
import yaml

from falcolib.kubernetes import api_server_config, audit_policy

# ---- the schema of audit.k8s.io Policy, and of a kubeconfig, as strict as an API server's --------------------------------------------


class Resources(msgspec.Struct, forbid_unknown_fields=True):
    group: str
    resources: list[str] = []
    resourceNames: list[str] = []


class PolicyRule(msgspec.Struct, forbid_unknown_fields=True):
    level: Literal["None", "Metadata", "Request", "RequestResponse"]
    users: list[str] = []
    userGroups: list[str] = []
    verbs: list[str] = []
    resources: list[Resources] = []
    namespaces: list[str] = []
    nonResourceURLs: list[str] = []
    omitStages: list[Literal["RequestReceived", "ResponseStarted", "ResponseComplete", "Panic"]] = []

    def fits(self, user: str, groups: list[str], verb: str, group: str | None, resource: str, name: str, namespace: str, url: str) -> bool:
        """As the API server decides it."""
        if (self.users and user not in self.users) or (self.userGroups and not set(groups) & set(self.userGroups)):
            return False
        if self.verbs and verb not in self.verbs:
            return False
        if group is not None:
            if self.namespaces and namespace not in self.namespaces:
                return False
            if self.resources:
                return any(r.group == group and (not r.resources or resource in r.resources)
                           and (not r.resourceNames or name in r.resourceNames) for r in self.resources)
            return not self.nonResourceURLs
        if self.nonResourceURLs:
            return any(fnmatch.fnmatchcase(url, pattern) for pattern in self.nonResourceURLs)
        return not (self.resources or self.namespaces)


class Policy(msgspec.Struct, forbid_unknown_fields=True):
    apiVersion: Literal["audit.k8s.io/v1", "audit.k8s.io/v1beta1", "audit.k8s.io/v1alpha1"]
    kind: Literal["Policy"]
    rules: list[PolicyRule]
    omitStages: list[Literal["RequestReceived"]] = []

    def level(self, verb: str, group: str | None, resource: str = "", *, user: str = "alice",
              groups: tuple[str, ...] = ("system:authenticated",), name: str = "x", namespace: str = "default", url: str = "") -> str:
        return next(r.level for r in self.rules if r.fits(user, list(groups), verb, group, resource, name, namespace, url))


class ClusterData(msgspec.Struct, forbid_unknown_fields=True, rename="kebab"):
    server: str
    certificate_authority_data: str | None = None


class Cluster(msgspec.Struct, forbid_unknown_fields=True):
    name: str
    cluster: ClusterData


class UserData(msgspec.Struct, forbid_unknown_fields=True, rename="kebab"):
    token: str | None = None
    client_certificate_data: str | None = None
    client_key_data: str | None = None


class User(msgspec.Struct, forbid_unknown_fields=True):
    name: str
    user: UserData


class Context(msgspec.Struct, forbid_unknown_fields=True):
    name: str
    context: dict[Literal["cluster", "user"], str]


class Kubeconfig(msgspec.Struct, forbid_unknown_fields=True, rename={"current_context": "current-context", "api_version": "apiVersion"}):
    api_version: Literal["v1"]
    kind: Literal["Config"]
    clusters: list[Cluster]
    users: list[User]
    contexts: list[Context]
    current_context: str


def kubeconfig(text: str) -> Kubeconfig:
    config = msgspec.convert(yaml.safe_load(text), Kubeconfig)
    context = next(c.context for c in config.contexts if c.name == config.current_context)
    assert context == {"cluster": config.clusters[0].name, "user": config.users[0].name}
    return config


@pytest.fixture(scope="module")
def policy() -> Policy:
    return msgspec.convert(yaml.safe_load(audit_policy()), Policy)


CHANGES = ("create", "update", "patch", "delete", "deletecollection")
READS = ("get", "list", "watch")
NODE: dict[str, Any] = {"user": "system:node:n1", "groups": ("system:nodes", "system:authenticated")}
ANONYMOUS: dict[str, Any] = {"user": "system:anonymous", "groups": ("system:unauthenticated",)}
RBAC = "rbac.authorization.k8s.io"


@pytest.mark.parametrize(("verbs", "group", "resources", "level"), [
    (CHANGES, RBAC, ("roles", "rolebindings", "clusterroles", "clusterrolebindings"), "RequestResponse"),
    (CHANGES, "apps", ("deployments", "daemonsets", "statefulsets", "replicasets"), "RequestResponse"),
    (CHANGES, "batch", ("jobs", "cronjobs"), "RequestResponse"),
    (CHANGES, "", ("pods", "pods/ephemeralcontainers"), "RequestResponse"),
    (CHANGES, "", ("configmaps", "services", "serviceaccounts", "namespaces", "nodes"), "Request"),
    (CHANGES, "networking.k8s.io", ("ingresses",), "Request"),
    (CHANGES, "extensions", ("ingresses", "deployments"), "Request"),
    (CHANGES, "admissionregistration.k8s.io", ("mutatingwebhookconfigurations",), "Request"),
    (CHANGES + READS, "", ("secrets", "serviceaccounts/token"), "Metadata"),
    (CHANGES + READS, "authentication.k8s.io", ("tokenreviews",), "Metadata"),
    (READS, "", ("pods", "configmaps", "nodes", "pods/log"), "Metadata"),
    (READS, RBAC, ("roles",), "Metadata"),
    (("create", "get"), "", ("pods/exec", "pods/attach", "pods/portforward", "pods/proxy", "nodes/proxy"), "Metadata"),
    (CHANGES + READS, "some.example.org", ("things",), "Metadata"),
    (("delete", "deletecollection"), "", ("events",), "Metadata"),
    (("create", "patch", "list"), "", ("events",), "None"),
])
def test_level_of_requests(policy: Policy, verbs: tuple[str, ...], group: str, resources: tuple[str, ...], level: str) -> None:
    assert {(v, r): policy.level(v, group, r) for v in verbs for r in resources} == {(v, r): level for v in verbs for r in resources}


def test_noise_is_left_out_only_of_those_who_make_it(policy: Policy) -> None:
    assert policy.level("update", "coordination.k8s.io", "leases", **NODE) == "None"
    assert policy.level("patch", "", "nodes/status", **NODE) == "None"
    assert policy.level("update", "coordination.k8s.io", "leases") == "Metadata"
    assert policy.level("get", "", "secrets", **NODE) == "Metadata"
    assert policy.level("create", "", "pods", **NODE) == "RequestResponse"
    assert policy.level("watch", "", "endpoints", user="system:kube-proxy") == "None"
    assert policy.level("watch", "", "secrets", user="system:kube-proxy") == "Metadata"
    assert policy.level("update", "", "configmaps", user="system:kube-controller-manager", name="controller-leader") == "None"
    assert policy.level("update", "", "configmaps", user="system:kube-controller-manager", name="other") == "Request"
    assert policy.level("update", "", "configmaps", name="controller-leader") == "Request"


def test_urls(policy: Policy) -> None:
    unlogged = ("/healthz", "/livez/ping", "/readyz", "/version", "/api", "/apis/apps/v1")
    assert {policy.level("get", None, url=url) for url in unlogged} == {"None"}
    assert policy.level("get", None, url="/healthz", **ANONYMOUS) == "None"
    assert {policy.level("get", None, url=url, **ANONYMOUS) for url in ("/api", "/version", "/openapi/v2")} == {"Metadata"}
    assert {policy.level("get", None, url=url) for url in ("/metrics", "/logs", "/debug/pprof")} == {"Metadata"}


@pytest.mark.parametrize("version", ["v1", "v1beta1", "v1alpha1"])
def test_policy_and_flags_are_of_one_version(version: str) -> None:
    config = api_server_config("10.96.0.50", version=version)
    read = msgspec.convert(yaml.safe_load(config.policy), Policy)
    assert read.apiVersion == f"audit.k8s.io/{version}"
    assert read.omitStages == ["RequestReceived"]
    assert f"--audit-webhook-version={read.apiVersion}" in config.flags
    assert bool(config.notes) == (version != "v1")


@pytest.mark.parametrize(("address", "server"), [
    ("10.96.0.50", "http://10.96.0.50:8765/k8s_audit"),
    ("http://falco.example.org", "http://falco.example.org:8765/k8s_audit"),
    ("https://10.96.0.50:9443/k8s-audit", "https://10.96.0.50:9443/k8s-audit"),
    ("https://[fd00::1]/", "https://[fd00::1]:8765/k8s_audit"),
])
def test_address(address: str, server: str) -> None:
    assert kubeconfig(api_server_config(address).webhook).clusters[0].cluster.server == server


CERTIFICATE = "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n"
KEY = "-----BEGIN EC PRIVATE KEY-----\nAAAA\n-----END EC PRIVATE KEY-----\n"


def test_credentials_are_in_the_kubeconfig_and_nowhere_else() -> None:
    config = api_server_config("https://10.96.0.50", ca=CERTIFICATE, token="s3cret", certificate=CERTIFICATE, key=KEY)
    read = kubeconfig(config.webhook)
    assert base64.b64decode(read.clusters[0].cluster.certificate_authority_data or "").decode() == CERTIFICATE
    assert read.users[0].user.token == "s3cret"
    assert base64.b64decode(read.users[0].user.client_key_data or "").decode() == KEY
    assert "s3cret" not in config.policy + "".join(config.flags)


def test_what_the_user_should_know() -> None:
    assert "ClusterIP" in api_server_config("http://falcolib.falco.svc").notes[0]
    assert "unencrypted" in api_server_config("http://10.0.0.1", token="t").notes[0]


def test_batches_and_the_log() -> None:
    flags = api_server_config("h", folder="/x", batch_max_wait="5s", batch_max_size=100, throttle_qps=50, log_path="/var/log/a.log").flags
    assert {"--audit-policy-file=/x/audit-policy.yaml", "--audit-webhook-config-file=/x/audit-webhook.yaml",
            "--audit-webhook-batch-max-wait=5s", "--audit-webhook-batch-max-size=100", "--audit-webhook-batch-throttle-qps=50",
            "--audit-log-path=/var/log/a.log", "--audit-log-maxsize=100"} <= set(flags)


@pytest.mark.parametrize("wrong", [
    {"address": "ftp://h"}, {"address": ""}, {"address": "http://h:99999"}, {"address": "http://u@h"}, {"address": "http://h/a?b"},
    {"address": "h\nx"}, {"address": "http://h/a b"}, {"ca": "x"}, {"ca": CERTIFICATE, "address": "http://h"}, {"certificate": CERTIFICATE},
    {"certificate": CERTIFICATE, "key": CERTIFICATE}, {"token": "a b"}, {"token": ""}, {"version": "v2"}, {"batch_max_wait": "5"},
    {"batch_max_size": 0}, {"throttle_qps": 0}, {"folder": "relative"}, {"folder": "/a b"}, {"log_path": "a\nb"},
])
def test_what_does_not_fit_is_a_value_error(wrong: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=r".+"):
        api_server_config(**{"address": "https://h"} | wrong)


def test_an_address_of_ipv6_without_brackets_is_told_of() -> None:
    with pytest.raises(ValueError, match="is in brackets"):
        api_server_config("fd00::1")


def command(*args: str) -> "subprocess.CompletedProcess[str]":
    return subprocess.run([sys.executable, "-m", "falcolib", "k8s-config", *args], text=True, capture_output=True, timeout=300)


def test_files_are_written_and_the_token_is_for_the_owner_only(tmp_path: pathlib.Path) -> None:
    (tmp_path / "token").write_text("s3cret\n")
    done = command("10.96.0.50", "--token-file", str(tmp_path / "token"), "-d", str(tmp_path / "out"))
    assert (done.returncode, done.stdout) == (0, "")
    out = tmp_path / "out"
    assert sorted(f.name for f in out.iterdir()) == ["audit-policy.yaml", "audit-webhook.yaml", "kube-apiserver.flags"]
    assert stat.S_IMODE((out / "audit-webhook.yaml").stat().st_mode) == 0o600
    assert kubeconfig((out / "audit-webhook.yaml").read_text()).users[0].user.token == "s3cret"
    assert (out / "kube-apiserver.flags").read_text().startswith("--audit-policy-file=/etc/kubernetes/falcolib/audit-policy.yaml\n")


def test_what_is_printed_is_yaml() -> None:
    done = command("10.96.0.50")
    kinds = [document["kind"] for document in yaml.safe_load_all(done.stdout) if document]
    assert (done.returncode, kinds) == (0, ["Policy", "Config"])
    assert yaml.safe_load(command("10.96.0.50", "--only", "policy").stdout)["kind"] == "Policy"


def test_wrong_usage_is_status_2() -> None:
    done = command("ftp://h")
    assert done.returncode == 2
    assert "http or https" in done.stderr
