/* SPDX-License-Identifier: Apache-2.0
 *
 * Texts that the state makes: joined paths, socket addresses.
 */

#include "internal.h"

#include <arpa/inet.h>

/* Appends a path to out[0 … n), which is kept as it is, normalising what is appended. Dots behind a base that doesn't end in a slash
 * ("<UNKNOWN>") are a part of a name. */
static uint32_t append_path(char *out, uint32_t n, const char *path, uint32_t path_len)
{
    const char *end = path + path_len;
    bool no_base = n == 0;

    while (path < end) {
        const char *slash = memchr(path, '/', (size_t)(end - path));
        const char *stop = slash ? slash : end;
        uint32_t len = (uint32_t)(stop - path);
        bool begins = n == 0 || out[n - 1] == '/';

        if (begins && len == 2 && path[0] == '.' && path[1] == '.') {
            /* Takes away the last component of the whole: up to the slash before it, which stays. */
            if (n > 1) {
                n--;
                while (n > 0 && out[n - 1] != '/')
                    n--;
            }
        } else if (len > 1 || (len == 1 && !(begins && path[0] == '.'))) {
            memcpy(out + n, path, len);
            n += len;
            if (slash)
                out[n++] = '/';
        } else if (len == 0 && n == 0 && no_base) {
            out[n++] = '/';     /* the slash that an absolute path begins with; others of nothing are dropped */
        }
        path = slash ? slash + 1 : end;
    }
    return n;
}

/* Whether nothing is to be normalised in a path, which most are: it is absolute, has no empty component and none that begins with a dot. */
static bool is_plain(const char *path, uint32_t len)
{
    char before = 0;

    if (len < 2 || path[0] != '/' || path[len - 1] == '/')
        return false;
    for (const char *at = path; at < path + len; before = *at++) {
        if (before == '/' && (*at == '/' || *at == '.'))
            return false;
    }
    return true;
}

uint32_t fl_path_join(char *out, const char *base, uint32_t base_len, const char *path, uint32_t path_len)
{
    static const char too_long[] = "/DIR_TOO_LONG/FILENAME_TOO_LONG";
    uint32_t n = 0;

    if ((uint64_t)base_len + path_len + 1 > FL_PATH_MAX - 1) {
        memcpy(out, too_long, sizeof too_long - 1);
        return sizeof too_long - 1;
    }
    if (is_plain(path, path_len)) {
        memcpy(out, path, path_len);
        return path_len;
    }
    if (path_len > 0 && path[0] != '/') {
        memcpy(out, base, base_len);
        n = base_len;
    }
    n = append_path(out, n, path, path_len);
    if (n > 1 && out[n - 1] == '/')
        n--;
    return n;
}

bool fl_is_mapped(const uint8_t *addr)
{
    static const uint8_t zero[16];

    /* ::ffff:a.b.c.d; and the unspecified address, which goes with one */
    return memcmp(addr, zero, 10) == 0 && ((addr[10] == 0xff && addr[11] == 0xff) || memcmp(addr + 10, zero, 6) == 0);
}

static char *put_number(char *out, unsigned number)
{
    char digits[10];
    int n = 0;

    do
        digits[n++] = (char)('0' + number % 10);
    while (number /= 10);
    while (n)
        *out++ = digits[--n];
    return out;
}

/* "address:port": at most 45 + 1 + 5 bytes, and a NUL in between */
static char *put_endpoint(char *out, bool v6, const uint8_t *addr, uint16_t port)
{
    if (v6) {
        if (inet_ntop(AF_INET6, addr, out, INET6_ADDRSTRLEN))
            out += strlen(out);
    } else {
        for (int i = 0; i < 4; i++) {
            if (i)
                *out++ = '.';
            out = put_number(out, addr[i]);
        }
    }
    *out++ = ':';
    return put_number(out, port);
}

uint32_t fl_tuple_text(char *out, size_t size, const struct fl_fd *fd)
{
    bool v6 = fd->type == FL_FD_IPV6_SOCK || fd->type == FL_FD_IPV6_SERVSOCK;
    char *at = out;

    if (size < 2 * (INET6_ADDRSTRLEN + 6) + 2)
        return 0;
    switch (fd->type) {
    case FL_FD_IPV4_SERVSOCK:
    case FL_FD_IPV6_SERVSOCK:
        at = put_endpoint(at, v6, fd->sip, fd->sport);
        break;
    case FL_FD_IPV4_SOCK:
    case FL_FD_IPV6_SOCK:
        at = put_endpoint(at, v6, fd->sip, fd->sport);
        *at++ = '-';
        *at++ = '>';
        at = put_endpoint(at, v6, fd->dip, fd->dport);
        break;
    default:
        break;
    }
    return (uint32_t)(at - out);
}
