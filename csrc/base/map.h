/* SPDX-License-Identifier: Apache-2.0
 *
 * A hash table from 64-bit numbers to pointers: open addressing, linear probing, at most half full.
 */
#ifndef FL_MAP_H
#define FL_MAP_H

#include <stddef.h>
#include <stdint.h>

struct fl_map_slot {
    int64_t key;
    void *value;                /* NULL: the slot is free */
};

struct fl_map {
    struct fl_map_slot *slots;
    uint32_t mask;              /* slots - 1; without meaning while slots is NULL */
    uint32_t count;
};

void *fl_map_find(const struct fl_map *map, int64_t key);
/* Sets a key to a value that isn't NULL; what was there before is overwritten. 0, or -1 when memory is out. */
int fl_map_set(struct fl_map *map, int64_t key, void *value);
/* Takes the key out; the value it had, or NULL. */
void *fl_map_remove(struct fl_map *map, int64_t key);
/* Frees the table, not the values. The map is empty and usable then. */
void fl_map_clear(struct fl_map *map);

#endif
