# SPDX-License-Identifier: Apache-2.0
"""Channels: queues, retries, counts, the end; and what a message is."""

import json
import logging
import threading
import time
from collections.abc import Sequence

import pytest

from falcolib import Capture, Engine, Priority, RuleSet
from falcolib.outputs import Channel, Counts, Gone, MemoryQueue, Message, Retry, StdoutOutput, Undelivered
from messages import PATIENCE, Kept, message, patient, until

pytestmark = pytest.mark.daemon

QUICK = Retry(attempts=3, first=0.001, most=0.002)


def adds_up(counts: Counts) -> bool:
    return counts.emitted == counts.delivered + counts.dropped + counts.queued


def fails(times: int, error: Exception):
    """What fails so many times."""
    left = [times]

    def before(messages: Sequence[Message]) -> None:
        if left[0]:
            left[0] -= 1
            raise error

    return before


# ---- messages ----


def test_an_alert_is_a_message(attack1):
    rules = RuleSet.parse("- {rule: r, desc: d, condition: evt.type = openat, output: 'f=%fd.name', priority: ERROR, tags: [b, a]}")
    alert = next(Engine(rules, hostname="h").run(Capture(attack1)))
    assert alert.hostname == "h"
    assert json.loads(alert.json()) == alert.as_dict()
    assert {"hostname", "output", "output_fields", "priority", "rule", "source", "tags", "time"} == set(alert.as_dict())
    assert alert.size > 100
    assert alert.json() is alert.json(), "made once for all outputs"
    assert str(alert) is str(alert)


def test_an_internal_alert_is_a_message():
    m = message(3)
    assert str(m).endswith(': Warning A thing was done 3 (evt.time=1795521600000000003 n=3)')
    assert json.loads(m.json()) == m.as_dict()
    assert m.as_dict()["time"] == "2026-11-24T12:00:00.000000003Z"
    assert "tags" not in m.as_dict()


def test_the_text_of_an_internal_alert_is_one_line():
    assert str(message(text='said "a\nb"')).split(": Warning ")[1].startswith('said \\"a\\nb\\" 0 (')


# ---- delivery ----


def test_every_output_gets_every_message_in_order():
    first, second = Kept("first"), Kept("second", batch=10)
    sent = [message(n) for n in range(1000)]
    with patient([first, second]) as outputs:
        for m in sent:
            outputs.emit(m)
    assert first.messages == second.messages == sent
    assert outputs.counts() == {"first": Counts(emitted=1000, delivered=1000), "second": Counts(emitted=1000, delivered=1000)}
    assert set(first.sizes) == {1}
    assert max(second.sizes) <= 10
    assert (first.closed, second.closed) == (1, 1)


def test_outputs_of_one_kind_are_told_apart():
    with patient([Kept("slack"), Kept("slack")]) as outputs:
        assert list(outputs.counts()) == ["slack", "slack#2"]


def test_a_channel_leaves_out_by_priority_and_tags():
    urgent, tagged = Kept("urgent"), Kept("tagged")
    with patient([Channel(urgent, minimum_priority=Priority.ERROR), Channel(tagged, tags=["k8s", "net"])]) as outputs:
        outputs.emit(message(0, priority=Priority.CRITICAL))
        outputs.emit(message(1, priority=Priority.ERROR, tags=["net"]))
        outputs.emit(message(2, priority=Priority.WARNING, tags=["file"]))
    assert [m.time % 10 for m in urgent.messages] == [0, 1]
    assert [m.time % 10 for m in tagged.messages] == [1]
    assert outputs.counts()["tagged"].emitted == 1


def test_an_output_that_hangs_delays_neither_the_others_nor_emit():
    hangs, works = Kept("hangs"), Kept("works")
    hangs.gate.clear()
    outputs = patient([hangs, works])
    for n in range(1000):
        outputs.emit(message(n))
    until(lambda: len(works.messages) == 1000)
    assert outputs.counts()["hangs"] == Counts(emitted=1000, queued=1000)
    hangs.gate.set()
    assert outputs.drain(120) == 0
    assert outputs.counts()["hangs"] == Counts(emitted=1000, delivered=1000)


def test_a_full_queue_drops_and_says_so_once_with_advice(caplog):
    output = Kept("slow")
    output.gate.clear()
    with patient([Channel(output, queue=MemoryQueue(10))]) as outputs:
        for n in range(100):
            outputs.emit(message(n))
        counts = outputs.counts()["slow"]
        output.gate.set()
    assert (counts.emitted, counts.dropped) == (100, 90)
    assert adds_up(counts)
    assert [m.time % 100 for m in output.messages] == list(range(10)), "the oldest are kept, in order"
    said = [r.getMessage() for r in caplog.records if r.levelno >= logging.ERROR]
    assert len(said) == 1
    assert "slow: 1 alerts dropped" in said[0]
    assert "outputs_queue.capacity (now 10)" in said[0]


def test_a_queue_is_bounded_in_bytes_too(monkeypatch):
    monkeypatch.setattr("falcolib.outputs.queue.MAX_BYTES", 5000)
    queue = MemoryQueue()
    taken = 0
    while queue.put(message(taken)):
        taken += 1
    assert 1 < taken <= 5000 // message().size + 1
    queue.done(taken)
    assert len(queue) == 0
    assert queue.put(message())


def test_a_replay_waits_for_room_instead_of_dropping():
    output = Kept("slow")
    output.gate.clear()
    outputs = patient([Channel(output, queue=MemoryQueue(10), wait=True)])
    thread = threading.Thread(target=lambda: [outputs.emit(message(n)) for n in range(500)])
    thread.start()
    until(lambda: outputs.counts()["slow"].emitted == 11)
    output.gate.set()
    thread.join()
    assert outputs.drain(120) == 0
    assert outputs.counts()["slow"] == Counts(emitted=500, delivered=500)


def test_waiting_for_room_can_be_ended():
    output = Kept("hangs")
    output.gate.clear()
    outputs = patient([Channel(output, queue=MemoryQueue(2), wait=True)])
    thread = threading.Thread(target=lambda: [outputs.emit(message(n)) for n in range(5)])
    thread.start()
    until(lambda: outputs.counts()["hangs"].emitted == 3)
    outputs.stop_waiting()
    thread.join(PATIENCE)
    assert not thread.is_alive()
    outputs.drain(0)
    assert outputs.counts()["hangs"].emitted == 5
    assert adds_up(outputs.counts()["hangs"])


# ---- failures ----


def test_what_fails_is_tried_again(caplog):
    output = Kept(before=fails(2, Undelivered("refused")))
    with patient([Channel(output, retry=QUICK)]) as outputs:
        outputs.emit(message())
        until(lambda: output.messages)
    assert outputs.counts()["kept"] == Counts(emitted=1, delivered=1, failed=2, retried=2)
    assert "kept: refused; tried again in" in caplog.text
    assert "kept: works again after 2 failures" in caplog.text


def test_what_fails_too_often_is_given_up_and_the_next_goes_on(caplog):
    output = Kept(before=fails(3, Undelivered("status 500")))
    with patient([Channel(output, retry=QUICK)]) as outputs:
        outputs.emit(message(1))
        outputs.emit(message(2))
        until(lambda: output.messages)
    assert [m.time % 10 for m in output.messages] == [2]
    assert outputs.counts()["kept"] == Counts(emitted=2, delivered=1, dropped=1, failed=3, retried=2)
    assert "1 alerts given up after 3 attempts: status 500" in caplog.text


def test_what_can_never_go_well_is_given_up_at_once():
    output = Kept(before=fails(1, Undelivered("status 400", retry=False)))
    with patient([output]) as outputs:
        outputs.emit(message(1))
    assert outputs.counts()["kept"] == Counts(emitted=1, dropped=1, failed=1)


def test_a_receiver_may_tell_how_long_to_wait():
    output = Kept(before=fails(1, Undelivered("status 429", after=0.01)))
    with patient([Channel(output, retry=Retry(first=1000, most=1000))]) as outputs:
        outputs.emit(message(1))
        until(lambda: output.messages)
    assert outputs.counts()["kept"].delivered == 1


def test_of_a_batch_only_what_failed_is_tried_again():
    tried = []

    def before(messages):
        tried.append([m.time % 100 for m in messages])
        if len(tried) == 2:
            raise Undelivered("two of them", left=messages[1:3])

    output = Kept(batch=4, before=before)
    output.gate.clear()
    with patient([Channel(output, retry=QUICK)]) as outputs:
        outputs.emit(message(0))
        until(lambda: output.sends)             # the first is under way, alone
        for n in range(1, 5):
            outputs.emit(message(n))
        output.gate.set()
    assert tried[-1] == tried[-2][1:3]
    assert outputs.counts()["kept"].delivered == 5
    assert outputs.counts()["kept"].failed == 1


def test_a_mistake_in_an_output_costs_its_messages_alone(caplog):
    output = Kept(before=fails(1, KeyError("bug")))
    with patient([output]) as outputs:
        outputs.emit(message(1))
        outputs.emit(message(2))
    assert outputs.counts()["kept"] == Counts(emitted=2, delivered=1, dropped=1, failed=1)
    assert "KeyError" in caplog.text


def test_emit_raises_when_all_outputs_are_gone():
    def gone(messages):
        raise Gone("no reader") from BrokenPipeError(32, "Broken pipe")

    bad, good = Kept("bad", before=gone), Kept("good")
    with patient([bad, good]) as outputs:
        outputs.emit(message(1))
        until(lambda: outputs.counts()["bad"].dropped)
        outputs.emit(message(2))
    assert len(good.messages) == 2
    assert outputs.counts()["bad"] == Counts(emitted=2, dropped=2, failed=1)
    outputs = patient([Kept("bad", before=gone)])
    outputs.emit(message(1))
    until(lambda: outputs.counts()["bad"].dropped)
    with pytest.raises(BrokenPipeError):
        outputs.emit(message(2))
    with pytest.raises(BrokenPipeError), patient([Kept("bad", before=gone)]) as outputs:
        outputs.emit(message(1))


def test_an_output_that_takes_too_long_is_told_as_critical(caplog):
    output = Kept("http")
    output.gate.clear()
    with patient([output], timeout=0.02) as outputs:
        outputs.emit(message())
        until(lambda: "output timeout" in caplog.text)
        output.gate.set()
        until(lambda: "output goes on" in caplog.text)
    (record,) = [r for r in caplog.records if r.levelno == logging.CRITICAL]
    assert record.getMessage().startswith('"http" output timeout')


def test_reopening_is_done_by_the_outputs_thread_and_ends_a_pause():
    output = Kept(before=fails(1, Undelivered("disk full")))
    outputs = patient([Channel(output, retry=Retry(first=1000, most=1000))])
    outputs.reopen()
    until(lambda: output.reopened == 1)
    outputs.emit(message())
    until(lambda: outputs.counts()["kept"].failed == 1)
    outputs.reopen()
    until(lambda: output.messages)
    assert output.reopened == 2
    outputs.drain(120)


# ---- the end ----


def test_draining_has_a_limit_and_what_is_left_is_told(caplog):
    output = Kept("hangs")
    output.gate.clear()
    outputs = patient([output, Kept("works")])
    for n in range(10):
        outputs.emit(message(n))
    until(lambda: outputs.counts()["works"].delivered == 10)
    assert outputs.drain(0.05) >= 9
    assert output.aborted
    counts = outputs.counts()
    assert counts["works"].delivered == 10
    assert adds_up(counts["hangs"])
    assert counts["hangs"].dropped >= 9
    assert "were not delivered in time, and are lost" in caplog.text


def test_a_replay_waits_at_its_end_for_who_takes_time_until_it_is_told_not_to():
    for told in (False, True):
        output = Kept()
        output.gate.clear()
        outputs = patient([Channel(output, wait=True)])
        for n in range(10):
            outputs.emit(message(n))
        left: list[int] = []
        end = threading.Thread(target=lambda left=left, outputs=outputs: left.append(outputs.drain(0.01)))
        end.start()
        end.join(0.5)
        assert left == []
        if told:
            outputs.stop_waiting()
        else:
            output.gate.set()
        end.join(PATIENCE)
        assert (left == [0]) is not told
        output.gate.set()


def test_a_replay_waits_at_its_end_for_no_output_that_fails():
    output = Kept(before=fails(1000, Undelivered("refused")))
    outputs = patient([Channel(output, retry=Retry(attempts=0, first=0.001, most=0.001), wait=True)])
    outputs.emit(message())
    assert outputs.drain(0.1) == 1


def test_draining_tries_at_once_what_waits_to_be_tried_again():
    output = Kept(before=fails(1, Undelivered("refused")))
    outputs = patient([Channel(output, retry=Retry(first=1000, most=1000))])
    outputs.emit(message())
    until(lambda: outputs.counts()["kept"].failed == 1)
    assert outputs.drain(120) == 0
    assert outputs.counts()["kept"].delivered == 1


def test_draining_that_begins_while_a_send_fails_is_no_pause_either():
    def before(messages: Sequence[Message]) -> None:
        if output.sends == 1:
            for channel in outputs:
                channel.begin_drain(time.monotonic() + PATIENCE)
            raise Undelivered("refused")

    output = Kept(before=before)
    outputs = patient([Channel(output, retry=Retry(first=1000, most=1000))])
    outputs.emit(message())
    until(lambda: outputs.counts()["kept"].delivered == 1)
    assert outputs.drain() == 0


def test_what_comes_after_the_end_is_dropped_and_counted():
    outputs = patient([Kept()])
    outputs.drain(120)
    outputs.emit(message())
    assert outputs.counts()["kept"] == Counts(emitted=1, dropped=1)


def test_pauses_grow_to_a_limit_and_vary():
    retry = Retry(first=1, most=10)
    delays = [retry.delay(n) for n in range(1, 2000)]
    assert all(0.5 * min(10, 2 ** min(n, 10)) <= d <= min(10, 2 ** min(n, 10)) for n, d in enumerate(delays))
    assert len(set(delays)) > 1000


# ---- standard output ----


def test_standard_output_gets_whole_lines(capfdbinary):
    with patient([StdoutOutput(), StdoutOutput(json=True)]) as outputs:
        outputs.emit(message(text="Grüße"))
    text, line = sorted(capfdbinary.readouterr().out.decode().splitlines())
    assert text.split(": ", 1)[1].startswith("Warning Grüße 0 (")
    assert json.loads(line)["rule"] == "A rule"


@pytest.mark.parametrize("buffered", [False, True])
def test_buffered_standard_output_is_written_at_the_end(monkeypatch, tmp_path, buffered):
    with open(tmp_path / "out", "w") as file:
        monkeypatch.setattr("sys.stdout", file)
        outputs = patient([StdoutOutput(buffered=buffered)])
        outputs.emit(message())
        until(lambda: outputs.counts()["stdout"].delivered)
        assert (tmp_path / "out").read_text().count("\n") == (not buffered)
        outputs.drain(120)
        assert (tmp_path / "out").read_text().count("\n") == 1
