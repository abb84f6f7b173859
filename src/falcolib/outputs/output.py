# SPDX-License-Identifier: Apache-2.0
"""What an output is: something that takes messages, one after the other, and says when it couldn't."""

from __future__ import annotations

import abc
from collections.abc import Sequence

from ..errors import FalcolibError
from .message import Message


class OutputError(FalcolibError):
    """An output that can't be used as it was configured: the text tells what is wrong. key: the setting, by the name that it has in the
    output's group of falco.yaml; or its full name there, if it comes from there."""

    def __init__(self, text: str, *, key: str = "") -> None:
        super().__init__(text)
        self.key = key


class Undelivered(FalcolibError):
    """Messages that were not delivered. The text tells why, for the log.

    retry: whether the same may go well later. after: seconds that the receiver asks to wait before. left: the messages that this is
    about, in order, where the others of the batch were delivered; default all.
    """

    def __init__(self, text: str, retry: bool = True, after: float | None = None, left: Sequence[Message] | None = None) -> None:
        super().__init__(text)
        self.retry = retry
        self.after = after
        self.left = left


class Gone(FalcolibError):
    """An output is of no use any more, for the reason that is its ``__cause__``: its channel ends."""


class Output(abc.ABC):
    """Where messages go. Its methods, but for abort(), are called by one thread, the channel's. They may block, and must end by
    themselves: a send() that waits for others has a limit.
    """

    #: Its name in logs and metrics: ``http``.
    name: str = "output"
    #: Most messages that one send() is given.
    batch: int = 1
    #: Seconds after which a send() is aborted.
    limit: float = 60.0

    @abc.abstractmethod
    def send(self, messages: Sequence[Message]) -> None:
        """Delivers messages, in order; those that it was given are delivered when it returns.

        Raises Undelivered if that failed, for these messages; Gone if the output is of no use any more. Any other exception is a mistake:
        it is logged, and the messages are given up.
        """

    def reopen(self) -> None:  # noqa: B027
        """Lets go of what it has open, and takes it anew: files that were rotated, certificates. SIGUSR1 does this.

        Raises Undelivered or OSError if that fails; it is tried again with the next message.
        """

    def close(self) -> None:  # noqa: B027
        """The end: what is held back is written, what is open closed."""

    def abort(self) -> None:  # noqa: B027
        """Makes a send() that is under way end soon, by Undelivered: the time for it is over. Called by another thread."""
