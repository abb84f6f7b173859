# SPDX-License-Identifier: Apache-2.0
"""The exceptions of falcolib. All derive from FalcolibError, which is never raised itself."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Location:
    """A place in a rule file: its name, and line, column and offset as YAML counts them, from 0."""

    name: str
    line: int
    column: int
    offset: int = 0

    def __str__(self) -> str:
        """As editors and compilers write it: counted from 1."""
        return f"{self.name}:{self.line + 1}:{self.column + 1}"


class FalcolibError(Exception):
    """The base of the others."""


class RuleError(FalcolibError):
    """A rule file that can't be used. The text tells file, line and column, shows the place, and the nearest valid name.

    ``code`` is Falco's (LOAD_ERR_…), ``location`` the place of the mistake, ``result`` what validate() would return for the files.
    """

    def __init__(self, text: str, *, code: str = "", location: Location | None = None, result: dict[str, object] | None = None) -> None:
        super().__init__(text)
        self.code = code
        self.location = location
        self.result = result or {}


class CaptureError(FalcolibError):
    """A capture that is truncated, corrupt or unsupported: the text names the file offset (bytes) and the block."""


class ProgramError(FalcolibError):
    """A compiled program that the verifier refuses."""


class ProbeError(FalcolibError):
    """Live capture isn't possible, or ended: the text tells what this machine or this process lacks, and what to do."""


class StaleEventError(FalcolibError):
    """A field was asked of an event that is no longer the current one, and was not asked for before."""
