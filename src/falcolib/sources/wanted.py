# SPDX-License-Identifier: Apache-2.0
"""What the probe must tell: as little as the rules and the state need."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from .. import schema
from .._native import lib
from ..compiler.program import ANY

if TYPE_CHECKING:
    from ..compiler import Program

#: What descriptors do, where any call of these categories is wanted.
_NET, _CLOSED = frozenset(("NET",)), frozenset(("FILE", "IO_READ", "IO_WRITE", "IO_OTHER"))


@dataclass(frozen=True, slots=True)
class BaseSyscalls:
    """Which calls are told of besides those that rules name: falco.yaml's ``base_syscalls`` (source: spec, engine.md I2).

    custom_set: names of calls in place of those that the state needs; ``!name``: not this one, whatever needs it. repair: custom_set is
    completed by the least that the state needs; where it is empty, that is all that the state gets. all: also calls with high volume that
    rules name, as read and write (Falco's default is not; falcolib's is).

    What the state isn't told it doesn't know: fields of processes and descriptors may be absent or old.
    """

    custom_set: tuple[str, ...] = ()
    repair: bool = False
    all: bool = True

    def unknown(self) -> list[str]:
        """What stands in custom_set and is no name of a call."""
        names = {call.name for call in schema.SYSCALLS.values()}
        return [name for name in self.custom_set if name.removeprefix("!") not in names]

    def chosen(self, rules: set[int]) -> set[int]:
        """Portable ids of the calls to tell of, where rules need these."""
        calls = schema.SYSCALLS
        names = {call.name: call.id for call in calls.values()}
        given = {names[name] for name in self.custom_set if name in names}
        without = {names[name[1:]] for name in self.custom_set if name[:1] == "!" and name[1:] in names}
        chosen = (rules | (given if given or self.repair else schema.state_calls())) - without
        if self.repair:
            category = {id_: schema.EVENTS[calls[id_].event].category_name for id_ in chosen}
            needed: set[str] = set()
            if _NET & set(category.values()):
                needed |= {"socket", "getsockopt", "close"}
            if {names[name] for name in ("accept", "accept4", "listen")} & chosen:
                needed.add("bind")
            if _CLOSED & set(category.values()):
                needed.add("close")
            chosen |= schema.least_calls() | {names[name] for name in needed}
        return chosen if self.all else chosen - ignored_calls()


def ignored_calls() -> set[int]:
    """Portable ids of the calls with high volume that rules see only with base_syscalls.all."""
    state = schema.state_calls()
    return {call.id for call in schema.SYSCALLS.values()
            if call.id not in state and schema.EVENTS[call.event].category_name in ("IO_READ", "IO_WRITE")}


@dataclass(frozen=True, slots=True)
class Wanted:
    """What a program's rules and the state need; everything where there are no rules.

    calls: a byte each by portable id. guarded: names of the guarded calls that are wanted. signals: whether deliveries of signals are.
    realpath: whether ``fd.realpath`` is, which costs each open as much as all the rest of its record. outcomes: with which outcomes of a
    call rules can match, by event type (compiler/outcomes.py). missing: names of the calls that rules need and are not told of.
    """

    calls: bytes
    guarded: tuple[str, ...]
    signals: bool
    realpath: bool
    outcomes: bytes
    missing: tuple[str, ...]

    @classmethod
    def by(cls, program: Program | None, base: BaseSyscalls) -> Wanted:
        everything = program is None or not program.rules

        def needed(event: int) -> bool:
            return everything or bool(lib.fl_program_needs(program.handle, event))     # type: ignore[union-attr]

        calls = bytearray(512)
        rules = {call.id for call in schema.SYSCALLS.values() if needed(call.event)}
        for id_ in base.chosen(rules):
            calls[id_] = 1
        return cls(bytes(calls), tuple(schema.SYSCALLS[id_].name for id_ in sorted(schema.guarded_calls()) if calls[id_]),
                   any(map(needed, schema.EVENT_IDS["signaldeliver"])),
                   program is None or everything or any(name == "fd.realpath" for name, _ in program.named_slots),
                   (not everything and program is not None and program.outcomes) or bytes([ANY]) * len(schema.EVENTS),
                   tuple(sorted(schema.SYSCALLS[id_].name for id_ in rules if not calls[id_])))
