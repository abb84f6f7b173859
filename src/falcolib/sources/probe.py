# SPDX-License-Identifier: Apache-2.0
"""Loading the probe into the kernel: which loaders there are, and what they must do."""

from __future__ import annotations

import os
import re
import sys
from importlib import resources
from pathlib import Path
from typing import Any, Protocol

from .._native import check, error_text, ffi, lib, owned, raise_error
from ..errors import ProbeError
from ..schema import hashes


class Loader(Protocol):
    """A probe in the kernel. It stays as long as this object is not closed, and no longer than the process."""

    name: str
    handle: Any                 # of the core's loader, which has iterators; None: there are none

    def map(self, name: str) -> int:
        """The descriptor of a map, by its name in the object; it stays the loader's."""
        ...

    def choose(self, wanted: bytes) -> None:
        """Loads what the events of these calls need: a byte each, by portable id. May be called again.

        Raises ProbeError if the kernel refuses.
        """
        ...

    def attach(self, program: str) -> None:
        """Lets a program run at its tracepoint.

        Raises ProbeError if the kernel refuses.
        """
        ...

    def close(self) -> None:
        """Takes the probe out of the kernel."""
        ...


def object_path() -> Path:
    """The probe's object, as it was built with falcolib.

    Raises ProbeError if it is missing, or was built from other tables than the core.
    """
    path = Path(str(resources.files("falcolib"))) / "data" / "probe.bpf.o"
    if not path.is_file():
        raise ProbeError("this build of falcolib has no probe: there was no clang when it was built; install clang and build it again")
    found = re.search(rb"falcolib schema ([0-9a-f]{16})", path.read_bytes())
    ours = f"{hashes()[0]:016x}"
    if not found or found[1].decode() != ours:
        theirs = found[1].decode() if found else "unknown"
        raise ProbeError(f"{path} was built from other tables ({theirs}) than the core ({ours}); build falcolib again")
    return path


def check_kernel() -> None:
    """Raises ProbeError, with the cure, if this process can't load a probe into this kernel."""
    if not os.path.exists("/sys/kernel/btf/vmlinux"):
        raise ProbeError("this kernel has no /sys/kernel/btf/vmlinux: live capture needs Linux 5.12 or later, with CONFIG_DEBUG_INFO_BTF")
    effective = 0
    with open("/proc/self/status") as status:
        for line in status:
            if line.startswith("CapEff:"):
                effective = int(line.split()[1], 16)
    admin, perfmon, bpf = (bool(effective >> bit & 1) for bit in (21, 38, 39))
    if not (admin or (bpf and perfmon)):
        raise ProbeError("live capture needs root, or the capabilities CAP_BPF and CAP_PERFMON: run it with sudo")


class CoreLoader:
    """By the core, with bpf(2) alone: loads what is wanted, in a tenth of the time; needs Linux 5.17, whose kernel relocates by itself."""

    name = "core"

    def __init__(self, path: Path) -> None:
        code, error = path.read_bytes(), error_text()
        handle = lib.fl_loader_open(code, len(code), error)
        if handle == ffi.NULL:
            raise_error(error.code, error)
        self.handle: Any = handle
        self._free = owned(handle, lib.fl_loader_free)

    def map(self, name: str) -> int:
        fd = int(lib.fl_loader_map(self.handle, name.encode()))
        if fd < 0:
            raise ProbeError(f"the probe has no map {name}")
        return fd

    def choose(self, wanted: bytes) -> None:
        error = error_text()
        check(lib.fl_loader_choose(self.handle, wanted, error), error)

    def attach(self, program: str) -> None:
        error = error_text()
        check(lib.fl_loader_start(self.handle, program.encode(), error), error)

    def close(self) -> None:
        self.handle = None
        self._free()


class PylibbpfLoader:
    """By pylibbpf. It lacks descriptors of programs, chosen loading and logs; what it makes dies with its BpfObject, which is kept here."""

    name = "pylibbpf"
    handle = None

    def __init__(self, path: Path) -> None:
        from pylibbpf import BpfException, BpfObject  # imports llvmlite: only when used

        self._error: type[Exception] = BpfException
        self._attached: list[Any] = []
        self._object: Any = BpfObject(str(path), {})
        try:
            self._object.load()
        except BpfException as e:
            raise ProbeError(f"the kernel refuses the probe (pylibbpf): {e}; what it says stands above") from None

    def map(self, name: str) -> int:
        names = self._object.get_map_names()
        found = name if name in names else next((n for n in names if n.endswith(name)), None) if name.startswith(".") else None
        if found is None:
            raise ProbeError(f"the probe has no map {name}")
        fd: int = self._object.get_map(found).get_fd()
        return fd

    def choose(self, wanted: bytes) -> None:
        """Everything is loaded already."""

    def attach(self, program: str) -> None:
        handle = self._object.get_program(program)
        try:
            handle.attach()
        except self._error as e:
            raise ProbeError(f"the kernel refuses to attach {program}: {e}") from None
        self._attached.append(handle)

    def close(self) -> None:
        while self._attached:
            self._attached.pop().detach()
        self._object = None


def load_probe(loader: str | None = None) -> Loader:
    """Loads the probe. loader: ``core`` (bpf(2) alone, from Linux 5.17), ``pylibbpf`` (``falcolib[live]``); None: what suits this kernel.

    Raises ProbeError, with the cure, if it can't be loaded; ValueError for another loader.
    """
    if loader not in (None, "core", "pylibbpf"):
        raise ValueError(f"loader is core or pylibbpf, not {loader!r}")
    check_kernel()
    path = object_path()
    if loader == "core" or (loader is None and kernel_version() >= (5, 17)):
        return CoreLoader(path)
    try:
        return PylibbpfLoader(path)
    except ImportError:
        version = ".".join(map(str, sys.version_info[:2]))
        raise ProbeError(f"pylibbpf isn't installed for Python {version}, and this kernel needs it: pip install 'falcolib[live]'") from None


def kernel_version() -> tuple[int, int]:
    """The first two numbers of the kernel's version."""
    major, minor = re.findall(r"\d+", os.uname().release)[:2]
    return int(major), int(minor)
