# SPDX-License-Identifier: Apache-2.0
"""Containers: which one a process is in, as its control groups tell (engine.md E5)."""

import pytest

from scapwriter import probe
from state_events import CHILD_IN_PIDNS, bash, clone, execve, last

ID = "3ad7b26ded6d8e7b23da7d48fe88943ab0cafe0123456789abcdef0123456789"
SHORT = ID[:12]


@pytest.mark.parametrize(
    ("path", "id_"),
    [
        (f"/docker/{ID}", SHORT),
        (f"/system.slice/docker-{ID}.scope", SHORT),
        (f"/kubepods/besteffort/pod1234/{ID}", SHORT),
        (f"/kubepods.slice/kubepods-pod1.slice/cri-containerd-{ID}.scope", SHORT),
        (f"/kubepods.slice/kubepods-pod1.slice:cri-containerd:{ID}", SHORT),
        (f"/kubepods.slice/crio-{ID}.scope", SHORT),
        (f"/kubepods.slice/crio-{ID}", SHORT),
        (f"/system.slice/nerdctl-{ID}.scope", SHORT),
        (f"/machine.slice/libpod-{ID}.scope", SHORT),
        (f"/machine.slice/libpod-{ID}.scope/container", SHORT),
        (f"/machine.slice/libpod-payload-{ID}", SHORT),
        ("/default/web", "web"),
        ("/lxc/mybox/init.scope", "mybox"),
        ("/lxc.payload.mybox/system.slice/x.service", "mybox"),
        ("/vm1.libvirt-lxc", "vm1"),
        ("/machine.slice/machine-lxc\\x2dvm1.scope", "vm1"),
        ("/system.slice/bpm-job.scope", "job"),
    ],
)
def test_a_control_group_tells_the_container(path: str, id_: str) -> None:
    assert last(bash(cgroups=f"cpu={path}") + probe(), "container.id") == (id_,)


@pytest.mark.parametrize(
    "path",
    [
        "/",
        "/user.slice/user-1000.slice/session-5.scope",
        "/system.slice/docker.service",
        f"/docker-{ID[:-1]}.scope",
        f"/docker-{ID[:-1]}g.scope",
        "/init.scope",
    ],
)
def test_other_paths_are_the_hosts(path: str) -> None:
    assert last(bash(cgroups=f"cpu={path}") + probe(), "container.id") == ("host",)


def test_the_first_group_that_tells_one_counts() -> None:
    events = bash(cgroups=f"cpu=/\0memory=/docker/{ID}\0io=/docker/{'f' * 64}") + probe()
    assert last(events, "container.id") == (SHORT,)


def test_groups_have_the_names_that_fields_ask_for() -> None:
    events = bash(cgroups="cpu_cgroup=/a\0perf=/b\0mem=/c\0io=/d") + probe()
    fields = ("thread.cgroup.cpu", "thread.cgroup.perf_event", "thread.cgroup.memory", "thread.cgroup.blkio")
    assert last(events, *fields) == ("/a", "/b", "/c", "/d")


def test_a_process_enters_its_container_with_its_first_event_in_it() -> None:
    inside = f"cpu=/docker/{ID}\0".encode()
    child = clone(0, tid=200, ptid=100, vtid=1, vpid=1, flags=CHILD_IN_PIDNS, cgroups=inside)
    assert last(bash() + child + probe(200), "container.id") == (SHORT,)
    assert last(bash() + clone(200) + execve("/bin/sh", tid=200, cgroups=inside) + probe(200), "container.id") == (SHORT,)
    assert last(bash() + child + probe(100), "container.id") == ("host",)
