# SPDX-License-Identifier: Apache-2.0
"""deploy/falcolib.service: a unit file that systemd takes, whose privileges are few, and enough."""

from __future__ import annotations

import configparser
import re
import shutil
import subprocess
import sys
import time
from pathlib import Path

import pytest

from live import PATIENCE, needs_live, until_watching

pytestmark = pytest.mark.daemon
UNIT = Path(__file__).parent.parent / "deploy" / "falcolib.service"
needs_systemd = pytest.mark.skipif(shutil.which("systemd-analyze") is None, reason="needs systemd-analyze (Debian: systemd)")

RULES = """\
- rule: Program
  desc: A program was started.
  condition: evt.type = execve and proc.args contains falcolib-unit-test
  output: "program %proc.name of %user.name in %proc.cwd under %proc.pname"
  priority: NOTICE
"""


def setting(name: str) -> str:
    unit = configparser.RawConfigParser(strict=False, comment_prefixes="#", delimiters="=")
    unit.optionxform = str                      # type: ignore[assignment,method-assign]
    unit.read(UNIT)
    return unit["Service"][name]


@needs_systemd
def test_systemd_takes_it(tmp_path: Path) -> None:
    unit = tmp_path / "falcolib.service"
    unit.write_text(UNIT.read_text().replace("/usr/bin/falcolib", sys.executable))
    done = subprocess.run(["systemd-analyze", "verify", str(unit)], capture_output=True, text=True, timeout=PATIENCE)
    complaints = [line for line in done.stderr.splitlines() if "falcolib.service" in line]
    assert not complaints


@needs_systemd
def test_little_is_exposed() -> None:
    """systemd rates what a service could do, from 0 (nothing) to 10."""
    done = subprocess.run(["systemd-analyze", "security", "--offline=true", "--threshold=30", str(UNIT)], capture_output=True, text=True,
                          timeout=PATIENCE)
    assert done.returncode == 0, done.stdout.splitlines()[-1]


def test_the_command_is_one(tmp_path: Path) -> None:
    words = setting("ExecStart").split()
    assert words[0].endswith("/falcolib")
    (tmp_path / "rules.yaml").write_text(RULES)
    (tmp_path / "falco.yaml").write_text(f"rules_files: [{tmp_path}/rules.yaml]\n")
    arguments = [word.replace("/etc/falco/falco.yaml", f"{tmp_path}/falco.yaml") for word in words[1:]]
    subprocess.run([sys.executable, "-m", "falcolib", *arguments, "--dry-run"], check=True, timeout=PATIENCE)


@pytest.mark.skipif(shutil.which("setpriv") is None, reason="needs setpriv (Debian: util-linux)")
class TestPrivileges:
    pytestmark = needs_live

    def test_they_are_enough(self, tmp_path: Path) -> None:
        """A run that has no other privileges, and may make no memory executable, sees programs start."""
        (tmp_path / "rules.yaml").write_text(RULES)
        keep = ",".join("+" + name.removeprefix("CAP_").lower() for name in setting("CapabilityBoundingSet").split())
        limits = ["setpriv", f"--inh-caps=-all,{keep}", f"--bounding-set=-all,{keep}"]
        limits += ["--no-new-privs"] if setting("NoNewPrivileges") == "yes" else []
        assert setting("MemoryDenyWriteExecute") == "yes"
        start = "import ctypes, os, sys; ctypes.CDLL(None).prctl(65, 1, 0, 0, 0); os.execv(sys.executable, [sys.executable, *sys.argv[1:]])"
        arguments = ["-m", "falcolib", "run", "-r", str(tmp_path / "rules.yaml"), "--no-cache", "-o", "json_output=true"]
        with subprocess.Popen([*limits, sys.executable, "-c", start, *arguments], stdout=subprocess.PIPE, stderr=subprocess.PIPE,
                              text=True) as run:
            try:
                until_watching(run)
                until = time.monotonic() + PATIENCE
                while time.monotonic() < until and run.poll() is None:
                    subprocess.run(["/bin/true", "falcolib-unit-test"], check=True)
                    time.sleep(0.2)
                    if self._found(run):
                        break
                run.terminate()
                out, told = run.communicate(timeout=PATIENCE)
            finally:
                run.kill()
        assert run.returncode == 0, told
        assert re.search(r"program true of \S+ in \S+ under \S+", out)

    @staticmethod
    def _found(run: subprocess.Popen[str]) -> bool:
        import select

        assert run.stdout is not None
        return bool(select.select([run.stdout], [], [], 0)[0])
