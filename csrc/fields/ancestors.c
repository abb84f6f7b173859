/* SPDX-License-Identifier: Apache-2.0
 *
 * The ancestors of a process: field[0] is the process itself (its main thread), field[1] its parent. Without an argument the
 * value is the list of all ancestors' values, the process's own not among them.
 */
#include "extract.h"

void fl_lineage_of(struct fl_lineage *lineage, const struct fl_view *view, struct fl_thread *thread)
{
    *lineage = (struct fl_lineage){view->state, fl_thread_parent(view->state, thread), thread, false};
}

struct fl_thread *fl_lineage_next(struct fl_lineage *lineage)
{
    struct fl_thread *found = lineage->next;
    if (!found || found == lineage->slow)
        return NULL;
    /* the slow end follows at half the pace: where the chain is a loop, the two meet */
    if (lineage->step)
        lineage->slow = fl_thread_parent(lineage->state, lineage->slow);
    lineage->step = !lineage->step;
    lineage->next = fl_thread_parent(lineage->state, found);
    return found;
}

/* A value of one ancestor. */
typedef bool member(const struct fl_view *view, struct fl_thread *thread, struct fl_value *out);

static bool exe_of(const struct fl_view *view, struct fl_thread *thread, struct fl_value *out)
{
    (void)view;
    return fl_set_interned(out, thread->exe);
}

static bool exepath_of(const struct fl_view *view, struct fl_thread *thread, struct fl_value *out)
{
    (void)view;
    return fl_set_interned(out, thread->exepath);
}

static bool comm_of(const struct fl_view *view, struct fl_thread *thread, struct fl_value *out)
{
    (void)view;
    return fl_set_interned(out, thread->comm);
}

static bool pid_of(const struct fl_view *view, struct fl_thread *thread, struct fl_value *out)
{
    (void)view;
    return thread->pid != -1 && fl_set_i64(out, thread->pid);
}

static bool args_of(const struct fl_view *view, struct fl_thread *thread, struct fl_value *out)
{
    struct fl_str *s = fl_thread_args_text(view, thread);
    return s && fl_set_interned(out, s);
}

static bool cmdline_of(const struct fl_view *view, struct fl_thread *thread, struct fl_value *out)
{
    struct fl_str *s = fl_thread_cmdline(view, thread);
    return s && fl_set_interned(out, s);
}

/* The whole environment, joined by blanks: the main thread's. */
static bool env_of(const struct fl_view *view, struct fl_thread *thread, struct fl_value *out)
{
    const struct fl_str *env = fl_thread_main(thread)->env;
    struct fl_text text;
    fl_text_begin(&text, view);
    fl_text_joined(&text, env->data, env->len, ' ');
    return fl_text_end(&text, out);
}

static struct fl_thread *ancestor(const struct fl_view *view, int64_t level)
{
    struct fl_thread *thread = fl_thread_of(view);
    if (!thread || level < 0)
        return NULL;
    thread = fl_thread_main(thread);
    struct fl_lineage lineage;
    fl_lineage_of(&lineage, view, thread);
    while (thread && level--)
        thread = fl_lineage_next(&lineage);
    return thread;
}

static bool all_ancestors(const struct fl_view *view, member *value, struct fl_value *out)
{
    struct fl_thread *thread = fl_thread_of(view), *found;
    if (!thread)
        return false;
    thread = fl_thread_main(thread);
    struct fl_lineage lineage;
    uint32_t count = 0, n = 0;
    fl_lineage_of(&lineage, view, thread);
    while (fl_lineage_next(&lineage))
        if (++count > FL_SCRATCH_SIZE / sizeof *out)
            return false;       /* more than the scratch holds */
    struct fl_value *list = count ? fl_scratch_take(view->scratch, count * sizeof *list) : NULL;
    if (!list)
        return false;
    fl_lineage_of(&lineage, view, thread);
    while ((found = fl_lineage_next(&lineage)))
        if (value(view, found, &list[n]))
            n++;
    return n && fl_set_list(out, list, n);
}

static bool of_ancestors(const struct fl_view *view, const struct fl_field_argument *arg, member *value, struct fl_value *out)
{
    if (!arg->has_index)
        return all_ancestors(view, value, out);
    struct fl_thread *thread = ancestor(view, arg->index);
    return thread && value(view, thread, out);
}

EXTRACT(proc_aexe) { return of_ancestors(view, arg, exe_of, out); }
EXTRACT(proc_aexepath) { return of_ancestors(view, arg, exepath_of, out); }
EXTRACT(proc_aname) { return of_ancestors(view, arg, comm_of, out); }
EXTRACT(proc_apid) { return of_ancestors(view, arg, pid_of, out); }
EXTRACT(proc_acmdline) { return of_ancestors(view, arg, cmdline_of, out); }

/* Without an argument, one text: those of all ancestors, joined by blanks, where empty ones in front leave none. Absent if it is
 * empty. */
EXTRACT(proc_aargs)
{
    if (arg->has_index)
        return of_ancestors(view, arg, args_of, out);
    struct fl_value all;
    struct fl_text text;
    if (!all_ancestors(view, args_of, &all))
        return false;
    fl_text_begin(&text, view);
    for (uint32_t i = 0; i < all.len; i++) {
        if (text.len)
            fl_text_char(&text, ' ');
        fl_text_put(&text, all.list[i].s, all.list[i].len);
    }
    return fl_text_end(&text, out) && out->len;
}

/* ---- environments ---- */

static bool variable(const struct fl_thread *thread, const struct fl_field_argument *arg, struct fl_value *out)
{
    const struct fl_str *env = fl_thread_main(thread)->env;
    struct fl_slice one;
    uint32_t at = 0;
    while (fl_next_text(env->data, env->len, &at, &one)) {
        if (one.len <= arg->key_len + 1 || one.data[arg->key_len] != '=' || memcmp(one.data, arg->key, arg->key_len))
            continue;
        const char *value = one.data + arg->key_len + 1, *end = one.data + one.len;
        while (value < end && *value == ' ')
            value++;
        while (value < end && end[-1] == ' ')
            end--;
        return value < end && fl_set_str(out, value, (uint32_t)(end - value));
    }
    return false;
}

/* proc.env[NAME] of a variable that isn't set is empty. */
EXTRACT(proc_env)
{
    struct fl_thread *thread = fl_thread_of(view);
    if (!thread)
        return false;
    if (arg->has_key)
        return variable(thread, arg, out) || fl_set_lit(out, "");
    return env_of(view, thread, out);
}

/* As far as proc.aenv[NAME] searches. Of a variable that none of them has it is empty, too. */
#define ENV_ANCESTORS 20

EXTRACT(proc_aenv)
{
    struct fl_thread *thread = fl_thread_of(view);
    if (!thread)
        return false;
    if (!arg->has_key || arg->has_index)
        return of_ancestors(view, arg, env_of, out);
    struct fl_lineage lineage;
    fl_lineage_of(&lineage, view, fl_thread_main(thread));
    for (int i = 0; i < ENV_ANCESTORS && (thread = fl_lineage_next(&lineage)); i++)
        if (variable(thread, arg, out))
            return true;
    return fl_set_lit(out, "");
}

/* ---- the login shell ---- */

static bool is_shell(const struct fl_thread *thread)
{
    const struct fl_str *comm = thread->comm;
    return comm->len >= 2 && !memcmp(comm->data + comm->len - 2, "sh", 2);
}

/* The pid of the oldest among the process and its ancestors whose name ends in "sh". */
EXTRACT(proc_loginshellid)
{
    struct fl_thread *thread = fl_thread_of(view), *shell = NULL;
    if (!thread)
        return false;
    struct fl_lineage lineage;
    thread = fl_thread_main(thread);
    for (fl_lineage_of(&lineage, view, thread); thread; thread = fl_lineage_next(&lineage))
        if (is_shell(thread))
            shell = thread;
    return shell && fl_set_i64(out, shell->pid);
}
