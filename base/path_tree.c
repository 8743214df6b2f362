/* SPDX-License-Identifier: Apache-2.0 */
/*
 * path_tree: removing trees of any depth, without recursion and with few descriptors.
 *
 * It flattens the tree. Of each directory below the top, files are removed and directories are renamed
 * into the top, so that there are never more than two levels to look at:
 *
 *      top/a/b/c  ->  top/a, top/.0 (was b) holding c  ->  top/.0, top/.1 (was c)  ->  top
 *
 * It stays in one file system and refuses what another one is mounted on.
 */
#include "base/path.h"

#include "base/cleanup.h"

#include <assert.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

struct removal {
        int top;                      /* the directory that is being removed, while it is emptied */
        dev_t dev;                    /* the file system that we stay in */
        unsigned long long next_name; /* for what is renamed into the top; never goes back, so it must end */
};

static bool is_dots(const char *name) {
        return strcmp(name, ".") == 0 || strcmp(name, "..") == 0;
}

/*
 * Gives the owner of a directory that nobody may read the right to do so. fchmod() refuses a descriptor that
 * was opened with O_PATH, and the name could be another thing by now, so it goes by way of /proc. -1 and
 * errno.
 */
static int make_readable(int parent, const char *name, dev_t dev) {
        _cleanup_close_ int fd = openat(parent, name, O_PATH | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
        struct stat st;
        char proc[64];

        if (fd < 0 || fstat(fd, &st) < 0)
                return -1;
        if (st.st_dev != dev) {
                errno = EXDEV;
                return -1;
        }
        snprintf(proc, sizeof proc, "/proc/self/fd/%d", fd);
        return chmod(proc, 0700);
}

/* Opens a directory of the file system @dev that we are going to empty, and makes it ours if its mode is in
 * the way (an artifact may bring 0000). Nothing of another file system is changed: -1 and EXDEV. -1 and
 * errno. */
static int open_to_empty(int parent, const char *name, dev_t dev) {
        _cleanup_close_ int fd = openat(parent, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
        struct stat st;

        if (fd < 0 && errno == EACCES && make_readable(parent, name, dev) == 0)
                fd = openat(parent, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
        if (fd < 0 || fstat(fd, &st) < 0)
                return -1;
        if (st.st_dev != dev) {
                errno = EXDEV;
                return -1;
        }
        if ((st.st_mode & 0700) != 0700 && fchmod(fd, 0700) < 0)
                return -1;
        return take_fd(fd);
}

/* A listing with a position of its own, so that the same directory can be listed again from its beginning. */
static DIR *open_listing(int fd) {
        int copy = openat(fd, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
        DIR *d = copy < 0 ? NULL : fdopendir(copy);

        if (!d)
                cleanup_close(&copy);
        return d;
}

/* The next entry that is not "." or ".."; 1, 0 at the end, or a negative errno. */
static int next_entry(DIR *d, const char **ret_name) {
        struct dirent *entry;

        do {
                errno = 0;
                entry = readdir(d);
        } while (entry && is_dots(entry->d_name));
        if (!entry)
                return -errno;
        *ret_name = entry->d_name;
        return 1;
}

/* 0: removed; 1: it is a directory; or a negative errno. */
static int remove_unless_directory(int parent, const char *name) {
        if (unlinkat(parent, name, 0) == 0 || errno == ENOENT)
                return 0;
        return errno == EISDIR ? 1 : -errno;
}

/*
 * Renames a directory into the top under a name that is free. A free name is found by trying: what stands in
 * the way is a part of the tree itself. An empty directory is simply replaced, which is as good as removing
 * it.
 */
static int move_to_top(struct removal *t, int parent, const char *name) {
        for (;;) {
                char unused[32];

                snprintf(unused, sizeof unused, ".%llu", t->next_name++);
                if (renameat(parent, name, t->top, unused) == 0)
                        return 0;
                if (errno != EEXIST && errno != ENOTEMPTY && errno != ENOTDIR)
                        return -errno;
        }
}

/* Removes the files of a directory and moves its directories to the top. */
static int empty_directory(struct removal *t, int fd) {
        _cleanup_closedir_ DIR *d = open_listing(fd);
        const char *name;
        int r;

        if (!d)
                return -errno;
        while ((r = next_entry(d, &name)) > 0) {
                _cleanup_close_ int sub = -1;

                r = remove_unless_directory(fd, name);
                if (r < 0)
                        return r;
                if (r == 0)
                        continue;
                sub = open_to_empty(fd, name, t->dev); /* a directory must be writable to be moved */
                if (sub < 0)
                        return -errno;
                r = move_to_top(t, fd, name);
                if (r < 0)
                        return r;
        }
        return r;
}

/* A directory that is in the top: what was in it is gone or has become its neighbour, so it is empty at the
 * end. */
static int remove_directory(struct removal *t, int parent, const char *name) {
        _cleanup_close_ int fd = -1;
        int r;

        fd = open_to_empty(parent, name, t->dev);
        if (fd < 0)
                return -errno;
        r = empty_directory(t, fd);
        if (r < 0)
                return r;
        return unlinkat(parent, name, AT_REMOVEDIR) < 0 ? -errno : 0;
}

/* Empties the top; each pass may bring directories up, so passes go on until one finds nothing. */
static int empty_top(struct removal *t) {
        size_t found;

        do {
                _cleanup_closedir_ DIR *d = open_listing(t->top);
                const char *name = NULL;
                int r;

                if (!d)
                        return -errno;
                found = 0;
                while ((r = next_entry(d, &name)) > 0) {
                        found++;
                        assert(name);
                        r = remove_unless_directory(t->top, name);
                        if (r > 0)
                                r = remove_directory(t, t->top, name);
                        if (r < 0)
                                return r;
                }
                if (r < 0)
                        return r;
        } while (found > 0);
        return 0;
}

/* Without @e, so that the caller finds one sentence for all that can be in the way. */
static int remove_below(int parent, const char *base) {
        struct removal t = { .top = -1 };
        struct stat st;
        int r;

        if (fstat(parent, &st) < 0)
                return -errno;
        r = remove_unless_directory(parent, base);
        if (r <= 0)
                return r;
        t.dev = st.st_dev;
        t.top = open_to_empty(parent, base, t.dev);
        if (t.top < 0)
                return -errno;
        r = empty_top(&t);
        cleanup_close(&t.top);
        if (r < 0)
                return r;
        return unlinkat(parent, base, AT_REMOVEDIR) < 0 && errno != ENOENT ? -errno : 0;
}

int path_remove_tree(int dir_fd, const char *name, struct error *e) {
        _cleanup_close_ int parent = -1;
        struct error why = { 0 };
        const char *base;
        int r;

        parent = path_open_parent(&base, dir_fd, name, &why);
        if (parent < 0)
                return parent == -ENOENT ? 0 : error_copy(e, &why);
        r = remove_below(parent, base);
        if (r == -EXDEV || r == -EBUSY)
                return error_set(e, ERROR_PRECONDITION, "cannot remove \"%s\": something is mounted there",
                                 name);
        return r < 0 ? error_errno(e, r, "cannot remove \"%s\"", name) : 0;
}
