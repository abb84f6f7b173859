# SPDX-License-Identifier: Apache-2.0
"""Who may call whom, as docs/architecture.md has it: arrows only point down."""

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from conftest import ROOT

PACKAGE = ROOT / "src" / "falcolib"
#: Of csrc, from the top.
CORE = ("engine", "vm", "fields", "state", "source", "json", "schema", "base")


def layers() -> dict[str, int]:
    """The parts of the package, with the number of their line: 0 is the lowest."""
    page = (ROOT / "docs" / "architecture.md").read_text()
    (block,) = re.findall(r"Arrows only point down.*?```python\n(.*?)```", page, re.S)
    return {part: -number for number, line in enumerate(block.splitlines()) for part in line.split()}


LAYERS = layers()


def part_of(module: str) -> str:
    """The longest of the parts that a module belongs to: ``rules.ast`` is none of ``rules``."""
    return max((part for part in LAYERS if f"{module}.".startswith(f"{part}.")), key=len, default=module)


def modules() -> Iterator[tuple[str, Path]]:
    for path in sorted(PACKAGE.rglob("*.py")):
        parts = path.relative_to(PACKAGE).with_suffix("").parts
        yield ".".join(parts[:-1] if parts[-1] == "__init__" else parts), path


MODULES = dict(modules())


def imported(module: str, path: Path) -> Iterator[str]:
    """The modules of the package that a module imports, at any time; not those that are only for type checkers."""
    package = module.split(".") if path.name == "__init__.py" and module else module.split(".")[:-1]
    todo: list[ast.AST] = [ast.parse(path.read_text())]
    while todo:
        node = todo.pop()
        if isinstance(node, ast.If) and isinstance(node.test, ast.Name) and node.test.id == "TYPE_CHECKING":
            continue
        todo += ast.iter_child_nodes(node)
        if isinstance(node, ast.Import):
            assert not [name for name in node.names if name.name.startswith("falcolib.")], f"{module}: imports within are relative"
        if isinstance(node, ast.ImportFrom) and node.level:
            base = [*package[:len(package) - node.level + 1], *(node.module or "").split(".")]
            for name in node.names:
                full = ".".join(filter(None, [*base, name.name]))
                yield full if full in MODULES else ".".join(filter(None, base))


def test_every_module_has_a_place() -> None:
    missing = {module for module in MODULES if module and part_of(module) not in LAYERS}
    assert not missing
    assert not {part for part in LAYERS if part not in MODULES}


@pytest.mark.parametrize("module", [module for module in MODULES if module])
def test_imports_point_down(module: str) -> None:
    for other in imported(module, MODULES[module]):
        if other in ("", "_falcolib"):          # __version__; the compiled module, see below
            continue
        same = part_of(other) == part_of(module)
        assert same or LAYERS[part_of(other)] < LAYERS[part_of(module)], f"{module} imports {other}, which is not below it"


def test_one_module_imports_the_compiled_one() -> None:
    assert [module for module, path in MODULES.items() if "_falcolib" in imported(module, path)] == ["_native"]


@pytest.mark.parametrize("folder", CORE)
def test_includes_of_the_core_point_down(folder: str) -> None:
    below = set(CORE[CORE.index(folder):]) | {"bpf"}            # what the probe and its reader share; it includes nothing of the core
    for path in (ROOT / "csrc" / folder).glob("*.[ch]"):
        for other in re.findall(r'^#include "(?:\.\./)?(\w+)/', path.read_text(), re.M):
            assert other in below, f"{path.name} includes {other}/, which is not below {folder}/"
