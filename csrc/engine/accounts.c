/* SPDX-License-Identifier: Apache-2.0
 *
 * What the files of running containers tell of their users and groups.
 */
#include <stdlib.h>
#include <string.h>

#include "../source/accounts.h"
#include "engine.h"

static void record_account(void *context, struct fl_slice container, bool users, bool gone, const struct fl_account *account)
{
    fl_engine *e = context;
    if (e->recording)
        fl_recorder_account(&e->recorder, container, users, gone, account, e->last_ts);
}

void fl_engine_forget_accounts(fl_engine *e) { fl_state_forget_accounts(e->state, record_account, e); }

int fl_engine_ask_accounts(fl_engine *e)
{
    fl_state_ask_accounts(e->state, true);
    return FL_OK;
}

_Static_assert(sizeof ((fl_account_wish *)0)->container > FL_CONTAINER_ID, "room for an id");

int fl_engine_wanted_accounts(fl_engine *e, fl_account_wish *wishes, size_t room)
{
    size_t n = 0;
    while (n < room && fl_state_take_wanted_account(e->state, wishes[n].container, &wishes[n].pid))
        n++;
    return (int)n;
}

/* What the text of a passwd (users) or group file says, in place of what was told before. */
static int tell(fl_engine *e, struct fl_slice container, bool users, const char *text, size_t len)
{
    char *copy = malloc(len + 1);       /* to be taken apart */
    struct fl_account *accounts = malloc(FL_ACCOUNTS_MAX * sizeof *accounts);
    bool room = copy && accounts;

    if (room) {
        memcpy(copy, text, len);
        fl_state_accounts(e->state, container, users, accounts, fl_accounts_of_text(copy, len, users, accounts), record_account, e);
    }
    free(copy);
    free(accounts);
    return room ? FL_OK : FL_ERR_MEMORY;
}

int fl_engine_accounts(fl_engine *e, const char *container, const char *passwd, size_t passwd_len, const char *group, size_t group_len)
{
    struct fl_slice id = {container, (uint32_t)strlen(container)};
    if (e->pending != FL_PAUSED)
        fl_engine_leave(e);     /* rules have seen it without them */
    int rc = tell(e, id, true, passwd, passwd_len);
    return rc ? rc : tell(e, id, false, group, group_len);
}

int fl_read_accounts(const char *root, int64_t pid, const char *container, char *out, size_t size, size_t *lengths)
{
    return fl_accounts_read(root, pid, container, out, size, lengths);
}
