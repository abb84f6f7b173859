/* SPDX-License-Identifier: Apache-2.0
 *
 * Fillers about sockets: addresses, both ends of connections, options, messages.
 */
#ifndef FL_BPF_SOCKET_H
#define FL_BPF_SOCKET_H

#include "memory.h"

#define AF_UNIX_ 1
#define AF_INET_ 2
#define AF_INET6_ 10
#define S_IFMT_ 0170000
#define S_IFSOCK_ 0140000
#define SOCKADDR_MAX 128
#define UNIX_PATH_MAX 108

/* An address of the process's memory, with the length that came with it; family 0: none */
struct address {
    u32 len;
    u8 bytes[SOCKADDR_MAX];
};

INLINE u16 family_of(const struct address *a) { return a->len >= 2 ? *(u16 *)a->bytes : 0; }

INLINE bool read_address(struct address *a, u64 at, u64 len)
{
    a->len = 0;
    __builtin_memset(a->bytes, 0, sizeof a->bytes);
    if (!at || !len)
        return true;
    if (len > SOCKADDR_MAX)
        len = SOCKADDR_MAX;
    barrier_var(len);
    if (bpf_probe_read_user(a->bytes, len & 0xff, (void *)at))
        return false;
    a->len = len & 0xff;
    return true;
}

INLINE u16 port(u16 network) { return network >> 8 | network << 8; }

/* A path of a unix socket: an abstract one, which begins with a NUL, is shown with @. `from` is a kernel address. */
INLINE void put_unix_path(struct rec *r, const u8 *from, u32 *len)
{
    u8 *at = r->buf + AT(r->off + *len);
    char first[2] = {0};

    bpf_probe_read_kernel(first, sizeof first, from);
    if (first[0] || !first[1]) {
        long n = bpf_probe_read_kernel_str(at, UNIX_PATH_MAX, from);
        *len += n > 0 ? n : 0;
    } else {
        *at = '@';
        long n = bpf_probe_read_kernel_str(r->buf + AT(r->off + *len + 1), UNIX_PATH_MAX - 1, from + 1);
        *len += n > 0 ? n + 1 : 0;
    }
}

INLINE void put_address(struct rec *r, const struct address *a)
{
    u8 *at = r->buf + AT(r->off);
    u16 family = family_of(a);
    u32 len = 1;

    *at = family;
    if (family == AF_INET_ && a->len >= 8) {
        *(u32 *)(at + 1) = *(u32 *)(a->bytes + 4);
        *(u16 *)(at + 5) = port(*(u16 *)(a->bytes + 2));
        len = 7;
    } else if (family == AF_INET6_ && a->len >= 24) {
        __builtin_memcpy(at + 1, a->bytes + 8, 16);
        *(u16 *)(at + 17) = port(*(u16 *)(a->bytes + 2));
        len = 19;
    } else if (family == AF_UNIX_) {
        put_unix_path(r, a->bytes + 2, &len);
    } else {
        len = 0;
    }
    put_variable(r, len);
}

FILL(sockaddr)
{
    struct address a;

    if (!read_address(&a, arg(c, n), (u32)arg(c, n + 1)))
        put_unread(r);
    else
        put_address(r, &a);
}

/* ---- both ends ---- */

INLINE struct sock *sock_of(struct call *c, s64 fd)
{
    struct file *file = file_of(c->task, fd);

    if (!file || (READ(READ(file, f_inode), i_mode) & S_IFMT_) != S_IFSOCK_)
        return NULL;
    struct socket *socket = READ(file, private_data);
    return socket ? READ(socket, sk) : NULL;
}

INLINE void put_sock_path(struct rec *r, struct sock *sk, u32 *len)
{
    struct unix_address *address = sk ? READ((struct unix_sock *)sk, addr) : NULL;

    if (address && READ(address, len) > 2) {
        put_unix_path(r, (void *)address + offset_of(struct unix_address, name) + 2, len);
        return;
    }
    r->buf[AT(r->off + *len)] = 0;
    *len += 1;
}

/* `given` is the address of the other end where the socket has none, or none itself. `incoming`: the other end comes first. */
INLINE void put_tuple(struct call *c, struct rec *r, s64 fd, const struct address *given, bool incoming)
{
    struct sock *sk = sock_of(c, fd);

    if (!sk) {
        put_empty(r);
        return;
    }
    u16 family = READ(sk, __sk_common.skc_family);
    u8 *at = r->buf + AT(r->off);
    *at = family;
    if (family == AF_INET_) {
        u32 own_ip = READ(sk, __sk_common.skc_rcv_saddr), ip = READ(sk, __sk_common.skc_daddr);
        u16 own_port = READ(sk, __sk_common.skc_num), other_port = port(READ(sk, __sk_common.skc_dport));
        if (given && family_of(given) == AF_INET_ && given->len >= 8 && (!ip || incoming)) {
            ip = *(u32 *)(given->bytes + 4);
            other_port = port(*(u16 *)(given->bytes + 2));
        }
        *(u32 *)(at + 1) = incoming ? ip : own_ip;
        *(u16 *)(at + 5) = incoming ? other_port : own_port;
        *(u32 *)(at + 7) = incoming ? own_ip : ip;
        *(u16 *)(at + 11) = incoming ? own_port : other_port;
        put_length(r, 13);
    } else if (family == AF_INET6_) {
        u8 own_ip[16] = {0}, ip[16] = {0};
        bpf_probe_read_kernel(own_ip, 16, &sk->__sk_common.skc_v6_rcv_saddr);
        bpf_probe_read_kernel(ip, 16, &sk->__sk_common.skc_v6_daddr);
        u16 own_port = READ(sk, __sk_common.skc_num), other_port = port(READ(sk, __sk_common.skc_dport));
        u64 low, high;
        __builtin_memcpy(&low, ip, 8);
        __builtin_memcpy(&high, ip + 8, 8);
        if (given && family_of(given) == AF_INET6_ && given->len >= 24 && (!(low | high) || incoming)) {
            __builtin_memcpy(ip, given->bytes + 8, 16);
            other_port = port(*(u16 *)(given->bytes + 2));
        }
        __builtin_memcpy(at + 1, incoming ? ip : own_ip, 16);
        *(u16 *)(at + 17) = incoming ? other_port : own_port;
        __builtin_memcpy(at + 19, incoming ? own_ip : ip, 16);
        *(u16 *)(at + 35) = incoming ? own_port : other_port;
        put_length(r, 37);
    } else if (family == AF_UNIX_) {
        struct sock *peer = READ((struct unix_sock *)sk, peer);
        u32 len = 17;
        *(u64 *)(at + 1) = incoming ? (u64)peer : (u64)sk;
        *(u64 *)(at + 9) = incoming ? (u64)sk : (u64)peer;
        if (!peer && given && family_of(given) == AF_UNIX_)
            put_unix_path(r, given->bytes + 2, &len);
        else
            put_sock_path(r, incoming ? sk : peer, &len);
        put_variable(r, len);
    } else {
        put_empty(r);
    }
}

FILL(tuple_out)
{
    struct address given;

    if (!read_address(&given, arg(c, n), (u32)arg(c, n + 1)))
        mark_unread(r);
    put_tuple(c, r, (s32)arg(c, 0), &given, false);
}

FILL(tuple_in)
{
    struct address given;
    u64 at = arg(c, n);
    u32 len = at && c->ret >= 0 ? user_number(c, r, arg(c, n + 1), 4) : 0;

    if (!read_address(&given, len ? at : 0, len))
        mark_unread(r);
    if (c->ret < 0)
        put_empty(r);
    else
        put_tuple(c, r, (s32)arg(c, 0), &given, true);
}

FILL(tuple_accepted)
{
    if (c->ret < 0)
        put_empty(r);
    else
        put_tuple(c, r, c->ret, NULL, true);
}

INLINE u32 backlog(struct call *c, unsigned n, bool limit_)
{
    struct sock *sk = sock_of(c, (s32)arg(c, n));

    return sk ? (limit_ ? READ(sk, sk_max_ack_backlog) : READ(sk, sk_ack_backlog)) : 0;
}

FILL(queue_percent)
{
    u64 most = backlog(c, n, true);
    put_number(r, type, most ? (u64)backlog(c, n, false) * 100 / most : 0);
}
FILL_NUMBER(queue_length, backlog(c, n, false))
FILL_NUMBER(queue_limit, backlog(c, n, true))

FILL_NUMBER(unix_socket, (u64)sock_of(c, fd_of_pair(c, n, 0)))
FILL(unix_peer)
{
    struct sock *sk = sock_of(c, fd_of_pair(c, n, 0));
    put_number(r, type, sk && READ(sk, __sk_common.skc_family) == AF_UNIX_ ? (u64)READ((struct unix_sock *)sk, peer) : 0);
}

/* ---- options: SOL_SOCKET's are told by their kind (sockopt_dynamic_param: bytes 0, errno 1, u32 2, u64 3, ns 4) ---- */

FILL(sockopt_name) { put_number(r, type, (u32)arg(c, n) == 1 ? fl_conv_sockopt_name(arg(c, n + 1)) : 0); }

INLINE void put_option(struct call *c, struct rec *r, u32 level, u32 name, u64 at, u32 len)
{
    u8 *kind = r->buf + AT(r->off);
    u64 *value = (u64 *)(kind + 1);
    u32 size = 0;

    if (level == 1) {
        switch (name) {
        case 4:                                                                 /* SO_ERROR */
            *kind = 1;
            *value = -(s64)(s32)user_number(c, r, at, 4);
            size = 9;
            break;
        case 20: case 21: case 66: case 67:                                     /* SO_RCVTIMEO, SO_SNDTIMEO */
            *kind = 4;
            *value = user_number(c, r, at, 8) * SECOND + user_number(c, r, at + 8, 8) * 1000;
            size = 9;
            break;
        case 57:                                                                /* SO_COOKIE */
            *kind = 3;
            *value = user_number(c, r, at, 8);
            size = 9;
            break;
        case 13: case 17: case 25: case 26: case 28: case 31: case 50: case 51: case 55: case 59:
            break;                                                              /* structures and texts */
        default:
            *kind = 2;
            *value = (u32)user_number(c, r, at, 4);
            size = 5;
        }
    }
    if (!size) {
        u64 want = snap(len);
        *kind = 0;
        if (want > SNAPLEN_MAX)
            want = SNAPLEN_MAX;
        barrier_var(want);
        want &= SNAPLEN_MAX;
        if (at && want && bpf_probe_read_user(r->buf + AT(r->off + 1), want, (void *)at)) {
            mark_unread(r);
            want = 0;
        }
        size = 1 + (at ? want : 0);
    }
    put_variable(r, size);
}

FILL(sockopt_given) { put_option(c, r, arg(c, n), arg(c, n + 1), arg(c, n + 2), arg(c, n + 3)); }

FILL(sockopt_answer)
{
    if (c->ret < 0)
        put_empty(r);
    else
        put_option(c, r, arg(c, n), arg(c, n + 1), arg(c, n + 2), user_number(c, r, arg(c, n + 3), 4));
}

/* ---- messages ---- */

struct message { struct vector v; u64 name, name_len, control, control_len, len; };

INLINE struct message message_at(struct call *c, struct rec *r, u64 at)
{
    struct message m = {0};
    u32 word = c->ia32 ? 4 : 8;
    bool failed = false;

    m.name = user_word(c, at, &failed);
    m.name_len = (u32)user_number(c, r, at + word, 4);
    m.v.at = user_word(c, at + 2 * word, &failed);
    m.v.parts = user_word(c, at + 3 * word, &failed);
    m.control = user_word(c, at + 4 * word, &failed);
    m.control_len = user_word(c, at + 5 * word, &failed);
    if (failed)
        mark_unread(r);
    return m;
}

INLINE void put_message_tuple(struct call *c, struct rec *r, struct message m, bool incoming)
{
    struct address given;

    if (!read_address(&given, m.name, m.name_len))
        mark_unread(r);
    if (incoming && c->ret < 0)
        put_empty(r);
    else
        put_tuple(c, r, (s32)arg(c, 0), &given, incoming);
}

INLINE void put_control(struct call *c, struct rec *r, struct message m)
{
    put_user_bytes(r, m.control, c->ret >= 0 ? m.control_len : 0, SNAPLEN_MAX);
}

FILL(msg_size) { put_vector_size(c, r, type, message_at(c, r, arg(c, n)).v); }
FILL(msg_read) { put_vector_data(c, r, message_at(c, r, arg(c, n)).v, c->ret > 0 ? c->ret : 0); }
FILL(msg_written) { put_vector_data(c, r, message_at(c, r, arg(c, n)).v, c->ret > 0 ? (u64)c->ret : ~0ull); }
FILL(msg_tuple_out) { put_message_tuple(c, r, message_at(c, r, arg(c, n)), false); }
FILL(msg_tuple_in) { put_message_tuple(c, r, message_at(c, r, arg(c, n)), true); }
FILL(msg_control) { put_control(c, r, message_at(c, r, arg(c, n))); }

/* ---- many messages: of each an event. c->message is the number of this one. ---- */

INLINE u64 mmsg_at(struct call *c, unsigned n) { return arg(c, n) + c->message * (c->ia32 ? 32 : 64); }

INLINE s64 mmsg_bytes(struct call *c, struct rec *r, unsigned n)
{
    return c->ret < 0 ? c->ret : (s64)(u32)user_number(c, r, mmsg_at(c, n) + (c->ia32 ? 28 : 56), 4);
}

FILL(mmsg_result) { put_number(r, type, mmsg_bytes(c, r, n)); }
FILL(mmsg_size) { put_vector_size(c, r, type, message_at(c, r, mmsg_at(c, n)).v); }
FILL(mmsg_read)
{
    s64 len = mmsg_bytes(c, r, n);
    put_vector_data(c, r, message_at(c, r, mmsg_at(c, n)).v, len > 0 ? len : 0);
}
FILL(mmsg_written)
{
    s64 len = mmsg_bytes(c, r, n);
    put_vector_data(c, r, message_at(c, r, mmsg_at(c, n)).v, len > 0 ? (u64)len : ~0ull);
}
FILL(mmsg_tuple_out) { put_message_tuple(c, r, message_at(c, r, mmsg_at(c, n)), false); }
FILL(mmsg_tuple_in) { put_message_tuple(c, r, message_at(c, r, mmsg_at(c, n)), true); }
FILL(mmsg_control) { put_control(c, r, message_at(c, r, mmsg_at(c, n))); }

/* The address as it was when the call began (connect). */
INLINE void entry_address(struct call *c, struct address *a, struct rec *r, unsigned n)
{
    if (c->entry && c->entry->len) {
        a->len = c->entry->len & 0xff;
        bpf_probe_read_kernel(a->bytes, SOCKADDR_MAX, c->entry->data);
        return;
    }
    r->flags |= FL_SAMPLE_LATE;
    if (!read_address(a, arg(c, n), (u32)arg(c, n + 1)))
        mark_unread(r);
}

INLINE void entry_sockaddr(struct call *c, struct rec *r, unsigned type, unsigned n)
{
    struct address a;

    entry_address(c, &a, r, n);
    put_address(r, &a);
}

#endif
