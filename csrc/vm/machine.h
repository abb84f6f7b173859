/* SPDX-License-Identifier: Apache-2.0
 *
 * What a run of a program writes to, and the tests it makes. A register or an outcome is valid in the run whose number it has,
 * so that nothing is cleared between events.
 */
#ifndef FL_VM_MACHINE_H
#define FL_VM_MACHINE_H

#include <locale.h>
#include <string.h>

#include "format.h"

struct fl_register {
    struct fl_value value;      /* FL_ABSENT: filled, and there is no value */
    uint32_t run;
};

struct fl_vm {
    const struct fl_program *program;
    struct fl_register *registers;
    uint32_t *outcomes;         /* run << 1 | outcome, of gates and of tests that are remembered */
    uint32_t run;               /* 31 bits: the number of this run */
    fl_fill *fill;
    void *context;
    struct fl_scratch *scratch;
    fl_regex *regex;
    void *handle;
    int failure;                /* of a callback: the run then ends with it */
    locale_t c_locale;          /* bytes are characters, whatever the process has set */
    uint32_t *matched;          /* rules, ascending */
    uint32_t count;
    struct fl_profile *profile; /* NULL: not profiled */
    uint64_t bits[];            /* rules */
};

/* The value of a slot, filled at most once a run; its kind is the slot's, FL_LIST or FL_ABSENT. */
const struct fl_value *fl_vm_fill(struct fl_vm *vm, uint32_t slot);

static inline const struct fl_value *fl_vm_register(struct fl_vm *vm, uint32_t slot)
{
    return vm->registers[slot].run == vm->run ? &vm->registers[slot].value : fl_vm_fill(vm, slot);
}

/* A transformer's value, not yet of the slot's kind for certain; false = absent. */
bool fl_vm_transform(struct fl_vm *vm, const struct fl_slot *slot, struct fl_value *out);

/* Makes a value one of the kind, where they differ in name only; false if it is of another kind. */
bool fl_vm_settle(struct fl_value *v, uint8_t kind);

/* One comparison of one value, which has the kind that the opcode tests, with a constant; or with what is prepared in a list. */
bool fl_compare(struct fl_vm *vm, uint8_t op, const struct fl_value *v, const struct fl_constant *c);
bool fl_compare_list(struct fl_vm *vm, uint8_t op, const struct fl_value *v, const struct fl_list *list);
bool fl_compare_pattern(struct fl_vm *vm, const struct fl_value *v, uint32_t pattern);

/* A test made of several comparisons (FLAG_EACH). */
bool fl_test_each(struct fl_vm *vm, const struct fl_instr *in, const struct fl_value *v);

/* fnmatch(3) without flags; bytes are characters. The pattern ends with a NUL. */
bool fl_glob(struct fl_vm *vm, const char *pattern, const char *text, uint32_t len, bool fold);

static inline bool fl_text_is(const struct fl_value *v, const struct fl_constant *c)
{
    return v->len == c->len && (!v->str || v->str->hash == c->hash) && memcmp(v->s, c->s, c->len) == 0;
}

static inline bool fl_text_begins(const struct fl_value *v, const struct fl_constant *c)
{
    return v->len >= c->len && memcmp(v->s, c->s, c->len) == 0;
}

static inline bool fl_text_in(const struct fl_value *v, const struct fl_set *set)
{
    return fl_set_has_length(set, v->len) && fl_set_has(set, v->s, v->len, v->str ? v->str->hash : fl_hash(v->s, v->len));
}

#endif
