# SPDX-License-Identifier: Apache-2.0
"""``falcolib fields`` and ``falcolib events``: what conditions and outputs can name."""

from __future__ import annotations

import json
import shutil
import textwrap
from collections.abc import Iterable
from typing import Literal

import click

from .. import schema
from ..schema import EventInfo, FieldInfo

Format = Literal["text", "markdown", "json"]
FORMATS = ("text", "markdown", "json")

#: Type names that Falco's list spells differently.
_TYPE_NAMES = {"DYN": "DYNAMIC"}
#: Classes of fields that in Falco are plugins'.
_OF_PLUGINS = frozenset({"CONTAINER", "KA", "JSON"})
#: How an argument is written, by its kind.
_ARGUMENTS = {"DOTTED": ".NAME", "INDEX": "[N]", "KEY": "[NAME]"}

# ---- fields ------------------------------------------------------------------------------------------------------------------------


def list_fields(format_: Format = "text", *, names_only: bool = False, source: str | None = None, width: int = 100) -> str:
    """The fields that conditions and outputs can name, as text, Markdown or JSON, without those that are hidden or deprecated.

    The JSON has the shape of ``falco --list --format json``. ``source`` keeps the fields of one event source; ValueError if it is
    unknown. ``width`` is the terminal's, in columns.
    """
    if source is not None and source not in schema.sources():
        raise ValueError(f"unknown event source {source!r}: there is {', '.join(schema.sources())}")
    names = [name for name in schema.CLASSES if source is None or name in schema.classes_of(source)]
    classes = [(name, [f for f in schema.FIELDS if f.field_class == name and listed(f)]) for name in names]
    classes = [(name, fields) for name, fields in classes if fields]
    if names_only:
        return _names(format_, [f.name for _, fields in classes for f in fields])
    if format_ == "json":
        return _json({"fieldclasses": [_class_as_json(name, fields) for name, fields in classes]})
    if format_ == "markdown":
        return "\n\n".join(_class_as_markdown(name, fields) for name, fields in classes)
    return "\n\n".join(_class_as_text(name, fields, width) for name, fields in classes)


def listed(field: FieldInfo) -> bool:
    """Whether users are told of a field."""
    return not field.flags & {"HIDDEN", "DEPRECATED", "PRINT_ONLY"}


def _names(format_: Format, names: list[str]) -> str:
    if format_ == "json":
        return _json({"fieldnames": names})
    return "\n".join(f"- `{name}`" if format_ == "markdown" else name for name in names)


def _class_as_json(name: str, fields: list[FieldInfo]) -> dict[str, object]:
    info = schema.CLASSES[name]
    return {"name": info.heading, "desc": info.description, "event_sources": sources_of(name), "fields": [
        {"name": f.name, "type": _TYPE_NAMES.get(f.type, f.type), "desc": f.description, "is_list": "LIST" in f.flags,
         "argument": _argument_as_json(f)} for f in fields]}


def sources_of(class_: str) -> list[str]:
    """The event sources whose events have the fields of a class."""
    return [source for source in schema.sources() if class_ in schema.classes_of(source)]


def _argument_as_json(field: FieldInfo) -> dict[str, object] | None:
    """As Falco tells it: kinds of arguments of plugins' fields only, and a dotted argument as required."""
    if not field.argument:
        return None
    kinds = sorted(field.argument & {"INDEX", "KEY"}) if field.field_class in _OF_PLUGINS else []
    return {"required": bool(field.argument & {"REQUIRED", "DOTTED"}), "type": kinds}


def _class_as_markdown(name: str, fields: list[FieldInfo]) -> str:
    info = schema.CLASSES[name]
    rows = [f"| `{f.name}` | {_type(f)} | {_description(f).replace('|', chr(92) + '|')} |" for f in fields]
    return "\n".join([f"## {info.heading}", "", f"{info.description}.", "", "| Name | Type | Description |", "|---|---|---|", *rows])


def _class_as_text(name: str, fields: list[FieldInfo], width: int) -> str:
    info = schema.CLASSES[name]
    names, types = (max(map(len, column)) for column in ([f.name for f in fields], [_type(f) for f in fields]))
    indent = " " * (2 + names + 2 + types + 2)
    rows = [textwrap.fill(_description(f), max(width, len(indent) + 30), initial_indent=f"  {f.name:{names}}  {_type(f):{types}}  ",
                          subsequent_indent=indent, break_long_words=False) for f in fields]
    return "\n".join([textwrap.fill(f"{info.heading}: {info.description}.", max(width, 40)), "", *rows])


def _type(field: FieldInfo) -> str:
    return _TYPE_NAMES.get(field.type, field.type) + (" list" if "LIST" in field.flags else "")


def _description(field: FieldInfo) -> str:
    kinds = [text for kind, text in _ARGUMENTS.items() if kind in field.argument]
    if not kinds:
        return field.description
    needed = "required" if "REQUIRED" in field.argument else "optional"
    return f"{field.description} (argument, {needed}: {' or '.join(kinds)})"


# ---- events ------------------------------------------------------------------------------------------------------------------------


def list_events(format_: Format = "text", *, all_versions: bool = False, width: int = 100) -> str:
    """The events with their parameters, as text, Markdown or JSON, grouped into system calls, tracepoints and meta events.

    These are the events that rules see. With ``all_versions`` also the enter events and old versions that captures may hold, and what
    only fills tables, each with its direction: ``>`` enter, ``<`` exit. ``width`` is the terminal's, in columns.
    """
    events = [e for e in schema.EVENTS if "UNUSED" not in e.flags]
    if not all_versions:
        events = list({(e.name, e.params): e for e in events if schema.seen_by_rules(e)}.values())     # drop has two, both alike
    groups = [(title, [e for e in events if group_of(e) == title]) for title in _GROUPS]
    groups = [(title, members) for title, members in groups if members]
    if format_ == "json":
        return _json({"events": [_event_as_json(e) for e in events], "generic": generic_calls()})
    generic = ", ".join(generic_calls())
    if format_ == "markdown":
        sections = [_group_as_markdown(title, members, all_versions) for title, members in groups]
        sections.insert(1, f"## {_GENERIC}\n\n{generic}")
    else:
        sections = [_group_as_text(title, members, all_versions, width) for title, members in groups]
        sections.insert(1, f"{_GENERIC}\n\n" + textwrap.fill(generic, max(width, 40), initial_indent="  ", subsequent_indent="  "))
    return "\n\n".join(sections)


_GROUPS = ("System calls", "Tracepoints", "Meta events", "Iterators")
_GENERIC = "System calls without parameters of their own"


def group_of(event: EventInfo) -> str:
    """The heading under which an event is listed."""
    if "SYSCALL" in event.classes:
        return "System calls"
    return "Tracepoints" if "TRACEPOINT" in event.classes else "Iterators" if "ITER" in event.classes else "Meta events"


def generic_calls() -> list[str]:
    """The system calls of x86_64 and aarch64 that are delivered as generic events."""
    generic = schema.EVENT_IDS["syscall"]
    return sorted(s.name for s in schema.SYSCALLS.values() if s.event in generic and (s.x86_64, s.aarch64) != (None, None))


def ignored_calls() -> list[str]:
    """The events of calls with high volume, by name: Falco's sinsp_ignored set."""
    from ..sources.wanted import ignored_calls

    return sorted({schema.EVENTS[schema.SYSCALLS[id_].event].name for id_ in ignored_calls()})


def _event_as_json(event: EventInfo) -> dict[str, object]:
    return {
        "id": event.id, "code": event.code, "name": event.name, "category": event.category_name, "classes": sorted(event.classes),
        "direction": "exit" if event.is_exit else "enter", "old": "OLD_VERSION" in event.flags,
        "params": [{"name": p.name, "type": p.type, "values": p.table} for p in event.params],
    }


def _signature(event: EventInfo, direction: bool) -> str:
    mark = ("< " if event.is_exit else "> ") if direction else ""
    return f"{mark}{event.name}({', '.join(f'{p.type} {p.name}' for p in event.params)})"


def _group_as_markdown(title: str, events: Iterable[EventInfo], direction: bool) -> str:
    rows = [f"| `{e.name}` | {e.category_name} | {', '.join(f'`{p.name}` {p.type}' for p in e.params)} |" for e in events]
    heads = ["| Name | Category | Parameters |", "|---|---|---|"]
    if direction:
        rows = [f"| {e.id} | {'exit' if e.is_exit else 'enter'} {row}" for e, row in zip(events, rows, strict=True)]
        heads = ["| Id | Direction | Name | Category | Parameters |", "|---|---|---|---|---|"]
    return "\n".join([f"## {title}", "", *heads, *rows])


def _group_as_text(title: str, events: Iterable[EventInfo], direction: bool, width: int) -> str:
    rows = [textwrap.fill(_signature(e, direction), max(width, 40), initial_indent="  ", subsequent_indent="      ") for e in events]
    return "\n".join([title, "", *rows])


def _json(value: object) -> str:
    return json.dumps(value, indent=2)


# ---- the commands ------------------------------------------------------------------------------------------------------------------

_format_option = click.option("--format", "format_", type=click.Choice(FORMATS), default="text", show_default=True)


def _width() -> int:
    return shutil.get_terminal_size((100, 24)).columns


@click.command("fields")
@_format_option
@click.option("-N", "--names-only", is_flag=True, help="Only the names.")
@click.option("--source", metavar="SOURCE", help="Only the fields of an event source.")
def fields_command(format_: Format, names_only: bool, source: str | None) -> None:
    """List the fields that conditions and outputs can name."""
    try:
        click.echo(list_fields(format_, names_only=names_only, source=source, width=_width()))
    except ValueError as e:
        raise click.UsageError(str(e)) from None


@click.command("events")
@_format_option
@click.option("--all", "all_versions", is_flag=True, help="Also enter events and old versions, as captures may hold them.")
def events_command(format_: Format, all_versions: bool) -> None:
    """List the events with their parameters."""
    click.echo(list_events(format_, all_versions=all_versions, width=_width()))
