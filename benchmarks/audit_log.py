# SPDX-License-Identifier: Apache-2.0
"""A log of audit events, the same whenever it is written: what the parts of a quiet cluster ask of its API server, in turn, and, with each
twentieth event, something that rules report."""

from __future__ import annotations

import itertools
import json
import pathlib
from typing import Any

_NODE, _CONTROLLER = "system:node:node-1", "system:serviceaccount:kube-system:replicaset-controller"
_ADMIN = "kubernetes-admin"


def _metadata(number: int) -> dict[str, Any]:
    containers: dict[str, Any] = {'k:{"name":"web"}': {".": {}, "f:image": {}, "f:resources": {}}}
    fields = {"f:metadata": {"f:labels": {".": {}, "f:app": {}}}, "f:spec": {"f:containers": containers}}
    return {"name": f"web-{number}", "namespace": "shop", "uid": f"{number:08x}-9c1e-4d52-8a3f-0c5d7e9b1a2f", "labels": {"app": "web"},
            "managedFields": [{"manager": "kube-controller-manager", "operation": "Update", "apiVersion": "v1", "fieldsType": "FieldsV1",
                               "fieldsV1": fields}]}


def _pod(number: int, **security: Any) -> dict[str, Any]:
    container = {"resources": {"limits": {"cpu": "1", "memory": "1Gi"}}, "terminationMessagePath": "/dev/termination-log",
                 "imagePullPolicy": "IfNotPresent", "securityContext": {"allowPrivilegeEscalation": False, **security}}
    return {"kind": "Pod", "apiVersion": "v1", "metadata": _metadata(number), "spec": {
        "containers": [{"name": "web", "image": "registry.example/shop/web:1.4.2", **container, "ports": [{"containerPort": 8080}],
                        "env": [{"name": f"SETTING_{n}", "value": f"a value, the \"{n}th\""} for n in range(6)],
                        "volumeMounts": [{"name": "data", "mountPath": "/data"}]},
                       {"name": "proxy", "image": "registry.example/mesh/proxy:2.0", **container}],
        "volumes": [{"name": "data", "emptyDir": {}}], "restartPolicy": "Always", "schedulerName": "default-scheduler",
        "tolerations": [{"key": "node.kubernetes.io/not-ready", "operator": "Exists", "effect": "NoExecute", "tolerationSeconds": 300}]}}


def _status(number: int) -> dict[str, Any]:
    return {"metadata": {"uid": f"{number:08x}"}, "status": {
        "conditions": [{"type": kind, "status": "True", "lastTransitionTime": "2026-01-01T00:00:00Z"} for kind in ("Initialized", "Ready")],
        "podIP": "10.1.2.3", "phase": "Running"}}


def _lease(number: int) -> dict[str, Any]:
    return {"kind": "Lease", "apiVersion": "coordination.k8s.io/v1", "metadata": _metadata(number),
            "spec": {"holderIdentity": "node-1", "leaseDurationSeconds": 40, "renewTime": "2026-01-01T00:00:00.000000Z"}}


#: Of a request: who, the verb, the resource, and what makes its body.
_QUIET = (
    (_NODE, "update", "leases", _lease), (_CONTROLLER, "create", "pods", _pod), (_NODE, "get", "pods", None),
    ("system:kube-scheduler", "list", "pods", None), (_NODE, "patch", "pods", _status), (_CONTROLLER, "watch", "replicasets", None),
    ("system:kube-controller-manager", "update", "leases", _lease),
)
_REPORTED = (
    (_ADMIN, "create", "pods", lambda number: _pod(number, privileged=True)), (_ADMIN, "get", "secrets", None),
    (_ADMIN, "delete", "roles", None),
)


def write(path: pathlib.Path, level: str, count: int) -> None:
    """Writes so many events of a level: Metadata, or RequestResponse, with bodies."""
    quiet, reported = itertools.cycle(_QUIET), itertools.cycle(_REPORTED)
    with path.open("w") as file:
        for number in range(count):
            user, verb, resource, body = next(reported if number % 20 == 19 else quiet)
            objects = {"requestObject": body(number), "responseObject": body(number)} if body and level == "RequestResponse" else {}
            second = f"2026-01-01T00:{number // 60 % 60:02}:{number % 60:02}"
            event = {
                "kind": "Event", "apiVersion": "audit.k8s.io/v1", "level": level, "auditID": f"{number:08x}-5b7c-4f0e-9d2a-6e8f1c3b5a79",
                "stage": "ResponseComplete", "requestURI": f"/api/v1/namespaces/shop/{resource}/web-{number}?timeout=10s", "verb": verb,
                "user": {"username": user, "groups": ["system:authenticated"]}, "sourceIPs": ["192.0.2.10"],
                "userAgent": "kube-component/v1.32.0 (linux/amd64) kubernetes/faecb19",
                "objectRef": {"resource": resource, "namespace": "shop", "name": f"web-{number}", "apiVersion": "v1"},
                "responseStatus": {"metadata": {}, "code": 201 if verb == "create" else 200}, **objects,
                "requestReceivedTimestamp": f"{second}.000100Z", "stageTimestamp": f"{second}.004200Z",
                "annotations": {"authorization.k8s.io/decision": "allow", "authorization.k8s.io/reason": ""},
            }
            file.write(json.dumps(event, separators=(",", ":")) + "\n")
