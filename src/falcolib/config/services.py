# SPDX-License-Identifier: Apache-2.0
"""Groups of falco.yaml about what runs beside the engine: the web server, metrics, captures around alerts."""

from __future__ import annotations

import re
from typing import Annotated, Literal

from .keys import Group, key


def url_path(text: str) -> None:
    """webserver.k8s_healthz_endpoint. Raises ValueError for what can't be the path of a request."""
    if not re.fullmatch(r"/[!-~]*", text) or set(text) & set("{}?#"):
        raise ValueError("expected a path, as /healthz")


class CaptureGroup(Group, frozen=True):
    """Captures around alerts."""

    enabled: Annotated[bool, key("Whether alerts may begin a capture.")] = False
    path_prefix: Annotated[str, key("What the names of captures begin with; time and number of the event and .scap follow.")] = "/tmp/falco"
    mode: Annotated[Literal["rules", "all_rules"], key("rules: those with capture: true begin one; all_rules: all.")] = "rules"
    default_duration: Annotated[int, key("Milliseconds after the alert if the rule tells no duration.", unit=10**6, ge=0)] = 5 * 10**9
    max_file_size_mb: Annotated[int, key("MiB at which a capture ends; 0: no limit.", ge=0, le=1 << 40)] = 0
    before: Annotated[int, key("Milliseconds before the alert that a capture has, at least; they are kept in memory.", unit=10**6, ge=0,
                               le=10**6, ours=True)] = 5 * 10**9
    before_max_mb: Annotated[int, key("MiB of memory for what was before; where events are many, it reaches back less far.", ge=1, le=4096,
                                      ours=True)] = 64


class Webserver(Group, frozen=True):
    """The web server: health, versions, metrics."""

    enabled: Annotated[bool, key("Whether there is one.", shipped=True)] = False
    threadiness: Annotated[int, key("Threads that work on /metrics and on the page's questions; 0: as many as processors.",
                                    ge=0, le=1 << 16)] = 0
    listen_port: Annotated[int, key("Its port.", ge=0, le=65535)] = 8765
    listen_address: Annotated[str, key("Its address: 0.0.0.0, or another IP address.")] = "0.0.0.0"
    k8s_healthz_endpoint: Annotated[str, key("The path that tells that it is alive.", check=url_path)] = "/healthz"
    prometheus_metrics_enabled: Annotated[bool, key("Whether /metrics tells the numbers, if metrics.enabled.")] = False
    ssl_enabled: Annotated[bool, key("Whether it speaks https.")] = False
    ssl_certificate: Annotated[str, key("Certificate and key in one file, PEM.")] = "/etc/falco/falco.pem"
    page_enabled: Annotated[bool, key("Whether there is a page, at /, with the alerts as they come.", ours=True)] = False
    page_token: Annotated[str, key("The bearer token that the page's readers must have; without one, who asks for this machine by its "
                                   "address or own name may read.", ours=True, secret=True)] = ""


class MetricsSettings(Group, frozen=True):
    """Numbers of the run: which are written, how often, and where."""

    enabled: Annotated[bool, key("Whether numbers are written at all.")] = False
    interval: Annotated[int, key("How often: 1h, 1h30m, 500ms; at least 100ms.", duration=100 * 10**6)] = 3600 * 10**9
    output_rule: Annotated[bool, key("Whether they are written as alerts.", shipped=True)] = False
    output_file: Annotated[str, key("A file that they are appended to, as JSON lines.")] = ""
    rules_counters_enabled: Annotated[bool, key("Alerts by rule.")] = True
    resource_utilization_enabled: Annotated[bool, key("Processor time and memory.")] = True
    state_counters_enabled: Annotated[bool, key("Processes and descriptors.")] = True
    kernel_event_counters_enabled: Annotated[bool, key("Events that the kernel side told and lost.")] = True
    kernel_event_counters_per_cpu_enabled: Annotated[bool, key("The same by processor.")] = False
    kernel_iter_event_counters_enabled: Annotated[bool, key("What BPF iterators told and lost.")] = True
    libbpf_stats_enabled: Annotated[bool, key("Runs and time of BPF programs, as the kernel counts them.")] = True
    plugins_metrics_enabled: Annotated[bool, key("Numbers of plugins.")] = True
    jemalloc_stats_enabled: Annotated[bool, key("Numbers of the allocator jemalloc, where it is in the place of the C library's.",
                                                shipped=False)] = True
    convert_memory_to_mb: Annotated[bool, key("Whether memory is told in MiB instead of KiB.")] = True
    include_empty_values: Annotated[bool, key("Whether numbers that are 0 are told.")] = False
    costs_enabled: Annotated[bool, key("Processor time by rule and by stage; counting it costs about as much again as the rules.",
                                       ours=True)] = False
