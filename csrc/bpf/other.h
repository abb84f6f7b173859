/* SPDX-License-Identifier: Apache-2.0
 *
 * Fillers of single system calls.
 */
#ifndef FL_BPF_OTHER_H
#define FL_BPF_OTHER_H

#include "socket.h"

INLINE u32 number_of_call(struct call *c) { return (u32)c->regs->orig_ax & ~0x40000000u; }

FILL_NUMBER(syscall_number, number_of_call(c))
FILL_NUMBER(llseek_offset, arg(c, n) << 32 | arg(c, n + 1))
FILL_NUMBER(syscall_id, fl_probe.config.portable[c->ia32][number_of_call(c) & (FL_PROBE_CALLS - 1)])

/* ---- signals ---- */

FILL_NUMBER(signal_number, c->ret)

/* Who sent it: si_pid, the first field behind the header, of signals that a process sends */
FILL(signal_sender)
{
    s32 code = READ(c->info, si_code), sender = 0;

    if ((u64)c->info > 1 && (code <= 0 || c->ret == 17))        /* SIGCHLD tells the child */
        bpf_probe_read_kernel(&sender, sizeof sender, (void *)c->info + 16);
    put_number(r, type, (s64)sender);
}

/* ---- ptrace ---- */

INLINE void put_dyn(struct rec *r, u8 kind, u64 v, u32 bytes)
{
    u8 *at = r->buf + AT(r->off);

    *at = kind;
    if (bytes == 1)
        at[1] = v;
    else
        *(u64 *)(at + 1) = v;
    put_length(r, 1 + bytes);
}

FILL(ptrace_addr) { put_dyn(r, 0, c->ret < 0 ? 0 : arg(c, n), 8); }

FILL(ptrace_data)
{
    u32 request = arg(c, 0);

    if (c->ret < 0)
        put_dyn(r, 0, 0, 8);
    else if (request == 1 || request == 2 || request == 3)      /* PEEK…: the answer is where data points */
        put_dyn(r, 0, user_number(c, r, arg(c, n), 8), 8);
    else if (request == 7 || request == 9 || request == 17 || request == 24 || request == 31 || request == 32)
        put_dyn(r, 1, arg(c, n), 1);                            /* CONT, SINGLESTEP, DETACH, SYSCALL…: a signal */
    else
        put_dyn(r, 0, arg(c, n), 8);
}

/* ---- semaphores: struct sembuf is three numbers of 16 bits ---- */

INLINE u16 sem_part(struct call *c, struct rec *r, unsigned n, u32 which, u32 part)
{
    return which < arg(c, n + 1) ? user_number(c, r, arg(c, n) + which * 6 + part * 2, 2) : 0;
}

INLINE u16 sem_flags(u16 v) { return (v & 04000 ? FL_FLAG(semop_flags, IPC_NOWAIT) : 0) | (v & 0x1000 ? FL_FLAG(semop_flags, SEM_UNDO) : 0); }

FILL_NUMBER(sem_num_0, sem_part(c, r, n, 0, 0))
FILL_NUMBER(sem_op_0, sem_part(c, r, n, 0, 1))
FILL_NUMBER(sem_flags_0, sem_flags(sem_part(c, r, n, 0, 2)))
FILL_NUMBER(sem_num_1, sem_part(c, r, n, 1, 0))
FILL_NUMBER(sem_op_1, sem_part(c, r, n, 1, 1))
FILL_NUMBER(sem_flags_1, sem_flags(sem_part(c, r, n, 1, 2)))
FILL_NUMBER(semctl_value, (arg(c, n) & 0xff) == 16 ? arg(c, n + 1) : 0)

/* ---- quotactl ---- */

INLINE u32 quota_command(struct call *c) { return (u32)arg(c, 0) >> 8; }

#define Q_QUOTAON_ 0x800002
#define Q_GETFMT_ 0x800004
#define Q_GETINFO_ 0x800005
#define Q_SETINFO_ 0x800006
#define Q_GETQUOTA_ 0x800007
#define Q_SETQUOTA_ 0x800008

FILL(quota_file) { put_user_text(r, quota_command(c) == Q_QUOTAON_ ? arg(c, 3) : 0, PATH_MAX); }

FILL(quota_id)
{
    u32 command = quota_command(c);
    put_number(r, type, command == Q_GETQUOTA_ || command == Q_SETQUOTA_ || command == 0x5803 || command == 0x5804 ? arg(c, 2) : 0);
}

FILL(quota_format)
{
    put_number(r, type, quota_command(c) == Q_QUOTAON_ ? fl_conv_quota_format(arg(c, 2)) : FL_FLAG(quotactl_quota_fmts, QFMT_NOT_USED));
}

FILL(quota_format_answer)
{
    put_number(r, type, quota_command(c) == Q_GETFMT_ && c->ret == 0 ? fl_conv_quota_format(user_number(c, r, arg(c, 3), 4))
        : FL_FLAG(quotactl_quota_fmts, QFMT_NOT_USED));
}

/* struct dqblk: eight numbers of 64 bits */
INLINE u64 dqblk(struct call *c, struct rec *r, u32 at)
{
    u32 command = quota_command(c);
    return (command == Q_GETQUOTA_ && c->ret == 0) || command == Q_SETQUOTA_ ? user_number(c, r, arg(c, 3) + at, 8) : 0;
}

FILL_NUMBER(quota_bhardlimit, dqblk(c, r, 0))
FILL_NUMBER(quota_bsoftlimit, dqblk(c, r, 8))
FILL_NUMBER(quota_curspace, dqblk(c, r, 16))
FILL_NUMBER(quota_ihardlimit, dqblk(c, r, 24))
FILL_NUMBER(quota_isoftlimit, dqblk(c, r, 32))
FILL_NUMBER(quota_btime, dqblk(c, r, 48))
FILL_NUMBER(quota_itime, dqblk(c, r, 56))

/* struct dqinfo: two numbers of 64 bits, then flags of 32 */
INLINE u64 dqinfo(struct call *c, struct rec *r, u32 at, u32 bytes)
{
    u32 command = quota_command(c);
    return (command == Q_GETINFO_ && c->ret == 0) || command == Q_SETINFO_ ? user_number(c, r, arg(c, 3) + at, bytes) : 0;
}

FILL_NUMBER(quota_bgrace, dqinfo(c, r, 0, 8))
FILL_NUMBER(quota_igrace, dqinfo(c, r, 8, 8))
FILL(quota_flags)
{
    u64 v = dqinfo(c, r, 16, 4);
    put_number(r, type, v & 1 ? FL_FLAG(quotactl_dqi_flags, V1_DQF_RSQUASH) : FL_FLAG(quotactl_dqi_flags, DQF_NONE));
}

/* ---- io_uring: struct io_uring_params ---- */

INLINE u32 uring(struct call *c, struct rec *r, unsigned n, u32 at) { return user_number(c, r, arg(c, n) ? arg(c, n) + at : 0, 4); }

FILL_NUMBER(io_uring_sq_entries, uring(c, r, n, 0))
FILL_NUMBER(io_uring_cq_entries, uring(c, r, n, 4))
FILL(io_uring_flags)
{
    u32 v = uring(c, r, n, 8);
    put_number(r, type, (v & 1 ? FL_FLAG(io_uring_setup_flags, IORING_SETUP_IOPOLL) : 0)
        | (v & 2 ? FL_FLAG(io_uring_setup_flags, IORING_SETUP_SQPOLL) : 0) | (v & 4 ? FL_FLAG(io_uring_setup_flags, IORING_SETUP_SQ_AFF) : 0)
        | (v & 8 ? FL_FLAG(io_uring_setup_flags, IORING_SETUP_CQSIZE) : 0) | (v & 16 ? FL_FLAG(io_uring_setup_flags, IORING_SETUP_CLAMP) : 0)
        | (v & 32 ? FL_FLAG(io_uring_setup_flags, IORING_SETUP_ATTACH_RW) : 0)
        | (v & 64 ? FL_FLAG(io_uring_setup_flags, IORING_SETUP_R_DISABLED) : 0));
}
FILL_NUMBER(io_uring_sq_thread_cpu, uring(c, r, n, 12))
FILL_NUMBER(io_uring_sq_thread_idle, uring(c, r, n, 16))
FILL_NUMBER(io_uring_features, uring(c, r, n, 20) & 0x7ff)

/* ---- fsconfig, prctl, keyctl ---- */

FILL(fsconfig_bytes)
{
    if ((u32)arg(c, n - 2) == 2)                        /* FSCONFIG_SET_BINARY */
        put_user_bytes(r, arg(c, n), snap(arg(c, n + 1)), SNAPLEN_MAX);
    else
        put_empty(r);
}

FILL(fsconfig_text)
{
    u32 command = arg(c, n - 2);
    put_user_text(r, command == 1 || command == 3 || command == 4 ? arg(c, n) : 0, PATH_MAX);   /* SET_STRING, SET_PATH, SET_PATH_EMPTY */
}

FILL(prctl_text)
{
    u32 option = arg(c, n);
    put_user_text(r, option == 15 || option == 16 ? arg(c, n + 1) : 0, 16);                     /* PR_SET_NAME, PR_GET_NAME */
}

FILL(prctl_number)
{
    u32 option = arg(c, n);

    if (option == 15 || option == 16)
        put_number(r, type, 0);
    else if (option == 37)                              /* PR_GET_CHILD_SUBREAPER answers where the argument points */
        put_number(r, type, (s64)(s32)user_number(c, r, arg(c, n + 1), 4));
    else
        put_number(r, type, arg(c, n + 1));
}

/* Which arguments are texts, by operation: DESCRIBE and the like have none */
INLINE bool keyctl_is_text(u32 operation, unsigned n)
{
    switch (operation) {
    case 1: return n == 1;                              /* JOIN_SESSION_KEYRING */
    case 10: return n == 2 || n == 3;                   /* SEARCH: type, description */
    case 29: return n == 2 || n == 3;                   /* RESTRICT_KEYRING */
    case 24: case 25: case 26: case 27: case 28: return n == 3;         /* PKEY_…: information as text */
    default: return false;
    }
}

FILL(keyctl_argument)
{
    if (keyctl_is_text(arg(c, 0), n)) {
        u8 *at = r->buf + AT(r->off);
        *at = 1;
        long len = arg(c, n) ? bpf_probe_read_user_str(r->buf + AT(r->off + 1), PATH_MAX, (void *)arg(c, n)) : 0;
        if (len < 0)
            mark_unread(r);
        if (len <= 0) {
            at[1] = 0;
            len = 1;
        }
        put_variable(r, 1 + len);
    } else {
        put_dyn(r, 0, arg(c, n), 8);
    }
}

#endif
