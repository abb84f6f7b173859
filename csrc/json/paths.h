/* SPDX-License-Identifier: Apache-2.0
 *
 * JSON pointers (RFC 6901) looked up all at once: they are made a tree, and one pass over a document notes where each one's value is.
 * What no pointer leads into is passed over. Of a key that an object has twice the last counts, as most decoders have it; keys may be
 * written with escapes. What the pass looks into is checked strictly: it fails where the text isn't JSON.
 */
#ifndef FL_JSON_PATHS_H
#define FL_JSON_PATHS_H

#include <stdint.h>

#include "json.h"

struct fl_json_paths;

struct fl_json_paths *fl_json_paths_new(void);                  /* NULL when memory is out */
void fl_json_paths_free(struct fl_json_paths *paths);
/* Adds a pointer, whose leading / may be left out; its number, equal pointers have one; negative when memory is out. An empty one is the
 * whole document. */
int32_t fl_json_paths_add(struct fl_json_paths *paths, const char *pointer, size_t len);
/* Looks the pointers up in the document that begins at `at`: its end; NULL if it isn't JSON, or not all there. The values point into it. */
const char *fl_json_paths_scan(struct fl_json_paths *paths, const char *at, const char *end);
/* What the last scan that succeeded found; false: nothing. */
bool fl_json_paths_value(const struct fl_json_paths *paths, int32_t path, struct fl_json *value);
/* Where a value begins that the last scan came across, also one that failed; NULL: it didn't come so far. */
const char *fl_json_paths_begun(const struct fl_json_paths *paths, int32_t path);

#endif
