/* SPDX-License-Identifier: Apache-2.0
 *
 * The ends of a connection: client and server, local and remote; addresses, ports, networks. They are known once it is known
 * which side of a socket is the client's.
 */
#include "extract.h"

enum end { CLIENT, SERVER };

static bool is_connection(const struct fl_fd *fd) { return fd->type == FL_FD_IPV4_SOCK || fd->type == FL_FD_IPV6_SOCK; }

/* The descriptor, if it is a socket whose sides are known. */
static const struct fl_fd *sided(const struct fl_view *view)
{
    const struct fl_fd *fd = fl_fd_of(view);
    return fd && (fl_fd_is_ipv4(fd) || fl_fd_is_ipv6(fd)) && fd->role != FL_ROLE_NONE ? fd : NULL;
}

static bool set_addr(struct fl_value *out, const struct fl_fd *fd, enum end end, enum fl_kind kind)
{
    if (!is_connection(fd) && end == CLIENT)
        return false;
    fl_set_str(out, (const char *)(is_connection(fd) && end == SERVER ? fd->dip : fd->sip), fl_fd_is_ipv6(fd) ? 16 : 4);
    out->kind = kind;
    return true;
}

static bool port_of(const struct fl_fd *fd, enum end end, uint16_t *port)
{
    if (!is_connection(fd) && end == CLIENT)
        return false;
    *port = is_connection(fd) && end == SERVER ? fd->dport : fd->sport;
    return true;
}

static bool addr(const struct fl_view *view, enum end end, enum fl_kind kind, struct fl_value *out)
{
    const struct fl_fd *fd = sided(view);
    return fd && set_addr(out, fd, end, kind);
}

static bool port(const struct fl_view *view, enum end end, struct fl_value *out)
{
    const struct fl_fd *fd = sided(view);
    uint16_t number;
    return fd && port_of(fd, end, &number) && fl_set_u64(out, number);
}

/* The number as text: names of services are not looked up. A socket that isn't a connection of the network has empty ones. */
static bool proto(const struct fl_view *view, enum end end, struct fl_value *out)
{
    const struct fl_fd *fd = fl_fd_of(view);
    uint16_t number;
    if (!fd || fd->role == FL_ROLE_NONE)
        return false;
    if (!is_connection(fd))
        return fl_set_lit(out, "");
    port_of(fd, end, &number);
    struct fl_text text;
    fl_text_begin(&text, view);
    fl_text_udec(&text, number);
    return fl_text_end(&text, out);
}

EXTRACT(fd_cip) { return addr(view, CLIENT, FL_IP, out); }
EXTRACT(fd_sip) { return addr(view, SERVER, FL_IP, out); }
EXTRACT(fd_cnet) { return addr(view, CLIENT, FL_NET, out); }
EXTRACT(fd_snet) { return addr(view, SERVER, FL_NET, out); }
EXTRACT(fd_cport) { return port(view, CLIENT, out); }

/* Who only listens is a server, also where nothing says that its role is known: from a capture's list. */
static const struct fl_fd *listener(const struct fl_view *view)
{
    const struct fl_fd *fd = fl_fd_of(view);
    return fd && fl_fd_is_server_only(fd) ? fd : NULL;
}

EXTRACT(fd_sport) { return listener(view) ? fl_set_u64(out, listener(view)->sport) : port(view, SERVER, out); }
EXTRACT(fd_sproto) { return listener(view) ? fl_set_lit(out, "") : sided(view) && proto(view, SERVER, out); }

/* A unix socket's client has a port: the empty one. */
EXTRACT(fd_cproto)
{
    const struct fl_fd *fd = fl_fd_of(view);
    return fd && fd->type == FL_FD_UNIX_SOCK && fd->role != FL_ROLE_NONE ? fl_set_lit(out, "") : proto(view, CLIENT, out);
}

/* ---- local and remote: the client's end is local if its address is this machine's, else the server's is ---- */

static bool local_end(const struct fl_view *view, enum end *end)
{
    const struct fl_fd *fd = sided(view);
    if (!fd || !is_connection(fd))
        return false;
    *end = fl_is_local_address(view->state, fd->sip, fl_fd_is_ipv6(fd)) ? CLIENT : SERVER;
    return true;
}

static bool remote_end(const struct fl_view *view, enum end *end)
{
    if (!local_end(view, end))
        return false;
    *end = *end == CLIENT ? SERVER : CLIENT;
    return true;
}

EXTRACT(fd_lip) { enum end end; return local_end(view, &end) && addr(view, end, FL_IP, out); }
EXTRACT(fd_rip) { enum end end; return remote_end(view, &end) && addr(view, end, FL_IP, out); }
EXTRACT(fd_lnet) { enum end end; return local_end(view, &end) && addr(view, end, FL_NET, out); }
EXTRACT(fd_rnet) { enum end end; return remote_end(view, &end) && addr(view, end, FL_NET, out); }
EXTRACT(fd_lport) { enum end end; return local_end(view, &end) && port(view, end, out); }
EXTRACT(fd_rport) { enum end end; return remote_end(view, &end) && port(view, end, out); }
EXTRACT(fd_lproto) { enum end end; return local_end(view, &end) && proto(view, end, out); }
EXTRACT(fd_rproto) { enum end end; return remote_end(view, &end) && proto(view, end, out); }

/* ---- either end: for tests alone ---- */

static bool either_addr(const struct fl_view *view, enum fl_kind kind, struct fl_value *out)
{
    const struct fl_fd *fd = fl_fd_of(view);
    if (!fd || !(fl_fd_is_ipv4(fd) || fl_fd_is_ipv6(fd)))
        return false;
    struct fl_value *list = fl_scratch_take(view->scratch, 2 * sizeof *list);
    if (!list)
        return false;
    uint32_t n = 0;
    n += set_addr(&list[n], fd, CLIENT, kind);
    n += set_addr(&list[n], fd, SERVER, kind);
    return fl_set_list(out, list, n);
}

static bool either_port(const struct fl_view *view, struct fl_value *out)
{
    const struct fl_fd *fd = fl_fd_of(view);
    if (!fd || !(fl_fd_is_ipv4(fd) || fl_fd_is_ipv6(fd)))
        return false;
    struct fl_value *list = fl_scratch_take(view->scratch, 2 * sizeof *list);
    if (!list)
        return false;
    uint32_t n = 0;
    uint16_t number;
    for (enum end end = CLIENT; end <= SERVER; end++)
        if (port_of(fd, end, &number))
            fl_set_u64(&list[n++], number);
    return fl_set_list(out, list, n);
}

EXTRACT(fd_ip) { return either_addr(view, FL_IP, out); }
EXTRACT(fd_net) { return either_addr(view, FL_NET, out); }
EXTRACT(fd_port) { return either_port(view, out); }
EXTRACT(fd_proto) { return either_port(view, out); }

/* ---- names: of the hosts that rules name and that have been resolved; several of them may have one address ---- */

static bool host(const struct fl_view *view, enum end end, struct fl_value *out)
{
    const struct fl_fd *fd = sided(view);
    const struct fl_host *first;
    struct fl_value at;
    if (!fd || !set_addr(&at, fd, end, FL_IP))
        return false;
    uint32_t n = fl_hosts_at(view->state, (const uint8_t *)at.s, fl_fd_is_ipv6(fd), &first);
    if (n == 1)
        return fl_set_interned(out, first->name);
    struct fl_value *list = n ? fl_scratch_take(view->scratch, n * sizeof *list) : NULL;
    if (!list)
        return false;
    for (uint32_t i = 0; i < n; i++)
        fl_set_interned(&list[i], first[i].name);
    return fl_set_list(out, list, n);
}

EXTRACT(fd_cip_name) { return host(view, CLIENT, out); }
EXTRACT(fd_sip_name) { return host(view, SERVER, out); }
EXTRACT(fd_lip_name) { enum end end; return local_end(view, &end) && host(view, end, out); }
EXTRACT(fd_rip_name) { enum end end; return remote_end(view, &end) && host(view, end, out); }

/* ---- the socket ---- */

/* The transport of a socket whose sides are known; "<NA>" of anything else. */
EXTRACT(fd_l4proto)
{
    const struct fl_fd *fd = fl_fd_of(view);
    if (!fd)
        return false;
    if (fl_fd_is_ipv4(fd) || fl_fd_is_ipv6(fd)) {
        switch (fl_fd_transport(fd)) {
        case FL_L4_TCP:
            return fl_set_lit(out, "tcp");
        case FL_L4_UDP:
            return fl_set_lit(out, "udp");
        case FL_L4_ICMP:
            return fl_set_lit(out, "icmp");
        case FL_L4_RAW:
            return fl_set_lit(out, "raw");
        }
    }
    return fl_set_lit(out, "<NA>");
}

EXTRACT(fd_sockfamily)
{
    const struct fl_fd *fd = fl_fd_of(view);
    if (!fd)
        return false;
    if (fl_fd_is_ipv4(fd) || fl_fd_is_ipv6(fd))
        return fl_set_lit(out, "ip");
    return fd->type == FL_FD_UNIX_SOCK && fl_set_lit(out, "unix");
}

/* A listening socket, or a connection to an address of this machine. */
EXTRACT(fd_is_server)
{
    const struct fl_fd *fd = fl_fd_of(view);
    if (!fd)
        return false;
    if (fl_fd_is_server_only(fd))
        return fl_set_bool(out, true);
    return fl_set_bool(out, is_connection(fd) && fl_is_local_address(view->state, fd->dip, fl_fd_is_ipv6(fd)));
}
