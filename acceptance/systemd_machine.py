# SPDX-License-Identifier: Apache-2.0
"""A Debian that systemd runs, as process 1 of namespaces of its own: the tree that `.ci/systemd` makes, below what a test writes."""

from __future__ import annotations

import contextlib
import os
import pathlib
import re
import shlex
import signal
import subprocess
import sys
from collections.abc import Iterator

ROOT = pathlib.Path(__file__).resolve().parent.parent
#: Makes the namespaces' mounts, in FOLDER: tree (read only), and on a tmpfs what is written. Then it becomes systemd.
BOOT = """\
mount -t tmpfs tmpfs {folder}
cd {folder}
mkdir upper work root
mount -t overlay -o lowerdir={tree},upperdir=upper,workdir=work overlay root
cd root
mount -t proc proc proc
mount --bind proc/sys proc/sys
mount -o remount,ro,bind proc/sys
mount -t sysfs -o ro sysfs sys
mount -t cgroup2 cgroup2 sys/fs/cgroup
mount -t tmpfs -o mode=755 tmpfs dev
for name in null zero full random urandom tty; do : >dev/$name; mount --bind /dev/$name dev/$name; done
ln -s /proc/self/fd dev/fd
mkdir dev/pts dev/shm
mount -t devpts -o newinstance,ptmxmode=666 devpts dev/pts
ln -s pts/ptmx dev/ptmx
mount -t tmpfs -o mode=755 tmpfs run
mkdir -p opt/wheels
mount --bind {wheels} opt/wheels
pivot_root . mnt
umount -l /mnt
python3 -m venv /opt/falcolib
/opt/falcolib/bin/pip install --quiet --no-index --find-links /opt/wheels falcolib
ln -s /opt/falcolib/bin/falcolib /usr/bin/falcolib
exec env -i container=test PATH=/usr/sbin:/usr/bin:/sbin:/bin /lib/systemd/systemd --log-target=null
"""


def wheels(tree: pathlib.Path, folder: pathlib.Path) -> None:
    """falcolib's wheel, and those of what it needs, for the Python of a tree."""
    version = run("chroot", str(tree), "python3", "-c", "import sys; print('%d.%d' % sys.version_info[:2])").strip()
    pip = [sys.executable, "-m", "pip", "--quiet", "--disable-pip-version-check"]
    run(*pip, "wheel", "--no-deps", "--no-build-isolation", "--wheel-dir", str(folder), str(ROOT))
    (wheel,) = folder.glob("falcolib-*.whl")
    run(*pip, "download", "--only-binary=:all:", "--python-version", version, "--dest", str(folder), str(wheel))


def run(*command: str) -> str:
    """What a command tells. Raises AssertionError, with what it said, if it fails."""
    done = subprocess.run(command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, timeout=300)
    assert done.returncode == 0, f"status {done.returncode}: {shlex.join(command)}\n{done.stdout}"
    return done.stdout


class Machine:
    """The running machine."""

    def __init__(self, init: int) -> None:
        self._init = init

    def run(self, *command: str) -> str:
        """What a command tells in it. Raises AssertionError if it fails."""
        return run("nsenter", f"--target={self._init}", "--all", "--root", "--wd", *command)

    def write(self, path: str, text: str) -> None:
        """A file of it, that is made with its folders."""
        file = pathlib.Path(f"/proc/{self._init}/root{path}")
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text)

    def systemctl(self, *command: str) -> str:
        return self.run("systemctl", *command)

    def shows(self, unit: str, name: str) -> str:
        """A property of a unit."""
        return self.systemctl("show", "--value", f"--property={name}", unit).strip()

    def journal(self, unit: str) -> list[str]:
        """The lines of a unit."""
        return self.run("journalctl", "--quiet", "--no-pager", "--output=cat", f"--unit={unit}").splitlines()


@contextlib.contextmanager
def booted(tree: pathlib.Path, folder: pathlib.Path) -> Iterator[Machine]:
    """A machine, which begins to boot; at the end it is gone. folder: empty; where things are that it needs. Needs root."""
    packages, top, group = folder / "wheels", folder / "machine", _cgroups() / f"falcolib-{os.getpid()}"
    for made in (packages, top, group):
        made.mkdir()
    wheels(tree, packages)
    script = BOOT.format(folder=shlex.quote(str(top)), tree=shlex.quote(str(tree)), wheels=shlex.quote(str(packages)))
    enter = f"echo $$ >{shlex.quote(str(group))}/cgroup.procs; exec \"$@\""
    spaces = ["unshare", "--mount", "--propagation=private", "--pid", "--fork", "--kill-child", "--cgroup", "--uts", "--ipc"]
    with open(folder / "boot.log", "w+") as log, subprocess.Popen(
            ["sh", "-ec", enter, "sh", *spaces, "sh", "-ec", script], stdin=subprocess.DEVNULL, stdout=log, stderr=log) as process:
        try:
            yield Machine(_init_of(process, folder / "boot.log"))
        finally:
            process.send_signal(signal.SIGKILL)         # --kill-child: all of it goes with its process 1
            process.wait()
            _remove(group)


def _cgroups() -> pathlib.Path:
    """Where version 2 of the control groups is."""
    found = re.search(r"^\S+ \S+ \S+ \S+ (\S+) .* - cgroup2 ", pathlib.Path("/proc/self/mountinfo").read_text(), re.MULTILINE)
    assert found, "there is no cgroup2"
    return pathlib.Path(found[1])


def _init_of(process: subprocess.Popen[bytes], log: pathlib.Path) -> int:
    """The number, here, of the machine's process 1, once it is systemd."""
    from apiserver import wait_for

    def found() -> int:
        assert process.poll() is None, log.read_text()
        children = pathlib.Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split()
        return next((int(pid) for pid in children if pathlib.Path(f"/proc/{pid}/comm").read_text() == "systemd\n"), 0)

    return int(wait_for("systemd", found))


def _remove(group: pathlib.Path) -> None:
    """A control group and those in it, once their processes are gone."""
    from apiserver import wait_for

    def gone() -> bool:
        with contextlib.suppress(OSError):
            for inner in sorted((path for path in group.rglob("*") if path.is_dir()), reverse=True):
                inner.rmdir()
            group.rmdir()
        return not group.exists()

    wait_for("the end of the machine", gone)
