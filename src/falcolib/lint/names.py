# SPDX-License-Identifier: Apache-2.0
"""attacker-chosen-exception: what silences a rule is text that the watched process chooses itself."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace

from ..errors import Location
from ..rules.ast import Check, Checked, CheckedAnd, CheckedNot, CheckedRule, FieldSlot, Slot
from ..rules.check import checks_of
from ..rules.text import check_text
from .finding import Finding, at_check

#: Texts that whoever starts a process chooses freely: arguments (argv[0] among them) and environment.
_TEXTS = frozenset({
    "proc.args", "proc.cmdline", "proc.exe", "proc.pexe", "proc.pcmdline", "proc.cmdnargs", "proc.cmdlenargs", "proc.env", "proc.aenv",
    "proc.acmdline", "proc.aargs", "proc.aexe", "proc.exeline", "proc.pexeline",
})
#: Names that a process takes from the name of its program's file, wherever that lies, and can change by prctl(PR_SET_NAME).
_NAMES = frozenset({"proc.name", "proc.pname", "proc.aname", "proc.sname", "proc.vpgid.name", "proc.pgid.name", "thread.name"})
_EXACT = frozenset({"=", "in", "intersects"})


def _field(slot: Slot) -> str:
    """The field that a slot is about; of a transformer, its first."""
    while not isinstance(slot, FieldSlot):
        slot = next((x for x in slot.inputs if not isinstance(x, str | bytes | int | float | tuple)), None)  # type: ignore[assignment]
        if slot is None:
            return ""
    return slot.info.name


class AttackerChosenException:
    """An exception that whoever runs a program can make true."""

    id = "attacker-chosen-exception"
    severity = "warning"

    def find(self, rules: Sequence[CheckedRule]) -> Iterator[Finding]:
        """Exceptions, which are the alternatives of ``and not``, that test nothing but such texts. Of exact names a note: they are so
        common that each is a choice, and not a mistake."""
        told: set[Location] = set()
        for rule in rules:
            for exception in _exceptions(rule.condition):
                checks = list(checks_of(exception))
                names = [_field(check.slot) for check in checks]
                if not all(name in _TEXTS or name in _NAMES for name in names) or any(check.at in told for check in checks):
                    continue
                told.update(check.at for check in checks)
                exact = all(name in _NAMES and check.op in _EXACT for name, check in zip(names, checks, strict=True))
                fields = " and ".join(dict.fromkeys(names))
                shown = " and ".join(check_text(check, 3) for check in checks[:3])
                found = at_check(self, rule, checks[0], f"whoever chooses {fields} silences this rule: {shown}",
                                 "test what the kernel says, too: proc.exepath, proc.aexepath[1], the user, the container's image")
                yield replace(found, severity="note") if exact else found


def _exceptions(condition: Checked) -> Iterator[Checked]:
    """What each, by itself, keeps a rule from matching: the alternatives of what is negated at the top of its condition."""
    todo: list[tuple[Checked, bool]] = [(condition, False)]
    while todo:
        node, negated = todo.pop()
        if isinstance(node, CheckedNot):
            todo.append((node.child, not negated))
        elif isinstance(node, Check):
            if negated:
                yield node
        elif isinstance(node, CheckedAnd) != negated:
            todo += [(child, negated) for child in reversed(node.children)]
        elif negated:
            yield node
