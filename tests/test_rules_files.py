# SPDX-License-Identifier: Apache-2.0
"""Rule files: their YAML, their items, and how definitions of several files come together."""

import pathlib
import re
from typing import Any

import pytest

import falcolib
from falcolib import RuleError, RuleSet, validate, validate_text
from falcolib.errors import Location
from falcolib.rules.ast import Check, CheckedAnd, CheckedRule
from falcolib.rules.check import checks_of

RULE = "- {rule: R, desc: d, condition: evt.type=open, output: o, priority: INFO}\n"


def rule(condition: str = "evt.type=open", name: str = "R", **keys: str) -> str:
    lines = {"desc": "d", "condition": condition, "output": "o", "priority": "INFO"} | keys
    return f"- rule: {name}\n" + "".join(f"  {k}: {v}\n" for k, v in lines.items())


def only(text: str) -> CheckedRule:
    (found,) = RuleSet.parse(text).rules
    return found


def checks_in(text: str) -> list[str]:
    """The tests of the only rule, as ``field op values``."""
    return [f"{t.slot} {t.op} {','.join(map(str, t.values))}" for t in checks_of(only(text).condition)]


def code(text: str) -> str:
    with pytest.raises(RuleError) as e:
        RuleSet.parse(text)
    return e.value.code


def codes(text: str) -> list[str]:
    """The codes of the warnings, errors first."""
    result: Any = validate_text(text)["falco_load_results"]
    return [x["code"] for kind in ("errors", "warnings") for x in result[0][kind]]


class TestYaml:
    def test_several_documents_and_nulls_are_one_file(self) -> None:
        assert [r.name for r in RuleSet.parse("---\n" + RULE + "---\n---\n- \n" + rule(name="S")).rules] == ["R", "S"]

    @pytest.mark.parametrize("text", ["", "# nothing\n", "---\n...\n", "null"])
    def test_nothing_is_a_rule_set_without_rules(self, text: str) -> None:
        assert RuleSet.parse(text).rules == ()

    @pytest.mark.parametrize(("text", "error"), [
        ("just text", "LOAD_ERR_YAML_VALIDATE"), ("a: b", "LOAD_ERR_YAML_VALIDATE"), ("- text", "LOAD_ERR_YAML_VALIDATE"),
        ("a: b: c", "LOAD_ERR_YAML_PARSE"), ("- [", "LOAD_ERR_YAML_PARSE"), ("- *nobody", "LOAD_ERR_YAML_PARSE"), ("\x01",
        "LOAD_ERR_YAML_PARSE"),
        ("\udc80", "LOAD_ERR_YAML_PARSE"),
    ])
    def test_other_texts_are_mistakes(self, text: str, error: str) -> None:
        assert code(text) == error

    @pytest.mark.parametrize("word", ["true", "True", "TRUE", "yes", "on", "y"])
    def test_truth_values_are_those_of_yaml_1_1(self, word: str) -> None:
        assert only(rule(enabled=word)).enabled
        assert code(rule(enabled="1")) == "LOAD_ERR_YAML_VALIDATE"

    def test_texts_stay_texts(self) -> None:
        assert only(rule(name="0x10", tags="[1.0, yes, 'null']")).tags == {"1.0", "yes", "null"}

    def test_the_first_of_repeated_keys_counts(self) -> None:
        assert only(RULE.replace("desc: d", "desc: first, desc: second")).description == "first"

    def test_aliases_are_shared(self) -> None:
        lists = "- {list: l, items: &i [a, b]}\n- {list: m, items: *i}\n"
        assert checks_in(lists + rule("proc.name in (l, m)")) == ["proc.name in a,b,a,b"]

    def test_hostile_nesting_and_aliases_are_refused_at_once(self) -> None:
        bomb = "- &a0 [x, x]\n" + "".join(f"- &a{i} [*a{i - 1}, *a{i - 1}, *a{i - 1}, *a{i - 1}]\n" for i in range(1, 40))
        for text in ("[" * 100_000, "{a: " * 100_000, "- " * 100_000, bomb):
            assert code(text) == "LOAD_ERR_YAML_PARSE"

    def test_utf_16_and_a_byte_order_mark_are_read(self, tmp_path: pathlib.Path) -> None:
        for name, encoding in (("a.yaml", "utf-16"), ("b.yaml", "utf-8-sig")):
            (tmp_path / name).write_bytes(rule('proc.name="é"').encode(encoding))
            assert len(RuleSet.load(tmp_path / name)) == 1


class TestItems:
    def test_defaults(self) -> None:
        found = only(RULE)
        assert (found.source, found.enabled, found.tags, found.priority, found.description) == ("syscall", True, frozenset(), 6, "d")

    @pytest.mark.parametrize(("word", "number"), [
        ("emergency", 0), ("ALERT", 1), ("Critical", 2), ("error", 3), ("warning", 4), ("notice", 5), ("informational", 6), ("info", 6),
        ("debug", 7),
    ])
    def test_priorities_in_any_letter_case(self, word: str, number: int) -> None:
        assert only(rule(priority=word)).priority == number

    @pytest.mark.parametrize("text", [
        rule(priority="low"), rule(condition=""), rule(output="~"), rule(output='""'), rule(tags="network"), rule(tags="[[a]]"),
        RULE.replace("desc: d, ", ""), "- {rule: }", "- {macro: m}", "- {list: l}", "- {list: l, items: x}", rule(capture_duration="-1"),
        "- {list: l, items: [a, ~]}", rule(tags="[a, null]"),
    ])
    def test_missing_and_ill_typed_keys_are_mistakes(self, text: str) -> None:
        assert code(text) == "LOAD_ERR_YAML_VALIDATE"

    def test_unknown_keys_and_items_are_warned_of(self) -> None:
        assert codes(rule(nonsense="1")) == ["LOAD_UNKNOWN_KEY"]
        assert codes("- {nonsense: 1}") == ["LOAD_UNKNOWN_ITEM"]

    def test_invalid_names_are_warned_of(self) -> None:
        assert codes("- {macro: a-b, condition: evt.type=open}") == ["LOAD_INVALID_MACRO_NAME", "LOAD_UNUSED_MACRO"]
        assert codes("- {list: 'a b', items: [x]}") == ["LOAD_INVALID_LIST_NAME", "LOAD_UNUSED_LIST"]

    def test_a_rule_of_an_unknown_source_is_skipped(self) -> None:
        text = rule("no.such=field", source="nonesuch")
        assert codes(text) == ["LOAD_UNKNOWN_SOURCE"]
        assert RuleSet.parse(text).rules == ()

    @pytest.mark.parametrize("version", ["0", "17", "0.57.0", "0.63.0", "0x10"])
    def test_engine_versions_up_to_ours(self, version: str) -> None:
        assert codes(f"- required_engine_version: {version}") == []

    @pytest.mark.parametrize(("version", "error"), [
        ("64", "LOAD_ERR_VALIDATE"), ("0.64.0", "LOAD_ERR_VALIDATE"), ("1.0.0", "LOAD_ERR_VALIDATE"), ("new", "LOAD_ERR_YAML_VALIDATE"),
        ("0.57", "LOAD_ERR_YAML_VALIDATE"),
    ])
    def test_other_engine_versions_are_refused(self, version: str, error: str) -> None:
        assert code(f"- required_engine_version: {version}") == error

    def test_plugins_whose_work_is_done_here_are_there(self) -> None:
        assert codes("- required_plugin_versions: [{name: container, version: 0.4.0}, {name: json, version: 0.7.0}]") == []
        assert codes("- required_plugin_versions: [{name: x, version: 1.0.0, alternatives: [{name: json, version: 0.1.0}]}]") == []
        assert code("- required_plugin_versions: [{name: cloudtrail, version: 0.1.0}]") == "LOAD_ERR_VALIDATE"
        assert code("- required_plugin_versions: [{name: container, version: 99.0.0}]") == "LOAD_ERR_VALIDATE"
        assert code("- required_plugin_versions: [{name: json, version: 1}]") == "LOAD_ERR_VALIDATE"
        assert code("- required_plugin_versions: [{name: json, version: 0.1.0, alternatives: [{name: json, version: 0.1.0}]}]") \
            == "LOAD_ERR_VALIDATE"

    def test_of_alternatives_the_first_that_is_there_decides(self) -> None:
        text = "- required_plugin_versions: [{name: %s, version: %s, alternatives: [{name: container, version: 0.1.0}]}]"
        assert codes(text % ("cloudtrail", "9.0.0")) == []
        with pytest.raises(RuleError, match=r"Plugin 'json' version '[0-9.]+' is not compatible with required plugin version '9\.0\.0'"):
            RuleSet.parse(text % ("json", "9.0.0"))

    def test_that_a_plugin_is_missing_comes_before_what_follows_from_it(self) -> None:
        text = "- required_plugin_versions: [{name: cloudtrail, version: 0.1.0}]\n" + rule("ct.user exists")
        with pytest.raises(RuleError, match=r"must load one of: cloudtrail 0\.1\.0") as e:
            RuleSet.parse(text)
        assert e.value.code == "LOAD_ERR_VALIDATE"
        (result,) = validate_text(text)["falco_load_results"]
        assert [problem["code"] for problem in result["errors"]] == ["LOAD_ERR_VALIDATE", "LOAD_ERR_COMPILE_CONDITION"]


class TestFolders:
    def test_a_folder_stands_for_its_yaml_files_by_name(self, tmp_path: pathlib.Path) -> None:
        for name in ("b.yaml", "a.yml", "c.txt", "sub/d.yaml"):
            (tmp_path / name).parent.mkdir(exist_ok=True)
            (tmp_path / name).write_text(rule(name=name))
        assert [r.name for r in RuleSet.load(tmp_path).rules] == ["a.yml", "b.yaml"]

    def test_a_file_that_is_not_there(self, tmp_path: pathlib.Path) -> None:
        with pytest.raises(FileNotFoundError):
            RuleSet.load(tmp_path / "none.yaml")

    def test_validation_goes_on_after_a_file_with_a_mistake(self, tmp_path: pathlib.Path) -> None:
        (tmp_path / "a.yaml").write_text(RULE + "- [")
        (tmp_path / "b.yaml").write_text(rule(name="S"))
        results: Any = validate(tmp_path)["falco_load_results"]
        assert [r["successful"] for r in results] == [False, True]
        assert results[0]["name"] == str(tmp_path / "a.yaml")


class TestRedefinition:
    def test_a_definition_replaces_the_one_before_and_keeps_its_place(self) -> None:
        rules = RuleSet.parse(rule(name="A") + rule(name="B") + rule("evt.type=close", name="A")).rules
        assert [r.name for r in rules] == ["A", "B"]
        assert "close" in str(rules[0].condition)

    def test_not_with_another_source(self) -> None:
        assert code(RULE + rule(source="nonesuch")) == "LOAD_ERR_VALIDATE"

    def test_append_joins_conditions_with_a_blank(self) -> None:
        assert checks_in(RULE + "- {rule: R, append: true, condition: and proc.name=cat}") == ["evt.type = open", "proc.name = cat"]

    def test_append_warns_and_ignores_other_keys(self) -> None:
        text = RULE + "- {rule: R, append: true, condition: and proc.name=cat, priority: DEBUG}"
        assert codes(text) == ["LOAD_DEPRECATED_ITEM"]
        assert only(text).priority == 6

    @pytest.mark.parametrize("text", [
        "- {rule: R, append: true, condition: and x}", "- {macro: m, append: true, condition: x}",
        "- {list: l, append: true, items: [x]}",
        RULE + "- {rule: R, append: true}", "- {rule: R, enabled: false}", "- {rule: R, condition: x, override: {condition: replace}}",
        "- {rule: R, condition: x, override: {condition: append}}",
    ])
    def test_there_must_be_something_to_change(self, text: str) -> None:
        assert code(text) == "LOAD_ERR_VALIDATE"

    def test_a_rule_is_switched_by_enabled_alone(self) -> None:
        text = RULE + "- {rule: R, enabled: false}"
        assert not only(text).enabled
        assert codes(text) == ["LOAD_DEPRECATED_ITEM"]


class TestOverride:
    def test_append(self) -> None:
        found = only(RULE + "- {rule: R, condition: and proc.name=cat, output: by %proc.name, desc: more, tags: [t], "
                     "override: {condition: append, output: append, desc: append, tags: append}}")
        assert isinstance(found.condition, CheckedAnd)
        assert (found.output[0], found.description, found.tags) == ("o by ", "d more", {"t"})

    def test_replace(self) -> None:
        found = only(rule(tags="[a]") + "- {rule: R, condition: proc.name=cat, priority: ERROR, enabled: false, tags: [b], "
                     "override: {condition: replace, priority: replace, enabled: replace, tags: replace}}")
        assert isinstance(found.condition, Check)
        assert (found.priority, found.enabled, found.tags) == (3, False, {"b"})

    def test_append_comes_before_replace(self) -> None:
        found = only(RULE + "- {rule: R, desc: new, condition: and proc.name=cat, override: {desc: replace, condition: append}}")
        assert found.description == "new"
        assert isinstance(found.condition, CheckedAnd)

    def test_lists_and_macros(self) -> None:
        base = "- {list: l, items: [a]}\n- {macro: m, condition: evt.type=open}\n"
        use = rule("m and proc.name in (l)")
        assert checks_in(base + "- {list: l, items: [b], override: {items: append}}\n" + use)[1] == "proc.name in a,b"
        assert checks_in(base + "- {list: l, items: [b], override: {items: replace}}\n" + use)[1] == "proc.name in b"
        assert len(checks_in(base + "- {macro: m, condition: and fd.num=1, override: {condition: append}}\n" + use)) == 3

    @pytest.mark.parametrize("text", [
        "- {rule: R, priority: INFO, override: {priority: append}}", "- {rule: R, source: x, override: {source: replace}}",
        "- {rule: R, override: {condition: append}}", "- {rule: R, condition: x, desc: d, override: {condition: append}}",
        "- {rule: R, condition: x, append: true, override: {condition: append}}",
        "- {rule: R, condition: x, override: {condition: swap}}",
        "- {rule: R, condition: x, override: [condition]}", "- {list: l, items: [], override: {name: replace}}",
    ])
    def test_mistakes(self, text: str) -> None:
        assert code(RULE + text) == "LOAD_ERR_YAML_VALIDATE"

    @pytest.mark.parametrize(("text", "entry"), [
        ("- {list: l, items: [b], override: append}\n", "'items: append'"),
        ("- {list: l, items: [b], override: replace}\n", "'items: replace'"),
        ("- {macro: m, condition: evt.type=close, override: append}\n", "'condition: append'"),
        ("- {rule: R, desc: d, output: o, priority: INFO, condition: m, override: append}\n", "'condition: append'"),
    ])
    def test_a_scalar_is_ignored_as_by_falco_and_told_of(self, text: str, entry: str) -> None:
        """So what appends, its author thinks, replaces."""
        base = "- {list: l, items: [a]}\n- {macro: m, condition: evt.type=open}\n" + rule("m and proc.name in (l)")
        loaded = RuleSet.parse(base + text)
        assert loaded.rules == RuleSet.parse(base + re.sub(", override: [a-z]+", "", text)).rules
        (warning,) = (w for w in loaded.warnings if w.code == "LOAD_UNKNOWN_KEY")
        assert entry in warning.message
        assert warning.location is not None
        assert (base + text)[warning.location.offset :].startswith(("append", "replace"))


class TestRuleSets:
    def test_merging_is_as_if_the_files_were_loaded_one_after_the_other(self) -> None:
        both = RuleSet.parse(RULE).merge(RuleSet.parse(rule("evt.type=close") + rule(name="S")))
        assert [r.name for r in both.rules] == ["R", "S"]
        assert "close" in str(both.rules[0].condition)

    def test_what_cannot_stand_alone_is_parsed_after_what_it_changes(self) -> None:
        base = RuleSet.parse(RULE)
        assert not RuleSet.parse("- {rule: R, enabled: false, override: {enabled: replace}}", after=base).rules[0].enabled
        assert base.rules[0].enabled

    def test_macros_and_lists_can_be_looked_up(self) -> None:
        rules = RuleSet.parse("- {list: a, items: [x]}\n- {list: b, items: [a, y]}\n- {macro: m, condition: evt.type=open}\n")
        assert rules.lists == {"a": ("x",), "b": ("x", "y")}
        assert rules.macros == {"m": "evt.type=open"}

    def test_warnings_have_code_place_and_text(self) -> None:
        (warning,) = RuleSet.parse("- macro: m\n  condition: evt.type=open\n", name="f.yaml").warnings
        assert (warning.code, warning.location) == ("LOAD_UNUSED_MACRO", Location("f.yaml", 0, 2, 2))
        assert str(warning).startswith("f.yaml:1:3: Macro not referred to")

    def test_the_report_is_falcos(self) -> None:
        assert RuleSet.parse(RULE, name="f.yaml").report == {
            "falco_load_results": [{"errors": [], "name": "f.yaml", "schema_valid": True, "schema_warnings": [], "successful": True,
                                    "warnings": []}]}

    def test_a_rule_set_cannot_be_changed(self) -> None:
        with pytest.raises(AttributeError):
            RuleSet.parse(RULE).rules = ()          # type: ignore[misc]


class TestSelection:
    RULES = RuleSet.parse(rule(name="Write a", tags="[net]") + rule(name="Write b", priority="ERROR") + rule(name="Read",
        tags="[net, fs]"))

    def enabled(self, *entries: Any, **keys: Any) -> list[str]:
        return [r.name for r in self.RULES.select(entries, **keys).rules if r.enabled]

    def test_by_name_with_wildcards_and_by_tag(self) -> None:
        assert self.enabled({"disable": {"rule": "Write*"}}) == ["Read"]
        assert self.enabled({"disable": {"rule": "*b"}}) == ["Write a", "Read"]
        assert self.enabled({"disable": {"rule": "write*"}}) == ["Write a", "Write b", "Read"]
        assert self.enabled({"disable": {"rule": "Write"}}) == ["Write a", "Write b", "Read"]
        assert self.enabled({"disable": {"tag": "net"}}) == ["Write b"]

    def test_entries_are_applied_in_order_and_what_is_enabled_again_comes_last(self) -> None:
        assert self.enabled({"disable": {"rule": "*"}}, {"enable": {"tag": "net"}}) == ["Write a", "Read"]
        assert self.enabled({"disable": {"rule": "Write a"}}, {"enable": {"rule": "Write a"}}) == ["Write b", "Read", "Write a"]

    def test_rules_below_the_priority_never_run(self) -> None:
        assert self.enabled(priority="error") == ["Write b"]
        assert self.enabled(priority=7) == ["Write a", "Write b", "Read"]

    @pytest.mark.parametrize("entry", [{"disable": {}}, {"drop": {"rule": "x"}}, {"enable": "x"}])
    def test_an_entry_that_makes_no_sense(self, entry: Any) -> None:
        with pytest.raises(ValueError, match="rules:"):
            self.RULES.select([entry])

    def test_no_such_priority(self) -> None:
        with pytest.raises(ValueError, match="priority"):
            self.RULES.select(priority="loud")


def test_what_is_far_too_large_is_not_read() -> None:
    """A capture that was named by mistake; or what has no end."""
    with pytest.raises(OSError, match=r"larger than 64 MiB: this is no rule file: '/dev/zero'"):
        RuleSet.load("/dev/zero")


def test_the_public_names() -> None:
    assert falcolib.RuleSet is RuleSet
    assert falcolib.validate is validate
