/* SPDX-License-Identifier: Apache-2.0
 *
 * What the extractors share: how one is declared, texts built in scratch memory, and the questions that several fields ask.
 */
#ifndef FL_EXTRACT_H
#define FL_EXTRACT_H

#ifndef _GNU_SOURCE
#define _GNU_SOURCE             /* memmem, memrchr */
#endif

#include "field.h"

/* Begins the definition of an extractor: EXTRACT(proc_name) { … } */
#define EXTRACT(id) \
    bool fl_field_##id(const struct fl_view *view __attribute__((unused)), \
                       const struct fl_field_argument *arg __attribute__((unused)), struct fl_value *out __attribute__((unused)))

/* ---- texts in scratch memory: begin, append, end; nothing else may take from the scratch between begin and end ---- */

struct fl_text {
    struct fl_scratch *scratch;
    char *s;
    size_t len, room;
    bool full;                  /* the scratch is used up: the value will be absent */
};

void fl_text_begin(struct fl_text *text, const struct fl_view *view);
void fl_text_put(struct fl_text *text, const void *bytes, size_t len);
/* Text with U+FFFD in the place of control characters and of what isn't UTF-8. */
void fl_text_readable(struct fl_text *text, const char *s, size_t len);
void fl_text_dec(struct fl_text *text, int64_t value);
void fl_text_udec(struct fl_text *text, uint64_t value);
void fl_text_hex(struct fl_text *text, uint64_t value);             /* upper-case, no prefix */
void fl_text_oct(struct fl_text *text, uint64_t value);
void fl_text_padded(struct fl_text *text, uint64_t value, unsigned digits);
void fl_text_ipv4(struct fl_text *text, const uint8_t *addr);
void fl_text_ipv6(struct fl_text *text, const uint8_t *addr);
enum { FL_DATE = 1, FL_NANOSECONDS = 2 };
/* A time in the local zone: HH:MM:SS; after the date, or before .nnnnnnnnn, if asked for. */
void fl_text_time(struct fl_text *text, uint64_t ns, unsigned parts);
/* Texts with a NUL after each (the last may lack it), joined by `separator`. */
void fl_text_joined(struct fl_text *text, const char *s, size_t len, char separator);
bool fl_text_end(struct fl_text *text, struct fl_value *out);       /* false: absent */

static inline void fl_text_char(struct fl_text *text, char c) { fl_text_put(text, &c, 1); }
static inline void fl_text_lit(struct fl_text *text, const char *s) { fl_text_put(text, s, strlen(s)); }
static inline void fl_text_str(struct fl_text *text, const struct fl_str *s) { fl_text_put(text, s->data, s->len); }

/* Texts with a NUL after each (the last may lack it), one at a time: false when none is left. *at starts at 0. */
bool fl_next_text(const char *s, uint32_t len, uint32_t *at, struct fl_slice *out);

static inline bool fl_set_lit(struct fl_value *v, const char *s) { return fl_set_str(v, s, (uint32_t)strlen(s)); }
static inline bool fl_set_slice(struct fl_value *v, struct fl_slice s) { return fl_set_str(v, s.data, s.len); }
static inline bool fl_set_bytes(struct fl_value *v, const uint8_t *bytes, uint32_t len)
{
    v->kind = FL_BYTES, v->s = (const char *)bytes, v->len = len, v->str = 0;
    return true;
}

static inline bool fl_set_f64(struct fl_value *v, double f) { v->kind = FL_F64, v->f = f; return true; }
static inline bool fl_set_list(struct fl_value *v, const struct fl_value *list, uint32_t count)
{
    v->kind = FL_LIST, v->list = list, v->len = count, v->str = 0;
    return true;
}

/* ---- the event ---- */

/* Whether an event opens a path, and the parameter that is it (OPEN_PATH in words.def; fd.c). */
bool fl_open_path(unsigned type, unsigned *param);
static inline const struct fl_event_info *fl_info(const struct fl_view *view) { return &fl_events[view->ev->type]; }
static inline unsigned fl_flags_of(const struct fl_view *view) { return fl_info(view)->flags; }

/* The index of a parameter by name, or -1. */
int fl_param_named(const struct fl_event_info *info, const char *name, size_t len);
/* "ENOENT" of -2; NULL if there is no such error. */
const char *fl_error_name(int64_t result);
const char *fl_signal_name(unsigned number);
const char *fl_syscall_name(unsigned id);                           /* by the portable id */

/* ---- the thread ---- */

static inline struct fl_thread *fl_thread_of(const struct fl_view *view) { return view->now->thread; }
/* In a pid namespace that isn't the host's. */
static inline bool fl_in_pidns(const struct fl_thread *thread)
{
    return (thread->flags & FL_CHILD_IN_PIDNS) || thread->tid != thread->vtid;
}

/* Ancestors from the parent of `thread` on; ends also where the chain closes to a loop. */
struct fl_lineage {
    const struct fl_state *state;
    struct fl_thread *next, *slow;
    bool step;
};

void fl_lineage_of(struct fl_lineage *lineage, const struct fl_view *view, struct fl_thread *thread);
struct fl_thread *fl_lineage_next(struct fl_lineage *lineage);

/* proc.args and proc.cmdline of a thread, made on demand and kept with it; NULL when memory is out. */
struct fl_str *fl_thread_args_text(const struct fl_view *view, struct fl_thread *thread);
struct fl_str *fl_thread_cmdline(const struct fl_view *view, struct fl_thread *thread);

/* ---- descriptors ---- */

/* The descriptor that the event is about; NULL where its kind of event has none. */
const struct fl_fd *fl_fd_of(const struct fl_view *view);
char fl_fd_typechar(unsigned type);
const char *fl_fd_type_text(unsigned type);
static inline bool fl_fd_is_ipv4(const struct fl_fd *fd) { return fd->type == FL_FD_IPV4_SOCK || fd->type == FL_FD_IPV4_SERVSOCK; }
static inline bool fl_fd_is_ipv6(const struct fl_fd *fd) { return fd->type == FL_FD_IPV6_SOCK || fd->type == FL_FD_IPV6_SERVSOCK; }
static inline bool fl_fd_is_file(const struct fl_fd *fd) { return fd->type == FL_FD_FILE || fd->type == FL_FD_FILE_V2; }
static inline bool fl_fd_is_server_only(const struct fl_fd *fd)
{
    return fd->type == FL_FD_IPV4_SERVSOCK || fd->type == FL_FD_IPV6_SERVSOCK;
}
/* The transport (enum fl_l4) of a socket whose sides are known; a raw one has none, one that only listens needs none. */
static inline unsigned fl_fd_transport(const struct fl_fd *fd)
{
    return fd->role != FL_ROLE_NONE || fd->l4 == FL_L4_RAW || fl_fd_is_server_only(fd) ? fd->l4 : FL_L4_NA;
}
static inline bool fl_fd_is_socket(const struct fl_fd *fd)
{
    return fl_fd_is_ipv4(fd) || fl_fd_is_ipv6(fd) || fd->type == FL_FD_UNIX_SOCK;
}

/* ---- paths ---- */

#define FL_AT_FDCWD (-100)      /* of a directory descriptor: the working directory */

/* The absolute path of parameter i into `path` (FL_PATH_MAX bytes); false where nothing is known to start from. */
bool fl_path_resolve(const struct fl_view *view, unsigned i, char *path, uint32_t *len);
/* The absolute path of parameter i, a path: joined with the working directory, or with its directory descriptor (FSRELPATH). The
 * result points into the record or into scratch memory. False if the parameter is empty or the scratch is used up. */
bool fl_param_path(const struct fl_view *view, unsigned i, struct fl_slice *out);
/* A path after `//` has been made `/`, for the "raw" fields. */
bool fl_path_single_slashes(const struct fl_view *view, struct fl_slice path, struct fl_value *out);

#endif
