/* SPDX-License-Identifier: Apache-2.0 */
#include "scratch.h"

#include <stdlib.h>

int fl_scratch_init(struct fl_scratch *scratch)
{
    scratch->data = malloc(FL_SCRATCH_SIZE);
    scratch->used = 0;
    scratch->size = scratch->data ? FL_SCRATCH_SIZE : 0;
    return scratch->data ? 0 : -1;
}

void fl_scratch_free(struct fl_scratch *scratch)
{
    free(scratch->data);
    scratch->data = NULL;
    scratch->used = scratch->size = 0;
}

int fl_scratch_reserve(struct fl_scratch *scratch, size_t bytes)
{
    bytes = (bytes + 7) & ~(size_t)7;
    if (bytes <= scratch->size)
        return 0;
    char *data = malloc(bytes);
    if (!data)
        return -1;
    free(scratch->data);
    *scratch = (struct fl_scratch){.data = data, .size = bytes};
    return 0;
}

void *fl_scratch_take(struct fl_scratch *scratch, size_t bytes)
{
    /* `used` and `size` are multiples of 8, so that rounding up can't pass the end. */
    if (bytes > scratch->size - scratch->used)
        return NULL;
    void *taken = scratch->data + scratch->used;
    scratch->used += (bytes + 7) & ~(size_t)7;
    return taken;
}
