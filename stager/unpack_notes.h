/* SPDX-License-Identifier: Apache-2.0 */
/*
 * unpack_notes: what is left to do when all members of an archive are there: times of directories, and making
 * it all durable.
 *
 * A directory's time is set at the end because every name that is made in it changes it. One struct belongs
 * to one unpack_tar(), on its blob thread.
 */
#pragma once

#include "base/error.h"

#include <stddef.h>
#include <time.h>

#define UNPACK_SYNC_EACH 64u                    /* up to so many names are flushed one by one */
#define UNPACK_MAX_DIR_NAMES ((size_t)16 << 20) /* bytes */

struct unpack_dir {
        char *path; /* clean, below the tree; "" is the tree itself */
        struct timespec mtime;
};

struct unpack_notes {
        char *files[UNPACK_SYNC_EACH];
        size_t n_files;          /* noted; one more than there is room for: too many */
        struct unpack_dir *dirs; /* members that are directories, in the archive's order */
        size_t n_dirs, room;     /* noted, allocated */
        size_t dir_names;        /* bytes of all paths; at most UNPACK_MAX_DIR_NAMES */
};

/* A file that was made, by its clean path. Beyond UNPACK_SYNC_EACH only the fact that there are more is
 * kept. */
void unpack_note_file(struct unpack_notes *n, const char *path);
/* A directory that is a member. ERROR_INVALID: too many. */
int unpack_note_dir(struct unpack_notes *n, const char *path, struct timespec mtime, struct error *e);
/* Sets the times and flushes everything below @tree_fd to the disk. */
int unpack_notes_finish(struct unpack_notes *n, int tree_fd, struct error *e);
void unpack_notes_clear(struct unpack_notes *n);
