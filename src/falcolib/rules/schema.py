# SPDX-License-Identifier: Apache-2.0
"""The JSON schema of rule files, for editors and other tools. What loads is decided by ``merge``; this says the same, item by item."""

from __future__ import annotations

from typing import Any

from .merge import APPENDABLE, KEYS, PRIORITIES, REPLACEABLE

_SCALAR = {"type": ["string", "number", "boolean"]}
_TEXT = {"type": ["string", "number", "boolean"], "not": {"const": ""}}
_TRUTH = {"anyOf": [{"type": "boolean"}, {"enum": [form for word in ("y", "yes", "true", "on", "n", "no", "false", "off")
                                                   for form in (word, word.capitalize(), word.upper())]}]}
_UINT32 = {"anyOf": [{"type": "integer", "minimum": 0, "maximum": (1 << 32) - 1},
                     {"type": "string", "pattern": "^(0[xX][0-9a-fA-F]+|[0-9]+)$"}]}
_ENTRY = {"anyOf": [_SCALAR, {"type": "array", "items": {"anyOf": [_SCALAR, {"type": "array", "items": _SCALAR}]}}]}
_VERSION = {"type": "string", "pattern": r"^\s*[0-9]{1,9}\.[0-9]{1,9}\.[0-9]{1,9}([-+].*)?\s*$"}


def _any_case(word: str) -> str:
    return "".join(f"[{c.upper()}{c.lower()}]" for c in word)


def _overrides(append: tuple[str, ...], replace: tuple[str, ...]) -> dict[str, Any]:
    return {
        "type": "object", "minProperties": 1, "additionalProperties": False,
        "description": "What is done with keys of an item that is there already: append to them, or replace them.",
        "properties": {key: {"enum": [*["append"] * (key in append), *["replace"] * (key in replace)]} for key in (*replace,)},
    }


_PROPERTIES: dict[str, dict[str, Any]] = {
    "rule": _TEXT | {"description": "The rule's name."},
    "macro": _TEXT | {"description": "The macro's name: a letter, then letters, digits and _."},
    "list": _TEXT | {"description": "The list's name."},
    "condition": _TEXT | {"description": "When it matches: tests of fields joined by and, or, not."},
    "output": _TEXT | {"description": "What an alert says; %field stands for the field's value."},
    "desc": _TEXT | {"description": "What the rule is about."},
    "priority": {
        "type": "string", "pattern": f"^({'|'.join(map(_any_case, (*PRIORITIES, 'Info')))})$",
        "description": f"How urgent an alert is: {', '.join(PRIORITIES)}."},
    "source": _TEXT | {"description": "The source of events, syscall if it isn't given."},
    "enabled": _TRUTH | {"description": "false: the rule is loaded and doesn't run."},
    "tags": {"type": "array", "items": _SCALAR, "description": "Names by which rules are selected."},
    "exceptions": {
        "description": "What the rule leaves alone.",
        "anyOf": [{"type": "null"}, {"type": "array", "items": {
            "type": "object", "required": ["name"],
            "properties": {"name": _TEXT, "fields": _ENTRY, "comps": _ENTRY, "values": {"type": "array", "items": _ENTRY}}}}]},
    "warn_evttypes": _TRUTH | {"description": "false: no warning if the condition is of many event types."},
    "skip-if-unknown-filter": _TRUTH | {"description": "true: a rule with unknown fields or event types is left out, and no error."},
    "capture": _TRUTH | {"description": "true: an alert starts a capture."},
    "capture_duration": _UINT32 | {"description": "How long, in ms; 0 as configured."},
    "append": _TRUTH | {"description": "Deprecated: use override."},
    "items": {"type": "array", "items": _SCALAR, "description": "What the list holds; names of other lists stand for what is in them."},
    "required_engine_version": {
        "anyOf": [{"type": "integer", "minimum": 0}, {"type": "string", "pattern": r"^([0-9]+|\s*[0-9]+\.[0-9]+\.[0-9]+([-+].*)?\s*)$"}],
        "description": "The least version of the engine: its minor number, or x.y.z."},
    "required_plugin_versions": {
        "type": "array", "description": "Plugins that must be there.", "items": {
            "type": "object", "required": ["name", "version"], "properties": {
                "name": _TEXT, "version": _VERSION,
                "alternatives": {"type": "array", "items": {
                    "type": "object", "required": ["name", "version"], "properties": {"name": _TEXT, "version": _VERSION}}}}}},
}

_DEFINED = {"required": ["condition", "output", "desc", "priority"]}
_CHANGED = {"anyOf": [{"required": ["override"]}, {"required": ["append"]},
                      {"required": ["enabled"], "not": {"anyOf": [{"required": [key]} for key in _DEFINED["required"]]}}]}


def _item(kind: str, rest: dict[str, Any]) -> dict[str, Any]:
    properties = {key: _PROPERTIES[key] for key in sorted(KEYS[kind]) if key != "override"}
    if "override" in KEYS[kind]:
        changeable = {"rule": (APPENDABLE, REPLACEABLE), "macro": (("condition",),) * 2, "list": (("items",),) * 2}[kind]
        properties["override"] = _overrides(*changeable)
    return {"type": "object", "properties": properties, "additionalProperties": False} | rest


def rule_schema() -> dict[str, Any]:
    """The schema, in JSON Schema's draft 7. A document of a rule file is an array of items, each of the kind of the first key it has."""
    kinds: dict[str, dict[str, Any]] = {
        "required_engine_version": {}, "required_plugin_versions": {}, "list": {"required": ["items"]},
        "macro": {"required": ["condition"]},
        "rule": {"anyOf": [_DEFINED, _CHANGED], "if": {"not": {"anyOf": [{"required": ["override"]}, {"required": ["append"]}]}},
                 "then": {"properties": {"exceptions": {"items": {"required": ["fields"]}}}}},
    }
    choice: dict[str, Any] | bool = False
    for kind in reversed(kinds):
        choice = {"if": {"type": "object", "required": [kind]}, "then": {"$ref": f"#/definitions/{kind}"}, "else": choice}
    return {
        "$schema": "http://json-schema.org/draft-07/schema#",
        "title": "Rules of Falco and falcolib",
        "type": ["array", "null"],
        "items": {"anyOf": [{"type": "null"}, choice]},
        "definitions": {kind: _item(kind, rest) for kind, rest in kinds.items()},
    }
