/* SPDX-License-Identifier: Apache-2.0
 *
 * Users, groups, and the machine's addresses.
 */
#include <stdlib.h>

#include "internal.h"

const struct fl_user *fl_user_find(const struct fl_state *state, uint32_t uid) { return fl_map_find(&state->users, uid); }

const struct fl_grp *fl_grp_find(const struct fl_state *state, uint32_t gid) { return fl_map_find(&state->user_groups, gid); }

static void free_user(struct fl_state *state, struct fl_user *user)
{
    if (!user)
        return;
    fl_str_put(state->strings, user->name);
    fl_str_put(state->strings, user->home);
    fl_str_put(state->strings, user->shell);
    free(user);
}

static void free_grp(struct fl_state *state, struct fl_grp *grp)
{
    if (!grp)
        return;
    fl_str_put(state->strings, grp->name);
    free(grp);
}

void fl_user_set(struct fl_state *state, uint32_t uid, uint32_t gid, struct fl_slice name, struct fl_slice home, struct fl_slice shell)
{
    struct fl_user *user = fl_map_find(&state->users, uid);

    if (!user) {
        if (state->users.count >= FL_USERS_MAX || !(user = calloc(1, sizeof *user)))
            return;
        user->uid = uid;
        user->name = fl_str_ref(state->empty);
        user->home = fl_str_ref(state->empty);
        user->shell = fl_str_ref(state->empty);
        if (fl_map_set(&state->users, uid, user) != 0) {
            free_user(state, user);
            return;
        }
    }
    user->gid = gid;
    fl_set_text(state, &user->name, name.data, name.len);
    fl_set_text(state, &user->home, home.data, home.len);
    fl_set_text(state, &user->shell, shell.data, shell.len);
}

void fl_user_remove(struct fl_state *state, uint32_t uid) { free_user(state, fl_map_remove(&state->users, uid)); }

void fl_grp_set(struct fl_state *state, uint32_t gid, struct fl_slice name)
{
    struct fl_grp *grp = fl_map_find(&state->user_groups, gid);

    if (!grp) {
        if (state->user_groups.count >= FL_USERS_MAX || !(grp = calloc(1, sizeof *grp)))
            return;
        grp->gid = gid;
        grp->name = fl_str_ref(state->empty);
        if (fl_map_set(&state->user_groups, gid, grp) != 0) {
            free_grp(state, grp);
            return;
        }
    }
    fl_set_text(state, &grp->name, name.data, name.len);
}

void fl_grp_remove(struct fl_state *state, uint32_t gid) { free_grp(state, fl_map_remove(&state->user_groups, gid)); }

void fl_users_clear(struct fl_state *state)
{
    for (uint32_t i = 0; state->users.slots && i <= state->users.mask; i++)
        free_user(state, state->users.slots[i].value);
    for (uint32_t i = 0; state->user_groups.slots && i <= state->user_groups.mask; i++)
        free_grp(state, state->user_groups.slots[i].value);
    fl_map_clear(&state->users);
    fl_map_clear(&state->user_groups);
    for (uint32_t i = 0; i < state->ninterfaces; i++)
        fl_str_put(state->strings, state->interfaces[i].name);
    free(state->interfaces);
    state->interfaces = NULL;
    state->ninterfaces = 0;
}

void fl_state_user(struct fl_state *state, const struct fl_scap_user *user)
{
    fl_user_set(state, user->uid, user->gid, user->name, user->home, user->shell);
}

void fl_state_group(struct fl_state *state, const struct fl_scap_group *group) { fl_grp_set(state, group->gid, group->name); }

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
