/* SPDX-License-Identifier: Apache-2.0 */
#include "given.h"

#include <string.h>

struct cursor {
    const uint8_t *at, *end;
};

static bool take(struct cursor *c, void *out, size_t n)
{
    if ((size_t)(c->end - c->at) < n)
        return false;
    memcpy(out, c->at, n);
    c->at += n;
    return true;
}

static bool read_scalar(struct cursor *c, struct fl_value *v)
{
    uint8_t b;
    v->str = NULL;
    v->len = 0;
    v->u = 0;
    switch (v->kind) {
    case FL_ABSENT:
        return true;
    case FL_BOOL:
        if (!take(c, &b, 1))
            return false;
        v->u = b != 0;
        return true;
    case FL_I64: case FL_U64: case FL_F64:
        return take(c, &v->u, 8);
    case FL_STR: case FL_BYTES: case FL_IP: case FL_NET:
        if (!take(c, &v->len, 4) || (size_t)(c->end - c->at) < v->len)
            return false;
        if ((v->kind == FL_IP || v->kind == FL_NET) && v->len != 4 && v->len != 16)
            return false;
        v->s = (const char *)c->at;
        c->at += v->len;
        return true;
    default:
        return false;
    }
}

static bool read_value(struct cursor *c, struct fl_scratch *scratch, struct fl_value *v)
{
    uint32_t count;
    if (!take(c, &v->kind, 1))
        return false;
    if (v->kind != FL_LIST)
        return read_scalar(c, v);
    if (!take(c, &count, 4) || count > (size_t)(c->end - c->at))
        return false;
    struct fl_value *list = fl_scratch_take(scratch, count * sizeof *list + 1);
    if (!list)
        return false;
    for (uint32_t i = 0; i < count; i++)
        if (!take(c, &list[i].kind, 1) || list[i].kind == FL_ABSENT || !read_scalar(c, &list[i]))
            return false;
    v->len = count;
    v->list = list;
    v->str = NULL;
    return true;
}

int fl_given_read(struct fl_given *given, struct fl_scratch *scratch, const void *bytes, size_t len, uint32_t slots, struct fl_error *error)
{
    struct cursor c = {bytes, (const uint8_t *)bytes + len};
    struct fl_value *values = fl_scratch_take(scratch, slots * sizeof *values + 1);
    if (!values)
        return fl_fail(error, FL_ERR_ARGUMENT, "the program has more slots than an event's %u bytes hold", FL_SCRATCH_SIZE);
    for (uint32_t i = 0; i < slots; i++)
        if (!read_value(&c, scratch, &values[i]))
            return fl_fail(error, FL_ERR_ARGUMENT, "the value of slot %u is malformed, or the event is larger than %u bytes", i, FL_SCRATCH_SIZE);
    *given = (struct fl_given){values, slots};
    return FL_OK;
}

bool fl_given_fill(void *context, uint32_t slot, const struct fl_slot *row, struct fl_value *out)
{
    const struct fl_given *given = context;
    *out = given->values[slot];
    bool wants_list = row->flags & (FF_LIST | FF_ANY | FF_EITHER);
    if (out->kind == FL_ABSENT)
        return false;
    if (out->kind != FL_LIST)
        return !wants_list && out->kind == row->kind;
    for (uint32_t i = 0; i < out->len; i++)
        if (out->list[i].kind != row->kind)
            return false;
    return wants_list;
}
