/* SPDX-License-Identifier: Apache-2.0
 *
 * Registers filled from given values: an event that is a dict. The values come in the form of a batch (falcolib.h), one a slot.
 */
#ifndef FL_GIVEN_H
#define FL_GIVEN_H

#include "../vm/program.h"

struct fl_given {
    const struct fl_value *values;
    uint32_t count;
};

/* Reads `slots` values; their array is in scratch memory, their texts point into `bytes`. FL_OK, FL_ERR_ARGUMENT or FL_ERR_MEMORY. */
int fl_given_read(struct fl_given *given, struct fl_scratch *scratch, const void *bytes, size_t len, uint32_t slots, struct fl_error *error);

/* An fl_fill; its context is the fl_given. A value of another kind than the slot's is absent. */
bool fl_given_fill(void *context, uint32_t slot, const struct fl_slot *row, struct fl_value *out);

#endif
