/* SPDX-License-Identifier: Apache-2.0
 *
 * The reader of documents: pushed with bytes, pulled for events. It takes JSON texts in a row, each on a line or over several; lists of
 * events (ITEMS of documents.def) and arrays are taken apart, also arrays that never end. The byte 0x1e ends what is there (RFC 7464): a
 * text that isn't complete by then is malformed. What can't be used is counted and told, and costs no other event.
 */
#ifndef FL_DOCUMENTS_H
#define FL_DOCUMENTS_H

#include "../json/paths.h"
#include "../schema/schema.h"

#define FL_DOCUMENT_TIMES 8u
#define FL_DOCUMENT_END 0x1e

/* Where the reader and the program look in a document. */
struct fl_document_paths {
    struct fl_json_paths *paths;
    int32_t guard, kind, items;         /* negative: the source has none */
    int32_t times[FL_DOCUMENT_TIMES];
    uint32_t ntimes;
    const char *event;                  /* what kind an event is of */
};

int fl_document_paths_init(struct fl_document_paths *paths, unsigned source);     /* 0, or -1 when memory is out */
void fl_document_paths_free(struct fl_document_paths *paths);
/* When the event happened that was looked up last: ns since the epoch; false if it doesn't tell. */
bool fl_document_time(const struct fl_document_paths *paths, uint64_t *ts);

struct fl_document {
    const char *s;
    size_t len;
    uint64_t line;                      /* where it begins, or the list that it is of */
};

enum fl_fault_kind {
    FL_FAULT_MALFORMED,                 /* no JSON, or not all there */
    FL_FAULT_UNRECOGNISED,              /* no event of this source */
    FL_FAULT_TOO_LARGE,
    FL_FAULT_KINDS
};

struct fl_fault {
    uint64_t line;                      /* from 1, and again from 1 behind each 0x1e */
    uint64_t offset;
    uint32_t kind;
};

struct fl_documents_stats {
    uint64_t bytes, documents, undated, faults[FL_FAULT_KINDS];
};

struct fl_documents;

/* limit: bytes of an event, at most; text: of a text, which may be a list of events. NULL when memory is out. */
struct fl_documents *fl_documents_new(size_t limit, size_t text);
void fl_documents_free(struct fl_documents *documents);
int fl_documents_push(struct fl_documents *documents, const void *bytes, size_t len);     /* 0, or -1 when memory is out */
/* The next event, looked up in `paths`; false: the bytes are used up. It stays until the next call of these. */
bool fl_documents_next(struct fl_documents *documents, struct fl_document_paths *paths, struct fl_document *document);
/* What was found wrong, the oldest first; of many between two calls only the first are kept. */
bool fl_documents_fault(struct fl_documents *documents, struct fl_fault *fault);
struct fl_documents_stats fl_documents_get_stats(const struct fl_documents *documents);

#endif
