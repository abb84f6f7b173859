# SPDX-License-Identifier: Apache-2.0
"""Discord: an embed in a message of a webhook. Limits: https://discord.com/developers/docs/resources/message#embed-object-embed-limits."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from ...config.notifications import DiscordOutput
from .base import HttpNotifier
from .colours import COLOURS
from .notification import Notification, cut, rows, units

#: Characters of the text above, of the embed's text, a field's name and value, the footer, all of an embed; and how many fields.
CONTENT, DESCRIPTION, NAME, VALUE, FOOTER, TOTAL, FIELDS = 2000, 2000, 256, 1024, 2048, 6000, 25


def escape(text: str) -> str:
    """Marks of Discord's Markdown as text; mentions are off by allowed_mentions, too."""
    return "".join("\\" + c if c in "\\`*_~|<>[]()#-" else c for c in text)


class Discord(HttpNotifier):
    """Sends to a webhook."""

    def __init__(self, settings: DiscordOutput) -> None:
        super().__init__("discord", settings, "webhook_url")
        self._settings = settings
        self._content = self.template("message_format", settings.message_format, escape) if settings.message_format else None

    def payload(self, notifications: Sequence[Notification]) -> dict[str, Any]:
        (n,) = notifications
        on = self._settings
        embed: dict[str, Any] = {"color": int(COLOURS[n.priority][1:], 16)}
        if on.output_format != "fields":
            embed["description"] = _escaped(n.output, DESCRIPTION)
        if on.footer:
            embed["footer"] = {"text": cut(on.footer, FOOTER)}
        if on.output_format != "text":
            left = TOTAL - units(embed.get("description", "")) - units(on.footer)
            embed["fields"] = _fields(rows(n), left)
        said = {"content": cut(self._content.render(n), CONTENT) if self._content else "", "username": on.username, "avatar_url": on.icon}
        return {**{key: value for key, value in said.items() if value}, "embeds": [embed], "allowed_mentions": {"parse": []}}


def _fields(told: list[tuple[str, str]], left: int) -> list[dict[str, Any]]:
    """As many as Discord takes; the last tells how many there are besides."""
    fields: list[dict[str, Any]] = []
    for at, (name, value) in enumerate(told):
        field = {"name": _escaped(name, NAME), "value": _escaped(value, VALUE) or "\u200b", "inline": len(value) < 36}
        size = _size(field)
        rest = len(told) - at
        if (len(fields) == FIELDS - 1 and rest > 1) or size > left - (30 if rest > 1 else 0):
            fields.append({"name": "…", "value": f"and {rest} more", "inline": False})
            break
        fields.append(field)
        left -= size
    return fields


def _size(field: dict[str, Any]) -> int:
    return units(field["name"]) + units(field["value"])


def _escaped(text: str, limit: int) -> str:
    """The text with its marks escaped, in so many characters; an escape isn't cut in two."""
    escaped = escape(text[: limit + 1])
    if len(text) <= limit and units(escaped) <= limit:
        return escaped
    kept = cut(escaped, limit)[:-1]
    if (len(kept) - len(kept.rstrip("\\"))) % 2:
        kept = kept[:-1]
    return kept + "…"
