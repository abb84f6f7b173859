/* SPDX-License-Identifier: Apache-2.0 */
#ifndef _GNU_SOURCE
#define _GNU_SOURCE      /* O_PATH, memmem */
#endif

#include "accounts.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/openat2.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "../base/map.h"

#define TEXT_MAX 1024u                  /* bytes of a name or path, as in a capture */
#define RACES_MAX 8                     /* the kernel asks for another try (EAGAIN) when folders were moved meanwhile */

/* ---- lines ---- */

/* The next field of a line. */
static struct fl_slice field(char **at)
{
    char *start = *at;
    size_t len = strcspn(start, ":\n");

    *at = start + len + (start[len] == ':');
    start[len] = '\0';
    return (struct fl_slice){start, (uint32_t)(len < TEXT_MAX ? len : TEXT_MAX)};
}

static bool number(struct fl_slice text, uint32_t *out)
{
    char *end;
    unsigned long value = strtoul(text.data, &end, 10);

    *out = (uint32_t)value;
    return text.len && text.data[0] >= '0' && text.data[0] <= '9' && !*end && value <= UINT32_MAX;
}

bool fl_account_of_line(char *line, bool users, struct fl_account *account)
{
    *account = (struct fl_account){.name = field(&line), .home = {"", 0}, .shell = {"", 0}};
    field(&line);                       /* the password */
    if (!account->name.len || account->name.data[0] == '#' || account->name.data[0] == '+' || account->name.data[0] == '-' ||
        !number(field(&line), &account->id))
        return false;
    if (!users)
        return true;
    if (!number(field(&line), &account->gid))
        return false;
    field(&line);                       /* the person's name */
    account->home = field(&line);
    account->shell = field(&line);
    return true;
}

uint32_t fl_accounts_of_text(char *text, size_t len, bool users, struct fl_account *out)
{
    char *end = text + len;
    struct fl_map known = {0};
    uint32_t n = 0;

    for (char *line = text, *next; line < end && n < FL_ACCOUNTS_MAX; line = next) {
        char *stop = memchr(line, '\n', (size_t)(end - line));
        next = stop ? stop + 1 : end;
        *(stop ? stop : end) = '\0';
        if (!fl_account_of_line(line, users, &out[n]) || fl_map_find(&known, out[n].id))
            continue;
        if (fl_map_set(&known, out[n].id, &out[n]) != 0)
            break;
        n++;
    }
    fl_map_clear(&known);
    return n;
}

/* ---- a container's files ---- */

/* A plain file below a folder that is somebody's root; -1 if there is none. Until it is known to be one it isn't opened: that alone rewinds a
 * tape, or starts a watchdog. */
static int open_below(int root, const char *path)
{
    struct open_how how = {.flags = O_PATH | O_CLOEXEC, .resolve = RESOLVE_IN_ROOT | RESOLVE_NO_MAGICLINKS};
    struct stat status;
    char name[40];
    long at = -1;
    int fd = -1;

    for (int i = 0; at < 0 && i < RACES_MAX; i++) {
        at = syscall(SYS_openat2, root, path, &how, sizeof how);
        if (at < 0 && errno != EAGAIN)
            break;
    }
    if (at < 0)
        return -1;
    snprintf(name, sizeof name, "/proc/self/fd/%ld", at);
    /* files of the kernel have no size: kmsg, trace_pipe and others of which to read takes something away */
    if (fstat((int)at, &status) == 0 && S_ISREG(status.st_mode) && status.st_size > 0)
        fd = open(name, O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY);
    close((int)at);
    return fd;
}

static size_t read_below(int root, const char *path, char *out, size_t size)
{
    int fd = open_below(root, path);
    size_t len = 0;
    ssize_t n;

    while (fd >= 0 && len < size && (n = read(fd, out + len, size - len)) > 0)
        len += (size_t)n;
    if (fd >= 0)
        close(fd);
    while (len == size && len && out[len - 1] != '\n')
        size = --len;           /* it goes on: without the line that is cut */
    return len;
}

/* A file of a process, whole if it is shorter than `size`, with a NUL behind it; its length, or -1. */
static ssize_t read_fact(int folder, const char *name, char *out, size_t size)
{
    int fd = openat(folder, name, O_RDONLY | O_CLOEXEC);
    size_t len = 0;
    ssize_t n = -1;

    while (fd >= 0 && len + 1 < size && (n = read(fd, out + len, size - 1 - len)) > 0)
        len += (size_t)n;
    if (fd >= 0)
        close(fd);
    out[len] = '\0';
    return n < 0 ? -1 : (ssize_t)len;
}

/* Whether a number of the process's user namespace is the same user for the machine: all are, from 0 on. */
static bool means_the_same(int folder, const char *map)
{
    char text[256];
    unsigned long long inside, outside, count;

    return read_fact(folder, map, text, sizeof text) > 0 && sscanf(text, "%llu %llu %llu", &inside, &outside, &count) == 3 && inside == 0 &&
           outside == 0 && count == UINT32_MAX;
}

/* The process's root if it is the container's own and not, as before its container is made, the machine's; -1 if it isn't. */
static int open_root(const char *machine, int folder, const char *container)
{
    char text[4096], path[300];
    struct stat own, machines;
    ssize_t len;
    int root = openat(folder, "root", O_PATH | O_DIRECTORY | O_CLOEXEC);

    snprintf(path, sizeof path, "%s/", machine);
    if (root >= 0 && fstat(root, &own) == 0 && stat(path, &machines) == 0 &&
        (own.st_dev != machines.st_dev || own.st_ino != machines.st_ino) &&
        (len = read_fact(folder, "cgroup", text, sizeof text)) > 0 && memmem(text, (size_t)len, container, strlen(container)) &&
        means_the_same(folder, "uid_map") && means_the_same(folder, "gid_map"))
        return root;
    if (root >= 0)
        close(root);
    return -1;
}

bool fl_accounts_read(const char *root, int64_t pid, const char *container, char *out, size_t size, size_t len[2])
{
    char path[300];

    /* all of it is looked at through one descriptor: if another process gets the number meanwhile, nothing is found */
    if ((size_t)snprintf(path, sizeof path, "%s/proc/%lld", root, (long long)pid) >= sizeof path)
        return false;
    int folder = open(path, O_PATH | O_DIRECTORY | O_CLOEXEC), own = folder < 0 ? -1 : open_root(root, folder, container);
    if (own >= 0) {
        len[0] = read_below(own, "etc/passwd", out, size);
        len[1] = read_below(own, "etc/group", out + len[0], size);
        close(own);
    }
    if (folder >= 0)
        close(folder);
    return own >= 0;
}
