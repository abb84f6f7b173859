# SPDX-License-Identifier: Apache-2.0
"""Hot reload: files that change, also as Kubernetes changes a ConfigMap; rules put into force under load; mistakes that change nothing."""

from __future__ import annotations

import os
import pathlib
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator

import pytest

import falcolib
from falcolib.config.files import now
from falcolib.daemon.reload import Reloader
from falcolib.daemon.watch import FileWatch
from live import WHY_NOT, Watch
from messages import PATIENCE, until

#: Makes a program as large as those that people run: what it finds never happens.
FILLER = "".join(f"- rule: never {n}\n  desc: d\n"
                 f"  condition: evt.type in (open, openat, execve) and proc.name = never{n} and fd.name startswith /never/{n}\n"
                 "  output: never %proc.cmdline %fd.name\n  priority: INFO\n" for n in range(100))


class Watched:
    """A FileWatch that counts."""

    def __init__(self, *paths: object) -> None:
        self.changes = 0
        self.watch = FileWatch([str(path) for path in paths], self._changed)
        self.probe()

    def _changed(self) -> None:
        self.changes += 1

    def probe(self) -> None:
        """Waits until the kernel tells of changes: it may take the thread a while to ask for them."""
        until(lambda: any(b"inotify" in os.readlink(f"/proc/self/fd/{fd}").encode() for fd in os.listdir("/proc/self/fd")
                          if os.path.islink(f"/proc/self/fd/{fd}")))

    def told(self, change: Callable[[], object]) -> None:
        """A change is told."""
        before = self.changes
        change()
        until(lambda: self.changes > before)


@pytest.fixture
def watched() -> Iterator[Callable[..., Watched]]:
    made: list[Watched] = []

    def make(*paths: object) -> Watched:
        made.append(Watched(*paths))
        return made[-1]

    yield make
    for one in made:
        one.watch.stop()


class TestFileWatch:
    def test_a_file_that_is_written(self, tmp_path: pathlib.Path, watched: Callable[..., Watched]) -> None:
        file = tmp_path / "falco.yaml"
        file.write_text("a")
        watch = watched(file)
        watch.told(lambda: file.write_text("ab"))
        watch.told(lambda: file.write_text("abc"))

    def test_a_file_that_is_replaced(self, tmp_path: pathlib.Path, watched: Callable[..., Watched]) -> None:
        file = tmp_path / "falco.yaml"
        file.write_text("a")
        watch = watched(file)
        for n in range(3):
            (tmp_path / "new").write_text(f"{n}")
            watch.told(lambda: (tmp_path / "new").rename(file))

    def test_a_file_that_comes_and_goes(self, tmp_path: pathlib.Path, watched: Callable[..., Watched]) -> None:
        folder = tmp_path / "etc" / "falco"
        watch = watched(folder / "falco.yaml")
        folder.mkdir(parents=True)
        watch.told(lambda: (folder / "falco.yaml").write_text("a"))
        watch.told(lambda: (folder / "falco.yaml").unlink())

    def test_folders_of_rules(self, tmp_path: pathlib.Path, watched: Callable[..., Watched]) -> None:
        folder = tmp_path / "rules.d"
        folder.mkdir()
        watch = watched(folder)
        watch.told(lambda: (folder / "a.yaml").write_text("a"))
        watch.told(lambda: (folder / "a.yaml").write_text("ab"))
        watch.told(lambda: (folder / "a.yaml").unlink())

    def test_what_else_happens_there_is_no_change(self, tmp_path: pathlib.Path, watched: Callable[..., Watched]) -> None:
        file = tmp_path / "falco.yaml"
        file.write_text("a")
        watch = watched(file)
        for n in range(20):
            (tmp_path / f"events{n}.txt").write_text("an alert")
        (tmp_path / "new").write_text("ab")
        watch.told(lambda: (tmp_path / "new").rename(file))     # that came later and was told, so the others were looked at
        assert watch.changes == 1

    def test_a_config_map(self, tmp_path: pathlib.Path, watched: Callable[..., Watched]) -> None:
        """Its files lead through ..data, which is replaced by rename: the entries themselves never change."""
        def version(name: str, text: str) -> None:
            (tmp_path / name).mkdir()
            (tmp_path / name / "falco.yaml").write_text(text)
            (tmp_path / "..data_tmp").symlink_to(name)
            (tmp_path / "..data_tmp").rename(tmp_path / "..data")

        version("..2026_1", "a")
        (tmp_path / "falco.yaml").symlink_to("..data/falco.yaml")
        watch = watched(tmp_path / "falco.yaml")
        for n in range(2, 5):
            watch.told(lambda n=n: version(f"..2026_{n}", f"{n}"))         # type: ignore[misc]

    def test_links_to_elsewhere(self, tmp_path: pathlib.Path, watched: Callable[..., Watched]) -> None:
        for name in ("a", "b"):
            (tmp_path / name).mkdir()
            (tmp_path / name / "falco.yaml").write_text(name)
        link = tmp_path / "falco.yaml"
        link.symlink_to(tmp_path / "a" / "falco.yaml")
        watch = watched(link)
        watch.told(lambda: (tmp_path / "a" / "falco.yaml").write_text("longer"))
        link.unlink()
        watch.told(lambda: link.symlink_to(tmp_path / "b" / "falco.yaml"))
        watch.probe()
        watch.told(lambda: (tmp_path / "b" / "falco.yaml").write_text("longer"))


class Rules:
    """A Reloader of a rule file, as the daemon has one; counts what comes of it. start: it does what it is asked for, at once."""

    def __init__(self, file: pathlib.Path, engine: falcolib.Engine, *, watch: bool = False, start: bool = True) -> None:
        self.engine = engine
        self.applied = 0
        self.failures: list[str] = []
        self.reloader: Reloader[falcolib.RuleSet] = Reloader(
            falcolib.RuleSet.load(file), lambda: falcolib.RuleSet.load(file), self._apply, lambda e: self.failures.append(str(e)),
            (lambda _: [str(file)]) if watch else None)
        if start:
            self.reloader.start()

    def _apply(self, new: falcolib.RuleSet, old: falcolib.RuleSet) -> None:
        self.engine.replace(new)
        self.applied += 1


RULE = "- {{rule: {name}, desc: d, condition: 'evt.type = execve', output: '{name} %proc.name', priority: INFO}}\n"
EXEC = {"evt.type": "execve", "proc.name": "sh"}


class TestReloader:
    @pytest.fixture
    def file(self, tmp_path: pathlib.Path) -> pathlib.Path:
        file = tmp_path / "rules.yaml"
        file.write_text(RULE.format(name="one"))
        return file

    def messages(self, engine: falcolib.Engine) -> list[str]:
        return [alert.message for alert in engine.run([EXEC])]

    def test_what_changes_after_it_was_read_and_before_it_is_watched_counts(self, tmp_path: pathlib.Path) -> None:
        """As a file that a reload has named, and that is written while that reload is put into force; or one at the start."""
        first, later = tmp_path / "first", tmp_path / "later"
        first.write_text("1")
        applied: list[str] = []

        def load() -> str:
            return "".join(file.read_text() for file in (first, later) if file.exists())

        def apply(new: str, old: str) -> None:
            applied.append(new)
            if len(applied) == 1:
                time.sleep(0.1)         # longer than the files' clock stands still
                later.write_text("2")

        reloader: Reloader[str] = Reloader("", load, apply, lambda e: None, lambda now: [str(first), *([str(later)] if now else [])])
        reloader.start()
        try:
            reloader.request()
            until(lambda: applied == ["1", "12"])
        finally:
            reloader.stop()
        since, read = now(), load()
        time.sleep(0.1)
        later.write_text("3")
        applied[:] = [read]
        reloader = Reloader(read, load, apply, lambda e: None, lambda now: [str(first), str(later)], since)
        reloader.start()
        try:
            until(lambda: applied == ["12", "13"])
        finally:
            reloader.stop()

    def test_it_is_asked_to(self, file: pathlib.Path) -> None:
        engine = falcolib.Engine(falcolib.RuleSet.load(file))
        rules = Rules(file, engine, start=False)
        before = rules.reloader.time
        file.write_text(RULE.format(name="two"))
        for _ in range(5):
            rules.reloader.request()            # at once: one reload
        rules.reloader.start()
        until(lambda: rules.applied)
        rules.reloader.stop()
        assert (self.messages(engine), rules.applied) == (["two sh"], 1)
        assert rules.reloader.time > before

    def test_the_file_changes(self, file: pathlib.Path) -> None:
        engine = falcolib.Engine(falcolib.RuleSet.load(file))
        rules = Rules(file, engine, watch=True)
        file.write_text(RULE.format(name="second"))
        until(lambda: self.messages(engine) == ["second sh"])
        rules.reloader.stop()

    def test_a_mistake_keeps_the_old_rules_and_says_where_it_is(self, file: pathlib.Path) -> None:
        engine = falcolib.Engine(falcolib.RuleSet.load(file))
        rules = Rules(file, engine)
        file.write_text("- {rule: two, desc: d, condition: 'evt.type = execve and', output: x, priority: INFO}\n")
        assert not rules.reloader.reload()
        (told,) = rules.failures
        assert told.startswith(f"{file}:1:")
        assert self.messages(engine) == ["one sh"]
        file.unlink()
        assert not rules.reloader.reload()
        assert str(file) in rules.failures[1]
        assert self.messages(engine) == ["one sh"]
        file.write_text(RULE.format(name="three"))
        assert rules.reloader.reload()
        assert self.messages(engine) == ["three sh"]

    def test_a_failure_that_cant_be_told_doesnt_end_reloads(self, file: pathlib.Path) -> None:
        engine = falcolib.Engine(falcolib.RuleSet.load(file))
        rules = Rules(file, engine)
        told = threading.Event()

        def fail(error: Exception) -> None:
            told.set()
            raise OSError("nobody reads alerts")

        rules.reloader._failed = fail                   # type: ignore[method-assign,assignment]
        file.write_text("- nothing\n")
        rules.reloader.request()
        assert told.wait(PATIENCE)
        file.write_text(RULE.format(name="two"))
        rules.reloader.request()
        until(lambda: rules.applied)
        rules.reloader.stop()

    def test_a_pattern_that_is_no_regular_expression_changes_nothing(self, file: pathlib.Path) -> None:
        engine = falcolib.Engine(falcolib.RuleSet.load(file))
        with pytest.raises(falcolib.FalcolibError):
            engine.replace(falcolib.RuleSet.parse(RULE.format(name="two").replace("execve'", "execve and proc.name regex \"(\"'")))
        assert self.messages(engine) == ["one sh"]

    def test_the_form_of_alerts_is_replaced_with_the_rules(self, file: pathlib.Path) -> None:
        engine = falcolib.Engine(falcolib.RuleSet.load(file), hostname="here")
        engine.replace(engine.program, format=falcolib.AlertFormat(json_include_tags_property=False))
        (alert,) = engine.run([EXEC])
        assert '"tags"' not in alert.json()
        assert '"hostname":"here"' in alert.json()


@pytest.mark.live
@pytest.mark.skipif(WHY_NOT is not None, reason=f"no live capture here: {WHY_NOT}")
class TestUnderLoad:
    """The rules change many times while this machine's events come at a high rate."""

    def test_no_event_is_lost_and_the_state_survives(self, tmp_path: pathlib.Path) -> None:
        """A process opens a file before, and reads it, once in a while, among its opens of others."""
        (tmp_path / "held").write_text("x")
        rules = (f"- {{rule: Opened, desc: d, condition: 'evt.type in (open, openat) and fd.name startswith {tmp_path}/n', "
                 "output: 'opened %fd.name by %proc.name', priority: INFO}\n"
                 f"- {{rule: Read, desc: d, condition: 'evt.type = pread and fd.name = {tmp_path}/held', "
                 "output: 'read %fd.name by %proc.pname', priority: INFO}\n")
        file = tmp_path / "rules.yaml"
        file.write_text(rules + FILLER)
        program = ("import os, sys, time\nheld = os.open(sys.argv[1] + '/held', os.O_RDONLY)\nprint(flush=True)\nsys.stdin.readline()\n"
                   "n = 0\n"
                   "while not os.path.exists(sys.argv[1] + '/enough') or n < 20000:\n"
                   "    os.close(os.open(f'{sys.argv[1]}/n{n}', os.O_RDONLY | os.O_CREAT, 0o600))\n"
                   "    os.unlink(f'{sys.argv[1]}/n{n}')\n"
                   "    n += 1\n"
                   "    if n % 1000 == 0: os.pread(held, 1, 0)\n"
                   "    if n % 20 == 0: time.sleep(0.001)\n"        # what this engine can follow, also with sanitizers
                   "print(n)\n")
        watch = Watch(falcolib.RuleSet.load(file), buf_size_preset=8)
        reloads = Rules(file, watch.engine)
        with watch:
            with subprocess.Popen([sys.executable, "-c", program, str(tmp_path)], stdin=subprocess.PIPE, stdout=subprocess.PIPE,
                                  text=True) as child:
                assert child.stdout is not None
                assert child.stdin is not None
                child.stdout.readline()
                child.stdin.write("\n")
                child.stdin.flush()
                for n in range(8):
                    file.write_text(rules + f"# {n}\n" + FILLER)
                    assert reloads.reloader.reload()
                file.write_text("- nothing\n")
                assert not reloads.reloader.reload()
                (tmp_path / "enough").touch()
                opened = int(child.stdout.readline())
            watch.until(lambda: len(watch.alerts) >= opened + opened // 1000, 300)
        assert reloads.applied == 8
        assert watch.engine.stats().lost == 0
        assert [alert.message.split()[1] for alert in watch.of("Opened")] == [f"{tmp_path}/n{n}" for n in range(opened)]
        assert len(watch.of("Read")) == opened // 1000


def test_reloads_and_the_end_of_the_program_do_not_wait_for_each_other(tmp_path: pathlib.Path) -> None:
    file = tmp_path / "rules.yaml"
    file.write_text(RULE.format(name="one"))
    engine = falcolib.Engine(falcolib.RuleSet.load(file))
    rules = Rules(file, engine, watch=True)
    asking = [threading.Thread(target=rules.reloader.request) for _ in range(20)]
    for thread in asking:
        thread.start()
    rules.reloader.stop()
    for thread in asking:
        thread.join(PATIENCE)
        assert not thread.is_alive()
