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

#define FL_PROBE_SLOTS 1024     /* calls whose path or address is kept: 4 KiB each; a power of two */

#define FL_PROBE_CAST 0x7ffffff1        /* in the object, the number of bpf_rdonly_cast, until it is loaded */

#define FL_SOCKETCALLS 32       /* above every number that socketcall(2) takes; a power of two */
#define FL_PROBE_APART (FL_PROBE_EVENTS - 1)    /* in place of an event: of socketcall(2), where only what is in it is wanted */

enum { FL_ABI_NATIVE, FL_ABI_IA32, FL_ABIS };

/* In front of a record in a ring. */
struct fl_probe_sample {
    uint32_t unread;            /* a bit for each parameter that could not be read: the process's memory was not there */
    uint16_t cpu;
    uint16_t flags;             /* FL_SAMPLE_… */
    uint32_t record;            /* bytes of the record, which follows; then … */
    uint32_t realpath;          /* … bytes of the kernel's path of the file that the call opened, without a NUL */
};

/* What the iterator of descriptors gives of each, before its name: what readlink() of /proc/PID/fd/N tells, with a NUL. */
struct fl_probe_file {
    int32_t pid;
    uint32_t fd, flags /* of open() */, close_on_exec, mode, links, dev /* as the kernel has it: 20 bits of minor number */;
    uint32_t network;           /* its process's: the namespace's inode */
    uint64_t ino;
    uint32_t len;               /* of the name; 0: it is too long */
    uint32_t unused;
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
    uint32_t guarded;           /* the guarded calls have tracepoints of their own: fl_sys_enter looks at 32-bit ones only */
    uint32_t realpath;          /* the kernel's path of what is opened is told */
    uint16_t ring_of_cpu[FL_PROBE_CPUS];
    union {                     /* by number of the call: */
        uint16_t event[FL_ABIS];        /* the event to make; 0: none */
        uint32_t events;        /* of both kinds */
    } call[FL_PROBE_CALLS];
    uint16_t socketcall[FL_SOCKETCALLS];        /* by the number that socketcall(2) of 32-bit processes takes: the event to make */
    uint8_t skip[FL_PROBE_EVENTS];              /* FL_SKIP_…, by event type: calls that nobody needs to know of */
    uint16_t portable[FL_ABIS][FL_PROBE_CALLS]; /* the call's portable id */
};

enum {
    FL_SKIP_FAILED = 1,
    FL_SKIP_FAILED_LOOK = 2,   /* what failed to open an absolute path without "//", "/." and ".." for reading */
    FL_SKIP_SUCCEEDED = 4,
};

struct fl_probe_counters {
    uint64_t lost_events[FL_PROBE_EVENTS];      /* by event type */
    uint64_t lost_cpus[FL_PROBE_CPUS];          /* by processor */
    uint64_t lost[FL_LOSS_KINDS];               /* by reason */
    uint64_t unread;                            /* parameters that could not be read */
    uint64_t skipped;                           /* calls that were left out by fl_probe_config.skip */
    uint64_t compat;                            /* not 0: there have been calls of another ABI than x86_64's */
};

struct fl_probe_shared {
    struct fl_probe_config config;
    struct fl_probe_counters counters;
};

#endif
