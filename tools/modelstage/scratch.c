/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Somebody else may look at a directory between its making and its locking, take it for one that was left,
 * lock and remove it. So whoever makes one and does not get the lock, or has locked what is removed by now,
 * makes another one. Where there are no locks (some network file systems) nothing is taken for left.
 *
 * DIR belongs to the caller: only what has our name, our owner and mkdtemp()'s mode is removed.
 */
#include "tools/modelstage/scratch.h"

#include <dirent.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/path.h"
#include "base/text.h"
#include "tools/modelstage/cli.h"

#define PREFIX ".modelstage-"
#define RANDOM "XXXXXX"
#define TRIES 16

static int open_dir(int dir_fd, const char *name) {
        return openat(dir_fd, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
}

/* ---- what others have left ---- */

static bool is_ours(int fd) {
        struct stat st;

        return fstat(fd, &st) == 0 && st.st_uid == geteuid() && (st.st_mode & 07777) == 0700;
}

/* That it cannot be removed is no reason not to fetch. */
static void remove_if_left(int dir_fd, const char *name) {
        _cleanup_close_ int fd = open_dir(dir_fd, name);

        if (fd >= 0 && is_ours(fd) && flock(fd, LOCK_EX | LOCK_NB) == 0)
                (void)path_remove_tree(dir_fd, name, NULL);
}

static void remove_left(int dir_fd) {
        int fd = open_dir(dir_fd, ".");
        DIR *d = fd < 0 ? NULL : fdopendir(fd);

        if (!d) {
                if (fd >= 0)
                        close(fd);
                return;
        }
        for (const struct dirent *entry; (entry = readdir(d));)
                if (text_starts_with(entry->d_name, PREFIX) &&
                    strlen(entry->d_name) == sizeof PREFIX RANDOM - 1)
                        remove_if_left(dir_fd, entry->d_name);
        closedir(d);
}

/* ---- one of our own ---- */

/* 1: it is made and locked. 0: somebody has taken it for one that was left. */
static int try_make(struct scratch *ret, const char *real, const char *dir, struct error *e) {
        _cleanup_free_ char *template = NULL;
        _cleanup_close_ int fd = -1;
        struct stat st;

        if (asprintf(&template, "%s/" PREFIX RANDOM, real) < 0)
                cli_out_of_memory();
        if (!mkdtemp(template))
                return error_errno(e, errno, "make a directory in %s", dir);
        fd = open_dir(AT_FDCWD, template);
        if (fd < 0)
                return errno == ENOENT ? 0 : error_errno(e, errno, "open %s", template);
        if (flock(fd, LOCK_EX | LOCK_NB) < 0 && errno == EWOULDBLOCK)
                return 0;
        if (stat(template, &st) < 0)
                return errno == ENOENT ? 0 : error_errno(e, errno, "look at %s", template);
        *ret = (struct scratch){ .path = take_ptr(template), .lock_fd = take_fd(fd) };
        return 1;
}

int scratch_make(struct scratch *ret, int dir_fd, const char *dir, struct error *e) {
        _cleanup_free_ char *real = realpath(dir, NULL);

        if (!real)
                return error_errno(e, errno, "%s", dir);
        remove_left(dir_fd);
        for (int i = 0; i < TRIES; i++) {
                int r = try_make(ret, real, dir, e);
                if (r != 0)
                        return r < 0 ? r : 0;
        }
        return error_set(e, ERROR_UNAVAILABLE, "others remove what is made in %s; try again", dir);
}

int scratch_remove(struct scratch *s, int dir_fd, struct error *e) {
        int r = s->path ? path_remove_tree(dir_fd, path_base(s->path), e) : 0;

        free(s->path);
        if (s->lock_fd >= 0)
                close(s->lock_fd);
        *s = SCRATCH_NONE;
        return r;
}
