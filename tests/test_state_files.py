# SPDX-License-Identifier: Apache-2.0
"""Descriptors of files, pipes and the kernel's other objects: which name they have, how long, for whom (engine.md H4, H6)."""

import pytest

from scapwriter import fd, fds, text
from state_events import (
    AT_FDCWD,
    CLONE_FILES,
    CLONE_THREAD,
    O_CLOEXEC,
    O_DIRECTORY,
    O_RDONLY,
    bash,
    clone,
    close,
    execve,
    last,
    named,
    openat,
    read,
    seen,
)


def open_(num: int, name: str | None, *, flags: int = 1) -> bytes:
    return named("OPEN_X", fd=num, name=name, flags=flags, mode=0, dev=1, ino=2)


class TestOpen:
    def test_an_open_tells_all_of_a_descriptor(self) -> None:
        opened = named("OPENAT_2_X", fd=5, dirfd=AT_FDCWD, name="/etc//passwd", flags=1 | 0x8000, mode=0, dev=0xFE00, ino=77)
        fields = ("fd.num", "fd.name", "fd.nameraw", "fd.type", "fd.ino", "fd.dev.major", "fd.is_upper_layer", "fd.name_changed")
        assert last(bash() + opened, *fields) == (5, "/etc/passwd", "/etc/passwd", "file", 77, 0xFE, True, True)

    def test_later_events_know_its_name(self) -> None:
        assert last(bash() + openat(5, "/etc/passwd") + read(5), "fd.name", "fd.name_changed") == ("/etc/passwd", False)

    def test_a_directory(self) -> None:
        assert last(bash() + openat(5, "/etc", flags=O_DIRECTORY), "fd.type") == ("directory",)

    def test_a_failed_open_makes_none(self) -> None:
        assert last(bash() + openat(-2, "/x") + read(-2), "fd.type") == (None,)

    @pytest.mark.parametrize(
        ("name", "path"),
        [
            ("x", "/home/me/x"),
            ("./a//b/", "/home/me/a/b"),
            ("../x", "/home/x"),
            ("../../../../x", "/x"),
            ("/a/./b/../c", "/a/c"),
            ("/", "/"),
            ("/..", "/"),
            (".", "/home/me"),
        ],
    )
    def test_names_start_at_the_working_directory(self, name: str, path: str) -> None:
        assert last(bash(cwd="/home/me") + openat(5, name), "fd.name") == (path,)
        assert last(bash(cwd="/home/me") + open_(5, name), "fd.name") == (path,)

    @pytest.mark.parametrize(("name", "path"), [("x", "./x"), ("../x", "x"), ("ab/../x", "./x"), ("../ab/../x", "x"), ("..//x", "x")])
    def test_of_a_thread_of_which_nothing_is_known_they_go_back_to_nothing(self, name: str, path: str) -> None:
        assert last(openat(5, name, tid=7), "fd.name") == (path,)

    @pytest.mark.parametrize(("name", "behind"), [("./x", "./x"), ("../x", "../x"), ("a/./x", "a/x"), (".x", ".x")])
    def test_dots_behind_a_directory_that_is_not_known_lead_nowhere(self, name: str, behind: str) -> None:
        assert last(bash() + openat(5, name, dirfd=9), "fd.name") == (f"<UNKNOWN>{behind}",)

    @pytest.mark.parametrize(("name", "path"), [("ab/../x", "x"), ("ab/..//x", "/x"), ("./x/", "x"), ("../x", "x")])
    def test_without_any_directory_a_name_is_normalised_alone(self, name: str, path: str) -> None:
        assert last(bash() + named("OPEN_BY_HANDLE_AT_X", fd=5, path=name, flags=O_RDONLY), "fd.name") == (path,)

    @pytest.mark.parametrize(("dirfd", "path"), [(4, "/opt/x"), (9, "<UNKNOWN>x")])
    def test_or_at_a_directorys_descriptor(self, dirfd: int, path: str) -> None:
        assert last(bash() + openat(4, "/opt", flags=O_DIRECTORY) + openat(5, "x", dirfd=dirfd), "fd.name") == (path,)

    def test_an_absolute_name_needs_no_directory(self) -> None:
        assert last(bash() + openat(5, "/x", dirfd=9), "fd.name") == ("/x",)

    def test_a_path_that_is_too_long_is_replaced(self) -> None:
        assert last(bash(cwd="/") + openat(5, "a" * 1022), "fd.name") == ("/" + "a" * 1022,)
        assert last(bash(cwd="/") + openat(5, "a" * 1023), "fd.name") == ("/DIR_TOO_LONG/FILENAME_TOO_LONG",)

    def test_a_name_that_could_not_be_read(self) -> None:
        assert last(bash() + openat(5, None), "fd.name") == ("/home/me/<NA>",)

    def test_creat_and_open_by_handle_at(self) -> None:
        creat = named("CREAT_X", fd=5, name="x", mode=0, dev=1, ino=2, creat_flags=1)
        assert last(bash() + creat, "fd.name", "fd.is_upper_layer") == ("/home/me/x", True)
        handle = named("OPEN_BY_HANDLE_AT_X", fd=5, mountfd=3, flags=O_DIRECTORY, path="/mnt/d", dev=1, ino=2)
        assert last(bash() + handle, "fd.name", "fd.type") == ("/mnt/d", "directory")

    @pytest.mark.parametrize("code", ["OPENAT_2_X", "OPENAT2_X"])
    def test_of_old_captures_the_directory_may_be_lost(self, code: str) -> None:
        there = openat(0, "/dev", flags=O_DIRECTORY)
        assert last(bash() + there + named(code, fd=5, dirfd=None, name="x", flags=O_RDONLY), "fd.name") == ("x",)
        assert last(bash() + there + named(code, fd=5, dirfd=None, name="/y", flags=O_RDONLY), "fd.name") == ("/y",)

    def test_a_handle_whose_path_is_not_known_is_not_of_the_working_directory(self) -> None:
        handle = named("OPEN_BY_HANDLE_AT_X", fd=5, mountfd=3, flags=O_RDONLY, path=None, dev=1, ino=2)
        assert last(bash() + handle, "fd.name") == ("<NA>",)


class TestEnterEvents:
    """Another thread may rewrite the path before the exit: what the call began with counts."""

    def test_name_directory_and_flags_are_those_of_the_entry(self) -> None:
        enter = named("OPENAT_2_E", dirfd=4, name="real", flags=O_DIRECTORY, mode=0)
        events = bash() + openat(4, "/opt") + enter + openat(5, "/fake", flags=1 | 0x8000)
        assert last(events, "fd.name", "fd.type", "fd.is_upper_layer") == ("/opt/real", "directory", True)

    @pytest.mark.parametrize("name", [None, "<NA>"])
    def test_an_entry_that_could_not_read_the_name_is_passed_over(self, name: str | None) -> None:
        enter = named("OPENAT_2_E", dirfd=4, name=name, flags=0, mode=0)
        assert last(bash() + enter + openat(5, "/real"), "fd.name") == ("/real",)

    def test_an_entry_serves_its_own_exit_only(self) -> None:
        enter = named("OPENAT_2_E", dirfd=AT_FDCWD, name="/first", flags=0, mode=0)
        assert last(bash() + enter + openat(5, "/x") + openat(6, "/second"), "fd.name") == ("/second",)
        assert last(bash() + enter + open_(5, "/other"), "fd.name") == ("/other",)

    def test_a_switch_of_threads_in_between_takes_nothing_away(self) -> None:
        enter = named("OPENAT_2_E", dirfd=AT_FDCWD, name="/real", flags=0, mode=0)
        switch = named("SCHEDSWITCH_6_E", next=5, pgft_maj=0, pgft_min=0, vm_size=0, vm_rss=0, vm_swap=0)
        assert last(bash() + enter + switch + openat(5, "/fake"), "fd.name") == ("/real",)

    def test_threads_do_not_mix(self) -> None:
        enter = named("OPENAT_2_E", dirfd=AT_FDCWD, name="/mine", flags=0, mode=0)
        other = bash(tid=200)
        assert last(bash() + other + enter + openat(5, "/other", tid=200) + openat(5, "/fake"), "fd.name") == ("/mine",)

    def test_a_long_entry_is_not_kept(self) -> None:
        enter = named("OPENAT_2_E", dirfd=AT_FDCWD, name="/" + "a" * 4096, flags=0, mode=0)
        assert last(bash() + enter + openat(5, "/x"), "fd.name") == ("/x",)


class TestClose:
    def test_rules_on_the_close_still_see_the_descriptor(self) -> None:
        assert last(bash() + openat(5, "/x") + close(5), "fd.name") == ("/x",)

    def test_the_next_event_finds_it_gone(self) -> None:
        assert last(bash() + openat(5, "/x") + close(5) + read(5), "fd.name", "fd.num") == ("", 5)

    def test_a_failed_close_closes_nothing(self) -> None:
        assert last(bash() + openat(5, "/x") + named("CLOSE_X", res=-9, fd=5) + read(5), "fd.name") == ("/x",)

    def test_close_range(self) -> None:
        events = bash() + openat(3, "/a") + openat(4, "/b") + openat(5, "/c") + named("CLOSE_RANGE_X", res=0, first=3, last=4, flags=0)
        assert [last(events + read(n), "fd.type")[0] for n in (3, 4, 5)] == [None, None, "file"]

    def test_close_range_may_wait_for_an_exec(self) -> None:
        events = bash() + openat(3, "/a") + openat(9, "/b") + named("CLOSE_RANGE_X", res=0, first=0, last=5, flags=4)
        assert last(events + read(3), "fd.name") == ("/a",)
        assert [last(events + execve("/bin/id") + read(n), "fd.type")[0] for n in (3, 9)] == [None, "file"]


class TestExecAndFork:
    def test_an_exec_closes_what_it_is_told_to(self) -> None:
        events = bash() + openat(3, "/a", flags=1 | O_CLOEXEC) + openat(4, "/b") + execve("/bin/id")
        assert [last(events + read(n), "fd.type")[0] for n in (3, 4)] == [None, "file"]

    def test_a_child_has_a_copy(self) -> None:
        events = bash() + openat(3, "/a") + clone(200) + close(3)
        assert last(events + read(3, tid=200), "fd.name") == ("/a",)
        assert last(events + openat(4, "/b", tid=200) + read(4, tid=100), "fd.type") == (None,)

    def test_a_thread_shares(self) -> None:
        events = bash() + clone(101, flags=CLONE_THREAD | CLONE_FILES) + openat(3, "/a", tid=101)
        assert last(events + close(3, tid=100) + read(3, tid=101), "fd.type") == (None,)


class TestDuplicates:
    @pytest.mark.parametrize(
        "call",
        [
            named("DUP_1_X", res=7, oldfd=3),
            named("DUP2_X", res=7, oldfd=3, newfd=7),
            named("DUP3_X", res=7, oldfd=3, newfd=7, flags=0),
            named("FCNTL_X", res=7, fd=3, cmd=1, arg=7),
        ],
    )
    def test_a_duplicate_has_the_name_and_survives_an_exec(self, call: bytes) -> None:
        events = bash() + openat(3, "/a", flags=1 | O_CLOEXEC) + call
        assert last(events, "fd.num", "fd.name") == (7, "/a")
        assert last(events + execve("/bin/id") + read(7), "fd.name") == ("/a",)

    @pytest.mark.parametrize(
        "call", [named("DUP3_X", res=7, oldfd=3, newfd=7, flags=O_CLOEXEC), named("FCNTL_X", res=7, fd=3, cmd=26, arg=7)]
    )
    def test_or_does_not(self, call: bytes) -> None:
        assert last(bash() + openat(3, "/a") + call + execve("/bin/id") + read(7), "fd.type") == (None,)

    def test_onto_itself(self) -> None:
        assert last(bash() + openat(3, "/a") + named("DUP2_X", res=3, oldfd=3, newfd=3) + read(3), "fd.name") == ("/a",)

    def test_onto_another(self) -> None:
        events = bash() + openat(3, "/a") + openat(4, "/b") + named("DUP2_X", res=4, oldfd=3, newfd=4)
        assert seen(events + read(4), "fd.name")[-2:] == [("/a",), ("/a",)]

    def test_fcntl_changes_close_on_exec(self) -> None:
        events = bash() + openat(3, "/a") + named("FCNTL_X", res=0, fd=3, cmd=3, arg=1)
        assert last(events + execve("/bin/id") + read(3), "fd.type") == (None,)


class TestOtherKinds:
    @pytest.mark.parametrize(
        ("call", "kind"),
        [
            (named("EVENTFD_X", res=5, initval=0, flags=0), "event"),
            (named("EVENTFD2_X", res=5, flags=0, initval=0), "event"),
            (named("SIGNALFD_X", res=5, fd=-1, mask=0, flags=0), "signalfd"),
            (named("SIGNALFD4_X", res=5, flags=0, fd=-1, mask=0), "signalfd"),
            (named("TIMERFD_CREATE_X", res=5, clockid=0, flags=0), "timerfd"),
            (named("INOTIFY_INIT_X", res=5, flags=0), "inotify"),
            (named("INOTIFY_INIT1_X", res=5, flags=0), "inotify"),
            (named("EPOLL_CREATE_X", res=5, size=1), "eventpoll"),
            (named("EPOLL_CREATE1_X", res=5, flags=0), "eventpoll"),
            (named("BPF_2_X", fd=5, cmd=0), "bpf"),
            (named("USERFAULTFD_X", res=5, flags=0), "userfaultfd"),
            (named("IO_URING_SETUP_X", res=5), "io_uring"),
        ],
    )
    def test_descriptors_without_a_name(self, call: bytes, kind: str) -> None:
        assert last(bash() + call + read(5), "fd.type", "fd.name") == (kind, "")

    def test_pipes_have_two_ends(self) -> None:
        for call in (named("PIPE_X", res=0, fd1=5, fd2=6, ino=9), named("PIPE2_X", res=0, fd1=5, fd2=6, ino=9, flags=0)):
            assert [last(bash() + call + read(n), "fd.type", "fd.ino") for n in (5, 6)] == [("pipe", 9), ("pipe", 9)]

    def test_memory_files_have_the_name_they_are_given(self) -> None:
        assert last(bash() + named("MEMFD_CREATE_X", fd=5, name="payload", flags=1), "fd.type", "fd.name") == ("memfd", "payload")

    def test_pidfds_name_their_process_and_give_its_descriptors(self) -> None:
        opened = bash() + bash(tid=200) + openat(3, "/secret", tid=200) + named("PIDFD_OPEN_X", fd=5, pid=200, flags=0)
        assert last(opened, "fd.type", "fd.name") == ("pidfd", "/proc/200")
        assert last(opened + named("PIDFD_GETFD_X", fd=6, pid_fd=5, target_fd=3, flags=0) + read(6), "fd.name") == ("/secret",)


def test_the_captures_list_tells_what_was_open() -> None:
    table = fds(2, 100, fd(2, 0, 1, text("/dev/null")), fd(2, 1, 7, text("pipe:[9]")), fd(2, 70000, 9, text("")))
    events = bash() + table
    known = [last(events + read(n), "fd.type", "fd.name") for n in (0, 1, 70000)]
    assert known == [("file", "/dev/null"), ("pipe", "pipe:[9]"), ("event", "")]
