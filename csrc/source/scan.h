/* SPDX-License-Identifier: Apache-2.0
 *
 * The state of a running machine, read from /proc: the same items as the tables that a capture begins with (scap.h).
 *
 * Processes come and go while they are looked at: what is gone is left out, and what is found belongs to one process, as each is read
 * through a descriptor of its folder. Names are what other people chose: lengths are bounded as in a capture.
 */
#ifndef FL_SCAN_H
#define FL_SCAN_H

#include <stdbool.h>

#include "../base/error.h"
#include "scap.h"

struct fl_scan;

/* Takes an item; what it points at lives until the return. */
typedef void fl_scan_sink(void *context, const struct fl_scap_item *item);

struct fl_scan_stats {
    uint64_t processes, threads, fds;
    uint64_t gone;              /* processes and threads that ended while they were looked at */
    uint64_t iterated, iterated_fds[FL_FD_TYPES];       /* of the threads, and of descriptors by type: those that iterators told */
    uint64_t refused;           /* what the kernel didn't show: descriptors of other users' processes */
};

/* root: where the machine's own / is ("" or "/host": HOST_ROOT). NULL and *error: FL_ERR_SYSTEM if there is no /proc below it. */
struct fl_scan *fl_scan_new(const char *root, fl_scan_sink *sink, void *context, struct fl_error *error);
void fl_scan_free(struct fl_scan *scan);
/* Of a process no more descriptors than these, and one that shows that there are more, are read from its folder: a million would take a minute,
 * in which events are lost. */
void fl_scan_limit(struct fl_scan *scan, uint32_t fds);

/* The machine, its interfaces, users and groups. */
void fl_scan_machine(struct fl_scan *scan);
/* All threads with their descriptors; each process before its threads. FL_OK, FL_ERR_MEMORY or FL_ERR_SYSTEM. */
int fl_scan_processes(struct fl_scan *scan, struct fl_error *error);
/* The same from iterators, descriptors to read as fl_loader_iterate makes them; `known` is as below. They can be used only in the machine's
 * first namespace of process numbers. */
bool fl_scan_may_iterate(void);
int fl_scan_iterate(struct fl_scan *scan, int tasks, int files, bool (*known)(void *context, int64_t pid), struct fl_error *error);
/* One thread; with its process and that one's descriptors, unless `known` (called with the sink's context) has it. False if there is none. */
bool fl_scan_thread(struct fl_scan *scan, int64_t tid, bool (*known)(void *context, int64_t pid));

/* One descriptor of a thread's process. False if there is none. */
bool fl_scan_descriptor(struct fl_scan *scan, int64_t tid, int64_t fd);

/* Whether there is a thread of that number now. */
bool fl_scan_exists(const struct fl_scan *scan, int64_t tid);

struct fl_scan_stats fl_scan_get_stats(const struct fl_scan *scan);

#endif
