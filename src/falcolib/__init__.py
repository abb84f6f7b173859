# SPDX-License-Identifier: Apache-2.0
"""falcolib: Falco's rules as a Python library with a C core.

    import falcolib

    rules = falcolib.RuleSet.load("falco_rules.yaml")
    for alert in falcolib.Engine(rules).run(falcolib.Capture("trace.scap")):
        print(alert)
"""

from typing import TYPE_CHECKING

from ._lazy import lazy
from .alert import Alert, AlertFormat, Priority
from .compiler import Program, compile_rules
from .engine import Engine
from .errors import CaptureError, FalcolibError, Location, ProbeError, ProgramError, RuleError, StaleEventError
from .event import Event
from .schema import FieldError
from .sources import Source
from .stats import Stats

if TYPE_CHECKING:
    from .cache import load_program
    from .capture import Capture
    from .containers import Containers
    from .profiling import profile
    from .recording import CaptureWriter, Recorded, record
    from .rules import RuleSet
    from .rules.bundled import bundled_rules
    from .rules.validate import validate, validate_text
    from .sources.audit import AuditFile
    from .sources.live import Live
    from .sources.webhook import AuditWebhook

__version__ = "0.1.0"

__all__ = [
    "Alert",
    "AlertFormat",
    "AuditFile",
    "AuditWebhook",
    "Capture",
    "CaptureError",
    "CaptureWriter",
    "Containers",
    "Engine",
    "Event",
    "FalcolibError",
    "FieldError",
    "Live",
    "Location",
    "Priority",
    "ProbeError",
    "Program",
    "ProgramError",
    "Recorded",
    "RuleError",
    "RuleSet",
    "Source",
    "StaleEventError",
    "Stats",
    "__version__",
    "bundled_rules",
    "compile_rules",
    "load_program",
    "profile",
    "record",
    "validate",
    "validate_text",
]
__getattr__, __dir__ = lazy(__name__, {".rules.ruleset": ["RuleSet"], ".rules.validate": ["validate", "validate_text"],
                                      ".rules.bundled": ["bundled_rules"], ".cache": ["load_program"], ".capture": ["Capture"],
                                      ".containers.options": ["Containers"], ".profiling": ["profile"],
                                      ".recording": ["CaptureWriter", "Recorded", "record"], ".sources.audit": ["AuditFile"],
                                      ".sources.webhook": ["AuditWebhook"], ".sources.live": ["Live"]})
