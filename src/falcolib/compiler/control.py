# SPDX-License-Identifier: Apache-2.0
"""Which rules a test decides about: those whose instruction is reached or not by its outcome, by itself or through other tests."""

from __future__ import annotations

from .disasm import Listing


def decided_by(listing: Listing, first: int, count: int) -> list[int]:
    """For each instruction of a section or gate, the rules that depend on it, as the bits of a number.

    An instruction depends on a branch if it comes after one outcome for certain, and not for certain after the branch itself
    (control dependence, by the immediate postdominators: jumps go forward, so one pass from the end finds them).
    """
    end = first + count
    after = [0] * count + [end]                     # the immediate postdominators; of the last instruction the end

    def at(place: int) -> int:
        return after[place - first]

    def common(a: int, b: int) -> int:
        while a != b:
            if a < b:
                a = at(a)
            else:
                b = at(b)
        return a

    rules = [0] * count
    for place in range(end - 1, first - 1, -1):
        name, operand, target = listing.flow(place)
        if name in ("stop", "true", "false"):
            after[place - first] = end
        elif name == "rule":
            after[place - first] = place + 1
        else:
            join = after[place - first] = common(place + 1, target)
            for way in (place + 1, target):
                while way != join:
                    name, operand, _ = listing.flow(way)
                    rules[place - first] |= rules[way - first] | (1 << operand if name == "rule" else 0)
                    way = at(way)
    return rules
