# SPDX-License-Identifier: Apache-2.0
"""Captures as users have them: read as a source, and written as another capture."""

from __future__ import annotations

import os
from typing import Any

from .recording import CaptureWriter, Recorded, Writable, record
from .sources import CaptureReader


class Capture(CaptureReader):
    """A .scap capture.

    source: a path, ``-`` for standard input, or a binary file object, which stays the caller's to close. Gzip, of one or several
    members, is recognised by its first bytes. Reading and decompressing go on in a thread of their own, a few chunks ahead.

    A path can be read again and again; standard input and file objects are read from where they stand. Raises FileNotFoundError
    at once, and TypeError for what is none of these; other OSErrors come from chunks().
    """

    def write(self, target: str | os.PathLike[str] | Writable | CaptureWriter, **options: Any) -> Recorded:
        """Writes this capture as another, in the newest schema: falcolib.record(), which tells the options; ``filter="…"`` keeps the
        events that meet a condition.
        """
        return record(self, target, **options)
