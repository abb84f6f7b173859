/* SPDX-License-Identifier: Apache-2.0
 *
 * What the probe and the process that loads it share: the probe's .bss, which both have mapped, and what stands in front of each record in a
 * ring. Of fixed layout, little-endian.
 */
#ifndef FL_PROBE_H
#define FL_PROBE_H

#include <stdint.h>

#define FL_PROBE_CALLS 512      /* numbers of system calls that the probe knows, of each ABI */
#define FL_PROBE_EVENTS 512     /* above every event type */
#define FL_PROBE_CPUS 256       /* processors that have a scratch, and a ring */
#define FL_PROBE_SCRATCH (128u << 10)   /* bytes: a record is below 64 KiB, and so is its last parameter */

enum { FL_ABI_NATIVE, FL_ABI_IA32, FL_ABIS };

/* In front of a record in a ring. */
struct fl_probe_sample {
    uint32_t unread;            /* a bit for each parameter that could not be read: the process's memory was not there */
    uint16_t cpu;
    uint16_t flags;             /* FL_SAMPLE_… */
    uint32_t record;            /* bytes of the record, which follows; then … */
    uint32_t realpath;          /* … bytes of the kernel's path of the file that the call opened, without a NUL */
};

enum {
    FL_SAMPLE_IA32 = 1,         /* by a 32-bit system call */
    FL_SAMPLE_LATE = 2,         /* what AT_ENTRY takes could not be read before the call, and was read after it */
};

/* Why a record is not in a ring */
enum fl_probe_loss {
    FL_LOSS_RING,               /* the ring is full */
    FL_LOSS_SCRATCH,            /* the processor has no scratch or ring: it came after the start */
    FL_LOSS_TAIL,               /* the program for the event could not be called */
    FL_LOSS_KINDS,
};

struct fl_probe_config {
    uint64_t schema;            /* fl_schema_hash_events() of the tables that the object was built from */
    uint64_t boot_ns;           /* wall clock at the boot, ns since the epoch: what is added to the kernel's clock */
    uint32_t snaplen;           /* bytes of what is read and written that records hold */
    uint32_t wake_bytes;        /* a reader is woken when a ring holds so much … */
    uint32_t asleep;            /* … or by the first record, while this is 1 */
    uint32_t drop_failed;       /* leave out calls that failed (but those that the state needs) */
    uint32_t tracepoints;       /* a bit FL_TRACE_… for each one that is wanted */
    uint32_t skip_tgid;         /* a process that is left out; 0: none */
    uint16_t ring_of_cpu[FL_PROBE_CPUS];
    uint16_t event[FL_ABIS][FL_PROBE_CALLS];    /* by number of the call: the event to make; 0: none */
    uint16_t portable[FL_ABIS][FL_PROBE_CALLS]; /* the call's portable id */
};

enum { FL_TRACE_SIGNAL = 1 };

struct fl_probe_counters {
    uint64_t lost_events[FL_PROBE_EVENTS];      /* by event type */
    uint64_t lost_rings[FL_PROBE_CPUS];         /* by ring */
    uint64_t lost[FL_LOSS_KINDS];               /* by reason */
    uint64_t unread;                            /* parameters that could not be read */
};

struct fl_probe_shared {
    struct fl_probe_config config;
    struct fl_probe_counters counters;
};

#endif
