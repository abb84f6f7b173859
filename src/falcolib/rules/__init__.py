# SPDX-License-Identifier: Apache-2.0
"""Rule files: YAML → items → one collection → conditions expanded and checked. See docs/rules.md."""

from .output import AppendOutput, read_append_output
from .ruleset import RuleSet
from .validate import validate, validate_text

__all__ = ["AppendOutput", "RuleSet", "read_append_output", "validate", "validate_text"]
