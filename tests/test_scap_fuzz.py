# SPDX-License-Identifier: Apache-2.0
"""Fuzzing the capture reader (csrc/source/fuzz/fuzz_scap.c); fuzzing.py tells how."""

import contextlib
import gzip
import pathlib
import struct
from collections.abc import Iterator

import pytest

from conftest import CONFORMANCE, DATA
from falcolib import CaptureError, schema
from fuzzing import build, fuzz
from scapwriter import (
    EV,
    EV_LARGE,
    EVF,
    EVF_LARGE,
    block,
    capture,
    event,
    fd,
    fds,
    group,
    interface,
    interfaces,
    process,
    process_tail,
    processes,
    read,
    record,
    section,
    text,
    user,
    users,
)

#: The first byte of an input tells how it is cut into chunks (chunk_size in fuzz_scap.c): not at all, or of up to 4 KiB.
WHOLE, PIECES = b"\0", b"\x50"
#: Bytes of an input: a few blocks of each kind.
LONGEST = 16_000
#: Blocks of events; the others are tables.
EVENTS = {*EV.values(), *EVF.values(), EV_LARGE, EVF_LARGE, 0x8010ABCD}


def readable_events() -> Iterator[bytes]:
    """Events of each type, with each number of parameters that there is a conversion for, in both versions of the block."""
    texts = ("BYTEBUF", "CHARBUF", "FSPATH", "FSRELPATH", "SOCKADDR", "SOCKTUPLE")
    for info in schema.EVENTS:
        values = [b'a "\\\n\0' if p.type in texts else 1 for p in info.params]
        old = event(info.code, *values, version=1)
        for now in (*(event(info.code, *values[:n], flags=n % 2 or None) for n in range(len(values) + 1)), old):
            with contextlib.suppress(CaptureError):
                read(capture(now))
                yield now


def synthetic() -> dict[str, bytes]:
    """Each version of each block, and each conversion."""
    seeds = {
        f"processes{v}": capture(processes(v, process(v, tail=process_tail() if v == 9 else b""), process(v))) for v in range(1, 10)
    }
    for version in (1, 2):
        sockets = [fd(version, n, n, bytes(48)) for n in (3, 4, 5, 6, 8, 16)] if version == 2 else [fd(1, 3, 3, bytes(13))]
        seeds[f"tables{version}"] = capture(
            fds(version, 1, fd(version, 1, 1, text("/dev/null")), *sockets),
            users(version, user(0, 0, "root"), group(0, "root")),
            interfaces(version, interface(1, bytes(4), "lo"), interface(4, bytes(16), "eth0")),
        )
    blocks = b""
    for number, now in enumerate(readable_events()):
        blocks += now
        if len(blocks) > LONGEST - 1000:
            seeds[f"events{number}"] = capture(blocks)
            blocks = b""
    seeds["events"] = capture(blocks)
    seeds["large"] = capture(block(EV_LARGE, bytes(2) + record("ASYNCEVENT_E", 1, "name", bytes(3000))))
    seeds["truncated"] = capture(event("CLOSE_X", 0, 3))[:-7]
    seeds["lies"] = capture(block(EV[2], bytes(2) + record("CLOSE_X", 0, 3, length=99)))
    seeds["concatenated"] = capture(event("CLOSE_E", 3)) + section() + capture(event("CLOSE_X", 0))
    return seeds


def cut(path: pathlib.Path, start: float = 0) -> bytes:
    """Some blocks of each type of a capture; start: the part of it whose events are passed over."""
    raw = path.read_bytes()
    data = gzip.decompress(raw) if raw[:2] == b"\x1f\x8b" else raw
    out, at, taken = b"", 0, dict[int, int]()
    while at < len(data) and len(out) < LONGEST:
        code, length = struct.unpack_from("<II", data, at)
        taken[code] = taken.get(code, 0) + 1
        passed = code in EVENTS and at < start * len(data)
        taken[code] -= passed
        if length < 3000 and taken[code] < 50 and not passed:
            out += data[at : at + length]
        at += length
    return out


@pytest.mark.fuzz
def test_no_input_breaks_the_reader() -> None:
    seeds = {name: (WHOLE if len(name) % 2 else PIECES) + data for name, data in synthetic().items()}
    for path in sorted([*DATA.glob("*.scap"), *CONFORMANCE.glob("captures/*.scap")]):
        seeds[path.name] = PIECES + cut(path)
    program = build("source/fuzz/fuzz_scap.c", ["source", "schema", "json", "base"])
    fuzz(program, seeds, longest=2 * LONGEST, dictionary="source/fuzz/scap.dict")
