/* SPDX-License-Identifier: Apache-2.0
 *
 * events.def as functions: fl_params_OPENAT_2_X(c, r) puts the parameters of an event, each from its source (sources.h).
 */
#ifndef FL_BPF_EVENTS_H
#define FL_BPF_EVENTS_H

#include "../schema/sources.h"
#include "other.h"

/* Fillers that only iterators, other objects or other kernel sides have: named by events that this object doesn't make. */
#pragma clang diagnostic ignored "-Wundefined-internal"
#define CONV(name, what)
#define FILLER(name, what) INLINE void fl_fill_##name(struct call *c, struct rec *r, unsigned type, unsigned n);
#include "../schema/sources.def"
#undef CONV
#undef FILLER

#define FROM_NONE
#define FROM_ZERO put_number(r, type_, 0);
#define FROM_EMPTY put_empty(r);
#define FROM_RET put_number(r, type_, c->ret);
#define FROM_ARG(n) put_number(r, type_, arg_as(c, n, type_));
#define FROM_STR(n) put_user_text(r, arg(c, n), PATH_MAX);
#define FROM_CONV(name, n) put_number(r, type_, fl_conv_##name(arg(c, n)));
#define FROM_FILLER(...) FROM_FILLER_(__VA_ARGS__, FL_SRC_NO_ARG, )
#define FROM_FILLER_(name, n, ...) fl_fill_##name(c, r, type_, n);
#define FROM_AT_ENTRY(source) ENTRY_##source
#define ENTRY_STR(n) entry_text(c, r, n);
#define ENTRY_FILLER(name, n) entry_##name(c, r, type_, n);

#define P(name, type, format, info, source) { enum { type_ = FL_T_##type }; (void)type_; FROM_##source }
#define EVENT(code, id, name, category, flags, ...) \
    INLINE void fl_params_##code(struct call *c, struct rec *r) { __VA_ARGS__ }
#include "../schema/events.def"
#undef EVENT
#undef P

#endif
