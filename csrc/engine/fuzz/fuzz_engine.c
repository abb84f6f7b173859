/* SPDX-License-Identifier: Apache-2.0
 *
 * libFuzzer target of everything that a capture goes through: reader, state, program, fields, batch. The first byte of the input chooses
 * how: with the rules of the program that FUZZ_PROGRAM names, or event by event, asking for every field in every form of its argument;
 * the first rule or all; with the default limits or with tiny ones; in one piece or in many. tests/test_engine_fuzz.py builds it, compiles
 * its program and makes its seeds.
 */
#include <stdlib.h>
#include <string.h>

#include "../../base/error.h"
#include "../../fields/value.h"
#include "../../schema/schema.h"
#include "rules.h"

enum { FIELDS = 1, ALL = 2, SMALL = 4, PIECES = 8 };

/* ---- what comes back is well formed ---- */

struct cursor { const uint8_t *at, *end; };

static void take(struct cursor *c, void *out, size_t n)
{
    check((size_t)(c->end - c->at) >= n);
    memcpy(out, c->at, n);
    c->at += n;
}

static void touch(struct cursor *c, uint32_t n)
{
    check((size_t)(c->end - c->at) >= n);
    for (uint32_t i = 0; i < n; i++)
        sink += c->at[i];
    c->at += n;
}

static void check_value(struct cursor *c, int in_list)
{
    uint8_t kind, byte;
    uint32_t len;
    uint64_t number;

    take(c, &kind, 1);
    switch (kind) {
    case FL_ABSENT:
        check(!in_list);
        break;
    case FL_BOOL:
        take(c, &byte, 1);
        check(byte <= 1);
        break;
    case FL_I64: case FL_U64: case FL_F64:
        take(c, &number, 8);
        break;
    case FL_LIST:
        check(!in_list);
        take(c, &len, 4);
        while (len--)
            check_value(c, 1);
        break;
    default:
        check(kind < FL_LIST);
        take(c, &len, 4);
        check((kind != FL_IP && kind != FL_NET) || len == 4 || len == 16);
        touch(c, len);
    }
}

static void check_batch(fl_engine *engine)
{
    size_t len;
    uint32_t matches, seen = 0;
    const uint8_t *data = fl_engine_batch(engine, &len, &matches);
    struct cursor c = {data, len ? data + len : data};

    for (; c.at < c.end; seen++) {
        struct __attribute__((packed)) { uint32_t size, rule; uint64_t num, ts, tid; uint16_t type, cpu; uint32_t record_size, values; } head;
        const uint8_t *start = c.at;
        take(&c, &head, sizeof head);
        check(head.type < FL_EV_COUNT && head.size <= (size_t)(c.end - start));
        for (uint32_t i = 0; i < head.values; i++)
            check_value(&c, 0);
        touch(&c, head.record_size);
        check(c.at == start + head.size);
    }
    check(seen == matches);
    fl_engine_batch_clear(engine);
}

/* ---- fields ---- */

static void get(fl_engine *engine, unsigned field, int has_index, int64_t index, const char *key)
{
    size_t len;
    uint32_t matches;

    check(fl_engine_get(engine, field, has_index, index, key) >= 0);
    const uint8_t *data = fl_engine_batch(engine, &len, &matches);
    struct cursor c = {data, data + len};
    check_value(&c, 0);
    check(c.at == c.end);
    fl_engine_batch_clear(engine);
}

/* In every form, whether the field takes it or not. */
static void get_all(fl_engine *engine)
{
    static const int64_t indices[] = {0, 1, 7, -1, INT64_MIN, INT64_MAX};
    static const char *const keys[] = {"", "res", "name", "fd", "PATH", "*", "cpuset", "io.kubernetes.pod.name", "dst"};

    for (unsigned field = 0; field < FL_FIELD_COUNT; field++) {
        get(engine, field, 0, 0, NULL);
        if (!fl_fields[field].argument)
            continue;
        for (size_t i = 0; i < sizeof indices / sizeof *indices; i++)
            get(engine, field, 1, indices[i], NULL);
        for (size_t i = 0; i < sizeof keys / sizeof *keys; i++)
            get(engine, field, 0, 0, keys[i]);
    }
}

/* ---- one capture ---- */

/* All that the bytes pushed so far hold: 0, or what went wrong. */
static int read_on(fl_engine *engine, int fields, fl_error_text *error)
{
    fl_event_now now;
    int rc;

    if (fields) {
        while ((rc = fl_engine_step(engine, error)) > 0) {
            check(fl_engine_current(engine, &now) == 0 && now.type < FL_EV_COUNT);
            get_all(engine);
        }
        return rc;
    }
    while ((rc = fl_engine_run(engine, error)) > 0)
        check_batch(engine);
    check_batch(engine);
    return rc;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    fl_error_text error = {0};

    if (!size)
        return 0;
    int how = data[0], rc = 0;
    fl_engine_options options = {.hostname = "host", .match_all = (how & ALL) != 0};
    if (how & SMALL)
        options.threads = 6, options.fds = 5;
    fl_engine *engine = fl_engine_new(&options, regex, NULL, &error);
    check(engine && fl_engine_set_program(engine, program, &error) == 0);
    size_t step = how & PIECES ? 1 + size / 7 : size;
    for (size_t at = 1; at < size && !rc; at += step) {
        size_t n = size - at < step ? size - at : step;
        void *copy = malloc(n);                 /* so that reading past a chunk is seen */
        memcpy(copy, data + at, n);
        check(fl_engine_push(engine, copy, n) == 0);
        free(copy);
        rc = read_on(engine, how & FIELDS, &error);
    }
    if (!rc)
        rc = fl_engine_finish(engine, &error);
    check(rc == 0 || (error.code == rc && error.text[0] && (rc == FL_ERR_CAPTURE || rc == FL_ERR_EXTENSION)));
    fl_engine_stats stats = fl_engine_get_stats(engine);
    check(stats.evaluated <= stats.events && stats.records >= stats.events);
    fl_engine_free(engine);
    return 0;
}
