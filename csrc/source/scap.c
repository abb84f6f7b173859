/* SPDX-License-Identifier: Apache-2.0
 *
 * The framing of a .scap file: bytes in, blocks apart, items out.
 *
 * Memory: an event block is kept whole (64 KiB, FL_LARGE_BLOCK_MAX for large ones), the blocks of tables entry by entry (FL_ENTRY_MAX),
 * and blocks of unknown types are passed over without being kept. So what is kept besides the bytes of the last push is bounded, whatever
 * lengths a capture claims.
 */
#include "scap.h"

#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

#include "convert.h"
#include "decode.h"
#include "scap_blocks.h"

#define BLOCK_HEAD 8u
#define BLOCK_TAIL 4u
#define EVENT_BLOCK_MAX (BLOCK_HEAD + FL_BLOCK_PLAIN_MAX)
/* The format sets no limit to large ones. Their events carry plugins' data and containers' descriptions, of which 1 MiB is a lot. */
#define FL_LARGE_BLOCK_MAX (16u << 20)
/* The longest entry of a table: a process of V9, eight texts of 64 KiB each and change, and as much again for what newer writers append. */
#define FL_ENTRY_MAX (1u << 20)

enum mode {
    AT_BLOCK,                   /* the next bytes are a block's head */
    IN_TABLE,                   /* entries of a table, `rest` bytes of them */
    IN_SKIPPED,                 /* `rest` bytes that nobody needs */
    AT_TAIL,                    /* the length again */
};

struct fl_scap {
    const uint8_t *at, *stop;   /* bytes not yet read, in data; with `lent`, in the caller's memory */
    const uint8_t *next;        /* bytes that are lent and come after those */
    size_t next_len;
    int lent;
    uint8_t *data;
    size_t room;
    enum mode mode;
    int ready;                  /* mode is AT_BLOCK, in a section, and nothing failed: an event may be next */
    uint64_t block_offset;
    uint32_t block_code, block_len, rest;
    const struct fl_block_info *block;
    int64_t fdl_tid;
    int fdl_head;               /* the thread's id is still to come */
    int in_section, events_seen;
    struct fl_converter *converter;
    struct fl_scap_stats stats;
    struct fl_error failed;     /* code 0: not yet */
};

struct fl_scap *fl_scap_new(void)
{
    struct fl_scap *s = calloc(1, sizeof *s);
    if (!s)
        return NULL;
    s->room = 4096;
    s->data = malloc(s->room);
    s->at = s->stop = s->data;
    s->converter = fl_converter_new();
    if (!s->data || !s->converter) {
        fl_scap_free(s);
        return NULL;
    }
    return s;
}

void fl_scap_free(struct fl_scap *s)
{
    if (!s)
        return;
    fl_converter_free(s->converter);
    free(s->data);
    free(s);
}

/* Copies bytes behind those that are not yet read, which are in data. */
static int append(struct fl_scap *s, const uint8_t *bytes, size_t len)
{
    size_t kept = (size_t)(s->stop - s->at);

    if (len == 0)
        return FL_OK;
    if (len > SIZE_MAX / 4 - kept)
        return FL_ERR_MEMORY;
    if (s->room - (size_t)(s->stop - s->data) < len) {
        /* Moved only when that frees half of the room, so that small pushes don't move a long block again and again. */
        if (s->room / 2 < kept + len) {
            size_t room = s->room;
            while (room / 2 < kept + len)
                room *= 2;
            uint8_t *data = malloc(room);
            if (!data)
                return FL_ERR_MEMORY;
            memcpy(data, s->at, kept);
            free(s->data);
            s->data = data;
            s->room = room;
        } else {
            memmove(s->data, s->at, kept);
        }
        s->at = s->data;
        s->stop = s->data + kept;
    }
    memcpy(s->data + (s->stop - s->data), bytes, len);
    s->stop += len;
    return FL_OK;
}

/* Copies what is lent and not yet read. */
static int keep(struct fl_scap *s)
{
    const uint8_t *at = s->at;
    size_t len = (size_t)(s->stop - at), more = s->next_len;

    s->next_len = 0;
    if (s->lent) {
        s->lent = 0;
        s->at = s->stop = s->data;
        if (append(s, at, len))
            return FL_ERR_MEMORY;
    }
    return append(s, s->next, more);
}

int fl_scap_push(struct fl_scap *s, const void *bytes, size_t len)
{
    if (keep(s) || append(s, bytes, len))
        return FL_ERR_MEMORY;
    s->stats.bytes += len;
    return FL_OK;
}

int fl_scap_lend(struct fl_scap *s, const void *bytes, size_t len)
{
    if (keep(s))
        return FL_ERR_MEMORY;
    size_t kept = (size_t)(s->stop - s->at), first = len;
    uint32_t block;
    if (kept == 0 && len) {
        s->at = bytes;
        s->stop = s->at + len;
        s->lent = 1;
    } else {
        /* The block that has begun is put together in data; what follows it is read where it is. */
        if (s->mode == AT_BLOCK && kept >= BLOCK_HEAD) {
            memcpy(&block, s->at + 4, 4);
            if (block > kept && block - kept < len)
                first = block - kept;
        }
        if (append(s, bytes, first))
            return FL_ERR_MEMORY;
        s->next = (const uint8_t *)bytes + first;
        s->next_len = len - first;
    }
    s->stats.bytes += len;
    return FL_OK;
}

/* The place in the capture of the next byte to read. */
static uint64_t offset(const struct fl_scap *s)
{
    return s->stats.bytes - (uint64_t)(s->stop - s->at) - s->next_len;
}

static int fail(struct fl_scap *s, struct fl_error *error, const char *format, ...) __attribute__((format(printf, 3, 4), cold));
static int fail(struct fl_scap *s, struct fl_error *error, const char *format, ...)
{
    char why[160];
    va_list args;
    va_start(args, format);
    vsnprintf(why, sizeof why, format, args);
    va_end(args);
    fl_fail(&s->failed, FL_ERR_CAPTURE, "capture offset %" PRIu64 ": block %s (0x%" PRIx32 "): %s", s->block_offset,
            s->block ? s->block->name : "of unknown type", s->block_code, why);
    s->ready = 0;
    if (error)
        *error = s->failed;
    return s->failed.code;
}

/* ---- events ---- */

/* Records of V1 lack the number of parameters: it is the largest one, up to the schema's, with which the lengths fill the record. */
static int decode_v1(struct fl_event *ev, const uint8_t *record, uint32_t room)
{
    uint32_t len, header = FL_RECORD_HEADER - 4;
    uint16_t type;
    memcpy(&len, record + 16, 4);
    memcpy(&type, record + 20, 2);
    /* Writers of that time counted three bytes too many in these two. */
    if ((type == FL_EV_NOTIFICATION_E || type == FL_EV_INFRASTRUCTURE_EVENT_E) && len >= 3)
        len -= 3;
    if (len < header || len > room)
        return -1;

    const uint8_t *words = record + header;
    uint32_t width = fl_events[type].flags & EF_LARGE_PAYLOAD ? 4 : 2, payload = len - header;
    for (int n = fl_events[type].nparams; n >= 0; n--) {
        uint64_t sum = (uint64_t)width * (unsigned)n;
        if (sum > payload)
            continue;
        const uint8_t *value = words + sum;
        for (int i = 0; i < n; i++) {
            uint32_t word = 0;
            memcpy(&word, words + width * (unsigned)i, width);
            ev->len[i] = word;
            ev->param[i] = value;
            sum += word;
            if (sum > payload)
                break;
            value += word;
        }
        if (sum != payload)
            continue;
        memcpy(&ev->ts, record, 8);
        memcpy(&ev->tid, record + 8, 8);
        ev->type = type;
        ev->nparams = (uint32_t)n;
        ev->record = NULL;
        ev->size = 0;
        fl_event_not_live(ev);
        return 0;
    }
    return -1;
}

/* What is wrong with a record that can't be taken apart. */
static int bad_record(struct fl_scap *s, struct fl_error *error, const uint8_t *record, uint32_t room, int v1)
{
    uint32_t len, nparams;
    uint16_t type;
    memcpy(&len, record + 16, 4);
    memcpy(&type, record + 20, 2);
    memcpy(&nparams, record + 22, 4);
    if (len > room)
        return fail(s, error, "record length %" PRIu32 " exceeds the block", len);
    if (len < (v1 ? FL_RECORD_HEADER - 4 : FL_RECORD_HEADER))
        return fail(s, error, "record length %" PRIu32 " is less than its header", len);
    if (!v1 && nparams > FL_MAX_PARAMS)
        return fail(s, error, "record with %" PRIu32 " parameters, more than %d", nparams, FL_MAX_PARAMS);
    return fail(s, error, "the lengths of the parameters of a %s record don't fit its length %" PRIu32, fl_events[type].code, len);
}

/* An event block's body. 1: an event is in *item; 0: there is none in it; negative: an error. */
static int event_block(struct fl_scap *s, const uint8_t *body, uint32_t len, unsigned version, struct fl_scap_item *item,
                       struct fl_error *error)
{
    struct fl_event *ev = &item->event;
    uint32_t head = version & FL_EVB_FLAGS ? 6 : 2;
    uint32_t header = version & FL_EVB_NPARAMS ? FL_RECORD_HEADER : FL_RECORD_HEADER - 4;
    uint16_t type, cpu;
    uint32_t nparams, flags = 0;
    char why[128];

    if (len < head + header)
        return fail(s, error, "too short for a record");
    const uint8_t *record = body + head;
    uint32_t room = len - head;

    memcpy(&type, record + 20, 2);
    if (type >= FL_EV_COUNT) {
        s->stats.unknown++;
        return 0;
    }
    memcpy(&cpu, body, 2);
    if (version & FL_EVB_FLAGS)
        memcpy(&flags, body + 2, 4);
    if (version & FL_EVB_NPARAMS) {
        if (fl_event_decode(ev, record, room))
            return bad_record(s, error, record, room, 0);
        memcpy(&nparams, record + 22, 4);
    } else {
        if (decode_v1(ev, record, room))
            return bad_record(s, error, record, room, 1);
        nparams = ev->nparams;
    }
    enum fl_converted converted = fl_convert(s->converter, ev, nparams, why);
    if (__builtin_expect(converted != FL_CONVERT_NONE, 0)) {
        switch (converted) {
        case FL_CONVERT_STORED: s->stats.stored++; return 0;
        case FL_CONVERT_DROPPED: s->stats.dropped++; return 0;
        case FL_CONVERT_ERROR: return fail(s, error, "%s", why);
        default: s->stats.converted++; break;
        }
    }
    ev->num = ++s->stats.events;
    ev->cpu = cpu;
    ev->hidden = flags & 1;
    item->kind = FL_SCAP_EVENT;
    return 1;
}

/* ---- blocks ---- */

static int check_tail(struct fl_scap *s, const uint8_t *tail, struct fl_error *error)
{
    uint32_t again;
    memcpy(&again, tail, 4);
    if (again != s->block_len)
        return fail(s, error, "its length is %" PRIu32 " at its head and %" PRIu32 " at its end", s->block_len, again);
    return FL_OK;
}

/* The head of a block that isn't an event's. */
static int begin_block(struct fl_scap *s, struct fl_scap_item *item, struct fl_error *error)
{
    if (!s->in_section && s->block_code != FL_BLOCK_SHB)
        return fail(s, error, "not a .scap capture: it doesn't begin with a section header");
    if (s->block_len < BLOCK_HEAD + BLOCK_TAIL)
        return fail(s, error, "block length %" PRIu32 " is less than 12", s->block_len);
    if (s->block && s->block->class_ != FL_BLOCK_SECTION && s->events_seen) {
        /* Tables after events, without a section header: a capture that was restarted. */
        s->events_seen = 0;
        s->stats.sections++;
        fl_converter_clear(s->converter);
        item->kind = FL_SCAP_SECTION;
        return FL_OK;
    }
    s->at += BLOCK_HEAD;
    s->stats.blocks++;
    s->rest = s->block_len - BLOCK_HEAD - BLOCK_TAIL;
    s->fdl_head = s->block && s->block->class_ == FL_BLOCK_FDS;
    s->mode = s->block ? IN_TABLE : IN_SKIPPED;
    s->ready = 0;
    s->stats.skipped_blocks += !s->block;
    return FL_OK;
}

/* The next entry of a table; item->kind stays FL_SCAP_MORE if there is none in it. *wait: there aren't enough bytes. */
static int table_entry(struct fl_scap *s, struct fl_scap_item *item, int *wait, struct fl_error *error)
{
    int list = s->block->class_ != FL_BLOCK_SECTION && s->block->class_ != FL_BLOCK_MACHINE;
    if (list && s->rest < 4 && !s->fdl_head) {
        s->mode = IN_SKIPPED;   /* padding */
        return FL_OK;
    }
    uint32_t window = s->rest < FL_ENTRY_MAX ? s->rest : FL_ENTRY_MAX;
    size_t used = 0;
    char why[128];
    if ((size_t)(s->stop - s->at) < window) {
        *wait = 1;
        return FL_OK;
    }
    const uint8_t *data = s->at;
    if (s->fdl_head) {
        if (window < 8)
            return fail(s, error, "too short");
        memcpy(&s->fdl_tid, data, 8);
        s->fdl_head = 0;
        used = 8;
    } else if (fl_block_entry(s->block, data, window, s->fdl_tid, item, &used, why)) {
        return fail(s, error, "%s", why);
    }
    s->at += used;
    s->rest -= (uint32_t)used;
    if (!list)
        s->mode = IN_SKIPPED;   /* options */
    if (item->kind == FL_SCAP_SECTION) {
        s->in_section = 1;
        s->events_seen = 0;
        s->stats.sections++;
        fl_converter_clear(s->converter);
    }
    return FL_OK;
}

static __attribute__((noinline)) int any_item(struct fl_scap *s, struct fl_scap_item *item, struct fl_error *error)
{
    item->kind = FL_SCAP_MORE;
    if (s->failed.code) {
        if (error)
            *error = s->failed;
        return s->failed.code;
    }
    for (;;) {
        size_t available = (size_t)(s->stop - s->at);
        const uint8_t *data = s->at;
        int result, wait = 0;

        switch (s->mode) {
        case AT_BLOCK:
            if (available < BLOCK_HEAD)
                return FL_OK;
            s->block_offset = offset(s);
            memcpy(&s->block_code, data, 4);
            memcpy(&s->block_len, data + 4, 4);
            s->block = fl_block_find(s->block_code);
            if (__builtin_expect(!s->block || s->block->class_ != FL_BLOCK_EVENT || !s->in_section, 0)) {
                if ((result = begin_block(s, item, error)) || item->kind != FL_SCAP_MORE)
                    return result;
                break;
            }
            unsigned version = s->block->version;
            uint32_t len = s->block_len;
            if (len < BLOCK_HEAD + BLOCK_TAIL)
                return fail(s, error, "block length %" PRIu32 " is less than 12", len);
            if (len > (version & FL_EVB_LARGE ? FL_LARGE_BLOCK_MAX : EVENT_BLOCK_MAX))
                return fail(s, error, "block length %" PRIu32 " exceeds %u", len,
                            version & FL_EVB_LARGE ? FL_LARGE_BLOCK_MAX : EVENT_BLOCK_MAX);
            if (available < len)
                return FL_OK;
            if ((result = check_tail(s, data + len - BLOCK_TAIL, error)))
                return result;
            s->events_seen = 1;
            s->at += len;
            if ((result = event_block(s, data + BLOCK_HEAD, len - BLOCK_HEAD - BLOCK_TAIL, version, item, error)))
                return result < 0 ? result : FL_OK;
            break;
        case IN_TABLE:
            if ((result = table_entry(s, item, &wait, error)))
                return result;
            if (wait || item->kind != FL_SCAP_MORE)
                return FL_OK;
            break;
        case IN_SKIPPED: {
            size_t bytes = s->rest < available ? s->rest : available;
            s->at += bytes;
            s->rest -= (uint32_t)bytes;
            if (s->rest)
                return FL_OK;
            s->mode = AT_TAIL;
            break;
        }
        case AT_TAIL:
            if (available < BLOCK_TAIL)
                return FL_OK;
            if ((result = check_tail(s, data, error)))
                return result;
            s->at += BLOCK_TAIL;
            s->mode = AT_BLOCK;
            s->ready = s->in_section;
            break;
        }
    }
}

/* As any_item; at the end of the bytes it goes on with what is lent, and leaves nothing there. */
static __attribute__((noinline)) int next_item(struct fl_scap *s, struct fl_scap_item *item, struct fl_error *error)
{
    for (;;) {
        int result = any_item(s, item, error);
        if (result || item->kind != FL_SCAP_MORE)
            return result;
        size_t next = s->next_len;
        if (next && s->at == s->stop) {
            s->at = s->next;
            s->stop = s->next + next;
            s->next_len = 0;
            s->lent = 1;
            continue;
        }
        if (keep(s)) {
            fl_fail(&s->failed, FL_ERR_MEMORY, "out of memory");
            s->ready = 0;
            if (error)
                *error = s->failed;
            return FL_ERR_MEMORY;
        }
        if (!next)
            return FL_OK;
    }
}

/* The common case in one go: a complete and correct block of the present version (`head`: bytes before the record, a constant) with an event
 * of the present schema. -1 if it isn't that: nothing is consumed then, and the general way takes its turn. */
static inline __attribute__((always_inline)) int plain_event(struct fl_scap *s, struct fl_scap_item *item, const uint8_t *data,
                                                             size_t available, const uint32_t head)
{
    struct fl_event *ev = &item->event;
    const uint8_t *record = data + head;
    uint32_t len, again, size, nparams, flags = 0;
    uint16_t type;

    memcpy(&len, data + 4, 4);
    if (len > available || len > EVENT_BLOCK_MAX || len < head + FL_RECORD_HEADER + BLOCK_TAIL)
        return -1;
    memcpy(&again, data + len - BLOCK_TAIL, 4);
    memcpy(&size, record + 16, 4);
    memcpy(&type, record + 20, 2);
    memcpy(&nparams, record + 22, 4);
    uint32_t left = size - FL_RECORD_HEADER;        /* a size below the header's wraps, and is too long */
    if (again != len || left > len - (head + FL_RECORD_HEADER + BLOCK_TAIL) || type >= FL_EV_COUNT || nparams != fl_convert_rows[type].plain)
        return -1;
    if (head == BLOCK_HEAD + 6)
        memcpy(&flags, data + BLOCK_HEAD + 2, 4);
    memcpy(&ev->ts, record, 8);
    memcpy(&ev->tid, record + 8, 8);
    ev->type = type;
    memcpy(&ev->cpu, data + BLOCK_HEAD, 2);
    ev->hidden = flags & 1;
    ev->nparams = nparams;
    ev->record = record;
    ev->size = size;
    if (fl_decode_params(ev, record + FL_RECORD_HEADER, 2, nparams, left))
        return -1;
    s->at = data + len;
    s->events_seen = 1;
    ev->num = ++s->stats.events;
    item->kind = FL_SCAP_EVENT;
    return 0;
}

int fl_scap_next(struct fl_scap *s, struct fl_scap_item *item, struct fl_error *error)
{
    const uint8_t *data = s->at;
    size_t available = (size_t)(s->stop - data);
    uint32_t code;

    if (__builtin_expect(s->ready && available >= BLOCK_HEAD, 1)) {
        memcpy(&code, data, 4);
        if (__builtin_expect(code == FL_BLOCK_EV_V2, 1)) {
            if (__builtin_expect(plain_event(s, item, data, available, BLOCK_HEAD + 2) == 0, 1))
                return FL_OK;
        } else if (code == FL_BLOCK_EVF_V2) {
            if (plain_event(s, item, data, available, BLOCK_HEAD + 6) == 0)
                return FL_OK;
        }
    }
    return next_item(s, item, error);
}

int fl_scap_finish(struct fl_scap *s, struct fl_error *error)
{
    if (s->failed.code) {
        if (error)
            *error = s->failed;
        return s->failed.code;
    }
    size_t available = (size_t)(s->stop - s->at);
    if (s->mode == AT_BLOCK && available < BLOCK_HEAD) {
        if (available == 0 && s->in_section)
            return FL_OK;
        fl_fail(&s->failed, FL_ERR_CAPTURE, "capture offset %" PRIu64 ": %s", offset(s),
                s->stats.bytes == 0 ? "the capture is empty" : s->in_section ? "truncated in a block's head" : "not a .scap capture");
        if (error)
            *error = s->failed;
        return s->failed.code;
    }
    return fail(s, error, "truncated: the capture ends after %" PRIu64 " of the block's %" PRIu32 " bytes", s->stats.bytes - s->block_offset,
                s->block_len);
}

struct fl_scap_stats fl_scap_get_stats(const struct fl_scap *s)
{
    struct fl_scap_stats stats = s->stats;
    stats.records = stats.events + stats.stored + stats.dropped + stats.unknown;
    stats.blocks += stats.records;
    stats.evicted = fl_converter_evicted(s->converter);
    return stats;
}
