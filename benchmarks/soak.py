# SPDX-License-Identifier: Apache-2.0
"""Whether a monitor that runs for long grows: `falcolib run` with all public rules watches a mixed load, and its memory is sampled.

The load never repeats itself: programs with new arguments, files with new names, threads, connections, failing calls, alerts. A fifth
of the time is warm-up; a line is laid through the samples after it (least squares). Needs root, and $CONFORMANCE for the rules.

    python benchmarks/soak.py [--seconds 3600] [--record docs/soak.md]
"""

import argparse
import contextlib
import os
import pathlib
import platform
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time

ROOT = pathlib.Path(__file__).resolve().parent.parent
RULES = pathlib.Path(os.environ.get("CONFORMANCE", ROOT.parent / "shared" / "conformance")) / "rules"
PUBLIC = ("falco_rules.yaml", "falco-incubating_rules.yaml", "falco-sandbox_rules.yaml")
TICK = 0.25                     # seconds between two rounds of load


def execs(folder: pathlib.Path, n: int) -> None:
    """Programs, each with arguments and an environment that no other has."""
    running = [subprocess.Popen(["/bin/true", f"argument-{n}-{i}"], env={"ROUND": str(n)}) for i in range(10)]
    running.append(subprocess.Popen(["sh", "-c", f"echo {n} | cat > {folder}/piped-{n % 7}; exit 0"]))
    for process in running:
        process.wait()


def files(folder: pathlib.Path, n: int) -> None:
    """Files that come, are renamed, and go; and some that aren't there."""
    for i in range(100):
        path = folder / f"file-{n}-{i}"
        path.write_bytes(b"x" * 100)
        path.read_bytes()
        path.rename(folder / f"other-{n}-{i}")
        (folder / f"other-{n}-{i}").unlink()
        with contextlib.suppress(OSError):
            (folder / f"missing-{n}-{i}").read_bytes()
    deep = folder / f"deep-{n}"
    deep.joinpath(*["d" * 50] * 20).mkdir(parents=True)
    subprocess.run(["rm", "-r", deep], check=True)


def threads(folder: pathlib.Path, n: int) -> None:
    """Threads that begin and end."""
    all_ = [threading.Thread(target=os.getppid) for _ in range(20)]
    for thread in all_:
        thread.start()
    for thread in all_:
        thread.join()


def connections(folder: pathlib.Path, n: int) -> None:
    """Sockets of each kind, with new ports."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        for _ in range(10):
            with socket.create_connection(server.getsockname()) as client, server.accept()[0] as peer:
                client.sendall(b"hello")
                peer.recv(10)
    one, other = socket.socketpair()
    one.close()
    other.close()


def alerts(folder: pathlib.Path, n: int) -> None:
    """What the rules are for."""
    subprocess.run(["cat", "/etc/shadow"], check=False, stdout=subprocess.DEVNULL)
    subprocess.run(["find", folder, "-maxdepth", "1", "-name", "id_rsa"], check=False, stdout=subprocess.DEVNULL)


def load(until: float) -> None:
    """Rounds of load, one each TICK."""
    n = 0
    with tempfile.TemporaryDirectory() as name:
        while (now := time.monotonic()) < until:
            for part in (execs, files, threads, connections, alerts):
                part(pathlib.Path(name), n)
            n += 1
            time.sleep(max(0.0, now + TICK - time.monotonic()))


def memory(pid: int) -> float:
    """Resident memory of a process, MiB."""
    status = pathlib.Path(f"/proc/{pid}/status").read_text()
    return int(status.partition("VmRSS:")[2].split()[0]) / 1024


def slope(samples: list[tuple[float, float]]) -> float:
    """Of the line through (hours, MiB): MiB an hour."""
    n = len(samples)
    x, y = sum(s[0] for s in samples) / n, sum(s[1] for s in samples) / n
    return sum((a - x) * (b - y) for a, b in samples) / sum((a - x) ** 2 for a, _ in samples)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=int, default=3600)
    parser.add_argument("--record", type=pathlib.Path, help="the page whose table gets a line more")
    options = parser.parse_args()
    command = [sys.executable, "-m", "falcolib", "run", *(part for name in PUBLIC for part in ("-r", str(RULES / name)))]
    samples: list[tuple[float, float]] = []
    with tempfile.TemporaryFile("w+") as out, tempfile.TemporaryFile("w+") as errors:
        monitor = subprocess.Popen(command, stdout=out, stderr=errors, text=True)
        try:
            while "Watching" not in pathlib.Path(f"/proc/self/fd/{errors.fileno()}").read_text():
                if monitor.poll() is not None:
                    errors.seek(0)
                    sys.exit(f"falcolib ended before it was ready: {errors.read()}")
                time.sleep(0.1)
            begin = time.monotonic()
            work = threading.Thread(target=load, args=(begin + options.seconds,), daemon=True)
            work.start()
            shown = begin
            while work.is_alive():
                work.join(1)
                samples.append(((time.monotonic() - begin) / 3600, memory(monitor.pid)))
                if time.monotonic() - shown >= 60:
                    shown = time.monotonic()
                    print(f"{(shown - begin) / 60:5.0f} min  {samples[-1][1]:7.1f} MiB", flush=True)
            ticks = map(int, pathlib.Path(f"/proc/{monitor.pid}/stat").read_text().rpartition(")")[2].split()[11:13])
            used = sum(ticks) / os.sysconf("SC_CLK_TCK")
        finally:
            monitor.send_signal(signal.SIGTERM)
            monitor.wait(60)
        errors.seek(0)
        said = errors.read()
    events = int(said.partition("Events read: ")[2].split()[0])
    detected = int(said.partition("Events detected: ")[2].split()[0])
    lost = next((line.split()[0] for line in said.replace(":", ",").split(", ") if "lost by the kernel side" in line), "0")
    steady = samples[len(samples) // 5 :]
    growth = slope(steady)
    print(f"{options.seconds} s, {events} events, {detected} alerts, {lost} lost, exit status {monitor.returncode}")
    print(f"memory after the warm-up {steady[0][1]:.1f} MiB, at the end {steady[-1][1]:.1f}, at most {max(s[1] for s in samples):.1f}")
    print(f"slope {growth:+.2f} MiB an hour; {used:.1f} s of CPU")
    if options.record:
        with options.record.open("a") as page:
            page.write(f"| {time.strftime('%Y-%m-%d')} | {options.seconds} s | {events} | {detected} | {lost} | {steady[0][1]:.1f} "
                       f"| {steady[-1][1]:.1f} | {growth:+.2f} | {used:.0f} s | {platform.release()} |\n")
    sys.exit(monitor.returncode)


if __name__ == "__main__":
    main()
