# SPDX-License-Identifier: Apache-2.0
"""The outputs that falco.yaml asks for."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from typing import TYPE_CHECKING

from .channel import Channel, Retry
from .output import Output, OutputError
from .outputs import Outputs
from .queue import MemoryQueue, Queue

if TYPE_CHECKING:
    from ..config import Configuration

#: What may wait in a replay, which waits for room: more would only take memory.
_REPLAY = 4096


def from_config(config: Configuration, *, replay: bool = False, guard: AbstractContextManager[object] | None = None) -> Outputs:
    """The outputs that a configuration asks for, notifications among them. replay: nothing is dropped for want of room: emit() waits; and
    nothing is spooled. guard: what is held while lines are written to standard output: that of a progress bar.

    Raises OutputError, which names the key, if one can't be used; OSError if there is no standard output.
    """
    from . import notify

    spooled = config.spool.enabled and not replay
    retry = Retry(0 if spooled else config.outputs_queue.attempts)      # with a spool until it works: that is what it is for
    channels = []
    for name, make in _OUTPUTS.items():
        group = getattr(config, f"{name}_output")
        if group.enabled:
            with _key_of(f"{name}_output"):
                output = make(config, guard)
            channels.append(Channel(output, queue=_queue(config, output, replay), minimum_priority=group.minimum_priority, tags=group.tags,
                                    retry=retry, wait=replay))
    channels += notify.channels(config, queue=lambda output: _queue(config, output, replay), retry=retry, wait=replay)
    return Outputs(channels, timeout=config.output_timeout / 1e9, drain=config.outputs_queue.drain_timeout / 1e9)


def check(config: Configuration) -> None:
    """Makes the outputs that a configuration asks for, and lets them go: nothing is connected to, started, written or made.

    Raises OutputError, which names the key, if one can't be used.
    """
    from . import notify

    for name, make in _OUTPUTS.items():
        if name != "stdout" and getattr(config, f"{name}_output").enabled and not (name == "file" and _would_be_new(config)):
            with _key_of(f"{name}_output"):
                make(config, None).close()
    notify.check(config)


def _would_be_new(config: Configuration) -> bool:
    """Whether file_output would make its file."""
    path = os.path.expanduser(config.file_output.filename)
    return bool(path) and not os.path.lexists(path) and os.path.isdir(os.path.dirname(path) or ".")


@contextmanager
def _key_of(group: str) -> Iterator[None]:
    """Names the whole key in an error of an output, which knows its setting's name in its group."""
    try:
        yield
    except OutputError as e:
        key = f"{group}.{e.key}" if e.key else group
        raise OutputError(f"{key}: {e}", key=key) from None


def _queue(config: Configuration, output: Output, replay: bool) -> Queue:
    """What waits for an output: on disk if the configuration has a spool, but for standard output, which is there, or we aren't."""
    capacity, spool = config.outputs_queue.capacity, config.spool
    if replay:
        return MemoryQueue(min(capacity or _REPLAY, _REPLAY))
    if not spool.enabled or output.name == "stdout":
        return MemoryQueue(capacity)
    from .spool import Spool

    try:
        return Spool(spool.path, output.name, max_bytes=spool.max_size_mb << 20, fsync=spool.fsync)
    except OutputError as e:
        raise OutputError(f"spool.path: {e}", key="spool.path") from None


def _stdout(config: Configuration, guard: AbstractContextManager[object] | None) -> Output:
    from .stdout import StdoutOutput

    return StdoutOutput(json=config.json_output, buffered=config.buffered_outputs, guard=guard)


def _syslog(config: Configuration, _: object) -> Output:
    from .syslog import SyslogOutput

    group = config.syslog_output
    return SyslogOutput(group.address, json=config.json_output, ident=group.ident, ca_cert=group.ca_cert)


def _file(config: Configuration, _: object) -> Output:
    from .file import FileOutput

    group = config.file_output
    return FileOutput(group.filename, json=config.json_output, keep_alive=group.keep_alive, buffered=config.buffered_outputs)


def _program(config: Configuration, _: object) -> Output:
    from .program import ProgramOutput

    group = config.program_output
    return ProgramOutput(group.program, json=config.json_output, keep_alive=group.keep_alive, processes=group.processes,
                         timeout=group.timeout / 1e9)


def _http(config: Configuration, _: object) -> Output:
    from .client import Tls
    from .http import HttpOutput

    group = config.http_output
    tls = Tls(group.insecure, group.ca_cert, group.ca_bundle, group.ca_path, *((group.client_cert, group.client_key) if group.mtls else ()))
    return HttpOutput(
        group.url, json=config.json_output, user_agent=group.user_agent, compress=group.compress_uploads, echo=group.echo,
        keep_alive=group.keep_alive, timeout=group.timeout / 1e9, tls=tls,
        most_timeouts=None if config.spool.enabled else group.max_consecutive_timeouts)


_OUTPUTS: dict[str, Callable[[Configuration, AbstractContextManager[object] | None], Output]] = {
    "stdout": _stdout, "syslog": _syslog, "file": _file, "program": _program, "http": _http}
