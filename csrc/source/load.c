/* SPDX-License-Identifier: Apache-2.0
 *
 * The loader: an ELF object's sections, its types (BTF), its programs with their references to maps filled in.
 */
#include "load.h"

#include <elf.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/bpf.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "../bpf/probe.h"
#include "../schema/schema.h"
#include "tracefs.h"

#define TRACEPOINT "tracepoint/"        /* how the section of a program begins that runs at a tracepoint of tracefs */
#define MAX_SECTIONS 64
#define MAX_VARIABLES 64u       /* of a section, of which each is looked for among all types */
#define LOG_BYTES (256u << 10)
#define RAW_TP 23u              /* BPF_TRACE_RAW_TP */
#define ITERATOR 28u            /* BPF_TRACE_ITER */
#define SLEEPABLE 16u           /* BPF_F_SLEEPABLE */
#define LINK_CREATE 28          /* BPF_LINK_CREATE, BPF_ITER_CREATE */
#define ITER_CREATE 33
#define TYPE_EXISTS 8u          /* BPF_CORE_TYPE_EXISTS */

enum { MAP_SCRATCHES, MAP_RINGS, MAP_HANDLERS, MAP_SLOTS, MAP_ENTRIES, MAP_ITERATION, MAP_BSS, MAPS };
static const char *const map_names[MAPS] = {"fl_scratches", "fl_rings", "fl_handlers", "fl_slots", "fl_entries", "fl_iteration", ".bss"};

struct section { const char *name; const uint8_t *data; Elf64_Shdr header; };

/* BTF: a header, then types one after the other, then strings. */
struct btf { const uint8_t *types; uint32_t types_len; const char *strings; uint32_t strings_len; };
struct btf_header { uint16_t magic; uint8_t version, flags; uint32_t hdr_len, type_off, type_len, str_off, str_len; };
struct btf_type { uint32_t name, info, size; };
enum { KIND_INT = 1, KIND_ARRAY = 3, KIND_STRUCT = 4, KIND_UNION = 5, KIND_ENUM = 6, KIND_FWD = 7, KIND_TYPEDEF = 8, KIND_FUNC = 12, KIND_FUNC_PROTO = 13,
       KIND_VAR = 14, KIND_DATASEC = 15, KIND_DECL_TAG = 17, KIND_ENUM64 = 19 };

/* Of .BTF.ext: where the programs' instructions name fields of the kernel. */
struct core_relo { uint32_t insn_off, type_id, access_str_off, kind; };

/* union bpf_attr as BPF_PROG_LOAD has it since 5.17: the headers that we are built with may be older. */
struct prog_load {
    uint32_t prog_type, insn_cnt;
    uint64_t insns, license;
    uint32_t log_level, log_size;
    uint64_t log_buf;
    uint32_t kern_version, prog_flags;
    char prog_name[16];
    uint32_t prog_ifindex, expected_attach_type, prog_btf_fd, func_info_rec_size;
    uint64_t func_info;
    uint32_t func_info_cnt, line_info_rec_size;
    uint64_t line_info;
    uint32_t line_info_cnt, attach_btf_id, attach_prog_fd, core_relo_cnt;
    uint64_t fd_array, core_relos;
    uint32_t core_relo_rec_size, unused;
};

struct fl_loader {
    uint8_t *object;
    size_t size;
    struct section sections[MAX_SECTIONS];
    unsigned count;
    const Elf64_Sym *symbols;
    unsigned symbol_count;
    const char *names;          /* of symbols */
    size_t names_len;
    int btf, maps[MAPS];
    uint8_t *kernel_btf;
    size_t kernel_btf_len;
    uint32_t cast;              /* the kernel's number of bpf_rdonly_cast; 0: it has none */
    int programs[FL_PROBE_EVENTS];      /* of events; 0: not loaded */
    int others[2 * 16];         /* programs that are attached, and their links */
    char other_names[16][32];
    unsigned other_count;
    int sleepable;              /* the iterator's program that may sleep; see fl_loader_iterate */
};

/* A signal that comes while a program is verified ends that with EAGAIN, as Ctrl-C does: once its handler was called, it goes on. */
static int bpf(int command, void *attr, unsigned size)
{
    long rc;
    unsigned attempts = 16;     /* who sends signals without end has no program */

    do
        rc = syscall(SYS_bpf, command, attr, size);
    while (rc < 0 && errno == EAGAIN && --attempts);
    return (int)rc;
}

static int malformed(struct fl_error *error, const char *what) { return fl_fail(error, FL_ERR_PROBE, "the probe's object is malformed: %s", what); }

/* ---- ELF ---- */

static const char *text_at(const char *strings, size_t len, size_t at)
{
    return at < len && memchr(strings + at, 0, len - at) ? strings + at : "";
}

static struct section *find_section(struct fl_loader *l, const char *name)
{
    for (unsigned i = 0; i < l->count; i++)
        if (strcmp(l->sections[i].name, name) == 0)
            return &l->sections[i];
    return NULL;
}

static int read_sections(struct fl_loader *l, struct fl_error *error)
{
    Elf64_Ehdr head;

    if (l->size < sizeof head)
        return malformed(error, "too short");
    memcpy(&head, l->object, sizeof head);
    if (memcmp(head.e_ident, ELFMAG, SELFMAG) != 0 || head.e_ident[EI_CLASS] != ELFCLASS64 || head.e_machine != 247 /* EM_BPF */
        || head.e_shentsize != sizeof(Elf64_Shdr) || head.e_shnum > MAX_SECTIONS || head.e_shoff > l->size
        || head.e_shnum * sizeof(Elf64_Shdr) > l->size - head.e_shoff || head.e_shstrndx >= head.e_shnum)
        return malformed(error, "not an ELF object for BPF");
    l->count = head.e_shnum;
    for (unsigned i = 0; i < l->count; i++) {
        struct section *s = &l->sections[i];
        memcpy(&s->header, l->object + head.e_shoff + i * sizeof s->header, sizeof s->header);
        bool bytes = s->header.sh_type != SHT_NOBITS && s->header.sh_type != SHT_NULL;
        if (bytes && (s->header.sh_offset > l->size || s->header.sh_size > l->size - s->header.sh_offset))
            return malformed(error, "a section is beyond its end");
        s->data = bytes ? l->object + s->header.sh_offset : NULL;
    }
    struct section *names = &l->sections[head.e_shstrndx];
    for (unsigned i = 0; i < l->count; i++) {
        struct section *s = &l->sections[i];
        s->name = names->data ? text_at((const char *)names->data, names->header.sh_size, s->header.sh_name) : "";
        if (s->header.sh_type == SHT_SYMTAB && s->data && s->header.sh_link < l->count && l->sections[s->header.sh_link].data) {
            if (s->header.sh_offset % _Alignof(Elf64_Sym))
                return malformed(error, "its symbols are not aligned");
            l->symbols = (const void *)s->data;
            l->symbol_count = (unsigned)(s->header.sh_size / sizeof(Elf64_Sym));
            l->names = (const char *)l->sections[s->header.sh_link].data;
            l->names_len = l->sections[s->header.sh_link].header.sh_size;
        }
    }
    struct section *types = find_section(l, ".BTF"), *more = find_section(l, ".BTF.ext");
    return l->symbols && types && types->data && more && more->data ? FL_OK : malformed(error, "no symbols, or no types");
}

static const char *symbol_name(const struct fl_loader *l, const Elf64_Sym *symbol) { return text_at(l->names, l->names_len, symbol->st_name); }

static const Elf64_Sym *find_symbol(const struct fl_loader *l, const char *name)
{
    for (unsigned i = 0; i < l->symbol_count; i++)
        if (l->symbols[i].st_shndx < l->count && strcmp(symbol_name(l, &l->symbols[i]), name) == 0)
            return &l->symbols[i];
    return NULL;
}

/* ---- BTF ---- */

static bool open_btf(struct btf *btf, const uint8_t *data, size_t len)
{
    struct btf_header head;

    if (len < sizeof head)
        return false;
    memcpy(&head, data, sizeof head);
    if (head.magic != 0xeb9f || head.hdr_len > len)
        return false;
    size_t left = len - head.hdr_len;
    if (head.type_off > left || head.type_len > left - head.type_off || head.str_off > left || head.str_len > left - head.str_off)
        return false;
    *btf = (struct btf){data + head.hdr_len + head.type_off, head.type_len, (const char *)data + head.hdr_len + head.str_off, head.str_len};
    return true;
}

/* The bytes that follow a type's three words */
static uint32_t more_of(const struct btf_type *t)
{
    uint32_t members = t->info & 0xffff;

    switch (t->info >> 24 & 0x1f) {
    case KIND_INT: case KIND_VAR: case KIND_DECL_TAG: return 4;
    case KIND_ARRAY: return 12;
    case KIND_STRUCT: case KIND_UNION: case KIND_DATASEC: case KIND_ENUM64: return members * 12;
    case KIND_ENUM: case KIND_FUNC_PROTO: return members * 8;
    default: return 0;
    }
}

/* The next type from *at on: false at the end */
static bool next_type(const struct btf *btf, uint32_t *at, struct btf_type *t, uint32_t *start)
{
    if (btf->types_len - *at < sizeof *t)
        return false;
    memcpy(t, btf->types + *at, sizeof *t);
    uint32_t more = more_of(t);
    if (more > btf->types_len - *at - sizeof *t)
        return false;
    *start = *at;
    *at += (uint32_t)sizeof *t + more;
    return true;
}

static uint32_t find_type(const struct btf *btf, unsigned kind, const char *name, struct btf_type *found)
{
    uint32_t at = 0, start, id = 1;

    for (; next_type(btf, &at, found, &start); id++)
        if ((found->info >> 24 & 0x1f) == kind && strcmp(text_at(btf->strings, btf->strings_len, found->name), name) == 0)
            return id;
    return 0;
}

/* The compiler leaves sizes and offsets of variables open; the kernel wants them. */
static bool complete_sections(struct fl_loader *l, const struct btf *btf, uint8_t *types)
{
    uint32_t at = 0, start, sections = 0;
    struct btf_type t;

    while (next_type(btf, &at, &t, &start)) {
        if ((t.info >> 24 & 0x1f) != KIND_DATASEC)
            continue;
        struct section *section = find_section(l, text_at(btf->strings, btf->strings_len, t.name));
        uint32_t size = section ? (uint32_t)section->header.sh_size : 0, members = t.info & 0xffff;
        if (members > MAX_VARIABLES || ++sections > MAX_SECTIONS)
            return false;
        memcpy(types + start + 8, &size, 4);
        for (uint32_t i = 0; i < members; i++) {
            uint8_t *member = types + start + 12 + 12 * i;
            uint32_t type, at_var = 0, var_start, id = 1;
            struct btf_type var;
            memcpy(&type, member, 4);
            while (next_type(btf, &at_var, &var, &var_start) && id != type)
                id++;
            const Elf64_Sym *symbol = find_symbol(l, text_at(btf->strings, btf->strings_len, var.name));
            uint32_t offset = symbol ? (uint32_t)symbol->st_value : 0;
            memcpy(member + 4, &offset, 4);
        }
        for (uint32_t i = 1; i < members; i++)          /* in order of their offsets */
            for (uint32_t k = i; k > 0; k--) {
                uint8_t *one = types + start + 12 + 12 * (k - 1), swap[12];
                uint32_t a, b;
                memcpy(&a, one + 4, 4);
                memcpy(&b, one + 16, 4);
                if (a <= b)
                    break;
                memcpy(swap, one, 12);
                memcpy(one, one + 12, 12);
                memcpy(one + 12, swap, 12);
            }
    }
    return true;
}

static int load_btf(struct fl_loader *l, struct btf *btf, struct fl_error *error)
{
    struct section *section = find_section(l, ".BTF");

    if (!open_btf(btf, section->data, section->header.sh_size))
        return malformed(error, "its types");
    if (!complete_sections(l, btf, (uint8_t *)(uintptr_t)btf->types))
        return malformed(error, "too many variables");
    union bpf_attr attr = {.btf = (uint64_t)(uintptr_t)section->data, .btf_size = (uint32_t)section->header.sh_size};
    l->btf = bpf(BPF_BTF_LOAD, &attr, sizeof attr);
    return l->btf < 0 ? fl_fail(error, FL_ERR_PROBE, "the kernel refuses the probe's types: %s", strerror(errno)) : FL_OK;
}

static int read_kernel_btf(struct fl_loader *l, struct fl_error *error)
{
    int fd = open("/sys/kernel/btf/vmlinux", O_RDONLY | O_CLOEXEC);
    size_t room = 16u << 20;
    ssize_t n = 0;

    if (fd < 0)
        return fl_fail(error, FL_ERR_PROBE, "/sys/kernel/btf/vmlinux: %s", strerror(errno));
    l->kernel_btf = malloc(room);
    while (l->kernel_btf && l->kernel_btf_len < room && (n = read(fd, l->kernel_btf + l->kernel_btf_len, room - l->kernel_btf_len)) > 0)
        l->kernel_btf_len += (size_t)n;
    close(fd);
    if (!l->kernel_btf)
        return fl_fail(error, FL_ERR_MEMORY, "out of memory");
    struct btf kernel;
    struct btf_type found;
    if (open_btf(&kernel, l->kernel_btf, l->kernel_btf_len))
        l->cast = find_type(&kernel, KIND_FUNC, "bpf_rdonly_cast", &found);
    return FL_OK;
}

/* ---- maps ---- */

static int create_map(union bpf_attr attr, const char *name)
{
    strncpy(attr.map_name, name, sizeof attr.map_name - 1);
    return bpf(BPF_MAP_CREATE, &attr, sizeof attr);
}

static int create_outer(union bpf_attr inner, const char *name)
{
    int template = create_map(inner, name), outer = -1;

    if (template >= 0) {
        outer = create_map((union bpf_attr){.map_type = BPF_MAP_TYPE_ARRAY_OF_MAPS, .key_size = 4, .value_size = 4, .max_entries = FL_PROBE_CPUS,
                                            .inner_map_fd = (uint32_t)template}, name);
        close(template);
    }
    return outer;
}

static int create_maps(struct fl_loader *l, const struct btf *btf, struct fl_error *error)
{
    struct btf_type entry, number;
    uint32_t entry_id = find_type(btf, KIND_STRUCT, "entry", &entry), int_id = find_type(btf, KIND_INT, "int", &number);
    struct section *bss = find_section(l, ".bss");

    if (!entry_id || !int_id || !bss || bss->header.sh_size < sizeof(struct fl_probe_shared) || bss->header.sh_size > 1u << 20)
        return malformed(error, "its variables are not those of this version");
    l->maps[MAP_SCRATCHES] = create_outer((union bpf_attr){.map_type = BPF_MAP_TYPE_ARRAY, .key_size = 4, .value_size = FL_PROBE_SCRATCH,
                                                           .max_entries = 1}, "fl_scratches");
    l->maps[MAP_RINGS] = create_outer((union bpf_attr){.map_type = BPF_MAP_TYPE_RINGBUF, .max_entries = 4096}, "fl_rings");
    l->maps[MAP_HANDLERS] = create_map((union bpf_attr){.map_type = BPF_MAP_TYPE_PROG_ARRAY, .key_size = 4, .value_size = 4,
                                                        .max_entries = FL_PROBE_EVENTS}, "fl_handlers");
    l->maps[MAP_SLOTS] = create_map((union bpf_attr){.map_type = BPF_MAP_TYPE_ARRAY, .key_size = 4, .value_size = entry.size,
                                                     .max_entries = FL_PROBE_SLOTS + FL_PROBE_CPUS}, "fl_slots");
    l->maps[MAP_ENTRIES] = create_map((union bpf_attr){.map_type = BPF_MAP_TYPE_TASK_STORAGE, .key_size = 4, .value_size = entry.size,
                                                       .map_flags = BPF_F_NO_PREALLOC, .btf_fd = (uint32_t)l->btf, .btf_key_type_id = int_id,
                                                       .btf_value_type_id = entry_id}, "fl_entries");
    l->maps[MAP_ITERATION] = create_map((union bpf_attr){.map_type = BPF_MAP_TYPE_ARRAY, .key_size = 4, .value_size = FL_PROBE_SCRATCH,
                                                         .max_entries = 1}, "fl_iteration");
    l->maps[MAP_BSS] = create_map((union bpf_attr){.map_type = BPF_MAP_TYPE_ARRAY, .key_size = 4, .value_size = (uint32_t)bss->header.sh_size,
                                                   .max_entries = 1, .map_flags = BPF_F_MMAPABLE}, "fl_bss");
    for (unsigned i = 0; i < MAPS; i++)
        if (l->maps[i] < 0)
            return fl_fail(error, FL_ERR_PROBE, "the kernel refuses the probe's map %s: %s", map_names[i], strerror(errno));
    return FL_OK;
}

/* ---- programs ---- */

static int refer(struct fl_loader *l, struct bpf_insn *insns, const Elf64_Sym *function, const Elf64_Rel *rel, struct fl_error *error)
{
    uint64_t at = (rel->r_offset - function->st_value) / 8;
    uint32_t which = ELF64_R_SYM(rel->r_info);

    if (which >= l->symbol_count || at + 1 >= function->st_size / 8 || insns[at].code != (BPF_LD | BPF_IMM | BPF_DW))
        return malformed(error, "a relocation");
    const Elf64_Sym *symbol = &l->symbols[which];
    const char *section = symbol->st_shndx < l->count ? l->sections[symbol->st_shndx].name : "";
    if (strcmp(section, ".bss") == 0) {
        insns[at + 1].imm = (int32_t)((uint32_t)insns[at].imm + (uint32_t)symbol->st_value);
        insns[at].src_reg = BPF_PSEUDO_MAP_VALUE;
        insns[at].imm = l->maps[MAP_BSS];
        return FL_OK;
    }
    for (unsigned i = 0; i < MAP_BSS; i++)
        if (strcmp(symbol_name(l, symbol), map_names[i]) == 0) {
            insns[at].src_reg = BPF_PSEUDO_MAP_FD;
            insns[at].imm = l->maps[i];
            return FL_OK;
        }
    return malformed(error, "a relocation to something unknown");
}

/*
 * The relocations of one program's fields: rows of .BTF.ext, with offsets counted from its first instruction. The number of them, or -1.
 * What asks for casts is answered here, if the kernel has them.
 */
static long core_relos(struct fl_loader *l, const struct btf *btf, const char *section_name, const Elf64_Sym *function, struct bpf_insn *insns,
                       struct core_relo **out)
{
    struct section *ext = find_section(l, ".BTF.ext");
    struct { uint16_t magic; uint8_t version, flags; uint32_t hdr_len, func_off, func_len, line_off, line_len, core_off, core_len; } head;
    const uint8_t *data = ext->data;
    size_t len = ext->header.sh_size;

    struct btf_type found_casts;
    uint32_t casts = l->cast ? find_type(btf, KIND_FWD, "fl_casts", &found_casts) : 0;

    *out = NULL;
    if (len < sizeof head)
        return -1;
    memcpy(&head, data, sizeof head);
    if (head.hdr_len < sizeof head || head.hdr_len > len || head.core_off > len - head.hdr_len || head.core_len > len - head.hdr_len - head.core_off)
        return -1;
    data += head.hdr_len + head.core_off;
    len = head.core_len;
    if (len < 4)
        return 0;
    data += 4;                  /* the size of a row */
    len -= 4;
    while (len >= 8) {
        uint32_t name, rows;
        memcpy(&name, data, 4);
        memcpy(&rows, data + 4, 4);
        data += 8;
        len -= 8;
        if (rows > len / sizeof(struct core_relo))
            return -1;
        if (strcmp(text_at(btf->strings, btf->strings_len, name), section_name) == 0) {
            struct core_relo *found = malloc((size_t)(rows ? rows : 1) * sizeof *found);
            long count = 0;
            for (uint32_t i = 0; found && i < rows; i++) {
                memcpy(&found[count], data + i * sizeof *found, sizeof *found);
                if (found[count].insn_off >= function->st_value && found[count].insn_off < function->st_value + function->st_size) {
                    found[count].insn_off -= (uint32_t)function->st_value;
                    if (casts && found[count].kind == TYPE_EXISTS && found[count].type_id == casts)
                        insns[found[count].insn_off / 8].imm = 1;
                    else
                        count++;
                }
            }
            *out = found;
            return found ? count : -1;
        }
        data += rows * sizeof(struct core_relo);
        len -= rows * sizeof(struct core_relo);
    }
    return 0;
}

/* The last line of the verifier's log that says something */
static void last_words(char *log, char out[120])
{
    char *line = NULL, *rest = log;

    for (char *one; (one = strsep(&rest, "\n"));)
        if (*one && strncmp(one, "processed ", 10) != 0)
            line = one;
    snprintf(out, 120, "%s", line ? line : "");
}

/* What a program is for, as its section tells. The rest of that one's name, behind a prefix, is the type of the kernel that it runs with. */
static const struct kind { const char *section, *prefix; unsigned target; uint32_t type, attach, flags; } kinds[] = {
    {"tp_btf/", "btf_trace_", KIND_TYPEDEF, BPF_PROG_TYPE_TRACING, RAW_TP, 0},
    {TRACEPOINT, NULL, 0, BPF_PROG_TYPE_TRACEPOINT, 0, 0},
    {"?iter/", "bpf_iter_", KIND_FUNC, BPF_PROG_TYPE_TRACING, ITERATOR, 0},
    {"?iter.s/", "bpf_iter_", KIND_FUNC, BPF_PROG_TYPE_TRACING, ITERATOR, SLEEPABLE},
};

static const struct kind *kind_of(const char *section)
{
    for (size_t i = 0; i < sizeof kinds / sizeof *kinds; i++)
        if (strncmp(section, kinds[i].section, strlen(kinds[i].section)) == 0)
            return &kinds[i];
    return NULL;
}

static int load_program(struct fl_loader *l, const char *name, struct fl_error *error)
{
    const Elf64_Sym *function = find_symbol(l, name);
    struct btf btf, kernel;
    char section_name[72], target[64];

    if (!function || !l->sections[function->st_shndx].data)
        return malformed(error, name);
    struct section *section = &l->sections[function->st_shndx];
    const struct kind *kind = kind_of(section->name);
    if (function->st_value > section->header.sh_size || function->st_size > section->header.sh_size - function->st_value || function->st_size % 8
        || !kind)
        return malformed(error, name);
    snprintf(section_name, sizeof section_name, ".rel%s", section->name);
    snprintf(target, sizeof target, "%s%s", kind->prefix ? kind->prefix : "", section->name + strlen(kind->section));
    struct section *own = find_section(l, ".BTF");
    struct btf_type found;
    if (!open_btf(&btf, own->data, own->header.sh_size) || !open_btf(&kernel, l->kernel_btf, l->kernel_btf_len))
        return malformed(error, "types");
    uint32_t attach = kind->prefix ? find_type(&kernel, kind->target, target, &found) : 0;
    if (kind->prefix && !attach)
        return fl_fail(error, FL_ERR_PROBE, "this kernel has no %s", section->name);

    struct core_relo *relos = NULL;
    struct bpf_insn *insns = malloc(function->st_size);
    if (insns)
        memcpy(insns, section->data + function->st_value, function->st_size);
    long count = insns ? core_relos(l, &btf, section->name, function, insns, &relos) : -1;
    int rc = count < 0 ? malformed(error, name) : FL_OK;
    for (size_t i = 0; insns && l->cast && i < function->st_size / 8; i++)
        if (insns[i].code == (BPF_JMP | BPF_CALL) && insns[i].src_reg == 0 && insns[i].imm == FL_PROBE_CAST) {
            insns[i].src_reg = BPF_PSEUDO_KFUNC_CALL;
            insns[i].imm = (int32_t)l->cast;
        }
    struct section *references = find_section(l, section_name);
    for (size_t i = 0; references && references->data && rc == FL_OK && i < references->header.sh_size / sizeof(Elf64_Rel); i++) {
        Elf64_Rel rel;
        memcpy(&rel, references->data + i * sizeof rel, sizeof rel);
        if (rel.r_offset >= function->st_value && rel.r_offset < function->st_value + function->st_size)
            rc = refer(l, insns, function, &rel, error);
    }
    int fd = -1;
    if (rc == FL_OK) {
        static const char license[] = "GPL";
        /* without it the kernel leaves the relocations alone */
        struct { uint32_t insn_off, type_id; } info = {0, find_type(&btf, KIND_FUNC, name, &found)};
        struct prog_load attr = {.prog_type = kind->type, .insn_cnt = (uint32_t)(function->st_size / 8), .insns = (uint64_t)(uintptr_t)insns,
                                 .license = (uint64_t)(uintptr_t)license, .expected_attach_type = kind->attach, .prog_flags = kind->flags,
                                 .prog_btf_fd = (uint32_t)l->btf, .func_info_rec_size = sizeof info,
                                 .func_info = (uint64_t)(uintptr_t)&info, .func_info_cnt = 1, .attach_btf_id = attach, .core_relo_cnt = (uint32_t)count,
                                 .core_relos = (uint64_t)(uintptr_t)relos, .core_relo_rec_size = sizeof *relos};
        strncpy(attr.prog_name, name, sizeof attr.prog_name - 1);
        fd = bpf(BPF_PROG_LOAD, &attr, sizeof attr);
        if (fd < 0) {           /* again, for its reasons */
            int why = errno;
            char words[120] = "", *log = malloc(LOG_BYTES);
            if (log) {
                *log = 0;
                attr.log_level = 1;
                attr.log_size = LOG_BYTES;
                attr.log_buf = (uint64_t)(uintptr_t)log;
                fd = bpf(BPF_PROG_LOAD, &attr, sizeof attr);
                log[LOG_BYTES - 1] = 0;
                last_words(log, words);
                free(log);
            }
            if (fd < 0)
                rc = fl_fail(error, FL_ERR_PROBE, "the kernel refuses the program %s: %s%s%s", name, strerror(why), *words ? ": " : "", words);
        }
    }
    free(insns);
    free(relos);
    return rc == FL_OK ? fd : rc;
}

/* ---- the interface ---- */

struct fl_loader *fl_loader_new(const void *object, size_t size, struct fl_error *error)
{
    struct fl_loader *l = calloc(1, sizeof *l);
    struct btf btf;

    if (!l)
        goto out_of_memory;
    l->btf = l->sleepable = -1;
    for (unsigned i = 0; i < MAPS; i++)
        l->maps[i] = -1;
    l->object = malloc(size ? size : 1);
    if (!l->object)
        goto out_of_memory;
    memcpy(l->object, object, size);
    l->size = size;
    if (read_sections(l, error) || read_kernel_btf(l, error) || load_btf(l, &btf, error) || create_maps(l, &btf, error)) {
        fl_loader_free(l);
        return NULL;
    }
    return l;

out_of_memory:
    fl_fail(error, FL_ERR_MEMORY, "out of memory");
    fl_loader_free(l);
    return NULL;
}

void fl_loader_free(struct fl_loader *l)
{
    if (!l)
        return;
    for (unsigned i = l->other_count; i-- > 0;)
        close(l->others[i]);
    if (l->sleepable >= 0)
        close(l->sleepable);
    for (unsigned i = 0; i < FL_PROBE_EVENTS; i++)
        if (l->programs[i] > 0)
            close(l->programs[i]);
    for (unsigned i = 0; i < MAPS; i++)
        if (l->maps[i] >= 0)
            close(l->maps[i]);
    if (l->btf >= 0)
        close(l->btf);
    free(l->kernel_btf);
    free(l->object);
    free(l);
}

int fl_loader_map(const struct fl_loader *l, const char *name)
{
    for (unsigned i = 0; i < MAPS; i++)
        if (strcmp(map_names[i], name) == 0)
            return l->maps[i];
    return -1;
}

int fl_loader_handlers(struct fl_loader *l, const uint8_t *events, unsigned count, struct fl_error *error)
{
    for (uint32_t id = 0; id < count && id < FL_EV_COUNT; id++) {
        char name[64];
        snprintf(name, sizeof name, "fl_x_%s", fl_events[id].code);
        if (!events[id] || l->programs[id] || !find_symbol(l, name))
            continue;
        int fd = load_program(l, name, error);
        if (fd < 0)
            return fd;
        l->programs[id] = fd;
        union bpf_attr attr = {.map_fd = (uint32_t)l->maps[MAP_HANDLERS], .key = (uint64_t)(uintptr_t)&id, .value = (uint64_t)(uintptr_t)&fd};
        if (bpf(BPF_MAP_UPDATE_ELEM, &attr, sizeof attr))
            return fl_fail(error, FL_ERR_PROBE, "the kernel refuses %s among the handlers: %s", name, strerror(errno));
    }
    return FL_OK;
}

int fl_loader_attach(struct fl_loader *l, const char *program, struct fl_error *error)
{
    if (l->other_count + 2 > sizeof l->others / sizeof *l->others)
        return fl_fail(error, FL_ERR_ARGUMENT, "too many programs");
    int fd = load_program(l, program, error);
    if (fd < 0)
        return fd;
    const char *section = l->sections[find_symbol(l, program)->st_shndx].name;
    union bpf_attr attr = {.raw_tracepoint = {.prog_fd = (uint32_t)fd}};
    int link;
    if (strncmp(section, TRACEPOINT, sizeof TRACEPOINT - 1) == 0) {
        link = fl_tracefs_attach(section + sizeof TRACEPOINT - 1, fd, error);
    } else {
        link = bpf(BPF_RAW_TRACEPOINT_OPEN, &attr, sizeof attr);
        if (link < 0)
            fl_fail(error, FL_ERR_PROBE, "the kernel refuses to attach %s: %s", program, strerror(errno));
    }
    if (link < 0) {
        close(fd);
        return FL_ERR_PROBE;
    }
    snprintf(l->other_names[l->other_count / 2], sizeof l->other_names[0], "%s", program);
    l->others[l->other_count++] = fd;
    l->others[l->other_count++] = link;
    return FL_OK;
}

int fl_loader_iterate(struct fl_loader *l, const char *program, struct fl_error *error)
{
    int fd = load_program(l, program, error);
    if (fd < 0)
        return fd;
    struct { uint32_t prog_fd, target_fd, attach_type, flags; uint64_t more[4]; } link = {.prog_fd = (uint32_t)fd, .attach_type = ITERATOR};
    int linked = bpf(LINK_CREATE, &link, sizeof link), iterator = -1;
    if (linked >= 0) {
        struct { uint32_t link_fd, flags; } create = {.link_fd = (uint32_t)linked};
        iterator = bpf(ITER_CREATE, &create, sizeof create);
    }
    int why = errno;
    if (linked >= 0)
        close(linked);          /* the iterator holds what it needs */
    /* To free a program that may sleep the kernel begins a grace period, and a process that runs meanwhile pays for it at each tracepoint from
     * then on: so it stays until our tracepoints are gone. */
    if (l->sleepable < 0 && kind_of(l->sections[find_symbol(l, program)->st_shndx].name)->flags & SLEEPABLE)
        l->sleepable = fd;
    else
        close(fd);
    return iterator < 0 ? fl_fail(error, FL_ERR_PROBE, "the kernel refuses to iterate by %s: %s", program, strerror(why)) : iterator;
}

int fl_loader_program(const struct fl_loader *l, unsigned n, char name[64])
{
    if (n < l->other_count / 2) {
        snprintf(name, 64, "%s", l->other_names[n]);
        return l->others[2 * n];
    }
    n -= l->other_count / 2;
    for (unsigned id = 0; id < FL_EV_COUNT; id++)
        if (l->programs[id] > 0 && n-- == 0) {
            snprintf(name, 64, "fl_x_%s", fl_events[id].code);
            return l->programs[id];
        }
    return -1;
}

bool fl_loader_ran(int program, uint64_t *runs, uint64_t *ns)
{
    struct bpf_prog_info info = {0};
    union bpf_attr attr = {.info = {.bpf_fd = (uint32_t)program, .info_len = sizeof info, .info = (uint64_t)(uintptr_t)&info}};

    if (bpf(BPF_OBJ_GET_INFO_BY_FD, &attr, sizeof attr))
        return false;
    *runs = info.run_cnt;
    *ns = info.run_time_ns;
    return true;
}
