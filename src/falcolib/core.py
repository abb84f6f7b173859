# SPDX-License-Identifier: Apache-2.0
"""One host of the C core: its state, the program it runs, and the calls into it that run without Python's lock."""

from __future__ import annotations

import os
import threading
import time as clock
from collections.abc import Callable, Iterator, Mapping
from typing import Any, Literal, Protocol, TypeAlias, TypeGuard

from . import documents, regex, render, schema
from ._native import check, error_text, ffi, lib, owned
from .batch import Match, Raw, read_matches, read_value, write_value
from .compiler import Program
from .errors import StaleEventError
from .event import Event, FieldValue
from .rules.ast import FieldSlot
from .stats import COUNTERS, Stats

Matching: TypeAlias = Literal["first", "all"]


#: An audit event, or a list of them, as the API server writes it: JSON text, or what that decodes to.
Document: TypeAlias = bytes | bytearray | memoryview | dict[str, Any]
#: Bytes of a document, at most: as much as a webhook takes at once. (Falco's 256 KiB would let who pads a request hide it.)
EVENT_LIMIT = 12 << 20
#: Bytes of a list of events, or of a line, at most: a log's line may hold more than one request.
TEXT_LIMIT = 8 * EVENT_LIMIT
#: Whose documents are given to run() in a list.
DICTS = "k8s_audit"
_DOCUMENT_KEYS = frozenset(("auditID", "kind", "items"))


#: What fl_engine_run answers when it is to be called again, once users of containers have been told.
_ACCOUNTS_WANTED = 3


def host_root() -> str:
    """Where the machine's / is: what the environment's HOST_ROOT says, without a slash at its end."""
    return os.environ.get("HOST_ROOT", "").rstrip("/")


class Sink(Protocol):
    """What a recording is written to (recording.CaptureWriter)."""

    def write(self, data: bytes) -> None:
        """Takes whole blocks of a .scap file. What it raises ends the run, and the recording."""

    def full(self) -> bool | None:
        """A limit is reached: whether what comes now begins a new file. If it doesn't, the recording ends; None: the file goes on, until it
        is as much again."""


class Callback:
    """What the core's callback needs. The core holds it, and it doesn't hold the core: so an engine's memory is free at once."""

    def __init__(self) -> None:
        self.patterns: list[Any] = []
        self.sink: Sink | None = None
        self.failure: BaseException | None = None


class Core:
    """One fl_engine, and what it must keep alive.

    It is in one call at a time: a second, from another thread, is a RuntimeError. Only stats() may be called beside the others; `_renewing`
    keeps it out of the moment in which the reader is replaced. It is reentrant for signal handlers that ask for stats().
    """

    def __init__(
        self, matching: Matching, threads: int, fds: int, static_container: bytes = b"", *, base64: bool = False,
        purge: tuple[int, int] = (0, 0),
    ) -> None:
        self._callback = Callback()
        self._callback_handle = ffi.new_handle(self._callback)
        self._busy = threading.Lock()
        self._renewing = threading.RLock()
        self.error = error_text()
        self.program: Program
        self._reads: str | None = None      # whose documents are read; None: a capture
        self._rings: Any = None
        self._accounts: Callable[[Core], None] | None = None        # see ask_accounts
        self._wishes: Any = None            # room for wanted_accounts
        self.amid = False          # matches of the last event are still to come
        self._flushed = 0.0         # when a recording was last flushed: s of the monotonic clock
        self.serial = 0             # of the current event: one that holds another is stale
        # what the capture recorded is told by evt.hostname; FALCO_HOSTNAME overrides it
        name = ffi.new("char[]", os.fsencode(os.environ.get("FALCO_HOSTNAME", "")))
        options = ffi.new("fl_engine_options *", {"threads": threads, "fds": fds, "match_all": matching == "all", "hostname": name,
                                                  "base64": base64, "purge_interval": purge[0], "purge_timeout": purge[1]})
        if static_container:
            static = ffi.new("char[]", static_container)
            options.static_container = static
        handle = lib.fl_engine_new(options, lib.falcolib_regex, self._callback_handle, self.error)
        if handle == ffi.NULL:
            check(self.error.code, self.error)
        owned(handle, lib.fl_engine_free)
        self.handle = handle

    def _call(self, function: Any, *arguments: Any) -> int:
        """Calls the core, without Python's lock."""
        if not self._busy.acquire(blocking=False):
            raise RuntimeError("this engine is at work in another thread: use an engine for each, they can share a Program")
        try:
            code: int = function(self.handle, *arguments)
        finally:
            self._busy.release()
        if code < 0 and self._callback.failure is not None:
            failure, self._callback.failure = self._callback.failure, None
            raise failure
        return check(code, self.error)

    def use(self, program: Program) -> None:
        """Runs this program from now on; once the last event's matches are out."""
        if getattr(self, "program", None) is not program and not self.amid:
            self.set_program(program)

    def set_program(self, program: Program) -> None:
        patterns = [regex.compile_pattern(p) for p in program.patterns]
        self._call(lib.fl_engine_set_program, program.handle, self.error)
        self.program, self._callback.patterns = program, patterns

    def rewind(self) -> None:
        self.amid = False
        self._reads = self._accounts = None
        with self._renewing:
            self._call(lib.fl_engine_rewind)
        self._rings = None

    def read_rings(self, rings: Any) -> None:
        """Takes events from the probe's rings from now on, until rewind()."""
        self.amid = False
        with self._renewing:
            self._call(lib.fl_engine_read_rings, rings)
        self._rings = rings             # must live as long as the core reads from it

    def snapshot(self, root: str | None = None, loader: Any = None) -> None:
        """Fills the state with this machine's threads, descriptors, addresses, users and groups, as /proc and /etc tell them; threads and
        descriptors as the iterators of a loaded probe (its handle) tell them, where they can.

        A thread that is unknown at its first event is looked up there from now on, until rewind().

        root: where the machine's / is; default the environment's HOST_ROOT, else "". Raises OSError if there is no /proc below it.
        """
        path = os.fsencode(host_root() if root is None else root).rstrip(b"/")
        self.amid = False
        with self._renewing:
            self._call(lib.fl_engine_snapshot, ffi.new("char[]", path), ffi.NULL if loader is None else loader, self.error)

    def look(self, tid: int, fd: int = -1) -> Event | None:
        """An event that never was, of a thread and one of its descriptors (-1: none), to ask for fields of both; None if there is no such
        thread. It is the current one."""
        self.serial += 1
        return self.current() if self._call(lib.fl_engine_look, tid, fd) else None

    def open_documents(self, source: str, limit: int, text: int = TEXT_LIMIT) -> None:
        """Reads documents of a source from now on, events of at most ``limit`` bytes, alone or in lists of at most ``text`` bytes, or
        8 times the limit, until the next rewind()."""
        self.amid = False
        with self._renewing:
            self._call(lib.fl_engine_open_documents, schema.DOCUMENTS[source].id, limit, max(text, 8 * limit), self.error)
        self._rings = None
        self._reads = source

    def faults(self) -> Iterator[tuple[int, str]]:
        """What could not be used of the documents since the last call: the line, and what is wrong."""
        fault = ffi.new("fl_document_fault *")
        while self._call(lib.fl_engine_fault, fault):
            yield fault.line, _FAULTS[fault.kind]

    def push(self, chunk: bytes | bytearray | memoryview) -> None:
        try:
            data = ffi.from_buffer(chunk)
        except TypeError:
            raise TypeError(f"the chunks of a source are bytes, not {type(chunk).__name__}") from None
        self._call(lib.fl_engine_lend, data, len(data))
        self._lent = data           # the core reads it where it is; the one before isn't needed any more

    def run(self) -> bool:
        """True: the batch is full, and there may be more."""
        while (code := self._call(lib.fl_engine_run, self.error)) == _ACCOUNTS_WANTED:
            if self._accounts is not None:
                self._accounts(self)
        self.amid = code == 2
        if code == 0 and self._callback.sink is not None and clock.monotonic() - self._flushed > 1.0:
            self.flush_record()         # what happens now is on disk soon
        return code > 0

    def share(self, number: int, of: int) -> None:
        """Evaluates rules on the events of one of several workers only; 0, 1: on all."""
        self._call(lib.fl_engine_share, number, of)

    def profile(self, on: bool) -> None:
        """Notes from now on what the program's instructions and registers cost."""
        self._call(lib.fl_engine_profile, on)

    def profiled(self) -> list[tuple[int, int, int]]:
        """Runs, true outcomes and ticks: of the whole program, then of its instructions, then of its registers."""
        size = lib.fl_engine_profiled(self.handle, ffi.NULL, 0)
        numbers = ffi.new("uint64_t[]", size)
        lib.fl_engine_profiled(self.handle, numbers, size)
        flat = ffi.unpack(numbers, size) if size else []
        return [*zip(flat[::3], flat[1::3], flat[2::3], strict=True)]

    def take(self) -> list[Match]:
        """The matches of the batch."""
        return read_matches(self.take_batch())

    def step(self) -> bool:
        self.serial += 1
        return self._call(lib.fl_engine_step, self.error) == 1

    def seek(self, num: int) -> bool:
        """Goes on to an event by its number, or to the next that rules see; False: not in the bytes that were pushed."""
        self.serial += 1
        return self._call(lib.fl_engine_seek, num, self.error) == 1

    def finish(self) -> None:
        self._call(lib.fl_engine_finish, self.error)

    def stats(self) -> Stats:
        with self._renewing:
            now = lib.fl_engine_get_stats(self.handle)
        return Stats(**{name: getattr(now, name) for name in COUNTERS}, last_time=now.last_ts)

    def iterated(self) -> dict[str, int]:
        """What the kernel's iterators told in the last snapshot(), by kind: task, task_file_regular, … May be called beside other calls."""
        with self._renewing:
            now = lib.fl_engine_get_iterated(self.handle)
        return {name: getattr(now, name) for name in dir(now)}

    def ask_containers(self) -> None:
        """From now on the ids of containers that come up are wanted: see wanted_containers()."""
        self._call(lib.fl_engine_ask_containers, 1)

    def wanted_containers(self) -> list[str]:
        """Full ids of containers that came up since the last call, of which nobody told yet."""
        ids = ffi.new("char[]", 65536)
        size = self._call(lib.fl_engine_wanted, ids, len(ids))
        return bytes(ffi.buffer(ids, size)).decode("utf-8", "replace").split("\0")[:-1]

    def tell_container(self, json: bytes) -> None:
        """Tells what is known of a container, in the JSON of a capture's container events. Between two pushes."""
        self._call(lib.fl_engine_container, json, len(json))

    def ask_accounts(self, attend: Callable[[Core], None]) -> None:
        """From now on, until a capture begins, users and groups of containers are wanted: see wanted_accounts().

        attend: called with the core amid a run when they are, before rules see the event with which it came up.
        """
        self._accounts, self._wishes = attend, self._wishes or ffi.new("fl_account_wish[]", 512)
        self._call(lib.fl_engine_ask_accounts)

    def wanted_accounts(self) -> list[tuple[bytes, int]]:
        """Containers (ids as shown) in which a process has an id without a name, since the last call; each with a process in it."""
        count = self._call(lib.fl_engine_wanted_accounts, self._wishes, len(self._wishes))
        return [(ffi.string(wish.container), wish.pid) for wish in self._wishes[0:count]]

    def tell_accounts(self, container: bytes, passwd: bytes, group: bytes) -> None:
        """Tells what a container's /etc/passwd and /etc/group hold. Between two pushes, or when ask_accounts() calls."""
        self._call(lib.fl_engine_accounts, container, passwd, len(passwd), group, len(group))

    def tell_hosts(self, rows: bytes) -> None:
        """Tells the addresses of hosts that rules name (fl_engine_hosts). Between two pushes."""
        self._call(lib.fl_engine_hosts, rows, len(rows))

    def last_time(self) -> int:
        """Of the last event: ns since the epoch. May be called beside other calls."""
        with self._renewing:
            return int(lib.fl_engine_get_stats(self.handle).last_ts)

    # ---- recording ----

    def record(self, sink: Sink, *, selected: bool, events: int = 0, size: int = 0, time: int = 0, pause: bool = False) -> None:
        """Writes what passes from now on to a sink: all events, or those ``selected`` by the program (which makes no matches then). The
        limits of a file, 0 for none: events, bytes, ns. pause: run() returns after each event that matched, before it is written.
        """
        options = ffi.new("fl_record_options *", {"selected": selected, "events": events, "bytes": size, "ns": time, "pause": pause})
        self._callback.sink = sink
        self._flushed = clock.monotonic()
        self._call(lib.fl_engine_record, options, lib.falcolib_write, self.error)

    def flush_record(self, *, finish: bool = False) -> None:
        """Gives the sink what is collected; with ``finish`` no more will come."""
        self._flushed = clock.monotonic()
        self._call(lib.fl_engine_record_flush, finish, self.error)

    def end_record(self) -> tuple[int, int, int]:
        """Ends the recording; what was recorded."""
        self._call(lib.fl_engine_record, ffi.NULL, ffi.NULL, self.error)
        self._callback.sink = None
        return self.recorded()

    def recorded(self) -> tuple[int, int, int]:
        """How many events were written for rules to see, how many for the state alone, and how many were left out."""
        stats = lib.fl_engine_record_stats(self.handle)
        return stats.events, stats.hidden, stats.left_out

    def take_batch(self) -> bytes:
        size, matches = ffi.new("size_t *"), ffi.new("uint32_t *")
        data = lib.fl_engine_batch(self.handle, size, matches)
        batch = bytes(ffi.buffer(data, size[0])) if size[0] else b""
        lib.fl_engine_batch_clear(self.handle)
        return batch

    def current(self) -> Event:
        now = ffi.new("fl_event_now *")
        check(lib.fl_engine_current(self.handle, now))
        serial = self.serial

        def fetch(event: Event, name: str) -> FieldValue:
            info, argument = schema.require_field(name)
            if serial != self.serial:
                event._fetch = None
                return event[name]
            return render.native(info, extract(info, info.printed(argument)), event.time)

        def raw(slot: FieldSlot) -> object:
            if serial != self.serial:
                raise StaleEventError(f"{slot}: the source has moved on from event {now.num}")
            return extract(slot.info, slot.argument)

        def extract(info: schema.FieldInfo, argument: schema.Argument | None) -> Raw:
            index = argument.index if argument else None
            key = argument.text.encode() if argument and ("KEY" in info.argument or argument.dotted) and index is None else None
            c_key = ffi.NULL if key is None else ffi.new("char[]", key)
            self._call(lib.fl_engine_get, info.id, index is not None, index or 0, c_key)
            return read_value(self.take_batch(), 0)[0]

        return Event(num=now.num, time=now.ts, tid=now.tid, type_id=now.type, cpu=now.cpu, record=bytes(ffi.buffer(now.record, now.size)),
                     fields={}, fetch=fetch, raw=raw)

    def read(self, event: Document) -> None:
        """Gives the core an audit event, or a list of them, to run() on."""
        if self._reads != DICTS:
            self.open_documents(DICTS, EVENT_LIMIT)
        self.push(event if isinstance(event, bytes | bytearray | memoryview) else documents.encode(event))
        self.push(b"\x1e")

    def match(self, event: object, number: int) -> None:
        """Runs the program on an event given as a dict."""
        self.serial += 1            # of a capture no event is current any more
        if not isinstance(event, Mapping):
            raise TypeError(f"event {number}: expected a dict of fields, got {type(event).__name__}")
        try:
            self._match(event, number)
        except (schema.FieldError, TypeError, ValueError) as e:
            e.args = (f"event {number}: {e}",)
            raise

    def _match(self, event: Mapping[str, object], number: int) -> None:
        for name in event:
            if not isinstance(name, str):
                raise TypeError(f"a field is named by a str, not {name!r}")
            schema.require_field(name)
        source = source_of(event)
        types = (schema.DOCUMENTS[source].type,) if source in schema.DOCUMENTS else _types_of(event)
        given = {"evt.source": source, "evt.is_async": False, "evt.num": number, **event}
        values = b"".join([write_value(slot, given.get(name)) for name, slot in self.program.named_slots])
        num, when = (event.get(k, d) for k, d in (("evt.num", number), ("evt.rawtime", clock.time_ns())))
        if not isinstance(num, int) or not isinstance(when, int):
            raise TypeError("evt.num and evt.rawtime are ints")
        if not (0 <= num < 1 << 64 and 0 <= when < 1 << 64):
            raise ValueError("evt.num and evt.rawtime have 64 bits and no sign")
        for type_id in types:
            self._call(lib.fl_engine_match_values, type_id, num, when, values, len(values), self.error)


#: By number (csrc/source/documents.h).
_FAULTS = ("no valid JSON, or not all there", "not an event of this source", "larger than the limit")

def is_document(event: object) -> TypeGuard[Document]:
    """Whether an event is given as an audit event is, and not as a dict of fields."""
    return isinstance(event, bytes | bytearray | memoryview) or (isinstance(event, dict) and not _DOCUMENT_KEYS.isdisjoint(event))


def source_of(event: Mapping[str, object]) -> str:
    """The source of an event that is given as a dict of fields: what ``evt.source`` tells, else whose fields it has.

    Raises ValueError if there is no such source, FieldError for what is no field.
    """
    told = event.get("evt.source")
    if told is None:
        classes = {info.field_class: name for name, info in schema.DOCUMENTS.items()}
        found = (classes.get(schema.require_field(name)[0].field_class) for name in event)
        return next((name for name in found if name), "syscall")
    if told not in schema.sources():
        raise ValueError(f"evt.source: there is no source {told!r}; there is {', '.join(schema.sources())}")
    return str(told)


def _types_of(event: Mapping[str, object]) -> tuple[int, ...]:
    type_ = event.get("evt.type")
    if not isinstance(type_, str):
        raise ValueError('"evt.type" is missing: a dict event names its type, such as "openat"')
    return schema.current_event_ids(type_)


@ffi.def_extern(error=-1)                # type: ignore[untyped-decorator]
def falcolib_regex(handle: Any, pattern: int, subject: Any, size: int) -> int:
    """Called by the VM for a regular expression: the one callback from the loop into Python."""
    callback: Callback = ffi.from_handle(handle)
    try:
        return int(regex.full_match(callback.patterns[pattern], bytes(ffi.buffer(subject, size)) if size else b""))
    except BaseException as e:           # told to the caller of the run, which is further down this stack
        callback.failure = e
        return -1


@ffi.def_extern(error=-1)                # type: ignore[untyped-decorator]
def falcolib_write(handle: Any, data: Any, size: int) -> int:
    """Called by the recorder with what is to be written, once for some hundred kilobytes; with NULL when a file is full."""
    callback: Callback = ffi.from_handle(handle)
    assert callback.sink is not None
    try:
        if data == ffi.NULL:
            new = callback.sink.full()
            return 2 if new is None else 0 if new else 1
        callback.sink.write(bytes(ffi.buffer(data, size)))
        return 0
    except BaseException as e:           # as above
        callback.failure = e
        return -1
