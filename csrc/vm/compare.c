/* SPDX-License-Identifier: Apache-2.0
 *
 * The tests, by kind of value: what B2 of the specification calls operators.
 */
#define _GNU_SOURCE             /* memmem */
#include <fnmatch.h>
#include <string.h>

#include "paths.h"

/* strcmp for texts whose length is known. */
static int order(const struct fl_value *v, const struct fl_constant *c)
{
    int d = memcmp(v->s, c->s, v->len < c->len ? v->len : c->len);

    return d ? d : (v->len > c->len) - (v->len < c->len);
}

/* Looks for the constant's rarest byte first: most texts don't have it, and memchr is fast. */
static bool contains(const struct fl_value *v, const struct fl_constant *c)
{
    if (c->len > v->len)
        return false;
    if (!c->len || c->len > FL_RARE_LEN)
        return memmem(v->s, v->len, c->s, c->len) != NULL;
    const char *at = v->s + c->rare, *end = at + (v->len - c->len) + 1;
    for (; (at = memchr(at, c->s[c->rare], (size_t)(end - at))); at++)
        if (memcmp(at - c->rare, c->s, c->len) == 0)
            return true;
    return false;
}

static unsigned char lower(unsigned char c) { return c >= 'A' && c <= 'Z' ? c + 32 : c; }

static bool icontains(const struct fl_value *v, const struct fl_constant *c)
{
    if (!c->len)
        return true;
    unsigned char first = lower((unsigned char)c->s[0]);
    for (uint32_t i = 0; i + (uint64_t)c->len <= v->len; i++) {
        uint32_t k = 1;
        if (lower((unsigned char)v->s[i]) != first)
            continue;
        while (k < c->len && lower((unsigned char)v->s[i + k]) == lower((unsigned char)c->s[k]))
            k++;
        if (k == c->len)
            return true;
    }
    return false;
}

/* A NUL-terminated copy in scratch memory; NULL when that is used up. */
static char *copy(struct fl_scratch *scratch, const char *s, uint32_t len)
{
    char *to = fl_scratch_take(scratch, (size_t)len + 1);

    if (to) {
        memcpy(to, s, len);
        to[len] = 0;
    }
    return to;
}

bool fl_glob(struct fl_vm *vm, const char *pattern, const char *text, uint32_t len, bool fold)
{
    size_t used = vm->scratch->used;
    char *subject = copy(vm->scratch, text, len);
    bool matches = false;

    if (subject) {
        locale_t before = uselocale(vm->c_locale);
        matches = fnmatch(pattern, subject, fold ? FNM_CASEFOLD : 0) == 0;
        uselocale(before);
    }
    vm->scratch->used = used;
    return matches;
}

/* The constant is an address and a mask of the same length. */
static bool in_net(const struct fl_value *v, const struct fl_constant *net)
{
    if (net->len != 2 * v->len)
        return false;
    for (uint32_t i = 0; i < v->len; i++)
        if ((v->s[i] ^ net->s[i]) & net->s[v->len + i])
            return false;
    return true;
}

bool fl_compare(struct fl_vm *vm, uint8_t op, const struct fl_value *v, const struct fl_constant *c)
{
    switch (op) {
    case OP_EQ_N: return v->u == c->u;
    case OP_NE_N: return v->u != c->u;
    case OP_LT_I: return v->i < c->i;
    case OP_LE_I: return v->i <= c->i;
    case OP_GT_I: return v->i > c->i;
    case OP_GE_I: return v->i >= c->i;
    case OP_LT_U: return v->u < c->u;
    case OP_LE_U: return v->u <= c->u;
    case OP_GT_U: return v->u > c->u;
    case OP_GE_U: return v->u >= c->u;
    case OP_EQ_F: return v->f == c->f;
    case OP_NE_F: return v->f != c->f;
    case OP_LT_F: return v->f < c->f;
    case OP_LE_F: return v->f <= c->f;
    case OP_GT_F: return v->f > c->f;
    case OP_GE_F: return v->f >= c->f;
    case OP_EQ_S: return fl_text_is(v, c);
    case OP_NE_S: return !fl_text_is(v, c);
    case OP_LT_S: return order(v, c) < 0;
    case OP_LE_S: return order(v, c) <= 0;
    case OP_GT_S: return order(v, c) > 0;
    case OP_GE_S: return order(v, c) >= 0;
    case OP_EQ_NET: return in_net(v, c);
    case OP_NE_NET: return !in_net(v, c);
    case OP_CONTAINS: return contains(v, c);
    case OP_ICONTAINS: return icontains(v, c);
    case OP_STARTSWITH: return fl_text_begins(v, c);
    case OP_ENDSWITH: return v->len >= c->len && memcmp(v->s + v->len - c->len, c->s, c->len) == 0;
    case OP_GLOB: return fl_glob(vm, c->s, v->s, v->len, false);
    case OP_IGLOB: return fl_glob(vm, c->s, v->s, v->len, true);
    default: return false;
    }
}

static bool has_number(const struct fl_list *list, uint64_t u)
{
    uint32_t low = 0, high = list->count;

    while (low < high) {
        uint32_t middle = low + (high - low) / 2;
        if (list->numbers[middle] == u)
            return true;
        if (list->numbers[middle] < u)
            low = middle + 1;
        else
            high = middle;
    }
    return false;
}

static bool any(struct fl_vm *vm, uint8_t op, const struct fl_value *v, const struct fl_list *list)
{
    for (uint32_t i = 0; i < list->count; i++)
        if (fl_compare(vm, op, v, &list->values[i]))
            return true;
    return false;
}

bool fl_compare_list(struct fl_vm *vm, uint8_t op, const struct fl_value *v, const struct fl_list *list)
{
    switch (op) {
    case OP_IN_N: return list->count && has_number(list, v->u);
    case OP_IN_F: return any(vm, OP_EQ_F, v, list);
    case OP_IN_S: return fl_text_in(v, list->set);
    case OP_IN_NET: return any(vm, OP_EQ_NET, v, list);
    case OP_CONTAINS_ANY: return any(vm, OP_CONTAINS, v, list);
    case OP_STARTSWITH_ANY: return fl_trie_begins(list->trie, v->s, v->len);
    case OP_ENDSWITH_ANY: return fl_trie_ends(list->trie, v->s, v->len);
    case OP_PMATCH: return fl_paths_match(vm, list->paths, v->s, v->len);
    default: return false;
    }
}

bool fl_compare_pattern(struct fl_vm *vm, const struct fl_value *v, uint32_t pattern)
{
    int answer = vm->regex ? vm->regex(vm->handle, pattern, v->s, v->len) : -1;

    if (answer < 0)
        vm->failure = FL_ERR_EXTENSION;
    return answer > 0;
}

/* ---- tests of several comparisons ---- */

/* Another register's element as a constant. A glob's pattern needs its NUL. */
static bool constant_of(struct fl_vm *vm, uint8_t op, const struct fl_value *v, struct fl_constant *c)
{
    *c = (struct fl_constant){.kind = v->kind};
    if (v->kind < FL_STR) {
        c->u = v->u;
        return true;
    }
    c->s = op == OP_GLOB || op == OP_IGLOB ? copy(vm->scratch, v->s, v->len) : v->s;
    c->len = v->len;
    c->hash = v->str ? v->str->hash : fl_hash(v->s, v->len);
    return c->s;
}

static bool compare_other(struct fl_vm *vm, const struct fl_instr *in, const struct fl_value *v)
{
    const struct fl_value *other = fl_vm_register(vm, in->operand);
    const struct fl_value *at = other->kind == FL_LIST ? other->list : other;
    uint32_t count = other->kind == FL_LIST ? other->len : other->kind != FL_ABSENT;
    uint8_t kind = vm->program->slots[in->operand].kind;

    for (uint32_t i = 0; i < count; i++) {
        struct fl_value element = at[i];
        struct fl_constant c;
        if (fl_vm_settle(&element, kind) && constant_of(vm, in->op, &element, &c) && fl_compare(vm, in->op, v, &c))
            return true;
    }
    return false;
}

static bool compare_one(struct fl_vm *vm, const struct fl_instr *in, const struct fl_value *v)
{
    const struct fl_program *p = vm->program;
    uint8_t operand = fl_ops[in->op].operand;
    uint32_t true_ones = 0;

    if (in->flags & FLAG_OTHER)
        return compare_other(vm, in, v);
    if (!(in->flags & (FLAG_ONEOF | FLAG_ANYOF | FLAG_ALLOF))) {
        switch (operand) {
        case OPERAND_NONE: return true;     /* exists */
        case OPERAND_VALUE: return fl_compare(vm, in->op, v, &p->constants[in->operand]);
        case OPERAND_PATTERN: return fl_compare_pattern(vm, v, in->operand);
        default: return fl_compare_list(vm, in->op, v, &p->lists[in->operand]);
        }
    }
    const struct fl_list *list = &p->lists[in->operand];
    for (uint32_t i = 0; i < list->count; i++) {
        const struct fl_constant *c = &list->values[i];
        true_ones += operand == OPERAND_PATTERN ? fl_compare_pattern(vm, v, (uint32_t)c->u) : fl_compare(vm, in->op, v, c);
    }
    if (in->flags & FLAG_ONEOF)
        return true_ones == 1;
    return true_ones && (in->flags & FLAG_ANYOF || true_ones == list->count);
}

bool fl_test_each(struct fl_vm *vm, const struct fl_instr *in, const struct fl_value *v)
{
    if (v->kind != FL_LIST)
        return compare_one(vm, in, v);
    for (uint32_t i = 0; i < v->len; i++) {
        struct fl_value element = v->list[i];
        bool holds = fl_vm_settle(&element, vm->program->slots[in->slot].kind) && compare_one(vm, in, &element);
        if (holds != !!(in->flags & FLAG_ALL))
            return holds;
    }
    return v->len && in->flags & FLAG_ALL;
}
