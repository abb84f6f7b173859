# SPDX-License-Identifier: Apache-2.0
"""Real runtimes for tests: Podman and containerd, each with storage and sockets of its own, and an image made of busybox."""

from __future__ import annotations

import contextlib
import hashlib
import io
import json
import os
import pathlib
import shutil
import socket
import subprocess
import tarfile
import time
from collections.abc import Callable, Iterator
from typing import Any

IMAGE = "localhost/falcolib-test:1.0"
_CNI = {"cniVersion": "0.4.0", "name": "lab", "plugins": [{"type": "loopback"}]}


def missing(*programs: str) -> str:
    """Why the runtimes can't be used here; empty if they can."""
    if os.geteuid() != 0:
        return "containers are made by root"
    lacking = [p for p in (*programs, "runc", "busybox") if shutil.which(p) is None]
    return f"not installed: {' '.join(lacking)}" if lacking else ""


def wait_for(condition: Callable[[], Any], seconds: float = 240) -> Any:
    """What the condition answers, once it is true."""
    end = time.monotonic() + seconds
    while not (value := condition()):
        assert time.monotonic() < end, "it didn't come"
        time.sleep(0.02)
    return value


def image_layer() -> bytes:
    busybox = pathlib.Path(str(shutil.which("busybox"))).read_bytes()
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w") as tar:
        program = tarfile.TarInfo("bin/busybox")
        program.size, program.mode = len(busybox), 0o755
        tar.addfile(program, io.BytesIO(busybox))
        for name in ("sh", "sleep", "cat"):
            link = tarfile.TarInfo(f"bin/{name}")
            link.type, link.linkname = tarfile.SYMTYPE, "busybox"
            tar.addfile(link)
        for name in ("proc", "sys", "dev", "etc", "mnt"):
            folder = tarfile.TarInfo(name)
            folder.type, folder.mode = tarfile.DIRTYPE, 0o755
            tar.addfile(folder)
    return out.getvalue()


def oci_archive(path: pathlib.Path) -> str:
    """Writes the image in the form that containerd imports; returns its digest."""
    layer = image_layer()

    def digest(data: bytes) -> str:
        return "sha256:" + hashlib.sha256(data).hexdigest()

    def descriptor(type_: str, data: bytes) -> dict[str, object]:
        return {"mediaType": f"application/vnd.oci.image.{type_}", "digest": digest(data), "size": len(data)}

    config = json.dumps({"architecture": "amd64", "os": "linux", "config": {"Cmd": ["/bin/sleep", "600"]},
                         "rootfs": {"type": "layers", "diff_ids": [digest(layer)]}}).encode()  # fmt: skip
    manifest = json.dumps({"schemaVersion": 2, "mediaType": "application/vnd.oci.image.manifest.v1+json",
                           "config": descriptor("config.v1+json", config),
                           "layers": [descriptor("layer.v1.tar", layer)]}).encode()  # fmt: skip
    named = descriptor("manifest.v1+json", manifest) | {"annotations": {"io.containerd.image.name": IMAGE}}
    index = {"schemaVersion": 2, "manifests": [named]}
    with tarfile.open(path, "w") as tar:
        files = {"oci-layout": b'{"imageLayoutVersion":"1.0.0"}', "index.json": json.dumps(index).encode()}
        files |= {f"blobs/sha256/{digest(d)[7:]}": d for d in (layer, config, manifest)}
        for name, data in files.items():
            info = tarfile.TarInfo(name)
            info.size = len(data)
            tar.addfile(info, io.BytesIO(data))
    return digest(manifest)


def output(*command: str, data: bytes | None = None, env: dict[str, str] | None = None) -> str:
    done = subprocess.run(command, input=data, capture_output=True, timeout=240, check=False, env={**os.environ, **(env or {})})
    assert done.returncode == 0, f"{command}: {done.stderr.decode()}"
    return done.stdout.decode().strip()


@contextlib.contextmanager
def process(log: pathlib.Path, *command: str, env: dict[str, str] | None = None) -> Iterator[None]:
    """A daemon, until the end of the block."""
    with log.open("w") as out, subprocess.Popen(command, stdout=out, stderr=out, env={**os.environ, **(env or {})}) as daemon:
        try:
            yield
        finally:
            daemon.terminate()
            daemon.wait(240)


def cgroups_of(pid: int) -> bytes:
    """The control groups of a process as recorders tell them."""
    lines = (line.split(":", 2) for line in pathlib.Path(f"/proc/{pid}/cgroup").read_text().splitlines())
    return b"".join(f"{name or 'cpu'}={path}".encode() + b"\0" for _, name, path in lines)


def _answers(path: pathlib.Path) -> bool:
    """Whether somebody listens on a socket; that it is there isn't enough."""
    with socket.socket(socket.AF_UNIX) as client:
        return client.connect_ex(str(path)) == 0


class Podman:
    """Podman's own service, with a storage of its own."""

    def __init__(self, folder: pathlib.Path) -> None:
        self.socket = folder / "podman.sock"
        storage = folder / "storage.conf"
        storage.write_text(f'[storage]\ndriver = "vfs"\ngraphroot = "{folder}/graph"\nrunroot = "{folder}/run"\n')
        self._env = {"CONTAINERS_STORAGE_CONF": str(storage)}
        self._log = folder / "podman.log"

    def __call__(self, *arguments: str, data: bytes | None = None) -> str:
        return output("podman", "--runtime", "runc", *arguments, data=data, env=self._env)

    def run(self, name: str, *arguments: str) -> tuple[str, int]:
        """Starts a container; returns its id and the process id of its first process. Its limits are ours: root may not raise them here."""
        limits = ("--ulimit", "nofile=1024:1024", "--ulimit", "nproc=1024:1024")
        id_ = self("run", "-d", "--name", name, "--network", "none", *limits, *arguments, IMAGE, "/bin/sleep", "600")
        return id_, int(self("inspect", "-f", "{{.State.Pid}}", id_))

    @contextlib.contextmanager
    def serving(self) -> Iterator[Podman]:
        self("import", "-", IMAGE, data=image_layer())
        try:
            with process(self._log, "podman", "system", "service", "--time", "0", f"unix://{self.socket}", env=self._env):
                wait_for(lambda: _answers(self.socket))
                yield self
        finally:
            self("rm", "-f", "-t", "0", "-a")


class Containerd:
    """containerd with its CRI plugin, whose pods are of the test's image, too."""

    def __init__(self, folder: pathlib.Path) -> None:
        self._folder, self.socket = folder, folder / "containerd.sock"
        (folder / "cni").mkdir()
        (folder / "cni" / "lab.conflist").write_text(json.dumps(_CNI))
        (folder / "config.toml").write_text(f'''version = 2
root = "{folder}/root"
state = "{folder}/state"
[grpc]
address = "{self.socket}"
[plugins."io.containerd.grpc.v1.cri"]
sandbox_image = "{IMAGE}"
restrict_oom_score_adj = true
[plugins."io.containerd.grpc.v1.cri".containerd]
snapshotter = "native"
[plugins."io.containerd.grpc.v1.cri".cni]
conf_dir = "{folder}/cni"
''')
        self.digest = ""

    def __call__(self, *arguments: str) -> str:
        return output("ctr", "-a", str(self.socket), *arguments)

    def run(self, name: str, *arguments: str) -> int:
        """Starts a container; returns the process id of its first process."""
        self("run", "-d", "--snapshotter", "native", *arguments, IMAGE, name, "/bin/sleep", "600")
        return next(int(line.split()[1]) for line in self("task", "ls").splitlines() if line.split()[0] == name)

    @contextlib.contextmanager
    def serving(self) -> Iterator[Containerd]:
        archive = self._folder / "image.tar"
        self.digest = oci_archive(archive)
        with process(self._folder / "containerd.log", "containerd", "-c", str(self._folder / "config.toml")):
            asks = ["ctr", "-a", str(self.socket), "version"]
            wait_for(lambda: self.socket.exists() and subprocess.run(asks, capture_output=True).returncode == 0)
            for namespace in ("default", "k8s.io"):
                self("-n", namespace, "images", "import", "--snapshotter", "native", str(archive))
            try:
                yield self
            finally:
                for namespace in ("default", "k8s.io"):
                    for task in self("-n", namespace, "task", "ls", "-q").splitlines():
                        self("-n", namespace, "task", "rm", "-f", task)
        for line in pathlib.Path("/proc/mounts").read_text().splitlines():
            if line.split()[1].startswith(str(self._folder)):
                output("umount", line.split()[1])
