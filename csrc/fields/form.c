/* SPDX-License-Identifier: Apache-2.0 */
#include "extract.h"

#include "../json/text.h"
#include "form.h"

int fl_point_prepare(struct fl_point *point, const char *rest)
{
    const char *first = rest, *second = NULL, *third = NULL;

    if (point->form == FL_FORM_NAMES || point->form == FL_FORM_NS_NAMES)
        first = "/kind", second = "/name", third = "/namespace";
    else if (!rest[0])
        return 0;
    point->each = fl_json_paths_new();
    if (!point->each)
        return -1;
    point->first = fl_json_paths_add(point->each, first, strlen(first));
    if (second) {
        point->second = fl_json_paths_add(point->each, second, strlen(second));
        point->third = fl_json_paths_add(point->each, third, strlen(third));
    }
    return point->first < 0 || point->second < 0 || point->third < 0 ? -1 : 0;
}

/* ---- texts ---- */

/* A value as text: a string's own, else its JSON. */
static bool text_of(struct fl_forming *f, struct fl_json value, struct fl_value *out)
{
    bool string = fl_json_is_string(value);

    if (value.len > UINT32_MAX)
        return false;
    if (string && !memchr(value.s, '\\', value.len))
        return fl_set_str(out, value.s + 1, (uint32_t)value.len - 2);
    if (!string && fl_json_is_compact(value))
        return fl_set_str(out, value.s, (uint32_t)value.len);
    char *s = fl_scratch_take(f->scratch, value.len);
    if (!s)
        return false;
    return fl_set_str(out, s, (uint32_t)(string ? fl_json_string(value, s) : fl_json_compact(value, s)));
}

static bool is(const struct fl_value *v, const char *text) { return v->len == strlen(text) && !memcmp(v->s, text, v->len); }

/* Cuts the digest, and the tag: behind the last /, so that the port of a registry stays. */
static void cut_image(struct fl_value *v)
{
    const char *at = memchr(v->s, '@', v->len);
    if (at)
        v->len = (uint32_t)(at - v->s);
    const char *slash = memrchr(v->s, '/', v->len), *name = slash ? slash + 1 : v->s;
    const char *colon = memchr(name, ':', v->len - (size_t)(name - v->s));
    if (colon)
        v->len = (uint32_t)(colon - v->s);
}

static bool text_at(struct fl_forming *f, const struct fl_place *place, struct fl_value *out)
{
    struct fl_json value;
    return f->find(f->context, place, &value) && text_of(f, value, out);
}

static int hex(char c) { return c >= '0' && c <= '9' ? c - '0' : (c | 32) >= 'a' && (c | 32) <= 'f' ? (c | 32) - 'a' + 10 : -1; }

/* A part of a query, decoded: its length; SIZE_MAX if it can't be. A semicolon must be encoded: since Go 1.17 API servers pass over pairs
 * that have one, as some programs take it for the end of a pair. */
static size_t decode_query(const char *s, size_t len, char *out)
{
    size_t n = 0;
    for (size_t i = 0; i < len; i++) {
        char c = s[i];
        if (c == '%') {
            if (len - i < 3 || hex(s[i + 1]) < 0 || hex(s[i + 2]) < 0)
                return SIZE_MAX;
            c = (char)(hex(s[i + 1]) << 4 | hex(s[i + 2]));
            i += 2;
        } else if (c == '+') {
            c = ' ';
        } else if (c == ';') {
            return SIZE_MAX;
        }
        out[n++] = c;
    }
    return n;
}

static bool query(struct fl_forming *f, const struct fl_point *point, struct fl_value *out)
{
    struct fl_value uri;
    if (!text_at(f, &point->place, &uri))
        return false;
    const char *end = uri.s + uri.len, *at = memchr(uri.s, '?', uri.len);
    char *decoded = fl_scratch_take(f->scratch, uri.len + 1);
    if (!at || !decoded)
        return false;
    const char *fragment = memchr(at, '#', (size_t)(end - at));
    end = fragment ? fragment : end;
    while (at < end) {
        const char *pair = at + 1, *next = memchr(pair, '&', (size_t)(end - pair));
        at = next ? next : end;
        const char *equals = memchr(pair, '=', (size_t)(at - pair)), *key_end = equals ? equals : at;
        size_t len = decode_query(pair, (size_t)(key_end - pair), decoded);
        if (len != point->argument.key_len || memcmp(decoded, point->argument.key, len))
            continue;
        len = equals ? decode_query(equals + 1, (size_t)(at - equals - 1), decoded) : 0;
        if (len != SIZE_MAX)
            return fl_set_str(out, decoded, (uint32_t)len);
    }
    return false;
}

/* ---- lists ---- */

struct list {
    struct fl_forming *f;
    struct fl_value *values;
    uint32_t count, room;
    bool failed;
};

static void add(struct list *list, const struct fl_value *v)
{
    if (list->failed)
        return;
    if (list->count == list->room) {
        uint32_t room = list->room ? list->room * 2 : 8;
        struct fl_value *values = fl_scratch_take(list->f->scratch, room * sizeof *values);
        if (!values) {
            list->failed = true;
            return;
        }
        if (list->count)
            memcpy(values, list->values, list->count * sizeof *values);
        list->values = values;
        list->room = room;
    }
    list->values[list->count++] = *v;
}

static void add_text(struct list *list, struct fl_json value)
{
    struct fl_value v;
    if (text_of(list->f, value, &v))
        add(list, &v);
    else
        list->failed = true;
}

/* The elements of an array, joined with blanks. */
static void add_joined(struct list *list, struct fl_json array)
{
    struct fl_json_cursor cursor;
    struct fl_json item;
    struct fl_value v;
    char *s = fl_scratch_take(list->f->scratch, array.len), *to = s;        /* a blank takes the place of a comma */
    uint32_t count = 0;

    list->failed |= !s;
    if (!s || !fl_json_enter(array, '[', &cursor))
        return;
    for (; fl_json_item(&cursor, &item); count++) {
        if (count)
            *to++ = ' ';
        to += fl_json_is_string(item) ? fl_json_string(item, to) : fl_json_compact(item, to);
    }
    if (count) {
        fl_set_str(&v, s, (uint32_t)(to - s));
        add(list, &v);
    }
}

/* The ports of a container. */
static void add_ports(struct list *list, struct fl_json array)
{
    struct fl_json_cursor cursor;
    struct fl_json port, number;

    if (!fl_json_enter(array, '[', &cursor))
        return;
    while (fl_json_item(&cursor, &port))
        if (fl_json_get(port, "hostPort", &number) || fl_json_get(port, "containerPort", &number))
            add_text(list, number);
}

static void add_all(struct list *list, struct fl_json array)
{
    struct fl_json_cursor cursor;
    struct fl_json item;

    if (!fl_json_enter(array, '[', &cursor))
        return;
    while (fl_json_item(&cursor, &item))
        add_text(list, item);
}

static void add_keys(struct list *list, struct fl_json object)
{
    struct fl_json_cursor cursor;
    struct fl_json key, value;
    struct fl_value v;

    if (!fl_json_enter(object, '{', &cursor))
        return;
    while (fl_json_member(&cursor, &key, &value))
        if (text_of(list->f, key, &v) && !is(&v, "name"))
            add(list, &v);
}

/* A name, with its namespace in front. */
static void add_name(struct list *list, const struct fl_point *point, struct fl_json name)
{
    struct fl_json where;
    struct fl_value a, b;

    if (point->form == FL_FORM_NAMES) {
        add_text(list, name);
        return;
    }
    if (!fl_json_paths_value(point->each, point->third, &where) || !text_of(list->f, where, &a) || !text_of(list->f, name, &b))
        return;
    char *s = fl_scratch_take(list->f->scratch, (size_t)a.len + b.len + 1);
    if (!s) {
        list->failed = true;
        return;
    }
    memcpy(s, a.s, a.len);
    s[a.len] = ':';
    memcpy(s + a.len + 1, b.s, b.len);
    fl_set_str(&a, s, a.len + b.len + 1);
    add(list, &a);
}

/* What an element of the array gives. False: it lacks what all must have. */
static bool add_element(struct list *list, const struct fl_point *point, struct fl_json element)
{
    struct fl_json value = element;
    struct fl_value v;

    if (point->form == FL_FORM_LIST) {
        add_text(list, element);
        return true;
    }
    if (point->form == FL_FORM_KEYS) {
        add_keys(list, element);
        return true;
    }
    bool there = fl_json_paths_scan(point->each, element.s, element.s + element.len) && fl_json_paths_value(point->each, point->first, &value);
    switch (point->form) {
    case FL_FORM_EVERY:
        if (there)
            add_text(list, value);
        return there;
    case FL_FORM_IMAGES:
        if (!there || !text_of(list->f, value, &v))
            return false;
        cut_image(&v);
        add(list, &v);
        return true;
    case FL_FORM_DEFAULT:
        if (there)
            add_text(list, value);
        else if (list->f->find(list->f->context, &point->extra, &value))
            add_text(list, value);
        else {
            fl_set_lit(&v, "0");
            add(list, &v);
        }
        return true;
    default:
        if (!there)
            return true;
    }
    switch (point->form) {
    case FL_FORM_FLAT: add_all(list, value); break;
    case FL_FORM_JOINED: add_joined(list, value); break;
    case FL_FORM_PORTS: add_ports(list, value); break;
    case FL_FORM_ANY_TRUE:
        if (fl_json_is(value, "true"))              /* not the text */
            add_text(list, value);
        break;
    case FL_FORM_NAMES: case FL_FORM_NS_NAMES: {
        struct fl_json name;
        if (text_of(list->f, value, &v) && is(&v, point->extra_text) && fl_json_paths_value(point->each, point->second, &name))
            add_name(list, point, name);
        break;
    }
    default: add_text(list, value);
    }
    return true;
}

static bool elements(struct fl_forming *f, const struct fl_point *point, struct list *list)
{
    struct fl_json array, element;
    struct fl_json_cursor cursor;

    *list = (struct list){.f = f};
    if (!f->find(f->context, &point->place, &array) || !fl_json_enter(array, '[', &cursor))
        return false;
    for (int64_t i = 0; fl_json_item(&cursor, &element); i++)
        if ((!point->argument.has_index || i == point->argument.index) && !add_element(list, point, element))
            return false;
    return !list->failed;
}

static bool any_true(struct fl_forming *f, const struct fl_point *point, struct fl_value *out)
{
    struct list list;
    if (!elements(f, point, &list))
        return false;
    return list.count ? fl_set_lit(out, "true") : fl_set_lit(out, "false");
}

static bool has_path(struct fl_forming *f, const struct fl_point *point, struct fl_value *out)
{
    const char *key = point->argument.key;
    uint32_t len = point->argument.key_len;
    bool prefix = len && key[len - 1] == '*';
    struct fl_point all = *point;
    struct list list;

    all.argument.has_index = false;     /* a key that is a number is a path, too */
    len -= prefix;
    if (!elements(f, &all, &list))
        return false;
    for (uint32_t i = 0; i < list.count; i++)
        if ((prefix ? list.values[i].len >= len : list.values[i].len == len) && !memcmp(list.values[i].s, key, len))
            return fl_set_lit(out, "true");
    return fl_set_lit(out, "false");
}

bool fl_form(struct fl_forming *f, const struct fl_point *point, struct fl_value *out)
{
    struct fl_value other;
    struct fl_json json;
    struct list list;

    switch (point->form) {
    case FL_FORM_VALUE: case FL_FORM_POINTER:
        return text_at(f, &point->place, out);
    case FL_FORM_IMAGE:
        if (!text_at(f, &point->place, out))
            return false;
        cut_image(out);
        return true;
    case FL_FORM_QUERY:
        return query(f, point, out);
    case FL_FORM_POD:
        return text_at(f, &point->rest, &other) && is(&other, "pods") && !f->find(f->context, &point->extra, &json) &&
               text_at(f, &point->place, out);
    case FL_FORM_PLUGIN:
        return fl_set_lit(out, point->plugin);
    case FL_FORM_TRUE:
        return fl_set_lit(out, "true");
    case FL_FORM_ANY_TRUE:
        return any_true(f, point, out);
    case FL_FORM_HAS_PATH:
        return has_path(f, point, out);
    case FL_FORM_OBJECT: {
        size_t room = f->scratch->size - f->scratch->used, len;
        len = fl_json_indent(f->document, f->scratch->data + f->scratch->used, room);
        return len && len <= UINT32_MAX && fl_set_str(out, fl_scratch_take(f->scratch, len), (uint32_t)len);
    }
    case FL_FORM_RAWTIME: {
        char *s = fl_scratch_take(f->scratch, 24), *at = s + 24;
        uint64_t ts = f->ts;
        if (!s)
            return false;
        do
            *--at = (char)('0' + ts % 10);
        while (ts /= 10);
        return fl_set_str(out, at, (uint32_t)(s + 24 - at));
    }
    default:
        return elements(f, point, &list) && list.count && fl_set_list(out, list.values, list.count);
    }
}
