/* SPDX-License-Identifier: Apache-2.0
 *
 * What is known of containers besides their ids: a container event tells it as JSON (spec: engine.md E5), and so does whoever takes the ids
 * that are wanted and asks the runtimes: {"container": {"id": …, "lookup": "unknown"}} where these don't know it. A container of which
 * nobody told has only its id.
 */
#include <stddef.h>
#include <stdlib.h>

#include "../json/json.h"
#include "transitions.h"

/* Numbers of runtimes in container events. */
static const char *const types[] = {"docker", "lxc", "libvirt-lxc", "mesos", "rkt", "custom", "cri", "containerd", "cri-o", "bpm",
                                    "static", "podman"};

#define FL_CONTAINERS_MAX 65536u

/* Containers are found by the number that the interned id is, as it is shown. */
static int64_t key_of(const struct fl_str *id) { return (int64_t)(intptr_t)id; }

static struct fl_container *entry_of(const struct fl_state *state, const struct fl_str *id)
{
    return fl_map_find(&state->containers, key_of(id));
}

const struct fl_container *fl_container_find(const struct fl_state *state, const struct fl_str *id)
{
    const struct fl_container *c = entry_of(state, id);

    return c && c->lookup == FL_LOOKUP_KNOWN ? c : NULL;
}

enum fl_lookup fl_container_lookup(const struct fl_state *state, const struct fl_str *id)
{
    const struct fl_container *c = entry_of(state, id);

    return c ? c->lookup : FL_LOOKUP_NONE;
}

/* The texts that a container has once it is known. */
#define TEXT(member) offsetof(struct fl_container, member)
static const size_t texts[] = {TEXT(full_id), TEXT(name), TEXT(image), TEXT(image_id), TEXT(repository), TEXT(tag), TEXT(digest), TEXT(ip),
                               TEXT(cni_json), TEXT(sandbox_id), TEXT(labels), TEXT(sandbox_labels), TEXT(mounts)};
#define NTEXTS (sizeof texts / sizeof *texts)

static struct fl_str **text(struct fl_container *c, size_t i) { return (struct fl_str **)(void *)((char *)c + texts[i]); }

static void free_container(struct fl_state *state, struct fl_container *c)
{
    for (size_t i = 0; i < NTEXTS; i++)
        fl_str_put(state->strings, *text(c, i));
    fl_str_put(state->strings, c->id);
    fl_str_put(state->strings, c->json);
    free(c);
}

static bool is_imageless(const struct fl_container *c) { return !c->image || !c->image->len; }

/* Takes a container out of the table. The next process that comes up in it brings it back. */
static void drop(struct fl_state *state, struct fl_container *c)
{
    if (state->cgroups_container == c->id)
        fl_set_str(state, &state->cgroups_seen, NULL);
    fl_map_remove(&state->containers, key_of(c->id));
    state->stats.containers--;
    state->stats.containers_imageless -= is_imageless(c);
    free_container(state, c);
}

void fl_containers_clear(struct fl_state *state)
{
    for (uint32_t i = 0; state->containers.slots && i <= state->containers.mask; i++) {
        if (state->containers.slots[i].value)
            free_container(state, state->containers.slots[i].value);
    }
    fl_map_clear(&state->containers);
    state->stats.containers = state->stats.containers_imageless = 0;
    while (state->nwanted)
        fl_str_put(state->strings, state->wanted[--state->nwanted]);
}

/* Containers that no process is in any more make room for others. */
static void sweep(struct fl_state *state)
{
    struct fl_map used = {0};

    for (uint32_t i = 0; state->threads.slots && i <= state->threads.mask; i++) {
        const struct fl_thread *thread = state->threads.slots[i].value;
        struct fl_container *c = thread && thread->container_id ? entry_of(state, thread->container_id) : NULL;
        if (c && fl_map_set(&used, key_of(c->id), c) != 0)
            goto done;
    }
    for (uint32_t i = 0; i <= state->containers.mask; i++) {
        struct fl_container *c = state->containers.slots[i].value;
        if (!c || fl_map_find(&used, key_of(c->id)))
            continue;
        drop(state, c);
        i--;                    /* another one may have moved here */
    }
done:
    fl_map_clear(&used);
}

/* Enters a container in place of what was known of it. False, and it is freed, when the table is full. */
static bool enter(struct fl_state *state, struct fl_container *c)
{
    struct fl_container *old = fl_map_find(&state->containers, key_of(c->id));

    if (!old && state->containers.count >= FL_CONTAINERS_MAX && state->no_sweep-- == 0) {
        sweep(state);
        /* where they are all in use, looking through all threads for each new one would be a way to stop us */
        state->no_sweep = state->containers.count > FL_CONTAINERS_MAX / 8 * 7 ? FL_CONTAINERS_MAX / 8 : 0;
    }
    if ((!old && state->containers.count >= FL_CONTAINERS_MAX) || fl_map_set(&state->containers, key_of(c->id), c) != 0) {
        state->stats.containers_refused++;
        free_container(state, c);
        return false;
    }
    state->stats.containers += !old;
    state->stats.containers_imageless += is_imageless(c);
    if (old) {
        state->stats.containers_imageless -= is_imageless(old);
        free_container(state, old);
    }
    return true;
}

/* A container of which nothing is known; takes the id. */
static struct fl_container *nameless(struct fl_state *state, struct fl_str *id, enum fl_lookup lookup)
{
    struct fl_container *c = calloc(1, sizeof *c);

    if (!c) {
        fl_str_put(state->strings, id);
        return NULL;
    }
    c->id = id;
    c->lookup = lookup;
    c->type = "unknown";
    return c;
}

void fl_container_know(struct fl_state *state, struct fl_str *id, const char *type)
{
    struct fl_container *fresh = entry_of(state, id) ? NULL : nameless(state, fl_str_ref(id), FL_LOOKUP_KNOWN);

    if (!fresh)
        return;
    fresh->type = type;
    for (size_t i = 0; i < NTEXTS; i++)
        *text(fresh, i) = fl_str_ref(state->empty);
    enter(state, fresh);
}

void fl_container_want(struct fl_state *state, struct fl_str *id, struct fl_slice whole, bool again)
{
    const struct fl_container *c;
    struct fl_str *asked;

    if (!state->ask_containers || state->nwanted >= FL_WANTED_MAX)
        return;
    c = entry_of(state, id);
    if (c && (c->lookup == FL_LOOKUP_PENDING || !again))
        return;
    if (!c) {
        struct fl_container *fresh = nameless(state, fl_str_ref(id), FL_LOOKUP_PENDING);
        if (!fresh || !enter(state, fresh))
            return;
    }
    asked = fl_str_get(state->strings, whole.data, whole.len);
    if (!asked)
        return;
    state->wanted[state->nwanted++] = asked;
    state->stats.containers_asked++;
}

void fl_state_ask_containers(struct fl_state *state, bool ask)
{
    state->ask_containers = ask;
    for (uint32_t i = 0; ask && state->threads.slots && i <= state->threads.mask; i++) {
        const struct fl_thread *thread = state->threads.slots[i].value;
        if (thread && thread->container_id && !entry_of(state, thread->container_id))
            fl_container_of(state, thread, false);
    }
}

size_t fl_state_wanted(struct fl_state *state, char *ids, size_t size)
{
    size_t used = 0;

    while (state->nwanted) {
        struct fl_str *id = state->wanted[state->nwanted - 1];
        if (used + id->len + 1 > size)
            break;
        memcpy(ids + used, id->data, id->len + 1);      /* with the NUL that ends each text */
        used += id->len + 1;
        state->nwanted--;
        fl_str_put(state->strings, id);
    }
    return used;
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

/* The id, as it is shown; empty if there is none. */
static struct fl_str *id_of(struct fl_state *state, struct fl_json object, char *room)
{
    struct fl_json value;
    size_t len = fl_json_get(object, "id", &value) ? fl_json_string(value, room) : 0;

    return fl_str_get(state->strings, room, len);
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

static void learn(struct fl_state *state, struct fl_json object, struct fl_slice json, char *room)
{
    struct fl_str *id = id_of(state, object, room);
    if (!id || !id->len) {
        fl_str_put(state->strings, id);
        return;
    }
    struct fl_json lookup;
    if (fl_json_get(object, "lookup", &lookup) && fl_json_is(lookup, "\"unknown\"")) {
        struct fl_container *unknown = nameless(state, id, FL_LOOKUP_UNKNOWN);
        state->stats.containers_unknown++;
        if (unknown)
            enter(state, unknown);
        return;
    }
    struct fl_container *fresh = calloc(1, sizeof *fresh);
    if (!fresh) {
        fl_str_put(state->strings, id);
        return;
    }
    *fresh = (struct fl_container){
        .id = id,
        .lookup = FL_LOOKUP_KNOWN,
        .json = fl_str_get(state->strings, json.data, json.len),
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
    bool whole = fresh->json != NULL;
    for (size_t i = 0; i < NTEXTS; i++)
        whole = whole && *text(fresh, i);
    if (!whole)
        free_container(state, fresh);
    else if (enter(state, fresh))
        state->now.container = fresh;
}

static void forget(struct fl_state *state, struct fl_json object, char *room)
{
    struct fl_str *id = id_of(state, object, room);
    struct fl_container *c = id ? fl_map_find(&state->containers, key_of(id)) : NULL;

    if (c)
        drop(state, c);
    fl_str_put(state->strings, id);
}

static void tell(struct fl_state *state, struct fl_slice json, bool removed)
{
    struct fl_json root, object;
    /* what is read out is never longer than its JSON, but for missing members of a mount: five NULs for "{}" and its comma */
    char *room = malloc(2 * (size_t)json.len + 8);

    if (room && fl_json_parse(json.data, json.len, &root) && fl_json_get(root, "container", &object)) {
        if (removed)
            forget(state, object, room);
        else
            learn(state, object, json, room);
    }
    free(room);
}

void fl_state_container(struct fl_state *state, const char *json, size_t len)
{
    if (len <= UINT32_MAX / 4)
        tell(state, (struct fl_slice){json, (uint32_t)len}, false);
    state->now.container = NULL;        /* no event told it */
}

void fl_state_static_container(struct fl_state *state, const char *json)
{
    size_t len = strlen(json);
    struct fl_json root, object, id;
    char *room = malloc(len + 1);

    if (room && fl_json_parse(json, len, &root) && fl_json_get(root, "container", &object) && fl_json_get(object, "id", &id)) {
        fl_set_str(state, &state->static_container, fl_str_get(state->strings, room, fl_json_string(id, room)));
        fl_set_str(state, &state->static_json, fl_str_get(state->strings, json, len));
    }
    free(room);
}

void fl_container_tell_static(struct fl_state *state)
{
    if (state->static_json)
        fl_state_container(state, state->static_json->data, state->static_json->len);
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
