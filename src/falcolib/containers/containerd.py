# SPDX-License-Identifier: Apache-2.0
"""What containerd tells of a container that no layer above it made: ``ctr run``, nerdctl, BuildKit."""

from __future__ import annotations

import json
from typing import Any

from .docker import cpus
from .image import parse
from .messages import CONTAINERD, Channel, classes

_TYPE = 7                               # of containerd in container events
_SERVICES = "/containerd.services."
#: Capabilities that only privileged containers have together; containerd itself doesn't know the word.
_PRIVILEGED = {"CAP_SYS_ADMIN", "CAP_SYS_MODULE", "CAP_SYS_RAWIO"}


class ContainerdApi:
    """One socket of containerd: all of its namespaces."""

    def __init__(self, path: str, *, timeout: float) -> None:
        self._m = classes("containerd", CONTAINERD)
        self._channel = Channel(path, timeout)

    def find(self, id_: str) -> dict[str, Any] | None:
        """The container of that id, as container events tell it; None if no namespace has it. Raises OSError if there is no answer."""
        namespaces = self._channel.call(f"{_SERVICES}namespaces.v1.Namespaces/List", self._m["ListNamespacesRequest"](),
                                        self._m["ListNamespacesResponse"])
        for namespace in namespaces.namespaces if namespaces is not None else ():
            where = (("containerd-namespace", namespace.name),)
            answer = self._channel.call(f"{_SERVICES}containers.v1.Containers/Get", self._m["GetContainerRequest"](id=id_),
                                        self._m["GetContainerResponse"], metadata=where)
            if answer is None:
                continue
            image = None
            if answer.container.image:
                image = self._channel.call(f"{_SERVICES}images.v1.Images/Get", self._m["GetImageRequest"](name=answer.container.image),
                                           self._m["GetImageResponse"], metadata=where)
            return container(answer.container, image.image.target.digest if image is not None else "")
        return None

    def close(self) -> None:
        self._channel.close()


def _spec(value: bytes) -> dict[str, Any]:
    try:
        spec = json.loads(value or b"{}")
    except ValueError:
        spec = None
    return spec if isinstance(spec, dict) else {}


def container(found: Any, digest: str) -> dict[str, Any]:
    """A container of containerd in the form of container events; what it doesn't say itself comes from its OCI specification."""
    spec = _spec(found.spec.value)
    process, linux = spec.get("process") or {}, spec.get("linux") or {}
    resources = linux.get("resources") or {}
    cpu, memory = resources.get("cpu") or {}, resources.get("memory") or {}
    bounding = set((process.get("capabilities") or {}).get("bounding") or ())
    user = process.get("user") or {}
    repository, tag, of_name = parse(found.image)
    return {
        "type": _TYPE,
        "id": found.id[:12],
        "full_id": found.id,
        "name": found.labels.get("nerdctl/name") or found.id,
        "image": found.image,
        "imageid": digest.removeprefix("sha256:"),
        "imagerepo": repository,
        "imagetag": tag,
        "imagedigest": of_name or digest,
        "User": str(user.get("username") or user.get("uid") or 0),
        "env": [str(e) for e in process.get("env") or ()],
        "labels": dict(found.labels),
        "ip": "",
        "cni_json": "",
        "privileged": bounding >= _PRIVILEGED and not linux.get("maskedPaths"),
        "host_pid": bool(spec) and not _has(linux, "pid"),
        "host_network": bool(spec) and not _has(linux, "network"),
        "host_ipc": bool(spec) and not _has(linux, "ipc"),
        "is_pod_sandbox": False,
        "pod_sandbox_id": "",
        "pod_sandbox_labels": {},
        "Mounts": [_mount(m) for m in spec.get("mounts") or () if m.get("type") == "bind" or "rbind" in (m.get("options") or ())],
        "port_mappings": [],
        "created_time": found.created_at.seconds,
        "cpu_shares": cpu.get("shares") or 0,
        "cpu_quota": cpu.get("quota") or 0,
        "cpu_period": cpu.get("period") or 0,
        "cpuset_cpu_count": cpus(str(cpu.get("cpus") or "")),
        "memory_limit": memory.get("limit") or 0,
        "swap_limit": memory.get("swap") or 0,
        "size": -1,
    }


def _has(linux: dict[str, Any], type_: str) -> bool:
    """Whether the container is in a namespace of that type that isn't the host's."""
    return any(n.get("type") == type_ for n in linux.get("namespaces") or ())


def _mount(mount: dict[str, Any]) -> dict[str, Any]:
    options = [str(o) for o in mount.get("options") or ()]
    propagation = next((o for o in options if o.lstrip("r") in ("private", "shared", "slave")), "private")
    return {"Source": str(mount.get("source") or ""), "Destination": str(mount.get("destination") or ""), "Mode": ",".join(options),
            "RW": "ro" not in options, "Propagation": propagation}  # fmt: skip
