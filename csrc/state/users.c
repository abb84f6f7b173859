/* SPDX-License-Identifier: Apache-2.0
 *
 * Users, groups, and the machine's addresses.
 */
#include <stdlib.h>

#include "internal.h"

#define HOST ((struct fl_slice){"", 0})

/* The users of a container: another list of names for the same numbers. */
struct fl_userlist *fl_userlist_find(const struct fl_state *state, const char *id, size_t len)
{
    const struct fl_str *brief;

    if (!len)
        return (struct fl_userlist *)&state->host_users;
    brief = fl_str_find(state->strings, id, len < FL_SHORT_ID ? len : FL_SHORT_ID);
    return brief ? fl_map_find(&state->user_lists, (int64_t)(intptr_t)brief) : NULL;
}

static struct fl_userlist *userlist_get(struct fl_state *state, struct fl_slice id)
{
    struct fl_userlist *list = fl_userlist_find(state, id.data, id.len);

    if (list || state->user_lists.count >= FL_USER_LISTS_MAX || !(list = calloc(1, sizeof *list)))
        return list;
    list->id = fl_str_get(state->strings, id.data, id.len < FL_SHORT_ID ? id.len : FL_SHORT_ID);
    if (!list->id || fl_map_set(&state->user_lists, (int64_t)(intptr_t)list->id, list) != 0) {
        fl_str_put(state->strings, list->id);
        free(list);
        return NULL;
    }
    return list;
}

static struct fl_userlist *list_of(const struct fl_state *state, const struct fl_str *container_id)
{
    return fl_userlist_find(state, container_id ? container_id->data : "", container_id ? container_id->len : 0);
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
    struct fl_userlist *list = fl_userlist_find(state, container.data, container.len);

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
    struct fl_userlist *list = fl_userlist_find(state, container.data, container.len);

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

void fl_users_clear(struct fl_state *state)
{
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
