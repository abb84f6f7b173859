# SPDX-License-Identifier: Apache-2.0
"""A process that holds one of everything, for tests of the state at start. It tells its descriptors as JSON, then waits for its stdin."""

import contextlib
import ctypes
import json
import os
import select
import signal
import socket
import sys
import threading
from pathlib import Path

home = Path(sys.argv[1])
fds: dict[str, int] = {}
kept: list[object] = []


def keep(name: str, thing: object) -> None:
    kept.append(thing)
    fds[name] = thing if isinstance(thing, int) else thing.fileno()  # type: ignore[attr-defined]


keep("file", os.open(home / "read write", os.O_RDWR | os.O_CREAT | os.O_APPEND))
keep("deleted", os.open(home / "gone", os.O_WRONLY | os.O_CREAT))
os.unlink(home / "gone")
keep("folder", os.open(home, os.O_RDONLY | os.O_DIRECTORY))
keep("inherited", os.open("/dev/null", os.O_RDONLY))
os.set_inheritable(fds["inherited"], True)
os.mkfifo(home / "fifo")
keep("fifo", os.open(home / "fifo", os.O_RDWR))
read, write = os.pipe()
keep("pipe", read)
keep("pipe2", write)
keep("memfd", os.memfd_create("my memory"))
with contextlib.suppress(AttributeError, OSError):
    keep("pidfd", os.pidfd_open(os.getpid()))
libc = ctypes.CDLL(None, use_errno=True)
keep("eventfd", libc.eventfd(0, 0))
keep("timerfd", libc.timerfd_create(1, 0))
keep("inotify", libc.inotify_init1(0))
mask = ctypes.create_string_buffer(128)
libc.sigemptyset(mask)
libc.sigaddset(mask, signal.SIGUSR1)
keep("signalfd", libc.signalfd(-1, mask, 0))
keep("epoll", select.epoll())

for name, family, address in (("4", socket.AF_INET, "127.0.0.1"), ("6", socket.AF_INET6, "::1")):
    listening = socket.create_server((address, 0), family=family)
    keep("listen" + name, listening)
    client = socket.create_connection(listening.getsockname()[:2])
    keep("client" + name, client)
    keep("server" + name, listening.accept()[0])
    bound = socket.socket(family, socket.SOCK_DGRAM)
    bound.bind((address, 0))
    keep("udp" + name, bound)
    sender = socket.socket(family, socket.SOCK_DGRAM)
    sender.connect(bound.getsockname())
    keep("udpclient" + name, sender)
    keep("new" + name, socket.socket(family, socket.SOCK_STREAM))
dual = socket.create_server(("::", 0), family=socket.AF_INET6, dualstack_ipv6=True)
keep("mapped", socket.create_connection(("127.0.0.1", dual.getsockname()[1])))
keep("mappedserver", dual.accept()[0])
with contextlib.suppress(PermissionError):
    keep("raw", socket.socket(socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_ICMP))
    keep("packet", socket.socket(socket.AF_PACKET, socket.SOCK_RAW))
keep("netlink", socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, 0))
named = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
named.bind("socket\n0000000000000000: 00000002 00000000 00010000 0001 01 1 forged")        # relative: there is room for 107 bytes
named.listen()
keep("unix", named)
abstract = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
abstract.bind(f"\0falcolib-{os.getpid()}")
keep("abstract", abstract)
one, other = socket.socketpair()
keep("pair", one)
keep("pair2", other)

stop = threading.Event()
for _ in range(3):
    threading.Thread(target=stop.wait).start()
held = dict(zip(fds, kept, strict=True))
addresses = {n: [held[n].getsockname(), held[n].getpeername()] for n in ("client4", "client6", "mapped", "udpclient4")}
bound_to = {n: held[n].getsockname()[:2] for n in ("listen4", "listen6", "udp4", "udp6")}
tids = [int(tid) for tid in os.listdir("/proc/self/task")]
print(json.dumps({"fds": fds, "addresses": addresses, "bound": bound_to, "tids": tids}), flush=True)
sys.stdin.read()
stop.set()
