/* SPDX-License-Identifier: Apache-2.0
 *
 * Loads the probe's object with bpf(2) alone: no library is needed, and programs are loaded when their event is first wanted. The kernel does
 * the relocation of field offsets (CO-RE), which it can from Linux 5.17 on; for older ones there is libbpf.
 */
#ifndef FL_LOAD_H
#define FL_LOAD_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "../base/error.h"

struct fl_loader;

/* Reads the object (the bytes are copied) and makes the maps. NULL and *error if it is malformed, or the kernel refuses. */
struct fl_loader *fl_loader_new(const void *object, size_t size, struct fl_error *error);
/* Takes everything out of the kernel that isn't held by others. */
void fl_loader_free(struct fl_loader *loader);

/* The descriptor of a map, by name (".bss" is one); -1: there is none. */
int fl_loader_map(const struct fl_loader *loader, const char *name);
/* Loads the programs of events, by id, `count` bytes, that aren't loaded yet. FL_OK, or FL_ERR_PROBE. */
int fl_loader_handlers(struct fl_loader *loader, const uint8_t *events, unsigned count, struct fl_error *error);
/* Loads a program and lets it run at its tracepoint. */
int fl_loader_attach(struct fl_loader *loader, const char *program, struct fl_error *error);
/* A new descriptor, which is the caller's: reading it runs an iterator's program for each thread, or each descriptor, of the machine and gives
 * what that writes. */
int fl_loader_iterate(struct fl_loader *loader, const char *program, struct fl_error *error);
/* The n-th program that is loaded, by its whole name; -1: there are no more. */
int fl_loader_program(const struct fl_loader *loader, unsigned n, char name[64]);
/* How often a program has run, and how long (ns), where the kernel counts it. False if it can't be asked. */
bool fl_loader_ran(int program, uint64_t *runs, uint64_t *ns);

#endif
