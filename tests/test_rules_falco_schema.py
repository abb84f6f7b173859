# SPDX-License-Identifier: Apache-2.0
"""What Falco's JSON schema of rule files says (spec: engine.md A7, A8). What it says of Falco's own tests: test_rules_conformance.py."""

from __future__ import annotations

import json
from typing import Any

import pytest

from falcolib import validate_text
from falcolib.rules.falco_schema import MOST

TYPE, ENUM = "Value type not permitted by 'type' constraint.", "Failed to match against any enum values."


def said(text: str) -> list[str]:
    """The mistakes themselves, without those of what they are in."""
    (row,) = validate_text(text)["falco_load_results"]
    assert row["schema_valid"] is (not row["schema_warnings"])
    return [line.removeprefix("failed for <root>") for line in row["schema_warnings"] if "Failed to validate item" not in line
            and "Failed to validate against schema" not in line]


@pytest.mark.parametrize(("item", "mistakes"), [
    ("{rule: 7, desc: true, enabled: false, capture_duration: 12, tags: [1, x], priority: INFORMATIONAL, source: syscall}", []),
    ("{rule: '', condition: \"~\"}", []),
    ("{rule: r, enabled: yes}", [f"[0][enabled]: {TYPE}"]),
    ("{rule: r, enabled: 'true'}", []),
    ("{rule: r, capture_duration: 5s}", [f"[0][capture_duration]: {TYPE}"]),
    ("{rule: r, capture_duration: -5}", []),
    ("{rule: r, priority: Info}", [f"[0][priority]: {ENUM}"]),
    ("{rule: r, priority: [INFO]}", [f"[0][priority]: {ENUM}", f"[0][priority]: {TYPE}"]),
    ("{rule: r, tags: x}", [f"[0][tags]: {TYPE}"]),
    ("{rule: r, tags: [x, null, [y]]}", [f"[0][tags][1]: {TYPE}", f"[0][tags][2]: {TYPE}"]),
    ("{rule: r, exceptions: [{name: a, fields: [x], comps: in, values: [[y]]}]}", []),
    ("{rule: r, exceptions: [{fields: x, items: y}]}", ["[0][exceptions][0]: Object contains a property that could not be validated using "
                                                        "'properties' or 'additionalProperties' constraints: 'items'.",
                                                        "[0][exceptions][0]: Missing required property 'name'."]),
    ("{rule: r, override: {output: append, tags: replace}}", []),
    ("{rule: r, override: {output: add}}", [f"[0][override][output]: {ENUM}"]),
    ("{rule: r, override: {}}", ["[0][override]: Object should have no fewer than 1 properties."]),
    ("{list: l, items: [1, a]}", []),
    ("{list: l, items: [[a]]}", ["[0][items][0]: Failed to validate against any child schemas allowed by anyOf constraint."]),
    ("{required_engine_version: 0.50.0}", []),
    ("{required_plugin_versions: [{name: a, alternatives: [{version: 1.0.0}]}]}", [
        "[0][required_plugin_versions][0][alternatives][0]: Missing required property 'name'.",
        "[0][required_plugin_versions][0]: Missing required property 'version'."]),
    ("null", [f"[0]: {TYPE}"]),
])  # fmt: skip
def test_an_item(item: str, mistakes: list[str]) -> None:
    assert said(f"- {item}\n") == mistakes


def test_every_document_is_looked_at() -> None:
    assert said("- {macro: a, condition: x}\n---\n- {macro: b, nope: 1}\n---\n7\n")[-1] == f": {TYPE}"


@pytest.mark.parametrize("text", ["", "# nothing\n", "a: b: c"])
def test_where_there_is_no_document_nothing_is_said(text: str) -> None:
    (row,) = validate_text(text)["falco_load_results"]
    assert not row.keys() & {"schema_valid", "schema_warnings"}


def test_a_file_full_of_mistakes_is_told_of_to_a_limit() -> None:
    found: Any = validate_text(json.dumps([{"list": "l", "items": [None] * 10 * MOST}]))
    assert len(found["falco_load_results"][0]["schema_warnings"]) == MOST
