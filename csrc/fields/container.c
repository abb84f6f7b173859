/* SPDX-License-Identifier: Apache-2.0
 *
 * The container of an event's process.
 */
#include "extract.h"

EXTRACT(container_id)
{
    const struct fl_thread *thread = fl_thread_of(view);
    if (!thread)
        return false;
    const struct fl_str *id = thread->container_id;
    return id ? fl_set_str(out, id->data, id->len < 12 ? id->len : 12) : fl_set_lit(out, "host");
}
EXTRACT(container_full_id) { return false; }
EXTRACT(container_name) { return false; }
EXTRACT(container_image) { return false; }
EXTRACT(container_image_id) { return false; }
EXTRACT(container_type) { return false; }
EXTRACT(container_privileged) { return false; }
EXTRACT(container_mounts) { return false; }
EXTRACT(container_mount) { return false; }
EXTRACT(container_mount_source) { return false; }
EXTRACT(container_mount_dest) { return false; }
EXTRACT(container_mount_mode) { return false; }
EXTRACT(container_mount_rdwr) { return false; }
EXTRACT(container_mount_propagation) { return false; }
EXTRACT(container_image_repository) { return false; }
EXTRACT(container_image_tag) { return false; }
EXTRACT(container_image_digest) { return false; }
EXTRACT(container_healthcheck) { return false; }
EXTRACT(container_liveness_probe) { return false; }
EXTRACT(container_readiness_probe) { return false; }
EXTRACT(container_start_ts) { return false; }
EXTRACT(container_duration) { return false; }
EXTRACT(container_ip) { return false; }
EXTRACT(container_cni_json) { return false; }
EXTRACT(container_host_pid) { return false; }
EXTRACT(container_host_network) { return false; }
EXTRACT(container_host_ipc) { return false; }
EXTRACT(container_label) { return false; }
EXTRACT(container_labels) { return false; }
EXTRACT(proc_is_container_healthcheck) { return false; }
EXTRACT(proc_is_container_liveness_probe) { return false; }
EXTRACT(proc_is_container_readiness_probe) { return false; }
EXTRACT(k8s_pod_name) { return false; }
EXTRACT(k8s_ns_name) { return false; }
EXTRACT(k8s_pod_id) { return false; }
EXTRACT(k8s_pod_uid) { return false; }
EXTRACT(k8s_pod_sandbox_id) { return false; }
EXTRACT(k8s_pod_full_sandbox_id) { return false; }
EXTRACT(k8s_pod_label) { return false; }
EXTRACT(k8s_pod_labels) { return false; }
EXTRACT(k8s_pod_ip) { return false; }
EXTRACT(k8s_pod_cni_json) { return false; }
EXTRACT(k8s_rc_name) { return false; }
EXTRACT(k8s_rc_id) { return false; }
EXTRACT(k8s_rc_label) { return false; }
EXTRACT(k8s_rc_labels) { return false; }
EXTRACT(k8s_svc_name) { return false; }
EXTRACT(k8s_svc_id) { return false; }
EXTRACT(k8s_svc_label) { return false; }
EXTRACT(k8s_svc_labels) { return false; }
EXTRACT(k8s_ns_id) { return false; }
EXTRACT(k8s_ns_label) { return false; }
EXTRACT(k8s_ns_labels) { return false; }
EXTRACT(k8s_rs_name) { return false; }
EXTRACT(k8s_rs_id) { return false; }
EXTRACT(k8s_rs_label) { return false; }
EXTRACT(k8s_rs_labels) { return false; }
EXTRACT(k8s_deployment_name) { return false; }
EXTRACT(k8s_deployment_id) { return false; }
EXTRACT(k8s_deployment_label) { return false; }
EXTRACT(k8s_deployment_labels) { return false; }
