# SPDX-License-Identifier: Apache-2.0
"""What all tests share. Tests that need data from outside the repository are marked, and skipped by name where it is missing."""

import atexit
import os
import pathlib
import shutil
import tempfile

import hypothesis
import pytest

import falcolib._falcolib

ROOT = pathlib.Path(__file__).resolve().parent.parent
DATA = ROOT / "tests" / "data"
CONFORMANCE = ROOT / os.environ.get("CONFORMANCE", "../shared/conformance")
SPEC = ROOT / os.environ.get("SPEC", "../shared/spec")

os.environ.pop("PYTHONUNBUFFERED", None)    # commands are tested as users run them
for name in ("http_proxy", "https_proxy", "all_proxy", "no_proxy"):         # what receivers on the loopback are sent goes straight there
    os.environ.pop(name, None)
    os.environ.pop(name.upper(), None)
os.environ["FALCOLIB_CACHE"] = tempfile.mkdtemp(prefix="falcolib-cache-")       # not the user's
atexit.register(shutil.rmtree, os.environ["FALCOLIB_CACHE"], ignore_errors=True)

hypothesis.settings.register_profile("falcolib", deadline=None, derandomize=True,
                                     max_examples=30 if os.environ.get("FALCOLIB_SANITIZED") else 100)
hypothesis.settings.load_profile("falcolib")


def pytest_configure() -> None:
    """A run that is to be under the sanitizers and isn't would find nothing, and say so."""
    core = pathlib.Path(falcolib._falcolib.__file__)
    if os.environ.get("FALCOLIB_SANITIZED") and b"__asan_" not in core.read_bytes():
        raise pytest.UsageError(f"{core} is not built with the sanitizers")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for name, folder in (("conformance", CONFORMANCE), ("spec", SPEC)):
        if not folder.is_dir():
            skip = pytest.mark.skip(reason=f"no {name} data in {folder}: set {name.upper()}")
            for item in items:
                if name in item.keywords:
                    item.add_marker(skip, append=False)


@pytest.fixture
def conformance() -> pathlib.Path:
    """The folder of the conformance data; for tests marked ``conformance``."""
    return CONFORMANCE


@pytest.fixture
def attack1() -> pathlib.Path:
    """A capture of 40 actions that rules alert on."""
    return DATA / "attack1.scap"
