# SPDX-License-Identifier: Apache-2.0
"""The source Capture: bytes of a file, plain or gzip, in chunks, read ahead by a thread."""

import gzip
import io
import os
import pathlib
import random
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator

import pytest

from falcolib import Capture, CaptureError, Source
from falcolib.sources.capture import AHEAD, CHUNK

DATA = random.Random(1).randbytes(300_000) + bytes(3_000_000) + random.Random(2).randbytes(300_000)
PACKED = gzip.compress(DATA, mtime=0)


def content(capture: Capture) -> bytes:
    return b"".join(capture.chunks())


def consume(capture: Capture, into: bytearray) -> None:
    for chunk in capture.chunks():
        into += chunk


def reading_threads() -> int:
    return sum(thread.name == "falcolib-capture" for thread in threading.enumerate())


def once_a_thread_reads(do: Callable[[], object]) -> None:
    """Has something done, in another thread, when a capture's pipe is waited for: a close() before that would be too early to count."""
    def work() -> None:
        while not reading_threads():
            time.sleep(0.002)
        time.sleep(0.05)
        do()

    threading.Thread(target=work, daemon=True).start()


def wait_until_no_thread_reads() -> None:
    deadline = time.monotonic() + 240
    while reading_threads():
        assert time.monotonic() < deadline, "the thread goes on"
        time.sleep(0.002)


@pytest.fixture(autouse=True)
def _no_thread_is_left() -> Iterator[None]:
    yield
    wait_until_no_thread_reads()


class TestReading:
    @pytest.mark.parametrize("raw", [DATA, PACKED, b"", b"\n", b"\x1f", gzip.compress(b"")], ids=range(6))
    def test_a_path_or_a_file_object_plain_or_gzip(self, tmp_path: pathlib.Path, raw: bytes) -> None:
        file = tmp_path / "x.scap"
        file.write_bytes(raw)
        expected = gzip.decompress(raw) if raw.startswith(b"\x1f\x8b") else raw
        assert content(Capture(file)) == expected
        assert content(Capture(str(file))) == expected
        assert content(Capture(io.BytesIO(raw))) == expected
        with file.open("rb") as opened:
            assert content(Capture(opened)) == expected
            assert not opened.closed, "it is the caller's"

    def test_it_is_a_source_of_system_calls(self) -> None:
        capture = Capture(io.BytesIO())
        assert isinstance(capture, Source)
        assert capture.name == "syscall"
        assert "BytesIO" in repr(capture)

    def test_chunks_have_a_limit(self) -> None:
        for raw in (DATA, PACKED):
            assert max(map(len, Capture(io.BytesIO(raw)).chunks())) <= CHUNK

    def test_a_path_can_be_read_again(self, tmp_path: pathlib.Path) -> None:
        (tmp_path / "x").write_bytes(PACKED)
        capture = Capture(tmp_path / "x")
        assert content(capture) == content(capture) == DATA

    def test_standard_input(self) -> None:
        program = "import sys, falcolib; sys.stdout.buffer.write(b''.join(falcolib.Capture('-').chunks()))"
        for raw in (DATA, PACKED):
            done = subprocess.run([sys.executable, "-c", program], input=raw, stdout=subprocess.PIPE, check=True)
            assert done.stdout == DATA

    def test_files_that_deliver_little_at_a_time(self) -> None:
        ours, theirs = socket.socketpair()
        with ours, theirs, ours.makefile("rb") as file:

            def send() -> None:
                for i in range(0, 3000, 7):
                    theirs.sendall(packed[i : i + 7])
                theirs.close()

            packed = gzip.compress(DATA[:2000])
            sender = threading.Thread(target=send)
            sender.start()
            assert content(Capture(file)) == DATA[:2000]
            sender.join()

    def test_several_gzip_members_and_padding(self) -> None:
        raw = PACKED + gzip.compress(b"second") + bytes(700) + gzip.compress(b"third") + bytes(5)
        assert content(Capture(io.BytesIO(raw))) == DATA + b"secondthird"

    def test_little_is_read_ahead(self) -> None:
        class Endless(io.RawIOBase):
            given = 0

            def read(self, size: int = -1) -> bytes:
                self.given += size
                return b"x" * size

        file = Endless()
        chunks = Capture(file).chunks()
        for _ in range(20):
            next(chunks)
        before = -1
        while file.given != before:
            before = file.given
            time.sleep(0.05)
        assert file.given <= (20 + AHEAD + 3) * CHUNK
        chunks.close()


class TestProgress:
    def test_of_a_file_the_size_is_known(self, tmp_path: pathlib.Path) -> None:
        (tmp_path / "x").write_bytes(PACKED)
        capture = Capture(tmp_path / "x")
        assert capture.position() == (0, len(PACKED))
        places = [capture.position()[0] for _ in capture.chunks()]
        assert places == sorted(places)
        assert places[0] < len(PACKED)
        assert capture.position() == (len(PACKED), len(PACKED))

    def test_of_a_file_object_it_is_not(self) -> None:
        capture = Capture(io.BytesIO(DATA))
        content(capture)
        assert capture.position() == (len(DATA), None)


class TestDamage:
    def damaged(self, raw: bytes) -> tuple[bytes, str]:
        got = bytearray()
        with pytest.raises(CaptureError) as caught:
            consume(Capture(io.BytesIO(raw)), got)
        return bytes(got), str(caught.value)

    @pytest.mark.parametrize("kept", [2, 9, 5000, 70_000, len(PACKED) - 9, len(PACKED) - 1])
    def test_truncated_gzip_gives_what_there_is(self, kept: int) -> None:
        got, text = self.damaged(PACKED[:kept])
        assert text == f"compressed offset {kept}: the gzip data is truncated"
        assert DATA.startswith(got)
        assert len(got) >= min(kept, 300_000) - 40_000 if kept < 300_000 else len(got) > 3_000_000

    def test_a_wrong_checksum(self) -> None:
        got, text = self.damaged(PACKED[:-8] + b"\0\0\0\0" + PACKED[-4:])
        assert got == DATA
        assert text.startswith(f"compressed offset {len(PACKED) - 5}: the gzip data is corrupt: ")

    def test_data_that_is_no_deflate_stream(self) -> None:
        packed = gzip.compress(b"good") + PACKED[:10] + b"\xff" * 100
        got, text = self.damaged(packed)
        assert got == b"good"
        assert text.startswith(f"compressed offset {len(gzip.compress(b'good')) + 10}: the gzip data is corrupt: ")

    def test_something_else_after_the_last_member(self) -> None:
        got, text = self.damaged(PACKED + b"something else")
        assert got == DATA
        assert "the gzip data is corrupt" in text
        assert f"compressed offset {len(PACKED)}" in text or f"compressed offset {len(PACKED) + 1}" in text

    def test_files_that_cannot_be_read(self, tmp_path: pathlib.Path) -> None:
        with pytest.raises(FileNotFoundError):
            Capture(tmp_path / "missing")
        with pytest.raises(IsADirectoryError):
            content(Capture(tmp_path))

        class Failing(io.RawIOBase):
            def read(self, size: int = -1) -> bytes:
                raise OSError(5, "Input/output error")

        with pytest.raises(OSError, match="Input/output"):
            content(Capture(Failing()))

    def test_a_file_opened_for_text(self) -> None:
        with pytest.raises(TypeError, match="binary"):
            content(Capture(io.StringIO("text")))  # type: ignore[arg-type]


class TestClosing:
    def test_before_during_and_after_reading(self) -> None:
        capture = Capture(io.BytesIO(PACKED))
        capture.close()
        chunks = capture.chunks()
        next(chunks)
        capture.close()
        capture.close()
        assert list(chunks) == []
        capture.close()

    def test_between_chunks_and_the_first_that_is_asked_for(self) -> None:
        """There a signal's handler may close it."""
        capture = Capture(io.BytesIO(PACKED))
        chunks = capture.chunks()
        capture.close()
        assert list(chunks) == []

    def test_chunks_may_be_given_up(self) -> None:
        for _ in range(20):
            chunks = Capture(io.BytesIO(PACKED)).chunks()
            next(chunks)
            del chunks
        wait_until_no_thread_reads()

    def test_from_another_thread_while_waiting_for_a_pipe(self) -> None:
        ours, theirs = os.pipe()
        try:
            capture = Capture(f"/dev/fd/{ours}")
            once_a_thread_reads(capture.close)
            assert list(capture.chunks()) == []
            wait_until_no_thread_reads()
        finally:
            os.close(ours)
            os.close(theirs)

    def test_from_a_signal_handler_while_waiting(self) -> None:
        ours, theirs = os.pipe()
        capture = Capture(f"/dev/fd/{ours}")
        before = signal.signal(signal.SIGUSR1, lambda *_: capture.close())
        try:
            once_a_thread_reads(lambda: os.kill(os.getpid(), signal.SIGUSR1))
            assert list(capture.chunks()) == []
        finally:
            signal.signal(signal.SIGUSR1, before)
            os.close(ours)
            os.close(theirs)

    def test_nothing_stays_open(self, tmp_path: pathlib.Path) -> None:
        (tmp_path / "x").write_bytes(PACKED)
        content(Capture(tmp_path / "x"))
        wait_until_no_thread_reads()
        before = len(os.listdir("/proc/self/fd"))
        for _ in range(50):
            chunks = Capture(tmp_path / "x").chunks()
            next(chunks)
            chunks.close()
        wait_until_no_thread_reads()
        assert len(os.listdir("/proc/self/fd")) <= before + 1
