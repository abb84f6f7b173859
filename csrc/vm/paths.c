/* SPDX-License-Identifier: Apache-2.0
 *
 * Prefixes without globs are a trie of "/component/component"; a walk along the path answers all of them. Those with globs, few in
 * practice, are tried one after the other.
 */
#include "paths.h"

#include <stdlib.h>

struct component {
    const char *s;
    uint32_t len;
};

struct glob {
    uint32_t count;
    char *components;           /* one after the other, each with a NUL */
};

struct fl_paths {
    struct fl_trie *exact;
    uint32_t count;
    struct glob globs[];
};

/* The next component of a path; false at its end. Empty ones don't count. */
static bool next_component(const char **at, const char *end, struct component *c)
{
    while (*at < end && **at == '/')
        ++*at;
    c->s = *at;
    while (*at < end && **at != '/')
        ++*at;
    c->len = (uint32_t)(*at - c->s);
    return c->len;
}

static bool is_glob(const struct fl_constant *c)
{
    for (uint32_t i = 0; i < c->len; i++)
        if (strchr("?*[", c->s[i]) && c->s[i])
            return true;
    return false;
}

static int add_exact(struct fl_trie *trie, const struct fl_constant *prefix)
{
    const char *at = prefix->s, *end = at + prefix->len;
    uint32_t node = 0;

    for (struct component c; next_component(&at, end, &c);) {
        node = fl_trie_grow(trie, node, '/');
        for (uint32_t i = 0; node && i < c.len; i++)
            node = fl_trie_grow(trie, node, (unsigned char)c.s[i]);
        if (!node)
            return -1;
    }
    trie->nodes[node].word = true;
    return 0;
}

static int add_glob(struct glob *glob, const struct fl_constant *prefix)
{
    const char *at = prefix->s, *end = at + prefix->len;
    char *to = glob->components = malloc((size_t)prefix->len + 1);

    if (!to)
        return -1;
    for (struct component c; next_component(&at, end, &c); glob->count++) {
        memcpy(to, c.s, c.len);
        to += c.len;
        *to++ = 0;
    }
    return 0;
}

struct fl_paths *fl_paths_new(const struct fl_constant *prefixes, uint32_t count)
{
    uint32_t globs = 0;

    for (uint32_t i = 0; i < count; i++)
        globs += is_glob(&prefixes[i]);
    struct fl_paths *paths = calloc(1, sizeof *paths + globs * sizeof paths->globs[0]);
    if (!paths)
        return NULL;
    paths->exact = fl_trie_new();
    int failed = !paths->exact;
    for (const struct fl_constant *c = prefixes; c < prefixes + count && !failed; c++)
        failed = is_glob(c) ? add_glob(&paths->globs[paths->count++], c) : add_exact(paths->exact, c);
    if (!failed)
        return paths;
    fl_paths_free(paths);
    return NULL;
}

void fl_paths_free(struct fl_paths *paths)
{
    if (!paths)
        return;
    for (uint32_t i = 0; i < paths->count; i++)
        free(paths->globs[i].components);
    fl_trie_free(paths->exact);
    free(paths);
}

static bool matches_exact(const struct fl_trie *trie, const char *at, const char *end)
{
    uint32_t node = 0;

    for (struct component c; !trie->nodes[node].word;) {
        if (!next_component(&at, end, &c) || !(node = fl_trie_child(trie, node, '/')))
            return false;
        for (uint32_t i = 0; i < c.len; i++)
            if (!(node = fl_trie_child(trie, node, (unsigned char)c.s[i])))
                return false;
    }
    return true;
}

static bool matches_glob(struct fl_vm *vm, const struct glob *glob, const char *at, const char *end)
{
    const char *pattern = glob->components;

    for (uint32_t i = 0; i < glob->count; i++, pattern += strlen(pattern) + 1) {
        struct component c;
        if (!next_component(&at, end, &c))
            return false;
        bool exact = !strpbrk(pattern, "?*[");
        if (exact ? c.len != strlen(pattern) || memcmp(c.s, pattern, c.len) : !fl_glob(vm, pattern, c.s, c.len, false))
            return false;
    }
    return true;
}

bool fl_paths_match(struct fl_vm *vm, const struct fl_paths *paths, const char *path, uint32_t len)
{
    if (matches_exact(paths->exact, path, path + len))
        return true;
    for (uint32_t i = 0; i < paths->count; i++)
        if (matches_glob(vm, &paths->globs[i], path, path + len))
            return true;
    return false;
}
