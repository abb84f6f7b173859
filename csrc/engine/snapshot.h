/* SPDX-License-Identifier: Apache-2.0
 *
 * The state of the running machine: taken once, then asked for threads whose first event comes from nowhere (a clone that was lost).
 */
#ifndef FL_SNAPSHOT_H
#define FL_SNAPSHOT_H

#include "../source/load.h"
#include "../source/scan.h"
#include "../state/state.h"

struct fl_snapshot;

struct fl_snapshot_stats {
    uint64_t threads, fds;      /* found at the start … */
    uint64_t iterated, iterated_fds[FL_FD_TYPES];       /* … by iterators: threads; descriptors by type */
    uint64_t ns;                /* that it took */
    uint64_t lookups, lookups_failed, lookups_refused;
};

/* Fills the state, emptied before, and answers its look-ups from now on. loader: whose iterators are used, where they can be; NULL: only
 * /proc. NULL and *error if /proc can't be read. */
struct fl_snapshot *fl_snapshot_take(struct fl_state *state, const char *root, struct fl_loader *loader, struct fl_error *error);
/* After the state's look-ups have been ended, or the state is gone. */
void fl_snapshot_free(struct fl_snapshot *snapshot);
/* Lets threads go that ended unseen, from time to time (ts: ns, of the last event; interval, timeout: ns, between two
 * looks, and of silence before a thread is looked for). Between two events. True: it was time. */
bool fl_snapshot_purge(struct fl_snapshot *snapshot, uint64_t ts, uint64_t interval, uint64_t timeout);
#define FL_PURGE_S 300ull       /* what interval and timeout are by default, s */
struct fl_snapshot_stats fl_snapshot_get_stats(const struct fl_snapshot *snapshot);    /* of NULL: zeros */

#endif
