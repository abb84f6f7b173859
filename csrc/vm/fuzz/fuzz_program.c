/* SPDX-License-Identifier: Apache-2.0
 *
 * libFuzzer target of the verifier and the machine: loads the input as a program (its header is put right, so that inputs get
 * beyond it), and runs what is accepted on every event type that it wants, with values of all kinds, also of kinds that the slots
 * don't have. tests/test_vm_fuzz.py builds it and makes its seeds.
 */
#include <stdlib.h>
#include <string.h>

#include "../format.h"

static volatile uint64_t sink;
static const struct fl_program *running;

static void check(int holds)
{
    if (!holds)
        abort();
}

static uint32_t next(uint32_t *state)
{
    *state = *state * 1664525 + 1013904223;
    return *state >> 8;
}

static void make_scalar(uint32_t *state, uint8_t kind, struct fl_value *v)
{
    static const char *const texts[] = {
        "", "/etc/passwd", "/", "//a/b", "*", "[a", "-ab", "YWI=", "--", "a\0b", "\xff\xfe", "127.0.0.1addresses",
    };
    const char *text = texts[next(state) % (sizeof texts / sizeof texts[0])];

    *v = (struct fl_value){.kind = kind};
    if (kind < FL_STR) {
        v->u = next(state) % 4 ? next(state) % 8 : (uint64_t)next(state) << 40 | next(state);
        return;
    }
    v->len = kind == FL_IP || kind == FL_NET ? (next(state) % 2 ? 4 : 16) : (uint32_t)strlen(text);
    v->s = kind == FL_IP || kind == FL_NET ? texts[11] : text;
}

/* Mostly what the slot wants; sometimes anything. */
static bool fill(void *context, uint32_t slot, const struct fl_slot *row, struct fl_value *out)
{
    static struct fl_value list[4];
    uint32_t *state = context, what = next(state) % 16;

    check(slot < fl_program_slots(running) && row == fl_program_slot(running, slot));
    for (uint32_t i = 0; i < row->argument.key_len; i++)
        sink += (unsigned char)row->argument.key[i];
    if (what == 0)
        return false;
    if (what == 1 || row->flags & (FF_LIST | FF_ANY | FF_EITHER)) {
        for (int i = 0; i < 4; i++)
            make_scalar(state, what == 2 ? (uint8_t)(next(state) % FL_LIST) : row->kind, &list[i]);
        *out = (struct fl_value){.kind = FL_LIST, .len = next(state) % 5, .list = list};
        return true;
    }
    make_scalar(state, what == 2 ? (uint8_t)(next(state) % FL_LIST) : row->kind, out);
    return true;
}

static int regex(void *handle, uint32_t pattern, const char *subject, size_t len)
{
    (void)handle;
    check(pattern < running->rows[TABLE_PATTERNS]);
    for (size_t i = 0; i < len; i++)
        sink += (unsigned char)subject[i];
    return pattern == 7 ? -1 : (int)(len % 2);
}

static void run(struct fl_vm *vm, unsigned type, uint32_t *state, struct fl_scratch *scratch)
{
    uint32_t count;
    struct fl_error error = {0};

    fl_scratch_reset(scratch);
    int n = fl_vm_run(vm, type, fill, state, scratch, &error);
    check(n >= 0 || (n == FL_ERR_EXTENSION && error.code == n));
    const uint32_t *rules = fl_vm_true(vm, &count);
    check(n < 0 || count == (uint32_t)n);
    for (uint32_t i = 0; i < count; i++) {
        uint32_t captured;
        check(rules[i] < running->rows[TABLE_RULES] && (!i || rules[i - 1] < rules[i]));
        const uint16_t *slots = fl_program_outputs(running, rules[i], &captured);
        for (uint32_t k = 0; k < captured; k++)
            sink += fl_vm_value(vm, slots[k])->kind;
    }
    for (uint32_t i = 0; i < fl_program_slots(running); i++) {
        const struct fl_value *v = fl_vm_value(vm, i);
        check(v->kind == FL_ABSENT || v->kind == FL_LIST || v->kind == fl_program_slot(running, i)->kind);
        for (uint32_t k = 0; v->kind >= FL_STR && v->kind < FL_LIST && k < v->len; k++)
            sink += (unsigned char)v->s[k];
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct fl_program_header header;
    struct fl_error error = {0};
    static struct fl_scratch scratch;
    uint32_t state = 1;

    if (size < sizeof header)
        return 0;
    uint8_t *bytes = malloc(size);
    memcpy(bytes, data, size);
    memcpy(&header, bytes, sizeof header);
    memcpy(header.magic, FL_PROGRAM_MAGIC, sizeof header.magic);
    header.version = FL_PROGRAM_VERSION;
    header.size = (uint32_t)size;
    header.hash_events = fl_schema_hash_events();
    header.hash_fields = fl_schema_hash_fields();
    memcpy(bytes, &header, sizeof header);
    struct fl_program *program = fl_program_new(bytes, size, &error);
    free(bytes);
    if (!program) {
        check(error.code == FL_ERR_PROGRAM && error.text[0]);
        return 0;
    }
    running = program;
    struct fl_vm *vm = fl_vm_new(program, regex, NULL, &error);
    check(vm && (scratch.data || fl_scratch_init(&scratch) == 0));
    for (unsigned type = 0; type < FL_TYPE_COUNT; type++)
        for (int i = 0; i < 3 && fl_program_wants(program, type); i++)
            run(vm, type, &state, &scratch);
    fl_vm_free(vm);
    fl_program_delete(program);
    return 0;
}
