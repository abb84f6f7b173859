/* SPDX-License-Identifier: Apache-2.0
 *
 * libFuzzer target of the fields. The first byte chooses what the rest is: a capture (then it goes through the reader), or events whose
 * parameters are of any length and content. After each event all fields are extracted, with arguments of each kind, and every byte of their
 * values is read. tests/test_fields_fuzz.py builds it and makes its seeds.
 */
#include <stdlib.h>

#include "../extract.h"

static volatile uint64_t sink;

static void check(bool holds)
{
    if (!holds)
        abort();
}

static void touch(const struct fl_value *v, enum fl_kind kind, bool any_kind)
{
    check(any_kind || v->kind == kind);
    switch (v->kind) {
    case FL_STR: case FL_BYTES: case FL_IP: case FL_NET:
        for (uint32_t i = 0; i < v->len; i++)
            sink += (uint8_t)v->s[i];
        check((v->kind != FL_IP && v->kind != FL_NET) || v->len == 4 || v->len == 16);
        check(v->kind != FL_STR || !v->str || (v->str->data == v->s && v->str->len == v->len));
        break;
    case FL_BOOL:
        check(v->u <= 1);
        break;
    default:
        check(v->kind > FL_ABSENT && v->kind < FL_LIST);
        sink += v->u;
    }
}

static const char *const keys[] = {"res", "name", "data", "fd", "PATH", "cpu", "dst", "openat", "/*", "maintainer", ""};

static void extract_all(const struct fl_view *view)
{
    struct fl_field_argument arguments[6 + sizeof keys / sizeof *keys] = {{0}};
    for (int i = 1; i < 6; i++)
        arguments[i] = (struct fl_field_argument){.has_index = 1, .index = i == 5 ? INT64_MAX : i - 1};
    for (unsigned i = 0; i < sizeof keys / sizeof *keys; i++)
        arguments[6 + i] = (struct fl_field_argument){.has_key = 1, .key = keys[i], .key_len = (uint32_t)strlen(keys[i])};
    for (unsigned field = 0; field < FL_FIELD_COUNT; field++) {
        unsigned last = fl_fields[field].argument ? sizeof arguments / sizeof *arguments : 1;
        for (unsigned i = 0; i < last; i++) {
            struct fl_value value;
            enum fl_kind kind = fl_kind_of_type(fl_fields[field].type);
            bool any_kind = fl_fields[field].type == FL_T_DYN;
            if (!fl_extract(view, field, &arguments[i], &value))
                check(value.kind == FL_ABSENT);
            else if (value.kind != FL_LIST)
                touch(&value, kind, any_kind);
            else
                for (uint32_t n = 0; n < value.len; n++)
                    touch(&value.list[n], kind, any_kind);
        }
        fl_scratch_reset(view->scratch);        /* so that the fields of one event can't hide each other's overruns */
    }
}

static void one_event(struct fl_view *view, const struct fl_event *ev)
{
    view->ev = ev;
    view->now = fl_state_apply(view->state, ev);
    extract_all(view);
    view->previous_ts = ev->ts;
    if (!view->first_ts)
        view->first_ts = ev->ts;
}

static void capture(struct fl_view *view, const uint8_t *data, size_t size)
{
    struct fl_scap *scap = fl_scap_new();
    struct fl_scap_item item;
    struct fl_state *state = view->state;
    bool started = false;

    fl_scap_push(scap, data, size);
    while (fl_scap_next(scap, &item, NULL) == FL_OK && item.kind != FL_SCAP_MORE) {
        if (item.kind == FL_SCAP_SECTION) {
            fl_state_reset(state);
            started = false;
        } else if (item.kind == FL_SCAP_EVENT) {
            if (!started)
                fl_state_start(state);
            started = true;
            one_event(view, &item.event);
        } else {
            fl_state_item(state, &item);
        }
    }
    fl_scap_free(scap);
}

/* Each event: u16 type, u8 thread, then for each parameter a length and as many bytes. */
static void events(struct fl_view *view, const uint8_t *at, const uint8_t *end)
{
    static uint8_t record[FL_RECORD_HEADER + FL_MAX_PARAMS * (4 + 255)];
    uint64_t num = 0;

    while (end - at >= 3) {
        struct fl_event ev = {.num = ++num};
        uint16_t type = (uint16_t)((at[0] | at[1] << 8) % FL_EV_COUNT);
        const struct fl_event_info *info = &fl_events[type];
        uint64_t ts = num * 1000000000u, tid = at[2] % 8;
        uint32_t nparams = info->nparams, wide = info->flags & EF_LARGE_PAYLOAD ? 4 : 2;
        uint8_t *lengths = record + FL_RECORD_HEADER, *values = lengths + nparams * wide;

        at += 3;
        for (uint32_t i = 0; i < nparams; i++) {
            uint32_t len = at < end ? *at++ : 0;
            if (len > (size_t)(end - at))
                len = (uint32_t)(end - at);
            memcpy(lengths + i * wide, &len, wide);
            memcpy(values, at, len);
            values += len, at += len;
        }
        /* a copy that ends where the record ends, so that reading past it is seen */
        uint32_t size = (uint32_t)(values - record);
        memcpy(record, &ts, 8);
        memcpy(record + 8, &tid, 8);
        memcpy(record + 16, &size, 4);
        memcpy(record + 20, &type, 2);
        memcpy(record + 22, &nparams, 4);
        uint8_t *copy = malloc(size);
        memcpy(copy, record, size);
        check(fl_event_decode(&ev, copy, size) == 0);
        one_event(view, &ev);
        free(copy);
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    if (!size)
        return 0;
    struct fl_strings *strings = fl_strings_new();
    struct fl_state *state = fl_state_new(strings, &(struct fl_state_limits){0});
    struct fl_scratch scratch;
    struct fl_view view = {.state = state, .scratch = &scratch, .source = "syscall", .hostname = ""};

    fl_scratch_init(&scratch);
    if (data[0] & 2)
        scratch.size = 64;      /* values that don't fit are absent */
    if (data[0] & 1) {
        fl_state_start(state);
        events(&view, data + 1, data + size);
    } else {
        capture(&view, data + 1, size - 1);
    }
    fl_scratch_free(&scratch);
    fl_state_free(state);
    fl_strings_free(strings);
    return 0;
}
