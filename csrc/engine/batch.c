/* SPDX-License-Identifier: Apache-2.0 */
#include "batch.h"

#include <stdlib.h>
#include <string.h>

/* The head of a match, as falcolib.h tells it. */
struct __attribute__((packed)) head {
    uint32_t size, rule;
    uint64_t num, ts;
    int64_t tid;
    uint16_t type, cpu;
    uint32_t record_size, values;
};

static uint8_t *grow(struct fl_batch *b, size_t n)
{
    if (b->size - b->len < n) {
        size_t size = b->size ? b->size : 4096;
        while (size - b->len < n)
            size *= 2;
        uint8_t *data = realloc(b->data, size);
        if (!data)
            return NULL;
        b->data = data;
        b->size = size;
    }
    uint8_t *at = b->data + b->len;
    b->len += n;
    return at;
}

static int put(struct fl_batch *b, const void *bytes, size_t n)
{
    uint8_t *at = grow(b, n);
    if (!at)
        return -1;
    if (n)
        memcpy(at, bytes, n);
    return 0;
}

int fl_batch_begin(struct fl_batch *b, uint32_t rule, const struct fl_event *ev, bool incomplete)
{
    struct head head = {.rule = rule, .num = ev->num, .ts = ev->ts, .tid = ev->tid, .type = ev->type, .record_size = ev->size};
    head.cpu = (uint16_t)((ev->cpu & ~FL_MATCH_INCOMPLETE) | (incomplete ? FL_MATCH_INCOMPLETE : 0));
    b->match = b->len;
    return put(b, &head, sizeof head);
}

static int put_scalar(struct fl_batch *b, const struct fl_value *v)
{
    switch (v->kind) {
    case FL_BOOL: {
        uint8_t u = v->u != 0;
        return put(b, &u, 1);
    }
    case FL_I64: case FL_U64: case FL_F64:
        return put(b, &v->u, 8);
    case FL_STR: case FL_BYTES: case FL_IP: case FL_NET:
        return put(b, &v->len, 4) || put(b, v->s, v->len) ? -1 : 0;
    default:
        return 0;
    }
}

/* What a value takes, or a little more. */
static uint64_t bytes_of(const struct fl_value *v)
{
    uint64_t bytes = 9;

    if (v->kind == FL_LIST) {
        for (uint32_t i = 0; i < v->len; i++)
            bytes += v->list[i].kind < FL_STR ? 9 : 5 + (uint64_t)v->list[i].len;
    } else if (v->kind >= FL_STR) {
        bytes += v->len;
    }
    return bytes;
}

int fl_batch_value(struct fl_batch *b, const struct fl_value *v)
{
    static const struct fl_value absent = {.kind = FL_ABSENT};

    if (b->len - b->match + bytes_of(v) > FL_MATCH_BYTES)
        v = &absent;
    if (put(b, &v->kind, 1))
        return -1;
    if (v->kind != FL_LIST)
        return put_scalar(b, v);
    if (put(b, &v->len, 4))
        return -1;
    for (uint32_t i = 0; i < v->len; i++)       /* lists don't nest */
        if (put(b, &v->list[i].kind, 1) || put_scalar(b, &v->list[i]))
            return -1;
    return 0;
}

int fl_batch_end(struct fl_batch *b, uint32_t values, const struct fl_event *ev)
{
    if (put(b, ev->record, ev->size))
        return -1;
    uint32_t size = (uint32_t)(b->len - b->match);
    memcpy(b->data + b->match + offsetof(struct head, size), &size, sizeof size);
    memcpy(b->data + b->match + offsetof(struct head, values), &values, sizeof values);
    b->matches++;
    return 0;
}

void fl_batch_free(struct fl_batch *b)
{
    free(b->data);
    *b = (struct fl_batch){0};
}
