# SPDX-License-Identifier: Apache-2.0
"""What the Container Runtime Interface (containerd, CRI-O) tells of a container and its pod."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from .docker import cpus
from .image import parse
from .messages import CRI, Channel, classes

_RUNTIME, _IMAGE_PREFIXES = "/runtime.v1.RuntimeService/", ("sha256:",)
#: Numbers of runtimes in container events.
_TYPES = {"containerd": 7, "cri-o": 8}
_CRI = 6
_NODE = 2                               # a namespace of the node's
_PROPAGATION = ("private", "rslave", "rshared")


class CriApi:
    """One socket of a runtime of Kubernetes."""

    def __init__(self, path: str, *, timeout: float) -> None:
        self._m = classes("cri", CRI)
        self._channel = Channel(path, timeout)
        self._type: int | None = None

    def find(self, id_: str) -> dict[str, Any] | None:
        """The container, or the sandbox of a pod, of that id, as container events tell it; None if there is none.

        Raises OSError if there is no answer.
        """
        if self._type is None:
            version = self._call("Version", version="v1")
            self._type = _TYPES.get(version.runtime_name, _CRI)
        answer = self._call("ContainerStatus", container_id=id_, verbose=True)
        if answer is not None and answer.status.id == id_:      # beginnings of ids are accepted in their place
            info = _info(answer.info)
            pod = str(info.get("sandboxID") or "")
            sandbox = self._call("PodSandboxStatus", pod_sandbox_id=pod, verbose=True) if pod else None
            return container(answer.status, info, sandbox, self._type)
        answer = self._call("PodSandboxStatus", pod_sandbox_id=id_, verbose=True)
        return sandbox_container(answer, self._type) if answer is not None and answer.status.id == id_ else None

    def close(self) -> None:
        self._channel.close()

    def _call(self, method: str, **request: object) -> Any:
        return self._channel.call(_RUNTIME + method, self._m[method + "Request"](**request), self._m[method + "Response"])


def _info(info: Mapping[str, str]) -> dict[str, Any]:
    """What runtimes tell beyond the interface: JSON, under the name ``info``."""
    try:
        value = json.loads(info.get("info", "{}"))
    except ValueError:
        value = None
    return value if isinstance(value, dict) else {}


def _at(value: Any, *path: str) -> Any:
    for name in path:
        value = value.get(name) if isinstance(value, dict) else None
    return value


def _of_pod(sandbox: Any | None) -> dict[str, Any]:
    """What a container has from its pod."""
    if sandbox is None:
        return {"pod_sandbox_id": "", "pod_sandbox_labels": {}, "ip": "", "cni_json": "", "host_network": False, "host_pid": False,
                "host_ipc": False}  # fmt: skip
    status = sandbox.status
    options = status.linux.namespaces.options
    cni = _at(_info(sandbox.info), "cniResult")
    return {
        "pod_sandbox_id": status.id,
        "pod_sandbox_labels": dict(status.labels),
        "ip": status.network.ip,
        "cni_json": json.dumps(cni, separators=(",", ":")) if cni else "",
        "host_network": options.network == _NODE,
        "host_pid": options.pid == _NODE,
        "host_ipc": options.ipc == _NODE,
    }


def _labels(labels: Mapping[str, str], sandbox: Any | None) -> dict[str, str]:
    """A container's labels, with those that tell its pod, which only the kubelet sets, and only on containers."""
    pod = {}
    if sandbox is not None:
        metadata = sandbox.status.metadata
        pod = {"io.kubernetes.pod.name": metadata.name, "io.kubernetes.pod.uid": metadata.uid,
               "io.kubernetes.pod.namespace": metadata.namespace}  # fmt: skip
    return pod | dict(labels)


def container(status: Any, info: Mapping[str, Any], sandbox: Any | None, type_: int) -> dict[str, Any]:
    """A container's status in the form of container events."""
    config, limits = _at(info, "config") or {}, _at(info, "runtimeSpec", "linux", "resources") or {}
    # where the interface tells an id only, the configuration has the name that was asked for
    asked = str(_at(config, "image", "user_specified_image") or _at(config, "annotations", "io.kubernetes.cri.image-name") or "")
    name = asked if asked and status.image.image.startswith(_IMAGE_PREFIXES) else status.image.image
    repository, tag, digest = parse(name)
    reference, _, of_reference = status.image_ref.partition("@")
    privileged = _at(config, "linux", "security_context", "privileged")
    if privileged is None:              # CRI-O
        privileged = _at(info, "privileged")
    envs = config.get("envs")
    return {
        "type": type_,
        "id": status.id[:12],
        "full_id": status.id,
        "name": status.metadata.name,
        "image": name,
        "imageid": reference.removeprefix("sha256:") if not of_reference else of_reference.removeprefix("sha256:"),
        "imagerepo": repository,
        "imagetag": tag,
        "imagedigest": digest or of_reference or (reference if reference.startswith("sha256:") else ""),
        "User": "",
        "env": [f"{e.get('key', '')}={e.get('value', '')}" for e in envs if isinstance(e, dict)] if isinstance(envs, list) else [],
        "labels": _labels(status.labels, sandbox),
        "privileged": privileged is True,
        "is_pod_sandbox": False,
        "Mounts": [{"Source": m.host_path, "Destination": m.container_path, "Mode": "", "RW": not m.readonly,
                    "Propagation": _PROPAGATION[m.propagation] if 0 <= m.propagation < len(_PROPAGATION) else "unknown"}
                   for m in status.mounts],
        "port_mappings": [],
        "created_time": status.created_at // 10**9,
        "cpu_shares": _at(limits, "cpu", "shares") or 0,
        "cpu_quota": _at(limits, "cpu", "quota") or 0,
        "cpu_period": _at(limits, "cpu", "period") or 0,
        "cpuset_cpu_count": cpus(str(_at(limits, "cpu", "cpus") or "")),
        "memory_limit": _at(limits, "memory", "limit") or 0,
        "swap_limit": _at(limits, "memory", "swap") or 0,
        "size": -1,
        **_of_pod(sandbox),
    }


def sandbox_container(sandbox: Any, type_: int) -> dict[str, Any]:
    """The container that holds a pod's namespaces, in the form of container events."""
    status, info = sandbox.status, _info(sandbox.info)
    name = str(info.get("image") or "")
    repository, tag, digest = parse(name)
    privileged = _at(info, "config", "linux", "security_context", "privileged")
    return {
        "type": type_,
        "id": status.id[:12],
        "full_id": status.id,
        "name": status.metadata.name,
        "image": name,
        "imageid": "",
        "imagerepo": repository,
        "imagetag": tag,
        "imagedigest": digest,
        "User": "",
        "env": [],
        "labels": _labels(status.labels, sandbox),
        "privileged": privileged is True,
        "is_pod_sandbox": True,
        "Mounts": [],
        "port_mappings": [],
        "created_time": status.created_at // 10**9,
        "size": -1,
        **_of_pod(sandbox),
    }
