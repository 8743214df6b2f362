/* SPDX-License-Identifier: Apache-2.0 */
/*
 * path: names below a directory descriptor, with openat2(RESOLVE_BENEATH | RESOLVE_NO_SYMLINKS).
 *
 * Everything that an artifact or a pod spec names goes through here. Where openat2 is missing (ENOSYS,
 * or EPERM by an old seccomp profile) the same walk is done component by component with O_NOFOLLOW.
 */
#pragma once

#include "base/error.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

/*
 * Cleans a relative name from an artifact: removes ".", doubled and trailing slashes. Refuses (ERROR_INVALID)
 * absolute names, "..", names over PATH_MAX or with a component over NAME_MAX, control characters, and what
 * is not UTF-8.
 * "" and "." become "". *ret is to be freed.
 */
int path_clean(char **ret, const char *name, struct error *e);

/* open() of the clean relative @name below @dir_fd; no symbolic link is followed, "" opens the directory
 * itself again. O_CLOEXEC is added. Returns the descriptor. */
int path_open(int dir_fd, const char *name, int flags, mode_t mode, struct error *e);

/* Opens the directory that the clean relative @name, which is not "", is in; *ret_base is its last component.
 */
int path_open_parent(const char **ret_base, int dir_fd, const char *name, struct error *e);

/* Makes the directories of the clean relative @name below @dir_fd that are missing, with @mode. With
 * @parents_only not the last component. Returns a descriptor of the deepest directory, to be closed. */
int path_make_dirs(int dir_fd, const char *name, mode_t mode, bool parents_only, struct error *e);

/* error_errno() for a name that could not be made in @dir_fd; it tells if the disk has room but no inodes. */
int path_make_failed(int dir_fd, int errnum, struct error *e, const char *fmt, ...)
    __attribute__((format(printf, 4, 5)));

/* mkdir -p of an absolute path that the administrator gave; symbolic links are followed. */
int path_make_dirs_absolute(const char *path, mode_t mode, struct error *e);

/* Removes @name below @dir_fd with all that is in it; does not follow symbolic links and does not leave the
 * file system. Missing is success. */
int path_remove_tree(int dir_fd, const char *name, struct error *e);

const char *path_base(const char *path); /* after the last slash */

/* Whole file below @dir_fd, at most @max bytes; *ret is NUL-terminated and to be freed. */
int path_read_file(char **ret, size_t *ret_len, int dir_fd, const char *name, size_t max, struct error *e);

/* The same of a path that the administrator gave; symbolic links are followed (Kubernetes mounts files as
 * such). */
int path_read_absolute(char **ret, size_t *ret_len, const char *path, size_t max, struct error *e);

/* Writes @name below @dir_fd durably and atomically: temporary file, fsync, rename, fsync of the directory.
 */
int path_write_file(int dir_fd, const char *name, const void *data, size_t len, mode_t mode, struct error *e);
