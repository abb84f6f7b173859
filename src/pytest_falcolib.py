# SPDX-License-Identifier: Apache-2.0
"""pytest's plugin: collects files of rule tests (docs/rule-tests.md), each of their cases a test.

It stands outside the package, so that pytest starts without importing falcolib where there are no such files.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from falcolib.testing import Case, Outcome, Runner

#: As in falcolib.testing.format, whose is_test_file decides: most YAML files are ruled out by this alone.
_tests_key = re.compile(rb"^tests[ \t]*:", re.MULTILINE)
_LARGEST = 8 << 20


def pytest_addoption(parser: pytest.Parser) -> None:
    """``-p no:falcolib`` and ``falcolib = false`` in the configuration turn the plugin off."""
    parser.addini("falcolib", "collect falcolib's files of rule tests (*.yaml with 'tests:')", type="bool", default=True)


def pytest_collect_file(file_path: Path, parent: pytest.Collector) -> RuleTestsFile | None:
    """Files of rule tests, by what is in them."""
    if file_path.suffix not in (".yaml", ".yml") or not parent.config.getini("falcolib"):
        return None
    try:
        if file_path.stat().st_size > _LARGEST or not _tests_key.search(file_path.read_bytes()):
            return None
        from falcolib.testing import is_test_file

        if not is_test_file(file_path):
            return None
    except (OSError, ImportError):
        return None
    return RuleTestsFile.from_parent(parent, path=file_path)


class RuleTestsFile(pytest.File):
    """A file of rule tests."""

    def collect(self) -> Iterator[RuleTestItem]:
        """Its cases."""
        from falcolib import FalcolibError, RuleSet
        from falcolib.testing import Runner, read_tests

        try:
            file = read_tests(self.path)
            runner = Runner(file, RuleSet.load(*file.rules))
        except FalcolibError as e:
            raise self.CollectError(str(e)) from None
        for case in file.cases:
            yield RuleTestItem.from_parent(self, name=case.id, case=case, runner=runner)


class RuleTestFailed(Exception):
    """A case that failed."""


class RuleTestItem(pytest.Item):
    """A case of a file of rule tests."""

    def __init__(self, *, case: Case, runner: Runner, **rest: object) -> None:
        super().__init__(**rest)  # type: ignore[arg-type]
        self.case = case
        self.runner = runner

    def runtest(self) -> None:
        outcome: Outcome = self.runner.run(self.case)
        if not outcome.passed:
            raise RuleTestFailed(str(outcome))

    def repr_failure(self, excinfo: pytest.ExceptionInfo[BaseException], style: object = None) -> str:
        from falcolib import FalcolibError

        if isinstance(excinfo.value, RuleTestFailed | FalcolibError | OSError):
            return str(excinfo.value)
        return str(super().repr_failure(excinfo))

    def reportinfo(self) -> tuple[Path, int, str]:
        return self.path, self.case.at.line, self.case.id
