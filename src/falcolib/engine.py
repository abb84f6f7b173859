# SPDX-License-Identifier: Apache-2.0
"""The engine: a program, the state of one host, and the loop that brings events to rules."""

from __future__ import annotations

import contextlib
import dataclasses
import functools
import os
import socket
import threading
import time
from collections import defaultdict
from collections.abc import AsyncIterator, Callable, Iterable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Protocol, TypeAlias

from .alert import Alert, AlertFormat
from .compiler import Program, compile_rules
from .core import Core, Document, Matching, is_document
from .errors import FalcolibError
from .event import Event
from .regex import compile_pattern
from .sources import Source
from .stats import Stats
from .together import OnError, Together, log_error
from .workers import Workers

if TYPE_CHECKING:
    from .containers import Containers
    from .costs import Costs
    from .explain import Explanation
    from .recording import CaptureWriter
    from .rules import RuleSet

#: What run() takes: a source of events, events as dicts of fields or as audit events, or several sources.
Events: TypeAlias = Source | Iterable[Mapping[str, object] | Document] | Sequence[Source]


class Around(Protocol):
    """Records what happens around alerts of a core: begins with the run, and is called in its thread."""

    def found(self, alert: Alert) -> None:
        """An alert, before it is given out."""

    def passed(self) -> None:
        """The core has gone on."""

    def end(self) -> None:
        """The run has ended."""


#: More would be of no use: each applies all events to a state of its own.
MAX_WORKERS = 64


class Engine:
    """Runs rules over events.

    rules: a RuleSet, or a Program compiled before; without, the engine is a decoder of captures: events(). matching: ``"first"`` as Falco
    has it, one alert an event at most, or ``"all"``. hostname: printed in alerts; default the format's, else the environment's
    FALCO_HOSTNAME, else this host's. threads, fds: limits of the state, entries (of processes and threads; of descriptors of one process),
    0 for the default; what comes above is counted in stats() and left out. format: how alerts are printed. workers: how many processors
    evaluate the rules on a capture; the alerts and their order are those of one. Each keeps the whole state, so this pays where rules cost
    more than reading, and takes the memory of as many. Sources other than captures, and several sources at once, are not shared.
    containers: whom to ask about containers, on live sources; default Docker, Podman, containerd and CRI-O at their usual sockets;
    ``Containers.none()``: nobody. purge: on live sources, seconds between two looks for threads whose end was lost, and of silence before
    one is looked for; 0 for the default, 300.

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
        workers: int = 1,
        containers: Containers | None = None,
        purge: tuple[int, int] = (0, 0),
    ) -> None:
        if matching not in ("first", "all"):
            raise ValueError(f'matching is "first" or "all", not {matching!r}')
        for name, limit in (("threads", threads), ("fds", fds)):
            if not 0 <= limit < 1 << 32:
                raise ValueError(f"{name}: a limit is from 0 (the default) to {(1 << 32) - 1}, not {limit}")
        if not 1 <= workers <= MAX_WORKERS:
            raise ValueError(f"workers: from 1 to {MAX_WORKERS}, not {workers}")
        format = format or AlertFormat()
        environ = os.fsencode(os.environ.get("FALCO_HOSTNAME", "")).decode("utf-8", "replace")
        host = hostname or format.hostname or environ or socket.gethostname()
        self._format = dataclasses.replace(format, hostname=host)
        self._matching = matching
        self._containers = containers
        if not all(0 <= seconds < 1 << 32 for seconds in purge):
            raise ValueError(f"purge: seconds from 0 (the default) to {(1 << 32) - 1}, not {purge}")
        static = containers.static.told() if containers and containers.static else b""
        self._new_core = functools.partial(Core, matching, threads, fds, static, base64=format.buffer_format_base64, purge=purge)
        self._stopping = False
        self._run_number = 0
        self._end_recording: Callable[[bool], None] | None = None       # of the run that records; true: nothing was there to write
        self._reading: list[Source] = []
        self._since: dict[object, float] = {}       # when each core was given a piece of events
        self._alerts: defaultdict[str, int] = defaultdict(int)
        self._counting = threading.Lock()
        self._given = 0                     # events given as dicts
        self._past = Stats()                # of cores that are gone
        #: Counts what later runs cost, if there is one.
        self.costs: Costs | None = None
        #: Records what happens around alerts, in runs of system calls (falcolib.daemon.recording).
        self.captures: Callable[[Core], Around] | None = None
        self.replace(compile_rules(()) if rules is None else rules)
        self._cores = [self._new_core()]
        self._workers = workers
        self._helpers: list[Core] = []      # the workers but the first, once they were needed

    def __repr__(self) -> str:
        return f"<Engine {self._matching} {self._program!r}>"

    @property
    def program(self) -> Program:
        """The compiled rules in use."""
        return self._program

    @property
    def format(self) -> AlertFormat:
        """How its alerts are printed."""
        return self._format

    def replace(self, rules: RuleSet | Program, *, format: AlertFormat | None = None) -> None:
        """Puts other rules into force: a run goes on with them soon, at the latest with the next piece of its source. The state survives.
        The run goes on while they are compiled here; its own pause is that of the change, about a millisecond. format: how alerts are
        printed from then on.

        May be called from any thread. If the rules can't be used, an exception tells why and nothing changes: ProgramError, RuleError for a
        regular expression.
        """
        program = rules if isinstance(rules, Program) else _compiled(rules)
        program.check()
        for pattern in program.patterns:            # here, as they take time; the run finds them made
            compile_pattern(pattern)
        if format is not None:
            self._format = dataclasses.replace(format, hostname=format.hostname or self._format.hostname)
        self._program = program
        self._rules = None if isinstance(rules, Program) else rules      # their text, for explain()

    def run(self, events: Events, *, on_error: OnError = log_error) -> Iterator[Alert]:
        """The alerts on a source of events, or on events given as dicts of fields, in order.

        With several sources, in a list, each has a state and a thread of its own, and the alerts are in order of event time. Files that
        are replayed are waited for, so that their order is exact; for a source that may be silent an alert waits 50 ms at most. A source
        that fails ends, and the others go on: ``on_error(source, exception)`` is told at once (by default the log ``falcolib``), and when
        all have ended the exception is raised.

        The run is done while its alerts are asked for. A later run ends an earlier one: it gives the alerts that it had found and then
        raises RuntimeError.

        Raises CaptureError, after the alerts up to there, if a capture is damaged, OSError if it can't be read; of a dict event: ValueError
        if it has no ``evt.type``, or none that exists, KeyError for what is no field, TypeError for a value that isn't of the field's type.
        """
        self._stopping = False              # now and not at the first alert that is asked for: a stop() in between counts
        sources = _sources(events)
        return self._run_dicts(events) if sources is None else self._run_sources(sources, on_error)     # type: ignore[arg-type]

    def stream(self, events: Events, *, on_error: OnError = log_error) -> AsyncIterator[Alert]:
        """As run(), for ``async for`` in asyncio: the event loop goes on while the run waits for events, and the run waits while its alerts
        aren't asked for. When the task is cancelled or the iterator closed (``aclose()``), the run ends and its sources are closed.
        """
        from .stream import stream  # asyncio takes its time to import

        return stream(self.run(events, on_error=on_error), self.stop)    # type: ignore[arg-type]

    def events(self, source: Source, *, start: int = 0) -> Iterator[Event]:
        """The events of a source, without rules; from the number ``start`` on. Each is current until the next is asked for.

        Raises CaptureError if a capture is damaged, OSError if it can't be read.
        """
        self._stopping = False
        if not isinstance(source, Source):
            raise _no_source("events()", source)
        return self._run_events(source, start)

    def explain(
        self, event: Event | Alert | Mapping[str, object] | Document, rule: str | None = None, *, rules: RuleSet | None = None,
    ) -> Explanation:
        """Why a rule matches an event, or which test stopped it: each test with its value, outcome and place. Without ``rule``: all rules.

        event: one that is current (of events()), one given as a dict of fields or as an audit event, or an alert, or its event: of these,
        values that the rule didn't print aren't known any more. ``str()`` of the answer is for people, ``as_dict()`` for programs.
        rules: where the engine runs a Program, the rules that it was compiled from.

        Raises KeyError for an unknown rule or field, ValueError without the text of the rules, or for a dict without a valid evt.type.
        """
        from .explain import explain

        rules = rules or self._rules
        if rules is None:
            raise ValueError("this engine runs a compiled program, which has no text: explain(event, rules=…) takes the rules")
        if isinstance(event, Alert):
            return explain(event.event, rules, rule or event.rule, matching=self._matching, alert=event)
        if is_document(event):
            reader = Core(self._matching, 0, 0)
            reader.read(event)
            if not reader.step():
                raise ValueError("no audit event: " + "; ".join(what for _, what in reader.faults()))
            return explain(reader.current(), rules, rule, matching=self._matching)
        assert isinstance(event, Event | Mapping)
        return explain(event, rules, rule, matching=self._matching)

    def record(self, source: Source, writer: CaptureWriter, *, selected: bool = False) -> Iterator[Alert]:
        """As run(source), and writes what passes to a .scap file: every event, or with ``selected`` those alone that a rule matches, which
        makes no alerts then. The recording is done while the alerts are asked for; falcolib.record() does it at once. It ends with the
        run, which ends when the writer wants no more; the writer is closed.

        Raises what run() and the writer raise, and TypeError for a source of other events than system calls.
        """
        if not isinstance(source, Source):
            raise _no_source("record()", source)
        if source.name != "syscall":
            raise TypeError(f"a .scap file holds system calls, and this source has events of {source.name}")
        writer.check(source)
        self._stopping = False
        return self._run_recorded(source, writer, selected)

    def stop(self) -> None:
        """Ends a run soon, also one that waits for its source: it returns after the alerts that were found, and after those of what a
        source has promised to deliver: the webhook, what it has accepted. May be called from a signal handler or another thread."""
        self._stopping = True
        for source in tuple(self._reading):
            source.close()

    def stats(self) -> Stats:
        """What has been done so far, in all runs. May be called during a run, from any thread."""
        total = functools.reduce(Stats.plus, (core.stats() for core in tuple(self._cores)), self._past)
        for helper in self._helpers:        # of what is shared; the rest they do as the first does
            done = helper.stats()
            total = dataclasses.replace(total, evaluated=total.evaluated + done.evaluated, matches=total.matches + done.matches)
        return dataclasses.replace(total, events=total.events + self._given, alerts=dict(self._alerts))

    def busy(self) -> float:
        """Seconds for which the core has been at work on a piece of events, the longest of several sources; 0: it waits for more. Usually
        some ms: a run that hangs is told by it. May be called from any thread."""
        return max((time.monotonic() - since for since in tuple(self._since.values())), default=0.0)

    # ---- runs ----

    def _begin(self) -> int:
        if self._end_recording:         # of a run that was left amid: this one's events are none of it
            self._end_recording(False)
        self._run_number += 1
        return self._run_number

    def _go_on(self, run: int) -> bool:
        """Whether a run may go on, and was not told to stop.

        Raises RuntimeError if another has begun since.
        """
        if run != self._run_number:
            raise RuntimeError("another run of this engine has begun since, and ended this one: use an engine for each")
        return not self._stopping

    def _run_events(self, source: Source, start: int) -> Iterator[Event]:
        run = self._begin()
        core = self._cores[0]
        _open(source, core)
        try:
            with self._chunks(source) as chunks:
                for chunk in self._attend(core, source, chunks):
                    self._go_on(run)
                    core.push(chunk)
                    while self._go_on(run) and (core.seek(start) if start else core.step()):
                        start = 0
                        yield core.current()
                    if self._stopping:
                        return
                if self._go_on(run):
                    core.finish()
        finally:
            core.serial += 1

    def _run_sources(self, sources: list[Source], on_error: OnError) -> Iterator[Alert]:
        run = self._begin()
        if len(sources) == 1:
            with self._sharing(self._cores[0], sources[0]) as core:
                yield from self._run_source(run, core, sources[0])
            return
        others = [self._new_core() for _ in sources[1:]]
        self._cores += others
        parts = list(zip(self._cores, sources, strict=True))
        try:
            yield from Together(parts, functools.partial(self._run_source, run), functools.partial(self._go_on, run), on_error).run()
        finally:
            self._cores = self._cores[:1]
            self._past = functools.reduce(Stats.plus, (core.stats() for core in others), self._past)

    def _run_source(self, run: int, core: Core | Workers, source: Source) -> Iterator[Alert]:
        core.use(self._program)             # a source may ask what the rules need
        _open(source, core)
        drains = getattr(source, "drains", False)
        around = self.captures(core) if self.captures and source.name == "syscall" and isinstance(core, Core) else None
        try:
            yield from self._run_chunks(run, core, source, drains, around)
        finally:
            if around is not None:
                around.end()

    def _run_chunks(self, run: int, core: Core | Workers, source: Source, drains: bool, around: Around | None) -> Iterator[Alert]:
        costs = self.costs
        with self._chunks(source) as chunks:
            for chunk in self._attend(core, source, chunks):
                self._go_on(run)
                core.push(chunk)
                while self._go_on(run) or drains:
                    core.use(self._program)
                    self._since[core] = time.monotonic()
                    try:
                        more = core.run() if costs is None or not isinstance(core, Core) else costs.run(core)
                    except FalcolibError:
                        yield from self._take(core, around)
                        raise
                    finally:
                        self._since.pop(core, None)
                    yield from self._take(core, around)
                    if around is not None:
                        around.passed()
                    if not more:
                        break
                if self._stopping and not drains:
                    return
            if self._go_on(run):            # a source that was closed ends anywhere
                core.finish()

    @contextlib.contextmanager
    def _sharing(self, core: Core, source: Source) -> Iterator[Core | Workers]:
        """The core, together with the other workers if the source can be shared."""
        if self._workers == 1 or hasattr(source, "open_on") or getattr(source, "live", False):
            yield core
            return
        while len(self._helpers) < self._workers - 1:
            self._helpers.append(self._new_core())
        group = Workers([core, *self._helpers])
        try:
            yield group
        finally:
            group.close()

    def _attend(self, core: Core | Workers, source: Source, chunks: Iterator[bytes | memoryview]) -> Iterator[bytes | memoryview]:
        """The chunks; on a live source, runtimes are asked about containers between them."""
        if not getattr(source, "live", False) or not isinstance(core, Core):
            return chunks
        from .containers.lookup import Lookup  # a capture does without its thread and its libraries
        from .containers.options import Containers

        containers = Containers() if self._containers is None else self._containers
        return Lookup(containers).attend(core, chunks) if containers.asks else chunks

    def _run_recorded(self, source: Source, writer: CaptureWriter, selected: bool) -> Iterator[Alert]:
        core = self._cores[0]
        run = self._begin()
        with writer.recording(self.stop) as limits:
            core.record(writer, selected=selected, **limits)

            def end(nothing: bool) -> None:
                self._end_recording = None
                try:
                    if nothing:
                        writer.discard()
                    else:
                        core.flush_record(finish=True)
                finally:
                    writer.tell(*core.end_record())

            nothing, self._end_recording = False, end
            try:
                yield from self._run_source(run, core, source)
            except Exception:
                nothing = not any(core.recorded())
                raise
            finally:
                if self._end_recording is end:
                    end(nothing)

    def _run_dicts(self, events: Iterable[Mapping[str, object] | Document]) -> Iterator[Alert]:
        run = self._begin()
        core = self._cores[0]
        core.amid = False
        for number, event in enumerate(events, 1):
            if not self._go_on(run):
                return
            core.use(self._program)
            if is_document(event):
                core.read(event)
                while core.run():
                    yield from self._take(core)
            else:
                core.match(event, number)
                self._given += 1
            yield from self._take(core)

    def _take(self, core: Core | Workers, around: Around | None = None) -> Iterator[Alert]:
        program, format, counts, counting = core.program, self._format, self._alerts, self._counting
        for match in core.take():
            alert = Alert(program, match, format)
            with counting:
                counts[alert._rule.name] += 1
            if around is not None:
                around.found(alert)
            yield alert

    @contextlib.contextmanager
    def _chunks(self, source: Source) -> Iterator[Iterator[bytes | memoryview]]:
        """The chunks of a source, which stop() closes; none if it was told to stop before. At the end it is closed."""
        self._reading.append(source)
        chunks = iter(()) if self._stopping else source.chunks()
        if self._stopping:              # meanwhile: a source that begins may have forgotten that it was closed
            source.close()
        try:
            yield chunks
        finally:
            self._reading.remove(source)
            close = getattr(chunks, "close", source.close)      # a generator ends its own pass, where others may go on
            close()


def _open(source: Source, core: Core | Workers) -> None:
    """Makes a core ready for a source: the source does it itself, if it has open_on(); else a capture begins."""
    open_on = getattr(source, "open_on", None)
    if open_on is None:
        core.rewind()
    else:
        open_on(core)


def _compiled(rules: object) -> Program:
    from .rules.ruleset import RuleSet

    if not isinstance(rules, RuleSet):
        raise TypeError(f"an engine takes a RuleSet or a Program, not {type(rules).__name__}; RuleSet.load(path) reads a file")
    return compile_rules(rules.rules)


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
