# SPDX-License-Identifier: Apache-2.0
"""Engine.stream(): alerts for asynchronous code."""

from __future__ import annotations

import asyncio
import pathlib

import pytest

from falcolib import Capture, CaptureError, Engine, RuleSet
from test_together import RULES, Pushed, program, threads, wait_until


@pytest.fixture(scope="module")
def rules() -> RuleSet:
    return RuleSet.parse(RULES, name="rules.yaml")


def test_the_alerts_are_those_of_run(rules: RuleSet, attack1: pathlib.Path) -> None:
    async def collect() -> list[str]:
        return [str(alert) async for alert in Engine(rules, hostname="h").stream(Capture(attack1))]

    assert asyncio.run(collect()) == [str(alert) for alert in Engine(rules, hostname="h").run(Capture(attack1))] != []


def test_the_event_loop_goes_on_while_a_source_waits(rules: RuleSet) -> None:
    source = Pushed()

    async def main() -> list[object]:
        found: list[object] = []

        async def read() -> None:
            async for alert in Engine(rules).stream(source):
                found.append(alert.fields["proc.name"])

        reading = asyncio.create_task(read())
        for n in range(3):
            await asyncio.sleep(0)
            source.push(program(f"p{n}", n))
            while len(found) <= n:
                await asyncio.sleep(0.001)
        source.push(None)
        await asyncio.wait_for(reading, 240)
        return found

    assert asyncio.run(main()) == ["p0", "p1", "p2"]
    wait_until(lambda: not threads())


def test_cancelling_ends_the_run_and_closes_the_sources(rules: RuleSet) -> None:
    sources = [Pushed(), Pushed()]
    sources[0].push(program("p", 1))

    async def main() -> int:
        found = 0

        async def read() -> None:
            nonlocal found
            async for _ in Engine(rules).stream(sources):
                found += 1

        reading = asyncio.create_task(read())
        while not found:
            await asyncio.sleep(0.001)
        reading.cancel()
        with pytest.raises(asyncio.CancelledError):
            await reading
        return found

    assert asyncio.run(main()) == 1
    assert all(source.closed for source in sources)
    wait_until(lambda: not threads())


def test_closing_the_iterator_ends_the_run(rules: RuleSet) -> None:
    source = Pushed()
    source.push(program("p", 1), program("p", 2))

    async def main() -> None:
        alerts = Engine(rules).stream(source)
        await alerts.__anext__()
        await alerts.aclose()               # type: ignore[attr-defined]

    asyncio.run(main())
    assert source.closed
    wait_until(lambda: not threads())


def test_the_run_waits_for_who_asks(rules: RuleSet) -> None:
    source = Pushed()
    source.push(*(program("p", n) for n in range(50)), None)

    async def main() -> None:
        alerts = Engine(rules).stream(source)
        await alerts.__anext__()
        await asyncio.sleep(0.1)
        assert source.taken <= 3
        assert len([alert async for alert in alerts]) == 49

    asyncio.run(main())


def test_errors_arrive(rules: RuleSet, tmp_path: pathlib.Path) -> None:
    bad = tmp_path / "bad"
    bad.write_bytes(b"no capture at all")

    async def main() -> None:
        async for _ in Engine(rules).stream(Capture(bad)):
            pass

    with pytest.raises(CaptureError):
        asyncio.run(main())
    with pytest.raises(TypeError, match="not a path"):
        Engine(rules).stream("trace.scap")  # type: ignore[arg-type]
    wait_until(lambda: not threads())
