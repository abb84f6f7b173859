# SPDX-License-Identifier: Apache-2.0
"""Options that choose which rules run, by name and tag: -t, -T and -D, as the falco command once had them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

import click

_KEY = "falcolib.selection"
F = TypeVar("F", bound=Callable[..., Any])


def selection_options(function: F) -> F:
    """Adds the options; selected() tells what they say."""
    for names, text in (
        (("-D", "--disable-rule"), "Don't run rules whose name has this in it; * stands for any text. May be repeated."),
        (("-T", "--disable-tag"), "Don't run rules with this tag. May be repeated."),
        (("-t", "--tag"), "Run only rules with this tag, also those that are disabled. May be repeated; not with -T or -D."),
    ):
        option = click.option(*names, metavar="NAME" if "-D" in names else "TAG", multiple=True, expose_value=False, help=text,
                              callback=lambda ctx, param, values: ctx.meta.setdefault(_KEY, {}).update({param.opts[0]: values}))
        function = option(function)
    return function


def selected() -> list[dict[str, dict[str, str]]]:
    """What the options of the command that runs say, as entries of falco.yaml's ``rules:``."""
    given: dict[str, tuple[str, ...]] = click.get_current_context().meta.get(_KEY, {})
    only = [{"enable": {"tag": tag}} for tag in given.get("-t", ())]
    if only and (given.get("-T") or given.get("-D")):
        raise click.UsageError("-t chooses the rules that run: it can't be used with -T or -D")
    return [
        *([{"disable": {"rule": "*"}}] if only else []), *only, *({"disable": {"tag": tag}} for tag in given.get("-T", ())),
        *({"disable": {"rule": f"*{name}*"}} for name in given.get("-D", ()))]
