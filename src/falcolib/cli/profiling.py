# SPDX-License-Identifier: Apache-2.0
"""``falcolib profile``: what rules cost on a capture, or on audit events."""

from __future__ import annotations

import json

import click

from ..profiling import profile
from ..rules.bundled import bundled_rules
from ..rules.ruleset import RuleSet
from ..sources import CaptureReader, Source
from ..sources.audit import AuditFile
from .terminal import log


@click.command("profile", short_help="Tell what rules cost on a capture or audit log, by rule, test and field.")
@click.argument("rules", nargs=-1, metavar="[FILE|DIR]…")
@click.option("--capture", metavar="FILE.scap", help="The capture, plain or gzip; - for standard input.")
@click.option("--audit", metavar="FILE",
              help="Kubernetes' audit events in place of a capture: a log or a folder of them, plain or gzip; - for standard input.")
@click.option("--top", default=15, type=click.IntRange(1), metavar="N", help="Rows of each table. Default: 15.")
@click.option("--json", "as_json", is_flag=True, help="All rows, as JSON.")
def profile_command(rules: tuple[str, ...], capture: str | None, audit: str | None, top: int, as_json: bool) -> None:
    """Run rules over a capture or audit events, all that match an event, and tell what they cost: by rule, by test, by field.

    A test that several rules have in common is made once, in front of them; its time is divided among the rules that it decides. Fields
    are read once an event, so their time is nobody's alone. Default rules: those that come with
    falcolib, for what is read.

    \b
    falcolib profile rules.yaml --capture trace.scap
    falcolib profile --audit audit.log --top 5
    """
    if (capture is None) == (audit is None):
        raise click.UsageError("--capture or --audit: one of them tells what the rules are run on")
    source: Source = AuditFile(audit, on_fault=log) if audit is not None else CaptureReader(capture or "-")
    ruleset = RuleSet.load(*(rules or (bundled_rules(source.name),)))
    found = profile(ruleset, source)
    if as_json:
        click.echo(json.dumps(found.as_dict()))
        return
    log(f"{found.events} events in {found.seconds:.2f} s; rules were run on {found.evaluated} of them, {found.ns / 1e6:.1f} ms, with what "
        "profiling itself takes")
    tests, fields = sum(row.ns for row in found.rules), sum(row.ns for row in found.fields)
    whole = (tests + fields) or 1.0

    def share(ns: float) -> str:
        return f"{ns / whole:6.1%} {ns / (found.evaluated or 1):8.1f}"

    click.echo(f"Tests {tests / whole:.0%} of the time, fields {fields / whole:.0%}. ns: per event that rules were run on.")
    click.echo(f"\n{'share':>6} {'ns':>8} {'hits':>8}  rule")
    for rule in found.rules[:top]:
        click.echo(f"{share(rule.ns)} {rule.hits:8}  {rule.rule}")
    click.echo(f"\n{'share':>6} {'ns':>8} {'made':>8} {'true':>6} {'rules':>5}  test")
    for gate in found.gates[:top]:
        click.echo(f"{share(gate.ns)} {gate.runs:8} {gate.hits / gate.runs:6.1%} {gate.rules:5}  {_short(gate.test, 90)}  "
                   f"[{_short(gate.where, 40)}]")
    click.echo(f"\n{'share':>6} {'ns':>8} {'read':>8} {'there':>6}  field")
    for field in found.fields[:top]:
        click.echo(f"{share(field.ns)} {field.runs:8} {field.present / field.runs:6.1%}  {field.field}")


def _short(text: str, width: int) -> str:
    return text if len(text) <= width else text[: width - 1] + "…"
