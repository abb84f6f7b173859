/* SPDX-License-Identifier: Apache-2.0
 *
 * Users, groups, and the machine's addresses.
 */
#include <stdlib.h>

#include "internal.h"

#define HOST ((struct fl_slice){"", 0})

/* The users of a container, or with no id of the host: another list of names for the same numbers. */
static struct fl_userlist *userlist_find(const struct fl_state *state, const char *id, size_t len)
{
    const struct fl_str *interned;

    if (!len)
        return (struct fl_userlist *)&state->host_users;
    interned = fl_str_find(state->strings, id, len);
    return interned ? fl_map_find(&state->user_lists, (int64_t)(intptr_t)interned) : NULL;
}

static struct fl_userlist *userlist_get(struct fl_state *state, struct fl_slice id)
{
    struct fl_userlist *list = userlist_find(state, id.data, id.len);

    if (list || state->user_lists.count >= FL_USER_LISTS_MAX || !(list = calloc(1, sizeof *list)))
        return list;
    list->id = fl_str_get(state->strings, id.data, id.len);
    if (!list->id || fl_map_set(&state->user_lists, (int64_t)(intptr_t)list->id, list) != 0) {
        fl_str_put(state->strings, list->id);
        free(list);
        return NULL;
    }
    return list;
}

static struct fl_userlist *list_of(const struct fl_state *state, const struct fl_str *container_id)
{
    return userlist_find(state, container_id ? container_id->data : "", container_id ? container_id->len : 0);
}

const struct fl_user *fl_user_find(const struct fl_state *state, const struct fl_str *container_id, uint32_t uid)
{
    const struct fl_userlist *list = list_of(state, container_id);

    return list ? fl_map_find(&list->users, uid) : NULL;
}

const struct fl_grp *fl_grp_find(const struct fl_state *state, const struct fl_str *container_id, uint32_t gid)
{
    const struct fl_userlist *list = list_of(state, container_id);

    return list ? fl_map_find(&list->groups, gid) : NULL;
}

static void free_user(struct fl_state *state, struct fl_user *user)
{
    if (!user)
        return;
    state->nusers--;
    fl_str_put(state->strings, user->name);
    fl_str_put(state->strings, user->home);
    fl_str_put(state->strings, user->shell);
    free(user);
}

static void free_grp(struct fl_state *state, struct fl_grp *grp)
{
    if (!grp)
        return;
    state->nusers--;
    fl_str_put(state->strings, grp->name);
    free(grp);
}

/* Memory for a user or a group; NULL when there are too many. */
static void *new_one(struct fl_state *state, size_t size)
{
    void *one = state->nusers < FL_USERS_MAX ? calloc(1, size) : NULL;

    state->nusers += one != NULL;
    return one;
}

void fl_user_set(struct fl_state *state, struct fl_slice container, uint32_t uid, uint32_t gid, struct fl_slice name, struct fl_slice home,
                 struct fl_slice shell)
{
    struct fl_userlist *list = userlist_get(state, container);
    struct fl_user *user = list ? fl_map_find(&list->users, uid) : NULL;

    if (!list)
        return;
    if (!user) {
        if (!(user = new_one(state, sizeof *user)))
            return;
        user->uid = uid;
        user->name = fl_str_ref(state->empty);
        user->home = fl_str_ref(state->empty);
        user->shell = fl_str_ref(state->empty);
        if (fl_map_set(&list->users, uid, user) != 0) {
            free_user(state, user);
            return;
        }
    }
    user->gid = gid;
    fl_set_text(state, &user->name, name.data, name.len);
    fl_set_text(state, &user->home, home.data, home.len);
    fl_set_text(state, &user->shell, shell.data, shell.len);
}

void fl_user_remove(struct fl_state *state, struct fl_slice container, uint32_t uid)
{
    struct fl_userlist *list = userlist_find(state, container.data, container.len);

    if (list)
        free_user(state, fl_map_remove(&list->users, uid));
}

void fl_grp_set(struct fl_state *state, struct fl_slice container, uint32_t gid, struct fl_slice name)
{
    struct fl_userlist *list = userlist_get(state, container);
    struct fl_grp *grp = list ? fl_map_find(&list->groups, gid) : NULL;

    if (!list)
        return;
    if (!grp) {
        if (!(grp = new_one(state, sizeof *grp)))
            return;
        grp->gid = gid;
        grp->name = fl_str_ref(state->empty);
        if (fl_map_set(&list->groups, gid, grp) != 0) {
            free_grp(state, grp);
            return;
        }
    }
    fl_set_text(state, &grp->name, name.data, name.len);
}

void fl_grp_remove(struct fl_state *state, struct fl_slice container, uint32_t gid)
{
    struct fl_userlist *list = userlist_find(state, container.data, container.len);

    if (list)
        free_grp(state, fl_map_remove(&list->groups, gid));
}

static void clear(struct fl_state *state, struct fl_userlist *list)
{
    for (uint32_t i = 0; list->users.slots && i <= list->users.mask; i++)
        free_user(state, list->users.slots[i].value);
    for (uint32_t i = 0; list->groups.slots && i <= list->groups.mask; i++)
        free_grp(state, list->groups.slots[i].value);
    fl_map_clear(&list->users);
    fl_map_clear(&list->groups);
    fl_str_put(state->strings, list->id);
}

/* ---- of running containers ---- */

void fl_account_want(struct fl_state *state, const struct fl_thread *thread, bool anew)
{
    struct fl_userlist *list;

    if (!state->ask_accounts || !thread->container_id || thread->container_id->len > FL_CONTAINER_ID || state->static_container || thread->pid <= 0)
        return;
    list = list_of(state, thread->container_id);
    if (list && !anew && fl_map_find(&list->users, thread->uid) && fl_map_find(&list->groups, thread->gid))
        return;
    if (state->naccounts_wanted >= FL_WANTED_MAX || (list && list->wanted))
        return;
    if (!list)
        list = userlist_get(state, (struct fl_slice){thread->container_id->data, thread->container_id->len});
    if (!list)
        return;
    list->wanted = true;
    state->accounts_wanted[state->naccounts_wanted++] = (struct fl_wanted_account){fl_str_ref(list->id), thread->pid};
}

const uint32_t *fl_state_accounts_wanted(const struct fl_state *state) { return &state->naccounts_wanted; }

bool fl_state_take_wanted_account(struct fl_state *state, char container[FL_CONTAINER_ID + 1], int64_t *pid)
{
    if (!state->naccounts_wanted)
        return false;
    struct fl_wanted_account wanted = state->accounts_wanted[--state->naccounts_wanted];
    struct fl_userlist *list = list_of(state, wanted.container);

    if (list)
        list->wanted = false;
    memcpy(container, wanted.container->data, wanted.container->len);
    container[wanted.container->len] = '\0';
    *pid = wanted.pid;
    fl_str_put(state->strings, wanted.container);
    return true;
}

static void drop_wanted(struct fl_state *state)
{
    char container[FL_CONTAINER_ID + 1];
    int64_t pid;

    while (fl_state_take_wanted_account(state, container, &pid))
        ;
}

void fl_state_ask_accounts(struct fl_state *state, bool ask)
{
    state->ask_accounts = ask;
    if (!ask)
        drop_wanted(state);
}

static struct fl_slice text_of(const struct fl_str *str) { return (struct fl_slice){str->data, str->len}; }

static struct fl_account account_of(const void *value, bool users)
{
    const struct fl_user *user = value;
    const struct fl_grp *grp = value;

    return users ? (struct fl_account){user->uid, user->gid, text_of(user->name), text_of(user->home), text_of(user->shell)}
                 : (struct fl_account){.id = grp->gid, .name = text_of(grp->name), .home = {"", 0}, .shell = {"", 0}};
}

static bool same_text(struct fl_slice a, struct fl_slice b) { return a.len == b.len && memcmp(a.data, b.data, a.len) == 0; }

static bool same_account(const struct fl_account *a, const struct fl_account *b)
{
    return a->gid == b->gid && same_text(a->name, b->name) && same_text(a->home, b->home) && same_text(a->shell, b->shell);
}

/* The accounts of a list that aren't in `named` go. */
static void keep_named(struct fl_state *state, struct fl_userlist *list, bool users, const struct fl_map *named, fl_account_told *told,
                       void *context)
{
    struct fl_map *map = users ? &list->users : &list->groups;

    for (uint32_t i = 0; map->slots && i <= map->mask; i++) {
        if (!map->slots[i].value || fl_map_find(named, map->slots[i].key))
            continue;
        struct fl_account gone = account_of(map->slots[i].value, users);
        told(context, text_of(list->id), users, true, &gone);
        if (users)
            fl_user_remove(state, text_of(list->id), gone.id);
        else
            fl_grp_remove(state, text_of(list->id), gone.id);
        i--;                    /* another one may have moved here */
    }
}

void fl_state_accounts(struct fl_state *state, struct fl_slice container, bool users, const struct fl_account *accounts, uint32_t count,
                       fl_account_told *told, void *context)
{
    struct fl_userlist *list = container.len ? userlist_get(state, container) : NULL;
    struct fl_map named = {0}, *map;
    bool whole = list != NULL;

    if (!list)
        return;
    map = users ? &list->users : &list->groups;
    for (uint32_t i = 0; i < count && whole; i++)
        whole = fl_map_set(&named, accounts[i].id, list) == 0;
    if (whole)
        keep_named(state, list, users, &named, told, context);
    fl_map_clear(&named);
    for (uint32_t i = 0; i < count; i++) {
        const struct fl_account *account = &accounts[i];
        const void *old = fl_map_find(map, account->id);
        struct fl_account before = old ? account_of(old, users) : (struct fl_account){0};
        if (old && same_account(&before, account))
            continue;
        if (users)
            fl_user_set(state, container, account->id, account->gid, account->name, account->home, account->shell);
        else
            fl_grp_set(state, container, account->id, account->name);
        if (fl_map_find(map, account->id))      /* else there is no room */
            told(context, text_of(list->id), users, false, account);
    }
}

void fl_state_forget_accounts(struct fl_state *state, fl_account_told *told, void *context)
{
    struct fl_map used = {0}, none = {0};

    for (uint32_t i = 0; state->threads.slots && i <= state->threads.mask; i++) {
        const struct fl_thread *thread = state->threads.slots[i].value;
        struct fl_userlist *list = thread && thread->container_id ? list_of(state, thread->container_id) : NULL;
        if (list && fl_map_set(&used, (int64_t)(intptr_t)list, list) != 0)
            goto done;
    }
    for (uint32_t i = 0; state->user_lists.slots && i <= state->user_lists.mask; i++) {
        struct fl_userlist *list = state->user_lists.slots[i].value;
        if (!list || fl_map_find(&used, (int64_t)(intptr_t)list))
            continue;
        keep_named(state, list, true, &none, told, context);
        keep_named(state, list, false, &none, told, context);
        fl_map_remove(&state->user_lists, (int64_t)(intptr_t)list->id);
        clear(state, list);
        free(list);
        i--;                    /* another one may have moved here */
    }
done:
    fl_map_clear(&used);
}

static void dump_list(const struct fl_userlist *list, bool users, fl_account_told *told, void *context)
{
    const struct fl_map *map = users ? &list->users : &list->groups;

    for (uint32_t i = 0; map->slots && i <= map->mask; i++) {
        if (!map->slots[i].value)
            continue;
        struct fl_account account = account_of(map->slots[i].value, users);
        told(context, text_of(list->id), users, false, &account);
    }
}

void fl_state_dump_accounts(const struct fl_state *state, fl_account_told *told, void *context)
{
    for (uint32_t i = 0; state->user_lists.slots && i <= state->user_lists.mask; i++) {
        const struct fl_userlist *list = state->user_lists.slots[i].value;
        if (!list)
            continue;
        dump_list(list, true, told, context);
        dump_list(list, false, told, context);
    }
}

/* ---- all of them ---- */

void fl_users_clear(struct fl_state *state)
{
    drop_wanted(state);
    clear(state, &state->host_users);
    for (uint32_t i = 0; state->user_lists.slots && i <= state->user_lists.mask; i++) {
        struct fl_userlist *list = state->user_lists.slots[i].value;
        if (list)
            clear(state, list);
        free(list);
    }
    fl_map_clear(&state->user_lists);
    for (uint32_t i = 0; i < state->ninterfaces; i++)
        fl_str_put(state->strings, state->interfaces[i].name);
    free(state->interfaces);
    state->interfaces = NULL;
    state->ninterfaces = 0;
}

void fl_state_user(struct fl_state *state, const struct fl_scap_user *user)
{
    fl_user_set(state, HOST, user->uid, user->gid, user->name, user->home, user->shell);
}

void fl_state_group(struct fl_state *state, const struct fl_scap_group *group) { fl_grp_set(state, HOST, group->gid, group->name); }

void fl_state_interface(struct fl_state *state, const struct fl_scap_interface *interface)
{
    /* The room is a power of two, doubled when it is full. */
    if (state->ninterfaces >= FL_INTERFACES_MAX)
        return;
    if ((state->ninterfaces & (state->ninterfaces - 1)) == 0) {
        uint32_t room = state->ninterfaces ? state->ninterfaces * 2 : 1;
        struct fl_interface *bigger = realloc(state->interfaces, room * sizeof *bigger);
        if (!bigger)
            return;
        state->interfaces = bigger;
    }
    struct fl_interface *own = &state->interfaces[state->ninterfaces++];
    own->v6 = interface->v6;
    memcpy(own->addr, interface->addr, sizeof own->addr);
    memcpy(own->netmask, interface->netmask, sizeof own->netmask);
    memcpy(own->broadcast, interface->broadcast, sizeof own->broadcast);
    own->name = fl_str_get(state->strings, interface->name.data, interface->name.len);
}

bool fl_is_local_address(const struct fl_state *state, const uint8_t *addr, bool v6)
{
    static const uint8_t unspecified[16], loopback[16] = {[15] = 1};

    if (v6 ? memcmp(addr, loopback, 16) == 0 || memcmp(addr, unspecified, 16) == 0 : addr[0] == 127)
        return true;
    for (uint32_t i = 0; i < state->ninterfaces; i++) {
        if (state->interfaces[i].v6 == v6 && memcmp(state->interfaces[i].addr, addr, v6 ? 16 : 4) == 0)
            return true;
    }
    return false;
}
