/* SPDX-License-Identifier: Apache-2.0
 *
 * Transformers: registers computed from others (B6 of the specification). Their values are made in scratch memory; when that is
 * used up, they are absent.
 */
#define _GNU_SOURCE             /* memrchr, mempcpy */
#include <string.h>

#include "machine.h"

/* Inputs of a transformer, one after the other: a register's value, or a constant. */
struct inputs {
    const struct fl_input_row *at, *end;
};

/* False: the register is absent. A list has its own row, and its items follow as inputs. */
static bool input_value(struct fl_vm *vm, const struct fl_input_row *in, struct fl_value *v)
{
    if (in->what == INPUT_SLOT) {
        *v = *fl_vm_register(vm, in->index);
        return v->kind != FL_ABSENT;
    }
    const struct fl_constant *c = &vm->program->constants[in->index];
    *v = (struct fl_value){.kind = c->kind, .len = c->len, .u = c->u};
    if (c->kind >= FL_STR)
        v->s = c->s;
    return true;
}

/* The next input as a list: of a list's elements, of a literal list's items, or of one value. */
static bool next_list(struct fl_vm *vm, struct inputs *inputs, const struct fl_value **items, uint32_t *count)
{
    const struct fl_input_row *in = inputs->at++;
    uint32_t n = in->what == INPUT_LIST ? in->index : 1;

    if (in->what != INPUT_LIST)
        inputs->at = in;
    struct fl_value *list = fl_scratch_take(vm->scratch, (size_t)n * sizeof *list + 1);
    for (uint32_t i = 0; i < n; i++)
        if (!list || !input_value(vm, inputs->at++, &list[i]))
            return false;
    if (in->what != INPUT_LIST && list[0].kind == FL_LIST) {
        *items = list[0].list;
        *count = list[0].len;
    } else {
        *items = list;
        *count = n;
    }
    return true;
}

/* ---- of one text ---- */

static bool change_case(struct fl_vm *vm, bool upper, const struct fl_value *in, struct fl_value *out)
{
    char *to = fl_scratch_take(vm->scratch, (size_t)in->len + 1);

    if (!to)
        return false;
    for (uint32_t i = 0; i < in->len; i++) {
        char c = in->s[i];
        to[i] = upper ? (c >= 'a' && c <= 'z' ? c - 32 : c) : (c >= 'A' && c <= 'Z' ? c + 32 : c);
    }
    return fl_set_str(out, to, in->len);
}

static int sextet(unsigned char c)
{
    if (c >= 'A' && c <= 'Z')
        return c - 'A';
    if (c >= 'a' && c <= 'z')
        return c - 'a' + 26;
    if (c >= '0' && c <= '9')
        return c - '0' + 52;
    return c == '+' ? 62 : c == '/' ? 63 : -1;
}

/* Base 64, padded or not; the bits that are left over must be 0. A text ends at its first NUL. */
static bool decode(struct fl_vm *vm, const struct fl_value *in, struct fl_value *out)
{
    uint32_t n = in->len, len = 0, bits = 0, held = 0;
    char *to = fl_scratch_take(vm->scratch, (size_t)in->len / 4 * 3 + 3);

    if (!to)
        return false;
    for (int i = 0; i < 2 && n && in->s[n - 1] == '='; i++)
        n--;
    if (n % 4 == 1)
        return false;
    for (uint32_t i = 0; i < n; i++) {
        int six = sextet((unsigned char)in->s[i]);
        if (six < 0)
            return false;
        bits = bits << 6 | (uint32_t)six;
        held += 6;
        if (held >= 8) {
            held -= 8;
            to[len++] = (char)(bits >> held);
            bits &= (1u << held) - 1;
        }
    }
    if (bits)
        return false;
    if (in->kind == FL_STR)
        len = (uint32_t)strnlen(to, len);
    fl_set_str(out, to, len);
    out->kind = in->kind;
    return true;
}

static bool basename_of(const struct fl_value *in, struct fl_value *out)
{
    const char *slash = memrchr(in->s, '/', in->len);

    *out = *in;
    if (!slash)
        return true;
    uint32_t at = (uint32_t)(slash + 1 - in->s);
    return fl_set_str(out, in->s + at, in->len - at);
}

static bool change(struct fl_vm *vm, uint8_t transform, const struct fl_value *in, struct fl_value *out)
{
    if (in->kind != FL_STR && in->kind != FL_BYTES)
        return false;
    switch (transform) {
    case OP_TOLOWER: return change_case(vm, false, in, out);
    case OP_TOUPPER: return change_case(vm, true, in, out);
    case OP_B64: return decode(vm, in, out);
    default: return basename_of(in, out);
    }
}

/* Of each element, where the input is a list. Absent if one can't be transformed. */
static bool change_each(struct fl_vm *vm, uint8_t transform, const struct fl_value *in, struct fl_value *out)
{
    struct fl_value *list = fl_scratch_take(vm->scratch, (size_t)in->len * sizeof *list + 1);

    if (!list)
        return false;
    for (uint32_t i = 0; i < in->len; i++)
        if (!change(vm, transform, &in->list[i], &list[i]))
            return false;
    *out = (struct fl_value){.kind = FL_LIST, .len = in->len, .list = list};
    return in->len;
}

/* ---- of lists ---- */

/* Texts one after the other, with a separator between them; other kinds have no text here. */
static bool append(struct fl_vm *vm, const struct fl_value *separator, const struct fl_value *items, uint32_t count,
                   struct fl_value *out)
{
    uint64_t len = count && separator ? (uint64_t)separator->len * (count - 1) : 0;

    for (uint32_t i = 0; i < count; i++) {
        if (items[i].kind != FL_STR)
            return false;
        len += items[i].len;
    }
    char *to = len < FL_SCRATCH_SIZE ? fl_scratch_take(vm->scratch, len + 1) : NULL, *at = to;
    if (!to)
        return false;
    for (uint32_t i = 0; i < count; i++) {
        if (i && separator)
            at = mempcpy(at, separator->s, separator->len);
        at = mempcpy(at, items[i].s, items[i].len);
    }
    return fl_set_str(out, to, (uint32_t)len);
}

static bool join(struct fl_vm *vm, struct inputs *inputs, struct fl_value *out)
{
    const struct fl_value *separator, *items;
    uint32_t n, count;

    return next_list(vm, inputs, &separator, &n) && n == 1 && separator->kind == FL_STR && inputs->at < inputs->end
        && next_list(vm, inputs, &items, &count) && append(vm, separator, items, count, out);
}

static bool concat(struct fl_vm *vm, struct inputs *inputs, struct fl_value *out)
{
    uint32_t n = (uint32_t)(inputs->end - inputs->at);
    struct fl_value *items = fl_scratch_take(vm->scratch, n * sizeof *items + 1);

    for (uint32_t i = 0; i < n; i++)
        if (!items || inputs->at->what == INPUT_LIST || !input_value(vm, inputs->at++, &items[i]))
            return false;
    return append(vm, NULL, items, n, out);
}

/* What getopt(3) would find in a list of arguments: the options' characters, each followed by its value if it takes one. An option
 * that isn't in the string is "?", a missing value is empty. Ends at "--" and at the first argument that is no option; "--long" is
 * skipped. */
static bool getopt_list(struct fl_vm *vm, const struct fl_value *args, uint32_t count, const struct fl_value *options,
                        const struct fl_slot *slot, struct fl_value *out)
{
    uint64_t most = 1;

    for (uint32_t i = 0; i < count; i++) {
        if (args[i].kind != FL_STR)
            return false;
        most += (uint64_t)args[i].len + 1;
    }
    struct fl_value *list = most < FL_SCRATCH_SIZE ? fl_scratch_take(vm->scratch, most * sizeof *list) : NULL;
    bool found = false;
    uint32_t n = 0;
    if (!list)
        return false;
    for (uint32_t i = 0; i < count; i++) {
        const struct fl_value *arg = &args[i];
        if (arg->len < 2 || arg->s[0] != '-' || (arg->len == 2 && arg->s[1] == '-'))
            break;
        if (arg->s[1] == '-')
            continue;
        for (uint32_t k = 1; k < arg->len; k++) {
            const char *option = arg->s[k] == ':' ? NULL : memchr(options->s, arg->s[k], options->len);
            bool takes_value = option && option + 1 < options->s + options->len && option[1] == ':';
            struct fl_value value;
            fl_set_str(&list[n], option ? arg->s + k : "?", 1);
            value = list[n++];
            if (takes_value) {
                if (k + 1 < arg->len)
                    fl_set_str(&value, arg->s + k + 1, arg->len - k - 1);
                else if (i + 1 < count)
                    value = args[++i];
                else
                    fl_set_str(&value, "", 0);
                list[n++] = value;
            }
            if (slot->argument.has_key && option && slot->argument.key_len == 1 && *option == slot->argument.key[0]) {
                *out = value;
                found = true;
            }
            if (takes_value)
                break;
        }
    }
    if (slot->argument.has_key)
        return found;
    *out = (struct fl_value){.kind = FL_LIST, .len = n, .list = list};
    return n;
}

bool fl_vm_transform(struct fl_vm *vm, const struct fl_slot *slot, struct fl_value *out)
{
    struct inputs inputs = {vm->program->inputs + slot->first_input, vm->program->inputs + slot->first_input + slot->inputs};
    const struct fl_value *items, *options;
    struct fl_value v;
    uint32_t count, n;

    if (!slot->inputs)
        return false;
    switch (slot->transform) {
    case OP_JOIN:
        return join(vm, &inputs, out);
    case OP_CONCAT:
        return concat(vm, &inputs, out);
    case OP_GETOPT:
        return next_list(vm, &inputs, &items, &count) && inputs.at < inputs.end && next_list(vm, &inputs, &options, &n) && n == 1
            && options->kind == FL_STR && getopt_list(vm, items, count, options, slot, out);
    case OP_LEN:
        if (inputs.at->what == INPUT_LIST)
            return next_list(vm, &inputs, &items, &count) && fl_set_u64(out, count);
        return input_value(vm, inputs.at, &v) && v.kind >= FL_STR && fl_set_u64(out, v.len);
    default:
        if (inputs.at->what == INPUT_LIST || !input_value(vm, inputs.at, &v))
            return false;
        return v.kind == FL_LIST ? change_each(vm, slot->transform, &v, out) : change(vm, slot->transform, &v, out);
    }
}
