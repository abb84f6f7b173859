# SPDX-License-Identifier: Apache-2.0
"""falcolib: Falco's rules as a Python library with a C core.

    import falcolib

    rules = falcolib.RuleSet.load("falco_rules.yaml")
    for alert in falcolib.Engine(rules).run(falcolib.Capture("trace.scap")):
        print(alert)
"""

from .alert import Alert, AlertFormat, Priority
from .compiler import Program, compile_rules
from .engine import Engine
from .errors import CaptureError, FalcolibError, Location, ProgramError, RuleError, StaleEventError
from .event import Event
from .rules import RuleSet, validate, validate_text
from .schema import FieldError
from .sources import Capture, Source
from .stats import Stats

__version__ = "0.1.0"

__all__ = [
    "Alert",
    "AlertFormat",
    "Capture",
    "CaptureError",
    "Engine",
    "Event",
    "FalcolibError",
    "FieldError",
    "Location",
    "Priority",
    "Program",
    "ProgramError",
    "RuleError",
    "RuleSet",
    "Source",
    "StaleEventError",
    "Stats",
    "__version__",
    "compile_rules",
    "validate",
    "validate_text",
]
