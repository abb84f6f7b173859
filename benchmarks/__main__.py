# SPDX-License-Identifier: Apache-2.0
"""One page of results.

    python -m benchmarks [SECTION …] [--capture FILE.scap] [--no-callgrind]

Sections: replay stages startup gzip workers alerts audit live; all without one. docs/performance.md tells what they mean.
"""

from __future__ import annotations

import argparse
import datetime
import os
import platform
import tempfile
from collections.abc import Callable
from pathlib import Path

from . import corpus, parts
from .bench import Bench
from .measure import can_count

SECTIONS: dict[str, Callable[[Bench], None]] = {
    "replay": parts.replay, "stages": parts.stages, "startup": parts.startup, "gzip": parts.gzip, "workers": parts.workers,
    "alerts": parts.alerts, "audit": parts.audit, "live": parts.live,
}


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("sections", nargs="*", metavar="SECTION", help="default: all")
    parser.add_argument("--capture", type=Path, default=corpus.MIX1)
    parser.add_argument("--no-callgrind", action="store_true", help="times only")
    options = parser.parse_args()
    if unknown := set(options.sections) - set(SECTIONS):
        parser.error(f"there is no section {', '.join(sorted(unknown))}; there are {', '.join(SECTIONS)}")
    capture: Path = options.capture
    if not capture.exists():
        print(f"{capture} is missing: measuring on {corpus.ATTACKS.name}, too short to mean much")
        capture = corpus.ATTACKS
    counting = not options.no_callgrind and can_count()
    with tempfile.TemporaryDirectory() as folder:
        os.environ["FALCOLIB_CACHE"] = f"{folder}/cache"        # filled by the first run of each rule set
        bench = Bench(capture, Path(folder), counting)
        print(f"{datetime.date.today()}, {os.cpu_count()} processors, load {os.getloadavg()[0]:.1f}, Linux {platform.release()}, Python "
              f"{platform.python_version()}\n{capture.name}: {bench.events} events; gzip -dc takes {bench.unit:.3f} s, the unit of time")
        if not counting:
            print("instructions aren't counted: valgrind is missing or not wanted")
        for name in options.sections or SECTIONS:
            print()
            SECTIONS[name](bench)


if __name__ == "__main__":
    main()
