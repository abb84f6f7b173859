/* SPDX-License-Identifier: Apache-2.0
 *
 * Where the kernel side takes a parameter from: the last column of P in events.def. The probe and the kernel module are
 * expansions of it.
 *
 *   NONE               nowhere: the kernel side doesn't deliver this event
 *   ZERO               the call has no such thing: 0, in the width of the type
 *   EMPTY              of length 0: user space knows it better
 *   RET                the system call's result
 *   ARG(n)             argument n, counted from 0
 *   STR(n)             the process's text that argument n points to, with its NUL; empty if the pointer is NULL or can't be read
 *   CONV(name, n)      fl_conv_<name>() of argument n: a pure function, shared by probe, module and tests
 *   FILLER(name)       fl_fill_<name>(): anything else
 *   FILLER(name, n)    the same, told that argument n (and what follows it) is its input
 *   AT_ENTRY(source)   as the source says, but when the call begins: another thread may change the memory until it ends
 *
 * A number is stored in the width of its type. What FD and PID take from an argument is a C int: its sign is carried over to 64
 * bits. Of other types the low bytes are taken.
 */
#ifndef FL_SOURCES_H
#define FL_SOURCES_H

enum fl_source {
    FL_SRC_NONE,
    FL_SRC_ZERO,
    FL_SRC_EMPTY,
    FL_SRC_RET,
    FL_SRC_ARG,
    FL_SRC_STR,
#define CONV(name, what) FL_SRC_CONV_##name,
#define FILLER(name, what)
#include "sources.def"
#undef CONV
#undef FILLER
#define CONV(name, what)
#define FILLER(name, what) FL_SRC_FILLER_##name,
#include "sources.def"
#undef CONV
#undef FILLER
    FL_SRC_COUNT
};

enum {
    FL_SRC_NO_ARG = 0x7f,       /* source_arg of sources without an argument */
    FL_SRC_AT_ENTRY = 0x80,     /* the bit of source_arg that tells AT_ENTRY */
};

/* Each notation as the two numbers of fl_param_info: source, source_arg. FL_SOURCE_##source makes them of a P's last column. */
#define FL_SOURCE_NONE FL_SRC_NONE, FL_SRC_NO_ARG
#define FL_SOURCE_ZERO FL_SRC_ZERO, FL_SRC_NO_ARG
#define FL_SOURCE_EMPTY FL_SRC_EMPTY, FL_SRC_NO_ARG
#define FL_SOURCE_RET FL_SRC_RET, FL_SRC_NO_ARG
#define FL_SOURCE_ARG(n) FL_SRC_ARG, n
#define FL_SOURCE_STR(n) FL_SRC_STR, n
#define FL_SOURCE_CONV(name, n) FL_SRC_CONV_##name, n
#define FL_SOURCE_FILLER(...) FL_SOURCE_FILLER_(__VA_ARGS__, FL_SRC_NO_ARG, )
#define FL_SOURCE_FILLER_(name, n, ...) FL_SRC_FILLER_##name, n
#define FL_SOURCE_AT_ENTRY(source) FL_SOURCE_##source | FL_SRC_AT_ENTRY

#endif
