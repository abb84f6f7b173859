/* SPDX-License-Identifier: Apache-2.0
 *
 * The descriptors that poll and ppoll wait for, as lists separated by commas.
 */
#include "extract.h"

/* Puts what is asked of a descriptor; false = nothing, not even a comma. */
typedef bool put(struct fl_text *text, int64_t num, const struct fl_fd *fd);

static bool put_num(struct fl_text *text, int64_t num, const struct fl_fd *fd)
{
    (void)fd;
    fl_text_dec(text, num);
    return true;
}

static bool put_name(struct fl_text *text, int64_t num, const struct fl_fd *fd)
{
    (void)num;
    if (fd && fd->name->len)
        fl_text_str(text, fd->name);
    else
        fl_text_lit(text, "<NA>");
    return true;
}

static bool put_addr(struct fl_text *text, const struct fl_fd *fd, const uint8_t *addr)
{
    if (fl_fd_is_ipv6(fd))
        fl_text_ipv6(text, addr);
    else
        fl_text_ipv4(text, addr);
    return true;
}

static bool is_connection(const struct fl_fd *fd) { return fd && (fd->type == FL_FD_IPV4_SOCK || fd->type == FL_FD_IPV6_SOCK); }

static bool put_cip(struct fl_text *text, int64_t num, const struct fl_fd *fd)
{
    (void)num;
    return is_connection(fd) && put_addr(text, fd, fd->sip);
}

static bool put_sip(struct fl_text *text, int64_t num, const struct fl_fd *fd)
{
    (void)num;
    if (is_connection(fd))
        return put_addr(text, fd, fd->dip);
    if (!fd || !fl_fd_is_server_only(fd))
        return false;
    fl_text_ipv4(text, fd->sip);        /* of an IPv6 server, too: its first 4 bytes, as Falco prints them */
    return true;
}

static bool put_cport(struct fl_text *text, int64_t num, const struct fl_fd *fd)
{
    (void)num;
    if (!is_connection(fd))
        return false;
    fl_text_udec(text, fd->sport);
    return true;
}

/* Of connections only: who listens has an address here, but no port. */
static bool put_sport(struct fl_text *text, int64_t num, const struct fl_fd *fd)
{
    (void)num;
    if (!is_connection(fd))
        return false;
    fl_text_udec(text, fd->dport);
    return true;
}

static bool list(const struct fl_view *view, put *one, struct fl_value *out)
{
    const struct fl_event *ev = view->ev;
    const struct fl_thread *thread = fl_thread_of(view);
    unsigned param;
    if (ev->type == FL_EV_POLL_X)
        param = FL_P(POLL_X, fds);
    else if (ev->type == FL_EV_PPOLL_X)
        param = FL_P(PPOLL_X, fds);
    else
        return false;
    struct fl_slice s = fl_param_bytes(ev, param);
    if (s.len < 2 || !thread)
        return false;
    unsigned count = (uint8_t)s.data[0] | (unsigned)(uint8_t)s.data[1] << 8;
    const struct fl_fds *fds = fl_thread_fds(thread);
    struct fl_text text;
    bool any = false;
    fl_text_begin(&text, view);
    for (unsigned i = 0; i < count && 2 + 10 * (size_t)(i + 1) <= s.len; i++) {
        int64_t num;
        memcpy(&num, s.data + 2 + 10 * (size_t)i, 8);
        size_t before = text.len;
        if (any)
            fl_text_char(&text, ',');
        if (one(&text, num, fds && num >= 0 ? fl_fd_find(fds, num) : NULL))
            any = true;
        else
            text.len = before;
    }
    return any && fl_text_end(&text, out);
}

EXTRACT(fdlist_nums) { return list(view, put_num, out); }
EXTRACT(fdlist_names) { return list(view, put_name, out); }
EXTRACT(fdlist_cips) { return list(view, put_cip, out); }
EXTRACT(fdlist_sips) { return list(view, put_sip, out); }
EXTRACT(fdlist_cports) { return list(view, put_cport, out); }
EXTRACT(fdlist_sports) { return list(view, put_sport, out); }
