# SPDX-License-Identifier: Apache-2.0
"""The calls to the Kubernetes API that a user made, as far as roles depend on them: what is remembered of an audit log."""

from __future__ import annotations

import bisect
from collections.abc import Iterator
from dataclasses import dataclass, field, replace

from . import gosort

#: Kinds of calls that are remembered at most. A cluster has some thousands; more come from a client that makes them up.
MAX_KINDS = 100_000
#: Names kept of a kind in a namespace, and namespaces kept of a kind, where more than one already stands for any: the first ones by name.
KEPT = 32
#: Groups that the cluster's own discovery role is bound to, and the paths it lets them get.
DISCOVERERS = ("system:authenticated", "system:unauthenticated")
DISCOVERY = ("/healthz", "/version", "/swagger*", "/openapi*", "/api*")
#: Calls up to which a log counts as small: their sequence is kept too.
SEQUENCE = 20_000


@dataclass(frozen=True, slots=True)
class Call:
    """One API call as the authorizer sees it: of a resource, or else of a path (with its query)."""

    verb: str
    #: None and () are different here, as they are in Go: missing in the event, and empty.
    groups: tuple[str, ...] | None = None
    path: str = ""
    is_resource: bool = False
    namespace: str = ""
    name: str = ""
    api_group: str = ""
    api_version: str = ""
    resource: str = ""
    subresource: str = ""

    @property
    def target(self) -> str:
        """The resource as rules name it."""
        return f"{self.resource}/{self.subresource}" if self.subresource else self.resource

    @property
    def anyone_may(self) -> bool:
        """Whether the discovery role allows it, so that no other needs to."""
        return (not self.is_resource and self.verb == "get" and any(group in DISCOVERERS for group in self.groups or ())
                and any(self.path == p or (p[-1] == "*" and self.path.startswith(p[:-1])) for p in DISCOVERY))


@dataclass(slots=True)
class Kind:
    """Calls that differ in what expansion leaves out: in name, namespace or both."""

    call: Call
    #: Names by namespace, in order.
    names: dict[str, list[str]] = field(default_factory=dict)
    #: Up to two names and two namespaces that are not empty: whether there is another one is all that expansion asks.
    some_names: set[str] = field(default_factory=set)
    some_namespaces: set[str] = field(default_factory=set)
    #: Some calls have not been kept.
    cut: bool = False


class Calls:
    """The distinct calls of a log. What it takes grows with the kinds of calls, not with the events, names or namespaces.

    expand_namespaces, expand_names: the same call in several namespaces, or on several names, is to be allowed in any, or on any. Then
    a few of them tell all that roles depend on: that there is more than one, and the first ones by name. (Not all of them need to be the
    same, since others may be allowed already: hence KEPT of each, and not one.)
    """

    def __init__(self, *, expand_namespaces: bool = True, expand_names: bool = True) -> None:
        self.expand_namespaces = expand_namespaces
        self.expand_names = expand_names
        #: Events added, and those refused because there are too many kinds.
        self.added = self.refused = 0
        self._paths: dict[tuple[str, str], Call] = {}
        self._kinds: dict[Call, Kind] = {}
        #: All calls as they came, while they are few: where the order is none, the result depends on it.
        self._sequence: list[Call] | None = []

    def add(self, call: Call) -> None:
        """Remembers a call."""
        self.added += 1
        if self._sequence is not None:
            self._sequence.append(call)
            if len(self._sequence) > SEQUENCE:
                self._sequence = None
        if call.anyone_may:
            return
        if not call.is_resource:
            if (call.verb, call.path) not in self._paths and self._room():
                self._paths[call.verb, call.path] = call
            return
        key = self._key(call)
        kind = self._kinds.get(key)
        if kind is None:
            if not self._room():
                return
            kind = self._kinds[key] = Kind(replace(call, path=""))
        for value, some in ((call.name, kind.some_names), (call.namespace, kind.some_namespaces)):
            if value and len(some) < 2:
                some.add(value)
        names = kind.names.get(call.namespace)
        if names is None:
            names = kind.names[call.namespace] = []
            if self.expand_namespaces and len(kind.names) > KEPT:
                del kind.names[max(kind.names)]
                kind.cut = True
        place = bisect.bisect_left(names, call.name)
        if names[place:place + 1] != [call.name]:
            names.insert(place, call.name)
            if self.expand_names and len(names) > KEPT:
                names.pop()
                kind.cut = True

    def _room(self) -> bool:
        if len(self._kinds) + len(self._paths) < MAX_KINDS:
            return True
        self.refused += 1
        return False

    def _key(self, call: Call) -> Call:
        return replace(call, path="", namespace="" if self.expand_namespaces else call.namespace,
                       name="" if self.expand_names else call.name)

    def kind(self, call: Call) -> Kind:
        """The kind of a call to a resource that was added."""
        return self._kinds[self._key(call)]

    def __iter__(self) -> Iterator[Call]:
        """The calls that were kept, in the order in which they are looked at: broad ones first."""
        calls = [*self._paths.values(), *(replace(kind.call, namespace=namespace, name=name) for kind in self._kinds.values()
                                          for namespace, names in kind.names.items() for name in names)]
        verbs: dict[tuple[bool, ...], set[str]] = {}
        for call in calls:
            verbs.setdefault(_scope(call), set()).add(call.verb)
        if any(scope[0] and {"list", "get"} <= used for scope, used in verbs.items()):
            calls = calls if self._sequence is None else list(self._sequence)
            gosort.stable(calls, _before)
        else:
            calls.sort(key=_place)
        yield from (call for call in calls if not call.anyone_may)


def _scope(call: Call) -> tuple[bool, ...]:
    return call.is_resource, bool(call.namespace), bool(call.name)


def _place(call: Call) -> tuple[object, ...]:
    if not call.is_resource:
        return False, call.verb, call.path
    return (*_scope(call), call.api_group, call.resource, call.subresource, call.namespace, call.name, call.verb)


def _before(a: Call, b: Call) -> bool:
    """The order of the original, which is none: a list comes before a get of anything, but other calls have places between them."""
    if a.is_resource and _scope(a) == _scope(b) and {a.verb, b.verb} == {"list", "get"}:
        return a.verb == "list"
    return _place(a) < _place(b)
