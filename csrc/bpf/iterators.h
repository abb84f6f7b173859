/* SPDX-License-Identifier: Apache-2.0
 *
 * The state at start: programs that the kernel runs for each thread, and for each descriptor, when their iterator is read. What they write
 * is what the reader gets. The facts about a thread come from the fillers that events use.
 *
 * libbpf doesn't load programs whose section begins with a question mark unless it is told to: kernels before 5.18 have no iter.s.
 */
#ifndef FL_BPF_ITERATORS_H
#define FL_BPF_ITERATORS_H

#include "process.h"

#define COMMAND_MAX 5120        /* bytes of a command line: the first argument's 1024, and 4096 of the others, as the reader keeps */
#define COMMAND_ROOM 22000u     /* of a record, above which there is no room for the command line: the kernel takes 32 KiB */

static long (*const bpf_seq_write)(void *seq, const void *data, u32 len) = (void *)127;
static long (*const bpf_d_path)(struct path *path, char *to, u32 size) = (void *)147;
static long (*const bpf_copy_from_user_task)(void *to, u32 size, const void *from, struct task_struct *task, u64 flags) = (void *)191;

/* One, which the only reader uses. */
struct {
    MAP_NUMBER(type, BPF_MAP_TYPE_ARRAY);
    MAP_NUMBER(max_entries, 1);
    MAP_NUMBER(key_size, 4);
    MAP_NUMBER(value_size, FL_PROBE_SCRATCH);
} fl_iteration SEC(".maps");

FILL(cwd)
{
    struct fs_struct *fs = c->task->fs;
    put_path(r, fs, fs ? build_path(r->buf, READ(fs, pwd.mnt), READ(fs, pwd.dentry)) : 0, 0);
}

FILL(root)
{
    struct fs_struct *fs = c->task->fs;
    put_path(r, fs, fs ? build_path(r->buf, READ(fs, root.mnt), READ(fs, root.dentry)) : 0, 0);
}

/* Of another process, whose memory may have to be brought in. */
INLINE void put_task_bytes(struct call *c, struct rec *r, u64 from, u64 end, u32 max)
{
    u64 len = end > from ? end - from : 0;

    if (!from || !len) {
        put_empty(r);
        return;
    }
    if (len > max)
        len = max;
    barrier_var(len);
    len &= 0x1fff;
    u32 at = r->off;
    bool room = at <= COMMAND_ROOM;
    barrier_var(at);            /* the verifier wants its bound seen: the compiler would leave it out */
    if (!room || bpf_copy_from_user_task(r->buf + AT(at), len, (void *)from, c->task, 0))
        put_unread(r);
    else
        put_variable(r, len);
}

FILL(command)
{
    struct mm_struct *mm = c->task->mm;
    put_task_bytes(c, r, mm ? mm->arg_start : 0, mm ? mm->arg_end : 0, COMMAND_MAX);
}

FILL(environment)
{
    struct mm_struct *mm = c->task->mm;
    put_task_bytes(c, r, mm ? mm->env_start : 0, mm ? mm->env_end : 0, TEXT_MAX);
}

enum {
#define TASK_NUMBER(place, filler, whose) TASK_##filler,
#define TASK_TEXT TASK_NUMBER
#include "task.def"
#undef TASK_NUMBER
#undef TASK_TEXT
    TASK_PARAMS
};

SEC("?iter.s/task")
int fl_iter_task(u64 *ctx)
{
    struct bpf_iter_meta *meta = (void *)ctx[0];
    struct call own = {.task = (void *)ctx[1]}, shared;
    u32 zero = 0;
    u8 *buf = bpf_map_lookup_elem(&fl_iteration, &zero);
    struct rec rec = {.buf = buf, .off = RECORD_AT + RECORD_HEADER + 2 * TASK_PARAMS}, *r = &rec;

    if (!own.task || !buf)
        return 0;
    shared.task = own.task->group_leader;
    UNREAD(buf) = 0;
#define TASK_NUMBER(place, filler, whose) fl_fill_##filler(&whose, r, FL_T_UINT64, FL_SRC_NO_ARG);
#define TASK_TEXT(place, filler, whose) fl_fill_##filler(&whose, r, FL_T_BYTEBUF, FL_SRC_NO_ARG);
#include "task.def"
#undef TASK_NUMBER
#undef TASK_TEXT
    u64 size = opaque(buf, r->off) & 0x7fff;
    ((struct fl_probe_sample *)buf)->record = size;
    bpf_seq_write(meta->seq, buf, size);
    return 0;
}

/* Of processes alone: the threads of one have the same. */
SEC("?iter/task_file")
int fl_iter_file(u64 *ctx)
{
    struct bpf_iter_meta *meta = (void *)ctx[0];
    struct task_struct *task = (void *)ctx[1];
    struct file *file = (void *)ctx[3];
    u32 zero = 0, fd = ctx[2];
    struct fl_probe_file *f = bpf_map_lookup_elem(&fl_iteration, &zero);

    if (!task || !file || !f || task->pid != task->tgid)
        return 0;
    struct inode *inode = file->f_inode;
    unsigned long word = 0;
    bpf_probe_read_kernel(&word, sizeof word, READ(task->files->fdt, close_on_exec) + fd / 64);
    f->pid = task->tgid;
    f->fd = fd;
    f->flags = file->f_flags;
    f->close_on_exec = word >> (fd & 63) & 1;
    f->mode = inode->i_mode;
    f->links = inode->i_nlink;
    f->ino = inode->i_ino;
    f->dev = inode->i_sb->s_dev;
    f->network = task->nsproxy->net_ns->ns.inum;
    long len = bpf_d_path(&file->f_path, (char *)(f + 1), PATH_MAX);
    u32 told = len > 0 && len <= PATH_MAX ? len : 0;
    barrier_var(told);          /* as above */
    told &= 0x1fff;
    f->len = told;
    bpf_seq_write(meta->seq, f, sizeof *f + told);
    return 0;
}

#endif
