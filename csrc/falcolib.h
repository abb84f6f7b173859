/* SPDX-License-Identifier: Apache-2.0
 *
 * The public C interface of falcolib, which is also what Python's cffi reads: opaque handles, int error codes (enum fl_code in
 * base/error.h), no global state. Lines that begin with # are left out for cffi.
 */
#ifndef FALCOLIB_H
#define FALCOLIB_H
#include <stddef.h>
#include <stdint.h>

typedef struct fl_program fl_program;
typedef struct fl_engine fl_engine;
typedef struct fl_rings fl_rings;
typedef struct fl_loader fl_loader;

typedef struct {
    int code;                   /* 0, or a negative fl_code */
    char text[240];
} fl_error_text;

/* ---- the schema, as Python's catalogue reads it ---- */
typedef struct { const char *name, *type, *format, *table; int at; const char *source; } fl_param_row;
typedef struct { int id; const char *code, *name; unsigned category, flags, nparams; int seen; } fl_event_row;   /* seen by rules */
typedef struct { const char *name, *description, *type, *format, *class_; unsigned argument, flags; int in_body; } fl_field_row;
typedef struct { int id; const char *name; int x86_64, aarch64, event; const char *keep; } fl_syscall_row;
typedef struct { const char *name, *kind; unsigned bytes; } fl_type_row;
typedef struct { const char *kind, *name; unsigned value; } fl_word_row;       /* EVENT_FLAG CREATES_FD 1: words.def */
typedef struct { const char *name, *heading, *description; } fl_class_row;
typedef struct { const char *name, *plugin, *class_; int type; } fl_document_row;  /* type: its place among a program's event types */

unsigned fl_schema_events(void);                                        /* rows: ids 0 … n-1 */
int fl_schema_event(unsigned id, fl_event_row *row);                    /* 0, or -1 */
int fl_schema_param(unsigned id, unsigned param, fl_param_row *row);
unsigned fl_schema_fields(void);
int fl_schema_field(unsigned id, fl_field_row *row);
unsigned fl_schema_syscalls(void);                                      /* ids are below; gaps answer -1 */
int fl_schema_syscall(unsigned id, fl_syscall_row *row);
unsigned fl_schema_types(void);
int fl_schema_type(unsigned id, fl_type_row *row);
unsigned fl_schema_tables(void);
const char *fl_schema_table(unsigned table, unsigned *count);           /* name of a flag table; *count entries */
int fl_schema_flag(unsigned table, unsigned entry, const char **name, uint32_t *value);
unsigned fl_schema_ops(void);
const char *fl_schema_op(unsigned op, const char **operands);           /* mnemonic */
unsigned fl_schema_words(void);                                         /* rows, as for events */
int fl_schema_word(unsigned i, fl_word_row *row);
unsigned fl_schema_classes(void);                                       /* of fields */
int fl_schema_class(unsigned i, fl_class_row *row);
unsigned fl_schema_documents(void);                                     /* sources of events that are documents */
int fl_schema_document(unsigned i, fl_document_row *row);
uint64_t fl_schema_hash_events(void);
uint64_t fl_schema_hash_fields(void);

/* ---- programs: checked, immutable, shared between engines and threads ---- */
fl_program *fl_program_load(const void *bytes, size_t len, fl_error_text *error);     /* NULL and *error if the verifier refuses it */
void fl_program_free(fl_program *program);
int fl_program_needs(const fl_program *program, unsigned event);       /* 1: rules can match events of this type */

/* ---- engines ---- */
typedef struct {
    uint32_t threads, fds;      /* limits of the state; 0 = the default */
    uint32_t match_all;         /* 0: the first rule that matches an event; 1: all */
    uint32_t base64;            /* 1: bytes in evt.args and evt.arg are base64 */
    uint32_t purge_interval, purge_timeout;     /* s: between looks for threads that ended unseen, and of silence before; 0 = 300 */
    const char *hostname;       /* for evt.hostname; NULL = "" */
    const char *static_container;       /* the one that all processes are in, in the JSON of a container event; NULL: control groups tell */
} fl_engine_options;

typedef struct {
    uint64_t bytes, blocks, records, events, converted, stored, dropped, unknown, evicted, skipped_blocks, sections;
    uint64_t evaluated;         /* events that the program was run on */
    uint64_t matches;
    uint64_t threads, threads_added, threads_removed, threads_refused, fds_added, fds_removed, fds_refused;
    uint64_t fake_threads, fd_lookups_failed;
    uint64_t texts_refused;     /* by the state: all texts together have a limit */
    uint64_t scanned_threads, scanned_fds, scan_ns;     /* of the last fl_engine_snapshot: found, and the time it took */
    uint64_t iterated_threads;  /* of scanned_threads: those that the kernel's iterators told */
    uint64_t lookups;           /* threads that were unknown at their first event, and looked up in /proc; … */
    uint64_t lookups_failed;    /* … had ended by then; … */
    uint64_t lookups_refused;   /* … were not looked up, as that took too much of the time */
    uint64_t threads_purged;    /* of threads_removed: their exits were not seen */
    uint64_t containers, containers_imageless;          /* of which there is an entry; whose image isn't known */
    uint64_t containers_asked, containers_unknown, containers_refused;
    uint64_t malformed, unrecognised, too_large;        /* documents that could not be used */
    uint64_t undated;           /* documents that don't tell their time: they have that of their reading */
    uint64_t lost, unread;      /* live: records that were lost; with parameters that could not be read */
    uint64_t last_ts;           /* ns: of the last event */
} fl_engine_stats;

/* Called, with the handle of fl_engine_new, for a regular expression: 1 matches, 0 doesn't, -1 an error (the run stops). */
typedef int (*fl_regex_fn)(void *handle, uint32_t pattern, const char *subject, size_t len);

fl_engine *fl_engine_new(const fl_engine_options *options, fl_regex_fn regex, void *handle, fl_error_text *error);
void fl_engine_free(fl_engine *engine);
/* Replaces the program; the state survives. The program must live as long as the engine uses it. */
int fl_engine_set_program(fl_engine *engine, const fl_program *program, fl_error_text *error);

/* Capture bytes. push copies; run goes on until the bytes are used up (returns 0), the batch is full (returns 1), or an error. finish checks
 * that the capture ended where it may. 2 instead of 1: more matches of the last event are to come; a new program loses them.
 * 3: before it goes on, users of containers are wanted (fl_engine_wanted_accounts). */
int fl_engine_push(fl_engine *engine, const void *bytes, size_t len);
/* As push without copying: the bytes must stay until run or step has returned 0 or failed, or until more are pushed or lent. */
int fl_engine_lend(fl_engine *engine, const void *bytes, size_t len);
int fl_engine_run(fl_engine *engine, fl_error_text *error);
int fl_engine_finish(fl_engine *engine, fl_error_text *error);
/* Notes what each instruction and register of the program costs (on), or stops and forgets. A new program begins anew. */
int fl_engine_profile(fl_engine *engine, int on);
/* Three numbers a cost: runs, true outcomes, ticks of the processor's clock. The first is that of all runs; then those of the instructions, then
 * those of the registers, in order of their tables. Writes `size` numbers at most; returns how many there are, 0 without a profile. */
size_t fl_engine_profiled(const fl_engine *engine, uint64_t *numbers, size_t size);
/* The processor's clock: what reading it takes at least, in ticks; and its time. */
uint64_t fl_ticks_overhead(void);
uint64_t fl_ticks_now(void);
/* Evaluates the program on the events of worker `number` of `of` only, runs of 64 events in turn. All events are applied to the state. */
int fl_engine_share(fl_engine *engine, uint32_t number, uint32_t of);
/* Forgets the capture (not the state): the next bytes begin a new one. */
int fl_engine_rewind(fl_engine *engine);

/* The state of this machine, instead of what a capture begins with: threads, descriptors, addresses, users and groups, read from root/proc and
 * root/etc. Threads that are unknown at their first event are looked up there from now on, until fl_engine_rewind. loader: the probe whose
 * iterators tell of threads and descriptors, where they can; NULL: /proc does. */
int fl_engine_snapshot(fl_engine *engine, const char *root, fl_loader *loader, fl_error_text *error);
/* Makes an event of a thread current, with one of its descriptors (-1: none), to ask for fields of both. After fl_engine_snapshot, a thread that
 * isn't known is looked up. 1, or 0: there is no such thread. */
int fl_engine_look(fl_engine *engine, int64_t tid, int64_t fd);
/* Instead of a capture, documents of a source (fl_schema_document), an event of at most `limit` bytes, a text (which may be a list of events) of
 * at most `text`: what is pushed from now on is JSON texts (source/documents.h), until fl_engine_rewind. Numbers and relative times of events
 * begin anew. */
int fl_engine_open_documents(fl_engine *engine, unsigned source, size_t limit, size_t text, fl_error_text *error);
/* What could not be used, the oldest first: 1 = there is one. kind: 0 malformed, 1 no event of this source, 2 too large; line: from 1, and
 * again from 1 behind each byte 0x1e. */
typedef struct { uint64_t line, offset; uint32_t kind; } fl_document_fault;
int fl_engine_fault(fl_engine *engine, fl_document_fault *fault);

/* ---- live: the probe, loaded without a library (source/load.h) ---- */
fl_loader *fl_loader_open(const void *object, size_t size, fl_error_text *error);
void fl_loader_free(fl_loader *loader);
int fl_loader_map(const fl_loader *loader, const char *name);
/* Loads the programs of the events of `wanted` calls (fl_live_needs.calls) that aren't loaded yet. */
int fl_loader_choose(fl_loader *loader, const uint8_t *wanted, fl_error_text *error);
int fl_loader_start(fl_loader *loader, const char *program, fl_error_text *error);
typedef struct { char name[64]; uint64_t runs, ns; } fl_program_runs;
/* The n-th loaded program, and how often and long it has run (0 while the kernel doesn't count: kernel.bpf_stats_enabled). 0: there is none. */
int fl_loader_runs(const fl_loader *loader, unsigned n, fl_program_runs *out);

/* ---- live: the rings that the probe writes into (source/ring.h) ---- */
typedef struct {
    int rings_map, scratches_map, shared_map;   /* the probe's maps */
    uint32_t buffer_bytes, cpus_for_each_buffer;        /* as in falco.yaml */
    uint32_t snaplen;           /* bytes of what is read and written that records hold */
} fl_live_options;

typedef struct { uint64_t records, malformed, bytes, lost, unread, skipped, rings; } fl_live_stats;

fl_rings *fl_live_open(const fl_live_options *options, fl_error_text *error);
void fl_live_free(fl_rings *rings);
typedef struct {
    uint8_t calls[512];         /* which ones, by portable id */
    uint8_t outcomes[512];      /* with which outcome rules want a call, by event type: 1 failed, 2 failed to open a plain path for reading, 4 succeeded */
    uint8_t drop_failed;        /* 1: calls that failed are left out, whatever rules want */
    uint8_t guarded;            /* 1: the guarded calls have tracepoints of their own */
    uint8_t realpath;           /* 1: the kernel's path of what is opened is told */
} fl_live_needs;

/* What is traced from now on. Outcomes that the state needs are told in any case. */
void fl_live_choose(fl_rings *rings, const fl_live_needs *needs);
/* Whether there have been 32-bit calls, so that fl_sys_enter must run. */
int fl_live_compat(const fl_rings *rings);
/* Waits until records may be there, for a second at most: 1. 0: closed. fl_live_close may be called from anywhere, a signal handler too. */
int fl_live_wait(fl_rings *rings);
void fl_live_close(fl_rings *rings);
fl_live_stats fl_live_get_stats(const fl_rings *rings);
typedef struct {
    uint64_t records;           /* taken from the rings */
    uint64_t lost;              /* for one of these reasons: */
    uint64_t ring_full, no_scratch, not_called;
    uint64_t malformed;         /* of the records: they could not be used */
    uint64_t events[512];       /* lost, by type */
    uint64_t cpu_records[256], cpu_lost[256];   /* by processor … */
    uint32_t cpus;              /* … of so many that may be there; some may be away */
} fl_live_counts;
void fl_live_count(const fl_rings *rings, fl_live_counts *out);
/* A rewind, after which run and step take their events from the rings. The next rewind ends that: the rings must live until then. */
int fl_engine_read_rings(fl_engine *engine, fl_rings *rings);

/* One event at a time, without rules: 1 = an event is current, 0 = the bytes are used up, negative = an error. */
int fl_engine_step(fl_engine *engine, fl_error_text *error);
/* A field of the current event into the batch buffer as one value; 1 there is one, 0 absent, negative error. */
int fl_engine_get(fl_engine *engine, unsigned field, int has_index, int64_t index, const char *key);
/* The current event's header and record. */
typedef struct { uint64_t num, ts; int64_t tid; uint16_t type, cpu; const uint8_t *record; uint32_t size; } fl_event_now;
int fl_engine_current(fl_engine *engine, fl_event_now *now);

/* Goes on to event `num`, or, where rules don't see that one, to the next that they see. Answers as fl_engine_step. */
int fl_engine_seek(fl_engine *engine, uint64_t num, fl_error_text *error);

/* Recording: what passes through the engine is written as a .scap file. The callback gets, with the handle of fl_engine_new, whole blocks in order, and
 * answers 0, or -1 for an error: the run stops, and nothing more is recorded. With no bytes (NULL, 0) it is told that a limit is reached:
 * 0 = what comes now begins a new file, 1 = no more is recorded, 2 = the file goes on, until it is as much again. */
typedef int (*fl_write_fn)(void *handle, const uint8_t *bytes, size_t len);
typedef struct {
    uint32_t selected;          /* 0: all events; 1: those that a rule of the program matches, which makes no match then */
    uint64_t events, bytes, ns; /* limits of a file: events that rules may see, bytes, time; 0 = none */
    uint32_t pause;             /* 1: a run returns as if its batch were full when an event matched, before that is written */
} fl_record_options;
typedef struct { uint64_t events, hidden, left_out, sections, bytes; } fl_record_stats;

/* Begins to record with the next event; without a callback (NULL) ends it. */
int fl_engine_record(fl_engine *engine, const fl_record_options *options, fl_write_fn write, fl_error_text *error);
/* Gives the callback what is collected. `finish`: no more events will come; a file without any gets the tables. */
int fl_engine_record_flush(fl_engine *engine, int finish, fl_error_text *error);
fl_record_stats fl_engine_record_stats(const fl_engine *engine);

/* Runs the program on given values (an event as a dict): `values` holds a value for each slot of the program, in the batch's form. */
int fl_engine_match_values(fl_engine *engine, unsigned type, uint64_t num, uint64_t ts, const void *values, size_t len, fl_error_text *error);

/* Containers that no event tells of (on live sources). After ask, ids that come up are wanted; wanted takes them, a NUL after each, and returns
 * their bytes, 0 for none. container tells what is known of one, in the JSON of a container event: {"container": {"id": …}}; with
 * "lookup": "unknown" in it, that nobody knows it. Between two pushes: the current event is left. */
int fl_engine_ask_containers(fl_engine *engine, int ask);
int fl_engine_wanted(fl_engine *engine, char *ids, size_t size);
int fl_engine_container(fl_engine *engine, const char *json, size_t len);
/* Users and groups of containers that no event tells of (on live sources). After ask, until a capture begins, containers are wanted in which a
 * process has an id that has no name; wanted takes them, as many as there is room for, each with a process in it, and returns how many. accounts
 * tells a container's /etc/passwd and /etc/group, in place of what was told before; between two pushes, where the current event is left, or when
 * fl_engine_run has returned 3. */
typedef struct { int64_t pid; char container[256]; } fl_account_wish;
int fl_engine_ask_accounts(fl_engine *engine);
int fl_engine_wanted_accounts(fl_engine *engine, fl_account_wish *wishes, size_t room);
int fl_engine_accounts(fl_engine *engine, const char *container, const char *passwd, size_t passwd_len, const char *group, size_t group_len);
/* The first `size` bytes of both files of a process's root, one behind the other in out, and their lengths (source/accounts.h): 1, or 0 if it isn't
 * a process of that container, with a root of its own, now. root: where the machine's / is. Belongs to no engine; may wait for ever. */
int fl_read_accounts(const char *root, int64_t pid, const char *container, char *out, size_t size, size_t *lengths);
/* The addresses of hosts that rules name, in place of those told before: rows of an address (16 bytes; of IPv4 behind ::ffff:) and a name that
 * ends with a NUL. Between two pushes: the current event is left. */
int fl_engine_hosts(fl_engine *engine, const uint8_t *rows, size_t len);

/* Matches since the last clear, one after the other (little-endian, packed):
 *   u32 size of this match   u32 rule   u64 num   u64 ts   i64 tid   u16 type   u16 cpu   u32 record size   u32 values
 *   (the top bit of cpu: records were lost that may have changed what is known of the event's thread)
 *   the values: u8 kind, then  BOOL u8 | I64, U64, F64 8 bytes | STR, BYTES, IP, NET u32 length, bytes | LIST u32 count, values
 *   the record
 */
const uint8_t *fl_engine_batch(fl_engine *engine, size_t *len, uint32_t *matches);
void fl_engine_batch_clear(fl_engine *engine);

fl_engine_stats fl_engine_get_stats(const fl_engine *engine);
/* What the kernel's iterators told in the last fl_engine_snapshot: threads, and descriptors by kind. */
typedef struct {
    uint64_t task, task_file_pipe, task_file_memfd, task_file_regular, task_file_directory, task_file_socket_inet, task_file_socket_inet6,
        task_file_socket_unix, task_file_socket_netlink, task_file_anon_inode;
} fl_engine_iterated;
fl_engine_iterated fl_engine_get_iterated(const fl_engine *engine);

#endif
