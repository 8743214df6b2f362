/* SPDX-License-Identifier: Apache-2.0 */
/* unpack_notes: what is left to do when all members of an archive are there: times of directories, and making
 * it all durable. */
#pragma once

#include "base/error.h"

#include <stddef.h>
#include <time.h>

#define UNPACK_SYNC_EACH 64u                    /* up to so many names are flushed one by one */
#define UNPACK_MAX_DIR_NAMES ((size_t)16 << 20) /* bytes */

struct unpack_dir {
        char *path;
        struct timespec mtime;
};

struct unpack_notes {
        char *files[UNPACK_SYNC_EACH];
        size_t n_files; /* noted; one more than there is room for: too many */
        struct unpack_dir *dirs;
        size_t n_dirs, room;
        size_t dir_names; /* bytes */
};

void unpack_note_file(struct unpack_notes *n, const char *path);
int unpack_note_dir(struct unpack_notes *n, const char *path, struct timespec mtime, struct error *e);
/* Sets the times and flushes everything below @tree_fd to the disk. */
int unpack_notes_finish(struct unpack_notes *n, int tree_fd, struct error *e);
void unpack_notes_clear(struct unpack_notes *n);
