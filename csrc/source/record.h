/* SPDX-License-Identifier: Apache-2.0
 *
 * The record: what every system-call source delivers, always in the newest schema (spec: engine.md F1).
 *
 *   u64 ts (ns since the epoch)  u64 tid  u32 len (of the whole record)  u16 type  u32 nparams      26 bytes, packed, little-endian
 *   nparams lengths              u16 each; u32 in events with EF_LARGE_PAYLOAD
 *   nparams values               back to back; a length of 0 is an empty parameter
 *
 * fl_event is a record taken apart once, with every length checked, so that state and fields index it directly.
 */
#ifndef FL_RECORD_H
#define FL_RECORD_H

#include <stdint.h>
#include <string.h>

#include "../schema/schema.h"

#define FL_RECORD_HEADER 26

struct fl_slice {
    const char *data;
    uint32_t len;
};

struct fl_event {
    uint64_t num;               /* evt.num: 1 for the first event of the source */
    uint64_t ts;                /* ns since the epoch */
    int64_t tid;
    uint16_t type;              /* enum fl_event_type; below FL_EV_COUNT */
    uint16_t cpu;
    uint32_t hidden;            /* the capture says: for the state only, no rule sees it */
    uint32_t nparams;           /* FL_MAX_PARAMS at most; the newest schema's number once converted */
    const uint8_t *record;      /* the whole record, header first */
    uint32_t size;
    uint32_t len[FL_MAX_PARAMS];
    const uint8_t *param[FL_MAX_PARAMS];
    /* live only; else 0 */
    uint32_t unread;            /* a bit for each parameter that the probe could not read */
    uint32_t live;              /* FL_SAMPLE_… of bpf/probe.h */
    struct fl_slice realpath;   /* the kernel's path of the file that the call opened */
};

/* A record holds nothing of this; a live source sets it behind fl_event_decode. */
static inline void fl_event_not_live(struct fl_event *event)
{
    event->unread = event->live = 0;
    event->realpath = (struct fl_slice){NULL, 0};
}

/* Takes a record of `size` bytes apart. 0, or -1 if a length doesn't fit or the type is unknown. num, cpu and hidden are the caller's.
 * nparams is never more than the schema's, also where the record has more. */
int fl_event_decode(struct fl_event *event, const uint8_t *record, uint32_t size);
/* The reverse: writes ts, tid, type and parameters as a record to out, and lets record, size and param[] point there. The parameters may
 * not lie in out. 0, or -1 if it doesn't fit into `room` bytes or a length into its word. */
int fl_event_build(struct fl_event *event, uint8_t *out, uint32_t room);

static inline uint32_t fl_param_len(const struct fl_event *ev, unsigned i) { return i < ev->nparams ? ev->len[i] : 0; }
static inline int fl_param_present(const struct fl_event *ev, unsigned i) { return fl_param_len(ev, i) > 0; }
/* Of a parameter shorter than 8 bytes: the number that they are, with the sign of the last one carried over if it is signed. */
uint64_t fl_param_short(const struct fl_event *ev, unsigned i, int is_signed);

/* Readers of parameter i: 0 (or an empty text) where the parameter is missing, empty or too short. */
static inline uint64_t fl_param_u64(const struct fl_event *ev, unsigned i)
{
    uint64_t v;
    if (fl_param_len(ev, i) < sizeof v)
        return fl_param_short(ev, i, 0);
    memcpy(&v, ev->param[i], sizeof v);
    return v;
}

static inline uint32_t fl_param_u32(const struct fl_event *ev, unsigned i)
{
    uint32_t v;
    if (fl_param_len(ev, i) < sizeof v)
        return (uint32_t)fl_param_short(ev, i, 0);
    memcpy(&v, ev->param[i], sizeof v);         /* little-endian: the low bytes come first */
    return v;
}

static inline uint16_t fl_param_u16(const struct fl_event *ev, unsigned i) { return (uint16_t)fl_param_u32(ev, i); }

/* Signed: the sign of a short value is carried over. */
static inline int64_t fl_param_i64(const struct fl_event *ev, unsigned i)
{
    int64_t v;
    if (fl_param_len(ev, i) < sizeof v)
        return (int64_t)fl_param_short(ev, i, 1);
    memcpy(&v, ev->param[i], sizeof v);
    return v;
}

/* A text parameter without its NUL (text ends at the first one). */
static inline struct fl_slice fl_param_text(const struct fl_event *ev, unsigned i)
{
    struct fl_slice s = {"", 0};
    if (fl_param_present(ev, i)) {
        s.data = (const char *)ev->param[i];
        s.len = (uint32_t)strnlen(s.data, ev->len[i]);
    }
    return s;
}

/* All bytes of a parameter. */
static inline struct fl_slice fl_param_bytes(const struct fl_event *ev, unsigned i)
{
    struct fl_slice s = {"", 0};
    if (fl_param_present(ev, i)) {
        s.data = (const char *)ev->param[i];
        s.len = ev->len[i];
    }
    return s;
}

#endif
