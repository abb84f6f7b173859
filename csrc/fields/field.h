/* SPDX-License-Identifier: Apache-2.0
 *
 * Fields: one extractor each, named after it. An extractor reads the event and the state, and makes a value.
 */
#ifndef FL_FIELD_H
#define FL_FIELD_H

#include "../base/scratch.h"
#include "../state/state.h"
#include "value.h"

/* What extractors read. */
struct fl_view {
    struct fl_state *state;
    const struct fl_event *ev;
    const struct fl_now *now;
    struct fl_scratch *scratch;
    uint64_t first_ts;          /* ns: of the first event, for evt.reltime */
    uint64_t previous_ts;       /* ns: of the event before, for evt.deltatime; 0 = this is the first */
    const char *source;         /* "syscall" */
    const char *hostname;
    bool base64;                /* bytes are printed so */
};

/* A field's argument: [2], [name] or .name, taken apart at load. */
struct fl_field_argument {
    uint8_t has_index, has_key;
    int64_t index;
    const char *key;            /* NUL-terminated */
    uint32_t key_len;
};

/* True and *out set if there is a value; false if it is absent. */
typedef bool fl_extractor(const struct fl_view *view, const struct fl_field_argument *arg, struct fl_value *out);

#define FIELD(id, name, type, format, argument, flags, class, description) fl_extractor fl_field_##id;
#include "../schema/fields.def"
#undef FIELD

extern fl_extractor *const fl_extractors[FL_FIELD_COUNT];

/* Extracts a field; out->kind is FL_ABSENT if there is no value. */
static inline bool fl_extract(const struct fl_view *view, unsigned field, const struct fl_field_argument *arg, struct fl_value *out)
{
    if (fl_extractors[field](view, arg, out))
        return true;
    out->kind = FL_ABSENT;
    return false;
}

/* Renders parameter i of an event as evt.args does: the value, then what it resolves to (C1 of the spec: "3(<f>/etc/passwd)").
 * Into scratch memory; false when that is used up. With `resolved_only`, the resolved part where there is one, as evt.arg prints
 * it. */
bool fl_param_render(const struct fl_view *view, unsigned i, bool resolved_only, struct fl_value *out);

#endif
