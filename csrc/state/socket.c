/* SPDX-License-Identifier: Apache-2.0
 *
 * Transitions of sockets (spec: engine.md H5).
 */
#include "transitions.h"

#include <stdio.h>

#define SOCK_STREAM 1u
#define SOCK_DGRAM 2u
#define SOCK_RAW 3u
#define PROTO_IP 0u
#define PROTO_ICMP 1u
#define PROTO_TCP 6u
#define PROTO_UDP 17u
#define PROTO_RAW 255u
#define EINPROGRESS 115

/* A socket address (one end), or the addresses of a connection, of a record. */
struct address {
    uint8_t family;             /* 0: none, or not one that we know */
    uint8_t sip[16], dip[16];   /* IPv4: the first 4 bytes */
    uint16_t sport, dport;
    uint64_t source, destination;
    struct fl_slice path;       /* unix */
};

static struct fl_slice path_at(struct fl_slice bytes, uint32_t at)
{
    struct fl_slice path = {bytes.data + at, bytes.len - at};

    path.len = (uint32_t)strnlen(path.data, path.len);
    return path;
}

/* An IPv4 address in an IPv6 one becomes what it is. */
static void unmap(struct address *address, bool two_ends)
{
    if (address->family != FL_AF_INET6 || !fl_is_mapped(address->dip) || (two_ends && !fl_is_mapped(address->sip)))
        return;
    address->family = FL_AF_INET;
    memcpy(address->sip, address->sip + 12, 4);
    memcpy(address->dip, address->dip + 12, 4);
}

/* A SOCKTUPLE. */
static struct address tuple_of(const struct fl_event *ev, unsigned i)
{
    struct fl_slice bytes = fl_param_bytes(ev, i);
    struct address tuple = {0};
    const char *p = bytes.data;

    if (!bytes.len)
        return tuple;
    if (p[0] == FL_AF_INET && bytes.len >= 13) {
        memcpy(tuple.sip, p + 1, 4);
        memcpy(&tuple.sport, p + 5, 2);
        memcpy(tuple.dip, p + 7, 4);
        memcpy(&tuple.dport, p + 11, 2);
    } else if (p[0] == FL_AF_INET6 && bytes.len >= 37) {
        memcpy(tuple.sip, p + 1, 16);
        memcpy(&tuple.sport, p + 17, 2);
        memcpy(tuple.dip, p + 19, 16);
        memcpy(&tuple.dport, p + 35, 2);
    } else if (p[0] == FL_AF_UNIX && bytes.len >= 17) {
        memcpy(&tuple.source, p + 1, 8);
        memcpy(&tuple.destination, p + 9, 8);
        tuple.path = path_at(bytes, 17);
    } else {
        return tuple;
    }
    tuple.family = (uint8_t)p[0];
    unmap(&tuple, true);
    return tuple;
}

/* A SOCKADDR: the address is the destination. */
static struct address sockaddr_as_given(const struct fl_event *ev, unsigned i)
{
    struct fl_slice bytes = fl_param_bytes(ev, i);
    struct address address = {0};
    const char *p = bytes.data;

    if (!bytes.len)
        return address;
    if (p[0] == FL_AF_INET && bytes.len >= 7) {
        memcpy(address.dip, p + 1, 4);
        memcpy(&address.dport, p + 5, 2);
    } else if (p[0] == FL_AF_INET6 && bytes.len >= 19) {
        memcpy(address.dip, p + 1, 16);
        memcpy(&address.dport, p + 17, 2);
    } else if (p[0] == FL_AF_UNIX) {
        address.path = path_at(bytes, 1);
    } else {
        return address;
    }
    address.family = (uint8_t)p[0];
    return address;
}

static struct address sockaddr_of(const struct fl_event *ev, unsigned i)
{
    struct address address = sockaddr_as_given(ev, i);

    unmap(&address, false);
    return address;
}

static size_t ip_len(uint8_t family) { return family == FL_AF_INET ? 4 : 16; }

void fl_fd_swap_ends(struct fl_fd *fd)
{
    uint8_t ip[16];
    uint16_t port = fd->sport;

    memcpy(ip, fd->sip, sizeof ip);
    memcpy(fd->sip, fd->dip, sizeof ip);
    memcpy(fd->dip, ip, sizeof ip);
    fd->sport = fd->dport;
    fd->dport = port;
}

void fl_fd_name_tuple(struct fl_state *state, struct fl_fd *fd)
{
    char text[256];

    fl_set_text(state, &fd->name, text, fl_tuple_text(text, sizeof text, fd));
}

/* "SOURCE->DESTINATION PATH", as connected unix sockets are called. */
static void name_unix(struct fl_state *state, struct fl_fd *fd, const struct address *tuple)
{
    char text[256];
    int n = snprintf(text, sizeof text, "%llx->%llx %.*s", (unsigned long long)tuple->source, (unsigned long long)tuple->destination,
                     (int)tuple->path.len, tuple->path.data);

    fl_set_text(state, &fd->name, text, (size_t)n < sizeof text ? (size_t)n : sizeof text - 1);
}

static void set_unix(struct fl_fd *fd, const struct address *tuple)
{
    fd->type = FL_FD_UNIX_SOCK;
    fd->source = tuple->source;
    fd->destination = tuple->destination;
}

/* The socket becomes one between two addresses. */
static void set_ends(struct fl_fd *fd, const struct address *tuple)
{
    fd->type = tuple->family == FL_AF_INET ? FL_FD_IPV4_SOCK : FL_FD_IPV6_SOCK;
    memcpy(fd->sip, tuple->sip, sizeof fd->sip);
    memcpy(fd->dip, tuple->dip, sizeof fd->dip);
    fd->sport = tuple->sport;
    fd->dport = tuple->dport;
}

/* The flags that may come with a type (SOCK_CLOEXEC, SOCK_NONBLOCK) are looked past where the type decides, but not to tell a raw socket:
 * Falco does so, and its rules see what it says. */
static uint8_t l4_of(uint32_t type, uint32_t proto)
{
    uint32_t bare = type & 0xff;

    switch (proto) {
    case PROTO_IP:
        return bare == SOCK_STREAM ? FL_L4_TCP : bare == SOCK_DGRAM ? FL_L4_UDP : FL_L4_UNKNOWN;
    case PROTO_TCP:
        return type == SOCK_RAW ? FL_L4_RAW : FL_L4_TCP;
    case PROTO_UDP:
        return type == SOCK_RAW ? FL_L4_RAW : FL_L4_UDP;
    case PROTO_ICMP:
        return type == SOCK_RAW ? FL_L4_RAW : FL_L4_ICMP;
    case PROTO_RAW:
        return FL_L4_RAW;
    default:
        return FL_L4_UNKNOWN;
    }
}

void fl_socket(struct fl_state *state, const struct fl_event *ev)
{
    uint32_t domain = fl_param_u32(ev, FL_P(SOCKET_X, domain)), flags = fl_param_u32(ev, FL_P(SOCKET_X, flags));
    enum fl_fd_type type = domain == FL_AF_UNIX      ? FL_FD_UNIX_SOCK
                           : domain == FL_AF_INET    ? FL_FD_IPV4_SOCK
                           : domain == FL_AF_INET6   ? FL_FD_IPV6_SOCK
                           : domain == FL_AF_NETLINK ? FL_FD_NETLINK
                                                     : FL_FD_UNKNOWN;
    struct fl_fd *fd;

    if (state->now.error)
        return;
    fd = fl_now_add_fd(state, fl_param_i64(ev, FL_P(SOCKET_X, fd)), type);
    if (!fd)
        return;
    fd->open_flags = flags;
    fd->cloexec = flags & FL_O_CLOEXEC;
    if (type == FL_FD_IPV4_SOCK || type == FL_FD_IPV6_SOCK)
        fd->l4 = l4_of(fl_param_u32(ev, FL_P(SOCKET_X, type)), fl_param_u32(ev, FL_P(SOCKET_X, proto)));
}

void fl_socketpair(struct fl_state *state, const struct fl_event *ev)
{
    int64_t fd1 = fl_param_i64(ev, FL_P(SOCKETPAIR_X, fd1)), fd2 = fl_param_i64(ev, FL_P(SOCKETPAIR_X, fd2));
    uint64_t source = fl_param_u64(ev, FL_P(SOCKETPAIR_X, source)), peer = fl_param_u64(ev, FL_P(SOCKETPAIR_X, peer));
    struct fl_fd *fd;

    if (state->now.error || fd1 == fd2)
        return;
    if ((fd = fl_now_add_fd(state, fd1, FL_FD_UNIX_SOCK)))
        fd->source = source, fd->destination = peer;
    if ((fd = fl_now_add_fd(state, fd2, FL_FD_UNIX_SOCK)))
        fd->source = peer, fd->destination = source;
}

void fl_bind(struct fl_state *state, const struct fl_event *ev)
{
    struct fl_fd *fd = state->now.fd;
    /* An IPv4 address in an IPv6 one, or the unspecified one, is an IPv4 server's, whose name is the address as it was given. */
    struct address given = sockaddr_as_given(ev, FL_P(BIND_X, addr)), address = sockaddr_of(ev, FL_P(BIND_X, addr));
    char text[256];
    struct fl_fd shown = {0};

    if (state->now.error || !fd)
        return;
    if (address.family == FL_AF_UNIX) {
        fl_set_text(state, &fd->name, address.path.data, address.path.len);
    } else if (address.family) {
        shown.type = given.family == FL_AF_INET ? FL_FD_IPV4_SERVSOCK : FL_FD_IPV6_SERVSOCK;
        memcpy(shown.sip, given.dip, sizeof shown.sip);
        shown.sport = given.dport;
        fl_set_text(state, &fd->name, text, fl_tuple_text(text, sizeof text, &shown));
        if (!address.dport)
            return;             /* the kernel chooses the port later: not known here */
        fd->type = address.family == FL_AF_INET ? FL_FD_IPV4_SERVSOCK : FL_FD_IPV6_SERVSOCK;
        memcpy(fd->sip, address.dip, sizeof fd->sip);
        fd->sport = address.dport;
        fd->role = FL_ROLE_SERVER;
    } else if (fl_param_present(ev, FL_P(BIND_X, addr))) {
        fl_set_text(state, &fd->name, text, (size_t)snprintf(text, sizeof text, "family %u", ev->param[FL_P(BIND_X, addr)][0]));
    }
}

/* Whether the destination of a connection is what the caller's memory held at the exit of the call. */
static bool same_destination(const struct address *a, const struct address *b)
{
    if (a->family != b->family)
        return false;
    if (a->family == FL_AF_UNIX)
        return a->path.len == b->path.len && memcmp(a->path.data, b->path.data, a->path.len) == 0;
    return a->dport == b->dport && memcmp(a->dip, b->dip, ip_len(a->family)) == 0;
}

void fl_connect(struct fl_state *state, const struct fl_event *ev)
{
    struct fl_fd *fd = state->now.fd;
    struct address tuple = tuple_of(ev, FL_P(CONNECT_X, tuple)), at_exit = sockaddr_of(ev, FL_P(CONNECT_X, addr)), at_enter = {0};
    struct fl_event enter;
    bool swap;

    if (!fd || (state->now.error && state->now.error != -EINPROGRESS))
        return;
    fd->connected = true;       /* or it will be: EINPROGRESS */
    if (fl_stored_enter(state, &enter))
        at_enter = sockaddr_of(&enter, FL_P(CONNECT_E, addr));
    if (!tuple.family) {
        if (fl_param_present(ev, FL_P(CONNECT_X, tuple)) || !at_enter.family)
            return;
        tuple = at_enter;       /* only the destination is known */
    } else if (same_destination(&tuple, &at_exit) && at_enter.family == tuple.family) {
        /* The tuple's destination was read from the caller's memory, and may have been rewritten since the call. */
        memcpy(tuple.dip, at_enter.dip, sizeof tuple.dip);
        tuple.dport = at_enter.dport;
        tuple.path = at_enter.path;
    }
    if (tuple.family == FL_AF_UNIX) {
        set_unix(fd, &tuple);
        name_unix(state, fd, &tuple);
    } else {
        swap = fd->role == FL_ROLE_SERVER && fd->l4 == FL_L4_UDP;
        set_ends(fd, &tuple);
        if (swap)
            fl_fd_swap_ends(fd);
        fl_fd_name_tuple(state, fd);
    }
    if (fd->role == FL_ROLE_NONE)
        fd->role = FL_ROLE_CLIENT;
}

static void accepted(struct fl_state *state, const struct fl_event *ev, uint32_t flags)
{
    _Static_assert(FL_P(ACCEPT_5_X, tuple) == FL_P(ACCEPT4_6_X, tuple), "accept4");
    struct address tuple = tuple_of(ev, FL_P(ACCEPT_5_X, tuple));
    int64_t num = fl_param_i64(ev, FL_P(ACCEPT_5_X, fd));
    struct fl_fd *fd;

    if (state->now.error)
        return;
    state->now.fd_num = state->now.thread->last_fd = num;
    if (!tuple.family || !(fd = fl_now_add_fd(state, num, FL_FD_UNIX_SOCK)))
        return;
    fd->open_flags = flags & FL_O_CLOEXEC;
    fd->cloexec = flags & FL_O_CLOEXEC;
    fd->role = FL_ROLE_SERVER;
    fd->connected = true;
    if (tuple.family == FL_AF_UNIX) {
        set_unix(fd, &tuple);
        name_unix(state, fd, &tuple);
    } else {
        set_ends(fd, &tuple);
        fd->l4 = FL_L4_TCP;
        fl_fd_name_tuple(state, fd);
    }
}

void fl_accept(struct fl_state *state, const struct fl_event *ev) { accepted(state, ev, 0); }
void fl_accept4(struct fl_state *state, const struct fl_event *ev) { accepted(state, ev, fl_param_u32(ev, FL_P(ACCEPT4_6_X, flags))); }

/* The local address that a packet to, or from, this one goes by: the same, one of its network, the first that isn't loopback. */
static const uint8_t *local_address(const struct fl_state *state, const uint8_t *peer, uint8_t family)
{
    static const uint8_t loopback4[4] = {127, 0, 0, 1}, loopback6[16] = {[15] = 1};
    const uint8_t *loopback = family == FL_AF_INET ? loopback4 : loopback6, *same_network = NULL, *first = NULL;
    size_t len = ip_len(family);

    for (uint32_t i = 0; i < state->ninterfaces; i++) {
        const struct fl_interface *own = &state->interfaces[i];
        bool inside = true;

        if (own->v6 != (family == FL_AF_INET6))
            continue;
        if (memcmp(own->addr, peer, len) == 0)
            return own->addr;
        for (size_t j = 0; j < len; j++)
            inside &= ((own->addr[j] ^ peer[j]) & own->netmask[j]) == 0;
        if (inside && !same_network)
            same_network = own->addr;
        if (!first && memcmp(own->addr, loopback, len) != 0)
            first = own->addr;
    }
    return same_network ? same_network : first;
}

/* An end that the kernel left unspecified is an address of this machine; but not the very end that it speaks to. */
static void complete(const struct fl_state *state, struct fl_fd *fd, uint8_t family)
{
    static const uint8_t zero[16];
    size_t len = ip_len(family);
    uint8_t *lacking = memcmp(fd->sip, zero, len) == 0 ? fd->sip : memcmp(fd->dip, zero, len) == 0 ? fd->dip : NULL;
    const uint8_t *peer = lacking == fd->sip ? fd->dip : fd->sip, *own;

    if (!lacking)
        return;
    own = local_address(state, peer, family);
    if (own && !(fd->sport == fd->dport && memcmp(own, peer, len) == 0))
        memcpy(lacking, own, len);
}

/* Brings the ends of a socket up to those of a packet. False if they are the same, in either direction. */
static bool update_ends(const struct fl_state *state, struct fl_fd *fd, const struct address *tuple)
{
    enum fl_fd_type type = tuple->family == FL_AF_INET ? FL_FD_IPV4_SOCK : FL_FD_IPV6_SOCK;
    size_t len = ip_len(tuple->family);

    if (fd->type == type) {
        if (memcmp(fd->sip, tuple->sip, len) == 0 && memcmp(fd->dip, tuple->dip, len) == 0 && fd->sport == tuple->sport &&
            fd->dport == tuple->dport)
            return false;
        if (memcmp(fd->sip, tuple->dip, len) == 0 && memcmp(fd->dip, tuple->sip, len) == 0 && fd->sport == tuple->dport &&
            fd->dport == tuple->sport)
            return false;
    }
    set_ends(fd, tuple);
    if (fd->l4 == FL_L4_UNKNOWN)
        fd->l4 = FL_L4_UDP;     /* the addresses of a TCP connection wouldn't change under way */
    complete(state, fd, tuple->family);
    return true;
}

/* A process that has the destination's port is the server of a packet, unless it also has the source's; then who speaks first is the
 * client. */
static enum fl_role guess_role(const struct fl_thread *thread, const struct fl_fd *fd, bool incoming)
{
    const struct fl_fds *fds = fl_thread_fds(thread);
    bool bound = false, client_port = false;

    for (uint32_t i = 0; fds && fds->slots && i <= fds->mask; i++) {
        const struct fl_fd *other = fds->slots[i];
        if (!other)
            continue;
        bound |= (other->type == FL_FD_IPV4_SOCK && other->dport == fd->dport) ||
                 (other->type == FL_FD_IPV4_SERVSOCK && other->sport == fd->dport);
        client_port |= other->type == FL_FD_IPV4_SOCK && other->sport == fd->sport;
    }
    if (!bound)
        return FL_ROLE_CLIENT;
    return !client_port || incoming ? FL_ROLE_SERVER : FL_ROLE_CLIENT;
}

/* A message was sent or received: a socket without a connection has got addresses. One that isn't known, whose socket() was missed, is taken for
 * UDP's, if its call infers. */
static void transfer(struct fl_state *state, const struct fl_event *ev, unsigned tuple_param, bool incoming, bool infers)
{
    struct fl_now *now = &state->now;
    struct fl_fd *fd;
    struct address tuple;

    if (now->error)
        return;
    if (now->fd && now->fd->name->len && now->fd->l4 == FL_L4_TCP) {
        fl_io(state, ev);
        return;
    }
    tuple = tuple_of(ev, tuple_param);
    if (!now->fd && infers && now->fd_num >= 0 && (tuple.family == FL_AF_INET || tuple.family == FL_AF_INET6)) {
        if ((fd = fl_now_add_fd(state, now->fd_num, tuple.family == FL_AF_INET ? FL_FD_IPV4_SOCK : FL_FD_IPV6_SOCK)))
            fd->l4 = FL_L4_UDP;
    }
    fl_io(state, ev);
    if (!(fd = now->fd) || !tuple.family)
        return;
    if (tuple.family == FL_AF_UNIX) {
        set_unix(fd, &tuple);
        name_unix(state, fd, &tuple);
        return;
    }
    if (!update_ends(state, fd, &tuple))
        return;
    if (fd->role == FL_ROLE_NONE)
        fd->role = guess_role(now->thread, fd, incoming);
    if (fd->role == (incoming ? FL_ROLE_CLIENT : FL_ROLE_SERVER))
        fl_fd_swap_ends(fd);
    fl_fd_name_tuple(state, fd);
}

/* send, sendto, sendmsg */
void fl_send(struct fl_state *state, const struct fl_event *ev)
{
    _Static_assert(FL_P(SEND_X, tuple) == FL_P(SENDTO_X, tuple) && FL_P(SEND_X, tuple) == FL_P(SENDMSG_X, tuple), "tuple");
    transfer(state, ev, FL_P(SEND_X, tuple), false, true);
}

void fl_sendmmsg(struct fl_state *state, const struct fl_event *ev) { transfer(state, ev, FL_P(SENDMMSG_X, tuple), false, false); }
void fl_recv(struct fl_state *state, const struct fl_event *ev) { transfer(state, ev, FL_P(RECV_X, tuple), true, false); }
void fl_recvfrom(struct fl_state *state, const struct fl_event *ev) { transfer(state, ev, FL_P(RECVFROM_X, tuple), true, false); }
#define SOL_SOCKET_ 1
#define SCM_RIGHTS_ 1
#define RIGHTS_MAX 253u                 /* descriptors that the kernel lets a message have */

/* Descriptors that came with a message: who looks up threads looks them up. The bytes are control messages: a header of size, level and type. */
static void receive_rights(struct fl_state *state, const struct fl_event *ev, unsigned param)
{
    struct { uint64_t len; int32_t level, type; } head;
    const uint8_t *at = param < ev->nparams ? ev->param[param] : NULL;
    size_t left = at ? ev->len[param] : 0;

    if (!state->look_up || state->now.error || !state->now.thread || ev->hidden)
        return;
    for (; left >= sizeof head; ) {
        memcpy(&head, at, sizeof head);
        if (head.len < sizeof head || head.len > left)
            return;
        uint64_t count = (head.len - sizeof head) / 4, size = (head.len + 7) & ~7ull;
        for (uint64_t i = 0; head.level == SOL_SOCKET_ && head.type == SCM_RIGHTS_ && i < count && i < RIGHTS_MAX; i++) {
            int32_t fd;
            memcpy(&fd, at + sizeof head + 4 * i, 4);
            if (fd >= 0)
                state->look_up(state->look_up_context, ev->tid, fd);
        }
        if (size >= left)
            return;
        at += size;
        left -= size;
    }
}

void fl_recvmsg(struct fl_state *state, const struct fl_event *ev)
{
    transfer(state, ev, FL_P(RECVMSG_X, tuple), true, false);
    receive_rights(state, ev, FL_P(RECVMSG_X, msgcontrol));
}

void fl_recvmmsg(struct fl_state *state, const struct fl_event *ev)
{
    transfer(state, ev, FL_P(RECVMMSG_X, tuple), true, false);
    receive_rights(state, ev, FL_P(RECVMMSG_X, msgcontrol));
}

/* Reads and writes: data flows through the socket. */
void fl_io(struct fl_state *state, const struct fl_event *ev)
{
    struct fl_fd *fd = state->now.fd;

    (void)ev;
    if (!state->now.error && fd && (fd->type == FL_FD_IPV4_SOCK || fd->type == FL_FD_IPV6_SOCK))
        fd->connected = true;
}
