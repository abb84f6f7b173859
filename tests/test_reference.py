# SPDX-License-Identifier: Apache-2.0
"""docs/fields.md and docs/events.md are those that the tables make."""

import json
import re

import pytest

from conftest import ROOT
from falcolib import RuleSet, schema
from falcolib.cli.catalogue import listed
from falcolib.cli.reference import EXAMPLES, PAGES, PARAMETERS


@pytest.mark.parametrize("name", PAGES)
def test_the_page_is_up_to_date(name: str) -> None:
    assert (ROOT / "docs" / name).read_text() == PAGES[name](), f"docs/{name} is not what the tables say: make docs"


@pytest.mark.parametrize("name", PAGES)
def test_links_inside_a_page_lead_to_headings(name: str) -> None:
    page = PAGES[name]()
    headings = {re.sub(r"[^\w -]", "", h.lower()).replace(" ", "-") for h in re.findall(r"^#+ (.+)$", page, re.M)}
    assert set(re.findall(r"\]\(#([^)]+)\)", page)) <= headings


@pytest.mark.parametrize("name", PAGES)
def test_tables_have_as_many_cells_as_heads(name: str) -> None:
    width = 0
    for line in PAGES[name]().splitlines():
        cells = len(re.findall(r"(?<!\\)\|", line)) if line.startswith("|") else 0
        assert not cells or not width or cells == width, line
        width = cells


def test_each_field_and_event_that_users_may_name_is_there() -> None:
    fields, events = PAGES["fields.md"](), PAGES["events.md"]()
    assert all(f"`{f.name}" in fields for f in schema.FIELDS if listed(f))
    assert all(f"`{e.name}`" in events for e in schema.EVENTS if schema.seen_by_rules(e) and "UNUSED" not in e.flags)


@pytest.mark.parametrize("class_", EXAMPLES)
def test_examples_are_valid_conditions(class_: str) -> None:
    source = next(s for s in schema.sources() if class_ in schema.classes_of(s))
    rule = {"rule": "r", "desc": "d", "condition": EXAMPLES[class_], "output": "o", "priority": "INFO", "source": source}
    RuleSet.parse(json.dumps([rule]))


def test_each_class_with_fields_has_an_example() -> None:
    assert {f.field_class for f in schema.FIELDS if listed(f)} <= set(EXAMPLES)
    assert set(PARAMETERS) <= set(schema.TYPES)
