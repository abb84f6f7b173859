/* SPDX-License-Identifier: Apache-2.0
 *
 * The .scap reader. It is pushed with bytes (plain, not gzip) in chunks of any size and opens nothing; pulled, it yields one item at a time.
 * Old events leave it converted to the newest schema.
 */
#ifndef FL_SCAP_H
#define FL_SCAP_H

#include "../base/error.h"
#include "record.h"

enum fl_scap_kind {
    FL_SCAP_MORE = 0,           /* nothing complete is left: push more bytes, or finish */
    FL_SCAP_EVENT,
    FL_SCAP_SECTION,            /* a section header: a new (or concatenated) capture begins, its tables follow, the state starts anew */
    FL_SCAP_MACHINE,
    FL_SCAP_PROCESS,
    FL_SCAP_FD,
    FL_SCAP_INTERFACE,
    FL_SCAP_USER,
    FL_SCAP_GROUP,
};

struct fl_scap_machine { uint32_t num_cpus; uint64_t memory_bytes, max_pid, boot_ts, flags; struct fl_slice hostname; };

/* A process-list entry; what an old version lacks is zero, but for the ids marked -1. */
struct fl_scap_process {
    int64_t tid, pid, ptid, sid /* -1 */, vpgid /* -1 */, pgid /* -1 */, vtid /* -1 */, vpid /* -1 */;
    struct fl_slice comm, exe, exepath, args /* NUL-separated */, cwd, env /* NUL-separated */, cgroups /* NUL-separated */, root;
    int64_t fdlimit;
    uint32_t flags, uid, gid, loginuid /* UINT32_MAX */, tty, vmsize_kb, vmrss_kb, vmswap_kb;
    uint64_t pfmajor, pfminor, pidns_init_start_ts, cap_inheritable, cap_permitted, cap_effective, exe_ino, exe_ino_ctime, exe_ino_mtime;
    uint8_t exe_writable, exe_upper_layer, exe_lower_layer, exe_from_memfd;
    uint64_t clone_ts;          /* ns; captures don't have it */
};

/* The type of a descriptor: numbers of the file format. */
enum fl_fd_type {
    FL_FD_UNKNOWN, FL_FD_FILE, FL_FD_DIRECTORY, FL_FD_IPV4_SOCK, FL_FD_IPV6_SOCK, FL_FD_IPV4_SERVSOCK, FL_FD_IPV6_SERVSOCK, FL_FD_FIFO,
    FL_FD_UNIX_SOCK, FL_FD_EVENT, FL_FD_UNSUPPORTED, FL_FD_SIGNALFD, FL_FD_EVENTPOLL, FL_FD_INOTIFY, FL_FD_TIMERFD, FL_FD_NETLINK,
    FL_FD_FILE_V2, FL_FD_BPF, FL_FD_USERFAULTFD, FL_FD_IOURING, FL_FD_MEMFD, FL_FD_PIDFD,
};
#define FL_FD_TYPES (FL_FD_PIDFD + 1)

struct fl_scap_fd {
    int64_t tid;                /* whose descriptor */
    int64_t fd;
    uint64_t ino;
    uint8_t type;               /* enum fl_fd_type */
    uint8_t l4;                 /* sockets: UNKNOWN 0, NA 1, TCP 2, UDP 3, ICMP 4, RAW 5 */
    uint8_t sip[16], dip[16];   /* IPv4 in the first 4 bytes; a SERVSOCK has only sip, sport */
    uint16_t sport, dport;
    uint64_t source, destination;       /* unix sockets */
    uint32_t open_flags, dev;
    struct fl_slice name;
};

struct fl_scap_interface { uint8_t v6; uint8_t addr[16], netmask[16], broadcast[16]; struct fl_slice name; };
struct fl_scap_user { uint32_t uid, gid; struct fl_slice name, home, shell; };
struct fl_scap_group { uint32_t gid; struct fl_slice name; };

/* What was read, for statistics and errors. */
struct fl_scap_stats {
    uint64_t bytes;             /* pushed so far */
    uint64_t blocks, records, events;   /* records as stored; events as delivered */
    uint64_t converted;         /* records that left in another form than they were stored in */
    uint64_t stored;            /* old enter events, kept for their exit events */
    uint64_t dropped;           /* unused types, and old enter events that tell nothing */
    uint64_t unknown;           /* records of types that this schema doesn't have, skipped */
    uint64_t evicted;           /* stored enter events that were given up: too many, or too long */
    uint64_t skipped_blocks;    /* blocks of unknown types */
    uint64_t sections;
};

struct fl_scap;

struct fl_scap_item {
    enum fl_scap_kind kind;
    union {
        struct fl_event event;
        struct fl_scap_machine machine;
        struct fl_scap_process process;
        struct fl_scap_fd fd;
        struct fl_scap_interface interface;
        struct fl_scap_user user;
        struct fl_scap_group group;
    };
};

struct fl_scap *fl_scap_new(void);
void fl_scap_free(struct fl_scap *scap);

/* Appends bytes (they are copied; at most one incomplete block is kept). FL_OK or FL_ERR_MEMORY. */
int fl_scap_push(struct fl_scap *scap, const void *bytes, size_t len);

/* As fl_scap_push, but reads the bytes where they are. They must stay until fl_scap_next has answered FL_SCAP_MORE, which copies the incomplete
 * block at their end, or failed, or until more bytes are pushed or lent. */
int fl_scap_lend(struct fl_scap *scap, const void *bytes, size_t len);

/* The next item: its kind in item->kind, FL_SCAP_MORE if there is none yet. What the item points at lives until the next call.
 * FL_OK, or FL_ERR_CAPTURE with the file offset and the block's type in error->text; after an error every further call fails the same. */
int fl_scap_next(struct fl_scap *scap, struct fl_scap_item *item, struct fl_error *error);

/* No more bytes will come: an error if the last block is incomplete, or if there never was a section header. */
int fl_scap_finish(struct fl_scap *scap, struct fl_error *error);

struct fl_scap_stats fl_scap_get_stats(const struct fl_scap *scap);

#endif
