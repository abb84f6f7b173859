# SPDX-License-Identifier: Apache-2.0
"""The blocks of a .scap capture: their framing, the tables of every version, event blocks of every kind. docs/capture-format.md."""

import struct
from collections.abc import Iterator
from ipaddress import ip_address

import pytest

from falcolib import CaptureError, Event, schema
from scapwriter import (
    EV,
    EV_LARGE,
    EVF,
    EVF_LARGE,
    FDL,
    IL,
    LEGACY,
    MI,
    PL,
    TIME,
    UL,
    Chunked,
    block,
    capture,
    current,
    event,
    fd,
    fds,
    group,
    interface,
    interfaces,
    machine,
    new_engine,
    probe,
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

CLOSE = ("CLOSE_X", 0, 3)


class TestFraming:
    def test_a_capture_is_a_section_its_tables_and_events(self) -> None:
        events = read(capture(event(*CLOSE, ts=TIME, tid=7, cpu=3), event("GETUID_X", 5, ts=TIME + 1, tid=8)))
        assert [(e.num, e.type, e.time, e.tid, e.cpu) for e in events] == [(1, "close", TIME, 7, 3), (2, "getuid", TIME + 1, 8, 0)]
        assert events[0].params == {"res": 0, "fd": 3}

    def test_a_capture_without_events_is_complete(self) -> None:
        assert read(section()) == []

    @pytest.mark.parametrize("size", [1, 2, 3, 5, 7, 64, 4096])
    def test_the_size_of_the_pieces_makes_no_difference(self, size: int) -> None:
        data = capture(
            processes(9, process(9, tail=process_tail()), process(9, tid=101)),
            fds(2, 100, fd(2, 3, 1, text("/etc/passwd"))),
            users(2, user(0, 0, "root")),
            block(0x999, b"from the future"),
            event("CLOSE_E", 4),
            event("CLOSE_X", 0),
            event(*CLOSE, version=1),
            event(*CLOSE, flags=0),
            block(EV_LARGE, struct.pack("<H", 0) + record("ASYNCEVENT_E", 1, "name", b"d" * 70000)),
            probe(),
        )
        whole, piecewise = new_engine(), new_engine()
        expected = [(e.num, e.type, e.tid, e.params) for e in read(data, engine=whole)]
        assert [(e.num, e.type, e.tid, e.params) for e in read(data, engine=piecewise, size=size)] == expected
        assert len(expected) >= 4
        assert piecewise.stats() == whole.stats()

    def test_blocks_of_unknown_types_are_passed_over_and_counted(self) -> None:
        engine = new_engine()
        assert (
            len(read(capture(block(0x999, b"x" * 100_000), event(*CLOSE), block(0x1000, b""), event(*CLOSE)), engine=engine)) == 2
        )
        assert engine.stats().skipped_blocks == 2

    def test_options_of_the_section_header_are_passed_over(self) -> None:
        assert len(read(section(options=b"\x02\x00\x04\x00abcd") + event(*CLOSE))) == 1

    @pytest.mark.parametrize("code", sorted(LEGACY), ids=hex)
    def test_codes_of_the_first_writers_mean_the_same(self, code: int) -> None:
        known = {
            PL[1]: processes(1, process(1)),
            PL[2]: processes(2, process(2)),
            PL[3]: processes(3, process(3)),
            FDL[1]: fds(1, 100, fd(1, 3, 1, text("/a"))),
            MI: machine(),
            EV[1]: event(*CLOSE, version=1),
            IL[1]: interfaces(1, interface(1, bytes([127, 0, 0, 1]), "lo")),
            UL[1]: users(1, user(0, 0, "root")),
        }[LEGACY[code]]
        engine = new_engine()
        read(section() + struct.pack("<I", code) + known[4:], engine=engine)
        assert engine.stats().skipped_blocks == 0

    def test_a_concatenated_capture_begins_with_new_tables_and_goes_on_counting(self) -> None:
        first = capture(processes(9, process(9, comm="first")), probe())
        second = capture(processes(9, process(9, comm="second")), probe())
        names = [(e.num, e["proc.name"]) for e in _live(first + second + capture(probe()))]
        assert names[:2] == [(1, "first"), (2, "second")]
        assert names[2][0] == 3
        assert names[2][1] not in ("first", "second")

    def test_tables_after_events_begin_a_new_capture_also_without_a_section_header(self) -> None:
        data = capture(processes(9, process(9, comm="first"), process(9, tid=101, comm="gone")), probe()) + processes(
            9, process(9, comm="second")
        )
        names = [e["proc.name"] for e in _live(data + probe() + probe(101))]
        assert names[:2] == ["first", "second"]
        assert names[2] != "gone"


def _live(data: bytes) -> Iterator[Event]:
    return new_engine().events(Chunked(data, 1 << 20))


class TestProcessLists:
    @pytest.mark.parametrize("version", range(1, 10))
    def test_each_version_gives_what_it_has(self, version: int) -> None:
        tail = process_tail() if version == 9 else b""
        values = current(
            capture(processes(version, process(version, tail=tail), process(version, tid=1, pid=1, tail=tail)), probe()),
            "proc.name",
            "proc.exe",
            "proc.args",
            "proc.cwd",
            "proc.vmsize",
            "proc.env[B]",
            "proc.vpid",
            "proc.sid",
            "proc.exepath",
            "proc.vpgid",
            "user.loginuid",
            "proc.is_exe_writable",
            "proc.exe_ino",
            "proc.pgid",
            "proc.tty",
        )
        assert values[:4] == ["cat", "/bin/cat", "-n file", "/home/"]
        assert values[4] == (11 if version >= 2 else 0)
        since = [
            (5, 3, "2"),
            (6, 4, 6),
            (7, 6, 7),
            (8, 7, "/usr/bin/cat"),
            (9, 8, 8),
            (10, 9, 1002),
            (11, 9, True),
            (12, 9, 99),
            (13, 9, 77),
            (14, 9, 34816),
        ]
        for index, first, value in since:
            assert (values[index] == value) == (version >= first), index

    @pytest.mark.parametrize(("told", "path"), [
        ("/usr/bin/cat (deleted)", "/usr/bin/cat"), ("/usr/bin/cat (deleted) ", "/usr/bin/cat (deleted) "), (" (deleted)", " (deleted)"),
    ])
    def test_a_program_that_was_removed_has_its_path(self, told: str, path: str) -> None:
        assert current(capture(processes(9, process(9, exepath=told)), probe()), "proc.exepath") == [path]

    def test_writers_of_version_9_stopped_at_different_places(self) -> None:
        whole = process_tail()
        for end, ino, pgid in ((len(whole), 99, 77), (len(whole) - 8, 99, None), (50, 99, None)):
            values = current(
                capture(processes(9, process(9, tail=whole[:end])), probe()),
                "user.loginuid",
                "proc.tty",
                "proc.exe_ino",
                "proc.pgid",
            )
            assert values[:3] == [1002, 34816, ino]
            assert pgid is None or values[3] == pgid

    @pytest.mark.parametrize("end", [4, 5, 29])
    def test_the_earliest_ones_have_neither_namespace_start_nor_terminal(self, end: int) -> None:
        early = struct.pack("<I?QQQ", 1002, True, 1, 2, 3)[:end]
        values = current(
            capture(processes(9, process(9, tail=early)), probe()), "user.loginuid", "proc.is_exe_writable", "proc.tty"
        )
        assert values == [1002, end >= 5, 0]

    def test_what_newer_writers_append_is_passed_over(self) -> None:
        entries = process(9, tail=process_tail() + b"newer"), process(9, tid=101, comm="next", tail=process_tail())
        assert current(capture(processes(9, *entries), probe(101)), "proc.name") == ["next"]

    def test_a_list_longer_than_any_buffer_is_read_entry_by_entry(self) -> None:
        entries = [process(9, tid=1000 + i, pid=1000 + i, comm=f"p{i}", env=b"E=" + b"x" * 4000) for i in range(600)]
        assert current(capture(processes(9, *entries), probe(1599)), "proc.name") == ["p599"]


V6 = ip_address("fe80::1").packed
SOCKETS = {
    3: (bytes([10, 0, 0, 1, 10, 0, 0, 2]) + struct.pack("<HHB", 1234, 443, 2), "10.0.0.1:1234->10.0.0.2:443"),
    4: (V6 + ip_address("fe80::2").packed + struct.pack("<HHB", 1234, 53, 3), "fe80::1:1234->fe80::2:53"),
    5: (bytes([10, 0, 0, 1]) + struct.pack("<HB", 80, 2), "10.0.0.1:80"),
    6: (V6 + struct.pack("<HB", 80, 2), "fe80::1:80"),
    8: (struct.pack("<QQ", 1, 2) + text("/run/x.sock"), "/run/x.sock"),
}
FD_TYPES = {
    1: "file",
    2: "directory",
    3: "ipv4",
    4: "ipv6",
    5: "ipv4",
    6: "ipv6",
    7: "pipe",
    8: "unix",
    9: "event",
    11: "signalfd",
    12: "eventpoll",
    13: "inotify",
    14: "timerfd",
    15: "netlink",
    16: "file",
}


class TestDescriptorLists:
    @pytest.mark.parametrize("version", [1, 2])
    @pytest.mark.parametrize("type_", sorted(FD_TYPES))
    def test_each_type_of_descriptor(self, version: int, type_: int) -> None:
        payload, name = SOCKETS.get(type_, (text("/some/name"), "/some/name"))
        if type_ == 16:
            payload = struct.pack("<I", 1) + payload + (struct.pack("<I", 5) if version == 2 else b"")
        data = capture(
            processes(9, process(9)), fds(version, 100, fd(version, 3, type_, payload), fd(version, 4, 1, text("/next")))
        )
        assert current(data + event("READ_X", 1, b"x", 3, 1), "fd.type", "fd.name") == [FD_TYPES[type_], name]
        assert current(data + event("READ_X", 1, b"x", 4, 1), "fd.name") == ["/next"]

    @pytest.mark.parametrize(("number", "name"), [(2, "tcp"), (3, "udp"), (5, "raw")])
    def test_the_protocol_of_a_socket(self, number: int, name: str) -> None:
        payload = bytes([10, 0, 0, 1, 10, 0, 0, 2]) + struct.pack("<HHB", 1234, 443, number)
        data = capture(processes(9, process(9)), fds(2, 100, fd(2, 3, 3, payload)), event("READ_X", 1, b"x", 3, 1))
        assert current(data, "fd.l4proto", "fd.cport", "fd.sport") == [name, 1234, 443]

    def test_the_device_of_a_file_is_in_version_2_where_the_entry_has_room(self) -> None:
        for version, tail, dev in ((2, struct.pack("<I", 0x801), "801"), (2, b"", "0"), (1, b"", "0")):
            payload = struct.pack("<I", 1) + text("/f") + tail
            data = capture(processes(9, process(9)), fds(version, 100, fd(version, 3, 16, payload)), event("READ_X", 1, b"x", 3, 1))
            assert current(data, "fd.name", "fd.dev") == ["/f", dev]

    def test_a_type_of_a_newer_schema_is_kept_as_unsupported(self) -> None:
        data = capture(processes(9, process(9)), fds(2, 100, fd(2, 3, 200, b"whatever"), fd(2, 4, 1, text("/next"))))
        assert current(data + event("READ_X", 1, b"x", 4, 1), "fd.name") == ["/next"]

    def test_version_1_cannot_pass_over_it(self) -> None:
        with pytest.raises(CaptureError, match=r"block FDL \(0x203\): a descriptor of the unknown type 200"):
            read(capture(fds(1, 100, fd(1, 3, 200, b""))))


class TestUsersAndInterfaces:
    @pytest.mark.parametrize("version", [1, 2])
    def test_users_and_groups(self, version: int) -> None:
        data = capture(
            users(version, user(1000, 1001, "ada", "/home/ada", "/bin/zsh"), group(1001, "engineers")),
            processes(9, process(9)),
            probe(),
        )
        assert current(data, "user.name", "user.homedir", "user.shell", "group.name") == [
            "ada",
            "/home/ada",
            "/bin/zsh",
            "engineers",
        ]

    @pytest.mark.parametrize("version", [1, 2])
    @pytest.mark.parametrize("type_", [1, 3])
    def test_interfaces_tell_local_addresses(self, version: int, type_: int) -> None:
        local, other = bytes([192, 168, 1, 2]), bytes([192, 168, 1, 3])
        data = capture(
            interfaces(version, interface(type_, local, "eth0"), interface(type_ + 1, bytes(16), "eth0")),
            processes(9, process(9)),
            fds(2, 100, *(fd(2, n, 5, a + struct.pack("<HB", 80, 2)) for n, a in ((3, local), (4, other)))),
        )
        assert current(data + event("READ_X", 1, b"x", 3, 1), "fd.name") == ["192.168.1.2:80"]

    def test_entries_of_a_newer_schema_are_passed_over(self) -> None:
        data = capture(
            users(2, struct.pack("<B", 9) + b"newer", user(1000, 1001, "ada")),
            interfaces(2, struct.pack("<HH", 9, 0) + b"newer"),
            processes(9, process(9)),
            probe(),
        )
        assert current(data, "user.name") == ["ada"]


class TestTablesThatGoOnAsEvents:
    """Users, groups and containers before the first other event of a section belong to its tables; later they are news, which rules see."""

    def test_rules_see_them_after_the_first_other_event(self) -> None:
        news = event("USER_ADDED_E", 1000, 1001, "ada", "/home/ada", "/bin/zsh"), event("CONTAINER_JSON_2_E", "{}")
        events = read(capture(*news, event(*CLOSE), *news) + capture(*news, event(*CLOSE)))
        assert [(e.num, e.type) for e in events] == [(3, "close"), (4, "useradded"), (5, "container"), (8, "close")]

    def test_the_state_takes_them_in_both_cases(self) -> None:
        added = event("USER_ADDED_E", 1000, 1001, "ada", "/home/ada", "/bin/zsh", "")
        for blocks in ((added, probe()), (probe(), added, probe())):
            assert current(capture(processes(9, process(9)), *blocks), "user.name") == ["ada"]


class TestEventBlocks:
    @pytest.mark.parametrize("version", [1, 2])
    @pytest.mark.parametrize("flags", [None, 0])
    def test_each_version_with_and_without_flags(self, version: int, flags: int | None) -> None:
        (now,) = read(
            capture(event("UNLINKAT_2_X", 0, -100, "/tmp/x", 0, version=version, flags=flags, cpu=5, ts=TIME + 5, tid=42))
        )
        assert (now.type, now.cpu, now.time, now.tid) == ("unlinkat", 5, TIME + 5, 42)
        assert now.params == {"res": 0, "dirfd": -100, "name": "/tmp/x", "flags": 0}

    def test_events_for_the_state_alone_are_counted_but_not_shown(self) -> None:
        events = read(capture(event(*CLOSE), event(*CLOSE, flags=1), event(*CLOSE)))
        assert [e.num for e in events] == [1, 3]

    @pytest.mark.parametrize("code", [EV_LARGE, EVF_LARGE])
    def test_large_payloads(self, code: int) -> None:
        head = struct.pack("<H", 1) + (struct.pack("<I", 0) if code == EVF_LARGE else b"")
        data = bytes(range(256)) * 4096
        (now,) = read(capture(block(code, head + record("ASYNCEVENT_E", 1, "container", data))))
        assert now.params == {"plugin_id": 1, "name": "container", "data": data}

    def test_the_first_version_infers_the_number_of_parameters_from_the_lengths(self) -> None:
        # of openat_2 the schema has seven parameters; this writer knew five
        (now,) = read(capture(event("OPENAT_2_X", 3, -100, "/f", 1, 0, version=1)))
        assert now.params == {"fd": 3, "dirfd": -100, "name": "/f", "flags": 1, "mode": 0, "dev": None, "ino": None}

    @pytest.mark.parametrize("code", ["NOTIFICATION_E", "INFRASTRUCTURE_EVENT_E"])
    def test_two_events_of_the_first_version_are_three_bytes_shorter_than_they_say(self, code: str) -> None:
        values = ["one", "two", "three", "four"][: 2 if code == "NOTIFICATION_E" else 4]
        honest = record(code, *values, nparams=False)
        raw = record(code, *values, nparams=False, length=len(honest) + 3)
        (now,) = read(capture(block(EV[1], struct.pack("<H", 0) + raw)))
        assert list(now.params.values()) == values

    def test_types_of_a_newer_schema_are_skipped_and_counted(self) -> None:
        engine = new_engine()
        events = read(capture(event(len(schema.EVENTS), 1, 2), event(*CLOSE), event(65535), event(*CLOSE)), engine=engine)
        assert [e.num for e in events] == [1, 2]
        assert engine.stats().unknown == 2

    def test_parameters_of_a_newer_schema_are_passed_over_where_nothing_is_converted(self) -> None:
        (now,) = read(capture(event("GETUID_X", 5, b"newer")))
        assert now.params == {"uid": 5}


def broken(what: bytes) -> str:
    engine = new_engine()
    with pytest.raises(CaptureError) as caught:
        read(what, engine=engine)
    text = str(caught.value)
    for size in (1, 13):
        with pytest.raises(CaptureError) as again:
            read(what, size=size)
        assert str(again.value) == text, "the size of the pieces changes the error"
    return text


HEAD = len(capture())


class TestMistakes:
    """Framing that doesn't hold ends the reading, with the place of the block in the uncompressed capture and the block's name."""

    def test_events_before_the_mistake_are_delivered(self) -> None:
        source = _live(capture(event(*CLOSE)) + block(EV[2], b"short"))
        assert next(source).type == "close"
        with pytest.raises(CaptureError, match="too short"):
            next(source)

    @pytest.mark.parametrize(
        ("data", "text"),
        [
            (b"", "capture offset 0: the capture is empty"),
            (b"GIF", "capture offset 0: not a .scap capture"),
            (b"GIF89a, and more", "not a .scap capture: it doesn't begin with a section header"),
            (event(*CLOSE), "not a .scap capture: it doesn't begin with a section header"),
            (section(magic=0x4D3C2B1A), "capture offset 0: block SHB (0xa0d0d0a): the capture is big-endian"),
            (section(magic=1), "the magic number is 0x00000001"),
            (section(major=2), "version 2 of the format is not supported"),
            (block(0x0A0D0D0A, b""), "too short"),
            (capture(b"\x16"), f"capture offset {HEAD}: truncated in a block's head"),
        ],
    )
    def test_beginnings_and_ends(self, data: bytes, text: str) -> None:
        assert text in broken(data)

    @pytest.mark.parametrize("cut", [1, 5, 20, 40])
    def test_a_truncated_block(self, cut: int) -> None:
        data = capture(event(*CLOSE))
        size = len(data) - HEAD
        where = f"capture offset {HEAD}: block EV_V2 (0x216): "
        assert broken(data[:-cut]) == f"{where}truncated: the capture ends after {size - cut} of the block's {size} bytes"

    @pytest.mark.parametrize("cut", [1, 5, 20, 100])
    def test_a_truncated_table(self, cut: int) -> None:
        assert "block PL_V9 (0x215): truncated" in broken(capture(processes(9, process(9)))[:-cut])

    @pytest.mark.parametrize("length", [0, 8, 11])
    @pytest.mark.parametrize("code", [EV[2], EV[1], EVF[2], EV_LARGE, PL[9], MI, 0x999])
    def test_a_block_shorter_than_its_frame(self, code: int, length: int) -> None:
        assert f"block length {length} is less than 12" in broken(capture(block(code, b"x" * 100, length=length)))

    @pytest.mark.parametrize("code", [EV[2], EVF[2], EV_LARGE, PL[9], FDL[2], UL[2], IL[2], MI, 0x999])
    def test_the_two_lengths_of_a_block_differ(self, code: int) -> None:
        body = {
            MI: machine()[8:-4],
            PL[9]: process(9),
            FDL[2]: bytes(8),
            EV_LARGE: bytes(2) + record("ASYNCEVENT_E", 1, "n", b""),
        }.get(code, b"")
        body = body or (bytes(2 if code == EV[2] else 6) + record(*CLOSE) if code in (EV[2], EVF[2]) else b"")
        text = broken(capture(block(code, body, tail=77)))
        assert f"capture offset {HEAD}: block " in text
        assert "at its head and 77 at its end" in text

    @pytest.mark.parametrize("code", [EV[1], EV[2], EVF[1], EVF[2]])
    def test_an_event_block_longer_than_64_kib(self, code: int) -> None:
        assert "block length 65545 exceeds 65544" in broken(capture(struct.pack("<II", code, 65545)))

    def test_a_large_block_longer_than_16_mib_is_not_waited_for(self) -> None:
        assert "block length 4294967295 exceeds 16777216" in broken(capture(struct.pack("<II", EV_LARGE, 0xFFFFFFFF)))

    @pytest.mark.parametrize(
        ("raw", "text"),
        [
            (record(*CLOSE, length=99), "record length 99 exceeds the block"),
            (record(*CLOSE, length=0xFFFFFFFF), "record length 4294967295 exceeds the block"),
            (record(*CLOSE, length=25), "record length 25 is less than its header"),
            (record(*CLOSE, length=30), "the lengths of the parameters of a CLOSE_X record don't fit its length 30"),
            (record(*CLOSE)[:22] + struct.pack("<I", 33) + bytes(200), "record with 33 parameters, more than 32"),
            (
                record("READ_X", 0, b"", 3, 1)[:26] + struct.pack("<HHHH", 8, 65535, 8, 4) + bytes(20),
                "lengths of the parameters of a READ_X",
            ),
            (b"\0" * 20, "too short for a record"),
        ],
    )
    def test_records_that_do_not_fit(self, raw: bytes, text: str) -> None:
        if raw[16:20] != b"\0\0\0\0" and len(raw) > 60:
            raw = raw[:16] + struct.pack("<I", len(raw)) + raw[20:]
        message = broken(capture(event(*CLOSE), block(EV[2], struct.pack("<H", 0) + raw)))
        assert message.startswith(f"capture offset {HEAD + len(event(*CLOSE))}: block EV_V2 (0x216): ")
        assert text in message

    def test_a_record_of_the_first_version_whose_lengths_fill_it_with_no_number_of_parameters(self) -> None:
        raw = record("CLOSE_X", b"12345678", nparams=False)
        raw = raw[:16] + struct.pack("<I", len(raw) - 3) + raw[20:]
        assert "the lengths of the parameters of a CLOSE_X record don't fit" in broken(
            capture(block(EV[1], struct.pack("<H", 0) + raw))
        )

    @pytest.mark.parametrize(
        ("table", "text"),
        [
            (block(PL[9], struct.pack("<I", 3) + bytes(100)), "block PL_V9 (0x215): an entry's length 3 is not in 4..104"),
            (block(PL[9], struct.pack("<I", 0xFFFFFFFF) + bytes(100)), "an entry's length 4294967295 is not in 4..104"),
            (block(PL[9], struct.pack("<I", 20) + bytes(100)), "a process entry exceeds its length"),
            (
                block(PL[1], bytes(24) + struct.pack("<H", 65535) + bytes(100)),
                "block PL (0x202): a process entry exceeds the block",
            ),
            (block(FDL[1], b"1234"), "block FDL (0x203): too short"),
            (
                block(FDL[2], bytes(8) + struct.pack("<I", 10) + bytes(20)),
                "block FDL_V2 (0x218): a descriptor's entry exceeds its length",
            ),
            (block(IL[1], struct.pack("<HH", 7, 0)), "an interface of the unknown type 7"),
            (block(IL[2], struct.pack("<I", 0xFFFFFFFF)), "block IL_V2 (0x219): an entry's length 4294967295"),
            (block(UL[1], b"\x09abc"), "block UL (0x206): an entry of the unknown kind 9"),
            (block(UL[2], struct.pack("<IB", 5, 0)), "block UL_V2 (0x220): an entry exceeds its length"),
            (block(MI, bytes(100)), "block MI (0x201): too short"),
        ],
    )
    def test_tables(self, table: bytes, text: str) -> None:
        assert text in broken(section() + table)
