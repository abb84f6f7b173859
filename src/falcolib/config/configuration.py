# SPDX-License-Identifier: Apache-2.0
"""The configuration: falco.yaml's groups together, and the keys that stand at its top."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, Literal

import msgspec

from ..alert import AlertFormat, Priority
from ..core import Matching
from .engine import (
    BaseSyscalls,
    ConfigFile,
    EngineGroup,
    FalcoLibs,
    LibsLogger,
    Plugin,
    SyscallEventDrops,
    SyscallEventTimeouts,
    append_entries,
    config_file_entries,
    rule_entries,
)
from .keys import Group, key
from .notifications import (
    AlertmanagerOutput,
    DiscordOutput,
    ElasticsearchOutput,
    KafkaOutput,
    LokiOutput,
    MattermostOutput,
    OtlpOutput,
    PagerdutyOutput,
    RocketchatOutput,
    SlackOutput,
    SmtpOutput,
    TeamsOutput,
    WebhookOutput,
)
from .outputs import FileOutput, HttpOutput, OutputsQueue, ProgramOutput, SpoolGroup, StdoutOutput, SyslogOutput
from .services import CaptureGroup, MetricsSettings, Webserver

_Texts = tuple[str, ...]


class ReadFile(msgspec.Struct, frozen=True):
    """A file that the configuration was read from, and what the schema says of it: ``ok``, ``failed: …`` or ``none``."""

    path: str
    schema: str


class Origin(msgspec.Struct, frozen=True):
    """Where a configuration comes from: its files, the folders and files that config_files named (watched, whether they are there or not),
    what is doubtful in it, the merged keys as plain YAML, without secrets (for ``--support``), the place of each key, and when it was begun
    to be read, by the clock that files are stamped with."""

    files: tuple[ReadFile, ...] = ()
    named: tuple[str, ...] = ()
    warnings: tuple[str, ...] = ()
    resolved: Mapping[str, Any] = {}
    places: Mapping[str, str] = {}
    since: int | None = None

    def __repr__(self) -> str:
        """Options may hold secrets."""
        return f"Origin({', '.join(file.path for file in self.files)})"

    def located(self, key: str, text: str) -> str:
        """What is wrong with the value of a key (``plugins[0].open_params``), with its place, or that of what it is in."""
        at = key
        while at and at not in self.places:
            at = at[:max(at.rfind("."), at.rfind("["), 0)]
        return f"{self.places[at]}: {key}: {text}" if at else f"{key}: {text}"


class Configuration(Group, frozen=True):
    """What falco.yaml and -o set, by the names that the keys have there. Durations are ns, except where the name has another unit."""

    config_files: Annotated[tuple[ConfigFile, ...], key(
        "Further files, and folders of them, that are merged into this one.", shipped=(ConfigFile("/etc/falco/config.d"),),
        shape=config_file_entries, schema={"type": "array", "items": {"anyOf": [{"type": "string"}, {
            "type": "object", "additionalProperties": False, "required": ["path"],
            "properties": {"path": {"type": "string"}, "strategy": {"enum": ["append", "override", "add-only"]}}}]}})] = ()
    watch_config_files: Annotated[bool, key("Whether changed files of configuration and rules are loaded at once.", bare=False)] = True
    rules_files: Annotated[_Texts, key(
        "Rule files, and folders of them, in the order of loading.",
        shipped=("/etc/falco/falco_rules.yaml", "/etc/falco/falco_rules.local.yaml", "/etc/falco/rules.d"))] = ()
    rules: Annotated[tuple[Mapping[str, Mapping[str, str]], ...], key(
        "Rules that are enabled and disabled after loading, in order: by name (* stands for any text) or tag.", shape=rule_entries,
        schema={"type": "array", "items": {"type": "object", "additionalProperties": False, "properties": {
            action: {"type": "object", "additionalProperties": False,
                     "properties": {"rule": {"type": "string"}, "tag": {"type": "string"}}} for action in ("enable", "disable")}}})] = ()
    engine: EngineGroup = EngineGroup()
    capture: CaptureGroup = CaptureGroup()
    load_plugins: Annotated[_Texts, key("Names of the plugins to use; none: all of plugins.")] = ()
    plugins: Annotated[tuple[Plugin, ...], key(
        "Plugins; those that Falco comes with are built in.",
        shipped=(Plugin("container", "libcontainer.so", {"label_max_len": 100, "with_size": False}),))] = ()
    plugins_hostinfo: Annotated[bool, key("Whether plugins are told of the host.")] = True
    time_format_iso_8601: Annotated[bool, key("Whether alerts have their time in ISO 8601 and UTC.")] = False
    buffer_format_base64: Annotated[bool, key("Whether bytes are printed in base64.")] = False
    priority: Annotated[Priority, key("The least urgent priority that rules must have.")] = Priority.DEBUG
    json_output: Annotated[bool, key("Whether alerts are JSON lines.")] = False
    json_include_output_property: Annotated[bool, key("Whether JSON alerts have the text line, as output.")] = True
    json_include_message_property: Annotated[bool, key("Whether JSON alerts have the text without time and priority, as message.")] = False
    json_include_output_fields_property: Annotated[bool, key("Whether JSON alerts have their fields.")] = True
    json_include_tags_property: Annotated[bool, key("Whether JSON alerts have the rule's tags.")] = True
    buffered_outputs: Annotated[bool, key("Whether lines of stdout, files and programs may wait, to be written together.")] = False
    rule_matching: Annotated[Matching, key("The first rule that matches an event, or all.")] = "first"
    outputs_queue: OutputsQueue = OutputsQueue()
    spool: SpoolGroup = SpoolGroup()
    append_output: Annotated[tuple[Mapping[str, Any], ...], key(
        "What is added to the outputs of rules.", shape=append_entries, shipped=({"suggested_output": True},),
        schema={"type": "array", "items": {"type": "object", "additionalProperties": False, "properties": {
            "match": {"type": "object", "additionalProperties": False, "properties": {
                "rule": {"type": "string"}, "source": {"type": "string"}, "tags": {"type": "array", "items": {"type": "string"}}}},
            "extra_output": {"type": "string"}, "suggested_output": {"type": "boolean"},
            "extra_fields": {"type": "array", "items": {"anyOf": [
                {"type": "string"}, {"type": "object", "additionalProperties": {"type": "string"}}]}}}}})] = ()
    static_fields: Annotated[Mapping[str, str], key(
        "Fields static.NAME with a fixed value each.", names=r"[A-Za-z0-9_-]+(\.[A-Za-z0-9_-]+)*")] = {}
    stdout_output: StdoutOutput = StdoutOutput()
    syslog_output: SyslogOutput = SyslogOutput()
    file_output: FileOutput = FileOutput()
    program_output: ProgramOutput = ProgramOutput()
    http_output: HttpOutput = HttpOutput()
    slack_output: SlackOutput = SlackOutput()
    teams_output: TeamsOutput = TeamsOutput()
    discord_output: DiscordOutput = DiscordOutput()
    mattermost_output: MattermostOutput = MattermostOutput()
    rocketchat_output: RocketchatOutput = RocketchatOutput()
    webhook_output: WebhookOutput = WebhookOutput()
    alertmanager_output: AlertmanagerOutput = AlertmanagerOutput()
    loki_output: LokiOutput = LokiOutput()
    elasticsearch_output: ElasticsearchOutput = ElasticsearchOutput()
    kafka_output: KafkaOutput = KafkaOutput()
    otlp_output: OtlpOutput = OtlpOutput()
    smtp_output: SmtpOutput = SmtpOutput()
    pagerduty_output: PagerdutyOutput = PagerdutyOutput()
    webserver: Webserver = Webserver()
    log_stderr: Annotated[bool, key("Whether log lines go to stderr.", shipped=True, bare=True)] = False
    log_syslog: Annotated[bool, key("Whether log lines go to syslog.", bare=False)] = True
    log_level: Annotated[
        Literal["emergency", "alert", "critical", "error", "warning", "notice", "info", "debug"],
        key("The least urgent log lines that are written.")] = "info"
    libs_logger: LibsLogger = LibsLogger()
    output_timeout: Annotated[int, key("Milliseconds until an output that takes an alert is called stuck.", unit=10**6, ge=0)] = 2 * 10**9
    syscall_event_timeouts: SyscallEventTimeouts = SyscallEventTimeouts()
    syscall_event_drops: SyscallEventDrops = SyscallEventDrops()
    metrics: MetricsSettings = MetricsSettings()
    base_syscalls: BaseSyscalls = BaseSyscalls()
    falco_libs: FalcoLibs = FalcoLibs()
    origin: Origin = Origin()

    @property
    def format(self) -> AlertFormat:
        """How alerts are printed."""
        return AlertFormat(
            time_format_iso_8601=self.time_format_iso_8601, buffer_format_base64=self.buffer_format_base64,
            json_include_output_property=self.json_include_output_property,
            json_include_message_property=self.json_include_message_property,
            json_include_output_fields_property=self.json_include_output_fields_property,
            json_include_tags_property=self.json_include_tags_property)


def bare() -> Configuration:
    """That of a run without falco.yaml: alerts on stdout, logs on stderr, all that rules are for, and nothing else."""
    return Configuration(watch_config_files=False, log_stderr=True, log_syslog=False, stdout_output=StdoutOutput(enabled=True),
                         base_syscalls=BaseSyscalls(all=True))
