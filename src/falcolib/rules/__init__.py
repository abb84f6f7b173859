# SPDX-License-Identifier: Apache-2.0
"""Rule files: YAML → items → one collection → conditions expanded and checked. See docs/rules.md.

What reads rules (YAML, the grammar) is imported when it is used: a program from the cache needs none of it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from .._lazy import lazy

if TYPE_CHECKING:
    from .output import AppendOutput, read_append_output
    from .ruleset import RuleSet

__all__ = ["AppendOutput", "RuleSet", "read_append_output"]
__getattr__, __dir__ = lazy(__name__, {".output": ["AppendOutput", "read_append_output"], ".ruleset": ["RuleSet"]})
