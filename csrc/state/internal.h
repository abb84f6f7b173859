/* SPDX-License-Identifier: Apache-2.0
 *
 * What the files of the state engine share.
 */
#ifndef FL_STATE_INTERNAL_H
#define FL_STATE_INTERNAL_H

#ifndef _GNU_SOURCE
#define _GNU_SOURCE      /* memmem, memrchr */
#endif

#include "../base/map.h"
#include "state.h"

#define FL_NS_PER_S 1000000000ull

#define FL_THREADS_MAX 262144u          /* default limits */
#define FL_FDS_MAX 4096u
#define FL_FDS_TOTAL_MAX (1u << 21)     /* descriptors of all tables: a copy at each fork must not multiply a capture's size */
#define FL_INTERFACES_MAX 4096u
#define FL_USERS_MAX (1u << 20)         /* users and groups, of all lists */
#define FL_HOSTS_MAX 65536u             /* addresses of hosts that rules name */
#define FL_USER_LISTS_MAX 65536u        /* containers with users of their own */
#define FL_WANTED_MAX 512u              /* containers that nobody has begun to look up; the same for their users */
#define FL_CGROUPS_MAX 16384u           /* bytes of a thread's cgroups; four times what recorders take */
#define FL_STORED_ENTER_MAX 4096u       /* bytes */
#define FL_STORED_ENTERS_MAX (64u << 20)        /* bytes of all threads': an honest one has some 50 to 300 */
#define FL_EXITED 8192u                 /* threads that are remembered after their exit … */
#define FL_EXITED_NS (2 * FL_NS_PER_S)  /* … for so long */
#define FL_ANCESTORS_MAX 1024u          /* levels that a search for a reaper goes up */

#define FL_O_DIRECTORY ((uint32_t)FL_FLAG(file_flags, O_DIRECTORY))
#define FL_O_CLOEXEC ((uint32_t)FL_FLAG(file_flags, O_CLOEXEC))
#define FL_O_F_CREATED ((uint32_t)FL_FLAG(file_flags, O_F_CREATED))
#define FL_O_UPPER_LAYER ((uint32_t)FL_FLAG(file_flags, FD_UPPER_LAYER))
#define FL_O_LOWER_LAYER ((uint32_t)FL_FLAG(file_flags, FD_LOWER_LAYER))
#define FL_AT_FDCWD (-100)

#define FL_AF_UNIX ((uint32_t)FL_FLAG(socket_families, AF_UNIX))
#define FL_AF_INET ((uint32_t)FL_FLAG(socket_families, AF_INET))
#define FL_AF_INET6 ((uint32_t)FL_FLAG(socket_families, AF_INET6))
#define FL_AF_NETLINK ((uint32_t)FL_FLAG(socket_families, AF_NETLINK))

struct fl_fds {
    struct fl_fd **slots;       /* open addressing by number, so that small numbers lie at their own place; NULL while empty */
    uint32_t mask;
    uint32_t count;
};

struct fl_spare { struct fl_spare *next; };

struct fl_userlist {
    struct fl_str *id;          /* short; NULL: the host */
    bool wanted;                /* it is among state->accounts_wanted */
    struct fl_map users, groups;        /* by id */
};

struct fl_interface {
    bool v6;
    uint8_t addr[16], netmask[16], broadcast[16];
    struct fl_str *name;        /* NULL when memory was out */
};

/* A thread that exited lately; a chain a bucket. */
struct fl_exited {
    int64_t ptid, tid;
    uint64_t ts;
    uint16_t next;              /* index + 1; 0 ends the chain */
    bool used;
};

/* The thread that an event is attached to (H2). */
enum fl_attach {
    FL_ATTACH_NONE,
    FL_ATTACH_KNOWN,            /* if it is in the table */
    FL_ATTACH_ANY,              /* if it isn't, one is made of which nothing is known */
};

/* A transition: changes the state as an event says. now.thread isn't NULL if the event attaches to any thread. */
typedef void fl_transition(struct fl_state *state, const struct fl_event *ev);
extern fl_transition *const fl_transitions[FL_EV_COUNT];       /* NULL: the event changes nothing */

/* What apply needs to know of an event type, derived from the schema. */
struct fl_shape {
    fl_transition *transition;  /* NULL: none */
    int8_t fd;                  /* the parameter that names the descriptor; -1 = none */
    bool result;                /* parameter 0 is the call's result */
    bool enter;                 /* of a system call that isn't over */
    bool noted;                 /* with its thread: when it had its last event, and of which descriptor */
    uint8_t attach;             /* enum fl_attach */
};

struct fl_state {
    struct fl_strings *strings;
    struct fl_state_limits limits;
    struct fl_state_stats stats;
    struct fl_now now;

    struct fl_map threads, groups;      /* by tid, by pid */
    struct fl_thread *last;             /* the thread found last, or NULL */
    fl_look_up *look_up;                /* see fl_state_look_up; NULL: nobody */
    void *look_up_context;
    struct fl_map containers;           /* by the interned short id */
    struct fl_userlist host_users;
    struct fl_map user_lists;           /* of containers, by the interned short id */
    uint32_t nusers;                    /* users and groups in all lists */
    bool ask_accounts;
    uint32_t naccounts_wanted;
    struct fl_wanted_account { struct fl_str *container; int64_t pid; } accounts_wanted[FL_WANTED_MAX];
    struct fl_interface *interfaces;
    uint32_t ninterfaces;
    struct fl_host *hosts;              /* by address */
    uint32_t nhosts;
    struct fl_str *hostname;            /* or NULL */
    struct fl_scap_machine machine;     /* but for its name, which is `hostname` */

    uint64_t stored_enter_bytes;        /* room of all threads */
    uint64_t fds;                       /* descriptors in all tables */
    struct fl_spare *spare_fds;         /* memory for entries */
    uint32_t nspare_fds;

    /* what the next event begins with */
    bool exiting, closing;
    int64_t exiting_tid, closing_tid, closing_fd;
    uint64_t exiting_ts;

    struct fl_exited exited[FL_EXITED];
    uint16_t exited_heads[FL_EXITED];   /* index + 1; 0 = empty */
    uint32_t exited_at;

    struct fl_shape shapes[FL_EV_COUNT];
    struct fl_str *empty, *na;          /* "", "<NA>" */

    /* the container of the cgroups seen last */
    struct fl_str *cgroups_seen, *cgroups_container;
    struct fl_str *static_container, *static_json;      /* full id, and what is told of it; or NULL */
    bool ask_containers;
    uint32_t no_sweep;                  /* containers to refuse before the table is looked through again */
    struct fl_str *wanted[FL_WANTED_MAX];       /* full ids */
    uint32_t nwanted;
};

/* strings: replaces *at by the string of these bytes; keeps it when memory is out */
void fl_set_text(struct fl_state *state, struct fl_str **at, const void *bytes, size_t len);
void fl_set_str(struct fl_state *state, struct fl_str **at, struct fl_str *str);

/* threads.c */
struct fl_thread *fl_thread_new(struct fl_state *state, int64_t tid);          /* not in the table yet; NULL when memory is out */
/* Enters a thread; one of the same tid is removed first. False, and the thread is freed, when the table is full. */
bool fl_thread_add(struct fl_state *state, struct fl_thread *thread);
void fl_thread_link(struct fl_state *state, struct fl_thread *thread);         /* into its group, to its parent */
struct fl_thread *fl_thread_get(struct fl_state *state, int64_t tid);          /* finds it, else makes a fake one; NULL: the table is full */
struct fl_thread *fl_thread_look(struct fl_state *state, int64_t tid);         /* fl_thread_find that remembers */
void fl_thread_remove(struct fl_state *state, struct fl_thread *thread);       /* H3 */
void fl_thread_dies(struct fl_thread *thread);
void fl_thread_revives(struct fl_thread *thread);
void fl_threads_clear(struct fl_state *state);
void fl_exited_add(struct fl_state *state, int64_t ptid, int64_t tid, uint64_t ts);
bool fl_exited_lately(const struct fl_state *state, int64_t ptid, int64_t tid, uint64_t ts);
static inline struct fl_thread *fl_thread_if_last(const struct fl_state *state, int64_t tid)
{
    return state->last && state->last->tid == tid ? state->last : NULL;
}
static inline bool fl_thread_invalid(const struct fl_thread *thread) { return thread->pid < 0; }
static inline bool fl_thread_in_pidns(const struct fl_thread *thread)
{
    return (thread->flags & FL_CHILD_IN_PIDNS) || thread->tid != thread->vtid;
}

/* fds.c */
static inline struct fl_fds *fl_fds_in_force(const struct fl_thread *thread)
{
    return (thread->flags & FL_CLONE_FILES) && thread->group && thread->group->main ? thread->group->main->fds : thread->fds;
}
struct fl_fd *fl_fd_search(const struct fl_fds *fds, int64_t num);
/* fl_fd_find, inline where it isn't hashed: nearly always */
static inline struct fl_fd *fl_fd_at(const struct fl_fds *fds, int64_t num)
{
    if (!fds || !fds->slots)
        return NULL;
    if ((uint64_t)num <= fds->mask && (!fds->slots[num] || fds->slots[num]->num == num))
        return fds->slots[num];
    return fl_fd_search(fds, num);
}
struct fl_fds *fl_fds_own(struct fl_thread *thread);           /* the table in force, made if there is none; NULL when memory is out */
/* The entry of a number, emptied if there was one; NULL when the table is full. */
struct fl_fd *fl_fds_add(struct fl_state *state, struct fl_fds *fds, int64_t num, enum fl_fd_type type);
void fl_fds_remove(struct fl_state *state, struct fl_fds *fds, int64_t num);
struct fl_fds *fl_fds_copy(struct fl_state *state, const struct fl_fds *from);
/* Removes the entries that `drop` says. */
void fl_fds_drop(struct fl_state *state, struct fl_fds *fds, bool (*drop)(const struct fl_fd *fd, const void *context), const void *context);
void fl_fds_free(struct fl_state *state, struct fl_fds *fds);
/* A copy of an entry under another number (which may be taken); NULL when the table is full. */
struct fl_fd *fl_fds_duplicate(struct fl_state *state, struct fl_fds *fds, const struct fl_fd *from, int64_t num);
void fl_fds_free_spare(struct fl_state *state);

/* socket.c */
void fl_fd_swap_ends(struct fl_fd *fd);                        /* source and destination */
void fl_fd_name_tuple(struct fl_state *state, struct fl_fd *fd);       /* the name says the addresses */

/* users.c */
void fl_user_set(struct fl_state *state, struct fl_slice container, uint32_t uid, uint32_t gid, struct fl_slice name, struct fl_slice home,
                 struct fl_slice shell);
void fl_user_remove(struct fl_state *state, struct fl_slice container, uint32_t uid);
void fl_grp_set(struct fl_state *state, struct fl_slice container, uint32_t gid, struct fl_slice name);
void fl_grp_remove(struct fl_state *state, struct fl_slice container, uint32_t gid);
void fl_users_clear(struct fl_state *state);
/* The users of a thread's container are wanted, if its user or group has no name there; anew: in any case. */
void fl_account_want(struct fl_state *state, const struct fl_thread *thread, bool anew);

/* hosts.c */
void fl_hosts_clear(struct fl_state *state);

/* metadata.c */
void fl_containers_clear(struct fl_state *state);
void fl_container_tell_static(struct fl_state *state);
void fl_container_want(struct fl_state *state, struct fl_str *id, struct fl_slice whole, bool again);    /* again: also if it is known */
void fl_container_know(struct fl_state *state, struct fl_str *id, const char *type);   /* there is nothing more to know */

/* paths.c */
bool fl_is_mapped(const uint8_t *addr);                        /* an IPv4 address in an IPv6 one (its last 4 bytes) */

/* containers.c */
/* Sets thread->cgroups from "subsystem=path" texts (NUL-separated), and the container that these tell. */
void fl_thread_set_cgroups(struct fl_state *state, struct fl_thread *thread, struct fl_slice cgroups);
/* What isn't known of a thread's container is asked for; again: also what is known. */
void fl_container_of(struct fl_state *state, const struct fl_thread *thread, bool again);
/* A process that is the first of its pid namespace came or went: its container may have, and is asked for again. */
static inline void fl_container_init(struct fl_state *state, const struct fl_thread *thread)
{
    if (thread->vtid == 1 && thread->vpid == 1)
        fl_container_of(state, thread, true);
}

/* process.c: what a process entry and the events have in common */
void fl_thread_set_args(struct fl_state *state, struct fl_thread *thread, struct fl_slice args);
void fl_thread_set_env(struct fl_state *state, struct fl_thread *thread, struct fl_slice env);
void fl_thread_set_cwd(struct fl_state *state, struct fl_thread *thread, const char *path, uint32_t len);

/* now */
struct fl_fd *fl_now_add_fd(struct fl_state *state, int64_t num, enum fl_fd_type type);  /* to the current thread's table: now.fd is it */

#endif
