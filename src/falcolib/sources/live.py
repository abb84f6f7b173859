# SPDX-License-Identifier: Apache-2.0
"""The running machine: system calls by the eBPF probe."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any

from .._native import error_text, ffi, lib, owned, raise_error
from ..core import host_root
from ..errors import ProbeError
from .accounts import Accounts
from .counters import of_programs, of_rings
from .hosts import Hosts
from .probe import Loader, load_probe
from .wanted import BaseSyscalls, Wanted

if TYPE_CHECKING:
    from ..compiler import Program
    from ..core import Core

#: What falco.yaml's buf_size_preset means, in bytes: 1 MiB … 512 MiB.
BUFFER_PRESETS = {n: 1 << (19 + n) for n in range(1, 11)}


class Live:
    """This machine's system calls, as its kernel tells them: needs root (or CAP_BPF and CAP_PERFMON), a kernel of 5.12 or later with BTF,
    and ``pip install 'falcolib[live]'``.

    buf_size_preset: size of each ring buffer, 1 to 10 (1 MiB to 512 MiB; 4 is 8 MiB). cpus_for_each_buffer: processors that share one; 0:
    all. drop_failed_exit: calls that failed are left out by the kernel side, but those that the state needs. snaplen: bytes of what is
    read and written that events hold. The names and defaults are those of falco.yaml (``engine.modern_ebpf.*``, ``falco_libs.snaplen``).
    iterators: the kernel's task iterators tell of the processes that are there at the start, where they are allowed; it takes a sixth of
    the time of /proc, which does it otherwise (``engine.modern_ebpf.disable_iterators``). prefilter: calls with whose outcome no rule can
    match are left out, too, unless the state needs them; alerts are the same without, but for what counts events. base_syscalls: which
    calls are told of besides those that rules name. loader: how the probe is loaded; None: the first that works. on_ready is called, in
    the thread of the run, when the probe is in the kernel and everything from now on is seen; `ready` is then set.

    The probe is loaded when a run begins, and taken out of the kernel when it ends, or the process does. Raises ValueError for a value
    out of range; a run raises ProbeError, with the cure, if live capture isn't possible.
    """

    name = "syscall"
    live = True                 # what happens now: containers can be asked about
    drains = True               # what happened before close() is looked at

    def __init__(
        self,
        *,
        buf_size_preset: int = 4,
        cpus_for_each_buffer: int = 2,
        drop_failed_exit: bool = False,
        snaplen: int = 80,
        iterators: bool = True,
        prefilter: bool = True,
        base_syscalls: BaseSyscalls | None = None,
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
                         "snaplen": snaplen}
        self._iterators = iterators
        self._base = base_syscalls or BaseSyscalls()
        self._drop_failed, self._prefilter = drop_failed_exit, prefilter
        self._loader_name = loader
        self._probe: Loader | None = None
        self._attached: set[str] = set()        # programs that run
        self._rings: Any = None
        self._hosts: Hosts | None = None
        self._accounts: Accounts | None = None
        self._skipped = 0
        self._core: Any = None
        self._program: Program | None = None
        self._closed = self._looked = False     # told to end; and the rings have been read for the last time
        self._counted: dict[str, int] = {}      # when the last run ended
        self._counting = threading.Lock()       # while numbers are read, the probe isn't taken out
        self._on_ready = on_ready
        self.missing: tuple[str, ...] = ()      # calls that rules need, and that base_syscalls keeps from them
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
        self._closed = self._looked = False
        self._counted = {}
        self._probe = load_probe(self._loader_name)
        try:
            maps = {key: self._probe.map(name) for key, name in
                    (("rings_map", "fl_rings"), ("scratches_map", "fl_scratches"), ("shared_map", ".bss"))}
            error = error_text()
            rings = lib.fl_live_open(ffi.new("fl_live_options *", {**self._options, **maps}), error)
            if rings == ffi.NULL:
                raise_error(error.code, error)
            owned(rings, lib.fl_live_free)
            self._rings = rings
            core.read_rings(rings)
            self._hosts = Hosts()
            self._accounts = Accounts(host_root())
            core.ask_accounts(self._accounts.attend)
            self._choose(core)
            self._core = core
            for program in ("fl_exec", "fl_exit", "fl_sys_exit"):
                self._attach(program)
            # after: what happens meanwhile waits in the rings
            core.snapshot(loader=self._probe.handle if self._iterators else None)
            self._accounts.attend(core)
            self.ready.set()
            if self._on_ready:
                self._on_ready()
        except BaseException:
            self._end()
            raise

    @property
    def skipped(self) -> int:
        """Calls of this run that the probe left out for drop_failed_exit and prefilter."""
        rings = self._rings
        return int(lib.fl_live_get_stats(rings).skipped) if rings is not None else self._skipped

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

    def counters(self) -> dict[str, int]:
        """The kernel side's numbers since the run began, by Falco's names for metrics without ``scap.``: n_evts, n_drops,
        n_drops_buffer_total, n_drops_buffer_open_exit, n_evts_cpu_0, …; n_evts_task, n_evts_task_file_regular, …: what iterators told
        at the start; NAME.run_cnt, NAME.run_time_ns and NAME.avg_time_ns of the probe's
        programs, where ``kernel.bpf_stats_enabled`` is 1. After the run those of its end. May be called from any thread.
        """
        with self._counting:
            if self._rings is None or self._probe is None:
                return dict(self._counted)
            handle = self._probe.handle
            iterated = {f"n_evts_{kind}": told for kind, told in self._core.iterated().items()} if self._core is not None else {}
            return {**of_rings(self._rings), **iterated, **(of_programs(handle) if handle is not None else {})}

    def _wait(self) -> bool:
        """Waits for records; False when the source is closed, and what happened before has been read."""
        if self._closed or not lib.fl_live_wait(self._rings):
            return self._last_look()
        if getattr(self._core, "program", None) is not self._program:
            self._choose(self._core)            # other rules have come into force
        if self._hosts is not None and (rows := self._hosts.rows()) is not None:
            self._core.tell_hosts(rows)
        if self._accounts is not None:
            self._accounts.attend(self._core)
        if lib.fl_live_compat(self._rings):
            self._attach("fl_sys_enter")        # somebody makes 32-bit calls, which the guards don't see
        return True

    def _last_look(self) -> bool:
        """Once, True: nothing but the ends of threads comes any more, and the youngest record is old enough to be read (1 ms)."""
        if self._looked or self._rings is None:
            return False
        self._looked = True
        lib.fl_live_choose(self._rings, ffi.new("fl_live_needs *"))
        time.sleep(0.002)
        return True

    def _choose(self, core: Core) -> None:
        """Tells the probe what the core's rules need."""
        assert self._probe is not None
        self._program = getattr(core, "program", None)
        wanted = Wanted.by(self._program, self._base)
        self.missing = wanted.missing
        self._probe.choose(wanted.calls)
        guarded = self._guard(wanted.guarded)
        needs = ffi.new("fl_live_needs *", {"drop_failed": self._drop_failed, "guarded": guarded, "realpath": wanted.realpath})
        ffi.memmove(needs.calls, wanted.calls, len(wanted.calls))
        ffi.memmove(needs.outcomes, wanted.outcomes if self._prefilter else b"\xff" * 512, len(wanted.outcomes))
        lib.fl_live_choose(self._rings, needs)
        if wanted.signals:
            self._attach("fl_signal")
        if self._hosts is not None and self._program is not None:
            self._hosts.want(self._program.hosts)

    def _guard(self, calls: tuple[str, ...]) -> bool:
        """Lets paths and addresses be taken when these calls begin. False: these calls have no tracepoints of their own here."""
        try:
            for call in calls:
                self._attach(f"fl_enter_{call}")
        except ProbeError:
            self._attach("fl_sys_enter")
            return False
        return True

    def _attach(self, program: str) -> None:
        assert self._probe is not None
        if program not in self._attached:
            self._probe.attach(program)
            self._attached.add(program)

    def _end(self) -> None:
        self.ready.clear()
        self._counted, self._skipped = self.counters(), self.skipped
        beside, self._hosts, self._accounts = (self._hosts, self._accounts), None, None
        for one in beside:
            if one is not None:
                one.close()
        with self._counting:
            probe, self._probe = self._probe, None
            if probe is not None:
                probe.close()
            self._attached.clear()
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

