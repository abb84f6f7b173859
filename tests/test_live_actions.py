# SPDX-License-Identifier: Apache-2.0
"""What the public rules are for, done for real on this machine: each action is seen by the probe, and alerted on with who did it.

All actions are done while one engine watches with the public stable rules; each test then looks at its own alert. Actions on the host are
done by a child of a child of a shell, under names that nobody else has; actions in a container by runc, with an overlay of busybox. Two
need more, and have a monitor each: one whose /etc/hosts knows the API server, and one that asks Podman which of its containers are
privileged.
"""

from __future__ import annotations

import json
import os
import pathlib
import pty
import pwd
import shutil
import subprocess
import sys
import tempfile
import time
import uuid
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import pytest

import container_runtimes
import falcolib
from conftest import CONFORMANCE
from falcolib.containers import Containers
from live import PATIENCE, Watch, needs_live

HERE = pathlib.Path(__file__).parent
PARENT, GRANDPARENT = f"fl-p{os.getpid() % 10**9}", f"fl-g{os.getpid() % 10**9}"
CONTAINER = uuid.uuid4().hex * 2        # its id, as Docker's are
STABLE = CONFORMANCE / "rules" / "falco_rules.yaml"
PROC = {"destination": "/proc", "type": "proc", "source": "proc"}
ASKED = "proc.aname[2]"                 # not in the output of all rules
MISSING = [program for program in ("gcc", "ssh", "runc", "busybox") if shutil.which(program) is None]

pytestmark = [
    *needs_live, pytest.mark.conformance, pytest.mark.containers,
    pytest.mark.skipif(os.geteuid() != 0, reason="not root: the actions are root's"),
    pytest.mark.skipif(bool(MISSING), reason=f"not installed: {' '.join(MISSING)}"),
]


@dataclass(frozen=True)
class Action:
    """What is done, as a command of a shell, and what the alert must tell. {T}: a folder of the test; {P}, {G}: the parents' names."""

    rule: str
    script: str
    command: str                        # proc.cmdline
    user: str = "root"
    parent: str = "{P}"
    grandparent: str = "{G}"

    @classmethod
    def inside(cls, rule: str, script: str, command: str) -> Action:
        """By the shell of a container, which runc has started."""
        return cls(rule, script, command, parent="sh", grandparent="runc")

    def __str__(self) -> str:
        return self.rule


HOST = [
    Action("Directory traversal monitored file read", "cat /etc/../etc/../etc/shadow", "cat /etc/../etc/../etc/shadow"),
    Action("Read sensitive file untrusted", "cat /etc/shadow", "cat /etc/shadow"),
    Action("Read sensitive file trusted after startup", "{T}/httpd -c 'sleep 6; read line < /etc/shadow'",
           "httpd -c sleep 6; read line < /etc/shadow"),
    Action("Run shell untrusted", "{T}/httpd -c 'sh -c \"exit 0\"; true'", "sh -c exit 0", parent="httpd", grandparent="{P}"),
    Action("System user interactive", "runc --root {T}/runc run --bundle {T}/login fl-login{P}", "login", user="daemon", parent="runc",
           grandparent="{P}"),
    Action("Search Private Keys or Passwords", "find {T} -maxdepth 1 -iname id_rsa", "find {T} -maxdepth 1 -iname id_rsa"),
    Action("Find AWS Credentials", "find {T} -maxdepth 1 -iname .aws/credentials", "find {T} -maxdepth 1 -iname .aws/credentials"),
    Action("Clear Log Activities", "tee {T}/syslog < /dev/null", "tee {T}/syslog"),
    Action("Remove Bulk Data from Disk", "shred -u {T}/data", "shred -u {T}/data"),
    Action("Create Symlink Over Sensitive Files", "ln -s /etc {T}/soft", "ln -s /etc {T}/soft"),
    Action("Create Hardlink Over Sensitive Files", "ln /etc/shadow {T}/hard", "ln /etc/shadow {T}/hard"),
    Action("PTRACE attached to process", "{T}/actor attach", "actor attach"),
    Action("PTRACE anti-debug attempt", "{T}/actor traceme", "actor traceme"),
    Action("Execution from /dev/shm", "sh -c {S}", "sh -c {S}"),
    Action("Disallowed SSH Connection Non Standard Port", "{T}/actor far ssh -T -p 443 -o ConnectTimeout=1 someone@198.51.100.7",
           "ssh -T -p 443 -o ConnectTimeout=1 someone@198.51.100.7"),
    Action("Fileless execution via memfd_create", "{T}/actor memfd /bin/true", "memfd:payload"),
]
#: In a container, whose shell is run by runc.
INSIDE = [
    Action("Terminal shell in container", "exit 0", "sh /do", parent="runc", grandparent="{P}"),
    Action.inside("Netcat Remote Code Execution in Container", "/bin/nc -w 1 -e /bin/true 127.0.0.1 1", "nc -w 1 -e /bin/true 127.0.0.1 1"),
    Action.inside("Packet socket created in container", "/actor packet", "actor packet"),
    Action.inside("Redirect STDOUT/STDIN to Network Connection in Container", "/actor redirect", "actor redirect"),
    Action.inside("Linux Kernel Module Injection Detected", "/actor module", "actor module"),
    Action.inside("Detect release_agent File Container Escapes", "/bin/tee /release_agent < /dev/null", "tee /release_agent"),
    Action.inside("Drop and execute new binary in container", "cp /bin/busybox /dropped; /dropped true", "dropped true"),
]


def rules() -> falcolib.RuleSet:
    """The public stable rules, which are asked for the grandparent besides."""
    asked = "".join(f"- rule: {name}\n  output: '| %{ASKED} %container.id'\n  override: {{output: append}}\n"
                    for name in (action.rule for action in HOST + INSIDE))
    return falcolib.RuleSet.parse(asked, name="asked", after=falcolib.RuleSet.load(STABLE))


class Place:
    """Where the actions are done: a folder with the programs, and a script in /dev/shm."""

    def __init__(self, folder: pathlib.Path) -> None:
        self.folder, self.lower, self.script = folder, folder / "lower", pathlib.Path(f"/dev/shm/falcolib-{os.getpid()}.sh")
        shell = os.path.realpath("/bin/sh")
        for name in ("httpd", PARENT, GRANDPARENT):
            (folder / name).symlink_to(shell)
        subprocess.run(["gcc", "-O1", "-static", "-o", folder / "actor", HERE / "live_actor.c"], check=True)
        for name in ("data", "syslog"):
            (folder / name).write_text("x" * 100)
        self._make_images()
        self.script.write_text("#!/bin/sh\nexit 0\n")
        self.script.chmod(0o755)

    def filled(self, text: str) -> str:
        return text.format(T=self.folder, S=self.script, P=PARENT, G=GRANDPARENT)

    def start(self, script: str, **options: object) -> subprocess.Popen[bytes]:
        """Runs a script by PARENT, a child of GRANDPARENT. Each script has a process after its own, so that a shell doesn't become it."""
        inner = f"{self.folder}/{PARENT} -c \"$0\"; true"
        return subprocess.Popen([self.folder / GRANDPARENT, "-c", inner, f"{script}; true"], **options)     # type: ignore[call-overload,no-any-return]

    def _make_images(self) -> None:
        """Busybox: the lower layer of a container, and what runs `login` as a user of the machine, in no container, wherever we are."""
        for name in ("bin", "proc", "dev", "tmp"):
            (self.lower / name).mkdir(parents=True)
        shutil.copy(str(shutil.which("busybox")), self.lower / "bin" / "busybox")
        for name in ("sh", "cp", "nc", "tee", "true", "login"):
            (self.lower / "bin" / name).symlink_to("busybox")
        shutil.copy(self.folder / "actor", self.lower / "actor")
        (self.lower / "do").write_text("\n".join(action.script for action in INSIDE[1:]) + "\n")
        (self.folder / "login").mkdir()
        (self.folder / "login" / "config.json").write_text(json.dumps({
            "ociVersion": "1.0.2", "root": {"path": str(self.lower)}, "mounts": [PROC],
            "process": {"user": {"uid": pwd.getpwnam("daemon").pw_uid, "gid": 0}, "args": ["login"], "cwd": "/", "env": ["PATH=/bin"]},
            "linux": {"cgroupsPath": f"/falcolib-test-{os.getpid()}", "namespaces": [{"type": "mount"}]},
        }))

    def in_container(self, command: Sequence[str] = ("/bin/sh", "/do")) -> Iterator[subprocess.Popen[bytes]]:
        """A command in a container, by default the actions: its root is an overlay, its terminal a pseudo-terminal of ours."""
        bundle = self.folder / "bundle"
        for name in ("upper", "work", "bundle/rootfs"):
            (self.folder / name).mkdir(parents=True, exist_ok=True)
        layers = f"lowerdir={self.lower},upperdir={self.folder}/upper,workdir={self.folder}/work"
        subprocess.run(["mount", "-t", "overlay", "overlay", "-o", layers, bundle / "rootfs"], check=True)
        rights = [f"CAP_{name}" for name in ("NET_RAW", "NET_ADMIN", "NET_BIND_SERVICE", "SYS_ADMIN", "SYS_MODULE", "DAC_OVERRIDE")]
        (bundle / "config.json").write_text(json.dumps({
            "ociVersion": "1.0.2", "root": {"path": "rootfs"},
            "mounts": [PROC, {"destination": "/dev", "type": "tmpfs", "source": "dev"},
                       {"destination": "/dev/pts", "type": "devpts", "source": "devpts", "options": ["newinstance", "ptmxmode=0666"]}],
            "process": {"terminal": True, "user": {"uid": 0, "gid": 0}, "args": list(command), "cwd": "/", "env": ["PATH=/bin"],
                        "capabilities": dict.fromkeys(("bounding", "effective", "permitted", "inheritable"), rights)},
            "linux": {"cgroupsPath": f"/docker/{CONTAINER}", "namespaces": [{"type": kind} for kind in ("pid", "mount", "ipc", "uts")]},
        }))
        ours, theirs = pty.openpty()
        try:
            yield self.start(f"runc --root {self.folder}/runc run --bundle {bundle} falcolib-{os.getpid()}", stdin=theirs, stdout=theirs,
                             stderr=theirs)
        finally:
            os.close(theirs)
            os.close(ours)
            subprocess.run(["umount", bundle / "rootfs"], check=True)


@pytest.fixture(scope="module")
def place() -> Iterator[Place]:
    with tempfile.TemporaryDirectory(prefix="falcolib-", ignore_cleanup_errors=True) as name:
        folder = pathlib.Path(name)
        folder.chmod(0o755)                     # for the user daemon
        place = Place(folder)
        try:
            yield place
        finally:
            place.script.unlink()


@pytest.fixture(scope="module")
def seen(place: Place) -> Iterator[tuple[Place, Watch]]:
    """All actions, done while an engine watches."""
    with Watch(rules()) as watch:
        nothing = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
        running = [place.start(place.filled(action.script), **nothing) for action in HOST]
        container = place.in_container()
        next(container).wait(PATIENCE)
        for _ in container:
            pass
        for process in running:
            process.wait(PATIENCE)
        yield place, watch


def expect(seen: tuple[Place, Watch], action: Action) -> falcolib.Alert:
    """The alert of an action, waited for; it tells who did it."""
    place, watch = seen
    told = {"user.name": action.user, "proc.cmdline": place.filled(action.command), "proc.pname": place.filled(action.parent),
            ASKED: place.filled(action.grandparent)}

    def fits(alert: falcolib.Alert) -> bool:
        return all(alert.fields.get(name) == told[name] for name in ("proc.cmdline", "proc.pname"))     # others may do it, too

    watch.until(lambda: [alert for alert in watch.of(action.rule) if fits(alert)])
    alert = next(alert for alert in watch.of(action.rule) if fits(alert))
    assert {name: alert.fields[name] for name in told} == told
    return alert


@pytest.mark.parametrize("action", HOST, ids=str)
def test_on_the_host(seen: tuple[Place, Watch], action: Action) -> None:
    assert expect(seen, action).fields["container.id"] != CONTAINER[:12]


@pytest.mark.parametrize("action", INSIDE, ids=str)
def test_in_a_container(seen: tuple[Place, Watch], action: Action) -> None:
    assert expect(seen, action).fields["container.id"] == CONTAINER[:12]


def test_the_api_server_is_contacted(place: Place, tmp_path: pathlib.Path) -> None:
    """Its name is looked up where the monitor is, in a mount namespace with an /etc/hosts of its own; soon after it has begun to watch, so
    the action is done until it is known."""
    hosts = tmp_path / "hosts"
    hosts.write_text("127.0.0.1 localhost\n198.51.100.7 kubernetes.default.svc.cluster.local\n")
    command = [sys.executable, "-m", "falcolib", "run", "-r", str(STABLE), "-o", "json_output=true"]
    inner = ["sh", "-c", 'mount --bind "$0" /etc/hosts && exec "$@"', str(hosts), *command]
    told, said = tmp_path / "alerts", tmp_path / "said"
    with told.open("w") as out, said.open("w") as err:
        monitor = subprocess.Popen(["unshare", "-m", *inner], stdout=out, stderr=err)
    try:
        container_runtimes.wait_for(lambda: "Watching" in said.read_text() or monitor.poll() is not None, PATIENCE)
        found, end = list[dict[str, str]](), time.monotonic() + PATIENCE
        while not found:
            assert time.monotonic() < end, said.read_text()
            for process in place.in_container(["/actor", "far", "/actor", "contact"]):
                assert process.wait(PATIENCE) == 0
            found = [alert["output_fields"] for line in told.read_text().splitlines(keepends=True) if line.endswith("\n")
                     for alert in (json.loads(line),) if alert["rule"] == "Contact K8S API Server From Container"]
    finally:
        monitor.terminate()
        monitor.wait(PATIENCE)
    expected = {"fd.l4proto": "tcp", "user.name": "root", "proc.cmdline": "actor contact", "proc.pname": "runc"}
    assert {name: found[0][name] for name in expected} == expected
    assert found[0]["fd.name"].endswith("->198.51.100.7:443")


@pytest.mark.skipif(bool(container_runtimes.missing("podman", "debugfs")), reason=container_runtimes.missing("podman", "debugfs"))
def test_debugfs_in_a_privileged_container(tmp_path: pathlib.Path) -> None:
    """The machine's own debugfs, in a container of Podman that has the machine's / at /mnt."""
    rule = "Debugfs Launched in Privileged Container"
    with container_runtimes.Podman(tmp_path).serving() as podman:
        podman.run("usual", "-v", "/:/mnt:ro")
        podman.run("mighty", "--privileged", "-v", "/:/mnt:ro")
        asked = f"- rule: {rule}\n  output: '| %container.name'\n  override: {{output: append}}\n"
        rules = falcolib.RuleSet.parse(asked, name="asked", after=falcolib.RuleSet.load(STABLE))
        containers = Containers(docker=(), podman=(str(podman.socket),), cri=(), containerd=(), timeout=PATIENCE)
        with Watch(rules, engine=falcolib.Engine(rules, matching="all", containers=containers)) as watch:
            def done() -> bool:                 # Podman's answer may come later than the first
                for name in ("usual", "mighty"):
                    podman("exec", name, "/bin/busybox", "chroot", "/mnt", str(shutil.which("debugfs")), "-V")
                return bool(watch.of(rule))

            watch.until(done)
        alerts = watch.of(rule)
    assert {alert.fields["container.name"] for alert in alerts} == {"mighty"}
    assert alerts[0].fields["proc.cmdline"] == "debugfs -V"
    assert alerts[0].fields["user.name"] == "root"
