/* SPDX-License-Identifier: Apache-2.0 */
/*
 * path_file: small files, whole. A reader sees the old or the new content, never a part: the new one is
 * written beside it, made durable, and renamed over it.
 *
 *   .new-XXX: write, fsync -> rename over NAME -> fsync of the directory
 *
 * What a crash leaves is called ".new-…" and harmless.
 */
#include "base/path.h"

#include "base/cleanup.h"

#include <fcntl.h>
#include <limits.h>
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

static int read_all(int fd, char *data, size_t size, size_t *ret_len) {
        size_t len = 0;

        while (len < size) {
                ssize_t n = read(fd, data + len, size - len);

                if (n < 0 && errno == EINTR)
                        continue;
                if (n < 0)
                        return -errno;
                if (n == 0)
                        break;
                len += (size_t)n;
        }
        *ret_len = len;
        return 0;
}

/* The size is taken once and held against what comes: a file that grows meanwhile is not one of ours. */
static int read_whole(char **ret, size_t *ret_len, int fd, const char *name, size_t max, struct error *e) {
        _cleanup_free_ char *data = NULL;
        struct stat st;
        size_t len = 0;
        int r;

        if (fstat(fd, &st) < 0)
                return error_errno(e, errno, "cannot read \"%s\"", name);
        if (!S_ISREG(st.st_mode))
                return error_set(e, ERROR_INVALID, "\"%s\" is not a regular file", name);
        if ((uint64_t)st.st_size > max)
                return error_set(e, ERROR_INVALID, "\"%s\" is larger than %zu bytes", name, max);
        data = malloc((size_t)st.st_size + 2);
        if (!data)
                return error_errno(e, ENOMEM, "cannot read \"%s\"", name);
        r = read_all(fd, data, (size_t)st.st_size + 1, &len);
        if (r < 0)
                return error_errno(e, r, "cannot read \"%s\"", name);
        if (len > (size_t)st.st_size)
                return error_set(e, ERROR_INVALID, "\"%s\" grew while it was read", name);
        data[len] = '\0';
        *ret = take_ptr(data);
        if (ret_len)
                *ret_len = len;
        return 0;
}

/* O_NONBLOCK: a FIFO would keep us waiting. */
int path_read_file(char **ret, size_t *ret_len, int dir_fd, const char *name, size_t max, struct error *e) {
        _cleanup_close_ int fd = path_open(dir_fd, name, O_RDONLY | O_NONBLOCK, 0, e);

        return fd < 0 ? fd : read_whole(ret, ret_len, fd, name, max, e);
}

int path_read_absolute(char **ret, size_t *ret_len, const char *path, size_t max, struct error *e) {
        _cleanup_close_ int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);

        return fd < 0 ? error_errno(e, errno, "cannot read \"%s\"", path)
                      : read_whole(ret, ret_len, fd, path, max, e);
}

static int write_all(int fd, const char *data, size_t len) {
        while (len > 0) {
                ssize_t n = write(fd, data, len);

                if (n < 0 && errno != EINTR)
                        return -errno;
                if (n > 0) {
                        data += n;
                        len -= (size_t)n;
                }
        }
        return 0;
}

/* Makes a file with a name of its own in @dir_fd. Returns the descriptor or a negative errno. */
static int make_beside(int dir_fd, char name[static 64]) {
        static atomic_uint counter;

        for (;;) {
                int fd;

                snprintf(name, 64, ".new-%d-%u", (int)getpid(), atomic_fetch_add(&counter, 1));
                fd = openat(dir_fd, name, O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0600);
                if (fd >= 0)
                        return fd;
                if (errno != EEXIST) /* of an earlier process with our number */
                        return -errno;
        }
}

/* Writes, makes durable and renames; a negative errno. */
static int write_and_rename(int dir_fd, int fd, const char *from, const char *to, const void *data,
                            size_t len, mode_t mode) {
        int r;

        r = write_all(fd, data, len);
        if (r < 0)
                return r;
        if (fchmod(fd, mode) < 0 || fsync(fd) < 0 || renameat(dir_fd, from, dir_fd, to) < 0)
                return -errno;
        return 0;
}

/*
 * fsync() before rename(): otherwise a power failure may leave the new name with no content. The directory's
 * fsync() makes the rename itself durable; when that one fails, the new content is there but may not last.
 */
int path_write_file(int dir_fd, const char *name, const void *data, size_t len, mode_t mode,
                    struct error *e) {
        _cleanup_close_ int parent = -1, fd = -1;
        char temporary[64];
        const char *base;
        int r;

        parent = path_open_parent(&base, dir_fd, name, e);
        if (parent < 0)
                return parent;
        fd = make_beside(parent, temporary);
        if (fd < 0)
                return error_errno(e, fd, "cannot write \"%s\"", name);
        r = write_and_rename(parent, fd, temporary, base, data, len, mode);
        if (r < 0) {
                (void)unlinkat(parent, temporary, 0);
                return error_errno(e, r, "cannot write \"%s\"", name);
        }
        if (fsync(parent) < 0)
                return error_errno(e, errno, "cannot make \"%s\" durable", name);
        return 0;
}
