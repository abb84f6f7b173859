# SPDX-License-Identifier: Apache-2.0
"""Messages and settings for tests of notifications."""

import datetime
import json
from typing import Any

from falcolib import Priority
from falcolib.config import notifications as config
from falcolib.outputs import notify
from falcolib.outputs.output import Output


class Told:
    """A message that is what Falco's JSON says."""

    def __init__(self, falco: dict[str, Any]) -> None:
        self._falco = falco
        when = falco["time"].removesuffix("Z").partition(".")
        seconds = datetime.datetime.fromisoformat(when[0]).replace(tzinfo=datetime.timezone.utc).timestamp()
        self.time = int(seconds) * 10**9 + int(when[2].ljust(9, "0") or 0)
        self.rule, self.source, self.hostname = falco["rule"], falco["source"], falco["hostname"]
        self.priority = Priority[falco["priority"].upper()]
        self.tags = frozenset(falco.get("tags", ()))
        self.fields = falco["output_fields"]
        self.message = falco["output"].partition(f"{falco['priority']} ")[2] or falco["output"]
        self.id = f"{self.source}:1:{self.rule}"
        self.size = 1000

    def __str__(self) -> str:
        return json.dumps(self._falco["output"], ensure_ascii=False)[1:-1]

    def json(self) -> str:
        return json.dumps(self._falco, sort_keys=True)

    def as_dict(self) -> dict[str, Any]:
        return self._falco


#: An alert as they are, with a value of each kind, one absent, and some that are up to no good.
ALERT = {
    "hostname": "node-1", "priority": "Critical", "rule": "Shell of a server", "source": "syscall",
    "time": "2026-11-24T12:00:00.123456789Z",
    "output": "12:00:00.123456789: Critical nginx started a shell | command=sh -c <!channel> & [x](http://evil) @everyone \"",
    "output_fields": {
        "evt.time": 1795521600123456789, "proc.cmdline": "sh -c <!channel> & [x](http://evil) @everyone \"", "proc.pid": 4711,
        "container.id": None, "proc.aname[2]": "nginx", "evt.failed": False, "proc.args": ["-c", "id"], "fd.sip.name": "a.example"},
    "tags": ["mitre_execution", "container"],
}


def made(key: str, /, **settings: Any) -> Any:
    """The output of a group of falco.yaml with these settings."""
    group, _, _ = notify.OUTPUTS[key]
    return notify.output(key, group(enabled=True, **settings))


def payload(output: Any, *alerts: dict[str, Any]) -> Any:
    """What it sends for alerts."""
    return output.payload([output.notification(Told(alert)) for alert in alerts or (ALERT,)])


#: Enough settings for each output to be made; url is filled in.
LEAST: dict[str, dict[str, Any]] = {
    "slack_output": {"webhook_url": "{url}/hook"},
    "mattermost_output": {"webhook_url": "{url}/hook"},
    "rocketchat_output": {"webhook_url": "{url}/hook"},
    "teams_output": {"webhook_url": "{url}/hook"},
    "discord_output": {"webhook_url": "{url}/hook"},
    "webhook_output": {"url": "{url}/hook"},
    "alertmanager_output": {"url": "{url}"},
    "loki_output": {"url": "{url}"},
    "elasticsearch_output": {"url": "{url}"},
    "otlp_output": {"endpoint": "{url}"},
    "pagerduty_output": {"routing_key": "R0", "url": "{url}/v2/enqueue"},
}


def settings(key: str, url: str = "http://127.0.0.1:1", **more: Any) -> config.Notifier:
    """Settings of an output that sends requests."""
    group, _, _ = notify.OUTPUTS[key]
    return group(enabled=True, **{**{name: value.format(url=url) for name, value in LEAST[key].items()}, **more})


def least(key: str, url: str = "http://127.0.0.1:1", **more: Any) -> Output:
    """The output with settings()."""
    return notify.output(key, settings(key, url, **more))
