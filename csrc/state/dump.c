/* SPDX-License-Identifier: Apache-2.0
 *
 * What a recording needs of the state: the tables that it begins with, and which events change it.
 */
#include <stdlib.h>

#include "transitions.h"

static struct fl_slice text_of(const struct fl_str *str) { return str ? (struct fl_slice){str->data, str->len} : (struct fl_slice){"", 0}; }

/* ---- tables ---- */

struct dump {
    const struct fl_state *state;
    void (*visit)(void *context, const struct fl_scap_item *item);
    void *context;
    uint8_t ports[65536 / 8];           /* that IPv4 servers listen on */
    int64_t tid;                        /* whose descriptors are visited */
};

static void give(struct dump *d, const struct fl_scap_item *item) { d->visit(d->context, item); }

static int by_key(const void *a, const void *b)
{
    int64_t x = ((const struct fl_map_slot *)a)->key, y = ((const struct fl_map_slot *)b)->key;

    return x < y ? -1 : x > y;
}

/* Calls back for each entry of a table, in order of its key: the place in the table is chosen by a secret. */
static void each(struct dump *d, const struct fl_map *map, void (*visit)(struct dump *d, const void *value))
{
    struct fl_map_slot *sorted = map->count ? malloc(map->count * sizeof *sorted) : NULL;
    uint32_t n = 0;

    for (uint32_t i = 0; map->slots && i <= map->mask; i++) {
        if (!map->slots[i].value)
            continue;
        if (sorted)
            sorted[n++] = map->slots[i];
        else
            visit(d, map->slots[i].value);      /* out of memory: in any order */
    }
    if (sorted)
        qsort(sorted, n, sizeof *sorted, by_key);
    for (uint32_t i = 0; i < n; i++)
        visit(d, sorted[i].value);
    free(sorted);
}

static void dump_user(struct dump *d, const void *value)
{
    const struct fl_user *u = value;

    give(d, &(struct fl_scap_item){.kind = FL_SCAP_USER, .user = {.uid = u->uid, .gid = u->gid, .name = text_of(u->name),
                                   .home = text_of(u->home), .shell = text_of(u->shell)}});
}

static void dump_group(struct dump *d, const void *value)
{
    const struct fl_grp *g = value;

    give(d, &(struct fl_scap_item){.kind = FL_SCAP_GROUP, .group = {.gid = g->gid, .name = text_of(g->name)}});
}

static void dump_thread(struct dump *d, const void *value)
{
    const struct fl_thread *t = value;

    give(d, &(struct fl_scap_item){.kind = FL_SCAP_PROCESS, .process = {
        .tid = t->tid, .pid = t->pid, .ptid = t->ptid, .sid = t->sid, .vpgid = t->vpgid, .pgid = t->pgid, .vtid = t->vtid, .vpid = t->vpid,
        .comm = text_of(t->comm), .exe = text_of(t->exe), .exepath = text_of(t->exepath), .args = text_of(t->args), .cwd = text_of(t->cwd),
        .env = text_of(t->env), .cgroups = text_of(t->cgroups), .root = text_of(t->root),
        .fdlimit = t->fdlimit, .flags = t->flags, .uid = t->uid, .gid = t->gid, .loginuid = t->loginuid, .tty = t->tty,
        .vmsize_kb = t->vmsize_kb, .vmrss_kb = t->vmrss_kb, .vmswap_kb = t->vmswap_kb, .pfmajor = t->pfmajor, .pfminor = t->pfminor,
        .pidns_init_start_ts = t->pidns_init_start_ts,
        .cap_inheritable = t->cap_inheritable, .cap_permitted = t->cap_permitted, .cap_effective = t->cap_effective,
        .exe_ino = t->exe_ino, .exe_ino_ctime = t->exe_ino_ctime, .exe_ino_mtime = t->exe_ino_mtime,
        .exe_writable = t->exe_writable, .exe_upper_layer = t->exe_upper_layer, .exe_lower_layer = t->exe_lower_layer,
        .exe_from_memfd = t->exe_from_memfd}});
}

static void dump_fd(const struct fl_fd *fd, void *context)
{
    struct dump *d = context;
    struct fl_fd near = *fd;

    /* In a list, a socket's source is the near end; fl_state_start swaps the ends again where a server listens. */
    if (fd->type == FL_FD_IPV4_SOCK && fd->role == FL_ROLE_SERVER && (d->ports[fd->dport / 8] & 1 << fd->dport % 8))
        fl_fd_swap_ends(&near);
    struct fl_scap_item item = {.kind = FL_SCAP_FD, .fd = {
        .tid = d->tid, .fd = fd->num, .ino = fd->ino, .type = fd->type, .l4 = fd->l4, .sport = near.sport, .dport = near.dport,
        .source = fd->source, .destination = fd->destination, .open_flags = fd->open_flags, .dev = fd->dev, .name = text_of(fd->name)}};
    memcpy(item.fd.sip, near.sip, sizeof item.fd.sip);
    memcpy(item.fd.dip, near.dip, sizeof item.fd.dip);
    give(d, &item);
}

static void note_port(const struct fl_fd *fd, void *context)
{
    struct dump *d = context;

    if (fd->type == FL_FD_IPV4_SERVSOCK)
        d->ports[fd->sport / 8] |= (uint8_t)(1 << fd->sport % 8);
}

static void dump_fds(struct dump *d, const void *value)
{
    const struct fl_thread *t = value;

    d->tid = t->tid;
    fl_fds_each(t->fds, dump_fd, d);
}

void fl_state_dump(const struct fl_state *state, void (*visit)(void *context, const struct fl_scap_item *item), void *context)
{
    struct dump d = {.state = state, .visit = visit, .context = context};
    struct fl_scap_item item = {.kind = FL_SCAP_SECTION};

    give(&d, &item);
    item = (struct fl_scap_item){.kind = FL_SCAP_MACHINE, .machine = state->machine};
    item.machine.hostname = text_of(state->hostname);
    give(&d, &item);
    for (uint32_t i = 0; i < state->ninterfaces; i++) {
        const struct fl_interface *own = &state->interfaces[i];
        item = (struct fl_scap_item){.kind = FL_SCAP_INTERFACE, .interface = {.v6 = own->v6, .name = text_of(own->name)}};
        memcpy(item.interface.addr, own->addr, sizeof own->addr);
        memcpy(item.interface.netmask, own->netmask, sizeof own->netmask);
        memcpy(item.interface.broadcast, own->broadcast, sizeof own->broadcast);
        give(&d, &item);
    }
    each(&d, &state->host_users.users, dump_user);
    each(&d, &state->host_users.groups, dump_group);
    for (uint32_t i = 0; state->threads.slots && i <= state->threads.mask; i++) {
        const struct fl_thread *thread = state->threads.slots[i].value;
        if (thread)
            fl_fds_each(thread->fds, note_port, &d);
    }
    each(&d, &state->threads, dump_thread);
    each(&d, &state->threads, dump_fds);
}

void fl_state_dump_containers(const struct fl_state *state, void (*visit)(void *context, struct fl_slice json), void *context)
{
    for (uint32_t i = 0; state->containers.slots && i <= state->containers.mask; i++) {
        const struct fl_container *container = state->containers.slots[i].value;
        if (container && container->json)
            visit(context, text_of(container->json));
    }
}

/* ---- events ---- */

static bool differs(uint64_t known, const struct fl_event *ev, unsigned param)
{
    return fl_param_present(ev, param) && fl_param_u64(ev, param) != known;
}

static bool memory_differs(const struct fl_thread *thread, const struct fl_event *ev, unsigned vm_size)
{
    return differs(thread->vmsize_kb, ev, vm_size) || differs(thread->vmrss_kb, ev, vm_size + 1) || differs(thread->vmswap_kb, ev, vm_size + 2);
}

/* Whether an event whose type has a transition changes something. The exact cases are those of which there are many. */
static bool changes(const struct fl_state *state, const struct fl_thread *thread, const struct fl_event *ev)
{
    struct fl_shape shape = state->shapes[ev->type];
    const struct fl_fd *fd = NULL;

    if (!thread)
        return true;
    if (shape.fd >= 0 && fl_param_present(ev, (unsigned)shape.fd))
        fd = fl_fd_find(fl_thread_fds(thread), fl_param_i64(ev, (unsigned)shape.fd));
    switch (ev->type) {
    case FL_EV_BRK_4_X:
    case FL_EV_MMAP_X:
    case FL_EV_MMAP2_X:
    case FL_EV_MUNMAP_X:
        return memory_differs(thread, ev, FL_P(MMAP_X, vm_size));
    case FL_EV_SCHEDSWITCH_6_E:
        return differs(thread->pfmajor, ev, FL_P(SCHEDSWITCH_6_E, pgft_maj)) || differs(thread->pfminor, ev, FL_P(SCHEDSWITCH_6_E, pgft_min)) ||
               memory_differs(fl_thread_main(thread), ev, FL_P(SCHEDSWITCH_6_E, vm_size));
    case FL_EV_CONNECT_X:
    case FL_EV_PRCTL_X:
        return true;            /* calls that failed change something, too */
    default:
        break;
    }
    if (shape.result && fl_param_i64(ev, 0) < 0)
        return false;
    switch (ev->type) {
    case FL_EV_READ_X:
    case FL_EV_READV_X:
    case FL_EV_PREAD_X:
    case FL_EV_PREADV_X:
    case FL_EV_WRITE_X:
    case FL_EV_WRITEV_X:
    case FL_EV_PWRITE_X:
    case FL_EV_PWRITEV_X:
        return fd && !fd->connected && (fd->type == FL_FD_IPV4_SOCK || fd->type == FL_FD_IPV6_SOCK);
    case FL_EV_CLOSE_X:
        return fd;
    default:
        return true;
    }
}

bool fl_state_needs(const struct fl_state *state, const struct fl_event *ev)
{
    const struct fl_thread *thread;

    if (state->shapes[ev->type].attach == FL_ATTACH_NONE)
        return fl_transitions[ev->type];
    thread = fl_thread_find(state, ev->tid);
    /* The first event of an unknown thread makes it; what follows a stored enter event uses it up. */
    if (!thread ? state->shapes[ev->type].attach == FL_ATTACH_ANY : thread->stored_enter_size > 0)
        return true;
    return fl_transitions[ev->type] && changes(state, thread, ev);
}
