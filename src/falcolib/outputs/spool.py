# SPDX-License-Identifier: Apache-2.0
"""A queue on disk, which keeps undelivered alerts over a restart or a kill -9: an SQLite database for each output.

When emit() has returned, an alert is with the kernel, so that it survives the process. It is taken out after it was delivered. So each is
delivered at least once, and only the batch that was under way when the process died is delivered twice.
"""

from __future__ import annotations

import contextlib
import logging
import os
import sqlite3
import stat
import time
from collections.abc import Sequence
from typing import Annotated, Any

import msgspec

from ..alert import Priority
from .message import Message
from .output import OutputError

_log = logging.getLogger("falcolib.outputs")

#: What a database of ours is known by, and what is in it.
_ID = 0x66616C63
_SCHEMA = "CREATE TABLE message (id INTEGER PRIMARY KEY, body BLOB NOT NULL)"
_PAGE = 4096
#: Bytes of a message, at most: longer ones are no alerts.
_MOST = 16 << 20


class Kept(msgspec.Struct, frozen=True):
    """A message that a spool has kept, by its texts: a Message like others."""

    rule: str
    priority: Priority
    time: Annotated[int, msgspec.Meta(ge=0, le=(1 << 63) - 1)]
    source: str
    tags: frozenset[str]
    hostname: str
    message: str
    fields: dict[str, Any]
    id: str
    text: str
    line: str
    count: int = 1          # how many messages it tells of (outputs/notify/grouping.py)

    @property
    def size(self) -> int:
        """Bytes, about."""
        return 512 + 2 * len(self.line) + len(self.text)

    def __str__(self) -> str:
        """Falco's text line."""
        return self.text

    def json(self) -> str:
        """Falco's JSON line."""
        return self.line

    def as_dict(self) -> dict[str, object]:
        """What json() encodes."""
        return msgspec.json.decode(self.line, type=dict[str, object])


_decode = msgspec.json.Decoder(Kept).decode
_encode = msgspec.json.Encoder(decimal_format="number").encode


def _body(m: Message) -> bytes:
    return _encode(m if isinstance(m, Kept) else Kept(
        m.rule, m.priority, m.time, m.source, m.tags, m.hostname, m.message, dict(m.fields), m.id, str(m), m.json(),
        getattr(m, "count", 1)))


class Spool:
    """A queue on disk.

    folder: where it is; made, for its owner alone, if it isn't there. name: of the output. max_bytes: its size, at most; what finds no
    room is dropped. fsync: every alert is on the disk before emit() returns, and survives also a crash of the machine: this costs
    milliseconds an alert. Without, nothing is synced: such a crash may lose alerts, or make the file unreadable.

    A file that is damaged, or isn't ours, is set aside (``….bad-…``) and told in the log, and an empty one begun.

    Raises OutputError if the folder can't be written, or another process uses this spool.
    """

    def __init__(self, folder: str, name: str, *, max_bytes: int = 64 << 20, fsync: bool = False) -> None:
        self.path = os.path.join(folder, f"{name}.spool")
        self.advice = f"spool.max_size_mb (now {max_bytes >> 20}) is how much {self.path} may hold"
        #: How many messages were found to be unreadable since the channel asked.
        self.lost = 0
        self._most, self._fsync = max_bytes, fsync
        self._count = 0
        self._ids: list[int] = []
        try:
            os.makedirs(folder, mode=0o700, exist_ok=True)
        except OSError as e:
            raise OutputError(f"{folder}: {e.strerror}") from None
        self._db: sqlite3.Connection | None = self._open()

    # ---- the file ----

    def _open(self) -> sqlite3.Connection:
        """The database, as it is if it can be used, else a new one."""
        try:
            kind = os.lstat(self.path)
        except FileNotFoundError:
            return self._connect()
        except OSError as e:
            raise OutputError(f"{self.path}: {e.strerror}") from None
        if not stat.S_ISREG(kind.st_mode) or kind.st_uid not in (0, os.geteuid()):
            self._set_aside("no file of ours")
            return self._connect()
        try:
            return self._connect()
        except sqlite3.OperationalError as e:
            raise OutputError(f"{self.path}: {e}" + (": another process uses it" if "locked" in str(e) else "")) from None
        except (sqlite3.DatabaseError, ValueError) as e:
            self._set_aside(str(e))
            return self._connect()

    def _connect(self) -> sqlite3.Connection:
        try:
            os.close(os.open(self.path, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600))
        except OSError as e:
            raise OutputError(f"{self.path}: {e.strerror}") from None
        db = sqlite3.connect(self.path, timeout=1.0, isolation_level=None, check_same_thread=False)
        try:
            db.execute("PRAGMA trusted_schema = OFF")
            db.execute("PRAGMA cell_size_check = ON")
            db.execute("PRAGMA locking_mode = EXCLUSIVE")       # one process
            db.execute("PRAGMA journal_mode = WAL")
            db.execute(f"PRAGMA synchronous = {'FULL' if self._fsync else 'OFF'}")
            db.execute(f"PRAGMA journal_size_limit = {4 << 20}")
            there = db.execute("SELECT sql FROM sqlite_schema LIMIT 2").fetchall()
            (mark,) = db.execute("PRAGMA application_id").fetchone()
            if not there and not mark:
                db.execute("BEGIN IMMEDIATE")
                db.execute(_SCHEMA)
                db.execute(f"PRAGMA application_id = {_ID}")
                db.execute("COMMIT")
            elif there != [(_SCHEMA,)] or mark != _ID:
                raise ValueError("not a spool of falcolib")
            elif (state := db.execute("PRAGMA quick_check(1)").fetchone()[0]) != "ok":
                raise ValueError(state)
            db.execute(f"PRAGMA max_page_count = {max(4, self._most // _PAGE)}")
            (self._count,) = db.execute("SELECT count(*) FROM message").fetchone()
        except BaseException:
            db.close()
            raise
        return db

    def _set_aside(self, why: str) -> None:
        aside = f"{self.path}.bad-{time.strftime('%Y%m%dT%H%M%S')}-{os.getpid()}"
        for suffix in ("", "-wal", "-shm"):
            with contextlib.suppress(FileNotFoundError):
                try:
                    os.rename(self.path + suffix, aside + suffix)
                except FileNotFoundError:
                    raise
                except OSError as e:
                    raise OutputError(f"{self.path}: {why}; and it can't be set aside: {e.strerror}") from None
        _log.error("%s can't be used (%s), so that the alerts in it aren't delivered; it is set aside as %s", self.path, why, aside)

    def _fail(self, error: Exception) -> None:
        """The database is unreadable: its messages are lost, an empty one is begun."""
        if self._db is not None:
            with contextlib.suppress(sqlite3.Error):
                self._db.close()
        self.lost += self._count
        self._count, self._ids = 0, []
        self._set_aside(str(error))
        self._db = self._connect()

    # ---- the queue ----

    def put(self, message: Message) -> bool:
        if self._db is None:
            return False
        body = _body(message)
        try:
            if len(body) > _MOST:
                return False
            self._db.execute("INSERT INTO message (body) VALUES (?)", (body,))
        except sqlite3.OperationalError:        # full, or the disk is
            return False
        except sqlite3.DatabaseError as e:
            self._fail(e)
            return False
        self._count += 1
        return True

    def peek(self, most: int) -> Sequence[Message]:
        found: list[Message] = []
        while self._db is not None and self._count and not found:
            try:
                rows = self._db.execute("SELECT id, CASE WHEN length(body) <= ? THEN body END FROM message ORDER BY id LIMIT ?",
                                        (_MOST, most)).fetchall()
            except sqlite3.DatabaseError as e:
                self._fail(e)
                break
            self._ids = []
            for at, body in rows:
                try:
                    found.append(_decode(body))
                    self._ids.append(at)
                except (msgspec.MsgspecError, TypeError, UnicodeDecodeError) as e:
                    _log.error("%s: message %d can't be read, and is left out: %s", self.path, at, e)
                    self._delete(at, at, 1)
                    self.lost += 1
            if not rows:
                self._count = 0
        return found

    def done(self, count: int) -> None:
        ids, self._ids = self._ids[:count], self._ids[count:]
        if ids:
            self._delete(ids[0], ids[-1], len(ids))

    def _delete(self, first: int, last: int, count: int) -> None:
        if self._db is None:
            return
        self._count -= count
        try:
            self._db.execute("DELETE FROM message WHERE id BETWEEN ? AND ?", (first, last))
        except sqlite3.DatabaseError as e:
            self._fail(e)

    def __len__(self) -> int:
        return self._count

    def close(self) -> int:
        """What is left stays for the next run: nothing is lost."""
        if self._db is not None:
            with contextlib.suppress(sqlite3.Error):
                self._db.close()
            self._db = None
        return 0
