# SPDX-License-Identifier: Apache-2.0
"""What runs beside a run: reloads, and the web server's routes."""

from __future__ import annotations

import contextlib
import sys
import time
from collections.abc import Iterator
from typing import TYPE_CHECKING

from ..alert import Priority
from . import systemd
from .logs import log
from .reload import Reloader, changes_outputs, needs_restart
from .sources import used_sources

if TYPE_CHECKING:
    from ..web import WebServer
    from .daemon import Daemon, Ready

#: Of the alert about a reload that failed (spec: engine.md D7).
FAILURE = "Falco internal: hot restart failure"


@contextlib.contextmanager
def reloading(daemon: Daemon, ready: Ready) -> Iterator[Reloader[Ready] | None]:
    """Reloads what files say, on request, and when they change if watch_config_files says so. None where SIGHUP means that the terminal
    has gone."""

    def load() -> Ready:
        systemd.reloading()
        return daemon.reread()

    def apply(new: Ready, old: Ready) -> None:
        _apply(daemon, new, old)
        systemd.ready()

    def failed(error: Exception) -> None:
        systemd.ready()
        log.error("The changed configuration or rules can't be used, the old ones stay in force: %s", error)
        daemon.emit(FAILURE, Priority.CRITICAL, f"{FAILURE}: {error}", {}, time.time_ns())

    watched = ready.config.watch_config_files and bool(ready.files)
    if not watched and not ready.config.origin.files and sys.stdout is not None and sys.stdout.isatty():
        yield None
        return
    reloader: Reloader[Ready] = Reloader(ready, load, apply, failed, (lambda now: now.files) if watched else None,
                                         ready.config.origin.since)
    reloader.start()
    try:
        yield reloader
    finally:
        reloader.stop()


def _apply(daemon: Daemon, new: Ready, old: Ready) -> None:
    """Puts it into force; what a start is needed for is told."""
    for warning in (*new.config.origin.warnings, *new.warnings):
        log.warning("%s", warning)
    if changes_outputs(old.config, new.config):
        daemon.outputs.replace(lambda: daemon.make_outputs(new.config))
    daemon.engine.replace(new.program, format=new.config.format)
    for metrics in daemon.metrics:
        metrics.reloaded(new.rule_files, [file.path for file in new.config.origin.files])
    if daemon.metrics and new.config.metrics.enabled:
        daemon.metrics[0].settings = new.config.metrics
    daemon.config = new.config
    count = sum(rule.enabled for rule in new.program.rules)
    log.info("Reloaded: %d rules are in force", count)
    for key in needs_restart(old.config, new.config):
        log.warning("%s has changed: that is in force from the next start on", key)
    running = {source.name for source in daemon.sources}
    for name in sorted(used_sources(new.program) - running - used_sources(old.program)):
        log.warning("there are rules for %s now: its events are watched from the next start on", name)


def serve(daemon: Daemon, server: WebServer, ready: Ready) -> None:
    """Adds the routes, and starts the server."""
    from ..web import url_host
    from .endpoints import routes

    config, collector = ready.config, None
    if config.metrics.enabled and config.webserver.prometheus_metrics_enabled:
        from ..metrics import Metrics
        from .prometheus import for_prometheus

        metrics = Metrics(daemon.engine, config.metrics, daemon.sources, ready.rule_files, [file.path for file in config.origin.files],
                          daemon.outputs.counts, hostinfo=config.plugins_hostinfo)
        collector = for_prometheus(metrics)
        daemon.metrics.append(metrics)
    server.add(routes(config.webserver, collector, healthy=daemon.alive))
    if config.webserver.page_enabled:
        from .page import Page

        page = Page(server, daemon.engine, outputs=daemon.outputs.counts, rules=daemon.rules_text,
                    token=config.webserver.page_token or None)
        server.add(page.routes())
        daemon.outputs.taps.append(page.feed)
    server.start()
    where = f"{'https' if config.webserver.ssl_enabled else 'http'}://{url_host(config.webserver.listen_address)}:{server.port}"
    log.info("Health is told at %s%s%s", where, config.webserver.k8s_healthz_endpoint, ", metrics at /metrics" if collector else "")
    if config.webserver.page_enabled:
        log.info("The page with the alerts is at %s/%s", where, ", with a token" if config.webserver.page_token else "")
