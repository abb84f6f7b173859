# SPDX-License-Identifier: Apache-2.0
"""What replaying a capture costs, next to Falco.

Instructions are callgrind's: the whole process, minus the same on an empty capture, over the number of events: the figure holds on any
machine. Times are CPU seconds of whole processes, the least of five, in units of `gzip -dc` on the same capture in the same run. Falco's
figures (0.44.1, mix1.scap, plain file) were recorded once; the bias of the comparison: Falco's process wrote no alerts through Python.

    python benchmarks/replay.py [--capture FILE.scap] [--no-callgrind]
"""

import argparse
import gzip
import os
import pathlib
import re
import resource
import shutil
import subprocess
import sys
import tempfile

ROOT = pathlib.Path(__file__).resolve().parent.parent
CONFORMANCE = ROOT / os.environ.get("CONFORMANCE", "../shared/conformance")
PUBLIC = [CONFORMANCE / "rules" / name for name in ("falco_rules.yaml", "falco-incubating_rules.yaml", "falco-sandbox_rules.yaml")]
NEVER = "- rule: never\n  desc: matches nothing\n  condition: evt.num < 0\n  output: never\n  priority: DEBUG\n  warn_evttypes: false\n"
#: gzip units and instructions an event of Falco 0.44.1 on mix1.scap.
FALCO = {"one rule that never matches": (0.54, 2235), "falco_rules.yaml": (0.89, None), "all three public files": (1.84, 6860)}


def cpu(command: list[str]) -> float:
    """CPU seconds of a process: the least of five runs."""
    best = float("inf")
    for _ in range(5):
        before = resource.getrusage(resource.RUSAGE_CHILDREN)
        subprocess.run(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, check=True)
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
        best = min(best, after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime)
    return best


def instructions(command: list[str]) -> int:
    with tempfile.NamedTemporaryFile() as out:
        run = subprocess.run(["valgrind", "--tool=callgrind", f"--callgrind-out-file={out.name}", *command], stdout=subprocess.DEVNULL,
                             stderr=subprocess.PIPE, text=True, check=True, env={**os.environ, "PYTHONHASHSEED": "0"})
    found = re.search(r"Collected : (\d+)", run.stderr)
    assert found, run.stderr
    return int(found[1])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--capture", type=pathlib.Path, default=CONFORMANCE / "captures" / "mix1.scap")
    parser.add_argument("--no-callgrind", action="store_true", help="times only")
    options = parser.parse_args()
    capture: pathlib.Path = options.capture
    if not capture.exists():
        capture = ROOT / "tests" / "data" / "attack1.scap"
        print(f"{options.capture} is missing: measuring on {capture.name}, too short to mean much", file=sys.stderr)
    counting = not options.no_callgrind and shutil.which("valgrind") is not None
    with tempfile.TemporaryDirectory() as folder:
        plain, empty, never = (pathlib.Path(folder) / name for name in ("capture.scap", "empty.scap", "never.yaml"))
        data = gzip.decompress(capture.read_bytes())
        plain.write_bytes(data)
        empty.write_bytes(data[: int.from_bytes(data[4:8], "little")])       # the section header alone
        never.write_text(NEVER)
        unit = cpu(["gzip", "-dc", str(capture)])
        print(f"{capture.name}: gzip -dc takes {unit:.3f} s; times are in that unit\n")
        print(f"{'rules':30} {'gzip units':>10} {'Falco':>6} {'instructions/event':>20} {'Falco':>6} {'start-up s':>11}")
        sets = {"one rule that never matches": [never]}
        if PUBLIC[0].exists():
            sets |= {"falco_rules.yaml": PUBLIC[:1], "all three public files": PUBLIC}
        else:
            sets |= {"falcolib_rules.yaml": [ROOT / "rules" / "falcolib_rules.yaml"]}
        for name, files in sets.items():
            base = [sys.executable, "-m", "falcolib", "run", *(arg for file in files for arg in ("-r", str(file)))]
            full, start = [*base, "--capture", str(plain)], [*base, "--capture", str(empty)]
            events = int(re.search(r"Events read: (\d+)", subprocess.run(full, capture_output=True, text=True, check=True).stderr)[1])
            startup = cpu(start)
            units = (cpu(full) - startup) / unit
            count = (instructions(full) - instructions(start)) / events if counting else None
            falco_units, falco_count = FALCO.get(name, (None, None)) if capture.name == "mix1.scap" else (None, None)
            counted = round(count) if count else ""
            print(f"{name:30} {units:10.2f} {falco_units or '':>6} {counted:>20} {falco_count or '':>6} {startup:11.2f}", flush=True)


if __name__ == "__main__":
    main()
