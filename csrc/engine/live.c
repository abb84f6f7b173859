/* SPDX-License-Identifier: Apache-2.0
 *
 * The public side of the rings: the probe is told what is wanted. How an engine reads from them is in engine.c.
 */
#include <string.h>
#include <time.h>

#include "../falcolib.h"
#include "../schema/schema.h"
#include "../source/load.h"
#include "../source/ring.h"
#include "../state/transitions.h"

#if defined(__x86_64__)
#define NUMBER(row) ((row)->x86_64)
#elif defined(__aarch64__)
#define NUMBER(row) ((row)->aarch64)
#else
#define NUMBER(row) (-1)
#endif

static const uint16_t ia32[FL_PROBE_CALLS] = {
#define IA32(number, name) [number] = FL_SC_##name,
#include "../schema/ia32.def"
#undef IA32
};

#define IA32_SOCKETCALL 102

static const uint16_t socketcalls[FL_SOCKETCALLS] = {
#define SOCKETCALL(number, call, event) [number] = FL_SC_##call,
#include "../schema/socketcall.def"
#undef SOCKETCALL
};

static uint64_t wall_clock_at_boot(void)
{
    struct timespec wall, boot;

    clock_gettime(CLOCK_REALTIME, &wall);
    clock_gettime(CLOCK_BOOTTIME, &boot);
    return (uint64_t)(wall.tv_sec - boot.tv_sec) * 1000000000u + (uint64_t)wall.tv_nsec - (uint64_t)boot.tv_nsec;
}

static void choose(struct fl_probe_config *config, unsigned abi, unsigned number, unsigned id, const uint8_t *wanted)
{
    if (number >= FL_PROBE_CALLS)
        return;
    config->portable[abi][number] = (uint16_t)id;
    config->call[number].event[abi] = wanted[id] ? fl_syscalls[id].event : 0;
}

/* Calls with these outcomes change nothing that is known of processes. */
static uint8_t idle_outcomes(unsigned type)
{
    switch (type) {
    case FL_EV_CONNECT_X:       /* it may be in progress */
    case FL_EV_BRK_4_X:
    case FL_EV_MMAP_X:
    case FL_EV_MMAP2_X:
    case FL_EV_MUNMAP_X:        /* they tell how much memory there is also when they fail */
        return 0;
    default:
        return FL_SKIP_FAILED | FL_SKIP_FAILED_LOOK | (fl_transitions[type] ? 0 : FL_SKIP_SUCCEEDED);
    }
}

void fl_live_choose(fl_rings *rings, const fl_live_needs *needs)
{
    struct fl_probe_config *config = &fl_rings_shared(rings)->config;
    const uint8_t *wanted = needs->calls;

    config->guarded = needs->guarded;
    config->realpath = needs->realpath;
    for (unsigned type = 0; type < FL_EV_COUNT; type++)
        config->skip[type] = (uint8_t)(~needs->outcomes[type] | (needs->drop_failed ? FL_SKIP_FAILED : 0)) & idle_outcomes(type);
    for (unsigned id = 0; id < FL_SC_LIMIT; id++)
        if (fl_syscalls[id].name && NUMBER(&fl_syscalls[id]) >= 0)
            choose(config, FL_ABI_NATIVE, (unsigned)NUMBER(&fl_syscalls[id]), id, wanted);
    for (unsigned number = 0; number < FL_PROBE_CALLS; number++)
        if (ia32[number])
            choose(config, FL_ABI_IA32, number, ia32[number], wanted);
    for (unsigned number = 0; number < FL_SOCKETCALLS; number++) {
        uint16_t id = socketcalls[number];
        config->socketcall[number] = id && wanted[id] ? fl_syscalls[id].event : 0;
        if (config->socketcall[number] && !config->call[IA32_SOCKETCALL].event[FL_ABI_IA32])
            config->call[IA32_SOCKETCALL].event[FL_ABI_IA32] = FL_PROBE_APART;
    }
}

static int to_text(fl_error_text *text, const struct fl_error *error)
{
    text->code = error->code;
    memcpy(text->text, error->text, sizeof text->text);
    return error->code;
}

fl_loader *fl_loader_open(const void *object, size_t size, fl_error_text *text)
{
    struct fl_error error = {0};
    struct fl_loader *loader = fl_loader_new(object, size, &error);

    if (!loader)
        to_text(text, &error);
    return loader;
}

int fl_loader_choose(fl_loader *loader, const uint8_t *wanted, fl_error_text *text)
{
    struct fl_error error = {0};
    uint8_t events[FL_EV_COUNT] = {0};

    for (unsigned id = 0; id < FL_SC_LIMIT; id++)
        if (fl_syscalls[id].name && wanted[id])
            events[fl_syscalls[id].event] = 1;
    return fl_loader_handlers(loader, events, FL_EV_COUNT, &error) ? to_text(text, &error) : FL_OK;
}

int fl_loader_start(fl_loader *loader, const char *program, fl_error_text *text)
{
    struct fl_error error = {0};

    return fl_loader_attach(loader, program, &error) ? to_text(text, &error) : FL_OK;
}

int fl_loader_runs(const fl_loader *loader, unsigned n, fl_program_runs *out)
{
    *out = (fl_program_runs){0};
    int program = fl_loader_program(loader, n, out->name);
    return program >= 0 && (fl_loader_ran(program, &out->runs, &out->ns), 1);
}

fl_rings *fl_live_open(const fl_live_options *options, fl_error_text *text)
{
    struct fl_error error = {0};
    struct fl_rings_options open = {.rings_map = options->rings_map, .scratches_map = options->scratches_map, .shared_map = options->shared_map,
                                    .buffer_bytes = options->buffer_bytes, .cpus_for_each_buffer = options->cpus_for_each_buffer};
    struct fl_rings *rings = fl_rings_new(&open, &error);

    if (!rings) {
        to_text(text, &error);
        return NULL;
    }
    struct fl_probe_config *config = &fl_rings_shared(rings)->config;
    config->boot_ns = wall_clock_at_boot();
    config->snaplen = options->snaplen;
    return rings;
}

int fl_live_compat(const fl_rings *rings) { return fl_rings_shared(rings)->counters.compat != 0; }
int fl_live_wait(fl_rings *rings) { return fl_rings_wait(rings); }
void fl_live_close(fl_rings *rings) { fl_rings_close(rings); }
void fl_live_free(fl_rings *rings) { fl_rings_free(rings); }

fl_live_stats fl_live_get_stats(const fl_rings *rings)
{
    struct fl_rings_stats s = fl_rings_get_stats(rings);

    return (fl_live_stats){.records = s.records, .malformed = s.malformed, .bytes = s.bytes, .lost = s.lost, .unread = s.unread, .skipped = s.skipped,
                           .rings = s.rings};
}

void fl_live_count(const fl_rings *rings, fl_live_counts *out)
{
    const struct fl_probe_counters *counters = &fl_rings_shared((fl_rings *)(uintptr_t)rings)->counters;
    struct fl_rings_stats s = fl_rings_get_stats(rings);

    *out = (fl_live_counts){.records = s.records, .lost = s.lost, .ring_full = counters->lost[FL_LOSS_RING],
                            .no_scratch = counters->lost[FL_LOSS_SCRATCH], .not_called = counters->lost[FL_LOSS_TAIL], .malformed = s.malformed,
                            .cpus = fl_rings_cpus(rings)};
    _Static_assert(sizeof out->events == sizeof counters->lost_events && sizeof out->cpu_lost == sizeof counters->lost_cpus, "as the probe counts");
    memcpy(out->events, counters->lost_events, sizeof out->events);
    memcpy(out->cpu_lost, counters->lost_cpus, sizeof out->cpu_lost);
    for (uint32_t cpu = 0; cpu < FL_PROBE_CPUS; cpu++)
        out->cpu_records[cpu] = fl_rings_of_cpu(rings, cpu);
}
