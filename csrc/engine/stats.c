/* SPDX-License-Identifier: Apache-2.0
 *
 * What an engine has done and what its program costs, in numbers.
 */
#include "../base/ticks.h"
#include "engine.h"

struct fl_scap_stats fl_engine_read_so_far(const fl_engine *e)
{
    struct fl_scap_stats a = e->before, b = fl_scap_get_stats(e->scap);
    if (e->rings) {
        struct fl_rings_stats live = fl_rings_get_stats(e->rings);
        b = (struct fl_scap_stats){.bytes = live.bytes, .records = live.records, .events = live.records};
    }
    return (struct fl_scap_stats){
        .bytes = a.bytes + b.bytes, .blocks = a.blocks + b.blocks, .records = a.records + b.records, .events = a.events + b.events,
        .converted = a.converted + b.converted, .stored = a.stored + b.stored, .dropped = a.dropped + b.dropped,
        .unknown = a.unknown + b.unknown, .evicted = a.evicted + b.evicted, .skipped_blocks = a.skipped_blocks + b.skipped_blocks,
        .sections = a.sections + b.sections,
    };
}

fl_engine_stats fl_engine_get_stats(const fl_engine *e)
{
    struct fl_scap_stats r = fl_engine_read_so_far(e);
    struct fl_state_stats s = fl_state_get_stats(e->state);
    struct fl_snapshot_stats n = fl_snapshot_get_stats(e->snapshot);
    struct fl_documents_stats d = fl_document_run_stats(e->documents, e->documents_before);
    struct fl_rings_stats live = {0};
    if (e->rings)
        live = fl_rings_get_stats(e->rings);
    return (fl_engine_stats){
        .bytes = r.bytes + d.bytes, .blocks = r.blocks, .records = r.records + d.documents, .events = r.events + d.documents,
        .converted = r.converted, .stored = r.stored,
        .dropped = r.dropped, .unknown = r.unknown, .evicted = r.evicted, .skipped_blocks = r.skipped_blocks, .sections = r.sections,
        .evaluated = e->evaluated, .matches = e->matches, .threads = s.threads,
        .threads_added = s.threads_added, .threads_removed = s.threads_removed, .threads_refused = s.threads_refused,
        .fds_added = s.fds_added, .fds_removed = s.fds_removed, .fds_refused = s.fds_refused, .fake_threads = s.fake_threads,
        .last_ts = e->last_ts,
        .fd_lookups_failed = s.fd_lookups_failed, .texts_refused = s.texts_refused, .lost = e->lost + live.lost,
        .unread = e->unread + live.unread,
        .scanned_threads = n.threads, .iterated_threads = n.iterated, .scanned_fds = n.fds, .scan_ns = n.ns, .lookups = n.lookups, .lookups_failed = n.lookups_failed,
        .lookups_refused = n.lookups_refused,
        .threads_purged = s.threads_purged,
        .containers = s.containers, .containers_imageless = s.containers_imageless,
        .containers_asked = s.containers_asked, .containers_unknown = s.containers_unknown, .containers_refused = s.containers_refused,
        .malformed = d.faults[FL_FAULT_MALFORMED],
        .unrecognised = d.faults[FL_FAULT_UNRECOGNISED], .too_large = d.faults[FL_FAULT_TOO_LARGE], .undated = d.undated,
    };
}

fl_engine_iterated fl_engine_get_iterated(const fl_engine *e)
{
    struct fl_snapshot_stats stats = fl_snapshot_get_stats(e->snapshot);
    const uint64_t *n = stats.iterated_fds;

    return (fl_engine_iterated){
        .task = stats.iterated, .task_file_pipe = n[FL_FD_FIFO], .task_file_memfd = n[FL_FD_MEMFD], .task_file_regular = n[FL_FD_FILE_V2],
        .task_file_directory = n[FL_FD_DIRECTORY], .task_file_socket_inet = n[FL_FD_IPV4_SOCK] + n[FL_FD_IPV4_SERVSOCK],
        .task_file_socket_inet6 = n[FL_FD_IPV6_SOCK] + n[FL_FD_IPV6_SERVSOCK], .task_file_socket_unix = n[FL_FD_UNIX_SOCK],
        .task_file_socket_netlink = n[FL_FD_NETLINK],
        .task_file_anon_inode = n[FL_FD_EVENT] + n[FL_FD_SIGNALFD] + n[FL_FD_EVENTPOLL] + n[FL_FD_INOTIFY] + n[FL_FD_TIMERFD] +
                                n[FL_FD_BPF] + n[FL_FD_USERFAULTFD] + n[FL_FD_IOURING] + n[FL_FD_PIDFD],
    };
}

int fl_engine_profile(fl_engine *e, int on)
{
    e->profiling = on != 0;
    return e->vm ? fl_vm_profile(e->vm, e->profiling) : FL_OK;
}

size_t fl_engine_profiled(const fl_engine *e, uint64_t *numbers, size_t size)
{
    size_t costs = 0;
    const struct fl_profile *profile = e->vm ? fl_vm_profiled(e->vm, &costs) : NULL;
    if (!profile)
        return 0;
    for (size_t i = 0; i <= costs && 3 * i + 3 <= size; i++) {
        const struct fl_cost *cost = i ? &profile->costs[i - 1] : &profile->all;
        numbers[3 * i] = cost->runs;
        numbers[3 * i + 1] = cost->trues;
        numbers[3 * i + 2] = cost->ticks;
    }
    return 3 * (costs + 1);
}

uint64_t fl_ticks_now(void) { return fl_ticks(); }

uint64_t fl_ticks_overhead(void)
{
    uint64_t least = UINT64_MAX;
    for (int i = 0; i < 1000; i++) {
        uint64_t began = fl_ticks(), took = fl_ticks() - began;
        least = took < least ? took : least;
    }
    return least;
}
