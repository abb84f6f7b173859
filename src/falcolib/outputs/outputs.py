# SPDX-License-Identifier: Apache-2.0
"""All outputs together: each message to each of them."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterable, Iterator
from types import TracebackType

from .channel import Channel, Counts
from .message import Message
from .output import Output

#: Seconds: what a delivery may take before the log says so; what draining may take.
TIMEOUT, DRAIN = 2.0, 5.0


class Outputs:
    """Delivers alerts to several outputs, each with a queue and a thread of its own::

        with falcolib.outputs.Outputs([FileOutput("alerts.jsonl", json=True), HttpOutput("http://localhost:2801")]) as outputs:
            for alert in engine.run(source):
                outputs.emit(alert)

    Leaving the block waits for what is queued, ``drain`` seconds at most, and raises what check() raises. timeout: seconds that one
    delivery may take before the log says that its output hangs (output_timeout). Outputs in place of channels get a channel with the
    defaults.
    """

    def __init__(self, channels: Iterable[Channel | Output], *, timeout: float = TIMEOUT, drain: float = DRAIN) -> None:
        self._channels = tuple(c if isinstance(c, Channel) else Channel(c) for c in channels)
        self._drain = drain
        seen: dict[str, int] = {}
        for channel in self._channels:      # two of a kind are told apart by number
            seen[channel.output.name] = number = seen.get(channel.output.name, 0) + 1
            if number > 1:
                channel.name = f"{channel.output.name}#{number}"
        self._done = threading.Event()
        if self._channels:
            threading.Thread(target=self._watch, args=(timeout or DRAIN,), name="falcolib-outputs", daemon=True).start()

    def __iter__(self) -> Iterator[Channel]:
        return iter(self._channels)

    def __len__(self) -> int:
        return len(self._channels)

    def emit(self, message: Message) -> None:
        """Gives a message to every output that it is for. This doesn't wait for any of them, except for room, in channels that are told so.

        Raises what check() raises: OSError, BrokenPipeError of standard output.
        """
        alive = not self._channels
        for channel in self._channels:
            alive |= channel.emit(message)
        if not alive:
            self.check()

    def check(self) -> None:
        """Raises what ended the first output, if all have ended by themselves."""
        errors = [channel.error for channel in self._channels]
        if errors and errors[0] is not None and None not in errors:
            raise errors[0]

    def reopen(self) -> None:
        """Has all outputs reopen what they have open: files that were rotated, programs, certificates. SIGUSR1 does this."""
        for channel in self._channels:
            channel.reopen()

    def stop_waiting(self) -> None:
        """From now on emit() never waits for room, nor draining longer than its limit. May be called from a signal handler."""
        for channel in self._channels:
            channel.stop_waiting()

    def counts(self) -> dict[str, Counts]:
        """What became of the messages, by output."""
        return {channel.name: channel.counts() for channel in self._channels}

    def drain(self, seconds: float | None = None) -> int:
        """The end: waits until all is delivered, so many seconds at most (default: the constructor's), and closes the outputs. How many
        messages were left; those in a spool are kept, others lost. Channels that wait (``wait``) take as long as their deliveries go on.
        """
        deadline = time.monotonic() + (self._drain if seconds is None else seconds)
        for channel in self._channels:
            channel.begin_drain(deadline)
        left = sum(channel.end_drain() for channel in self._channels)
        self._done.set()
        return left

    def __enter__(self) -> Outputs:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.drain()
        if error is None:
            self.check()

    def _watch(self, timeout: float) -> None:
        while not self._done.wait(timeout / 2):
            for channel in self._channels:
                channel.stuck(timeout)
