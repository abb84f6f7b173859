# SPDX-License-Identifier: Apache-2.0
"""OpenTelemetry: log records by OTLP over HTTP, as JSON or protobuf: https://opentelemetry.io/docs/specs/otlp/#otlphttp.

Severities are those that the data model gives to syslog's: https://opentelemetry.io/docs/specs/otel/logs/data-model-appendix/.
"""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from typing import Any

import msgspec

from ...alert import Priority
from ...config.notifications import OtlpOutput
from ..client import Answer
from ..message import Message
from ..output import Undelivered
from .base import HttpNotifier, encoded
from .extras import needs
from .notification import Notification, value_text

SEVERITIES = {Priority.EMERGENCY: 21, Priority.ALERT: 19, Priority.CRITICAL: 18, Priority.ERROR: 17, Priority.WARNING: 13,
              Priority.NOTICE: 10, Priority.INFORMATIONAL: 9, Priority.DEBUG: 5}
_INT = 1 << 63


class Otlp(HttpNotifier):
    """Sends log records, several in a request."""

    def __init__(self, settings: OtlpOutput) -> None:
        self._protobuf = settings.protocol == "http/protobuf"
        kind = "application/x-protobuf" if self._protobuf else "application/json"
        super().__init__("otlp", settings, "endpoint", path="/v1/logs", headers={"Content-Type": kind, **settings.headers})
        self._service = {"service.name": settings.service_name, **settings.resource_attributes}
        if self._protobuf:
            needs("otlp", f"{self._key}.protocol", "opentelemetry.proto.collector.logs.v1.logs_service_pb2", "google.protobuf.json_format")

    def payload(self, notifications: Sequence[Notification]) -> dict[str, Any]:
        from ... import __version__

        hosts: dict[str, list[dict[str, Any]]] = {}
        now = str(time.time_ns())
        for n in notifications:
            hosts.setdefault(n.hostname, []).append(_record(n, now))
        scope = {"name": "falcolib", "version": __version__}
        return {"resourceLogs": [
            {"resource": {"attributes": _attributes({"host.name": host or None, **self._service})},
             "scopeLogs": [{"scope": scope, "logRecords": records}]}
            for host, records in hosts.items()]}

    def body(self, notifications: Sequence[Notification]) -> bytes:
        payload = self.payload(notifications)
        if not self._protobuf:
            return encoded(payload)
        from google.protobuf.json_format import ParseDict
        from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import ExportLogsServiceRequest

        return bytes(ParseDict(payload, ExportLogsServiceRequest()).SerializeToString())

    def look(self, answer: Answer, messages: Sequence[Message]) -> None:
        """A collector may take only some, and doesn't say which."""
        rejected, text = self._rejected(answer.body)
        if rejected:
            raise Undelivered(f"{rejected} of {len(messages)} records refused: {text[:300]}", retry=False, left=messages[-rejected:])

    def _rejected(self, body: bytes) -> tuple[int, str]:
        if not body:
            return 0, ""
        if self._protobuf:
            from google.protobuf.message import DecodeError
            from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import ExportLogsServiceResponse

            try:
                told = ExportLogsServiceResponse.FromString(body).partial_success
            except DecodeError:
                return 0, ""
            return int(told.rejected_log_records), str(told.error_message)
        try:
            partial = msgspec.json.decode(body)["partialSuccess"]
            return int(partial.get("rejectedLogRecords", 0)), str(partial.get("errorMessage", ""))
        except (ValueError, LookupError, TypeError, AttributeError):
            return 0, ""


def _record(n: Notification, now: str) -> dict[str, Any]:
    told = {"falco.rule": n.rule, "falco.priority": str(n.priority), "falco.source": n.source, "falco.tags": list(n.tags) or None,
            "falco.count": n.count if n.count > 1 else None}
    return {"timeUnixNano": str(n.time), "observedTimeUnixNano": now, "severityNumber": SEVERITIES[n.priority],
            "severityText": str(n.priority), "body": {"stringValue": _clean(n.output)},
            "attributes": _attributes({**told, **dict(sorted(n.fields.items()))})}


def _attributes(values: Mapping[str, Any]) -> list[dict[str, Any]]:
    return [{"key": _clean(name), "value": _value(value)} for name, value in values.items() if value is not None]


def _value(value: object) -> dict[str, Any]:
    if isinstance(value, bool):
        return {"boolValue": value}
    if isinstance(value, int) and -_INT <= value < _INT:
        return {"intValue": str(value)}
    if isinstance(value, float) and value - value == 0:        # neither infinite nor NaN
        return {"doubleValue": value}
    if isinstance(value, list | tuple):
        return {"arrayValue": {"values": [_value(v) for v in value if v is not None]}}
    return {"stringValue": _clean(value_text(value))}


def _clean(text: str) -> str:
    """Text that UTF-8 can encode."""
    return text if text.isascii() else text.encode("utf-8", "replace").decode()
