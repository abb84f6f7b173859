/* SPDX-License-Identifier: Apache-2.0
 *
 * Makes events of older schemas events of the newest one (schema/conversions.def; spec: engine.md G4).
 */
#ifndef FL_CONVERT_H
#define FL_CONVERT_H

#include "record.h"

struct fl_converter;

enum fl_converted {
    FL_CONVERT_NONE,            /* the event is as it should be, untouched */
    FL_CONVERT_DONE,            /* the event is a new one, built in the converter's memory: valid until the next call */
    FL_CONVERT_STORED,          /* an enter event, kept for the exit event of its thread: nothing to deliver */
    FL_CONVERT_DROPPED,         /* nothing to deliver */
    FL_CONVERT_ERROR,           /* no conversion is known, or the result is too long: `why` tells */
};

/* What is to be done with an event, by its type alone. */
enum fl_convert_rule {
    FL_RULE_PASS,               /* nothing */
    FL_RULE_COMPARE,            /* nothing, if it has all its parameters */
    FL_RULE_LOOK_UP,            /* look into the table of conversions */
    FL_RULE_DROP,
};

struct fl_convert_row {
    uint8_t rule;               /* enum fl_convert_rule */
    uint8_t nparams;            /* of the schema */
    uint8_t plain;              /* with so many parameters it passes as it is, and its lengths are u16; FL_NOT_PLAIN: it never does */
};

#define FL_NOT_PLAIN 0xff

extern const struct fl_convert_row fl_convert_rows[FL_EV_COUNT];

#define FL_STORED_SETS 8192u    /* stored enter events: FL_STORED_SETS x FL_STORED_WAYS threads */
#define FL_STORED_WAYS 8u
/* The longest enter event that is kept: two paths (4 KiB each) and change. */
#define FL_STORED_RECORD_MAX 16384u
/* Bytes of all stored enter events. An honest one has some 50 to 100 bytes, so that 64 K threads need 6 MB. */
#define FL_STORED_BYTES_MAX (64u << 20)
/* The longest record that a conversion makes: the longest old one, a stored one, and change. */
#define FL_CONVERTED_MAX (65536u + FL_STORED_RECORD_MAX + 1024u)

struct fl_converter *fl_converter_new(void);                /* NULL when memory is out */
void fl_converter_free(struct fl_converter *converter);
/* Forgets the stored enter events: a new section begins. */
void fl_converter_clear(struct fl_converter *converter);
uint64_t fl_converter_evicted(const struct fl_converter *converter);

/* Converts *event; `nparams` are the parameters that the record has (event->nparams may be less). Where event->record is NULL, there is no
 * record of the present layout yet: it is built, and the answer is FL_CONVERT_DONE where it would be FL_CONVERT_NONE. */
enum fl_converted fl_convert_slow(struct fl_converter *converter, struct fl_event *event, uint32_t nparams, char why[128]);

static inline enum fl_converted fl_convert(struct fl_converter *converter, struct fl_event *event, uint32_t nparams, char why[128])
{
    const struct fl_convert_row *row = &fl_convert_rows[event->type];
    if (__builtin_expect(event->record && (row->rule == FL_RULE_PASS || (row->rule == FL_RULE_COMPARE && nparams == row->nparams)), 1))
        return FL_CONVERT_NONE;
    return fl_convert_slow(converter, event, nparams, why);
}

#endif
