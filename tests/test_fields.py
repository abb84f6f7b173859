# SPDX-License-Identifier: Apache-2.0
"""Fields of events, processes, users and containers: what each class of them says, on captures made for it."""

import json

import pytest

from falcolib import Engine, RuleError, RuleSet
from scapwriter import TIME, Chunked, capture, current, event, fd, fds, group, probe, process, process_tail, processes, text, user, users

PID_NAMESPACE = "cpuset=/docker/" + "ab" * 32


def host(tid: int, ptid: int, comm: str, args: bytes = b"", **other: object) -> bytes:
    """A process of the host's pid namespace."""
    tail = process_tail(**other.pop("tail", {}))                                            # type: ignore[arg-type]
    entry = {"pid": tid, "vtid": tid, "vpid": other.get("pid", tid), "exe": comm, "exepath": f"/bin/{comm}", **other}
    return process(9, tid=tid, ptid=ptid, comm=comm, args=args, tail=tail, **entry)         # type: ignore[arg-type]


TREE = processes(
    9,
    host(1, 0, "systemd"),
    host(50, 1, "bash", b"-l\0", sid=50, env=b"PATH=/bin\0A=1\0"),
    host(100, 50, "cat", b"-n\0\0x y\0", sid=50, vpgid=100, env=b"PATH=/usr/bin\0HOME=/root\0", tail={"pgid": 50}),
    host(101, 50, "cat", pid=100),
)
TABLES = TREE + users(2, user(1000, 1001, "alice", "/home/alice", "/bin/zsh"), user(1002, 1, "bob"), group(1001, "staff"))


def of_process(*fields: str, tid: int = 100) -> list[object]:
    return current(capture(TABLES, probe(tid)), *fields)


class TestProcesses:
    @pytest.mark.parametrize(("field", "value"), [
        ("proc.name", "cat"), ("proc.exe", "cat"), ("proc.exepath", "/bin/cat"), ("proc.pname", "bash"), ("proc.pexepath", "/bin/bash"),
        ("proc.args", "-n  x y"), ("proc.args[0]", "-n"), ("proc.args[1]", ""), ("proc.args[2]", "x y"), ("proc.args[9]", ""),
        ("proc.cmdnargs", 3), ("proc.cmdlenargs", 5), ("proc.cmdline", "cat -n  x y"), ("proc.exeline", "cat -n  x y"),
        ("proc.pcmdline", "bash -l"), ("proc.env", "PATH=/usr/bin HOME=/root"), ("proc.env[HOME]", "/root"), ("proc.env[NONE]", ""),
        ("proc.cwd", "/home/"), ("proc.pid", 100), ("proc.ppid", 50), ("proc.tty", 34816), ("proc.sid", 50), ("proc.sname", "bash"),
        ("proc.vpgid", 100), ("proc.vpgid.name", "cat"), ("proc.pgid.exepath", "/bin/bash"), ("proc.is_vpgid_leader", True),
        ("proc.is_sid_leader", False), ("proc.is_exe_writable", True), ("proc.nthreads", 2), ("proc.nchilds", 1), ("proc.vmsize", 11),
        ("proc.fdlimit", 1024), ("thread.cgroups", "cpu=/x"), ("thread.cgroup.cpu", "/x"), ("thread.cgroup.memory", None),
        ("thread.cap_inheritable", "CAP_CHOWN"), ("thread.cap_effective", "CAP_CHOWN CAP_DAC_OVERRIDE"), ("thread.ismain", True),
        ("proc.loginshellid", 50),
    ])
    def test_members(self, field: str, value: object) -> None:
        assert of_process(field) == [value]

    def test_a_program_without_arguments(self) -> None:
        assert of_process("proc.args", "proc.cmdline", "proc.exeline", "proc.cmdnargs", tid=1) == ["", "systemd", "systemd ", 0]

    def test_ancestors_by_level_0_is_the_process(self) -> None:
        assert of_process("proc.aname[0]", "proc.aname[1]", "proc.aname[2]", "proc.aname[3]") == ["cat", "bash", "systemd", None]
        assert of_process("proc.apid[1]", "proc.acmdline[1]", "proc.aexepath[2]") == [50, "bash -l", "/bin/systemd"]

    def test_all_ancestors_in_one_text_without_the_process(self) -> None:
        assert of_process("proc.aname", "proc.acmdline", "proc.aargs") == ["bash systemd", "bash -l systemd", "-l "]
        assert of_process("proc.aname", tid=1) == [None]

    def test_printed_without_a_level_these_are_the_process_s_own(self) -> None:
        assert of_process("proc.apid", "proc.aenv") == [100, "PATH=/usr/bin HOME=/root"]

    def test_a_variable_of_the_nearest_ancestor_that_has_it(self) -> None:
        assert of_process("proc.aenv[A]", "proc.aenv[NONE]") == ["1", ""]

    def test_a_variable_is_its_text_without_the_blanks_around_it(self) -> None:
        parents = host(50, 1, "a", env=b"A=1\0E=x\0"), host(60, 50, "b", env=b"A=\0")
        tree = processes(9, *parents, host(100, 60, "c", env=b"E=  y z  \0N=   \0"))
        assert current(capture(tree, probe()), "proc.env[E]", "proc.env[N]") == ["y z", ""]
        assert current(capture(tree, probe()), "proc.aenv[A]", "proc.aenv[N]") == ["1", ""]       # an empty one isn't one

    def test_other_threads_have_the_leader_s_ancestors_and_directory(self) -> None:
        assert of_process("thread.ismain", "thread.tid", "proc.pid", "proc.aname[1]", "proc.cwd", tid=101) == [
            False, 101, 100, "bash", "/home/"]

    def test_a_chain_of_parents_that_is_a_loop_ends(self) -> None:
        loop = processes(9, host(10, 11, "a"), host(11, 10, "b"))
        names = current(capture(loop, probe(10)), "proc.aname")[0]
        assert names is None or set(str(names).split()) <= {"a", "b"}

    def test_an_unknown_process(self) -> None:
        assert current(capture(probe(7)), "proc.name", "proc.pid", "proc.vpid", "proc.pname", "thread.tid") == ["<NA>", -1, None, None, 7]


class TestUsers:
    def test_names_of_the_capture(self) -> None:
        assert of_process("user.uid", "user.name", "user.homedir", "user.shell", "group.name", "user.loginuid", "user.loginname") == [
            1000, "alice", "/home/alice", "/bin/zsh", "staff", 1002, "bob"]

    @pytest.mark.parametrize(("uid", "names"), [(7, ["<NA>", "<NA>", "<NA>"]), (0, ["root", "/root", "<NA>"])])
    def test_unknown_users_are_named_so_but_for_the_superuser(self, uid: int, names: list[str]) -> None:
        entry = processes(9, host(100, 0, "x", uid=uid, tail={"loginuid": 0xFFFFFFFF}))
        assert current(capture(entry, probe()), "user.name", "user.homedir", "user.shell") == names
        assert current(capture(entry, probe()), "user.loginuid", "user.loginname") == [-1, "<NA>"]

    def test_users_of_containers_are_not_the_host_s(self) -> None:
        entry = processes(9, process(9, cgroups=PID_NAMESPACE.encode(), tail=process_tail()))
        assert current(capture(entry, users(2, user(1000, 1, "alice")), probe()), "user.name", "evt.args") == ["<NA>", "uid=1000(<NA>)"]

    def test_users_of_containers_are_told_by_events(self) -> None:
        inside = processes(9, process(9, cgroups=PID_NAMESPACE.encode(), tail=process_tail()), host(101, 0, "x", uid=1000))
        id_ = current(capture(inside, probe()), "container.id")[0]
        assert isinstance(id_, str)
        added = event("USER_ADDED_E", 1000, 1, "mallory", "/app", "/bin/ash", id_) + event("GROUP_ADDED_E", 1001, "crew", id_)
        fields = ("user.name", "user.homedir", "user.shell", "group.name", "evt.args")
        named = ["mallory", "/app", "/bin/ash", "crew", "uid=1000(mallory)"]
        assert current(capture(inside, added, probe()), *fields) == named
        assert current(capture(inside, added, probe(101)), "user.name") == ["<NA>"]
        gone = event("USER_DELETED_E", 1000, 1, "mallory", "/app", "/bin/ash", id_) + event("GROUP_DELETED_E", 1001, "crew", id_)
        assert current(capture(inside, added, gone, probe()), "user.name", "group.name") == ["<NA>", "<NA>"]


class TestEvents:
    @pytest.mark.parametrize(("made", "fields"), [
        (event("CLOSE_X", -9, 3), {"evt.type": "close", "evt.res": "EBADF", "evt.rawres": -9, "evt.failed": True, "evt.dir": "<",
                                   "evt.count.error": 1, "syscall.type": "close", "evt.is_async": False}),
        (event("CLOSE_X", -999, 3), {"evt.res": "-999", "evt.rawres": -999, "evt.failed": True}),
        (event("CLONE3_X", -11, *[None] * 20), {"evt.res": "-11", "evt.rawres": -11}),      # a process's number, as far as the schema knows
        (event("OPENAT_2_X", -2, -100, "x", 1, 0, 0, 0), {"evt.res": "ENOENT", "evt.count.error.file": 1, "evt.count.error.other": None}),
        (event("GETUID_X", 1000), {"evt.res": "SUCCESS", "evt.rawres": 1000, "evt.failed": False, "evt.category": "user"}),
        (event("GENERIC_X", 2, 87), {"evt.res": None, "evt.args": "", "evt.category": "other", "evt.failed": None}),
        (event("PROCINFO_E", 1, 2), {"evt.is_async": True, "evt.asynctype": "procinfo", "evt.category": "internal", "syscall.type": None,
                                     "evt.count.exit": None, "evt.dir": ">", "evt.count.threadinfo": 1, "evt.count.procinfo": 1}),
        (event("GETUID_X", 0), {"evt.count.threadinfo": 0, "evt.count.procinfo": 0, "evt.count.exit": 1}),
        (event("EPOLLWAIT_X", 1, 4), {"evt.category": "wait", "evt.is_wait": True}),
    ])
    def test_kind_and_result(self, made: bytes, fields: dict[str, object]) -> None:
        assert dict(zip(fields, current(capture(TABLES, made), *fields), strict=True)) == fields

    def test_times(self) -> None:
        made = capture(TABLES, event("PROCINFO_E", 1, 2, ts=TIME - 5), probe(), event("GETUID_X", 0, ts=TIME + 1_000_000_002))
        assert current(made, "evt.rawtime", "evt.rawtime.s", "evt.rawtime.ns") == [TIME + 1_000_000_002, TIME // 10**9 + 1, 2]
        # relative times count from the first event that isn't a meta event
        assert current(made, "evt.reltime", "evt.reltime.s", "evt.reltime.ns") == [1_000_000_002, 1, 2]
        assert current(made, "evt.time", "evt.datetime.s") == [TIME + 1_000_000_002] * 2

    def test_times_are_text_to_conditions(self) -> None:
        condition = 'evt.time.iso8601 startswith "2023-11-14T22:13:20."'
        rules = RuleSet.parse(f"- {{rule: r, desc: d, condition: {condition}, output: x, priority: INFO}}")
        assert len(list(Engine(rules).run(Chunked(capture(probe()), 4096)))) == 1

    @pytest.mark.parametrize(("at", "within", "holds"), [(0, 0, True), (5_000_000, 5, True), (5_000_001, 5, False), (-9_999_999, 10, True)])
    def test_around_a_time_is_within_milliseconds(self, at: int, within: int, holds: bool) -> None:
        rules = RuleSet.parse(f"- {{rule: r, desc: d, condition: 'evt.around[{TIME + at}] = {within}', output: x, priority: INFO}}")
        assert bool(list(Engine(rules).run(Chunked(capture(probe()), 4096)))) is holds

    def test_around_knows_no_other_comparison(self) -> None:
        with pytest.raises(RuleError, match=r"evt\.around can only be compared with '='"):
            RuleSet.parse("- {rule: r, desc: d, condition: 'evt.around[1] > 2', output: x, priority: INFO}")

    @pytest.mark.parametrize(("flags", "mode", "fd_num", "said"), [
        (1, 0, 3, "read"), (2, 0, 3, "write"), (3, 0, 3, "read write"), (4 | 1, 0o755, 3, "read exec"), (1, 0o755, 3, "read"),
        (0x4000 | 2, 0o600, 3, "write create"), (0x2000 | 2, 0o600, 3, "write create"), (0x2000 | 2, 0o600, -13, "write"),
    ])
    def test_what_a_file_was_opened_for(self, flags: int, mode: int, fd_num: int, said: str) -> None:
        fields = [f"evt.is_open_{w}" for w in ("read", "write", "exec", "create")]
        values = current(capture(TABLES, event("OPEN_X", fd_num, "/f", flags, mode, 0, 0)), *fields)
        assert " ".join(w for w, v in zip(("read", "write", "exec", "create"), values, strict=True) if v) == said

    def test_input_and_output(self) -> None:
        pipe = event("PIPE_X", 0, 4, 5, 99)
        fields = ("evt.buflen", "evt.buffer", "evt.io_dir", "evt.is_io_read", "evt.category", "evt.count.error.file")
        assert current(capture(TABLES, pipe, event("READ_X", 3, b"a\nb", 4, 100)), *fields) == [3, "a.b", "read", True, "ipc", None]
        assert current(capture(TABLES, event("READ_X", -11, None, 9, 100)), *fields) == [None, "", "read", True, "unknown", None]


class TestContainers:
    FULL = "ab" * 32
    ENTRY = processes(9, process(9, cgroups=PID_NAMESPACE.encode(), tail=process_tail()))

    def told(self, **what: object) -> bytes:
        return event("CONTAINER_JSON_2_E", json.dumps({"container": {"id": self.FULL[:12], "type": 0, **what}}))

    def test_the_host_is_a_container_of_that_name(self) -> None:
        assert of_process("container.id", "container.name", "container.type", "container.full_id", "container.image",
                          "container.privileged", "k8s.pod.labels", "k8s.pod.name") == ["host", "host", "host", "host", "", False, "", None]

    def test_of_a_container_that_no_event_told_of_the_id_is_known(self) -> None:
        assert current(capture(self.ENTRY, probe()), "container.id", "container.name", "container.type", "container.image") == [
            self.FULL[:12], None, None, None]

    def test_what_an_event_tells(self) -> None:
        told = large(self.told(name="web", image="nginx:1", imagerepo="nginx", imagetag="1", privileged=True, full_id=self.FULL,
                               labels={"maintainer": "me", "io.kubernetes.pod.name": "p", "n": "\u00e9\"\n"}, ip="10.0.0.2"))
        assert current(capture(self.ENTRY, told, probe()), "container.name", "container.image.repository", "container.image.tag",
                       "container.privileged", "container.full_id", "container.type", "container.ip", "k8s.pod.ip") == [
            "web", "nginx", "1", True, self.FULL, "docker", "10.0.0.2", ""]
        assert current(capture(self.ENTRY, told, probe()), "container.labels", "container.label[maintainer]", "k8s.pod.name") == [
            "maintainer:me, n:\u00e9\"\ufffd", "me", "p"]

    def test_mounts_by_number_and_by_pattern(self) -> None:
        mounts = [{"Source": "/srv/a", "Destination": "/a", "Mode": "z", "RW": True, "Propagation": "rprivate"},
                  {"Source": "/var/run/docker.sock", "Destination": "/d", "RW": False}]
        made = capture(self.ENTRY, large(self.told(Mounts=mounts)), probe())
        assert current(made, "container.mounts") == ["/srv/a:/a:z:true:rprivate,/var/run/docker.sock:/d::false:"]
        assert current(made, "container.mount[1]", "container.mount[/srv/*]", "container.mount.dest[/srv/a]", "container.mount.source[/d]",
                       "container.mount.rdwr[0]", "container.mount[9]") == [
            "/var/run/docker.sock:/d::false:", "/srv/a:/a:z:true:rprivate", "/a", "/var/run/docker.sock", "true", None]

    @pytest.mark.parametrize("text", [
        "", "{", "[]", '{"container":3}', '{"container":{"id":"x","Mounts":[1,{}],"labels":{"a"}}}', '{"container":{"id":"\\u12'])
    def test_broken_json_tells_nothing(self, text: str) -> None:
        made = capture(self.ENTRY, large(event("CONTAINER_JSON_2_E", text)), probe())
        assert current(made, "container.id", "container.name") == [self.FULL[:12], None]


def large(block: bytes) -> bytes:
    """The block of an event with a large payload."""
    return (0x221).to_bytes(4, "little") + block[4:]


def test_the_types_of_open_descriptors() -> None:
    tables = fds(2, 100, fd(2, 0, 1, text("/dev/null")), fd(2, 1, 7, text("")), fd(2, 2, 1, text("/x")))
    made = capture(TREE, tables, event("CLOSE_X", 0, 1))
    assert sorted(current(made, "fd.types")[0]) == ["file", "pipe"]        # type: ignore[call-overload]
    assert current(made, "proc.stdin.type", "proc.stdin.name", "proc.stdout.type", "proc.fdopencount") == ["file", "/dev/null", "pipe", 3]
    assert current(made, "fd.types[1]", "fd.types[9]") == [["pipe"], None]
