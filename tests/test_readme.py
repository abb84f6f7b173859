# SPDX-License-Identifier: Apache-2.0
"""The README tells the truth: its examples run, its first lines show what falcolib is, and what it links to is there."""

import doctest
import re

import pytest

from conftest import ROOT

README = ROOT / "README.md"
#: The time of an event without one is the time at which it is matched.
CLOCK = re.compile(r"\b\d\d:\d\d:\d\d\.\d{9}\b")


class AnyTime(doctest.OutputChecker):
    def check_output(self, want: str, got: str, optionflags: int) -> bool:
        return super().check_output(CLOCK.sub("TIME", want), CLOCK.sub("TIME", got), optionflags)


def test_the_examples_run_and_print_what_the_readme_says(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(ROOT)
    example = doctest.DocTestParser().get_doctest(README.read_text().replace("```", "\n"), {}, "README.md", str(README), 0)
    assert len(example.examples) >= 3
    report: list[str] = []
    doctest.DocTestRunner(AnyTime()).run(example, out=report.append)
    assert not report, "".join(report)


def test_a_rule_an_event_and_its_alert_are_within_the_first_twelve_lines() -> None:
    lines = README.read_text().splitlines()[:12]
    assert lines[0].startswith("# falcolib")
    text = "\n".join(lines)
    assert "- rule:" in text
    assert '"evt.type":' in text
    assert CLOCK.search(text)


def test_links_and_paths_lead_somewhere() -> None:
    for document in (README, *(ROOT / "docs").glob("*.md")):
        for target in re.findall(r"\]\(([^)#]+)\)", document.read_text()):
            if "://" not in target:
                assert (document.parent / target).exists(), f"{document.name}: {target}"
