/* SPDX-License-Identifier: Apache-2.0 */
#include <stdlib.h>
#include <string.h>

#include "../base/ticks.h"
#include "machine.h"

#define RUNS_MAX 0x7fffffffu

struct fl_vm *fl_vm_new(const struct fl_program *program, fl_regex *regex, void *handle, struct fl_error *error)
{
    size_t rules = program->rows[TABLE_RULES], slots = program->rows[TABLE_SLOTS], outcomes = program->rows[TABLE_MEMOS];
    struct fl_vm *vm = calloc(1, sizeof *vm + (rules + 63) / 64 * sizeof vm->bits[0]);

    if (vm) {
        vm->program = program;
        vm->regex = regex;
        vm->handle = handle;
        vm->registers = calloc(slots + 1, sizeof *vm->registers);
        vm->outcomes = calloc(outcomes + 1, sizeof *vm->outcomes);
        vm->matched = calloc(rules + 1, sizeof *vm->matched);
        vm->c_locale = newlocale(LC_ALL_MASK, "C", (locale_t)0);
        if (vm->registers && vm->outcomes && vm->matched && vm->c_locale)
            return vm;
    }
    fl_vm_free(vm);
    fl_fail(error, FL_ERR_MEMORY, "out of memory");
    return NULL;
}

void fl_vm_free(struct fl_vm *vm)
{
    if (!vm)
        return;
    if (vm->c_locale)
        freelocale(vm->c_locale);
    free(vm->profile);          /* not by fl_vm_profile: the program may be gone before */
    free(vm->registers);
    free(vm->outcomes);
    free(vm->matched);
    free(vm);
}

/* ---- registers ---- */

bool fl_vm_settle(struct fl_value *v, uint8_t kind)
{
    static const uint16_t same[FL_LIST + 1] = {
        [FL_BOOL] = KINDS_NUMBER, [FL_I64] = KINDS_NUMBER, [FL_U64] = KINDS_NUMBER, [FL_F64] = KINDS_F64,
        [FL_STR] = KINDS_TEXT, [FL_BYTES] = KINDS_TEXT, [FL_IP] = 1 << FL_IP | KINDS_NET, [FL_NET] = 1 << FL_IP | KINDS_NET,
    };
    if (v->kind > FL_LIST || !(1u << v->kind & same[kind]))
        return false;
    if (v->kind < FL_STR) {
        v->len = 0;
        v->str = NULL;
    }
    v->kind = kind;
    return true;
}

const struct fl_value *fl_vm_fill(struct fl_vm *vm, uint32_t slot)
{
    const struct fl_slot *s = &vm->program->slots[slot];
    struct fl_register *r = &vm->registers[slot];
    struct fl_value *v = &r->value;

    if (!(s->transform ? fl_vm_transform(vm, s, v) : vm->fill(vm->context, slot, s, v)))
        v->kind = FL_ABSENT;
    else if (v->kind == FL_LIST ? !(s->flags & (FF_LIST | FF_ANY | FF_EITHER))
                                : !(v->kind == s->kind && v->kind >= FL_STR) && !fl_vm_settle(v, s->kind))
        v->kind = FL_ABSENT;
    r->run = vm->run;
    return v;
}

const struct fl_value *fl_vm_value(struct fl_vm *vm, uint32_t slot) { return fl_vm_register(vm, slot); }

/* ---- the run ---- */

static void begin(struct fl_vm *vm, fl_fill *fill, void *context, struct fl_scratch *scratch)
{
    vm->fill = fill;
    vm->context = context;
    vm->scratch = scratch;
    vm->failure = FL_OK;
    vm->count = 0;
    if (vm->run++ < RUNS_MAX)
        return;
    /* The numbers are used up: once in two thousand million events. */
    memset(vm->registers, 0, vm->program->rows[TABLE_SLOTS] * sizeof *vm->registers);
    memset(vm->outcomes, 0, vm->program->rows[TABLE_MEMOS] * sizeof *vm->outcomes);
    vm->run = 1;
}

/* The rules whose bits are set, in order; clears them. */
static int collect(struct fl_vm *vm)
{
    for (uint32_t word = 0; word < (vm->program->rows[TABLE_RULES] + 63) / 64; word++) {
        for (uint64_t bits = vm->bits[word]; bits; bits &= bits - 1)
            vm->matched[vm->count++] = word * 64 + (uint32_t)__builtin_ctzll(bits);
        vm->bits[word] = 0;
    }
    return (int)vm->count;
}

/* A test that isn't made in the loop itself. Its outcome may be remembered. */
static bool test(struct fl_vm *vm, const struct fl_instr *in)
{
    const struct fl_program *p = vm->program;
    uint32_t *remembered = in->memo ? &vm->outcomes[in->memo - 1] : NULL;
    bool outcome;

    if (remembered && *remembered >> 1 == vm->run)
        return *remembered & 1;
    const struct fl_value *v = fl_vm_register(vm, in->slot);
    if (v->kind == FL_ABSENT) {
        outcome = false;
    } else if (in->flags & FLAG_EACH) {
        outcome = fl_test_each(vm, in, v);
    } else {
        switch (fl_ops[in->op].operand) {
        case OPERAND_NONE:                  /* exists */
            outcome = true;
            break;
        case OPERAND_VALUE:
            outcome = fl_compare(vm, in->op, v, &p->constants[in->operand]);
            break;
        case OPERAND_PATTERN:
            outcome = fl_compare_pattern(vm, v, in->operand);
            break;
        default:
            outcome = fl_compare_list(vm, in->op, v, &p->lists[in->operand]);
        }
    }
    if (remembered)
        *remembered = vm->run << 1 | outcome;
    return outcome;
}

/* The tests that rules are full of, made without a call. They are cheaper than remembering. */
#define TEST(name, holds)                                           \
    case OP_##name:                                                 \
        if (in->flags & FLAG_EACH) {                                \
            outcome = test(vm, in);                                 \
        } else {                                                    \
            const struct fl_value *v = fl_vm_register(vm, in->slot); \
            outcome = v->kind != FL_ABSENT && (holds);              \
        }                                                           \
        break;

/* Longer than anything that is measured takes, ticks: the processor was given to another process meanwhile. */
#define ELSEWHERE (1u << 20)

/* What was begun at a time has taken; 0 if that can't be told. */
static uint64_t ticks_since(uint64_t began)
{
    uint64_t took = fl_ticks() - began;
    return took < ELSEWHERE ? took : 0;
}

/* Fills the register that a test is about to read, and notes what that costs: the register, not the gates that were entered. */
static void fill_profiled(struct fl_vm *vm, const struct fl_instr *in, uint64_t *entered, uint32_t depth)
{
    if (!fl_ops[in->op].kinds || vm->registers[in->slot].run == vm->run || (in->memo && vm->outcomes[in->memo - 1] >> 1 == vm->run))
        return;
    struct fl_cost *cost = &vm->profile->slots[in->slot];
    uint64_t began = fl_ticks();
    cost->trues += fl_vm_fill(vm, in->slot)->kind != FL_ABSENT;
    uint64_t took = ticks_since(began);
    cost->ticks += took;
    cost->runs++;
    while (depth)
        entered[--depth] += took;
}

/* Runs a section; whether a rule is true. A gate is left to where it was entered, which depth and returns tell. With `profiling`, a
 * constant, each instruction's runs, true outcomes and ticks are noted, those of a gate at the instruction that entered it. */
static inline __attribute__((always_inline)) bool walk(struct fl_vm *vm, uint32_t pc, const bool profiling)
{
    const struct fl_program *p = vm->program;
    const struct fl_constant *constants = p->constants;
    const struct fl_instr *const code = p->code, *in = code + pc, *returns[FL_GATE_DEPTH];
    uint32_t depth = 0;
    uint64_t entered[FL_GATE_DEPTH], began = 0;
    bool any = false, outcome;

    for (;;) {
        if (profiling) {
            fill_profiled(vm, in, entered, depth);
            began = fl_ticks();
        }
        switch (in->op) {
        case OP_STOP:
            return any;
        case OP_RULE:
            vm->bits[in->operand / 64] |= 1ull << in->operand % 64;
            any = true;
            if (profiling)
                vm->profile->code[in - code].runs++;
            in++;
            continue;
        case OP_GATE:
            if (vm->outcomes[in->operand] >> 1 == vm->run) {
                outcome = vm->outcomes[in->operand] & 1;
                break;
            }
            if (profiling)
                entered[depth] = began;
            returns[depth++] = in;
            in = code + p->gates[in->operand].first;
            continue;
        case OP_FALSE: case OP_TRUE:
            outcome = in->op == OP_TRUE;
            in = returns[--depth];
            vm->outcomes[in->operand] = vm->run << 1 | outcome;
            if (profiling)
                began = entered[depth];
            break;
        TEST(EQ_N, v->u == constants[in->operand].u)
        TEST(GE_I, v->i >= constants[in->operand].i)
        TEST(EQ_S, fl_text_is(v, &constants[in->operand]))
        TEST(NE_S, !fl_text_is(v, &constants[in->operand]))
        TEST(IN_S, fl_text_in(v, p->lists[in->operand].set))
        TEST(STARTSWITH, fl_text_begins(v, &constants[in->operand]))
        default:
            outcome = test(vm, in);
        }
        if (profiling) {
            struct fl_cost *cost = &vm->profile->code[in - code];
            cost->ticks += ticks_since(began);
            cost->trues += outcome;
            cost->runs++;
        }
        if (outcome == (in->flags & FLAG_IF))
            in = code + in->target;
        else
            in++;
    }
}

static bool run(struct fl_vm *vm, uint32_t pc) { return walk(vm, pc, false); }

/* A second copy of the loop: what isn't profiled doesn't pay for it. */
static __attribute__((noinline)) bool run_profiled(struct fl_vm *vm, uint32_t pc)
{
    uint64_t began = fl_ticks();
    bool any = walk(vm, pc, true);

    vm->profile->all.ticks += ticks_since(began);
    vm->profile->all.trues += any;
    vm->profile->all.runs++;
    return any;
}

int fl_vm_profile(struct fl_vm *vm, bool on)
{
    size_t code = vm->program->rows[TABLE_CODE], slots = vm->program->rows[TABLE_SLOTS];

    free(vm->profile);
    vm->profile = NULL;
    if (!on)
        return FL_OK;
    vm->profile = calloc(1, sizeof *vm->profile + (code + slots + 1) * sizeof(struct fl_cost));
    if (!vm->profile)
        return FL_ERR_MEMORY;
    vm->profile->code = vm->profile->costs;
    vm->profile->slots = vm->profile->costs + code;
    return FL_OK;
}

const struct fl_profile *fl_vm_profiled(const struct fl_vm *vm, size_t *costs)
{
    *costs = vm->profile ? vm->program->rows[TABLE_CODE] + vm->program->rows[TABLE_SLOTS] : 0;
    return vm->profile;
}

int fl_vm_run(struct fl_vm *vm, unsigned type, fl_fill *fill, void *context, struct fl_scratch *scratch, struct fl_error *error)
{
    const struct fl_program *p = vm->program;

    begin(vm, fill, context, scratch);
    if (!fl_program_wants(p, type))
        return 0;
    uint32_t pc = p->sections[p->types[type] - 1].first;
    int count = (vm->profile ? run_profiled(vm, pc) : run(vm, pc)) ? collect(vm) : 0;
    if (vm->failure)
        return fl_fail(error, vm->failure, "a regular expression could not be tested");
    return count;
}

const uint32_t *fl_vm_true(const struct fl_vm *vm, uint32_t *count)
{
    *count = vm->count;
    return vm->matched;
}
