/* SPDX-License-Identifier: Apache-2.0
 *
 * The cycle of an event (spec: engine.md H1, H2), and the tables that a capture begins with.
 */
#include <stdlib.h>

#include "internal.h"

void fl_set_str(struct fl_state *state, struct fl_str **at, struct fl_str *str)
{
    struct fl_str *old = *at;

    *at = str;
    fl_str_put(state->strings, old);
}

void fl_set_text(struct fl_state *state, struct fl_str **at, const void *bytes, size_t len)
{
    if (*at && (*at)->len == len && memcmp((*at)->data, bytes, len) == 0)
        return;
    struct fl_str *str = fl_str_get(state->strings, bytes, len);
    if (str)
        fl_set_str(state, at, str);
}

static enum fl_attach attach_of(unsigned type)
{
    switch (type) {
    case FL_EV_CONTAINER_JSON_2_E:
    case FL_EV_USER_ADDED_E:
    case FL_EV_USER_DELETED_E:
    case FL_EV_GROUP_ADDED_E:
    case FL_EV_GROUP_DELETED_E:
    case FL_EV_PLUGINEVENT_E:
    case FL_EV_ASYNCEVENT_E:
        return FL_ATTACH_NONE;
    case FL_EV_CLONE_20_X:
    case FL_EV_FORK_20_X:
    case FL_EV_VFORK_20_X:
    case FL_EV_CLONE3_X:
    case FL_EV_PROCEXIT_1_E:
    case FL_EV_SCHEDSWITCH_6_E:
        return FL_ATTACH_KNOWN;
    default:
        return fl_events[type].flags & EF_SKIPPARSERESET ? FL_ATTACH_KNOWN : FL_ATTACH_ANY;
    }
}

/* Of an exit event, parameter 0 is the result; the descriptor is the first one behind it. */
static struct fl_shape shape_of(unsigned type)
{
    const struct fl_event_info *info = &fl_events[type];
    unsigned exit = fl_event_is_exit(type);
    struct fl_shape shape = {
        .transition = fl_transitions[type], .fd = -1, .enter = !exit && (info->category & EC_SYSCALL),
        .noted = !(info->flags & EF_SKIPPARSERESET), .attach = (uint8_t)attach_of(type),
    };

    if (exit && info->nparams) {
        unsigned t = info->params[0].type;
        shape.result = t == FL_T_ERRNO || t == FL_T_FD || t == FL_T_PID || t == FL_T_INT64;
    }
    if (!(info->flags & EF_USES_FD))
        return shape;
    for (unsigned i = exit; i < info->nparams && shape.fd < 0; i++) {
        if (info->params[i].type == FL_T_FD)
            shape.fd = (int8_t)i;
    }
    return shape;
}

struct fl_state *fl_state_new(struct fl_strings *strings, const struct fl_state_limits *limits)
{
    struct fl_state *state = calloc(1, sizeof *state);

    if (!state)
        return NULL;
    state->strings = strings;
    state->limits.threads = limits && limits->threads ? limits->threads : FL_THREADS_MAX;
    state->limits.fds = limits && limits->fds ? limits->fds : FL_FDS_MAX;
    state->empty = fl_str_get(strings, "", 0);
    state->na = fl_str_get(strings, "<NA>", 4);
    if (!state->empty || !state->na) {
        fl_state_free(state);
        return NULL;
    }
    for (unsigned type = 0; type < FL_EV_COUNT; type++)
        state->shapes[type] = shape_of(type);
    return state;
}

void fl_state_free(struct fl_state *state)
{
    if (!state)
        return;
    fl_state_reset(state);
    fl_fds_free_spare(state);
    fl_str_put(state->strings, state->empty);
    fl_str_put(state->strings, state->na);
    fl_str_put(state->strings, state->static_container);
    fl_str_put(state->strings, state->static_json);
    free(state);
}

void fl_state_reset(struct fl_state *state)
{
    state->now = (struct fl_now){.fd_num = -1};
    state->exiting = state->closing = false;
    fl_threads_clear(state);
    fl_users_clear(state);
    fl_hosts_clear(state);
    fl_containers_clear(state);
    fl_set_str(state, &state->hostname, NULL);
    state->machine = (struct fl_scap_machine){0};
    fl_set_str(state, &state->cgroups_seen, NULL);
    fl_set_str(state, &state->cgroups_container, NULL);
}

struct fl_str *fl_hostname(const struct fl_state *state) { return state->hostname; }
struct fl_strings *fl_state_strings(const struct fl_state *state) { return state->strings; }

struct fl_state_limits fl_state_get_limits(const struct fl_state *state) { return state->limits; }
struct fl_state_stats fl_state_get_stats(const struct fl_state *state)
{
    struct fl_state_stats stats = state->stats;

    stats.threads = state->threads.count;
    stats.texts_refused = fl_strings_refused(state->strings);
    return stats;
}

void fl_state_machine(struct fl_state *state, const struct fl_scap_machine *machine)
{
    state->machine = *machine;
    state->machine.hostname = (struct fl_slice){"", 0};
    fl_set_text(state, &state->hostname, machine->hostname.data, strnlen(machine->hostname.data, machine->hostname.len));
}

void fl_state_process(struct fl_state *state, const struct fl_scap_process *process)
{
    struct fl_thread *thread = fl_thread_new(state, process->tid);

    if (!thread)
        return;
    thread->pid = process->pid;
    thread->ptid = process->ptid;
    thread->vtid = process->vtid;
    thread->vpid = process->vpid;
    thread->sid = process->sid;
    thread->vpgid = process->vpgid;
    thread->pgid = process->pgid;
    thread->flags = process->flags;
    thread->uid = process->uid;
    thread->gid = process->gid;
    thread->loginuid = process->loginuid;
    thread->tty = process->tty;
    thread->exe_writable = process->exe_writable;
    thread->exe_upper_layer = process->exe_upper_layer;
    thread->exe_lower_layer = process->exe_lower_layer;
    thread->exe_from_memfd = process->exe_from_memfd;
    thread->cap_inheritable = process->cap_inheritable;
    thread->cap_permitted = process->cap_permitted;
    thread->cap_effective = process->cap_effective;
    thread->exe_ino = process->exe_ino;
    thread->exe_ino_ctime = process->exe_ino_ctime;
    thread->exe_ino_mtime = process->exe_ino_mtime;
    thread->pidns_init_start_ts = process->pidns_init_start_ts;
    thread->clone_ts = process->clone_ts;
    thread->pfmajor = process->pfmajor;
    thread->pfminor = process->pfminor;
    thread->vmsize_kb = process->vmsize_kb;
    thread->vmrss_kb = process->vmrss_kb;
    thread->vmswap_kb = process->vmswap_kb;
    thread->fdlimit = process->fdlimit;
    fl_set_text(state, &thread->comm, process->comm.data, process->comm.len);
    fl_set_text(state, &thread->exe, process->exe.data, process->exe.len);
    fl_set_text(state, &thread->exepath, process->exepath.data, process->exepath.len);
    fl_set_text(state, &thread->root, process->root.data, process->root.len);
    fl_thread_set_args(state, thread, process->args);
    fl_thread_set_env(state, thread, process->env);
    fl_thread_set_cwd(state, thread, process->cwd.data, process->cwd.len);
    fl_thread_set_cgroups(state, thread, process->cgroups);
    fl_account_want(state, thread, false);
    fl_thread_add(state, thread);
}

/* A socket that is neither bound nor connected, as right after socket(). */
static bool is_unused(const struct fl_scap_fd *fd)
{
    static const uint8_t zero[16];

    return !fd->sport && !fd->dport && memcmp(fd->sip, zero, 16) == 0 && memcmp(fd->dip, zero, 16) == 0;
}

void fl_state_fd(struct fl_state *state, const struct fl_scap_fd *from)
{
    struct fl_thread *thread = fl_thread_look(state, from->tid);
    struct fl_fd *fd;
    char text[256];

    if (!thread || from->type > FL_FD_PIDFD)
        return;
    if (!thread->fds && !(thread->fds = calloc(1, sizeof *thread->fds)))
        return;
    fd = fl_fds_add(state, thread->fds, from->fd, from->type);
    if (!fd)
        return;
    fd->ino = from->ino;
    fd->dev = from->dev;
    fd->l4 = from->l4;
    fd->open_flags = from->open_flags;
    fd->cloexec = from->open_flags & FL_O_CLOEXEC;
    fd->sport = from->sport;
    fd->dport = from->dport;
    memcpy(fd->sip, from->sip, sizeof fd->sip);
    memcpy(fd->dip, from->dip, sizeof fd->dip);
    fd->source = from->source;
    fd->destination = from->destination;
    switch (fd->type) {
    case FL_FD_IPV6_SOCK:
        if (fl_is_mapped(fd->sip) && fl_is_mapped(fd->dip) && !is_unused(from)) {
            fd->type = FL_FD_IPV4_SOCK;
            memcpy(fd->sip, from->sip + 12, 4);
            memcpy(fd->dip, from->dip + 12, 4);
        }
        /* fall through */
    case FL_FD_IPV4_SOCK:
    case FL_FD_IPV4_SERVSOCK:
    case FL_FD_IPV6_SERVSOCK:
        fl_set_text(state, &fd->name, text, is_unused(from) ? 0 : fl_tuple_text(text, sizeof text, fd));
        fd->connected = from->l4 == FL_L4_TCP && !is_unused(from) && (fd->type == FL_FD_IPV4_SOCK || fd->type == FL_FD_IPV6_SOCK);
        break;
    case FL_FD_UNIX_SOCK:
        /* who listens has a name */
        fd->role = from->name.len ? FL_ROLE_SERVER : FL_ROLE_CLIENT;
        /* fall through */
    default:
        fl_set_text(state, &fd->name, from->name.data, from->name.len);
        break;
    }
}

void fl_state_item(struct fl_state *state, const struct fl_scap_item *item)
{
    switch (item->kind) {
    case FL_SCAP_MACHINE: fl_state_machine(state, &item->machine); break;
    case FL_SCAP_PROCESS: fl_state_process(state, &item->process); break;
    case FL_SCAP_FD: fl_state_fd(state, &item->fd); break;
    case FL_SCAP_INTERFACE: fl_state_interface(state, &item->interface); break;
    case FL_SCAP_USER: fl_state_user(state, &item->user); break;
    case FL_SCAP_GROUP: fl_state_group(state, &item->group); break;
    default: break;
    }
}

/* Calls back for each descriptor in the threads' own tables. */
static void each_fd(struct fl_state *state, void (*visit)(struct fl_state *state, struct fl_fd *fd, uint8_t *ports), uint8_t *ports)
{
    for (uint32_t i = 0; state->threads.slots && i <= state->threads.mask; i++) {
        const struct fl_thread *thread = state->threads.slots[i].value;
        for (uint32_t j = 0; thread && thread->fds && thread->fds->slots && j <= thread->fds->mask; j++) {
            if (thread->fds->slots[j])
                visit(state, thread->fds->slots[j], ports);
        }
    }
}

/* `ports` is a bit set of the ports that IPv4 servers listen on. */
static void note_server(struct fl_state *state, struct fl_fd *fd, uint8_t *ports)
{
    (void)state;
    if (fd->type == FL_FD_IPV4_SERVSOCK)
        ports[fd->sport / 8] |= (uint8_t)(1 << fd->sport % 8);
}

/* In the list a socket's source is the near end; of an event it is the client's. */
static void give_role(struct fl_state *state, struct fl_fd *fd, uint8_t *ports)
{
    if (fd->type != FL_FD_IPV4_SOCK)
        return;
    if (!(ports[fd->sport / 8] & 1 << fd->sport % 8)) {
        fd->role = FL_ROLE_CLIENT;
        return;
    }
    fl_fd_swap_ends(fd);
    fl_fd_name_tuple(state, fd);
    fd->role = FL_ROLE_SERVER;
}

void fl_state_start(struct fl_state *state)
{
    uint8_t ports[65536 / 8] = {0};

    for (uint32_t i = 0; state->threads.slots && i <= state->threads.mask; i++) {
        if (state->threads.slots[i].value)
            fl_thread_link(state, state->threads.slots[i].value);
    }
    fl_container_tell_static(state);
    each_fd(state, note_server, ports);
    each_fd(state, give_role, ports);
}

void fl_state_look_up(struct fl_state *state, fl_look_up *look_up, void *context)
{
    state->look_up = look_up;
    state->look_up_context = context;
}

void fl_state_settle(struct fl_state *state)
{
    struct fl_thread *thread;

    if (state->exiting) {
        state->exiting = false;
        thread = fl_map_find(&state->threads, state->exiting_tid);
        if (thread) {
            fl_container_init(state, thread);
            fl_exited_add(state, thread->ptid, thread->tid, state->exiting_ts);
            fl_thread_remove(state, thread);
        }
    }
    if (state->closing) {
        state->closing = false;
        thread = fl_map_find(&state->threads, state->closing_tid);
        if (thread)
            fl_fds_remove(state, fl_thread_fds(thread), state->closing_fd);
    }
}

static struct fl_thread *attach(struct fl_state *state, enum fl_attach attach, int64_t tid)
{
    switch (attach) {
    case FL_ATTACH_ANY: return fl_thread_get(state, tid);
    case FL_ATTACH_KNOWN: return fl_thread_look(state, tid);
    default: return NULL;
    }
}

/* Notes with the thread what it does, and finds the descriptor: the one that the event names, else that of the call's enter event. */
static inline void note(struct fl_state *state, const struct fl_event *ev, const struct fl_shape *shape, struct fl_thread *thread)
{
    struct fl_now *now = &state->now;

    thread->seen_ts = ev->ts;
    thread->flags |= FL_THREAD_ACTIVE;
    if (shape->enter) {
        thread->last_fd = -1;
        thread->last_type = ev->type;
    } else if (fl_event_is_exit(ev->type) && ev->type != thread->last_type + 1 &&
               !(ev->type == FL_EV_EXECVE_19_X && thread->last_type == FL_EV_EXECVEAT_E)) {
        thread->last_fd = -1;
        thread->stored_enter_size = 0;
    }
    if (shape->fd >= 0 && fl_param_present(ev, (unsigned)shape->fd)) {
        thread->last_fd = fl_param_i64(ev, (unsigned)shape->fd);
        now->fd = fl_fd_at(fl_fds_in_force(thread), thread->last_fd);
        state->stats.fd_lookups_failed += !now->fd;
    }
    now->fd_num = thread->last_fd;
}

const struct fl_now *fl_state_apply(struct fl_state *state, const struct fl_event *ev)
{
    struct fl_now *now = &state->now;
    const struct fl_shape *shape = &state->shapes[ev->type];

    if (state->exiting | state->closing)
        fl_state_settle(state);
    struct fl_thread *thread = shape->attach == FL_ATTACH_NONE ? NULL : fl_thread_if_last(state, ev->tid);
    if (!thread)
        thread = attach(state, shape->attach, ev->tid);
    *now = (struct fl_now){.ev = ev, .thread = thread, .fd_num = -1};
    if (shape->result) {
        int64_t result = fl_param_i64(ev, 0);
        now->error = result < 0 ? result : 0;
    }
    if (thread && shape->noted)
        note(state, ev, shape, thread);
    if (shape->transition && (thread || shape->attach != FL_ATTACH_ANY)) {
        const struct fl_str *name = now->fd ? now->fd->name : state->empty;
        shape->transition(state, ev);
        /* Strings are interned: a changed name is another one. A descriptor that the event made had none. */
        now->fd_name_changed = now->fd && now->fd->name != name;
    }
    thread = now->thread;       /* it may be gone */
    if (thread && fl_event_is_exit(ev->type)) {
        thread->stored_enter_size = 0;
        thread->last_type = ev->type;
    }
    return now;
}

struct fl_fd *fl_now_add_fd(struct fl_state *state, int64_t num, enum fl_fd_type type)
{
    struct fl_now *now = &state->now;
    struct fl_fds *fds = fl_fds_own(now->thread);

    now->fd = fds ? fl_fds_add(state, fds, num, type) : NULL;
    now->fd_num = now->thread->last_fd = num;
    return now->fd;
}
