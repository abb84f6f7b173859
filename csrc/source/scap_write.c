/* SPDX-License-Identifier: Apache-2.0
 *
 * Blocks of a .scap file, written (spec: engine.md G1 to G3). scap_blocks.c reads what is written here.
 */
#include "scap_write.h"

#include <stdlib.h>

#include "scap_blocks.h"

#define MAGIC 0x1A2B3C4Du
#define MACHINE_NAME 128u

void fl_scap_writer_free(struct fl_scap_writer *w)
{
    free(w->data);
    *w = (struct fl_scap_writer){0};
}

/* Room for more bytes, at the end of the buffer; NULL, and `failed`, when memory is out. */
static uint8_t *more(struct fl_scap_writer *w, size_t bytes)
{
    if (bytes > w->room - w->len) {
        size_t room = w->room ? w->room : 1u << 16;
        while (room - w->len < bytes)
            room *= 2;
        uint8_t *data = w->failed ? NULL : realloc(w->data, room);
        if (!data) {
            w->failed = true;
            return NULL;
        }
        w->data = data;
        w->room = room;
    }
    w->len += bytes;
    return w->data + w->len - bytes;
}

static void put(struct fl_scap_writer *w, const void *bytes, size_t len)
{
    uint8_t *to = len ? more(w, len) : NULL;

    if (to)
        memcpy(to, bytes, len);
}

static void zeros(struct fl_scap_writer *w, size_t len)
{
    uint8_t *to = len ? more(w, len) : NULL;

    if (to)
        memset(to, 0, len);
}

static void u8(struct fl_scap_writer *w, uint8_t v) { put(w, &v, 1); }
static void u16(struct fl_scap_writer *w, uint16_t v) { put(w, &v, 2); }
static void u32(struct fl_scap_writer *w, uint32_t v) { put(w, &v, 4); }
static void u64(struct fl_scap_writer *w, uint64_t v) { put(w, &v, 8); }
static void i64(struct fl_scap_writer *w, int64_t v) { put(w, &v, 8); }

static void str(struct fl_scap_writer *w, struct fl_slice text)
{
    uint16_t len = text.len < UINT16_MAX ? (uint16_t)text.len : UINT16_MAX;

    u16(w, len);
    put(w, text.data, len);
}

/* Sets a length at a place that was left for it. */
static void patch(struct fl_scap_writer *w, size_t at, size_t len)
{
    uint32_t word = (uint32_t)len;

    if (!w->failed)
        memcpy(w->data + at, &word, 4);
}

static void open_block(struct fl_scap_writer *w, uint32_t code)
{
    fl_scap_write_close(w);
    w->block = w->len;
    w->code = code;
    u32(w, code);
    u32(w, 0);
}

void fl_scap_write_close(struct fl_scap_writer *w)
{
    if (!w->code)
        return;
    zeros(w, (size_t)-(w->len - w->block) & 3);
    u32(w, 0);
    patch(w, w->block + 4, w->len - w->block);
    patch(w, w->len - 4, w->len - w->block);
    w->code = 0;
}

/* The block that the next entry of a table goes to: the open one, if it is of that kind and has room. */
static void table(struct fl_scap_writer *w, uint32_t code, size_t limit)
{
    if (w->code != code || w->len - w->block > limit)
        open_block(w, code);
}

static void machine(struct fl_scap_writer *w, const struct fl_scap_machine *m)
{
    size_t name = m->hostname.len < MACHINE_NAME ? m->hostname.len : MACHINE_NAME;

    open_block(w, FL_BLOCK_MI);
    u32(w, m->num_cpus);
    u64(w, m->memory_bytes);
    u64(w, m->max_pid);
    put(w, m->hostname.data, name);
    zeros(w, MACHINE_NAME - name);
    u64(w, m->boot_ts);
    u64(w, m->flags);
    zeros(w, 16);               /* reserved */
    fl_scap_write_close(w);
}

static void process(struct fl_scap_writer *w, const struct fl_scap_process *p)
{
    table(w, FL_BLOCK_PL_V9, FL_SCAP_TABLE_BYTES);
    size_t start = w->len;
    u32(w, 0);
    i64(w, p->tid);
    i64(w, p->pid);
    i64(w, p->ptid);
    i64(w, p->sid);
    i64(w, p->vpgid);
    str(w, p->comm);
    str(w, p->exe);
    str(w, p->exepath);
    str(w, p->args);
    str(w, p->cwd);
    i64(w, p->fdlimit);
    u32(w, p->flags);
    u32(w, p->uid);
    u32(w, p->gid);
    u32(w, p->vmsize_kb);
    u32(w, p->vmrss_kb);
    u32(w, p->vmswap_kb);
    u64(w, p->pfmajor);
    u64(w, p->pfminor);
    str(w, p->env);
    i64(w, p->vtid);
    i64(w, p->vpid);
    str(w, p->cgroups);
    str(w, p->root);
    u64(w, p->pidns_init_start_ts);
    u32(w, p->tty);
    u32(w, p->loginuid);
    u8(w, p->exe_writable);
    u64(w, p->cap_inheritable);
    u64(w, p->cap_permitted);
    u64(w, p->cap_effective);
    u8(w, p->exe_upper_layer);
    u64(w, p->exe_ino);
    u64(w, p->exe_ino_ctime);
    u64(w, p->exe_ino_mtime);
    u8(w, p->exe_from_memfd);
    u8(w, p->exe_lower_layer);
    i64(w, p->pgid);
    patch(w, start, w->len - start);
}

static void descriptor(struct fl_scap_writer *w, const struct fl_scap_fd *f)
{
    size_t address = f->type == FL_FD_IPV4_SOCK || f->type == FL_FD_IPV4_SERVSOCK ? 4 : 16;

    if (w->code == FL_BLOCK_FDL_V2 && w->fdl_tid != f->tid)
        fl_scap_write_close(w);
    table(w, FL_BLOCK_FDL_V2, FL_SCAP_TABLE_BYTES);
    if (w->len == w->block + 8) {
        i64(w, f->tid);
        w->fdl_tid = f->tid;
    }
    size_t start = w->len;
    u32(w, 0);
    i64(w, f->fd);
    u64(w, f->ino);
    u8(w, f->type);
    switch (f->type) {
    case FL_FD_IPV4_SOCK:
    case FL_FD_IPV6_SOCK:
        put(w, f->sip, address);
        put(w, f->dip, address);
        u16(w, f->sport);
        u16(w, f->dport);
        u8(w, f->l4);
        break;
    case FL_FD_IPV4_SERVSOCK:
    case FL_FD_IPV6_SERVSOCK:
        put(w, f->sip, address);
        u16(w, f->sport);
        u8(w, f->l4);
        break;
    case FL_FD_UNIX_SOCK:
        u64(w, f->source);
        u64(w, f->destination);
        str(w, f->name);
        break;
    case FL_FD_FILE_V2:
        u32(w, f->open_flags);
        str(w, f->name);
        u32(w, f->dev);
        break;
    default:
        str(w, f->name);
    }
    patch(w, start, w->len - start);
}

static void interface(struct fl_scap_writer *w, const struct fl_scap_interface *f)
{
    size_t bytes = f->v6 ? 16 : 4;

    table(w, FL_BLOCK_IL_V2, SIZE_MAX);
    size_t start = w->len;
    u32(w, 0);
    u16(w, f->v6 ? 2 : 1);
    u16(w, (uint16_t)f->name.len);
    put(w, f->addr, bytes);
    put(w, f->netmask, bytes);
    put(w, f->broadcast, bytes);
    u64(w, 0);                  /* speed of the link */
    put(w, f->name.data, (uint16_t)f->name.len);
    patch(w, start, w->len - start - 4);
}

static void user(struct fl_scap_writer *w, const struct fl_scap_user *u)
{
    table(w, FL_BLOCK_UL_V2, SIZE_MAX);
    size_t start = w->len;
    u32(w, 0);
    u8(w, 0);
    u32(w, u->uid);
    u32(w, u->gid);
    str(w, u->name);
    str(w, u->home);
    str(w, u->shell);
    patch(w, start, w->len - start);
}

static void group(struct fl_scap_writer *w, const struct fl_scap_group *g)
{
    table(w, FL_BLOCK_UL_V2, SIZE_MAX);
    size_t start = w->len;
    u32(w, 0);
    u8(w, 1);
    u32(w, g->gid);
    str(w, g->name);
    patch(w, start, w->len - start);
}

void fl_scap_write_item(struct fl_scap_writer *w, const struct fl_scap_item *item)
{
    switch (item->kind) {
    case FL_SCAP_SECTION:
        open_block(w, FL_BLOCK_SHB);
        u32(w, MAGIC);
        u16(w, 1);
        u16(w, 2);
        i64(w, -1);             /* length of the section: not told by any writer */
        fl_scap_write_close(w);
        break;
    case FL_SCAP_MACHINE: machine(w, &item->machine); break;
    case FL_SCAP_PROCESS: process(w, &item->process); break;
    case FL_SCAP_FD: descriptor(w, &item->fd); break;
    case FL_SCAP_INTERFACE: interface(w, &item->interface); break;
    case FL_SCAP_USER: user(w, &item->user); break;
    case FL_SCAP_GROUP: group(w, &item->group); break;
    case FL_SCAP_MORE:
    case FL_SCAP_EVENT: break;
    }
}

void fl_scap_write_event(struct fl_scap_writer *w, const struct fl_event *ev, bool hidden)
{
    /* what conversions made of an old record may be too long for a plain block */
    bool large = (fl_events[ev->type].flags & EF_LARGE_PAYLOAD) || ev->size > FL_BLOCK_PLAIN_MAX - 64;

    fl_scap_write_close(w);
    if (hidden)
        open_block(w, large ? FL_BLOCK_EVF_V2_LARGE : FL_BLOCK_EVF_V2);
    else
        open_block(w, large ? FL_BLOCK_EV_V2_LARGE : FL_BLOCK_EV_V2);
    u16(w, ev->cpu);
    if (hidden)
        u32(w, 1);
    put(w, ev->record, ev->size);
    fl_scap_write_close(w);
}
