# SPDX-License-Identifier: Apache-2.0
"""Log lines of the run, as log_stderr, log_syslog, log_level and libs_logger have them. Alerts are no log lines.

All of falcolib logs under the name ``falcolib``. What the core, its sources and the look-ups of containers say is under names below it:
these are Falco's "libs", which libs_logger switches.
"""

from __future__ import annotations

import contextlib
import logging
import sys
import time
from collections.abc import Iterator

from ..config import Configuration

#: What Falco's levels are among Python's; and for syslog.
LEVELS = {"emergency": 70, "alert": 60, "critical": 50, "error": 40, "warning": 30, "notice": 25, "info": 20, "debug": 10}
_SEVERITIES = {"fatal": 70, "critical": 50, "error": 40, "warning": 30, "notice": 25, "info": 20, "debug": 10, "trace": 5}
#: Whose lines are those of the libs.
LIBS = ("falcolib.sources", "falcolib.containers", "falcolib.libs")

log = logging.getLogger("falcolib")


class _Handler(logging.Handler):
    """Lines on stderr. That nobody can read them is no reason to stop looking for alerts."""

    def __init__(self, stamp: str) -> None:
        super().__init__()
        self._stamp = stamp

    def emit(self, record: logging.LogRecord) -> None:
        stamp = time.strftime(self._stamp, time.localtime(record.created)) + ": " if self._stamp else ""
        with contextlib.suppress(OSError, ValueError):
            print(stamp + ("[libs]: " if stamp and record.name.startswith(LIBS) else "") + _text(record), file=sys.stderr, flush=True)


class _Syslog(logging.Handler):
    """Lines in the system's log."""

    def __init__(self) -> None:
        super().__init__()
        import syslog

        syslog.openlog("falcolib", syslog.LOG_PID, syslog.LOG_USER)
        self._log = syslog.syslog

    def emit(self, record: logging.LogRecord) -> None:
        numbers = {level: number for number, level in enumerate(LEVELS.values())}
        number = next((number for level, number in numbers.items() if record.levelno >= level), 7)
        self._log(number, _text(record))


def _text(record: logging.LogRecord) -> str:
    kind = "Error: " if record.levelno >= logging.ERROR else "Warning: " if record.levelno >= logging.WARNING else ""
    text = record.getMessage()
    if record.exc_info and record.exc_info[1] is not None and record.levelno >= logging.ERROR:
        text += f": {type(record.exc_info[1]).__name__}: {record.exc_info[1]}"
    return kind + text


@contextlib.contextmanager
def logging_to(config: Configuration) -> Iterator[None]:
    """Writes the log lines of ``falcolib`` as a configuration has them, meanwhile. With falco.yaml, each has its time, as Falco's."""
    handlers: list[logging.Handler] = []
    if config.log_stderr:
        iso = "%Y-%m-%dT%H:%M:%S%z"
        handlers.append(_Handler("" if not config.origin.files else iso if config.time_format_iso_8601 else "%a %b %e %H:%M:%S %Y"))
    if config.log_syslog:
        handlers.append(_Syslog())
    level = LEVELS[config.log_level]
    libs = max(level, _SEVERITIES[config.libs_logger.severity]) if config.libs_logger.enabled else 1000
    before = [(logger, logger.level, logger.propagate, list(logger.handlers)) for logger in (log, *map(logging.getLogger, LIBS))]
    log.handlers, log.propagate = handlers or [logging.NullHandler()], False
    log.setLevel(level)
    for name in LIBS:
        logging.getLogger(name).setLevel(libs)
    try:
        yield
    finally:
        for logger, level, propagate, kept in before:
            logger.handlers, logger.propagate = kept, propagate
            logger.setLevel(level)
