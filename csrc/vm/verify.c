/* SPDX-License-Identifier: Apache-2.0
 *
 * The verifier. Programs come from caches and pickles, so from anyone: every index is checked here, once, and never while they
 * run. That a run ends is plain from the shape: jumps go forward, gates use gates with lower numbers only and are decided once an
 * event, transformers use slots with lower numbers.
 */
#include <stdlib.h>

#include "format.h"

const struct fl_op fl_ops[OP_COUNT] = {
#define OP(name, mnemonic, operand, kinds) {OPERAND_##operand, KINDS_##kinds},
#include "../schema/ops.def"
#undef OP
};

#define REFUSE(...) return fl_fail(error, FL_ERR_PROGRAM, __VA_ARGS__)

static bool is_kind(uint8_t kind) { return kind > FL_ABSENT && kind < FL_LIST; }

static bool is_text(const struct fl_program *p, uint64_t at, uint32_t len)
{
    uint64_t size = p->rows[TABLE_TEXT];

    return at < size && len < size - at && p->text[at + len] == 0;
}

/* Whether values of one kind can be compared with values of the other. */
static bool comparable(uint8_t kind, uint8_t other)
{
    return kind == other || ((1u << kind & KINDS_TEXT) && (1u << other & KINDS_TEXT));
}

static int verify_constants(const struct fl_program *p, struct fl_error *error)
{
    uint64_t bytes = 0, end = 0, values = p->rows[TABLE_VALUES];

    for (uint32_t i = 0; i < values; i++) {
        const struct fl_value_row *v = &p->value_rows[i];
        if (!is_kind(v->kind))
            REFUSE("constant %u has no kind", i);
        if (v->kind < FL_STR)
            continue;
        if (!is_text(p, v->value, v->len))
            REFUSE("constant %u is outside the text", i);
        if ((v->kind == FL_IP && v->len != 4 && v->len != 16) || (v->kind == FL_NET && v->len != 8 && v->len != 32))
            REFUSE("constant %u is no address", i);
        if ((bytes += v->len) > FL_CONSTANT_BYTES)
            REFUSE("the constants are longer than %u bytes", FL_CONSTANT_BYTES);
    }
    for (uint32_t i = 0; i < p->rows[TABLE_LISTS]; i++) {
        const struct fl_list_row *l = &p->list_rows[i];
        if (l->form >= LIST_FORMS || l->first < end || l->first > values || l->count > values - l->first)
            REFUSE("list %u is outside the constants", i);
        end = (uint64_t)l->first + l->count;
        for (uint32_t k = l->first; k < end; k++)
            if (p->value_rows[k].kind != p->value_rows[l->first].kind)
                REFUSE("list %u mixes kinds", i);
        uint32_t kinds = l->count ? 1u << p->value_rows[l->first].kind : 0;
        if (kinds & ~(l->form == LIST_PLAIN ? (uint32_t)KINDS_EVERY : l->form == LIST_SET ? KINDS_RAW | KINDS_NUMBER : KINDS_TEXT))
            REFUSE("list %u is of a kind that it can't be made of", i);
    }
    return FL_OK;
}

/* Whether the inputs of a transformer are there, behind those of the one before (*end), with lower numbers; depth[slot] becomes the
 * nesting. */
static bool inputs_fit(const struct fl_program *p, uint32_t slot, uint8_t *depth, uint32_t *end)
{
    const struct fl_slot_row *s = &p->slot_rows[slot];
    uint32_t items = 0;         /* left of a list of inputs */

    if (s->first_input < *end || s->first_input > p->rows[TABLE_INPUTS] || s->inputs > p->rows[TABLE_INPUTS] - s->first_input)
        return false;
    *end = s->first_input + s->inputs;
    for (uint32_t i = 0; i < s->inputs; i++) {
        const struct fl_input_row *in = &p->inputs[s->first_input + i];
        switch (in->what) {
        case INPUT_SLOT:
            if (in->index >= slot)
                return false;
            if (depth[in->index] >= depth[slot])
                depth[slot] = (uint8_t)(depth[in->index] + 1);
            break;
        case INPUT_VALUE:
            if (in->index >= p->rows[TABLE_VALUES])
                return false;
            break;
        case INPUT_LIST:
            if (items || in->index > s->inputs - i - 1)
                return false;
            items = in->index + 1;
            break;
        default:
            return false;
        }
        items -= items > 0;
    }
    return depth[slot] <= FL_TRANSFORM_DEPTH;
}

static int verify_slots(const struct fl_program *p, struct fl_error *error)
{
    uint32_t n = p->rows[TABLE_SLOTS], i = 0, end = 0;
    uint8_t *depth = calloc((size_t)n + 1, 1);

    if (!depth)
        return fl_fail(error, FL_ERR_MEMORY, "out of memory");
    for (; i < n; i++) {
        const struct fl_slot_row *s = &p->slot_rows[i];
        if (!is_kind(s->kind) || !is_text(p, s->key, s->key_len) || s->has_index > 1 || s->has_key > 1)
            break;
        if (s->transform ? s->transform >= OP_COUNT || fl_ops[s->transform].operand != OPERAND_TRANSFORM ||
                !inputs_fit(p, i, depth, &end)
            : s->field >= FL_FIELD_COUNT || s->inputs)
            break;
    }
    free(depth);
    if (i < n)
        REFUSE("slot %u is malformed", i);
    return FL_OK;
}

/* Whether a list is there, in the form that a test wants, with values that can be compared with the slot's. */
static bool is_list(const struct fl_program *p, uint32_t list, unsigned form, uint8_t kind)
{
    if (list >= p->rows[TABLE_LISTS])
        return false;
    const struct fl_list_row *l = &p->list_rows[list];
    return l->form == form && (!l->count || comparable(p->value_rows[l->first].kind, kind));
}

static bool are_patterns(const struct fl_program *p, uint32_t list)
{
    const struct fl_list_row *l = &p->list_rows[list];

    for (uint32_t i = 0; i < l->count; i++)
        if (p->value_rows[l->first + i].value >= p->rows[TABLE_PATTERNS])
            return false;
    return true;
}

static bool operand_fits(const struct fl_program *p, const struct fl_instr *in, uint32_t gates, const bool *patterns)
{
    const struct fl_op *op = &fl_ops[in->op];
    unsigned several = in->flags & (FLAG_ONEOF | FLAG_ANYOF | FLAG_ALLOF | FLAG_OTHER);
    uint8_t kind = op->kinds ? p->slot_rows[in->slot].kind : 0;

    if (several & (several - 1))
        return false;
    if (several && op->operand == OPERAND_PATTERN)
        return several != FLAG_OTHER && is_list(p, in->operand, LIST_PLAIN, FL_U64) && patterns[in->operand];
    if (several == FLAG_OTHER)
        return op->operand == OPERAND_VALUE && kind != FL_NET && in->operand < p->rows[TABLE_SLOTS]
            && comparable(kind, p->slot_rows[in->operand].kind);
    if (several)
        return op->operand == OPERAND_VALUE && is_list(p, in->operand, LIST_PLAIN, kind);
    switch (op->operand) {
    case OPERAND_NONE: return true;
    case OPERAND_VALUE: return in->operand < p->rows[TABLE_VALUES] && comparable(kind, p->value_rows[in->operand].kind);
    case OPERAND_SET: return is_list(p, in->operand, LIST_SET, kind);
    case OPERAND_PLAIN: return is_list(p, in->operand, LIST_PLAIN, kind);
    case OPERAND_PREFIXES: return is_list(p, in->operand, LIST_PREFIXES, kind);
    case OPERAND_SUFFIXES: return is_list(p, in->operand, LIST_SUFFIXES, kind);
    case OPERAND_PATHS: return is_list(p, in->operand, LIST_PATHS, kind);
    case OPERAND_PATTERN: return in->operand < p->rows[TABLE_PATTERNS];
    case OPERAND_GATE: return in->operand < gates;
    case OPERAND_RULE: return in->operand < p->rows[TABLE_RULES];
    default: return false;
    }
}

static bool slot_fits(const struct fl_program *p, const struct fl_instr *in)
{
    if (!fl_ops[in->op].kinds)
        return !(in->flags & FLAG_EACH);
    if (in->slot >= p->rows[TABLE_SLOTS] || !(1u << p->slot_rows[in->slot].kind & fl_ops[in->op].kinds))
        return false;
    bool list = p->slot_rows[in->slot].flags & (FF_LIST | FF_ANY | FF_EITHER);
    unsigned each = in->flags & (FLAG_ANY | FLAG_ALL);
    return each != (FLAG_ANY | FLAG_ALL) && (each || !list);
}

/* A section (gate_depth NULL), or the gate of this number. patterns: the lists that are of patterns. */
static int verify_range(const struct fl_program *p, const char *what, uint32_t number, const struct fl_range_row *r,
                        uint8_t *gate_depth, const bool *patterns, struct fl_error *error)
{
    uint32_t gates = gate_depth ? number : p->rows[TABLE_GATES];
    uint64_t end = (uint64_t)r->first + r->count;

    if (!r->count || end > p->rows[TABLE_CODE])
        REFUSE("%s %u is outside the code", what, number);
    for (uint32_t i = r->first; i < end; i++) {
        const struct fl_instr *in = &p->code[i];
        if (in->op >= OP_COUNT || fl_ops[in->op].operand == OPERAND_TRANSFORM || !slot_fits(p, in) ||
            !operand_fits(p, in, gates, patterns))
            REFUSE("instruction %u is malformed", i);
        if (in->memo && (in->memo <= p->rows[TABLE_GATES] || in->memo > p->rows[TABLE_MEMOS]))
            REFUSE("instruction %u remembers its outcome nowhere", i);
        switch (in->op) {
        case OP_STOP: case OP_RULE:
            if (gate_depth)
                REFUSE("instruction %u has no place in a gate", i);
            break;
        case OP_FALSE: case OP_TRUE:
            if (!gate_depth)
                REFUSE("instruction %u has no place in a section", i);
            break;
        case OP_GATE:
            if (gate_depth && gate_depth[in->operand] >= gate_depth[number])
                gate_depth[number] = (uint8_t)(gate_depth[in->operand] + 1);
            /* fall through */
        default:
            if (in->target <= i || in->target >= end)
                REFUSE("instruction %u jumps out of its %s", i, what);
        }
    }
    uint8_t last = p->code[end - 1].op;
    if (gate_depth ? last != OP_FALSE && last != OP_TRUE : last != OP_STOP)
        REFUSE("%s %u doesn't end", what, number);
    if (gate_depth && gate_depth[number] >= FL_GATE_DEPTH)
        REFUSE("gate %u is nested too deep", number);
    return FL_OK;
}

static int verify_code(const struct fl_program *p, struct fl_error *error)
{
    uint8_t *depth = calloc((size_t)p->rows[TABLE_GATES] + 1, 1);
    bool *patterns = calloc((size_t)p->rows[TABLE_LISTS] + 1, sizeof *patterns);
    int code = depth && patterns ? FL_OK : fl_fail(error, FL_ERR_MEMORY, "out of memory");
    uint64_t all = 0;           /* instructions of all ranges: the checks take as long as the program is */

    for (uint32_t i = 0; i < p->rows[TABLE_LISTS] && !code; i++)
        patterns[i] = is_list(p, i, LIST_PLAIN, FL_U64) && are_patterns(p, i);
    for (uint32_t i = 0; i < p->rows[TABLE_GATES] && !code; i++) {
        code = verify_range(p, "gate", i, &p->gates[i], depth, patterns, error);
        all += p->gates[i].count;
        if (!code && all > p->rows[TABLE_CODE])
            code = fl_fail(error, FL_ERR_PROGRAM, "gate %u shares instructions with another", i);
    }
    for (uint32_t i = 0; i < p->rows[TABLE_SECTIONS] && !code; i++) {
        code = verify_range(p, "section", i, &p->sections[i], NULL, patterns, error);
        all += p->sections[i].count;
        if (!code && all > p->rows[TABLE_CODE])
            code = fl_fail(error, FL_ERR_PROGRAM, "section %u shares instructions with another", i);
    }
    free(patterns);
    free(depth);
    return code;
}

int fl_program_verify(const struct fl_program *p, struct fl_error *error)
{
    int code = verify_constants(p, error);

    if (!code)
        code = verify_slots(p, error);
    if (!code)
        code = verify_code(p, error);
    if (code)
        return code;
    if (p->rows[TABLE_MEMOS] < p->rows[TABLE_GATES] || p->rows[TABLE_MEMOS] - p->rows[TABLE_GATES] > p->rows[TABLE_CODE])
        REFUSE("%u outcomes to remember are not as many as can be", p->rows[TABLE_MEMOS]);
    if (p->rows[TABLE_TYPES] != FL_TYPE_COUNT)
        REFUSE("%u event types instead of %u", p->rows[TABLE_TYPES], FL_TYPE_COUNT);
    for (uint32_t i = 0; i < p->rows[TABLE_TYPES]; i++)
        if (p->types[i] > p->rows[TABLE_SECTIONS])
            REFUSE("event type %u has a section that there isn't", i);
    for (uint32_t i = 0; i < p->rows[TABLE_RULES]; i++)
        if (p->rules[i].first > p->rows[TABLE_OUTPUTS] || p->rules[i].count > p->rows[TABLE_OUTPUTS] - p->rules[i].first)
            REFUSE("rule %u has outputs outside the table", i);
    for (uint32_t i = 0; i < p->rows[TABLE_RULES]; i++)
        if (p->rules[i].count > p->rows[TABLE_SLOTS])
            REFUSE("rule %u has more outputs than there are slots", i);
    for (uint32_t i = 0; i < p->rows[TABLE_OUTPUTS]; i++)
        if (p->outputs[i] >= p->rows[TABLE_SLOTS])
            REFUSE("output %u is of no slot", i);
    return FL_OK;
}
