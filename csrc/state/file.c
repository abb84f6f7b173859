/* SPDX-License-Identifier: Apache-2.0
 *
 * Transitions of descriptors that aren't sockets (spec: engine.md H4).
 */
#include "transitions.h"

#include <stdio.h>
#include <stdlib.h>

#define F_DUPFD ((uint32_t)FL_FLAG(fcntl_commands, F_DUPFD))
#define F_SETFD ((uint32_t)FL_FLAG(fcntl_commands, F_SETFD))
#define F_DUPFD_CLOEXEC ((uint32_t)FL_FLAG(fcntl_commands, F_DUPFD_CLOEXEC))
#define FD_CLOEXEC 1u           /* the argument of F_SETFD */
#define CLOSE_RANGE_CLOEXEC ((uint32_t)FL_FLAG(close_range_flags, CLOSE_RANGE_CLOEXEC))
#define CREAT_UPPER_LAYER ((uint32_t)FL_FLAG(creat_flags, FD_UPPER_LAYER_CREAT))
#define CREAT_LOWER_LAYER ((uint32_t)FL_FLAG(creat_flags, FD_LOWER_LAYER_CREAT))
#define EPOLL_CLOEXEC ((uint32_t)FL_FLAG(epoll_create1_flags, EPOLL_CLOEXEC))
#define MFD_CLOEXEC ((uint32_t)FL_FLAG(memfd_create_flags, MFD_CLOEXEC))
#define UNKNOWN_PATH "<UNKNOWN>"

/* Enter events of calls whose arguments another thread may rewrite: kept for the exit. */
void fl_store_enter(struct fl_state *state, const struct fl_event *ev)
{
    struct fl_thread *thread = state->now.thread;

    thread->stored_enter_size = 0;
    if (ev->size > FL_STORED_ENTER_MAX || (ev->type == FL_EV_EXECVE_19_E && !fl_param_present(ev, FL_P(EXECVE_19_E, filename))))
        return;
    if (ev->size > thread->stored_enter_room) {
        uint32_t more = ev->size - thread->stored_enter_room;
        if (more > FL_STORED_ENTERS_MAX - state->stored_enter_bytes)
            return;
        uint8_t *bigger = realloc(thread->stored_enter, ev->size);
        if (!bigger)
            return;
        state->stored_enter_bytes += more;
        thread->stored_enter = bigger;
        thread->stored_enter_room = ev->size;
    }
    memcpy(thread->stored_enter, ev->record, ev->size);
    thread->stored_enter_size = ev->size;
    state->stats.stored_enters++;
}

bool fl_stored_enter(const struct fl_state *state, struct fl_event *enter)
{
    const struct fl_thread *thread = state->now.thread;
    unsigned type = state->now.ev->type;

    if (!thread->stored_enter_size || fl_event_decode(enter, thread->stored_enter, thread->stored_enter_size) != 0)
        return false;
    return enter->type + 1u == type || (type == FL_EV_EXECVE_19_X && enter->type == FL_EV_EXECVEAT_E);
}

struct fl_slice fl_path_param(const struct fl_event *ev, unsigned i)
{
    struct fl_slice path = fl_param_text(ev, i);

    if (!fl_param_present(ev, i) || (path.len == 6 && memcmp(path.data, "(NULL)", 6) == 0))
        path = (struct fl_slice){"<NA>", 4};
    return path;
}

bool fl_no_path(struct fl_slice path) { return path.len == 4 && memcmp(path.data, "<NA>", 4) == 0; }

int32_t fl_dirfd_path(const struct fl_thread *thread, int64_t dirfd, struct fl_slice name, char *out)
{
    const struct fl_str *base;
    const struct fl_fd *fd;

    if (name.len && name.data[0] == '/')
        return 0;
    if (dirfd == FL_AT_FDCWD) {
        base = fl_thread_main(thread)->cwd;
    } else {
        fd = fl_fd_find(fl_thread_fds(thread), dirfd);
        if (!fd)
            return -1;
        base = fd->name;
    }
    if (base->len + 1 >= FL_PATH_MAX) {
        memcpy(out, base->data, FL_PATH_MAX);
        return FL_PATH_MAX;     /* too long for any name: fl_path_join says so */
    }
    memcpy(out, base->data, base->len);
    if (dirfd == FL_AT_FDCWD || (base->len && base->data[base->len - 1] == '/'))
        return (int32_t)base->len;
    out[base->len] = '/';
    return (int32_t)base->len + 1;
}

/* Instead of a directory's descriptor: the name is taken as it is, as nothing says what it starts from. */
#define NO_BASE INT64_MIN

/* What an open says. */
struct opened {
    int64_t dirfd;              /* or NO_BASE */
    struct fl_slice name;
    uint32_t flags, dev;
    uint64_t ino;
};

static void open_file(struct fl_state *state, const struct fl_event *ev, const struct opened *opened)
{
    const struct fl_thread *thread = state->now.thread;
    char base[FL_PATH_MAX], path[FL_PATH_MAX];
    int32_t base_len = opened->dirfd == NO_BASE ? 0 : fl_dirfd_path(thread, opened->dirfd, opened->name, base);
    uint32_t len;
    struct fl_fd *fd;

    if (base_len < 0) {
        base_len = sizeof UNKNOWN_PATH - 1;
        memcpy(base, UNKNOWN_PATH, (size_t)base_len);
    }
    len = fl_path_join(path, base, (uint32_t)base_len, opened->name.data, opened->name.len);
    fd = fl_now_add_fd(state, fl_param_i64(ev, 0), opened->flags & FL_O_DIRECTORY ? FL_FD_DIRECTORY : FL_FD_FILE_V2);
    if (!fd)
        return;
    fd->open_flags = opened->flags;
    fd->cloexec = opened->flags & FL_O_CLOEXEC;
    fd->upper_layer = opened->flags & FL_O_UPPER_LAYER;
    fd->lower_layer = opened->flags & FL_O_LOWER_LAYER;
    fd->dev = opened->dev;
    fd->ino = opened->ino;
    fl_set_text(state, &fd->name, path, len);
    if (len == opened->name.len && memcmp(path, opened->name.data, len) == 0)
        fl_set_str(state, &fd->name_raw, fl_str_ref(fd->name));         /* nearly always */
    else
        fl_set_text(state, &fd->name_raw, opened->name.data, opened->name.len);
}

/* Old events don't tell the directory, where what they had of it was lost. */
static int64_t dirfd_param(const struct fl_event *ev, unsigned i) { return fl_param_present(ev, i) ? fl_param_i64(ev, i) : NO_BASE; }

/* The name and the flags of the enter event are those that the kernel used; what it found out itself are only in the exit's flags. */
static uint32_t flags_of_enter(uint32_t enter, uint32_t exit) { return (enter & (FL_O_F_CREATED - 1)) | (exit & ~(FL_O_F_CREATED - 1)); }

void fl_open(struct fl_state *state, const struct fl_event *ev)
{
    struct opened opened = {FL_AT_FDCWD, fl_path_param(ev, FL_P(OPEN_X, name)), fl_param_u32(ev, FL_P(OPEN_X, flags)),
                            fl_param_u32(ev, FL_P(OPEN_X, dev)), fl_param_u64(ev, FL_P(OPEN_X, ino))};
    struct fl_event enter;

    if (state->now.error)
        return;
    if (fl_stored_enter(state, &enter) && !fl_no_path(fl_path_param(&enter, FL_P(OPEN_E, name)))) {
        opened.name = fl_path_param(&enter, FL_P(OPEN_E, name));
        opened.flags = flags_of_enter(fl_param_u32(&enter, FL_P(OPEN_E, flags)), opened.flags);
    }
    open_file(state, ev, &opened);
}

void fl_openat(struct fl_state *state, const struct fl_event *ev)
{
    struct opened opened = {dirfd_param(ev, FL_P(OPENAT_2_X, dirfd)), fl_path_param(ev, FL_P(OPENAT_2_X, name)),
                            fl_param_u32(ev, FL_P(OPENAT_2_X, flags)), fl_param_u32(ev, FL_P(OPENAT_2_X, dev)),
                            fl_param_u64(ev, FL_P(OPENAT_2_X, ino))};
    struct fl_event enter;

    if (state->now.error)
        return;
    if (fl_stored_enter(state, &enter) && !fl_no_path(fl_path_param(&enter, FL_P(OPENAT_2_E, name)))) {
        opened.dirfd = dirfd_param(&enter, FL_P(OPENAT_2_E, dirfd));
        opened.name = fl_path_param(&enter, FL_P(OPENAT_2_E, name));
        opened.flags = flags_of_enter(fl_param_u32(&enter, FL_P(OPENAT_2_E, flags)), opened.flags);
    }
    open_file(state, ev, &opened);
}

void fl_openat2(struct fl_state *state, const struct fl_event *ev)
{
    struct opened opened = {dirfd_param(ev, FL_P(OPENAT2_X, dirfd)), fl_path_param(ev, FL_P(OPENAT2_X, name)),
                            fl_param_u32(ev, FL_P(OPENAT2_X, flags)), fl_param_u32(ev, FL_P(OPENAT2_X, dev)),
                            fl_param_u64(ev, FL_P(OPENAT2_X, ino))};
    struct fl_event enter;

    if (state->now.error)
        return;
    if (fl_stored_enter(state, &enter) && !fl_no_path(fl_path_param(&enter, FL_P(OPENAT2_E, name)))) {
        opened.dirfd = dirfd_param(&enter, FL_P(OPENAT2_E, dirfd));
        opened.name = fl_path_param(&enter, FL_P(OPENAT2_E, name));
        opened.flags = flags_of_enter(fl_param_u32(&enter, FL_P(OPENAT2_E, flags)), opened.flags);
    }
    open_file(state, ev, &opened);
}

void fl_creat(struct fl_state *state, const struct fl_event *ev)
{
    struct opened opened = {FL_AT_FDCWD, fl_path_param(ev, FL_P(CREAT_X, name)), 0, fl_param_u32(ev, FL_P(CREAT_X, dev)),
                            fl_param_u64(ev, FL_P(CREAT_X, ino))};
    uint32_t layers = fl_param_u32(ev, FL_P(CREAT_X, creat_flags));
    struct fl_event enter;

    if (state->now.error)
        return;
    if (fl_stored_enter(state, &enter) && !fl_no_path(fl_path_param(&enter, FL_P(CREAT_E, name))))
        opened.name = fl_path_param(&enter, FL_P(CREAT_E, name));
    opened.flags = (layers & CREAT_UPPER_LAYER ? FL_O_UPPER_LAYER : 0) | (layers & CREAT_LOWER_LAYER ? FL_O_LOWER_LAYER : 0);
    open_file(state, ev, &opened);
}

void fl_open_by_handle_at(struct fl_state *state, const struct fl_event *ev)
{
    /* the kernel's own path, which is whole */
    struct opened opened = {NO_BASE, fl_path_param(ev, FL_P(OPEN_BY_HANDLE_AT_X, path)), fl_param_u32(ev, FL_P(OPEN_BY_HANDLE_AT_X, flags)),
                            fl_param_u32(ev, FL_P(OPEN_BY_HANDLE_AT_X, dev)), fl_param_u64(ev, FL_P(OPEN_BY_HANDLE_AT_X, ino))};

    if (!state->now.error)
        open_file(state, ev, &opened);
}

/* The descriptor goes when the next event comes, so that rules on the close still see it. */
void fl_close(struct fl_state *state, const struct fl_event *ev)
{
    (void)ev;
    if (state->now.error || !state->now.fd)
        return;
    state->closing = true;
    state->closing_tid = state->now.thread->tid;
    state->closing_fd = state->now.fd_num;
}

struct range { int64_t first, last; };

static bool in_range(const struct fl_fd *fd, const void *context)
{
    const struct range *range = context;

    return fd->num >= range->first && fd->num <= range->last;
}

void fl_close_range(struct fl_state *state, const struct fl_event *ev)
{
    struct range range = {fl_param_u32(ev, FL_P(CLOSE_RANGE_X, first)), fl_param_u32(ev, FL_P(CLOSE_RANGE_X, last))};
    struct fl_fds *fds = fl_thread_fds(state->now.thread);

    if (state->now.error || !fds || !fds->slots)
        return;
    if (!(fl_param_u32(ev, FL_P(CLOSE_RANGE_X, flags)) & CLOSE_RANGE_CLOEXEC)) {
        fl_fds_drop(state, fds, in_range, &range);
        return;
    }
    for (uint32_t i = 0; i <= fds->mask; i++) {
        if (fds->slots[i] && in_range(fds->slots[i], &range))
            fds->slots[i]->cloexec = true;
    }
}

/* The descriptor that the event names gets another number, which the call returned. */
static void duplicate(struct fl_state *state, int64_t num, bool cloexec)
{
    struct fl_now *now = &state->now;

    if (now->error || !now->fd)
        return;
    now->fd = fl_fds_duplicate(state, fl_fds_own(now->thread), now->fd, num);
    now->fd_num = now->thread->last_fd = num;
    if (now->fd)
        now->fd->cloexec = cloexec;
}

/* A descriptor duplicated onto standard input or output: a process that may be part of a pipeline. */
static void mark_pipe(struct fl_thread *thread, int64_t num)
{
    if (num == 0)
        thread->flags |= FL_THREAD_PIPE_DST;
    else if (num == 1)
        thread->flags |= FL_THREAD_PIPE_SRC;
}

/* dup, dup2 */
void fl_dup(struct fl_state *state, const struct fl_event *ev)
{
    int64_t num = fl_param_i64(ev, 0);

    duplicate(state, num, false);
    mark_pipe(state->now.thread, num);
}

void fl_dup3(struct fl_state *state, const struct fl_event *ev)
{
    int64_t num = fl_param_i64(ev, FL_P(DUP3_X, res));

    duplicate(state, num, fl_param_u32(ev, FL_P(DUP3_X, flags)) & FL_O_CLOEXEC);
    mark_pipe(state->now.thread, num);
}

void fl_fcntl(struct fl_state *state, const struct fl_event *ev)
{
    uint32_t cmd = fl_param_u32(ev, FL_P(FCNTL_X, cmd));

    if (cmd == F_DUPFD || cmd == F_DUPFD_CLOEXEC)
        duplicate(state, fl_param_i64(ev, FL_P(FCNTL_X, res)), cmd == F_DUPFD_CLOEXEC);
    else if (cmd == F_SETFD && !state->now.error && state->now.fd)
        state->now.fd->cloexec = fl_param_u64(ev, FL_P(FCNTL_X, arg)) & FD_CLOEXEC;
}

static void open_pipe(struct fl_state *state, const struct fl_event *ev, uint32_t flags)
{
    _Static_assert(FL_P(PIPE_X, fd1) == FL_P(PIPE2_X, fd1) && FL_P(PIPE_X, fd2) == FL_P(PIPE2_X, fd2), "pipe2");
    if (state->now.error)
        return;
    for (unsigned i = FL_P(PIPE_X, fd1); i <= FL_P(PIPE_X, fd2); i++) {
        struct fl_fd *fd = fl_now_add_fd(state, fl_param_i64(ev, i), FL_FD_FIFO);
        if (fd) {
            fd->ino = fl_param_u64(ev, FL_P(PIPE_X, ino));
            fd->open_flags = flags;
            fd->cloexec = flags & FL_O_CLOEXEC;
        }
    }
}

void fl_pipe(struct fl_state *state, const struct fl_event *ev) { open_pipe(state, ev, 0); }
void fl_pipe2(struct fl_state *state, const struct fl_event *ev) { open_pipe(state, ev, fl_param_u32(ev, FL_P(PIPE2_X, flags))); }

/* A descriptor of something without a name, whose number is parameter 0. */
static struct fl_fd *open_nameless(struct fl_state *state, const struct fl_event *ev, enum fl_fd_type type, uint32_t flags)
{
    struct fl_fd *fd = state->now.error ? NULL : fl_now_add_fd(state, fl_param_i64(ev, 0), type);

    if (fd) {
        fd->open_flags = flags;
        fd->cloexec = flags & FL_O_CLOEXEC;
    }
    return fd;
}

void fl_eventfd(struct fl_state *state, const struct fl_event *ev) { open_nameless(state, ev, FL_FD_EVENT, 0); }

void fl_eventfd2(struct fl_state *state, const struct fl_event *ev)
{
    open_nameless(state, ev, FL_FD_EVENT, fl_param_u32(ev, FL_P(EVENTFD2_X, flags)));
}

void fl_signalfd(struct fl_state *state, const struct fl_event *ev) { open_nameless(state, ev, FL_FD_SIGNALFD, 0); }

void fl_signalfd4(struct fl_state *state, const struct fl_event *ev)
{
    open_nameless(state, ev, FL_FD_SIGNALFD, fl_param_u32(ev, FL_P(SIGNALFD4_X, flags)));
}

void fl_timerfd_create(struct fl_state *state, const struct fl_event *ev)
{
    open_nameless(state, ev, FL_FD_TIMERFD, fl_param_u32(ev, FL_P(TIMERFD_CREATE_X, flags)));
}

void fl_inotify_init(struct fl_state *state, const struct fl_event *ev)
{
    open_nameless(state, ev, FL_FD_INOTIFY, fl_param_u32(ev, FL_P(INOTIFY_INIT_X, flags)));
}

void fl_inotify_init1(struct fl_state *state, const struct fl_event *ev)
{
    open_nameless(state, ev, FL_FD_INOTIFY, fl_param_u32(ev, FL_P(INOTIFY_INIT1_X, flags)));
}

void fl_epoll_create(struct fl_state *state, const struct fl_event *ev) { open_nameless(state, ev, FL_FD_EVENTPOLL, 0); }

void fl_epoll_create1(struct fl_state *state, const struct fl_event *ev)
{
    open_nameless(state, ev, FL_FD_EVENTPOLL, fl_param_u32(ev, FL_P(EPOLL_CREATE1_X, flags)) & EPOLL_CLOEXEC ? FL_O_CLOEXEC : 0);
}

void fl_bpf(struct fl_state *state, const struct fl_event *ev) { open_nameless(state, ev, FL_FD_BPF, 0); }

void fl_userfaultfd(struct fl_state *state, const struct fl_event *ev)
{
    open_nameless(state, ev, FL_FD_USERFAULTFD, fl_param_u32(ev, FL_P(USERFAULTFD_X, flags)));
}

void fl_io_uring_setup(struct fl_state *state, const struct fl_event *ev) { open_nameless(state, ev, FL_FD_IOURING, 0); }

void fl_memfd_create(struct fl_state *state, const struct fl_event *ev)
{
    uint32_t flags = fl_param_u32(ev, FL_P(MEMFD_CREATE_X, flags)) & MFD_CLOEXEC ? FL_O_CLOEXEC : 0;
    struct fl_fd *fd = open_nameless(state, ev, FL_FD_MEMFD, flags);
    struct fl_slice name = fl_param_text(ev, FL_P(MEMFD_CREATE_X, name));

    if (fd)
        fl_set_text(state, &fd->name, name.data, name.len);
}

void fl_pidfd_open(struct fl_state *state, const struct fl_event *ev)
{
    struct fl_fd *fd = open_nameless(state, ev, FL_FD_PIDFD, fl_param_u32(ev, FL_P(PIDFD_OPEN_X, flags)));
    char name[32];

    if (fd)
        fl_set_text(state, &fd->name, name, (size_t)snprintf(name, sizeof name, "/proc/%lld", (long long)fl_param_i64(ev, FL_P(PIDFD_OPEN_X, pid))));
}

/* The name of a pidfd ends in the number of its process. */
static int64_t pid_of_pidfd(const struct fl_fd *fd)
{
    const char *slash = memrchr(fd->name->data, '/', fd->name->len);

    return fd->type == FL_FD_PIDFD && slash ? strtoll(slash + 1, NULL, 10) : -1;
}

void fl_pidfd_getfd(struct fl_state *state, const struct fl_event *ev)
{
    struct fl_now *now = &state->now;
    struct fl_fds *fds = fl_thread_fds(now->thread);
    const struct fl_fd *pidfd = fl_fd_find(fds, fl_param_i64(ev, FL_P(PIDFD_GETFD_X, pid_fd))), *from;
    const struct fl_thread *target;

    if (now->error || !pidfd || !(target = fl_thread_find(state, pid_of_pidfd(pidfd))))
        return;
    from = fl_fd_find(fl_thread_fds(target), fl_param_i64(ev, FL_P(PIDFD_GETFD_X, target_fd)));
    if (!from)
        return;
    now->fd = fl_fds_duplicate(state, fds, from, fl_param_i64(ev, FL_P(PIDFD_GETFD_X, fd)));
    now->fd_num = now->thread->last_fd = fl_param_i64(ev, FL_P(PIDFD_GETFD_X, fd));
    if (now->fd)
        now->fd->cloexec = true;
}
