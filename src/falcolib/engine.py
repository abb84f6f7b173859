# SPDX-License-Identifier: Apache-2.0
"""The engine: a program, the state of one host, and the loop that brings events to rules."""

from __future__ import annotations

import heapq
import os
import socket
import time as clock
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, fields, replace
from typing import Any, Literal, TypeAlias

from . import regex, render, schema
from ._native import check, error_text, ffi, lib
from .alert import Alert, AlertFormat
from .batch import read_matches, read_value, write_value
from .compiler import Program, compile_rules
from .errors import FalcolibError
from .event import Event, FieldValue
from .rules import RuleSet
from .sources import Source

Matching: TypeAlias = Literal["first", "all"]

#: What run() takes: a source of records, events as dicts, or several sources.
Events: TypeAlias = Source | Iterable[Mapping[str, object]] | Sequence[Source]


@dataclass(slots=True)
class Stats:
    """What an engine has done.

    bytes: of uncompressed capture; records: as stored, events: as delivered, after conversion; evaluated: events on which the program
    ran; converted, stored (enter events kept for their exit), dropped (unused types), unknown (types newer than ours): records;
    evicted: stored enter events that were given up, too many or too long; skipped_blocks: of unknown types; sections: captures, as
    several may be concatenated; last_time: ns since the epoch.
    """

    bytes: int = 0
    blocks: int = 0
    records: int = 0
    events: int = 0
    converted: int = 0
    stored: int = 0
    dropped: int = 0
    unknown: int = 0
    evicted: int = 0
    skipped_blocks: int = 0
    sections: int = 0
    evaluated: int = 0
    matches: int = 0
    threads: int = 0
    threads_added: int = 0
    threads_removed: int = 0
    threads_refused: int = 0
    fds_added: int = 0
    fds_removed: int = 0
    fds_refused: int = 0
    fake_threads: int = 0
    fd_lookups_failed: int = 0
    last_time: int = 0
    alerts: dict[str, int] = field(default_factory=dict)
    """Alerts by rule."""


class Engine:
    """Runs rules over events.

    rules: a RuleSet, or a Program compiled before. matching: ``"first"`` as Falco has it, one alert an event at most, or ``"all"``.
    hostname: printed in alerts; default the environment's FALCO_HOSTNAME, else this host's. threads, fds: limits of the state, entries
    (of processes and threads; of descriptors of one process); what comes above is counted in stats() and left out.

    An engine belongs to one thread at a time. Programs can be shared by any number of engines.

    Raises ProgramError if the program is refused, ValueError for a wrong ``matching``.
    """

    def __init__(
        self,
        rules: RuleSet | Program,
        *,
        matching: Matching = "first",
        hostname: str | None = None,
        threads: int = 0,
        fds: int = 0,
        format: AlertFormat | None = None,
    ) -> None:
        if matching not in ("first", "all"):
            raise ValueError(f'matching is "first" or "all", not {matching!r}')
        host = hostname or os.environ.get("FALCO_HOSTNAME") or socket.gethostname()
        self._format = replace(format or AlertFormat(), hostname=host)
        self._matching = matching
        self._limits = (threads, fds)
        self._stopping = False
        self._reading: list[Source] = []
        self._alerts: dict[str, int] = {}
        self._core = _Core(matching, threads, fds)
        self.replace(rules)

    @property
    def program(self) -> Program:
        """The compiled rules in use."""
        return self._program

    def replace(self, rules: RuleSet | Program) -> None:
        """Puts other rules into force; the state survives. If they can't be used, an exception tells why and nothing changes."""
        program = rules if isinstance(rules, Program) else compile_rules(rules.rules)
        self._core.set_program(program)
        self._program = program

    def run(self, events: Events) -> Iterator[Alert]:
        """The alerts on a source of events, in order of time; with several sources, each has a state of its own.

        Raises CaptureError, after the alerts up to there, if a capture is damaged.
        """
        self._stopping = False              # now and not at the first alert that is asked for: a stop() in between counts
        return self._run(events)

    def _run(self, events: Events) -> Iterator[Alert]:
        if isinstance(events, Source):
            yield from self._run_source(self._core, events)
            return
        items = list(events) if isinstance(events, Sequence) else None
        if items and all(isinstance(item, Source) for item in items):
            cores = [self._core, *(self._another_core() for _ in items[1:])]
            runs = [self._run_source(core, item) for core, item in zip(cores, items, strict=True) if isinstance(item, Source)]
            yield from heapq.merge(*runs, key=lambda alert: alert.time)
            return
        if isinstance(events, Mapping):
            raise TypeError("run() takes a source or an iterable of events; put the one event into a list")
        yield from self._run_dicts(events)              # type: ignore[arg-type]

    def events(self, source: Source) -> Iterator[Event]:
        """The events of a source, without rules. Each is current until the next is asked for.

        Raises CaptureError if a capture is damaged.
        """
        self._stopping = False
        return self._events(source)

    def _events(self, source: Source) -> Iterator[Event]:
        core = self._core
        core.rewind()
        self._reading.append(source)
        try:
            for chunk in () if self._stopping else source.chunks():
                core.push(chunk)
                while not self._stopping and core.step():
                    yield core.current()
                if self._stopping:
                    return
            if not self._stopping:
                core.finish()
        finally:
            self._reading.remove(source)
            source.close()
            core.serial += 1

    def stop(self) -> None:
        """Ends a run soon, also one that waits for its source: it returns after the alerts that were found. May be called from a signal
        handler or another thread."""
        self._stopping = True
        for source in tuple(self._reading):
            source.close()

    def stats(self) -> Stats:
        """What has been done so far."""
        now = lib.fl_engine_get_stats(self._core.handle)
        names = {f.name for f in fields(Stats)} - {"alerts", "last_time"}
        return Stats(**{name: getattr(now, name) for name in names}, last_time=now.last_ts, alerts=dict(self._alerts))

    def _another_core(self) -> _Core:
        core = _Core(self._matching, *self._limits)
        core.set_program(self._program)
        return core

    def _take(self, core: _Core) -> Iterator[Alert]:
        program = core.program
        for match in read_matches(core.take_batch()):
            alert = Alert(program, match, self._format)
            self._alerts[alert.rule] = self._alerts.get(alert.rule, 0) + 1
            yield alert

    def _run_source(self, core: _Core, source: Source) -> Iterator[Alert]:
        core.rewind()
        self._reading.append(source)
        try:
            for chunk in () if self._stopping else source.chunks():
                core.push(chunk)
                while not self._stopping:
                    try:
                        more = core.run()
                    except FalcolibError:
                        yield from self._take(core)
                        raise
                    yield from self._take(core)
                    if not more:
                        break
                if self._stopping:
                    return
            if not self._stopping:          # a source that was closed ends anywhere
                core.finish()
        finally:
            self._reading.remove(source)
            source.close()

    def _run_dicts(self, events: Iterable[Mapping[str, object]]) -> Iterator[Alert]:
        for number, event in enumerate(events, 1):
            if self._stopping:
                return
            self._core.match(event, number)
            yield from self._take(self._core)


class _Core:
    """One fl_engine, and what it must keep alive."""

    def __init__(self, matching: Matching, threads: int, fds: int) -> None:
        self._self = ffi.new_handle(self)
        self.error = error_text()
        self.program: Program
        self.patterns: list[Any] = []
        self.failure: BaseException | None = None
        self.serial = 0             # of the current event: one that holds another is stale
        # what the capture recorded is told by evt.hostname; FALCO_HOSTNAME overrides it
        name = ffi.new("char[]", os.environ.get("FALCO_HOSTNAME", "").encode())
        options = ffi.new("fl_engine_options *", {"threads": threads, "fds": fds, "match_all": matching == "all", "hostname": name})
        handle = lib.fl_engine_new(options, lib.falcolib_regex, self._self, self.error)
        if handle == ffi.NULL:
            check(self.error.code, self.error)
        self.handle = ffi.gc(handle, lib.fl_engine_free)

    def set_program(self, program: Program) -> None:
        patterns = [regex.compile_pattern(p) for p in program.patterns]
        check(lib.fl_engine_set_program(self.handle, program.handle, self.error), self.error)
        self.program, self.patterns = program, patterns

    def rewind(self) -> None:
        check(lib.fl_engine_rewind(self.handle))

    def push(self, chunk: bytes | memoryview) -> None:
        check(lib.fl_engine_push(self.handle, ffi.from_buffer(chunk), len(chunk)))

    def _checked(self, code: int) -> int:
        if code < 0 and self.failure is not None:
            failure, self.failure = self.failure, None
            raise failure
        return check(code, self.error)

    def run(self) -> bool:
        """True: the batch is full, and there may be more."""
        return self._checked(lib.fl_engine_run(self.handle, self.error)) == 1

    def step(self) -> bool:
        self.serial += 1
        return self._checked(lib.fl_engine_step(self.handle, self.error)) == 1

    def finish(self) -> None:
        check(lib.fl_engine_finish(self.handle, self.error), self.error)

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
            argument = render.printed_argument(info, argument)
            index = argument.index if argument else None
            key = argument.text.encode() if argument and ("KEY" in info.argument or argument.dotted) and index is None else None
            c_key = ffi.NULL if key is None else ffi.new("char[]", key)
            check(lib.fl_engine_get(self.handle, info.id, index is not None, index or 0, c_key))
            value, _ = read_value(self.take_batch(), 0)
            return render.native(info, value, event.time)

        return Event(num=now.num, time=now.ts, tid=now.tid, type_id=now.type, cpu=now.cpu, record=bytes(ffi.buffer(now.record, now.size)),
                     fields={}, fetch=fetch)

    def match(self, event: Mapping[str, object], number: int) -> None:
        """Runs the program on an event given as a dict."""
        type_ = event.get("evt.type")
        if not isinstance(type_, str):
            raise ValueError(f'event {number}: "evt.type" is missing: a dict event names its type, such as "openat"')
        for name in event:
            schema.require_field(name)
        given = {**_IMPLIED, "evt.num": number, **event}
        values = b"".join(write_value(slot, given.get(str(slot))) for slot in self.program.slots)
        num, when = (event.get(k, d) for k, d in (("evt.num", number), ("evt.rawtime", clock.time_ns())))
        if not isinstance(num, int) or not isinstance(when, int):
            raise TypeError(f"event {number}: evt.num and evt.rawtime are ints")
        for type_id in schema.current_event_ids(type_):
            self._checked(lib.fl_engine_match_values(self.handle, type_id, num, when, values, len(values), self.error))


#: What every event of the system-call source has.
_IMPLIED: dict[str, object] = {"evt.source": "syscall", "evt.is_async": False}


@ffi.def_extern(error=-1)                # type: ignore[untyped-decorator]
def falcolib_regex(handle: Any, pattern: int, subject: Any, size: int) -> int:
    """Called by the VM for a regular expression: the one callback from the loop into Python."""
    core: _Core = ffi.from_handle(handle)
    try:
        return int(regex.full_match(core.patterns[pattern], bytes(ffi.buffer(subject, size)) if size else b""))
    except BaseException as e:           # told to the caller of the run, which is further down this stack
        core.failure = e
        return -1
