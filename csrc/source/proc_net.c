/* SPDX-License-Identifier: Apache-2.0
 *
 * Sockets, from /proc/PID/net: the tables of each network namespace are read once, when the first socket in it is met.
 */
#include "proc.h"

#include <ctype.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#define SOCKETS_MAX (1u << 20)          /* of a namespace */
#define TCP_LISTEN 10u

enum family { INET, INET6, UNIX, NETLINK };

struct socket {
    uint8_t type, l4;                   /* as in a descriptor */
    uint8_t sip[16], dip[16];
    uint16_t sport, dport;
    uint64_t address;                   /* unix */
    uint32_t name_len;
    char name[];                        /* unix */
};

struct fl_sockets {
    struct fl_map by_ino;
};

void fl_sockets_free(struct fl_sockets *sockets)
{
    if (!sockets)
        return;
    for (uint32_t i = 0; sockets->by_ino.slots && i <= sockets->by_ino.mask; i++)
        free(sockets->by_ino.slots[i].value);
    fl_map_clear(&sockets->by_ino);
    free(sockets);
}

/* The first entry of an inode counts. A unix socket's path may hold a line feed, and what follows it look like an entry: such a forged one is
 * never taken for a socket of another family, as their tables are read before. */
static void add(struct fl_sockets *sockets, uint64_t ino, const struct socket *from, const char *name, size_t len)
{
    if (!ino || sockets->by_ino.count >= SOCKETS_MAX || fl_map_find(&sockets->by_ino, (int64_t)ino))
        return;
    struct socket *s = malloc(sizeof *s + len + 1);
    if (!s)
        return;
    *s = *from;
    s->name_len = (uint32_t)len;
    memcpy(s->name, name, len);
    if (fl_map_set(&sockets->by_ino, (int64_t)ino, s) != 0)
        free(s);
}

/* Addresses are printed as words of the machine's byte order: what memory holds is the network's. */
static bool read_address(const char *text, unsigned words, uint8_t out[16])
{
    for (unsigned i = 0; i < words; i++) {
        uint32_t word;
        if (sscanf(text + 8 * i, "%8x", &word) != 1)
            return false;
        memcpy(out + 4 * i, &word, 4);
    }
    return true;
}

static bool is_zero(const uint8_t *at, size_t len)
{
    while (len && !at[len - 1])
        len--;
    return !len;
}

/* "::ffff:1.2.3.4" is 1.2.3.4. */
static bool is_mapped(const uint8_t *addr)
{
    return is_zero(addr, 10) && addr[10] == 0xff && addr[11] == 0xff;
}

/* sl local:port remote:port state tx:rx tr:when retransmits uid timeout inode */
static void inet_line(struct fl_sockets *sockets, const char *line, bool v6, uint8_t l4)
{
    char local[33], remote[33];
    unsigned sport, dport, state;
    unsigned long long ino;
    struct socket s = {.l4 = l4};
    unsigned words = v6 ? 4 : 1;

    if (sscanf(line, " %*u: %32[0-9A-F]:%4x %32[0-9A-F]:%4x %2x %*x:%*x %*x:%*x %*x %*u %*u %llu", local, &sport, remote, &dport, &state, &ino) != 6
        || strlen(local) != 8 * words || strlen(remote) != 8 * words || !read_address(local, words, s.sip) || !read_address(remote, words, s.dip))
        return;
    s.sport = (uint16_t)sport;
    s.dport = (uint16_t)dport;
    bool server = l4 == 2 ? state == TCP_LISTEN : l4 == 3 && !dport && is_zero(s.dip, sizeof s.dip);
    if (server && v6 && is_mapped(s.sip)) {
        memcpy(s.sip, s.sip + 12, 4);
        memset(s.sip + 4, 0, 12);
        v6 = false;
    }
    s.type = v6 ? (server ? FL_FD_IPV6_SERVSOCK : FL_FD_IPV6_SOCK) : server ? FL_FD_IPV4_SERVSOCK : FL_FD_IPV4_SOCK;
    add(sockets, ino, &s, "", 0);
}

/* address: references protocol flags type state inode [path] */
static void unix_line(struct fl_sockets *sockets, const char *line, size_t len)
{
    unsigned long long address, ino;
    int end = 0;
    struct socket s = {.type = FL_FD_UNIX_SOCK};

    if (sscanf(line, "%llx: %*x %*x %*x %*x %*x %llu%n", &address, &ino, &end) != 2)
        return;
    s.address = address;
    size_t at = (size_t)end + (line[end] == ' ');
    add(sockets, ino, &s, line + at, at < len ? len - at : 0);
}

/* address protocol port groups receiving sending dump locks drops inode */
static void netlink_line(struct fl_sockets *sockets, const char *line)
{
    unsigned long long ino;
    struct socket s = {.type = FL_FD_NETLINK};

    if (sscanf(line, "%*x %*u %*u %*x %*u %*u %*u %*u %*u %llu", &ino) == 1)
        add(sockets, ino, &s, "", 0);
}

static void read_table(struct fl_sockets *sockets, int folder, const char *name, enum family family, uint8_t l4)
{
    int fd = openat(folder, name, O_RDONLY | O_CLOEXEC);
    FILE *file = fd < 0 ? NULL : fdopen(fd, "r");
    char line[1024];

    if (!file) {
        if (fd >= 0)
            close(fd);
        return;
    }
    for (bool head = true; fgets(line, sizeof line, file); head = false) {
        size_t len = strcspn(line, "\n");
        line[len] = '\0';
        if (head)
            continue;
        switch (family) {
        case INET: inet_line(sockets, line, false, l4); break;
        case INET6: inet_line(sockets, line, true, l4); break;
        case UNIX: unix_line(sockets, line, len); break;
        case NETLINK: netlink_line(sockets, line); break;
        }
    }
    fclose(file);
}

static struct fl_sockets *read_tables(int folder)
{
    static const struct { const char *name; enum family family; uint8_t l4; } tables[] = {
        {"net/tcp", INET, 2}, {"net/tcp6", INET6, 2}, {"net/udp", INET, 3}, {"net/udp6", INET6, 3}, {"net/udplite", INET, 3},
        {"net/udplite6", INET6, 3}, {"net/raw", INET, 5}, {"net/raw6", INET6, 5}, {"net/icmp", INET, 4}, {"net/icmp6", INET6, 4},
        {"net/netlink", NETLINK, 0}, {"net/unix", UNIX, 0},
    };
    struct fl_sockets *sockets = calloc(1, sizeof *sockets);

    for (size_t i = 0; sockets && i < sizeof tables / sizeof *tables; i++)
        read_table(sockets, folder, tables[i].name, tables[i].family, tables[i].l4);
    return sockets;
}

const struct fl_sockets *fl_proc_sockets(struct fl_scan *scan, int folder, uint64_t network)
{
    int64_t ns = (int64_t)network;
    struct fl_networks *networks = scan->networks;

    if (!ns || folder < 0)
        return NULL;
    pthread_mutex_lock(&networks->lock);        /* also while the tables are read: who else needs them would read them too */
    struct fl_sockets *sockets = fl_map_find(&networks->by_ino, ns);
    if (!sockets && (sockets = read_tables(folder)) && fl_map_set(&networks->by_ino, ns, sockets) != 0) {
        fl_sockets_free(sockets);
        sockets = NULL;
    }
    pthread_mutex_unlock(&networks->lock);
    return sockets;
}

bool fl_sockets_find(const struct fl_sockets *sockets, uint64_t ino, struct fl_scap_fd *fd)
{
    const struct socket *s = fl_map_find(&sockets->by_ino, (int64_t)ino);

    if (!s)
        return false;
    fd->type = s->type;
    fd->l4 = s->l4;
    memcpy(fd->sip, s->sip, sizeof fd->sip);
    memcpy(fd->dip, s->dip, sizeof fd->dip);
    fd->sport = s->sport;
    fd->dport = s->dport;
    fd->source = s->address;
    fd->name = (struct fl_slice){s->name, s->name_len};
    return true;
}
