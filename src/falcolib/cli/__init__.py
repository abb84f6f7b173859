# SPDX-License-Identifier: Apache-2.0
"""The command ``falcolib``."""

from __future__ import annotations

import errno
import importlib
import io
import os
import sys

import click

from .. import __version__
from ..errors import FalcolibError

#: Subcommands, and where they are: each is imported only when it is used.
COMMANDS = {
    "run": ("run", "run_command"),
    "validate": ("rulefiles", "validate_command"),
    "describe": ("rulefiles", "describe_command"),
    "rules": ("rulefiles", "rules_command"),
    "test": ("testing", "test_command"),
    "explain": ("explain", "explain_command"),
    "record": ("record", "record_command"),
    "profile": ("profiling", "profile_command"),
    "events": ("catalogue", "events_command"),
    "fields": ("catalogue", "fields_command"),
    "audit2rbac": ("audit2rbac", "audit2rbac_command"),
    "doctor": ("doctor", "doctor_command"),
    "k8s-config": ("k8s_config", "k8s_config_command"),
}

#: What writing to a file fails with; errors of other files have their name.
_UNWRITABLE = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EIO)


class _Lazy(click.Group):
    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in COMMANDS:
            return None
        module, name = COMMANDS[cmd_name]
        command: click.Command = getattr(importlib.import_module(f".{module}", __name__), name)
        return command

    def resolve_command(self, ctx: click.Context, args: list[str]) -> tuple[str | None, click.Command | None, list[str]]:
        if args[0] not in COMMANDS and not args[0].startswith("-"):
            from ..schema import nearest

            near = nearest(args[0], COMMANDS)
            ctx.fail(f"there is no command {args[0]!r}" + (f"; did you mean {near!r}?" if near else "; there is " + ", ".join(COMMANDS)))
        return super().resolve_command(ctx, args)


@click.group(cls=_Lazy, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, prog_name="falcolib")
def cli() -> None:
    """Falco's rules over system calls and Kubernetes audit events: watch this machine, replay captures and audit logs, check, test, explain
    and measure rules.

    falcolib COMMAND --help tells all about a command. Exit status: 0 all is well, 1 an error, 2 wrong usage.

    \b
    falcolib run                               this machine, with the rules that come with falcolib, until Ctrl-C
    falcolib run -r rules.yaml --capture trace.scap
    falcolib validate --lint rules.yaml
    """


def main() -> None:
    """Runs the command line; exits 0, 1 after an error, 2 for wrong usage."""
    if sys.stderr is None:              # was closed: its number must not become that of a file
        sys.stderr = open(os.devnull, "w")  # noqa: SIM115
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")       # what the locale can't show is no reason to fail
    try:
        status = cli(prog_name="falcolib", standalone_mode=False)   # without standalone_mode, an Exit comes back as its status
        if sys.stdout is not None:
            sys.stdout.flush()
        sys.exit(status)
    except click.ClickException as e:
        e.show()
        sys.exit(e.exit_code)
    except (click.Abort, KeyboardInterrupt):
        sys.exit(130)
    except BrokenPipeError:             # the reader of our output has gone: nobody is left to tell
        sys.exit(1)
    except OSError as e:
        name = "standard output" if e.filename is None and e.errno in _UNWRITABLE else e.filename
        print(f"Error: {e}" if name is None else f"Error: {name}: {e.strerror}", file=sys.stderr)
        sys.exit(1)
    except FalcolibError as e:
        print(f"Error: {e}", file=sys.stderr)
        sys.exit(1)
    finally:
        _drop_unwritable()


def _drop_unwritable() -> None:
    """What stdout and stderr still hold and can't write goes nowhere: Python would try again at its end, and exit 120."""
    for stream in (sys.stdout, sys.stderr):
        try:
            if stream is not None:
                stream.flush()
        except OSError:
            os.dup2(os.open(os.devnull, os.O_WRONLY), stream.fileno())
