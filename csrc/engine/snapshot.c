/* SPDX-License-Identifier: Apache-2.0 */
#include "snapshot.h"

#include <stdlib.h>
#include <time.h>

#define NS_PER_S 1000000000ull
/* Look-ups may take a tenth of the time, and 0.1 s at once: then unknown threads stay unknown, and the events go on. */
#define SHARE 10u
#define CREDIT_MAX ((int64_t)(NS_PER_S / 10))
#define PURGE_FIRST_NS (30 * NS_PER_S)  /* as Falco: after the start … */
#define PURGE_NS (300 * NS_PER_S)       /* … and then */

struct fl_snapshot {
    struct fl_state *state;
    struct fl_scan *scan;
    struct fl_snapshot_stats stats;
    uint64_t at;                /* ns: of the last look-up */
    int64_t credit;             /* ns that look-ups may take */
    uint64_t purge_ts;          /* ns: of the event with which threads that ended unseen are looked for; 0: not known yet */
};

static uint64_t clock_ns(void)
{
    struct timespec now;

    clock_gettime(CLOCK_MONOTONIC, &now);
    return (uint64_t)now.tv_sec * NS_PER_S + (uint64_t)now.tv_nsec;
}

static void take_item(void *context, const struct fl_scap_item *item)
{
    fl_state_item(((struct fl_snapshot *)context)->state, item);
}

static bool is_known(void *context, int64_t pid)
{
    const struct fl_thread *thread = fl_thread_find(((struct fl_snapshot *)context)->state, pid);

    return thread && thread->pid >= 0;
}

static bool look_up(void *context, int64_t tid)
{
    struct fl_snapshot *s = context;
    uint64_t now = clock_ns();

    s->credit += (int64_t)((now - s->at) / SHARE);
    if (s->credit > CREDIT_MAX)
        s->credit = CREDIT_MAX;
    s->at = now;
    if (s->credit <= 0) {
        s->stats.lookups_refused++;
        return false;
    }
    bool found = fl_scan_thread(s->scan, tid, is_known);
    s->stats.lookups++;
    s->stats.lookups_failed += !found;
    s->credit -= (int64_t)(clock_ns() - now);
    return found;
}

struct fl_snapshot *fl_snapshot_take(struct fl_state *state, const char *root, struct fl_error *error)
{
    struct fl_snapshot *s = calloc(1, sizeof *s);
    uint64_t begin = clock_ns();

    if (!s) {
        fl_fail(error, FL_ERR_MEMORY, "out of memory");
        return NULL;
    }
    s->state = state;
    fl_state_look_up(state, NULL, NULL);
    s->scan = fl_scan_new(root, take_item, s, error);
    if (!s->scan)
        goto fail;
    fl_state_reset(state);
    fl_scan_machine(s->scan);
    if (fl_scan_processes(s->scan, error))
        goto fail;
    fl_state_start(state);
    struct fl_scan_stats found = fl_scan_get_stats(s->scan);
    s->at = clock_ns();
    s->credit = CREDIT_MAX;
    s->stats = (struct fl_snapshot_stats){.threads = found.threads, .fds = found.fds, .ns = s->at - begin};
    fl_state_look_up(state, look_up, s);
    return s;

fail:
    fl_snapshot_free(s);
    return NULL;
}

static bool exists(void *context, int64_t tid) { return fl_scan_exists(((struct fl_snapshot *)context)->scan, tid); }

void fl_snapshot_purge(struct fl_snapshot *s, uint64_t ts)
{
    if (!s || ts < s->purge_ts)
        return;
    if (s->purge_ts)
        fl_state_purge(s->state, ts, exists, s);
    s->purge_ts = ts + (s->purge_ts ? PURGE_NS : PURGE_FIRST_NS);
}

void fl_snapshot_free(struct fl_snapshot *s)
{
    if (!s)
        return;
    fl_scan_free(s->scan);
    free(s);
}

struct fl_snapshot_stats fl_snapshot_get_stats(const struct fl_snapshot *s) { return s ? s->stats : (struct fl_snapshot_stats){0}; }
