# SPDX-License-Identifier: Apache-2.0
"""The wiring of a run: configuration -> rules -> engine -> sources -> outputs, and what runs beside them."""

from __future__ import annotations

import contextlib
import errno
import gc
import os
import signal
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from contextlib import AbstractContextManager
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from ..alert import Priority
from ..beside import beside
from ..cache import load_program, load_rules
from ..compiler import Program
from ..config import ConfigError, Configuration
from ..engine import Engine
from ..errors import FalcolibError, RuleError
from ..internal import InternalAlert
from ..outputs import Counts, OutputError, Outputs
from ..outputs.configured import check, from_config
from ..rules.files import Given, given_files, is_pipe
from ..sources import Source
from ..stats import Stats
from . import systemd
from .choices import Choices
from .delivery import Delivery
from .drops import guarding
from .logs import log, logging_to
from .services import reloading, serve
from .signals import Stopped, done_on_signals, stop_on_signals
from .sources import TOKEN, asked_for, audit_source, choose, is_live, plugin_source, unserved, used_sources, wanted

if TYPE_CHECKING:
    from ..metrics import Metrics
    from ..rules import RuleSet
    from ..web import WebServer
    from .plugins import Plugins

#: Seconds after which an engine that is still at the same piece of events (of some ms) counts as hanging.
STUCK = 15.0


class Report(NamedTuple):
    """What came of a run. failure: what ended it, after what it found."""

    stats: Stats
    severities: Counter[Priority]
    seconds: float
    requests: dict[str, int]
    outputs: dict[str, Counts]
    failure: FalcolibError | OSError | None


class Ready(NamedTuple):
    """A configuration with its rules, ready to be put into force."""

    config: Configuration
    program: Program
    warnings: tuple[str, ...]
    rule_files: tuple[str, ...]

    @property
    def files(self) -> tuple[str, ...]:
        """The files and folders that all of it comes from, also those that aren't there yet."""
        named = self.config.rules_files if set(self.rule_files) <= set(self.config.rules_files) else ()
        read = (file.path for file in self.config.origin.files)
        return tuple(dict.fromkeys((*read, *self.config.origin.named, *self.rule_files, *named)))


class Daemon:
    """A run, as a configuration and a command line have it.

    config: as falcolib.config.load() gives it. reread: reads it anew, for a reload; None: it never changes. default_rules: path of
    the rules for a source of events, where neither names any. console: what is held while stdout is written, where a progress bar shares
    the terminal.
    """

    def __init__(
        self, config: Configuration, choices: Choices | None = None, *, reread: Callable[[], Configuration] | None = None,
        default_rules: Callable[[str], os.PathLike[str]] | None = None, console: AbstractContextManager[object] | None = None,
    ) -> None:
        self.config = config
        self.choices = choices or Choices()
        self._reread = reread
        self._default_rules = default_rules
        self._console = console
        self._pipes: dict[str, Given] = {}      # what rule files said that are pipes
        self._replayed = False
        self._begun = threading.Event()         # events are seen
        self.engine: Engine
        self.metrics: list[Metrics] = []        # if they are enabled: those that are written, then those that are asked for
        self.sources: list[Source]
        self.outputs: Delivery
        self.web: WebServer | None = None

    # ---- what is put into force ----

    def prepare(self, config: Configuration | None = None) -> Ready:
        """Reads and compiles the rules of a configuration, of the current one without; nothing changes.

        Raises ConfigError, RuleError, OSError.
        """
        config = config or self.config
        files = self.rule_files(config)
        try:
            loaded = load_program(*self._texts(files), **self._chosen(config), cache=self.choices.cache)
        except RuleError as e:
            if not str(e).startswith("append_output"):
                raise
            told = str(e).removeprefix("append_output ")
            if self.choices.extra_output and not config.append_output:
                raise ConfigError(f"-p: {told}") from None
            raise ConfigError(config.origin.located("append_output", told)) from None
        return Ready(config, loaded.program, loaded.warnings, files)

    def rules_text(self) -> RuleSet:
        """The text of the rules in force, as it is in their files now. Raises as prepare() does."""
        return load_rules(*self._texts(self.rule_files()), **self._chosen(self.config))

    def _texts(self, files: Iterable[str]) -> list[str | Given]:
        """The files, each to be read anew; but a pipe's text is there only once, and stays what it was."""
        for path in files:
            if path not in self._pipes and is_pipe(path):
                (self._pipes[path],) = given_files([path])
        return [self._pipes.get(path, path) for path in files]

    def _chosen(self, config: Configuration) -> dict[str, Any]:
        """What is done to the rules."""
        append = list(config.append_output)
        if self.choices.extra_output:
            append.append({"match": {"source": "syscall"}, "extra_output": self.choices.extra_output})
        return {"entries": [*config.rules, *self.choices.entries], "priority": config.priority, "append": append,
                "static": config.static_fields}

    def rule_files(self, config: Configuration | None = None) -> tuple[str, ...]:
        """The rule files and folders: those of the command line, else those of the configuration that are there, else our own.

        Raises ConfigError if there are none.
        """
        config = config or self.config
        if self.choices.rules:
            return self.choices.rules
        if not config.rules_files and not config.origin.files and self._default_rules is not None:
            return tuple(os.fspath(self._default_rules(source)) for source in asked_for(self.choices, config.engine.kind))
        found = tuple(path for path in config.rules_files if os.path.exists(path))
        for number, path in enumerate(config.rules_files):
            if path not in found:
                log.warning("%s", config.origin.located(f"rules_files[{number}]", f"{path} isn't there, and is passed over"))
        if not found:
            raise ConfigError(config.origin.located("rules_files", "there are no rules: name files or folders of them here, or with -r"))
        return found

    def reread(self) -> Ready:
        """As prepare(), of the configuration as it is now in its files. Raises ConfigError, RuleError, OSError."""
        return self.prepare(self._reread() if self._reread else None)

    # ---- the run ----

    def check(self) -> None:
        """What run() does before it watches anything (``--dry-run``). Raises what that raises."""
        with logging_to(self.config):
            self._told(self.prepare())
            self._plugins()
            self._captures()
            self._capture_folder()
            try:
                check(self.config)
            except OutputError as e:
                raise _located(self.config, e) from None

    def run(self, progress: Callable[[Source], AbstractContextManager[None]] | None = None) -> Report:
        """Runs until the sources end, or SIGINT or SIGTERM come; then delivers what is left. progress: is entered meanwhile, if given.

        Raises ConfigError, ChoiceError, RuleError, ProgramError, OSError before anything was watched; BrokenPipeError when the reader of
        stdout has gone. What fails later is in the report.
        """
        started = time.monotonic()
        try:
            return self._run(progress, started)
        except Stopped:             # before there was anything to tell of
            return Report(Stats(), Counter(), time.monotonic() - started, {}, {}, None)

    def _run(self, progress: Callable[[Source], AbstractContextManager[None]] | None, started: float) -> Report:
        severities: Counter[Priority] = Counter()
        failure: FalcolibError | OSError | None = None
        with logging_to(self.config), stop_on_signals() as stopper, contextlib.ExitStack() as stack:
            gc.disable()            # what loading makes stays to the end: looking through it for garbage costs a quarter of the start-up
            with stopper.interrupting():
                ready = self.prepare()
            config, program = ready.config, ready.program
            self._told(ready)
            self.engine = self._engine(program)
            gc.freeze()
            gc.enable()
            count = sum(rule.enabled for rule in program.rules)
            if not count:
                log.warning("no rule is enabled: nothing can be found")
            self.web = self._web_server()
            if self.web is not None:
                stack.callback(self.web.close)
            self.sources = self._sources(program)
            for name in sorted({source.name for source in self.sources} - used_sources(program)) if count else ():
                log.warning("no enabled rule is for events of the source %s: nothing can be found in them", name)
            replayed = ", ".join([*self._captures(), *(where for where in self.choices.audits if not is_live(where))])
            self._replayed = bool(replayed)
            for line in () if replayed else unserved(program, self.choices, {source.name for source in self.sources}):
                log.warning("%s", line)
            self.outputs = Delivery(lambda: self.make_outputs(config))
            self._captures_around_alerts()
            stopper.also = self.outputs.stop_waiting
            stack.enter_context(self._pid_file())
            names = ", ".join(self.choices.rules or config.rules_files) or "falcolib"
            log.info("%d rules from %s, ready after %.2f s; %s", count, names, time.monotonic() - started,
                     f"replaying {replayed}" if replayed else "Ctrl-C ends it")
            alerts = self.engine.run(self.sources[0] if len(self.sources) == 1 else self.sources, on_error=self._tell)
            stopper.attach(self.engine)
            if self.choices.seconds:
                stack.enter_context(_ended_after(self.choices.seconds, self.engine.stop, self._begun))
            reloader = stack.enter_context(reloading(self, ready))
            actions: dict[int, Callable[[], None]] = {signal.SIGUSR1: self.outputs.reopen}
            if reloader is not None:
                actions[signal.SIGHUP] = reloader.request
            stack.enter_context(done_on_signals(actions))
            stack.enter_context(systemd.watchdog(self.alive))
            if progress:
                stack.enter_context(progress(self.sources[0]))
            try:
                stack.enter_context(self._metrics(ready))
            except OSError as e:
                raise _of_key(config, "metrics.output_file", e) from None
            losses = stack.enter_context(guarding(config, self.engine, self.sources, self.emit))
            if self.web is not None:
                serve(self, self.web, ready)
            if not any(source.name == "syscall" and getattr(source, "live", False) for source in self.sources):
                systemd.ready()
                self._begun.set()
            try:
                for alert in alerts:
                    severities[alert.priority] += 1
                    self.outputs.emit(alert)
            except BrokenPipeError:     # of stdout: nobody is left to tell
                raise
            except (FalcolibError, OSError) as e:
                failure = e
            finally:
                systemd.stopping()
                stack.close()
                self.outputs.drain()
            if failure is None and losses.failure is None:
                self.outputs.check()
        requests: Counter[str] = Counter()
        for source in self.sources:
            requests.update(getattr(source, "counts", None) or {})
        return Report(self.engine.stats(), severities, time.monotonic() - started, dict(requests), self.outputs.counts(),
                      failure or losses.failure)

    def alive(self) -> bool:
        """Whether the engine gets on, or waits. It is what systemd's watchdog and /healthz ask for."""
        return self.engine.busy() < STUCK

    def emit(self, rule: str, priority: Priority, message: str, fields: dict[str, int | float | str], when: int) -> None:
        """An alert about the run itself (when: ns since the epoch), to all outputs."""
        self.outputs.emit(InternalAlert(rule, priority, message, fields, when, format=self.engine.format))

    def make_outputs(self, config: Configuration) -> Outputs:
        """Those of a configuration. Raises ConfigError for what can't be used, with its place, OSError for standard output."""
        try:
            return from_config(config, replay=self._replayed, guard=self._console)
        except OutputError as e:
            raise _located(config, e) from None

    # ---- parts of it ----

    def _web_server(self) -> WebServer | None:
        """The web server, if it is enabled; its port is open then. Raises OSError."""
        if not self.config.webserver.enabled:
            return None
        from ..web import Limits, Security
        from .endpoints import web_server

        audit = self._plugins().audit           # whose requests it may take, too
        settings = self.config.webserver
        try:
            return web_server(settings, security=Security(token=os.environ.get(TOKEN) or None),
                              limits=Limits(body=audit.body) if audit else None)
        except OSError as e:
            key = ("ssl_certificate" if e.filename == settings.ssl_certificate else
                   "listen_port" if e.errno in (errno.EADDRINUSE, errno.EACCES) else "listen_address")
            raise _of_key(self.config, f"webserver.{key}", e) from None

    def _captures_around_alerts(self) -> None:
        if not self.config.capture.enabled:
            return
        from .recording import Captures

        self._capture_folder()
        if self.choices.workers > 1:
            log.warning("capture.enabled: with several workers nothing is captured around alerts")
        self.engine.captures = Captures(self.config.capture, self.emit)

    def _capture_folder(self) -> None:
        """Raises ConfigError if captures can't be anywhere."""
        folder = os.path.dirname(self.config.capture.path_prefix) or "."
        if self.config.capture.enabled and not os.path.isdir(folder):
            raise ConfigError(self.config.origin.located("capture.path_prefix", f"there is no folder {folder}"))

    def _told(self, ready: Ready) -> None:
        for file in ready.config.origin.files:
            log.info("Configuration: %s | schema validation: %s", file.path, file.schema)
        for warning in (*ready.config.origin.warnings, *ready.warnings):
            log.warning("%s", warning)

    def _engine(self, program: Program) -> Engine:
        config = self.config
        containers = None
        if config.plugins:
            from ..containers import Containers

            containers = self._plugins().container or Containers.none()
        purge = (config.falco_libs.thread_table_auto_purging_interval_s, config.falco_libs.thread_table_auto_purging_thread_timeout_s)
        return Engine(program, matching=config.rule_matching, format=config.format, workers=self.choices.workers, containers=containers,
                      threads=config.falco_libs.thread_table_size, purge=purge)

    def _plugins(self) -> Plugins:
        from .plugins import read_plugins

        return read_plugins(self.config)

    def _captures(self) -> tuple[str, ...]:
        if self.choices.captures or self.config.engine.kind != "replay":
            return self.choices.captures
        if not self.config.engine.replay.capture_file:
            raise ConfigError(self.config.origin.located("engine.replay.capture_file", "engine.kind is replay: name the capture"))
        return (self.config.engine.replay.capture_file,)

    def _sources(self, program: Program) -> list[Source]:
        config, choices = self.config, self.choices
        audit = self._plugins().audit if config.plugins else None
        there = {"syscall"} if config.engine.kind != "nodriver" else set()
        if config.origin.files:         # as Falco: what is configured
            there |= {"k8s_audit"} if audit or choices.audits else set()
        else:                           # what the rules are for
            there = (there & used_sources(program)) | ({"k8s_audit"} & used_sources(program))

        def audit_events(where: str | None) -> Source:
            if where is None and audit is not None:
                return plugin_source(audit, self.web)
            return audit_source(where, choices.tls_cert, choices.tls_key, choices.tls_client_ca, server=self.web)

        on = wanted(there, choices.enabled, choices.disabled)
        return choose(program, on, self._captures(), choices.audits, self._live, audit_events, unserved(program, choices, on))

    def _live(self) -> Source:
        return live_source(self.config, self._watching)

    def _watching(self) -> None:
        log.info("Watching this machine; Ctrl-C ends it")
        systemd.ready()
        self._begun.set()

    def _tell(self, source: Source, error: Exception) -> None:
        """A source has failed, beside others. A replay goes on; live, the run ends, as Falco's: half of it must not pass for all."""
        log.error("%r has ended: %s; the %s", source, error, "other sources go on" if self._replayed else "run ends")
        if not self._replayed:
            self.engine.stop()

    def _metrics(self, ready: Ready) -> AbstractContextManager[None]:
        """Writes metrics while the run goes on, where the configuration asks for them."""
        if not self.config.metrics.enabled:
            return contextlib.nullcontext()
        from ..metrics import Metrics, writing  # costs time to import

        if self.config.metrics.costs_enabled:
            from ..costs import Costs

            self.engine.costs = Costs()
        metrics = Metrics(self.engine, self.config.metrics, self.sources, ready.rule_files,
                          [file.path for file in ready.config.origin.files], self.outputs.counts,
                          hostinfo=self.config.plugins_hostinfo)
        self.metrics.append(metrics)
        return writing(metrics, self.config.metrics, lambda fields: self.emit(
            "Falco internal: metrics snapshot", Priority.INFORMATIONAL, "Falco metrics snapshot", fields, int(fields["evt.time"])))

    @contextlib.contextmanager
    def _pid_file(self) -> Iterator[None]:
        path = self.choices.pid_file
        if not path:
            yield
            return
        Path(path).write_text(f"{os.getpid()}\n")
        try:
            yield
        finally:
            with contextlib.suppress(OSError):
                os.unlink(path)


def live_source(config: Configuration, on_ready: Callable[[], None]) -> Source:
    """This machine, as a configuration has it."""
    from ..sources.live import Live
    from ..sources.wanted import BaseSyscalls

    base = BaseSyscalls(config.base_syscalls.custom_set, config.base_syscalls.repair, config.base_syscalls.all)
    if unknown := base.unknown():
        log.warning("%s", config.origin.located("base_syscalls.custom_set", f"no such system calls: {', '.join(unknown)}"))
    chosen = config.engine.kmod if config.engine.kind == "kmod" else config.engine.modern_ebpf      # the settings; the probe is the same

    def ready() -> None:
        if live.missing:
            log.warning("base_syscalls keeps calls from the rules that are for them: %s", ", ".join(live.missing))
        on_ready()

    live = Live(buf_size_preset=chosen.buf_size_preset, cpus_for_each_buffer=config.engine.modern_ebpf.cpus_for_each_buffer,
                drop_failed_exit=chosen.drop_failed_exit, snaplen=config.falco_libs.snaplen or 80,
                iterators=not config.engine.modern_ebpf.disable_iterators, prefilter=config.engine.modern_ebpf.prefilter,
                base_syscalls=base, on_ready=ready)
    return live


def _located(config: Configuration, error: OutputError) -> ConfigError:
    """The error of an output with the place of its key."""
    return ConfigError(config.origin.located(error.key, str(error).removeprefix(f"{error.key}: ")) if error.key else str(error))


def _of_key(config: Configuration, key: str, error: OSError) -> OSError:
    """The error of a file or an address with the place of its key."""
    return type(error)(error.errno, error.strerror, config.origin.located(key, str(error.filename)))


@contextlib.contextmanager
def _ended_after(seconds: float, stop: Callable[[], None], begun: threading.Event) -> Iterator[None]:
    """Ends the run so long after it has begun: loading the probe doesn't count."""
    def work(done: threading.Event) -> None:
        begun.wait()
        if not done.wait(seconds):
            stop()

    with beside("seconds", work):
        try:
            yield
        finally:
            begun.set()
