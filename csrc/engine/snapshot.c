/* SPDX-License-Identifier: Apache-2.0 */
#include "snapshot.h"

#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#define NS_PER_S 1000000000ull
/* Look-ups may take a tenth of the time, and 0.1 s at once: then unknown threads stay unknown, and the events go on. */
#define SHARE 10u
#define CREDIT_MAX ((int64_t)(NS_PER_S / 10))
#define PURGE_FIRST_NS (30 * NS_PER_S)  /* as Falco: after the start; then at the interval */

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

static bool look_up(void *context, int64_t tid, int64_t fd)
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
    bool found = fd < 0 ? fl_scan_thread(s->scan, tid, is_known) : fl_scan_descriptor(s->scan, tid, fd);
    s->stats.lookups++;
    s->stats.lookups_failed += !found;
    s->credit -= (int64_t)(clock_ns() - now);
    return found;
}

/* False: there are no iterators here, or one failed. */
static bool iterate(struct fl_snapshot *s, struct fl_loader *loader)
{
    struct fl_error why = {0};

    if (!loader || !fl_scan_may_iterate())
        return false;
    int tasks = fl_loader_iterate(loader, "fl_iter_task", &why), files = tasks < 0 ? -1 : fl_loader_iterate(loader, "fl_iter_file", &why);
    bool done = files >= 0 && fl_scan_iterate(s->scan, tasks, files, is_known, &why) == FL_OK;
    if (tasks >= 0)
        close(tasks);
    if (files >= 0)
        close(files);
    return done;
}

struct fl_snapshot *fl_snapshot_take(struct fl_state *state, const char *root, struct fl_loader *loader, struct fl_error *error)
{
    struct fl_snapshot *s = calloc(1, sizeof *s);
    uint64_t begin = clock_ns();

    fl_state_look_up(state, NULL, NULL);        /* who was asked is gone */
    if (!s) {
        fl_fail(error, FL_ERR_MEMORY, "out of memory");
        return NULL;
    }
    s->state = state;
    s->scan = fl_scan_new(root, take_item, s, error);
    if (!s->scan)
        goto fail;
    fl_scan_limit(s->scan, fl_state_get_limits(state).fds);
    fl_state_reset(state);
    fl_scan_machine(s->scan);
    if (!iterate(s, loader) && fl_scan_processes(s->scan, error))       /* what an iterator gave before it failed is found again */
        goto fail;
    fl_state_start(state);
    struct fl_scan_stats found = fl_scan_get_stats(s->scan);
    s->at = clock_ns();
    s->credit = CREDIT_MAX;
    s->stats = (struct fl_snapshot_stats){.threads = found.threads, .iterated = found.iterated, .fds = found.fds, .ns = s->at - begin};
    memcpy(s->stats.iterated_fds, found.iterated_fds, sizeof found.iterated_fds);
    fl_state_look_up(state, look_up, s);
    return s;

fail:
    fl_snapshot_free(s);
    return NULL;
}

static bool exists(void *context, int64_t tid) { return fl_scan_exists(((struct fl_snapshot *)context)->scan, tid); }

bool fl_snapshot_purge(struct fl_snapshot *s, uint64_t ts, uint64_t interval, uint64_t timeout)
{
    if (!s || !ts || ts < s->purge_ts)      /* 0: there was no event yet */
        return false;
    bool due = s->purge_ts != 0;
    if (due)
        fl_state_purge(s->state, ts, timeout, exists, s);
    s->purge_ts = ts + (s->purge_ts || interval < PURGE_FIRST_NS ? interval : PURGE_FIRST_NS);
    return due;
}

void fl_snapshot_free(struct fl_snapshot *s)
{
    if (!s)
        return;
    fl_scan_free(s->scan);
    free(s);
}

struct fl_snapshot_stats fl_snapshot_get_stats(const struct fl_snapshot *s) { return s ? s->stats : (struct fl_snapshot_stats){0}; }
