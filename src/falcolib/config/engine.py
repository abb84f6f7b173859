# SPDX-License-Identifier: Apache-2.0
"""Groups of falco.yaml about the engine: where events come from, what is kept, and what happens when they are lost."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, Literal

from .keys import Group, key

Strategy = Literal["append", "override", "add-only"]
DropAction = Literal["ignore", "log", "alert", "exit"]
Severity = Literal["fatal", "critical", "error", "warning", "notice", "info", "debug", "trace"]


class ConfigFile(Group, frozen=True):
    """An entry of config_files."""

    path: str
    strategy: Strategy = "append"


def config_file_entries(entries: Any) -> tuple[ConfigFile, ...]:
    """config_files: paths, or mappings of path and strategy. Raises ValueError."""
    found = []
    for entry in entries if isinstance(entries, list) else [entries]:
        told = {"path": entry} if isinstance(entry, str) else entry
        if not isinstance(told, dict) or not isinstance(told.get("path"), str) or not set(told) <= {"path", "strategy"}:
            raise ValueError("expected the path of a file or folder, or its path and strategy")
        if told.get("strategy", "append") not in ("append", "override", "add-only"):
            raise ValueError("expected a strategy: append, override or add-only")
        found.append(ConfigFile(**told))
    return tuple(found)


def rule_entries(entries: Any) -> tuple[Mapping[str, Mapping[str, str]], ...]:
    """rules: entries of enable and disable. Raises ValueError."""
    if not isinstance(entries, list):
        raise ValueError("expected a list")
    for entry in entries:
        for action, what in entry.items() if isinstance(entry, dict) else [("", None)]:
            if action not in ("enable", "disable"):
                raise ValueError("expected entries of enable or disable, as {disable: {rule: NAME}} or {enable: {tag: TAG}}"
                                 + (f", not {action}" if action else ""))
            if not isinstance(what, dict) or not what or not set(what) <= {"rule", "tag"}:
                raise ValueError(f"{action}: expected a rule or a tag")
            for name, value in what.items():
                if value in ("", None):
                    raise ValueError(f"expected a {name}")
                what[name] = str(value)
    return tuple(entries)


def append_entries(entries: Any) -> tuple[Mapping[str, Any], ...]:
    """append_output: entries whose keys are known and whose values have the right form. Raises ValueError."""
    known = {"match": dict, "extra_output": str, "suggested_output": bool, "extra_fields": list}
    if not isinstance(entries, list):
        raise ValueError("expected a list")
    for entry in entries:
        if not isinstance(entry, dict) or not set(entry) <= set(known):
            raise ValueError(f"expected entries of {', '.join(known)}")
        for name, value in entry.items():
            if not isinstance(value, known[name]):
                kinds = {dict: "keys and values", str: "a text", bool: "true or false", list: "a list"}
                raise ValueError(f"{name}: expected {kinds[known[name]]}")
        match = entry.get("match", {})
        if not set(match) <= {"rule", "source", "tags"} or not isinstance(match.get("tags", []), list):
            raise ValueError("match: expected a rule, a source, and a list of tags")
        if not all(isinstance(field, str) or (isinstance(field, dict) and len(field) == 1) for field in entry.get("extra_fields", [])):
            raise ValueError("extra_fields: expected names of fields, or NAME: FORMAT each")
    return tuple(entries)


def drop_actions(actions: tuple[DropAction, ...]) -> None:
    """syscall_event_drops.actions. Raises ValueError if nothing and something is to be done."""
    for action in ("log", "alert"):
        if "ignore" in actions and action in actions:
            raise ValueError(f"ignore and {action} exclude each other")


class Plugin(Group, frozen=True):
    """An entry of plugins."""

    name: Annotated[str, key("Its name, by which load_plugins and rules know it.", required=True)]
    library_path: Annotated[str, key("Its library; those of built-in plugins aren't read.", required=True)] = ""
    init_config: Annotated[Any, key("Its settings: keys and values, or their JSON.", schema={"type": ["object", "string", "null"]})] = None
    open_params: Annotated[str, key("Where it takes events from.", schema={"type": ["string", "null"]})] = ""


class Kmod(Group, frozen=True):
    """The kernel module, which falcolib doesn't have yet: its probe is used."""

    buf_size_preset: Annotated[int, key("Size of a ring buffer, 1 to 10: 1 MiB to 512 MiB.", ge=1, le=10)] = 4
    drop_failed_exit: Annotated[bool, key("Whether the kernel side leaves out calls that failed.")] = False


class ModernEbpf(Group, frozen=True):
    """The eBPF probe."""

    cpus_for_each_buffer: Annotated[int, key("Processors that share a ring buffer; 0: all share one.", ge=0, le=1 << 16)] = 2
    buf_size_preset: Annotated[int, key("Size of a ring buffer, 1 to 10: 1 MiB to 512 MiB.", ge=1, le=10)] = 4
    drop_failed_exit: Annotated[bool, key("Whether the kernel side leaves out calls that failed.")] = False
    prefilter: Annotated[bool, key("Whether the kernel side leaves out calls with whose outcome no rule can match.", ours=True)] = True
    disable_iterators: Annotated[bool, key("Whether the processes at the start are read from /proc instead of by BPF iterators.")] = False


class Replay(Group, frozen=True):
    """A capture in place of this machine."""

    capture_file: Annotated[str, key("The capture, .scap, plain or gzip.")] = ""


class EngineGroup(Group, frozen=True):
    """Where system calls come from."""

    kind: Annotated[Literal["modern_ebpf", "kmod", "replay", "nodriver"], key(
        "modern_ebpf: this machine; kmod: the same; replay: a capture; nodriver: no system calls.")] = "modern_ebpf"
    kmod: Kmod = Kmod()
    modern_ebpf: ModernEbpf = ModernEbpf()
    replay: Replay = Replay()


class LibsLogger(Group, frozen=True):
    """Log lines of the core: of its sources, its state, of containers."""

    enabled: Annotated[bool, key("Whether they are written.")] = True
    severity: Annotated[Severity, key("The least severe of them that are written.")] = "info"


class SyscallEventTimeouts(Group, frozen=True):
    """When nothing is heard of the kernel."""

    max_consecutives: Annotated[int, key("Empty looks at the ring buffers, one after the other, that are told of.",
                                         ge=1, le=(1 << 32) - 1)] = 1000


class SyscallEventDrops(Group, frozen=True):
    """What happens when the kernel side loses events."""

    threshold: Annotated[float, key("The part of a second's events that must be lost for it.", ge=0, le=1)] = 0.1
    actions: Annotated[tuple[DropAction, ...], key(
        "ignore, or log, alert and exit.", shipped=("log", "alert"), check=drop_actions)] = ("log", "alert")
    rate: Annotated[float, key("Actions per second, in the long run.", ge=0)] = 0.03333
    max_burst: Annotated[float, key("Actions one after the other.", ge=0)] = 1.0
    simulate_drops: Annotated[bool, key("Whether each second counts as one with losses: for tests of what hears of them.")] = False


class BaseSyscalls(Group, frozen=True):
    """Which calls the kernel side tells of, besides those that rules name."""

    custom_set: Annotated[tuple[str, ...], key("Names of calls; with ! in front: not this one. They replace what the state needs.")] = ()
    repair: Annotated[bool, key("Whether what the state needs is worked out, in place of custom_set or the usual set.")] = False
    all: Annotated[bool, key("Whether rules may also be for calls with high volume, as read and write.", bare=True)] = False


class FalcoLibs(Group, frozen=True):
    """What is kept of processes, and taken of data."""

    thread_table_size: Annotated[int, key("Threads that the state holds, at most.", ge=0, le=(1 << 32) - 1)] = 262144
    thread_table_auto_purging_interval_s: Annotated[int, key("Seconds between looks for threads that are gone.", ge=1, le=1 << 31)] = 300
    thread_table_auto_purging_thread_timeout_s: Annotated[int, key("Seconds of silence after which it is looked whether a thread is gone.",
                                                                  ge=1, le=1 << 31)] = 300
    snaplen: Annotated[int, key("Bytes of what is read and written that events hold; 0: 80.", ge=0, le=16383)] = 80
