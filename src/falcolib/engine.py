# SPDX-License-Identifier: Apache-2.0
"""The engine: a program, the state of one host, and the loop that brings events to rules."""

from __future__ import annotations

import contextlib
import dataclasses
import functools
import heapq
import os
import socket
import threading
import time as clock
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
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
    several may be concatenated; texts_refused: names, arguments and the like that the state left out, as all of them together would have
    exceeded 1 GiB; last_time: ns since the epoch.
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
    texts_refused: int = 0
    last_time: int = 0
    alerts: dict[str, int] = field(default_factory=dict)
    """Alerts by rule."""

    def plus(self, other: Stats) -> Stats:
        """The sum of two; of last_time the later."""
        sums = {name: getattr(self, name) + getattr(other, name) for name in _COUNTERS}
        alerts = {rule: self.alerts.get(rule, 0) + other.alerts.get(rule, 0) for rule in (*self.alerts, *other.alerts)}
        return Stats(**sums, last_time=max(self.last_time, other.last_time), alerts=alerts)


_COUNTERS = tuple(f.name for f in dataclasses.fields(Stats) if f.name not in ("alerts", "last_time"))


class Engine:
    """Runs rules over events.

    rules: a RuleSet, or a Program compiled before; without, the engine is a decoder of captures: events(). matching: ``"first"`` as Falco
    has it, one alert an event at most, or ``"all"``. hostname: printed in alerts; default the format's, else the environment's
    FALCO_HOSTNAME, else this host's. threads, fds: limits of the state, entries (of processes and threads; of descriptors of one process),
    0 for the default; what comes above is counted in stats() and left out. format: how alerts are printed.

    An engine does one run at a time, in one thread; replace(), stop() and stats() may be called from any. Programs can be shared by any
    number of engines and threads, and the core works without Python's lock.

    Raises ProgramError if the program is refused, ValueError for a wrong ``matching`` or limit.
    """

    def __init__(
        self,
        rules: RuleSet | Program | None = None,
        *,
        matching: Matching = "first",
        hostname: str | None = None,
        threads: int = 0,
        fds: int = 0,
        format: AlertFormat | None = None,
    ) -> None:
        if matching not in ("first", "all"):
            raise ValueError(f'matching is "first" or "all", not {matching!r}')
        for name, limit in (("threads", threads), ("fds", fds)):
            if not 0 <= limit < 1 << 32:
                raise ValueError(f"{name}: a limit is from 0 (the default) to {(1 << 32) - 1}, not {limit}")
        format = format or AlertFormat()
        environ = os.fsencode(os.environ.get("FALCO_HOSTNAME", "")).decode("utf-8", "replace")
        host = hostname or format.hostname or environ or socket.gethostname()
        self._format = dataclasses.replace(format, hostname=host)
        self._matching = matching
        self._limits = (threads, fds)
        self._stopping = False
        self._run_number = 0
        self._reading: list[Source] = []
        self._alerts: dict[str, int] = {}
        self._given = 0                     # events given as dicts
        self._past = Stats()                # of cores that are gone
        self.replace(RuleSet() if rules is None else rules)
        self._cores = [_Core(matching, threads, fds)]

    def __repr__(self) -> str:
        return f"<Engine {self._matching} {self._program!r}>"

    @property
    def program(self) -> Program:
        """The compiled rules in use."""
        return self._program

    def replace(self, rules: RuleSet | Program) -> None:
        """Puts other rules into force: a run goes on with them soon, at the latest with the next piece of its source. The state survives.

        May be called from any thread. If the rules can't be used, an exception tells why and nothing changes: ProgramError.
        """
        if not isinstance(rules, RuleSet | Program):
            raise TypeError(f"an engine takes a RuleSet or a Program, not {type(rules).__name__}; RuleSet.load(path) reads a file")
        program = rules if isinstance(rules, Program) else compile_rules(rules.rules)
        program.check()
        self._program = program

    def run(self, events: Events) -> Iterator[Alert]:
        """The alerts on a source of events, or on events given as dicts of fields, in order.

        With several sources, in a list, each has a state of its own, and the alerts are in order of time. The run is done while
        its alerts are asked for. A later run ends an earlier one: it gives the alerts that it had found and then raises RuntimeError.

        Raises CaptureError, after the alerts up to there, if a capture is damaged, OSError if it can't be read; of a dict event: ValueError
        if it has no ``evt.type``, or none that exists, KeyError for what is no field, TypeError for a value that isn't of the field's type.
        """
        self._stopping = False              # now and not at the first alert that is asked for: a stop() in between counts
        sources = _sources(events)
        return self._run_dicts(events) if sources is None else self._run_sources(sources)   # type: ignore[arg-type]

    def events(self, source: Source) -> Iterator[Event]:
        """The events of a source, without rules. Each is current until the next is asked for.

        Raises CaptureError if a capture is damaged, OSError if it can't be read.
        """
        self._stopping = False
        if not isinstance(source, Source):
            raise _no_source("events()", source)
        return self._run_events(source)

    def stop(self) -> None:
        """Ends a run soon, also one that waits for its source: it returns after the alerts that were found. May be called from a signal
        handler or another thread."""
        self._stopping = True
        for source in tuple(self._reading):
            source.close()

    def stats(self) -> Stats:
        """What has been done so far, in all runs. May be called during a run, from any thread."""
        total = functools.reduce(Stats.plus, (core.stats() for core in tuple(self._cores)), self._past)
        return dataclasses.replace(total, events=total.events + self._given, alerts=dict(self._alerts))

    # ---- runs ----

    def _begin(self) -> int:
        self._run_number += 1
        return self._run_number

    def _go_on(self, run: int) -> bool:
        """Whether a run may go on, and was not told to stop.

        Raises RuntimeError if another has begun since.
        """
        if run != self._run_number:
            raise RuntimeError("another run of this engine has begun since, and ended this one: use an engine for each")
        return not self._stopping

    def _run_events(self, source: Source) -> Iterator[Event]:
        run = self._begin()
        core = self._cores[0]
        core.rewind()
        try:
            with self._chunks(source) as chunks:
                for chunk in chunks:
                    self._go_on(run)
                    core.push(chunk)
                    while self._go_on(run) and core.step():
                        yield core.current()
                    if self._stopping:
                        return
                if self._go_on(run):
                    core.finish()
        finally:
            core.serial += 1

    def _run_sources(self, sources: list[Source]) -> Iterator[Alert]:
        run = self._begin()
        if len(sources) == 1:
            yield from self._run_source(run, self._cores[0], sources[0])
            return
        others = [_Core(self._matching, *self._limits) for _ in sources[1:]]
        self._cores += others
        try:
            runs = [self._run_source(run, core, source) for core, source in zip([self._cores[0], *others], sources, strict=True)]
            yield from heapq.merge(*runs, key=lambda alert: alert.time)
        finally:
            self._cores = self._cores[:1]
            self._past = functools.reduce(Stats.plus, (core.stats() for core in others), self._past)

    def _run_source(self, run: int, core: _Core, source: Source) -> Iterator[Alert]:
        core.rewind()
        with self._chunks(source) as chunks:
            for chunk in chunks:
                self._go_on(run)
                core.push(chunk)
                while self._go_on(run):
                    core.use(self._program)
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
            if self._go_on(run):            # a source that was closed ends anywhere
                core.finish()

    def _run_dicts(self, events: Iterable[Mapping[str, object]]) -> Iterator[Alert]:
        run = self._begin()
        core = self._cores[0]
        core.amid = False
        for number, event in enumerate(events, 1):
            if not self._go_on(run):
                return
            core.use(self._program)
            core.match(event, number)
            self._given += 1
            yield from self._take(core)

    def _take(self, core: _Core) -> Iterator[Alert]:
        program = core.program
        for match in read_matches(core.take_batch()):
            alert = Alert(program, match, self._format)
            self._alerts[alert.rule] = self._alerts.get(alert.rule, 0) + 1
            yield alert

    @contextlib.contextmanager
    def _chunks(self, source: Source) -> Iterator[Iterator[bytes | memoryview]]:
        """The chunks of a source, which stop() closes; none if it was told to stop before. At the end it is closed."""
        self._reading.append(source)
        chunks = iter(()) if self._stopping else source.chunks()
        try:
            yield chunks
        finally:
            self._reading.remove(source)
            close = getattr(chunks, "close", source.close)      # a generator ends its own pass, where others may go on
            close()


def _sources(events: object) -> list[Source] | None:
    """The sources that run() was given; None if it was given events.

    Raises TypeError for what is neither.
    """
    if isinstance(events, Source):
        return [events]
    if isinstance(events, Mapping):
        raise TypeError("run() takes a source or an iterable of events; put the one event into a list")
    if isinstance(events, Sequence) and not isinstance(events, str | bytes) and events and isinstance(events[0], Source):
        if not all(isinstance(item, Source) for item in events):
            raise TypeError("run() takes sources or events as dicts, not both in one list")
        return list(events)
    if isinstance(events, str | bytes | os.PathLike) or not isinstance(events, Iterable):
        raise _no_source("run()", events)
    return None


def _no_source(caller: str, thing: object) -> TypeError:
    if isinstance(thing, str | bytes | os.PathLike):
        return TypeError(f"{caller} takes a source, not a path: Capture({thing!r})")
    lacks = [name for name in ("name", "chunks", "close", "position") if not hasattr(thing, name)]
    if 0 < len(lacks) < 4:
        return TypeError(f"{caller} takes a source, and {type(thing).__name__} has no {' and no '.join(lacks)}")
    takes = "a source, such as Capture(path), or events as dicts" if caller == "run()" else "a source, such as Capture(path)"
    return TypeError(f"{caller} takes {takes}, not {type(thing).__name__}")


class _Callback:
    """What the core's callback needs. The core holds it, and it doesn't hold the core: so an engine's memory is free at once."""

    def __init__(self) -> None:
        self.patterns: list[Any] = []
        self.failure: BaseException | None = None


class _Core:
    """One fl_engine, and what it must keep alive.

    It is in one call at a time: a second, from another thread, is a RuntimeError. Only stats() may be called beside the others; `_renewing`
    keeps it out of the moment in which the reader is replaced. It is reentrant for signal handlers that ask for stats().
    """

    def __init__(self, matching: Matching, threads: int, fds: int) -> None:
        self._callback = _Callback()
        self._callback_handle = ffi.new_handle(self._callback)
        self._busy = threading.Lock()
        self._renewing = threading.RLock()
        self.error = error_text()
        self.program: Program
        self.amid = False          # matches of the last event are still to come
        self.serial = 0             # of the current event: one that holds another is stale
        # what the capture recorded is told by evt.hostname; FALCO_HOSTNAME overrides it
        name = ffi.new("char[]", os.fsencode(os.environ.get("FALCO_HOSTNAME", "")))
        options = ffi.new("fl_engine_options *", {"threads": threads, "fds": fds, "match_all": matching == "all", "hostname": name})
        handle = lib.fl_engine_new(options, lib.falcolib_regex, self._callback_handle, self.error)
        if handle == ffi.NULL:
            check(self.error.code, self.error)
        self.handle = ffi.gc(handle, lib.fl_engine_free)

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
        with self._renewing:
            self._call(lib.fl_engine_rewind)

    def push(self, chunk: bytes | memoryview) -> None:
        try:
            data = ffi.from_buffer(chunk)
        except TypeError:
            raise TypeError(f"the chunks of a source are bytes, not {type(chunk).__name__}") from None
        self._call(lib.fl_engine_push, data, len(data))

    def run(self) -> bool:
        """True: the batch is full, and there may be more."""
        code = self._call(lib.fl_engine_run, self.error)
        self.amid = code == 2
        return code > 0

    def step(self) -> bool:
        self.serial += 1
        return self._call(lib.fl_engine_step, self.error) == 1

    def finish(self) -> None:
        self._call(lib.fl_engine_finish, self.error)

    def stats(self) -> Stats:
        with self._renewing:
            now = lib.fl_engine_get_stats(self.handle)
        return Stats(**{name: getattr(now, name) for name in _COUNTERS}, last_time=now.last_ts)

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
            argument = info.printed(argument)
            index = argument.index if argument else None
            key = argument.text.encode() if argument and ("KEY" in info.argument or argument.dotted) and index is None else None
            c_key = ffi.NULL if key is None else ffi.new("char[]", key)
            self._call(lib.fl_engine_get, info.id, index is not None, index or 0, c_key)
            value, _ = read_value(self.take_batch(), 0)
            return render.native(info, value, event.time)

        return Event(num=now.num, time=now.ts, tid=now.tid, type_id=now.type, cpu=now.cpu, record=bytes(ffi.buffer(now.record, now.size)),
                     fields={}, fetch=fetch)

    def match(self, event: Mapping[str, object], number: int) -> None:
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
        type_ = event.get("evt.type")
        if not isinstance(type_, str):
            raise ValueError('"evt.type" is missing: a dict event names its type, such as "openat"')
        for name in event:
            if not isinstance(name, str):
                raise TypeError(f"a field is named by a str, not {name!r}")
            schema.require_field(name)
        given = {**_IMPLIED, "evt.num": number, **event}
        values = b"".join([write_value(slot, given.get(name)) for name, slot in self.program.named_slots])
        num, when = (event.get(k, d) for k, d in (("evt.num", number), ("evt.rawtime", clock.time_ns())))
        if not isinstance(num, int) or not isinstance(when, int):
            raise TypeError("evt.num and evt.rawtime are ints")
        if not (0 <= num < 1 << 64 and 0 <= when < 1 << 64):
            raise ValueError("evt.num and evt.rawtime have 64 bits and no sign")
        for type_id in schema.current_event_ids(type_):
            self._call(lib.fl_engine_match_values, type_id, num, when, values, len(values), self.error)


#: What every event of the system-call source has.
_IMPLIED: dict[str, object] = {"evt.source": "syscall", "evt.is_async": False}


@ffi.def_extern(error=-1)                # type: ignore[untyped-decorator]
def falcolib_regex(handle: Any, pattern: int, subject: Any, size: int) -> int:
    """Called by the VM for a regular expression: the one callback from the loop into Python."""
    callback: _Callback = ffi.from_handle(handle)
    try:
        return int(regex.full_match(callback.patterns[pattern], bytes(ffi.buffer(subject, size)) if size else b""))
    except BaseException as e:           # told to the caller of the run, which is further down this stack
        callback.failure = e
        return -1
