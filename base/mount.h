/* SPDX-License-Identifier: Apache-2.0 */
/*
 * mount: read-only bind mounts of a directory, and what is mounted now.
 *
 * open_tree(OPEN_TREE_CLONE) -> mount_setattr(RDONLY|NOSUID|NODEV) -> move_mount: there is no moment at which
 * the mount is writable. Kernels before 5.12: bind, then remount read-only, before the caller tells anyone
 * about it.
 */
#pragma once

#include "base/error.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* @source and @target are existing directories; the target is not followed if it is a symbolic link. */
int mount_bind_readonly(const char *source, const char *target, struct error *e);

/* True if @target is the root of a mount; a missing path is false. */
int mount_is_mounted(bool *ret, const char *target, struct error *e);

/* Detaches the topmost mount on @target. Not mounted or missing is success. */
int mount_detach(const char *target, struct error *e);

/* One line of /proc/self/mountinfo (proc(5)), unescaped. */
struct mount_entry {
        unsigned id; /* of the mount; a later one on the same target hides the others */
        unsigned dev_major, dev_minor;
        char *root; /* directory of the file system that is mounted here */
        char *target;
        char *fs_type;
};
struct mount_table {
        struct mount_entry *entries;
        size_t n;
};
/* The mounts of our mount namespace, in the kernel's order; to be freed with mount_table_free(). */
int mount_table_read(struct mount_table *ret, struct error *e);
/* For tests and the fuzzer: @text instead of the kernel's. */
int mount_table_parse(struct mount_table *ret, const char *text, size_t len, struct error *e);
const struct mount_entry *mount_table_find(const struct mount_table *t, const char *target); /* the topmost */
void mount_table_free(struct mount_table *t);
