/* SPDX-License-Identifier: Apache-2.0 */
#include "map.h"

#include <stdlib.h>

#include "hash.h"

#define FL_MAP_MIN 16

static uint32_t place(const struct fl_map *map, int64_t key)
{
    uint32_t i = fl_hash_u64((uint64_t)key) & map->mask;

    while (map->slots[i].value && map->slots[i].key != key)
        i = (i + 1) & map->mask;
    return i;
}

void *fl_map_find(const struct fl_map *map, int64_t key)
{
    return map->slots ? map->slots[place(map, key)].value : NULL;
}

static int grow(struct fl_map *map)
{
    uint32_t size = map->slots ? (map->mask + 1) * 2 : FL_MAP_MIN;
    struct fl_map bigger = {NULL, size - 1, map->count};

    if (size > 1u << 30)
        return -1;
    bigger.slots = calloc(size, sizeof *bigger.slots);
    if (!bigger.slots)
        return -1;
    for (uint32_t i = 0; map->slots && i <= map->mask; i++) {
        if (map->slots[i].value)
            bigger.slots[place(&bigger, map->slots[i].key)] = map->slots[i];
    }
    free(map->slots);
    *map = bigger;
    return 0;
}

int fl_map_set(struct fl_map *map, int64_t key, void *value)
{
    if (!map->slots || map->count >= (map->mask + 1) / 2) {
        if (grow(map) != 0)
            return -1;
    }
    uint32_t i = place(map, key);
    if (!map->slots[i].value)
        map->count++;
    map->slots[i].key = key;
    map->slots[i].value = value;
    return 0;
}

void *fl_map_remove(struct fl_map *map, int64_t key)
{
    if (!map->slots)
        return NULL;
    uint32_t hole = place(map, key);
    void *value = map->slots[hole].value;
    if (!value)
        return NULL;
    map->count--;
    /* Entries behind the hole move into it, unless they are nearer to their own place than the hole is. */
    for (uint32_t i = (hole + 1) & map->mask; map->slots[i].value; i = (i + 1) & map->mask) {
        uint32_t home = fl_hash_u64((uint64_t)map->slots[i].key) & map->mask;
        if (((i - home) & map->mask) >= ((i - hole) & map->mask)) {
            map->slots[hole] = map->slots[i];
            hole = i;
        }
    }
    map->slots[hole].value = NULL;
    return value;
}

void fl_map_clear(struct fl_map *map)
{
    free(map->slots);
    map->slots = NULL;
    map->mask = map->count = 0;
}
