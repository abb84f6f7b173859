# SPDX-License-Identifier: Apache-2.0
"""How a key of falco.yaml is written down: once, as a field of the Struct of its group.

    class HttpOutput(Group, frozen=True):
        url: Annotated[str, key("Where alerts are sent.")] = ""

The field's default is what a missing key means, its type is the check of what is given, key() tells the rest. The table of all keys, the
reader, the JSON schema and the help are made of this. Annotations are evaluated when the table is first asked for: a run without settings
never does.
"""

from __future__ import annotations

import enum
import types
import typing
from collections.abc import Callable, Iterator, Mapping
from functools import cache
from typing import Any, NamedTuple

import msgspec

#: Nothing was said.
UNSET = msgspec.UNSET


class Group(msgspec.Struct, frozen=True):
    """Keys below a key; or an entry of a list."""

    def __repr__(self) -> str:
        """Secrets are not shown."""
        said = fields(type(self))
        shown = ((name, getattr(self, name)) for name in self.__struct_fields__)
        texts = (f"{name}={hidden(value) if name in said and said[name].key.secret else repr(value)}" for name, value in shown)
        return f"{type(self).__name__}({', '.join(texts)})"


def hidden(value: object) -> object:
    """What is shown in place of a secret."""
    return "***" if value else value


class Key(msgspec.Struct, frozen=True):
    """What key() tells of a key, see there."""

    help: str
    shipped: Any = UNSET
    bare: Any = UNSET
    ge: float | None = None
    le: float | None = None
    unit: int | None = None
    duration: int | None = None
    shape: Callable[[Any], Any] | None = None
    schema: Mapping[str, Any] | None = None
    ours: bool = False
    required: bool = False
    secret: bool = False
    names: str = ""
    check: Callable[[Any], None] | None = None


def key(
    help: str, *, shipped: Any = UNSET, bare: Any = UNSET, ge: float | None = None, le: float | None = None, unit: int | None = None,
    duration: int | None = None, shape: Callable[[Any], Any] | None = None, schema: Mapping[str, Any] | None = None, ours: bool = False,
    required: bool = False, secret: bool = False, names: str = "", check: Callable[[Any], None] | None = None,
) -> Key:
    """What there is to say of a key besides its type and the value that it has where it is missing.

    shipped: its value in the falco.yaml that Falco comes with, in the form of the Struct; default: that of a missing key. bare: its value
    where there is no falco.yaml at all. ge, le: the least and the greatest number, as written. unit: ns of 1, for numbers that are
    durations: the Struct has ns. duration: the key is a text as ``1h30m``, of at least so many ns; the Struct has ns. shape: makes the
    value of plain YAML, where no type tells its form; raises ValueError. schema: the JSON schema of such a value. ours: Falco doesn't have
    it. required: of an entry of a list, the entry makes no sense without. secret: a password or the like, which is never shown.
    names: of a mapping, a pattern that its keys fit. check: of a value of the right type, whether it makes sense; raises ValueError.
    """
    return Key(help, shipped, bare, ge, le, unit, duration, shape, schema, ours, required, secret, names, check)


class Row(NamedTuple):
    """A key in the table: its name as falco.yaml has it (``http_output.url``), its type, what is said of it, its value where missing."""

    name: str
    type: Any
    key: Key
    absent: Any

    @property
    def shipped(self) -> Any:
        return self.absent if self.key.shipped is UNSET else self.key.shipped

    @property
    def bare(self) -> Any:
        return self.absent if self.key.bare is UNSET else self.key.bare


@cache
def fields(group: type[Group]) -> dict[str, Row]:
    """The keys of a group by name; a group's own Key is what its docstring says."""
    hints = typing.get_type_hints(group, include_extras=True)
    found = {}
    for field in msgspec.structs.fields(group):
        type_, said = hints[field.name], None
        if typing.get_origin(type_) is typing.Annotated:
            type_, said = type_.__origin__, next((m for m in type_.__metadata__ if isinstance(m, Key)), None)
        if said is None:
            if not is_group(type_):
                continue                # no key of falco.yaml
            said = Key((type_.__doc__ or "").partition("\n\n")[0])
        absent = field.default if field.default_factory is msgspec.NODEFAULT else field.default_factory()
        found[field.encode_name] = Row(field.encode_name, type_, said, absent)
    return found


def is_group(type_: Any) -> bool:
    """Whether a field's type is that of a group."""
    return isinstance(type_, type) and issubclass(type_, Group)


def rows(group: type[Group], prefix: str = "") -> Iterator[Row]:
    """The table of all keys below a group, without the groups themselves."""
    for name, row in fields(group).items():
        if is_group(row.type):
            yield from rows(row.type, f"{prefix}{name}.")
        else:
            yield row._replace(name=prefix + name)


# ---- JSON schema ----


def json_schema(group: type[Group]) -> dict[str, Any]:
    """The JSON schema of a group's keys."""
    found = fields(group)
    required = [name for name, row in found.items() if row.key.required]
    return {"type": "object", "additionalProperties": False, "properties": {name: _schema(row) for name, row in found.items()},
            **({"required": required} if required else {})}


def _schema(row: Row) -> dict[str, Any]:
    return {"description": row.key.help, **(dict(row.key.schema) if row.key.schema is not None else _of_type(row.type, row.key))}


def _of_type(type_: Any, said: Key) -> dict[str, Any]:
    if is_group(type_):
        return json_schema(type_)
    origin, arguments = typing.get_origin(type_), typing.get_args(type_)
    if origin is tuple:
        return {"type": "array", "items": _of_type(arguments[0], said)}
    if origin in (typing.Union, types.UnionType):
        return {"anyOf": [_of_type(argument, said) for argument in arguments]}
    if origin is typing.Literal:
        return {"type": "string", "enum": list(arguments)}
    if isinstance(type_, type) and issubclass(type_, enum.IntEnum):
        return {"type": "string"}
    if origin is not None and issubclass(origin, Mapping):
        names = {"propertyNames": {"pattern": f"^{said.names}$"}} if said.names else {}
        return {"type": "object", "additionalProperties": {"type": ["string", "number", "boolean"]}, **names}
    if said.duration is not None:
        return {"type": "string"}
    limits = {name: limit for name, limit in (("minimum", said.ge), ("maximum", said.le)) if limit is not None}
    simple = {bool: "boolean", int: "integer", float: "number", str: "string"}
    return {"type": simple[type_], **limits} if type_ in simple else {}
