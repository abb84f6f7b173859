# SPDX-License-Identifier: Apache-2.0
"""What outputs are given: alerts of rules, alerts about the program itself, and those that a spool has kept."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Protocol

from ..alert import Told
from ..event import FieldValue


class Message(Told, Protocol):
    """A thing to deliver: Alert and InternalAlert are. Texts are made when they are first asked for, and then kept, as several outputs
    want the same. A message doesn't change, and any thread may ask it.
    """

    @property
    def tags(self) -> frozenset[str]:
        """The rule's tags."""

    @property
    def fields(self) -> Mapping[str, FieldValue]:
        """What the rule prints, by token; None where absent."""

    @property
    def id(self) -> str:
        """The same for the same alert, whoever delivers it and however often."""

    @property
    def size(self) -> int:
        """Bytes that it takes in memory, about: queues are bounded by it."""

    def __str__(self) -> str:
        """Falco's text line (spec: engine.md C2), without a newline."""

    def json(self) -> str:
        """Falco's JSON line (spec: engine.md C3), without a newline."""

    def as_dict(self) -> dict[str, object]:
        """What json() encodes: hostname, output, output_fields, priority, rule, source, tags, time (RFC 3339), as its format has them."""
