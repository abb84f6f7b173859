/* SPDX-License-Identifier: Apache-2.0 */
#include "scap_blocks.h"

#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>

const struct fl_block_info *fl_block_find(uint32_t code)
{
    switch (code) {
#define B(class, version, name, code) \
    case code: { \
        static const struct fl_block_info info = {FL_BLOCK_##class, version, name, code}; \
        return &info; \
    }
        FL_SCAP_BLOCKS(B)
#undef B
    default:
        return NULL;
    }
}

/* ---- reading bytes: past the end everything is zero, and `bad` stays set ---- */

struct cursor {
    const uint8_t *at, *end;
    int bad;
};

static size_t left(const struct cursor *c)
{
    return (size_t)(c->end - c->at);
}

static const uint8_t *take(struct cursor *c, size_t bytes)
{
    if (bytes > left(c)) {
        c->bad = 1;
        c->at = c->end;
        return NULL;
    }
    const uint8_t *p = c->at;
    c->at += bytes;
    return p;
}

static void take_to(struct cursor *c, void *to, size_t bytes)
{
    const uint8_t *p = take(c, bytes);
    if (p)
        memcpy(to, p, bytes);
}

static uint8_t u8(struct cursor *c) { uint8_t v = 0; take_to(c, &v, 1); return v; }
static uint16_t u16(struct cursor *c) { uint16_t v = 0; take_to(c, &v, 2); return v; }
static uint32_t u32(struct cursor *c) { uint32_t v = 0; take_to(c, &v, 4); return v; }
static uint64_t u64(struct cursor *c) { uint64_t v = 0; take_to(c, &v, 8); return v; }
static int64_t i64(struct cursor *c) { return (int64_t)u64(c); }

static struct fl_slice slice(struct cursor *c, size_t len)
{
    const uint8_t *p = take(c, len);
    return p && len ? (struct fl_slice){(const char *)p, (uint32_t)len} : (struct fl_slice){"", 0};
}

/* u16 length and bytes, without a NUL. */
static struct fl_slice str(struct cursor *c)
{
    return slice(c, u16(c));
}

static int fail(char why[128], const char *format, ...) __attribute__((format(printf, 2, 3)));
static int fail(char why[128], const char *format, ...)
{
    va_list args;
    va_start(args, format);
    vsnprintf(why, 128, format, args);
    va_end(args);
    return -1;
}

/* Where entries tell their length (`before`: bytes of the length word that the length doesn't count), the cursor is cut to the entry, and
 * *next is what comes after it. */
static int sized_entry(struct cursor *c, uint32_t before, const uint8_t **next, char why[128])
{
    const uint8_t *start = c->at;
    size_t room = left(c);
    uint32_t len = u32(c);
    uint64_t total = (uint64_t)len + before;

    if (c->bad || total < 4 || total > room)
        return fail(why, "an entry's length %" PRIu32 " is not in 4..%zu", len, room);
    c->end = start + total;
    *next = c->end;
    return 0;
}

/* ---- blocks ---- */

#define MAGIC 0x1A2B3C4Du
#define MAGIC_SWAPPED 0x4D3C2B1Au

static int section(struct cursor *c, struct fl_scap_item *item, char why[128])
{
    uint32_t magic = u32(c);
    uint16_t major = u16(c);
    u16(c);                     /* minor */
    u64(c);                     /* length of the section: not told by any writer */
    if (c->bad)
        return fail(why, "too short");
    if (magic == MAGIC_SWAPPED)
        return fail(why, "the capture is big-endian, which is not supported");
    if (magic != MAGIC)
        return fail(why, "the magic number is 0x%08" PRIx32 ", not 0x%08x", magic, MAGIC);
    if (major > 1)
        return fail(why, "version %u of the format is not supported", major);
    item->kind = FL_SCAP_SECTION;
    return 0;
}

static int machine(struct cursor *c, struct fl_scap_item *item, char why[128])
{
    struct fl_scap_machine *m = &item->machine;
    m->num_cpus = u32(c);
    m->memory_bytes = u64(c);
    m->max_pid = u64(c);
    m->hostname = slice(c, 128);
    m->boot_ts = u64(c);
    m->flags = u64(c);
    take(c, 16);                /* reserved */
    if (c->bad)
        return fail(why, "too short");
    m->hostname.len = (uint32_t)strnlen(m->hostname.data, m->hostname.len);
    item->kind = FL_SCAP_MACHINE;
    return 0;
}

/* What follows the root in entries of V9. Writers of different age stop at different places, so what doesn't fit is absent. */
static void process_tail(struct cursor *c, struct fl_scap_process *p)
{
    /* The earliest writers had neither of the first two, and nothing after the capabilities: 4 + 1 + 3 x 8 bytes at most. */
    int early = left(c) <= 29;
#define REST(field, read, bytes) \
    do { \
        if (left(c) < (bytes)) \
            return; \
        p->field = read(c); \
    } while (0)
    if (!early) {
        REST(pidns_init_start_ts, u64, 8);
        REST(tty, u32, 4);
    }
    REST(loginuid, u32, 4);
    REST(exe_writable, u8, 1);
    REST(cap_inheritable, u64, 8);
    REST(cap_permitted, u64, 8);
    REST(cap_effective, u64, 8);
    REST(exe_upper_layer, u8, 1);
    REST(exe_ino, u64, 8);
    REST(exe_ino_ctime, u64, 8);
    REST(exe_ino_mtime, u64, 8);
    REST(exe_from_memfd, u8, 1);
    REST(exe_lower_layer, u8, 1);
    REST(pgid, i64, 8);
#undef REST
}

/* A program's path as /proc told it to the recorder: what it says of a file that was removed is no part of the path. */
static struct fl_slice program(struct cursor *c)
{
    static const char removed[] = " (deleted)";
    struct fl_slice path = str(c);
    uint32_t len = sizeof removed - 1;

    if (path.len > len && memcmp(path.data + path.len - len, removed, len) == 0)
        path.len -= len;
    return path;
}

static int process(struct cursor *c, unsigned version, struct fl_scap_item *item, char why[128])
{
    struct fl_scap_process *p = &item->process;
    const uint8_t *next = NULL;

    memset(p, 0, sizeof *p);
    p->exepath = p->env = p->cgroups = p->root = (struct fl_slice){"", 0};
    p->sid = p->vpgid = p->pgid = p->vtid = p->vpid = -1;
    p->loginuid = UINT32_MAX;
    if (version >= 9 && sized_entry(c, 0, &next, why))
        return -1;
    p->tid = i64(c);
    p->pid = i64(c);
    p->ptid = i64(c);
    if (version >= 6)
        p->sid = i64(c);
    if (version >= 8)
        p->vpgid = i64(c);
    p->comm = str(c);
    p->exe = str(c);
    if (version >= 7)
        p->exepath = program(c);
    p->args = str(c);
    p->cwd = str(c);
    p->fdlimit = i64(c);
    p->flags = u32(c);
    p->uid = u32(c);
    p->gid = u32(c);
    if (version >= 2) {
        p->vmsize_kb = u32(c);
        p->vmrss_kb = u32(c);
        p->vmswap_kb = u32(c);
        p->pfmajor = u64(c);
        p->pfminor = u64(c);
    }
    if (version >= 3)
        p->env = str(c);
    if (version >= 4) {
        p->vtid = i64(c);
        p->vpid = i64(c);
        p->cgroups = str(c);
    }
    if (version >= 5)
        p->root = str(c);
    if (c->bad)
        return fail(why, "a process entry exceeds %s", version >= 9 ? "its length" : "the block");
    if (version >= 9) {
        process_tail(c, p);
        c->at = next;
    }
    item->kind = FL_SCAP_PROCESS;
    return 0;
}

static int descriptor(struct cursor *c, unsigned version, int64_t tid, struct fl_scap_item *item, char why[128])
{
    struct fl_scap_fd *f = &item->fd;
    const uint8_t *next = NULL;

    memset(f, 0, sizeof *f);
    f->name = (struct fl_slice){"", 0};
    if (version >= 2 && sized_entry(c, 0, &next, why))
        return -1;
    f->tid = tid;
    f->fd = i64(c);
    f->ino = u64(c);
    f->type = u8(c);
    switch (f->type) {
    case FL_FD_IPV4_SOCK:
    case FL_FD_IPV6_SOCK: {
        size_t bytes = f->type == FL_FD_IPV4_SOCK ? 4 : 16;
        take_to(c, f->sip, bytes);
        take_to(c, f->dip, bytes);
        f->sport = u16(c);
        f->dport = u16(c);
        f->l4 = u8(c);
        break;
    }
    case FL_FD_IPV4_SERVSOCK:
    case FL_FD_IPV6_SERVSOCK:
        take_to(c, f->sip, f->type == FL_FD_IPV4_SERVSOCK ? 4 : 16);
        f->sport = u16(c);
        f->l4 = u8(c);
        break;
    case FL_FD_UNIX_SOCK:
        f->source = u64(c);
        f->destination = u64(c);
        f->name = str(c);
        break;
    case FL_FD_FILE_V2:
        f->open_flags = u32(c);
        f->name = str(c);
        if (version >= 2 && left(c) >= 4)
            f->dev = u32(c);
        break;
    default:
        if (f->type <= FL_FD_PIDFD) {
            f->name = str(c);
        } else if (version >= 2) {
            f->type = FL_FD_UNSUPPORTED;    /* of a newer schema: its payload is passed over */
        } else {
            return fail(why, "a descriptor of the unknown type %u", f->type);
        }
    }
    if (c->bad)
        return fail(why, "a descriptor's entry exceeds %s", version >= 2 ? "its length" : "the block");
    if (version >= 2)
        c->at = next;
    item->kind = FL_SCAP_FD;
    return 0;
}

static int interface(struct cursor *c, unsigned version, struct fl_scap_item *item, char why[128])
{
    struct fl_scap_interface *f = &item->interface;
    const uint8_t *next = NULL;

    memset(f, 0, sizeof *f);
    if (version >= 2 && sized_entry(c, 4, &next, why))
        return -1;
    uint16_t type = u16(c), name = u16(c);
    item->kind = FL_SCAP_INTERFACE;
    if (type >= 1 && type <= 4) {
        f->v6 = type == 2 || type == 4;
        size_t bytes = f->v6 ? 16 : 4;
        take_to(c, f->addr, bytes);
        take_to(c, f->netmask, bytes);
        take_to(c, f->broadcast, bytes);
        if (type <= 2)
            u64(c);             /* speed of the link */
        f->name = slice(c, name);
    } else if (version >= 2) {
        item->kind = FL_SCAP_MORE;
    } else {
        return fail(why, "an interface of the unknown type %u", type);
    }
    if (c->bad)
        return fail(why, "an interface's entry exceeds %s", version >= 2 ? "its length" : "the block");
    if (version >= 2)
        c->at = next;
    return 0;
}

static int user_or_group(struct cursor *c, unsigned version, struct fl_scap_item *item, char why[128])
{
    const uint8_t *next = NULL;

    if (version >= 2 && sized_entry(c, 0, &next, why))
        return -1;
    uint8_t kind = u8(c);
    switch (kind) {
    case 0:
        item->kind = FL_SCAP_USER;
        item->user.uid = u32(c);
        item->user.gid = u32(c);
        item->user.name = str(c);
        item->user.home = str(c);
        item->user.shell = str(c);
        break;
    case 1:
        item->kind = FL_SCAP_GROUP;
        item->group.gid = u32(c);
        item->group.name = str(c);
        break;
    default:
        if (version < 2)
            return fail(why, "an entry of the unknown kind %u", kind);
        item->kind = FL_SCAP_MORE;
    }
    if (c->bad)
        return fail(why, "an entry exceeds %s", version >= 2 ? "its length" : "the block");
    if (version >= 2)
        c->at = next;
    return 0;
}

int fl_block_entry(const struct fl_block_info *block, const uint8_t *data, size_t len, int64_t tid, struct fl_scap_item *item, size_t *used,
                   char why[128])
{
    struct cursor c = {data, data + len, 0};
    int result;

    switch (block->class_) {
    case FL_BLOCK_SECTION: result = section(&c, item, why); break;
    case FL_BLOCK_MACHINE: result = machine(&c, item, why); break;
    case FL_BLOCK_PROCESSES: result = process(&c, block->version, item, why); break;
    case FL_BLOCK_FDS: result = descriptor(&c, block->version, tid, item, why); break;
    case FL_BLOCK_INTERFACES: result = interface(&c, block->version, item, why); break;
    default: result = user_or_group(&c, block->version, item, why); break;
    }
    *used = (size_t)(c.at - data);
    return result;
}
