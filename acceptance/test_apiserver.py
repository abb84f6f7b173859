# SPDX-License-Identifier: Apache-2.0
"""A real kube-apiserver takes what `falcolib k8s-config` writes, and the roles that `falcolib audit2rbac` makes: `make test-apiserver`."""

import json
import pathlib
from collections.abc import Iterator
from typing import Any

import pytest

import apiserver
from falcolib.kubernetes import api_server_config, audit2rbac

META = {"metadata": {"name": "x"}}
RULES = [{"apiGroups": [""], "resources": ["pods"], "verbs": ["get"]}]
RBAC = "/apis/rbac.authorization.k8s.io/v1"
ROLE_REF = {"apiGroup": "rbac.authorization.k8s.io", "kind": "Role", "name": "x"}
TEMPLATE = {"metadata": {"labels": {"a": "b"}}, "spec": {"containers": [{"name": "c", "image": "nginx"}]}}

#: What the administrator does, and the level at which the policy logs it.
CALLS: list[tuple[str, str, Any, str]] = [
    ("POST", "/api/v1/namespaces/default/configmaps", META | {"data": {"k": "v"}}, "Request"),
    ("POST", "/api/v1/namespaces/default/secrets", META | {"stringData": {"k": "hidden-value"}}, "Metadata"),
    ("GET", "/api/v1/namespaces/default/secrets/x", None, "Metadata"),
    ("POST", f"{RBAC}/namespaces/default/roles", META | {"rules": RULES}, "RequestResponse"),
    ("POST", f"{RBAC}/namespaces/default/rolebindings", META | {"roleRef": ROLE_REF}, "RequestResponse"),
    ("POST", f"{RBAC}/clusterroles", META | {"rules": RULES}, "RequestResponse"),
    ("POST", "/apis/apps/v1/namespaces/default/deployments",
     META | {"spec": {"selector": {"matchLabels": {"a": "b"}}, "template": TEMPLATE}}, "RequestResponse"),
    ("POST", "/api/v1/namespaces/default/services", META | {"spec": {"ports": [{"port": 80}]}}, "Request"),
    ("GET", "/api/v1/namespaces/default/configmaps", None, "Metadata"),
    ("GET", "/metrics", None, "Metadata"),
]
EXPECTED_ALERTS = {"ConfigMap created", "Secret created", "Secret read", "Role created", "Role binding created", "Cluster role created",
                   "Deployment created", "Service created"}
UNLOGGED = ["/version", "/readyz", "/apis", "/openapi/v2"]


@pytest.fixture
def receiver(tmp_path: pathlib.Path) -> Iterator[apiserver.Receiver]:
    apiserver.certificates(tmp_path)
    receiver = apiserver.Receiver(tmp_path, "audit-token")
    yield receiver
    receiver.close()


def configured(tmp_path: pathlib.Path, receiver: apiserver.Receiver, **options: Any) -> tuple[str, ...]:
    """The flags; the files are written."""
    config = api_server_config(receiver.url, ca=(tmp_path / "ca.pem").read_text(), token="audit-token", folder=str(tmp_path / "conf"),
                               batch_max_wait="100ms", **options)
    (tmp_path / "conf").mkdir()
    (tmp_path / "conf" / "audit-policy.yaml").write_text(config.policy)
    (tmp_path / "conf" / "audit-webhook.yaml").write_text(config.webhook)
    return config.flags


@pytest.mark.parametrize("version", ["v1", "v1beta1", "v1alpha1"])
def test_policy_kubeconfig_and_flags_are_accepted_and_events_arrive(tmp_path: pathlib.Path, receiver: apiserver.Receiver,
                                                                    version: str) -> None:
    with apiserver.running(tmp_path / "server", configured(tmp_path, receiver, version=version)) as api:
        for method, path, body, _ in CALLS:
            status, answer = api.call("admin", method, path, body)
            assert status in (200, 201), (path, answer)
        for path in UNLOGGED:
            assert api.call("admin", "GET", path)[0] == 200
        assert api.call("admin", "GET", "/api/v1/nodes?last=1")[0] == 200

        def seen() -> dict[tuple[str, str], dict[str, Any]]:
            return {(e["verb"], e["requestURI"]): e for e in receiver.events() if e["user"]["username"] == "admin"}

        apiserver.wait_for("the last event", lambda: ("list", "/api/v1/nodes?last=1") in seen())
    events = seen()
    assert {json.loads(body)["apiVersion"] for body in receiver.bodies} == {f"audit.k8s.io/{version}"}
    verbs = {"POST": "create", "GET": "get"}
    for method, path, _, level in CALLS:
        event = events.get((verbs[method], path)) or events["list", path]
        assert event["level"] == level, path
        assert ("requestObject" in event) == (method == "POST" and level != "Metadata"), path
        assert ("responseObject" in event) == (level == "RequestResponse"), path
    assert not [uri for _, uri in events if uri in UNLOGGED]
    assert "hidden-value" not in b"".join(receiver.bodies).decode()
    assert {e["stage"] for e in receiver.events()} <= {"ResponseStarted", "ResponseComplete"}
    receiver.close()
    assert {alert.rule for alert in receiver.alerts if alert.fields["ka.user.name"] == "admin"} >= EXPECTED_ALERTS
    stats = receiver.engine.stats()
    assert stats.malformed + stats.unrecognised + stats.too_large == 0


def test_roles_of_refused_calls_allow_them_and_nothing_else(tmp_path: pathlib.Path, receiver: apiserver.Receiver) -> None:
    wanted = [("POST", "/api/v1/namespaces/default/configmaps", META), ("GET", "/api/v1/namespaces/default/configmaps", None),
              ("GET", "/apis/apps/v1/namespaces/default/deployments", None), ("GET", "/api/v1/namespaces/kube-system/pods", None),
              ("GET", "/metrics", None), ("DELETE", "/api/v1/namespaces/default/configmaps/x", None)]
    unwanted = [("GET", "/api/v1/namespaces/default/secrets", None), ("DELETE", "/api/v1/namespaces/default/configmaps/y", None),
                ("GET", "/api/v1/namespaces/default/pods", None), ("GET", "/api/v1/nodes", None), ("GET", "/logs", None)]
    with apiserver.running(tmp_path / "server", configured(tmp_path, receiver)) as api:
        assert {api.call("demo", *call)[0] for call in wanted + unwanted} == {403}
        apiserver.wait_for("the refused calls", lambda: sum(e["user"]["username"] == "demo" for e in receiver.events()) >= 11)
        uris = {path for _, path, _ in wanted}
        bodies = [json.dumps(event | {"kind": "Event", "apiVersion": "audit.k8s.io/v1"}).encode() for event in receiver.events()
                  if event["requestURI"] in uris]
        found = audit2rbac(bodies, user="demo")
        assert (found.problems, found.uncovered) == ([], [])
        for made in found.objects:
            scope = f"/namespaces/{made['metadata']['namespace']}" if "namespace" in made["metadata"] else ""     # type: ignore[operator, index]
            status, answer = api.call("admin", "POST", f"{RBAC}{scope}/{str(made['kind']).lower()}s", made)
            assert status == 201, answer
        apiserver.wait_for("the roles count", lambda: api.call("demo", *wanted[1])[0] == 200)
        assert [api.call("demo", *call)[0] for call in wanted] == [201, 200, 200, 200, 200, 200]
        assert {api.call("demo", *call)[0] for call in unwanted} == {403}
    receiver.close()
    assert any(alert.message == "K8s Operation performed by user not in allowed list of users (user=demo target=<NA>/deployments verb=list "
               "uri=/apis/apps/v1/namespaces/default/deployments resp=403)" for alert in receiver.alerts)
