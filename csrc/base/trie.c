/* SPDX-License-Identifier: Apache-2.0 */
#include "trie.h"

#include <stdlib.h>

struct fl_trie *fl_trie_new(void)
{
    struct fl_trie *trie = calloc(1, sizeof *trie);

    if (!trie)
        return NULL;
    trie->size = 16;
    trie->nodes = calloc(trie->size, sizeof *trie->nodes);
    if (!trie->nodes) {
        free(trie);
        return NULL;
    }
    trie->count = 1;
    return trie;
}

void fl_trie_free(struct fl_trie *trie)
{
    if (!trie)
        return;
    free(trie->nodes);
    free(trie);
}

uint32_t fl_trie_grow(struct fl_trie *trie, uint32_t node, unsigned char byte)
{
    uint32_t child = fl_trie_child(trie, node, byte);

    if (child)
        return child;
    if (trie->count == trie->size) {
        if (trie->size > UINT32_MAX / 2)
            return 0;
        struct fl_trie_node *nodes = realloc(trie->nodes, 2 * (size_t)trie->size * sizeof *nodes);
        if (!nodes)
            return 0;
        trie->nodes = nodes;
        trie->size *= 2;
    }
    child = trie->count++;
    trie->nodes[child] = (struct fl_trie_node){.sibling = trie->nodes[node].child, .byte = byte};
    trie->nodes[node].child = child;
    if (!node)
        trie->first[byte] = child;
    return child;
}

static unsigned char byte_at(const char *text, uint32_t len, uint32_t i, bool reversed)
{
    return (unsigned char)text[reversed ? len - 1 - i : i];
}

static int add(struct fl_trie *trie, const char *bytes, uint32_t len, bool reversed)
{
    uint32_t node = 0;

    for (uint32_t i = 0; i < len; i++) {
        node = fl_trie_grow(trie, node, byte_at(bytes, len, i, reversed));
        if (!node)
            return -1;
    }
    trie->nodes[node].word = true;
    return 0;
}

int fl_trie_add(struct fl_trie *trie, const char *bytes, uint32_t len) { return add(trie, bytes, len, false); }
int fl_trie_add_reversed(struct fl_trie *trie, const char *bytes, uint32_t len) { return add(trie, bytes, len, true); }

static inline bool walk(const struct fl_trie *trie, const char *text, uint32_t len, bool reversed)
{
    uint32_t node = 0;

    for (uint32_t i = 0; !trie->nodes[node].word; i++)
        if (i == len || !(node = fl_trie_child(trie, node, byte_at(text, len, i, reversed))))
            return false;
    return true;
}

bool fl_trie_begins(const struct fl_trie *trie, const char *text, uint32_t len) { return walk(trie, text, len, false); }
bool fl_trie_ends(const struct fl_trie *trie, const char *text, uint32_t len) { return walk(trie, text, len, true); }
