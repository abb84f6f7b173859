/* SPDX-License-Identifier: Apache-2.0
 *
 * The walk over /proc: every process, its descriptors, its threads (spec: engine.md H6).
 */
#include "proc.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>
#include <unistd.h>

/* Reading /proc is the kernel's work, on as many processors as ask for it. */
#define SCAN_THREADS 8u
#define SCAN_SHARE 100u         /* processes for which a thread more is worth while */


static ssize_t read_file(int folder, const char *name, char *out, size_t size, bool whole)
{
    int fd = openat(folder, name, O_RDONLY | O_CLOEXEC);
    size_t len = 0;
    ssize_t n = -1;

    if (fd < 0)
        return -1;
    while (len < size && (n = read(fd, out + len, size - len)) > 0) {
        len += (size_t)n;
        if (!whole)
            break;
    }
    close(fd);
    if (n < 0 && !len)
        return -1;
    out[len] = '\0';
    return (ssize_t)len;
}

ssize_t fl_proc_read(int folder, const char *name, char *out, size_t size) { return read_file(folder, name, out, size, false); }
ssize_t fl_proc_read_all(int folder, const char *name, char *out, size_t size) { return read_file(folder, name, out, size, true); }

ssize_t fl_proc_link(int folder, const char *name, char *out)
{
    /* a little more than is kept, so that " (deleted)" is there at the end of the longest */
    ssize_t len = readlinkat(folder, name, out, FL_PROC_PATH + 32);

    if (len >= 0)
        out[len] = '\0';
    return len;
}

uint64_t fl_proc_namespace(int folder, const char *name)
{
    char link[FL_PROC_PATH + 64];
    const char *at = fl_proc_link(folder, name, link) > 0 ? strchr(link, '[') : NULL;

    return at ? strtoull(at + 1, NULL, 10) : 0;
}

size_t fl_proc_live_name(char *path, size_t len, const struct stat *status)
{
    static const char deleted[] = " (deleted)";
    size_t end = sizeof deleted - 1;

    if (status && !status->st_nlink && len > end && memcmp(path + len - end, deleted, end) == 0)
        len -= end;
    if (len > FL_PROC_PATH)
        len = FL_PROC_PATH;
    path[len] = '\0';
    return len;
}

/* The folder of a number; -1 if it is gone. */
static int open_folder(int at, int64_t number)
{
    char name[24];

    snprintf(name, sizeof name, "%lld", (long long)number);
    return openat(at, name, O_PATH | O_DIRECTORY | O_CLOEXEC);
}

/* The next folder whose name is a number; 0 at the end. */
static int64_t next_number(DIR *dir)
{
    struct dirent *entry;

    while ((entry = readdir(dir))) {
        char *end;
        long long number = strtoll(entry->d_name, &end, 10);
        if (end != entry->d_name && !*end && number > 0)
            return number;
    }
    return 0;
}

void fl_proc_emit(struct fl_scan *scan, const struct fl_scap_process *p)
{
    struct fl_scap_item item = {.kind = FL_SCAP_PROCESS, .process = *p};

    scan->stats.threads++;
    scan->sink(scan->context, &item);
}

/* A thread has its own ids, name, rights and control groups, and everything else of its leader. */
static void scan_member(struct fl_scan *scan, int folder, const struct fl_scap_process *leader, int64_t tid)
{
    struct fl_scap_process p = *leader;
    struct fl_rights rights;
    unsigned threads;

    p.tid = tid;
    p.flags = FL_PROC_MEMBER;
    if (!fl_proc_status(scan, folder, &p, &rights, &threads) || !fl_proc_stat(scan, folder, &p)) {
        scan->stats.gone++;
        return;
    }
    fl_proc_cgroups(scan, folder, &p);
    fl_proc_emit(scan, &p);
}

static void scan_members(struct fl_scan *scan, int folder, const struct fl_scap_process *leader)
{
    int task = openat(folder, "task", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    DIR *dir = task < 0 ? NULL : fdopendir(task);
    int64_t tid;

    if (!dir) {
        if (task >= 0)
            close(task);
        return;
    }
    while ((tid = next_number(dir))) {
        int member = tid == leader->tid ? -1 : open_folder(dirfd(dir), tid);
        if (member < 0)
            continue;
        scan_member(scan, member, leader, tid);
        close(member);
    }
    closedir(dir);
}

/* A process with its descriptors and threads. */
static void scan_process(struct fl_scan *scan, int64_t pid)
{
    struct fl_scap_process p;
    struct fl_rights rights;
    unsigned threads;
    int folder = open_folder(scan->proc, pid);

    fl_proc_clear(&p, pid);
    if (folder >= 0 && fl_proc_status(scan, folder, &p, &rights, &threads) && fl_proc_stat(scan, folder, &p)) {
        fl_proc_leader(scan, folder, &p, &rights);
        scan->stats.processes++;
        fl_proc_emit(scan, &p);
        fl_proc_fds(scan, folder, pid);
        if (threads > 1)
            scan_members(scan, folder, &p);
    } else {
        scan->stats.gone++;
    }
    if (folder >= 0)
        close(folder);
}

/* ---- the public interface ---- */

static void read_clocks(struct fl_scan *scan)
{
    struct timespec now, up;

    clock_gettime(CLOCK_REALTIME, &now);
    clock_gettime(CLOCK_BOOTTIME, &up);
    scan->boot_ts = fl_proc_ns(now) - fl_proc_ns(up);
    scan->tick = FL_PROC_NS_PER_S / (uint64_t)sysconf(_SC_CLK_TCK);
}

struct fl_scan *fl_scan_new(const char *root, fl_scan_sink *sink, void *context, struct fl_error *error)
{
    struct fl_scan *scan = calloc(1, sizeof *scan);
    char path[300];

    if (scan && !(scan->networks = calloc(1, sizeof *scan->networks))) {
        free(scan);
        scan = NULL;
    }
    if (!scan) {
        fl_fail(error, FL_ERR_MEMORY, "out of memory");
        return NULL;
    }
    if (strlen(root) >= sizeof scan->root) {
        fl_fail(error, FL_ERR_SYSTEM, "HOST_ROOT is longer than %zu bytes", sizeof scan->root - 1);
        free(scan->networks);
        free(scan);
        return NULL;
    }
    strcpy(scan->root, root);
    scan->sink = sink;
    scan->context = context;
    scan->fds_limit = UINT32_MAX;
    snprintf(path, sizeof path, "%s/proc", root);
    scan->proc = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (scan->proc < 0 || faccessat(scan->proc, "1/stat", F_OK, 0) != 0) {
        fl_fail(error, FL_ERR_SYSTEM, "%s: %s", path, scan->proc < 0 ? strerror(errno) : "no proc file system is mounted there");
        if (scan->proc >= 0)
            close(scan->proc);
        free(scan->networks);
        free(scan);
        return NULL;
    }
    pthread_mutex_init(&scan->networks->lock, NULL);
    read_clocks(scan);
    return scan;
}

/* What was kept between processes is of that moment. */
static void forget_own(struct fl_scan *scan)
{
    for (uint32_t i = 0; scan->pid_namespaces.slots && i <= scan->pid_namespaces.mask; i++)
        free(scan->pid_namespaces.slots[i].value);
    fl_map_clear(&scan->pid_namespaces);
    fl_map_clear(&scan->mounts);
}

void fl_proc_forget(struct fl_scan *scan)
{
    forget_own(scan);
    for (uint32_t i = 0; scan->networks->by_ino.slots && i <= scan->networks->by_ino.mask; i++)
        fl_sockets_free(scan->networks->by_ino.slots[i].value);
    fl_map_clear(&scan->networks->by_ino);
}

void fl_scan_free(struct fl_scan *scan)
{
    if (!scan)
        return;
    fl_proc_forget(scan);
    pthread_mutex_destroy(&scan->networks->lock);
    free(scan->networks);
    close(scan->proc);
    free(scan);
}

/* The work of a scan, which its threads share. */
struct work {
    struct fl_scan *scan;
    int64_t *pids;
    size_t count;
    size_t next;                /* atomic */
    pthread_mutex_t lock;       /* of the sink, and of the sums */
};

static void locked_sink(void *context, const struct fl_scap_item *item)
{
    struct work *work = context;

    pthread_mutex_lock(&work->lock);
    work->scan->sink(work->scan->context, item);
    pthread_mutex_unlock(&work->lock);
}

static void *scan_share(void *context)
{
    struct work *work = context;
    struct fl_scan *own = malloc(sizeof *own);
    size_t at;

    if (!own)
        return NULL;
    *own = (struct fl_scan){.sink = locked_sink, .context = work, .proc = work->scan->proc, .boot_ts = work->scan->boot_ts,
                            .tick = work->scan->tick, .fds_limit = work->scan->fds_limit, .networks = work->scan->networks};
    memcpy(own->root, work->scan->root, sizeof own->root);
    while ((at = __atomic_fetch_add(&work->next, 1, __ATOMIC_RELAXED)) < work->count)
        scan_process(own, work->pids[at]);
    pthread_mutex_lock(&work->lock);
    work->scan->stats.processes += own->stats.processes;
    work->scan->stats.threads += own->stats.threads;
    work->scan->stats.fds += own->stats.fds;
    work->scan->stats.gone += own->stats.gone;
    work->scan->stats.refused += own->stats.refused;
    pthread_mutex_unlock(&work->lock);
    forget_own(own);
    free(own);
    return work;
}

/* The processes there are; NULL when memory is out, or /proc can't be listed (errno tells). */
static int64_t *list_processes(struct fl_scan *scan, size_t *count)
{
    int copy = openat(scan->proc, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    DIR *dir = copy < 0 ? NULL : fdopendir(copy);
    int64_t pid, *pids = NULL;
    size_t room = 0;

    *count = 0;
    if (!dir) {
        if (copy >= 0)
            close(copy);
        return NULL;
    }
    while ((pid = next_number(dir))) {
        if (*count == room) {
            int64_t *bigger = realloc(pids, (room ? room * 2 : 1024) * sizeof *pids);
            if (!bigger) {
                free(pids);
                pids = NULL;
                break;
            }
            pids = bigger;
            room = room ? room * 2 : 1024;
        }
        pids[(*count)++] = pid;
    }
    closedir(dir);
    return pids;
}

void fl_proc_others(struct fl_scan *scan, const struct fl_map *told)
{
    size_t count;
    int64_t *pids = list_processes(scan, &count);

    for (size_t i = 0; pids && i < count; i++)
        if (!fl_map_find(told, pids[i]))
            scan_process(scan, pids[i]);
    free(pids);
}

int fl_scan_processes(struct fl_scan *scan, struct fl_error *error)
{
    struct work work = {.scan = scan, .lock = PTHREAD_MUTEX_INITIALIZER};
    pthread_t threads[SCAN_THREADS - 1];
    unsigned started = 0, wanted;
    long cpus = sysconf(_SC_NPROCESSORS_ONLN);

    work.pids = list_processes(scan, &work.count);
    if (!work.pids)
        return fl_fail(error, FL_ERR_SYSTEM, "%s/proc: %s", scan->root, strerror(errno));
    wanted = work.count / SCAN_SHARE < SCAN_THREADS - 1 ? (unsigned)(work.count / SCAN_SHARE) : SCAN_THREADS - 1;
    if (cpus > 0 && wanted > (unsigned long)cpus - 1)
        wanted = (unsigned)cpus - 1;
    while (started < wanted && pthread_create(&threads[started], NULL, scan_share, &work) == 0)
        started++;
    bool done = scan_share(&work) != NULL;
    for (unsigned i = 0; i < started; i++)
        pthread_join(threads[i], NULL);
    free(work.pids);
    fl_proc_forget(scan);
    return done ? FL_OK : fl_fail(error, FL_ERR_MEMORY, "out of memory");
}

bool fl_scan_thread(struct fl_scan *scan, int64_t tid, bool (*known)(void *context, int64_t pid))
{
    /* /proc has the folders of threads too, but doesn't list them */
    struct fl_scap_process p;
    struct fl_rights rights;
    unsigned threads;
    int folder = tid > 0 ? open_folder(scan->proc, tid) : -1, leader = -1;

    if (folder < 0)
        return false;
    fl_proc_clear(&p, tid);
    read_clocks(scan);
    bool found = fl_proc_status(scan, folder, &p, &rights, &threads) && fl_proc_stat(scan, folder, &p);
    int64_t pid = p.pid;
    if (found && pid != tid) {
        leader = open_folder(scan->proc, pid);
        fl_proc_clear(&p, pid);
        found = leader >= 0 && fl_proc_status(scan, leader, &p, &rights, &threads) && fl_proc_stat(scan, leader, &p);
    }
    if (found) {
        int of = leader < 0 ? folder : leader;
        fl_proc_leader(scan, of, &p, &rights);
        if (pid == tid || !known(scan->context, pid)) {
            fl_proc_emit(scan, &p);
            fl_proc_fds(scan, of, pid);
        }
        if (pid != tid)
            scan_member(scan, folder, &p, tid);
    }
    if (leader >= 0)
        close(leader);
    close(folder);
    fl_proc_forget(scan);
    return found;
}

bool fl_scan_descriptor(struct fl_scan *scan, int64_t tid, int64_t fd)
{
    struct fl_scap_process p;
    struct fl_rights rights;
    unsigned threads;
    char number[24];
    bool mounts_read = false, found = false;
    int folder = tid > 0 ? open_folder(scan->proc, tid) : -1;

    if (folder < 0)
        return false;
    fl_proc_clear(&p, tid);
    snprintf(number, sizeof number, "%lld", (long long)fd);
    if (fl_proc_status(scan, folder, &p, &rights, &threads))
        found = fl_proc_fd(scan, folder, p.pid, number, &mounts_read);
    close(folder);
    fl_proc_forget(scan);
    return found;
}

bool fl_scan_exists(const struct fl_scan *scan, int64_t tid)
{
    char name[24];

    snprintf(name, sizeof name, "%lld", (long long)tid);
    return faccessat(scan->proc, name, F_OK, 0) == 0 || errno != ENOENT;        /* in doubt it does */
}

void fl_scan_limit(struct fl_scan *scan, uint32_t fds) { scan->fds_limit = fds; }

struct fl_scan_stats fl_scan_get_stats(const struct fl_scan *scan) { return scan->stats; }
