/* SPDX-License-Identifier: Apache-2.0
 *
 * Tracepoints by tracefs and perf_event_open(2).
 */
#include "tracefs.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/perf_event.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/syscall.h>
#include <unistd.h>

/* Since Linux 5.2: the headers that we are built with may be older. */
#ifndef SYS_fsopen
#define SYS_fsopen 430
#define SYS_fsconfig 431
#define SYS_fsmount 432
#endif
#define CLOEXEC 1u              /* FSOPEN_CLOEXEC, FSMOUNT_CLOEXEC */
#define CREATE 6u               /* FSCONFIG_CMD_CREATE */

static int mount_tracefs(void)
{
    int context = (int)syscall(SYS_fsopen, "tracefs", CLOEXEC), mount = -1;

    if (context >= 0) {
        if (!syscall(SYS_fsconfig, context, CREATE, NULL, NULL, 0))
            mount = (int)syscall(SYS_fsmount, context, CLOEXEC, 0);
        close(context);
    }
    return mount;
}

static int open_tracefs(void)
{
    static const char *const places[] = {"/sys/kernel/tracing", "/sys/kernel/debug/tracing"};

    for (unsigned i = 0; i < sizeof places / sizeof *places; i++) {
        int folder = open(places[i], O_RDONLY | O_DIRECTORY | O_CLOEXEC);
        if (folder >= 0 && faccessat(folder, "events", F_OK, 0) == 0)
            return folder;
        if (folder >= 0)
            close(folder);
    }
    return mount_tracefs();
}

/* The kernel's number of a tracepoint, or -1 */
static long number_of(const char *tracepoint)
{
    char path[128], text[32];
    long number = -1;
    int folder = open_tracefs();

    if (folder < 0)
        return -1;
    snprintf(path, sizeof path, "events/%s/id", tracepoint);
    int file = openat(folder, path, O_RDONLY | O_CLOEXEC);
    if (file >= 0) {
        ssize_t n = read(file, text, sizeof text - 1);
        if (n > 0) {
            text[n] = 0;
            number = strtol(text, NULL, 10);
        }
        close(file);
    }
    close(folder);
    return number;
}

int fl_tracefs_attach(const char *tracepoint, int program, struct fl_error *error)
{
    long number = number_of(tracepoint);
    struct perf_event_attr attr = {.type = PERF_TYPE_TRACEPOINT, .size = sizeof attr, .config = (unsigned long long)number};

    if (number < 0)
        return fl_fail(error, FL_ERR_PROBE, "the tracepoint %s: %s", tracepoint, strerror(errno));
    /* a program runs on every processor, whichever one its event is of */
    int event = (int)syscall(SYS_perf_event_open, &attr, -1, 0, -1, PERF_FLAG_FD_CLOEXEC);
    if (event >= 0 && !ioctl(event, PERF_EVENT_IOC_SET_BPF, program) && !ioctl(event, PERF_EVENT_IOC_ENABLE, 0))
        return event;
    fl_fail(error, FL_ERR_PROBE, "the kernel refuses to attach to %s: %s", tracepoint, strerror(errno));
    if (event >= 0)
        close(event);
    return FL_ERR_PROBE;
}
