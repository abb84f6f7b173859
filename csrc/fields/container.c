/* SPDX-License-Identifier: Apache-2.0
 *
 * The container of an event's process, and its pod. The id comes from the process's control groups; the rest is what container
 * events told (csrc/state/metadata.c): of a container that none told of, nothing but the id is known. The host is a container of
 * that name, all the rest of it empty.
 */
#include "extract.h"

#include <fnmatch.h>

/* ---- whose fields ---- */

struct subject {
    const struct fl_container *container;       /* NULL: the host */
};

/* False where nothing is known. */
static bool subject_of(const struct fl_view *view, struct subject *subject)
{
    const struct fl_thread *thread = fl_thread_of(view);
    subject->container = view->now->container;
    if (subject->container)
        return true;
    if (!thread)
        return false;
    if (!thread->container_id)
        return true;
    subject->container = fl_container_find(view->state, thread->container_id);
    return subject->container != NULL;
}

EXTRACT(container_id)
{
    const struct fl_thread *thread = fl_thread_of(view);
    if (view->now->container)
        return fl_set_interned(out, view->now->container->id);
    if (!thread)
        return false;
    return thread->container_id ? fl_set_interned(out, thread->container_id) : fl_set_lit(out, "host");
}

#define TEXT_OF_CONTAINER(field, member, of_host) \
    EXTRACT(field) \
    { \
        struct subject s; \
        if (!subject_of(view, &s)) \
            return false; \
        return s.container ? fl_set_interned(out, s.container->member) : fl_set_lit(out, of_host); \
    }

#define BOOL_OF_CONTAINER(field, member) \
    EXTRACT(field) \
    { \
        struct subject s; \
        return subject_of(view, &s) && fl_set_bool(out, s.container && s.container->member); \
    }

TEXT_OF_CONTAINER(container_full_id, full_id, "host")
TEXT_OF_CONTAINER(container_name, name, "host")
TEXT_OF_CONTAINER(container_image, image, "")
TEXT_OF_CONTAINER(container_image_id, image_id, "")
TEXT_OF_CONTAINER(container_image_repository, repository, "")
TEXT_OF_CONTAINER(container_image_tag, tag, "")
TEXT_OF_CONTAINER(container_image_digest, digest, "")
TEXT_OF_CONTAINER(container_ip, ip, "")
TEXT_OF_CONTAINER(container_cni_json, cni_json, "")
BOOL_OF_CONTAINER(container_privileged, privileged)
BOOL_OF_CONTAINER(container_host_pid, host_pid)
BOOL_OF_CONTAINER(container_host_network, host_network)
BOOL_OF_CONTAINER(container_host_ipc, host_ipc)

EXTRACT(container_type)
{
    struct subject s;
    return subject_of(view, &s) && fl_set_lit(out, s.container ? s.container->type : "host");
}

/* Why the other fields are absent, where they are. */
EXTRACT(container_lookup)
{
    static const char *const texts[] = {[FL_LOOKUP_NONE] = "none", [FL_LOOKUP_PENDING] = "pending", [FL_LOOKUP_UNKNOWN] = "unknown",
                                        [FL_LOOKUP_KNOWN] = "known"};
    const struct fl_thread *thread = fl_thread_of(view);
    if (view->now->container)
        return fl_set_lit(out, texts[FL_LOOKUP_KNOWN]);
    if (!thread)
        return false;
    return fl_set_lit(out, thread->container_id ? texts[fl_container_lookup(view->state, thread->container_id)] : "host");
}

/* ---- its time: its first process's pid namespace began with it ---- */

EXTRACT(container_start_ts)
{
    const struct fl_thread *thread = fl_thread_of(view);
    return thread && thread->pidns_init_start_ts && fl_set_u64(out, thread->pidns_init_start_ts);
}

EXTRACT(container_duration)
{
    const struct fl_thread *thread = fl_thread_of(view);
    return thread && thread->pidns_init_start_ts && fl_set_u64(out, view->ev->ts - thread->pidns_init_start_ts);
}

/* ---- mounts ---- */

enum { SOURCE, DESTINATION, MODE, WRITABLE, PROPAGATION, PARTS };

/* The next mount of a container: its parts. */
static bool next_mount(const struct fl_str *mounts, uint32_t *at, struct fl_slice parts[PARTS])
{
    for (int i = 0; i < PARTS; i++)
        if (!fl_next_text(mounts->data, mounts->len, at, &parts[i]))
            return false;
    return true;
}

static void put_mount(struct fl_text *text, const struct fl_slice parts[PARTS])
{
    for (int i = 0; i < PARTS; i++) {
        if (i)
            fl_text_char(text, ':');
        fl_text_put(text, parts[i].data, parts[i].len);
    }
}

EXTRACT(container_mounts)
{
    struct subject s;
    struct fl_slice parts[PARTS];
    uint32_t at = 0;
    if (!subject_of(view, &s))
        return false;
    if (!s.container)
        return fl_set_lit(out, "");
    struct fl_text text;
    fl_text_begin(&text, view);
    while (next_mount(s.container->mounts, &at, parts)) {
        if (text.len)
            fl_text_char(&text, ',');
        put_mount(&text, parts);
    }
    return fl_text_end(&text, out);
}

/* The mount of that number; else the first whose source (or destination) the pattern matches. */
static bool find_mount(const struct fl_view *view, const struct fl_field_argument *arg, int by, struct fl_slice parts[PARTS])
{
    struct subject s;
    uint32_t at = 0;
    if (!subject_of(view, &s) || !s.container)
        return false;
    for (int64_t i = 0; next_mount(s.container->mounts, &at, parts); i++)
        if (arg->has_index ? i == arg->index : arg->has_key && !fnmatch(arg->key, parts[by].data, 0))
            return true;            /* each part ends in a NUL */
    return false;
}

EXTRACT(container_mount)
{
    struct fl_slice parts[PARTS];
    if (!find_mount(view, arg, SOURCE, parts))
        return false;
    struct fl_text text;
    fl_text_begin(&text, view);
    put_mount(&text, parts);
    return fl_text_end(&text, out);
}

static bool part_of_mount(const struct fl_view *view, const struct fl_field_argument *arg, int by, int part, struct fl_value *out)
{
    struct fl_slice parts[PARTS];
    return find_mount(view, arg, by, parts) && fl_set_slice(out, parts[part]);
}

EXTRACT(container_mount_source) { return part_of_mount(view, arg, DESTINATION, SOURCE, out); }
EXTRACT(container_mount_dest) { return part_of_mount(view, arg, SOURCE, DESTINATION, out); }
EXTRACT(container_mount_mode) { return part_of_mount(view, arg, SOURCE, MODE, out); }
EXTRACT(container_mount_rdwr) { return part_of_mount(view, arg, SOURCE, WRITABLE, out); }
EXTRACT(container_mount_propagation) { return part_of_mount(view, arg, SOURCE, PROPAGATION, out); }

/* ---- labels: the container's, and those of its pod's sandbox ---- */

static bool label(const struct fl_str *labels, const char *name, size_t len, struct fl_value *out)
{
    struct fl_slice key, value;
    uint32_t at = 0;
    while (fl_next_text(labels->data, labels->len, &at, &key) && fl_next_text(labels->data, labels->len, &at, &value))
        if (key.len == len && !memcmp(key.data, name, len))
            return fl_set_slice(out, value);
    return false;
}

static bool begins(struct fl_slice s, const char *prefix)
{
    size_t len = strlen(prefix);
    return s.len >= len && !memcmp(s.data, prefix, len);
}

/* "name:value, name:value", without those that the orchestrator made for itself. */
static bool all_labels(const struct fl_view *view, const struct fl_str *labels, struct fl_value *out)
{
    struct fl_slice key, value;
    struct fl_text text;
    uint32_t at = 0;
    fl_text_begin(&text, view);
    while (fl_next_text(labels->data, labels->len, &at, &key) && fl_next_text(labels->data, labels->len, &at, &value)) {
        if (begins(key, "annotation.") || begins(key, "io.kubernetes."))
            continue;
        if (text.len)
            fl_text_lit(&text, ", ");
        fl_text_put(&text, key.data, key.len);
        fl_text_char(&text, ':');
        fl_text_put(&text, value.data, value.len);
    }
    return fl_text_end(&text, out);
}

EXTRACT(container_labels)
{
    struct subject s;
    return subject_of(view, &s) && (s.container ? all_labels(view, s.container->labels, out) : fl_set_lit(out, ""));
}

EXTRACT(k8s_pod_labels)
{
    struct subject s;
    return subject_of(view, &s) && (s.container ? all_labels(view, s.container->sandbox_labels, out) : fl_set_lit(out, ""));
}

EXTRACT(container_label)
{
    struct subject s;
    return arg->has_key && subject_of(view, &s) && s.container && label(s.container->labels, arg->key, arg->key_len, out);
}

EXTRACT(k8s_pod_label)
{
    struct subject s;
    return arg->has_key && subject_of(view, &s) && s.container && label(s.container->sandbox_labels, arg->key, arg->key_len, out);
}

/* ---- the pod: what its labels and its sandbox tell ---- */

static bool named_label(const struct fl_view *view, const char *name, struct fl_value *out)
{
    struct subject s;
    return subject_of(view, &s) && s.container && label(s.container->labels, name, strlen(name), out);
}

EXTRACT(k8s_pod_name) { return named_label(view, "io.kubernetes.pod.name", out); }
EXTRACT(k8s_ns_name) { return named_label(view, "io.kubernetes.pod.namespace", out); }
EXTRACT(k8s_pod_uid) { return named_label(view, "io.kubernetes.pod.uid", out); }
EXTRACT(k8s_pod_id) { return named_label(view, "io.kubernetes.pod.uid", out); }

TEXT_OF_CONTAINER(k8s_pod_full_sandbox_id, sandbox_id, "")

EXTRACT(k8s_pod_sandbox_id)
{
    struct subject s;
    if (!subject_of(view, &s))
        return false;
    if (!s.container)
        return fl_set_lit(out, "");
    const struct fl_str *id = s.container->sandbox_id;
    return fl_set_str(out, id->data, id->len < FL_SHORT_ID ? id->len : FL_SHORT_ID);
}

/* The network is the sandbox's: containers outside of a pod have none of a pod. */
static bool in_pod(const struct fl_container *container) { return container->is_sandbox || container->sandbox_id->len; }

EXTRACT(k8s_pod_ip)
{
    struct subject s;
    if (!subject_of(view, &s))
        return false;
    return s.container && in_pod(s.container) ? fl_set_interned(out, s.container->ip) : fl_set_lit(out, "");
}

EXTRACT(k8s_pod_cni_json)
{
    struct subject s;
    if (!subject_of(view, &s))
        return false;
    return s.container && in_pod(s.container) ? fl_set_interned(out, s.container->cni_json) : fl_set_lit(out, "");
}

/* ---- deprecated: never set ---- */

#define NEVER(field) EXTRACT(field) { return false; }

NEVER(container_healthcheck)
NEVER(container_liveness_probe)
NEVER(container_readiness_probe)
NEVER(proc_is_container_healthcheck)
NEVER(proc_is_container_liveness_probe)
NEVER(proc_is_container_readiness_probe)
NEVER(k8s_rc_name)
NEVER(k8s_rc_id)
NEVER(k8s_rc_label)
NEVER(k8s_rc_labels)
NEVER(k8s_svc_name)
NEVER(k8s_svc_id)
NEVER(k8s_svc_label)
NEVER(k8s_svc_labels)
NEVER(k8s_ns_id)
NEVER(k8s_ns_label)
NEVER(k8s_ns_labels)
NEVER(k8s_rs_name)
NEVER(k8s_rs_id)
NEVER(k8s_rs_label)
NEVER(k8s_rs_labels)
NEVER(k8s_deployment_name)
NEVER(k8s_deployment_id)
NEVER(k8s_deployment_label)
NEVER(k8s_deployment_labels)
