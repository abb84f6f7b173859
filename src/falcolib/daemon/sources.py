# SPDX-License-Identifier: Apache-2.0
"""Where a run takes events from: what it is told, and what the rules are for."""

from __future__ import annotations

import logging
import os
import socket
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from .. import schema
from ..compiler import Program
from ..rare import Rare, rarely
from ..sources import CaptureReader, Source
from .choices import ChoiceError, Choices

if TYPE_CHECKING:
    from ..web import WebServer
    from .plugins import Audit

#: The environment's bearer token for the webhook.
TOKEN = "FALCOLIB_AUDIT_TOKEN"

#: What keeps the events of a source off, where no option does.
_KEPT_OFF = {"syscall": "engine.kind is nodriver", "k8s_audit": "the plugin k8saudit isn't loaded, and --audit isn't given"}

_log = logging.getLogger("falcolib")
_faults = logging.getLogger("falcolib.sources")
#: Lines a minute about what can't be used of what strangers send, or of a log that is followed. (The webhook's counters tell of all.)
FAULTS = 32


def wanted(there: Iterable[str], enabled: Iterable[str], disabled: Iterable[str]) -> list[str]:
    """The sources of events that are on: those that are there, without those that are disabled; or those that are enabled.

    Raises ChoiceError for what is no source, both, or none that is left.
    """
    there = set(there)
    enabled, disabled = set(enabled), set(disabled)
    for option, names in (("--enable-source", enabled), ("--disable-source", disabled)):
        for name in sorted(names - set(schema.sources())):
            raise ChoiceError(f"{option}: there is no source {name!r}; there is {', '.join(schema.sources())}")
    if enabled and disabled:
        raise ChoiceError("--enable-source and --disable-source can't be given together")
    return [name for name in schema.sources() if name in (enabled or there) and name not in disabled]


def asked_for(choices: Choices, kind: str) -> list[str]:
    """The sources that a run is told to take events from, by its command line and engine.kind: whose rules it has, if none are named."""
    replayed = bool(choices.captures) or kind == "replay"
    if replayed or any(not is_live(where) for where in choices.audits):
        there = {"syscall"} if replayed else set()
    elif choices.enabled:
        there = set(choices.enabled)
    else:
        there = {"k8s_audit"} if kind == "nodriver" or "syscall" in choices.disabled else {"syscall"}
    there |= {"k8s_audit"} if choices.audits else set()
    return [name for name in schema.sources() if name in there] or ["syscall"]


def used_sources(program: Program) -> set[str]:
    """Those that an enabled rule is for."""
    return {rule.source for rule in program.rules if rule.enabled}


def unserved(program: Program, choices: Choices, on: Iterable[str]) -> list[str]:
    """What keeps those sources off that an enabled rule is for, where no option names them: a line for each."""
    missing = [] if choices.enabled else sorted(used_sources(program) - set(on) - set(choices.disabled))
    return [f"rules for {name} find nothing, as its events are not taken: {_KEPT_OFF[name]}" for name in missing]


def audit_source(
    where: str | None, certificate: str | None = None, key: str | None = None, client_ca: str | None = None, *, said: str = "--audit",
    limit: int | None = None, body: int | None = None, server: WebServer | None = None,
) -> Source:
    """Audit events from a file or folder, from ``file://`` a file that is followed, or from requests to an address (``http://:8765``).

    said: what to call it in errors. limit, body: bytes of an event and of a request, at most. server: one that is
    there already; if it has that port, and TLS or not, it takes the requests, too.

    Raises ChoiceError for what can't be one, OSError for a file or port that can't be had.
    """
    if where is None:
        where = "https://" if certificate else "http://"
    scheme, colon, rest = where.partition("://")
    if not colon or scheme == "file":
        from ..sources.audit import AuditFile

        path = rest if colon else where
        try:
            file = AuditFile(path, follow=bool(colon), limit=limit,
                             on_fault=rarely(_faults.warning, Rare(FAULTS)) if colon else _faults.warning)
        except ValueError as e:
            raise ChoiceError(f"{said} {where}: {e}; without file:// it is read to its end") from None
        if colon:
            _log.info("Audit events are taken from %s%s", path, "" if os.path.exists(path) else ", which isn't there yet")
        return file
    if scheme not in ("http", "https"):
        raise ChoiceError(f"{said} {where}: scheme {scheme!r} is not supported: http, https, file, or the path of a file")
    if (scheme == "https") != (certificate is not None):
        raise ChoiceError(f"{said} {where}: https needs --tls-cert, and http can't have it")
    from ..sources.webhook import PATHS, AuditWebhook
    from ..web import Limits, Security, url_host

    try:
        url = urlsplit(where)
        host, port = url.hostname or "", url.port
    except ValueError as e:
        raise ChoiceError(f"{said} {where}: {e}") from None
    security = Security(certificate, key, client_ca, os.environ.get(TOKEN) or None)
    paths = PATHS if url.path in ("", "/") else (url.path,)
    port = 8765 if port is None else port
    shared = server
    if server is not None and (server.port != port or (server.security.certificate is not None) != (scheme == "https")):
        shared = None
    elif server is not None and not _listens_on(server.host, host):
        if host in ("", "0.0.0.0", "::"):
            raise ChoiceError(f"{said} {where}: port {port} is the web server's, which listens on {server.host} alone "
                              "(webserver.listen_address)")
        shared = None
    if shared is not None and client_ca and shared.security.client_ca != client_ca:
        raise ChoiceError(f"{said} {where}: port {port} is the web server's, which asks nobody for a certificate: take another port with "
                          "--tls-client-ca")
    source = AuditWebhook(host, port, paths=paths, security=security, limits=Limits(body=body or Limits().body), limit=limit,
                          server=shared, on_fault=rarely(_faults.warning, Rare(FAULTS)))
    _log.info("Audit events are taken at %s://%s:%d%s%s", scheme, url_host(host) or "*", source.port, paths[0],
              ", with a bearer token" if security.token else "")
    return source


def _listens_on(there: str, host: str) -> bool:
    """Whether a server at an address is one at another, too. Empty: all. Raises OSError for a name that leads nowhere."""
    if there in ("", host):
        return True
    if there == "0.0.0.0":
        return ":" not in host
    one, other = ({address[0] for *_, address in socket.getaddrinfo(name or "0.0.0.0", None)} for name in (there, host))
    return bool(one & other)


def plugin_source(audit: Audit, server: WebServer | None = None) -> Source:
    """Audit events as the settings of Falco's plugin k8saudit have them.

    Raises ChoiceError, OSError.
    """
    certificate = audit.certificate if audit.where.startswith("https://") else None
    try:
        return audit_source(audit.where, certificate, said=f"{audit.at}: open_params", limit=audit.limit, body=audit.body, server=server)
    except OSError as e:
        setting = "init_config.sslCertificate" if e.filename == certificate else "open_params"
        raise type(e)(e.errno, e.strerror, f"{audit.at}: {setting}: {e.filename}") from None


def is_live(where: str) -> bool:
    """Whether what --audit names goes on for ever."""
    return "://" in where


def choose(program: Program, names: list[str], captures: Iterable[str], audits: Iterable[str], live: Callable[[], Source],
           audit: Callable[[str | None], Source], why: Iterable[str] = ()) -> list[Source]:
    """The sources of a run. A replay has those that it is told; else there are all that are on, live. why: others are not, for errors.

    Raises ChoiceError if there is none.
    """
    captures, audits = list(captures), list(audits)
    if captures or any(not is_live(where) for where in audits):
        return [*(CaptureReader(path) for path in captures), *(audit(where) for where in audits)]
    found: list[Source] = []
    if audits or "k8s_audit" in names:
        found += [audit(where) for where in audits] or [audit(None)]
    if "syscall" in names:
        found.insert(0, live())
    if not found:
        used = sorted({rule.source for rule in program.rules if rule.enabled})
        raise ChoiceError("; ".join(["no source of events is on: the enabled rules are for " + (", ".join(used) or "none"), *why]))
    return found
