# SPDX-License-Identifier: Apache-2.0
"""How long a run stands still while other rules are put into force: ``python -m benchmarks.reload``.

A capture is replayed again and again in pieces of 64 KiB, and the time that each takes is noted: in quiet, and while 100 rules are read,
compiled and put into force beside it, as the daemon does (falcolib.daemon.reload). Of the change itself, Core.use() in the run's thread,
the longest is told. Linux on a busy machine stops a thread for longer than all of this: the quiet figures show it.
"""

from __future__ import annotations

import gzip
import pathlib
import tempfile
import threading
import time
from collections.abc import Iterator

import falcolib
from falcolib.compiler import compile_rules
from falcolib.core import Core
from falcolib.daemon.reload import Reloader

PIECE, SECONDS, RELOADS = 64 << 10, 5.0, 10
ATTACK = pathlib.Path(__file__).parents[1] / "tests" / "data" / "attack1.scap"


def rules(version: int) -> str:
    """100 rules, other ones each time."""
    return "".join(f"- rule: never {n}\n  desc: d\n  condition: evt.type in (open, openat, execve, connect) and "
                   f"proc.name = never{n}_{version} and (fd.name startswith /never/{n} or "
                   f"proc.cmdline contains never{n} or proc.aname[2] in (a{n}, b{n}))\n"
                   "  output: never %proc.cmdline %fd.name %user.name\n  priority: INFO\n" for n in range(100))


class Endless:
    """A capture, again and again; the pieces' times in ns."""

    name = "syscall"

    def __init__(self) -> None:
        data = gzip.decompress(ATTACK.read_bytes())
        self.pieces = [data[at:at + PIECE] for at in range(0, len(data), PIECE)]
        self.times: list[tuple[int, int]] = []
        self.closed = False

    def chunks(self) -> Iterator[bytes]:
        while not self.closed:
            for piece in self.pieces:
                began = time.monotonic_ns()
                yield piece
                self.times.append((began, time.monotonic_ns() - began))

    def close(self) -> None:
        self.closed = True

    def position(self) -> tuple[int, int | None]:
        return 0, None


def main() -> None:
    """Measures, and prints."""
    with tempfile.TemporaryDirectory() as folder:
        file = pathlib.Path(folder) / "rules.yaml"
        file.write_text(rules(0))
        engine, source, versions = falcolib.Engine(falcolib.RuleSet.load(file)), Endless(), iter(range(1, 1000))
        changes: list[int] = []
        use = Core.set_program

        def timed(self: Core, program: falcolib.Program) -> None:
            began = time.monotonic_ns()
            use(self, program)
            changes.append(time.monotonic_ns() - began)

        Core.set_program = timed                    # type: ignore[method-assign]

        def load() -> falcolib.Program:
            file.write_text(rules(next(versions)))
            return compile_rules(falcolib.RuleSet.load(file).rules)

        reloader = Reloader(engine.program, load, lambda new, old: engine.replace(new), lambda e: print("failed:", e))
        thread = threading.Thread(target=lambda: list(engine.run(source)), daemon=True)
        thread.start()
        time.sleep(SECONDS)
        began, took = time.monotonic_ns(), []
        for _ in range(RELOADS):
            at = time.monotonic()
            reloader.reload()
            took.append(time.monotonic() - at)
        ended = time.monotonic_ns()
        engine.stop()
        thread.join()
    for name, those in (("in quiet", [took for at, took in source.times if at < began]),
                        (f"during {RELOADS} reloads", [took for at, took in source.times if began <= at < ended])):
        those.sort()
        median, most = those[len(those) // 2] / 1e6, those[len(those) * 99 // 100] / 1e6
        print(f"a piece of 64 KiB {name}: median {median:.2f} ms, 99% {most:.2f} ms, longest {those[-1] / 1e6:.2f} ms")
    print(f"the change of the program: longest {max(changes[1:]) / 1e6:.2f} ms; a reload takes {sum(took) / len(took):.2f} s beside it")


if __name__ == "__main__":
    main()
