# SPDX-License-Identifier: Apache-2.0
"""``falcolib validate`` and ``falcolib describe``: what is in rule files."""

from __future__ import annotations

import json
import textwrap

import click

from ..alert import Priority
from ..compiler import compile_rules
from ..rules import RuleSet, validate
from .run import default_rules


@click.command("validate", short_help="Check rule files.")
@click.argument("files", nargs=-1, required=True, metavar="FILE…")
@click.option("--json", "as_json", is_flag=True, help="Falco's result format.")
def validate_command(files: tuple[str, ...], as_json: bool) -> None:
    """Check rule files, loaded in the order given. Exit status 1 if there is an error."""
    result = validate(*files)
    results = result["falco_load_results"]
    if as_json:
        click.echo(json.dumps(result, sort_keys=True))
    else:
        for row in results:
            state = "Invalid" if row["errors"] else "Ok, with warnings" if row["warnings"] else "Ok"
            click.echo(f"{row['name']}: {state}")
            for kind in ("errors", "warnings"):
                for item in row[kind]:
                    place = item["context"]["locations"][-1]["position"]
                    click.echo(f"  {place['name']}:{place['line'] + 1}:{place['column'] + 1}: {item['code']}: {item['message']}")
    if any(row["errors"] for row in results):
        raise click.exceptions.Exit(1)


@click.command("describe", short_help="List rules, or print the program they compile to.")
@click.option("-r", "rules", multiple=True, metavar="FILE|DIR",
              help="A rule file, or a folder of them; may be repeated. Default: our own rules.")
@click.option("--program", is_flag=True,
              help="Print the compiled program instead: the tests of each event type in the order in which they run.")
def describe_command(rules: tuple[str, ...], program: bool) -> None:
    """List the rules of rule files, or print the program they compile to."""
    ruleset = RuleSet.load(*(rules or (default_rules(),)))
    if program:
        click.echo(compile_rules(ruleset.rules).disassemble())
        return
    for rule in ruleset.rules:
        click.echo(f"{rule.name}  [{Priority(rule.priority)}{'' if rule.enabled else ', disabled'}]")
        click.echo(textwrap.fill(rule.description, 110, initial_indent="    ", subsequent_indent="    "))
