# SPDX-License-Identifier: Apache-2.0
"""What csrc/schema/documents.def says of the fields of audit events, in Python: both give the same on any document."""

from __future__ import annotations

import json
import random
import re
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from audit_events import event, values
from conftest import ROOT
from falcolib import schema

POINT = re.compile(r'^POINT\((\w+), (\w+), "(.*?)", "(.*?)", "(.*?)"\)$', re.M)
#: Name of each field, with its form, place, rest and extra; of those that lists and texts are made for.
ROWS = {row[0]: row[1:] for row in POINT.findall((ROOT / "csrc/schema/documents.def").read_text())}
FIELDS = [(f, *ROWS[f.name.replace(".", "_")]) for f in schema.FIELDS if f.field_class == "KA" and "KEY" not in f.argument]
NOTHING = object()


def at(value: Any, pointer: str) -> Any:
    for step in pointer.split("/")[1:]:
        key = step.replace("~1", "/").replace("~0", "~")
        if isinstance(value, dict) and key in value:
            value = value[key]
        elif isinstance(value, list) and key.isdigit() and int(key) < len(value):
            value = value[int(key)]
        else:
            return NOTHING
    return value


def text(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value, separators=(",", ":"), ensure_ascii=False)


def repository(image: str) -> str:
    folder, slash, name = image.partition("@")[0].rpartition("/")
    return folder + slash + name.partition(":")[0]


def items(value: Any) -> list[Any]:
    return value if isinstance(value, list) else []


def ports(value: Any) -> Iterator[str]:
    for port in items(value):
        found = [at(port, name) for name in ("/hostPort", "/containerPort")]
        yield from [text(number) for number in found if number is not NOTHING][:1]


def named(one: Any, kind: str, namespace: bool) -> Iterator[str]:
    name, where = at(one, "/name"), at(one, "/namespace")
    if at(one, "/kind") == kind and name is not NOTHING and not (namespace and where is NOTHING):
        yield f"{text(where)}:{text(name)}" if namespace else text(name)


def expected(document: Any, form: str, place: str, rest: str, extra: str, index: int | None) -> str | list[str] | None:
    """A field's value, as the forms are described in the table."""
    value = at(document, place)
    if form == "TRUE":
        return "true"
    if value is NOTHING:
        return None
    if form in ("VALUE", "IMAGE"):
        return text(value) if form == "VALUE" else repository(text(value))
    if form == "POD":
        return text(value) if at(document, rest) == "pods" and at(document, extra) is NOTHING else None
    if not isinstance(value, list):
        return None
    chosen = value if index is None else value[index:index + 1]
    found = [at(one, rest) for one in chosen]
    there = [one for one in found if one is not NOTHING]
    if form == "ANY_TRUE":
        return "true" if any(one is True for one in there) else "false"
    default = at(document, extra) if extra.startswith("/") else NOTHING
    forms: dict[str, Callable[[], list[str]]] = {
        "LIST": lambda: [text(one) for one in chosen],
        "EACH": lambda: [text(one) for one in there],
        "EVERY": lambda: [text(one) for one in there] if len(there) == len(found) else [],
        "IMAGES": lambda: [repository(text(one)) for one in there] if len(there) == len(found) else [],
        "FLAT": lambda: [text(part) for one in there for part in items(one)],
        "JOINED": lambda: [" ".join(map(text, one)) for one in there if items(one)],
        "PORTS": lambda: [port for one in there for port in ports(one)],
        "DEFAULT": lambda: [text(one) if one is not NOTHING else text(default) if default is not NOTHING else "0" for one in found],
        "KEYS": lambda: [key for one in chosen if isinstance(one, dict) for key in one if key != "name"],
        "NAMES": lambda: [name for one in chosen for name in named(one, extra, False)],
        "NS_NAMES": lambda: [name for one in chosen for name in named(one, extra, True)],
    }
    return forms[form]() or None


# ---- documents ----

WORDS = ["pods", "exec", "get", "*", "", "a b", "é😀", 'q"\\', "a:b", "r:5000/a/b:1@sha256:0", "img@sha256:1", "r/x:5/y", "true"]
ODD = [None, True, False, 0, 1.5, -3, 10**20, [], {}, [None], {"a": [1, {"b": None}]}, ["x", 1]]
NUMBERS, FLAGS, KINDS = [0, 80, 70000], [True, False, "true"], ["User", "Group", "ServiceAccount", 7]
#: Parts of documents: an object's by name, the element of a list, or what one of is taken.
SECURITY = {"privileged": FLAGS, "runAsUser": NUMBERS, "runAsGroup": NUMBERS, "fsGroup": NUMBERS, "procMount": WORDS,
            "allowPrivilegeEscalation": FLAGS, "readOnlyRootFilesystem": FLAGS, "supplementalGroups": (NUMBERS,),
            "capabilities": {"add": (WORDS,)}}
CONTAINERS = ({"name": WORDS, "image": WORDS, "command": (WORDS,), "args": (WORDS,), "securityContext": SECURITY,
               "ports": ({"hostPort": NUMBERS, "containerPort": [1, 2]},)},)
SPEC = {"containers": CONTAINERS, "initContainers": CONTAINERS, "ephemeralContainers": CONTAINERS, "securityContext": SECURITY,
        "volumes": ({"name": WORDS, "hostPath": {"path": WORDS}, "flexVolume": {"driver": WORDS}, "emptyDir": {}},),
        "hostIPC": FLAGS, "hostNetwork": FLAGS, "hostPID": FLAGS, "type": WORDS, "ports": ({"port": NUMBERS},)}
REQUEST = {"spec": SPEC, "data": {"a": WORDS}, "roleRef": {"name": WORDS},
           "subjects": ({"kind": KINDS, "name": WORDS, "namespace": WORDS},),
           "rules": ({"verbs": (WORDS,), "resources": (WORDS,), "apiGroups": (WORDS,), "nonResourceURLs": (WORDS,)},)}
DOCUMENT = {"requestObject": REQUEST, "responseObject": {"metadata": {"name": WORDS}}, "user": {"username": WORDS, "groups": (WORDS,)},
            "objectRef": {"resource": ["pods", "jobs"], "subresource": WORDS, "name": WORDS, "namespace": WORDS},
            "annotations": dict.fromkeys(["cluster_name", "authorization.k8s.io/decision", "authorization.k8s.io/reason",
                                          "authentication.openshift.io/username", "pod-security.kubernetes.io/audit-violations"], WORDS),
            "impersonatedUser": {"username": WORDS}, "responseStatus": {"code": NUMBERS, "reason": WORDS}, "sourceIPs": (WORDS,),
            "verb": WORDS, "userAgent": WORDS}


def made(part: Any, chance: random.Random) -> Any:
    """One of such parts; sometimes something else, and things are missing."""
    if chance.random() < 0.06:
        return chance.choice(ODD)
    if isinstance(part, dict):
        return {name: made(inner, chance) for name, inner in part.items() if chance.random() < 0.8}
    if isinstance(part, tuple):
        return [made(part[0], chance) for _ in range(chance.randrange(4))]
    return chance.choice(part)


@pytest.mark.parametrize("seed", range(10))
def test_every_field_is_what_the_table_says(seed: int) -> None:
    chance = random.Random(seed)
    for _ in range(30):
        parts = {name: made(inner, chance) for name, inner in DOCUMENT.items() if chance.random() < 0.9}
        document = {**event(), **parts}
        asked = {f"{f.name}[{index}]" if index is not None else f.name: expected(document, *row, index)
                 for f, *row in FIELDS for index in ((None, 0, 2) if "INDEX" in f.argument else (None,))}
        data = json.dumps(document, indent=chance.choice([None, 1]), ensure_ascii=chance.random() < 0.5).encode().replace(b"\n", b" ")
        assert dict(zip(asked, values(data, *asked), strict=True)) == asked
