/* SPDX-License-Identifier: Apache-2.0
 *
 * The blocks of a .scap file, and the entries of those that hold tables (spec: engine.md G1 to G3).
 */
#ifndef FL_SCAP_BLOCKS_H
#define FL_SCAP_BLOCKS_H

#include "scap.h"

enum fl_block_class { FL_BLOCK_SECTION, FL_BLOCK_MACHINE, FL_BLOCK_PROCESSES, FL_BLOCK_FDS, FL_BLOCK_INTERFACES, FL_BLOCK_USERS, FL_BLOCK_EVENT };

/* Bits of `version` of an event block. */
#define FL_EVB_NPARAMS 1u       /* the record's header has nparams */
#define FL_EVB_FLAGS 2u         /* u32 flags follow the CPU */
#define FL_EVB_LARGE 4u         /* more than 64 KiB are allowed */

/*      class, version, name, code */
#define FL_SCAP_BLOCKS(B) \
    B(SECTION, 1, "SHB", 0x0A0D0D0A) \
    B(MACHINE, 1, "MI", 0x201) B(MACHINE, 1, "MI", 0x8002ABCD) \
    B(PROCESSES, 1, "PL", 0x202) B(PROCESSES, 1, "PL", 0x8000ABCD) \
    B(PROCESSES, 2, "PL_V2", 0x207) B(PROCESSES, 2, "PL_V2", 0x8013ABCD) \
    B(PROCESSES, 3, "PL_V3", 0x209) B(PROCESSES, 3, "PL_V3", 0x8014ABCD) \
    B(PROCESSES, 4, "PL_V4", 0x210) B(PROCESSES, 5, "PL_V5", 0x211) B(PROCESSES, 6, "PL_V6", 0x212) \
    B(PROCESSES, 7, "PL_V7", 0x213) B(PROCESSES, 8, "PL_V8", 0x214) B(PROCESSES, 9, "PL_V9", 0x215) \
    B(FDS, 1, "FDL", 0x203) B(FDS, 1, "FDL", 0x8001ABCD) B(FDS, 2, "FDL_V2", 0x218) \
    B(INTERFACES, 1, "IL", 0x205) B(INTERFACES, 1, "IL", 0x8011ABCD) B(INTERFACES, 2, "IL_V2", 0x219) \
    B(USERS, 1, "UL", 0x206) B(USERS, 1, "UL", 0x8012ABCD) B(USERS, 2, "UL_V2", 0x220) \
    B(EVENT, 0, "EV", 0x204) B(EVENT, 0, "EV", 0x8010ABCD) \
    B(EVENT, FL_EVB_FLAGS, "EVF", 0x208) \
    B(EVENT, FL_EVB_NPARAMS, "EV_V2", 0x216) \
    B(EVENT, FL_EVB_NPARAMS | FL_EVB_FLAGS, "EVF_V2", 0x217) \
    B(EVENT, FL_EVB_NPARAMS | FL_EVB_LARGE, "EV_V2_LARGE", 0x221) \
    B(EVENT, FL_EVB_NPARAMS | FL_EVB_FLAGS | FL_EVB_LARGE, "EVF_V2_LARGE", 0x222)

#define FL_BLOCK_SHB 0x0A0D0D0Au
/* What is written: the newest versions. */
#define FL_BLOCK_MI 0x201u
#define FL_BLOCK_PL_V9 0x215u
#define FL_BLOCK_FDL_V2 0x218u
#define FL_BLOCK_IL_V2 0x219u
#define FL_BLOCK_UL_V2 0x220u
#define FL_BLOCK_EV_V2 0x216u
#define FL_BLOCK_EVF_V2 0x217u
#define FL_BLOCK_EV_V2_LARGE 0x221u
#define FL_BLOCK_EVF_V2_LARGE 0x222u

/* Bytes after the head of an event block that isn't "large" (spec G1). */
#define FL_BLOCK_PLAIN_MAX 65536u

struct fl_block_info {
    uint8_t class_;             /* enum fl_block_class */
    uint8_t version;
    const char *name;
    uint32_t code;
};

const struct fl_block_info *fl_block_find(uint32_t code);       /* NULL: unknown */

/* One entry of a table, from the first bytes of `data`: the item, and the bytes it took in *used. item->kind is FL_SCAP_MORE where the
 * bytes are passed over (the head of a list, a kind of entry that nobody knows). `tid` is that of an FDL block's head. 0, or -1 with `why`. */
int fl_block_entry(const struct fl_block_info *block, const uint8_t *data, size_t len, int64_t tid, struct fl_scap_item *item, size_t *used,
                   char why[128]);

#endif
