# SPDX-License-Identifier: Apache-2.0
"""What docs and README name is there: links, files, commands, targets of make."""

import re
from pathlib import Path

import pytest

from conftest import ROOT
from falcolib.cli import COMMANDS

PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]
TEXTS = {page: page.read_text() for page in PAGES}
NAMES = {path.name for folder in ("src", "csrc", "tests", "benchmarks", ".ci") for path in (ROOT / folder).rglob("*")} | {"setup.py"}
MAKE = set(re.findall(r"^\.PHONY: (.*)$", (ROOT / "Makefile").read_text(), re.M)[0].split())

every_page = pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))


def anchors(page: Path) -> set[str]:
    """What can be linked to in a page: its headings, as GitHub names them."""
    titles = re.findall(r"^#+ (.*)$", TEXTS[page], re.M)
    return {re.sub(r"[^\w\- ]", "", title.lower()).replace(" ", "-") for title in titles}


@every_page
def test_links_lead_somewhere(page: Path) -> None:
    for link in re.findall(r"\]\(([^)\s]+)\)", TEXTS[page]):
        if re.match(r"https?:", link):
            continue
        path, _, anchor = link.partition("#")
        target = (page.parent / path).resolve() if path else page
        assert target.exists(), link
        assert not anchor or anchor in anchors(target), link


@every_page
def test_files_are_there(page: Path) -> None:
    for code in re.findall(r"`([^`\n]+)`", TEXTS[page]):
        for name in re.findall(r"(?<![\w./-])(?:src|csrc|tests|docs|benchmarks|deploy|acceptance)/[\w./*-]*", code):
            assert any(ROOT.glob(name.rstrip("/."))), name
        for name in re.findall(r"(?<![\w./-])[\w-]+\.(?:py|c|h|def)\b", code):
            assert name in NAMES, name


@every_page
def test_commands_are_there(page: Path) -> None:
    blocks = re.split(r"^```", TEXTS[page], flags=re.M)[1::2]
    shells = [line for block in blocks for line in block.splitlines() if re.match(r"(sh|console)?\n", block)]
    for line in re.findall(r"`([^`\n]+)`", TEXTS[page]) + shells:
        for name in re.findall(r"^make ([a-z][a-z-]*)", line):
            assert name in MAKE, line
        for name in re.findall(r"^(?:\$ )?falcolib ([a-z][a-z0-9-]*)", line):
            assert name in COMMANDS, line


def test_every_page_is_in_the_index() -> None:
    listed = set(re.findall(r"\]\(([\w./-]+\.md)\)", TEXTS[ROOT / "docs" / "index.md"]))
    assert not {page.name for page in (ROOT / "docs").glob("*.md")} - listed - {"index.md"}
    listed = set(re.findall(r"\]\(([\w./-]+\.md)\)", TEXTS[ROOT / "docs" / "lints" / "index.md"]))
    assert not {page.name for page in (ROOT / "docs" / "lints").glob("*.md")} - listed - {"index.md"}
