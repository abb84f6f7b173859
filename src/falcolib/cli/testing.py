# SPDX-License-Identifier: Apache-2.0
"""``falcolib test``: runs the tests of rules."""

from __future__ import annotations

import fnmatch
import json
from collections.abc import Iterable, Iterator

import click

from ..rules import RuleSet
from ..testing import Coverage, Outcome, RuleTestFile, Runner, find_tests


@click.command("test", short_help="Run the tests of rules.")
@click.argument("paths", nargs=-1, required=True, metavar="FILE|DIR…")
@click.option("-r", "rules", multiple=True, metavar="FILE|DIR",
              help="Test these rules instead of those that the files name; may be repeated.")
@click.option("-k", "pattern", metavar="PATTERN", help="Only rules whose name matches; * and ? as in file names.")
@click.option("-x", "stop", is_flag=True, help="Stop at the first failure.")
@click.option("-v", "--verbose", is_flag=True, help="Print every case.")
@click.option("--coverage", is_flag=True,
              help="Also list rules without tests, and tests of conditions that no case made true, or none made false.")
@click.option("--fail-under", type=click.FloatRange(0, 100), metavar="PERCENT", help="Fail if the coverage is less; implies --coverage.")
@click.option("--json", "as_json", is_flag=True, help="One JSON object instead of text.")
def test_command(paths: tuple[str, ...], rules: tuple[str, ...], pattern: str | None, stop: bool, verbose: bool, coverage: bool,
                 fail_under: float | None, as_json: bool) -> None:
    """Run the tests of rules: events that a rule must or must not match, in files beside the rules.

    A path is a file of tests, a rule file with tests in tests/ beside it, or a folder with such below it. Exit status 1 if a test fails,
    or there is none. docs/rule-tests.md tells how tests are written.
    """
    files = find_tests(paths)
    if not files:
        raise click.ClickException(f"no tests in {', '.join(paths)}: a file of tests has 'tests:', with a rule and an event each")
    covered = Coverage() if coverage or fail_under is not None else None
    outcomes: list[Outcome] = []
    for outcome in _run(files, rules, pattern, covered):
        outcomes.append(outcome)
        if not as_json and (verbose or not outcome.passed):
            click.echo(str(outcome))
        if stop and not outcome.passed:
            break
    failed = sum(not o.passed for o in outcomes)
    share = _share(covered) if covered is not None else None
    if as_json:
        click.echo(json.dumps(_as_dict(outcomes, covered, share), sort_keys=True))
    else:
        if covered is not None:
            _print_coverage(covered)
        names = len({o.case.rule for o in outcomes})
        click.echo(f"{len(outcomes)} tests of {names} rules in {len(files)} files: " + (f"{failed} FAILED" if failed else "all passed")
                   + (f"; {share:.1f}% of the outcomes of conditions' tests seen" if share is not None else ""))
    if not outcomes:
        raise click.ClickException(f"no rule matches {pattern!r}")
    if share is not None and fail_under is not None and share < fail_under:
        raise click.ClickException(f"the coverage, {share:.1f}%, is less than {fail_under:g}%")
    if failed:
        raise click.exceptions.Exit(1)


def _run(files: Iterable[RuleTestFile], rules: tuple[str, ...], pattern: str | None, covered: Coverage | None) -> Iterator[Outcome]:
    loaded: dict[tuple[str, ...], RuleSet] = {}
    for file in files:
        paths = rules or tuple(map(str, file.rules))
        ruleset = loaded.get(paths)
        if ruleset is None:
            ruleset = loaded[paths] = RuleSet.load(*paths)
            if covered is not None:
                covered.add_rules(ruleset.rules)
        runner = Runner(file, ruleset, traced=covered is not None)
        for case in file.cases:
            if pattern is None or fnmatch.fnmatchcase(case.rule, pattern):
                outcome = runner.run(case)
                if covered is not None:
                    covered.add(outcome)
                yield outcome


def _share(covered: Coverage) -> float:
    seen, there = covered.counts()
    return 100 * seen / there if there else 100.0


def _print_coverage(covered: Coverage) -> None:
    for rule in covered.untested:
        click.echo(f"{rule.at}: no tests: rule '{rule.name}'")
    for rule, matches in covered.one_sided:
        click.echo(f"{rule.at}: no event that it must {'not ' if matches else ''}match: rule '{rule.name}'")
    for gap in covered.gaps():
        click.echo(str(gap))


def _as_dict(outcomes: list[Outcome], covered: Coverage | None, share: float | None) -> dict[str, object]:
    def place(at: object) -> str:
        return str(at)

    found: dict[str, object] = {
        "passed": sum(o.passed for o in outcomes), "failed": sum(not o.passed for o in outcomes),
        "tests": [{"rule": o.case.rule, "case": o.case.label, "at": place(o.case.at), "passed": o.passed, "why": list(o.why)}
                  for o in outcomes],
    }
    if covered is not None:
        found["coverage"] = {
            "percent": round(share or 0.0, 2),
            "untested": [rule.name for rule in covered.untested],
            "never_matched": [rule.name for rule, matches in covered.one_sided if not matches],
            "always_matched": [rule.name for rule, matches in covered.one_sided if matches],
            "gaps": [{"rule": g.rule, "at": place(g.at), "never": g.missing, "test": str(g.check.slot)} for g in covered.gaps()],
        }
    return found
