/* SPDX-License-Identifier: Apache-2.0
 *
 * Transitions of what a process has and may: directories, ids, capabilities, limits, memory; and of the tables of users and groups
 * (spec: engine.md H3).
 */
#include "transitions.h"

#define ALL_CAPABILITIES ((1ull << 41) - 1)     /* CAP_CHOWN, 0, to CAP_CHECKPOINT_RESTORE, 40 */
#define PR_SET_CHILD_SUBREAPER ((uint32_t)FL_FLAG(prctl_options, PR_SET_CHILD_SUBREAPER))
#define PR_GET_CHILD_SUBREAPER ((uint32_t)FL_FLAG(prctl_options, PR_GET_CHILD_SUBREAPER))
#define RLIMIT_NOFILE ((uint32_t)FL_FLAG(rlimit_resources, RLIMIT_NOFILE))

/* The working directory is the process's: the leader keeps it. */
static void change_directory(struct fl_state *state, const char *path, uint32_t len)
{
    struct fl_thread *leader = fl_thread_main(state->now.thread);
    char text[FL_PATH_MAX];

    if (fl_thread_invalid(leader))
        return;
    fl_thread_set_cwd(state, leader, text, fl_path_join(text, leader->cwd->data, leader->cwd->len, path, len));
}

void fl_chdir(struct fl_state *state, const struct fl_event *ev)
{
    struct fl_slice path = fl_param_text(ev, FL_P(CHDIR_X, path));

    if (!state->now.error && path.len)
        change_directory(state, path.data, path.len);
}

void fl_getcwd(struct fl_state *state, const struct fl_event *ev)
{
    struct fl_slice path = fl_param_text(ev, FL_P(GETCWD_X, path));

    if (!state->now.error && path.len)
        change_directory(state, path.data, path.len);
}

void fl_fchdir(struct fl_state *state, const struct fl_event *ev)
{
    (void)ev;
    if (!state->now.error && state->now.fd && state->now.fd->name->len)
        change_directory(state, state->now.fd->name->data, state->now.fd->name->len);
}

void fl_chroot(struct fl_state *state, const struct fl_event *ev)
{
    struct fl_thread *thread = state->now.thread;
    const struct fl_str *cwd = fl_thread_main(thread)->cwd;
    struct fl_slice path = fl_param_text(ev, FL_P(CHROOT_X, path));
    char text[FL_PATH_MAX];

    if (!state->now.error)
        fl_set_text(state, &thread->root, text, fl_path_join(text, cwd->data, cwd->len, path.data, path.len));
}

/* An id that is kept, as the call says by -1, comes as UINT32_MAX. */
static void set_id(struct fl_state *state, uint32_t *id, const struct fl_event *ev, unsigned i)
{
    if (!state->now.error && fl_param_u32(ev, i) != UINT32_MAX)
        fl_set_u32(id, ev, i);
    fl_account_want(state, state->now.thread, false);
}

void fl_setuid(struct fl_state *state, const struct fl_event *ev) { set_id(state, &state->now.thread->uid, ev, FL_P(SETUID_X, uid)); }
void fl_setgid(struct fl_state *state, const struct fl_event *ev) { set_id(state, &state->now.thread->gid, ev, FL_P(SETGID_X, gid)); }
void fl_setresuid(struct fl_state *state, const struct fl_event *ev) { set_id(state, &state->now.thread->uid, ev, FL_P(SETRESUID_X, euid)); }
void fl_setresgid(struct fl_state *state, const struct fl_event *ev) { set_id(state, &state->now.thread->gid, ev, FL_P(SETRESGID_X, egid)); }
void fl_setreuid(struct fl_state *state, const struct fl_event *ev) { set_id(state, &state->now.thread->uid, ev, FL_P(SETREUID_X, euid)); }
void fl_setregid(struct fl_state *state, const struct fl_event *ev) { set_id(state, &state->now.thread->gid, ev, FL_P(SETREGID_X, egid)); }

void fl_setsid(struct fl_state *state, const struct fl_event *ev)
{
    if (!state->now.error)
        fl_set_i64(&state->now.thread->sid, ev, FL_P(SETSID_X, res));
}

void fl_capset(struct fl_state *state, const struct fl_event *ev)
{
    struct fl_thread *thread = state->now.thread;

    if (state->now.error)
        return;
    thread->cap_inheritable = fl_param_u64(ev, FL_P(CAPSET_X, cap_inheritable));
    thread->cap_permitted = fl_param_u64(ev, FL_P(CAPSET_X, cap_permitted));
    thread->cap_effective = fl_param_u64(ev, FL_P(CAPSET_X, cap_effective));
}

/* Who enters a user namespace has every capability in it. */
static void enter_user_namespace(struct fl_state *state, uint32_t flags)
{
    struct fl_thread *thread = state->now.thread;

    if (!state->now.error && (flags & FL_CLONE_NEWUSER))
        thread->cap_inheritable = thread->cap_permitted = thread->cap_effective = ALL_CAPABILITIES;
}

void fl_unshare(struct fl_state *state, const struct fl_event *ev) { enter_user_namespace(state, fl_param_u32(ev, FL_P(UNSHARE_X, flags))); }
void fl_setns(struct fl_state *state, const struct fl_event *ev) { enter_user_namespace(state, fl_param_u32(ev, FL_P(SETNS_X, nstype))); }

void fl_prctl(struct fl_state *state, const struct fl_event *ev)
{
    uint32_t option = fl_param_u32(ev, FL_P(PRCTL_X, option));
    struct fl_group *group = state->now.thread->group;

    if (!state->now.error && group && (option == PR_SET_CHILD_SUBREAPER || option == PR_GET_CHILD_SUBREAPER))
        group->reaper = fl_param_i64(ev, FL_P(PRCTL_X, arg2_int)) != 0;
}

static void set_fdlimit(struct fl_thread *thread, int64_t limit)
{
    if (limit != -1)
        fl_thread_main(thread)->fdlimit = limit;
}

/* getrlimit, setrlimit */
void fl_rlimit(struct fl_state *state, const struct fl_event *ev)
{
    _Static_assert(FL_P(GETRLIMIT_X, cur) == FL_P(SETRLIMIT_X, cur) && FL_P(GETRLIMIT_X, resource) == FL_P(SETRLIMIT_X, resource), "rlimit");
    if (!state->now.error && fl_param_present(ev, FL_P(GETRLIMIT_X, cur)) && fl_param_u32(ev, FL_P(GETRLIMIT_X, resource)) == RLIMIT_NOFILE)
        set_fdlimit(state->now.thread, fl_param_i64(ev, FL_P(GETRLIMIT_X, cur)));
}

void fl_prlimit(struct fl_state *state, const struct fl_event *ev)
{
    int64_t pid = fl_param_i64(ev, FL_P(PRLIMIT_X, pid));
    struct fl_thread *thread = pid == 0 ? state->now.thread : fl_thread_find(state, pid);

    if (!state->now.error && thread && fl_param_present(ev, FL_P(PRLIMIT_X, newcur)) &&
        fl_param_u32(ev, FL_P(PRLIMIT_X, resource)) == RLIMIT_NOFILE)
        set_fdlimit(thread, fl_param_i64(ev, FL_P(PRLIMIT_X, newcur)));
}

static void set_memory(struct fl_thread *thread, const struct fl_event *ev, unsigned vm_size)
{
    fl_set_u32(&thread->vmsize_kb, ev, vm_size);
    fl_set_u32(&thread->vmrss_kb, ev, vm_size + 1);
    fl_set_u32(&thread->vmswap_kb, ev, vm_size + 2);
}

/* brk, mmap, mmap2, munmap */
void fl_memory(struct fl_state *state, const struct fl_event *ev)
{
    _Static_assert(FL_P(BRK_4_X, vm_size) == FL_P(MMAP_X, vm_size) && FL_P(MMAP_X, vm_size) == FL_P(MMAP2_X, vm_size) &&
                   FL_P(MMAP_X, vm_size) == FL_P(MUNMAP_X, vm_size), "vm_size");
    set_memory(state->now.thread, ev, FL_P(MMAP_X, vm_size));
}

/* The thread of the event leaves the CPU. */
void fl_switch(struct fl_state *state, const struct fl_event *ev)
{
    struct fl_thread *thread = state->now.thread;

    if (!thread)
        return;
    fl_set_u64(&thread->pfmajor, ev, FL_P(SCHEDSWITCH_6_E, pgft_maj));
    fl_set_u64(&thread->pfminor, ev, FL_P(SCHEDSWITCH_6_E, pgft_min));
    set_memory(fl_thread_main(thread), ev, FL_P(SCHEDSWITCH_6_E, vm_size));
}

#define CONTAINER_OF(ev, event) fl_param_text(ev, FL_P(event, container_id))

void fl_useradded(struct fl_state *state, const struct fl_event *ev)
{
    fl_user_set(state, CONTAINER_OF(ev, USER_ADDED_E), fl_param_u32(ev, FL_P(USER_ADDED_E, uid)), fl_param_u32(ev, FL_P(USER_ADDED_E, gid)),
                fl_param_text(ev, FL_P(USER_ADDED_E, name)), fl_param_text(ev, FL_P(USER_ADDED_E, home)),
                fl_param_text(ev, FL_P(USER_ADDED_E, shell)));
}

void fl_userdeleted(struct fl_state *state, const struct fl_event *ev)
{
    fl_user_remove(state, CONTAINER_OF(ev, USER_DELETED_E), fl_param_u32(ev, FL_P(USER_DELETED_E, uid)));
}

void fl_groupadded(struct fl_state *state, const struct fl_event *ev)
{
    fl_grp_set(state, CONTAINER_OF(ev, GROUP_ADDED_E), fl_param_u32(ev, FL_P(GROUP_ADDED_E, gid)), fl_param_text(ev, FL_P(GROUP_ADDED_E, name)));
}

void fl_groupdeleted(struct fl_state *state, const struct fl_event *ev)
{
    fl_grp_remove(state, CONTAINER_OF(ev, GROUP_DELETED_E), fl_param_u32(ev, FL_P(GROUP_DELETED_E, gid)));
}
