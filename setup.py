# SPDX-License-Identifier: Apache-2.0
"""Builds the C core (csrc/) as falcolib._falcolib: one cffi module in API mode, for the stable ABI of CPython 3.10 and later.

Switches, from the environment: SANITIZE=1 builds with AddressSanitizer and UndefinedBehaviorSanitizer, COVERAGE=1 for gcov.
"""

import importlib.util
import os
import pathlib
import shlex
import shutil
import subprocess
import sys
import tempfile

from cffi import FFI

CSRC = pathlib.Path("csrc")
#: Where the build keeps its files: apart for each kind, so that objects of one are never taken for another's.
BUILD = pathlib.Path("build") / ("sanitized" if os.environ.get("SANITIZE") else "coverage" if os.environ.get("COVERAGE") else "plain")
SANITIZE = ["-fsanitize=address,undefined", "-fno-sanitize-recover=undefined", "-fno-omit-frame-pointer"]
COVERAGE = ["--coverage", "-fprofile-update=atomic"]
FLAGS = ["-std=gnu11", "-fvisibility=hidden", "-Wall", "-Wextra"]


def switches() -> tuple[list[str], list[str]]:
    """Flags of the compiler and of the linker."""
    compile_, link = [*FLAGS, "-O2", "-g", "-pthread"], ["-pthread"]
    if os.environ.get("SANITIZE"):
        compile_ += SANITIZE
        link += SANITIZE
    if os.environ.get("COVERAGE"):
        compile_ += [*COVERAGE, "-O0"]
        link += COVERAGE
    return compile_, link


def core() -> FFI:
    """The cffi module: csrc/falcolib.h is both its declarations and its header."""
    ffi = FFI()
    header = (CSRC / "falcolib.h").read_text()
    ffi.cdef("\n".join(line for line in header.splitlines() if not line.startswith("#")))
    ffi.cdef('extern "Python" int falcolib_regex(void *handle, uint32_t pattern, const char *subject, size_t len);')
    ffi.cdef('extern "Python" int falcolib_write(void *handle, const uint8_t *bytes, size_t len);')
    sources = sorted(str(p) for p in CSRC.glob("*/*.c") if p.parts[1] != "bpf")
    compile_, link = switches()
    ffi.set_source("falcolib._falcolib", '#include "falcolib.h"', sources=sources, include_dirs=[str(CSRC)],
                   extra_compile_args=compile_, extra_link_args=link,
                   depends=sorted(map(str, [*CSRC.glob("**/*.h"), *CSRC.glob("**/*.def")])))
    return ffi


def run(*command: object) -> str:
    """Standard output of a command.

    Raises subprocess.CalledProcessError if it fails; what it says goes to our standard error.
    """
    return subprocess.run([str(c) for c in command], check=True, stdout=subprocess.PIPE, text=True).stdout


def bpf_compiler() -> list[str] | None:
    """A C compiler for BPF: $BPF_CLANG, a clang of the system, or the one in PyPI's ziglang; None if there is none."""
    for name in (os.environ.get("BPF_CLANG"), "clang", *(f"clang-{n}" for n in range(22, 11, -1))):
        if name and shutil.which(name):
            return [name, "-target", "bpfel", "-mcpu=v3"]
    if importlib.util.find_spec("ziglang"):
        return [sys.executable, "-m", "ziglang", "cc", "-target", "bpfel-freestanding", "-mcpu=v3"]
    return None


def build_probe(target: pathlib.Path) -> None:
    """Compiles the probe (csrc/bpf) to an object that is shipped: users need no compiler. The hash of its tables stands behind it."""
    compiler = bpf_compiler()
    if compiler is None:
        print("warning: no clang (nor PyPI's ziglang) is installed: this build can't capture live", file=sys.stderr)
        return
    with tempfile.TemporaryDirectory() as folder:
        source, hasher = pathlib.Path(folder) / "hash.c", pathlib.Path(folder) / "hash"
        source.write_text('#include <stdio.h>\n#include "schema/schema.h"\n'
                          'int main(void) { printf("%016llx", (unsigned long long)fl_schema_hash_events()); }\n')
        host = shlex.split(os.environ.get("CC", "cc"))
        run(*host, f"-I{CSRC}", source, *sorted((CSRC / "schema").glob("*.c")), "-o", hasher)
        tables = run(hasher)
        run(*compiler, "-g", "-O2", "-ffreestanding", "-Wall", "-Wextra", "-Wno-unused-parameter", "-Wno-unused-function",
            "-Wno-missing-field-initializers", f"-I{CSRC}", "-c", CSRC / "bpf" / "probe.bpf.c", "-o", target)
    for strip in ("llvm-strip", *(f"llvm-strip-{n}" for n in range(22, 11, -1))):
        if shutil.which(strip):
            run(strip, "-g", target)
            break
    with target.open("ab") as file:         # behind the object, where nobody who loads it looks
        file.write(f"falcolib schema {tables}".encode())


ffibuilder = core() if __name__ != "__main__" else None

if __name__ == "__main__":
    from setuptools import setup
    from setuptools.command.build_py import build_py

    class BuildWithRules(build_py):
        """Puts the default rules and the probe into the package, and leaves out what an earlier build put there."""

        def run(self) -> None:
            for old in (pathlib.Path(self.build_lib) / "falcolib").rglob("*"):
                if old.is_file() and old.suffix != ".so":
                    old.unlink()
            super().run()
            target = pathlib.Path(self.build_lib) / "falcolib" / "data"
            target.mkdir(parents=True, exist_ok=True)
            for rules in sorted(pathlib.Path("rules").glob("*.yaml")):
                shutil.copy(rules, target)
            build_probe(target / "probe.bpf.o")

    setup(cffi_modules=["setup.py:ffibuilder"], cmdclass={"build_py": BuildWithRules},
          options={"bdist_wheel": {"py_limited_api": "cp310"}, "build": {"build_base": str(BUILD)}})
