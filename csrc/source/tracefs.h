/* SPDX-License-Identifier: Apache-2.0
 *
 * The kernel's tracepoints of single system calls, which only tracefs knows by name.
 */
#ifndef FL_TRACEFS_H
#define FL_TRACEFS_H

#include "../base/error.h"

/* Lets a BPF program run at a tracepoint ("syscalls/sys_enter_open"), until the descriptor that is returned is closed. Negative, and *error,
 * where that isn't possible. Where tracefs isn't mounted it is, for us alone, and without a place among the files. */
int fl_tracefs_attach(const char *tracepoint, int program, struct fl_error *error);

#endif
