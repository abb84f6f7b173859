# SPDX-License-Identifier: Apache-2.0
"""A compiled program: what the compiler makes of rules, and engines run."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from .._native import error_text, ffi, lib, owned, raise_error
from ..errors import ProgramError
from ..regex import compile_pattern
from ..rules.ast import RuleHead, Slot
from .tables import counts

#: Outcomes of a call: it failed | it failed to open a plain path for reading | it succeeded. A path is plain that is absolute and in which
#: nothing is to be resolved; for reading: without any flag to write, create or truncate.
FAILED, FAILED_LOOK, SUCCEEDED = 1, 2, 4
ANY = FAILED | FAILED_LOOK | SUCCEEDED


@dataclass(frozen=True, repr=False)
class Program:
    """Compiled rules: immutable, shared by any number of engines and threads, and picklable.

    code: the bytes that the machine runs (docs/vm.md). rules: in order of definition, which numbers them. slots: what the registers hold,
    by number. outputs: by rule, the numbers of the slots that an alert captures. patterns: the regular expressions, by number.
    outcomes: by event type, with which outcomes of a call rules can match (outcomes.py); empty: with any. hosts: the names that rules
    compare with those of addresses (``fd.sip.name``, …).

    The code may come from anyone: it is verified. A pickle may not, of this or of anything else: reading one can run what its writer
    wants. Keep a cache of programs where nobody else can write.
    """

    code: bytes
    rules: tuple[RuleHead, ...]
    slots: tuple[Slot, ...]
    outputs: tuple[tuple[int, ...], ...]
    patterns: tuple[str, ...]
    outcomes: bytes = b""
    hosts: tuple[str, ...] = ()

    @cached_property
    def hash(self) -> str:
        """SHA-256 of the code, in hexadecimal: equal programs have equal hashes."""
        return hashlib.sha256(self.code).hexdigest()

    @cached_property
    def handle(self) -> Any:
        """The program in the C core, verified.

        Raises ProgramError if it is refused, for instance because it was compiled by another version.
        """
        error = error_text()
        handle = lib.fl_program_load(self.code, len(self.code), error)
        if handle == ffi.NULL:
            raise_error(error.code, error)
        owned(handle, lib.fl_program_free)
        told = tuple(map(len, (self.slots, self.patterns, self.rules, self.outputs)))
        slots, patterns, rules = counts(self.code)
        if told != (slots, patterns, rules, rules):
            raise ProgramError(f"the code has {slots} slots, {patterns} patterns and {rules} rules; its description has {told}")
        return handle

    @cached_property
    def named_slots(self) -> tuple[tuple[str, Slot], ...]:
        """The slots with their texts, which are the fields' names."""
        return tuple((str(slot), slot) for slot in self.slots)

    def check(self) -> None:
        """Does what could fail when the program is put into an engine.

        Raises ProgramError if the verifier refuses it, RuleError for a regular expression that can't be used.
        """
        _ = self.handle
        for pattern in self.patterns:
            compile_pattern(pattern)

    def disassemble(self) -> str:
        """The program as text: one line an instruction, in the notation of docs/vm.md."""
        from .disasm import disassemble

        return disassemble(self)

    def __repr__(self) -> str:
        return f"<Program of {len(self.rules)} rules, {len(self.code)} bytes, {self.hash[:12]}>"

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Program) and self.code == other.code and self.rules == other.rules

    def __hash__(self) -> int:
        return hash(self.code)

    def __getstate__(self) -> dict[str, object]:
        return {name: self.__dict__[name] for name in self.__dataclass_fields__}
