/* SPDX-License-Identifier: Apache-2.0 */
#include <stdlib.h>
#include <string.h>

#include "format.h"
#include "paths.h"

static const uint8_t row_size[TABLE_COUNT] = {
    [TABLE_VALUES] = sizeof(struct fl_value_row),
    [TABLE_LISTS] = sizeof(struct fl_list_row),
    [TABLE_INPUTS] = sizeof(struct fl_input_row),
    [TABLE_SLOTS] = sizeof(struct fl_slot_row),
    [TABLE_CODE] = sizeof(struct fl_instr),
    [TABLE_GATES] = sizeof(struct fl_range_row),
    [TABLE_SECTIONS] = sizeof(struct fl_range_row),
    [TABLE_TYPES] = sizeof(uint16_t),
    [TABLE_RULES] = sizeof(struct fl_rule_row),
    [TABLE_OUTPUTS] = sizeof(uint16_t),
    [TABLE_TEXT] = 1,
};

/* Finds the tables in the bytes. */
static int lay_out(struct fl_program *p, size_t len, struct fl_error *error)
{
    struct fl_program_header header;
    const char *table[TABLE_COUNT];
    uint64_t at = sizeof header;

    if (len < sizeof header)
        return fl_fail(error, FL_ERR_PROGRAM, "%zu bytes are no program", len);
    memcpy(&header, p->bytes, sizeof header);
    if (memcmp(header.magic, FL_PROGRAM_MAGIC, sizeof header.magic) || header.version != FL_PROGRAM_VERSION)
        return fl_fail(error, FL_ERR_PROGRAM, "no program of version %u", FL_PROGRAM_VERSION);
    if (header.hash_events != fl_schema_hash_events() || header.hash_fields != fl_schema_hash_fields())
        return fl_fail(error, FL_ERR_PROGRAM, "the program was compiled for another schema of events or fields: compile it again");
    for (unsigned i = 0; i < TABLE_COUNT; i++) {
        table[i] = p->bytes + at;
        at += ((uint64_t)header.rows[i] * row_size[i] + 7) & ~7ull;
        if (at > len)
            return fl_fail(error, FL_ERR_PROGRAM, "table %u ends behind the program's %zu bytes", i, len);
    }
    if (at != len || header.size != len)
        return fl_fail(error, FL_ERR_PROGRAM, "%zu bytes instead of %u", len, header.size);
    if (header.rows[TABLE_SLOTS] > UINT16_MAX || header.rows[TABLE_RULES] > INT32_MAX)
        return fl_fail(error, FL_ERR_PROGRAM, "more slots or rules than a program can have");
    memcpy(p->rows, header.rows, sizeof p->rows);
    p->value_rows = (const void *)table[TABLE_VALUES];
    p->list_rows = (const void *)table[TABLE_LISTS];
    p->inputs = (const void *)table[TABLE_INPUTS];
    p->slot_rows = (const void *)table[TABLE_SLOTS];
    p->code = (const void *)table[TABLE_CODE];
    p->gates = (const void *)table[TABLE_GATES];
    p->sections = (const void *)table[TABLE_SECTIONS];
    p->types = (const void *)table[TABLE_TYPES];
    p->rules = (const void *)table[TABLE_RULES];
    p->outputs = (const void *)table[TABLE_OUTPUTS];
    p->text = table[TABLE_TEXT];
    return FL_OK;
}

static int by_number(const void *a, const void *b)
{
    uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;

    return (x > y) - (x < y);
}

/* Prepares a list as its tests want it; -1 when memory is out. */
static int make_list(struct fl_list *l)
{
    bool numbers = l->count && (1u << l->kind & KINDS_NUMBER);

    switch (l->form) {
    case LIST_SET:
        l->made = numbers ? malloc(l->count * sizeof *l->numbers) : (void *)fl_set_new(l->count);
        break;
    case LIST_PREFIXES: case LIST_SUFFIXES:
        l->trie = fl_trie_new();
        break;
    case LIST_PATHS:
        l->paths = fl_paths_new(l->values, l->count);
        break;
    default:
        return 0;
    }
    if (!l->made)
        return -1;
    for (uint32_t i = 0; i < l->count; i++) {
        const struct fl_constant *c = &l->values[i];
        if (l->form == LIST_SET && numbers)
            l->numbers[i] = c->u;
        else if (l->form == LIST_SET)
            fl_set_add(l->set, c->s, c->len);
        else if (l->form == LIST_PREFIXES && fl_trie_add(l->trie, c->s, c->len))
            return -1;
        else if (l->form == LIST_SUFFIXES && fl_trie_add_reversed(l->trie, c->s, c->len))
            return -1;
    }
    if (l->form == LIST_SET && numbers)
        qsort(l->numbers, l->count, sizeof *l->numbers, by_number);
    return 0;
}

static void free_list(struct fl_list *l)
{
    if (l->form == LIST_SET && l->count && (1u << l->kind & KINDS_NUMBER))
        free(l->numbers);
    else if (l->form == LIST_SET)
        fl_set_free(l->set);
    else if (l->form == LIST_PREFIXES || l->form == LIST_SUFFIXES)
        fl_trie_free(l->trie);
    else if (l->form == LIST_PATHS)
        fl_paths_free(l->paths);
}

/* Where the byte is that is least common in paths and command lines. */
static uint8_t rarest(const char *s, uint32_t len)
{
    static const char common[] = "/etaisnorlcdupmhb.-_g v0123";     /* most common first */
    size_t best = sizeof common;
    uint8_t at = 0;

    for (uint32_t i = 0; i < len && i < FL_RARE_LEN; i++) {
        const char *found = memchr(common, s[i], sizeof common - 1);
        size_t commonness = found ? sizeof common - (size_t)(found - common) : 0;
        if (commonness < best) {
            best = commonness;
            at = (uint8_t)i;
        }
    }
    return at;
}

/* The rows of a verified program as the machine reads them. */
static int make(struct fl_program *p)
{
    uint32_t values = p->rows[TABLE_VALUES], lists = p->rows[TABLE_LISTS], slots = p->rows[TABLE_SLOTS];

    p->constants = calloc((size_t)values + 1, sizeof *p->constants);
    p->lists = calloc((size_t)lists + 1, sizeof *p->lists);
    p->slots = calloc((size_t)slots + 1, sizeof *p->slots);
    if (!p->constants || !p->lists || !p->slots)
        return -1;
    for (uint32_t i = 0; i < values; i++) {
        const struct fl_value_row *row = &p->value_rows[i];
        struct fl_constant *c = &p->constants[i];
        c->kind = row->kind;
        if (row->kind < FL_STR) {
            c->u = row->value;
        } else {
            c->s = p->text + row->value;
            c->len = row->len;
            c->hash = fl_hash(c->s, c->len);
            c->rare = rarest(c->s, c->len);
        }
    }
    for (uint32_t i = 0; i < slots; i++) {
        const struct fl_slot_row *row = &p->slot_rows[i];
        p->slots[i] = (struct fl_slot){
            .kind = row->kind, .transform = row->transform, .field = row->field, .flags = row->flags,
            .argument = {row->has_index, row->has_key, row->index, p->text + row->key, row->key_len},
            .first_input = row->first_input, .inputs = row->inputs,
        };
    }
    for (uint32_t i = 0; i < lists; i++) {
        const struct fl_list_row *row = &p->list_rows[i];
        p->lists[i] = (struct fl_list){
            .values = p->constants + row->first, .count = row->count, .form = row->form,
            .kind = row->count ? p->constants[row->first].kind : 0,
        };
        if (make_list(&p->lists[i]))
            return -1;
    }
    return 0;
}

struct fl_program *fl_program_new(const void *bytes, size_t len, struct fl_error *error)
{
    struct fl_program *p = calloc(1, sizeof *p);

    if (p)
        p->bytes = malloc(len + 1);
    if (!p || !p->bytes) {
        fl_fail(error, FL_ERR_MEMORY, "out of memory");
        free(p);
        return NULL;
    }
    memcpy(p->bytes, bytes, len);
    if (lay_out(p, len, error) || fl_program_verify(p, error)) {
        free(p->bytes);
        free(p);
        return NULL;
    }
    if (make(p)) {
        fl_fail(error, FL_ERR_MEMORY, "out of memory");
        fl_program_delete(p);
        return NULL;
    }
    return p;
}

void fl_program_delete(struct fl_program *p)
{
    if (!p)
        return;
    for (uint32_t i = 0; p->lists && i < p->rows[TABLE_LISTS]; i++)
        free_list(&p->lists[i]);
    free(p->lists);
    free(p->constants);
    free(p->slots);
    free(p->bytes);
    free(p);
}

uint32_t fl_program_slots(const struct fl_program *p) { return p->rows[TABLE_SLOTS]; }
const struct fl_slot *fl_program_slot(const struct fl_program *p, uint32_t slot) { return &p->slots[slot]; }

const uint16_t *fl_program_outputs(const struct fl_program *p, uint32_t rule, uint32_t *count)
{
    *count = p->rules[rule].count;
    return p->outputs + p->rules[rule].first;
}

bool fl_program_wants(const struct fl_program *p, unsigned type) { return type < FL_TYPE_COUNT && p->types[type]; }
