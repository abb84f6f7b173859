# SPDX-License-Identifier: Apache-2.0
"""The schema: events, fields, system calls and flags, read from the tables compiled into the C core (csrc/schema).

Attributes, each made when it is first asked for (docs/schema.md tells how the tables work):

* ``EVENTS``: tuple of EventInfo, by id
* ``EVENT_IDS``: dict from the name that evt.type shows to the ids of all events of that name: enter and exit, old and new. A system
  call without an event of its own stands for the GENERIC events.
* ``FIELDS``: tuple of FieldInfo, by id, in the order of lookup
* ``SYSCALLS``: dict of SyscallInfo, by portable id
* ``FLAGS``: dict from the name of a flag table to its names and values, in the order in which they are printed
* ``TYPES``: dict of TypeInfo, by name
* ``KINDS``: dict from the kinds of values in the VM (i64, str, list) to their numbers
* ``FIELD_FLAGS``: dict from the names in FieldInfo.flags to their bits
* ``CLASSES``: dict of ClassInfo, by FieldInfo.field_class
* ``DOCUMENTS``: dict of DocumentInfo, by name: the sources of events that are JSON documents
* ``CATEGORIES``: dict from the name of an event category (FILE, IO_READ) or class (SYSCALL, TRACEPOINT) to its number
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, replace
from functools import cache
from typing import Any

from ._native import ffi, lib
from ._remember import remembering
from .errors import FalcolibError

EVENTS: tuple[EventInfo, ...]
#: The names that asynchronous events carry: those of Falco's container plugin, whose work we do.
ASYNC_NAMES = frozenset({"container", "container_removed"})

EVENT_IDS: dict[str, frozenset[int]]
FIELDS: tuple[FieldInfo, ...]
SYSCALLS: dict[int, SyscallInfo]
FLAGS: dict[str, tuple[tuple[str, int], ...]]
TYPES: dict[str, TypeInfo]
KINDS: dict[str, int]
FIELD_FLAGS: dict[str, int]
CLASSES: dict[str, ClassInfo]
DOCUMENTS: dict[str, DocumentInfo]
CATEGORIES: dict[str, int]


class FieldError(FalcolibError, KeyError):
    """A text that names no field. ``unknown``: there is no field of that name; else the name is right and its argument wrong."""

    def __init__(self, text: str, *, unknown: bool) -> None:
        super().__init__(text)
        self.unknown = unknown

    def __str__(self) -> str:
        return str(self.args[0])            # KeyError would show it quoted


@dataclass(frozen=True, slots=True)
class Argument:
    """A field's argument: an index or key in brackets, or a dotted suffix."""

    text: str
    dotted: bool = False

    @property
    def index(self) -> int | None:
        """The argument as a number below 2**63; None if it is none."""
        if not (self.text.isascii() and self.text.isdigit()):
            return None
        digits = self.text.lstrip("0") or "0"
        number = int(digits) if len(digits) < 20 else 1 << 63       # int() refuses texts of thousands of digits
        return number if number < 1 << 63 else None

    def __str__(self) -> str:
        return f".{self.text}" if self.dotted else f"[{self.text}]"


@dataclass(frozen=True, slots=True)
class FieldInfo:
    """A field of fields.def. ``kind`` is what its values are in the VM: bool i64 u64 f64 str bytes ip net."""

    id: int
    name: str
    type: str                   # CHARBUF, UINT64, …
    kind: str
    format: str                 # NA DEC HEX PADDED ID DIR OCT
    argument: frozenset[str]    # REQUIRED INDEX KEY DOTTED EMPTY
    flags: frozenset[str]       # LIST ANY EITHER NO_RHS NO_TRANSFORMER FILTER_ONLY PRINT_ONLY HIDDEN DEPRECATED SUGGESTED OWN
    field_class: str            # EVT_GENERIC EVT_SYSCALL PROCESS USER GROUP FD FS_PATH UTIL FDLIST CONTAINER KA JSON
    description: str
    in_body: bool = False       # in a part of its document that is looked into only when a field in it is asked for

    def printed(self, argument: Argument | None) -> Argument | None:
        """The argument with which the field is extracted where it is printed, not tested."""
        return Argument("0") if argument is None and "OWN" in self.flags else argument


@dataclass(frozen=True, slots=True)
class ParamInfo:
    """A parameter of an event. ``table``: its flag table; ``at``: index of the directory descriptor of a relative path; ``source``:
    where the kernel side takes it from, as events.def writes it."""

    name: str
    type: str
    format: str
    table: str | None
    at: int | None
    source: str                 # NONE RET ARG(1) STR(0) CONV(open_flags, 1) FILLER(dev) AT_ENTRY(STR(0))


@dataclass(frozen=True, slots=True)
class EventInfo:
    """An event type of events.def."""

    id: int
    code: str                   # OPENAT_2_X
    name: str                   # openat
    category: int
    flags: frozenset[str]       # CREATES_FD … OLD_VERSION UNUSED
    params: tuple[ParamInfo, ...]
    seen: bool                  # whether rules see it, if a source delivers it

    @property
    def is_current(self) -> bool:
        """Whether it is of the newest schema: sources deliver no other."""
        return not self.flags & {"OLD_VERSION", "UNUSED"}

    @property
    def is_exit(self) -> bool:
        """Whether it tells of the end of a call, and not of its begin."""
        return self.id % 2 == 1

    @property
    def category_name(self) -> str:
        """FILE, NET, IO_READ, …"""
        return _categories()[1][self.category & _category_mask()]

    @property
    def classes(self) -> frozenset[str]:
        """SYSCALL, TRACEPOINT, METAEVENT, …"""
        return _classes_of(self.category & ~_category_mask())


@dataclass(frozen=True, slots=True)
class TypeInfo:
    """A type of types.def. ``kind``: what its values are in the VM; ``bytes``: the least length of a present value, 0 where it varies."""

    name: str
    kind: str
    bytes: int


@dataclass(frozen=True, slots=True)
class SyscallInfo:
    """A system call (or a tracepoint, which share the numbering) of syscalls.def. ``x86_64``, ``aarch64``: the kernel's numbers;
    ``event``: id of the event that it is delivered as; ``keep``: what sampling does with it.
    """

    id: int
    name: str
    x86_64: int | None          # None where there is none
    aarch64: int | None
    event: int
    keep: str                   # NEVER_DROP ALWAYS_DROP MAY_DROP


@dataclass(frozen=True, slots=True)
class DocumentInfo:
    """A source of events that are JSON documents (documents.def). ``plugin``: Falco's; ``field_class``: that of its own fields; ``type``:
    the number that stands for it among the event types of a program."""

    id: int
    name: str
    plugin: str
    field_class: str
    type: int


@dataclass(frozen=True, slots=True)
class ClassInfo:
    """A class of fields: what stands above it in a list of fields."""

    name: str
    heading: str
    description: str


# ---- rows of the core ------------------------------------------------------------------------------------------------------------


@cache
def _text(pointer: Any) -> str:
    return str(ffi.string(pointer).decode())


def _rows(kind: str, count: int, read: Any) -> Iterator[Any]:
    """The rows that ``read`` answers for the numbers below ``count``; numbers without a row are left out. One struct, refilled."""
    row = ffi.new(f"{kind} *")
    return (row for i in range(count) if read(i, row) == 0)


@cache
def _words(kind: str) -> tuple[tuple[str, int], ...]:
    """The words of a kind in words.def with their numbers."""
    rows = _rows("fl_word_row", lib.fl_schema_words(), lib.fl_schema_word)
    return tuple((_text(row.name), row.value) for row in rows if _text(row.kind) == kind)


@cache
def state_calls() -> frozenset[int]:
    """Portable ids of the calls that change what is known of processes and descriptors: always traced (source: spec, engine.md F5)."""
    return frozenset(number for _, number in _words("STATE_CALL"))


@cache
def least_calls() -> frozenset[int]:
    """Portable ids of the calls without which processes aren't known (source: spec, engine.md I2)."""
    return frozenset(number for _, number in _words("LEAST_CALL"))


@cache
def guarded_calls() -> frozenset[int]:
    """Portable ids of the calls whose path or address is taken when they begin, as another thread can change it before they end."""
    return frozenset(call.id for call in _syscalls().values()
                     if any(param.source.startswith("AT_ENTRY(") for param in _events()[call.event].params))


@cache
def loss_groups() -> dict[str, frozenset[int]]:
    """The groups of calls of which Falco counts losses apart (source: spec, engine.md D6), with the ids of their events."""
    groups: dict[str, set[int]] = {}
    for group, call in _words("LOSSES"):
        groups.setdefault(group, set()).add(_syscalls()[call].event)
    return {group: frozenset(events) for group, events in groups.items()}


@cache
def opens_with(param: str) -> frozenset[int]:
    """The ids of the events that have open(2)'s parameter ``flags``, or ``mode`` (source: spec, engine.md E4)."""
    return frozenset(number for _, number in _words(f"OPEN_{param.upper()}"))


@cache
def _bits(kind: str, value: int) -> frozenset[str]:
    return frozenset(name for name, bit in _words(kind) if value & bit)


@cache
def _categories() -> tuple[dict[str, int], dict[int, str]]:
    proper = dict(_words("CATEGORY"))
    return proper | dict(_words("CATEGORY_CLASS")), {number: name for name, number in proper.items()}


@cache
def _category_mask() -> int:
    """The low bits of EventInfo.category, which hold the category proper; the rest are classes."""
    return min(bit for _, bit in _words("CATEGORY_CLASS")) - 1


def _classes_of(category: int) -> frozenset[str]:
    return _bits("CATEGORY_CLASS", category)


@cache
def _types() -> dict[str, TypeInfo]:
    rows = _rows("fl_type_row", lib.fl_schema_types(), lib.fl_schema_type)
    return {_text(row.name): TypeInfo(_text(row.name), _text(row.kind).lower(), row.bytes) for row in rows}


# ---- the tables ------------------------------------------------------------------------------------------------------------------


@cache
def _fields() -> tuple[FieldInfo, ...]:
    types = _types()
    return tuple(
        FieldInfo(i, _text(row.name), _text(row.type), types[_text(row.type)].kind, _text(row.format),
                  _bits("FIELD_ARGUMENT", row.argument), _bits("FIELD_FLAG", row.flags), _text(row.class_), _text(row.description),
                  bool(row.in_body))
        for i, row in enumerate(_rows("fl_field_row", lib.fl_schema_fields(), lib.fl_schema_field)))


@cache
def _events() -> tuple[EventInfo, ...]:
    return tuple(
        EventInfo(row.id, _text(row.code), _text(row.name), row.category, _bits("EVENT_FLAG", row.flags),
                  _params(row.id, row.nparams), bool(row.seen))
        for row in _rows("fl_event_row", lib.fl_schema_events(), lib.fl_schema_event))


def _params(event: int, count: int) -> tuple[ParamInfo, ...]:
    return tuple(
        _param(row.name, row.type, row.format, row.table, row.at, row.source)
        for row in _rows("fl_param_row", count, lambda i, row: lib.fl_schema_param(event, i, row)))


@cache
def _param(name: Any, type_: Any, format_: Any, table: Any, at: int, source: Any) -> ParamInfo:
    """Equal rows are one object: most parameters stand in several events."""
    return ParamInfo(_text(name), _text(type_), _text(format_), _text(table) if table else None, at if at >= 0 else None,
                     _text(source))


@cache
def _event_ids() -> dict[str, frozenset[int]]:
    ids: dict[str, list[int]] = {}
    for row in _rows("fl_event_row", lib.fl_schema_events(), lib.fl_schema_event):
        ids.setdefault(_text(row.name), []).append(row.id)
    generic = ids["syscall"]
    for row in _rows("fl_syscall_row", lib.fl_schema_syscalls(), lib.fl_schema_syscall):
        ids.setdefault(_text(row.name), generic)
    for name in ASYNC_NAMES:
        ids.setdefault(name, []).extend(ids["asyncevent"])
    return {name: frozenset(numbers) for name, numbers in ids.items()}


@cache
def _syscalls() -> dict[int, SyscallInfo]:
    return {
        row.id: SyscallInfo(row.id, _text(row.name), row.x86_64 if row.x86_64 >= 0 else None,
                            row.aarch64 if row.aarch64 >= 0 else None, row.event, _text(row.keep))
        for row in _rows("fl_syscall_row", lib.fl_schema_syscalls(), lib.fl_schema_syscall)}


@cache
def _flags() -> dict[str, tuple[tuple[str, int], ...]]:
    count, value, name = ffi.new("unsigned *"), ffi.new("uint32_t *"), ffi.new("char **")
    tables = {}
    for table in range(lib.fl_schema_tables()):
        title = lib.fl_schema_table(table, count)
        entries = []
        for entry in range(count[0]):
            lib.fl_schema_flag(table, entry, name, value)
            entries.append((_text(name[0]), int(value[0])))
        if title:
            tables[_text(title)] = tuple(entries)
    return tables


@cache
def _classes() -> dict[str, ClassInfo]:
    rows = _rows("fl_class_row", lib.fl_schema_classes(), lib.fl_schema_class)
    return {_text(row.name): ClassInfo(_text(row.name), _text(row.heading), _text(row.description)) for row in rows}


@cache
def _documents() -> dict[str, DocumentInfo]:
    rows = enumerate(_rows("fl_document_row", lib.fl_schema_documents(), lib.fl_schema_document))
    return {_text(row.name): DocumentInfo(i, _text(row.name), _text(row.plugin), _text(row.class_), row.type) for i, row in rows}


@cache
def _document_classes() -> frozenset[str]:
    return frozenset(info.field_class for info in _documents().values())


@cache
def sources() -> tuple[str, ...]:
    """The names of all sources of events."""
    return ("syscall", *_documents())


@cache
def classes_of(source: str) -> frozenset[str]:
    """The classes of fields that events of a source have.

    Raises KeyError if there is no such source.
    """
    if source == "syscall":
        return frozenset(_classes()) - _document_classes() - {"JSON"}
    return frozenset(("EVT_GENERIC", "JSON", _documents()[source].field_class))


def source_with(field: FieldInfo) -> str:
    """The first source whose events have a field."""
    return next(source for source in sources() if field.field_class in classes_of(source))


_TABLES: dict[str, Callable[[], Any]] = {
    "DOCUMENTS": _documents,
    "EVENTS": _events, "EVENT_IDS": _event_ids, "FIELDS": _fields, "SYSCALLS": _syscalls, "FLAGS": _flags, "CLASSES": _classes,
    "CATEGORIES": lambda: _categories()[0], "TYPES": _types, "KINDS": lambda: {name.lower(): n for name, n in _words("KIND")},
    "FIELD_FLAGS": lambda: dict(_words("FIELD_FLAG")),
}


def __getattr__(name: str) -> Any:
    """Makes a table when it is first asked for: most programs need few of them, and start-up counts."""
    if name not in _TABLES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return globals().setdefault(name, _TABLES[name]())


def hashes() -> tuple[int, int]:
    """Hashes of the tables compiled in: of events, flags and system calls (a probe's must be equal), and of fields and opcodes (a
    compiled program's must be equal)."""
    return int(lib.fl_schema_hash_events()), int(lib.fl_schema_hash_fields())


@cache
def current_event_ids(name: str) -> tuple[int, ...]:
    """The ids of the events of a name that rules see (seen_by_rules).

    Raises ValueError if no event has that name; its text proposes the nearest one.
    """
    if name not in _event_ids():
        near = nearest_event(name)
        raise ValueError(f"there is no event {name!r}" + (f"; did you mean {near!r}?" if near else ""))
    return tuple(i for i in sorted(_event_ids()[name]) if seen_by_rules(_events()[i]))


def seen_by_rules(event: EventInfo) -> bool:
    """Whether a source delivers events of a type and rules see them: exits of system calls, tracepoints and meta events."""
    return event.seen and event.is_current


# ---- fields by name --------------------------------------------------------------------------------------------------------------


@cache
def _by_name() -> dict[str, FieldInfo]:
    return {info.name: info for info in _fields()}


@cache
def _dotted() -> tuple[FieldInfo, ...]:
    """Fields with a dotted argument, longest name first."""
    return tuple(sorted((f for f in _fields() if "DOTTED" in f.argument), key=lambda f: -len(f.name)))


@cache
def _params_by_name() -> dict[str, ParamInfo]:
    """The first parameter of each name, in the order of events: what an event's evt.rawarg.NAME is compared as."""
    params: dict[str, ParamInfo] = {}
    for event in _events():
        for param in event.params:
            params.setdefault(param.name, param)
    return params


def find_field(text: str) -> tuple[FieldInfo, Argument | None] | None:
    """The field that a text names, with its argument: ``proc.name``, ``proc.aname[2]``, ``evt.arg.flags``, ``proc.env[HOME]``.

    None if there is no such field, or if its argument is missing or can't be (require_field tells which).

    Names are looked up as Falco does: the longest name of a class, classes in order, and the whole text must be consumed. Of
    ``evt.rawarg.NAME``, type and kind are those of the parameter.
    """
    try:
        return require_field(text)
    except FieldError:
        return None


def takes_empty(name: str) -> bool:
    """Whether the empty text is an argument of the field of this name: ``json.value[]`` is the whole document."""
    info = _by_name().get(name)
    return info is not None and "EMPTY" in info.argument


@remembering(1 << 20)           # an argument is whatever rules and events say
def require_field(text: str) -> tuple[FieldInfo, Argument | None]:
    """As find_field, but raises FieldError, which tells what is wrong and proposes the nearest name."""
    base, bracket, rest = text.partition("[")
    key = rest[:-1] if bracket and rest.endswith("]") else None
    info = _by_name().get(base)
    if bracket and not key and (key is None or info is None or "EMPTY" not in info.argument):
        raise FieldError(f"the argument of field {text!r} is empty or not closed", unknown=False)
    if info is not None:
        return info, _bracket_argument(text, info, key)
    for info in _dotted():
        if base.startswith(info.name + ".") and not bracket:
            return _dotted_argument(text, info, base[len(info.name) + 1:])
    raise _unknown_field(text)


def _bracket_argument(text: str, info: FieldInfo, key: str | None) -> Argument | None:
    if key is None:
        if "REQUIRED" in info.argument:
            example = ".NAME" if "DOTTED" in info.argument else "[N]" if "INDEX" in info.argument else "[NAME]"
            raise FieldError(f"field {info.name!r} needs an argument: {info.name}{example}", unknown=False)
        return None
    if not info.argument & {"INDEX", "KEY"}:
        raise FieldError(f"field {info.name!r} takes no argument in brackets", unknown=False)
    argument = Argument(key)
    padded = len(key) > 1 and key.startswith("0") and info.field_class in _document_classes()
    if "KEY" not in info.argument and (argument.index is None or padded):
        raise FieldError(f"the argument of field {text!r} must be a number", unknown=False)
    return argument


def _dotted_argument(text: str, info: FieldInfo, suffix: str) -> tuple[FieldInfo, Argument]:
    if info.name in ("evt.arg", "evt.rawarg"):
        known = suffix in _params_by_name()
    elif info.name == "evt.type.is":
        known = suffix in _event_ids()
    elif info.name == "evt.abspath":
        known = suffix in ("src", "dst")
    else:
        known = re.fullmatch(r"\w+", suffix, re.ASCII) is not None
    if not known:
        raise _unknown_field(text)
    if info.type == "DYN":
        param = _params_by_name()[suffix]
        info = replace(info, type=param.type, kind=_types()[param.type].kind, format=param.format)
    return info, Argument(suffix, dotted=True)


def _unknown_field(text: str) -> FieldError:
    near = nearest_field(text)
    return FieldError(f"there is no field {text!r}" + (f"; did you mean {near!r}?" if near else ""), unknown=True)


# ---- the nearest name ------------------------------------------------------------------------------------------------------------


def nearest(name: str, names: Iterable[str]) -> str | None:
    """The name most like a mistyped one; None if none is like it. What is longer than any name is no mistyped one: comparing takes time."""
    if len(name) > 256:
        return None
    from difflib import get_close_matches

    return next(iter(get_close_matches(name, names, n=1, cutoff=0.7)), None)


def nearest_field(text: str) -> str | None:
    """The field most like a mistyped one: ``proc.cmdlien`` is proc.cmdline, ``evt.arg.flag`` is evt.arg.flags."""
    base, bracket, rest = text.partition("[")
    for info in _dotted():
        if info.name in ("evt.arg", "evt.rawarg") and base.startswith(info.name + "."):
            near = nearest(base[len(info.name) + 1:], _params_by_name())
            return f"{info.name}.{near}" if near else None
        if info.name == "evt.type.is" and base.startswith("evt.type.is."):
            near = nearest_event(base[len("evt.type.is."):])
            return f"evt.type.is.{near}" if near else None
    near = nearest(base, (f.name for f in _fields() if not f.flags & {"HIDDEN", "DEPRECATED"}))
    return near + bracket + rest if near and _by_name()[near].argument else near


def nearest_event(name: str) -> str | None:
    """The event type most like a mistyped one."""
    return nearest(name, (n for n in _event_ids() if n != "NA"))
