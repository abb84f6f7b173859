# SPDX-License-Identifier: Apache-2.0
"""Whom to ask about containers, and how long to wait for an answer."""

from __future__ import annotations

import dataclasses
import glob
import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import TypeVar

from .image import parse

#: Sockets by runtime, in the order in which they are asked. A name may be a pattern. These are those of Falco's container plugin.
SOCKETS: Mapping[str, tuple[str, ...]] = {
    "docker": ("/var/run/docker.sock",),
    "podman": ("/run/podman/podman.sock", "/run/user/*/podman/podman.sock"),
    "cri": ("/run/containerd/containerd.sock", "/run/crio/crio.sock", "/run/k3s/containerd/containerd.sock",
            "/run/host-containerd/containerd.sock"),
    "containerd": ("/run/containerd/containerd.sock", "/run/host-containerd/containerd.sock"),
}
_Kind = TypeVar("_Kind")
#: Engines of Falco's plugin that have no socket: the control groups tell all that is known.
_WITHOUT_SOCKET = ("lxc", "libvirt_lxc", "bpm")


@dataclass(frozen=True, slots=True)
class StaticContainer:
    """The one container that all processes are in: for hosts whose control groups don't tell (Falco's engine ``static``)."""

    id: str
    name: str = ""
    image: str = ""

    def told(self) -> bytes:
        """In the JSON of container events."""
        repository, tag, digest = parse(self.image)
        told = {"type": 10, "id": self.id, "full_id": self.id, "name": self.name, "image": self.image, "imagerepo": repository,
                "imagetag": tag, "imagedigest": digest}  # fmt: skip
        return json.dumps({"container": told}).encode()


@dataclass(frozen=True, slots=True)
class Containers:
    """Whom an engine asks about containers, on live sources; a capture tells what its recorder knew.

    docker, podman, cri, containerd: paths of sockets, or patterns of them; none: the runtime isn't asked. Those that don't exist are passed
    over. cri and containerd need ``pip install falcolib[containers]``.

    label_max_len: characters of a label's value; longer labels are left out. with_size: also ask Docker and Podman for the size of the
    container's layer, which takes them long. wait: seconds that the first events of a new container may be kept waiting for the answer;
    at most a fifth of the time is spent so. timeout: seconds until a runtime that doesn't answer is given up, and not asked for a while.
    attempts: how often a container that no runtime knows is asked for, after 0.1 s, 0.2 s, 0.4 s, …, until container.lookup is ``unknown``.
    """

    docker: tuple[str, ...] = SOCKETS["docker"]
    podman: tuple[str, ...] = SOCKETS["podman"]
    cri: tuple[str, ...] = SOCKETS["cri"]
    containerd: tuple[str, ...] = SOCKETS["containerd"]
    static: StaticContainer | None = None
    label_max_len: int = 100
    with_size: bool = False
    wait: float = 0.05
    timeout: float = 2.0
    attempts: int = 6

    @classmethod
    def none(cls) -> Containers:
        """Asks nobody: ids only."""
        return cls(docker=(), podman=(), cri=(), containerd=())

    @classmethod
    def from_config(cls, config: Mapping[str, object]) -> Containers:
        """From the ``init_config`` of Falco's container plugin, as in falco.yaml.

        It has ``label_max_len``, ``with_size``, ``hooks``, and ``engines`` with ``enabled`` and ``sockets`` of each.

        Containers are asked for when their first process comes up, whatever ``hooks`` says.

        Raises ValueError for a name or a value that the plugin doesn't have.
        """
        known = ("label_max_len", "with_size", "hooks", "engines", "host_root")
        for name in config:
            if name not in known:
                raise ValueError(f"container: {name} is none of {', '.join(known)}")
        changes: dict[str, object] = {}
        if "label_max_len" in config:
            changes["label_max_len"] = _expect(config["label_max_len"], int, "label_max_len")
        if "with_size" in config:
            changes["with_size"] = _expect(config["with_size"], bool, "with_size")
        for name, settings in _expect(config.get("engines") or {}, dict, "engines").items():
            engine = _expect(settings or {}, dict, f"engines.{name}")
            if name in SOCKETS:
                changes[name] = _sockets(engine, name)
            elif name == "static":
                if engine.get("enabled", False):
                    changes["static"] = StaticContainer(*(str(engine.get(f"container_{part}", "")) for part in ("id", "name", "image")))
            elif name not in _WITHOUT_SOCKET:
                raise ValueError(f"container: engines.{name} is none of {', '.join((*SOCKETS, *_WITHOUT_SOCKET, 'static'))}")
        return dataclasses.replace(cls(), **changes)            # type: ignore[arg-type]

    @property
    def asks(self) -> bool:
        """Whether there is anybody to ask."""
        return self.static is None and any(getattr(self, runtime) for runtime in SOCKETS)

    def sockets(self) -> Iterator[tuple[str, str]]:
        """Runtimes and their sockets that exist now."""
        for runtime in SOCKETS:
            for pattern in getattr(self, runtime):
                for path in sorted(glob.glob(pattern)):
                    yield runtime, path


def _sockets(engine: Mapping[str, object], name: str) -> tuple[str, ...]:
    if not _expect(engine.get("enabled", True), bool, f"engines.{name}.enabled"):
        return ()
    return tuple(map(str, _expect(engine.get("sockets", list(SOCKETS[name])), list, f"engines.{name}.sockets")))


_KINDS: Mapping[type, str] = {int: "a whole number", bool: "true or false", dict: "keys and values", list: "a list"}


def _expect(value: object, kind: type[_Kind], name: str) -> _Kind:
    if not isinstance(value, kind):
        raise ValueError(f"container: {name}: expected {_KINDS[kind]}, not {value!r}")
    return value
