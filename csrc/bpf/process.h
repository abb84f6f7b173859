/* SPDX-License-Identifier: Apache-2.0
 *
 * Fillers about the process: of c->task, which is the calling thread.
 */
#ifndef FL_BPF_PROCESS_H
#define FL_BPF_PROCESS_H

#include "file.h"

#define PIDTYPE_TGID 1
#define PIDTYPE_PGID 2
#define PIDTYPE_SID 3
#define ARGS_MAX 32767          /* bytes of arguments */
#define TEXT_MAX 4096           /* of the first argument; of the environment, as Falco */
#define ARRAY_TEXTS 64          /* arguments, and variables of the environment, of a call that failed */
#define CGROUP_DEPTH 12

#define FILL(name) INLINE void fl_fill_##name(struct call *c, struct rec *r, unsigned type, unsigned n)
#define FILL_NUMBER(name, value) FILL(name) { put_number(r, type, value); }

/* A process number in the namespace of a level: 0 is the first */
INLINE s64 pid_at(struct pid *pid, u32 level)
{
    int nr = 0;

    bpf_probe_read_kernel(&nr, sizeof nr, (void *)pid + offset_of(struct pid, numbers) + (u64)(level & 31) * sizeof(struct upid));
    return nr;
}

INLINE u32 level_of(struct task_struct *task) { return task->thread_pid->level; }

INLINE struct pid_namespace *pidns_of(struct task_struct *task)
{
    struct pid *pid = task->thread_pid;
    struct upid upid = {0};

    bpf_probe_read_kernel(&upid, sizeof upid, (void *)pid + offset_of(struct pid, numbers) + (u64)(pid->level & 31) * sizeof upid);
    return upid.ns;
}

FILL_NUMBER(tid, c->task->pid)
FILL_NUMBER(pid, c->task->tgid)
FILL_NUMBER(ptid, c->task->real_parent->tgid)
FILL_NUMBER(pgid, pid_at(c->task->signal->pids[PIDTYPE_PGID], 0))
FILL_NUMBER(sid, pid_at(c->task->signal->pids[PIDTYPE_SID], 0))
FILL_NUMBER(vtid, pid_at(c->task->thread_pid, level_of(c->task)))
FILL_NUMBER(vpid, pid_at(c->task->signal->pids[PIDTYPE_TGID], level_of(c->task)))
FILL_NUMBER(vpgid, pid_at(c->task->signal->pids[PIDTYPE_PGID], level_of(c->task)))
FILL_NUMBER(fdlimit, c->task->signal->rlim[7].rlim_cur)         /* RLIMIT_NOFILE */
FILL_NUMBER(euid, c->task->cred->euid.val)
FILL_NUMBER(egid, c->task->cred->egid.val)
FILL_NUMBER(pgft_maj, c->task->maj_flt)
FILL_NUMBER(pgft_min, c->task->min_flt)
FILL_NUMBER(loginuid, exists(struct task_struct, loginuid) ? c->task->loginuid.val : 0xffffffff)
FILL_NUMBER(start_time, fl_probe.config.boot_ns + c->task->start_boottime)
FILL(comm) { put_kernel_text(r, c->task->comm, sizeof c->task->comm); }

FILL(pidns_init_start)
{
    struct task_struct *init = READ(pidns_of(c->task), child_reaper);

    put_number(r, type, init ? fl_probe.config.boot_ns + READ(init, start_boottime) : 0);
}

INLINE u64 capabilities(const void *set)
{
    u64 v = 0;

    bpf_probe_read_kernel(&v, sizeof v, set);
    return v;
}

FILL_NUMBER(cap_inheritable, capabilities(&c->task->cred->cap_inheritable))
FILL_NUMBER(cap_permitted, capabilities(&c->task->cred->cap_permitted))
FILL_NUMBER(cap_effective, capabilities(&c->task->cred->cap_effective))

FILL(tty)
{
    struct tty_struct *tty = c->task->signal->tty;
    u32 dev = 0;

    if (tty) {
        struct tty_driver *driver = READ(tty, driver);
        dev = fl_conv_dev((READ(driver, major) << 20) | (READ(driver, minor_start) + READ(tty, index)));
    }
    put_number(r, type, dev);
}

/* ---- memory: kB, of pages of 4 KiB ---- */

enum { MM_FILEPAGES, MM_ANONPAGES, MM_SWAPENTS, MM_SHMEMPAGES };

INLINE u64 positive(s64 count) { return count > 0 ? count : 0; }

INLINE s64 old_pages(struct mm_struct *mm, unsigned which)
{
    s64 count = 0;

    bpf_probe_read_kernel(&count, sizeof count, (void *)mm + offset_of(struct mm_struct___before_6_2, rss_stat) + 8 * which);
    return count;
}

/* `which` is a literal: the size of what it counts differs from kernel to kernel */
#define pages(mm, which) ({ \
    s64 count_; \
    if (type_exists(struct mm_rss_stat)) { \
        KEEP_APART; \
        count_ = old_pages(mm, which); \
    } else { \
        KEEP_APART; \
        count_ = READ(mm, rss_stat[which].count); \
    } \
    positive(count_); })

FILL(vm_size)
{
    struct mm_struct *mm = c->task->mm;
    put_number(r, type, mm ? mm->total_vm << 2 : 0);
}

FILL(vm_rss)
{
    struct mm_struct *mm = c->task->mm;
    put_number(r, type, mm ? (pages(mm, MM_FILEPAGES) + pages(mm, MM_ANONPAGES) + pages(mm, MM_SHMEMPAGES)) << 2 : 0);
}

FILL(vm_swap)
{
    struct mm_struct *mm = c->task->mm;
    put_number(r, type, mm ? pages(mm, MM_SWAPENTS) << 2 : 0);
}

/* ---- arguments and environment ---- */

FILL(exe)
{
    struct mm_struct *mm = c->task->mm;

    if (mm)
        put_user_text(r, mm->arg_start, TEXT_MAX);
    else
        put_empty(r);
}

/* Behind the first one. Its length is found anew: it needn't be what exe says, of which no more than 4 KiB are told. */
FILL(args)
{
    struct mm_struct *mm = c->task->mm;

    if (!mm) {
        put_empty(r);
        return;
    }
    u64 start = mm->arg_start, end = mm->arg_end;
    long first = bpf_probe_read_user_str(r->buf + AT(r->off), ARGS_MAX, (void *)start);
    if (first <= 0) {
        if (start)
            put_unread(r);
        else
            put_empty(r);
        return;
    }
    start += first;
    if (start < end && end - start > ARGS_MAX)
        mark_unread(r);
    put_user_bytes(r, start, start < end ? end - start : 0, ARGS_MAX);
}

FILL(env)
{
    struct mm_struct *mm = c->task->mm;
    u64 start = mm ? mm->env_start : 0, end = mm ? mm->env_end : 0;

    put_user_bytes(r, start, start < end ? end - start : 0, TEXT_MAX);
}

/* The strings of an array of pointers, from the `first`-th on, one after the other, at most `max` bytes. The loop is never left early, and what
 * it has found out is opaque: else the verifier would follow all that comes behind it once for each iteration. */
INLINE void put_user_array(struct call *c, struct rec *r, u64 array, u32 first, u32 max)
{
    u32 start = r->off;
    u32 width = c->ia32 ? 4 : 8;
    u64 more = opaque(r->buf, array), failed = 0;

    for (u32 i = first; i < first + ARRAY_TEXTS; i++) {
        bool unread = false;
        long len = 0;
        u64 text = more ? user_word(c, array + i * width, &unread) : 0;
        if (text && r->off - start < max - TEXT_MAX) {
            len = bpf_probe_read_user_str(r->buf + AT(r->off), TEXT_MAX, (void *)text);
            if (len <= 0) {
                unread = true;
                len = 0;
            }
        }
        failed = opaque(r->buf, failed | unread);
        more = opaque(r->buf, len);
        r->off = opaque(r->buf, r->off + len);
    }
    if (failed)
        mark_unread(r);
    u32 len = opaque(r->buf, r->off - start);
    r->off = start;
    put_variable(r, len);
}

FILL(exec_exe)
{
    bool failed = false;

    if (c->ret < 0)
        put_user_text(r, arg(c, n) ? user_word(c, arg(c, n), &failed) : 0, TEXT_MAX);
    else
        fl_fill_exe(c, r, type, n);
}

FILL(exec_args)
{
    if (c->ret < 0)
        put_user_array(c, r, arg(c, n), 1, 3 * TEXT_MAX);
    else
        fl_fill_args(c, r, type, n);
}

FILL(exec_env)
{
    if (c->ret < 0)
        put_user_array(c, r, arg(c, n), 0, 2 * TEXT_MAX);
    else
        fl_fill_env(c, r, type, n);
}

FILL(exec_filename)
{
    if (c->bprm)
        put_kernel_text(r, c->bprm->filename, PATH_MAX);
    else
        put_user_text(r, arg(c, n), PATH_MAX);
}

/* ---- control groups ---- */

INLINE u32 kernfs_parent_at(void)
{
    u32 at;

    if (exists(struct kernfs_node___before_6_15, parent)) {
        KEEP_APART;
        at = offset_of(struct kernfs_node___before_6_15, parent);
    } else {
        KEEP_APART;
        at = offset_of(struct kernfs_node, __parent);
    }
    barrier_var(at);
    return at;
}

INLINE void put_literal(struct rec *r, const char *text, u32 len)
{
    for (u32 i = 0; i < len; i++)
        r->buf[AT(r->off + i)] = text[i];
    r->off += len;
}

INLINE void put_cgroup(struct rec *r, struct cgroup *cgroup, u32 parent_at)
{
    struct kernfs_node *nodes[CGROUP_DEPTH], *node = READ(cgroup, kn);
    u32 start = r->off;

    for (int i = 0; i < CGROUP_DEPTH; i++) {        /* all of them, so that the verifier needn't count */
        nodes[i] = node;
        if (node)
            bpf_probe_read_kernel(&node, sizeof node, (void *)node + parent_at);
    }
    for (int i = CGROUP_DEPTH - 1; i >= 0; i--) {
        if (!nodes[i] || (i + 1 < CGROUP_DEPTH ? !nodes[i + 1] : !node))
            continue;                               /* none, or the root, which has no name */
        r->buf[AT(r->off)] = '/';
        long len = bpf_probe_read_kernel_str(r->buf + AT(r->off + 1), 256, READ(nodes[i], name));
        r->off += len > 0 ? len : 1;
    }
    if (r->off == start)
        r->buf[AT(r->off++)] = '/';
    r->buf[AT(r->off++)] = 0;
}

#define PUT_SUBSYSTEM(id, text) do { \
    struct cgroup_subsys_state *css = NULL; \
    bpf_probe_read_kernel(&css, sizeof css, (void *)&set->subsys + 8 * enum_value(enum cgroup_subsys_id, id)); \
    if (css) { \
        put_literal(r, text "=", sizeof text); \
        put_cgroup(r, READ(css, cgroup), parent_at); \
    } } while (0)

FILL(cgroups)
{
    struct css_set *set = c->task->cgroups;
    u32 start = r->off, parent_at = kernfs_parent_at();

    PUT_SUBSYSTEM(cpuset_cgrp_id, "cpuset");
    PUT_SUBSYSTEM(cpu_cgrp_id, "cpu");
    PUT_SUBSYSTEM(cpuacct_cgrp_id, "cpuacct");
    PUT_SUBSYSTEM(io_cgrp_id, "io");
    PUT_SUBSYSTEM(memory_cgrp_id, "memory");
    u32 len = r->off - start;
    r->off = start;
    put_variable(r, len);
}

/* ---- clone ---- */

/* Whether the new process has numbers of its own: seen by the parent, its children get another namespace; by the child, it has one. */
INLINE u64 in_pidns(struct call *c)
{
    struct pid_namespace *own = pidns_of(c->task);

    if (c->ret == 0)
        return level_of(c->task) ? FL_FLAG(clone_flags, CLONE_CHILD_IN_PIDNS) : 0;
    return READ(c->task->nsproxy->pid_ns_for_children, level) != READ(own, level) || READ(own, level)
        ? FL_FLAG(clone_flags, CLONE_CHILD_IN_PIDNS) : 0;
}

FILL(clone_flags) { put_number(r, type, (n == FL_SRC_NO_ARG ? 0 : fl_conv_clone_flags(arg(c, n))) | in_pidns(c)); }

FILL(clone3_flags)
{
    u64 flags = 0;

    if (bpf_probe_read_user(&flags, sizeof flags, (void *)arg(c, n)))
        mark_unread(r);
    put_number(r, type, fl_conv_clone_flags(flags) | in_pidns(c));
}

/* ---- the program's file ---- */

INLINE struct file *exe_file(struct call *c)
{
    struct mm_struct *mm = c->task->mm;

    return mm ? mm->exe_file : NULL;
}

FILL(exe_path) { put_file_path(r, exe_file(c)); }

INLINE struct inode *exe_inode(struct call *c)
{
    struct file *file = exe_file(c);

    return file ? READ(file, f_inode) : NULL;
}

#define CAP_DAC_OVERRIDE 1
#define SB_RDONLY 1
#define MNT_READONLY 0x40

INLINE bool writable(struct call *c, struct file *file, struct inode *inode)
{
    const struct cred *cred = c->task->cred;
    u32 mode = READ(inode, i_mode);

    if (READ(READ(inode, i_sb), s_flags) & SB_RDONLY || READ(READ(file, f_path.mnt), mnt_flags) & MNT_READONLY)
        return false;
    if (capabilities(&cred->cap_effective) & (1u << CAP_DAC_OVERRIDE))
        return true;
    if (cred->fsuid.val == READ(inode, i_uid.val))
        return mode & 0200;
    u32 gid = READ(inode, i_gid.val);
    bool member = cred->fsgid.val == gid;
    struct group_info *groups = cred->group_info;
    int count = groups ? READ(groups, ngroups) : 0;
    for (int i = 0; i < 32 && i < count && !member; i++) {
        u32 one = 0;
        bpf_probe_read_kernel(&one, sizeof one, (void *)groups + offset_of(struct group_info, gid) + 4 * i);
        member = one == gid;
    }
    return mode & (member ? 020 : 02);
}

FILL(exe_flags)
{
    struct file *file = exe_file(c);
    struct inode *inode = exe_inode(c);
    u32 flags = 0;

    if (inode) {
        enum layer layer = layer_of(inode);
        char name[6] = {0};
        struct dentry *dentry = READ(file, f_path.dentry);
        bpf_probe_read_kernel(name, sizeof name, READ(dentry, d_name.name));
        flags = (writable(c, file, inode) ? FL_FLAG(execve_flags, EXE_WRITABLE) : 0)
            | (layer == UPPER_LAYER ? FL_FLAG(execve_flags, EXE_UPPER_LAYER) : layer == LOWER_LAYER ? FL_FLAG(execve_flags, EXE_LOWER_LAYER) : 0);
        if (name[0] == 'm' && name[1] == 'e' && name[2] == 'm' && name[3] == 'f' && name[4] == 'd' && name[5] == ':'
            && READ(dentry, d_parent) == dentry)
            flags |= FL_FLAG(execve_flags, EXE_FROM_MEMFD);
    }
    put_number(r, type, flags);
}

FILL_NUMBER(exe_ino, exe_inode(c) ? READ(exe_inode(c), i_ino) : 0)

#define SECOND 1000000000ull

#define INODE_NSEC 0x7fffffff     /* the bit above tells, from Linux 6.13 on, that somebody asked for the time */

#define INODE_TIME(which) \
    struct inode *inode = exe_inode(c); \
    u64 v = 0; \
    if (!inode) { \
    } else if (exists(struct inode, i_##which##_sec)) { \
        KEEP_APART; \
        v = READ(inode, i_##which##_sec) * SECOND + (READ(inode, i_##which##_nsec) & INODE_NSEC); \
    } else if (exists(struct inode___before_6_11, __i_##which)) { \
        struct inode___before_6_11 *old = (void *)inode; \
        KEEP_APART; \
        v = READ(old, __i_##which.tv_sec) * SECOND + READ(old, __i_##which.tv_nsec); \
    } else { \
        struct inode___before_6_6 *old = (void *)inode; \
        KEEP_APART; \
        v = READ(old, i_##which.tv_sec) * SECOND + READ(old, i_##which.tv_nsec); \
    } \
    put_number(r, type, v);

FILL(exe_ctime) { INODE_TIME(ctime) }
FILL(exe_mtime) { INODE_TIME(mtime) }

/* ---- its end ---- */

FILL_NUMBER(exit_status, c->task->exit_code)
FILL_NUMBER(exit_code, c->task->exit_code & 0x7f ? 0 : (c->task->exit_code >> 8) & 0xff)
FILL_NUMBER(exit_signal, c->task->exit_code & 0x7f)
FILL_NUMBER(exit_core, (c->task->exit_code & 0x80) != 0)

/* Who gets the children: another thread of the process, the nearest ancestor that reaps, the first process of the namespace. */
FILL(reaper_tid)
{
    struct task_struct *task = c->task;
    s64 reaper = 0;

    if (READ(&task->children, next) == (void *)&task->children) {
        put_number(r, type, 0);
        return;
    }
    struct task_struct *init = READ(pidns_of(task), child_reaper);
    struct task_struct *leader = task->group_leader;
    if (task->signal->nr_threads > 1 && leader != task) {
        reaper = leader->pid;
    } else {
        struct task_struct *parent = task->real_parent;
        reaper = READ(init, pid);
        if (__builtin_preserve_field_info(((struct signal_struct *)0)->has_child_subreaper, 2)) {
            for (int i = 0; i < 32; i++) {
                struct signal_struct *signal = READ(parent, signal);
                u64 word = 0;
                u32 at = __builtin_preserve_field_info(((struct signal_struct *)0)->is_child_subreaper, 0);
                u32 left = __builtin_preserve_field_info(((struct signal_struct *)0)->is_child_subreaper, 4);
                bpf_probe_read_kernel(&word, 4, (void *)signal + at);
                if (left && ((word << left) >> 63)) {
                    reaper = READ(parent, tgid);
                    break;
                }
                if (parent == init)
                    break;
                parent = READ(parent, real_parent);
            }
        }
    }
    put_number(r, type, reaper);
}

#endif
