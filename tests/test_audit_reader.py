# SPDX-License-Identifier: Apache-2.0
"""The reader of audit events: JSON texts in a row, lists, what can't be used, times (csrc/source/documents.h)."""

from __future__ import annotations

import json
import time

import pytest

import falcolib
from audit_events import event, ids, rules, text, value

ONE, TWO, THREE = (event(auditID=name) for name in ("1", "2", "3"))
#: As in a webhook's body: without kind.
BARE = [event(auditID=name, kind=None, apiVersion=None) for name in ("1", "2")]


@pytest.mark.parametrize("size", [None, 1, 7])
class TestForms:
    def test_lines(self, size: int | None) -> None:
        assert ids(text(ONE, TWO), size)[0] == ["1", "2"]
        assert ids(text(ONE, TWO).rstrip(), size)[0] == ["1", "2"]
        assert ids(b"\n\r\n" + text(ONE) + b"\n \t" + text(TWO), size)[0] == ["1", "2"]

    def test_lists(self, size: int | None) -> None:
        lists = text({"kind": "EventList", "items": BARE}, {"items": [THREE], "kind": "EventList"})
        assert ids(lists, size)[0] == ["1", "2", "3"]

    def test_over_several_lines(self, size: int | None) -> None:
        assert ids(json.dumps(ONE, indent=1).encode() + json.dumps(TWO, indent=1).encode(), size)[0] == ["1", "2"]
        assert ids(json.dumps({"kind": "EventList", "items": BARE}, indent=1).encode() + b"\n", size)[0] == ["1", "2"]

    def test_strings_of_a_text_over_several_lines(self, size: int | None) -> None:
        odd = event(auditID="1", userAgent='"{[\\"]}\\\\', requestURI="\\" * 9)
        assert ids(json.dumps(odd, indent=1).encode() + json.dumps(TWO, indent=1).encode(), size)[0] == ["1", "2"]
        for bad in (b'{\n"a":"\\\n', b'{\n"a":"\\\\\n', b'{\n"a":"x\x01"}\n', b'{\n"a":"\\\x01"}\n'):
            found, stats = ids(bad + text(TWO), size)
            assert (found, stats.malformed > 0) == (["2"], True), bad

    def test_arrays(self, size: int | None) -> None:
        assert ids(json.dumps([ONE, [TWO, [THREE]]]).encode(), size)[0] == ["1", "2", "3"]
        assert ids(json.dumps([ONE, TWO], indent=4).encode(), size)[0] == ["1", "2"]

    def test_a_bad_text_costs_no_other(self, size: int | None) -> None:
        for bad in (b"{", b'{"a":', b'{"a":1', b'{"a":"', b"{]", b"}", b"x", b"{'a':1}", b'{"a":1,}',
                    b'{"auditID":"x" "b":1}', b'{"a":"\x01"}', b'{"auditID":tru}', b'{"auditID":01}',
                    b'{"auditID":"\\x"}', b"nul", b'"abc', b"{" * 2000, b'{"a":[' * 1000):
            found, stats = ids(text(ONE) + bad + b"\n" + text(TWO, THREE), size)
            assert (found, stats.malformed) == (["1", "2", "3"], 1), bad

    def test_a_bad_item_costs_no_other(self, size: int | None) -> None:
        body = text({"kind": "EventList", "items": [BARE[0], {"kind": "Pod"}, 7, [], {"auditID": "x", "kind": 0}, BARE[1]]})
        found, stats = ids(body, size)
        assert (found, stats.unrecognised) == (["1", "2"], 4)
        found, stats = ids(body.replace(b"7", b"{,}"), size)
        assert (found, stats.malformed, stats.unrecognised) == (["1", "2"], 1, 3)
        assert ids(b"[7, " + text(ONE) + b', "x", null, {"kind":0}]', size)[0] == ["1"]

    def test_of_a_list_that_breaks_off_the_items_before_count(self, size: int | None) -> None:
        one, two = (text(item).decode().rstrip() for item in BARE)
        for begin, broken in (
                ('{"kind":"EventList","items":[', two[:-9]), ('{"items":[', '{"a":]}]}'), ('{"items":\n[\n', '{"a":"\x01"}]}')):
            found, stats = ids(f"{begin}{one},{two},{broken}\n".encode() + text(THREE), size)
            assert (found, stats.malformed) == (["1", "2", "3"], 1), (begin, broken)
        assert ids(f'{{"items":[{one},{two}'.encode(), size)[0] == ["1", "2"]

    def test_an_item_may_be_nested_as_deep_as_api_servers_take_it(self, size: int | None) -> None:
        deep = json.dumps(BARE[0])[:-1].encode() + b',"requestObject":' + b"[" * 10_000 + b"]" * 10_000 + b"}"
        assert ids(b'{"items":[' + deep + b"," + text(BARE[1]) + b"]}\n" + text(THREE), size)[0] == ["1", "2", "3"]

    def test_a_mark_of_byte_order_may_come_first(self, size: int | None) -> None:
        assert ids("\ufeff".encode() + text(ONE, TWO), size)[0] == ["1", "2"]
        assert ids("\ufeff".encode() + json.dumps([ONE, TWO], indent=1).encode(), size)[0] == ["1", "2"]

    def test_what_is_too_large_is_left_out(self, size: int | None) -> None:
        long = event(auditID="long", userAgent="x" * 1000)
        found, stats = ids(text(ONE, long, TWO, {"kind": "EventList", "items": [long, THREE]}), size, limit=900)
        assert (found, stats.too_large) == (["1", "2", "3"], 2)
        found, stats = ids(text(ONE) + b'{"a":"' + b"x" * 9000 + b'"}\n' + text(TWO), size, limit=900)
        assert (found, stats.too_large + stats.unrecognised) == (["1", "2"], 1)

    def test_a_list_may_be_as_large_as_it_likes_if_its_events_are_not(self, size: int | None) -> None:
        for line in (text({"kind": "EventList", "items": [ONE] * 40}), json.dumps({"items": [ONE] * 40}, indent=1).encode() + b"\n"):
            found, stats = ids(line + text(TWO), size, limit=900)
            assert (found, stats.too_large) == (["1"] * 40 + ["2"], 0)

    def test_nor_may_a_line_without_an_end(self, size: int | None, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr("falcolib.core.TEXT_LIMIT", 10_000)
        found, stats = ids(text(ONE) + b'{"a":"' + b"x" * 20_000 + b'"}\n' + text(TWO), size, limit=900)
        assert (found, stats.too_large + stats.unrecognised) == (["1", "2"], 1)


class TestFaults:
    def test_they_are_told_with_their_line(self) -> None:
        told: list[str] = []
        ids(text(ONE) + b'{"a":\n' + text(TWO) + b'{"kind":"Pod"}\n', on_fault=told.append)
        assert told == ["text:2: no valid JSON, or not all there; left out", "text:4: not an event of this source; left out"]

    def test_a_text_that_comes_in_small_pieces_takes_time_in_proportion(self) -> None:
        line = b'{"items": [' + text(ONE).rstrip() + b', {"a": "' + b"x" * 1_000_000 + b'"},\n'
        found, _ = ids(line + b'{"a":\n"' + b"y" * 200_000 + b'"},' + text(TWO) + b"]}\n", size=4)
        assert found == ["1", "2"]

    def test_many_lines_without_an_end_take_time_in_proportion(self) -> None:
        for line in (b'{"a":\n', b"{\n", b'{"a":[\n'):
            found, stats = ids(line * 100_000 + text(ONE))
            assert (found, stats.malformed) == (["1"], 100_000)


class TestTimes:
    @pytest.mark.parametrize(("stamp", "ns"), [
        ("2026-11-23T03:38:13Z", 1795405093_000000000), ("2026-11-23T03:38:13.5Z", 1795405093_500000000),
        ("2026-11-23T03:38:13.123456789123Z", 1795405093_123456789), ("2026-11-23T05:08:13+01:30", 1795405093_000000000),
        ("1970-01-01T00:00:00Z", 0), ("2000-02-29T23:59:60Z", 951868800_000000000),
    ])
    def test_rfc_3339(self, stamp: str, ns: int) -> None:
        (alert,) = falcolib.Engine(rules(["ka.verb exists"])).run([event(stageTimestamp=stamp)])
        assert alert.time == ns

    def test_what_takes_its_place(self) -> None:
        def at(**parts: object) -> str:
            return str(value(event(stageTimestamp=None, **parts), "json.rawtime"))

        assert at() == "1795405093580336000"
        assert at(timestamp="2026-11-23T03:38:14Z") == "1795405094000000000"
        assert at(timestamp="2026-11-23T03:38:14Z", metadata={"creationTimestamp": "2026-11-23T03:38:15Z"}) == "1795405095000000000"

    @pytest.mark.parametrize("stamp", ["", "now", "2026-13-01T00:00:00Z", "2026-11-23", "2026-11-23T03:38:13", "1969-12-31T23:59:59Z",
                                       "2026-11-23T03:38:13.Z", "2026-11-23T03:38:13Zx", "9999-01-01T00:00:00Z", 7])
    def test_without_a_time_it_is_that_of_reading(self, stamp: object) -> None:
        before = time.time_ns()
        engine = falcolib.Engine(rules(["ka.verb exists"]))
        (alert,) = engine.run([event(stageTimestamp=stamp, requestReceivedTimestamp=None)])
        assert before <= alert.time <= time.time_ns()
        assert engine.stats().undated == 1


class TestDicts:
    """Events given to run() as what their text decodes to."""

    def test_each_is_as_its_text_however_deep(self) -> None:
        engine = falcolib.Engine(rules(["ka.verb = create"], "%ka.auditid %jevt.value[/requestObject/a]"))
        deep: object = [1, 2.5, "é\ud800", None, {"b": (True,), 3: ()}]
        written = '[1,2.5,"\\u00e9\\ud800",null,{"b":[true],"3":[]}]'
        for _ in range(5_000):
            deep, written = {"a": deep, "next": [{}, []]}, f'{{"a":{written},"next":[{{}},[]]}}'
        (alert,) = engine.run([event(auditID="1", requestObject=deep)])
        (same,) = engine.run([text(event(auditID="1", requestObject="HERE")).replace(b'"HERE"', written.encode())])
        assert alert.message == same.message
        assert len(alert.message) > 10_000
        assert engine.stats().malformed == 0

    @pytest.mark.parametrize("bad", ["too deep", "within itself"])
    def test_one_that_is_no_json_costs_no_other(self, bad: str) -> None:
        inner: dict[str, object] = {}
        nested: dict[str, object] = inner
        for _ in range(20_000):
            nested = {"a": nested}
        if bad == "within itself":
            inner["a"] = nested
        engine = falcolib.Engine(rules(["ka.verb = create"], "%ka.auditid"))
        assert [a.message for a in engine.run([ONE, event(requestObject=nested), TWO])] == ["1", "2"]
        assert engine.stats().malformed == 1
        listed = {"kind": "EventList", "items": [BARE[0], event(requestObject=nested), THREE]}
        assert [a.message for a in engine.run([listed, TWO])][::3] == ["1"]
        assert [a.message for a in engine.run([listed, TWO])][-1] == "2"

    def test_halves_of_pairs_of_surrogates_are_as_in_a_text(self) -> None:
        """JSON's escapes can tell them, and so json.loads() makes them."""
        half = event(auditID="half", verb="\udc00x", **{"\ud800": 1})
        engine = falcolib.Engine(rules(["ka.verb exists"], "%ka.auditid %ka.verb"))
        found = [[a.message for a in engine.run([ONE, given, TWO])] for given in (half, text(half))]
        assert found[0] == found[1]
        assert len(found[0]) == 3
