# SPDX-License-Identifier: Apache-2.0
"""The engine: rules over captures and over events given as dicts; policy, errors, statistics."""

import dataclasses
import gc
import gzip
import io
import itertools
import json
import pickle
import threading
import weakref
from collections.abc import Iterator
from pathlib import Path

import pytest

import falcolib
from falcolib import Capture, Engine, Priority, RuleSet

RULES = """
- list: shells
  items: [bash, sh]
- macro: spawned
  condition: evt.type in (execve, execveat)
- rule: Shell
  desc: a shell starts
  condition: spawned and proc.name in (shells)
  output: shell %proc.name by %proc.pname (%user.uid)
  priority: NOTICE
  tags: [process, T1059]
- rule: Anything executed
  desc: a program starts
  condition: spawned
  output: exec %proc.name %evt.arg.flags %toupper(proc.name)
  priority: Debug
"""

BASH = {"evt.type": "execve", "proc.name": "bash", "proc.pname": "nginx", "user.uid": 0, "evt.rawtime": 1_700_000_000_123_456_789}


@pytest.fixture
def rules() -> RuleSet:
    return RuleSet.parse(RULES, name="rules.yaml")


class TestDictEvents:
    def test_a_rule_matches_an_event_given_as_fields(self, rules: RuleSet) -> None:
        (alert,) = Engine(rules).run([BASH])
        assert alert.rule == "Shell"
        assert alert.priority is Priority.NOTICE
        assert alert.tags == {"process", "T1059"}
        assert alert.source == "syscall"
        assert alert.message == "shell bash by nginx (0)"
        assert alert.fields == {"proc.name": "bash", "proc.pname": "nginx", "user.uid": 0}
        assert alert.time == BASH["evt.rawtime"]
        assert alert.complete

    def test_fields_that_are_not_given_are_absent(self, rules: RuleSet) -> None:
        (alert,) = Engine(rules).run([{"evt.type": "execve", "proc.name": "sh"}])
        assert alert.message == "shell sh by <NA> (<NA>)"
        assert alert.fields["proc.pname"] is None

    def test_events_of_other_types_do_not_match(self, rules: RuleSet) -> None:
        assert list(Engine(rules).run([{"evt.type": "openat", "proc.name": "bash"}])) == []

    def test_system_calls_without_an_event_of_their_own_are_named_by_the_event(self) -> None:
        rules = RuleSet.parse("- {rule: r, desc: d, condition: evt.type=sethostname, output: x, priority: INFO}")
        assert len(list(Engine(rules).run([{"evt.type": "sethostname"}, {"evt.type": "gettid"}]))) == 1

    @pytest.mark.parametrize(
        ("event", "error", "text"),
        [
            ({"proc.name": "bash"}, ValueError, "evt.type"),
            ({"evt.type": "execvee"}, ValueError, "execve"),
            ({"evt.type": "execve", "proc.nam": "bash"}, KeyError, "proc.name"),
            ({"evt.type": "execve", "proc.name": 7}, TypeError, "proc.name"),
            ({"evt.type": "execve", "user.uid": -1}, ValueError, "user.uid"),
        ],
    )
    def test_mistakes_are_told(self, rules: RuleSet, event: dict[str, object], error: type[Exception], text: str) -> None:
        with pytest.raises(error, match=text):
            list(Engine(rules).run([event]))

    def test_a_lone_event_is_not_taken_for_a_list_of_them(self, rules: RuleSet) -> None:
        with pytest.raises(TypeError, match="list"):
            list(Engine(rules).run(BASH))           # type: ignore[arg-type]


class TestPolicy:
    def test_first_stops_at_the_first_rule_in_order_of_definition(self, rules: RuleSet) -> None:
        assert [a.rule for a in Engine(rules, matching="first").run([BASH])] == ["Shell"]

    def test_all_gives_every_rule(self, rules: RuleSet) -> None:
        assert [a.rule for a in Engine(rules, matching="all").run([BASH])] == ["Shell", "Anything executed"]

    def test_another_policy_is_refused(self, rules: RuleSet) -> None:
        with pytest.raises(ValueError, match="matching"):
            Engine(rules, matching="some")          # type: ignore[arg-type]


class TestAlertTexts:
    def test_the_text_line(self, rules: RuleSet, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("TZ", "UTC")
        (alert,) = Engine(rules, format=falcolib.AlertFormat(time_format_iso_8601=True)).run([BASH])
        assert str(alert) == "2023-11-14T22:13:20.123456789+0000: Notice shell bash by nginx (0)"

    def test_control_characters_of_a_rule_are_escaped_in_text_those_of_events_are_unreadable(self) -> None:
        rules = RuleSet.parse('- {rule: r, desc: d, condition: evt.type=open, output: "f=\\n\\e%fd.name", priority: INFO}')
        (alert,) = Engine(rules).run([{"evt.type": "open", "fd.name": 'a\n"\x1b'}])
        assert str(alert).endswith('Informational f=\\n\\u001ba\ufffd\\"\ufffd')
        assert alert.message == 'f=\n\x1ba\ufffd"\ufffd'

    def test_the_json_line(self, rules: RuleSet) -> None:
        (alert,) = Engine(rules, hostname="host1").run([BASH])
        line = json.loads(alert.json())
        assert list(line) == sorted(line)
        assert line.pop("output").endswith(": Notice shell bash by nginx (0)")
        assert line == {
            "hostname": "host1", "priority": "Notice", "rule": "Shell", "source": "syscall", "tags": ["T1059", "process"],
            "time": "2023-11-14T22:13:20.123456789Z",
            "output_fields": {"evt.time": 1_700_000_000_123_456_789, "proc.name": "bash", "proc.pname": "nginx", "user.uid": 0},
        }  # fmt: skip

    def test_transformed_tokens_are_printed_but_left_out_of_output_fields(self, rules: RuleSet) -> None:
        alert = list(Engine(rules, matching="all").run([BASH]))[1]
        assert alert.message == "exec bash <NA> BASH"
        assert set(json.loads(alert.json())["output_fields"]) == {"evt.time", "proc.name", "evt.arg.flags"}


class TestCaptures:
    def test_a_capture_is_replayed(self, rules: RuleSet, attack1: object) -> None:
        engine = Engine(rules)
        alerts = list(engine.run(Capture(attack1)))
        assert "Shell" in {a.rule for a in alerts}
        stats = engine.stats()
        assert stats.matches == len(alerts) == sum(stats.alerts.values())
        assert stats.events > 1000

    def test_an_engine_can_run_again(self, rules: RuleSet, attack1: object) -> None:
        engine = Engine(rules)
        assert [a.json() for a in engine.run(Capture(attack1))] == [a.json() for a in engine.run(Capture(attack1))]

    def test_ids_are_stable_and_unique(self, rules: RuleSet, attack1: object) -> None:
        ids = [a.id for a in Engine(rules, matching="all").run(Capture(attack1))]
        assert len(set(ids)) == len(ids)
        assert ids == [a.id for a in Engine(rules, matching="all").run(Capture(attack1))]

    def test_several_captures_are_merged_by_time(self, rules: RuleSet, attack1: object) -> None:
        alerts = list(Engine(rules).run([Capture(attack1), Capture(attack1)]))
        assert [a.time for a in alerts] == sorted(a.time for a in alerts)
        assert len(alerts) == 2 * len(list(Engine(rules).run(Capture(attack1))))

    def test_a_truncated_capture_gives_its_alerts_and_then_an_error_with_the_offset(self, rules: RuleSet, attack1: object) -> None:
        data = gzip.decompress(attack1.read_bytes())        # type: ignore[attr-defined]
        found = []

        def run() -> None:
            for alert in Engine(rules).run(Capture(io.BytesIO(data[:-5]))):
                found.append(alert.id)

        with pytest.raises(falcolib.CaptureError, match=r"offset \d+"):
            run()
        assert found == [a.id for a in Engine(rules).run(Capture(attack1))]

    def test_an_alert_has_its_event(self, rules: RuleSet, attack1: object) -> None:
        alert = next(iter(Engine(rules).run(Capture(attack1))))
        assert alert.event.type == "execve"
        assert alert.event["proc.name"] == alert.fields["proc.name"]
        assert alert.event.params["res"] == 0
        with pytest.raises(falcolib.StaleEventError, match=r"fd\.name"):
            alert.event["fd.name"]

    def test_a_run_can_be_stopped(self, rules: RuleSet, attack1: object) -> None:
        engine = Engine(rules, matching="all")
        seen = 0
        for _ in engine.run(Capture(attack1)):
            seen += 1
            engine.stop()
        assert 0 < seen <= len(list(Engine(rules, matching="all").run(Capture(attack1))))


    def test_statistics_are_of_all_runs(self, rules: RuleSet, attack1: object) -> None:
        engine = Engine(rules)
        list(engine.run(Capture(attack1)))
        once = engine.stats()
        list(engine.run([Capture(attack1), Capture(attack1)]))
        list(engine.run([BASH, BASH]))
        stats = engine.stats()
        assert (stats.events, stats.bytes, stats.sections) == (3 * once.events + 2, 3 * once.bytes, 3)
        assert stats.matches == 3 * once.matches + 2 == sum(stats.alerts.values())

    def test_one_capture_object_can_be_read_by_several(self, rules: RuleSet, attack1: object) -> None:
        capture = Capture(attack1)
        assert len(list(Engine(rules).run([capture, capture]))) == 2 * len(list(Engine(rules).run(capture)))

    def test_the_thread_of_a_capture_ends_with_the_run(self, rules: RuleSet, attack1: object) -> None:
        engine = Engine(rules)

        def failing() -> None:
            for _ in engine.run(Capture(attack1)):
                raise LookupError("of the user")

        with pytest.raises(LookupError):
            failing()
        for _ in engine.events(Capture(attack1)):
            break
        alerts = engine.run(Capture(attack1))
        next(alerts)
        alerts.close()                                  # type: ignore[attr-defined]
        for thread in threading.enumerate():
            if thread.name == "falcolib-capture":
                thread.join(120)
                assert not thread.is_alive()

    def test_a_run_left_amid_in_a_circle_of_garbage_is_ended_before_its_engine_is_freed(self, rules: RuleSet, attack1: Path) -> None:
        """A source may ask the engine for its numbers up to its own end."""
        told: list[int] = []

        class Asking(Capture):
            engine: Engine

            def chunks(self) -> Iterator[bytes]:
                try:
                    yield from super().chunks()
                finally:
                    told.append(self.engine.stats().events)

        source = Asking(attack1)
        source.engine = Engine(rules)
        source.run = source.engine.run(source)          # type: ignore[attr-defined]
        next(source.run)                                # type: ignore[attr-defined]
        del source
        gc.collect()
        assert len(told) == 1
        assert told[0] > 0

    def test_an_engine_is_freed_as_soon_as_nobody_has_it(self, rules: RuleSet) -> None:
        engine = Engine(rules)
        gone = weakref.ref(engine._cores[0])
        gc.disable()
        try:
            del engine
            assert gone() is None
        finally:
            gc.enable()


class TestOneRunAtATime:
    def test_a_run_that_was_left_doesnt_disturb_the_next(self, rules: RuleSet, attack1: object) -> None:
        engine = Engine(rules)
        want = [a.id for a in Engine(rules).run(Capture(attack1))]
        left = engine.run(Capture(attack1))
        next(left)
        assert [a.id for a in engine.run(Capture(attack1))] == want

    def test_a_later_run_ends_an_earlier_one(self, rules: RuleSet, attack1: object) -> None:
        engine = Engine(rules)
        earlier = engine.events(Capture(attack1))
        next(earlier)
        next(engine.events(Capture(attack1)))
        with pytest.raises(RuntimeError, match="another run"):
            next(earlier)

    def test_a_call_is_refused_while_the_core_works_for_another_thread(self, rules: RuleSet) -> None:
        engine = Engine(rules)
        with engine._cores[0]._busy, pytest.raises(RuntimeError, match="another thread"):
            list(engine.run([BASH]))

    def test_rules_are_replaced_during_a_run_for_all_its_sources(self, rules: RuleSet, attack1: object) -> None:
        other = falcolib.compile_rules(RuleSet.parse("- {rule: other, desc: d, condition: evt.num > 0, output: x, priority: INFO}"))
        engine = Engine(rules)
        left = [0, 0]
        for alert in engine.run([Slow(attack1), Slow(attack1)]):
            left[alert.rule == "other"] += 1
            engine.replace(other)
        assert left[0] < 60         # of 110: each source is 16 alerts ahead at most, and in the middle of a piece
        assert left[1] > 9000       # of some 20,000 events

    def test_rules_can_be_replaced_and_statistics_read_from_another_thread(self, rules: RuleSet, attack1: object) -> None:
        engine = Engine(rules)
        programs = [falcolib.compile_rules(rules), falcolib.compile_rules(RuleSet())]
        done = threading.Event()

        def replace() -> None:
            for program in itertools.cycle(programs):
                engine.replace(program)
                engine.stats()
                if done.is_set():
                    return

        thread = threading.Thread(target=replace)
        thread.start()
        try:
            for _ in range(3):
                list(engine.run(Capture(attack1)))
        finally:
            done.set()
            thread.join()
        assert engine.stats().sections == 3


class Slow(falcolib.Source):
    """A source of the user's, in small pieces: what derives from Source needs only chunks()."""

    waits = False

    def __init__(self, path: object) -> None:
        self.data = gzip.decompress(path.read_bytes())      # type: ignore[attr-defined]

    def chunks(self) -> Iterator[bytes]:
        for at in range(0, len(self.data), 1000):
            yield self.data[at : at + 1000]


class TestSources:
    def test_a_source_of_the_users_is_run(self, rules: RuleSet, attack1: object) -> None:
        assert [a.id for a in Engine(rules).run(Slow(attack1))] == [a.id for a in Engine(rules).run(Capture(attack1))]

    def test_any_object_with_the_methods_is_a_source_and_is_closed(self, rules: RuleSet) -> None:
        closed: list[bool] = []

        class Nothing:
            name = "syscall"

            def chunks(self) -> list[bytes]:
                return []

            def close(self) -> None:
                closed.append(True)

            def position(self) -> tuple[int, None]:
                return 0, None

        with pytest.raises(falcolib.CaptureError, match="empty"):
            list(Engine(rules).run(Nothing()))              # type: ignore[arg-type]
        assert closed == [True]

    def test_what_a_source_lacks_is_told(self, rules: RuleSet) -> None:
        class Half:
            name = "syscall"

            def chunks(self) -> Iterator[bytes]:
                yield b""

        with pytest.raises(TypeError, match="no close and no position"):
            Engine(rules).run(Half())                       # type: ignore[arg-type]

    def test_chunks_that_arent_bytes_are_told(self, rules: RuleSet) -> None:
        class Text(falcolib.Source):
            def chunks(self) -> Iterator[bytes]:
                yield "text"                                # type: ignore[misc]

        with pytest.raises(TypeError, match="bytes, not str"):
            list(Engine(rules).run(Text()))

    @pytest.mark.parametrize("thing", ["x.scap", b"x.scap", Path("x.scap"), None, 7, BASH])
    def test_what_is_no_source_is_told_at_once(self, rules: RuleSet, thing: object) -> None:
        with pytest.raises(TypeError, match=r"run\(\) takes"):
            Engine(rules).run(thing)                        # type: ignore[arg-type]
        with pytest.raises(TypeError, match=r"events\(\) takes"):
            Engine(rules).events(thing)                     # type: ignore[arg-type]

    def test_sources_and_events_dont_mix(self, rules: RuleSet, attack1: object) -> None:
        with pytest.raises(TypeError, match="both"):
            Engine(rules).run([Capture(attack1), BASH])     # type: ignore[list-item]

    @pytest.mark.parametrize("thing", [None, 7, b"bytes"])
    def test_what_is_no_capture_is_told_at_once(self, thing: object) -> None:
        with pytest.raises(TypeError, match="a capture is a path"):
            Capture(thing)                                  # type: ignore[arg-type]

    def test_an_engine_takes_rules_and_nothing_else(self) -> None:
        with pytest.raises(TypeError, match="RuleSet"):
            Engine("rules.yaml")                            # type: ignore[arg-type]
        with pytest.raises(ValueError, match="threads"):
            Engine(threads=-1)


class TestValues:
    """Alerts and events are values: they compare, can be in sets, and can be sent to other processes."""

    def test_alerts_of_the_same_event_are_equal(self, rules: RuleSet) -> None:
        ((one,), (same,), (other,)) = (Engine(rules, hostname="h").run([e]) for e in (BASH, BASH, BASH | {"proc.name": "sh"}))
        assert one == same != other
        assert len({one, same, other}) == 2

    def test_a_copy_of_an_alert_says_the_same_and_carries_only_its_own_rule(self, rules: RuleSet, attack1: object) -> None:
        many = rules.merge(RuleSet.parse("".join(f"- {{rule: r{n}, desc: d, condition: evt.num={n}, output: x, priority: INFO}}\n"
                                                 for n in range(100))))
        for alert in Engine(many, matching="all").run(Capture(attack1)):
            data = pickle.dumps(alert)
            twin = pickle.loads(data)
            assert twin == alert
            assert (twin.json(), str(twin), twin.id) == (alert.json(), str(alert), alert.id)
            assert twin.event.params == alert.event.params
            assert len(data) < len(pickle.dumps(alert._program)) / 4

    def test_a_copy_of_an_event_has_the_fields_that_were_asked_for(self, attack1: object) -> None:
        for event in Engine().events(Capture(attack1)):
            name = event["proc.name"]
            twin = pickle.loads(pickle.dumps(event))
            assert twin == event
            assert (twin.type, twin.params, twin["proc.name"]) == (event.type, event.params, name)
            with pytest.raises(falcolib.StaleEventError):
                twin["proc.pid"]
            if event.num > 500:
                break


class TestEvents:
    def test_events_without_rules(self, rules: RuleSet, attack1: object) -> None:
        names = set()
        for event in Engine(rules).events(Capture(attack1)):
            if event.type == "openat" and event["fd.name"]:
                names.add(event["fd.name"])
                assert event.params["name"]
        assert "/etc/shadow" in names

    def test_an_event_that_was_left_behind_is_stale(self, rules: RuleSet, attack1: object) -> None:
        events = Engine(rules).events(Capture(attack1))
        first = next(events)
        name = first["proc.name"]
        next(events)
        assert first["proc.name"] == name           # was asked for in time
        with pytest.raises(falcolib.StaleEventError):
            first["proc.pname"]

    def test_unknown_fields_are_refused(self, rules: RuleSet, attack1: object) -> None:
        event = next(Engine(rules).events(Capture(attack1)))
        with pytest.raises(KeyError, match=r"proc\.name"):
            event["proc.nmae"]


class TestPrograms:
    def test_a_program_is_shared_pickled_and_named_by_its_content(self, rules: RuleSet) -> None:
        program = falcolib.compile_rules(rules.rules)
        copy = pickle.loads(pickle.dumps(program))
        assert copy.hash == program.hash == falcolib.compile_rules(rules.rules).hash
        assert [a.message for a in Engine(copy).run([BASH])] == [a.message for a in Engine(program).run([BASH])]

    def test_a_program_of_deeply_nested_conditions_is_pickled(self) -> None:
        inner = "".join(f"(proc.name=a{i} or not (proc.pname=b{i} and " for i in range(450)) + "fd.name=x" + "))" * 450
        rules = RuleSet.parse(f"- {{rule: deep, desc: d, condition: evt.type=open and {inner}, output: x, priority: INFO}}")
        program = falcolib.compile_rules(rules.rules)
        copy = pickle.loads(pickle.dumps(program))
        assert copy == program
        assert [a.rule for a in Engine(copy).run([{"evt.type": "open"}])] == ["deep"]

    def test_engines_in_threads_share_a_program(self, rules: RuleSet, attack1: object) -> None:
        program = falcolib.compile_rules(rules.rules)
        want = [a.id for a in Engine(program).run(Capture(attack1))]
        found: list[list[str]] = []

        def run() -> None:
            found.append([a.id for a in Engine(program).run(Capture(attack1))])

        threads = [threading.Thread(target=run) for _ in range(3)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert found == [want] * 3

    def test_rules_are_replaced_while_the_engine_lives(self, rules: RuleSet) -> None:
        engine = Engine(rules)
        engine.replace(RuleSet.parse("- {rule: other, desc: d, condition: evt.type=execve, output: x, priority: INFO}"))
        assert [a.rule for a in engine.run([BASH])] == ["other"]

    def test_a_hostile_program_is_refused(self, rules: RuleSet) -> None:
        program = falcolib.compile_rules(rules.rules)
        code = bytearray(program.code)
        code[len(code) // 2 :] = b"\xff" * (len(code) - len(code) // 2)
        with pytest.raises(falcolib.ProgramError):
            Engine(dataclasses.replace(program, code=bytes(code)))


def test_regular_expressions_match_the_whole_text_in_linear_time() -> None:
    condition = 'evt.type=open and fd.name regex "(a+)+b?[[:digit:]]"'
    rules = RuleSet.parse(f"- {{rule: r, desc: d, condition: {condition!r}, output: x, priority: INFO}}")
    engine = Engine(rules)
    events = [{"evt.type": "open", "fd.name": name} for name in ("aab1", "aab12", "xaab1", "a" * 50_000)]
    assert [a.event.num for a in engine.run(events)] == [1]
