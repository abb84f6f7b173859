/* SPDX-License-Identifier: Apache-2.0
 *
 * The processor's clock, for profiles: it counts at one rate, whatever the processor's own, and takes some 20 cycles to read.
 */
#ifndef FL_TICKS_H
#define FL_TICKS_H

#include <stdint.h>
#include <time.h>

static inline uint64_t fl_ticks(void)
{
#if defined(__x86_64__)
    return __builtin_ia32_rdtsc();
#elif defined(__aarch64__)
    uint64_t ticks;
    __asm__ volatile("mrs %0, cntvct_el0" : "=r"(ticks));
    return ticks;
#else
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (uint64_t)now.tv_sec * 1000000000u + (uint64_t)now.tv_nsec;
#endif
}

#endif
