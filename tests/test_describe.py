# SPDX-License-Identifier: Apache-2.0
"""What describe tells of rules, macros and lists, and the JSON schema of rule files."""

import contextlib
import json
import lzma
import subprocess
import sys
from typing import Any

import jsonschema
import pytest
import yaml

from conftest import CONFORMANCE, ROOT
from falcolib import RuleSet
from falcolib.rules.describe import describe
from falcolib.rules.schema import rule_schema

TEXT = """
- required_engine_version: 0.31.0
- required_plugin_versions: [{name: container, version: 0.2.0, alternatives: [{name: json, version: 0.7.0}]}]
- list: shells
  items: [sh, bash]
- list: names
  items: [shells, zsh]
- macro: opened
  condition: evt.type in (open, openat) and not fd.name startswith /dev
- macro: unused
  condition: evt.type = uname
- rule: R
  desc: What it does.
  condition: opened and tolower(proc.name) in (names) and proc.aname[2] = a and container.id != host
  output: open %fd.name %10proc.args[1]
  priority: info
  tags: [b, a]
  exceptions:
    - {name: e, fields: [user.uid, fd.name], comps: [">", startswith], values: [[5, "/a b"]]}
"""


def details(kind: str, name: str) -> dict[str, Any]:
    (found,) = (x for x in describe(RuleSet.parse(TEXT, name="r.yaml"))[kind] if x["info"]["name"] == name)
    return found["info"] | found["details"]


def test_a_rule() -> None:
    rule = details("rules", "R")
    assert rule["condition"] == "opened and tolower(proc.name) in (names) and proc.aname[2] = a and container.id != host"
    assert rule["condition_compiled"] == (
        "(((evt.type in (open, openat) and not fd.name startswith /dev) and tolower(proc.name) in (sh, bash, zsh) "
        'and proc.aname[2] = a and container.id != host) and not (user.uid > 5 and fd.name startswith "/a b"))')
    assert (rule["macros"], rule["lists"]) == (["opened"], ["names"])
    assert rule["condition_fields"] == ["container.id", "evt.type", "fd.name", "proc.aname[2]", "proc.name", "user.uid"]
    assert rule["condition_operators"] == ["!=", "=", ">", "in", "startswith"]
    assert (rule["exception_names"], rule["exception_fields"]) == (["e"], ["fd.name", "user.uid"])
    assert rule["exception_operators"] == [">", "startswith"]
    assert rule["output_fields"] == ["fd.name", "proc.args[1]"]
    assert rule["output_compiled"] == "open %fd.name %10proc.args[1]"
    assert rule["events"] == ["asyncevent", "open", "openat"]               # asynchronous ones are always asked, too: Falco tells so
    assert rule["plugins"] == ["container"]
    assert (rule["priority"], rule["tags"], rule["source"], rule["enabled"]) == ("Informational", ["a", "b"], "syscall", True)
    assert rule["position"] == {"name": "r.yaml", "line": 11, "column": 2, "offset": TEXT.index("rule: R")}


def test_macros_and_lists() -> None:
    opened = details("macros", "opened")
    assert (opened["used"], opened["events"]) == (True, ["asyncevent", "open", "openat"])
    assert details("macros", "unused")["used"] is False
    assert details("macros", "unused")["events"] == ["asyncevent", "uname"]         # a call without an event of its own
    names = details("lists", "names")
    assert (names["items"], names["lists"], names["items_compiled"]) == (["zsh"], ["shells"], ["sh", "bash", "zsh"])


def test_a_macro_of_unknown_fields_that_no_rule_uses() -> None:
    (macro,) = describe(RuleSet.parse("- {macro: m, condition: no.field = 1}"))["macros"]
    assert (macro["details"]["events"], macro["details"]["condition_fields"]) == ([], ["no.field"])
    (macro,) = describe(RuleSet.parse("- {macro: m, condition: ka.verb = create}"))["macros"]
    assert macro["details"]["events"] == ["asyncevent", "pluginevent"]


@pytest.mark.parametrize(("condition", "plugins"), [
    ("evt.type = container", ["container"]), ("evt.type in (open, container_removed)", ["container"]),
    ("evt.asynctype = container", ["container"]),
    ("evt.type = open", []), ("proc.name = container", []),
])
def test_a_rule_on_the_events_of_a_plugin_uses_it(condition: str, plugins: list[str]) -> None:
    text = json.dumps([{"rule": "R", "desc": "d", "condition": condition, "output": "o", "priority": "INFO"}])
    assert describe(RuleSet.parse(text))["rules"][0]["details"]["plugins"] == plugins


def test_what_is_required() -> None:
    found = describe(RuleSet.parse(TEXT))
    assert found["required_engine_version"] == "0.31.0"
    assert found["required_plugin_versions"] == [
        {"name": "container", "version": "0.2.0", "alternatives": [{"name": "json", "version": "0.7.0"}]}]


def test_what_was_selected_and_appended_is_told() -> None:
    set_ = RuleSet.parse(TEXT).select([{"disable": {"rule": "*"}}])
    assert describe(set_, "R")["rules"][0]["info"]["enabled"] is False
    with pytest.raises(KeyError):
        describe(set_, "S")


def run(*args: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, "-m", "falcolib", *args], capture_output=True, text=True, timeout=300)


def test_the_command() -> None:
    default = json.loads(run("describe", "--json").stdout)
    assert len(default["rules"]) == len(RuleSet.load(ROOT / "rules" / "falcolib_rules.yaml"))
    shown = run("describe", "-l", "Secret file read").stdout
    assert "  events      open, openat, openat2\n" in shown
    failed = run("describe", "-l", "Secret file raed")
    assert (failed.returncode, failed.stderr) == (1, "Error: there is no rule 'Secret file raed'; did you mean 'Secret file read'?\n")
    assert json.loads(run("validate", "--schema").stdout) == rule_schema()


@pytest.mark.conformance
def test_the_public_rules_can_be_described() -> None:
    files = [CONFORMANCE / "rules" / name for name in ("falco_rules.yaml", "falco-incubating_rules.yaml", "falco-sandbox_rules.yaml")]
    found = describe(RuleSet.load(*files))
    assert (len(found["rules"]), all(r["details"]["condition_compiled"] for r in found["rules"])) == (93, True)


# ---- the schema --------------------------------------------------------------------------------------------------------------------------

CHECKER = jsonschema.Draft7Validator(rule_schema())


def accepts(text: str) -> bool:
    return all(CHECKER.is_valid(document) for document in yaml.safe_load_all(text))


def test_the_schema_is_one() -> None:
    jsonschema.Draft7Validator.check_schema(rule_schema())


def test_it_accepts_our_rules() -> None:
    assert accepts((ROOT / "rules" / "falcolib_rules.yaml").read_text())
    assert accepts(TEXT)


@pytest.mark.conformance
@pytest.mark.parametrize("name", ["falco_rules.yaml", "falco-incubating_rules.yaml", "falco-sandbox_rules.yaml"])
def test_it_accepts_the_public_rules(name: str) -> None:
    assert accepts((CONFORMANCE / "rules" / name).read_text())


@pytest.mark.conformance
def test_it_refuses_what_the_loader_refuses_for_its_structure() -> None:
    with lzma.open(CONFORMANCE / "rules" / "rule_files.json.xz", "rt") as f:
        rows = [row for row in json.load(f) if "falco_load_results" in row["validation"]]
    for row in rows:
        (result,) = row["validation"]["falco_load_results"]
        codes = {x["code"] for x in (*result["errors"], *result["warnings"])}
        if "LOAD_ERR_YAML_PARSE" not in codes:
            refused = bool(codes & {"LOAD_ERR_YAML_VALIDATE", "LOAD_UNKNOWN_KEY", "LOAD_UNKNOWN_ITEM"})
            with contextlib.suppress(yaml.YAMLError):               # PyYAML is stricter than the loader in places
                assert accepts(row["yaml"]) != refused, row["name"]


@pytest.mark.parametrize("text", [
    "a", "{a: 1}", "- 1", "- {rule: a}", "- {macro: a}", "- {list: a}", "- {rule: a, desc: d, condition: c, output: o, priority: no}",
    "- {rule: a, desc: d, condition: c, output: o, priority: info, tagz: []}",
    "- {rule: '', desc: d, condition: c, output: o, priority: info}",
    "- {list: a, items: {}}", "- {list: a, items: [[a]]}", "- {macro: a, condition: c, override: {condition: prepend}}",
    "- {rule: a, priority: info, override: {priority: append}}", "- {rule: a, enabled: maybe}", "- {required_engine_version: x}",
    "- {required_plugin_versions: [{name: a}]}", "- {rule: a, desc: d, condition: c, output: o, priority: info, exceptions: [{name: a}]}",
    "- {rule: a, desc: d, condition: c, output: o, priority: info, capture_duration: -1}", "- {other: a}",
])  # fmt: skip
def test_it_refuses(text: str) -> None:
    assert not accepts(text)


@pytest.mark.parametrize("text", [
    "", "[]", "- ", "- {rule: a, desc: d, condition: c, output: o, priority: WARNING}\n---\n- {rule: a, enabled: false}",
    "- {list: a, items: [1, b, true, 0.5]}", "- {list: a, items: [x], append: true}", "- {list: a, items: [x], override: {items: replace}}",
    "- {rule: a, condition: x, tags: [], override: {condition: append, tags: replace}}", "- {required_engine_version: 15}",
    "- {rule: a, desc: d, condition: c, output: o, priority: notice, exceptions: [{name: a, fields: [x, y], comps: ['=', in],"
    " values: [[a, [b, c]]]}]}", "- {rule: a, desc: d, condition: c, output: o, priority: notice, exceptions: }",
])  # fmt: skip
def test_it_accepts(text: str) -> None:
    assert accepts(text)
