# SPDX-License-Identifier: Apache-2.0
"""``falcolib validate`` and ``falcolib describe``: what is in rule files."""

from __future__ import annotations

import json
import textwrap

import click

from ..alert import Priority
from ..compiler import compile_rules
from ..rules import RuleSet
from ..rules.files import given_files
from ..rules.report import load_results
from ..rules.ruleset import load_all
from .run import default_rules


@click.command("validate", short_help="Check rule files.")
@click.argument("files", nargs=-1, required=True, metavar="FILE|DIR…")
@click.option("--json", "as_json", is_flag=True, help="Falco's result format.")
def validate_command(files: tuple[str, ...], as_json: bool) -> None:
    """Check rule files, loaded one after the other in the order given, so that one can use and override what is in those before.

    Errors and warnings are printed with their place and with the nearest valid name. Exit status 1 if there is an error.
    """
    _, results, _, problem = load_all(given_files(files), stop=False)
    if as_json:
        click.echo(json.dumps(load_results(results), sort_keys=True))
    else:
        if not results:
            click.echo("Warning: no rule files found", err=True)
        for result in results:
            click.echo(f"{result.name}: {'Invalid' if result.errors else 'Ok, with warnings' if result.warnings else 'Ok'}")
            for found in (*result.errors, *result.warnings):
                click.echo(textwrap.indent(f"{found.code}: {found}", "  "))
    if problem is not None:
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
