/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Few files are flushed one by one; with many, one syncfs() costs less than thousands of journal commits,
 * although it also flushes what others have written. Names are opened again beneath the tree: what has been
 * replaced meanwhile is not there any more, or is noted again.
 */
#include "stager/unpack_notes.h"

#include "base/cleanup.h"
#include "base/path.h"

#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>

void unpack_note_file(struct unpack_notes *n, const char *path) {
        if (n->n_files >= UNPACK_SYNC_EACH) {
                n->n_files = UNPACK_SYNC_EACH + 1;
                return;
        }
        n->files[n->n_files] = strdup(path);
        if (n->files[n->n_files])
                n->n_files++;
        else
                n->n_files = UNPACK_SYNC_EACH + 1; /* then all at once */
}

static int grow(struct unpack_notes *n) {
        size_t room = n->room ? 2 * n->room : 16;
        struct unpack_dir *dirs = realloc(n->dirs, room * sizeof *dirs);

        if (!dirs)
                return -ENOMEM;
        n->dirs = dirs;
        n->room = room;
        return 0;
}

int unpack_note_dir(struct unpack_notes *n, const char *path, struct timespec mtime, struct error *e) {
        size_t len = strlen(path) + 1;

        if (len > UNPACK_MAX_DIR_NAMES - n->dir_names)
                return error_set(e, ERROR_INVALID, "the archive has too many directories");
        if (n->n_dirs == n->room && grow(n) < 0)
                return error_errno(e, ENOMEM, "unpack");
        char *copy = strdup(path);
        if (!copy)
                return error_errno(e, ENOMEM, "unpack");
        n->dirs[n->n_dirs++] = (struct unpack_dir){ copy, mtime };
        n->dir_names += len;
        return 0;
}

/* Replaced by a member that came later? -EINVAL: a symbolic link is in the way, or has the name; what
 * path_open() would refuse of a name has been refused before. */
static bool is_gone(int r) {
        return r == -ENOENT || r == -ENOTDIR || r == -EINVAL;
}

static int finish_dir(const struct unpack_dir *d, int tree_fd, struct error *e) {
        const struct timespec times[2] = { { .tv_nsec = UTIME_OMIT }, d->mtime };
        _cleanup_close_ int fd = path_open(tree_fd, d->path, O_RDONLY | O_DIRECTORY, 0, e);

        if (fd < 0)
                return is_gone(fd) ? 0 : fd;
        if (fchmod(fd, 0755) < 0 || futimens(fd, times) < 0)
                return error_errno(e, errno, "set mode and time of the directory %s", d->path);
        return 0;
}

static int sync_path(int tree_fd, const char *path, struct error *e) {
        _cleanup_close_ int fd = path_open(tree_fd, path, O_RDONLY | O_NONBLOCK, 0, e);

        if (fd < 0)
                return is_gone(fd) ? 0 : fd;
        return fsync(fd) < 0 ? error_errno(e, errno, "flush %s to the disk", path) : 0;
}

/* Is the directory that is the first @len bytes of @path on the way to one of the first @n files? */
static bool is_above(const struct unpack_notes *notes, size_t n, const char *path, size_t len) {
        for (size_t i = 0; i < n; i++)
                if (strncmp(notes->files[i], path, len) == 0 && notes->files[i][len] == '/')
                        return true;
        return false;
}

/* The directories on the way too, as not all of them need be members; but those that were on the way to a
 * file before have been flushed then. */
static int sync_file(const struct unpack_notes *n, size_t i, int tree_fd, struct error *e) {
        char *path = n->files[i];
        int r = sync_path(tree_fd, path, e);

        for (size_t len = strlen(path); len > 0 && r == 0; len--) {
                if (path[len] != '/')
                        continue;
                if (is_above(n, i, path, len))
                        break;
                path[len] = '\0';
                r = sync_path(tree_fd, path, e);
                path[len] = '/';
        }
        return r;
}

/* A directory that is a member. Its time does not change when it is flushed. */
static int sync_dir(const struct unpack_notes *n, size_t i, int tree_fd, struct error *e) {
        const char *path = n->dirs[i].path;

        return is_above(n, n->n_files, path, strlen(path)) ? 0 : sync_path(tree_fd, path, e);
}

int unpack_notes_finish(struct unpack_notes *n, int tree_fd, struct error *e) {
        bool each = n->n_files <= UNPACK_SYNC_EACH && n->n_dirs <= UNPACK_SYNC_EACH;
        int r = 0;

        for (size_t i = 0; i < n->n_dirs && r >= 0; i++)
                r = finish_dir(&n->dirs[i], tree_fd, e);
        for (size_t i = 0; each && i < n->n_files && r >= 0; i++)
                r = sync_file(n, i, tree_fd, e);
        for (size_t i = 0; each && i < n->n_dirs && r >= 0; i++)
                r = sync_dir(n, i, tree_fd, e);
        if (r < 0)
                return r;
        if (each ? fsync(tree_fd) < 0 : syncfs(tree_fd) < 0)
                return error_errno(e, errno, "flush the unpacked files to the disk");
        return 0;
}

void unpack_notes_clear(struct unpack_notes *n) {
        for (size_t i = 0; i < n->n_files && i < UNPACK_SYNC_EACH; i++)
                free(n->files[i]);
        for (size_t i = 0; i < n->n_dirs; i++)
                free(n->dirs[i].path);
        free(n->dirs);
        *n = (struct unpack_notes){ .n_files = 0 };
}
