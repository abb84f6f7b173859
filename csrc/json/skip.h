/* SPDX-License-Identifier: Apache-2.0
 *
 * Passing over JSON text without reading it: what is fast where most of a document isn't asked for.
 */
#ifndef FL_JSON_SKIP_H
#define FL_JSON_SKIP_H

#include <stdbool.h>

#define FL_JSON_DEPTH 16384u    /* brackets in each other, at most; deeper is no value. API servers take 10,000 in a request */

static inline const char *fl_json_blanks(const char *at, const char *end)
{
    while (at < end && (*at == ' ' || *at == '\n' || *at == '\t' || *at == '\r'))
        at++;
    return at;
}

/* As much of a string as is there: *at, which is behind the opening quote, moves on to where it stops: behind the closing quote; or the first byte
 * that can't be told yet; or one that no string holds. *escapes is set if it has some. */
enum fl_json_string { FL_STRING_ENDS, FL_STRING_GOES_ON, FL_STRING_BREAKS };
enum fl_json_string fl_json_string_part(const char **at, const char *end, bool *escapes);

/* Behind a string whose opening quote is before `at`; NULL if it doesn't end, or holds a control character. *escapes is set if it has
 * some. */
const char *fl_json_string_end(const char *at, const char *end, bool *escapes);

/* Behind the value that begins at `at`; NULL if there is none, or it doesn't end. Of objects and arrays only the brackets are matched, by
 * kind, and strings found: what else is inside is checked when it is read. */
const char *fl_json_skip(const char *at, const char *end);

#endif
