# SPDX-License-Identifier: Apache-2.0
"""Validation of rule files, with Falco's answer (A7)."""

from __future__ import annotations

import os
from typing import Any

from .report import load_results
from .ruleset import check_files, given_text, load_all


def validate(*paths: str | os.PathLike[str]) -> dict[str, Any]:
    """Checks rule files, in order, as Falco's ``-V`` does: falco_load_results, with errors and warnings for each file.

    Files are read into one collection, so one can use what another before it defines. Raises OSError for a file that can't be read.
    """
    return load_results(check_files(paths)[0])


def validate_text(text: str, name: str = "<string>") -> dict[str, Any]:
    """Checks rules given as a text."""
    return load_results(load_all([given_text(text, name)], stop=False)[1])
