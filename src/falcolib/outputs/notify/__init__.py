# SPDX-License-Identifier: Apache-2.0
"""Outputs that notify: chats, pagers, and services that keep alerts; one module each, docs/notifications.md.

Each is made of its group of falco.yaml (config/notifications.py): ``Slack(config.slack_output)``. A module is imported when its output is
enabled.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from ...config import notifications as config

if TYPE_CHECKING:
    from ..channel import Channel, Retry
    from ..output import Output
    from ..queue import Queue

#: The groups of falco.yaml, by key: module and class of the output.
OUTPUTS: dict[str, tuple[type[config.Notifier], str, str]] = {
    "slack_output": (config.SlackOutput, "slack", "Slack"),
    "teams_output": (config.TeamsOutput, "teams", "Teams"),
    "discord_output": (config.DiscordOutput, "discord", "Discord"),
    "mattermost_output": (config.MattermostOutput, "slack", "Mattermost"),
    "rocketchat_output": (config.RocketchatOutput, "slack", "Rocketchat"),
    "webhook_output": (config.WebhookOutput, "webhook", "Webhook"),
    "alertmanager_output": (config.AlertmanagerOutput, "alertmanager", "Alertmanager"),
    "loki_output": (config.LokiOutput, "loki", "Loki"),
    "elasticsearch_output": (config.ElasticsearchOutput, "elasticsearch", "Elasticsearch"),
    "kafka_output": (config.KafkaOutput, "kafka", "Kafka"),
    "otlp_output": (config.OtlpOutput, "otlp", "Otlp"),
    "smtp_output": (config.SmtpOutput, "smtp", "Smtp"),
    "pagerduty_output": (config.PagerdutyOutput, "pagerduty", "Pagerduty"),
}


def output(key: str, settings: config.Notifier) -> Output:
    """The output of a group of falco.yaml: ``output("slack_output", config.slack_output)``.

    Raises base.SettingError (an OutputError) for a setting that can't be used: also a library that is not installed.
    """
    _, module, name = OUTPUTS[key]
    made: Output = getattr(importlib.import_module(f".{module}", __name__), name)(settings)
    return made


def check(configuration: Any) -> None:
    """Makes what a configuration enables, and lets it go: nothing is connected to.

    Raises base.SettingError, as output().
    """
    for made, _ in _made(configuration):
        made.close()


def _made(configuration: Any) -> list[tuple[Output, config.Notifier]]:
    enabled = [(key, settings) for key in OUTPUTS if (settings := getattr(configuration, key)).enabled]
    return [(output(key, settings), settings) for key, settings in enabled]


def channels(
    configuration: Any, *, queue: Callable[[Output], Queue] | None = None, retry: Retry | None = None, wait: bool = False,
) -> list[Channel]:
    """The channels of the outputs that a configuration enables. queue: makes that of each; default in memory. wait: as Channel's, for
    replays.

    Raises base.SettingError, as output().
    """
    return [channel(made, settings, queue=queue(made) if queue else None, retry=retry, wait=wait)
            for made, settings in _made(configuration)]


def channel(
    made: Output, settings: config.Notifier, *, queue: Queue | None = None, retry: Retry | None = None, wait: bool = False,
) -> Channel:
    """An output's channel, with what its settings leave out and group."""
    from ..channel import Channel

    if not settings.group_window:
        return Channel(made, queue=queue, minimum_priority=settings.minimum_priority, tags=settings.tags, retry=retry, wait=wait)
    from .grouping import GroupingChannel

    return GroupingChannel(made, by=settings.group_by, window=settings.group_window, queue=queue,
                           minimum_priority=settings.minimum_priority, tags=settings.tags, retry=retry, wait=wait)
