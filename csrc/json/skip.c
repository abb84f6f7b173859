/* SPDX-License-Identifier: Apache-2.0 */
#include "skip.h"

#include <stddef.h>
#include <stdint.h>
#include <string.h>

#ifdef __SSE2__
#include <emmintrin.h>
#endif

/* The first quote, backslash or control character; `end` if there is none. */
static const char *special(const char *at, const char *end)
{
#ifdef __SSE2__
    const __m128i quote = _mm_set1_epi8('"'), backslash = _mm_set1_epi8('\\'), control = _mm_set1_epi8(0x1f);
    for (; end - at >= 16; at += 16) {
        __m128i c = _mm_loadu_si128((const __m128i *)(const void *)at);
        __m128i hit = _mm_or_si128(_mm_or_si128(_mm_cmpeq_epi8(c, quote), _mm_cmpeq_epi8(c, backslash)),
                                   _mm_cmpeq_epi8(_mm_min_epu8(c, control), c));
        unsigned mask = (unsigned)_mm_movemask_epi8(hit);
        if (mask)
            return at + __builtin_ctz(mask);
    }
#endif
    while (at < end && *at != '"' && *at != '\\' && (unsigned char)*at >= 0x20)
        at++;
    return at;
}

static inline enum fl_json_string string_part(const char **from, const char *end, bool *escapes)
{
    const char *at = *from;

    for (;;) {
        *from = at = special(at, end);
        if (at >= end)
            return FL_STRING_GOES_ON;
        if (*at == '"') {
            *from = at + 1;
            return FL_STRING_ENDS;
        }
        if (*at == '\\' && end - at < 2)
            return FL_STRING_GOES_ON;
        if (*at != '\\')
            return FL_STRING_BREAKS;
        *from = at + 1;
        if ((unsigned char)at[1] < 0x20)
            return FL_STRING_BREAKS;
        *escapes = true;
        at += 2;
    }
}

enum fl_json_string fl_json_string_part(const char **at, const char *end, bool *escapes) { return string_part(at, end, escapes); }

const char *fl_json_string_end(const char *at, const char *end, bool *escapes)
{
    return string_part(&at, end, escapes) == FL_STRING_ENDS ? at : NULL;
}

static const char *digits(const char *at, const char *end)
{
    const char *start = at;
    while (at < end && *at >= '0' && *at <= '9')
        at++;
    return at > start ? at : NULL;
}

static const char *number_end(const char *at, const char *end)
{
    at += *at == '-';
    if (at < end && *at == '0')
        at++;
    else if (!(at = digits(at, end)))
        return NULL;
    if (at < end && *at == '.' && !(at = digits(at + 1, end)))
        return NULL;
    if (at < end && (*at == 'e' || *at == 'E')) {
        at++;
        at += at < end && (*at == '+' || *at == '-');
        at = digits(at, end);
    }
    return at;
}

/* What may stand behind a scalar. */
static bool ends_scalar(const char *at, const char *end)
{
    return at >= end || *at == ',' || *at == '}' || *at == ']' || *at == ' ' || *at == '\n' || *at == '\r' || *at == '\t';
}

/* Behind a number, true, false or null; NULL if there is none. */
static const char *scalar_end(const char *at, const char *end)
{
    static const struct { const char *text; size_t len; } words[] = {{"true", 4}, {"false", 5}, {"null", 4}};
    const char *stop = NULL;

    if (at >= end)
        return NULL;
    if (*at == '-' || (*at >= '0' && *at <= '9'))
        stop = number_end(at, end);
    for (size_t i = 0; !stop && i < sizeof words / sizeof *words; i++)
        if ((size_t)(end - at) >= words[i].len && !memcmp(at, words[i].text, words[i].len))
            stop = at + words[i].len;
    return stop && ends_scalar(stop, end) ? stop : NULL;
}

enum { OTHER, QUOTE, OPEN, CLOSE };
static const uint8_t classes[256] = {['"'] = QUOTE, ['{'] = OPEN, ['['] = OPEN, ['}'] = CLOSE, [']'] = CLOSE};

const char *fl_json_skip(const char *at, const char *end)
{
    uint64_t objects[FL_JSON_DEPTH / 64];       /* a bit for each open bracket: set for { */
    unsigned depth = 0;
    bool escapes;

    if (at >= end)
        return NULL;
    if (*at == '"')
        return fl_json_string_end(at + 1, end, &escapes);
    if (*at != '{' && *at != '[')
        return scalar_end(at, end);
    while (at < end) {
        switch (classes[(unsigned char)*at]) {
        case OTHER:
            at++;
            break;
        case QUOTE:
            at = fl_json_string_end(at + 1, end, &escapes);
            if (!at)
                return NULL;
            break;
        case OPEN:
            if (depth == FL_JSON_DEPTH)
                return NULL;
            if (*at == '{')
                objects[depth / 64] |= 1ull << depth % 64;
            else
                objects[depth / 64] &= ~(1ull << depth % 64);
            depth++;
            at++;
            break;
        default:
            depth--;
            if ((objects[depth / 64] >> depth % 64 & 1) != (*at == '}'))
                return NULL;
            at++;
            if (!depth)
                return at;
        }
    }
    return NULL;
}
