# SPDX-License-Identifier: Apache-2.0
"""Which test fails when a key of falco.yaml is ignored."""

from __future__ import annotations

import functools
import re
import typing
from pathlib import Path
from typing import Any

import pytest

from falcolib import Priority
from falcolib.config import Configuration, load
from falcolib.config.engine import ConfigFile, Plugin
from falcolib.config.keys import Row, rows
from falcolib.outputs.notify import OUTPUTS

pytestmark = pytest.mark.daemon
HERE = Path(__file__).parent
TABLE = {row.name: row for row in rows(Configuration)}

#: Keys of Falco: the tests, as FILE::TEST; of a group with the same test for all, GROUP.*.
TESTS = {
    "config_files": "test_config_files.py::test_strategies_of_merging",
    "watch_config_files": "test_daemon.py::test_watch_config_files",
    "rules_files": "test_daemon.py::test_rules_files",
    "rules": "test_daemon.py::test_rules",
    "engine.kind": "test_daemon.py::test_engine_kind_and_replay",
    "engine.kmod.*": "test_daemon.py::test_what_live_is_given",
    "engine.modern_ebpf.*": "test_daemon.py::test_what_live_is_given",
    "engine.replay.capture_file": "test_daemon.py::test_engine_kind_and_replay",
    "capture.enabled": "test_daemon.py::test_capture",
    "capture.path_prefix": "test_daemon.py::test_capture",
    "capture.mode": "test_daemon.py::test_capture",
    "capture.default_duration": "test_daemon.py::test_capture",
    "capture.max_file_size_mb": "test_daemon.py::test_capture",
    "load_plugins": "test_daemon.py::test_load_plugins",
    "plugins": "test_daemon.py::test_plugins",
    "plugins_hostinfo": "test_daemon.py::test_plugins_hostinfo",
    "time_format_iso_8601": "test_daemon.py::test_time_format_iso_8601",
    "buffer_format_base64": "test_daemon.py::test_buffer_format_base64",
    "priority": "test_daemon.py::test_priority",
    "json_output": "test_daemon.py::test_json_output",
    "json_include_output_property": "test_daemon.py::test_what_json_has",
    "json_include_message_property": "test_daemon.py::test_what_json_has",
    "json_include_output_fields_property": "test_daemon.py::test_what_json_has",
    "json_include_tags_property": "test_daemon.py::test_what_json_has",
    "buffered_outputs": "test_outputs_config.py::test_file_output",
    "rule_matching": "test_daemon.py::test_rule_matching",
    "outputs_queue.capacity": "test_outputs_config.py::test_outputs_queue",
    "append_output": "test_daemon.py::test_append_output",
    "static_fields": "test_daemon.py::test_static_fields",
    "stdout_output.enabled": "test_daemon.py::test_stdout_output",
    "syslog_output.enabled": "test_outputs_config.py::test_syslog_output",
    "file_output.*": "test_outputs_config.py::test_file_output",
    "program_output.*": "test_outputs_config.py::test_program_output",
    "http_output.enabled": "test_outputs_config.py::test_http_output",
    "http_output.url": "test_outputs_config.py::test_http_output",
    "http_output.user_agent": "test_outputs_config.py::test_http_output",
    "http_output.compress_uploads": "test_outputs_config.py::test_http_output",
    "http_output.insecure": "test_outputs_config.py::test_http_output_tls",
    "http_output.ca_cert": "test_outputs_config.py::test_http_output_tls",
    "http_output.ca_bundle": "test_outputs_config.py::test_http_output_tls",
    "http_output.ca_path": "test_outputs_config.py::test_http_output_tls",
    "http_output.mtls": "test_outputs_config.py::test_http_output_tls",
    "http_output.client_cert": "test_outputs_config.py::test_http_output_tls",
    "http_output.client_key": "test_outputs_config.py::test_http_output_tls",
    "http_output.echo": "test_outputs_config.py::test_http_output_echo",
    "http_output.keep_alive": "test_outputs_config.py::test_http_output_keep_alive",
    "http_output.max_consecutive_timeouts": "test_outputs_config.py::test_http_output_max_consecutive_timeouts",
    "webserver.enabled": "test_daemon.py::test_webserver",
    "webserver.listen_port": "test_daemon.py::test_webserver",
    "webserver.listen_address": "test_daemon.py::test_webserver_listen_address",
    "webserver.k8s_healthz_endpoint": "test_daemon.py::test_webserver_paths",
    "webserver.prometheus_metrics_enabled": "test_daemon.py::test_webserver_paths",
    "webserver.threadiness": "test_daemon.py::test_webserver_threadiness",
    "webserver.ssl_enabled": "test_daemon.py::test_webserver_ssl",
    "webserver.ssl_certificate": "test_daemon.py::test_webserver_ssl",
    "log_stderr": "test_daemon.py::test_log_stderr",
    "log_syslog": "test_daemon.py::test_log_syslog",
    "log_level": "test_daemon.py::test_log_level",
    "libs_logger.*": "test_daemon.py::test_libs_logger",
    "output_timeout": "test_outputs_config.py::test_output_timeout",
    "syscall_event_timeouts.max_consecutives": "test_drops.py::test_it_is_told_after_so_many_timeouts",
    "syscall_event_drops.threshold": "test_drops.py::test_more_than_the_threshold",
    "syscall_event_drops.actions": "test_drops.py::test_exit_stops_the_run_with_an_error",
    "syscall_event_drops.rate": "test_drops.py::test_the_rate_is_limited_by_a_token_bucket",
    "syscall_event_drops.max_burst": "test_drops.py::test_the_rate_is_limited_by_a_token_bucket",
    "syscall_event_drops.simulate_drops": "test_drops.py::test_simulated_losses_act_each_second",
    "metrics.libbpf_stats_enabled": "test_metrics.py::test_a_source_s_own_counters_are_told",
    "metrics.enabled": "test_metrics.py::test_a_run_ends_with_a_sample_in_the_file",
    "metrics.interval": "test_daemon.py::test_metrics_interval",
    "metrics.output_rule": "test_metrics.py::test_among_the_alerts",
    "metrics.output_file": "test_metrics.py::test_a_run_ends_with_a_sample_in_the_file",
    "metrics.rules_counters_enabled": "test_metrics.py::test_groups_are_switched_off_by_name",
    "metrics.resource_utilization_enabled": "test_metrics.py::test_groups_are_switched_off_by_name",
    "metrics.state_counters_enabled": "test_metrics.py::test_groups_are_switched_off_by_name",
    "metrics.kernel_event_counters_enabled": "test_metrics.py::test_a_source_s_own_counters_are_told",
    "metrics.kernel_event_counters_per_cpu_enabled": "test_metrics.py::test_a_source_s_own_counters_are_told",
    "metrics.kernel_iter_event_counters_enabled": "test_metrics.py::test_a_source_s_own_counters_are_told",
    "metrics.plugins_metrics_enabled": "test_metrics.py::test_plugins",
    "metrics.jemalloc_stats_enabled": "test_metrics.py::test_jemalloc",
    "metrics.convert_memory_to_mb": "test_metrics.py::test_memory_in_kib",
    "metrics.include_empty_values": "test_metrics.py::test_empty_values_are_left_out_unless_they_are_wanted",
    "base_syscalls.*": "test_daemon.py::test_base_syscalls",
    "falco_libs.thread_table_size": "test_daemon.py::test_thread_table_size",
    "falco_libs.thread_table_auto_purging_interval_s": "test_daemon.py::test_thread_table_purging",
    "falco_libs.thread_table_auto_purging_thread_timeout_s": "test_daemon.py::test_thread_table_purging",
    "falco_libs.snaplen": "test_daemon.py::test_what_live_is_given",
}
#: Keys of ours, by group. (Those of notifications have a test for each output in test_notify_*.py.)
OURS = {
    "outputs_queue": "test_outputs_config.py::test_outputs_queue", "spool": "test_outputs_config.py::test_spool",
    "stdout_output": "test_outputs_config.py::test_each_output_has_a_least_priority_and_tags",
    "file_output": "test_outputs_config.py::test_each_output_has_a_least_priority_and_tags",
    "syslog_output": "test_outputs_config.py::test_syslog_output", "program_output": "test_outputs_config.py::test_program_output",
    "http_output": "test_outputs_config.py::test_http_output_max_consecutive_timeouts",
    "webserver": "test_page.py::test_a_token",
    "metrics": "test_costs.py::test_metrics_tell_them_if_they_are_to",
    "engine": "test_daemon.py::test_what_live_is_given",
    "capture": "test_captures_around_alerts.py::test_they_reach_back_and_end_after_the_last_alert",
}


def listed(key: str, names: Any) -> str | None:
    """The entry for a key: its own, or that of its group."""
    return key if key in names else next((name for name in names if name.endswith(".*") and key.startswith(name[:-1])), None)


def test_every_key_of_falco_has_a_test() -> None:
    assert {name for name, row in TABLE.items() if not row.key.ours and listed(name, TESTS) is None} == set()


def test_our_own_keys_have_tests_by_group() -> None:
    ours = {name.partition(".")[0] for name, row in TABLE.items() if row.key.ours}
    assert ours - OURS.keys() == set(OUTPUTS)


def test_the_table_has_no_other_keys() -> None:
    used = {listed(name, TESTS) for name in TABLE}
    assert set(TESTS) - used == set()


@pytest.mark.parametrize("test", sorted({*TESTS.values(), *OURS.values()}))
def test_the_tests_exist(test: str) -> None:
    file, _, name = test.partition("::")
    assert re.search(rf"^ *def {name}\(", _text(file), re.MULTILINE)


@functools.cache
def _text(file: str) -> str:
    return (HERE / file).read_text()


@pytest.mark.parametrize("key", TABLE)
def test_every_key_is_read(key: str, tmp_path: Path) -> None:
    """Each key has another value when another is given, and no other key has."""
    text, value = another(TABLE[key])
    path = tmp_path / "falco.yaml"
    *groups, name = key.split(".")
    path.write_text("".join(f"{'  ' * depth}{group}:\n" for depth, group in enumerate(groups)) + "  " * len(groups) + f"{name}: {text}\n")
    config = load(str(path), (), {})
    assert config.origin.files[0].schema == "ok"
    assert {name for name, row in TABLE.items() if at(config, name) != row.absent} == {key}
    assert at(config, key) == value


def at(config: Configuration, key: str) -> Any:
    found: Any = config
    for part in key.split("."):
        found = getattr(found, part)
    return found


def another(row: Row) -> tuple[str, Any]:
    """A value that isn't the one of a missing key: as YAML, and as it is read."""
    special: dict[str, tuple[str, Any]] = {
        "config_files": ("[/nothing]", (ConfigFile("/nothing"),)),
        "plugins": ("[{name: json, library_path: x, init_config: {a: 1}}]", (Plugin("json", "x", {"a": 1}),)),
        "rules": ("[{disable: {tag: x}}]", ({"disable": {"tag": "x"}},)),
        "append_output": ("[{extra_output: x}]", ({"extra_output": "x"},)),
        "webserver.k8s_healthz_endpoint": ("/alive", "/alive"),
    }
    type_, key = row.type, row.key
    if row.name in special:
        return special[row.name]
    if key.duration is not None:
        value = max(key.duration, 10**9) + 5 * 10**9
        value += 10**9 if value == row.absent else 0
        return f"{value // 10**6}ms", value
    if type_ is bool:
        return str(not row.absent).lower(), not row.absent
    if type_ is Priority:
        return "warning", Priority.WARNING
    if type_ is int:
        unit = key.unit or 1
        value = row.absent // unit + (1 if key.le is None or row.absent // unit < key.le else -1)
        return str(value), value * unit
    if type_ is float:
        return "0.7", 0.7
    if type_ is str:
        return "other", "other"
    origin, arguments = typing.get_origin(type_), typing.get_args(type_)
    if origin is typing.Literal:
        value = next(choice for choice in arguments if choice != row.absent)
        return value, value
    if origin is tuple:
        inner = next((choice for choice in typing.get_args(arguments[0]) if (choice,) != row.absent), "x")
        return f"[{inner}]", (inner,)
    return "{a: b}", {"a": "b"}
