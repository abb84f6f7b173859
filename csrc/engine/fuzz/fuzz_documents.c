/* SPDX-License-Identifier: Apache-2.0
 *
 * libFuzzer target of what documents go through: the reader, the places of fields, the program, the batch; and of the looking up of JSON
 * pointers by itself, with what the slow reader of json.h finds as the measure. The first byte of the input chooses how it is given: in one
 * piece or in many, with large limits or tiny ones, to rules or event by event. tests/test_audit_fuzz.py builds it and compiles its program.
 */
#include <stdlib.h>
#include <string.h>

#include "../../base/error.h"
#include "../../json/paths.h"
#include "../../json/skip.h"
#include "../../json/text.h"
#include "../../schema/schema.h"
#include "rules.h"

enum { FIELDS = 1, ALL = 2, SMALL = 4, PIECES = 8, POINTERS = 16 };

/* ---- pointers ---- */

/* JSON text is no longer than what it is of, is what is_compact tells of, and is its own JSON text. */
static void check_compact(struct fl_json value, char *out)
{
    size_t len = fl_json_compact(value, out);
    check(len <= value.len);
    check(!fl_json_is_compact(value) || (len == value.len && !memcmp(out, value.s, len)));
    char *again = malloc(len);
    check(fl_json_compact((struct fl_json){out, len}, again) == len && !memcmp(again, out, len));
    free(again);
}

/* A pointer of keys without escapes, step by step: the last member of each name. */
static bool slowly(struct fl_json value, const char *const *steps, struct fl_json *out)
{
    for (; *steps; steps++) {
        struct fl_json_cursor cursor;
        struct fl_json item;
        if (fl_json_enter(value, '[', &cursor)) {
            long index = strtol(*steps, NULL, 10);
            if (strcmp(*steps, "0") && strcmp(*steps, "1"))
                return false;
            bool found = false;
            for (long i = 0; fl_json_item(&cursor, &item); i++)
                if (i == index) {
                    value = item;
                    found = true;
                }
            if (!found)
                return false;
        } else if (!fl_json_get(value, *steps, &value)) {
            return false;
        }
    }
    *out = value;
    return true;
}

static void look_up(const char *text, size_t len)
{
    static const struct { const char *pointer, *steps[4]; } pointers[] = {
        {"/a", {"a"}}, {"/b", {"b"}}, {"a/b", {"a", "b"}}, {"/a/0", {"a", "0"}}, {"/a/0/b", {"a", "0", "b"}}, {"/a/1/a", {"a", "1", "a"}},
        {"/b/b/b", {"b", "b", "b"}}, {"/verb", {"verb"}}, {"", {NULL}},
    };
    enum { COUNT = sizeof pointers / sizeof *pointers };
    struct fl_json_paths *paths = fl_json_paths_new();
    int32_t numbers[COUNT];
    const char *start = fl_json_blanks(text, text + len), *end;
    struct fl_json value, wanted;

    for (int i = 0; i < COUNT; i++)
        check((numbers[i] = fl_json_paths_add(paths, pointers[i].pointer, strlen(pointers[i].pointer))) >= 0);
    for (int twice = 0; twice < 2; twice++) {
        end = fl_json_paths_scan(paths, text, text + len);
        if (!end)
            continue;
        check(end > start && end <= text + len && fl_json_skip(start, text + len) == end);
        struct fl_json whole = {start, (size_t)(end - start)};
        for (int i = 0; i < COUNT; i++) {
            bool found = fl_json_paths_value(paths, numbers[i], &value), there = slowly(whole, pointers[i].steps, &wanted);
            check(found == there && (!found || (value.s == wanted.s && value.len == wanted.len)));
            if (!found)
                continue;
            char *out = malloc(value.len);          /* no byte more: nothing that is written is longer */
            if (fl_json_is_string(value))
                check(fl_json_string(value, out) + 2 <= value.len);
            else
                check_compact(value, out);
            size_t room = value.len * 4;
            char *lines = malloc(room + 1);
            check(fl_json_indent(value, lines, room) <= room);
            free(lines);
            free(out);
        }
    }
    fl_json_paths_free(paths);
}

/* ---- events ---- */

static void get_all(fl_engine *engine)
{
    static const char *const keys[] = {"", "/a", "a/0/b", "command", "/requestObject/a/b", "/etc*", "*"};

    for (unsigned field = FL_FIELD_ka_auditid; field < FL_FIELD_COUNT; field++) {
        for (int64_t index = -1; index < 3; index++)
            check(fl_engine_get(engine, field, index >= 0, index, NULL) >= 0);
        for (size_t i = 0; fl_fields[field].argument && i < sizeof keys / sizeof *keys; i++)
            check(fl_engine_get(engine, field, 0, 0, keys[i]) >= 0);
        fl_engine_batch_clear(engine);
    }
}

static void read_on(fl_engine *engine, int how, fl_error_text *error)
{
    fl_event_now now;
    fl_document_fault fault;
    int rc;

    if (how & FIELDS) {
        while ((rc = fl_engine_step(engine, error)) > 0) {
            check(fl_engine_current(engine, &now) == 0 && now.type == FL_EV_PLUGINEVENT_E && now.size > 26);
            get_all(engine);
        }
    } else {
        while ((rc = fl_engine_run(engine, error)) > 0)
            fl_engine_batch_clear(engine);
        fl_engine_batch_clear(engine);
    }
    check(rc == 0);
    while (fl_engine_fault(engine, &fault))
        check(fault.kind < 3 && fault.line > 0);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    fl_error_text error = {0};

    if (!size)
        return 0;
    int how = data[0];
    if (how & POINTERS) {
        char *copy = malloc(size);              /* so that reading past it is seen */
        memcpy(copy, data + 1, size - 1);
        look_up(copy, size - 1);
        free(copy);
        return 0;
    }
    fl_engine_options options = {.hostname = "host", .match_all = (how & ALL) != 0};
    fl_engine *engine = fl_engine_new(&options, regex, NULL, &error);
    check(engine && fl_engine_set_program(engine, program, &error) == 0);
    check(fl_engine_open_documents(engine, 0, how & SMALL ? 200 : 1 << 20, how & SMALL ? 1600 : 8 << 20, &error) == 0);
    size_t step = how & PIECES ? 1 + size / 7 : size;
    for (size_t at = 1; at < size; at += step) {
        size_t n = size - at < step ? size - at : step;
        void *copy = malloc(n);
        memcpy(copy, data + at, n);
        check(fl_engine_push(engine, copy, n) == 0);
        free(copy);
        read_on(engine, how, &error);
    }
    check(fl_engine_push(engine, "\x1e", 1) == 0);
    read_on(engine, how, &error);
    check(fl_engine_finish(engine, &error) == 0);
    fl_engine_stats stats = fl_engine_get_stats(engine);
    check(stats.evaluated <= stats.events && stats.bytes == size);
    fl_engine_free(engine);
    return 0;
}
