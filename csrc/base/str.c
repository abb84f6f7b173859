/* SPDX-License-Identifier: Apache-2.0
 *
 * A chained hash table. A string that nobody holds any more stays for a while (a ring of the ones released last): a path that is
 * opened over and over is then neither freed nor made again. The ring is bounded in number and, by FL_STR_KEPT_LEN, in bytes.
 */
#include "str.h"

#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>

#include "hash.h"
#include "sanitize.h"

#define FL_STR_KEPT_LEN 512     /* longer strings are freed at once */
#define FL_STR_KEPT (FL_SANITIZE_ADDRESS ? 1 : 2048)
#define FL_BUCKETS_MIN 1024

struct fl_strings {
    struct fl_str **buckets;
    uint32_t mask;              /* buckets - 1; the number of buckets is a power of two */
    uint32_t count;
    uint64_t bytes, refused;    /* of all strings, with their heads; see FL_STRINGS_MAX */
    uint32_t released_at;       /* the ring's next place */
    struct fl_str *released[FL_STR_KEPT];
};

uint64_t fl_hash_secret[2] = {0x9e3779b97f4a7c15u, 0xd1342543de82ef95u};

/* Not the bytes that the kernel hands each process at its start: those are the secret of the stack protector. */
__attribute__((constructor)) static void make_secret(void)
{
    uint64_t random[2];

    if (getrandom(random, sizeof random, GRND_NONBLOCK) == sizeof random)
        memcpy(fl_hash_secret, random, sizeof random);
    fl_hash_secret[1] |= 1;
}

static inline uint64_t load64(const unsigned char *p) { uint64_t v; memcpy(&v, p, 8); return v; }
static inline uint64_t load32(const unsigned char *p) { uint32_t v; memcpy(&v, p, 4); return v; }

uint32_t fl_hash(const void *bytes, size_t len)
{
    const unsigned char *p = bytes;
    uint64_t seed = fl_hash_secret[0] ^ len, a, b;
    size_t left = len;

    for (; left > 16; left -= 16, p += 16)
        seed = fl_mix(load64(p) ^ fl_hash_secret[1], load64(p + 8) ^ seed);
    /* The rest, of 16 bytes or fewer, as two words that may overlap. */
    if (left >= 8) {
        a = load64(p);
        b = load64(p + left - 8);
    } else if (left >= 4) {
        a = load32(p);
        b = load32(p + left - 4);
    } else {
        a = left ? (uint64_t)p[0] << 16 | (uint64_t)p[left >> 1] << 8 | p[left - 1] : 0;
        b = 0;
    }
    seed = fl_mix(a ^ fl_hash_secret[1], b ^ seed);
    return (uint32_t)(seed ^ seed >> 32);
}

struct fl_strings *fl_strings_new(void)
{
    struct fl_strings *strings = calloc(1, sizeof *strings);

    if (!strings)
        return NULL;
    strings->buckets = calloc(FL_BUCKETS_MIN, sizeof *strings->buckets);
    if (!strings->buckets) {
        free(strings);
        return NULL;
    }
    strings->mask = FL_BUCKETS_MIN - 1;
    return strings;
}

void fl_strings_free(struct fl_strings *strings)
{
    if (!strings)
        return;
    for (uint32_t i = 0; i <= strings->mask; i++) {
        for (struct fl_str *str = strings->buckets[i], *next; str; str = next) {
            next = str->next;
            free(str);
        }
    }
    free(strings->buckets);
    free(strings);
}

/* Twice the buckets. Without memory for them the chains just get longer. */
static void grow(struct fl_strings *strings)
{
    uint32_t mask = strings->mask * 2 + 1;
    struct fl_str **buckets;

    if (strings->mask >= 1u << 30)
        return;
    buckets = calloc((size_t)mask + 1, sizeof *buckets);
    if (!buckets)
        return;
    for (uint32_t i = 0; i <= strings->mask; i++) {
        for (struct fl_str *str = strings->buckets[i], *next; str; str = next) {
            next = str->next;
            str->next = buckets[str->hash & mask];
            buckets[str->hash & mask] = str;
        }
    }
    free(strings->buckets);
    strings->buckets = buckets;
    strings->mask = mask;
}

static struct fl_str *find(const struct fl_strings *strings, const void *bytes, size_t len, uint32_t hash)
{
    struct fl_str *str = strings->buckets[hash & strings->mask];

    while (str && (str->hash != hash || str->len != len || memcmp(str->data, bytes, len) != 0))
        str = str->next;
    return str;
}

struct fl_str *fl_str_find(const struct fl_strings *strings, const void *bytes, size_t len)
{
    if (!len)
        bytes = "";
    return find(strings, bytes, len, fl_hash(bytes, len));
}

struct fl_str *fl_str_get(struct fl_strings *strings, const void *bytes, size_t len)
{
    if (!len)
        bytes = "";             /* an empty slice may have no address */
    uint32_t hash = fl_hash(bytes, len);
    struct fl_str *str = find(strings, bytes, len, hash);

    if (str) {
        str->refs++;
        return str;
    }
    if (len > FL_STRINGS_MAX - strings->bytes || len + sizeof *str + 1 > FL_STRINGS_MAX - strings->bytes) {
        strings->refused++;
        return NULL;
    }
    str = malloc(sizeof *str + len + 1);
    if (!str)
        return NULL;
    str->refs = 1;
    str->hash = hash;
    str->len = (uint32_t)len;
    str->kept = false;
    memcpy(str->data, bytes, len);
    str->data[len] = '\0';
    strings->bytes += sizeof *str + len + 1;
    if (strings->count++ > strings->mask)
        grow(strings);
    str->next = strings->buckets[hash & strings->mask];
    strings->buckets[hash & strings->mask] = str;
    return str;
}

uint64_t fl_strings_refused(const struct fl_strings *strings) { return strings->refused; }

static void remove_string(struct fl_strings *strings, struct fl_str *str)
{
    struct fl_str **at = &strings->buckets[str->hash & strings->mask];

    while (*at != str)
        at = &(*at)->next;
    *at = str->next;
    strings->count--;
    strings->bytes -= sizeof *str + str->len + 1;
    free(str);
}

void fl_str_put(struct fl_strings *strings, struct fl_str *str)
{
    if (!str || --str->refs > 0 || str->kept)
        return;
    if (str->len > FL_STR_KEPT_LEN) {
        remove_string(strings, str);
        return;
    }
    struct fl_str *oldest = strings->released[strings->released_at];
    strings->released[strings->released_at] = str;
    strings->released_at = (strings->released_at + 1) % FL_STR_KEPT;
    str->kept = true;
    if (oldest) {
        oldest->kept = false;
        if (oldest->refs == 0)
            remove_string(strings, oldest);
    }
}
