# SPDX-License-Identifier: Apache-2.0
"""The running machine: system calls by the eBPF probe."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any

from .. import schema
from .._native import error_text, ffi, lib, raise_error
from .probe import Loader, load_probe

if TYPE_CHECKING:
    from ..compiler import Program
    from ..core import Core

#: What falco.yaml's buf_size_preset means, in bytes: 1 MiB … 512 MiB.
BUFFER_PRESETS = {n: 1 << (19 + n) for n in range(1, 11)}


class Live:
    """This machine's system calls, as its kernel tells them: needs root (or CAP_BPF and CAP_PERFMON), a kernel of 5.11 or later with BTF,
    and ``pip install 'falcolib[live]'``.

    buf_size_preset: size of each ring buffer, 1 to 10 (1 MiB to 512 MiB; 4 is 8 MiB). cpus_for_each_buffer: processors that share one; 0:
    all. drop_failed_exit: calls that failed are left out by the kernel side. snaplen: bytes of what is read and written that events hold.
    The names and defaults are those of falco.yaml (``engine.modern_ebpf.*``, ``falco_libs.snaplen``). loader: how the probe is loaded;
    None: the first that works. on_ready is called, in the thread of the run, when the probe is in the kernel and everything from now on
    is seen; `ready` is then set.

    The probe is loaded when a run begins, and taken out of the kernel when it ends, or the process does. Raises ValueError for a value
    out of range; a run raises ProbeError, with the cure, if live capture isn't possible.
    """

    name = "syscall"
    live = True                 # what happens now: containers can be asked about

    def __init__(
        self,
        *,
        buf_size_preset: int = 4,
        cpus_for_each_buffer: int = 2,
        drop_failed_exit: bool = False,
        snaplen: int = 80,
        loader: str | None = None,
        on_ready: Callable[[], None] | None = None,
    ) -> None:
        if buf_size_preset not in BUFFER_PRESETS:
            raise ValueError(f"buf_size_preset is from 1 to 10, not {buf_size_preset}")
        if cpus_for_each_buffer < 0:
            raise ValueError(f"cpus_for_each_buffer is 0 or more, not {cpus_for_each_buffer}")
        if not 0 <= snaplen <= 16383:
            raise ValueError(f"snaplen is from 0 to 16383, not {snaplen}")
        self._options = {"buffer_bytes": BUFFER_PRESETS[buf_size_preset], "cpus_for_each_buffer": cpus_for_each_buffer,
                         "snaplen": snaplen, "drop_failed": drop_failed_exit}
        self._loader_name = loader
        self._probe: Loader | None = None
        self._rings: Any = None
        self._core: Any = None
        self._program: Program | None = None
        self._closed = False
        self._on_ready = on_ready
        self.ready = threading.Event()

    def __repr__(self) -> str:
        return "Live()"

    def open_on(self, core: Core) -> None:
        """Loads the probe, and lets the core read from its rings.

        Raises ProbeError, with the cure, where that isn't possible; RuntimeError if this source is being read already.
        """
        if self._probe is not None and self._closed:
            self._end()
        if self._probe is not None:
            raise RuntimeError("this Live() is being read by another run: use one for each")
        self._closed = False
        self._probe = load_probe(self._loader_name)
        try:
            maps = {key: self._probe.map(name) for key, name in
                    (("rings_map", "fl_rings"), ("scratches_map", "fl_scratches"), ("shared_map", ".bss"))}
            error = error_text()
            rings = lib.fl_live_open(ffi.new("fl_live_options *", {**self._options, **maps}), error)
            if rings == ffi.NULL:
                raise_error(error.code, error)
            self._rings = ffi.gc(rings, lib.fl_live_free)
            core.read_rings(self._rings)
            self._choose(core)
            self._core = core
            for program in ("fl_sys_enter", "fl_exec", "fl_exit", "fl_signal", "fl_sys_exit"):
                self._probe.attach(program)
            core.snapshot()             # after: what happens meanwhile waits in the rings
            self.ready.set()
            if self._on_ready:
                self._on_ready()
        except BaseException:
            self._end()
            raise

    def chunks(self) -> Iterator[bytes]:
        """An empty chunk each time that there may be records in the rings, until the source is closed."""
        return _Chunks(self)

    def close(self) -> None:
        """Ends chunks() soon. May be called at any time, more than once, from any thread and from a signal handler."""
        self._closed = True
        rings = self._rings
        if rings is not None:
            lib.fl_live_close(rings)

    def position(self) -> tuple[int, int | None]:
        """Nothing to show: there is no end to get near to."""
        return 0, None

    def _wait(self) -> bool:
        """Waits for records; False when the source is closed."""
        if self._closed or not lib.fl_live_wait(self._rings):
            return False
        if getattr(self._core, "program", None) is not self._program:
            self._choose(self._core)            # other rules have come into force
        return True

    def _choose(self, core: Core) -> None:
        """Tells the probe which calls the core's rules need."""
        self._program = getattr(core, "program", None)
        wanted = wanted_syscalls(self._program)
        assert self._probe is not None
        self._probe.choose(wanted)
        lib.fl_live_choose(self._rings, wanted)

    def _end(self) -> None:
        self.ready.clear()
        probe, self._probe = self._probe, None
        if probe is not None:
            probe.close()
        self._rings = self._core = None


class _Chunks(Iterator[bytes]):
    """What chunks() gives: unlike a generator, it takes the probe out of the kernel also where it was never asked for anything."""

    def __init__(self, live: Live) -> None:
        self._live = live

    def __next__(self) -> bytes:
        if not self._live._wait():
            self.close()
            raise StopIteration
        return b""

    def close(self) -> None:
        self._live._end()


def wanted_syscalls(program: Program | None) -> bytes:
    """The calls that a program's rules and the state need, a byte each by portable id; all of them where there are no rules."""
    wanted = bytearray(512)
    everything = program is None or not program.rules
    state = schema.state_calls()
    for call in schema.SYSCALLS.values():
        wanted[call.id] = everything or call.id in state or bool(lib.fl_program_needs(program.handle, call.event))    # type: ignore[union-attr]
    return bytes(wanted)
