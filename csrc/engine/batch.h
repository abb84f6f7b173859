/* SPDX-License-Identifier: Apache-2.0
 *
 * Matches, serialised for Python in the form that falcolib.h tells. The memory is kept between batches: no allocation once it has grown.
 */
#ifndef FL_BATCH_H
#define FL_BATCH_H

#include "../fields/value.h"
#include "../source/record.h"

#define FL_BATCH_MATCHES 256u           /* a crossing costs about 200 ns; 256 Alert objects cost far more */
#define FL_BATCH_BYTES (1u << 20)
/* Bytes of a match without its record: a value that would exceed them is absent. (A hostile program can print the same text often.) */
#define FL_MATCH_BYTES (64u << 20)

#define FL_MATCH_INCOMPLETE 0x8000u     /* the bit of a match's cpu that tells so */

struct fl_batch {
    uint8_t *data;
    size_t len, size;
    size_t match;               /* where the match being written begins */
    uint32_t matches;
};

/* All return 0, or -1 when memory is out. */
/* incomplete: records were lost that may have changed what is known of the event's thread. */
int fl_batch_begin(struct fl_batch *batch, uint32_t rule, const struct fl_event *ev, bool incomplete);
int fl_batch_value(struct fl_batch *batch, const struct fl_value *value);
int fl_batch_end(struct fl_batch *batch, uint32_t values, const struct fl_event *ev);
void fl_batch_free(struct fl_batch *batch);

static inline int fl_batch_full(const struct fl_batch *batch)
{
    return batch->matches >= FL_BATCH_MATCHES || batch->len >= FL_BATCH_BYTES;
}

#endif
