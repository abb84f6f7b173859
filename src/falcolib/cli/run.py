# SPDX-License-Identifier: Apache-2.0
"""``falcolib run``: alerts on stdout; logs, progress and statistics on stderr."""

from __future__ import annotations

import click

from ..config import ConfigError, load
from ..daemon import ChoiceError, Choices, Daemon, Report
from ..engine import MAX_WORKERS
from ..rules.bundled import bundled_rules
from .falco import falco_options, tell, tell_at_once
from .selection import selected, selection_options
from .terminal import AlertWriter, log

#: What -p once took in place of a format, for containers and the like.
_NO_FORMATS = ("", "c", "k", "m", "container", "kubernetes", "mesos", "cg", "kg")


@click.command("run", short_help="Print an alert for each event that a rule matches.")
@click.option("-c", "path", metavar="FILE", help="falco.yaml. Without: alerts on stdout, and nothing else.")
@click.option("-r", "rules", multiple=True, metavar="FILE|DIR",
              help="A rule file, or a folder of them (*.yaml, *.yml, by name). May be repeated: later files append to and override what "
                   "is in earlier ones. Default: the rules that come with falcolib (falcolib rules), for audit events where --audit or "
                   "--disable-source syscall is given.")
@click.option("--capture", "captures", multiple=True, metavar="FILE.scap",
              help="The capture to replay, plain or gzip; - for standard input. Without, the running machine is watched.")
@click.option("--audit", "audits", multiple=True, metavar="FILE|URL",
              help="Kubernetes' audit events: a log or a folder of them to replay, plain or gzip, - for standard input; file:///PATH to "
                   "follow a log; http://[HOST]:PORT[/PATH] or https://... to take them from the API server's webhook. Default, where a "
                   "rule is for them: http://:8765.")
@click.option("--tls-cert", metavar="FILE", help="The webhook's certificate, PEM; the key may be in the same file.")
@click.option("--tls-key", metavar="FILE", help="The certificate's key.")
@click.option("--tls-client-ca", metavar="FILE", help="Who signs the certificates that the webhook's clients must have.")
@click.option("--enable-source", "enabled", multiple=True, metavar="NAME",
              help="Take events of this source only: syscall, k8s_audit. May be repeated.")
@click.option("--disable-source", "disabled", multiple=True, metavar="NAME",
              help="Take no events of this source. Default: those that a rule is for are on.")
@click.option("-o", "--option", "options", multiple=True, metavar="KEY=VALUE", help="A setting of falco.yaml, see above. May be repeated.")
@selection_options
@click.option("--cache/--no-cache", default=True,
              help="Whether to take compiled rules from the cache and keep them there: FALCOLIB_CACHE, else ~/.cache/falcolib.")
@click.option("--workers", type=click.IntRange(1, MAX_WORKERS), default=1, metavar="N",
              help="Processors that evaluate rules on the capture. Default: 1. The alerts are those of one. Pays where rules cost more "
                   "than reading.")
@click.option("-p", "--print", "extra_output", default="", metavar="FORMAT",
              help="Appended to the outputs of all rules; append_output says it better. c, k and the like are without effect.")
@click.option("-P", "--pidfile", "pid_file", default="", metavar="FILE", help="Where the number of the process is written, meanwhile.")
@click.option("-M", "seconds", type=click.FloatRange(0, 1e9), default=0, metavar="SECONDS",
              help="End the run after it has watched for so many seconds. Default: 0, never.")
@click.option("-U", "--unbuffered", is_flag=True, help="Write each line at once, whatever buffered_outputs says.")
@click.option("-v", "--verbose", is_flag=True, help="Log more: log_level is debug.")
@falco_options
def run_command(
    path: str | None, rules: tuple[str, ...], captures: tuple[str, ...], audits: tuple[str, ...], tls_cert: str | None, tls_key: str | None,
    tls_client_ca: str | None, enabled: tuple[str, ...], disabled: tuple[str, ...], options: tuple[str, ...], cache: bool, workers: int,
    extra_output: str, pid_file: str, seconds: float, unbuffered: bool, verbose: bool,
) -> None:
    """Match events against rules, and print alerts: events of this machine, of a capture, of Kubernetes' audit log or API server.

    Alerts go to stdout, everything else to stderr. SIGINT and SIGTERM end the run cleanly: what was found is printed, then the statistics,
    exit status 0, whether or not there were alerts. A damaged capture gives the alerts up to the damage, and exit status 1. So has
    a mistake in the rules, and a machine that can't be watched; 2 is wrong usage.

    \b
    Settings, with their defaults:
      -o json_output=false        alerts as JSON lines
      -o rule_matching=first      or all: every rule that matches an event
      -o priority=debug           the least urgent priority that rules must have
      -o rules[].disable.rule=NAME   or .enable., .tag=TAG: as falco.yaml's rules:, in order; * in a name stands for any text
      -o time_format_iso_8601=false                   times as 2026-11-24T14:05:32.518204391+0000
      -o json_include_output_property=true            JSON lines: the text line as "output"
      -o json_include_message_property=false          … without time and priority as "message"
      -o json_include_output_fields_property=true     … the fields that it prints as "output_fields"
      -o json_include_tags_property=true              … the rule's tags as "tags"
      -o engine.modern_ebpf.buf_size_preset=4         live: 1 to 10, ring buffers of 1 to 512 MiB; 4 is 8 MiB
      -o engine.modern_ebpf.cpus_for_each_buffer=2    live: processors that share a ring buffer; 0: all
      -o engine.modern_ebpf.drop_failed_exit=false    live: leave out calls that failed
      -o engine.modern_ebpf.prefilter=true            live: leave out calls with whose outcome no rule can match
      -o falco_libs.snaplen=80                        live: bytes of what is read and written that events hold
      -o metrics.enabled=false    numbers of the run, every metrics.interval=1h and at the end: as JSON lines with
                                  -o metrics.output_file=FILE, among the alerts with -o metrics.output_rule=true

    The environment's FALCO_HOSTNAME is the host name in alerts, TZ the time zone of their times, FALCOLIB_AUDIT_TOKEN the bearer token
    that the webhook's clients must have.
    """
    if tell_at_once():
        return
    options += (("buffered_outputs=false",) if unbuffered else ()) + (("log_level=debug",) if verbose else ())
    try:
        config = load(path, options)
        if len(captures) > 1:
            raise ChoiceError("--capture: only one capture can be replayed at a time")
        choices = Choices(rules, captures, audits, tls_cert, tls_key, tls_client_ca, enabled, disabled, tuple(selected()), cache, workers,
                          seconds, "" if extra_output.lstrip("-") in _NO_FORMATS else extra_output, pid_file)
        writer = AlertWriter()
        daemon = Daemon(config, choices, reread=lambda: load(path, options), default_rules=bundled_rules, console=writer)
        if tell(config, daemon):
            return
        report = daemon.run(writer.progress)
    except (ConfigError, ChoiceError) as e:
        if path is not None:        # as Falco
            raise
        raise click.UsageError(str(e)) from None
    print_report(report)
    if report.failure:
        raise report.failure


def print_report(report: Report) -> None:
    """The end statistics, as Falco prints them (spec: engine.md D3), and what was read and left out."""
    stats = report.stats
    log(f"Events read: {stats.events} ({stats.bytes} bytes in {report.seconds:.2f} s)")
    log(f"Events detected: {sum(report.severities.values())}")
    log("Rule counts by severity:")
    for priority, count in sorted(report.severities.items()):
        log(f"   {priority.name}: {count}")
    log("Triggered rules by rule name:")
    for name, count in stats.alerts.items():
        log(f"   {name}: {count}")
    left_out = {
        "events of unknown types": stats.unknown,
        "threads above the limit": stats.threads_refused,
        "descriptors above the limit": stats.fds_refused,
        "malformed audit events": stats.malformed,
        "documents that are no audit events": stats.unrecognised,
        "audit events above the limit": stats.too_large,
        "events lost by the kernel side": stats.lost,
    }
    if any(left_out.values()):
        log("Left out: " + ", ".join(f"{count} {what}" for what, count in left_out.items() if count))
    for name, counts in report.outputs.items():
        if counts.dropped:
            log(f"Alerts that {name} didn't get: {counts.dropped} of {counts.emitted}")
    if report.requests:
        log("Requests: " + ", ".join(f"{number} {name.replace('_', ' ')}" for name, number in sorted(report.requests.items())))
