/* SPDX-License-Identifier: Apache-2.0
 *
 * Expands documents.def: included by whoever defines some of its macros; the others are empty.
 */
#ifndef DOCUMENT
#define DOCUMENT(source, plugin, plugin_id, class, guard)
#endif
#ifndef KIND
#define KIND(source, pointer, kind)
#endif
#ifndef ITEMS
#define ITEMS(source, pointer)
#endif
#ifndef TIME
#define TIME(source, pointer)
#endif
#ifndef BODY
#define BODY(source, pointer)
#endif
#ifndef POINT
#define POINT(field, form, pointer, rest, extra)
#endif

#include "documents.def"

#undef DOCUMENT
#undef KIND
#undef ITEMS
#undef TIME
#undef BODY
#undef POINT
