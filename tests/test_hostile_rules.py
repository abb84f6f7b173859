# SPDX-License-Identifier: Apache-2.0
"""Rule files that are made to use up memory, time or the stack, or aren't rule files at all: each is loaded, or refused with a RuleError
that has a place, in time that grows with its size.
"""

import contextlib
import os
import pathlib
import random

import pytest

from falcolib import Engine, RuleError, RuleSet


def rule(condition: str, *, name: object = "r", output: str = "o", more: str = "") -> str:
    return f"- rule: {name}\n  desc: d\n  condition: {condition}\n  output: {output}\n  priority: INFO\n{more}"


def refused(text: str, *what: str) -> RuleError:
    with pytest.raises(RuleError) as caught:
        RuleSet.parse(text, name="f.yaml")
    assert caught.value.location is not None
    assert str(caught.value).startswith("f.yaml:")
    assert any(part in str(caught.value) for part in what), str(caught.value)
    return caught.value


N = 20_000
DOUBLING_MACROS = "- macro: m0\n  condition: proc.name = a\n" + "".join(
    f"- macro: m{i}\n  condition: m{i - 1} and m{i - 1}\n" for i in range(1, 60))
DOUBLING_LISTS = "".join(f"- list: l{i}\n  items: [l{i + 1}, l{i + 1}]\n" for i in range(40)) + "- list: l40\n  items: [a]\n"
BOMB = "- &a0 [x, x]\n" + "".join(f"- &a{i} [{', '.join([f'*a{i - 1}'] * 9)}]\n" for i in range(1, 30))


@pytest.mark.parametrize(("text", "what"), [
    (BOMB, "aliases stand for more than"),
    ("[" * 500, "more than 100 nested"),
    ("[" * 100_000, "nest"),                    # newer libyaml has a limit of its own, and looks that far ahead
    ("{a: " * 100_000, "more than 100 nested"),
    ("- " * 100_000, "more than 100 nested"),
    (DOUBLING_MACROS + rule("m59"), "too large once its macros are put in"),
    (DOUBLING_MACROS + "".join(rule("m14", name=i) for i in range(200)), "all conditions together are too large once macros are put in"),
    (DOUBLING_LISTS + rule("proc.name in (l0)"), "characters once its lists are put in"),
    (rule("(" * 100_000 + "proc.name = a" + ")" * 100_000), "max depth limit of 1000"),
    (rule("tolower(" * N + "proc.name" + ")" * N + " = a"), "max depth limit of 24 transformers"),
    (rule("'proc.name = \"" + "a" * 100_000 + "'"), "expected"),
    (rule("'proc.name = \"" + "\\\\" * 100_000 + "'"), "expected"),
    (rule("proc.pid = " + "9" * 100_000), "error parsing number"),
    (rule("proc.pid = 0x" + "f" * 100_000), "error parsing number"),
    (rule("proc.name regex '(((a{1000}){1000}){1000})'"), "invalid regular expression"),
    (rule("proc.name regex '(a*'"), "invalid regular expression"),
    (rule("proc.name regex '" + "(" * N + ")" * N + "'"), "too long"),
    (rule('"proc.name = a\\0b"'), "NUL byte"),
    (rule('"evt.rawarg[fd\\0zz] exists"'), "fd"),
    (rule("proc.name = a", output='"%evt.arg[fd\\0zz]"'), "unknown filter"),
    (rule("proc.name = a", output="'%" + "tolower(" * N + "'"), "invalid formatting token"),
    (rule("proc.name = a", output="'" + "%evt.arg[" * N + "'"), "unknown filter"),
    ('- rule: "a\\ud800b"\n', "Unicode"),
    ('- rule: "a\\U00110000b"\n', "Unicode"),
    ('- rule: "a\\xzz"\n', "hexdecimal"),
    ("- rule: '\udcff'\n", "isn't valid UTF-8"),
    ("- !!python/object/apply:os.system ['true']\n", "Unexpected element type"),
    ("- rule: *nobody\n", "nobody"),
    ("x" * 100_000, "not yaml"),
    ("rule: a\n", "not yaml array"),
    ("\x01\x02\x03", "control characters"),
    ("%" * 100_000, "directive"),
    ("\t- rule: a\n", "token"),
    ("- required_engine_version: " + "9" * 10_000 + "\n", "engine version"),
    ("- rule: a\n" + "".join(f"  k{i}: x\n" for i in range(N)), "Item has no mapping"),
], ids=lambda value: repr(value[:24]) if isinstance(value, str) else None)  # fmt: skip
def test_what_is_refused(text: str, what: str) -> None:
    refused(text, what)


@pytest.mark.parametrize(("text", "rules"), [
    ("", 0),
    ("#" * 100_000, 0),
    ("---\n" * N, 0),
    ("\ufeff- list: a\n  items: []\n", 0),
    (rule("evt.type = open and proc.name in (l)") + "- list: l\n  items: [" + ", ".join(f"i{i}" for i in range(100_000)) + "]\n", 1),
    ("".join(rule(f"evt.type = open and proc.name = a{i}", name=i) for i in range(3000)), 3000),
    ("".join(rule(f"evt.type = open and proc.name = a{i}") for i in range(3000)), 1),
    (rule(" and ".join(f"proc.name != a{i}" for i in range(N))), 1),
    (rule(" or ".join(f"proc.name = a{i}" for i in range(N))), 1),
    (rule("not " * N + "proc.name = a"), 1),
    ("- list: l\n  items: [" + ", ".join(f"/opt/item{i}" for i in range(100_000)) + "]\n" + rule("proc.name in (l)"), 1),
    (rule("proc.name" + " " * 100_000 + "= a"), 1),
    (rule("(" * 900 + "proc.name = a" + ")" * 900), 1),
    (rule("proc.name = a", more="  exceptions:\n  - name: e\n    fields: [proc.name]\n    comps: ['=']\n    values:\n"
          + "".join(f"    - [a{i}]\n" for i in range(N // 2))), 1),
    (rule("proc.name = a") + "- rule: r\n  condition: or proc.name = b\n  override:\n    condition: append\n" * 3000, 1),
    ("- macro: m0\n  condition: proc.name = a\n" + "".join(f"- macro: m{i}\n  condition: m{i - 1}\n" for i in range(1, 3000))
     + rule("m2999"), 1),
    (rule(" or ".join(f"proc.aname[{i}] = a" for i in range(3000))), 1),
    (rule("proc.name = a", output="'" + "%proc.name " * N + "'"), 1),
    (rule("proc.name = a", more="  tags: [" + ", ".join(f"t{i}" for i in range(N)) + "]\n"), 1),
    ("- &x\n  rule: r\n  desc: d\n  condition: proc.name = a\n  output: o\n  priority: INFO\n- <<: *x\n", 1),
    ("- rule: a\n  rule: b\n  desc: d\n  condition: proc.name = a\n  output: o\n  priority: INFO\n", 1),
], ids=lambda value: repr(value[:24]) if isinstance(value, str) else None)  # fmt: skip
def test_what_is_large_but_right_is_loaded_and_compiled(text: str, rules: int) -> None:
    loaded = RuleSet.parse(text, name="f.yaml")
    assert len(loaded) == rules
    Engine(loaded)


def test_a_list_that_many_rules_name_stays_within_what_its_length_allows() -> None:
    big = "- list: l\n  items: [" + ", ".join(f"item{i}" for i in range(1000)) + "]\n"
    text = big + "".join(rule("evt.type = open and proc.name in (l)", name=i) for i in range(300))
    assert len(RuleSet.parse(text)) == 300


@pytest.mark.parametrize("data", [
    b"\xff\xfe- \x00", b"- rule: \xff\xff\n", b"\x7fELF\x02\x01\x01" + bytes(64), bytes(1000), b"\x1f\x8b\x08\x00" + bytes(100),
    bytes(range(256)) * 40, b"- rule: \xed\xa0\x80\n",
], ids=repr)  # fmt: skip
def test_files_that_are_not_text(data: bytes, tmp_path: pathlib.Path) -> None:
    path = tmp_path / "rules.yaml"
    path.write_bytes(data)
    with pytest.raises(RuleError) as caught:
        RuleSet.load(path)
    assert caught.value.location is not None
    assert str(caught.value).startswith(str(path))


def test_files_that_can_not_be_read(tmp_path: pathlib.Path) -> None:
    with pytest.raises(FileNotFoundError):
        RuleSet.load(tmp_path / "nothing.yaml")
    (tmp_path / "loop.yaml").symlink_to("loop.yaml")
    with pytest.raises(OSError, match="symbolic links"):
        RuleSet.load(tmp_path / "loop.yaml")
    assert len(RuleSet.load(tmp_path)) == 0                     # a folder without rule files: the link leads nowhere
    closed = tmp_path / "closed.yaml"
    closed.write_text("[]")
    closed.chmod(0)
    if not os.access(closed, os.R_OK):
        with pytest.raises(PermissionError):
            RuleSet.load(closed)


def test_damaged_rule_files_are_loaded_or_refused() -> None:
    text, chance = (pathlib.Path(__file__).parent.parent / "rules" / "falcolib_rules.yaml").read_text(), random.Random(3)
    part = text[: text.index("\n- rule:", 12_000)]
    for _ in range(60):
        damaged = list(part)
        for _ in range(chance.choice((1, 3, 30))):
            at = chance.randrange(len(damaged))
            damaged[at : at + chance.choice((0, 1, 5))] = chance.choice(["", *"\"'[]{:\n%()\0é*&", "- "])
        with contextlib.suppress(RuleError):
            list(map(str, RuleSet.parse("".join(damaged), name="f.yaml").warnings))
