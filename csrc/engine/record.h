/* SPDX-License-Identifier: Apache-2.0
 *
 * Recording: the events that pass through an engine, written as a .scap file, whatever source they came from.
 *
 * A file begins with the tables of the state before its first event. Then come events: all, or those that a program selects, and then, hidden
 * from rules, also those that change the state, so that the fields of the selected ones are the same when they are read back.
 */
#ifndef FL_RECORD_ENGINE_H
#define FL_RECORD_ENGINE_H

#include "../falcolib.h"
#include "../source/scap_write.h"
#include "../state/state.h"

/* Bytes that are collected before they go to the callback: a crossing into Python costs some microseconds. */
#define FL_RECORD_BYTES (256u << 10)

struct fl_recorder {
    struct fl_scap_writer out;
    fl_record_options options;
    fl_write_fn write;
    void *handle;
    bool active;                /* false: the callback wanted no more, or failed */
    bool in_section;            /* of the source */
    bool tables_due;            /* before the next event */
    bool begun;                 /* the file has an event that isn't the recorder's own */
    bool needed;                /* the current event changes the state */
    int error;                  /* enum fl_code */
    uint64_t file_bytes, file_events, file_begin;       /* of this file; the time of its first event */
    fl_record_stats stats;
};

void fl_recorder_begin(struct fl_recorder *r, const fl_record_options *options, fl_write_fn write, void *handle);
void fl_recorder_free(struct fl_recorder *r);
/* The source begins a section: the state is about to be reset. */
void fl_recorder_section(struct fl_recorder *r, struct fl_state *state);
/* An event is about to be applied to the state; then, once rules have seen it. */
void fl_recorder_enter(struct fl_recorder *r, struct fl_state *state, const struct fl_event *ev);
void fl_recorder_leave(struct fl_recorder *r, const struct fl_event *ev, bool selected);
/* Something else than an event told of a container: it is written as one. */
void fl_recorder_container(struct fl_recorder *r, struct fl_slice json, uint64_t ts);
/* Something else than an event told of a user or a group of a container: it is written as the event that tells it. */
void fl_recorder_account(struct fl_recorder *r, struct fl_slice container, bool users, bool gone, const struct fl_account *account,
                         uint64_t ts);
/* Gives what is collected to the callback; `finish`: and the tables, if no event came after them. r->error tells. */
void fl_recorder_flush(struct fl_recorder *r, struct fl_state *state, bool finish);

#endif
