/* SPDX-License-Identifier: Apache-2.0
 *
 * The reader of the probe's rings: BPF ring buffers, whose consumer position we write and whose producer position and data the kernel
 * writes. All that is read from them is checked, as a capture's bytes are: several rings are merged by time, in a bounded window.
 *
 * A ring holds records nearly in order: one that was begun earlier may be finished later. So a record waits until it is FL_RING_WINDOW_NS old,
 * and the next FL_RING_AHEAD records of each ring are looked at for older ones.
 */
#ifndef FL_RING_H
#define FL_RING_H

#include "../base/error.h"
#include "../bpf/probe.h"
#include "record.h"

#define FL_RING_WINDOW_NS 1000000u
#define FL_RING_AHEAD 64u

struct fl_rings;

struct fl_rings_options {
    int rings_map, scratches_map, shared_map;   /* the probe's maps; they stay the caller's */
    uint32_t buffer_bytes;      /* of each ring: a power of two, a multiple of the page size */
    uint32_t cpus_for_each_buffer;      /* 0: one ring for all */
};

struct fl_rings_stats {
    uint64_t records;           /* taken from the rings */
    uint64_t malformed;         /* left out, as their lengths don't fit */
    uint64_t bytes;
    uint64_t lost;              /* that the probe could not write */
    uint64_t lost_ts;           /* when it was last noticed that records were lost, ns since the epoch; 0: never */
    uint64_t unread;            /* records with a parameter that could not be read */
    uint64_t skipped;           /* calls that the probe left out, as nobody needs to know of them */
    uint32_t rings;
};

/* Makes the rings and scratches, puts them into the probe's maps, and maps them and the shared memory. NULL and *error where it can't be done. */
struct fl_rings *fl_rings_new(const struct fl_rings_options *options, struct fl_error *error);
void fl_rings_free(struct fl_rings *rings);
struct fl_probe_shared *fl_rings_shared(const struct fl_rings *rings);

/* Waits until records may be there, at most about a second: 1. 0: fl_rings_close was called. Needs no lock; for one thread at a time. */
int fl_rings_wait(struct fl_rings *rings);
/* Ends the waiting, now and later. From any thread, and from a signal handler. */
void fl_rings_close(struct fl_rings *rings);

/* Begins a pass: records up to now, less the window, are delivered. */
void fl_rings_look(struct fl_rings *rings);
/* The next record. 1: *event is one, until the next call; 0: none is left in this pass. FL_ERR_CAPTURE: a ring is corrupt.
 * What was lost since the last pass comes first, as a LOST_E event: so many records, so many in all, and the events: "openat=5 close=3". */
int fl_rings_next(struct fl_rings *rings, struct fl_event *event, struct fl_error *error);

struct fl_rings_stats fl_rings_get_stats(const struct fl_rings *rings);
/* Processors that have a ring: those that are not there now, too. */
uint32_t fl_rings_cpus(const struct fl_rings *rings);
/* The records of a processor that were taken from the rings. */
uint64_t fl_rings_of_cpu(const struct fl_rings *rings, uint32_t cpu);

#endif
