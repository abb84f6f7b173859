/* SPDX-License-Identifier: Apache-2.0
 *
 * Paths as the kernel has them: the names of dentries from a file up to the root of its mounts. (bpf_d_path is refused to tracing programs.)
 */
#ifndef FL_BPF_PATH_H
#define FL_BPF_PATH_H

#include "record.h"

#define PATHS 0x1c000           /* in a scratch: where a path is built, from its end */
#define PATH_DEPTH 96           /* names of a path, at most; of deeper ones nothing is told */

/* Where the path begins by now, from PATHS on. In memory, so that to the verifier it is any number, and all ways through the loop look the same. */
#define POSITION(buf) (*(volatile u32 *)((buf) + PATHS - 8))

INLINE void put_name(u8 *buf, struct dentry *dentry)
{
    u32 len = READ(dentry, d_name.len) & 0xff;
    const unsigned char *name = READ(dentry, d_name.name);
    u32 at = POSITION(buf) - len;

    bpf_probe_read_kernel(buf + PATHS + (at & 0xfff), len, name);
    at--;
    buf[PATHS + (at & 0xfff)] = '/';
    POSITION(buf) = at;
}

/* The path ends at buf + PATHS + 4095; returns its length, 0 if it is too long or deep. */
INLINE u32 build_path(u8 *buf, struct vfsmount *vfsmount, struct dentry *dentry)
{
    struct mount *mount = (void *)vfsmount - offset_of(struct mount, mnt);
    bool whole = false;

    POSITION(buf) = PATH_MAX - 1;
    for (int i = 0; i < PATH_DEPTH; i++) {
        struct dentry *parent = READ(dentry, d_parent);
        struct dentry *root = READ(mount, mnt.mnt_root);

        if (dentry == root) {
            struct mount *above = READ(mount, mnt_parent);
            if (above == mount) {
                whole = true;
                break;
            }
            dentry = READ(mount, mnt_mountpoint);
            mount = above;
            continue;
        }
        if (POSITION(buf) < 256 + 1 || !dentry)
            break;
        put_name(buf, dentry);
        if (dentry == parent) {         /* a file that never was in a directory: memfd:NAME */
            whole = true;
            break;
        }
        dentry = parent;
    }
    u32 at = POSITION(buf);
    if (whole && at == PATH_MAX - 1) {
        at--;
        buf[PATHS + (at & 0xfff)] = '/';
    }
    return whole ? PATH_MAX - 1 - at : 0;
}

INLINE u32 build_file_path(u8 *buf, struct file *file)
{
    return build_path(buf, READ(file, f_path.mnt), READ(file, f_path.dentry));
}

/* Copies what build_path built behind the record's values: `nul` bytes of 0 end it. Returns its length with them. */
INLINE u32 copy_path(struct rec *r, u32 len, u32 nul)
{
    bpf_probe_read_kernel(r->buf + AT(r->off), len & 0xfff, r->buf + PATHS + ((PATH_MAX - 1 - len) & 0xfff));
    r->buf[AT(r->off + len)] = 0;
    return len + nul;
}

/* The path of `len` bytes that build_path built of what `has` it; NULL has none. */
INLINE void put_path(struct rec *r, const void *has, u32 len, u32 nul)
{
    if (len)
        put_variable(r, copy_path(r, len, nul));
    else if (has)
        put_unread(r);
    else
        put_empty(r);
}

INLINE void put_file_path(struct rec *r, struct file *file) { put_path(r, file, file ? build_file_path(r->buf, file) : 0, 1); }

#endif
