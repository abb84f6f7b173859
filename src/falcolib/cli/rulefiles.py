# SPDX-License-Identifier: Apache-2.0
"""``falcolib validate``, ``falcolib describe`` and ``falcolib rules``: what is in rule files, and where ours are."""

from __future__ import annotations

import json
import textwrap
from typing import TYPE_CHECKING, Any

import click

from ..alert import Priority
from ..compiler import compile_rules
from ..rules import RuleSet
from ..rules.bundled import BUNDLED, bundled_rules
from ..rules.report import Result, excerpt, load_results
from ..rules.ruleset import check_files
from ..schema import nearest

if TYPE_CHECKING:
    from ..lint import Finding


@click.command("validate", short_help="Check rule files.")
@click.argument("files", nargs=-1, metavar="FILE|DIR…")
@click.option("--json", "as_json", is_flag=True, help="Falco's result format; what lints find is under \"lints\".")
@click.option("--lint", "linting", is_flag=True, help="Also tell what is allowed and probably wrong.")
@click.option("--notes", is_flag=True, help="With lints of the severity \"note\": what is a matter of risk or taste. Implies --lint.")
@click.option("--disable", "disabled", multiple=True, metavar="LINT", help="Leave out a lint; may be repeated.")
@click.option("--strict", is_flag=True, help="Exit status 1 also if there are warnings, those of lints among them.")
@click.option("--schema", is_flag=True, help="Print the JSON schema of rule files, for editors, and check nothing.")
def validate_command(files: tuple[str, ...], as_json: bool, linting: bool, notes: bool, disabled: tuple[str, ...], strict: bool,
                     schema: bool) -> None:
    """Check rule files, loaded one after the other in the order given, so that one can use and override what is in those before.

    Errors and warnings are printed with their place and with the nearest valid name. Exit status 1 if there is an error, 2 for wrong usage.

    docs/lints has a page for each lint. A comment "# falcolib: ignore[LINT]" takes out what is found on its line, the line below, or, at
    the "- rule:", in the rule.
    """
    if schema:
        from ..rules.schema import rule_schema

        click.echo(json.dumps(rule_schema(), indent=2))
        return
    if not files:
        raise click.UsageError("Missing argument 'FILE|DIR…'.")
    results, ruleset = check_files(files)
    findings: list[Finding] = []
    if linting or notes:
        from ..lint import lint

        try:
            findings = lint(ruleset, disable=disabled) if ruleset is not None else []
        except ValueError as e:
            raise click.UsageError(f"--disable: {e}") from None
    if as_json:
        row = load_results(results)
        if linting or notes:
            row["lints"] = [f.as_dict() for f in findings if notes or f.severity == "warning"]
        click.echo(json.dumps(row, sort_keys=True))
    else:
        print_results(results)
        if ruleset is not None:
            _print_findings(findings, ruleset, notes)
        elif linting or notes:
            click.echo("Not linted: correct the errors first", err=True)
    warned = any(r.warnings for r in results) or any(f.severity == "warning" for f in findings)
    if ruleset is None or (strict and warned):
        raise click.exceptions.Exit(1)


def print_results(results: list[Result]) -> None:
    """What came of rule files, for people."""
    if not results:
        click.echo("Warning: no rule files found", err=True)
    for result in results:
        click.echo(f"{result.name}: {'Invalid' if result.errors else 'Ok, with warnings' if result.warnings else 'Ok'}")
        for found in (*result.errors, *result.warnings):
            click.echo(textwrap.indent(f"{found.code}: {found}", "  "))


def _print_findings(findings: list[Finding], rules: RuleSet, notes: bool) -> None:
    """What lints found: of one lint and one rule the first in full, then the places of the others."""
    texts = {source.name: source.text for source in rules.sources}
    groups: dict[tuple[str, str, str], list[Finding]] = {}
    left_out = 0
    for finding in findings:
        if finding.severity == "warning" or notes:
            groups.setdefault((finding.id, finding.severity, finding.rule), []).append(finding)
        else:
            left_out += 1
    for first, *others in groups.values():
        click.echo(f"{first.at}: {first.severity} [{first.id}]: {first.message}")
        click.echo(textwrap.indent(excerpt(texts[first.at.name], first.at.offset), "    "), nl=False)
        click.echo(", ".join([f"in rule '{first.rule}'", *(f"macro '{name}'" for name in first.via)]))
        click.echo(f"cure: {first.cure}")
        if others:
            places = [f"{f.at.line + 1}:{f.at.column + 1}" if f.at.name == first.at.name else str(f.at) for f in others]
            click.echo(f"the same at {len(others)} more: {', '.join(places)}")
    if left_out:
        click.echo(f"{left_out} notes; --notes shows them")


@click.command("describe", short_help="Tell what is in rule files, and what it compiles to.")
@click.option("-r", "rules", multiple=True, metavar="FILE|DIR",
              help="A rule file, or a folder of them; may be repeated. Default: the rules that come with falcolib, for system calls.")
@click.option("-l", "--rule", "name", metavar="RULE", help="Only this rule, with its compiled condition, events and fields.")
@click.option("--json", "as_json", is_flag=True, help="Rules, macros and lists with their details, as Falco's -L has them.")
@click.option("--program", is_flag=True,
              help="Print the compiled program instead: the tests of each event type in the order in which they run.")
def describe_command(rules: tuple[str, ...], name: str | None, as_json: bool, program: bool) -> None:
    """List the rules of rule files, tell all about one, or print the program they compile to."""
    ruleset = RuleSet.load(*(rules or (bundled_rules(),)))
    if program:
        click.echo(compile_rules([r for r in ruleset.rules if name in (None, r.name)]).disassemble())
    else:
        print_rules(ruleset, name, as_json)


@click.command("rules", short_help="Tell where the rule files are that come with falcolib.")
@click.argument("source", required=False, type=click.Choice(tuple(BUNDLED)))
def rules_command(source: str | None) -> None:
    """Print the paths of the rule files that come with falcolib, and the sources of events that they are for; of one source, the path
    alone: for -r, before files of your own, for falco.yaml's rules_files, or to copy.

    \b
    falcolib run -r "$(falcolib rules syscall)" -r local.yaml
    """
    if source is not None:
        click.echo(bundled_rules(source))
    else:
        for name in BUNDLED:
            click.echo(f"{name:12} {bundled_rules(name)}")


def print_rules(ruleset: RuleSet, name: str | None, as_json: bool) -> None:
    """All rules, for people or as JSON, or all about one."""
    if as_json or name is not None:
        from ..rules.describe import describe

        try:
            found = describe(ruleset, name)
        except KeyError:
            near = nearest(name or "", (rule.name for rule in ruleset.rules))
            raise click.ClickException(f"there is no rule {name!r}" + (f"; did you mean {near!r}?" if near else "")) from None
        click.echo(json.dumps(found, indent=2, sort_keys=True) if as_json else _rule_text(found["rules"][0]))
    else:
        for rule in ruleset.rules:
            click.echo(f"{rule.name}  [{Priority(rule.priority)}{'' if rule.enabled else ', disabled'}]")
            click.echo(textwrap.fill(rule.description, 110, initial_indent="    ", subsequent_indent="    "))


def _rule_text(rule: dict[str, Any]) -> str:
    """All about a rule, for people."""
    info, details = rule["info"], rule["details"]
    at = info["position"]
    events = [name for name in details["events"] if name != "asyncevent"]       # they are always there: in JSON, for Falco's sake
    rows = {
        "where": f"{at['name']}:{at['line'] + 1}:{at['column'] + 1}",
        "priority": info["priority"] + ("" if info["enabled"] else ", disabled"),
        "source": info["source"], "tags": ", ".join(info["tags"]), "macros": ", ".join(details["macros"]),
        "lists": ", ".join(details["lists"]), "events": ", ".join(events) if len(events) < 60 else f"{len(events)} types",
        "fields": ", ".join(details["condition_fields"]), "prints": ", ".join(details["output_fields"]),
        "exceptions": ", ".join(details["exception_names"]), "output": details["output_compiled"],
        "condition": " ".join(info["condition"].split()), "compiled": details["condition_compiled"],
    }
    texts = [info["name"], textwrap.fill(info["description"], 110, initial_indent="    ", subsequent_indent="    ")]
    texts += [textwrap.fill(text, 130, initial_indent=f"  {title:12}", subsequent_indent=" " * 14, break_long_words=False)
              for title, text in rows.items() if text]
    return "\n".join(texts)
