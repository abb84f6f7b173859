# SPDX-License-Identifier: Apache-2.0
"""The README tells the truth: its examples run, its first lines show what falcolib is, and what it links to is there."""

import doctest
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from audit_events import event, text
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
    doctest.DocTestRunner(AnyTime(), verbose=False).run(example, out=report.append)
    assert not report, "".join(report)


def test_a_rule_an_event_and_its_alert_are_within_the_first_twelve_lines() -> None:
    lines = README.read_text().splitlines()[:12]
    assert lines[0].startswith("# falcolib")
    text = "\n".join(lines)
    assert "- rule:" in text
    assert '"evt.type":' in text
    assert CLOCK.search(text)


def commands() -> list[str]:
    """Those of the section on the command line, without their comments."""
    (block,) = re.findall(r"^## On the command line\n+```\n(.*?)```", README.read_text(), re.M | re.S)
    return [re.sub(r"\s{2,}#.*", "", line) for line in block.splitlines()]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What the commands name is there."""
    folder = tmp_path_factory.mktemp("readme")
    shutil.copy(ROOT / "tests" / "data" / "attack1.scap", folder / "trace.scap")
    shutil.copy(ROOT / "rules" / "falcolib_rules.yaml", folder / "rules.yaml")
    (folder / "rules").symlink_to(ROOT / "rules")
    (folder / "local.yaml").write_text("- {rule: Network tool launched, enabled: false, override: {enabled: replace}}\n")
    (folder / "falco.yaml").write_text("rules_files: [rules.yaml]\n")
    (folder / "audit.log").write_bytes(text(event(user={"username": "alice"})))
    (folder / "ca.pem").write_text("-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n")
    return folder


@pytest.mark.parametrize("command", commands())
def test_each_command_works(command: str, folder: Path) -> None:
    """Those that would watch this machine read their rules and settings only."""
    line = command.replace("/etc/falco/", "")
    if re.match("falcolib run(?!.* --(capture|audit) )", line):
        line += " --dry-run"
    path = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
    done = subprocess.run(["sh", "-c", line], cwd=folder, env=os.environ | {"PATH": path}, capture_output=True, text=True)
    assert done.returncode == 0 or command == "falcolib doctor", done.stderr


def test_links_and_paths_lead_somewhere() -> None:
    for document in (README, *(ROOT / "docs").glob("*.md")):
        for target in re.findall(r"\]\(([^)#]+)\)", document.read_text()):
            if "://" not in target:
                assert (document.parent / target).exists(), f"{document.name}: {target}"
