# SPDX-License-Identifier: Apache-2.0
"""Lints: what each finds, and what it leaves alone."""

import json
import pathlib
import subprocess
import sys

import pytest

import falcolib
from conftest import ROOT
from falcolib import RuleSet
from falcolib.evaluate import evaluate
from falcolib.lint import LINTS, Finding, lint
from falcolib.lint.fields import may_have
from falcolib.lint.logic import excludes, implies
from falcolib.lint.patterns import as_glob
from falcolib.rules.ast import Check, FieldSlot

PUBLIC = ("falco_rules.yaml", "falco-incubating_rules.yaml", "falco-sandbox_rules.yaml")


def rules(*conditions: str, before: str = "") -> RuleSet:
    """Rules r0, r1, … with these conditions."""
    text = "".join(f"- {{rule: r{i}, desc: d, output: o, priority: INFO, warn_evttypes: false, condition: {json.dumps(condition)}}}\n"
                   for i, condition in enumerate(conditions))  # fmt: skip
    return RuleSet.parse(before + text, name="r.yaml")


def found(*conditions: str, before: str = "") -> list[tuple[str, str]]:
    """Ids and rules of what is found, notes included."""
    return [(f.id, f.rule) for f in lint(rules(*conditions, before=before))]


def one(condition: str, before: str = "") -> Finding:
    (finding,) = lint(rules(condition, before=before))
    return finding


# ---- shadowed-rule -----------------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("first", "second"), [
    ("evt.type = open", "evt.type = open"),
    ("evt.type in (open, openat)", "evt.type = open and proc.name = a"),
    ("evt.type = open and proc.name in (a, b)", "evt.type = open and proc.name = a and user.uid = 0"),
    ("evt.type = open and (proc.name = a or proc.name in (b, c))", "evt.type = open and proc.name in (a, b)"),
    ("evt.type = open and proc.name startswith a", "evt.type = open and proc.name in (ab, ac)"),
    ("evt.type = open and fd.name startswith /etc", "evt.type = open and fd.name startswith /etc/ssh"),
    ("evt.type = open and fd.name pmatch (/etc)", "evt.type = open and fd.name pmatch (/etc/a, /etc/b)"),
    ("evt.type = open and fd.name contains b", "evt.type = open and fd.name endswith abc"),
    ("evt.type = open and fd.num > 3", "evt.type = open and fd.num > 5"),
    ("evt.type = open and fd.num != 3", "evt.type = open and fd.num >= 4"),
    ("evt.type = open and not proc.name = x", "evt.type = open and proc.name = y"),
    ("evt.type = open and not proc.name in (x)", "evt.type = open and not proc.name in (x, y)"),
    ("evt.type = open and proc.name exists", "evt.type = open and proc.name != x"),
    ("evt.type = open and proc.aname in (x, y)", "evt.type = open and proc.aname = x"),
    ("evt.type = open and not (evt.num = 0)", "evt.type = open and fd.num = 2"),
    ("evt.type = open and proc.name = a or evt.type = close", "evt.type = close and fd.num = 2"),
    ("evt.type in (open, close)", "(evt.type = open and fd.num = 1) or (evt.type = close and fd.num = 2)"),
], ids=str)  # fmt: skip
def test_a_rule_that_another_leaves_nothing(first: str, second: str) -> None:
    assert ("shadowed-rule", "r1") in found(first, second)
    if first != second:
        assert ("shadowed-rule", "r1") not in found(second, first)


@pytest.mark.parametrize(("first", "second"), [
    ("evt.type = open and proc.name = a", "evt.type = open"),
    ("evt.type = open", "evt.type in (open, close)"),
    ("evt.type = open and proc.name != a", "evt.type = open and not proc.name = a"),
    ("evt.type = open and proc.aname = a", "evt.type = open and proc.aname[2] = a"),
    ("evt.type = open and not proc.aname = a", "evt.type = open and proc.aname = b"),
    ("evt.type = open and proc.name in (a, b)", "evt.type = open and proc.name in (a, c)"),
    ("evt.type = open and fd.name pmatch (/etc)", "evt.type = open and fd.name startswith /etc"),
    ("evt.type = open and fd.ip = 1.2.3.4", "evt.type = open and fd.sip = 1.2.3.4"),
    ("evt.type = open and fd.net in (10.0.0.0/8)", "evt.type = open and fd.net in (10.0.0.0/9)"),
    ("evt.type = open and proc.name = a and evt.num = 0", "evt.type = open and proc.name = a"),
], ids=str)  # fmt: skip
def test_rules_that_have_something_left(first: str, second: str) -> None:
    assert ("shadowed-rule", "r1") not in found(first, second)


def test_rules_that_are_not_enabled_shadow_nothing() -> None:
    set_ = rules("evt.type = open", "evt.type = open")
    assert [f.id for f in lint(set_)] == ["shadowed-rule"]
    assert lint(set_.select([{"disable": {"rule": "r0"}}])) == []
    assert lint(set_.select([{"disable": {"rule": "r1"}}])) == []


# ---- never-true, never-false -------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("condition", [
    "evt.type = open and evt.type = close",
    "evt.type = open and (proc.name = a and proc.name = b)",
    "evt.type = open and proc.name = a and (proc.name = b or proc.name = c)",
    "evt.type = open and fd.num > 5 and fd.num < 3",
    "evt.type = open and fd.name startswith /etc and fd.name startswith /var",
    "evt.type = open and proc.name = a and not proc.name in (a, b)",
    "evt.type = open and proc.name = a and not proc.name exists",
    "evt.type = open and proc.name in (a, b) and proc.name startswith c",
    "evt.type = open or (evt.type = close and fd.num = 1 and fd.num = 2)",
], ids=str)  # fmt: skip
def test_what_is_never_true(condition: str) -> None:
    assert ("never-true", "r0") in found(condition)


@pytest.mark.parametrize("condition", [
    "evt.type = open and proc.aname = a and proc.aname = b",
    "evt.type = open and fd.ip = 1.2.3.4 and fd.ip = 1.2.3.5",
    "evt.type = open and not proc.name = a and not proc.name != a",
    "evt.type = open and evt.num = 0",
    "evt.type = open and proc.name in ()",
    "evt.type = open and proc.name startswith a and proc.name contains b",
    "evt.type = open and fd.num > 3 and fd.num < 5",
    "evt.type = open and proc.env[A] = a and proc.env[B] = b",
], ids=str)  # fmt: skip
def test_what_may_be_true(condition: str) -> None:
    assert ("never-true", "r0") not in found(condition)


def test_a_part_of_a_macro_that_the_rule_around_it_excludes_is_no_mistake() -> None:
    macro = "- {macro: m, condition: (evt.type = open and fd.num = 1 or evt.type = close and fd.num = 2)}\n"
    assert found("evt.type = open and m", before=macro) == []


def test_a_finding_tells_both_tests() -> None:
    finding = one("evt.type = open and m and proc.name = b", before="- {macro: m, condition: proc.name = a}\n")
    assert finding.message == "the condition is never true: proc.name = a (r.yaml:1:25) and proc.name = b can't both hold"
    assert (finding.rule, str(finding.at)[:9]) == ("r0", "r.yaml:2:")


@pytest.mark.parametrize(("condition", "expected"), [
    ("evt.type = open and (fd.name exists or not fd.name exists)", True),
    ("evt.type = open and (not proc.name = a or proc.name in (a, b))", True),
    ("evt.type = open and (proc.name = a or proc.name != a)", False),
    ("evt.type = open and (not proc.name = a or not proc.name = b)", True),
], ids=str)  # fmt: skip
def test_what_is_never_false(condition: str, expected: bool) -> None:
    assert (("never-false", "r0") in found(condition)) == expected


# ---- field-without-event -----------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("condition", "expected"), [
    ("evt.type = unlink and fd.name startswith /etc", True),
    ("evt.type = execve and evt.arg.oldpath = a", True),
    ("evt.type = rename and evt.arg.oldpath = a", False),
    ("evt.type in (rename, open) and fd.name = a", False),
    ("(evt.type = rename and fd.name = a) or evt.type = open", True),
    ("evt.type = setns and tolower(fd.name) = a", False),
    ("evt.type = setsid and tolower(fd.name) = a", True),
    ("fd.name = a", False),
    ("evt.type = close and evt.buffer contains a", True),
    ("evt.type = read and evt.buffer contains a", False),
], ids=str)  # fmt: skip
def test_fields_that_the_event_never_has(condition: str, expected: bool) -> None:
    assert (("field-without-event", "r0") in found(condition)) == expected


def test_a_test_in_a_macro_counts_if_all_rules_that_use_it_miss_the_field() -> None:
    macro = "- {macro: m, condition: fd.name = a}\n"
    assert found("evt.type = rename and m", before=macro) == [("field-without-event", "r0")]
    assert found("evt.type = rename and m", "evt.type = open and m", before=macro) == []


@pytest.mark.conformance
@pytest.mark.parametrize("name", ["attack1", "ctr", "sample"])
def test_captures_have_no_field_that_the_lint_denies(conformance: pathlib.Path, name: str) -> None:
    texts = ("fd.name", "fd.num", "fd.type", "evt.buffer", "evt.arg.name", "evt.arg.flags", "evt.arg.path", "evt.rawarg.fd")
    slots = [FieldSlot(*falcolib.schema.require_field(text)) for text in texts]
    for event in falcolib.Engine().events(falcolib.Capture(str(conformance / "captures" / f"{name}.scap"))):
        info = next(e for e in [falcolib.schema.EVENTS[event._type_id]])
        for slot in slots:
            assert may_have(slot, info) or event[str(slot)] is None, (info.code, str(slot))


# ---- attacker-chosen-exception -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("condition", "severity"), [
    ("evt.type = open and not proc.cmdline contains health", "warning"),
    ("evt.type = open and not proc.name startswith runc", "warning"),
    ("evt.type = open and not (proc.exe = a and proc.pname = b)", "warning"),
    ("evt.type = open and not (fd.num = 1 or proc.args = x)", "warning"),
    ("evt.type = open and not tolower(proc.cmdline) contains health", "warning"),
    ("evt.type = open and not proc.name in (sshd, login)", "note"),
    ("evt.type = open and not (proc.cmdline contains health and proc.exepath = /bin/x)", None),
    ("evt.type = open and proc.cmdline contains health", None),
    ("evt.type = open and not proc.exepath in (/usr/sbin/sshd)", None),
    ("evt.type = open and (fd.num = 2 and not proc.cmdline = a or fd.num = 1)", None),
], ids=str)  # fmt: skip
def test_exceptions_by_what_the_attacker_chooses(condition: str, severity: str | None) -> None:
    findings = [f for f in lint(rules(condition)) if f.id == "attacker-chosen-exception"]
    assert [f.severity for f in findings] == [severity] * (severity is not None)


# ---- regex-as-glob -----------------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("pattern", "glob"), [
    (r"/etc/.*\.conf", "/etc/*.conf"), ("^/etc/[a-z0-9]+$", None), ("/tmp/.?", None), ("/tmp/[abc]x.*", "/tmp/[abc]x*"),
    ("/a/[^b].+", "/a/[!b]?*"), ("(a|b)", None), ("a*", None), (r"\*", r"\*"), (r"\d+", None),
    ("a.c", "a?c"), (r"\.+", None), ("a{2}", None),
], ids=str)  # fmt: skip
def test_regular_expressions_that_are_globs(pattern: str, glob: str | None) -> None:
    assert as_glob(pattern) == glob
    if glob is not None:
        regex, same = (rules(f"evt.type = open and proc.name {op} {json.dumps(text)}").rules[0].condition.children[1]  # type: ignore[union-attr]
                       for op, text in (("regex", pattern), ("glob", glob)))  # fmt: skip
        for text in ("/etc/a.conf", "/tmp/ax", "/a/cd", "*", "abc", "/tmp/dx", "/a/bd"):
            assert evaluate(regex, lambda slot, text=text: text) == evaluate(same, lambda slot, text=text: text)


# ---- all -------------------------------------------------------------------------------------------------------------------------------


def test_what_is_said_of_two_tests_holds_for_values() -> None:
    """implies and excludes, held against the evaluator."""
    texts = ["= a", "= ab", "!= a", "in (a, b)", "in (ab, b)", "startswith a", "startswith ab", "endswith b", "contains a", "contains ab",
             "exists", "glob a*", "pmatch (/a)", "pmatch (/a/b)", "= /a/b", "in (a)", "anyof (a, b)"]  # fmt: skip
    texts = [t if "anyof" not in t else "= " + t for t in texts]
    strings = [rules(f"evt.type = open and proc.name {t}").rules[0].condition.children[1] for t in texts]  # type: ignore[union-attr]
    numbers = [rules(f"evt.type = open and fd.num {t}").rules[0].condition.children[1]  # type: ignore[union-attr]
               for t in ("= 3", "!= 3", "> 3", ">= 3", "< 3", "<= 3", "in (2, 3)", "exists", "> 2", "< 4")]  # fmt: skip
    for checks, values in ((strings, ["a", "ab", "b", "", "/a", "/a/b", "/ab", "c", "ba"]), (numbers, [1, 2, 3, 4, 5])):
        for a in checks:
            for b in checks:
                assert isinstance(a, Check)
                assert isinstance(b, Check)
                for value in [*values, None]:
                    x, y = (evaluate(c, lambda slot, value=value: value) for c in (a, b))
                    assert not (implies(a, b) and x and not y), (a, b, value)
                    assert not (excludes(a, b) and x and y), (a, b, value)


def test_comments_take_findings_out() -> None:
    text = ("- rule: a\n  desc: d\n  condition: >\n    evt.type = open and\n    proc.name = a and\n    proc.name = b\n"
            "  output: o\n  priority: INFO\n")  # fmt: skip
    (finding,) = lint(RuleSet.parse(text))
    assert (finding.id, finding.at.line) == ("never-true", 5)
    comment = "# falcolib: ignore[shadowed-rule, never-true]\n"
    assert lint(RuleSet.parse(comment + text)) == []
    assert lint(RuleSet.parse(comment.replace("never-true", "never-false") + text)) == [finding.__class__(
        finding.id, finding.severity, *(finding.message.replace(":5:", ":6:"), finding.cure, finding.rule),
        falcolib.Location("<string>", 6, finding.at.column, finding.at.offset + len(comment) + 1))]  # fmt: skip


def test_lints_can_be_left_out() -> None:
    assert lint(rules("evt.type = open and evt.type = close"), disable=["never-true"]) == []
    with pytest.raises(ValueError, match="no such lint: x; there are shadowed-rule"):
        lint(rules("evt.type = open"), disable=["x"])


def test_each_lint_has_a_page() -> None:
    index = (ROOT / "docs" / "lints" / "index.md").read_text()
    for one_ in LINTS:
        assert (ROOT / "docs" / "lints" / f"{one_.id}.md").read_text().startswith(f"# {one_.id}\n")
        assert f"| [{one_.id}]({one_.id}.md) |" in index


def test_our_rules_have_no_warnings() -> None:
    assert [f for f in lint(RuleSet.load(ROOT / "rules" / "falcolib_rules.yaml")) if f.severity == "warning"] == []


@pytest.mark.conformance
def test_of_the_public_rules_little_is_said_and_all_of_it_is_true(conformance: pathlib.Path) -> None:
    set_ = RuleSet.load(*(conformance / "rules" / name for name in PUBLIC)).select([{"enable": {"rule": "*"}}])
    findings = [f for f in lint(set_) if f.severity == "warning"]
    assert sorted((f.id, f.rule) for f in findings if f.id != "attacker-chosen-exception") == [
        ("never-true", "Launch Disallowed Container"),              # until allowed_containers is overridden
        ("shadowed-rule", "Contact cloud metadata service from container"),
        ("shadowed-rule", "Netcat/Socat Remote Code Execution on Host"),
        ("shadowed-rule", "Network Tool Executed During NPM Package Install"),
    ]  # fmt: skip
    assert len({f.rule for f in findings if f.id == "attacker-chosen-exception"}) <= 20


def test_deep_and_many_conditions_are_linted() -> None:
    """In two seconds. One that takes for ever is ended by the suite, as each test that hangs."""
    deep = "(" * 900 + "evt.type = open" + " and proc.name = a or fd.num = 1)" * 900
    lint(rules(deep))
    lint(rules(*(f"evt.type = open and proc.name = a{i} and (fd.num = {i} or fd.num = {i + 1})" for i in range(400))))


# ---- the command -------------------------------------------------------------------------------------------------------------------------


def command(*args: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, "-m", "falcolib", "validate", *args], capture_output=True, text=True, timeout=300)


def test_the_command(tmp_path: pathlib.Path) -> None:
    path = tmp_path / "r.yaml"
    path.write_text("- rule: a\n  desc: d\n  condition: evt.type = open and evt.type = close and not proc.name = x\n  output: o\n"
                    "  priority: INFO\n")  # fmt: skip
    done = command("--lint", str(path))
    assert done.returncode == 0
    assert done.stdout.splitlines() == [
        f"{path}: Ok",
        f"{path}:3:34: warning [never-true]: the condition is never true: evt.type = open ({path}:3:14) and evt.type = close "
        "can't both hold",
        "      condition: evt.type = open and evt.type = close and not proc.name = x",
        "                                     ^",
        "in rule 'a'",
        "cure: correct or remove one of the tests",
        "1 notes; --notes shows them",
    ]
    assert "note [attacker-chosen-exception]" in command("--notes", str(path)).stdout
    assert command("--lint", "--strict", str(path)).returncode == 1
    assert command("--lint", "--strict", "--disable", "never-true", str(path)).returncode == 0
    assert command("--lint", "--disable", "x", str(path)).returncode == 2
    (row,) = json.loads(command("--lint", "--json", str(path)).stdout)["lints"]
    assert (row["id"], row["rule"], row["position"]["line"], row["position"]["column"]) == ("never-true", "a", 2, 33)
    path.write_text("- rule: a\n")
    done = command("--lint", str(path))
    assert (done.returncode, done.stderr) == (1, "Not linted: correct the errors first\n")
