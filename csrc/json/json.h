/* SPDX-License-Identifier: Apache-2.0
 *
 * Reads JSON text in place: one member or item at a time, without recursion and without memory. Text that isn't JSON ends the
 * reading; nothing outside of it is ever read.
 */
#ifndef FL_JSON_H
#define FL_JSON_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* A value, as its text: from its first to its last character. */
struct fl_json {
    const char *s;
    size_t len;
};

/* Where the reading of an object or array is. */
struct fl_json_cursor {
    const char *at, *end;
    bool first;
};

/* The value that a text holds, blanks around it left out; false if it isn't one whole value. */
bool fl_json_parse(const char *s, size_t len, struct fl_json *value);

/* Enters an object or an array; false if the value isn't one. */
bool fl_json_enter(struct fl_json value, char bracket, struct fl_json_cursor *cursor);
/* The next member of an object; false after the last. */
bool fl_json_member(struct fl_json_cursor *cursor, struct fl_json *key, struct fl_json *value);
/* The next item of an array; false after the last. */
bool fl_json_item(struct fl_json_cursor *cursor, struct fl_json *value);
/* The last member of that name; false if there is none, or the value isn't an object. */
bool fl_json_get(struct fl_json object, const char *name, struct fl_json *value);

/* Whether a value is a string, and what is in it: escapes resolved, as UTF-8, into `out`, which has room for value.len bytes. */
bool fl_json_is_string(struct fl_json value);
size_t fl_json_string(struct fl_json value, char *out);
/* The string as JSON, with those escapes alone that JSON needs, into `out`, which has room for value.len bytes. */
size_t fl_json_plain(struct fl_json value, char *out);
bool fl_json_is(struct fl_json value, const char *literal);     /* true, false, null, a number as written */

#endif
