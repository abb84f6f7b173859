# SPDX-License-Identifier: Apache-2.0
"""Fuzzing the fields (csrc/fields/fuzz/fuzz_fields.c); fuzzing.py tells how."""

import pytest

from conftest import CONFORMANCE, DATA
from falcolib import schema
from fuzzing import build, fuzz
from test_scap_fuzz import cut

#: The first byte of an input: a capture, events, events that find the scratch memory nearly used up.
CAPTURE, EVENTS, SHORT_OF_MEMORY = b"\0", b"\1", b"\3"
_TEXTS = ("BYTEBUF", "CHARBUF", "FSPATH", "FSRELPATH")


def parameter(kind: str, value: int) -> bytes:
    if kind in _TEXTS:
        return (b"/a/b", b"x", b"\xff\n", b'{"container":{"id":"a","Mounts":[{"Source":"/s"}],"labels":{"k":"v"}}}')[value % 4] + b"\0"
    if kind == "SOCKADDR":
        return (b"\1/s\0", b"\2" + bytes(6), b"\x0a" + bytes(18), b"\2")[value % 4]
    if kind == "SOCKTUPLE":
        return (b"\1" + bytes(16) + b"/s\0", b"\2" + bytes(range(12)), b"\x0a" + bytes(36), b"\1")[value % 4]
    if kind == "FDLIST":
        return (b"\2\0" + bytes(20), b"\xff\xff" + bytes(10), b"\1")[value % 3]
    if kind == "DYN":
        return (b"\0\1", b"\4" + bytes(8), b"\xff\1", b"\1")[value % 4]
    return value.to_bytes(8, "little", signed=True)[: value % 9 or 8]


def seeds() -> dict[str, bytes]:
    """Each event with several sets of values, and stretches of captures."""
    made = {f"{path.name}-{part}": CAPTURE + cut(path, part / 4)
            for path in sorted([*DATA.glob("*.scap"), *CONFORMANCE.glob("captures/*.scap")]) for part in range(4)}  # fmt: skip
    for info in schema.EVENTS:
        out = b""
        for value in (3, 0, 1, -2, 10):
            out += info.id.to_bytes(2, "little") + b"\1"
            for n, param in enumerate(info.params):
                data = parameter(param.type, value + n)
                out += bytes((len(data),)) + data
        made[info.code] = EVENTS + out
        made[f"{info.code}-short"] = SHORT_OF_MEMORY + out
    return made


@pytest.mark.fuzz
def test_no_event_breaks_a_field() -> None:
    fuzz(build("fields/fuzz/fuzz_fields.c", ["base", "schema", "source", "state", "fields", "json"]), seeds(), longest=16_000)
