/* SPDX-License-Identifier: Apache-2.0
 *
 * Which container a process is in, as its control groups tell (spec: engine.md E5).
 */
#include "internal.h"

#include <ctype.h>

#define FL_ID_LEN 64u           /* hexadecimal digits of a container's full id */

/* Runtimes on top of runc put the full id between a prefix and a suffix that ends the path. In order of trial. */
static const struct layout {
    const char *prefix, *suffix;
} layouts[] = {
    /* Podman */
    {"/libpod-", ".scope"},
    {"/libpod-", ".scope/container"},
    {"/libpod-", ""},
    {"/libpod-payload-", ".scope"},
    {"/libpod-payload-", ".scope/container"},
    {"/libpod-payload-", ""},
    /* Docker */
    {"/", ""},
    {"/docker-", ".scope"},
    /* CRI: CRI-O, containerd */
    {"/crio-", ""},
    {"/cri-containerd-", ".scope"},
    {"/crio-", ".scope"},
    {":cri-containerd:", ""},
    {"/nerdctl-", ".scope"},
};

static struct fl_slice slice(const char *data, size_t len) { return (struct fl_slice){data, (uint32_t)len}; }

static bool ends_in(struct fl_slice s, const char *suffix)
{
    size_t len = strlen(suffix);

    return s.len >= len && memcmp(s.data + s.len - len, suffix, len) == 0;
}

/* Where a text is in a path; NULL if it isn't. */
static const char *find(struct fl_slice path, const char *text) { return memmem(path.data, path.len, text, strlen(text)); }

static bool match_layout(struct fl_slice path, const struct layout *layout, struct fl_slice *id)
{
    size_t prefix = strlen(layout->prefix), suffix = strlen(layout->suffix);

    if (path.len < prefix + FL_ID_LEN + suffix || !ends_in(path, layout->suffix))
        return false;
    const char *start = path.data + path.len - suffix - FL_ID_LEN;
    if (memcmp(start - prefix, layout->prefix, prefix) != 0)
        return false;
    for (unsigned i = 0; i < FL_ID_LEN; i++) {
        if (!isxdigit((unsigned char)start[i]))
            return false;
    }
    *id = slice(start, FL_ID_LEN);
    return true;
}

/* What follows a prefix, up to the next slash. */
static bool match_component(struct fl_slice path, const char *prefix, struct fl_slice *id)
{
    const char *at = find(path, prefix), *end = path.data + path.len;

    if (!at)
        return false;
    at += strlen(prefix);
    const char *slash = memchr(at, '/', (size_t)(end - at));
    *id = slice(at, (size_t)((slash ? slash : end) - at));
    return id->len > 0;
}

/* "/NAMESPACE/ID", of containerd without a layer above it; the units of systemd look alike. */
static bool match_containerd(struct fl_slice path, struct fl_slice *id)
{
    const char *end = path.data + path.len;

    if (!path.len || path.data[0] != '/' || ends_in(path, ".service") || ends_in(path, ".slice") || ends_in(path, ".scope"))
        return false;
    const char *slash = memchr(path.data + 1, '/', path.len - 1);
    if (!slash || slash == path.data + 1)
        return false;
    const char *start = slash + 1, *stop = memchr(start, '/', (size_t)(end - start));
    *id = slice(start, (size_t)((stop ? stop : end) - start));
    return id->len > 0 && id->len <= FL_ID_LEN;
}

static bool match_libvirt(struct fl_slice path, struct fl_slice *id)
{
    const char *at, *end = path.data + path.len;
    struct fl_slice name;

    if (ends_in(path, ".libvirt-lxc")) {
        const char *slash = memrchr(path.data, '/', path.len);
        at = slash ? slash + 1 : path.data;
        name = slice(at, (size_t)(end - at) - strlen(".libvirt-lxc"));
    } else if ((at = find(path, "-lxc\\x2d"))) {
        at += strlen("-lxc\\x2d");
        name = slice(at, (size_t)(end - at));
        if (ends_in(name, ".scope"))
            name.len -= (uint32_t)strlen(".scope");
        else if (ends_in(name, ".scope/libvirt"))
            name.len -= (uint32_t)strlen(".scope/libvirt");
        else
            return false;
    } else if ((at = find(path, "/libvirt/lxc/"))) {
        at += strlen("/libvirt/lxc/");
        name = slice(at, (size_t)(end - at));
    } else {
        return false;
    }
    *id = name;
    return name.len > 0;
}

static bool match_bpm(struct fl_slice path, struct fl_slice *id)
{
    const char *at = find(path, "bpm-"), *end = path.data + path.len;

    if (!at)
        return false;
    at += strlen("bpm-");
    *id = slice(at, (size_t)(end - at));
    if (ends_in(*id, ".scope"))
        id->len -= (uint32_t)strlen(".scope");
    for (uint32_t i = 0; i < id->len; i++) {
        unsigned char c = (unsigned char)at[i];
        if (!isalnum(c) && c != '.' && c != '_' && c != '-')
            return false;
    }
    return id->len > 0;
}

/* The id of the container that the path of a control group tells. False if it tells none. */
static bool match(struct fl_slice path, struct fl_slice *id)
{
    for (size_t i = 0; i < sizeof layouts / sizeof *layouts; i++) {
        if (match_layout(path, &layouts[i], id))
            return true;
    }
    return match_containerd(path, id) || match_component(path, "/lxc/", id) || match_component(path, "/lxc.payload/", id) ||
           match_component(path, "/lxc.payload.", id) || match_libvirt(path, id) || match_bpm(path, id);
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
        const char *at = thread->cgroups->data, *end = at + thread->cgroups->len;
        bool found = false;
        struct fl_slice id;

        while (at < end && !found) {
            size_t len = strnlen(at, (size_t)(end - at));
            const char *equals = memchr(at, '=', len);
            if (equals)
                found = match(slice(equals + 1, (size_t)(at + len - equals - 1)), &id);
            at += len + 1;
        }
        fl_set_str(state, &state->cgroups_container, found ? fl_str_get(state->strings, id.data, id.len) : NULL);
        fl_set_str(state, &state->cgroups_seen, fl_str_ref(thread->cgroups));
        if (state->cgroups_container)
            fl_container_want(state, state->cgroups_container, false);
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
