# SPDX-License-Identifier: Apache-2.0
"""A tree of YAML to the Structs of its keys, with every mistake told by its place and key."""

from __future__ import annotations

import enum
import re
import types
import typing
from collections.abc import Mapping
from typing import Any

import msgspec

from ..schema import nearest
from .keys import Group, Key, Row, fields, hidden, is_group
from .tree import Node, plain_value

_UNITS = {"y": 365 * 86400 * 10**9, "w": 7 * 86400 * 10**9, "d": 86400 * 10**9, "h": 3600 * 10**9, "m": 60 * 10**9, "s": 10**9, "ms": 10**6}
_duration = re.compile("".join(rf"(?:(\d{{1,6}}){unit}(?![a-z]))?" for unit in _UNITS), re.ASCII)
_variable = re.compile(r"(\$?)\$\{([^{}]*)\}")
_whole = re.compile(r"[+-]?\d{1,19}", re.ASCII)
_decimal = re.compile(r"[+-]?(?:\d{1,30}\.?\d{0,30}|\.\d{1,30})(?:[eE][+-]?\d{1,2})?", re.ASCII)

#: Keys that Falco once had: what to use instead.
REMOVED = {
    "grpc": "its server is gone; webserver and http_output are what is left",
    "grpc_output": "use http_output, or another output",
    "engine.gvisor": "gVisor is not a source any more; use engine.kind: modern_ebpf on the host",
    "engine.ebpf": "use engine.modern_ebpf; its probe needs no file",
    "syscall_buf_size_preset": "use engine.modern_ebpf.buf_size_preset",
    "modern_bpf": "use engine.modern_ebpf.cpus_for_each_buffer",
    "syscall_drop_failed_exit": "use engine.modern_ebpf.drop_failed_exit",
    "metadata_download": "metadata of Kubernetes comes with the containers, by the runtimes' sockets",
    "outputs": "alerts aren't limited in number any more; outputs_queue.capacity bounds what waits",
    "syscall_event_drops.max_consecutives": "use syscall_event_timeouts.max_consecutives",
}
#: Values of engine.kind that are gone.
_GONE_KINDS = {"ebpf": "modern_ebpf", "gvisor": "modern_ebpf", "udig": "modern_ebpf"}


class Problem(msgspec.Struct, frozen=True):
    """A mistake: where, of which key, and what."""

    node: Node
    key: str
    text: str
    at: Any = None

    def __str__(self) -> str:
        at = self.at or self.node.at
        return f"{at}: {self.text}" if isinstance(at, str) else f"{at}: {self.key}: {self.text}"


class Reader:
    """Reads groups. What is wrong is in `errors`, what is doubtful, unknown or removed in `warnings`."""

    def __init__(self, environ: Mapping[str, str], root: type[Group]) -> None:
        self._environ = environ
        self._root = root
        self.errors: list[Problem] = []
        self.warnings: list[Problem] = []

    def read(self, tree: Node, base: Group) -> Any:
        """The root group as the tree has it; `base` tells the values of keys that it doesn't have."""
        return self._group(tree, type(base), base, "")

    def expand(self, text: str) -> str:
        """A text with the environment's variables in it: ``${NAME}``; unset ones are empty, ``$${NAME}`` stands for itself."""
        return _variable.sub(lambda m: "${" + m[2] + "}" if m[1] else self._environ.get(m[2], ""), text) if "${" in text else text

    def _group(self, node: Node, group: type[Group], base: Group | None, prefix: str) -> Any:
        if node.is_null:
            return base
        if not isinstance(node.value, dict):
            self.errors.append(Problem(node, prefix.rstrip("."), "expected keys and values below it"))
            return base
        table = fields(group)
        given: dict[str, Any] = {}
        for name, child in node.value.items():
            row = table.get(name)
            if row is None:
                self._unknown(node, name, prefix, list(table))
                continue
            before = row.absent if base is None else getattr(base, name)
            given[name] = self._value(child, row, prefix + name, before)
        if base is not None:
            return msgspec.structs.replace(base, **given)
        missing = [name for name, row in table.items() if row.key.required and not given.get(name) and name not in node.value]
        if missing and table[missing[0]].absent is msgspec.NODEFAULT:
            self.errors.append(Problem(node, prefix + missing[0], f"{missing[0]} is missing"))
            given |= dict.fromkeys(missing, "")
        return group(**given)

    def _unknown(self, node: Node, name: str, prefix: str, siblings: list[str]) -> None:
        assert isinstance(node.value, dict)
        child, key = node.value[name], prefix + name
        cure = REMOVED.get(key)
        if cure:
            self.warnings.append(Problem(child, key, f"this key has been removed: {cure}", node.place_of(name)))
            return
        near = nearest(name, siblings)
        near = prefix + near if near else nearest(key, _names(self._root))
        text = f"unknown key {key!r}" + (f"; did you mean {near!r}?" if near else "")
        (self.errors if isinstance(child.at, str) else self.warnings).append(Problem(child, key, text, node.place_of(name)))

    def _value(self, node: Node, row: Row, key: str, before: Any) -> Any:
        if is_group(row.type):
            return self._group(node, row.type, before, key + ".")
        if node.is_null:
            return before
        try:
            if row.key.shape is not None:
                return row.key.shape(plain_value(node, self.expand))
            problems = len(self.errors)
            value = self._typed(node, row.type, row.key, key)
            if row.key.check is not None and len(self.errors) == problems:
                row.key.check(value)
            return value
        except ValueError as e:
            if key == "engine.kind" and isinstance(node.value, str) and node.value in _GONE_KINDS:
                self.errors.append(Problem(node, key, f"{node.value} has been removed: use {_GONE_KINDS[node.value]}"))
            else:
                self.errors.append(Problem(node, key, str(e)))
            return before

    def _typed(self, node: Node, type_: Any, said: Key, key: str) -> Any:
        """Raises ValueError."""
        origin, arguments = typing.get_origin(type_), typing.get_args(type_)
        if type_ is Any:
            return plain_value(node, self.expand)
        if is_group(type_):
            return self._group(node, type_, None, key + ".")
        if origin is tuple:
            if isinstance(node.value, dict):
                raise ValueError("expected a list")
            entries = node.value if isinstance(node.value, list) else [node]
            return tuple(self._entry(entry, arguments[0], said, f"{key}[{number}]") for number, entry in enumerate(entries))
        if origin in (typing.Union, types.UnionType):
            return self._typed(node, next(a for a in arguments if a is not type(None)), said, key)
        if origin is not typing.Literal and origin is not None and issubclass(origin, Mapping):
            if not isinstance(node.value, dict):
                raise ValueError("expected keys and values below it")
            for name in node.value:
                if said.names and not re.fullmatch(said.names, name):
                    raise ValueError(f"{name!r} can't be a name here: letters, digits, '_' and '-' are allowed")
            return {name: self._entry(child, arguments[1], said, f"{key}.{name}") for name, child in node.value.items()}
        if not isinstance(node.value, str):
            raise ValueError(f"expected {_expected(type_, said)}, not a {'list' if isinstance(node.value, list) else 'mapping'}")
        return scalar(self.expand(node.value), type_, said)

    def _entry(self, node: Node, type_: Any, said: Key, key: str) -> Any:
        try:
            return self._typed(node, type_, said, key)
        except ValueError as e:
            self.errors.append(Problem(node, key, str(e)))
            return None


def _names(root: type[Group]) -> list[str]:
    from .keys import rows

    return [row.name for row in rows(root)]


def without_secrets(value: Any, group: type[Group]) -> Any:
    """Plain YAML of a group, with the secrets hidden."""
    if not isinstance(value, dict):
        return value
    table = fields(group)
    return {name: without_secrets(child, table[name].type) if name in table and is_group(table[name].type)
            else hidden(child) if name in table and table[name].key.secret else child for name, child in value.items()}


# ---- scalars ----


def scalar(text: str, type_: Any, said: Key) -> Any:
    """The value of a text. Raises ValueError, which tells what is expected."""
    if type_ is str:
        return text
    if type_ is bool:
        value = {"true": True, "yes": True, "on": True, "y": True, "false": False, "no": False, "off": False, "n": False}.get(text.lower())
        if value is None:
            raise ValueError("expected true or false")
        return value
    if said.duration is not None:
        return _read_duration(text, said)
    if typing.get_origin(type_) is typing.Literal:
        choices = {choice.lower(): choice for choice in typing.get_args(type_)}
        if text.lower() not in choices:
            raise ValueError(f"expected {_expected(type_, said)}")
        return choices[text.lower()]
    if isinstance(type_, type) and issubclass(type_, enum.IntEnum):
        name = {"INFO": "INFORMATIONAL"}.get(text.upper(), text.upper())
        if name not in type_.__members__:
            raise ValueError(f"expected {_expected(type_, said)}")
        return type_[name]
    if type_ is int:
        if not _whole.fullmatch(text) or not _within(int(text), said):
            raise ValueError(f"expected {_expected(type_, said)}")
        return int(text) * (said.unit or 1)
    if type_ is float:
        if not _decimal.fullmatch(text) or not _within(float(text), said):
            raise ValueError(f"expected {_expected(type_, said)}")
        return float(text)
    raise AssertionError(type_)


def _within(value: float, said: Key) -> bool:
    return (said.ge is None or value >= said.ge) and (said.le is None or value <= said.le)


def _expected(type_: Any, said: Key) -> str:
    """What a scalar must be, in words."""
    if said.duration is not None:
        return "a duration with units, as 1h30m, 15s or 250ms"
    if type_ in (int, float):
        kind = "a whole number" if type_ is int else "a number"
        if said.ge is not None and said.le is not None:
            return f"{kind} from {said.ge} to {said.le}"
        return kind if said.ge is None else f"{kind} of {said.ge} or more"
    if isinstance(type_, type) and issubclass(type_, enum.IntEnum):
        return "one of " + ", ".join(str(value).lower() for value in type_)
    choices: tuple[str, ...] = typing.get_args(type_)
    if choices:
        return (", ".join(choices[:-1]) + " or " if len(choices) > 1 else "") + choices[-1]
    return "true or false" if type_ is bool else "a text"


def _read_duration(text: str, said: Key) -> int:
    """As Prometheus writes them, ``1h30m`` or ``250ms``: ns. Raises ValueError."""
    parts = _duration.fullmatch(text)
    if not text or not parts:
        raise ValueError(f"expected {_expected(int, said)}")
    value = sum(int(count) * ns for count, ns in zip(parts.groups(), _UNITS.values(), strict=True) if count)
    if value < (said.duration or 0):
        raise ValueError(f"expected a duration of at least {(said.duration or 0) // 10**6} ms")
    return value
