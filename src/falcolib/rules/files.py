# SPDX-License-Identifier: Apache-2.0
"""Rule files as texts, before anything is made of them."""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

#: Bytes of a file; Falco's own have 100 KiB. A capture that is named by mistake isn't read into memory.
LARGEST = 64 << 20


@dataclass(frozen=True, slots=True)
class Given:
    """A text that wasn't read yet, and its name."""

    name: str
    text: str


def rule_files(paths: Iterable[str | os.PathLike[str]]) -> list[Path]:
    """The files that paths stand for."""
    files: list[Path] = []
    for path in map(Path, paths):
        if path.is_dir():
            files += sorted((p for p in path.iterdir() if p.suffix in (".yaml", ".yml") and p.is_file()), key=str)
        else:
            files.append(path)
    return files


def given_files(paths: Iterable[str | os.PathLike[str] | Given]) -> list[Given]:
    """The texts of the files that paths stand for; those that are given stay. Raises OSError."""
    found: list[Given] = []
    for path in paths:
        found += [path] if isinstance(path, Given) else [_read(file) for file in rule_files([path])]
    return found


def is_pipe(path: str | os.PathLike[str]) -> bool:
    """Whether a path is a pipe, which can be read once, and waited for: that of a shell's ``<(…)``, for one."""
    try:
        return stat.S_ISFIFO(os.stat(path).st_mode)
    except OSError:
        return False


def _read(path: Path) -> Given:
    data = bytearray()
    # In small pieces: a signal that comes while the room for a large one is made, ahead of a wait for a pipe, would not end that wait.
    with path.open("rb", buffering=0) as file:
        while len(data) <= LARGEST and (piece := file.read(1 << 16)):
            data += piece
    if len(data) > LARGEST:
        raise OSError(errno.EFBIG, f"larger than {LARGEST >> 20} MiB: this is no rule file", str(path))
    return Given(str(path), _decoded(bytes(data)))


def _decoded(data: bytes) -> str:
    """The text of a file, in the encodings of YAML; bytes that aren't UTF-8 become surrogate escapes, which the YAML reader refuses."""
    if data.startswith((b"\xff\xfe", b"\xfe\xff")):
        return data.decode("utf-16", "replace")
    return data.decode("utf-8", "surrogateescape").removeprefix("\ufeff")
