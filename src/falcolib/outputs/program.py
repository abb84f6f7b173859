# SPDX-License-Identifier: Apache-2.0
"""Alerts as the input of a program: ``program_output``."""

from __future__ import annotations

import contextlib
import fcntl
import os
import selectors
import signal
import subprocess
import sys
import termios
import time
from collections.abc import Sequence

from .message import Message
from .output import Output, OutputError, Undelivered

#: Bytes that are remembered of what was written to a kept program: more than a pipe holds.
_PIPE = 1 << 17


class ProgramOutput(Output):
    """Gives lines to the standard input of a command, which ``sh -c`` runs; what it prints goes to our standard output and error.

    keep_alive: one program takes all lines; if it ends it is started again. Without, one is started for each alert, and its end is waited
    for before the next; ``processes`` lets so many run at once, and then they may overtake each other. json: JSON lines. timeout: seconds
    that a program may take, for an alert without keep_alive; to take a line from its pipe, with it. Then it is killed, with all that it has
    started.

    Whether a program has done what it should is not known. With keep_alive, lines that are in its pipe count as delivered; if it ends
    before it has read them, the next one is given them. Without, those of programs that end with exit status 0 do; other exit statuses
    are told in the log, and their alert counts as dropped.

    Raises OutputError if there is no command, or no sh.
    """

    name = "program"

    def __init__(self, program: str, *, json: bool = False, keep_alive: bool = False, processes: int = 1, timeout: float = 30.0) -> None:
        if not program.strip():
            raise OutputError("no program is named", key="program")
        self._command = program
        self._json = json
        self._keep = keep_alive
        self._timeout = timeout
        self.batch = 64 if keep_alive else processes
        self.limit = 2 * timeout
        self._running: list[subprocess.Popen[bytes]] = []
        self._tail = b""            # what was last written to a kept program
        self._again = b""           # lines that one before didn't read

    def send(self, messages: Sequence[Message]) -> None:
        lines = [((m.json() if self._json else str(m)) + "\n").encode("utf-8", "replace") for m in messages]
        if self._keep:
            self._send_kept(messages, lines)
        else:
            self._send_each(messages, lines)

    # ---- one program for all ----

    def _send_kept(self, messages: Sequence[Message], lines: Sequence[bytes]) -> None:
        if self._running and self._running[0].poll() is not None:
            why = self._end_kept()
            raise Undelivered(f"{why}; it is started again")
        process = self._running[0] if self._running else self._start()
        data, before = self._again + b"".join(lines), len(self._again)
        written = self._write({process: data}, time.monotonic() + self._timeout)[process]
        self._tail = (self._tail + data[:written])[-_PIPE:]
        if written == len(data):
            self._again = b""
            return
        # what it hasn't read of earlier lines is for the next one; what it hasn't of these is tried again
        why = self._end_kept()
        missing = len(self._again) + len(data) - written
        self._again += data[written:]
        done, rest = len(lines), b""
        while done and len(rest) < min(missing, len(data) - before):
            done -= 1
            rest = lines[done] + rest
        self._again = self._again[: max(0, missing - len(rest))]
        raise Undelivered(f"{why}; it is started again", left=messages[done:])

    def _end_kept(self) -> str:
        """Ends the program, which has ended or takes nothing: why; what is still in its pipe is for the next one, from the line on that it
        has read a part of, at most.
        """
        process = self._running[0]
        alive = process.poll() is None
        if alive:
            self._kill(process)
            process.wait()
        unread = self._unread(process)
        self._end_all()
        start = self._tail.rfind(b"\n", 0, len(self._tail) - unread) + 1 if unread else len(self._tail)
        self._again, self._tail = self._tail[start:], b""
        return (f"the program has taken nothing for {self._timeout:g} s, and was killed" if alive else
                f"the program has ended: {_told(process.returncode)}")

    @staticmethod
    def _unread(process: subprocess.Popen[bytes]) -> int:
        """Bytes that are in its pipe."""
        if process.stdin is None or process.stdin.closed:
            return 0
        count = fcntl.ioctl(process.stdin.fileno(), termios.FIONREAD, b"\0\0\0\0")
        return int.from_bytes(count, sys.byteorder)

    # ---- one for each ----

    def _send_each(self, messages: Sequence[Message], lines: Sequence[bytes]) -> None:
        until = time.monotonic() + self._timeout
        try:
            processes = [self._start() for _ in messages]
            self._write(dict(zip(processes, lines, strict=True)), until)
            for process in processes:
                self._close_input(process)
            failed, why = [], ""
            for message, process in zip(messages, processes, strict=True):
                try:
                    status = process.wait(max(0.0, until - time.monotonic()))
                except subprocess.TimeoutExpired:
                    self._kill(process)
                    failed.append(message)
                    why = f"the program takes longer than {self._timeout:g} s, and was killed"
                    continue
                if status:
                    failed.append(message)
                    why = f"the program has ended: {_told(status)}"
        finally:
            self._end_all()
        if failed:
            raise Undelivered(why, retry=False, left=failed)

    # ---- processes ----

    def _start(self) -> subprocess.Popen[bytes]:
        try:
            process = subprocess.Popen(["/bin/sh", "-c", self._command], stdin=subprocess.PIPE, bufsize=0, start_new_session=True)
        except (OSError, ValueError) as e:
            raise Undelivered(f"the program can't be started: {e}") from None
        assert process.stdin is not None
        os.set_blocking(process.stdin.fileno(), False)
        self._running.append(process)
        return process

    def _write(self, given: dict[subprocess.Popen[bytes], bytes], until: float) -> dict[subprocess.Popen[bytes], int]:
        """Writes into pipes until all is there or the time is over: how many bytes went into each."""
        written = dict.fromkeys(given, 0)
        with selectors.DefaultSelector() as selector:
            for process in given:
                assert process.stdin is not None
                selector.register(process.stdin, selectors.EVENT_WRITE, process)
            while selector.get_map() and (rest := until - time.monotonic()) > 0:
                for key, _ in selector.select(rest):
                    process = key.data
                    data = given[process][written[process] :]
                    try:
                        written[process] += os.write(key.fd, data)
                    except BlockingIOError:
                        continue
                    except OSError:             # it has closed its standard input, or ended
                        selector.unregister(key.fileobj)
                        continue
                    if written[process] == len(given[process]):
                        selector.unregister(key.fileobj)
        return written

    @staticmethod
    def _close_input(process: subprocess.Popen[bytes]) -> None:
        if process.stdin:
            with contextlib.suppress(OSError):
                process.stdin.close()

    @staticmethod
    def _kill(process: subprocess.Popen[bytes]) -> None:
        """Kills a program and all that it has started."""
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(process.pid, signal.SIGKILL)      # it leads a session of its own

    def _end_all(self) -> None:
        """Programs that don't end by themselves when their input does are killed."""
        running, self._running = self._running, []
        for process in running:
            self._close_input(process)
            if process.returncode is None and self._keep:
                with contextlib.suppress(subprocess.TimeoutExpired):
                    process.wait(min(1.0, self._timeout))
            if process.returncode is None:
                self._kill(process)
                process.wait()

    def reopen(self) -> None:
        self._finish()

    def close(self) -> None:
        self._finish()
        if lost := self._again.count(b"\n"):
            raise Undelivered(f"the program has not read the last {lost} alerts")

    def _finish(self) -> None:
        """Gives a program that takes all alerts time to work off what is in its pipe; what it leaves is for the next one."""
        if self._keep and self._running:
            process, until = self._running[0], time.monotonic() + self._timeout
            while process.poll() is None and self._unread(process) and time.monotonic() < until:
                time.sleep(0.01)        # with its input closed, nobody could tell any more what is left in it
            if process.poll() is not None or self._unread(process):
                self._end_kept()
        for process in self._running:
            self._close_input(process)
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(self._timeout)
        self._end_all()

    def abort(self) -> None:
        for process in tuple(self._running):
            self._kill(process)


def _told(status: int) -> str:
    return f"killed by {signal.Signals(-status).name}" if status < 0 else f"exit status {status}"
