# SPDX-License-Identifier: Apache-2.0
"""Templates of messages: Jinja's language and the part of Go's that people have in their falcosidekick settings."""

import json

import pytest

from falcolib.outputs.notify.notification import Notification
from falcolib.outputs.notify.slack import escape
from falcolib.outputs.notify.templates import Template, TemplateError
from notifying import ALERT, Told

pytestmark = pytest.mark.daemon

NOTE = Notification.of(Told(ALERT))


def shown(source, note=NOTE, escape=None):
    return Template(source, escape).render(note)


@pytest.mark.parametrize(("source", "text"), [
    ("plain, with a % and a {brace}", "plain, with a % and a {brace}"),
    ("Rule: {{ .Rule }} Priority: {{ .Priority }}", "Rule: Shell of a server Priority: Critical"),
    ("{{.Rule}}", "Shell of a server"),
    ("{{ .Hostname }} {{ .Source }} {{ .Time }}", "node-1 syscall 2026-11-24 12:00:00.123456789 +0000 UTC"),
    ('{{ index .OutputFields "proc.aname[2]" }}', "nginx"),
    ('{{ index .OutputFields "proc.pid" }}', "4711"),
    ('{{ index .OutputFields "no.such" }}', "<NA>"),
    ("{{ index .Tags 0 }}", "container"),
    ('{{ join ", " .Tags }}', "container, mitre_execution"),
    ('{{ .Tags | join "+" }}', "container+mitre_execution"),
    ("{{ .Rule | toUpper | printf \"%q\" }}", '"SHELL OF A SERVER"'),
    ('{{ printf "%s is %v (%05d) 100%%" .Rule .Priority (index .OutputFields "proc.pid") }}', "Shell of a server is Critical (04711) 100%"),
    ("{{ len .Tags }}", "2"),
    ('{{ if eq .Priority "Critical" }}now{{ else }}later{{ end }}', "now"),
    ('{{ if eq .Priority "Debug" "Alert" }}a{{ else if and .Hostname (not (index .OutputFields "a.b")) }}b{{ else }}c{{ end }}', "b"),
    ("{{ range .Tags }}[{{ . }}]{{ end }}", "[container][mitre_execution]"),
    ("{{ range $i, $t := .Tags }}{{ $i }}={{ $t }} {{ $.Source }};{{ end }}", "0=container syscall;1=mitre_execution syscall;"),
    ('{{ range $k, $v := .OutputFields }}{{ if eq $k "proc.pid" "evt.failed" }}{{ $k }}={{ $v }} {{ end }}{{ end }}',
     "evt.failed=false proc.pid=4711 "),
    ('{{ with index .OutputFields "proc.aname[2]" }}<{{ . }}>{{ else }}none{{ end }}', "<nginx>"),
    ('{{ with $x := index .OutputFields "nope" }}{{ $x }}{{ else }}none{{ end }}', "none"),
    ("{{ $r := .Rule }}{{ $r }}!", "Shell of a server!"),
    ("a  {{- /* nobody sees this */ -}}  b", "ab"),
    ("a  {{- .Source -}}  b", "asyscallb"),
    ('{{ "}" }}{{ `raw` }}', "}raw"),
    ('{{ default "x" (index .OutputFields "nope") }}', "x"),
    ('{{ .Rule | trunc 5 }}', "Shell"),
    ('{{ replace "Shell" "Bell" .Rule }}', "Bell of a server"),
    ("{{ toJson .Tags }}", '["container", "mitre_execution"]'),
    # Jinja
    ("{{ rule }} {{ fields['proc.pid'] }} {{ fields['nope'] }} {{ tags | join('/') }}",
     "Shell of a server 4711 <NA> container/mitre_execution"),
    ("{% if priority == 'Critical' %}now{% endif %}{# #}", "now"),
    ("{{ rule | upper }} {{ count }}", "SHELL OF A SERVER 1"),
    ("{{ event.output_fields['proc.pid'] + 1 }}", "4712"),
    ("{% for name, value in fields | dictsort if name.startswith('proc.p') %}{{ name }}={{ value }}{% endfor %}", "proc.pid=4711"),
    ("ends with a line\n", "ends with a line\n"),
])
def test_what_templates_say(source, text):
    assert shown(source) == text


@pytest.mark.parametrize(("source", "error"), [
    ("{{ .Rul }}", r"line 1: \.Rul: there are \.Rule, "),
    ("\n{{ if .Rule }}", "line 2: {{ if }} without its {{ end }}"),
    ("{{ end }}", "without a beginning"),
    ("{{ else }}", "without an {{ if }}"),
    ("{{ env .Rule }}", "no function 'env'; there are "),
    ('{{ template "x" . }}', "is not supported"),
    ('{{ .Time.Format "2006" }}', r"\.Time\.Format is not supported"),
    ("{{ .Rule .Source }}", "functions come first"),
    ("{{ .Rule | }}", "expected a function"),
    ('{{ "a }} .Rule', "can't read|line 1"),
    ("{{ roole }}", "no name 'roole'; did you mean 'rule'"),
    ("{{ rule ", "line 1"),
    ("{{ rule | nofilter }}", "nofilter"),
    ("{% for %}", "line 1"),
    ("{{ " + "(" * 200 + ".Rule" + ")" * 200 + " }}", "too many parentheses"),
])
def test_a_template_that_can_not_be_used_is_told_when_it_is_read(source, error):
    with pytest.raises(TemplateError, match=error):
        Template(source)


@pytest.mark.parametrize("source", [
    "{{ ''.__class__.__mro__ }}", "{{ rule.__class__.__base__.__subclasses__() }}", "{{ event.__init__.__globals__ }}",
    "{{ cycler.__init__.__globals__.os.popen('id').read() }}", "{{ fields.update({'a': 1}) }}", "{{ tags.append('x') }}",
    "{{ go_index.__globals__ }}", "{{ range(1000000000) | list }}",
])
def test_templates_do_not_leave_the_sandbox(source):
    try:
        text = shown(source)
    except TemplateError:
        return
    assert text in ("<NA>", "<template failed>") or text.startswith("<template failed: "), text


HOSTILE = "{{ 7 * 7 }}{% raw %}{{ .Rule }}{{ rule.__class__ }}{# \" <!channel> & \x00\n"


@pytest.mark.parametrize("source", ["{{ .Output }}", "{{ output }}", '{{ index .OutputFields "proc.name" }}', "{{ fields['proc.name'] }}",
                                    "{{ range $k, $v := .OutputFields }}{{ $v }}{{ end }}"])
def test_what_an_alert_holds_is_never_a_template(source):
    note = Notification.of(Told({**ALERT, "output": HOSTILE, "output_fields": {"proc.name": HOSTILE}}))
    assert shown(source, note) == HOSTILE


def test_what_an_alert_holds_is_escaped_and_what_the_template_says_is_not():
    assert shown("<!here> *{{ fields['proc.cmdline'] }}* {{ .Rule | printf \"<%s>\" }}", escape=escape) == (
        "<!here> *sh -c &lt;!channel&gt; &amp; [x](http://evil) @everyone \"* &lt;Shell of a server&gt;")


def test_a_template_that_fails_with_an_alert_says_so():
    assert shown("{{ lt .Rule 3 }}").startswith("<template failed: ")


@pytest.mark.parametrize(("source", "value"), [
    ("{{ fields['proc.pid'] }}", 4711), ("{{ .Tags }}", ["container", "mitre_execution"]),
    ('{{ index .OutputFields "container.id" }}', None),
    ("{{ count }} times", "1 times"), ("{{ rule }}", "Shell of a server"), ('{{ index .OutputFields "evt.failed" }}', False),
    ("{{ event }}", ALERT),
])
def test_an_expression_alone_keeps_its_type(source, value):
    told = Template(source).value(NOTE)
    assert told == value
    json.dumps(told)
