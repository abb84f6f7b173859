# SPDX-License-Identifier: Apache-2.0
"""Slack, and Mattermost and Rocket.Chat, which read the same: one attachment, in falcosidekick's form (spec: kubernetes.md 6).

Otherwise than falcosidekick: numbers and lists are shown too, fields without a value are not, and what an alert holds can neither mention
anybody nor make a link.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from ...config.notifications import MattermostOutput, RocketchatOutput, SlackOutput
from .base import HttpNotifier
from .colours import COLOURS
from .notification import Notification, cut, rows

#: Characters of a text and of a field's value; Slack refuses or folds longer ones.
TEXT, VALUE = 3000, 2000
#: Values shorter than this stand beside each other.
SHORT = 36


def escape(text: str) -> str:
    """As Slack asks: https://docs.slack.dev/messaging/formatting-message-text. So ``<!channel>`` of an alert is text."""
    return text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")


def escape_markdown(text: str) -> str:
    """For services that read Markdown: nobody is mentioned (a joiner of no width stands behind each @), links and marks are text."""
    text = "".join("\\" + c if c in "\\`*_~[]|#" else c for c in text)
    return escape(text).replace("@", "@\u2060")


class Slack(HttpNotifier):
    """Sends to an incoming webhook."""

    escape = staticmethod(escape)

    def __init__(self, settings: SlackOutput, name: str = "slack") -> None:
        super().__init__(name, settings, "webhook_url")
        self._settings = settings
        self._text = self.template("message_format", settings.message_format, self.escape) if settings.message_format else None

    def payload(self, notifications: Sequence[Notification]) -> dict[str, Any]:
        (n,) = notifications
        on = self._settings
        text = self.escape(cut(n.output, TEXT))
        attachment: dict[str, Any] = {"fallback": text, "color": COLOURS[n.priority]}
        if on.output_format != "fields":
            attachment["text"] = text
        if on.output_format != "text":
            attachment["fields"] = [{"title": self.escape(title), "value": self.escape(cut(value, VALUE)),
                                     "short": title != "time" and len(value) < SHORT} for title, value in rows(n)]
            if on.footer:
                attachment["footer"] = on.footer
        said = {"text": self._text.render(n) if self._text else "", "username": on.username, "icon_url": on.icon, "channel": on.channel}
        return {**{key: value for key, value in said.items() if value}, "attachments": [attachment]}


class Mattermost(Slack):
    """Sends to an incoming webhook of Mattermost."""

    escape = staticmethod(escape_markdown)

    def __init__(self, settings: MattermostOutput) -> None:
        super().__init__(settings, "mattermost")


class Rocketchat(Slack):
    """Sends to an incoming webhook of Rocket.Chat."""

    escape = staticmethod(escape_markdown)

    def __init__(self, settings: RocketchatOutput) -> None:
        super().__init__(settings, "rocketchat")
