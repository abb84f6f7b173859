# SPDX-License-Identifier: Apache-2.0
"""Libraries that are needed by a few: told at the start, with what to install."""

from __future__ import annotations

import importlib

from .base import SettingError


def needs(extra: str, key: str, *modules: str) -> None:
    """Makes sure that modules are there. extra: of falcolib, which brings them; key: what asks for it.

    Raises SettingError if one is missing.
    """
    for module in modules:
        try:
            importlib.import_module(module)
        except ImportError as e:
            missing = e.name or module
            raise SettingError(key, f"needs {missing}, which is not installed; pip install 'falcolib[{extra}]' installs it") from None
