# SPDX-License-Identifier: Apache-2.0
"""Settings by the names that they have in falco.yaml (spec: engine.md D1), and what their values may be."""

from __future__ import annotations

import dataclasses
import difflib
import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from .alert import AlertFormat, Priority
from .core import Matching

#: ``rules[].disable.tag``: a new entry of ``rules:`` each time.
_entry_of_rules = re.compile(r"rules\[\d*\]\.(enable|disable)\.(rule|tag)")


@dataclass(frozen=True)
class MetricsSettings:
    """``metrics.*``: which numbers are written, how often (interval: ns), and where (output_rule: as an alert; output_file: JSON lines)."""

    enabled: bool = False
    interval: int = 3600 * 10**9
    output_rule: bool = False
    output_file: str = ""
    rules_counters_enabled: bool = True
    resource_utilization_enabled: bool = True
    state_counters_enabled: bool = True
    kernel_event_counters_enabled: bool = True
    kernel_event_counters_per_cpu_enabled: bool = False
    kernel_iter_event_counters_enabled: bool = True
    libbpf_stats_enabled: bool = True
    plugins_metrics_enabled: bool = True
    jemalloc_stats_enabled: bool = False
    convert_memory_to_mb: bool = True
    include_empty_values: bool = False


@dataclass(frozen=True)
class ProbeSettings:
    """``engine.modern_ebpf.*`` and ``falco_libs.snaplen``: what Live() takes."""

    buf_size_preset: int = 4
    cpus_for_each_buffer: int = 2
    drop_failed_exit: bool = False
    snaplen: int = 80


@dataclass(frozen=True)
class Settings:
    """What falco.yaml and -o set. A group of keys is a dataclass of its own; ``format`` holds the switches of the alerts' JSON and time."""

    json_output: bool = False
    rule_matching: Matching = "first"
    priority: Priority = Priority.DEBUG
    format: AlertFormat = field(default_factory=AlertFormat)
    metrics: MetricsSettings = field(default_factory=MetricsSettings)
    rules: tuple[Mapping[str, Mapping[str, str]], ...] = ()      # enable and disable entries, in order
    probe: ProbeSettings = field(default_factory=ProbeSettings)

    def set(self, key: str, value: str) -> Settings:
        """These settings with another value of one key.

        Raises ValueError for an unknown key or a value that doesn't fit.
        """
        entry = _entry_of_rules.fullmatch(key)
        if entry:
            if not value:
                raise ValueError(f"expected a {entry[2]}")
            return dataclasses.replace(self, rules=(*self.rules, {entry[1]: {entry[2]: value}}))
        if key not in KEYS:
            near = difflib.get_close_matches(key, KEYS, 1)
            raise ValueError(f"unknown key {key!r}" + (f"; did you mean {near[0]!r}?" if near else ""))
        place, parse = KEYS[key]
        changed: Settings = _replace(self, place.split("."), parse(value))
        return changed


def read_settings(options: Iterable[str]) -> Settings:
    """Settings from ``key=value`` texts, in order.

    Raises ValueError, with the text, for an unknown key or a value that doesn't fit.
    """
    settings = Settings()
    for option in options:
        key, equals, value = option.partition("=")
        try:
            if not equals:
                raise ValueError("expected key=value")
            settings = settings.set(key.strip(), value)
        except ValueError as e:
            raise ValueError(f"-o {option}: {e}") from None
    return settings


def _replace(group: Any, path: list[str], value: object) -> Any:
    name, *rest = path
    return dataclasses.replace(group, **{name: _replace(getattr(group, name), rest, value) if rest else value})


# ---- values ----


def boolean(text: str) -> bool:
    """YAML's true and false."""
    if text.lower() in ("true", "yes", "on"):
        return True
    if text.lower() in ("false", "no", "off"):
        return False
    raise ValueError("expected true or false")


def whole_number(least: int, most: int) -> Callable[[str], int]:
    """The reader of a whole number in a range."""

    def read(text: str) -> int:
        if not re.fullmatch(r"[+-]?\d{1,19}", text) or not least <= int(text) <= most:
            raise ValueError(f"expected a whole number from {least} to {most}")
        return int(text)

    return read


_UNITS = {"y": 365 * 86400 * 10**9, "w": 7 * 86400 * 10**9, "d": 86400 * 10**9, "h": 3600 * 10**9, "m": 60 * 10**9, "s": 10**9, "ms": 10**6}


def duration(least: int) -> Callable[[str], int]:
    """The reader of a duration as Prometheus writes it, ``1h30m`` or ``250ms``: ns, at least `least`."""

    def read(text: str) -> int:
        parts = re.fullmatch(r"".join(rf"(?:(\d{{1,6}}){unit}(?![a-z]))?" for unit in _UNITS), text)
        if not text or not parts:
            raise ValueError("expected a duration with units, as 1h30m, 15s or 250ms")
        value = sum(int(count) * ns for count, ns in zip(parts.groups(), _UNITS.values(), strict=True) if count)
        if value < least:
            raise ValueError(f"expected a duration of at least {least // 10**6} ms")
        return value

    return read


def _matching(text: str) -> Matching:
    if text == "first":
        return "first"
    if text == "all":
        return "all"
    raise ValueError("expected first or all")


def _priority(text: str) -> Priority:
    name = {"INFO": "INFORMATIONAL"}.get(text.upper(), text.upper())
    if name not in Priority.__members__:
        raise ValueError("expected one of " + ", ".join(str(p).lower() for p in Priority))
    return Priority[name]


#: The keys of falco.yaml that can be set: where Settings keeps each, and the reader of its values.
KEYS: dict[str, tuple[str, Callable[[str], object]]] = {
    "json_output": ("json_output", boolean),
    "rule_matching": ("rule_matching", _matching),
    "priority": ("priority", _priority),
    **{name: (f"format.{name}", boolean) for name in AlertFormat.__dataclass_fields__ if name != "hostname"},
    **{f"metrics.{f.name}": (f"metrics.{f.name}", boolean) for f in dataclasses.fields(MetricsSettings) if f.type == "bool"},
    "metrics.interval": ("metrics.interval", duration(least=100 * 10**6)),
    "metrics.output_file": ("metrics.output_file", str),
    "engine.modern_ebpf.buf_size_preset": ("probe.buf_size_preset", whole_number(1, 10)),
    "engine.modern_ebpf.cpus_for_each_buffer": ("probe.cpus_for_each_buffer", whole_number(0, 1 << 16)),
    "engine.modern_ebpf.drop_failed_exit": ("probe.drop_failed_exit", boolean),
    "falco_libs.snaplen": ("probe.snaplen", whole_number(0, 16383)),
}
