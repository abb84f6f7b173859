/* SPDX-License-Identifier: Apache-2.0
 *
 * The parts of the kernel that the probe reads, by name alone: offsets are filled in when it is loaded (CO-RE). Only fields that are used
 * are here, in any order. A name with ___ is the same type as older kernels have it.
 */
#ifndef FL_KERNEL_H
#define FL_KERNEL_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "probe.h"

typedef uint8_t u8;
typedef uint16_t u16;
typedef uint32_t u32;
typedef uint64_t u64;
typedef int16_t s16;
typedef int32_t s32;
typedef int64_t s64;

#define SEC(name) __attribute__((section(name), used))
#define INLINE static inline __attribute__((always_inline))
#define barrier_var(var) __asm__ volatile("" : "+r"(var))
#define barrier() __asm__ volatile("" ::: "memory")
#define likely(x) __builtin_expect(!!(x), 1)
#define unlikely(x) __builtin_expect(!!(x), 0)

/* ---- helpers, by their numbers ---- */
static void *(*const bpf_map_lookup_elem)(void *map, const void *key) = (void *)1;
static long (*const bpf_map_delete_elem)(void *map, const void *key) = (void *)3;
static u32 (*const bpf_get_smp_processor_id)(void) = (void *)8;
static long (*const bpf_tail_call)(void *ctx, void *map, u32 index) = (void *)12;
static u64 (*const bpf_get_current_pid_tgid)(void) = (void *)14;
static long (*const bpf_probe_read_user)(void *to, u32 size, const void *from) = (void *)112;
static long (*const bpf_probe_read_kernel)(void *to, u32 size, const void *from) = (void *)113;
static long (*const bpf_probe_read_user_str)(void *to, u32 size, const void *from) = (void *)114;
static long (*const bpf_probe_read_kernel_str)(void *to, u32 size, const void *from) = (void *)115;
static u64 (*const bpf_ktime_get_boot_ns)(void) = (void *)125;
static long (*const bpf_ringbuf_output)(void *ring, void *data, u64 size, u64 flags) = (void *)130;
static void *(*const bpf_task_storage_get)(void *map, void *task, void *value, u64 flags) = (void *)156;
static long (*const bpf_task_storage_delete)(void *map, void *task) = (void *)157;
static struct task_struct *(*const bpf_get_current_task_btf)(void) = (void *)158;
static long (*const bpf_task_pt_regs)(struct task_struct *task) = (void *)175;
/* Not a helper but a function of the kernel, whose number the core's loader knows: see CASTS. */
static void *(*const bpf_rdonly_cast)(const void *pointer, u32 type) = (void *)FL_PROBE_CAST;

#define BPF_RB_NO_WAKEUP 1
#define BPF_RB_FORCE_WAKEUP 2
#define BPF_LOCAL_STORAGE_GET_F_CREATE 1

#define BPF_MAP_TYPE_ARRAY 2
#define BPF_MAP_TYPE_PROG_ARRAY 3
#define BPF_MAP_TYPE_ARRAY_OF_MAPS 12
#define BPF_MAP_TYPE_RINGBUF 27
#define BPF_MAP_TYPE_TASK_STORAGE 29
#define BPF_F_NO_PREALLOC 1

/* How a map is described to the loader: numbers as lengths of arrays, types as pointers. */
#define MAP_NUMBER(name, value) int (*name)[value]
#define MAP_TYPE(name, type) type *name

/* ---- CO-RE ---- */
#define exists(type, field) __builtin_preserve_field_info(((type *)0)->field, 2)
#define type_exists(type) __builtin_preserve_type_info(*(type *)0, 0)
#define enum_value(type, value) __builtin_preserve_enum_value(*(type *)value, 1)
#define offset_of(type, field) __builtin_preserve_field_info(((type *)0)->field, 0)

/* In each of two branches that read a field of different kernels: else the compiler makes one of them, with both offsets, of which one is invalid. */
#define KEEP_APART __asm__ volatile("" ::"i"(__LINE__) : "memory")

/* A field that a pointer leads to which the verifier doesn't know. 0 if it can't be read. */
#define READ(pointer, field) ({ \
    __typeof__((pointer)->field) value_ = 0; \
    bpf_probe_read_kernel(&value_, sizeof value_, &(pointer)->field); \
    value_; })

/*
 * Whether the kernel takes it from us what a pointer leads to (bpf_rdonly_cast, Linux 6.2), and loads are safe without a helper's call,
 * which takes 35 ns: no kernel has this type; the core's loader says that it does, where the function is there.
 */
struct fl_casts;
#define CASTS type_exists(struct fl_casts)
#define CAST(pointer) ((__typeof__(pointer))bpf_rdonly_cast(pointer, __builtin_btf_type_id(*(pointer), 1)))

/* READ of a number or a pointer, where it pays: in calls that come by the million. */
#define LOAD(pointer, field) ({ \
    __typeof__((pointer)->field) value_; \
    if (CASTS) { \
        value_ = CAST(pointer)->field; \
    } else { \
        KEEP_APART; \
        value_ = READ(pointer, field); \
    } \
    value_; })

/* A number of the kernel's struct, of which the first bytes are in `bytes`; where it lies behind them, it is read by itself. */
#define READ_IN(bytes, pointer, field) ({ \
    __typeof__((pointer)->field) value_; \
    u32 at_ = offset_of(__typeof__(*(pointer)), field); \
    if (at_ <= sizeof (bytes) - sizeof value_) { \
        value_ = *(__typeof__(value_) *)((u8 *)(bytes) + at_); \
    } else { \
        KEEP_APART; \
        value_ = READ(pointer, field); \
    } \
    value_; })

struct in6 { u8 bytes[16]; };         /* read as a whole: of in6_addr only the size is used */

#pragma clang attribute push(__attribute__((preserve_access_index)), apply_to = record)

struct pt_regs { unsigned long orig_ax, ax, bx, cx, dx, si, di, bp, r8, r9, r10; };
struct list_head { struct list_head *next, *prev; };
struct hlist_node;
typedef struct { s32 counter; } atomic_t;
typedef struct { u32 val; } kuid_t;
typedef struct { u32 val; } kgid_t;
typedef struct { u64 val; } kernel_cap_t;

struct thread_info { u32 status; };
struct rlimit { unsigned long rlim_cur, rlim_max; };
struct qstr { u32 len; const unsigned char *name; };
struct super_block { u32 s_dev; unsigned long s_magic, s_flags; };
struct inode {
    u16 i_mode;
    u32 i_nlink;
    kuid_t i_uid;
    kgid_t i_gid;
    struct super_block *i_sb;
    unsigned long i_ino;
    s64 i_ctime_sec, i_mtime_sec;
    u32 i_ctime_nsec, i_mtime_nsec;
};
struct timespec64 { s64 tv_sec; long tv_nsec; };
struct inode___before_6_11 { struct timespec64 __i_ctime, __i_mtime; };
struct inode___before_6_6 { struct timespec64 i_ctime, i_mtime; };
struct dentry {
    struct dentry *d_parent;
    struct qstr d_name;
    struct inode *d_inode;
};
struct vfsmount { struct dentry *mnt_root; int mnt_flags; };
struct mount { struct mount *mnt_parent; struct dentry *mnt_mountpoint; struct vfsmount mnt; };
struct path { struct vfsmount *mnt; struct dentry *dentry; };
struct file { void *private_data; struct inode *f_inode; u32 f_mode; u32 f_flags; struct path f_path; };
struct fdtable { u32 max_fds; struct file **fd; unsigned long *close_on_exec; };
struct files_struct { struct fdtable *fdt; };
struct ovl_inode { struct dentry *__upperdentry; struct inode vfs_inode; };

struct pid_namespace { u32 level; struct task_struct *child_reaper; };
struct upid { int nr; struct pid_namespace *ns; };
struct pid { u32 level; struct upid numbers[1]; };
struct tty_driver { int major, minor_start; };
struct tty_struct { struct tty_driver *driver; int index; };
struct signal_struct {
    int nr_threads;
    struct list_head thread_head;
    unsigned is_child_subreaper : 1, has_child_subreaper : 1;
    struct pid *pids[4];
    struct tty_struct *tty;
    struct rlimit rlim[16];
};
struct group_info { int ngroups; kgid_t gid[1]; };
struct cred {
    kuid_t uid, euid, fsuid;
    kgid_t gid, egid, fsgid;
    kernel_cap_t cap_inheritable, cap_permitted, cap_effective;
    struct group_info *group_info;
};
struct percpu_counter { s64 count; };
struct mm_struct {
    unsigned long total_vm, arg_start, arg_end, env_start, env_end;
    struct percpu_counter rss_stat[4];
    struct file *exe_file;
};
struct mm_rss_stat { s64 count[4]; };
struct mm_struct___before_6_2 { struct mm_rss_stat rss_stat; };
struct ns_common { u32 inum; };
struct net { struct ns_common ns; };
struct nsproxy { struct pid_namespace *pid_ns_for_children; struct net *net_ns; };

enum cgroup_subsys_id { cpuset_cgrp_id, cpu_cgrp_id, cpuacct_cgrp_id, io_cgrp_id, memory_cgrp_id };
struct kernfs_node { struct kernfs_node *__parent; const char *name; };
struct kernfs_node___before_6_15 { struct kernfs_node *parent; };
struct cgroup { struct kernfs_node *kn; };
struct cgroup_subsys_state { struct cgroup *cgroup; };
struct css_set { struct cgroup_subsys_state *subsys[12]; struct cgroup *dfl_cgrp; };

struct task_struct {
    struct thread_info thread_info;
    s32 pid, tgid;
    s32 exit_code;
    u32 flags;
    char comm[16];
    kuid_t loginuid;
    u64 start_boottime;
    unsigned long maj_flt, min_flt;
    struct task_struct *real_parent, *group_leader;
    struct list_head children, thread_node;
    struct mm_struct *mm;
    struct files_struct *files;
    struct fs_struct *fs;
    struct signal_struct *signal;
    struct nsproxy *nsproxy;
    const struct cred *cred;
    struct pid *thread_pid;
    struct css_set *cgroups;
};
struct fs_struct { struct path root, pwd; };
struct linux_binprm { struct file *file; const char *filename; };
struct kernel_siginfo { int si_signo, si_errno, si_code; };

struct bpf_iter_meta { void *seq; };

struct sock_common {
    u16 skc_family;
    u32 skc_daddr, skc_rcv_saddr;
    u16 skc_dport, skc_num;
    struct in6 skc_v6_daddr, skc_v6_rcv_saddr;
};
struct sock { struct sock_common __sk_common; u32 sk_ack_backlog, sk_max_ack_backlog; struct socket *sk_socket; };
struct socket { struct sock *sk; struct file *file; s16 type; };
struct sockaddr_un { u16 sun_family; char sun_path[108]; };
struct unix_address { int len; struct sockaddr_un name[1]; };
struct unix_sock { struct sock sk; struct unix_address *addr; struct sock *peer; };
struct pipe_inode_info;

#pragma clang attribute pop

#endif
