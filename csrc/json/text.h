/* SPDX-License-Identifier: Apache-2.0
 *
 * JSON values written as text.
 */
#ifndef FL_JSON_TEXT_H
#define FL_JSON_TEXT_H

#include "json.h"

/* Whether there are no blanks outside of strings, and in these no escapes. */
bool fl_json_is_compact(struct fl_json value);
/* The value without blanks, and with those escapes alone that JSON needs (API servers write < > & as escapes, and those who ask may write any
 * character so: tests of the text would miss them), into `out`, which has room for value.len bytes: how many it takes. */
size_t fl_json_compact(struct fl_json value, char *out);
/* The value over several lines, two blanks a level, into `out`: how many bytes it takes; 0 if these are more than `room`. */
size_t fl_json_indent(struct fl_json value, char *out, size_t room);

#endif
