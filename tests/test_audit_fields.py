# SPDX-License-Identifier: Apache-2.0
"""The fields of audit events: what is made of a document (csrc/schema/documents.def)."""

from __future__ import annotations

import json

import pytest

import falcolib
from audit_events import event, matched, pod, rules, text, value, values

A = {"name": "a", "image": "registry:5000/team/app:1.2@sha256:00", "command": ["sh", "-c"], "args": ["id", "x y"],
     "ports": [{"containerPort": 80, "hostPort": 8080}, {"containerPort": 81}],
     "securityContext": {"privileged": True, "runAsUser": 7, "capabilities": {"add": ["SYS_TIME", "NET_RAW"]}}}
B = {"name": "b", "image": "nginx"}
SUBJECTS = [{"kind": "User", "name": "u"}, {"kind": "Group", "name": "g"}, {"kind": "ServiceAccount", "name": "s", "namespace": "n"},
            {"kind": "ServiceAccount", "name": "t"}]


class TestValues:
    def test_texts_are_verbatim_and_all_else_is_json(self) -> None:
        assert value(event(), "ka.verb") == "create"
        assert value(event(), "ka.response.code") == "201"
        assert value(event(requestObject={"data": {"b": [1, 2], "a": None}}), "ka.req.configmap.obj") == '{"b":[1,2],"a":null}'
        assert value(event(verb=None), "ka.verb") is None
        assert value(text(event()).replace(b'"verb":"create"', b'"verb":null'), "ka.verb") == "null"

    def test_who_writes_letters_as_escapes_evades_no_test_of_json(self) -> None:
        data = (rb'{"kind":"Event","auditID":"a","requestObject":{"data":'
                rb'{"\u0061ws":"p\u0061ss\u002fw\u003c\/ \u0022\n\u0007\ud83d\ude00\ud83d"}}}')
        assert value(data, "ka.req.configmap.obj") == r'{"aws":"pass/w</ \"\n\u0007😀\ud83d"}'
        assert value(data, "jevt.obj").count("pass/w</") == 1
        found = falcolib.Engine(rules(['ka.req.configmap.obj contains "pass/w<"'])).run([data])
        assert [alert.rule for alert in found] == ["r0"]

    def test_blanks_are_left_out(self) -> None:
        data = json.dumps(event(requestObject={"data": {"a": ["x y", 1]}}), indent=3).encode()
        assert value(data, "ka.req.configmap.obj") == '{"a":["x y",1]}'

    def test_escapes_are_resolved_in_keys_and_texts(self) -> None:
        data = text(event()).replace(b'"verb":"create"', rb'"v\u0065rb":"\u00e9\ud83d\ude00\n\"\/"')
        assert values(data, "ka.verb", "json.value[/verb]") == ["é😀\ufffd\"/", "é😀\ufffd\"/"]      # control characters don't show
        assert matched('ka.verb contains "/"', event(verb='a"/'))

    def test_of_a_key_that_stands_twice_the_last_counts(self) -> None:
        data = text(event()).replace(b'"verb":"create"', b'"verb":"list","verb":"delete"')
        assert value(data, "ka.verb") == "delete"
        twice = text(event()).replace(b'"user":{', b'"user":{"username":"first","groups":[]},"user":{"uid":1},"x":{')
        assert values(twice, "ka.user.name", "ka.user.groups") == [None, None]

    def test_without_an_audit_id_only_json_fields_are_there(self) -> None:
        assert values(event(auditID=None), "ka.verb", "ka.user.groups", "json.value[/verb]") == [None, None, "create"]

    def test_pointers(self) -> None:
        e = event(a={"b/c": [{"d~e": 1}]}, b=[[0], ["x"]])
        assert value(e, "json.value[/a/b~1c/0/d~0e]") == "1"
        assert value(e, "jevt.value[b/1/0]") == "x"
        assert value(e, "json.value[/b/01]") is None
        assert value(e, "json.value[/b]") == '[[0],["x"]]'

    def test_an_empty_pointer_is_the_whole_event_and_one_without_is_none(self) -> None:
        data = b'{"kind": "Event", "auditID": "a", "": 1, "b": [ ]}'
        whole = '{"kind":"Event","auditID":"a","":1,"b":[]}'
        assert values(data, "json.value[]", "jevt.value[]") == [whole, whole]
        assert matched('jevt.value[""] contains demo and json.value[\'\'] startswith "{"', event())
        found = falcolib.Engine(rules(["ka.verb exists"], "%json.value[]|%jevt.value['']")).run([data.replace(b'""', b'"verb"')])
        assert [alert.message for alert in found] == ["|".join([whole.replace('""', '"verb"')] * 2)]

    def test_the_whole_event(self) -> None:
        assert value(b'{"kind":"Event","a":[],"b":{"c":[1,{}]}}', "jevt.obj").replace("\ufffd", "\n") == (
            '{\n  "kind": "Event",\n  "a": [],\n  "b": {\n    "c": [\n      1,\n      {}\n    ]\n  }\n}')
        assert value(event(), "json.rawtime") == "1795405093580968000"

    def test_the_plugin_that_an_event_is_of_and_its_text(self) -> None:
        data = json.dumps(event(), indent=1).encode()
        assert values(data, "evt.pluginname", "evt.plugininfo") == ["k8saudit", text(event()).decode().rstrip()]
        assert matched("evt.pluginname = k8saudit and evt.plugininfo contains demo", event())
        assert values(b'{"kind":"Event"}', "evt.pluginname", "evt.plugininfo") == ["k8saudit", '{"kind":"Event"}']

    def test_query_parameters(self) -> None:
        e = event(requestURI="/exec?command=a%20b&command=c&x=&tty&d=1+2#e=1")
        wanted = {"command": "a b", "x": "", "tty": "", "d": "1 2", "e": None, "y": None}
        bad = event(requestURI="/exec?command=%zz&command=id&%&x=1")        # a pair that can't be decoded hides no other
        assert values(bad, "ka.uri.param[command]", "ka.uri.param[x]") == ["id", "1"]
        semicolons = event(requestURI="/exec?command=ls;y=1&;x=0&command=a%3Bb&x=2")    # nor does one that API servers pass over
        assert values(semicolons, "ka.uri.param[command]", "ka.uri.param[x]", "ka.uri.param[y]") == ["a;b", "2", None]
        assert {key: value(e, f"ka.uri.param[{key}]") for key in wanted} == wanted

    def test_the_pod_that_a_request_is_about(self) -> None:
        response = {"metadata": {"name": "web"}}
        assert value(event(responseObject=response), "ka.target.pod.name") == "web"
        assert value(event(responseObject=response, objectRef={"resource": "pods", "subresource": "exec"}), "ka.target.pod.name") is None
        assert value(event(responseObject=response, objectRef={"resource": "jobs"}), "ka.target.pod.name") is None


class TestLists:
    def test_of_values(self) -> None:
        assert values(event(), "ka.user.groups", "ka.sourceips", "ka.sourceips[1]", "ka.sourceips[2]") == [
            ["dev", "ops"], ["10.0.0.1", "192.168.1.1"], ["192.168.1.1"], None]
        assert value(event(user={"username": "x", "groups": []}), "ka.user.groups") is None

    def test_of_containers(self) -> None:
        c = "ka.req.pod.containers."
        wanted = {
            "name": ["a", "b"], "image": [A["image"], "nginx"], "image[1]": ["nginx"], "image[2]": None,
            "image.repository": ["registry:5000/team/app", "nginx"], "command": ["sh -c"], "args": ["id x y"], "args[1]": None,
            "host_port": ["8080", "81"], "privileged": ["true"], "run_as_user": ["7"], "eff_run_as_user": ["7", "5"],
            "eff_run_as_group": ["0", "0"], "add_capabilities": ["SYS_TIME", "NET_RAW"], "proc_mount": None,
        }
        e = pod(A, B, securityContext={"runAsUser": 5})
        assert {name: value(e, c + name) for name in wanted} == wanted
        assert values(e, "ka.req.container.image.repository", "ka.req.container.privileged", "ka.req.pod.run_as_user") == [
            "registry:5000/team/app", "true", "5"]

    @pytest.mark.parametrize(("values_", "any_"), [
        ([True, False], "true"), ([False, "true", None, 1], "false"), ([[True], {"a": True}, True], "true"), ([], "false")])
    def test_one_privileged_container_makes_a_privileged_pod(self, values_: list[object], any_: str) -> None:
        containers = [{"name": "a", "securityContext": {"privileged": x}} for x in values_]
        assert value(pod(*containers, {"name": "b"}), "ka.req.container.privileged") == any_
        assert value(event(requestObject={"spec": {"containers": {}}}), "ka.req.container.privileged") is None

    def test_an_image_that_is_missing_leaves_none(self) -> None:
        assert values(pod(A, {"name": "c"}), "ka.req.pod.containers.image", "ka.req.pod.containers.name") == [None, ["a", "c"]]

    def test_kinds_of_containers_dont_mix(self) -> None:
        e = pod(A, initContainers=[B])
        assert values(e, "ka.req.pod.initContainers.name", "ka.req.pod.ephemeralContainers.name") == [["b"], None]

    def test_of_subjects(self) -> None:
        s = "ka.req.binding.subjects"
        e = event(requestObject={"subjects": SUBJECTS, "roleRef": {"name": "admin"}})
        assert values(e, s + ".user_names", s + ".group_names", s + ".serviceaccount_names", s + ".serviceaccount_ns_names",
                      "ka.req.binding.role") == [["u"], ["g"], ["s", "t"], ["n:s"], "admin"]
        assert value(e, s)[0] == '{"kind":"User","name":"u"}'

    def test_of_rules(self) -> None:
        e = event(requestObject={"rules": [{"verbs": ["get", "*"], "resources": ["pods"]}, {"verbs": ["list"], "nonResourceURLs": ["/x"]}]})
        r = "ka.req.role.rules."
        assert values(e, r + "verbs", r + "verbs[1]", r + "resources", r + "nonResourceURLs", r + "apiGroups") == [
            ["get", "*", "list"], ["list"], ["pods"], ["/x"], None]

    def test_of_volumes(self) -> None:
        e = pod(A, volumes=[{"name": "v", "hostPath": {"path": "/proc"}}, {"name": "w", "flexVolume": {"driver": "d"}, "emptyDir": {}}])
        v = "ka.req.pod.volumes."
        assert values(e, v + "hostpath", v + "flexvolume_driver", v + "volume_type") == [
            ["/proc"], ["d"], ["hostPath", "flexVolume", "emptyDir"]]
        has = {"/proc": "true", "/pro": "false", "/pro*": "true", "/etc*": "false", "*": "true"}
        assert {key: value(e, f"ka.req.volume.hostpath[{key}]") for key in has} == has
        assert value(pod(A, volumes=[]), "ka.req.volume.hostpath[/proc]") == "false"
        assert values(pod(A), "ka.req.volume.hostpath[/proc]", "ka.req.volume.hostpath[*]") == [None, None]

    def test_in_is_all_and_intersects_is_any(self) -> None:
        assert matched("ka.user.groups in (dev, ops, x)", event())
        assert not matched("ka.user.groups in (dev)", event())
        assert matched("ka.user.groups intersects (dev)", event())
        assert not matched("ka.user.groups intersects (x)", event())

    def test_other_operators_are_refused_with_a_cure(self) -> None:
        with pytest.raises(falcolib.RuleError, match=r"for list filters; write 'ka\.user\.groups intersects \(\"dev\"\)' for any"):
            rules(["ka.user.groups contains dev"])

    def test_they_are_printed_in_parentheses(self) -> None:
        (alert,) = falcolib.Engine(rules(["ka.verb=create"], "%ka.user.groups %ka.req.configmap.name")).run([event()])
        assert alert.message == "(dev,ops) <NA>"
        assert json.loads(alert.json())["output_fields"]["ka.user.groups"] == ["dev", "ops"]


class TestRules:
    def test_a_field_of_another_source_is_no_field(self) -> None:
        with pytest.raises(falcolib.RuleError, match=r"field proc\.name: events of the source k8s_audit don't have it, those of syscall"):
            rules(["proc.name=cat"])
        with pytest.raises(falcolib.RuleError, match=r"nonexistent field ka\.verb: events of the source syscall don't have it"):
            falcolib.RuleSet.parse("- {rule: r, desc: d, condition: ka.verb=get, output: x, priority: INFO}")
        with pytest.raises(falcolib.RuleError, match=r"proc\.name"):
            rules(["ka.verb=get"], "%proc.name")

    def test_an_index_has_no_zero_in_front(self) -> None:
        with pytest.raises(falcolib.RuleError, match="must be a number"):
            rules(["ka.sourceips[01] exists"])

    def test_rules_of_both_sources_are_one_program(self) -> None:
        both = rules(["ka.verb=create", "evt.source=k8s_audit and evt.num=1"]).merge(falcolib.RuleSet.parse(
            "- {rule: s, desc: d, condition: evt.type=open and proc.name=cat, output: x, priority: INFO}"))
        engine = falcolib.Engine(both, matching="all")
        alerts = list(engine.run([{"evt.type": "open", "proc.name": "cat"}, {"ka.verb": "create"}, {"evt.type": "open"}]))
        assert [(a.rule, a.source) for a in alerts] == [("s", "syscall"), ("r0", "k8s_audit")]
        assert [a.rule for a in engine.run([event()])] == ["r0", "r1"]

    def test_dict_events_of_fields(self) -> None:
        engine = falcolib.Engine(rules(["ka.user.groups intersects (ops) and ka.uri.param[c]=x"], "%evt.source"))
        given = {"ka.user.groups": ["ops"], "ka.uri.param[c]": "x"}
        assert [a.message for a in engine.run([given, {**given, "evt.source": "k8s_audit"}])] == ["k8s_audit"] * 2
        assert not list(engine.run([{"evt.source": "k8s_audit"}]))
        with pytest.raises(ValueError, match=r"there is no source 'aws'; there is syscall, k8s_audit"):
            list(engine.run([{"evt.source": "aws"}]))

    def test_an_alert_carries_the_event(self) -> None:
        (alert,) = falcolib.Engine(rules(["ka.verb=create"])).run([event()])
        assert (alert.source, alert.time, alert.event.type) == ("k8s_audit", 1795405093580968000, "pluginevent")
        assert json.loads(alert.event.params["event_data"]) == event()      # type: ignore[arg-type]
        assert alert.id == "k8s_audit:1:r0"

    def test_a_comparison_with_an_absent_field_is_false(self) -> None:
        assert not matched('ka.target.name != "x"', event())
        assert matched("not ka.target.name exists", event())
