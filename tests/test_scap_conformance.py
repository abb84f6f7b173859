# SPDX-License-Identifier: Apache-2.0
"""The reader against Falco's answers: numbers, types, times, CPUs and threads of events, and their parameters, after conversion."""

import json
import lzma
import pathlib

import pytest

from conftest import CONFORMANCE
from falcolib import Capture
from scapwriter import new_engine

MISSING = [pathlib.Path("missing")]
CAPTURES = sorted(CONFORMANCE.glob("captures/*.scap")) or MISSING
ROWS = sorted(CONFORMANCE.glob("syscall/*.fields.jsonl.xz")) or MISSING
#: Parameters of which Falco prints the number, decimal or hexadecimal, perhaps with its meaning in parentheses.
NUMBERS = {"res", "fd", "size", "offset", "length", "vm_size", "vm_rss", "pgft_maj", "pgft_min", "queuepct", "addr", "dirfd"}


@pytest.mark.conformance
@pytest.mark.parametrize("capture", CAPTURES, ids=lambda p: p.stem)
def test_a_capture_is_read_to_its_end(capture: pathlib.Path) -> None:
    engine = new_engine()
    seen = sum(1 for _ in engine.events(Capture(capture)))
    stats = engine.stats()
    assert 0 < seen <= stats.events
    assert stats.records == stats.events + stats.stored + stats.dropped + stats.unknown
    assert stats.unknown == stats.evicted == stats.skipped_blocks == 0


@pytest.mark.conformance
@pytest.mark.parametrize("rows", ROWS, ids=lambda p: p.name.split(".fields")[0])
def test_events_are_those_that_falco_saw(rows: pathlib.Path, conformance: pathlib.Path) -> None:
    name = rows.name.removesuffix(".fields.jsonl.xz")
    with lzma.open(rows, "rt") as lines:
        next(lines)
        wanted = {row["evt.num"]: row for row in map(json.loads, lines)}
    assert wanted
    for event in new_engine().events(Capture(conformance / "captures" / f"{name}.scap")):
        row = wanted.pop(event.num, None)
        if row is None:
            continue
        assert (event.type, event.time, event.cpu) == (row["evt.type"], row["evt.rawtime"], row["evt.cpu"]), event.num
        if row.get("thread.tid") is not None:
            assert event.tid == row["thread.tid"], event.num
        _check_params(event.params, row.get("evt.args") or "", event.num)
    assert not wanted, "events that the reader doesn't deliver"


def _check_params(params: dict[str, int | float | str | bytes | None], args: str, num: int) -> None:
    for part in args.split(" "):
        name, equals, text = part.partition("=")
        value = params.get(name)
        if not equals or name not in NUMBERS or not isinstance(value, int) or text == "<NA>":
            continue
        number, bits = text.split("(")[0], value & (1 << 64) - 1  # offsets are unsigned in the schema, and printed with a sign
        assert number in (str(value), str(bits - (1 << 64)), f"{bits:X}"), (num, part, value)
