# SPDX-License-Identifier: Apache-2.0
"""Names of addresses: what rules compare with fd.sip.name and its like is looked up, and known by its addresses."""

from __future__ import annotations

import os
import socket
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

import falcolib
from falcolib.core import Core
from falcolib.sources import hosts
from falcolib.sources.hosts import Hosts, addresses_of
from live import PATIENCE, Watch, needs_live

V4 = b"\0" * 10 + b"\xff\xff"
RULES = """
- list: pools
  items: [one.example, two.example]
- rule: off
  desc: d
  condition: evt.type = connect and fd.rip.name = off.example
  output: x
  priority: INFO
  enabled: false
- rule: listed
  desc: d
  condition: evt.type = connect and fd.sip.name in (pools)
  output: "%fd.sip.name"
  priority: INFO
- rule: other
  desc: d
  condition: evt.type in (connect, accept4) and (fd.cip.name = three.example or fd.name = three or fd.sip.name startswith four)
  output: "%fd.cip.name"
  priority: INFO
"""


class Answers:
    """What names are answered with, in the place of the machine's resolver."""

    def __init__(self) -> None:
        self.by_name: dict[str, frozenset[bytes] | None] = {}
        self.asked: list[str] = []
        self.silent = threading.Event()

    def __call__(self, name: str) -> frozenset[bytes] | None:
        self.asked.append(name)
        if name == "silent":
            self.silent.wait(PATIENCE)
        return self.by_name.get(name, frozenset())


@pytest.fixture
def answers(monkeypatch: pytest.MonkeyPatch) -> Iterator[Answers]:
    answers = Answers()
    monkeypatch.setattr(hosts, "addresses_of", answers)
    monkeypatch.setattr(hosts, "FIRST", 0.01)
    monkeypatch.setattr(hosts, "LAST", 0.02)
    yield answers
    answers.silent.set()


def until(condition: object) -> None:
    end = time.monotonic() + PATIENCE
    while not condition():                  # type: ignore[operator]
        assert time.monotonic() < end
        time.sleep(0.005)


def test_a_program_tells_what_it_compares_with_names(tmp_path: Path) -> None:
    engine = falcolib.Engine(falcolib.RuleSet.parse(RULES, name="test"))
    assert set(engine.program.hosts) == {"one.example", "two.example", "three.example", "four"}


def test_addresses() -> None:
    assert addresses_of("192.0.2.1") == {V4 + bytes([192, 0, 2, 1])}
    assert addresses_of("2001:db8::1") == {socket.inet_pton(socket.AF_INET6, "2001:db8::1")}
    assert addresses_of("x" * 300) == addresses_of("a..b") == frozenset()


def test_rows_that_are_cut_off_are_refused() -> None:
    core = Core("first", 0, 0)
    core.tell_hosts((V4 + b"\1" * 4 + b"one.example\0") * 3)
    for rows in (V4, V4 + b"\1" * 4, V4 + b"\1" * 4 + b"one.example"):
        with pytest.raises(ValueError, match="error -4"):
            core.tell_hosts(V4 + b"\2" * 4 + b"two.example\0" + rows)
    core.tell_hosts(b"")


def test_names_are_asked_for_again(answers: Answers) -> None:
    known = Hosts()
    try:
        answers.by_name = {"a": frozenset((V4 + b"\1\2\3\4", V4 + b"\1\2\3\5")), "b": frozenset((V4 + b"\1\2\3\4",))}
        known.want(["b", "a", "b"])
        both = V4 + b"\1\2\3\4b\0" + V4 + b"\1\2\3\4a\0" + V4 + b"\1\2\3\5a\0"
        until(lambda: known.rows() == both)
        until(lambda: min(answers.asked.count(name) for name in "ab") > 2)
        assert known.rows() is None                                 # the same
        answers.by_name["b"] = None                                 # for now, nobody can tell
        answers.by_name["a"] = frozenset()
        until(lambda: known._fresh)
        assert known.rows() == V4 + b"\1\2\3\4b\0"
        known.want(["a"])
        assert known.rows() == b""
    finally:
        known.close()


def test_an_answer_that_does_not_come_holds_nobody_up(answers: Answers) -> None:
    known = Hosts()
    answers.by_name = {"a": frozenset((V4 + b"\1\2\3\4",))}
    known.want(["silent", "a"])
    until(lambda: known._fresh)
    assert known.rows() == V4 + b"\1\2\3\4a\0"
    known.close()
    answers.silent.set()
    for thread in known._threads:
        thread.join(PATIENCE)
        assert not thread.is_alive()


class TestLive:
    """Two names of one address are both its names; an address of nobody's has none."""

    pytestmark = needs_live

    @pytest.mark.parametrize(("family", "address"), [(socket.AF_INET, "127.0.0.1"), (socket.AF_INET6, "::1")])
    def test_a_connection(self, answers: Answers, family: int, address: str) -> None:
        packed = socket.inet_pton(family, address)
        whole = packed if len(packed) == 16 else V4 + packed
        answers.by_name = {"one.example": frozenset((whole,)), "two.example": frozenset((whole,)),
                           "three.example": frozenset((V4 + b"\1" * 4,))}
        mine = f"evt.type = connect and proc.pid = {os.getpid()}"
        output = "'%fd.sip.name %fd.cip.name'"
        rules = "".join(f"- rule: {name}\n  desc: d\n  condition: {mine} and {test}\n  output: {output}\n  priority: INFO\n"
                        for name, test in {"one": "fd.sip.name = one.example", "two": "fd.sip.name in (two.example, nobody.example)",
                                           "both": "fd.cip.name = one.example", "three": "fd.sip.name = three.example",
                                           "all": "fd.sport exists"}.items())
        with socket.socket(family) as server, Watch(rules) as watch:
            server.bind((address, 0))
            server.listen()

            def contacted() -> bool:        # the answers come soon after the start, one after the other, but not before it
                with socket.create_connection(server.getsockname()[:2]):
                    server.accept()[0].close()
                return all(any(alert.message == names for alert in watch.of(name)) for name in ("one", "two", "both", "all"))

            names = "one.example two.example one.example two.example"
            watch.until(contacted)
        assert not watch.of("three")
