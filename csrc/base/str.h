/* SPDX-License-Identifier: Apache-2.0
 *
 * Interned, reference-counted strings: equal text is one object, so that tests for equality compare pointers. One table an engine;
 * nothing is shared between engines.
 */
#ifndef FL_STR_H
#define FL_STR_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct fl_str {
    struct fl_str *next;        /* of the same bucket */
    uint32_t refs;
    uint32_t hash;
    uint32_t len;               /* bytes, without the NUL that follows */
    bool kept;                  /* released lately: not freed yet, even without a reference */
    char data[];
};

struct fl_strings;

struct fl_strings *fl_strings_new(void);
void fl_strings_free(struct fl_strings *strings);               /* with every string still in it */

#define FL_STRINGS_MAX (1ull << 30)     /* bytes of all strings: a small capture, uncompressed, can hold a great deal of text */

/* The string of these bytes (they may hold NULs), with one reference more. NULL when memory is out, or FL_STRINGS_MAX is reached. */
struct fl_str *fl_str_get(struct fl_strings *strings, const void *bytes, size_t len);
/* The string, if it is interned already; takes no reference. */
struct fl_str *fl_str_find(const struct fl_strings *strings, const void *bytes, size_t len);
/* How often a string was refused for FL_STRINGS_MAX. */
uint64_t fl_strings_refused(const struct fl_strings *strings);
/* Gives a reference back; NULL is ignored. */
void fl_str_put(struct fl_strings *strings, struct fl_str *str);

static inline struct fl_str *fl_str_ref(struct fl_str *str)
{
    if (str)
        str->refs++;
    return str;
}

uint32_t fl_hash(const void *bytes, size_t len);

#endif
