# SPDX-License-Identifier: Apache-2.0
"""The compiler: checked rules to a program of the filter machine.

share makes one graph of all conditions; fold takes out of it what the type of an event decides; plan orders what is left as a tree of
gates; emit writes the instructions, and tables the bytes. disasm shows them. Who has a program already needs none of them: they are
imported when something is compiled.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

from .program import Program

if TYPE_CHECKING:
    from ..rules.ast import CheckedRule

__all__ = ["Program", "compile_rules"]


def compile_rules(rules: Iterable[CheckedRule], *, optimise: bool = True) -> Program:
    """Compiles rules to a program. Their order is that of definition, and numbers them.

    optimise: off, each rule is tested by itself and as it is written; this changes nothing but the cost.
    """
    from . import compile

    return compile.compile_rules(rules, optimise=optimise)
