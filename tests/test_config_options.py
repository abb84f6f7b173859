# SPDX-License-Identifier: Apache-2.0
"""-o: keys of falco.yaml by their paths, and what their values may be."""

from collections.abc import Callable
from typing import Any

import pytest

from falcolib import Priority
from falcolib.config import ConfigError, Configuration, load
from falcolib.config.keys import rows

pytestmark = pytest.mark.daemon

TABLE = list(rows(Configuration))


def test_later_values_win_and_the_others_stay() -> None:
    settings = load(None, ["priority=error", "json_output=true", "priority=info", "json_include_tags_property=off"])
    assert settings.priority is Priority.INFORMATIONAL
    assert settings.json_output
    assert not settings.format.json_include_tags_property
    assert settings.format.json_include_output_property


@pytest.mark.parametrize(("text", "ns"), [("100ms", 10**8), ("1s", 10**9), ("1h30m", 5400 * 10**9), ("2m5s", 125 * 10**9)])
def test_durations_are_prometheus(text: str, ns: int) -> None:
    assert load(None, [f"metrics.interval={text}"]).metrics.interval == ns


@pytest.mark.parametrize(
    ("option", "says"),
    [
        ("json_output", "expected key=value"),
        ("json_output=maybe", "true or false"),
        ("json_output[]=true", "true or false, not a list"),
        ("priority=urgent", "expected one of emergency"),
        ("rule_matching=some", "first or all"),
        ("jsn_output=true", "did you mean 'json_output'?"),
        ("metrics.interval=5", "with units"),
        ("metrics.interval=", "with units"),
        ("metrics.interval=1m2h", "with units"),
        ("metrics.interval=99ms", "at least 100 ms"),
        ("metrics.enable=true", "did you mean 'metrics.enabled'?"),
        ("metrics=yes", "keys and values below it"),
        ("engine.modern_ebpf.buf_size_preset=11", "a whole number from 1 to 10"),
        ("engine.kind=ebpf", "use modern_ebpf"),
        ("syscall_event_drops.threshold=1.5", "a number from 0 to 1"),
        ("syscall_event_drops.actions[]=shout", "ignore, log, alert or exit"),
        ("outputs_queue.capacity=-1", "whole number from 0"),
        ("rules[1].disable.rule=x", "the list has 0 entries"),
        ("rules[].disable.rule=", "expected a rule"),
        ("rules[].drop.rule=a", "expected entries of enable or disable"),
        ("append_output[]={extra_outptu: x}", "expected entries of match"),
        ("static_fields.a b=1", "'a b' can't be a name"),
        ("plugins[]={library_path: x}", "name is missing"),
        ("plugins[]={name: [}", "did not find expected node content|flow"),
        ("rules[.x=1", "']' is missing"),
        (".x=1", "a name is missing before '.'"),
        ("x.=1", "a name is missing after '.'"),
        ("[0]=1", "a name is missing before"),
        ("=1", "a key is missing"),
    ],
)
def test_what_doesnt_fit_is_told(option: str, says: str) -> None:
    with pytest.raises(ConfigError, match=says) as told:
        load(None, [option])
    assert option in str(told.value)


def test_all_mistakes_are_told_at_once() -> None:
    with pytest.raises(ConfigError) as told:
        load(None, ["priority=urgent", "json_output=maybe"])
    assert {line.partition(":")[0] for line in str(told.value).splitlines()} == {"-o json_output=maybe", "-o priority=urgent"}


@pytest.mark.parametrize(("options", "get", "expected"), [
    (["rules[].disable.rule=*", "rules[].enable.tag=net"], lambda c: c.rules, ({"disable": {"rule": "*"}}, {"enable": {"tag": "net"}})),
    (["rules_files[]=a.yaml", "rules_files[]=b.yaml", "rules_files[0]=c.yaml"], lambda c: c.rules_files, ("c.yaml", "b.yaml")),
    (["rules_files=a.yaml"], lambda c: c.rules_files, ("a.yaml",)),
    (["engine={kind: replay, replay: {capture_file: x.scap}}"],
     lambda c: (c.engine.kind, c.engine.replay.capture_file), ("replay", "x.scap")),
    (["engine={kind: replay}", "engine.replay.capture_file=x"], lambda c: c.engine.replay.capture_file, "x"),
    ([r"static_fields.a\.b=1.50"], lambda c: c.static_fields, {"a.b": "1.50"}),
    ([r"plugins[]={name: json}", r"plugins[0].init_config.a\.b\[c\]\\=d"], lambda c: c.plugins[0].init_config, {"a.b[c]\\": "d"}),
    (["append_output[].extra_fields[].x=%proc.name"], lambda c: c.append_output, ({"extra_fields": [{"x": "%proc.name"}]},)),
    (["plugins[]={name: container, init_config: {label_max_len: 5, engines: {cri: {enabled: false, sockets: ['1']}}}}"],
     lambda c: c.plugins[0].init_config, {"label_max_len": 5, "engines": {"cri": {"enabled": False, "sockets": ["1"]}}}),
    (["plugins[0].name=json", "plugins[0].init_config.n=7"], lambda c: (c.plugins[0].name, c.plugins[0].init_config), ("json", {"n": 7})),
    (["http_output.url=https://h/?a=b"], lambda c: c.http_output.url, "https://h/?a=b"),
    (["file_output.filename=${HOME}/x-$${HOME}-${UNSET}-"], lambda c: c.file_output.filename, "/me/x-${HOME}--"),
    (["json_output=${ON}"], lambda c: c.json_output, True),
    (["output_timeout=1500"], lambda c: c.output_timeout, 1500 * 10**6),
    (["syscall_event_drops.rate=.5"], lambda c: c.syscall_event_drops.rate, 0.5),
    (["log_level=~"], lambda c: c.log_level, "info"),
])  # fmt: skip
def test_paths_and_values(options: list[str], get: Callable[[Configuration], Any], expected: object) -> None:
    assert get(load(None, options, {"HOME": "/me", "ON": "yes"})) == expected


def test_without_a_file_alerts_go_to_stdout_alone() -> None:
    config = load(None)
    assert config == load(None, [])
    outputs = [row.name for row in TABLE if row.name.endswith("output.enabled")]
    assert [name for name in outputs if _value(config, name)] == ["stdout_output.enabled"]
    assert (config.append_output, config.log_syslog, config.webserver.enabled) == ((), False, False)


def test_the_table_tells_where_a_run_without_a_file_differs() -> None:
    assert {row.name: row.bare for row in TABLE} == {row.name: _value(load(None), row.name) for row in TABLE}


def test_the_table_tells_what_missing_keys_mean() -> None:
    assert {row.name: row.absent for row in TABLE} == {row.name: _value(Configuration(), row.name) for row in TABLE}


def test_every_key_has_help() -> None:
    assert [row.name for row in TABLE if len(row.key.help) < 8] == []


def test_secrets_are_not_shown() -> None:
    config = load(None, ["http_output.url=https://me:hunter2@host/"])
    assert "hunter2" not in repr(config)
    assert config.origin.resolved == {"http_output": {"url": "***"}}
    assert "url=***" in repr(config.http_output)


def _value(config: Configuration, name: str) -> object:
    at: Any = config
    for part in name.split("."):
        at = getattr(at, part)
    return at
