/* SPDX-License-Identifier: Apache-2.0
 *
 * What an engine is, for the files that have its calls (falcolib.h): engine.c the loop, documents.c audit events, accounts.c users of containers,
 * stats.c numbers.
 */
#ifndef FL_ENGINE_H
#define FL_ENGINE_H

#include "../base/scratch.h"
#include "../falcolib.h"
#include "../source/ring.h"
#include "../vm/program.h"
#include "batch.h"
#include "documents.h"
#include "record.h"
#include "snapshot.h"

struct fl_engine {
    struct fl_strings *strings;
    struct fl_state *state;
    struct fl_scap *scap;
    struct fl_snapshot *snapshot;       /* of a running machine; NULL: there was none */
    uint64_t purge_interval, purge_timeout;     /* ns */
    struct fl_scap_item item;   /* the current event, among others */
    struct fl_rings *rings;     /* where events come from, instead of the capture reader; NULL: not now */
    struct fl_scratch scratch;
    struct fl_view view;
    const struct fl_program *program;
    struct fl_vm *vm;
    fl_regex_fn regex;
    void *handle;               /* of the callbacks */
    struct fl_batch batch;
    char *hostname;
    bool match_all;
    bool recording, selected;   /* selected: a rule matched the current event, for the recorder */
    struct fl_recorder recorder;
    bool tables_done;           /* fl_state_start has been called for this section */
    bool opening;               /* this section has had no events but those that continue its tables */
    bool under_way;             /* that is over, and there was an event that times count from: nothing is left for begin() to do */
    bool wanted[FL_TYPE_COUNT]; /* event types that the program has something for */
    bool visible;               /* rules may see the current event */
    bool entered;               /* an event is applied, and not yet left */
    uint32_t pending;           /* of the rules that are true of the current event: those before are in the batch; or FL_PAUSED */
    const uint32_t *accounts_wanted;    /* containers whose users the state wants to be told */
    uint64_t seen_ts;           /* ns: of the last event that rules saw */
    uint64_t evaluated, matches, last_ts;
    uint8_t look[64];           /* the event of fl_engine_look */
    bool profiling;
    uint32_t worker, workers;   /* which of how many this is; each evaluates its share of the events */
    struct fl_scap_stats before;    /* of the captures before this one */
    struct fl_document_run *documents;      /* instead of a capture; NULL where one is read */
    struct fl_documents_stats documents_before;     /* of those that were read before */
    uint64_t lost, unread;      /* of live runs before this one */
};

#define FL_PAUSED (UINT32_MAX - 1)      /* the program hasn't been run on the current event yet */

/* An error as Python gets it; out may be NULL. Both return the code. */
int fl_to_text(fl_error_text *out, const struct fl_error *error);
int fl_fail_text(fl_error_text *out, int code, const char *text);

/* Ends the current event. */
static inline void fl_engine_leave(fl_engine *e)
{
    if (!e->entered)
        return;
    const struct fl_event *ev = &e->item.event;
    if (e->visible)
        e->seen_ts = ev->ts;
    if (__builtin_expect(e->recording, 0)) {
        fl_recorder_leave(&e->recorder, ev, e->selected);
        e->selected = false;
    }
    e->entered = false;
    e->pending = UINT32_MAX;
}

/* A section begins: its tables are still to come, or are there already. */
void fl_engine_begin_anew(fl_engine *e, bool tables_done);
/* Runs the section of the program for a type. Writes the matches that the policy wants, the first rule or all, as far as the batch has room (or,
 * `whole`, all of them): 2 = there are more. */
int fl_engine_evaluate(fl_engine *e, unsigned type, fl_fill *fill, void *context, const struct fl_event *ev, bool whole, fl_error_text *error);

/* Where documents are read (e->documents): fl_engine_run, and fl_engine_step once the current event is left. */
int fl_engine_run_documents(fl_engine *e, fl_error_text *error);
int fl_engine_next_document(fl_engine *e);
/* No documents are read from now on; no rings are. What they gave stays counted. */
void fl_engine_close_documents(fl_engine *e);
void fl_engine_close_rings(fl_engine *e);

/* Users and groups of containers that are gone go, and the recording tells so. */
void fl_engine_forget_accounts(fl_engine *e);

/* What captures and rings gave, those before too. */
struct fl_scap_stats fl_engine_read_so_far(const fl_engine *e);

#endif
