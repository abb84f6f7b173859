/* SPDX-License-Identifier: Apache-2.0
 *
 * Open addressing, at most half full, so that a search ends at an empty place soon.
 */
#include "set.h"

#include <stdlib.h>
#include <string.h>

#include "str.h"

struct place {
    const char *bytes;          /* NULL: empty */
    uint32_t len, hash;
};

struct fl_set {
    uint64_t lengths;           /* bit n: a member of n bytes; bit 63: of 63 or more */
    uint32_t mask, count;
    struct place places[];
};

static uint64_t length_bit(uint32_t len) { return 1ull << (len < 63 ? len : 63); }

struct fl_set *fl_set_new(uint32_t capacity)
{
    size_t places = 4;

    while (places < 2 * (size_t)capacity)
        places *= 2;
    struct fl_set *set = calloc(1, sizeof *set + places * sizeof set->places[0]);
    if (set)
        set->mask = (uint32_t)(places - 1);
    return set;
}

void fl_set_free(struct fl_set *set) { free(set); }

/* The member's place, or the empty one where it would be. */
static const struct place *find(const struct fl_set *set, const char *bytes, uint32_t len, uint32_t hash)
{
    uint32_t i = hash & set->mask;

    for (;; i = (i + 1) & set->mask) {
        const struct place *p = &set->places[i];
        if (!p->bytes || (p->hash == hash && p->len == len && memcmp(p->bytes, bytes, len) == 0))
            return p;
    }
}

void fl_set_add(struct fl_set *set, const char *bytes, uint32_t len)
{
    uint32_t hash = fl_hash(bytes, len);
    struct place *p = (struct place *)find(set, bytes, len, hash);

    if (p->bytes || set->count > set->mask / 2)
        return;
    *p = (struct place){bytes, len, hash};
    set->lengths |= length_bit(len);
    set->count++;
}

bool fl_set_has_length(const struct fl_set *set, uint32_t len) { return set->lengths & length_bit(len); }

bool fl_set_has(const struct fl_set *set, const char *bytes, uint32_t len, uint32_t hash)
{
    return find(set, bytes, len, hash)->bytes != NULL;
}
