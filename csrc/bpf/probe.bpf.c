/* SPDX-License-Identifier: Apache-2.0
 *
 * The probe: programs at the kernel's tracepoints, which write records into rings. Everything that is written to a ring is a fl_probe_sample and
 * a record as spec engine.md F1 has it; see docs/probe.md.
 *
 * A system call that nobody wants costs the first lines of fl_sys_exit, and no helper call: what is wanted stands in .bss.
 */
#include "events.h"

char fl_license[] SEC("license") = "GPL";       /* what the kernel's helpers demand of their callers */

#define TS_COMPAT 2             /* thread_info.status: in a 32-bit system call */
#define X32 0x40000000u

/* ---- the programs of the events, called by number ---- */

#define HANDLER(code) int fl_x_##code(u64 *ctx);
#define HANDLER_OPEN HANDLER
#define HANDLER_ENTRY HANDLER
#define HANDLER_MESSAGES HANDLER
#define HANDLER_EXEC HANDLER
#include "handlers.def"
#undef HANDLER

struct {
    MAP_NUMBER(type, BPF_MAP_TYPE_PROG_ARRAY);
    MAP_NUMBER(max_entries, FL_PROBE_EVENTS);
    MAP_NUMBER(key_size, 4);
    int (*values[])(u64 *ctx);
} fl_handlers SEC(".maps") = {
    .values = {
#define HANDLER(code) [FL_EV_##code] = fl_x_##code,
#include "handlers.def"
#undef HANDLER
    },
};
#undef HANDLER_OPEN
#undef HANDLER_ENTRY
#undef HANDLER_MESSAGES
#undef HANDLER_EXEC

struct {
    MAP_NUMBER(type, BPF_MAP_TYPE_TASK_STORAGE);
    MAP_NUMBER(map_flags, BPF_F_NO_PREALLOC);
    MAP_TYPE(key, int);
    MAP_TYPE(value, struct entry);
} fl_entries SEC(".maps");

INLINE bool is_ia32(struct task_struct *task) { return task->thread_info.status & TS_COMPAT; }

INLINE struct call call_of(u64 *ctx)
{
    struct call c = {.task = bpf_get_current_task_btf(), .regs = (void *)ctx[0], .ret = ctx[1]};

    c.ia32 = is_ia32(c.task);
    return c;
}

INLINE bool call_begin(struct call *c, struct rec *r, u32 type, u32 nparams)
{
    if (!rec_begin(r, type, nparams, (u32)c->task->pid))
        return false;
    if (c->ia32)
        r->flags |= FL_SAMPLE_IA32;
    return true;
}

SEC("tp_btf/sys_exit")
int fl_sys_exit(u64 *ctx)
{
    struct pt_regs *regs = (void *)ctx[0];
    struct task_struct *task = bpf_get_current_task_btf();
    u32 nr = (u32)regs->orig_ax & ~X32;
    u32 event;

    if (nr >= FL_PROBE_CALLS)
        return 0;
    event = is_ia32(task) ? fl_probe.config.event[FL_ABI_IA32][nr] : fl_probe.config.event[FL_ABI_NATIVE][nr];
    if (!event)
        return 0;
    if (fl_probe.config.skip_tgid && (u32)task->tgid == fl_probe.config.skip_tgid)
        return 0;
    bpf_tail_call(ctx, &fl_handlers, event);
    count_lost(event, 0, FL_LOSS_TAIL);
    return 0;
}

/* ---- when a call ends ---- */

#define HANDLER(code) \
    SEC("tp_btf/sys_exit") \
    int fl_x_##code(u64 *ctx) \
    { \
        struct call c = call_of(ctx); \
        struct rec r; \
        if (call_begin(&c, &r, FL_EV_##code, FL_NPARAMS(code))) { \
            fl_params_##code(&c, &r); \
            rec_send(&r, 0); \
        } \
        return 0; \
    }

#define HANDLER_ENTRY_(code, realpath) \
    SEC("tp_btf/sys_exit") \
    int fl_x_##code(u64 *ctx) \
    { \
        struct call c = call_of(ctx); \
        struct rec r; \
        c.entry = bpf_task_storage_get(&fl_entries, c.task, NULL, 0); \
        if (c.entry && c.entry->event != FL_EV_##code) \
            c.entry = NULL; \
        if (call_begin(&c, &r, FL_EV_##code, FL_NPARAMS(code))) { \
            fl_params_##code(&c, &r); \
            rec_send(&r, realpath); \
        } \
        if (c.entry) \
            c.entry->event = 0; \
        return 0; \
    }

INLINE u32 add_realpath(struct call *c, struct rec *r)
{
    struct file *file = opened(c);
    u32 len = file ? build_file_path(r->buf, file) : 0;

    return len ? copy_path(r, len, 0) : 0;
}

#define HANDLER_OPEN(code) HANDLER_ENTRY_(code, add_realpath(&c, &r))
#define HANDLER_ENTRY(code) HANDLER_ENTRY_(code, 0)

#define HANDLER_EXEC(code) \
    SEC("tp_btf/sys_exit") \
    int fl_x_##code(u64 *ctx) \
    { \
        struct call c = call_of(ctx); \
        struct rec r; \
        if (c.ret < 0 && call_begin(&c, &r, FL_EV_##code, FL_NPARAMS(code))) { \
            fl_params_##code(&c, &r); \
            rec_send(&r, 0); \
        } \
        return 0; \
    }

/* The program calls itself for the next message; the kernel allows 33 such calls. Its number is kept at the end of the scratch, which is this
 * processor's until the last one is done. */
#define MESSAGES 31
#define HANDLER_MESSAGES(code) \
    SEC("tp_btf/sys_exit") \
    int fl_x_##code(u64 *ctx) \
    { \
        struct call c = call_of(ctx); \
        struct rec r; \
        u8 *buf = get_scratch(FL_EV_##code); \
        if (!buf) \
            return 0; \
        struct { u64 of; u32 number; } *next = (void *)(buf + FL_PROBE_SCRATCH - 16); \
        u64 now = bpf_get_current_pid_tgid() ^ (u64)c.regs->orig_ax << 48 ^ 1; \
        if (next->of != now) { \
            next->of = now; \
            next->number = 0; \
        } \
        c.message = next->number; \
        bool more = c.ret > 0 && c.message + 1 < (u64)c.ret && c.message + 1 < MESSAGES; \
        if (call_begin(&c, &r, FL_EV_##code, FL_NPARAMS(code))) { \
            fl_params_##code(&c, &r); \
            rec_send(&r, 0); \
        } \
        if (!more) { \
            next->of = 0; \
            return 0; \
        } \
        next->number++; \
        bpf_tail_call(ctx, &fl_handlers, FL_EV_##code); \
        next->of = 0; \
        return 0; \
    }

#include "handlers.def"

/* ---- when a call begins: only of those whose path or address rules guard ---- */

INLINE void take_text(struct entry *e, u64 at)
{
    long len = bpf_probe_read_user_str(e->data, PATH_MAX, (void *)at);

    e->len = len > 0 ? len : 0;
}

SEC("tp_btf/sys_enter")
int fl_sys_enter(u64 *ctx)
{
    struct task_struct *task = bpf_get_current_task_btf();
    struct call c = {.task = task, .regs = (void *)ctx[0]};
    u32 nr = (u32)ctx[1] & ~X32, event;

    if (nr >= FL_PROBE_CALLS)
        return 0;
    c.ia32 = is_ia32(task);
    event = c.ia32 ? fl_probe.config.event[FL_ABI_IA32][nr] : fl_probe.config.event[FL_ABI_NATIVE][nr];
    if (event != FL_EV_OPENAT_2_X && event != FL_EV_OPEN_X && event != FL_EV_CREAT_X && event != FL_EV_OPENAT2_X && event != FL_EV_CONNECT_X)
        return 0;
    struct entry *e = bpf_task_storage_get(&fl_entries, task, NULL, BPF_LOCAL_STORAGE_GET_F_CREATE);
    if (!e)
        return 0;
    e->event = event;
    if (event == FL_EV_CONNECT_X) {
        u64 len = (u32)arg(&c, 2);
        if (len > SOCKADDR_MAX)
            len = SOCKADDR_MAX;
        barrier_var(len);
        e->len = bpf_probe_read_user(e->data, len & 0xff, (void *)arg(&c, 1)) ? 0 : len;
        return 0;
    }
    if (event == FL_EV_OPENAT2_X)
        e->how_read = !bpf_probe_read_user(e->how, sizeof e->how, (void *)arg(&c, 2));
    take_text(e, event == FL_EV_OPEN_X || event == FL_EV_CREAT_X ? arg(&c, 0) : arg(&c, 1));
    return 0;
}

/* ---- processes ---- */

INLINE struct call call_of_task(struct task_struct *task)
{
    struct call c = {.task = task};

    return c;
}

#define EXECVEAT_NR (c.ia32 ? 358 : 322)

SEC("tp_btf/sched_process_exec")
int fl_exec(u64 *ctx)
{
    struct call c = call_of_task(bpf_get_current_task_btf());
    struct linux_binprm *bprm = (void *)ctx[2];
    struct rec r;

    if (!fl_probe.config.event[FL_ABI_NATIVE][59])
        return 0;
    c.bprm = bprm;
    if (call_begin(&c, &r, FL_EV_EXECVE_19_X, FL_NPARAMS(EXECVE_19_X))) {
        fl_params_EXECVE_19_X(&c, &r);
        rec_send(&r, 0);
    }
    return 0;
}

SEC("tp_btf/sched_process_exit")
int fl_exit(u64 *ctx)
{
    struct call c = call_of_task((void *)ctx[0]);
    struct rec r;

    if (call_begin(&c, &r, FL_EV_PROCEXIT_1_E, FL_NPARAMS(PROCEXIT_1_E))) {
        fl_params_PROCEXIT_1_E(&c, &r);
        rec_send(&r, 0);
    }
    return 0;
}

SEC("tp_btf/signal_deliver")
int fl_signal(u64 *ctx)
{
    struct call c = call_of_task(bpf_get_current_task_btf());
    struct rec r;

    c.ret = (s32)ctx[0];
    c.info = (void *)ctx[1];
    if (call_begin(&c, &r, FL_EV_SIGNALDELIVER_E, FL_NPARAMS(SIGNALDELIVER_E))) {
        fl_params_SIGNALDELIVER_E(&c, &r);
        rec_send(&r, 0);
    }
    return 0;
}
