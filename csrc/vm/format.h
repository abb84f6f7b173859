/* SPDX-License-Identifier: Apache-2.0
 *
 * The bytes of a program, and what is made of them when it is loaded. Little-endian. A header tells how many rows each table
 * has; the tables follow it in the order of enum fl_table, each padded to 8 bytes, without gaps.
 */
#ifndef FL_VM_FORMAT_H
#define FL_VM_FORMAT_H

#include "../base/set.h"
#include "../base/trie.h"
#include "../schema/schema.h"
#include "program.h"

struct fl_paths;

#define FL_PROGRAM_MAGIC "FALCOPRG"
#define FL_PROGRAM_VERSION 1
/* How deep the machine may go. ORDER LIMITS: emit.py keeps them. */
#define FL_TRANSFORM_DEPTH 32   /* transformers in each other */
#define FL_GATE_DEPTH 64        /* gates in each other */
#define FL_CONSTANT_BYTES (16u << 20)   /* texts of all constants together: tries and sets are made of them */

enum fl_opcode {
#define OP(name, mnemonic, operand, kinds) OP_##name,
#include "../schema/ops.def"
#undef OP
    OP_COUNT
};

enum fl_table {
    TABLE_VALUES,               /* struct fl_value_row: constants */
    TABLE_LISTS,                /* struct fl_list_row: a run of constants, and how it is prepared */
    TABLE_INPUTS,               /* struct fl_input_row: what transformers work on */
    TABLE_SLOTS,                /* struct fl_slot_row: registers */
    TABLE_PATTERNS,             /* no rows: the number of regular expressions that the engine's callback knows */
    TABLE_MEMOS,                /* no rows: how many outcomes a run remembers: of the gates first, then of tests */
    TABLE_CODE,                 /* struct fl_instr */
    TABLE_GATES,                /* struct fl_range_row: conditions that are used more than once */
    TABLE_SECTIONS,             /* struct fl_range_row: what is run for the event types that have it */
    TABLE_TYPES,                /* uint16_t for each event type, then for each source of documents: its section + 1; 0 = none */
    TABLE_RULES,                /* struct fl_rule_row */
    TABLE_OUTPUTS,              /* uint16_t: slots */
    TABLE_TEXT,                 /* bytes that other tables point into */
    TABLE_COUNT
};

struct fl_program_header {
    char magic[8];
    uint32_t version;
    uint32_t size;              /* bytes of the whole program */
    uint64_t hash_events, hash_fields;      /* of the schema it was compiled for */
    uint32_t rows[TABLE_COUNT];
    uint32_t padding;
};

struct fl_value_row {
    uint8_t kind;               /* enum fl_kind */
    uint8_t padding[3];
    uint32_t len;               /* STR, BYTES, IP: bytes; NET: bytes of address and mask together */
    uint64_t value;             /* BOOL I64 U64 F64: the bits; else where it is in the text, a NUL behind it */
};

/* ORDER LISTS: emit.py names them in this order. */
enum fl_list_form { LIST_PLAIN, LIST_SET, LIST_PREFIXES, LIST_SUFFIXES, LIST_PATHS, LIST_FORMS };

struct fl_list_row {
    uint32_t first, count;      /* constants, of one kind; behind those of the lists before */
    uint8_t form;
    uint8_t padding[7];
};

/* ORDER INPUTS */
enum fl_input_what { INPUT_SLOT, INPUT_VALUE, INPUT_LIST, INPUT_WHATS };

struct fl_input_row {
    uint8_t what;
    uint8_t padding[3];
    uint32_t index;             /* a slot, a constant; LIST: how many of the inputs that follow are its items */
};

struct fl_slot_row {
    uint8_t kind;
    uint8_t transform;          /* 0, or an opcode that is a transformer */
    uint16_t field;
    uint16_t flags;
    uint8_t has_index, has_key;
    int64_t index;
    uint32_t key, key_len;      /* in the text; getopt: the option asked for */
    uint32_t first_input, inputs;
};

struct fl_instr {
    uint8_t op;                 /* enum fl_opcode */
    uint8_t flags;              /* enum fl_instr_flag */
    uint16_t slot;              /* what is tested */
    uint32_t operand;           /* a constant, list, pattern, gate or rule; with FLAG_OTHER, the slot it is compared with */
    uint32_t target;            /* of the jump: an instruction that follows, in the same section or gate */
    uint32_t memo;              /* where a test's outcome is remembered during the event, + 1; 0 = nowhere */
};

enum fl_instr_flag {
    FLAG_IF = 1 << 0,           /* jump if the test is true; without it, if it is false */
    FLAG_ANY = 1 << 1,          /* of a list: any element; at most one of ANY, ALL */
    FLAG_ALL = 1 << 2,          /* all elements, and there is one */
    FLAG_ONEOF = 1 << 3,        /* the operand is a list: exactly one of its values; at most one of ONEOF, ANYOF, ALLOF, OTHER */
    FLAG_ANYOF = 1 << 4,
    FLAG_ALLOF = 1 << 5,
    FLAG_OTHER = 1 << 6,
    FLAG_EACH = FLAG_ANY | FLAG_ALL | FLAG_ONEOF | FLAG_ANYOF | FLAG_ALLOF | FLAG_OTHER,    /* several comparisons make the test */
};

struct fl_range_row {
    uint32_t first, count;      /* instructions */
};

struct fl_rule_row {
    uint32_t first, count;      /* outputs */
};

/* ---- what is made of them ---- */

struct fl_constant {
    const char *s;              /* in the program's text */
    union {
        int64_t i;
        uint64_t u;
        double f;
    };
    uint32_t len, hash;
    uint8_t kind;
    uint8_t rare;               /* of a text of FL_RARE_LEN bytes at most: where its least common byte is */
};

#define FL_RARE_LEN 64

struct fl_list {
    const struct fl_constant *values;
    uint32_t count;
    uint8_t kind, form;
    union {
        struct fl_set *set;     /* SET of strings */
        uint64_t *numbers;      /* SET of numbers: sorted */
        struct fl_trie *trie;   /* PREFIXES, SUFFIXES */
        struct fl_paths *paths;
        void *made;
    };
};

struct fl_program {
    char *bytes;
    uint32_t rows[TABLE_COUNT];
    const struct fl_value_row *value_rows;
    const struct fl_list_row *list_rows;
    const struct fl_input_row *inputs;
    const struct fl_slot_row *slot_rows;
    const struct fl_instr *code;
    const struct fl_range_row *gates, *sections;
    const uint16_t *types;
    const struct fl_rule_row *rules;
    const uint16_t *outputs;
    const char *text;
    struct fl_constant *constants;
    struct fl_list *lists;
    struct fl_slot *slots;
};

/* What the opcodes take: columns of ops.def. */
enum fl_operand {
    OPERAND_NONE, OPERAND_VALUE, OPERAND_SET, OPERAND_PLAIN, OPERAND_PREFIXES, OPERAND_SUFFIXES, OPERAND_PATHS, OPERAND_PATTERN,
    OPERAND_GATE, OPERAND_RULE, OPERAND_TRANSFORM,
};

enum fl_kinds {
    KINDS_NOTHING = 0,
    KINDS_I64 = 1 << FL_I64,
    KINDS_U64 = 1 << FL_U64,
    KINDS_F64 = 1 << FL_F64,
    KINDS_STR = 1 << FL_STR,
    KINDS_NET = 1 << FL_NET,
    KINDS_NUMBER = 1 << FL_BOOL | KINDS_I64 | KINDS_U64,
    KINDS_TEXT = KINDS_STR | 1 << FL_BYTES,
    KINDS_RAW = KINDS_TEXT | 1 << FL_IP,
    KINDS_EVERY = KINDS_NUMBER | KINDS_F64 | KINDS_RAW | KINDS_NET,
};

struct fl_op {
    uint8_t operand;            /* enum fl_operand */
    uint16_t kinds;
};

extern const struct fl_op fl_ops[OP_COUNT];

/* Checks a program's tables: no run of a program that passes can leave them, or go on for ever. 0, or a negative fl_code. */
int fl_program_verify(const struct fl_program *program, struct fl_error *error);

#endif
