# SPDX-License-Identifier: Apache-2.0
"""Groups of our own about where notifications go: chats, pagers, logs. What is made of them is in outputs/notify, a module for each."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, Literal

from ..alert import Priority
from .keys import Group, Key, key

Texts = tuple[str, ...]
NS = 10**9


def _ours(help: str, **more: Any) -> Key:
    return key(help, ours=True, **more)


def _secret(help: str, **more: Any) -> Key:
    return key(help, ours=True, secret=True, **more)


class Notifier(Group, frozen=True):
    """What every receiver of notifications has."""

    enabled: Annotated[bool, _ours("Whether alerts are sent there.")] = False
    minimum_priority: Annotated[Priority, _ours("The least urgent priority that is sent.")] = Priority.DEBUG
    tags: Annotated[Texts, _ours("Tags of which an alert must have one; none: all alerts are sent.")] = ()
    group_by: Annotated[Texts, _ours(
        "What alerts that are alike have in common: rule, priority, source, hostname, tags, output, or names of fields.")] = ("rule",)
    group_window: Annotated[int, _ours(
        "How long alerts that are like one sent before are held back, to be told as one with their number; 0s: none is.", duration=0)] = 0
    custom_fields: Annotated[Mapping[str, str], _ours("Fields that are added to each alert.")] = {}
    templated_fields: Annotated[Mapping[str, str], _ours("Fields that are added to each alert, a template each.")] = {}
    custom_tags: Annotated[Texts, _ours("Tags that are added to each alert.")] = ()


class HttpNotifier(Notifier, frozen=True):
    """What receivers that are asked by HTTP have besides."""

    timeout: Annotated[int, _ours("How long an answer is waited for.", duration=10**6)] = 10 * NS
    insecure: Annotated[bool, _ours("Whether the server's certificate isn't looked at.")] = False
    ca_cert: Annotated[str, _ours("The certificates of who signed the server's, PEM; none: those that the system trusts.")] = ""
    client_cert: Annotated[str, _ours("A certificate of the client's own, PEM, where the server asks for one.")] = ""
    client_key: Annotated[str, _ours("Its key, PEM.")] = ""


OutputFormat = Literal["all", "text", "fields"]


class SlackOutput(HttpNotifier, frozen=True):
    """Messages in a channel of Slack, by an incoming webhook."""

    webhook_url: Annotated[str, _secret("The webhook's address.")] = ""
    channel: Annotated[str, _ours("The channel; none: the webhook's own.")] = ""
    username: Annotated[str, _ours("Who the message is from.")] = "falcolib"
    icon: Annotated[str, _ours("The address of its picture.")] = ""
    footer: Annotated[str, _ours("The line at its end.")] = "falcolib"
    output_format: Annotated[OutputFormat, _ours("What the message shows: the alert's text, its fields, or all.")] = "all"
    message_format: Annotated[str, _ours("A template of what is said above.")] = ""


class MattermostOutput(SlackOutput, frozen=True):
    """Messages in a channel of Mattermost, by an incoming webhook."""


class RocketchatOutput(SlackOutput, frozen=True):
    """Messages in a channel of Rocket.Chat, by an incoming webhook."""


class TeamsOutput(HttpNotifier, frozen=True):
    """Messages in a channel of Microsoft Teams, by a workflow that posts what it receives."""

    webhook_url: Annotated[str, _secret("The workflow's address.")] = ""
    card: Annotated[Literal["adaptive", "message"], _ours(
        "The form: adaptive cards, for workflows; or message cards, for the connectors of before.")] = "adaptive"
    output_format: Annotated[OutputFormat, _ours("What the message shows: the alert's text, its fields, or all.")] = "all"
    message_format: Annotated[str, _ours("A template of the title; none: the rule's name.")] = ""


class DiscordOutput(HttpNotifier, frozen=True):
    """Messages in a channel of Discord, by a webhook."""

    webhook_url: Annotated[str, _secret("The webhook's address.")] = ""
    username: Annotated[str, _ours("Who the message is from; none: the webhook's own name.")] = ""
    icon: Annotated[str, _ours("The address of its picture.")] = ""
    footer: Annotated[str, _ours("The line at its end.")] = "falcolib"
    output_format: Annotated[OutputFormat, _ours("What the message shows: the alert's text, its fields, or all.")] = "all"
    message_format: Annotated[str, _ours("A template of what is said above.")] = ""


class WebhookOutput(HttpNotifier, frozen=True):
    """Requests of any form. (http_output is Falco's own; this one has methods, headers and templates.)"""

    url: Annotated[str, _secret("Where to: http:// or https://.")] = ""
    method: Annotated[Literal["POST", "PUT", "PATCH"], _ours("The method of the requests.")] = "POST"
    headers: Annotated[Mapping[str, str], _secret("Headers that are added to the requests.")] = {}
    content_type: Annotated[str, _ours("What the body is.")] = "application/json"
    template: Annotated[str, _ours(
        "A template of the body; none: Falco's JSON. If content_type is JSON, it must be JSON itself, with templates in its texts.")] = ""
    batch: Annotated[int, _ours("Most alerts in one request; more than 1: the body is a JSON list.", ge=1, le=10000)] = 1


class AlertmanagerOutput(HttpNotifier, frozen=True):
    """Alerts of Prometheus' Alertmanager."""

    url: Annotated[str, _ours("Its address: http://alertmanager:9093. What comes before /api/v2/alerts.")] = ""
    username: Annotated[str, _ours("A name for basic authentication.")] = ""
    password: Annotated[str, _secret("Its password.")] = ""
    expires_after: Annotated[int, _ours("How long an alert lasts; 0s: as long as Alertmanager's resolve_timeout.", duration=0)] = 0
    labels: Annotated[Mapping[str, str], _ours("Labels that are added.")] = {}
    annotations: Annotated[Mapping[str, str], _ours("Annotations that are added, a template each.")] = {}
    label_fields: Annotated[Texts, _ours("Fields that become labels; * is all of them. The others are annotations.")] = ("*",)
    batch: Annotated[int, _ours("Most alerts in one request.", ge=1, le=10000)] = 64


class LokiOutput(HttpNotifier, frozen=True):
    """Lines in Grafana's Loki."""

    url: Annotated[str, _ours("Its address: http://loki:3100. What comes before /loki/api/v1/push.")] = ""
    tenant: Annotated[str, _ours("The tenant, as X-Scope-OrgID.")] = ""
    username: Annotated[str, _ours("A name for basic authentication.")] = ""
    api_key: Annotated[str, _secret("Its password; without a name, a bearer token.")] = ""
    format: Annotated[Literal["text", "json"], _ours("What lines are: Falco's text, or its JSON.")] = "text"
    labels: Annotated[Mapping[str, str], _ours("Labels that are added, the same for all.")] = {}
    label_fields: Annotated[Texts, _ours("Fields that become labels. Few, with few values: each combination is a stream.")] = (
        "k8s.ns.name", "k8s.pod.name")
    batch: Annotated[int, _ours("Most lines in one request.", ge=1, le=10000)] = 500


class ElasticsearchOutput(HttpNotifier, frozen=True):
    """Documents in Elasticsearch or OpenSearch."""

    url: Annotated[str, _ours("Its address: https://elasticsearch:9200.")] = ""
    index: Annotated[str, _ours("The index, or the beginning of its name.")] = "falco"
    suffix: Annotated[Literal["none", "daily", "monthly", "annually"], _ours(
        "What comes after: -2006.01.02, -2006.01 or -2006, by the time of the alert.")] = "daily"
    data_stream: Annotated[bool, _ours("Whether the index is a data stream (without a suffix, then).")] = False
    pipeline: Annotated[str, _ours("The ingest pipeline.")] = ""
    username: Annotated[str, _ours("A name for basic authentication.")] = ""
    password: Annotated[str, _secret("Its password.")] = ""
    api_key: Annotated[str, _secret("An API key, as Elasticsearch encodes it.")] = ""
    flatten_fields: Annotated[bool, _ours("Whether fields are named with _ for . [ and ], so that none is taken for an object.")] = False
    batch: Annotated[int, _ours("Most documents in one request.", ge=1, le=10000)] = 500


class KafkaOutput(Notifier, frozen=True):
    """Messages of a topic of Kafka."""

    brokers: Annotated[Texts, _ours("Brokers to begin with, host:port.")] = ()
    topic: Annotated[str, _ours("The topic.")] = ""
    key: Annotated[str, _ours("A template of the messages' keys, which decide their partitions; none: no keys.")] = ""
    partition: Annotated[int, _ours("The partition; -1: as the keys say.", ge=-1, le=1 << 20)] = -1
    client_id: Annotated[str, _ours("How the client calls itself.")] = "falcolib"
    acks: Annotated[Literal["all", "1", "0"], _ours("Which brokers must have a message before it counts as delivered.")] = "all"
    compression: Annotated[Literal["none", "gzip", "snappy", "lz4", "zstd"], _ours("How messages are compressed.")] = "none"
    tls: Annotated[bool, _ours("Whether connections are encrypted.")] = False
    insecure: Annotated[bool, _ours("Whether the brokers' certificates aren't looked at.")] = False
    ca_cert: Annotated[str, _ours("The certificates of who signed the brokers', PEM.")] = ""
    client_cert: Annotated[str, _ours("A certificate of the client's own, PEM.")] = ""
    client_key: Annotated[str, _ours("Its key, PEM.")] = ""
    sasl_mechanism: Annotated[Literal["none", "PLAIN", "SCRAM-SHA-256", "SCRAM-SHA-512"], _ours("How the client says who it is.")] = "none"
    username: Annotated[str, _ours("Its name.")] = ""
    password: Annotated[str, _secret("Its password.")] = ""
    timeout: Annotated[int, _ours("How long the brokers' word is waited for.", duration=10**6)] = 10 * NS
    batch: Annotated[int, _ours("Most messages that are under way at once.", ge=1, le=10000)] = 500


class OtlpOutput(HttpNotifier, frozen=True):
    """Log records for OpenTelemetry, by OTLP over HTTP."""

    endpoint: Annotated[str, _ours("The collector's address: http://collector:4318. What comes before /v1/logs.")] = ""
    protocol: Annotated[Literal["http/json", "http/protobuf"], _ours("How records are encoded.")] = "http/json"
    headers: Annotated[Mapping[str, str], _secret("Headers that are added to the requests.")] = {}
    service_name: Annotated[str, _ours("The resource's service.name.")] = "falcolib"
    resource_attributes: Annotated[Mapping[str, str], _ours("More attributes of the resource.")] = {}
    batch: Annotated[int, _ours("Most records in one request.", ge=1, le=10000)] = 500


class SmtpOutput(Notifier, frozen=True):
    """Mails."""

    host: Annotated[str, _ours("The mail server.")] = ""
    port: Annotated[int, _ours("Its port; 0: 465 with tls, 587 with starttls, 25 with none.", ge=0, le=65535)] = 0
    security: Annotated[Literal["starttls", "tls", "none"], _ours(
        "tls: encrypted from the start; starttls: made so before anything is told; none: plain.")] = "starttls"
    insecure: Annotated[bool, _ours("Whether the server's certificate isn't looked at.")] = False
    ca_cert: Annotated[str, _ours("The certificates of who signed the server's, PEM; none: those that the system trusts.")] = ""
    username: Annotated[str, _ours("A name to log in with.")] = ""
    password: Annotated[str, _secret("Its password.")] = ""
    sender: Annotated[str, _ours("Who mails are from.")] = ""
    recipients: Annotated[Texts, _ours("Who gets them.")] = ()
    subject: Annotated[str, _ours("A template of the subject; none: priority and rule.")] = ""
    output_format: Annotated[Literal["html", "text"], _ours("html: with a plain text beside it; text: this alone.")] = "html"
    timeout: Annotated[int, _ours("How long an answer of the server is waited for.", duration=10**6)] = 10 * NS
    batch: Annotated[int, _ours("Most alerts in one mail: those that wait while one is sent go together.", ge=1, le=1000)] = 50


class PagerdutyOutput(HttpNotifier, frozen=True):
    """Incidents in PagerDuty, by its Events API, version 2."""

    routing_key: Annotated[str, _secret("The integration's key.")] = ""
    region: Annotated[Literal["us", "eu"], _ours("Where the account is.")] = "us"
    url: Annotated[str, _ours("Another address than that of the region.")] = ""
    dedup_key: Annotated[str, _ours(
        "A template of what alerts of one incident have in common; none: each is one of its own.")] = "{{ rule }} {{ hostname }}"
    component: Annotated[str, _ours("A template of the part of the system that is broken.")] = ""
    group: Annotated[str, _ours("A template of the group of components.")] = ""
