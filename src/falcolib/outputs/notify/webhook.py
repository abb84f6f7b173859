# SPDX-License-Identifier: Apache-2.0
"""Requests of any form: Falco's JSON, or what a template says.

Where the body is JSON, its template is read as JSON first, and the texts in it are templates, one by one: what an alert holds can't leave
its text. A text that is one expression alone keeps its type: ``"{{ fields }}"`` becomes an object.
"""

from __future__ import annotations

import json
import urllib.parse
from collections.abc import Callable, Sequence
from html import escape as html_escape
from typing import Any

from ...config.notifications import WebhookOutput
from .base import HttpNotifier, SettingError, encoded
from .notification import Notification
from .templates import Escape, Template

Maker = Callable[[Notification], Any]


class Webhook(HttpNotifier):
    """Sends requests."""

    def __init__(self, settings: WebhookOutput) -> None:
        headers = {"Content-Type": settings.content_type, **settings.headers}
        super().__init__("webhook", settings, "url", headers=headers, method=settings.method)
        kind = settings.content_type.partition(";")[0].strip().lower()
        self._json = kind == "application/json" or kind.endswith("+json")
        if not self._json and self.batch > 1:
            raise SettingError(f"{self._key}.batch", "only JSON can hold several alerts")
        if not settings.template:
            self._make: Maker = _falco
        elif self._json:
            try:
                outline = json.loads(settings.template)
            except (ValueError, RecursionError) as e:
                raise SettingError(f"{self._key}.template",
                                   f"expected JSON with templates in its texts, as content_type is {kind}: {e}") from None
            self._make = self._outline(outline)
        else:
            self._make = self.template("template", settings.template, _escape(kind)).render

    def payload(self, notifications: Sequence[Notification]) -> Any:
        made = [self._make(n) for n in notifications]
        return made if self.batch > 1 else made[0]

    def body(self, notifications: Sequence[Notification]) -> bytes:
        payload = self.payload(notifications)
        return encoded(payload) if self._json or not isinstance(payload, str) else payload.encode("utf-8", "replace")

    def _outline(self, value: Any) -> Maker:
        """What makes a value of the same form, with its texts filled in."""
        if isinstance(value, str):
            template: Template = self.template("template", value)
            return template.value
        if isinstance(value, dict):
            pairs = [(self.template("template", key).render, self._outline(inner)) for key, inner in value.items()]
            return lambda n: {key(n): inner(n) for key, inner in pairs}
        if isinstance(value, list):
            items = [self._outline(inner) for inner in value]
            return lambda n: [item(n) for item in items]
        return lambda n: value


def _falco(n: Notification) -> dict[str, Any]:
    return n.as_dict()


def _escape(kind: str) -> Escape | None:
    """What keeps a value from becoming more than text, by the type of the body."""
    if kind in ("text/html", "text/xml", "application/xml") or kind.endswith("+xml"):
        return html_escape
    if kind == "application/x-www-form-urlencoded":
        return urllib.parse.quote_plus
    return None
