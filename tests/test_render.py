# SPDX-License-Identifier: Apache-2.0
"""How values of fields are shown: in alert.fields and JSON (native), in messages (text)."""

import time

import pytest

from falcolib import schema
from falcolib.render import native, text
from falcolib.schema import Argument

TIME = 1_700_000_000_123_456_789


def shown(name: str, raw: object) -> object:
    return native(schema.require_field(name)[0], raw, TIME)       # type: ignore[arg-type]


def printed(name: str, value: object) -> str:
    return text(schema.require_field(name)[0], value)             # type: ignore[arg-type]


@pytest.mark.parametrize(("field", "raw", "value"), [
    ("proc.name", None, None),
    ("proc.name", b"cat", "cat"),
    ("proc.name", b"", ""),
    ("user.loginuid", -1, -1),
    ("fd.lport", 443, 443),
    ("proc.exe_ino.mtime", 10968388490854775808, 10968388490854775808),
    ("evt.failed", True, True),
    ("proc.fdusage", 0.03, 0.03),
    ("fd.cip", b"\x7f\0\0\1", "127.0.0.1"),
    ("fd.cip", bytes(15) + b"\1", "::1"),
    ("fd.cip", bytes(10) + b"\xff\xff\x0a\0\0\1", "::ffff:10.0.0.1"),
    ("fd.cnet", b"\x7f\0\0\1", "<IPNET>"),
    ("fd.types", [b"file", b"pipe"], ["file", "pipe"]),
    ("container.start_ts", 5, 5),
])
def test_native_values_keep_their_type(field: str, raw: object, value: object) -> None:
    assert shown(field, raw) == value


def test_what_is_printed_to_another_base_is_text() -> None:
    assert shown("fd.dev", 0xFE00) == "FE00"


def test_a_number_without_a_format_has_no_form() -> None:
    assert shown("evt.type.is.openat", 1) is None


def test_bytes_show_what_can_be_printed() -> None:
    assert shown("evt.buffer", b"GET /\r\n\xff\0") == "GET /...."


@pytest.mark.parametrize(("raw", "value"), [
    (b"a\nb\x7f", "a\ufffdb\ufffd"),            # control characters
    (b"\xff\xfe", "\ufffd\ufffd"),              # no UTF-8
    (b"\xe4\xb8", "\ufffd"),                    # one unfinished character
    ("é中".encode(), "é中"),
])
def test_what_cannot_be_read_is_replaced(raw: bytes, value: str) -> None:
    assert shown("fd.name", raw) == value


@pytest.mark.parametrize("field", ["evt.time", "evt.time.s", "evt.time.iso8601", "evt.datetime", "evt.datetime.s"])
def test_times_are_nanoseconds_since_the_epoch(field: str) -> None:
    assert shown(field, b"12:00:00") == TIME


def test_ancestors_are_one_text() -> None:
    assert shown("proc.aname", [b"bash", b"sshd", b"systemd"]) == "bash sshd systemd"
    assert shown("proc.aexepath", [b"", b"/bin/a"]) == "/bin/a"
    assert shown("proc.aexepath", [b"", b""]) is None


def test_either_end_of_a_connection_is_only_for_tests() -> None:
    assert shown("fd.ip", [b"\x7f\0\0\1", b"\x7f\0\0\2"]) is None


def test_each_alert_is_the_first_to_print_the_time_since_the_last_one() -> None:
    assert shown("evt.deltatime", 17) == 0


@pytest.mark.parametrize(("field", "argument"), [("proc.apid", "0"), ("proc.aenv", "0")])
def test_some_ancestors_fields_print_the_process_itself(field: str, argument: str) -> None:
    info = schema.require_field(field)[0]
    assert info.printed(None) == Argument(argument)
    assert info.printed(Argument("2")) == Argument("2")


@pytest.mark.parametrize(("field", "value", "line"), [
    ("proc.name", None, "<NA>"),
    ("proc.name", "cat", "cat"),
    ("evt.failed", False, "false"),
    ("user.uid", 1000, "1000"),
    ("evt.rawtime.ns", 42, "000000042"),
    ("proc.fdusage", 0.26, "0.3"),
    ("fd.types", ["file", "pipe"], "(file,pipe)"),
    ("evt.time", TIME, "22:13:20.123456789"),
    ("evt.time.s", TIME, "22:13:20"),
    ("evt.datetime", TIME, "2023-11-14 22:13:20.123456789"),
    ("evt.time.iso8601", TIME, "2023-11-14T22:13:20.123456789+0000"),
])
def test_texts(field: str, value: object, line: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TZ", "UTC")
    time.tzset()
    assert printed(field, value) == line
