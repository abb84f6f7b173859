/* SPDX-License-Identifier: Apache-2.0 */
#include "text.h"

#include <string.h>

#include "skip.h"

static bool is_blank(char c) { return c == ' ' || c == '\n' || c == '\t' || c == '\r'; }

/* Behind the token at `at`: a string, or one character. *escapes: whether it has some. */
static const char *token_end(const char *at, const char *end, bool *escapes)
{
    *escapes = false;
    const char *stop = *at == '"' ? fl_json_string_end(at + 1, end, escapes) : at + 1;
    return stop ? stop : end;
}

/* A token into `to`: behind it. */
static char *put_token(const char *at, const char *stop, bool escapes, char *to)
{
    size_t len = (size_t)(stop - at);
    if (escapes)
        return to + fl_json_plain((struct fl_json){at, len}, to);
    memcpy(to, at, len);
    return to + len;
}

bool fl_json_is_compact(struct fl_json value)
{
    bool escapes;
    for (const char *at = value.s, *end = at + value.len, *stop; at < end; at = stop) {
        stop = token_end(at, end, &escapes);
        if (escapes || is_blank(*at))
            return false;
    }
    return true;
}

size_t fl_json_compact(struct fl_json value, char *out)
{
    char *to = out;
    bool escapes;
    for (const char *at = value.s, *end = at + value.len; at < end;) {
        const char *stop = token_end(at, end, &escapes);
        if (!is_blank(*at))
            to = put_token(at, stop, escapes, to);
        at = stop;
    }
    return (size_t)(to - out);
}

struct out { char *s; size_t len, room; bool full; };

static void put(struct out *o, const char *s, size_t len)
{
    if (o->full || o->room - o->len < len) {
        o->full = true;
        return;
    }
    memcpy(o->s + o->len, s, len);
    o->len += len;
}

static void newline(struct out *o, size_t depth)
{
    put(o, "\n", 1);
    for (; depth && !o->full; depth--)
        put(o, "  ", 2);
}

size_t fl_json_indent(struct fl_json value, char *out, size_t room)
{
    struct out o = {out, 0, room, false};
    size_t depth = 0;
    bool escapes;

    for (const char *at = value.s, *end = at + value.len; at < end && !o.full;) {
        const char *stop = token_end(at, end, &escapes);
        char c = *at;
        if (is_blank(c)) {
            at = stop;
            continue;
        }
        if (c == '}' || c == ']') {
            depth -= depth > 0;
            newline(&o, depth);
        }
        if (escapes && o.room - o.len >= (size_t)(stop - at))
            o.len = (size_t)(put_token(at, stop, true, o.s + o.len) - o.s);
        else
            put(&o, at, (size_t)(stop - at));
        at = stop;
        if (c == ':') {
            put(&o, " ", 1);
        } else if (c == ',') {
            newline(&o, depth);
        } else if (c == '{' || c == '[') {
            const char *next = fl_json_blanks(at, end);
            if (next < end && (*next == '}' || *next == ']')) {
                put(&o, next, 1);
                at = next + 1;
            } else {
                newline(&o, ++depth);
            }
        }
    }
    return o.full ? 0 : o.len;
}
