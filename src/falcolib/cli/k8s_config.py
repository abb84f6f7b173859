# SPDX-License-Identifier: Apache-2.0
"""``falcolib k8s-config``: what an API server needs to send its audit events here."""

from __future__ import annotations

import os
from pathlib import Path

import click

from ..kubernetes import apiserver
from ..kubernetes.auditlog import VERSIONS
from .terminal import log

_FILE = click.Path(exists=True, dir_okay=False, allow_dash=True)
_PARTS = ("policy", "webhook", "flags")


def _text(path: str | None) -> str | None:
    if path is None:
        return None
    with click.open_file(path, encoding="utf-8", errors="replace") as f:
        return str(f.read())


@click.command("k8s-config", short_help="Write what a kube-apiserver needs to send audit events.")
@click.argument("address")
@click.option("--ca", type=_FILE, help="Certificates (PEM) that the API server verifies an https address with.")
@click.option("--token-file", type=_FILE, help="A file with the bearer token that it sends.")
@click.option("--client-certificate", type=_FILE, help="The certificate (PEM) that it shows …")
@click.option("--client-key", type=_FILE, help="… and its key.")
@click.option("--batch-max-wait", default="1s", show_default=True, metavar="DURATION", help="How long it keeps events for a batch.")
@click.option("--batch-max-size", default=400, show_default=True, type=click.IntRange(1, 10_000), metavar="N", help="Events of a batch.")
@click.option("--throttle-qps", type=click.FloatRange(0, 100_000, min_open=True), metavar="N",
              help="Batches a second, where its 10 are too few.")
@click.option("--log", "log_path", metavar="PATH", help="Have it write a log file too, for `falcolib audit2rbac`.")
@click.option("--audit-version", type=click.Choice(VERSIONS), default="v1", show_default=True,
              help="Of the events; API servers before 1.12 have no v1.")
@click.option("--folder", default=apiserver.FOLDER, show_default=True, metavar="DIR", help="Where the API server finds the files.")
@click.option("-d", "--directory", type=click.Path(file_okay=False), help="Write the files here; without it, all is printed.")
@click.option("--only", type=click.Choice(_PARTS), help="Print only this.")
def k8s_config_command(address: str, ca: str | None, token_file: str | None, client_certificate: str | None, client_key: str | None,
                       batch_max_wait: str, batch_max_size: int, throttle_qps: float | None, log_path: str | None, audit_version: str,
                       folder: str, directory: str | None, only: str | None) -> None:
    """Write an audit policy, the webhook's kubeconfig and the flags with which a kube-apiserver sends its audit events to ADDRESS.

    ADDRESS is where falcolib listens: http(s)://HOST[:8765][/k8s_audit]. The API server doesn't resolve names of Services, so give the
    Service's ClusterIP or a node's address.

    \b
    Put the two files into --folder on the nodes of the control plane, and, where the API server is a static Pod (kubeadm):
      * add the flags to the command in /etc/kubernetes/manifests/kube-apiserver.yaml
      * add a hostPath volume of --folder, and mount it read-only at the same path
    The kubelet then restarts it. If it doesn't come up, its log says why: an API server refuses to start with a policy it can't read.
    """
    token = _text(token_file)
    try:
        config = apiserver.api_server_config(
            address, ca=_text(ca), token=None if token is None else token.strip(),
            certificate=_text(client_certificate), key=_text(client_key),
            folder=folder.rstrip("/") or "/", version=audit_version, batch_max_wait=batch_max_wait, batch_max_size=batch_max_size,
            throttle_qps=throttle_qps, log_path=log_path)
    except ValueError as e:
        raise click.UsageError(str(e)) from None
    for note in config.notes:
        log(f"Warning: {note}")
    flags = "".join(f"{flag}\n" for flag in config.flags)
    if directory is not None:
        for name, text, mode in ((apiserver.POLICY_FILE, config.policy, 0o644), (apiserver.WEBHOOK_FILE, config.webhook, 0o600),
                                 ("kube-apiserver.flags", flags, 0o644)):
            _write(Path(directory) / name, text, mode)
            log(f"written: {Path(directory) / name}")
    if only is not None:
        click.echo({"policy": config.policy, "webhook": config.webhook, "flags": flags}[only], nl=False)
    elif directory is None:
        parts = {f"{folder}/{apiserver.POLICY_FILE}": config.policy, f"{folder}/{apiserver.WEBHOOK_FILE}": config.webhook,
                 "flags of kube-apiserver": "".join(f"# {flag}\n" for flag in config.flags)}
        click.echo("---\n".join(f"# ---- {title}\n{text}" for title, text in parts.items()), nl=False)


def _write(path: Path, text: str, mode: int) -> None:
    """Writes a file whole or not at all, readable by others only if it may be."""
    path.parent.mkdir(parents=True, exist_ok=True)
    new = path.with_name(f".{path.name}.new")
    new.unlink(missing_ok=True)
    with os.fdopen(os.open(new, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode), "w") as f:
        f.write(text)
    new.replace(path)
