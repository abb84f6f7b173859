# SPDX-License-Identifier: Apache-2.0
"""Calls of the Container Runtime Interface and of containerd: the few messages, and the few members of them, that we ask for.

The numbers are those of the interfaces' definitions (runtime.v1 of Kubernetes' CRI; containerd's services). Protocol buffers pass over
members that aren't named here. Classes are made of the tables when the first runtime is asked, so there is no generated code.
"""

from __future__ import annotations

import functools
from collections.abc import Mapping
from typing import Any

import grpc
from google.protobuf import descriptor_pb2, descriptor_pool, message_factory

_Field = descriptor_pb2.FieldDescriptorProto
_TYPES = {"string": _Field.TYPE_STRING, "bytes": _Field.TYPE_BYTES, "bool": _Field.TYPE_BOOL, "int32": _Field.TYPE_INT32,
          "int64": _Field.TYPE_INT64, "uint32": _Field.TYPE_UINT32}  # fmt: skip

#: Members of messages: number and type. ``[X]``: repeated; ``map``: of strings to strings. Enumerations are int32.
Table = Mapping[str, Mapping[str, tuple[int, str]]]

CRI: Table = {
    "VersionRequest": {"version": (1, "string")},
    "VersionResponse": {"runtime_name": (2, "string"), "runtime_version": (3, "string")},
    "ContainerStatusRequest": {"container_id": (1, "string"), "verbose": (2, "bool")},
    "ContainerStatusResponse": {"status": (1, "ContainerStatus"), "info": (2, "map")},
    "ContainerStatus": {
        "id": (1, "string"), "metadata": (2, "ContainerMetadata"), "created_at": (4, "int64"), "image": (8, "ImageSpec"),
        "image_ref": (9, "string"), "labels": (12, "map"), "annotations": (13, "map"), "mounts": (14, "[Mount]"),
    },
    "ContainerMetadata": {"name": (1, "string"), "attempt": (2, "uint32")},
    "ImageSpec": {"image": (1, "string")},
    "Mount": {"container_path": (1, "string"), "host_path": (2, "string"), "readonly": (3, "bool"), "propagation": (5, "int32")},
    "PodSandboxStatusRequest": {"pod_sandbox_id": (1, "string"), "verbose": (2, "bool")},
    "PodSandboxStatusResponse": {"status": (1, "PodSandboxStatus"), "info": (2, "map")},
    "PodSandboxStatus": {
        "id": (1, "string"), "metadata": (2, "PodSandboxMetadata"), "created_at": (4, "int64"), "network": (5, "PodSandboxNetworkStatus"),
        "linux": (6, "LinuxPodSandboxStatus"), "labels": (7, "map"), "annotations": (8, "map"),
    },
    "PodSandboxMetadata": {"name": (1, "string"), "uid": (2, "string"), "namespace": (3, "string"), "attempt": (4, "uint32")},
    "PodSandboxNetworkStatus": {"ip": (1, "string")},
    "LinuxPodSandboxStatus": {"namespaces": (1, "Namespace")},
    "Namespace": {"options": (2, "NamespaceOption")},
    "NamespaceOption": {"network": (1, "int32"), "pid": (2, "int32"), "ipc": (3, "int32")},
}  # fmt: skip

CONTAINERD: Table = {
    "ListNamespacesRequest": {"filter": (1, "string")},
    "ListNamespacesResponse": {"namespaces": (1, "[ContainerdNamespace]")},
    "ContainerdNamespace": {"name": (1, "string")},
    "GetContainerRequest": {"id": (1, "string")},
    "GetContainerResponse": {"container": (1, "Container")},
    "Container": {"id": (1, "string"), "labels": (2, "map"), "image": (3, "string"), "spec": (5, "Any"), "created_at": (8, "Timestamp")},
    "Any": {"type_url": (1, "string"), "value": (2, "bytes")},
    "Timestamp": {"seconds": (1, "int64")},
    "GetImageRequest": {"name": (1, "string")},
    "GetImageResponse": {"image": (1, "Image")},
    "Image": {"name": (1, "string"), "target": (3, "Descriptor")},
    "Descriptor": {"digest": (2, "string")},
}


@functools.cache
def _classes(package: str, key: int) -> Mapping[str, Any]:
    file = descriptor_pb2.FileDescriptorProto(name=f"falcolib/{package}.proto", package=f"falcolib.{package}", syntax="proto3")
    for name, members in _TABLES[key].items():
        message = file.message_type.add(name=name)
        for member, (number, type_) in members.items():
            label = _Field.LABEL_REPEATED if type_ == "map" or type_.startswith("[") else _Field.LABEL_OPTIONAL
            field = message.field.add(name=member, number=number, label=label)
            if type_ == "map":
                entry = message.nested_type.add(name=member.title().replace("_", "") + "Entry")
                entry.options.map_entry = True
                for i, part in enumerate(("key", "value"), 1):
                    entry.field.add(name=part, number=i, label=_Field.LABEL_OPTIONAL, type=_Field.TYPE_STRING)
                type_ = f"{name}.{entry.name}"
            plain = type_.strip("[]")
            if plain in _TYPES:
                field.type = _TYPES[plain]
            else:
                field.type, field.type_name = _Field.TYPE_MESSAGE, f".{file.package}.{plain}"
    pool = descriptor_pool.DescriptorPool()
    pool.Add(file)
    return {name: message_factory.GetMessageClass(pool.FindMessageTypeByName(f"{file.package}.{name}")) for name in _TABLES[key]}


_TABLES: dict[int, Table] = {}


def classes(package: str, table: Table) -> Mapping[str, Any]:
    """The message classes of a table, by their names."""
    _TABLES[id(table)] = table
    return _classes(package, id(table))


class Channel:
    """One socket that speaks gRPC."""

    def __init__(self, path: str, timeout: float) -> None:
        self._path, self._timeout = path, timeout
        # without a proxy of the environment: the socket is this machine's; reconnects soon after the runtime's restart
        options = [("grpc.enable_http_proxy", 0), ("grpc.max_receive_message_length", 16 << 20), ("grpc.max_reconnect_backoff_ms", 2000)]
        self._channel = grpc.insecure_channel(f"unix://{path}", options=options)

    def call(self, method: str, request: Any, response: Any, *, metadata: tuple[tuple[str, str], ...] = ()) -> Any | None:
        """The answer, None if it is that there is no such thing. Raises OSError if there is no answer."""
        function = self._channel.unary_unary(method, request_serializer=type(request).SerializeToString,
                                             response_deserializer=response.FromString)
        try:
            return function(request, timeout=self._timeout, metadata=metadata)
        except grpc.RpcError as e:
            code = e.code() if isinstance(e, grpc.Call) else None
            if code is grpc.StatusCode.NOT_FOUND:
                return None
            if code is grpc.StatusCode.UNIMPLEMENTED:
                raise NotImplementedError(f"{self._path}: {method} is not offered") from e
            raise OSError(f"{self._path}: {method}: {e.details() if isinstance(e, grpc.Call) else e}") from e

    def close(self) -> None:
        self._channel.close()
