# SPDX-License-Identifier: Apache-2.0
"""Events by the names of their parameters, and what the state makes of them: for tests of the state engine."""

from __future__ import annotations

from scapwriter import TIME, Chunked, Value, capture, event, event_type, new_engine, process, processes

S = 10**9
#: Flags as the schema has them (csrc/schema/flags.def).
CLONE_FILES, CLONE_PARENT, CLONE_THREAD, CLONE_VFORK, CHILD_IN_PIDNS = 0x1, 0x100, 0x2000, 0x8000000, 0x20000000
O_RDONLY, O_DIRECTORY, O_CLOEXEC = 0x1, 0x400, 0x1000
AT_FDCWD = -100


def named(code: str, *, tid: int = 100, ts: int = TIME, flags_: int | None = None, cpu: int = 0, **params: Value) -> bytes:
    """An event with the parameters named; the others are empty. A parameter that is called tid is the thread's number."""
    info = event_type(code)
    if any(p.name == "tid" for p in info.params):
        params["tid"] = tid
    unknown = set(params) - {p.name for p in info.params}
    assert not unknown, f"{code} has no {unknown}"
    return event(code, *(params.get(p.name) for p in info.params), tid=tid, ts=ts, flags=flags_, cpu=cpu)


def bash(*, tid: int = 100, pid: int | None = None, ptid: int = 1, cwd: str = "/home/me", **more: object) -> bytes:
    """The capture's process list: a shell."""
    values = {"comm": "bash", "exe": "-bash", "exepath": "/bin/bash", "args": b"", "vtid": tid, "vpid": pid or tid, "cgroups": b""}
    return processes(9, process(9, tid=tid, pid=pid or tid, ptid=ptid, cwd=cwd, **(values | more)))  # type: ignore[arg-type]


def clone(res: int, *, tid: int = 100, code: str = "CLONE_20_X", ts: int = TIME, **params: Value) -> bytes:
    """The exit of a clone: of the caller with the child's number as result, of the child with 0."""
    values: dict[str, Value] = {"exe": "-bash", "args": b"", "pid": tid, "ptid": 1, "comm": "bash", "flags": 0, "uid": 1000,
                                "gid": 1001, "vtid": tid, "vpid": tid, "fdlimit": 1024}  # fmt: skip
    return named(code, tid=tid, ts=ts, res=res, **(values | params))


def execve(exe: str, *, tid: int = 100, code: str = "EXECVE_19_X", ts: int = TIME, **params: Value) -> bytes:
    """The exit of an exec that went well."""
    values: dict[str, Value] = {"res": 0, "exe": exe, "args": b"", "pid": tid, "ptid": 1, "comm": exe.rpartition("/")[2],
                                "env": b"A=1\0", "trusted_exepath": f"/usr/bin/{exe.rpartition('/')[2]}", "uid": 1000}  # fmt: skip
    return named(code, tid=tid, ts=ts, **(values | params))


def openat(fd: int, name: str | None, *, dirfd: int = AT_FDCWD, flags: int = O_RDONLY, tid: int = 100, ts: int = TIME) -> bytes:
    return named("OPENAT_2_X", tid=tid, ts=ts, fd=fd, dirfd=dirfd, name=name, flags=flags, mode=0, dev=1, ino=2)


def close(fd: int, *, tid: int = 100) -> bytes:
    return named("CLOSE_X", tid=tid, res=0, fd=fd)


def read(fd: int, *, tid: int = 100, res: int = 0) -> bytes:
    return named("READ_X", tid=tid, res=res, data=b"", fd=fd, size=10)


def exit_(*, tid: int = 100, ts: int = TIME, reaper: int | None = 0) -> bytes:
    return named("PROCEXIT_1_E", tid=tid, ts=ts, status=0, ret=0, sig=0, core=0, reaper_tid=reaper)


def seen(blocks: bytes, *fields: str) -> list[tuple[object, ...]]:
    """Fields of each event of a capture, as rules see them."""
    return [tuple(now[f] for f in fields) for now in new_engine().events(Chunked(capture(blocks), 1 << 20))]


def last(blocks: bytes, *fields: str) -> tuple[object, ...]:
    """Fields of the last event of a capture."""
    return seen(blocks, *fields)[-1]
