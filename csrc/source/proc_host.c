/* SPDX-License-Identifier: Apache-2.0
 *
 * The machine: its memory and name, the addresses of its interfaces, users and groups.
 */
#include "proc.h"

#include "accounts.h"

#include <ifaddrs.h>
#include <netinet/in.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#define USERS_MAX (1u << 20)            /* as the state takes */

static void send_machine(struct fl_scan *scan)
{
    struct fl_scap_item item = {.kind = FL_SCAP_MACHINE};
    char name[129] = "", number[32];
    long cpus = sysconf(_SC_NPROCESSORS_ONLN), pages = sysconf(_SC_PHYS_PAGES), page = sysconf(_SC_PAGESIZE);

    gethostname(name, sizeof name - 1);
    item.machine.num_cpus = cpus > 0 ? (uint32_t)cpus : 1;
    item.machine.memory_bytes = pages > 0 && page > 0 ? (uint64_t)pages * (uint64_t)page : 0;
    if (fl_proc_read(scan->proc, "sys/kernel/pid_max", number, sizeof number - 1) > 0)
        item.machine.max_pid = strtoull(number, NULL, 10);
    item.machine.boot_ts = scan->boot_ts;
    item.machine.hostname = (struct fl_slice){name, (uint32_t)strlen(name)};
    scan->sink(scan->context, &item);
}

static void send_interfaces(struct fl_scan *scan)
{
    struct ifaddrs *all;

    if (getifaddrs(&all) != 0)
        return;
    for (const struct ifaddrs *at = all; at; at = at->ifa_next) {
        struct fl_scap_item item = {.kind = FL_SCAP_INTERFACE};
        struct fl_scap_interface *f = &item.interface;
        if (!at->ifa_addr || (at->ifa_addr->sa_family != AF_INET && at->ifa_addr->sa_family != AF_INET6))
            continue;
        f->v6 = at->ifa_addr->sa_family == AF_INET6;
        f->name = (struct fl_slice){at->ifa_name, (uint32_t)strlen(at->ifa_name)};
#define ADDRESS(from, to) \
        if (from) \
            memcpy(to, f->v6 ? (const void *)&((const struct sockaddr_in6 *)(const void *)(from))->sin6_addr \
                             : (const void *)&((const struct sockaddr_in *)(const void *)(from))->sin_addr, f->v6 ? 16 : 4)
        ADDRESS(at->ifa_addr, f->addr);
        ADDRESS(at->ifa_netmask, f->netmask);
        if (!f->v6)
            ADDRESS(at->ifa_broadaddr, f->broadcast);
#undef ADDRESS
        scan->sink(scan->context, &item);
    }
    freeifaddrs(all);
}

static void send_line(struct fl_scan *scan, char *line, bool users)
{
    struct fl_scap_item item = {.kind = users ? FL_SCAP_USER : FL_SCAP_GROUP};
    struct fl_account account;

    if (!fl_account_of_line(line, users, &account))
        return;
    if (users)
        item.user = (struct fl_scap_user){account.id, account.gid, account.name, account.home, account.shell};
    else
        item.group = (struct fl_scap_group){account.id, account.name};
    scan->sink(scan->context, &item);
}

/* The first entry of an id counts, as for the C library: so they are sent in reverse, and the last that is sent stays. */
static void send_names(struct fl_scan *scan, bool users)
{
    char path[300], (*lines)[1024] = NULL;
    uint32_t count = 0, room = 0;

    snprintf(path, sizeof path, "%s/etc/%s", scan->root, users ? "passwd" : "group");
    FILE *file = fopen(path, "re");
    if (!file)
        return;
    for (bool whole = true; count < USERS_MAX;) {
        if (count == room) {
            void *bigger = realloc(lines, (room ? room * 2 : 64) * sizeof *lines);
            if (!bigger)
                break;
            lines = bigger;
            room = room ? room * 2 : 64;
        }
        if (!fgets(lines[count], sizeof *lines, file))
            break;
        bool starts = whole;
        whole = strchr(lines[count], '\n') != NULL;
        count += starts;                /* of a line that is too long, what follows the first bytes is passed over */
    }
    fclose(file);
    while (count--)
        send_line(scan, lines[count], users);
    free(lines);
}

void fl_scan_machine(struct fl_scan *scan)
{
    send_machine(scan);
    send_interfaces(scan);
    send_names(scan, true);
    send_names(scan, false);
}
