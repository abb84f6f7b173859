# SPDX-License-Identifier: Apache-2.0
"""Settings: falco.yaml's keys and what their values may be."""

import pytest

from falcolib import Priority
from falcolib.settings import KEYS, Settings, read_settings


def test_later_values_win_and_the_others_stay() -> None:
    settings = read_settings(["priority=error", "json_output=true", "priority=info", "json_include_tags_property=off"])
    assert settings.priority is Priority.INFORMATIONAL
    assert settings.json_output
    assert not settings.format.json_include_tags_property
    assert settings.format.json_include_output_property


@pytest.mark.parametrize(("text", "ns"), [("100ms", 10**8), ("1s", 10**9), ("1h30m", 5400 * 10**9), ("2m5s", 125 * 10**9)])
def test_durations_are_prometheus(text: str, ns: int) -> None:
    assert Settings().set("metrics.interval", text).metrics.interval == ns


@pytest.mark.parametrize(
    ("option", "says"),
    [
        ("json_output", "expected key=value"),
        ("json_output=maybe", "true or false"),
        ("priority=urgent", "expected one of emergency"),
        ("rule_matching=some", "first or all"),
        ("jsn_output=true", "did you mean 'json_output'?"),
        ("metrics.interval=5", "with units"),
        ("metrics.interval=", "with units"),
        ("metrics.interval=1m2h", "with units"),
        ("metrics.interval=99ms", "at least 100 ms"),
        ("metrics.enable=true", "did you mean 'metrics.enabled'?"),
    ],
)
def test_what_doesnt_fit_is_told(option: str, says: str) -> None:
    with pytest.raises(ValueError, match=says) as told:
        read_settings([option])
    assert option in str(told.value)


def test_every_key_has_a_place() -> None:
    for key, (place, _) in KEYS.items():
        at: object = Settings()
        for name in place.split("."):
            at = getattr(at, name)
        assert isinstance(at, bool | int | str | Priority), key
