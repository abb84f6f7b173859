# SPDX-License-Identifier: Apache-2.0
"""What watching a machine costs: system calls by class, with and without `falcolib run` and the public rules; and a flood of 1 million
open+close on one processor, with 100 reads of /etc/shadow strewn in. Needs root, gcc, and $CONFORMANCE for the rules.

Falco 0.44.1 on the same kind of machine, with default buffers: 904,000 of 2 million events lost, the flood slowed from 2.3 to 3.5 s, 5.4
seconds of CPU; the classes of calls are in CLASSES.
"""

import os
import pathlib
import signal
import subprocess
import sys
import tempfile

ROOT = pathlib.Path(__file__).resolve().parent.parent
RULES = pathlib.Path(os.environ.get("CONFORMANCE", ROOT.parent / "shared" / "conformance")) / "rules"
PUBLIC = ("falco_rules.yaml", "falco-incubating_rules.yaml", "falco-sandbox_rules.yaml")
#: Classes of calls: how many windows, and ns without and with Falco 0.44.1 on the same kind of machine (spec: performance.md 1).
CLASSES = {"getppid": (4000, "+105"), "openat+close": (2000, "2112 → 3501"), "read+write": (4000, "433 → 663"),
           "exec: vfork, exec, wait": (2000, "540,000 → 616,000")}
PROGRAM = r"""
#define _GNU_SOURCE
#include <fcntl.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>
static double now(void) { struct timespec t; clock_gettime(CLOCK_MONOTONIC, &t); return (double)t.tv_sec + (double)t.tv_nsec / 1e9; }
static int order(const void *a, const void *b) { double d = *(const double *)a - *(const double *)b; return (d > 0) - (d < 0); }
static int work(const char *class)
{
    static int null = -1, zero = -1;
    char some[64] = "";
    if (null < 0 && ((null = open("/dev/null", O_WRONLY)) < 0 || (zero = open("/dev/zero", O_RDONLY)) < 0))
        return -1;
    switch (class[0]) {
    case 'g':
        return (int)syscall(SYS_getppid);
    case 'o':
        return close(open("/dev/null", O_RDONLY));
    case 'r':
        return read(zero, some, sizeof some) == write(null, some, sizeof some) ? 0 : -1;
    default: {
        pid_t child = vfork();
        if (child == 0) {
            execl("/bin/true", "true", (char *)0);
            _exit(1);
        }
        int status;
        return waitpid(child, &status, 0) == child && status == 0 ? 0 : -1;
    }
    }
}
static int measure(const char *class, long count)
{
    static double windows[20000];
    double whole = now();
    int each = class[0] == 'e' ? 1 : 500;
    for (long w = 0; w < count; w++) {
        double start = now();
        for (int i = 0; i < each; i++)
            if (work(class) < 0)
                return 1;
        windows[w] = (now() - start) / each * 1e9;
    }
    whole = (now() - whole) / (double)count / each * 1e9;
    qsort(windows, (size_t)count, sizeof *windows, order);
    printf("%.1f %.1f\n", windows[count / 10], whole);
    fflush(stdout);
    return 0;
}
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
    } else if (count) {
        return measure(argv[1], count);
    } else {                    /* a turn for each line */
        char line[32];
        while (fgets(line, sizeof line, stdin))
            if (measure(argv[1], atol(line)))
                return 1;
    }
}
"""


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


def build(folder: pathlib.Path) -> pathlib.Path:
    """The program that makes the calls."""
    program = folder / "load"
    (folder / "load.c").write_text(PROGRAM)
    subprocess.run(["gcc", "-O2", "-o", program, folder / "load.c"], check=True)
    return program


def main() -> None:
    """Prints both measurements."""
    with tempfile.TemporaryDirectory() as folder:
        program = build(pathlib.Path(folder))

        def alone(*arguments: object) -> str:
            return subprocess.run([program, *map(str, arguments)], check=True, capture_output=True, text=True).stdout.strip()

        print("ns a call: 10th percentile of windows of 500 calls (exec: of one), and mean")
        for name, (windows, falco) in CLASSES.items():
            for _ in range(3):
                before, during = alone(name, windows), watched(program, name, windows)[0]
                added = [float(b) - float(a) for a, b in zip(before.split(), during.split(), strict=True)]
                print(f"  {name}: alone {before}, watched {during}, added {added[0]:.0f} {added[1]:.0f}; Falco: {falco}", flush=True)
        print("1,000,000 open+close and 100 reads of /etc/shadow, on one processor")
        for turn in range(2):
            before = alone("flood", 1_000_000)
            during, alerts, said, seconds = watched(program, "flood", 1_000_000)
            found = sum("Sensitive file opened for reading" in line and "process=load " in line for line in alerts.splitlines())
            lost = next((line for line in said.splitlines() if "lost by the kernel side" in line), "nothing lost")
            events = next((line for line in said.splitlines() if line.startswith("Events read")), "")
            print(f"  {turn + 1}: alone {before} s, watched {during} s, falcolib used {seconds:.2f} s of CPU; {found} alerts of 100; "
                  f"{lost}; {events}", flush=True)


if __name__ == "__main__":
    main()
