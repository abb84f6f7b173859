# SPDX-License-Identifier: Apache-2.0
"""The cache of compiled programs: what it gives is what would be compiled, and nothing else."""

import os
import pathlib
import subprocess
import sys

import pytest

import falcolib
from falcolib import _cached, cache

RULES = """
- list: shells
  items: [sh, bash]
- rule: Shell
  desc: a shell
  condition: evt.type = execve and proc.name in (shells) and toupper(basename(proc.exe)) startswith "B" and proc.args regex ".*x.*"
  output: shell %20proc.name at %toupper(fd.name), of %proc.aname[2] | %evt.arg.filename
  priority: WARNING
  tags: [a, b]
- rule: Off
  desc: not enabled, with a field that no other rule has
  condition: evt.type = connect and fd.rip = 1.2.3.4
  output: to %fd.rip and %toupper(proc.pname)
  priority: DEBUG
  enabled: false
- rule: Quiet
  desc: less urgent
  condition: evt.type = open
  output: x
  priority: DEBUG
"""
EVENT = {"evt.type": "execve", "proc.name": "bash", "proc.exe": "/bin/bash", "proc.args": "-x", "proc.aname[2]": "init"}


@pytest.fixture
def rules(tmp_path: pathlib.Path) -> pathlib.Path:
    path = tmp_path / "rules.yaml"
    path.write_text(RULES)
    return path


@pytest.fixture
def folder(tmp_path: pathlib.Path) -> pathlib.Path:
    return tmp_path / "cache" / "programs"


def load(rules, folder, **options):
    return falcolib.load_program(rules, cache=folder, **options)


def only(folder: pathlib.Path) -> pathlib.Path:
    [file] = folder.iterdir()
    return file


def test_a_program_from_the_cache_is_the_one_that_was_compiled(rules, folder):
    first, second = load(rules, folder), load(rules, folder)
    assert (first.from_cache, second.from_cache) == (False, True)
    compiled = falcolib.compile_rules(falcolib.RuleSet.load(rules).rules)
    for loaded in (first, second):
        assert loaded.program == compiled
        assert loaded.program.slots == compiled.slots
        assert loaded.program.outputs == compiled.outputs
        assert loaded.program.patterns == compiled.patterns
        assert loaded.program.disassemble() == compiled.disassemble()
        [alert] = falcolib.Engine(loaded.program).run([EVENT])
        assert alert.message == "shell bash                 at <NA>, of init | <NA>"


def test_warnings_are_kept(rules, folder):
    rules.write_text(RULES + "- macro: unused\n  condition: evt.type = open\n")
    first, second = load(rules, folder), load(rules, folder)
    assert first.warnings == tuple(map(str, falcolib.RuleSet.load(rules).warnings)) != ()
    assert second.from_cache
    assert second.warnings == first.warnings


def test_without_a_cache_nothing_is_written(rules, tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "xdg"))
    monkeypatch.setenv("FALCOLIB_CACHE", "")
    assert not falcolib.load_program(rules).from_cache
    assert not falcolib.load_program(rules, cache=False).from_cache
    assert not (tmp_path / "xdg").exists()
    monkeypatch.delenv("FALCOLIB_CACHE")
    falcolib.load_program(rules)
    assert falcolib.load_program(rules).from_cache
    assert only(tmp_path / "xdg" / "falcolib").stat().st_mode & 0o777 == 0o600
    assert (tmp_path / "xdg" / "falcolib").stat().st_mode & 0o777 == 0o700


def test_what_the_program_depends_on_is_in_its_key(rules, folder, monkeypatch):
    load(rules, folder)
    assert not load(rules, folder, priority="warning").from_cache
    assert load(rules, folder, priority="warning").program.rules[2].enabled is False
    assert not load(rules, folder, entries=[{"enable": {"rule": "Off"}}]).from_cache
    other = rules.with_name("other.yaml")
    other.write_text(RULES)
    assert not load(other, folder).from_cache           # places name the file
    rules.write_text(RULES.replace("bash]", "dash]"))
    assert not load(rules, folder).from_cache
    monkeypatch.setattr(cache, "_fingerprint", lambda: "another falcolib")
    assert not load(rules, folder).from_cache


def test_a_mistake_in_the_rules_is_told_as_without_a_cache(rules, folder):
    rules.write_text(RULES.replace("proc.name in", "proc.nam in"))
    for _ in range(2):
        with pytest.raises(falcolib.RuleError, match=r"proc\.nam"):
            load(rules, folder)
    assert not folder.exists()


@pytest.mark.parametrize("mode", [0o620, 0o602])
def test_a_file_that_others_can_write_doesnt_count(rules, folder, mode):
    load(rules, folder)
    only(folder).chmod(mode)
    assert not load(rules, folder).from_cache
    assert load(rules, folder).from_cache               # it was written anew


def test_a_folder_that_others_can_write_doesnt_count(rules, folder):
    load(rules, folder)
    folder.chmod(0o777)
    assert not load(rules, folder).from_cache


def test_a_file_or_folder_of_someone_else_doesnt_count(rules, folder, monkeypatch):
    load(rules, folder)
    monkeypatch.setattr(os, "geteuid", lambda: os.getuid() + 1)
    assert not load(rules, folder).from_cache
    assert not load(rules, folder / "new").from_cache
    assert not (folder / "new").exists()


def test_a_link_or_a_pipe_in_place_of_the_file_doesnt_count(rules, folder, tmp_path):
    load(rules, folder)
    file = only(folder)
    file.rename(tmp_path / "elsewhere")
    file.symlink_to(tmp_path / "elsewhere")
    assert not load(rules, folder).from_cache
    file.unlink()
    os.mkfifo(file, 0o600)
    assert not load(rules, folder).from_cache


def test_a_damaged_file_is_compiled_again(rules, folder):
    load(rules, folder)
    file = only(folder)
    data = file.read_bytes()
    for broken in (b"", data[:-1], data + b"x", b"X" + data[1:], data[:100] + bytes([data[100] ^ 1]) + data[101:], data[: len(data) // 2]):
        file.write_bytes(broken)
        assert not load(rules, folder).from_cache
        assert load(rules, folder).from_cache
        assert file.read_bytes() == data


def test_hostile_contents_are_refused_or_harmless(rules, folder):
    """Whoever can write the file and its checksum can change what is found, as by changing the rules; they can't do more."""
    program = load(rules, folder).program
    body = bytearray(_cached.encode(program, ()))
    refused = 0
    for at in range(0, len(body), 7):
        for value in (0, 0x7F, 0x90, 0xC0, 0xFF, body[at] ^ 1):
            changed = bytes(body[:at]) + bytes([value]) + bytes(body[at + 1 :])
            try:
                found, _ = _cached.decode(changed)
                found.check()
            except (_cached.DecodeError, falcolib.FalcolibError):
                refused += 1
                continue
            for alert in falcolib.Engine(found, matching="all").run([EVENT]):
                assert isinstance(alert.json(), str)
    assert refused > len(body) / 7


def test_the_oldest_programs_go(rules, folder, monkeypatch):
    monkeypatch.setattr(cache, "KEPT", 3)
    for number in range(5):
        rules.write_text(RULES + f"# {number}\n")
        load(rules, folder)
    assert len(list(folder.iterdir())) == 3
    assert load(rules, folder).from_cache


def test_a_cached_start_imports_nothing_that_reads_rules(rules, folder):
    load(rules, folder)
    code = ("import sys, falcolib; p = falcolib.load_program(sys.argv[1], cache=sys.argv[2]); assert p.from_cache;"
            "falcolib.Engine(p.program);"
            "print(*[m for m in ('yaml', 'pyparsing', 'falcolib.rules.grammar', 'falcolib.compiler.plan') if m in sys.modules])")
    assert subprocess.run([sys.executable, "-c", code, rules, folder], capture_output=True, text=True, check=True).stdout == "\n"
