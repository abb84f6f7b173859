/* SPDX-License-Identifier: Apache-2.0
 *
 * What /proc tells of one process or thread.
 */
#include "proc.h"

#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/resource.h>
#include <sys/statfs.h>
#include <sys/statvfs.h>
#include <unistd.h>

#define CAP_DAC_OVERRIDE (1ull << 1)

static struct fl_slice slice(const char *data, size_t len)
{
    return (struct fl_slice){data, (uint32_t)len};
}

/* ---- status, stat ---- */

/* The value of a line of status, behind the tab; NULL if there is none. */
static const char *line_of(const char *status, const char *name)
{
    size_t len = strlen(name);

    for (const char *at = status; at; at = strchr(at, '\n') ? strchr(at, '\n') + 1 : NULL) {
        if (strncmp(at, name, len) == 0 && at[len] == ':')
            return at + len + 1;
    }
    return NULL;
}

/* The number in a column of a line (0: the first). False if the line is shorter. */
static bool column(const char *line, unsigned number, int base, uint64_t *out)
{
    for (; line; number--) {
        char *end;
        line += strspn(line, " \t");
        uint64_t value = strtoull(line, &end, base);
        if (end == line)
            return false;
        if (!number) {
            *out = value;
            return true;
        }
        line = end;
    }
    return false;
}

/* The last number of a line, and how many there are. */
static unsigned last_column(const char *line, uint64_t *out)
{
    unsigned n = 0;

    while (column(line, n, 10, out))
        n++;
    return n;
}

/* The kernel writes a line feed as \n and a backslash as two. */
static size_t unescape(char *out, size_t size, const char *from)
{
    size_t len = 0;

    from += strspn(from, "\t");
    while (*from && *from != '\n' && len < size) {
        if (from[0] == '\\' && (from[1] == 'n' || from[1] == '\\')) {
            out[len++] = from[1] == 'n' ? '\n' : '\\';
            from += 2;
        } else {
            out[len++] = *from++;
        }
    }
    return len;
}

#define STATUS_LINE 1024u       /* bytes of a line of status that are looked at */

/* Cuts lines that are longer. What is appended to the last one is cut by the next call. */
static size_t shorten(char *text, size_t len)
{
    size_t to = 0, column = 0;

    for (size_t at = 0; at < len; at++) {
        if (text[at] == '\n')
            column = 0;
        else if (column++ >= STATUS_LINE)
            continue;
        text[to++] = text[at];
    }
    return to;
}

/* Reads status whole: a process may be in 65,536 groups, whose line is longer than the buffer, and stands in front of most others. */
static bool read_status(struct fl_scan *scan, int folder)
{
    int fd = openat(folder, "status", O_RDONLY | O_CLOEXEC);
    ssize_t n = fd < 0 ? -1 : read(fd, scan->file, FL_PROC_FILE);
    size_t len = n > 0 ? (size_t)n : 0;

    while (n > 0 && len == FL_PROC_FILE && (len = shorten(scan->file, len)) < FL_PROC_FILE) {
        while (len < FL_PROC_FILE && (n = read(fd, scan->file + len, FL_PROC_FILE - len)) > 0)
            len += (size_t)n;
    }
    if (fd >= 0)
        close(fd);
    scan->file[len < FL_PROC_FILE ? len : FL_PROC_FILE] = '\0';
    return len > 0;
}

bool fl_proc_status(struct fl_scan *scan, int folder, struct fl_scap_process *p, struct fl_rights *rights, unsigned *threads)
{
    uint64_t v;
    const char *line;

    if (!read_status(scan, folder))
        return false;
    const char *status = scan->file;
    if (!(line = line_of(status, "Tgid")) || !column(line, 0, 10, &v))
        return false;
    p->pid = (int64_t)v;
    if ((line = line_of(status, "Name")))
        p->comm = slice(scan->comm, unescape(scan->comm, sizeof scan->comm, line));
    if (column(line_of(status, "PPid"), 0, 10, &v))
        p->ptid = (int64_t)v;
    line = line_of(status, "Uid");
    if (column(line, 1, 10, &v))
        p->uid = (uint32_t)v;
    rights->fsuid = column(line, 3, 10, &v) ? (uint32_t)v : UINT32_MAX;
    line = line_of(status, "Gid");
    if (column(line, 1, 10, &v))
        p->gid = (uint32_t)v;
    rights->fsgid = column(line, 3, 10, &v) ? (uint32_t)v : UINT32_MAX;
    line = line_of(status, "Groups");
    for (rights->ngroups = 0; rights->ngroups < 64 && line; rights->ngroups++) {
        line += strspn(line, " \t");
        char *end;
        rights->groups[rights->ngroups] = (uint32_t)strtoul(line, &end, 10);
        if (end == line)
            break;
        line = end;
    }
    *threads = column(line_of(status, "Threads"), 0, 10, &v) ? (unsigned)v : 1;
    /* seen from the outermost namespace to its own */
    p->vtid = last_column(line_of(status, "NSpid"), &v) > 1 ? (int64_t)v : p->tid;
    p->vpid = last_column(line_of(status, "NStgid"), &v) > 1 ? (int64_t)v : p->pid;
    if (last_column(line_of(status, "NSpgid"), &v))
        p->vpgid = (int64_t)v;
    if (column(line_of(status, "VmSize"), 0, 10, &v))
        p->vmsize_kb = (uint32_t)v;
    if (column(line_of(status, "VmRSS"), 0, 10, &v))
        p->vmrss_kb = (uint32_t)v;
    if (column(line_of(status, "VmSwap"), 0, 10, &v))
        p->vmswap_kb = (uint32_t)v;
    column(line_of(status, "CapInh"), 0, 16, &p->cap_inheritable);
    column(line_of(status, "CapPrm"), 0, 16, &p->cap_permitted);
    column(line_of(status, "CapEff"), 0, 16, &p->cap_effective);
    return true;
}

/* When a process started, from the numbers of its stat that begin behind the name: the name may hold anything, ")" too. */
static uint64_t started(const struct fl_scan *scan, const char *stat)
{
    const char *at = strrchr(stat, ')');
    uint64_t ticks;

    return at && at[1] && at[2] && column(at + 3, 18, 10, &ticks) ? scan->boot_ts + ticks * scan->tick : 0;
}

bool fl_proc_stat(struct fl_scan *scan, int folder, struct fl_scap_process *p)
{
    char stat[1024];
    ssize_t len = fl_proc_read(folder, "stat", stat, sizeof stat - 1);
    const char *at = len > 0 ? strrchr(stat, ')') : NULL;
    uint64_t v;

    if (!at || !at[1] || !at[2])
        return false;
    /* behind the name and the state: ppid pgrp session tty tpgid flags minflt cminflt majflt */
    at += 3;
    if (column(at, 1, 10, &v))
        p->pgid = (int64_t)v;
    if (column(at, 2, 10, &v))
        p->sid = (int64_t)v;
    if (column(at, 3, 10, &v))
        p->tty = (uint32_t)v;
    column(at, 6, 10, &p->pfminor);
    column(at, 8, 10, &p->pfmajor);
    p->clone_ts = started(scan, stat);
    return true;
}

/* ---- the rest of a process ---- */

static bool may_write(const struct fl_scap_process *p, const struct fl_rights *rights, const struct stat *program)
{
    if (p->cap_effective & CAP_DAC_OVERRIDE)
        return true;
    if (program->st_uid == rights->fsuid)
        return program->st_mode & S_IWUSR;
    bool group = program->st_gid == rights->fsgid;
    for (unsigned i = 0; i < rights->ngroups && !group; i++)
        group = rights->groups[i] == program->st_gid;
    return program->st_mode & (group ? S_IWGRP : S_IWOTH);
}

#define OVERLAY_MAGIC 0x794c7630

/* What the program's file system says: it may be read-only. Of an overlay whether the file is in its upper layer, the container's own:
 * mountinfo names the folder of that. */
static void find_layer(struct fl_scan *scan, int folder, struct fl_scap_process *p)
{
    char path[2 * FL_PROC_PATH], point[FL_PROC_PATH], *at, *next;
    size_t best = 0;
    struct statfs fs;
    struct stat upper;
    int exe = openat(folder, "exe", O_PATH | O_CLOEXEC);

    if (exe < 0)
        return;
    bool known = fstatfs(exe, &fs) == 0, overlay = known && fs.f_type == OVERLAY_MAGIC;
    close(exe);
    if (known && fs.f_flags & ST_RDONLY)        /* nobody may write there */
        p->exe_writable = 0;
    if (!overlay || fl_proc_read_all(folder, "mountinfo", scan->file, FL_PROC_FILE) <= 0)
        return;
    path[0] = '\0';
    for (at = scan->file; *at; at = next) {
        next = at + strcspn(at, "\n");
        if (*next)
            *next++ = '\0';
        char *type = strstr(at, " - overlay "), *layer = type ? strstr(type, "upperdir=") : NULL;
        if (!type || sscanf(at, "%*s %*s %*s %*s %1023s", point) != 1)
            continue;
        size_t len = strcmp(point, "/") == 0 ? 0 : strlen(point);
        if (strncmp(p->exepath.data, point, len) != 0 || p->exepath.data[len] != '/' || (len < best && best))
            continue;
        best = len;
        path[0] = '\0';
        if (layer)
            snprintf(path, sizeof path, "%s%.*s%s", scan->root, (int)strcspn(layer + 9, ", "), layer + 9, p->exepath.data + len);
    }
    p->exe_upper_layer = path[0] && lstat(path, &upper) == 0 && S_ISREG(upper.st_mode);
    if (path[0] && !p->exe_upper_layer) {       /* not told where the folder itself can't be seen from here */
        path[strlen(path) - strlen(p->exepath.data + best)] = '\0';
        p->exe_lower_layer = lstat(path, &upper) == 0;
    }
}

static void read_program(struct fl_scan *scan, int folder, struct fl_scap_process *p, const struct fl_rights *rights)
{
    static const char memfd[] = "/memfd:";
    struct stat program;
    ssize_t len = fl_proc_link(folder, "exe", scan->exe);
    bool there = len > 0 && fstatat(folder, "exe", &program, 0) == 0;

    if (len <= 0)
        return;
    p->exepath = slice(scan->exe, fl_proc_live_name(scan->exe, (size_t)len, there ? &program : NULL));
    if (!there)
        return;
    p->exe_from_memfd = !program.st_nlink && strncmp(scan->exe, memfd, sizeof memfd - 1) == 0;
    p->exe_writable = may_write(p, rights, &program);
    p->exe_ino = program.st_ino;
    p->exe_ino_ctime = fl_proc_ns(program.st_ctim);
    p->exe_ino_mtime = fl_proc_ns(program.st_mtim);
    if (program.st_nlink)
        find_layer(scan, folder, p);
}

void fl_proc_command(struct fl_scap_process *p, struct fl_slice command)
{
    size_t name = strnlen(command.data, command.len);

    p->exe = p->comm;
    if (!command.len)
        return;
    p->exe = slice(command.data, name < FL_PROC_PATH ? name : FL_PROC_PATH);
    if (++name < command.len) {
        size_t rest = command.len - name;
        p->args = slice(command.data + name, rest < FL_PROC_TEXT ? rest : FL_PROC_TEXT);
    }
}

static void read_command(struct fl_scan *scan, int folder, struct fl_scap_process *p)
{
    ssize_t len = fl_proc_read(folder, "cmdline", scan->command, sizeof scan->command - 1);

    fl_proc_command(p, slice(scan->command, len > 0 ? (size_t)len : 0));
}

/* Appends "subsystem=path" and a NUL; false if there is no room. */
static bool put_cgroup(char *out, size_t *len, const char *subsystem, size_t n, const char *path, size_t m)
{
    if (*len + n + m + 2 > FL_PROC_TEXT)
        return false;
    memcpy(out + *len, subsystem, n);
    out[*len + n] = '=';
    memcpy(out + *len + n + 1, path, m);
    *len += n + m + 2;
    out[*len - 1] = '\0';
    return true;
}

/* The subsystems that the kernel side tells too. Version 2 has one path for all that version 1 doesn't manage. */
void fl_proc_cgroups(struct fl_scan *scan, int folder, struct fl_scap_process *p)
{
    static const char *const subsystems[] = {"cpuset", "cpu", "cpuacct", "blkio", "memory"};
    const char *paths[5] = {0}, *unified = NULL;
    size_t lens[5] = {0}, unified_len = 0, len = 0;

    if (fl_proc_read(folder, "cgroup", scan->file, FL_PROC_FILE) <= 0)
        return;
    for (const char *at = scan->file; *at;) {       /* id:subsystems:path; a path may hold colons */
        const char *end = at + strcspn(at, "\n"), *names = memchr(at, ':', (size_t)(end - at));
        const char *path = names ? memchr(names + 1, ':', (size_t)(end - names - 1)) : NULL;
        if (path) {
            names++;
            if (names == path) {
                unified = path + 1;
                unified_len = (size_t)(end - path - 1);
            }
            for (const char *name = names; name < path;) {
                size_t n = strcspn(name, ",:");
                for (unsigned i = 0; i < 5; i++) {
                    if (n == strlen(subsystems[i]) && memcmp(name, subsystems[i], n) == 0) {
                        paths[i] = path + 1;
                        lens[i] = (size_t)(end - path - 1);
                    }
                }
                name += n + 1;
            }
        }
        at = *end ? end + 1 : end;
    }
    for (unsigned i = 0; i < 5; i++) {
        if (paths[i])
            put_cgroup(scan->cgroups, &len, subsystems[i], strlen(subsystems[i]), paths[i], lens[i]);
        else if (unified)
            put_cgroup(scan->cgroups, &len, subsystems[i], strlen(subsystems[i]), unified, unified_len);
    }
    p->cgroups = slice(scan->cgroups, len);
}

static void read_limits(struct fl_scan *scan, int folder, struct fl_scap_process *p)
{
    static const char name[] = "Max open files";
    struct rlimit limit;

    /* numbers of this /proc are numbers of this process's namespace only if it is this one's */
    if (!scan->root[0] && prlimit((pid_t)p->pid, RLIMIT_NOFILE, NULL, &limit) == 0) {
        p->fdlimit = (int64_t)limit.rlim_cur;
        return;
    }
    if (fl_proc_read(folder, "limits", scan->file, FL_PROC_FILE) <= 0)
        return;
    const char *line = strstr(scan->file, name);
    uint64_t v;
    if (column(line ? line + sizeof name - 1 : NULL, 0, 10, &v))
        p->fdlimit = (int64_t)v;
}

#define PROC_MAGIC 0x9fa0

/* When process 1 of a process's own /proc started. What is mounted there is up to that process: it may be a device, which opening would set to
 * work, or a FIFO, which would keep us waiting. So it is opened only once it is known to be of a proc file system, and reading doesn't wait. */
static uint64_t init_started(const struct fl_scan *scan, int folder)
{
    char path[32], stat[1024];
    struct statfs fs;
    ssize_t len = -1;
    int found = openat(folder, "root/proc/1/stat", O_PATH | O_NOFOLLOW | O_CLOEXEC);

    if (found < 0)
        return 0;
    if (fstatfs(found, &fs) == 0 && fs.f_type == PROC_MAGIC) {
        snprintf(path, sizeof path, "/proc/self/fd/%d", found);
        int fd = open(path, O_RDONLY | O_NONBLOCK | O_CLOEXEC);
        len = fd < 0 ? -1 : read(fd, stat, sizeof stat - 1);
        if (fd >= 0)
            close(fd);
    }
    close(found);
    if (len <= 0)
        return 0;
    stat[len] = '\0';
    return started(scan, stat);
}

/* When the first process of the PID namespace started: of the machine's own, the boot. */
static uint64_t namespace_start(struct fl_scan *scan, int folder, const struct fl_scap_process *p)
{
    if (p->vtid == p->tid)
        return scan->boot_ts;
    int64_t ns = (int64_t)fl_proc_namespace(folder, "ns/pid");
    struct fl_when *when = ns ? fl_map_find(&scan->pid_namespaces, ns) : NULL;
    if (!when && ns && (when = calloc(1, sizeof *when))) {
        when->ts = p->vpid == 1 ? p->clone_ts : init_started(scan, folder);
        if (fl_map_set(&scan->pid_namespaces, ns, when) != 0) {
            free(when);
            return 0;
        }
    }
    return when ? when->ts : 0;
}

void fl_proc_clear(struct fl_scap_process *p, int64_t tid)
{
    *p = (struct fl_scap_process){.tid = tid, .pid = -1, .sid = -1, .vpgid = -1, .pgid = -1, .vtid = -1, .vpid = -1, .fdlimit = -1,
                                  .uid = UINT32_MAX, .gid = UINT32_MAX, .loginuid = UINT32_MAX};
    p->comm = p->exe = p->exepath = p->args = p->cwd = p->env = p->cgroups = p->root = (struct fl_slice){"", 0};
}

void fl_proc_leader(struct fl_scan *scan, int folder, struct fl_scap_process *p, const struct fl_rights *rights)
{
    char number[32];
    struct stat status;
    ssize_t len;

    read_command(scan, folder, p);
    if ((len = fl_proc_read(folder, "environ", scan->env, FL_PROC_TEXT)) > 0)
        p->env = slice(scan->env, (size_t)len);
    if ((len = fl_proc_link(folder, "cwd", scan->cwd)) > 0)
        p->cwd = slice(scan->cwd, fl_proc_live_name(scan->cwd, (size_t)len, fstatat(folder, "cwd", &status, 0) == 0 ? &status : NULL));
    if ((len = fl_proc_link(folder, "root", scan->top)) > 0)
        p->root = slice(scan->top, fl_proc_live_name(scan->top, (size_t)len, NULL));
    read_program(scan, folder, p, rights);
    if (fl_proc_read(folder, "loginuid", number, sizeof number - 1) > 0)
        p->loginuid = (uint32_t)strtoul(number, NULL, 10);
    read_limits(scan, folder, p);
    fl_proc_cgroups(scan, folder, p);
    p->pidns_init_start_ts = namespace_start(scan, folder, p);
}
