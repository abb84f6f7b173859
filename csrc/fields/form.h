/* SPDX-License-Identifier: Apache-2.0
 *
 * What is made of what stands at a field's place in a document: the forms of documents.def.
 */
#ifndef FL_FORM_H
#define FL_FORM_H

#include "../json/paths.h"
#include "field.h"

enum fl_form {
    FL_FORM_NONE,
    FL_FORM_VALUE, FL_FORM_LIST, FL_FORM_EACH, FL_FORM_EVERY, FL_FORM_FLAT, FL_FORM_JOINED, FL_FORM_IMAGES, FL_FORM_PORTS,
    FL_FORM_DEFAULT, FL_FORM_KEYS, FL_FORM_NAMES, FL_FORM_NS_NAMES, FL_FORM_ANY_TRUE, FL_FORM_HAS_PATH, FL_FORM_IMAGE, FL_FORM_QUERY,
    FL_FORM_POD, FL_FORM_TRUE, FL_FORM_POINTER, FL_FORM_OBJECT, FL_FORM_RAWTIME, FL_FORM_PLUGIN,
};

/* Where in a document: a path of the document itself, or of one of its bodies. */
struct fl_place {
    int8_t body;                /* -1: the document */
    int32_t path;
};

struct fl_point {
    uint8_t form;
    bool guarded, list;
    struct fl_place place, rest, extra;
    struct fl_field_argument argument;
    const char *extra_text, *plugin;
    struct fl_json_paths *each; /* what is looked up in each element: */
    int32_t first, second, third;
};

struct fl_forming {
    bool (*find)(void *context, const struct fl_place *place, struct fl_json *value);
    void *context;
    struct fl_scratch *scratch;
    struct fl_json document;
    uint64_t ts;
};

/* What a point looks up in each element of an array. 0, or -1 when memory is out. */
int fl_point_prepare(struct fl_point *point, const char *rest);
/* Makes the value; false: absent. */
bool fl_form(struct fl_forming *forming, const struct fl_point *point, struct fl_value *out);

#endif
