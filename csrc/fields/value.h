/* SPDX-License-Identifier: Apache-2.0
 *
 * A value: what a register of the VM holds. Numbers are widened to 64 bits; texts point into the record, an interned string or the
 * event's scratch memory, and so live as long as the event.
 */
#ifndef FL_VALUE_H
#define FL_VALUE_H

#include <stdbool.h>
#include <stdint.h>

#include "../base/str.h"
#include "../schema/schema.h"


struct fl_value {
    uint8_t kind;               /* enum fl_kind; it tells which of the members hold the value */
    uint32_t len;               /* STR, BYTES, IP, NET: bytes at s, without a NUL behind them; LIST: values */
    union {
        int64_t i;              /* I64 */
        uint64_t u;             /* U64; BOOL: 0 or 1 */
        double f;
        const char *s;
        const struct fl_value *list;
    };
    const struct fl_str *str;   /* FL_STR: the interned string it is, or NULL */
};

static inline bool fl_set_str(struct fl_value *v, const char *s, uint32_t len)
{
    v->kind = FL_STR, v->s = s, v->len = len, v->str = 0;
    return true;
}

static inline bool fl_set_interned(struct fl_value *v, const struct fl_str *str)
{
    v->kind = FL_STR, v->s = str->data, v->len = str->len, v->str = str;
    return true;
}

static inline bool fl_set_i64(struct fl_value *v, int64_t i) { v->kind = FL_I64, v->i = i; return true; }
static inline bool fl_set_u64(struct fl_value *v, uint64_t u) { v->kind = FL_U64, v->u = u; return true; }
static inline bool fl_set_bool(struct fl_value *v, bool b) { v->kind = FL_BOOL, v->u = b; return true; }

/* The kind of values that a field of a schema type yields. */
enum fl_kind fl_kind_of_type(unsigned type);

#endif
