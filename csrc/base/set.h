/* SPDX-License-Identifier: Apache-2.0
 *
 * A set of byte strings, made once and then only asked. It doesn't copy them.
 */
#ifndef FL_SET_H
#define FL_SET_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct fl_set;

struct fl_set *fl_set_new(uint32_t capacity);                   /* of so many members at most; NULL when memory is out */
void fl_set_free(struct fl_set *set);
/* A member that is there already, or one more than the capacity, is left out. */
void fl_set_add(struct fl_set *set, const char *bytes, uint32_t len);

/* Whether a member has this length: asked before the hash of a string is computed. (64 bytes and more count as one length.) */
bool fl_set_has_length(const struct fl_set *set, uint32_t len);
/* Whether it is a member; hash is fl_hash of it. */
bool fl_set_has(const struct fl_set *set, const char *bytes, uint32_t len, uint32_t hash);

#endif
