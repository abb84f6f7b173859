# SPDX-License-Identifier: Apache-2.0
"""The way of messages to one output: a bounded queue, and a thread that delivers, tries again, and counts.

So an output that is slow, hangs or fails keeps up neither the engine nor the other outputs.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Collection, Sequence

import msgspec

from ..alert import Priority
from ..rare import Rare
from .message import Message
from .output import Gone, Output, OutputError, Undelivered
from .queue import MemoryQueue, Queue

_log = logging.getLogger("falcolib.outputs")

#: Most seconds that a receiver may have us wait (Retry-After).
MOST_AFTER = 300.0
#: Seconds that a send() that is told to end, as the time for draining is over, may take to do so.
_ABORTING = 1.0
#: Seconds between looks whether a delivery that is waited for is still to be.
_LOOK = 0.1


class Retry(msgspec.Struct, frozen=True):
    """How messages that weren't delivered are tried again.

    attempts: sends of the same messages, at most; then they are given up; 0: without end. first, most: seconds between two attempts;
    doubled each time, and shortened by up to half at random. A receiver's Retry-After comes before. Pauses begin with `first` again
    when something was delivered.
    """

    attempts: int = 8
    first: float = 0.5
    most: float = 30.0

    def delay(self, failures: int) -> float:
        """Seconds to wait after so many failures in a row."""
        import random  # only where something fails: it takes 5 ms to import

        return min(self.most, self.first * 2.0 ** min(failures - 1, 32)) * random.uniform(0.5, 1.0)


class Counts(msgspec.Struct, frozen=True):
    """What became of messages. At any time, emitted = delivered + dropped + queued + grouped.

    emitted: those meant for this output (not those that its priority or tags leave out), also those that a spool kept from the run before.
    dropped: never delivered: no room, or given up. queued: waiting or under way. failed: sends that went wrong. retried: sends that
    repeat one that did. grouped: told of by the count of another (outputs/notify/grouping.py).
    """

    emitted: int = 0
    delivered: int = 0
    dropped: int = 0
    queued: int = 0
    failed: int = 0
    retried: int = 0
    grouped: int = 0


class Channel:
    """Delivers messages to an output.

    queue: where they wait; default in memory, 65,536. minimum_priority: less urgent ones are left out; tags: where given, also those
    that have none of them. retry: what is done about failures. wait: emit() waits for room, and the end for a delivery that goes on, so
    that nothing is dropped because its reader takes time: for replays.
    """

    def __init__(
        self, output: Output, *, queue: Queue | None = None, minimum_priority: Priority = Priority.DEBUG, tags: Collection[str] = (),
        retry: Retry | None = None, wait: bool = False,
    ) -> None:
        self.output = output
        self.name = output.name
        self._queue: Queue = MemoryQueue() if queue is None else queue
        self._minimum = minimum_priority
        self._tags = frozenset(tags)
        self._retry = retry or Retry()
        self._wait = wait
        #: Why it has ended by itself.
        self.error: BaseException | None = None
        self._lock = threading.Lock()
        self._more, self._room = threading.Condition(self._lock), threading.Condition(self._lock)
        self._emitted = len(self._queue)        # what a spool has kept
        self._delivered = self._dropped = self._failed = self._retried = 0
        self._settled = 0                       # of the batch under way, those that are delivered or given up
        self._failures = 0                      # in a row
        self._sending = 0.0                     # since when a send() is under way
        self._stuck = False
        self._reopen = self._closed = False
        self._deadline: float | None = None     # of draining
        self._no_room, self._given_up = Rare(), Rare()
        self._thread = threading.Thread(target=self._work, name=f"falcolib-{self.name}", daemon=True)
        self._thread.start()

    def __repr__(self) -> str:
        return f"<Channel {self.name} {self.counts()}>"

    def wants(self, message: Message) -> bool:
        """Whether a message is for this output."""
        return message.priority <= self._minimum and not (self._tags and self._tags.isdisjoint(message.tags))

    def emit(self, message: Message) -> bool:
        """Queues a message, or drops and counts it if there is no room. False if the output is gone, so that nothing can be delivered."""
        if not self.wants(message):
            return self.error is None
        told = 0
        with self._lock:
            self._emitted += 1
            while self._closed or not self._queue.put(message):
                if not self._wait or self._closed:
                    self._dropped += 1
                    told = self._no_room(1) if self.error is None else 0
                    break
                self._room.wait(0.5)            # a stop() sets _wait without the lock
            else:
                self._more.notify()
        if told:
            _log.error("%s: %d alerts dropped, as the output is slower than they come and its queue is full; %s", self.name, told,
                       self._queue.advice)
        return self.error is None

    def counts(self) -> Counts:
        """The numbers of now."""
        with self._lock:
            queued = len(self._queue) - self._settled
            return Counts(self._emitted, self._delivered, self._dropped, queued, self._failed, self._retried)

    def reopen(self) -> None:
        """Has the output reopen what it has open, before its next message, and try at once what it waits to try again."""
        with self._lock:
            self._reopen = True
            self._more.notify()

    def stop_waiting(self) -> None:
        """From now on emit() drops what finds no room, and draining has its limit. May be called from a signal handler."""
        self._wait = False

    def stuck(self, limit: float) -> None:
        """Tells in the log, once, that a send() has been under way for more than so many seconds; and when it is over. Aborts it after the
        output's own limit."""
        since = self._sending
        seconds = time.monotonic() - since if since else 0.0
        if seconds > limit and not self._stuck:
            self._stuck = True
            _log.critical('"%s" output timeout: it has been at one delivery for more than %g s; the other outputs go on', self.name, limit)
        if seconds > self.output.limit:
            self.output.abort()
        elif not since and self._stuck:
            self._stuck = False
            _log.warning('"%s" output goes on', self.name)

    # ---- the thread ----

    def _work(self) -> None:
        try:
            while batch := self._next():
                if not self._deliver(batch):
                    break
        except Gone as e:
            self._end(e.__cause__ or e)
        except BaseException as e:
            _log.exception("%s: the output has ended", self.name)
            self._end(e)
        finally:
            try:
                self.output.close()
            except Exception as e:
                _log.error("%s: %s", self.name, e)

    def _end(self, error: BaseException) -> None:
        with self._lock:
            self.error = error
            self._failed += 1
            self._close()

    def _next(self) -> Sequence[Message]:
        """The next messages, at least one; none at the end."""
        while True:
            with self._lock:
                while not len(self._queue) and not self._reopen:
                    if self._deadline is not None or self._closed:
                        return ()
                    self._more.wait()
                if self._closed or (self._deadline is not None and time.monotonic() >= self._deadline and not self._waits()):
                    return ()
                reopen = self._reopen
                batch = self._queue.peek(self.output.batch)
                lost, self._queue.lost = self._queue.lost, 0
                self._dropped += lost
            if reopen:
                self._reopen_now()
            if batch:
                return batch

    def _reopen_now(self) -> None:
        self._reopen = False
        try:
            self.output.reopen()
        except (Undelivered, OutputError, OSError) as e:
            _log.error("%s: can't be reopened: %s", self.name, e)

    def _deliver(self, batch: Sequence[Message]) -> bool:
        """Delivers a batch or gives it up. False if the time is over before."""
        left, attempts = batch, 0
        while left:
            if self._reopen:
                self._reopen_now()
            attempts += 1
            draining = self._deadline is not None       # before: draining may begin while it is under way
            failure = self._send(left)
            if failure is None:
                break
            if failure.left is not None:
                self._settle(len(left) - len(failure.left), delivered=True)
                left = failure.left
            if not failure.retry or attempts == self._retry.attempts:
                self._settle(len(left), delivered=False)
                if told := self._given_up(len(left)):
                    _log.error("%s: %d alerts given up after %d attempts: %s", self.name, told, attempts, failure)
                break
            delay = self._retry.delay(self._failures) if failure.after is None else min(failure.after, MOST_AFTER)
            if attempts == self._failures == 1:
                _log.warning("%s: %s; tried again in %.1f s", self.name, failure, delay)
            if not self._pause(delay, draining):
                return False
            with self._lock:
                self._retried += 1
        with self._lock:
            if self._closed:
                return False
            self._queue.done(len(batch))
            self._settled = 0
            self._room.notify()
        return True

    def _send(self, messages: Sequence[Message]) -> Undelivered | None:
        """One attempt; the failure."""
        failure: Undelivered | None = None
        self._sending = time.monotonic()
        try:
            self.output.send(messages)
        except Undelivered as e:
            failure = e
        except Gone:
            raise
        except Exception as e:      # a mistake of ours, or of a library: these messages are lost, others may go
            _log.exception("%s: unexpected", self.name)
            failure = Undelivered(f"{type(e).__name__}: {e}", retry=False)
        finally:
            self._sending = 0.0
        if failure is None:
            if self._failures:
                _log.warning("%s: works again after %d failures", self.name, self._failures)
            self._failures = 0
            self._settle(len(messages), delivered=True)
        else:
            self._failures += 1
            with self._lock:
                self._failed += 1
        return failure

    def _settle(self, count: int, *, delivered: bool) -> None:
        with self._lock:
            if self._closed:        # counted as lost already
                return
            self._settled += count
            if delivered:
                self._delivered += count
            else:
                self._dropped += count

    def _pause(self, seconds: float, draining: bool) -> bool:
        """Waits before the next attempt: less, if the end or a reopening comes. False if the time is over. draining: whether the last
        attempt was one of the end."""
        until = time.monotonic() + seconds
        with self._lock:
            while not self._closed and not self._reopen:
                if self._deadline is not None and not draining:
                    return True     # draining begins: at once
                last = until if self._deadline is None else min(until, self._deadline)
                rest = last - time.monotonic()
                if rest <= 0:
                    return self._deadline is None or time.monotonic() < self._deadline
                self._more.wait(rest)
            return not self._closed

    # ---- the end ----

    def begin_drain(self, deadline: float) -> None:
        """Nothing comes any more; what waits is to be delivered until then (time.monotonic())."""
        with self._lock:
            self._deadline = deadline
            self._more.notify()

    def end_drain(self) -> int:
        """Waits for that, and ends. How many messages were left; those in a spool are kept, others lost."""
        self._thread.join(max(0.0, (self._deadline or 0.0) - time.monotonic()))
        while self._waits() and self._thread.is_alive():
            self._thread.join(_LOOK)
        if self._thread.is_alive():
            self.output.abort()
            self._thread.join(_ABORTING)
        with self._lock:
            left = len(self._queue) - self._settled
            lost = self._close()
        if lost and self.error is None:
            _log.error("%s: %d alerts were not delivered in time, and are lost", self.name, lost)
        elif left and not lost:
            _log.warning("%s: %d alerts were not delivered in time; they are kept, and delivered by the next run", self.name, left)
        return left

    def _waits(self) -> bool:
        """Whether draining takes as long as it takes: a replay's reader (a pager) is waited for until stop_waiting(), failures are not."""
        return self._wait and not self._failures

    def _close(self) -> int:
        """Counts as dropped what waits in memory. With the lock held."""
        self._closed = True
        settled, self._settled = self._settled, 0
        if settled:
            self._queue.done(settled)
        lost = self._queue.close()
        self._dropped += lost
        self._room.notify_all()
        return lost
