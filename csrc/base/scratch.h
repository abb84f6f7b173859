/* SPDX-License-Identifier: Apache-2.0
 *
 * Memory that lives for one event: values that extractors build. Taken by bumping a pointer; released all at once.
 */
#ifndef FL_SCRATCH_H
#define FL_SCRATCH_H

#include <stddef.h>

struct fl_scratch {
    char *data;
    size_t used, size;
};

#define FL_SCRATCH_SIZE (1u << 20)      /* bytes: the longest values (16 ancestors' arguments) take about 70 KB */

int fl_scratch_init(struct fl_scratch *scratch);                /* 0, or -1 when memory is out */
void fl_scratch_free(struct fl_scratch *scratch);
/* Makes it hold at least so many bytes; nothing may be taken from it. 0, or -1 when memory is out (it stays as it was). */
int fl_scratch_reserve(struct fl_scratch *scratch, size_t bytes);
/* 8-byte aligned; NULL when the event has used it up (the value is then absent, and counted). */
void *fl_scratch_take(struct fl_scratch *scratch, size_t bytes);

static inline void fl_scratch_reset(struct fl_scratch *scratch) { scratch->used = 0; }

#endif
