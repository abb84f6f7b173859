/* SPDX-License-Identifier: Apache-2.0 */
#include "record.h"

#include <stdlib.h>

#define FL_CONTAINER_MAX (8u << 20)     /* bytes of a record; half of what the reader takes */

void fl_recorder_begin(struct fl_recorder *r, const fl_record_options *options, fl_write_fn write, void *handle)
{
    r->options = *options;
    r->write = write;
    r->handle = handle;
    r->active = r->tables_due = true;
    r->in_section = r->begun = false;
    r->error = FL_OK;
    r->file_bytes = r->file_events = 0;
    r->out.len = 0;
    r->out.code = 0;
    r->out.failed = false;
    r->stats = (fl_record_stats){0};
}

void fl_recorder_free(struct fl_recorder *r) { fl_scap_writer_free(&r->out); }

static void stop(struct fl_recorder *r, int error)
{
    r->active = false;
    r->error = error;
    fl_scap_writer_free(&r->out);
}

static void deliver(struct fl_recorder *r)
{
    fl_scap_write_close(&r->out);
    if (r->out.failed) {
        stop(r, FL_ERR_MEMORY);
    } else if (r->out.len) {
        size_t len = r->out.len;
        r->out.len = 0;
        r->stats.bytes += len;
        if (r->write(r->handle, r->out.data, len) < 0)
            stop(r, FL_ERR_EXTENSION);
    }
}

static void put_item(void *context, const struct fl_scap_item *item)
{
    struct fl_recorder *r = context;
    size_t before = r->out.len;

    if (!r->active)
        return;
    fl_scap_write_item(&r->out, item);
    r->file_bytes += r->out.len - before;
    /* Between blocks that others may follow in kind; a list of users is one block. */
    if (r->out.len >= FL_RECORD_BYTES && (item->kind == FL_SCAP_PROCESS || item->kind == FL_SCAP_FD))
        deliver(r);
}

static void put_event(struct fl_recorder *r, const struct fl_event *ev, bool hidden)
{
    size_t before = r->out.len;

    fl_scap_write_event(&r->out, ev, hidden);
    r->file_bytes += r->out.len - before;
    r->file_events += !hidden;
    r->stats.events += !hidden;
    r->stats.hidden += hidden;
    if (r->out.len >= FL_RECORD_BYTES || r->out.failed)
        deliver(r);
}

/* An event that tells of a container, hidden. One that is too long for its block is left out. */
static void container(struct fl_recorder *r, struct fl_slice json, uint64_t ts)
{
    struct fl_event ev = {.ts = ts, .tid = -1, .type = FL_EV_CONTAINER_JSON_2_E, .nparams = 1};
    uint64_t room = FL_RECORD_HEADER + 4 + (uint64_t)json.len + 1;
    uint8_t *text = r->active && room < FL_CONTAINER_MAX ? malloc(json.len + 1 + room) : NULL;

    if (!text)
        return;
    memcpy(text, json.data, json.len);
    text[json.len] = '\0';
    ev.len[0] = json.len + 1;
    ev.param[0] = text;
    if (fl_event_build(&ev, text + json.len + 1, (uint32_t)room) == 0)
        put_event(r, &ev, true);
    free(text);
}

#define ACCOUNT_MAX (FL_RECORD_HEADER + 64 + 4 * 2048u) /* bytes of a record: four texts, each cut after 1,024 bytes */

/* The same of a user or a group of a container. */
static void account(struct fl_recorder *r, struct fl_slice container, bool users, bool gone, const struct fl_account *account, uint64_t ts)
{
    struct fl_event ev = {.ts = ts, .tid = -1};
    uint8_t record[ACCOUNT_MAX];
    char texts[4][2048];
    uint32_t n = 0;

    _Static_assert(FL_P(USER_ADDED_E, uid) == 0 && FL_P(USER_ADDED_E, gid) == 1 && FL_P(USER_DELETED_E, container_id) == 5 &&
                   FL_P(GROUP_ADDED_E, gid) == 0 && FL_P(GROUP_ADDED_E, name) == 1 && FL_P(GROUP_DELETED_E, container_id) == 2, "accounts");
    if (!r->active)
        return;
    ev.type = users ? gone ? FL_EV_USER_DELETED_E : FL_EV_USER_ADDED_E : gone ? FL_EV_GROUP_DELETED_E : FL_EV_GROUP_ADDED_E;
    const struct fl_slice told[] = {account->name, account->home, account->shell, container};
    const uint32_t numbers[] = {account->id, account->gid};
    for (unsigned i = 0; i < (users ? 2 : 1); i++, n++) {
        ev.len[n] = sizeof numbers[i];
        ev.param[n] = (const uint8_t *)&numbers[i];
    }
    for (unsigned i = 0; i < 4; i++) {
        if (!users && (i == 1 || i == 2))
            continue;           /* a group has no home and no shell */
        uint32_t len = told[i].len < sizeof texts[i] ? told[i].len : sizeof texts[i] - 1;
        memcpy(texts[i], told[i].data, len);
        texts[i][len] = '\0';
        ev.len[n] = len + 1;
        ev.param[n++] = (const uint8_t *)texts[i];
    }
    ev.nparams = n;
    if (fl_event_build(&ev, record, sizeof record) == 0)
        put_event(r, &ev, true);
}

struct containers { struct fl_recorder *recorder; uint64_t ts; };

static void put_container(void *context, struct fl_slice json)
{
    const struct containers *c = context;
    container(c->recorder, json, c->ts);
}

void fl_recorder_container(struct fl_recorder *r, struct fl_slice json, uint64_t ts)
{
    if (!r->tables_due)         /* else the tables will tell it */
        container(r, json, ts);
}

static void put_account(void *context, struct fl_slice container, bool users, bool gone, const struct fl_account *told)
{
    const struct containers *c = context;
    account(c->recorder, container, users, gone, told, c->ts);
}

void fl_recorder_account(struct fl_recorder *r, struct fl_slice container, bool users, bool gone, const struct fl_account *told, uint64_t ts)
{
    if (!r->tables_due)
        account(r, container, users, gone, told, ts);
}

static void put_tables(struct fl_recorder *r, struct fl_state *state, uint64_t ts)
{
    r->tables_due = r->begun = false;
    r->stats.sections++;
    fl_state_settle(state);
    fl_state_dump(state, put_item, r);
    fl_state_dump_containers(state, put_container, &(struct containers){r, ts});
    fl_state_dump_accounts(state, put_account, &(struct containers){r, ts});
}

void fl_recorder_section(struct fl_recorder *r, struct fl_state *state)
{
    if (r->active && r->in_section && r->tables_due)
        put_tables(r, state, 0);
    r->in_section = r->tables_due = true;
}

void fl_recorder_enter(struct fl_recorder *r, struct fl_state *state, const struct fl_event *ev)
{
    if (!r->active)
        return;
    if (r->tables_due) {
        put_tables(r, state, ev->ts);
        r->file_begin = ev->ts;
    }
    r->needed = !r->options.selected || fl_state_needs(state, ev);
}

/* The file is full: the callback begins another, goes on with this one, or there is no more. */
static void next_file(struct fl_recorder *r, uint64_t ts)
{
    deliver(r);
    if (!r->active)
        return;
    int answer = r->write(r->handle, NULL, 0);
    if (answer != 0 && answer != 2) {
        stop(r, answer < 0 ? FL_ERR_EXTENSION : FL_OK);
        return;
    }
    r->tables_due = answer == 0;
    r->file_bytes = r->file_events = 0;
    r->file_begin = ts;
}

void fl_recorder_leave(struct fl_recorder *r, const struct fl_event *ev, bool selected)
{
    const fl_record_options *limits = &r->options;

    if (!r->active)
        return;
    selected |= !limits->selected;
    /* Relative times count from the first event that isn't the recorder's own: it stays, if hidden. */
    if (!r->begun && !(fl_events[ev->type].category & EC_METAEVENT))
        r->begun = r->needed = true;
    if (selected)
        put_event(r, ev, ev->hidden);
    else if (r->needed)
        put_event(r, ev, true);
    else
        r->stats.left_out++;
    if (r->active && ((limits->events && r->file_events >= limits->events) || (limits->bytes && r->file_bytes >= limits->bytes) ||
                      (limits->ns && ev->ts >= r->file_begin && ev->ts - r->file_begin >= limits->ns)))
        next_file(r, ev->ts);
}

void fl_recorder_flush(struct fl_recorder *r, struct fl_state *state, bool finish)
{
    if (r->active && finish && r->tables_due && r->file_bytes == 0 && r->stats.sections == 0)
        put_tables(r, state, 0);
    if (r->active)
        deliver(r);
}
