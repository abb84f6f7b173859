# SPDX-License-Identifier: Apache-2.0
"""Rule files to programs by way of a cache: what was compiled before is read back in a few milliseconds.

A cached program is found by what it was made of: the names and contents of the rule files, what was selected, and the falcolib that
compiled it, down to the times of its files. So a stale one isn't found. Its file is data, in a format of its own (no pickle): typed,
checksummed, its code verified as any program's, its description compared with the code. It counts only if it and its folder belong to the
user that runs and nobody else may write there: who could write it could as well write the rules. Whatever is wrong with it, the rules are
compiled again.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import stat
from collections.abc import Iterable, Mapping
from functools import cache as remembered
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from . import schema
from .compiler import Program, compile_rules
from .errors import FalcolibError
from .rules.files import Given, given_files

if TYPE_CHECKING:
    from .rules import RuleSet

#: Programs that a folder keeps; the oldest go.
KEPT = 32
#: Bytes: what is longer is neither written nor read.
LARGEST = 256 << 20
_MAGIC = b"FALCOPC1"


class Loaded(NamedTuple):
    """What load_program() gives: the program, the loader's warnings as text, and whether it came from the cache."""

    program: Program
    warnings: tuple[str, ...]
    from_cache: bool


def load_program(
    *paths: str | os.PathLike[str] | Given, entries: Iterable[Mapping[str, Any]] = (), priority: str | int | None = None,
    append: Iterable[Mapping[str, Any]] = (), static: Mapping[str, str] | None = None, cache: str | os.PathLike[str] | bool = True,
) -> Loaded:
    """Loads and compiles rule files, as ``RuleSet.load(*paths).select(entries, priority=priority)`` and an Engine would, or takes the
    program from the cache.

    append: entries of falco.yaml's append_output; static: its static_fields. cache: True for the folder of
    cache_folder(), False for none, or a folder.

    Raises RuleError, OSError (of the rule files only), ValueError for wrong entries.
    """
    given, chosen = given_files(paths), _Chosen(list(entries), priority, list(append), static or {})
    folder = cache_folder() if cache is True else None if cache is False else Path(cache)
    if folder is None:
        return _compile(given, chosen)
    key = _key(given, chosen)
    found = read(folder, key)
    if found is None:
        found = _compile(given, chosen)
        write(folder, key, found)
    return found


def load_rules(
    *paths: str | os.PathLike[str] | Given, entries: Iterable[Mapping[str, Any]] = (), priority: str | int | None = None,
    append: Iterable[Mapping[str, Any]] = (), static: Mapping[str, str] | None = None,
) -> RuleSet:
    """The text of what load_program() compiles, for explanations. Raises as that does."""
    return _rules(given_files(paths), _Chosen(list(entries), priority, list(append), static or {}))


def cache_folder() -> Path | None:
    """The environment's FALCOLIB_CACHE (empty: none), else falcolib in XDG_CACHE_HOME or ~/.cache."""
    own = os.environ.get("FALCOLIB_CACHE")
    if own is not None:
        return Path(own) if own else None
    base = os.environ.get("XDG_CACHE_HOME", "")
    try:
        return (Path(base) if os.path.isabs(base) else Path.home() / ".cache") / "falcolib"
    except RuntimeError:                # no home
        return None


class _Chosen(NamedTuple):
    """What is done to rules, besides compiling them; its repr() tells all of it."""

    entries: list[Mapping[str, Any]]
    priority: str | int | None
    append: list[Mapping[str, Any]]
    static: Mapping[str, str]


def _compile(given: list[Given], chosen: _Chosen) -> Loaded:
    rules = _rules(given, chosen)
    return Loaded(compile_rules(rules.rules), tuple(map(str, rules.warnings)), False)


def _rules(given: list[Given], chosen: _Chosen) -> RuleSet:
    from .rules.ruleset import RuleSet

    static = None
    if chosen.static:
        from .rules.static import static_fields

        static = static_fields(chosen.static)
    rules: RuleSet = RuleSet.build(given, static=static).select(chosen.entries, priority=chosen.priority)
    if chosen.append:
        from .rules.output import read_append_output

        rules = rules.append_output(read_append_output(chosen.append), static)
    return rules


def _key(given: Iterable[Given], chosen: _Chosen) -> bytes:
    """SHA-256 of all that the program depends on."""
    digest = hashlib.sha256()
    parts: list[str | bytes] = [_MAGIC, _fingerprint(), repr(chosen), *(text for g in given for text in (g.name, g.text))]
    for part in parts:
        data = part if isinstance(part, bytes) else part.encode("utf-8", "surrogatepass")
        digest.update(len(data).to_bytes(8, "little") + data)
    return digest.digest()


@remembered
def _fingerprint() -> str:
    """This falcolib: its schema, and the files that read and compile rules."""
    here = Path(__file__).parent
    files = sorted((folder.name, entry.name, entry.stat().st_size, entry.stat().st_mtime_ns)
                   for folder in (here, here / "rules", here / "compiler") for entry in os.scandir(folder)
                   if entry.name.endswith((".py", ".so")))
    return repr((schema.hashes(), files))


# ---- files ---------------------------------------------------------------------------------------------------------


def _is_ours(info: os.stat_result) -> bool:
    """Whether it belongs to the user that runs, and nobody else may write to it."""
    return info.st_uid == os.geteuid() and not info.st_mode & (stat.S_IWGRP | stat.S_IWOTH)


def read(folder: Path, key: bytes) -> Loaded | None:
    """What was written under a key; None if nothing is there, or nothing that can be trusted."""
    try:
        with contextlib.ExitStack() as stack:
            at = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
            stack.callback(os.close, at)
            if not _is_ours(os.fstat(at)):
                return None
            file = os.open(key.hex(), os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC, dir_fd=at)
            with open(file, "rb") as stream:
                info = os.fstat(file)
                if not stat.S_ISREG(info.st_mode) or not _is_ours(info) or info.st_size > LARGEST:
                    return None
                data = stream.read(LARGEST + 1)
    except OSError:
        return None
    head = _MAGIC + key
    body = memoryview(data)[len(head) + 32 :]
    if not data.startswith(head) or len(data) > LARGEST or hashlib.sha256(body).digest() != data[len(head) : len(head) + 32]:
        return None
    from . import _cached

    try:
        program, warnings = _cached.decode(body)
        program.check()
    except (_cached.DecodeError, FalcolibError):
        return None
    return Loaded(program, warnings, True)


def write(folder: Path, key: bytes, loaded: Loaded) -> bool:
    """Writes a program under a key; False if it can't be kept: the folder is someone else's, or the disk is full, or the like."""
    from . import _cached

    try:
        body = _cached.encode(loaded.program, loaded.warnings)
        program, _ = _cached.decode(body)
        data = _MAGIC + key + hashlib.sha256(body).digest() + body
        if program.slots != loaded.program.slots or program != loaded.program or len(data) > LARGEST:
            return False
        _make(folder)
        at = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            if _is_ours(os.fstat(at)):
                _write(at, key.hex(), data)
                _prune(at)
                return True
        finally:
            os.close(at)
    except (OSError, ValueError):           # ValueError: texts that msgpack can't hold, and DecodeError
        pass
    return False


def _make(folder: Path) -> None:
    """Makes the folder, if what it is made in is ours."""
    if folder.is_dir():
        return
    above = next(parent for parent in folder.absolute().parents if parent.is_dir())
    if above.stat().st_uid != os.geteuid():
        raise PermissionError(f"{above} belongs to someone else")
    folder.parent.mkdir(parents=True, exist_ok=True)
    folder.mkdir(mode=0o700, exist_ok=True)


def _write(at: int, name: str, data: bytes) -> None:
    temporary = f".{name[:16]}.{os.getpid()}.{os.urandom(4).hex()}"
    file = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600, dir_fd=at)
    try:
        with open(file, "wb") as stream:
            stream.write(data)
        os.replace(temporary, name, src_dir_fd=at, dst_dir_fd=at)
    except BaseException:
        with contextlib.suppress(OSError):
            os.unlink(temporary, dir_fd=at)
        raise


def _prune(at: int) -> None:
    """Leaves the newest. Only what has a key for its name is ours to delete, and what a write that was killed has left."""
    found = [(os.stat(name, dir_fd=at, follow_symlinks=False).st_mtime_ns, name) for name in os.listdir(at)
             if len(name) == 64 and not set(name) - set("0123456789abcdef")]
    for _, name in sorted(found, reverse=True)[KEPT:]:
        os.unlink(name, dir_fd=at)
