# SPDX-License-Identifier: Apache-2.0
"""What a mistake looks like: file, line and column; the line with a caret; the way to it; the nearest valid name."""

import json
import textwrap

import pytest

from falcolib import RuleError, RuleSet

CASES = {
    "an unknown field, in a folded condition": ("""
        - rule: R
          desc: d
          condition: >
            evt.type = open and
            proc.nam = cat
          output: o
          priority: INFO
        """, """
        f.yaml:5:5: filter_check called with nonexistent field proc.nam
                proc.nam = cat
                ^
        in rule 'R'
        did you mean proc.name?"""),
    "an unknown event type, through a macro and a list": ("""
        - list: calls
          items: [open, opennat]
        - macro: opens
          condition: fd.num > 0 and evt.type in (calls)
        - rule: R
          desc: d
          condition: proc.name = x and opens
          output: o
          priority: INFO
        """, """
        f.yaml:4:29: unknown event type opennat
              condition: fd.num > 0 and evt.type in (calls)
                                        ^
        in rule 'R', macro 'opens', list 'calls'
        did you mean openat?"""),
    "an undefined macro": ("""
        - macro: spawned_process
          condition: evt.type = execve
        - rule: R
          desc: d
          condition: "proc.name = 'a' and
            spawned_proces"
          output: o
          priority: INFO
        """, """
        f.yaml:6:5: Undefined macro 'spawned_proces' used in filter.
                spawned_proces"
                ^
        in rule 'R'
        did you mean spawned_process?"""),
    "a mistake in what was appended": ("""
        - macro: m
          condition: evt.type = open
        - macro: m
          condition: fd.num = 1
          override: {condition: append}
        """, """
        f.yaml:4:14: unexpected token after 'open', expecting 'or', 'and'
              condition: fd.num = 1
                         ^
        in macro 'm'"""),
    "a mistake that a list brings": ("""
        - list: l
          items: ["a)b"]
        - rule: R
          desc: d
          condition: proc.name in (l)
          output: o
          priority: INFO
        """, """
        f.yaml:5:28: unexpected token after ')', expecting 'or', 'and'
              condition: proc.name in (l)
                                       ^
        in rule 'R', list 'l'"""),
    "a wrong priority": ("""
        - rule: R
          desc: d
          condition: evt.type = open
          output: o
          priority: LOUD
        """, """
        f.yaml:5:13: Invalid priority
              priority: LOUD
                        ^
        in rule 'R'"""),
    "YAML that isn't": ("""
        - rule: [a
        - b: c
        """, """
        f.yaml:2:4: did not find expected ',' or ']'
            - b: c
               ^"""),
}


@pytest.mark.parametrize(("text", "error"), [pytest.param(*case, id=name) for name, case in CASES.items()])
def test_errors_show_the_place(text: str, error: str) -> None:
    with pytest.raises(RuleError) as e:
        RuleSet.parse(textwrap.dedent(text).lstrip("\n"), name="f.yaml")
    assert str(e.value) == textwrap.dedent(error).lstrip("\n")
    location = e.value.location
    assert location is not None
    assert str(e.value).startswith(f"{location}: ")


def test_long_lines_are_cut_around_the_place() -> None:
    condition = " and ".join(["proc.name = cat"] * 30 + ["proc.nam = cat"] + ["proc.name = cat"] * 30)
    with pytest.raises(RuleError) as e:
        RuleSet.parse(f"- {{rule: R, desc: d, condition: {condition}, output: o, priority: INFO}}")
    line, caret = str(e.value).splitlines()[1:3]
    assert line.startswith("    ...")
    assert line.endswith("...")
    assert line[caret.index("^"):].startswith("proc.nam = cat")
    assert len(line) < 180


def test_the_result_is_what_validation_would_say() -> None:
    with pytest.raises(RuleError) as e:
        RuleSet.parse("- {macro: m, condition: a and}", name="f.yaml")
    (result,) = e.value.result["falco_load_results"]    # type: ignore[misc, attr-defined]
    assert result["successful"] is False
    (error,) = result["errors"]
    assert error["code"] == e.value.code == "LOAD_ERR_COMPILE_CONDITION"
    assert [(x["item_type"], x["item_name"]) for x in error["context"]["locations"]] == [
        ("rules content", ""), ("macro", "m"), ("macro condition", ""), ("condition expression", "")]


@pytest.mark.parametrize(("change", "hint"), [
    ({"condition": "proc.name contians a"}, "contains"), ({"condition": "evt.type = open AND fd.num = 1"}, "and"),
    ({"condition": "tolowr(proc.name) = a"}, "tolower"), ({"priority": "warnning"}, "Warning"),
    ({"exceptions": [{"name": "e", "fields": ["proc.nam"], "values": [["a"]]}]}, "proc.name"),
    ({"exceptions": [{"name": "e", "fields": ["proc.name"], "comps": ["startwith"], "values": [["a"]]}]}, "startswith"),
    ({"override": {"conditon": "append"}}, "condition"), ({"override": {"priorty": "replace"}}, "priority"),
    ({"output": "%proc.nmae"}, "proc.name"), ({"condition": "evt.type = opne"}, "open"),
], ids=str)  # fmt: skip
def test_mistyped_names_are_guessed(change: dict[str, object], hint: str) -> None:
    rule = {"rule": "r", "desc": "d", "condition": "evt.type = open", "output": "o", "priority": "INFO"} | change
    with pytest.raises(RuleError) as caught:
        RuleSet.parse(json.dumps([rule]))
    assert str(caught.value).endswith(f"\ndid you mean {hint}?")


@pytest.mark.parametrize(("item", "hint"), [
    ({"rule": "r", "desc": "d", "condition": "evt.type = open", "output": "o", "priority": "INFO", "tagz": []}, "tags"),
    ({"rule": "r", "desc": "d", "condition": "evt.type = open", "output": "o", "priority": "INFO", "source": "syscal"}, "syscall"),
    ({"marco": "m", "condition": "evt.type = open"}, "macro"),
], ids=str)  # fmt: skip
def test_warnings_guess_too(item: dict[str, object], hint: str) -> None:
    (warning,) = RuleSet.parse(json.dumps([item])).warnings
    assert str(warning).endswith(f"\ndid you mean {hint}?")
