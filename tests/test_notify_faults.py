# SPDX-License-Identifier: Apache-2.0
"""A thousand alerts in a second through all outputs that notify at once, while the receivers of all but some are slow, refuse, reset, hang,
answer 429 or 500, or are killed: the numbers add up, and the outputs that work lose nothing. (Kafka: test_notify_services.py.)
"""

import contextlib
import json
import re
import time

import pytest

from falcolib.outputs import Channel, Retry, notify
from falcolib.outputs.queue import MemoryQueue
from messages import PATIENCE, Kept, message, patient, until
from notifying import LEAST, settings
from receivers import HttpReceiver, TcpReceiver, reset

pytestmark = pytest.mark.daemon

COUNT, SECONDS, CAPACITY = 1000, 1.0, 150
#: ns: of receivers that hang, and of others, which must not be too slow for it on any machine.
SHORT, LONG = 10**9, 120 * 10**9


class MailReceiver(TcpReceiver):
    """As much of a mail server as faults need."""

    def __init__(self):
        super().__init__()
        self.talk = self._talk
        self.mails = []

    def _talk(self, connection):
        file = connection.makefile("rwb", buffering=0)

        def say(text):
            file.write(text.encode() + b"\r\n")

        say("220 ready")
        while line := file.readline():
            command = line[:4].upper()
            if self.mode == "hang":
                self.hold("hang")
                return
            if self.mode in ("reset", "refuse"):
                reset(connection)
                return
            if self.mode == "slow":
                time.sleep(self.delay)
            if command == b"DATA":
                if self.mode == "status":
                    say("451 later")
                    continue
                say("354 go on")
                lines = []
                while (line := file.readline()) not in (b".\r\n", b""):
                    lines.append(line)
                if line:
                    with self._lock:
                        self.mails.append(b"".join(lines))
                    say("250 taken")
            elif command == b"QUIT":
                say("221 bye")
                return
            else:
                say("250 fine")

    def numbers(self):
        with self._lock:
            return [int(n) for mail in self.mails for n in re.findall(rb"Warning A thing was done (\d+)", mail)]


def took_all(request):
    items = [{"create": {"status": 201}} for line in request.body.splitlines() if line.startswith(b'{"create"')]
    return 200, {}, json.dumps({"errors": False, "items": items}).encode()


def numbers(receiver, key):
    """Which alerts a receiver took: the numbers in their texts, once for each alert in a request."""
    found = set()
    for request in list(receiver.requests):
        found.update(int(n) for n in re.findall(rb"A thing was done (\d+)", request.body))
    return found


def make(stack, timeout):
    """An output and its receiver, of each kind."""
    made = {}
    for key in LEAST:
        receiver = stack.enter_context(HttpReceiver())
        receiver.answer = took_all
        group = settings(key, receiver.url, timeout=timeout)
        made[key] = (notify.output(key, group), receiver)
    mails = stack.enter_context(MailReceiver())
    group = notify.OUTPUTS["smtp_output"][0](host="127.0.0.1", port=mails.port, security="none", sender="a@example.org",
                                             recipients=("b@example.org",), timeout=timeout, output_format="text")
    made["smtp_output"] = (notify.output("smtp_output", group), mails)
    return made


@pytest.mark.parametrize("fault", ["slow", "refuse", "reset", "hang", "429", "500", "killed"])
def test_faults(fault):
    with contextlib.ExitStack() as stack:
        made = make(stack, SHORT if fault == "hang" else LONG)
        retry = Retry(attempts=0, first=0.05, most=0.2)
        faulty = {key: Channel(output, queue=MemoryQueue(CAPACITY), retry=retry) for key, (output, _) in made.items()}
        kept = Kept(batch=64)
        healthy = stack.enter_context(HttpReceiver())
        webhook = settings("webhook_output", healthy.url, batch=100, timeout=LONG)
        good = notify.channel(notify.output("webhook_output", webhook), webhook)
        outputs = patient([*faulty.values(), good, kept])
        for _, receiver in made.values():
            if fault in ("429", "500"):
                receiver.status = int(fault)
                receiver.retry_after = "0"
            if fault != "killed":
                receiver.mode = "status" if fault in ("429", "500") else fault
        begun = time.monotonic()
        for n in range(COUNT):
            outputs.emit(message(n))
            if fault == "killed" and n == COUNT // 3:
                for _, receiver in made.values():
                    receiver.kill()
            if (ahead := begun + n * SECONDS / COUNT - time.monotonic()) > 0.01:
                time.sleep(ahead)
        # the outputs that work have all of it, while the others are as they are
        until(lambda: len(kept.messages) == COUNT and good.counts().delivered == COUNT)
        assert [m.fields["n"] for m in kept.messages] == list(range(COUNT))
        assert sorted(alert["output_fields"]["n"] for request in healthy.requests for alert in request.json()) == list(range(COUNT))
        for channel in faulty.values():
            counts = channel.counts()
            assert counts.emitted == COUNT == counts.delivered + counts.dropped + counts.queued
            if fault != "slow":
                until(lambda channel=channel: channel.counts().failed)
        for _, receiver in made.values():
            receiver.mode = "ok"
        assert outputs.drain() == 0
        for key, (_, receiver) in made.items():
            counts = faulty[key].counts()
            assert counts.emitted == COUNT == counts.delivered + counts.dropped
            assert counts.queued == 0
            assert counts.delivered >= CAPACITY                # what was queued was delivered in the end
            assert counts.retried == counts.failed
            took = set(receiver.numbers()) if key == "smtp_output" else numbers(receiver, key)
            if fault == "killed" or fault == "hang":
                assert len(took) >= counts.delivered            # an answer may have been lost
            else:
                assert len(took) == counts.delivered
        assert good.counts().dropped == 0


def test_a_thousand_alerts_through_all_outputs_when_nothing_is_wrong():
    with contextlib.ExitStack() as stack:
        made = make(stack, LONG)
        outputs = patient([output for output, _ in made.values()])
        for n in range(COUNT):
            outputs.emit(message(n))
        assert outputs.drain(5 * PATIENCE) == 0
        for key, (output, receiver) in made.items():
            counts = outputs.counts()[output.name]
            assert (counts.emitted, counts.delivered, counts.dropped) == (COUNT, COUNT, 0), key
            assert (set(receiver.numbers()) if key == "smtp_output" else numbers(receiver, key)) == set(range(COUNT))
