# SPDX-License-Identifier: Apache-2.0
"""Whatever a rule file holds, it is loaded, or refused with a place; and what is refused changes nothing."""

import json
import pathlib
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from falcolib import Engine, RuleError, RuleSet, validate_text
from falcolib.lint import lint
from falcolib.rules.describe import describe

GOOD = """
- list: shells
  items: [sh, bash]
- macro: opened
  condition: evt.type = open
- rule: A
  desc: d
  condition: opened and proc.name in (shells)
  output: o %proc.name
  priority: INFO
"""


def load(data: bytes, path: pathlib.Path) -> RuleSet | None:
    """The rules of a file; None if it is refused, of which everything is looked at."""
    path.write_bytes(data)
    refused: RuleError | None = None
    try:
        return RuleSet.load(path)
    except RuleError as e:
        refused = e
    assert str(refused).startswith(f"{path}:")
    assert refused.location is not None
    assert refused.location.name == str(path)
    assert refused.code.startswith("LOAD_ERR_")
    lines = data.count(b"\n") + data.count(b"\r") + data.count(b"\xe2\x80") + data.count(b"\xc2\x85")
    assert 0 <= refused.location.line <= lines + 1
    json.dumps(refused.result)
    return None


def use(rules: RuleSet | None) -> None:
    """All that can be asked of rules."""
    if rules is not None:
        list(map(str, rules.warnings))
        json.dumps(rules.report)
        json.dumps(describe(rules))
        lint(rules)
        Engine(rules)


@given(st.binary(max_size=200))
@example(b"\xef\xbb\xbf" + GOOD.encode())
@example(GOOD.encode("utf-16"))
def test_any_bytes(tmp_path_factory: pytest.TempPathFactory, data: bytes) -> None:
    use(load(data, tmp_path_factory.getbasetemp() / "bytes.yaml"))


SCALARS = st.sampled_from([
    "a", "A", "sh", "shells", "opened", "evt.type = open", "proc.name in (shells)", "opened and not (fd.num > 3)", "info", "CRITICAL",
    "true", "no", "append", "replace", "1", "0.31.0", "", "null", "syscall", "k8s_audit", "%proc.name", "%evt.arg.flags %10fd.name", "%",
    "proc.name", "=", "in", "endswith oneof", "evt.type in (openat, uname)", "(", "'", "proc.nam = a", "evt.type = opne", "\u2028", "\x07",
    "é", "m m", "a,b", "\ud83d\ude00",
])  # fmt: skip
KEYS = st.sampled_from([
    "rule", "rule", "rule", "macro", "macro", "list", "list", "condition", "condition", "output", "desc", "priority", "items", "append",
    "override", "enabled", "exceptions", "name", "fields", "comps", "values", "tags", "source", "skip-if-unknown-filter", "warn_evttypes",
    "capture",    "capture_duration", "required_engine_version", "required_plugin_versions", "version", "alternatives", "unknown",
])  # fmt: skip
VALUES: st.SearchStrategy[Any] = st.recursive(
    SCALARS | st.none() | st.integers(-1, 1 << 40) | st.booleans() | st.floats(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(KEYS, inner, max_size=4),
    max_leaves=8)  # fmt: skip
RULE = st.fixed_dictionaries({"rule": SCALARS, "condition": SCALARS, "output": SCALARS, "desc": SCALARS, "priority": st.just("info")},
                             optional={"exceptions": VALUES, "tags": VALUES, "enabled": VALUES, "override": VALUES,
                                       "source": SCALARS})  # fmt: skip
ITEMS = st.one_of(
    VALUES, st.dictionaries(KEYS, VALUES, max_size=7), RULE,
    st.fixed_dictionaries({"macro": SCALARS, "condition": SCALARS}, optional={"append": VALUES, "override": VALUES}),
    st.fixed_dictionaries({"list": SCALARS, "items": st.lists(SCALARS, max_size=3)}, optional={"append": VALUES, "override": VALUES}),
)  # fmt: skip


@settings(max_examples=400)
@given(st.lists(ITEMS, max_size=6))
def test_any_items(tmp_path_factory: pytest.TempPathFactory, items: list[Any]) -> None:
    text = json.dumps(items, ensure_ascii=False).encode("utf-8", "surrogatepass")
    use(load(text, tmp_path_factory.getbasetemp() / "items.yaml"))
    validate_text(json.dumps(items))


@given(st.lists(ITEMS, max_size=4))
def test_what_is_refused_changes_nothing(items: list[Any]) -> None:
    before = RuleSet.parse(GOOD, name="good.yaml")
    engine = Engine(before)

    def shape() -> object:
        return [(r.name, r.condition, r.output, r.enabled) for r in before], dict(before.macros), dict(before.lists), before.report

    was = shape()
    event = {"evt.type": "open", "proc.name": "sh"}
    attempts: list[Callable[[], object]] = [
        lambda: RuleSet.parse(json.dumps(items), after=before), lambda: before.merge(RuleSet.parse(json.dumps(items))),
        lambda: engine.replace(RuleSet.parse(json.dumps(items)))]  # fmt: skip
    for attempt in attempts:
        program = engine.program
        try:
            attempt()
        except RuleError:
            assert engine.program is program
            assert [a.rule for a in engine.run([event])] == ["A"]
        assert shape() == was
        engine.replace(before)


def test_a_folder_with_one_bad_file_gives_no_rules_at_all(tmp_path: pathlib.Path) -> None:
    (tmp_path / "a.yaml").write_text(GOOD)
    (tmp_path / "b.yaml").write_text("- {rule: A, condition: and no.field = 1, override: {condition: append}}")
    with pytest.raises(RuleError) as caught:
        RuleSet.load(tmp_path)
    assert str(caught.value).startswith(f"{tmp_path / 'b.yaml'}:1:28: ")
    assert [r["successful"] for r in caught.value.result["falco_load_results"]] == [True, False]    # type: ignore[attr-defined]


def rule(condition: str, output: str = "o") -> dict[str, str]:
    return {"rule": "r", "desc": "d", "output": output, "priority": "INFO", "condition": condition}


@pytest.mark.parametrize("items", [
    [rule("evt.type = open", "%" + "proc." * 100_000)],
    [rule("evt.type = open", "%" + "proc.name" * 100_000)],
    [rule("evt.type = open", "%proc.name " * 50_000)],
    [rule("proc." * 100_000 + "name = a")],
    [rule("evt.type = open and proc.name = " + "a" * 3_000_000)],
    [rule('evt.type = open and proc.name = "' + "a" * 3_000_000)],
    [rule("tolower(" * 100_000)],
    [rule("not " * 100_000 + "evt.type = open")],
    [rule("evt.type = open" + " and proc.name != a" * 20_000)],
    [rule("evt.type = open" + " or(proc.name = a" * 900 + ")" * 900)],
    [{"macro": "m0", "condition": "evt.type = open"},
     *({"macro": f"m{i}", "condition": f"m{i - 1} or m{i - 1}"} for i in range(1, 40)), rule("m39")],
    [{"list": f"l{i}", "items": [f"l{i - 1}"] * 10} for i in range(2000)],
], ids=lambda items: json.dumps(items)[:90])  # fmt: skip
def test_hostile_sizes_come_to_an_end(items: list[Any]) -> None:
    """After a second or two. One that takes for ever is ended by the suite, as each test that hangs."""
    said = ""
    try:
        RuleSet.parse(json.dumps(items))
    except RuleError as e:
        said = str(e)
    assert len(said) < 3000                             # also when the file has one line of megabytes
