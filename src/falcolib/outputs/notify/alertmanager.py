# SPDX-License-Identifier: Apache-2.0
"""Prometheus' Alertmanager, version 2 of its API: https://github.com/prometheus/alertmanager/blob/main/api/v2/openapi.yaml.

Labels make an alert what it is: the same labels are the same alert. They are, as with falcosidekick: source (falco), rule, eventsource,
priority, hostname, tags, and the fields that are text.
"""

from __future__ import annotations

import re
import time
from collections.abc import Sequence
from typing import Any

from ...config.notifications import AlertmanagerOutput
from .base import HttpNotifier, SettingError, basic
from .notification import Notification, cut, value_text

#: Characters of a label's value; and of an annotation's.
LABEL, ANNOTATION = 1024, 4096
_NS = 10**9


class Alertmanager(HttpNotifier):
    """Sends alerts, several in a request."""

    def __init__(self, settings: AlertmanagerOutput) -> None:
        super().__init__("alertmanager", settings, "url", path="/api/v2/alerts", headers=basic(settings.username, settings.password))
        self._settings = settings
        for name in (*settings.labels, *settings.annotations):
            if name != label_name(name):
                raise SettingError(f"{self._key}.labels", f"{name!r} can't be the name of a label; {label_name(name)!r} can")
        self._annotations = {name: self.template(f"annotations.{name}", text) for name, text in settings.annotations.items()}

    def payload(self, notifications: Sequence[Notification]) -> list[dict[str, Any]]:
        return [self._alert(n) for n in notifications]

    def _alert(self, n: Notification) -> dict[str, Any]:
        on = self._settings
        labels = {"alertname": n.rule, "source": "falco", "rule": n.rule, "eventsource": n.source, "priority": str(n.priority),
                  "hostname": n.hostname, "tags": ",".join(n.tags)}
        annotations = {"info": n.output, "description": n.message, "summary": n.rule}
        if n.count > 1:
            annotations["count"] = str(n.count)
        for field, value in sorted(n.fields.items()):
            is_label = field in on.label_fields or ("*" in on.label_fields and isinstance(value, str))
            (labels if is_label else annotations).setdefault(label_name(field), value_text(value))
        labels.update(on.labels)
        annotations |= {name: template.render(n) for name, template in self._annotations.items()}
        alert: dict[str, Any] = {"labels": {k: cut(v, LABEL) for k, v in labels.items() if v},
                                 "annotations": {k: cut(v, ANNOTATION) for k, v in annotations.items() if v}, "startsAt": n.time_iso}
        if on.expires_after:
            ends = max(time.time_ns(), n.time) + on.expires_after
            alert["endsAt"] = time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(ends // _NS)) + f".{ends % _NS:09d}Z"
        return alert


def label_name(field: str) -> str:
    """``proc.aname[2]`` as a label may be named: ``proc_aname_2``."""
    name = re.sub(r"[^A-Za-z0-9_]+", "_", field).strip("_") or "_"
    return f"_{name}" if name[0].isdigit() else name
