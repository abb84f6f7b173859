# SPDX-License-Identifier: Apache-2.0
"""``falcolib explain``: why a rule matches an event, or which test stopped it."""

from __future__ import annotations

import json
import sys
from typing import NamedTuple

import click

from ..alert import Priority
from ..core import Matching
from ..engine import Engine
from ..event import Event
from ..explain import Explanation
from ..explain.text import PLAIN
from ..rules import RuleSet
from ..rules.bundled import bundled_rules
from ..sources import CaptureReader, Source
from ..sources.audit import AuditFile


class _Wanted(NamedTuple):
    """The event that is asked for: by its number, else by its time (ns)."""

    num: int | None
    time: int | None
    rule: str | None


@click.command("explain", short_help="Why a rule matches an event, or what stops it.")
@click.option("--capture", "capture", metavar="FILE.scap", help="The capture with the event, plain or gzip; - for standard input.")
@click.option("--audit", "audit", metavar="FILE", help="Kubernetes audit events instead of a capture; - for standard input.")
@click.option("--event", "num", type=click.IntRange(min=1), metavar="N", help="The event, by its number (evt.num).")
@click.option("--alert", "alert", metavar="ALERT",
              help="The event of an alert, and its rule: the alert's JSON line, its id (syscall:85:RULE), or - for a JSON line on stdin.")
@click.option("--fields", "fields", metavar="JSON",
              help="Instead of a capture's, an event of these fields: '{\"evt.type\": \"openat\", …}'.")
@click.option("--rule", "rule", metavar="NAME", help="The rule to explain. Default: all.")
@click.option("-r", "rules", multiple=True, metavar="FILE|DIR",
              help="A rule file, or a folder of them; may be repeated. Default: the rules that come with falcolib, for what is read.")
@click.option("--matching", type=click.Choice(["first", "all"]), default="first", show_default=True,
              help="Whether an event is taken by the first rule that matches it, as by falcolib run.")
@click.option("--priority", metavar="NAME", help="The least urgent priority that rules must have, as for falcolib run. Default: all.")
@click.option("--json", "as_json", is_flag=True, help="The same as JSON.")
def explain_command(
    capture: str | None, audit: str | None, num: int | None, alert: str | None, fields: str | None, rule: str | None,
    rules: tuple[str, ...], matching: Matching, priority: str | None, as_json: bool,
) -> None:
    """Tell why a rule matches an event, or which test stopped it: every test with the value it saw, its outcome, and its place.

    A value that is absent makes every test of it false, whatever the operator. Tests are shown in the order in which they are written,
    until one settles the outcome. Exit status 0 whether the rule matches or not, 1 if there is no such event or rule.

    \b
    falcolib explain --capture trace.scap --event 4711
    falcolib explain --capture trace.scap --event 4711 --rule "Terminal shell in container" -r falco_rules.yaml
    falcolib explain --capture trace.scap --alert "$(head -1 alerts.jsonl)"
    falcolib explain --fields '{"evt.type": "execve", "proc.name": "sh"}'
    """
    if sum(given is not None for given in (fields, capture, audit)) != 1:
        raise click.UsageError("--capture or --audit with --event or --alert, or --fields: one of them tells the event")
    if fields is None and (num is None) == (alert is None):
        raise click.UsageError("--event N or --alert ALERT: one of them tells which event")
    if fields is not None and (num or alert):
        raise click.UsageError("--fields is an event of its own: no --event, no --alert")
    try:
        ruleset = RuleSet.load(*(rules or (bundled_rules("k8s_audit" if audit else "syscall"),))).select(priority=priority)
    except ValueError as e:
        raise click.UsageError(f"--priority: {e}; one of " + ", ".join(str(p).lower() for p in Priority)) from None
    engine = Engine(ruleset, matching=matching)
    try:
        if fields is not None:
            found = engine.explain(_given(fields), rule)
        else:
            wanted = _Wanted(num, None, rule) if alert is None else _read_alert(alert, rule)
            source: Source = CaptureReader(capture) if capture is not None else AuditFile(audit or "-")
            found = _explain_event(engine, source, capture or audit or "-", wanted)
    except (KeyError, ValueError, TypeError) as e:
        raise click.ClickException(str(e.args[0])) from None
    if as_json:
        click.echo(json.dumps(found.as_dict(), ensure_ascii=True, sort_keys=False))
        return
    text = str(found)
    try:
        text.encode((sys.stdout and sys.stdout.encoding) or "ascii")
    except UnicodeEncodeError:
        text = text.translate(PLAIN)
    click.echo(text)


def _given(text: str) -> dict[str, object]:
    try:
        event = json.loads(text)
    except ValueError as e:
        raise click.UsageError(f"--fields: no JSON: {e}") from None
    if not isinstance(event, dict):
        raise click.UsageError("--fields: an object of fields and values")
    return event


def _read_alert(text: str, rule: str | None) -> _Wanted:
    """What an alert tells of its event. Raises click.UsageError."""
    if text == "-":
        text = sys.stdin.readline()
    if not text.lstrip().startswith("{"):
        parts = text.split(":", 2)
        if len(parts) != 3 or not parts[1].isdigit():
            raise click.UsageError("--alert: neither a JSON line nor an id such as syscall:85:RULE")
        return _Wanted(int(parts[1]), None, rule or parts[2])
    try:
        line = json.loads(text)
        values = line.get("output_fields") or {}
        rule = rule or line.get("rule")
    except (ValueError, AttributeError) as e:
        raise click.UsageError(f"--alert: no JSON line of an alert: {e}") from None
    when = values.get("evt.time", values.get("evt.time.iso8601", values.get("evt.rawtime")))
    num = values.get("evt.num")
    if not isinstance(num, int) and not isinstance(when, int):
        raise click.UsageError("--alert: the alert has neither evt.num nor evt.time in its output_fields; --event tells the number")
    return _Wanted(num if isinstance(num, int) else None, when if isinstance(when, int) else None, rule)


def _explain_event(engine: Engine, source: Source, name: str, wanted: _Wanted) -> Explanation:
    """Raises ClickException if there is no such event."""
    last: Event | None = None
    best: Explanation | None = None
    for event in engine.events(source, start=wanted.num or 0):
        if wanted.num is not None:
            if event.num == wanted.num:
                return engine.explain(event, wanted.rule)
            raise click.ClickException(f"{name}: event {wanted.num} is none that rules see (the begin of a call, or there for the state "
                                       f"alone); the next is {event.num}, {event.type}")
        if event.time == wanted.time:           # several events may have one time: the one of the alert is what its rule matches
            found = engine.explain(event, wanted.rule)
            best = best or found
            if found.matched:
                return found
        last = event
    if best is not None:
        return best
    if wanted.num is not None:
        raise click.ClickException(f"{name}: there is no event {wanted.num}: it has {engine.stats().events} events")
    raise click.ClickException(f"{name}: no event happened at {wanted.time} ns" + (f"; the last is at {last.time} ns" if last else ""))
