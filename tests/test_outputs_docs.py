# SPDX-License-Identifier: Apache-2.0
"""The example of docs/outputs.md runs, and prints what it says."""

import re

import pytest

from conftest import ROOT
from receivers import HttpReceiver

pytestmark = pytest.mark.daemon


def test_the_example_runs(tmp_path, monkeypatch, capsys):
    (code,) = re.findall(r"```python\n(.*?)```", (ROOT / "docs" / "outputs.md").read_text(), re.S)
    monkeypatch.chdir(tmp_path)
    (tmp_path / "rules").symlink_to(ROOT / "rules")
    (tmp_path / "tests").symlink_to(ROOT / "tests")
    with HttpReceiver() as receiver:
        exec(compile(code.replace("http://localhost:2801", receiver.url), "docs/outputs.md", "exec"), {})
    *alerts, counts = capsys.readouterr().out.splitlines()
    assert counts.startswith(re.search(r"# (Counts\(.*), …\)", code)[1])
    assert len((tmp_path / "alerts.jsonl").read_text().splitlines()) == len(alerts) == 26
    assert 0 < len(receiver.requests) < 26
