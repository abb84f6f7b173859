# SPDX-License-Identifier: Apache-2.0
"""Events: what happened, as rules saw it."""

from __future__ import annotations

import functools
import struct
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, TypeAlias

from . import schema
from .errors import StaleEventError
from .render import Native

if TYPE_CHECKING:
    from .rules.ast import FieldSlot

#: A field's value as Python has it; None where the field is absent.
FieldValue: TypeAlias = Native

_RECORD_HEADER = 26
_LARGE = "LARGE_PAYLOAD"


class Event:
    """An event. ``event["fd.name"]`` is the value of any field; ``event.params`` are the parameters of the system call.

    num: its number in the source, from 1; time: ns since the epoch; type: as evt.type; tid: of the thread; cpu: where it happened.

    Fields are computed from the state of that moment: an event that the source has left behind still has the fields that were asked for
    before (an alert's: those that its rule prints), and all parameters; asking for another raises StaleEventError.
    """

    __slots__ = ("_fetch", "_fields", "_raw", "_record", "_type_id", "cpu", "num", "tid", "time")

    def __init__(
        self,
        *,
        num: int,
        time: int,
        tid: int,
        type_id: int,
        cpu: int,
        record: bytes,
        fields: Mapping[str, FieldValue],
        fetch: Callable[[Event, str], FieldValue] | None = None,
        raw: Callable[[FieldSlot], object] | None = None,
    ) -> None:
        self.num = num
        self.time = time
        self.tid = tid
        self.cpu = cpu
        self._type_id = type_id
        self._record = record
        self._fields = dict(fields)
        self._fetch = fetch
        self._raw = raw

    @property
    def type(self) -> str:
        """The event's name: ``openat``, as evt.type prints it."""
        known = self._fields.get("evt.type")
        if isinstance(known, str):
            return known
        info = schema.EVENTS[self._type_id]
        if info.name != "syscall":
            return info.name
        # old recorders left the id of a call that they didn't know 0, but tell the kernel's number
        number, native = self.params.get("ID"), self.params.get("nativeID")
        calls = schema.SYSCALLS.values()
        return next((s.name for s in calls if (s.id == number if number else s.x86_64 is not None and s.x86_64 == native)), "unknown")

    @property
    def params(self) -> dict[str, int | float | str | bytes | None]:
        """The parameters by name, as the record holds them: numbers, texts, bytes; None where empty. Flags are the schema's numbers."""
        return _decode(self._type_id, self._record)

    def __getitem__(self, name: str) -> FieldValue:
        """The value of a field, by its name with argument (``proc.aname[2]``); None where it is absent.

        Raises KeyError if there is no such field, StaleEventError if the event is no longer current and the field wasn't asked for before.
        """
        if name in self._fields:
            return self._fields[name]
        if self._fetch is None:
            schema.require_field(name)
            raise StaleEventError(f"{name}: the source has moved on from event {self.num}; ask for the field while the event is current, "
                                  "or print it in the rule's output")
        value = self._fields[name] = self._fetch(self, name)
        return value

    def tested(self, slot: FieldSlot) -> object:
        """The value that a test of a field sees, which may be printed otherwise; texts and addresses as bytes, None where it is absent.

        Raises StaleEventError if the event is no longer current.
        """
        if self._raw is None:
            raise StaleEventError(f"{slot}: the source has moved on from event {self.num}")
        return self._raw(slot)

    def known(self, name: str) -> FieldValue:
        """The value of a field, if it can be had: None also where the event was left behind without it."""
        try:
            return self[name]
        except StaleEventError:
            return None

    @property
    def type_id(self) -> int:
        """The event's type: an index of schema.EVENTS."""
        return self._type_id

    def get(self, name: str, default: FieldValue = None) -> FieldValue:
        """As ``event[name]``, with a default for absent values."""
        value = self[name]
        return default if value is None else value

    def _key(self) -> tuple[int, int, int, int, int, bytes]:
        return self.num, self.time, self.tid, self._type_id, self.cpu, self._record

    def __eq__(self, other: object) -> bool:
        """The same record at the same place of a source."""
        return self._key() == other._key() if isinstance(other, Event) else NotImplemented

    def __hash__(self) -> int:
        return hash(self._key())

    def __reduce__(self) -> tuple[Callable[..., Event], tuple[object, ...]]:
        """A copy is an event that was left behind: it has the fields that were asked for."""
        return _restored, (*self._key(), self._fields)

    def __repr__(self) -> str:
        return f"<Event {self.num} {self.type} tid={self.tid}>"


def _restored(num: int, time: int, tid: int, type_id: int, cpu: int, record: bytes, fields: dict[str, FieldValue]) -> Event:
    return Event(num=num, time=time, tid=tid, type_id=type_id, cpu=cpu, record=record, fields=fields)


@functools.lru_cache(maxsize=64)
def _decode(type_id: int, record: bytes) -> dict[str, int | float | str | bytes | None]:
    info = schema.EVENTS[type_id]
    if len(record) < _RECORD_HEADER:
        return {}
    (count,) = struct.unpack_from("<I", record, _RECORD_HEADER - 4)
    width, letter = (4, "I") if _LARGE in info.flags else (2, "H")
    lengths = struct.unpack_from(f"<{count}{letter}", record, _RECORD_HEADER)
    at = _RECORD_HEADER + width * count
    values: dict[str, int | float | str | bytes | None] = {}
    for param, size in zip(info.params, lengths, strict=False):
        raw = record[at : at + size]
        at += size
        values[param.name] = _value(param.type, raw) if raw else None
    return values


def _value(type_: str, raw: bytes) -> int | float | str | bytes:
    info = schema.TYPES[type_]
    if info.bytes and len(raw) >= info.bytes:
        if info.kind in ("i64", "u64", "bool"):
            return int.from_bytes(raw[: info.bytes], "little", signed=info.kind == "i64")
        if info.kind == "f64":
            value: float = struct.unpack_from("<d", raw)[0]
            return value
    if info.kind == "str":
        return raw.split(b"\0", 1)[0].decode("utf-8", "replace")
    return raw
