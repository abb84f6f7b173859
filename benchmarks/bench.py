# SPDX-License-Identifier: Apache-2.0
"""What all sections need: the capture in its forms, the unit of time, and how a row is printed."""

from __future__ import annotations

import re
import subprocess
from collections.abc import Sequence
from functools import cached_property
from pathlib import Path

from . import corpus
from .measure import instructions, least, run_on


class Bench:
    """A capture to measure on, in a folder of its own."""

    def __init__(self, capture: Path, folder: Path, counting: bool) -> None:
        self.capture = capture
        self.folder = folder
        self.counting = counting
        self.plain, self.empty = corpus.plain(capture, folder)
        self.is_mix1 = capture.name == corpus.MIX1.name
        self.unit = least(["gzip", "-dc", str(capture)], runs=11)[0].cpu
        self.never = self.rules("never", corpus.NEVER)

    def rules(self, name: str, text: str) -> Path:
        """A rule file of a text."""
        path = self.folder / f"{name}.yaml"
        path.write_text(text)
        return path

    @cached_property
    def events(self) -> int:
        """How many there are in the capture."""
        done = subprocess.run(run_on(self.plain, [self.never]), capture_output=True, text=True, check=True)
        found = re.search(r"Events read: (\d+)", done.stderr)
        assert found, done.stderr
        return int(found[1])

    @cached_property
    def sets(self) -> dict[str, list[Path]]:
        """The sets of rules, by name."""
        public = corpus.public_rules()
        sets = {"one rule that never matches": [self.never]}
        if public == corpus.PUBLIC:
            sets["25 rules: falco_rules.yaml"] = public[:1]
        sets["93 rules: the three public files" if public == corpus.PUBLIC else "our default rules"] = public
        sets["930: copies, != variantN appended"] = [*public, self.rules("appended", corpus.appended(public))]
        sets["930: copies, a literal changed"] = [*public, self.rules("inside", corpus.inside(public))]
        return sets

    def instructions(self, rules: Sequence[Path], *options: str) -> float:
        """Instructions an event, beyond those on an empty capture. The rules come from the cache, which must be warm."""
        full, empty = (instructions(run_on(capture, rules, *options)) for capture in (self.plain, self.empty))
        return (full - empty) / self.events


def table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    """A table for people and for Markdown."""
    widths = [max(len(row[i]) for row in (head, *rows)) for i in range(len(head))]
    for row in (head, ["-" * width for width in widths], *rows):
        cells = [cell.ljust(width) if i == 0 else cell.rjust(width) for i, (cell, width) in enumerate(zip(row, widths, strict=True))]
        print("| " + " | ".join(cells) + " |", flush=True)
