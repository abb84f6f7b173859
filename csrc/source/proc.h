/* SPDX-License-Identifier: Apache-2.0
 *
 * What the files of the /proc scan share.
 */
#ifndef FL_PROC_H
#define FL_PROC_H

#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif

#include <pthread.h>
#include <stdbool.h>
#include <sys/stat.h>
#include <sys/types.h>
#include <time.h>

#include "../base/map.h"
#include "scan.h"

#define FL_PROC_PATH 1024u      /* bytes of a path, as in a capture */
#define FL_PROC_TEXT 4096u      /* of arguments, environment, control groups */
#define FL_PROC_FILE 65536u     /* read of a file of /proc at a time */

struct fl_sockets;              /* of a network namespace: inode → addresses */

/* What the threads of a scan share. */
struct fl_networks {
    pthread_mutex_t lock;
    struct fl_map by_ino;       /* network namespaces: inode → struct fl_sockets, which don't change once they are there */
};

/* Of one thread of a scan. */
struct fl_scan {
    fl_scan_sink *sink;
    void *context;
    char root[256];
    int proc;                   /* root/proc */
    uint64_t boot_ts;           /* ns */
    uint64_t tick;              /* ns of a clock tick */
    uint32_t fds_limit;         /* see fl_scan_limit */
    struct fl_scan_stats stats;
    struct fl_networks *networks;
    struct fl_map mounts;       /* mount id → device + 1 */
    struct fl_map pid_namespaces;       /* inode → when its init started, as struct fl_when */
    char file[FL_PROC_FILE + 1];        /* a file's text */
    char exe[FL_PROC_PATH + 64], cwd[FL_PROC_PATH + 64], top[FL_PROC_PATH + 64], link[FL_PROC_PATH + 64];
    char comm[64], command[FL_PROC_PATH + FL_PROC_TEXT + 1], env[FL_PROC_TEXT + 1], cgroups[FL_PROC_TEXT + 1];
};

struct fl_when { uint64_t ts; };

#define FL_PROC_NS_PER_S 1000000000ull
static inline uint64_t fl_proc_ns(struct timespec t) { return (uint64_t)t.tv_sec * FL_PROC_NS_PER_S + (uint64_t)t.tv_nsec; }

/* proc.c */
/* A file's first bytes, with a NUL behind them: how many, or -1. The first takes one read(), which gives the whole of files that tell of one
 * thing; the second is for lists. */
ssize_t fl_proc_read(int folder, const char *name, char *out, size_t size);
ssize_t fl_proc_read_all(int folder, const char *name, char *out, size_t size);
/* The text of a link, cut after FL_PROC_PATH bytes: its length, or -1. */
ssize_t fl_proc_link(int folder, const char *name, char *out);
/* The number behind "kind:[" of a namespace's link; 0 if there is none. */
uint64_t fl_proc_namespace(int folder, const char *name);
/* "/a/b (deleted)" without the end, if the file at `name` has no name any more. */
size_t fl_proc_live_name(char *path, size_t len, const struct stat *status);

/* A thread that isn't its process's first, which it shares everything with. sched.h has these names too. */
#define FL_PROC_MEMBER ((uint32_t)(FL_FLAG_clone_flags_CLONE_THREAD | FL_FLAG_clone_flags_CLONE_FILES))
void fl_proc_emit(struct fl_scan *scan, const struct fl_scap_process *p);
/* Scans the processes that aren't in the map: the kernel doesn't show all of them to its iterators where a policy of the machine hides some. */
void fl_proc_others(struct fl_scan *scan, const struct fl_map *told);
/* What was kept between processes is of that moment. */
void fl_proc_forget(struct fl_scan *scan);

/* proc_facts.c: these read into the scan's buffers, to which the entry points until the next process */
/* What decides whether a process may write its program. */
struct fl_rights {
    uint32_t fsuid, fsgid, groups[64];
    unsigned ngroups;
};
void fl_proc_clear(struct fl_scap_process *p, int64_t tid);
/* Of any thread; false if it is gone. */
bool fl_proc_status(struct fl_scan *scan, int folder, struct fl_scap_process *p, struct fl_rights *rights, unsigned *threads);
bool fl_proc_stat(struct fl_scan *scan, int folder, struct fl_scap_process *p);
void fl_proc_cgroups(struct fl_scan *scan, int folder, struct fl_scap_process *p);
/* The command line: the program's own name for itself, then the arguments. A kernel thread has none, and goes by its name. */
void fl_proc_command(struct fl_scap_process *p, struct fl_slice command);
/* What a process's threads share. */
void fl_proc_leader(struct fl_scan *scan, int folder, struct fl_scap_process *p, const struct fl_rights *rights);

/* proc_fds.c: the descriptors of the process whose folder this is */
void fl_proc_fds(struct fl_scan *scan, int folder, int64_t tid);
/* One of them, by its number; false if it is gone. mounts_read: whether the process's mounts have been looked at. */
bool fl_proc_fd(struct fl_scan *scan, int folder, int64_t tid, const char *number, bool *mounts_read);
/* open()'s flags as events have them. */
uint32_t fl_proc_open_flags(uint64_t flags);
/* What the link of a descriptor tells: its type, name and inode. status: of its file, NULL if it can't be seen. True: it is a socket, of
 * which only the inode is set. */
bool fl_proc_name_file(struct fl_scap_fd *fd, char *link, size_t len, const struct stat *status);
/* Type, addresses and name of a socket, which is this descriptor of a process. */
void fl_proc_name_socket(struct fl_scan *scan, int folder, uint64_t network, const char *number, struct fl_scap_fd *fd);

/* proc_net.c */
/* The sockets of the network (the namespace's inode) that a process is in; NULL when memory is out. */
const struct fl_sockets *fl_proc_sockets(struct fl_scan *scan, int folder, uint64_t network);
/* Sets type, addresses and name of a socket; false if the table doesn't have it. */
bool fl_sockets_find(const struct fl_sockets *sockets, uint64_t ino, struct fl_scap_fd *fd);
void fl_sockets_free(struct fl_sockets *sockets);

#endif
