/* SPDX-License-Identifier: Apache-2.0
 *
 * User and group of an event's thread. A name that isn't known is the text "<NA>"; the superuser's is known everywhere.
 */
#include "extract.h"

static const struct fl_user *user_of(const struct fl_view *view, uint32_t uid)
{
    const struct fl_thread *thread = fl_thread_of(view);
    return thread ? fl_user_find(view->state, thread->container_id, uid) : NULL;
}

static bool known(struct fl_value *out, const struct fl_str *text, uint32_t uid, const char *superuser)
{
    if (text && text->len)
        return fl_set_interned(out, text);
    return fl_set_lit(out, uid == 0 ? superuser : "<NA>");
}

EXTRACT(user_uid) { return fl_thread_of(view) && fl_set_u64(out, fl_thread_of(view)->uid); }
EXTRACT(group_gid) { return fl_thread_of(view) && fl_set_u64(out, fl_thread_of(view)->gid); }

EXTRACT(user_loginuid)
{
    const struct fl_thread *thread = fl_thread_of(view);
    return thread && fl_set_i64(out, thread->loginuid == UINT32_MAX ? -1 : (int64_t)thread->loginuid);
}

EXTRACT(user_name)
{
    const struct fl_thread *thread = fl_thread_of(view);
    const struct fl_user *user = thread ? user_of(view, thread->uid) : NULL;
    return thread && known(out, user ? user->name : NULL, thread->uid, "root");
}

EXTRACT(user_homedir)
{
    const struct fl_thread *thread = fl_thread_of(view);
    const struct fl_user *user = thread ? user_of(view, thread->uid) : NULL;
    return thread && known(out, user ? user->home : NULL, thread->uid, "/root");
}

EXTRACT(user_shell)
{
    const struct fl_thread *thread = fl_thread_of(view);
    const struct fl_user *user = thread ? user_of(view, thread->uid) : NULL;
    return thread && known(out, user ? user->shell : NULL, thread->uid, "<NA>");
}

EXTRACT(user_loginname)
{
    const struct fl_thread *thread = fl_thread_of(view);
    const struct fl_user *user = thread ? user_of(view, thread->loginuid) : NULL;
    return thread && known(out, user ? user->name : NULL, thread->loginuid, "root");
}

EXTRACT(group_name)
{
    const struct fl_thread *thread = fl_thread_of(view);
    const struct fl_grp *group = thread ? fl_grp_find(view->state, thread->container_id, thread->gid) : NULL;
    return thread && known(out, group ? group->name : NULL, thread->gid, "root");
}
