# SPDX-License-Identifier: Apache-2.0
"""Colours of priorities: falcosidekick's, so that a channel looks as it did."""

from ...alert import Priority

COLOURS = {
    Priority.EMERGENCY: "#e20b0b",
    Priority.ALERT: "#ff5400",
    Priority.CRITICAL: "#ff5400",
    Priority.ERROR: "#e20b0b",
    Priority.WARNING: "#ffc700",
    Priority.NOTICE: "#5bffb5",
    Priority.INFORMATIONAL: "#68c2ff",
    Priority.DEBUG: "#ccfff2",
}
