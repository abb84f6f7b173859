# SPDX-License-Identifier: Apache-2.0
"""Field values as alerts show them: native (JSON) values from what the core gives, and text from native values (spec: engine.md C1, C3)."""

from __future__ import annotations

import functools
import time
from binascii import b2a_base64
from collections.abc import Callable, Iterable
from ipaddress import IPv4Address, IPv6Address
from typing import TypeAlias

from . import schema
from .batch import Raw
from .schema import FieldInfo

#: A value as Python and JSON have it; None where the field is absent.
Native: TypeAlias = "bool | int | float | str | list[Native] | None"

NA = "<NA>"

#: Control characters are shown as what can't be read, like invalid UTF-8.
_CONTROL = dict.fromkeys([*range(0x20), 0x7F], "\ufffd")
_DOTS = bytes(c if 0x20 <= c < 0x7F else ord(".") for c in range(256))
_NS = 10**9


#: Fields that are a time as text: JSON has ns since the epoch in their place. Their text: layout, fraction, zone.
_TIMES: dict[str, tuple[str, str, Callable[[float], time.struct_time]]] = {
    "evt.time": ("%H:%M:%S", ".{:09d}", time.localtime),
    "evt.time.s": ("%H:%M:%S", "", time.localtime),
    "evt.time.iso8601": ("%Y-%m-%dT%H:%M:%S", ".{:09d}+0000", time.gmtime),
    "evt.datetime": ("%Y-%m-%d %H:%M:%S", ".{:09d}", time.localtime),
    "evt.datetime.s": ("%Y-%m-%d %H:%M:%S", "", time.localtime),
    "evt.outputtime": ("%H:%M:%S", ".{:09d}", time.localtime),
}


def clock(field: str, ns: int) -> str:
    """A time, ns since the epoch, as one of the fields that are times shows it."""
    return _second(field, ns // _NS, time.tzname, time.timezone) + _TIMES[field][1].format(ns % _NS)


@functools.lru_cache(maxsize=64)        # alerts come in order of time
def _second(field: str, second: int, *zone: object) -> str:
    layout, _, local = _TIMES[field]
    return time.strftime(layout, local(second))


#: Time since the field was last printed: Falco formats each alert afresh, so that in an alert there never was a last time.
_SINCE_LAST = frozenset({"evt.deltatime", "evt.deltatime.s", "evt.deltatime.ns"})

#: Types whose numbers are printed whatever the format says.
_TIME_TYPES = frozenset({"RELTIME", "ABSTIME"})


def _readable(raw: bytes) -> str:
    readable = raw.decode("utf-8", "replace")
    return readable if readable.isprintable() else readable.translate(_CONTROL)


def _number(info: FieldInfo, value: int) -> Native:
    """A number, or its text where the field is printed to another base; None where the field has no form to print numbers in."""
    if info.format in ("HEX", "OCT"):
        value &= (1 << 8 * (schema.TYPES[info.type].bytes or 8)) - 1
        return f"{value:X}" if info.format == "HEX" else f"{value:o}"
    if info.format == "NA" and info.type not in _TIME_TYPES and info.type != "DYN":
        return None
    return value


def _joined(texts: Iterable[str]) -> str | None:
    """The values of a process's ancestors; blanks only between what is there, None if nothing is."""
    line = ""
    for item in texts:
        line = f"{line} {item}" if line else item
    return line or None


def _address(raw: bytes) -> str:
    return str(IPv4Address(raw)) if len(raw) == 4 else _ipv6(raw)


def _ipv6(raw: bytes) -> str:
    """As inet_ntop writes it: an IPv4 address inside an IPv6 one is dotted."""
    address = IPv6Address(raw)
    if raw[:10] == bytes(10) and raw[10:12] == b"\xff\xff":
        return f"::ffff:{IPv4Address(raw[12:])}"
    if raw[:12] == bytes(12) and raw[12:14] != bytes(2):
        return f"::{IPv4Address(raw[12:])}"
    return str(address)


def _bytes_of_kind(info: FieldInfo, raw: bytes) -> Native:
    if info.kind == "str":
        return _readable(raw)
    if info.kind == "ip":
        return _address(raw)
    if info.kind == "net":
        return "<IPNET>"
    return raw.translate(_DOTS).decode("ascii")


def native(info: FieldInfo, raw: Raw, event_time: int) -> Native:
    """What alert.fields and an alert's JSON hold for a field.

    info: the field; raw: what the core gave; event_time: the event's, ns since the epoch. Numbers stay numbers, unless the field is printed
    in hexadecimal or octal digits; texts are Unicode, with U+FFFD for what isn't and for control characters; times are ns since the epoch.
    """
    if info.name in _TIMES:
        return event_time
    if info.name in _SINCE_LAST:
        return 0
    if raw is None or "EITHER" in info.flags:
        return None
    if isinstance(raw, list):
        items = [native(info, item, event_time) for item in raw]
        return items if "LIST" in info.flags else _joined(text(info, item) for item in items)
    if isinstance(raw, bool | float):
        return raw
    if isinstance(raw, int):
        return _number(info, raw)
    return _bytes_of_kind(info, raw)


def reader(info: FieldInfo, base64: bool = False) -> Callable[[Raw, int], Native]:
    """native() of one field: of what the core gave and the event's time. base64: bytes are told so."""
    if base64 and info.kind == "bytes":
        return lambda raw, event_time: b2a_base64(raw, newline=False).decode() if isinstance(raw, bytes) else native(info, raw, event_time)
    general = functools.partial(native, info)
    if info.kind != "str" or info.name in _TIMES or info.name in _SINCE_LAST or not info.flags.isdisjoint(("LIST", "EITHER")):
        return general
    return lambda raw, event_time: _readable(raw) if isinstance(raw, bytes) else general(raw, event_time)


def text(info: FieldInfo, value: Native) -> str:
    """What an alert's message says for a field, from its native value."""
    if isinstance(value, str):
        return value
    if value is None:
        return NA
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, int):
        if info.name in _TIMES:
            return clock(info.name, value)
        return f"{value:09d}" if info.format == "PADDED" else str(value)
    if isinstance(value, float):
        return f"{value:.1f}"
    return "(" + ",".join(text(info, item) for item in value) + ")"
