/* SPDX-License-Identifier: Apache-2.0 */
#include "accounts.h"

#include <stdlib.h>

#include "../falcolib.h"

int fl_accounts_tell(struct fl_state *state, struct fl_slice container, bool users, const char *text, size_t len, fl_account_told *told,
                     void *context)
{
    char *copy = malloc(len + 1);       /* to be taken apart */
    struct fl_account *accounts = malloc(FL_ACCOUNTS_MAX * sizeof *accounts);
    bool room = copy && accounts;

    if (room) {
        memcpy(copy, text, len);
        fl_state_accounts(state, container, users, accounts, fl_accounts_of_text(copy, len, users, accounts), told, context);
    }
    free(copy);
    free(accounts);
    return room ? FL_OK : FL_ERR_MEMORY;
}

int fl_read_accounts(const char *root, int64_t pid, const char *container, char *out, size_t size, size_t *lengths)
{
    return fl_accounts_read(root, pid, container, out, size, lengths);
}
