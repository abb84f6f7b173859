/* SPDX-License-Identifier: Apache-2.0 */
#include <stdlib.h>
#include <time.h>

#include "../fields/points.h"
#include "engine.h"

/* Scratch bytes for each byte of a document: a list's value takes 32 bytes, its text in the document 2 at least, and lists grow by doubling. */
#define SCRATCH_PER_BYTE 40u

struct fl_document_run {
    unsigned source;
    struct fl_documents *reader;
    struct fl_points *points;
    struct fl_document document;
    uint64_t num, undated;
};

static struct fl_document_run *run_new(unsigned source, size_t limit, size_t text)
{
    struct fl_document_run *run = calloc(1, sizeof *run);
    if (!run)
        return NULL;
    run->source = source;
    run->reader = fl_documents_new(limit, text);
    run->points = fl_points_new(source, 0);
    if (run->reader && run->points)
        return run;
    fl_document_run_free(run);
    return NULL;
}

void fl_document_run_free(struct fl_document_run *run)
{
    if (!run)
        return;
    fl_documents_free(run->reader);
    fl_points_free(run->points);
    free(run);
}

int fl_document_run_use(struct fl_document_run *run, const struct fl_program *program)
{
    uint32_t slots = fl_program_slots(program);
    struct fl_points *points = fl_points_new(run->source, slots);
    for (uint32_t i = 0; i < slots && points; i++) {
        const struct fl_slot *slot = fl_program_slot(program, i);
        if (!slot->transform && fl_points_add(points, i, slot->field, &slot->argument)) {
            fl_points_free(points);
            points = NULL;
        }
    }
    if (!points)
        return -1;
    fl_points_free(run->points);
    run->points = points;
    return 0;
}

int fl_document_run_push(struct fl_document_run *run, const void *bytes, size_t len) { return fl_documents_push(run->reader, bytes, len); }

/* Whether there is another document; its number and time go to the event, whose record is empty. */
static bool run_next(struct fl_document_run *run, struct fl_event *event)
{
    uint64_t ts;
    struct fl_document_paths *paths = fl_points_paths(run->points);

    if (!fl_documents_next(run->reader, paths, &run->document))
        return false;
    if (!fl_document_time(paths, &ts)) {
        struct timespec now;
        clock_gettime(CLOCK_REALTIME, &now);
        ts = (uint64_t)now.tv_sec * 1000000000u + (uint64_t)now.tv_nsec;
        run->undated++;
    }
    fl_points_begin(run->points, &run->document, ts);
    event->num = ++run->num;
    event->ts = ts;
    event->tid = -1;
    event->type = FL_EV_PLUGINEVENT_E;
    event->cpu = 0;
    event->hidden = 0;
    event->nparams = 0;
    event->record = NULL;
    event->size = 0;
    return true;
}

int fl_document_run_reserve(const struct fl_document_run *run, struct fl_scratch *scratch)
{
    return scratch->used ? 0 : fl_scratch_reserve(scratch, run->document.len * SCRATCH_PER_BYTE);
}

bool fl_document_run_get(struct fl_document_run *run, unsigned field, const struct fl_field_argument *argument, struct fl_scratch *scratch,
                         struct fl_value *out)
{
    struct fl_points *points = fl_points_new(run->source, 1);
    const char *end = run->document.s + run->document.len;
    bool found = points && !fl_points_add(points, 0, field, argument) && fl_points_has(points, 0) &&
                 fl_json_paths_scan(fl_points_paths(points)->paths, run->document.s, end);
    uint64_t ts = 0;
    if (found) {
        fl_document_time(fl_points_paths(points), &ts);
        fl_points_begin(points, &run->document, ts);
        found = fl_points_value(points, 0, scratch, out);
    }
    fl_points_free(points);
    return found;
}

int fl_document_run_record(const struct fl_document_run *run, struct fl_scratch *scratch, struct fl_event *event)
{
    uint32_t id = fl_documents_info[run->source].plugin_id;
    if (event->size)
        return 0;               /* it is made */
    size_t room = FL_RECORD_HEADER + 2 * sizeof(uint32_t) + sizeof id + run->document.len;
    uint8_t *record = room <= UINT32_MAX ? fl_scratch_take(scratch, room) : NULL;
    if (!record)
        return -1;
    event->nparams = 2;
    event->param[0] = (const uint8_t *)&id;
    event->len[0] = sizeof id;
    event->param[1] = (const uint8_t *)run->document.s;
    event->len[1] = (uint32_t)run->document.len;
    return fl_event_build(event, record, (uint32_t)room);
}

struct fl_documents_stats fl_document_run_stats(const struct fl_document_run *run, struct fl_documents_stats before)
{
    if (!run)
        return before;
    struct fl_documents_stats now = fl_documents_get_stats(run->reader);
    before.bytes += now.bytes;
    before.documents += now.documents;
    before.undated += run->undated;
    for (unsigned i = 0; i < FL_FAULT_KINDS; i++)
        before.faults[i] += now.faults[i];
    return before;
}

/* ---- the engine's calls ---- */

int fl_engine_next_document(fl_engine *e)
{
    if (!run_next(e->documents, &e->item.event))
        return 0;
    const struct fl_event *ev = &e->item.event;
    if (!e->view.first_ts)
        e->view.first_ts = ev->ts;
    fl_scratch_reset(&e->scratch);
    e->last_ts = ev->ts;
    e->view.previous_ts = e->seen_ts;
    e->view.ev = ev;
    e->view.now = NULL;
    e->visible = e->entered = true;
    return 1;
}

/* A register is filled from the document, or from what every event has. */
static bool fill_from_document(void *context, uint32_t slot, const struct fl_slot *row, struct fl_value *out)
{
    fl_engine *e = context;
    struct fl_points *points = e->documents->points;
    return (fl_points_has(points, slot) && fl_points_value(points, slot, &e->scratch, out)) ||
           (fl_fields[row->field].class_ == FL_CLASS_EVT_GENERIC && fl_extract(&e->view, row->field, &row->argument, out));
}

int fl_engine_run_documents(fl_engine *e, fl_error_text *error)
{
    unsigned type = FL_TYPE_OF(e->documents->source);      /* whose section of the program is for these documents */
    int rc;

    while ((rc = fl_engine_step(e, error)) > 0) {
        if (!e->wanted[type])
            continue;
        if (fl_document_run_reserve(e->documents, &e->scratch))
            return fl_fail_text(error, FL_ERR_MEMORY, "out of memory");
        if ((rc = fl_engine_evaluate(e, type, fill_from_document, e, &e->item.event, false, error)))
            return rc;
        if (fl_batch_full(&e->batch))
            return 1;
    }
    return rc;
}

void fl_engine_close_documents(fl_engine *e)
{
    e->documents_before = fl_document_run_stats(e->documents, e->documents_before);
    fl_document_run_free(e->documents);
    e->documents = NULL;
    e->view.source = "syscall";
}

int fl_engine_open_documents(fl_engine *e, unsigned source, size_t limit, size_t text, fl_error_text *error)
{
    if (source >= FL_DOC_COUNT)
        return fl_fail_text(error, FL_ERR_ARGUMENT, "no such source of documents");
    fl_engine_leave(e);
    struct fl_document_run *run = run_new(source, limit, text);
    if (!run || (e->program && fl_document_run_use(run, e->program))) {
        fl_document_run_free(run);
        return fl_fail_text(error, FL_ERR_MEMORY, "out of memory");
    }
    fl_engine_close_documents(e);
    fl_engine_close_rings(e);
    e->documents = run;
    e->view.source = fl_documents_info[source].name;
    fl_engine_batch_clear(e);
    fl_engine_begin_anew(e, e->tables_done);
    return FL_OK;
}

int fl_engine_fault(fl_engine *e, fl_document_fault *fault)
{
    struct fl_fault found;
    if (!e->documents || !fl_documents_fault(e->documents->reader, &found))
        return 0;
    *fault = (fl_document_fault){found.line, found.offset, found.kind};
    return 1;
}
