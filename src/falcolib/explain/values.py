# SPDX-License-Identifier: Apache-2.0
"""What the tests of a condition see of an event: the values that the machine would compare."""

from __future__ import annotations

from collections.abc import Mapping
from ipaddress import ip_address

from .. import core, schema
from ..errors import StaleEventError
from ..evaluate import Get
from ..event import Event
from ..rules.ast import FieldSlot


class Unknown(Exception):
    """A field's value isn't known any more: its event was left behind."""


def getter(event: Event | Mapping[str, object]) -> Get:
    """Gives the values of an event. The function raises Unknown for what an event that was left behind doesn't have."""
    return _event_getter(event) if isinstance(event, Event) else _dict_getter(event)


def _listed(slot: FieldSlot, value: object) -> object:
    if isinstance(value, tuple | set | frozenset):
        value = list(value)
    if value is not None and (slot.is_list or slot.is_any or slot.is_either) and not isinstance(value, list):
        return [value]
    return value


def _dict_getter(event: Mapping[str, object]) -> Get:
    given = {"evt.source": source_of(event), "evt.is_async": False, **event}

    def get(slot: FieldSlot) -> object:
        value = _listed(slot, given.get(str(slot)))
        if value is not None and slot.kind in ("ip", "net"):
            return [_address(v) for v in value] if isinstance(value, list) else _address(value)
        return value

    return get


def _address(value: object) -> object:
    return ip_address(value) if isinstance(value, str) else value


def _event_getter(event: Event) -> Get:
    def get(slot: FieldSlot) -> object:
        try:
            return event.tested(slot)
        except StaleEventError:
            return _left_behind(event, slot)

    return get


def _left_behind(event: Event, slot: FieldSlot) -> object:
    """What is still known of an event that was left behind: what its rule printed, and what the record says, if it is what a test sees."""
    name = str(slot)
    if name == "evt.type":
        return event.type
    if name == "evt.num":
        return event.num
    if name in ("evt.rawtime", "evt.time"):
        return event.time
    try:
        value = event[name]
    except (StaleEventError, KeyError):
        raise Unknown(name) from None
    if slot.is_either or slot.is_any or slot.is_list or not _is_kind(slot.kind, value):
        raise Unknown(name)             # printed otherwise than it is tested
    return value


def _is_kind(kind: str, value: object) -> bool:
    match value:
        case None:
            return True
        case bool():
            return kind == "bool"
        case int():
            return kind in ("i64", "u64")
        case float():
            return kind == "f64"
        case str():
            return kind == "str" and "\ufffd" not in value
        case _:
            return False


def type_ids(event: Event | Mapping[str, object], source: str) -> tuple[int, ...]:
    """The ids of the event types that an event of a source may be of.

    Raises ValueError for an event given as a dict without ``evt.type``, or with one that doesn't exist.
    """
    if source in schema.DOCUMENTS:
        return (schema.DOCUMENTS[source].type,)
    if isinstance(event, Event):
        return (event.type_id,)
    name = event.get("evt.type")
    if not isinstance(name, str):
        raise ValueError('"evt.type" is missing: a dict event names its type, such as "openat"')
    return schema.current_event_ids(name)


def source_of(event: Event | Mapping[str, object]) -> str:
    """The source that an event comes from, as rules name it.

    Raises KeyError if an event given as a dict has what is no field, ValueError if there is no such source.
    """
    if isinstance(event, Event):
        name = event.known("evt.source")
        return name if isinstance(name, str) else "syscall"
    for field in event:
        schema.require_field(field)
    return core.source_of(event)
