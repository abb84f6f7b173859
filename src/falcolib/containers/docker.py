# SPDX-License-Identifier: Apache-2.0
"""What Docker's API tells of a container. Podman speaks the same."""

from __future__ import annotations

import contextlib
import datetime
import http.client
import json
import socket
import urllib.parse
from collections.abc import Mapping
from typing import Any

from .image import digest_of, parse

DOCKER, PODMAN = 0, 11                  # numbers of runtimes in container events
_ANSWER_MAX = 16 << 20                  # bytes


class _Connection(http.client.HTTPConnection):
    """HTTP over a unix socket."""

    def __init__(self, path: str, timeout: float) -> None:
        super().__init__("localhost", timeout=timeout)
        self._path = path

    def connect(self) -> None:
        self.sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.sock.settimeout(self.timeout)
        self.sock.connect(self._path)


class DockerApi:
    """One socket of Docker, or of Podman."""

    def __init__(self, path: str, type_: int, *, timeout: float, with_size: bool = False) -> None:
        self._path, self._type, self._timeout = path, type_, timeout
        self._with_size = with_size

    def find(self, id_: str) -> dict[str, Any] | None:
        """The container of that id, as container events tell it; None if there is none. Raises OSError if there is no answer."""
        found = self._get(f"/containers/{urllib.parse.quote(id_, safe='')}/json" + ("?size=true" if self._with_size else ""))
        if found is None or not str(found.get("Id", "")).startswith(id_):
            return None                 # names are accepted in the place of ids
        image = self._get(f"/images/{urllib.parse.quote(str(found.get('Image', '')), safe=':')}/json") if found.get("Image") else None
        return container(found, image or {}, self._type)

    def close(self) -> None:
        """Nothing is kept open."""

    def _get(self, target: str) -> dict[str, Any] | None:
        with contextlib.closing(_Connection(self._path, self._timeout)) as connection:
            try:
                connection.request("GET", target)
                response = connection.getresponse()
                body = response.read(_ANSWER_MAX + 1)
            except http.client.HTTPException as e:
                raise OSError(f"{self._path}: {e!r}") from e
        if response.status == 404:
            return None
        if response.status != 200 or len(body) > _ANSWER_MAX:
            raise OSError(f"{self._path}: GET {target}: {response.status} {response.reason}")
        try:
            answer = json.loads(body)
        except ValueError as e:
            raise OSError(f"{self._path}: GET {target}: {e}") from e
        if not isinstance(answer, dict):
            raise OSError(f"{self._path}: GET {target}: no object")
        return answer


def _object(of: Mapping[str, Any], name: str) -> dict[str, Any]:
    value = of.get(name)
    return value if isinstance(value, dict) else {}


def _list(of: Mapping[str, Any], name: str) -> list[Any]:
    value = of.get(name)
    return value if isinstance(value, list) else []


def container(found: Mapping[str, Any], image: Mapping[str, Any], type_: int) -> dict[str, Any]:
    """The answers to ``inspect`` of a container and of its image, in the form of container events."""
    config, host, network = _object(found, "Config"), _object(found, "HostConfig"), _object(found, "NetworkSettings")
    full_id, name = str(found["Id"]), str(config.get("Image") or "")
    tags = [str(tag) for tag in _list(image, "RepoTags")]
    if (not name or name.startswith("sha256:") or name == found.get("Image")) and tags:
        name = tags[0]                  # it was run by the image's id
    repository, tag, digest = parse(name)
    labels = {str(k): str(v) for k, v in _object(config, "Labels").items()}
    size = found.get("SizeRw")
    return {
        "type": type_,
        "id": full_id[:12],
        "full_id": full_id,
        "name": str(found.get("Name") or "").lstrip("/"),
        "image": name,
        "imageid": str(found.get("Image") or "").removeprefix("sha256:"),
        "imagerepo": repository,
        "imagetag": tag,
        "imagedigest": digest or digest_of([str(d) for d in _list(image, "RepoDigests")], repository),
        "User": str(config.get("User") or ""),
        "env": [str(v) for v in _list(config, "Env")],
        "labels": labels,
        "ip": _address(network),
        "cni_json": "",
        "privileged": host.get("Privileged") is True,
        "host_pid": host.get("PidMode") == "host",
        "host_network": host.get("NetworkMode") == "host",
        "host_ipc": host.get("IpcMode") == "host",
        "is_pod_sandbox": labels.get("io.kubernetes.docker.type") == "podsandbox" or found.get("IsInfra") is True,
        "pod_sandbox_id": labels.get("io.kubernetes.sandbox.id", ""),
        "pod_sandbox_labels": {},
        "Mounts": [{"Source": str(m.get("Source") or ""), "Destination": str(m.get("Destination") or ""), "Mode": str(m.get("Mode") or ""),
                    "RW": m.get("RW") is True, "Propagation": str(m.get("Propagation") or "")}
                   for m in _list(found, "Mounts") if isinstance(m, dict)],
        "port_mappings": _ports(_object(network, "Ports")),
        "created_time": _time(str(found.get("Created") or "")),
        "cpu_shares": host.get("CpuShares") or 0,
        "cpu_quota": host.get("CpuQuota") or 0,
        "cpu_period": host.get("CpuPeriod") or 0,
        "cpuset_cpu_count": cpus(str(host.get("CpusetCpus") or "")),
        "memory_limit": host.get("Memory") or 0,
        "swap_limit": host.get("MemorySwap") or 0,
        "size": size if isinstance(size, int) else -1,
    }


def _address(network: Mapping[str, Any]) -> str:
    if network.get("IPAddress"):
        return str(network["IPAddress"])
    networks = (n for n in _object(network, "Networks").values() if isinstance(n, dict))
    return next((str(n["IPAddress"]) for n in networks if n.get("IPAddress")), "")


def _ports(ports: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Only of TCP, as Falco has it: the form has no place for the protocol."""
    return [{"HostIp": str(bound.get("HostIp") or ""), "HostPort": int(bound["HostPort"]), "ContainerPort": int(port.split("/")[0])}
            for port, bindings in ports.items() if port.endswith("/tcp") and port.split("/")[0].isdigit() and isinstance(bindings, list)
            for bound in bindings if isinstance(bound, dict) and str(bound.get("HostPort", "")).isdigit()]


def _time(text: str) -> int:
    """Seconds since the epoch; 0 if the text is no time."""
    head, _, zone = text.partition(".")
    zone = zone.lstrip("0123456789")    # more digits than Python takes
    try:
        return int(datetime.datetime.fromisoformat((head + zone).replace("Z", "+00:00")).timestamp())
    except ValueError:
        return 0


def cpus(ranges: str) -> int:
    """How many are in ``0-3,7``; 0 for none."""
    count = 0
    for part in ranges.split(","):
        first, _, last = part.partition("-")
        if first.isdigit() and (not last or last.isdigit()):
            count += int(last or first) - int(first) + 1
    return count
