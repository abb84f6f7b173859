# SPDX-License-Identifier: Apache-2.0
"""``falcolib doctor``."""

from __future__ import annotations

import json

import click

from ..doctor import examine, lines


@click.command("doctor")
@click.option("--json", "as_json", is_flag=True, help="As a JSON object: live, and for each check name, status, found, why and fix.")
def doctor_command(as_json: bool) -> int:
    """Say what this machine allows, and how to fix what is missing.

    Looks at the kernel, at what this user may do, at memory, namespaces and sockets, and loads nothing. Exit status 0 if live capture
    works, 1 if not. What is a warning costs something, and is told below.
    """
    report = examine()
    if as_json:
        click.echo(json.dumps(report.as_dict(), indent=2))
    else:
        for line in lines(report):
            click.echo(line)
    return 0 if report.live else 1
