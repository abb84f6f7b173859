# SPDX-License-Identifier: Apache-2.0
"""What the probe leaves out: calls with whose outcome no rule can match, and which the state doesn't need. Alerts are the same without."""

import ctypes
import os
import subprocess
import sys
from collections import Counter
from pathlib import Path

import pytest

import falcolib
from conftest import CONFORMANCE
from falcolib import schema
from falcolib.compiler.program import ANY, FAILED, FAILED_LOOK, SUCCEEDED
from falcolib.sources.wanted import BaseSyscalls, Wanted
from live import Watch, needs_live
from test_live import rule

PUBLIC = [CONFORMANCE / "rules" / name for name in ("falco_rules.yaml", "falco-incubating_rules.yaml", "falco-sandbox_rules.yaml")]
needs_public = pytest.mark.skipif(not PUBLIC[0].exists(), reason="no public rules here ($CONFORMANCE)")


def outcomes(condition: str, event: str) -> int:
    program = falcolib.compile_rules(falcolib.RuleSet.parse(rule("r", condition, "x"), name="test").rules)
    return program.outcomes[next(e.id for e in schema.EVENTS if e.code == event)]


@pytest.mark.parametrize(("condition", "event", "expected"), [
    ("evt.type = openat", "OPENAT_2_X", ANY),
    ("evt.type = openat", "CLOSE_X", 0),
    ("evt.type = unlink and evt.failed = true", "UNLINK_2_X", FAILED | FAILED_LOOK),
    ("evt.type = unlink and not evt.failed = true", "UNLINK_2_X", SUCCEEDED),
    ("evt.type = unlink and evt.rawres >= 0", "UNLINK_2_X", SUCCEEDED),
    ("evt.type = unlink and not evt.rawres < 0", "UNLINK_2_X", SUCCEEDED),
    ("evt.type = unlink and evt.rawres in (-2, -13)", "UNLINK_2_X", FAILED | FAILED_LOOK),
    ("evt.type = unlink and evt.rawres < 5", "UNLINK_2_X", ANY),
    ("evt.type = unlink and evt.res = SUCCESS", "UNLINK_2_X", SUCCEEDED),
    ("evt.type = unlink and evt.res != SUCCESS", "UNLINK_2_X", FAILED | FAILED_LOOK),
    ("evt.type = openat and not fd.num >= 0", "OPENAT_2_X", ANY),
    ("evt.type = unlink and evt.res = ENOENT", "UNLINK_2_X", FAILED | FAILED_LOOK),
    ("evt.type = unlink and (evt.failed = true or proc.name = x)", "UNLINK_2_X", ANY),
    ("evt.type = openat and fd.num >= 0", "OPENAT_2_X", SUCCEEDED),
    ("evt.type = openat and fd.num < 0", "OPENAT_2_X", FAILED | FAILED_LOOK),
    ("evt.type = read and fd.num >= 0", "READ_X", ANY),                     # there it is an argument
    ("evt.type = openat and fd.name contains '../'", "OPENAT_2_X", FAILED | SUCCEEDED),
    ("evt.type = openat and fd.nameraw glob '/*..*x'", "OPENAT_2_X", FAILED | SUCCEEDED),
    ("evt.type = openat and not fd.name contains '../'", "OPENAT_2_X", ANY),
    ("evt.type = openat and fd.name contains anyof ('../', x)", "OPENAT_2_X", ANY),
    ("evt.type = openat and fd.name = /etc/shadow", "OPENAT_2_X", ANY),
    ("evt.type = openat and evt.is_open_write = true", "OPENAT_2_X", FAILED | SUCCEEDED),
    ("evt.type = openat and evt.is_open_write = false", "OPENAT_2_X", ANY),
    ("evt.type = openat and evt.arg.flags contains O_CREAT", "OPENAT_2_X", FAILED | SUCCEEDED),
    ("evt.type = setuid and evt.rawres >= 0", "GENERIC_X", 0),
    ("syscall.type = fsync and evt.failed = true", "GENERIC_X", ANY),       # such events don't tell their result
])
def test_outcomes_that_rules_can_match(condition: str, event: str, expected: int) -> None:
    assert outcomes(condition, event) == expected


def test_outcomes_are_kept_in_the_cache(tmp_path: Path) -> None:
    (tmp_path / "rules.yaml").write_text(rule("r", "evt.type = unlink and evt.failed = true", "x"))
    first, second = (falcolib.load_program(tmp_path / "rules.yaml", cache=tmp_path / "cache") for _ in range(2))
    assert second.from_cache
    assert second.program.outcomes == first.program.outcomes != b""


WORKLOAD = r"""
import contextlib, os, socket, subprocess, sys
folder = sys.argv[1]
def attempt(function, *arguments):
    with contextlib.suppress(OSError):
        result = function(*arguments)
        if isinstance(result, int) and result > 2:
            os.close(result)
for i in range(3):
    for path in ("/nowhere/to/be", "/etc/shadow", "/etc/falcolib-none", "/root/.ssh/falcolib-none",
                 "/etc/../etc/../etc/falcolib-none",
                 "/dev/falcolib-none/x", "none/x", "/proc/self/environ", folder + "/here", "//etc//falcolib-none", "/etc/./falcolib-none",
                 "/root/../root/../root/.ssh/none", ""):
        for flags in (os.O_RDONLY, os.O_WRONLY, os.O_RDONLY | os.O_DIRECTORY, os.O_PATH, os.O_RDWR | os.O_TRUNC):
            if not (flags & 3 and path.startswith("/etc/shadow")):
                attempt(os.open, path, flags)
    attempt(os.open, folder + "/none/x", os.O_CREAT | os.O_WRONLY)
    attempt(os.open, folder + "/made", os.O_CREAT | os.O_WRONLY)
    attempt(os.unlink, folder + "/made")
    attempt(os.unlink, folder + "/made")
    attempt(os.rename, folder + "/none", folder + "/nor this")
    attempt(os.mkdir, folder + "/none/x")
    attempt(os.setuid, 0)
    attempt(os.chdir, folder + "/none")
    attempt(os.chdir, folder)
    attempt(os.open, "here", os.O_RDONLY)
    attempt(os.close, 4000)
    attempt(os.dup2, 4000, 4001)
    attempt(os.kill, 1 << 22, 0)
    attempt(os.execv, "/nowhere/to/be", ["x"])
    attempt(socket.socket, 77)
    with socket.socket() as s:
        s.setblocking(False)
        attempt(s.connect, ("127.0.0.1", 9))
    subprocess.run(["/bin/true"])
"""

#: Of each outcome, in the words that the prefilter knows and in others.
PRINTED = "%fd.name %fd.num %evt.res %evt.arg.flags %proc.cwd %proc.cmdline %evt.type"
RULES = "".join(rule(f"rule {i}", condition, PRINTED) for i, condition in enumerate((
    "evt.type in (open, openat, openat2, creat) and fd.num >= 0 and fd.name startswith /etc",
    "evt.type in (open, openat, openat2) and evt.failed = true and fd.nameraw contains '../'",
    "evt.type in (open, openat, openat2) and evt.arg.flags contains O_TRUNC",
    "evt.type = openat and evt.is_open_write = true and evt.rawres < 0",
    "evt.type in (unlink, unlinkat) and evt.res = ENOENT",
    "evt.type in (mkdir, mkdirat, rename, renameat, renameat2) and not evt.res = SUCCESS",
    "evt.type = chdir and evt.rawres >= 0",
    "evt.type = connect and evt.failed = true",
    "evt.type = kill and evt.failed = false",
    "evt.type in (execve, execveat) and evt.res != SUCCESS",
    "evt.type = socket and evt.rawres = -97",
)))


@needs_live[0]
@needs_live[1]
@needs_public
def test_alerts_are_the_same_without_the_prefilter(tmp_path: Path) -> None:
    """Two monitors at once, with the public rules and others, see one workload."""
    (tmp_path / "here").write_text("")
    rules = falcolib.RuleSet.load(*PUBLIC).merge(falcolib.RuleSet.parse(RULES, name="others"))
    with Watch(rules, buf_size_preset=7) as filtered, Watch(rules, buf_size_preset=7, prefilter=False) as whole:
        child = subprocess.Popen([sys.executable, "-c", WORKLOAD, tmp_path])
        child.wait()
        own = Path(f"/etc/falcolib-none/{os.getpid()}")
        with pytest.raises(OSError, match="directory"):
            os.open(own, os.O_WRONLY | os.O_TRUNC)
        for watch in (filtered, whole):
            watch.until(lambda w=watch: any(a.fields.get("fd.name") == str(own) for a in list(w.alerts)))
        skipped = filtered.live.skipped, whole.live.skipped

    def told(watch: Watch) -> Counter[str]:
        mine = [a for a in watch.alerts if str(tmp_path) in str(a.fields.get("proc.cmdline")) or a.fields.get("proc.pid") == child.pid]
        return Counter(f"{a.rule}: {a.message}" for a in mine)

    assert told(filtered) == told(whole)
    assert len({name.split(":")[0] for name in told(whole)}) >= 10
    assert skipped[0] >= 3 * 4 * 3      # each round looks for four plain paths that aren't there, in three ways of reading
    assert skipped[1] == 0


@needs_live[0]
@needs_live[1]
def test_drop_failed_exit_leaves_out_calls_that_failed_but_those_that_the_state_needs(tmp_path: Path) -> None:
    libc = ctypes.CDLL(None, use_errno=True)
    with Watch(rule("open", f"evt.type in (open, openat, openat2) and fd.name startswith '{tmp_path}'", "%fd.name")
               + rule("connect", f"evt.type = connect and proc.pid = {os.getpid()}", "%evt.res"),
               drop_failed_exit=True, prefilter=False) as watch:
        libc.open(bytes(tmp_path / "none"), os.O_RDONLY)
        libc.connect(-1, None, 0)
        (tmp_path / "some").write_text("")
        assert watch.first("open").fields["fd.name"] == f"{tmp_path}/some"
        assert watch.first("connect").fields["evt.res"] == "EBADF"
        assert watch.live.skipped > 0


def calls(base: BaseSyscalls, condition: str = "evt.type in (openat, write)") -> set[str]:
    wanted = Wanted.by(falcolib.compile_rules(falcolib.RuleSet.parse(rule("r", condition, "x"), name="test").rules), base)
    return {call.name for call in schema.SYSCALLS.values() if wanted.calls[call.id]}


def test_base_syscalls_choose_what_is_told_besides_what_rules_are_for() -> None:
    state = {schema.SYSCALLS[id_].name for id_ in schema.state_calls()}
    assert calls(BaseSyscalls()) == state | {"openat", "write"}
    assert calls(BaseSyscalls(all=False)) == state | {"openat"}
    assert calls(BaseSyscalls(("clone", "close"))) == {"clone", "close", "openat", "write"}
    assert calls(BaseSyscalls(("clone", "!openat"))) == {"clone", "write"}
    assert calls(BaseSyscalls(("!close", "!write"))) == state - {"close"} | {"openat"}


def test_base_syscalls_repair_adds_the_least_that_processes_and_descriptors_need() -> None:
    repaired = calls(BaseSyscalls(repair=True))
    assert {"clone", "execve", "setuid", "prctl", "close", "openat", "write"} <= repaired
    assert repaired.isdisjoint({"socket", "bind", "dup", "pipe"})
    assert {"socket", "getsockopt", "close"} <= calls(BaseSyscalls(repair=True), "evt.type = connect")
    assert "bind" in calls(BaseSyscalls(repair=True), "evt.type = accept4")
    assert {"mount", "clone"} <= calls(BaseSyscalls(("mount",), repair=True))


def test_what_base_syscalls_keep_from_rules_is_told() -> None:
    assert BaseSyscalls(("clone", "!none", "nothing")).unknown() == ["!none", "nothing"]
    program = falcolib.compile_rules(falcolib.RuleSet.parse(rule("r", "evt.type in (openat, write)", "x"), name="test").rules)
    assert Wanted.by(program, BaseSyscalls(("!openat",), all=False)).missing == ("openat", "write")
