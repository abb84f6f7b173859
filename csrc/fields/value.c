/* SPDX-License-Identifier: Apache-2.0 */
#include "field.h"

fl_extractor *const fl_extractors[FL_FIELD_COUNT] = {
#define FIELD(id, name, type, format, argument, flags, class, description) [FL_FIELD_##id] = fl_field_##id,
#include "../schema/fields.def"
#undef FIELD
};

enum fl_kind fl_kind_of_type(unsigned type)
{
    switch (type) {
    case FL_T_BOOL:
        return FL_BOOL;
    case FL_T_INT8: case FL_T_INT16: case FL_T_INT32: case FL_T_INT64: case FL_T_ERRNO: case FL_T_FD: case FL_T_PID: case FL_T_FD32:
    case FL_T_PID32:
        return FL_I64;
    case FL_T_DOUBLE:
        return FL_F64;
    case FL_T_CHARBUF: case FL_T_FSPATH: case FL_T_FSRELPATH:
        return FL_STR;
    case FL_T_BYTEBUF: case FL_T_SOCKADDR: case FL_T_SOCKTUPLE: case FL_T_FDLIST: case FL_T_DYN: case FL_T_CHARBUFARRAY:
    case FL_T_CHARBUF_PAIR_ARRAY:
        return FL_BYTES;
    case FL_T_IPV4ADDR: case FL_T_IPV6ADDR: case FL_T_IPADDR:
        return FL_IP;
    case FL_T_IPV4NET: case FL_T_IPV6NET: case FL_T_IPNET:
        return FL_NET;
    default:
        return FL_U64;
    }
}
