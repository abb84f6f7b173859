# SPDX-License-Identifier: Apache-2.0
"""Microsoft Teams: an adaptive card for a workflow ("when a Teams webhook request is received"), or the message card of connectors.

Facts: https://adaptivecards.io/explorer/, https://learn.microsoft.com/microsoftteams/platform/webhooks-and-connectors/how-to/add-incoming-webhook.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

from ...alert import Priority
from ...config.notifications import TeamsOutput
from ..client import Answer
from ..message import Message
from ..output import Undelivered
from .base import HttpNotifier, encoded
from .colours import COLOURS
from .notification import Notification, cut, rows

#: Bytes of a message that Teams takes, some left for what it adds; characters of a text, of a value; facts.
BYTES, TEXT, VALUE, FACTS = 27 * 1024, 4000, 1500, 100

#: The style of a card's head.
STYLES = {Priority.EMERGENCY: "attention", Priority.ALERT: "attention", Priority.CRITICAL: "attention", Priority.ERROR: "attention",
          Priority.WARNING: "warning", Priority.NOTICE: "accent", Priority.INFORMATIONAL: "accent", Priority.DEBUG: "default"}


def escape(text: str) -> str:
    """Marks of the Markdown that facts and titles may have, as text."""
    return "".join("\\" + c if c in "\\`*_~[]()<>#" else c for c in text)


Facts = list[tuple[str, str]]


def _cut(facts: Facts, limit: int) -> Facts:
    return [(cut(name, 200), cut(value, limit)) for name, value in facts]


class Teams(HttpNotifier):
    """Sends to a workflow, or to a connector."""

    def __init__(self, settings: TeamsOutput) -> None:
        super().__init__("teams", settings, "webhook_url")
        self._settings = settings
        self._title = self.template("message_format", settings.message_format or "{{ rule }}", escape)

    def payload(self, notifications: Sequence[Notification]) -> dict[str, Any]:
        (n,) = notifications
        card = self._message_card if self._settings.card == "message" else self._adaptive_card
        facts = self._facts(n)
        text, value = TEXT, VALUE
        while len(encoded(payload := card(n, text, _cut(facts, value)))) > BYTES and value > 4:
            text, value = text * 3 // 4, value * 3 // 4
        if len(encoded(payload)) > BYTES:           # names of fields alone are too much
            payload = card(n, text, [])
        return payload

    def _facts(self, n: Notification) -> Facts:
        if self._settings.output_format == "text":
            return []
        told = rows(n)
        more = [("…", f"and {len(told) - FACTS} more")] if len(told) > FACTS else []
        return _cut(told[:FACTS], VALUE) + more

    def _adaptive_card(self, n: Notification, text: int, facts: Facts) -> dict[str, Any]:
        body: list[dict[str, Any]] = [{
            "type": "Container", "style": STYLES[n.priority], "bleed": True,
            "items": [{"type": "TextBlock", "text": cut(self._title.render(n), 500), "weight": "Bolder", "size": "Medium", "wrap": True}]}]
        if self._settings.output_format != "fields":    # runs of text are shown as they are
            body.append({"type": "RichTextBlock", "inlines": [{"type": "TextRun", "text": cut(n.output, text)}]})
        if facts:
            body.append({"type": "FactSet", "facts": [{"title": escape(name), "value": escape(told)} for name, told in facts]})
        card = {"$schema": "http://adaptivecards.io/schemas/adaptive-card.json", "type": "AdaptiveCard", "version": "1.4",
                "msteams": {"width": "Full"}, "fallbackText": cut(n.output, min(text, 500)), "body": body}
        return {"type": "message", "attachments": [
            {"contentType": "application/vnd.microsoft.card.adaptive", "contentUrl": None, "content": card}]}

    def _message_card(self, n: Notification, text: int, facts: Facts) -> dict[str, Any]:
        section: dict[str, Any] = {"activityTitle": cut(self._title.render(n), 500), "activitySubtitle": n.time_text, "markdown": False}
        if self._settings.output_format != "fields":
            section["text"] = _html(cut(n.output, text))
        if facts:
            section["facts"] = [{"name": _html(name), "value": _html(told)} for name, told in facts]
        return {"@type": "MessageCard", "@context": "https://schema.org/extensions", "summary": cut(n.rule, 200),
                "themeColor": COLOURS[n.priority][1:], "sections": [section]}

    def look(self, answer: Answer, messages: Sequence[Message]) -> None:
        """A connector answers 200 also where Teams refused, and says so in the text."""
        found = re.search(rb"HTTP error (\d+)", answer.body)
        if found:
            status = int(found[1])
            raise Undelivered(f"Teams answered {status}", retry=status == 429 or status >= 500)


def _html(text: str) -> str:
    return text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
