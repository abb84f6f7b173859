/* SPDX-License-Identifier: Apache-2.0
 *
 * The schema's tables as C: enumerations at compile time, and rows to read at run time. Everything is an expansion of the .def files.
 */
#ifndef FL_SCHEMA_H
#define FL_SCHEMA_H

#include <stddef.h>
#include <stdint.h>

#define FL_MAX_PARAMS 32        /* parameters of a record, at most */
#define FL_SCHEMA_VERSION "4.5.1"

enum fl_type {
#define TYPE(name, id, bytes) FL_T_##name = id,
#include "types.def"
#undef TYPE
    FL_T_COUNT
};

enum fl_format { FL_FMT_NA, FL_FMT_DEC, FL_FMT_HEX, FL_FMT_PADDED, FL_FMT_ID, FL_FMT_DIR, FL_FMT_OCT };

enum fl_event_flag {
    EF_CREATES_FD = 1 << 0,
    EF_DESTROYS_FD = 1 << 1,
    EF_USES_FD = 1 << 2,
    EF_READS_FROM_FD = 1 << 3,
    EF_WRITES_TO_FD = 1 << 4,
    EF_MODIFIES_STATE = 1 << 5,
    EF_UNUSED = 1 << 6,
    EF_WAITS = 1 << 7,
    EF_SKIPPARSERESET = 1 << 8,
    EF_OLD_VERSION = 1 << 9,
    EF_LARGE_PAYLOAD = 1 << 11,
    EF_CONVERTER_MANAGED = 1 << 12,
};

enum fl_category {
    EC_UNKNOWN, EC_OTHER, EC_FILE, EC_NET, EC_IPC, EC_MEMORY, EC_PROCESS, EC_SLEEP, EC_SYSTEM, EC_SIGNAL, EC_USER, EC_TIME,
    EC_PROCESSING,
    EC_IO_READ = 32, EC_IO_WRITE, EC_IO_OTHER,
    EC_MASK = 63,               /* the category proper; the rest are classes */
    EC_WAIT = 1 << 6, EC_SCHEDULER = 1 << 7, EC_INTERNAL = 1 << 8, EC_SYSCALL = 1 << 9, EC_TRACEPOINT = 1 << 10,
    EC_PLUGIN = 1 << 11, EC_METAEVENT = 1 << 12, EC_ITER = 1 << 13,
};

/* FL_EV_OPENAT_2_X … */
enum fl_event_type {
#define EVENT(code, id, name, category, flags, ...) FL_EV_##code = id,
#include "events.def"
#undef EVENT
    FL_EV_COUNT
};

/* FL_P(OPENAT_2_X, name) is the index of a parameter, checked by the compiler. */
#define P(name, type, format, info, source) char name;
#define EVENT(code, id, name, category, flags, ...) struct fl_params_of_##code { __VA_ARGS__ };
#include "events.def"
#undef EVENT
#undef P
#define FL_P(event, param) ((unsigned)offsetof(struct fl_params_of_##event, param))
#define FL_NPARAMS(event) ((unsigned)sizeof(struct fl_params_of_##event))

enum fl_flag_table {
    FL_FLAGS_NONE,
#define FLAG_TABLE(name, ...) FL_FLAGS_##name,
#define DYN_TABLE(name, ...)
#include "flags.def"
#undef FLAG_TABLE
#undef DYN_TABLE
    FL_FLAGS_COUNT
};

enum fl_dyn_table {
    FL_DYN_NONE,
#define FLAG_TABLE(name, ...)
#define DYN_TABLE(name, ...) FL_DYN_##name,
#include "flags.def"
#undef FLAG_TABLE
#undef DYN_TABLE
    FL_DYN_COUNT
};

/* FL_SC_openat …: the portable ids of system calls */
enum fl_syscall {
#define SYSCALL(id, name, x86_64, aarch64, event, keep) FL_SC_##name = id,
#define TRACEPOINT(id, name) FL_SC_##name = id,
#include "syscalls.def"
#undef SYSCALL
#undef TRACEPOINT
};
#define FL_SC_LIMIT 512         /* every portable id is below */

enum fl_field_flag {
    FF_LIST = 1 << 0,
    FF_ANY = 1 << 1,
    FF_EITHER = 1 << 2,
    FF_NO_RHS = 1 << 3,
    FF_NO_TRANSFORMER = 1 << 4,
    FF_FILTER_ONLY = 1 << 5,
    FF_PRINT_ONLY = 1 << 6,
    FF_HIDDEN = 1 << 7,
    FF_DEPRECATED = 1 << 8,
    FF_SUGGESTED = 1 << 9,
};

enum fl_field_arg {
    ARG_REQUIRED = 1 << 0,      /* the field can't stand without an argument */
    ARG_INDEX = 1 << 1,         /* field[2] */
    ARG_KEY = 1 << 2,           /* field[name] */
    ARG_DOTTED = 1 << 3,        /* field.name */
};

enum fl_field_class {
    FL_CLASS_EVT_GENERIC, FL_CLASS_EVT_SYSCALL, FL_CLASS_PROCESS, FL_CLASS_USER, FL_CLASS_GROUP, FL_CLASS_FD, FL_CLASS_FS_PATH,
    FL_CLASS_UTIL, FL_CLASS_FDLIST, FL_CLASS_CONTAINER,
};

/* FL_FIELD_proc_name … */
enum fl_field_id {
#define FIELD(id, name, type, format, argument, flags, class, description) FL_FIELD_##id,
#include "fields.def"
#undef FIELD
    FL_FIELD_COUNT
};

struct fl_param_info {
    const char *name;
    uint8_t type;               /* enum fl_type */
    uint8_t format;             /* enum fl_format */
    uint8_t flags;              /* enum fl_flag_table */
    uint8_t dyn;                /* enum fl_dyn_table */
    int8_t at;                  /* FSRELPATH: index of the directory descriptor's parameter; -1 = none */
    uint8_t source;             /* enum fl_source of sources.h; where the kernel side takes it from */
    uint8_t source_arg;
};

struct fl_event_info {
    const char *code;           /* "OPENAT_2_X" */
    const char *name;           /* "openat", as evt.type prints it */
    uint16_t category;
    uint16_t flags;
    uint16_t nparams;
    const struct fl_param_info *params;
};

struct fl_flag { const char *name; uint32_t value; };
struct fl_flag_table_info { const char *name; uint16_t count; const struct fl_flag *flags; };
struct fl_dyn_type { uint8_t type, format; };
struct fl_dyn_table_info { const char *name; uint16_t count; const struct fl_dyn_type *types; };
struct fl_syscall_info { const char *name; int16_t x86_64, aarch64; uint16_t event; uint8_t keep; };
struct fl_field_info {
    const char *id, *name, *description;
    uint8_t type, format, argument, class_;
    uint16_t flags;
};

extern const struct fl_event_info fl_events[FL_EV_COUNT];
extern const struct fl_flag_table_info fl_flag_tables[FL_FLAGS_COUNT];
extern const struct fl_dyn_table_info fl_dyn_tables[FL_DYN_COUNT];
extern const struct fl_syscall_info fl_syscalls[FL_SC_LIMIT];       /* by portable id; name is NULL in gaps */
extern const struct fl_field_info fl_fields[FL_FIELD_COUNT];
extern const uint8_t fl_type_bytes[FL_T_COUNT];
extern const char *const fl_type_names[FL_T_COUNT];

/* Hashes of the tables, compiled in and compared at load: events, flags and syscalls; fields and opcodes. */
uint64_t fl_schema_hash_events(void);
uint64_t fl_schema_hash_fields(void);

static inline int fl_event_is_exit(unsigned type) { return type & 1; }

#endif
