/* SPDX-License-Identifier: Apache-2.0
 *
 * Descriptors, from /proc (spec: engine.md G3, H6).
 */
#include "proc.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/sysmacros.h>
#include <sys/xattr.h>
#include <unistd.h>

/* open()'s flags as events have them. */
uint32_t fl_proc_open_flags(uint64_t flags)
{
/* pasted here, where the name isn't yet the C library's number */
#define BIT(name) {name, FL_FLAG_file_flags_##name}
#define OTHER_BIT(bit, name) {bit, FL_FLAG_file_flags_##name}
#define ACCESS(name) FL_FLAG_file_flags_##name
    static const struct { uint64_t bit; uint32_t flag; } bits[] = {
        BIT(O_CREAT), BIT(O_APPEND), BIT(O_DSYNC), BIT(O_EXCL), BIT(O_NONBLOCK), BIT(O_TRUNC), BIT(O_DIRECT), BIT(O_DIRECTORY),
        BIT(O_CLOEXEC), OTHER_BIT(O_SYNC & ~O_DSYNC, O_SYNC), OTHER_BIT(0100000, O_LARGEFILE), OTHER_BIT(O_TMPFILE & ~O_DIRECTORY, O_TMPFILE),
    };
    static const uint32_t access[] = {ACCESS(O_RDONLY), ACCESS(O_WRONLY), ACCESS(O_RDWR), ACCESS(O_NONE)};
    uint32_t out = access[flags & O_ACCMODE];

    for (size_t i = 0; i < sizeof bits / sizeof *bits; i++) {
        if (flags & bits[i].bit)
            out |= bits[i].flag;
    }
    return out;
}

/* What fdinfo tells of any descriptor. */
struct info {
    uint64_t flags, mount, ino;
};

static bool read_info(int folder, const char *number, struct info *info)
{
    char name[32], text[512], *at;

    *info = (struct info){0};
    snprintf(name, sizeof name, "fdinfo/%s", number);
    if (fl_proc_read(folder, name, text, sizeof text - 1) <= 0)
        return false;
    if ((at = strstr(text, "flags:")))
        info->flags = strtoull(at + 6, NULL, 8);
    if ((at = strstr(text, "mnt_id:")))
        info->mount = strtoull(at + 7, NULL, 10);
    if ((at = strstr(text, "\nino:")))
        info->ino = strtoull(at + 5, NULL, 10);
    return true;
}

/* Learns the devices of the mounts that a process sees. */
static void read_mounts(struct fl_scan *scan, int folder)
{
    unsigned long long id;
    unsigned major, minor;

    if (fl_proc_read_all(folder, "mountinfo", scan->file, FL_PROC_FILE) <= 0)
        return;
    for (const char *at = scan->file; at; at = strchr(at, '\n') ? strchr(at, '\n') + 1 : NULL) {
        if (sscanf(at, "%llu %*u %u:%u", &id, &major, &minor) == 3 && scan->mounts.count < 1u << 20)
            fl_map_set(&scan->mounts, (int64_t)id, (void *)(uintptr_t)((uint32_t)makedev(major, minor) + 1ull));
    }
}

/* The device of a mount's file system, which is what events tell; stat's differs for overlays and subvolumes. `read` is set once a process's
 * mounts have been looked through. */
static uint32_t device(struct fl_scan *scan, int folder, uint64_t mount, const struct stat *status, bool *read)
{
    void *found = fl_map_find(&scan->mounts, (int64_t)mount);

    if (!found && !*read) {
        *read = true;
        read_mounts(scan, folder);
        found = fl_map_find(&scan->mounts, (int64_t)mount);
    }
    return found ? (uint32_t)((uintptr_t)found - 1) : (uint32_t)status->st_dev;
}

static const struct { const char *name; uint8_t type; } anonymous[] = {
    {"[eventfd]", FL_FD_EVENT}, {"[eventpoll]", FL_FD_EVENTPOLL}, {"[signalfd]", FL_FD_SIGNALFD}, {"[timerfd]", FL_FD_TIMERFD},
    {"inotify", FL_FD_INOTIFY}, {"[userfaultfd]", FL_FD_USERFAULTFD}, {"[io_uring]", FL_FD_IOURING}, {"[pidfd]", FL_FD_PIDFD},
    {"bpf-", FL_FD_BPF}, {"bpf_", FL_FD_BPF}, {"btf", FL_FD_BPF}, {"[bpf", FL_FD_BPF},
};

static uint8_t anonymous_type(const char *name)
{
    for (size_t i = 0; i < sizeof anonymous / sizeof *anonymous; i++) {
        if (strncmp(name, anonymous[i].name, strlen(anonymous[i].name)) == 0)
            return anonymous[i].type;
    }
    return FL_FD_UNSUPPORTED;
}

/* A socket that no table has: not bound, or of a rare family. The socket file system tells its protocol. */
static void unlisted_socket(int folder, const char *number, struct fl_scap_fd *fd)
{
    static const struct { const char *name; uint8_t type, l4; } protocols[] = {
        {"TCP", FL_FD_IPV4_SOCK, 2}, {"UDP", FL_FD_IPV4_SOCK, 3}, {"TCPv6", FL_FD_IPV6_SOCK, 2}, {"UDPv6", FL_FD_IPV6_SOCK, 3},
        {"UDP-Lite", FL_FD_IPV4_SOCK, 3}, {"MPTCP", FL_FD_IPV4_SOCK, 2}, {"MPTCPv6", FL_FD_IPV6_SOCK, 2}, {"RAW", FL_FD_IPV4_SOCK, 5},
        {"RAWv6", FL_FD_IPV6_SOCK, 5}, {"PING", FL_FD_IPV4_SOCK, 4}, {"PINGv6", FL_FD_IPV6_SOCK, 4}, {"UNIX", FL_FD_UNIX_SOCK, 0},
        {"UNIX-STREAM", FL_FD_UNIX_SOCK, 0}, {"NETLINK", FL_FD_NETLINK, 0},
    };
    char path[48], name[32];

    /* there is no getxattrat() in C libraries yet */
    snprintf(path, sizeof path, "/proc/self/fd/%d/fd/%s", folder, number);
    ssize_t len = getxattr(path, "system.sockprotoname", name, sizeof name - 1);
    fd->type = FL_FD_UNKNOWN;
    if (len <= 0)
        return;
    name[len] = '\0';
    for (size_t i = 0; i < sizeof protocols / sizeof *protocols; i++) {
        if (strcmp(name, protocols[i].name) == 0) {
            fd->type = protocols[i].type;
            fd->l4 = protocols[i].l4;
        }
    }
}

/* The number in "socket:[123]". */
static uint64_t number_in(const char *link) { return strtoull(strchr(link, '[') + 1, NULL, 10); }

static bool begins(const char *text, const char *with) { return strncmp(text, with, strlen(with)) == 0; }

bool fl_proc_name_file(struct fl_scap_fd *fd, char *link, size_t len, const struct stat *status)
{
    static const char anon[] = "anon_inode:", memfd[] = "/memfd:";

    if (begins(link, "socket:[")) {
        fd->ino = number_in(link);
        return true;
    }
    if (begins(link, "pipe:[")) {
        fd->ino = number_in(link);
        fd->type = FL_FD_FIFO;
        fd->name = (struct fl_slice){link, (uint32_t)len};
    } else if (begins(link, anon)) {
        fd->type = anonymous_type(link + sizeof anon - 1);
    } else if (link[0] != '/') {        /* a namespace, a dma buffer: files without a path */
        fd->type = FL_FD_UNSUPPORTED;
    } else if (!status) {
        fd->type = FL_FD_UNKNOWN;
    } else {
        len = fl_proc_live_name(link, len, status);
        fd->ino = status->st_ino;
        fd->name = (struct fl_slice){link, (uint32_t)len};
        fd->type = S_ISDIR(status->st_mode) ? FL_FD_DIRECTORY : S_ISFIFO(status->st_mode) ? FL_FD_FIFO : FL_FD_FILE_V2;
        if (!status->st_nlink && begins(link, memfd)) {         /* its name as the call gave it, as in an event */
            fd->type = FL_FD_MEMFD;
            fd->name = (struct fl_slice){link + sizeof memfd - 1, (uint32_t)(len - (sizeof memfd - 1))};
        }
    }
    return false;
}

void fl_proc_name_socket(struct fl_scan *scan, int folder, uint64_t network, const char *number, struct fl_scap_fd *fd)
{
    const struct fl_sockets *sockets = fl_proc_sockets(scan, folder, network);

    if (!sockets || !fl_sockets_find(sockets, fd->ino, fd))
        unlisted_socket(folder, number, fd);
}

/* Fills in what the link of a descriptor says. False if it is gone. */
static bool describe(struct fl_scan *scan, int folder, const char *number, struct fl_scap_fd *fd, const struct info *info, bool *mounts_read)
{
    char name[32], *link = scan->link;
    struct stat status;

    snprintf(name, sizeof name, "fd/%s", number);
    ssize_t len = fl_proc_link(folder, name, link);
    if (len < 0)
        return false;
    fd->ino = info->ino;
    bool seen = link[0] == '/' && fstatat(folder, name, &status, 0) == 0;
    if (link[0] == '/' && !seen && (errno == ENOENT || errno == ESRCH))
        return false;
    if (fl_proc_name_file(fd, link, (size_t)len, seen ? &status : NULL))
        fl_proc_name_socket(scan, folder, fl_proc_namespace(folder, "ns/net"), number, fd);
    else if (fd->type == FL_FD_FILE_V2 || fd->type == FL_FD_DIRECTORY)
        fd->dev = device(scan, folder, info->mount, &status, mounts_read);
    return true;
}

bool fl_proc_fd(struct fl_scan *scan, int folder, int64_t tid, const char *number, bool *mounts_read)
{
    struct fl_scap_item item = {.kind = FL_SCAP_FD, .fd = {.tid = tid, .name = {"", 0}}};
    struct info info;

    if (number[0] < '0' || number[0] > '9' || strlen(number) > 10)
        return false;
    item.fd.fd = strtoll(number, NULL, 10);
    if (!read_info(folder, number, &info) || !describe(scan, folder, number, &item.fd, &info, mounts_read))
        return false;
    item.fd.open_flags = fl_proc_open_flags(info.flags);
    scan->stats.fds++;
    scan->sink(scan->context, &item);
    return true;
}

void fl_proc_fds(struct fl_scan *scan, int folder, int64_t tid)
{
    int copy = openat(folder, "fd", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    DIR *dir = copy < 0 ? NULL : fdopendir(copy);
    struct dirent *entry;
    bool mounts_read = false;

    if (!dir) {
        scan->stats.refused += errno == EACCES || errno == EPERM;
        if (copy >= 0)
            close(copy);
        return;
    }
    for (uint32_t told = 0; told <= scan->fds_limit && (entry = readdir(dir));)
        told += fl_proc_fd(scan, folder, tid, entry->d_name, &mounts_read);
    closedir(dir);
}
