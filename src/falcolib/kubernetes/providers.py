# SPDX-License-Identifier: Apache-2.0
"""Audit events as cloud providers wrap them, unwrapped: what comes out is for Engine.run().

    engine.run(event for message in messages for event in unwrap_eks(message))

Each function takes a message, or a list of them, as JSON text or as what that decodes to, and gives the audit events in it as dicts;
``ka.cluster.name`` is the cluster's name, where the wrapper tells it. What holds no audit event gives none, and costs no other.
"""

from __future__ import annotations

import base64
import re
import zlib
from collections.abc import Iterator, Mapping
from typing import Any, TypeAlias

import msgspec

Message: TypeAlias = "bytes | str | Mapping[str, Any] | list[Any]"
Event: TypeAlias = "dict[str, Any]"

#: Bytes that a compressed message may become.
LIMIT = 64 << 20


def _messages(message: object) -> Iterator[dict[str, Any]]:
    """Those that a message is, or a list of them."""
    if isinstance(message, bytes | bytearray | memoryview | str):
        message = _decoded(message)
    elif not isinstance(message, Mapping | list):
        raise TypeError(f"a message is JSON text or a dict, not {type(message).__name__}")
    return _parts(message if isinstance(message, list) else [message])


def _decoded(text: bytes | bytearray | memoryview | str) -> Any:
    """Raises msgspec.DecodeError."""
    try:
        return msgspec.json.decode(text)
    except RecursionError:
        raise msgspec.DecodeError("JSON is nested too deeply") from None


def _parts(value: object) -> Iterator[dict[str, Any]]:
    """The mappings in a list."""
    for part in value if isinstance(value, list) else ():
        if isinstance(part, Mapping):
            yield dict(part)


def _named(event: Event, cluster: object) -> Event:
    """An event with the cluster's name, which it gets where Falco's plugins put it."""
    if isinstance(cluster, str) and cluster:
        notes = event.get("annotations")
        event["annotations"] = {**(notes if isinstance(notes, dict) else {}), "cluster_name": cluster}
    return event


def _from_text(text: object, cluster: object) -> Iterator[Event]:
    """The event that a log line holds; none, if it is another log's."""
    if not isinstance(text, str) or not text.lstrip().startswith("{"):
        return
    try:
        event = _decoded(text)
    except msgspec.DecodeError:
        return
    if isinstance(event, dict) and "auditID" in event:
        yield _named(event, cluster)


def unwrap_eks(message: Message) -> Iterator[Event]:
    """Amazon EKS: messages of CloudWatch Logs, whose log group is ``/aws/eks/NAME/cluster``.

    Takes what a subscription delivers (its JSON, or the event of a Lambda function, in which that is compressed), answers of GetLogEvents
    and FilterLogEvents, and single log events. Streams of other logs than the API server's audit log are left out.

    Raises msgspec.DecodeError for what is no JSON, ValueError for compressed data that is corrupt or becomes larger than 64 MiB.
    """
    for data in _messages(message):
        packed = data.get("awslogs")
        for batch in _messages(_unpacked(str(packed.get("data", "")))) if isinstance(packed, dict) else [data]:
            group = re.fullmatch(r"/aws/eks/([^/]+)/cluster", str(batch.get("logGroup", "")))
            for entry in _parts(batch.get("logEvents") or batch.get("events") or [batch]):
                stream = str(entry.get("logStreamName") or batch.get("logStream") or "kube-apiserver-audit")
                if stream.startswith("kube-apiserver-audit"):
                    yield from _from_text(entry.get("message"), group and group[1])


def _unpacked(text: str) -> bytes:
    inflate = zlib.decompressobj(wbits=31)
    try:
        data = inflate.decompress(base64.b64decode(text, validate=True), LIMIT)
    except (ValueError, zlib.error) as e:
        raise ValueError(f"awslogs.data is no gzip data in base 64: {e}") from None
    if not inflate.eof:
        raise ValueError(f"awslogs.data is cut short, or larger than {LIMIT} bytes")
    return data


def unwrap_aks(message: Message) -> Iterator[Event]:
    """Azure AKS: records of a diagnostic setting (categories kube-audit, kube-audit-admin), as Event Hubs and storage accounts have them.

    Raises msgspec.DecodeError for what is no JSON.
    """
    for data in _messages(message):
        for record in _parts(data.get("records") or [data]):
            if str(record.get("category", "")).lower() not in ("kube-audit", "kube-audit-admin"):
                continue
            properties = record.get("properties")
            if isinstance(properties, str):
                try:
                    properties = _decoded(properties)
                except msgspec.DecodeError:
                    continue
            cluster = str(record.get("resourceId", "")).rstrip("/").rpartition("/")[2].lower()
            if isinstance(properties, dict):
                yield from _from_text(properties.get("log"), cluster)


#: HTTP status codes of the codes of google.rpc.Code.
_HTTP = {0: 200, 1: 499, 2: 500, 3: 400, 4: 504, 5: 404, 6: 409, 7: 403, 8: 429, 9: 400, 10: 409, 11: 400, 12: 501, 13: 500, 14: 503,
         15: 500, 16: 401}  # fmt: skip


def unwrap_gke(message: Message) -> Iterator[Event]:
    """Google GKE: entries of Cloud Logging, of a Pub/Sub sink or an export. They aren't the API server's events: these are put together
    again of what the entry tells, so that rules mean the same. What it doesn't tell is absent: groups, the URI, annotations of admission.

    Raises msgspec.DecodeError for what is no JSON, ValueError for a Pub/Sub message whose data isn't in base 64.
    """
    for data in _messages(message):
        if isinstance(data.get("message"), dict) and "data" in data["message"]:     # as Pub/Sub pushes it
            for entry in _messages(base64.b64decode(str(data["message"]["data"]), validate=True)):
                yield from _of_entry(entry)
        else:
            yield from _of_entry(data)


def _of_entry(data: dict[str, Any]) -> Iterator[Event]:
    payload = data.get("protoPayload")
    if not isinstance(payload, dict) or payload.get("serviceName") != "k8s.io":
        return
    caller = _part(payload, "requestMetadata")
    operation = _part(data, "operation")
    verb = str(payload.get("methodName", "")).rpartition(".")[2]
    status = _part(payload, "status")
    code = _HTTP.get(status.get("code", 0), 500) if isinstance(status.get("code", 0), int) else 500
    labels = {name: value for name, value in _part(data, "labels").items() if isinstance(value, str)}
    began = bool(operation.get("first")) and not operation.get("last")
    event: Event = {
        "kind": "Event", "apiVersion": "audit.k8s.io/v1", "level": "RequestResponse" if "request" in payload else "Metadata",
        "auditID": str(operation.get("id") or data.get("insertId") or "unknown"),
        "stage": "ResponseStarted" if began else "ResponseComplete", "verb": verb,
        "user": {"username": _part(payload, "authenticationInfo").get("principalEmail", "system:anonymous")},
        "objectRef": _reference(str(payload.get("resourceName", ""))),
        "responseStatus": {"metadata": {}, "code": 201 if code == 200 and verb == "create" else code},
        "stageTimestamp": data.get("timestamp") or data.get("receiveTimestamp"), "annotations": labels,
    }
    if caller.get("callerIp"):
        event["sourceIPs"] = [caller["callerIp"]]
    if caller.get("callerSuppliedUserAgent"):
        event["userAgent"] = caller["callerSuppliedUserAgent"]
    if status.get("message"):
        event["responseStatus"]["reason"] = status["message"]
    for ours, theirs in (("requestObject", "request"), ("responseObject", "response")):
        if isinstance(payload.get(theirs), dict):
            event[ours] = {name: value for name, value in payload[theirs].items() if name != "@type"}
    yield _named(event, _part(_part(data, "resource"), "labels").get("cluster_name"))


def _part(data: dict[str, Any], name: str) -> dict[str, Any]:
    part = data.get(name)
    return part if isinstance(part, dict) else {}


def _reference(name: str) -> dict[str, str]:
    """The object that ``core/v1/namespaces/default/pods/web/exec`` names."""
    group, version, *rest = [*name.split("/"), "", ""][: max(2, name.count("/") + 1)]
    found = {"apiVersion": version, **({"apiGroup": group} if group != "core" else {})}
    if len(rest) > 2 and rest[0] == "namespaces":
        found["namespace"] = rest[1]
        rest = rest[2:]
    elif rest[:1] == ["namespaces"] and len(rest) == 2:
        found["namespace"] = rest[1]
    found.update(zip(("resource", "name", "subresource"), rest, strict=False))
    return {key: value for key, value in found.items() if value}
