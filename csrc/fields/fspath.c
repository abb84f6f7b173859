/* SPDX-License-Identifier: Apache-2.0
 *
 * Paths: the absolute path of a parameter; fs.path.*, the paths that a call of the file system worked on; evt.abspath.
 */
#include "extract.h"

/* What a relative path of parameter i starts from. */
static bool base_of(const struct fl_view *view, unsigned i, char *base, uint32_t *len)
{
    const struct fl_param_info *row = &fl_info(view)->params[i];
    const struct fl_thread *thread = fl_thread_of(view);
    const struct fl_str *dir;
    bool slash = false;
    if (!thread)
        return false;
    int64_t at = row->at >= 0 ? fl_param_i64(view->ev, (unsigned)row->at) : FL_AT_FDCWD;
    if (at == FL_AT_FDCWD) {
        dir = fl_thread_main(thread)->cwd;
    } else {
        const struct fl_fds *fds = fl_thread_fds(thread);
        const struct fl_fd *fd = fds ? fl_fd_find(fds, at) : NULL;
        if (!fd) {
            memcpy(base, "<UNKNOWN>", 9);
            *len = 9;
            return true;
        }
        dir = fd->name;
        slash = !dir->len || dir->data[dir->len - 1] != '/';
    }
    *len = dir->len < FL_PATH_MAX ? dir->len : FL_PATH_MAX;      /* too long for a path, then, by join's own limit */
    memcpy(base, dir->data, *len);
    if (slash && *len < FL_PATH_MAX)
        base[(*len)++] = '/';
    return true;
}

bool fl_path_resolve(const struct fl_view *view, unsigned i, char *path, uint32_t *len)
{
    struct fl_slice s = fl_param_text(view->ev, i);
    char base[FL_PATH_MAX];
    uint32_t base_len = 0;
    if (s.len && s.data[0] != '/' && !base_of(view, i, base, &base_len))
        return false;
    *len = fl_path_join(path, base, base_len, s.data, s.len);
    return true;
}

bool fl_param_path(const struct fl_view *view, unsigned i, struct fl_slice *out)
{
    char path[FL_PATH_MAX];
    uint32_t len;
    if (!fl_param_present(view->ev, i) || !fl_path_resolve(view, i, path, &len))
        return false;
    char *taken = fl_scratch_take(view->scratch, len);
    if (!taken)
        return false;
    memcpy(taken, path, len);
    *out = (struct fl_slice){taken, len};
    return true;
}

/* ---- which calls work on paths ---- */

enum role { NAME, SOURCE, TARGET };

#define NONE 0xff

/* Which parameters are the paths of a call: one, or a source and a target. FD: the name of the descriptor. */
struct paths { uint8_t param[3]; bool fd; };

#define PATHS(event, ...) case FL_EV_##event: *paths = (struct paths){__VA_ARGS__}; return true
#define ONE(event, p) PATHS(event, {FL_P(event, p), NONE, NONE}, false)
#define TWO(event, from, to) PATHS(event, {NONE, FL_P(event, from), FL_P(event, to)}, false)
#define OF_FD(event) PATHS(event, {NONE, NONE, NONE}, true)

static bool paths_of(unsigned type, struct paths *paths)
{
    switch (type) {
    ONE(OPEN_X, name);
    ONE(OPENAT_2_X, name);
    ONE(OPENAT2_X, name);
    ONE(MKDIR_2_X, path);
    ONE(MKDIRAT_X, path);
    ONE(RMDIR_2_X, path);
    ONE(UNLINK_2_X, path);
    ONE(UNLINKAT_2_X, name);
    ONE(UMOUNT_1_X, name);
    ONE(UMOUNT2_X, name);
    ONE(CHMOD_X, filename);
    ONE(FCHMODAT_X, filename);
    ONE(CHOWN_X, path);
    ONE(LCHOWN_X, path);
    ONE(FCHOWNAT_X, pathname);
    ONE(QUOTACTL_X, special);
    OF_FD(FCHMOD_X);
    OF_FD(FCHOWN_X);
    TWO(RENAME_X, oldpath, newpath);
    TWO(RENAMEAT_X, oldpath, newpath);
    TWO(RENAMEAT2_X, oldpath, newpath);
    TWO(LINK_2_X, newpath, oldpath);
    TWO(LINKAT_2_X, newpath, oldpath);
    TWO(SYMLINK_X, linkpath, target);
    TWO(SYMLINKAT_X, linkpath, target);
    TWO(MOUNT_X, dev, dir);
    default:
        return false;
    }
}

/* ---- fs.path.* ---- */

static bool is_open(unsigned type) { return fl_open_path(type, &(unsigned){0}); }

static bool unknown(const struct fl_view *view, struct fl_slice name, struct fl_value *out)
{
    struct fl_text text;
    fl_text_begin(&text, view);
    fl_text_lit(&text, "<UNKNOWN>");
    fl_text_put(&text, name.data, name.len);
    return fl_text_end(&text, out);
}

/* Whether it is known what a relative path starts from. Besides the working directory that is a descriptor known to be a
 * directory; the target of a symbolic link made relative to a descriptor belongs to neither. */
static bool has_base(const struct fl_view *view, unsigned i)
{
    if (view->ev->type == FL_EV_SYMLINKAT_X && i == FL_P(SYMLINKAT_X, target))
        return false;
    int at = fl_info(view)->params[i].at;
    int64_t dir = at >= 0 ? fl_param_i64(view->ev, (unsigned)at) : FL_AT_FDCWD;
    const struct fl_fds *fds = fl_thread_of(view) ? fl_thread_fds(fl_thread_of(view)) : NULL;
    const struct fl_fd *fd = fds && dir >= 0 ? fl_fd_find(fds, dir) : NULL;
    return dir == FL_AT_FDCWD || (fd && fd->type == FL_FD_DIRECTORY);
}

static bool resolved(const struct fl_view *view, unsigned i, struct fl_value *out)
{
    struct fl_slice name = fl_param_text(view->ev, i), path;
    bool relative = name.len && name.data[0] != '/';
    if (is_open(view->ev->type) && relative) {
        /* what was opened is known by its descriptor */
        const struct fl_fd *fd = fl_fd_of(view);
        return fd ? fl_set_interned(out, fd->name) : fl_set_lit(out, "<UNKNOWN>");
    }
    if (relative && !has_base(view, i))
        return unknown(view, name, out);
    return fl_param_path(view, i, &path) && fl_set_slice(out, path);
}

static bool fs_path(const struct fl_view *view, enum role role, bool raw, struct fl_value *out)
{
    const struct fl_event *ev = view->ev;
    struct paths paths;
    if (!paths_of(ev->type, &paths))
        return false;
    if (!is_open(ev->type) && fl_param_i64(ev, 0) != 0)
        return false;           /* it failed */
    if (paths.fd) {
        const struct fl_fd *fd = role == NAME ? fl_fd_of(view) : NULL;
        return fd && fl_set_interned(out, fd->name);
    }
    unsigned i = paths.param[role];
    if (i == NONE || !fl_param_present(ev, i))
        return false;
    return raw ? fl_set_slice(out, fl_param_text(ev, i)) : resolved(view, i, out);
}

EXTRACT(fs_path_name) { return fs_path(view, NAME, false, out); }
EXTRACT(fs_path_nameraw) { return fs_path(view, NAME, true, out); }
EXTRACT(fs_path_source) { return fs_path(view, SOURCE, false, out); }
EXTRACT(fs_path_sourceraw) { return fs_path(view, SOURCE, true, out); }
EXTRACT(fs_path_target) { return fs_path(view, TARGET, false, out); }
EXTRACT(fs_path_targetraw) { return fs_path(view, TARGET, true, out); }

/* ---- evt.abspath: of those calls, the paths that start at directories which the call names, in the order of its parameters. "dst": the last;
 * "src", or nothing: the first ---- */

/* Which parameter is the path; -1: none. */
static int path_at(unsigned type, bool last)
{
    const struct fl_event_info *event = &fl_events[type];
    struct paths paths;
    int found = -1;

    if (!paths_of(type, &paths))
        return -1;
    for (unsigned i = 0; i < event->nparams; i++) {
        if (event->params[i].at >= 0 && (last || found < 0))
            found = (int)i;
    }
    return found;
}

static bool set_path(const struct fl_view *view, const char *path, uint32_t len, struct fl_value *out)
{
    char *taken = fl_scratch_take(view->scratch, len);

    return taken && (memcpy(taken, path, len), true) && fl_set_str(out, taken, len);
}

EXTRACT(evt_abspath)
{
    const struct fl_event *ev = view->ev;
    const struct fl_thread *thread = fl_thread_of(view);
    char base[FL_PATH_MAX], path[FL_PATH_MAX];
    uint32_t base_len = 0;

    if (!thread)
        return false;
    if (ev->type == FL_EV_OPEN_BY_HANDLE_AT_X) {        /* its path is whole, where it could be opened */
        struct fl_slice whole = fl_param_text(ev, FL_P(OPEN_BY_HANDLE_AT_X, path));
        return fl_param_i64(ev, FL_P(OPEN_BY_HANDLE_AT_X, fd)) > 0 &&
               set_path(view, path, fl_path_join(path, "", 0, whole.data, whole.len), out);
    }
    int i = path_at(ev->type, arg->has_key && arg->key_len == 3 && !memcmp(arg->key, "dst", 3));
    if (i < 0 || !fl_param_present(ev, (unsigned)i) || !fl_param_present(ev, (unsigned)fl_info(view)->params[i].at))
        return false;
    struct fl_slice name = fl_param_text(ev, (unsigned)i);
    if (!name.len || name.data[0] != '/') {
        int64_t at = fl_param_i64(ev, (unsigned)fl_info(view)->params[i].at);
        const struct fl_fds *fds = fl_thread_fds(thread);
        const struct fl_fd *fd = at != FL_AT_FDCWD && fds ? fl_fd_find(fds, at) : NULL;
        const struct fl_str *dir = at == FL_AT_FDCWD ? fl_thread_main(thread)->cwd : fd ? fd->name : NULL;
        struct fl_slice from = dir ? (struct fl_slice){dir->data, dir->len} : (struct fl_slice){"<UNKNOWN>", 9};
        base_len = from.len < FL_PATH_MAX ? from.len : FL_PATH_MAX;
        memcpy(base, from.data, base_len);
        if (at != FL_AT_FDCWD && base_len < FL_PATH_MAX)
            base[base_len++] = '/';             /* behind "/", too: a name at the root's descriptor is "//name" */
    }
    return set_path(view, path, fl_path_join(path, base, base_len, name.data, name.len), out);
}
