/* SPDX-License-Identifier: Apache-2.0
 *
 * The schema's tables as C: enumerations at compile time, and rows to read at run time. Everything is an expansion of the .def
 * files.
 */
#ifndef FL_SCHEMA_H
#define FL_SCHEMA_H

#include <stddef.h>
#include <stdint.h>

#define FL_MAX_PARAMS 32        /* parameters of a record, at most */

enum fl_type {
#define TYPE(name, id, bytes, kind) FL_T_##name = id,
#include "types.def"
#undef TYPE
    FL_T_COUNT
};

/* FL_I64 … */
enum fl_kind {
#define KIND(name) FL_##name,
#include "words.h"
};

enum fl_format {
#define FORMAT(name) FL_FMT_##name,
#include "words.h"
    FL_FMT_COUNT
};

enum fl_event_flag {
#define EVENT_FLAG(name, value) EF_##name = value,
#include "words.h"
};

enum fl_category {
#define CATEGORY(name, value) EC_##name = value,
#define CATEGORY_CLASS(name, value) EC_##name = value,
#include "words.h"
    EC_MASK = 63,               /* the category proper; the rest are classes */
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

/* FL_FLAG(file_flags, O_DIRECTORY): the value of a name in a table, checked by the compiler. */
enum {
#define F(table, name, value) FL_FLAG_##table##_##name = value,
#define F_AGAIN(table, name, value)
#define FLAG_TABLE(name, ...) __VA_ARGS__
#define DYN_TABLE(name, ...)
#include "flags.def"
#undef F
#undef F_AGAIN
#undef FLAG_TABLE
#undef DYN_TABLE
};
#define FL_FLAG(table, name) FL_FLAG_##table##_##name

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
#define TRACEPOINT(id, name, event) FL_SC_##name = id,
#include "syscalls.def"
#undef SYSCALL
#undef TRACEPOINT
};
#define FL_SC_LIMIT 512         /* every portable id is below */

enum fl_field_flag {
#define FIELD_FLAG(name, value) FF_##name = value,
#include "words.h"
};

enum fl_field_arg {
#define FIELD_ARGUMENT(name, value) ARG_##name = value,
#include "words.h"
};

enum fl_field_class {
#define FIELD_CLASS(name, heading, description) FL_CLASS_##name,
#include "words.h"
    FL_CLASS_COUNT
};

/* FL_FIELD_proc_name … */
enum fl_field_id {
#define FIELD(id, name, type, format, argument, flags, class, description) FL_FIELD_##id,
#include "fields.def"
#undef FIELD
    FL_FIELD_COUNT
};

/* FL_DOC_k8s_audit ...: sources of documents. What rules do with them stands in a program behind the event types: FL_TYPE_OF(document) */
enum fl_document_source {
#define DOCUMENT(source, plugin, plugin_id, class, guard) FL_DOC_##source,
#include "documents.h"
    FL_DOC_COUNT
};
#define FL_TYPE_OF(document) ((unsigned)FL_EV_COUNT + (document))
#define FL_TYPE_COUNT FL_TYPE_OF(FL_DOC_COUNT)

struct fl_document_info { const char *name, *plugin, *guard; uint16_t plugin_id; uint8_t class_; };

struct fl_param_info {
    const char *name;
    uint8_t type;               /* enum fl_type */
    uint8_t format;             /* enum fl_format */
    uint8_t flags;              /* enum fl_flag_table */
    uint8_t dyn;                /* enum fl_dyn_table */
    int8_t at;                  /* FSRELPATH: index of the directory descriptor's parameter; -1 = none */
    uint8_t source;             /* enum fl_source of sources.h; where the kernel side takes it from */
    uint8_t source_arg;         /* the number of its argument or FL_SRC_NO_ARG; with FL_SRC_AT_ENTRY */
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
extern const struct fl_document_info fl_documents_info[FL_DOC_COUNT];
extern const uint8_t fl_type_bytes[FL_T_COUNT];
extern const char *const fl_type_names[FL_T_COUNT];

/* Hashes of the tables, compiled in and compared at load: events, flags and syscalls; fields and opcodes. */
uint64_t fl_schema_hash_events(void);
uint64_t fl_schema_hash_fields(void);

/* Whether events of a type (users, groups, containers) continue a capture's tables where they stand before its first other event: there,
 * they are for the state alone, and rules don't see them. */
int fl_schema_opens_capture(unsigned type);

static inline int fl_event_is_exit(unsigned type) { return type & 1; }

/* Whether rules see events of a type: exits of system calls, tracepoints and meta events. */
static inline int fl_schema_rules_see(unsigned type)
{
    return fl_event_is_exit(type) || (fl_events[type].category & (EC_TRACEPOINT | EC_METAEVENT | EC_PLUGIN));
}

#endif
