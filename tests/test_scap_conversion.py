# SPDX-License-Identifier: Apache-2.0
"""Events of older schemas leave the reader as events of the newest one (csrc/schema/conversions.def; docs/capture-format.md)."""

import json

import pytest

from falcolib import CaptureError, Event, schema
from scapwriter import EV_LARGE, TIME, block, capture, event, event_type, new_engine, read, record


def params(*blocks: bytes) -> dict[str, object]:
    """Of the last event."""
    return dict(read(capture(*blocks))[-1].params)


class TestEnterEvents:
    def test_an_old_enter_event_is_not_delivered_but_merged_into_the_exit_event(self) -> None:
        engine = new_engine()
        (now,) = read(capture(event("CLOSE_E", 4), event("CLOSE_X", 0, ts=TIME + 5)), engine=engine)
        assert (now.num, now.time, now.params) == (1, TIME + 5, {"res": 0, "fd": 4})
        stats = engine.stats()
        assert (stats.records, stats.stored, stats.converted, stats.events) == (2, 1, 1, 1)

    def test_several_parameters(self) -> None:
        assert params(event("READ_E", 3, 512), event("READ_X", 5, b"bytes")) == {"res": 5, "data": b"bytes", "fd": 3, "size": 512}
        assert params(event("SENDFILE_E", 1, 2, 30, 40), event("SENDFILE_X", 9, 8)) == {
            "res": 9,
            "offset": 8,
            "out_fd": 1,
            "in_fd": 2,
            "size": 40,
        }

    def test_threads_do_not_mix(self) -> None:
        events = read(
            capture(event("CLOSE_E", 4, tid=1), event("CLOSE_E", 5, tid=2), event("CLOSE_X", 0, tid=1), event("CLOSE_X", 0, tid=2))
        )
        assert [(e.tid, e.params["fd"]) for e in events] == [(1, 4), (2, 5)]

    def test_without_its_enter_event_an_exit_event_gets_zeros_of_the_least_length(self) -> None:
        assert params(event("READ_X", 5, b"bytes")) == {"res": 5, "data": b"bytes", "fd": 0, "size": 0}
        assert params(event("MMAP_X", 1, 2, 3, 4)) | {"addr": 0, "fd": 0} == params(event("MMAP_X", 1, 2, 3, 4))

    def test_or_nothing_where_zero_would_be_a_lie(self) -> None:
        assert params(event("UNLINK_X", 0)) == {"res": 0, "path": None}
        assert params(event("SETUID_X", 0)) == {"res": 0, "uid": None}

    def test_the_enter_event_of_another_system_call_does_not_count(self) -> None:
        assert params(event("READ_E", 3, 512), event("CLOSE_X", 0)) == {"res": 0, "fd": 0}

    def test_the_latest_enter_event_counts(self) -> None:
        assert params(event("CLOSE_E", 4), event("CLOSE_E", 5), event("CLOSE_X", 0)) == {"res": 0, "fd": 5}

    def test_a_section_forgets_them(self) -> None:
        assert params(event("CLOSE_E", 4), capture(event("CLOSE_X", 0))) == {"res": 0, "fd": 0}

    def test_an_exit_event_that_has_all_its_parameters_needs_none(self) -> None:
        engine = new_engine()
        (now,) = read(capture(event("CLOSE_E", 4), event("CLOSE_X", 0, 9)), engine=engine)
        assert now.params == {"res": 0, "fd": 9}
        assert engine.stats().converted == 0

    def test_enter_events_that_pass_are_numbered_but_not_seen_by_rules(self) -> None:
        events = read(
            capture(
                event("OPEN_E", "/a", 1, 0),
                event("OPEN_X", 3, "/a", 1, 0, 5, 6),
                event("CONNECT_E", 3, b"\x02"),
                event("CLOSE_X", 0, 3),
            )
        )
        assert [(e.num, e.type) for e in events] == [(2, "open"), (4, "close")]

    def test_connect_takes_from_an_enter_event_that_passes(self) -> None:
        address = b"\x02\x7f\x00\x00\x01\x50\x00"
        now = params(event("CONNECT_E", 3, address), event("CONNECT_X", 0, b""))
        assert (now["fd"], now["addr"]) == (3, address)

    def test_a_flood_of_threads_gives_up_the_oldest(self) -> None:
        engine = new_engine()
        threads = 80_000  # the table holds 65536
        flood = b"".join(event("CLOSE_E", 4, tid=i) for i in range(threads))
        (now,) = read(capture(flood, event("CLOSE_X", 0, tid=threads - 1)), engine=engine)
        assert now.params["fd"] == 4
        assert engine.stats().stored == threads
        assert engine.stats().evicted >= threads - 65536

    def test_enter_events_longer_than_two_paths_are_given_up(self) -> None:
        engine = new_engine()
        (now,) = read(capture(event("UNLINK_E", "x" * 20_000), event("UNLINK_X", 0)), engine=engine)
        assert now.params == {"res": 0, "path": None}
        assert engine.stats().evicted == 1

    def test_all_are_given_up_when_they_take_more_than_64_mib(self) -> None:
        engine, path = new_engine(), "x" * 16_000
        threads = range(4300)
        flood = b"".join(event("UNLINK_E", path, tid=tid) for tid in threads)
        events = read(capture(flood, *(event("UNLINK_X", 0, tid=tid) for tid in threads)), engine=engine)
        found = [e.tid for e in events if e.params["path"] == path]
        assert found == list(threads)[-len(found) :]
        assert engine.stats().evicted == len(threads) - len(found) > 4000


class TestOldTypes:
    def test_an_old_type_becomes_the_new_one_step_by_step(self) -> None:
        old = [0, "exe", b"args\0", 5, 5, 1, "/cwd", 1024]
        engine = new_engine()
        (now,) = read(capture(event("EXECVE_8_E"), event("EXECVE_8_X", *old)), engine=engine)
        assert (now.num, now.type) == (2, "execve")
        names = [p.name for p in event_type("EXECVE_19_X").params]
        assert list(now.params) == names
        assert [now.params[n] for n in names[:8]] == [0, "exe", b"args\0", 5, 5, 1, "/cwd", 1024]
        assert all(now.params[n] is None for n in names[8:])

    def test_the_file_name_of_execve_comes_from_the_enter_event(self) -> None:
        exit_ = event_type("EXECVE_17_X")
        values = [0, "exe", *([None] * (len(exit_.params) - 2))]
        assert params(event("EXECVE_18_E", "/bin/x"), event("EXECVE_18_X", *values))["filename"] == "/bin/x"

    def test_paths_of_the_enter_event_become_parameters_of_the_exit_event(self) -> None:
        assert params(event("LINKAT_E", 3, "/old", 4, "/new"), event("LINKAT_X", 0)) == {
            "res": 0,
            "olddir": 3,
            "oldpath": "/old",
            "newdir": 4,
            "newpath": "/new",
            "flags": None,
        }
        assert params(event("OPENAT_E", -100, "/f", 1, 2), event("OPENAT_X", 3)) == {
            "fd": 3,
            "dirfd": -100,
            "name": "/f",
            "flags": 1,
            "mode": 2,
            "dev": None,
            "ino": None,
        }

    def test_a_container_event_becomes_json(self) -> None:
        old = event("CONTAINER_E", "0123456789ab", 1, 'a "name"\n', "busybox\\1")
        now = read(capture(event("CLOSE_X", 0, 3), old))[1]
        assert now.type == "container"
        content = {"id": "0123456789ab", "type": 1, "name": 'a "name"\n', "image": "busybox\\1"}
        assert json.loads(str(now.params["json"])) == {"container": content}
        assert params(event("CLOSE_X", 0, 3), event("CONTAINER_JSON_E", "{}")) == {"json": "{}"}

    def test_a_conversion_has_its_limits(self) -> None:
        with pytest.raises(CaptureError, match=r"block EV_V2 .*: the CONTAINER_E record can't be converted"):
            read(capture(event("CONTAINER_E", "0123456789ab", 1, '"' * 40_000, "busybox")))
        long = record("EXECVE_19_X", 0, "exe", b"a" * 60_000, *[b"e" * 60_000] * 16)
        with pytest.raises(CaptureError, match=r"block EV_V2_LARGE .*: the converted EXECVE_19_X record is too long"):
            read(capture(block(EV_LARGE, bytes(2) + long)))

    def test_unused_types_and_enter_events_without_meaning_are_dropped(self) -> None:
        engine = new_engine()
        unused = next(e.code for e in schema.EVENTS if "UNUSED" in e.flags)
        silent = next(
            e.code for e in schema.EVENTS if not e.is_exit and "OLD_VERSION" in e.flags and "CONVERTER_MANAGED" not in e.flags
        )
        (now,) = read(capture(event(unused), event(silent), event("CLOSE_X", 0, 3)), engine=engine)
        assert now.num == 1
        assert engine.stats().dropped == 2

    @pytest.mark.parametrize("values", [[], [0, 1, 2]])
    def test_a_number_of_parameters_that_no_schema_had_is_an_error(self, values: list[int]) -> None:
        with pytest.raises(CaptureError, match=rf"no conversion of a CLOSE_X record with {len(values)} parameters is known"):
            read(capture(event("CLOSE_X", *values)))

    def test_every_exit_event_that_can_be_converted_arrives_in_the_newest_schema(self) -> None:
        arrived = 0
        for old in (e for e in schema.EVENTS if e.is_exit and "CONVERTER_MANAGED" in e.flags):
            for count in range(len(old.params) + 1):
                for now in _converted(old.code, count):
                    arrived += 1
                    info = schema.EVENTS[now._type_id]
                    assert "OLD_VERSION" not in info.flags
                    assert list(now.params) == [p.name for p in info.params]
        assert arrived > 200


def _converted(code: str, count: int) -> list[Event]:
    """What becomes of an event with so many empty parameters; nothing, if there never was such an event."""
    try:
        return read(capture(event(code, *[b""] * count)))
    except CaptureError:
        return []
