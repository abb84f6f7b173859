/* SPDX-License-Identifier: Apache-2.0
 *
 * libFuzzer target of the ring reader: the input is what stands in the rings, as if a kernel that can't be trusted had written it. All that is
 * delivered is touched. The first byte tells how many rings there are, how large, and whether the records go over a ring's end; the second
 * how many events were lost. tests/test_live_fuzz.py builds it and makes its seeds.
 */
#include "../ring.c"
#include "../record.c"

static volatile uint64_t touched;

static void touch(const void *data, size_t len)
{
    const uint8_t *bytes = data;
    uint64_t sum = 0;

    for (size_t i = 0; i < len; i++)
        sum += bytes[i];
    touched += sum;
}

static void check(bool holds)
{
    if (!holds)
        abort();
}

struct memory { uint64_t consumer, producer; uint8_t *data; };

/* Takes what there is: how many records. False: the rings are corrupt. */
static bool drain(struct fl_rings *r, uint64_t most, uint64_t *total)
{
    struct fl_event event = {0};
    struct fl_error error = {0};
    int rc;

    fl_rings_look(r);
    while ((rc = fl_rings_next(r, &event, &error)) == 1) {
        check(++*total <= most);
        for (uint32_t i = 0; i < event.nparams; i++)
            touch(event.param[i], event.len[i]);
        touch(event.record, event.size);
        touch(event.realpath.data, event.realpath.len);
    }
    check(rc == 0 || (rc == FL_ERR_CAPTURE && error.text[0]));
    return rc == 0;
}

int LLVMFuzzerTestOneInput(const uint8_t *input, size_t size)
{
    if (size < 2)
        return 0;
    uint32_t count = 1 + (input[0] & 1), bytes = 4096u << (input[0] >> 1 & 1);
    struct memory memory[2] = {0};
    struct ring rings[2];
    struct fl_probe_shared *shared = calloc(1, sizeof *shared);
    struct fl_rings *r = calloc(1, sizeof *r);
    uint64_t start = input[0] & 4 ? bytes - 64 : 0, total = 0;
    size_t share = (size - 2) / count;

    if (share > bytes)
        share = bytes;
    memset(rings, 0, sizeof rings);
    shared->config.boot_ns = UINT64_MAX / 2;            /* all records are old enough but those of the far future */
    shared->counters.lost[0] = shared->counters.lost_events[input[1]] = input[1];
    r->shared = shared;
    r->rings = rings;
    r->count = count;
    for (uint32_t i = 0; i < count; i++) {
        /* twice in a row, as it is mapped */
        memory[i].data = calloc(2, bytes);
        for (size_t n = 0; n < share; n++) {
            memory[i].data[(start + n) % bytes] = input[2 + i * share + n];
            memory[i].data[(start + n) % bytes + bytes] = input[2 + i * share + n];
        }
        memory[i].producer = start + share / 2 / 8 * 8;
        rings[i] = (struct ring){.fd = -1, .consumer = &memory[i].consumer, .producer = &memory[i].producer, .data = memory[i].data,
                                 .mask = bytes - 1, .scan = start, .released = start};
    }
    uint64_t most = count * (bytes / 8) + 2;
    bool sound = drain(r, most, &total);
    for (uint32_t i = 0; i < count; i++)                /* then the rest */
        memory[i].producer = start + share / 8 * 8;
    if (sound)
        drain(r, most, &total);
    for (uint32_t i = 0; i < count; i++) {
        check(memory[i].consumer <= memory[i].producer);
        free(memory[i].data);
    }
    free(shared);
    free(r);
    return 0;
}
