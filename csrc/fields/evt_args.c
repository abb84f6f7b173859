/* SPDX-License-Identifier: Apache-2.0
 *
 * The parameters of an event as text: evt.args, evt.arg.NAME; and as they are: evt.rawarg.NAME, evt.buffer.
 *
 * A parameter is printed as its value and, in parentheses, what the value means: a descriptor's name, a process's name, an
 * error, flags, a user, an absolute path. evt.arg prints the meaning alone where there is one.
 */
#include "extract.h"

#include <stdio.h>

/* A parameter, or the value inside a DYN one. */
struct param {
    const struct fl_view *view;
    unsigned index;             /* of the parameter in the event */
    uint8_t type, format, flags;
    bool inner;                 /* the value inside a DYN one */
    const uint8_t *data;
    uint32_t len;
};

static bool is_text(unsigned type) { return type == FL_T_CHARBUF || type == FL_T_FSPATH || type == FL_T_FSRELPATH; }

static bool param_of(const struct fl_view *view, unsigned i, struct param *p)
{
    const struct fl_event_info *info = fl_info(view);
    if (i >= view->ev->nparams || i >= info->nparams)
        return false;
    const struct fl_param_info *row = &info->params[i];
    *p = (struct param){view, i, row->type, row->format, row->flags, false, view->ev->param[i], view->ev->len[i]};
    if (row->type == FL_T_DYN && p->len) {
        const struct fl_dyn_table_info *table = &fl_dyn_tables[row->dyn];
        unsigned which = p->data[0];
        p->data++, p->len--, p->inner = true;
        if (which < table->count)
            p->type = table->types[which].type, p->format = table->types[which].format;
    }
    if (p->len == 7 && is_text(p->type) && memcmp(p->data, "(NULL)", 7) == 0)
        p->len = 0;             /* how old recorders said that they couldn't read it */
    return true;
}

/* Numbers: as many bytes as there are, 8 at most; the missing ones are zero, or the sign. */
static uint64_t number(const struct param *p)
{
    uint64_t v = 0;
    unsigned n = fl_type_bytes[p->type] && fl_type_bytes[p->type] < 8 ? fl_type_bytes[p->type] : 8;
    memcpy(&v, p->data, p->len < n ? p->len : n);
    return v;
}

static int64_t number_signed(const struct param *p)
{
    uint64_t v = number(p);
    unsigned bytes = fl_type_bytes[p->type] && fl_type_bytes[p->type] < 8 ? fl_type_bytes[p->type] : 8;
    if (p->len < bytes)
        bytes = p->len;
    return bytes == 0 || bytes == 8 ? (int64_t)v : (int64_t)(v << (64 - 8 * bytes)) >> (64 - 8 * bytes);
}

static struct fl_slice text_of(const struct param *p)
{
    return (struct fl_slice){(const char *)p->data, (uint32_t)strnlen((const char *)p->data, p->len)};
}

/* ---- values ---- */

static void put_unsigned(struct fl_text *text, const struct param *p)
{
    uint64_t v = number(p);
    switch (p->format) {
    case FL_FMT_HEX:
        fl_text_hex(text, v);
        break;
    case FL_FMT_OCT:
        if (v)
            fl_text_char(text, '0');
        fl_text_oct(text, v);
        break;
    case FL_FMT_PADDED:
        fl_text_padded(text, v, 9);
        break;
    default:
        fl_text_udec(text, v);
    }
}

static void put_base64(struct fl_text *text, const uint8_t *data, uint32_t len)
{
    static const char digits[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";

    for (uint32_t i = 0; i < len; i += 3) {
        uint32_t left = len - i, group = (uint32_t)data[i] << 16;
        group |= left > 1 ? (uint32_t)data[i + 1] << 8 : 0;
        group |= left > 2 ? data[i + 2] : 0;
        fl_text_char(text, digits[group >> 18]);
        fl_text_char(text, digits[group >> 12 & 63]);
        fl_text_char(text, left > 1 ? digits[group >> 6 & 63] : '=');
        fl_text_char(text, left > 2 ? digits[group & 63] : '=');
    }
}

/* Bytes: what can't be printed is a dot. */
static void put_bytes(struct fl_text *text, const struct param *p)
{
    if (p->view->base64) {
        put_base64(text, p->data, p->len);
        return;
    }
    for (uint32_t i = 0; i < p->len; i++)
        fl_text_char(text, p->data[i] >= 0x20 && p->data[i] < 0x7f ? (char)p->data[i] : '.');
}

static uint16_t port_at(const uint8_t *at) { return (uint16_t)(at[0] | at[1] << 8); }

enum { INET = 2, INET6 = 10, UNIX = 1 };       /* socket families of the schema */

static void put_endpoint(struct fl_text *text, const uint8_t *addr, bool v6, uint16_t port)
{
    if (v6)
        fl_text_ipv6(text, addr);
    else
        fl_text_ipv4(text, addr);
    fl_text_char(text, ':');
    fl_text_udec(text, port);
}

static void put_family(struct fl_text *text, unsigned family)
{
    fl_text_lit(text, "family ");
    fl_text_udec(text, family);
}

static void put_sockaddr(struct fl_text *text, const struct param *p)
{
    const uint8_t *d = p->data;
    if (d[0] == UNIX)
        fl_text_put(text, d + 1, strnlen((const char *)d + 1, p->len - 1));
    else if (d[0] == INET && p->len >= 7)
        put_endpoint(text, d + 1, false, port_at(d + 5));
    else if (d[0] == INET6 && p->len >= 19)
        put_endpoint(text, d + 1, true, port_at(d + 17));
    else if (d[0] == INET)
        fl_text_lit(text, "INVALID IPv4");
    else if (d[0] == INET6)
        fl_text_lit(text, "INVALID IPv6");
    else
        put_family(text, d[0]);
}

static bool is_v4_mapped(const uint8_t *addr)
{
    static const uint8_t zero[10];
    return !memcmp(addr, zero, 10) && ((addr[10] == 0xff && addr[11] == 0xff) || !memcmp(addr + 10, zero, 6));
}

static void put_tuple(struct fl_text *text, const struct param *p)
{
    const uint8_t *d = p->data;
    char s[48];
    if (d[0] == INET && p->len >= 13) {
        put_endpoint(text, d + 1, false, port_at(d + 5));
        fl_text_lit(text, "->");
        put_endpoint(text, d + 7, false, port_at(d + 11));
    } else if (d[0] == INET6 && p->len >= 37) {
        bool v6 = !is_v4_mapped(d + 1) || !is_v4_mapped(d + 19);
        put_endpoint(text, v6 ? d + 1 : d + 13, v6, port_at(d + 17));
        fl_text_lit(text, "->");
        put_endpoint(text, v6 ? d + 19 : d + 31, v6, port_at(d + 35));
    } else if (d[0] == UNIX && p->len >= 17) {
        uint64_t source, destination;
        memcpy(&source, d + 1, 8);
        memcpy(&destination, d + 9, 8);
        fl_text_put(text, s, (size_t)snprintf(s, sizeof s, "%lx->%lx ", (unsigned long)source, (unsigned long)destination));
        fl_text_put(text, d + 17, strnlen((const char *)d + 17, p->len - 17));
    } else if (d[0] == INET) {
        fl_text_lit(text, "INVALID IPv4");
    } else if (d[0] == INET6) {
        fl_text_lit(text, "INVALID IPv6");
    } else if (d[0] == UNIX) {
        fl_text_lit(text, "INVALID UNIX");
    } else {
        put_family(text, d[0]);
    }
}

static const struct fl_fd *descriptor(const struct fl_view *view, int64_t num)
{
    const struct fl_thread *thread = fl_thread_of(view);
    return thread && num >= 0 ? fl_fd_find(fl_thread_fds(thread), num) : NULL;
}

/* poll's list: u16 count, then i64 descriptor and i16 events each. "3:u1 4:?44": number (of one that poll is to pass over, -1, without its
 * sign), kind, events in hexadecimal (with 32 bits, if they are negative). */
static void put_fdlist(struct fl_text *text, const struct param *p)
{
    if (p->len < 2)
        return;
    unsigned count = port_at(p->data);
    for (unsigned i = 0; i < count && 2 + 10 * (size_t)(i + 1) <= p->len; i++) {
        int64_t num;
        char s[16];
        memcpy(&num, p->data + 2 + 10 * i, 8);
        const struct fl_fd *fd = descriptor(p->view, num);
        if (i)
            fl_text_char(text, ' ');
        fl_text_udec(text, (uint64_t)num);
        fl_text_char(text, ':');
        fl_text_char(text, fd ? fl_fd_typechar(fd->type) : '?');
        fl_text_put(text, s, (size_t)snprintf(s, sizeof s, "%x", (unsigned)(int16_t)port_at(p->data + 2 + 10 * i + 8)));
    }
}

static void put_sigset(struct fl_text *text, const struct param *p)
{
    uint64_t set = number(p);
    bool first = true;
    for (unsigned i = 0; i < 32; i++) {
        const char *name = set >> i & 1 ? fl_signal_name(i + 1) : NULL;
        if (!name)
            continue;
        if (!first)
            fl_text_char(text, ' ');
        fl_text_lit(text, name);
        first = false;
    }
}

/* No value: "NULL" of types that always could be empty, "<NA>" of the others. Of a value inside another it is the bytes that there are none
 * of. */
static void put_empty(struct fl_text *text, const struct param *p)
{
    if (p->inner && p->type == FL_T_BYTEBUF)
        return;
    switch (p->type) {
    case FL_T_BYTEBUF: case FL_T_SOCKTUPLE: case FL_T_FDLIST: case FL_T_DYN: case FL_T_CHARBUFARRAY: case FL_T_CHARBUF_PAIR_ARRAY:
        fl_text_lit(text, "NULL");
        break;
    default:
        fl_text_lit(text, "<NA>");
    }
}

static void put_value(struct fl_text *text, const struct param *p)
{
    struct fl_slice s;
    double f = 0;
    char buffer[40];
    if (p->inner && p->type == FL_T_DYN) {
        fl_text_lit(text, "INVALID DYNAMIC PARAMETER");     /* its index is that of no type */
        return;
    }
    if (!p->len) {
        put_empty(text, p);
        return;
    }
    switch (p->type) {
    case FL_T_CHARBUF: case FL_T_FSPATH: case FL_T_FSRELPATH:
        s = text_of(p);
        fl_text_put(text, s.data, s.len);
        break;
    case FL_T_BYTEBUF: case FL_T_CHARBUFARRAY: case FL_T_CHARBUF_PAIR_ARRAY:
        put_bytes(text, p);
        break;
    case FL_T_INT8: case FL_T_INT16: case FL_T_INT32: case FL_T_INT64: case FL_T_UINT32: case FL_T_UINT64:
        /* 32 and 64 bits are printed signed, whatever they are: chown's owner that stays is -1 */
        if (p->format == FL_FMT_HEX || p->format == FL_FMT_OCT)
            put_unsigned(text, p);
        else
            fl_text_dec(text, number_signed(p));
        break;
    case FL_T_ERRNO: case FL_T_FD: case FL_T_PID: case FL_T_FD32: case FL_T_PID32:
        fl_text_dec(text, number_signed(p));
        break;
    case FL_T_FLAGS8: case FL_T_FLAGS16: case FL_T_FLAGS32: case FL_T_ENUMFLAGS8: case FL_T_ENUMFLAGS16: case FL_T_ENUMFLAGS32:
        fl_text_udec(text, number(p));
        break;
    case FL_T_UID: case FL_T_GID:
        fl_text_dec(text, (int32_t)number(p));
        break;
    case FL_T_BOOL:
        fl_text_lit(text, number(p) ? "true" : "false");
        break;
    case FL_T_DOUBLE:
        memcpy(&f, p->data, p->len < 8 ? p->len : 8);
        fl_text_put(text, buffer, (size_t)snprintf(buffer, sizeof buffer, "%g", f));
        break;
    case FL_T_IPV4ADDR: case FL_T_IPV6ADDR: case FL_T_IPADDR:
        if (p->len >= 16)
            fl_text_ipv6(text, p->data);
        else if (p->len >= 4)
            fl_text_ipv4(text, p->data);
        break;
    case FL_T_SOCKADDR:
        put_sockaddr(text, p);
        break;
    case FL_T_SOCKTUPLE:
        put_tuple(text, p);
        break;
    case FL_T_FDLIST:
        put_fdlist(text, p);
        break;
    case FL_T_SIGSET:
        put_sigset(text, p);
        break;
    case FL_T_ABSTIME:
        fl_text_time(text, number(p), FL_DATE | FL_NANOSECONDS);
        break;
    case FL_T_RELTIME:
        if (number(p) == UINT64_MAX)
            fl_text_lit(text, "none");
        else
            put_unsigned(text, p);
        break;
    default:
        put_unsigned(text, p);
    }
}

/* ---- meanings: nothing is put where there is none ---- */

/* "<4t>10.0.0.1:5->10.0.0.2:80": kind, transport of a connection, name. */
static void put_descriptor(struct fl_text *text, const struct fl_fd *fd)
{
    fl_text_char(text, '<');
    fl_text_char(text, fl_fd_typechar(fd->type));
    if (fl_fd_is_ipv4(fd) || fl_fd_is_ipv6(fd)) {
        unsigned l4 = fl_fd_transport(fd);
        if (l4 >= FL_L4_TCP && l4 <= FL_L4_RAW)
            fl_text_char(text, "tuir"[l4 - FL_L4_TCP]);
    }
    fl_text_char(text, '>');
    fl_text_readable(text, fd->name->data, fd->name->len);
}

static void put_error(struct fl_text *text, int64_t value)
{
    const char *name = fl_error_name(value);
    if (name)
        fl_text_lit(text, name);
}

/* Names of the bits, in the order of the table; an entry that is the very value ends it. */
static void put_flags(struct fl_text *text, const struct param *p)
{
    const struct fl_flag_table_info *table = &fl_flag_tables[p->flags];
    uint32_t value = (uint32_t)number(p), left = value;
    bool first = true;
    for (unsigned i = 0; i < table->count; i++) {
        const struct fl_flag *flag = &table->flags[i];
        bool exact = flag->value == value;
        if (!exact && !(left && (flag->value & left) == flag->value && flag->value))
            continue;
        if (!first)
            fl_text_char(text, '|');
        fl_text_lit(text, flag->name);
        first = false;
        left &= ~flag->value;
        if (exact)
            break;
    }
}

static void put_enum(struct fl_text *text, const struct param *p)
{
    const struct fl_flag_table_info *table = &fl_flag_tables[p->flags];
    uint32_t value = (uint32_t)number(p);
    bool first = true;
    for (unsigned i = 0; i < table->count; i++) {
        if (table->flags[i].value != value)
            continue;
        if (!first)
            fl_text_char(text, '|');
        fl_text_lit(text, table->flags[i].name);
        first = false;
    }
}

/* Users are those of the thread's container. */
static const struct fl_str *container_of(const struct fl_view *view)
{
    return fl_thread_of(view) ? fl_thread_of(view)->container_id : NULL;
}

static void put_user(struct fl_text *text, const struct param *p)
{
    uint32_t id = (uint32_t)number(p);
    const struct fl_user *user = id != UINT32_MAX ? fl_user_find(p->view->state, container_of(p->view), id) : NULL;
    if (user && user->name->len)
        fl_text_str(text, user->name);
    else
        fl_text_lit(text, id == UINT32_MAX ? "<NONE>" : "<NA>");
}

static void put_group(struct fl_text *text, const struct param *p)
{
    uint32_t id = (uint32_t)number(p);
    const struct fl_grp *group = id != UINT32_MAX ? fl_grp_find(p->view->state, container_of(p->view), id) : NULL;
    if (group && group->name->len)
        fl_text_str(text, group->name);
    else
        fl_text_lit(text, id == UINT32_MAX ? "<NONE>" : "<NA>");
}

/* Whether a path starts at a directory's descriptor of which no name is known. */
static bool is_adrift(const struct param *p)
{
    const struct fl_param_info *row = &fl_info(p->view)->params[p->index];
    int64_t dir = row->at >= 0 ? fl_param_i64(p->view->ev, (unsigned)row->at) : FL_AT_FDCWD;
    const struct fl_fd *fd = dir != FL_AT_FDCWD ? descriptor(p->view, dir) : NULL;
    return dir != FL_AT_FDCWD && !(fd && fd->name->len);
}

/* An absolute path is its own meaning; one that starts nobody knows where is, but for its dots and slashes. */
static void put_path(struct fl_text *text, const struct param *p)
{
    struct fl_slice s = text_of(p);
    char path[FL_PATH_MAX];
    if (!s.len || s.data[0] == '/' || (s.len == 4 && !memcmp(s.data, "<NA>", 4)))
        return;
    uint32_t len;
    if (fl_thread_of(p->view) && is_adrift(p))
        fl_text_put(text, path, fl_path_join(path, "", 0, s.data, s.len));
    else if (fl_path_resolve(p->view, p->index, path, &len))
        fl_text_put(text, path, len);
}

static void put_meaning(struct fl_text *text, const struct param *p)
{
    char buffer[40];
    int64_t v;
    if (!p->len)
        return;
    switch (p->type) {
    case FL_T_FD: case FL_T_FD32:
        v = number_signed(p);
        if (v == FL_AT_FDCWD) {
            fl_text_lit(text, "AT_FDCWD");
        } else if (v < 0) {
            put_error(text, v);
        } else {
            const struct fl_fd *fd = descriptor(p->view, v);
            if (fd)
                put_descriptor(text, fd);
        }
        break;
    case FL_T_PID: case FL_T_PID32: {
        const struct fl_thread *thread = fl_thread_find(p->view->state, number_signed(p));
        if (thread)
            fl_text_readable(text, thread->comm->data, thread->comm->len);
        break;
    }
    case FL_T_ERRNO:
        put_error(text, number_signed(p));
        break;
    case FL_T_FLAGS8: case FL_T_FLAGS16: case FL_T_FLAGS32: case FL_T_MODE:
        put_flags(text, p);
        break;
    case FL_T_ENUMFLAGS8: case FL_T_ENUMFLAGS16: case FL_T_ENUMFLAGS32:
        put_enum(text, p);
        break;
    case FL_T_SIGTYPE:
        if (fl_signal_name((unsigned)number(p)))
            fl_text_lit(text, fl_signal_name((unsigned)number(p)));
        break;
    case FL_T_SYSCALLID:
        if (fl_syscall_name((unsigned)number(p)))
            fl_text_lit(text, fl_syscall_name((unsigned)number(p)));
        break;
    case FL_T_UID:
        put_user(text, p);
        break;
    case FL_T_GID:
        put_group(text, p);
        break;
    case FL_T_RELTIME:
        if (number(p) != UINT64_MAX)
            fl_text_put(text, buffer, (size_t)snprintf(buffer, sizeof buffer, "%gs", (double)number(p) / 1e9));
        break;
    case FL_T_FSPATH: case FL_T_FSRELPATH:
        put_path(text, p);
        break;
    }
}

/* ---- a parameter, all parameters ---- */

static void put_param(struct fl_text *text, const struct param *p, bool resolved_only)
{
    size_t start = text->len;
    if (resolved_only) {
        put_meaning(text, p);
        if (text->len == start)
            put_value(text, p);
        return;
    }
    put_value(text, p);
    fl_text_char(text, '(');
    start = text->len;
    put_meaning(text, p);
    if (text->len == start && !text->full)
        text->len--;            /* no meaning: without the parenthesis */
    else
        fl_text_char(text, ')');
}

bool fl_param_render(const struct fl_view *view, unsigned i, bool resolved_only, struct fl_value *out)
{
    struct param p;
    struct fl_text text;
    if (!param_of(view, i, &p))
        return false;
    fl_text_begin(&text, view);
    put_param(&text, &p, resolved_only);
    return fl_text_end(&text, out);
}

/* Generic events have none to print: theirs are the numbers of the system call. */
static bool all_params(const struct fl_view *view, struct fl_value *out)
{
    struct param p;
    if (view->ev->type == FL_EV_GENERIC_X || view->ev->type == FL_EV_GENERIC_E)
        return fl_set_lit(out, "");
    struct fl_text text;
    fl_text_begin(&text, view);
    for (unsigned i = 0; param_of(view, i, &p); i++) {
        if (i)
            fl_text_char(&text, ' ');
        fl_text_lit(&text, fl_info(view)->params[i].name);
        fl_text_char(&text, '=');
        put_param(&text, &p, false);
    }
    return fl_text_end(&text, out);
}

EXTRACT(evt_args) { return all_params(view, out); }
EXTRACT(evt_info) { return all_params(view, out); }

/* The parameter that an argument names, or numbers. */
static bool param_asked(const struct fl_view *view, const struct fl_field_argument *arg, unsigned *index)
{
    int i = -1;
    if (arg->has_index && arg->index >= 0 && arg->index < FL_MAX_PARAMS)
        i = (int)arg->index;
    else if (arg->has_key)
        i = fl_param_named(fl_info(view), arg->key, arg->key_len);
    *index = (unsigned)i;
    return i >= 0;
}

EXTRACT(evt_arg)
{
    unsigned i;
    return param_asked(view, arg, &i) && fl_param_render(view, i, true, out);
}

EXTRACT(evt_rawarg)
{
    unsigned i;
    struct param p;
    if (!param_asked(view, arg, &i) || !param_of(view, i, &p))
        return false;
    if (!p.len)
        return is_text(p.type) && fl_set_lit(out, "<NA>");
    double f = 0;
    switch (fl_kind_of_type(p.type)) {
    case FL_BOOL:
        return fl_set_bool(out, number(&p) != 0);
    case FL_I64:
        return fl_set_i64(out, number_signed(&p));
    case FL_F64:
        memcpy(&f, p.data, p.len < 8 ? p.len : 8);
        return fl_set_f64(out, f);
    case FL_STR:
        return fl_set_slice(out, text_of(&p));
    case FL_IP: case FL_NET:
        if (p.len != 4 && p.len != 16)
            return false;
        fl_set_str(out, (const char *)p.data, p.len);
        out->kind = FL_IP;
        return true;
    case FL_BYTES:
        return fl_set_bytes(out, p.data, p.len);
    default:
        return fl_set_u64(out, number(&p));
    }
}

EXTRACT(evt_buffer)
{
    int i = fl_param_named(fl_info(view), "data", 4);
    if (i < 0 || (unsigned)i >= view->ev->nparams)
        return false;
    return fl_set_bytes(out, view->ev->param[i], view->ev->len[i]);
}

EXTRACT(evt_unread)
{
    uint32_t left = view->ev->unread, count = 0;
    const struct fl_event_info *info = fl_info(view);
    struct fl_value *list = left ? fl_scratch_take(view->scratch, FL_MAX_PARAMS * sizeof *list) : NULL;

    for (uint32_t i = 0; list && i < info->nparams; i++)
        if (left & 1u << i)
            fl_set_slice(&list[count++], (struct fl_slice){info->params[i].name, (uint32_t)strlen(info->params[i].name)});
    return count && fl_set_list(out, list, count);
}
