/* SPDX-License-Identifier: Apache-2.0
 *
 * A run over documents: their reader, and the points at which a program looks.
 */
#ifndef FL_DOCUMENT_RUN_H
#define FL_DOCUMENT_RUN_H

#include "../source/documents.h"
#include "../vm/program.h"

struct fl_document_run;

struct fl_document_run *fl_document_run_new(unsigned source, size_t limit, size_t text);      /* NULL when memory is out */
void fl_document_run_free(struct fl_document_run *run);
/* The program whose slots are filled from now on: 0, or -1 when memory is out (nothing has changed). */
int fl_document_run_use(struct fl_document_run *run, const struct fl_program *program);
int fl_document_run_push(struct fl_document_run *run, const void *bytes, size_t len);
/* Whether there is another document; its number and time go to the event, whose record is empty. */
bool fl_document_run_next(struct fl_document_run *run, struct fl_event *event);
/* Whose section of the program is for these documents. */
unsigned fl_document_run_type(const struct fl_document_run *run);
/* Room for what a document's values and record take. 0, or -1 when memory is out. */
int fl_document_run_reserve(const struct fl_document_run *run, struct fl_scratch *scratch);
/* The value of a slot of the current document. */
bool fl_document_run_value(struct fl_document_run *run, uint32_t slot, struct fl_scratch *scratch, struct fl_value *out);
/* A field of it, whether the program has a slot for it or not. */
bool fl_document_run_get(struct fl_document_run *run, unsigned field, const struct fl_field_argument *argument, struct fl_scratch *scratch,
                         struct fl_value *out);
/* Makes the record of the event: the document as a plugin delivers it. 0, or -1 when memory is out. */
int fl_document_run_record(const struct fl_document_run *run, struct fl_scratch *scratch, struct fl_event *event);
bool fl_document_run_fault(struct fl_document_run *run, struct fl_fault *fault);
/* What was read, and before; run may be NULL. */
struct fl_documents_stats fl_document_run_stats(const struct fl_document_run *run, struct fl_documents_stats before);

#endif
