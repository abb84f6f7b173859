/* SPDX-License-Identifier: Apache-2.0 */
#include "convert.h"

#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

/* ---- the tables ---- */

#define RULE_OF(id, flags) \
    ((flags) & EF_UNUSED ? FL_RULE_DROP \
     : !((flags) & EF_CONVERTER_MANAGED) ? (!((id) & 1) && ((flags) & EF_OLD_VERSION) ? FL_RULE_DROP : FL_RULE_PASS) \
     : !((id) & 1) || ((flags) & EF_OLD_VERSION) ? FL_RULE_LOOK_UP : FL_RULE_COMPARE)

const struct fl_convert_row fl_convert_rows[FL_EV_COUNT] = {
#define EVENT(code, id, name, category, flags, ...) \
    [id] = {RULE_OF(id, (flags)), FL_NPARAMS(code), \
            RULE_OF(id, (flags)) <= FL_RULE_COMPARE && !((flags) & EF_LARGE_PAYLOAD) ? FL_NPARAMS(code) : FL_NOT_PLAIN},
#include "../schema/events.def"
#undef EVENT
};

enum action { NOT_KNOWN, STORE, STORE_AND_PASS, PASS, ADD_PARAMS, CHANGE_TYPE };

/* A source in one byte: its kind in the upper bits, the parameter in the lower five. */
enum { FROM_OLD = 0x00, FROM_ENTER = 0x20, FROM_ENTER_OR_EMPTY = 0x40, FROM_EMPTY = 0x60, FROM_ZERO = 0x80, FROM_CONTAINER = 0xa0,
       FROM_MASK = 0xe0 };

struct conversion {
    uint8_t action;             /* enum action */
    uint8_t count;              /* sources */
    uint16_t to;                /* enum fl_event_type */
    const uint8_t *sources;
};

enum conversion_id {
    CONVERSION_NONE,
#define CONVERT(event, nparams, action, to, sources) CONVERSION_##event##_##nparams,
#include "../schema/conversions.def"
#undef CONVERT
    CONVERSIONS
};

#define OLD(n) FROM_OLD | n,
#define ENTER(n) FROM_ENTER | n,
#define ENTER_OR_EMPTY(n) FROM_ENTER_OR_EMPTY | n,
#define EMPTY FROM_EMPTY,
#define ZERO FROM_ZERO,
#define CONTAINER FROM_CONTAINER,
static const struct conversion conversions[CONVERSIONS] = {
#define CONVERT(event, nparams, action, to, sources) \
    [CONVERSION_##event##_##nparams] = {action, sizeof((const uint8_t[]){sources 0}) - 1, FL_EV_##to, (const uint8_t[]){sources 0}},
#include "../schema/conversions.def"
#undef CONVERT
};
#undef OLD
#undef ENTER
#undef ENTER_OR_EMPTY
#undef EMPTY
#undef ZERO
#undef CONTAINER

/* The conversion of an event with so many parameters. */
static const uint16_t conversion_of[FL_EV_COUNT][FL_MAX_PARAMS + 1] = {
#define CONVERT(event, nparams, action, to, sources) [FL_EV_##event][nparams] = CONVERSION_##event##_##nparams,
#include "../schema/conversions.def"
#undef CONVERT
};

/* ---- stored enter events ----
 * A table of fixed size, by thread: sets of FL_STORED_WAYS entries, of which the oldest gives way. A capture can't make it grow; what an
 * honest one needs (the threads that are inside a system call) fits. */

struct stored {
    uint64_t tid;
    uint8_t *record;            /* NULL: free */
    uint32_t size, room;
    uint64_t stamp;             /* rises with each store; 0: holds nothing now */
};

struct fl_converter {
    struct stored *stored;      /* NULL until the first one */
    uint64_t stamp, evicted;
    size_t bytes;               /* sum of room */
    uint8_t record[FL_CONVERTED_MAX];
    char json[65536];
};

struct fl_converter *fl_converter_new(void)
{
    return calloc(1, sizeof(struct fl_converter));
}

static void free_stored(struct fl_converter *c)
{
    if (c->stored)
        for (size_t i = 0; i < (size_t)FL_STORED_SETS * FL_STORED_WAYS; i++)
            free(c->stored[i].record);
    free(c->stored);
    c->stored = NULL;
    c->bytes = 0;
}

void fl_converter_free(struct fl_converter *c)
{
    if (!c)
        return;
    free_stored(c);
    free(c);
}

void fl_converter_clear(struct fl_converter *c)
{
    free_stored(c);
}

uint64_t fl_converter_evicted(const struct fl_converter *c)
{
    return c->evicted;
}

static struct stored *stored_set(const struct fl_converter *c, uint64_t tid)
{
    uint64_t hash = tid * 0x9e3779b97f4a7c15u;
    return &c->stored[(hash >> 32) % FL_STORED_SETS * FL_STORED_WAYS];
}

static void store(struct fl_converter *c, const struct fl_event *ev)
{
    if (!c->stored && !(c->stored = calloc((size_t)FL_STORED_SETS * FL_STORED_WAYS, sizeof *c->stored))) {
        c->evicted++;
        return;
    }
    struct stored *set = stored_set(c, (uint64_t)ev->tid), *slot = set;
    for (unsigned i = 0; i < FL_STORED_WAYS; i++) {
        if (set[i].stamp && set[i].tid == (uint64_t)ev->tid) {
            slot = &set[i];
            break;
        }
        if (set[i].stamp < slot->stamp)
            slot = &set[i];
    }
    if (slot->stamp && slot->tid != (uint64_t)ev->tid)
        c->evicted++;
    slot->stamp = 0;
    if (ev->size > FL_STORED_RECORD_MAX) {
        c->evicted++;
        return;
    }
    if (slot->room < ev->size) {
        uint32_t room = (ev->size + 63) & ~63u;
        if (c->bytes - slot->room + room > FL_STORED_BYTES_MAX) {
            /* Only a hostile capture comes here: begin anew. */
            for (size_t i = 0; i < (size_t)FL_STORED_SETS * FL_STORED_WAYS; i++)
                c->evicted += c->stored[i].stamp != 0;
            free_stored(c);
            store(c, ev);
            return;
        }
        uint8_t *record = realloc(slot->record, room);
        if (!record) {
            c->evicted++;
            return;
        }
        c->bytes += room - slot->room;
        slot->record = record;
        slot->room = room;
    }
    memcpy(slot->record, ev->record, ev->size);
    slot->size = ev->size;
    slot->tid = (uint64_t)ev->tid;
    slot->stamp = ++c->stamp;
}

/* The stored enter event of this exit event; 0, or -1 if there is none. It stays stored, as in Falco: until the thread's next one. */
static int stored_enter(const struct fl_converter *c, const struct fl_event *ev, struct fl_event *enter)
{
    if (!c->stored)
        return -1;
    const struct stored *set = stored_set(c, (uint64_t)ev->tid);
    for (unsigned i = 0; i < FL_STORED_WAYS; i++)
        if (set[i].stamp && set[i].tid == (uint64_t)ev->tid)
            return fl_event_decode(enter, set[i].record, set[i].size) == 0 && enter->type + 1 == ev->type ? 0 : -1;
    return -1;
}

/* ---- the four parameters of an old container event (id, type, name, image) as the JSON text of a new one ---- */

struct text {
    char *data;
    size_t used, size;
    int full;
};

static void text_add(struct text *t, const char *bytes, size_t len)
{
    if (len > t->size - t->used) {
        t->full = 1;
        return;
    }
    memcpy(t->data + t->used, bytes, len);
    t->used += len;
}

static void text_quoted(struct text *t, struct fl_slice s)
{
    text_add(t, "\"", 1);
    for (uint32_t i = 0; i < s.len; i++) {
        unsigned char ch = (unsigned char)s.data[i];
        if (ch < 0x20) {
            char escape[8];
            snprintf(escape, sizeof escape, "\\u%04x", ch);
            text_add(t, escape, 6);
        } else {
            if (ch == '"' || ch == '\\')
                text_add(t, "\\", 1);
            text_add(t, &s.data[i], 1);
        }
    }
    text_add(t, "\"", 1);
}

static int container_json(struct fl_converter *c, const struct fl_event *ev, uint32_t *len)
{
    struct text t = {c->json, 0, sizeof c->json, 0};
    char type[16];

    text_add(&t, "{\"container\":{\"id\":", 19);
    text_quoted(&t, fl_param_text(ev, FL_P(CONTAINER_E, id)));
    text_add(&t, ",\"type\":", 8);
    int n = snprintf(type, sizeof type, "%" PRIu32, fl_param_u32(ev, FL_P(CONTAINER_E, type)));
    text_add(&t, type, (size_t)n);
    text_add(&t, ",\"name\":", 8);
    text_quoted(&t, fl_param_text(ev, FL_P(CONTAINER_E, name)));
    text_add(&t, ",\"image\":", 9);
    text_quoted(&t, fl_param_text(ev, FL_P(CONTAINER_E, image)));
    text_add(&t, "}}", 3);      /* with its NUL */
    *len = (uint32_t)t.used;
    return t.full ? -1 : 0;
}

/* ---- one step ---- */

static const uint8_t zeros[16];
static const uint8_t ones[4] = {0xff, 0xff, 0xff, 0xff};

static void zero_of(const struct fl_param_info *param, const uint8_t **data, uint32_t *len)
{
    *data = param->type == FL_T_UID || param->type == FL_T_GID ? ones : zeros;
    *len = fl_type_bytes[param->type];
}

/* The sources of a conversion become parameters `first` and following of `to`. */
static int take_params(struct fl_converter *c, const struct conversion *conversion, const struct fl_event *old, struct fl_event *to,
                       unsigned first)
{
    struct fl_event enter;
    int have_enter = -1;        /* not yet asked */
    const struct fl_event_info *info = &fl_events[to->type];

    for (unsigned i = 0; i < conversion->count; i++) {
        uint8_t source = conversion->sources[i];
        unsigned n = source & 31, p = first + i;
        if (p >= info->nparams)
            return -1;
        to->param[p] = zeros;
        to->len[p] = 0;
        switch (source & FROM_MASK) {
        case FROM_OLD:
            if (n < old->nparams) {
                to->param[p] = old->param[n];
                to->len[p] = old->len[n];
            }
            break;
        case FROM_ENTER:
        case FROM_ENTER_OR_EMPTY:
            if (have_enter < 0)
                have_enter = stored_enter(c, old, &enter) == 0;
            if (have_enter && n < enter.nparams) {
                to->param[p] = enter.param[n];
                to->len[p] = enter.len[n];
            } else if ((source & FROM_MASK) == FROM_ENTER) {
                zero_of(&info->params[p], &to->param[p], &to->len[p]);
            }
            break;
        case FROM_ZERO:
            zero_of(&info->params[p], &to->param[p], &to->len[p]);
            break;
        case FROM_CONTAINER:
            if (container_json(c, old, &to->len[p]))
                return -1;
            to->param[p] = (const uint8_t *)c->json;
            break;
        default:                /* FROM_EMPTY */
            break;
        }
    }
    to->nparams = first + conversion->count;
    return 0;
}

static enum fl_converted fail(char why[128], const char *format, ...) __attribute__((format(printf, 2, 3)));
static enum fl_converted fail(char why[128], const char *format, ...)
{
    va_list args;
    va_start(args, format);
    vsnprintf(why, 128, format, args);
    va_end(args);
    return FL_CONVERT_ERROR;
}

#define MAX_STEPS 50

enum fl_converted fl_convert_slow(struct fl_converter *c, struct fl_event *event, uint32_t nparams, char why[128])
{
    for (int step = 0; step < MAX_STEPS; step++) {
        const struct fl_convert_row *row = &fl_convert_rows[event->type];
        const struct conversion *conversion = NULL;
        enum action action = PASS;

        if (row->rule == FL_RULE_DROP)
            return FL_CONVERT_DROPPED;
        if (row->rule == FL_RULE_LOOK_UP || (row->rule == FL_RULE_COMPARE && nparams != row->nparams)) {
            if (nparams > FL_MAX_PARAMS || !conversion_of[event->type][nparams])
                return fail(why, "no conversion of a %s record with %" PRIu32 " parameters is known", fl_events[event->type].code, nparams);
            conversion = &conversions[conversion_of[event->type][nparams]];
            action = (enum action)conversion->action;
        }
        switch (action) {
        case PASS:
            if (event->record)
                return FL_CONVERT_NONE;
            if (fl_event_build(event, c->record, sizeof c->record))
                return fail(why, "the converted %s record is too long", fl_events[event->type].code);
            return FL_CONVERT_DONE;
        case STORE:
        case STORE_AND_PASS:
            break;
        case ADD_PARAMS:
            if (take_params(c, conversion, event, event, event->nparams))
                return fail(why, "the %s record can't be converted", fl_events[event->type].code);
            event->record = NULL;
            break;
        default: {              /* CHANGE_TYPE */
            struct fl_event old = *event;
            event->type = conversion->to;
            if (take_params(c, conversion, &old, event, 0))
                return fail(why, "the %s record can't be converted", fl_events[old.type].code);
            event->record = NULL;
            break;
        }
        }
        nparams = event->nparams;
        if (action == STORE || action == STORE_AND_PASS) {
            int stored_as_is = event->record != NULL;
            if (!stored_as_is && fl_event_build(event, c->record, sizeof c->record))
                return fail(why, "the converted %s record is too long", fl_events[event->type].code);
            store(c, event);
            return action == STORE ? FL_CONVERT_STORED : stored_as_is ? FL_CONVERT_NONE : FL_CONVERT_DONE;
        }
    }
    return fail(why, "the conversion of a %s record doesn't end", fl_events[event->type].code);
}
