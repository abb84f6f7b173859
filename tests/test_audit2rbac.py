# SPDX-License-Identifier: Apache-2.0
"""audit2rbac: the manifests are those of the original, byte for byte; every form of input is read; what is bad costs nothing else."""

import gzip
import http.server
import io
import json
import lzma
import os
import pathlib
import signal
import subprocess
import sys
import threading
import urllib.error
import urllib.request
from collections.abc import Iterator
from typing import Any

import click.testing
import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from conftest import CONFORMANCE, ROOT
from falcolib import AuditFile, AuditWebhook
from falcolib.cli.audit2rbac import _Ending, audit2rbac_command
from falcolib.kubernetes import audit2rbac, auditlog, calls, gosort, goyaml
from falcolib.kubernetes.calls import Call, Calls
from falcolib.kubernetes.roles import needed_roles
from messages import PATIENCE

GOLDEN = ROOT / "tests" / "golden"
DATA = CONFORMANCE / "kubernetes" / "audit2rbac"


def event(verb: str = "get", resource: str = "pods", user: str = "alice", **ref: str) -> dict[str, Any]:
    return {"kind": "Event", "apiVersion": "audit.k8s.io/v1", "auditID": "1", "verb": verb, "requestURI": "/x",
            "user": {"username": user, "groups": ["system:authenticated"]}, "objectRef": {"resource": resource, "apiVersion": "v1"} | ref}


def lines(*values: object) -> bytes:
    return b"".join(v + b"\n" if isinstance(v, bytes) else json.dumps(v).encode() + b"\n" for v in values)


def resources(data: bytes, **options: Any) -> tuple[list[str], list[str]]:
    """The resources that alice may get according to a log, and the problems with it."""
    found = audit2rbac(io.BytesIO(data), user="alice", **options)
    roles: list[Any] = found.cluster_roles + found.roles
    return [r for role in roles for rule in role["rules"] for r in rule["resources"]], found.problems


def command(*args: str, stdin: bytes = b"", cwd: pathlib.Path | None = None) -> "subprocess.CompletedProcess[str]":
    done = subprocess.run([sys.executable, "-m", "falcolib", "audit2rbac", *args], input=stdin, capture_output=True, cwd=cwd,
                          timeout=PATIENCE)
    return subprocess.CompletedProcess(done.args, done.returncode, done.stdout.decode(), done.stderr.decode())


# ---- the original's answers ------------------------------------------------------------------------------------------------------------


def test_yaml_is_what_go_prints() -> None:
    # recorded from sigs.k8s.io/yaml of Kubernetes 1.20: every word and number of YAML 1.1, indicators, long and broken lines, random texts
    with lzma.open(GOLDEN / "goyaml.json.xz", "rt") as f:
        rows = json.load(f)
    assert len(rows) > 500
    for text, want in rows:
        got = goyaml.dump({"metadata": {"annotations": {text: text, "a": text}, "name": text}, "rules": [{"verbs": [text, text]}]})
        assert got == want, repr(text)


@given(st.dictionaries(st.text(), st.text()), st.lists(st.text(), min_size=1))
def test_yaml_reads_back(mapping: dict[str, str], items: list[str]) -> None:
    # (not what YAML readers normalise or refuse: other line breaks, marks of byte order, halves of surrogate pairs)
    odd = set("\r\x85\u2028\u2029\ufeff\ufffe\uffff")
    if any(set(t) & odd or any(0xD800 <= ord(c) < 0xE000 for c in t) for t in [*mapping, *mapping.values(), *items]):
        return
    value = {"m": mapping, "l": items}
    assert yaml.safe_load(goyaml.dump(value)) == value


def test_manifests_are_the_original_s() -> None:
    # recorded from the original's algorithm on Kubernetes' own libraries; only cases in which it always answers the same
    with lzma.open(GOLDEN / "audit2rbac.json.xz", "rt") as f:
        rows = json.load(f)
    assert len(rows) > 90
    for case, want in rows:
        events = [{"kind": "Event", "apiVersion": "audit.k8s.io/v1", "verb": e["Verb"], "requestURI": e["URI"],
                   "user": {"username": case["User"], "groups": e["Groups"]},
                   "objectRef": e.get("Ref") and {k.replace("API", "Api")[0].lower() + k.replace("API", "Api")[1:]: v
                                                  for k, v in e["Ref"].items()}}
                  for e in case["Events"]]
        got = audit2rbac(events, user=case["User"], expand_multi_namespace=case["ExpandNS"], expand_multi_name=case["ExpandName"],
                         name=case["Name"], labels=case["Labels"] or {}, annotations=case["Annotations"] or {})
        assert str(got) == want, json.dumps(case)


def golden_runs() -> list[Any]:
    index = DATA / "golden_index.json"
    runs = json.loads(index.read_text()) if index.is_file() else [{"name": "none"}]
    return [pytest.param(run, id=run["name"]) for run in runs]


@pytest.mark.conformance
@pytest.mark.parametrize("run", golden_runs())
def test_runs_of_the_original(run: dict[str, Any]) -> None:
    args = [str(DATA / arg) if before == "-f" and arg != "-" else arg for before, arg in zip(["", *run["args"]], run["args"], strict=False)]
    if run["stdin"]:
        done = command(*args, stdin=(DATA / run["stdin"]).read_bytes())
        status, out = done.returncode, done.stdout
    else:                               # in this process: to start one takes most of the time
        result = click.testing.CliRunner().invoke(audit2rbac_command, args)
        status, out = result.exit_code, result.stdout
    assert bool(status) == bool(run["exit_code"])
    if not run["exit_code"]:
        assert out == (DATA / run["stdout"]).read_text()


@pytest.mark.conformance
def test_cases_of_the_original() -> None:
    # its existing roles, of which there are none here, only matter to the second case
    for case in json.loads((DATA / "process_cases.json").read_text())["cases"]:
        if case["name"] == "already allowed by existing":
            continue
        options, expected = case["options"], case["expected"]
        found = Calls(expand_namespaces=options["ExpandMultipleNamespacesToClusterScoped"],
                      expand_names=options["ExpandMultipleNamesToUnnamed"])
        for r in case["requests"]:
            found.add(Call(r["Verb"], tuple(r["Groups"]), r["Path"], r["ResourceRequest"], r["Namespace"], r["Name"], r["APIGroup"],
                           r["APIVersion"], r["Resource"], r["Subresource"]))
        want = {o["metadata"].get("namespace", ""): o["rules"] for o in (expected["Roles"] or []) + (expected["ClusterRoles"] or [])}
        got = needed_roles(found)
        assert {scope: [rule.as_dict() for rule in rules] for scope, rules in got.rules.items()} == want, case["name"]
        assert not got.uncovered


# ---- which calls, and what they become -----------------------------------------------------------------------------------------------


def test_a_service_account_is_bound_as_one() -> None:
    data = [event(user="system:serviceaccount:ns1:sa1")]
    by_account, by_user = audit2rbac(data, service_account="ns1:sa1"), audit2rbac(data, user="system:serviceaccount:ns1:sa1")
    assert str(by_account) == str(by_user)
    assert by_account.cluster_role_bindings[0]["subjects"] == [{"kind": "ServiceAccount", "name": "sa1", "namespace": "ns1"}]


def test_impersonated_calls_count_for_the_impersonated_user() -> None:
    impersonated = event("list", "secrets", user="admin") | {"impersonatedUser": {"username": "alice"}}
    assert resources(lines(impersonated))[0] == ["secrets"]
    assert audit2rbac([impersonated], user="admin").matched == 0


def test_namespace_leaves_out_what_is_elsewhere_or_nowhere() -> None:
    data = lines(event(namespace="a"), event("get", "secrets", namespace="b"), event("get", "nodes"))
    assert resources(data, namespace="b")[0] == ["secrets"]


def test_group_and_version_of_the_oldest_events_are_in_one() -> None:
    old = event("get", "deployments", apiVersion="apps/v1") | {"apiVersion": "audit.k8s.io/v1alpha1"}
    rules: Any = audit2rbac([old], user="alice").cluster_roles[0]["rules"]
    assert rules[0]["apiGroups"] == ["apps"]


def test_what_the_manifests_lack_is_told() -> None:
    # a get of all names, made as a member of one group, and of a single name as a member of another
    data = [event(name="p1") | {"user": {"username": "alice", "groups": [g]}} for g in "a"]
    data += [event(name=n) | {"user": {"username": "alice", "groups": ["b"]}} for n in ("p2", "p3")]
    assert audit2rbac(data, user="alice").uncovered == ["get pods p2", "get pods p3"]


@pytest.mark.parametrize("wrong", [{}, {"user": "a", "service_account": "a:b"}, {"user": ""}, {"service_account": "a"},
                                   {"service_account": "a:b:c"}, {"service_account": ":b"}])
def test_arguments_that_do_not_fit_are_a_value_error(wrong: dict[str, str]) -> None:
    with pytest.raises(ValueError, match=r"user|form"):
        audit2rbac([], **wrong)     # type: ignore[arg-type]


# ---- forms of input ----------------------------------------------------------------------------------------------------------------------

ONE, TWO = event("get", "pods"), event("list", "secrets")
ITEM = {k: v for k, v in TWO.items() if k not in ("kind", "apiVersion")}
EVENT_LIST = {"kind": "EventList", "apiVersion": "audit.k8s.io/v1", "items": [ONE, ITEM]}


@pytest.mark.parametrize("data", [
    lines(ONE, TWO),
    lines(EVENT_LIST),
    lines({"kind": "List", "apiVersion": "v1", "items": [ONE, TWO]}),
    lines({"kind": "List", "apiVersion": "v1", "items": [EVENT_LIST]}),
    lines([ONE, [TWO]]),
    json.dumps(EVENT_LIST, indent=2).encode(),
    json.dumps([ONE, TWO], indent=0).encode(),
    json.dumps(ONE, indent=2).encode() + b"\n" + json.dumps(TWO, indent=2).encode(),
    json.dumps(ONE).encode() + json.dumps(TWO).encode(),
    json.dumps(ONE).encode() + b"\r\n\r\n---\r\n" + json.dumps(TWO).encode() + b"\r\n",
    b"\xef\xbb\xbf" + lines(ONE, TWO),
    b"\n\n" + lines(ONE, TWO),
    yaml.safe_dump_all([ONE, TWO]).encode(),
    b"# a comment\n---\n" + yaml.safe_dump(EVENT_LIST).encode(),
    gzip.compress(lines(ONE)) + gzip.compress(lines(TWO)),
], ids=["lines", "EventList", "List", "List of EventLists", "arrays", "indented EventList", "array over lines", "indented", "on one line",
        "CRLF", "byte order mark", "blank lines", "YAML", "YAML EventList", "gzip members"])
def test_every_form_gives_the_same(data: bytes) -> None:
    found, problems = resources(data)
    assert (sorted(found), problems) == (["pods", "secrets"], [])


def test_sources_of_audit_events(tmp_path: pathlib.Path) -> None:
    (tmp_path / "one.log").write_bytes(lines(ONE, b"{bad"))
    (tmp_path / "two.log").write_bytes(lines(EVENT_LIST))
    found = audit2rbac(AuditFile(tmp_path), user="alice")
    assert (found.matched, len(found.problems)) == (3, 1)


def test_dicts_and_bytes_are_events_too() -> None:
    assert str(audit2rbac([ONE, json.dumps(TWO).encode()], user="alice")) == str(audit2rbac([EVENT_LIST], user="alice"))


@pytest.mark.parametrize(("bad", "text"), [
    (b"not json", "not JSON"),
    (b"{\"kind\": \"Event\", \"verb\": \"ge", "not JSON"),
    (b"{\"kind\": \"Event\",", "not JSON"),
    (b"{\"kind\": \"Event\", \"user\":", "JSON that doesn't end"),
    (b"{\"kind\": \"Event\", \"items\": [", "JSON that doesn't end"),
    (b"}]{\"a\"", "not JSON"),
    (b"{]}", "not JSON"),
    (b"{" * 5000, ""),
    (b"[" * 100_000, ""),
    (b"[" * 100 + b"]" * 100, "lists are nested deeper"),
    (b"{\"kind\": 1}", "not an audit event"),
    (b"{}", "an object without a kind"),
    (b"{\"kind\": \"Pod\", \"apiVersion\": \"v1\"}", "a Pod, not an Event"),
    (b"{\"kind\": \"Event\", \"apiVersion\": \"audit.k8s.io/v2\"}", "Event of version"),
    (b"{\"kind\": \"Event\", \"apiVersion\": \"audit.k8s.io/v1\", \"verb\": 5}", "not an audit event"),
    (b"\x00\xff\xfe", "not JSON"),
], ids=lambda v: str(v)[:24])
def test_a_bad_line_is_told_with_its_number_and_costs_no_other(bad: bytes, text: str) -> None:
    good = lines(ONE), lines(TWO)
    found, problems = resources(good[0] + bad + b"\n" + good[1])
    assert sorted(found) == ["pods", "secrets"]
    assert len(problems) == 1
    assert problems[0].startswith(f"input:2: {text}")


def test_a_log_may_begin_in_the_middle_of_a_line() -> None:
    found, problems = resources(b'"name":"x"}}\nnot json\n' + lines(ONE, TWO))
    assert (sorted(found), len(problems)) == (["pods", "secrets"], 2)


def test_a_bad_item_costs_no_other() -> None:
    mixed = {"kind": "EventList", "apiVersion": "audit.k8s.io/v1", "items": [ONE, {"kind": 0}, 5, None, {"kind": "Pod"}, ITEM]}
    found, problems = resources(lines(mixed))
    assert (sorted(found), len(problems)) == (["pods", "secrets"], 4)
    found, problems = resources(yaml.safe_dump(mixed).encode())
    assert (sorted(found), len(problems)) == (["pods", "secrets"], 4)


def test_bodies_may_be_nested_as_deep_as_api_servers_take_them() -> None:
    for left, right in (("[", "]"), ('{"a":', "}")):
        body = left * 9_990 + "1" + right * 9_990
        deep = json.dumps(event(resource="jobs"))[:-1] + f',"requestObject":{{"}}":"]","b":{body}}}}}'
        assert resources(lines(event(), deep.encode(), event(resource="nodes"))) == (["jobs", "nodes", "pods"], [])
        head = '{"kind":"EventList","apiVersion":"audit.k8s.io/v1","items":['
        assert resources(f"{head}{json.dumps(event())},{deep}]}}".encode()) == (["jobs", "pods"], [])


def test_nulls_are_as_if_absent() -> None:
    nulls = event() | {"impersonatedUser": None, "requestURI": None, "objectRef": {"resource": "pods", "name": None, "apiGroup": None}}
    assert resources(lines(nulls)) == (["pods"], [])


def test_invalid_utf8_and_halves_of_surrogate_pairs_are_replaced_as_in_go() -> None:
    raw = json.dumps(event()).encode()
    assert resources(raw.replace(b"pods", b"p\xff\xe2\x82"))[0] == ["p\ufffd\ufffd\ufffd"]
    assert resources(raw.replace(b"pods", rb"p\ud800\\ud800"))[0] == ["p\ufffd\\ud800"]


def test_yaml_that_is_bad_costs_no_other_document() -> None:
    data = yaml.safe_dump(ONE).encode() + b"---\na: [\n---\n" + yaml.safe_dump(TWO).encode()
    found, problems = resources(data)
    assert sorted(found) == ["pods", "secrets"]
    assert len(problems) == 1
    assert "not YAML" in problems[0]


def test_aliases_do_not_multiply_without_end() -> None:
    levels = "\n".join(f"- &a{i} [{', '.join([f'*a{i - 1}'] * 9)}]" if i else "- &a0 [x, x, x, x, x, x, x, x, x]" for i in range(8))
    found = audit2rbac(io.BytesIO(levels.encode()), user="alice")
    assert "items" in found.problems[-1] or found.failures <= auditlog.MAX_YAML_ITEMS + 1


def test_a_line_above_the_limit_is_skipped(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(auditlog, "MAX_VALUE", 1000)
    found, problems = resources(lines(ONE) + b'{"a": "' + b"x" * 5000 + b'"}\n' + lines(TWO))
    assert sorted(found) == ["pods", "secrets"]
    assert len(problems) == 1
    assert "2: longer" in problems[0]


@given(st.binary(max_size=300), st.integers(0, 3))
def test_no_input_is_fatal(data: bytes, where: int) -> None:
    parts = [lines(ONE), lines(TWO), b"{\n", b"- a\n"]
    parts.insert(where, data)
    audit2rbac(io.BytesIO(b"".join(parts)), user="alice")


@given(st.lists(st.sampled_from([ONE, TWO, EVENT_LIST]), max_size=5), st.integers(1, 700))
def test_where_chunks_end_is_no_matter(values: list[object], size: int) -> None:
    data = b"".join(json.dumps(v, indent=i % 2).encode() + b"\n" for i, v in enumerate(values))
    chunks = [data[i:i + size] for i in range(0, len(data), size)]
    assert list(auditlog.read(chunks)) == list(auditlog.read([data]))


def test_what_is_remembered_does_not_grow_with_events_and_names() -> None:
    found = Calls()
    for i in range(3000):
        found.add(Call("get", (), "", True, f"ns{i % 300}", f"pod-{i}", "", "v1", "pods"))
    assert len(list(found)) <= calls.KEPT ** 2
    rules = needed_roles(found).rules
    assert [rule.as_dict() for rule in rules[""]] == [{"apiGroups": [""], "resources": ["pods"], "verbs": ["get"]}]


def test_too_many_kinds_of_calls_are_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(calls, "MAX_KINDS", 10)
    with pytest.raises(Exception, match="kinds of calls"):
        audit2rbac([event("get", f"r{i}") for i in range(11)], user="alice")


@given(st.lists(st.integers(0, 50), max_size=200))
def test_go_s_sort_is_a_stable_sort(values: list[int]) -> None:
    pairs = list(zip(values, range(len(values)), strict=True))
    want = sorted(pairs, key=lambda p: p[0])
    gosort.stable(pairs, lambda a, b: a[0] < b[0])
    assert pairs == want


# ---- the command -------------------------------------------------------------------------------------------------------------------------


def test_several_files_standard_input_and_exit_statuses(tmp_path: pathlib.Path) -> None:
    (tmp_path / "one.log").write_bytes(lines(ONE))
    (tmp_path / "two.log.gz").write_bytes(gzip.compress(lines(b"{bad", TWO)))
    fine = command("-f", "one.log", "-f", "-", "--user", "alice", stdin=lines(TWO), cwd=tmp_path)
    assert fine.returncode == 0
    bad = command("-f", "one.log", "-f", "two.log.gz", "-f", "missing.log", "--user", "alice", cwd=tmp_path)
    assert bad.returncode == 1
    assert bad.stdout == fine.stdout
    assert "Error: two.log.gz:1: " in bad.stderr
    assert "Error: missing.log: No such file or directory" in bad.stderr
    none = command("-f", "one.log", "--user", "eve", cwd=tmp_path)
    assert (none.returncode, none.stdout) == (1, "")
    assert "none of 1 events is a call of eve" in none.stderr


@pytest.mark.parametrize("args", [[], ["--user", "a"], ["-f", "x"], ["-f", "x", "--user", "a", "--serviceaccount", "a:b"],
                                  ["-f", "x", "--serviceaccount", "a"], ["-f", "x", "--user", "a", "--expand-multi-name=maybe"]])
def test_wrong_usage_is_status_2(args: list[str]) -> None:
    done = command(*args)
    assert done.returncode == 2
    assert done.stderr.startswith("Usage: ")


@pytest.fixture
def server() -> Iterator[str]:
    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(200 if self.path == "/log" else 503)
            self.end_headers()
            if self.path == "/log":
                self.wfile.write(gzip.compress(lines(ONE)))

        def log_message(self, *args: object) -> None:
            pass

    httpd = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=httpd.serve_forever, args=(0.05,), daemon=True)
    thread.start()
    yield f"http://127.0.0.1:{httpd.server_address[1]}"
    httpd.shutdown()
    thread.join()
    httpd.server_close()


def test_urls(server: str) -> None:
    assert audit2rbac(f"{server}/log", user="alice").matched == 1
    found = audit2rbac(f"{server}/other", f"{server}/log", "http://127.0.0.1:1/", user="alice")
    assert found.matched == 1
    assert found.problems[0] == f"{server}/other: the server answered 503"
    assert "http://127.0.0.1:1/: " in found.problems[1]


# ---- live ------------------------------------------------------------------------------------------------------------------------------


def post(url: str, body: bytes, token: str = "") -> int:
    headers = {"Content-Type": "application/json"} | ({"Authorization": f"Bearer {token}"} if token else {})
    try:
        with urllib.request.urlopen(urllib.request.Request(url, body, headers), timeout=PATIENCE) as answer:
            return int(answer.status)
    except urllib.error.HTTPError as e:
        return e.code


def test_a_webhook_is_a_source_until_it_is_closed() -> None:
    webhook = AuditWebhook("127.0.0.1", 0)

    def client() -> None:
        url = f"http://127.0.0.1:{webhook.port}/k8s_audit?timeout=30s"
        try:
            assert [post(url, lines(v)) for v in (EVENT_LIST, b"{bad", b"not json", ONE)] == [200] * 4
        finally:
            webhook.close()

    sender = threading.Thread(target=client)        # the port is taken: requests wait until the server is up
    sender.start()
    found = audit2rbac(webhook, user="alice")
    sender.join()
    assert (found.matched, len(found.problems)) == (3, 2)


def test_the_command_takes_events_of_a_webhook_until_it_is_told() -> None:
    args = ["--audit", "http://127.0.0.1:0", "--user", "alice"]
    with subprocess.Popen([sys.executable, "-m", "falcolib", "audit2rbac", *args], stdout=subprocess.PIPE, stderr=subprocess.PIPE,
                          env=os.environ | {"FALCOLIB_AUDIT_TOKEN": "t0ken"}, text=True) as process:
        assert process.stderr is not None
        told = process.stderr.readline()
        url = told.split(" at ")[1].split(",")[0]
        assert post(url, lines(ONE)) == 401         # the port is taken: requests wait until the server is up
        assert post(url, lines(EVENT_LIST), "t0ken") == 200
        process.send_signal(signal.SIGINT)
        out, err = process.communicate(timeout=PATIENCE)
    assert process.returncode == 0, err
    assert [document["kind"] for document in yaml.safe_load_all(out)] == ["ClusterRole", "ClusterRoleBinding"]


def test_the_command_ends_by_itself_after_its_time() -> None:
    done = command("--audit", "http://127.0.0.1:0", "--user", "alice", "--seconds", "0.2")
    assert done.returncode == 1
    assert "none of 0 events" in done.stderr


def test_it_ends_also_where_it_is_told_to_before_it_has_begun() -> None:
    source = _Ending(AuditWebhook("127.0.0.1", 0))
    source.close()
    assert list(source.chunks()) == []


@pytest.mark.parametrize("args", [["--audit", "x.log"], ["--seconds", "1", "-f", "x"], ["--audit", "ftp://x"], ["--audit", "https://:0"]])
def test_wrong_usage_of_live_sources(args: list[str]) -> None:
    assert command("--user", "a", *args).returncode == 2
