# SPDX-License-Identifier: Apache-2.0
"""The smallest RBAC roles that allow a set of calls, by the algorithm of audit2rbac (spec: kubernetes.md 3.3)."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field, replace

from .calls import Call, Calls

#: What a verb is allowed together with.
VERBS = {"watch": ("get", "list"), "list": ("get", "watch"), "update": ("get", "patch"), "patch": ("get", "update")}

@dataclass(slots=True)
class Rule:
    """A PolicyRule: verbs on resources of an API group, of all names if none is given; or on paths."""

    verbs: list[str]
    group: str | None = None
    resources: set[str] = field(default_factory=set)
    names: set[str] = field(default_factory=set)
    path: str | None = None

    def as_dict(self) -> dict[str, list[str]]:
        """The rule as manifests have it."""
        if self.path is not None:
            return {"nonResourceURLs": [self.path], "verbs": self.verbs}
        names = {"resourceNames": sorted(self.names)} if self.names else {}
        return {"apiGroups": [self.group or ""], **names, "resources": sorted(self.resources), "verbs": self.verbs}

    def sort_key(self) -> tuple[str, str]:
        """The group, then the rule in the notation of Kubernetes' error messages, as Go compares them."""
        parts = {"APIGroups": [] if self.group is None else [self.group], "Resources": sorted(self.resources),
                 "NonResourceURLs": [] if self.path is None else [self.path], "ResourceNames": sorted(self.names), "Verbs": self.verbs}
        text = ", ".join(f"{name}:[{' '.join(map(_quote, values))}]" for name, values in parts.items() if values)
        return self.group or "", "{" + text + "}"


_QUOTED = {ord(c): e for c, e in zip('\a\b\f\n\r\t\v\\"', ("\\a", "\\b", "\\f", "\\n", "\\r", "\\t", "\\v", "\\\\", '\\"'), strict=True)}


def _quote(text: str) -> str:
    """A string literal of Go."""
    text = text.translate(_QUOTED)
    if not text.isprintable():
        text = "".join(c if c.isprintable() else f"\\x{ord(c):02x}" if ord(c) < 0x80 else f"\\u{ord(c):04x}" if ord(c) < 0x10000
                       else f"\\U{ord(c):08x}" for c in text)
    return f'"{text}"'


@dataclass(slots=True)
class Grants:
    """What one scope is granted, in the order of coming, with an index that answers whether a call is allowed."""

    #: Verbs of each (group, resource, name); a name of None stands for all.
    granted: dict[tuple[str, str, str | None], list[str]] = field(default_factory=dict)
    #: (verb, path) of rules for paths.
    paths: dict[tuple[str, str], None] = field(default_factory=dict)
    #: Those of them that end in a star, by the length of what is before it.
    prefixes: dict[int, set[tuple[str, str]]] = field(default_factory=dict)

    @classmethod
    def of(cls, rules: Iterable[Rule]) -> Grants:
        """What rules allow."""
        grants = cls()
        for rule in rules:
            if rule.path is not None:
                grants.add_path(rule.verbs[0], rule.path)
            else:
                for resource in rule.resources:
                    for name in rule.names or (None,):
                        grants.add(rule.group or "", resource, name, rule.verbs)
        return grants

    def add(self, group: str, resource: str, name: str | None, verbs: Iterable[str]) -> None:
        known = self.granted.setdefault((group, resource, name), [])
        known += [verb for verb in verbs if verb not in known]

    def add_path(self, verb: str, path: str) -> None:
        self.paths[verb, path] = None
        if path.endswith("*"):
            prefix = path.rstrip("*")
            self.prefixes.setdefault(len(prefix), set()).add((verb, prefix))

    def add_call(self, call: Call) -> None:
        if call.is_resource:
            self.add(call.api_group, call.target, call.name or None, (call.verb, *VERBS.get(call.verb, ())))
        else:
            self.add_path(call.verb, call.path)

    def allow(self, call: Call) -> bool:
        if not call.is_resource:
            return any((verb, call.path) in self.paths or any((verb, call.path[:n]) in found for n, found in self.prefixes.items())
                       for verb in (call.verb, "*"))
        for group in (call.api_group, "*"):
            for resource in (call.target, "*", f"*/{call.subresource}" if call.subresource else "*"):
                for name in (None, call.name):
                    verbs = self.granted.get((group, resource, name))
                    if verbs and (call.verb in verbs or "*" in verbs):
                        return True
        return False


@dataclass(slots=True)
class Roles:
    """Rules by scope, a namespace or "" for the cluster, in the order in which they were found to be needed."""

    rules: dict[str, list[Rule]]
    #: Calls that the rules don't allow after all. The original's compaction unites a rule for all names with one for a single name, and
    #: what comes out is for the single name. It happens where a user made the same call as a member of different groups.
    uncovered: list[Call]


def needed_roles(calls: Calls) -> Roles:
    """Rules that allow the calls, each scope's compacted."""
    scopes: dict[str, Grants] = {}
    wanted = list(calls)
    for call in wanted:
        if not _allowed(scopes, call):
            granted = _expanded(call, calls) if call.is_resource else call
            scopes.setdefault(granted.namespace, Grants()).add_call(granted)
    rules = {scope: compact(grants) for scope, grants in scopes.items()}
    compacted = {scope: Grants.of(found) for scope, found in rules.items()}
    return Roles(rules, [call for call in wanted if not _allowed(compacted, call)])


def _allowed(scopes: dict[str, Grants], call: Call) -> bool:
    return any(scope in scopes and scopes[scope].allow(call) for scope in {"", call.namespace})


def _expanded(call: Call, calls: Calls) -> Call:
    """The call without the namespace and the name that it has not in common with others of its kind."""
    kind = calls.kind(call)
    any_namespace = calls.expand_namespaces and kind.some_namespaces - {call.namespace}
    any_name = calls.expand_names and kind.some_names - {call.name}
    return replace(call, namespace="" if any_namespace else call.namespace, name="" if any_name else call.name)


def compact(grants: Grants) -> list[Rule]:
    """The fewest rules for what is granted: rules that differ only in their names, or only in their resources, become one."""
    index = _Index()
    for (group, resource, name), verbs in grants.granted.items():
        index.add(Rule(sorted(verbs), group, {resource}, set() if name is None else {name}))
    return sorted([*(Rule([verb], path=path) for verb, path in grants.paths), *index.rules], key=Rule.sort_key)


class _Index:
    """Rules for resources as they accumulate: a new one goes into the first that differs in its names only, or in its resources only."""

    def __init__(self) -> None:
        self.rules: list[Rule] = []
        #: Sums of the hashes of each rule's resources and of its names: what looking costs doesn't grow with the rule.
        self._sums: list[list[int]] = []
        #: Places of rules that are the same but for their names ("n"), or but for their resources ("r").
        self._places: dict[tuple[object, ...], list[int]] = {}

    def add(self, new: Rule) -> None:
        sums = [sum(map(hash, new.resources)), sum(map(hash, new.names))]
        keys = self._keys(new, sums)
        for place in sorted({place for key in keys for place in self._places.get(key, ())}):
            rule = self.rules[place]
            if rule.resources == new.resources or rule.names == new.names:      # and not only their sums
                self._unite(place, new, sums)
                return
        self.rules.append(new)
        self._sums.append(sums)
        self._enter(keys, len(self.rules) - 1)

    def _unite(self, place: int, new: Rule, sums: list[int]) -> None:
        rule = self.rules[place]
        for key in self._keys(rule, self._sums[place]):
            self._places[key].remove(place)
        into, added, of = (rule.names, new.names, 1) if rule.resources == new.resources else (rule.resources, new.resources, 0)
        if not added <= into:
            into |= added
            self._sums[place][of] += sums[of]
        self._enter(self._keys(rule, self._sums[place]), place)

    def _enter(self, keys: tuple[tuple[object, ...], ...], place: int) -> None:
        for key in keys:
            self._places.setdefault(key, []).append(place)

    @staticmethod
    def _keys(rule: Rule, sums: list[int]) -> tuple[tuple[object, ...], ...]:
        same = (rule.group, *rule.verbs)
        return ("n", sums[0], *same), ("r", sums[1], *same)
