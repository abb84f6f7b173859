# SPDX-License-Identifier: Apache-2.0
"""Grafana's Loki: lines pushed as streams, one for each combination of labels: https://grafana.com/docs/loki/latest/reference/loki-http-api/."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from ...config.notifications import LokiOutput
from .alertmanager import label_name
from .base import HttpNotifier, SettingError, basic, encoded
from .notification import Notification, cut, value_text

#: Characters of a label's value, of a line: Loki's own limits are 2,048 and 256 KiB.
LABEL, LINE = 1024, 128 * 1024


class Loki(HttpNotifier):
    """Pushes lines, several in a request."""

    def __init__(self, settings: LokiOutput) -> None:
        tenant = {"X-Scope-OrgID": settings.tenant} if settings.tenant else {}
        key = basic(settings.username, settings.api_key) or ({"Authorization": f"Bearer {settings.api_key}"} if settings.api_key else {})
        super().__init__("loki", settings, "url", path="/loki/api/v1/push", headers=tenant | key)
        self._settings = settings
        for name in settings.labels:
            if name != label_name(name):
                raise SettingError(f"{self._key}.labels", f"{name!r} can't be the name of a label; {label_name(name)!r} can")

    def payload(self, notifications: Sequence[Notification]) -> dict[str, Any]:
        streams: dict[tuple[tuple[str, str], ...], list[list[str]]] = {}
        for n in notifications:
            streams.setdefault(tuple(self._labels(n).items()), []).append([str(n.time), self._line(n)])
        return {"streams": [{"stream": dict(labels), "values": sorted(lines, key=lambda line: int(line[0]))}
                            for labels, lines in streams.items()]}

    def _labels(self, n: Notification) -> dict[str, str]:
        labels = {"rule": n.rule, "source": n.source, "priority": str(n.priority), "hostname": n.hostname}
        for field in self._settings.label_fields:
            if field in n.fields:
                labels[label_name(field)] = value_text(n.fields[field])
        return {k: cut(v, LABEL) for k, v in sorted({**labels, **self._settings.labels}.items()) if v}

    def _line(self, n: Notification) -> str:
        return cut(n.output, LINE) if self._settings.format == "text" else encoded(n.as_dict()).decode()
