/* SPDX-License-Identifier: Apache-2.0
 *
 * Texts built in the event's scratch memory.
 */
#include "extract.h"

#include <arpa/inet.h>

void fl_text_begin(struct fl_text *text, const struct fl_view *view)
{
    struct fl_scratch *scratch = view->scratch;
    size_t start = (scratch->used + 7) & ~(size_t)7;
    text->scratch = scratch;
    text->s = scratch->data + start;
    text->len = 0;
    text->room = start < scratch->size ? scratch->size - start : 0;
    text->full = false;
}

void fl_text_put(struct fl_text *text, const void *bytes, size_t len)
{
    if (len > text->room - text->len) {
        text->full = true;
        return;
    }
    memcpy(text->s + text->len, bytes, len);
    text->len += len;
}

bool fl_text_end(struct fl_text *text, struct fl_value *out)
{
    /* what doesn't fit is asked for all the same, so that the scratch counts it */
    char *taken = fl_scratch_take(text->scratch, text->full ? text->scratch->size + 1 : text->len);
    return taken && fl_set_str(out, taken, (uint32_t)text->len);
}

/* The length of the UTF-8 sequence at `s`; or, negative, that of the longest beginning of one, which is taken for one unreadable
 * character. */
static int utf8_length(const uint8_t *s, size_t len)
{
    static const uint8_t first[] = {0xc2, 0xe0, 0xf0}, last[] = {0xdf, 0xef, 0xf4};
    int more = 0;
    if (s[0] < 0x80)
        return 1;
    while (more < 3 && !(s[0] >= first[more] && s[0] <= last[more]))
        more++;
    if (more == 3)
        return -1;
    /* the second byte of some is bound more narrowly: no overlong forms, no surrogates, nothing above U+10FFFF */
    uint8_t least = s[0] == 0xe0 ? 0xa0 : s[0] == 0xf0 ? 0x90 : 0x80, most = s[0] == 0xed ? 0x9f : s[0] == 0xf4 ? 0x8f : 0xbf;
    for (int i = 1; i <= more + 1; i++) {
        if ((size_t)i >= len || s[i] < least || s[i] > most)
            return -i;
        least = 0x80, most = 0xbf;
    }
    return more + 2;
}

void fl_text_readable(struct fl_text *text, const char *s, size_t len)
{
    for (size_t i = 0; i < len;) {
        int n = utf8_length((const uint8_t *)s + i, len - i);
        bool control = n == 1 && ((uint8_t)s[i] < 0x20 || s[i] == 0x7f);
        if (n < 0 || control)
            fl_text_lit(text, "\xef\xbf\xbd");
        else
            fl_text_put(text, s + i, (size_t)n);
        i += (size_t)(n < 0 ? -n : n);
    }
}

static void digits_of(struct fl_text *text, uint64_t value, unsigned base, unsigned least)
{
    char digits[24];
    unsigned n = sizeof digits;
    do {
        digits[--n] = "0123456789ABCDEF"[value % base];
        value /= base;
    } while (value || sizeof digits - n < least);
    fl_text_put(text, digits + n, sizeof digits - n);
}

void fl_text_udec(struct fl_text *text, uint64_t value) { digits_of(text, value, 10, 1); }
void fl_text_hex(struct fl_text *text, uint64_t value) { digits_of(text, value, 16, 1); }
void fl_text_oct(struct fl_text *text, uint64_t value) { digits_of(text, value, 8, 1); }
void fl_text_padded(struct fl_text *text, uint64_t value, unsigned digits) { digits_of(text, value, 10, digits); }

void fl_text_dec(struct fl_text *text, int64_t value)
{
    if (value < 0)
        fl_text_char(text, '-');
    digits_of(text, value < 0 ? 0 - (uint64_t)value : (uint64_t)value, 10, 1);
}

void fl_text_ipv4(struct fl_text *text, const uint8_t *addr)
{
    for (int i = 0; i < 4; i++) {
        if (i)
            fl_text_char(text, '.');
        fl_text_udec(text, addr[i]);
    }
}

void fl_text_ipv6(struct fl_text *text, const uint8_t *addr)
{
    char s[INET6_ADDRSTRLEN];
    if (inet_ntop(AF_INET6, addr, s, sizeof s))
        fl_text_lit(text, s);
}

bool fl_next_text(const char *s, uint32_t len, uint32_t *at, struct fl_slice *out)
{
    if (*at >= len)
        return false;
    out->data = s + *at;
    out->len = (uint32_t)strnlen(out->data, len - *at);
    *at += out->len + 1;
    return true;
}

void fl_text_joined(struct fl_text *text, const char *s, size_t len, char separator)
{
    if (len && s[len - 1] == '\0')
        len--;
    if (len > text->room - text->len) {
        text->full = true;
        return;
    }
    char *to = text->s + text->len;
    for (size_t i = 0; i < len; i++)
        to[i] = s[i] ? s[i] : separator;
    text->len += len;
}
