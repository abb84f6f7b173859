# SPDX-License-Identifier: Apache-2.0
"""The items of rule files, read in Falco's order into one collection: definitions, appends, overrides, toggles (A1-A3)."""

from __future__ import annotations

import re
from bisect import bisect_right
from collections.abc import Iterable
from dataclasses import dataclass, field, replace

from .. import schema
from ..errors import Location
from . import grammar
from .check import can_be_tested
from .load import Node, Source
from .report import Context, Mistake, Result

#: The engine version of Falco whose rules we run, and the versions of the plugins whose work we do.
ENGINE_VERSION = (0, 63, 0)
PLUGIN_VERSIONS = {"container": (0, 9, 0), "k8saudit": (0, 20, 0), "json": (0, 8, 0)}

PRIORITIES = ("Emergency", "Alert", "Critical", "Error", "Warning", "Notice", "Informational", "Debug")
_PRIORITY = {name.lower(): i for i, name in enumerate(PRIORITIES)} | {"info": 6}

#: Keys of a rule that override can append to, and replace; the keys that the kinds of items know.
APPENDABLE = ("condition", "exceptions", "output", "desc", "tags")
REPLACEABLE = (*APPENDABLE, "priority", "enabled", "warn_evttypes", "skip-if-unknown-filter", "capture", "capture_duration")
KEYS = {
    "required_engine_version": {"required_engine_version"},
    "required_plugin_versions": {"required_plugin_versions"},
    "list": {"list", "items", "append", "override"},
    "macro": {"macro", "condition", "append", "override"},
    "rule": {"rule", "source", "append", "override", *REPLACEABLE},
}
_BLANKS = " \t\n\r\v\f"
_OLD_APPEND = "'append' key is deprecated. Add an 'append' entry (e.g. 'condition: append') under 'override' instead."
_OLD_ENABLED = (
    "The standalone 'enabled' key usage is deprecated. The correct approach requires also a 'replace' entry under the 'override' key "
    "(i.e. 'enabled: replace').")
_BOTH_APPENDS = (
    "Keys 'override' and 'append: true' cannot be used together. Add an 'append' entry (e.g. 'condition: append') under 'override' "
    "instead.")
_SCALAR_OVERRIDE = (
    "Value of 'override' is not a mapping, and is ignored: what is here takes the place of all that was defined before. Write each key "
    "with what is done to it under 'override' (e.g. '{key}: {operation}').")
_NO_RULE_TO_REPLACE = "An 'override.<key>: replace' to a rule was requested but no rule by that name already exists"
_NO_RULE_TO_APPEND = "Rule uses 'append' or 'override.<key>: append' but no rule by that name already exists"


@dataclass(frozen=True, slots=True)
class Part:
    """A piece of a condition's text: where it begins in the text, and the node it was read from."""

    start: int
    node: Node
    source: Source


@dataclass(slots=True)
class Text:
    """A text that may have been written in several places: appended to, or replaced."""

    text: str
    parts: tuple[Part, ...]

    def place(self, index: int) -> Location:
        """The place in a rule file of an index into the text."""
        part = self.parts[max(bisect_right(self.parts, index, key=lambda p: p.start) - 1, 0)]
        return part.source.inside(part.node, index - part.start)

    def joined(self, other: Text) -> Text:
        start = len(self.text) + 1
        return Text(f"{self.text} {other.text}", (*self.parts, *(Part(p.start + start, p.node, p.source) for p in other.parts)))


@dataclass(slots=True)
class Entry:
    """``fields``, ``comps`` or a value of an exception: one text, or a list of entries."""

    text: str = ""
    items: tuple[Entry, ...] | None = None

    @property
    def given(self) -> bool:
        return bool(self.text) if self.items is None else bool(self.items)


@dataclass(slots=True)
class ExceptionInfo:
    """An exception of a rule."""

    name: str
    context: Context
    fields: Entry
    comps: Entry
    values: tuple[Entry, ...]


@dataclass(slots=True)
class ListInfo:
    """A list as collected. ``index``: when it was first defined; ``visibility``: when it was last changed."""

    name: str
    items: tuple[str, ...]
    context: Context
    index: int = 0
    visibility: int = 0


@dataclass(slots=True)
class MacroInfo:
    """A macro as collected; index and visibility as of lists."""

    name: str
    condition: Text
    context: Context
    condition_context: Context
    index: int = 0
    visibility: int = 0


@dataclass(slots=True)
class RuleInfo:
    """A rule as collected; index and visibility as of lists. capture_duration: ms; 0 = as configured."""

    name: str
    condition: Text
    output: Text
    description: str
    priority: int
    source: str
    context: Context
    condition_context: Context
    output_context: Context
    enabled: bool = True
    warn_evttypes: bool = True
    skip_unknown: bool = False
    capture: bool = False
    capture_duration: int = 0
    tags: frozenset[str] = frozenset()
    exceptions: tuple[ExceptionInfo, ...] = ()
    unknown_source: bool = False
    index: int = 0
    visibility: int = 0


@dataclass(frozen=True, slots=True)
class PluginRequirement:
    """One of the (name, version) pairs must be there."""

    alternatives: tuple[tuple[str, str], ...]
    context: Context


@dataclass(slots=True)
class Collection:
    """All the definitions read so far, in the order of their first definition."""

    lists: dict[str, ListInfo] = field(default_factory=dict)
    macros: dict[str, MacroInfo] = field(default_factory=dict)
    rules: dict[str, RuleInfo] = field(default_factory=dict)
    plugins: list[PluginRequirement] = field(default_factory=list)
    engine_version: tuple[int, int, int] = (0, 0, 0)
    count: int = 0

    def tick(self) -> int:
        self.count += 1
        return self.count - 1

    def read(self, source: Source, result: Result) -> None:
        """Adds the items of a file. Raises Mistake at the first that can't be used; those before it stay."""
        root = source.context()
        for document in source.documents:
            if document.is_null:
                continue
            if document.kind == "scalar":
                raise Mistake("LOAD_ERR_YAML_VALIDATE", "Rules content is not yaml", root)
            if document.kind == "mapping":
                raise Mistake("LOAD_ERR_YAML_VALIDATE", "Rules content is not yaml array of objects", root)
            for item in document.items:
                if not item.is_null:
                    _Item(self, source, result, item, root).read()


def priority_number(priority: str | int) -> int:
    """0 Emergency … 7 Debug, of a name in any case or a number. Raises ValueError."""
    number = priority if isinstance(priority, int) else _PRIORITY.get(priority.lower(), -1)
    if not 0 <= number < len(PRIORITIES):
        raise ValueError(f"no such priority: {priority!r}")
    return number


def parse_version(text: str) -> tuple[int, int, int] | None:
    """``x.y.z``, what follows a hyphen or plus left out; None for other texts."""
    m = re.fullmatch(r"([0-9]{1,9})\.([0-9]{1,9})\.([0-9]{1,9})(?:[-+].*)?", text.strip(), re.DOTALL)
    return (int(m[1]), int(m[2]), int(m[3])) if m else None


def version_text(version: Iterable[int]) -> str:
    """As it is written."""
    return ".".join(map(str, version))


class _Item:
    """One item of a file, on its way into the collection."""

    def __init__(self, collection: Collection, source: Source, result: Result, item: Node, root: Context) -> None:
        self.all = collection
        self.source = source
        self.result = result
        self.item = item
        self.root = root

    # ---- values ----

    def at(self, kind: str, name: str, node: Node, parent: Context) -> Context:
        return parent.child(kind, name, self.source.place(node))

    def scalar(self, owner: Node, key: str, context: Context) -> Node:
        """The required scalar under a key."""
        node = owner.get(key)
        if node is None:
            raise Mistake("LOAD_ERR_YAML_VALIDATE", f"Item has no mapping for key '{key}'", context)
        if node.is_null:
            raise Mistake("LOAD_ERR_YAML_VALIDATE", f"Mapping for key '{key}' is empty", context)
        here = self.at("value for", key, node, context)
        if node.kind != "scalar":
            raise Mistake("LOAD_ERR_YAML_VALIDATE", "Value is not a scalar value", here)
        if not node.text:
            raise Mistake("LOAD_ERR_YAML_VALIDATE", "Value must be non-empty", here)
        return node

    def text(self, key: str, context: Context) -> str:
        return self.scalar(self.item, key, context).text

    def written(self, key: str, context: Context) -> Text:
        node = self.scalar(self.item, key, context)
        return Text(node.text, (Part(0, node, self.source),))

    def truth(self, key: str, context: Context, default: bool | None) -> bool:
        """A truth value; required where there is no default."""
        if default is not None and self.item.get(key) is None:
            return default
        node = self.scalar(self.item, key, context)
        value = node.as_bool()
        if value is None:
            raise Mistake("LOAD_ERR_YAML_VALIDATE", "Can't decode YAML scalar value", self.at("value for", key, node, context))
        return value

    def number(self, key: str, context: Context, default: int | None) -> int:
        if default is not None and self.item.get(key) is None:
            return default
        node = self.scalar(self.item, key, context)
        value = node.as_uint32()
        if value is None:
            raise Mistake("LOAD_ERR_YAML_VALIDATE", "Can't decode YAML scalar value", self.at("value for", key, node, context))
        return value

    def texts(self, key: str, context: Context, required: bool) -> tuple[str, ...]:
        """A sequence of scalars."""
        node = self.item.get(key)
        if node is None:
            if required:
                raise Mistake("LOAD_ERR_YAML_VALIDATE", f"Item has no mapping for key '{key}'", context)
            return ()
        here = self.at("value for", key, node, context)
        if node.kind != "sequence":
            raise Mistake("LOAD_ERR_YAML_VALIDATE", "Value is not a sequence", here)
        for entry in node.items:
            if entry.kind != "scalar" or entry.is_null:
                raise Mistake("LOAD_ERR_YAML_VALIDATE", "sequence value is not scalar", self.at("list item", "", entry, here))
        return tuple(entry.text for entry in node.items)

    def priority(self, context: Context) -> int:
        node = self.scalar(self.item, "priority", context)
        value = _PRIORITY.get(node.text.lower())
        if value is None:
            raise Mistake("LOAD_ERR_YAML_VALIDATE", "Invalid priority", self.at("rule priority", "", node, context),
                          hint=schema.nearest(node.text.capitalize(), PRIORITIES))
        return value

    def overrides(self, context: Context, append: Iterable[str], replace: Iterable[str]) -> tuple[set[str], set[str]]:
        """The keys to append to, and those to replace."""
        node = self.item.get("override")
        appended: set[str] = set()
        replaced: set[str] = set()
        if node is None:
            return appended, replaced
        here = self.at("overrides", "", self.item, context)
        if node.kind == "scalar":
            if not node.is_null:        # Falco looks for pairs in it, and there are none
                meant, keys = ("replace", replace) if node.text == "replace" else ("append", append)
                given = next((key for key in keys if self.item.get(key) is not None), next(iter(keys)))
                self.result.warn("LOAD_UNKNOWN_KEY", _SCALAR_OVERRIDE.format(key=given, operation=meant),
                                 self.at("overrides", "", node, context))
            return appended, replaced
        if node.kind != "mapping":
            raise Mistake("LOAD_ERR_YAML_VALIDATE", "Value of 'override' must be a mapping", here)
        for key, operation in node.pairs:
            if key.kind != "scalar" or operation.kind != "scalar":
                raise Mistake("LOAD_ERR_YAML_VALIDATE", "Entries of 'override' must be scalars", here)
            name = key.text
            if operation.text == "append":
                if name not in append:
                    raise Mistake("LOAD_ERR_YAML_VALIDATE", f"Key '{name}' cannot be appended to, use 'replace' instead",
                                  self.at("overrides", name, key, here), hint=schema.nearest(name, append))
                appended.add(name)
            elif operation.text == "replace":
                if name not in replace:
                    raise Mistake("LOAD_ERR_YAML_VALIDATE", f"Key '{name}' cannot be replaced", self.at("overrides", name, key, here),
                                  hint=schema.nearest(name, replace))
                replaced.add(name)
            else:
                allowed = " ".join(["append"] * (name in append) + ["replace"] * (name in replace))
                raise Mistake("LOAD_ERR_YAML_VALIDATE",
                              f"Invalid override operation for key '{name}': '{operation.text}'. Allowed values are: {allowed}",
                              self.at("value for", name, operation, here))
        return appended, replaced

    def append_flag(self, context: Context) -> bool:
        append = self.truth("append", context, False)
        if append:
            self.result.warn("LOAD_DEPRECATED_ITEM", _OLD_APPEND, context)
        return append

    # ---- items ----

    def read(self) -> None:
        """Reads the item by its first discriminating key."""
        if self.item.kind != "mapping":
            raise Mistake("LOAD_ERR_YAML_VALIDATE", "Unexpected element type. Each element should be a yaml associative array.",
                          self.at("rules content item", "", self.item, self.root))
        readers = {"required_engine_version": self.engine_version, "required_plugin_versions": self.plugin_versions,
                   "list": self.list, "macro": self.macro, "rule": self.rule}
        for kind, reader in readers.items():
            if self.item.get(kind) is not None:
                context = reader()
                for key, _ in self.item.pairs:
                    if key.kind == "scalar" and key.text not in KEYS[kind]:
                        message = f"Unknown key '{key.text}' in {kind} definition"
                        near = schema.nearest(key.text, KEYS[kind])
                        self.result.warn("LOAD_UNKNOWN_KEY", message, context, at=self.source.place(key), hint=near)
                return
        near = next((n for key, _ in self.item.pairs if key.kind == "scalar" and (n := schema.nearest(key.text, readers))), None)
        self.result.warn("LOAD_UNKNOWN_ITEM", "Unknown top level item", self.at("rules content item", "", self.item, self.root), hint=near)

    def engine_version(self) -> Context:
        context = self.at("required_engine_version", "", self.item, self.root)
        node = self.scalar(self.item, "required_engine_version", context)
        number = node.as_uint32()
        version = (0, number, 0) if number is not None else parse_version(node.text)
        if version is None:
            raise Mistake("LOAD_ERR_YAML_VALIDATE",
                          f"Unable to parse engine version '{node.text}' as a semver string. Expected \"x.y.z\" semver format.", context)
        if version[0] != ENGINE_VERSION[0] or version > ENGINE_VERSION:
            raise Mistake("LOAD_ERR_VALIDATE", f"Rules require engine version {version_text(version)}, but engine version is "
                          f"{version_text(ENGINE_VERSION)}", context)
        self.all.engine_version = max(self.all.engine_version, version)
        return context

    def plugin_versions(self) -> Context:
        node = self.item.get("required_plugin_versions")
        assert node is not None
        context = self.at("required plugin versions", "", node, self.root)
        if node.kind != "sequence":
            raise Mistake("LOAD_ERR_YAML_VALIDATE", "Value of required_plugin_versions must be a sequence", context)
        for plugin in node.items:
            here = self.at("required plugin versions entry", "", plugin, context)
            if plugin.kind != "mapping":
                raise Mistake("LOAD_ERR_YAML_VALIDATE", "Plugin version must be a mapping", here)
            name = self.scalar(plugin, "name", here).text
            here = self.at("required plugin versions entry", name, plugin, context)
            wanted = [(name, self.scalar(plugin, "version", here).text)]
            others = plugin.get("alternatives")
            if others is not None:
                if others.kind != "sequence":
                    raise Mistake("LOAD_ERR_YAML_VALIDATE", "Value of plugin version alternatives must be a sequence", here)
                for other in others.items:
                    there = self.at("required plugin versions alternative", "", other, here)
                    if other.kind != "mapping":
                        raise Mistake("LOAD_ERR_YAML_VALIDATE", "Plugin version alternative must be a mapping", there)
                    name = self.scalar(other, "name", there).text
                    there = self.at("required plugin versions alternative", name, other, here)
                    wanted.append((name, self.scalar(other, "version", there).text))
            names: set[str] = set()
            for name, version in wanted:
                if parse_version(version) is None:
                    raise Mistake("LOAD_ERR_VALIDATE", f"Invalid required version '{version}' for plugin '{name}'", here)
                if name in names:
                    raise Mistake("LOAD_ERR_VALIDATE", f"Defined multiple alternative version requirements for plugin '{name}'", here)
                names.add(name)
            self.all.plugins.append(PluginRequirement(tuple(wanted), here))
        return context

    def list(self) -> Context:
        name = self.text("list", self.at("list", "", self.item, self.root))
        context = self.at("list", name, self.item, self.root)
        if not re.fullmatch(grammar.BARE, name):
            self.result.warn("LOAD_INVALID_LIST_NAME", "List has an invalid name. List names should match a regular expression: "
                             "([^()\"'[:space:]=,]+)", context)
        info = ListInfo(name, self.texts("items", context, True), context)
        append = self.append_flag(context)
        appended, replaced = self.overrides(context, ("items",), ("items",))
        if append and (appended or replaced):
            raise Mistake("LOAD_ERR_YAML_VALIDATE", _BOTH_APPENDS, context)
        previous = self.all.lists.get(name)
        if append or appended:
            if previous is None:
                raise Mistake("LOAD_ERR_VALIDATE",
                              "List uses 'append' or 'override.items: append' but no list by that name already exists", context)
            previous.items += info.items
            previous.visibility = self.all.tick()
        else:
            info.visibility = self.all.tick()
            info.index = previous.index if previous else info.visibility
            self.all.lists[name] = info
        return context

    def macro(self) -> Context:
        name = self.text("macro", self.at("macro", "", self.item, self.root))
        context = self.at("macro", name, self.item, self.root)
        if not re.fullmatch(grammar.IDENTIFIER, name):
            self.result.warn("LOAD_INVALID_MACRO_NAME", "Macro has an invalid name. Macro names should match a regular expression: "
                             "([a-zA-Z]+[a-zA-Z0-9_]*)", context)
        condition = self.written("condition", context)
        info = MacroInfo(name, condition, context, self.at("macro condition", "", condition.parts[0].node, context))
        append = self.append_flag(context)
        appended, replaced = self.overrides(context, ("condition",), ("condition",))
        if append and (appended or replaced):
            raise Mistake("LOAD_ERR_YAML_VALIDATE", _BOTH_APPENDS, context)
        previous = self.all.macros.get(name)
        if append or appended:
            if previous is None:
                raise Mistake("LOAD_ERR_VALIDATE",
                              "Macro uses 'append' or 'override.condition: append' but no macro by that name already exists", context)
            previous.condition = previous.condition.joined(condition)
            previous.visibility = self.all.tick()
        else:
            info.visibility = self.all.tick()
            info.index = previous.index if previous else info.visibility
            self.all.macros[name] = info
        return context

    def rule(self) -> Context:
        name = self.text("rule", self.at("rule", "", self.item, self.root))
        context = self.at("rule", name, self.item, self.root)
        append = self.append_flag(context)
        appended, replaced = self.overrides(context, APPENDABLE, REPLACEABLE)
        if append and (appended or replaced):
            raise Mistake("LOAD_ERR_YAML_VALIDATE", _BOTH_APPENDS, context)
        given = {key for key in REPLACEABLE if self.item.get(key) is not None}
        if appended or replaced:
            left = set(given)
            if appended:
                self.take(appended, left, "append", context)
                self.append_to_rule(name, appended, context, "append")
            if replaced:
                self.take(replaced, left, "replace", context)
                self.replace_in_rule(name, replaced, context)
            for key in sorted(left):
                node = self.item.get(key)
                assert node is not None
                raise Mistake("LOAD_ERR_YAML_VALIDATE", f"Unexpected key '{key}': no corresponding entry under 'override' is defined.",
                              self.at("overrides", key, node, context))
        elif append:
            self.append_to_rule(name, given & {"condition", "exceptions"}, context, "flag")
        elif not given & {"condition", "output", "desc", "priority"}:
            enabled = self.truth("enabled", context, None)
            self.result.warn("LOAD_DEPRECATED_ITEM", _OLD_ENABLED, context)
            previous = self.all.rules.get(name)
            if previous is None:
                raise Mistake("LOAD_ERR_VALIDATE", "Rule has 'enabled' key but no rule by that name already exists", context)
            previous.enabled = enabled
        else:
            self.define_rule(name, context)
        return context

    @staticmethod
    def take(keys: set[str], left: set[str], operation: str, context: Context) -> None:
        """Keys listed under override must be given, and are used up."""
        for key in REPLACEABLE:
            if key in keys:
                if key not in left:
                    raise Mistake("LOAD_ERR_YAML_VALIDATE",
                                  f"An {operation} override for '{key}' was specified but '{key}' is not defined", context)
                left.remove(key)

    def define_rule(self, name: str, context: Context) -> None:
        condition = self.written("condition", context)
        output = self.written("output", context)
        blank = len(output.text) - len(output.text.lstrip(_BLANKS))
        output = Text(output.text.strip(_BLANKS), (replace(output.parts[0], start=-blank),))
        description = self.text("desc", context)
        info = RuleInfo(
            name, condition, output, description, self.priority(context), "syscall", context,
            self.at("rule condition", "", condition.parts[0].node, context), self.at("rule output", "", output.parts[0].node, context))
        if self.item.get("source") is not None:
            info.source = self.text("source", context)
        info.enabled = self.truth("enabled", context, True)
        info.warn_evttypes = self.truth("warn_evttypes", context, True)
        info.skip_unknown = self.truth("skip-if-unknown-filter", context, False)
        info.capture = self.truth("capture", context, False)
        info.capture_duration = self.number("capture_duration", context, 0)
        info.tags = frozenset(self.texts("tags", context, False))
        info.exceptions = self.exceptions(context, False)
        previous = self.all.rules.get(name)
        if previous is not None and previous.source != info.source:
            raise Mistake("LOAD_ERR_VALIDATE", "Rule has been re-defined with a different source", context)
        if info.source not in schema.sources():
            info.unknown_source = True
            self.result.warn("LOAD_UNKNOWN_SOURCE", f"Unknown source {info.source}, skipping", context,
                             hint=schema.nearest(info.source, schema.sources()))
        for exception in info.exceptions:
            if not exception.fields.given:
                raise Mistake("LOAD_ERR_VALIDATE", "Rule exception item must have fields property with a list of fields", exception.context)
            _complete(exception, info.source if not info.unknown_source else None)
        info.visibility = self.all.tick()
        info.index = previous.index if previous else info.visibility
        self.all.rules[name] = info

    def append_to_rule(self, name: str, keys: set[str], context: Context, how: str) -> None:
        condition = self.written("condition", context) if "condition" in keys else None
        exceptions = self.exceptions(context, True) if "exceptions" in keys else None
        output = self.written("output", context) if "output" in keys else None
        description = self.text("desc", context) if "desc" in keys else None
        tags = self.texts("tags", context, False) if "tags" in keys else ()
        rule = self.all.rules.get(name)
        if rule is None:
            raise Mistake("LOAD_ERR_VALIDATE", _NO_RULE_TO_APPEND, context)
        if not keys:
            raise Mistake("LOAD_ERR_VALIDATE", "Appended rule must have exceptions or condition property", context)
        if condition is not None:
            rule.condition = rule.condition.joined(condition)
        if output is not None:
            rule.output = rule.output.joined(output)
        if description is not None:
            rule.description = f"{rule.description} {description}"
        rule.tags |= frozenset(tags)
        for exception in exceptions or ():
            self.append_exception(rule, exception)
        rule.visibility = self.all.tick()

    @staticmethod
    def append_exception(rule: RuleInfo, new: ExceptionInfo) -> None:
        old = next((e for e in rule.exceptions if e.name == new.name), None)
        if old is None:
            if not new.fields.given:
                raise Mistake("LOAD_ERR_VALIDATE", "Rule exception must have fields property with a list of fields", new.context)
            if not new.values:
                raise Mistake("LOAD_ERR_VALIDATE", "Rule exception must have values property with a list of values", new.context)
            _complete(new, rule.source if not rule.unknown_source else None)
            rule.exceptions += (new,)
            return
        for what, entry in (("fields", new.fields), ("comps", new.comps)):
            if entry.given:
                raise Mistake("LOAD_ERR_VALIDATE", f"Can not append exception {what} to existing exception, only values", new.context)
        old.values += new.values

    def replace_in_rule(self, name: str, keys: set[str], context: Context) -> None:
        condition = self.written("condition", context) if "condition" in keys else None
        exceptions = self.exceptions(context, False) if "exceptions" in keys else None
        output = self.written("output", context) if "output" in keys else None
        description = self.text("desc", context) if "desc" in keys else None
        tags = self.texts("tags", context, False) if "tags" in keys else None
        priority = self.priority(context) if "priority" in keys else None
        switches = ("enabled", "warn_evttypes", "skip-if-unknown-filter", "capture")
        flags = {key: self.truth(key, context, None) for key in switches if key in keys}
        duration = self.number("capture_duration", context, None) if "capture_duration" in keys else None
        rule = self.all.rules.get(name)
        if rule is None:
            raise Mistake("LOAD_ERR_VALIDATE", _NO_RULE_TO_REPLACE, context)
        rule.condition = condition or rule.condition
        rule.output = output or rule.output
        rule.description = description or rule.description
        rule.tags = frozenset(tags) if tags is not None else rule.tags
        rule.exceptions = exceptions if exceptions is not None else rule.exceptions
        rule.priority = priority if priority is not None else rule.priority
        rule.enabled = flags.get("enabled", rule.enabled)
        rule.warn_evttypes = flags.get("warn_evttypes", rule.warn_evttypes)
        rule.skip_unknown = flags.get("skip-if-unknown-filter", rule.skip_unknown)
        rule.capture = flags.get("capture", rule.capture)
        rule.capture_duration = duration if duration is not None else rule.capture_duration
        rule.visibility = self.all.tick()

    # ---- exceptions ----

    def exceptions(self, parent: Context, append: bool) -> tuple[ExceptionInfo, ...]:
        node = self.item.get("exceptions")
        if node is None or node.is_null:
            return ()
        context = self.at("exceptions", "", node, parent)
        if node.kind != "sequence":
            raise Mistake("LOAD_ERR_YAML_VALIDATE", "Rule exceptions must be a sequence", context)
        found: list[ExceptionInfo] = []
        for entry in node.items:
            here = self.at("exception", "", entry, context)
            if entry.kind != "mapping":
                raise Mistake("LOAD_ERR_YAML_VALIDATE", "Rule exception must be a mapping", here)
            name = self.scalar(entry, "name", here).text
            here = self.at("exception", name, entry, parent)
            if any(e.name == name for e in found):
                self.result.warn("LOAD_EXCEPTION_NAME_NOT_UNIQUE", f"Multiple definitions of exception '{name}' in the same rule", here)
            fields = self.entry_under(entry, "fields", here, append)
            comps = self.entry_under(entry, "comps", here, True)
            values: list[Entry] = []
            given = entry.get("values")
            if given is not None:
                there = self.at("exception values", "", given, here)
                if given.kind != "sequence":
                    raise Mistake("LOAD_ERR_YAML_VALIDATE", "Rule exception values must be a sequence", there)
                values = [self.entry(v, "", self.at("exception value", "", v, there), 0) for v in given.items]
            elif append:
                self.result.warn("LOAD_APPEND_NO_VALUES", "Overriding/appending exception with no values", here)
            found.append(ExceptionInfo(name, here, fields, comps, tuple(values)))
        return tuple(found)

    def entry_under(self, owner: Node, key: str, context: Context, optional: bool) -> Entry:
        node = owner.get(key)
        if node is None:
            if optional:
                return Entry()
            raise Mistake("LOAD_ERR_YAML_VALIDATE", f"Item has no mapping for key '{key}'", context)
        return self.entry(node, key, context, 0)

    def entry(self, node: Node, key: str, context: Context, depth: int) -> Entry:
        here = self.at("value for", key, node, context)
        if depth > 2:
            raise Mistake("LOAD_ERR_YAML_VALIDATE", "Lists of an exception are nested too deep", here)
        if node.is_null:
            return Entry()
        if node.kind == "scalar":
            if not node.text:
                raise Mistake("LOAD_ERR_YAML_VALIDATE", "Value must be non-empty", here)
            return Entry(node.text)
        if node.kind == "sequence":
            return Entry("", tuple(self.entry(v, "", self.at("exception", "", v, here), depth + 1) for v in node.items))
        return Entry()


def is_list_operator(comp: str) -> bool:
    """Whether the operator of an exception takes a list in parentheses."""
    return comp in grammar.LIST_OPS or comp.split()[-1:] in [[word] for word in grammar.MODIFIER_WORDS]


def _is_operator(comp: str) -> bool:
    words = comp.split()
    return comp in grammar.OPERATORS or (len(words) == 2 and words[0] in grammar.STRING_OPS and words[1] in grammar.MODIFIER_WORDS)


def _complete(exception: ExceptionInfo, source: str | None) -> None:
    """Puts the default operators in, and checks operators and fields (A5). Without a source, its fields aren't known."""
    fields, comps, context = exception.fields, exception.comps, exception.context
    if fields.items is not None:
        if not comps.given:
            comps = Entry("", tuple(Entry("=") for _ in fields.items))
        if comps.items is None or len(comps.items) != len(fields.items):
            raise Mistake("LOAD_ERR_VALIDATE", "Fields and comps lists must have equal length", context)
        comps = Entry("", tuple(Entry(c.text.strip(), c.items) for c in comps.items))
        for comp in comps.items or ():
            if not _is_operator(comp.text):
                raise Mistake("LOAD_ERR_VALIDATE", f"'{comp.text}' is not a supported comparison operator", context,
                              hint=schema.nearest(comp.text, grammar.OPERATORS))
        names = [f.text for f in fields.items]
    else:
        if not comps.given:
            comps = Entry("in")
        if comps.items is not None:
            raise Mistake("LOAD_ERR_VALIDATE", "Fields and comps must both be strings", context)
        comps = Entry(comps.text.strip())
        if not is_list_operator(comps.text) or not _is_operator(comps.text):
            raise Mistake("LOAD_ERR_VALIDATE", "When fields is a single value, comps must be one of (in, pmatch, intersects) or a string "
                          "operator with a modifier", context)
        names = [fields.text]
    if source is not None:
        for name in names:
            if not can_be_tested(name, source):
                raise Mistake("LOAD_ERR_VALIDATE", f"'{name}' is not a supported filter field", context, hint=schema.nearest_field(name))
    exception.comps = comps
