# SPDX-License-Identifier: Apache-2.0
"""The rule files that come with falcolib."""

from __future__ import annotations

from pathlib import Path

#: By the source of the events that they are for.
BUNDLED = {"syscall": "falcolib_rules.yaml", "k8s_audit": "k8s_audit_rules.yaml"}


def bundled_rules(source: str = "syscall") -> Path:
    """The path of the rule file that comes with falcolib for a source of events, ``syscall`` or ``k8s_audit``: for RuleSet.load(), alone
    or with files after it that append to its rules.

    Raises ValueError for another source.
    """
    from importlib import resources  # costs as much as reading cached rules

    if source not in BUNDLED:
        raise ValueError(f"no rules for {source!r} come with falcolib; there are some for {', '.join(BUNDLED)}")
    packaged = Path(str(resources.files("falcolib"))) / "data" / BUNDLED[source]
    return packaged if packaged.is_file() else Path(__file__).parents[3] / "rules" / BUNDLED[source]    # of an editable installation
