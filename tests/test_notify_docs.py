# SPDX-License-Identifier: Apache-2.0
"""Every example of docs/notifications.md is a configuration that loads, and makes the outputs that it enables."""

import collections
import re
from pathlib import Path

import pytest
import yaml

from falcolib.config import load
from falcolib.config.keys import fields
from falcolib.outputs import notify

pytestmark = pytest.mark.daemon

TEXT = (Path(__file__).parent.parent / "docs" / "notifications.md").read_text("utf-8")
EXAMPLES = re.findall(r"^```yaml\n(.*?)^```", TEXT, re.DOTALL | re.MULTILINE)


class Variables(collections.defaultdict):
    """All are set: those that are whole addresses to one."""

    def __missing__(self, name):
        return f"https://example.org/{name}" if name in ("SLACK_WEBHOOK", "TEAMS_WORKFLOW") else f"value-of-{name}"

    def get(self, name, default=None):
        return self[name]

    def __contains__(self, name):
        return True


@pytest.mark.parametrize("example", EXAMPLES, ids=[example.partition(":")[0] + str(at) for at, example in enumerate(EXAMPLES)])
def test_an_example_loads(tmp_path, example):
    file = tmp_path / "falco.yaml"
    file.write_text(example)
    configuration = load(str(file), environ=Variables())
    assert not configuration.origin.warnings
    enabled = [key for key in notify.OUTPUTS if getattr(configuration, key).enabled]
    assert enabled == list(yaml.safe_load(example))
    for key in enabled:
        made = notify.output(key, getattr(configuration, key))
        assert key == f"{made.name}_output"
        made.close()
    for value in (repr(configuration), repr(configuration.origin)):
        assert not re.search(r"value-of-|hooks.slack|discord.com/api", value)


def test_there_is_an_example_of_each():
    shown = {key for example in EXAMPLES for key in yaml.safe_load(example)}
    assert shown == set(notify.OUTPUTS)


def test_every_function_of_templates_is_named():
    from falcolib.outputs.notify.templates import FUNCTIONS

    named = re.search(r"and the functions\n(.*?)\. Not there", TEXT, re.DOTALL)[1]
    assert sorted(re.split(r",\s+", named)) == sorted(FUNCTIONS)


@pytest.mark.parametrize("key", notify.OUTPUTS)
def test_every_key_is_used(key):
    """A key that nothing reads is a promise that isn't kept."""
    group, module, _ = notify.OUTPUTS[key]
    folder = Path(notify.__file__).parent
    source = "".join((folder / name).read_text("utf-8") for name in (f"{module}.py", "base.py", "__init__.py"))
    unused = [name for name in fields(group) if not re.search(rf"\b{name}\b", source)]
    assert unused == []
