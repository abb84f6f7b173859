# SPDX-License-Identifier: Apache-2.0
"""What this machine allows: looked at before anything is loaded, with a cure for what is missing.

Facts: kernel documentation (BPF, user namespaces, memory control groups, lockdown), spec kernel-capture.md 2, 4, 6, engine.md E5.
"""

from __future__ import annotations

import errno
import glob
import importlib
import importlib.util
import os
import platform
import re
import resource
import shutil
import socket
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Literal, TypeAlias

from .containers.options import SOCKETS
from .errors import FalcolibError

Status: TypeAlias = Literal["ok", "warning", "missing"]

MIB = 1 << 20
#: The webhook of audit events, and the web server of health and metrics.
PORT = 8765
#: Capabilities by number.
SYS_PTRACE, SYS_ADMIN, SYS_RESOURCE, PERFMON, BPF = 19, 21, 24, 38, 39
#: The number of the PID namespace in which the kernel started (PROC_PID_INIT_INO).
INIT_PID_NAMESPACE = 0xEFFFFFFC


@dataclass(frozen=True)
class Check:
    """One thing that was looked at. status: ``missing`` if live capture can't work so; found: what is there; why it matters; fix: a command
    or a change, empty where nothing is to be done."""

    name: str
    status: Status
    found: str
    why: str
    fix: str = ""


@dataclass(frozen=True)
class Report:
    """All checks."""

    checks: tuple[Check, ...]

    @property
    def live(self) -> bool:
        """Whether live capture works here, as far as can be told without trying."""
        return all(check.status != "missing" for check in self.checks)

    def as_dict(self) -> dict[str, object]:
        """As ``falcolib doctor --json`` prints it."""
        return {"live": self.live, "checks": [asdict(check) for check in self.checks]}


def examine(*, preset: int = 4, cpus_for_each_buffer: int = 2) -> Report:
    """Looks at this machine, and loads nothing. preset, cpus_for_each_buffer: as in falco.yaml's engine.modern_ebpf."""
    # those that may come, too
    rings = 1 if not cpus_for_each_buffer else -(-os.sysconf("SC_NPROCESSORS_CONF") // cpus_for_each_buffer)
    size = rings * (MIB << (preset - 1))
    look: tuple[Callable[[], Check], ...] = (
        _kernel, _btf, _capabilities, _seccomp, _lockdown, _tracefs, _unprivileged, _loader, lambda: _locked_memory(size),
        lambda: _memory(size, rings, preset), _pid_namespace, _host_root, _proc, _runtimes, _port)  # fmt: skip
    return Report(tuple(check() for check in look))


# ---- reading ----


def _read(path: str) -> str | None:
    try:
        return Path(path).read_text(errors="replace").strip()
    except OSError:
        return None


def _version() -> tuple[int, ...]:
    return tuple(int(n) for n in re.findall(r"\d+", platform.release())[:2])


def _effective() -> int:
    found = re.search(r"^CapEff:\s*([0-9a-f]+)", _read("/proc/self/status") or "", re.M)
    return int(found[1], 16) if found else 0


def _may(*numbers: int) -> bool:
    return all(_effective() >> number & 1 for number in numbers)


def _sudo() -> str:
    return "sudo falcolib run" if shutil.which("sudo") else "su -c 'falcolib run'"


# ---- what loading needs ----


def _kernel() -> Check:
    why = "ring buffers and tracepoints with types came with Linux 5.8"
    found = f"{platform.system()} {platform.release()}, {platform.machine()}"
    if platform.system() != "Linux":
        return Check("kernel", "missing", found, "system calls are captured on Linux alone; replay and audit work everywhere")
    if platform.machine() not in ("x86_64", "aarch64"):
        return Check("kernel", "missing", found, "the probe knows the system calls of x86_64 and aarch64", "replay captures here")
    if _version() < (5, 8):
        return Check("kernel", "missing", found, why, "install a newer kernel, as distributions have since 2021")
    return Check("kernel", "ok", found, why)


def _btf() -> Check:
    path, why = "/sys/kernel/btf/vmlinux", "the probe fits itself to this kernel by its type information"
    if os.access(path, os.R_OK):
        return Check("BTF", "ok", path, why)
    if not os.path.isdir("/sys/kernel"):
        return Check("BTF", "missing", "/sys isn't mounted", why, "mount -t sysfs sysfs /sys")
    return Check("BTF", "missing", f"no {path}", why, "use a kernel that is built with CONFIG_DEBUG_INFO_BTF=y, as those of all large "
                 "distributions are: grep BTF /boot/config-$(uname -r)")


def _capabilities() -> Check:
    why = "loading programs into the kernel takes CAP_BPF and CAP_PERFMON, or CAP_SYS_ADMIN"
    names = {"CAP_BPF": BPF, "CAP_PERFMON": PERFMON, "CAP_SYS_ADMIN": SYS_ADMIN, "CAP_SYS_PTRACE": SYS_PTRACE}
    held = [name for name, number in names.items() if _may(number)]
    found = f"user {os.geteuid()} with {', '.join(held) or 'none of ' + ', '.join(names)}"
    enough = _may(SYS_ADMIN) or (_may(BPF, PERFMON) and _version() >= (5, 8))
    mapped = (_read("/proc/self/uid_map") or "").split()
    if enough and mapped and mapped != ["0", "0", "4294967295"]:
        return Check("capabilities", "missing", f"{found}, but in a user namespace", why + ", in the machine's own user namespace",
                     "run it outside of the namespace; containers: not rootless, without --userns")
    if not enough:
        return Check("capabilities", "missing", found, why,
                     f"{_sudo()}; containers: docker run --privileged, or --cap-add BPF --cap-add PERFMON --cap-add SYS_PTRACE; "
                     "services of systemd: AmbientCapabilities=CAP_BPF CAP_PERFMON CAP_SYS_PTRACE")
    if not _may(SYS_PTRACE):
        return Check("capabilities", "warning", found, "without CAP_SYS_PTRACE, programs and descriptors of other users' processes that "
                     "run already aren't known", "add CAP_SYS_PTRACE")
    return Check("capabilities", "ok", found, why)


def _seccomp() -> Check:
    why = "a filter of system calls may forbid bpf() and perf_event_open()"
    mode = re.search(r"^Seccomp:\s*(\d)", _read("/proc/self/status") or "", re.M)
    if mode and mode[1] != "0":
        return Check("seccomp", "warning", "this process is under a filter", why,
                     "containers: --security-opt seccomp=unconfined, if loading is refused")
    return Check("seccomp", "ok", "no filter", why)


def _lockdown() -> Check:
    why = "in lockdown mode confidentiality the kernel lets no program read its memory"
    text = _read("/sys/kernel/security/lockdown")
    if text is None:
        asked = re.search(r"\blockdown=(\w+)", _read("/proc/cmdline") or "")
        if asked and asked[1] == "confidentiality":
            return Check("lockdown", "missing", "confidentiality (kernel command line)", why, "boot with lockdown=integrity, or without")
        if os.path.isdir("/sys/kernel/security") and not os.listdir("/sys/kernel/security"):
            return Check("lockdown", "ok", "not told, as securityfs isn't mounted; not asked for at boot", why)
        return Check("lockdown", "ok", "this kernel has none", why)
    chosen = re.search(r"\[(\w+)\]", text)
    mode = chosen[1] if chosen else text
    if mode == "confidentiality":
        return Check("lockdown", "missing", mode, why, "boot with lockdown=integrity, or without")
    return Check("lockdown", "ok", mode, why)


def _tracefs() -> Check:
    why = "it names the tracepoints of open, openat, connect, …: without them the probe looks at the beginning of every call"
    for path in ("/sys/kernel/tracing", "/sys/kernel/debug/tracing"):
        if os.path.isdir(f"{path}/events"):
            return Check("tracefs", "ok", path, why)
    return Check("tracefs", "ok", "not mounted (or not readable): the probe mounts it for itself, where it may", why)


def _unprivileged() -> Check:
    why = "if anybody may load programs, the kernel is easier to attack; live capture doesn't need it"
    text = _read("/proc/sys/kernel/unprivileged_bpf_disabled")
    if text == "0":
        return Check("unprivileged BPF", "warning", "allowed", why, "sysctl -w kernel.unprivileged_bpf_disabled=2")
    return Check("unprivileged BPF", "ok", "not told" if text is None else "off", why)


def _loader() -> Check:
    why = "the probe is built with falcolib; the core loads it from Linux 5.17 on, pylibbpf before"
    try:
        probe = importlib.import_module("falcolib.sources.probe")
        path: Path = probe.object_path()
    except (ImportError, FalcolibError) as e:
        return Check("loader", "missing", str(e), why, "apt-get install clang, then pip install --force-reinstall --no-cache-dir falcolib")
    loader = "the core" if _version() >= (5, 17) else "pylibbpf"
    if loader == "pylibbpf" and importlib.util.find_spec("pylibbpf") is None:
        version = ".".join(platform.python_version_tuple()[:2])
        found = f"no pylibbpf for Python {version} (there are wheels for 3.11 to 3.13 on x86_64)"
        return Check("loader", "missing", found, why, "pip install 'falcolib[live]'")
    return Check("loader", "ok", f"{loader}; {path.name} of {path.stat().st_size} bytes", why)


# ---- memory ----


def _locked_memory(size: int) -> Check:
    why = "before Linux 5.11, ring buffers count as locked memory"
    limit = resource.getrlimit(resource.RLIMIT_MEMLOCK)[0]
    found = "unlimited" if limit == resource.RLIM_INFINITY else f"{limit // 1024} KiB"
    if _version() >= (5, 11):
        return Check("locked memory", "ok", f"{found}; not counted on this kernel", why)
    if limit == resource.RLIM_INFINITY or limit >= 2 * size or _may(SYS_RESOURCE):
        return Check("locked memory", "ok", found, why)
    return Check("locked memory", "missing", found, why, "ulimit -l unlimited; docker run --ulimit memlock=-1")


def _memory_limit() -> tuple[int, str] | None:
    """The tightest limit of the control groups that this process is in, in bytes, and whose it is."""
    limits = []
    for line in (_read("/proc/self/cgroup") or "").splitlines():
        _, names, path = (*line.split(":", 2), "", "")[:3]
        if names not in ("", "memory"):
            continue
        base, file = ("/sys/fs/cgroup", "memory.max") if not names else ("/sys/fs/cgroup/memory", "memory.limit_in_bytes")
        at = Path(path)
        for level in (at, *at.parents):         # the group itself, and all above it; in a namespace of its own, the top is the group
            text = _read(f"{base}{level}/{file}")
            if text and text.isdigit() and int(text) < 1 << 60:
                limits.append((int(text), f"the control group {level}"))
    return min(limits, default=None)


def _memory(size: int, rings: int, preset: int) -> Check:
    why = "events wait in ring buffers until they are looked at; what doesn't fit is lost"
    what = f"{rings} ring buffer{'s' * (rings > 1)} of {size // rings // MIB} MiB"
    smaller = f"falcolib run -o engine.modern_ebpf.buf_size_preset={max(preset - 2, 1)}, or a higher limit"
    available = re.search(r"^MemAvailable:\s*(\d+)", _read("/proc/meminfo") or "", re.M)
    free, whose = (int(available[1]) * 1024, "free memory") if available else (1 << 62, "memory")
    limit = _memory_limit()
    if limit and limit[0] < free:
        free, whose = limit
    found = f"{what}; {free // MIB} MiB: {whose}"
    if size > free:
        return Check("ring buffers", "missing", found, why, smaller)
    if size > free // 4:
        return Check("ring buffers", "warning", found, why, smaller)
    return Check("ring buffers", "ok", found, why)


# ---- what can be seen of the machine ----


def _in_container() -> str | None:
    """What says that this is a container; None if nothing does."""
    for path in ("/.dockerenv", "/run/.containerenv"):
        if os.path.exists(path):
            return path
    if os.environ.get("KUBERNETES_SERVICE_HOST"):
        return "KUBERNETES_SERVICE_HOST"
    return None


def _own_pid_namespace() -> bool:
    try:
        return os.stat("/proc/self/ns/pid").st_ino != INIT_PID_NAMESPACE
    except OSError:
        return False


def _pid_namespace() -> Check:
    why = "events name processes by the machine's numbers: what runs already is found under these in /proc"
    if not _own_pid_namespace():
        return Check("PID namespace", "ok", "the machine's", why)
    root = os.environ.get("HOST_ROOT", "")
    if root and os.path.exists(f"{root}/proc/1/stat"):
        return Check("PID namespace", "ok", f"a container's; the machine's processes are in {root}/proc", why)
    return Check("PID namespace", "warning", "a container's", why, "docker run --pid=host, or -v /proc:/host/proc:ro -e HOST_ROOT=/host; "
                 "Kubernetes: hostPID: true")


def _host_root() -> Check:
    why = "processes, users and groups are those of the machine, and a container has others; HOST_ROOT says where the machine's / is"
    root = os.environ.get("HOST_ROOT", "")
    if root:
        lacks = [path for path in ("/proc/1/stat", "/etc/passwd") if not os.path.exists(root + path)]
        if "/proc/1/stat" in lacks:
            return Check("host mounts", "missing", f"HOST_ROOT={root}, and no proc file system in {root}/proc", why,
                         f"docker run -v /proc:{root}/proc:ro -v /etc:{root}/etc:ro, or unset HOST_ROOT")
        if lacks:
            return Check("host mounts", "warning", f"HOST_ROOT={root}, and no {', '.join(root + path for path in lacks)}", why,
                         f"docker run -v /etc:{root}/etc:ro")
        return Check("host mounts", "ok", f"HOST_ROOT={root}", why)
    container = _in_container()
    if container:
        return Check("host mounts", "warning", f"a container ({container}), and HOST_ROOT isn't set", why,
                     "docker run -v /proc:/host/proc:ro -v /etc:/host/etc:ro -e HOST_ROOT=/host")
    return Check("host mounts", "ok", "not a container, as far as can be told", why)


def _proc() -> Check:
    why = "what runs already when capture begins is read from /proc"
    root = os.environ.get("HOST_ROOT", "")
    if not os.path.exists(f"{root}/proc/self/stat") and not os.path.exists(f"{root}/proc/1/stat"):
        return Check("/proc", "missing", f"no proc file system in {root}/proc", why, f"mount -t proc proc {root}/proc")
    for line in (_read("/proc/self/mounts") or "").splitlines():
        _, at, kind, options, *_ = line.split(" ")
        if kind == "proc" and at == f"{root}/proc" and re.search(r"\bhidepid=(?!0|off)", options) and not _may(SYS_PTRACE):
            return Check("/proc", "warning", "hides processes of other users (hidepid)", why, f"mount -o remount,hidepid=0 {root}/proc")
    return Check("/proc", "ok", f"{root}/proc", why)


def _runtimes() -> Check:
    why = "container runtimes are asked for names, images and pods (container.*, k8s.*) through their sockets"
    root = os.environ.get("HOST_ROOT", "")
    here, refused = [], []
    patterns = dict.fromkeys(root + pattern for patterns in SOCKETS.values() for pattern in patterns)
    for path in (path for pattern in patterns for path in sorted(glob.glob(pattern))):
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as s:
            s.settimeout(1)
            try:
                s.connect(path)
                here.append(path)
            except OSError as e:
                refused.append(f"{path}: {e.strerror or e}")
    if refused:
        return Check("container runtimes", "warning", "; ".join([*here, *refused]), why,
                     "run as root, or start the runtime; a socket that a dead one has left can be removed")
    return Check("container runtimes", "ok", ", ".join(here) or "no socket: containers are known by their ids alone", why)


def _port() -> Check:
    why = f"audit events of Kubernetes, health and metrics come and go by port {PORT}"
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as s:
        s.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            s.bind(("0.0.0.0", PORT))
        except OSError as e:
            taken = e.errno == errno.EADDRINUSE
            return Check("port", "warning", f"{PORT} is taken" if taken else f"{PORT}: {e.strerror}", why,
                         f"ss -ltnp 'sport = :{PORT}' tells by whom; -o webserver.listen_port=N takes another" if taken else "run as root")
    return Check("port", "ok", f"{PORT} is free", why)


def lines(report: Report) -> Iterator[str]:
    """The report as text: a line a check, and why and how to fix it below what isn't well."""
    width = max(len(check.name) for check in report.checks)
    for check in report.checks:
        yield f"{check.status:8} {check.name:{width}}  {check.found}"
        if check.status != "ok":
            yield f"{'':{9 + width}}  why: {check.why}"
            if check.fix:
                yield f"{'':{9 + width}}  fix: {check.fix}"
    yield "Live capture works here." if report.live else "Live capture doesn't work here; replay (falcolib run --capture) does."
