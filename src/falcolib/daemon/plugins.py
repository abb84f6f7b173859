# SPDX-License-Identifier: Apache-2.0
"""The entries of falco.yaml's ``plugins``: those that Falco comes with are built in; others can't be used."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import msgspec

from ..config import ConfigError, Configuration
from ..config.engine import Plugin

if TYPE_CHECKING:
    from ..containers import Containers

#: What k8saudit's open_params are where there are none: any path that API servers are told.
AUDIT_ADDRESS = "http://:9765"
#: Name, and what it is for.
BUILT_IN = {
    "container": "containers' names and images, asked of their runtimes",
    "k8saudit": "Kubernetes' audit events",
    "json": "fields of JSON documents",
}
#: Settings of each, and examples of open_params.
_SUGGESTIONS: Mapping[str, tuple[Mapping[str, str], tuple[str, ...]]] = {
    "container": ({"label_max_len": "characters of a label's value (100)", "with_size": "also ask for the size of layers (false)",
                   "engines": "by runtime: enabled, sockets"}, ()),
    "k8saudit": ({"sslCertificate": "certificate and key of https, PEM (/etc/falco/falco.pem)",
                  "maxEventSize": "bytes of an event (12582912)", "webhookMaxBatchSize": "bytes of a request (12582912)",
                  "useAsync": "accepted, without effect"},
                 ("http://:9765/k8s-audit", "https://:9765/k8s-audit", "file:///var/log/kube-apiserver/audit.log", "audit.jsonl")),
}
#: Where others get their events from, and how falcolib gets them.
_INSTEAD = {
    "k8saudit-eks": "have the audit log written to a file or posted, and name it in the open_params of k8saudit; falcolib.kubernetes reads "
                    "events out of CloudWatch's records (unwrap_eks)",
    "k8saudit-gke": "have the audit log posted, and name the address in the open_params of k8saudit",
    "k8saudit-aks": "have the audit log written to a file or posted, and name it in the open_params of k8saudit; falcolib.kubernetes reads "
                    "events out of Event Hub's records (unwrap_aks)",
}


class Audit(msgspec.Struct, frozen=True):
    """k8saudit: where its events come from, the settings that have an effect, and its place in the configuration, for errors."""

    where: str
    at: str = "plugins: k8saudit"
    certificate: str = "/etc/falco/falco.pem"
    limit: int | None = None    # as sources have it; Falco's is 262144, which would let who pads a request hide it
    body: int = 12 << 20


class Plugins(msgspec.Struct, frozen=True):
    """What the loaded plugins are for: the runtimes of containers (None: nobody is asked), and audit events (None: none)."""

    container: Containers | None = None
    audit: Audit | None = None
    names: tuple[str, ...] = ()


def suggestions(name: str) -> tuple[Mapping[str, str], tuple[str, ...]]:
    """What a plugin's init_config may have, and examples of its open_params."""
    return _SUGGESTIONS.get(name, ({}, ()))


def read_plugins(config: Configuration) -> Plugins:
    """The plugins that a configuration loads. Raises ConfigError."""
    names = [plugin.name for plugin in config.plugins]
    problems = [config.origin.located(f"load_plugins[{number}]", f"{name} is not in plugins, which has {', '.join(names) or 'none'}")
                for number, name in enumerate(config.load_plugins) if name not in names]
    chosen = config.load_plugins or names
    loaded = {number: plugin for number, plugin in enumerate(config.plugins) if plugin.name in chosen}
    found: dict[str, Any] = {"names": tuple(plugin.name for plugin in loaded.values())}
    for number, plugin in loaded.items():
        try:
            settings = _settings(plugin)
            if plugin.name == "container":
                from ..containers import Containers

                found["container"] = Containers.from_config(settings)
            elif plugin.name == "k8saudit":
                found["audit"] = _audit(plugin, settings, config.origin.located(f"plugins[{number}]", plugin.name))
            elif plugin.name not in BUILT_IN:
                cure = _INSTEAD.get(plugin.name, f"take it out of load_plugins or plugins; built in are {', '.join(BUILT_IN)}")
                raise ValueError(f"falcolib loads no libraries of plugins: {cure}")
        except ValueError as e:
            problems.append(config.origin.located(f"plugins[{number}]", f"{plugin.name}: {str(e).removeprefix('container: ')}"))
    if problems:
        raise ConfigError("\n".join(problems))
    return Plugins(**found)


def _settings(plugin: Plugin) -> Mapping[str, Any]:
    """init_config: keys and values, or their JSON. Raises ValueError."""
    settings = plugin.init_config
    if isinstance(settings, str) and settings.strip():
        try:
            settings = msgspec.json.decode(settings)
        except msgspec.DecodeError as e:
            raise ValueError(f"init_config: this is no JSON: {e}") from None
    settings = settings or {}
    if not isinstance(settings, dict):
        raise ValueError("init_config: expected keys and values")
    return settings


def _audit(plugin: Plugin, settings: Mapping[str, Any], at: str) -> Audit:
    found: dict[str, Any] = {"where": plugin.open_params or AUDIT_ADDRESS, "at": at}
    for name, ours, kind in (("sslCertificate", "certificate", str), ("maxEventSize", "limit", int), ("webhookMaxBatchSize", "body", int),
                             ("useAsync", None, bool)):
        value = settings.get(name)
        if value is None:
            continue
        if not isinstance(value, kind) or (kind is int and value in (True, False)) or (isinstance(value, int) and not 0 <= value < 1 << 63):
            raise ValueError(f"init_config.{name}: expected " + {str: "a path", int: "a number of bytes", bool: "true or false"}[kind])
        if ours:
            found[ours] = value
    return Audit(**found)
