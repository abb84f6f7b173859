/* SPDX-License-Identifier: Apache-2.0
 *
 * Path prefixes for pmatch: a path matches if the components of a prefix are its first components. A component with one of ?*[
 * is a glob.
 */
#ifndef FL_VM_PATHS_H
#define FL_VM_PATHS_H

#include "machine.h"

struct fl_paths *fl_paths_new(const struct fl_constant *prefixes, uint32_t count);      /* NULL when memory is out */
void fl_paths_free(struct fl_paths *paths);
bool fl_paths_match(struct fl_vm *vm, const struct fl_paths *paths, const char *path, uint32_t len);

#endif
