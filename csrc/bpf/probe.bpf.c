/* SPDX-License-Identifier: Apache-2.0
 *
 * The probe: programs at the kernel's tracepoints, which write records into rings. Everything that is written to a ring is a fl_probe_sample and
 * a record as spec engine.md F1 has it; see docs/probe.md.
 *
 * A system call that nobody wants costs the first lines of fl_sys_exit, and no helper call: what is wanted stands in .bss.
 */
#include "events.h"
#include "iterators.h"

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

/*
 * Entries of calls that are under way: in the slot of the thread's number, which few others want just then; where one holds it (blocked in
 * the opening of a FIFO, say), with the thread. Not always there: threads that end make the kernel free what was kept with them, by grace
 * periods of the RCU for sleepable programs; who runs when one begins pays 10 ns more at each tracepoint of a system call from then on.
 * Behind the threads' slots there is one for each processor: see entry_of.
 */
struct {
    MAP_NUMBER(type, BPF_MAP_TYPE_ARRAY);
    MAP_NUMBER(max_entries, FL_PROBE_SLOTS + FL_PROBE_CPUS);
    MAP_TYPE(key, u32);
    MAP_TYPE(value, struct entry);
} fl_slots SEC(".maps");

struct {
    MAP_NUMBER(type, BPF_MAP_TYPE_TASK_STORAGE);
    MAP_NUMBER(map_flags, BPF_F_NO_PREALLOC);
    MAP_TYPE(key, int);
    MAP_TYPE(value, struct entry);
} fl_entries SEC(".maps");

INLINE struct entry *slot_of(struct task_struct *task)
{
    u32 slot = (u32)task->pid % FL_PROBE_SLOTS;

    return bpf_map_lookup_elem(&fl_slots, &slot);
}

/* Where the thread's call, which begins, keeps what it takes. */
INLINE struct entry *entry_for(struct task_struct *task)
{
    struct entry *e = slot_of(task);
    u32 owner = (u32)task->pid;

    if (e && (e->owner == owner || __sync_val_compare_and_swap(&e->owner, 0, owner) == 0))
        return e;
    return bpf_task_storage_get(&fl_entries, task, NULL, BPF_LOCAL_STORAGE_GET_F_CREATE);
}

/* What the thread's call, which ends, has kept. What is kept with the thread is copied to a slot of the processor's: the verifier, which follows
 * each kind of pointer by itself, takes a quarter longer for two. */
INLINE struct entry *entry_of(struct task_struct *task)
{
    struct entry *e = slot_of(task), *kept;
    u32 own = FL_PROBE_SLOTS + (bpf_get_smp_processor_id() & (FL_PROBE_CPUS - 1));

    if (e && e->owner == (u32)task->pid)
        return e;
    kept = bpf_task_storage_get(&fl_entries, task, NULL, 0);
    if (!kept || !kept->event)
        return NULL;
    e = bpf_map_lookup_elem(&fl_slots, &own);
    if (e && bpf_probe_read_kernel(e, sizeof *e, kept))
        e = NULL;
    kept->event = 0;
    return e;
}

INLINE void entry_free(struct entry *e)
{
    e->event = 0;
    barrier();                  /* what was read of it has been read: x86 keeps this order */
    e->owner = 0;
}

INLINE bool is_ia32(struct task_struct *task) { return task->thread_info.status & TS_COMPAT; }

/* ---- 32-bit calls that are handed their arguments in memory ---- */

#define IA32_MMAP 90
#define IA32_SOCKETCALL 102
#define SOCKETCALL_SEND 9
#define SOCKETCALL_RECV 10

INLINE u32 ia32_event(struct pt_regs *regs, u32 nr)
{
    u32 event = fl_probe.config.call[nr & (FL_PROBE_CALLS - 1)].event[FL_ABI_IA32];

    if (nr == IA32_SOCKETCALL) {
        u64 number = (u32)regs->bx;
        barrier_var(number);
        u32 apart = number < FL_SOCKETCALLS ? fl_probe.config.socketcall[number & (FL_SOCKETCALLS - 1)] : 0;
        event = apart ? apart : event == FL_PROBE_APART ? 0 : event;
    }
    return event;
}

/* Whether an event may be of such a call: a constant. */
INLINE bool may_be_block(u32 event)
{
    return event == FL_EV_MMAP_X
#define SOCKETCALL(number, call, made) || event == FL_EV_##made
#include "../schema/socketcall.def"
#undef SOCKETCALL
        ;
}

INLINE void take_block(struct call *c)
{
    struct pt_regs *regs = c->regs;
    u32 nr = regs->orig_ax, number = regs->bx;

    if (nr != IA32_MMAP && nr != IA32_SOCKETCALL)
        return;
    c->block = true;
    /* send and recv are sendto and recvfrom without an address */
    if (nr == IA32_SOCKETCALL && (number == SOCKETCALL_SEND || number == SOCKETCALL_RECV))
        bpf_probe_read_user(c->words, 16, (void *)(u64)(u32)regs->cx);
    else
        bpf_probe_read_user(c->words, 24, (void *)(u64)(u32)(nr == IA32_MMAP ? regs->bx : regs->cx));
}

INLINE struct call call_of(u64 *ctx, u32 event)
{
    struct call c = {.task = bpf_get_current_task_btf(), .regs = (void *)ctx[0], .ret = ctx[1]};

    c.ia32 = is_ia32(c.task);
    if (may_be_block(event) && unlikely(c.ia32))
        take_block(&c);
    return c;
}

/* fl_sys_exit takes calls for 64-bit ones, whose kind needn't be asked for then. True: this one isn't, and is none of `event`. */
INLINE bool is_another(u64 *ctx, struct call *c, u32 event)
{
    u32 full = c->regs->orig_ax;

    if (likely(!c->ia32 && !(full & X32)))
        return false;
    if (!fl_probe.counters.compat)
        fl_probe.counters.compat = 1;
    u32 right = ia32_event(c->regs, full);
    if (!c->ia32 || right == event)
        return false;
    if (right) {
        bpf_tail_call(ctx, &fl_handlers, right);
        count_lost(right, FL_LOSS_TAIL);
    }
    return true;
}

/* ---- what is left out: calls with whose outcome no rule can match, and that the state doesn't need ---- */

#define PLAIN_MAX 256           /* bytes of a path that are looked at; a longer one isn't plain */

#define O_ACCMODE_ 03
#define O_TRUNC_ 01000

/* Whether an open is of a plain path, and for reading: see FL_SKIP_FAILED_LOOK. */
INLINE bool is_look(const struct call *c, u32 event, const struct entry *e)
{
    u64 flags = event == FL_EV_OPEN_X ? arg(c, 1) : event == FL_EV_OPENAT_2_X ? arg(c, 2)
        : event == FL_EV_OPENAT2_X && e->how_read ? e->how[0] : O_CREAT_;
    u8 before = '/';

    if (flags & (O_ACCMODE_ | O_CREAT_ | O_TRUNC_ | O_TMPFILE_))
        return false;
    if (e->len < 2 || e->len > PLAIN_MAX || e->data[0] != '/')
        return false;
    for (u32 i = 1; i < PLAIN_MAX; i++) {
        u8 now = e->data[i];
        if (!now)
            return true;
        if ((before == '/' && (now == '/' || now == '.')) || (before == '.' && now == '.'))
            return false;
        before = now;
    }
    return false;
}

INLINE bool skips(struct call *c, u32 event)
{
    u32 skip = fl_probe.config.skip[event];

    if (likely(!skip))
        return false;
    if (c->ret >= 0 ? !(skip & FL_SKIP_SUCCEEDED)
        : !(skip & FL_SKIP_FAILED) && !(skip & FL_SKIP_FAILED_LOOK && c->entry && is_look(c, event, c->entry)))
        return false;
    __sync_fetch_and_add(&fl_probe.counters.skipped, 1);
    return true;
}

INLINE bool call_begin(struct call *c, struct rec *r, u32 type, u32 nparams)
{
    if (!rec_begin(r, type, nparams, (u32)c->task->pid))
        return false;
    if (c->ia32)
        r->flags |= FL_SAMPLE_IA32;
    return true;
}

/* To the program of an event that is a constant here: the kernel makes it a jump, where others go through a register, guarded against
 * speculation. */
#define JUMP(ctx, constant) \
    __asm__ volatile("r1 = %0; r2 = %1; r3 = %2; call 12" ::"r"(ctx), "r"(&fl_handlers), "i"(constant) : "r0", "r1", "r2", "r3", "r4", "r5")

SEC("tp_btf/sys_exit")
int fl_sys_exit(u64 *ctx)
{
    struct pt_regs *regs = (void *)ctx[0];
    u32 full = regs->orig_ax, nr = full & ~X32, event;

    if (nr >= FL_PROBE_CALLS || !fl_probe.config.call[nr].events)
        return 0;
    event = fl_probe.config.call[nr].event[FL_ABI_NATIVE];
    if (!event) {
        if (!is_ia32(bpf_get_current_task_btf()))       /* a helper's call takes 20 ns */
            return 0;
        event = ia32_event(regs, nr);
        if (!event)
            return 0;
    }
    if (event == FL_EV_CLOSE_X)         /* the two that come most often */
        JUMP(ctx, FL_EV_CLOSE_X);
    else if (event == FL_EV_OPENAT_2_X)
        JUMP(ctx, FL_EV_OPENAT_2_X);
    else
        bpf_tail_call(ctx, &fl_handlers, event);
    count_lost(event, FL_LOSS_TAIL);
    return 0;
}

/* ---- when a call ends ---- */

#define HANDLER(code) \
    SEC("tp_btf/sys_exit") \
    int fl_x_##code(u64 *ctx) \
    { \
        struct call c = call_of(ctx, FL_EV_##code); \
        struct rec r; \
        if (is_another(ctx, &c, FL_EV_##code) || skips(&c, FL_EV_##code)) \
            return 0; \
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
        struct call c = call_of(ctx, FL_EV_##code); \
        struct rec r; \
        if (is_another(ctx, &c, FL_EV_##code)) \
            return 0; \
        struct entry *entry = entry_of(c.task); \
        if (entry && entry->event == FL_EV_##code) \
            c.entry = entry; \
        if (!skips(&c, FL_EV_##code) && call_begin(&c, &r, FL_EV_##code, FL_NPARAMS(code))) { \
            fl_params_##code(&c, &r); \
            rec_send(&r, realpath); \
        } \
        if (entry) \
            entry_free(entry); \
        return 0; \
    }

INLINE u32 add_realpath(struct call *c, struct rec *r)
{
    struct file *file = fl_probe.config.realpath ? opened(c)->file : NULL;
    u32 len = file ? build_file_path(r->buf, file) : 0;

    return len ? copy_path(r, len, 0) : 0;
}

#define HANDLER_OPEN(code) HANDLER_ENTRY_(code, add_realpath(&c, &r))
#define HANDLER_ENTRY(code) HANDLER_ENTRY_(code, 0)

#define HANDLER_EXEC(code) \
    SEC("tp_btf/sys_exit") \
    int fl_x_##code(u64 *ctx) \
    { \
        struct call c = call_of(ctx, FL_EV_##code); \
        struct rec r; \
        if (is_another(ctx, &c, FL_EV_##code) || c.ret >= 0 || skips(&c, FL_EV_##code)) \
            return 0; \
        if (call_begin(&c, &r, FL_EV_##code, FL_NPARAMS(code))) { \
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
        struct call c = call_of(ctx, FL_EV_##code); \
        struct rec r; \
        if (is_another(ctx, &c, FL_EV_##code)) \
            return 0; \
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

INLINE struct entry *take(u32 event)
{
    struct entry *e = entry_for(bpf_get_current_task_btf());

    if (e)
        e->event = event;
    return e;
}

INLINE void take_path(u32 event, u64 at)
{
    struct entry *e = take(event);

    if (e) {
        long len = bpf_probe_read_user_str(e->data, PATH_MAX, (void *)at);
        e->len = len > 0 ? len : 0;
    }
}

INLINE void take_how(u64 at, u64 how)
{
    struct entry *e = take(FL_EV_OPENAT2_X);

    if (e)
        e->how_read = !bpf_probe_read_user(e->how, sizeof e->how, (void *)how);
    take_path(FL_EV_OPENAT2_X, at);
}

INLINE void take_address(u64 at, u64 len)
{
    struct entry *e = take(FL_EV_CONNECT_X);

    if (!e)
        return;
    len = (u32)len;
    if (len > SOCKADDR_MAX)
        len = SOCKADDR_MAX;
    barrier_var(len);
    e->len = bpf_probe_read_user(e->data, len & 0xff, (void *)at) ? 0 : len;
}

/* A tracepoint for each of them: other calls don't pay for it. It is silent on 32-bit calls. */
struct entered { u64 common, nr; u64 args[6]; };

#define GUARD(call, ...) \
    SEC("tracepoint/syscalls/sys_enter_" #call) \
    int fl_enter_##call(struct entered *ctx) \
    { \
        __VA_ARGS__; \
        return 0; \
    }

GUARD(open, take_path(FL_EV_OPEN_X, ctx->args[0]))
GUARD(creat, take_path(FL_EV_CREAT_X, ctx->args[0]))
GUARD(openat, take_path(FL_EV_OPENAT_2_X, ctx->args[1]))
GUARD(openat2, take_how(ctx->args[1], ctx->args[2]))
GUARD(connect, take_address(ctx->args[1], ctx->args[2]))

/* For 32-bit calls, once there have been any; for all where the tracepoints above can't be had. It costs every call 40 ns. */
SEC("tp_btf/sys_enter")
int fl_sys_enter(u64 *ctx)
{
    u32 full = (u32)ctx[1], nr = full & ~X32, event;

    if (nr >= FL_PROBE_CALLS || !fl_probe.config.call[nr].events)
        return 0;
    struct call c = {.task = bpf_get_current_task_btf(), .regs = (void *)ctx[0]};
    c.ia32 = is_ia32(c.task);
    if (fl_probe.config.guarded && !c.ia32 && !(full & X32))
        return 0;
    event = c.ia32 ? ia32_event(c.regs, nr) : fl_probe.config.call[nr].event[FL_ABI_NATIVE];
    if (event == FL_EV_CONNECT_X && c.ia32)
        take_block(&c);
    if (event == FL_EV_CONNECT_X)
        take_address(arg(&c, 1), arg(&c, 2));
    else if (event == FL_EV_OPENAT2_X)
        take_how(arg(&c, 1), arg(&c, 2));
    else if (event == FL_EV_OPENAT_2_X)
        take_path(event, arg(&c, 1));
    else if (event == FL_EV_OPEN_X || event == FL_EV_CREAT_X)
        take_path(event, arg(&c, 0));
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

    if (!fl_probe.config.call[59].event[FL_ABI_NATIVE])
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
    struct entry *slot = slot_of(c.task);

    if (slot && slot->owner == (u32)c.task->pid)        /* of a call whose end nobody was told of, as it wasn't wanted any more */
        entry_free(slot);
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
