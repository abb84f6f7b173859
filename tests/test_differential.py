# SPDX-License-Identifier: Apache-2.0
"""The machine and the evaluator agree on random rules and random events, with every optimisation on and off."""

from ipaddress import ip_address, ip_network

import pytest
from hypothesis import given
from hypothesis import strategies as st

from falcolib.compiler import compile_rules
from falcolib.evaluate import evaluate
from falcolib.rules.ast import Check, CheckedAnd, CheckedNot, CheckedOr, FieldSlot
from machine import HERE, Machine, call, field, rule

EVENTS = {
    "OPENAT_2_X": "openat",
    "OPENAT2_X": "openat2",
    "CONNECT_X": "connect",
    "EXECVE_19_X": "execve",
    "PROCEXIT_1_E": "procexit",
    "GENERIC_X": None,
}

# Few pieces, so that values meet constants; among them what isn't UTF-8, ends in a slash, or is a glob's own character.
WORDS = st.sampled_from(
    ["", "a", "b", "A", "ab", "/", "/etc", "/etc/", "etc", "//a", "é", "\udc80", "*", "-b", "-ab", "--", "YWI=", "[", "."]
)
TEXT = st.lists(WORDS, max_size=4).map("".join)
PATH = st.lists(st.sampled_from(["etc", "a", "b", "", "ab", "é"]), max_size=4).map(lambda parts: "/" + "/".join(parts))
GLOB = st.lists(st.sampled_from(["a", "b", "/", "etc", "*", "?", "[ab]", "[!a]", "[a-z]", r"\*", "[", "é", "A"]), max_size=4).map("".join)
PATH_GLOB = st.lists(st.sampled_from(["etc", "a", "?", "*", "a*", "[ab]", "b"]), max_size=3).map(lambda parts: "/" + "/".join(parts))
REGEX = st.sampled_from(["a*", "(a|b)+", "/etc/.*", ".*é.*", "[^/]*", ".", ".*[.].*", ""])
INT = st.sampled_from([0, 1, 2, 7, 1 << 31, (1 << 63) - 1])
SIGNED = INT | st.sampled_from([-1, -2, -(1 << 63)])
IP = st.sampled_from([ip_address(a) for a in ("127.0.0.1", "127.0.0.2", "10.1.2.3", "::1", "fe80::1", "::ffff:127.0.0.1")])
NET = st.sampled_from([ip_network(n) for n in ("127.0.0.0/8", "127.0.0.1/32", "0.0.0.0/0", "::1/128", "fe80::/10", "10.0.0.0/9")])

SCALARS = {
    "str": TEXT | PATH,
    "bytes": TEXT.map(lambda t: t.encode("utf-8", "surrogateescape")),
    "i64": SIGNED,
    "u64": INT,
    "bool": st.booleans(),
    "ip": IP,
    "net": IP,
}
CONSTANTS = SCALARS | {"net": NET}
OPS = {
    "str": [
        "=",
        "!=",
        "<",
        "<=",
        ">",
        ">=",
        "in",
        "intersects",
        "pmatch",
        "contains",
        "icontains",
        "startswith",
        "endswith",
        "glob",
        "iglob",
        "regex",
    ],
    "bytes": ["=", "!=", "in", "contains", "startswith", "endswith", "bcontains", "bstartswith"],
    "i64": ["=", "!=", "<", "<=", ">", ">=", "in", "intersects"],
    "u64": ["=", "!=", "<", "<=", ">", ">=", "in", "intersects"],
    "bool": ["=", "!=", "in"],
    "ip": ["=", "!=", "in"],
    "net": ["=", "!=", "in", "intersects"],
}
SPECIAL = {"pmatch": PATH | PATH_GLOB, "glob": GLOB, "iglob": GLOB, "regex": REGEX}
NO_MODIFIER = {"in", "intersects", "pmatch", "exists"}

FIELDS = [
    field(text)
    for text in (
        "proc.name",
        "fd.name",
        "proc.args[1]",
        "evt.arg.flags",
        "proc.pid",
        "proc.ppid",
        "proc.fdlimit",
        "evt.count",
        "proc.is_exe_writable",
        "evt.buffer",
        "fd.cip",
        "fd.sip",
        "fd.cnet",
        "fd.snet",
        "fd.ip",
        "fd.net",
        "fd.port",
        "proc.aname",
        "proc.apid",
        "proc.aname[1]",
        "fd.types",
    )
]
DECIDED = [
    field(text) for text in ("evt.type", "syscall.type", "evt.dir", "evt.num", "evt.type.is.openat", "evt.is_open_read", "evt.is_open_exec")
]
NAME, CMDLINE, BUFFER, TYPES = field("proc.name"), field("fd.name"), field("evt.buffer"), field("fd.types")
TRANSFORMERS = [
    call("tolower", NAME),
    call("toupper", call("basename", CMDLINE)),
    call("basename", CMDLINE),
    call("b64", NAME),
    call("b64", BUFFER, kind="bytes"),
    call("len", NAME, kind="u64"),
    call("len", TYPES, kind="u64"),
    call("len", ("x", NAME), kind="u64"),
    call("len", BUFFER, kind="u64"),
    call("join", "-", TYPES),
    call("join", NAME, ("a", CMDLINE, "b")),
    call("concat", NAME, "/", CMDLINE),
    call("tolower", TYPES, is_list=True),
    call("getopt", ("-a", NAME, CMDLINE), "ab:", is_list=True),
    call("getopt", TYPES, "ab:", is_list=True),
    call("getopt", TYPES, "ab:", argument="b"),
    call("getopt", ("-ab", NAME), "ba", argument="a"),
]
SLOTS = FIELDS + DECIDED + TRANSFORMERS


@st.composite
def checks(draw):
    slot = draw(st.sampled_from(SLOTS))
    op = draw(st.sampled_from(["in", "intersects", "exists"])) if slot.is_list else draw(st.sampled_from([*OPS[slot.kind], "exists"]))
    if op == "exists":
        return Check(slot, op, None, (), None, HERE)
    constants = SPECIAL.get(op, TEXT.map(lambda t: t.encode("utf-8", "surrogateescape")) if slot.kind == "bytes" else CONSTANTS[slot.kind])
    if slot in DECIDED:
        constants |= {"str": st.sampled_from([*filter(None, EVENTS.values()), "<", ">"]), "bool": st.booleans()}.get(slot.kind, INT)
    modifier = draw(st.sampled_from([None, None, "oneof", "anyof", "allof"])) if op not in NO_MODIFIER and not slot.is_list else None
    others = [s for s in SLOTS if s.kind == slot.kind and s.is_list == slot.is_list and s != slot and not (s.is_any or s.is_either)]
    if others and modifier is None and op not in ("pmatch", "regex") and slot.kind != "net" and draw(st.integers(0, 5)) == 0:
        return Check(slot, op, None, (), draw(st.sampled_from(others)), HERE)
    many = modifier is not None or op in ("in", "intersects", "pmatch")
    values = tuple(draw(st.lists(constants, max_size=4))) if many else (draw(constants),)
    return Check(slot, op, modifier, values, None, HERE)


def trees():
    def grow(children):
        several = st.lists(children, max_size=4).map(tuple)
        return several.map(CheckedAnd) | several.map(CheckedOr) | children.map(CheckedNot)

    return st.recursive(checks(), grow, max_leaves=10)


@st.composite
def groups(draw):
    """Conditions that have parts in common, as rules that use the same macros have."""
    macros = draw(st.lists(trees(), min_size=1, max_size=4))
    part = (
        st.sampled_from(macros)
        | st.sampled_from(macros).map(CheckedNot)
        | checks()
        | st.lists(st.sampled_from(macros), max_size=3).map(lambda parts: CheckedOr(tuple(parts)))
    )
    return [CheckedAnd(tuple(draw(st.lists(part, max_size=4)))) for _ in range(draw(st.integers(1, 6)))]


@st.composite
def events(draw):
    """A type, and values of fields; what the type decides has the value that it decides."""
    code = draw(st.sampled_from(sorted(EVENTS)))
    name = EVENTS[code] or draw(st.sampled_from(["openat", "uname"]))
    values = {}
    for slot in FIELDS:
        value = SCALARS[slot.kind]
        if slot.is_list or slot.is_any or slot.is_either:
            value = st.lists(value, max_size=3)
        values[str(slot)] = draw(st.none() | value | value)
    may_open = code in ("OPENAT_2_X", "OPENAT2_X")
    values |= {
        "evt.type": name,
        "syscall.type": name if code != "PROCEXIT_1_E" else None,
        "evt.dir": "<" if code.endswith("X") else ">",
        "evt.num": draw(st.integers(1, 3)),
        "evt.type.is.openat": int(name == "openat"),
        "evt.is_open_read": may_open and draw(st.booleans()),
        "evt.is_open_exec": may_open and draw(st.booleans()),
    }
    return code, values


@pytest.mark.parametrize("optimise", [True, False])
@given(groups(), st.lists(events(), min_size=1, max_size=6))
def test_machine_and_evaluator_agree(optimise, conditions, given_events):
    rules = [rule(str(i), condition, *EVENTS) for i, condition in enumerate(conditions)]
    machine = Machine(compile_rules(rules, optimise=optimise))
    for code, values in given_events:

        def get(slot: FieldSlot, values=values):
            return values[str(slot)]

        expected = [r.name for r in rules if evaluate(r.condition, get)]
        assert machine.run(values, code) == expected, machine.program.disassemble()
