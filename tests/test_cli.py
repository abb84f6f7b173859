# SPDX-License-Identifier: Apache-2.0
"""The command: what goes to stdout, what to stderr, and with which status it ends."""

import contextlib
import gzip
import json
import os
import pty
import re
import signal
import subprocess
import sys
from pathlib import Path
from typing import IO, TypeAlias

import pytest

from conftest import ROOT
from falcolib import Capture, Engine, RuleSet
from falcolib.cli import COMMANDS
from falcolib.daemon.signals import Stopped, Stopper

Done: TypeAlias = "subprocess.CompletedProcess[str]"

RULES = str(ROOT / "rules" / "falcolib_rules.yaml")
EXEC_RULE = """
- rule: Program started
  desc: d
  condition: evt.type = execve and evt.failed = false
  output: started %proc.name by %proc.pname
  priority: NOTICE
  tags: [process]
- rule: cat started
  desc: d
  condition: evt.type = execve and evt.failed = false and proc.name = cat
  output: cat | command=%proc.cmdline
  priority: ERROR
"""
#: A run whose end waits long for its reader, as the machine may be loaded.
RUN = ("run", "-o", "outputs_queue.drain_timeout=2m")
TEXT_LINE = re.compile(r"^\d\d:\d\d:\d\d\.\d{9}: (Notice|Error) ")


@pytest.fixture
def rule_file(tmp_path: Path) -> str:
    path = tmp_path / "rules.yaml"
    path.write_text(EXEC_RULE)
    return str(path)


def falcolib(*arguments: str, stdin: bytes | None = None, status: int = 0) -> Done:
    if arguments[:1] == ("run",):
        arguments = (*RUN, *arguments[1:])
    done = subprocess.run([sys.executable, "-m", "falcolib", *arguments], input=stdin, capture_output=True, timeout=120)
    text = subprocess.CompletedProcess(done.args, done.returncode, done.stdout.decode(), done.stderr.decode())
    assert done.returncode == status, text.stderr
    return text


def replay(rules: str, capture: Path | str, *options: str, stdin: bytes | None = None, status: int = 0) -> Done:
    arguments = [word for option in options for word in ("-o", option)]
    return falcolib("run", "-r", rules, "--capture", str(capture), *arguments, stdin=stdin, status=status)


# ---- run ----


def test_alerts_go_to_stdout_as_falco_prints_them(rule_file: str, attack1: Path) -> None:
    lines = replay(rule_file, attack1).stdout.splitlines()
    assert len(lines) > 50
    assert all(TEXT_LINE.match(line) for line in lines)


def test_everything_else_goes_to_stderr(rule_file: str, attack1: Path) -> None:
    done = replay(rule_file, attack1)
    count = len(done.stdout.splitlines())
    assert f"Events detected: {count}" in done.stderr
    assert f"NOTICE: {count}" in done.stderr
    assert f"Program started: {count}" in done.stderr


def test_json_lines_are_falcos(rule_file: str, attack1: Path) -> None:
    rows = [json.loads(line) for line in replay(rule_file, attack1, "json_output=true").stdout.splitlines()]
    assert {tuple(row) for row in rows} == {("hostname", "output", "output_fields", "priority", "rule", "source", "tags", "time")}
    assert {row["rule"] for row in rows} == {"Program started"}
    assert {tuple(row["tags"]) for row in rows} == {("process",)}
    assert all(isinstance(row["output_fields"]["evt.time"], int) for row in rows)


def test_first_matching_reports_an_event_once_and_all_once_for_each_rule(rule_file: str, attack1: Path) -> None:
    first = replay(rule_file, attack1).stdout
    both = replay(rule_file, attack1, "rule_matching=all").stdout
    assert "cat | command=" not in first
    assert both.count("cat | command=") > 3
    assert len(both.splitlines()) == len(first.splitlines()) + both.count("cat | command=")


def test_rules_below_the_priority_threshold_dont_run(rule_file: str, attack1: Path) -> None:
    assert {line.split(" ")[1] for line in replay(rule_file, attack1, "priority=error").stdout.splitlines()} == {"Error"}


def test_captures_are_plain_or_gzip_from_a_file_or_standard_input(rule_file: str, attack1: Path, tmp_path: Path) -> None:
    packed = attack1.read_bytes()
    plain = tmp_path / "plain.scap"
    plain.write_bytes(gzip.decompress(packed))
    want = replay(rule_file, attack1).stdout
    assert replay(rule_file, plain).stdout == want
    assert replay(rule_file, "-", stdin=packed).stdout == want
    assert replay(rule_file, "-", stdin=plain.read_bytes()).stdout == want


def test_without_rules_the_default_rules_run(attack1: Path) -> None:
    assert falcolib("run", "--capture", str(attack1)).stdout == replay(RULES, attack1).stdout


def test_a_folder_of_rules_is_loaded_in_order_of_names(rule_file: str, attack1: Path, tmp_path: Path) -> None:
    folder = tmp_path / "rules.d"
    folder.mkdir()
    (folder / "10-rules.yaml").write_text(EXEC_RULE)
    (folder / "20-local.yml").write_text("- rule: Program started\n  enabled: false\n  override: {enabled: replace}\n")
    (folder / "README").write_text("not a rule file")
    lines = replay(str(folder), attack1).stdout.splitlines()
    assert lines
    assert all("cat | command=" in line for line in lines)


def test_the_path_of_the_default_rules_is_told_so_that_others_can_come_after_them(attack1: Path, tmp_path: Path) -> None:
    path = falcolib("rules", "syscall").stdout.strip()
    assert falcolib("rules").stdout.splitlines()[0].split() == ["syscall", path]
    (tmp_path / "local.yaml").write_text("- {rule: Network tool launched, enabled: false, override: {enabled: replace}}\n")
    both = falcolib("run", "-r", path, "-r", str(tmp_path / "local.yaml"), "--capture", str(attack1))
    alone = falcolib("run", "--capture", str(attack1))
    assert len(both.stdout.splitlines()) == len(alone.stdout.splitlines()) - 1
    assert "syscall, k8s_audit" in falcolib("rules", "cloudtrail", status=2).stderr.replace("'", "")


# ---- what can go wrong ----


def test_a_truncated_capture_gives_the_alerts_up_to_there(rule_file: str, attack1: Path, tmp_path: Path) -> None:
    plain = gzip.decompress(attack1.read_bytes())
    whole = replay(rule_file, attack1).stdout.splitlines()
    cut = tmp_path / "cut.scap"
    cut.write_bytes(plain[: len(plain) // 2 + 1])
    done = replay(rule_file, cut, status=1)
    lines = done.stdout.splitlines()
    assert 0 < len(lines) < len(whole)
    assert lines == whole[: len(lines)]
    assert "Error:" in done.stderr
    offset = int(re.search(r"offset (\d+)", done.stderr)[1])        # type: ignore[index]
    assert 0 < offset <= len(plain) // 2 + 1
    assert f"Events detected: {len(lines)}" in done.stderr


def test_a_truncated_gzip_gives_the_alerts_up_to_there(rule_file: str, attack1: Path, tmp_path: Path) -> None:
    packed = attack1.read_bytes()
    cut = tmp_path / "cut.scap.gz"
    cut.write_bytes(packed[: len(packed) // 2])
    done = replay(rule_file, cut, status=1)
    assert done.stdout
    assert "Error:" in done.stderr


@pytest.mark.parametrize("content", [b"", b"\0" * 64, b"PK\x03\x04 not a capture at all, but some text that is long enough"])
def test_what_is_no_capture_is_told_on_stderr(rule_file: str, tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "x.scap"
    path.write_bytes(content)
    done = replay(rule_file, path, status=1)
    assert done.stdout == ""
    assert "Error:" in done.stderr
    assert "Traceback" not in done.stderr


def test_a_missing_capture_is_an_error_that_names_it(rule_file: str, tmp_path: Path) -> None:
    done = replay(rule_file, tmp_path / "missing.scap", status=1)
    assert "missing.scap" in done.stderr
    assert "Traceback" not in done.stderr


def test_a_mistake_in_a_rule_names_file_line_and_column(attack1: Path, tmp_path: Path) -> None:
    path = tmp_path / "wrong.yaml"
    path.write_text("- rule: r\n  desc: d\n  condition: evt.type = execve and proc.nam = cat\n  output: o\n  priority: INFO\n")
    done = replay(str(path), attack1, status=1)
    assert done.stdout == ""
    assert re.search(r"wrong\.yaml:3:\d+", done.stderr)
    assert "proc.name" in done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize(("arguments", "near"), [
    (["runn"], "'run'"), (["profil"], "'profile'"), (["k8sconfig"], "'k8s-config'"), (["run", "--captur", "x"], "--capture"),
    (["record", "x", "--overwrit"], "--overwrite"),
])
def test_of_a_command_or_option_that_isnt_one_the_nearest_is_told(arguments: list[str], near: str) -> None:
    told = falcolib(*arguments, status=2).stderr
    assert "did you mean" in told.lower()
    assert near in told


def test_what_is_far_from_all_commands_is_answered_with_all() -> None:
    assert "there is run, validate, " in " ".join(falcolib("xyzzy", status=2).stderr.split())


@pytest.mark.parametrize("command", COMMANDS)
def test_help_has_units_and_no_placeholders_of_types(command: str) -> None:
    told = falcolib(command, "--help").stdout
    assert not re.search(r"\b(INTEGER|FLOAT|TEXT)\b", told)
    assert told.startswith(f"Usage: falcolib {command} ")


@pytest.mark.parametrize("option", ["nonsense", "json_outputs=true", "json_output=maybe", "rule_matching=some", "priority=loud"])
def test_a_setting_that_isnt_one_is_wrong_usage(rule_file: str, attack1: Path, option: str) -> None:
    done = replay(rule_file, attack1, option, status=2)
    assert done.stdout == ""
    assert option.split("=")[0] in done.stderr


@pytest.mark.parametrize("signum", [signal.SIGINT, signal.SIGTERM])
def test_signals_end_a_run_cleanly(rule_file: str, attack1: Path, signum: signal.Signals) -> None:
    """The capture comes through a pipe that stays open, so that the run can't end by itself."""
    plain = gzip.decompress(attack1.read_bytes())
    command = [sys.executable, "-m", "falcolib", *RUN, "-r", rule_file, "--capture", "-"]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        assert process.stdin
        assert process.stdout
        process.stdin.write(plain[: len(plain) // 2])
        process.stdin.flush()
        first = process.stdout.readline().decode()
        process.send_signal(signum)
        out, err = drain(process.stdout), drain(process.stderr)
        assert process.wait(timeout=120) == 0, err
    assert TEXT_LINE.match(first)
    assert f"Events detected: {1 + len(out.splitlines())}" in err
    assert "Traceback" not in err


@pytest.mark.parametrize("signum", [signal.SIGINT, signal.SIGTERM])
@pytest.mark.parametrize("option", ["-r", "--capture", "--audit"])
def test_signals_end_a_run_that_waits_for_a_pipe(option: str, attack1: Path, tmp_path: Path, signum: signal.Signals) -> None:
    os.mkfifo(tmp_path / "pipe")
    command = [sys.executable, "-m", "falcolib", "run", option, str(tmp_path / "pipe")]
    command += ["--capture", str(attack1)] if option == "-r" else []
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        writer = os.open(tmp_path / "pipe", os.O_WRONLY)        # waits for the reader
        process.send_signal(signum)
        try:
            assert process.wait(timeout=120) == 0
        finally:
            process.kill()
        out, err = drain(process.stdout), drain(process.stderr)
        os.close(writer)
    assert out == ""
    assert "Events read: 0 " in err
    assert "Traceback" not in err


def drain(stream: IO[bytes] | None) -> str:
    assert stream
    return stream.read().decode()


def test_sigint_works_where_it_was_ignored_at_the_start(rule_file: str, attack1: Path) -> None:
    """As in a shell's background job."""
    plain = gzip.decompress(attack1.read_bytes())
    command = ["sh", "-c", 'trap "" INT; exec "$@"', "sh", sys.executable, "-m", "falcolib", "run", "-r", rule_file, "--capture", "-"]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        assert process.stdin
        assert process.stdout
        process.stdin.write(plain[: len(plain) // 2])
        process.stdin.flush()
        assert process.stdout.readline()
        process.send_signal(signal.SIGINT)
        drain(process.stdout)
        assert process.wait(timeout=120) == 0


def test_a_reader_that_goes_away_ends_the_run_quietly(rule_file: str, attack1: Path) -> None:
    read, write = os.pipe()
    os.close(read)
    try:
        done = subprocess.run([sys.executable, "-m", "falcolib", "run", "-r", rule_file, "--capture", str(attack1)], stdout=write,
                              stderr=subprocess.PIPE, timeout=120)
    finally:
        os.close(write)
    assert done.returncode == 1
    assert b"Traceback" not in done.stderr


def test_a_signal_while_rules_are_loaded_ends_the_run_cleanly_too(attack1: Path) -> None:
    stopper = Stopper()
    stopper(signal.SIGTERM, None)
    engine = Engine(RuleSet.parse(EXEC_RULE))
    alerts = engine.run(Capture(attack1))
    stopper.attach(engine)
    assert list(alerts) == []


def test_a_signal_interrupts_what_may_wait_for_ever_once() -> None:
    stopper = Stopper()
    with pytest.raises(Stopped), stopper.interrupting():
        stopper(signal.SIGTERM, None)
    stopper(signal.SIGTERM, None)
    with pytest.raises(Stopped), stopper.interrupting():
        pytest.fail("the signal came before")


# ---- terminals, locales, and outputs that can't be written ----


def on_terminal(*arguments: str, capture: bytes, stdout: int | None) -> tuple[int, str]:
    """Runs a replay with stderr, and stdout if None is given, on a terminal. The second half of the capture comes when the bar is there."""
    terminal, side = pty.openpty()
    command = [sys.executable, "-m", "falcolib", *RUN, *arguments, "--capture", "-"]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=side if stdout is None else stdout, stderr=side,
                          env={**os.environ, "TERM": "xterm", "COLUMNS": "60"}) as process:
        os.close(side)
        assert process.stdin
        process.stdin.write(capture[: len(capture) // 2])
        process.stdin.flush()
        seen = b""
        while b"\rreplaying" not in seen.replace(b"\x1b[K", b""):
            seen += os.read(terminal, 4096)
        process.stdin.write(capture[len(capture) // 2 :])
        process.stdin.close()
        with contextlib.suppress(OSError):              # the other side has gone
            while more := os.read(terminal, 4096):
                seen += more
    os.close(terminal)
    return process.returncode, seen.decode()


def test_a_long_replay_has_a_progress_bar_on_the_terminal_and_alerts_stay_on_stdout(rule_file: str, attack1: Path, tmp_path: Path) -> None:
    plain = gzip.decompress(attack1.read_bytes())
    with (tmp_path / "alerts").open("wb") as out:
        status, seen = on_terminal("-r", rule_file, capture=plain, stdout=out.fileno())
    assert status == 0
    assert (tmp_path / "alerts").read_text() == replay(rule_file, attack1).stdout
    assert "Notice" not in seen


def test_on_a_shared_terminal_alerts_are_whole_lines_beside_the_progress_bar(rule_file: str, attack1: Path) -> None:
    plain = gzip.decompress(attack1.read_bytes())
    status, seen = on_terminal("-r", rule_file, capture=plain, stdout=None)
    assert status == 0
    lines = [line.rpartition("\x1b[K")[2] for line in seen.split("\r\n")]
    assert [line for line in lines if TEXT_LINE.match(line)] == replay(rule_file, attack1).stdout.splitlines()


def test_without_a_terminal_there_is_no_progress(rule_file: str, attack1: Path) -> None:
    assert "\x1b" not in replay(rule_file, attack1).stderr


@pytest.mark.parametrize("locale", [{"PYTHONIOENCODING": "ascii"}, {"LC_ALL": "C", "PYTHONCOERCECLOCALE": "0", "PYTHONUTF8": "0"}])
def test_alerts_are_utf_8_whatever_the_locale(attack1: Path, tmp_path: Path, locale: dict[str, str]) -> None:
    rules = tmp_path / "rules.yaml"
    rules.write_text("- {rule: größe, desc: d, condition: evt.type = execve, output: é, priority: INFO}\n", encoding="utf-8")
    done = subprocess.run([sys.executable, "-m", "falcolib", *RUN, "-r", str(rules), "--capture", str(attack1)], capture_output=True,
                          env={**os.environ, **locale}, timeout=120)
    assert done.returncode == 0, done.stderr
    assert all(line.endswith(" é") for line in done.stdout.decode().splitlines())


def shell(command: str, *arguments: str) -> Done:
    return subprocess.run(["sh", "-c", f'"$0" -m falcolib "$@" {command}', sys.executable, *arguments], capture_output=True, text=True,
                          timeout=120)


def test_a_full_or_closed_stdout_is_an_error_without_a_traceback(rule_file: str, attack1: Path) -> None:
    for command in (">/dev/full", ">&-"):
        done = shell(command, "run", "-r", rule_file, "--capture", str(attack1))
        assert done.returncode == 1
        assert "Error: standard output:" in done.stderr
        assert "Traceback" not in done.stderr


def test_what_other_commands_print_is_not_lost_in_silence(rule_file: str) -> None:
    for arguments in (("fields",), ("describe", "-r", rule_file), ("validate", rule_file)):
        done = shell(">/dev/full", *arguments)
        assert (done.returncode, done.stderr) == (1, "Error: standard output: No space left on device\n")


def test_an_explanation_without_stdout_is_no_mistake(rule_file: str) -> None:
    done = shell(">&-", "explain", "-r", rule_file, "--fields", '{"evt.type": "execve"}')
    assert (done.returncode, done.stderr) == (0, "")


#: Every command that reads a file, and how it is told which.
READERS = (
    ("run", "--capture", "FILE"), ("run", "-r", "FILE", "--capture", "/dev/null"), ("run", "-c", "FILE"), ("validate", "FILE"),
    ("describe", "-r", "FILE"), ("test", "FILE"), ("explain", "--capture", "FILE", "--event", "1"),
    ("explain", "-r", "FILE", "--fields", '{"evt.type": "execve"}'), ("record", "/dev/null", "--capture", "FILE"),
    ("profile", "FILE", "--capture", "/dev/null"), ("audit2rbac", "-f", "FILE", "--user", "alice"),
)  # fmt: skip


@pytest.mark.parametrize("command", READERS, ids=" ".join)
def test_files_that_cannot_be_read_are_told(command: tuple[str, ...], tmp_path: Path) -> None:
    junk, missing = tmp_path / "junk", tmp_path / "missing"
    junk.write_bytes(b"\x1b[31m\xff\0" * 100)
    for path in (junk, missing):
        done = falcolib(*(str(path) if word == "FILE" else word for word in command), status=1)
        assert "Traceback" not in done.stderr
        assert "\x1b" not in done.stdout + done.stderr
    assert f"Error: {missing}: No such file or directory" in done.stderr


def test_alerts_are_found_also_where_stderr_is_full_or_closed(rule_file: str, attack1: Path) -> None:
    want = replay(rule_file, attack1).stdout
    for command in ("2>/dev/full", "2>&-"):
        done = shell(command, "run", "-r", rule_file, "--capture", str(attack1))
        assert (done.returncode, done.stdout) == (0, want)


def test_a_second_capture_is_wrong_usage(rule_file: str, attack1: Path) -> None:
    done = falcolib("run", "-r", rule_file, "--capture", str(attack1), "--capture", str(attack1), status=2)
    assert "one capture" in done.stderr


def test_a_run_without_rules_is_warned_of(attack1: Path, tmp_path: Path) -> None:
    assert "no rule is enabled" in replay(str(tmp_path), attack1).stderr


# ---- the other commands ----


def test_validate_says_ok(rule_file: str) -> None:
    assert "Ok" in falcolib("validate", rule_file).stdout


def test_validate_tells_the_place_of_an_error_and_has_status_1(tmp_path: Path) -> None:
    path = tmp_path / "wrong.yaml"
    path.write_text("- rule: r\n  desc: d\n  condition: evt.type = execve and unknown_macro\n  output: o\n  priority: INFO\n")
    done = falcolib("validate", str(path), status=1)
    assert "LOAD_ERR_VALIDATE" in done.stdout
    result = json.loads(falcolib("validate", "--json", str(path), status=1).stdout)
    assert result["falco_load_results"][0]["errors"][0]["code"] == "LOAD_ERR_VALIDATE"


def test_validate_shows_the_place_and_the_nearest_name(tmp_path: Path) -> None:
    path = tmp_path / "wrong.yaml"
    path.write_text("- macro: spawned\n  condition: evt.type = execve\n"
                    "- rule: r\n  desc: d\n  condition: proc.name = cat and spwaned\n  output: o\n  priority: INFO\n")
    lines = falcolib("validate", str(path), status=1).stdout.splitlines()
    assert lines[1].startswith(f"  LOAD_ERR_VALIDATE: {path}:5:")
    assert lines[3].index("^") == lines[2].index("spwaned")
    assert "did you mean spawned?" in lines[-1]


def test_describe_lists_rules_and_prints_the_program(rule_file: str) -> None:
    assert "cat started" in falcolib("describe", "-r", rule_file).stdout
    assert "EXECVE_19_X" in falcolib("describe", "-r", rule_file, "--program").stdout


def test_fields_and_events_print_the_tables() -> None:
    fields = falcolib("fields").stdout
    assert "proc.cmdline" in fields
    assert "fd.name" in fields
    events = falcolib("events").stdout
    assert "openat" in events
    assert "execve" in events


def test_the_version_is_printed() -> None:
    assert re.search(r"falcolib.* \d+\.\d+", falcolib("--version").stdout)


@pytest.mark.parametrize(("options", "expected"), [
    ([], {"a", "b"}), (["-t", "net"], {"b", "off"}), (["-T", "net"], {"a"}), (["-D", "a"], {"b"}), (["-D", "a", "-D", "b"], set()),
    (["-o", "rules[].disable.rule=*", "-o", "rules[].enable.tag=net"], {"b", "off"}),
    (["-o", "rules[].disable.rule=a*"], {"b"}),
], ids=" ".join)  # fmt: skip
def test_rules_are_selected_by_name_and_tag(options: list[str], expected: set[str], tmp_path: Path, attack1: Path) -> None:
    rules = tmp_path / "rules.yaml"
    rules.write_text("".join(
        f"- {{rule: {name}, desc: d, output: o, priority: INFO, condition: evt.type = execve, tags: [{tags}], enabled: {enabled}}}\n"
        for name, tags, enabled in (("a", "x", "true"), ("b", "net", "true"), ("'off'", "net", "false"))))  # fmt: skip
    every = ("-o", "rule_matching=all", "-o", "json_output=true")
    done = falcolib("run", "--no-cache", "-r", str(rules), "--capture", str(attack1), *every, *options)
    assert {json.loads(line)["rule"] for line in done.stdout.splitlines()} == expected
    assert done.returncode == 0


def test_selections_that_make_no_sense(attack1: Path) -> None:
    for options in (["-t", "a", "-T", "b"], ["-o", "rules[].disable.rule="], ["-o", "rules[].drop.rule=a"]):
        falcolib("run", "--capture", str(attack1), *options, status=2)
