# SPDX-License-Identifier: Apache-2.0
"""Tests of rules as data: files of events that a rule must or must not match (docs/rule-tests.md).

    from falcolib.testing import find_tests, run_tests

    for outcome in run_tests(find_tests(["rules"])):
        print(outcome)
"""

from .coverage import Coverage
from .format import Case, RuleTestError, RuleTestFile, find_tests, is_test_file, read_tests
from .runner import Outcome, Runner, run_tests

__all__ = [
    "Case",
    "Coverage",
    "Outcome",
    "RuleTestError",
    "RuleTestFile",
    "Runner",
    "find_tests",
    "is_test_file",
    "read_tests",
    "run_tests",
]
