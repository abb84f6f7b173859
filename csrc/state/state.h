/* SPDX-License-Identifier: Apache-2.0
 *
 * The state engine: threads, descriptors, users and groups, kept up to date by one transition function an event. Semantics: spec
 * engine.md H. Everything is owned by one fl_state; several live in one process.
 */
#ifndef FL_STATE_H
#define FL_STATE_H

#include <stdbool.h>

#include "../base/str.h"
#include "../source/accounts.h"
#include "../source/record.h"
#include "../source/scap.h"

/* Bits of fl_thread.flags: clone flags, and ours, which share them (F2). */
#define FL_CLONE_FILES ((uint32_t)FL_FLAG(clone_flags, CLONE_FILES))
#define FL_CLONE_NEWPID ((uint32_t)FL_FLAG(clone_flags, CLONE_NEWPID))
#define FL_CLONE_PARENT ((uint32_t)FL_FLAG(clone_flags, CLONE_PARENT))
#define FL_CLONE_THREAD ((uint32_t)FL_FLAG(clone_flags, CLONE_THREAD))
#define FL_CLONE_INVERTED ((uint32_t)FL_FLAG(clone_flags, CLONE_INVERTED))
#define FL_CLONE_NEWUSER ((uint32_t)FL_FLAG(clone_flags, CLONE_NEWUSER))
#define FL_CLONE_VFORK ((uint32_t)FL_FLAG(clone_flags, CLONE_VFORK))
#define FL_CHILD_IN_PIDNS ((uint32_t)FL_FLAG(clone_flags, CLONE_CHILD_IN_PIDNS))
#define FL_THREAD_NAME_CHANGED ((uint32_t)FL_FLAG(clone_flags, NAME_CHANGED))
#define FL_THREAD_CLOSED ((uint32_t)FL_FLAG(clone_flags, CLOSED))
#define FL_THREAD_ACTIVE (1u << 19)
#define FL_THREAD_PIPE_SRC (1u << 21)
#define FL_THREAD_PIPE_DST (1u << 22)
#define FL_THREAD_MAIN (1u << 30)

enum fl_role { FL_ROLE_NONE, FL_ROLE_CLIENT, FL_ROLE_SERVER };

enum fl_l4 { FL_L4_UNKNOWN, FL_L4_NA, FL_L4_TCP, FL_L4_UDP, FL_L4_ICMP, FL_L4_RAW };

struct fl_fd {
    int64_t num;
    uint8_t type;               /* enum fl_fd_type */
    uint8_t l4;                 /* enum fl_l4, sockets */
    uint8_t role;               /* enum fl_role, sockets */
    bool connected, cloexec, upper_layer, lower_layer;
    uint32_t open_flags;
    uint32_t dev;
    uint64_t ino;
    uint16_t sport, dport;
    uint8_t sip[16], dip[16];   /* IPv4: the first 4 bytes; SERVSOCK: sip, sport */
    uint64_t source, destination;       /* unix sockets: kernel addresses */
    struct fl_str *name;        /* never NULL; may be empty */
    struct fl_str *name_raw;    /* as passed to the call; NULL if there is none */
};

struct fl_fds;                  /* a descriptor table */
struct fl_group;                /* a thread group */

struct fl_thread {
    int64_t tid, pid, ptid, vtid, vpid;         /* pid -1: an invalid thread, of which nothing is known */
    int64_t sid, vpgid, pgid;
    uint32_t flags;             /* clone flags and FL_THREAD_* */
    uint32_t uid, gid, loginuid, tty;           /* ids: UINT32_MAX = not known */
    bool exe_writable, exe_upper_layer, exe_lower_layer, exe_from_memfd;
    bool dead;
    uint64_t cap_inheritable, cap_permitted, cap_effective;
    uint64_t exe_ino, exe_ino_ctime, exe_ino_mtime;
    uint64_t clone_ts, pidns_init_start_ts;
    uint64_t seen_ts;           /* of its last event; 0: it had none */
    uint64_t pfmajor, pfminor;
    uint32_t vmsize_kb, vmrss_kb, vmswap_kb;
    int64_t fdlimit;
    struct fl_str *comm, *exe, *exepath;        /* never NULL */
    struct fl_str *args;        /* without argv[0], a NUL after each (the last one may lack it); never NULL */
    struct fl_str *env;         /* a NUL after each; of the main thread; never NULL */
    struct fl_str *cgroups;     /* "subsystem=path" NUL-separated, subsystem names normalised (H6); never NULL */
    struct fl_str *cwd;         /* ends in "/"; of the main thread; never NULL */
    struct fl_str *root;        /* never NULL */
    struct fl_str *container_id;        /* as it is shown; NULL on the host. Set from the cgroups whenever these change (E5) */
    /* made on demand by the fields, dropped by fl_thread_changed() */
    struct fl_str *cmdline;     /* proc.cmdline */
    struct fl_str *args_text;   /* proc.args: joined by spaces */
    struct fl_fds *fds;         /* own table, or NULL where the main thread's is used */
    struct fl_group *group;
    struct fl_thread *parent;   /* NULL if not in the table */
    /* of the previous event of this thread */
    int64_t last_fd;            /* lastevent_fd; -1 = none */
    uint16_t last_type;
    uint8_t *stored_enter;      /* room for an enter record (TOCTOU), or NULL */
    uint32_t stored_enter_size; /* bytes of the record that is stored now; 0 = none */
    uint32_t stored_enter_room;
    /* kin, linked by the state engine */
    int64_t reaper_tid;         /* who gets the children, as the exit event or another thread's exec says; 0: not told, -1: nobody */
    struct fl_thread *children, *next_sibling, *previous_sibling;
    struct fl_thread *next_member, *previous_member;        /* of the group */
};

struct fl_group {
    int64_t pid;
    bool reaper;
    uint32_t live, total;       /* threads alive; threads in `threads` */
    struct fl_thread *main;     /* NULL if not in the table */
    struct fl_thread *members, *last;   /* the leader first, then by age */
};

struct fl_user { uint32_t uid, gid; struct fl_str *name, *home, *shell; };
struct fl_grp { uint32_t gid; struct fl_str *name; };

#define FL_SHORT_ID 12u         /* characters that are shown of the id of a container that has a runtime */
#define FL_CONTAINER_ID 255u    /* bytes of an id that a control group tells, at most: as of the name of a file */

/* What is known of a container besides its id. */
enum fl_lookup {
    FL_LOOKUP_NONE,             /* nobody was asked, and no event told */
    FL_LOOKUP_PENDING,          /* asked for, and not known yet */
    FL_LOOKUP_UNKNOWN,          /* asked for: nobody knows it */
    FL_LOOKUP_KNOWN,
};

/* What an event told of a container; texts are never NULL. */
struct fl_container {
    struct fl_str *id;          /* as it is shown */
    enum fl_lookup lookup;
    const char *type;
    struct fl_str *full_id, *name, *image, *image_id, *repository, *tag, *digest, *ip, *cni_json, *sandbox_id;
    struct fl_str *labels, *sandbox_labels;     /* name, value, name, value: a NUL after each */
    struct fl_str *json;        /* of the event */
    struct fl_str *mounts;      /* source, destination, mode, writable, propagation of each: a NUL after each */
    bool privileged, host_pid, host_network, host_ipc, is_sandbox;
};

struct fl_state_limits {
    uint32_t threads;           /* entries; 0 = 262144 */
    uint32_t fds;               /* entries of one descriptor table; 0 = 4096 */
};

struct fl_state_stats {
    uint64_t threads, threads_added, threads_removed, threads_refused, threads_purged;
    uint64_t fds_added, fds_removed, fds_refused;
    uint64_t fake_threads, fd_lookups_failed, stored_enters;
    uint64_t texts_refused;     /* see fl_strings_refused */
    uint64_t containers, containers_imageless;      /* that there is an entry of; those whose image isn't known */
    uint64_t containers_asked, containers_unknown, containers_refused;
};

/* What the current event is about; valid until the next one is applied. */
struct fl_now {
    const struct fl_event *ev;
    struct fl_thread *thread;   /* NULL: none (meta events, full table) */
    struct fl_fd *fd;           /* NULL: the event has no descriptor, or it isn't known */
    int64_t fd_num;             /* lastevent_fd: the number that the event names, also if fd is NULL; -1 = none */
    bool fd_name_changed;
    const struct fl_container *container;       /* that the event tells of; NULL: none */
    int64_t error;              /* the negative result of the call; 0 */
};

struct fl_state;

struct fl_state_limits fl_state_get_limits(const struct fl_state *state);            /* as they are in force */
struct fl_state *fl_state_new(struct fl_strings *strings, const struct fl_state_limits *limits);
void fl_state_free(struct fl_state *state);

/* The tables of a capture (or of a start-up scan), then fl_state_start, which links groups and parents and gives sockets their roles. */
void fl_state_reset(struct fl_state *state);
void fl_state_machine(struct fl_state *state, const struct fl_scap_machine *machine);
void fl_state_process(struct fl_state *state, const struct fl_scap_process *process);
void fl_state_fd(struct fl_state *state, const struct fl_scap_fd *fd);
void fl_state_interface(struct fl_state *state, const struct fl_scap_interface *interface);

/* The addresses of hosts that rules name, in place of those told before: rows of an address (16 bytes; of IPv4 behind ::ffff:) and a name that
 * ends with a NUL. False if they are malformed, or there is no memory. */
#define FL_HOST_ADDRESS 16
struct fl_host {
    uint8_t addr[FL_HOST_ADDRESS];
    uint32_t row;
    struct fl_str *name;
};
bool fl_state_hosts(struct fl_state *state, const uint8_t *rows, size_t len);
/* How many of these hosts have an address, and the first of them. */
uint32_t fl_hosts_at(const struct fl_state *state, const uint8_t *addr, bool v6, const struct fl_host **first);

void fl_state_user(struct fl_state *state, const struct fl_scap_user *user);
void fl_state_group(struct fl_state *state, const struct fl_scap_group *group);
void fl_state_item(struct fl_state *state, const struct fl_scap_item *item);       /* any of the above; others change nothing */
void fl_state_start(struct fl_state *state);

/* Asked for a thread that an event is of and the table doesn't have (fd: -1): enters it, and its process if that isn't there, by
 * fl_state_process and fl_state_fd. Asked for one of its process's descriptors, which another process has sent: enters that. False if there is
 * none. NULL: nobody is asked. */
typedef bool fl_look_up(void *context, int64_t tid, int64_t fd);
void fl_state_look_up(struct fl_state *state, fl_look_up *look_up, void *context);
struct fl_thread *fl_thread_ask(struct fl_state *state, int64_t tid);      /* from the table, else looked up; NULL: there is none */

/* Applies an event (H1). What it is about is then in *now. What rules must still see, a thread that exits and a descriptor that is closed, stays
 * until the next event. */
const struct fl_now *fl_state_apply(struct fl_state *state, const struct fl_event *ev);
/* Does what the event before left to do (H1 step 1), as the next fl_state_apply would: a thread that exited goes, a descriptor that was closed. */
void fl_state_settle(struct fl_state *state);

/* A user or a group of a container (its short id), new, changed or gone: what an event would tell. */
typedef void fl_account_told(void *context, struct fl_slice container, bool users, bool gone, const struct fl_account *account);

/* The state as the items that a capture begins with, in their order; the same state gives the same items. What they point at lives until
 * the callback returns. Between fl_state_start and the first event, or before both, nothing is lost that the reading of these items gives
 * again. Later the format lacks words for some of it: the role of a socket without a listening port, raw names. */
void fl_state_dump(const struct fl_state *state, void (*visit)(void *context, const struct fl_scap_item *item), void *context);
/* The users and groups of containers, which that format has no tables for. */
void fl_state_dump_accounts(const struct fl_state *state, fl_account_told *told, void *context);
/* The container events (FL_EV_CONTAINER_JSON_2_E) that tell what is known of containers. */
void fl_state_dump_containers(const struct fl_state *state, void (*visit)(void *context, struct fl_slice json), void *context);
/* Whether the state, and so the fields of later events, would differ if this event, which isn't applied yet, were left out. May say yes where
 * it wouldn't. */
bool fl_state_needs(const struct fl_state *state, const struct fl_event *ev);

/* Events are lost, exits among them: what is left of such threads goes, those that had no event for `idle` ns and that `exists` doesn't know,
 * and those of which nothing but the number is known. Between two events; at most FL_PURGE_MAX are looked at, and the next call goes on. */
typedef bool fl_thread_exists(void *context, int64_t tid);
#define FL_PURGE_MAX 1024u
void fl_state_purge(struct fl_state *state, uint64_t ts, uint64_t idle, fl_thread_exists *exists, void *context);

/* Containers that events don't tell of: from now on the ids that are there or come up are kept until somebody takes them, finds the rest out, and
 * tells it in the JSON of container events (metadata.c). */
void fl_state_ask_containers(struct fl_state *state, bool ask);
size_t fl_state_wanted(struct fl_state *state, char *ids, size_t size);            /* takes ids, a NUL after each; returns their bytes */
void fl_state_container(struct fl_state *state, const char *json, size_t len);     /* between two events */
/* All processes are in this container, told as above, whatever their control groups say. */
void fl_state_static_container(struct fl_state *state, const char *json);

/* Users and groups of containers that events don't tell of: from now on a container is wanted when a process in it has an id without a name, or
 * begins it, until somebody takes it (true: there was one; the id is short, and NUL-terminated) and tells what its files say: what differs from
 * before is passed on. Whether one is wanted is asked often: the number of them stands at a place that stays. */
void fl_state_ask_accounts(struct fl_state *state, bool ask);
const uint32_t *fl_state_accounts_wanted(const struct fl_state *state);
bool fl_state_take_wanted_account(struct fl_state *state, char container[FL_CONTAINER_ID + 1], int64_t *pid);
void fl_state_accounts(struct fl_state *state, struct fl_slice container, bool users, const struct fl_account *accounts, uint32_t count,
                       fl_account_told *told, void *context);
/* Those of containers that no process is in any more go. Looks at all threads: not for each event. */
void fl_state_forget_accounts(struct fl_state *state, fl_account_told *told, void *context);

/* Look-ups of the fields. NULL where there is none. */
struct fl_thread *fl_thread_find(const struct fl_state *state, int64_t tid);
struct fl_thread *fl_thread_main(const struct fl_thread *thread);                  /* the group's leader; the thread itself if unknown */
struct fl_thread *fl_thread_parent(const struct fl_state *state, const struct fl_thread *thread);
struct fl_fds *fl_thread_fds(const struct fl_thread *thread);                      /* the table in force */
struct fl_fd *fl_fd_find(const struct fl_fds *fds, int64_t num);
uint32_t fl_fds_count(const struct fl_fds *fds);
/* Calls back for each descriptor, in order of number. */
void fl_fds_each(const struct fl_fds *fds, void (*visit)(const struct fl_fd *fd, void *context), void *context);
/* A container has users and groups of its own; no id: the host. */
const struct fl_user *fl_user_find(const struct fl_state *state, const struct fl_str *container_id, uint32_t uid);
const struct fl_grp *fl_grp_find(const struct fl_state *state, const struct fl_str *container_id, uint32_t gid);
const struct fl_container *fl_container_find(const struct fl_state *state, const struct fl_str *id);   /* one that is known */
enum fl_lookup fl_container_lookup(const struct fl_state *state, const struct fl_str *id);
bool fl_is_local_address(const struct fl_state *state, const uint8_t *addr, bool v6);
struct fl_str *fl_hostname(const struct fl_state *state);                          /* of the capture's machine block; may be NULL */
struct fl_strings *fl_state_strings(const struct fl_state *state);
struct fl_state_stats fl_state_get_stats(const struct fl_state *state);

/* Drops what was derived from a thread's exe, comm and args. */
void fl_thread_changed(struct fl_state *state, struct fl_thread *thread);

/* join(base, path) of H6 into out (FL_PATH_MAX bytes); returns the length. */
#define FL_PATH_MAX 1025
uint32_t fl_path_join(char *out, const char *base, uint32_t base_len, const char *path, uint32_t path_len);

/* The text of a socket's addresses, as fd.name prints it (H5); returns the length. `size` is at least 256. */
uint32_t fl_tuple_text(char *out, size_t size, const struct fl_fd *fd);

#endif
