# SPDX-License-Identifier: Apache-2.0
"""Alerts that are alike are told as one, with their number; none goes uncounted."""

import json
import threading
import time

import pytest

from falcolib import Priority
from falcolib.config.notifications import SlackOutput
from falcolib.outputs import Retry, Undelivered, notify
from falcolib.outputs.notify.grouping import Grouped, Grouping, GroupingChannel
from messages import Kept, message, patient, until

pytestmark = pytest.mark.daemon

S = 10**9


def test_the_first_is_sent_at_once_and_those_like_it_are_told_at_the_end_of_the_window():
    grouping = Grouping(["rule"], 60 * S)
    first, *others = [message(n) for n in range(43)]
    assert grouping.offer(first, 0) == [first]
    for n, other in enumerate(others):
        assert grouping.offer(other, n * S) == []
    assert grouping.held == 42
    assert grouping.due(60 * S - 1) == []
    (told,) = grouping.due(60 * S)
    assert isinstance(told, Grouped)
    assert told.count == 42
    assert told.message == "A thing was done 42 (and 41 more like it in 1 min)"
    assert str(told) == f"{others[-1]} (and 41 more like it in 1 min)"
    assert json.loads(told.json()) == told.as_dict() == {
        **others[-1].as_dict(), "output": f"{others[-1].as_dict()['output']} (and 41 more like it in 1 min)", "count": 42}
    assert grouping.held == 0


def test_a_flood_is_a_message_a_window_and_a_pause_begins_anew():
    grouping = Grouping(["rule"], 10 * S)
    sent = []
    for second in range(100):
        sent += grouping.due(second * S)
        sent += grouping.offer(message(second), second * S)
    sent += grouping.due(100 * S)
    assert [getattr(m, "count", 1) for m in sent] == [1, 9, *[10] * 9]      # 1 + 9 in the first window, one of 10 in each that follows
    assert grouping.due(110 * S) == []
    assert grouping.next() is None
    assert grouping.offer(message(1), 120 * S) != []


def test_one_that_was_held_back_alone_is_told_as_it_is():
    grouping = Grouping(["rule"], S)
    first, second = message(1), message(2)
    grouping.offer(first, 0)
    grouping.offer(second, 0)
    assert grouping.due(S) == [second]


@pytest.mark.parametrize(("by", "alike"), [
    (["rule"], True), (["n"], False), (["rule", "n"], False), (["output"], False), ([], True), (["no.such"], True),
    (["priority", "source", "hostname", "tags"], True),
])
def test_what_alerts_have_in_common(by, alike):
    grouping = Grouping(by, S)
    grouping.offer(message(1, tags=("a", "b")), 0)
    assert (grouping.offer(message(2, tags=("b", "a")), 0) == []) is alike


def test_kinds_are_bounded_and_none_is_forgotten():
    grouping = Grouping(["n"], S, kinds=10)
    sent = [told for n in range(1000) for _ in range(3) for told in grouping.offer(message(n), n)]
    sent += grouping.all()
    assert sum(getattr(m, "count", 1) for m in sent) == 3000
    assert grouping.held == 0


def test_the_numbers_of_a_channel_add_up_at_any_time():
    kept = Kept(batch=7)
    channel = GroupingChannel(kept, by=["rule"], window=50 * 10**6, minimum_priority=Priority.WARNING)
    wrong = []
    over = threading.Event()

    def look():
        while not over.wait(0.001):
            c = channel.counts()
            if c.emitted != c.delivered + c.dropped + c.queued + c.grouped:
                wrong.append(c)

    threading.Thread(target=look, daemon=True).start()
    with patient([channel]) as outputs:
        for n in range(1000):
            outputs.emit(message(n, rule=f"rule {n % 3}"))
            outputs.emit(message(n, priority=Priority.DEBUG))
            time.sleep(0.0003)
    over.set()
    counts = channel.counts()
    assert not wrong
    assert counts.emitted == 1000
    assert counts.queued == counts.dropped == 0
    assert counts.delivered == len(kept.messages)
    assert counts.grouped == 1000 - len(kept.messages) > 0
    assert sum(getattr(m, "count", 1) for m in kept.messages) == 1000


def test_what_is_held_back_is_told_when_its_window_ends_and_at_the_end():
    kept = Kept()
    channel = GroupingChannel(kept, by=["rule"], window=100 * 10**6)
    outputs = patient([channel])
    with channel._changed:          # the clock waits until all are there
        for n in range(5):
            outputs.emit(message(n))
    until(lambda: len(kept.messages) == 2)
    assert kept.messages[1].count == 4
    outputs.emit(message(5))
    outputs.emit(message(6))
    assert outputs.drain() == 0
    assert sum(getattr(m, "count", 1) for m in kept.messages) == 7
    outputs.emit(message(7))        # too late: it is counted as dropped
    assert channel.counts().emitted == 8 == channel.counts().delivered + channel.counts().grouped + 1


def test_a_group_that_is_not_delivered_is_dropped_and_counted():
    def refuse(_):
        raise Undelivered("no", retry=False)

    channel = GroupingChannel(Kept(before=refuse), by=["rule"], window=3600 * S, retry=Retry(attempts=1))
    outputs = patient([channel])
    for n in range(100):
        outputs.emit(message(n))
    outputs.drain()
    counts = channel.counts()
    assert (counts.emitted, counts.delivered, counts.dropped, counts.queued, counts.grouped) == (100, 0, 2, 0, 98)


def test_settings_choose_the_channel():
    url = "http://127.0.0.1:1/secret"
    plain = notify.channel(notify.output("slack_output", SlackOutput(webhook_url=url)), SlackOutput(tags=("x",)))
    assert type(plain) is not GroupingChannel
    assert not plain.wants(message())
    assert plain.wants(message(tags=("x",)))
    settings = SlackOutput(webhook_url=url, group_window=S, minimum_priority=Priority.ERROR)
    grouping = notify.channel(notify.output("slack_output", settings), settings)
    assert type(grouping) is GroupingChannel
    assert not grouping.wants(message())
    patient([plain, grouping]).drain()
