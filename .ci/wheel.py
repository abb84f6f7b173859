# SPDX-License-Identifier: Apache-2.0
"""What users install: the source distribution holds all that a build needs, and gives one wheel for every Python from 3.10.

Builds both, and installs the wheel into a fresh virtual environment of each Python that is here: those on PATH and pyenv's. In each
it replays the bundled capture with the packaged rules, and mypy reads the types of the installed package.
"""

import os
import pathlib
import shutil
import subprocess
import sys
import tarfile
import tempfile
import zipfile

ROOT = pathlib.Path(__file__).resolve().parent.parent
CAPTURE = ROOT / "tests" / "data" / "attack1.scap"
RULES = ROOT / "rules" / "falcolib_rules.yaml"
IN_SOURCES = ("csrc/falcolib.h", "csrc/schema/events.def", "rules/falcolib_rules.yaml", "rules/k8s_audit_rules.yaml",
              "src/falcolib/__init__.py", "setup.py", "LICENSE")
IN_WHEEL = ("falcolib/_falcolib.abi3.so", "falcolib/data/falcolib_rules.yaml", "falcolib/data/k8s_audit_rules.yaml",
            "falcolib/kubernetes/audit-policy.yaml", "falcolib/py.typed", "falcolib/__init__.py", "pytest_falcolib.py")
USER = """
import falcolib
for alert in falcolib.Engine(falcolib.RuleSet.load("x.yaml")).run(falcolib.Capture("x.scap")):
    text: str = alert.rule
    wrong: bytes = alert.message
"""


def sh(*command: object, cwd: pathlib.Path = ROOT) -> str:
    """Standard output of a command that succeeds."""
    run = subprocess.run([str(c) for c in command], cwd=cwd, capture_output=True, text=True)
    if run.returncode:
        sys.exit(f"{run.stdout}{run.stderr}\nError: status {run.returncode}: {' '.join(map(str, command))}")
    return run.stdout


def pythons() -> list[str]:
    """One interpreter of each version from 3.10 on."""
    pyenv = pathlib.Path(os.environ.get("PYENV_ROOT", "~/.pyenv")).expanduser() / "versions"
    found: dict[str, str] = {}
    for path in [sys.executable, *(shutil.which(f"python3.{n}") for n in range(10, 20)), *map(str, pyenv.glob("3.*/bin/python3"))]:
        if path:
            probe = "import sys, ensurepip, venv; print('%d.%02d' % sys.version_info[:2])"
            run = subprocess.run([path, "-c", probe], capture_output=True, text=True)
            if run.returncode == 0 and run.stdout.strip() >= "3.10":
                found.setdefault(run.stdout.strip(), path)
    return [found[version] for version in sorted(found)]


def lacking(what: pathlib.Path, names: set[str], wanted: tuple[str, ...]) -> None:
    """Ends with an error if a file isn't in the archive."""
    if missing := [name for name in wanted if name not in names]:
        sys.exit(f"Error: {what.name} lacks {', '.join(missing)}")


def built(folder: pathlib.Path) -> pathlib.Path:
    """The wheel, built from an unpacked source distribution."""
    sh(sys.executable, "-c", f"from setuptools import build_meta; build_meta.build_sdist({str(folder)!r})")
    (sdist,) = folder.glob("*.tar.gz")
    with tarfile.open(sdist) as tar:
        lacking(sdist, {name.partition("/")[2] for name in tar.getnames()}, IN_SOURCES)
    sh(sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps", "--no-build-isolation", "-w", folder, sdist)
    (wheel,) = folder.glob("*.whl")
    if "-cp310-abi3-linux_" not in wheel.name:
        sys.exit(f"Error: {wheel.name} is not for the stable ABI of CPython 3.10")
    with zipfile.ZipFile(wheel) as archive:
        lacking(wheel, set(archive.namelist()), IN_WHEEL)
    print(f"{sdist.name}: {sdist.stat().st_size >> 10} KiB; {wheel.name}: {wheel.stat().st_size >> 10} KiB")
    return wheel


def main() -> None:
    """Ends with an error if a user would meet one."""
    with tempfile.TemporaryDirectory() as temporary:
        folder = pathlib.Path(temporary)
        wheel, alerts = built(folder), set()
        (folder / "user.py").write_text(USER)
        for python in pythons():
            venv = folder / "venv"
            sh(python, "-m", "venv", "--clear", venv)
            sh(venv / "bin/pip", "install", "--quiet", "--disable-pip-version-check", wheel)
            # outside the repository, so that nothing of it is found but what is installed
            packaged = sh(venv / "bin/falcolib", "run", "--capture", CAPTURE, cwd=folder)
            if not packaged or packaged != sh(venv / "bin/python", "-m", "falcolib", "run", "-r", RULES, "--capture", CAPTURE, cwd=folder):
                sys.exit(f"Error: {python}: the packaged rules don't give the repository's alerts")
            for lines in (sh(venv / "bin/falcolib", "rules", "syscall", cwd=folder),
                          sh(venv / "bin/python", "-c", "import falcolib; print(falcolib.bundled_rules())", cwd=folder)):
                path = pathlib.Path(lines.strip())
                if not path.is_relative_to(venv) or path.read_text() != RULES.read_text():
                    sys.exit(f"Error: {python}: {path} is not the packaged rules")
            types = subprocess.run([sys.executable, "-m", "mypy", "--strict", f"--python-executable={venv}/bin/python", "user.py"],
                                   cwd=folder, capture_output=True, text=True).stdout
            if types.count("error:") != 1 or "user.py:5: error: Incompatible types in assignment" not in types:
                sys.exit(f"{types}\nError: {python}: mypy doesn't see the types of the installed package")
            alerts.add(packaged)
            print(f"{sh(python, '--version').strip()}: installed, {packaged.count(chr(10))} alerts, typed", flush=True)
        if len(alerts) != 1:
            sys.exit("Error: alerts differ between versions of Python")


if __name__ == "__main__":
    main()
