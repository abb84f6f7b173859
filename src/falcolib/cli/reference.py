# SPDX-License-Identifier: Apache-2.0
"""docs/fields.md and docs/events.md, made of the tables: ``make docs`` writes them, a test holds that they are up to date.

    python -m falcolib.cli.reference docs
"""

from __future__ import annotations

import re
import sys
from collections.abc import Iterable
from pathlib import Path

from .. import schema
from ..rules.ast import OPS
from ..rules.check import OPERATORS
from ..schema import EventInfo, FieldInfo, ParamInfo
from .catalogue import generic_calls, group_of, listed, sources_of

_MADE = "<!-- Made from csrc/schema by `make docs`: a change here is lost. -->"

#: Kinds of values for people, and their family of operators.
KINDS = {
    "str": ("text", "string"), "i64": ("integer", "numeric"), "u64": ("natural number", "numeric"), "f64": ("decimal number", "numeric"),
    "bool": ("`true` or `false`", "bool"), "bytes": ("bytes", "buffer"), "ip": ("IP address", "ip address and network"),
    "net": ("IP address in a network", "ip address and network"),
}
_ARGUMENTS = {"DOTTED": ".NAME", "INDEX": "[N]", "KEY": "[NAME]"}

#: Conditions with fields of each class; a test holds that they are valid.
EXAMPLES = {
    "EVT_GENERIC": "evt.source = syscall and evt.num > 1000",
    "EVT_SYSCALL": "evt.type in (open, openat, openat2) and evt.is_open_write = true and evt.arg.flags contains O_TRUNC",
    "PROCESS": "proc.name in (sh, bash) and proc.aname in (nginx, httpd) and proc.args contains \"-c\"",
    "USER": "user.name = root and user.loginuid != 0",
    "GROUP": "group.name = docker",
    "FD": "fd.type in (ipv4, ipv6) and fd.sport in (22, 3389) and not fd.snet in (\"10.0.0.0/8\")",
    "FS_PATH": "evt.type in (unlink, unlinkat) and fs.path.name startswith /var/log/",
    "FDLIST": "evt.type = poll and fdlist.names contains /dev/tty",
    "CONTAINER": "container.id != host and container.image.repository = docker.io/library/nginx",
    "KA": "ka.verb = create and ka.target.resource = clusterrolebindings and ka.user.name startswith system:",
    "JSON": "json.value[/user/username] = admin",
}
#: Types of parameters that names alone don't tell.
PARAMETERS = {
    "ERRNO": "result of the call; negative: the error, printed by its name (`EACCES`)",
    "FD": "file descriptor; printed with what it stands for: `<f>/etc/passwd`",
    "PID": "process id; printed with the process's name",
    "FSPATH": "path; a relative one is joined to the working directory where it is printed",
    "FSRELPATH": "path relative to the directory that another parameter names",
    "SOCKADDR": "address of a socket",
    "SOCKTUPLE": "both ends of a connection",
    "BYTEBUF": "bytes that were read or written, the first 80 of them",
    "CHARBUFARRAY": "texts",
    "FDLIST": "descriptors and what is waited for",
    "MODE": "permissions, octal",
    "SIGTYPE": "signal, printed by its name",
    "SYSCALLID": "number of a system call, printed by its name",
    "UID": "user id",
    "GID": "group id",
    "RELTIME": "a span of time, ns",
    "ABSTIME": "a time, ns since the epoch",
    "SIGSET": "set of signals",
    "DYN": "one of several types, by another parameter",
}


# ---- fields ------------------------------------------------------------------------------------------------------------------------------


def fields_page() -> str:
    """docs/fields.md."""
    classes = [(name, [f for f in schema.FIELDS if f.field_class == name and listed(f)]) for name in schema.CLASSES]
    classes = [(name, fields) for name, fields in classes if fields]
    count = sum(len(fields) for _, fields in classes)
    parts = [
        _MADE, "# Fields",
        f"The {count} fields that conditions can test and outputs print: `proc.name = sh` in a condition, `%proc.name` in an output. "
        "`falcolib fields` lists them in the terminal, with `--format json` for programs.",
        "A field is **absent** where an event doesn't have it: a file has no port. Every test of an absent field is false, also `!=`; "
        "`exists` tells whether there is a value; outputs print `<NA>`, and JSON and `alert.fields` have null and None.",
        "An argument stands in brackets or behind a dot: `proc.aname[2]`, `evt.arg.flags`, `proc.env[HOME]`. With *any*, a test holds if "
        "it does for any of the values; with *either end*, for one of the ends of a connection (`!=`: for both). Those marked *test only* "
        "can't be printed.",
        _table(("Kind of value", "Operators"), ((name, _operators(family)) for name, family in KINDS.values())),
        "\n".join(f"* [{_title(name)}](#{_anchor(_title(name))}): {schema.CLASSES[name].description}" for name, _ in classes),
        *(_class(name, fields) for name, fields in classes),
    ]
    return "\n\n".join(parts) + "\n"


def _operators(family: str) -> str:
    return " ".join(f"`{op}`" for op in OPS if op in OPERATORS[family])


def _title(name: str) -> str:
    heading = schema.CLASSES[name].heading
    several = [n for n in schema.CLASSES if schema.CLASSES[n].heading == heading]
    if len(several) == 1:
        return heading
    return f"{heading}, {'any source' if several.index(name) == 0 else 'system calls'}"


def _anchor(title: str) -> str:
    return re.sub(r"[^\w -]", "", title.lower()).replace(" ", "-")


def _class(name: str, fields: list[FieldInfo]) -> str:
    info = schema.CLASSES[name]
    parts = [f"## {_title(name)}", f"{info.description}. Sources of events: {', '.join(f'`{s}`' for s in sources_of(name)) or 'all'}."]
    if name in EXAMPLES:
        parts.append(f"```\n{EXAMPLES[name]}\n```")
    rows = ((_written(f), _kind(f), f"{_escaped(f.description)}{_notes(f)}") for f in fields)
    parts.append(_table(("Field", "Value", "What it is"), rows))
    return "\n\n".join(parts)


def _written(field: FieldInfo) -> str:
    """The field as it is written, with its argument: optional ones are told, too."""
    kinds = [text for kind, text in _ARGUMENTS.items() if kind in field.argument]
    if not kinds:
        return f"`{field.name}`"
    with_ = " ".join(f"`{field.name}{text}`" for text in kinds)
    return with_ if field.argument & {"REQUIRED", "DOTTED"} else f"`{field.name}` {with_}"


def _kind(field: FieldInfo) -> str:
    return ("list of " if "LIST" in field.flags else "") + _plural(KINDS[field.kind][0], "LIST" in field.flags)


def _plural(name: str, many: bool) -> str:
    return {"text": "texts", "integer": "integers", "natural number": "natural numbers", "IP address": "IP addresses"}.get(name, name) \
        if many else name


def _notes(field: FieldInfo) -> str:
    notes = [text for flag, text in (("ANY", "any"), ("EITHER", "either end"), ("FILTER_ONLY", "test only")) if flag in field.flags]
    return f" (*{', '.join(notes)}*)" if notes else ""


# ---- events ------------------------------------------------------------------------------------------------------------------------------


def events_page() -> str:
    """docs/events.md."""
    events = list({(e.name, e.params): e for e in schema.EVENTS if "UNUSED" not in e.flags and schema.seen_by_rules(e)}.values())
    groups = {title: [e for e in events if group_of(e) == title] for title in ("System calls", "Tracepoints", "Meta events")}
    used = {p.table for e in events for p in e.params if p.table}
    types = {p.type for e in events for p in e.params}
    generic = generic_calls()
    parts = [
        _MADE, "# Events",
        f"What `evt.type` can be: {sum(map(len, groups.values()))} types with parameters of their own, and {len(generic)} further system "
        "calls. `falcolib events` lists them in the terminal, `--all` with the old versions that captures may hold.",
        "A system call is one event, when it is over: `evt.arg.res` (or `fd`) is what it returned, `evt.failed` tells whether it failed. "
        "A parameter is `evt.arg.NAME`, or `evt.arg[N]`, from 0; `evt.args` is all of them. Parameters whose values have names are printed "
        "with these, and compared as such: `evt.arg.flags contains O_CREAT`. The names are [below](#names-of-values).",
        _table(("Type of a parameter", "What it is"), ((f"`{t}`", PARAMETERS[t]) for t in sorted(types & set(PARAMETERS)))),
        *(_group(title, members) for title, members in groups.items() if members),
        "## Other system calls",
        "They have no parameters but their number (`evt.arg.ID`), and can be tested by their names:",
        ", ".join(f"`{name}`" for name in generic),
        "## Names of values",
        *(_flags(table) for table in schema.FLAGS if table in used),
    ]
    return "\n\n".join(parts) + "\n"


def _group(title: str, events: Iterable[EventInfo]) -> str:
    rows = ((f"`{e.name}`", e.category_name.lower().replace("_", " "), ", ".join(map(_param, e.params))) for e in
            sorted(events, key=lambda e: (e.name == "syscall", e.name)))
    return f"## {title}\n\n" + _table(("Event", "Category", "Parameters"), rows)


def _param(param: ParamInfo) -> str:
    names = f" [{param.table}](#{param.table})" if param.table in schema.FLAGS else ""
    return f"`{param.name}` {param.type}{names}"


def _flags(table: str) -> str:
    return f"### {table}\n\n" + ", ".join(f"`{name}` {value:#x}" for name, value in schema.FLAGS[table])


# ---- both --------------------------------------------------------------------------------------------------------------------------------


def _escaped(text: str) -> str:
    return text.replace("|", "\\|")


def _table(heads: Iterable[str], rows: Iterable[Iterable[str]]) -> str:
    heads = tuple(heads)
    return "\n".join([f"| {' | '.join(heads)} |", "|" + "---|" * len(heads), *(f"| {' | '.join(row)} |" for row in rows)])


PAGES = {"fields.md": fields_page, "events.md": events_page}

if __name__ == "__main__":
    for name, page in PAGES.items():
        (Path(sys.argv[1]) / name).write_text(page())
