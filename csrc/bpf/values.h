/* SPDX-License-Identifier: Apache-2.0
 *
 * The pure functions of sources.def: numbers of the kernel into numbers of the schema. They depend on nothing, so that the probe, a module
 * and tests can share them.
 */
#ifndef FL_VALUES_H
#define FL_VALUES_H

#include "../schema/schema.h"

#ifndef INLINE
#define INLINE static inline __attribute__((always_inline))
#endif

/* BIT(from, table, NAME): the kernel's bit as the schema's */
#define BIT(from, table, name) ((v & (from)) ? FL_FLAG(table, name) : 0)

INLINE uint64_t fl_conv_s32(uint64_t v) { return (uint64_t)(int64_t)(int32_t)v; }
INLINE uint64_t fl_conv_u32(uint64_t v) { return (uint32_t)v; }

INLINE uint64_t fl_conv_fd_flags(uint64_t v)
{
    return BIT(02000000, file_flags, O_CLOEXEC) | BIT(04000, file_flags, O_NONBLOCK) | BIT(040000, file_flags, O_DIRECT);
}

INLINE uint64_t fl_conv_permissions(uint64_t v) { return v & 07777; }

INLINE uint64_t fl_conv_sockopt_level(uint64_t v)
{
    return (uint32_t)v == 1 ? FL_FLAG(sockopt_levels, SOL_SOCKET) : (uint32_t)v == 6 ? FL_FLAG(sockopt_levels, SOL_TCP) : 0;
}

INLINE uint64_t fl_conv_fcntl_command(uint64_t v)
{
    switch ((uint32_t)v) {
    case 0: return FL_FLAG(fcntl_commands, F_DUPFD);
    case 1: return FL_FLAG(fcntl_commands, F_GETFD);
    case 2: return FL_FLAG(fcntl_commands, F_SETFD);
    case 3: return FL_FLAG(fcntl_commands, F_GETFL);
    case 4: return FL_FLAG(fcntl_commands, F_SETFL);
    case 5: return FL_FLAG(fcntl_commands, F_GETLK);
    case 6: return FL_FLAG(fcntl_commands, F_SETLK);
    case 7: return FL_FLAG(fcntl_commands, F_SETLKW);
    case 8: return FL_FLAG(fcntl_commands, F_SETOWN);
    case 9: return FL_FLAG(fcntl_commands, F_GETOWN);
    case 10: return FL_FLAG(fcntl_commands, F_SETSIG);
    case 11: return FL_FLAG(fcntl_commands, F_GETSIG);
    case 12: return FL_FLAG(fcntl_commands, F_GETLK64);
    case 13: return FL_FLAG(fcntl_commands, F_SETLK64);
    case 14: return FL_FLAG(fcntl_commands, F_SETLKW64);
    case 15: return FL_FLAG(fcntl_commands, F_SETOWN_EX);
    case 16: return FL_FLAG(fcntl_commands, F_GETOWN_EX);
    case 36: return FL_FLAG(fcntl_commands, F_OFD_GETLK);
    case 37: return FL_FLAG(fcntl_commands, F_OFD_SETLK);
    case 38: return FL_FLAG(fcntl_commands, F_OFD_SETLKW);
    case 1024: return FL_FLAG(fcntl_commands, F_SETLEASE);
    case 1025: return FL_FLAG(fcntl_commands, F_GETLEASE);
    case 1026: return FL_FLAG(fcntl_commands, F_NOTIFY);
    case 1029: return FL_FLAG(fcntl_commands, F_CANCELLK);
    case 1030: return FL_FLAG(fcntl_commands, F_DUPFD_CLOEXEC);
    case 1031: return FL_FLAG(fcntl_commands, F_SETPIPE_SZ);
    case 1032: return FL_FLAG(fcntl_commands, F_GETPIPE_SZ);
    default: return 0;
    }
}

INLINE uint64_t fl_conv_prot_flags(uint64_t v)
{
    return (v & 0xf) | BIT(0x01000000, prot_flags, PROT_GROWSDOWN) | BIT(0x02000000, prot_flags, PROT_GROWSUP);
}

INLINE uint64_t fl_conv_mmap_flags(uint64_t v)
{
    return BIT(1, mmap_flags, MAP_SHARED) | BIT(2, mmap_flags, MAP_PRIVATE) | BIT(0x10, mmap_flags, MAP_FIXED)
        | BIT(0x20, mmap_flags, MAP_ANONYMOUS) | BIT(0x40, mmap_flags, MAP_32BIT) | BIT(0x4000, mmap_flags, MAP_NORESERVE)
        | BIT(0x8000, mmap_flags, MAP_POPULATE) | BIT(0x10000, mmap_flags, MAP_NONBLOCK) | BIT(0x100, mmap_flags, MAP_GROWSDOWN)
        | BIT(0x800, mmap_flags, MAP_DENYWRITE) | BIT(0x1000, mmap_flags, MAP_EXECUTABLE) | BIT(0x2000, mmap_flags, MAP_LOCKED);
}

INLINE uint64_t fl_conv_ptrace_request(uint64_t v)
{
    uint32_t request = (uint32_t)v;

    if (request <= 9)           /* TRACEME … SINGLESTEP stand in the same order */
        return request + FL_FLAG(ptrace_requests, PTRACE_TRACEME);
    if (request >= 0x4200 && request <= 0x420b)         /* SETOPTIONS … SETSIGMASK */
        return request - 0x4200 + FL_FLAG(ptrace_requests, PTRACE_SETOPTIONS);
    switch (request) {
    case 12: return FL_FLAG(ptrace_requests, PTRACE_GETREGS);
    case 13: return FL_FLAG(ptrace_requests, PTRACE_SETREGS);
    case 14: return FL_FLAG(ptrace_requests, PTRACE_GETFPREGS);
    case 15: return FL_FLAG(ptrace_requests, PTRACE_SETFPREGS);
    case 16: return FL_FLAG(ptrace_requests, PTRACE_ATTACH);
    case 17: return FL_FLAG(ptrace_requests, PTRACE_DETACH);
    case 18: return FL_FLAG(ptrace_requests, PTRACE_GETFPXREGS);
    case 19: return FL_FLAG(ptrace_requests, PTRACE_SETFPXREGS);
    case 21: return FL_FLAG(ptrace_requests, PTRACE_OLDSETOPTIONS);
    case 24: return FL_FLAG(ptrace_requests, PTRACE_SYSCALL);
    case 25: return FL_FLAG(ptrace_requests, PTRACE_GET_THREAD_AREA);
    case 26: return FL_FLAG(ptrace_requests, PTRACE_SET_THREAD_AREA);
    case 30: return FL_FLAG(ptrace_requests, PTRACE_ARCH_PRCTL);
    case 31: return FL_FLAG(ptrace_requests, PTRACE_SYSEMU);
    case 32: return FL_FLAG(ptrace_requests, PTRACE_SYSEMU_SINGLESTEP);
    case 33: return FL_FLAG(ptrace_requests, PTRACE_SINGLEBLOCK);
    default: return FL_FLAG(ptrace_requests, PTRACE_UNKNOWN);
    }
}

/* quotactl's first argument: the command above, the type in the low byte */
INLINE uint64_t fl_conv_quotactl_command(uint64_t v)
{
    switch ((uint32_t)v >> 8) {
    case 0x800001: return FL_FLAG(quotactl_cmds, Q_SYNC);
    case 0x800002: return FL_FLAG(quotactl_cmds, Q_QUOTAON);
    case 0x800003: return FL_FLAG(quotactl_cmds, Q_QUOTAOFF);
    case 0x800004: return FL_FLAG(quotactl_cmds, Q_GETFMT);
    case 0x800005: return FL_FLAG(quotactl_cmds, Q_GETINFO);
    case 0x800006: return FL_FLAG(quotactl_cmds, Q_SETINFO);
    case 0x800007: return FL_FLAG(quotactl_cmds, Q_GETQUOTA);
    case 0x800008: return FL_FLAG(quotactl_cmds, Q_SETQUOTA);
    case 0x5801: return FL_FLAG(quotactl_cmds, Q_XQUOTAON);
    case 0x5802: return FL_FLAG(quotactl_cmds, Q_XQUOTAOFF);
    case 0x5803: return FL_FLAG(quotactl_cmds, Q_XGETQUOTA);
    case 0x5804: return FL_FLAG(quotactl_cmds, Q_XSETQLIM);
    case 0x5805: return FL_FLAG(quotactl_cmds, Q_XGETQSTAT);
    case 0x5806: return FL_FLAG(quotactl_cmds, Q_XQUOTARM);
    case 0x5807: return FL_FLAG(quotactl_cmds, Q_XQUOTASYNC);
    default: return 0;
    }
}

INLINE uint64_t fl_conv_quotactl_type(uint64_t v)
{
    return (v & 0xff) == 0 ? FL_FLAG(quotactl_types, USRQUOTA) : (v & 0xff) == 1 ? FL_FLAG(quotactl_types, GRPQUOTA) : 0;
}

INLINE uint64_t fl_conv_quota_format(uint64_t v)
{
    switch ((uint32_t)v) {
    case 1: return FL_FLAG(quotactl_quota_fmts, QFMT_VFS_OLD);
    case 2: return FL_FLAG(quotactl_quota_fmts, QFMT_VFS_V0);
    case 4: return FL_FLAG(quotactl_quota_fmts, QFMT_VFS_V1);
    default: return FL_FLAG(quotactl_quota_fmts, QFMT_NOT_USED);
    }
}

INLINE uint64_t fl_conv_clone_flags(uint64_t v)
{
    return BIT(0x100, clone_flags, CLONE_VM) | BIT(0x200, clone_flags, CLONE_FS) | BIT(0x400, clone_flags, CLONE_FILES)
        | BIT(0x800, clone_flags, CLONE_SIGHAND) | BIT(0x2000, clone_flags, CLONE_PTRACE) | BIT(0x4000, clone_flags, CLONE_VFORK)
        | BIT(0x8000, clone_flags, CLONE_PARENT) | BIT(0x10000, clone_flags, CLONE_THREAD) | BIT(0x20000, clone_flags, CLONE_NEWNS)
        | BIT(0x40000, clone_flags, CLONE_SYSVSEM) | BIT(0x80000, clone_flags, CLONE_SETTLS)
        | BIT(0x100000, clone_flags, CLONE_PARENT_SETTID) | BIT(0x200000, clone_flags, CLONE_CHILD_CLEARTID)
        | BIT(0x800000, clone_flags, CLONE_UNTRACED) | BIT(0x1000000, clone_flags, CLONE_CHILD_SETTID)
        | BIT(0x2000000, clone_flags, CLONE_NEWCGROUP) | BIT(0x4000000, clone_flags, CLONE_NEWUTS)
        | BIT(0x8000000, clone_flags, CLONE_NEWIPC) | BIT(0x10000000, clone_flags, CLONE_NEWUSER)
        | BIT(0x20000000, clone_flags, CLONE_NEWPID) | BIT(0x40000000, clone_flags, CLONE_NEWNET)
        | BIT(0x80000000u, clone_flags, CLONE_IO);
}

INLINE uint64_t fl_conv_semctl_command(uint64_t v)
{
    switch ((uint32_t)v & 0xff) {       /* without IPC_64, which 32-bit callers add */
    case 0: return FL_FLAG(semctl_commands, IPC_RMID);
    case 1: return FL_FLAG(semctl_commands, IPC_SET);
    case 2: return FL_FLAG(semctl_commands, IPC_STAT);
    case 3: return FL_FLAG(semctl_commands, IPC_INFO);
    case 11: return FL_FLAG(semctl_commands, GETPID);
    case 12: return FL_FLAG(semctl_commands, GETVAL);
    case 13: return FL_FLAG(semctl_commands, GETALL);
    case 14: return FL_FLAG(semctl_commands, GETNCNT);
    case 15: return FL_FLAG(semctl_commands, GETZCNT);
    case 16: return FL_FLAG(semctl_commands, SETVAL);
    case 17: return FL_FLAG(semctl_commands, SETALL);
    case 18: return FL_FLAG(semctl_commands, SEM_STAT);
    case 19: return FL_FLAG(semctl_commands, SEM_INFO);
    default: return 0;
    }
}

INLINE uint64_t fl_conv_semget_flags(uint64_t v)
{
    return BIT(01000, semget_flags, IPC_CREAT) | BIT(02000, semget_flags, IPC_EXCL);
}

INLINE uint64_t fl_conv_mount_flags(uint64_t v) { return (v & 0xffff0000) == 0xc0ed0000 ? v & 0xffff : v & 0xffffffff; }
INLINE uint64_t fl_conv_epoll_create1_flags(uint64_t v) { return BIT(02000000, epoll_create1_flags, EPOLL_CLOEXEC); }

INLINE uint64_t fl_conv_fchownat_flags(uint64_t v)
{
    return BIT(0x100, fchownat_flags, AT_SYMLINK_NOFOLLOW) | BIT(0x1000, fchownat_flags, AT_EMPTY_PATH);
}

INLINE uint64_t fl_conv_pidfd_open_flags(uint64_t v) { return BIT(04000, pidfd_open_flags, PIDFD_NONBLOCK); }

INLINE uint64_t fl_conv_delete_module_flags(uint64_t v)
{
    return BIT(04000, delete_module_flags, O_NONBLOCK) | BIT(01000, delete_module_flags, O_TRUNC);
}

INLINE uint64_t fl_conv_open_flags(uint64_t v)
{
    uint64_t access = (v & 3) == 0 ? FL_FLAG(file_flags, O_RDONLY) : (v & 3) == 1 ? FL_FLAG(file_flags, O_WRONLY) : FL_FLAG(file_flags, O_RDWR);

    return access | BIT(0100, file_flags, O_CREAT) | BIT(0200, file_flags, O_EXCL) | BIT(01000, file_flags, O_TRUNC)
        | BIT(02000, file_flags, O_APPEND) | BIT(04000, file_flags, O_NONBLOCK) | BIT(010000, file_flags, O_DSYNC)
        | BIT(04000000, file_flags, O_SYNC) | BIT(040000, file_flags, O_DIRECT) | BIT(0100000, file_flags, O_LARGEFILE)
        | BIT(0200000, file_flags, O_DIRECTORY) | BIT(02000000, file_flags, O_CLOEXEC) | BIT(020000000, file_flags, O_TMPFILE);
}

INLINE uint64_t fl_conv_poll_events(uint64_t v)
{
    return (v & 7) | BIT(8, poll_flags, POLLERR) | BIT(0x10, poll_flags, POLLHUP) | BIT(0x20, poll_flags, POLLNVAL)
        | BIT(0x40, poll_flags, POLLRDNORM) | BIT(0x80, poll_flags, POLLRDBAND) | BIT(0x100, poll_flags, POLLWRNORM)
        | BIT(0x200, poll_flags, POLLWRBAND) | BIT(0x2000, poll_flags, POLLRDHUP);
}

INLINE uint64_t fl_conv_sockopt_name(uint64_t v)
{
    uint32_t name = (uint32_t)v;

    return name >= 1 && name <= 53 ? name : 0;          /* the schema's numbers are those of most architectures */
}

/* A device number as user space has it: the schema's form */
INLINE uint32_t fl_conv_dev(uint32_t dev)
{
    uint32_t major = dev >> 20, minor = dev & 0xfffff;

    return (minor & 0xff) | (major << 8) | ((minor & ~0xffu) << 12);
}

#undef BIT
#endif
