# SPDX-License-Identifier: Apache-2.0
"""What cloud providers wrap audit events in."""

from __future__ import annotations

import base64
import gzip
import json
from typing import Any

import msgspec
import pytest

import falcolib
from audit_events import event, rules
from falcolib.kubernetes import unwrap_aks, unwrap_eks, unwrap_gke

LINE = json.dumps(event(auditID="1"))


def cloudwatch(stream: str = "kube-apiserver-audit-0b5a", message: str = LINE) -> dict[str, Any]:
    return {"messageType": "DATA_MESSAGE", "owner": "123456789012", "logGroup": "/aws/eks/prod/cluster", "logStream": stream,
            "subscriptionFilters": ["audit"], "logEvents": [{"id": "3686", "timestamp": 1795405093580, "message": message}]}


class TestEks:
    def test_a_subscription(self) -> None:
        (found,) = unwrap_eks(json.dumps(cloudwatch()))
        assert found == event(auditID="1", annotations={"authorization.k8s.io/decision": "allow", "cluster_name": "prod"})

    def test_as_a_lambda_function_gets_it(self) -> None:
        packed = base64.b64encode(gzip.compress(json.dumps(cloudwatch()).encode())).decode()
        assert [e["auditID"] for e in unwrap_eks({"awslogs": {"data": packed}})] == ["1"]
        for bad in ("x", base64.b64encode(b"x").decode(), packed[:40]):
            with pytest.raises(ValueError, match=r"awslogs\.data"):
                list(unwrap_eks({"awslogs": {"data": bad}}))

    def test_answers_of_get_log_events(self) -> None:
        answer = {"events": [{"timestamp": 1, "message": LINE, "logStreamName": "kube-apiserver-audit-1"},
                             {"timestamp": 1, "message": LINE, "logStreamName": "authenticator-1"},
                             {"timestamp": 1, "message": "not json"}]}
        assert [e["auditID"] for e in unwrap_eks(answer)] == ["1"]
        assert [e["auditID"] for e in unwrap_eks({"timestamp": 1, "message": LINE})] == ["1"]

    def test_other_logs_are_left_out(self) -> None:
        assert not list(unwrap_eks(cloudwatch("kube-scheduler-1")))
        assert not list(unwrap_eks(cloudwatch(message="I1123 03:38:13 started")))
        assert not list(unwrap_eks(b"[]"))


def test_aks() -> None:
    record = {"time": "2026-11-23T03:38:13Z", "category": "kube-audit",
              "operationName": "Microsoft.ContainerService/managedClusters/diagnosticLogs/Read",
              "resourceId": "/SUBSCRIPTIONS/1/RESOURCEGROUPS/G/PROVIDERS/MICROSOFT.CONTAINERSERVICE/MANAGEDCLUSTERS/PROD",
              "properties": {"log": LINE, "stream": "stdout", "pod": "kube-apiserver-1"}}
    (found,) = unwrap_aks(json.dumps({"records": [record, {**record, "category": "guard"}]}))
    assert (found["auditID"], found["annotations"]["cluster_name"]) == ("1", "prod")
    assert [e["auditID"] for e in unwrap_aks({**record, "properties": json.dumps(record["properties"])})] == ["1"]


#: An entry of Cloud Logging, as GKE writes it.
GKE: dict[str, Any] = {
    "insertId": "5a1c", "logName": "projects/p/logs/cloudaudit.googleapis.com%2Factivity", "timestamp": "2026-11-23T03:38:13.580968Z",
    "receiveTimestamp": "2026-11-23T03:38:14Z", "operation": {"first": True, "id": "b7a5", "last": True, "producer": "k8s.io"},
    "labels": {"authorization.k8s.io/decision": "allow", "authorization.k8s.io/reason": ""},
    "resource": {"type": "k8s_cluster", "labels": {"cluster_name": "prod", "location": "europe-west1", "project_id": "p"}},
    "protoPayload": {
        "@type": "type.googleapis.com/google.cloud.audit.AuditLog", "serviceName": "k8s.io", "methodName": "io.k8s.core.v1.pods.create",
        "resourceName": "core/v1/namespaces/default/pods/web", "authenticationInfo": {"principalEmail": "demo@example.com"},
        "authorizationInfo": [{"granted": True, "permission": "io.k8s.core.v1.pods.create",
                               "resource": "core/v1/namespaces/default/pods/web"}],
        "requestMetadata": {"callerIp": "10.0.0.1", "callerSuppliedUserAgent": "kubectl"}, "status": {},
        "request": {"@type": "core.k8s.io/v1.Pod", "kind": "Pod",
                    "spec": {"containers": [{"name": "a", "image": "nginx:1"}], "hostPID": True}},
        "response": {"@type": "core.k8s.io/v1.Pod", "kind": "Pod", "metadata": {"name": "web"}},
    },
}


class TestGke:
    def test_rules_mean_the_same(self) -> None:
        told = ("ka.user.name", "ka.verb", "ka.target.resource", "ka.target.namespace", "ka.target.name", "ka.response.code",
                "ka.auth.decision", "ka.req.pod.host_pid", "ka.req.pod.containers.image.repository", "ka.resp.name", "ka.sourceips",
                "ka.cluster.name", "ka.stage")
        engine = falcolib.Engine(rules(["ka.auditid=b7a5"], " ".join(f"%{name}" for name in told)))
        (alert,) = engine.run(unwrap_gke(json.dumps(GKE)))
        assert alert.message == "demo@example.com create pods default web 201 allow true (nginx) web (10.0.0.1) prod ResponseComplete"
        assert alert.time == 1795405093580968000

    @pytest.mark.parametrize(("name", "expected"), [
        ("core/v1/namespaces/default/pods/web/exec", {"namespace": "default", "resource": "pods", "name": "web", "subresource": "exec"}),
        ("core/v1/nodes/n1", {"resource": "nodes", "name": "n1"}),
        ("core/v1/namespaces/x", {"namespace": "x", "resource": "namespaces", "name": "x"}),
        ("rbac.authorization.k8s.io/v1/clusterroles/r", {"apiGroup": "rbac.authorization.k8s.io", "resource": "clusterroles", "name": "r"}),
        ("core/v1/namespaces/x/pods", {"namespace": "x", "resource": "pods"}),
    ])
    def test_names_of_resources(self, name: str, expected: dict[str, str]) -> None:
        (found,) = unwrap_gke({**GKE, "protoPayload": {**GKE["protoPayload"], "resourceName": name}})
        assert found["objectRef"] == {"apiVersion": "v1", **expected}

    def test_a_denied_call_from_pubsub(self) -> None:
        entry = {**GKE, "protoPayload": {**GKE["protoPayload"], "status": {"code": 7, "message": "Forbidden"}}}
        message = {"message": {"data": base64.b64encode(json.dumps(entry).encode()).decode(), "messageId": "1"}, "subscription": "s"}
        (found,) = unwrap_gke(message)
        assert found["responseStatus"] == {"metadata": {}, "code": 403, "reason": "Forbidden"}

    def test_other_logs_are_left_out(self) -> None:
        assert not list(unwrap_gke({"textPayload": "x"}))
        assert not list(unwrap_gke({**GKE, "protoPayload": {**GKE["protoPayload"], "serviceName": "compute.googleapis.com"}}))


@pytest.mark.parametrize("unwrap", [unwrap_eks, unwrap_aks, unwrap_gke])
@pytest.mark.parametrize("message", [b"{}", b"[]", b"7", b'{"records":7,"logEvents":{},"protoPayload":[]}', b'{"message":{"a":1}}',
                                     b'{"records":[{"category":"kube-audit","properties":7}],"logEvents":[7]}'])
def test_what_holds_nothing_gives_nothing(unwrap: Any, message: bytes) -> None:
    assert not list(unwrap(message))


AKS = {"category": "kube-audit", "resourceId": "/x/PROD", "properties": {"log": LINE}}


@pytest.mark.parametrize(("unwrap", "message"), [(unwrap_eks, {"message": LINE}), (unwrap_aks, AKS), (unwrap_gke, GKE)])
def test_messages_may_come_in_lists(unwrap: Any, message: dict[str, Any]) -> None:
    one, = unwrap(message)
    both: list[Any] = [message, 7, None, [], message]
    assert [list(unwrap(x)) for x in (both, json.dumps(both), json.dumps(both).encode())] == [[one, one]] * 3


def test_a_bad_record_costs_no_other() -> None:
    bad = [{**AKS, "properties": "{"}, {**AKS, "properties": {"log": "{"}}, {**AKS, "properties": {"log": "[" * 100_000}}]
    assert len(list(unwrap_aks({"records": [*bad, AKS]}))) == 1


@pytest.mark.parametrize("unwrap", [unwrap_eks, unwrap_aks, unwrap_gke])
def test_nesting_without_end_is_no_json(unwrap: Any) -> None:
    with pytest.raises(msgspec.DecodeError):
        list(unwrap("[" * 100_000))
    with pytest.raises(msgspec.DecodeError):
        list(unwrap("[" * 100_000 + "]" * 100_000))


@pytest.mark.parametrize("unwrap", [unwrap_eks, unwrap_aks, unwrap_gke])
def test_what_is_no_message(unwrap: Any) -> None:
    with pytest.raises(TypeError, match="JSON text or a dict, not int"):
        list(unwrap(7))
