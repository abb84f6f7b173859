/* SPDX-License-Identifier: Apache-2.0
 *
 * Threads and descriptors from the kernel's iterators (bpf/iterators.h), instead of the files of /proc: a fifth of the time. What they can't
 * tell is read from /proc still: the addresses of sockets, a command line that its process has rewritten.
 */
#include "proc.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/sysmacros.h>
#include <unistd.h>

#include "../bpf/probe.h"
#include "record.h"

#define BUFFER_BYTES (256u << 10)       /* an item is below 32 KiB, which the kernel gives at a time */
#define FIRST_PID_NAMESPACE 0xeffffffcu /* its inode */

enum {
#define TASK_TEXT(place, filler, whose) TASK_##filler,
#define TASK_NUMBER TASK_TEXT
#include "../bpf/task.def"
#undef TASK_TEXT
#undef TASK_NUMBER
    TASK_PARAMS
};

struct task {
    struct fl_scap_process p;
    uint64_t exe_flags;
    struct fl_slice command;
};

/* Takes what an iterator gives: the size of the first item of `len` bytes, 0 if it isn't whole yet, -1 if it is none. */
typedef long taker(struct fl_scan *scan, void *context, char *data, size_t len);

static int read_items(struct fl_scan *scan, int fd, taker *take, void *context, struct fl_error *error)
{
    char *buffer = malloc(BUFFER_BYTES);
    size_t len = 0;
    ssize_t n;

    if (!buffer)
        return fl_fail(error, FL_ERR_MEMORY, "out of memory");
    while ((n = read(fd, buffer + len, BUFFER_BYTES - len)) != 0) {
        long size = 0;
        size_t at = 0;
        if (n < 0 && (errno == EINTR || errno == EAGAIN))
            continue;
        if (n < 0)
            break;
        for (len += (size_t)n; (size = take(scan, context, buffer + at, len - at)) > 0; at += (size_t)size)
            ;
        if (size < 0 || len - at > BUFFER_BYTES / 2)
            break;
        memmove(buffer, buffer + at, len - at);
        len -= at;
    }
    int why = n < 0 ? errno : EPROTO;
    free(buffer);
    return n ? fl_fail(error, FL_ERR_SYSTEM, "an iterator of the kernel: %s", strerror(why)) : FL_OK;
}

static int open_folder(struct fl_scan *scan, int64_t pid)
{
    char name[24];

    snprintf(name, sizeof name, "%lld", (long long)pid);
    return openat(scan->proc, name, O_PATH | O_DIRECTORY | O_CLOEXEC);
}

/* ---- threads ---- */

/* Threads of which something could not be read, and that are read from /proc when the others are there; and the processes that were told. */
struct tasks {
    int64_t *rest;
    size_t count, room;
    struct fl_map told;
};

static void put_off(struct tasks *tasks, int64_t tid)
{
    if (tasks->count == tasks->room) {
        size_t room = tasks->room ? 2 * tasks->room : 64;
        int64_t *bigger = realloc(tasks->rest, room * sizeof *bigger);
        if (!bigger)
            return;
        tasks->rest = bigger;
        tasks->room = room;
    }
    tasks->rest[tasks->count++] = tid;
}

static struct fl_slice upto(struct fl_slice text, uint32_t most)
{
    return (struct fl_slice){text.data, text.len < most ? text.len : most};
}

/* A text of C, without its NUL. */
static struct fl_slice plain(struct fl_slice text) { return (struct fl_slice){text.data, (uint32_t)strnlen(text.data, text.len)}; }

static void rewritten_command(struct fl_scan *scan, struct task *task)
{
    int folder = open_folder(scan, task->p.pid);
    ssize_t len = folder < 0 ? -1 : fl_proc_read(folder, "cmdline", scan->command, sizeof scan->command - 1);

    if (len > 0)
        task->command = (struct fl_slice){scan->command, (uint32_t)len};
    if (folder >= 0)
        close(folder);
}

static long take_task(struct fl_scan *scan, void *context, char *data, size_t len)
{
    static const size_t values = sizeof(struct fl_probe_sample) + FL_RECORD_HEADER + 2 * TASK_PARAMS;
    struct fl_probe_sample sample;
    struct task task = {.exe_flags = 0};
    size_t at = values;

    if (len < sizeof sample)
        return 0;
    memcpy(&sample, data, sizeof sample);
    if (sample.record < values || sample.record > BUFFER_BYTES / 2)
        return -1;
    if (sample.record > len)
        return 0;
    fl_proc_clear(&task.p, 0);
#define TASK_VALUE(filler) \
    uint16_t filler##_len; \
    memcpy(&filler##_len, data + sizeof sample + FL_RECORD_HEADER + 2 * TASK_##filler, 2); \
    if (filler##_len > sample.record - at) \
        return -1; \
    const char *filler = data + at; \
    at += filler##_len;
#define TASK_TEXT(place, filler, whose) \
    TASK_VALUE(filler) \
    task.place = (struct fl_slice){filler, filler##_len};
#define TASK_NUMBER(place, filler, whose) \
    TASK_VALUE(filler) \
    uint64_t filler##_number = 0; \
    memcpy(&filler##_number, filler, filler##_len < 8 ? filler##_len : 8); \
    task.place = (__typeof__(task.place))filler##_number;
#include "../bpf/task.def"
#undef TASK_TEXT
#undef TASK_NUMBER
#undef TASK_VALUE
    struct fl_scap_process *p = &task.p;
    if (p->tid <= 0 || p->pid <= 0)
        return -1;
    if (sample.unread) {
        put_off(context, p->tid);
        return (long)sample.record;
    }
    p->flags = p->tid == p->pid ? 0 : FL_PROC_MEMBER;
    p->exe_writable = !!(task.exe_flags & FL_FLAG_execve_flags_EXE_WRITABLE);
    p->exe_upper_layer = !!(task.exe_flags & FL_FLAG_execve_flags_EXE_UPPER_LAYER);
    p->exe_lower_layer = !!(task.exe_flags & FL_FLAG_execve_flags_EXE_LOWER_LAYER);
    p->exe_from_memfd = !!(task.exe_flags & FL_FLAG_execve_flags_EXE_FROM_MEMFD);
    p->comm = plain(p->comm);
    p->exepath = upto(plain(p->exepath), FL_PROC_PATH);
    p->cwd = upto(p->cwd, FL_PROC_PATH);
    p->root = upto(p->root, FL_PROC_PATH);
    p->cgroups = upto(p->cgroups, FL_PROC_TEXT);
    if (task.command.len && task.command.len < FL_PROC_PATH + FL_PROC_TEXT && task.command.data[task.command.len - 1])
        rewritten_command(scan, &task);
    fl_proc_command(p, task.command);
    if (p->tid == p->pid) {
        scan->stats.processes++;
        fl_map_set(&((struct tasks *)context)->told, p->pid, scan);
    }
    scan->stats.iterated++;
    fl_proc_emit(scan, p);
    return (long)sample.record;
}

/* ---- descriptors ---- */

/* The process whose descriptors are being read: its folder is opened when it is needed. */
struct files {
    int64_t pid;
    int folder;
};

static int folder_of(struct fl_scan *scan, struct files *files, int64_t pid)
{
    if (files->pid != pid) {
        if (files->folder >= 0)
            close(files->folder);
        files->pid = pid;
        files->folder = open_folder(scan, pid);
    }
    return files->folder;
}

static long take_file(struct fl_scan *scan, void *context, char *data, size_t len)
{
    struct fl_probe_file f;
    struct fl_scap_item item = {.kind = FL_SCAP_FD, .fd = {.name = {"", 0}}};
    char number[16];

    if (len < sizeof f)
        return 0;
    memcpy(&f, data, sizeof f);
    if (f.len > BUFFER_BYTES / 2 || f.pid <= 0)
        return -1;
    if (len < sizeof f + f.len)
        return 0;
    if (f.len) {
        char *link = data + sizeof f;
        struct stat status = {.st_mode = f.mode, .st_nlink = f.links, .st_ino = f.ino, .st_dev = makedev(f.dev >> 20, f.dev & 0xfffff)};
        size_t name = strnlen(link, f.len - 1);
        item.fd.tid = f.pid;
        item.fd.fd = f.fd;
        item.fd.ino = f.ino;
        item.fd.open_flags = fl_proc_open_flags((f.flags & ~(uint32_t)O_CLOEXEC) | (f.close_on_exec ? (uint32_t)O_CLOEXEC : 0));
        if (name > FL_PROC_PATH + 32)
            name = FL_PROC_PATH + 32;
        link[name] = '\0';
        if (fl_proc_name_file(&item.fd, link, name, &status)) {
            snprintf(number, sizeof number, "%u", f.fd);
            fl_proc_name_socket(scan, folder_of(scan, context, f.pid), f.network, number, &item.fd);
        } else if (item.fd.type == FL_FD_FILE_V2 || item.fd.type == FL_FD_DIRECTORY) {
            item.fd.dev = (uint32_t)status.st_dev;
        }
        scan->stats.fds++;
        scan->stats.iterated_fds[item.fd.type]++;
        scan->sink(scan->context, &item);
    }
    return (long)(sizeof f + f.len);
}

/* ---- the interface ---- */

/* Iterators see the processes of the reader's own namespace: in another than the first, its numbers aren't those of events. */
bool fl_scan_may_iterate(void)
{
    struct stat status;

    return stat("/proc/self/ns/pid", &status) == 0 && status.st_ino == FIRST_PID_NAMESPACE;
}

int fl_scan_iterate(struct fl_scan *scan, int tasks_fd, int files_fd, bool (*known)(void *context, int64_t pid), struct fl_error *error)
{
    struct tasks tasks = {0};
    struct files files = {.pid = -1, .folder = -1};
    int rc = read_items(scan, tasks_fd, take_task, &tasks, error);

    if (rc == FL_OK)
        rc = read_items(scan, files_fd, take_file, &files, error);
    if (files.folder >= 0)
        close(files.folder);
    for (size_t i = 0; i < tasks.count && rc == FL_OK; i++)
        scan->stats.gone += !fl_scan_thread(scan, tasks.rest[i], known);
    if (rc == FL_OK)
        fl_proc_others(scan, &tasks.told);
    free(tasks.rest);
    fl_map_clear(&tasks.told);
    fl_proc_forget(scan);
    return rc;
}
