# SPDX-License-Identifier: Apache-2.0
"""PagerDuty's Events API, version 2: https://developer.pagerduty.com/docs/send-alert-event."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from typing import Any

from ...alert import Priority
from ...config.notifications import PagerdutyOutput
from .base import HttpNotifier
from .notification import Notification, cut

#: Characters of the summary, of a key, of another text, of a detail's value.
SUMMARY, KEY, OTHER, VALUE = 1024, 255, 255, 4096
#: Details, at most: an event may have 512 KB.
DETAILS = 100

HOSTS = {"us": "https://events.pagerduty.com/v2/enqueue", "eu": "https://events.eu.pagerduty.com/v2/enqueue"}

SEVERITIES = {Priority.EMERGENCY: "critical", Priority.ALERT: "critical", Priority.CRITICAL: "critical", Priority.ERROR: "error",
              Priority.WARNING: "warning", Priority.NOTICE: "info", Priority.INFORMATIONAL: "info", Priority.DEBUG: "info"}


class Pagerduty(HttpNotifier):
    """Triggers incidents."""

    def __init__(self, settings: PagerdutyOutput) -> None:
        super().__init__("pagerduty", settings, "url", url=settings.url or HOSTS[settings.region])
        self._routing_key = self.required("routing_key", settings.routing_key)
        self._dedup_key = self.template("dedup_key", settings.dedup_key) if settings.dedup_key else None
        others = {"component": settings.component, "group": settings.group}
        self._others = {name: self.template(name, text) for name, text in others.items() if text}

    def payload(self, notifications: Sequence[Notification]) -> dict[str, Any]:
        (n,) = notifications
        event: dict[str, Any] = {
            "summary": cut(n.output, SUMMARY), "source": cut(n.hostname or "falcolib", OTHER), "severity": SEVERITIES[n.priority],
            "timestamp": n.time_iso, "class": cut(n.rule, OTHER),
            **{name: cut(template.render(n), OTHER) for name, template in self._others.items()},
            "custom_details": {
                "rule": n.rule, "priority": str(n.priority), "source": n.source, "tags": list(n.tags), "count": n.count,
                **{name: cut(value, VALUE) if isinstance(value, str) else value for name, value in sorted(n.fields.items())[:DETAILS]}}}
        told: dict[str, Any] = {"routing_key": self._routing_key, "event_action": "trigger", "client": "falcolib", "payload": event}
        if self._dedup_key:
            told["dedup_key"] = _key(self._dedup_key.render(n))
        return told


def _key(text: str) -> str:
    """A key of 255 characters at most; longer ones stay different from each other."""
    return text if len(text) <= KEY else f"{text[:KEY - 33]}-{hashlib.sha256(text.encode('utf-8', 'replace')).hexdigest()[:32]}"
