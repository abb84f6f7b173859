/* SPDX-License-Identifier: Apache-2.0
 *
 * The tables, expanded, and the functions by which Python reads them.
 */
#include "schema.h"

#include <string.h>

#include "../falcolib.h"
#include "sources.h"

/* ---- types ---- */

const uint8_t fl_type_bytes[FL_T_COUNT] = {
#define TYPE(name, id, bytes, kind) [id] = bytes,
#include "types.def"
#undef TYPE
};

const char *const fl_type_names[FL_T_COUNT] = {
#define TYPE(name, id, bytes, kind) [id] = #name,
#include "types.def"
#undef TYPE
};

static const char *const kind_names[FL_T_COUNT] = {
#define TYPE(name, id, bytes, kind) [id] = #kind,
#include "types.def"
#undef TYPE
};

/* ---- flags ---- */

#define F(table, name, value) {#name, value},
#define F_AGAIN F
#define FLAG_TABLE(name, entries) static const struct fl_flag flags_##name[] = {entries};
#define DYN_TABLE(name, entries)
#include "flags.def"
#undef FLAG_TABLE
#undef DYN_TABLE
#undef F
#undef F_AGAIN

#define D(type, format) {FL_T_##type, FL_FMT_##format},
#define FLAG_TABLE(name, entries)
#define DYN_TABLE(name, entries) static const struct fl_dyn_type dyn_##name[] = {entries};
#include "flags.def"
#undef FLAG_TABLE
#undef DYN_TABLE
#undef D

#define ROWS(table) (sizeof(table) / sizeof((table)[0]))

const struct fl_flag_table_info fl_flag_tables[FL_FLAGS_COUNT] = {
#define FLAG_TABLE(name, ...) [FL_FLAGS_##name] = {#name, ROWS(flags_##name), flags_##name},
#define DYN_TABLE(name, ...)
#include "flags.def"
#undef FLAG_TABLE
#undef DYN_TABLE
};

const struct fl_dyn_table_info fl_dyn_tables[FL_DYN_COUNT] = {
#define FLAG_TABLE(name, ...)
#define DYN_TABLE(name, ...) [FL_DYN_##name] = {#name, ROWS(dyn_##name), dyn_##name},
#include "flags.def"
#undef FLAG_TABLE
#undef DYN_TABLE
};

_Static_assert(FL_FLAGS_COUNT <= 256 && FL_DYN_COUNT <= 256, "fl_param_info keeps the number of a table in a byte");

/* ---- events ---- */

/* Flag table, dynamic table and directory descriptor of a P's info. */
#define FL_INFO_NONE FL_FLAGS_NONE, FL_DYN_NONE, -1
#define FL_INFO_FLAGS(table) FL_FLAGS_##table, FL_DYN_NONE, -1
#define FL_INFO_DYN(table) FL_FLAGS_NONE, FL_DYN_##table, -1
#define FL_INFO_AT(param) FL_FLAGS_NONE, FL_DYN_NONE, param

#define P(name, type, format, info, source) {#name, FL_T_##type, FL_FMT_##format, FL_INFO_##info, FL_SOURCE_##source},
#define EVENT(code, id, name, category, flags, ...) static const struct fl_param_info params_##code[] = {__VA_ARGS__};
#include "events.def"
#undef EVENT
#undef P

const struct fl_event_info fl_events[FL_EV_COUNT] = {
#define EVENT(code, id, name, category, flags, ...) [id] = {#code, name, category, flags, ROWS(params_##code), params_##code},
#include "events.def"
#undef EVENT
};

#define EVENT(code, id, name, category, flags, ...) \
    _Static_assert(ROWS(params_##code) <= FL_MAX_PARAMS, #code " has too many parameters");
#include "events.def"
#undef EVENT

/* Ids are given in order and without gaps: an event that is only counted has the number it is given. */
enum {
#define EVENT(code, id, name, category, flags, ...) EVENT_ORDER_##code,
#include "events.def"
#undef EVENT
    EVENT_ORDER_COUNT
};
#define EVENT(code, id, name, category, flags, ...) _Static_assert(EVENT_ORDER_##code == id, #code " is out of order");
#include "events.def"
#undef EVENT

_Static_assert(FL_SRC_COUNT <= 256, "fl_param_info keeps the source in a byte");

int fl_schema_opens_capture(unsigned type)
{
    switch (type) {
    case FL_EV_USER_ADDED_E: case FL_EV_USER_DELETED_E: case FL_EV_GROUP_ADDED_E: case FL_EV_GROUP_DELETED_E: case FL_EV_CONTAINER_JSON_2_E:
        return 1;
    default:
        return 0;
    }
}

/* ---- system calls ---- */

enum keep { NEVER_DROP, ALWAYS_DROP, MAY_DROP };
static const char *const keep_names[] = {"NEVER_DROP", "ALWAYS_DROP", "MAY_DROP"};

const struct fl_syscall_info fl_syscalls[FL_SC_LIMIT] = {
#define SYSCALL(id, name, x86_64, aarch64, event, keep) [id] = {#name, x86_64, aarch64, FL_EV_##event, keep},
#define TRACEPOINT(id, name, event) [id] = {#name, -1, -1, FL_EV_##event, NEVER_DROP},
#include "syscalls.def"
#undef SYSCALL
#undef TRACEPOINT
};

/* ---- fields ---- */

const struct fl_field_info fl_fields[FL_FIELD_COUNT] = {
#define FIELD(id, name, type, format, argument, flags, class, description) \
    {#id, name, description, FL_T_##type, FL_FMT_##format, argument, FL_CLASS_##class, flags},
#include "fields.def"
#undef FIELD
};

/* ---- documents ---- */

const struct fl_document_info fl_documents_info[FL_DOC_COUNT] = {
#define DOCUMENT(source, plugin, plugin_id, class, guard) [FL_DOC_##source] = {#source, plugin, guard, plugin_id, FL_CLASS_##class},
#include "documents.h"
};

/* Every word of the table, for the hash: a program is compiled for the places that it tells. */
static const char *const document_words[] = {
#define DOCUMENT(source, plugin, plugin_id, class, guard) #source, plugin, #class, guard,
#define KIND(source, pointer, kind) #source, pointer, kind,
#define ITEMS(source, pointer) #source, pointer,
#define TIME(source, pointer) #source, pointer,
#define BODY(source, pointer) #source, pointer,
#define POINT(field, form, pointer, rest, extra) #field, #form, pointer, rest, extra,
#include "documents.h"
};

/* ---- the words and the opcodes, for Python ---- */

static const fl_word_row words[] = {
#define KIND(name) {"KIND", #name, FL_##name},
#define FORMAT(name) {"FORMAT", #name, FL_FMT_##name},
#define EVENT_FLAG(name, value) {"EVENT_FLAG", #name, value},
#define CATEGORY(name, value) {"CATEGORY", #name, value},
#define CATEGORY_CLASS(name, value) {"CATEGORY_CLASS", #name, value},
#define FIELD_FLAG(name, value) {"FIELD_FLAG", #name, value},
#define FIELD_ARGUMENT(name, value) {"FIELD_ARGUMENT", #name, value},
#define STATE_CALL(name) {"STATE_CALL", #name, FL_SC_##name},
#define LEAST_CALL(name) {"LEAST_CALL", #name, FL_SC_##name},
#define LOSSES(group, name) {"LOSSES", #group, FL_SC_##name},
#define OPEN_FLAGS(event) {"OPEN_FLAGS", #event, FL_EV_##event},
#define OPEN_MODE(event) {"OPEN_MODE", #event, FL_EV_##event},
#include "words.h"
};

static const char *const format_names[FL_FMT_COUNT] = {
#define FORMAT(name) #name,
#include "words.h"
};

static const fl_class_row classes[FL_CLASS_COUNT] = {
#define FIELD_CLASS(name, heading, description) {#name, heading, description},
#include "words.h"
};

/* The sources of an event's parameters as they are written. */
#define P(name, type, format, info, source) #source,
#define EVENT(code, id, name, category, flags, ...) static const char *const sources_##code[] = {__VA_ARGS__};
#include "events.def"
#undef EVENT
#undef P

static const char *const *const sources[FL_EV_COUNT] = {
#define EVENT(code, id, name, category, flags, ...) [id] = sources_##code,
#include "events.def"
#undef EVENT
};

static const struct { const char *mnemonic, *operands; } ops[] = {
#define OP(name, mnemonic, ...) {mnemonic, #__VA_ARGS__},
#include "ops.def"
#undef OP
    {NULL, NULL},
};


/* ---- rows ---- */

unsigned fl_schema_events(void) { return FL_EV_COUNT; }

int fl_schema_event(unsigned id, fl_event_row *row)
{
    if (id >= FL_EV_COUNT)
        return -1;
    const struct fl_event_info *event = &fl_events[id];
    *row = (fl_event_row){(int)id, event->code, event->name, event->category, event->flags, event->nparams,
                          fl_schema_rules_see(id)};
    return 0;
}

int fl_schema_param(unsigned id, unsigned param, fl_param_row *row)
{
    if (id >= FL_EV_COUNT || param >= fl_events[id].nparams)
        return -1;
    const struct fl_param_info *p = &fl_events[id].params[param];
    *row = (fl_param_row){
        .name = p->name,
        .type = fl_type_names[p->type],
        .format = format_names[p->format],
        .table = p->flags ? fl_flag_tables[p->flags].name : p->dyn ? fl_dyn_tables[p->dyn].name : NULL,
        .at = p->at,
        .source = sources[id][param],
    };
    return 0;
}

/* Whether a field is in a large part of its document (BODY), which costs a pass to look into. */
static int is_in_body(unsigned id)
{
    static const char *const bodies[] = {
#define BODY(source, pointer) pointer,
#include "documents.h"
    };
    const char *pointer = NULL;
#define POINT(field, form, where, rest, extra) if (id == FL_FIELD_##field) pointer = where;
#include "documents.h"
    for (unsigned i = 0; pointer && i < ROWS(bodies); i++)
        if (!strncmp(pointer, bodies[i], strlen(bodies[i])))
            return 1;
    return 0;
}

unsigned fl_schema_fields(void) { return FL_FIELD_COUNT; }

int fl_schema_field(unsigned id, fl_field_row *row)
{
    if (id >= FL_FIELD_COUNT)
        return -1;
    const struct fl_field_info *f = &fl_fields[id];
    *row = (fl_field_row){f->name, f->description, fl_type_names[f->type], format_names[f->format], classes[f->class_].name,
                          f->argument, f->flags, is_in_body(id)};
    return 0;
}

unsigned fl_schema_documents(void) { return FL_DOC_COUNT; }

int fl_schema_document(unsigned i, fl_document_row *row)
{
    if (i >= FL_DOC_COUNT)
        return -1;
    const struct fl_document_info *d = &fl_documents_info[i];
    *row = (fl_document_row){d->name, d->plugin, classes[d->class_].name, (int)FL_TYPE_OF(i)};
    return 0;
}

unsigned fl_schema_syscalls(void) { return FL_SC_LIMIT; }

int fl_schema_syscall(unsigned id, fl_syscall_row *row)
{
    if (id >= FL_SC_LIMIT || !fl_syscalls[id].name)
        return -1;
    const struct fl_syscall_info *s = &fl_syscalls[id];
    *row = (fl_syscall_row){(int)id, s->name, s->x86_64, s->aarch64, s->event, keep_names[s->keep]};
    return 0;
}

unsigned fl_schema_types(void) { return FL_T_COUNT; }

int fl_schema_type(unsigned id, fl_type_row *row)
{
    if (id >= FL_T_COUNT)
        return -1;
    *row = (fl_type_row){fl_type_names[id], kind_names[id], fl_type_bytes[id]};
    return 0;
}

unsigned fl_schema_tables(void) { return FL_FLAGS_COUNT; }

const char *fl_schema_table(unsigned table, unsigned *count)
{
    *count = table < FL_FLAGS_COUNT ? fl_flag_tables[table].count : 0;
    return table < FL_FLAGS_COUNT ? fl_flag_tables[table].name : NULL;
}

int fl_schema_flag(unsigned table, unsigned entry, const char **name, uint32_t *value)
{
    if (table >= FL_FLAGS_COUNT || entry >= fl_flag_tables[table].count)
        return -1;
    *name = fl_flag_tables[table].flags[entry].name;
    *value = fl_flag_tables[table].flags[entry].value;
    return 0;
}

unsigned fl_schema_ops(void) { return ROWS(ops) - 1; }

const char *fl_schema_op(unsigned op, const char **operands)
{
    if (op >= fl_schema_ops())
        return NULL;
    *operands = ops[op].operands;
    return ops[op].mnemonic;
}

unsigned fl_schema_words(void) { return ROWS(words); }

int fl_schema_word(unsigned i, fl_word_row *row)
{
    if (i >= ROWS(words))
        return -1;
    *row = words[i];
    return 0;
}

unsigned fl_schema_classes(void) { return FL_CLASS_COUNT; }

int fl_schema_class(unsigned i, fl_class_row *row)
{
    if (i >= FL_CLASS_COUNT)
        return -1;
    *row = classes[i];
    return 0;
}

/* ---- hashes: FNV-1a of 64 bits, over every word and number in the order of the tables ---- */

static uint64_t mix_bytes(uint64_t hash, const void *bytes, size_t len)
{
    for (const unsigned char *p = bytes; len; p++, len--)
        hash = (hash ^ *p) * 0x100000001b3u;
    return hash;
}

/* With its NUL, so that neighbours can't trade characters. */
static uint64_t mix_text(uint64_t hash, const char *text)
{
    return text ? mix_bytes(hash, text, strlen(text) + 1) : mix_bytes(hash, "\377", 1);
}

static uint64_t mix_number(uint64_t hash, uint64_t number)
{
    return mix_bytes(hash, &number, sizeof(number));
}

static uint64_t mix_types(void)
{
    uint64_t hash = 0xcbf29ce484222325u;
    for (unsigned i = 0; i < FL_T_COUNT; i++)
        hash = mix_text(mix_number(mix_text(hash, fl_type_names[i]), fl_type_bytes[i]), kind_names[i]);
    return hash;
}

uint64_t fl_schema_hash_events(void)
{
    uint64_t hash = mix_types();
    for (unsigned i = 0; i < FL_EV_COUNT; i++) {
        const struct fl_event_info *event = &fl_events[i];
        hash = mix_text(mix_text(hash, event->code), event->name);
        hash = mix_number(mix_number(mix_number(hash, event->category), event->flags), event->nparams);
        for (unsigned j = 0; j < event->nparams; j++) {
            const struct fl_param_info *p = &event->params[j];
            hash = mix_number(mix_number(mix_text(hash, p->name), p->type), p->format);
            hash = mix_number(mix_number(mix_number(hash, p->flags), p->dyn), (uint64_t)p->at);
            hash = mix_text(hash, sources[i][j]);
        }
    }
    for (unsigned i = 1; i < FL_FLAGS_COUNT; i++) {
        const struct fl_flag_table_info *table = &fl_flag_tables[i];
        hash = mix_number(mix_text(hash, table->name), table->count);
        for (unsigned j = 0; j < table->count; j++)
            hash = mix_number(mix_text(hash, table->flags[j].name), table->flags[j].value);
    }
    for (unsigned i = 1; i < FL_DYN_COUNT; i++) {
        const struct fl_dyn_table_info *table = &fl_dyn_tables[i];
        hash = mix_number(mix_text(hash, table->name), table->count);
        for (unsigned j = 0; j < table->count; j++)
            hash = mix_number(mix_number(hash, table->types[j].type), table->types[j].format);
    }
    for (unsigned i = 0; i < FL_SC_LIMIT; i++) {
        const struct fl_syscall_info *s = &fl_syscalls[i];
        if (s->name) {
            hash = mix_number(mix_text(hash, s->name), i);
            hash = mix_number(mix_number(hash, (uint64_t)s->x86_64), (uint64_t)s->aarch64);
            hash = mix_number(mix_number(hash, s->event), s->keep);
        }
    }
    return hash;
}

uint64_t fl_schema_hash_fields(void)
{
    uint64_t hash = mix_types();
    for (unsigned i = 0; i < FL_FIELD_COUNT; i++) {
        const struct fl_field_info *f = &fl_fields[i];
        hash = mix_number(mix_number(mix_text(hash, f->name), f->type), f->format);
        hash = mix_number(mix_number(mix_number(hash, f->argument), f->class_), f->flags);
    }
    for (unsigned i = 0; i < ROWS(document_words); i++)
        hash = mix_text(hash, document_words[i]);
    for (unsigned i = 0; i < fl_schema_ops(); i++)
        hash = mix_text(mix_text(hash, ops[i].mnemonic), ops[i].operands);
    return hash;
}
