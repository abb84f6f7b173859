/* SPDX-License-Identifier: Apache-2.0 */
#include "field.h"

fl_extractor *const fl_extractors[FL_FIELD_COUNT] = {
#define FIELD(id, name, type, format, argument, flags, class, description) [FL_FIELD_##id] = fl_field_##id,
#include "../schema/fields.def"
#undef FIELD
};

static const uint8_t kinds[FL_T_COUNT] = {
#define TYPE(name, id, bytes, kind) [id] = FL_##kind,
#include "../schema/types.def"
#undef TYPE
};

enum fl_kind fl_kind_of_type(unsigned type) { return type < FL_T_COUNT ? kinds[type] : FL_ABSENT; }
