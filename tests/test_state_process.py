# SPDX-License-Identifier: Apache-2.0
"""Processes: what a child takes from its parent, what an exec changes, when a process is gone, who gets its children (engine.md H3)."""

import pytest

from scapwriter import TIME, group, machine, probe, process, processes, section, user, users
from state_events import (
    CHILD_IN_PIDNS,
    CLONE_FILES,
    CLONE_PARENT,
    CLONE_THREAD,
    CLONE_VFORK,
    S,
    bash,
    clone,
    close,
    execve,
    exit_,
    last,
    named,
    openat,
    read,
    seen,
)


class TestUnknownThreads:
    def test_a_thread_that_no_table_knew_has_a_number_and_no_name(self) -> None:
        assert last(probe(7), "thread.tid", "proc.name", "proc.exe", "proc.pid", "proc.cwd") == (7, "<NA>", "<NA>", -1, "./")

    def test_an_exec_tells_who_it_is(self) -> None:
        events = probe(7) + execve("/bin/id", tid=7, ptid=1) + probe(7)
        assert last(events, "proc.name", "proc.pid", "proc.vpid", "proc.ppid") == ("id", 7, 7, None)

    def test_its_clone_tells_who_it_is(self) -> None:
        events = clone(8, tid=7) + probe(7)
        assert last(events, "proc.name", "proc.pid", "proc.exe") == ("bash", 7, "-bash")

    def test_its_clone_of_an_old_capture_lacks_the_ids_of_the_namespace(self) -> None:
        events = clone(8, tid=7, vtid=None, vpid=None) + probe(7) + probe(8)
        assert [row[0] for row in seen(events, "thread.vtid", "proc.vpid")[1:]] == [7, 8]
        assert last(events, "proc.name", "proc.pname", "proc.vpid") == ("bash", "bash", 8)

    def test_its_children_take_nothing_after_it(self) -> None:
        opened = openat(3, "/etc/passwd", tid=7)
        assert last(opened + clone(8, tid=7) + read(3, tid=8), "fd.type", "proc.cwd") == (None, "")
        assert last(opened + clone(0, tid=8, pid=8, ptid=7) + read(3, tid=8), "fd.type", "proc.pname") == (None, None)

    def test_a_parent_that_a_childs_clone_names_is_known_by_its_number(self) -> None:
        assert last(clone(0, tid=8, pid=8, ptid=7), "evt.arg.ptid", "proc.pname", "proc.ppid") == ("<NA>", None, None)

    def test_meta_events_make_no_thread(self) -> None:
        events = named("PROCINFO_E", tid=7, cpu_usr=1, cpu_sys=1)
        assert last(events, "thread.tid", "proc.name") == (7, None)


class TestClone:
    def test_a_child_takes_after_its_parent(self) -> None:
        parent = bash(cwd="/srv", env=b"A=1\0B=2\0", sid=9)
        fields = ("proc.name", "proc.pname", "proc.ppid", "proc.pid", "proc.exepath", "proc.cwd", "proc.env", "proc.sid", "user.uid")
        assert last(parent + clone(200) + probe(200), *fields) == ("bash", "bash", 100, 200, "/bin/bash", "/srv/", "A=1 B=2", 9, 1000)

    def test_the_ids_are_those_of_the_event(self) -> None:
        assert last(bash() + clone(200, uid=0, gid=5) + probe(200), "user.uid", "group.gid") == (0, 5)

    def test_a_failed_clone_changes_nothing(self) -> None:
        assert last(bash() + clone(-11) + probe(200), "proc.name") == ("<NA>",)

    @pytest.mark.parametrize("code", ["CLONE_20_X", "FORK_20_X", "CLONE3_X"])
    def test_each_call_of_the_family_makes_a_child_before_the_child_runs(self, code: str) -> None:
        assert last(bash() + clone(200, code=code) + probe(200), "proc.pname") == ("bash",)

    @pytest.mark.parametrize("flags", [CLONE_VFORK, CLONE_PARENT, CHILD_IN_PIDNS])
    def test_a_child_that_the_caller_cannot_tell_of_comes_with_its_own_event(self, flags: int) -> None:
        first = bash() + clone(200, flags=flags)
        assert last(first + probe(200), "proc.name") == ("<NA>",)
        assert last(first + clone(0, tid=200, ptid=100) + probe(200), "proc.name", "proc.pname") == ("bash", "bash")

    def test_the_child_may_come_before_the_caller(self) -> None:
        events = bash(cwd="/srv") + clone(0, tid=200, ptid=100) + execve("/bin/id", tid=200) + clone(200) + probe(200)
        assert last(events, "proc.name", "proc.cwd", "proc.ppid") == ("id", "/srv/", 100)

    def test_in_a_pid_namespace_the_child_knows_both_numbers(self) -> None:
        events = bash() + clone(0, tid=200, ptid=100, vtid=1, vpid=1, flags=CHILD_IN_PIDNS) + probe(200)
        assert last(events, "proc.vpid", "thread.vtid", "proc.pid") == (1, 1, 200)

    def test_a_child_that_exited_before_its_parents_event_is_not_made_again(self) -> None:
        events = bash() + clone(0, tid=200, ptid=100) + exit_(tid=200) + clone(200, ts=TIME + S) + probe(200)
        assert last(events, "proc.name") == ("<NA>",)

    def test_its_number_is_free_again_after_two_seconds(self) -> None:
        events = bash() + clone(0, tid=200, ptid=100) + exit_(tid=200) + clone(200, ts=TIME + 3 * S) + probe(200)
        assert last(events, "proc.name") == ("bash",)

    def test_a_new_child_takes_the_place_of_one_whose_exit_was_missed(self) -> None:
        events = bash() + clone(200) + execve("/bin/old", tid=200) + clone(200, ts=TIME + 5 * S) + probe(200)
        assert last(events, "proc.name", "proc.ppid") == ("bash", 100)


class TestThreads:
    def test_a_thread_is_of_its_process(self) -> None:
        events = bash() + clone(101, flags=CLONE_THREAD | CLONE_FILES) + probe(101)
        assert last(events, "proc.pid", "thread.tid", "thread.ismain", "proc.nthreads", "proc.nchilds") == (100, 101, False, 2, 1)

    def test_threads_share_directory_and_descriptors(self) -> None:
        events = bash(cwd="/a") + clone(101, flags=CLONE_THREAD | CLONE_FILES)
        events += named("CHDIR_X", tid=101, res=0, path="/b") + openat(5, "x", tid=101)
        assert last(events + read(5, tid=100), "fd.name", "proc.cwd") == ("/b/x", "/b/")

    def test_a_dead_leader_stays_while_its_threads_live(self) -> None:
        events = bash() + clone(101, flags=CLONE_THREAD | CLONE_FILES) + openat(5, "/x") + exit_(tid=100) + read(5, tid=101)
        assert last(events, "fd.name", "proc.cwd", "proc.nthreads") == ("/x", "/home/me/", 1)

    def test_the_last_thread_takes_the_leader_along(self) -> None:
        events = bash() + clone(101, flags=CLONE_THREAD | CLONE_FILES) + exit_(tid=100) + exit_(tid=101) + probe(100)
        assert last(events, "proc.name") == ("<NA>",)

    def test_an_exec_ends_the_other_threads(self) -> None:
        events = bash() + clone(101, flags=CLONE_THREAD | CLONE_FILES) + execve("/bin/id") + probe(100)
        assert last(events, "proc.nthreads") == (1,)
        assert last(events + probe(101), "proc.name") == ("<NA>",)


class TestExec:
    def test_an_exec_changes_what_runs(self) -> None:
        events = bash() + execve("/usr/bin/curl", args=b"-s\0http://x\0", env=b"PATH=/bin\0", tty=34816, loginuid=1000)
        fields = ("proc.name", "proc.exe", "proc.exepath", "proc.cmdline", "proc.env", "proc.tty", "user.loginuid")
        assert last(events, *fields) == ("curl", "/usr/bin/curl", "/usr/bin/curl", "curl -s http://x", "PATH=/bin", 34816, 1000)

    def test_a_failed_exec_changes_nothing(self) -> None:
        assert last(bash() + execve("/usr/bin/curl", res=-2), "proc.name", "proc.exepath") == ("bash", "/bin/bash")

    def test_an_empty_parameter_leaves_what_was_known(self) -> None:
        events = bash() + execve("/bin/id", env=None, trusted_exepath=None, uid=None)
        assert last(events, "proc.env", "proc.exepath", "user.uid") == ("A=1 B=2", "/bin/bash", 1000)

    def test_without_a_name_the_program_names_the_process(self) -> None:
        assert last(bash() + execve("/bin/id", comm=None), "proc.name") == ("/bin/id",)

    def test_empty_arguments_count_but_a_single_one(self) -> None:
        assert last(bash() + execve("/bin/x", args=b"\0\0"), "proc.cmdnargs", "proc.cmdline") == (2, "x  ")
        assert last(bash() + execve("/bin/x", args=b"\0"), "proc.cmdnargs", "proc.cmdline") == (0, "x")

    @pytest.mark.parametrize(("name", "path"), [("/bin/id", "/bin/id"), ("./id", "/home/me/id"), (None, "/bin/bash"), ("<NA>", "<NA>")])
    def test_of_old_captures_the_path_is_that_of_the_call(self, name: str | None, path: str) -> None:
        events = bash() + named("EXECVE_19_E", filename=name) + execve("/bin/id", trusted_exepath=None)
        assert last(events, "proc.exepath") == (path,)

    @pytest.mark.parametrize(
        ("dirfd", "name", "flags", "path"),
        [(5, "id", 0, "/opt/id"), (5, None, 1, "/opt"), (5, "id", 1, "/opt"), (5, None, 0, "<NA>"), (9, "id", 0, "<NA>"),
         (9, "/bin/id", 0, "/bin/id")],
    )
    def test_execveat_of_old_captures_starts_at_a_descriptor(self, dirfd: int, name: str | None, flags: int, path: str) -> None:
        events = bash() + openat(5, "/opt") + named("EXECVEAT_E", dirfd=dirfd, pathname=name, flags=flags)
        events += execve("/bin/id", code="EXECVEAT_X", trusted_exepath=None)
        assert last(events, "proc.exepath") == (path,)

    def test_flags_of_the_program_file(self) -> None:
        fields = ("proc.is_exe_writable", "proc.is_exe_upper_layer", "proc.is_exe_from_memfd", "proc.is_exe_lower_layer")
        assert last(bash() + execve("/bin/id", flags=1 | 4), *fields) == (True, False, True, False)
        assert last(bash() + execve("/bin/id", flags=1 | 4) + execve("/bin/id"), *fields) == (True, False, True, False)


class TestExit:
    def test_rules_on_the_exit_still_see_the_process(self) -> None:
        assert last(bash() + exit_(), "proc.name", "evt.type") == ("bash", "procexit")

    def test_the_next_event_finds_it_gone(self) -> None:
        assert seen(bash() + exit_() + probe(100), "proc.name") == [("bash",), ("<NA>",)]

    def test_children_go_to_whom_the_kernel_says(self) -> None:
        init = processes(9, process(9, tid=1, pid=1, ptid=0, comm="init", vtid=1, vpid=1))
        reaper = processes(9, process(9, tid=50, pid=50, ptid=1, comm="reaper", vtid=50, vpid=50))
        events = init + reaper + bash() + clone(200) + exit_(tid=100, reaper=50) + probe(200)
        assert last(events, "proc.ppid", "proc.pname") == (50, "reaper")

    @pytest.mark.parametrize("reaper", [-1, 0, None, 77])
    def test_else_to_the_nearest_ancestor_that_reaps(self, reaper: int | None) -> None:
        init = processes(9, process(9, tid=1, pid=1, ptid=0, comm="init", vtid=1, vpid=1))
        shell = processes(9, process(9, tid=50, pid=50, ptid=1, comm="sub", vtid=50, vpid=50))
        events = init + shell + bash(ptid=50) + clone(200) + exit_(tid=100, reaper=reaper) + probe(200)
        assert last(events, "proc.pname") == ("init",)
        subreaper = named("PRCTL_X", tid=50, res=0, option=36, arg2_int=1)
        events = init + shell + bash(ptid=50) + subreaper + clone(200) + exit_(tid=100, reaper=reaper) + probe(200)
        assert last(events, "proc.pname") == ("sub",)

    def test_not_past_one_that_is_in_another_kind_of_namespace(self) -> None:
        init = processes(9, process(9, tid=1, pid=1, ptid=0, comm="init", vtid=1, vpid=1))
        inside = processes(9, process(9, tid=50, pid=50, ptid=1, comm="in", vtid=5, vpid=5))
        events = init + inside + bash(ptid=50) + clone(200) + exit_(tid=100, reaper=-1) + probe(200)
        assert last(events, "proc.pname") == (None,)

    def test_of_a_process_its_leader_reaps_else_its_oldest_thread(self) -> None:
        init = processes(9, process(9, tid=1, pid=1, ptid=0, comm="init", vtid=1, vpid=1))
        threads = b"".join(
            clone(0, tid=tid, pid=1, ptid=0, flags=CLONE_THREAD, comm=f"t{tid}", exe="init", vtid=tid, vpid=1) for tid in (2, 3, 4)
        )
        orphaned = clone(200) + exit_(tid=100, reaper=-1) + probe(200)
        assert last(init + bash(ptid=1) + threads + orphaned, "proc.pname") == ("init",)
        assert last(init + bash(ptid=1) + threads + exit_(tid=1) + orphaned, "proc.pname") == ("t2",)

    def test_or_to_nobody(self) -> None:
        assert last(bash() + clone(200) + exit_(tid=100) + probe(200), "proc.ppid", "proc.pname") == (None, None)

    def test_a_reaper_that_descends_from_the_dead_is_refused(self) -> None:
        events = bash() + clone(200) + clone(300, tid=200) + exit_(tid=100, reaper=300) + probe(300)
        assert last(events, "proc.ppid", "proc.apid[2]") == (200, None)


class TestAttributes:
    @pytest.mark.parametrize(("code", "path"), [("CHDIR_X", "sub"), ("CHDIR_X", "/home/me/./x/../sub/"), ("GETCWD_X", "/home/me/sub")])
    def test_the_working_directory(self, code: str, path: str) -> None:
        assert last(bash() + named(code, res=0, path=path), "proc.cwd") == ("/home/me/sub/",)

    def test_fchdir_goes_where_the_descriptor_is(self) -> None:
        assert last(bash() + openat(5, "/opt/x") + named("FCHDIR_X", res=0, fd=5), "proc.cwd") == ("/opt/x/",)

    def test_failed_calls_change_nothing(self) -> None:
        events = bash() + named("CHDIR_X", res=-2, path="/nowhere") + named("SETUID_X", res=-1, uid=0) + named("SETSID_X", res=-1)
        assert last(events, "proc.cwd", "user.uid", "proc.sid") == ("/home/me/", 1000, 7)

    @pytest.mark.parametrize(
        "call",
        [
            named("SETUID_X", res=0, uid=33),
            named("SETRESUID_X", res=0, ruid=1, euid=33, suid=2),
            named("SETREUID_X", res=0, ruid=1, euid=33),
        ],
    )
    def test_the_effective_user_counts(self, call: bytes) -> None:
        known = users(2, user(33, 33, "www-data", "/var/www"), group(33, "www-data"))
        assert last(bash() + known + call, "user.uid", "user.name", "user.homedir") == (33, "www-data", "/var/www")

    @pytest.mark.parametrize(
        "call",
        [
            named("SETGID_X", res=0, gid=33),
            named("SETRESGID_X", res=0, rgid=1, egid=33, sgid=2),
            named("SETREGID_X", res=0, rgid=1, egid=33),
        ],
    )
    def test_the_effective_group_counts(self, call: bytes) -> None:
        assert last(bash() + users(2, group(33, "www-data")) + call, "group.gid", "group.name") == (33, "www-data")

    def test_an_id_that_the_call_keeps_is_kept(self) -> None:
        assert last(bash() + named("SETRESUID_X", res=0, ruid=1, euid=-1, suid=2), "user.uid") == (1000,)

    def test_users_come_and_go_with_events(self) -> None:
        who = {"uid": 1000, "gid": 1000, "name": "ada", "home": "/home/ada", "shell": "/bin/zsh", "container_id": ""}
        known = bash() + probe() + named("USER_ADDED_E", **who)
        assert last(known + probe(), "user.name", "user.shell") == ("ada", "/bin/zsh")
        assert last(known + named("USER_DELETED_E", **who) + probe(), "user.name") == ("<NA>",)

    def test_users_of_containers_are_not_the_hosts(self) -> None:
        who = {"uid": 1000, "gid": 1000, "name": "ada", "home": "/", "shell": "/", "container_id": "3ad7b26ded6d"}
        assert last(bash() + probe() + named("USER_ADDED_E", **who) + probe(), "user.name") == ("<NA>",)

    def test_a_session_of_its_own(self) -> None:
        assert last(bash() + named("SETSID_X", res=100), "proc.sid") == (100,)

    def test_capabilities(self) -> None:
        capset = named("CAPSET_X", res=0, cap_inheritable=0, cap_permitted=1 << 21, cap_effective=1)
        fields = ("thread.cap_permitted", "thread.cap_effective", "thread.cap_inheritable")
        assert last(bash() + capset, *fields) == ("CAP_SYS_ADMIN", "CAP_CHOWN", "")

    @pytest.mark.parametrize("call", [named("UNSHARE_X", res=0, flags=0x100000), named("SETNS_X", res=0, fd=5, nstype=0x100000)])
    def test_a_user_namespace_gives_all_capabilities(self, call: bytes) -> None:
        (permitted,) = last(bash() + call, "thread.cap_permitted")
        assert isinstance(permitted, str)
        assert len(permitted.split()) == 41

    def test_limits_of_descriptors(self) -> None:
        limit = named("SETRLIMIT_X", res=0, cur=512, max=512, resource=7)
        other = named("SETRLIMIT_X", res=0, cur=5, max=5, resource=3)
        assert last(bash() + limit + other, "proc.fdlimit") == (512,)
        by_pid = named("PRLIMIT_X", res=0, newcur=64, newmax=64, oldcur=0, oldmax=0, pid=100, resource=7, tid=7)
        assert last(bash() + by_pid + probe(100), "proc.fdlimit") == (64,)

    @pytest.mark.parametrize(("limit", "used"), [(4, 50.0), (1, 100.0), (0, 0.0)])
    def test_how_much_of_the_limit_is_used_up(self, limit: int, used: float) -> None:
        opened = openat(3, "/a") + openat(4, "/b")
        assert last(bash() + opened + named("SETRLIMIT_X", res=0, cur=limit, max=9, resource=7), "proc.fdusage") == (used,)

    def test_memory_and_page_faults(self) -> None:
        memory = named("MMAP_X", res=4096, vm_size=1, vm_rss=2, vm_swap=3, addr=0, length=1, prot=0, flags=0, fd=-1, offset=0)
        assert last(bash() + memory, "proc.vmsize", "proc.vmrss", "proc.vmswap") == (1, 2, 3)
        switch = named("SCHEDSWITCH_6_E", next=5, pgft_maj=8, pgft_min=9, vm_size=4, vm_rss=5, vm_swap=6)
        assert last(bash() + switch + probe(), "thread.pfmajor", "thread.pfminor", "proc.vmsize") == (8, 9, 4)


def test_a_section_header_starts_the_state_anew() -> None:
    events = bash() + openat(5, "/x") + close(5) + section() + machine() + probe(100)
    assert last(events, "proc.name") == ("<NA>",)
