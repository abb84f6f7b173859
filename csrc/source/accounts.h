/* SPDX-License-Identifier: Apache-2.0
 *
 * Users and groups as passwd and group files tell them, and these files of a running container.
 *
 * A container's files are whatever its owner put there: a device, a pipe, a link out of the container, a file without an end, or one of a FUSE
 * server that never answers. They are opened without a way out of the container's root and without effect on what isn't a file, and
 * read up to a bound; who reads them does it where waiting for ever holds nobody up.
 */
#ifndef FL_ACCOUNTS_H
#define FL_ACCOUNTS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "record.h"

#define FL_ACCOUNTS_MAX 4096u           /* users, and as many groups, of a container's files */

/* A user; or a group, which has only an id and a name. */
struct fl_account {
    uint32_t id, gid;
    struct fl_slice name, home, shell;
};

/* A line of a passwd (users) or group file, which ends with a NUL and is taken apart where it is; false if it tells of nobody. Texts
 * are cut after 1,024 bytes. */
bool fl_account_of_line(char *line, bool users, struct fl_account *account);

/* The accounts that the text of a file tells, in its order; of several with the same id the first, as for the C library. The text is taken apart
 * where it is, and has room for a byte more; `out` has room for FL_ACCOUNTS_MAX, what comes after is left out. Returns how many. */
uint32_t fl_accounts_of_text(char *text, size_t len, bool users, struct fl_account *out);

/* The first `size` bytes of etc/passwd and etc/group below the root of a process, one behind the other; their lengths. A file that isn't there,
 * isn't a plain file or can't be read has none.
 *
 * root: where the machine's / is. container: an id that the process's control groups must name, as its number may be another process's by now.
 * May wait for ever. False if the process is gone, is in another container, still has the machine's root (its container isn't made yet), or
 * has a user namespace in which numbers mean other users. */
bool fl_accounts_read(const char *root, int64_t pid, const char *container, char *out, size_t size, size_t len[2]);

#endif
