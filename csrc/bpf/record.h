/* SPDX-License-Identifier: Apache-2.0
 *
 * A record is put together in the scratch of its processor, then copied into a ring. While it is, its parts live in registers: everything is
 * inlined, and the positions of lengths are constants.
 */
#ifndef FL_BPF_RECORD_H
#define FL_BPF_RECORD_H

#include "kernel.h"
#include "probe.h"
#include "values.h"

#define PATH_MAX 4096
/* For the verifier: a position in the first half of a scratch, so that up to 64 KiB fit behind it. */
#define AT(offset) ((offset) & 0xffff)
#define RECORD_AT (sizeof(struct fl_probe_sample))
#define RECORD_HEADER 26
#define UNREAD(buf) (*(volatile u32 *)(buf))            /* fl_probe_sample.unread */

/* The same number, but any number to the verifier, as it went through memory: else it would follow the program once for each way in which the
 * number may have come about. */
INLINE u64 opaque(u8 *buf, u64 v)
{
    volatile u64 *cell = (void *)(buf + FL_PROBE_SCRATCH - 32);

    *cell = v;
    return *cell;
}

struct fl_probe_shared fl_probe;        /* in .bss */

struct scratch_map {
    MAP_NUMBER(type, BPF_MAP_TYPE_ARRAY);
    MAP_NUMBER(max_entries, 1);
    MAP_NUMBER(key_size, 4);
    MAP_NUMBER(value_size, FL_PROBE_SCRATCH);
};
struct ring_map { MAP_NUMBER(type, BPF_MAP_TYPE_RINGBUF); MAP_NUMBER(max_entries, 4096); };

/* One each for a processor, one each for one or more of them: made and put in by the loader. */
struct {
    MAP_NUMBER(type, BPF_MAP_TYPE_ARRAY_OF_MAPS);
    MAP_NUMBER(max_entries, FL_PROBE_CPUS);
    MAP_NUMBER(key_size, 4);
    struct scratch_map *values[];
} fl_scratches SEC(".maps");

struct {
    MAP_NUMBER(type, BPF_MAP_TYPE_ARRAY_OF_MAPS);
    MAP_NUMBER(max_entries, FL_PROBE_CPUS);
    MAP_NUMBER(key_size, 4);
    struct ring_map *values[];
} fl_rings SEC(".maps");

/* The file that a call returned a descriptor of. */
struct opened { bool read; struct file *file; struct inode *inode; u32 mode, dev; u64 ino, magic; };

/* A system call that has ended, or a tracepoint. */
struct call {
    struct task_struct *task;
    struct pt_regs *regs;
    s64 ret;
    bool ia32;
    bool block;                 /* the arguments stand in the process's memory, as 32-bit words: they were copied to … */
    u32 words[6];
    struct entry *entry;        /* what was taken when the call began, or NULL */
    u32 message;                /* of calls about many: which one this is */
    struct opened opened;
    struct linux_binprm *bprm;  /* of an exec that succeeded */
    struct kernel_siginfo *info;        /* of a signal */
};

struct rec {
    u8 *buf;
    u32 off;                    /* of the next value */
    u32 n;                      /* of the next parameter */
    u16 type;
    u16 flags;
};

INLINE void count_lost(u32 type, enum fl_probe_loss why)
{
    __sync_fetch_and_add(&fl_probe.counters.lost_events[type & (FL_PROBE_EVENTS - 1)], 1);
    __sync_fetch_and_add(&fl_probe.counters.lost_cpus[bpf_get_smp_processor_id() & (FL_PROBE_CPUS - 1)], 1);
    __sync_fetch_and_add(&fl_probe.counters.lost[why], 1);
}

INLINE u8 *get_scratch(u32 type)
{
    u32 cpu = bpf_get_smp_processor_id(), zero = 0;
    void *inner = bpf_map_lookup_elem(&fl_scratches, &cpu);
    u8 *buf = inner ? bpf_map_lookup_elem(inner, &zero) : NULL;

    if (!buf)
        count_lost(type, FL_LOSS_SCRATCH);
    return buf;
}

INLINE bool rec_begin(struct rec *r, u32 type, u32 nparams, u64 tid)
{
    r->buf = get_scratch(type);
    if (!r->buf)
        return false;
    *(u64 *)(r->buf + RECORD_AT) = fl_probe.config.boot_ns + bpf_ktime_get_boot_ns();
    *(u64 *)(r->buf + RECORD_AT + 8) = tid;
    *(u16 *)(r->buf + RECORD_AT + 20) = type;
    *(u32 *)(r->buf + RECORD_AT + 22) = nparams;
    r->off = RECORD_AT + RECORD_HEADER + 2 * nparams;
    r->n = 0;
    UNREAD(r->buf) = 0;
    r->type = type;
    r->flags = 0;
    return true;
}

/* Sends the record with `realpath` bytes that follow it. */
INLINE void rec_send(struct rec *r, u32 realpath)
{
    u32 cpu = bpf_get_smp_processor_id();
    u32 ring_number = fl_probe.config.ring_of_cpu[cpu & (FL_PROBE_CPUS - 1)];
    struct fl_probe_sample *sample = (void *)r->buf;
    u32 size = r->off + realpath;

    sample->cpu = cpu;
    sample->flags = r->flags;
    sample->record = r->off - RECORD_AT;
    sample->realpath = realpath;
    *(u32 *)(r->buf + RECORD_AT + 16) = r->off - RECORD_AT;
    if (unlikely(sample->unread))
        __sync_fetch_and_add(&fl_probe.counters.unread, 1);

    void *ring = bpf_map_lookup_elem(&fl_rings, &ring_number);
    if (!ring) {
        count_lost(r->type, FL_LOSS_SCRATCH);
        return;
    }
    /* the reader looks every few ms anyhow: it is woken when this processor has written so much since the last time */
    u64 flags = BPF_RB_NO_WAKEUP;
    u32 *written = (void *)(r->buf + FL_PROBE_SCRATCH - 40);
    *written += size;
    if (unlikely(fl_probe.config.asleep) || *written >= fl_probe.config.wake_bytes) {
        *written = 0;
        flags = BPF_RB_FORCE_WAKEUP;
    }
    size &= FL_PROBE_SCRATCH - 1;
    if (bpf_ringbuf_output(ring, r->buf, size, flags))
        count_lost(r->type, FL_LOSS_RING);
}

/* ---- parameters ---- */

/* The next parameter has this length, and its value is at r->off. */
INLINE void put_length(struct rec *r, u32 len)
{
    *(u16 *)(r->buf + RECORD_AT + RECORD_HEADER + 2 * r->n) = len;
    r->off += len;
    r->n++;
}

/* The same, of a length that isn't a constant. */
INLINE void put_variable(struct rec *r, u32 len)
{
    put_length(r, len);
    r->off = opaque(r->buf, r->off);
}

INLINE void put_empty(struct rec *r) { put_variable(r, 0); }

/* The next parameter, or a part of it, could not be read. */
INLINE void mark_unread(struct rec *r) { UNREAD(r->buf) |= 1u << r->n; }

INLINE void put_unread(struct rec *r)
{
    mark_unread(r);
    put_empty(r);
}

INLINE u32 width_of(unsigned type)
{
    switch (type) {
#define TYPE(name, id, bytes, kind) case FL_T_##name: return bytes;
#include "../schema/types.def"
#undef TYPE
    default: return 0;
    }
}

/* A number in the width of its type. */
INLINE void put_number(struct rec *r, unsigned type, u64 v)
{
    u8 *at = r->buf + AT(r->off);
    u32 width = width_of(type);

    if (width == 1)
        *at = v;
    else if (width == 2)
        *(u16 *)at = v;
    else if (width == 4)
        *(u32 *)at = v;
    else
        *(u64 *)at = v;
    put_length(r, width);
}

/* A text of the process, with its NUL. */
INLINE void put_user_text(struct rec *r, u64 from, u32 max)
{
    if (!from) {
        put_empty(r);
        return;
    }
    long len = bpf_probe_read_user_str(r->buf + AT(r->off), max, (void *)from);
    if (len <= 0)
        put_unread(r);
    else
        put_variable(r, len);
}

INLINE void put_kernel_text(struct rec *r, const void *from, u32 max)
{
    long len = bpf_probe_read_kernel_str(r->buf + AT(r->off), max, from);

    put_variable(r, len > 0 ? len : 0);
}

/* Memory of the process, at most `max` bytes, which is a constant below 64 Ki. */
INLINE void put_user_bytes(struct rec *r, u64 from, u64 len, u32 max)
{
    if (!from || !len) {
        put_empty(r);
        return;
    }
    if (len > max)
        len = max;
    barrier_var(len);
    if (bpf_probe_read_user(r->buf + AT(r->off), len & 0xffff, (void *)from))
        put_unread(r);
    else
        put_variable(r, len & 0xffff);
}

/* ---- arguments of a system call ---- */

INLINE u64 arg(const struct call *c, unsigned n)
{
    struct pt_regs *regs = c->regs;

    if (unlikely(c->ia32)) {
        if (c->block)
            return c->words[n < 6 ? n : 5];
        switch (n) {
        case 0: return (u32)regs->bx;
        case 1: return (u32)regs->cx;
        case 2: return (u32)regs->dx;
        case 3: return (u32)regs->si;
        case 4: return (u32)regs->di;
        default: return (u32)regs->bp;
        }
    }
    switch (n) {
    case 0: return regs->di;
    case 1: return regs->si;
    case 2: return regs->dx;
    case 3: return regs->r10;
    case 4: return regs->r8;
    default: return regs->r9;
    }
}

/* As a parameter of a type: descriptors and process numbers are C ints. */
INLINE u64 arg_as(const struct call *c, unsigned n, unsigned type)
{
    u64 v = arg(c, n);

    return type == FL_T_FD || type == FL_T_PID ? (u64)(s64)(s32)v : v;
}

/* A pointer or a size_t in the process's memory. */
INLINE u64 user_word(const struct call *c, u64 at, bool *failed)
{
    u64 v = 0;

    if (bpf_probe_read_user(&v, c->ia32 ? 4 : 8, (void *)at))
        *failed = true;
    return v;
}

#endif
