# SPDX-License-Identifier: Apache-2.0
"""Held against Falco 0.44.1: its public rule files load, its answers to rule files and conditions are ours."""

import functools
import json
import lzma
import pathlib
from typing import Any

import pytest

from conftest import CONFORMANCE
from falcolib import RuleError, RuleSet, validate_text

pytestmark = pytest.mark.conformance

PUBLIC = ("falco_rules.yaml", "falco-incubating_rules.yaml", "falco-sandbox_rules.yaml")


@functools.cache
def load(path: pathlib.Path) -> Any:
    with lzma.open(path, "rt") as f:
        return json.load(f)


def test_the_public_rule_files_load_without_a_warning(conformance: pathlib.Path) -> None:
    rules = RuleSet.load(*(conformance / "rules" / name for name in PUBLIC))
    assert len(rules) == 93
    assert rules.warnings == ()


def brief(result: Any) -> dict[str, Any]:
    """Codes, items and places of errors and warnings, and what the schema says."""
    (row,) = result["falco_load_results"]
    schema = {name: row.get(name) for name in ("schema_valid", "schema_warnings")}
    return schema | {kind: [(x["code"], [(p["item_type"], p["item_name"], p["position"]["line"], p["position"]["column"])
                                         for p in x["context"]["locations"]]) for x in row[kind]] for kind in ("errors", "warnings")}


RULE_FILES = load(CONFORMANCE / "rules" / "rule_files.json.xz") if CONFORMANCE.is_dir() else []


@pytest.mark.parametrize("row", [pytest.param(row, id=row["name"]) for row in RULE_FILES if "falco_load_results" in row["validation"]])
def test_validation_says_what_falco_says(row: Any) -> None:
    assert brief(validate_text(row["yaml"], name=row["file"])) == brief(row["validation"])


def parses(condition: str) -> bool:
    rule = {"rule": "r", "desc": "d", "condition": condition, "output": "o", "priority": "INFO", "warn_evttypes": False}
    try:
        RuleSet.parse(json.dumps([rule]))
    except RuleError:
        return False
    return True


@pytest.mark.parametrize("path", sorted(CONFORMANCE.glob("syscall/*.filters.json.xz")), ids=lambda p: p.name.split(".")[0])
def test_the_same_conditions_are_accepted(path: pathlib.Path) -> None:
    rows = load(path)
    assert [row["condition"] for row in rows["accept"] if not parses(row["condition"])] == []
    assert [row["condition"] for row in rows["reject"] if parses(row["condition"])] == []
