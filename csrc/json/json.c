/* SPDX-License-Identifier: Apache-2.0 */
#include "json.h"

#include <string.h>

#include "skip.h"

bool fl_json_parse(const char *s, size_t len, struct fl_json *value)
{
    const char *end = s + len, *at = fl_json_blanks(s, end), *stop = fl_json_skip(at, end);
    if (!stop || fl_json_blanks(stop, end) != end)
        return false;
    *value = (struct fl_json){at, (size_t)(stop - at)};
    return true;
}

bool fl_json_enter(struct fl_json value, char bracket, struct fl_json_cursor *cursor)
{
    if (value.len < 2 || value.s[0] != bracket || value.s[value.len - 1] != (bracket == '{' ? '}' : ']'))
        return false;
    *cursor = (struct fl_json_cursor){value.s + 1, value.s + value.len - 1, true};
    return true;
}

/* Passes over a character that must be there. */
static bool pass(struct fl_json_cursor *cursor, char c)
{
    cursor->at = fl_json_blanks(cursor->at, cursor->end);
    if (cursor->at >= cursor->end || *cursor->at != c)
        return false;
    cursor->at++;
    return true;
}

static bool next_value(struct fl_json_cursor *cursor, struct fl_json *value)
{
    const char *at = fl_json_blanks(cursor->at, cursor->end), *stop = fl_json_skip(at, cursor->end);
    if (!stop)
        return false;
    *value = (struct fl_json){at, (size_t)(stop - at)};
    cursor->at = stop;
    return true;
}

bool fl_json_item(struct fl_json_cursor *cursor, struct fl_json *value)
{
    if (!cursor->first && !pass(cursor, ','))
        return false;
    cursor->first = false;
    return next_value(cursor, value);
}

bool fl_json_member(struct fl_json_cursor *cursor, struct fl_json *key, struct fl_json *value)
{
    return fl_json_item(cursor, key) && fl_json_is_string(*key) && pass(cursor, ':') && next_value(cursor, value);
}

static bool is_named(struct fl_json key, const char *name, size_t len)
{
    char decoded[64];
    if (!memchr(key.s, '\\', key.len))
        return key.len == len + 2 && !memcmp(key.s + 1, name, len);
    return key.len <= sizeof decoded && fl_json_string(key, decoded) == len && !memcmp(decoded, name, len);
}

bool fl_json_get(struct fl_json object, const char *name, struct fl_json *value)
{
    struct fl_json_cursor cursor;
    struct fl_json key, member;
    size_t len = strlen(name);
    bool found = false;
    if (!fl_json_enter(object, '{', &cursor))
        return false;
    while (fl_json_member(&cursor, &key, &member))
        if (is_named(key, name, len)) {
            *value = member;
            found = true;
        }
    return found;
}

bool fl_json_is_string(struct fl_json value) { return value.len >= 2 && value.s[0] == '"'; }

bool fl_json_is(struct fl_json value, const char *literal)
{
    return value.len == strlen(literal) && !memcmp(value.s, literal, value.len);
}

/* Four hexadecimal digits, or -1. */
static int32_t hex4(const char *at, const char *end)
{
    uint32_t v = 0;
    if (end - at < 4)
        return -1;
    for (int i = 0; i < 4; i++) {
        char c = at[i];
        uint32_t digit = c >= '0' && c <= '9' ? c - '0' : (c | 32) >= 'a' && (c | 32) <= 'f' ? (c | 32) - 'a' + 10 : 16;
        if (digit > 15)
            return -1;
        v = v << 4 | digit;
    }
    return (int32_t)v;
}

static char *put_utf8(char *out, uint32_t c)
{
    if (c < 0x80) {
        *out++ = (char)c;
    } else if (c < 0x800) {
        *out++ = (char)(0xc0 | c >> 6);
        *out++ = (char)(0x80 | (c & 0x3f));
    } else if (c < 0x10000) {
        *out++ = (char)(0xe0 | c >> 12);
        *out++ = (char)(0x80 | (c >> 6 & 0x3f));
        *out++ = (char)(0x80 | (c & 0x3f));
    } else {
        *out++ = (char)(0xf0 | c >> 18);
        *out++ = (char)(0x80 | (c >> 12 & 0x3f));
        *out++ = (char)(0x80 | (c >> 6 & 0x3f));
        *out++ = (char)(0x80 | (c & 0x3f));
    }
    return out;
}

/* The code point of an escape behind its \u, a pair of surrogates as one, and what is behind it; NULL if these aren't four digits. */
static const char *code_point(const char *at, const char *end, uint32_t *point)
{
    int32_t unit = hex4(at, end);
    if (unit < 0)
        return NULL;
    at += 4;
    *point = (uint32_t)unit;
    if (unit >= 0xd800 && unit < 0xdc00 && end - at >= 6 && at[0] == '\\' && at[1] == 'u') {
        int32_t low = hex4(at + 2, end);
        if (low >= 0xdc00 && low < 0xe000) {
            *point = 0x10000 + (((uint32_t)unit - 0xd800) << 10) + ((uint32_t)low - 0xdc00);
            at += 6;
        }
    }
    return at;
}

/* Whether it is half a pair of surrogates, which is no character. */
static bool is_half(uint32_t point) { return point >= 0xd800 && point < 0xe000; }

#define REPLACEMENT 0xfffd

size_t fl_json_string(struct fl_json value, char *out)
{
    static const char letters[] = "bfnrt", meanings[] = "\b\f\n\r\t";
    if (!fl_json_is_string(value))
        return 0;
    const char *at = value.s + 1, *end = value.s + value.len - 1;
    char *to = out;
    while (at < end) {
        if (*at != '\\' || at + 1 >= end) {
            *to++ = *at++;
            continue;
        }
        char c = at[1];
        at += 2;
        if (c != 'u') {
            const char *letter = memchr(letters, c, sizeof letters - 1);
            *to++ = letter ? meanings[letter - letters] : c;
            continue;
        }
        /* an escape is 6 characters and at most 3 bytes, a pair of surrogates 12 and 4: there is room */
        uint32_t point;
        const char *next = code_point(at, end, &point);
        if (!next) {
            *to++ = c;
            continue;
        }
        at = next;
        to = put_utf8(to, is_half(point) ? REPLACEMENT : point);
    }
    return (size_t)(to - out);
}

size_t fl_json_plain(struct fl_json value, char *out)
{
    const char *at = value.s, *end = value.s + value.len;
    char *to = out;
    while (at < end) {
        if (*at != '\\' || at + 1 >= end) {
            *to++ = *at++;
            continue;
        }
        uint32_t point = 0;
        const char *next = at[1] == 'u' ? code_point(at + 2, end, &point) : at + 2;
        if (at[1] == '/') {
            *to++ = '/';
        } else if (at[1] != 'u' || !next || point < 0x20 || is_half(point)) {       /* needed, or none */
            next = next ? next : at + 2;
            memcpy(to, at, (size_t)(next - at));
            to += next - at;
        } else {
            if (point == '"' || point == '\\')
                *to++ = '\\';
            to = put_utf8(to, point);
        }
        at = next;
    }
    return (size_t)(to - out);
}
