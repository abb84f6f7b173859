# SPDX-License-Identifier: Apache-2.0
"""The options of the falco command with which it tells something instead of watching (spec: engine.md D3)."""

from __future__ import annotations

import mmap
import os
import platform
import sys
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, TypeVar

import click

if TYPE_CHECKING:
    from ..config import Configuration
    from ..daemon import Daemon

_KEY = "falcolib.falco"
F = TypeVar("F", bound=Callable[..., Any])

#: Options, and their help; asked() tells which were given.
_FLAGS: tuple[tuple[tuple[str, ...], str], ...] = (
    (("--dry-run",), "Read the configuration and the rules, and do nothing with them; exit status 1 for a mistake."),
    (("-L", "describe_all"), "Describe all rules, macros and lists; as JSON with json_output."),
    (("-i", "ignored"), "List the system calls that rules see only with base_syscalls.all."),
    (("--list-events",), "List the events."),
    (("--list-plugins",), "List the plugins, all of them built in."),
    (("--support",), "Print versions, the system, the configuration and the rule files, as JSON, for those who are to help."),
    (("--page-size",), "Print the size of a page of memory, which the sizes of ring buffers are multiples of."),
    (("--config-schema",), "Print the JSON schema of falco.yaml."),
    (("--rule-schema",), "Print the JSON schema of rule files."),
    (("--version",), "Print versions; as JSON with json_output."),
    (("-N", "names_only"), "With --list: only the names."),
    (("--markdown",), "With --list, --list-events: as Markdown; --format says it better."),
)


def falco_options(function: F) -> F:
    """Adds the options; asked() has what they say."""

    def keep(context: click.Context, parameter: click.Parameter, value: object) -> None:
        context.meta.setdefault(_KEY, {})[parameter.name] = value

    common: dict[str, Any] = {"expose_value": False, "callback": keep}
    options = [click.option(*names, is_flag=True, help=text, **common) for names, text in _FLAGS]
    options += [
        click.option("-V", "--validate", "validated", multiple=True, metavar="FILE", help="Check rule files; exit status 1 for a mistake. "
                     "May be repeated. As JSON with json_output.", **common),
        click.option("-l", "described", metavar="RULE", help="Describe a rule; as JSON with json_output.", **common),
        click.option("--list", "listed", is_flag=False, flag_value="*", metavar="[SOURCE]",
                     help="List the fields that conditions and outputs can name; of one source of events.", **common),
        click.option("--format", "format_", type=click.Choice(("text", "markdown", "json")), help="Of --list and --list-events.", **common),
        click.option("--plugin-info", metavar="NAME", help="Tell what a plugin is for.", **common),
    ]
    for option in reversed(options):
        function = option(function)
    return function


def asked() -> dict[str, Any]:
    """What the options say, by name."""
    found: dict[str, Any] = click.get_current_context().meta.get(_KEY, {})
    return found


def tell_at_once() -> bool:
    """Tells what needs no configuration. False if nothing of that was asked for."""
    given = asked()
    if given["page_size"]:
        click.echo(f"Your system page size is: {mmap.PAGESIZE}")
    elif given["config_schema"]:
        from ..config import Configuration
        from ..config.keys import json_schema

        click.echo(_json({"$schema": "https://json-schema.org/draft/2020-12/schema", "title": "falco.yaml",
                               **json_schema(Configuration)}, indent=2))
    elif given["rule_schema"]:
        from ..rules.schema import rule_schema

        click.echo(_json(rule_schema(), indent=2))
    elif given["ignored"]:
        from .catalogue import ignored_calls

        click.echo("System calls that rules don't see, unless base_syscalls.all is true:\n" + "\n".join(f"- {n}" for n in ignored_calls()))
    elif given["list_events"]:
        from .catalogue import list_events

        click.echo(list_events(_format(given)))
    else:
        return False
    return True


def _json(value: object, **how: Any) -> str:
    import json  # a run does without

    return json.dumps(value, **how)


def _format(given: dict[str, Any]) -> Any:
    return given["format_"] or ("markdown" if given["markdown"] else "text")


def tell(config: Configuration, daemon: Daemon) -> bool:
    """Tells what was asked for. False if nothing was."""
    given = asked()
    as_json = config.json_output
    if given["version"]:
        from ..daemon.endpoints import versions

        click.echo(_json(versions(), indent=2) if as_json else version_text(versions()))
    elif given["support"]:
        click.echo(_json(support(config, daemon.rule_files())))
    elif given["list_plugins"] or given["plugin_info"]:
        click.echo(_plugins(config, given["plugin_info"]))
    elif given["listed"]:
        from .catalogue import list_fields

        source = None if given["listed"] == "*" else given["listed"]
        try:
            click.echo(list_fields(_format(given), names_only=given["names_only"], source=source))
        except ValueError as e:
            raise click.UsageError(str(e)) from None
    elif given["validated"]:
        _validate(given["validated"], as_json, config.static_fields)
    elif given["describe_all"] or given["described"]:
        from ..rules import RuleSet
        from ..rules.files import given_files
        from ..rules.static import static_fields
        from .rulefiles import print_rules

        rules = RuleSet.build(given_files(daemon.rule_files()), static=static_fields(config.static_fields))
        print_rules(rules.select(config.rules, priority=config.priority), given["described"], as_json)
    elif given["dry_run"]:
        daemon.check()
        click.echo("The configuration and the rules can be used.", err=True)
    else:
        return False
    return True


def _validate(files: tuple[str, ...], as_json: bool, static: Mapping[str, str]) -> None:
    from ..rules.report import load_results
    from ..rules.ruleset import check_files
    from ..rules.static import static_fields
    from .rulefiles import print_results

    results, ruleset = check_files(files, static_fields(static))
    if as_json:
        click.echo(_json(load_results(results), sort_keys=True))
    else:
        print_results(results)
    if ruleset is None:
        raise click.exceptions.Exit(1)


def version_text(told: dict[str, Any]) -> str:
    """Versions as ``falco --version`` writes them; Falco's own is that of falcolib."""
    return "\n".join([
        f"Falco version: {told['falco_version']} (falcolib)", f"Libs version:  {told['libs_version']}",
        f"Plugin API:    {told['plugin_api_version']}", f"Engine:        {told['engine_version_semver']}", "Driver:",
        f"  API version:    {told['driver_api_version']}", f"  Schema version: {told['driver_schema_version']}",
        f"  Default driver: {told['default_driver_version']}"])


def _command_line() -> str:
    """Without what -o sets: it may be a secret, and what is none is in the configuration."""
    words = sys.argv
    for option in click.get_current_context().params["options"]:
        words = [word.removesuffix(option) + f"{option.partition('=')[0]}=***" if word.endswith(option) else word for word in words]
    return " ".join(words)


def support(config: Configuration, rule_files: tuple[str, ...]) -> dict[str, Any]:
    """What is asked of those who want help: without secrets."""
    from ..daemon.endpoints import versions
    from ..rules.files import given_files

    told, system = versions(), platform.uname()
    return {
        "version": told["falco_version"],
        "system_info": {"sysname": system.system, "nodename": system.node, "release": system.release, "version": system.version,
                        "machine": system.machine},
        "engine_info": {"engine_version": told["engine_version"], "engine_version_semver": told["engine_version_semver"]},
        "cmdline": _command_line(),
        "config": config.origin.resolved,
        "rules_files": [{"name": given.name, "variants": [{"content": given.text}]}
                        for given in given_files(path for path in rule_files if os.path.exists(path))],
    }


def _plugins(config: Configuration, name: str | None) -> str:
    from ..daemon.plugins import BUILT_IN, suggestions
    from ..rules.merge import PLUGIN_VERSIONS, version_text
    from ..schema import nearest

    if name is None:
        used = {plugin.name for plugin in config.plugins}
        lines = [f"{len(BUILT_IN)} plugins are built in:"]
        for plugin, what in BUILT_IN.items():
            lines += ["", f"Name: {plugin}", f"Description: {what}", f"Version: {version_text(PLUGIN_VERSIONS[plugin])}",
                      f"Configured: {'yes' if plugin in used else 'no'}"]
        return "\n".join(lines)
    if name not in BUILT_IN:
        near = nearest(name, BUILT_IN)
        raise click.ClickException(f"there is no plugin {name!r}: built in are {', '.join(BUILT_IN)}"
                                   + (f"; did you mean {near!r}?" if near else ""))
    settings, open_params = suggestions(name)
    lines = [f"Name: {name}", f"Description: {BUILT_IN[name]}", f"Version: {version_text(PLUGIN_VERSIONS[name])}", "Contact: falcolib",
             "Capabilities: " + ("Event Sourcing, Field Extraction" if name == "k8saudit" else "Field Extraction")]
    lines += ["Init config:", *(f"  {key}: {what}" for key, what in settings.items())] if settings else ["Init config: none"]
    lines += ["Suggested open params:", *(f"  {where}" for where in open_params)] if open_params else []
    return "\n".join(lines)
