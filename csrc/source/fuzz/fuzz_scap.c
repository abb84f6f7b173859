/* SPDX-License-Identifier: Apache-2.0
 *
 * libFuzzer target of the capture reader: pushes the input in chunks of varying size, pulls all items, and touches every byte that an item
 * points to. The first byte of the input decides how the chunks vary. tests/test_scap_fuzz.py builds it and makes its seeds.
 */
#include <stdlib.h>

#include "../scap.h"

static volatile uint64_t sink;

static void touch(const void *data, size_t len)
{
    const uint8_t *bytes = data;
    uint64_t sum = 0;
    for (size_t i = 0; i < len; i++)
        sum += bytes[i];
    sink += sum;
}

static void touch_slice(struct fl_slice s)
{
    touch(s.data, s.len);
}

static void check(int holds)
{
    if (!holds)
        abort();
}

static void touch_item(const struct fl_scap_item *item, uint64_t *num)
{
    switch (item->kind) {
    case FL_SCAP_EVENT: {
        const struct fl_event *ev = &item->event;
        struct fl_event again;
        check(ev->type < FL_EV_COUNT && ev->nparams <= fl_events[ev->type].nparams && ev->size >= FL_RECORD_HEADER);
        check(ev->num == ++*num);
        touch(ev->record, ev->size);
        for (uint32_t i = 0; i < ev->nparams; i++) {
            check(ev->param[i] + ev->len[i] <= ev->record + ev->size);
            touch(ev->param[i], ev->len[i]);
            touch_slice(fl_param_text(ev, i));
            sink += (uint64_t)fl_param_i64(ev, i);
        }
        /* The record is what the event says it is. */
        check(fl_event_decode(&again, ev->record, ev->size) == 0);
        check(again.ts == ev->ts && again.tid == ev->tid && again.type == ev->type && again.nparams == ev->nparams);
        for (uint32_t i = 0; i < ev->nparams; i++)
            check(again.len[i] == ev->len[i] && again.param[i] == ev->param[i]);
        break;
    }
    case FL_SCAP_MACHINE:
        touch_slice(item->machine.hostname);
        break;
    case FL_SCAP_PROCESS: {
        const struct fl_scap_process *p = &item->process;
        touch(p, sizeof *p);
        touch_slice(p->comm);
        touch_slice(p->exe);
        touch_slice(p->exepath);
        touch_slice(p->args);
        touch_slice(p->cwd);
        touch_slice(p->env);
        touch_slice(p->cgroups);
        touch_slice(p->root);
        break;
    }
    case FL_SCAP_FD:
        touch(&item->fd, sizeof item->fd);
        touch_slice(item->fd.name);
        break;
    case FL_SCAP_INTERFACE:
        touch(&item->interface, sizeof item->interface);
        touch_slice(item->interface.name);
        break;
    case FL_SCAP_USER:
        touch_slice(item->user.name);
        touch_slice(item->user.home);
        touch_slice(item->user.shell);
        break;
    case FL_SCAP_GROUP:
        touch_slice(item->group.name);
        break;
    default:
        break;
    }
}

/* A hash of the chunk's number: sizes from 1 byte to about 4 KiB. */
static size_t chunk_size(uint8_t how, uint32_t n)
{
    if (how == 0)
        return SIZE_MAX;
    uint32_t hash = (n + how) * 2654435761u;
    return 1 + (hash >> 20) % (how < 64 ? 16 : 4096);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct fl_scap_item item;
    struct fl_error error = {0};
    struct fl_scap *scap = fl_scap_new();
    uint64_t num = 0;
    int result = FL_OK;

    if (!scap || size == 0) {
        fl_scap_free(scap);
        return 0;
    }
    uint8_t how = data[0];
    data++;
    size--;
    for (uint32_t n = 0; size > 0 && result == FL_OK; n++) {
        size_t chunk = chunk_size(how, n);
        if (chunk > size)
            chunk = size;
        /* A copy of its own, so that reading past a chunk is seen. */
        void *copy = malloc(chunk);
        memcpy(copy, data, chunk);
        int lend = (how ^ n) & 1;
        check((lend ? fl_scap_lend : fl_scap_push)(scap, copy, chunk) == FL_OK);
        if (!lend)
            free(copy);
        data += chunk;
        size -= chunk;
        while ((result = fl_scap_next(scap, &item, &error)) == FL_OK && item.kind != FL_SCAP_MORE)
            touch_item(&item, &num);
        if (lend)
            free(copy);
    }
    if (result == FL_OK)
        result = fl_scap_finish(scap, &error);
    if (result != FL_OK) {
        /* An error has a text, and stays. */
        struct fl_error same = {0};
        check(result == FL_ERR_CAPTURE && error.code == result && error.text[0]);
        check(fl_scap_next(scap, &item, &same) == result && strcmp(same.text, error.text) == 0);
        check(fl_scap_finish(scap, &same) == result && strcmp(same.text, error.text) == 0);
    }
    struct fl_scap_stats stats = fl_scap_get_stats(scap);
    check(stats.events == num && stats.records >= stats.events && stats.blocks >= stats.records);
    fl_scap_free(scap);
    return 0;
}
