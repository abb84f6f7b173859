# SPDX-License-Identifier: Apache-2.0
"""Audit events for tests, as an API server writes them."""

from __future__ import annotations

import io
import json
from collections.abc import Iterable
from typing import Any

import falcolib

#: Tells a rule's name and everything that it prints.
RULE = "- {{rule: r{n}, desc: d, condition: {condition}, output: {output}, priority: INFO, source: k8s_audit}}\n"


def event(**parts: Any) -> dict[str, Any]:
    """An event of a request, with some of its parts replaced; None takes one out."""
    whole = {
        "kind": "Event", "apiVersion": "audit.k8s.io/v1", "level": "RequestResponse", "auditID": "b7a5cf9e", "stage": "ResponseComplete",
        "requestURI": "/api/v1/namespaces/default/pods", "verb": "create", "user": {"username": "demo", "groups": ["dev", "ops"]},
        "sourceIPs": ["10.0.0.1", "192.168.1.1"], "userAgent": "kubectl", "objectRef": {"resource": "pods", "namespace": "default"},
        "responseStatus": {"metadata": {}, "code": 201}, "requestReceivedTimestamp": "2026-11-23T03:38:13.580336Z",
        "stageTimestamp": "2026-11-23T03:38:13.580968Z", "annotations": {"authorization.k8s.io/decision": "allow"},
    }
    return {key: value for key, value in {**whole, **parts}.items() if value is not None}


def pod(*containers: dict[str, Any], **spec: Any) -> dict[str, Any]:
    """An event of a pod that is created."""
    return event(requestObject={"kind": "Pod", "spec": {"containers": list(containers), **spec}})


def text(*events: Any) -> bytes:
    """Events as lines."""
    return b"".join(json.dumps(e, separators=(",", ":")).encode() + b"\n" for e in events)


def rules(conditions: Iterable[str], output: str = "x") -> falcolib.RuleSet:
    """Rules r0, r1, ... of audit events."""
    return falcolib.RuleSet.parse("".join(
        RULE.format(n=n, condition=json.dumps(c), output=json.dumps(output)) for n, c in enumerate(conditions)), name="audit.yaml")


def values(data: bytes | dict[str, Any], *fields: str) -> list[Any]:
    """Fields of the first event."""
    data = data if isinstance(data, bytes) else text(data)
    for found in falcolib.Engine().events(falcolib.AuditFile(io.BytesIO(data))):
        return [found[field] for field in fields]
    raise AssertionError("no event")


def value(data: bytes | dict[str, Any], field: str) -> Any:
    """A field of the first event."""
    return values(data, field)[0]


def matched(condition: str, *events: Any) -> bool:
    """Whether a condition holds for one of some events."""
    return bool(list(falcolib.Engine(rules([condition])).run(falcolib.AuditFile(io.BytesIO(text(*events))))))


def ids(data: bytes, size: int | None = None, **options: Any) -> tuple[list[str], falcolib.Stats]:
    """The audit ids of the events that a text holds, given in pieces of a size; and the statistics."""
    engine = falcolib.Engine(rules(["ka.auditid exists"], "%ka.auditid"), matching="all")
    step = size or max(len(data), 1)

    class Pieces(falcolib.AuditFile):
        def chunks(self) -> Any:
            return self._watched([*(("text", data[at:at + step]) for at in range(0, len(data), step)), ("text", b"\x1e")])

    return [alert.message for alert in engine.run(Pieces(io.BytesIO(b""), **options))], engine.stats()
