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
    uint64_t lookups;           /* threads that were unknown at their first event, and looked up in /proc; … */
    uint64_t lookups_failed;    /* … had ended by then; … */
    uint64_t lookups_refused;   /* … were not looked up, as that took too much of the time */
    uint64_t threads_purged;    /* of threads_removed: their exits were not seen */
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
 * that the capture ended where it may. 2 instead of 1: more matches of the last event are to come; a new program loses them. */
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
 * root/etc. Threads that are unknown at their first event are looked up there from now on, until fl_engine_rewind. */
int fl_engine_snapshot(fl_engine *engine, const char *root, fl_error_text *error);
/* Makes an event of a thread current, with one of its descriptors (-1: none), to ask for fields of both. After fl_engine_snapshot, a thread that
 * isn't known is looked up. 1, or 0: there is no such thread. */
int fl_engine_look(fl_engine *engine, int64_t tid, int64_t fd);
/* Instead of a capture, documents of a source (fl_schema_document), an event of at most `limit` bytes: what is pushed from now on is JSON
 * texts (source/documents.h), until fl_engine_rewind. Numbers and relative times of events begin anew. */
int fl_engine_open_documents(fl_engine *engine, unsigned source, size_t limit, fl_error_text *error);
/* What could not be used, the oldest first: 1 = there is one. kind: 0 malformed, 1 no event of this source, 2 too large; line: from 1, and
 * again from 1 behind each byte 0x1e. */
typedef struct { uint64_t line, offset; uint32_t kind; } fl_document_fault;
int fl_engine_fault(fl_engine *engine, fl_document_fault *fault);

/* ---- live: the probe, loaded without a library (source/load.h) ---- */
fl_loader *fl_loader_open(const void *object, size_t size, fl_error_text *error);
void fl_loader_free(fl_loader *loader);
int fl_loader_map(const fl_loader *loader, const char *name);
/* Loads the programs of the events of `wanted` calls (as fl_live_choose takes them) that aren't loaded yet. */
int fl_loader_choose(fl_loader *loader, const uint8_t *wanted, fl_error_text *error);
int fl_loader_start(fl_loader *loader, const char *program, fl_error_text *error);

/* ---- live: the rings that the probe writes into (source/ring.h) ---- */
typedef struct {
    int rings_map, scratches_map, shared_map;   /* the probe's maps */
    uint32_t buffer_bytes, cpus_for_each_buffer;        /* as in falco.yaml */
    uint32_t snaplen;           /* bytes of what is read and written that records hold */
    uint32_t drop_failed;       /* 1: calls that failed are left out */
} fl_live_options;

typedef struct { uint64_t records, malformed, bytes, lost, unread, rings; } fl_live_stats;

fl_rings *fl_live_open(const fl_live_options *options, fl_error_text *error);
void fl_live_free(fl_rings *rings);
/* Which calls are traced from now on: 512 bytes, by portable id. */
void fl_live_choose(fl_rings *rings, const uint8_t *wanted);
/* Waits until records may be there, for a second at most: 1. 0: closed. fl_live_close may be called from anywhere, a signal handler too. */
int fl_live_wait(fl_rings *rings);
void fl_live_close(fl_rings *rings);
fl_live_stats fl_live_get_stats(const fl_rings *rings);
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
 * 0 = what comes now begins a new file, 1 = no more is recorded. */
typedef int (*fl_write_fn)(void *handle, const uint8_t *bytes, size_t len);
typedef struct {
    uint32_t selected;          /* 0: all events; 1: those that a rule of the program matches, which makes no match then */
    uint64_t events, bytes, ns; /* limits of a file: events that rules may see, bytes, time; 0 = none */
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

/* Matches since the last clear, one after the other (little-endian, packed):
 *   u32 size of this match   u32 rule   u64 num   u64 ts   i64 tid   u16 type   u16 cpu   u32 record size   u32 values
 *   (the top bit of cpu: records were lost that may have changed what is known of the event's thread)
 *   the values: u8 kind, then  BOOL u8 | I64, U64, F64 8 bytes | STR, BYTES, IP, NET u32 length, bytes | LIST u32 count, values
 *   the record
 */
const uint8_t *fl_engine_batch(fl_engine *engine, size_t *len, uint32_t *matches);
void fl_engine_batch_clear(fl_engine *engine);

fl_engine_stats fl_engine_get_stats(const fl_engine *engine);

#endif
