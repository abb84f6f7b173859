# SPDX-License-Identifier: Apache-2.0
"""A writer of .scap captures for tests: every version of every block, old events, mistakes (layouts: csrc/source/scap_blocks.c)."""

from __future__ import annotations

import struct
from collections.abc import Iterator

from falcolib import Engine, Event, RuleSet, schema

TIME = 1_700_000_000_000_000_000
SHB, MI = 0x0A0D0D0A, 0x201
PL = {1: 0x202, 2: 0x207, 3: 0x209, 4: 0x210, 5: 0x211, 6: 0x212, 7: 0x213, 8: 0x214, 9: 0x215}
FDL = {1: 0x203, 2: 0x218}
IL = {1: 0x205, 2: 0x219}
UL = {1: 0x206, 2: 0x220}
EV, EVF = {1: 0x204, 2: 0x216}, {1: 0x208, 2: 0x217}
EV_LARGE, EVF_LARGE = 0x221, 0x222
#: The codes of the first writers.
LEGACY = {
    0x8000ABCD: PL[1],
    0x8001ABCD: FDL[1],
    0x8002ABCD: MI,
    0x8010ABCD: EV[1],
    0x8011ABCD: IL[1],
    0x8012ABCD: UL[1],
    0x8013ABCD: PL[2],
    0x8014ABCD: PL[3],
}

#: Widths of numbers by the type of their parameter; 8 where not named here.
_WIDTHS = {
    "INT8": 1,
    "UINT8": 1,
    "SIGTYPE": 1,
    "FLAGS8": 1,
    "ENUMFLAGS8": 1,
    "INT16": 2,
    "UINT16": 2,
    "SYSCALLID": 2,
    "FLAGS16": 2,
    "ENUMFLAGS16": 2,
    "INT32": 4,
    "UINT32": 4,
    "BOOL": 4,
    "FLAGS32": 4,
    "ENUMFLAGS32": 4,
    "UID": 4,
    "GID": 4,
    "MODE": 4,
    "SIGSET": 4,
}

Value = bytes | str | int | None


def event_type(code: str) -> schema.EventInfo:
    return next(e for e in schema.EVENTS if e.code == code)


def block(code: int, body: bytes, *, length: int | None = None, tail: int | None = None) -> bytes:
    """A block; length and tail tell lies about its length, at its head and at its end."""
    body += bytes(-len(body) % 4)
    length = len(body) + 12 if length is None else length
    return struct.pack("<II", code, length) + body + struct.pack("<I", length if tail is None else tail)


def section(*, magic: int = 0x1A2B3C4D, major: int = 1, options: bytes = b"") -> bytes:
    return block(SHB, struct.pack("<IHHq", magic, major, 2, -1) + options)


def machine(*, hostname: str = "host", cpus: int = 2, boot: int = 0, code: int = MI) -> bytes:
    return block(code, struct.pack("<IQQ128sQQQQ", cpus, 1 << 30, 32768, hostname.encode(), boot, 0, 0, 0))


def capture(*blocks: bytes) -> bytes:
    return section() + machine() + b"".join(blocks)


# ---- tables ----


def text(value: str | bytes) -> bytes:
    raw = value.encode() if isinstance(value, str) else value
    return struct.pack("<H", len(raw)) + raw


def sized(entry: bytes, *, counted: int = 4) -> bytes:
    """An entry behind its length, of which `counted` bytes of the length word are a part."""
    return struct.pack("<I", len(entry) + counted) + entry


def process(
    version: int,
    *,
    tid: int = 100,
    pid: int = 100,
    ptid: int = 1,
    sid: int = 7,
    vpgid: int = 8,
    comm: str = "cat",
    exe: str = "/bin/cat",
    exepath: str = "/usr/bin/cat",
    args: bytes = b"-n\0file",
    cwd: str = "/home",
    uid: int = 1000,
    gid: int = 1001,
    env: bytes = b"A=1\0B=2",
    vtid: int = 5,
    vpid: int = 6,
    cgroups: bytes = b"cpu=/x",
    root: str = "/",
    vmsize: int = 11,
    tail: bytes = b"",
) -> bytes:
    """An entry of a process list; tail: what a V9 entry has after the root."""
    entry = struct.pack("<qqq", tid, pid, ptid)
    if version >= 6:
        entry += struct.pack("<q", sid)
    if version >= 8:
        entry += struct.pack("<q", vpgid)
    entry += text(comm) + text(exe)
    if version >= 7:
        entry += text(exepath)
    entry += text(args) + text(cwd) + struct.pack("<qIII", 1024, 0, uid, gid)
    if version >= 2:
        entry += struct.pack("<IIIQQ", vmsize, 12, 13, 14, 15)
    if version >= 3:
        entry += text(env)
    if version >= 4:
        entry += struct.pack("<qq", vtid, vpid) + text(cgroups)
    if version >= 5:
        entry += text(root)
    return sized(entry + tail) if version >= 9 else entry


def process_tail(
    *,
    pidns_start: int = TIME - 10**9,
    tty: int = 34816,
    loginuid: int = 1002,
    writable: bool = True,
    caps: tuple[int, int, int] = (1, 2, 3),
    upper: bool = False,
    ino: int = 99,
    pgid: int = 77,
) -> bytes:
    """All that the present writer puts after the root."""
    return struct.pack("<QII?QQQ", pidns_start, tty, loginuid, writable, *caps) + struct.pack(
        "<?QQQ??q", upper, ino, TIME, TIME + 1, False, False, pgid
    )


def processes(version: int, *entries: bytes) -> bytes:
    return block(PL[version], b"".join(entries))


def fd(version: int, num: int, type_: int, payload: bytes, *, ino: int = 4711) -> bytes:
    entry = struct.pack("<qQB", num, ino, type_) + payload
    return sized(entry) if version >= 2 else entry


def fds(version: int, tid: int, *entries: bytes) -> bytes:
    return block(FDL[version], struct.pack("<q", tid) + b"".join(entries))


def users(version: int, *entries: bytes) -> bytes:
    return block(UL[version], b"".join(sized(e) if version >= 2 else e for e in entries))


def user(uid: int, gid: int, name: str, home: str = "/root", shell: str = "/bin/sh") -> bytes:
    return struct.pack("<BII", 0, uid, gid) + text(name) + text(home) + text(shell)


def group(gid: int, name: str) -> bytes:
    return struct.pack("<BI", 1, gid) + text(name)


def interfaces(version: int, *entries: bytes) -> bytes:
    return block(IL[version], b"".join(sized(e, counted=0) if version >= 2 else e for e in entries))


def interface(type_: int, addr: bytes, name: str) -> bytes:
    speed = struct.pack("<Q", 1000) if type_ in (1, 2) else b""
    return struct.pack("<HH", type_, len(name)) + addr + bytes(2 * len(addr)) + speed + name.encode()


# ---- events ----


def param(type_: str, value: Value) -> bytes:
    if value is None:
        return b""
    if isinstance(value, str):
        return value.encode() + b"\0"
    if isinstance(value, int):
        width = _WIDTHS.get(type_, 8)
        return (value & ((1 << 8 * width) - 1)).to_bytes(width, "little")
    return value


def record(
    code: str | int, *values: Value, ts: int = TIME, tid: int = 100, nparams: bool = True, length: int | None = None
) -> bytes:
    """A record: numbers take the width of their parameter's type, texts get a NUL, None is an empty parameter. nparams: whether the
    header tells their number. A number as code is a type that the schema need not know. length: a lie."""
    info = event_type(code) if isinstance(code, str) else None
    number = info.id if info else code
    params = [param(info.params[i].type if info and i < len(info.params) else "", v) for i, v in enumerate(values)]
    word = "I" if info and "LARGE_PAYLOAD" in info.flags else "H"
    payload = struct.pack(f"<{len(params)}{word}", *map(len, params)) + b"".join(params)
    size = (26 if nparams else 22) + len(payload) if length is None else length
    head = struct.pack("<QqIH", ts, tid, size, number)
    return head + (struct.pack("<I", len(params)) if nparams else b"") + payload


def event(
    code: str | int, *values: Value, version: int = 2, cpu: int = 0, flags: int | None = None, ts: int = TIME, tid: int = 100
) -> bytes:
    """An event block, EVF where it has flags."""
    head = struct.pack("<H", cpu) + (b"" if flags is None else struct.pack("<I", flags))
    return block((EV if flags is None else EVF)[version], head + record(code, *values, ts=ts, tid=tid, nparams=version >= 2))


def probe(tid: int = 100) -> bytes:
    """An event that says nothing but that its thread exists: to look at the thread's state."""
    return event("GETUID_X", 1000, tid=tid)


# ---- reading ----


def pieces(data: bytes, size: int) -> Iterator[bytes]:
    return (data[i : i + size] for i in range(0, len(data), size))


class Chunked:
    """A source that delivers bytes in pieces of one size."""

    name = "syscall"

    def __init__(self, data: bytes, size: int) -> None:
        self._data, self._size = data, size

    def chunks(self) -> Iterator[bytes]:
        return pieces(self._data, self._size)

    def close(self) -> None:
        pass

    def position(self) -> tuple[int, int | None]:
        return 0, None


def new_engine() -> Engine:
    return Engine(RuleSet.parse("[]", name="no rules"))


def read(data: bytes, *, engine: Engine | None = None, size: int = 1 << 20) -> list[Event]:
    """All events of a capture that rules would see."""
    return list((engine or new_engine()).events(Chunked(data, size)))


def current(data: bytes, *fields: str) -> list[object]:
    """Fields of the last event of a capture, asked for while it was current."""
    values: list[object] = []
    for now in new_engine().events(Chunked(data, 1 << 20)):
        values = [now[f] for f in fields]
    return values
