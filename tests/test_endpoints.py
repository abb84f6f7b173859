# SPDX-License-Identifier: Apache-2.0
"""The web server's own answers: health, versions, metrics for Prometheus (spec: engine.md D5, D6)."""

from __future__ import annotations

import contextlib
import hashlib
import http.client
import json
import pathlib
import socket
import ssl
import subprocess
from collections.abc import Iterator
from typing import Any

import msgspec
import pytest
from prometheus_client.parser import text_string_to_metric_families

import falcolib
from falcolib.config.services import MetricsSettings, Webserver
from falcolib.daemon.endpoints import routes, versions, web_server
from falcolib.daemon.prometheus import for_prometheus
from falcolib.metrics import Metrics
from falcolib.outputs import Counts
from falcolib.web import Security, WebServer
from messages import PATIENCE

pytestmark = pytest.mark.daemon

RULES = """
- rule: Opened "for" reading\\now
  desc: d
  condition: evt.type in (open, openat) and evt.is_open_read = true
  output: opened %fd.name
  priority: NOTICE
  tags: [container, T1555, mitre-access]
- {rule: Exec, desc: d, condition: evt.type = execve, output: x, priority: INFO}
"""
LOCAL = Webserver(enabled=True, listen_address="127.0.0.1", listen_port=0, prometheus_metrics_enabled=True)


@contextlib.contextmanager
def serving(settings: Webserver = LOCAL, metrics: Metrics | None = None, **options: Any) -> Iterator[WebServer]:
    server = web_server(settings, security=options.pop("security", None))
    server.add(routes(settings, None if metrics is None else for_prometheus(metrics), **options))
    server.start()
    try:
        yield server
    finally:
        server.close()


def ask(server: WebServer, path: str, method: str = "GET", context: ssl.SSLContext | None = None) -> tuple[int, str, bytes]:
    where = "127.0.0.1", server.port
    connection = (http.client.HTTPSConnection(*where, context=context, timeout=PATIENCE) if context
                  else http.client.HTTPConnection(*where, timeout=PATIENCE))
    with contextlib.closing(connection):
        connection.request(method, path)
        answer = connection.getresponse()
        return answer.status, answer.headers["content-type"], answer.read()


class TestHealth:
    def test_it_is_as_falco_tells_it(self) -> None:
        with serving() as server:
            assert ask(server, "/healthz") == (200, "application/json", b'{"status": "ok"}')
            assert ask(server, "/healthz", "POST")[0] == 405
            assert ask(server, "/elsewhere")[0] == 404

    def test_its_path_can_be_set(self) -> None:
        with serving(msgspec.structs.replace(LOCAL, k8s_healthz_endpoint="/livez")) as server:
            assert ask(server, "/livez")[0] == 200
            assert ask(server, "/healthz")[0] == 404

    def test_a_run_that_has_ended_is_not_healthy(self) -> None:
        with serving(healthy=lambda: False) as server:
            assert ask(server, "/healthz")[0] == 503

    def test_versions(self) -> None:
        with serving() as server:
            status, type_, body = ask(server, "/versions")
        told = json.loads(body)
        assert (status, type_) == (200, "application/json")
        assert told == versions()
        assert told.keys() == {"falco_version", "libs_version", "plugin_api_version", "driver_api_version", "driver_schema_version",
                               "default_driver_version", "engine_version", "engine_version_semver", "plugin_versions"}
        assert (told["engine_version"], told["engine_version_semver"], told["falco_version"]) == ("63", "0.63.0", falcolib.__version__)
        assert told["plugin_versions"].keys() == {"container", "k8saudit", "json"}
        needed = [{"name": name, "version": version} for name, version in told["plugin_versions"].items()]
        found, = falcolib.validate_text(json.dumps([{"required_plugin_versions": needed}]), name="rules.yaml")["falco_load_results"]
        assert found["successful"]

    def test_https_with_the_certificate_of_the_settings(self, tmp_path: pathlib.Path) -> None:
        pem = tmp_path / "falco.pem"
        subprocess.run(["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-keyout", str(pem), "-out", str(tmp_path / "crt"),
                        "-subj", "/CN=127.0.0.1", "-addext", "subjectAltName=IP:127.0.0.1"], check=True, capture_output=True)
        pem.write_bytes(pem.read_bytes() + (tmp_path / "crt").read_bytes())
        settings = msgspec.structs.replace(LOCAL, ssl_enabled=True, ssl_certificate=str(pem))
        with serving(settings) as server:
            context = ssl.create_default_context(cafile=str(tmp_path / "crt"))
            assert ask(server, "/healthz", context=context)[0] == 200
        with pytest.raises(OSError, match=r"missing\.pem"):
            web_server(msgspec.structs.replace(settings, ssl_certificate=str(tmp_path / "missing.pem")))

    def test_addresses(self) -> None:
        for address, reached, refused in (
            ("0.0.0.0", "127.0.0.1", "::1"), ("127.0.0.1", "127.0.0.1", "127.0.0.2"), ("::", "127.0.0.1", None),
        ):
            server = web_server(msgspec.structs.replace(LOCAL, listen_address=address))
            try:
                socket.create_connection((reached, server.port), timeout=PATIENCE).close()
                if refused:
                    with pytest.raises(OSError, match=r"refused|unreachable|assign|supported"):
                        socket.create_connection((refused, server.port), timeout=PATIENCE)
            finally:
                server.close()

    def test_the_audit_webhook_on_the_same_port(self) -> None:
        with serving() as server:
            source = falcolib.AuditWebhook(server=server)
            assert source.port == server.port
            assert ask(server, "/k8s_audit")[0] in (404, 405)       # added after the start, it isn't there; the daemon adds it before
        both = web_server(LOCAL, security=Security())
        both.add(routes(LOCAL))
        falcolib.AuditWebhook(server=both)
        both.start()
        try:
            assert ask(both, "/k8s_audit")[0] == 405
            assert ask(both, "/healthz")[0] == 200
        finally:
            both.close()


@pytest.fixture
def measured(attack1: pathlib.Path, tmp_path: pathlib.Path) -> Metrics:
    """Metrics of a run over a capture, with one output."""
    (tmp_path / "rules.yaml").write_text(RULES)
    (tmp_path / "falco.yaml").write_text("json_output: true\n")
    engine = falcolib.Engine(falcolib.RuleSet.load(tmp_path / "rules.yaml"), hostname="here")

    class Kernel(falcolib.Capture):
        def counters(self) -> dict[str, int]:
            return {"n_evts": 1000, "n_drops": 7, "n_drops_buffer_open_exit": 5, "n_drops_buffer_proc_exit": 2, "n_evts_cpu_3": 999,
                    "n_evts_task": 11}

    source = Kernel(attack1)
    for _ in engine.run(source):
        pass
    settings = MetricsSettings(enabled=True, kernel_event_counters_per_cpu_enabled=True)
    return Metrics(engine, settings, [source], [str(tmp_path / "rules.yaml")], [str(tmp_path / "falco.yaml")],
                   lambda: {"http": Counts(emitted=10, delivered=6, dropped=3, queued=1, failed=4, retried=2)})


class TestPrometheus:
    @pytest.fixture
    def families(self, measured: Metrics) -> dict[str, Any]:
        with serving(metrics=measured) as server:
            status, type_, body = ask(server, "/metrics")
        assert status == 200
        assert type_.startswith("text/plain; version=0.0.4")
        assert body.count(b"# TYPE ") == len({line for line in body.splitlines() if line.startswith(b"# TYPE ")})
        return {family.name: family for family in text_string_to_metric_families(body.decode())}

    def value(self, families: dict[str, Any], name: str, **labels: str) -> float:
        (found,) = (sample.value for family in families.values() for sample in family.samples
                    if sample.name == name and labels.items() <= sample.labels.items())
        return float(found)

    def test_without_the_settings_there_are_none(self, measured: Metrics) -> None:
        with serving(msgspec.structs.replace(LOCAL, prometheus_metrics_enabled=False), measured) as server:
            assert ask(server, "/metrics")[0] == 404
        with serving() as server:
            assert ask(server, "/metrics")[0] == 404

    def test_names_types_and_units(self, families: dict[str, Any]) -> None:
        for name, type_ in {
            "falcosecurity_falco_version_info": "gauge", "falcosecurity_falco_kernel_release_info": "gauge",
            "falcosecurity_evt_hostname_info": "gauge", "falcosecurity_scap_engine_name_info": "gauge",
            "falcosecurity_falco_sha256_rules_files_info": "gauge", "falcosecurity_falco_sha256_config_files_info": "gauge",
            "falcosecurity_falco_start_timestamp_nanoseconds": "gauge", "falcosecurity_falco_reload_timestamp_nanoseconds": "gauge",
            "falcosecurity_falco_host_boot_timestamp_nanoseconds": "gauge", "falcosecurity_falco_duration_seconds": "counter",
            "falcosecurity_falco_host_num_cpus_total": "gauge", "falcosecurity_falco_outputs_queue_num_drops": "counter",
            "falcosecurity_falco_cpu_usage_ratio": "gauge", "falcosecurity_falco_host_cpu_usage_ratio": "gauge",
            "falcosecurity_falco_memory_rss_bytes": "gauge", "falcosecurity_falco_memory_vsz_bytes": "gauge",
            "falcosecurity_falco_memory_pss_bytes": "gauge", "falcosecurity_falco_container_memory_used_bytes": "gauge",
            "falcosecurity_falco_host_memory_used_bytes": "gauge", "falcosecurity_falco_host_procs_running_total": "gauge",
            "falcosecurity_falco_host_open_fds_total": "gauge", "falcosecurity_falco_rules_matches": "counter",
            "falcosecurity_scap_n_evts": "counter", "falcosecurity_scap_n_drops": "counter", "falcosecurity_scap_n_drops_buffer": "counter",
            "falcosecurity_scap_n_evts_cpu": "counter", "falcosecurity_scap_n_threads_total": "gauge",
            "falcosecurity_scap_n_fds_total": "gauge", "falcosecurity_scap_n_evts_task": "counter",
            "falcosecurity_plugins_container_n_containers_total": "gauge",
            "falcosecurity_scap_n_added_threads": "counter", "falcosecurity_scap_n_removed_fds": "counter",
            "falcosecurity_scap_n_drops_full_threadtable": "counter", "falcosecurity_falco_outputs_queued": "gauge",
            "falcosecurity_falco_outputs_delivered": "counter",
        }.items():
            assert name in families, name
            assert (families[name].type, families[name].documentation) == (type_, "https://falco.org/docs/metrics/"), name

    def test_rules_have_labels(self, families: dict[str, Any]) -> None:
        execs, opened = sorted(families["falcosecurity_falco_rules_matches"].samples, key=lambda sample: sample.labels["rule_name"])
        assert opened.labels == {"rule_name": 'Opened "for" reading\\now', "priority": "5", "source": "syscall", "tag_container": "true",
                                 "tag_T1555": "true", "tag_mitre_access": "true"}
        assert opened.value > 0 < execs.value
        assert execs.labels == {"rule_name": "Exec", "priority": "6", "source": "syscall"}

    def test_losses(self, families: dict[str, Any]) -> None:
        name = "falcosecurity_scap_n_drops_buffer_total"
        assert self.value(families, name, drop="open", dir="exit") == 5
        assert self.value(families, name, drop="proc", dir="exit") == 2
        assert self.value(families, name, drop="open", dir="enter") == 0
        assert self.value(families, "falcosecurity_scap_n_drops_total") == 7
        assert self.value(families, "falcosecurity_scap_n_evts_total") == 1000
        assert self.value(families, "falcosecurity_scap_n_evts_cpu_total", cpu="3") == 999

    def test_outputs(self, families: dict[str, Any]) -> None:
        assert self.value(families, "falcosecurity_falco_outputs_queue_num_drops_total") == 3
        assert self.value(families, "falcosecurity_falco_outputs_queued", output="http") == 1
        assert self.value(families, "falcosecurity_falco_outputs_failed_total", output="http") == 4

    def test_files_and_memory(self, families: dict[str, Any], tmp_path: pathlib.Path) -> None:
        for kind, name in (("rules", "rules.yaml"), ("config", "falco.yaml")):
            digest = hashlib.sha256((tmp_path / name).read_bytes()).hexdigest()
            assert self.value(families, f"falcosecurity_falco_sha256_{kind}_files_info", file_name=name, sha256=digest) == 1
        assert self.value(families, "falcosecurity_falco_memory_rss_bytes") > 10e6
        assert self.value(families, "falcosecurity_falco_start_timestamp_nanoseconds") > 1e18
        assert self.value(families, "falcosecurity_scap_engine_name_info", engine_name="replay", evt_source="syscall") == 1


def test_snapshots_tell_outputs_and_files_too(measured: Metrics, tmp_path: pathlib.Path) -> None:
    fields = measured.sample()
    assert fields["falco.outputs_queue_num_drops"] == 3
    assert {key: value for key, value in fields.items() if key.startswith("falco.outputs.")} == {
        "falco.outputs.http.queued": 1, "falco.outputs.http.delivered": 6, "falco.outputs.http.dropped": 3, "falco.outputs.http.failed": 4,
        "falco.outputs.http.retried": 2}
    assert fields["falco.sha256_config_file.falco"] == hashlib.sha256(b"json_output: true\n").hexdigest()
    before = fields["falco.reload_ts"]
    (tmp_path / "other.yaml").write_text(RULES)
    measured.reloaded([str(tmp_path / "other.yaml")])
    fields = measured.sample()
    assert int(fields["falco.reload_ts"]) > int(before)
    assert "falco.sha256_rules_file.other" in fields
    assert "falco.sha256_rules_file.rules" not in fields
