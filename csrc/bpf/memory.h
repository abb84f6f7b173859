/* SPDX-License-Identifier: Apache-2.0
 *
 * Fillers about what is read and written: buffers, vectors, messages; and other memory of the process.
 */
#ifndef FL_BPF_MEMORY_H
#define FL_BPF_MEMORY_H

#include "process.h"

#define SNAPLEN_MAX 16383u
#define IOV_PARTS 32            /* of a vector: its size counts so many parts, its data 8 */
#define IOV_DATA_PARTS 8

INLINE u64 snap(u64 len)
{
    u32 snaplen = fl_probe.config.snaplen;

    return len < snaplen ? len : snaplen;
}

INLINE u64 user_number(struct call *c, struct rec *r, u64 at, u32 bytes)
{
    u64 v = 0;

    if (at && bpf_probe_read_user(&v, bytes & 15, (void *)at))
        mark_unread(r);
    return v;
}

FILL(user_u32) { put_number(r, type, user_number(c, r, arg(c, n), 4)); }
FILL(user_u64) { put_number(r, type, user_number(c, r, arg(c, n), 8)); }
FILL(user_bytes) { put_user_bytes(r, arg(c, n), snap(arg(c, n + 1)), SNAPLEN_MAX); }
FILL(str_answer) { put_user_text(r, c->ret >= 0 ? arg(c, n) : 0, PATH_MAX); }
FILL(read_data) { put_user_bytes(r, arg(c, n), c->ret > 0 ? snap(c->ret) : 0, SNAPLEN_MAX); }
FILL(written_data) { put_user_bytes(r, arg(c, n), snap(c->ret > 0 ? c->ret : arg(c, n + 1)), SNAPLEN_MAX); }

/* ---- vectors ---- */

struct vector { u64 at, parts; };

INLINE void put_vector_size(struct call *c, struct rec *r, unsigned type, struct vector v)
{
    u32 word = c->ia32 ? 4 : 8;
    u64 size = 0;
    bool failed = false;

    for (u32 i = 0; i < IOV_PARTS; i++) {
        if (i >= v.parts || failed)
            break;
        size = opaque(r->buf, size + user_word(c, v.at + i * 2 * word + word, &failed));
    }
    if (failed)
        mark_unread(r);
    put_number(r, type, size);
}

INLINE void put_vector_data(struct call *c, struct rec *r, struct vector v, u64 len)
{
    u32 word = c->ia32 ? 4 : 8, start = r->off;
    u64 left = opaque(r->buf, snap(len));
    bool failed = false;

    for (u32 i = 0; i < IOV_DATA_PARTS; i++) {
        if (i >= v.parts || !left || failed)
            break;
        u64 base = user_word(c, v.at + i * 2 * word, &failed);
        u64 size = user_word(c, v.at + i * 2 * word + word, &failed);
        if (size > left)
            size = left;
        if (size > SNAPLEN_MAX)
            size = SNAPLEN_MAX;
        barrier_var(size);
        size &= SNAPLEN_MAX;
        if (bpf_probe_read_user(r->buf + AT(r->off), size, (void *)base)) {
            failed = true;
            break;
        }
        r->off = opaque(r->buf, r->off + size);
        left = opaque(r->buf, left - size);
    }
    if (failed)
        mark_unread(r);
    u32 total = r->off - start;
    r->off = start;
    put_variable(r, total);
}

INLINE struct vector vector_of(struct call *c, unsigned n) { return (struct vector){arg(c, n), arg(c, n + 1)}; }

FILL(iov_size) { put_vector_size(c, r, type, vector_of(c, n)); }
FILL(iov_read) { put_vector_data(c, r, vector_of(c, n), c->ret > 0 ? c->ret : 0); }
FILL(iov_written) { put_vector_data(c, r, vector_of(c, n), c->ret > 0 ? (u64)c->ret : ~0ull); }

/* ---- times, signals, limits ---- */

FILL(timespec)
{
    u64 at = arg(c, n), ns = 0;
    bool failed = false;

    if (at) {
        u64 seconds = user_word(c, at, &failed), rest = user_word(c, at + (c->ia32 ? 4 : 8), &failed);
        ns = seconds * SECOND + rest;
    }
    if (failed)
        mark_unread(r);
    put_number(r, type, ns);
}

FILL(sigset) { put_number(r, type, user_number(c, r, arg(c, n), 4)); }

INLINE s64 limit(struct call *c, struct rec *r, u64 at, u32 which)
{
    bool failed = false;
    u64 v = at ? user_word(c, at + which * (c->ia32 ? 4 : 8), &failed) : ~0ull;

    if (failed) {
        mark_unread(r);
        return -1;
    }
    return c->ia32 && (u32)v == 0xffffffff ? -1 : (s64)v;
}

FILL(rlimit_cur) { put_number(r, type, limit(c, r, arg(c, n), 0)); }
FILL(rlimit_max) { put_number(r, type, limit(c, r, arg(c, n), 1)); }

#define POLL_FDS 32             /* descriptors of a poll that are told, at most */

FILL(poll_fds)
{
    u64 at = arg(c, n), count = arg(c, n + 1);
    u32 start = r->off, told = 0;
    struct { s32 fd; u16 events, revents; } one;

    r->off += 2;
    for (u32 i = 0; i < POLL_FDS; i++) {
        if (i >= count || !at)
            break;
        if (bpf_probe_read_user(&one, sizeof one, (void *)(at + i * sizeof one))) {
            mark_unread(r);
            break;
        }
        *(s64 *)(r->buf + AT(r->off)) = one.fd;
        *(u16 *)(r->buf + AT(r->off + 8)) = fl_conv_poll_events(one.revents);
        r->off = opaque(r->buf, r->off + 10);
        told = opaque(r->buf, told + 1);
    }
    *(u16 *)(r->buf + AT(start)) = told;
    u32 len = r->off - start;
    r->off = start;
    put_variable(r, len);
}

#endif
