# SPDX-License-Identifier: Apache-2.0
"""Where alerts go: standard output, files, syslog, programs, HTTP, and services that notify people.

Each output has a bounded queue and a thread of its own: docs/outputs.md.
"""

from typing import TYPE_CHECKING

from .._lazy import lazy
from .channel import Channel, Counts, Retry
from .message import Message
from .output import Gone, Output, OutputError, Undelivered
from .outputs import Outputs
from .queue import MemoryQueue, Queue

if TYPE_CHECKING:
    from .client import HttpClient, Tls
    from .configured import from_config
    from .file import FileOutput
    from .http import HttpOutput
    from .program import ProgramOutput
    from .spool import Spool
    from .stdout import StdoutOutput
    from .syslog import SyslogOutput

__all__ = [
    "Channel",
    "Counts",
    "FileOutput",
    "Gone",
    "HttpClient",
    "HttpOutput",
    "MemoryQueue",
    "Message",
    "Output",
    "OutputError",
    "Outputs",
    "ProgramOutput",
    "Queue",
    "Retry",
    "Spool",
    "StdoutOutput",
    "SyslogOutput",
    "Tls",
    "Undelivered",
    "from_config",
]
__getattr__, __dir__ = lazy(__name__, {".client": ["HttpClient", "Tls"], ".configured": ["from_config"],
                                      ".file": ["FileOutput"], ".http": ["HttpOutput"],
                                      ".program": ["ProgramOutput"],
                                      ".spool": ["Spool"], ".stdout": ["StdoutOutput"], ".syslog": ["SyslogOutput"]})
