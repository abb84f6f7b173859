/* SPDX-License-Identifier: Apache-2.0
 *
 * The descriptor of an event: number, kind, name, file. Addresses are in fd_net.c.
 */
#include "extract.h"

/* Letters and words of the kinds, by enum fl_fd_type. */
static const struct { char letter; const char *text; } kinds[] = {
    [FL_FD_FILE] = {'f', "file"}, [FL_FD_DIRECTORY] = {'d', "directory"}, [FL_FD_IPV4_SOCK] = {'4', "ipv4"},
    [FL_FD_IPV6_SOCK] = {'6', "ipv6"}, [FL_FD_IPV4_SERVSOCK] = {'4', "ipv4"}, [FL_FD_IPV6_SERVSOCK] = {'6', "ipv6"},
    [FL_FD_FIFO] = {'p', "pipe"}, [FL_FD_UNIX_SOCK] = {'u', "unix"}, [FL_FD_EVENT] = {'e', "event"},
    [FL_FD_UNSUPPORTED] = {'X', "<NA>"}, [FL_FD_SIGNALFD] = {'s', "signalfd"}, [FL_FD_EVENTPOLL] = {'l', "eventpoll"},
    [FL_FD_INOTIFY] = {'i', "inotify"}, [FL_FD_TIMERFD] = {'t', "timerfd"}, [FL_FD_NETLINK] = {'n', "netlink"},
    [FL_FD_FILE_V2] = {'f', "file"}, [FL_FD_BPF] = {'b', "bpf"}, [FL_FD_USERFAULTFD] = {'u', "userfaultfd"},
    [FL_FD_IOURING] = {'r', "io_uring"}, [FL_FD_MEMFD] = {'m', "memfd"}, [FL_FD_PIDFD] = {'P', "pidfd"},
};

#define KINDS (sizeof kinds / sizeof *kinds)

char fl_fd_typechar(unsigned type) { return type < KINDS && kinds[type].letter ? kinds[type].letter : 'o'; }
const char *fl_fd_type_text(unsigned type) { return type < KINDS && kinds[type].text ? kinds[type].text : "<NA>"; }

/* Whether this kind of event is about a descriptor at all. */
static bool has_fd(const struct fl_view *view)
{
    return (fl_flags_of(view) & (EF_CREATES_FD | EF_USES_FD | EF_DESTROYS_FD)) && fl_thread_of(view);
}

const struct fl_fd *fl_fd_of(const struct fl_view *view) { return has_fd(view) ? view->now->fd : NULL; }

/* ---- the name: of the entry; where there is none, what the event itself says ---- */

bool fl_open_path(unsigned type, unsigned *param)
{
    switch (type) {
#define OPEN_PATH(event, name) case FL_EV_##event: *param = FL_P(event, name); return true;
#include "schema/words.h"
    default:
        return false;
    }
}

static bool tuple_of_event(const struct fl_view *view, unsigned *param)
{
    switch (view->ev->type) {
    case FL_EV_CONNECT_X:
        *param = FL_P(CONNECT_X, tuple);
        return true;
    case FL_EV_ACCEPT_5_X:
        *param = FL_P(ACCEPT_5_X, tuple);
        return true;
    case FL_EV_ACCEPT4_6_X:
        *param = FL_P(ACCEPT4_6_X, tuple);
        return true;
    default:
        return false;
    }
}

static bool name_of(const struct fl_view *view, struct fl_value *out)
{
    const struct fl_fd *fd = fl_fd_of(view);
    if (fd)
        return fl_set_interned(out, fd->name);
    if (!has_fd(view))
        return false;
    unsigned param;
    struct fl_slice path;
    if (fl_open_path(view->ev->type, &param))
        return fl_param_path(view, param, &path) ? fl_set_slice(out, path) : fl_set_lit(out, "");
    if (tuple_of_event(view, &param) && fl_param_present(view->ev, param))
        return fl_param_render(view, param, false, out);
    return fl_set_lit(out, "");
}

EXTRACT(fd_name) { return name_of(view, out); }

static bool has_double_slash(struct fl_slice path)
{
    for (uint32_t i = 1; i < path.len; i++)
        if (path.data[i] == '/' && path.data[i - 1] == '/')
            return true;
    return false;
}

bool fl_path_single_slashes(const struct fl_view *view, struct fl_slice path, struct fl_value *out)
{
    if (!has_double_slash(path))
        return fl_set_slice(out, path);
    struct fl_text text;
    fl_text_begin(&text, view);
    for (uint32_t i = 0; i < path.len; i++)
        if (path.data[i] != '/' || i == 0 || path.data[i - 1] != '/')
            fl_text_char(&text, path.data[i]);
    return fl_text_end(&text, out);
}

EXTRACT(fd_realpath) { return view->ev->realpath.len && fl_set_slice(out, view->ev->realpath); }

EXTRACT(fd_nameraw)
{
    const struct fl_fd *fd = fl_fd_of(view);
    unsigned param;
    if (fd) {
        if (!fd->name_raw)
            return fl_set_lit(out, "");
        if (fd->name_raw == fd->name && fd->name->len && fd->name->data[0] == '/')
            return fl_set_interned(out, fd->name);      /* there was nothing to normalise in an absolute path */
        return fl_path_single_slashes(view, (struct fl_slice){fd->name_raw->data, fd->name_raw->len}, out);
    }
    if (!has_fd(view))
        return false;
    if (fl_open_path(view->ev->type, &param))
        return fl_path_single_slashes(view, fl_param_text(view->ev, param), out);
    return fl_set_lit(out, "");
}

/* ---- parts of the path ---- */

static bool directory_of(const struct fl_view *view, struct fl_value *out)
{
    const struct fl_fd *fd = fl_fd_of(view);
    if ((fd && !fl_fd_is_file(fd) && fd->type != FL_FD_DIRECTORY) || !name_of(view, out))
        return false;
    if (fd && fd->type == FL_FD_DIRECTORY)
        return true;
    const char *slash = memrchr(out->s, '/', out->len);
    if (!slash || slash == out->s)
        return fl_set_lit(out, "/");
    if (slash + 1 == out->s + out->len)
        return true;
    return fl_set_str(out, out->s, (uint32_t)(slash - out->s));
}

EXTRACT(fd_directory) { return directory_of(view, out); }

EXTRACT(fd_filename)
{
    const struct fl_fd *fd = fl_fd_of(view);
    if (!fd || !fl_fd_is_file(fd))
        return false;
    const char *name = fd->name->data, *slash = memrchr(name, '/', fd->name->len);
    if (!slash)
        return fl_set_lit(out, "/");
    if (slash + 1 == name + fd->name->len)
        return fl_set_interned(out, fd->name);
    return fl_set_str(out, slash + 1, (uint32_t)(name + fd->name->len - slash - 1));
}

/* "0123456789ab:/etc/passwd"; nothing before the colon on the host. */
static bool with_container(const struct fl_view *view, struct fl_value *out)
{
    const struct fl_str *id = fl_thread_of(view) ? fl_thread_of(view)->container_id : NULL;
    struct fl_text text;
    fl_text_begin(&text, view);
    if (id)
        fl_text_put(&text, id->data, id->len);
    fl_text_char(&text, ':');
    fl_text_put(&text, out->s, out->len);
    return fl_text_end(&text, out);
}

EXTRACT(fd_containername) { return name_of(view, out) && with_container(view, out); }
EXTRACT(fd_containerdirectory) { return directory_of(view, out) && with_container(view, out); }

/* ---- number and kind ---- */

EXTRACT(fd_num) { return has_fd(view) && fl_set_i64(out, view->now->fd_num); }
EXTRACT(fd_type) { return fl_fd_of(view) && fl_set_lit(out, fl_fd_type_text(fl_fd_of(view)->type)); }

EXTRACT(fd_typechar)
{
    const struct fl_fd *fd = fl_fd_of(view);
    if (!has_fd(view))
        return false;
    bool openat = view->ev->type == FL_EV_OPENAT_2_X || view->ev->type == FL_EV_OPENAT2_X;
    unsigned type = fd ? fd->type : openat ? FL_FD_FILE : FL_FD_UNKNOWN;        /* what failed to open would have been a file */
    return fl_set_str(out, type < KINDS && kinds[type].letter ? &kinds[type].letter : "o", 1);
}

EXTRACT(fd_uid)
{
    if (!has_fd(view))
        return false;
    struct fl_text text;
    fl_text_begin(&text, view);
    fl_text_dec(&text, fl_thread_of(view)->tid);
    fl_text_dec(&text, view->now->fd_num);
    return fl_text_end(&text, out);
}

/* The kinds of all open descriptors, each once. */
static void add_kind(const struct fl_fd *fd, void *context)
{
    uint32_t *set = context;
    if (fd->type < 32)
        *set |= 1u << fd->type;
}

EXTRACT(fd_types)
{
    const struct fl_thread *thread = fl_thread_of(view);
    const struct fl_fds *fds = has_fd(view) ? fl_thread_fds(thread) : NULL;
    const char *seen[32];
    uint32_t set = 0, count = 0;
    if (!fds)
        return false;
    if (arg->has_index) {
        const struct fl_fd *fd = fl_fd_find(fds, arg->index);
        if (!fd)
            return false;
        add_kind(fd, &set);
    } else {
        fl_fds_each(fds, add_kind, &set);
    }
    for (unsigned type = 0; type < 32; type++) {
        if (!(set >> type & 1))
            continue;
        const char *text = fl_fd_type_text(type);
        uint32_t i = 0;
        while (i < count && seen[i] != text)
            i++;
        if (i == count)
            seen[count++] = text;
    }
    struct fl_value *list = count ? fl_scratch_take(view->scratch, count * sizeof *list) : NULL;
    if (!list)
        return false;
    for (uint32_t i = 0; i < count; i++)
        fl_set_lit(&list[i], seen[i]);
    return fl_set_list(out, list, count);
}

/* ---- members of the entry ---- */

EXTRACT(fd_connected) { return fl_fd_of(view) && fl_set_bool(out, fl_fd_of(view)->connected); }
EXTRACT(fd_name_changed) { return fl_fd_of(view) && fl_set_bool(out, view->now->fd_name_changed); }
EXTRACT(fd_is_upper_layer) { return fl_fd_of(view) && fl_set_bool(out, fl_fd_of(view)->upper_layer); }
EXTRACT(fd_is_lower_layer) { return fl_fd_of(view) && fl_set_bool(out, fl_fd_of(view)->lower_layer); }
EXTRACT(fd_ino) { return fl_fd_of(view) && fl_set_i64(out, (int64_t)fl_fd_of(view)->ino); }
EXTRACT(fd_dev) { return fl_fd_of(view) && fl_set_i64(out, fl_fd_of(view)->dev); }
EXTRACT(fd_dev_major) { return fl_fd_of(view) && fl_set_i64(out, (fl_fd_of(view)->dev & 0xfff00) >> 8); }

EXTRACT(fd_dev_minor)
{
    const struct fl_fd *fd = fl_fd_of(view);
    return fd && fl_set_i64(out, (fd->dev & 0xff) | (fd->dev >> 12 & 0xfff00));
}
