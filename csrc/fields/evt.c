/* SPDX-License-Identifier: Apache-2.0
 *
 * What kind of event it is, how it ended, and what it did to its descriptor: evt.type, evt.category, evt.res, evt.is_*,
 * evt.count.*, evt.buflen.*. The parameters are evt_args.c's.
 */
#include "extract.h"

int fl_param_named(const struct fl_event_info *info, const char *name, size_t len)
{
    for (int i = 0; i < info->nparams; i++)
        if (strlen(info->params[i].name) == len && !memcmp(info->params[i].name, name, len))
            return i;
    return -1;
}

static bool is_generic(const struct fl_view *view)
{
    return view->ev->type == FL_EV_GENERIC_X || view->ev->type == FL_EV_GENERIC_E;
}

/* What a system call returned: its exit event's first parameter. False where the event has none. */
static bool result_of(const struct fl_view *view, int64_t *result)
{
    const struct fl_event *ev = view->ev;
    if (!(fl_info(view)->category & EC_SYSCALL) || !fl_event_is_exit(ev->type) || is_generic(view) || !fl_param_present(ev, 0))
        return false;
    enum fl_kind kind = fl_kind_of_type(fl_info(view)->nparams ? fl_info(view)->params[0].type : FL_T_NONE);
    if (kind == FL_I64)
        *result = fl_param_i64(ev, 0);
    else if (kind == FL_U64)
        *result = (int64_t)fl_param_u64(ev, 0);
    else
        return false;
    return true;
}

/* ---- the type ---- */

const char *fl_syscall_name(unsigned id) { return id < FL_SC_LIMIT ? fl_syscalls[id].name : NULL; }

/* By the kernel's number, where there is one: recorders that didn't know a call left its portable id 0. Captures don't tell the machine;
 * they are taken to be of the most common one. */
static const char *native_name(unsigned number)
{
    for (unsigned id = 0; id < FL_SC_LIMIT; id++)
        if (fl_syscalls[id].name && fl_syscalls[id].x86_64 == (int)number)
            return fl_syscalls[id].name;
    return "unknown";
}

/* A generic event is named after its system call. */
static bool type_name(const struct fl_view *view, struct fl_value *out)
{
    const struct fl_event *ev = view->ev;
    if (is_generic(view)) {
        unsigned id = fl_param_u16(ev, FL_P(GENERIC_X, ID));
        bool native = !id && fl_param_present(ev, FL_P(GENERIC_X, nativeID));
        const char *name = native ? native_name(fl_param_u16(ev, FL_P(GENERIC_X, nativeID))) : fl_syscall_name(id);
        return fl_set_lit(out, name ? name : "unknown");
    }
    if (ev->type == FL_EV_ASYNCEVENT_E)
        return fl_set_slice(out, fl_param_text(ev, FL_P(ASYNCEVENT_E, name)));
    return fl_set_lit(out, fl_info(view)->name);
}

EXTRACT(evt_type) { return type_name(view, out); }
EXTRACT(syscall_type) { return fl_info(view)->category & EC_SYSCALL ? type_name(view, out) : false; }

EXTRACT(evt_type_is)
{
    struct fl_value name;
    if (!arg->has_key || !type_name(view, &name))
        return false;
    return fl_set_u64(out, name.len == arg->key_len && !memcmp(name.s, arg->key, name.len));
}

EXTRACT(evt_dir) { return fl_set_lit(out, fl_event_is_exit(view->ev->type) ? "<" : ">"); }
EXTRACT(evt_cpu) { return fl_set_i64(out, (int16_t)view->ev->cpu); }
EXTRACT(evt_count) { return fl_set_u64(out, 1); }
EXTRACT(evt_count_exit) { return fl_event_is_exit(view->ev->type) ? fl_set_u64(out, 1) : false; }

static bool is_procinfo(const struct fl_view *view) { return view->ev->type == FL_EV_PROCINFO_E; }

EXTRACT(evt_count_threadinfo) { return fl_set_u64(out, is_procinfo(view)); }
EXTRACT(evt_count_procinfo)
{
    const struct fl_thread *thread = fl_thread_of(view);
    return fl_set_u64(out, is_procinfo(view) && thread && thread->tid == thread->pid);
}

/* ---- the category: of input and output, the kind of the descriptor ---- */

static const char *io_category(const struct fl_fd *fd)
{
    switch (fd ? fd->type : FL_FD_UNKNOWN) {
    case FL_FD_FILE: case FL_FD_FILE_V2: case FL_FD_DIRECTORY:
        return "file";
    case FL_FD_IPV4_SOCK: case FL_FD_IPV6_SOCK: case FL_FD_IPV4_SERVSOCK: case FL_FD_IPV6_SERVSOCK:
        return "net";
    case FL_FD_FIFO: case FL_FD_UNIX_SOCK: case FL_FD_EVENT: case FL_FD_SIGNALFD: case FL_FD_INOTIFY: case FL_FD_USERFAULTFD:
        return "ipc";
    default:
        return "unknown";
    }
}

EXTRACT(evt_category)
{
    static const char *const names[] = {"unknown", "other", "file", "net", "IPC", "memory", "process", "sleep", "system", "signal",
                                        "user", "time", "processing"};
    static const struct { unsigned bit; const char *name; } classes[] = {
        {EC_WAIT, "wait"}, {EC_SCHEDULER, "scheduler"}, {EC_INTERNAL, "internal"}, {EC_SYSCALL, "syscall"},
        {EC_TRACEPOINT, "tracepoint"}, {EC_PLUGIN, "plugin"}, {EC_METAEVENT, "meta"},
    };
    unsigned category = fl_info(view)->category, kind = category & EC_MASK;
    if (kind == EC_IO_READ || kind == EC_IO_WRITE || kind == EC_IO_OTHER)
        return fl_set_lit(out, io_category(view->now->fd));
    if (kind == EC_UNKNOWN)
        for (unsigned i = 0; i < sizeof classes / sizeof *classes; i++)
            if (category & classes[i].bit)
                return fl_set_lit(out, classes[i].name);
    return fl_set_lit(out, kind < sizeof names / sizeof *names ? names[kind] : "unknown");
}

/* ---- the result ---- */

EXTRACT(evt_rawres)
{
    int64_t result;
    return result_of(view, &result) ? fl_set_i64(out, result) : false;
}

EXTRACT(evt_failed)
{
    int64_t result;
    return result_of(view, &result) ? fl_set_bool(out, result < 0) : false;
}

EXTRACT(evt_res)
{
    int64_t result;
    if (!result_of(view, &result))
        return false;
    if (result >= 0)
        return fl_set_lit(out, "SUCCESS");
    return fl_param_render(view, 0, true, out);         /* the number, where the parameter isn't of errors (a clone's is of processes) */
}

/* ---- errors, counted by what they were about ---- */

static bool error_count(const struct fl_view *view, struct fl_value *out)
{
    int64_t result;
    return result_of(view, &result) ? fl_set_u64(out, result < 0) : false;
}

/* The descriptor tells; where there is none, what the call would have made does. */
static bool about_file(const struct fl_view *view)
{
    const struct fl_fd *fd = view->now->fd;
    if (fd)
        return fl_fd_is_file(fd) || fd->type == FL_FD_DIRECTORY;
    return fl_open_path(view->ev->type, &(unsigned){0});
}

static bool about_net(const struct fl_view *view)
{
    const struct fl_fd *fd = view->now->fd;
    if (fd)
        return fl_fd_is_socket(fd);
    switch (view->ev->type) {
    case FL_EV_ACCEPT_X: case FL_EV_ACCEPT_5_X: case FL_EV_ACCEPT4_X: case FL_EV_ACCEPT4_5_X: case FL_EV_ACCEPT4_6_X:
    case FL_EV_CONNECT_X:
        return true;
    }
    return false;
}

static bool about_memory(const struct fl_view *view) { return (fl_info(view)->category & EC_MASK) == EC_MEMORY; }

EXTRACT(evt_count_error) { return error_count(view, out); }
EXTRACT(evt_count_error_file) { return about_file(view) && error_count(view, out); }
EXTRACT(evt_count_error_net) { return about_net(view) && error_count(view, out); }
EXTRACT(evt_count_error_memory) { return about_memory(view) && error_count(view, out); }

EXTRACT(evt_count_error_other)
{
    bool memory = about_memory(view) && !view->now->fd;
    return !about_file(view) && !about_net(view) && !memory && error_count(view, out);
}

/* ---- input and output ---- */

enum { READS = EF_READS_FROM_FD, WRITES = EF_WRITES_TO_FD };

EXTRACT(evt_is_io) { return fl_set_bool(out, fl_flags_of(view) & (READS | WRITES)); }
EXTRACT(evt_is_io_read) { return fl_set_bool(out, fl_flags_of(view) & READS); }
EXTRACT(evt_is_io_write) { return fl_set_bool(out, fl_flags_of(view) & WRITES); }
EXTRACT(evt_is_wait) { return fl_set_bool(out, fl_flags_of(view) & EF_WAITS); }

EXTRACT(evt_io_dir)
{
    unsigned flags = fl_flags_of(view);
    return flags & WRITES ? fl_set_lit(out, "write") : flags & READS ? fl_set_lit(out, "read") : false;
}

EXTRACT(evt_is_syslog)
{
    const struct fl_fd *fd = fl_flags_of(view) & WRITES ? view->now->fd : NULL;
    return fl_set_bool(out, fd && memmem(fd->name->data, fd->name->len, "/dev/log", 8));
}

/* What a call of input or output returned, a number of bytes, if its descriptor is of the kind asked for. */
static bool io_size(const struct fl_view *view, bool file, bool net, unsigned direction, struct fl_value *out)
{
    int64_t result;
    unsigned kind = fl_info(view)->category & EC_MASK;
    const struct fl_fd *fd = view->now->fd;
    if (direction ? kind != direction : kind != EC_IO_READ && kind != EC_IO_WRITE && kind != EC_IO_OTHER)
        return false;
    if (!fd || (file && !fl_fd_is_file(fd)) || (net && !(fl_fd_is_ipv4(fd) || fl_fd_is_ipv6(fd))))
        return false;
    return result_of(view, &result) && result >= 0 && fl_set_u64(out, (uint64_t)result);
}

EXTRACT(evt_buflen) { return io_size(view, false, false, 0, out); }
EXTRACT(evt_buflen_in) { return io_size(view, false, false, EC_IO_READ, out); }
EXTRACT(evt_buflen_out) { return io_size(view, false, false, EC_IO_WRITE, out); }
EXTRACT(evt_buflen_file) { return io_size(view, true, false, 0, out); }
EXTRACT(evt_buflen_file_in) { return io_size(view, true, false, EC_IO_READ, out); }
EXTRACT(evt_buflen_file_out) { return io_size(view, true, false, EC_IO_WRITE, out); }
EXTRACT(evt_buflen_net) { return io_size(view, false, true, 0, out); }
EXTRACT(evt_buflen_net_in) { return io_size(view, false, true, EC_IO_READ, out); }
EXTRACT(evt_buflen_net_out) { return io_size(view, false, true, EC_IO_WRITE, out); }

/* ---- opened files ---- */

enum {
    O_READ = FL_FLAG(file_flags, O_RDONLY), O_WRITE = FL_FLAG(file_flags, O_WRONLY), O_MAKE = FL_FLAG(file_flags, O_CREAT),
    O_TEMPORARY = FL_FLAG(file_flags, O_TMPFILE), O_MADE = FL_FLAG(file_flags, O_F_CREATED),
    EXECUTABLE = 0111,
};

/* What an open was given as its flags, and as the mode of a new file; 0 where the event has none. */
static uint32_t open_flags(const struct fl_event *ev)
{
    switch (ev->type) {
#define OPEN_FLAGS(event) case FL_EV_##event: return fl_param_u32(ev, FL_P(event, flags));
#include "schema/words.h"
    }
    return 0;
}

static uint32_t open_mode(const struct fl_event *ev)
{
    switch (ev->type) {
#define OPEN_MODE(event) case FL_EV_##event: return fl_param_u32(ev, FL_P(event, mode));
#include "schema/words.h"
    }
    return 0;
}

EXTRACT(evt_is_open_read) { return fl_set_bool(out, open_flags(view->ev) & O_READ); }
EXTRACT(evt_is_open_write) { return fl_set_bool(out, open_flags(view->ev) & O_WRITE); }

EXTRACT(evt_is_open_exec)
{
    bool makes = view->ev->type == FL_EV_CREAT_X || (open_flags(view->ev) & (O_TEMPORARY | O_MAKE));
    return fl_set_bool(out, makes && (open_mode(view->ev) & EXECUTABLE));
}

EXTRACT(evt_is_open_create)
{
    uint32_t flags = open_flags(view->ev);
    return fl_set_bool(out, (flags & O_MADE) || ((flags & O_TEMPORARY) && fl_param_i64(view->ev, 0) >= 0));
}

/* ---- events that an orchestrator's agent once put into captures: "Event: start; ID: 0123…; name: web; Image: nginx" ---- */

static struct fl_slice trimmed(const char *s, const char *end)
{
    while (s < end && *s == ' ')
        s++;
    while (s < end && end[-1] == ' ')
        end--;
    return (struct fl_slice){s, (uint32_t)(end - s)};
}

/* The part behind a key: up to the next colon, if there is one. `all`: what is behind the first colon. */
static bool infra(const struct fl_view *view, const char *key, struct fl_slice *value, struct fl_slice *all)
{
    if (view->ev->type != FL_EV_INFRASTRUCTURE_EVENT_E)
        return false;
    struct fl_slice text = fl_param_text(view->ev, FL_P(INFRASTRUCTURE_EVENT_E, description));
    size_t keylen = strlen(key);
    for (const char *at = text.data, *end = text.data + text.len, *stop; at < end; at = stop + 1) {
        stop = memchr(at, ';', (size_t)(end - at));
        stop = stop ? stop : end;
        struct fl_slice part = trimmed(at, stop);
        const char *colon = part.len > keylen && !memcmp(part.data, key, keylen) ? memchr(part.data, ':', part.len) : NULL;
        if (!colon)
            continue;
        const char *last = part.data + part.len, *next = memchr(colon + 1, ':', (size_t)(last - colon - 1));
        *value = trimmed(colon + 1, next ? next : last);
        *all = trimmed(colon + 1, last);
        return true;
    }
    return false;
}

static bool infra_value(const struct fl_view *view, const char *key, uint32_t longest, struct fl_value *out)
{
    struct fl_slice value, all;
    return infra(view, key, &value, &all) && fl_set_str(out, value.data, value.len < longest ? value.len : longest);
}

EXTRACT(evt_infra_docker_name) { return infra_value(view, "Event", UINT32_MAX, out); }
EXTRACT(evt_infra_docker_container_id) { return infra_value(view, "ID", 12, out); }
EXTRACT(evt_infra_docker_container_name) { return infra_value(view, "name", UINT32_MAX, out); }

/* Without its tag and digest; one that is a digest alone is whole. */
EXTRACT(evt_infra_docker_container_image)
{
    struct fl_slice value, all;
    if (!infra(view, "Image", &value, &all))
        return false;
    const char *digest = memchr(value.data, '@', value.len);
    if (digest)
        value = trimmed(value.data, digest);
    else if (memmem(value.data, value.len, "sha256", 6))
        value = all;
    return fl_set_slice(out, value);
}
