# SPDX-License-Identifier: Apache-2.0
"""Random conditions made from the values that fields have in a capture, and the values themselves, as the machine sees them."""

import ipaddress
import json
import random
from collections.abc import Callable, Iterator, Mapping

import falcolib
from falcolib import RuleError, RuleSet, schema
from falcolib._native import ffi, lib
from falcolib.batch import Raw, read_value
from falcolib.core import Core
from falcolib.rules.ast import CheckedRule, FieldSlot
from falcolib.rules.check import OPERATORS, _family
from falcolib.rules.text import literal

#: Arguments of the fields that can have one.
ARGUMENTS = {
    "proc.aname": ["", "[1]", "[3]", "[0]"], "proc.apid": ["", "[1]"], "proc.aexe": ["", "[1]"], "proc.aexepath": ["", "[2]"],
    "proc.acmdline": ["", "[1]"], "proc.aargs": ["", "[1]"], "proc.args": ["", "[1]", "[0]"], "proc.env": ["", "[HOME]", "[PATH]"],
    "proc.aenv": ["", "[1]", "[HOME]"], "evt.arg": [".flags", ".name", ".res", ".fd", ".path", ".mode", "[0]", "[1]"],
    "evt.rawarg": [".flags", ".res", ".fd", ".mode"], "evt.type.is": [".openat", ".close"], "thread.cgroup": [".cpu", ".memory"],
    "evt.abspath": ["", ".src", ".dst"], "fd.types": ["", "[1]"],
}  # fmt: skip
#: Fields whose value depends on when they were last asked for, or on the clock.
LEFT_OUT = {"evt.deltatime", "evt.deltatime.s", "evt.deltatime.ns", "evt.around", "evt.outputtime"}

#: Values of fields, by their text: those seen.
Seen = dict[str, list[Raw]]


def fields() -> list[str]:
    """The fields that conditions can name, with arguments."""
    return [
        info.name + argument for info in schema.FIELDS if not info.flags & {"PRINT_ONLY", "HIDDEN"} and info.name not in LEFT_OUT
        for argument in ARGUMENTS.get(info.name, [""]) if schema.find_field(info.name + argument) is not None
    ]  # fmt: skip


def raw(core: Core, slot: FieldSlot) -> Raw:
    """The value of a field of the current event, as the machine sees it."""
    argument = slot.argument
    index = argument.index if argument else None
    key = argument.text.encode() if argument and ("KEY" in slot.info.argument or argument.dotted) and index is None else None
    core._call(lib.fl_engine_get, slot.info.id, index is not None, index or 0, ffi.NULL if key is None else ffi.new("char[]", key))
    value, _ = read_value(core.take_batch(), 0)
    return [value] if (slot.is_any or slot.is_either) and value is not None and not isinstance(value, list) else value


def events(path: str, every: int = 1) -> Iterator[tuple[Core, int]]:
    """The events of a capture that rules see, one in so many, each as the current event of a core; and its number."""
    engine = falcolib.Engine()
    for event in engine.events(falcolib.Capture(path)):
        if event.num % every == 0 and schema.seen_by_rules(schema.EVENTS[event._type_id]):
            yield engine._cores[0], event.num


def observe(path: str, chance: random.Random, every: int) -> Seen:
    """Some values of all fields in a capture."""
    slots = [FieldSlot(*schema.require_field(text)) for text in fields()]
    seen: Seen = {str(slot): [] for slot in slots}
    for core, _ in events(path, every):
        for slot in slots:
            value = raw(core, slot)
            values = seen[str(slot)]
            for one in value if isinstance(value, list) else [value] if value is not None else []:
                if one not in values:
                    values.append(one)
                    if len(values) > 20:
                        values[chance.randrange(20)] = values.pop()
    return seen


class Maker:
    """Makes conditions."""

    def __init__(self, seen: Seen, chance: random.Random) -> None:
        self.seen = seen
        self.chance = chance
        self.slots = [FieldSlot(*schema.require_field(text)) for text in fields()]
        have = [slot for slot in self.slots if seen.get(str(slot))]
        self.slots += have * 3                                  # mostly fields that have values there

    def condition(self, depth: int = 3) -> str:
        """A condition."""
        how = self.chance.random()
        if depth == 0 or how < 0.4:
            return self.test()
        if how < 0.55:
            return f"not ({self.condition(depth - 1)})"
        parts = [self.condition(depth - 1) for _ in range(self.chance.choice([2, 2, 3]))]
        return "(" + self.chance.choice([" and ", " or "]).join(parts) + ")"

    def test(self) -> str:
        """A test; now and then one that makes no sense."""
        chance, slot = self.chance, self.chance.choice(self.slots)
        family = _family(slot.info.type) or "numeric"
        name = str(slot)
        op = chance.choice(["in", "intersects", "exists"] if slot.is_list else sorted(OPERATORS[family]))
        if family == "string" and chance.random() < 0.15:
            call = chance.choice(["tolower", "toupper", "basename", "b64", "len"])
            name = f"{call}({name})"
            if call == "len":
                return f"{name} {chance.choice(['=', '>', '<', '!='])} {chance.choice([0, 1, 4, len(self.text(slot))])}"
        if op == "exists":
            return f"{name} exists"
        if op in ("in", "intersects", "pmatch"):
            return f"{name} {op} ({', '.join(self.literal(slot, op) for _ in range(chance.choice([1, 2, 2, 4])))})"
        if op in ("<", "<=", ">", ">="):
            return f"{name} {op} {self.literal(slot, op)}"
        if chance.random() < 0.1 and op != "regex":
            others = [s for s in self.slots if s.info.type == slot.info.type and s.is_list == slot.is_list]
            return f"{name} {op} val({chance.choice(others)})"
        if chance.random() < 0.2:
            values = ", ".join(self.literal(slot, op) for _ in range(chance.choice([1, 2, 3])))
            return f"{name} {op} {chance.choice(['oneof', 'anyof', 'allof'])} ({values})"
        return f"{name} {op} {self.literal(slot, op)}"

    def text(self, slot: FieldSlot) -> str:
        """A value that the field has, or another has, as text."""
        values = self.seen.get(str(slot)) or self.seen.get(str(self.chance.choice(self.slots))) or [b"x"]
        value = self.chance.choice(values)
        if isinstance(value, bool):
            return str(value).lower()
        if isinstance(value, bytes) and slot.kind in ("ip", "net") and len(value) in (4, 16):
            address = str(ipaddress.ip_address(value))
            return address if slot.kind == "ip" else f"{address}/{self.chance.choice([8, 24, 32] if len(value) == 4 else [10, 64, 128])}"
        return value.decode("utf-8", "surrogateescape").split("\0")[0][:200] if isinstance(value, bytes) else str(value)

    def literal(self, slot: FieldSlot, op: str) -> str:
        """A literal that may fit."""
        chance, text = self.chance, self.text(slot)
        if slot.kind in ("i64", "u64"):
            number = text if text.lstrip("-").isdigit() else "3"
            return str(int(number) + chance.choice([0, 0, 1, -1]))
        if slot.kind == "bool":
            return chance.choice(["true", "false"])
        if slot.kind == "bytes" and op in ("bcontains", "bstartswith"):
            return text[:4].encode("utf-8", "surrogateescape").hex() or "00"
        if slot.kind in ("str", "bytes"):
            i = chance.randrange(len(text) + 1)
            j = chance.randrange(i, len(text) + 1)
            part = text[i:j]
            if op in ("contains", "icontains"):
                text = part.swapcase() if op == "icontains" else part
            elif op == "startswith":
                text = text[:i]
            elif op == "endswith":
                text = text[i:]
            elif op == "pmatch":
                text = chance.choice([text, text.rpartition("/")[0], text.partition("/")[0], "/" + part, text[:i] + "*", "/*" + text[j:]])
            elif op in ("glob", "iglob"):
                text = text[:i] + chance.choice(["*", "?", "[a-z]", "*?"]) + text[j:]
                text = text.swapcase() if op == "iglob" else text
            elif op == "regex":
                plain = "".join(c if c.isalnum() else "." for c in text[:40])
                text = chance.choice([".*", "[a-z/]+", "(a|b)?"]) + plain[i:] + chance.choice(["", ".*", ".?"])
        return literal(text.replace("\0", "")) or '""'


def accepted(maker: Maker, count: int) -> list[CheckedRule]:
    """Rules with conditions that the loader accepts, each named after its number."""
    texts: dict[str, None] = {}
    while len(texts) < count:
        text = maker.condition()
        try:
            RuleSet.parse(json.dumps([_rule("r", text)]))
        except RuleError:
            continue
        texts[text] = None
    return list(RuleSet.parse(json.dumps([_rule(str(i), text) for i, text in enumerate(texts)])).rules)


def _rule(name: str, condition: str) -> Mapping[str, object]:
    return {"rule": name, "desc": condition, "condition": condition, "output": "o", "priority": "INFO", "warn_evttypes": False}


def getter(core: Core) -> Callable[[FieldSlot], object]:
    """The values of the current event, each asked for once."""
    known: dict[FieldSlot, Raw] = {}

    def get(slot: FieldSlot) -> object:
        if slot not in known:
            known[slot] = raw(core, slot)
        return known[slot]

    return get
