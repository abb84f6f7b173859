# SPDX-License-Identifier: Apache-2.0
"""How long after `touch /usr/bin/you_are_shock` the alert is there, with all public rules: `engine.run()` has given it.

Needs root, and $CONFORMANCE for the rules.

    python benchmarks/latency.py [--times 50]
"""

import argparse
import os
import pathlib
import statistics
import subprocess
import threading
import time

import falcolib

ROOT = pathlib.Path(__file__).resolve().parent.parent
RULES = pathlib.Path(os.environ.get("CONFORMANCE", ROOT.parent / "shared" / "conformance")) / "rules"
TARGET = pathlib.Path("/usr/bin/you_are_shock")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--times", type=int, default=50)
    options = parser.parse_args()
    engine = falcolib.Engine(falcolib.RuleSet.load(*(RULES / f"falco{name}_rules.yaml" for name in ("", "-incubating", "-sandbox"))))
    live, arrived, came = falcolib.Live(), list[tuple[float, falcolib.Alert]](), threading.Event()

    def watch() -> None:
        for alert in engine.run(live):
            if "you_are_shock" in alert.message and alert.rule == "Write below binary dir":
                arrived.append((time.time(), alert))
                came.set()

    thread = threading.Thread(target=watch)
    thread.start()
    live.ready.wait()
    after_call, after_touch = [], []
    try:
        for _ in range(options.times):
            came.clear()
            subprocess.run(["touch", TARGET], check=True)
            done = time.time()
            if not came.wait(10):
                raise SystemExit("no alert within 10 s")
            when, alert = arrived[-1]
            after_call.append(when * 1e3 - alert.time / 1e6)
            after_touch.append(max(when - done, 0) * 1e3)
            time.sleep(0.1)             # so that the reader sleeps, as on a quiet machine
    finally:
        TARGET.unlink(missing_ok=True)
        engine.stop()
        thread.join()
    fields = arrived[-1][1].fields
    print(f"{'ms':34} {'median':>8} {'most':>8}")
    print(f"{'from the system call to the alert':34} {statistics.median(after_call):8.1f} {max(after_call):8.1f}")
    print(f"{'from the end of touch to the alert':34} {statistics.median(after_touch):8.1f} {max(after_touch):8.1f}")
    print({name: fields.get(name) for name in ("user.name", "proc.cmdline", "proc.pname", "proc.aname[2]")})


if __name__ == "__main__":
    main()
