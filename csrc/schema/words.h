/* SPDX-License-Identifier: Apache-2.0
 *
 * words.def for users that want some of its kinds: those that are not defined expand to nothing; all are undefined afterwards.
 */
#ifndef KIND
#define KIND(name)
#endif
#ifndef FORMAT
#define FORMAT(name)
#endif
#ifndef EVENT_FLAG
#define EVENT_FLAG(name, value)
#endif
#ifndef CATEGORY
#define CATEGORY(name, value)
#endif
#ifndef CATEGORY_CLASS
#define CATEGORY_CLASS(name, value)
#endif
#ifndef FIELD_FLAG
#define FIELD_FLAG(name, value)
#endif
#ifndef FIELD_ARGUMENT
#define FIELD_ARGUMENT(name, value)
#endif
#ifndef STATE_CALL
#define STATE_CALL(name)
#endif
#ifndef LEAST_CALL
#define LEAST_CALL(name)
#endif
#ifndef LOSSES
#define LOSSES(group, name)
#endif
#ifndef OPEN_FLAGS
#define OPEN_FLAGS(event)
#endif
#ifndef OPEN_MODE
#define OPEN_MODE(event)
#endif
#ifndef OPEN_PATH
#define OPEN_PATH(event, param)
#endif
#ifndef FIELD_CLASS
#define FIELD_CLASS(name, heading, description)
#endif

#include "words.def"

#undef KIND
#undef FORMAT
#undef EVENT_FLAG
#undef CATEGORY
#undef CATEGORY_CLASS
#undef FIELD_FLAG
#undef FIELD_ARGUMENT
#undef STATE_CALL
#undef LEAST_CALL
#undef LOSSES
#undef OPEN_FLAGS
#undef OPEN_MODE
#undef OPEN_PATH
#undef FIELD_CLASS
