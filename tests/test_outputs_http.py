# SPDX-License-Identifier: Apache-2.0
"""http_output: what is sent, as Falco sends it, and to a receiver that is as strict as falcosidekick."""

import json
import pathlib
import re

import pytest

from falcolib import Capture, Engine, Priority, RuleSet
from falcolib.outputs import Channel, HttpOutput, OutputError, Retry
from messages import PATIENCE, message, patient, until
from receivers import HttpReceiver

pytestmark = pytest.mark.daemon

QUICK = Retry(attempts=3, first=0.001, most=0.01)


@pytest.fixture
def receiver():
    with HttpReceiver() as receiver:
        yield receiver


@pytest.fixture
def alerts(attack1):
    rules = RuleSet.load(pathlib.Path(__file__).parents[1] / "rules" / "falcolib_rules.yaml")
    return list(Engine(rules, hostname="host").run(Capture(attack1)))


def test_a_body_is_an_alerts_line(receiver, alerts):
    with patient([HttpOutput(receiver.url)]) as outputs:
        for alert in alerts:
            outputs.emit(alert)
    assert [r.text for r in receiver.requests] == [str(a) for a in alerts]
    headers = receiver.requests[0].headers
    assert (headers["content-type"], headers["user-agent"]) == ("text/plain", "falcosecurity/falco")
    assert "content-encoding" not in headers
    assert {r.connection for r in receiver.requests} == {1}, "the connection is kept"


def test_json_agents_and_compression(receiver, alerts):
    with patient([HttpOutput(f'"{receiver.url}/x"', json=True, user_agent="me", compress=True)]) as outputs:
        for alert in alerts:
            outputs.emit(alert)
    assert [r.text for r in receiver.requests] == [a.json() for a in alerts]
    request = receiver.requests[0]
    assert (request.headers["content-type"], request.headers["user-agent"], request.headers["content-encoding"]) == (
        "application/json", "me", "gzip")
    assert request.path == "/x"
    assert len(request.body) == int(request.headers["content-length"])
    assert request.body[:2] == b"\x1f\x8b"


def falcosidekick(request):
    """The checks of falcosidekick, as it answers: spec, kubernetes.md 6."""
    bad = (400, {}, b"Please send a valid request body")
    if request.method != "POST" or not request.body:
        return bad
    try:
        payload = json.loads(request.text)
        priority = payload["priority"].lower()
        known = priority in {"emergency", "alert", "critical", "error", "warning", "notice", "informational", "info", "debug"}
        time = re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d{1,9})?(Z|[+-]\d\d:\d\d)", payload["time"])
        fine = known and payload["rule"] and time and isinstance(payload["output_fields"], dict) and payload["output_fields"]
        fine = fine and isinstance(payload["output"], str) and isinstance(payload["source"], str) and isinstance(payload["hostname"], str)
        fine = fine and all(isinstance(tag, str) for tag in payload.get("tags", []))
    except (ValueError, KeyError, AttributeError):
        return bad
    return (200, {}, b"") if fine else bad


def test_falcosidekick_takes_every_alert(receiver, alerts):
    receiver.answer = falcosidekick
    sent = [*alerts, message()]
    with patient([HttpOutput(receiver.url, json=True)]) as outputs:
        for alert in sent:
            outputs.emit(alert)
    assert outputs.counts()["http"].delivered == len(sent)
    assert outputs.counts()["http"].failed == 0
    assert falcosidekick(receiver.requests[0]._replace(body=b"{}"))[0] == 400
    assert falcosidekick(receiver.requests[0]._replace(body=receiver.requests[0].body.replace(b'"time":"20', b'"time":"xx')))[0] == 400


def test_text_is_not_for_falcosidekick(receiver, alerts, caplog):
    receiver.answer = falcosidekick
    with patient([HttpOutput(receiver.url)]) as outputs:
        outputs.emit(alerts[0])
    assert outputs.counts()["http"].dropped == 1
    assert "status 400: Please send a valid request body" in caplog.text


def test_answers_are_echoed(receiver, capfd):
    receiver.answer = lambda request: (200, {}, b"thank\x1b[31m you")
    for echo in (False, True):
        with patient([HttpOutput(receiver.url, echo=echo)]) as outputs:
            outputs.emit(message())
        assert capfd.readouterr().out == ("thank\ufffd[31m you\n" if echo else "")


@pytest.mark.parametrize("keep_alive", [False, True])
def test_idle_connections_are_kept_alive(receiver, keep_alive):
    with patient([HttpOutput(receiver.url, keep_alive=keep_alive)]) as outputs:
        outputs.emit(message())
        until(lambda: outputs.counts()["http"].delivered)       # and answered: no other timer runs
        rows = [line.split() for line in pathlib.Path("/proc/net/tcp").read_text().splitlines()]
        ours = [row for row in rows if row[2] == f"0100007F:{receiver.port:04X}" and row[3] == "01"]
        assert {row[5].split(":")[0] for row in ours} == {"02" if keep_alive else "00"}, "timer 02 is that of keep-alive probes"


def test_what_a_receiver_refuses_for_now_is_tried_again(receiver):
    receiver.mode, receiver.status = "status", 503
    with patient([Channel(HttpOutput(receiver.url), retry=Retry(attempts=0, first=0.001, most=0.01))]) as outputs:
        outputs.emit(message(1))
        until(lambda: outputs.counts()["http"].failed > 2)
        receiver.mode = "ok"
    assert len(receiver.requests) == 1
    assert outputs.counts()["http"].delivered == 1


def test_an_answer_that_never_ends_is_cut_off(receiver):
    """Each piece of it comes in time."""
    receiver.mode = "trickle"
    output = HttpOutput(receiver.url, timeout=10)
    output.limit = 0.2
    with patient([Channel(output, retry=Retry(attempts=0, first=0.001, most=0.01))], timeout=0.1) as outputs:
        outputs.emit(message())
        until(lambda: outputs.counts()["http"].failed)
        output.limit = PATIENCE
        receiver.mode = "ok"
    assert outputs.counts()["http"].delivered == 1


def test_reopening_keeps_what_works(receiver, tmp_path):
    with patient([HttpOutput(receiver.url)]) as outputs:
        outputs.emit(message(1))
        until(lambda: receiver.requests)
        outputs.reopen()
        outputs.emit(message(2))
    assert [r.connection for r in receiver.requests] == [1, 2]


def test_a_url_must_be_one():
    with pytest.raises(OutputError):
        HttpOutput("")


@pytest.mark.parametrize("url", ["http://me:secret@h:x/", "http://me:secret@[", "me:secret@h", "ftp://me:secret@h"])
def test_the_password_in_a_url_that_is_none_is_not_told(url):
    with pytest.raises(OutputError, match=r"^'[^@]+' is no .*URL$"):
        HttpOutput(url)


def test_priorities_are_full_names(receiver):
    with patient([HttpOutput(receiver.url, json=True)]) as outputs:
        for priority in Priority:
            outputs.emit(message(priority=priority))
    assert [r.json()["priority"] for r in receiver.requests][6] == "Informational"
