/* SPDX-License-Identifier: Apache-2.0 */
#include "paths.h"

#include <stdlib.h>
#include <string.h>

#include "../base/hash.h"
#include "skip.h"

#define KEY_MAX 256             /* bytes of a key that is written with escapes; longer ones are no key of ours */

/* A step of a pointer. Its value is known if its `seen` is later than its parent's: a document numbers what it comes across, and an object
 * that replaces an earlier one of the same key so makes all below it unknown. */
struct node {
    char *key;
    uint32_t len;
    int32_t parent, next;       /* next: of the same bucket */
    uint64_t seen, parent_seen;
    struct fl_json value;
    bool has_children;
};

struct frame {
    int32_t node;
    bool object;
    uint32_t index;             /* of an array */
};

#define BUCKETS 256u

struct fl_json_paths {
    struct node *nodes;         /* the document itself first */
    int32_t count, room;
    uint32_t depth;
    uint64_t seen;
    struct frame *frames;
    int32_t buckets[BUCKETS];   /* children of all nodes, by parent and key; -1 = none */
};

static uint32_t bucket_of(int32_t parent, const char *key, uint32_t len)
{
    uint64_t hash = (uint64_t)(uint32_t)parent << 32 | len;
    if (len) {
        hash ^= (uint64_t)(uint8_t)key[0] << 8 ^ (uint64_t)(uint8_t)key[len - 1] << 16 ^ (uint64_t)(uint8_t)key[len / 2] << 24;
    }
    return (uint32_t)(hash * 0x9e3779b97f4a7c15u >> 56) & (BUCKETS - 1);
}

static int32_t child_of(const struct fl_json_paths *p, int32_t parent, const char *key, uint32_t len)
{
    int32_t n = p->buckets[bucket_of(parent, key, len)];
    while (n >= 0) {
        const struct node *node = &p->nodes[n];
        if (node->parent == parent && node->len == len && !memcmp(node->key, key, len))
            break;
        n = node->next;
    }
    return n;
}

static int32_t add_node(struct fl_json_paths *p, int32_t parent, char *key, uint32_t len)
{
    if (p->count == p->room) {
        int32_t room = p->room ? p->room * 2 : 32;
        struct node *nodes = realloc(p->nodes, (size_t)room * sizeof *nodes);
        if (!nodes)
            return -1;
        p->nodes = nodes;
        p->room = room;
    }
    int32_t n = p->count++;
    p->nodes[n] = (struct node){.key = key, .len = len, .parent = parent, .next = -1};
    if (parent >= 0) {
        uint32_t bucket = bucket_of(parent, key, len);
        p->nodes[n].next = p->buckets[bucket];
        p->buckets[bucket] = n;
        p->nodes[parent].has_children = true;
    }
    return n;
}

struct fl_json_paths *fl_json_paths_new(void)
{
    struct fl_json_paths *p = calloc(1, sizeof *p);
    if (!p)
        return NULL;
    memset(p->buckets, 0xff, sizeof p->buckets);
    p->frames = malloc(sizeof *p->frames);
    if (p->frames && add_node(p, -1, NULL, 0) == 0)
        return p;
    fl_json_paths_free(p);
    return NULL;
}

void fl_json_paths_free(struct fl_json_paths *p)
{
    if (!p)
        return;
    for (int32_t i = 0; i < p->count; i++)
        free(p->nodes[i].key);
    free(p->nodes);
    free(p->frames);
    free(p);
}

/* A step of a pointer as a key: ~1 is /, ~0 is ~. */
static uint32_t unescape(const char *s, size_t len, char *key)
{
    uint32_t n = 0;
    for (size_t i = 0; i < len; i++) {
        if (s[i] == '~' && i + 1 < len && (s[i + 1] == '0' || s[i + 1] == '1'))
            key[n++] = s[++i] == '0' ? '~' : '/';
        else
            key[n++] = s[i];
    }
    return n;
}

int32_t fl_json_paths_add(struct fl_json_paths *p, const char *pointer, size_t len)
{
    const char *at = pointer, *end = pointer + len;
    int32_t n = 0;
    uint32_t depth = 0;

    if (!len)
        return 0;
    at += *at == '/';
    for (;; at++, depth++) {
        const char *slash = memchr(at, '/', (size_t)(end - at)), *stop = slash ? slash : end;
        char *key = malloc((size_t)(stop - at) + 1);
        if (!key)
            return -1;
        uint32_t size = unescape(at, (size_t)(stop - at), key);
        int32_t child = child_of(p, n, key, size);
        if (child >= 0)
            free(key);
        else if ((child = add_node(p, n, key, size)) < 0) {
            free(key);
            return -1;
        }
        n = child;
        at = stop;
        if (!slash)
            break;
    }
    if (depth + 1 > p->depth) {
        struct frame *frames = realloc(p->frames, (depth + 2) * sizeof *frames);
        if (!frames)
            return -1;
        p->frames = frames;
        p->depth = depth + 1;
    }
    return n;
}

/* ---- the pass ---- */

/* Whether the escapes in a string are JSON's. */
static bool escapes_are_valid(const char *at, const char *end)
{
    for (; at < end; at++) {
        if (*at != '\\')
            continue;
        at++;
        if (*at == 'u') {
            if (end - at < 5)
                return false;
            for (int i = 1; i <= 4; i++)
                if (!((at[i] >= '0' && at[i] <= '9') || ((at[i] | 32) >= 'a' && (at[i] | 32) <= 'f')))
                    return false;
            at += 4;
        } else if (!memchr("\"\\/bfnrt", *at, 8)) {
            return false;
        }
    }
    return true;
}

/* The value at `at`, if no pointer leads into it: its end, or NULL. */
static const char *pass_over(const char *at, const char *end)
{
    bool escapes = false;

    if (at < end && *at == '"') {
        const char *stop = fl_json_string_end(at + 1, end, &escapes);
        return stop && (!escapes || escapes_are_valid(at + 1, stop - 1)) ? stop : NULL;
    }
    return fl_json_skip(at, end);
}

/* The child of a node that a key as written names; -1 = none. */
static int32_t child_named(const struct fl_json_paths *p, int32_t node, const char *s, const char *stop, bool escapes)
{
    char key[KEY_MAX];
    size_t len = (size_t)(stop - s);

    if (!escapes)
        return len <= UINT32_MAX ? child_of(p, node, s, (uint32_t)len) : -1;
    if (len + 2 > KEY_MAX)
        return -1;
    len = fl_json_string((struct fl_json){s - 1, len + 2}, key);
    return child_of(p, node, key, (uint32_t)len);
}

static int32_t child_at(const struct fl_json_paths *p, int32_t node, uint32_t index)
{
    char key[10];
    uint32_t len = sizeof key;

    do
        key[--len] = (char)('0' + index % 10);
    while (index /= 10);
    return child_of(p, node, key + len, (uint32_t)sizeof key - len);
}

/* Notes that a node's value comes next. */
static int32_t enter(struct fl_json_paths *p, int32_t node)
{
    if (node >= 0) {
        p->nodes[node].value.s = NULL;
        p->nodes[node].seen = ++p->seen;
        p->nodes[node].parent_seen = p->nodes[p->nodes[node].parent].seen;
    }
    return node;
}

/* Reads a key and its colon: what is behind them, and the node that they lead to; NULL if there are none. */
static const char *read_key(struct fl_json_paths *p, const char *at, const char *end, int32_t parent, int32_t *node)
{
    const char *name = at + 1;
    bool escapes = false;

    if (at >= end || *at != '"')
        return NULL;
    at = fl_json_string_end(name, end, &escapes);
    if (!at || (escapes && !escapes_are_valid(name, at - 1)))
        return NULL;
    *node = enter(p, child_named(p, parent, name, at - 1, escapes));
    at = fl_json_blanks(at, end);
    return at < end && *at == ':' ? fl_json_blanks(at + 1, end) : NULL;
}

const char *fl_json_paths_scan(struct fl_json_paths *p, const char *at, const char *end)
{
    enum { VALUE, MEMBER, ITEM, BEHIND, CLOSE } next = VALUE;
    struct node *nodes = p->nodes;
    int32_t node = 0;           /* whose value comes next; -1: of none */
    struct frame *f = p->frames;        /* the first stands for what is around the document */

    at = fl_json_blanks(at, end);
    nodes[0].seen = ++p->seen;
    for (;;) {
        switch (next) {
        case VALUE:
            if (node >= 0)
                nodes[node].value.s = at;
            if (node >= 0 && nodes[node].has_children && at < end && (*at == '{' || *at == '[')) {
                *++f = (struct frame){node, *at == '{', 0};
                at = fl_json_blanks(at + 1, end);
                next = at < end && *at == (f->object ? '}' : ']') ? CLOSE : f->object ? MEMBER : ITEM;
                break;
            }
            at = pass_over(at, end);
            if (!at)
                return NULL;
            if (node >= 0)
                nodes[node].value.len = (size_t)(at - nodes[node].value.s);
            next = BEHIND;
            break;
        case MEMBER:
            at = read_key(p, at, end, f->node, &node);
            if (!at)
                return NULL;
            next = VALUE;
            break;
        case ITEM:
            node = enter(p, child_at(p, f->node, f->index++));
            next = VALUE;
            break;
        case BEHIND:
            if (f == p->frames)
                return at;
            at = fl_json_blanks(at, end);
            if (at >= end || (*at != ',' && *at != (f->object ? '}' : ']')))
                return NULL;
            next = *at != ',' ? CLOSE : f->object ? MEMBER : ITEM;
            if (next != CLOSE)
                at = fl_json_blanks(at + 1, end);
            break;
        case CLOSE:
            at++;
            nodes[f->node].value.len = (size_t)(at - nodes[f->node].value.s);
            f--;
            next = BEHIND;
            break;
        }
    }
}

static bool is_seen(const struct fl_json_paths *p, int32_t path)
{
    for (int32_t n = path; n > 0; n = p->nodes[n].parent)
        if (p->nodes[n].parent_seen != p->nodes[p->nodes[n].parent].seen)
            return false;
    return true;
}

bool fl_json_paths_value(const struct fl_json_paths *p, int32_t path, struct fl_json *value)
{
    if (!is_seen(p, path))
        return false;
    *value = p->nodes[path].value;
    return true;
}

const char *fl_json_paths_begun(const struct fl_json_paths *p, int32_t path) { return is_seen(p, path) ? p->nodes[path].value.s : NULL; }
