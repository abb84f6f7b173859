/* SPDX-License-Identifier: Apache-2.0
 *
 * What no usual program does by itself: the actions of test_live_actions.py that need a system call of their own.
 *
 *     live_actor traceme | attach | memfd PROGRAM | far COMMAND… | contact | packet | redirect | module
 */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <fcntl.h>
#include <net/if.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/ptrace.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#define FAR "198.51.100.7"      /* of a net that is for documentation: no machine has it */

static int fail(const char *what)
{
    perror(what);
    return 1;
}

static int attach(void)
{
    pid_t child = fork();

    if (child == 0) {
        pause();
        _exit(0);
    }
    long done = ptrace(PTRACE_ATTACH, child, NULL, NULL);
    kill(child, SIGKILL);
    return done ? fail("ptrace") : 0;
}

/* A program that is in memory only. */
static int run_from_memory(const char *program)
{
    static char buffer[1 << 16];
    int from = open(program, O_RDONLY | O_CLOEXEC), to = memfd_create("payload", MFD_CLOEXEC);
    ssize_t n;

    while ((n = read(from, buffer, sizeof buffer)) > 0)
        if (write(to, buffer, (size_t)n) != n)
            return fail("write");
    char *arguments[] = {"payload", NULL}, *environment[] = {NULL};
    fexecve(to, arguments, environment);
    return fail("fexecve");
}

/* A network of its own, in which somebody far away listens on port 443; then the command. */
static int far_away(char **command)
{
    struct ifreq request = {.ifr_name = "lo"};
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_addr.s_addr = inet_addr(FAR)};

    if (unshare(CLONE_NEWNET))
        return fail("unshare");
    int s = socket(AF_INET, SOCK_STREAM, 0);
    memcpy(&request.ifr_addr, &address, sizeof address);
    if (ioctl(s, SIOCSIFADDR, &request))
        return fail("address");
    request.ifr_flags = IFF_UP;
    if (ioctl(s, SIOCSIFFLAGS, &request))
        return fail("up");
    address.sin_port = htons(443);
    if (bind(s, (struct sockaddr *)&address, sizeof address) || listen(s, 5))
        return fail("listen");
    if (fork() == 0) {          /* hangs up on who calls */
        prctl(PR_SET_PDEATHSIG, SIGKILL);
        close(accept(s, NULL, NULL));
        _exit(0);
    }
    execvp(command[0], command);
    return fail(command[0]);
}

static int contact(void)
{
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_addr.s_addr = inet_addr(FAR), .sin_port = htons(443)};
    int s = socket(AF_INET, SOCK_STREAM, 0);

    return connect(s, (struct sockaddr *)&address, sizeof address) ? fail("connect") : 0;
}

static int redirect(void)
{
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK), .sin_port = htons(9)};
    int s = socket(AF_INET, SOCK_DGRAM, 0);

    if (connect(s, (struct sockaddr *)&address, sizeof address))
        return fail("connect");
    return dup2(s, 0) == 0 ? 0 : fail("dup2");
}

int main(int argc, char **argv)
{
    const char *action = argc > 1 ? argv[1] : "";

    if (strcmp(action, "traceme") == 0)
        return ptrace(PTRACE_TRACEME, 0, NULL, NULL) ? fail("ptrace") : 0;
    if (strcmp(action, "attach") == 0)
        return attach();
    if (strcmp(action, "memfd") == 0)
        return run_from_memory(argv[2]);
    if (strcmp(action, "far") == 0)
        return far_away(argv + 2);
    if (strcmp(action, "contact") == 0)
        return contact();
    if (strcmp(action, "packet") == 0)
        return socket(AF_PACKET, SOCK_RAW, 0) < 0 ? fail("socket") : 0;
    if (strcmp(action, "redirect") == 0)
        return redirect();
    if (strcmp(action, "module") == 0)          /* what it asks for is no module */
        return syscall(SYS_init_module, "", 0ul, "") == -1 ? 0 : 1;
    fprintf(stderr, "unknown action: %s\n", action);
    return 2;
}
