/* SPDX-License-Identifier: Apache-2.0 */
#include "points.h"

#include <stdlib.h>

#include "../json/paths.h"
#include "../json/text.h"
#include "extract.h"
#include "form.h"

#define BODIES 4u

/* A large part of the document. */
struct body {
    const char *pointer;
    size_t len;
    int32_t whole;              /* its path in the document */
    struct fl_json_paths *paths;        /* in it; NULL: nothing is asked of it */
    uint64_t looked;            /* the number of the document that it was looked up in */
    bool good;
};

struct fl_points {
    unsigned source;
    struct fl_document_paths top;
    struct body bodies[BODIES];
    uint32_t nbodies;
    struct fl_point *points;    /* by slot; form FL_FORM_NONE: not of documents */
    uint32_t slots;
    uint64_t number;            /* of the document */
    struct fl_document document;
    uint64_t ts;
};

static const struct row { uint16_t field; uint8_t form; const char *pointer, *rest, *extra; } rows[] = {
#define POINT(field, form, pointer, rest, extra) {FL_FIELD_##field, FL_FORM_##form, pointer, rest, extra},
#include "../schema/documents.h"
};

/* The extractors that fields.def declares, for one field at a time: events that are no documents don't have them. */
#define POINT(field, form, pointer, rest, extra) EXTRACT(field) { return false; }
#include "../schema/documents.h"

struct fl_points *fl_points_new(unsigned source, uint32_t slots)
{
    struct fl_points *p = calloc(1, sizeof *p);
    if (!p)
        return NULL;
    p->source = source;
    p->slots = slots;
    p->points = calloc((size_t)slots + 1, sizeof *p->points);
    if (!p->points || fl_document_paths_init(&p->top, source)) {
        fl_points_free(p);
        return NULL;
    }
#define BODY(of, where) \
    if (source == FL_DOC_##of && p->nbodies < BODIES) \
        p->bodies[p->nbodies++] = (struct body){.pointer = where, .len = sizeof(where) - 1};
#include "../schema/documents.h"
    for (uint32_t i = 0; i < p->nbodies; i++)
        if ((p->bodies[i].whole = fl_json_paths_add(p->top.paths, p->bodies[i].pointer, p->bodies[i].len)) < 0) {
            fl_points_free(p);
            return NULL;
        }
    return p;
}

void fl_points_free(struct fl_points *p)
{
    if (!p)
        return;
    for (uint32_t i = 0; i < p->nbodies; i++)
        fl_json_paths_free(p->bodies[i].paths);
    for (uint32_t i = 0; p->points && i < p->slots; i++)
        fl_json_paths_free(p->points[i].each);
    free(p->points);
    fl_document_paths_free(&p->top);
    free(p);
}

struct fl_document_paths *fl_points_paths(struct fl_points *p) { return &p->top; }

/* Looks a pointer up from now on: in the document, or in the body that it leads into. */
static int look_up(struct fl_points *p, const char *pointer, size_t len, struct fl_place *place)
{
    if (len && pointer[0] == '/')
        pointer++, len--;
    for (uint32_t i = 0; i < p->nbodies; i++) {
        struct body *b = &p->bodies[i];
        size_t head = b->len - 1;
        if (len <= head || memcmp(pointer, b->pointer + 1, head) || pointer[head] != '/')
            continue;
        if (!b->paths && !(b->paths = fl_json_paths_new()))
            return -1;
        *place = (struct fl_place){(int8_t)i, fl_json_paths_add(b->paths, pointer + head, len - head)};
        return place->path < 0 ? -1 : 0;
    }
    *place = (struct fl_place){-1, fl_json_paths_add(p->top.paths, pointer, len)};
    return place->path < 0 ? -1 : 0;
}

static int look_up_text(struct fl_points *p, const char *pointer, struct fl_place *place)
{
    return look_up(p, pointer, strlen(pointer), place);
}

int fl_points_add(struct fl_points *p, uint32_t slot, unsigned field, const struct fl_field_argument *arg)
{
    const struct row *row = NULL;
    for (size_t i = 0; i < sizeof rows / sizeof *rows && !row; i++)
        if (rows[i].field == field)
            row = &rows[i];
    if (!row || slot >= p->slots)
        return 0;
    const struct fl_document_info *info = &fl_documents_info[p->source];
    bool own = fl_fields[field].class_ == info->class_;
    if (!own && fl_fields[field].class_ != FL_CLASS_JSON && fl_fields[field].class_ != FL_CLASS_EVT_GENERIC)
        return 0;               /* another source's */
    struct fl_point *point = &p->points[slot];
    *point = (struct fl_point){.form = row->form, .guarded = own, .list = (fl_fields[field].flags & FF_LIST) != 0, .argument = *arg,
                               .extra_text = row->extra, .plugin = info->plugin, .place = {-1, 0}, .rest = {-1, 0}, .extra = {-1, 0}};
    if (row->form == FL_FORM_POINTER)
        return look_up(p, arg->key, arg->key_len, &point->place);
    if (row->pointer[0] && look_up_text(p, row->pointer, &point->place))
        return -1;
    if (row->extra[0] == '/' && look_up_text(p, row->extra, &point->extra))
        return -1;
    if (row->form == FL_FORM_POD)
        return look_up_text(p, row->rest, &point->rest);
    return fl_point_prepare(point, row->rest);
}

void fl_points_begin(struct fl_points *p, const struct fl_document *document, uint64_t ts)
{
    p->number++;
    p->document = *document;
    p->ts = ts;
}

bool fl_points_has(const struct fl_points *p, uint32_t slot) { return slot < p->slots && p->points[slot].form != FL_FORM_NONE; }

static bool find(void *context, const struct fl_place *place, struct fl_json *value)
{
    struct fl_points *p = context;
    struct fl_json whole;

    if (place->body < 0)
        return fl_json_paths_value(p->top.paths, place->path, value);
    struct body *b = &p->bodies[place->body];
    if (b->looked != p->number) {
        b->looked = p->number;
        b->good = fl_json_paths_value(p->top.paths, b->whole, &whole) &&
                  fl_json_paths_scan(b->paths, whole.s, whole.s + whole.len) == whole.s + whole.len;
    }
    return b->good && fl_json_paths_value(b->paths, place->path, value);
}

bool fl_points_value(struct fl_points *p, uint32_t slot, struct fl_scratch *scratch, struct fl_value *out)
{
    const struct fl_point *point = &p->points[slot];
    struct fl_json guard;

    if (point->guarded && !fl_json_paths_value(p->top.paths, p->top.guard, &guard))
        return false;
    struct fl_forming forming = {
        .find = find, .context = p, .scratch = scratch, .document = {p->document.s, p->document.len}, .ts = p->ts,
    };
    return fl_form(&forming, point, out);
}
