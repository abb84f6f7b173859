# SPDX-License-Identifier: Apache-2.0
"""``falcolib run``: alerts on stdout; logs, progress and statistics on stderr."""

from __future__ import annotations

import contextlib
import dataclasses
import gc
import signal
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path
from types import FrameType

import click

from ..alert import Priority
from ..cache import load_program
from ..engine import MAX_WORKERS, Engine
from ..errors import FalcolibError
from ..settings import Settings, read_settings
from ..sources import Source
from ..stats import Stats
from .selection import selected, selection_options
from .sources import audit_source, choose, is_live, wanted
from .terminal import AlertWriter, log


def default_rules() -> str:
    """The path of the rules that come with falcolib: in the package; of an editable installation, in its source tree."""
    from importlib import resources  # costs as much as reading cached rules

    packaged = Path(str(resources.files("falcolib"))) / "data" / "falcolib_rules.yaml"
    return str(packaged if packaged.is_file() else Path(__file__).parents[3] / "rules" / "falcolib_rules.yaml")


@click.command("run")
@click.option("-r", "rules", multiple=True, metavar="FILE|DIR",
              help="A rule file, or a folder of them (*.yaml, *.yml, by name). May be repeated: later files append to and override what "
                   "is in earlier ones. Default: our own rules.")
@click.option("--capture", "captures", multiple=True, metavar="FILE.scap",
              help="The capture to replay, plain or gzip; - for standard input. Without, the running machine is watched.")
@click.option("--audit", "audits", multiple=True, metavar="FILE|URL",
              help="Kubernetes' audit events: a log or a folder of them to replay, plain or gzip, - for standard input; file:///PATH to "
                   "follow a log; http://[HOST]:PORT[/PATH] or https://... to take them from the API server's webhook. Default, where a "
                   "rule is for them: http://:8765.")
@click.option("--tls-cert", metavar="FILE", help="The webhook's certificate, PEM; the key may be in the same file.")
@click.option("--tls-key", metavar="FILE", help="The certificate's key.")
@click.option("--tls-client-ca", metavar="FILE", help="Who signs the certificates that the webhook's clients must have.")
@click.option("--enable-source", "enabled", multiple=True, metavar="NAME",
              help="Take events of this source only: syscall, k8s_audit. May be repeated.")
@click.option("--disable-source", "disabled", multiple=True, metavar="NAME",
              help="Take no events of this source. Default: those that a rule is for are on.")
@click.option("-o", "options", multiple=True, metavar="KEY=VALUE", help="A setting of falco.yaml, see above. May be repeated.")
@selection_options
@click.option("--cache/--no-cache", default=True,
              help="Whether to take compiled rules from the cache and keep them there: FALCOLIB_CACHE, else ~/.cache/falcolib.")
@click.option("--workers", type=click.IntRange(1, MAX_WORKERS), default=1, metavar="N",
              help="Processors that evaluate rules on the capture. The alerts are those of one. Pays where rules cost more than reading.")
def run_command(
    rules: tuple[str, ...], captures: tuple[str, ...], audits: tuple[str, ...], tls_cert: str | None, tls_key: str | None,
    tls_client_ca: str | None, enabled: tuple[str, ...], disabled: tuple[str, ...], options: tuple[str, ...], cache: bool, workers: int,
) -> None:
    """Match events against rules and print alerts: of this machine, live, of a capture, of Kubernetes' audit events.

    Alerts go to stdout, everything else to stderr. SIGINT and SIGTERM end the run cleanly: what was found is printed, then the statistics,
    exit status 0. A damaged capture gives the alerts up to the damage, and exit status 1.

    \b
    Settings, with their defaults:
      -o json_output=false        alerts as JSON lines
      -o rule_matching=first      or all: every rule that matches an event
      -o priority=debug           the least urgent priority that rules must have
      -o rules[].disable.rule=NAME   or .enable., .tag=TAG: as falco.yaml's rules:, in order; * in a name stands for any text
      -o time_format_iso_8601=false
      -o json_include_output_property=true
      -o json_include_message_property=false
      -o json_include_output_fields_property=true
      -o json_include_tags_property=true
      -o engine.modern_ebpf.buf_size_preset=4         live: 1 to 10, ring buffers of 1 to 512 MiB; 4 is 8 MiB
      -o engine.modern_ebpf.cpus_for_each_buffer=2    live: processors that share a ring buffer; 0: all
      -o engine.modern_ebpf.drop_failed_exit=false    live: leave out calls that failed
      -o falco_libs.snaplen=80                        live: bytes of what is read and written that events hold
      -o metrics.enabled=false    numbers of the run, every metrics.interval=1h and at the end: as JSON lines with
                                  -o metrics.output_file=FILE, among the alerts with -o metrics.output_rule=true

    The environment's FALCO_HOSTNAME is the host name in alerts, TZ the time zone of their times, FALCOLIB_AUDIT_TOKEN the bearer token
    that the webhook's clients must have.
    """
    try:
        settings = read_settings(options)
    except ValueError as e:
        raise click.UsageError(str(e)) from None
    if len(captures) > 1:
        raise click.UsageError("--capture: only one capture can be replayed at a time")
    started = time.monotonic()
    with stop_on_signals() as stopper:
        writer = AlertWriter()
        gc.disable()                # what loading makes stays to the end: looking through it for garbage costs a quarter of the start-up
        loaded = load_program(*(rules or (default_rules(),)), entries=[*settings.rules, *selected()],
                              priority=settings.priority, cache=cache)
        for warning in loaded.warnings:
            log(f"Warning: {warning}")
        engine = Engine(loaded.program, matching=settings.rule_matching, format=settings.format, workers=workers)
        gc.freeze()
        gc.enable()
        count = sum(rule.enabled for rule in loaded.program.rules)
        if not count:
            log("Warning: no rule is enabled: nothing can be found")
        names = wanted(loaded.program, enabled, disabled)
        sources = choose(loaded.program, names, captures, audits, lambda: live_source(settings),
                         lambda where: audit_source(where, tls_cert, tls_key, tls_client_ca))
        replayed = ", ".join([*captures, *(where for where in audits if not is_live(where))])
        log(f"{count} rules from {', '.join(rules) or 'falcolib'}, ready after {time.monotonic() - started:.2f} s; "
            + (f"replaying {replayed}" if replayed else "Ctrl-C ends it"))
        severities: Counter[Priority] = Counter()
        failure: FalcolibError | OSError | None = None
        alerts = engine.run(sources[0] if len(sources) == 1 else sources, on_error=tell)
        stopper.attach(engine)
        with writer.progress(sources[0]), measured(engine, settings, sources, rules, writer):
            try:
                for alert in alerts:
                    severities[alert.priority] += 1
                    writer.write(alert.json() if settings.json_output else str(alert))
            except BrokenPipeError:     # of stdout: nobody is left to tell
                raise
            except (FalcolibError, OSError) as e:
                failure = e
        print_statistics(engine.stats(), severities, time.monotonic() - started)
        for source in sources:
            counts = getattr(source, "counts", None)
            if counts:
                log("Requests: " + ", ".join(f"{number} {name.replace('_', ' ')}" for name, number in sorted(counts.items())))
    if failure:
        raise failure


def live_source(settings: Settings) -> Source:
    """This machine, as the settings have it."""
    from ..sources.live import Live

    return Live(**dataclasses.asdict(settings.probe), on_ready=lambda: log("Watching this machine; Ctrl-C ends it"))


def tell(source: Source, error: Exception) -> None:
    """A source has failed, and others go on."""
    log(f"Error: {source!r} has ended: {error}; the other sources go on")


@contextlib.contextmanager
def measured(engine: Engine, settings: Settings, sources: Sequence[Source], files: Sequence[str], writer: AlertWriter) -> Iterator[None]:
    """Writes metrics while a run goes on, where the settings ask for them."""
    if not settings.metrics.enabled:
        yield
        return
    from ..metrics import Metrics, Value, internal_alert, writing  # costs time to import

    def emit(fields: dict[str, Value]) -> None:
        writer.write(internal_alert("Falco internal: metrics snapshot", Priority.INFORMATIONAL, "Falco metrics snapshot", fields,
                                    int(fields["evt.time"]), format=engine.format, json=settings.json_output))

    with writing(Metrics(engine, settings.metrics, sources, files or (default_rules(),)), settings.metrics, emit):
        yield


def print_statistics(stats: Stats, severities: Counter[Priority], seconds: float) -> None:
    """The end statistics, as Falco prints them (spec: engine.md D3), and what was read."""
    log(f"Events read: {stats.events} ({stats.bytes} bytes in {seconds:.2f} s)")
    log(f"Events detected: {sum(severities.values())}")
    log("Rule counts by severity:")
    for priority, count in sorted(severities.items()):
        log(f"   {priority.name}: {count}")
    log("Triggered rules by rule name:")
    for name, count in stats.alerts.items():
        log(f"   {name}: {count}")
    left_out = {
        "events of unknown types": stats.unknown,
        "threads above the limit": stats.threads_refused,
        "descriptors above the limit": stats.fds_refused,
        "malformed audit events": stats.malformed,
        "documents that are no audit events": stats.unrecognised,
        "audit events above the limit": stats.too_large,
        "events lost by the kernel side": stats.lost,
    }
    if any(left_out.values()):
        log("Left out: " + ", ".join(f"{count} {what}" for what, count in left_out.items() if count))


class Stopper:
    """Ends the run of an engine, also when it is told before there is one."""

    def __init__(self) -> None:
        self._asked = False
        self._engine: Engine | None = None

    def attach(self, engine: Engine) -> None:
        """The engine that runs."""
        self._engine = engine
        if self._asked:
            engine.stop()

    def __call__(self, signum: int, frame: FrameType | None) -> None:
        self._asked = True
        if self._engine:
            self._engine.stop()


@contextlib.contextmanager
def stop_on_signals() -> Iterator[Stopper]:
    """SIGINT and SIGTERM end the run, also where SIGINT was ignored at the start (a background job of a shell)."""
    stopper = Stopper()
    before = {s: signal.signal(s, stopper) for s in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield stopper
    finally:
        for s, handler in before.items():
            signal.signal(s, handler)
