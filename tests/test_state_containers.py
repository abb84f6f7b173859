# SPDX-License-Identifier: Apache-2.0
"""Containers: which one a process is in, as its control groups tell (engine.md E5)."""

import pytest

from scapwriter import probe
from state_events import CHILD_IN_PIDNS, bash, clone, execve, last, named, seen

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
        (f"/system.slice/docker-{ID}.scope/system.slice/cron.service", SHORT),
        (f"/kubepods.slice/kubepods-pod1.slice/crio-{ID}.scope/container", SHORT),
        ("/default/web", "web"),
        ("/default/web/1", "web/1"),
        ("/a--b/default/web", "web"),
        ("/default/web-of-many-letters", "web-of-many-"),
        ("/k8s.io/web/k8s.io/cache", "cache"),
        ("/lxc.payload.a-box-with-a-long-name", "a-box-with-a-long-name"),
        ("/lxc/mybox/init.scope", "mybox"),
        ("/lxc.payload.mybox/system.slice/x.service", "mybox"),
        ("/vm1.libvirt-lxc", "vm1"),
        ("/machine.slice/machine-lxc\\x2dvm1.scope", "vm1"),
        (f"/machine.slice/machine-lxc\\x2d{'d' * 60}.scope/libvirt", "d" * 60),
        ("/machine-with-a-long-name.libvirt-lxc", "machine-with-a-long-name"),
        ("/libvirt/lxc/vm1", "lxc/vm1"),
        ("/libvirt/lxc/a-long-domain.scope", "a-long-domain.scope"),
        ("/system.slice/bpm-job.scope", "job"),
        ("/system.slice/bpm-job-with-a-long-name.scope", "job-with-a-long-name"),
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
        "/default/" + "w" * 65,
        "/user.slice/user-1000.slice/user@1000.service/app.slice/a-name-as-long-as-those-of-desktops",
    ],
)
def test_other_paths_are_the_hosts(path: str) -> None:
    assert last(bash(cgroups=f"cpu={path}") + probe(), "container.id") == ("host",)


@pytest.mark.parametrize(
    ("path", "type_"),
    [("/lxc.payload.mybox", "lxc"), ("/vm1.libvirt-lxc", "libvirt-lxc"), ("/system.slice/bpm-job.scope", "bpm")],
)
def test_of_containers_without_a_runtime_the_control_group_tells_all(path: str, type_: str) -> None:
    fields = ("container.lookup", "container.type", "container.name", "container.image", "container.privileged", "container.mounts")
    assert last(bash(cgroups=f"cpu={path}") + probe(), *fields) == ("known", type_, "", "", False, "")


def test_of_a_container_with_a_runtime_it_tells_the_id_alone() -> None:
    assert last(bash(cgroups=f"cpu=/docker/{ID}") + probe(), "container.lookup", "container.type") == ("none", None)


def test_a_container_that_an_event_removed_comes_back_with_its_next_process() -> None:
    inside = b"cpu=/lxc.payload.mybox\0"
    removed = named("ASYNCEVENT_E", plugin_id=0, name="container_removed", data=b'{"container":{"type":1,"id":"mybox"}}')
    child = clone(0, tid=200, ptid=100, cgroups=inside)
    events = bash(cgroups="cpu=/lxc.payload.mybox") + removed + probe() + child + probe(200)
    assert [lookup for (lookup,) in seen(events, "container.lookup")][-3:] == ["none", "known", "known"]


def test_users_of_a_container_are_found_by_its_whole_name() -> None:
    inside = [f"cpu=/lxc.payload.a-box-with-number-{n}" for n in (1, 2)]
    events = b"".join(bash(tid=100 + n, cgroups=path) for n, path in enumerate(inside))
    for n, name in enumerate(("ann", "bob")):
        events += named("USER_ADDED_E", uid=1000, gid=1000, name=name, home="/", shell="/bin/sh", container_id=f"a-box-with-number-{n + 1}")
    assert [user for (user,) in seen(events + probe(100) + probe(101), "user.name")][-2:] == ["ann", "bob"]


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
