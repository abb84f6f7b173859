/* SPDX-License-Identifier: Apache-2.0
 *
 * Records: taken apart, and put together.
 */
#include "decode.h"

int fl_event_decode(struct fl_event *event, const uint8_t *record, uint32_t size)
{
    uint64_t tid;
    uint32_t len, nparams;
    uint16_t type;

    if (size < FL_RECORD_HEADER)
        return -1;
    memcpy(&event->ts, record, 8);
    memcpy(&tid, record + 8, 8);
    memcpy(&len, record + 16, 4);
    memcpy(&type, record + 20, 2);
    memcpy(&nparams, record + 22, 4);
    if (len > size || len < FL_RECORD_HEADER || type >= FL_EV_COUNT || nparams > FL_MAX_PARAMS)
        return -1;

    const struct fl_event_info *info = &fl_events[type];
    const uint8_t *words = record + FL_RECORD_HEADER;
    uint32_t left = len - FL_RECORD_HEADER;
    if (info->flags & EF_LARGE_PAYLOAD ? fl_decode_params(event, words, 4, nparams, left) : fl_decode_params(event, words, 2, nparams, left))
        return -1;
    event->tid = (int64_t)tid;
    event->type = type;
    /* A newer schema may have appended parameters; nobody here knows what they are. */
    event->nparams = nparams < info->nparams ? nparams : info->nparams;
    event->record = record;
    event->size = len;
    fl_event_not_live(event);
    return 0;
}

uint64_t fl_param_short(const struct fl_event *ev, unsigned i, int is_signed)
{
    uint32_t len = fl_param_len(ev, i);
    uint64_t v = 0;

    if (len)
        memcpy(&v, ev->param[i], len);
    return is_signed && len && v >> (8 * len - 1) ? v | ~0ull << 8 * len : v;
}

int fl_event_build(struct fl_event *event, uint8_t *out, uint32_t room)
{
    uint32_t width = fl_events[event->type].flags & EF_LARGE_PAYLOAD ? 4 : 2;
    uint64_t size = FL_RECORD_HEADER + (uint64_t)width * event->nparams;

    for (uint32_t i = 0; i < event->nparams; i++) {
        if (width == 2 && event->len[i] > UINT16_MAX)
            return -1;
        size += event->len[i];
    }
    if (size > room)
        return -1;

    uint32_t len = (uint32_t)size;
    memcpy(out, &event->ts, 8);
    memcpy(out + 8, &event->tid, 8);
    memcpy(out + 16, &len, 4);
    memcpy(out + 20, &event->type, 2);
    memcpy(out + 22, &event->nparams, 4);
    uint8_t *word = out + FL_RECORD_HEADER;
    uint8_t *value = word + width * event->nparams;
    for (uint32_t i = 0; i < event->nparams; i++) {
        memcpy(word, &event->len[i], width);        /* little-endian: the low bytes come first */
        if (event->len[i])
            memcpy(value, event->param[i], event->len[i]);
        event->param[i] = value;
        word += width;
        value += event->len[i];
    }
    event->record = out;
    event->size = len;
    return 0;
}
