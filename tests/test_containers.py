# SPDX-License-Identifier: Apache-2.0
"""What is asked about containers, what becomes of the answers, and of no answer. Real runtimes: test_containers_runtimes.py."""

from __future__ import annotations

import json
import pathlib
import socketserver
import threading
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler
from typing import Any

import pytest

import falcolib
from falcolib.containers import Containers, StaticContainer
from falcolib.containers import docker as docker_api
from falcolib.containers.image import digest_of, parse
from falcolib.containers.lookup import told
from falcolib.core import Core
from scapwriter import EV_LARGE, Chunked, block, capture, event, probe, record
from state_events import CHILD_IN_PIDNS, bash, clone, exit_, last, named

ID = "3ad7b26ded6d8e7b23da7d48fe88943ab0cafe0123456789abcdef0123456789"
CGROUPS = f"cpu=/docker/{ID}\0".encode()
INSPECTED = {
    "Id": ID, "Name": "/shop", "Image": "sha256:" + "1" * 64, "Created": "2023-11-14T22:13:20.123456789Z",
    "Config": {"Image": "registry:5000/team/shop:1.2", "Labels": {"app": "shop", "long": "x" * 101}, "Env": ["A=1"], "User": "www"},
    "HostConfig": {"Privileged": True, "NetworkMode": "host", "PidMode": "", "IpcMode": "private", "CpusetCpus": "0-2,7",
                   "Memory": 1 << 20},
    "NetworkSettings": {"IPAddress": "", "Networks": {"net": {"IPAddress": "10.0.0.7"}},
                        "Ports": {"80/tcp": [{"HostIp": "0.0.0.0", "HostPort": "8080"}], "53/udp": [{"HostIp": "", "HostPort": "53"}]}},
    "Mounts": [{"Type": "bind", "Source": "/var/lib/shop", "Destination": "/data", "Mode": "z", "RW": True, "Propagation": "rprivate"}],
}  # fmt: skip
IMAGE = {"RepoTags": ["registry:5000/team/shop:1.2"], "RepoDigests": ["other@sha256:aa", "registry:5000/team/shop@sha256:bb"]}
FIELDS = ("container.lookup", "container.name", "container.image.repository", "container.privileged")


class Runtime:
    """A stand-in for Docker that does what a real one can't be made to do in a test: hang, lie, begin to know."""

    def __init__(self, path: pathlib.Path, answer: Callable[[str], tuple[int, Any]]) -> None:
        self.path, self.asked = str(path), []  # type: tuple[str, list[str]]
        runtime = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                runtime.asked.append(self.path)
                status, body = answer(self.path)
                data = body if isinstance(body, bytes) else json.dumps(body).encode()
                self.send_response(status)
                self.send_header("Content-Length", str(len(data)))
                self.end_headers()
                self.wfile.write(data)

            def address_string(self) -> str:
                return "unix"

            def log_message(self, format: str, *args: object) -> None:
                pass

        class Server(socketserver.ThreadingMixIn, socketserver.UnixStreamServer):
            daemon_threads = True
            block_on_close = False

            def handle_error(self, request: object, client_address: object) -> None:
                """A client that has gone away meanwhile."""

        self._server = Server(self.path, Handler)
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.01,), daemon=True)
        self._thread.start()

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()


@pytest.fixture
def runtime(tmp_path: pathlib.Path) -> Iterator[Callable[[Callable[[str], tuple[int, Any]]], Runtime]]:
    made: list[Runtime] = []

    def make(answer: Callable[[str], tuple[int, Any]]) -> Runtime:
        made.append(Runtime(tmp_path / f"docker{len(made)}.sock", answer))
        return made[-1]

    yield make
    for one in made:
        one.close()


def knows(path: str) -> tuple[int, Any]:
    return (200, INSPECTED) if path == f"/containers/{ID}/json" else (200, IMAGE) if path.startswith("/images/") else (404, {})


class Live(Chunked):
    """A capture's bytes as a source of what happens now: a piece is an event, and `between` is done before each."""

    live = True

    def __init__(self, *pieces: bytes, between: Callable[[int], None] = lambda number: None) -> None:
        super().__init__(b"", 1)
        self.pieces, self.between = pieces, between

    def chunks(self) -> Iterator[bytes]:
        for number, piece in enumerate(self.pieces):
            self.between(number)
            yield piece


def run(source: Live, *fields: str, **options: Any) -> tuple[list[list[object]], falcolib.Stats]:
    """Fields of each getuid event, and the statistics."""
    output = " ".join(f"%{name}" for name in fields)
    rules = falcolib.RuleSet.parse(json.dumps([{"rule": "r", "desc": "d", "condition": "evt.type = getuid", "output": output,
                                                "priority": "INFO"}]), name="test")  # fmt: skip
    engine = falcolib.Engine(rules, containers=Containers(**({"podman": (), "cri": (), "containerd": (), "timeout": 60} | options)))
    return [[alert.fields[name] for name in fields] for alert in engine.run(source)], engine.stats()


def begin() -> bytes:
    return capture(bash(tid=7, vtid=1, vpid=1, cgroups=CGROUPS.decode().rstrip("\0")) + probe(7))


def test_a_runtime_tells_what_events_dont(runtime: Any) -> None:
    docker = runtime(knows)
    seen, stats = run(Live(begin(), probe(7)), *FIELDS, docker=(docker.path,), wait=120)
    assert seen == [["pending", None, None, None], ["known", "shop", "registry:5000/team/shop", True]]
    assert docker.asked == [f"/containers/{ID}/json", "/images/sha256:" + "1" * 64 + "/json"]
    assert (stats.containers_asked, stats.containers_unknown) == (1, 0)
    assert (stats.containers, stats.containers_imageless) == (1, 0)


def test_a_container_that_is_there_at_the_start_is_asked_for(runtime: Any) -> None:
    """Also if nothing begins in it any more: its processes were known before the first event."""

    class Started(Live):
        def open_on(self, core: Core) -> None:
            core.rewind()
            core.push(begin())
            while core.step():
                pass

    seen, stats = run(Started(probe(7), probe(7)), *FIELDS[:2], docker=(runtime(knows).path,), wait=120)
    assert seen == [["known", "shop"]] * 2
    assert stats.containers_asked == 1


def test_fields_of_what_docker_answers(runtime: Any) -> None:
    expected = {
        "container.id": ID[:12], "container.full_id": ID, "container.type": "docker", "container.name": "shop",
        "container.image": "registry:5000/team/shop:1.2", "container.image.tag": "1.2", "container.image.id": "1" * 64,
        "container.image.digest": "sha256:bb", "container.ip": "10.0.0.7", "container.host_network": True, "container.host_pid": False,
        "container.host_ipc": False, "container.labels": "app:shop", "container.label[app]": "shop", "container.label[long]": None,
        "container.mounts": "/var/lib/shop:/data:z:true:rprivate", "container.mount.dest[/var/lib/*]": "/data",
        "container.mount.source[/data]": "/var/lib/shop", "container.mount.rdwr[0]": "true", "k8s.pod.name": None, "k8s.pod.ip": "",
    }  # fmt: skip
    seen, _ = run(Live(begin(), probe(7)), *expected, docker=(runtime(knows).path,), wait=120)
    assert dict(zip(expected, seen[1], strict=True)) == expected


def test_a_form_of_what_docker_answers_has_all_that_the_event_has() -> None:
    made = docker_api.container(INSPECTED, IMAGE, docker_api.DOCKER)
    assert made["env"] == ["A=1"]
    assert made["port_mappings"] == [{"HostIp": "0.0.0.0", "HostPort": 8080, "ContainerPort": 80}]
    assert (made["User"], made["created_time"], made["cpuset_cpu_count"], made["memory_limit"]) == ("www", 1700000000, 4, 1 << 20)


@pytest.mark.parametrize("damage", [
    {}, {"Id": ID}, {"Id": ID, "Config": 7, "Mounts": {"a": 1}, "NetworkSettings": [], "HostConfig": None},
    {"Id": ID, "Mounts": [None, 7], "Created": "yesterday", "NetworkSettings": {"Ports": {"x": 1, "/tcp": [3]}}},
])  # fmt: skip
def test_an_answer_of_another_form_does_no_harm(runtime: Any, damage: Any) -> None:
    docker = runtime(lambda path: (200, damage))
    seen, _ = run(Live(begin(), probe(7)), "container.id", docker=(docker.path,), wait=120, attempts=1)
    assert seen[1] == [ID[:12]]


def test_what_no_runtime_knows_is_unknown_after_some_attempts(runtime: Any) -> None:
    docker = runtime(lambda path: (404, {"message": "No such container"}))
    seen, stats = run(Live(begin(), probe(7)), *FIELDS, docker=(docker.path,), wait=120, attempts=3)
    assert [row[0] for row in seen] == ["pending", "unknown"]
    assert len(docker.asked) == 3
    assert stats.containers_unknown == 1
    assert (stats.containers, stats.containers_imageless) == (1, 1)


def test_a_runtime_may_begin_to_know(runtime: Any) -> None:
    docker = runtime(lambda path: knows(path) if len(docker.asked) > 2 else (404, {}))
    seen, _ = run(Live(begin(), probe(7)), *FIELDS[:2], docker=(docker.path,), wait=120)
    assert seen[1] == ["known", "shop"]


def test_events_wait_no_longer_than_told_for_a_runtime_that_hangs(runtime: Any) -> None:
    release = threading.Event()
    docker = runtime(lambda path: (404 if release.wait(60) else 500, {}))
    other = runtime(knows)
    seen, _ = run(Live(begin(), probe(7)), "container.lookup", docker=(docker.path, other.path), wait=0.01)
    assert seen == [["pending"], ["pending"]]
    release.set()


def test_a_runtime_that_hangs_is_given_up_for_another(runtime: Any) -> None:
    release = threading.Event()
    docker = runtime(lambda path: (404 if release.wait(60) else 500, {}))
    seen, _ = run(Live(begin(), probe(7)), *FIELDS[:2], docker=(docker.path, runtime(knows).path), wait=120, timeout=2)
    assert seen[1] == ["known", "shop"]
    release.set()


@pytest.mark.parametrize("answer", [(500, {}), (200, b"{"), (200, []), (200, b"\xff" * 100), (204, b"")])
def test_a_runtime_that_answers_nonsense_is_passed_over(runtime: Any, answer: tuple[int, Any]) -> None:
    seen, _ = run(Live(begin(), probe(7)), *FIELDS[:2], docker=(runtime(lambda path: answer).path, runtime(knows).path), wait=120)
    assert seen[1] == ["known", "shop"]


def test_nobody_is_asked_where_no_socket_is(tmp_path: pathlib.Path) -> None:
    seen, _ = run(Live(begin(), probe(7)), "container.lookup", docker=(str(tmp_path / "none.sock"),), wait=120, attempts=1)
    assert seen == [["pending"], ["unknown"]]


def test_nobody_is_asked_about_a_capture(runtime: Any) -> None:
    docker = runtime(knows)
    source = Chunked(begin() + probe(7), 1 << 20)
    seen, stats = run(source, *FIELDS, docker=(docker.path,), wait=120)  # type: ignore[arg-type]
    assert seen == [["none", None, None, None]] * 2
    assert (docker.asked, stats.containers_asked) == ([], 0)


def test_nobody_is_asked_if_nobody_shall_be() -> None:
    seen, _ = run(Live(begin(), probe(7)), "container.lookup", docker=())
    assert seen == [["none"], ["none"]]


def test_the_host_is_no_container() -> None:
    assert last(bash() + probe(), "container.lookup", "container.id", "container.name", "container.image") == ("host", "host", "host", "")


def test_an_event_of_the_capture_tells_a_container() -> None:
    told_ = event("CONTAINER_JSON_2_E", json.dumps({"container": {"id": ID[:12], "type": 11, "name": "shop"}}))
    assert last(bash(cgroups=CGROUPS.decode()) + told_ + probe(), "container.lookup", "container.name", "container.type") == (
        "known", "shop", "podman")  # fmt: skip


@pytest.mark.parametrize(("condition", "found"), [
    ("evt.type = container", [1]), ("evt.type = container_removed", [2]), ("evt.type in (container, container_removed)", [1, 2]),
    ("evt.type != container", [2, 3]), ("not evt.type in (container, container_removed)", [3]), ("evt.type.is.container = 1", [1]),
    ("evt.type = container or evt.type = getuid", [1, 3]),
])
def test_rules_are_asked_of_the_events_that_tell_containers(condition: str, found: list[int]) -> None:
    """Falco's container plugin has put them into the capture: asynchronous events, which carry their names."""
    told_ = json.dumps({"container": {"id": ID[:12], "type": 11, "name": "shop"}})
    events = [block(EV_LARGE, bytes(2) + record("ASYNCEVENT_E", 1, name, told_.encode() + b"\0"))
              for name in ("container", "container_removed")]  # fmt: skip
    rules = falcolib.RuleSet.parse(json.dumps([
        {"rule": "R", "desc": "d", "condition": condition, "output": "o", "priority": "INFO", "warn_evttypes": False}]))
    assert [alert.event.num for alert in falcolib.Engine(rules).run(Chunked(capture(*events, probe()), 1 << 20))] == found


def test_a_container_whose_first_process_comes_or_goes_is_asked_for_again(runtime: Any) -> None:
    docker = runtime(knows)
    gone = exit_(tid=7) + probe(8)
    again = clone(0, tid=9, pid=9, ptid=1, vtid=1, vpid=1, flags=CHILD_IN_PIDNS, cgroups=CGROUPS) + probe(9)
    seen, stats = run(Live(begin(), gone, again, probe(9)), "container.name", docker=(docker.path,), wait=120)
    assert [row[0] for row in seen] == [None, "host", "shop", "shop"]
    assert stats.containers_asked == 3


def test_a_container_that_is_gone_is_forgotten(runtime: Any) -> None:
    docker = runtime(lambda path: knows(path) if len(docker.asked) <= 2 else (404, {}))
    child = clone(0, tid=8, pid=8, ptid=7, vtid=2, vpid=2, flags=CHILD_IN_PIDNS, cgroups=CGROUPS)
    live = Live(begin() + child, exit_(tid=7) + probe(8), probe(8))
    seen, _ = run(live, "container.lookup", docker=(docker.path,), wait=120, attempts=1)
    assert seen == [["pending"], ["known"], ["unknown"]]


def test_nobody_is_asked_for_containers_without_a_runtime(runtime: Any) -> None:
    docker = runtime(knows)
    box = bash(tid=7, vtid=1, vpid=1, cgroups="cpu=/lxc.payload.a-box-with-a-long-name")
    seen, stats = run(Live(capture(box + probe(7)), probe(7)), "container.id", "container.type", docker=(docker.path,), wait=0)
    assert seen == [["a-box-with-a-long-name", "lxc"]] * 2
    assert (stats.containers, stats.containers_asked, docker.asked) == (1, 0, [])


def test_containers_beyond_the_queue_dont_fill_it() -> None:
    many = b"".join(named("CLONE_20_X", tid=1000 + i, res=0, exe="x", args=b"", pid=1000 + i, ptid=1, comm="x", flags=0, vtid=5, vpid=5,
                          cgroups=f"cpu=/docker/{i:012x}{i:052x}\0".encode()) for i in range(2000))  # fmt: skip
    _, stats = run(Live(capture(bash()) + many, probe()), "container.id", docker=("/nonexistent",), wait=0, attempts=1)
    assert stats.containers_asked == 512


def test_a_static_container_is_everywhere() -> None:
    containers = Containers(static=StaticContainer("f" * 64, "only", "busybox:1.36"))
    engine = falcolib.Engine(containers=containers)
    events = engine.events(Chunked(capture(bash() + clone(0, tid=200, ptid=100) + probe(200)), 1 << 20))
    fields = ("container.id", "container.name", "container.image.repository", "container.type", "container.lookup")
    assert [[now[f] for f in fields] for now in events] == [["f" * 64, "only", "busybox", "static", "known"]] * 2


# ---- names and settings ----


@pytest.mark.parametrize(("name", "parts"), [
    ("nginx", ("nginx", "latest", "")),
    ("nginx:1.25", ("nginx", "1.25", "")),
    ("registry:5000/team/app", ("registry:5000/team/app", "latest", "")),
    ("registry:5000/team/app:v2", ("registry:5000/team/app", "v2", "")),
    ("app@sha256:0f", ("app", "", "sha256:0f")),
    ("app:v2@sha256:0f", ("app", "v2", "sha256:0f")),
    ("", ("", "", "")),
])  # fmt: skip
def test_parts_of_an_images_name(name: str, parts: tuple[str, str, str]) -> None:
    assert parse(name) == parts


def test_the_digest_of_a_repository() -> None:
    assert digest_of(["a@sha256:1", "b@sha256:2"], "b") == "sha256:2"
    assert digest_of(["a@sha256:1"], "b") == "sha256:1"
    assert digest_of(["nonsense"], "b") == ""


@pytest.mark.parametrize(("ranges", "count"), [("", 0), ("0", 1), ("0-3", 4), ("0-1,5,7-8", 5), ("x", 0), ("1-x", 0)])
def test_processors_of_a_set(ranges: str, count: int) -> None:
    assert docker_api.cpus(ranges) == count


def test_labels_have_a_length_and_a_room() -> None:
    labels = {f"n{i}": "v" * 100 for i in range(1000)} | {"long": "v" * 101}
    kept = told({"labels": labels, "pod_sandbox_labels": labels}, 100)
    assert "long" not in kept["labels"]
    assert 200 < len(kept["labels"]) + len(kept["pod_sandbox_labels"]) < 320


def test_settings_of_falcos_plugin() -> None:
    config = {"label_max_len": 50, "with_size": True, "hooks": ["create"], "engines": {
        "docker": {"enabled": True, "sockets": ["/a.sock"]}, "podman": {"enabled": False, "sockets": ["/b.sock"]}, "cri": {"enabled": True},
        "lxc": {"enabled": False}, "static": {"enabled": False, "container_id": "x"}}}  # fmt: skip
    made = Containers.from_config(config)
    assert made == Containers(docker=("/a.sock",), podman=(), label_max_len=50, with_size=True)


def test_settings_of_a_static_container() -> None:
    config = {"engines": {"static": {"enabled": True, "container_id": "f00", "container_name": "n", "container_image": "i"}}}
    assert Containers.from_config(config).static == StaticContainer("f00", "n", "i")


@pytest.mark.parametrize(("config", "problem"), [
    ({"label_max": 1}, "label_max is none of"), ({"engines": {"dokcer": {}}}, "engines.dokcer is none of"),
    ({"label_max_len": "long"}, "label_max_len: expected a whole number, not 'long'"),
    ({"engines": {"cri": {"sockets": "/a"}}}, "engines.cri.sockets: expected a list"),
])  # fmt: skip
def test_settings_that_are_wrong(config: dict[str, object], problem: str) -> None:
    with pytest.raises(ValueError, match=problem):
        Containers.from_config(config)

