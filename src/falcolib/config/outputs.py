# SPDX-License-Identifier: Apache-2.0
"""Groups of falco.yaml about where alerts go."""

from __future__ import annotations

from typing import Annotated

from ..alert import Priority
from .keys import Group, key

_MS, _S = 10**6, 10**9


class OutputGroup(Group, frozen=True):
    """What each output has."""

    minimum_priority: Annotated[Priority, key("The least urgent priority that it is given.", ours=True)] = Priority.DEBUG
    tags: Annotated[tuple[str, ...], key("It is given only alerts with one of these tags; none: all.", ours=True)] = ()


class OutputsQueue(Group, frozen=True):
    """Alerts that wait for an output."""

    capacity: Annotated[int, key("How many may wait for each output; 0: 65536. 64 MiB at most.", ge=0, le=(1 << 63) - 1)] = 0
    attempts: Annotated[int, key("How often a delivery is tried before it is given up; 0: without end.", ge=0, le=1 << 31, ours=True)] = 8
    drain_timeout: Annotated[int, key("How long the end of the run waits for what is queued.", duration=0, ours=True)] = 5 * _S


class SpoolGroup(Group, frozen=True):
    """Alerts that wait for an output on disk, so that they survive a restart."""

    enabled: Annotated[bool, key("Whether undelivered alerts are kept on disk, for all outputs but stdout.", ours=True)] = False
    path: Annotated[str, key("The folder.", ours=True)] = "/var/lib/falcolib/spool"
    max_size_mb: Annotated[int, key("MiB for each output, at most.", ge=1, le=1 << 20, ours=True)] = 64
    fsync: Annotated[bool, key("Whether each alert is on the disk before the run goes on: survives also a crash of the machine.",
                               ours=True)] = False


class StdoutOutput(OutputGroup, frozen=True):
    """Alerts on stdout."""

    enabled: Annotated[bool, key("Whether alerts are written to stdout.", shipped=True, bare=True)] = False


class SyslogOutput(OutputGroup, frozen=True):
    """Alerts in the system's log."""

    enabled: Annotated[bool, key("Whether alerts are written to syslog.", shipped=True)] = False
    address: Annotated[str, key("The daemon's socket, or udp://, tcp:// or tls://HOST[:PORT].", ours=True)] = "/dev/log"
    ident: Annotated[str, key("The program's name in the log.", ours=True)] = "falco"
    ca_cert: Annotated[str, key("For tls://, who signed the server's certificate, PEM; default the system's.", ours=True)] = ""


class FileOutput(OutputGroup, frozen=True):
    """Alerts in a file."""

    enabled: Annotated[bool, key("Whether alerts are appended to a file.")] = False
    keep_alive: Annotated[bool, key("Whether the file stays open between alerts.")] = False
    filename: Annotated[str, key("The file.", shipped="./events.txt")] = ""


class ProgramOutput(OutputGroup, frozen=True):
    """Alerts as the input of a program."""

    enabled: Annotated[bool, key("Whether alerts are given to a program.")] = False
    keep_alive: Annotated[bool, key("Whether one program takes all alerts, a line each; otherwise one is started for each.")] = False
    program: Annotated[str, key("The command, as the shell reads it.", shipped=(
        "jq '{text: .output}' | curl -d @- -X POST https://hooks.slack.com/services/XXX"))] = ""
    processes: Annotated[int, key("How many may run at once without keep_alive.", ge=1, le=64, ours=True)] = 1
    timeout: Annotated[int, key("How long one may take, or take nothing, before it is killed.", duration=100 * _MS, ours=True)] = 30 * _S


class HttpOutput(OutputGroup, frozen=True):
    """Alerts as the bodies of requests."""

    enabled: Annotated[bool, key("Whether alerts are sent in POST requests.")] = False
    url: Annotated[str, key("Where to: http:// or https://.", secret=True)] = ""
    user_agent: Annotated[str, key("How requests call their sender.")] = "falcosecurity/falco"
    insecure: Annotated[bool, key("Whether the server's certificate isn't looked at.")] = False
    ca_cert: Annotated[str, key("The certificate of who signed the server's, PEM; goes before ca_bundle and ca_path.")] = ""
    ca_bundle: Annotated[str, key("Several such certificates in one file; goes before ca_path.")] = ""
    ca_path: Annotated[str, key("A folder of such certificates.")] = "/etc/ssl/certs"
    mtls: Annotated[bool, key("Whether the client shows a certificate of its own.")] = False
    client_cert: Annotated[str, key("This certificate, PEM.")] = "/etc/ssl/certs/client.crt"
    client_key: Annotated[str, key("Its key, PEM.")] = "/etc/ssl/certs/client.key"
    echo: Annotated[bool, key("Whether answers are printed to stdout.")] = False
    compress_uploads: Annotated[bool, key("Whether bodies are compressed, by gzip.")] = False
    keep_alive: Annotated[bool, key("Whether idle connections are kept alive by TCP.")] = False
    max_consecutive_timeouts: Annotated[int, key("Times that a request which timed out is sent again before its alert is given up.",
                                                 ge=0, le=255)] = 5
    timeout: Annotated[int, key("How long connecting and answering may take.", duration=10 * _MS, ours=True)] = 10 * _S
