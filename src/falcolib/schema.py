# SPDX-License-Identifier: Apache-2.0
"""The schema: events, fields, system calls and flags, read from the tables compiled into the C core (csrc/schema)."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Argument:
    """A field's argument: an index or key in brackets, or a dotted suffix."""

    text: str
    dotted: bool = False

    @property
    def index(self) -> int | None:
        return int(self.text) if self.text.isascii() and self.text.isdigit() else None

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
    argument: frozenset[str]    # REQUIRED INDEX KEY DOTTED
    flags: frozenset[str]       # LIST ANY EITHER NO_RHS NO_TRANSFORMER FILTER_ONLY PRINT_ONLY HIDDEN DEPRECATED SUGGESTED
    field_class: str            # EVT_GENERIC EVT_SYSCALL PROCESS USER GROUP FD FS_PATH UTIL FDLIST CONTAINER
    description: str


@dataclass(frozen=True, slots=True)
class ParamInfo:
    """A parameter of an event. ``table``: its flag table; ``at``: index of the directory descriptor of a relative path; ``source``: where the
    kernel side takes it from."""

    name: str
    type: str
    format: str
    table: str | None
    at: int | None
    source: str


@dataclass(frozen=True, slots=True)
class EventInfo:
    """An event type of events.def."""

    id: int
    code: str                   # OPENAT_2_X
    name: str                   # openat
    category: int
    flags: frozenset[str]       # CREATES_FD … OLD_VERSION UNUSED
    params: tuple[ParamInfo, ...]

    @property
    def is_exit(self) -> bool:
        return self.id % 2 == 1
