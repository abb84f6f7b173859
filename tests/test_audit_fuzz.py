# SPDX-License-Identifier: Apache-2.0
"""Fuzzing what documents go through (csrc/engine/fuzz/fuzz_documents.c); fuzzing.py tells how."""

import pathlib

import pytest

from audit_events import event, pod, rules, text
from conftest import CONFORMANCE
from falcolib import RuleSet, schema
from falcolib.compiler import compile_rules
from fuzzing import build, fuzz

#: The first byte of an input: fields or rules, the first match or all, tiny limits, many pieces, pointers.
WAYS = range(32)


def program() -> RuleSet:
    """The public rules, where they are there, and each field in a rule."""
    arguments = {"INDEX": "[1]", "KEY": "[/a/0/b]"}
    fields = [f.name + next((arguments[k] for k in sorted(f.argument) if k in arguments), "")
              for f in schema.FIELDS if f.field_class in ("KA", "JSON")]
    public = CONFORMANCE / "kubernetes/k8s_audit/rules/default/k8s_audit_rules_plugin-0.18.0.yaml"
    each = rules([f"{field} exists" for field in fields], " ".join(f"%{field}" for field in fields))
    return RuleSet.load(public).merge(each) if public.is_file() else each


def seeds() -> dict[str, bytes]:
    container = {"name": "a", "image": "r:5000/x:1@sha256:0", "command": ["a"], "ports": [{"hostPort": 1}],
                 "securityContext": {"privileged": True}}
    one, role = text(event()), {"rules": [{"verbs": ["*"], "resources": ["pods"]}], "subjects": [{"kind": "User", "name": "u"}]}
    texts = {
        "lines": text(event(), pod(container, volumes=[{"name": "v", "hostPath": {"path": "/etc"}}])),
        "list": text({"kind": "EventList", "items": [event(kind=None), 1, {}]}), "array": b"[" + one + b",[" + one + b"]]",
        "roles": text(event(requestObject=role)), "bad": b'{"a":\n{"kind":"Event"}\n{"kind"\n\x1e[[{]',
        "pointers": b'{"a":[{"b":1},{"a":"\\u00e9\\n"}],"b":{"b":{"b":[]}},"v\\u0065rb":1.5e3}',
        "twice": b'{"a":{"b":1},"a":[{"b":2}],"b":{"b":{"b":1}},"b":{"b":2}}',
    }
    return {f"{name}-{way}": bytes([way]) + data for name, data in texts.items() for way in WAYS if (way * 7 + len(data)) % 3 == 0}


@pytest.mark.fuzz
def test_no_document_breaks_the_engine(tmp_path: pathlib.Path) -> None:
    compiled = tmp_path / "program"
    compiled.write_bytes(compile_rules(program().rules).code)
    fuzz(build("engine/fuzz/fuzz_documents.c", ["*"]), seeds(), longest=4000, environment={"FUZZ_PROGRAM": str(compiled)})
