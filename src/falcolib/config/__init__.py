# SPDX-License-Identifier: Apache-2.0
"""falco.yaml: its keys, what they may be, where they come from (spec: engine.md D1, D2)."""

from .configuration import Configuration
from .loading import ConfigError, load

__all__ = ["ConfigError", "Configuration", "load"]
