/* SPDX-License-Identifier: Apache-2.0
 *
 * The transition functions, and what they share.
 */
#ifndef FL_STATE_TRANSITIONS_H
#define FL_STATE_TRANSITIONS_H

#include "internal.h"

/* Sets a number from a parameter, unless this is empty: an empty parameter leaves what is known. */
static inline void fl_set_i64(int64_t *at, const struct fl_event *ev, unsigned i)
{
    if (fl_param_present(ev, i))
        *at = fl_param_i64(ev, i);
}

static inline void fl_set_u64(uint64_t *at, const struct fl_event *ev, unsigned i)
{
    if (fl_param_present(ev, i))
        *at = fl_param_u64(ev, i);
}

static inline void fl_set_u32(uint32_t *at, const struct fl_event *ev, unsigned i)
{
    if (fl_param_present(ev, i))
        *at = fl_param_u32(ev, i);
}

/* The enter event that was stored for the current exit event (TOCTOU), if there is one that belongs to it. */
bool fl_stored_enter(const struct fl_state *state, struct fl_event *enter);
/* A path of an event. One that the kernel side couldn't read is empty, in old captures "(NULL)"; it is called "<NA>". */
struct fl_slice fl_path_param(const struct fl_event *ev, unsigned i);
bool fl_no_path(struct fl_slice path);
/* The path that a relative name starts from at a directory descriptor, into out (FL_PATH_MAX bytes): its length; -1 if it isn't known. */
int32_t fl_dirfd_path(const struct fl_thread *thread, int64_t dirfd, struct fl_slice name, char *out);

/* process.c */
fl_transition fl_clone, fl_execve, fl_procexit;
/* credentials.c */
fl_transition fl_chdir, fl_fchdir, fl_getcwd, fl_chroot, fl_setuid, fl_setgid, fl_setresuid, fl_setresgid, fl_setreuid, fl_setregid;
fl_transition fl_setsid, fl_capset, fl_unshare, fl_setns, fl_prctl, fl_rlimit, fl_prlimit, fl_memory, fl_switch;
fl_transition fl_useradded, fl_userdeleted, fl_groupadded, fl_groupdeleted;
/* metadata.c */
fl_transition fl_container_json, fl_asyncevent;
/* file.c */
fl_transition fl_store_enter, fl_open, fl_openat, fl_openat2, fl_creat, fl_open_by_handle_at, fl_close, fl_close_range;
fl_transition fl_dup, fl_dup3, fl_fcntl, fl_pipe, fl_pipe2, fl_eventfd, fl_eventfd2, fl_signalfd, fl_signalfd4, fl_timerfd_create;
fl_transition fl_inotify_init, fl_inotify_init1, fl_epoll_create, fl_epoll_create1, fl_bpf, fl_userfaultfd, fl_io_uring_setup;
fl_transition fl_memfd_create, fl_pidfd_open, fl_pidfd_getfd;
/* socket.c */
fl_transition fl_socket, fl_socketpair, fl_bind, fl_connect, fl_accept, fl_accept4;
fl_transition fl_send, fl_sendmmsg, fl_recv, fl_recvfrom, fl_recvmsg, fl_recvmmsg, fl_io;

#endif
