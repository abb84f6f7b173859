# SPDX-License-Identifier: Apache-2.0
"""Real containers of Podman, of containerd and of its CRI plugin, and what their runtimes tell of them."""

from __future__ import annotations

import contextlib
import os
import pathlib
from collections.abc import Iterator
from typing import Any

import pytest

import container_runtimes
import falcolib
from container_runtimes import IMAGE, Containerd, Podman, cgroups_of
from falcolib.containers import Containers
from live import PATIENCE
from scapwriter import capture, probe
from state_events import CHILD_IN_PIDNS, bash, clone
from test_containers import Live

pytestmark = pytest.mark.containers
_NODE, _POD = 2, 0


@pytest.fixture(scope="module")
def podman(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Podman]:
    if why := container_runtimes.missing("podman"):
        pytest.skip(why)
    with Podman(tmp_path_factory.mktemp("podman")).serving() as podman:
        yield podman


@pytest.fixture(scope="module")
def containerd(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Containerd]:
    if why := container_runtimes.missing("containerd", "ctr"):
        pytest.skip(why)
    with Containerd(tmp_path_factory.mktemp("containerd")).serving() as containerd:
        yield containerd


def told(containers: Containers, pid: int, *fields: str) -> dict[str, object]:
    """What fields tell of a process in the control groups of a real one, once the runtimes have been asked."""
    return asked(containers, cgroups_of(pid), *fields)


def asked(containers: Containers, cgroups: bytes, *fields: str) -> dict[str, object]:
    child = clone(0, tid=200, pid=200, ptid=100, vtid=1, vpid=1, flags=CHILD_IN_PIDNS, cgroups=cgroups)
    values: dict[str, object] = {}
    for now in falcolib.Engine(containers=containers).events(Live(capture(bash()), child, probe(200))):
        values = {name: now[name] for name in ("container.lookup", *fields)}
    return values


def only(**sockets: pathlib.Path) -> Containers:
    paths = {k: (str(v),) for k, v in sockets.items()}
    return Containers(**({"docker": (), "podman": (), "cri": (), "containerd": ()} | paths), wait=PATIENCE, timeout=PATIENCE, attempts=3)


def test_podman(podman: Podman, tmp_path: pathlib.Path) -> None:
    id_, pid = podman.run("shop", "--label", "app=shop", "-v", f"{tmp_path}:/mnt:ro", "--pid", "host", "--env", "A=1")
    expected = {
        "container.id": id_[:12], "container.full_id": id_, "container.type": "podman", "container.name": "shop", "container.image": IMAGE,
        "container.image.repository": "localhost/falcolib-test", "container.image.tag": "1.0", "container.label[app]": "shop",
        "container.mount.dest[0]": "/mnt", "container.mount.rdwr[/tmp/*]": "false", f"container.mount.source[{'/mnt'}]": str(tmp_path),
        "container.privileged": False, "container.host_pid": True, "container.host_ipc": False,
        "container.image.id": podman("inspect", "-f", "{{.Image}}", id_),
        "container.image.digest": podman("inspect", "-f", "{{.ImageDigest}}", id_),
    }  # fmt: skip
    assert told(only(podman=podman.socket), pid, *expected) == {"container.lookup": "known"} | expected


def test_a_privileged_container_of_podman(podman: Podman) -> None:
    _, pid = podman.run("root", "--privileged")
    assert told(only(podman=podman.socket), pid, "container.privileged", "container.name") == {
        "container.lookup": "known", "container.privileged": True, "container.name": "root"}  # fmt: skip


def test_a_container_that_podman_has_removed(podman: Podman) -> None:
    id_, pid = podman.run("brief")
    cgroups = cgroups_of(pid)
    podman("rm", "-f", "-t", "0", id_)
    assert asked(only(podman=podman.socket), cgroups, "container.id", "container.name") == {
        "container.lookup": "unknown", "container.id": id_[:12], "container.name": None}  # fmt: skip


def test_containerd(containerd: Containerd) -> None:
    name = f"web-{os.getpid()}"             # containerd's shims share a folder of the machine
    pid = containerd.run(name, "--label", "app=shop", "--mount", "type=bind,src=/tmp,dst=/mnt,options=rbind:ro", "--net-host")
    expected = {
        "container.id": name, "container.type": "containerd", "container.name": name, "container.image": IMAGE,
        "container.image.tag": "1.0", "container.image.digest": containerd.digest, "container.label[app]": "shop",
        "container.mount.source[/mnt]": "/tmp", "container.mount.rdwr[/tmp]": "false", "container.privileged": False,
        "container.host_network": True, "container.host_pid": False,
    }  # fmt: skip
    assert told(only(containerd=containerd.socket), pid, *expected) == {"container.lookup": "known"} | expected


class Kubelet:
    """Makes pods as Kubernetes does, by the CRI."""

    def __init__(self, path: pathlib.Path) -> None:
        from falcolib.containers.messages import CRI, Channel, classes

        self._m = classes("kubelet", CRI | {
            "RunPodSandboxRequest": {"config": (1, "PodSandboxConfig")},
            "RunPodSandboxResponse": {"pod_sandbox_id": (1, "string")},
            "PodSandboxConfig": {"metadata": (1, "PodSandboxMetadata"), "labels": (6, "map"), "linux": (8, "LinuxPodSandboxConfig")},
            "LinuxPodSandboxConfig": {"security_context": (2, "SandboxSecurityContext")},
            "SandboxSecurityContext": {"namespace_options": (1, "NamespaceOption"), "privileged": (6, "bool")},
            "CreateContainerRequest": {"pod_sandbox_id": (1, "string"), "config": (2, "ContainerConfig"),
                                       "sandbox_config": (3, "PodSandboxConfig")},
            "CreateContainerResponse": {"container_id": (1, "string")},
            "ContainerConfig": {"metadata": (1, "ContainerMetadata"), "image": (2, "ImageSpec"), "command": (3, "[string]"),
                                "mounts": (7, "[Mount]"), "labels": (9, "map"), "linux": (15, "LinuxContainerConfig")},
            "LinuxContainerConfig": {"security_context": (2, "ContainerSecurityContext")},
            "ContainerSecurityContext": {"privileged": (2, "bool"), "namespace_options": (3, "NamespaceOption")},
            "StartContainerRequest": {"container_id": (1, "string")}, "StartContainerResponse": {},
            "RemovePodSandboxRequest": {"pod_sandbox_id": (1, "string")}, "RemovePodSandboxResponse": {},
            "StopPodSandboxRequest": {"pod_sandbox_id": (1, "string")}, "StopPodSandboxResponse": {},
            "ImageStatusRequest": {"image": (1, "ImageSpec")}, "ImageStatusResponse": {"image": (1, "Image")},
            "Image": {"id": (1, "string")},
        })  # fmt: skip
        self._channel = Channel(str(path), PATIENCE)
        container_runtimes.wait_for(self._ready)

    def __call__(self, method: str, **request: Any) -> Any:
        asked, answer = self._m[method + "Request"](**request), self._m[method + "Response"]
        return self._channel.call(f"/runtime.v1.RuntimeService/{method}", asked, answer)

    def _ready(self) -> bool:
        """Whether the CRI plugin serves, and has heard of the image, which was imported past it: both come after a while."""
        asked = self._m["ImageStatusRequest"](image=self._m["ImageSpec"](image=IMAGE))
        with contextlib.suppress(OSError):
            answer = self._channel.call("/runtime.v1.ImageService/ImageStatus", asked, self._m["ImageStatusResponse"])
            return answer is not None and bool(answer.image.id)
        return False

    def pid(self, kind: str, **id_: str) -> int:
        from falcolib.containers import cri

        return int(cri._info(self(kind, verbose=True, **id_).info)["pid"])


def test_a_pod(containerd: Containerd) -> None:
    kubelet = Kubelet(containerd.socket)
    config = {"metadata": {"name": "shop", "uid": "u-1", "namespace": "prod"}, "labels": {"tier": "front"},
              "linux": {"security_context": {"namespace_options": {"network": _NODE, "pid": 1}}}}  # fmt: skip
    pod = kubelet("RunPodSandbox", config=config).pod_sandbox_id
    try:
        container = kubelet("CreateContainer", pod_sandbox_id=pod, sandbox_config=config, config={
            "metadata": {"name": "web"}, "image": {"image": IMAGE}, "command": ["/bin/sleep", "600"], "labels": {"app": "shop"},
            "mounts": [{"container_path": "/mnt", "host_path": "/tmp", "readonly": True}],
            "linux": {"security_context": {"namespace_options": {"network": _NODE, "pid": 1}}}}).container_id  # fmt: skip
        kubelet("StartContainer", container_id=container)
        expected = {
            "container.id": container[:12], "container.full_id": container, "container.type": "containerd", "container.name": "web",
            "container.image": IMAGE, "container.image.repository": "localhost/falcolib-test", "container.image.tag": "1.0",
            "container.label[app]": "shop", "container.mount.dest[/tmp]": "/mnt", "container.mount.rdwr[/tmp]": "false",
            "container.privileged": False, "container.host_network": True, "container.host_pid": False, "k8s.pod.name": "shop",
            "k8s.ns.name": "prod", "k8s.pod.uid": "u-1", "k8s.pod.labels": "tier:front", "k8s.pod.label[tier]": "front",
            "k8s.pod.sandbox_id": pod[:12], "k8s.pod.full_sandbox_id": pod,
        }  # fmt: skip
        pid = kubelet.pid("ContainerStatus", container_id=container)
        assert told(only(cri=containerd.socket), pid, *expected) == {"container.lookup": "known"} | expected
        sandbox = {"container.id": pod[:12], "container.name": "shop", "container.type": "containerd", "container.image": IMAGE,
                   "k8s.pod.name": "shop", "k8s.pod.sandbox_id": pod[:12], "container.host_network": True}  # fmt: skip
        pid = kubelet.pid("PodSandboxStatus", pod_sandbox_id=pod)
        assert told(only(cri=containerd.socket), pid, *sandbox) == {"container.lookup": "known"} | sandbox
    finally:
        kubelet("StopPodSandbox", pod_sandbox_id=pod)
        kubelet("RemovePodSandbox", pod_sandbox_id=pod)


def test_cri_passes_over_containers_of_others(containerd: Containerd) -> None:
    name = f"other-{os.getpid()}"
    pid = containerd.run(name)
    containers = only(cri=containerd.socket, containerd=containerd.socket)
    assert told(containers, pid, "container.name") == {"container.lookup": "known", "container.name": name}
