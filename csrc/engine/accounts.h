/* SPDX-License-Identifier: Apache-2.0
 *
 * What the files of running containers tell of their users and groups.
 */
#ifndef FL_ACCOUNTS_ENGINE_H
#define FL_ACCOUNTS_ENGINE_H

#include "../state/state.h"

/* Tells the state what the text of a container's passwd (users) or group file says, in place of what was told before; `told` is called for what
 * differs. FL_OK or FL_ERR_MEMORY. */
int fl_accounts_tell(struct fl_state *state, struct fl_slice container, bool users, const char *text, size_t len, fl_account_told *told,
                     void *context);

#endif
