/* SPDX-License-Identifier: Apache-2.0
 *
 * Hashing with a secret of the process: what is hashed (paths, thread ids) is chosen by whoever is watched, and must not be able to
 * choose its bucket.
 */
#ifndef FL_HASH_H
#define FL_HASH_H

#include <stdint.h>

extern uint64_t fl_hash_secret[2];      /* set once, before main() */

/* The two halves of a 64 x 64 bit product, folded: every bit of the operands reaches every bit of the result. */
static inline uint64_t fl_mix(uint64_t a, uint64_t b)
{
    unsigned __int128 product = (unsigned __int128)a * b;
    return (uint64_t)product ^ (uint64_t)(product >> 64);
}

static inline uint32_t fl_hash_u64(uint64_t key)
{
    return (uint32_t)fl_mix(key ^ fl_hash_secret[0], fl_hash_secret[1]);
}

#endif
