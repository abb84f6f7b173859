# SPDX-License-Identifier: Apache-2.0
"""What an engine has done, in numbers."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass, field


@dataclass(slots=True)
class Stats:
    """What an engine has done.

    bytes: of uncompressed capture; records: as stored, events: as delivered, after conversion; evaluated: events on which the program
    ran; converted, stored (enter events kept for their exit), dropped (unused types), unknown (types newer than ours): records;
    evicted: stored enter events that were given up, too many or too long; skipped_blocks: of unknown types; sections: captures, as
    several may be concatenated; texts_refused: names, arguments and the like that the state left out, as all of them together would have
    exceeded 1 GiB; scanned_threads, scanned_fds: what the start of a live run found, scan_ns: the time (ns) that it took,
    iterated_threads: of the threads, those that the kernel's iterators told, and not /proc; lookups:
    threads that were unknown at their first live event and looked up in /proc, lookups_failed: of these, had ended by then,
    lookups_refused: not looked up, as that took more than a tenth of the time; threads_purged: of threads_removed, those whose exits were
    not seen; containers: that are known of now, containers_imageless: of these, those whose image isn't; containers_asked: for
    which runtimes were asked, containers_unknown: that none of them knows, containers_refused: for which
    there was no room; of documents: malformed, unrecognised (no event of their source) and too_large ones were left out, undated ones don't
    tell when they happened, and have the time of their reading; lost: live events that
    the kernel side could not deliver; unread: those with parameters that it could not read, because the process's memory was not
    there; last_time: ns since the epoch.
    """

    bytes: int = 0
    blocks: int = 0
    records: int = 0
    events: int = 0
    converted: int = 0
    stored: int = 0
    dropped: int = 0
    unknown: int = 0
    evicted: int = 0
    skipped_blocks: int = 0
    sections: int = 0
    evaluated: int = 0
    matches: int = 0
    threads: int = 0
    threads_added: int = 0
    threads_removed: int = 0
    threads_refused: int = 0
    fds_added: int = 0
    fds_removed: int = 0
    fds_refused: int = 0
    fake_threads: int = 0
    fd_lookups_failed: int = 0
    texts_refused: int = 0
    scanned_threads: int = 0
    scanned_fds: int = 0
    scan_ns: int = 0
    iterated_threads: int = 0
    lookups: int = 0
    lookups_failed: int = 0
    lookups_refused: int = 0
    threads_purged: int = 0
    containers: int = 0
    containers_imageless: int = 0
    containers_asked: int = 0
    containers_unknown: int = 0
    containers_refused: int = 0
    malformed: int = 0
    unrecognised: int = 0
    too_large: int = 0
    undated: int = 0
    lost: int = 0
    unread: int = 0
    last_time: int = 0
    alerts: dict[str, int] = field(default_factory=dict)
    """Alerts by rule."""

    def plus(self, other: Stats) -> Stats:
        """The sum of two; of last_time the later."""
        sums = {name: getattr(self, name) + getattr(other, name) for name in COUNTERS}
        alerts = {rule: self.alerts.get(rule, 0) + other.alerts.get(rule, 0) for rule in (*self.alerts, *other.alerts)}
        return Stats(**sums, last_time=max(self.last_time, other.last_time), alerts=alerts)


COUNTERS = tuple(f.name for f in dataclasses.fields(Stats) if f.name not in ("alerts", "last_time"))
