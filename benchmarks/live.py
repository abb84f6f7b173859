# SPDX-License-Identifier: Apache-2.0
"""What watching a machine costs: a flood of 1 million open+close on one processor, with 100 reads of /etc/shadow strewn in, with and
without `falcolib run` and the public rules; and what a system call costs that no rule needs. Needs root, gcc, and $CONFORMANCE for the
rules.

Falco 0.44.1 on the same kind of machine, with default buffers: 904,000 of 2 million events lost, the flood slowed from 2.3 to 3.5 s, 5.4
seconds of CPU; a call that no rule needs costs 105 ns more.
"""

import os
import pathlib
import resource
import signal
import subprocess
import sys
import tempfile

ROOT = pathlib.Path(__file__).resolve().parent.parent
RULES = pathlib.Path(os.environ.get("CONFORMANCE", ROOT.parent / "shared" / "conformance")) / "rules"
PUBLIC = ("falco_rules.yaml", "falco-incubating_rules.yaml", "falco-sandbox_rules.yaml")
PROGRAM = r"""
#define _GNU_SOURCE
#include <fcntl.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>
static double now(void) { struct timespec t; clock_gettime(CLOCK_MONOTONIC, &t); return (double)t.tv_sec + (double)t.tv_nsec / 1e9; }
static int order(const void *a, const void *b) { double d = *(const double *)a - *(const double *)b; return (d > 0) - (d < 0); }
int main(int argc, char **argv)
{
    cpu_set_t cpu;
    CPU_ZERO(&cpu);
    CPU_SET(0, &cpu);
    sched_setaffinity(0, sizeof cpu, &cpu);
    long count = atol(argv[2]);
    if (argc > 2 && strcmp(argv[1], "flood") == 0) {
        double start = now();
        for (long i = 0; i < count; i++) {
            close(open("/dev/null", O_RDONLY));
            if (i % (count / 100) == 0) {
                char one;
                int fd = open("/etc/shadow", O_RDONLY);
                if (read(fd, &one, 1) < 0)
                    return 1;
                close(fd);
            }
        }
        printf("%.3f\n", now() - start);
    } else {
        static double windows[20000];
        double whole = now();
        for (long w = 0; w < count; w++) {
            double start = now();
            for (int i = 0; i < 500; i++)
                syscall(SYS_getppid);
            windows[w] = (now() - start) / 500 * 1e9;
        }
        whole = (now() - whole) / (double)count / 500 * 1e9;
        qsort(windows, (size_t)count, sizeof *windows, order);
        printf("%.1f %.1f\n", windows[count / 10], whole);
    }
}
"""


def cpu_of_children() -> float:
    """Seconds that the children so far have used."""
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def watched(program: pathlib.Path, *arguments: object) -> tuple[str, str, str, float]:
    """What the program printed while falcolib watched; falcolib's alerts, what it said, and seconds of CPU it used once it was ready."""
    command = [sys.executable, "-m", "falcolib", "run", *(part for name in PUBLIC for part in ("-r", str(RULES / name)))]
    with tempfile.TemporaryFile("w+") as out:           # a pipe that nobody reads would stop it
        monitor = subprocess.Popen(command, stdout=out, stderr=subprocess.PIPE, text=True)
        assert monitor.stderr is not None
        while "Watching" not in (line := monitor.stderr.readline()):
            if not line:
                sys.exit("falcolib ended before it was ready")

        def used() -> float:
            fields = pathlib.Path(f"/proc/{monitor.pid}/stat").read_text().rpartition(")")[2].split()
            return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")

        before = used()
        printed = subprocess.run([program, *map(str, arguments)], check=True, capture_output=True, text=True).stdout
        seconds = used() - before
        monitor.send_signal(signal.SIGTERM)
        _, said = monitor.communicate()
        out.seek(0)
        return printed.strip(), out.read(), said, seconds


def main() -> None:
    """Prints both measurements."""
    with tempfile.TemporaryDirectory() as folder:
        program = pathlib.Path(folder) / "load"
        (program.parent / "load.c").write_text(PROGRAM)
        subprocess.run(["gcc", "-O2", "-o", program, program.parent / "load.c"], check=True)

        def alone(*arguments: object) -> str:
            return subprocess.run([program, *map(str, arguments)], check=True, capture_output=True, text=True).stdout.strip()

        print("a call that no rule needs (getppid), ns: 10th percentile of windows of 500 calls, and mean")
        for turn in range(3):
            print(f"  {turn + 1}: alone {alone('call', 4000)}, watched {watched(program, 'call', 4000)[0]}", flush=True)
        print("1,000,000 open+close and 100 reads of /etc/shadow, on one processor")
        for turn in range(2):
            before = alone("flood", 1_000_000)
            during, alerts, said, seconds = watched(program, "flood", 1_000_000)
            found = sum("Read sensitive file untrusted" in line and " load" in line for line in alerts.splitlines())
            lost = next((line for line in said.splitlines() if "lost by the kernel side" in line), "nothing lost")
            events = next((line for line in said.splitlines() if line.startswith("Events read")), "")
            print(f"  {turn + 1}: alone {before} s, watched {during} s, falcolib used {seconds:.2f} s of CPU; {found} alerts of 100; "
                  f"{lost}; {events}", flush=True)


if __name__ == "__main__":
    main()
