# SPDX-License-Identifier: Apache-2.0
"""The rules for Kubernetes' audit events: each reports what it must; they find what the public rules find, on recorded traffic too."""

import json
import pathlib
from collections import Counter
from collections.abc import Iterator

import pytest

import falcolib
from conftest import CONFORMANCE, ROOT
from falcolib.testing import find_tests, run_tests

RULES = ROOT / "rules" / "k8s_audit_rules.yaml"
DATA = CONFORMANCE / "kubernetes" / "k8s_audit"
PUBLIC = DATA / "rules" / "default" / "k8s_audit_rules_plugin-0.18.0.yaml"

#: Falco's 48 rules, and ours for the same.
COUNTERPARTS = {
    "Disallowed K8s User": "User outside the allowed list",
    "Create Disallowed Pod": "Pod with an image outside the allowed list",
    "Create Privileged Pod": "Privileged pod created",
    "Create Sensitive Mount Pod": "Pod with a sensitive host path created",
    "Create HostNetwork Pod": "Pod in the host's network created",
    "Create HostPid Pod": "Pod in the host's process namespace created",
    "Create HostIPC Pod": "Pod in the host's IPC namespace created",
    "Create NodePort Service": "Service opened on every node",
    "Create/Modify Configmap With Private Credentials": "Credentials in a ConfigMap",
    "Anonymous Request Allowed": "Anonymous request allowed",
    "Attach/Exec Pod": "Command run in a pod, or attached to it",
    "port-forward": "Port forwarded to a pod",
    "EphemeralContainers Created": "Container added to a running pod",
    "Create Disallowed Namespace": "Namespace outside the allowed list created",
    "Pod Created in Kube Namespace": "Pod created in a namespace of the system",
    "Service Account Created in Kube Namespace": "Service account created in a namespace of the system",
    "System ClusterRole Modified/Deleted": "Role of the system changed or deleted",
    "Attach to cluster-admin Role": "cluster-admin granted",
    "ClusterRole With Wildcard Created": "Role with wildcards changed",
    "ClusterRole With Write Privileges Created": "Role that can write changed",
    "ClusterRole With Pod Exec Created": "Role that can run commands in pods changed",
    "K8s Secret Get Successfully": "Secret read",
    "K8s Secret Get Unsuccessfully Tried": "Secret asked for in vain",
    "All K8s Audit Events": "Any audit event",
    "Full K8s Administrative Access": "Administrator at work",
    "Ingress Object without TLS Certificate Created": "Ingress without TLS created",
    "Untrusted Node Successfully Joined the Cluster": "Unknown node joined",
    "Untrusted Node Unsuccessfully Tried to Join the Cluster": "Unknown node refused",
} | {f"K8s {theirs} {verb}": f"{ours} {verb.lower()}" for verb in ("Created", "Deleted") for theirs, ours in {
    "Deployment": "Deployment", "Service": "Service", "ConfigMap": "ConfigMap", "Namespace": "Namespace", "Secret": "Secret",
    "Serviceaccount": "Service account", "Role": "Role", "ClusterRole": "Cluster role", "RoleBinding": "Role binding",
    "ClusterRoleBinding": "Cluster role binding"}.items()}

#: Theirs report each port-forward at both of its stages, and every Ingress whose body isn't in the event as one without TLS.
REPORTED_ONCE, NEEDS_THE_BODY = "port-forward", "Ingress Object without TLS Certificate Created"
#: Theirs look at what is created; ours also at what is changed later.
CREATED_ONLY = {"ClusterRole With Wildcard Created", "ClusterRole With Write Privileges Created", "ClusterRole With Pod Exec Created",
                "Attach to cluster-admin Role", "Create NodePort Service"}


@pytest.fixture(scope="module")
def rules() -> falcolib.RuleSet:
    return falcolib.RuleSet.load(str(RULES))


@pytest.fixture(scope="module")
def public() -> falcolib.RuleSet:
    return falcolib.RuleSet.load(str(PUBLIC))


def test_they_load_without_warnings(rules: falcolib.RuleSet) -> None:
    assert [str(w) for w in rules.warnings] == []


def test_they_load_after_the_rules_for_system_calls_and_do_not_change_them(rules: falcolib.RuleSet) -> None:
    syscalls = falcolib.RuleSet.load(str(ROOT / "rules" / "falcolib_rules.yaml"))
    both = falcolib.RuleSet.load(str(ROOT / "rules" / "falcolib_rules.yaml"), str(RULES))
    assert [r.name for r in both.rules] == [r.name for r in syscalls.rules] + [r.name for r in rules.rules]
    assert not both.warnings


def test_each_rule_has_tests_and_near_misses_and_they_pass(rules: falcolib.RuleSet) -> None:
    tests = find_tests([RULES])
    (file,) = tests
    assert list(file.names) == [r.name for r in rules.rules]
    assert {case.rule for case in file.cases if "near miss" in case.label} == set(file.names)
    assert [str(outcome) for outcome in run_tests(tests) if not outcome.passed] == []


def test_each_rule_is_documented_and_tagged(rules: falcolib.RuleSet) -> None:
    for rule in rules.rules:
        assert rule.source == "k8s_audit"
        assert rule.description.strip().endswith("."), rule.name
        assert "k8s" in rule.tags, rule.name
        assert any(tag.startswith("mitre_") for tag in rule.tags), rule.name
        assert any(tag.startswith("T1") for tag in rule.tags), rule.name
        assert "ka.user.name" in " ".join(str(part) for part in rule.output), rule.name


def test_each_public_rule_has_a_counterpart(rules: falcolib.RuleSet) -> None:
    assert len(COUNTERPARTS) == 48
    assert set(COUNTERPARTS.values()) <= {r.name for r in rules.rules}


def test_rules_that_need_a_list_first_are_off(rules: falcolib.RuleSet) -> None:
    assert {r.name for r in rules.rules if not r.enabled} == {
        "Pod with an image outside the allowed list", "Unknown node joined", "Unknown node refused", "Administrator at work",
        "Any audit event"}


POD = {"evt.source": "k8s_audit", "evt.type": "pluginevent", "ka.stage": "ResponseComplete", "ka.verb": "create",
       "ka.target.resource": "pods", "ka.user.name": "kubernetes-admin", "ka.target.namespace": "shop",
       "ka.req.pod.containers.image.repository": ["registry.example.org/app"]}


def test_a_list_that_is_set_and_a_rule_that_is_turned_on(rules: falcolib.RuleSet) -> None:
    mine = falcolib.RuleSet.parse(
        "- list: k8s_allowed_images\n"
        "  items: [registry.example.org/app]\n"
        "  override: {items: append}\n"
        "- rule: Pod with an image outside the allowed list\n"
        "  enabled: true\n"
        "  override: {enabled: replace}\n", name="mine.yaml", after=rules)
    engine = falcolib.Engine(mine, matching="all")
    assert [a.rule for a in engine.run([POD])] == []
    assert [a.rule for a in engine.run([POD | {"ka.req.pod.containers.image.repository": ["miner"]}])] == [
        "Pod with an image outside the allowed list"]


def test_an_exception_that_is_appended_silences_a_rule(rules: falcolib.RuleSet) -> None:
    mine = falcolib.RuleSet.parse(
        "- rule: Privileged pod created\n"
        "  exceptions:\n"
        "    - {name: namespaces, values: [storage-system]}\n"
        "  override: {exceptions: append}\n", name="mine.yaml", after=rules)
    engine = falcolib.Engine(mine, matching="all")
    pod = POD | {"ka.req.pod.containers.privileged": ["true"]}
    assert [a.rule for a in engine.run([pod])] == ["Privileged pod created"]
    assert [a.rule for a in engine.run([pod | {"ka.target.namespace": "storage-system"}])] == []


# ---- recorded traffic ------------------------------------------------------------------------------------------------------------------


def found(rules: falcolib.RuleSet, path: pathlib.Path) -> Counter[str]:
    return Counter(alert.rule for alert in falcolib.Engine(rules, matching="all").run(falcolib.AuditFile(path)))


def recordings() -> Iterator[pathlib.Path]:
    yield from sorted((DATA / "traces").glob("*.json"))
    yield from sorted((DATA / "real_apiserver").glob("audit_log_*.jsonl"))
    yield from sorted((DATA / "real_apiserver").glob("webhook_bodies_*.jsonl"))


@pytest.mark.conformance
@pytest.mark.parametrize("recording", [*recordings()], ids=lambda path: path.stem)
def test_they_find_what_the_public_rules_find(rules: falcolib.RuleSet, public: falcolib.RuleSet, recording: pathlib.Path) -> None:
    theirs, ours = found(public, recording), found(rules, recording)
    theirs[REPORTED_ONCE] //= 2
    theirs[NEEDS_THE_BODY] = 0
    differ = {rule: (theirs[rule], ours[counterpart]) for rule, counterpart in COUNTERPARTS.items() if theirs[rule] != ours[counterpart]}
    assert {rule for rule, (their_count, our_count) in differ.items() if rule not in CREATED_ONLY or our_count < their_count} == set()


@pytest.mark.conformance
def test_the_line_of_the_demonstration(rules: falcolib.RuleSet) -> None:
    log = DATA / "real_apiserver" / "audit_log_v1.jsonl"
    events = [event for event in map(json.loads, log.read_text().splitlines())
              if event["user"]["username"] == "demo" and event.get("objectRef", {}).get("resource") == "deployments"]
    lines = [alert for alert in falcolib.Engine(rules).run(falcolib.AuditFile(log))
             if alert.fields["ka.user.name"] == "demo" and "deployments" in alert.message]
    assert len(lines) == len(events) > 0
    for alert, event in zip(lines, events, strict=True):
        assert str(alert).split(": ", 1)[1] == (
            "Warning K8s Operation performed by user not in allowed list of users (user=demo target=<NA>/deployments verb=list "
            f"uri={event['requestURI']} resp={event['responseStatus']['code']})")
    assert lines[0].message == ("K8s Operation performed by user not in allowed list of users (user=demo target=<NA>/deployments verb=list "
                                "uri=/apis/apps/v1/namespaces/default/deployments?limit=500 resp=403)")
