/* SPDX-License-Identifier: Apache-2.0
 *
 * libFuzzer target of the state engine. The first byte chooses what the rest is: a capture (then it goes through the reader), or events,
 * written down so that small changes give other well-formed ones: few threads and descriptors, texts and numbers that meet again.
 * After each event the tables must be consistent. Containers are asked for and told, and threads are looked for, as on a live source. tests/test_state_fuzz.py builds it and makes its seeds.
 */
#include <stdlib.h>

#include "../internal.h"

static volatile uint64_t sink;

static void check(bool holds)
{
    if (!holds)
        abort();
}

static void touch(const struct fl_str *str)
{
    if (!str)
        return;
    check(str->refs > 0 && str->data[str->len] == '\0' && str->hash == fl_hash(str->data, str->len));
    sink += str->len;
}

static void touch_fd(const struct fl_fd *fd, void *context)
{
    char text[256];

    (void)context;
    check(fd->type <= FL_FD_PIDFD);
    touch(fd->name);
    touch(fd->name_raw);
    check(fl_tuple_text(text, sizeof text, fd) < sizeof text);
}

static void check_fds(const struct fl_state *state, const struct fl_fds *fds)
{
    uint32_t count = 0;

    for (uint32_t i = 0; fds && fds->slots && i <= fds->mask; i++) {
        if (fds->slots[i]) {
            count++;
            check(fl_fd_find(fds, fds->slots[i]->num) == fds->slots[i]);
        }
    }
    check(count == fl_fds_count(fds) && count <= state->limits.fds);
    fl_fds_each(fds, touch_fd, NULL);
}

static void check_thread(const struct fl_state *state, const struct fl_thread *thread)
{
    const struct fl_str *texts[] = {thread->comm, thread->exe, thread->exepath, thread->args, thread->env, thread->cgroups, thread->cwd,
                                    thread->root, thread->container_id};
    uint32_t levels = 0;

    for (size_t i = 0; i < sizeof texts / sizeof *texts; i++)
        touch(texts[i]);
    for (const struct fl_thread *parent = thread; parent; parent = fl_thread_parent(state, parent))
        check(levels++ <= state->threads.count && fl_thread_find(state, parent->tid) == parent);
    for (const struct fl_thread *child = thread->children; child; child = child->next_sibling)
        check(child->parent == thread && child->ptid == thread->tid);
    if (thread->group) {
        const struct fl_group *group = thread->group;
        uint32_t live = 0, total = 0;
        for (const struct fl_thread *member = group->members; member; member = member->next_member, total++) {
            check(member->group == group);
            check(member->next_member ? member->next_member->previous_member == member : group->last == member);
            live += !member->dead;
        }
        check(live == group->live && total == group->total && (!group->main || group->main->group == group));
    }
    check_fds(state, thread->fds);
}

static void check_state(const struct fl_state *state)
{
    uint64_t fds = 0;

    check(state->threads.count <= state->limits.threads);
    for (uint32_t i = 0; state->threads.slots && i <= state->threads.mask; i++) {
        const struct fl_thread *thread = state->threads.slots[i].value;
        if (thread) {
            check_thread(state, thread);
            fds += fl_fds_count(thread->fds);
        }
    }
    check(fds == state->fds);
}

static bool exists(void *context, int64_t tid)
{
    (void)context;
    return tid % 3;
}

/* What a live source does between two events. */
static void between(struct fl_state *state, uint64_t num, uint64_t ts)
{
    static const char told[] = "{\"container\":{\"id\":\"0123456789ab\",\"Mounts\":[{}],\"labels\":{\"a\":\"b\"}}}";
    static const char unknown[] = "{\"container\":{\"id\":\"0123456789ab\",\"lookup\":\"unknown\"}}";
    char ids[70];

    if (fl_state_wanted(state, ids, num % 2 ? sizeof ids : 8))
        fl_state_container(state, num % 3 ? told : unknown, num % 3 ? sizeof told - 1 : sizeof unknown - 1);
    if (num % 16 == 0)
        fl_state_purge(state, ts, 300000000000, exists, NULL);
}

static void one_event(struct fl_state *state, const struct fl_event *ev)
{
    const struct fl_now *now = fl_state_apply(state, ev);

    check(now->ev == ev);
    if (now->thread)
        check_thread(state, now->thread);
    if (now->fd)
        touch_fd(now->fd, NULL);
}

static void capture(struct fl_state *state, const uint8_t *data, size_t size)
{
    struct fl_scap *scap = fl_scap_new();
    struct fl_scap_item item;
    bool started = false;

    fl_scap_push(scap, data, size);
    while (fl_scap_next(scap, &item, NULL) == FL_OK && item.kind != FL_SCAP_MORE) {
        if (item.kind == FL_SCAP_SECTION) {
            fl_state_reset(state);
            started = false;
        } else if (item.kind == FL_SCAP_EVENT) {
            if (!started)
                fl_state_start(state);
            started = true;
            one_event(state, &item.event);
        } else {
            fl_state_item(state, &item);
        }
    }
    fl_scap_free(scap);
}

struct input {
    const uint8_t *at, *end;
};

static uint8_t byte(struct input *in) { return in->at < in->end ? *in->at++ : 0; }

/* A value of a parameter: texts and addresses of a few, numbers that are small, or not. Its length. */
static uint32_t make_param(struct input *in, unsigned type, uint8_t out[64])
{
    static const char *const texts[] = {
        "", "/", "a", "/a/b", "../c", "<NA>", ".",
        "cpuset=/docker/0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef/x",
    };
    static const int64_t numbers[] = {-1, -100, -115, INT64_MIN, INT64_MAX, 4096, 65535, 0x100000000};
    uint8_t choice = byte(in);
    int64_t number = choice < 200 ? choice % 12 : numbers[choice % 8];

    if (choice == 255)
        return 0;
    switch (type) {
    case FL_T_CHARBUF:
    case FL_T_FSPATH:
    case FL_T_FSRELPATH:
    case FL_T_BYTEBUF: {
        const char *text = texts[choice % 8];
        uint32_t len = (uint32_t)strlen(text) + 1;
        if (len > 64)
            len = 64;
        memcpy(out, text, len);
        return len - (choice >> 7);
    }
    case FL_T_SOCKADDR:
    case FL_T_SOCKTUPLE: {
        static const uint8_t families[] = {FL_AF_UNIX, FL_AF_INET, FL_AF_INET6, 16};
        static const uint8_t lengths[] = {13, 37, 7, 19, 20, 1, 2, 17};
        memset(out, choice & 0x40 ? 0 : choice & 7, 64);
        out[0] = families[choice % 4];
        return lengths[choice / 4 % 8];
    }
    case FL_T_FLAGS32:
        number = choice & 0x80 ? (int64_t)1 << (choice % 31) : choice;
        break;
    default:
        break;
    }
    uint32_t len = fl_type_bytes[type] ? fl_type_bytes[type] : 8;
    memcpy(out, &number, len < 8 ? len : 8);
    return len;
}

static void events(struct fl_state *state, struct input *in)
{
    uint8_t record[FL_RECORD_HEADER + FL_MAX_PARAMS * (4 + 64)];
    uint64_t num = 0;

    while (in->at < in->end) {
        struct fl_event ev = {.num = ++num};
        uint16_t type = (uint16_t)((byte(in) | byte(in) << 8) % FL_EV_COUNT);
        const struct fl_event_info *info = &fl_events[type];
        uint8_t who = byte(in);
        uint64_t ts = num * (who >> 6) * FL_NS_PER_S, tid = who % 8;
        uint32_t nparams = info->nparams, wide = info->flags & EF_LARGE_PAYLOAD ? 4 : 2;
        uint8_t *lengths = record + FL_RECORD_HEADER, *values = lengths + nparams * wide;

        for (uint32_t i = 0; i < nparams; i++) {
            uint8_t value[64] = {0};
            uint32_t len = make_param(in, info->params[i].type, value);
            memcpy(lengths + i * wide, &len, wide);
            memcpy(values, value, len);
            values += len;
        }
        uint32_t size = (uint32_t)(values - record);
        memcpy(record, &ts, 8);
        memcpy(record + 8, &tid, 8);
        memcpy(record + 16, &size, 4);
        memcpy(record + 20, &type, 2);
        memcpy(record + 22, &nparams, 4);
        check(fl_event_decode(&ev, record, size) == 0);
        one_event(state, &ev);
        between(state, num, ts);
        check_state(state);
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct fl_state_limits limits = {0};
    struct fl_strings *strings;
    struct fl_state *state;

    if (!size)
        return 0;
    strings = fl_strings_new();
    if (data[0] & 2)
        limits = (struct fl_state_limits){.threads = 5, .fds = 4};
    state = fl_state_new(strings, &limits);
    fl_state_ask_containers(state, data[0] & 4);
    if (data[0] & 1) {
        struct input in = {data + 1, data + size};
        fl_state_machine(state, &(struct fl_scap_machine){.hostname = {"h", 1}});
        fl_state_start(state);
        events(state, &in);
    } else {
        capture(state, data + 1, size - 1);
    }
    check_state(state);
    fl_state_free(state);
    fl_strings_free(strings);
    return 0;
}
