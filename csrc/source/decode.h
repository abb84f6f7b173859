/* SPDX-License-Identifier: Apache-2.0
 *
 * Inner loop of taking a record apart, for record.c and the reader's fast path.
 */
#ifndef FL_DECODE_H
#define FL_DECODE_H

#include "record.h"

/* nparams lengths of `width` bytes (2 or 4: a constant) and the values, in `left` bytes. 0, or -1 if they don't fit. */
static inline int fl_decode_params(struct fl_event *event, const uint8_t *words, const unsigned width, uint32_t nparams, uint32_t left)
{
    if (left < width * nparams)
        return -1;
    /* As a number: until the sum has been checked, below, it may lie anywhere. */
    uintptr_t value = (uintptr_t)(words + width * nparams), end = (uintptr_t)words + left;
    for (uint32_t i = 0; i < nparams; i++) {
        uint32_t len;
        if (width == 2) {
            uint16_t word;
            memcpy(&word, words + 2 * i, 2);
            len = word;
        } else {
            memcpy(&len, words + 4 * i, 4);
        }
        event->len[i] = len;
        event->param[i] = (const uint8_t *)value;
        value += len;
    }
    return value <= end ? 0 : -1;
}

#endif
