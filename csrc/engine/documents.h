/* SPDX-License-Identifier: Apache-2.0
 *
 * A run over documents: their reader, and the points at which a program looks.
 */
#ifndef FL_DOCUMENT_RUN_H
#define FL_DOCUMENT_RUN_H

#include "../source/documents.h"
#include "../vm/program.h"

struct fl_document_run;

void fl_document_run_free(struct fl_document_run *run);
/* The program whose slots are filled from now on: 0, or -1 when memory is out (nothing has changed). */
int fl_document_run_use(struct fl_document_run *run, const struct fl_program *program);
int fl_document_run_push(struct fl_document_run *run, const void *bytes, size_t len);
/* Room for what a document's values and record take. 0, or -1 when memory is out. */
int fl_document_run_reserve(const struct fl_document_run *run, struct fl_scratch *scratch);
/* A field of it, whether the program has a slot for it or not. */
bool fl_document_run_get(struct fl_document_run *run, unsigned field, const struct fl_field_argument *argument, struct fl_scratch *scratch,
                         struct fl_value *out);
/* Makes the record of the event: the document as a plugin delivers it. 0, or -1 when memory is out. */
int fl_document_run_record(const struct fl_document_run *run, struct fl_scratch *scratch, struct fl_event *event);
/* What was read, and before; run may be NULL. */
struct fl_documents_stats fl_document_run_stats(const struct fl_document_run *run, struct fl_documents_stats before);

#endif
