/* SPDX-License-Identifier: Apache-2.0
 *
 * The thread table, thread groups, parents and children.
 */
#include <stdlib.h>

#include "../base/hash.h"
#include "internal.h"

struct fl_thread *fl_thread_new(struct fl_state *state, int64_t tid)
{
    struct fl_thread *thread = calloc(1, sizeof *thread);

    if (!thread)
        return NULL;
    thread->tid = tid;
    thread->pid = thread->ptid = thread->vtid = thread->vpid = -1;
    thread->sid = thread->vpgid = thread->pgid = -1;
    thread->uid = thread->gid = thread->loginuid = UINT32_MAX;
    thread->fdlimit = -1;
    thread->last_fd = -1;
    struct fl_str **texts[] = {&thread->comm, &thread->exe, &thread->exepath, &thread->args, &thread->env, &thread->cgroups, &thread->cwd,
                               &thread->root};
    for (size_t i = 0; i < sizeof texts / sizeof *texts; i++)
        *texts[i] = fl_str_ref(state->empty);
    return thread;
}

void fl_thread_changed(struct fl_state *state, struct fl_thread *thread)
{
    fl_set_str(state, &thread->cmdline, NULL);
    fl_set_str(state, &thread->args_text, NULL);
}

/* Not in the table (any more), unlinked. */
static void thread_free(struct fl_state *state, struct fl_thread *thread)
{
    struct fl_str *texts[] = {thread->comm, thread->exe, thread->exepath, thread->args, thread->env, thread->cgroups, thread->cwd,
                              thread->root, thread->container_id, thread->cmdline, thread->args_text};

    for (size_t i = 0; i < sizeof texts / sizeof *texts; i++)
        fl_str_put(state->strings, texts[i]);
    fl_fds_free(state, thread->fds);
    state->stored_enter_bytes -= thread->stored_enter_room;
    free(thread->stored_enter);
    free(thread);
}

struct fl_thread *fl_thread_find(const struct fl_state *state, int64_t tid)
{
    struct fl_thread *last = fl_thread_if_last(state, tid);

    return last ? last : fl_map_find(&state->threads, tid);
}

struct fl_thread *fl_thread_look(struct fl_state *state, int64_t tid)
{
    struct fl_thread *thread = fl_thread_find(state, tid);

    if (thread)
        state->last = thread;
    return thread;
}

struct fl_thread *fl_thread_main(const struct fl_thread *thread)
{
    return thread->group && thread->group->main ? thread->group->main : (struct fl_thread *)thread;
}

struct fl_thread *fl_thread_parent(const struct fl_state *state, const struct fl_thread *thread)
{
    (void)state;
    return thread->parent;
}

static bool is_main(const struct fl_thread *thread) { return thread->tid == thread->pid || (thread->flags & FL_THREAD_MAIN); }

static void join_group(struct fl_group *group, struct fl_thread *thread)
{
    bool first = is_main(thread);

    thread->group = group;
    thread->previous_member = first ? NULL : group->last;
    thread->next_member = first ? group->members : NULL;
    *(thread->previous_member ? &thread->previous_member->next_member : &group->members) = thread;
    *(thread->next_member ? &thread->next_member->previous_member : &group->last) = thread;
    group->total++;
    group->live++;
    if (first)
        group->main = thread;
}

static void leave_group(struct fl_state *state, struct fl_thread *thread)
{
    struct fl_group *group = thread->group;

    if (!group)
        return;
    *(thread->next_member ? &thread->next_member->previous_member : &group->last) = thread->previous_member;
    *(thread->previous_member ? &thread->previous_member->next_member : &group->members) = thread->next_member;
    thread->group = NULL;
    group->total--;
    group->live -= !thread->dead;
    if (group->main == thread)
        group->main = NULL;
    if (group->total == 0) {
        fl_map_remove(&state->groups, group->pid);
        free(group);
    }
}

static void adopt(struct fl_thread *parent, struct fl_thread *child)
{
    child->parent = parent;
    child->ptid = parent->tid;
    child->previous_sibling = NULL;
    child->next_sibling = parent->children;
    if (parent->children)
        parent->children->previous_sibling = child;
    parent->children = child;
}

static void leave_parent(struct fl_thread *child)
{
    if (!child->parent)
        return;
    if (child->next_sibling)
        child->next_sibling->previous_sibling = child->previous_sibling;
    if (child->previous_sibling)
        child->previous_sibling->next_sibling = child->next_sibling;
    else
        child->parent->children = child->next_sibling;
    child->parent = child->next_sibling = child->previous_sibling = NULL;
}

/* Whether a thread may be the parent of another, or get its children: not if it descends from it, for then the parents would form a ring. */
static bool may_adopt(const struct fl_thread *parent, const struct fl_thread *thread)
{
    unsigned level = 0;

    if (!thread->children)
        return parent != thread;
    for (; parent && parent != thread && level < FL_ANCESTORS_MAX; level++)
        parent = parent->parent;
    return !parent;
}

void fl_thread_link(struct fl_state *state, struct fl_thread *thread)
{
    struct fl_group *group;
    struct fl_thread *parent;

    if (fl_thread_invalid(thread) || thread->group)
        return;
    group = fl_map_find(&state->groups, thread->pid);
    if (!group) {
        group = calloc(1, sizeof *group);
        if (!group || fl_map_set(&state->groups, thread->pid, group) != 0) {
            free(group);
            return;
        }
        group->pid = thread->pid;
        group->reaper = thread->pid == 1 || thread->vpid == 1;
    }
    join_group(group, thread);
    if (thread->pid == 1)
        return;
    parent = fl_map_find(&state->threads, thread->ptid);
    if (parent && !fl_thread_invalid(parent) && may_adopt(parent, thread))
        adopt(parent, thread);
    else
        thread->ptid = 0;
}

/* Takes a thread without kin out of the table. */
static void erase(struct fl_state *state, struct fl_thread *thread)
{
    leave_group(state, thread);
    leave_parent(thread);
    while (thread->children) {
        struct fl_thread *child = thread->children;
        leave_parent(child);
        child->ptid = 0;
    }
    fl_map_remove(&state->threads, thread->tid);
    if (state->last == thread)
        state->last = NULL;
    if (state->now.thread == thread) {
        state->now.thread = NULL;
        state->now.fd = NULL;
    }
    state->stats.threads_removed++;
    thread_free(state, thread);
}

bool fl_thread_add(struct fl_state *state, struct fl_thread *thread)
{
    struct fl_thread *old = fl_map_find(&state->threads, thread->tid);

    if (old)
        fl_thread_remove(state, old);
    old = fl_map_find(&state->threads, thread->tid);    /* a leader stays while threads of its group live */
    if (old)
        erase(state, old);
    if (state->threads.count >= state->limits.threads || fl_map_set(&state->threads, thread->tid, thread) != 0) {
        state->stats.threads_refused++;
        thread_free(state, thread);
        return false;
    }
    state->stats.threads_added++;
    state->last = thread;
    return true;
}

struct fl_thread *fl_thread_ask(struct fl_state *state, int64_t tid)
{
    struct fl_thread *thread = fl_thread_look(state, tid);

    if (thread || !state->look_up || state->threads.count >= state->limits.threads || !state->look_up(state->look_up_context, tid, -1))
        return thread;
    thread = fl_thread_look(state, tid);
    if (!thread)
        return NULL;
    struct fl_thread *leader = fl_map_find(&state->threads, thread->pid);
    if (leader)
        fl_thread_link(state, leader);
    fl_thread_link(state, thread);
    return thread;
}

struct fl_thread *fl_thread_get(struct fl_state *state, int64_t tid)
{
    struct fl_thread *thread = fl_thread_ask(state, tid);

    if (thread)
        return thread;
    if (state->threads.count >= state->limits.threads) {
        state->stats.threads_refused++;
        return NULL;
    }
    thread = fl_thread_new(state, tid);
    if (!thread)
        return NULL;
    fl_set_str(state, &thread->comm, fl_str_ref(state->na));
    fl_set_str(state, &thread->exe, fl_str_ref(state->na));
    fl_set_text(state, &thread->cwd, "./", 2);
    if (!fl_thread_add(state, thread))
        return NULL;
    state->stats.fake_threads++;
    return thread;
}

void fl_thread_dies(struct fl_thread *thread)
{
    if (!thread->dead && thread->group)
        thread->group->live--;
    thread->dead = true;
}

void fl_thread_revives(struct fl_thread *thread)
{
    if (thread->dead && thread->group)
        thread->group->live++;
    thread->dead = false;
}

static struct fl_thread *live_member(const struct fl_group *group)
{
    struct fl_thread *thread = group->members;

    while (thread && thread->dead)
        thread = thread->next_member;
    return thread;
}

/* Who gets the children of a thread, if the kernel doesn't say: a thread of its group, or the nearest ancestor that reaps, as long as all on the
 * way there are in a pid namespace, or none is, as the thread is. */
static struct fl_thread *find_reaper(const struct fl_thread *thread)
{
    struct fl_thread *reaper = live_member(thread->group), *ancestor = thread->parent;

    for (unsigned level = 0; !reaper && ancestor && level < FL_ANCESTORS_MAX; level++, ancestor = ancestor->parent) {
        if (fl_thread_in_pidns(ancestor) != fl_thread_in_pidns(thread))
            break;
        if (ancestor->group && ancestor->group->reaper)
            reaper = live_member(ancestor->group);
    }
    return reaper;
}

static void reparent(struct fl_state *state, struct fl_thread *thread)
{
    struct fl_thread *reaper = NULL;

    if (!thread->children)
        return;
    if (thread->reaper_tid > 0)
        reaper = fl_map_find(&state->threads, thread->reaper_tid);
    if (reaper && fl_thread_invalid(reaper))
        reaper = NULL;
    if (!reaper && thread->reaper_tid >= 0)
        reaper = find_reaper(thread);
    if (reaper && !may_adopt(reaper, thread))
        reaper = NULL;
    if (reaper && reaper->group && reaper->group != thread->group)
        reaper->group->reaper = true;
    while (thread->children) {
        struct fl_thread *child = thread->children;
        leave_parent(child);
        if (reaper)
            adopt(reaper, child);
        else
            child->ptid = 0;
    }
}

void fl_thread_remove(struct fl_state *state, struct fl_thread *thread)
{
    struct fl_group *group = thread->group;
    struct fl_thread *leader;

    if (fl_thread_invalid(thread) || !group) {
        erase(state, thread);
        return;
    }
    fl_thread_dies(thread);
    reparent(state, thread);
    leader = group->main;
    if (group->live == 0 && leader && leader != thread) {
        erase(state, thread);
        erase(state, leader);
    } else if (group->live == 0 || leader != thread) {
        erase(state, thread);
    }
    /* else: a leader stays in the table, dead, while its threads use its directory, environment and descriptors */
}

void fl_state_purge(struct fl_state *state, uint64_t ts, uint64_t idle, fl_thread_exists *exists, void *context)
{
    int64_t gone[FL_PURGE_MAX];
    uint32_t ngone = 0, looked = 0;

    for (uint32_t i = 0; state->threads.slots && i <= state->threads.mask && looked < FL_PURGE_MAX; i++) {
        struct fl_thread *thread = state->threads.slots[i].value;
        if (!thread || thread->dead || (!fl_thread_invalid(thread) && ts - thread->seen_ts < idle))
            continue;
        looked++;
        if (!fl_thread_invalid(thread) && exists(context, thread->tid))
            thread->seen_ts = ts;       /* not looked for again before it has been idle again */
        else
            gone[ngone++] = thread->tid;
    }
    for (uint32_t i = 0; i < ngone; i++) {
        struct fl_thread *thread = fl_map_find(&state->threads, gone[i]);
        if (!thread)
            continue;           /* with the thread before */
        fl_thread_remove(state, thread);
        state->stats.threads_purged++;
    }
}

void fl_threads_clear(struct fl_state *state)
{
    state->last = NULL;
    for (uint32_t i = 0; state->threads.slots && i <= state->threads.mask; i++) {
        if (state->threads.slots[i].value)
            thread_free(state, state->threads.slots[i].value);
    }
    for (uint32_t i = 0; state->groups.slots && i <= state->groups.mask; i++)
        free(state->groups.slots[i].value);
    fl_map_clear(&state->threads);
    fl_map_clear(&state->groups);
    memset(state->exited, 0, sizeof state->exited);
    memset(state->exited_heads, 0, sizeof state->exited_heads);
    state->exited_at = 0;
}

static uint32_t exited_bucket(int64_t tid) { return fl_hash_u64((uint64_t)tid) % FL_EXITED; }

void fl_exited_add(struct fl_state *state, int64_t ptid, int64_t tid, uint64_t ts)
{
    uint16_t number = (uint16_t)(state->exited_at + 1);
    struct fl_exited *exited = &state->exited[state->exited_at];

    state->exited_at = (state->exited_at + 1) % FL_EXITED;
    if (exited->used) {
        uint16_t *at = &state->exited_heads[exited_bucket(exited->tid)];
        while (*at != number)
            at = &state->exited[*at - 1].next;
        *at = exited->next;
    }
    *exited = (struct fl_exited){ptid, tid, ts, state->exited_heads[exited_bucket(tid)], true};
    state->exited_heads[exited_bucket(tid)] = number;
}

bool fl_exited_lately(const struct fl_state *state, int64_t ptid, int64_t tid, uint64_t ts)
{
    for (uint16_t number = state->exited_heads[exited_bucket(tid)]; number; number = state->exited[number - 1].next) {
        const struct fl_exited *exited = &state->exited[number - 1];
        if (exited->tid == tid && exited->ptid == ptid && ts - exited->ts < FL_EXITED_NS)
            return true;
    }
    return false;
}
