/* SPDX-License-Identifier: Apache-2.0
 *
 * The process of an event: names, command line, environment, ids, leaders of its groups. Ancestors are in ancestors.c, what it
 * may and uses in resources.c.
 */
#include "extract.h"

/* ---- texts of a thread that are made on demand ---- */

static struct fl_str *made(const struct fl_view *view, const struct fl_text *text)
{
    /* not taken from the scratch: the interned copy stays with the thread */
    return text->full ? NULL : fl_str_get(fl_state_strings(view->state), text->s, text->len);
}

struct fl_str *fl_thread_args_text(const struct fl_view *view, struct fl_thread *thread)
{
    if (!thread->args_text) {
        struct fl_text text;
        fl_text_begin(&text, view);
        fl_text_joined(&text, thread->args->data, thread->args->len, ' ');
        thread->args_text = made(view, &text);
    }
    return thread->args_text;
}

struct fl_str *fl_thread_cmdline(const struct fl_view *view, struct fl_thread *thread)
{
    if (!thread->cmdline) {
        struct fl_text text;
        fl_text_begin(&text, view);
        fl_text_str(&text, thread->comm);
        if (thread->args->len) {
            fl_text_char(&text, ' ');
            fl_text_joined(&text, thread->args->data, thread->args->len, ' ');
        }
        thread->cmdline = made(view, &text);
    }
    return thread->cmdline;
}

/* ---- fields that are a member of the thread, of its parent, of the main thread ---- */

#define TEXT_OF_THREAD(id, member) \
    EXTRACT(id) \
    { \
        const struct fl_thread *thread = fl_thread_of(view); \
        return thread && fl_set_interned(out, thread->member); \
    }

#define NUMBER_OF_THREAD(id, set, expression) \
    EXTRACT(id) \
    { \
        const struct fl_thread *thread = fl_thread_of(view); \
        return thread && set(out, expression); \
    }

static struct fl_thread *parent_of(const struct fl_view *view)
{
    struct fl_thread *thread = fl_thread_of(view);
    return thread ? fl_thread_parent(view->state, thread) : NULL;
}

#define TEXT_OF_PARENT(id, member) \
    EXTRACT(id) \
    { \
        const struct fl_thread *parent = parent_of(view); \
        return parent && fl_set_interned(out, parent->member); \
    }

TEXT_OF_THREAD(proc_exe, exe)
TEXT_OF_THREAD(proc_exepath, exepath)
TEXT_OF_THREAD(proc_name, comm)
TEXT_OF_PARENT(proc_pexe, exe)
TEXT_OF_PARENT(proc_pexepath, exepath)
TEXT_OF_PARENT(proc_pname, comm)

EXTRACT(proc_cwd)
{
    const struct fl_thread *thread = fl_thread_of(view);
    return thread && fl_set_interned(out, fl_thread_main(thread)->cwd);
}

/* An id of a namespace that isn't known is -1. */
static bool set_id(struct fl_value *out, int64_t id) { return id != -1 && fl_set_i64(out, id); }

NUMBER_OF_THREAD(proc_pid, fl_set_i64, thread->pid)
NUMBER_OF_THREAD(proc_vpid, set_id, thread->vpid)
NUMBER_OF_THREAD(proc_sid, fl_set_i64, thread->sid)
NUMBER_OF_THREAD(proc_vpgid, fl_set_i64, thread->vpgid)
NUMBER_OF_THREAD(proc_pgid, fl_set_i64, thread->pgid)
NUMBER_OF_THREAD(proc_tty, fl_set_u64, thread->tty)
NUMBER_OF_THREAD(thread_vtid, set_id, thread->vtid)
NUMBER_OF_THREAD(thread_ismain, fl_set_bool, thread->tid == thread->pid)
NUMBER_OF_THREAD(proc_is_sid_leader, fl_set_bool, thread->sid == thread->vpid)
NUMBER_OF_THREAD(proc_is_vpgid_leader, fl_set_bool, thread->vpgid == thread->vpid)
NUMBER_OF_THREAD(proc_is_pgid_leader, fl_set_bool, thread->pgid == thread->pid)
NUMBER_OF_THREAD(proc_is_exe_writable, fl_set_bool, thread->exe_writable)
NUMBER_OF_THREAD(proc_is_exe_upper_layer, fl_set_bool, thread->exe_upper_layer)
NUMBER_OF_THREAD(proc_is_exe_lower_layer, fl_set_bool, thread->exe_lower_layer)
NUMBER_OF_THREAD(proc_is_exe_from_memfd, fl_set_bool, thread->exe_from_memfd)

/* The event tells it also where the thread isn't known. */
EXTRACT(thread_tid) { return fl_set_i64(out, view->ev->tid); }

EXTRACT(proc_ppid)
{
    const struct fl_thread *parent = parent_of(view);
    return parent && fl_set_i64(out, parent->pid);
}

EXTRACT(proc_pvpid)
{
    const struct fl_thread *parent = parent_of(view);
    return parent && set_id(out, parent->vpid);
}

EXTRACT(thread_nametid)
{
    const struct fl_thread *thread = fl_thread_of(view);
    if (!thread)
        return false;
    struct fl_text text;
    fl_text_begin(&text, view);
    fl_text_str(&text, thread->comm);
    fl_text_dec(&text, thread->tid);
    return fl_text_end(&text, out);
}

/* ---- arguments ---- */

EXTRACT(proc_cmdline)
{
    struct fl_thread *thread = fl_thread_of(view);
    struct fl_str *s = thread ? fl_thread_cmdline(view, thread) : NULL;
    return s && fl_set_interned(out, s);
}

EXTRACT(proc_pcmdline)
{
    struct fl_thread *parent = parent_of(view);
    struct fl_str *s = parent ? fl_thread_cmdline(view, parent) : NULL;
    return s && fl_set_interned(out, s);
}

/* proc.args[i] is empty where there are fewer. */
EXTRACT(proc_args)
{
    struct fl_thread *thread = fl_thread_of(view);
    if (!thread)
        return false;
    if (!arg->has_index) {
        struct fl_str *s = fl_thread_args_text(view, thread);
        return s && fl_set_interned(out, s);
    }
    struct fl_slice one;
    uint32_t at = 0;
    for (int64_t i = 0; fl_next_text(thread->args->data, thread->args->len, &at, &one); i++)
        if (i == arg->index)
            return fl_set_slice(out, one);
    return fl_set_lit(out, "");
}

EXTRACT(proc_exeline)
{
    const struct fl_thread *thread = fl_thread_of(view);
    if (!thread)
        return false;
    struct fl_text text;
    fl_text_begin(&text, view);
    fl_text_str(&text, thread->exe);
    fl_text_char(&text, ' ');
    fl_text_joined(&text, thread->args->data, thread->args->len, ' ');
    return fl_text_end(&text, out);
}

static bool count_args(const struct fl_view *view, bool characters, struct fl_value *out)
{
    const struct fl_thread *thread = fl_thread_of(view);
    if (!thread)
        return false;
    struct fl_slice one;
    uint32_t at = 0;
    uint64_t count = 0;
    while (fl_next_text(thread->args->data, thread->args->len, &at, &one))
        count += characters ? one.len : 1;
    return fl_set_u64(out, count);
}

EXTRACT(proc_cmdnargs) { return count_args(view, false, out); }
EXTRACT(proc_cmdlenargs) { return count_args(view, true, out); }

/* ---- leaders of the session and of the process groups ---- */

/* The leader is the process of that id where ids are the host's. One that is gone, or has its id from a pid namespace, is taken
 * to be the oldest of the ancestors with the same id; if no ancestor has it, or the id isn't known (-1), its names are empty. */
typedef int64_t group_id(const struct fl_thread *thread);

static const struct fl_thread *leader(const struct fl_view *view, int64_t id, group_id *id_of, bool host_ids)
{
    struct fl_thread *thread = fl_thread_of(view), *found = NULL, *ancestor;
    struct fl_lineage lineage;
    if (id == -1)
        return NULL;
    if (host_ids || !fl_in_pidns(thread))
        found = fl_thread_find(view->state, id);
    if (found)
        return found;
    fl_lineage_of(&lineage, view, fl_thread_main(thread));
    while ((ancestor = fl_lineage_next(&lineage)) && id_of(ancestor) == id)
        found = ancestor;
    return found;
}

static int64_t sid_of(const struct fl_thread *thread) { return thread->sid; }
static int64_t vpgid_of(const struct fl_thread *thread) { return thread->vpgid; }
static int64_t pgid_of(const struct fl_thread *thread) { return thread->pgid; }

#define TEXT_OF_LEADER(id, id_of, host_ids, member) \
    EXTRACT(id) \
    { \
        const struct fl_thread *thread = fl_thread_of(view); \
        if (!thread) \
            return false; \
        thread = leader(view, id_of(thread), id_of, host_ids); \
        return thread ? fl_set_interned(out, thread->member) : fl_set_lit(out, ""); \
    }

TEXT_OF_LEADER(proc_sname, sid_of, false, comm)
TEXT_OF_LEADER(proc_sid_exe, sid_of, false, exe)
TEXT_OF_LEADER(proc_sid_exepath, sid_of, false, exepath)
TEXT_OF_LEADER(proc_vpgid_name, vpgid_of, false, comm)
TEXT_OF_LEADER(proc_vpgid_exe, vpgid_of, false, exe)
TEXT_OF_LEADER(proc_vpgid_exepath, vpgid_of, false, exepath)
TEXT_OF_LEADER(proc_pgid_name, pgid_of, true, comm)
TEXT_OF_LEADER(proc_pgid_exe, pgid_of, true, exe)
TEXT_OF_LEADER(proc_pgid_exepath, pgid_of, true, exepath)

/* ---- times: a time of 0 isn't known ---- */

static bool set_known(struct fl_value *out, uint64_t time) { return time && fl_set_u64(out, time); }

EXTRACT(proc_pid_ts)
{
    const struct fl_thread *thread = fl_thread_of(view);
    return thread && set_known(out, thread->clone_ts);
}

EXTRACT(proc_duration)
{
    const struct fl_thread *thread = fl_thread_of(view);
    return thread && thread->clone_ts && fl_set_u64(out, view->ev->ts - thread->clone_ts);
}

EXTRACT(proc_ppid_ts)
{
    const struct fl_thread *parent = parent_of(view);
    return parent && fl_set_u64(out, parent->clone_ts);
}

EXTRACT(proc_ppid_duration)
{
    const struct fl_thread *parent = parent_of(view);
    return parent && parent->clone_ts && fl_set_u64(out, view->ev->ts - parent->clone_ts);
}

NUMBER_OF_THREAD(proc_pidns_init_start_ts, set_known, thread->pidns_init_start_ts)

EXTRACT(proc_exe_ino)
{
    const struct fl_thread *thread = fl_thread_of(view);
    return thread && thread->exe_ino && fl_set_i64(out, (int64_t)thread->exe_ino);
}

NUMBER_OF_THREAD(proc_exe_ino_ctime, set_known, thread->exe_ino_ctime)
NUMBER_OF_THREAD(proc_exe_ino_mtime, set_known, thread->exe_ino_mtime)

/* How long after the executable was changed the process began; and how long after its pid namespace began the executable was
 * changed. */
EXTRACT(proc_exe_ino_ctime_duration_proc_start)
{
    const struct fl_thread *thread = fl_thread_of(view);
    if (!thread || !thread->exe_ino_ctime || thread->clone_ts < thread->exe_ino_ctime)
        return false;
    return fl_set_u64(out, thread->clone_ts - thread->exe_ino_ctime);
}

EXTRACT(proc_exe_ino_ctime_duration_pidns_start)
{
    const struct fl_thread *thread = fl_thread_of(view);
    if (!thread || !thread->pidns_init_start_ts || thread->exe_ino_ctime < thread->pidns_init_start_ts)
        return false;
    return fl_set_u64(out, thread->exe_ino_ctime - thread->pidns_init_start_ts);
}
