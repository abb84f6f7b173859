# SPDX-License-Identifier: Apache-2.0
"""Falco's JSON schema of rule files, and what its validator says of a file (spec: engine.md A7, A8). It decides nothing: what loads is
decided by ``merge``. The schema for editors is another (``schema``), which takes what loads."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .load import Node

Schema = Mapping[str, Any]

#: Mistakes that are told of a file.
MOST = 1_000

#: What a scalar looks like that is taken for one of a type.
_FORMS = {"boolean": re.compile("true|false"), "integer": re.compile(r"\s*[-+]?[0-9]+")}
_TEXT: Schema = {"type": "string"}
_TRUTH: Schema = {"type": "boolean"}
_NUMBER: Schema = {"type": "integer"}
_PRIORITIES = ("EMERGENCY", "ALERT", "CRITICAL", "ERROR", "WARNING", "NOTICE", "INFO", "INFORMATIONAL", "DEBUG")
_CHANGEABLE = ("items", "desc", "condition", "output", "priority", "enabled", "exceptions", "capture", "capture_duration", "capture_events",
               "capture_filesize", "tags", "warn_evttypes", "skip-if-unknown-filter")


def _list(items: Schema) -> Schema:
    return {"type": "array", "items": items}


def _object(properties: Mapping[str, Schema], *required: str, **more: Any) -> Schema:
    return {"type": "object", "properties": dict(sorted(properties.items())), "required": sorted(required), **more}


_VERSION = {"name": _TEXT, "version": _TEXT}
_FILE = _list(_object({
    **dict.fromkeys(("rule", "macro", "list", "condition", "output", "desc", "source", "required_engine_version"), _TEXT),
    **dict.fromkeys(("enabled", "append", "capture", "warn_evttypes", "skip-if-unknown-filter"), _TRUTH),
    **dict.fromkeys(("capture_duration", "capture_events", "capture_filesize"), _NUMBER),
    "priority": {"type": "string", "enum": _PRIORITIES},
    "items": _list({"anyOf": [_NUMBER, _TEXT]}),
    "tags": _list(_TEXT),
    "exceptions": _list(_object({"name": _TEXT, "fields": {}, "comps": {}, "values": {}}, "name")),
    "override": _object({key: {"type": "string", "enum": ("append", "replace")} for key in _CHANGEABLE}, minProperties=1),
    "required_plugin_versions": _list(_object({**_VERSION, "alternatives": _list(_object(_VERSION, *_VERSION))}, *_VERSION)),
}))


def violations(documents: Iterable[Node]) -> list[str]:
    """What is in the documents of a file against the schema, in the validator's words and order; no more than MOST."""
    found: list[str] = []
    for document in documents:
        _fits(document, _FILE, "<root>", found)
    return found


def _fits(node: Node, schema: Schema, where: str, found: list[str]) -> bool:
    """Whether a node fits; what doesn't is told, the innermost first, by keywords in the order of the alphabet."""
    good = True

    def fails(description: str) -> None:
        nonlocal good
        good = False
        if len(found) < MOST:
            found.append(f"failed for {where}: {description}")

    if "anyOf" in schema and not any(_fits(node, choice, where, []) for choice in schema["anyOf"]):
        fails("Failed to validate against any child schemas allowed by anyOf constraint.")
    if "enum" in schema and not (node.kind == "scalar" and node.text in schema["enum"]):
        fails("Failed to match against any enum values.")
    if "items" in schema:
        for number, item in enumerate(node.items):
            if len(found) < MOST and not _fits(item, schema["items"], f"{where}[{number}]", found):
                fails(f"Failed to validate item #{number} in array.")
    if "properties" in schema and node.kind == "mapping":
        if len(node.pairs) < schema.get("minProperties", 0):
            fails(f"Object should have no fewer than {schema['minProperties']} properties.")
        for name, inner in schema["properties"].items():
            value = node.get(name)
            if value is not None and not _fits(value, inner, f"{where}[{name}]", found):
                fails(f"Failed to validate against schema associated with property name '{name}'.")
        unknown = next((key.text for key, _ in node.pairs if key.text not in schema["properties"]), None)
        if unknown is not None:
            fails("Object contains a property that could not be validated using 'properties' or 'additionalProperties' constraints: "
                  f"'{unknown}'.")
        for name in schema["required"]:
            if node.get(name) is None:
                fails(f"Missing required property '{name}'.")
    if "type" in schema and not _is(node, schema["type"]):
        fails("Value type not permitted by 'type' constraint.")
    return good


def _is(node: Node, type_: str) -> bool:
    """Whether a node can be taken for a value of a type: every scalar but null is a text."""
    if type_ in ("array", "object"):
        return node.kind == ("sequence" if type_ == "array" else "mapping")
    if node.kind != "scalar" or node.is_null:
        return False
    return type_ == "string" or bool(_FORMS[type_].fullmatch(node.text))
