# SPDX-License-Identifier: Apache-2.0
"""falco.yaml: files, how they are merged, and what is said of what is wrong in them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import jsonschema
import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from falcolib import Priority
from falcolib.config import ConfigError, Configuration, load
from falcolib.config.engine import ConfigFile, Plugin
from falcolib.config.keys import json_schema, rows
from falcolib.config.reading import REMOVED

pytestmark = pytest.mark.daemon
SCHEMA = json_schema(Configuration)

#: As distributions of Falco have it, shortened, with keys of each form.
FALCO_YAML = """\
config_files: []
watch_config_files: true
rules_files:
  - /etc/falco/falco_rules.yaml
  - /etc/falco/rules.d
rules:
  - disable: {rule: "*"}
  - enable: {tag: network}
engine:
  kind: modern_ebpf
  kmod: {buf_size_preset: 4, drop_failed_exit: false}
  modern_ebpf: {cpus_for_each_buffer: 2, buf_size_preset: 5, drop_failed_exit: true}
load_plugins: [container]
plugins:
  - name: container
    library_path: libcontainer.so
    init_config:
      label_max_len: 100
      with_size: false
  - name: k8saudit
    library_path: libk8saudit.so
    init_config: ""
    open_params: "http://:9765/k8s_audit"
time_format_iso_8601: yes
priority: Info
append_output:
  - suggested_output: true
  - match: {source: syscall, tags: [a]}
    extra_output: "on %static.place"
    extra_fields: [proc.aname, {name: "%proc.name"}]
static_fields: {place: "${PLACE}", cost: 12}
stdout_output: {enabled: true}
http_output: {url: "http://some.url", enabled: false}
output_timeout: 2000
log_level: info
syscall_event_drops: {threshold: .1, actions: [log, alert], rate: .03333, max_burst: 1, simulate_drops: false}
metrics: {enabled: false, interval: 1h, output_rule: true}
falco_libs: {thread_table_size: 262144}
"""


def written(folder: Path, **texts: str) -> str:
    """Files in a folder, by name with _ for .; the path of the first."""
    paths = []
    for name, text in texts.items():
        paths.append(folder / name.replace("_yaml", ".yaml"))
        paths[-1].write_text(text)
    return str(paths[0])


def loaded(folder: Path, text: str, *options: str, environ: dict[str, str] | None = None) -> Configuration:
    return load(written(folder, falco_yaml=text), options, environ or {})


def test_a_file_as_falco_has_it(tmp_path: Path) -> None:
    config = loaded(tmp_path, FALCO_YAML, environ={"PLACE": "cellar"})
    assert config.origin.warnings == ()
    assert [file.schema for file in config.origin.files] == ["ok"]
    assert config.rules == ({"disable": {"rule": "*"}}, {"enable": {"tag": "network"}})
    assert (config.engine.modern_ebpf.buf_size_preset, config.engine.modern_ebpf.drop_failed_exit) == (5, True)
    assert config.plugins[0] == Plugin("container", "libcontainer.so", {"label_max_len": 100, "with_size": False})
    assert (config.time_format_iso_8601, config.priority) == (True, Priority.INFORMATIONAL)
    assert config.append_output[1]["extra_fields"] == ["proc.aname", {"name": "%proc.name"}]
    assert config.static_fields == {"place": "cellar", "cost": "12"}
    assert (config.output_timeout, config.metrics.interval) == (2 * 10**9, 3600 * 10**9)
    assert config.syscall_event_drops.threshold == 0.1


def test_missing_keys_have_the_values_of_the_program_not_those_of_the_shipped_file(tmp_path: Path) -> None:
    config = loaded(tmp_path, "json_output: true\n")
    assert (config.stdout_output.enabled, config.syslog_output.enabled, config.webserver.enabled, config.log_stderr) == (False,) * 4
    assert (config.log_syslog, config.watch_config_files, config.metrics.jemalloc_stats_enabled) == (True,) * 3
    assert config.append_output == ()


def test_an_empty_file_is_a_configuration(tmp_path: Path) -> None:
    for text in ("", "# nothing\n", "---\n", "~\n"):
        assert loaded(tmp_path, text).origin.files[0].schema == "ok"


# ---- merging ----


def merged(folder: Path, strategy: str | None, main: str, other: str) -> Configuration:
    entry = f"{folder}/other.yaml" if strategy is None else f"{{path: {folder}/other.yaml, strategy: {strategy}}}"
    return load(written(folder, falco_yaml=f"config_files: [{entry}]\n{main}", other_yaml=other), (), {})


MAIN = "rules_files: [a]\njson_output: true\nmetrics: {enabled: true, output_rule: true}\n"
OTHER = "rules_files: [b]\njson_output: false\nmetrics: {interval: 1m}\nlog_level: debug\n"


@pytest.mark.parametrize(("strategy", "rules_files", "json_output", "metrics"), [
    (None, ("a", "b"), False, (False, 60 * 10**9)),
    ("append", ("a", "b"), False, (False, 60 * 10**9)),
    ("override", ("b",), False, (False, 60 * 10**9)),
    ("add-only", ("a",), True, (True, 3600 * 10**9)),
])  # fmt: skip
def test_strategies_of_merging(tmp_path: Path, strategy: str | None, rules_files: tuple[str, ...], json_output: bool,
                               metrics: tuple[bool, int]) -> None:
    """Keys at the top are merged, not those below."""
    config = merged(tmp_path, strategy, MAIN, OTHER)
    assert (config.rules_files, config.json_output) == (rules_files, json_output)
    assert (config.metrics.enabled, config.metrics.interval) == metrics
    assert config.log_level == "debug"
    assert [Path(file.path).name for file in config.origin.files] == ["falco.yaml", "other.yaml"]


def test_a_folder_stands_for_its_files_by_name_and_what_is_missing_is_passed_over(tmp_path: Path) -> None:
    folder = tmp_path / "config.d"
    (folder / "below").mkdir(parents=True)
    (folder / "b.yaml").write_text("rules_files: [b]\n")
    (folder / "a.conf").write_text("rules_files: [a]\n")
    (folder / "below" / "c.yaml").write_text("rules_files: [c]\n")
    path = written(tmp_path, falco_yaml=f"config_files: [{tmp_path}/nothing.yaml, {folder}]\nrules_files: ['0']\n")
    config = load(path, (), {})
    assert config.rules_files == ("0", "a", "b")
    assert config.origin.named == (f"{tmp_path}/nothing.yaml", str(folder))
    assert config.config_files == (ConfigFile(f"{tmp_path}/nothing.yaml"), ConfigFile(str(folder)))


def test_options_come_last_but_config_files_first(tmp_path: Path) -> None:
    other = tmp_path / "other.yaml"
    other.write_text("log_level: debug\njson_output: true\n")
    path = written(tmp_path, falco_yaml="log_level: error\nconfig_files: [/nothing]\n")
    assert load(path, [f"config_files={other}"], {}).log_level == "debug"
    assert load(path, [f"config_files[]={other}", "log_level=alert"], {}).log_level == "alert"
    assert load(path, [f"config_files={{path: {other}, strategy: add-only}}"], {}).log_level == "error"
    assert load(None, [f"config_files[]={other}"], {}).json_output


def test_options_change_what_a_file_has(tmp_path: Path) -> None:
    config = loaded(tmp_path, FALCO_YAML, "rules_files[]=x", "rules_files[0]=y", "plugins[0].init_config.label_max_len=7",
                    "append_output[1].extra_output=z", "metrics.interval=5s")
    assert config.rules_files == ("y", "/etc/falco/rules.d", "x")
    assert config.plugins[0].init_config == {"label_max_len": 7, "with_size": False}
    assert (config.append_output[1]["extra_output"], config.metrics.interval, config.metrics.output_rule) == ("z", 5 * 10**9, True)


def test_what_an_option_set_has_its_place(tmp_path: Path) -> None:
    """Also where the file has the key, too."""
    text = "rules_files: [a, b]\nwebserver: {listen_port: 1}\n"
    origin = loaded(tmp_path, text, "rules_files=x", "webserver.listen_port=2").origin
    assert origin.located("rules_files[0]", "wrong") == "-o rules_files=x: rules_files[0]: wrong"
    assert origin.located("webserver.listen_port", "wrong") == "-o webserver.listen_port=2: webserver.listen_port: wrong"
    assert origin.located("webserver", "wrong") == f"{tmp_path}/falco.yaml:2:1: webserver: wrong"
    origin = loaded(tmp_path, text, "rules_files[1]=x").origin
    assert origin.located("rules_files[0]", "wrong") == f"{tmp_path}/falco.yaml:1:15: rules_files[0]: wrong"
    assert origin.located("rules_files[1]", "wrong") == "-o rules_files[1]=x: rules_files[1]: wrong"


def test_variables_of_the_environment(tmp_path: Path) -> None:
    environ = {"NAME": "x", "ON": "true", "LEVEL": "debug", "PORT": "80", "PATHS": "/a"}
    config = loaded(tmp_path, """
json_output: ${ON}
log_level: "${LEVEL}"
webserver: {listen_port: "${PORT}80", ssl_certificate: 'a${NAME}b${UNSET}c$${NAME}$NAME'}
rules_files: ["${PATHS}", b]
plugins: [{name: json, init_config: {key: "${NAME}", number: "${PORT}"}}]
static_fields: {a: "${NAME}"}
""", environ=environ)
    assert (config.json_output, config.log_level, config.webserver.listen_port) == (True, "debug", 8080)
    assert config.webserver.ssl_certificate == "axbc${NAME}$NAME"
    assert (config.rules_files, config.plugins[0].init_config) == (("/a", "b"), {"key": "x", "number": "80"})
    assert config.static_fields == {"a": "x"}


# ---- what is wrong ----


@pytest.mark.parametrize(("text", "says"), [
    ("json_output: maybe\n", "falco.yaml:1:14: json_output: expected true or false"),
    ("\n\nmetrics:\n  interval: 5\n", "falco.yaml:4:13: metrics.interval: expected a duration with units"),
    ("engine:\n  kind: ebpf\n", "falco.yaml:2:9: engine.kind: ebpf has been removed: use modern_ebpf"),
    ("engine: {modern_ebpf: {buf_size_preset: 11}}",
     "falco.yaml:1:41: engine.modern_ebpf.buf_size_preset: expected a whole number from 1 to 10"),
    ("engine: modern_ebpf\n", "falco.yaml:1:9: engine: expected keys and values below it"),
    ("rules_files: {a: b}\n", "falco.yaml:1:14: rules_files: expected a list"),
    ("rules_files: [a, [b]]\n", "falco.yaml:1:18: rules_files[1]: expected a text, not a list"),
    ("plugins:\n  - library_path: x\n", "falco.yaml:2:5: plugins[0].name: name is missing"),
    ("rules:\n  - disable: {role: x}\n", "falco.yaml:2:3: rules: disable: expected a rule or a tag"),
    ("syscall_event_drops: {actions: [log, shout]}\n",
     "falco.yaml:1:38: syscall_event_drops.actions[1]: expected ignore, log, alert or exit"),
    ("syscall_event_drops: {actions: [ignore, alert]}\n",
     "falco.yaml:1:32: syscall_event_drops.actions: ignore and alert exclude each other"),
    ("rules_file: a\nrules_files: [b]\n", "falco.yaml:1:1: rules_file: given together with rules_files, at"),
    ("config_files: [{path: a, strategy: mix}]\n", "falco.yaml:1:15: config_files: expected a strategy"),
    ("- a\n", "falco.yaml:1:1: expected keys and values"),
    ("a: [\n", "falco.yaml:2:1: did not find expected node content"),
    ("a: b: c\n", "falco.yaml:1:5: mapping values are not allowed"),
    ("a: *b\n", "falco.yaml:1:4: unknown anchor 'b'"),
    ("? [a]\n: b\n", "falco.yaml:1:3: a key must be a text"),
    ("a: \x07\n", "falco.yaml:1:4: byte 0x07: this is no text"),
    ('file_output: {filename: "a\\0b"}\n', "falco.yaml:1:25: a text with \\0 in it"),
    ("webserver: {k8s_healthz_endpoint: healthz}\n", "falco.yaml:1:35: webserver.k8s_healthz_endpoint: expected a path, as /healthz"),
    ("webserver: {k8s_healthz_endpoint: '/{a}{a}'}\n", "falco.yaml:1:35: webserver.k8s_healthz_endpoint: expected a path, as /healthz"),
    ("metrics: {interval: [1h]}\n", "falco.yaml:1:21: metrics.interval: expected a duration with units, as 1h30m"),
])  # fmt: skip
def test_each_mistake_is_told_by_file_line_and_key(tmp_path: Path, text: str, says: str) -> None:
    with pytest.raises(ConfigError) as told:
        loaded(tmp_path, text)
    assert f"{tmp_path}/{says}" in str(told.value)


@pytest.mark.parametrize("value", [
    "a", "", "~", "5", "[]", "[a]", "[[a]]", "[{a: b}]", "{}", "{a: b}", "{a: [b]}", "[{enable: {rule: [a]}}]"])
def test_no_key_fails_by_a_value_of_another_kind(tmp_path: Path, value: str) -> None:
    """It is a configuration, or an error that names the key."""
    for row in rows(Configuration):
        group, _, name = row.name.rpartition(".")
        nested = f"{name}: {value}"
        for above in reversed(group.split(".") if group else ()):
            nested = f"{above}: {{{nested}}}"
        try:
            loaded(tmp_path, nested + "\n")
        except ConfigError as e:
            assert f"{row.name.partition('.')[0]}" in str(e)  # noqa: PT017


def test_all_mistakes_of_all_files_are_told_at_once(tmp_path: Path) -> None:
    with pytest.raises(ConfigError) as told:
        merged(tmp_path, None, "json_output: maybe\n", "\npriority: urgent\n")
    assert [line.split(": ")[:2] for line in str(told.value).splitlines()] == [
        [f"{tmp_path}/falco.yaml:2:14", "json_output"], [f"{tmp_path}/other.yaml:2:11", "priority"]]


@pytest.mark.parametrize(("text", "says"), [
    ("jsn_output: true\n", ":1:1: jsn_output: unknown key 'jsn_output'; did you mean 'json_output'?"),
    ("metrics:\n  enable: true\n", ":2:3: metrics.enable: unknown key 'metrics.enable'; did you mean 'metrics.enabled'?"),
    ("buf_size_preset: 4\n", ":1:1: buf_size_preset: unknown key 'buf_size_preset'"),
    ("grpc: {enabled: true}\n", ":1:1: grpc: this key has been removed"),
    ("engine: {ebpf: {probe: x}}\n", ":1:10: engine.ebpf: this key has been removed: use engine.modern_ebpf"),
    ("syscall_buf_size_preset: 4\n", "use engine.modern_ebpf.buf_size_preset"),
    ("json_output: true\njson_output: false\n", ":2:1: json_output: this key is given twice: the first counts"),
    ("a: b\n---\nc: d\n", "only the first document"),
    ("rules_file: [x]\n", ":1:1: rules_file: the name of this key is rules_files"),
])  # fmt: skip
def test_what_falco_passes_over_is_a_warning(tmp_path: Path, text: str, says: str) -> None:
    config = loaded(tmp_path, text)
    assert any(f"{tmp_path}/falco.yaml" in warning and says in warning for warning in config.origin.warnings), config.origin.warnings


def test_the_schemas_answer_is_told_of_each_file(tmp_path: Path) -> None:
    config = merged(tmp_path, None, "json_output: true\n", "no_such_key: 1\n")
    assert [file.schema.partition(":")[0] for file in config.origin.files] == ["ok", "failed"]
    assert "unknown key 'no_such_key'" in config.origin.files[1].schema


def test_the_old_name_of_rules_files_counts(tmp_path: Path) -> None:
    assert loaded(tmp_path, "rules_file: a.yaml\n").rules_files == ("a.yaml",)


def test_removed_keys_are_told_by_name_and_dont_exist() -> None:
    names = {row.name for row in rows(Configuration)}
    assert {"grpc", "grpc_output", "engine.gvisor", "engine.ebpf", "syscall_buf_size_preset", "modern_bpf",
            "syscall_drop_failed_exit"} <= REMOVED.keys()
    for key in REMOVED:
        assert not any(name == key or name.startswith(key + ".") for name in names)


def test_files_that_name_files(tmp_path: Path) -> None:
    path = f"{tmp_path}/falco.yaml"
    with pytest.raises(ConfigError, match="is this file itself"):
        loaded(tmp_path, f"config_files: [{path}]\n")
    with pytest.raises(ConfigError, match=r"other.yaml:1:1: config_files: a file that config_files names can't have its own"):
        merged(tmp_path, None, "", "config_files: [x]\n")


def test_files_that_cant_be_read(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        load(f"{tmp_path}/none.yaml")
    with pytest.raises(IsADirectoryError):
        load(str(tmp_path))


# ---- hostile YAML ----


@pytest.mark.parametrize(("data", "says"), [
    (b"a: &a [x, x, x, x, x, x, x, x, x, x]\n" + b"".join(
        b"%c: &%c [%s]\n" % (98 + n, 98 + n, b", ".join([b"*%c" % (97 + n)] * 10)) for n in range(9)), "aliases stand for more than"),
    (b"a: " + b"[" * 100_000, "nested nodes|maximum nesting depth"),
    (b"a: " + b"{x: " * 100_000, "nested nodes|maximum nesting depth"),
    (b"a: &a [*a]\n", "unknown anchor 'a'"),
    (b"#" * (5 << 20), "larger than 4 MiB"),
    (bytes(range(256)) * 10, "byte 0x00: this is no text"),
    (b"\x7fELF\x02\x01\x01", "this is no text"),
    (b"a: \xff\xfe\xfd\n", "falco.yaml:1:4: the text isn't valid UTF-8"),
    (b"\xff\xfea\x00", "expected keys and values"),
])  # fmt: skip
def test_hostile_files_are_errors(tmp_path: Path, data: bytes, says: str) -> None:
    path = tmp_path / "falco.yaml"
    path.write_bytes(data)
    with pytest.raises(ConfigError, match=says):
        load(str(path))


def test_an_alias_is_what_it_stands_for(tmp_path: Path) -> None:
    config = loaded(tmp_path, "static_fields: &a {x: y}\nplugins: [{name: json, init_config: *a}]\n", "static_fields.x=z")
    assert (config.static_fields, config.plugins[0].init_config) == ({"x": "z"}, {"x": "y"})


_texts = st.text(max_size=8) | st.sampled_from([row.name.partition(".")[0] for row in rows(Configuration)])
_trees: st.SearchStrategy[Any] = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | _texts, lambda below: st.lists(below, max_size=4)
    | st.dictionaries(_texts, below, max_size=4), max_leaves=12)
_tops = sorted({row.name.partition(".")[0] for row in rows(Configuration)})
_groups = st.dictionaries(st.sampled_from([*_tops, "x"]), _trees, max_size=6)


@given(_groups, st.sampled_from(["append", "override", "add-only"]), _groups)
def test_any_yaml_is_read_or_refused(tmp_path_factory: pytest.TempPathFactory, tree: dict[str, Any], strategy: str,
                                     other: dict[str, Any]) -> None:
    folder = tmp_path_factory.mktemp("any")
    tree["config_files"] = [{"path": str(folder / "other.yaml"), "strategy": strategy}]
    _either(folder, yaml.safe_dump(tree, allow_unicode=True).encode("utf-8", "surrogatepass"), yaml.safe_dump(other).encode())


@given(st.binary(max_size=200))
def test_any_bytes_are_read_or_refused(tmp_path_factory: pytest.TempPathFactory, data: bytes) -> None:
    folder = tmp_path_factory.mktemp("any")
    _either(folder, data, b"")


@given(st.text(alphabet="ab.[]0\\={}: ,'\"&*", max_size=20))
def test_any_option_is_read_or_refused(option: str) -> None:
    for text in (option, f"metrics{option}", f"rules{option}", f"plugins[]={option}"):
        said = _refused(None, text)
        assert not said or text in said


def _either(folder: Path, data: bytes, other: bytes) -> None:
    (folder / "falco.yaml").write_bytes(data)
    (folder / "other.yaml").write_bytes(other)
    said = _refused(str(folder / "falco.yaml"))
    assert not said or str(folder) in said


def _refused(path: str | None, *options: str) -> str:
    """What is said of a configuration that can't be used; nothing if it can."""
    try:
        repr(load(path, options, {}))
    except ConfigError as e:
        return str(e)
    return ""


# ---- the JSON schema ----


def test_the_schema_is_one_and_knows_all_that_is_read(tmp_path: Path) -> None:
    jsonschema.Draft202012Validator.check_schema(SCHEMA)
    jsonschema.validate(yaml.safe_load(FALCO_YAML), SCHEMA)
    shipped: dict[str, Any] = {}
    for row in rows(Configuration):
        at = shipped
        *groups, name = row.name.split(".")
        for group in groups:
            at = at.setdefault(group, {})
        at[name] = _written(row.shipped, row.key.unit, row.key.duration)
    jsonschema.validate(shipped, SCHEMA)
    config = loaded(tmp_path, yaml.safe_dump(shipped))
    assert config.origin.files[0].schema == "ok"
    for row in rows(Configuration):
        found: Any = config
        for part in row.name.split("."):
            found = getattr(found, part)
        assert found == row.shipped, row.name


@pytest.mark.parametrize("document", [
    {"jsn_output": True}, {"json_output": "maybe"}, {"engine": {"kind": "ebpf"}}, {"engine": {"modern_ebpf": {"buf_size_preset": 11}}},
    {"rules": [{"disable": {"role": "x"}}]}, {"plugins": [{"name": "x"}]}, {"config_files": [{"strategy": "append"}]},
    {"append_output": [{"extra": "x"}]}, {"metrics": {"enabled": 1}},
])  # fmt: skip
def test_the_schema_refuses_what_isnt_read(document: dict[str, Any]) -> None:
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate(document, SCHEMA)


def _written(value: Any, unit: int | None, duration: int | None) -> Any:
    """A value of a configuration as YAML writes it."""
    if duration is not None:
        return f"{value // 10**9}s"
    if isinstance(value, Priority):
        return str(value).lower()
    if isinstance(value, ConfigFile):
        return {"path": value.path, "strategy": value.strategy}
    if isinstance(value, Plugin):
        return {"name": value.name, "library_path": value.library_path, "init_config": value.init_config, "open_params": value.open_params}
    if isinstance(value, tuple):
        return [_written(part, None, None) for part in value]
    return value // unit if unit else value
