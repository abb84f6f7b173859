/* SPDX-License-Identifier: Apache-2.0
 *
 * What a process may do and what it uses: capabilities, cgroups, threads, memory, processor time, descriptors.
 */
#include "extract.h"

/* ---- capabilities ---- */

static const char *const capabilities[] = {
    "CAP_CHOWN", "CAP_DAC_OVERRIDE", "CAP_DAC_READ_SEARCH", "CAP_FOWNER", "CAP_FSETID", "CAP_KILL", "CAP_SETGID", "CAP_SETUID",
    "CAP_SETPCAP", "CAP_LINUX_IMMUTABLE", "CAP_NET_BIND_SERVICE", "CAP_NET_BROADCAST", "CAP_NET_ADMIN", "CAP_NET_RAW",
    "CAP_IPC_LOCK", "CAP_IPC_OWNER", "CAP_SYS_MODULE", "CAP_SYS_RAWIO", "CAP_SYS_CHROOT", "CAP_SYS_PTRACE", "CAP_SYS_PACCT",
    "CAP_SYS_ADMIN", "CAP_SYS_BOOT", "CAP_SYS_NICE", "CAP_SYS_RESOURCE", "CAP_SYS_TIME", "CAP_SYS_TTY_CONFIG", "CAP_MKNOD",
    "CAP_LEASE", "CAP_AUDIT_WRITE", "CAP_AUDIT_CONTROL", "CAP_SETFCAP", "CAP_MAC_OVERRIDE", "CAP_MAC_ADMIN", "CAP_SYSLOG",
    "CAP_WAKE_ALARM", "CAP_BLOCK_SUSPEND", "CAP_AUDIT_READ", "CAP_PERFMON", "CAP_BPF", "CAP_CHECKPOINT_RESTORE",
};

static bool names_of(const struct fl_view *view, uint64_t set, struct fl_value *out)
{
    struct fl_text text;
    fl_text_begin(&text, view);
    for (unsigned i = 0; i < sizeof capabilities / sizeof *capabilities; i++) {
        if (!(set >> i & 1))
            continue;
        if (text.len)
            fl_text_char(&text, ' ');
        fl_text_lit(&text, capabilities[i]);
    }
    return fl_text_end(&text, out);
}

EXTRACT(thread_cap_permitted) { return fl_thread_of(view) && names_of(view, fl_thread_of(view)->cap_permitted, out); }
EXTRACT(thread_cap_inheritable) { return fl_thread_of(view) && names_of(view, fl_thread_of(view)->cap_inheritable, out); }
EXTRACT(thread_cap_effective) { return fl_thread_of(view) && names_of(view, fl_thread_of(view)->cap_effective, out); }

/* ---- cgroups ---- */

EXTRACT(thread_cgroups)
{
    const struct fl_thread *thread = fl_thread_of(view);
    if (!thread || !thread->cgroups->len)
        return false;
    struct fl_text text;
    fl_text_begin(&text, view);
    fl_text_joined(&text, thread->cgroups->data, thread->cgroups->len, ' ');
    return fl_text_end(&text, out);
}

EXTRACT(thread_cgroup)
{
    const struct fl_thread *thread = fl_thread_of(view);
    struct fl_slice one;
    uint32_t at = 0;
    if (!thread || !arg->has_key)
        return false;
    while (fl_next_text(thread->cgroups->data, thread->cgroups->len, &at, &one))
        if (one.len > arg->key_len && one.data[arg->key_len] == '=' && !memcmp(one.data, arg->key, arg->key_len))
            return fl_set_str(out, one.data + arg->key_len + 1, one.len - arg->key_len - 1);
    return false;
}

/* ---- threads and processor time ---- */

EXTRACT(proc_nthreads)
{
    const struct fl_thread *thread = fl_thread_of(view);
    return thread && fl_set_u64(out, thread->group ? thread->group->live : 0);
}

EXTRACT(proc_nchilds)
{
    const struct fl_thread *thread = fl_thread_of(view);
    if (!thread)
        return false;
    const struct fl_group *group = thread->group;
    if (!group)
        return fl_set_u64(out, 0);
    return fl_set_u64(out, group->live - (group->live && group->main && !group->main->dead));
}

/* The time on a CPU isn't accounted: Falco answers 0 on each switch of threads, and everywhere else. */
EXTRACT(thread_exectime)
{
    (void)view;
    return fl_set_u64(out, 0);
}

EXTRACT(thread_totexectime) { return fl_thread_of(view) && fl_set_u64(out, 0); }

/* Old captures have a procinfo event a second and process; the time of a single one is 0, there being none to compare it with. */
static bool cpu(const struct fl_view *view, struct fl_value *out)
{
    return fl_thread_of(view) && view->ev->type == FL_EV_PROCINFO_E && fl_set_f64(out, 0);
}

EXTRACT(thread_cpu) { return cpu(view, out); }
EXTRACT(thread_cpu_user) { return cpu(view, out); }
EXTRACT(thread_cpu_system) { return cpu(view, out); }

/* ---- memory ---- */

#define MEMORY(id, member, factor) \
    EXTRACT(id) \
    { \
        const struct fl_thread *thread = fl_thread_of(view); \
        return thread && fl_set_u64(out, (uint64_t)thread->member * (factor)); \
    }

/* Only of the main thread, so that a sum over threads counts it once. */
#define MEMORY_OF_MAIN(id, member, factor) \
    EXTRACT(id) \
    { \
        const struct fl_thread *thread = fl_thread_of(view); \
        return thread && fl_set_u64(out, thread->tid == thread->pid ? (uint64_t)thread->member * (factor) : 0); \
    }

MEMORY(proc_vmsize, vmsize_kb, 1)
MEMORY(proc_vmrss, vmrss_kb, 1)
MEMORY(proc_vmswap, vmswap_kb, 1)
MEMORY_OF_MAIN(thread_vmsize, vmsize_kb, 1)
MEMORY_OF_MAIN(thread_vmrss, vmrss_kb, 1)
MEMORY_OF_MAIN(thread_vmsize_b, vmsize_kb, 1024)
MEMORY_OF_MAIN(thread_vmrss_b, vmrss_kb, 1024)

EXTRACT(thread_pfmajor) { return fl_thread_of(view) && fl_set_u64(out, fl_thread_of(view)->pfmajor); }
EXTRACT(thread_pfminor) { return fl_thread_of(view) && fl_set_u64(out, fl_thread_of(view)->pfminor); }

/* ---- descriptors ---- */

/* Both are the leader's; of a thread that no table knew, none. */
static uint64_t open_descriptors(const struct fl_thread *thread)
{
    return thread->group ? fl_fds_count(fl_thread_fds(fl_thread_main(thread))) : 0;
}

static int64_t descriptor_limit(const struct fl_thread *thread)
{
    return thread->group ? fl_thread_main(thread)->fdlimit : 0;
}

EXTRACT(proc_fdopencount) { return fl_thread_of(view) && fl_set_u64(out, open_descriptors(fl_thread_of(view))); }
EXTRACT(proc_fdlimit) { return fl_thread_of(view) && fl_set_i64(out, descriptor_limit(fl_thread_of(view))); }

EXTRACT(proc_fdusage)
{
    const struct fl_thread *thread = fl_thread_of(view);
    if (!thread)
        return false;
    /* Those that were opened before the limit was lowered don't count. */
    double limit = (double)descriptor_limit(thread), count = (double)open_descriptors(thread);
    return fl_set_f64(out, limit <= 0 ? 0 : count < limit ? 100 * count / limit : 100);
}

static const struct fl_fd *standard(const struct fl_view *view, int64_t num)
{
    const struct fl_thread *thread = fl_thread_of(view);
    const struct fl_fds *fds = thread ? fl_thread_fds(thread) : NULL;
    return fds ? fl_fd_find(fds, num) : NULL;
}

#define STANDARD(stream, num) \
    EXTRACT(proc_##stream##_type) \
    { \
        const struct fl_fd *fd = standard(view, num); \
        return fd && fl_set_lit(out, fl_fd_type_text(fd->type)); \
    } \
    EXTRACT(proc_##stream##_name) \
    { \
        const struct fl_fd *fd = standard(view, num); \
        return fd && fl_set_interned(out, fd->name); \
    }

STANDARD(stdin, 0)
STANDARD(stdout, 1)
STANDARD(stderr, 2)
