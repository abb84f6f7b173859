# SPDX-License-Identifier: Apache-2.0
"""``falcolib audit2rbac``: roles from audit logs."""

from __future__ import annotations

import csv
import signal
import sys
import threading
import time
from collections.abc import Iterator
from types import FrameType

import click

from ..config import load
from ..daemon.choices import ChoiceError
from ..daemon.logs import logging_to
from ..daemon.sources import audit_source, is_live
from ..kubernetes import manifests
from ..sources import Source
from .terminal import AlertWriter, log

#: Problems that are told one by one; more are only counted.
SHOWN = 100
#: Seconds between two states of the progress line.
PERIOD = 0.3
VERSION = "unknown"
#: How Go reads booleans.
_BOOLEANS = {**dict.fromkeys(("1", "t", "T", "TRUE", "true", "True"), True),
             **dict.fromkeys(("0", "f", "F", "FALSE", "false", "False"), False)}


class _Boolean(click.ParamType):  # type: ignore[type-arg, unused-ignore]
    name = "true|false"

    def convert(self, value: object, param: click.Parameter | None, ctx: click.Context | None) -> bool:
        if isinstance(value, bool):
            return value
        if value not in _BOOLEANS:
            self.fail(f"expected true or false, not {value!r}", param, ctx)
        return _BOOLEANS[str(value)]


def _pairs(ctx: click.Context, param: click.Parameter, values: tuple[str, ...]) -> dict[str, str] | None:
    """key=value,…, of which commas and quotes are CSV's; None if the option isn't given."""
    if not values:
        return None
    try:
        items = [item.strip() for value in values for item in next(csv.reader([value], strict=True), [])]
    except csv.Error as e:
        raise click.BadParameter(str(e), ctx, param) from None
    return {key: value for key, _, value in (item.partition("=") for item in items if item)}


@click.command("audit2rbac", short_help="Make RBAC roles of what a user did.")
@click.option("-f", "--filename", "sources", multiple=True, metavar="FILE|URL|-",
              help="Audit events: a file, plain or gzip, an http(s) URL, or - for standard input. May be repeated.")
@click.option("--audit", "live", metavar="URL",
              help="Live events, until SIGINT or SIGTERM: http(s)://[HOST][:8765] takes requests of an API server's webhook, with the "
                   "token of $FALCOLIB_AUDIT_TOKEN; file:///PATH follows a log.")
@click.option("--seconds", type=click.FloatRange(0, 1e9, min_open=True), metavar="SECONDS", help="End --audit after this time.")
@click.option("--tls-cert", metavar="FILE", help="The webhook's certificate, PEM; the key may be in the same file.")
@click.option("--tls-key", metavar="FILE", help="The certificate's key.")
@click.option("--tls-client-ca", metavar="FILE", help="Who signs the certificates that the webhook's clients must have.")
@click.option("--user", metavar="NAME", help="Whose calls are to be allowed.")
@click.option("--serviceaccount", metavar="NAMESPACE:NAME", help="The same, for a service account.")
@click.option("-n", "--namespace", default="", metavar="NAME", help="Only calls in this namespace.")
@click.option("--expand-multi-namespace", type=_Boolean(), is_flag=False, flag_value="true", default="true", show_default=True,
              help="A call made in several namespaces is allowed in all.")
@click.option("--expand-multi-name", type=_Boolean(), is_flag=False, flag_value="true", default="true", show_default=True,
              help="A call made on several names is allowed on all.")
@click.option("--generate-name", default=manifests.NAME, show_default=True, metavar="NAME", help="The name of the objects.")
@click.option("--generate-annotations", callback=_pairs, multiple=True, metavar="KEY=VALUE,…",
              help="Annotations of the objects; ${user} and ${version} are replaced. May be repeated.")
@click.option("--generate-labels", callback=_pairs, multiple=True, metavar="KEY=VALUE,…", help="Labels of the objects.")
@click.option("--insecure", is_flag=True, help="Don't verify the certificates of https URLs.")
@click.option("--version", is_flag=True, help="The version that ${version} stands for.")
def audit2rbac_command(
    sources: tuple[str, ...], live: str | None, seconds: float | None, tls_cert: str | None, tls_key: str | None,
    tls_client_ca: str | None, user: str | None, serviceaccount: str | None, namespace: str, expand_multi_namespace: bool,
    expand_multi_name: bool, generate_name: str, generate_annotations: dict[str, str] | None, generate_labels: dict[str, str] | None,
    insecure: bool, version: bool,
) -> None:
    """Make RBAC roles and bindings of what a user did, from the API server's audit events.

    The manifests, as YAML on stdout, allow what was seen and no more, refused calls included. They are those of the program audit2rbac, and
    so are the options. Events are read as JSON lines, EventLists (webhook bodies), Lists, or YAML; what can't be read is told on stderr
    with its line, the rest counts, and the exit status is 1.
    """
    if version:
        click.echo(f"audit2rbac version {VERSION}")
        return
    if user and serviceaccount:
        raise click.UsageError("--user and --serviceaccount exclude each other")
    if not (user or serviceaccount):
        raise click.UsageError("whose calls? Give --user or --serviceaccount")
    if not sources and live is None:
        raise click.UsageError("no events: give --filename, or --audit")
    if live is not None and not is_live(live):
        raise click.UsageError(f"--audit {live}: an address or file:///PATH; a log that is complete is for --filename")
    if seconds is not None and live is None:
        raise click.UsageError("--seconds is how long --audit goes on")
    click.get_current_context().with_resource(logging_to(load(None)))
    try:
        source = None if live is None else _Ending(audit_source(live, tls_cert, tls_key, tls_client_ca))
    except ChoiceError as e:
        raise click.UsageError(str(e)) from None
    progress = _Progress(source, seconds)
    try:
        result = manifests.audit2rbac(
            *sources, *([] if source is None else [source]), user=user or None, service_account=serviceaccount or None,
            namespace=namespace, version=VERSION, insecure=insecure,
            expand_multi_namespace=expand_multi_namespace, expand_multi_name=expand_multi_name, name=generate_name,
            annotations=manifests.ANNOTATIONS if generate_annotations is None else generate_annotations,
            labels=manifests.LABELS if generate_labels is None else generate_labels, on_problem=progress.problem, on_event=progress.event)
    except ValueError as e:
        raise click.UsageError(str(e)) from None
    finally:
        progress.end()
    who = user or serviceaccount
    if result.failures > SHOWN:
        log(f"Error: {result.failures - SHOWN} more like these")
    if not result.matched:
        log(f"Error: none of {result.events} events is a call of {who}{f' in namespace {namespace}' if namespace else ''}")
        raise click.exceptions.Exit(1)
    log(f"{result.events} events read, {result.matched} of them calls of {who}")
    for call in result.uncovered[:SHOWN]:
        log(f"Warning: not allowed by these roles, since it was made as a member of several groups: {call}")
    AlertWriter().write(str(result).removesuffix("\n"))
    if result.failures:
        log(f"Error: {result.failures} of what was read couldn't be used; the roles may lack what it held")
        raise click.exceptions.Exit(1)


class _Ending(Source):
    """A source that ends also where it is told to before it has begun: by a signal, or as the time is over."""

    name = "k8s_audit"

    def __init__(self, source: Source) -> None:
        self._source = source
        self._over = False

    def chunks(self) -> Iterator[bytes | memoryview]:
        chunks = self._source.chunks()
        if self._over:                  # which a source that begins has forgotten
            self._source.close()
        return chunks

    def close(self) -> None:
        self._over = True
        self._source.close()


class _Progress:
    """Problems as they are found, and on a terminal a line that counts. SIGINT and SIGTERM end what is live; else they end the command."""

    def __init__(self, live: Source | None, seconds: float | None) -> None:
        self._live = live
        self._shown = sys.stderr.isatty()
        self._next = time.monotonic() + PERIOD
        self._told = 0
        self._drawn = False
        self._before = {s: signal.signal(s, self._stop) for s in (signal.SIGINT, signal.SIGTERM)}
        self._timer = threading.Timer(seconds, live.close) if live is not None and seconds is not None else None
        if self._timer:
            self._timer.daemon = True
            self._timer.start()

    def _stop(self, signum: int, frame: FrameType | None) -> None:
        live, self._live = self._live, None
        if live is None:                # nothing to be ended, or told twice
            raise KeyboardInterrupt
        live.close()

    def event(self, count: int, matched: int) -> None:
        if self._shown and count % 1000 == 0 and time.monotonic() >= self._next:
            self._next = time.monotonic() + PERIOD
            self._drawn = True
            sys.stderr.write(f"\r{count} events read, {matched} match\x1b[K")
            sys.stderr.flush()

    def problem(self, text: str) -> None:
        self._told += 1
        if self._told <= SHOWN:
            self._erase()
            log(f"Error: {text}")

    def _erase(self) -> None:
        if self._drawn:
            sys.stderr.write("\r\x1b[K")
            self._drawn = False

    def end(self) -> None:
        self._erase()
        if self._timer:
            self._timer.cancel()
        for s, handler in self._before.items():
            signal.signal(s, handler)
