/* SPDX-License-Identifier: Apache-2.0
 *
 * Which container a process is in, as its control groups tell (spec: engine.md E5).
 */
#include "internal.h"

#include <ctype.h>

#define FL_ID_LEN 64u           /* hexadecimal digits of a container's full id */

/* A form of paths: a way to find the id, and the texts before and behind it. `type`: NULL where the container has a runtime that knows the rest
 * of it: its id is shown cut; else what it is, where there is nobody to ask: its name is shown whole. */
struct layout {
    bool (*match)(struct fl_slice path, const struct layout *layout, struct fl_slice *id);
    const char *prefix, *suffix, *type;
};

static struct fl_slice slice(const char *data, size_t len) { return (struct fl_slice){data, (uint32_t)len}; }

static struct fl_slice rest_of(struct fl_slice path, const char *at) { return slice(at, (size_t)(path.data + path.len - at)); }

static bool ends_in(struct fl_slice s, const char *suffix)
{
    size_t len = strlen(suffix);

    return s.len >= len && memcmp(s.data + s.len - len, suffix, len) == 0;
}

/* Where a text is in a path; NULL if it isn't. */
static const char *find(struct fl_slice path, const char *text) { return memmem(path.data, path.len, text, strlen(text)); }

/* Where a text is in a path for the last time, which is its end for an empty one; NULL if it isn't. */
static const char *find_last(struct fl_slice path, struct fl_slice text)
{
    for (size_t at = path.len - (path.len < text.len ? path.len : text.len) + 1; at-- > 0;) {
        if (path.len - at >= text.len && memcmp(path.data + at, text.data, text.len) == 0)
            return path.data + at;
    }
    return NULL;
}

/* A full id between the prefix and the last occurrence of the suffix, below which a container may have groups of its own. */
static bool match_full_id(struct fl_slice path, const struct layout *layout, struct fl_slice *id)
{
    size_t prefix = strlen(layout->prefix);
    const char *stop = find_last(path, slice(layout->suffix, strlen(layout->suffix)));

    if (!stop || (size_t)(stop - path.data) < prefix + FL_ID_LEN)
        return false;
    const char *start = stop - FL_ID_LEN;
    if (memcmp(start - prefix, layout->prefix, prefix) != 0)
        return false;
    for (unsigned i = 0; i < FL_ID_LEN; i++) {
        if (!isxdigit((unsigned char)start[i]))
            return false;
    }
    *id = slice(start, FL_ID_LEN);
    return true;
}

/* Whether a text is a name as containerd's namespaces have it: letters and digits, and single '.', '_' and '-' between them. */
static bool is_namespace(const char *name, const char *end)
{
    bool between = false;

    for (const char *at = name; at < end; at++) {
        if (isalnum((unsigned char)*at))
            between = true;
        else if (between && (*at == '.' || *at == '_' || *at == '-'))
            between = false;
        else
            return false;
    }
    return between;
}

/* "/NAMESPACE/ID"; the units of systemd look alike. All that follows the namespace is the id; where it stands several times, the last counts. */
static bool match_namespace(struct fl_slice path, const struct layout *layout, struct fl_slice *id)
{
    const char *end = path.data + path.len, *name = memchr(path.data, '/', path.len), *slash;

    (void)layout;
    if (ends_in(path, ".service") || ends_in(path, ".slice") || ends_in(path, ".scope"))
        return false;
    for (; name; name = slash) {
        slash = memchr(name + 1, '/', (size_t)(end - name - 1));
        if (slash && is_namespace(name + 1, slash)) {
            struct fl_slice namespace = slice(name, (size_t)(slash + 1 - name));
            *id = rest_of(path, find_last(path, namespace) + namespace.len);
            return id->len > 0 && id->len <= FL_ID_LEN;
        }
    }
    return false;
}

/* What follows the prefix, up to the next slash. */
static bool match_component(struct fl_slice path, const struct layout *layout, struct fl_slice *id)
{
    const char *at = find(path, layout->prefix);

    if (!at)
        return false;
    *id = rest_of(path, at + strlen(layout->prefix));
    const char *slash = memchr(id->data, '/', id->len);
    if (slash)
        id->len = (uint32_t)(slash - id->data);
    return id->len > 0;
}

/* What follows the prefix, up to the suffix, with which the path ends. */
static bool match_rest(struct fl_slice path, const struct layout *layout, struct fl_slice *id)
{
    const char *at = find(path, layout->prefix);

    if (!at)
        return false;
    *id = rest_of(path, at + strlen(layout->prefix));
    if (!ends_in(*id, layout->suffix))
        return false;
    id->len -= (uint32_t)strlen(layout->suffix);
    return id->len > 0;
}

/* What follows the last occurrence of the prefix, up to the suffix, with which the path ends. */
static bool match_last(struct fl_slice path, const struct layout *layout, struct fl_slice *id)
{
    const char *at = find_last(path, slice(layout->prefix, strlen(layout->prefix)));

    return at && match_rest(rest_of(path, at), layout, id);
}

/* The name of a job as BPM writes it: what follows the prefix, up to the suffix or the end. */
static bool match_job(struct fl_slice path, const struct layout *layout, struct fl_slice *id)
{
    const char *at = find(path, layout->prefix);

    if (!at)
        return false;
    *id = rest_of(path, at + strlen(layout->prefix));
    const char *stop = find(*id, layout->suffix);
    if (stop)
        id->len = (uint32_t)(stop - id->data);
    for (uint32_t i = 0; i < id->len; i++) {
        char c = id->data[i];
        if (!isalnum((unsigned char)c) && c != '.' && c != '_' && c != '-')
            return false;
    }
    return id->len > 0;
}

/* In order of trial. */
static const struct layout layouts[] = {
    /* Podman */
    {match_full_id, "/libpod-", ".scope", NULL},
    {match_full_id, "/libpod-", ".scope/container", NULL},
    {match_full_id, "/libpod-", "", NULL},
    {match_full_id, "/libpod-payload-", ".scope", NULL},
    {match_full_id, "/libpod-payload-", ".scope/container", NULL},
    {match_full_id, "/libpod-payload-", "", NULL},
    /* Docker */
    {match_full_id, "/", "", NULL},
    {match_full_id, "/docker-", ".scope", NULL},
    /* CRI: CRI-O, containerd */
    {match_full_id, "/crio-", "", NULL},
    {match_full_id, "/cri-containerd-", ".scope", NULL},
    {match_full_id, "/crio-", ".scope", NULL},
    {match_full_id, ":cri-containerd:", "", NULL},
    {match_full_id, "/nerdctl-", ".scope", NULL},
    /* containerd without a layer above it */
    {match_namespace, NULL, NULL, NULL},
    /* LXC */
    {match_component, "/lxc/", NULL, "lxc"},
    {match_component, "/lxc.payload/", NULL, "lxc"},
    {match_component, "/lxc.payload.", NULL, "lxc"},
    /* libvirt */
    {match_last, "/", ".libvirt-lxc", "libvirt-lxc"},
    {match_rest, "-lxc\\x2d", ".scope/libvirt", "libvirt-lxc"},
    {match_rest, "-lxc\\x2d", ".scope", "libvirt-lxc"},
    {match_rest, "/libvirt/lxc/", "", "libvirt-lxc"},
    /* BPM */
    {match_job, "bpm-", ".scope", "bpm"},
};

/* The first control group that tells a container: how, and its whole id; NULL if none does. */
static const struct layout *container_of(const struct fl_str *cgroups, struct fl_slice *id)
{
    for (const char *at = cgroups->data, *end = at + cgroups->len; at < end;) {
        size_t len = strnlen(at, (size_t)(end - at));
        const char *equals = memchr(at, '=', len);
        for (size_t i = 0; equals && i < sizeof layouts / sizeof *layouts; i++) {
            if (layouts[i].match(slice(equals + 1, (size_t)(at + len - equals - 1)), &layouts[i], id) && id->len <= FL_CONTAINER_ID)
                return &layouts[i];
        }
        at += len + 1;
    }
    return NULL;
}

/* A container came up, or may have changed. */
static void met(struct fl_state *state, struct fl_str *id, const struct layout *layout, struct fl_slice whole, bool again)
{
    if (layout->type)
        fl_container_know(state, id, layout->type);
    else
        fl_container_want(state, id, whole, again);
}

void fl_container_of(struct fl_state *state, const struct fl_thread *thread, bool again)
{
    struct fl_slice id;
    const struct layout *layout = thread->container_id && !state->static_container ? container_of(thread->cgroups, &id) : NULL;

    if (layout)
        met(state, thread->container_id, layout, id, again);
}

/* The kernel's and old recorders' names of subsystems, as fields print them (H6). */
static struct fl_slice subsystem_name(struct fl_slice name)
{
    static const char *const renamed[][2] = {{"perf", "perf_event"}, {"mem", "memory"}, {"io", "blkio"}};

    if (ends_in(name, "_cgroup"))
        name.len -= (uint32_t)strlen("_cgroup");
    for (size_t i = 0; i < sizeof renamed / sizeof *renamed; i++) {
        if (name.len == strlen(renamed[i][0]) && memcmp(name.data, renamed[i][0], name.len) == 0)
            return slice(renamed[i][1], strlen(renamed[i][1]));
    }
    return name;
}

/* Sets the container of cgroups that are a thread's own now. Processes run in few groups: what the last ones told is remembered. */
static void set_container(struct fl_state *state, struct fl_thread *thread)
{
    if (state->static_container) {
        fl_set_str(state, &thread->container_id, fl_str_ref(state->static_container));
        return;
    }
    if (state->cgroups_seen != thread->cgroups) {
        struct fl_slice id;
        const struct layout *layout = container_of(thread->cgroups, &id);
        struct fl_str *shown = NULL;
        if (layout)
            shown = fl_str_get(state->strings, id.data, !layout->type && id.len > FL_SHORT_ID ? FL_SHORT_ID : id.len);
        fl_set_str(state, &state->cgroups_container, shown);
        fl_set_str(state, &state->cgroups_seen, fl_str_ref(thread->cgroups));
        if (state->cgroups_container)
            met(state, state->cgroups_container, layout, id, false);
    }
    fl_set_str(state, &thread->container_id, fl_str_ref(state->cgroups_container));
}

void fl_thread_set_cgroups(struct fl_state *state, struct fl_thread *thread, struct fl_slice cgroups)
{
    char text[FL_CGROUPS_MAX];
    const char *at = cgroups.data, *end = at + cgroups.len;
    size_t n = 0;

    while (at < end) {
        size_t len = strnlen(at, (size_t)(end - at));
        const char *equals = memchr(at, '=', len);
        if (equals) {
            struct fl_slice name = subsystem_name(slice(at, (size_t)(equals - at)));
            size_t rest = (size_t)(at + len - equals);
            if (n + 1 + name.len + rest > sizeof text)
                break;
            if (n)
                text[n++] = '\0';
            memcpy(text + n, name.data, name.len);
            memcpy(text + n + name.len, equals, rest);
            n += name.len + rest;
        }
        at += len + 1;
    }
    fl_set_text(state, &thread->cgroups, text, n);
    set_container(state, thread);
}
