/* SPDX-License-Identifier: Apache-2.0
 *
 * The loop: pulls items from the capture reader, keeps the state, runs the program on what rules may see, and writes matches into a batch.
 * Nothing here allocates, locks or formats for an event that doesn't match.
 */
#include "engine.h"

#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "given.h"

int fl_to_text(fl_error_text *out, const struct fl_error *error)
{
    if (out) {
        out->code = error->code;
        memcpy(out->text, error->text, sizeof out->text);
    }
    return error->code;
}
_Static_assert(sizeof ((fl_error_text *)0)->text == sizeof ((struct fl_error *)0)->text, "the two are the same");

int fl_fail_text(fl_error_text *out, int code, const char *text)
{
    struct fl_error error;
    fl_fail(&error, code, "%s", text);
    return fl_to_text(out, &error);
}

fl_engine *fl_engine_new(const fl_engine_options *options, fl_regex_fn regex, void *handle, fl_error_text *error)
{
    fl_engine *e = calloc(1, sizeof *e);
    if (!e)
        goto out_of_memory;
    struct fl_state_limits limits = {.threads = options->threads, .fds = options->fds};
    e->strings = fl_strings_new();
    e->state = e->strings ? fl_state_new(e->strings, &limits) : NULL;
    e->scap = fl_scap_new();
    e->hostname = strdup(options->hostname ? options->hostname : "");
    if (!e->state || !e->scap || !e->hostname || fl_scratch_init(&e->scratch))
        goto out_of_memory;
    if (options->static_container)
        fl_state_static_container(e->state, options->static_container);
    e->accounts_wanted = fl_state_accounts_wanted(e->state);
    e->match_all = options->match_all;
    e->purge_interval = (options->purge_interval ? options->purge_interval : FL_PURGE_S) * 1000000000ull;
    e->purge_timeout = (options->purge_timeout ? options->purge_timeout : FL_PURGE_S) * 1000000000ull;
    e->regex = regex;
    e->handle = handle;
    e->view = (struct fl_view){.state = e->state, .scratch = &e->scratch, .source = "syscall", .hostname = e->hostname,
                              .base64 = options->base64 != 0};
    return e;

out_of_memory:
    fl_engine_free(e);
    fl_fail_text(error, FL_ERR_MEMORY, "out of memory");
    return NULL;
}

void fl_engine_free(fl_engine *e)
{
    if (!e)
        return;
    fl_vm_free(e->vm);
    fl_snapshot_free(e->snapshot);
    fl_document_run_free(e->documents);
    fl_scap_free(e->scap);
    fl_state_free(e->state);
    fl_strings_free(e->strings);
    fl_scratch_free(&e->scratch);
    fl_batch_free(&e->batch);
    fl_recorder_free(&e->recorder);
    free(e->hostname);
    free(e);
}

int fl_engine_set_program(fl_engine *e, const fl_program *program, fl_error_text *error)
{
    struct fl_error why = {0};
    struct fl_vm *vm = fl_vm_new(program, e->regex, e->handle, &why);
    if (!vm)
        return fl_to_text(error, &why);
    if ((e->profiling && fl_vm_profile(vm, true)) || (e->documents && fl_document_run_use(e->documents, program))) {
        fl_vm_free(vm);
        return fl_fail_text(error, FL_ERR_MEMORY, "out of memory");
    }
    fl_vm_free(e->vm);
    e->vm = vm;
    e->program = program;
    for (unsigned type = 0; type < FL_TYPE_COUNT; type++)
        e->wanted[type] = fl_program_wants(program, type);
    return FL_OK;
}

/* ---- one event ---- */

static bool fill_from_state(void *context, uint32_t slot, const struct fl_slot *row, struct fl_value *out)
{
    (void)slot;
    fl_engine *e = context;
    return fl_extractors[row->field](&e->view, &row->argument, out);
}

/* Whether what the state tells of an event's thread may be wrong: records were lost while it was there. */
static bool after_loss(const fl_engine *e)
{
    uint64_t lost_ts = e->rings ? fl_rings_get_stats(e->rings).lost_ts : 0;
    const struct fl_thread *thread = e->view.now ? e->view.now->thread : NULL;

    return lost_ts && (!thread || thread->clone_ts <= lost_ts);
}

static int emit(fl_engine *e, uint32_t rule, const struct fl_event *ev)
{
    uint32_t count;
    const uint16_t *slots = fl_program_outputs(e->program, rule, &count);
    if (e->documents && ev == &e->item.event)   /* without memory for it, the match has no record */
        (void)fl_document_run_record(e->documents, &e->scratch, &e->item.event);
    int rc = fl_batch_begin(&e->batch, rule, ev, after_loss(e));
    for (uint32_t i = 0; i < count && !rc; i++)
        rc = fl_batch_value(&e->batch, fl_vm_value(e->vm, slots[i]));
    if (rc || fl_batch_end(&e->batch, count, ev)) {
        e->batch.len = e->batch.match;          /* nobody may read half a match */
        return FL_ERR_MEMORY;
    }
    e->matches++;
    return FL_OK;
}

/* Writes the matches that the policy wants, the first rule or all, as far as the batch has room (or all of them): 2 = there are more. */
static int emit_pending(fl_engine *e, const struct fl_event *ev, bool whole, fl_error_text *error)
{
    uint32_t count;
    const uint32_t *rules = fl_vm_true(e->vm, &count);
    if (!e->match_all && count > 1)
        count = 1;
    while (e->pending < count) {
        if (!whole && fl_batch_full(&e->batch))
            return 2;
        if (emit(e, rules[e->pending++], ev))
            return fl_fail_text(error, FL_ERR_MEMORY, "out of memory");
    }
    return FL_OK;
}

/* Runs the section of the program for a type, and writes the matches as emit_pending does. */
int fl_engine_evaluate(fl_engine *e, unsigned type, fl_fill *fill, void *context, const struct fl_event *ev, bool whole, fl_error_text *error)
{
    struct fl_error why;
    int n = fl_vm_run(e->vm, type, fill, context, &e->scratch, &why);
    e->evaluated++;
    if (e->recording && e->recorder.options.selected && n >= 0) {
        e->selected = n > 0;
        return FL_OK;
    }
    e->pending = n > 0 ? 0 : UINT32_MAX;
    if (n == 0)
        return FL_OK;
    return n < 0 ? fl_to_text(error, &why) : emit_pending(e, ev, whole, error);
}

/* What the first events of a section begin with. */
static __attribute__((noinline)) void begin(fl_engine *e, const struct fl_event *ev)
{
    if (!e->tables_done) {
        fl_state_start(e->state);
        e->tables_done = e->opening = true;
    }
    e->opening = e->opening && fl_schema_opens_capture(ev->type);
    /* relative times count from the first event that isn't the recorder's own */
    if (!e->view.first_ts && !(fl_events[ev->type].category & EC_METAEVENT))
        e->view.first_ts = ev->ts;
    e->under_way = !e->opening && e->view.first_ts;
}

/* A section begins: its tables are still to come, or are there already. */
void fl_engine_begin_anew(fl_engine *e, bool tables_done)
{
    e->tables_done = tables_done;
    e->opening = e->under_way = false;
    e->view.first_ts = e->seen_ts = 0;
}

static inline void enter(fl_engine *e)
{
    const struct fl_event *ev = &e->item.event;
    if (__builtin_expect(e->recording, 0))
        fl_recorder_enter(&e->recorder, e->state, ev);
    if (__builtin_expect(!e->under_way, 0))
        begin(e, ev);
    e->visible = !ev->hidden && !e->opening && fl_schema_rules_see(ev->type);
    fl_scratch_reset(&e->scratch);
    e->last_ts = ev->ts;
    e->view.previous_ts = e->seen_ts;
    e->view.ev = ev;
    e->view.now = fl_state_apply(e->state, ev);
    e->entered = true;
}

/* A capture begins: what is known of this machine has no meaning for it. */
static void forget_machine(fl_engine *e)
{
    fl_state_look_up(e->state, NULL, NULL);
    fl_state_ask_accounts(e->state, false);
    e->view.hostname = e->hostname;
}

static int record_failed(fl_engine *e, fl_error_text *error)
{
    int code = e->recorder.error;
    e->recording = false;
    return fl_fail_text(error, code, code == FL_ERR_MEMORY ? "out of memory" : "the recording can't be written");
}

static int next_of_rings(fl_engine *e, struct fl_error *why)
{
    int rc = fl_rings_next(e->rings, &e->item.event, why);

    e->item.kind = rc > 0 ? FL_SCAP_EVENT : FL_SCAP_MORE;
    return rc < 0 ? rc : FL_OK;
}

/* Runs of events, since what the types cost differs and their order repeats. */
static bool is_own_share(const fl_engine *e) { return e->item.event.num / 64 % e->workers == e->worker; }

/* Whether the program is to be run on the current event. */
static inline bool is_wanted(const fl_engine *e)
{
    return e->wanted[e->item.event.type] && (e->workers <= 1 || is_own_share(e));
}

/* Advances to the next event that rules may see, or that is wanted. 1 = there is one, 0 = the bytes are used up. */
static inline __attribute__((always_inline)) int advance_to(fl_engine *e, const bool wanted, fl_error_text *error)
{
    struct fl_error why;        /* written where something is wrong: clearing it would cost each event 40 instructions */
    fl_engine_leave(e);
    if (e->documents)
        return fl_engine_next_document(e);
    for (;;) {
        if (__builtin_expect(e->recording, 0) && e->recorder.error)
            return record_failed(e, error);
        if (e->rings ? next_of_rings(e, &why) : fl_scap_next(e->scap, &e->item, &why))
            return fl_to_text(error, &why);
        switch (e->item.kind) {
        case FL_SCAP_MORE:
            return 0;
        case FL_SCAP_SECTION:
            if (e->recording)
                fl_recorder_section(&e->recorder, e->state);
            fl_state_reset(e->state);
            forget_machine(e);
            fl_engine_begin_anew(e, false);
            break;
        case FL_SCAP_EVENT:
            enter(e);
            if (e->visible && (!wanted || is_wanted(e)))
                return 1;
            fl_engine_leave(e);
            break;
        default:
            fl_state_item(e->state, &e->item);
            break;
        }
    }
}

static int advance(fl_engine *e, fl_error_text *error) { return advance_to(e, false, error); }

/* ---- the public interface ---- */

/* From time to time, what has ended unseen goes. Between two events. */
static void purge(fl_engine *e)
{
    if (fl_snapshot_purge(e->snapshot, e->last_ts, e->purge_interval, e->purge_timeout))
        fl_engine_forget_accounts(e);
}

int fl_engine_push(fl_engine *e, const void *bytes, size_t len)
{
    fl_engine_leave(e);         /* the current event's record may move */
    if (e->documents)
        return fl_document_run_push(e->documents, bytes, len) ? FL_ERR_MEMORY : FL_OK;
    purge(e);
    if (e->rings)
        fl_rings_look(e->rings);
    return fl_scap_push(e->scap, bytes, len);
}

int fl_engine_lend(fl_engine *e, const void *bytes, size_t len)
{
    if (e->documents || e->rings)
        return fl_engine_push(e, bytes, len);
    fl_engine_leave(e);
    purge(e);
    return fl_scap_lend(e->scap, bytes, len);
}

int fl_engine_share(fl_engine *e, uint32_t number, uint32_t of)
{
    if (number >= of)
        return FL_ERR_ARGUMENT;
    e->worker = number;
    e->workers = of;
    return FL_OK;
}

int fl_engine_run(fl_engine *e, fl_error_text *error)
{
    bool paused = e->pending == FL_PAUSED;
    if (paused)
        e->pending = UINT32_MAX;
    int rc = e->entered && e->vm ? emit_pending(e, &e->item.event, false, error) : FL_OK;
    if (rc)
        return rc;
    if (e->documents)
        return fl_engine_run_documents(e, error);
    while (paused || (rc = advance_to(e, true, error)) > 0) {
        if (__builtin_expect(*e->accounts_wanted, 0) && !paused) {
            e->pending = FL_PAUSED;
            return 3;
        }
        paused = false;
        rc = fl_engine_evaluate(e, e->item.event.type, fill_from_state, e, &e->item.event, false, error);
        if (rc)
            return rc;
        if (fl_batch_full(&e->batch) || (e->batch.matches && e->recording && e->recorder.options.pause))
            return 1;
    }
    return rc;
}

int fl_engine_step(fl_engine *e, fl_error_text *error)
{
    return advance(e, error);
}

int fl_engine_seek(fl_engine *e, uint64_t num, fl_error_text *error)
{
    int rc;
    do {
        rc = advance(e, error);
    } while (rc > 0 && e->item.event.num < num);
    return rc;
}

int fl_engine_record(fl_engine *e, const fl_record_options *options, fl_write_fn write, fl_error_text *error)
{
    (void)error;
    fl_engine_leave(e);
    e->selected = false;
    e->recording = write != NULL;
    if (e->recording)
        fl_recorder_begin(&e->recorder, options, write, e->handle);
    return FL_OK;
}

int fl_engine_record_flush(fl_engine *e, int finish, fl_error_text *error)
{
    if (!e->recording)
        return FL_OK;
    if (finish)
        fl_engine_leave(e);
    fl_recorder_flush(&e->recorder, e->state, finish);
    return e->recorder.error ? record_failed(e, error) : FL_OK;
}

fl_record_stats fl_engine_record_stats(const fl_engine *e) { return e->recorder.stats; }

int fl_engine_finish(fl_engine *e, fl_error_text *error)
{
    struct fl_error why = {0};
    if (e->documents)
        return FL_OK;           /* what was incomplete is counted */
    if (e->rings)
        return FL_OK;
    return fl_scap_finish(e->scap, &why) ? fl_to_text(error, &why) : FL_OK;
}

void fl_engine_close_rings(fl_engine *e)
{
    if (!e->rings)
        return;
    struct fl_rings_stats live = fl_rings_get_stats(e->rings);
    e->before = fl_engine_read_so_far(e);
    e->lost += live.lost;
    e->unread += live.unread;
    e->rings = NULL;
}

int fl_engine_rewind(fl_engine *e)
{
    fl_engine_leave(e);
    fl_engine_close_documents(e);
    struct fl_scap *fresh = fl_scap_new();
    if (!fresh)
        return FL_ERR_MEMORY;
    forget_machine(e);
    fl_engine_close_rings(e);
    e->before = fl_engine_read_so_far(e);
    fl_scap_free(e->scap);
    e->scap = fresh;
    fl_engine_batch_clear(e);   /* of what an error left behind */
    fl_engine_begin_anew(e, false);
    memset(&e->item, 0, sizeof e->item);
    return FL_OK;
}

int fl_engine_snapshot(fl_engine *e, const char *root, fl_loader *loader, fl_error_text *error)
{
    struct fl_error why = {0};
    fl_engine_leave(e);
    fl_snapshot_free(e->snapshot);
    e->snapshot = fl_snapshot_take(e->state, root, loader, &why);
    if (!e->snapshot)
        return fl_to_text(error, &why);
    fl_engine_begin_anew(e, true);
    if (!*e->hostname && fl_hostname(e->state))
        e->view.hostname = fl_hostname(e->state)->data;
    return FL_OK;
}

int fl_engine_look(fl_engine *e, int64_t tid, int64_t fd)
{
    static const int64_t result;
    fl_engine_leave(e);
    if (!fl_thread_ask(e->state, tid))
        return 0;
    struct timespec now;
    clock_gettime(CLOCK_REALTIME, &now);
    /* a call that changes nothing */
    struct fl_event *ev = &e->item.event;
    *ev = (struct fl_event){.ts = (uint64_t)now.tv_sec * 1000000000 + (uint64_t)now.tv_nsec, .tid = tid, .type = FL_EV_FSTAT_X, .nparams = 2,
                            .len = {8, fd < 0 ? 0 : 8}, .param = {(const uint8_t *)&result, (const uint8_t *)&fd}};
    if (fl_event_build(ev, e->look, sizeof e->look))
        return FL_ERR_ARGUMENT;
    uint64_t first_ts = e->view.first_ts, last_ts = e->last_ts;
    enter(e);
    e->view.first_ts = first_ts;
    e->under_way = e->under_way && first_ts;
    e->last_ts = last_ts;
    return 1;
}

int fl_engine_read_rings(fl_engine *e, fl_rings *rings)
{
    int rc = fl_engine_rewind(e);

    if (!rc)
        e->rings = rings;
    return rc;
}

int fl_engine_get(fl_engine *e, unsigned field, int has_index, int64_t index, const char *key)
{
    if (!e->entered || field >= FL_FIELD_COUNT)
        return FL_ERR_ARGUMENT;
    struct fl_field_argument argument = {.has_index = has_index != 0, .index = index, .has_key = key != NULL, .key = key ? key : "",
                                         .key_len = key ? (uint32_t)strlen(key) : 0};
    struct fl_value value = {.kind = FL_ABSENT};
    bool present = (e->documents && fl_document_run_get(e->documents, field, &argument, &e->scratch, &value)) ||
                   ((!e->documents || fl_fields[field].class_ == FL_CLASS_EVT_GENERIC) && fl_extract(&e->view, field, &argument, &value));
    if (!present)
        value.kind = FL_ABSENT;
    size_t before = e->batch.match = e->batch.len;
    if (!fl_batch_value(&e->batch, &value))
        return present;
    e->batch.len = before;
    return FL_ERR_MEMORY;
}

int fl_engine_current(fl_engine *e, fl_event_now *now)
{
    if (!e->entered)
        return FL_ERR_ARGUMENT;
    struct fl_event *ev = &e->item.event;
    if (e->documents && (fl_document_run_reserve(e->documents, &e->scratch) || fl_document_run_record(e->documents, &e->scratch, ev)))
        return FL_ERR_MEMORY;
    *now = (fl_event_now){.num = ev->num, .ts = ev->ts, .tid = ev->tid, .type = ev->type, .cpu = ev->cpu, .record = ev->record,
                          .size = ev->size};
    return FL_OK;
}

int fl_engine_match_values(fl_engine *e, unsigned type, uint64_t num, uint64_t ts, const void *values, size_t len, fl_error_text *error)
{
    if (type >= FL_TYPE_COUNT)
        return fl_fail_text(error, FL_ERR_ARGUMENT, "no such event type");
    if (!e->wanted[type])
        return FL_OK;
    fl_engine_leave(e);
    fl_scratch_reset(&e->scratch);
    struct fl_given given;
    struct fl_error why = {0};
    if (fl_given_read(&given, &e->scratch, values, len, fl_program_slots(e->program), &why))
        return fl_to_text(error, &why);
    struct fl_event ev = {.num = num, .ts = ts, .tid = -1, .type = type < FL_EV_COUNT ? (uint16_t)type : FL_EV_PLUGINEVENT_E};
    return fl_engine_evaluate(e, type, fl_given_fill, &given, &ev, true, error);
}

int fl_engine_ask_containers(fl_engine *e, int ask)
{
    fl_state_ask_containers(e->state, ask != 0);
    return FL_OK;
}

int fl_engine_wanted(fl_engine *e, char *ids, size_t size)
{
    return (int)fl_state_wanted(e->state, ids, size < INT32_MAX ? size : INT32_MAX);
}

int fl_engine_container(fl_engine *e, const char *json, size_t len)
{
    fl_engine_leave(e);
    fl_state_container(e->state, json, len);
    if (e->recording)
        fl_recorder_container(&e->recorder, (struct fl_slice){json, (uint32_t)len}, e->last_ts);
    return FL_OK;
}

int fl_engine_hosts(fl_engine *e, const uint8_t *rows, size_t len)
{
    fl_engine_leave(e);
    return fl_state_hosts(e->state, rows, len) ? FL_OK : FL_ERR_ARGUMENT;
}

const uint8_t *fl_engine_batch(fl_engine *e, size_t *len, uint32_t *matches)
{
    *len = e->batch.len;
    *matches = e->batch.matches;
    return e->batch.data;
}

void fl_engine_batch_clear(fl_engine *e)
{
    e->batch.len = 0;
    e->batch.matches = 0;
}

fl_program *fl_program_load(const void *bytes, size_t len, fl_error_text *error)
{
    struct fl_error why = {0};
    struct fl_program *program = fl_program_new(bytes, len, &why);
    if (!program)
        fl_to_text(error, &why);
    return program;
}

void fl_program_free(fl_program *program) { fl_program_delete(program); }

int fl_program_needs(const fl_program *program, unsigned event) { return fl_program_wants(program, event); }
