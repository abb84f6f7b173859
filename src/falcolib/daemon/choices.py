# SPDX-License-Identifier: Apache-2.0
"""What a command line chooses beside the configuration."""

from __future__ import annotations

from collections.abc import Mapping

import msgspec

from ..errors import FalcolibError


class ChoiceError(FalcolibError):
    """What was chosen can't be, or not together."""


class Choices(msgspec.Struct, frozen=True):
    """What a command line chooses beside the configuration.

    rules: rule files and folders, in place of rules_files. captures: what is replayed in place of this machine. audits: where audit events
    are taken from: files, folders, ``file://``, ``http://``, ``https://``. tls_cert, tls_key, tls_client_ca: of the last, PEM files.
    enabled, disabled: sources of events. entries: more of ``rules:``, after those of the configuration. cache: whether compiled rules are
    kept. workers: processors that evaluate rules on a capture. seconds: the run ends after so many; 0: by itself. extra_output: a format
    that is appended to the outputs of all rules. pid_file: where the number of the process is written.
    """

    rules: tuple[str, ...] = ()
    captures: tuple[str, ...] = ()
    audits: tuple[str, ...] = ()
    tls_cert: str | None = None
    tls_key: str | None = None
    tls_client_ca: str | None = None
    enabled: tuple[str, ...] = ()
    disabled: tuple[str, ...] = ()
    entries: tuple[Mapping[str, Mapping[str, str]], ...] = ()
    cache: bool = True
    workers: int = 1
    seconds: float = 0
    extra_output: str = ""
    pid_file: str = ""
