/* SPDX-License-Identifier: Apache-2.0
 *
 * The .scap writer: the reader's items, as blocks of their newest versions, appended to a buffer that the caller empties. It opens nothing.
 *
 * Entries of one table that follow each other share a block. fl_scap_write_close ends an open block: what is in the buffer is whole blocks
 * then.
 */
#ifndef FL_SCAP_WRITE_H
#define FL_SCAP_WRITE_H

#include <stdbool.h>

#include "scap.h"

/* Bytes of a block of processes or descriptors; another follows. Interfaces and users stay in one: readers take a second list for news. */
#define FL_SCAP_TABLE_BYTES (256u << 10)

struct fl_scap_writer {
    uint8_t *data;
    size_t len, room;
    size_t block;               /* where the open block begins */
    uint32_t code;              /* of the open block; 0: none is open */
    int64_t fdl_tid;            /* of an open block of descriptors */
    bool failed;                /* memory is out: what came since is not in the buffer */
};

void fl_scap_writer_free(struct fl_scap_writer *w);
/* A section, a machine, or an entry of a table. item->kind is none of MORE and EVENT. */
void fl_scap_write_item(struct fl_scap_writer *w, const struct fl_scap_item *item);
/* An event of the newest schema, as its record is. */
void fl_scap_write_event(struct fl_scap_writer *w, const struct fl_event *ev, bool hidden);
void fl_scap_write_close(struct fl_scap_writer *w);

#endif
