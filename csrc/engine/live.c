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
    config->event[abi][number] = wanted[id] ? fl_syscalls[id].event : 0;
}

void fl_live_choose(fl_rings *rings, const uint8_t *wanted)
{
    struct fl_probe_config *config = &fl_rings_shared(rings)->config;

    for (unsigned id = 0; id < FL_SC_LIMIT; id++)
        if (fl_syscalls[id].name && NUMBER(&fl_syscalls[id]) >= 0)
            choose(config, FL_ABI_NATIVE, (unsigned)NUMBER(&fl_syscalls[id]), id, wanted);
    for (unsigned number = 0; number < FL_PROBE_CALLS; number++)
        if (ia32[number])
            choose(config, FL_ABI_IA32, number, ia32[number], wanted);
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
    config->drop_failed = options->drop_failed;
    return rings;
}

int fl_live_wait(fl_rings *rings) { return fl_rings_wait(rings); }
void fl_live_close(fl_rings *rings) { fl_rings_close(rings); }
void fl_live_free(fl_rings *rings) { fl_rings_free(rings); }

fl_live_stats fl_live_get_stats(const fl_rings *rings)
{
    struct fl_rings_stats s = fl_rings_get_stats(rings);

    return (fl_live_stats){.records = s.records, .malformed = s.malformed, .bytes = s.bytes, .lost = s.lost, .unread = s.unread,
                           .rings = s.rings};
}
