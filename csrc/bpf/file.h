/* SPDX-License-Identifier: Apache-2.0
 *
 * Fillers about opened files and descriptors.
 */
#ifndef FL_BPF_FILE_H
#define FL_BPF_FILE_H

#include "path.h"

#define O_CREAT_ 0100
#define O_TMPFILE_ 020000000
#define FMODE_CREATED_ 0x100000
#define OVERLAYFS_MAGIC 0x794c7630

#define SHORT_PATH 64

/* What was taken when the call began: path or address, and the struct open_how of openat2. */
struct entry {
    u32 owner;                  /* of a slot: the thread's number; 0: nobody's */
    u32 event;                  /* the event that the call becomes; 0: nothing is held */
    u32 len;                    /* of data; 0: it could not be read */
    u64 how[3];
    bool how_read;
    u8 data[PATH_MAX] __attribute__((aligned(8)));
};

INLINE struct file *file_of(struct task_struct *task, s64 fd)
{
    struct fdtable *table = task->files->fdt;
    struct file **files = table->fd, *file = NULL;

    if (fd < 0 || fd >= table->max_fds)
        return NULL;
    if (CASTS)                  /* a pointer in memory: as in a list */
        return (void *)CAST((struct list_head *)(files + fd))->next;
    bpf_probe_read_kernel(&file, sizeof file, files + fd);
    return file;
}

/* What is told of the file that the call returned a descriptor of: read once, and in few pieces where each takes 35 ns. */
INLINE struct opened *opened(struct call *c)
{
    struct opened *o = &c->opened;
    u64 bytes[16];              /* the first of the struct; fields behind them are read by themselves */
    struct super_block *sb;

    if (o->read)
        return o;
    *o = (struct opened){.read = true, .file = c->ret >= 0 ? file_of(c->task, c->ret) : NULL};
    if (!o->file)
        return o;
    if (CASTS) {
        o->inode = CAST(o->file)->f_inode;
        o->mode = CAST(o->file)->f_mode;
        o->ino = CAST(o->inode)->i_ino;
        sb = CAST(o->inode)->i_sb;
        o->dev = CAST(sb)->s_dev;
        o->magic = CAST(sb)->s_magic;
        return o;
    }
    bpf_probe_read_kernel(bytes, sizeof bytes, o->file);
    o->inode = READ_IN(bytes, o->file, f_inode);
    o->mode = READ_IN(bytes, o->file, f_mode);
    bpf_probe_read_kernel(bytes, sizeof bytes, o->inode);
    o->ino = READ_IN(bytes, o->inode, i_ino);
    sb = READ_IN(bytes, o->inode, i_sb);
    bpf_probe_read_kernel(bytes, sizeof bytes, sb);
    o->dev = READ_IN(bytes, sb, s_dev);
    o->magic = READ_IN(bytes, sb, s_magic);
    return o;
}

enum layer { NO_LAYER, UPPER_LAYER, LOWER_LAYER };

INLINE enum layer layer_in(struct inode *inode, u64 magic)
{
    if (!type_exists(struct ovl_inode) || magic != OVERLAYFS_MAGIC)
        return NO_LAYER;
    struct ovl_inode *ovl = (void *)inode - offset_of(struct ovl_inode, vfs_inode);
    return LOAD(ovl, __upperdentry) ? UPPER_LAYER : LOWER_LAYER;
}

INLINE enum layer layer_of(struct inode *inode) { return layer_in(inode, READ(READ(inode, i_sb), s_magic)); }

/* What only the file tells of its flags */
INLINE u32 flags_of_opened(struct call *c)
{
    struct opened *o = opened(c);
    enum layer layer = layer_in(o->inode, o->magic);

    return (o->mode & FMODE_CREATED_ ? FL_FLAG(file_flags, O_F_CREATED) : 0)
        | (layer == UPPER_LAYER ? FL_FLAG(file_flags, FD_UPPER_LAYER) : layer == LOWER_LAYER ? FL_FLAG(file_flags, FD_LOWER_LAYER) : 0);
}

INLINE void fl_fill_open_flags(struct call *c, struct rec *r, unsigned type, unsigned n)
{
    put_number(r, type, fl_conv_open_flags(arg(c, n)) | flags_of_opened(c));
}

INLINE void fl_fill_open_mode(struct call *c, struct rec *r, unsigned type, unsigned n)
{
    put_number(r, type, arg(c, n) & (O_CREAT_ | O_TMPFILE_) ? fl_conv_permissions(arg(c, n + 1)) : 0);
}

INLINE void read_how(struct call *c, unsigned n, u64 how[3], struct rec *r)
{
    if (c->entry && c->entry->how_read) {
        how[0] = c->entry->how[0];
        how[1] = c->entry->how[1];
        how[2] = c->entry->how[2];
        return;
    }
    r->flags |= FL_SAMPLE_LATE;
    if (bpf_probe_read_user(how, 24, (void *)arg(c, n)))
        mark_unread(r);
}

INLINE void entry_open_how_flags(struct call *c, struct rec *r, unsigned type, unsigned n)
{
    u64 how[3] = {0};
    read_how(c, n, how, r);
    put_number(r, type, fl_conv_open_flags(how[0]) | flags_of_opened(c));
}

INLINE void entry_open_how_mode(struct call *c, struct rec *r, unsigned type, unsigned n)
{
    u64 how[3] = {0};
    read_how(c, n, how, r);
    put_number(r, type, how[0] & (O_CREAT_ | O_TMPFILE_) ? fl_conv_permissions(how[1]) : 0);
}

INLINE void entry_open_how_resolve(struct call *c, struct rec *r, unsigned type, unsigned n)
{
    u64 how[3] = {0};
    read_how(c, n, how, r);
    /* RESOLVE_NO_XDEV 1, NO_MAGICLINKS 2, NO_SYMLINKS 4, BENEATH 8, IN_ROOT 16, CACHED 32 */
    u64 v = how[2];
    put_number(r, type, (v & 1 ? FL_FLAG(openat2_flags, RESOLVE_NO_XDEV) : 0) | (v & 2 ? FL_FLAG(openat2_flags, RESOLVE_NO_MAGICLINKS) : 0)
        | (v & 4 ? FL_FLAG(openat2_flags, RESOLVE_NO_SYMLINKS) : 0) | (v & 8 ? FL_FLAG(openat2_flags, RESOLVE_BENEATH) : 0)
        | (v & 16 ? FL_FLAG(openat2_flags, RESOLVE_IN_ROOT) : 0) | (v & 32 ? FL_FLAG(openat2_flags, RESOLVE_CACHED) : 0));
}

/* A text as it was when the call began. Where it couldn't be read then (a page that was not in memory yet), as it is now. */
INLINE void entry_text(struct call *c, struct rec *r, unsigned n)
{
    if (c->entry && c->entry->len) {
        u32 len = c->entry->len;
        barrier_var(len);
        if (len <= SHORT_PATH) {        /* a helper's call takes longer */
            u64 *to = (void *)(r->buf + AT(r->off)), *from = (void *)c->entry->data;
            for (u32 i = 0; i < SHORT_PATH / 8; i++)
                to[i] = from[i];
        } else {
            bpf_probe_read_kernel(r->buf + AT(r->off), len & 0x1fff, c->entry->data);
        }
        put_variable(r, len & 0x1fff);
        return;
    }
    r->flags |= FL_SAMPLE_LATE;
    put_user_text(r, arg(c, n), PATH_MAX);
}

INLINE void fl_fill_creat_flags(struct call *c, struct rec *r, unsigned type, unsigned n)
{
    enum layer layer = layer_in(opened(c)->inode, opened(c)->magic);

    put_number(r, type, layer == UPPER_LAYER ? FL_FLAG(creat_flags, FD_UPPER_LAYER_CREAT)
        : layer == LOWER_LAYER ? FL_FLAG(creat_flags, FD_LOWER_LAYER_CREAT) : 0);
}

INLINE void fl_fill_dev(struct call *c, struct rec *r, unsigned type, unsigned n) { put_number(r, type, fl_conv_dev(opened(c)->dev)); }
INLINE void fl_fill_ino(struct call *c, struct rec *r, unsigned type, unsigned n) { put_number(r, type, opened(c)->ino); }
INLINE void fl_fill_fd_path(struct call *c, struct rec *r, unsigned type, unsigned n) { put_file_path(r, opened(c)->file); }

INLINE s64 fd_of_pair(struct call *c, unsigned n, unsigned which)
{
    s32 fds[2] = {-1, -1};

    if (c->ret < 0 || bpf_probe_read_user(fds, sizeof fds, (void *)arg(c, n)))
        return -1;
    return fds[which];
}

INLINE void fl_fill_fd_pair_0(struct call *c, struct rec *r, unsigned type, unsigned n) { put_number(r, type, fd_of_pair(c, n, 0)); }
INLINE void fl_fill_fd_pair_1(struct call *c, struct rec *r, unsigned type, unsigned n) { put_number(r, type, fd_of_pair(c, n, 1)); }

INLINE void fl_fill_pipe_ino(struct call *c, struct rec *r, unsigned type, unsigned n)
{
    struct file *file = file_of(c->task, fd_of_pair(c, n, 0));

    put_number(r, type, file ? READ(READ(file, f_inode), i_ino) : 0);
}

#endif
