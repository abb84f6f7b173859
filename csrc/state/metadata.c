/* SPDX-License-Identifier: Apache-2.0
 *
 * What is known of containers besides their ids: a container event tells it as JSON (spec: engine.md E5). A container of which
 * no event told has only its id.
 */
#include <stdlib.h>

#include "../json/json.h"
#include "transitions.h"

/* Numbers of runtimes in container events. */
static const char *const types[] = {"docker", "lxc", "libvirt-lxc", "mesos", "rkt", "custom", "cri", "containerd", "cri-o", "bpm",
                                    "static", "podman"};

#define FL_CONTAINERS_MAX 65536u

/* Containers are found by the number that the interned short id is. */
static int64_t key_of(const struct fl_str *id) { return (int64_t)(intptr_t)id; }

const struct fl_container *fl_container_find(const struct fl_state *state, const struct fl_str *id)
{
    const struct fl_str *interned = fl_str_find(state->strings, id->data, id->len < FL_SHORT_ID ? id->len : FL_SHORT_ID);

    return interned ? fl_map_find(&state->containers, key_of(interned)) : NULL;
}

static void free_container(struct fl_state *state, struct fl_container *c)
{
    struct fl_str *texts[] = {c->id, c->full_id, c->name, c->image, c->image_id, c->repository, c->tag, c->digest, c->ip,
                              c->cni_json, c->sandbox_id, c->labels, c->sandbox_labels, c->mounts};

    for (unsigned i = 0; i < sizeof texts / sizeof *texts; i++)
        fl_str_put(state->strings, texts[i]);
    free(c);
}

void fl_containers_clear(struct fl_state *state)
{
    for (uint32_t i = 0; state->containers.slots && i <= state->containers.mask; i++) {
        if (state->containers.slots[i].value)
            free_container(state, state->containers.slots[i].value);
    }
    fl_map_clear(&state->containers);
}

static bool is_true(struct fl_json object, const char *name)
{
    struct fl_json value;

    return fl_json_get(object, name, &value) && fl_json_is(value, "true");
}

/* A member's text, empty if there is none. `room` holds as many bytes as the event's JSON. */
static struct fl_str *text_of(struct fl_state *state, struct fl_json object, const char *name, char *room)
{
    struct fl_json value;

    if (!fl_json_get(object, name, &value) || !fl_json_is_string(value))
        return fl_str_ref(state->empty);
    return fl_str_get(state->strings, room, fl_json_string(value, room));
}

/* The short id; empty if there is none. */
static struct fl_str *id_of(struct fl_state *state, struct fl_json object, char *room)
{
    struct fl_json value;
    size_t len = fl_json_get(object, "id", &value) ? fl_json_string(value, room) : 0;

    return fl_str_get(state->strings, room, len < FL_SHORT_ID ? len : FL_SHORT_ID);
}

/* The value of a member of any kind: a string's text, else the text of the JSON itself. Both end in a NUL. */
static char *put_value(char *to, struct fl_json value)
{
    if (fl_json_is_string(value)) {
        to += fl_json_string(value, to);
    } else {
        memcpy(to, value.s, value.len);
        to += value.len;
    }
    *to++ = '\0';
    return to;
}

/* Names and values of an object, a NUL after each. */
static struct fl_str *pairs_of(struct fl_state *state, struct fl_json object, const char *name, char *room)
{
    struct fl_json pairs, key, value;
    struct fl_json_cursor cursor;
    char *to = room;

    if (!fl_json_get(object, name, &pairs) || !fl_json_enter(pairs, '{', &cursor))
        return fl_str_ref(state->empty);
    while (fl_json_member(&cursor, &key, &value)) {
        to = put_value(to, key);
        to = put_value(to, value);
    }
    return fl_str_get(state->strings, room, (size_t)(to - room));
}

/* Source, destination, mode, "true" or "false" for writable, propagation of each mount, a NUL after each. */
static struct fl_str *mounts_of(struct fl_state *state, struct fl_json object, char *room)
{
    static const char *const members[] = {"Source", "Destination", "Mode", "RW", "Propagation"};
    struct fl_json mounts, mount, value;
    struct fl_json_cursor cursor, inside;
    char *to = room;

    if (!fl_json_get(object, "Mounts", &mounts) || !fl_json_enter(mounts, '[', &cursor))
        return fl_str_ref(state->empty);
    while (fl_json_item(&cursor, &mount) && fl_json_enter(mount, '{', &inside)) {
        for (unsigned i = 0; i < sizeof members / sizeof *members; i++) {
            if (fl_json_get(mount, members[i], &value))
                to = put_value(to, value);
            else
                *to++ = '\0';
        }
    }
    return fl_str_get(state->strings, room, (size_t)(to - room));
}

static const char *type_of(struct fl_json object)
{
    struct fl_json value;
    unsigned n = 0;

    if (!fl_json_get(object, "type", &value) || !value.len || value.len > 2)
        return "unknown";
    for (size_t i = 0; i < value.len; i++) {
        if (value.s[i] < '0' || value.s[i] > '9')
            return "unknown";
        n = n * 10 + (unsigned)(value.s[i] - '0');
    }
    return n < sizeof types / sizeof *types ? types[n] : "unknown";
}

static void learn(struct fl_state *state, struct fl_json object, char *room)
{
    struct fl_str *id = id_of(state, object, room);
    if (!id || !id->len) {
        fl_str_put(state->strings, id);
        return;
    }
    struct fl_container *c = fl_map_find(&state->containers, key_of(id)), *fresh = NULL;
    if (c || state->containers.count < FL_CONTAINERS_MAX)
        fresh = calloc(1, sizeof *fresh);
    if (!fresh) {
        fl_str_put(state->strings, id);
        return;
    }
    *fresh = (struct fl_container){
        .id = id,
        .type = type_of(object),
        .full_id = text_of(state, object, "full_id", room),
        .name = text_of(state, object, "name", room),
        .image = text_of(state, object, "image", room),
        .image_id = text_of(state, object, "imageid", room),
        .repository = text_of(state, object, "imagerepo", room),
        .tag = text_of(state, object, "imagetag", room),
        .digest = text_of(state, object, "imagedigest", room),
        .ip = text_of(state, object, "ip", room),
        .cni_json = text_of(state, object, "cni_json", room),
        .sandbox_id = text_of(state, object, "pod_sandbox_id", room),
        .labels = pairs_of(state, object, "labels", room),
        .sandbox_labels = pairs_of(state, object, "pod_sandbox_labels", room),
        .mounts = mounts_of(state, object, room),
        .privileged = is_true(object, "privileged"),
        .host_pid = is_true(object, "host_pid"),
        .host_network = is_true(object, "host_network"),
        .host_ipc = is_true(object, "host_ipc"),
        .is_sandbox = is_true(object, "is_pod_sandbox"),
    };
    bool whole = fresh->full_id && fresh->name && fresh->image && fresh->image_id && fresh->repository && fresh->tag &&
                 fresh->digest && fresh->ip && fresh->cni_json && fresh->sandbox_id && fresh->labels && fresh->sandbox_labels &&
                 fresh->mounts;
    if (!whole || fl_map_set(&state->containers, key_of(id), fresh) != 0) {
        free_container(state, fresh);
        return;
    }
    if (c)
        free_container(state, c);
    state->now.container = fresh;
}

static void forget(struct fl_state *state, struct fl_json object, char *room)
{
    struct fl_str *id = id_of(state, object, room);
    struct fl_container *c = id ? fl_map_remove(&state->containers, key_of(id)) : NULL;

    if (c)
        free_container(state, c);
    fl_str_put(state->strings, id);
}

static void tell(struct fl_state *state, struct fl_slice json, bool removed)
{
    struct fl_json root, object;
    /* what is read out is never longer than its JSON, but for missing members of a mount: five NULs for "{}" and its comma */
    char *room = malloc(2 * (size_t)json.len + 8);

    if (room && fl_json_parse(json.data, json.len, &root) && fl_json_get(root, "container", &object))
        (removed ? forget : learn)(state, object, room);
    free(room);
}

void fl_container_json(struct fl_state *state, const struct fl_event *ev)
{
    tell(state, fl_param_text(ev, FL_P(CONTAINER_JSON_2_E, json)), false);
}

void fl_asyncevent(struct fl_state *state, const struct fl_event *ev)
{
    struct fl_slice name = fl_param_text(ev, FL_P(ASYNCEVENT_E, name)), data = fl_param_text(ev, FL_P(ASYNCEVENT_E, data));
    bool removed = name.len == 17 && memcmp(name.data, "container_removed", 17) == 0;

    if (removed || (name.len == 9 && memcmp(name.data, "container", 9) == 0))
        tell(state, data, removed);
}
