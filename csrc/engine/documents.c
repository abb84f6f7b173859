/* SPDX-License-Identifier: Apache-2.0 */
#include "documents.h"

#include <stdlib.h>
#include <time.h>

#include "../fields/points.h"

/* Scratch bytes for each byte of a document: a list's value takes 32 bytes, its text in the document 2 at least, and lists grow by doubling. */
#define SCRATCH_PER_BYTE 40u

struct fl_document_run {
    unsigned source;
    struct fl_documents *reader;
    struct fl_points *points;
    struct fl_document document;
    uint64_t num, undated;
};

struct fl_document_run *fl_document_run_new(unsigned source, size_t limit, size_t text)
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

bool fl_document_run_next(struct fl_document_run *run, struct fl_event *event)
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

unsigned fl_document_run_type(const struct fl_document_run *run) { return FL_TYPE_OF(run->source); }

int fl_document_run_reserve(const struct fl_document_run *run, struct fl_scratch *scratch)
{
    return scratch->used ? 0 : fl_scratch_reserve(scratch, run->document.len * SCRATCH_PER_BYTE);
}

bool fl_document_run_value(struct fl_document_run *run, uint32_t slot, struct fl_scratch *scratch, struct fl_value *out)
{
    return fl_points_has(run->points, slot) && fl_points_value(run->points, slot, scratch, out);
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

bool fl_document_run_fault(struct fl_document_run *run, struct fl_fault *fault) { return fl_documents_fault(run->reader, fault); }

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
