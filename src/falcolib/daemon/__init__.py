# SPDX-License-Identifier: Apache-2.0
"""The daemon: configuration, rules, sources, outputs and what runs beside them, wired together."""

from .choices import ChoiceError, Choices
from .daemon import Daemon, Report

__all__ = ["ChoiceError", "Choices", "Daemon", "Report"]
