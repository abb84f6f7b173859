# SPDX-License-Identifier: Apache-2.0
"""RBAC manifests for what a user did, from audit events: audit2rbac as a function."""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import BinaryIO, TypeAlias

from .. import sources
from ..errors import FalcolibError
from . import goyaml
from .auditlog import BadEvent, Event, converted, events, read, read_records
from .calls import MAX_KINDS, Calls
from .roles import Rule, needed_roles
from .streams import open_stream

RBAC_GROUP = "rbac.authorization.k8s.io"
SERVICE_ACCOUNT = "system:serviceaccount:"
#: Names and marks of what is generated, as the original has them.
NAME = "audit2rbac:${user}"
ANNOTATIONS: Mapping[str, str] = {"audit2rbac.liggitt.net/version": "${version}"}
LABELS: Mapping[str, str] = {"audit2rbac.liggitt.net/user": "${user}", "audit2rbac.liggitt.net/generated": "true"}
#: Problems whose texts are kept; more are only counted.
MAX_PROBLEMS = 1000

Source: TypeAlias = "str | os.PathLike[str] | BinaryIO | sources.Source | Iterable[bytes | Mapping[str, object]]"


@dataclass(slots=True)
class Manifests:
    """What audit2rbac() found. ``str()`` is the YAML: roles, cluster roles, then their bindings."""

    roles: list[dict[str, object]] = field(default_factory=list)
    cluster_roles: list[dict[str, object]] = field(default_factory=list)
    role_bindings: list[dict[str, object]] = field(default_factory=list)
    cluster_role_bindings: list[dict[str, object]] = field(default_factory=list)
    #: Events read, and those among them that were the user's.
    events: int = 0
    matched: int = 0
    #: What couldn't be read, as "source:line: text", up to a thousand, and how much it was in all.
    problems: list[str] = field(default_factory=list)
    failures: int = 0
    #: Calls that the rules don't allow although the user made them: "verb resource".
    uncovered: list[str] = field(default_factory=list)

    @property
    def objects(self) -> list[dict[str, object]]:
        """All objects, in the order in which they are printed."""
        return [*self.roles, *self.cluster_roles, *self.role_bindings, *self.cluster_role_bindings]

    def __str__(self) -> str:
        return "---\n".join(goyaml.dump(o).replace("\nmetadata: {}\n", "\nmetadata:\n", 1) for o in self.objects)   # type: ignore[arg-type]


def service_account_user(service_account: str) -> str:
    """The user name of a service account given as ``namespace:name``. Raises ValueError if it isn't of that form."""
    namespace, colon, name = service_account.partition(":")
    if not (namespace and colon and name) or ":" in name:
        raise ValueError(f"{service_account!r} is not of the form <namespace>:<name>")
    return f"{SERVICE_ACCOUNT}{namespace}:{name}"


def audit2rbac(*inputs: Source, user: str | None = None, service_account: str | None = None, namespace: str = "",
               expand_multi_namespace: bool = True, expand_multi_name: bool = True, name: str = NAME,
               annotations: Mapping[str, str] = ANNOTATIONS, labels: Mapping[str, str] = LABELS, version: str = "unknown",
               insecure: bool = False, on_problem: Callable[[str], None] | None = None,
               on_event: Callable[[int, int], None] | None = None) -> Manifests:
    """Roles and bindings that allow what a user, or a service account, was seen doing: the least that covers it.

    inputs: paths, ``-`` for standard input, http(s) URLs, binary file objects, AuditWebhook (until it is closed) and AuditFile, or
    iterables of events as dicts or JSON bytes. Files may be gzip. They hold events, EventLists or Lists as JSON lines, JSON or YAML.
    What can't be read is kept in ``problems`` and passed to on_problem; the rest counts.

    user, service_account (``namespace:name``): whose calls; exactly one of them. Impersonated calls count for the impersonated user, and
    refused ones count too: to allow them is what roles are for. namespace: only calls in that namespace.

    expand_multi_namespace, expand_multi_name: a call made in several namespaces, or on several names, is allowed in all, or on all.

    name, annotations, labels: of the objects. ${user} and ${version} are replaced; in names and labels, characters that these can't have
    become dashes.

    on_event: called after each value with the number of events read and of those that matched. insecure: don't verify certificates of URLs.

    The manifests are those of audit2rbac (github.com/liggitt/audit2rbac), byte for byte (spec: kubernetes.md 3). Raises ValueError for
    arguments that don't fit, and FalcolibError if there are more than 100,000 kinds of calls.
    """
    if (user is None) == (service_account is None):
        raise ValueError("give either a user or a service account")
    who = service_account_user(service_account) if service_account is not None else user or ""
    if not who:
        raise ValueError("the user's name is empty")
    result = Manifests()

    def problem(text: str) -> None:
        result.failures += 1
        if len(result.problems) < MAX_PROBLEMS:
            result.problems.append(text)
        if on_problem:
            on_problem(text)

    calls = Calls(expand_namespaces=expand_multi_namespace, expand_names=expand_multi_name)
    for place, event in _all_events(inputs, insecure, problem):
        if isinstance(event, BadEvent):
            problem(f"{place}: {event}")
            continue
        result.events += 1
        if event.effective_user.username == who and (not namespace or (event.object_ref and event.object_ref.namespace == namespace)):
            result.matched += 1
            calls.add(event.call())
        if on_event:
            on_event(result.events, result.matched)
    if calls.refused:
        raise FalcolibError(f"{who} made more than {MAX_KINDS} kinds of calls: no roles can be made of that; --namespace or a shorter log "
                            f"narrows it down")
    found = needed_roles(calls)
    result.uncovered = [f"{call.verb} {call.target} {call.name}".rstrip() if call.is_resource else f"{call.verb} {call.path}"
                        for call in found.uncovered]
    clean, loose = re.sub("[^a-zA-Z0-9]", "-", who).lower(), re.sub("[^a-zA-Z0-9:]", "-", who).lower()
    _fill(result, found.rules, who, _Metadata(
        _substitute(name, loose, re.sub("[^a-zA-Z0-9:]", "-", version).lower()),
        {_substitute(k, who, version): _substitute(v, who, version) for k, v in annotations.items()},
        {_substitute(k, clean, v_): _substitute(v, clean, v_) for v_ in [re.sub("[^a-zA-Z0-9]", "-", version).lower()]
         for k, v in labels.items()}))
    return result


def _substitute(text: str, user: str, version: str) -> str:
    return text.replace("${user}", user).replace("${version}", version)


def _all_events(inputs: Iterable[Source], insecure: bool, problem: Callable[[str], None]) -> Iterator[tuple[str, Event | BadEvent]]:
    for source in inputs:
        chunks = getattr(source, "chunks", None)
        if isinstance(source, (str, os.PathLike)) or chunks or callable(getattr(source, "read", None)):
            label = str(source) if isinstance(source, (str, os.PathLike)) else getattr(source, "name", "input")
            try:
                found = read_records(chunks()) if chunks else read(open_stream(source, insecure))       # type: ignore[arg-type]
                for line, event in found:
                    yield f"{label}:{line}", event
            except (OSError, FalcolibError) as e:
                text = e.strerror if isinstance(e, OSError) and e.strerror else str(e)
                problem(text if text.startswith(str(label)) else f"{label}: {text}")
        elif isinstance(source, (bytes, bytearray, memoryview, Mapping)):
            raise TypeError("a source of events is a path, a file object or an iterable of events; put a single event into a list")
        else:
            for number, value in enumerate(source, 1):                      # type: ignore[arg-type]
                parts = converted(value) if isinstance(value, Mapping) else events(value)
                yield from ((f"event {number}", event) for event in parts)


@dataclass(frozen=True, slots=True)
class _Metadata:
    name: str
    annotations: Mapping[str, str]
    labels: Mapping[str, str]

    def of(self, namespace: str) -> dict[str, object]:
        keys = {"annotations": self.annotations, "labels": self.labels, "name": self.name, "namespace": namespace}
        return {key: value for key, value in keys.items() if value}


_LABEL = "[a-z0-9](?:[-a-z0-9]*[a-z0-9])?"


def _subject(who: str) -> dict[str, str]:
    namespace, _, name = who.removeprefix(SERVICE_ACCOUNT).partition(":")
    if (who.startswith(SERVICE_ACCOUNT) and len(namespace) <= 63 and re.fullmatch(_LABEL, namespace)
            and len(name) <= 253 and re.fullmatch(rf"{_LABEL}(?:\.{_LABEL})*", name)):
        return {"kind": "ServiceAccount", "name": name, "namespace": namespace}
    return {"apiGroup": RBAC_GROUP, "kind": "User", "name": who}


def _fill(result: Manifests, rules: Mapping[str, list[Rule]], who: str, metadata: _Metadata) -> None:
    for namespace, found in rules.items():
        kind = "Role" if namespace else "ClusterRole"
        (result.roles if namespace else result.cluster_roles).append({
            "apiVersion": f"{RBAC_GROUP}/v1", "kind": kind, "metadata": metadata.of(namespace),
            "rules": [rule.as_dict() for rule in found]})
        (result.role_bindings if namespace else result.cluster_role_bindings).append({
            "apiVersion": f"{RBAC_GROUP}/v1", "kind": f"{kind}Binding", "metadata": metadata.of(namespace),
            "roleRef": {"apiGroup": RBAC_GROUP, "kind": kind, "name": metadata.name}, "subjects": [_subject(who)]})
