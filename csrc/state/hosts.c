/* SPDX-License-Identifier: Apache-2.0
 *
 * Names of addresses: of the hosts that rules name, as somebody has resolved them. Nothing is resolved here.
 */
#include <stdlib.h>

#include "internal.h"

static int by_address(const void *a, const void *b)
{
    const struct fl_host *x = a, *y = b;
    int order = memcmp(x->addr, y->addr, sizeof x->addr);

    return order ? order : x->row < y->row ? -1 : 1;
}

void fl_hosts_clear(struct fl_state *state)
{
    for (uint32_t i = 0; i < state->nhosts; i++)
        fl_str_put(state->strings, state->hosts[i].name);
    free(state->hosts);
    state->hosts = NULL;
    state->nhosts = 0;
}

/* Takes rows up to what is none, or for which there is no memory: then false. */
static bool take_rows(struct fl_state *state, const uint8_t *rows, size_t len)
{
    for (const uint8_t *at = rows, *end = rows + len; at < end && state->nhosts < FL_HOSTS_MAX;) {
        const uint8_t *nul = (size_t)(end - at) > FL_HOST_ADDRESS ? memchr(at + FL_HOST_ADDRESS, 0, (size_t)(end - at) - FL_HOST_ADDRESS) : NULL;
        if (!nul)
            return false;
        /* the room is a power of two, doubled when it is full */
        if ((state->nhosts & (state->nhosts - 1)) == 0) {
            struct fl_host *bigger = realloc(state->hosts, (state->nhosts ? state->nhosts * 2 : 1) * sizeof *bigger);
            if (!bigger)
                return false;
            state->hosts = bigger;
        }
        struct fl_host *host = &state->hosts[state->nhosts];
        memcpy(host->addr, at, sizeof host->addr);
        host->row = state->nhosts;
        host->name = fl_str_get(state->strings, (const char *)at + FL_HOST_ADDRESS, (size_t)(nul - at) - FL_HOST_ADDRESS);
        state->nhosts += host->name != NULL;    /* a text that is refused, as there are too many, is counted there */
        at = nul + 1;
    }
    return true;
}

bool fl_state_hosts(struct fl_state *state, const uint8_t *rows, size_t len)
{
    fl_hosts_clear(state);
    bool whole = take_rows(state, rows, len);
    if (!whole)
        fl_hosts_clear(state);          /* they aren't in order, in which they are looked up */
    else if (state->nhosts)
        qsort(state->hosts, state->nhosts, sizeof *state->hosts, by_address);
    return whole;
}

uint32_t fl_hosts_at(const struct fl_state *state, const uint8_t *addr, bool v6, const struct fl_host **first)
{
    uint8_t whole[FL_HOST_ADDRESS] = {[10] = 0xff, [11] = 0xff};
    uint32_t low = 0, high = state->nhosts, count = 0;

    memcpy(v6 ? whole : whole + 12, addr, v6 ? 16 : 4);
    while (low < high) {
        uint32_t middle = low + (high - low) / 2;
        if (memcmp(state->hosts[middle].addr, whole, sizeof whole) < 0)
            low = middle + 1;
        else
            high = middle;
    }
    while (low + count < state->nhosts && memcmp(state->hosts[low + count].addr, whole, sizeof whole) == 0)
        count++;
    *first = count ? state->hosts + low : NULL;
    return count;
}
