# SPDX-License-Identifier: Apache-2.0
"""Signals of a run: SIGINT and SIGTERM end it; others have something done, in a thread of its own, as a handler may take no lock."""

from __future__ import annotations

import contextlib
import signal
import threading
from collections.abc import Callable, Iterator, Mapping
from queue import SimpleQueue
from types import FrameType

from ..engine import Engine


class Stopped(BaseException):
    """The run is to end, and has not begun. Nothing that handles errors is to handle it."""


class Stopper:
    """Ends the run when it is called, be that before there is an engine. ``also``: what else is to be done then, from a handler."""

    def __init__(self) -> None:
        self._asked = False
        self._interrupts = False
        self._engine: Engine | None = None
        self.also: Callable[[], None] = lambda: None

    def attach(self, engine: Engine) -> None:
        """The engine that runs."""
        self._engine = engine
        if self._asked:
            engine.stop()

    @contextlib.contextmanager
    def interrupting(self) -> Iterator[None]:
        """Meanwhile, and if it was called before, a call raises Stopped where the main thread is: in a wait for a pipe, for one, which
        nothing else ends."""
        self._interrupts = True
        try:
            if self._asked:
                raise Stopped
            yield
        finally:
            self._interrupts = False

    def __call__(self, signum: int = 0, frame: FrameType | None = None) -> None:
        self._asked = True
        if self._interrupts:
            self._interrupts = False        # once: what is done on the way out goes undisturbed
            raise Stopped
        self.also()
        if self._engine:
            self._engine.stop()


@contextlib.contextmanager
def stop_on_signals() -> Iterator[Stopper]:
    """SIGINT and SIGTERM end the run, also where SIGINT was ignored at the start (a background job of a shell)."""
    stopper = Stopper()
    with handled(dict.fromkeys((signal.SIGINT, signal.SIGTERM), stopper)):
        yield stopper


@contextlib.contextmanager
def done_on_signals(actions: Mapping[int, Callable[[], None]]) -> Iterator[None]:
    """Does something when signals come, one after the other, in a thread."""
    asked: SimpleQueue[Callable[[], None] | None] = SimpleQueue()       # its put() may be called in a handler

    def work() -> None:
        while (action := asked.get()) is not None:
            action()

    def handler(action: Callable[[], None]) -> Callable[[int, FrameType | None], None]:
        return lambda signum, frame: asked.put(action)

    thread = threading.Thread(target=work, name="falcolib-signals", daemon=True)
    thread.start()
    try:
        with handled({number: handler(action) for number, action in actions.items()}):
            yield
    finally:
        asked.put(None)
        thread.join()


@contextlib.contextmanager
def handled(handlers: Mapping[int, Callable[[int, FrameType | None], None]]) -> Iterator[None]:
    """Handlers of signals, meanwhile; none in a thread that isn't the main one, which has no signals."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = {number: signal.signal(number, handler) for number, handler in handlers.items()}
    try:
        yield
    finally:
        for number, kept in before.items():
            signal.signal(number, kept)
