/* SPDX-License-Identifier: Apache-2.0
 *
 * The rings: made, mapped, merged.
 */
#include "ring.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/bpf.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#define HEADER 8u               /* in front of what the probe wrote: its length, with the two bits below */
#define BUSY (1u << 31)
#define DISCARDED (1u << 30)
#define RELEASE_BYTES (64u << 10)       /* the kernel is told of so much room that has become free at a time */
#define POLL_MS 10              /* how often rings are looked at that aren't full enough to wake us */
#define SLEEP_AFTER 20          /* looks in vain after which the probe is asked to wake us for the first record */

struct pending { uint64_t ts, at; uint32_t len; };

struct ring {
    int fd;
    uint64_t *consumer;
    const uint64_t *producer;
    const uint8_t *data;
    uint64_t mask, scan, released, end;         /* scan: the next record to look at; end: of this pass */
    struct pending ahead[FL_RING_AHEAD];        /* a heap, the oldest first */
    uint32_t count;
};

struct fl_rings {
    struct ring *rings;
    uint32_t count, cpus;
    int *scratches;
    struct fl_probe_shared *shared;
    int epoll, wake;
    uint64_t horizon;           /* of this pass: records are older */
    uint32_t idle;              /* waits in a row that found nothing */
    bool held;                  /* records wait for the window */
    int closed;
    struct fl_rings_stats stats;
    uint32_t since_release;
    uint64_t lost_events[FL_PROBE_EVENTS];      /* that LOST_E has told of, by type */
    uint64_t lost;              /* that are to be told of, … */
    char lost_text[1024];       /* … and which they are */
    uint8_t lost_record[2048];
    uint64_t records_of_cpu[FL_PROBE_CPUS];
};

static long page(void) { return sysconf(_SC_PAGESIZE); }

static int bpf(int command, union bpf_attr *attr) { return (int)syscall(SYS_bpf, command, attr, sizeof *attr); }

static int create_map(uint32_t type, uint32_t key, uint32_t value, uint32_t entries)
{
    union bpf_attr attr = {.map_type = type, .key_size = key, .value_size = value, .max_entries = entries};
    return bpf(BPF_MAP_CREATE, &attr);
}

static int put_into(int map, uint32_t key, int inner)
{
    union bpf_attr attr = {.map_fd = (uint32_t)map, .key = (uint64_t)(uintptr_t)&key, .value = (uint64_t)(uintptr_t)&inner};
    return bpf(BPF_MAP_UPDATE_ELEM, &attr);
}

static size_t shared_size(void) { return (sizeof(struct fl_probe_shared) + (size_t)page() - 1) & ~((size_t)page() - 1); }

static bool open_ring(struct ring *ring, uint32_t bytes)
{
    ring->fd = create_map(BPF_MAP_TYPE_RINGBUF, 0, 0, bytes);
    if (ring->fd < 0)
        return false;
    ring->mask = bytes - 1;
    void *consumer = mmap(NULL, (size_t)page(), PROT_READ | PROT_WRITE, MAP_SHARED, ring->fd, 0);
    if (consumer == MAP_FAILED)
        return false;
    ring->consumer = consumer;
    void *producer = mmap(NULL, (size_t)page() + 2 * (size_t)bytes, PROT_READ, MAP_SHARED, ring->fd, page());
    if (producer == MAP_FAILED)
        return false;
    ring->producer = producer;
    ring->data = (const uint8_t *)producer + page();
    return true;
}

/* Above the number of every processor that may ever come: those that are there now may have others above them. */
static uint32_t possible_cpus(void)
{
    char text[256];
    int file = open("/sys/devices/system/cpu/possible", O_RDONLY | O_CLOEXEC);     /* "0-3", "0,2-5" */
    ssize_t n = file < 0 ? -1 : read(file, text, sizeof text - 1);
    long cpus = 0;

    if (file >= 0)
        close(file);
    if (n > 0) {
        text[n] = 0;
        while (n > 0 && !(text[n - 1] >= '0' && text[n - 1] <= '9'))
            text[--n] = 0;
        while (n > 0 && text[n - 1] >= '0' && text[n - 1] <= '9')
            n--;
        cpus = strtol(text + n, NULL, 10) + 1;
    }
    if (cpus < 1)
        cpus = sysconf(_SC_NPROCESSORS_CONF);
    return cpus < 1 ? 1 : cpus > FL_PROBE_CPUS ? FL_PROBE_CPUS : (uint32_t)cpus;
}

struct fl_rings *fl_rings_new(const struct fl_rings_options *options, struct fl_error *error)
{
    struct fl_rings *r = calloc(1, sizeof *r);
    const char *what = "memory";

    if (!r)
        goto failed;
    r->epoll = r->wake = -1;
    r->cpus = possible_cpus();
    uint32_t share = options->cpus_for_each_buffer && options->cpus_for_each_buffer < r->cpus ? options->cpus_for_each_buffer : r->cpus;
    uint32_t bytes = options->buffer_bytes;
    if (bytes < 2 * (uint32_t)page() || bytes & (bytes - 1)) {
        fl_fail(error, FL_ERR_ARGUMENT, "the size of a ring is a power of two of at least two pages, not %u bytes", bytes);
        fl_rings_free(r);
        return NULL;
    }
    uint32_t wanted = (r->cpus + share - 1) / share;
    r->rings = calloc(wanted, sizeof *r->rings);
    r->scratches = malloc(r->cpus * sizeof *r->scratches);
    if (!r->rings || !r->scratches)
        goto failed;
    for (uint32_t i = 0; i < r->cpus; i++)
        r->scratches[i] = -1;
    what = "the memory that is shared with the probe";
    void *shared = mmap(NULL, shared_size(), PROT_READ | PROT_WRITE, MAP_SHARED, options->shared_map, 0);
    if (shared == MAP_FAILED)
        goto failed;
    r->shared = shared;
    what = "a ring buffer";
    for (; r->count < wanted; r->count++) {
        struct ring *ring = &r->rings[r->count];
        if (!open_ring(ring, bytes) || put_into(options->rings_map, r->count, ring->fd)) {
            r->count++;
            goto failed;
        }
    }
    what = "a processor's working memory";
    for (uint32_t cpu = 0; cpu < r->cpus; cpu++) {
        r->scratches[cpu] = create_map(BPF_MAP_TYPE_ARRAY, 4, FL_PROBE_SCRATCH, 1);
        if (r->scratches[cpu] < 0 || put_into(options->scratches_map, cpu, r->scratches[cpu]))
            goto failed;
        r->shared->config.ring_of_cpu[cpu] = (uint16_t)(cpu / share);
    }
    r->shared->config.wake_bytes = bytes / 8 < RELEASE_BYTES ? bytes / 8 : RELEASE_BYTES;
    what = "epoll";
    r->epoll = epoll_create1(EPOLL_CLOEXEC);
    r->wake = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    struct epoll_event on = {.events = EPOLLIN};
    if (r->epoll < 0 || r->wake < 0 || epoll_ctl(r->epoll, EPOLL_CTL_ADD, r->wake, &on))
        goto failed;
    on.events = EPOLLIN | EPOLLET;
    for (uint32_t i = 0; i < r->count; i++)
        if (epoll_ctl(r->epoll, EPOLL_CTL_ADD, r->rings[i].fd, &on))
            goto failed;
    return r;

failed:
    fl_fail(error, errno == ENOMEM ? FL_ERR_MEMORY : FL_ERR_PROBE, "%s: %s", what, strerror(errno));
    fl_rings_free(r);
    return NULL;
}

void fl_rings_free(struct fl_rings *r)
{
    if (!r)
        return;
    for (uint32_t i = 0; i < r->count; i++) {
        struct ring *ring = &r->rings[i];
        if (ring->consumer)
            munmap(ring->consumer, (size_t)page());
        if (ring->producer)
            munmap((void *)(uintptr_t)ring->producer, (size_t)page() + 2 * ((size_t)ring->mask + 1));
        if (ring->fd >= 0)
            close(ring->fd);
    }
    for (uint32_t i = 0; r->scratches && i < r->cpus; i++)
        if (r->scratches[i] >= 0)
            close(r->scratches[i]);
    if (r->shared)
        munmap(r->shared, shared_size());
    if (r->epoll >= 0)
        close(r->epoll);
    if (r->wake >= 0)
        close(r->wake);
    free(r->scratches);
    free(r->rings);
    free(r);
}

struct fl_probe_shared *fl_rings_shared(const struct fl_rings *r) { return r->shared; }

/* ---- waiting ---- */

static bool anything(const struct fl_rings *r)
{
    for (uint32_t i = 0; i < r->count; i++)
        if (__atomic_load_n(r->rings[i].producer, __ATOMIC_ACQUIRE) != r->rings[i].scan)
            return true;
    return false;
}

int fl_rings_wait(struct fl_rings *r)
{
    struct epoll_event ready[8];

    if (r->held) {              /* for the window to pass */
        nanosleep(&(struct timespec){.tv_nsec = FL_RING_WINDOW_NS}, NULL);
    } else if (++r->idle < SLEEP_AFTER) {
        epoll_wait(r->epoll, ready, 8, anything(r) ? 0 : POLL_MS);
    } else {
        __atomic_store_n(&r->shared->config.asleep, 1, __ATOMIC_SEQ_CST);
        if (!anything(r))       /* what was written before the probe saw it */
            epoll_wait(r->epoll, ready, 8, 1000);
        __atomic_store_n(&r->shared->config.asleep, 0, __ATOMIC_SEQ_CST);
    }
    return !__atomic_load_n(&r->closed, __ATOMIC_ACQUIRE);
}

void fl_rings_close(struct fl_rings *r)
{
    int before = errno;

    __atomic_store_n(&r->closed, 1, __ATOMIC_RELEASE);
    if (eventfd_write(r->wake, 1)) {
        /* it is full: whoever waits has been woken */
    }
    errno = before;
}

/* ---- reading ---- */

static void push(struct ring *ring, struct pending one)
{
    uint32_t i = ring->count++;

    for (; i && ring->ahead[(i - 1) / 2].ts > one.ts; i = (i - 1) / 2)
        ring->ahead[i] = ring->ahead[(i - 1) / 2];
    ring->ahead[i] = one;
}

static struct pending pop(struct ring *ring)
{
    struct pending top = ring->ahead[0], last = ring->ahead[--ring->count];
    uint32_t i = 0;

    for (;;) {
        uint32_t child = 2 * i + 1;
        if (child >= ring->count)
            break;
        if (child + 1 < ring->count && ring->ahead[child + 1].ts < ring->ahead[child].ts)
            child++;
        if (ring->ahead[child].ts >= last.ts)
            break;
        ring->ahead[i] = ring->ahead[child];
        i = child;
    }
    ring->ahead[i] = last;
    return top;
}

/* The kernel may overwrite what is before the first record that is still to be delivered. */
static void release(struct ring *ring)
{
    uint64_t oldest = ring->scan;

    for (uint32_t i = 0; i < ring->count; i++)
        if (ring->ahead[i].at < oldest)
            oldest = ring->ahead[i].at;
    if (oldest != ring->released) {
        ring->released = oldest;
        __atomic_store_n(ring->consumer, oldest, __ATOMIC_RELEASE);
    }
}

/* Looks ahead as far as there is room. */
static int fill(struct fl_rings *r, struct ring *ring, struct fl_error *error)
{
    while (ring->count < FL_RING_AHEAD && ring->scan < ring->end) {
        const uint8_t *header = ring->data + (ring->scan & ring->mask);
        uint32_t word = __atomic_load_n((const uint32_t *)(const void *)header, __ATOMIC_ACQUIRE);
        uint64_t len = word & ~(BUSY | DISCARDED), size = (len + HEADER + 7) & ~7ull, at = ring->scan;
        if (word & BUSY) {
            ring->end = ring->scan;     /* still being written: this pass ends here */
            break;
        }
        if (size > ring->end - at || size > ring->mask + 1)
            return fl_fail(error, FL_ERR_CAPTURE, "the ring buffer is corrupt at %llu: a record of %llu bytes", (unsigned long long)at,
                           (unsigned long long)len);
        ring->scan += size;
        if (word & DISCARDED)
            continue;
        struct fl_probe_sample sample;
        if (len >= sizeof sample + FL_RECORD_HEADER) {
            memcpy(&sample, header + HEADER, sizeof sample);
            if ((uint64_t)sample.record + sample.realpath <= len - sizeof sample && sample.record >= FL_RECORD_HEADER) {
                struct pending one = {.at = at, .len = (uint32_t)len};
                memcpy(&one.ts, header + HEADER + sizeof sample, 8);
                push(ring, one);
                continue;
            }
        }
        r->stats.malformed++;
    }
    return FL_OK;
}

static uint64_t lost_in_all(const struct fl_rings *r)
{
    uint64_t lost = 0;

    for (unsigned i = 0; i < FL_LOSS_KINDS; i++)
        lost += r->shared->counters.lost[i];
    return lost;
}

static void look_for_losses(struct fl_rings *r)
{
    _Static_assert(FL_EV_COUNT <= FL_PROBE_EVENTS, "the probe counts the losses of every event");
    uint64_t all = lost_in_all(r);
    size_t at = 0;
    int len;

    if (all == r->stats.lost)
        return;
    r->lost += all - r->stats.lost;
    r->stats.lost = all;
    r->stats.lost_ts = r->horizon + FL_RING_WINDOW_NS;
    r->lost_text[0] = 0;
    for (unsigned i = 0; i < FL_EV_COUNT; i++) {
        uint64_t count = r->shared->counters.lost_events[i], before = r->lost_events[i];
        r->lost_events[i] = count;
        if (count <= before)
            continue;
        len = snprintf(r->lost_text + at, sizeof r->lost_text - at, "%s%s=%llu", at ? " " : "", fl_events[i].name,
                       (unsigned long long)(count - before));
        if ((size_t)len < sizeof r->lost_text - at)
            at += (size_t)len;
        else
            r->lost_text[at] = 0;       /* rather none than the beginning of a number */
    }
}

/* What was lost, as an event of its own */
static int tell_losses(struct fl_rings *r, struct fl_event *event)
{
    *event = (struct fl_event){.num = ++r->stats.records, .ts = r->stats.lost_ts, .tid = -1, .type = FL_EV_LOST_E, .nparams = FL_NPARAMS(LOST_E),
                               .len = {8, 8, (uint32_t)strlen(r->lost_text) + 1},
                               .param = {(const uint8_t *)&r->lost, (const uint8_t *)&r->stats.lost, (const uint8_t *)r->lost_text}};
    int rc = fl_event_build(event, r->lost_record, sizeof r->lost_record);
    r->lost = 0;
    return rc ? 0 : 1;
}

void fl_rings_look(struct fl_rings *r)
{
    struct timespec now;

    clock_gettime(CLOCK_BOOTTIME, &now);
    r->horizon = r->shared->config.boot_ns + (uint64_t)now.tv_sec * 1000000000u + (uint64_t)now.tv_nsec - FL_RING_WINDOW_NS;
    for (uint32_t i = 0; i < r->count; i++)
        r->rings[i].end = __atomic_load_n(r->rings[i].producer, __ATOMIC_ACQUIRE);
    look_for_losses(r);
}

int fl_rings_next(struct fl_rings *r, struct fl_event *event, struct fl_error *error)
{
    if (r->lost && tell_losses(r, event))
        return 1;
    for (;;) {
        struct ring *first = NULL;
        r->held = false;
        if (r->since_release >= RELEASE_BYTES) {
            r->since_release = 0;
            for (uint32_t i = 0; i < r->count; i++)
                release(&r->rings[i]);
        }
        for (uint32_t i = 0; i < r->count; i++) {
            struct ring *ring = &r->rings[i];
            if (ring->count < FL_RING_AHEAD && ring->scan < ring->end && fill(r, ring, error))
                return FL_ERR_CAPTURE;
            if (ring->count && (!first || ring->ahead[0].ts < first->ahead[0].ts))
                first = ring;
        }
        if (!first || first->ahead[0].ts > r->horizon) {
            r->held = first != NULL;
            r->since_release = 0;
            for (uint32_t i = 0; i < r->count; i++)
                release(&r->rings[i]);
            return 0;
        }
        struct pending one = pop(first);
        const uint8_t *bytes = first->data + (one.at & first->mask) + HEADER;
        struct fl_probe_sample sample;
        memcpy(&sample, bytes, sizeof sample);
        r->idle = 0;
        r->stats.records++;
        r->records_of_cpu[sample.cpu & (FL_PROBE_CPUS - 1)]++;
        r->stats.bytes += one.len;
        r->since_release += one.len + HEADER;
        if ((uint64_t)sizeof sample + sample.record + sample.realpath > one.len
            || fl_event_decode(event, bytes + sizeof sample, sample.record)) {
            r->stats.malformed++;
            continue;
        }
        event->num = r->stats.records;
        event->cpu = sample.cpu;
        event->hidden = 0;
        event->unread = sample.unread;
        event->live = sample.flags;
        event->realpath = (struct fl_slice){(const char *)bytes + sizeof sample + sample.record, sample.realpath};
        return 1;
    }
}

struct fl_rings_stats fl_rings_get_stats(const struct fl_rings *r)
{
    struct fl_rings_stats stats = r->stats;

    stats.rings = r->count;
    stats.unread = r->shared->counters.unread;
    stats.skipped = r->shared->counters.skipped;
    stats.lost = lost_in_all(r);
    return stats;
}

uint32_t fl_rings_cpus(const struct fl_rings *r) { return r->cpus; }

uint64_t fl_rings_of_cpu(const struct fl_rings *r, uint32_t cpu) { return cpu < FL_PROBE_CPUS ? r->records_of_cpu[cpu] : 0; }
