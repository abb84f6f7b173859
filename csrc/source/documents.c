/* SPDX-License-Identifier: Apache-2.0 */
#include "documents.h"

#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "../json/skip.h"

#define FAULTS 32u

/* Where a text that goes over several lines has been followed to. What was looked at isn't looked at again, however small the pieces are in
 * which the rest comes. */
struct follow {
    size_t at;                  /* behind the beginning of the text */
    uint32_t depth;             /* not 0: it was begun */
    bool in_string;
    uint64_t objects[FL_JSON_DEPTH / 64];       /* a bit for each open bracket: set for { */
    char last;                  /* the last character that is no blank */
};

struct fl_documents {
    char *data;
    size_t room, at, end;       /* what is left is from at to end */
    uint64_t before;            /* bytes that were in front of data */
    uint64_t line;
    size_t limit, text;         /* bytes of an event, and of a text that isn't complete yet */
    size_t looked;              /* no end of the line before */
    size_t single;              /* before it, a text ends with its line: what goes over several was tried */
    bool skipping;              /* to the end of the line */
    bool in_list;
    const char *item, *items_end;
    struct follow follow;
    struct fl_fault faults[FAULTS];
    uint32_t nfaults, told;
    struct fl_documents_stats stats;
};

/* ---- what a source's documents tell of themselves ---- */

int fl_document_paths_init(struct fl_document_paths *p, unsigned source)
{
    *p = (struct fl_document_paths){.paths = fl_json_paths_new(), .guard = -1, .kind = -1, .items = -1};
    if (!p->paths)
        return -1;
    p->guard = fl_json_paths_add(p->paths, fl_documents_info[source].guard, strlen(fl_documents_info[source].guard));
    bool failed = p->guard < 0;
#define LOOK_UP(path, pointer) failed |= (path = fl_json_paths_add(p->paths, pointer, sizeof(pointer) - 1)) < 0
#define KIND(of, pointer, name) if (source == FL_DOC_##of) { LOOK_UP(p->kind, pointer); p->event = name; }
#define ITEMS(of, pointer) if (source == FL_DOC_##of) LOOK_UP(p->items, pointer);
#define TIME(of, pointer) if (source == FL_DOC_##of && p->ntimes < FL_DOCUMENT_TIMES) LOOK_UP(p->times[p->ntimes++], pointer);
#include "../schema/documents.h"
    if (!failed)
        return 0;
    fl_document_paths_free(p);
    return -1;
}

void fl_document_paths_free(struct fl_document_paths *p)
{
    fl_json_paths_free(p->paths);
    p->paths = NULL;
}

static bool take_digits(const char **at, const char *end, int count, int64_t *number)
{
    *number = 0;
    for (int i = 0; i < count; i++, (*at)++) {
        if (*at >= end || **at < '0' || **at > '9')
            return false;
        *number = *number * 10 + (**at - '0');
    }
    return true;
}

static bool take_char(const char **at, const char *end, const char *chars)
{
    if (*at >= end || !strchr(chars, **at) || !**at)
        return false;
    (*at)++;
    return true;
}

/* Days from 1970-01-01 to a date of the Gregorian calendar. Years are counted from March, so that the leap day is the last. */
static int64_t days_to(int64_t year, int64_t month, int64_t day)
{
    year -= month <= 2;
    int64_t era = year / 400, of_era = year % 400, of_year = (153 * (month + (month > 2 ? -3 : 9)) + 2) / 5 + day - 1;
    return era * 146097 + of_era * 365 + of_era / 4 - of_era / 100 + of_year - 719468;
}

/* 2026-11-23T03:38:13.580336Z */
static bool read_time(const char *at, const char *end, uint64_t *ts)
{
    int64_t year, month, day, hour, minute, second, ns = 0, zone = 0;

    if (!take_digits(&at, end, 4, &year) || !take_char(&at, end, "-") || !take_digits(&at, end, 2, &month) || !take_char(&at, end, "-") ||
        !take_digits(&at, end, 2, &day) || !take_char(&at, end, "Tt ") || !take_digits(&at, end, 2, &hour) ||
        !take_char(&at, end, ":") || !take_digits(&at, end, 2, &minute) || !take_char(&at, end, ":") || !take_digits(&at, end, 2, &second))
        return false;
    if (month < 1 || month > 12 || day < 1 || day > 31 || hour > 23 || minute > 59 || second > 60)
        return false;
    if (take_char(&at, end, ".")) {
        int64_t unit = 100000000, digit;
        const char *start = at;
        for (; take_digits(&at, end, 1, &digit); unit /= 10)
            ns += digit * unit;
        if (at == start)
            return false;
    }
    if (!take_char(&at, end, "Zz")) {
        int64_t hours, minutes;
        if (at >= end || (*at != '+' && *at != '-'))
            return false;
        int64_t sign = *at++ == '-' ? -1 : 1;
        if (!take_digits(&at, end, 2, &hours) || !take_char(&at, end, ":") || !take_digits(&at, end, 2, &minutes) || hours > 23 || minutes > 59)
            return false;
        zone = sign * (hours * 3600 + minutes * 60);
    }
    int64_t seconds = days_to(year, month, day) * 86400 + hour * 3600 + minute * 60 + second - zone;
    if (at != end || seconds < 0 || seconds > (int64_t)(UINT64_MAX / 1000000000u) - 1)
        return false;
    *ts = (uint64_t)seconds * 1000000000u + (uint64_t)ns;
    return true;
}

bool fl_document_time(const struct fl_document_paths *p, uint64_t *ts)
{
    struct fl_json value;
    for (uint32_t i = 0; i < p->ntimes; i++)
        if (fl_json_paths_value(p->paths, p->times[i], &value) && fl_json_is_string(value) &&
            read_time(value.s + 1, value.s + value.len - 1, ts))
            return true;
    return false;
}

static bool is_text(struct fl_json value, const char *text)
{
    char decoded[64];
    if (!fl_json_is_string(value) || value.len > sizeof decoded)
        return false;
    size_t len = fl_json_string(value, decoded);
    return len == strlen(text) && !memcmp(decoded, text, len);
}

enum what { AN_EVENT, A_LIST, NEITHER };

static enum what what_is_it(const struct fl_document_paths *p, struct fl_json *items)
{
    struct fl_json kind, guard;
    bool has_kind = p->kind >= 0 && fl_json_paths_value(p->paths, p->kind, &kind);

    if (has_kind && is_text(kind, p->event))
        return AN_EVENT;
    if (p->items >= 0 && fl_json_paths_value(p->paths, p->items, items) && items->s[0] == '[')
        return A_LIST;
    return !has_kind && fl_json_paths_value(p->paths, p->guard, &guard) ? AN_EVENT : NEITHER;
}

/* ---- the reader ---- */

struct fl_documents *fl_documents_new(size_t limit, size_t text)
{
    struct fl_documents *r = calloc(1, sizeof *r);
    if (r) {
        r->limit = limit;
        r->text = text;
        r->line = 1;
    }
    return r;
}

void fl_documents_free(struct fl_documents *r)
{
    if (!r)
        return;
    free(r->data);
    free(r);
}

int fl_documents_push(struct fl_documents *r, const void *bytes, size_t len)
{
    size_t left = r->end - r->at;

    r->in_list = false;         /* of a run that was given up */
    if (r->at) {
        memmove(r->data, r->data + r->at, left);
        r->before += r->at;
        r->looked = r->looked > r->at ? r->looked - r->at : 0;
        r->single = r->single > r->at ? r->single - r->at : 0;
        r->at = 0;
        r->end = left;
    }
    if (r->room - left < len) {
        size_t room = r->room ? r->room : 1u << 16;
        while (room - left < len)
            room *= 2;
        char *data = realloc(r->data, room);
        if (!data)
            return -1;
        r->data = data;
        r->room = room;
    }
    if (len)
        memcpy(r->data + left, bytes, len);
    r->end = left + len;
    r->stats.bytes += len;
    return 0;
}

static void fault(struct fl_documents *r, enum fl_fault_kind kind)
{
    r->stats.faults[kind]++;
    if (r->nfaults < FAULTS)
        r->faults[r->nfaults++] = (struct fl_fault){r->line, r->before + r->at, kind};
}

bool fl_documents_fault(struct fl_documents *r, struct fl_fault *out)
{
    if (r->told == r->nfaults) {
        r->told = r->nfaults = 0;
        return false;
    }
    *out = r->faults[r->told++];
    return true;
}

/* Goes on to a place further behind, counting lines. */
static void go_to(struct fl_documents *r, size_t place)
{
    const char *at = r->data + r->at, *end = r->data + place;
    while (at < end && (at = memchr(at, '\n', (size_t)(end - at)))) {
        r->line++;
        at++;
    }
    r->at = place;
    r->follow.at = r->follow.depth = 0;
    r->follow.in_string = false;
    r->follow.last = 0;
}

/* Bytes of what stands between texts: blanks, the brackets and commas of arrays, 0x1e, and the mark of byte order that UTF-8 may begin
 * with. 0: a text begins here. */
static size_t between(const struct fl_documents *r, size_t at)
{
    static const char mark[] = "\xef\xbb\xbf";
    char c = r->data[at];
    if (c == ' ' || c == '\n' || c == '\r' || c == '\t' || c == ',' || c == '[' || c == ']' || c == FL_DOCUMENT_END)
        return 1;
    return r->end - at >= sizeof mark - 1 && !memcmp(r->data + at, mark, sizeof mark - 1) ? sizeof mark - 1 : 0;
}

/* The end of the line that `at` is in; false if it isn't there yet. */
static bool line_end(struct fl_documents *r, size_t *end)
{
    size_t looked = r->looked > r->at ? r->looked : r->at;
    const char *newline = memchr(r->data + looked, '\n', r->end - looked);
    const char *stop = newline ? newline : r->data + r->end;
    const char *mark = memchr(r->data + looked, FL_DOCUMENT_END, (size_t)(stop - (r->data + looked)));

    if (!newline && !mark) {
        r->looked = r->end;
        return false;
    }
    *end = (size_t)((mark ? mark : newline) - r->data);
    r->looked = *end;
    return true;
}

enum followed { COMPLETE, UNFINISHED, BROKEN };

/* Follows a text that goes on behind its first line: whether it is complete (*stop is behind it), or can't be one (*stop is where that
 * is seen): at 0x1e, and at a line that begins with { where no value may stand, which is the next text. */
static enum followed follow(struct fl_documents *r, size_t *stop)
{
    struct follow *f = &r->follow;
    const char *start = r->data + r->at, *at = start + f->at, *end = r->data + r->end;
    bool escapes;

    for (; at < end; at++) {
        char c = *at;
        if (f->in_string || c == '"') {
            at += !f->in_string;
            enum fl_json_string part = fl_json_string_part(&at, end, &escapes);
            *stop = (size_t)(at - r->data);
            if (part == FL_STRING_BREAKS)
                return BROKEN;
            f->in_string = part == FL_STRING_GOES_ON;
            if (f->in_string)
                break;
            c = *--at;
        } else if (c == '{' || c == '[') {
            bool may_stand = !f->depth || f->last == ':' || f->last == ',' || f->last == '[';
            *stop = (size_t)(at - r->data);
            if (!may_stand || f->depth == FL_JSON_DEPTH)
                return BROKEN;
            if (c == '{')
                f->objects[f->depth / 64] |= 1ull << f->depth % 64;
            else
                f->objects[f->depth / 64] &= ~(1ull << f->depth % 64);
            f->depth++;
        } else if (c == '}' || c == ']') {
            f->depth--;
            *stop = (size_t)(at + 1 - r->data);
            if ((f->objects[f->depth / 64] >> f->depth % 64 & 1) != (c == '}'))
                return BROKEN;
            if (!f->depth)
                return COMPLETE;
        } else if (c == FL_DOCUMENT_END) {
            *stop = (size_t)(at - r->data);
            return BROKEN;
        }
        if (c != ' ' && c != '\n' && c != '\t' && c != '\r')
            f->last = c;
    }
    f->at = (size_t)(at - start);
    return UNFINISHED;
}

static void deliver(struct fl_documents *r, const char *s, const char *end, struct fl_document *out)
{
    *out = (struct fl_document){s, (size_t)(end - s), r->line};
    r->stats.documents++;
}

/* The next event of a list. */
static bool next_item(struct fl_documents *r, struct fl_document_paths *paths, struct fl_document *out)
{
    while (r->in_list) {
        const char *at = r->item;
        struct fl_json items;
        while (at < r->items_end && (*at == ',' || *at == ' ' || *at == '\n' || *at == '\r' || *at == '\t'))
            at++;
        const char *stop = at < r->items_end ? fl_json_skip(at, r->items_end) : NULL;
        if (!stop) {
            if (at < r->items_end)
                fault(r, FL_FAULT_MALFORMED);
            r->in_list = false;
            return false;
        }
        r->item = stop;
        if ((size_t)(stop - at) > r->limit)
            fault(r, FL_FAULT_TOO_LARGE);
        else if (fl_json_paths_scan(paths->paths, at, stop) != stop)
            fault(r, FL_FAULT_MALFORMED);
        else if (what_is_it(paths, &items) != AN_EVENT)
            fault(r, FL_FAULT_UNRECOGNISED);
        else {
            deliver(r, at, stop, out);
            return true;
        }
    }
    return false;
}

/* Takes the text from at to `stop`, which was looked up: true if it is an event. */
static bool take(struct fl_documents *r, struct fl_document_paths *paths, size_t stop, struct fl_document *out)
{
    struct fl_json items;
    const char *s = r->data + r->at, *end = r->data + stop;
    bool event = false;

    switch (what_is_it(paths, &items)) {
    case AN_EVENT:
        event = stop - r->at <= r->limit;
        if (event)
            deliver(r, s, end, out);
        else
            fault(r, FL_FAULT_TOO_LARGE);
        break;
    case A_LIST:
        r->in_list = true;
        r->item = items.s + 1;
        r->items_end = items.s + items.len - 1;
        break;
    case NEITHER:
        fault(r, FL_FAULT_UNRECOGNISED);
    }
    go_to(r, stop);
    return event;
}

/* Passes over what can't be used. */
static void drop(struct fl_documents *r, enum fl_fault_kind kind, size_t to)
{
    fault(r, kind);
    go_to(r, to);
}

/* Takes the items of a list that breaks off at `place`, up to the first that isn't whole; what else is on that one's line is left out. */
static bool take_begun(struct fl_documents *r, struct fl_document_paths *paths, size_t place)
{
    const char *end = r->data + place, *items = NULL, *whole = NULL;

    if (paths->items >= 0 && !fl_json_paths_scan(paths->paths, r->data + r->at, end))
        items = fl_json_paths_begun(paths->paths, paths->items);
    if (!items || *items != '[')
        return false;
    for (const char *at = items + 1; (at = fl_json_skip(fl_json_blanks(at, end), end)); at += at < end && *at == ',') {
        whole = at;
        at = fl_json_blanks(at, end);
    }
    if (!whole)
        return false;
    drop(r, FL_FAULT_MALFORMED, (size_t)(whole - r->data));
    r->skipping = r->in_list = true;
    r->item = items + 1;
    r->items_end = whole;
    return true;
}

/* A text that the line `stop` of doesn't hold: 1 = it was taken and is an event, 0 = it wasn't or isn't one, -1 = more bytes are needed. */
static int take_lines(struct fl_documents *r, struct fl_document_paths *paths, size_t stop, struct fl_document *out)
{
    size_t end = 0;

    if (r->at < r->single) {
        drop(r, FL_FAULT_MALFORMED, stop);
        return 0;
    }
    switch (follow(r, &end)) {
    case COMPLETE: {
        const char *behind = fl_json_paths_scan(paths->paths, r->data + r->at, r->data + end);
        if (behind == r->data + end)
            return take(r, paths, end, out);
        drop(r, FL_FAULT_MALFORMED, end);
        return 0;
    }
    case BROKEN:
        r->single = end;
        if (!take_begun(r, paths, end))
            drop(r, FL_FAULT_MALFORMED, stop);
        return 0;
    case UNFINISHED:
        if (r->end - r->at <= r->text)
            return -1;
        r->single = r->end;
        drop(r, FL_FAULT_TOO_LARGE, stop);
    }
    return 0;
}

bool fl_documents_next(struct fl_documents *r, struct fl_document_paths *paths, struct fl_document *out)
{
    for (;;) {
        if (next_item(r, paths, out))
            return true;
        size_t at = r->at, stop;
        if (r->skipping) {
            r->skipping = !line_end(r, &stop);
            if (r->skipping) {
                r->at = r->end;
                return false;
            }
            go_to(r, stop);
            continue;
        }
        for (size_t len; at < r->end && (len = between(r, at)); at += len)
            if (r->data[at] == FL_DOCUMENT_END) {
                go_to(r, at);
                r->line = 1;
            }
        if (at > r->at)
            go_to(r, at);
        if (at == r->end)
            return false;
        if (!line_end(r, &stop)) {
            if (r->end - at <= r->text)
                return false;
            fault(r, FL_FAULT_TOO_LARGE);
            r->skipping = true;
            continue;
        }
        const char *s = r->data + at, *end = r->data + stop, *behind = NULL;
        bool begun = r->follow.depth;           /* the line doesn't hold it, as was found before */
        if (!begun && *s == '{' && (behind = fl_json_paths_scan(paths->paths, s, end))) {
            if (take(r, paths, (size_t)(behind - r->data), out))
                return true;
            continue;
        }
        behind = begun ? NULL : fl_json_skip(s, end);
        if (behind) {
            drop(r, *s == '{' ? FL_FAULT_MALFORMED : FL_FAULT_UNRECOGNISED, (size_t)(behind - r->data));
            continue;
        }
        if (*s != '{') {
            drop(r, FL_FAULT_MALFORMED, stop);
            continue;
        }
        int taken = take_lines(r, paths, stop, out);
        if (taken)
            return taken > 0;
    }
}

struct fl_documents_stats fl_documents_get_stats(const struct fl_documents *r) { return r->stats; }
