# SPDX-License-Identifier: Apache-2.0
"""The condition language as trees.

Two trees: what was written (``grammar`` makes it, ``expand`` puts lists and macros in), and what it means (``check`` makes it from the
first, with fields looked up, literals read as their field's type, and mistakes found). The compiler and ``evaluate`` know only the second.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field, fields
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network
from typing import TypeAlias

from ..errors import Location
from ..schema import Argument, FieldInfo

# ---- what was written ----------------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class FieldName:
    """``proc.aname[2]``: the name, and the text between the brackets."""

    name: str
    argument: str | None
    at: Location


@dataclass(frozen=True, slots=True)
class TransformCall:
    """``toupper(proc.name)``; ``val(F)`` on the right-hand side is one, too. ``argument``: ``getopt(…)[c]``."""

    name: str
    inputs: tuple[Operand, ...]
    argument: str | None
    at: Location


@dataclass(frozen=True, slots=True)
class Literal:
    """A bare word, a quoted text (escapes resolved) or a number, as text."""

    text: str
    quoted: bool
    at: Location


@dataclass(frozen=True, slots=True)
class ListLiteral:
    """``(a, b)`` inside a transformer."""

    items: tuple[Operand, ...]
    at: Location


Operand: TypeAlias = FieldName | TransformCall | Literal | ListLiteral


@dataclass(frozen=True, slots=True)
class Test:
    """``left op right``: op is ``exists``, ``=``, ``!=``, ``in``, …; modifier ``oneof``, ``anyof``, ``allof`` or None.

    right is None (exists), an operand, or the items of a list.
    """

    left: FieldName | TransformCall
    op: str
    modifier: str | None
    right: Operand | tuple[Literal, ...] | None
    at: Location
    via: tuple[str, ...] = ()       # names of the macros it came through, outermost first


@dataclass(frozen=True, slots=True)
class MacroName:
    """A macro's name, where its condition will stand."""

    name: str
    at: Location


@dataclass(frozen=True, slots=True)
class Not:
    """``not child``."""

    child: Condition
    at: Location


@dataclass(frozen=True, slots=True)
class And:
    """``a and b and …``."""

    children: tuple[Condition, ...]
    at: Location


@dataclass(frozen=True, slots=True)
class Or:
    """``a or b or …``."""

    children: tuple[Condition, ...]
    at: Location


Condition: TypeAlias = Test | MacroName | Not | And | Or

# ---- what it means -------------------------------------------------------------------------------------------------------------------

Value: TypeAlias = bool | int | float | str | bytes | IPv4Address | IPv6Address | IPv4Network | IPv6Network


@dataclass(frozen=True, slots=True)
class FieldSlot:
    """A register that a field fills. Equal slots are one register."""

    info: FieldInfo
    argument: Argument | None

    @property
    def kind(self) -> str:
        """Kind of its values: bool i64 u64 f64 str bytes ip net (of the elements, where it is a list)."""
        return self.info.kind

    @property
    def is_list(self) -> bool:
        """Its value is a list, which tests compare as a whole."""
        return "LIST" in self.info.flags

    @property
    def is_any(self) -> bool:
        """Tests hold if they hold for any of its values: proc.aname without a level."""
        return "ANY" in self.info.flags and self.argument is None

    @property
    def is_either(self) -> bool:
        """fd.ip, fd.port, fd.net, fd.proto: either end of a connection; ``!=`` must hold for both."""
        return "EITHER" in self.info.flags

    def __str__(self) -> str:
        return self.info.name + (str(self.argument) if self.argument else "")


@dataclass(frozen=True, slots=True)
class TransformSlot:
    """A register computed from others: tolower toupper b64 basename len join concat getopt."""

    name: str
    inputs: tuple[Slot | Value | tuple[Slot | Value, ...], ...]
    argument: str | None
    kind: str
    is_list: bool
    is_any: bool = False
    is_either: bool = False

    def __str__(self) -> str:
        def text(x: object) -> str:
            return "(" + ", ".join(map(text, x)) + ")" if isinstance(x, tuple) else repr(x) if isinstance(x, str) else str(x)

        return f"{self.name}({', '.join(map(text, self.inputs))})" + (f"[{self.argument}]" if self.argument else "")


Slot: TypeAlias = FieldSlot | TransformSlot


@dataclass(frozen=True, slots=True)
class Check:
    """A test with its meaning: ``slot op values`` or ``slot op other``.

    op is one of OPS; values are of the slot's kind (networks for net; bytes for bcontains and bstartswith). Two checks that test the same
    are equal, wherever they stand: places don't count.
    """

    slot: Slot
    op: str
    modifier: str | None
    values: tuple[Value, ...]
    other: Slot | None
    at: Location = field(compare=False)
    via: tuple[str, ...] = field(compare=False, default=())


@dataclass(frozen=True, slots=True)
class CheckedNot:
    """True where the child is false."""

    child: Checked


@dataclass(frozen=True, slots=True)
class CheckedAnd:
    """True where all children are."""

    children: tuple[Checked, ...]


@dataclass(frozen=True, slots=True)
class CheckedOr:
    """True where a child is."""

    children: tuple[Checked, ...]


Checked: TypeAlias = Check | CheckedNot | CheckedAnd | CheckedOr

#: The operators by their one spelling ("==" is "=").
OPS = (
    "exists", "=", "!=", "<", "<=", ">", ">=", "in", "intersects", "pmatch", "contains", "icontains", "bcontains", "startswith",
    "bstartswith", "endswith", "glob", "iglob", "regex",
)
MODIFIERS = ("oneof", "anyof", "allof")


@dataclass(frozen=True, slots=True)
class OutputToken:
    """``%20proc.name`` in an output: the slot, its text without % and width (the key in alert.fields; quotes only where an argument needs
    them), and the width."""

    slot: Slot
    text: str
    width: int | None = None


def nested_fields(token: OutputToken) -> list[FieldSlot]:
    """The fields inside a token's transformers."""
    if isinstance(token.slot, FieldSlot):
        return []
    found: list[FieldSlot] = []

    def walk(x: object) -> None:
        if isinstance(x, FieldSlot):
            found.append(x)
        elif isinstance(x, tuple):
            for item in x:
                walk(item)
        elif isinstance(x, TransformSlot):
            walk(x.inputs)

    walk(token.slot)
    return found


@dataclass(frozen=True, slots=True)
class ExtraField:
    """What append_output adds to a rule's output_fields: the value of a field (``raw``), or a text."""

    name: str
    output: tuple[str | OutputToken, ...]
    raw: bool


@dataclass(frozen=True, slots=True)
class RuleHead:
    """What an alert tells of its rule: all but the condition, whose depth is the author's (so it is not carried through pickles)."""

    name: str
    description: str
    output: tuple[str | OutputToken, ...]
    extra_fields: tuple[ExtraField, ...]    # by name
    priority: int               # 0 Emergency … 7 Debug
    source: str
    tags: frozenset[str]
    enabled: bool
    capture: bool               # its alerts begin a capture of what happens
    capture_duration: int       # of how many ms; 0: as configured
    at: Location

    def tokens(self) -> Iterator[OutputToken]:
        """Those of its output and of the fields that are added to it."""
        for part in (*self.output, *(part for extra in self.extra_fields for part in extra.output)):
            if isinstance(part, OutputToken):
                yield part

    def printed(self) -> Iterator[Slot]:
        """What an alert captures: the tokens' slots, then the fields inside their transformers, which Falco prints in JSON."""
        yield from (token.slot for token in self.tokens())
        for token in self.tokens():
            yield from nested_fields(token)


@dataclass(frozen=True, slots=True)
class CheckedRule(RuleHead):
    """A rule, ready for the compiler. ``events``: ids of the event types that it can match."""

    condition: Checked
    events: frozenset[int]

    @property
    def head(self) -> RuleHead:
        """The rule without its condition."""
        return RuleHead(*(getattr(self, f.name) for f in fields(RuleHead)))
