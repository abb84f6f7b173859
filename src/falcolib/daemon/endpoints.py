# SPDX-License-Identifier: Apache-2.0
"""What the web server tells of the program itself: that it is alive, its versions, its metrics (spec: engine.md D5)."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

import msgspec

from ..web import Limits, Security, WebServer

if TYPE_CHECKING:
    from starlette.requests import Request
    from starlette.responses import Response
    from starlette.routing import BaseRoute

    from ..config.services import Webserver
    from .prometheus import Collector

#: Falco's engine that rule files may require, which falcolib stands for; the schema of events is that of these libraries and driver. The
#: versions of the plugins' API and of the default driver fill their keys: there are no such things here.
ENGINE = (0, 63, 0)
FALCO = {"libs_version": "0.25.0", "plugin_api_version": "3.12.0", "driver_api_version": "10.1.0", "driver_schema_version": "4.5.1",
         "default_driver_version": "10.1.0+driver"}


def versions() -> dict[str, object]:
    """What /versions tells, and ``--version`` with JSON: keys as Falco has them; falco_version is falcolib's own. Of plugins, the versions
    that the built-in ones stand for: rule files require them."""
    from .. import __version__
    from ..rules.merge import PLUGIN_VERSIONS, version_text

    return {"falco_version": __version__, **FALCO, "engine_version": str(ENGINE[1]), "engine_version_semver": ".".join(map(str, ENGINE)),
            "plugin_versions": {name: version_text(version) for name, version in PLUGIN_VERSIONS.items()}}


def web_server(settings: Webserver, *, security: Security | None = None, limits: Limits | None = None) -> WebServer:
    """The server that ``webserver.*`` describes; its port is open, and answers from start() on. security: whom else it wants to know
    (tokens, clients' certificates); the certificate is that of the settings, if TLS is enabled there. limits: of requests.

    Raises OSError if the address can't be had or the certificate not be read.
    """
    security = security or Security()
    if settings.ssl_enabled:
        security = Security(settings.ssl_certificate, None, security.client_ca, security.token)
    address = "" if settings.listen_address == "::" else settings.listen_address       # that is both kinds; 0.0.0.0 is IPv4 alone
    return WebServer(address, settings.listen_port, security=security, limits=limits, threads=settings.threadiness)


def routes(settings: Webserver, collector: Collector | None = None, *, healthy: Callable[[], bool] = lambda: True) -> list[BaseRoute]:
    """The routes of health and versions, and of /metrics if there is a collector and prometheus_metrics_enabled. GET only.

    healthy: whether the engine gets on; if not, the health is 503, so that Kubernetes starts it anew.
    """
    from starlette.responses import Response as Plain
    from starlette.routing import Route

    async def healthz(request: Request) -> Response:
        if healthy():
            return Plain(b'{"status": "ok"}', media_type="application/json")
        return Plain(b'{"status": "the engine hangs"}', 503, media_type="application/json")

    async def told(request: Request) -> Response:
        return Plain(msgspec.json.encode(versions()), media_type="application/json")

    def metrics(request: Request) -> Response:          # in a thread: it reads files of /proc
        from .prometheus import CONTENT_TYPE, exposition

        assert collector is not None
        return Plain(exposition(collector), headers={"content-type": CONTENT_TYPE})

    found: list[BaseRoute] = [Route(settings.k8s_healthz_endpoint, healthz, methods=["GET"]), Route("/versions", told, methods=["GET"])]
    if settings.prometheus_metrics_enabled and collector is not None:
        found.append(Route("/metrics", metrics, methods=["GET"]))
    return found
