# SPDX-License-Identifier: Apache-2.0
"""Fields of descriptors, connections and paths, and the parameters of events as text, on captures made for them."""

import struct

import pytest

from falcolib import Engine, RuleSet
from scapwriter import (
    Chunked,
    capture,
    current,
    event,
    fd,
    fds,
    group,
    interface,
    interfaces,
    process,
    process_tail,
    processes,
    text,
    user,
    users,
)

TREE = processes(9, process(9, cwd="/home", vtid=100, vpid=100, tail=process_tail()))
LOCAL = interfaces(2, interface(1, bytes((10, 0, 0, 1)), "eth0"))


def of(*made: bytes, fields: tuple[str, ...]) -> list[object]:
    return current(capture(TREE, LOCAL, *made), *fields)


def tuple4(source: str, sport: int, dest: str, dport: int) -> bytes:
    ends = ((source, sport), (dest, dport))
    return b"\2" + b"".join(bytes(map(int, addr.split("."))) + struct.pack("<H", port) for addr, port in ends)


OPEN = event("OPENAT_2_X", 3, -100, "sub/./x//y.txt", 1, 0, 0xFE03, 77)
SOCKET = event("SOCKET_X", 4, 2, 1, 6, 0)
CONNECT = event("CONNECT_X", 0, tuple4("10.0.0.1", 5000, "10.0.0.2", 443), 4, b"\2\x0a\0\0\2\xbb\1")


class TestFiles:
    @pytest.mark.parametrize(("field", "value"), [
        ("fd.num", 3), ("fd.type", "file"), ("fd.typechar", "f"), ("fd.name", "/home/sub/x/y.txt"), ("fd.nameraw", "sub/./x/y.txt"),
        ("fd.directory", "/home/sub/x"), ("fd.filename", "y.txt"), ("fd.uid", "1003"), ("fd.containername", ":/home/sub/x/y.txt"),
        ("fd.containerdirectory", ":/home/sub/x"), ("fd.dev", "FE03"), ("fd.dev.major", 254), ("fd.dev.minor", 3), ("fd.ino", 77),
        ("fd.sockfamily", None), ("fd.l4proto", "<NA>"), ("fd.cip", None), ("fd.is_server", False), ("fd.name_changed", True),
        ("fs.path.name", "/home/sub/x/y.txt"), ("fs.path.nameraw", "sub/./x//y.txt"), ("evt.abspath", "/home/sub/x/y.txt"),
    ])
    def test_an_opened_file(self, field: str, value: object) -> None:
        assert of(OPEN, fields=(field,)) == [value]

    def test_a_file_that_could_not_be_opened_has_the_name_that_was_asked_for(self) -> None:
        made = event("OPENAT_2_X", -2, -100, "x/y", 1, 0, 0, 0)
        assert of(made, fields=("fd.name", "fd.directory", "fd.filename", "fd.num", "fd.type", "fd.typechar")) == [
            "/home/x/y", "/home/x", None, -1, None, "f"]
        assert of(made, fields=("fs.path.name", "fs.path.nameraw")) == ["<UNKNOWN>", "x/y"]

    def test_an_unknown_descriptor(self) -> None:
        assert of(event("CLOSE_X", 0, 9), fields=("fd.num", "fd.name", "fd.directory", "fd.type", "fd.typechar", "fd.ino")) == [
            9, "", "/", None, "o", None]

    def test_events_without_a_descriptor_have_none(self) -> None:
        assert of(event("GETUID_X", 0), fields=("fd.num", "fd.name", "fd.types")) == [None, None, None]

    @pytest.mark.parametrize(("kind", "letter", "word"), [
        (2, "d", "directory"), (7, "p", "pipe"), (9, "e", "event"), (10, "X", "<NA>"), (12, "l", "eventpoll"), (18, "u", "userfaultfd"),
        (19, "r", "io_uring"), (20, "m", "memfd"), (21, "P", "pidfd"),
    ])
    def test_kinds(self, kind: int, letter: str, word: str) -> None:
        assert of(fds(2, 100, fd(2, 5, kind, text("n"))), event("CLOSE_X", 0, 5), fields=("fd.typechar", "fd.type")) == [letter, word]


class TestConnections:
    @pytest.mark.parametrize(("field", "value"), [
        ("fd.name", "10.0.0.1:5000->10.0.0.2:443"), ("fd.cip", "10.0.0.1"), ("fd.sip", "10.0.0.2"), ("fd.lip", "10.0.0.1"),
        ("fd.rip", "10.0.0.2"), ("fd.cport", 5000), ("fd.sport", 443), ("fd.lport", 5000), ("fd.rport", 443), ("fd.sproto", "443"),
        ("fd.l4proto", "tcp"), ("fd.sockfamily", "ip"), ("fd.is_server", False), ("fd.connected", True), ("fd.typechar", "4"),
        ("fd.ip", None), ("fd.port", None), ("fd.snet", "<IPNET>"), ("fd.sip.name", None), ("fd.directory", None),
        ("evt.arg.fd", "<4t>10.0.0.1:5000->10.0.0.2:443"), ("evt.arg.tuple", "10.0.0.1:5000->10.0.0.2:443"),
    ])
    def test_a_client(self, field: str, value: object) -> None:
        assert of(SOCKET, CONNECT, fields=(field,)) == [value]

    def test_the_ends_are_not_known_before_the_connection(self) -> None:
        assert of(SOCKET, fields=("fd.cip", "fd.sport", "fd.l4proto", "fd.name", "fd.connected")) == [None, None, "<NA>", "", False]

    def test_a_listening_socket_has_only_a_server(self) -> None:
        bind = event("BIND_X", 0, b"\2\x0a\0\0\1\x50\0", 4)
        assert of(SOCKET, bind, fields=("fd.name", "fd.sip", "fd.sport", "fd.cip", "fd.lport", "fd.is_server")) == [
            "10.0.0.1:80", "10.0.0.1", 80, None, None, True]

    def test_a_connection_of_the_machine_with_itself_is_local_at_the_client_s_end(self) -> None:
        accept = event("ACCEPT_5_X", 5, tuple4("127.0.0.1", 999, "127.0.0.1", 80), 0, 0, 1)
        assert of(accept, fields=("fd.lport", "fd.rport", "fd.is_server")) == [999, 80, True]

    @pytest.mark.parametrize(("condition", "holds"), [
        ("fd.ip = 10.0.0.2", True), ("fd.ip = 10.0.0.1", True), ("fd.ip != 10.0.0.1", False), ("fd.ip != 1.1.1.1", True),
        ("fd.port = 443", True), ("fd.port in (1, 5000)", True), ("fd.net = 10.0.0.0/8", True), ("fd.snet = 10.0.0.2/32", True),
        ("fd.cnet = 10.0.0.2/32", False), ("fd.port > 4999", True),
    ])
    def test_conditions_on_either_end(self, condition: str, holds: bool) -> None:
        rules = RuleSet.parse(f"- {{rule: r, desc: d, condition: 'evt.type=connect and {condition}', output: x, priority: INFO}}")
        assert bool(list(Engine(rules).run(Chunked(capture(TREE, SOCKET, CONNECT), 4096)))) is holds

    def test_lists_of_poll(self) -> None:
        pairs = struct.pack("<HqhqhqH", 3, 4, 1, 8, 4, 3, 0x10)
        poll = event("POLL_X", 1, pairs, 500)
        assert of(OPEN, SOCKET, CONNECT, poll, fields=("fdlist.nums", "fdlist.names", "fdlist.sips", "fdlist.cports", "evt.arg.fds")) == [
            "4,8,3", "10.0.0.1:5000->10.0.0.2:443,<NA>,/home/sub/x/y.txt", "10.0.0.2", "5000", "4:41 8:?4 3:f10"]

    def test_lists_of_poll_with_servers_that_wait(self) -> None:
        servers = event("SOCKET_X", 5, 2, 1, 6, 0) + event("BIND_X", 0, b"\2\x0a\0\0\1\x16\0", 5)
        servers += event("SOCKET_X", 6, 10, 1, 6, 0) + event("BIND_X", 0, b"\x0a\x20\1\x0d\xb8" + bytes(11) + b"\1\x16\0", 6)
        poll = event("POLL_X", 1, struct.pack("<Hqhqhqh", 3, 5, 1, 4, 1, 6, 1), 500)
        fields = ("fdlist.names", "fdlist.cips", "fdlist.sips", "fdlist.cports", "fdlist.sports")
        assert of(servers, SOCKET, CONNECT, poll, fields=fields) == [
            "10.0.0.1:22,10.0.0.1:5000->10.0.0.2:443,2001:db8::1:22", "10.0.0.1", "10.0.0.1,10.0.0.2,32.1.13.184", "5000", "443"]

    def test_lists_of_poll_with_places_to_pass_over(self) -> None:
        poll = event("POLL_X", 0, struct.pack("<Hqhqh", 2, -1, 0, 3, -32768), 500)
        assert of(OPEN, poll, fields=("evt.arg.fds",)) == ["18446744073709551615:?0 3:fffff8000"]

    def test_errors_count_for_what_the_descriptor_is(self) -> None:
        netlink = event("SOCKET_X", 5, 16, 3, 0, 0) + event("CONNECT_X", -1, None, 5, None)
        fields = ("evt.count.error.net", "evt.count.error.other")
        assert of(netlink, fields=fields) == [None, 1]
        assert of(event("CONNECT_X", -9, None, 5, None), fields=fields) == [1, None]

    @pytest.mark.parametrize(("made", "net"), [(SOCKET + CONNECT + event("READ_X", 5, b"x", 4, 9), 5),
                                               (event("SOCKET_X", 4, 1, 1, 0, 0) + event("READ_X", 5, b"x", 4, 9), None)])
    def test_bytes_of_the_network_are_those_of_ip(self, made: bytes, net: int | None) -> None:
        assert of(made, fields=("evt.buflen", "evt.buflen.net")) == [5, net]


class TestPaths:
    @pytest.mark.parametrize(("made", "name", "source", "target"), [
        (event("MKDIR_2_X", 0, "d", 0), "/home/d", None, None),
        (event("MKDIR_2_X", -17, "d", 0), None, None, None),
        (event("MKDIRAT_X", 0, -100, "../d", 0), "/d", None, None),
        (event("UNLINKAT_2_X", 0, 9, "d", 0), "<UNKNOWN>d", None, None),
        (event("UNLINKAT_2_X", 0, 9, "/d", 0), "/d", None, None),
        (event("RENAME_X", 0, "a", "/b"), None, "/home/a", "/b"),
        (event("LINKAT_2_X", 0, -100, "old", -100, "new", 0), None, "/home/new", "/home/old"),
        (event("SYMLINK_X", 0, "t", "/l"), None, "/l", "/home/t"),
        (event("SYMLINKAT_X", 0, "t", -100, "/l"), None, "/l", "<UNKNOWN>t"),
        (event("MOUNT_X", 0, "none", "/m", "proc", 0), None, "/home/none", "/m"),
        (event("READ_X", 0, b"", 3, 3), None, None, None),
    ])
    def test_of_calls_of_the_file_system(self, made: bytes, name: object, source: object, target: object) -> None:
        assert of(made, fields=("fs.path.name", "fs.path.source", "fs.path.target")) == [name, source, target]

    def test_of_a_descriptor(self) -> None:
        assert of(OPEN, event("FCHMOD_X", 0, 3, 0o644), fields=("fs.path.name",)) == ["/home/sub/x/y.txt"]

    def test_two_directories(self) -> None:
        made = event("RENAMEAT_X", 0, -100, "a", -100, "b")
        assert of(made, fields=("evt.abspath", "evt.abspath.src", "evt.abspath.dst")) == ["/home/a", "/home/a", "/home/b"]

    @pytest.mark.parametrize(("made", "path"), [
        (event("SYMLINKAT_X", 0, "t", -100, "l"), "/home/l"),
        (event("UNLINKAT_2_X", -2, 9, "d", 0), "<UNKNOWN>/d"),
        (event("OPENAT_2_X", 3, -100, "/", 0x401, 0, 0, 1) + event("UNLINKAT_2_X", -2, 3, "d", 0), "//d"),
        (event("OPENAT_2_X", 3, -100, "/srv", 0x401, 0, 0, 1) + event("UNLINKAT_2_X", -2, 3, "../d", 0), "/d"),
        (event("FCHOWNAT_X", 0, 9, "/d", 0, 0, 0), "/d"),
        (event("OPEN_BY_HANDLE_AT_X", 5, -100, 1, "/srv/./x", 0, 0), "/srv/x"),
        (event("OPEN_BY_HANDLE_AT_X", -2, -100, 1, "/srv/x", 0, 0), None),
        (event("MKDIRAT_X", 0, None, "d", 0), None),
        (event("MKNODAT_X", 0, -100, "d", 0, 0), None),
        (event("NEWFSTATAT_X", 0, -100, "d", 0), None),
        (event("MKDIR_2_X", 0, "d", 0), None),
    ])
    def test_one_directory(self, made: bytes, path: object) -> None:
        assert of(made, fields=("evt.abspath", "evt.abspath.dst")) == [path, path]


class TestParameters:
    @pytest.mark.parametrize(("made", "shown"), [
        (event("CLOSE_X", -9, 7), "res=-9(EBADF) fd=7"),
        (event("CLOSE_X", -999, -100), "res=-999 fd=-100(AT_FDCWD)"),
        (event("CHMOD_X", 0, "f", 0o4640), "res=0 filename=f(/home/f) mode=04640(S_IRGRP|S_IWUSR|S_IRUSR|S_ISUID)"),
        (event("KILL_X", 0, 100, 9), "res=0 pid=100(cat) sig=9(SIGKILL)"),
        (event("NANOSLEEP_X", 0, 1500000000), "res=0 interval=1500000000(1.5s)"),
        (event("NANOSLEEP_X", 0, -1), "res=0 interval=none"),
        (event("SETUID_X", 0, -1), "res=0 uid=-1(<NONE>)"),
        (event("LSEEK_X", -22, 7, -5, 2), "res=-22(EINVAL) fd=7 offset=-5 whence=2(SEEK_END)"),
        (event("WRITE_X", 1, None, 7, 1), "res=1 data=NULL fd=7 size=1"),
        (event("CHDIR_X", 0, None), "res=0 path=<NA>"),
        (event("SOCKET_X", -1, 1, 2, 0, 0), "fd=-1(EPERM) domain=1(AF_LOCAL|AF_UNIX) type=2 proto=0 flags=0(O_NONE)"),
        (event("FUTEX_X", 0, 4096, 129, 5), "res=0 addr=1000 op=129(FUTEX_PRIVATE_FLAG|FUTEX_WAKE) val=5"),
        (event("FCHOWN_X", 0, 7, -1, 5), "res=0 fd=7 uid=-1 gid=5"),
        (event("SETSOCKOPT_X", 0, 4, 1, 8, b"\2\xff\xff\xff\xff", 4),
         "res=0 fd=4 level=1(SOL_SOCKET) optname=8(SO_RCVBUF) val=-1 optlen=4"),
        (event("SETSOCKOPT_X", 0, 4, 1, 8, b"\0", 0), "res=0 fd=4 level=1(SOL_SOCKET) optname=8(SO_RCVBUF) val= optlen=0"),
        (event("SETSOCKOPT_X", 0, 4, 1, 8, None, 0), "res=0 fd=4 level=1(SOL_SOCKET) optname=8(SO_RCVBUF) val=NULL optlen=0"),
        (event("SETSOCKOPT_X", 0, 4, 1, 8, b"\5a", 0),
         "res=0 fd=4 level=1(SOL_SOCKET) optname=8(SO_RCVBUF) val=INVALID DYNAMIC PARAMETER optlen=0"),
    ])
    def test_value_and_meaning(self, made: bytes, shown: str) -> None:
        assert of(made, fields=("evt.args", "evt.info")) == [shown, shown]

    def test_a_path_that_starts_nobody_knows_where_stays(self) -> None:
        made = event("UNLINKAT_2_X", 0, 9, "./d//e", 0)
        assert of(made, fields=("evt.args", "evt.arg.name", "fs.path.name")) == [
            "res=0 dirfd=9 name=./d//e(d/e) flags=0", "d/e", "<UNKNOWN>./d//e"]

    def test_one_parameter_shows_its_meaning_alone(self) -> None:
        made = event("KILL_X", -1, 100, 9)
        assert of(made, fields=("evt.arg.res", "evt.arg.pid", "evt.arg[2]", "evt.arg[9]", "evt.arg.path")) == [
            "EPERM", "cat", "SIGKILL", None, None]

    def test_as_they_are(self) -> None:
        made = event("KILL_X", -1, 100, 9)
        assert of(made, fields=("evt.rawarg.res", "evt.rawarg.pid", "evt.rawarg.sig", "evt.rawarg.name")) == [-1, 100, 9, None]

    @pytest.mark.parametrize("text", [None, "(NULL)"])
    def test_a_text_that_could_not_be_read_says_so(self, text: str | None) -> None:
        made = event("MOUNT_X", 0, text, "/m", text, 0)
        assert of(made, fields=("evt.arg.dev", "evt.arg.type", "evt.rawarg.type")) == ["<NA>", "<NA>", "<NA>"]
        assert of(event("RMDIR_2_X", -14, text), fields=("evt.args",)) == ["res=-14(EFAULT) path=<NA>"]

    def test_a_user_without_a_name_is_not_known(self) -> None:
        nameless = users(2, user(7, 7, ""), group(7, ""))
        assert of(nameless, event("SETUID_X", 0, 7), fields=("evt.args",)) == ["res=0 uid=7(<NA>)"]
        assert of(nameless, event("SETGID_X", 0, 7), fields=("evt.args",)) == ["res=0 gid=7(<NA>)"]

    @pytest.mark.parametrize("value", [b"", b"\2", b"\2" + bytes(11), b"\x0a" + bytes(20), b"\1" + bytes(15), b"\xff"])
    def test_addresses_that_are_cut_off(self, value: bytes) -> None:
        (shown,) = of(event("CONNECT_X", -1, value, 4, value), fields=("evt.args",))
        assert str(shown).startswith("res=-1(EPERM) tuple=")

    @pytest.mark.parametrize("value", [b"\1", b"\xff\xff", b"\2\0" + bytes(15)])
    def test_lists_that_count_more_than_they_hold(self, value: bytes) -> None:
        made = event("POLL_X", 1, value, 0)
        assert str(of(made, fields=("evt.args",))[0]).startswith("res=1 fds=")
        assert of(made, fields=("fdlist.nums",)) == ["0" if len(value) > 12 else None]

    @pytest.mark.parametrize("value", [b"\xff", b"\0\1\2", b"\2\1", b"\4"])
    def test_dynamic_values_of_any_index_and_length(self, value: bytes) -> None:
        (shown,) = of(event("SETSOCKOPT_X", 0, 4, 1, 8, value, 4), fields=("evt.args",))
        assert "val=" in str(shown)

    def test_a_call_that_the_recorder_did_not_know(self) -> None:
        assert of(event("GENERIC_X", 0), fields=("evt.type", "syscall.type")) == ["unknown", "unknown"]
        assert of(event("GENERIC_X", 0, 9), fields=("evt.type", "syscall.type")) == ["mmap", "mmap"]

    @pytest.mark.parametrize(("image", "shown"), [
        ("nginx:1.2", "nginx"), ("hub/nginx@sha256:0a1b", "hub/nginx"), ("sha256:0a1b", "sha256:0a1b"), (" nginx ", "nginx")])
    def test_events_of_an_orchestrator_s_agent(self, image: str, shown: str) -> None:
        made = event("INFRASTRUCTURE_EVENT_E", "docker", "start", f"Event: start; ID: 0123456789abcdef; name:web; Image: {image}", "")
        assert of(made, fields=tuple(f"evt.infra.docker.{name}" for name in (
            "name", "container.id", "container.name", "container.image"))) == ["start", "0123456789ab", "web", shown]
