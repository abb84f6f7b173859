# SPDX-License-Identifier: Apache-2.0
"""Where ``falcolib run`` takes events from: what it is told, and what the rules are for."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable
from urllib.parse import urlsplit

import click

from .. import schema
from ..compiler import Program
from ..sources import Capture, Source
from .terminal import log

#: The environment's bearer token for the webhook.
TOKEN = "FALCOLIB_AUDIT_TOKEN"


def wanted(program: Program, enabled: Iterable[str], disabled: Iterable[str]) -> list[str]:
    """The sources of events that are on: those that an enabled rule is for, without those that are disabled; or those that are enabled.

    Raises click.UsageError for what is no source, or both.
    """
    enabled, disabled = set(enabled), set(disabled)
    for option, names in (("--enable-source", enabled), ("--disable-source", disabled)):
        for name in sorted(names - set(schema.sources())):
            raise click.UsageError(f"{option}: there is no source {name!r}; there is {', '.join(schema.sources())}")
    if enabled and disabled:
        raise click.UsageError("--enable-source and --disable-source can't be given together")
    used = {rule.source for rule in program.rules if rule.enabled}
    return [name for name in schema.sources() if name in (enabled or used) and name not in disabled]


def audit_source(where: str | None, certificate: str | None = None, key: str | None = None, client_ca: str | None = None) -> Source:
    """Audit events from a file or folder, from ``file://`` a file that is followed, or from requests to an address (``http://:8765``).

    Raises click.UsageError for what can't be one, OSError for a file or port that can't be had.
    """
    if where is None:
        where = "https://" if certificate else "http://"
    scheme, colon, rest = where.partition("://")
    if not colon or scheme == "file":
        from ..sources.audit import AuditFile

        return AuditFile(rest if colon else where, follow=bool(colon), on_fault=log)
    if scheme not in ("http", "https"):
        raise click.UsageError(f"--audit {where}: scheme {scheme!r} is not supported: http, https, file, or the path of a file")
    if (scheme == "https") != (certificate is not None):
        raise click.UsageError(f"--audit {where}: https needs --tls-cert, and http can't have it")
    from ..sources.webhook import PATHS, AuditWebhook
    from ..web import Security

    try:
        url = urlsplit(where)
        host, port = url.hostname or "", url.port
    except ValueError as e:
        raise click.UsageError(f"--audit {where}: {e}") from None
    security = Security(certificate, key, client_ca, os.environ.get(TOKEN) or None)
    paths = PATHS if url.path in ("", "/") else (url.path,)
    source = AuditWebhook(host, 8765 if port is None else port, paths=paths, security=security, on_fault=log)
    log(f"Audit events are taken at {scheme}://{host or '*'}:{source.port}{paths[0]}" + (", with a bearer token" if security.token else ""))
    return source


def is_live(where: str) -> bool:
    """Whether what --audit names goes on for ever."""
    return "://" in where


def choose(program: Program, names: list[str], captures: Iterable[str], audits: Iterable[str], live: Callable[[], Source],
           audit: Callable[[str | None], Source]) -> list[Source]:
    """The sources of a run. A replay has those that it is told; else there are all that are on, live.

    Raises click.UsageError if there is none.
    """
    captures, audits = list(captures), list(audits)
    if captures or any(not is_live(where) for where in audits):
        return [*(Capture(path) for path in captures), *(audit(where) for where in audits)]
    found: list[Source] = []
    if audits or "k8s_audit" in names:
        found += [audit(where) for where in audits] or [audit(None)]
    if "syscall" in names:
        found.insert(0, live())
    if not found:
        used = sorted({rule.source for rule in program.rules if rule.enabled})
        raise click.UsageError("no source of events is on: the enabled rules are for " + (", ".join(used) or "none"))
    return found
