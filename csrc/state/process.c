/* SPDX-License-Identifier: Apache-2.0
 *
 * Transitions of processes: clone, exec, exit (spec: engine.md H3).
 */
#include "transitions.h"

/* The events of the clone family have the same parameters. */
#define CLONE(param) FL_P(CLONE_20_X, param)
#define SAME_PLACE(param) \
    _Static_assert(CLONE(param) == FL_P(FORK_20_X, param) && CLONE(param) == FL_P(VFORK_20_X, param) && \
                   CLONE(param) == FL_P(CLONE3_X, param), #param)
SAME_PLACE(res); SAME_PLACE(exe); SAME_PLACE(comm); SAME_PLACE(cgroups); SAME_PLACE(flags); SAME_PLACE(pidns_init_start_ts);
#define EXEC(param) FL_P(EXECVE_19_X, param)
_Static_assert(EXEC(exe) == FL_P(EXECVEAT_X, exe) && EXEC(env) == FL_P(EXECVEAT_X, env) && EXEC(gid) == FL_P(EXECVEAT_X, gid), "execveat");

#define CLONE_STALE_NS (2 * FL_NS_PER_S)        /* an entry that is older belongs to a thread whose exit was missed */

#define EXE_WRITABLE ((uint32_t)FL_FLAG(execve_flags, EXE_WRITABLE))
#define EXE_UPPER_LAYER ((uint32_t)FL_FLAG(execve_flags, EXE_UPPER_LAYER))
#define EXE_FROM_MEMFD ((uint32_t)FL_FLAG(execve_flags, EXE_FROM_MEMFD))
#define EXE_LOWER_LAYER ((uint32_t)FL_FLAG(execve_flags, EXE_LOWER_LAYER))
#define AT_EMPTY_PATH ((uint32_t)FL_FLAG(execveat_flags, AT_EMPTY_PATH))

/* Sets a text from a parameter, unless this is empty. */
static void set_param(struct fl_state *state, struct fl_str **at, const struct fl_event *ev, unsigned i)
{
    struct fl_slice text = fl_param_text(ev, i);

    if (fl_param_present(ev, i))
        fl_set_text(state, at, text.data, text.len);
}

/* A single empty text counts as none. */
static void set_list(struct fl_state *state, struct fl_str **at, struct fl_slice list)
{
    fl_set_text(state, at, list.data, list.len == 1 && list.data[0] == '\0' ? 0 : list.len);
}

void fl_thread_set_args(struct fl_state *state, struct fl_thread *thread, struct fl_slice args)
{
    set_list(state, &thread->args, args);
    fl_thread_changed(state, thread);
}

void fl_thread_set_env(struct fl_state *state, struct fl_thread *thread, struct fl_slice env)
{
    set_list(state, &thread->env, env);
}

void fl_thread_set_cwd(struct fl_state *state, struct fl_thread *thread, const char *path, uint32_t len)
{
    char text[FL_PATH_MAX + 1];

    if (len >= FL_PATH_MAX)
        len = FL_PATH_MAX - 1;
    memcpy(text, path, len);
    if (!len || text[len - 1] != '/')
        text[len++] = '/';
    fl_set_text(state, &thread->cwd, text, len);
}

/* exe, comm and args; the name is the program's, where the event lacks it. */
static void set_names(struct fl_state *state, struct fl_thread *thread, const struct fl_event *ev, unsigned exe, unsigned comm, unsigned args)
{
    set_param(state, &thread->exe, ev, exe);
    set_param(state, &thread->comm, ev, comm);
    if (!fl_param_text(ev, comm).len)
        fl_set_str(state, &thread->comm, fl_str_ref(thread->exe));
    fl_thread_set_args(state, thread, fl_param_bytes(ev, args));
}

static void set_memory(struct fl_thread *thread, const struct fl_event *ev, unsigned pgft_maj)
{
    fl_set_u64(&thread->pfmajor, ev, pgft_maj);
    fl_set_u64(&thread->pfminor, ev, pgft_maj + 1);
    fl_set_u32(&thread->vmsize_kb, ev, pgft_maj + 2);
    fl_set_u32(&thread->vmrss_kb, ev, pgft_maj + 3);
    fl_set_u32(&thread->vmswap_kb, ev, pgft_maj + 4);
}

/* What a child takes from a known thread: its parent, or its leader. */
static void inherit(struct fl_state *state, struct fl_thread *child, const struct fl_thread *from)
{
    child->exe_writable = from->exe_writable;
    child->exe_upper_layer = from->exe_upper_layer;
    child->exe_lower_layer = from->exe_lower_layer;
    child->exe_from_memfd = from->exe_from_memfd;
    child->sid = from->sid;
    child->vpgid = from->vpgid;
    child->pgid = from->pgid;
    child->tty = from->tty;
    child->loginuid = from->loginuid;
    child->cap_inheritable = from->cap_inheritable;
    child->cap_permitted = from->cap_permitted;
    child->cap_effective = from->cap_effective;
    child->exe_ino = from->exe_ino;
    child->exe_ino_ctime = from->exe_ino_ctime;
    child->exe_ino_mtime = from->exe_ino_mtime;
    fl_set_str(state, &child->exepath, fl_str_ref(from->exepath));
    fl_set_str(state, &child->root, fl_str_ref(from->root));
}

/* What a child process (not a thread) gets a copy of. */
static void copy_process(struct fl_state *state, struct fl_thread *child, const struct fl_thread *from)
{
    fl_fds_free(state, child->fds);
    child->fds = fl_fds_copy(state, fl_thread_fds(from));
    fl_set_str(state, &child->cwd, fl_str_ref(fl_thread_main(from)->cwd));
    fl_set_str(state, &child->env, fl_str_ref(from->env));      /* a thread's own is empty: so is its child process's, in Falco too, until an exec */
}

/* What the event of a clone says of the child. */
static struct fl_thread *new_child(struct fl_state *state, const struct fl_event *ev, int64_t tid)
{
    struct fl_thread *child = fl_thread_new(state, tid);

    if (!child)
        return NULL;
    child->flags = fl_param_u32(ev, CLONE(flags));
    set_names(state, child, ev, CLONE(exe), CLONE(comm), CLONE(args));
    fl_set_i64(&child->fdlimit, ev, CLONE(fdlimit));
    set_memory(child, ev, CLONE(pgft_maj));
    fl_set_u32(&child->uid, ev, CLONE(uid));
    fl_set_u32(&child->gid, ev, CLONE(gid));
    fl_thread_set_cgroups(state, child, fl_param_bytes(ev, CLONE(cgroups)));
    child->clone_ts = ev->ts;
    return child;
}

/* A thread of which only the number was known: the event tells who it is. */
static void identify(struct fl_state *state, struct fl_thread *thread, int64_t pid, int64_t ptid, int64_t vtid, int64_t vpid)
{
    thread->pid = pid;
    thread->ptid = ptid;
    thread->vtid = vtid;
    thread->vpid = vpid;
    fl_set_str(state, &thread->cwd, fl_str_ref(state->empty));
    fl_thread_link(state, thread);
}

/* The ids that the thread of a clone's exit has in its pid namespace: old events don't tell them. */
static int64_t vtid_of(const struct fl_event *ev) { return fl_param_present(ev, CLONE(vpid)) ? fl_param_i64(ev, CLONE(vtid)) : ev->tid; }
static int64_t vpid_of(const struct fl_event *ev) { return fl_param_present(ev, CLONE(vpid)) ? fl_param_i64(ev, CLONE(vpid)) : -1; }

/* The exit of the caller (res > 0): the child is made at once, so that it is there whatever comes first; unless its number or its parent
 * can't be told from here. The child's own exit makes it then. */
static void clone_of_caller(struct fl_state *state, const struct fl_event *ev, int64_t child_tid)
{
    uint32_t flags = fl_param_u32(ev, CLONE(flags));
    struct fl_thread *caller = fl_thread_get(state, ev->tid), *child;
    bool known;

    state->now.thread = caller;
    if (!caller)
        return;
    known = !fl_thread_invalid(caller);
    if (!known)
        identify(state, caller, fl_param_i64(ev, CLONE(pid)), fl_param_i64(ev, CLONE(ptid)), vtid_of(ev), vpid_of(ev));
    if (flags & (FL_CHILD_IN_PIDNS | FL_CLONE_NEWPID | FL_CLONE_PARENT | FL_CLONE_VFORK) || ev->type == FL_EV_VFORK_20_X ||
        caller->tid != caller->vtid || child_tid == caller->tid || fl_exited_lately(state, caller->tid, child_tid, ev->ts))
        return;
    child = fl_thread_find(state, child_tid);
    if (child && (child->flags & FL_CLONE_INVERTED))
        return;
    if (child) {
        fl_thread_remove(state, child);
        if (!(caller = state->now.thread))      /* removed with it, as its dead leader */
            return;
    }
    child = new_child(state, ev, child_tid);
    if (!child)
        return;
    if (flags & FL_CLONE_THREAD) {
        child->pid = caller->pid;
        child->ptid = caller->ptid;
        child->flags |= FL_CLONE_FILES;
    } else {
        child->pid = child_tid;
        child->ptid = caller->tid;
        if (known)
            copy_process(state, child, caller);
    }
    child->vtid = child->tid;
    child->vpid = child->pid;
    if (known) {
        inherit(state, child, caller);
    } else {
        fl_set_str(state, &caller->exe, fl_str_ref(child->exe));
        fl_set_str(state, &caller->comm, fl_str_ref(child->comm));
        fl_set_str(state, &caller->args, fl_str_ref(child->args));
        fl_thread_changed(state, caller);
    }
    if (fl_thread_add(state, child))
        fl_thread_link(state, child);
    state->last = state->now.thread;
}

/* The exit of the child (res = 0). */
static void clone_of_child(struct fl_state *state, const struct fl_event *ev)
{
    struct fl_thread *child = state->now.thread, *from;

    if (child && child->clone_ts && ev->ts - child->clone_ts < CLONE_STALE_NS)
        return;
    if (child)
        fl_thread_remove(state, child);
    state->now.thread = NULL;
    child = new_child(state, ev, ev->tid);
    if (!child)
        return;
    child->flags |= FL_CLONE_INVERTED;
    child->pid = fl_param_i64(ev, CLONE(pid));
    child->ptid = fl_param_i64(ev, CLONE(ptid));
    child->vtid = vtid_of(ev);
    child->vpid = vpid_of(ev);
    if (child->flags & FL_CLONE_THREAD) {
        child->flags |= FL_CLONE_FILES;
        from = child->pid == child->tid ? NULL : fl_thread_get(state, child->pid);
        if (from && fl_thread_invalid(from)) {
            identify(state, from, child->pid, child->ptid, child->vpid, child->vpid);
            set_names(state, from, ev, CLONE(exe), CLONE(comm), CLONE(args));
        } else if (from) {
            inherit(state, child, from);
        }
    } else {
        from = fl_thread_get(state, child->ptid);
        if (from && !fl_thread_invalid(from)) {
            copy_process(state, child, from);
            inherit(state, child, from);
        }
    }
    if ((child->flags & (FL_CHILD_IN_PIDNS | FL_CLONE_NEWPID)) || child->tid != child->vtid)
        child->pidns_init_start_ts = fl_param_u64(ev, CLONE(pidns_init_start_ts));
    if (!fl_thread_add(state, child))
        return;
    fl_thread_link(state, child);
    fl_container_init(state, child);
    state->now.thread = child;
}

/* clone, fork, vfork, clone3 */
void fl_clone(struct fl_state *state, const struct fl_event *ev)
{
    int64_t res = fl_param_i64(ev, CLONE(res));

    if (res > 0)
        clone_of_caller(state, ev, res);
    else if (res == 0)
        clone_of_child(state, ev);
}

/* Old events don't carry the path of the program; it was an argument of the call. False if it isn't known. */
static bool exepath_of_enter(struct fl_state *state, const struct fl_thread *thread, char *path, uint32_t *len)
{
    const struct fl_thread *leader = fl_thread_main(thread);
    struct fl_event enter;
    struct fl_slice name;

    if (!fl_stored_enter(state, &enter))
        return false;
    if (enter.type == FL_EV_EXECVE_19_E) {
        name = fl_path_param(&enter, FL_P(EXECVE_19_E, filename));
        if (fl_no_path(name))
            goto unknown;
        *len = fl_path_join(path, leader->cwd->data, leader->cwd->len, name.data, name.len);
        return true;
    }
    bool is_descriptor = fl_param_u32(&enter, FL_P(EXECVEAT_E, flags)) & AT_EMPTY_PATH;
    name = fl_path_param(&enter, FL_P(EXECVEAT_E, pathname));
    char base[FL_PATH_MAX + 1];
    int32_t base_len = fl_dirfd_path(thread, fl_param_i64(&enter, FL_P(EXECVEAT_E, dirfd)), name, base);
    if (base_len < 0 || (!is_descriptor && (fl_no_path(name) || !name.len)))
        goto unknown;
    if (is_descriptor)          /* whatever path comes with it */
        *len = fl_path_join(path, "", 0, base, (uint32_t)base_len);
    else
        *len = fl_path_join(path, base, (uint32_t)base_len, name.data, name.len);
    return true;
unknown:
    memcpy(path, "<NA>", 4);
    *len = 4;
    return true;
}

static bool is_cloexec(const struct fl_fd *fd, const void *context)
{
    (void)context;
    return fd->cloexec;
}

/* execve, execveat */
void fl_execve(struct fl_state *state, const struct fl_event *ev)
{
    struct fl_thread *thread = state->now.thread, *leader;
    char path[FL_PATH_MAX];
    uint32_t len;

    if (state->now.error)
        return;
    fl_thread_revives(thread);
    set_names(state, thread, ev, EXEC(exe), EXEC(comm), EXEC(args));
    if (fl_thread_invalid(thread)) {
        bool in_pidns = thread->flags & FL_CHILD_IN_PIDNS;
        int64_t pid = fl_param_i64(ev, EXEC(pid));
        identify(state, thread, pid, fl_param_i64(ev, EXEC(ptid)), in_pidns ? thread->vtid : thread->tid, in_pidns ? thread->vpid : pid);
    } else if (fl_param_i64(ev, EXEC(pid)) > 0) {
        thread->pid = fl_param_i64(ev, EXEC(pid));
    }
    leader = fl_thread_main(thread);
    fl_set_i64(&thread->fdlimit, ev, EXEC(fdlimit));
    set_memory(thread, ev, EXEC(pgft_maj));
    if (fl_param_present(ev, EXEC(env)))
        fl_thread_set_env(state, leader, fl_param_bytes(ev, EXEC(env)));
    if (fl_param_present(ev, EXEC(cgroups)))
        fl_thread_set_cgroups(state, thread, fl_param_bytes(ev, EXEC(cgroups)));
    fl_set_u32(&thread->tty, ev, EXEC(tty));
    if (fl_param_present(ev, EXEC(trusted_exepath)))
        set_param(state, &thread->exepath, ev, EXEC(trusted_exepath));
    else if (exepath_of_enter(state, thread, path, &len))
        fl_set_text(state, &thread->exepath, path, len);
    fl_set_i64(&thread->vpgid, ev, EXEC(vpgid));
    fl_set_u32(&thread->loginuid, ev, EXEC(loginuid));
    if (fl_param_present(ev, EXEC(flags))) {
        uint32_t flags = fl_param_u32(ev, EXEC(flags));
        thread->exe_writable = flags & EXE_WRITABLE;
        thread->exe_upper_layer = flags & EXE_UPPER_LAYER;
        thread->exe_from_memfd = flags & EXE_FROM_MEMFD;
        thread->exe_lower_layer = flags & EXE_LOWER_LAYER;
    }
    fl_set_u64(&thread->cap_inheritable, ev, EXEC(cap_inheritable));
    fl_set_u64(&thread->cap_permitted, ev, EXEC(cap_permitted));
    fl_set_u64(&thread->cap_effective, ev, EXEC(cap_effective));
    fl_set_u64(&thread->exe_ino, ev, EXEC(exe_ino));
    fl_set_u64(&thread->exe_ino_ctime, ev, EXEC(exe_ino_ctime));
    fl_set_u64(&thread->exe_ino_mtime, ev, EXEC(exe_ino_mtime));
    fl_set_u32(&thread->uid, ev, EXEC(uid));
    thread->pgid = -1;
    fl_set_i64(&thread->pgid, ev, EXEC(pgid));
    fl_set_u32(&thread->gid, ev, EXEC(gid));
    fl_fds_drop(state, fl_thread_fds(thread), is_cloexec, NULL);
    thread->flags = FL_THREAD_ACTIVE | FL_THREAD_NAME_CHANGED |
                    (thread->flags & (FL_THREAD_PIPE_SRC | FL_THREAD_PIPE_DST | FL_THREAD_MAIN | FL_CLONE_INVERTED));
    fl_thread_changed(state, thread);
    fl_account_want(state, thread, thread->vtid == 1 && thread->vpid == 1);
    /* The program is the only thread of its process. */
    for (struct fl_thread *member = thread->group ? thread->group->members : NULL, *next; member; member = next) {
        next = member->next_member;
        if (member == thread)
            continue;
        member->reaper_tid = thread->tid > 0 ? thread->tid : -1;        /* not another one that is about to go, from hand to hand */
        fl_thread_remove(state, member);
    }
}

void fl_procexit(struct fl_state *state, const struct fl_event *ev)
{
    struct fl_thread *thread = state->now.thread;

    if (!thread)
        return;
    fl_thread_dies(thread);
    thread->flags |= FL_THREAD_CLOSED;
    thread->reaper_tid = fl_param_i64(ev, FL_P(PROCEXIT_1_E, reaper_tid));
    if (thread->reaper_tid < 0)
        thread->reaper_tid = 0;         /* as where the kernel found none: it couldn't look */
    state->exiting = true;
    state->exiting_tid = thread->tid;
    state->exiting_ts = ev->ts;
}
