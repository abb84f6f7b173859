# SPDX-License-Identifier: Apache-2.0
"""What audit events cost: replay next to decoding them to Python objects with msgspec, and the webhook's throughput.

    python benchmarks/audit.py [--events N] [--seconds S]

Replay: a log of Metadata events and one of RequestResponse events, recorded from a real API server and repeated, with the 48 public
audit rules. The cost is the CPU time of the whole process, minimum of three runs, ours and msgspec's in turn. "quiet" are logs of the
events that no rule reports, as nearly all of a cluster's are; in "as recorded", which is a tour of what rules look for, two of five events
are reported. Webhook: clients on the loopback interface post lists of 400 Metadata events for some seconds; all must be seen.

Needs the conformance data (CONFORMANCE, default ../shared/conformance).
"""

from __future__ import annotations

import argparse
import http.client
import json
import os
import pathlib
import resource
import subprocess
import sys
import tempfile
import threading
import time

HERE = pathlib.Path(__file__).resolve().parent
DATA = HERE.parent / os.environ.get("CONFORMANCE", "../shared/conformance") / "kubernetes/k8s_audit"
RULES = DATA / "rules/default/k8s_audit_rules_plugin-0.18.0.yaml"

OURS = f"""
import sys, falcolib
engine = falcolib.Engine(falcolib.RuleSet.load({str(RULES)!r}))
print(sum(1 for _ in engine.run(falcolib.AuditFile(sys.argv[1]))), engine.stats().events)
"""
MSGSPEC = """
import sys, msgspec
decode = msgspec.json.Decoder().decode
with open(sys.argv[1], "rb") as lines:
    for line in lines:
        decode(line)
"""
WEBHOOK = f"""
import sys, falcolib
source = falcolib.AuditWebhook("127.0.0.1", 0)
engine = falcolib.Engine(falcolib.RuleSet.load({str(RULES)!r}))
print(source.port, flush=True)
import threading
threading.Thread(target=lambda: (sys.stdin.read(), source.close()), daemon=True).start()
alerts = sum(1 for _ in engine.run(source))
print(engine.stats().events, alerts, dict(source.counts))
"""


def cpu(program: str, path: pathlib.Path) -> float:
    """CPU seconds of a Python process."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    subprocess.run([sys.executable, "-c", program, str(path)], check=True, stdout=subprocess.DEVNULL)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


def recorded(level: str, quiet: bool) -> list[bytes]:
    import falcolib

    lines = [x for x in (DATA / "real_apiserver/audit_log_v1.jsonl").read_bytes().splitlines(True) if f'"level":"{level}"'.encode() in x]
    if quiet:
        engine = falcolib.Engine(falcolib.RuleSet.load(RULES))
        lines = [line for line in lines if not list(engine.run([line]))]
    return lines


def replay(events: int, folder: pathlib.Path) -> None:
    for level in ("Metadata", "RequestResponse"):
        for quiet in (True, False):
            lines = recorded(level, quiet)
            count = events // len(lines) * len(lines)
            path = folder / "audit.jsonl"
            path.write_bytes(b"".join(lines) * (count // len(lines)))
            runs = [(cpu(OURS, path), cpu(MSGSPEC, path)) for _ in range(3)]
            ours, theirs = (min(column) / count * 1e6 for column in zip(*runs, strict=True))
            name = f"{level}, {'quiet' if quiet else 'as recorded'}"
            print(f"{name:28} {count} events of {path.stat().st_size // count} bytes: falcolib {ours:.2f} us an event, "
                  f"msgspec {theirs:.2f} us; ratio {ours / theirs:.2f}", flush=True)


def webhook(seconds: float) -> None:
    lines = [json.loads(line) for line in recorded("Metadata", False)]
    for line in lines:
        del line["kind"], line["apiVersion"]
    items = (lines * (400 // len(lines) + 1))[:400]
    body = json.dumps({"kind": "EventList", "apiVersion": "audit.k8s.io/v1", "items": items}, separators=(",", ":")).encode()
    server = subprocess.Popen([sys.executable, "-c", WEBHOOK], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    assert server.stdin is not None
    assert server.stdout is not None
    port = int(server.stdout.readline())
    started = time.monotonic()
    sent = [0, 0]

    def post(number: int) -> None:
        connection = http.client.HTTPConnection("127.0.0.1", port)
        while time.monotonic() - started < seconds:
            connection.request("POST", "/k8s_audit", body, {"Content-Type": "application/json"})
            answer = connection.getresponse()
            answer.read()
            sent[number] += answer.status == 200
        connection.close()

    threads = [threading.Thread(target=post, args=(n,)) for n in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    server.stdin.close()
    seen, alerts, counts = server.stdout.read().split(" ", 2)
    took = time.monotonic() - started
    server.wait()
    print(f"webhook: {sum(sent)} lists of 400 ({len(body)} bytes) answered with 200, {seen} events seen of {sum(sent) * 400}, "
          f"{alerts} alerts in {took:.2f} s: {int(seen) / took:.0f} events/s; {counts.strip()}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--events", type=int, default=400_000, help="events of a replay (default 400,000)")
    parser.add_argument("--seconds", type=float, default=5, help="of posting to the webhook (default 5)")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        replay(options.events, pathlib.Path(folder))
    webhook(options.seconds)


if __name__ == "__main__":
    main()
