/* SPDX-License-Identifier: Apache-2.0
 *
 * Descriptor tables. Entries don't move while they live, so that the current event can hold one. The place of a number is the number
 * itself: the kernel hands out the lowest free numbers, so nearly every look-up hits at once. Larger ones are hashed, so that a hostile
 * capture can't choose numbers that meet, and make way for the number whose place they have.
 */
#include <stdlib.h>

#include "../base/hash.h"
#include "../base/sanitize.h"
#include "internal.h"

#define FL_FDS_MIN 16u
#define FL_SPARE_FDS (FL_SANITIZE_ADDRESS ? 0u : 1024u)

static uint32_t home(const struct fl_fds *fds, int64_t num)
{
    return (uint64_t)num <= fds->mask ? (uint32_t)num : fl_hash_u64((uint64_t)num) & fds->mask;
}

static uint32_t place(const struct fl_fds *fds, int64_t num)
{
    uint32_t i = home(fds, num);

    while (fds->slots[i] && fds->slots[i]->num != num)
        i = (i + 1) & fds->mask;
    return i;
}

/* Enters a number that isn't in the table. */
static void put(struct fl_fds *fds, struct fl_fd *fd)
{
    if ((uint64_t)fd->num <= fds->mask && fds->slots[fd->num]) {
        struct fl_fd *stranger = fds->slots[fd->num];
        fds->slots[fd->num] = fd;
        fd = stranger;
    }
    fds->slots[place(fds, fd->num)] = fd;
}

struct fl_fds *fl_thread_fds(const struct fl_thread *thread) { return fl_fds_in_force(thread); }

struct fl_fds *fl_fds_own(struct fl_thread *thread)
{
    if ((thread->flags & FL_CLONE_FILES) && thread->group && thread->group->main)
        thread = thread->group->main;
    if (!thread->fds)
        thread->fds = calloc(1, sizeof *thread->fds);
    return thread->fds;
}

struct fl_fd *fl_fd_search(const struct fl_fds *fds, int64_t num) { return fds->slots[place(fds, num)]; }
struct fl_fd *fl_fd_find(const struct fl_fds *fds, int64_t num) { return fl_fd_at(fds, num); }

uint32_t fl_fds_count(const struct fl_fds *fds) { return fds ? fds->count : 0; }

static struct fl_fd *take_fd(struct fl_state *state)
{
    struct fl_spare *spare = state->spare_fds;

    if (!spare)
        return malloc(sizeof(struct fl_fd));
    state->spare_fds = spare->next;
    state->nspare_fds--;
    return (struct fl_fd *)spare;
}

static void empty_fd(struct fl_state *state, struct fl_fd *fd)
{
    fl_str_put(state->strings, fd->name);
    fl_str_put(state->strings, fd->name_raw);
}

static void give_fd(struct fl_state *state, struct fl_fd *fd)
{
    if (state->now.fd == fd)
        state->now.fd = NULL;
    empty_fd(state, fd);
    state->fds--;
    if (state->nspare_fds >= FL_SPARE_FDS) {
        free(fd);
        return;
    }
    struct fl_spare *spare = (struct fl_spare *)fd;
    spare->next = state->spare_fds;
    state->spare_fds = spare;
    state->nspare_fds++;
}

void fl_fds_free_spare(struct fl_state *state)
{
    while (state->spare_fds)
        free(take_fd(state));
}

static int grow(struct fl_fds *fds)
{
    uint32_t size = fds->slots ? (fds->mask + 1) * 2 : FL_FDS_MIN;
    struct fl_fds bigger = {calloc(size, sizeof *bigger.slots), size - 1, fds->count};

    if (!bigger.slots)
        return -1;
    for (uint32_t i = 0; fds->slots && i <= fds->mask; i++) {
        if (fds->slots[i])
            put(&bigger, fds->slots[i]);
    }
    free(fds->slots);
    *fds = bigger;
    return 0;
}

/* The entry of a number, with nothing in it but the number. */
static struct fl_fd *get_fd(struct fl_state *state, struct fl_fds *fds, int64_t num)
{
    struct fl_fd *fd = fl_fd_find(fds, num);

    if (fd) {
        empty_fd(state, fd);
    } else {
        if (fds->count >= state->limits.fds || state->fds >= FL_FDS_TOTAL_MAX ||
            ((!fds->slots || fds->count >= (fds->mask + 1) / 4 * 3) && grow(fds) != 0) || !(fd = take_fd(state))) {
            state->stats.fds_refused++;
            return NULL;
        }
        state->stats.fds_added++;
        state->fds++;
        fd->num = num;
        put(fds, fd);
        fds->count++;
    }
    *fd = (struct fl_fd){.num = num};
    return fd;
}

struct fl_fd *fl_fds_add(struct fl_state *state, struct fl_fds *fds, int64_t num, enum fl_fd_type type)
{
    struct fl_fd *fd = get_fd(state, fds, num);

    if (fd) {
        fd->type = (uint8_t)type;
        fd->name = fl_str_ref(state->empty);
    }
    return fd;
}

struct fl_fd *fl_fds_duplicate(struct fl_state *state, struct fl_fds *fds, const struct fl_fd *from, int64_t num)
{
    struct fl_fd copy = *from;

    copy.num = num;
    fl_str_ref(copy.name);      /* before the entry is emptied: it may be the same one */
    fl_str_ref(copy.name_raw);
    struct fl_fd *fd = get_fd(state, fds, num);
    if (fd)
        *fd = copy;
    else
        empty_fd(state, &copy);
    return fd;
}

static void remove_at(struct fl_state *state, struct fl_fds *fds, uint32_t hole)
{
    state->stats.fds_removed++;
    fds->count--;
    give_fd(state, fds->slots[hole]);
    /* Entries behind the hole move into it, unless they are nearer to their own place than the hole is. */
    for (uint32_t i = (hole + 1) & fds->mask; fds->slots[i]; i = (i + 1) & fds->mask) {
        if (((i - home(fds, fds->slots[i]->num)) & fds->mask) >= ((i - hole) & fds->mask)) {
            fds->slots[hole] = fds->slots[i];
            hole = i;
        }
    }
    fds->slots[hole] = NULL;
}

void fl_fds_remove(struct fl_state *state, struct fl_fds *fds, int64_t num)
{
    if (!fds || !fds->slots)
        return;
    uint32_t i = place(fds, num);
    if (fds->slots[i])
        remove_at(state, fds, i);
}

struct fl_fds *fl_fds_copy(struct fl_state *state, const struct fl_fds *from)
{
    struct fl_fds *fds;
    uint32_t size = FL_FDS_MIN;

    if (!from || !from->count)
        return NULL;
    if (from->count > FL_FDS_TOTAL_MAX - state->fds) {
        state->stats.fds_refused += from->count;
        return NULL;
    }
    fds = calloc(1, sizeof *fds);
    if (!fds)
        return NULL;
    /* As large as its entries need: the table may once have had more. */
    while (from->count > size / 4 * 3)
        size *= 2;
    fds->slots = calloc(size, sizeof *fds->slots);
    if (!fds->slots) {
        free(fds);
        return NULL;
    }
    fds->mask = size - 1;
    for (uint32_t i = 0; i <= from->mask; i++) {
        struct fl_fd *fd = from->slots[i] ? take_fd(state) : NULL;
        if (!fd)
            continue;
        *fd = *from->slots[i];
        fl_str_ref(fd->name);
        fl_str_ref(fd->name_raw);
        if (fds->mask == from->mask)
            fds->slots[i] = fd;         /* in a table of the same size everything has the same place */
        else
            put(fds, fd);
        fds->count++;
        state->fds++;
        state->stats.fds_added++;
    }
    return fds;
}

void fl_fds_drop(struct fl_state *state, struct fl_fds *fds, bool (*drop)(const struct fl_fd *fd, const void *context), const void *context)
{
    uint32_t before, start = 0;

    if (!fds || !fds->slots)
        return;
    before = fds->count;
    while (fds->slots[start])
        start++;
    for (uint32_t i = 0; i <= fds->mask; i++) {
        if (!fds->slots[i] || !drop(fds->slots[i], context))
            continue;
        state->stats.fds_removed++;
        fds->count--;
        give_fd(state, fds->slots[i]);
        fds->slots[i] = NULL;
    }
    if (fds->count == before)
        return;
    /* All at once, as removing them one by one would walk the table each time. No entry lies across the place that was free before: from
     * there on, each moves up to the first free one from its own. */
    for (uint32_t k = 1; k <= fds->mask; k++) {
        uint32_t i = (start + k) & fds->mask;
        struct fl_fd *fd = fds->slots[i];
        if (fd) {
            fds->slots[i] = NULL;
            fds->slots[place(fds, fd->num)] = fd;
        }
    }
}

void fl_fds_free(struct fl_state *state, struct fl_fds *fds)
{
    if (!fds)
        return;
    for (uint32_t i = 0; fds->slots && i <= fds->mask; i++) {
        if (fds->slots[i])
            give_fd(state, fds->slots[i]);
    }
    free(fds->slots);
    free(fds);
}

static int by_number(const void *a, const void *b)
{
    int64_t x = (*(struct fl_fd *const *)a)->num, y = (*(struct fl_fd *const *)b)->num;

    return x < y ? -1 : x > y;
}

void fl_fds_each(const struct fl_fds *fds, void (*visit)(const struct fl_fd *fd, void *context), void *context)
{
    struct fl_fd *few[256], **sorted = few;
    bool in_order = true;
    uint32_t n = 0;

    if (!fds || !fds->count)
        return;
    if (fds->count > sizeof few / sizeof *few && !(sorted = malloc(fds->count * sizeof *sorted)))
        return;
    for (uint32_t i = 0; i <= fds->mask; i++) {
        if (fds->slots[i]) {
            in_order &= n == 0 || sorted[n - 1]->num < fds->slots[i]->num;
            sorted[n++] = fds->slots[i];
        }
    }
    if (!in_order)
        qsort(sorted, n, sizeof *sorted, by_number);
    for (uint32_t i = 0; i < n; i++)
        visit(sorted[i], context);
    if (sorted != few)
        free(sorted);
}
