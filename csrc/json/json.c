/* SPDX-License-Identifier: Apache-2.0 */
#include "json.h"

#include <string.h>

static const char *skip_blanks(const char *at, const char *end)
{
    while (at < end && (*at == ' ' || *at == '\t' || *at == '\n' || *at == '\r'))
        at++;
    return at;
}

/* The end of a string that begins at a quote; NULL if it has none. */
static const char *string_end(const char *at, const char *end)
{
    for (at++; at < end; at++) {
        if (*at == '\\')
            at++;
        else if (*at == '"')
            return at + 1;
    }
    return NULL;
}

static bool ends_word(char c) { return strchr(" \t\n\r,:]}[{\"", c) != NULL; }

/* The end of the value at `at`; NULL if there is none. Brackets are counted, not matched by kind: what is inside is checked when
 * it is read. */
static const char *value_end(const char *at, const char *end)
{
    size_t depth = 0;
    while (at < end) {
        if (*at == '"') {
            at = string_end(at, end);
            if (!at)
                return NULL;
        } else if (*at == '{' || *at == '[') {
            depth++;
            at++;
        } else if (*at == '}' || *at == ']') {
            if (!depth)
                return NULL;
            depth--;
            at++;
        } else if (depth && ends_word(*at)) {
            at++;
            continue;
        } else {
            const char *start = at;
            while (at < end && !ends_word(*at))
                at++;
            if (at == start)
                return NULL;
        }
        if (!depth)
            return at;
    }
    return NULL;
}

bool fl_json_parse(const char *s, size_t len, struct fl_json *value)
{
    const char *end = s + len, *at = skip_blanks(s, end), *stop = value_end(at, end);
    if (!stop || skip_blanks(stop, end) != end)
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
    cursor->at = skip_blanks(cursor->at, cursor->end);
    if (cursor->at >= cursor->end || *cursor->at != c)
        return false;
    cursor->at++;
    return true;
}

static bool next_value(struct fl_json_cursor *cursor, struct fl_json *value)
{
    const char *at = skip_blanks(cursor->at, cursor->end), *stop = value_end(at, cursor->end);
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

bool fl_json_get(struct fl_json object, const char *name, struct fl_json *value)
{
    struct fl_json_cursor cursor;
    struct fl_json key;
    size_t len = strlen(name);
    if (!fl_json_enter(object, '{', &cursor))
        return false;
    while (fl_json_member(&cursor, &key, value))
        if (key.len == len + 2 && !memcmp(key.s + 1, name, len))
            return true;
    return false;
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
        int32_t unit = hex4(at, end);
        if (unit < 0) {
            *to++ = c;
            continue;
        }
        at += 4;
        uint32_t point = (uint32_t)unit;
        if (unit >= 0xd800 && unit < 0xdc00 && end - at >= 6 && at[0] == '\\' && at[1] == 'u') {
            int32_t low = hex4(at + 2, end);
            if (low >= 0xdc00 && low < 0xe000) {
                point = 0x10000 + (((uint32_t)unit - 0xd800) << 10) + ((uint32_t)low - 0xdc00);
                at += 6;
            }
        }
        to = put_utf8(to, point >= 0xd800 && point < 0xe000 ? REPLACEMENT : point);
    }
    return (size_t)(to - out);
}
