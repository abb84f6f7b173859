/* SPDX-License-Identifier: Apache-2.0
 *
 * A trie of byte strings: one walk along a text tells whether any of them begins it.
 */
#ifndef FL_TRIE_H
#define FL_TRIE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct fl_trie_node {
    uint32_t child, sibling;    /* indices; 0 = none, since the root is nobody's child */
    uint8_t byte;
    bool word;                  /* a string ends here */
};

struct fl_trie {
    struct fl_trie_node *nodes; /* nodes[0]: the root */
    uint32_t count, size;
    uint32_t first[256];        /* children of the root, by their byte */
};

struct fl_trie *fl_trie_new(void);                              /* NULL when memory is out */
void fl_trie_free(struct fl_trie *trie);

/* The child of a node for a byte, made if need be; 0 when memory is out. */
uint32_t fl_trie_grow(struct fl_trie *trie, uint32_t node, unsigned char byte);
int fl_trie_add(struct fl_trie *trie, const char *bytes, uint32_t len);                 /* 0, or -1 when memory is out */
int fl_trie_add_reversed(struct fl_trie *trie, const char *bytes, uint32_t len);

/* The child of a node for a byte; 0 = none. */
static inline uint32_t fl_trie_child(const struct fl_trie *trie, uint32_t node, unsigned char byte)
{
    if (!node)
        return trie->first[byte];
    for (node = trie->nodes[node].child; node && trie->nodes[node].byte != byte; node = trie->nodes[node].sibling)
        ;
    return node;
}

/* Whether one of the strings begins the text; of a trie of reversed strings, whether one ends it. */
bool fl_trie_begins(const struct fl_trie *trie, const char *text, uint32_t len);
bool fl_trie_ends(const struct fl_trie *trie, const char *text, uint32_t len);

#endif
