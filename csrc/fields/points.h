/* SPDX-License-Identifier: Apache-2.0
 *
 * The fields of documents: what a program asks of them, looked up in one pass. Fields in a large part of the document (BODY of
 * documents.def) wait until one of them is asked for.
 */
#ifndef FL_POINTS_H
#define FL_POINTS_H

#include "../source/documents.h"
#include "field.h"

struct fl_points;

/* Of the documents of a source, for a program of so many slots. NULL when memory is out. */
struct fl_points *fl_points_new(unsigned source, uint32_t slots);
void fl_points_free(struct fl_points *points);
/* A slot is filled from a field; one that isn't of documents is left alone. 0, or -1 when memory is out. */
int fl_points_add(struct fl_points *points, uint32_t slot, unsigned field, const struct fl_field_argument *argument);
/* What the reader looks up. */
struct fl_document_paths *fl_points_paths(struct fl_points *points);
/* A document was looked up: at this time, ns since the epoch. */
void fl_points_begin(struct fl_points *points, const struct fl_document *document, uint64_t ts);
/* Whether a slot is filled from documents. */
bool fl_points_has(const struct fl_points *points, uint32_t slot);
/* The value of such a slot; texts point into the document, or are made in scratch memory. False: absent. */
bool fl_points_value(struct fl_points *points, uint32_t slot, struct fl_scratch *scratch, struct fl_value *out);

#endif
