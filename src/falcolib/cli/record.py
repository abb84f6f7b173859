# SPDX-License-Identifier: Apache-2.0
"""``falcolib record``: a .scap file of this machine's system calls or of a capture, whole or filtered."""

from __future__ import annotations

import re
import sys
import time
from collections.abc import Callable

import click

from ..config import ConfigError, load
from ..daemon.daemon import live_source
from ..daemon.signals import stop_on_signals
from ..engine import Engine
from ..errors import FalcolibError
from ..recording import CaptureWriter, Recorded, compile_filter
from ..rules import RuleSet
from ..sources import CaptureReader
from .terminal import AlertWriter, log

_BYTES = {"": 1.0, "K": 1 << 10, "M": 1 << 20, "G": 1 << 30}
_NS = {"": 1e9, "S": 1e9, "M": 60e9, "H": 3600e9, "D": 86400e9}


def _amount(units: dict[str, float], example: str) -> Callable[[click.Context, click.Parameter, str | None], int]:
    """Reads a number with a unit; 0 where the option isn't given."""

    def read(ctx: click.Context, param: click.Parameter, value: str | None) -> int:
        if value is None:
            return 0
        found = re.fullmatch(r"(\d+(?:\.\d+)?)([A-Za-z]?)", value.strip())
        if not found or found[2].upper() not in units or not float(found[1]):
            raise click.BadParameter(f"{value!r} is none; an example: {example}", ctx, param)
        return int(float(found[1]) * units[found[2].upper()])

    return read


@click.command("record", short_help="Write a .scap file.")
@click.argument("out", metavar="OUT.scap")
@click.option("--capture", "capture", metavar="IN.scap",
              help="The capture to read, plain or gzip; - for standard input. Default: this machine, live, until Ctrl-C or a limit.")
@click.option("-o", "options", multiple=True, metavar="KEY=VALUE", help="A setting of falco.yaml for live capture, as for falcolib run.")
@click.option("--filter", "condition", metavar="CONDITION",
              help="Keep the events that meet a condition, written as in rules; and, hidden, those that change the state.")
@click.option("-r", "rules", multiple=True, metavar="FILE|DIR", help="Rule files whose macros and lists the filter may use.")
@click.option("--overwrite", is_flag=True, help="Replace OUT.scap if it exists.")
@click.option("-z", "--compress", is_flag=True, help="Compress with gzip; so does a name that ends in .gz.")
@click.option("-n", "--events", type=click.IntRange(min=1), metavar="N", help="End after N events.")
@click.option("--size", callback=_amount(_BYTES, "100M"), metavar="SIZE",
              help="End when the file has this size before compression: 500K, 100M, 2G.")
@click.option("--time", "ns", callback=_amount(_NS, "90s"), metavar="TIME",
              help="End after this time, as the events tell it: 30s, 10m, 2h.")
@click.option("--files", type=click.IntRange(min=1), metavar="N",
              help="At a limit go on in the next file: OUT.0001.scap, OUT.0002.scap, …; the newest N stay.")
def record_command(
    out: str, capture: str | None, options: tuple[str, ...], condition: str | None, rules: tuple[str, ...], overwrite: bool,
    compress: bool, events: int | None, size: int, ns: int, files: int | None,
) -> None:
    """Write the system calls of this machine, or the events of a capture, to OUT.scap (- for standard output).

    Each file begins with the processes, descriptors, users and interfaces as they were at its first event. SIGINT and SIGTERM end the
    recording cleanly: what was written can be read. A damaged capture is written up to the damage, and the exit status is 1; of one
    without a usable event, or of none at all, no file is left.

    \b
    falcolib record now.scap.gz --time 10m
    falcolib record new.scap.gz --capture old.scap
    falcolib record shells.scap --capture all.scap --filter "proc.name in (bash, sh)"
    falcolib record part.scap --capture all.scap --size 100M --files 10
    """
    if files and not (events or size or ns):
        raise click.UsageError("--files: --events, --size or --time tells when the next file begins")
    if rules and condition is None:
        raise click.UsageError("-r: the rule files' macros and lists are for --filter")
    if out == "-" and sys.stdout is not None and sys.stdout.isatty():
        raise click.UsageError("a capture isn't written to a terminal: name a file, or pipe it")
    try:
        settings = load(None, options)
    except ConfigError as e:
        raise click.UsageError(str(e)) from None
    started = time.monotonic()
    program = None if condition is None else compile_filter(condition, RuleSet.load(*rules) if rules else None)
    with stop_on_signals() as stopper:
        source = live_source(settings, lambda: log("Watching this machine; Ctrl-C ends it")) if capture is None else CaptureReader(capture)
        writer = CaptureWriter(out, overwrite=overwrite, compress=compress or None, max_events=events or 0, max_bytes=size,
                               max_time=ns, files=files or 0)
        engine = Engine(program)
        try:
            recording = engine.record(source, writer, selected=program is not None)
        except ValueError as e:
            raise click.UsageError(str(e)) from None
        stopper.attach(engine)
        failure: FalcolibError | OSError | None = None
        with AlertWriter().progress(source, "recording"):
            try:
                for _ in recording:
                    pass
            except BrokenPipeError:
                raise
            except (FalcolibError, OSError) as e:
                failure = e
        if writer.recorded.bytes and not isinstance(failure, OSError):
            _report(writer.recorded, out, time.monotonic() - started, engine.stats().lost)
    if failure:
        raise failure


def _report(recorded: Recorded, out: str, seconds: float, lost: int) -> None:
    files = ", ".join(recorded.files) or ("standard output" if out == "-" else out)
    log(f"Events written: {recorded.events} ({recorded.bytes} bytes in {seconds:.2f} s) to {files}")
    if lost:
        log(f"Events lost by the kernel side: {lost}; larger buffers: -o engine.modern_ebpf.buf_size_preset=6")
    if recorded.state or recorded.left_out:
        log(f"Events left out: {recorded.left_out}; kept for the state alone: {recorded.state}")
