/* SPDX-License-Identifier: Apache-2.0
 *
 * Programs and the machine that runs them. A program is bytes that Python's compiler emits; it is verified once, and then
 * immutable and shared. A machine (fl_vm) is one engine's copy of what a run writes to: registers, decided tests.
 */
#ifndef FL_PROGRAM_H
#define FL_PROGRAM_H

#include "../base/error.h"
#include "../base/scratch.h"
#include "../fields/field.h"

struct fl_program;

/* What a register is filled from. */
struct fl_slot {
    uint8_t kind;               /* enum fl_kind of its values (of the elements, for lists and ANY slots) */
    uint8_t transform;          /* 0: a field; else a transformer of ops.def */
    uint16_t field;             /* enum fl_field_id */
    struct fl_field_argument argument;
    uint16_t flags;             /* FF_LIST, FF_ANY (only without an argument), FF_EITHER */
    uint32_t first_input, inputs;       /* of a transformer: rows of the program's table */
};

struct fl_program *fl_program_new(const void *bytes, size_t len, struct fl_error *error);      /* verifies; copies the bytes */
void fl_program_delete(struct fl_program *program);
uint32_t fl_program_slots(const struct fl_program *program);
const struct fl_slot *fl_program_slot(const struct fl_program *program, uint32_t slot);
/* The slots captured for an alert of a rule. */
const uint16_t *fl_program_outputs(const struct fl_program *program, uint32_t rule, uint32_t *count);
/* Whether anything is to be run for events of a type. */
bool fl_program_wants(const struct fl_program *program, unsigned type);

typedef int fl_regex(void *handle, uint32_t pattern, const char *subject, size_t len);

/* Fills the register of a field slot (never of a transformer); false = absent. An empty text is no NULL pointer. */
typedef bool fl_fill(void *context, uint32_t slot, const struct fl_slot *row, struct fl_value *out);

struct fl_vm;

/* How often something was done, how often the outcome was true (of a register: there was a value), and what it took: ticks of fl_ticks. */
struct fl_cost {
    uint64_t runs, trues, ticks;
};

struct fl_profile {
    struct fl_cost all;         /* runs of the program, on an event each */
    struct fl_cost *code;       /* by instruction, without the registers that were filled for it; with the gate that it entered */
    struct fl_cost *slots;      /* by register, with those that a transformer reads */
    struct fl_cost costs[];     /* both, one after the other */
};

struct fl_vm *fl_vm_new(const struct fl_program *program, fl_regex *regex, void *handle, struct fl_error *error);
void fl_vm_free(struct fl_vm *vm);

/* Runs the program of an event type. Returns how many rules' predicates are true (0 most of the time), or a negative fl_code.
 * Which ones: fl_vm_true, ascending. Registers stay as they are until the next run. */
int fl_vm_run(struct fl_vm *vm, unsigned type, fl_fill *fill, void *context, struct fl_scratch *scratch, struct fl_error *error);
const uint32_t *fl_vm_true(const struct fl_vm *vm, uint32_t *count);
/* Begins to note what instructions and registers cost, or stops and forgets it. */
int fl_vm_profile(struct fl_vm *vm, bool on);
/* What was noted, and how many costs: of all instructions, then of all registers; NULL if it isn't profiled. */
const struct fl_profile *fl_vm_profiled(const struct fl_vm *vm, size_t *costs);
/* The value of a slot, filled now if the run didn't need it. */
const struct fl_value *fl_vm_value(struct fl_vm *vm, uint32_t slot);

#endif
