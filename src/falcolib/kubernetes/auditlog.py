# SPDX-License-Identifier: Apache-2.0
"""Audit events as people keep them: log files, webhook bodies, lists, YAML. What is bad is told with its place, and costs nothing else.

A stream with a { or [ at the start of one of its first lines is JSON: values one a line, over several lines, or several on a line. Any
other is YAML, of one or several documents. Each value is an Event, an EventList, a List or a JSON array of these. The input is not trusted:
it is read a value at a time, and values, depth and numbers of items have limits.
"""

from __future__ import annotations

import codecs
import itertools
import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any

import msgspec

from .calls import Call

#: Bytes of a value, at most. A webhook body has 12 MiB at most; a list may hold several.
MAX_VALUE = 64 * 1024 * 1024
#: Lists in lists, and items of a YAML document (where aliases can make few bytes into many items).
MAX_NESTING, MAX_YAML_ITEMS = 8, 100_000
#: Versions of audit.k8s.io that events come in. In the oldest one, objectRef.apiVersion holds group and version.
VERSIONS = ("v1", "v1beta1", "v1alpha1")
_GROUP = "audit.k8s.io/"
#: What is behind each text of AuditFile and AuditWebhook.
_END = b"\x1e"
#: Lines, and bytes, that are looked at to tell JSON from YAML: a log may begin in the middle of a line.
_FIRST_LINES, _FIRST_BYTES = 100, 1 << 20


class User(msgspec.Struct):
    """Who made a call."""

    username: str | None = None
    groups: list[str] | None = None


class ObjectRef(msgspec.Struct, rename="camel"):
    """What a call was about."""

    resource: str | None = None
    namespace: str | None = None
    name: str | None = None
    api_group: str | None = None
    api_version: str | None = None
    subresource: str | None = None


class Event(msgspec.Struct, rename={"request_uri": "requestURI", "api_version": "apiVersion", "impersonated_user": "impersonatedUser",
                                    "object_ref": "objectRef"}):
    """The part of an audit event that roles depend on; ``items`` if it is a list of events."""

    kind: str | None = None
    api_version: str | None = None
    verb: str | None = None
    request_uri: str | None = None
    user: User | None = None
    impersonated_user: User | None = None
    object_ref: ObjectRef | None = None
    items: list[msgspec.Raw] | None = None

    @property
    def effective_user(self) -> User:
        """On whose behalf the call was made."""
        return self.impersonated_user or self.user or User()

    def call(self) -> Call:
        """The call, as roles see it. A created object's name isn't known to the authorizer, so it is left out."""
        groups = self.effective_user.groups
        verb = self.verb or ""
        who = None if groups is None else tuple(groups)
        ref = self.object_ref
        if ref is None:
            return Call(verb, who, self.request_uri or "")
        group, version = ref.api_group or "", ref.api_version or ""
        if self.api_version == _GROUP + "v1alpha1":
            group, slash, rest = version.rpartition("/")
            version = rest if slash else version
        return Call(verb, who, self.request_uri or "", True, ref.namespace or "", "" if verb == "create" else ref.name or "",
                    group, version, ref.resource or "", ref.subresource or "")


class BadEvent(Exception):
    """A part of the input that is no audit event."""


_event = msgspec.json.Decoder(Event)
_array = msgspec.json.Decoder(list[msgspec.Raw])


def _each_bad_byte(error: UnicodeError) -> tuple[str, int]:
    assert isinstance(error, UnicodeDecodeError)
    return "\ufffd" * (error.end - error.start), error.end


codecs.register_error("falcolib.each_bad_byte", _each_bad_byte)
#: Brackets and strings of JSON, and the quote of a string that doesn't end on its line.
_TOKEN = re.compile(rb'"(?:[^"\\]|\\.)*"|["{}\[\]]')
#: Brackets around what is read, at most: lists of events have 19, and what roles depend on 2 more.
DEEP = 100
#: Escapes of JSON strings; a half of a surrogate pair is the group.
_ESCAPE = re.compile(rb"\\(?:u[dD][89abAB][0-9a-fA-F]{2}\\u[dD][c-fC-F][0-9a-fA-F]{2}|(u[dD][89a-fA-F][0-9a-fA-F]{2})|.)", re.S)


def _as_go_reads(value: bytes) -> bytes:
    """JSON whose invalid UTF-8 and halves of surrogate pairs are replaced."""
    value = value.decode("utf-8", "falcolib.each_bad_byte").encode()
    return _ESCAPE.sub(lambda m: m.group() if m.group(1) is None else rb"\ufffd", value)


def _shallow(value: bytes) -> bytes:
    """JSON in which what has more than DEEP brackets around it is null. Roles depend on none of that, and few decoders read it."""
    parts: list[bytes] = []
    depth = start = 0
    for match in _TOKEN.finditer(value):
        bracket = match.group()
        if bracket in (b"{", b"["):
            depth += 1
            if depth == DEEP + 1:
                parts += [value[start:match.start()], b"null"]
        elif bracket in (b"}", b"]"):
            if depth == DEEP + 1:
                start = match.end()
            depth -= 1
    return b"".join([*parts, value[start:]]) if depth == 0 else value


def events(value: bytes | memoryview, defaults: Event | None = None, nesting: int = 0) -> Iterator[Event | BadEvent]:
    """The events of a JSON value. A bad one is a BadEvent, in its place.

    ``defaults`` is the list that the value is an item of: items of webhook bodies carry neither kind nor version. Invalid UTF-8 and
    halves of surrogate pairs are replaced, as Go does it.
    """
    if nesting > MAX_NESTING:
        yield BadEvent(f"lists are nested deeper than {MAX_NESTING}")
        return
    try:
        if bytes(value[:64]).lstrip()[:1] == b"[":
            items: list[msgspec.Raw] = _array.decode(value)
            event = None
        else:
            event = _event.decode(value)
            items = event.items or []
    except RecursionError:
        shallow = _shallow(bytes(value))
        if shallow != value:
            yield from events(shallow, defaults, nesting)
        else:
            yield BadEvent("nested too deeply")
        return
    except (msgspec.DecodeError, UnicodeDecodeError) as e:      # msgspec before 0.23 raises the second for invalid UTF-8
        mended = _as_go_reads(bytes(value))
        if mended != value:
            yield from events(mended, defaults, nesting)
        else:
            yield BadEvent(f"not an audit event: {e}" if isinstance(e, msgspec.ValidationError) else f"not JSON: {e}")
        return
    if event is not None:
        if defaults is not None:
            event.kind = event.kind or "Event"
            event.api_version = event.api_version or defaults.api_version
        try:
            if not _is_list(event):
                yield event
                return
        except BadEvent as e:
            yield e
            return
    for item in items:
        yield from events(memoryview(item), event if event is not None and event.kind == "EventList" else defaults, nesting + 1)


def _is_list(event: Event) -> bool:
    """Whether an object is a list. Raises BadEvent if it is neither that nor an event."""
    if event.kind == "List" and event.api_version == "v1":
        return True
    if event.kind not in ("Event", "EventList"):
        raise BadEvent("an object without a kind" if not event.kind else f"a {event.kind}, not an Event, EventList or List")
    version = event.api_version or ""
    if not version.startswith(_GROUP) or version.removeprefix(_GROUP) not in VERSIONS:
        raise BadEvent(f"{event.kind} of version {version!r}; known are {', '.join(_GROUP + v for v in VERSIONS)}")
    return event.kind == "EventList"


# ---- streams -------------------------------------------------------------------------------------------------------------------------


def read(chunks: Iterable[bytes]) -> Iterator[tuple[int, Event | BadEvent]]:
    """The events of a stream, each with the number of the line where its value begins (from 1). Goes on after what is bad."""
    lines = _lines(chunks)
    held: list[tuple[int, bytes | None]] = []
    size, json = 0, False
    for number, line in lines:
        held.append((number, line))
        size += len(line or b"")
        json = line is None or line.removeprefix(codecs.BOM_UTF8)[:1] in (b"{", b"[")
        if json or number >= _FIRST_LINES or size >= _FIRST_BYTES:
            break
    yield from (_json_values if json else _yaml_documents)(itertools.chain(held, lines))


def read_records(chunks: Iterable[bytes]) -> Iterator[tuple[int, Event | BadEvent]]:
    """Like read(), for JSON of which each text has 0x1e behind it: what AuditFile and AuditWebhook deliver."""
    yield from _json_values(_lines(chunk.replace(_END, b"\n" + _END + b"\n") for chunk in chunks))


def _lines(chunks: Iterable[bytes]) -> Iterator[tuple[int, bytes | None]]:
    """Lines with their numbers, from 1, and their line feeds; None for a line that is too long."""
    number, parts, size = 1, list[bytes](), 0
    for chunk in chunks:
        for piece in chunk.splitlines(keepends=True) if b"\r" not in chunk else _split(chunk):
            size += len(piece)
            if size <= MAX_VALUE:
                parts.append(piece)
            else:
                parts.clear()
            if piece.endswith(b"\n"):
                yield number, b"".join(parts) if size <= MAX_VALUE else None
                number, size = number + 1, 0
                parts.clear()
    if size:
        yield number, b"".join(parts) if size <= MAX_VALUE else None


def _split(chunk: bytes) -> list[bytes]:
    pieces = chunk.split(b"\n")
    return [*(piece + b"\n" for piece in pieces[:-1]), *([pieces[-1]] if pieces[-1] else [])]


_TOO_LONG = f"longer than {MAX_VALUE >> 20} MiB"


def _json_values(lines: Iterator[tuple[int, bytes | None]]) -> Iterator[tuple[int, Event | BadEvent]]:
    value = _Value()
    for number, line in lines:
        if line is None:
            yield from value.give_up()
            yield number, BadEvent(_TOO_LONG)
            continue
        text = line.strip() if value.open or number > 1 else line.strip().removeprefix(codecs.BOM_UTF8)
        if text == _END:
            yield from value.give_up()
            continue
        if not text or text == b"---" or (text[:1] == b"#" and not value.open):
            continue
        if value.open and text[:1] == b"{" and not value.expects_value():
            yield from value.give_up()      # a value that was cut off, and the next one
        yield from value.feed(number, text)
    yield from value.give_up()


class _Value:
    """A JSON value that grows line by line until its brackets are closed."""

    def __init__(self) -> None:
        self._lines: list[tuple[int, bytes]] = []
        self._brackets = bytearray()
        self._size = 0

    @property
    def open(self) -> bool:
        return bool(self._lines)

    def expects_value(self) -> bool:
        """Whether an object may come next: after a colon, or as an item of a list."""
        last = self._lines[-1][1][-1:]
        return last == b":" or (self._brackets.endswith(b"[") and last in b"[,")

    def feed(self, number: int, text: bytes) -> Iterator[tuple[int, Event | BadEvent]]:
        """A line. Yields the events of the values that end in it."""
        if not self._lines:
            found = list(events(text))
            if not (len(found) == 1 and isinstance(found[0], BadEvent) and str(found[0]).startswith("not JSON")):
                yield from ((number, event) for event in found)
                return
        start = 0
        for match in _TOKEN.finditer(text):
            token = match.group()
            if token == b'"':               # a string doesn't go on in the next line
                self._take(number, text[start:])
                yield from self.give_up()
                return
            if token in (b"{", b"["):
                if not self._brackets and not self._lines:
                    junk = text[start:match.start()].strip()
                    if junk:
                        yield number, BadEvent(f"not JSON: {_excerpt(junk)}")
                    start = match.start()
                self._brackets += token
            elif token in (b"}", b"]"):
                if not self._brackets.endswith(b"{" if token == b"}" else b"["):
                    self._take(number, text[start:])
                    yield from self.give_up()
                    return
                del self._brackets[-1:]
                if not self._brackets:
                    self._take(number, text[start:match.end()])
                    start = match.end()
                    first = self._lines[0][0]
                    yield from ((first, event) for event in events(b"\n".join(line for _, line in self._lines)))
                    self._clear()
        rest = text[start:].strip()
        if self._brackets:
            self._take(number, rest)
            if self._size > MAX_VALUE:
                yield from self.give_up()
        elif rest:
            yield number, BadEvent(f"not JSON: {_excerpt(rest)}")

    def _take(self, number: int, text: bytes) -> None:
        self._lines.append((number, text))
        self._size += len(text)

    def _clear(self) -> None:
        self._lines.clear()
        self._brackets.clear()
        self._size = 0

    def give_up(self) -> Iterator[tuple[int, Event | BadEvent]]:
        """Ends a value that can't be one: its first line is bad, and events on the lines after it, one a line, still count."""
        lines = self._lines[:]
        self._clear()
        for i, (number, line) in enumerate(lines):
            found = list(events(line)) if i and line[:1] == b"{" else []
            if i == 0:
                yield number, BadEvent(f"not JSON: {_excerpt(line)}" if len(lines) == 1 else f"JSON that doesn't end: {_excerpt(line)}")
            elif found and not isinstance(found[0], BadEvent):
                yield from ((number, event) for event in found)


def _excerpt(text: bytes) -> str:
    return ascii(text[:40].decode("utf-8", "replace")) + ("…" if len(text) > 40 else "")


# ---- YAML ----------------------------------------------------------------------------------------------------------------------------


def _yaml_documents(lines: Iterator[tuple[int, bytes | None]]) -> Iterator[tuple[int, Event | BadEvent]]:
    parts: list[bytes] = []
    first, size = 1, 0
    for number, line in lines:
        if line is not None and line.rstrip() == b"---":
            yield from ((first, event) for event in _yaml_document(parts, size))
            parts, first, size = [], number + 1, 0
            continue
        size += MAX_VALUE + 1 if line is None else len(line)
        if size <= MAX_VALUE and line is not None:
            parts.append(line)
    yield from ((first, event) for event in _yaml_document(parts, size))


def _yaml_document(parts: list[bytes], size: int) -> Iterator[Event | BadEvent]:
    import yaml

    if size > MAX_VALUE:
        yield BadEvent(_TOO_LONG)
        return
    loader: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
    try:
        document = yaml.load(b"".join(parts).decode("utf-8", "replace"), loader)
    except (yaml.YAMLError, ValueError) as e:
        mark = getattr(e, "problem_mark", None)
        place = f" (line {mark.line + 1} of it)" if mark is not None else ""
        yield BadEvent(f"not YAML: {getattr(e, 'problem', None) or str(e).splitlines()[0]}{place}")
        return
    except RecursionError:
        yield BadEvent("nested too deeply")
        return
    if document is None:
        return
    yield from converted(document)


def converted(value: object) -> Iterator[Event | BadEvent]:
    """The events of a value of dicts and lists, like events()."""
    budget = iter(range(MAX_YAML_ITEMS))
    yield from _converted(value, None, 0, lambda: next(budget, None) is not None)


def _converted(value: object, defaults: Event | None, nesting: int, more: Callable[[], bool]) -> Iterator[Event | BadEvent]:
    """Like events(), for what YAML was read into."""
    if nesting > MAX_NESTING:
        yield BadEvent(f"lists are nested deeper than {MAX_NESTING}")
        return
    event: Event | None = None
    if isinstance(value, list):
        items = value
    elif isinstance(value, Mapping):
        listed = value.get("items")
        items = listed if isinstance(listed, list) else []
        try:
            event = msgspec.convert({key: value.get(key) for key in Event.__struct_encode_fields__ if key != "items"}, Event)
            if defaults is not None:
                event.kind = event.kind or "Event"
                event.api_version = event.api_version or defaults.api_version
            if not _is_list(event):
                yield event
                return
        except (msgspec.ValidationError, BadEvent) as e:
            yield BadEvent(f"not an audit event: {e}" if isinstance(e, msgspec.ValidationError) else str(e))
            return
    else:
        yield BadEvent(f"not an audit event: {type(value).__name__}")
        return
    for item in items:
        if not more():
            yield BadEvent(f"more than {MAX_YAML_ITEMS} items")
            return
        yield from _converted(item, event if event is not None and event.kind == "EventList" else defaults, nesting + 1, more)
